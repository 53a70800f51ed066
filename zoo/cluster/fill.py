"""The fill as a Ray Data pipeline: blocks -> decoded pictures -> parts -> receipts. The driver
commits from the receipts.

A row is one block of the plan; it cannot be split or merged, whatever Ray does with its own blocks.
Decoding is a CPU task on any node; a pool of actors holds the classifiers. Where both need the same
resources (no GPU) Ray fuses them into the actor.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext

from zoo.cluster.capacity import workers_of_fill
from zoo.cluster.nodes import Nodes
from zoo.cluster.preflight import Gate
from zoo.cluster.pulse import Pulse, beating, watched
from zoo.cluster.session import hush
from zoo.fill.features import FeaturePlan, FeatureTask, decode_pictures
from zoo.fill.plan import (
    HELD_PICTURES,
    HELD_PICTURES_GPU,
    FillBlock,
    FillPlan,
    cells_of,
    decode_block,
    receipt_from_json,
    receipt_to_json,
)
from zoo.store.workspace import Workspace

__all__ = ["needs", "run_features", "run_fill"]


_Pictures = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""uint8 [n, H, W, K], and which of them cannot be read, bool [n]."""
_NOT_READ = [-1]


def _decode(row: dict[str, Any], gate: Gate | None = None, pulses: Any = None) -> dict[str, Any]:
    block = FillBlock.from_json(str(row["block"]))
    return {"block": row["block"], **_packed(lambda: decode_block(block), gate, pulses)}


def _packed(read: Callable[[], _Pictures], gate: Gate | None, pulses: Any) -> dict[str, Any]:
    """Pictures as a part of a row. None of them on a node that cannot do the work, which may have
    joined a moment ago: then the actor reads them, which is on one that can."""
    with beating(pulses):
        if gate is not None and not gate.without_gpu.opens():
            return {"images": b"", "shape": _NOT_READ, "unreadable": b""}
        images, unreadable = read()
    return {
        "images": images.tobytes(),
        "shape": list(images.shape),
        "unreadable": unreadable.tobytes(),
    }


def _pictures(row: dict[str, Any], read: Callable[[], _Pictures]) -> _Pictures:
    """What ``_packed`` has put into a row."""
    shape = [int(n) for n in row["shape"]]
    if shape == _NOT_READ:
        return read()
    images = np.frombuffer(row["images"], dtype=np.uint8).reshape(shape)
    return images, np.frombuffer(row["unreadable"], dtype=bool)


class _Classify:
    """One actor: the groups of classifiers of every block that comes by, run on it."""

    def __init__(
        self, root: str, gpus: float, gate: Gate | None = None, pulses: Any = None
    ) -> None:
        pulse = Pulse(pulses)
        if gate is not None:
            gate.wait()
        import torch

        from zoo.fill.predict import ShardWorker
        from zoo.training.device import device_for

        torch.set_num_threads(1)
        self._worker = ShardWorker(Workspace.open(root), device_for(gpus))
        pulse.ready()

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        block = FillBlock.from_json(str(row["block"]))
        pictures = _pictures(row, lambda: decode_block(block))
        for task, receipt in self._worker.answers(block, *pictures):
            yield {"receipt": receipt_to_json(task.unit, receipt)}


def _decode_for_features(
    row: dict[str, Any], gate: Gate | None = None, pulses: Any = None
) -> dict[str, Any]:
    task = FeatureTask.from_json(str(row["task"]))
    return {"task": row["task"], **_packed(lambda: decode_pictures(task), gate, pulses)}


