"""What reaches AWS when a cluster is started, against an imitation in this process: no network, no
machine, no account."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("moto", reason="needs moto, the imitation of AWS (extra dev)")

import boto3
from moto import mock_aws

from zoo.cluster import aws
from zoo.cluster.doctor import examine
from zoo.errors import ZooError

ROOT = Path(__file__).parents[2]
REGION = "us-west-2"
ADDRESS = "198.51.100.7/32"


@pytest.fixture
def amazon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield


@pytest.fixture
def config() -> dict[str, Any]:
    text = (ROOT / "cluster.yaml").read_text(encoding="utf-8").replace("203.0.113.1/32", ADDRESS)
    loaded: dict[str, Any] = yaml.safe_load(text)
    image = boto3.client("ec2", region_name=REGION).describe_images()["Images"][0]["ImageId"]
    for node in loaded["available_node_types"].values():
        node["node_config"]["ImageId"] = image
    return loaded


def groups(config: dict[str, Any]) -> list[dict[str, Any]]:
    nodes = [node["node_config"] for node in config["available_node_types"].values()]
    ids = {group for node in nodes for group in node["SecurityGroupIds"]}
    found = boto3.client("ec2", region_name=REGION).describe_security_groups(GroupIds=list(ids))
    groups: list[dict[str, Any]] = found["SecurityGroups"]
    return groups


def test_the_group_lets_in_its_own_and_one_address(amazon: None, config: dict[str, Any]) -> None:
    """Made before Ray is asked: all traffic within, ssh from one address, nothing else; asked for
    again it is the same one."""
    made = aws.prepared(config)
    (group,) = groups(made)
    within, ssh = sorted(group["IpPermissions"], key=lambda rule: rule["IpProtocol"])
    assert within["IpProtocol"] == "-1"
    assert [pair["GroupId"] for pair in within["UserIdGroupPairs"]] == [group["GroupId"]]
    assert within["IpRanges"] == []
    assert (ssh["FromPort"], ssh["ToPort"]) == (22, 22)
    assert [network["CidrIp"] for network in ssh["IpRanges"]] == [ADDRESS]
    assert groups(aws.prepared(config)) == groups(made)


def test_ray_leaves_the_group_alone_and_asks_for_what_the_file_says(
    amazon: None, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's own preparation and launch: no rule for everybody; a head on demand, a spot worker,
    both of the image named, tagged with the cluster, which ``machines`` finds until they are
    ended."""
    from ray.autoscaler._private.aws import config as ray_config
    from ray.autoscaler._private.providers import _NODE_PROVIDERS, _get_node_provider
    from ray.autoscaler._private.util import prepare_config

    monkeypatch.setattr(ray_config.time, "sleep", lambda seconds: None)
    ready = aws.prepared(config, "s3://bucket/space")
    given = _NODE_PROVIDERS["aws"](ready["provider"]).bootstrap_config(prepare_config(ready))
    assert not any("0.0.0.0/0" in json.dumps(group["IpPermissions"]) for group in groups(given))
    provider = _get_node_provider(given["provider"], "zoo", use_cache=False)
    for name, kind in (("head", "head"), ("gpu-worker", "worker")):
        settings = copy.deepcopy(given["available_node_types"][name]["node_config"])
        labels = {"ray-node-type": kind, "ray-user-node-type": name, "ray-node-name": f"zoo-{kind}"}
        provider.create_node(settings, labels, 1)
    ec2 = boto3.client("ec2", region_name=REGION)
    machines = [m for r in ec2.describe_instances()["Reservations"] for m in r["Instances"]]
    by_type = {machine["InstanceType"]: machine for machine in machines}
    head, worker = by_type["m5.xlarge"], by_type["g5.2xlarge"]
    assert "InstanceLifecycle" not in head
    assert worker["InstanceLifecycle"] == "spot"
    assert worker["IamInstanceProfile"]["Arn"].endswith("/zoo-zoo-worker")
    assert {head["ImageId"], worker["ImageId"]} == {
        config["available_node_types"]["head"]["node_config"]["ImageId"]
    }
    tags = [{tag["Key"]: tag["Value"] for tag in machine["Tags"]} for machine in machines]
    assert {tag["ray-cluster-name"] for tag in tags} == {"zoo"}
    assert len(aws.machines(config)) == 2
    ec2.terminate_instances(InstanceIds=[machine["InstanceId"] for machine in machines])
    assert aws.machines(config) == []


