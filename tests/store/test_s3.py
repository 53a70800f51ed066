"""A workspace in a bucket, against moto's S3 in this process."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moto", reason="moto is needed to test s3:// workspaces")

import boto3
import botocore.exceptions
from moto import mock_aws

from tests.store.story import CLASSES, EXAMPLES, tell
from zoo.errors import NotFoundError, StoreError
from zoo.store import answers as answers_module
from zoo.store import fsck, gc
from zoo.store.answers import logits_of
from zoo.store.query import query
from zoo.store.s3 import S3Files, parse_s3
from zoo.store.workspace import Workspace

LOCATION = "s3://zoo-test/studies/one"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty bucket, fake credentials, a cache of its own, two shards of a hundred examples."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(answers_module, "SMALL_SHARD", 64)
    monkeypatch.setattr(answers_module, "LARGE_SHARD", 16)
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket="zoo-test")
        yield client


def test_a_study_lives_in_a_bucket_as_in_a_folder(bucket: Any) -> None:
    """The whole story is written, read back by another opener, queried and checked; a second
    telling changes no object."""
    workspace = Workspace.open(LOCATION, create=True)
    tell(workspace)
    before = {
        entry["Key"]: entry["ETag"]
        for entry in bucket.list_objects_v2(Bucket="zoo-test")["Contents"]
    }
    again = Workspace.open(LOCATION)
    tell(again)
    after = {
        entry["Key"]: entry["ETag"]
        for entry in bucket.list_objects_v2(Bucket="zoo-test")["Contents"]
    }
    assert {key: tag for key, tag in after.items() if "/results/" not in key} == {
        key: tag for key, tag in before.items() if "/results/" not in key
    }
    assert query(again, "select count(*) n from answers").to_pylist() == [{"n": 2 * EXAMPLES}]
    assert logits_of(again, next(iter(again.commits.all("checkpoint"))), "train").shape == (
        EXAMPLES,
        CLASSES,
    )
    assert fsck.check(again, "semantic") == []
    assert gc.find(again, 0.0) == []


def test_of_many_writers_of_one_record_exactly_one_wins(bucket: Any, tmp_path: Path) -> None:
    """Twelve threads publish the same name: one True, and the content is the winner's."""
    files = [S3Files("zoo-test", "race", cache=tmp_path / str(i), client=bucket) for i in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        won = list(
            pool.map(lambda i: files[i].publish("commits/x.json", str(i).encode()), range(12))
        )
    assert won.count(True) == 1
    assert files[0].read("commits/x.json") == str(won.index(True)).encode()


def test_a_put_that_succeeded_but_answered_an_error_is_known_as_our_own(
    bucket: Any, tmp_path: Path
) -> None:
    """The retry of a PUT that had succeeded is refused by S3; equal bytes mean that it was us."""
    files = S3Files("zoo-test", "", cache=tmp_path, client=bucket)
    assert files.publish("commits/x.json", b"ours")
    assert files.publish("commits/x.json", b"ours")
    assert not files.publish("commits/x.json", b"theirs")
    assert files.read("commits/x.json") == b"ours"


def test_a_damaged_object_is_found_set_aside_and_made_again(bucket: Any) -> None:
    """A flipped bit in a bucket is found although this machine has a sound copy in its cache,
    quarantined, and the next telling fills the hole."""
    workspace = Workspace.open(LOCATION, create=True)
    tell(workspace)
    key = next(
        e["Key"]
        for e in bucket.list_objects_v2(Bucket="zoo-test")["Contents"]
        if e["Key"].endswith(".arrow")
    )
    data = bytearray(bucket.get_object(Bucket="zoo-test", Key=key)["Body"].read())
    data[len(data) // 2] ^= 1
    bucket.put_object(Bucket="zoo-test", Key=key, Body=bytes(data))
    fresh = Workspace.open(LOCATION)
    findings = fsck.check(fresh, "full")
    assert [(finding.kind, finding.lost) for finding in findings] == [("answers", False)]
    moved = fsck.repair(fresh, findings)
    assert any(path.endswith(".arrow") for path in moved)
    tell(Workspace.open(LOCATION))
    assert fsck.check(Workspace.open(LOCATION), "semantic") == []


def test_errors_name_the_place_and_what_to_do(bucket: Any) -> None:
    """No bucket in the address, a bucket that does not exist, no workspace under the prefix."""
    with pytest.raises(StoreError, match="names no bucket"):
        parse_s3("s3://")
    with pytest.raises(NotFoundError, match="no workspace at s3://zoo-test/nothing"):
        Workspace.open("s3://zoo-test/nothing")
    with pytest.raises(
        (StoreError, botocore.exceptions.ClientError),
        match=r"s3://no-such-bucket/x.*(bucket|Bucket)",
    ):
        Workspace.open("s3://no-such-bucket/x", create=True)
