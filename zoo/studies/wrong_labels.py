"""Wrong labels that a network memorised, and harm at equal extent: findings of a study of damaged
training sets and rows for its charts.

Measures are arrays with one number per seed, accuracies fractions; a drop is the baseline's
accuracy minus the point's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from zoo.studies.claims import (
    UNKNOWN,
    Evidence,
    Finding,
    NetworkMeasure,
    NotTested,
    above,
    all_of,
    below,
    each_text,
    mean_over,
    points_text,
)
from zoo.studies.measures import Row, matched_harm, value
from zoo.studies.outcomes import Outcomes

__all__ = [
    "declines_after_peak",
    "harm_least",
    "harm_most",
    "memorised_drop",
    "no_decline",
    "peak_rows",
    "require_memorised",
]

RANDOM = "noise_random"
"""The aspect of labels that were replaced by wrong ones at random."""

Harms = Callable[[Outcomes, str, int], Mapping[str, NDArray[np.float64]]]
"""(outcomes, network, per cent affected) -> drop by kind of damage."""


def require_memorised(
    outcomes: Outcomes, aspect: str, settings: Sequence[float], *, arch: str
) -> None:
    """A claim about memorised wrong labels is judged only where they were memorised: every training
    reached the stop rule.

    Raises:
        NotTested: where one did not.
    """
    rows = np.concatenate([outcomes.rows(aspect, setting, arch=arch) for setting in settings])
    of_claim = outcomes.table.loc[rows]
    reached = of_claim["reached"].astype(bool)
    if not reached.all():
        accuracy = of_claim["train_acc1"].astype(float)
        longer = "" if outcomes.scale == "paper" else " Train longer: --scale paper."
        raise NotTested(
            f"The wrong labels were not memorised: {int(reached.sum())} of {len(rows)} trainings"
            f" reached the stop rule; the training accuracy ended at {accuracy.min():.1%} to"
            f" {accuracy.max():.1%}.{longer}"
        )


def memorised_drop(
    aspect: str, share: float, decide: Callable[[NDArray[np.float64]], Evidence]
) -> NetworkMeasure:
    """The drop at a share of memorised wrong labels. Measured: it.

    Args:
        decide: what the drop is evidence of.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        require_memorised(outcomes, aspect, [share], arch=arch)
        drop = outcomes.drop(aspect, share, arch=arch)
        note = f"Accuracy {points_text(outcomes.acc(aspect, share, arch=arch), 'share')}."
        return Finding(decide(drop), drop, note=note)

    return measure


def _fall(outcomes: Outcomes, arch: str, p: float) -> NDArray[np.float64]:
    """Test accuracy at the epoch at which the *other* seeds peak, minus the seed's last, [seeds]: a
    curve's own maximum would lie over its end by chance alone."""
    # [epochs, seeds], [seeds]
    accuracy, last = outcomes.common_epochs(outcomes.rows(RANDOM, p, arch=arch), "test")
    epochs, seeds = accuracy.shape
    if epochs < 3 or seeds < 2:
        raise NotTested(
            "A peak needs two seeds whose test accuracy was evaluated three times or more."
        )
    peaks = [int(np.delete(accuracy, s, axis=1).mean(axis=1).argmax()) for s in range(seeds)]
    return np.asarray(accuracy[peaks, range(seeds)] - last, dtype=np.float64)


def declines_after_peak(start: float, least: float) -> NetworkMeasure:
    """From a share of wrong labels on, the test accuracy ends more than ``least`` under its peak.
    Measured: mean over the shares."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        noisy = [p for p in outcomes.settings(RANDOM) if p >= start]
        require_memorised(outcomes, RANDOM, noisy, arch=arch)
        falls = {f"p = {p:.0%}:": _fall(outcomes, arch, p) for p in noisy}
        note = f"Peak minus final: {each_text(falls, between=', ')}."
        parts = [above(fall, least) for fall in falls.values()]
        return Finding(all_of(parts), mean_over(falls), note=note)

    return measure


def no_decline(p: float, most: float) -> NetworkMeasure:
    """At a share of wrong labels it ends less than ``most`` under its peak. Measured: that."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        require_memorised(outcomes, RANDOM, [p], arch=arch)
        fall = _fall(outcomes, arch, p)
        return Finding(below(fall, most), fall)

    return measure


def harm_most(
    harms: Harms, percents: Sequence[int], *, said: str = "Drops at ", each: str = "{} %: "
) -> NetworkMeasure:
    """Wrong labels cost more than every other damage of the same extent. Measured: the drop at 20 %
    wrong labels.

    Args:
        harms: the first kind is the wrong labels; others that are named after labels too are noted,
            and not compared with.
        said: how the note begins.
        each: what it says before the kinds of an extent.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        shares = [percent / 100 for percent in percents]
        require_memorised(outcomes, RANDOM, shares, arch=arch)
        parts, notes = [], []
        for percent in percents:
            found = harms(outcomes, arch, percent)
            noise = next(iter(found.values()))
            parts += [above(noise - d, 0.0) for name, d in found.items() if "labels" not in name]
            notes.append(each.format(percent) + each_text(found, between=", "))
        drop = outcomes.drop(RANDOM, 0.2, arch=arch)
        return Finding(all_of(parts), drop, note=said + "; ".join(notes) + ".")

    return measure


def harm_least(kinds: Mapping[str, Sequence[str]], noise: str, worst: float) -> NetworkMeasure:
    """Noise in the images costs less than every other kind of damage, by the mean drop over each
    kind's grid; the grids are not matched. Measured: the drop by image noise.

    Where the wrong labels were not memorised they are left out: one of the other kinds is enough to
    fail the claim, none to hold it.

    Args:
        kinds: kind -> its aspects; one is ``wrong labels``.
        noise: the kind that is image noise.
        worst: the strongest salt and pepper; its drop is noted.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        grids = {name: outcomes.changes(*aspects) for name, aspects in kinds.items()}
        drops = matched_harm(outcomes, grids, arch=arch)
        own = drops.pop(noise)
        note = (
            f"Mean drop over the paper's grids: image noise {points_text(own)},"
            f" {each_text(drops, between=', ')}. Salt and pepper at a = {worst:g} alone:"
            f" {points_text(outcomes.drop('salt_pepper', worst, arch=arch))}."
        )
        parts = {name: above(drop - own, 0.0) for name, drop in drops.items()}
        try:
            require_memorised(outcomes, RANDOM, outcomes.settings(RANDOM), arch=arch)
        except NotTested:
            parts["wrong labels"] = UNKNOWN
            if (verdict := all_of(list(parts.values())).verdict) != "fails":
                raise
            note += (
                " Wrong labels are left out of the verdict, not having been memorised; it"
                f" {verdict} by the others."
            )
        return Finding(all_of(list(parts.values())), own, note=note)

    return measure


# ---------------------------------------------------------------- rows of charts


def peak_rows(outcomes: Outcomes, *, arch: str) -> list[Row]:
    """Best test accuracy of the trainings by the share of wrong labels, in per cent."""
    return [
        value(
            "",
            f"{arch}, best epoch",
            round(100 * p),
            [
                outcomes.curve(int(row), "test")["acc1"].max()
                for row in outcomes.rows(RANDOM, p, arch=arch)
            ],
        )
        for p in outcomes.settings(RANDOM)
    ]
