"""What a worker asks for against what the nodes have: refused before anything is made, and naming
what there is."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from tests.commands import zoo
from zoo.cluster import capacity, runner
from zoo.cluster.capacity import check, worker_resources
from zoo.errors import UsageError

NODE = {"CPU": 4.0, "GPU": 1.0, "memory": 1e9, "node:10.0.0.1": 1.0}
HEAD = {"CPU": 0.0, "node:__internal_head__": 1.0}


@pytest.mark.parametrize(
    ("asked", "there", "possible"),
    [
        (worker_resources(0), [NODE], []),
        (worker_resources(1), [NODE], []),
        (worker_resources(0.25), [NODE], []),
        (worker_resources(0), [HEAD], [{"CPU": 2.0}]),  # an autoscaler starts one
        (worker_resources(1), [HEAD], [{"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]),
        (worker_resources(1), [HEAD], None),  # an autoscaler that does not tell what it can start
    ],
)
def test_what_a_node_has_or_will_have_is_granted(
    asked: dict[str, float], there: list[dict[str, float]], possible: object
) -> None:
    check(asked, there, possible, "here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "there", "possible", "said"),
    [
        (
            worker_resources(1),
            [{"CPU": 2.0}],
            [],
            (
                "a worker asks for CPU 1, GPU 1 on one node, and here has CPU 2, GPU 0. Leave"
                " --gpus out"
            ),
        ),
        (
            worker_resources(0.5),
            [{"CPU": 2.0, "GPU": 0.25}],
            [],
            "asks for CPU 1, GPU 0.5 on one node, and here has CPU 2, GPU 0.25.",
        ),
        (
            worker_resources(0),
            [HEAD],
            [],
            (
                "asks for CPU 1, GPU 0 on one node, and here has CPU 0, GPU 0, and nothing that"
                " starts more."
            ),
        ),
        (worker_resources(0), [], [], "here has no node"),
        # What one node lacks another does not make up for.
        (
            worker_resources(1),
            [{"CPU": 8.0}, {"CPU": 0.0, "GPU": 4.0}],
            [],
            "here has CPU 8, GPU 0 / CPU 0, GPU 4",
        ),
        (
            worker_resources(1),
            [HEAD],
            [{"CPU": 2.0}],
            "CPU 0, GPU 0; its autoscaler can start nodes with CPU 2, GPU 0.",
        ),
        # nodes alike are named once
        (worker_resources(1), [{"CPU": 2.0}] * 3, [], "here has CPU 2, GPU 0, and nothing"),
    ],
)
def test_what_no_node_can_grant_is_refused(
    asked: dict[str, float],
    there: list[dict[str, float]],
    possible: list[dict[str, float]],
    said: str,
) -> None:
    """Exit 2, and the message says what was asked, what there is, and what to do."""
    with pytest.raises(UsageError) as caught:
        check(asked, there, possible, "here")
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


COMMANDS = (
    ("train", "--archs", "mlp"),
    ("train", "demo", "--scale", "smoke"),
    ("run", "demo", "--scale", "smoke"),
    ("demo", "--scale", "smoke"),
)


@pytest.mark.parametrize("where", ["ray", "local"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_gpu_that_is_not_there_is_refused_before_a_workspace_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...], where: str
) -> None:
    """On both runners, from every command that would make a workspace: exit 2, what there is,
    nothing on disk, nothing computed on a CPU."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    result = zoo(*command, "--gpus", "1", "--runner", where, "-w", tmp_path / "space")
    assert result.code == 2, result
    assert "CPU " in result.err
    assert "GPU 0. Leave --gpus out to run on" in result.err
    assert not (tmp_path / "space").exists()


