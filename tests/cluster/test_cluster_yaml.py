"""cluster.yaml passes Ray's own schema and our rules for what Ray does not check. Nothing is
started and no network is used."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.commands import zoo
from zoo.cluster.launch import check, problems, still_examples

ROOT = Path(__file__).parents[2]
Config = dict[str, Any]


@pytest.fixture(scope="module")
def config() -> Config:
    loaded: Config = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))
    return loaded


def check_with_ray(config: Config) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(copy.deepcopy(config)))


def own_problems(config: Config) -> list[str]:
    """Beside the product's rules, those of our own file: workers are spot and come and go, the
    nodes install what is locked."""
    found = problems(config)
    types: dict[str, Config] = config["available_node_types"]
    for name, node in types.items():
        if node.get("min_workers", 0) > 0:
            found.append(f"{name}.min_workers is not 0")
        spot = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if not spot and name != config["head_node_type"]:
            found.append(f"{name} is on demand")
    if not any(
        "--constraint" in command and "classifier-zoo" in command
        for command in config["setup_commands"]
    ):
        found.append("the nodes do not install the project with its constraints")
    if not 0 < config["idle_timeout_minutes"] <= 30:
        found.append("idle workers stay")
    return found


def test_ray_accepts_the_file(config: Config) -> None:
    """Ray's schema and its own checks pass, without defaults that we did not mean (no docker, no
    worker kept alive)."""
    check_with_ray(config)


def test_our_rules_hold(config: Config) -> None:
    """No negative count, no public dashboard, token mode on both sides, trainings away from the
    head, spot workers only."""
    assert own_problems(config) == []


@pytest.mark.parametrize("name", ["aws", "local", "gcp"])
def test_the_other_files_pass_too(name: str) -> None:
    """Ray's schema and the product's rules; what is an example in them is refused by ``zoo up``."""
    config = check(ROOT / "cluster" / f"{name}.yaml")
    assert bool(still_examples(config)) is (name == "aws")


def test_the_job_of_kubernetes_is_yaml_with_a_token() -> None:
    job = yaml.safe_load((ROOT / "cluster" / "kuberay-rayjob.yaml").read_text(encoding="utf-8"))
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_zoo_up_refuses_what_is_still_an_example(tmp_path: Path) -> None:
    """The file as it stands: exit 2, before anything is asked of AWS, and both are named."""
    result = zoo("up", ROOT / "cluster.yaml")
    assert result.code == 2, result
    assert "the address 203.0.113.1/32 is an example" in result.err
    assert "the ImageId is an example" in result.err


def test_the_file_holds_no_secret() -> None:
    """No key, no password, no token: 40 or more characters of a key's alphabet in one word stand
    nowhere in the file."""
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8")
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}(?![A-Za-z0-9+/])|(?i:password|secret)",
        text,
    )


def set_in(path: str, value: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        *folders, name = path.split("/")
        for folder in folders:
            config = config[folder]
        config[name] = value

    return change


def edit(path: str, old: str, new: str) -> Callable[[Config], None]:
    """Replace text in every command of a list."""

    def change(config: Config) -> None:
        assert any(old in command for command in config[path])
        config[path] = [command.replace(old, new) for command in config[path]]

    return change


WORKER = "available_node_types/gpu-worker"
SSH = {"FromPort": 22, "ToPort": 22, "IpProtocol": "TCP", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
BREAKS = {
    "a worker count below 0, which Ray lets pass": (
        set_in("max_workers", -1),
        "max_workers is negative: -1",
    ),
    "a worker that is always there": (
        set_in(f"{WORKER}/min_workers", 1),
        "gpu-worker.min_workers is not 0",
    ),
    "workers on demand": (
        set_in(f"{WORKER}/node_config/InstanceMarketOptions", {}),
        "gpu-worker is on demand",
    ),
    "a head on spot": (
        set_in(
            "available_node_types/head/node_config/InstanceMarketOptions", {"MarketType": "spot"}
        ),
        "head is spot",
    ),
    "a head that takes work": (
        set_in("available_node_types/head/resources", {}),
        "the head takes trainings",
    ),
    "a public dashboard": (
        edit("head_start_ray_commands", "127.0.0.1", "0.0.0.0"),
        "the dashboard is public",
    ),
    "a head without token mode": (
        edit("head_start_ray_commands", "RAY_AUTH_MODE=token", ""),
        "the head starts without token mode",
    ),
    "workers without token mode": (
        edit("worker_start_ray_commands", "RAY_AUTH_MODE=token", ""),
        "the worker starts without token mode",
    ),
    "no autoscaler": (
        edit("head_start_ray_commands", "--autoscaling-config", "--x"),
        "the head starts without the autoscaler",
    ),
    "no token": (set_in("file_mounts", {}), "the token does not reach the nodes"),
    "ssh from anywhere": (
        set_in("provider/security_group/IpPermissions", [SSH]),
        "ports 22 to 22 are open to 0.0.0.0/0",
    ),
    "no image": (
        lambda config: config["available_node_types"]["gpu-worker"]["node_config"].pop("ImageId"),
        "gpu-worker has no ImageId",
    ),
    "no address for ssh, so that Ray lets in all": (
        lambda config: config["provider"].pop("security_group"),
        "no address may use ssh",
    ),
    "no constraints": (
        edit("setup_commands", "--constraint", "-r"),
        "the nodes do not install the project with its constraints",
    ),
    "no idle timeout": (set_in("idle_timeout_minutes", 100_000), "idle workers stay"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_can_fail(config: Config, name: str) -> None:
    """Twin of the rules: breaking one setting is found, and it alone."""
    change, expected = BREAKS[name]
    broken = copy.deepcopy(config)
    change(broken)
    (found,) = own_problems(broken)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            set_in("provider/head_ip", "10.0.0.9"),
            "the head is told to be at 10.77.0.10 (--node-ip-address), and its head_ip is 10.0.0.9",
        ),
        (set_in("provider/worker_ips", ["10.77.0.11"]), "min_workers is 2, and there are 1 worker"),
        (set_in("max_workers", 3), "max_workers is 3, and there are 2 worker_ips"),
    ],
)
def test_machines_you_have_are_named_alike_everywhere(
    change: Callable[[Config], None], said: str
) -> None:
    """Whoever changes one of two lines that belong together is told of the other."""
    mine = yaml.safe_load((ROOT / "cluster/local.yaml").read_text(encoding="utf-8"))
    assert problems(mine) == []
    change(mine)
    assert problems(mine)[0].startswith(said)
    by_name = copy.deepcopy(mine)
    by_name["provider"]["head_ip"] = "head.example"
    assert not any("--node-ip-address" in line for line in problems(by_name))


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("dashboard", True, jsonschema.ValidationError),
        ("available_node_types/head/resources", {"CPU": 0.5}, jsonschema.ValidationError),
        ("head_node_type", "nobody", ValueError),
    ],
)
def test_rays_check_can_fail(config: Config, path: str, value: Any, error: type[Exception]) -> None:
    """Twin of the schema check: an unknown key, a wrong type and a head type that is not defined
    are refused."""
    broken = copy.deepcopy(config)
    set_in(path, value)(broken)
    with pytest.raises(error):
        check_with_ray(broken)
