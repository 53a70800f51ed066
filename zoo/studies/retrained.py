"""Measures of retrained arms and their findings: gains, curves, nested test sets, similarity beyond
chance. Every measure is an array with one number per seed.

A part is a data set of the study, a group compares arms under one recipe and budget; see
``zoo.studies.results``. Gains are accuracies minus those of the group's first arm, paired by seed,
as fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zoo import keyed, statistics
from zoo.errors import NotFoundError
from zoo.store import selections
from zoo.studies.claims import (
    UNKNOWN,
    Evidence,
    Finding,
    NotTested,
    above,
    all_of,
    points_text,
)
from zoo.studies.compare import shell_accuracies
from zoo.studies.measures import Row, value
from zoo.studies.results import Part, Results
from zoo.trainsets import rules

__all__ = [
    "alike_beyond_chance",
    "alike_when_disjoint",
    "apart",
    "better",
    "curve_rows",
    "disjoint_table",
    "equal",
    "falling",
    "first_step_biggest",
    "gain_rows",
    "ordered_while_training",
    "rise",
    "same_gain",
    "share_of_best",
    "shells",
    "similarity_rows",
    "steps_to",
    "thresholds_table",
    "validation_rows",
    "validation_table",
]

Measure = Callable[[Results], Finding]


def equal(values: ArrayLike, margin: float) -> Evidence:
    """Whether the mean of the values is 0 within a margin: holds if the whole 90 % interval lies
    inside (two one-sided tests at 5 %: Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657),
    fails if the whole 95 % interval lies outside."""
    x = np.asarray(values, dtype=np.float64)
    low, high = above(x, -margin), above(-x, -margin)
    # p is two-sided there; a one-sided test asks for half of it.
    return Evidence(max(low.holds, high.holds) / 2, min(low.fails, high.fails))


def better(
    part: str,
    group: str,
    arms: Sequence[str],
    *,
    least: float = 0.0,
    metric: str = "acc1",
    over: str | None = None,
) -> Measure:
    """Every arm gains more than ``least``. Measured: the mean over the arms."""

    def measure(results: Results) -> Finding:
        gains = {arm: results.gain(part, group, arm, metric=metric, over=over) for arm in arms}
        note = "; ".join(f"{arm} {points_text(gain)}" for arm, gain in gains.items()) + "."
        return Finding(
            all_of([above(gain, least) for gain in gains.values()]), _mean(gains), note=note
        )

    return measure


def apart(part: str, group: str, arms: Sequence[str], margin: float) -> Measure:
    """Each two of the arms are equal within a margin. Measured: the last minus the first."""

    def measure(results: Results) -> Finding:
        pairs = {
            f"{b} - {a}": results.gain(part, group, b, over=a)
            for number, a in enumerate(arms)
            for b in arms[number + 1 :]
        }
        note = "; ".join(f"{name} {points_text(d)}" for name, d in pairs.items()) + "."
        return Finding(
            all_of([equal(d, margin) for d in pairs.values()]),
            results.gain(part, group, arms[-1], over=arms[0]),
            note=note,
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
            all_of([above(s, 0.0) for s in saved.values()]), _mean(saved), unit="", note=note
        )

    return measure


def _first(wide: pd.DataFrame, goal: pd.Series) -> NDArray[np.float64]:
    """The first epoch at which each seed's accuracy reaches its goal; after the last if never."""
    epochs = wide.index.to_numpy(dtype=np.float64)
    reached = wide.to_numpy() >= goal.to_numpy()
    after = epochs[-1] + (epochs[-1] - epochs[-2])
    found = np.where(reached.any(axis=0), epochs[reached.argmax(axis=0)], after)
    return np.asarray(found, dtype=np.float64)


# ---------------------------------------------------------------- nested test sets


def validation_table(part: Part) -> pd.DataFrame:
    """The part's test set and its cleaned parts, by the part's ``on``: on, n, kept (share), c and x
    (largest that is kept), population (mean accuracy of the population there, 1 - mean X)."""
    scores = part.scores["test"]
    rows = []
    whole = rules.build([], scores, num_classes=len(part.dataset.class_names))
    for op in (None, *part.experiment.on):
        kept = (
            whole
            if op is None
            else rules.build(
                [(op.name, op.params)], scores, num_classes=len(part.dataset.class_names)
            )
        )
        mine = scores[scores["example_id"].isin(kept.example_ids)]
        rows.append(
            {
                "on": "full" if op is None else op.text,
                "n": len(kept),
                "kept": len(kept) / len(whole),
                "c": float(mine["c_perplexity"].max()),
                "x": float(mine["x_perplexity"].max()),
                "population": float(1 - mine["x_perplexity"].mean()),
            }
        )
    return pd.DataFrame(rows)


