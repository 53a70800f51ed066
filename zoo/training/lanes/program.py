"""A network, its buffers and its order of work, for ``LANES`` networks at once.

**Phases.** Batch normalisation needs the whole batch before its first image can go on, so layers
are sorted into phases that end there. Within a phase a few blocks of images are taken through all
of its layers before the next few: what a phase makes and uses stays in the second-level cache
(``scratch``). Kept for the backward pass is what convolutions made; activations, pooling and
normalisation are computed again there, which costs less than reading them from memory. A dense
layer whose weights are larger than the cache is a phase by itself, so that they are read once for
many images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.training.lanes import convolutions, kernels
from zoo.training.lanes.graph import Layer, Network
from zoo.training.lanes.kernels import ACTIVATIONS, IMAGES
from zoo.training.lanes.vectors import LANES, allocate
from zoo.training.rule import LANES_EACH

__all__ = ["Place", "Program", "Rule", "Slot", "is_depthwise", "slots"]

_CACHE_BYTES = 1 << 20
"""Half of a second-level cache: what a phase may touch at a time."""
_MOST_BLOCKS = 16
_HEAVY_BYTES = 1 << 20
_HEAVY_BLOCKS = 8

Array = NDArray[Any]
Work = Callable[[int, int], None]
"""Work on (first block, blocks)."""


@dataclass(frozen=True)
class Rule:
    """How weights move; the fields are those of a recipe."""

    optimizer: Literal["sgd", "adam", "adamw"]
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a value lies: of block b at ``start + b * step`` vectors of the array; a step of 0 is
    scratch, used again for every few blocks."""

    array: Array
    start: int
    step: int

    def at(self, block: int) -> int:
        return self.start + block * self.step


@dataclass(frozen=True)
class Slot:
    """A parameter: its place in the flat arrays and how torch's axes lie there."""

    start: int
    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def packed(self, tensor: Array) -> Array:
        return tensor.reshape(self.split).transpose(self.order).reshape(-1)

    def unpacked(self, flat: Array) -> Array:
        split = tuple(self.split[axis] for axis in self.order)
        back = tuple(int(i) for i in np.argsort(self.order))
        return np.ascontiguousarray(flat.reshape(split).transpose(back).reshape(self.shape))


class _Norm:
    """What one batch normalisation remembers, [channels, LANES] each."""

    def __init__(
        self, channels: int, epsilon: float, momentum: float, each: int, dtype: Any
    ) -> None:
        def numbers(kind: Any = dtype) -> Array:
            return allocate(channels, kind).reshape(channels, LANES)

        self.epsilon, self.momentum, self.each = epsilon, momentum, each
        self.running_mean, self.running_var = numbers(), numbers()
        self.mean, self.inverse = numbers(), numbers()
        self.scale, self.shift = numbers(), numbers()
        self.gain, self.of_value, self.of_one = numbers(), numbers(), numbers()
        self.mean_sum, self.squares = numbers(np.float64), numbers(np.float64)
        self.sums, self.products = numbers(np.float64), numbers(np.float64)

    def begin(self) -> None:
        for sums in (self.mean_sum, self.squares, self.sums, self.products):
            sums[...] = 0

    def measured(self, own: Array, weight: Array, bias: Array) -> None:
        """The batches' means and variances are known: what to scale and shift by. ``own``: values
        of a channel, by lane."""
        count = self._over_network(own)
        if self.each > 1:
            mean = self._over_network(self.mean_sum * own) / count
            apart = own * (self.mean_sum - mean) ** 2
            self.squares[...] = self._over_network(self.squares + apart)
            self.mean_sum[...] = mean
        variance = self.squares / count
        self.mean[...] = self.mean_sum
        self.inverse[...] = 1 / np.sqrt(variance + self.epsilon)
        self.scale[...] = self.inverse * weight
        self.shift[...] = bias - self.mean * self.scale
        unbiased = self.squares / np.maximum(count - 1, 1)
        for running, now in ((self.running_mean, self.mean_sum), (self.running_var, unbiased)):
            running[...] = self.momentum * now.astype(running.dtype) + (1 - self.momentum) * running

    def summed(self, own: Array, weight: Array, dweight: Array, dbias: Array) -> None:
        """The gradients' sums are known: those of weight and bias, by lane, and what to take
        off."""
        dweight[...] = self.products * self.inverse
        dbias[...] = self.sums
        count = self._over_network(own)
        for sums in (self.products, self.sums):
            sums[...] = self._over_network(sums)
        self.of_value[...] = self.products * self.inverse.astype(np.float64) ** 2 / count
        self.of_one[...] = self.sums / count
        self.gain[...] = self.inverse * weight

    def _over_network(self, of_lanes: Array) -> Array:
        """[..., LANES]: the sum over the lanes of a network, in each of them."""
        return over_network(of_lanes, self.each)


