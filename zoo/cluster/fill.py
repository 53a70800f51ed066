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

__all__ = ["run_fill"]


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


def run_fill(
    workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None], *, gpus: float
) -> None:
    """Run a plan's tasks in one pipeline and hand each receipt to the plan as it arrives."""
    hush()
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0  # a hole in the store is not an option
    total = ray.cluster_resources()
    actors = max(1, int(total.get("GPU", 0) / gpus) if gpus else int(total.get("CPU", 1)))
    rows = ray.data.from_items(
        [{"task": task.to_json()} for task in plan.tasks], override_num_blocks=len(plan.tasks)
    )
    receipts = rows.map(_decode, num_cpus=1).map(
        _Classify,
        fn_constructor_args=(workspace.location, gpus),
        compute=ActorPoolStrategy(min_size=1, max_size=min(actors, len(plan.tasks))),
        # An actor on a GPU leaves the CPUs to those that decode for it: one CPU beside one GPU must
        # be enough.
        num_cpus=0 if gpus else 1,
        num_gpus=gpus or None,
    )
    cells = {(task.unit.key, task.shard.index): cells_of(task) for task in plan.tasks}
    for row in receipts.iter_rows():
        key, receipt = receipt_from_json(str(row["receipt"]))
        plan.receive(key, receipt)
        on_task(cells[key, receipt.shard])
