"""The queue's process: an actor that loads neither torch nor Tune, which would take it a second of
a core each time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zoo.cluster.queue import Queue
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training.rule import Whole

__all__ = ["Keeper"]


class Keeper:
    """The actor around the queue, on the driver's own node: it outlives every worker.

    Args:
        location: of the workspace.
        trainings: as JSON.
        costs: estimated seconds by id.
        on_cpu: whether workers train on a CPU.
        wholes, asked: as ``Queue`` takes them.
    """

    def __init__(
        self,
        location: str,
        trainings: Sequence[str],
        costs: Mapping[str, float],
        on_cpu: bool,
        wholes: Mapping[str, Whole],
        asked: str | None,
    ) -> None:
        self._workspace = Workspace.open(location)
        jobs = {job.id: job for job in (Training(**json.loads(text)) for text in trainings)}
        self._jobs = jobs
        self._queue = Queue(
            *(jobs.values(), costs, self._newest, self._fail),
            on_cpu=on_cpu,
            wholes=wholes,
            asked=asked,
        )

    def call(self, method: str, *arguments: Any) -> Any:
        """One method of ``Queue``; an actor runs one at a time."""
        return getattr(self._queue, method)(*arguments)

    def _newest(self, training_id: str) -> str | None:
        if not ledger.missing(self._workspace, [self._jobs[training_id]]):
            return None
        return "".join(self._workspace.files.names(f"resume/{training_id}")[-1:])

    def _fail(self, training_id: str, reason: str, details: str) -> None:
        details = details or ledger.failure_details(self._workspace, training_id)
        ledger.record_failure(self._workspace, training_id, reason, details)
