"""A cluster of real hosts from clean machines to none: up, train, a host cut off and back, fill,
the driver killed, the same command again, down. What is found before work starts has a test of its
own."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from multihost.hosts import ADDRESSES, Hosts, missing, wait

from tests.commands import Running, content, files, finished, run, start, untouched

pytestmark = [
    pytest.mark.multihost,
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(bool(why := missing()), reason=why or "all is there"),
]

ROOT = Path(__file__).parents[2]
QUICK = " ".join(
    f"RAY_health_check_{name}=1000" for name in ("initial_delay_ms", "period_ms", "timeout_ms")
)
"""A lost node is noticed after seconds, not after Ray's minute."""
EPOCHS = 6
SEEDS = 12
"""Trainings: many enough that the sweep goes on for longer than the loss of a host takes to be seen
on a quiet machine (four ended in 18 s)."""
TRAIN = (
    *("train", "--archs", "lenet5", "--seeds", ",".join(map(str, range(SEEDS)))),
    # One by one: lanes are done before a host that is cut off is lost.
    *("--epochs", str(EPOCHS), "--trainer", "single"),
    *("--snapshots", ",".join(map(str, range(1, EPOCHS + 1)))),
)
SMALL = "--object-store-memory=150000000 --memory=2000000000"


def cluster_file(hosts: Hosts) -> Path:
    """``cluster/local.yaml`` with the addresses, the key and the sizes of these hosts."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster/local.yaml").read_text())
    config["provider"] |= {
        "head_ip": ADDRESSES["head"],
        "worker_ips": [ADDRESSES["w1"], ADDRESSES["w2"]],
    }
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(hosts.key)}
    head, worker = config["head_start_ray_commands"], config["worker_start_ray_commands"]
    head[1] = f"{head[1]} {SMALL}".replace("RAY_AUTH_MODE", f"{QUICK} RAY_AUTH_MODE")
    worker[1] = f"{worker[1]} --num-cpus=1 {SMALL}"
    path = hosts.folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass(frozen=True)
class Cluster:
    """The hosts with a cluster's file, and a workspace that all of them see."""

    hosts: Hosts
    file: Path
    space: Path

    def client(self, *words: object) -> str:
        """A command on the client that must end well; what it prints."""
        done = self.hosts.run("client", "zoo", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def submit(self, *words: object) -> str:
        """Start a command on the head; its job's name."""
        said = self.client("submit", self.file, *words, "-w", self.space, "--address", "auto")
        return said.split(":")[0]

    def ended(self, job: str) -> bool:
        code = self.hosts.home("head") / "zoo-jobs" / job / "code"
        return code.exists() and bool(code.read_text().strip())

    def log(self, job: str) -> str:
        """What a job has said so far, read where it runs."""
        path = self.hosts.home("head") / "zoo-jobs" / job / "log"
        return path.read_text() if path.exists() else ""

    def report(self) -> str:
        """For who reads why it failed: the end of each job's log, and what CPU time Ray's processes
        had."""
        lines = [f"load {Path('/proc/loadavg').read_text().strip()}"]
        for folder in sorted((self.hosts.home("head") / "zoo-jobs").glob("*")):
            command = (folder / "command").read_text().strip()
            code = (folder / "code").read_text().strip() if (folder / "code").exists() else "none"
            lines += [f"job {folder.name}, exit code {code}: {command}"]
            lines += [f"  {line}" for line in self.log(folder.name).splitlines()[-40:]]
        for name in ("head", "w1", "w2"):
            with contextlib.suppress(OSError, ValueError):  # it may be a host that has gone
                there = self.hosts.run(name, "ps", "-eo", "ni,time,etime,args").stdout.splitlines()
                lines += [f"{name}: {line[:100]}" for line in there if "ray::" in line]
        return "\n".join(lines)

    def down(self) -> None:
        """End it, and look whether a process of Ray's is left on any host."""
        assert "no process of Ray's" in self.client("down", self.file)
        assert [self.hosts.ray(name) for name in ("head", "w1", "w2")] == [[], [], []]


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Running]:
    """The trainings in one process on one machine, to compare with; at work while the cluster comes
    up."""
    with start(tmp_path, *TRAIN, "--runner", "local", "-w", tmp_path / "calm") as running:
        yield running


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Hosts() as hosts:
        made = Cluster(hosts, cluster_file(hosts), hosts.shared / "space")
        try:
            assert "3 nodes answer" in made.client("up", made.file)
            yield made
        finally:
            print(made.report())  # noqa: T201 - shown where the test has failed