@pytest.mark.parametrize("where", ["ray", "local"])
@pytest.mark.parametrize("command", ["fill", "retrain"])
def test_commands_on_a_workspace_refuse_it_too(
    monkeypatch: pytest.MonkeyPatch, trained: object, command: str, where: str
) -> None:
    """Fill actors and retrainings ask for the same, and are refused alike."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    names = () if command == "fill" else ("baseline", "--arch", "mlp")
    result = zoo(command, *names, "--gpus", "0.5", "--runner", where, "-w", trained.root)  # type: ignore[attr-defined]
    assert result.code == 2, result
    assert "GPU 0. Leave --gpus out to run on" in result.err


def test_a_gpu_that_is_there_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: with one GPU, a whole one and a part of it are granted, by both runners."""
    from zoo.training.device import device_for

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    for gpus in (0.25, 1.0):
        assert runner.RayRunner(gpus=gpus).starting == "starting Ray"
        assert device_for(gpus).type == "cuda"
    assert device_for(0).type == "cpu"


def test_a_cluster_is_asked_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With --address the nodes say what there is: refused with exit 2 and no workspace; the session
    is closed again."""
    calls: list[str] = []
    monkeypatch.setattr(runner.RayRunner, "start", lambda self: calls.append("start"))
    end = runner.RayRunner.close

    def close(self: runner.RayRunner) -> None:
        calls.append("close")
        end(self)

    monkeypatch.setattr(runner.RayRunner, "close", close)
    monkeypatch.setattr(runner, "nodes", lambda: [{"CPU": 4.0}, {"CPU": 8.0}])
    monkeypatch.setattr(runner, "node_types", list)
    result = zoo(
        "train",
        "--archs",
        "mlp",
        "--gpus",
        "1",
        "--address",
        "10.0.0.1:6379",
        "-w",
        tmp_path / "space",
    )
    assert result.code == 2, result
    assert (
        "the cluster at '10.0.0.1:6379' has CPU 4, GPU 0 / CPU 8, GPU 0, and nothing that starts"
        " more" in result.err
    )
    assert not (tmp_path / "space").exists()
    assert calls == ["start", "close"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--cpus", "2", "--address", "10.0.0.1:6379"),
            "--cpus 2 is for a session on this machine",
        ),
        (
            ("--cpus", "2", "--runner", "local"),
            "--cpus 2: --runner local does everything in one process",
        ),
        (("--gpus", "2"), "--gpus 2: a training runs on one GPU or a part of it"),
        (("--gpus", "nan", "--runner", "local"), "--gpus nan: a training runs on one GPU"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    result = zoo("train", "--archs", "mlp", *options, "-w", tmp_path / "space")
    assert result.code == 2, result
    assert said in result.err
    assert not (tmp_path / "space").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1"])
@pytest.mark.parametrize("variable", [True, False])
def test_an_address_where_nothing_listens_is_named_as_it_was_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str, *, variable: bool
) -> None:
    """Found at once, not after Ray's minutes; the message says RAY_ADDRESS where the address came
    from there, else --address."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", address)
    result = zoo(
        "train",
        "--archs",
        "mlp",
        *(() if variable else ("--address", address)),
        "-w",
        tmp_path / "space",
    )
    assert result.code == 1, result
    assert f"cannot reach the Ray cluster at '{address}'" in result.err
    assert f"Check {'RAY_ADDRESS' if variable else '--address'}," in result.err
    assert ("--address" in result.err) is not variable
    assert "bug" not in result.err
    assert not (tmp_path / "space").exists()


