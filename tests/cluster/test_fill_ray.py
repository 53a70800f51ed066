"""The fill on Ray Data: an actor that is killed is replaced, and nothing of it shows in the
results."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.cluster.test_sweep import OURS
from tests.commands import Running, content, files, parts, start, untouched


def actors(running: Running) -> list[int]:
    """Processes that hold classifiers."""
    return sorted(
        pid
        for pid, line in running.family().items()
        if line.startswith("ray::") and "_Classify" in line
    )


@pytest.fixture
def trained(calm: Path, tmp_path: Path) -> Path:
    """The undisturbed workspace as it was before its fill."""
    space = tmp_path / "space"
    shutil.copytree(calm, space)
    for name in ("answers", "commits/answers", "results", "commits/scores"):
        shutil.rmtree(space / name, ignore_errors=True)
    return space


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_actor_is_replaced(
    experiment: Path, calm: Path, trained: Path, tmp_path: Path
) -> None:
    """kill -9 of an actor once it is there: the command itself ends well, trains nothing, and
    answers and scores are the same bytes."""
    before = files(trained)
    assert parts(trained) == 0
    with start(tmp_path, "run", experiment, "--until", "score", "-w", trained) as running:
        running.wait_for(lambda: bool(actors(running)), "an actor")
        os.kill(actors(running)[0], signal.SIGKILL)
        result = running.finish()
    assert result.code == 0, result
    assert all(OURS.match(line) for line in result.err.splitlines()), result.err
    assert "training" not in result.err
    assert untouched(before, trained)
    assert content(trained) == content(calm)
