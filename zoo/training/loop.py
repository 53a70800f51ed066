"""The one training loop: epochs of steps, and evaluation."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zoo import keyed
from zoo.machine import own_cpus
from zoo.spec import Recipe, Training
from zoo.training.schedule import epoch_batches, learning_rate, steps_per_epoch
from zoo.training.tensors import augment, normalise
from zoo.trainsets.inputs import Pictures
from zoo.trainsets.prepare import TrainingData

__all__ = [
    "EVALUATION_BATCH",
    "Metrics",
    "StoppedError",
    "Within",
    "evaluate",
    "evaluate_rows",
    "evaluation_batch",
    "fit",
    "top_hits",
]


EVALUATION_BATCH = 256
"""256 small pictures and their activations stay in a core's cache; batches of 1,024 were measured
slower."""
_EVALUATION_BYTES, _EVALUATION_BYTES_GPU = 1 << 30, 8 << 30
_SMALL_SIDE, _LARGE_PICTURES_BYTES = 64, 128 << 20
"""On a CPU pictures of more pixels than 64 x 64 are shown few at a time, so that what one layer
hands the next is still in the cache (``tools/bench/backbones.py``)."""
_BYTES_PER_PIXEL = 512
"""Of activations at once, for a pixel of the input: two maps of 64 channels of its size, as VGG-16
has them, the most of the networks that see large pictures."""
_FETCH_THREADS, _MOST_FETCH_THREADS = 2, 32
Metrics = dict[str, float | int | str | None]


def evaluation_batch(side: int, device: torch.device) -> int:
    """Pictures of ``side`` x ``side`` pixels that a network is shown at a time where it does not
    train: 256 at most, and as many as keep activations within 1 GiB (128 MiB of pictures larger
    than 64 pixels; 8 GiB on a GPU)."""
    most = _EVALUATION_BYTES if device.type == "cpu" else _EVALUATION_BYTES_GPU
    if device.type == "cpu" and side > _SMALL_SIDE:
        most = _LARGE_PICTURES_BYTES
    return max(1, min(EVALUATION_BATCH, most // (_BYTES_PER_PIXEL * side * side)))


# ---------------------------------------------------------------- the loop


class StoppedError(Exception):
    """A training was asked to stop and has saved where it stands: no failure."""


@dataclass(frozen=True)
class Within:
    """Where an epoch stands after a step: what the rest of it depends on, beside weights, optimiser
    and keys.

    ``step``: steps of the epoch that are done. ``seen``: examples trained on. ``tensors``: losses
        and indices of the steps, hits, and the state of torch's generators (drop-out and
        augmentation draw from a stream that begins with the epoch).
    """

    step: int
    seen: int
    tensors: Mapping[str, Tensor]


def _stream(device: torch.device) -> dict[str, Tensor]:
    """State of the generators that an epoch draws from."""
    found = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        found["rng_device"] = torch.cuda.get_rng_state(device)
    return found


def _go_on_with(stream: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(stream["rng"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(stream["rng_device"], device)


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    training: Training,
    *,
    device: torch.device,
    start: int = 0,
    within: Within | None = None,
    on_step: Callable[[Callable[[], Within]], None] | None = None,
) -> Iterator[tuple[int, Metrics, int | None]]:
    """Train epoch by epoch from ``start`` on; yields (epoch, training metrics, step of divergence
    or None) after each.

    Accuracy and loss are the running ones of the epoch, over the batches as they were trained on.
    On divergence the loop ends.

    Args:
        start: epochs that are done.
        within: steps of the next one that are done too.
        on_step: called after each step with a function that says where the epoch stands; what it
            raises ends the loop.
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
        trained: list[int] = []
        seen = first = 0
        if within is not None:
            first, seen, kept = within.step, within.seen, within.tensors
            losses, hits = kept["losses"].to(device), kept["hits"].to(device)
            trained = kept["trained"].tolist()
            _go_on_with(kept, device)
            within = None
        for index, (positions, raw) in enumerate(
            _fetch(data.augmented_at(epoch, training.seed), batches[first:], device), first
        ):
            # Of a batch that lost pictures, a single one is not enough for batch normalisation.
            if len(raw) < min(2, len(batches[index])):
                continue
            step = (epoch - 1) * per_epoch + index
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, per_epoch)
            y = labels[positions]
            x = normalise(
                augment(raw, recipe, cropped=data.cropped),
                data.preprocessing,
                channels_last=recipe.channels_last,
            )
            with _autocast(recipe, device):
                logits = model(x)
            logits = logits.float()
            loss_each = functional.cross_entropy(
                logits, y, reduction="none", label_smoothing=recipe.label_smoothing
            )
            if weighted:
                loss_each = loss_each * weights[positions]
            loss = loss_each.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[index] = loss.detach()
            trained.append(index)
            hits += top_hits(logits.detach(), y)
            seen += len(y)
            if on_step is not None:
                on_step(partial(_within, index + 1, seen, losses, hits, trained, device))
        # One synchronisation per epoch: the first loss that is not finite names the step.
        finite = torch.isfinite(losses).cpu().numpy()
        metrics: Metrics = {
            "epoch": epoch,
            "split": "train",
            "acc1": float(hits[0]) / seen if seen else None,
            "acc5": float(hits[1]) / seen if seen else None,
            "loss": float(losses[trained].double().mean()) if trained and finite.all() else None,
        }
        if not finite.all():
            yield epoch, metrics, (epoch - 1) * per_epoch + int(np.argmin(finite))
            return
        yield epoch, metrics, None


