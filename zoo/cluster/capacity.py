"""What there is to run on, compared with what one piece of work asks for: nothing is started that
no node can ever take.

Ray lets such work wait, without a word, for a node that never comes.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.errors import UsageError

__all__ = [
    "Resources",
    "asked_words",
    "check",
    "growth",
    "node_types",
    "nodes",
    "pending",
    "worker_resources",
    "workers_of_fill",
]

Resources = Mapping[str, float]
"""Amounts by Ray's names: CPU, GPU."""

_SHOWN = ("CPU", "GPU")
_SECONDS_TO_TELL = 10.0
_MONITOR, _CONFIG = "/monitor.py", "--autoscaling-config="
_UNTOLD = 16
"""Workers that work is cut for where an autoscaler does not tell how many it may start."""


def worker_resources(gpus: float) -> dict[str, float]:
    """What a worker asks for: a CPU, and a GPU or a part of one."""
    return {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})


def check(
    asked: Resources, there: Sequence[Resources], possible: Sequence[Resources] | None, where: str
) -> None:
    """Refuse a request that no single node can grant.

    Args:
        there: all that each living node has, whether in use or not.
        possible: what a node has of each type that an autoscaler may start; None = there is an
            autoscaler, and it does not tell.
        where: the cluster, in words.

    Raises:
        UsageError: naming what there is.
    """
    if possible is None or any(_fits(asked, node) for node in (*there, *possible)):
        return
    found = f"{where} has {_listed(there)}" if there else f"{where} has no node"
    if possible:
        found += f"; its autoscaler can start nodes with {_listed(possible)}"
    elif len(there) > 1 or "GPU" not in asked:
        found += ", and nothing that starts more"
    advice = "Leave --gpus out to run on CPUs" if asked.get("GPU") else "Give it nodes with CPUs"
    raise UsageError(
        f"a worker asks for {_words(asked)} on one node, and {found}. {advice}, or name another"
        " cluster with --address."
    )


def _fits(asked: Resources, node: Resources) -> bool:
    return all(node.get(name, 0.0) >= amount for name, amount in asked.items())


def asked_words(resources: Resources) -> str:
    """``CPU 1, GPU 0.5``."""
    return _words(resources)


def _words(resources: Resources) -> str:
    return ", ".join(
        f"{name} {resources.get(name, 0.0):g}"
        for name in _SHOWN
        if name in resources or name in ("CPU", "GPU")
    )


def _listed(nodes: Sequence[Resources]) -> str:
    kinds = dict.fromkeys(_words(node) for node in nodes)
    return " / ".join(kinds)


# ---------------------------------------------------------------- asked of a running cluster


def nodes() -> list[dict[str, float]]:
    """The resources of every living node of the cluster this process is connected to."""
    import ray

    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def node_types() -> list[dict[str, float]] | None:
    """The resources of every type of node that an autoscaler may start; empty without an
    autoscaler; None where it does not tell."""
    told = _types()
    return None if told is None else [resources for resources, _ in told]


def growth(gpus: float) -> int:
    """For how many workers of a fill an autoscaler may start nodes, at most; 0 without one, and
    ``_UNTOLD`` where it does not tell."""
    told = _types()
    if told is None:
        return _UNTOLD
    counts = (
        int(workers_of_fill(has, gpus)) * (_UNTOLD if most < 0 else most) for has, most in told
    )
    return sum(counts)


def workers_of_fill(resources: Resources, gpus: float) -> float:
    """How many workers of a fill these are enough for."""
    return resources.get("GPU", 0.0) / gpus if gpus else resources.get("CPU", 0.0)


