"""The trainer ``stacked``: many networks that are alike, as one program of torch.

Parameters and running statistics of K networks lie stacked, and ``torch.func.vmap`` makes of one
forward pass that of all: products of the networks become batched products and grouped convolutions.
A small network is bound by the number of operations, each of which a GPU has to be told; K networks
need as many as one. Pictures lie on the device as uint8; they are gathered, mirrored, cropped and
normalised there, and the host reads nothing back within an epoch. On CUDA a step is captured as a
graph at its second use, so that it is told once.

Training sets may differ in size: in a step the networks whose batches are of one size are one
program (batch normalisation knows no batch that is partly empty), and who has no step left waits
for the others' epoch. What follows an epoch is the same code for every trainer; who ends leaves,
and the next in the row takes the place.

Shape letters: K networks, B examples of a step, H W C a picture.
"""

from __future__ import annotations

import collections
import copy
import functools
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from zoo import models
from zoo.spec import Recipe, Training
from zoo.training import rule
from zoo.training.course import Company, Course
from zoo.training.loop import top_hits
from zoo.training.seat import Block, Seat, after_epoch, in_ranges, ranges_of
from zoo.training.stack import Stack
from zoo.training.tensors import draw, moved
from zoo.trainsets.prepare import TrainingData

__all__ = ["MOST", "Networks", "Stacked", "cost", "has_kernels"]

MOST = rule.MOST["stacked"]
"""Networks at once: with 8 a step fills a GPU, with 100 its cache holds no layer of all of them and
small networks lose a sixth to a third (``python -m tools.bench gpu``, an H200)."""
_CPU_BYTES = 4 << 30
_GPU_SHARE = 0.8
_LOOK_SECONDS = 30.0
"""Between two looks, within an epoch, whether a state is due to be saved."""


# ---------------------------------------------------------------- the computation


class _Told(TorchFunctionMode):
    """What some operations are told, so that they are one for many networks.

    A mean over whole maps is written as a mean: torch's pooling has no rule for many networks whose
    pictures lie channels-last. Convolutions are this package's own kernels where there are such
    (``zoo.training.convolution``), batch normalisation is that of all channels of all networks. And
    bf16: autocast does not reach through ``vmap`` (torch 2.14), so that products are told their
    precision here, as autocast tells them.
    """

    _PRODUCTS = (functional.conv2d, functional.linear, torch.matmul)

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self._half = half

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.adaptive_avg_pool2d and args[1] in (1, (1, 1)):
            return args[0].mean((-2, -1), keepdim=True)
        if self._half and func in self._PRODUCTS:
            args = tuple(
                a.to(torch.bfloat16) if isinstance(a, Tensor) and a.dtype == torch.float32 else a
                for a in args
            )
        if func is functional.conv2d and (convolve := _kernels(args[0])) is not None:
            return _convolution(convolve, *args, **kwargs)
        if func is functional.batch_norm:
            return _normalised(*args, **kwargs)
        return func(*args, **kwargs)


def _kernels(x: Tensor) -> Callable[..., Tensor] | None:
    """This package's convolutions, where x can be their input: float32 on a GPU for which Triton
    compiles."""
    if not x.is_cuda or x.dtype != torch.float32 or not has_kernels():
        return None
    from zoo.training.convolution import convolve

    return convolve


@functools.cache
def has_kernels() -> bool:
    """Whether Triton is installed and compiles for the current CUDA device; what launches a kernel
    it builds with a C compiler, which an image may lack."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return (
        find_spec("triton") is not None
        and compiler is not None
        and torch.cuda.get_device_capability() >= (8, 0)
    )


def _convolution(
    convolve: Callable[..., Tensor],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] | str = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    """``conv2d`` as modules call it; what the kernels do not do stays torch's."""
    steps = set(stride)
    if groups > 1 or len(steps) > 1 or isinstance(padding, str) or set(dilation) != {1}:
        return functional.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return convolve(x, weight, bias, steps.pop(), tuple(padding))