def _within(
    step: int, seen: int, losses: Tensor, hits: Tensor, trained: list[int], device: torch.device
) -> Within:
    tensors = {"losses": losses, "hits": hits, "trained": torch.tensor(trained, dtype=torch.int64)}
    return Within(step, seen, tensors | _stream(device))


def evaluate(
    model: nn.Module, data: TrainingData, recipe: Recipe, epoch: int, device: torch.device
) -> Metrics:
    """Accuracy (top 1, top 5) and mean cross-entropy on the test split; unreadable and unlabelled
    examples do not count. All None where there is no test split.

    In float32, as the classifier answers later, whatever precision it was trained in. A loss that
    is not finite is None.
    """
    if data.test is None:
        return {"epoch": epoch, "split": "test", "acc1": None, "acc5": None, "loss": None}
    ids = np.flatnonzero(data.test_labels >= 0).astype(np.int64)
    ids = ids[~np.isin(ids, list(data.unreadable.get("test", {})))]
    return {
        "epoch": epoch,
        "split": "test",
        **_measured(model, data.test, ids, data.test_labels, data, recipe, device),
    }


def evaluate_rows(
    model: nn.Module, data: TrainingData, recipe: Recipe, epoch: int, device: torch.device
) -> Metrics:
    """As ``evaluate``, on the training rows: their pictures as treated (not augmented) and their
    labels as trained on."""
    rows = np.arange(len(data.rows), dtype=np.int64)
    measured = _measured(model, data.train_at(epoch), rows, data.rows.labels, data, recipe, device)
    return {"epoch": epoch, "split": "train-eval", **measured}


def _measured(
    model: nn.Module,
    pictures: Pictures,
    positions: NDArray[np.int64],
    labels: NDArray[np.int64],
    data: TrainingData,
    recipe: Recipe,
    device: torch.device,
) -> Metrics:
    model.eval()
    y_all = torch.from_numpy(labels).to(device)
    hits, total, count = torch.zeros(2, device=device), 0.0, 0
    size = evaluation_batch(data.preprocessing.size, device)
    with torch.inference_mode():
        for batch, raw in _fetch(
            pictures, np.split(positions, range(size, len(positions), size)), device
        ):
            if not len(raw):
                continue
            y = y_all[batch]
            logits = model(normalise(raw, data.preprocessing, channels_last=recipe.channels_last))
            hits += top_hits(logits, y)
            total += float(functional.cross_entropy(logits, y, reduction="sum"))
            count += len(y)
    nothing = count == 0
    return {
        "acc1": None if nothing else float(hits[0]) / count,
        "acc5": None if nothing else float(hits[1]) / count,
        "loss": None if nothing or not np.isfinite(total) else total / count,
    }


def _autocast(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    return (
        torch.autocast(device.type, dtype=torch.bfloat16)
        if recipe.precision == "bf16"
        else contextlib.nullcontext()
    )


def top_hits(logits: Tensor, labels: Tensor) -> Tensor:
    """[top-1 hits, top-5 hits]. Ties: lowest class first, as everywhere in zoo. A row with a logit
    that is not finite is a miss."""
    own = logits.gather(1, labels[:, None])
    lower = torch.arange(logits.shape[1], device=logits.device)[None, :] < labels[:, None]
    rank = (logits > own).sum(1) + ((logits == own) & lower).sum(1)
    answered = torch.isfinite(logits).all(1)
    return torch.stack((((rank < 1) & answered).sum(), ((rank < 5) & answered).sum())).float()


def _fetch_threads(device: torch.device) -> int:
    """Threads that decode ahead: two beside a CPU that trains; beside a GPU all the CPUs of this
    process up to 32, since decoding takes several of them to keep up (``tools/bench/feeding.py``).
    The order of the pictures does not depend on it."""
    if device.type == "cpu":
        return _FETCH_THREADS
    return max(_FETCH_THREADS, min(_MOST_FETCH_THREADS, own_cpus()))


def _fetch(
    pictures: Pictures, batches: Sequence[NDArray[np.int64]], device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """(positions, uint8 pictures) of what can be read of each batch; a streamed split is decoded
    ahead in threads."""

    def load(batch: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        images, unreadable = pictures.gather(batch)
        if unreadable is not None:
            # Black pictures would still count in batch normalisation.
            images, batch = images[~unreadable], batch[~unreadable]
        raw = torch.from_numpy(np.ascontiguousarray(images))
        if device.type == "cuda":
            raw = raw.pin_memory()
        return torch.from_numpy(batch).to(device), raw.to(device, non_blocking=True)

    if not pictures.streamed:
        yield from map(load, batches)
        return
    threads = _fetch_threads(device)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        ahead: collections.deque[concurrent.futures.Future[tuple[Tensor, Tensor]]] = (
            collections.deque()
        )
        for batch in batches:
            ahead.append(pool.submit(load, batch))
            if len(ahead) > threads + _FETCH_THREADS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
