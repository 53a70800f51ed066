"""Published claims and the rules that decide them: a rule is written down with its claim, before
the results are looked at.

Here are the kinds of rules; the claims of a study stand in its file in ``experiments/``.

A measure is one number per seed: a difference within the seed, so that what a seed adds to all of
its trainings cancels. An inequality *holds* if the whole 95 % interval of the mean over seeds
(Student's t) lies on its side of the threshold, *fails* if the whole interval lies on the other,
and is *undecided* otherwise, as it always is with one seed. That two things are equal holds or
fails against a margin that is named; a difference that was not shown is not a failure.

A claim with several parts, all of which must hold, holds if each does, and fails if one does after
Holm's correction for as many parts as there are: ten parts that are all just true do not fail it
more often than one. A claim of which one part is enough: the other way round.

Every verdict is **conditional on** the test set and on the images that the study starts from: the
interval is over seeds (initial weights, order, draw of the damage), not over data sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zoo import statistics
from zoo.errors import NotFoundError
from zoo.store.schema import SCHEMA
from zoo.studies.outcomes import Outcomes
from zoo.studies.results import Results

__all__ = [
    "LEVEL",
    "UNKNOWN",
    "Claim",
    "Evidence",
    "Finding",
    "Measure",
    "NetworkMeasure",
    "NotTested",
    "Verdict",
    "above",
    "all_of",
    "any_of",
    "below",
    "between",
    "each_text",
    "equal",
    "evidence_text",
    "mean_over",
    "of_network",
    "points_text",
    "verdict_table",
]


Verdict = Literal["holds", "fails", "undecided"]

LEVEL = 0.05
"""Two-sided: that of a 95 % interval."""


Unit = Literal["points", "slope", "share", ""]
"""How a measure is shown; see ``Finding``."""


class NotTested(Exception):
    """Raised by a claim's measure that cannot be taken at this scale; its text says why."""


@dataclass(frozen=True)
class Evidence:
    """p (two-sided) with which the results speak for a statement and against it; at most one is
    under 1 where it is an inequality."""

    holds: float
    fails: float

    @property
    def verdict(self) -> Verdict:
        return "holds" if self.holds < LEVEL else "fails" if self.fails < LEVEL else "undecided"


UNKNOWN = Evidence(1.0, 1.0)
"""Of a part that was not tested."""


@dataclass(frozen=True)
class Finding:
    """What was measured and what it decides.

    Args:
        evidence: by the claim's rule.
        values: the measure, one per seed; shown, and fixed before looking: never the largest or
            smallest of several.
        unit: ``points`` (values are fractions, shown in percentage points), ``slope`` (percentage
            points per hundred of something that the rule names), ``share`` (shown in per cent) or
            "" (a plain number).
        note: what decided it.
    """

    evidence: Evidence
    values: NDArray[np.float64]
    unit: Unit = "points"
    note: str = ""


Measure = Callable[[Results], Finding]
"""What a claim about scores and arms measures."""

NetworkMeasure = Callable[[Outcomes, str], Finding]
"""What a claim about damaged training sets measures of one network, named by its architecture."""


def of_network(measure: NetworkMeasure, arch: str) -> Callable[[Outcomes], Finding]:
    """The measure of this network."""
    return lambda outcomes: measure(outcomes, arch)


@dataclass(frozen=True)
class Claim:
    """One claim.

    Args:
        claim: its id, such as ``S1.6``.
        statement: what is claimed, as a testable sentence.
        published: the paper's number or words.
        rule: what is measured and when it holds, in words; ``measure`` does exactly this.
        measure: ``Outcomes`` or ``Results`` -> finding. ``NotTested`` or ``NotFoundError`` (a point
            or arm that this scale does not have): not tested.
    """

    claim: str
    statement: str
    published: str
    rule: str
    measure: Callable[[Any], Finding]


def above(values: ArrayLike, threshold: float) -> Evidence:
    """Whether the mean of the values (one per seed) lies above the threshold."""
    x = np.asarray(values, dtype=np.float64)
    return Evidence(statistics.p_above(x, threshold), statistics.p_above(-x, -threshold))


def below(values: ArrayLike, threshold: float) -> Evidence:
    """Whether the mean of the values (one per seed) lies below the threshold."""
    found = above(values, threshold)
    return Evidence(found.fails, found.holds)


def between(values: ArrayLike, low: float, high: float) -> Evidence:
    """Whether the mean of the values lies between two thresholds. It cannot lie outside on both
    sides, so neither side is corrected."""
    floor, ceiling = above(values, low), below(values, high)
    return Evidence(max(floor.holds, ceiling.holds), min(floor.fails, ceiling.fails))


