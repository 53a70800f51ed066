"""Choices of rules and treatments that only a tie, a second class or a second setting shows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoo.manifest import Manifest
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.rules import build, manifest_summary, parse
from zoo.trainsets.treatments import apply_rows, op


def scores(**columns: object) -> pd.DataFrame:
    """Four examples of two classes; example 2 is the hardest by C, example 1 the most wrong by X
    and by label quality."""
    base: dict[str, object] = {
        "example_id": [0, 1, 2, 3],
        "label": [0, 0, 1, 1],
        "x_perplexity": [0.0, 1.0, 0.5, 0.25],
        "c_perplexity": [1.0, 1.5, 2.0, 1.5],
        "label_quality": [0.9, 0.1, 0.5, 0.7],
        "top_confusion": [1, 1, 0, 0],
    }
    return pd.DataFrame(base | columns)


def made(text: str, table: pd.DataFrame | None = None) -> Manifest:
    return build(parse(text), scores() if table is None else table, num_classes=2)


def test_worst_breaks_a_tie_by_higher_x() -> None:
    """Examples 0 and 1 have the same C; the one that more classifiers miss goes first, in either
    order of ids."""
    for x, left in (([0.25, 0.75, 0.0, 0.0], [0, 2, 3]), ([0.75, 0.25, 0.0, 0.0], [1, 2, 3])):
        table = scores(c_perplexity=[2.0, 2.0, 1.0, 1.0], x_perplexity=x)
        assert made("worst:share=0.25,by=c", table).example_ids.tolist() == left


def test_relabel_worst_ranks_by_the_score_asked_for() -> None:
    """By C the worst is example 2, by X and by default (label quality) it is example 1."""
    for by, changed in (("by=c,", 2), ("by=x,", 1), ("", 1)):
        manifest = made(f"relabel_worst:{by}count=1").frame().set_index("example_id")["label"]
        assert [i for i in range(4) if manifest[i] != scores()["label"][i]] == [changed]


def test_every_class_is_filled_up_by_draws_of_its_own() -> None:
    """Two classes of 40 brought to 120: the same number of copies each, but not the same pattern of
    them."""
    table = pd.DataFrame(
        {
            "example_id": np.arange(80),
            "label": np.repeat([0, 1], 40),
            "x_perplexity": 0.5,
            "c_perplexity": 1.5,
        }
    )
    copies = made("per_class:count=120", table).copies.reshape(2, 40)
    assert copies.sum(axis=1).tolist() == [120, 120]
    assert (copies[0] != copies[1]).mean() > 0.3


def whole(n: int = 400) -> Rows:
    return Rows(np.arange(n), np.arange(n) % 4, np.ones(n, dtype=np.float32), 4)


def chosen(**params: object) -> set[int]:
    return set(
        apply_rows(
            (op("subsample", **params),), whole(), manifests=lambda name: pytest.fail(name)
        ).example_ids.tolist()
    )  # type: ignore[arg-type]


def test_subsamples_of_two_fractions_are_independent_draws() -> None:
    """A quarter shares about half of its 100 rows with a half, not all of them; two replicas of a
    half share about half, one replica all."""
    quarter, half, other = (
        chosen(fraction=0.25),
        chosen(fraction=0.5),
        chosen(fraction=0.5, replica=1),
    )
    assert 30 < len(quarter & half) < 70
    assert 70 < len(half & other) < 130
    assert half == chosen(fraction=0.5)


@pytest.mark.parametrize(
    "rules",
    [
        "weigh:by=x+below:x=0.6",
        "weigh:by=c,favour=hard+worst:share=0.5",
        "weigh:by=x+per_class:count=3",
    ],
)
def test_weights_have_mean_one_whatever_follows(rules: str) -> None:
    """Rules after ``weigh`` drop or repeat weighted examples; the mean over the copies is 1 all the
    same, and the ratios are the rule's."""
    manifest = made(rules)
    assert manifest_summary(manifest, num_classes=2)["mean_weight"] == pytest.approx(1, abs=1e-6)
    before = made(rules.partition("+")[0]).frame().set_index("example_id")["weight"]
    ratios = manifest.weights / before[manifest.example_ids].to_numpy()
    assert ratios == pytest.approx(np.full(len(ratios), ratios[0]), rel=1e-5)


def test_weights_that_nothing_follows_keep_their_bytes() -> None:
    """``weigh`` alone has mean 1 up to the rounding of float32 and is not divided again: hashes of
    manifests stay."""
    manifest = made("weigh:by=x")
    raw = np.e - 0.5 * np.exp(np.array([0.0, 1.0, 0.5, 0.25]))
    assert manifest.weights.tolist() == (raw / raw.mean()).astype(np.float32).tolist()
