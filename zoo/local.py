"""Run everything in this process, one after the other: for tests, debugging, and machines where Ray
cannot start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from zoo.fill.features import FeaturePlan, decode_pictures
from zoo.fill.plan import FillPlan, cells_of, decode_block
from zoo.fill.predict import ShardWorker
from zoo.spec import Training
from zoo.store.workspace import Workspace
from zoo.training import trainers
from zoo.training.alike import alike, kind
from zoo.training.device import device_for, name_of
from zoo.training.rule import Whole
from zoo.training.run import run

__all__ = ["LocalRunner"]


class LocalRunner:
    """One process, one torch thread: bit for bit what one Ray worker computes."""

    starting: str | None = None
    """There is nothing to start."""

    def __init__(
        self, device: str | None = None, *, gpus: float = 0.0, trainer: str | None = None
    ) -> None:
        """``device``: by torch's name; None = by ``gpus``, as ``device_for`` says. ``trainer``: see
        ``zoo.training.trainers``; None = by its rule."""
        self.device = torch.device(device) if device is not None else device_for(gpus)
        self.trainer = trainer

    @property
    def device_name(self) -> str:
        return name_of(self.device)

    def start(self) -> None:
        """Nothing to start."""

    def train(
        self,
        workspace: Workspace,
        trainings: Sequence[Training],
        costs: Mapping[str, float],
        on_epoch: Callable[[str, int], None],
        wholes: Mapping[str, Whole] | None = None,
    ) -> None:
        trainers.check(self.trainer, trainings, self.device.type)
        with _one_thread():
            for batch in alike(trainings):
                run(
                    workspace,
                    batch,
                    device=self.device,
                    on_epoch=on_epoch,
                    trainer=self.trainer,
                    whole=(wholes or {}).get(kind(batch[0])),
                )

    def fill(self, workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None]) -> None:
        worker = ShardWorker(workspace, self.device)
        with _one_thread():
            for block in plan.blocks():
                for task, receipt in worker.answers(block, *decode_block(block)):
                    plan.receive(task.unit.key, receipt)
                    on_task(cells_of(task))

    def extract(
        self, workspace: Workspace, plan: FeaturePlan, on_task: Callable[[int], None]
    ) -> None:
        from zoo.fill.extract import FeatureWorker  # loads timm, which no other stage needs

        worker = FeatureWorker(workspace, self.device)
        with _one_thread():
            for task in plan.tasks:
                plan.receive(task.unit.key, worker(task, *decode_pictures(task)))
                on_task(task.cells)

    def close(self) -> None:
        """Nothing to release."""


class _one_thread:  # noqa: N801 - used as a context manager, like the functions of contextlib
    """Results are equal only for equal thread counts, so every runner uses one thread per
    training."""

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
