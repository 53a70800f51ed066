"""Stores of a hundred examples in two shards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.store.story import tell
from zoo.store import answers
from zoo.store.workspace import Workspace


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A fresh workspace with the whole story in it."""
    monkeypatch.setattr(answers, "SMALL_SHARD", 64)
    monkeypatch.setattr(answers, "LARGE_SHARD", 16)
    workspace = Workspace.open(tmp_path / "store", create=True)
    tell(workspace)
    return Workspace.open(tmp_path / "store")
