"""Every storage call of a write-commit-read story fails, dies or loses power once; afterwards the
store is whole and a rerun completes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.store.fault_disk import FaultDisk, Killed
from tests.store.story import CLASSES, EXAMPLES, tell
from zoo.errors import StoreError
from zoo.store import answers as answers_module
from zoo.store import fsck
from zoo.store.answers import logits_of
from zoo.store.files import LocalFiles
from zoo.store.selections import manifest_named
from zoo.store.workspace import MARKER, MARKER_BYTES, Workspace


def _open(root: Path, disk: FaultDisk) -> Workspace:
    files = LocalFiles(root, disk)
    if not files.exists(MARKER):
        files.publish(MARKER, MARKER_BYTES)
    return Workspace(str(root), root, files)


def _content(root: Path) -> dict[str, bytes]:
    """Bytes of everything but the records, which say when and by whom they were written."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and "commits" not in path.parts
        and not path.name.startswith(".tmp-")
        and path.suffix != ".parquet"
    }


def _tables(root: Path) -> list[pd.DataFrame]:
    return [pq.read_table(path).to_pandas() for path in sorted(root.rglob("*.parquet"))]


@pytest.fixture(scope="module", autouse=True)
def _small_shards() -> Iterator[None]:
    """Two shards of a hundred examples instead of thousands: the calls are the same, the bytes
    fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers_module, "SMALL_SHARD", 64)
        patch.setattr(answers_module, "LARGE_SHARD", 16)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    root = tmp_path_factory.mktemp("whole") / "store"
    disk = FaultDisk()
    tell(_open(root, disk))
    return root, disk.calls


@pytest.mark.parametrize("mode", ["fail", "interrupt", "kill", "power"])
def test_after_a_fault_at_any_call_the_store_is_whole_and_a_rerun_completes_it(
    tmp_path: Path, undisturbed: tuple[Path, int], mode: str
) -> None:
    """For every N: visible units are complete, a rerun ends like an undisturbed run, and nothing
    committed was touched."""
    whole, calls = undisturbed
    assert calls > 60, "the story must have enough calls to be worth failing"
    expected, survived = _content(whole), 0
    for at in range(1, calls + 1):
        root = tmp_path / str(at)
        disk = FaultDisk(mode, at)
        with pytest.raises((StoreError, KeyboardInterrupt, Killed)):
            tell(_open(root, disk))
        if (root / MARKER).exists():
            survivor = Workspace.open(root)
            assert fsck.check(survivor, "full") == [], (
                f"{mode} at call {at} left something half visible"
            )
            survived += 1
        tell(Workspace.open(root, create=True))
        assert fsck.check(Workspace.open(root), "semantic") == [], (
            f"{mode} at call {at}: the rerun is not whole"
        )
        assert _content(root) == expected, f"{mode} at call {at}: the rerun ended differently"
    assert survived > calls // 2


def test_a_store_that_publishes_before_it_syncs_is_caught(
    tmp_path: Path, undisturbed: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The programme can fail: without the sync before the rename, a power loss leaves a torn file
    behind a record."""
    _, calls = undisturbed
    seal = LocalFiles.seal

    def hasty(self: LocalFiles, folder: str, stem: str, suffix: str, write):
        disk = self._disk
        sync = disk.sync
        monkeypatch.setattr(disk, "sync", lambda path: sync(path) if path.is_dir() else None)
        try:
            return seal(self, folder, stem, suffix, write)
        finally:
            monkeypatch.setattr(disk, "sync", sync)

    monkeypatch.setattr(LocalFiles, "seal", hasty)
    damaged = 0
    for at in range(1, calls + 1):
        root = tmp_path / str(at)
        try:
            tell(_open(root, FaultDisk("power", at)))
        except (StoreError, Killed):
            if (root / MARKER).exists():
                damaged += bool(fsck.check(Workspace.open(root), "full"))
    assert damaged > 0


def test_readers_see_what_was_written(undisturbed: tuple[Path, int]) -> None:
    """The story's results can be read back: tables, logits, selection."""
    root, _ = undisturbed
    workspace = Workspace.open(root)
    assert len(_tables(root)) >= 5
    name = next(iter(workspace.commits.all("checkpoint")))
    logits = logits_of(workspace, name, "train")
    assert logits.shape == (EXAMPLES, CLASSES)
    assert (logits.max(axis=1) == 0).all()
    assert len(manifest_named(workspace, "few")) == 10
