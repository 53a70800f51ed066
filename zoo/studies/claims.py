"""Published claims and the rules that decide them: a rule is written down with its claim, before the results are looked at.

A measure is one number per seed. An inequality *holds* if the whole 95 % interval of the mean over seeds (Student's t) lies on its side of
the threshold, *fails* if the whole interval lies on the other, and is *undecided* otherwise, as it always is with one seed. Of a claim with
several parts all must hold; one failing part is enough to fail it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zoo.errors import NotFoundError
from zoo.statistics import f_test, mean_interval
from zoo.store.schema import VERDICT_COLUMNS
from zoo.studies.measures import beyond_ceiling
from zoo.studies.outcomes import Outcomes

__all__ = [
    "Claim",
    "Finding",
    "NotTested",
    "Verdict",
    "above",
    "all_of",
    "any_of",
    "below",
    "class_matters",
    "points_text",
    "verdict_table",
]


Verdict = Literal["holds", "fails", "undecided"]


class NotTested(Exception):
    """Raised by a claim's measure that cannot be taken at this scale; its text says why."""


@dataclass(frozen=True)
class Finding:
    """What was measured and what it decides.

    Args:
        verdict: by the claim's rule.
        values: the measure, one per seed.
        unit: ``points`` (values are fractions, shown in percentage points), ``share`` (shown in per cent) or "" (a plain number).
        note: what decided it.
    """

    verdict: Verdict
    values: NDArray[np.float64]
    unit: Literal["points", "share", ""] = "points"
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """One claim.

    Args:
        claim: its id, such as ``S1.6``.
        statement: what is claimed, as a testable sentence.
        published: the paper's number or words.
        rule: what is measured and when it holds, in words; ``measure`` does exactly this.
        measure: outcomes -> finding. ``NotTested`` or ``NotFoundError`` (a point that this scale does not have): not tested.
    """

    claim: str
    statement: str
    published: str
    rule: str
    measure: Callable[[Outcomes], Finding]


def above(values: ArrayLike, threshold: float) -> Verdict:
    """Whether the mean of the values (one per seed) lies above the threshold."""
    _, low, high = mean_interval(np.asarray(values, dtype=np.float64))
    return "holds" if low > threshold else "fails" if high < threshold else "undecided"


def below(values: ArrayLike, threshold: float) -> Verdict:
    """Whether the mean of the values (one per seed) lies below the threshold."""
    return above(-np.asarray(values, dtype=np.float64), -threshold)


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Holds if all hold; fails if one fails; else undecided."""
    if not verdicts:
        raise ValueError("a claim of no parts cannot be decided")
    return "fails" if "fails" in verdicts else "holds" if set(verdicts) == {"holds"} else "undecided"


def any_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Holds if one holds; fails if all fail; else undecided."""
    if not verdicts:
        raise ValueError("a claim of no parts cannot be decided")
    return "holds" if "holds" in verdicts else "fails" if set(verdicts) == {"fails"} else "undecided"


def points_text(values: ArrayLike, unit: Literal["points", "share", ""] = "points") -> str:
    """``9.1 +- 0.3 points``: mean and standard deviation over seeds (n - 1), the latter left out for one seed."""
    x = np.asarray(values, dtype=np.float64)
    factor, digits, word = {"points": (100.0, 1, " points"), "share": (100.0, 1, " %"), "": (1.0, 2, "")}[unit]
    spread = f" \u00b1 {factor * float(x.std(ddof=1)):.{digits}f}" if len(x) > 1 else ""
    return f"{round(factor * float(x.mean()), digits) + 0.0:.{digits}f}{spread}{word}"  # + 0.0: no minus before a zero


def class_matters(arch: str) -> Claim:
    """S1.4: what deleting a class costs beyond its own share of the test set depends on the class."""

    def measure(outcomes: Outcomes) -> Finding:
        beyond = [beyond_ceiling(outcomes, "delete_class", int(c), arch=arch) for c in outcomes.settings("delete_class")]
        between, within, p = f_test(beyond)
        verdict: Verdict = "fails" if between < within else "holds" if p < 0.05 else "undecided"
        note = (
            f"Sd between classes {100 * between:.2f} points, pooled sd over seeds {100 * within:.2f} points, p = {p:.2g} (one-way ANOVA)."
        )
        return Finding(verdict, np.stack(beyond).mean(axis=0), note=note)

    return Claim(
        "S1.4",
        "What deleting a class costs depends on the class",
        '"varies with the content of that class"',
        "Drop beyond the class's own share of the test set: the sd between classes exceeds the pooled sd over seeds, and p < .05 in a "
        "one-way ANOVA; fails if the sd between classes is the smaller one. Measured: mean over the classes.",
        measure,
    )


def verdict_table(claims: Sequence[Claim], outcomes: Outcomes) -> pd.DataFrame:
    """One row per claim with the columns ``zoo.store.schema.VERDICT_COLUMNS``."""
    rows = []
    for claim in claims:
        row: dict[str, object] = {name: getattr(claim, name) for name in ("claim", "statement", "published", "rule")}
        row |= {"scale": outcomes.scale, "measured": None, "mean": None, "sd": None, "n": None}
        try:
            found = claim.measure(outcomes)
        except (NotTested, NotFoundError) as reason:
            row |= {"verdict": "not tested", "note": str(reason)}
        else:
            values = found.values
            row |= {
                "measured": points_text(values, found.unit),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "n": len(values),
                "verdict": found.verdict,
                "note": found.note,
            }
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(VERDICT_COLUMNS))
    numbers = {"mean": "float64", "sd": "float64", "n": "Int64"}
    return table.astype({name: numbers.get(name, "string") for name in VERDICT_COLUMNS})
