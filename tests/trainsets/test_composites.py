"""Composites: which halves are put together, the pixels, the data set they make, and a population
that answers it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import QUIET, Tiny, dataset_folder

from zoo import pipeline
from zoo.data import decode_examples, open_dataset
from zoo.errors import UnknownNameError, UsageError
from zoo.local import LocalRunner
from zoo.scores.population import choose_population
from zoo.store import ledger
from zoo.store.answers import answer_parts
from zoo.store.workspace import Workspace
from zoo.trainsets.composites import pairs, pairs_of


def test_each_left_half_stands_beside_one_of_another_class_and_one_of_its_own() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 0, -1, 1, 0])
    table = pairs(labels, 6, 0)
    two, one = table[:6], table[6:]
    assert two["left"].tolist() == one["left"].tolist()
    assert two["kind"].unique().tolist() == ["two classes"]
    assert (labels[two["left"]] != labels[two["right"]]).all()
    assert (labels[one["left"]] == labels[one["right"]]).all()
    assert (table["left"] != table["right"]).all()
    assert 7 not in {*table["left"], *table["right"]}  # of no known class


def test_every_partner_is_as_likely_as_every_other() -> None:
    """Beside example 0, in 200 draws: each of the three others of its class, and each of the three
    of the other, within five standard deviations of a third."""
    labels = np.repeat([0, 1], [4, 3])
    draws = [pairs(labels, 7, seed) for seed in range(200)]
    own: dict[int, int] = {}
    other: dict[int, int] = {}
    for table in draws:
        mine = table[table["left"] == 0]
        for found, kind in ((own, "one class"), (other, "two classes")):
            (right,) = mine.loc[mine["kind"] == kind, "right"]
            found[right] = found.get(right, 0) + 1
    assert sorted(own) == [1, 2, 3]
    assert sorted(other) == [4, 5, 6]
    assert min(*own.values(), *other.values()) > 200 / 3 - 5 * (200 * 2 / 9) ** 0.5


def test_the_left_half_is_of_one_picture_and_the_right_half_of_the_other(tmp_path: Path) -> None:
    base = open_dataset(str(dataset_folder(tmp_path, side=12, unreadable_test=(11,))))
    made = open_dataset(f"{base.uri}+composites:count=30,seed=1")
    table, split = pairs_of(made), made.splits["composites"]
    assert list(made.splits) == ["composites"]
    assert len(split) == 60
    shape = {"size": 12, "channels": 1, "fit": "pad"}
    found = decode_examples(split, np.arange(60), **shape)  # type: ignore[arg-type]
    parents = decode_examples(base.splits["test"], np.arange(30), **shape).images  # type: ignore[arg-type]
    lost = set(table.index[(table["left"] == 11) | (table["right"] == 11)])
    assert set(found.errors) == lost != set()
    for row in sorted(set(range(60)) - lost):
        left, right = table.loc[row, ["left", "right"]].astype(int)
        assert np.array_equal(found.images[row, :, :6], parents[left, :, :6])
        assert np.array_equal(found.images[row, :, 6:], parents[right, :, 6:])
        assert split.keys[row].split("|")[0] == base.splits["test"].keys[left]
    assert (split.labels == base.splits["test"].labels[table["left"]]).all()


def test_a_data_set_of_composites_is_known_by_its_halves_and_not_by_the_training_set() -> None:
    base = open_dataset("fashion-mini+composites:count=20")
    assert open_dataset(base.uri).fingerprint == base.fingerprint
    assert open_dataset("fashion-mini+composites:seed=1,count=20").fingerprint != base.fingerprint
    with pytest.raises(UsageError, match=r"no other step touches\. Allowed: fashion-mini"):
        open_dataset("fashion-mini+take:count=100+composites:count=20")
    with pytest.raises(UnknownNameError, match="parameter of composites 'number'"):
        open_dataset("fashion-mini+composites:number=20")
    with pytest.raises(UsageError, match=r"count = 9000 is not possible\. Allowed: 1 to 2000"):
        open_dataset("fashion-mini+composites:count=9000")
    with pytest.raises(UsageError, match="no data set of composites"):
        pairs_of(open_dataset("fashion-mini"))


@pytest.fixture
def filled(trained: Tiny, tmp_path: Path) -> Workspace:
    """The tiny workspace, whose population has answered composites of its test pictures too."""
    shutil.copytree(trained.root, tmp_path / "zoo")
    space = Workspace.open(tmp_path / "zoo")
    experiment_probe(space, trained)
    return space


def experiment_probe(space: Workspace, trained: Tiny) -> None:
    probe = pipeline._probe(space, f"{trained.dataset.uri}+composites:count=20", trained.dataset)
    members = ledger.population(space)
    runner = LocalRunner("cpu")
    pipeline.fill(space, probe, members, ["composites"], "none", lambda: runner, QUIET, guests=True)


def test_a_population_answers_pictures_of_another_data_set_beside_its_own(
    trained: Tiny, filled: Workspace
) -> None:
    probe = open_dataset(f"{trained.dataset.uri}+composites:count=20")
    population = choose_population(filled)
    found = pipeline._answered(filled, population, probe).scores["composites"]
    assert len(found) == 40
    assert set(found["n"]) <= {0, 12}  # 0: a half cannot be read
    assert (found["c_perplexity"].dropna() >= 1).all()
    # its own answers are what they were, and nothing is left to do, also for those who ask for all
    before = {(c.identity["split"], mine) for c, mine in answer_parts(trained.workspace)}
    after = {(c.identity["split"], mine) for c, mine in answer_parts(filled)}
    assert after - before == {("composites", population.classifiers)}
    assert pipeline.plan_fill(filled, trained.dataset, None, ("train", "test"), None).tasks == []


def test_without_being_guests_classifiers_of_another_data_set_do_not_answer(
    trained: Tiny,
) -> None:
    probe = open_dataset(f"{trained.dataset.uri}+composites:count=20")
    members = ledger.population(trained.workspace)
    arguments = (trained.workspace, probe, members, ["composites"], "none")
    assert pipeline.plan_fill(*arguments).tasks == []  # type: ignore[arg-type]
    assert len(pipeline.plan_fill(*arguments, guests=True).tasks) == 1  # type: ignore[arg-type]


def test_a_probe_of_other_classes_is_refused_naming_both(trained: Tiny) -> None:
    with pytest.raises(UsageError, match=r"has the 10 classes .*; .* has the 3 classes class 0"):
        pipeline._probe(trained.workspace, "fashion-mini", trained.dataset)
