"""Before work starts: can each node do it? A small task on every node reports what it sees, and the
driver compares that with what it sees itself.

A node that cannot is named with the cause and the mend, and gets no work; a node that joins later
is probed before it gets any.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.machine import source_hash
from zoo.progress import announce
from zoo.spec import DatasetRef
from zoo.store.files import TEMPORARY
from zoo.store.workspace import PROBE

__all__ = ["Gate", "Preflight", "Report", "Wanted", "faults", "look"]

_SECONDS = 15.0
_AGAIN_SECONDS = 5.0
_FREE_BYTES = 200 << 20
_SHM_BYTES = 64 << 20
_COMPARED = ("torch", "numpy")

_CUDA = """
import sys, torch
torch.cuda.init()
sys.stdout.write("CUDA " + torch.cuda.get_device_name(0))
"""


@dataclass(frozen=True)
class Wanted:
    """What a node is asked to look at: the probe in the workspace and its content, data sets (uri
    -> fingerprint), whether GPUs are asked for."""

    workspace: str
    probe: str
    token: str
    datasets: Mapping[str, str]
    gpus: float


@dataclass(frozen=True)
class Report:
    """What a node sees. ``problems``: what went wrong on it, in words; bytes free in the workspace
    and in the folder of temporary files, bytes of /dev/shm (-1: not asked)."""

    host: str
    source: str
    python: str
    versions: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    free: int = -1
    free_temporary: int = -1
    shm: int = -1
    gpu: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def look(wanted: Wanted | None) -> Report:
    """What this machine sees; runs on every node. ``wanted`` None: only what it is itself."""
    problems: list[str] = []
    free, gpu = -1, ""
    if wanted is not None and wanted.workspace:
        problems += _workspace_problems(wanted)
        if not wanted.workspace.startswith("s3://"):
            with contextlib.suppress(OSError):
                free = shutil.disk_usage(wanted.workspace).free
    for uri, fingerprint in () if wanted is None else wanted.datasets.items():
        problems += _data_problems(uri, fingerprint)
    if wanted is not None and wanted.gpus:
        gpu, trouble = _cuda()
        problems += trouble
    temporary = shm = -1
    with contextlib.suppress(OSError):
        temporary = shutil.disk_usage(os.environ.get("TMPDIR") or "/tmp").free  # noqa: S108
    with contextlib.suppress(OSError):
        shm = shutil.disk_usage("/dev/shm").total  # noqa: S108
    return Report(
        platform.node(),
        source_hash(),
        platform.python_version(),
        {name: _version(name) for name in _COMPARED},
        problems,
        free,
        temporary,
        shm,
        gpu,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _workspace_problems(wanted: Wanted) -> list[str]:
    place = wanted.workspace
    try:
        if place.startswith("s3://"):
            from zoo.store.s3 import S3Files, parse_s3

            files = S3Files(*parse_s3(place))
            there = files.read(wanted.probe).decode()
            files.replace(f"{wanted.probe}-{platform.node()}", b"probe")
            files.remove(f"{wanted.probe}-{platform.node()}")
        else:
            there = (Path(place) / wanted.probe).read_text()
            mine = Path(place) / f"{wanted.probe}-{platform.node()}-{secrets.token_hex(4)}"
            mine.write_text("probe")
            mine.unlink()
    except FileNotFoundError:
        mend = "mount the shared folder under the same path on every node, or use s3://"
        return [f"it does not see the workspace {place}: {mend}"]
    except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot use the workspace
        mend = (
            "give its machine a role, or credentials of its own, for the bucket"
            if place.startswith("s3://")
            else "give its user the right to write there, or make room"
        )
        return [f"it cannot use the workspace {place} ({_first_line(error)}): {mend}"]
    if there != wanted.token:
        return [
            f"its {place} is another folder than the driver's: mount the shared one under that path"
        ]
    return []


def _data_problems(uri: str, fingerprint: str) -> list[str]:
    from zoo.trainsets.inputs import open_verified

    try:
        open_verified(DatasetRef(uri=uri, fingerprint=fingerprint))
    except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot read the data
        return [f"it cannot use the data set {uri!r} ({_first_line(error)})"]
    return []


def _cuda() -> tuple[str, list[str]]:
    """Name of the first GPU, or why there is none; in a process of its own, which sees all GPUs and
    takes their memory with it."""
    seen = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        asked = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", _CUDA],
            capture_output=True,
            text=True,
            timeout=4 * _SECONDS,
            check=False,
            env=seen,
        )
    except subprocess.TimeoutExpired:
        return "", ["CUDA does not initialise within a minute: check its driver (nvidia-smi)"]
    if "CUDA " in asked.stdout:
        return asked.stdout.partition("CUDA ")[2].strip(), []
    lines = asked.stderr.strip().splitlines() or ["no reason given"]
    mend = "check its driver (nvidia-smi) and that torch is built for CUDA"
    return "", [f"CUDA does not initialise ({lines[-1]}): {mend}"]


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return f"{type(error).__name__}: {text}"[:300]


# ---------------------------------------------------------------- compared with the driver's


def faults(report: Report, own: Report) -> list[str]:
    """Why a node cannot do this driver's work, each with its mend; empty if it can."""
    found = list(report.problems)
    if report.source != own.source:
        found.append(
            f"it runs other code of zoo ({report.source[:8]}, the driver {own.source[:8]}): bring"
            " the same version there (zoo up --restart copies yours)"
        )
    if report.python.split(".")[:2] != own.python.split(".")[:2]:
        found.append(f"it has Python {report.python}, the driver {own.python}")
    found += [
        f"it has {name} {report.versions.get(name)}, the driver {own.versions.get(name)}: install"
        " what constraints.txt names"
        for name in _COMPARED
        if report.versions.get(name) != own.versions.get(name)
    ]
    for what, free in (("workspace", report.free), ("temporary files", report.free_temporary)):
        if 0 <= free < _FREE_BYTES:
            found.append(
                f"{free / 1e6:.0f} MB are free for {what}: make room (at least"
                f" {_FREE_BYTES / 1e6:.0f} MB)"
            )
    if 0 <= report.shm < _SHM_BYTES:
        found.append(
            f"shared memory has {report.shm / 1e6:.0f} MB: start its container with --shm-size=1g"
        )
    return found


