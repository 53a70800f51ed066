"""Groups of classes by how hard they are, what pruning takes from them, and what arms do there."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import pytest

from zoo.errors import NotFoundError
from zoo.studies import class_groups
from zoo.studies.results import Results


def test_groups_of_a_thousand_classes_are_the_published_ranks() -> None:
    """Easy 30 to 79, mid 650 to 699, hard the last fifty, 50 each, by mean X from low to high."""
    x = np.random.default_rng(0).permutation(1000) / 1000
    groups = class_groups.class_groups(x)
    assert {name: len(members) for name, members in groups.items()} == {
        "easy": 50,
        "mid": 50,
        "hard": 50,
    }
    ranks = {name: np.sort(np.round(1000 * x[members])) for name, members in groups.items()}
    assert ranks["easy"].tolist() == list(range(30, 80))
    assert ranks["mid"].tolist() == list(range(650, 700))
    assert ranks["hard"].tolist() == list(range(950, 1000))


def test_groups_of_few_classes_have_one_each() -> None:
    """Ten classes: the first, the seventh and the last; a class without an example is in none; one
    class is in all."""
    x = np.array([0.5, 0.1, 0.9, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.0])
    groups = {name: m.tolist() for name, m in class_groups.class_groups(x).items()}
    assert groups == {"easy": [9], "mid": [6], "hard": [2]}
    x[2] = np.nan
    assert class_groups.class_groups(x)["hard"].tolist() == [8]
    one = class_groups.class_groups(np.array([np.nan, 0.5]))
    assert [m.tolist() for m in one.values()] == [[1], [1], [1]]
    with pytest.raises(NotFoundError, match="no class has an example"):
        class_groups.class_groups(np.array([np.nan]))


def scores() -> pd.DataFrame:
    """Twenty examples of two classes: C rises with the id, X falls, but for 19, which has both."""
    x = np.linspace(1, 0, 20)
    x[19] = 2.0 / 2
    x[0] = 0.97
    return pd.DataFrame(
        {
            "example_id": range(20),
            "label": [0] * 10 + [1] * 10,
            "x_perplexity": x,
            "c_perplexity": np.linspace(1, 2, 20),
        }
    )


def test_pruning_takes_the_union() -> None:
    """Above the 90th percentile of twenty lie two: 18, 19 by C, 0, 19 by X: both take one, either
    three, as numpy's percentiles say."""
    table = scores()
    found = class_groups.pruned_shares(table, [90]).set_index("kind")["n"].to_dict()
    assert found == {"C": 2, "X": 2, "both": 1, "either": 3}
    c, x = (table[f"{name}_perplexity"] for name in "cx")
    assert ((c > np.percentile(c, 90)) | (x > np.percentile(x, 90))).sum() == 3


def test_classes_that_lose_most_come_first() -> None:
    """Of the three one is of class 0, two are of class 1."""
    found = class_groups.pruned_classes(scores(), ["a", "b"], [90])
    assert found[["rank", "class", "n", "size", "share"]].to_numpy().tolist() == [
        [1, "b", 2, 10, 0.2],
        [2, "a", 1, 10, 0.1],
    ]


def results(hard: float) -> Results:
    """Two arms, three seeds; the second's accuracy on the hard classes differs by so much, on the
    others by nothing."""
    rows = [
        {"part": "p", "arm_group": "g", "arm": arm, "seed": seed, "classes": name}
        | {"acc1": 0.5 + seed / 100 + (hard * (1 + seed / 50) if (arm, name) == at else 0.0)}
        for at in [("A", "hard")]
        for arm in ("base", "A")
        for seed in range(3)
        for name in class_groups.GROUPS
    ]
    return Results({"class_groups": pd.DataFrame(rows)}, scale="tiny", dataset="any")


@pytest.mark.parametrize(
    ("hard", "side", "said"),
    [
        (-0.02, "below", "holds"),
        (0.02, "below", "fails"),
        (0.02, "above", "holds"),
        (0.0, "above", "undecided"),
    ],
)
def test_an_arm_gains_or_loses_on_a_group(
    hard: float, side: Literal["above", "below"], said: str
) -> None:
    """Paired by seed; the note has all three groups."""
    found = class_groups.group_gains("p", "g", "A", "hard", side=side)(results(hard))
    assert found.evidence.verdict == said
    assert "easy 0.0 ± 0.0 points" in found.note
    with pytest.raises(NotFoundError):
        class_groups.group_gain(results(hard), "p", "g", "B", "hard")
