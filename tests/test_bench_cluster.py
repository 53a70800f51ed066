"""The bench of a cluster: what it counts on is so, and its quick mode runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tools.bench import cluster
from zoo.store.workspace import Workspace


def test_a_record_in_a_bucket_takes_the_requests_that_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for, sealed, published: every request that goes to S3, by its method."""
    pytest.importorskip("moto", reason="moto is needed to count requests")
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="zoo-test")
        space = Workspace.open("s3://zoo-test/space", create=True)
        seen: Counter[str] = Counter()

        def count(params: dict[str, Any], **_: Any) -> None:
            seen[params["method"]] += 1

        space.files._client.meta.events.register("before-call.s3", count)  # type: ignore[attr-defined]
        assert space.commits.get("checkpoint", "x") is None
        ref = space.files.seal("checkpoints", "x", ".bin", lambda path: path.write_bytes(b"x"))  # type: ignore[arg-type,return-value]
        space.commits.publish("checkpoint", "x", identity={}, facts={}, files=[ref])
    assert seen == cluster.REQUESTS


def test_on_paper_messages_stay_under_fifty_a_second() -> None:
    """10 GPUs send 10, a thousand no more than 40; 100 GPUs with trainings of 120 s end one in 1.2
    s, with five snapshots six records for each."""
    rows = [cluster.on_paper(size) for size in cluster.SIZES]
    assert [row["messages_per_second"] for row in rows] == [10, 40, 40, 40]
    assert rows[1]["commits_per_second"] == pytest.approx(6 / 1.2)
    assert rows[1]["hours"] == pytest.approx(5_000 * 120 / 100 / 3600)


def test_a_load_is_three_numbers() -> None:
    assert cluster.load_of("10000:0.5:2") == cluster.Load(10_000, 0.5, 2)
    with pytest.raises(ValueError, match="unpack"):
        cluster.load_of("10000:2")


@pytest.mark.ray
@pytest.mark.slow
def test_a_quick_run_does_all_trainings() -> None:
    """Twelve that sleep on three slots: no faster than the sleep allows."""
    found = cluster.measure(cluster.QUICK[0])
    assert found["trainings"] == 12
    assert float(found["wall_after_first"]) > 0
    assert 0 < float(found["tune_state_mb"]) < 1 or found["tune_state_mb"] == 0
