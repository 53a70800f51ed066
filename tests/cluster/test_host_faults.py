"""A host whose disk is full, and one without credentials for the bucket: named, with the mend, and
no training is lost to it. Without Ray: the queue and the probe that Ray runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.test_queue import Made, sweep
from tests.store.fault_disk import FaultDisk
from zoo.cluster.preflight import Wanted, look
from zoo.cluster.queue import WAIT
from zoo.errors import StoreError
from zoo.store.files import LocalFiles


def test_a_host_whose_disk_is_full_is_named_and_its_trainings_go_elsewhere(tmp_path: Path) -> None:
    """The storage's own words reach the user with the host: where, how much room, what to do."""
    with pytest.raises(StoreError) as full:
        LocalFiles(tmp_path, FaultDisk("fail", 1)).replace("resume/x", b"")
    made = Made(sweep(seeds=12))
    assert isinstance(made.take("b", "B"), list)
    for _ in range(2):
        assert isinstance(made.take("a", "A"), list)
        made.queue.broke("a", f"StoreError: {full.value}")
    assert made.take("a", "A") == WAIT
    (line,) = made.queue.state().lines
    assert line.startswith("host host-A gets no more trainings while others do better: StoreError")
    assert f"{tmp_path}/resume/x: No space left on device. Free space there: " in line
    assert line.endswith("make room and run the same command again.")
    made.work("b", "B")
    assert made.failed == {}
    assert made.queue.state().settled


def test_a_host_without_credentials_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probe that runs on every node reads and writes with that node's own credentials."""
    pytest.importorskip("boto3", reason="s3:// workspaces need boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wanted = Wanted("s3://zoo-test/space", "attempts/.probe-x", "token", {}, 0.0)
    (problem,) = look(wanted).problems
    assert problem.startswith("it cannot use the workspace s3://zoo-test/space (StoreError: cannot")
    assert "Unable to locate credentials" in problem
    assert problem.endswith("give its machine a role, or credentials of its own, for the bucket")
