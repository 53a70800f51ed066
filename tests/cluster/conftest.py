"""An undisturbed run to compare with. By the local runner: what Ray computes must be the same."""

from __future__ import annotations

from pathlib import Path

import pytest

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
