"""A torch network as a list of primitive operations, or the reason why it cannot be one."""

from __future__ import annotations

import copy
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

__all__ = ["Layer", "Network", "Unsupported", "describe"]


class Unsupported(Exception):
    """A network holds something that has no kernel."""


@dataclass(frozen=True)
class Layer:
    """One operation. ``kind``: convolution, norm, activation, max_pool, average_pool, add, join,
    part, gate; where no gradient is wanted also thinned (every ``stride``-th row and column) and
    widened (channels of zeros around; ``first``: how many come before).

    ``inputs``, ``output``: numbers of values. ``tensors``: role -> name in the module's state.
    ``settings``: kernel (height, width), stride, pad, groups, activation, epsilon, momentum,
    padded, first (channel), as the kind needs.
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """Layers in the order they are computed; ``shapes``: (height, width, channels) of each value,
    the picture is value 0; ``answer``: the value of the logits."""

    layers: tuple[Layer, ...]
    shapes: tuple[tuple[int, int, int], ...]
    answer: int


def describe(module: nn.Module, channels: int, size: int, *, evaluated: bool = False) -> Network:
    """The operations of a network on pictures of [channels, size, size].

    Args:
        evaluated: as in evaluation mode, where no gradient is wanted.

    Raises:
        Unsupported: naming what has no kernel.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(module).eval())
        ShapeProp(traced).propagate(torch.zeros(2, channels, size, size))
    except Exception as error:
        raise Unsupported(f"its graph cannot be read ({type(error).__name__})") from error
    return _Reader(traced, evaluated=evaluated).read()


def _one(value: Any, what: str) -> int:
    """The number of a setting that may be a pair of equal ones."""
    if isinstance(value, tuple | list):
        if len(set(value)) != 1:
            raise Unsupported(f"{what} {tuple(value)}")
        value = value[0]
    if not isinstance(value, int):
        raise Unsupported(f"{what} {value!r}")
    return value


