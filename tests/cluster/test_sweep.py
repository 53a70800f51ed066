"""Trainings on Ray Tune: how a sweep is cut, and what happens when its processes are killed."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.commands import (
    CHECKPOINTS,
    TRAININGS,
    Running,
    content,
    files,
    finished,
    run,
    start,
    untouched,
)
from zoo.spec import DatasetRef, Recipe, Sweep, Training

OURS = re.compile(
    r"(starting Ray|training|fill|scoring|retraining|evaluation|report)( \.\.\.$|: )|interrupted\.|"
    r"  zoo |terminated\."
)

AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's agents wait 60 s for a server that was killed, then end by themselves; they hold no work.
(Measured: 60 to 62 s.)"""


def command(experiment: Path, space: Path) -> tuple[object, ...]:
    return ("run", experiment, "--until", "score", "-w", space)


def workers(running: Running) -> list[int]:
    """Processes that run a trial."""
    return sorted(
        pid for pid, line in running.family().items() if line.startswith("ray::ImplicitFunc")
    )


def finish(folder: Path, experiment: Path, calm: Path) -> None:
    """The same command ends well, touches nothing that was there, and the results are those of one
    process without Ray."""
    space = folder / "space"
    before = files(space)
    result = run(folder, *command(experiment, space))
    assert result.code == 0, result
    assert all(OURS.match(line) for line in result.err.splitlines()), result.err
    assert untouched(before, space)
    assert content(space) == content(calm)
    assert not list((space / "attempts").glob("tune-*"))


def sweep(archs: tuple[str, ...], seeds: int) -> tuple[Training, ...]:
    data = DatasetRef(uri="fashion-mini", fingerprint="0" * 16)
    return Sweep(archs=archs, recipe=Recipe(epochs=1), seeds=tuple(range(seeds))).expand(data)


def test_a_batch_is_of_one_architecture_and_the_dearest_comes_first() -> None:
    """Eight trainings of 1 s and eight of 9 s on two slots: no batch mixes, all are there once, and
    the costs fall."""
    from zoo.cluster.sweep import batches

    trainings = sweep(("mlp", "lenet5"), 8)
    costs = {t.id: 9.0 if t.arch == "lenet5" else 1.0 for t in trainings}
    cut = batches(trainings, costs, 2)
    assert all(len({t.arch for t in batch}) == 1 for batch in cut)
    assert sorted(t.id for batch in cut for t in batch) == sorted(t.id for t in trainings)
    weights = [sum(costs[t.id] for t in batch) for batch in cut]
    assert weights == sorted(weights, reverse=True)
    # 80 s over 2 slots in 4 batches each = 10 s a batch: one lenet5 each, and the eight mlp
    # together.
    assert weights == [9.0] * 8 + [8.0]


def test_a_training_of_hours_is_a_batch_of_its_own() -> None:
    """However few trials there are, one is minutes at most unless a single training takes
    longer."""
    from zoo.cluster.sweep import batches

    trainings = sweep(("mlp",), 3)
    assert [len(batch) for batch in batches(trainings, {t.id: 7200.0 for t in trainings}, 2)] == [
        1,
        1,
        1,
    ]


def test_scratch_of_a_dead_sweep_is_removed_and_of_a_living_one_is_not(tmp_path: Path) -> None:
    """Judged by the space of process ids: this process lives, process 2**22 + 1 cannot exist; of
    another host or namespace nothing is known."""
    from zoo.cluster.sweep import _remove_leftovers
    from zoo.machine import process_space

    host, here = socket.gethostname(), process_space()
    gone = 2**22 + 1
    for name in (
        f"tune-{here}-{os.getpid()}-aa",
        f"tune-{here}-{gone}-bb",
        f"tune-0123456789ab-{gone}-cc",
        f"tune-{host}-{gone}-dd",
    ):
        (tmp_path / name).mkdir()
    _remove_leftovers(tmp_path)
    assert sorted(path.name[-2:] for path in tmp_path.iterdir()) == ["aa", "cc", "dd"]