class _Norm(torch.autograd.Function):
    """Batch normalisation of one network under ``vmap``, made as one of the channels of all.

    torch's own rule asks on CUDA what it cannot know of pictures that lie channels-last (torch
    2.11).
    """

    @staticmethod
    def forward(x: Tensor, *args: Any) -> Tensor:
        found: Tensor = torch.batch_norm(x, *args)
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing: the gradient is that of all."""

    @staticmethod
    def vmap(
        _info: Any, in_dims: Sequence[int | None], x: Tensor, *args: Any
    ) -> tuple[Tensor, int]:
        assert in_dims[0] is not None
        x = x.movedim(in_dims[0], 1)  # [B, k, C, ...]
        merged = [
            a if dim is None else a.movedim(dim, 0).flatten()
            for a, dim in zip(args, in_dims[1:], strict=True)
        ]
        found: Tensor = torch.batch_norm(x.flatten(1, 2), *merged)
        return found.view(x.shape), 1


def _normalised(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``batch_norm`` as modules call it; running statistics are updated in place."""
    found: Tensor = _Norm.apply(
        x, weight, bias, mean, variance, training, momentum, eps, torch.backends.cudnn.enabled
    )
    return found


def _answer(
    network: nn.Module, values: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor
) -> Tensor:
    """Logits [k, B, M] of k networks on their own pictures [k, B, C, H, W]; running statistics are
    updated in place."""

    def one(values: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(network, (values, buffers), (x,))
        return found

    logits: Tensor = torch.func.vmap(one, randomness="error")(values, buffers, x)
    return logits


class Networks(Stack):
    """Networks of one architecture as one, and their steps.

    Args:
        networks: in training mode; their values are copied.
        recipe: optimiser, smoothing, augmentation, precision, layout.
        scaling: of each network, mean and standard deviation of a picture's channels, of numbers in
            0..1.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        recipe: Recipe,
        scaling: Sequence[tuple[Sequence[float], Sequence[float]]],
    ) -> None:
        super().__init__(networks, recipe)
        self._one = copy.deepcopy(networks[0]).to("meta").train()
        held = [dict(network.named_buffers()) for network in networks]
        self.buffers = {name: torch.stack([own[name] for own in held]) for name in held[0]}
        device, kind = self.values.device, self.values.dtype
        mean, std = (
            torch.tensor(np.array(part), device=device) for part in zip(*scaling, strict=True)
        )
        self._mean = mean.float().mul(255).to(kind)[:, None, None, :]  # [K, 1, 1, C]
        self._scale = std.float().mul(255).reciprocal().to(kind)[:, None, None, :]
        self._pictures: list[Tensor] = []
        self._graphs: dict[object, _Graph | None] = {}
        # On a GPU kernels decide how pictures had best lie, whatever the recipe says.
        half = recipe.precision == "bf16"
        self._last = half if device.type == "cuda" else recipe.channels_last
        self.captured = device.type == "cuda"
        """Whether steps are captured as CUDA graphs."""
        self._pool: Any = None

    def show(self, pictures: Sequence[Tensor]) -> None:
        """The pictures of each network, uint8 [E, H, W, C]; they may be one tensor."""
        if [p.data_ptr() for p in pictures] != [p.data_ptr() for p in self._pictures]:
            self._graphs.clear()
        self._pictures = list(pictures)

    def step(self, part: slice, given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """One optimiser step of some networks.

        Args:
            given: int64 [k, B], which of their pictures; int64 [k, B], labels; [k, B], what each
                example's loss counts in its network's; [k], learning rates; and what was drawn for
                the pictures of all, the first of each network first (``draw``).

        Returns:
            (losses [k], hits float [k, 2]: top 1 and top 5). The next step may overwrite them.
        """
        if not self.captured:
            return self._made(part, *given)
        key = part.start, part.stop, given[0].shape[1]
        graph = self._graphs.get(key)
        if graph is None and key in self._graphs:
            try:
                graph = _Graph(lambda *args: self._made(part, *args), given, self._pool)
                self._graphs[key], self._pool = graph, graph.pool
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                warnings.warn(
                    "a step of the trainer stacked could not be captured as a CUDA graph; it goes"
                    f" on without: {str(error).splitlines()[0]}",
                    stacklevel=2,
                )
                self.captured = False
        if graph is not None:
            return graph(given)
        self._graphs[key] = None  # used once
        return self._made(part, *given)

    def _made(
        self,
        part: slice,
        examples: Tensor,
        labels: Tensor,
        share: Tensor,
        rates: Tensor,
        *drawn: Tensor,
    ) -> tuple[Tensor, Tensor]:
        recipe, half = self.recipe, self.recipe.precision == "bf16"
        leaf = self.values[part].detach().requires_grad_()
        buffers = {name: held[part] for name, held in self.buffers.items()}
        with _Told(half=half):
            logits = _answer(self._one, self.of(leaf), buffers, self._input(part, examples, drawn))
        if half:
            logits = logits.float()
        each = functional.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            reduction="none",
            label_smoothing=recipe.label_smoothing,
        )
        losses = (each.view(share.shape) * share).sum(1)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        self.update(part, gradient, self.counted(part, rates))
        hits: Tensor = torch.func.vmap(top_hits)(logits.detach(), labels)
        return losses.detach(), hits

    def _input(self, part: slice, examples: Tensor, drawn: Sequence[Tensor]) -> Tensor:
        """[k, B, C, H, W] of pictures [k, B], lying so that the channels of all networks are those
        of one picture."""
        held, size = self._pictures[part], examples.shape[1]
        if all(pictures is held[0] for pictures in held):
            raw = held[0][examples.flatten()]
        else:
            raw = torch.cat([pictures[own] for pictures, own in zip(held, examples, strict=True)])
        if drawn:
            raw = moved(raw, *drawn)
        x = raw.view(len(held), size, *raw.shape[1:]).transpose(0, 1)  # [B, k, H, W, C]
        x = (x.to(self.values.dtype) - self._mean[part]).mul_(self._scale[part])
        if self._last:
            return x.permute(0, 2, 3, 1, 4).contiguous().permute(3, 0, 4, 1, 2)
        return x.permute(0, 1, 4, 2, 3).contiguous().transpose(0, 1)

    def keep(self, order: Sequence[int]) -> None:
        super().keep(order)
        chosen = torch.tensor(list(order), dtype=torch.int64, device=self.values.device)
        self.buffers = {name: held[chosen] for name, held in self.buffers.items()}
        self._mean, self._scale = self._mean[chosen], self._scale[chosen]
        self._pictures = []
        self._graphs.clear()

    def leave(self, number: int, course: Course) -> None:
        super().leave(number, course)
        with torch.no_grad():
            for name, buffer in course.model.named_buffers():
                buffer.copy_(self.buffers[name][number])


class _Graph:
    """Some work on the current CUDA device, told once: run again on other numbers of the same
    shapes.

    Args:
        pool: memory of an earlier one, to be shared: what either gives is read before the other
            runs.
    """

    def __init__(
        self, work: Callable[..., tuple[Tensor, Tensor]], given: Sequence[Tensor], pool: Any
    ) -> None:
        self._given = [values.clone() for values in given]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._found = work(*self._given)
        self.pool = self._graph.pool()

    def __call__(self, given: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        for mine, values in zip(self._given, given, strict=True):
            mine.copy_(values)
        self._graph.replay()
        return self._found


@dataclass(frozen=True)
class Cost:
    """Numbers that one network needs: trained ones, and for each picture of a batch the activations
    of all layers."""

    parameters: int
    activations: float

    def bytes(self, recipe: Recipe) -> float:
        """Memory of one network among others, about: values, gradients, moments; activations and
        what flows back through them."""
        batch = recipe.batch_size + 1  # a single left-over row joins the batch before it
        return 4 * (6 * self.parameters + 2 * batch * self.activations)


def cost(arch: str, classes: int, channels: int, size: int, recipe: Recipe) -> Cost | str:
    """What networks of an architecture need as one program, or why they cannot be one. Two of them
    are tried, without memory (torch's meta device)."""
    if recipe.precision == "bf16" and models.model(arch).build.startswith("timm:"):
        return "precision bf16 of a network of timm; it is made for this package's own"
    with torch.device("meta"):
        network = models.build(arch, num_classes=classes, in_channels=channels, size=size).train()
    for module in network.modules():
        rate = getattr(module, "p", 0) or getattr(module, "drop_prob", 0)
        if "Drop" in type(module).__name__ and rate:
            return f"{type(module).__name__} draws for all networks from one stream"
    counted = [0]

    def count(_module: nn.Module, _given: object, found: object) -> None:
        counted[0] += found.numel() if isinstance(found, Tensor) else 0

    images, networks = 2, 2
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    many = {
        name: torch.empty(networks, *values.shape, dtype=values.dtype, device="meta")
        for name, values in (*network.named_parameters(), *network.named_buffers())
    }
    values = {name: many[name].requires_grad_() for name, _ in network.named_parameters()}
    buffers = {name: many[name] for name, _ in network.named_buffers()}
    pictures = torch.empty(networks, images, channels, size, size, device="meta")
    try:
        with _Told(half=recipe.precision == "bf16"):
            logits = _answer(network, values, buffers, pictures)
        torch.autograd.grad(logits.float().sum(), list(values.values()), allow_unused=True)
    except Exception as error:  # noqa: BLE001 - networks fail with whatever their layers raise
        return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
    return Cost(sum(p.numel() for p in network.parameters()), counted[0] / images)


# ---------------------------------------------------------------- trainings in it


class _Resident:
    """Pictures on the device: those that trainings share lie there once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._held: dict[int, tuple[NDArray[np.uint8], Tensor]] = {}

    def of(self, images: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
        """The same on the device; others than these are let go."""
        self._held = {key: self._held[key] for key in map(id, images) if key in self._held}
        for each in images:
            if id(each) not in self._held:
                self._held[id(each)] = each, torch.tensor(each, device=self._device)
        return [self._held[id(each)][1] for each in images]


class Stacked(Company):
    """Trainings like the first, as one program.

    Args:
        cost: of one network.
    """

    def __init__(
        self, data: TrainingData, recipe: Recipe, device: torch.device, cost: Cost
    ) -> None:
        super().__init__(data)
        self._recipe, self._device = recipe, device
        self._resident = _Resident(device)
        free = _CPU_BYTES
        if device.type == "cuda":
            free = int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
        self.room = max(1, min(MOST, int(free // cost.bytes(recipe))))
        """Networks at once."""

    def train(
        self,
        first: Course,
        take: Callable[[], Course | None],
        fail: Callable[[Training, Exception], None],
        should_stop: Callable[[], bool],
    ) -> None:
        """Train the first and all that ``take`` gives.

        Args:
            take: the next training, or None for good.
            fail: told of a training that raised; it leaves, the others go on.

        Raises:
            StoppedError: if ``should_stop`` said so; all states are saved.
        """
        waiting = collections.deque([first])
        seats: list[Seat] = []
        stack: Networks | None = None
        while True:
            while len(seats) < self.room:
                course = waiting.popleft() if waiting else take()
                if course is None:
                    break
                course.used("stacked")
                seats.append(Seat(course, self._device))
                stack = None
            if not seats:
                return
            for seat in seats:
                seat.begin()
            fault: Exception | None = None
            stopped = False
            try:
                order = in_ranges(seats)
                seats = [seats[number] for number in order]
                if stack is None:
                    stack = self.stack_of([seat.course for seat in seats])
                elif order != sorted(order):
                    stack.keep(order)
                stopped = self.epoch(stack, seats, should_stop)
            except Exception as error:  # noqa: BLE001 - told to all below, or fewer try again
                fault = error.with_traceback(None)  # frames would hold on to memory
            if fault is not None:
                stack = None
                for seat in seats:
                    seat.course.within = seat.place() if seat.done else None
                if isinstance(fault, torch.OutOfMemoryError) and len(seats) > 1:
                    self._halve(len(seats), fault)
                    waiting.extendleft(seat.course for seat in reversed(seats[self.room :]))
                    seats = seats[: self.room]
                    continue
                for seat in seats:
                    fail(seat.course.training, fault)
                seats = []
                continue
            stays = after_epoch(seats, fail, stopped=stopped)
            if len(stays) < len(seats):
                seats = [seats[number] for number in stays]
                if stack is not None and seats:
                    stack.keep(stays)

    def stack_of(self, courses: Sequence[Course]) -> Networks:
        """Their networks as one, at the state they are in."""
        shapes = [course.data.preprocessing for course in courses]
        stack = Networks(
            [course.model for course in courses],
            self._recipe,
            [(shape.mean, shape.std) for shape in shapes],
        )
        for number, course in enumerate(courses):
            stack.take_moments(number, course)
            stack.leave(number, course)  # takes the memory that it needs after the epoch
        return stack

    def _halve(self, count: int, fault: Exception) -> None:
        self.room = count // 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        warnings.warn(
            f"{count} networks at once are more than the memory of {self._device} holds; trained"
            f" from here on are {self.room} at once. {str(fault).splitlines()[0]}",
            stacklevel=3,
        )

    def epoch(
        self, stack: Networks, seats: Sequence[Seat], should_stop: Callable[[], bool]
    ) -> bool:
        """The rest of an epoch of all, those with most steps first; whether it was stopped."""
        device, kind = self._device, stack.values.dtype
        held = [seat.course.data.held_at(seat.epoch) for seat in seats]
        stack.show(self._resident.of([images for images, _ in held]))
        steps = slice(0, seats[0].left)
        block = Block.of(seats, [where for _, where in held], steps, device, kind)
        ranges = [list(ranges_of(seats, step)) for step in range(block.steps)]
        losses = torch.zeros(block.steps, len(seats), device=device, dtype=kind)
        hits = torch.zeros(len(seats), 2, device=device)
        noted, looked, stopped = 0, time.monotonic(), False
        for step, parts in enumerate(ranges):
            for part, size in parts:
                given = [
                    block.examples[step, part, :size],
                    block.labels[step, part, :size],
                    block.share[step, part, :size],
                    block.rates[step, part],
                    *self._drawn(seats[part], size),
                ]
                losses[step, part], found = stack.step(part, given)
                hits[part] += found
            stopped = should_stop()
            due = time.monotonic() - looked > _LOOK_SECONDS
            if stopped or due or step + 1 == block.steps:
                _note(stack, seats, losses[noted : step + 1], hits)
                noted, looked = step + 1, time.monotonic()
                hits.zero_()
            if stopped:
                break
            if due and noted < block.steps:
                for seat in seats:
                    seat.course.keep(seat.place, stop=False)
        return stopped

    def _drawn(self, seats: Sequence[Seat], size: int) -> list[Tensor]:
        """What is drawn for the next batch of each, as in the one training loop, one after the
        other."""
        if self._recipe.augment == "none":
            return []
        each = [draw(size, self._recipe, self._device, seat.generator) for seat in seats]
        return [
            torch.cat(parts, dim=min(1, parts[0].ndim - 1)) for parts in zip(*each, strict=True)
        ]


def _note(stack: Networks, seats: Sequence[Seat], losses: Tensor, hits: Tensor) -> None:
    """Read what the last steps of all gave, losses [s, K], and put networks and optimisers where
    their steps have led: the one place where host and device meet."""
    found, counted = losses.cpu().numpy(), hits.cpu().numpy().astype(np.int64)
    for number, seat in enumerate(seats):
        seat.made(found[: seat.left, number], counted[number])
        stack.leave(number, seat.course)