def equal(values: ArrayLike, margin: float) -> Evidence:
    """Whether the mean of the values is 0 within a margin: holds if the whole 90 % interval lies
    inside (two one-sided tests at 5 %: Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657),
    fails if the whole 95 % interval lies outside."""
    x = np.asarray(values, dtype=np.float64)
    low, high = above(x, -margin), above(-x, -margin)
    # p is two-sided there; a one-sided test asks for half of it.
    return Evidence(max(low.holds, high.holds) / 2, min(low.fails, high.fails))


def all_of(parts: Sequence[Evidence]) -> Evidence:
    """Holds if every part holds; fails if one part does, corrected for their number (the first step
    of Holm, Scand. J. Stat. 6 (1979) 65).

    Raises:
        ValueError: without a part.
    """
    if not parts:
        raise ValueError("a claim of no parts cannot be decided")
    return Evidence(
        max(part.holds for part in parts), min(1.0, len(parts) * min(part.fails for part in parts))
    )


def any_of(parts: Sequence[Evidence]) -> Evidence:
    """Holds if one part does, corrected for their number; fails if every part fails.

    Raises:
        ValueError: without a part.
    """
    if not parts:
        raise ValueError("a claim of no parts cannot be decided")
    return Evidence(
        min(1.0, len(parts) * min(part.holds for part in parts)), max(part.fails for part in parts)
    )


def points_text(values: ArrayLike, unit: Unit = "points") -> str:
    """``9.1 +- 0.3 points``: mean and standard deviation over seeds (n - 1), the latter left out
    for one seed."""
    x = np.asarray(values, dtype=np.float64)
    factor, digits, word = {
        "points": (100.0, 1, " points"),
        "slope": (100.0, 2, " points per 100"),
        "share": (100.0, 1, " %"),
        "": (1.0, 2, ""),
    }[unit]
    spread = f" \u00b1 {factor * float(x.std(ddof=1)):.{digits}f}" if len(x) > 1 else ""
    # + 0.0: no minus before a zero
    return f"{round(factor * float(x.mean()), digits) + 0.0:.{digits}f}{spread}{word}"


def each_text(
    values: Mapping[str, ArrayLike], unit: Unit = "points", *, between: str = "; "
) -> str:
    """``model-1 9.1 \u00b1 0.3 points; model-2 ...``: each name with its values."""
    return between.join(f"{name} {points_text(mine, unit)}" for name, mine in values.items())


def mean_over(values: Mapping[Any, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean over several measures, one number per seed."""
    return np.asarray(np.mean(list(values.values()), axis=0), dtype=np.float64)


def verdict_table(
    claims: Sequence[Claim], outcomes: Outcomes | Results, *, about: str | Sequence[str]
) -> pd.DataFrame:
    """One row per claim with the columns of the table ``verdicts``.

    Args:
        about: name of the data set that the claims are about, or names of those that may stand for
            it. Results of another one are measured, but decide nothing: *not applicable*.
    """
    known = (about,) if isinstance(about, str) else tuple(about)
    rows = []
    for claim in claims:
        row: dict[str, object] = {
            name: getattr(claim, name) for name in ("claim", "statement", "published", "rule")
        }
        row |= {"scale": outcomes.scale, "measured": None, "mean": None, "sd": None, "n": None}
        try:
            found = claim.measure(outcomes)
        except (NotTested, NotFoundError) as reason:
            row |= {"verdict": "not tested", "note": str(reason)}
        else:
            values = found.values
            row |= {
                "p": _p_of(found.evidence),
                "measured": points_text(values, found.unit),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "n": len(values),
                "verdict": found.evidence.verdict,
                "note": found.note,
            }
        if outcomes.dataset not in known:
            row |= {
                "verdict": "not applicable",
                "note": (
                    f"Other data: the claim is about {' or '.join(known)}, these results are of"
                    f" {outcomes.dataset}."
                ),
            }
        rows.append(row)
    table = SCHEMA["verdicts"].frame(rows)
    for _, mine in table.groupby(table["claim"].str.split().str[0]):
        table.loc[mine.index, "p_holm"] = statistics.holm(mine["p"].to_numpy(np.float64))
    return table


def _p_of(evidence: Evidence) -> float | None:
    """The smaller p; None where an interval decided, whose p's are 0 and 1."""
    p = min(evidence.holds, evidence.fails)
    return p if 0.0 < p < 1.0 else None


def evidence_text(p: float | None, adjusted: float | None) -> str:
    """``p 0.0031, adjusted for the claims of its number 0.012.``; empty where there is no p."""
    if pd.isna(p) or pd.isna(adjusted):
        return ""
    alone, among = ("< .0001" if value < 0.0001 else f"{value:.2g}" for value in (p, adjusted))
    return f"p {alone}, adjusted for the claims of its number {among}."
