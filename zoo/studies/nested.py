"""Nested test sets and what thresholds keep: a split and its parts that hold the easier examples,
from the whole inwards, and how arms and the population do on them.

Source: "Example perplexity and class label cleaning", tables 1 to 3. Every measure is an array with
one number per seed, accuracies are fractions; see ``zoo.studies.results`` for parts and groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from zoo.errors import NotFoundError
from zoo.studies.claims import Finding, Measure, NotTested, above, all_of, points_text
from zoo.studies.compare import shell_accuracies
from zoo.studies.measures import Row, value
from zoo.studies.results import Part, Results
from zoo.trainsets import rules

__all__ = ["rise", "shells", "thresholds_table", "validation_rows", "validation_table"]


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
