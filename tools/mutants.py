"""Can the tests fail? Small faults planted one at a time in a copy of the tree, each run against
the few tests that should notice.

Command: ``make mutants``, or ``python -m tools.mutants arms`` for those whose file or tests contain
a word. The list is ``mutants.toml``: a file, a text that stands in it exactly once, what replaces
it, and the tests. A mutant that survives is a fault that could be made tomorrow without anybody
knowing. ``tests/test_mutants.py`` sees to it that the list still fits the code.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parent.parent
LIST = Path(__file__).with_suffix(".toml")

_COPIED = (
    "Makefile",
    "README.md",
    "docs",
    "experiments",
    "pyproject.toml",
    "tests",
    "tools",
    "zoo",
)
_SECONDS = 600
"""After that a test is taken to hang."""

Fate = Literal["killed", "survived", "broken"]


@dataclass(frozen=True)
class Mutant:
    """One planted fault: ``old`` in ``file`` becomes ``new``; ``tests``: what pytest is told to
    run; ``why``: what goes wrong."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str

    def applied_to(self, text: str) -> str:
        """The file's text with the fault.

        Raises:
            ValueError: if ``old`` does not stand there exactly once.
        """
        if (found := text.count(self.old)) != 1:
            raise ValueError(
                f"{self.file}: {self.old!r} stands there {found} times, not once. Mend"
                " tools/mutants.toml."
            )
        return text.replace(self.old, self.new)


def read_list(path: Path = LIST) -> list[Mutant]:
    """The mutants in the order of the list."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    return [
        Mutant(entry["file"], entry["old"], entry["new"], tuple(entry["tests"]), entry["why"])
        for entry in entries
    ]


def try_mutants(
    root: Path, mutants: Iterable[Mutant], report: Callable[[Mutant, Fate, float, str], None]
) -> dict[Mutant, Fate]:
    """Plant each fault in the tree at ``root`` (a copy: it is written to), run its tests, and take
    it out again."""
    fates: dict[Mutant, Fate] = {}
    for mutant in mutants:
        path, began = root / mutant.file, time.monotonic()
        sound = path.read_text(encoding="utf-8")
        try:
            path.write_text(mutant.applied_to(sound), encoding="utf-8")
            fates[mutant], told = _fate(root, mutant.tests)
        except ValueError as error:
            fates[mutant], told = "broken", str(error)
        finally:
            path.write_text(sound, encoding="utf-8")
        report(mutant, fates[mutant], time.monotonic() - began, told)
    return fates


def _fate(root: Path, tests: Sequence[str]) -> tuple[Fate, str]:
    """What became of a fault, and the last lines of pytest. Only a failed test kills: an error
    before any test ran says nothing about them."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--no-header",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    # The copy, not the installed package; no compiled files of the same second and size as the
    # sound ones.
    surroundings = {
        **os.environ,
        "PYTHONPATH": str(root),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
    }
    try:
        done = subprocess.run(
            command,
            cwd=root,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "broken", f"no end after {_SECONDS} s"
    fates: dict[int, Fate] = {0: "survived", 1: "killed"}
    return fates.get(done.returncode, "broken"), "\n".join(
        (done.stdout + done.stderr).strip().splitlines()[-8:]
    )


def copy_tree(root: Path, target: Path) -> None:
    """What the tests need of a tree, without what was built or downloaded there."""
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
    for name in _COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, target / name, ignore=ignore)
        elif (root / name).exists():
            shutil.copy2(root / name, target / name)


def _report(mutant: Mutant, fate: Fate, seconds: float, told: str) -> None:
    print(f"{fate:<9} {seconds:5.1f} s  {mutant.file}: {mutant.why}", flush=True)
    if fate == "broken":
        print(told, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants; exit code 1 if one survives or its tests did not run."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "words",
        nargs="*",
        help="only mutants whose file, tests or reason contain one of these words",
    )
    words = parser.parse_args(arguments).words
    chosen = [
        m
        for m in read_list()
        if not words or any(word in " ".join((m.file, m.why, *m.tests)) for word in words)
    ]
    with tempfile.TemporaryDirectory(prefix="zoo-mutants-") as folder:
        copy_tree(ROOT, Path(folder))
        fates = try_mutants(Path(folder), chosen, _report)
    count = {
        fate: sum(found == fate for found in fates.values())
        for fate in ("killed", "survived", "broken")
    }
    print(
        f"{len(fates)} mutants: {count['killed']} killed, {count['survived']} survived,"
        f" {count['broken']} whose tests did not run"
    )
    return int(count["killed"] < len(fates))


if __name__ == "__main__":
    sys.exit(main())
