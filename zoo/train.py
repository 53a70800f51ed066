"""The one training loop, and what surrounds it: resume, snapshot, evaluate, commit.

Everything random is keyed: initial weights by (architecture, seed), the order of pass p by (seed, p), dropout and augmentation by
(seed, epoch). So a training that was killed goes on from its newest state exactly as if nothing had happened, and arms of a comparison
that share a seed share their initial weights.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zoo import checkpoint, keyed, ledger, models
from zoo.inputs import Pictures
from zoo.spec import Preprocessing, Recipe, Training, classifier_id, content_id
from zoo.trainset import TrainingData, prepare
from zoo.workspace import Workspace

__all__ = ["Outcome", "epoch_batches", "evaluate", "fit", "learning_rate", "normalise", "run_training"]

EVALUATION_BATCH = 256
"""256 small pictures and their activations stay in a core's cache; batches of 1,024 were measured slower."""

_RESUME_SECONDS = 30.0
_FETCH_THREADS = 2
_ONECYCLE_RISE = 0.15

Metrics = dict[str, float | int | str | None]


@dataclass
class Outcome:
    """How a training ended. ``status``: done; diverged (a loss that is not finite, at step ``steps``); empty (no example left)."""

    status: Literal["done", "diverged", "empty"]
    stop_reason: str
    epochs: int
    steps: int
    metrics: list[Metrics] = field(default_factory=list)
    seconds: float = 0.0


# ---------------------------------------------------------------- order and schedule (no torch)


def steps_per_epoch(n: int, recipe: Recipe) -> int:
    """Optimiser steps of one epoch over n rows."""
    return recipe.steps_per_epoch or len(_cuts(n, recipe.batch_size)) + 1


