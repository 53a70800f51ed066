"""Names that quoting gets wrong, storage that cannot be written: nothing is lost, and the message
says what to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.store.story import EXAMPLES, tell
from zoo.cli.main import app
from zoo.errors import StoreError
from zoo.store import answers, fsck, gc
from zoo.store.query import query
from zoo.store.workspace import Workspace

ODD = [
    "plain",
    "two words",
    "quote's",
    'double"quote',
    "per%cent %s",
    "-leading",
    "#hash?",
    "nai\u0308ve ü 漢字",
    "semi;colon, comma",
    "back\\slash",
    "x" * 200,
]
CLASSES = ('"><script>alert(1)</script>', "=HYPERLINK(1)", "line\nbreak 'and' %d")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SMALL_SHARD", 64)
    monkeypatch.setattr(answers, "LARGE_SHARD", 16)


@pytest.mark.parametrize("name", ODD)
def test_a_workspace_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Written, read through SQL, checked, collected: the folder's name is data everywhere."""
    workspace = Workspace.open(tmp_path / name, create=True)
    tell(workspace)
    again = Workspace.open(tmp_path / name)
    assert query(again, "select count(*) n from answers").to_pylist() == [{"n": 2 * EXAMPLES}]
    assert fsck.check(again, "semantic") == []
    assert gc.find(again, 0.0) == []
    assert CliRunner().invoke(app, ["status", "--json", "-w", str(tmp_path / name)]).exit_code == 0


def test_class_names_and_keys_go_round_exactly(tmp_path: Path) -> None:
    """Hostile class names and keys come back as they were; in a CSV a formula is quoted."""
    keys = [f"{ODD[i % len(ODD)]}/{i}" for i in range(EXAMPLES)]
    workspace = Workspace.open(tmp_path / "store", create=True)
    tell(workspace, CLASSES, keys)
    table = query(workspace, "select key, class_name from examples order by example_id")
    assert table.column("key").to_pylist() == keys
    assert table.column("class_name").to_pylist() == [CLASSES[i % 3] for i in range(EXAMPLES)]
    csv = CliRunner().invoke(
        app,
        [
            "query",
            "select distinct class_name from examples",
            "--format",
            "csv",
            "-w",
            str(workspace.root),
        ],
    )
    assert csv.exit_code == 0
    assert "'=HYPERLINK(1)" in csv.stdout


def _mounted(folder: Path, options: str) -> bool:
    return (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_store_is_read_and_a_write_says_what_to_do(tmp_path: Path) -> None:
    """Queries and checks work on a read-only store; the first write names the place and the way
    out."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if not _mounted(folder, "size=16m"):
        pytest.skip("this machine does not let us mount")
    try:
        tell(Workspace.open(folder / "store", create=True))
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True)
        workspace = Workspace.open(folder / "store")
        assert query(workspace, "select count(*) n from classifiers").num_rows == 1
        assert fsck.check(workspace, "semantic") == []
        with pytest.raises(
            StoreError,
            match=(
                r"cannot write .*Read-only file system\. The workspace must be writable:"
                r" .*--workspace DIR"
            ),
        ):
            workspace.check_writable()
    finally:
        subprocess.run(["umount", str(folder)], check=False, capture_output=True)