def test_an_autoscaler_s_node_types_are_read_from_what_ray_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Configured types that may be started; none without an autoscaler, whose monitor calls each
    node a type; None where types are secret."""
    import json

    import ray
    from ray.experimental import internal_kv

    class Group:
        def __init__(self, count: int, **resources: float) -> None:
            self.max_count, self.resources = count, resources

    class Config:
        node_group_configs = (Group(0, CPU=1.0), Group(2, CPU=4.0, GPU=1.0), Group(-1, CPU=8.0))

    def tell(config: object, report: dict[str, object] | None) -> None:
        monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: config)
        text = None if report is None else json.dumps({"autoscaler_report": report}).encode()
        monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key: text)

    tell(Config(), None)
    assert capacity.node_types() == [{"CPU": 4.0, "GPU": 1.0}, {"CPU": 8.0}]
    assert capacity.growth(0.5) == 2 * 2
    assert capacity.growth(0.0) == 2 * 4 + capacity._UNTOLD * 8  # the second without an end
    monkeypatch.setattr(capacity, "_SECONDS_TO_TELL", 0.0)
    tell(None, None)
    assert (capacity.node_types(), capacity.growth(0.0)) == ([], 0)
    tell(
        None, {"active_nodes": {"node_" + "0a" * 28: 1}, "idle_nodes": None, "pending_launches": {}}
    )
    assert capacity.node_types() == []
    for report in (
        {"active_nodes": {"ray.head.default": 1, "worker": 2}},
        {"active_nodes": {"ray.head.default": 1}},  # nothing but the head yet
        {"active_nodes": {}, "pending_nodes": [["10.0.0.2", "worker", "setting-up"]]},
        {"active_nodes": {}},  # has not told yet
    ):
        tell(None, report)
        assert (capacity.node_types(), capacity.growth(0.0)) == (None, capacity._UNTOLD)


_TYPES = """
max_workers: 8
head_node_type: head
available_node_types:
  head: {resources: {CPU: 0}, node_config: {}}
  small: {resources: {CPU: 2}, node_config: {}, max_workers: 3}
  large: {resources: {CPU: 8, GPU: 1}, node_config: {}}
  never: {resources: {CPU: 64}, node_config: {}, max_workers: 0}
"""


@pytest.mark.parametrize(
    ("given", "types"),
    [
        (_TYPES, [({"CPU": 2}, 3), ({"CPU": 8, "GPU": 1}, 8)]),
        (_TYPES.replace("{CPU: 2}", "{}"), None),  # on machines of one's own nobody says
        (None, []),  # this head's monitor starts nothing
        ("[", None),
    ],
)
def test_on_the_head_the_autoscaler_s_own_file_says_what_it_may_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    types: list[tuple[dict[str, float], int]] | None,
) -> None:
    """The file of this cluster's monitor, not of another one's on the same machine; where there is
    none on it, nothing is known."""
    import ray

    (tmp_path / "mine.yaml").write_text(given or "")
    (tmp_path / "other.yaml").write_text(_TYPES.replace("2", "1"))
    option = f"--autoscaling-config={tmp_path}/"
    monitor = ["python", "-u", "/ray/monitor.py", "--gcs-address=10.0.0.1:6379"]
    lines = [
        monitor if given is None else [*monitor, f"{option}mine.yaml"],
        ["python", "-u", "/ray/dashboard.py", "--gcs-address=10.0.0.1:6379"],
        [*monitor[:3], "--gcs-address=10.0.0.1:7000", f"{option}other.yaml"],
    ]
    context = mock.Mock(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(capacity, "_command_lines", lambda: iter(lines))
    assert capacity._configured() == types
    context.gcs_address = "10.0.0.2:6379"
    assert capacity._configured() is None


def test_a_head_that_was_just_started_is_given_time_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its autoscaler has told nothing at the first look, and a type of node at the second."""
    import ray
    from ray.experimental import internal_kv

    group = mock.Mock(max_count=4, resources={"CPU": 1.0})
    told = iter([None, mock.Mock(node_group_configs=[group])])
    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: next(told))
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key: None)
    assert capacity.growth(0.0) == 4


def test_where_ray_has_moved_what_it_tells_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those functions are Ray's own: without them a request that may yet be granted is not
    refused."""
    import ray

    def gone() -> None:
        raise AttributeError("get_cluster_config")

    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", gone)
    assert capacity.node_types() is None


def test_who_joins_is_lost_or_about_to_go_has_a_line_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes; one more joins, one of the same host name as another; one is drained, one is
    gone. Nothing is said of those that were there at first, and nothing twice."""
    from zoo.cluster import nodes

    def node(name: str, number: str) -> dict[str, object]:
        return {
            "NodeID": number * 56,
            "NodeManagerHostname": name,
            "Alive": True,
            "Resources": {"CPU": 1.0},
        }

    said: list[str] = []
    there = [node("a", "1"), node("b", "2")]
    going: set[str] = set()
    monkeypatch.setattr(nodes, "_say", said.append)
    monkeypatch.setattr(nodes.ray, "nodes", lambda: list(there))
    monkeypatch.setattr(nodes, "draining", lambda: set(going))
    watched = nodes.Nodes({"CPU": 1.0}, mock.Mock(watch=list))
    watched.look()
    assert said == []
    there.append(node("b", "3"))
    watched.look()
    going.add("1" * 56)
    watched.look()
    del there[0]
    watched.look()
    watched.look()
    assert said == [
        "node b (33333333) joined; 3 nodes now.",
        "node a is about to go; its trainings are saved and go elsewhere.",
        "node a is lost; 2 nodes are left.",
    ]


