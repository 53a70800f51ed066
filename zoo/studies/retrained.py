"""Gains of retrained arms and their curves: findings, and rows for charts. Every measure is an
array with one number per seed.

A part is a data set of the study, a group compares arms under one recipe and budget; see
``zoo.studies.results``. Gains are accuracies minus those of the group's first arm, paired by seed,
as fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.errors import NotFoundError
from zoo.studies.claims import (
    UNKNOWN,
    Evidence,
    Finding,
    Measure,
    NotTested,
    above,
    all_of,
    below,
    each_text,
    equal,
    mean_over,
    points_text,
)
from zoo.studies.measures import Row, value
from zoo.studies.results import Results

__all__ = [
    "adds_up",
    "ahead",
    "apart",
    "as_good",
    "better",
    "curve_rows",
    "falling",
    "first_step_biggest",
    "gain_rows",
    "no_better",
    "ordered_while_training",
    "same_gain",
    "share_of_best",
    "steps_to",
    "worse",
]

# ---------------------------------------------------------------- gains


def better(
    part: str,
    group: str,
    arms: Sequence[str],
    *,
    least: float = 0.0,
    metric: str = "acc1",
    on: str = "full",
) -> Measure:
    """Every arm gains more than ``least``. Measured: the mean over the arms."""

    def measure(results: Results) -> Finding:
        gains = {arm: results.gain(part, group, arm, metric=metric, on=on) for arm in arms}
        return _over_all(gains, [above(gain, least) for gain in gains.values()])

    return measure


def no_better(part: str, group: str, arms: Sequence[str], *, most: float) -> Measure:
    """Every arm gains less than ``most``. Measured: the mean over the arms."""

    def measure(results: Results) -> Finding:
        gains = {arm: results.gain(part, group, arm) for arm in arms}
        return _over_all(gains, [below(gain, most) for gain in gains.values()])

    return measure


def as_good(part: str, group: str, pairs: Mapping[str, str], margin: float) -> Measure:
    """Each arm is equal to another one within a margin. Measured: the mean over the pairs.

    Args:
        pairs: arm -> the one that is subtracted from it, by which the pair is called.
    """

    def measure(results: Results) -> Finding:
        extra = {over: results.gain(part, group, arm, over=over) for arm, over in pairs.items()}
        return _over_all(extra, [equal(d, margin) for d in extra.values()])

    return measure


def _over_all(values: Mapping[str, NDArray[np.float64]], parts: Sequence[Evidence]) -> Finding:
    """All parts must hold; the mean is shown and each is noted."""
    return Finding(all_of(parts), mean_over(values), note=f"{each_text(values)}.")


def ahead(part: str, group: str, arm: str, over: str) -> Measure:
    """An arm is better than another one. Measured: by how much."""

    def measure(results: Results) -> Finding:
        gains = {name: results.gain(part, group, name) for name in (arm, over)}
        more = results.gain(part, group, arm, over=over)
        return Finding(above(more, 0.0), more, note=f"{each_text(gains)}.")

    return measure


def adds_up(part: str, group: str, arm: str, parts: Sequence[str], margin: float) -> Measure:
    """The gains of some arms add up to that of another within a margin. Measured: the other's gain
    minus their sum."""

    def measure(results: Results) -> Finding:
        gains = {name: results.gain(part, group, name) for name in (arm, *parts)}
        left = gains[arm] - np.sum([gains[name] for name in parts], axis=0)
        return Finding(equal(left, margin), left, note=f"{each_text(gains)}.")

    return measure


def worse(part: str, group: str, arm: str, *, on: str, beside: str) -> Measure:
    """An arm loses on a test set of its own. Measured: its gain there; noted: how good another arm
    is there.

    Args:
        beside: that arm, the first of the group.
    """

    def measure(results: Results) -> Finding:
        gain = results.gain(part, group, arm, on=on)
        base = results.accuracy(part, group, beside, on=on)
        note = f"{beside.capitalize()} there: {points_text(base.to_numpy(), 'share')}."
        return Finding(below(gain, 0.0), gain, note=note)

    return measure


def apart(part: str, group: str, arms: Sequence[str], margin: float) -> Measure:
    """Each two of the arms are equal within a margin. Measured: the last minus the first."""

    def measure(results: Results) -> Finding:
        pairs = {
            f"{b} - {a}": results.gain(part, group, b, over=a)
            for number, a in enumerate(arms)
            for b in arms[number + 1 :]
        }
        return Finding(
            all_of([equal(d, margin) for d in pairs.values()]),
            results.gain(part, group, arms[-1], over=arms[0]),
            note=f"{each_text(pairs)}.",
        )

    return measure


def falling(part: str, group: str, arms: Sequence[str], *, metric: str = "acc1") -> Measure:
    """Each arm is better than the next. Measured: the first minus the last."""

    def measure(results: Results) -> Finding:
        steps = [results.gain(part, group, a, over=b, metric=metric) for a, b in pairwise(arms)]
        whole = results.gain(part, group, arms[0], over=arms[-1], metric=metric)
        note = "Steps: " + ", ".join(points_text(step) for step in steps) + "."
        return Finding(all_of([above(step, 0.0) for step in steps]), whole, note=note)

    return measure


def same_gain(part: str, group: str, arm: str, reference: str, *, share: float) -> Measure:
    """An arm gains at least a share of what another gains. Measured: its gain."""

    def measure(results: Results) -> Finding:
        mine, other = (results.gain(part, group, name) for name in (arm, reference))
        note = f"{arm} {points_text(mine)}, {reference} {points_text(other)}."
        return Finding(above(mine - share * other, 0.0), mine, note=note)

    return measure


def share_of_best(part: str, group: str, arm: str, arms: Sequence[str], *, share: float) -> Measure:
    """An arm's gain is at least a share of the best mean gain of some arms, by a bootstrap over the
    seeds that finds the best anew in each resample (percentile method, 10,000 keyed resamples; the
    seeds that all arms have). Undecided where the best gain's interval holds 0: then there is no
    gain to have a share of. Measured: the arm's gain."""

    def measure(results: Results) -> Finding:
        gains = {name: results.gain(part, group, name) for name in arms}
        best = max(gains, key=lambda name: float(gains[name].mean()))
        mine = gains[arm]
        note = f"{arm} {points_text(mine)}; best: {best} {points_text(gains[best])}."
        if above(gains[best], 0.0).verdict != "holds":
            return Finding(UNKNOWN, mine, note=f"{note} The best gain is not above 0.")
        seeds = len(mine)
        drawn = keyed.integers("share_of_best", np.arange(_RESAMPLES), seeds, seeds)
        means = np.stack([gains[name][drawn].mean(axis=1) for name in arms])  # [arms, resamples]
        enough = float((mine[drawn].mean(axis=1) >= share * means.max(axis=0)).mean())
        evidence = Evidence(min(2 * (1 - enough), 1.0), min(2 * enough, 1.0))
        note = f"{note} At least {share:g} of the best in {100 * enough:.1f} % of the resamples."
        return Finding(evidence, mine, note=note)

    return measure


