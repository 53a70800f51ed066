"""Real processes, really killed: whatever happens, the same command finishes, finished work is
untouched, results are the undisturbed ones.

Here with the local runner, whose process is quick to start; ``tests/cluster`` does the same to
Ray's processes.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import (
    CHECKPOINTS,
    PARTS,
    RETRAININGS,
    TRAININGS,
    Running,
    content,
    corners,
    files,
    finished,
    parts,
    start,
    temporary_files,
    tiny_experiment,
    untouched,
)
from tests.commands import run as run_command

LOCAL = ("--runner", "local")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_experiment(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def calm(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of an undisturbed run."""
    folder = tmp_path_factory.mktemp("calm")
    result = run_command(folder, *command(experiment, folder / "space"))
    assert result.code == 0, result
    return folder / "space"


def command(experiment: Path, space: Path) -> tuple[object, ...]:
    return ("run", experiment, "--until", "compare", "-w", space, *LOCAL)


def disturb(
    folder: Path, experiment: Path, number: int, ready: Callable[[Path, Running], bool], what: str
) -> tuple[int, str]:
    """Start the run, signal it when a fact holds; exit code and stderr. What an earlier run had
    finished must be unchanged afterwards."""
    space = folder / "space"
    before = files(space)
    with start(folder, *command(experiment, space)) as running:
        running.wait_for(lambda: ready(space, running), what)
        running.send(number)
        result = running.finish()
    assert untouched(before, space)
    return result.code, result.err


def training(count: int) -> Callable[[Path, Running], bool]:
    return lambda space, running: finished(space, "checkpoint") >= count


def filling(count: int) -> Callable[[Path, Running], bool]:
    return lambda space, running: parts(space) >= count


def retraining(count: int) -> Callable[[Path, Running], bool]:
    return lambda space, running: finished(space, "training") >= TRAININGS + count


def finish(folder: Path, experiment: Path, calm: Path) -> None:
    """The same command ends well; nothing done before is touched; results, checkpoints and answers
    are the undisturbed run's."""
    space = folder / "space"
    before = files(space)
    result = run_command(folder, *command(experiment, space))
    assert result.code == 0, result
    assert untouched(before, space)
    assert content(space) == content(calm)


def test_the_undisturbed_run_is_what_these_tests_count_on(calm: Path) -> None:
    """Six trainings, four retrainings, twelve classifiers and the four retrained, three shards and
    one of two sizes, one unit of two arms."""
    assert finished(calm, "training") == TRAININGS + RETRAININGS
    assert finished(calm, "checkpoint") == CHECKPOINTS + RETRAININGS
    assert parts(calm) == PARTS + 1


def test_the_comparison_of_workspaces_can_fail(calm: Path, tmp_path: Path) -> None:
    """A copy is equal; one byte more in a table, one file less, or a file written again, is
    seen."""
    copy = tmp_path / "copy"
    shutil.copytree(calm, copy)
    assert content(copy) == content(calm)
    before = files(copy)
    part = next(copy.glob("answers/*/shard-*.parquet"))
    again = part.with_name("again")
    again.write_bytes(part.read_bytes())
    again.rename(part)
    assert not untouched(before, copy)
    part.unlink()
    assert content(copy) != content(calm)
    shutil.rmtree(copy)
    shutil.copytree(calm, copy)
    table = copy / "results" / "scores-train.csv"
    table.write_bytes(table.read_bytes() + b"\n")
    assert content(copy) != content(calm)