def thresholds_table(part: Part, chains: Mapping[str, str]) -> pd.DataFrame:
    """What thresholds keep of a part's training set: name, rule, kept (share), smallest_class and
    largest_class (share kept of the class that keeps least and most), c and x (largest that is
    kept). A rule that keeps nothing has kept 0.

    Args:
        chains: name -> rules as text.
    """
    scores, classes = part.scores["train"], len(part.dataset.class_names)
    whole = rules.build([], scores, num_classes=classes)
    there = np.bincount(whole.labels, minlength=classes)
    rows = []
    for name, text in chains.items():
        about: dict[str, object] = {"name": name, "rule": text}
        try:
            kept = rules.build(rules.parse(text), scores, num_classes=classes)
        except NotFoundError:
            rows.append({**about, "kept": 0.0})
            continue
        mine = scores[scores["example_id"].isin(kept.example_ids)]
        shares = np.bincount(kept.labels, minlength=classes) / np.maximum(there, 1)
        rows.append(
            {
                **about,
                "kept": len(kept) / len(whole),
                "smallest_class": float(shares.min()),
                "largest_class": float(shares.max()),
                "c": float(mine["c_perplexity"].max()),
                "x": float(mine["x_perplexity"].max()),
            }
        )
    return pd.DataFrame(rows)


def _nested(results: Results, part: str) -> pd.DataFrame:
    """on, n, population (mean accuracy of the population there), from the whole set inwards."""
    table = results.of("validation", part).sort_values("n", ascending=False)
    if len(table) < 2:
        raise NotTested("One test set: nothing is nested.")
    return table


def rise(part: str, group: str, arms: Sequence[str], *, beyond: bool = False) -> Measure:
    """Accuracy rises from each cleaned test set to the next stricter one, in every arm; ``beyond``:
    by more than the population's own accuracy does. Measured: whole to strictest, first arm."""

    def measure(results: Results) -> Finding:
        table = _nested(results, part)
        parts, notes, shown = [], [], np.zeros(0)
        for arm in arms:
            curve = [results.accuracy(part, group, arm, on=str(on)) for on in table["on"]]
            values = np.stack([c.to_numpy() for c in curve])  # [sets, seeds]
            if beyond:
                values = values - table["population"].to_numpy()[:, None]
            parts += [above(step, 0.0) for step in np.diff(values, axis=0)]
            whole = values[-1] - values[0]
            shown = shown if len(shown) else whole
            notes.append(f"{arm} {points_text(whole)}")
        return Finding(all_of(parts), shown, note="Whole to strictest: " + "; ".join(notes) + ".")

    return measure


def shells(part: str, group: str, arms: Sequence[str]) -> Measure:
    """On the shells between the nested test sets, accuracy falls outwards in every arm: else scores
    and pictures are misaligned (the paper's own table 2 fails this). Measured: innermost minus
    outermost, first arm."""

    def measure(results: Results) -> Finding:
        table = _nested(results, part)
        parts, notes, shown = [], [], np.zeros(0)
        for arm in arms:
            curve = [results.accuracy(part, group, arm, on=str(on)) for on in table["on"]]
            by_seed = np.array(
                [
                    shell_accuracies([int(n) for n in table["n"]], list(values))
                    for values in np.stack([c.to_numpy() for c in curve]).T
                ]
            )  # [seeds, shells], outermost first
            parts += [above(step, 0.0) for step in np.diff(by_seed, axis=1).T]
            notes.append(f"{arm} " + ", ".join(f"{100 * v:.1f}" for v in by_seed.mean(axis=0)))
            shown = shown if len(shown) else by_seed[:, -1] - by_seed[:, 0]
        note = "Shell accuracies in %, outermost first: " + "; ".join(notes) + "."
        return Finding(all_of(parts), shown, note=note)

    return measure


# ---------------------------------------------------------------- similarity


def alike_beyond_chance(
    part: str, group: str, arms: Sequence[str], *, measure: str = "kappa"
) -> Measure:
    """Each two of the arms agree more with each other than the first arm of the group does with
    either, beyond what their accuracies alone give, with different seeds throughout: weights,
    order and draw are others. Measured: the mean over the pairs."""

    def measured(results: Results) -> Finding:
        table = results.of("similarities", part, arm_group=group, measure=measure)
        first = str(results.of("arms", part, arm_group=group)["arm"].iloc[0])

        def alike(a: str, b: str) -> NDArray[np.float64]:
            """To the other seeds of b, by seed of a."""
            mine = table[(table["arm_a"] == a) & (table["arm_b"] == b)]
            if mine.empty:
                raise NotFoundError(f"no similarity of {a} and {b}")
            return mine.sort_values("seed_a")["similarity"].to_numpy(dtype=np.float64)

        pairs = [(a, b) for n, a in enumerate(arms) for b in arms[n + 1 :]]
        beyond = {
            f"{a}, {b}": alike(a, b) - 0.5 * (alike(a, first) + alike(b, first)) for a, b in pairs
        }
        parts = [above(alike(a, b) - alike(x, first), 0.0) for a, b in pairs for x in (a, b)]
        note = (
            "; ".join(f"{name} {points_text(d, '')}" for name, d in beyond.items())
            + f". Two seeds of {first}: {points_text(alike(first, first), '')}; of {arms[-1]}:"
            f" {points_text(alike(arms[-1], arms[-1]), '')}."
        )
        return Finding(all_of(parts), _mean(beyond), unit="", note=note)

    return measured


