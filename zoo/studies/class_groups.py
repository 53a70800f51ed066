"""Easy, middling and hard classes, and what pruning takes from which class.

Source: a later study on the population of "Example perplexity and class label cleaning", which
prunes or weights the training set by X and C and looks at groups of classes by their mean X on the
validation set. Letters: M classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.errors import NotFoundError
from zoo.studies.arms import read_test_answers
from zoo.studies.claims import Finding, Measure, above, below, each_text
from zoo.studies.compare import acc1
from zoo.studies.measures import Row, value
from zoo.studies.results import Part, Results
from zoo.trainsets.scored import scored

__all__ = [
    "GROUPS",
    "class_groups",
    "group_accuracies",
    "group_gain",
    "group_gains",
    "group_rows",
    "pruned_class_rows",
    "pruned_classes",
    "pruned_rows",
    "pruned_shares",
]

GROUPS: Final = {"easy": (3, 8), "mid": (65, 70), "hard": (95, 100)}
"""Groups by rank of mean X, from and up to so many per cent of the classes."""


def class_groups(mean_x: Floats) -> dict[str, Ints]:
    """Classes of each group, by rank of their mean X from low to high (ties: lower index first); at
    least one class each.

    Of 1,000 classes ranks 30 to 79, 650 to 699 and 950 to 999 (counted from 0; the source has 949
    to 998 for the last); of ten the first, the seventh and the tenth.

    Args:
        mean_x: float64 [M], NaN = a class without an example, which is in no group.

    Raises:
        NotFoundError: if no class has an example.
    """
    order = np.argsort(mean_x, kind="stable")[: int((~np.isnan(mean_x)).sum())]
    if not len(order):
        raise NotFoundError("no class has an example with scores: there are no groups of classes")
    groups = {}
    for name, (low, high) in GROUPS.items():
        start = low * len(order) // 100
        groups[name] = order[start : max(start + 1, high * len(order) // 100)]
    return groups


def group_accuracies(part: Part) -> pd.DataFrame:
    """Test accuracy of every retrained network on the groups of classes.

    Returns:
        One row per arm, seed and group: arm_group, arm, arch, seed, classes (the group), names (of
        its classes), mean_x (of its examples), n, acc1.

    Raises:
        NotFoundError: if the part has no scores of its test split.
    """
    if "test" not in part.scores:
        raise NotFoundError(f"part {part.name}: no scores of the test split. Fill and score it.")
    rows = scored(part.scores["test"], None)
    x = rows.column("x")
    classes = len(part.dataset.class_names)
    size = np.bincount(rows.labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        mean_x = np.bincount(rows.labels, weights=x, minlength=classes) / size
    groups = class_groups(mean_x)
    jobs = [job for _, arms in part.groups for mine in arms.values() for job in mine]
    finals, answers = read_test_answers(part.workspace, jobs)
    inside = {name: np.isin(answers.labels, members) for name, members in groups.items()}
    table = []
    for group, arms in part.groups:
        for arm in group.arms:
            for job in (job for job in arms[arm.name] if job.id in finals):
                said = answers.predictions[finals[job.id]]
                about = {"arm_group": group.name, "arm": arm.name, "arch": job.arch}
                table += [
                    {
                        **about,
                        "seed": job.seed,
                        "classes": name,
                        "names": ", ".join(part.dataset.class_names[k] for k in members[:10]),
                        "mean_x": float(x[np.isin(rows.labels, members)].mean()),
                        "n": int((inside[name] & (said >= 0)).sum()),
                        "acc1": acc1(said[inside[name]], answers.labels[inside[name]]),
                    }
                    for name, members in groups.items()
                ]
    return pd.DataFrame(table)


def pruned_shares(scores: pd.DataFrame, percentiles: Sequence[int]) -> pd.DataFrame:
    """How much pruning at a percentile takes.

    Returns:
        One row per percentile p and kind: percentile, kind, n, share. Kinds: C (above its
        percentile p), X, both (AND), either (OR, the rule of the source).
    """
    rows = scored(scores, None)
    table: list[dict[str, Any]] = []
    for p in percentiles:
        c, x = (rows.meets(f"percentile({name}) > {p}") for name in ("c", "x"))
        table += [
            {"percentile": p, "kind": kind, "n": int(mask.sum()), "share": float(mask.mean())}
            for kind, mask in (("C", c), ("X", x), ("both", c & x), ("either", c | x))
        ]
    return pd.DataFrame(table)


def pruned_classes(
    scores: pd.DataFrame, class_names: Sequence[str], percentiles: Sequence[int], top: int = 10
) -> pd.DataFrame:
    """Which classes pruning by C OR X takes most from, by share of the class.

    Returns:
        At each percentile the ``top`` classes: percentile, rank (1, 2, ...), class, n, size, share.
    """
    rows = scored(scores, None)
    size = np.bincount(rows.labels, minlength=len(class_names))
    table = []
    for p in percentiles:
        gone = rows.meets(f"percentile(c) > {p} or percentile(x) > {p}")
        n = np.bincount(rows.labels[gone], minlength=len(class_names))
        share = n / np.maximum(size, 1)
        for rank, k in enumerate(np.argsort(-share, kind="stable")[:top], start=1):
            about = {"percentile": p, "rank": rank, "class": class_names[k]}
            table.append(about | {"n": int(n[k]), "size": int(size[k]), "share": float(share[k])})
    return pd.DataFrame(table).astype({"class": "str"})


# ---------------------------------------------------------------- findings


def group_gain(
    results: Results, part: str, group: str, arm: str, classes: str
) -> NDArray[np.float64]:
    """Accuracy of an arm on a group of classes minus that of the arm group's first, paired by seed,
    float64 [seeds].

    Raises:
        NotFoundError: if one of them has no result.
    """
    first = str(results.of("class_groups", part, arm_group=group)["arm"].iloc[0])
    mine, other = (
        results.of("class_groups", part, arm_group=group, arm=name, classes=classes)
        .set_index("seed")["acc1"]
        .sort_index()
        for name in (arm, first)
    )
    common = mine.index.intersection(other.index)
    if not len(common):
        raise NotFoundError(f"arms {arm} and {first} of {group} have no seed in common")
    found: NDArray[np.float64] = (mine.loc[common] - other.loc[common]).to_numpy()
    return found


def group_gains(
    part: str, group: str, arm: str, classes: str, *, side: Literal["above", "below"]
) -> Measure:
    """An arm gains (loses) on a group of classes. Measured: its gain."""

    def measure(results: Results) -> Finding:
        gains = {name: group_gain(results, part, group, arm, name) for name in GROUPS}
        decide = above if side == "above" else below
        return Finding(decide(gains[classes], 0.0), gains[classes], note=f"{each_text(gains)}.")

    return measure


# ---------------------------------------------------------------- rows of charts


def group_rows(results: Results, part: str, group: str, arms: Sequence[str]) -> list[Row]:
    """Gain of each arm on each group of classes, a series per group of classes; arms without a
    result are left out."""
    rows = []
    for at, arm in enumerate(arms):
        for name in GROUPS:
            try:
                gain = group_gain(results, part, group, arm, name)
            except NotFoundError:
                continue
            rows.append(value(part, name, float(at), gain, x_text=arm))
    return rows


def pruned_rows(results: Results, parts: Sequence[str]) -> list[Row]:
    """What pruning at a percentile takes, a panel per part, a series per kind."""
    columns = ["percentile", "kind", "share"]
    return [
        value(part, kind, float(p), [share])
        for part in parts
        for p, kind, share in results.of("pruned", part)[columns].itertuples(index=False)
    ]


def pruned_class_rows(results: Results, parts: Sequence[str]) -> list[Row]:
    """The ten classes of a part that lose most at the strictest percentile, each with what it loses
    at every one where it is among the ten; a series per percentile."""
    rows = []
    for part in parts:
        table = results.of("pruned_classes", part)
        strictest = table[table["percentile"] == table["percentile"].min()].sort_values("rank")
        for at, name in enumerate(strictest["class"]):
            mine = table[table["class"] == name]
            rows += [
                value(part, f"{int(p)} %", float(at), [float(share)], x_text=str(name))
                for p, share in zip(mine["percentile"], mine["share"], strict=True)
            ]
    return rows
