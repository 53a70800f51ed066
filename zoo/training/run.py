"""The one training loop, and what surrounds it: resume, snapshot, evaluate, commit.

Everything random is keyed: initial weights by (architecture, seed), the order of pass p by (seed,
p), dropout and augmentation by (seed, epoch). So a training that was killed goes on from its newest
state exactly as if nothing had happened, and arms of a comparison that share a seed share their
initial weights.
"""

from __future__ import annotations

import os
import platform
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from zoo import keyed, models
from zoo.errors import StoreError, UsageError, ZooError
from zoo.machine import source_hash
from zoo.spec import Recipe, Training, classifier_id, content_id
from zoo.store import ledger
from zoo.store.ledger import record_failure
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.alike import alike
from zoo.training.loop import Metrics, Within, evaluate, evaluate_rows, fit
from zoo.training.schedule import steps_per_epoch
from zoo.trainsets.prepare import TrainingData, prepare

__all__ = ["Outcome", "StoppedError", "optimizer_of", "run", "run_training", "settle"]


_RESUME_SECONDS = 30.0
_NEAR_STOP = 0.1
"""A pass in evaluation mode costs a third of an epoch: it is made where the running accuracy is at
most this far below the threshold."""


class StoppedError(Exception):
    """A training was asked to stop and has saved where it stands: no failure."""


@dataclass
class Outcome:
    """How a training ended. ``status``: done; diverged (a loss that is not finite, at step
    ``steps``); empty (no example left)."""

    status: Literal["done", "diverged", "empty"]
    stop_reason: str
    epochs: int
    steps: int
    metrics: list[Metrics] = field(default_factory=list)
    seconds: float = 0.0


# ---------------------------------------------------------------- a batch of trainings


