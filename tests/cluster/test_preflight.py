"""What is found out before work starts: what a node sees, what follows from it, and what is in the
way of a cluster."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from factories import tiny_dataset

from tests.commands import corners, environment, zoo
from zoo.cluster import preflight, reach
from zoo.cluster.preflight import Preflight, Report, Wanted, faults, look
from zoo.errors import UsageError
from zoo.machine import source_hash
from zoo.progress import listening
from zoo.store import ledger

OWN = Report(
    "head", "abcdef0123456789", "3.11.2", {"torch": "2.9.0", "numpy": "2.4.0"}, [], 1 << 40, 1 << 40
)


def test_a_node_like_the_driver_is_faultless() -> None:
    assert faults(replace(OWN, host="w1", python="3.11.9"), OWN) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "0" * 16}, "it runs other code of zoo (00000000, the driver abcdef01)"),
        ({"python": "3.12.1"}, "it has Python 3.12.1, the driver 3.11.2"),
        ({"versions": {"torch": "2.8.0", "numpy": "2.4.0"}}, "it has torch 2.8.0, the driver 2.9"),
        ({"versions": {"torch": "2.9.0"}}, "it has numpy None, the driver 2.4.0"),
        ({"free": 10_000_000}, "10 MB are free for workspace: make room"),
        ({"free_temporary": 0}, "0 MB are free for temporary files"),
        ({"shm": 1 << 20}, "shared memory has 1 MB: start its container with --shm-size"),
        ({"problems": ["it cannot use the data set 'x' (why)"]}, "it cannot use the data set 'x'"),
    ],
)
def test_each_difference_is_named_with_its_mend(change: dict[str, object], said: str) -> None:
    (found,) = faults(replace(OWN, **change), OWN)  # type: ignore[arg-type]
    assert found.startswith(said)


def asked(place: Path, tmp_path: Path, **data: str) -> Wanted:
    return Wanted(str(place), ".tmp-probe", "token", data, 0.0)


def test_a_node_sees_the_probe_of_the_driver_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / ".tmp-probe").write_text("token")
    report = look(asked(tmp_path, tmp_path))
    assert report.problems == []
    assert report.source == source_hash()
    assert [path.name for path in tmp_path.iterdir()] == [".tmp-probe"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it does not see the workspace"),
        ("another", "is another folder than the driver's: mount the shared one"),
    ],
)
def test_a_folder_that_is_not_the_workspace_is_a_problem(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / ".tmp-probe").write_text(content)
    (problem,) = look(asked(tmp_path, tmp_path)).problems
    assert said in problem


def test_a_workspace_that_a_node_cannot_write_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".tmp-probe").write_text("token")

    def full(self: Path, text: str) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preflight.Path, "write_text", full)
    (problem,) = look(asked(tmp_path, tmp_path)).problems
    assert "(OSError: [Errno 28] No space left on device): give its user the right" in problem


def test_a_data_set_that_is_missing_or_another_one_is_a_problem(tmp_path: Path) -> None:
    """The same fingerprint: no problem. Another one, or no such folder: named."""
    dataset = tiny_dataset(tmp_path / "data")
    uri, right = dataset.uri, dataset.fingerprint
    (tmp_path / ".tmp-probe").write_text("token")
    assert look(asked(tmp_path, tmp_path, **{uri: right})).problems == []
    for name, fingerprint in ((uri, "0" * 16), (str(tmp_path / "nowhere"), right)):
        (problem,) = look(asked(tmp_path, tmp_path, **{name: fingerprint})).problems
        assert problem.startswith(f"it cannot use the data set {name!r} (")


def test_a_gpu_that_does_not_initialise_is_a_problem(tmp_path: Path) -> None:
    """This machine's own CUDA, which the tests do without."""
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (problem,) = look(Wanted("", "", "", {}, 0.5)).problems
    assert problem.startswith("CUDA does not initialise (")


def test_the_probe_makes_no_workspace(tmp_path: Path) -> None:
    """Its folders are there while it is, and gone afterwards; one that was there stays."""
    (tmp_path / "there").mkdir()
    for name, kept in (("new/deeper", False), ("there", True)):
        made = Preflight(str(tmp_path / name), 0.0)
        made._write_probe()
        assert len(list((tmp_path / name).glob(".tmp-*"))) == 1
        made.close()
        assert (tmp_path / name).exists() is kept
    assert not (tmp_path / "new").exists()


