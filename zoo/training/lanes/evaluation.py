"""``LANES`` networks of one architecture in evaluation mode, on the same pictures.

Batch normalisation is folded into the convolution before it, in float64, and what follows a
convolution (an addition, a ReLU, a pool of windows that do not overlap) is done where its sums are
made. A few blocks of images are taken through all layers that have small weights before the next
few, so that what is made stays in the second-level cache; layers whose weights are larger than what
they work on take more blocks at a time. A network's logits do not depend on its lane, the networks
beside it or the number of pictures, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from zoo.training.lanes import convolutions, kernels
from zoo.training.lanes import evaluation_kernels as own
from zoo.training.lanes.graph import Layer, Network
from zoo.training.lanes.kernels import ACTIVATIONS, IMAGES
from zoo.training.lanes.program import Array, Place, Slot, Work, is_depthwise, slots
from zoo.training.lanes.vectors import LANES, allocate

__all__ = ["Evaluation", "Weights", "laid"]

_MOST_BLOCKS = 16
"""Blocks that are taken at a time where the weights are much larger than what they work on."""


def laid(pictures: Array) -> Array:
    """Pictures [n, K, H, W] as ``Evaluation`` takes them, [places, 1]: ``[block][y][x][channel]
    [image]``; the last block is filled up with its first picture."""
    n = len(pictures)
    rest = -n % IMAGES
    if rest:
        pictures = np.concatenate([pictures, np.repeat(pictures[-1:], rest, axis=0)])
    _, channels, height, width = pictures.shape
    blocks = pictures.reshape(-1, IMAGES, channels, height, width)
    return np.ascontiguousarray(blocks.transpose(0, 3, 4, 2, 1)).reshape(-1, 1)


@dataclass(frozen=True)
class _Step:
    """One layer with what is done along with it.

    ``norm``: of a convolution, the normalisation that is folded into it. ``more``: the value that
    is added. ``pool``: side of the windows of which the largest is taken, 1 = none. ``activation``:
    the last thing that is done.
    """

    layer: Layer
    output: int
    norm: Layer | None = None
    more: int | None = None
    pool: int = 1
    activation: str = "none"

    @property
    def inputs(self) -> tuple[int, ...]:
        return self.layer.inputs if self.more is None else (*self.layer.inputs, self.more)


@dataclass
class _Segment:
    """Steps that take the same number of blocks at a time."""

    blocks: int
    steps: list[_Step] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)


class Weights:
    """Of ``LANES`` networks, as a program takes them: packed weights of convolutions, and by output
    of a step [channels, LANES] twice: what it is multiplied by (where that is not folded) and what
    is added."""

    def __init__(self, program: Evaluation) -> None:
        self._program = program
        self.packed = allocate(program.size, program.dtype)
        self.scales = {
            step.output: self._pair(program.network.shapes[step.layer.output][2])
            for step in program.steps
            if step.layer.kind in ("norm", "convolution")
        }

    def _pair(self, channels: int) -> tuple[Array, Array]:
        return tuple(allocate(channels, self._program.dtype) for _ in range(2))  # type: ignore[return-value]

    @property
    def bytes(self) -> int:
        return self.packed.nbytes + sum(a.nbytes for pair in self.scales.values() for a in pair)

    def put(self, lane: int, state: Mapping[str, Array]) -> None:
        """Take a network's state (by torch's names) into a lane."""
        for step in self._program.steps:
            if step.output not in self.scales:
                continue
            factor, addend = (a.reshape(-1, LANES) for a in self.scales[step.output])
            names = step.layer.tensors
            norm = step.layer if step.layer.kind == "norm" else step.norm
            gain, offset = (1.0, 0.0) if norm is None else _gain(norm, state)
            factor[:, lane] = gain
            if step.layer.kind == "norm":
                addend[:, lane] = offset
                continue
            weight = np.asarray(state[names["weight"]])
            bias = np.asarray(state[names["bias"]], np.float64) if "bias" in names else 0.0
            addend[:, lane] = bias * gain + offset
            if norm is not None and not is_depthwise(self._program.network, step.layer):
                weight = weight.astype(np.float64) * np.reshape(gain, (-1, 1, 1, 1))
            if is_threes(self._program.network, step.layer):
                weight = weight.astype(np.float64) @ _TO_PRODUCTS.T
            slot = self._program.slots[names["weight"]]
            rows = self.packed.reshape(-1, LANES)[slot.start : slot.start + slot.size]
            rows[:, lane] = slot.packed(weight)


class Evaluation:
    """Args:
    tensors: name -> shape, of the module's state, in its order.
    dtype: float32; float64 for comparisons.
    """

    _now: Weights
    """Of the networks whose logits are being made."""
    _pictures: Array

    def __init__(
        self, network: Network, tensors: Mapping[str, tuple[int, ...]], *, dtype: Any = np.float32
    ) -> None:
        # The last value: the pictures, in every lane, for layers that are no convolutions.
        network = replace(network, shapes=(*network.shapes, network.shapes[0]))
        self.network, self.dtype = network, dtype
        made = {layer.tensors["weight"] for layer in network.layers if layer.kind == "convolution"}
        self.slots = _transformed(
            network, slots(network, {name: s for name, s in tensors.items() if name in made})
        )
        self.size = sum(slot.size for slot in self.slots.values())
        self._zero, self._none = allocate(1, dtype), allocate(1, dtype)
        self._none[...] = -np.inf
        self._window = allocate(_window(network), dtype)
        self.steps = _fused(network)
        self._segments = self._cut()
        self._most = self._segments[-1].blocks
        self._places = self._place()
        for segment in self._segments:
            segment.works = [work for step in segment.steps for work in self._works(step)]

    @property
    def bytes(self) -> int:
        """Taken by values."""
        return sum({id(p.array): p.array.nbytes for p in self._places.values()}.values())

    def logits(self, networks: Weights, pictures: Array, n: int) -> Array:
        """[LANES, n, M] of n pictures as ``laid`` lays them."""
        self._now = networks
        height, width, channels = self.network.shapes[0]
        size = height * width * channels * IMAGES
        blocks = len(pictures) // size
        classes = self.network.shapes[self.network.answer][2]
        found = np.empty((LANES, blocks, IMAGES, classes), dtype=self.dtype)
        answer = self._places[self.network.answer]
        for first in range(0, blocks, self._most):
            count = min(self._most, blocks - first)
            self._pictures = pictures[first * size : (first + count) * size]
            for segment in self._segments:
                for start in range(0, count, segment.blocks):
                    for work in segment.works:
                        work(start, min(segment.blocks, count - start))
            values = answer.array.reshape(-1, LANES)[: count * classes * IMAGES]
            values = values.reshape(count, classes, IMAGES, LANES)
            found[:, first : first + count] = values.transpose(3, 0, 2, 1)
        return found.reshape(LANES, blocks * IMAGES, classes)[:, :n]

    # ------------------------------------------------------------ where values lie

    def _size(self, value: int) -> int:
        """Vectors of a value, of a block."""
        height, width, channels = self.network.shapes[value]
        return height * width * channels * IMAGES

    def _cut(self) -> list[_Segment]:
        """Steps by how many blocks they take at a time: a power of two that grows, so that weights
        are read once for as much work as they are large."""
        segments = [_Segment(1)]
        for step in self.steps:
            blocks = segments[-1].blocks
            if step.layer.kind == "convolution":
                weights = self.slots[step.layer.tensors["weight"]].size
                values = self._size(step.output) + sum(
                    self._size(value) // (1 if value else LANES) for value in step.inputs
                )
                while blocks < _MOST_BLOCKS and blocks * values < weights:
                    blocks *= 2
            if blocks > segments[-1].blocks and segments[-1].steps:
                segments.append(_Segment(blocks))
            segments[-1].blocks = blocks
            segments[-1].steps.append(step)
        return segments

    def _place(self) -> dict[int, Place]:
        """Where each value lies: those that leave their segment, of all blocks; the others in
        scratch, in which room is used again when its value was used for the last time."""
        made_in: dict[int, int] = {}
        last: dict[int, tuple[int, int]] = {self.network.answer: (len(self._segments), 0)}
        for number, segment in enumerate(self._segments):
            for i, step in enumerate(segment.steps):
                made_in[step.output] = number
                for value in step.inputs:
                    last[value] = max(last.get(value, (0, 0)), (number, i))
        places: dict[int, Place] = {}
        scratch: list[tuple[int, int]] = []
        ends = 0
        for number, segment in enumerate(self._segments):
            held: dict[int, tuple[int, int]] = {}
            for i, step in enumerate(segment.steps):
                size = self._size(step.output)
                if last.get(step.output, (number, i))[0] > number:
                    array = allocate(self._most * size, self.dtype)
                    places[step.output] = Place(array, 0, size)
                else:
                    start = _free(sorted(held.values()), segment.blocks * size)
                    held[step.output] = (start, start + segment.blocks * size)
                    scratch.append((step.output, start))
                    ends = max(ends, start + segment.blocks * size)
                for value in list(held):
                    if last.get(value, (number, i)) <= (number, i):
                        del held[value]
        arena = allocate(ends, self.dtype)
        return places | {value: Place(arena, start, 0) for value, start in scratch}

    # ------------------------------------------------------------ layers as work

    def _works(self, step: _Step) -> list[Work]:
        layer, z = step.layer, self._places[step.output]
        if layer.kind == "convolution":
            return self._convolution(step, z)
        if layer.kind == "spread":
            size = self._size(0)
            return [lambda b, n: own.spread(self._pictures, z.array, z.at(b), b * size, n * size)]
        sources = [self._places[value] for value in layer.inputs]
        x, shapes = sources[0], self.network.shapes
        height, width, channels = shapes[layer.inputs[0]]
        positions, row = height * width, height * width * channels * IMAGES
        out = shapes[layer.output]
        match layer.kind:
            case "norm":
                return [self._scaled(step, x, z, layer.settings["activation"], positions, channels)]
            case "activation":
                return [self._activation(layer.settings["activation"], x, z, row)]
            case "max_pool":
                g = _geometry(self.network, layer)
                return [lambda b, n: kernels.max_pool(x.array, x.at(b), z.array, z.at(b), n, g)]
            case "average_pool":
                g, padded = _geometry(self.network, layer), bool(layer.settings["padded"])
                return [
                    lambda b, n: kernels.average_pool(
                        x.array, x.at(b), z.array, z.at(b), n, g, padded
                    )
                ]
            case "thinned":
                thinned = (height, width, channels, *out[:2], layer.settings["stride"])
                return [lambda b, n: own.thin(x.array, x.at(b), z.array, z.at(b), n, thinned)]
            case "widened":
                first = layer.settings["first"]
                return [
                    lambda b, n: own.widen(
                        x.array, x.at(b), channels, z.array, z.at(b), out[2], first, n * positions
                    )
                ]
            case "gate":
                s = sources[1]
                return [
                    lambda b, n: kernels.gate(
                        x.array, x.at(b), s.array, s.at(b), z.array, z.at(b), positions, channels, n
                    )
                ]
            case "add":
                copied = _copy(x, channels, 0, z, channels, 0, channels, positions)
                y = sources[1]
                return [
                    copied,
                    lambda b, n: kernels.add(y.array, y.at(b), z.array, z.at(b), n * row),
                ]
            case "part":
                first = layer.settings["first"]
                return [_copy(x, channels, first, z, out[2], 0, out[2], positions)]
            case "join":
                works, first = [], 0
                for value, source in zip(layer.inputs, sources, strict=True):
                    count = shapes[value][2]
                    works.append(_copy(source, count, 0, z, out[2], first, count, positions))
                    first += count
                return works
            case _:
                raise ValueError(layer.kind)

    def _scaled(
        self, step: _Step, x: Place, z: Place, activation: str, positions: int, channels: int
    ) -> Work:
        kind = ACTIVATIONS[activation]

        def work(b: int, n: int) -> None:
            factor, addend = self._now.scales[step.output]
            count = n * positions
            kernels.normalise(
                x.array, x.at(b), factor, addend, 0, kind, z.array, z.at(b), count, channels
            )

        return work

    def _activation(self, name: str, x: Place, z: Place, row: int) -> Work:
        kind = ACTIVATIONS[name]
        return lambda b, n: kernels.activate(x.array, x.at(b), kind, z.array, z.at(b), n * row)

    def _convolution(self, step: _Step, z: Place) -> list[Work]:
        layer = step.layer
        g, slot = _geometry(self.network, layer), self.slots[layer.tensors["weight"]]
        w = slot.start
        (value,) = layer.inputs
        channels = self.network.shapes[layer.output][2]
        if is_depthwise(self.network, layer):
            x = self._places[value]

            def each(b: int, n: int) -> None:
                convolutions.depthwise(
                    x.array, x.at(b), self._now.packed, w, z.array, z.at(b), n, g
                )

            return [each, self._scaled(step, z, z, step.activation, g[3] * g[4], channels)]
        source = self._source(value)
        floor = self._zero if step.activation == "relu" else self._none
        if step.pool > 1:

            def work(b: int, n: int) -> None:
                array, at = source(b)
                packed, addend = self._now.packed, self._now.scales[step.output][1]
                own.convolve_pooled(
                    array,
                    at,
                    packed,
                    w,
                    addend,
                    0,
                    floor,
                    z.array,
                    z.at(b),
                    n,
                    g,
                    step.pool,
                    self._window,
                )

        elif is_threes(self.network, layer):
            return [self._threes(step, z), *self._last(step, z)]
        elif step.more is None and _is_dense(g):
            shape = (*g[:3], channels)

            def work(b: int, n: int) -> None:
                array, at = source(b)
                packed, addend = self._now.packed, self._now.scales[step.output][1]
                own.dense(
                    array, at, packed, w, addend, self._zero, floor, z.array, z.at(b), n, shape
                )

        else:
            more = self._more(step)

            def work(b: int, n: int) -> None:
                array, at = source(b)
                packed, addend = self._now.packed, self._now.scales[step.output][1]
                own.convolve(
                    array,
                    at,
                    packed,
                    w,
                    addend,
                    0,
                    more.array,
                    more.at(b),
                    floor,
                    z.array,
                    z.at(b),
                    n,
                    g,
                )

        return [work, *self._last(step, z)]

    def _more(self, step: _Step) -> Place:
        return Place(self._zero, -1, 0) if step.more is None else self._places[step.more]

    def _last(self, step: _Step, z: Place) -> list[Work]:
        """The activation of a convolution's sums, where its kernel does not make it."""
        if step.activation in ("none", "relu"):
            return []
        return [self._activation(step.activation, z, z, self._size(step.output))]

    def _threes(self, step: _Step, z: Place) -> Work:
        layer, slot = step.layer, self.slots[step.layer.tensors["weight"]]
        height, width, inputs = self.network.shapes[layer.inputs[0]]
        g = height, width, inputs, self.network.shapes[layer.output][2]
        strip, some = _strip(g), _part(inputs)
        x, more = self._places[layer.inputs[0]], self._more(step)
        floor = self._zero if step.activation == "relu" else self._none
        tiles = -(-width // 4)
        rooms = 6 * (strip + 2) * tiles * inputs * IMAGES, 6 * strip * tiles * g[3] * IMAGES
        v, m = (allocate(size, self.dtype) for size in rooms)

        def work(b: int, n: int) -> None:
            own.convolve_threes(
                x.array,
                x.at(b),
                self._now.packed,
                slot.start,
                self._now.scales[step.output][1],
                more.array,
                more.at(b),
                self._zero,
                floor,
                z.array,
                z.at(b),
                n,
                g,
                strip,
                some,
                v,
                m,
            )

        return work

    def _source(self, value: int) -> Any:
        """(array, place) of a convolution's input at a block."""
        if value:
            place = self._places[value]
            return lambda b: (place.array, place.at(b))
        size = self._size(0)
        return lambda b: (self._pictures, b * size)


def _copy(
    x: Place,
    channels: int,
    first: int,
    z: Place,
    channels_out: int,
    first_out: int,
    count: int,
    positions: int,
) -> Work:
    return lambda b, n: kernels.copy_channels(
        x.array,
        x.at(b),
        channels,
        first,
        z.array,
        z.at(b),
        channels_out,
        first_out,
        count,
        n * positions,
        False,
    )


def _geometry(network: Network, layer: Layer) -> tuple[int, ...]:
    of = layer.settings
    return (
        *network.shapes[layer.inputs[0]],
        *network.shapes[layer.output],
        *of["kernel"],
        of["stride"],
        of["pad"],
        of["groups"],
    )


def _gain(norm: Layer, state: Mapping[str, Array]) -> tuple[Array, Array]:
    """What a normalisation in evaluation mode multiplies by and adds, float64 [channels]."""
    weight, bias, mean, variance = (
        np.asarray(state[norm.tensors[name]], np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    gain = weight / np.sqrt(variance + norm.settings["epsilon"])
    return gain, bias - mean * gain


_TO_PRODUCTS = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""A row of a kernel -> what its six products are made with (``evaluation_kernels``)."""
_CHANNELS = 16
_STRIP_BYTES = 3 << 19
"""Most of a second-level cache."""


def is_threes(network: Network, layer: Layer) -> bool:
    """Whether a convolution is made with half of the products."""
    _, width, inputs = network.shapes[layer.inputs[0]]
    of, outputs = layer.settings, network.shapes[layer.output][2]
    shaped = tuple(of["kernel"]) == (3, 3) and (of["stride"], of["pad"], of["groups"]) == (1, 1, 1)
    return shaped and layer.inputs[0] != 0 and inputs >= 8 and outputs % 4 == 0 and width >= 4


def _is_dense(g: tuple[int, ...]) -> bool:
    """Whether a kernel of several rows is the whole picture."""
    height, width, _, high, wide, _, ky, kx, _, pad, groups = g
    return (high, wide, ky, kx, pad, groups) == (1, 1, height, width, 0, 1) and height > 1


def _transformed(network: Network, found: Mapping[str, Slot]) -> dict[str, Slot]:
    """Slots in which kernels whose products are halved have six numbers to a row, ``[6][part of the
    channels][3][out][in]``."""
    threes = {
        layer.tensors["weight"]
        for layer in network.layers
        if layer.kind == "convolution" and is_threes(network, layer)
    }
    made: dict[str, Slot] = {}
    start = 0
    for name, slot in found.items():
        if name in threes:
            outputs, inputs, rows, _ = slot.shape
            some = _part(inputs)
            split = (outputs, inputs // some, some, rows, 6)
            made[name] = Slot(start, (outputs, inputs, rows, 6), split, (4, 1, 3, 0, 2))
        else:
            made[name] = replace(slot, start=start)
        start += made[name].size
    return made


def _part(inputs: int) -> int:
    """Channels that are multiplied at a time: weights and what they are multiplied with fill half
    of a first-level cache."""
    return _CHANNELS if inputs % _CHANNELS == 0 else inputs


def _strip(g: tuple[int, int, int, int]) -> int:
    """Rows that are made at a time: as many as keep what is made on the way in the cache, or all
    where the weights, which are read anew for every strip, do not fit either."""
    height, width, inputs, outputs = g
    item = LANES * 4
    if 18 * inputs * outputs * item > _STRIP_BYTES:
        return height
    row = 6 * -(-width // 4) * (inputs + outputs) * IMAGES * item
    return int(min(height, max(2, _STRIP_BYTES // row)))


def _window(network: Network) -> int:
    """Vectors for the largest window that is pooled with its convolution."""
    sides = [layer.settings["kernel"][0] for layer in network.layers if layer.kind == "max_pool"]
    return max(sides, default=1) ** 2 * 6 * IMAGES


def _free(held: Sequence[tuple[int, int]], size: int) -> int:
    """The first place where so much fits between what is held, in order."""
    start = 0
    for begin, end in held:
        if begin - start >= size:
            break
        start = max(start, end)
    return start


# ---------------------------------------------------------------- what is done along with what


def _fused(network: Network) -> list[_Step]:
    """Layers as steps, in an order in which everything is there when it is wanted."""
    users: dict[int, int] = {network.answer: 1}
    for layer in network.layers:
        for value in layer.inputs:
            users[value] = users.get(value, 0) + 1
    steps: list[_Step] = []
    spread = len(network.shapes) - 1
    for layer in network.layers:
        now = layer
        if 0 in layer.inputs and (layer.kind != "convolution" or is_depthwise(network, layer)):
            if all(step.output != spread for step in steps):
                steps.append(_Step(Layer("spread", (0,), spread), spread))
            inputs = tuple(spread if value == 0 else value for value in layer.inputs)
            now = replace(layer, inputs=inputs)
        place, step = _joined(network, now, steps, users)
        if place is not None:
            del steps[place]
        steps.append(step)
    return steps


def _joined(
    network: Network,
    layer: Layer,
    steps: Sequence[_Step],
    users: Mapping[int, int],
) -> tuple[int | None, _Step]:
    """A layer as a step: (place of the convolution that takes it along, that step), or (None, a
    step of its own)."""
    for place in reversed(range(len(steps))):
        before = steps[place]
        if (
            before.layer.kind != "convolution"
            or before.output not in layer.inputs
            or users[before.output] > 1
        ):
            continue
        plain = before.activation == "none"
        bare = plain and before.more is None and before.pool == 1
        depthwise = is_depthwise(network, before.layer)
        match layer.kind:
            case "norm" if bare and before.norm is None:
                activation = layer.settings["activation"]
                return place, replace(
                    before, norm=layer, output=layer.output, activation=activation
                )
            case "activation" if plain:
                activation = layer.settings["activation"]
                return place, replace(before, output=layer.output, activation=activation)
            case "add" if bare and not depthwise and layer.inputs[0] != layer.inputs[1]:
                (other,) = (v for v in layer.inputs if v != before.output)
                return place, replace(before, output=layer.output, more=other)
            # The largest of what a ReLU has left is the ReLU of the largest.
            case "max_pool" if (
                before.activation in ("none", "relu")
                and before.more is None
                and before.pool == 1
                and not depthwise
                and not is_threes(network, before.layer)
                and _whole(network, layer)
            ):
                side = layer.settings["kernel"][0]
                return place, replace(before, output=layer.output, pool=side)
    return None, _Step(layer, layer.output)


def _whole(network: Network, layer: Layer) -> bool:
    """Whether a pool's windows neither overlap nor hang over."""
    height, width, _ = network.shapes[layer.inputs[0]]
    high, wide, _ = network.shapes[layer.output]
    side = layer.settings["kernel"][0]
    plain = bool(layer.settings["stride"] == side and layer.settings["pad"] == 0)
    return plain and high == height // side and wide == width // side
