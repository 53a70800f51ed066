"""Similarity of retrained networks beyond chance: of two arms, and of two whose draws have nothing
in common.

Source: "Example perplexity and class label cleaning", figures 5 and 6; kappa takes off what the
accuracies alone give. Every measure is an array with one number per seed; see
``zoo.studies.results`` for parts and groups.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.errors import NotFoundError
from zoo.store import selections
from zoo.studies.claims import (
    Finding,
    Measure,
    NotTested,
    above,
    all_of,
    each_text,
    mean_over,
    points_text,
)
from zoo.studies.measures import Row
from zoo.studies.results import Part, Results

__all__ = ["alike_beyond_chance", "alike_when_disjoint", "disjoint_table", "similarity_rows"]


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
            f"{each_text(beyond, '')}. Two seeds of {first}:"
            f" {points_text(alike(first, first), '')}; of {arms[-1]}:"
            f" {points_text(alike(arms[-1], arms[-1]), '')}."
        )
        return Finding(all_of(parts), mean_over(beyond), unit="", note=note)

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
        same = points_text((wide[own] - wide[first]).to_numpy(np.float64), "")
        return Finding(
            all_of([above(d, 0.0) for d in beyond.values()]),
            mean_over(beyond),
            unit="",
            note=f"{each_text(beyond, '')}; {own}, another draw by the same rule, {same}.",
        )

    return measured


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
