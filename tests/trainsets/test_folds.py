"""Complementary folds: every example is held out equally often, by construction."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import done, zoo
from factories import manifest, write_split
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.spec import Op
from zoo.store.workspace import Workspace
from zoo.studies.rerun import commands_of
from zoo.trainsets.on_rows import Rows, fold, lay_manifest, small_classes
from zoo.trainsets.sweeps import sweep_of

LOCAL = ("--runner", "local")


def rows_of(labels: list[int], num_classes: int = 4) -> Rows:
    return Rows(
        np.arange(len(labels), dtype=np.int64) * 3,
        np.array(labels, dtype=np.int64),
        np.ones(len(labels), dtype=np.float32),
        num_classes,
    )


def held_out(rows: Rows, of: int, repeat: int) -> list[set[int]]:
    """The examples that each fold leaves out."""
    return [
        set(rows.example_ids.tolist())
        - set(fold(rows, index=index, of=of, repeat=repeat).example_ids.tolist())
        for index in range(of)
    ]


@given(st.data())
def test_each_repeat_holds_out_every_example_exactly_once(data: st.DataObject) -> None:
    """But for the only one of its class. Folds differ by one example at most, in all and of each
    class."""
    labels = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=60))
    of = data.draw(st.integers(2, min(7, len(labels))))
    rows, counts = rows_of(labels), Counter(labels)
    label_of = dict(zip(rows.example_ids.tolist(), labels, strict=True))
    for repeat in (0, 1):
        folds = held_out(rows, of, repeat)
        times = Counter(example for left in folds for example in left)
        assert times == {e: 1 for e, label in label_of.items() if counts[label] > 1}
        for chosen in (None, 0, 1, 2, 3):
            sizes = [sum(chosen in (None, label_of[e]) for e in left) for left in folds]
            assert max(sizes) - min(sizes) <= 1


def test_repeats_are_draws_of_their_own_and_order_does_not_matter() -> None:
    """The same fold whatever the order of the rows; another one in another repeat."""
    rows = rows_of([0, 1] * 20)
    turned = rows.take(np.arange(len(rows), dtype=np.int64)[::-1].copy())
    assert held_out(rows, 5, 0) == held_out(turned, 5, 0) != held_out(rows, 5, 1)


def test_copies_of_an_example_stay_together() -> None:
    """Each of four examples twice: whoever leaves one out leaves both."""
    rows = rows_of([0, 0, 1, 1])
    twice = lay_manifest(rows, lambda _: manifest([0, 3, 6, 9], [0, 0, 1, 1], copies=2), id="m")
    for index in range(2):
        left = fold(twice, index=index, of=2)
        assert sorted(Counter(left.example_ids.tolist()).values()) == [2, 2]


@pytest.mark.parametrize(
    ("labels", "params", "said"),
    [
        ([0, 0, 1], {"index": 5, "of": 5}, "fold: index = 5 of 5 folds. Allowed: 0 to 4."),
        ([0, 0, 1], {"index": 0, "of": 4}, "fold: of = 4 folds of 3 examples. Allowed: 2 to 3."),
    ],
)
def test_folds_that_cannot_be(labels: list[int], params: dict[str, int], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        fold(rows_of(labels), **params)
    assert str(refused.value).startswith(said)


def test_small_classes_are_named() -> None:
    """Of 6, 2, 1 and 0 examples in three folds, the second and the third are told of."""
    rows = rows_of([0] * 6 + [1, 1, 2])
    assert small_classes(rows, 3, "abcd") == (
        "b (2): fewer than 3 examples, so some folds hold none: held out all the same; c (1): a"
        " single example, which no fold can hold out: it is ranked apart"
    )
    assert small_classes(rows_of([0, 0, 1, 1]), 2, "abcd") == ""


def test_folds_as_they_are_written() -> None:
    """``2x2``: four trainings, in the place of the whole set; beside fractions where these are
    given."""

    def steps(fractions: list[str] | None) -> list[tuple[Op, ...]]:
        sweep = sweep_of(["mlp"], fractions, None, None, "adam", None, None, None, ["2x2"])
        return list(sweep.treatments)

    assert [[op.text for op in ops] for ops in steps(None)] == [
        [f"fold:index={index},of=2,repeat={repeat}"] for repeat in (0, 1) for index in (0, 1)
    ]
    assert steps(["1"]) == [(), *steps(None)]
    for text, said in (("x", "write 5 for five folds"), ("1x2", "two folds or more")):
        with pytest.raises(UsageError, match=said):
            sweep_of(["mlp"], None, None, None, "adam", None, None, None, [text])


def test_a_set_without_a_test_split_is_trained_filled_scored_and_judged(tmp_path: Path) -> None:
    """Every example is held out twice of four; no test accuracy; rerun says --folds; arms are
    refused."""
    (tmp_path / "pets").mkdir()
    write_split(tmp_path / "pets" / "train.parquet", [0, 1, 2] * 8 + [3], classes=4)
    here = ("-w", tmp_path / "w")
    data = ("--data", tmp_path / "pets")
    trained = zoo(
        "train", *data, "--archs", "softmax", "--folds", "2x2", "--epochs", "1", *LOCAL, *here
    )
    assert trained.code == 0, trained
    assert "(1): a single example" in trained.err
    done("fill", *LOCAL, *here)
    found = json.loads(done("score", "--json", *here))
    assert (found["examples"], found["classifiers"], found["not_held_out"]) == (25, 4, 1)
    query = "select n_heldout, count(*) n from scores group by all order by all"
    assert json.loads(done("query", query, "--format", "json", *here)) == [
        {"n_heldout": 0, "n": 1},
        {"n_heldout": 2, "n": 24},
    ]
    query = "select distinct fraction, test_acc1 from classifiers"
    assert json.loads(done("query", query, "--format", "json", *here)) == [
        {"fraction": 0.5, "test_acc1": None}
    ]
    status = done("status", *here)
    assert "held out    pets: 1 of 25 training examples by no classifier" in status
    train = next(
        line for line in commands_of(Workspace.open(tmp_path / "w")) if line.startswith("zoo train")
    )
    assert "--folds 2x2" in train
    assert "of=2" not in train
    again = done(*shlex.split(train)[1:], *LOCAL, *here)
    assert again.startswith("4 trainings done")
    done("report", *here)
    refused = zoo("retrain", "baseline", "--arch", "softmax", *LOCAL, *here)
    assert (refused.code, refused.out) == (1, "")
    assert "has no split 'test'; retrained arms are compared on it" in refused.err
