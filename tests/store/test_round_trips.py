"""5,000 trainings with 5 snapshots each in a bucket: what is missing, the status and the plan of a
fill take at most 200 journeys to it, one after the other; what a group was trained on takes five,
its weights two."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.store.far_away import FarAway, workspace_on
from tools.bench.synthetic_store import dataset_of
from zoo import models
from zoo.data import Dataset
from zoo.fill.plan import FillTask, membership, plan_fill
from zoo.fill.predict import ClassifierGroup
from zoo.spec import Preprocessing, Recipe, Sweep, Training, classifier_id, content_id
from zoo.store import ledger
from zoo.store.answers import AnswerUnit, Shard
from zoo.store.commits import Commit, sealed_json
from zoo.store.datasets import commit_dataset
from zoo.store.files import FileRef
from zoo.store.s3 import SIDE_BY_SIDE, S3Files
from zoo.training.checkpoint import save_checkpoint
from zoo.trainsets.inputs import Geometry

TRAININGS, SNAPSHOTS, AT_MOST = 5000, (1, 2, 3, 4, 5), 200
STOPPED_EARLY, UNFINISHED, FAILED = 500, 7, 5  # of them: ended at 3 epochs; begun; without outcome
GROUP = 128


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of({"train": 100, "test": 100}, 3)


@pytest.fixture(scope="module")
def jobs(dataset: Dataset) -> list[Training]:
    sweep = Sweep(
        archs=("mlp",), recipe=Recipe(epochs=5), seeds=tuple(range(TRAININGS)), snapshots=SNAPSHOTS
    )
    return list(sweep.expand(dataset.ref))


def epochs_of(place: int) -> int:
    return 3 if place < STOPPED_EARLY else 5


@pytest.fixture(scope="module")
def objects(dataset: Dataset, jobs: list[Training], tmp_path_factory: Any) -> dict[str, bytes]:
    """All but 12 trainings are done, 500 of them early; five of the others failed, seven have left
    a state. The test split is filled."""
    files = FarAway()
    space = workspace_on(files, tmp_path_factory.mktemp("far"))
    commit_dataset(space, dataset, {})
    ledger.record_plan(space, "far", "population", jobs)

    def put(kind: str, key: str, facts: dict[str, Any], *, identity: Any = None, file: str) -> None:
        body = {
            "format": 1,
            "kind": kind,
            "key": key,
            "generation": 1,
            "identity": identity or {},
            "facts": facts,
            "files": [FileRef(file, 250_000, "0" * 64).as_json()],
            "created": "2026-01-01T00:00:00+00:00",
        }
        name = Commit(kind, key, 1, {}, {}).name
        files.put(name, sealed_json(body).encode())

    classes = content_id(list(dataset.class_names))
    preprocessing = Preprocessing(size=1, channels=1, fit="pad", mean=(0.5,), std=(0.5,)).as_json()
    names = []
    finished = TRAININGS - UNFINISHED - FAILED
    for place, job in enumerate(jobs[:finished]):
        outcome = {"status": "done", "epochs": epochs_of(place), "n_train": 100, "n_unique": 100}
        outcome |= {"steps": 1, "stop_reason": "all epochs", "train_seconds": 1.0, "versions": {}}
        put("training", job.id, outcome, file=f"trainings/{job.id}.parquet")
        for epoch in SNAPSHOTS[: epochs_of(place)]:
            names.append(classifier_id(job.id, epoch))
            facts = {"training_id": job.id, "epoch": epoch, "dataset": dataset.fingerprint}
            facts |= {"num_classes": 3, "classes": classes, "preprocessing": preprocessing}
            put("checkpoint", names[-1], facts, file=f"checkpoints/{names[-1]}.safetensors")
    for place, job in enumerate(jobs[finished:]):
        if place < FAILED:
            ledger.record_failure(space, job.id, "no room", "")
        else:
            files.put(f"resume/{job.id}/e0001-0123456789abcdef.safetensors", b"")
    for start in range(0, len(names), GROUP):
        group = tuple(sorted(names)[start : start + GROUP])
        unit = AnswerUnit(dataset.fingerprint, "test", group, 3, classes, True)
        facts = {"hits": dict.fromkeys(group, 1), "labelled": 100}
        put("answers", unit.key, facts, identity=unit.identity, file=f"{unit.folder}/a.parquet")
    return files.objects


class Asked:
    """A fresh process on these objects; ``journeys`` are its own."""

    def __init__(self, objects: dict[str, bytes], root: Path, side_by_side: int = SIDE_BY_SIDE):
        self.files = FarAway(side_by_side)
        for name, data in objects.items():
            self.files.put(name, data)
        self.space = workspace_on(self.files, root)
        self.files.journeys = 0

    @property
    def journeys(self) -> int:
        return self.files.journeys


def test_what_is_missing_takes_few_journeys(
    tmp_path: Path, objects: dict[str, bytes], jobs: list[Training]
) -> None:
    """25 + 5 pages of names, and the outcomes of the 500 that ended early."""
    asked = Asked(objects, tmp_path)
    assert ledger.missing(asked.space, jobs) == jobs[-(UNFINISHED + FAILED) :]
    assert asked.journeys == 24 + 5 + 2


def test_the_status_takes_few_journeys(tmp_path: Path, objects: dict[str, bytes]) -> None:
    """And says what ``classifiers`` and ``trainings`` say, line by line."""
    asked = Asked(objects, tmp_path)
    found = ledger.status(asked.space)
    finished = TRAININGS - UNFINISHED - FAILED
    assert found["trainings"] == {"begun": UNFINISHED, "done": finished, "failed": FAILED}
    answered = finished * 5 - STOPPED_EARLY * 2
    assert found["classifiers"] == {"population": answered}
    assert found["answered"] == {"test": answered}
    assert asked.journeys <= AT_MOST, asked.journeys


def test_the_plan_of_a_fill_takes_few_journeys(
    tmp_path: Path, objects: dict[str, bytes], dataset: Dataset
) -> None:
    """Nothing has answered the train split yet: of every classifier the record is read."""
    asked = Asked(objects, tmp_path)
    plan = plan_fill(asked.space, dataset, None, ["train", "test"], None)
    names = {name for unit in plan.units for name in unit.classifiers}
    assert {unit.split for unit in plan.units} == {"train"}
    assert len(names) == (TRAININGS - UNFINISHED - FAILED) * 5 - STOPPED_EARLY * 2
    assert asked.journeys <= AT_MOST, asked.journeys


def test_what_a_group_was_trained_on_takes_few_journeys(
    tmp_path: Path, objects: dict[str, bytes], dataset: Dataset, jobs: list[Training]
) -> None:
    """Five classifiers of each of 25 trainings: a look for each among pretrained weights, then for
    each training two looks, its record and its table. Twin: of storage that is asked for one object
    at a time each of them counts."""
    ids = [job.id for job in jobs[-50:-25]]
    seen = np.random.default_rng(0).integers(0, 2, (len(ids), 100)).astype(np.uint16)
    there = {name: objects[name] for name in (f"commits/training/{i}.g0001.json" for i in ids)}
    for training_id, copies in zip(ids, seen, strict=True):
        buffer = io.BytesIO()
        pq.write_table(pa.table({"copies": copies}), buffer)
        there[f"trainings/{training_id}.parquet"] = buffer.getvalue()
    group = tuple(classifier_id(training_id, epoch) for training_id in ids for epoch in SNAPSHOTS)
    classes = content_id(list(dataset.class_names))
    unit = AnswerUnit(dataset.fingerprint, "train", group, 3, classes, False)
    task = FillTask(dataset.ref, unit, Shard(0, 1, 20, 100), Geometry(1, 1, "pad"))
    for side_by_side, journeys in ((SIDE_BY_SIDE, 1 + 4), (1, len(group) + 4 * len(ids))):
        asked = Asked(there, tmp_path / str(side_by_side), side_by_side)
        masks = membership(asked.space, task)
        for place, mask in enumerate(masks):
            np.testing.assert_array_equal(mask, seen[place // 5, 20:] > 0)
        assert (len(masks), asked.journeys) == (len(group), journeys)


def test_the_weights_of_a_group_take_few_journeys(tmp_path: Path) -> None:
    """Twenty classifiers take two, their sizes and their files, and are as committed. Twin: asked
    for one by one each counts."""
    shape = Preprocessing(size=8, channels=1, fit="pad", mean=(0.5,), std=(0.25,))
    facts = {"arch": "softmax", "num_classes": 3, "preprocessing": shape.as_json()}
    for side_by_side, journeys in ((SIDE_BY_SIDE, 2), (1, 40)):
        files = FarAway(side_by_side)
        space, commits, networks = workspace_on(files, tmp_path / str(side_by_side)), [], []
        for number in range(20):
            networks.append(models.build("softmax", num_classes=3, in_channels=1, size=8))
            name = f"{number:04x}-e0001"
            ref = save_checkpoint(files, name, networks[-1], {"epoch": 1})
            commits.append(
                space.commits.publish("checkpoint", name, identity={}, facts=facts, files=[ref])
            )
        before = files.journeys
        group = ClassifierGroup.load(files, commits, torch.device("cpu"))
        assert files.journeys - before == journeys
        for (loaded, _), network in zip(group.members, networks, strict=True):
            assert torch.equal(loaded[1].weight, network[1].weight)  # type: ignore[index]


def test_one_after_the_other_they_are_many(
    tmp_path: Path, objects: dict[str, bytes], jobs: list[Training]
) -> None:
    """The count can fail: of storage that is asked for one object at a time."""
    few = {name: data for name, data in objects.items() if not name.startswith("commits/answers")}
    asked = Asked(few, tmp_path, side_by_side=1)
    ledger.missing(asked.space, jobs)
    assert asked.journeys == 24 + 5 + STOPPED_EARLY
    ledger.status(asked.space)
    assert asked.journeys > TRAININGS


class _Meeting:
    """A client whose every answer waits until so many others are under way."""

    def __init__(self, parties: int) -> None:
        self._all_there = threading.Barrier(parties)

    def head_object(self, **_: Any) -> dict[str, Any]:
        self._all_there.wait(timeout=60)
        return {"ContentLength": 1}


def test_a_bucket_is_asked_side_by_side(tmp_path: Path) -> None:
    """As many requests as are counted as one above are really under way at once, the answers come
    in order, and a reader that has had enough stops the rest."""
    files = S3Files("b", "p", cache=tmp_path, client=_Meeting(SIDE_BY_SIDE))
    names = [str(number) for number in range(2 * SIDE_BY_SIDE)]
    assert list(files.together(lambda name: (files.exists(name), name), names)) == [
        (True, name) for name in names
    ]
    alone = S3Files("b", "p", cache=tmp_path, client=_Meeting(1))
    looked: list[str] = []
    some = alone.together(
        lambda name: looked.append(name) or alone.exists(name), map(str, range(9999))
    )
    assert next(some)
    some.close()  # type: ignore[attr-defined]
    assert len(looked) <= 2 * SIDE_BY_SIDE


def test_the_storage_that_counts_is_a_storage() -> None:
    """What is put there is read, found on this machine, moved and removed; a stale stamp removes
    nothing."""
    files = FarAway()
    files.replace("a/b", b"x")
    assert files.digest("a/b") == hashlib.sha256(b"x").hexdigest()
    assert files.local("a/b").read_bytes() == b"x"
    files.move("a/b", "c/d")
    assert (files.names("a"), files.names("c")) == ([], ["d"])
    assert not files.discard("c/d", "another")
    assert files.discard("c/d", str(files.stamp("c/d")))
    files.remove("c/d")
    assert not files.exists("c/d")