def over_network(of_lanes: Array, each: int) -> Array:
    """[..., LANES]: in each lane the sum of the ``each`` lanes of its network."""
    if each == 1:
        return of_lanes
    sums: Array = of_lanes.reshape(*of_lanes.shape[:-1], -1, each).sum(-1)
    return sums.repeat(each, axis=-1)


class Program:
    """``LANES // each`` networks of one architecture; ``step`` trains them all by one batch each.

    With ``each`` > 1 a network has as many lanes side by side, all with its weights and a part of
    its batch. Sums over the batch (statistics of normalisations, gradients) are made by lane and
    then added up over them, in the same order in all, so that the weights stay alike to the bit.

    Args:
        parameters: name -> shape, of the module's parameters, in its order.
        images: the largest batch, or part of one.
        each: lanes of a network, of ``LANES_EACH``.
        dtype: float32; float64 for comparisons.
    """

    def __init__(
        self,
        network: Network,
        parameters: Mapping[str, tuple[int, ...]],
        rule: Rule,
        *,
        images: int,
        each: int = 1,
        dtype: Any = np.float32,
    ) -> None:
        if each not in LANES_EACH or each > LANES:
            raise ValueError(f"{each} of {LANES} lanes to a network; allowed: {LANES_EACH}")
        self.network, self.rule, self.dtype, self.each = network, rule, dtype, each
        self._most = -(-images // IMAGES)
        self._slots = slots(network, parameters)
        size = sum(slot.size for slot in self._slots.values())
        self.weights, self._gradients = (allocate(size, dtype) for _ in range(2))
        moments = 2 if rule.optimizer != "sgd" else 1
        self.moments = [allocate(size, dtype) for _ in range(moments)]
        self.steps = np.zeros(LANES, dtype=np.int64)
        """Optimiser steps of each lane's network."""
        self.norms = {
            i: _Norm(
                network.shapes[layer.output][2],
                layer.settings["epsilon"],
                layer.settings["momentum"],
                each,
                dtype,
            )
            for i, layer in enumerate(network.layers)
            if layer.kind == "norm"
        }
        self._rates = [allocate(1, dtype) for _ in range(3)]
        self._zero = allocate(1, dtype)
        self._images = np.ones(LANES, dtype=np.int64)
        self._whole = 0
        self._there = allocate(self._most * IMAGES, dtype)
        kinds = (np.float64, np.float64, dtype)
        self._by_block = tuple(allocate(self._most, kind) for kind in kinds)
        self._order()
        self._place()
        self._bind()

    # ------------------------------------------------------------ networks in and out

    def lanes(self, number: int) -> slice:
        """Those of a network."""
        return slice(number * self.each, (number + 1) * self.each)

    def put(self, number: int, state: Mapping[str, Array], steps: int = 0) -> None:
        """Take a network's parameters and running statistics (by torch's names), and the optimiser
        steps it has made, into its lanes."""
        own = self.lanes(number)
        for name, slot in self._slots.items():
            self._into(self.weights, slot, own, state[name])
        for i, norm in self.norms.items():
            names = self.network.layers[i].tensors
            norm.running_mean[:, own] = np.asarray(state[names["running_mean"]])[:, None]
            norm.running_var[:, own] = np.asarray(state[names["running_var"]])[:, None]
        self.steps[own] = steps

    def get(self, number: int) -> dict[str, Array]:
        """A network's parameters and running statistics."""
        lane = self.lanes(number).start
        state = {name: self._out(self.weights, slot, lane) for name, slot in self._slots.items()}
        for i, norm in self.norms.items():
            names = self.network.layers[i].tensors
            state[names["running_mean"]] = norm.running_mean[:, lane].copy()
            state[names["running_var"]] = norm.running_var[:, lane].copy()
        return state

    def put_moment(self, which: int, number: int, name: str, moment: Array | None) -> None:
        """A network's moment of a parameter; None = zeros."""
        slot = self._slots[name]
        given = np.zeros(slot.shape, self.dtype) if moment is None else moment
        self._into(self.moments[which], slot, self.lanes(number), given)

    def get_moment(self, which: int, number: int, name: str) -> Array:
        return self._out(self.moments[which], self._slots[name], self.lanes(number).start)

    def _into(self, flat: Array, slot: Slot, lanes: slice, tensor: Array) -> None:
        rows = flat.reshape(-1, LANES)[slot.start : slot.start + slot.size]
        rows[:, lanes] = slot.packed(np.asarray(tensor))[:, None]

    def _out(self, flat: Array, slot: Slot, lane: int) -> Array:
        rows = flat.reshape(-1, LANES)[slot.start : slot.start + slot.size]
        return slot.unpacked(rows[:, lane])

    # ------------------------------------------------------------ one step

    def step(
        self,
        raw: NDArray[np.uint8],
        mean: Array,
        scale: Array,
        labels: NDArray[np.int64],
        weights: Array,
        counts: NDArray[np.int64],
        rates: NDArray[np.float64],
        losses: Array,
        hits: NDArray[np.int64],
    ) -> None:
        """Forward, backward, and the optimiser's step.

        Args:
            raw: uint8 [LANES, images, height * width, channels], every lane its own pictures.
            mean, scale: [channels, LANES]: a lane is shown ``(raw - mean) * scale``.
            labels, weights: [images, lanes]; the last lanes may be left out.
            counts: [lanes], how many of the images a lane has of its network's batch, which has at
                least one.
            rates: learning rates [LANES], the same in the lanes of a network.
            losses, hits: [lanes] and [lanes, 2]: losses are put, by lane a part of the network's,
                hits are added.
        """
        blocks = -(-raw.shape[1] // IMAGES)
        self._counted(counts, blocks)
        self._gradients[...] = 0
        for norm in self.norms.values():
            norm.begin()
        kernels.pictures(raw, self._values[0].array, mean.reshape(-1), scale.reshape(-1))
        for phase, works in enumerate(self._forward):
            self._run(works, self._groups[phase], blocks)
            for i in self._measured[phase]:
                weight, bias = self._norm_rows(self.weights, i)
                self.norms[i].measured(self._count(i), weight, bias)
        answer, upstream = self._values[self.network.answer], self._upstream[self.network.answer]
        classes = self.network.shapes[self.network.answer][2]
        smoothing = self.rule.label_smoothing
        kernels.loss(
            answer.array,
            classes,
            labels,
            weights,
            counts,
            over_network(self._images, self.each)[: len(counts)],
            smoothing,
            upstream.array,
            losses,
            hits,
        )
        for phase in reversed(range(len(self._backward))):
            self._run(self._backward[phase], self._groups[phase], blocks)
            for i in self._summed[phase]:
                weight, _ = self._norm_rows(self.weights, i)
                self.norms[i].summed(self._count(i), weight, *self._norm_rows(self._gradients, i))
        self._update(rates)

    def _run(self, works: list[Work], group: int, blocks: int) -> None:
        for first in range(0, blocks, group) if works else ():
            for work in works:
                work(first, min(group, blocks - first))

    def _counted(self, counts: NDArray[np.int64], blocks: int) -> None:
        """Which images of which lanes count, for statistics by block (``kernels``)."""
        self._images[: len(counts)] = counts
        self._images[len(counts) :] = counts.max()
        self._whole = int(self._images.min()) // IMAGES
        number = np.arange(blocks * IMAGES)
        self._there.reshape(-1, LANES)[: len(number)] = number[:, None] < self._images
        before = np.minimum(number[::IMAGES, None], self._images).astype(np.float64)
        own = np.minimum(number[::IMAGES, None] + IMAGES, self._images) - before
        after = np.maximum(before + own, 1)  # a lane may have no image of a small batch
        share, weight, per_image = (a.reshape(-1, LANES)[:blocks] for a in self._by_block)
        share[...], weight[...] = own / after, before * own / after
        per_image[...] = 1 / np.maximum(own, 1)

    def _count(self, i: int) -> Array:
        """Values of a channel, by lane."""
        height, width, _ = self.network.shapes[self.network.layers[i].output]
        return self._images * (height * width)

    def _norm_rows(self, flat: Array, i: int) -> tuple[Array, Array]:
        """Weight and bias (or their gradients) of a normalisation, [channels, LANES]."""
        tensors, rows = self.network.layers[i].tensors, flat.reshape(-1, LANES)
        weight, bias = (self._slots[tensors[name]] for name in ("weight", "bias"))
        return (
            rows[weight.start : weight.start + weight.size],
            rows[bias.start : bias.start + bias.size],
        )

    def _update(self, rates: NDArray[np.float64]) -> None:
        rule, count = self.rule, len(self.weights) // LANES
        self.steps += 1
        if self.each > 1:
            kernels.add_up(self._gradients, self.each, count)
        rate, step, second = self._rates
        rate[...] = rates
        if rule.optimizer == "sgd":
            kernels.sgd(
                self.weights,
                self._gradients,
                self.moments[0],
                rate,
                rule.momentum,
                rule.weight_decay,
                count,
            )
            return
        step[...] = rates / (1 - 0.9**self.steps)
        second[...] = np.sqrt(1 - 0.999**self.steps)
        mean, square = self.moments
        apart = rule.optimizer == "adamw"
        kernels.adam(
            self.weights,
            self._gradients,
            mean,
            square,
            rate,
            step,
            second,
            rule.weight_decay,
            apart,
            count,
        )

    # ------------------------------------------------------------ the order of work

    def _heavy(self, layer: Layer) -> bool:
        if layer.kind != "convolution" or self.network.shapes[layer.output][:2] != (1, 1):
            return False
        slot = self._slots[layer.tensors["weight"]]
        return bool(slot.size * LANES * np.dtype(self.dtype).itemsize > _HEAVY_BYTES)

    def _order(self) -> None:
        """In which phase each layer works and each value is known."""
        layers = self.network.layers
        known = {0: 0}
        self._phase: list[int] = []
        for layer in layers:
            phase = max(known[value] for value in layer.inputs)
            own = phase + 1 if layer.kind == "norm" or self._heavy(layer) else phase
            self._phase.append(own)
            known[layer.output] = own + 1 if self._heavy(layer) else own
        self._known = known
        self._phases = max(known.values()) + 1
        self._maker = {layer.output: i for i, layer in enumerate(layers)}
        self._users: dict[int, list[int]] = {value: [] for value in known}
        for i, layer in enumerate(layers):
            for value in layer.inputs:
                self._users[value].append(i)

    def _needed_back(self, i: int) -> tuple[int, ...]:
        """Values that a layer's backward reads."""
        layer = self.network.layers[i]
        reads = layer.kind in ("convolution", "norm", "activation", "max_pool", "gate")
        return layer.inputs if reads else ()

    def _place(self) -> None:
        """Which values are kept for the whole batch, which are scratch, and where."""
        network, layers = self.network, self.network.layers
        kept: set[int] = {0, network.answer}
        for value, users in self._users.items():
            later = any(self._phase[i] > self._known[value] for i in users)
            maker = layers[self._maker[value]] if value else None
            made = maker is not None and maker.kind == "convolution"
            read_back = any(value in self._needed_back(i) for i in users)
            if later or (made and read_back) or (maker is not None and self._heavy(maker)):
                kept.add(value)
        kept_upstream: set[int] = {network.answer}
        for value in self._known:
            if value == 0:
                continue
            i = self._maker[value]
            phases = {self._phase[i]} | (
                {self._phase[i] - 1} if layers[i].kind == "norm" else set()
            )
            phases |= {
                self._known[value] if layers[j].kind == "norm" else self._phase[j]
                for j in self._users[value]
            }
            if len(phases) > 1:
                kept_upstream.add(value)
        bytes_of = [
            h * w * c * IMAGES * LANES * np.dtype(self.dtype).itemsize for h, w, c in network.shapes
        ]
        touched = [0] * self._phases
        for i, layer in enumerate(layers):
            touched[self._phase[i]] += 2 * sum(
                bytes_of[value] for value in (*layer.inputs, layer.output)
            )
        self._groups = [
            max(1, min(_MOST_BLOCKS, _CACHE_BYTES // max(1, amount))) for amount in touched
        ]
        for i, layer in enumerate(layers):
            if self._heavy(layer):
                self._groups[self._phase[i]] = _HEAVY_BLOCKS
        self._values: dict[int, Place] = {}
        self._upstream: dict[int, Place] = {}
        ends = [0] * self._phases
        scratch: list[tuple[dict[int, Place], int, int]] = []
        for value, (height, width, channels) in enumerate(network.shapes):
            size = height * width * channels * IMAGES
            for places, is_kept in (
                (self._values, value in kept),
                (self._upstream, value in kept_upstream),
            ):
                if value == 0 and places is self._upstream:
                    continue
                if value not in self._known:
                    continue
                if is_kept:
                    places[value] = Place(allocate(self._most * size, self.dtype), 0, size)
                else:
                    # Not made by a heavy layer, so that layer and value are of one phase.
                    phase = self._known[value]
                    scratch.append((places, value, ends[phase]))
                    ends[phase] += self._groups[phase] * size
        arena = allocate(max(ends), self.dtype)
        for places, value, start in scratch:
            places[value] = Place(arena, start, 0)

    def _bind(self) -> None:
        """The work of each phase, forward and backward."""
        layers = self.network.layers
        self._forward: list[list[Work]] = [[] for _ in range(self._phases)]
        self._backward: list[list[Work]] = [[] for _ in range(self._phases)]
        self._measured: list[list[int]] = [[] for _ in range(self._phases)]
        self._summed: list[list[int]] = [[] for _ in range(self._phases)]
        again: list[dict[int, Work]] = [{} for _ in range(self._phases)]
        """Phase -> layers whose scratch output the backward pass needs again."""
        plan: list[tuple[int, int, str]] = []  # (phase, layer, what), in the order of the forward
        for i, layer in enumerate(layers):
            if layer.kind == "norm":
                measured = self._known[layer.inputs[0]]
                self._forward[measured].append(self._statistics(i))
                self._measured[measured].append(i)
                self._summed[self._phase[i]].append(i)
                plan.append((measured, i, "through"))
                plan.append((self._phase[i], i, "sums"))
            else:
                plan.append((self._phase[i], i, "back"))
            self._forward[self._phase[i]].append(self._ahead(i))
        for phase in range(self._phases):
            needed: set[int] = set()
            for of, i, what in plan:
                if of == phase and what != "through":
                    needed |= {
                        value for value in self._needed_back(i) if self._values[value].step == 0
                    }
            for i in reversed(range(len(layers))):
                if layers[i].output in needed and self._phase[i] == phase:
                    needed |= {value for value in layers[i].inputs if self._values[value].step == 0}
                    again[phase][i] = self._ahead(i)
            self._backward[phase] += [again[phase][i] for i in sorted(again[phase])]
        written: set[int] = {self.network.answer}
        backwards = sorted(range(len(plan)), key=lambda n: (-plan[n][0], -n))
        for number in backwards:
            phase, i, what = plan[number]
            make = {"back": self._back, "sums": self._sums, "through": self._through}[what]
            self._backward[phase].append(make(i, written))

    # ------------------------------------------------------------ layers as work

    def _geometry(self, layer: Layer) -> tuple[int, ...]:
        shapes, of = self.network.shapes, layer.settings
        return (
            *shapes[layer.inputs[0]],
            *shapes[layer.output],
            *of["kernel"],
            of["stride"],
            of["pad"],
            of["groups"],
        )

    def _ahead(self, i: int) -> Work:
        """The forward of a layer."""
        layer = self.network.layers[i]
        x, z = self._values[layer.inputs[0]], self._values[layer.output]
        height, width, channels = self.network.shapes[layer.inputs[0]]
        positions, row = height * width, height * width * channels * IMAGES
        match layer.kind:
            case "convolution":
                return self._convolution(layer, x, z)
            case "norm":
                norm, kind = self.norms[i], ACTIVATIONS[layer.settings["activation"]]
                scale, shift = norm.scale.reshape(-1), norm.shift.reshape(-1)

                def work(b: int, n: int) -> None:
                    kernels.normalise(
                        x.array,
                        x.at(b),
                        scale,
                        shift,
                        0,
                        kind,
                        z.array,
                        z.at(b),
                        n * positions,
                        channels,
                    )

            case "activation":
                kind = ACTIVATIONS[layer.settings["activation"]]

                def work(b: int, n: int) -> None:
                    kernels.activate(x.array, x.at(b), kind, z.array, z.at(b), n * row)

            case "max_pool":
                g = self._geometry(layer)

                def work(b: int, n: int) -> None:
                    kernels.max_pool(x.array, x.at(b), z.array, z.at(b), n, g)

            case "average_pool":
                g, padded = self._geometry(layer), bool(layer.settings["padded"])

                def work(b: int, n: int) -> None:
                    kernels.average_pool(x.array, x.at(b), z.array, z.at(b), n, g, padded)

            case "add":
                y = self._values[layer.inputs[1]]

                def work(b: int, n: int) -> None:
                    kernels.copy_channels(
                        x.array,
                        x.at(b),
                        channels,
                        0,
                        z.array,
                        z.at(b),
                        channels,
                        0,
                        channels,
                        n * positions,
                        False,
                    )
                    kernels.add(y.array, y.at(b), z.array, z.at(b), n * row)

            case "join" | "part":
                copies = self._copies(layer)

                def work(b: int, n: int) -> None:
                    for source, of, first, of_out, first_out, count in copies:
                        kernels.copy_channels(
                            source.array,
                            source.at(b),
                            of,
                            first,
                            z.array,
                            z.at(b),
                            of_out,
                            first_out,
                            count,
                            n * positions,
                            False,
                        )

            case "gate":
                s = self._values[layer.inputs[1]]

                def work(b: int, n: int) -> None:
                    kernels.gate(
                        x.array, x.at(b), s.array, s.at(b), z.array, z.at(b), positions, channels, n
                    )

            case _:
                raise ValueError(layer.kind)
        return work

    def _copies(self, layer: Layer) -> list[tuple[Place, int, int, int, int, int]]:
        """(source, its channels, first, channels of the target, first there, how many) of a join or
        a part."""
        shapes = self.network.shapes
        outputs = shapes[layer.output][2]
        if layer.kind == "part":
            (value,) = layer.inputs
            return [
                (
                    self._values[value],
                    shapes[value][2],
                    layer.settings["first"],
                    outputs,
                    0,
                    outputs,
                )
            ]
        copies, first = [], 0
        for value in layer.inputs:
            count = shapes[value][2]
            copies.append((self._values[value], count, 0, outputs, first, count))
            first += count
        return copies

    def _convolution(self, layer: Layer, x: Place, z: Place) -> Work:
        g, w = self._geometry(layer), self._slots[layer.tensors["weight"]].start
        weights = self.weights
        if is_depthwise(self.network, layer):
            return lambda b, n: convolutions.depthwise(
                x.array, x.at(b), weights, w, z.array, z.at(b), n, g
            )
        biased = "bias" in layer.tensors
        bias = self._slots[layer.tensors["bias"]].start if biased else -1
        source = weights if biased else self._zero
        return lambda b, n: convolutions.convolve(
            x.array, x.at(b), weights, w, source, bias, z.array, z.at(b), n, g
        )

    def _statistics(self, i: int) -> Work:
        layer, norm = self.network.layers[i], self.norms[i]
        z = self._values[layer.inputs[0]]
        height, width, channels = self.network.shapes[layer.output]
        mean, squares = norm.mean_sum.reshape(-1), norm.squares.reshape(-1)
        share, weight, per_image = self._by_block

        def work(b: int, n: int) -> None:
            kernels.statistics(
                z.array,
                z.at(b),
                height * width,
                channels,
                n,
                b,
                self._whole,
                self._there,
                share,
                weight,
                per_image,
                mean,
                squares,
            )

        return work

    def _sums(self, i: int, _written: set[int]) -> Work:
        """The gradient before the activation of a normalisation, and its sums."""
        layer, norm = self.network.layers[i], self.norms[i]
        z, dy = self._values[layer.inputs[0]], self._upstream[layer.output]
        height, width, channels = self.network.shapes[layer.output]
        kind = ACTIVATIONS[layer.settings["activation"]]
        flat = [
            a.reshape(-1) for a in (norm.scale, norm.shift, norm.mean, norm.sums, norm.products)
        ]
        scale, shift, mean, sums, products = flat

        def work(b: int, n: int) -> None:
            kernels.normalise_sums(
                dy.array,
                dy.at(b),
                z.array,
                z.at(b),
                scale,
                shift,
                mean,
                0,
                kind,
                n * height * width,
                channels,
                sums,
                products,
            )

        return work

    def _through(self, i: int, written: set[int]) -> Work:
        """The gradient of a normalisation's input."""
        layer, norm = self.network.layers[i], self.norms[i]
        (value,) = layer.inputs
        z, dz, dy = self._values[value], self._upstream[value], self._upstream[layer.output]
        height, width, channels = self.network.shapes[layer.output]
        add = value in written
        written.add(value)
        mean, gain, of_value, of_one = (
            a.reshape(-1) for a in (norm.mean, norm.gain, norm.of_value, norm.of_one)
        )

        def work(b: int, n: int) -> None:
            kernels.normalise_back(
                dy.array,
                dy.at(b),
                z.array,
                z.at(b),
                mean,
                gain,
                of_value,
                of_one,
                0,
                dz.array,
                dz.at(b),
                height * width,
                channels,
                n,
                b,
                self._whole,
                self._there,
                add,
            )

        return work

    def _back(self, i: int, written: set[int]) -> Work:
        """The gradients of a layer's inputs and weights."""
        layer = self.network.layers[i]
        value = layer.inputs[0]
        dz = self._upstream[layer.output]
        x = self._values[value]
        height, width, channels = self.network.shapes[value]
        positions, row = height * width, height * width * channels * IMAGES
        if layer.kind == "convolution":
            return self._convolution_back(layer, written)
        if value == 0:
            return _nothing
        dx, add = self._upstream[value], value in written
        written.add(value)
        match layer.kind:
            case "activation":
                kind = ACTIVATIONS[layer.settings["activation"]]

                def work(b: int, n: int) -> None:
                    kernels.activate_back(
                        dz.array, dz.at(b), x.array, x.at(b), kind, dx.array, dx.at(b), n * row, add
                    )

            case "max_pool":
                g = self._geometry(layer)

                def work(b: int, n: int) -> None:
                    kernels.max_pool_back(
                        dz.array, dz.at(b), x.array, x.at(b), dx.array, dx.at(b), n, g, add
                    )

            case "average_pool":
                g, padded = self._geometry(layer), bool(layer.settings["padded"])

                def work(b: int, n: int) -> None:
                    kernels.average_pool_back(
                        dz.array, dz.at(b), dx.array, dx.at(b), n, g, padded, add
                    )

            case "add" | "join" | "part":
                return self._copies_back(layer, add, written)
            case "gate":
                other = layer.inputs[1]
                s, ds, add_s = self._values[other], self._upstream[other], other in written
                written.add(other)

                def work(b: int, n: int) -> None:
                    kernels.gate_back(
                        dz.array,
                        dz.at(b),
                        x.array,
                        x.at(b),
                        s.array,
                        s.at(b),
                        dx.array,
                        dx.at(b),
                        add,
                        ds.array,
                        ds.at(b),
                        add_s,
                        positions,
                        channels,
                        n,
                    )

            case _:
                raise ValueError(layer.kind)
        return work

    def _copies_back(self, layer: Layer, add: bool, written: set[int]) -> Work:
        """Of an addition, a join or a part: the gradient is handed on, in whole or by channels."""
        shapes, dz = self.network.shapes, self._upstream[layer.output]
        outputs = shapes[layer.output][2]
        height, width, _ = shapes[layer.output]
        copies: list[tuple[Place, int, int, int, int, bool]] = []
        first = 0
        for number, value in enumerate(layer.inputs):
            own = add if number == 0 else value in written
            written.add(value)
            dx, channels = self._upstream[value], shapes[value][2]
            if layer.kind == "part":
                # Parts share their source: whoever comes first clears all of it.
                copies.append((dx, 0, channels, layer.settings["first"], outputs, own))
            elif layer.kind == "add":
                copies.append((dx, 0, channels, 0, channels, own))
            else:
                copies.append((dx, first, channels, 0, channels, own))
                first += channels

        def work(b: int, n: int) -> None:
            for dx, of_z, channels, first, count, own in copies:
                if count < channels and not own:
                    start = dx.at(b) * LANES
                    dx.array[start : start + n * height * width * channels * IMAGES * LANES] = 0
                adding = own or count < channels
                kernels.copy_channels(
                    dz.array,
                    dz.at(b),
                    outputs,
                    of_z,
                    dx.array,
                    dx.at(b),
                    channels,
                    first,
                    count,
                    n * height * width,
                    adding,
                )

        return work

    def _convolution_back(self, layer: Layer, written: set[int]) -> Work:
        value = layer.inputs[0]
        x, dz, g = self._values[value], self._upstream[layer.output], self._geometry(layer)
        w = self._slots[layer.tensors["weight"]].start
        bias = self._slots[layer.tensors["bias"]].start if "bias" in layer.tensors else -1
        height, width, outputs = self.network.shapes[layer.output]
        weights, gradients, zero = self.weights, self._gradients, self._zero
        dx = self._upstream[value] if value else None
        add = value in written
        written.add(value)
        alone = is_depthwise(self.network, layer)
        of_weights = convolutions.depthwise_weights if alone else convolutions.convolve_weights

        def work(b: int, n: int) -> None:
            if bias >= 0:
                convolutions.sum_images(
                    dz.array, dz.at(b), height * width, outputs, n, gradients, bias
                )
            of_weights(dz.array, dz.at(b), x.array, x.at(b), gradients, w, n, g)
            if dx is None:
                return
            if alone:
                convolutions.depthwise_back(
                    dz.array, dz.at(b), weights, w, dx.array, dx.at(b), n, g, add
                )
            else:
                convolutions.convolve_back(
                    dz.array, dz.at(b), weights, w, dx.array, dx.at(b), n, g, add, zero
                )

        return work


def _nothing(_block: int, _blocks: int) -> None:
    """Pictures need no gradient."""


def is_depthwise(network: Network, layer: Layer) -> bool:
    """Whether a convolution has one filter per channel and no bias: it has kernels of its own."""
    channels, outputs = network.shapes[layer.inputs[0]][2], network.shapes[layer.output][2]
    return layer.settings["groups"] == channels == outputs > 1 and "bias" not in layer.tensors


def slots(network: Network, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Slot]:
    """Where each parameter lies: convolutions as ``[group][ky][kx][out][in]``, all else as torch
    has it."""
    shapes = network.shapes
    layers = {
        layer.tensors["weight"]: layer for layer in network.layers if layer.kind == "convolution"
    }
    found: dict[str, Slot] = {}
    start = 0
    for name, shape in parameters.items():
        if name in layers:
            of = layers[name].settings
            groups = of["groups"]
            outputs, inputs = shapes[layers[name].output][2], shapes[layers[name].inputs[0]][2]
            split = (groups, outputs // groups, inputs // groups, *of["kernel"])
            # A filter per channel has one output and one input per group: [ky][kx][channel].
            alone = is_depthwise(network, layers[name])
            order = (3, 4, 1, 2, 0) if alone else (0, 3, 4, 1, 2)
            found[name] = Slot(start, shape, split, order)
        else:
            found[name] = Slot(start, shape, shape, tuple(range(len(shape))))
        start += found[name].size
    return found
