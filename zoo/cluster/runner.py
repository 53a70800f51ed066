"""RayRunner: the sweep on Ray Tune and the fill on Ray Data, in one session that starts with the first piece of work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from zoo.cluster.session import session
from zoo.errors import ZooError
from zoo.fill.plan import FillPlan
from zoo.spec import Training
from zoo.store.workspace import Workspace

__all__ = ["RayRunner"]


class RayRunner:
    """Where: a cluster at ``address``, else this machine. ``gpus``: GPUs per training or fill actor, fractions allowed; 0 = CPU."""

    def __init__(self, address: str | None = None, cpus: int | None = None, gpus: float = 0.0) -> None:
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(session(address, cpus))
        self._gpus = gpus

    def train(
        self, workspace: Workspace, trainings: Sequence[Training], costs: Mapping[str, float], on_epoch: Callable[[str, int], None]
    ) -> None:
        from zoo.cluster.sweep import run_sweep

        resources = {"CPU": 1.0} | ({"GPU": self._gpus} if self._gpus else {})
        run_sweep(workspace, trainings, costs, on_epoch, resources=resources)

    def fill(self, workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None]) -> None:
        import ray

        from zoo.cluster.fill import run_fill

        try:
            run_fill(workspace, plan, on_task, gpus=self._gpus)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, ZooError):
                raise cause from None
            raise ZooError(
                f"the fill broke off: {str(error).strip().splitlines()[-1]}. Finished shards are kept; run the same command again."
            ) from error

    def close(self) -> None:
        self._stack.close()