def run(
    workspace: Workspace,
    batch: Sequence[Training],
    *,
    device: torch.device,
    on_epoch: Callable[[str, int], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Do what is missing of a batch and commit it; the seam behind which trainings may run one
    after the other, as here, or at once.

    Args:
        batch: trainings that are ``alike``.
        on_epoch: called with a training's id and each finished epoch.
        should_stop: asked after every step. Once it is true the state is saved, within the epoch,
            and the rest of the batch is left for another time.

    Returns:
        The reason of each training that failed, by id. It is written down too, and the others of
        the batch go on.

    Raises:
        StoreError: the storage is at fault, so the rest would fail alike.
        ValueError: if the trainings are not alike.
    """
    if len(kinds := alike(batch)) > 1:
        raise ValueError(
            f"a batch of {len(kinds)} kinds of trainings, such as {kinds[0][0].id} and"
            f" {kinds[1][0].id}; split it with alike()"
        )
    failed: dict[str, str] = {}
    for training in batch:
        # Done by an earlier attempt of this batch, or by another command on the same workspace
        # meanwhile.
        if not ledger.missing(workspace, [training]):
            continue
        try:
            run_training(
                workspace,
                training,
                device=device,
                report=partial(on_epoch, training.id),
                should_stop=should_stop,
            )
        except StoppedError:
            ledger.record_stop(workspace, training.id)
            break
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - one broken training must not end the sweep; the reason is recorded and shown
            failed[training.id] = f"{type(error).__name__}: {error}"
            record_failure(workspace, training.id, failed[training.id], traceback.format_exc())
    return failed


# ---------------------------------------------------------------- one training, from spec to commit


def run_training(
    workspace: Workspace,
    training: Training,
    *,
    device: torch.device,
    report: Callable[[int], None] = lambda _epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Do what is missing of one training and commit it: checkpoints at its snapshots, then its
    outcome.

    Finished work is not touched. A training that was stopped goes on from its newest state.
    ``report`` is called with each finished epoch, ``should_stop`` after every step.

    Raises:
        StoppedError: if ``should_stop`` said so; the state is saved.
        ZooError: for a cause known by name. Any other exception is a bug or the machine; either way
            nothing half-done is visible.
    """
    began = time.monotonic()
    settle(device)
    if training.recipe.version < 2 and training.recipe.augment == "resized_crop_flip":
        raise UsageError(
            f"training {training.id}: version = {training.recipe.version} of a recipe with"
            " augment=resized_crop_flip, whose crops were not the standard ones. The loop makes"
            " version 2 now. Leave version out of the recipe; that makes another training."
        )
    data = prepare(workspace, training)
    if not len(data.rows.example_ids):
        return _commit_outcome(
            workspace,
            training,
            data,
            Outcome("empty", "no example left in the training set", 0, 0),
            [],
            device,
        )
    torch.manual_seed(keyed.key_seed(f"init/{training.arch}/{training.seed}"))
    recipe, shape = training.recipe, data.preprocessing
    model = models.build(
        training.arch,
        num_classes=len(data.class_names),
        in_channels=shape.channels,
        size=shape.size,
    ).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(model, recipe)
    outcome = Outcome("done", "all epochs", 0, 0)
    snapshots: list[int] = []
    within: Within | None = None
    if (state := checkpoint.load_resume(workspace.files, training.id)) is not None:
        outcome.epochs, tensors, progress = state
        checkpoint.unpack(tensors, model, optimizer)
        within = checkpoint.within_epoch(tensors, progress)
        outcome.metrics, snapshots, outcome.seconds = (
            progress["metrics"],
            progress["snapshots"],
            progress["seconds"],
        )
        # Snapshots asked for only now, or whose commit is gone, need the epochs before the state:
        # start over, the same numbers come out.
        if any(e <= outcome.epochs for e in ledger.uncovered_snapshots(workspace, training)):
            return _restart(
                workspace, training, device=device, report=report, should_stop=should_stop
            )
    per_epoch = steps_per_epoch(len(data.rows.example_ids), recipe)
    saved, before = time.monotonic(), outcome.seconds

    def save(within: Within | None) -> None:
        nonlocal saved
        saved = time.monotonic()
        progress: dict[str, Any] = {
            "metrics": outcome.metrics,
            "snapshots": snapshots,
            "seconds": before + saved - began,
        }
        if within is not None:
            progress["within"] = {"step": within.step, "seen": within.seen}
        checkpoint.save_resume(
            workspace.files,
            training.id,
            outcome.epochs,
            checkpoint.pack(model, optimizer, within),
            progress,
            step=within.step if within else 0,
        )

    def on_step(place: Callable[[], Within]) -> None:
        stop = should_stop()
        if stop or time.monotonic() - saved > _RESUME_SECONDS:
            save(place())
        if stop:
            raise StoppedError(training.id)

    for epoch, metrics, diverged in fit(
        model,
        optimizer,
        data,
        training,
        device=device,
        start=outcome.epochs,
        within=within,
        on_step=on_step,
    ):
        outcome.epochs, outcome.steps = epoch, epoch * per_epoch
        outcome.metrics.append(metrics)
        if diverged is not None:
            outcome.status, outcome.steps = "diverged", diverged
            outcome.stop_reason = f"the loss was not finite at step {diverged} (epoch {epoch})"
            break
        reached = _reached(model, data, recipe, outcome.metrics, device)
        last = reached is not None or epoch == recipe.epochs
        snapshot = last or epoch in training.snapshots
        if snapshot or (training.eval_every and epoch % training.eval_every == 0):
            outcome.metrics.append(evaluate(model, data, recipe, epoch, device))
        if snapshot and (fault := _fault(model, outcome.metrics[-1])) is not None:
            outcome.status, outcome.stop_reason = "diverged", f"{fault} after epoch {epoch}"
            if workspace.commits.get("training", training.id) is not None:
                # Asked for only later: how the training ended is committed and stays.
                raise ZooError(
                    f"training {training.id}, snapshot at epoch {epoch}: {fault}, so it is no"
                    f" classifier. The training itself is committed. Leave epoch {epoch} out of"
                    " --snapshots."
                )
            break
        if snapshot:
            _commit_checkpoint(workspace, training, data, model, epoch, outcome.metrics, device)
            snapshots.append(epoch)
        report(epoch)
        if reached is not None:
            outcome.stop_reason = reached
        if last:
            break
        if snapshot or time.monotonic() - saved > _RESUME_SECONDS:
            save(None)
    outcome.seconds = before + time.monotonic() - began
    return _commit_outcome(workspace, training, data, outcome, snapshots, device)


def _reached(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    metrics: list[Metrics],
    device: torch.device,
) -> str | None:
    """Why a training may end after the epoch whose running metrics come last; None = it goes on.

    The running accuracy is measured with drop-out on and on weights that still move, so that a
    network may never reach by it what it reached long ago. Near the threshold the network is asked
    as it answers later; that measurement joins ``metrics`` and decides.
    """
    target, running = recipe.stop_train_acc, metrics[-1]
    if target is None or running["acc1"] is None:
        return None
    accuracy, how = float(running["acc1"]), ""
    if recipe.version > 1 and accuracy >= target - _NEAR_STOP:
        metrics.append(evaluate_rows(model, data, recipe, int(running["epoch"] or 0), device))
        accuracy, how = float(metrics[-1]["acc1"] or 0), " in evaluation mode"
    return f"training accuracy {accuracy:.4f}{how} reached {target}" if accuracy >= target else None


def _fault(model: nn.Module, tested: Metrics) -> str | None:
    """What makes a network no classifier: a loss on the test set, or a weight where no test example
    has a label, that is not finite."""
    if tested["acc1"] is not None and tested["loss"] is None:
        return "the loss on the test set was not finite"
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
        return "a weight was not finite"
    return None


def _restart(workspace: Workspace, training: Training, **how: Any) -> Outcome:
    checkpoint.drop_resume(workspace.files, training.id)
    return run_training(workspace, training, **how)


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(
                model.parameters(),
                lr=recipe.lr,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
                fused=True,
            )
        case "adam":
            return torch.optim.Adam(
                model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )
        case "adamw":
            return torch.optim.AdamW(
                model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )


def _commit_checkpoint(
    workspace: Workspace,
    training: Training,
    data: TrainingData,
    model: nn.Module,
    epoch: int,
    metrics: Sequence[Metrics],
    device: torch.device,
) -> None:
    key = classifier_id(training.id, epoch)
    if workspace.commits.get("checkpoint", key) is not None:
        return
    at_epoch = {m["split"]: m for m in metrics if m["epoch"] == epoch}
    what = {
        "training_id": training.id,
        "epoch": epoch,
        "arch": training.arch,
        "dataset": training.dataset.fingerprint,
        "num_classes": len(data.class_names),
        "classes": content_id(list(data.class_names)),
        "preprocessing": data.preprocessing.as_json(),
    }
    accuracy = {
        "train_acc1": at_epoch["train"]["acc1"],
        "test_acc1": at_epoch["test"]["acc1"],
        "test_acc5": at_epoch["test"]["acc5"],
    }
    ref = checkpoint.save_checkpoint(
        workspace.files, key, model, {**what, "spec": training.identity}
    )
    workspace.commits.publish(
        "checkpoint",
        key,
        identity=what,
        facts={**what, **accuracy, "versions": _versions(device)},
        files=[ref],
    )


def settle(device: torch.device) -> dict[str, str]:
    """Fix how this process calculates on a device, and say so: full float32 products (no TF32),
    deterministic algorithms where torch has them.

    A CPU has nothing to choose from; there, the number of threads decides and is recorded beside
    this.
    """
    if device.type != "cuda":
        return {}
    # Read by cuBLAS when it starts; without it its matrix products are not deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "tf32": "off",
        "algorithms": "deterministic",
    }


def _versions(device: torch.device) -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "numpy", "classifier-zoo")} | {
        "python": platform.python_version(),
        "source": source_hash(),
    }
    return found | settle(device)


