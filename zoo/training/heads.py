"""The trainer ``heads``: hundreds of heads on the same features, as one program.

Weights of K heads lie as one tensor [K, out, in], as do their gradients and moments, so that the
optimiser's step is a handful of operations for all; the products with the features are one small
matrix product per head, of rows gathered into a buffer that stays in the core's cache (on a GPU one
batched product for all). Each head has its own examples, labels, weights, order and steps, drawn by
the same keys as in the one training loop (``zoo.training.loop``), and what follows an epoch is the
same code for every trainer. Gradients are written out: heads are linear layers with ReLU between.

Shape letters: K heads, B examples of a step, D numbers of a feature vector, M classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.models.heads import Standardised
from zoo.spec import Recipe, Training
from zoo.training.course import Course, moment_names
from zoo.training.loop import Metrics, StoppedError, Within
from zoo.training.schedule import epoch_batches, learning_rate

__all__ = ["Stack", "logits_of_heads", "train_heads"]

_CACHE_BYTES = 6_000_000
"""Of gathered rows that are worked on at a time on a CPU: they are read twice, and should still be
in a cache; below, more calls of small operations cost more than the cache saves (measured)."""
_BLOCK = 64
"""Steps whose examples are looked up at once."""
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


# ---------------------------------------------------------------- the computation


class Stack:
    """Heads of one architecture as one: parameters, gradients and moments, each [K, P] with P the
    parameters of one head in the order of ``named_parameters``.

    Args:
        heads: networks of ``zoo.models.heads``; their values are copied.
        recipe: optimiser and label smoothing.
    """

    def __init__(self, heads: Sequence[nn.Module], recipe: Recipe) -> None:
        self._recipe = recipe
        named = list(heads[0].named_parameters())
        self._shapes = [(name, tuple(values.shape)) for name, values in named]
        if [len(shape) for _, shape in self._shapes] != [2, 1] * (len(named) // 2):
            raise ValueError(f"{self._shapes}: not the weights and biases of linear layers")
        self.values = torch.stack(
            [torch.cat([p.detach().reshape(-1) for p in head.parameters()]) for head in heads]
        )
        self._gradients = torch.zeros_like(self.values)
        count = 2 if recipe.optimizer != "sgd" else 1 if recipe.momentum else 0
        self.moments = [torch.zeros_like(self.values) for _ in range(count)]
        self.steps = torch.zeros(len(heads), dtype=torch.float64, device=self.values.device)
        """Optimiser steps that each head has made."""
        self._rows = torch.empty(0)

    def of(self, flat: Tensor) -> dict[str, Tensor]:
        """[k, P] -> parameter -> [k, its shape], views."""
        sizes = [math.prod(shape) for _, shape in self._shapes]
        return {
            name: part.view(len(flat), *shape)
            for (name, shape), part in zip(
                self._shapes, torch.split(flat, sizes, dim=1), strict=True
            )
        }

    def _layers(self, flat: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(weights [k, out, in], biases [k, out]) of each layer."""
        parts = list(self.of(flat).values())
        return list(zip(parts[0::2], parts[1::2], strict=True))

    def step(
        self,
        features: Tensor,
        examples: Tensor,
        labels: Tensor,
        share: Tensor,
        counts: Tensor,
        rates: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One optimiser step of the first k heads.

        Args:
            features: [E, D], standardised.
            examples: int64 [k, B], rows of ``features``.
            labels: int64 [k, B].
            share: [k, B], what each example's loss counts in its head's: weight / count.
            counts: int64 [k], how many of the B are examples of the step; the rest have share 0.
            rates: [k], learning rates.

        Returns:
            (losses [k], hits int64 [k, 2]: top 1 and top 5.)
        """
        heads, batch = examples.shape
        width, group = features.shape[1], heads
        if features.device.type == "cpu":
            row_bytes = batch * width * features.element_size()
            group = max(1, min(heads, _CACHE_BYTES // row_bytes))
        if self._rows.shape != (group, batch, width) or self._rows.dtype != features.dtype:
            self._rows = features.new_empty(group, batch, width)
        self.steps[:heads] += 1
        steps, kind = self.steps[:heads, None], self.values.dtype
        root = (1 - _BETA2**steps).sqrt().to(kind)
        along = rates[:, None] / (1 - _BETA1**steps).to(kind)
        found = []
        for start in range(0, heads, group):
            part = slice(start, min(start + group, heads))
            found.append(self._backward(features, part, examples[part], labels[part], share[part]))
            self._update(part, rates[part, None], along[part], root[part])
        z, loss = (torch.cat(parts) for parts in zip(*found, strict=True))
        there = torch.arange(batch, device=counts.device) < counts[:, None]  # [k, B]
        return (loss * share).sum(1), _hits(z, labels, there & torch.isfinite(loss))

    def _backward(
        self,
        features: Tensor,
        part: slice,
        examples: Tensor,
        labels: Tensor,
        share: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits [k, M, B] and losses [k, B] of some heads; their gradients are written."""
        count, batch = examples.shape
        rows = self._rows[:count]
        torch.index_select(
            features, 0, examples.reshape(-1), out=rows.view(count * batch, rows.shape[2])
        )
        layers, gradients = self._layers(self.values[part]), self._layers(self._gradients[part])
        inputs = [rows.transpose(1, 2)]  # [k, in, B] of each layer
        for number, (weight, bias) in enumerate(layers):
            z = _products(weight, inputs[-1]).add_(bias[:, :, None])  # [k, out, B]
            if number + 1 < len(layers):
                inputs.append(z.relu_())
        # Written out: torch's own softmax over a dimension that is not the last takes ten times it.
        own = labels[:, None]  # [k, 1, B]
        shifted = z - z.amax(1, keepdim=True)  # [k, M, B]
        own_shifted = shifted.gather(1, own)[:, 0]
        smoothing, classes = self._recipe.label_smoothing, z.shape[1]
        if smoothing:
            own_shifted = (1 - smoothing) * own_shifted + smoothing * shifted.mean(1)
        delta = shifted.exp_()
        total = delta.sum(1, keepdim=True)
        loss = total[:, 0].log().sub_(own_shifted)  # [k, B]
        delta /= total
        if smoothing:
            delta -= smoothing / classes
        delta.scatter_add_(1, own, delta.new_full(own.shape, smoothing - 1))
        delta *= share[:, None]
        for number in reversed(range(len(layers))):
            of_weight, of_bias = gradients[number]
            _products(delta, inputs[number].transpose(1, 2), of_weight)
            torch.sum(delta, 2, out=of_bias)
            if number:
                delta = _products(layers[number][0].transpose(1, 2), delta)
                delta *= inputs[number] > 0
        return z, loss

    def _update(self, part: slice, rates: Tensor, along: Tensor, root: Tensor) -> None:
        """The optimiser's step of some heads, as torch makes it (``torch.optim``).

        Args:
            rates: [k, 1].
            along, root: [k, 1], of Adam: the rate and the root of the second moment's weight, for
                moments that began at 0.
        """
        recipe, values, gradient = self._recipe, self.values[part], self._gradients[part]
        if recipe.weight_decay and recipe.optimizer == "adamw":
            values *= 1 - rates * recipe.weight_decay
        elif recipe.weight_decay:
            gradient.add_(values, alpha=recipe.weight_decay)
        if recipe.optimizer == "sgd":
            if recipe.momentum:
                gradient = self.moments[0][part].mul_(recipe.momentum).add_(gradient)
            values.addcmul_(gradient, rates, value=-1)
            return
        mean, square = (moment[part] for moment in self.moments)
        mean.lerp_(gradient, 1 - _BETA1)
        square.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        # gradient is done with: it holds the denominator
        torch.sqrt(square, out=gradient).div_(root).add_(_EPSILON)
        values.sub_(gradient.reciprocal_().mul_(mean).mul_(along))

    def keep(self, order: Sequence[int]) -> None:
        """Leave these heads, in this order."""
        chosen = torch.tensor(list(order), dtype=torch.int64, device=self.values.device)
        self.values, self._gradients = self.values[chosen], self._gradients[chosen]
        self.moments = [moment[chosen] for moment in self.moments]
        self.steps = self.steps[chosen]


def _products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """[k, a, b] times [k, b, c]. On a CPU one product after the other: of matrices as thin as these
    a batched product was measured to take twice as long."""
    if left.device.type != "cpu":
        return torch.bmm(left, right) if out is None else torch.bmm(left, right, out=out)
    if out is None:
        out = left.new_empty(len(left), left.shape[1], right.shape[2])
    for index in range(len(left)):
        torch.mm(left[index], right[index], out=out[index])
    return out


def _hits(z: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """[k, 2] hits of top 1 and top 5 among logits [k, M, B] of the examples ``asked`` [k, B], ties
    to the lowest class, as ``zoo.training.loop`` counts them."""
    own = labels[:, None]
    mine = z.gather(1, own)
    lower = torch.arange(z.shape[1], device=z.device)[None, :, None] < own
    rank = ((z > mine) | ((z == mine) & lower)).sum(1, dtype=torch.int32)  # [k, B]
    rank[~asked] = z.shape[1] + 5
    return torch.stack(((rank < 1).sum(1), (rank < 5).sum(1)), 1)


def logits_of_heads(heads: Sequence[nn.Module], features: Tensor) -> list[Tensor]:
    """Logits [n, M] of each of some heads on features [n, D], as they are stored. Heads that
    standardise alike share one product of their first layers."""
    alike: dict[int, list[int]] = {}
    first: list[Standardised] = []
    for number, head in enumerate(heads):
        own = next(head.children())
        assert isinstance(own, Standardised)
        same = next((k for k, other in enumerate(first) if own.equals(other)), len(first))
        if same == len(first):
            first.append(own)
        alike.setdefault(same, []).append(number)
    found: dict[int, Tensor] = {}
    for same, members in alike.items():
        layers = [list(heads[number].children())[1:] for number in members]
        into = [rest[0] for rest in layers]
        weight = torch.cat([layer.get_parameter("weight") for layer in into])
        bias = torch.cat([layer.get_parameter("bias") for layer in into])
        z = nn.functional.linear(first[same](features), weight, bias)
        widths = [len(layer.get_parameter("bias")) for layer in into]
        for number, rest, part in zip(members, layers, torch.split(z, widths, dim=1), strict=True):
            found[number] = nn.Sequential(*rest[1:])(part.contiguous())
    return [found[number] for number in range(len(heads))]


# ---------------------------------------------------------------- trainings in it


@dataclass(eq=False)
class _Seat:
    """A training under way and the rest of its epoch."""

    course: Course
    epoch: int = 0
    batches: list[NDArray[np.int64]] = field(default_factory=list)
    done: int = 0
    seen: int = 0
    losses: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    hits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))

    def begin(self) -> None:
        """The next epoch, or what is left of one."""
        training, data = self.course.training, self.course.data
        self.epoch = self.course.outcome.epochs + 1
        self.batches = epoch_batches(len(data.rows), training.recipe, training.seed, self.epoch)
        self.losses = np.zeros(len(self.batches), dtype=np.float32)
        self.hits = np.zeros(2, dtype=np.int64)
        self.done = self.seen = 0
        if (within := self.course.within) is not None:
            self.done, self.seen = within.step, within.seen
            self.losses[...] = within.tensors["losses"].numpy()
            self.hits[...] = within.tensors["hits"].numpy()

    @property
    def left(self) -> int:
        return len(self.batches) - self.done

    def place(self) -> Within:
        """Where the epoch stands."""
        return Within(
            self.done,
            self.seen,
            {
                "losses": torch.from_numpy(self.losses),
                "hits": torch.from_numpy(self.hits.astype(np.float32)),
                "trained": torch.arange(self.done),
                "rng": torch.get_rng_state(),  # a head draws nothing
            },
        )

    def result(self) -> tuple[int, Metrics, int | None]:
        """(epoch, training metrics, step of divergence or None), as the one training loop gives
        them."""
        finite = np.isfinite(self.losses)
        loss = float(self.losses.astype(np.float64).mean()) if finite.all() else None
        metrics: Metrics = {
            "epoch": self.epoch,
            "split": "train",
            "acc1": float(self.hits[0]) / self.seen,
            "acc5": float(self.hits[1]) / self.seen,
            "loss": loss,
        }
        first = (self.epoch - 1) * len(self.batches)
        return self.epoch, metrics, None if loss is not None else first + int(np.argmin(finite))


