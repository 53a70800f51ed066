"""Can this machine use the cluster at an address? Found out in seconds and told apart: nothing
listens; it is no Ray head; the token is wrong or missing; this machine is no node.

Ray itself tries for a minute or ends the process, so it is asked in a process of its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

from zoo.errors import UsageError, ZooError

__all__ = ["explain", "reach", "tell"]

_SECONDS_TO_CONNECT = 5.0
_SECONDS_TO_ANSWER = 12.0


_ASK = """
import json, sys
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient
address = canonicalize_bootstrap_address_or_die(sys.argv[1])
sys.stdout.write(f"ADDRESS {address}\\n")
sys.stdout.flush()
nodes = GcsClient(address=address).get_all_node_info(timeout=8).values()
there = [node.node_manager_address for node in nodes if node.state == 0]
sys.stdout.write(f"NODES {json.dumps(there)}\\n")
"""
# What the head knows, as it tells an autoscaler. Ray has no public call for it that leaves no
# driver behind.
_TELL = (
    _ASK
    + """
from ray.core.generated import autoscaler_pb2 as messages
client = GcsClient(address=address)
reply = messages.GetClusterStatusReply.FromString(client.get_cluster_status(timeout_s=8))
state, scaling = reply.cluster_resource_state, reply.autoscaling_state
about = {node.node_id: node for node in nodes}
found = []
for node in state.node_states:
    if node.status == messages.DEAD:
        continue
    known = about.get(node.node_id)
    name = node.node_ip_address if known is None else known.node_manager_hostname
    found.append({"host": name, "address": node.node_ip_address,
                  "status": messages.NodeStatus.Name(node.status).lower(),
                  "total": dict(node.total_resources), "free": dict(node.available_resources)})
waiting = [{"asks": dict(some.request.resources_bundle), "count": some.count}
           for some in state.pending_resource_requests]
waiting += [{"asks": dict(one.resources_bundle), "count": 1}
            for gang in state.pending_gang_resource_requests for one in gang.requests]
starting = {some.ray_node_type_name: some.count for some in scaling.pending_instance_requests}
failed = [[some.ray_node_type_name, some.reason] for some in scaling.failed_instance_requests]
old = client.internal_kv_get(b"__autoscaling_status", None, timeout=8)
report = (json.loads(old).get("autoscaler_report") or {}) if old else {}
starting |= report.get("pending_launches") or {}
for node in report.get("pending_nodes") or ():
    starting[node[1]] = starting.get(node[1], 0) + 1
failed += [list(map(str, node[:2])) for node in report.get("failed_nodes") or ()]
sys.stdout.write("TOLD " + json.dumps({"nodes": found, "waiting": waiting, "starting": starting,
                                       "failed": failed}) + "\\n")
"""
)


def tell(address: str) -> dict[str, Any]:
    """What a cluster's head tells of it: ``nodes`` (host, address, status, total and free
    resources), ``waiting`` (asks, count), ``starting`` and ``failed`` of an autoscaler. From any
    machine that reaches the head.

    Raises:
        UsageError: for ``ray://``.
        ZooError: naming what is in the way and what to do.
    """
    try:
        code, said = _asked(address, _TELL)
    except OSError as error:
        raise ZooError(
            f"cannot reach the Ray cluster at {address!r}: {error}. Check --address, and that the"
            " cluster is up."
        ) from None
    if "TOLD " in said:
        told: dict[str, Any] = json.loads(said.partition("TOLD ")[2].splitlines()[0])
        return told
    if "NODES " in said:  # it is a head, and answers; what follows is not how it answers
        last = said.strip().splitlines()[-1][:200]
        raise ZooError(
            f"the cluster at {address!r} answers, but not to what it has: {last}. Check that both"
            " sides have the same Ray."
        )
    raise ZooError(explain(address, code, said) or f"the cluster at {address!r} does not answer.")


def reach(address: str) -> None:
    """Make sure that a session at an address can begin.

    Raises:
        UsageError: for ``ray://``, which is another kind of connection.
        ZooError: naming what is in the way and what to do.
    """
    if problem := explain(address, *_asked(address, _ASK)):
        raise ZooError(problem)


def _asked(address: str, script: str) -> tuple[int, str]:
    """Exit code (-1: still waiting when its time was over) and output of a process that asks the
    head.

    Raises:
        OSError: if nothing listens there, nor where the address turns out to lead ("auto").
    """
    if address.startswith("ray://"):
        raise UsageError(
            f"--address {address!r}: ray:// is Ray's client protocol, which keeps the driver away"
            " from its workers. zoo runs on a node of the cluster: give the head's host:port (port"
            " 6379 unless you changed it), or 'auto' on a node, or 'zoo submit' from outside."
        )
    listens(address)
    try:
        asked = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", script, address],
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_ANSWER,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd="/",
        )
        code, said = asked.returncode, asked.stdout + asked.stderr
    except subprocess.TimeoutExpired as late:
        parts = (
            part.decode(errors="replace") if isinstance(part, bytes) else part or ""
            for part in (late.stdout, late.stderr)
        )
        code, said = -1, "".join(parts)
    if ":" not in address and "NODES " not in said:
        listens(said.partition("ADDRESS ")[2].partition("\n")[0])
    return code, said


def listens(address: str) -> None:
    """Raise an OSError unless something accepts connections at ``host:port``."""
    host, colon, port = address.partition("/")[0].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_CONNECT).close()


def explain(address: str, code: int, said: str) -> str:
    """What the answer of the process that asked means; empty if all is well.

    Args:
        code: its exit code, -1 if it was still waiting when its time was over.
        said: what it wrote, both streams.
    """
    if "NODES " in said:
        nodes = json.loads(said.partition("NODES ")[2].splitlines()[0])
        if nodes and not any(map(_is_here, nodes)):
            return (
                f"this machine is no node of the cluster at {address!r} (its nodes:"
                f" {', '.join(sorted(set(nodes))[:5])}), and a driver has to run on one. Run the"
                " command on the head: zoo submit CLUSTER.yaml ..., or ray exec."
            )
        return ""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if "couldn't find an authentication token" in said:
        return (
            f"the cluster at {address!r}: RAY_AUTH_MODE=token, and this machine has no token. Copy"
            " the cluster's to ~/.ray/auth_token (mode 0600), or name its file with"
            " RAY_AUTH_TOKEN_PATH."
        )
    if "InvalidAuthToken" in said or "Unauthenticated" in said:
        if mode != "token":
            return (
                f"the cluster at {address!r} asks for a token, and token mode is switched off here"
                f" (RAY_AUTH_MODE is {mode or 'not set'}). Set RAY_AUTH_MODE=token, with the"
                " cluster's token in ~/.ray/auth_token."
            )
        return (
            f"the cluster at {address!r} refuses this machine's token. Copy the cluster's to"
            " ~/.ray/auth_token (mode 0600): the one of 'zoo up' lies there on its machine and on"
            " every node."
        )
    if "ADDRESS " in said or code == -1:
        return (
            f"something listens at {address!r}, but does not answer as the head of a Ray cluster."
            " Check the port (6379 unless you changed it; not the dashboard's 8265 nor the"
            " client's 10001) and that both sides have the same Ray."
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (
        f"cannot reach the Ray cluster at {address!r}: {lines[-1] if lines else 'no reason given'}."
        " Check --address."
    )


def _is_here(address: str) -> bool:
    """Whether an address is one of this machine's: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


if __name__ == "__main__":  # on a head, asked from outside by zoo.cluster.launch
    exec(_ASK)  # noqa: S102 - the text above
