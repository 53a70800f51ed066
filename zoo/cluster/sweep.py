"""Trainings on Ray Tune. A trial is a batch of trainings: a worker that has torch and the data
loaded takes the next one for nothing.

Tune places, retries and survives lost nodes. It is not asked what is done: that is the ledger's, so
nothing is ever restored from Tune's state.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune

from zoo.cluster.capacity import Resources
from zoo.cluster.session import hush, known_cause, last_words
from zoo.machine import process_space
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.workspace import Workspace

__all__ = ["batches", "run_sweep"]

_TRIAL_SECONDS = 300.0
_BATCHES_PER_SLOT = 4
_REPORT_SECONDS = 0.5
_RETRIES = 3


def batches(
    trainings: Sequence[Training], costs: Mapping[str, float], slots: int
) -> list[list[Training]]:
    """Cut a sweep into trials: neighbours share architecture, a trial is minutes at most, and there
    are a few per slot to even out.

    Args:
        costs: estimated seconds by training id.

    Returns:
        Batches, the most expensive first.
    """
    total = sum(costs[t.id] for t in trainings)
    target = min(_TRIAL_SECONDS, total / (slots * _BATCHES_PER_SLOT))
    cut: list[list[Training]] = []
    weight = float("inf")
    for training in sorted(trainings, key=lambda t: (t.arch, -costs[t.id], t.id)):
        if weight + costs[training.id] > target * 1.2 or cut[-1][0].arch != training.arch:
            cut.append([])
            weight = 0.0
        cut[-1].append(training)
        weight += costs[training.id]
    return sorted(cut, key=lambda batch: -sum(costs[t.id] for t in batch))


def _train_batch(config: dict[str, Any]) -> None:
    """Body of a trial, in a worker process."""
    import torch

    from zoo.training.alike import alike
    from zoo.training.device import device_for
    from zoo.training.run import run

    torch.set_num_threads(int(config["threads"]))
    device = device_for(config["gpus"])
    workspace = Workspace.open(config["workspace"])
    # Progress is the list of epochs since the last report, at most twice a second: a report costs
    # milliseconds.
    epochs: dict[str, int] = {}
    last = time.monotonic()

    def report(training_id: str, epoch: int) -> None:
        nonlocal last
        epochs[training_id] = epoch
        if time.monotonic() - last > _REPORT_SECONDS:
            last = time.monotonic()
            tune.report({"epochs": json.dumps(epochs)})
            epochs.clear()

    for batch in alike(Training(**json.loads(text)) for text in config["batch"]):
        run(workspace, batch, device=device, on_epoch=report)
    tune.report({"epochs": json.dumps(epochs)})


class _Listener(tune.Callback):  # type: ignore[misc]
    """Passes the trials' progress on to our display."""

    def __init__(self, on_epoch: Callable[[str, int], None]) -> None:
        self._on_epoch = on_epoch

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks; a display does not travel

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        for training_id, epoch in json.loads(result.get("epochs", "{}")).items():
            self._on_epoch(training_id, epoch)


def run_sweep(
    workspace: Workspace,
    trainings: Sequence[Training],
    costs: Mapping[str, float],
    on_epoch: Callable[[str, int], None],
    *,
    resources: Resources,
) -> None:
    """Run trainings as Tune trials; returns when each is committed, has diverged or has failed for
    good."""
    slots = max(1, int(ray.cluster_resources().get("CPU", 1) // max(resources.get("CPU", 1), 1e-9)))
    if resources.get("GPU"):
        slots = max(1, int(ray.cluster_resources().get("GPU", 0) / resources["GPU"]))
    space = {
        "workspace": workspace.location,
        "threads": max(1, int(resources.get("CPU", 1))) if resources.get("GPU") else 1,
        "gpus": resources.get("GPU", 0.0),
        "batch": tune.grid_search(
            [[json.dumps(t.as_json()) for t in batch] for batch in batches(trainings, costs, slots)]
        ),
    }
    # Tune's own files are scratch: in the workspace, because every node must see them, and gone
    # afterwards.
    scratch = (
        workspace.root / "attempts" / f"tune-{process_space()}-{os.getpid()}-{secrets.token_hex(4)}"
    )
    _remove_leftovers(scratch.parent)
    scratch.mkdir(parents=True, exist_ok=True)
    hush()
    try:
        trials = tune.Tuner(
            tune.with_resources(_train_batch, dict(resources)),
            param_space=space,
            tune_config=tune.TuneConfig(
                reuse_actors=True, trial_dirname_creator=lambda trial: str(trial.trial_id)
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                callbacks=[_Listener(on_epoch)],
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for trial in trials:
        if trial.error is not None:
            _record_broken(
                workspace,
                [Training(**json.loads(text)) for text in trial.config["batch"]],
                trial.error,
            )


def _record_broken(workspace: Workspace, batch: Sequence[Training], error: Exception) -> None:
    """A trial failed as a whole, outside any training of its batch: its error is the reason of each
    that has no outcome and no reason of its own.

    Raises:
        ZooError: if that is the error: the storage is at fault, or the machine, so that all would
            fail alike.
    """
    if (cause := known_cause(error)) is not None:
        raise cause from None
    said = ledger.failures(workspace)
    for training in ledger.missing(workspace, batch):
        if training.id not in said:
            ledger.record_failure(workspace, training.id, last_words(error), str(error))


def _remove_leftovers(folder: Path) -> None:
    """Remove the scratch of sweeps that were killed here; a living one's is not ours to judge, nor
    one whose process we could not see."""
    mine = f"tune-{process_space()}-"
    for old in folder.glob(f"{mine}*"):
        try:
            os.kill(int(old.name.removeprefix(mine).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(old, ignore_errors=True)
        except (PermissionError, ValueError):
            continue
