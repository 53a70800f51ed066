"""What Ray's launcher does on AWS and should not: it adds ssh from everywhere to every security
group it makes, and gives a role to the head alone.

So the group and the workers' profile are made here, before Ray is asked; it leaves those alone that
a node names. Needs boto3.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Iterator
from typing import Any

from zoo.errors import UsageError, ZooError

__all__ = ["group_faults", "machines", "prepared"]

Config = dict[str, Any]
_EVERYWHERE = {"0.0.0.0/0", "::/0"}
_GONE = {"terminated", "shutting-down"}


@contextlib.contextmanager
def _in_words() -> Iterator[None]:
    """What AWS refuses, or botocore before it is asked, becomes a sentence."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("botocore."):
            raise
        raise ZooError(
            f"AWS refuses or cannot be reached: {error}. Its credentials are those of this"
            " environment, as for any tool of theirs (aws configure)."
        ) from error


@_in_words()
def prepared(config: Config, workspace: str = "") -> Config:
    """The same cluster with a security group that is there, and with a profile for its workers
    where the workspace is in a bucket.

    Raises:
        ZooError: if AWS refuses, or the group lets in more than it should.
    """
    config = copy.deepcopy(config)
    asked = config["provider"].pop("security_group", None) or {}
    nodes = [node["node_config"] for node in config["available_node_types"].values()]
    if not all("SecurityGroupIds" in node for node in nodes):
        group = _group(config, asked)
        for node in nodes:
            node["SecurityGroupIds"] = [group]
    if faults := group_faults(config):
        raise ZooError(f"cluster {config['cluster_name']}: " + "; ".join(faults))
    if workspace.startswith("s3://"):
        bucket = workspace.removeprefix("s3://").partition("/")[0]
        head = config["head_node_type"]
        for name, node in config["available_node_types"].items():
            if name != head and "IamInstanceProfile" not in node["node_config"]:
                profile = _profile(config, bucket)
                node["node_config"]["IamInstanceProfile"] = {"Name": profile}
    return config


def _client(service: str, config: Config) -> Any:
    try:
        import boto3
    except ImportError:
        raise ZooError(
            "a cluster on AWS needs boto3. In the clone of zoo: .venv/bin/pip install -e '.[s3]'"
        ) from None
    return boto3.client(service, region_name=config["provider"]["region"])


def _group(config: Config, asked: Config) -> str:
    """Id of the cluster's security group: all traffic within it, ssh from the addresses asked for,
    nothing else. Made if it is not there."""
    vpc, there = _standing(config, asked)
    if there:
        return there
    ec2 = _client("ec2", config)
    made = ec2.create_security_group(
        GroupName=_group_name(config, asked),
        Description=f"zoo cluster {config['cluster_name']}: ssh from one address",
        VpcId=vpc,
    )
    within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": made["GroupId"]}]}
    ec2.authorize_security_group_ingress(
        GroupId=made["GroupId"], IpPermissions=[within, *(asked.get("IpPermissions") or [])]
    )
    return str(made["GroupId"])


def _group_name(config: Config, asked: Config) -> str:
    return asked.get("GroupName") or f"zoo-{config['cluster_name']}"


def _standing(config: Config, asked: Config) -> tuple[str, str]:
    """Ids of the region's default network and of the cluster's security group in it, empty if it is
    not there."""
    ec2 = _client("ec2", config)
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    if not vpcs:
        raise UsageError(
            "this region has no default VPC: make a security group by hand and name it and the"
            " subnets in every node_config (SecurityGroupIds, SubnetIds)."
        )
    where = [
        {"Name": "group-name", "Values": [_group_name(config, asked)]},
        {"Name": "vpc-id", "Values": [vpcs[0]["VpcId"]]},
    ]
    there = ec2.describe_security_groups(Filters=where)["SecurityGroups"]
    return str(vpcs[0]["VpcId"]), str(there[0]["GroupId"]) if there else ""


@_in_words()
def group_faults(config: Config) -> list[str]:
    """What the security groups of a cluster's nodes let in and should not, read back from AWS; of
    nodes that name none, the group that they would be given if it is there already."""
    nodes = [node["node_config"] for node in config["available_node_types"].values()]
    ids = {group for node in nodes for group in node.get("SecurityGroupIds") or []}
    if not all("SecurityGroupIds" in node for node in nodes):
        ids |= {_standing(config, config["provider"].get("security_group") or {})[1]} - {""}
    if not ids:
        return []
    found = []
    for group in _client("ec2", config).describe_security_groups(GroupIds=sorted(ids))[
        "SecurityGroups"
    ]:
        for rule in group["IpPermissions"]:
            open_to = {network["CidrIp"] for network in rule.get("IpRanges", ())} | {
                network["CidrIpv6"] for network in rule.get("Ipv6Ranges", ())
            }
            if open_to & _EVERYWHERE:
                ports = f"{rule.get('FromPort', 'all')} to {rule.get('ToPort', 'all')}"
                found.append(
                    f"security group {group['GroupName']} ({group['GroupId']}) lets everybody in on"
                    f" ports {ports}: remove that rule"
                )
    return found


def _profile(config: Config, bucket: str) -> str:
    """Name of an instance profile that may use one bucket and nothing else; made if need be."""
    iam, name = _client("iam", config), f"zoo-{config['cluster_name']}-worker"
    trust = {
        "Effect": "Allow",
        "Principal": {"Service": "ec2.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }
    allowed: list[dict[str, Any]] = [
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"},
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": f"arn:aws:s3:::{bucket}/*",
        },
    ]
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy([trust]))
    iam.put_role_policy(RoleName=name, PolicyName="workspace", PolicyDocument=_policy(allowed))
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return name


def _policy(statements: list[dict[str, Any]]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@_in_words()
def machines(config: Config) -> list[str]:
    """Ids of the cluster's machines that have not been ended."""
    found = _client("ec2", config).describe_instances(
        Filters=[{"Name": "tag:ray-cluster-name", "Values": [config["cluster_name"]]}]
    )
    return [
        str(machine["InstanceId"])
        for reservation in found["Reservations"]
        for machine in reservation["Instances"]
        if machine["State"]["Name"] not in _GONE
    ]
