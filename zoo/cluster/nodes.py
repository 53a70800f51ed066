"""The nodes of the cluster this process is connected to: which there are, which joined, which were
lost, which are about to go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

import ray

from zoo.cluster.capacity import Resources
from zoo.progress import announce

__all__ = ["Nodes", "draining", "here"]

_LOOK_SECONDS = 5.0


def here() -> str:
    """Id of the node this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def draining() -> set[str]:
    """Ids of the nodes that are about to go: drained by hand, by an autoscaler or by a notice of
    the provider. Ray says so only inside; where it has moved, nothing is known."""
    with contextlib.suppress(Exception):
        return set(ray._private.state.state.get_draining_nodes())
    return set()


class Nodes:
    """The living nodes, looked at every few seconds; who joins and who is lost is said in a line
    each.

    Args:
        asked: what one worker asks for.
        grows: whether an autoscaler may start more.
    """

    def __init__(self, asked: Resources, *, grows: bool = False) -> None:
        self._asked, self._grows = dict(asked), grows
        self._looked = -_LOOK_SECONDS
        self._known: dict[str, str] | None = None
        self._seen: tuple[Any, ...] = ()
        self.names: dict[str, str] = {}
        self.slots = 0
        self.going: set[str] = set()
        self.changed = False

    def look(self) -> None:
        """Look again, if it is time. ``changed`` says whether the queue has something to hear."""
        self.changed = False
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        found = [node for node in ray.nodes() if node["Alive"]]
        self.names = _named(found)
        self.slots = sum(slots_of(node["Resources"], self._asked) for node in found)
        going = draining() & self.names.keys()
        for node in sorted(going - self.going):
            _say(
                f"node {self.names[node]} is about to go; its trainings are saved and go elsewhere."
            )
        self.going = going
        self._tell_changes()
        seen = (self.names, self.slots, going)
        self.changed, self._seen = seen != self._seen, seen

    def for_queue(self) -> tuple[Mapping[str, str], list[str], list[str], int, float]:
        """What ``zoo.cluster.queue.Queue.nodes`` takes."""
        return self.names, list(self.names), sorted(self.going), self.slots, 60.0 * self._grows

    def _tell_changes(self) -> None:
        if self._known is not None:
            for node in self.names.keys() - self._known.keys():
                _say(f"node {self.names[node]} joined; {len(self.names)} nodes.")
            for node in self._known.keys() - self.names.keys():
                _say(f"node {self._known[node]} is lost; {len(self.names)} nodes are left.")
        self._known = dict(self.names)


def slots_of(has: Resources, asked: Resources) -> int:
    """How many workers fit on a node."""
    return int(min(has.get(name, 0.0) / amount + 1e-9 for name, amount in asked.items()))


def _named(found: list[dict[str, Any]]) -> dict[str, str]:
    """Node id -> a name for people; with a part of the id where two hosts have the same."""
    names = {node["NodeID"]: str(node["NodeManagerHostname"]) for node in found}
    several = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {
        node: f"{name} ({node[:8]})" if name in several else name for node, name in names.items()
    }


def _say(line: str) -> None:
    announce(f"{line} {time.monotonic()}", [line])
