"""The trainer ``heads``: hundreds of heads on the same features, as one program.

Weights of K heads lie as one tensor [K, out, in], as do their gradients and moments, so that the
optimiser's step is a handful of operations for all; the products with the features are one small
matrix product per head, of rows gathered into a buffer that stays in the core's cache (on a GPU one
batched product for all). On a CPU, heads are done in one compiled pass each where numba is
installed and there is enough to do (``zoo.training.lanes.heads``). Each head has its own
examples, labels, weights, order and steps, drawn by the same keys as in the one training loop
(``zoo.training.loop``), and what follows an epoch is the same code for every trainer. Gradients are
written out: heads are linear layers with ReLU between.

Shape letters: K heads, B examples of a step, D numbers of a feature vector, M classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from zoo.models.heads import Standardised
from zoo.spec import Recipe, Training
from zoo.training.course import Course
from zoo.training.seat import Block, Seat, after_epoch, in_ranges, ranges_of
from zoo.training.stack import Stack

if TYPE_CHECKING:
    from zoo.training.lanes.heads import Kernel

__all__ = ["HeadStack", "logits_of_heads", "train_heads"]

_CACHE_BYTES = 6_000_000
"""Of gathered rows that are worked on at a time on a CPU: they are read twice, and should still be
in a cache; below, more calls of small operations cost more than the cache saves (measured)."""
_BLOCK = 64
"""Steps whose examples are looked up at once."""
_AT_ONCE = 1024
"""Feature vectors that are standardised at once."""
_WORTH_OPERATIONS = 4e11
"""Multiplications and additions, which take torch some 20 s of a core: below, compiling the kernel
(5 s, once per machine) or loading it takes what is won."""


_ALIGNED = 64
"""Bytes. On some processors a matrix product's last bits depend on where in memory its operands and
its result begin (measured: MKL on an AMD EPYC)."""


# ---------------------------------------------------------------- the computation


class HeadStack(Stack):
    """Heads as one, and their steps.

    Args:
        heads: networks of ``zoo.models.heads``; their values are copied.
        recipe: optimiser and label smoothing.
        fused: whether steps are made by ``zoo.training.lanes.heads``; torch makes those that it has
            no kernel for.
    """

    def __init__(self, heads: Sequence[nn.Module], recipe: Recipe, *, fused: bool = False) -> None:
        super().__init__(heads, recipe)
        shapes = list(self.shapes.values())
        self._fused = fused and _has_kernel(self)
        self._kernel: Kernel | None = None
        if [len(shape) for shape in shapes] != [2, 1] * (len(shapes) // 2):
            raise ValueError(f"{self.shapes}: not the weights and biases of linear layers")
        # Each head's numbers begin where the first one's do, by so many that nobody reads.
        self._numbers = self.values.shape[1]
        padding = -self._numbers % (_ALIGNED // self.values.element_size())
        self.values, *self.moments = (
            nn.functional.pad(flat, (0, padding)) for flat in (self.values, *self.moments)
        )
        self._gradients = torch.empty(0)
        self._rows = torch.empty(0)
        if fused and self.values.device.type == "cpu" and recipe.optimizer != "sgd":
            from zoo.training.lanes.adam import compiled_adam, is_torchs

            self.adam = compiled_adam if is_torchs(self.values.dtype) else self.adam

    def of(self, flat: Tensor) -> dict[str, Tensor]:
        return super().of(flat[:, : self._numbers])

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
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """One optimiser step of k heads.

        Args:
            features: [E, D], standardised.
            examples: int64 [k, B], rows of ``features``.
            labels: int64 [k, B].
            share: [k, B], what each example's loss counts in its head's: weight / count.
            counts: int64 [k], how many of the B are examples of the step; the rest have share 0.
            rates: [k], learning rates.
            first: number of the first of them.

        Returns:
            (losses [k], hits int64 [k, 2]: top 1 and top 5.)
        """
        heads, batch = examples.shape
        width, group = features.shape[1], heads
        if features.device.type == "cpu":
            row_bytes = batch * width * features.element_size()
            group = max(1, min(heads, _CACHE_BYTES // row_bytes))
        if not self._fused and (
            self._rows.shape != (group, batch, width) or self._rows.dtype != features.dtype
        ):
            self._rows = features.new_empty(group, batch, width)
        if len(self._gradients) < group:
            self._gradients = self.values.new_zeros(group, self.values.shape[1])
        self._gradients[:, self._numbers :] = 0
        backward = self._in_one_pass if self._fused else self._backward
        pace = self.counted(slice(first, first + heads), rates)
        found = []
        for start in range(0, heads, group):
            given = slice(start, min(start + group, heads))
            part = slice(first + given.start, first + given.stop)
            found.append(backward(features, part, examples[given], labels[given], share[given]))
            self.update(part, self._gradients[: part.stop - part.start], pace.of(given))
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
        layers, gradients = self._layers(self.values[part]), self._layers(self._gradients[:count])
        inputs = [rows.transpose(1, 2)]  # [k, in, B] of each layer
        for number, (weight, bias) in enumerate(layers):
            z = _products(weight, inputs[-1]).add_(bias[:, :, None])  # [k, out, B]
            if number + 1 < len(layers):
                inputs.append(z.relu_())
        # Written out: torch's own softmax over a dimension that is not the last takes ten times it.
        own = labels[:, None]  # [k, 1, B]
        shifted = z - z.amax(1, keepdim=True)  # [k, M, B]
        own_shifted = shifted.gather(1, own)[:, 0]
        smoothing, classes = self.recipe.label_smoothing, z.shape[1]
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

    def _in_one_pass(
        self,
        features: Tensor,
        part: slice,
        examples: Tensor,
        labels: Tensor,
        share: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As ``_backward``, compiled."""
        count, batch = examples.shape
        (weights, *_, last) = self.shapes.values()
        classes = last[0]
        if self._kernel is None or self._kernel.batch != batch:
            from zoo.training.lanes.heads import Kernel

            hidden = weights[0] if len(self.shapes) > 2 else 0
            self._kernel = Kernel(batch, weights[1], classes, hidden, features.numpy().dtype)
        z = features.new_empty(count, classes, batch)
        loss = features.new_empty(count, batch)
        self._kernel(
            features.numpy(),
            # Views of a batch that others' are longer than would be compiled for once more.
            examples.contiguous().numpy(),
            labels.contiguous().numpy(),
            share.contiguous().numpy(),
            self.values[part].numpy(),
            self.recipe.label_smoothing,
            self._gradients[:count].numpy(),
            z.numpy(),
            loss.numpy(),
        )
        return z, loss


