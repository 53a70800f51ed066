"""What this process may use of the machine it runs on. Asked here and nowhere else, so that no two
parts of the program count differently."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
import resource
import socket
from pathlib import Path

from zoo.errors import UsageError

__all__ = ["gpu_share", "limits", "own_cpus", "process_space", "source_hash", "user_folder"]

_MANY_PROCESSES = 10_000
"""A limit above this is a system's default, and stops nobody."""


def own_cpus(root: Path = Path("/")) -> int:
    """How many CPUs this process may use: those of its affinity, no more than its control group's
    quota (part of one counts as one).

    A container or a batch system gives a process a part of the machine; ``os.cpu_count`` counts the
    host's.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def _quota(root: Path) -> float | None:
    """The least CPU quota, in CPUs, of this process's control group and those around it; None where
    there is none."""
    found: list[float] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, group = line.split(":", 2)
        v2 = number == "0" and not controllers
        if v2 or "cpu" in controllers.split(","):
            mounts = (
                ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
                if v2
                else ["sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"]
            )
            for mount in mounts:
                # Inside a container the path may be the host's, which is not there: then the mount
                # itself is the container's group.
                for folder in (
                    root / mount / group.lstrip("/"),
                    *(root / mount / group.lstrip("/")).parents,
                ):
                    found += _quota_of(folder, v2=v2)
                    if folder == root / mount:
                        break
    return min(found, default=None)


def _quota_of(folder: Path, *, v2: bool) -> list[float]:
    if v2:
        amount, _, period = _text(folder / "cpu.max").strip().partition(" ")
    else:
        amount, period = (
            _text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        )
    # No limit is "max" or -1.
    return (
        [int(amount) / int(period)] if amount.isdigit() and period.isdigit() and int(period) else []
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def process_space() -> str:
    """Names the space in which a process id means one process: host, boot and PID namespace. Equal
    for two processes that see each other."""
    space = [socket.gethostname(), _text(Path("/proc/sys/kernel/random/boot_id")).strip()]
    try:
        space.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:
        space.append("")
    return hashlib.sha256("\n".join(space).encode()).hexdigest()[:12]


def vector_lanes(cpuinfo: Path = Path("/proc/cpuinfo")) -> int:
    """float32 numbers in a vector register of this CPU: 16 with AVX-512, 8 with AVX, else 4."""
    flags = set(re.findall(r"^flags\s*:(.*)$", _text(cpuinfo), re.MULTILINE)[:1])
    known = set(" ".join(flags).split())
    return 16 if "avx512f" in known else 8 if "avx" in known else 4


@functools.cache
def source_hash() -> str:
    """Names the code of zoo that runs here: sha256 over path and content of its modules, 16 hex
    digits."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def user_folder(variable: str, below_home: str) -> Path | None:
    """A folder of this user's: what an XDG variable names, else one below the home; None where the
    account has no home (an unknown uid)."""
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home() / below_home
    except RuntimeError:
        return None


def limits() -> str:
    """The limits set for this process that many threads or much address space run into, as the
    shell's ``ulimit`` shows them; empty if none."""
    found = []
    space, processes = (
        resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC)
    )
    if space != resource.RLIM_INFINITY:
        found.append(f"{space // 1024:,} kB of address space (ulimit -v)")
    if 0 <= processes < _MANY_PROCESSES:
        found.append(f"{processes:,} processes (ulimit -u)")
    return ", ".join(found)


def gpu_share(gpus: float) -> float:
    """GPUs per worker, checked: none, a part of one, or one; the training loop drives a single
    device.

    Raises:
        UsageError: for any other number.
    """
    if not 0 <= gpus <= 1:
        raise UsageError(
            f"--gpus {gpus:g}: a training runs on one GPU or a part of it. Allowed are 0 (CPU) to"
            " 1, such as 0.25."
        )
    return gpus