def _types() -> list[tuple[dict[str, float], int]] | None:
    """Resources and greatest number of every type of node; see ``node_types``."""
    import ray
    from ray.experimental.internal_kv import _internal_kv_get

    if (configured := _configured()) is not None:
        return configured
    # Ray tells this only inside; where it has moved, or the connection cannot carry it, nothing is
    # known. A head that was started a moment ago has not told anything yet.
    until = time.monotonic() + _SECONDS_TO_TELL
    while True:
        try:
            config = ray._private.state.state.get_cluster_config()
            status: Any = _internal_kv_get("__autoscaling_status")
        except Exception:  # noqa: BLE001
            return None
        named = _named(json.loads(status).get("autoscaler_report") or {}) if status else set()
        told = config is not None or bool(named) or _second_version()
        if told or time.monotonic() >= until:
            break
        time.sleep(_SECONDS_TO_TELL / 20)
    if config is not None and config.node_group_configs:
        groups = config.node_group_configs
        return [(dict(g.resources), int(g.max_count)) for g in groups if g.max_count]
    if _second_version():
        return None
    # A cluster without an autoscaler has a monitor all the same: it calls each node a type of its
    # own. One that names no node at all has not told yet.
    own = all(re.fullmatch(r"node_[0-9a-f]+", name) for name in named)
    return [] if own and (named or not status) else None


def _configured() -> list[tuple[dict[str, float], int]] | None:
    """The same from the file that this cluster's autoscaler was started with, which Ray does not
    pass on: on the head, where submitted commands run. None elsewhere, and where a type does not
    say what it has."""
    import ray
    import yaml  # type: ignore[import-untyped]

    if not ray.is_initialized():  # it would connect to whatever cluster it finds
        return None
    try:
        mine = f"--gcs-address={ray.get_runtime_context().gcs_address}"
        (line,) = (words for words in _command_lines() if mine in words and _MONITOR in words[2])
        named = [word.partition("=")[2] for word in line if word.startswith(_CONFIG)]
        if not named:
            return []
        config = yaml.safe_load(Path(named[0]).expanduser().read_text())
        most, types = int(config["max_workers"]), dict(config["available_node_types"])
        types[config["head_node_type"]] = {"max_workers": 0} | types[config["head_node_type"]]
        counts = {name: min(most, int(has.get("max_workers", most))) for name, has in types.items()}
        found = [(dict(types[name]["resources"]), count) for name, count in counts.items() if count]
    except Exception:  # noqa: BLE001 - wherever it is, it is not to be had here
        return None
    return found if all(resources for resources, _ in found) else None


def _command_lines() -> Iterator[list[str]]:
    """Of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if len(words) > 2:
                yield words


def _named(report: Mapping[str, Any]) -> set[str]:
    """Types of nodes that an autoscaler's report names, those of nodes it is starting too."""
    return {
        *(report.get("active_nodes") or {}),
        *(report.get("idle_nodes") or {}),
        *(report.get("pending_launches") or {}),
        *(node[1] for node in report.get("pending_nodes") or ()),
    }


def _second_version() -> bool:
    """Whether there is Ray's second autoscaler, as ``ray up`` starts it: it tells what it is
    starting, and not what it could start."""
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    try:
        return bool(is_autoscaler_v2(fetch_from_server=True))
    except Exception:  # noqa: BLE001 - Ray tells this only inside
        return False


def pending() -> str:
    """What an autoscaler is about to start, and what it could not start last, in words."""
    try:
        starting, failed = _told_by_second() if _second_version() else _told_by_first()
    except Exception:  # noqa: BLE001 - Ray tells this only inside
        starting, failed = [], []
    words = f"starting: {', '.join(starting) or 'none that its autoscaler tells of'}"
    return words + (f"; last that failed: {failed[-1]}" if failed else "")


def _told_by_first() -> tuple[list[str], list[str]]:
    from ray.experimental.internal_kv import _internal_kv_get

    status: Any = _internal_kv_get("__autoscaling_status")
    report = json.loads(status)["autoscaler_report"] if status else {}
    starting = [f"{count} {name}" for name, count in (report.get("pending_launches") or {}).items()]
    starting += [f"{node[1]} ({node[2]})" for node in report.get("pending_nodes") or ()]
    return starting, [" ".join(map(str, node[:2])) for node in report.get("failed_nodes") or ()]


def _told_by_second() -> tuple[list[str], list[str]]:
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    starting = [f"{some.count} {some.ray_node_type_name}" for some in status.pending_launches]
    starting += [
        f"{node.ray_node_type_name} ({node.details or node.instance_id})"
        for node in status.pending_nodes
    ]
    return starting, [
        f"{some.ray_node_type_name} ({some.details or 'no reason given'})"
        for some in status.failed_launches
    ]
