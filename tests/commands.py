"""Runs ``zoo`` as a user does, in this process or in one of its own, on pictures that train in a
second.

What a test needs to disturb a run is here too: wait for a fact, list a process's descendants, see
whether committed files were touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tools.killed import files, touched
from zoo.cli import main

ZOO = Path(sys.executable).with_name("zoo")
CLASSES = ("north-west", "north-east", "south-west", "south-east")
HANGS = 500.0
"""Seconds after which a wait is given up, so that its test can say what did not come. No speed is
meant: on any machine it comes much sooner."""


# ---------------------------------------------------------------- in this process


@dataclass(frozen=True)
class Result:
    """How a command ended: exit code, stdout, stderr."""

    code: int
    out: str
    err: str


def zoo(*arguments: object) -> Result:
    """Run a command in this process, with everything but the entry point's descriptors and
    signals."""
    out, err = io.StringIO(), io.StringIO()
    texts = [str(argument) for argument in arguments]
    with (
        mock.patch.object(sys, "argv", ["zoo", *texts]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = main._run()
    return Result(code, out.getvalue(), err.getvalue())


def done(*arguments: object) -> str:
    """Run a command that must succeed; its stdout."""
    result = zoo(*arguments)
    assert result.code == 0, result
    return result.out


# ---------------------------------------------------------------- in a process of its own


def environment() -> dict[str, str]:
    """The environment of a user without a terminal and without settings of ours; but Ray's workers
    are not at nice 15, where two busy processes of others leave them 2 % of a core."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZOO_", "RAY_", "TUNE_", "FORCE_COLOR"))
    }
    return kept | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}


@dataclass
class Running:
    """A command in a session of its own, its output in files. Use as a context manager: nothing of
    it survives the block."""

    process: subprocess.Popen[bytes]
    stdout: Path
    stderr: Path
    seen: dict[int, str] = field(default_factory=dict)

    @property
    def out(self) -> str:
        return self.stdout.read_text()

    @property
    def err(self) -> str:
        return self.stderr.read_text()

    def family(self) -> dict[int, str]:
        """Living descendants (pid -> command line), those that lost their parent meanwhile
        included."""
        self.seen |= {pid: born(pid) for pid in descendants(self.process.pid)}
        return {
            pid: command_line(pid)
            for pid, birth in self.seen.items()
            if birth and born(pid) == birth
        }

    def wait_for(self, fact: Callable[[], bool], what: str, seconds: float = HANGS) -> None:
        """Poll until a fact holds while the command runs."""
        deadline = time.monotonic() + seconds
        while not fact():
            assert self.process.poll() is None, (
                f"ended with {self.process.returncode} before {what}: {self.out}{self.err}"
            )
            assert time.monotonic() < deadline, (
                f"no {what} after {seconds:g} s: {self.out}{self.err}"
            )
            time.sleep(0.002)

    def send(self, number: int) -> None:
        """Signal the whole process group, as a terminal does."""
        self.family()
        os.killpg(self.process.pid, number)

    def finish(self, seconds: float = HANGS, *, but: tuple[str, ...] = ()) -> Result:
        """Wait for the end of the command and of everything it started, ``but`` for processes whose
        command line begins so."""
        code = self.process.wait(seconds)
        gone_by(
            lambda: {
                pid: line
                for pid, line in self.family().items()
                if not (but and line.startswith(but))
            },
            HANGS,
        )
        return Result(code, self.out, self.err)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in (
            [*self.family(), self.process.pid] if self.process.poll() is None else self.family()
        ):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


def gone_by(family: Callable[[], dict[int, str]], seconds: float) -> None:
    """Wait for processes to end by themselves; an assertion names those that do not."""
    deadline = time.monotonic() + seconds
    while left := family():
        assert time.monotonic() < deadline, f"still there after {seconds:g} s: {left}"
        time.sleep(0.05)


def start(folder: Path, *arguments: object, env: dict[str, str] | None = None) -> Running:
    """Start a command; stdout and stderr go to files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.glob("*.out")))
    stdout, stderr = folder / f"{number}.out", folder / f"{number}.err"
    with stdout.open("wb") as out, stderr.open("wb") as err:
        process = subprocess.Popen(
            [ZOO, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env or environment(),
            start_new_session=True,
            preexec_fn=_interruptible,
        )
    return Running(process, stdout, stderr)


def _interruptible() -> None:
    """Let the command hear SIGINT even where the tests themselves run in a shell's background,
    which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *arguments: object, seconds: float = HANGS) -> Result:
    """Run a command in a process of its own to its end."""
    with start(folder, *arguments) as running:
        return running.finish(seconds)


