"""What deleting or relabelling a class does to a network: findings of a study of damaged training
sets and rows for its charts.

A change is named as in ``zoo.studies.outcomes.Outcomes.changes``: aspect, setting (the class),
other (the class it is relabelled to; -1 = deleted). Letters: M classes. Measures are arrays with
one number per seed, accuracies and recalls fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from zoo import statistics
from zoo.studies.claims import (
    UNKNOWN,
    Claim,
    Evidence,
    Finding,
    NetworkMeasure,
    above,
    all_of,
    below,
    mean_over,
    points_text,
)
from zoo.studies.measures import Changes, Row, beyond_ceiling, change_name, seed_noise, value
from zoo.studies.outcomes import Outcomes

__all__ = [
    "beyond_rows",
    "change_rows",
    "class_matters",
    "costs_as_much",
    "deleted_rows",
    "deleting_costs",
    "every_class_suffers",
    "networks_agree",
]

NO_DIFFERENCE = 0.005
"""Margin of ``class_matters``: classes that differ by less (sd) count as alike."""


def deleting_costs(least: float) -> NetworkMeasure:
    """Deleting a class lowers the accuracy by more than ``least``, whichever class it is. Measured:
    mean drop over the classes."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        classes = outcomes.settings("delete_class")
        drops = {int(c): outcomes.drop("delete_class", c, arch=arch) for c in classes}
        beyond = {c: beyond_ceiling(outcomes, "delete_class", c, arch=arch) for c in drops}
        smallest = min(drops.values(), key=lambda drop: float(drop.mean()))
        note = (
            f"Class with the smallest drop: {points_text(smallest)}. No network can avoid losing"
            " the deleted class's own share; beyond that share the mean drop is"
            f" {points_text(mean_over(beyond))}."
        )
        parts = [above(drop, least) for drop in drops.values()]
        return Finding(all_of(parts), mean_over(drops), note=note)

    return measure


def class_matters(arch: str) -> Claim:
    """S1.4: what deleting a class costs beyond its own share of the test set depends on the
    class."""

    def measure(outcomes: Outcomes) -> Finding:
        beyond = [
            beyond_ceiling(outcomes, "delete_class", int(c), arch=arch)
            for c in outcomes.settings("delete_class")
        ]
        mean = np.stack(beyond).mean(axis=0)
        if min(len(beyond), len(mean)) < 2:
            return Finding(UNKNOWN, mean, note="One class or one seed: no spread to compare with.")
        found = statistics.blocks(beyond)
        note = (
            f"Sd between classes {100 * found.size:.2f} points with the noise taken off; sd of one"
            f" training {100 * found.noise:.2f} points; p = {found.p:.2g} (randomised blocks)."
        )
        return Finding(Evidence(found.p, found.p_under(NO_DIFFERENCE)), mean, note=note)

    return Claim(
        "S1.4",
        "What deleting a class costs depends on the class",
        '"varies with the content of that class"',
        "Drop beyond the class's own share of the test set: the classes differ, p < .05 in an"
        " analysis of variance with the seeds as blocks, in which the baseline that all classes of"
        " a seed share cancels; fails if they do not and the 95 % interval of the sd between"
        f" classes ends under {100 * NO_DIFFERENCE:g} points. Measured: mean over the classes.",
        measure,
    )


def every_class_suffers(aspects: Sequence[str], look_alikes: Mapping[int, int]) -> NetworkMeasure:
    """Holds if the recall of every other class falls under every change; fails if that of the
    look-alikes of deleted classes rises, in the mean over these deletions. Measured: that rise.

    Args:
        look_alikes: class -> the class that is taken for it; named before the first run.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        baseline = outcomes.recalls(outcomes.rows("baseline", arch=arch))  # [seeds, M]
        deltas, names, gains = [], [], []
        for aspect, setting, other in outcomes.changes(*aspects):
            rows = outcomes.rows(aspect, setting, arch=arch, other=other)
            delta = outcomes.recalls(rows) - baseline
            for c, name in enumerate(outcomes.class_names):
                if c != int(setting):
                    deltas.append(delta[:, c])
                    names.append(f"{name} after {change_name(outcomes, setting, other)}")
            if aspect == "delete_class" and int(setting) in look_alikes:
                gains.append(delta[:, look_alikes[int(setting)]])
        means, gain = np.mean(deltas, axis=1), np.mean(gains, axis=0)
        best = np.argsort(-means)[:3]
        note = (
            f"{np.mean(means < 0):.0%} of {len(means)} cells (other class x change) fell. Largest"
            " rises of recall, chosen by looking: "
            + ", ".join(f"{names[i]} {100 * means[i]:+.1f}" for i in best)
            + "."
        )
        falls = all_of([below(delta, 0.0) for delta in deltas])
        return Finding(Evidence(falls.holds, above(gain, 0.0).holds), gain, note=note)

    return measure


def costs_as_much(margin: float) -> NetworkMeasure:
    """Relabelling a class costs what deleting it does, within a margin: root mean square over the
    classes of the difference of the two drops, without what the noise of single trainings adds.
    Measured: relabelling minus deleting, mean over the classes."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        gaps = [
            outcomes.drop(aspect, c, arch=arch, other=other)
            - outcomes.drop("delete_class", c, arch=arch)
            for aspect, c, other in outcomes.changes("relabel")
        ]
        mean = np.mean(gaps, axis=0)
        if len(mean) < 2:
            return Finding(UNKNOWN, mean, note="One seed: no noise to take off.")
        found = statistics.mean_square(gaps)
        note = (
            f"Root mean square of the difference {100 * found.size:.1f} points with the noise taken"
            f" off; sd of one such difference {100 * found.noise:.1f} points."
        )
        return Finding(Evidence(found.p_under(margin), found.p_over(margin)), mean, note=note)

    return measure


