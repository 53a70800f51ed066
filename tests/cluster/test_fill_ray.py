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
from zoo.cluster.fill import needs


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


def test_one_cpu_beside_one_gpu_is_enough_for_a_fill() -> None:
    """Decoding and classifying fit at once on a node with 1 CPU and 1 GPU, whatever part of it an
    actor takes. Twin: an actor with a whole CPU would leave none to decode for it."""
    for gpus in (1.0, 0.25):
        decode, classify = needs(gpus)
        assert decode["num_cpus"] + classify["num_cpus"] <= 1
        assert classify["num_gpus"] == gpus
    assert sum(need["num_cpus"] for need in needs(0.0)) > 1  # alike, so that Ray makes them one
    assert needs(0.0)[0] == needs(0.0)[1]


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