def train_heads(
    courses: Sequence[Course],
    device: torch.device,
    fail: Callable[[Training, Exception], None],
    should_stop: Callable[[], bool],
) -> None:
    """Train heads of one architecture, recipe and data set to their ends.

    Args:
        fail: told of a training that raised; it leaves, the others go on.

    Raises:
        StoppedError: if ``should_stop`` said so; all states are saved.
    """
    if not courses:
        return
    features = _standardised(courses[0], device)
    recipe = courses[0].training.recipe
    stack = Stack([course.model for course in courses], recipe)
    seats = [_Seat(course) for course in courses]
    for number, seat in enumerate(seats):
        seat.course.used("heads")
        _take_moments(stack, number, seat.course)
    while seats:
        for seat in seats:
            seat.course.share(len(seats))
            seat.begin()
        # Those with most steps first: who still takes part in a step is then a prefix.
        order = sorted(range(len(seats)), key=lambda number: -seats[number].left)
        seats = [seats[number] for number in order]
        stack.keep(order)
        stopped = _epoch(stack, seats, features, should_stop)
        stays = []
        for number, seat in enumerate(seats):
            try:
                _leave(stack, number, seat.course)
                if stopped:
                    seat.course.keep(seat.place, stop=True)
                elif not seat.course.after(*seat.result()):
                    stays.append(number)
            except Exception as error:  # noqa: BLE001 - one broken training must not end the others
                fail(seat.course.training, error)
        if stopped:
            raise StoppedError
        seats = [seats[number] for number in stays]
        if seats:
            stack.keep(stays)


