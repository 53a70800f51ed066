"""Every error a user can meet. The library raises; only ``zoo.cli.main`` formats.

::

    ZooError                     exit 1   anything that went wrong and has a known cause
    ├── UsageError               exit 2   the request itself is wrong (name, number, combination)
    │   └── UnknownNameError     exit 2   a name that is in no table; lists the near ones
    ├── DataError                exit 1   a data set that cannot be read or does not fit
    ├── StoreError               exit 1   the workspace: unwritable, damaged, newer format, conflict
    ├── NotFoundError            exit 4   nothing there to work on
    ├── FailedTrainingsError     exit 3   the sweep finished, some of its trainings did not
    └── Interrupted              exit 130 stopped by the user; the same command goes on

A message has four parts: what failed, the value seen, what is allowed, what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "FailedTrainingsError",
    "Interrupted",
    "NotFoundError",
    "StoreError",
    "UnknownNameError",
    "UsageError",
    "ZooError",
]


class ZooError(Exception):
    """Base of all errors with a known cause; ``exit_code`` is what the command line ends with."""

    exit_code = 1


class UsageError(ZooError):
    """The request is wrong: nothing was started."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in its table. The message lists the nearest names, then all."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        near = difflib.get_close_matches(name, self.known, n=3, cutoff=0.5)
        message = f"unknown {kind} {name!r}."
        if near:
            message += f" Did you mean {' or '.join(repr(n) for n in near)}?"
        message += f" Known: {', '.join(self.known) or 'none'}."
        super().__init__(f"{message} {hint}".rstrip())


class DataError(ZooError):
    """A data set is missing, unreadable, or does not fit what is asked of it."""


class StoreError(ZooError):
    """The workspace cannot be written, is damaged, or belongs to something else."""


class NotFoundError(ZooError):
    """There is nothing to work on."""

    exit_code = 4


class FailedTrainingsError(ZooError):
    """The sweep has finished and some trainings have no result; each is named with its reason."""

    exit_code = 3


class Interrupted(ZooError):
    """Stopped by the user. Everything committed stays; the same command does the rest."""

    exit_code = 130
