"""What is in the way of a sweep: of this machine, of a cluster's file, of a cluster's nodes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.cluster.capacity import worker_resources
from zoo.cluster.preflight import Preflight, Report, faults, look
from zoo.errors import ZooError
from zoo.spec import DatasetRef

__all__ = ["Findings", "examine"]


@dataclass
class Findings:
    """``seen``: a line for each thing that was looked at; ``faults``: what is in the way."""

    seen: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"faults": self.faults, "seen": self.seen, "nodes": self.nodes}

    def lines(self) -> list[str]:
        """For people: what was seen, then what is in the way."""
        return [
            *self.seen,
            *(f"fault: {fault}" for fault in self.faults),
            *([] if self.faults else ["nothing is in the way"]),
        ]


def examine(
    file: Path | None, workspace: str, data: str | None, address: str | None, gpus: float
) -> Findings:
    """Look at everything that was named; a fault in one thing does not hide another."""
    found = Findings()
    own = look(None)
    found.seen.append(f"this machine: {_words(own)}")
    found.faults += [f"this machine: {fault}" for fault in faults(own, own)]
    if file is not None:
        _file(file, found)
    if address is not None:
        _cluster(address, workspace, data, gpus, found)
    return found


def _words(report: Report) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    return (
        f"{report.host}, zoo {report.source[:8]}, Python {report.python}, {versions}, /dev/shm"
        f" {report.shm / 1e9:.1f} GB, {report.free_temporary / 1e9:.1f} GB for temporary files"
        + (f", {report.gpu}" if report.gpu else "")
    )


def _file(path: Path, found: Findings) -> None:
    from zoo.cluster.launch import check, not_here, out_of_reach, still_examples

    for tool in ("ssh", "rsync"):
        if shutil.which(tool) is None:
            found.faults.append(f"this machine has no {tool}, by which zoo up reaches the nodes")
    try:
        config = check(path)
        examples = still_examples(config)
        found.faults += (absent := [*examples, *not_here(config)])
        found.faults += [] if absent else out_of_reach(config)
        if config["provider"]["type"] == "aws" and not examples:
            from zoo.cluster import aws

            found.faults += aws.group_faults(config)
    except ZooError as error:
        found.faults.append(str(error))
    else:
        found.seen.append(f"{path}: passes Ray's schema and zoo's rules")


def _cluster(address: str, workspace: str, data: str | None, gpus: float, found: Findings) -> None:
    from zoo.cluster.session import session

    try:
        with session(address):
            from zoo.cluster.nodes import fitting

            nodes = fitting(worker_resources(gpus))
            found.seen.append(f"{address}: {len(nodes)} nodes on which a worker fits")
            preflight = Preflight(workspace, gpus)
            try:
                preflight.check(nodes, _refs(data))
            finally:
                preflight.close()
                for node, report in preflight.good.items():
                    found.nodes[nodes[node]] = report.as_json()
                    found.seen.append(f"node {nodes[node]}: {_words(report)}")
                why = preflight.bad | dict.fromkeys(
                    preflight.silent, "no answer to zoo's probe yet"
                )
                found.faults += [f"node {nodes.get(n, n)}: {text}" for n, text in why.items()]
    except ZooError as error:
        if not any(fault.startswith("node ") for fault in found.faults):
            found.faults.append(str(error))


def _refs(data: str | None) -> list[DatasetRef]:
    from zoo.data import open_dataset

    return [] if data is None else [open_dataset(data).ref]
