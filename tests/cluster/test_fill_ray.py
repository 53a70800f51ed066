"""The fill on Ray Data: an actor that is killed or hangs is replaced, the loss of the head is said,
and nothing of it shows in the results."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.several import Three, other_code, processes
from tests.cluster.test_sweep import OURS
from tests.commands import (
    Running,
    command_line,
    content,
    files,
    parts,
    run,
    start,
    untouched,
)
from zoo.cluster.fill import needs
from zoo.progress import listening

LOOKS = """
import pathlib
_wait = Gate.wait
def _said(self):
    pathlib.Path({looked!r}).write_text(str(self.opens()))
    _wait(self)
Gate.wait = _said
"""


def actors(running: Running) -> list[int]:
    """Processes that hold classifiers."""
    return sorted(
        pid
        for pid, line in running.family().items()
        if line.startswith("ray::") and "_Classify" in line
    )


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """These processes stand still meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


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
    experiment: Path, calm: Path, unfilled: Path, tmp_path: Path
) -> None:
    """kill -9 of an actor once it is there: the command itself ends well, trains nothing, and
    answers and scores are the same bytes."""
    before = files(unfilled)
    assert parts(unfilled) == 0
    with start(tmp_path, "run", experiment, "--until", "score", "-w", unfilled) as running:
        running.wait_for(lambda: bool(actors(running)), "an actor")
        os.kill(actors(running)[0], signal.SIGKILL)
        result = running.finish()
    assert result.code == 0, result
    assert all(OURS.match(line) for line in result.err.splitlines()), result.err
    assert "training" not in result.err
    assert untouched(before, unfilled)
    assert content(unfilled) == content(calm)


@pytest.mark.ray
@pytest.mark.slow
def test_the_head_s_loss_is_said_in_a_fill_too(
    three: Three, experiment: Path, calm: Path, unfilled: Path, tmp_path: Path
) -> None:
    """The head is killed when the first part is there and no actor gets on: a sentence, exit 1; the
    same command without the cluster keeps what is committed, and the results are those of one
    process."""
    three.add()
    line = ("run", experiment, "--until", "score", "-w", unfilled)
    with start(tmp_path, *line, "--address", three.address) as running:
        running.wait_for(lambda: parts(unfilled) > 0, "a part")
        with stopped(processes("_Classify")):
            kept = files(unfilled)
            three.kill_head()
            result = running.finish()
    assert result.code == 1, result
    assert "cluster lost: its head does not answer any more." in result.err
    assert "bug" not in result.err
    assert untouched(kept, unfilled)
    result = run(tmp_path, *line, "--runner", "local")
    assert result.code == 0, result
    assert "training" not in result.err
    assert untouched(kept, unfilled)
    assert content(unfilled) == content(calm)


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_that_joins_a_fill_is_probed_before_it_gets_work(
    three: Three, experiment: Path, calm: Path, unfilled: Path, tmp_path: Path
) -> None:
    """While its only worker stands still, a node joins that has other code, and Ray starts a worker
    there, which would break the fill with its first picture. The node is named, its worker looks
    and waits, and the results are those of one process."""
    three.add()
    code, looked = other_code(tmp_path / "code"), tmp_path / "looked"
    with (code / "zoo/fill/predict.py").open("a") as file:
        file.write("raise RuntimeError('a node that was left out got work')\n")
    with (code / "zoo/cluster/preflight.py").open("a") as file:
        file.write(LOOKS.format(looked=str(looked)))
    line = ("run", experiment, "--until", "score", "-w", unfilled, "--address", three.address)
    with start(tmp_path, *line) as running:
        running.wait_for(lambda: parts(unfilled) > 0, "a part")
        with stopped(processes("_Classify")):
            three.add(PYTHONPATH=str(code))
            running.wait_for(lambda: looked.exists() and bool(looked.read_text()), "its worker")
        result = running.finish()
    assert looked.read_text() == "False"
    assert result.code == 0, result
    assert "is left out: it runs other code of zoo (" in result.err
    assert "got work" not in result.err
    assert content(unfilled) == content(calm)


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_of_a_fill_that_hangs_is_replaced(
    experiment: Path, calm: Path, unfilled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever decodes the first pictures stops for ever (SIGSTOP), and the only worker after its
    first part: Ray sees nothing wrong with them. They are ended, others do the rest, and answers
    are the same bytes."""
    from zoo.cluster import fill, pulse
    from zoo.cluster.runner import RayRunner
    from zoo.data.catalog import open_dataset
    from zoo.fill.plan import plan_fill
    from zoo.store.workspace import Workspace

    hanging: list[int] = []
    first, decode = unfilled.parent / "first", fill._decode

    def decode_once_in_vain(row: dict[str, Any], gate: Any, pulses: Any) -> dict[str, Any]:
        with pulse.beating(pulses):
            with contextlib.suppress(FileExistsError):
                first.touch(exist_ok=False)
                time.sleep(1)  # it has said that it lives
                os.kill(os.getpid(), signal.SIGSTOP)
            return decode(row, gate)

    def stop_it(_cells: int) -> None:
        if not hanging:
            hanging.extend(processes("_Classify"))
            for pid in hanging:
                os.kill(pid, signal.SIGSTOP)

    monkeypatch.setattr(fill, "_decode", decode_once_in_vain)
    # As beside a GPU: whoever decodes is no worker that classifies.
    monkeypatch.setattr(fill, "needs", lambda _gpus: ({"num_cpus": 0.4}, {"num_cpus": 0.5}))
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 6.0)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    space = Workspace.open(unfilled)
    plan = plan_fill(
        space, open_dataset(str(experiment.parent / "corners")), None, ("train", "test"), None
    )
    runner, said = RayRunner(cpus=1), list[str]()
    try:
        with listening(said.append):
            runner.fill(space, plan, stop_it)
    finally:
        runner.close()
    (pid,) = hanging
    assert not command_line(pid)
    assert len([line for line in said if line.endswith("hangs; another one takes its work.")]) == 2
    answers = [{k: v for k, v in content(s).items() if "answers" in k} for s in (unfilled, calm)]
    assert answers[0] == answers[1] != {}
