"""The one training loop: epochs of steps, and evaluation."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zoo import keyed
from zoo.spec import Recipe, Training
from zoo.training.schedule import epoch_batches, learning_rate, steps_per_epoch
from zoo.training.tensors import augment, normalise
from zoo.trainsets.inputs import Pictures
from zoo.trainsets.prepare import TrainingData

__all__ = ["EVALUATION_BATCH", "Metrics", "evaluate", "fit"]


EVALUATION_BATCH = 256
"""256 small pictures and their activations stay in a core's cache; batches of 1,024 were measured slower."""
_FETCH_THREADS = 2
Metrics = dict[str, float | int | str | None]


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