def epoch_batches(n: int, recipe: Recipe, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Positions (into the n rows) of every batch of an epoch, 1-based.

    The stream of positions is pass after pass, each a permutation keyed by (seed, pass). Without ``steps_per_epoch`` an epoch is one pass,
    its last batch short (a single left-over row joins the batch before it: batch normalisation needs two). With it, an epoch is exactly
    that many full batches of the stream, wherever the passes end, so that training sets of different size get the same number of steps.
    """
    if recipe.steps_per_epoch is None:
        return np.split(_pass(n, seed, epoch - 1), _cuts(n, recipe.batch_size))
    need = recipe.steps_per_epoch * recipe.batch_size
    start = (epoch - 1) * need
    first, last = start // n, (start + need - 1) // n
    stream = np.concatenate([_pass(n, seed, number) for number in range(first, last + 1)])
    return np.split(stream[start - first * n : start - first * n + need], recipe.steps_per_epoch)


def _cuts(n: int, batch_size: int) -> list[int]:
    cuts = list(range(batch_size, n, batch_size))
    if cuts and n - cuts[-1] == 1:
        cuts.pop()
    return cuts


def _pass(n: int, seed: int, number: int) -> NDArray[np.int64]:
    generator = np.random.Generator(np.random.Philox(key=keyed.key_seed(f"order/{seed}/{number}")))
    return generator.permutation(n).astype(np.int64)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimiser step ``step`` (0-based, counted over the whole training)."""
    total = recipe.epochs * steps_per_epoch
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "cosine":
            return recipe.lr * 0.5 * (1 + float(np.cos(np.pi * step / total)))
        case "step":
            epoch = step // steps_per_epoch
            return recipe.lr * recipe.gamma ** sum(epoch >= round(milestone * recipe.epochs) for milestone in recipe.milestones)
        case "onecycle":
            rise = max(1.0, _ONECYCLE_RISE * total)
            return recipe.lr * min(1.0, (step + 1) / rise, (total - step) / max(1.0, total - rise))


# ---------------------------------------------------------------- the loop


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    training: Training,
    *,
    device: torch.device,
    start: int = 0,
) -> Iterator[tuple[int, Metrics, int | None]]:
    """Train epoch by epoch from ``start`` on; yields (epoch, training metrics, step of divergence or None) after each.

    Accuracy and loss are the running ones of the epoch, over the batches as they were trained on. On divergence the loop ends.
    """
    recipe, n = training.recipe, len(data.rows.example_ids)
    labels = torch.from_numpy(data.rows.labels).to(device)
    weights = torch.from_numpy(data.rows.weights).to(device)
    weighted = bool((data.rows.weights != 1).any())
    per_epoch = steps_per_epoch(n, recipe)
    for epoch in range(start + 1, recipe.epochs + 1):
        torch.manual_seed(keyed.key_seed(f"epoch/{training.seed}/{epoch}"))
        model.train()
        batches = epoch_batches(n, recipe, training.seed, epoch)
        losses = torch.zeros(len(batches), device=device)
        hits = torch.zeros(2, device=device)
        seen = 0
        for index, (positions, raw, readable) in enumerate(_fetch(data.train_at(epoch), batches, device)):
            step = (epoch - 1) * per_epoch + index
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, per_epoch)
            y = labels[positions]
            x = normalise(augment(raw, recipe), data.preprocessing, recipe)
            with _autocast(recipe, device):
                logits = model(x)
            logits = logits.float()
            loss_each = functional.cross_entropy(logits, y, reduction="none", label_smoothing=recipe.label_smoothing)
            if weighted:
                loss_each = loss_each * weights[positions]
            if readable is not None:
                loss_each, logits, y = loss_each[readable], logits[readable], y[readable]
            # A batch without a readable picture has no gradient; its sum is 0, its mean would not be finite.
            loss = loss_each.mean() if len(loss_each) else logits.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses[index] = loss.detach()
            hits += _hits(logits.detach(), y)
            seen += len(y)
        # One synchronisation per epoch: the first loss that is not finite names the step.
        finite = torch.isfinite(losses).cpu().numpy()
        metrics: Metrics = {
            "epoch": epoch,
            "split": "train",
            "acc1": float(hits[0]) / seen if seen else None,
            "acc5": float(hits[1]) / seen if seen else None,
            "loss": float(losses.double().mean()) if finite.all() else None,
        }
        if not finite.all():
            yield epoch, metrics, (epoch - 1) * per_epoch + int(np.argmin(finite))
            return
        yield epoch, metrics, None


def evaluate(model: nn.Module, data: TrainingData, recipe: Recipe, epoch: int, device: torch.device) -> Metrics:
    """Accuracy (top 1, top 5) and mean cross-entropy on the test split; unreadable and unlabelled examples do not count."""
    model.eval()
    ids = np.flatnonzero(data.test_labels >= 0).astype(np.int64)
    ids = ids[~np.isin(ids, list(data.unreadable.get("test", {})))]
    labels = torch.from_numpy(data.test_labels).to(device)
    hits, total, count = torch.zeros(2, device=device), 0.0, 0
    with torch.inference_mode():
        for positions, raw, readable in _fetch(data.test, np.split(ids, range(EVALUATION_BATCH, len(ids), EVALUATION_BATCH)), device):
            y = labels[positions]
            with _autocast(recipe, device):
                logits = model(normalise(raw, data.preprocessing, recipe)).float()
            if readable is not None:
                logits, y = logits[readable], y[readable]
            hits += _hits(logits, y)
            total += float(functional.cross_entropy(logits, y, reduction="sum"))
            count += len(y)
    nothing = count == 0
    return {
        "epoch": epoch,
        "split": "test",
        "acc1": None if nothing else float(hits[0]) / count,
        "acc5": None if nothing else float(hits[1]) / count,
        "loss": None if nothing or not np.isfinite(total) else total / count,
    }