class _Context:
    """A worker's, on a node that nobody has probed."""

    def get_node_id(self) -> str:
        return "f" * 56


def test_a_gate_opens_before_any_node_is_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An autoscaler's first node may start a worker before the driver has seen it: what that looks
    for is there from the moment the gate is made. Where it is not, the gate stays shut until it is:
    who waits there looks again."""
    monkeypatch.setattr(ray, "get_runtime_context", _Context)
    monkeypatch.setattr(preflight, "_LOOKED", {})
    monkeypatch.setattr(preflight, "_AGAIN_SECONDS", 0.05)
    probes = Preflight(str(tmp_path / "space"), 0.0)
    gate = probes.gate()
    assert gate.opens()
    monkeypatch.setattr(preflight, "_LOOKED", {})
    probes.close()
    assert not gate.opens()
    waiting = threading.Thread(target=gate.wait, daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    probes.gate()
    waiting.join(60)
    assert not waiting.is_alive()
    probes.close()


def test_a_late_node_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two nodes answers late: work begins with the other, and the late one gets work when it
    has answered. Where nobody has answered, the first answer is waited for."""

    class Answers(Preflight):
        """Node ``a`` answers when it is looked at for the third time, ``b`` for the fifth."""

        def start(self, node: str) -> None:
            self._asked[node] = (None, 0.0)

        def collect(self, nodes: Mapping[str, str], wait: float = 0.0) -> None:
            looks.append("")
            for node, number in (("a", 3), ("b", 5)):
                if len(looks) == number and self._asked.pop(node, None):
                    self.good[node] = OWN

    looks: list[str] = []
    monkeypatch.setattr(preflight, "_SECONDS", 0.0)
    probe, nodes = Answers("", 0.0), {"a": "w1", "b": "w2"}
    probe.check(nodes)
    assert (len(looks), list(probe.good), probe.silent) == (3, ["a"], ["b"])
    assert probe.watch(nodes) == ["a"]
    assert (probe.watch(nodes), probe.silent) == (["a", "b"], [])