def test_a_cluster_from_clean_hosts_to_none(
    alone: Running, cluster: Cluster, tmp_path: Path
) -> None:
    """Nothing committed is lost, written twice or different from one process on one machine."""
    seed = random.randrange(1000)
    print(f"seed {seed}")  # noqa: T201 - to be found in what pytest has captured
    chance = random.Random(seed)
    hosts, file, space, calm = cluster.hosts, cluster.file, cluster.space, tmp_path / "calm"
    # train; a worker's host is cut off in the middle, and comes back
    job = cluster.submit(*TRAIN)
    wait(lambda: finished(space, "checkpoint") >= chance.randint(1, 4), "a checkpoint")
    before = files(space)
    hosts.cut("w1")
    # that it is lost is seen before it is back
    lost = "node w1 is lost"
    wait(lambda: lost in cluster.log(job) or cluster.ended(job), "the word that w1 is lost")
    assert lost in cluster.log(job), "the sweep ended before the loss was seen"
    hosts.cut("w1", back=True)
    wait(lambda: cluster.ended(job), "the end of the sweep")
    assert untouched(before, space)
    said = cluster.client("logs", file, job)
    assert f"{SEEDS} trainings done" in said, said
    # fill; its driver is killed, and the same command goes on
    before = files(space)
    job = cluster.submit("fill")
    wait(lambda: bool(list(space.glob("answers/*/shard-*"))) or cluster.ended(job), "an answer")
    hosts.run("head", "pkill", "-KILL", "-f", "zoo fill")
    again = cluster.submit("fill")
    wait(lambda: cluster.ended(again), "the end of the fill")
    assert "has answers" in cluster.client("logs", file, again)
    assert untouched(before, space)
    # what came out
    for result in (alone.finish(), run(tmp_path, "fill", "--runner", "local", "-w", calm)):
        assert result.code == 0, result
    assert content(space) == content(calm)
    result = run(tmp_path, "fsck", "--semantic", "-w", space)
    assert (result.code, result.out) == (0, "clean\n"), result
    cluster.down()


def test_what_is_found_before_work_starts(cluster: Cluster) -> None:
    """A cluster that is up is left as it is, the token is for its user alone; a host without the
    workspace, a machine that is no node and a wrong token have a sentence each."""
    hosts = cluster.hosts
    assert "is left as it is" in hosts.run("client", "zoo", "up", cluster.file).stderr
    token = hosts.home("w2") / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    other = hosts.shared / "other"
    other.mkdir()
    hosts.run("w2", "mount", "-t", "tmpfs", "tmpfs", other)
    small = ("train", "--archs", "softmax", "--epochs", "1", "-w", other / "space", "--address")
    result = hosts.run("head", "zoo", *small, "auto")
    assert result.returncode == 0, result
    assert "node w2 is left out: it does not see the workspace" in result.stderr
    address = f"{ADDRESSES['head']}:6379"
    result = hosts.run("client", "zoo", *small, address)
    assert result.returncode == 1, result
    assert "this machine is no node of the cluster" in result.stderr
    result = hosts.run("client", "env", f"RAY_AUTH_TOKEN={'0' * 64}", "zoo", *small, address)
    assert result.returncode == 1, result
    assert "refuses this machine's token" in result.stderr
    assert "bug" not in result.stderr
    cluster.down()