_LOOKED: dict[str, tuple[bool, float]] = {}
"""What this process has found of a gate, and when."""


@dataclass(frozen=True)
class Gate:
    """What a worker that somebody else placed looks at before its first work, on a node that the
    driver had not probed by then: it may have joined a moment ago.

    ``own``: what the driver is; ``probed``: ids of the nodes that it has probed and found good.
    """

    wanted: Wanted
    own: Report
    probed: frozenset[str]

    @property
    def without_gpu(self) -> Gate:
        """The same for work that needs no GPU."""
        return replace(self, wanted=replace(self.wanted, gpus=0.0))

    def opens(self) -> bool:
        """Whether this node can do the work. Looked at once per process where it can, else again
        after a while."""
        import ray

        if ray.get_runtime_context().get_node_id() in self.probed:
            return True
        what = json.dumps([asdict(self.wanted), asdict(self.own)], sort_keys=True)
        good, when = _LOOKED.get(what, (False, -_AGAIN_SECONDS))
        if not good and time.monotonic() - when >= _AGAIN_SECONDS:
            good = not faults(look(self.wanted), self.own)
            _LOOKED[what] = good, time.monotonic()
        return good

    def wait(self) -> None:
        """Return once this node can do the work; never where it cannot. Whoever waits here keeps
        the place that another one would be given only to wait there too."""
        while not self.opens():
            time.sleep(_AGAIN_SECONDS)


