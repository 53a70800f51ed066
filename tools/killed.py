"""An experiment's command, killed with SIGKILL in each of its stages and given again.

    python -m tools.killed decomposition --scale laptop -w SPACE [--after 60]

Whatever else it is given it gives to ``zoo run``. The command's process is killed once in
every stage that takes that long, so many seconds after the stage has begun, and the same command
is given again, until it ends by itself. A line for each kill: the stage, how many committed files
the workspace held then, and how many of them were touched (other bytes, or written anew) or were
gone when all was done. It ends with 1 if one was, else with the command's own code.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["files", "main", "touched"]

_IMMUTABLE = ("checkpoints", "trainings", "answers", "selections", "datasets", "commits")
"""Folders of a workspace whose files are written once."""


def files(workspace: Path) -> dict[str, tuple[str, int]]:
    """Every immutable file of a workspace: path -> (sha256, inode): a file that is written again,
    whatever with, is another one."""
    return {
        str(path.relative_to(workspace)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_ino,
        )
        for folder in _IMMUTABLE
        for path in sorted((workspace / folder).rglob("*"))
        if path.is_file() and not path.name.startswith(".tmp-")
    }


def touched(before: dict[str, tuple[str, int]], now: dict[str, tuple[str, int]]) -> list[str]:
    """Files of an earlier listing that are gone, hold other bytes or were written again."""
    return [path for path, fact in before.items() if now.get(path) != fact]


def _once(command: Sequence[str], done: set[str], after: float) -> tuple[int, str]:
    """Give the command; killed in the first stage that is not in ``done`` and lasts.

    Returns:
        Exit code and the stage it was killed in; "" = it ended by itself.
    """
    killed: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None

        def kill(stage: str) -> None:
            killed.append(stage)
            process.kill()

        timer = threading.Timer(0, lambda: None)
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            stage, begins, _ = line.partition(" ...\n")
            ended = line.startswith(f"{timer.name}: ") and "%" not in line
            if begins or ended:
                timer.cancel()
            if begins and stage not in done and not stage.startswith("starting"):
                timer = threading.Timer(after, kill, [stage])
                timer.name = stage
                timer.start()
        timer.cancel()
    return process.returncode, killed[0] if killed else ""


def main(argv: Sequence[str]) -> int:
    """Run the command until it ends by itself; print a line for each kill."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.killed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    parser.add_argument("--after", type=float, default=60.0, metavar="SECONDS")
    options, words = parser.parse_known_args(argv)
    workspace, after = options.workspace, options.after
    words += ["--workspace", str(workspace)]
    kills: list[tuple[str, dict[str, tuple[str, int]]]] = []
    while True:
        command = [sys.executable, "-m", "zoo", "run", *words]
        code, stage = _once(command, {stage for stage, _ in kills}, after)
        if not stage:
            break
        kills.append((stage, files(workspace)))
        print(f"killed in {stage}: {len(kills[-1][1])} committed files", file=sys.stderr)
    now, bad = files(workspace), 0
    for stage, before in kills:
        lost = touched(before, now)
        bad += len(lost)
        print(f"killed in {stage}: {len(before)} committed files, {len(lost)} touched since")
    return 1 if bad else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
