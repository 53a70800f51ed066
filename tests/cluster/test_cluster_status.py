"""What ``zoo status --address`` says of a cluster, by what its head tells; and where it tells
nothing. (On a cluster that is there: ``test_session.py``.)"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.commands import zoo
from zoo.cluster import reach
from zoo.errors import ZooError

TOLD: dict[str, Any] = {
    "nodes": [
        {
            "host": "head",
            "address": "10.0.0.1",
            "status": "idle",
            "total": {"CPU": 4.0, "memory": 1e9},
            "free": {"CPU": 4.0, "memory": 1e9},
        },
        {
            "host": "w1",
            "address": "10.0.0.2",
            "status": "draining",
            "total": {"CPU": 8.0, "GPU": 2.0},
            "free": {"CPU": 1.0, "GPU": 0.5},
        },
    ],
    "waiting": [{"asks": {"GPU": 0.5, "CPU": 1.0}, "count": 12}],
    "starting": {"worker": 3},
    "failed": [["worker", "InsufficientInstanceCapacity"]],
}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The head's answer, as the process that asks it writes it, among what Ray writes."""

    def asked(address: str, script: str) -> tuple[int, str]:
        said = f'ADDRESS {address}\nNODES ["10.0.0.1"]\nTOLD {json.dumps(TOLD)}\nray: a warning\n'
        return 0, said

    monkeypatch.setattr(reach, "_asked", asked)
    return TOLD


def test_nodes_are_listed_with_what_is_free_and_what_is_waited_for(
    told: dict[str, Any], tmp_path: Path
) -> None:
    """GPUs and CPUs of each and of all; who is about to go; what waits and what is on its way. A
    machine that is no node may ask too, and no workspace is needed."""
    result = zoo("status", "--address", "10.0.0.1:6379")
    assert result.code == 0, result
    assert result.out.splitlines() == [
        "cluster     10.0.0.1:6379: 2 nodes, CPU 5 of 12 free, GPU 0.5 of 2 free",
        "node        head (10.0.0.1): CPU 4 of 4 free, GPU 0 of 0 free",
        "node        w1 (10.0.0.2): CPU 1 of 8 free, GPU 0.5 of 2 free; is about to go",
        "waiting     12 x CPU 1, GPU 0.5",
        "starting    3 x worker",
        "not started worker: InsufficientInstanceCapacity",
    ]
    in_json = zoo("status", "--address", "10.0.0.1:6379", "--json")
    assert json.loads(in_json.out)["cluster"] == {"address": "10.0.0.1:6379", **told}


def test_a_head_that_answers_otherwise_than_expected_is_not_taken_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It told its nodes and then not what they have: said with the last of what it wrote."""
    said = 'ADDRESS a:1\nNODES ["10.0.0.1"]\nTraceback\nAttributeError: no such field\n'
    monkeypatch.setattr(reach, "_asked", lambda *_: (1, said))
    with pytest.raises(ZooError) as caught:
        reach.tell("a:1")
    assert "'a:1' answers, but not to what it has: AttributeError: no such field." in str(
        caught.value
    )


def test_a_workspace_that_is_named_is_shown_as_well(
    told: dict[str, Any], tmp_path: Path, trained: Any
) -> None:
    both = zoo("status", "--address", "10.0.0.1:6379", "-w", trained.root)
    assert both.code == 0, both
    assert both.out.startswith("cluster  ")
    assert f"\nworkspace   {trained.root}\n" in both.out
    none = zoo("status", "--address", "10.0.0.1:6379", "-w", tmp_path / "none")
    assert none.code == 4, none


def test_where_nothing_listens_or_it_is_no_head_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 1; Ray's client protocol is wrong usage, 2."""
    monkeypatch.setattr(reach, "_SECONDS_TO_ANSWER", 6.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        silent = zoo("status", "--address", address)
    assert silent.code == 1, silent
    assert f"something listens at '{address}', but does not answer" in silent.err
    gone = zoo("status", "--address", address)
    assert gone.code == 1, gone
    assert f"cannot reach the Ray cluster at '{address}'" in gone.err
    assert "Check --address, and that the cluster is up." in gone.err
    client = zoo("status", "--address", "ray://10.0.0.1:10001")
    assert client.code == 2, client