def test_scratch_of_a_sweep_in_another_pid_namespace_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers with one host name share a workspace: the one does not see the other's
    process, and leaves its living sweep alone."""
    from zoo import machine
    from zoo.cluster.sweep import _remove_leftovers

    monkeypatch.setattr(machine.Path, "readlink", lambda self: Path("pid:[4026531836]"))
    scratch = tmp_path / f"tune-{machine.process_space()}-{2**22 + 1}-aa"
    scratch.mkdir()
    monkeypatch.setattr(machine.Path, "readlink", lambda self: Path("pid:[4026532999]"))
    _remove_leftovers(tmp_path)
    assert scratch.exists()


def broken(error: BaseException) -> object:
    """A trial whose worker raised this, as Ray hands it over: inside errors of its own."""
    outer = RuntimeError(
        f"ray::ImplicitFunc.train() (pid=1)\n  File 'x.py'\n{type(error).__name__}: {error}"
    )
    outer.__cause__ = error
    return outer


def test_a_trial_s_own_error_is_the_reason_of_every_training_it_took_along(tmp_path: Path) -> None:
    """Two of a batch of three have no outcome; one of these has a reason of its own, which is
    kept."""
    from factories import workspace

    from zoo.cluster.sweep import _record_broken
    from zoo.store import ledger

    space, jobs = workspace(tmp_path), sweep(("mlp",), 3)
    space.commits.publish("training", jobs[0].id, identity={}, facts={"status": "diverged"})
    ledger.record_failure(space, jobs[1].id, "ValueError: its own", "")
    _record_broken(space, jobs, broken(ImportError("libcudart.so: cannot open shared object file")))  # type: ignore[arg-type]
    assert ledger.failures(space) == {
        jobs[1].id: "ValueError: its own",
        jobs[2].id: "ImportError: libcudart.so: cannot open shared object file",
    }


def test_an_error_of_the_storage_in_a_trial_is_raised_as_it_is(tmp_path: Path) -> None:
    """Nobody's training is to blame for it, and all would fail alike."""
    from factories import workspace

    from zoo.cluster.sweep import _record_broken
    from zoo.errors import StoreError

    space, jobs = workspace(tmp_path), sweep(("mlp",), 1)
    with pytest.raises(StoreError, match=r"^the disk is full$"):
        _record_broken(space, jobs, broken(StoreError("the disk is full")))  # type: ignore[arg-type]


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(
    experiment: Path, calm: Path, tmp_path: Path
) -> None:
    """kill -9 of one worker in the middle of the sweep: the command itself ends well, quietly, with
    the same results."""
    space = tmp_path / "space"
    with start(tmp_path, *command(experiment, space)) as running:
        running.wait_for(
            lambda: finished(space, "checkpoint") >= 1 and bool(workers(running)), "a checkpoint"
        )
        os.kill(workers(running)[0], signal.SIGKILL)
        assert finished(space, "training") < TRAININGS
        result = running.finish()
    assert result.code == 0, result
    assert all(OURS.match(line) for line in result.err.splitlines()), result.err
    assert "raylet" not in result.out
    assert content(space) == content(calm)


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_driver_takes_ray_along_and_the_same_command_goes_on(
    experiment: Path, calm: Path, tmp_path: Path
) -> None:
    """kill -9 of the command at a random checkpoint, then at the first part of the fill: Ray's
    processes end too, nothing is done twice."""
    space = tmp_path / "space"
    count = random.Random(3).randrange(1, CHECKPOINTS // 2)
    for fact in (
        lambda: finished(space, "checkpoint") >= count,
        lambda: any(space.glob("answers/*/shard-*")),
    ):
        before = files(space)
        with start(tmp_path, *command(experiment, space)) as running:
            running.wait_for(fact, "the moment to kill")
            assert running.family()
            os.kill(running.process.pid, signal.SIGKILL)
            # waits for its processes to end by themselves
            assert running.finish(but=AGENTS).code == -signal.SIGKILL
        assert untouched(before, space)
    finish(tmp_path, experiment, calm)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["interrupted", "terminated"],
)
def test_a_stopped_sweep_ends_and_says_how_to_go_on(
    experiment: Path, tmp_path: Path, number: int, code: int
) -> None:
    """Ctrl-C, or SIGTERM to the whole group, while Ray trains: the exit code, one sentence, no Ray
    process left, no Ray noise."""
    space = tmp_path / "space"
    with start(tmp_path, *command(experiment, space)) as running:
        running.wait_for(lambda: bool(workers(running)), "a worker")
        running.send(number)
        result = running.finish()
    assert result.code == code, result
    assert "Nothing committed is lost" in result.err
    assert all(OURS.match(line) for line in result.err.splitlines()), result.err
    assert run(tmp_path, "status", "-w", space).code == 0