def _epoch(
    stack: Stack, seats: Sequence[_Seat], features: Tensor, should_stop: Callable[[], bool]
) -> bool:
    """The rest of an epoch of all, most steps first; whether it was stopped."""
    stopped = False
    losses: list[Tensor] = []
    hits = torch.zeros(len(seats), 2, dtype=torch.int64, device=features.device)
    made = 0
    for first in range(0, seats[0].left, _BLOCK):
        block = _Block.of(seats, first, features)
        for step in range(block.steps):
            active = sum(seat.left > first + step for seat in seats)
            loss, hit = stack.step(
                features,
                block.examples[step, :active],
                block.labels[step, :active],
                block.share[step, :active],
                block.counts[step, :active],
                block.rates[step, :active],
            )
            losses.append(loss)
            hits[:active] += hit
            made += 1
            if stopped := should_stop():
                break
        if stopped:
            break
    # One synchronisation per epoch.
    found = [loss.cpu().numpy() for loss in losses]
    counted = hits.cpu().numpy()
    for number, seat in enumerate(seats):
        for step in range(min(made, seat.left)):
            seat.losses[seat.done] = found[step][number]
            seat.seen += len(seat.batches[seat.done])
            seat.done += 1
        seat.hits = seat.hits + counted[number]
    return stopped


