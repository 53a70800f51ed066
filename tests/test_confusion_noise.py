"""Labels that a small network confuses: made once, kept in the workspace, equal wherever they are
made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo import pipeline
from zoo.data import open_dataset
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.store.workspace import Workspace

BASE = "fashion-mini+take:count=200,stratified=true"
URI = f"{BASE}+label_noise:fraction=0.2,to=confusion"
QUIET = Progress(quiet=True)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = pipeline.CONFUSED_BY
    short = sweep.replace(recipe=sweep.recipe.replace(epochs=1), archs=("softmax",))
    monkeypatch.setattr(pipeline, "CONFUSED_BY", short)


def test_wrong_labels_are_exactly_as_many_as_asked_for_and_are_confusions(tmp_path: Path) -> None:
    """40 of 200, each where the network's margin is lowest, and its likeliest other class."""
    space = Workspace.open(str(tmp_path / "w"), create=True)
    uri = pipeline.with_confusion(space, URI, LocalRunner, QUIET)
    made, before = open_dataset(uri).splits["train"], open_dataset(BASE)
    wrong = made.labels != before.splits["train"].labels
    assert int(wrong.sum()) == 40
    (network,) = pipeline.ledger.population(space, "retraining")
    margins, top = pipeline._margins(space, before.fingerprint, network)
    assert margins[wrong].max() <= margins[~wrong].min()
    right = before.splits["train"].labels[:, None]
    others = np.where(top == right, -1, top)
    likeliest = np.array([next(k for k in row if k >= 0) for row in others])
    assert made.labels[wrong].tolist() == likeliest[wrong].tolist()


def test_it_is_made_once_and_equal_in_another_workspace(tmp_path: Path) -> None:
    """The second time nothing is trained: no runner is asked for."""
    first = Workspace.open(str(tmp_path / "a"), create=True)
    other = Workspace.open(str(tmp_path / "b"), create=True)
    uri = pipeline.with_confusion(first, URI, LocalRunner, QUIET)

    def none() -> LocalRunner:
        raise AssertionError("a runner was asked for")

    assert pipeline.with_confusion(first, URI, none, QUIET) == uri
    elsewhere = pipeline.with_confusion(other, URI, LocalRunner, QUIET)
    assert elsewhere != uri
    assert open_dataset(elsewhere).fingerprint == open_dataset(uri).fingerprint


def test_a_plan_tells_it_from_the_set_before_the_step(tmp_path: Path) -> None:
    """Before its labels are made it is a data set of which nothing is done, afterwards the one that
    was made; it is called by its step, and planning makes nothing."""
    space = Workspace.open(str(tmp_path / "w"), create=True)
    before, _ = pipeline.dataset_to_plan(space, URI)
    assert before.fingerprint != open_dataset(BASE).fingerprint
    assert len(before.splits["train"]) == 200
    assert not pipeline.ledger.planned(space)
    made = open_dataset(pipeline.with_confusion(space, URI, LocalRunner, QUIET))
    after, stand_in = pipeline.dataset_to_plan(space, URI)
    assert after.fingerprint == made.fingerprint != before.fingerprint
    assert before.name == after.name == URI
    assert not stand_in
    assert pipeline.dataset_to_plan(None, URI)[0].fingerprint == before.fingerprint
    assert pipeline.dataset_to_plan(space, BASE)[0].name == open_dataset(BASE).name


def test_a_data_set_without_such_a_step_stays(tmp_path: Path) -> None:
    space = Workspace.open(str(tmp_path / "w"), create=True)
    assert pipeline.with_confusion(space, BASE, LocalRunner, QUIET) == BASE


def test_pictures_that_differ_in_size_are_confused_too(tmp_path: Path) -> None:
    """Class folders of pictures of several sizes: shown at one; a plan finds what was made."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            side = int(random.integers(20, 40))
            pixels = random.integers(level - 30, level + 30, (side, 40, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    uri = f"{tmp_path / 'photos'}+label_noise:fraction=0.25,to=confusion"
    space = Workspace.open(str(tmp_path / "w"), create=True)
    made = open_dataset(pipeline.with_confusion(space, uri, LocalRunner, QUIET))
    before = open_dataset(str(tmp_path / "photos"))
    assert int((made.splits["train"].labels != before.splits["train"].labels).sum()) == 6
    assert pipeline.dataset_to_plan(space, uri)[0].fingerprint == made.fingerprint