def test_while_no_node_can_do_the_work_it_is_said_what_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an autoscaler what it is starting; without one, that nobody starts any. Not while there is
    a slot."""
    from zoo.cluster import nodes

    said: list[str] = []
    monkeypatch.setattr(nodes, "_say", said.append)
    monkeypatch.setattr(nodes, "_WAIT_SECONDS", -1.0)
    monkeypatch.setattr(nodes, "pending", lambda: "starting: 2 gpu-worker")
    for grows in (True, False):
        there = nodes.Nodes({"CPU": 1.0, "GPU": 0.5}, grows=grows)
        there._say_waiting()
        there._slots = 1
        there._say_waiting()
    assert said == [
        "waiting for a node with CPU 1, GPU 0.5: starting: 2 gpu-worker.",
        "waiting for a node with CPU 1, GPU 0.5: nothing starts one here but you.",
    ]


def test_where_nothing_comes_from_any_worker_for_long_it_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After ten minutes, and again after ten more; not where something was done meanwhile."""
    from zoo.cluster import nodes

    said: list[str] = []
    clock = [1000.0]
    monkeypatch.setattr(nodes, "_say", said.append)
    monkeypatch.setattr(nodes.time, "monotonic", lambda: clock[0])
    there = nodes.Nodes({"CPU": 1.0})
    there._slots = 1
    counts = []
    for seconds, worked in ((599, False), (601, False), (602, False), (1202, True), (1802, False)):
        clock[0] = 1000.0 + seconds
        if worked:
            there.worked()
        there._say_waiting()
        counts.append(len(said))
    assert counts == [0, 1, 1, 1, 1]
    clock[0] = 2803.0
    there._say_waiting()
    line = (
        "nothing has come from any worker for 600 s, though there are nodes for them: they may"
        " hang. Ctrl-C, then the same command, goes on from what is committed."
    )
    assert said == [line, line]


def test_the_second_autoscaler_tells_what_it_starts_and_not_what_it_could(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As ``ray up`` starts it. What nobody can rule out is not refused; a fill is cut for some more
    workers; what is starting and what failed last is said."""
    import ray
    from ray.autoscaler.v2 import sdk, utils
    from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest
    from ray.experimental import internal_kv

    monkeypatch.setattr(ray._private.state.state, "get_cluster_config", lambda: None)
    monkeypatch.setattr(internal_kv, "_internal_kv_get", lambda key: None)
    monkeypatch.setattr(utils, "is_autoscaler_v2", lambda fetch_from_server: True)
    assert (capacity.node_types(), capacity.growth(0.0)) == (None, capacity._UNTOLD)
    capacity.check({"CPU": 1.0, "GPU": 1.0}, [{"CPU": 0.0}], capacity.node_types(), "it")
    launches = [
        LaunchRequest("g5.xlarge", "gpu-worker", 2, state, 0, details="no more of them here")
        for state in (LaunchRequest.Status.PENDING, LaunchRequest.Status.FAILED)
    ]
    status = ClusterStatus(pending_launches=launches[:1], failed_launches=launches[1:])
    monkeypatch.setattr(sdk, "get_cluster_status", lambda address: status)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: mock.Mock(gcs_address="10.0.0.1:6379"))
    said = "starting: 2 gpu-worker; last that failed: gpu-worker (no more of them here)"
    assert capacity.pending() == said