_RESAMPLES = 10_000


def first_step_biggest(part: str, group: str, ladder: Sequence[str]) -> Measure:
    """The first rung of a ladder of cleaning gains more than any later one does. Measured: the
    first step's gain minus the largest later one (by the mean over seeds).

    Args:
        ladder: arms from nothing removed to most.
    """

    def measure(results: Results) -> Finding:
        values = [results.accuracy(part, group, arm) for arm in ladder]
        steps = np.diff(np.stack([v.to_numpy() for v in values]), axis=0)  # [steps, seeds]
        later = steps[1:]
        largest = later[later.mean(axis=1).argmax()]
        by_step = each_text(dict(zip(ladder[1:], steps, strict=True)), between=", ")
        return Finding(
            all_of([above(steps[0] - step, 0.0) for step in later]),
            steps[0] - largest,
            note=f"Gain by step: {by_step}.",
        )

    return measure


def gain_rows(
    results: Results,
    part: str,
    group: str,
    arms: Mapping[str, tuple[float, str]] | Sequence[str],
    panel: str,
    series: str,
    *,
    on: str = "full",
) -> list[Row]:
    """Gain of each arm as a point of a chart; arms without a result are left out.

    Args:
        arms: arm -> (place, word); or the arms in the order to be shown, by their names.
    """
    if not isinstance(arms, Mapping):
        arms = {arm: (float(n), arm) for n, arm in enumerate(arms)}
    rows = []
    for arm, (place, word) in arms.items():
        try:
            gain = results.gain(part, group, arm, on=on)
        except NotFoundError:
            continue
        rows.append(value(panel, series, place, gain, x_text=word))
    return rows