def disjoint_table(part: Part, group: str, other: str) -> pd.DataFrame:
    """How alike each arm of a group is to one whose draw has nothing in common with its own: arm,
    seed, shared (training examples of both; 0 by the arm's rule), kappa. Both networks of a seed:
    the weights at the start are the same, as they are for all arms of a seed.

    Raises:
        NotFoundError: if the group was not compared.
    """
    found = [(g, arms) for g, arms in part.groups if g.name == group]
    if part.comparison is None or not found:
        raise NotFoundError(f"no comparison of {group}")
    table = part.comparison.similarities
    table = table[(table["arm_group"] == group) & (table["measure"] == "kappa")]
    table = table[(table["arm_b"] == other) & (table["seed_a"] == table["seed_b"])]

    def drawn(arm: str | None, seed: int) -> NDArray[np.int64]:
        if arm is None:
            return np.arange(len(part.dataset.splits["train"]))
        return selections.selection_of(
            part.workspace,
            arm,
            seed=seed,
            dataset=part.dataset.fingerprint,
            split="train",
        ).example_ids

    selection = {arm.name: arm.selection for arm in found[0][0].arms}
    rows = [
        {
            "arm": row["arm_a"],
            "seed": row["seed_a"],
            "shared": len(
                np.intersect1d(
                    drawn(selection[row["arm_a"]], row["seed_a"]),
                    drawn(selection[other], row["seed_a"]),
                )
            ),
            "kappa": row["similarity"],
        }
        for row in table.to_dict(orient="records")
        if row["arm_a"] != other
    ]
    return pd.DataFrame(rows, columns=["arm", "seed", "shared", "kappa"])


def alike_when_disjoint(part: str, arms: Sequence[str], first: str, own: str) -> Measure:
    """Each of the arms agrees more with another cleaned arm, of whose examples it has none, than
    the baseline does, which has none of them either; beyond what accuracies alone give. Measured:
    the mean over the arms.

    Args:
        first: the baseline.
        own: the arm cleaned as the other one is; its agreement is noted, and decides nothing.
    """

    def measured(results: Results) -> Finding:
        table = results.of("disjoint", part)
        table = table[table["arm"].isin([first, own, *arms])]
        if table["shared"].max() > 0:
            raise NotTested(f"Two draws share up to {table['shared'].max()} examples.")
        wide = table.pivot_table(index="seed", columns="arm", values="kappa").dropna()
        beyond = {arm: (wide[arm] - wide[first]).to_numpy(np.float64) for arm in arms}
        note = "; ".join(f"{arm} {points_text(d, '')}" for arm, d in beyond.items())
        same = points_text((wide[own] - wide[first]).to_numpy(np.float64), "")
        return Finding(
            all_of([above(d, 0.0) for d in beyond.values()]),
            _mean(beyond),
            unit="",
            note=f"{note}; {own}, another draw by the same rule, {same}.",
        )

    return measured


# ---------------------------------------------------------------- ladders


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
        note = "Gain by step: " + ", ".join(
            f"{arm} {points_text(step)}" for arm, step in zip(ladder[1:], steps, strict=True)
        )
        return Finding(
            all_of([above(steps[0] - step, 0.0) for step in later]),
            steps[0] - largest,
            note=f"{note}.",
        )

    return measure


def _mean(values: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.mean(list(values.values()), axis=0), dtype=np.float64)


# ---------------------------------------------------------------- rows of charts


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


def interval_text(values: ArrayLike) -> str:
    """``+1.2 [+0.4, +2.0] points``: mean and 95 % interval over seeds."""
    mean, low, high = (100 * v for v in statistics.mean_interval(np.asarray(values, np.float64)))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}] points"


def validation_rows(results: Results, part: str, group: str, arms: Sequence[str]) -> list[Row]:
    """Accuracy of each arm, and of the population, on the nested test sets."""
    table = results.of("validation", part).sort_values("n", ascending=False)
    sets = list(zip(table["on"], table["kept"], table["population"], strict=True))
    rows = [
        value("", arm, at, results.accuracy(part, group, arm, on=on), x_text=_percent(kept))
        for arm in arms
        for at, (on, kept, _) in enumerate(sets)
    ]
    return rows + [
        value("", "population", at, [mean], x_text=_percent(kept), reference=True)
        for at, (_, kept, mean) in enumerate(sets)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def similarity_rows(results: Results, part: str, group: str, arms: Sequence[str]) -> list[Row]:
    """Mean similarity of each two arms over pairs of different seeds; a panel for each measure."""
    table = results.of("similarities", part, arm_group=group)
    means = table.groupby(["measure", "arm_a", "arm_b"])["similarity"].mean().to_dict()
    return [
        {"panel": measure, "row": a, "column": b, "value": float(means[measure, a, b])}
        for measure in ("zero_one", "prediction", "kappa")
        for a in arms
        for b in arms
        if (measure, a, b) in means
    ]
