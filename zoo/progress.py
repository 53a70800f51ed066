"""One live display of what is going on: a bar with time left per stage on a terminal, plain lines
elsewhere. Always on stderr.

And ``announce``: how a library that prints nothing tells what a user must know, once, whichever
    command comes upon it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

__all__ = ["Progress", "Stage", "announce", "counted", "duration", "listening"]

_PLAIN_EVERY = 15.0


_listeners: list[tuple[Callable[[str], None], set[str]]] = []


def announce(subject: str, lines: Sequence[str]) -> None:
    """Hand lines to whoever listens, once per subject. Where nobody does (Python, a worker) nothing
    happens."""
    for tell, told in _listeners:
        if subject not in told:
            told.add(subject)
            for line in lines:
                tell(line)


@contextlib.contextmanager
def listening(tell: Callable[[str], None]) -> Iterator[None]:
    """Receive what is announced inside the block. The command line is the one that listens."""
    listener = (tell, set[str]())
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def duration(seconds: float) -> str:
    """``75`` -> ``1m15s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def counted(count: int, noun: str) -> str:
    """``1 training``, ``2,000 trainings``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


class Stage:
    """One stage in progress: ``advance`` by units of work, ``note`` says what is being done.
    ``total`` None: nobody knows how much there is."""

    def __init__(self, progress: Progress, name: str, total: float | None) -> None:
        self._progress, self.name, self.total = progress, name, total
        self.done, self.text, self.began = 0.0, "", time.monotonic()
        self._first: tuple[float, float] | None = None

    def advance(self, amount: float, note: str | None = None) -> None:
        self.done = (
            self.done + amount if self.total is None else min(self.total, self.done + amount)
        )
        # The rate counts from the first progress: workers take seconds to start, and those say
        #     nothing about the rest.
        self._first = self._first or (time.monotonic(), self.done)
        if note is not None or self.total is not None:
            self.text = note or ""  # what was said of work that had not begun is over
        self._progress._update(self)

    def note(self, text: str) -> None:
        """Say what is being done, where nothing of it is done yet."""
        self.text = text
        self._progress._update(self)

    @property
    def remaining(self) -> float | None:
        """Seconds left at the rate so far; None before there is one."""
        if self._first is None or self.total is None:
            return None
        elapsed, gained = time.monotonic() - self._first[0], self.done - self._first[1]
        return elapsed * (self.total - self.done) / gained if gained > 0 and elapsed > 1 else None


class Progress:
    """The display of a run. ``quiet`` shows nothing."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._last = 0.0
        self.timings: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str, total: float | None = 1.0) -> Iterator[Stage]:
        """A stage of ``total`` units of work (None: not known). Its wall time is kept in
        ``timings``."""
        stage = Stage(self, name, total)
        with self._bar(stage) if self._live else contextlib.nullcontext():
            if not self._live:
                self._line(f"{name} ...")
            self._last = time.monotonic()
            yield stage
        took = time.monotonic() - stage.began
        self.timings[name] = self.timings.get(name, 0.0) + took
        self._line(f"{name}: {stage.text + ', ' if stage.text else ''}{duration(took)}")

    def say(self, text: str) -> None:
        """One line outside any stage."""
        self._line(text)

    def _line(self, text: str) -> None:
        if not self._quiet:
            print(text, file=self._stream, flush=True)

    @contextlib.contextmanager
    def _bar(self, stage: Stage) -> Iterator[None]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=Console(file=self._stream), transient=True) as self._bars:
            self._task = self._bars.add_task(
                stage.name, total=stage.total, share="", left="", note=""
            )
            yield

    def _update(self, stage: Stage) -> None:
        left = "" if stage.remaining is None else f"{duration(stage.remaining)} left"
        share = (
            ""
            if stage.total is None or not stage.done
            else f"{stage.done / stage.total:4.0%}"
            if stage.total
            else "done"
        )
        if self._live:
            self._bars.update(
                self._task, completed=stage.done, share=share, left=left, note=stage.text
            )
        elif not self._quiet and time.monotonic() - self._last > _PLAIN_EVERY:
            self._last = time.monotonic()
            self._line(f"{stage.name}: {', '.join(filter(None, (share, left, stage.text)))}")
