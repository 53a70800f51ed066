"""What is left of a sweep, and who has it: trainings go out in batches, come back done, failed,
stopped or lost, and go out again.

No Ray here. ``zoo.cluster.sweep`` keeps one ``Queue`` in an actor beside the driver; workers ask it
for work and tell it how they fare, the driver tells it which nodes there are and asks how far it
is.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from zoo.spec import Training
from zoo.training.alike import kind
from zoo.training.rule import Whole, at_once

__all__ = [
    "END",
    "MESSAGES_PER_SECOND",
    "SILENT_SECONDS",
    "START_SECONDS",
    "WAIT",
    "Order",
    "Queue",
    "State",
    "batch_size",
    "of_the_host",
]

_EVEN_SECONDS = 300.0
_WORTH_A_WORKER = 10.0
_LOSSES = 3
_IN_A_ROW = 2
MESSAGES_PER_SECOND = 40.0
"""Of all workers together."""
SILENT_SECONDS = 120.0
"""After which a worker is taken for lost."""
START_SECONDS = 600.0
"""Until a worker that Ray has started asks for its first batch: it imports torch before that."""

WAIT: Literal["wait"] = "wait"
END: Literal["end"] = "end"


def batch_size(costs: Sequence[float], left: float, workers: int, most: int) -> int:
    """How many of the next trainings, all alike, go out together.

    Args:
        costs: estimated seconds of each of them, in their order.
        left: of all that is waiting, these included.
        workers: that share it, the one that asks included.
        most: that are worth a batch (``zoo.training.rule.at_once``).

    Returns:
        At least 1, at most ``most``, and no more than one worker's share of what is waiting; where
        a share is more than minutes, half of it, so that the end evens out.
    """
    share = left / workers
    limit = max(share / 2, min(share, _EVEN_SECONDS)) * (1 + 1e-9)
    count, total = 1, costs[0]
    while count < min(len(costs), most) and total + costs[count] <= limit:
        total += costs[count]
        count += 1
    return count


_HOST = {
    *("DataError", "NotFoundError", "StoreError"),
    *("ImportError", "ModuleNotFoundError", "MemoryError", "OutOfMemoryError", "AcceleratorError"),
}


def of_the_host(reason: str) -> bool:
    """Whether a reason, which begins with the name of an error's class, may be the host's: data,
    store, CUDA, memory, a broken installation. Another host may do better."""
    name, _, text = reason.partition(":")
    builtin = getattr(__import__("builtins"), name, None)
    return (
        name in _HOST
        or (isinstance(builtin, type) and issubclass(builtin, OSError))
        or (name == "RuntimeError" and any(word in text for word in ("CUDA", "cuDNN", "NCCL")))
    )


@dataclass
class _Host:
    """A node: its name for people; whether work may go to it; failures of its own kind in a row."""

    name: str
    cleared: bool = True
    draining: bool = False
    failures: int = 0
    broken: int = 0
    cause: str = ""
    details: str = ""


@dataclass
class _Worker:
    host: str
    given: set[str] = field(default_factory=set)
    heard: float = 0.0
    waits: bool = False


@dataclass(frozen=True)
class Order:
    """What a worker hears back: whether to save its state and stop; seconds until it should say
    something again."""

    stop: bool
    period: float


@dataclass(frozen=True)
class State:
    """How far a sweep is.

    ``wanted``: workers that there is something to do for; ``busy``: those that have a batch, which
    are among them. ``epochs``: finished since the last time, by training. ``hopeless``: why nothing
    can go on. ``silent``: trials whose worker has been taken for lost since the last time because
    it said nothing; Ray may take them for alive for ever, and keep their places for them.
    """

    settled: bool
    wanted: int
    busy: int
    epochs: dict[str, int]
    lines: list[str]
    hopeless: str = ""
    silent: list[str] = field(default_factory=list)


class Queue:
    """The trainings of a sweep that are waiting or given out.

    A training is settled when a worker says it is done, when it failed by itself, when it failed on
    every host there is, or when its worker was lost ``_LOSSES`` times without a new state between.

    Args:
        trainings: what is to be done.
        costs: estimated seconds by id.
        newest: a training's newest state by name, "" before there is one, None once it is
            committed.
        fail: writes down that a training failed: its id, why, and a traceback or "".
        clock: seconds, monotonic.
        on_cpu: whether workers train on a CPU; else on a GPU.
        wholes: by kind, what of the sweep is alike, done or not; a kind that is missing is waiting
            as a whole.
        asked: the trainer that is asked for; None = by its rule.
    """

    def __init__(
        self,
        trainings: Iterable[Training],
        costs: Mapping[str, float],
        newest: Callable[[str], str | None],
        fail: Callable[[str, str, str], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        on_cpu: bool = True,
        wholes: Mapping[str, Whole] | None = None,
        asked: str | None = None,
    ) -> None:
        self._newest, self._fail, self._clock = newest, fail, clock
        self._on_cpu, self._asked = on_cpu, asked
        self._declared = dict(wholes or {})
        self._wholes = dict(self._declared)
        self._costs = dict(costs)
        self._all: dict[str, Training] = {}
        self._kind: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}
        for training in sorted(trainings, key=lambda t: (-costs[t.id], t.id)):
            self._all[training.id], self._kind[training.id] = training, kind(training)
            self._waiting.setdefault(self._kind[training.id], []).append(training.id)
        self._left = math.fsum(self._costs[name] for name in self._all)
        """Seconds of all that is waiting."""
        for one, ids in self._waiting.items():
            self._wholes.setdefault(one, Whole(len(ids), 0))
        self._failed_on: dict[str, dict[str, str]] = {}
        self._losses: dict[str, tuple[int, str]] = {}
        self._workers: dict[str, _Worker] = {}
        self._starting: dict[str, float] = {}
        self._hosts: dict[str, _Host] = {}
        self._slots = 1
        self._epochs: dict[str, int] = {}
        self._lines: list[str] = []
        self._stopping = False
        self._patience, self._idle_since = 0.0, clock()

    # ------------------------------------------------------------ asked by workers

    def declared(self, kind: str) -> Whole | None:
        """What of the sweep is of a kind, done or not; None where nobody said."""
        return self._declared.get(kind)

    def next(self, worker: str, host: str) -> list[Training] | Literal["wait", "end"]:
        """The next batch for a worker on a host; or that it waits and asks again; or that there is
        nothing more for it."""
        self._starting.pop(_trial(worker), None)
        me = self._workers.setdefault(worker, _Worker(host))
        me.heard, me.waits = self._clock(), False
        if me.given:  # it has asked before, and the answer was lost on its way
            return [self._all[name] for name in sorted(me.given, key=self._order)]
        there = self._hosts.get(host)
        if self._stopping or not any(self._waiting.values()) or (there and there.draining):
            del self._workers[worker]
            return END
        if there is None or not there.cleared or self._barred(host):
            me.waits = True
            return WAIT
        # The dearest of each kind; of thousands no more is looked at than goes out.
        heads = [head for ids in self._waiting.values() if (head := next(self._for(host, ids), ""))]
        if not heads:
            me.waits = True
            return WAIT
        first = max(heads, key=self._costs.__getitem__)
        ids = self._waiting[self._kind[first]]
        # What lost its worker more than once goes out alone: it may be what takes the worker along.
        if self._lost(first) > 1:
            taken = [first]
        else:
            sharing = max(self._slots, sum(bool(w.given) for w in self._workers.values()) + 1)
            whole = self._wholes[self._kind[first]]
            least, most = at_once(self._all[first], whole, self._asked, on_cpu=self._on_cpu)
            mine = (name for name in self._for(host, ids) if self._lost(name) <= 1)
            best = list(itertools.islice(mine, most))
            costs = [self._costs[name] for name in best]
            taken = best[: max(least, batch_size(costs, self._left, sharing, most))]
        me.given = set(taken)
        if ids[: len(taken)] == taken:
            del ids[: len(taken)]
        else:
            ids[:] = [name for name in ids if name not in me.given]
        self._left -= sum(self._costs[name] for name in taken)
        return [self._all[name] for name in taken]

    def more(self, worker: str) -> Training | None:
        """One more training like those that a worker has, since a lane of its batch is free; None
        where nothing like them is waiting, or nothing more goes to its host."""
        me = self._workers.get(worker)
        if me is None or not me.given or self._stopping:
            return None
        me.heard = self._clock()
        host = self._hosts.get(me.host)
        if host is None or not host.cleared or host.draining or self._barred(me.host):
            return None
        ids = self._waiting[self._kind[next(iter(me.given))]]
        name = next((name for name in self._for(me.host, ids) if self._lost(name) <= 1), None)
        if name is None:
            return None
        ids.remove(name)
        me.given.add(name)
        self._left -= self._costs[name]
        return self._all[name]

    def tell(self, worker: str, epochs: Mapping[str, int]) -> Order:
        """A worker lives, and has finished these epochs."""
        self._epochs |= epochs
        me = self._workers.get(worker)
        period = max(1.0, len(self._workers) / MESSAGES_PER_SECOND)
        if me is None:  # taken for lost meanwhile: others have its trainings
            return Order(stop=True, period=period)
        me.heard = self._clock()
        host = self._hosts.get(me.host)
        return Order(self._stopping or bool(host and host.draining), period)

    def back(self, worker: str, failed: Mapping[str, str], unfinished: Iterable[str]) -> None:
        """A worker has ended its batch: these failed, with their reasons, these were stopped or not
        begun, the others are done."""
        me = self._workers.get(worker)
        if me is None:
            return
        mine, me.given, me.heard = me.given, set(), self._clock()
        host = self._hosts.setdefault(me.host, _Host(me.host))
        own = [name for name in failed if not of_the_host(failed[name])]
        if mine - {*failed, *unfinished} or own:
            host.failures = host.broken = 0
        for name in mine & failed.keys():
            if name in own:
                continue
            self._failed_on.setdefault(name, {})[me.host] = failed[name]
            host.failures, host.cause, host.details = host.failures + 1, failed[name], ""
            self._put_back(name)
        for name in mine & set(unfinished) - failed.keys():
            self._put_back(name)
        self._say_barred(me.host)

    def broke(self, worker: str, reason: str, details: str = "") -> None:
        """A worker could not even begin a batch, or its storage failed: what it has goes back."""
        me = self._workers.get(worker)
        if me is None or not me.given:
            return
        mine, me.given = me.given, set()
        host = self._hosts.setdefault(me.host, _Host(me.host))
        host.failures, host.broken = host.failures + 1, host.broken + 1
        host.cause, host.details = reason, details
        for name in mine:
            self._put_back(name)
        self._say_barred(me.host)

    # ------------------------------------------------------------ asked by the driver

    def lost(self, worker: str) -> None:
        """The worker is gone, or a trial's every worker (``TRIAL`` of ``TRIAL:...``)."""
        self._starting.pop(worker, None)
        for name in [w for w in self._workers if worker in (w, _trial(w))]:
            gone = self._workers.pop(name)
            for training in gone.given:
                self._count_loss(training, self._hosts.get(gone.host, _Host(gone.host)).name)

    def started(self, trial: str) -> None:
        """A trial's process is there; its worker will ask for a batch."""
        self._starting[trial] = self._clock()

    def stop(self) -> None:
        """Nothing more goes out; who is at work saves its state and ends."""
        self._stopping = True

    def at_work(self) -> int:
        """Workers that have a batch."""
        return sum(bool(worker.given) for worker in self._workers.values())

    def nodes(
        self,
        there: Mapping[str, str],
        cleared: Iterable[str],
        draining: Iterable[str],
        slots: int,
        patience: float = 0.0,
    ) -> None:
        """Which nodes there are (id -> name), which of them may get work, which are about to go,
        how many workers fit on all; and how long to wait for another one where none of these can do
        what is left."""
        cleared, draining, self._slots = set(cleared), set(draining), max(1, slots)
        self._patience = patience
        for name, worker in list(self._workers.items()):
            if worker.host in self._hosts and worker.host not in there:
                self.lost(name)
        self._hosts = {node: self._hosts.get(node, _Host(name)) for node, name in there.items()}
        for node, host in self._hosts.items():
            host.name, host.cleared = there[node], node in cleared
            host.draining = node in draining

    def state(self) -> State:
        """How far it is; what was said and finished since the last time."""
        silent = []
        for trial, since in list(self._starting.items()):
            if self._clock() - since > START_SECONDS:
                del self._starting[trial]
                silent.append(trial)
                self._lines.append(
                    f"a worker has not asked for work within {START_SECONDS:g} s of its start;"
                    " another one is started for it."
                )
        for name, worker in list(self._workers.items()):
            if self._clock() - worker.heard > SILENT_SECONDS:
                silent.append(_trial(name))
                self._lines.append(
                    f"a worker on {self._name(worker.host)} has said nothing for"
                    f" {SILENT_SECONDS:g} s; its trainings go to others."
                )
                self.lost(name)
        busy = self.at_work()
        hopeless = ""
        if busy or not any(self._waiting.values()):
            self._idle_since = self._clock()
        elif self._clock() - self._idle_since >= self._patience:
            hopeless = self._give_up()
        waiting = [name for ids in self._waiting.values() for name in ids]
        worth = math.ceil(sum(self._costs[name] for name in waiting) / _WORTH_A_WORKER)
        more = min(len(waiting), max(self._slots - busy, worth))
        held = sum(worker.waits for worker in self._workers.values())
        epochs, self._epochs = self._epochs, {}
        lines, self._lines = self._lines, []
        settled = not busy and (not waiting or bool(hopeless) or self._stopping)
        return State(settled, busy + held + max(0, more), busy, epochs, lines, hopeless, silent)

    # ------------------------------------------------------------ inside

    def _for(self, host: str, ids: Iterable[str]) -> Iterator[str]:
        """Those that have not failed on a host, in their order."""
        return (name for name in ids if host not in self._failed_on.get(name, {}))

    def _lost(self, name: str) -> int:
        """How often a training has lost its worker without a new state between."""
        return self._losses.get(name, (0, ""))[0]

    def _put_back(self, name: str) -> None:
        ids = self._waiting[self._kind[name]]
        self._left += self._costs[name]
        ids.append(name)
        ids.sort(key=self._order)

    def _order(self, name: str) -> tuple[float, str]:
        return -self._costs[name], name

    def _count_loss(self, name: str, host: str) -> None:
        state = self._newest(name)
        if state is None:
            return
        count, before = self._losses.get(name, (0, ""))
        count = count + 1 if count and state == before else 1
        self._losses[name] = count, state
        if count < _LOSSES:
            self._put_back(name)
        else:
            self._fail(
                name,
                f"its worker was lost {count} times without a new state between them, the last"
                f" time on {host}",
                "",
            )

    def _live(self) -> list[str]:
        return [n for n, host in self._hosts.items() if host.cleared and not host.draining]

    def _barred(self, node: str) -> bool:
        """Whether a host fails where another one that is at work does not."""
        at_work = {worker.host for worker in self._workers.values()}
        return self._hosts[node].failures >= _IN_A_ROW and any(
            self._hosts[other].failures < _IN_A_ROW
            for other in self._live()
            if other != node and other in at_work
        )

    def _say_barred(self, node: str) -> None:
        host = self._hosts[node]
        if host.failures >= _IN_A_ROW and len(self._live()) > 1:
            line = f"host {host.name} gets no more trainings while others do better: {host.cause}"
            if line not in self._lines:
                self._lines.append(line)

    def _give_up(self) -> str:
        """Nobody is at work and something waits: what no host there is can do has failed. Why
        nothing goes on at all, if that is so."""
        live = self._live()
        if not live:
            return ""
        broken = [self._hosts[node] for node in live if self._hosts[node].broken >= _IN_A_ROW]
        for ids in self._waiting.values():
            for name in list(ids):
                reasons = self._failed_on.get(name, {})
                if all(node in reasons or self._hosts[node] in broken for node in live):
                    node = next((n for n in live if n in reasons), live[0])
                    reason = reasons.get(node, self._hosts[node].cause)
                    details = "" if node in reasons else self._hosts[node].details
                    ids.remove(name)
                    self._left -= self._costs[name]
                    self._fail(name, f"{reason}{self._on(node)}", details)
        if len(broken) == len(live):
            return f"{broken[0].cause}{self._on(live[0])}"
        return ""

    def _on(self, node: str) -> str:
        return f" (on {self._hosts[node].name})" if len(self._hosts) > 1 else ""

    def _name(self, node: str) -> str:
        return self._hosts[node].name if node in self._hosts else node


def _trial(worker: str) -> str:
    """The trial a worker (``TRIAL:...``) runs in; a trial runs one after another."""
    return worker.partition(":")[0]
