"""An autoscaler that starts nodes on this machine, from none to four: in a sweep and in a fill all
of them are at work, and are given back in between. ``ASLEEP=5 pytest ...``: each training and each
part takes so many seconds longer."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.several import Three, growing, other_code, processes
from tests.commands import HANGS, content, corners, done, finished, run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]

MOST, TRAININGS = 4, 200
_TOGETHER = """
def _together(what):
    import os, pathlib, time
    folder = pathlib.Path({folder!r}) / what
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(os.getpid())).touch()
    until = time.monotonic() + {hangs}
    while len(list(folder.iterdir())) < {most}:
        if time.monotonic() > until:
            raise RuntimeError("not so many at work: " + what)
        time.sleep(0.05)
    time.sleep({asleep})
"""
_TRAINING = """
def run(workspace, batch, *, on_epoch, **_):
    from zoo.spec import classifier_id
    for training in batch:
        _together("trainings")
        epochs = training.recipe.epochs
        key, facts = classifier_id(training.id, epochs), {"training_id": training.id}
        workspace.commits.publish("checkpoint", key, identity={}, facts=facts)
        facts = {"status": "done", "epochs": epochs}
        workspace.commits.publish("training", training.id, identity={}, facts=facts)
        on_epoch(training.id, epochs)
    return {}
"""
_FILL = """
_answers = ShardWorker.answers
def _with_others(self, *arguments):
    _together("parts")
    yield from _answers(self, *arguments)
ShardWorker.answers = _with_others
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Three]:
    """Its nodes, and who connects to it, have zoo's code but that no training and no part of a fill
    ends before as many workers are at one as there may be nodes."""
    from zoo.cluster.session import authenticate_again

    code = other_code(tmp_path / "code")
    together = _TOGETHER.format(
        folder=str(tmp_path / "at-work"),
        most=MOST,
        hangs=HANGS,
        asleep=float(os.environ.get("ASLEEP", "0")),
    )
    for name, text in (("training/run.py", _TRAINING), ("fill/predict.py", _FILL)):
        with (code / "zoo" / name).open("a") as file:
            file.write(together + text)
    monkeypatch.setenv("PYTHONPATH", str(code))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_FAKE_CLUSTER", "1")
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    authenticate_again()
    made = growing(tmp_path, MOST, seconds_idle=5.0)
    yield made
    made.close()


def nodes() -> int:
    """Nodes but the head."""
    return len(processes("raylet/raylet")) - 1


def test_from_none_to_four_workers_in_a_sweep_and_in_a_fill(tmp_path: Path, cluster: Three) -> None:
    """No node, and none that may come has a GPU: refused at once. Then 200 trainings: four workers
    are at one at the same moment, and the nodes that joined are named. No node again, and 13 parts
    of a fill: four are. The answers are those of one process."""
    data = corners(tmp_path / "corners", train=6_000)
    space, calm = tmp_path / "space", tmp_path / "calm"
    shape = ("--data", data, "--archs", "softmax", "--input-size", "112")
    done("train", *shape, "--epochs", "1", "--runner", "local", "-w", space)
    shutil.copytree(space, calm)
    done("fill", "--runner", "local", "-w", calm)
    sweep = ("--data", data, "--archs", "lenet5", "--epochs", "12")
    seeds = ("--seeds", ",".join(map(str, range(TRAININGS))))
    line = ("train", *sweep, *seeds, "--address", cluster.address, "-w", tmp_path / "swept")
    assert nodes() == 0
    result = run(tmp_path, *line, "--gpus", "1")
    assert result.code == 2, result
    assert "its autoscaler can start nodes with CPU 1, GPU 0." in result.err
    result = run(tmp_path, *line)
    assert result.code == 0, result
    assert " joined; 5 nodes now." in result.err
    assert finished(tmp_path / "swept", "training") == TRAININGS
    assert len(list((tmp_path / "at-work/trainings").iterdir())) == MOST
    until = time.monotonic() + HANGS
    while nodes():
        assert time.monotonic() < until
        time.sleep(0.1)
    result = run(tmp_path, "fill", "--address", cluster.address, "-w", space)
    assert result.code == 0, result
    assert len(list((tmp_path / "at-work/parts").iterdir())) == MOST
    assert content(space) == content(calm)
