"""An undisturbed run to compare with, by the local runner: what Ray computes must be the same. And
a cluster of several nodes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.several import Three
from tests.commands import run, tiny_experiment


@pytest.fixture(scope="session")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def calm(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace after training, fill and scores, made by one process without Ray."""
    folder = tmp_path_factory.mktemp("calm")
    result = run(
        folder, "run", experiment, "--until", "score", "-w", folder / "space", "--runner", "local"
    )
    assert result.code == 0, result
    return folder / "space"


@pytest.fixture
def unfilled(calm: Path, tmp_path: Path) -> Path:
    """The undisturbed workspace as it was before its fill."""
    space = tmp_path / "space"
    shutil.copytree(calm, space)
    for name in ("answers", "commits/answers", "results", "commits/scores"):
        shutil.rmtree(space / name, ignore_errors=True)
    return space


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> Iterator[Three]:
    from zoo.cluster.session import authenticate_again

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # as in tests.commands.environment
    authenticate_again()
    made = Three()
    yield made
    made.close()
