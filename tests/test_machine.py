"""What a process may use of its machine: CPUs by affinity and by control group, a GPU or a part of
one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo import machine
from zoo.errors import UsageError
from zoo.machine import gpu_share, own_cpus, process_space

HERE = len(os.sched_getaffinity(0))


def system(root: Path, groups: str, **files: str) -> Path:
    """A made-up ``/proc`` and ``/sys``: the group of this process, and files of control groups by
    path (``__`` for ``/``)."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = (
            root
            / "sys/fs/cgroup"
            / name.replace("__", "/").replace("_max", ".max").replace("cpu_cfs", "cpu.cfs")
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may run on eight CPUs."""
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(8)))


@pytest.mark.parametrize(
    ("groups", "files", "cpus"),
    [
        ("0::/\n", {}, 8),  # no limit file at all
        ("0::/\n", {"cpu_max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu_max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 2),  # a part of a CPU counts as one
        ("0::/\n", {"cpu_max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "6400000 100000\n"}, 8),  # more than its affinity
        # the group around it counts
        (
            "0::/job/step\n",
            {"job__step__cpu_max": "max 100000\n", "job__cpu_max": "200000 100000\n"},
            2,
        ),
        # a container sees its own group at the mount
        ("0::/elsewhere/on/the/host\n", {"cpu_max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/job\n",
            {"cpu__job__cpu_cfs_quota_us": "250000\n", "cpu__job__cpu_cfs_period_us": "100000\n"},
            3,
        ),
        (
            "4:cpu,cpuacct:/job\n",
            {"cpu__job__cpu_cfs_quota_us": "-1\n", "cpu__job__cpu_cfs_period_us": "100000\n"},
            8,
        ),
        # not its group
        (
            "2:memory:/job\n",
            {"cpu__job__cpu_cfs_quota_us": "100000\n", "cpu__job__cpu_cfs_period_us": "100000\n"},
            8,
        ),
        ("0::/\n", {"cpu_max": "nonsense\n"}, 8),
    ],
)
def test_a_quota_counts_where_it_is_less_than_the_affinity(
    tmp_path: Path, eight: None, groups: str, files: dict[str, str], cpus: int
) -> None:
    """Of eight CPUs, as many as the least quota of the group and those around it allows, and at
    least one."""
    assert own_cpus(system(tmp_path, groups, **files)) == cpus


def test_without_a_proc_the_affinity_counts(tmp_path: Path) -> None:
    assert own_cpus(tmp_path) == HERE


def test_a_process_bound_to_one_cpu_has_one() -> None:
    """In a process of its own, bound as ``taskset -c`` binds it: one CPU, whatever the host has."""
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from zoo.machine"
        " import own_cpus; print(own_cpus())"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "1\n"
    )


def test_no_part_of_zoo_counts_the_host_s_cpus() -> None:
    """``os.cpu_count`` is asked in ``zoo/machine.py`` alone, so that no two parts count
    differently."""
    root = Path(machine.__file__).parent
    asking = [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*.py"))
        if "cpu_count" in path.read_text()
    ]
    assert asking == ["machine.py"]


@pytest.mark.parametrize("gpus", [0, 0.25, 1])
def test_no_gpu_a_part_or_one(gpus: float) -> None:
    assert gpu_share(gpus) == gpus


@pytest.mark.parametrize("gpus", [-1, 1.5, 2, float("nan"), float("inf")])
def test_any_other_number_of_gpus_is_refused(gpus: float) -> None:
    """A training drives one device: a second one would stand idle, half a one more cannot be
    had."""
    with pytest.raises(
        UsageError,
        match=(
            r"^--gpus .*: a training runs on one GPU or a part of it\. Allowed are 0 \(CPU\) to 1,"
            r" such as 0\.25\.$"
        ),
    ):
        gpu_share(gpus)


def test_processes_that_see_each_other_share_a_name_of_their_space() -> None:
    """A child has the name of its parent."""
    child = subprocess.run(
        [sys.executable, "-c", "from zoo.machine import process_space; print(process_space())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == process_space()


def test_another_pid_namespace_has_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Same host name, same boot, another namespace: process ids do not mean the same processes
    there."""
    here = process_space()
    monkeypatch.setattr(machine.Path, "readlink", lambda self: Path("pid:[1]"))
    assert process_space() != here
