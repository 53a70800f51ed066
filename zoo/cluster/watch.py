"""The process beside a Ray session: shows what Ray wrote last where the session's own process ended
without a word.

Ray's C++ side ends a process where it cannot go on, and then no Python of ours runs any more. Run
by path, with the standard library alone.
"""

from __future__ import annotations

import os
import re
import shutil
import sys

__all__ = ["tail"]

_BYTES, _LINES = 1 << 16, 12


def tail(fd: int) -> str:
    """The last lines of a file, without those of a stack trace: the reason counts, not where in the
    interpreter it was."""
    text = os.pread(fd, _BYTES, max(0, os.fstat(fd).st_size - _BYTES)).decode(
        errors="backslashreplace"
    )
    lines = [
        line
        for line in text.splitlines()
        if line.strip() and not re.search(r"\[0x|\*\*\* \S*stack", line, re.IGNORECASE)
    ]
    return "\n".join(lines[-_LINES:])


def _wait(fd: int, folder: str, words: str) -> None:
    # A byte: the session has ended, and its process says itself how. The end of the pipe without
    #     one: the process is gone.
    if not sys.stdin.buffer.read(1):
        sys.stderr.write(f"{words}\n{tail(fd) or '(nothing)'}\n")
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _wait(int(sys.argv[1]), *sys.argv[2:])
