"""A cluster of real hosts from clean machines to none: up, train, a host cut off and back, a host
that lacks the workspace, fill, the driver killed, the same command again, down."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from multihost.hosts import ADDRESSES, Hosts, missing, wait

from tests.commands import content, files, finished, run, untouched

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
SMALL = "--object-store-memory=150000000 --memory=2000000000"


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with Hosts() as made:
        yield made


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


def test_a_cluster_from_clean_hosts_to_none(hosts: Hosts, tmp_path: Path) -> None:
    """Nothing committed is lost, written twice or different from one process on one machine."""
    seed = random.randrange(1000)
    print(f"seed {seed}")  # noqa: T201 - to be found in what pytest has captured
    chance = random.Random(seed)
    file, space, calm = cluster_file(hosts), hosts.shared / "space", tmp_path / "calm"
    seeds = ",".join(map(str, range(4)))
    epochs = ",".join(map(str, range(1, 7)))
    line = ("train", "--archs", "lenet5", "--seeds", seeds, "--epochs", "6", "--snapshots", epochs)

    def client(*words: object) -> str:
        done = hosts.run("client", "zoo", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def submit(*words: object) -> str:
        return client("submit", file, *words, "-w", space, "--address", "auto").split(":")[0]

    def ended(job: str) -> Path | None:
        code = hosts.home("head") / "zoo-jobs" / job / "code"
        return code if code.exists() and code.read_text().strip() else None

    # up
    assert "3 nodes answer" in client("up", file)
    assert "is left as it is" in hosts.run("client", "zoo", "up", file).stderr
    token = hosts.home("w2") / ".ray/auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    # train; a worker's host is cut off in the middle, and comes back
    job = submit(*line)
    wait(lambda: finished(space, "checkpoint") >= chance.randint(1, 4), "a checkpoint")
    before = files(space)
    hosts.cut("w1")
    wait(lambda: finished(space, "training") >= 1, "a training on the other host")
    hosts.cut("w1", back=True)
    wait(lambda: ended(job) is not None, "the end of the sweep")
    assert untouched(before, space)
    said = client("logs", file, job)
    assert "node w1 is lost" in said, said
    assert "4 trainings done" in said, said
    # faults that are found before work starts, each named
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
    # fill; its driver is killed, and the same command goes on
    before = files(space)
    job = submit("fill")
    wait(lambda: bool(list(space.glob("answers/*/shard-*"))) or bool(ended(job)), "an answer")
    hosts.run("head", "pkill", "-KILL", "-f", "zoo fill")
    again = submit("fill")
    wait(lambda: ended(again) is not None, "the end of the fill")
    assert "has answers" in client("logs", file, again)
    assert untouched(before, space)
    # what came out
    for words in (line, ("fill",)):
        result = run(tmp_path, *words, "--runner", "local", "-w", calm)
        assert result.code == 0, result
    assert content(space) == content(calm)
    result = run(tmp_path, "fsck", "--semantic", "-w", space)
    assert (result.code, result.out) == (0, "clean\n"), result
    # down
    assert "no process of Ray's" in client("down", file)
    assert {name: hosts.ray(name) for name in ("head", "w1", "w2")} == {
        "head": [],
        "w1": [],
        "w2": [],
    }
