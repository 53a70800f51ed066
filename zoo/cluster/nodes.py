"""The nodes of the cluster this process is connected to: which there are, which joined, which were
lost, which are about to go; and whether the head still answers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ray

from zoo.cluster.capacity import Resources, asked_words, growth, pending
from zoo.cluster.preflight import Gate, Preflight
from zoo.progress import announce

__all__ = ["Nodes", "draining", "fitting", "head_watched", "here", "names", "slots_of"]

_LOOK_SECONDS = 5.0
_HEAD_SECONDS = 15.0
"""Silence of the head after which it is given up: longer than any pause seen, shorter than the 60 s
after which Ray ends this process without a word."""
_WAIT_SECONDS = 30.0
_QUIET_SECONDS = 600.0
_PATIENCE_SECONDS = 60.0


def here() -> str:
    """Id of the node this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def draining() -> set[str]:
    """Ids of the nodes that are about to go: drained by hand, by an autoscaler or by a notice of
    the provider. Ray says so only inside; where it has moved, nothing is known."""
    with contextlib.suppress(Exception):
        return set(ray._private.state.state.get_draining_nodes())
    return set()


def slots_of(has: Resources, asked: Resources) -> int:
    """How many workers fit on a node."""
    return int(min(has.get(name, 0.0) / amount + 1e-9 for name, amount in asked.items()))


def names() -> dict[str, str]:
    """The living nodes: id -> name."""
    return _named([node for node in ray.nodes() if node["Alive"]])


def fitting(asked: Resources) -> dict[str, str]:
    """The living nodes on which a worker fits: id -> name."""
    found = [node for node in ray.nodes() if node["Alive"]]
    names = _named(found)
    return {
        node["NodeID"]: names[node["NodeID"]]
        for node in found
        if slots_of(node["Resources"], asked)
    }


class Nodes:
    """The living nodes on which a worker fits.

    Args:
        asked: what one worker asks for.
        preflight: probes every node before it may get work; None: this machine alone, where nobody
            joins or is lost.
        grows: whether an autoscaler may start more.
    """

    def __init__(
        self, asked: Resources, preflight: Preflight | None = None, *, grows: bool = False
    ) -> None:
        self._asked, self._preflight, self._grows = dict(asked), preflight, grows
        self._lock = threading.Lock()
        self._known: dict[str, str] | None = None
        self._names: dict[str, str] = {}
        self._cleared: list[str] = []
        self._going: set[str] = set()
        self._slots = 0
        self._worked = time.monotonic()

    def look(self) -> None:
        """Look again; say who joined, who is lost, who is about to go."""
        found = [node for node in ray.nodes() if node["Alive"]]
        names = _named(found)
        fit = {
            node["NodeID"]: count
            for node in found
            if (count := slots_of(node["Resources"], self._asked))
        }
        going = draining() & names.keys()
        usable = {node: names[node] for node in fit}
        cleared = list(usable) if self._preflight is None else self._preflight.watch(usable)
        with self._lock:
            if self._preflight is not None:
                self._say_changes(names, going)
            self._known, self._going = names, going
            self._names, self._cleared = usable, cleared
            self._slots = sum(fit[node] for node in cleared if node not in going)

    def for_queue(self) -> tuple[Mapping[str, str], list[str], list[str], int, float]:
        """What ``zoo.cluster.queue.Queue.nodes`` takes."""
        with self._lock:
            patience = _PATIENCE_SECONDS if self._grows else 0.0
            return dict(self._names), self._cleared, sorted(self._going), self._slots, patience

    def left_out(self) -> list[str]:
        """Ids of the nodes that were probed in vain."""
        with self._lock:
            return sorted(self._names.keys() & self._preflight.bad) if self._preflight else []

    def growth(self, gpus: float) -> int:
        """For how many workers of a fill nodes may yet be started, at most."""
        return growth(gpus) if self._grows else 0

    def gate(self) -> Gate | None:
        """What a worker has to pass that Ray has placed on a node of its own choice; None: this
        machine alone."""
        return None if self._preflight is None else self._preflight.gate()

    def worked(self) -> None:
        """Something was done just now: nobody needs to be told of waiting."""
        self._worked = time.monotonic()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look every few seconds in the background until the block ends."""
        self.look()
        if self._preflight is None:
            yield
            return

        def again() -> None:
            self.look()
            self._say_waiting()

        with _every(_LOOK_SECONDS, again):
            yield

    def _say_waiting(self) -> None:
        quiet = time.monotonic() - self._worked
        if not self._slots and quiet > _WAIT_SECONDS:
            self._worked = time.monotonic()
            words = pending() if self._grows else "nothing starts one here but you"
            _say(f"waiting for a node with {asked_words(self._asked)}: {words}.")
        elif quiet > _QUIET_SECONDS:
            self._worked = time.monotonic()
            _say(
                f"nothing has come from any worker for {_QUIET_SECONDS:g} s, though there are nodes"
                " for them: they may hang. Ctrl-C, then the same command, goes on from what is"
                " committed."
            )

    def _say_changes(self, names: Mapping[str, str], going: set[str]) -> None:
        if self._known is not None:
            for node in names.keys() - self._known.keys():
                _say(f"node {names[node]} joined; {len(names)} nodes now.")
            for node in self._known.keys() - names.keys():
                _say(f"node {self._known[node]} is lost; {len(names)} nodes are left.")
        for node in sorted(going - self._going):
            _say(f"node {names[node]} is about to go; its trainings are saved and go elsewhere.")


@contextlib.contextmanager
def head_watched(on_lost: Callable[[], None]) -> Iterator[None]:
    """Ask the head every few seconds, in the background, whether it is there, until the block ends.
    Where it has not answered for a while this says so and ends the process (exit 1): nothing in it
    would notice otherwise, whatever it waits for.

    Args:
        on_lost: called before the process ends.
    """
    answered = [time.monotonic()]

    def ask() -> None:
        ray.nodes()
        answered[0] = time.monotonic()

    def guard() -> None:
        # A process that is not connected, or no more, waits for no head.
        silent = time.monotonic() - answered[0] > _HEAD_SECONDS + _LOOK_SECONDS / 2
        if silent and ray.is_initialized():
            try:
                _say(
                    "cluster lost: its head does not answer any more. What is committed is kept."
                    " Bring it back (zoo up, or ray up), then run the same command."
                )
                on_lost()
            finally:
                os._exit(1)

    with _every(_LOOK_SECONDS, ask), _every(1.0, guard):
        yield


@contextlib.contextmanager
def _every(seconds: float, body: Callable[[], None]) -> Iterator[None]:
    """Call a function again and again in a thread, until the block ends. What it raises is left to
    those who wait for the same cluster."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(Exception):
                body()

    threading.Thread(target=work, daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _named(found: list[dict[str, Any]]) -> dict[str, str]:
    """Node id -> a name for people; with a part of the id where two hosts have the same."""
    names = {node["NodeID"]: str(node["NodeManagerHostname"]) for node in found}
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {
        node: f"{name} ({node[:8]})" if name in several else name for node, name in names.items()
    }


def _say(line: str) -> None:
    announce(f"{line} {time.monotonic()}", [line])