def normalise(raw: Tensor, preprocessing: Preprocessing, recipe: Recipe | None = None) -> Tensor:
    """uint8 [n, H, W, K] -> float32 [n, K, H, W], (x / 255 - mean) / std per channel."""
    shape = (1, 1, 1, preprocessing.channels)
    mean = torch.tensor(preprocessing.mean, device=raw.device).mul(255).view(shape)
    scale = torch.tensor(preprocessing.std, device=raw.device).mul(255).reciprocal().view(shape)
    x = raw.float().sub_(mean).mul_(scale).permute(0, 3, 1, 2)
    # The pictures lie channels-last already; a permuted view is that memory format.
    return x if recipe is not None and recipe.channels_last else x.contiguous()


def augment(raw: Tensor, recipe: Recipe) -> Tensor:
    """Augmented pictures, uint8 [n, H, W, K], drawn from torch's generator (seeded per epoch)."""
    if recipe.augment == "none":
        return raw
    n, height, width, _ = raw.shape
    flip = torch.rand(n, device=raw.device) < 0.5
    raw = torch.where(flip.view(-1, 1, 1, 1), raw.flip(2), raw)
    if recipe.augment == "crop_flip":
        padded = functional.pad(raw, (0, 0, 4, 4, 4, 4))
        top, left = torch.randint(0, 9, (2, n, 1), device=raw.device)
        rows = (top + torch.arange(height, device=raw.device)).view(n, height, 1)
        columns = (left + torch.arange(width, device=raw.device)).view(n, 1, width)
        return padded[torch.arange(n, device=raw.device).view(n, 1, 1), rows, columns]
    if recipe.augment == "resized_crop_flip":
        # Area 8..100 % and aspect 3/4..4/3 as in the standard ImageNet recipe, by bilinear sampling of the whole batch at once.
        area = torch.empty(n, device=raw.device).uniform_(0.08, 1.0)
        aspect = torch.exp(torch.empty(n, device=raw.device).uniform_(float(np.log(3 / 4)), float(np.log(4 / 3))))
        wide, high = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
        shift = (torch.rand(2, n, device=raw.device) * 2 - 1) * torch.stack((1 - wide, 1 - high))
        zero = torch.zeros_like(wide)
        theta = torch.stack((torch.stack((wide, zero, shift[0]), 1), torch.stack((zero, high, shift[1]), 1)), 1)
        grid = functional.affine_grid(theta, [n, raw.shape[3], height, width], align_corners=False)
        sampled = functional.grid_sample(
            raw.permute(0, 3, 1, 2).float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        return sampled.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)
    return raw


def _autocast(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16) if recipe.precision == "bf16" else contextlib.nullcontext()


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """[top-1 hits, top-5 hits]. Ties: lowest class first, as everywhere in zoo."""
    own = logits.gather(1, labels[:, None])
    lower = torch.arange(logits.shape[1], device=logits.device)[None, :] < labels[:, None]
    rank = (logits > own).sum(1) + ((logits == own) & lower).sum(1)
    return torch.stack(((rank < 1).sum(), (rank < 5).sum())).float()


def _fetch(
    pictures: Pictures, batches: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """(ids, uint8 pictures, mask of readable ones or None for all) per batch; a streamed split is decoded ahead in threads."""

    def load(batch: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor | None]:
        images, unreadable = pictures.gather(batch)
        raw = torch.from_numpy(np.ascontiguousarray(images))
        if device.type == "cuda":
            raw = raw.pin_memory()
        readable = None if unreadable is None else torch.from_numpy(~unreadable).to(device)
        return torch.from_numpy(batch).to(device), raw.to(device, non_blocking=True), readable

    if not pictures.streamed:
        yield from map(load, batches)
        return
    with concurrent.futures.ThreadPoolExecutor(_FETCH_THREADS) as pool:
        ahead: collections.deque[concurrent.futures.Future[tuple[Tensor, Tensor, Tensor | None]]] = collections.deque()
        for batch in batches:
            ahead.append(pool.submit(load, batch))
            if len(ahead) > 2 * _FETCH_THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


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