def test_killed_twice_while_training(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """kill -9 at two random checkpoints; the third run does the rest."""
    for count in sorted(random.Random(1).sample(range(1, CHECKPOINTS), 2)):
        code, _ = disturb(
            tmp_path, experiment, signal.SIGKILL, training(count), f"checkpoint {count}"
        )
        assert code == -signal.SIGKILL
        assert finished(tmp_path / "space", "answers") == 0
    finish(tmp_path, experiment, calm)


def test_killed_twice_while_filling(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """kill -9 when two random parts are there: what is committed is whole, the rest is invisible,
    finished parts are kept."""
    for count in sorted(random.Random(2).sample(range(1, PARTS - 2), 2)):
        code, _ = disturb(tmp_path, experiment, signal.SIGKILL, filling(count), f"part {count}")
        assert code == -signal.SIGKILL
        assert finished(tmp_path / "space", "scores") == 0
        assert not (tmp_path / "space" / "results").exists()
        named = [
            json.loads(path.read_text())
            for path in (tmp_path / "space" / "commits" / "answers").glob("[!.]*.json")
        ]
        assert all(
            (tmp_path / "space" / ref["path"]).stat().st_size == ref["bytes"]
            for commit in named
            for ref in commit["files"]
        )
        assert len(named) < 4
    finish(tmp_path, experiment, calm)


@pytest.mark.skipif(find_spec("numba") is None, reason="numba (the extra 'fast') is not installed")
def test_killed_while_filling_in_lanes(calm: Path, tmp_path: Path) -> None:
    """kill -9 when two parts of a fill in lanes are there: they are kept, and the same command
    gives the bytes of one that nobody disturbed; these say who answered."""
    spaces = tmp_path / "undisturbed", tmp_path / "killed"
    for space in spaces:
        shutil.copytree(calm, space, ignore=shutil.ignore_patterns("answers", "results", "scores"))
    words = [("fill", "--program", "lanes", "-w", space, *LOCAL) for space in spaces]
    assert run_command(tmp_path, *words[0]).code == 0
    with start(tmp_path, *words[1]) as running:
        running.wait_for(lambda: parts(spaces[1]) >= 2, "part 2")
        running.send(signal.SIGKILL)
        assert running.finish().code == -signal.SIGKILL
    before = files(spaces[1])
    assert run_command(tmp_path, *words[1]).code == 0
    assert untouched(before, spaces[1])
    assert content(spaces[1]) == content(spaces[0])
    records = [json.loads(path.read_text()) for path in spaces[1].glob("commits/answers/*.json")]
    assert {name for record in records for name in record["facts"]["lanes"]} == {
        path.name.partition(".")[0] for path in spaces[1].glob("commits/checkpoint/*.json")
    }


def test_interrupted_at_every_stage(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """Ctrl-C while training, filling and retraining: exit 130, the command to go on with, nothing
    half-written; then the rest is done."""
    space = tmp_path / "space"
    for ready, what in (
        (training(2), "training"),
        (filling(2), "filling"),
        (retraining(1), "retraining"),
    ):
        code, said = disturb(tmp_path, experiment, signal.SIGINT, ready, what)
        assert code == 130, said
        assert "interrupted. Nothing committed is lost; go on with the same command:\n" in said
        assert said.rstrip().endswith(" ".join(map(str, ("zoo", *command(experiment, space)))))
        assert "Traceback" not in said
        assert not list(temporary_files(space))
    finish(tmp_path, experiment, calm)


def test_terminated(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """SIGTERM, as a batch system sends it: exit 143, said in a sentence, nothing half-written; the
    same command goes on."""
    code, said = disturb(tmp_path, experiment, signal.SIGTERM, training(3), "training")
    assert code == 143, said
    assert said.endswith("terminated. Nothing committed is lost; the same command goes on.\n")
    assert not list(temporary_files(tmp_path / "space"))
    finish(tmp_path, experiment, calm)


def test_two_commands_at_once_do_no_harm(experiment: Path, calm: Path, tmp_path: Path) -> None:
    """The same command twice at the same time on a workspace that neither finds there: both end
    well, results as of one."""
    space = tmp_path / "space"
    with (
        start(tmp_path, *command(experiment, space)) as first,
        start(tmp_path, *command(experiment, space)) as second,
    ):
        results = [first.finish(), second.finish()]
    assert [result.code for result in results] == [0, 0], results
    assert content(space) == content(calm)


@pytest.fixture
def small_disk(tmp_path: Path, calm: Path) -> Iterator[Path]:
    """A disk with half the room that the undisturbed run takes."""
    if shutil.which("mount") is None:
        pytest.skip("no mount command")
    room = sum(path.stat().st_size for path in calm.rglob("*") if path.is_file()) // 2
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_and_survived(
    experiment: Path, calm: Path, small_disk: Path, tmp_path: Path
) -> None:
    """No space left: an error that names the free space, what is committed is whole; with more room
    the same command does the rest."""
    space = small_disk / "space"
    result = run_command(tmp_path, *command(experiment, space))
    assert result.code == 1, result
    assert "No space left on device" in result.err
    assert "Free space there: " in result.err
    assert "Traceback" not in result.err
    assert not list(temporary_files(space))
    before = files(space)
    assert all(
        (space / ref["path"]).stat().st_size == ref["bytes"]
        for path in (space / "commits").rglob("*.json")
        for ref in json.loads(path.read_text()).get("files", [])
    )
    subprocess.run(["mount", "-o", "remount,size=256m", small_disk], check=True)
    again = run_command(tmp_path, *command(experiment, space))
    assert again.code == 0, again
    assert untouched(before, space)
    assert content(space) == content(calm)


def test_one_broken_training_among_others_is_named(tmp_path: Path) -> None:
    """A learning rate of 1e30 diverges at once: exit 3 with its architecture and step; the other
    training is done."""
    data, space = corners(tmp_path / "corners"), tmp_path / "space"
    path = tmp_path / "broken.py"
    path.write_text(
        "from zoo.recipes import RECIPES\nfrom zoo.spec import Experiment, Sweep\nSCALES ="
        " ('tiny',)\n\n\ndef experiment(scale):\n    recipe = RECIPES['sgd'].replace(epochs=2)\n  "
        "  sweep = Sweep(archs=('mlp', 'lenet5'), recipe=recipe.replace(lr=0.01),"
        " recipes={'lenet5': recipe.replace(lr=1e30)})\n    return Experiment(name='broken',"
        f" title='Broken', scale=scale, dataset={str(data)!r}, sweeps=(sweep,))\n"
    )
    result = run_command(tmp_path, "run", path, "--until", "train", "-w", space, *LOCAL)
    assert result.code == 3, result
    assert "lenet5" in result.err
    assert "not finite at step" in result.err
    assert "Traceback" not in result.err
    counts = json.loads(run_command(tmp_path, "status", "--json", "-w", space).out)
    assert counts["trainings"] == {"diverged": 1, "done": 1}
    before = files(space)
    assert run_command(tmp_path, "run", path, "--until", "train", "-w", space, *LOCAL).code == 3
    assert files(space) == before
