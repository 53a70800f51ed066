"""A cluster of several nodes on this machine, each with processes of its own."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.commands import command_line, descendants

ROOT = Path(__file__).parents[2]


class Three:
    """A head without CPUs and nodes with one each, all on this machine."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": 80_000_000},
        )
        self.address = self.cluster.address

    def add(self, **variables: str) -> object:
        """A node whose processes have these environment variables."""
        return self.cluster.add_node(
            num_cpus=1, object_store_memory=80_000_000, env_vars=variables or None
        )

    def kill_head(self) -> None:
        """Its GCS, without which a driver knows nothing of the cluster."""
        (head,) = self.cluster.head_node.all_processes["gcs_server"]
        os.kill(head.process.pid, signal.SIGKILL)


def other_code(folder: Path) -> Path:
    """A copy of zoo with a line more."""
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "zoo/keyed.py").open("a") as file:
        file.write("# another version\n")
    return folder


def processes(word: str) -> list[int]:
    """Processes below this one whose command line has a word in it."""
    return [pid for pid in descendants(os.getpid()) if word in command_line(pid)]
