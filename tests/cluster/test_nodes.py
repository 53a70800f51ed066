"""A cluster of several nodes on this machine: nodes that cannot do the work, one that is drained,
and the loss of the head."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.several import Three, other_code, processes
from tests.commands import (
    _stat,
    command_line,
    corners,
    environment,
    files,
    finished,
    run,
    start,
    untouched,
)

pytestmark = [pytest.mark.ray, pytest.mark.slow]

OURS = re.compile(r"node .* (is left out|has not answered)|training( \.\.\.|: )")


def weights(space: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in space.rglob("*.safetensors")}


def drain_busy_node(three: Three) -> None:
    """Give the node that trains a notice of 20 s, as a provider does that takes it away."""
    (worker,) = processes("ray::ResourceTrainable")
    raylet = command_line(int(_stat(worker)[1]))
    (node,) = [n.node_id for n in three.cluster.list_all_nodes() if n.node_id in raylet]
    code = "import sys; from ray.scripts.scripts import main; sys.argv[0] = 'ray'; main()"
    notice = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "notice")
    subprocess.run(
        [
            *(sys.executable, "-c", code, "drain-node", "--address", three.address),
            *("--node-id", node, *notice, "--deadline-remaining-seconds", "20"),
        ],
        check=True,
        capture_output=True,
        env=environment(),
    )


def test_a_node_that_cannot_do_the_work_is_named_and_left_out(three: Three, tmp_path: Path) -> None:
    """One of two nodes has other code: it is named with the cause, and 20 of 20 trainings are done
    on the other one. Without that one: exit 1, and no workspace is made."""
    good = three.add()
    three.add(PYTHONPATH=str(other_code(tmp_path / "code")))
    data = corners(tmp_path / "corners")
    seeds = ",".join(map(str, range(20)))
    line = ("train", "--data", data, "--archs", "softmax", "--seeds", seeds, "--epochs", "1")
    result = run(tmp_path, *line, "--address", three.address, "-w", tmp_path / "a")
    assert result.code == 0, result
    said = result.err.splitlines()
    assert len([text for text in said if "is left out: it runs other code of zoo (" in text]) == 1
    assert all(OURS.match(text) for text in said), said
    assert finished(tmp_path / "a", "training") == 20
    assert not list((tmp_path / "a").glob(".tmp-*"))
    three.cluster.remove_node(good)
    result = run(tmp_path, *line, "--address", three.address, "-w", tmp_path / "b")
    assert result.code == 1, result
    assert "no node can do this work:" in result.err
    assert not (tmp_path / "b").exists()


def test_a_drained_node_s_training_goes_on_elsewhere_and_the_head_s_loss_is_said(
    three: Three, tmp_path: Path
) -> None:
    """Two nodes, one training: its node is drained within an epoch, the state is saved, the other
    node goes on from it. Then the head is killed: a sentence, exit 1; the same command without the
    cluster ends with the weights of an undisturbed run."""
    three.add()
    three.add()
    space, calm = tmp_path / "space", tmp_path / "calm"
    epochs = ",".join(map(str, range(1, 21)))
    line = ("train", "--archs", "lenet5", "--epochs", "20", "--snapshots", epochs)

    def newest() -> str:
        return max((path.name for path in space.glob("resume/*/e*")), default="")

    with start(tmp_path, *line, "--address", three.address, "-w", space) as running:
        running.wait_for(lambda: newest() > "e0001", "a state")
        drain_busy_node(three)
        running.wait_for(lambda: "s" in newest().partition("-")[0], "a state within an epoch")
        within = newest()
        running.wait_for(lambda: newest()[:5] > within[:5], "going on from it")
        kept = files(space)
        three.kill_head()
        result = running.finish()
    assert result.code == 1, result
    assert "is about to go; its trainings are saved and go elsewhere." in result.err
    assert "cluster lost: its head does not answer any more." in result.err
    assert "bug" not in result.err
    assert untouched(kept, space)
    assert run(tmp_path, *line, "--runner", "local", "-w", space).code == 0
    assert untouched(kept, space)
    assert run(tmp_path, *line, "--runner", "local", "-w", calm).code == 0
    assert weights(space) == weights(calm)


def test_the_head_s_loss_is_said_while_nodes_are_probed(three: Three, tmp_path: Path) -> None:
    """The only node stands still, so that its probe is waited for; then the head is killed: a
    sentence, exit 1. Ray would end the command after a minute, without a word."""
    node, space = three.add(), tmp_path / "space"
    (raylet,) = node.all_processes["raylet"]
    line = ("train", "--archs", "softmax", "--epochs", "1", "--address", three.address)
    os.kill(raylet.process.pid, signal.SIGSTOP)
    with start(tmp_path, *line, "-w", space) as running:
        running.wait_for(lambda: any(space.glob(".tmp-*")), "a probe")
        three.kill_head()
        result = running.finish()
    os.kill(raylet.process.pid, signal.SIGCONT)
    assert result.code == 1, result
    assert "cluster lost: its head does not answer any more." in result.err
    assert not space.exists()