# ---------------------------------------------------------------- curves


def _curves(
    results: Results, part: str, group: str, arm: str, split: str, metric: str
) -> pd.DataFrame:
    """Epochs by seeds."""
    mine = results.of("curves", part, arm_group=group, arm=arm, split=split)
    wide = mine.pivot_table(index="epoch", columns="seed", values=metric)
    return wide.dropna()


def ordered_while_training(
    part: str, group: str, arms: Sequence[str], *, metric: str = "acc1", rising: bool = True
) -> Measure:
    """At 95 % of the epochs after the first, the running training accuracies of all arms stand in
    the order given, lowest first (``rising=False``: highest first). Measured: the share of epochs
    for which that holds, by seed."""

    def measure(results: Results) -> Finding:
        stacked = [_curves(results, part, group, arm, "train", metric).iloc[1:] for arm in arms]
        seeds = sorted(set.intersection(*({*wide.columns} for wide in stacked)))
        if not seeds or not len(stacked[0]):
            raise NotTested("Fewer than two epochs: no curve to compare.")
        values = np.stack([wide[seeds].to_numpy() for wide in stacked])  # [arms, epochs, seeds]
        steps = np.diff(values if rising else -values, axis=0)
        shares = (steps > 0).all(axis=0).mean(axis=0)
        means = values.mean(axis=(1, 2))
        note = "Mean over epochs and seeds: " + ", ".join(
            f"{arm} {mean:.3f}" for arm, mean in zip(arms, means, strict=True)
        )
        return Finding(above(shares, 0.95 - 1e-9), shares, unit="share", note=f"{note}.")

    return measure


def steps_to(part: str, group: str, arms: Sequence[str], *, share: float = 0.9) -> Measure:
    """Each arm reaches a fixed test accuracy, a share of the first arm's own last one, after fewer
    epochs than the first arm of the group does. Measured: epochs saved, mean over the arms."""

    def measure(results: Results) -> Finding:
        first = str(results.of("arms", part, arm_group=group)["arm"].iloc[0])
        base = _curves(results, part, group, first, "test", "acc1")
        if len(base) < 3:
            raise NotTested("Fewer than three evaluations on the test set: no speed to compare.")
        goal = share * base.iloc[-1]
        saved, never = {}, 0
        for arm in arms:
            wide = _curves(results, part, group, arm, "test", "acc1")[base.columns]
            # one that never gets there counts as one evaluation after the last
            took = [_first(table, goal) for table in (base, wide)]
            never += int((took[1] > base.index[-1]).sum())
            saved[arm] = took[0] - took[1]
        note = "Epochs saved: " + ", ".join(f"{a} {s.mean():+.1f}" for a, s in saved.items()) + "."
        if never:
            note += f" {never} trainings never reached the goal."
        return Finding(
            all_of([above(s, 0.0) for s in saved.values()]), mean_over(saved), unit="", note=note
        )

    return measure


def _first(wide: pd.DataFrame, goal: pd.Series) -> NDArray[np.float64]:
    """The first epoch at which each seed's accuracy reaches its goal; after the last if never."""
    epochs = wide.index.to_numpy(dtype=np.float64)
    reached = wide.to_numpy() >= goal.to_numpy()
    after = epochs[-1] + (epochs[-1] - epochs[-2])
    found = np.where(reached.any(axis=0), epochs[reached.argmax(axis=0)], after)
    return np.asarray(found, dtype=np.float64)


def curve_rows(
    results: Results,
    part: str,
    group: str,
    arms: Sequence[str],
    panels: Mapping[str, tuple[str, str]],
) -> list[Row]:
    """Metrics by epoch, a series for each arm.

    Args:
        panels: name -> (split, metric).
    """
    return [
        value(panel, arm, epoch, accuracies)
        for panel, (split, metric) in panels.items()
        for arm in arms
        for wide in [_curves(results, part, group, arm, split, metric)]
        for epoch, accuracies in zip(wide.index.tolist(), wide.to_numpy(), strict=True)
    ]