class _Reader:
    """Walks a traced graph once."""

    def __init__(self, traced: fx.GraphModule, *, evaluated: bool) -> None:
        self._traced, self._evaluated = traced, evaluated
        self._modules = dict(traced.named_modules())
        self._layers: list[Layer] = []
        self._shapes: list[tuple[int, int, int]] = []
        self._value: dict[fx.Node, Any] = {}
        """Node -> number of its value; of a chunk, the numbers of its parts."""

    def read(self) -> Network:
        answer = -1
        for node in self._traced.graph.nodes:
            if node.op == "placeholder":
                self._value[node] = self._new(node)
            elif node.op == "output":
                result: Any = node.args[0]
                answer = self._value[result]
            elif node.op == "call_module":
                self._module(node, self._modules[node.target])
            elif node.op in ("call_function", "call_method"):
                self._call(node)
            else:
                raise Unsupported(f"{node.op} {node.target}")
        if self._shapes[answer][:2] != (1, 1):
            raise Unsupported("its answer is no vector")
        return Network(tuple(_merged(self._layers)), tuple(self._shapes), answer)

    def _new(self, node: fx.Node) -> int:
        self._shapes.append(_shape(node.meta["tensor_meta"].shape))
        return len(self._shapes) - 1

    def _add(
        self, node: fx.Node, kind: str, inputs: tuple[int, ...], tensors: Any = (), **settings: Any
    ) -> None:
        self._value[node] = self._new(node)
        self._layers.append(Layer(kind, inputs, self._value[node], settings, dict(tensors)))

    def _alone(self, node: fx.Node) -> None:
        """An operation in place changes what others would see."""
        if len(node.all_input_nodes[0].users) > 1:
            raise Unsupported(f"{node.name} works in place on what others use")

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        source: Any = node.args[0]
        x = self._value[source]
        height, width, channels = self._shapes[x]
        tensors = {
            name: f"{node.target}.{name}"
            for name, value in (*module.named_parameters(), *module.named_buffers())
            if value is not None
        }
        match module:
            case nn.Identity():
                self._value[node] = x
            case nn.Flatten(start_dim=1, end_dim=-1):
                self._value[node] = x
            case nn.Conv2d():
                if _one(module.dilation, "a dilation of") != 1 or module.padding_mode != "zeros":
                    raise Unsupported(f"{node.target}: dilation or padding of another kind")
                self._add(
                    node,
                    "convolution",
                    (x,),
                    tensors,
                    kernel=tuple(module.kernel_size),
                    stride=_one(module.stride, "a stride of"),
                    pad=_one(module.padding, "a padding of"),
                    groups=module.groups,
                )
            case nn.Linear():
                if module.in_features != height * width * channels:
                    raise Unsupported(f"{node.target}: a dense layer along one axis")
                self._add(
                    node,
                    "convolution",
                    (x,),
                    tensors,
                    kernel=(height, width),
                    stride=1,
                    pad=0,
                    groups=1,
                )
            case nn.BatchNorm2d(affine=True, track_running_stats=True) if (
                module.momentum is not None
            ):
                self._add(
                    node,
                    "norm",
                    (x,),
                    tensors,
                    epsilon=module.eps,
                    momentum=module.momentum,
                    activation="none",
                )
            case nn.ReLU() | nn.ReLU6() | nn.SiLU() | nn.Sigmoid():
                if getattr(module, "inplace", False):
                    self._alone(node)
                self._add(node, "activation", (x,), activation=type(module).__name__.lower())
            case nn.MaxPool2d():
                if _one(module.dilation, "a dilation of") != 1 or module.return_indices:
                    raise Unsupported(f"{node.target}: dilation or indices of a pool")
                self._pool(node, "max_pool", x, module)
            case nn.AvgPool2d():
                if module.divisor_override is not None:
                    raise Unsupported(f"{node.target}: a divisor of its own")
                self._pool(node, "average_pool", x, module, padded=module.count_include_pad)
            case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
                self._mean(node, x)
            case nn.Dropout() | nn.Dropout2d() if self._evaluated or module.p == 0:
                self._value[node] = x
            case _:
                raise Unsupported(f"{type(module).__name__} ({node.target})")

    def _pool(self, node: fx.Node, kind: str, x: int, module: Any, **settings: Any) -> None:
        side = _one(module.kernel_size, "windows of")
        self._add(
            node,
            kind,
            (x,),
            kernel=(side, side),
            stride=_one(module.stride, "a stride of"),
            pad=_one(module.padding, "a padding of"),
            groups=1,
            **settings,
        )

    def _mean(self, node: fx.Node, x: int) -> None:
        height, width, _ = self._shapes[x]
        if (height, width) == (1, 1):
            self._value[node] = x
        else:
            self._add(
                node,
                "average_pool",
                (x,),
                kernel=(height, width),
                stride=1,
                pad=0,
                groups=1,
                padded=False,
            )

    def _call(self, node: fx.Node) -> None:
        target: Any = node.target
        arguments: Any = node.args
        options: Any = dict(node.kwargs)
        x: Any = self._value.get(arguments[0]) if isinstance(arguments[0], fx.Node) else None
        activations: dict[Any, str] = {
            functional.relu: "relu",
            functional.relu6: "relu6",
            functional.silu: "silu",
            torch.relu: "relu",
            torch.sigmoid: "sigmoid",
            "relu": "relu",
            "sigmoid": "sigmoid",
        }
        if target in activations:
            if options.pop("inplace", False):
                self._alone(node)
            self._add(node, "activation", (x,), activation=activations[target])
        elif target in (operator.add, torch.add, operator.mul, torch.mul):
            self._pair(node, "add" if target in (operator.add, torch.add) else "gate")
        elif target is torch.cat:
            dimension = options.get("dim", arguments[1] if len(arguments) > 1 else 0)
            if dimension != 1:
                raise Unsupported(f"{node.name} joins along dimension {dimension}")
            self._add(node, "join", tuple(self._value[part] for part in arguments[0]))
        elif target == "chunk":
            self._chunk(node, x, options.get("dim", arguments[2] if len(arguments) > 2 else 0))
        elif target is operator.getitem and isinstance(x, list):
            self._value[node] = x[arguments[1]]
        elif target is operator.getitem and arguments[1] == (slice(None), slice(None), None, None):
            self._value[node] = x
        elif target is operator.getitem and (stride := _thinned(arguments[1])):
            if stride == 1:
                self._value[node] = x
            elif self._evaluated:
                self._add(node, "thinned", (x,), stride=stride)
            else:
                raise Unsupported(f"every {stride}. row and column ({node.name})")
        elif target is functional.pad and self._evaluated:
            self._widened(node, x, arguments[1:], options)
        elif target == "mean" and options.get("dim", arguments[1:2]) in ((2, 3), ((2, 3),), [2, 3]):
            self._mean(node, x)
        elif target in ("flatten", torch.flatten) and (*arguments[1:], *options.values()) == (1,):
            self._value[node] = x
        else:
            raise Unsupported(f"{getattr(target, '__name__', target)} ({node.name})")

    def _widened(self, node: fx.Node, x: Any, arguments: Any, options: Any) -> None:
        sides = options.get("pad", arguments[0] if arguments else ())
        mode, value = (
            options.get(name, arguments[i] if len(arguments) > i else other)
            for i, name, other in ((1, "mode", "constant"), (2, "value", None))
        )
        if (*sides[:4],) != (0,) * 4 or len(sides) != 6 or mode != "constant" or value:
            raise Unsupported(f"{node.name} pads {tuple(sides)} ({mode})")
        self._add(node, "widened", (x,), first=sides[4])

    def _pair(self, node: fx.Node, kind: str) -> None:
        if not all(isinstance(argument, fx.Node) for argument in node.args):
            raise Unsupported(f"{node.name} with a number")
        pair: Any = node.args
        left, right = (self._value[argument] for argument in pair)
        of_left, of_right = self._shapes[left], self._shapes[right]
        if kind == "gate" and of_left == (1, 1, of_right[2]):
            left, right, of_left, of_right = right, left, of_right, of_left
        fits = of_left == of_right if kind == "add" else of_right == (1, 1, of_left[2])
        if not fits:
            raise Unsupported(f"{node.name} of {of_left} and {of_right}")
        self._add(node, kind, (left, right))

    def _chunk(self, node: fx.Node, x: Any, dimension: int) -> None:
        if dimension != 1:
            raise Unsupported(f"{node.name} splits along dimension {dimension}")
        parts, first = [], 0
        for meta in node.meta["tensor_meta"]:
            self._shapes.append(_shape(meta.shape))
            number = len(self._shapes) - 1
            self._layers.append(Layer("part", (x,), number, {"first": first}))
            first += self._shapes[number][2]
            parts.append(number)
        self._value[node] = parts