# ---------------------------------------------------------------- processes


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def born(pid: int) -> str:
    """Start time of a living process in clock ticks, so that a reused pid is not taken for it;
    empty if it is gone or a zombie."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def command_line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode(errors="replace")
            .strip()
        )
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """All living processes below one, by parent."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


# ---------------------------------------------------------------- workspaces


def finished(workspace: Path, kind: str) -> int:
    """Committed units of a kind."""
    return len(list((workspace / "commits" / kind).glob("[!.]*.json")))


def parts(workspace: Path) -> int:
    """Parts of answers, committed or not."""
    return len(list((workspace / "answers").glob("*/shard-*.parquet")))


def untouched(before: dict[str, tuple[str, int]], workspace: Path) -> bool:
    """Whether all files of an earlier listing are there still, same bytes, never written again."""
    return not touched(before, files(workspace))


def content(workspace: Path) -> dict[str, str]:
    """What a workspace amounts to, without dates and process names: derived tables and stored files
    by sha256."""
    kept = {
        path: digest
        for path, (digest, _) in files(workspace).items()
        if not path.startswith("commits")
    }
    tables = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((workspace / "results").glob("*.csv"))
    }
    commits = {
        f"{path.parent.name}/{path.name}": "" for path in (workspace / "commits").rglob("*.json")
    }
    return kept | tables | commits


def temporary_files(workspace: Path) -> Iterator[Path]:
    """Half-written files."""
    return workspace.rglob(".tmp-*")


# ---------------------------------------------------------------- pictures


def png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def corners(
    folder: Path,
    train: int = 240,
    test: int = 80,
    *,
    wrong: int = 8,
    broken: int | None = None,
    label: int | None = None,
) -> Path:
    """A Parquet data set of four classes: a bright corner in noise, 12 x 12 grey. The first
    ``wrong`` training labels are one too high.

    Args:
        broken: index of a training picture whose bytes are no image.
        label: label of the last training example instead of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    for split, count in (("train", train), ("test", test)):
        truth = np.arange(count) % len(CLASSES)
        pixels = random.integers(0, 120, (count, 12, 12)).astype(np.uint8)
        for index, corner in enumerate(truth):
            row, column = divmod(int(corner), 2)
            pixels[index, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 100
        images = [png(picture) for picture in pixels]
        given = truth.copy()
        if split == "train":
            given[:wrong] = (given[:wrong] + 1) % len(CLASSES)
            if broken is not None:
                images[broken] = b"no picture"
            if label is not None:
                given[-1] = label
        table = pa.table(
            {
                "image": [{"bytes": data, "path": None} for data in images],
                "label": given,
                "label_true": truth,
            }
        )
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(
            table.replace_schema_metadata(metadata), folder / f"{split}-00000-of-00001.parquet"
        )
    return folder


# ---------------------------------------------------------------- an experiment to disturb

TRAININGS, RETRAININGS, CHECKPOINTS, PARTS = 6, 4, 12, 8
_EXPERIMENT = '''
"""Six trainings of two input sizes, twelve classifiers, eight parts of answers, two arms of two seeds."""

from zoo.recipes import RECIPES
from zoo.trainsets.rules import parse
from zoo.spec import Arm, ArmGroup, Experiment, Op, SelectionRule, Sweep
from zoo.trainsets.treatments import op

SCALES = ("tiny",)


def experiment(scale):
    recipe = RECIPES["adam"].replace(epochs=4)
    quarters = tuple((op("subsample", fraction=0.25, replica=replica),) for replica in (1, 2))
    rules = tuple(Op(name=name, params=params) for name, params in parse("worst:share=0.05"))
    return Experiment(
        name="tiny", title="Corners", scale=scale, dataset=DATA,
        sweeps=(
            Sweep(archs=("mlp", "lenet5"), treatments=quarters, recipe=recipe, snapshots=(2, 4)),
            Sweep(archs=("lenet5",), treatments=quarters, recipe=recipe, snapshots=(2, 4), input_size=24),
        ),
        fill_splits=("train", "test"),
        selections=(SelectionRule(name="cleaned", rules=rules),),
        arm_groups=(
            ArmGroup(
                name="tiny",
                arms=(Arm(name="baseline", selection=None), Arm(name="cleaned", selection="cleaned")),
                retraining=Sweep(archs=("mlp",), recipe=recipe, seeds=(0, 1)),
            ),
        ),
    )
'''  # noqa: E501


def tiny_experiment(folder: Path) -> Path:
    """An experiment file, and its data beside it: 4,200 training pictures are three shards, 80 test
    pictures one, for each input size."""
    data = corners(folder / "corners", train=4200, wrong=100)
    path = folder / "tiny.py"
    path.write_text(_EXPERIMENT.replace("DATA", repr(str(data))))
    return path
