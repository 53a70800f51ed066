"""Sets of suspected labels: judged by truth, and what giving them another label would repair and
break.

Source: "Example perplexity and class label cleaning", section 4: set A is X > .95, set B has C < 2
besides; their labels were replaced by the top confusion, with no truth to judge them by. Letters: E
examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Mask
from zoo.errors import NotFoundError
from zoo.statistics import wilson_interval
from zoo.studies.claims import (
    Evidence,
    Finding,
    Measure,
    NotTested,
    below,
    equal,
    points_text,
)
from zoo.studies.measures import Row, value
from zoo.studies.results import Results
from zoo.trainsets.scored import Scored, scored

__all__ = [
    "TARGETS",
    "changed_labels",
    "judged_rows",
    "judged_sets",
    "lowers",
    "mostly_wrong",
    "neutral",
    "per_changed_label",
    "share_above",
    "sheet_rows",
    "shown_sets",
    "slope_rows",
    "suspected",
    "target_rows",
    "target_table",
]

TARGETS = ("top_confusion", "top_probability")
"""Labels that a suspected one may be replaced by: most votes, largest mean probability."""

PLANTED = "planted"
"""What a set is called by that holds as many as are known to be wrong: ``planted:SCORE``."""


def suspected(rows: Scored, sets: Mapping[str, str]) -> dict[str, Mask]:
    """Which examples are in each set, bool [n]; a set that cannot be told here (it asks for the
    number of wrong labels, and no truth is known) is left out.

    Args:
        sets: name -> a condition such as ``x > 0.95``, or ``planted:SCORE``: the worst by that
            score, as many as have a wrong label.
    """
    found = {}
    for name, text in sets.items():
        word, colon, by = text.partition(":")
        if not (colon and word == PLANTED):
            found[name] = rows.meets(text)
            continue
        try:
            number = int(rows.wrong("a set of as many as are wrong")[0].sum())
        except NotFoundError:
            continue
        found[name] = np.zeros(len(rows), dtype=bool)
        found[name][rows.worst_first(by)[:number]] = True
    return found


def judged_sets(scores: pd.DataFrame, sets: Mapping[str, str]) -> pd.DataFrame:
    """Sets of suspects judged by truth.

    Args:
        scores: the ``scores`` table of a split.
        sets: as for ``suspected``.

    Returns:
        One row per set: set, rule, n, share (of the examples with scores), and, null where no truth
        is known: known (how many of the set have a known truth), wrong (of these), precision with
        low and high (Wilson's 95 % interval), recall (of all wrong labels).
    """
    rows = scored(scores, None)
    wrong, right = _truth(rows)
    table = []
    for name, inside in suspected(rows, sets).items():
        known, hits = int((inside & (wrong | right)).sum()), int((inside & wrong).sum())
        low, high = wilson_interval(hits, known)
        told = bool((wrong | right).any())
        table.append(
            {
                "set": name,
                "rule": sets[name],
                "n": int(inside.sum()),
                "share": float(inside.mean()) if len(rows) else float("nan"),
                "known": known if told else None,
                "wrong": hits if told else None,
                "precision": hits / known if known else float("nan"),
                "low": low,
                "high": high,
                "recall": hits / int(wrong.sum()) if wrong.any() else float("nan"),
            }
        )
    columns = ("set", "rule", "n", "share", "known", "wrong", "precision", "low", "high", "recall")
    return pd.DataFrame(table, columns=list(columns)).astype(
        {"known": "Int64", "wrong": "Int64", "set": "str", "rule": "str"}
    )


def target_table(scores: pd.DataFrame, sets: Mapping[str, str]) -> pd.DataFrame:
    """What becomes of the labels of each set when they are replaced by each of ``TARGETS``.

    Returns:
        One row per set and target: set, to, n, changed (labels that are others afterwards), and,
        null where no truth is known, of those changed: repaired (wrong before, right after), broken
        (right before), moved (wrong before and after).
    """
    rows = scored(scores, None)
    wrong, right = _truth(rows)
    told = bool((wrong | right).any())
    truth = rows.column("label_true") if told else np.full(len(rows), np.nan)
    table = []
    for name, inside in suspected(rows, sets).items():
        for to in TARGETS:
            if to not in rows.scores:
                continue
            new = rows.column(to)
            changed = inside & ~np.isnan(new) & (new != rows.labels)
            counts = {
                "repaired": changed & wrong & (new == truth),
                "broken": changed & right,
                "moved": changed & wrong & (new != truth),
            }
            table.append(
                {"set": name, "to": to, "n": int(inside.sum()), "changed": int(changed.sum())}
                | {kind: int(mask.sum()) if told else None for kind, mask in counts.items()}
            )
    columns = ("set", "to", "n", "changed", "repaired", "broken", "moved")
    return pd.DataFrame(table, columns=list(columns)).astype(
        {"repaired": "Int64", "broken": "Int64", "moved": "Int64", "set": "str", "to": "str"}
    )


def shown_sets(
    scores: pd.DataFrame, sets: Mapping[str, str], class_names: Sequence[str], count: int = 24
) -> pd.DataFrame:
    """The most suspicious examples of each set, for contact sheets: set, example_id, key, x, c,
    label_name, top_name (top confusion), true_name (null where the truth is not known), most
    suspicious (by label quality) first."""
    rows = scored(scores, None)
    order = rows.worst_first("label_quality")
    parts = []
    for name, inside in suspected(rows, sets).items():
        mine = scores.iloc[rows.positions[order[inside[order]][:count]]]
        about = {
            "set": name,
            "example_id": mine["example_id"],
            "key": mine["key"],
            "x": mine["x_perplexity"],
            "c": mine["c_perplexity"],
            "label_name": _names(mine, "label", class_names),
            "top_name": _names(mine, "top_confusion", class_names),
            "true_name": _names(mine, "label_true", class_names),
        }
        texts = ("set", "label_name", "top_name", "true_name")
        parts.append(pd.DataFrame(about).astype(dict.fromkeys(texts, "str")))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"set": []})


def _names(scores: pd.DataFrame, column: str, class_names: Sequence[str]) -> list[str | None]:
    """Names of classes; None where there is none, or no such column."""
    if column not in scores:
        return [None] * len(scores)
    return [None if pd.isna(k) or k < 0 else class_names[int(k)] for k in scores[column].tolist()]


def _truth(rows: Scored) -> tuple[Mask, Mask]:
    """(known to be wrong, known to be right), bool [n]; nothing is, where no truth is known."""
    try:
        return rows.wrong("sets")
    except NotFoundError:
        nothing = np.zeros(len(rows), dtype=bool)
        return nothing, nothing


# ---------------------------------------------------------------- findings


def share_above(successes: int, n: int, threshold: float) -> Evidence:
    """Whether a share lies above a threshold: holds if, and only if, the lower end of its Wilson
    interval does, fails if the upper end lies below (the score test that the interval inverts)."""
    from scipy.special import ndtr

    if not n:
        return Evidence(1.0, 1.0)
    z = (successes / n - threshold) / (threshold * (1 - threshold) / n) ** 0.5
    p = 2 * float(ndtr(-abs(z)))
    return Evidence(p if z > 0 else 1.0, p if z < 0 else 1.0)


def mostly_wrong(part: str, name: str, *, share: float = 0.5) -> Measure:
    """More than a share of a set's labels are wrong, by Wilson's interval over its examples.
    Measured: the share (there is one population, so one number)."""

    def measure(results: Results) -> Finding:
        judged = results.of("judged", part)
        if judged["known"].isna().all():  # then there are no sets by the number of wrong labels
            raise NotTested("The truth of these labels is not known.")
        row = results.of("judged", part, set=name).iloc[0]
        if not row["known"]:
            raise NotTested("The set is empty.")
        wrong, known = int(row["wrong"]), int(row["known"])
        note = (
            f"{wrong:,} of {known:,} are wrong [{100 * row['low']:.1f} to"
            f" {100 * row['high']:.1f} %], {100 * row['recall']:.1f} % of all wrong labels."
        )
        evidence = share_above(wrong, known, share)
        return Finding(evidence, np.array([float(row["precision"])]), unit="share", note=note)

    return measure


def changed_labels(results: Results, part: str, group: str, arm: str) -> NDArray[np.float64]:
    """How many labels an arm's selection changes, by seed of its results, float64 [seeds].

    Raises:
        NotFoundError: if the arm has no result.
    """
    arms = results.of("arms", part, arm_group=group, arm=arm, on="full")
    changes = results.of("selected", part)[["selection", "seed", "relabelled"]]
    mine = arms.merge(changes, on=["selection", "seed"], validate="one_to_one").sort_values("seed")
    if len(mine) < len(arms):
        raise NotFoundError(f"what arm {arm} of {group} changes is not known for every seed")
    return mine["relabelled"].to_numpy(dtype=np.float64)


def lowers(part: str, group: str, arm: str) -> Measure:
    """An arm that changes labels loses. Measured: its gain."""

    def measure(results: Results) -> Finding:
        gain = results.gain(part, group, arm)
        return Finding(below(gain, 0.0), gain, note=_changed_text(results, part, group, arm))

    return measure


def neutral(part: str, group: str, arm: str, *, within: float, beside: str, called: str) -> Measure:
    """An arm that changes labels neither gains nor loses, within a margin. Measured: its gain.

    Args:
        beside: another arm; what the arm gains over it is noted.
        called: what the note calls that arm.
    """

    def measure(results: Results) -> Finding:
        gain = results.gain(part, group, arm)
        other = results.gain(part, group, arm, over=beside)
        note = f"{_changed_text(results, part, group, arm)} Minus {called}: {points_text(other)}."
        return Finding(equal(gain, within), gain, note=note)

    return measure


def _changed_text(results: Results, part: str, group: str, arm: str) -> str:
    return f"{changed_labels(results, part, group, arm).mean():,.0f} labels changed."


def per_changed_label(part: str, group: str, arm: str) -> Measure:
    """What a hundred changed labels do to the test accuracy: an arm's gain over the group's first,
    divided by how many labels it changes, by seed. Below 0 where relabelling harms. Measured:
    points per hundred labels."""

    def measure(results: Results) -> Finding:
        gain, changed = (
            results.gain(part, group, arm),
            changed_labels(results, part, group, arm),
        )
        if not (changed > 0).all():
            raise NotTested("The set is empty: no label is changed.")
        slope = 100 * gain / changed
        note = f"{points_text(gain)} by {changed.mean():,.0f} changed labels."
        return Finding(below(slope, 0.0), slope, unit="slope", note=note)

    return measure


# ---------------------------------------------------------------- rows of charts


def judged_rows(results: Results, parts: Sequence[str], sets: Sequence[str]) -> list[Row]:
    """Precision and recall of the sets by truth, a panel each, a series per part.

    Args:
        sets: in the order to be shown.
    """
    return [
        value(panel, part, sets.index(row["set"]), [row[panel]], x_text=row["set"])
        for part in parts
        for row in _told(results, "judged", part, "precision")
        for panel in ("precision", "recall")
    ]


def target_rows(results: Results, parts: Sequence[str], sets: Sequence[str]) -> list[Row]:
    """Share of the changed labels of each set that are repaired, broken and moved by each target, a
    panel per part and target.

    Args:
        sets: in the order to be shown.
    """
    return [
        value(
            f"{part}, to {str(row['to']).replace('_', ' ')}",
            kind,
            sets.index(row["set"]),
            [row[kind] / row["changed"]],
            x_text=row["set"],
        )
        for part in parts
        for row in _told(results, "targets", part, "repaired")
        for kind in ("repaired", "broken", "moved")
        if row["changed"]
    ]


def _told(results: Results, table: str, part: str, column: str) -> list[dict[str, Any]]:
    """The rows of a table of sets that truth says something of: sets that are not empty, in a part
    that knows it.

    Args:
        column: null where no truth is known.
    """
    try:
        found = results.of(table, part)
    except NotFoundError:
        return []
    rows = found[found[column].notna() & (found["n"] > 0)].to_dict(orient="records")
    return [{str(k): v for k, v in row.items()} for row in rows]


def slope_rows(
    results: Results, part: str, group_of: Callable[[str], str], models: Mapping[str, Sequence[str]]
) -> list[Row]:
    """Gain of arms by how many labels they change; arms without a result are left out.

    Args:
        group_of: arm -> the group that it is in.
        models: series -> its arms.
    """
    rows = []
    for model, arms in models.items():
        for arm in arms:
            group = group_of(arm)
            try:
                changed = float(changed_labels(results, part, group, arm).mean())
                rows.append(value(part, model, changed, results.gain(part, group, arm)))
            except NotFoundError:
                continue
    return rows


def sheet_rows(results: Results, part: str) -> pd.DataFrame:
    """The sets' most suspicious examples as the table of a chart of kind ``pictures``: label, C and
    X, top confusion, and what the label truly is, where that is known."""
    shown = results.of("shown", part)
    texts = []
    for row in shown.to_dict(orient="records"):
        lines = [
            str(row["label_name"]),
            f"C {row['c']:.2f}  X {100 * row['x']:.1f} %",
            f"\u2192 {row['top_name']}",
        ]
        if pd.notna(row["true_name"]):
            right = row["true_name"] == row["label_name"]
            lines.append("label right" if right else f"true: {row['true_name']}")
        texts.append("\n".join(lines))
    panels = [f"set {name}" for name in shown["set"]]
    return pd.DataFrame({"panel": panels, "picture": shown["picture"].tolist(), "text": texts})
