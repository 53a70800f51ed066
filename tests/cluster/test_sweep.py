"""Trainings on Ray Tune: what happens when the processes of a sweep are killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.commands import (
    CHECKPOINTS,
    TRAININGS,
    Running,
    command_line,
    content,
    descendants,
    done,
    environment,
    files,
    finished,
    run,
    start,
    untouched,
)

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
        pid
        for pid, line in running.family().items()
        if line.startswith(("ray::_Worker", "ray::ResourceTrainable"))
    )


def kill_workers(running: Running, number: int, when: Callable[[], bool]) -> None:
    """Signal the workers there are as soon as there is one and something holds."""
    found: list[int] = []

    def there() -> bool:
        found[:] = workers(running) if when() else []
        return bool(found)

    running.wait_for(there, "a worker")
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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


def lossy(percent: int) -> dict[str, str]:
    """An environment in which Ray loses so many of its messages of work, on their way there or
    back: tasks, and the leases of workers for them."""
    share = {"num_failures": -1, "req_failure_prob": percent, "resp_failure_prob": percent}
    calls = (
        "CoreWorkerService.grpc_client.PushTask",
        "NodeManagerService.grpc_client.RequestWorkerLease",
    )
    return environment() | {
        "RAY_testing_rpc_failure": json.dumps(dict.fromkeys(calls, share)),
        "RAY_testing_rpc_failure_avoid_intra_node_failures": "0",
    }


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_worker_and_lost_messages_cost_nothing_but_time(
    experiment: Path, calm: Path, tmp_path: Path
) -> None:
    """kill -9 of the first worker of a sweep, and one in 50 of Ray's messages is lost, and one
    answer in 50: the command itself ends well, quietly, with the same results."""
    space = tmp_path / "space"
    with start(tmp_path, *command(experiment, space), env=lossy(2)) as running:
        kill_workers(running, signal.SIGKILL, lambda: finished(space, "training") < TRAININGS)
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


def test_the_worker_of_a_silent_trial_is_ended_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two trials with a process and one without, the queue names two: the process among them is
    ended, once."""
    from zoo.cluster import sweep
    from zoo.cluster.queue import State

    ended: list[str] = []
    states = [State(False, 1, 0, {}, [], silent=["b", "c"]), State(False, 1, 0, {}, [])]
    monkeypatch.setattr(sweep.ray, "get", lambda answer: answer)
    monkeypatch.setattr(sweep.ray, "kill", ended.append)
    monkeypatch.setattr(sweep, "_POLL_SECONDS", 0.0)
    asked = SimpleNamespace(remote=lambda method, *_: states.pop(0) if method == "state" else None)
    nodes = SimpleNamespace(for_queue=lambda: ({}, [], [], 1, 0.0))
    driver = sweep._Driver(SimpleNamespace(call=asked), nodes, lambda *_: None)  # type: ignore[arg-type]
    trials = [
        SimpleNamespace(trial_id=name, temporary_state=SimpleNamespace(ray_actor=actor))
        for name, actor in (("a", "actor a"), ("b", "actor b"), ("c", None))
    ]
    events = sweep._Events(driver)
    for iteration in range(2):
        events.on_step_end(iteration, trials)
    assert (ended, states) == (["actor b"], [])


@pytest.mark.ray
@pytest.mark.slow
def test_a_worker_that_is_alive_and_says_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only worker is stopped (SIGSTOP) after its first epoch, for ever: Ray sees nothing wrong
    with it. It is ended, and another one goes on from its state."""
    from zoo.cluster import sweep
    from zoo.cluster.runner import RayRunner
    from zoo.data.catalog import open_dataset
    from zoo.spec import DatasetRef, Recipe, Sweep
    from zoo.store import ledger
    from zoo.store.workspace import Workspace

    class Impatient(sweep.Keeper):
        def __init__(self, *arguments: object) -> None:
            from zoo.cluster import queue

            queue.SILENT_SECONDS = 6.0
            super().__init__(*arguments)  # type: ignore[arg-type]

    stopped: list[int] = []

    def stop_it(training: str, epoch: int) -> None:
        if not stopped:
            stopped.extend(
                pid
                for pid in descendants(os.getpid())
                if command_line(pid).startswith("ray::ResourceTrainable")
            )
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)

    monkeypatch.setattr(sweep, "Keeper", Impatient)
    # As in tests.commands.environment: on a busy machine a worker that is well says nothing for
    # seconds otherwise.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    data = open_dataset("fashion-mini")
    space = Workspace.open(tmp_path / "space", create=True)
    snapshots = tuple(range(1, 13))
    (training,) = Sweep(archs=("lenet5",), recipe=Recipe(epochs=12), snapshots=snapshots).expand(
        DatasetRef(uri=data.uri, fingerprint=data.fingerprint)
    )
    runner = RayRunner(cpus=1)
    try:
        runner.train(space, [training], {training.id: 1.0}, stop_it)
    finally:
        runner.close()
    (pid,) = stopped
    assert not command_line(pid)
    assert ledger.missing(space, [training]) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_lost_training_goes_on_and_a_stopped_one_saves_its_state(tmp_path: Path) -> None:
    """Its worker is killed twice, each time after a new state; then the worker is terminated, then
    the command: both save a state within an epoch. No finished epoch is repeated, and the
    weights are those of one process without Ray."""
    space, calm = tmp_path / "space", tmp_path / "calm"
    epochs = ",".join(map(str, range(1, 25)))
    line = ("train", "--archs", "lenet5", "--epochs", "24", "--snapshots", epochs)

    def newest() -> str:
        return max((path.name for path in space.glob("resume/*/e*")), default="")

    with start(tmp_path, *line, "--cpus", "1", "-w", space) as running:
        before = ""
        for _ in range(2):
            kill_workers(running, signal.SIGKILL, lambda: newest()[:5] > before[:5])  # noqa: B023
            before = newest()
        running.wait_for(lambda: newest()[:5] > before[:5], "one more")
        kill_workers(running, signal.SIGTERM, lambda: True)
        running.wait_for(lambda: "s" in newest().split("-")[0], "a state within an epoch")
        within = newest()
        running.wait_for(lambda: newest() > within and bool(workers(running)), "going on from it")
        os.kill(running.process.pid, signal.SIGTERM)
        assert running.finish().code == 143, running.err
        assert all(OURS.match(line) for line in running.err.splitlines()), running.err
    kept, files_then = newest(), files(space)
    assert "s" in kept.split("-")[0]
    assert "2 times a training was told to stop and saved where it stood" in done(
        "status", "-w", space
    )
    result = run(tmp_path, *line, "--cpus", "1", "-w", space)
    assert result.code == 0, result
    assert untouched(files_then, space)
    assert run(tmp_path, *line, "--runner", "local", "-w", calm).code == 0
    weights = [
        {path.name: path.read_bytes() for path in folder.rglob("*.safetensors")}
        for folder in (space, calm)
    ]
    assert weights[0] == weights[1]
    assert len(weights[0]) == 24
