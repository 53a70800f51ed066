"""How often a question about many trainings goes to the storage: in a bucket each look is a round
trip of tens of milliseconds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from zoo.spec import DatasetRef, Recipe, Sweep, Training, classifier_id
from zoo.store import ledger
from zoo.store.commits import Commits
from zoo.store.files import LocalFiles
from zoo.store.workspace import Workspace

TRAININGS, SNAPSHOTS = 200, (1, 2, 3, 4, 5)


class Counted(LocalFiles):
    """Counts what would be a round trip each."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.calls: Counter[str] = Counter()

    def exists(self, relative: str) -> bool:
        self.calls["exists"] += 1
        return super().exists(relative)

    def read(self, relative: str) -> bytes:
        self.calls["read"] += 1
        return super().read(relative)

    def names(self, folder: str, *, temporary: bool = False) -> list[str]:
        self.calls["names"] += 1
        return super().names(folder, temporary=temporary)


@pytest.fixture(scope="module")
def jobs() -> list[Training]:
    data = DatasetRef(uri="x", fingerprint="0" * 16)
    sweep = Sweep(
        archs=("mlp",), recipe=Recipe(epochs=5), seeds=tuple(range(TRAININGS)), snapshots=SNAPSHOTS
    )
    return list(sweep.expand(data))


def done(root: Path, jobs: list[Training], but: set[str] = frozenset()) -> Workspace:  # type: ignore[assignment]
    """A workspace in which all are committed, ``but`` for records named by kind and key."""
    space = Workspace.open(root, create=True)

    def publish(kind: str, key: str, facts: dict[str, Any]) -> None:
        if f"{kind}/{key}" not in but:
            space.commits.publish(kind, key, identity={}, facts=facts)

    for job in jobs:
        publish("training", job.id, {"status": "done", "epochs": 5})
        for epoch in SNAPSHOTS:
            publish("checkpoint", classifier_id(job.id, epoch), {"training_id": job.id})
    return space


def counted(space: Workspace) -> tuple[Workspace, Counter[str]]:
    files = Counted(space.root)
    again = Workspace(space.location, space.root, files)
    again.commits = Commits(files)
    return again, files.calls


def test_what_is_missing_of_many_trainings_is_known_by_two_listings(
    tmp_path: Path, jobs: list[Training]
) -> None:
    """200 trainings with 5 snapshots, all done: no record is read. Of one without its outcome and
    one without a snapshot, that one's outcome is read."""
    space, calls = counted(done(tmp_path / "all", jobs))
    assert ledger.missing(space, jobs) == []
    assert calls == {"names": 2}
    lacking = {f"training/{jobs[3].id}", f"checkpoint/{classifier_id(jobs[7].id, 4)}"}
    space, calls = counted(done(tmp_path / "some", jobs, lacking))
    assert ledger.missing(space, jobs) == [jobs[3], jobs[7]]
    assert calls["names"] == 2
    assert calls["read"] <= 6  # the outcome of the seventh, and its five snapshots' records at most
    assert sum(calls.values()) < 30


def test_one_training_is_asked_for_without_listing_all(
    tmp_path: Path, jobs: list[Training]
) -> None:
    """Twin: a worker asks for the one that it is about to do."""
    space, calls = counted(done(tmp_path, jobs))
    assert ledger.missing(space, jobs[:1]) == []
    assert calls["names"] == 0
