"""A cluster of several nodes on this machine, each with processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from pathlib import Path

from tests.commands import born, command_line, descendants

ROOT = Path(__file__).parents[2]
_HEAD = "f" * 51 + "00000"
"""Id of a head with an autoscaler of Ray's for tests, which finds it by this."""


class Three:
    """A head without CPUs and nodes with one each, all on this machine."""

    def __init__(self, **head: object) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000} | head,
        )
        self.address = self.cluster.address

    def add(self, **variables: str) -> object:
        """A node whose processes have these environment variables."""
        return self.cluster.add_node(
            num_cpus=1, object_store_memory=80_000_000, env_vars=variables or None
        )

    def close(self) -> None:
        """End it, and what its autoscaler has started and would leave behind."""
        (monitor,) = self.cluster.head_node.all_processes["monitor"]
        started = {pid: born(pid) for pid in descendants(monitor.process.pid)}
        self.cluster.shutdown()
        for pid, birth in started.items():
            if birth and born(pid) == birth:
                os.kill(pid, signal.SIGKILL)

    def kill_head(self) -> None:
        """Its GCS, without which a driver knows nothing of the cluster."""
        (head,) = self.cluster.head_node.all_processes["gcs_server"]
        os.kill(head.process.pid, signal.SIGKILL)


def growing(folder: Path, most: int, seconds_idle: float) -> Three:
    """A head without CPUs whose autoscaler starts up to so many nodes of one CPU, as many as are
    asked for, and ends those that have had nothing to do for a while.

    Ray's own ``AutoscalingCluster`` is not used: the wheel lacks its configuration, and it begins
    with ``ray stop --force``, which ends every Ray of the machine.
    """
    from ray._private.services import get_node_ip_address

    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    commands = ("setup", "head_setup", "worker_setup", "initialization")
    head, worker = "ray.head.default", {"CPU": 1, "object_store_memory": 80_000_000}
    config = {
        "cluster_name": "growing",
        "max_workers": most,
        "idle_timeout_minutes": seconds_idle / 60,
        "upscaling_speed": most,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "gcs_address": f"{get_node_ip_address()}:{port}",
            "head_node_id": _HEAD,
        },
        "head_node_type": head,
        "available_node_types": {
            head: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": worker, "node_config": {}, "max_workers": most},
        },
        **{f"{name}_commands": [] for name in commands},
        **{f"{name}_start_ray_commands": [] for name in ("head", "worker")},
        **{name: {} for name in ("docker", "auth", "file_mounts")},
        **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter")},
        "file_mounts_sync_continuously": False,
    }
    (folder / "growing.json").write_text(json.dumps(config))
    return Three(
        gcs_server_port=port,
        autoscaling_config=str(folder / "growing.json"),
        env_vars={"RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD},
    )


def other_code(folder: Path) -> Path:
    """A copy of zoo with a line more."""
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "zoo/keyed.py").open("a") as file:
        file.write("# another version\n")
    return folder


def processes(word: str) -> list[int]:
    """Processes below this one whose command line has a word in it."""
    return [pid for pid in descendants(os.getpid()) if word in command_line(pid)]
