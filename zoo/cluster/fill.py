"""The fill as a Ray Data pipeline: shards -> decoded pictures -> parts -> receipts. The driver
commits from the receipts.

A row is one shard; it cannot be split or merged, whatever Ray does with blocks. Decoding is a CPU
task on any node; a pool of actors holds the classifiers. Where both need the same resources (no
GPU) Ray fuses them into the actor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import ray
from ray.data import ActorPoolStrategy, DataContext

from zoo.cluster.nodes import Nodes
from zoo.cluster.session import hush
from zoo.fill.plan import (
    FillPlan,
    FillTask,
    cells_of,
    decode_task,
    receipt_from_json,
    receipt_to_json,
)
from zoo.store.workspace import Workspace

__all__ = ["needs", "run_fill"]


def _decode(row: dict[str, Any]) -> dict[str, Any]:
    task = FillTask.from_json(str(row["task"]))
    images, unreadable = decode_task(task)
    return {
        "task": row["task"],
        "images": images.tobytes(),
        "shape": list(images.shape),
        "unreadable": unreadable.tobytes(),
    }


class _Classify:
    """One actor: a whole group of classifiers, run on every shard that comes by."""

    def __init__(self, root: str, gpus: float) -> None:
        import torch

        from zoo.fill.predict import ShardWorker
        from zoo.training.device import device_for

        torch.set_num_threads(1)
        self._worker = ShardWorker(Workspace.open(root), device_for(gpus))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        task = FillTask.from_json(str(row["task"]))
        images = np.frombuffer(row["images"], dtype=np.uint8).reshape(
            [int(n) for n in row["shape"]]
        )
        receipt = self._worker(task, images, np.frombuffer(row["unreadable"], dtype=bool))
        return {"receipt": receipt_to_json(task.unit, receipt)}


def needs(gpus: float) -> tuple[dict[str, float], dict[str, float]]:
    """What a task that decodes and an actor that classifies ask for.

    An actor on a GPU leaves the CPUs to those that decode for it: one CPU beside one GPU must be
    enough. Without a GPU both ask for the same, so that Ray runs them as one.
    """
    return {"num_cpus": 1}, {"num_cpus": 0, "num_gpus": gpus} if gpus else {"num_cpus": 1}


def run_fill(
    workspace: Workspace,
    plan: FillPlan,
    on_task: Callable[[int], None],
    nodes: Nodes,
    *,
    gpus: float,
) -> None:
    """Run a plan's tasks in one pipeline and hand each receipt to the plan as it arrives. The pool
    of actors grows with the cluster, up to one per task."""
    hush()
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0  # a hole in the store is not an option
    rows = ray.data.from_items(
        [{"task": task.to_json()} for task in plan.tasks], override_num_blocks=len(plan.tasks)
    )
    decode, classify = needs(gpus)
    # Nodes that were probed in vain get nothing.
    if barred := nodes.left_out():
        labels = {"label_selector": {"ray.io/node-id": f"!in({','.join(barred)})"}}
    else:
        labels = {}
    receipts = rows.map(_decode, **decode, **labels).map(
        _Classify,
        fn_constructor_args=(workspace.location, gpus),
        compute=ActorPoolStrategy(min_size=1, max_size=len(plan.tasks)),
        **classify,
        **labels,
    )
    cells = {(task.unit.key, task.shard.index): cells_of(task) for task in plan.tasks}
    for row in receipts.iter_rows():
        key, receipt = receipt_from_json(str(row["receipt"]))
        nodes.worked()
        plan.receive(key, receipt)
        on_task(cells[key, receipt.shard])