def _thinned(index: Any) -> int:
    """n of ``[:, :, ::n, ::n]``, 0 of another index."""
    whole = slice(None)
    match index:
        case (a, b, slice(start=None, stop=None, step=int() as rows), slice() as columns) if (
            a == b == whole and columns == slice(None, None, rows) and rows > 0
        ):
            return rows
    return 0


def _shape(shape: torch.Size) -> tuple[int, int, int]:
    """(height, width, channels) of [n, channels, height, width] or [n, channels]."""
    if len(shape) not in (2, 4):
        raise Unsupported(f"a value of shape {tuple(shape)}")
    channels, height, width = (*shape[1:], 1, 1)[:3]
    return height, width, channels


def _merged(layers: list[Layer]) -> list[Layer]:
    """An activation that alone follows a normalisation becomes part of it."""
    users: dict[int, int] = {}
    for layer in layers:
        for value in layer.inputs:
            users[value] = users.get(value, 0) + 1
    found: list[Layer] = []
    made_by: dict[int, int] = {}
    for layer in layers:
        before = made_by.get(layer.inputs[0], -1)
        if (
            layer.kind == "activation"
            and before >= 0
            and found[before].kind == "norm"
            and found[before].settings["activation"] == "none"
            and users[layer.inputs[0]] == 1
        ):
            norm = found[before]
            found[before] = Layer(
                "norm",
                norm.inputs,
                layer.output,
                {**norm.settings, "activation": layer.settings["activation"]},
                norm.tensors,
            )
            made_by[layer.output] = before
            continue
        made_by[layer.output] = len(found)
        found.append(layer)
    return found