def networks_agree(outcomes: Outcomes, aspects: Sequence[str], *, least: float) -> Finding:
    """Rank correlation, over changes and the true classes that were not changed, of the shares of
    predictions that two networks change, above ``least``. Measured: that, by seed."""
    changes = outcomes.changes(*aspects)
    first, second = (
        np.stack(
            [outcomes.changed(outcomes.rows(a, s, arch=arch, other=o)) for a, s, o in changes],
            axis=1,
        )
        for arch in outcomes.archs
    )  # [seeds, changes, M]
    others = np.ones(first.shape[1:], dtype=bool)
    others[np.arange(len(changes)), [int(setting) for _, setting, _ in changes]] = False
    correlation = statistics.rank_correlation
    values = np.array(
        [correlation(a[others], b[others]) for a, b in zip(first, second, strict=True)]
    )
    everything = np.array([correlation(a, b) for a, b in zip(first, second, strict=True)])
    note = (
        f"With the changed class itself, which every network loses: {points_text(everything, '')}."
    )
    return Finding(above(values, least), values, "", note)


# ---------------------------------------------------------------- rows of charts


def change_rows(outcomes: Outcomes, changes: Changes, *, arch: str) -> list[Row]:
    """Share of the test predictions that each change alters, beside what another seed alters where
    nothing is changed."""
    noise = float(seed_noise(outcomes, arch=arch) @ outcomes.class_shares)
    rows = []
    for position, (aspect, setting, other) in enumerate(changes):
        mine = outcomes.rows(aspect, setting, arch=arch, other=other)
        shares = outcomes.changed(mine) @ outcomes.class_shares
        name = change_name(outcomes, setting, other)
        unchanged = "another seed, nothing changed"
        rows += [
            value("", "changed", position, shares, x_text=name),
            value("", unchanged, position, [noise], x_text=name, reference=True),
        ]
    return rows


def deleted_rows(outcomes: Outcomes, *, arch: str) -> list[Row]:
    """Accuracy where a class is deleted: on all classes, on the other ones, and the best that is
    possible without it."""
    rows = []
    for c in (int(setting) for setting in outcomes.settings("delete_class")):
        mine = outcomes.rows("delete_class", c, arch=arch)
        others = np.delete(np.arange(len(outcomes.class_names)), c)
        weights = outcomes.class_shares[others]
        name, whole = outcomes.class_names[c], outcomes.acc("delete_class", c, arch=arch)
        rest = outcomes.recalls(mine)[:, others] @ weights / weights.sum()
        ceiling = [1 - outcomes.class_shares[c]]
        possible = "ceiling: all but the deleted class"
        rows += [
            value("", "all classes", c, whole, x_text=name),
            value("", "the other classes", c, rest, x_text=name),
            value("", possible, c, ceiling, x_text=name, reference=True),
        ]
    return rows


def beyond_rows(
    outcomes: Outcomes, changes: Changes, panels: Mapping[str, str], *, arch: str, series: str
) -> list[Row]:
    """Drop beyond the ceiling of each changed class; of relabelled ones those that became the next
    class.

    Args:
        panels: aspect -> panel.
    """
    following = len(outcomes.class_names)
    return [
        value(
            panels[aspect],
            series,
            int(c),
            beyond_ceiling(outcomes, aspect, int(c), arch=arch, other=other),
            x_text=outcomes.class_names[int(c)],
        )
        for aspect, c, other in changes
        if other in (-1, (int(c) + 1) % following)
    ]
