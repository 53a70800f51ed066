"""RayRunner: the sweep on Ray Tune and the fill on Ray Data, in one session."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from zoo.cluster.capacity import check, node_types, nodes, worker_resources
from zoo.cluster.preflight import Preflight
from zoo.cluster.session import ends_well, in_words, known_cause, last_words, session
from zoo.errors import UsageError, ZooError
from zoo.fill.features import FeaturePlan
from zoo.fill.plan import FillPlan
from zoo.machine import gpu_share, own_cpus
from zoo.spec import DatasetRef, Training
from zoo.store.workspace import Workspace
from zoo.training.rule import Whole

if TYPE_CHECKING:
    from zoo.cluster.nodes import Nodes

__all__ = ["RayRunner"]


class RayRunner:
    """Where: a cluster at ``address``, else this machine, in a session that starts with ``start``.

    Args:
        cpus: workers of a session on this machine; None = the CPUs that this process may use.
        gpus: GPUs per training or fill actor, fractions allowed; 0 = CPU.
        workspace: where it will be, for the probe of a cluster's nodes; it need not be there yet.
        trainer: see ``zoo.training.trainers``; None = by its rule.

    Raises:
        UsageError: if no node has what a worker asks for, or ever will have. Of a cluster only its
            nodes can say, so it is connected to at once.
        ZooError: if the cluster cannot be reached, or none of its nodes can do the work.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: int | None = None,
        gpus: float = 0.0,
        workspace: str = "",
        trainer: str | None = None,
    ) -> None:
        if address == "local":  # Ray's own word for a session on this machine
            address = None
        self._address, self._cpus, self._gpus = address, cpus, gpu_share(gpus)
        self._trainer = trainer
        self._stack, self._started = contextlib.ExitStack(), False
        self._preflight: Preflight | None = None
        if address is not None:
            if cpus is not None:
                raise UsageError(
                    f"--cpus {cpus} is for a session on this machine; the cluster at {address!r}"
                    " has the CPUs it has."
                )
            self.start()
            try:
                from zoo.cluster.nodes import head_watched

                self._stack.enter_context(head_watched(self._lost))
                check(
                    worker_resources(self._gpus),
                    nodes(),
                    node_types(),
                    f"the cluster at {address!r}",
                )
                with _told("the cluster's nodes could not be probed"):
                    self._preflight = Preflight(workspace, self._gpus)
                    self._stack.callback(self._preflight.close)
                    self._preflight.check(self._fitting())
            except BaseException:
                self.close()
                raise
        elif self._gpus:
            there = {"CPU": float(cpus or own_cpus()), "GPU": float(_visible_gpus())}
            check(worker_resources(self._gpus), [there], [], "this machine")

    @property
    def starting(self) -> str | None:
        """What ``start`` will do, in words; None once it is done."""
        return None if self._started else "starting Ray"

    @property
    def device_name(self) -> str:
        if not self._gpus:
            return ""
        if self._preflight is None:
            from zoo.training.device import device_for, name_of

            return name_of(device_for(self._gpus))
        # Of several kinds the one that comes first: what follows is an order and a size of batches.
        return next((node.gpu for node in self._preflight.good.values() if node.gpu), "GPU")

    def start(self) -> None:
        """Start the session on this machine. Does nothing where there is one."""
        if not self._started:
            with _told("Ray did not start"):
                self._stack.enter_context(
                    session(self._address, self._cpus, _visible_gpus() if self._gpus else 0)
                )
            self._started = True

    def train(
        self,
        workspace: Workspace,
        trainings: Sequence[Training],
        costs: Mapping[str, float],
        on_epoch: Callable[[str, int], None],
        wholes: Mapping[str, Whole] | None = None,
    ) -> None:
        if self._trainer is not None:
            from zoo.training import trainers

            trainers.check(self._trainer, trainings, "cuda" if self._gpus else "cpu")
        self.start()
        with _told("the sweep broke off"), self._nodes({t.dataset for t in trainings}) as there:
            from zoo.cluster.sweep import run_sweep

            asked = worker_resources(self._gpus)
            run_sweep(
                workspace,
                trainings,
                costs,
                on_epoch,
                there,
                resources=asked,
                wholes=wholes or {},
                trainer=self._trainer,
            )

    def fill(self, workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None]) -> None:
        self.start()
        with _told("the fill broke off"), self._nodes({t.dataset for t in plan.tasks}) as there:
            from zoo.cluster.fill import run_fill

            run_fill(workspace, plan, on_task, there, gpus=self._gpus)

    def extract(
        self, workspace: Workspace, plan: FeaturePlan, on_task: Callable[[int], None]
    ) -> None:
        self.start()
        with (
            _told("the features broke off"),
            self._nodes({t.dataset for t in plan.tasks}) as there,
        ):
            from zoo.cluster.fill import run_features

            run_features(workspace, plan, on_task, there, gpus=self._gpus)

    @contextlib.contextmanager
    def _nodes(self, datasets: set[DatasetRef]) -> Iterator[Nodes]:
        """The nodes, probed for some data sets and watched."""
        from zoo.cluster.nodes import Nodes

        if self._preflight is not None:
            self._preflight.check(self._fitting(), datasets)
        asked = worker_resources(self._gpus)
        grows = self._preflight is not None and node_types() != []
        there = Nodes(asked, self._preflight, grows=grows)
        with there.watched():
            yield there

    def _fitting(self) -> dict[str, str]:
        """Nodes on which a worker fits: id -> name."""
        from zoo.cluster.nodes import fitting

        return fitting(worker_resources(self._gpus))

    def _lost(self) -> None:
        """This process is about to end because its cluster is gone."""
        if self._preflight is not None:
            self._preflight.close()
        ends_well()

    def close(self) -> None:
        self._stack.close()


def _visible_gpus() -> int:
    # As torch counts them, since torch will use them: Ray would also offer a GPU that the torch
    # installed here cannot drive.
    from zoo.training.device import visible_gpus

    return visible_gpus()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """What Ray, the system or its limits raise becomes a sentence; an error of a worker's that has
    a known cause is raised as it is."""
    try:
        yield
    except ZooError:
        raise
    except (MemoryError, ImportError, OSError) as error:
        raise ZooError(
            f"{what}: {in_words(error)}. What is finished is kept; run the same command again, or"
            " with --runner local."
        ) from error
    except Exception as error:
        cause = known_cause(error)
        if cause is not None:
            raise cause from None
        if not type(error).__module__.startswith("ray."):
            raise
        raise ZooError(
            f"{what}: {last_words(error)}. What is finished is kept; run the same command again."
        ) from error