@dataclass(frozen=True)
class _Block:
    """What some steps of all seats take: [steps, K, B] each, counts and rates [steps, K]."""

    steps: int
    examples: Tensor
    labels: Tensor
    share: Tensor
    counts: Tensor
    rates: Tensor

    @classmethod
    def of(cls, seats: Sequence[_Seat], first: int, features: Tensor) -> _Block:
        """Of the steps from ``first`` on, counted from where each seat stands."""
        todo = [seat.batches[seat.done + first : seat.done + first + _BLOCK] for seat in seats]
        steps = max(map(len, todo))
        most = max(len(batch) for batches in todo for batch in batches)
        shape = steps, len(seats), most
        examples, labels = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        share, rates = np.zeros(shape), np.zeros(shape[:2])
        counts = np.zeros(shape[:2], dtype=np.int64)
        for number, (seat, batches) in enumerate(zip(seats, todo, strict=True)):
            if not batches:
                continue
            rows, recipe = seat.course.data.rows, seat.course.training.recipe
            sizes = np.array([len(batch) for batch in batches])
            chosen = np.concatenate(batches)
            step = np.repeat(np.arange(len(batches)), sizes)
            place = np.arange(len(chosen)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            examples[step, number, place] = rows.example_ids[chosen]
            labels[step, number, place] = rows.labels[chosen]
            share[step, number, place] = rows.weights[chosen] / sizes[step]
            counts[: len(batches), number] = sizes
            per_epoch = len(seat.batches)
            before = (seat.epoch - 1) * per_epoch + seat.done + first
            rates[: len(batches), number] = [
                learning_rate(recipe, before + index, per_epoch) for index in range(len(batches))
            ]
        device, kind = features.device, features.dtype
        return cls(
            steps,
            torch.from_numpy(examples).to(device),
            torch.from_numpy(labels).to(device),
            torch.from_numpy(share).to(device, kind),
            torch.from_numpy(counts).to(device),
            torch.from_numpy(rates).to(device, kind),
        )


def _standardised(course: Course, device: torch.device) -> Tensor:
    """The features of the training split as a head's first linear layer sees them, [E, D]."""
    held, first = course.data.features, next(course.model.children())
    assert held is not None
    assert isinstance(first, Standardised)
    with torch.inference_mode():
        found = torch.from_numpy(held.vectors).to(device)
        made: Tensor = first(found)
    return made.clone()


def _take_moments(stack: Stack, number: int, course: Course) -> None:
    """Read a head's optimiser into the stack, where it has a state."""
    named = dict(course.model.named_parameters())
    for slot, moment in zip(moment_names(course.training.recipe), stack.moments, strict=False):
        for name, values in stack.of(moment).items():
            state = course.optimizer.state.get(named[name], {})
            if state.get(slot) is not None:
                values[number] = state[slot]
            stack.steps[number] = float(state.get("step", 0.0))


def _leave(stack: Stack, number: int, course: Course) -> None:
    """Put a head's part of the stack into its network and optimiser."""
    slots = moment_names(course.training.recipe)[: len(stack.moments)]
    here = slice(number, number + 1)
    values = stack.of(stack.values[here])
    moments = [stack.of(moment[here]) for moment in stack.moments]
    with torch.no_grad():
        for name, parameter in course.model.named_parameters():
            parameter.copy_(values[name][0])
            if not slots:
                continue
            state = {
                slot: moment[name][0].clone() for slot, moment in zip(slots, moments, strict=True)
            }
            if "exp_avg" in state:
                state["step"] = stack.steps[number].float()
            course.optimizer.state[parameter] = state
