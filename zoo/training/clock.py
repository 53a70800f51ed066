"""What trainings take of a process's time, counted once however many are under way in it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Clock", "Spent"]


class Spent(NamedTuple):
    """Seconds: of the wall's clock, of the CPU (all threads), and of those what the steps took.

    On a machine that does other work too the wall's grow and the CPU's hardly do.
    """

    wall: float = 0.0
    cpu: float = 0.0
    steps: float = 0.0

    @property
    def known(self) -> bool:
        """Whether the CPU's are; where a training went on from a state of zoo 0.1 they are not."""
        return not math.isnan(self.cpu)

    def as_facts(self) -> dict[str, float]:
        """What a record says of it."""
        found = {"train_seconds": round(self.wall, 3)}
        if self.known:
            found |= {
                "cpu_seconds": round(self.cpu, 4),
                "steps_cpu_seconds": round(self.steps, 4),
            }
        return found

    def plus(self, other: Spent) -> Spent:
        return Spent(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def minus(self, other: Spent) -> Spent:
        return Spent(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


class Clock:
    """Seconds of this process, shared out equally among the trainings under way in it."""

    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._each = Spent()
        self._aside = 0
        self._last = self._now()

    def enter(self, training_id: str) -> Spent:
        """A training begins to take its share; what each has had by now, to count from."""
        each = self.each()
        self._under_way.add(training_id)
        return each

    def leave(self, training_id: str) -> None:
        """A training has ended, or broke off; others share from now on."""
        self.each()
        self._under_way.discard(training_id)

    def each(self) -> Spent:
        """What a training would have had that was under way all the time."""
        now = self._now()
        if self._under_way:
            wall, cpu = (
                (n - b) / len(self._under_way) for n, b in zip(now, self._last, strict=True)
            )
            self._each = self._each.plus(Spent(wall, cpu, 0.0 if self._aside else cpu))
        self._last = now
        return self._each

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """While the process does what is no step: data, network, evaluation, files."""
        self.each()
        self._aside += 1
        try:
            yield
        finally:
            self.each()
            self._aside -= 1

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.monotonic(), time.process_time()