class _Extract:
    """One actor: a backbone, run on every shard that comes by."""

    def __init__(
        self, root: str, gpus: float, gate: Gate | None = None, pulses: Any = None
    ) -> None:
        pulse = Pulse(pulses)
        if gate is not None:
            gate.wait()
        import torch

        from zoo.fill.extract import FeatureWorker
        from zoo.training.device import device_for

        torch.set_num_threads(1)
        self._worker = FeatureWorker(Workspace.open(root), device_for(gpus))
        pulse.ready()

    def __call__(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        task = FeatureTask.from_json(str(row["task"]))
        receipt = self._worker(task, *_pictures(row, lambda: decode_pictures(task)))
        yield {"receipt": FeaturePlan.receipt_to_json(task.unit, receipt)}


def needs(gpus: float) -> tuple[dict[str, float], dict[str, float]]:
    """What a task that decodes and an actor that classifies ask for.

    An actor on a GPU leaves the CPUs to those that decode for it: one CPU beside one GPU must be
    enough. Without a GPU both ask for the same, so that Ray runs them as one.
    """
    return {"num_cpus": 1}, {"num_cpus": 0, "num_gpus": gpus} if gpus else {"num_cpus": 1}


def _workers(nodes: Nodes, gpus: float) -> int:
    """How many workers there may be, by what there is and what an autoscaler may start."""
    return max(1, nodes.growth(gpus), int(workers_of_fill(ray.cluster_resources(), gpus)))


def run_fill(
    workspace: Workspace,
    plan: FillPlan,
    on_task: Callable[[int], None],
    nodes: Nodes,
    *,
    gpus: float,
) -> None:
    """Run a plan's tasks in one pipeline and hand each receipt to the plan as it arrives. Blocks
    are cut for as many workers as there may be."""
    blocks = plan.blocks(_workers(nodes, gpus), HELD_PICTURES_GPU if gpus else HELD_PICTURES)
    cells = {(task.unit.key, task.shard.index): cells_of(task) for task in plan.tasks}
    rows = [{"block": block.to_json()} for block in blocks]
    with closing(_streamed(workspace, rows, _decode, _Classify, nodes, gpus)) as receipts:
        for text in receipts:
            key, receipt = receipt_from_json(text)
            plan.receive(key, receipt)
            on_task(cells[key, receipt.shard])


def run_features(
    workspace: Workspace,
    plan: FeaturePlan,
    on_task: Callable[[int], None],
    nodes: Nodes,
    *,
    gpus: float,
) -> None:
    """``run_fill`` for features."""
    cells = {(task.unit.key, task.shard.index): task.cells for task in plan.tasks}
    rows = [{"task": task.to_json()} for task in plan.tasks]
    with closing(_streamed(workspace, rows, _decode_for_features, _Extract, nodes, gpus)) as found:
        for text in found:
            key, receipt = FeaturePlan.receipt_from_json(text)
            plan.receive(key, receipt)
            on_task(cells[key, receipt.shard])


def _streamed(
    workspace: Workspace,
    work: list[dict[str, str]],
    read: Callable[[dict[str, Any], Gate | None, Any], dict[str, Any]],
    worker: type[_Classify] | type[_Extract],
    nodes: Nodes,
    gpus: float,
) -> Generator[str, None, None]:
    """Receipts of rows of work, as JSON, in the order in which they are done. To be closed while
    Ray is still there."""
    hush()
    workers = min(len(work), _workers(nodes, gpus))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0  # a hole in the store is not an option
    # A receipt is handed on when it is there, not when Ray has gathered 128 MiB of them.
    context.target_max_block_size = 1
    decode, classify = needs(gpus)
    rows = ray.data.from_items(work, override_num_blocks=len(work))
    # Nodes that were probed in vain get nothing.
    if barred := nodes.left_out():
        labels = {"label_selector": {"ray.io/node-id": f"!in({','.join(barred)})"}}
    else:
        labels = {}
    # Those that join later, Ray chooses before the driver has probed them.
    gate = nodes.gate()
    with watched() as pulses:
        # Fused with the actor, whoever decodes is the actor, which says already that it lives.
        alone = None if decode == classify else pulses
        receipts = rows.map(read, fn_args=(gate, alone), **decode, **labels).flat_map(
            worker,
            fn_constructor_args=(workspace.location, gpus, gate, pulses),
            # As many at once as there is room for, or may be: Ray adds another one only after
            # seconds. An autoscaler starts nodes for actors that wait for one; Ray Data asks it for
            # none before a block is done. Up to one per block, should yet more nodes join.
            compute=ActorPoolStrategy(
                min_size=workers if nodes.growth(gpus) else 1,
                max_size=len(work),
                initial_size=workers,
            ),
            **classify,
            **labels,
        )
        for row in receipts.iter_rows():
            nodes.worked()
            yield str(row["receipt"])
