"""The one training loop, and what surrounds it: resume, snapshot, evaluate, commit.

Everything random is keyed: initial weights by (architecture, seed), the order of pass p by (seed, p), dropout and augmentation by
(seed, epoch). So a training that was killed goes on from its newest state exactly as if nothing had happened, and arms of a comparison
that share a seed share their initial weights.
"""

from __future__ import annotations

import platform
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Literal

import numpy as np
import torch
from torch import nn

from zoo import keyed, models
from zoo.errors import StoreError
from zoo.spec import Recipe, Training, classifier_id, content_id
from zoo.store import ledger
from zoo.store.ledger import record_failure
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.loop import Metrics, evaluate, fit
from zoo.training.schedule import steps_per_epoch
from zoo.trainsets.prepare import TrainingData, prepare

__all__ = ["Outcome", "run_training", "train_one"]


_RESUME_SECONDS = 30.0


@dataclass
class Outcome:
    """How a training ended. ``status``: done; diverged (a loss that is not finite, at step ``steps``); empty (no example left)."""

    status: Literal["done", "diverged", "empty"]
    stop_reason: str
    epochs: int
    steps: int
    metrics: list[Metrics] = field(default_factory=list)
    seconds: float = 0.0


# ---------------------------------------------------------------- one training, from spec to commit


def run_training(
    workspace: Workspace,
    training: Training,
    *,
    device: torch.device,
    report: Callable[[int], None] = lambda _epoch: None,
) -> Outcome:
    """Do what is missing of one training and commit it: checkpoints at its snapshots, then its outcome.

    Finished work is not touched. A training that was stopped goes on from its newest state. ``report`` is called with each finished epoch.

    Raises:
        ZooError: for a cause known by name. Any other exception is a bug or the machine; either way nothing half-done is visible.
    """
    began = time.monotonic()
    data = prepare(workspace, training)
    if not len(data.rows.example_ids):
        return _commit_outcome(workspace, training, data, Outcome("empty", "no example left in the training set", 0, 0), [])
    torch.manual_seed(keyed.key_seed(f"init/{training.arch}/{training.seed}"))
    recipe, shape = training.recipe, data.preprocessing
    model = models.build(training.arch, num_classes=len(data.class_names), in_channels=shape.channels, size=shape.size).to(device)
    if recipe.channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = _optimizer(model, recipe)
    outcome = Outcome("done", "all epochs", 0, 0)
    snapshots: list[int] = []
    if (state := checkpoint.load_resume(workspace.files, training.id)) is not None:
        outcome.epochs, tensors, progress = state
        checkpoint.unpack(tensors, model, optimizer)
        outcome.metrics, snapshots, outcome.seconds = progress["metrics"], progress["snapshots"], progress["seconds"]
        # Snapshots asked for only now, or whose commit is gone, need the epochs before the state: start over, the same numbers come out.
        if any(e <= outcome.epochs for e in ledger.uncovered_snapshots(workspace, training)):
            return _restart(workspace, training, device=device, report=report)
    per_epoch = steps_per_epoch(len(data.rows.example_ids), recipe)
    saved, before = time.monotonic(), outcome.seconds
    for epoch, metrics, diverged in fit(model, optimizer, data, training, device=device, start=outcome.epochs):
        outcome.epochs, outcome.steps = epoch, epoch * per_epoch
        outcome.metrics.append(metrics)
        if diverged is not None:
            outcome.status, outcome.steps = "diverged", diverged
            outcome.stop_reason = f"the loss was not finite at step {diverged} (epoch {epoch})"
            break
        stop = recipe.stop_train_acc is not None and float(metrics["acc1"] or 0) >= recipe.stop_train_acc
        last = stop or epoch == recipe.epochs
        snapshot = last or epoch in training.snapshots
        if snapshot or (training.eval_every and epoch % training.eval_every == 0):
            outcome.metrics.append(evaluate(model, data, recipe, epoch, device))
        if snapshot:
            _commit_checkpoint(workspace, training, data, model, epoch, outcome.metrics)
            snapshots.append(epoch)
        report(epoch)
        if stop:
            outcome.stop_reason = f"training accuracy {metrics['acc1']:.4f} reached {recipe.stop_train_acc}"
        if last:
            break
        if snapshot or time.monotonic() - saved > _RESUME_SECONDS:
            saved = time.monotonic()
            progress = {"metrics": outcome.metrics, "snapshots": snapshots, "seconds": before + saved - began}
            checkpoint.save_resume(workspace.files, training.id, epoch, checkpoint.pack(model, optimizer), progress)
    outcome.seconds = before + time.monotonic() - began
    return _commit_outcome(workspace, training, data, outcome, snapshots)


def _restart(workspace: Workspace, training: Training, *, device: torch.device, report: Callable[[int], None]) -> Outcome:
    checkpoint.drop_resume(workspace.files, training.id)
    return run_training(workspace, training, device=device, report=report)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True)
        case "adam":
            return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)


def _commit_checkpoint(
    workspace: Workspace, training: Training, data: TrainingData, model: nn.Module, epoch: int, metrics: Sequence[Metrics]
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
    ref = checkpoint.save_checkpoint(workspace.files, key, model, {**what, "spec": training.identity})
    workspace.commits.publish("checkpoint", key, identity=what, facts={**what, **accuracy, "versions": _versions()}, files=[ref])


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "numpy", "classifier-zoo")} | {"python": platform.python_version()}


def _commit_outcome(workspace: Workspace, training: Training, data: TrainingData, outcome: Outcome, snapshots: list[int]) -> Outcome:
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
        "images": int(outcome.epochs * steps_per_epoch(len(rows.example_ids), training.recipe) * training.recipe.batch_size)
        if training.recipe.steps_per_epoch
        else outcome.epochs * len(rows.example_ids),
        "threads": torch.get_num_threads(),
        "versions": _versions(),
    }
    seen = np.zeros(data.examples, dtype=np.uint16)
    seen[unique] = np.minimum(copies, np.iinfo(np.uint16).max)
    ledger.commit_training(workspace, training, facts, seen)
    checkpoint.drop_resume(workspace.files, training.id)
    return outcome


def train_one(workspace: Workspace, training: Training, device: torch.device, on_epoch: Callable[[int], None]) -> str | None:
    """Run one training; a failure is written down and returned as a sentence, so that the rest of a batch goes on.

    Raises:
        StoreError: the storage is at fault, so the rest would fail alike.
    """
    try:
        run_training(workspace, training, device=device, report=on_epoch)
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - one broken training must not end the sweep; the reason is recorded and shown
        reason = f"{type(error).__name__}: {error}"
        record_failure(workspace, training.id, reason, traceback.format_exc())
        return reason
    return None