def _has_kernel(stack: Stack) -> bool:
    """Whether steps of these may be made in one pass: of one layer or two, on a CPU, with numba."""
    shapes = list(stack.shapes.values())
    if len(shapes) > 4 or stack.values.device.type != "cpu":
        return False
    from zoo.training.lanes.heads import fits

    return fits(shapes[0][1])


def _worth(head: nn.Module, images: int) -> bool:
    """Whether heads like this one, shown so many pictures in all, take much more than compiling
    takes."""
    return images * sum(p.numel() for p in head.parameters()) * 4 >= _WORTH_OPERATIONS


def _products(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """[k, a, b] times [k, b, c]. On a CPU one product after the other: of matrices as thin as these
    a batched product was measured to take twice as long. What begins elsewhere than it would alone
    is copied, so that a product's bits are not its neighbours'."""
    if left.device.type != "cpu":
        return torch.bmm(left, right) if out is None else torch.bmm(left, right, out=out)
    if out is None:
        out = left.new_empty(len(left), left.shape[1], right.shape[2])
    for one, other, into in zip(left.unbind(), right.unbind(), out.unbind(), strict=True):
        if _begins_well(into):
            torch.mm(_aligned(one), _aligned(other), out=into)
        else:
            into.copy_(torch.mm(_aligned(one), _aligned(other)))
    return out


def _begins_well(matrix: Tensor) -> bool:
    return matrix.data_ptr() % _ALIGNED == 0


def _aligned(matrix: Tensor) -> Tensor:
    return matrix if _begins_well(matrix) else matrix.clone()


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


def train_heads(
    courses: Sequence[Course],
    device: torch.device,
    fail: Callable[[Training, Exception], None],
    should_stop: Callable[[], bool],
    images: int = 0,
    *,
    fused: bool | None = None,
) -> None:
    """Train heads of one architecture, recipe and data set to their ends.

    Args:
        fail: told of a training that raised; it leaves, the others go on.
        images: that all heads of the sweep like these are shown, these and those that are done.
        fused: as ``HeadStack`` takes it; None = where the sweep has enough to do for it.

    Raises:
        StoppedError: if ``should_stop`` said so; all states are saved.
    """
    if not courses:
        return
    features = _standardised(courses[0], device)
    recipe = courses[0].training.recipe
    fused = _worth(courses[0].model, images) if fused is None else fused
    stack = HeadStack([course.model for course in courses], recipe, fused=fused)
    seats = [Seat(course, device) for course in courses]
    for number, seat in enumerate(seats):
        seat.course.used("heads")
        stack.take_moments(number, seat.course)
    while seats:
        for seat in seats:
            seat.begin()
        order = in_ranges(seats)
        seats = [seats[number] for number in order]
        stack.keep(order)
        stopped = _epoch(stack, seats, features, should_stop)
        stays = after_epoch(seats, fail, stack.leave, stopped=stopped)
        seats = [seats[number] for number in stays]
        if seats:
            stack.keep(stays)


def _epoch(
    stack: HeadStack, seats: Sequence[Seat], features: Tensor, should_stop: Callable[[], bool]
) -> bool:
    """The rest of an epoch of all, in ranges; whether it was stopped.

    Heads whose batches are of one size make a step together: filled up to the size of others', a
    product would be summed in another order, and a head's last bits would be its neighbours'.
    """
    stopped = False
    losses: list[Tensor] = []
    hits = torch.zeros(len(seats), 2, dtype=torch.int64, device=features.device)
    places = [seat.course.data.rows.example_ids for seat in seats]
    made = 0
    for first in range(0, seats[0].left, _BLOCK):
        steps = slice(first, first + _BLOCK)
        block = Block.of(seats, places, steps, features.device, features.dtype)
        for step in range(block.steps):
            losses.append(features.new_zeros(len(seats)))
            for part, size in ranges_of(seats, first + step):
                losses[-1][part], hit = stack.step(
                    features,
                    block.examples[step, part, :size],
                    block.labels[step, part, :size],
                    block.share[step, part, :size],
                    block.counts[step, part],
                    block.rates[step, part],
                    part.start,
                )
                hits[part] += hit
            made += 1
            if stopped := should_stop():
                break
        if stopped:
            break
    # One synchronisation per epoch.
    found = [loss.cpu().numpy() for loss in losses]
    counted = hits.cpu().numpy()
    for number, seat in enumerate(seats):
        own = [found[step][number] for step in range(min(made, seat.left))]
        seat.made(np.array(own, dtype=np.float32), counted[number])
    return stopped


def _standardised(course: Course, device: torch.device) -> Tensor:
    """The features of the training split as a head's first linear layer sees them, [E, D]."""
    held, first = course.data.features, next(course.model.children())
    assert held is not None
    assert isinstance(first, Standardised)
    made = torch.empty(held.vectors.shape, device=device)
    with torch.no_grad():
        # Some at a time: all at once are the features twice more while it lasts.
        for start in range(0, len(made), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            made[part] = first(torch.from_numpy(held.vectors[part]).to(device))
    return made