def _commit_outcome(
    workspace: Workspace,
    training: Training,
    data: TrainingData,
    outcome: Outcome,
    snapshots: list[int],
    device: torch.device,
) -> Outcome:
    rows = data.rows
    unique, copies = np.unique(rows.example_ids, return_counts=True)
    facts = {
        "spec": training.identity,
        "arch": training.arch,
        "dataset_uri": training.dataset.uri,
        "treatment": training.treatment_text,
        "status": outcome.status,
        "stop_reason": outcome.stop_reason,
        "epochs": outcome.epochs,
        "steps": outcome.steps,
        "snapshots": snapshots,
        "n_train": len(rows.example_ids),
        "n_unique": len(unique),
        "label_change_rate": data.label_change_rate,
        "class_counts": np.bincount(rows.labels, minlength=len(data.class_names)).tolist(),
        "unreadable": {split: len(reasons) for split, reasons in data.unreadable.items()},
        "metrics": outcome.metrics,
        "train_seconds": round(outcome.seconds, 3),
        "images": (
            int(
                outcome.epochs
                * steps_per_epoch(len(rows.example_ids), training.recipe)
                * training.recipe.batch_size
            )
            if training.recipe.steps_per_epoch
            else outcome.epochs * len(rows.example_ids)
        ),
        "threads": torch.get_num_threads(),
        "versions": _versions(device),
    }
    seen = np.zeros(data.examples, dtype=np.uint16)
    seen[unique] = np.minimum(copies, np.iinfo(np.uint16).max)
    ledger.commit_training(workspace, training, facts, seen)
    checkpoint.drop_resume(workspace.files, training.id)
    return outcome
