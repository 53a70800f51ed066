"""Workers of a fill that hang, alive for Ray: each says every few seconds that it lives. One that
says so no more is ended; Ray then starts it again and gives it its work anew, as after any crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from zoo.cluster.nodes import here, names
from zoo.cluster.queue import MESSAGES_PER_SECOND, SILENT_SECONDS, START_SECONDS
from zoo.progress import announce

__all__ = ["Process", "Pulse", "Pulses", "beating", "watched"]

_BEATS = 24
"""As many may be missed, so that a busy machine is not taken for one that hangs."""


@dataclass(frozen=True)
class Process:
    """A process of a cluster: its node's id, its pid there, and when it was born, by which it is
    told from another one that has its pid later ("" where the system does not say)."""

    node: str
    pid: int
    born: str

    @classmethod
    def own(cls) -> Process:
        return cls(here(), os.getpid(), _born(os.getpid()))

    def end(self) -> None:
        """Called on its node. A process that is stopped ends by this signal too."""
        if self.born and _born(self.pid) == self.born:
            os.kill(self.pid, signal.SIGKILL)


def _born(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Pulses:
    """When each worker was heard last. No Ray here; ``watched`` keeps it in an actor.

    Args:
        silent: seconds after which a worker counts as hanging.
        starting: the same for one that is not ready: it may be importing torch on a busy machine.
        clock: seconds, monotonic.
    """

    def __init__(
        self, silent: float, starting: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._silent, self._starting, self._clock = silent, starting, clock
        self._until: dict[Process, float] = {}

    def beat(self, worker: Process, *, ready: bool) -> float:
        """A worker lives; seconds until it should say so again, all of them together at most 40
        times a second."""
        period = max(self._silent / _BEATS, (len(self._until) + 1) / MESSAGES_PER_SECOND)
        allowed = self._silent if ready else self._starting
        self._until[worker] = self._clock() + max(allowed, 3 * period)
        return period

    def leave(self, worker: Process) -> None:
        """A worker has nothing more to do, and may say nothing."""
        self._until.pop(worker, None)

    def silent(self) -> list[Process]:
        """Workers that hang; each is named once."""
        found = [worker for worker, until in self._until.items() if self._clock() > until]
        for worker in found:
            del self._until[worker]
        return found


class Pulse:
    """What a worker says, in a thread of its own, until the fill is over.

    Args:
        pulses: the actor that ``watched`` yields; None: nobody asks.
    """

    def __init__(self, pulses: Any) -> None:
        self._ready, self._over, self._pulses, self._now = False, False, pulses, threading.Event()
        if pulses is not None:
            threading.Thread(target=self._beat, daemon=True).start()

    def ready(self) -> None:
        """Called once the worker can work."""
        self._ready = True
        self._now.set()

    def end(self) -> None:
        """Called once there is nothing more to do in this process."""
        self._over = True
        self._now.set()

    def _beat(self) -> None:
        me = Process.own()
        with contextlib.suppress(Exception):  # the end: there is nobody left to hear it
            while not self._over:
                self._now.wait(ray.get(self._pulses.beat.remote(me, ready=self._ready)))
                self._now.clear()
            self._pulses.leave.remote(me)


@contextlib.contextmanager
def beating(pulses: Any) -> Iterator[None]:
    """As long as the block lasts, this process says that it lives. ``pulses``: as of ``Pulse``."""
    pulse = Pulse(pulses)
    pulse.ready()
    try:
        yield
    finally:
        pulse.end()


@contextlib.contextmanager
def watched() -> Iterator[Any]:
    """What workers say goes to the actor that is yielded; those that hang are ended meanwhile."""
    place = NodeAffinitySchedulingStrategy(here(), soft=False)
    made = ray.remote(num_cpus=0, max_task_retries=-1)(Pulses).options(scheduling_strategy=place)
    pulses, over = made.remote(SILENT_SECONDS, START_SECONDS), threading.Event()

    def watch() -> None:
        while not over.wait(SILENT_SECONDS / _BEATS):
            with contextlib.suppress(Exception):  # a cluster that is lost is said elsewhere
                for worker in ray.get(pulses.silent.remote(), timeout=SILENT_SECONDS):
                    _end(worker)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield pulses
    finally:
        over.set()
        with contextlib.suppress(Exception):  # Ray may be gone, and with it who was asked
            ray.kill(pulses)


def _end(worker: Process) -> None:
    line = f"a worker on {names().get(worker.node, worker.node)} hangs; another one takes its work."
    announce(f"{line} {worker.pid}", [line])
    there = NodeAffinitySchedulingStrategy(worker.node, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(Process.end)
    task.options(scheduling_strategy=there).remote(worker)