def test_a_node_that_was_given_up_gets_work_once_it_has_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without an answer for two minutes it is left out and said; its answer afterwards counts, for
    good or bad. Before the first work nobody waits for it any longer."""
    answers: dict[str, object] = {}
    clock = [0.0]
    monkeypatch.setattr(ray, "get", answers.get)
    monkeypatch.setattr(
        ray, "wait", lambda refs, **_: ([ref for ref in refs if ref in answers], [])
    )
    monkeypatch.setattr(preflight.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(
        Preflight, "start", lambda self, node: self._asked.update({node: (node, clock[0])})
    )
    probe, nodes = Preflight("", 0.0), {"a": "w1", "b": "w2", "c": "w3"}
    good = probe._own
    answers["a"] = good
    said: list[str] = []
    with listening(said.append):
        assert probe.watch(nodes) == ["a"]
        clock[0] = 121.0
        assert probe.watch(nodes) == ["a"]
        assert probe.bad == dict.fromkeys("bc", "no answer to zoo's probe")
        answers |= {"b": good, "c": replace(good, python="2.7.1")}
        assert probe.watch(nodes) == ["a", "b"]
    assert list(probe.bad) == ["c"]
    assert said[2:] == [
        "node w2 has answered zoo's probe after all; it gets work.",
        f"node w3 is left out: it has Python 2.7.1, the driver {good.python}.",
    ]


# ---------------------------------------------------------------- in the way of a cluster


ANSWER = 'ADDRESS 10.0.0.1:6379\nNODES ["10.0.0.1", "10.0.0.2"]\n'


@pytest.mark.parametrize(
    ("mode", "code", "said", "explained"),
    [
        ("token", 0, ANSWER, "this machine is no node of the cluster at 'a:1' (its nodes: 10.0"),
        ("token", 0, ANSWER.replace("10.0.0.2", "127.0.0.1"), ""),
        ("token", 1, "ADDRESS x\n... InvalidAuthToken ...", "refuses this machine's token"),
        (
            "disabled",
            1,
            "ADDRESS x\nRPC error: InvalidAuthToken",
            "token mode is switched off here",
        ),
        ("", 1, "ADDRESS x\nUnauthenticated", "(RAY_AUTH_MODE is not set)"),
        (
            "token",
            -6,
            "Ray couldn't find an authentication token. Create",
            "and this machine has no token. Copy",
        ),
        ("token", -1, "ADDRESS 10.0.0.1:6379\n", "does not answer as the head of a Ray cluster"),
        (
            "",
            1,
            "Traceback\nConnectionError: Could not find any running Ray instance.\n",
            "cannot reach the Ray cluster at 'a:1': ConnectionError: Could not find any",
        ),
    ],
)
def test_what_is_in_the_way_has_a_sentence_of_its_own(
    monkeypatch: pytest.MonkeyPatch, mode: str, code: int, said: str, explained: str
) -> None:
    """As Ray 2.60 words it; nothing in the way: no sentence."""
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    found = reach.explain("a:1", code, said)
    assert explained in found
    assert bool(found) is bool(explained)


def test_ray_s_client_protocol_is_wrong_usage(tmp_path: Path) -> None:
    result = zoo(
        *("train", "--archs", "mlp", "--address", "ray://10.0.0.1:10001", "-w", tmp_path / "space")
    )
    assert result.code == 2, result
    assert "ray:// is Ray's client protocol" in result.err
    assert not (tmp_path / "space").exists()
    with pytest.raises(UsageError):
        reach.reach("ray://x")


def test_what_listens_and_is_no_ray_is_told_from_nothing_that_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A socket that accepts and says nothing: given up after its time, with the ports to check."""
    monkeypatch.setattr(reach, "_SECONDS_TO_ANSWER", 6.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = zoo(*("train", "--archs", "mlp", "--address", address, "-w", tmp_path / "space"))
    assert result.code == 1, result
    assert f"something listens at '{address}', but does not answer" in result.err
    assert "bug" not in result.err


def test_auto_on_a_node_whose_head_is_gone_is_nothing_that_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(reach, "_ASK", f"import sys; sys.exit('ADDRESS 127.0.0.1:{port}')")
    result = zoo(*("train", "--archs", "mlp", "--address", "auto", "-w", tmp_path / "space"))
    assert result.code == 1, result
    assert "cannot reach the Ray cluster at 'auto'" in result.err
    assert "refused" in result.err
    assert "--runner local" in result.err
    assert "something listens" not in result.err


def test_the_code_that_made_something_is_on_record_and_another_one_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 hex digits over every module of zoo, in every record of a training and a checkpoint. Once
    other code trains there, its command says so."""
    own, space = source_hash(), tmp_path / "space"
    assert len(own) == 16
    assert int(own, 16) >= 0
    shape = ("--data", corners(tmp_path / "corners"), "--archs", "softmax", "--epochs", "1")
    line = ("train", *shape, "--runner", "local", "-w", space, "--seeds")
    assert "other code of zoo" not in zoo(*line, "0").err
    for kind in ("checkpoint", "training"):
        (record,) = (space / "commits" / kind).glob("[!.]*.json")
        assert f'"source":"{own}"' in record.read_text().replace(" ", "")
    monkeypatch.setattr(ledger, "source_hash", lambda: "0" * 16)
    assert f"holds trainings of other code of zoo too ({own})" in zoo(*line, "1").err


@pytest.mark.ray
@pytest.mark.slow
def test_a_probe_whose_first_message_is_lost_is_sent_again(tmp_path: Path) -> None:
    lost = {"num_failures": 1, "req_failure_prob": 100, "resp_failure_prob": 0}
    code = """
import ray
from zoo.cluster.preflight import Preflight
from zoo.progress import listening
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
node = ray.nodes()[0]["NodeID"]
asked = Preflight("", 0)
with listening(lambda line: print(line, flush=True)):
    asked.check({node: "w1"})
assert list(asked.good) == [node], asked.bad
"""
    env = environment() | {
        "RAY_testing_rpc_failure": json.dumps({"CoreWorkerService.grpc_client.PushTask": lost}),
        "RAY_testing_rpc_failure_avoid_intra_node_failures": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done
    assert "left out" not in done.stdout