class Preflight:
    """The probes of one session.

    Args:
        workspace: location as given; it need not be there yet. "" = not looked at.
        gpus: GPUs per worker.
    """

    def __init__(self, workspace: str, gpus: float) -> None:
        self._gpus, self._token = gpus, secrets.token_hex(8)
        self._place = (
            workspace
            if not workspace or workspace.startswith("s3://")
            else str(Path(workspace).expanduser().absolute())
        )
        folder = "attempts/" if self._place.startswith("s3://") else ""
        prefix = PROBE if folder else TEMPORARY
        self._probe = f"{folder}{prefix}{self._token}"
        self._datasets: dict[str, str] = {}
        self._own = look(None)
        self._asked: dict[str, tuple[Any, float]] = {}
        self._made: list[Path] = []
        self._late: set[str] = set()
        self.bad: dict[str, str] = {}
        self.good: dict[str, Report] = {}

    def check(self, nodes: Mapping[str, str], datasets: Iterable[DatasetRef] = ()) -> None:
        """Probe all of some nodes (id -> name) but those whose answer was that they cannot do the
        work. After a while those that have answered are enough if one of them can; the others are
        ``silent``.

        Raises:
            ZooError: if none of them can do the work.
        """
        self._datasets |= {ref.uri: ref.fingerprint for ref in datasets}
        self.good = {}
        for node in self._late:
            del self.bad[node]
        self._late = set()
        for node in nodes:
            if node not in self.bad:
                self.start(node)
        seconds = _SECONDS * (4 if self._gpus else 1)
        until = time.monotonic() + seconds
        while self._asked and time.monotonic() < until:
            self.collect(nodes, wait=0.2)
        for node in self._asked:
            name = nodes.get(node, node)
            line = f"node {name} has not answered zoo's probe within {seconds:g} s; it gets work"
            announce(line, [f"{line} once it has."])
        while self._asked.keys() - self._late and not self.good:
            self.collect(nodes, wait=0.2)
        if nodes and not self.good:
            raise ZooError(
                "no node can do this work:\n"
                + "\n".join(f"  {nodes[n]}: {why}" for n, why in self.bad.items() if n in nodes)
                + "\nMend one of them and run the same command again."
            )

    @property
    def silent(self) -> list[str]:
        """Nodes that were asked and have not answered yet, those that were given up included."""
        return list(self._asked)

    def start(self, node: str) -> None:
        """Begin to probe a node."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        if self._place:
            self._write_probe()
        wanted = self._wanted()
        # Sent again where the message is lost or the process ends: a look changes nothing.
        task = ray.remote(num_cpus=0, max_retries=2)(look)
        pinned = NodeAffinitySchedulingStrategy(node, soft=False)
        self._asked[node] = (
            task.options(scheduling_strategy=pinned).remote(wanted),
            time.monotonic(),
        )

    def collect(self, nodes: Mapping[str, str], wait: float = 0.0) -> None:
        """Take in what has been answered."""
        import ray

        refs = [ref for ref, _ in self._asked.values()]
        done = ray.wait(refs, num_returns=len(refs), timeout=wait)[0] if refs else []
        for node, (ref, began) in list(self._asked.items()):
            if ref in done:
                del self._asked[node]
                late = node in self._late
                if late:
                    self._late.remove(node)
                    del self.bad[node]
                try:
                    report: Report = ray.get(ref)
                except Exception as error:  # noqa: BLE001 - the node cannot even run the probe
                    self._judge(node, nodes, [f"it cannot run zoo's probe ({_last_line(error)})"])
                else:
                    self.good[node] = report
                    self._judge(node, nodes, faults(report, self._own))
                    if late and node in self.good:
                        line = f"node {nodes.get(node, node)} has answered zoo's probe after all;"
                        announce(line, [f"{line} it gets work."])
            # Whatever it is busy with may end: it stays asked, and is good once it has answered.
            elif time.monotonic() - began > 8 * _SECONDS and node not in self._late:
                self._late.add(node)
                self._judge(node, nodes, ["no answer to zoo's probe"])

    def watch(self, nodes: Mapping[str, str]) -> list[str]:
        """Probe those of some nodes that are new; the ids of all that may get work by now."""
        for node in nodes:
            if node not in self.good and node not in self.bad and node not in self._asked:
                self.start(node)
        self.collect(nodes)
        return [node for node in nodes if node in self.good]

    def gate(self) -> Gate:
        """For workers that another one places, on nodes that may not be probed by then, nor
        anything else: what they look for is written here too."""
        if self._place:
            self._write_probe()
        return Gate(self._wanted(), self._own, frozenset(self.good))

    def _wanted(self) -> Wanted:
        return Wanted(self._place, self._probe, self._token, dict(self._datasets), self._gpus)

    def _judge(self, node: str, nodes: Mapping[str, str], why: list[str]) -> None:
        if why:
            self.good.pop(node, None)
            self.bad[node] = "; ".join(why)
            line = f"node {nodes.get(node, node)} is left out: {self.bad[node]}."
            announce(line, [line])

    def _write_probe(self) -> None:
        if self._place.startswith("s3://"):
            from zoo.store.s3 import S3Files, parse_s3

            S3Files(*parse_s3(self._place)).replace(self._probe, self._token.encode())
            return
        path = Path(self._place) / self._probe
        if path.exists():
            return
        missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._token)
        except OSError as error:
            raise ZooError(
                f"cannot write the workspace {self._place}: {error.strerror or error}. Choose"
                " another with --workspace."
            ) from error
        self._made += missing

    def close(self) -> None:
        """Remove the probe, and the folders that were made for it where nothing else is in them."""
        with contextlib.suppress(Exception):
            if self._place.startswith("s3://"):
                from zoo.store.s3 import S3Files, parse_s3

                S3Files(*parse_s3(self._place)).remove(self._probe)
            elif self._place:
                (Path(self._place) / self._probe).unlink(missing_ok=True)
                for folder in self._made:
                    folder.rmdir()


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__).rstrip(".")[:300]