def examined(config: dict[str, Any], folder: Path) -> list[str]:
    """What ``zoo doctor FILE`` finds in the way on AWS, whatever tools this machine lacks."""
    mounts = {"~/.ray/auth_token": "~/.ray/auth_token", "~/classifier-zoo": str(folder)}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config | {"file_mounts": mounts}))
    found = examine(folder / "mine.yaml", "", None, None, 0.0)
    return [fault for fault in found.faults if not fault.startswith("this machine")]


def test_without_our_group_ray_opens_ssh_to_everybody(
    amazon: None, config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: what the file alone comes to under ``ray up``; and our check finds it, and so does
    ``zoo doctor`` with the file."""
    from ray.autoscaler._private.aws import config as ray_config
    from ray.autoscaler._private.providers import _NODE_PROVIDERS
    from ray.autoscaler._private.util import prepare_config

    monkeypatch.setattr(ray_config.time, "sleep", lambda seconds: None)
    assert examined(config, tmp_path) == []
    given = _NODE_PROVIDERS["aws"](config["provider"]).bootstrap_config(prepare_config(config))
    assert any("0.0.0.0/0" in json.dumps(group["IpPermissions"]) for group in groups(given))
    (fault,) = aws.group_faults(given)
    assert "lets everybody in on ports 22 to 22" in fault
    assert examined(config, tmp_path) == [fault]


def test_what_aws_refuses_is_said_in_a_sentence(
    amazon: None, config: dict[str, Any], tmp_path: Path
) -> None:
    """By ``zoo doctor`` and by what ``zoo up`` does first; here a region that is none."""
    config["provider"]["region"] = "nowhere/1"
    (fault,) = examined(config, tmp_path)
    assert fault.startswith("AWS refuses or cannot be reached: ")
    with pytest.raises(ZooError, match="AWS refuses or cannot be reached: "):
        aws.prepared(config)


def test_a_group_that_is_open_to_all_is_refused(amazon: None, config: dict[str, Any]) -> None:
    made = aws.prepared(config)
    (group,) = groups(made)
    rule = {"IpProtocol": "tcp", "FromPort": 8265, "ToPort": 8265}
    boto3.client("ec2", region_name=REGION).authorize_security_group_ingress(
        GroupId=group["GroupId"],
        IpPermissions=[rule | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    )
    with pytest.raises(ZooError, match="lets everybody in on ports 8265 to 8265: remove that rule"):
        aws.prepared(config)


def test_workers_get_the_bucket_of_the_workspace_and_nothing_else(
    amazon: None, config: dict[str, Any]
) -> None:
    """Of a workspace in a folder they get no profile."""
    made = aws.prepared(config, "s3://my-bucket/study/one")
    profile = made["available_node_types"]["gpu-worker"]["node_config"]["IamInstanceProfile"]
    assert profile == {"Name": "zoo-zoo-worker"}
    iam = boto3.client("iam")
    policy = iam.get_role_policy(RoleName="zoo-zoo-worker", PolicyName="workspace")
    resources = [statement["Resource"] for statement in policy["PolicyDocument"]["Statement"]]
    assert resources == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]
    assert iam.list_attached_role_policies(RoleName="zoo-zoo-worker")["AttachedPolicies"] == []
    plain = aws.prepared(config, "/shared/space")["available_node_types"]["gpu-worker"]
    assert "IamInstanceProfile" not in plain["node_config"]
