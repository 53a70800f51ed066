"""A network that only answers, prepared for it.

Batch normalisation scales and shifts each channel by numbers that do not change any more, so it is
made part of the convolution before it: the same logits to float rounding, one pass over each map
fewer. In bf16 the last linear layer stays in float32: of logits rounded to eight bits many
are equal, and a class would win by its number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.fx import Graph, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold", "for_answers", "keep_exact"]


_CONVOLUTIONS = ("torch.nn.modules.conv.Conv2d", "timm.layers.conv2d_same.Conv2dSame")
"""Kinds that do nothing else with their weights and biases; timm's pads its pictures first. Of
other kinds, which may compute their weights, nothing is known."""
_NORMS = ("torch.nn.modules.batchnorm.BatchNorm2d", "timm.layers.norm_act.BatchNormAct2d")
"""Kinds that do nothing else; timm's is followed by its own ``act``."""


class _Tracer(Tracer):
    """Follows a network's calls, and enters no convolution and no normalisation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, nn.Conv2d | nn.BatchNorm2d)
        return known or super().is_leaf_module(m, module_qualified_name)


class ExactLinear(nn.Module):
    """A linear layer in float32, whatever it is given and whatever autocast says."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = self.layer(x.to(self.layer.weight.dtype))
        return found


def for_answers(network: nn.Module, *, channels_last: bool, half: bool = False) -> nn.Module:
    """A network in evaluation mode as it answers fastest: normalisations in convolutions, and
    weights as its pictures lie. It is changed in place.

    Args:
        half: whether it will answer in bf16.
    """
    fold(network)
    if half:
        keep_exact(network)
    return network.to(memory_format=torch.channels_last) if channels_last else network


def fold(network: nn.Module) -> int:
    """Fold the normalisations of a network in evaluation mode into the convolutions before them, in
    place; how many were. A network that torch cannot follow (``torch.fx``) stays as it is."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return 0
    kind = f"{_kind(network)} {network!r}"
    if kind not in _known:
        _known[kind] = tuple(_pairs(network, _traced(network)))
    count = 0
    for first, second in _known[kind]:
        convolution, norm = network.get_submodule(first), network.get_submodule(second)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        if norm.training:  # goes by the pictures it is shown
            continue
        network.set_submodule(first, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(second, getattr(norm, "act", nn.Identity()))
        count += 1
    return count


_known: dict[str, tuple[tuple[str, str], ...]] = {}
"""Pairs by a network's class and all its modules: following its calls takes several times as long
as folding it, and a population has few architectures."""


def keep_exact(network: nn.Module) -> bool:
    """Keep the linear layer that was made last, which makes the logits of all networks that end
    with one, in float32, in place; whether there is one. Another layer would lose time alone."""
    found = [name for name, layer in network.named_modules() if type(layer) is nn.Linear]
    if not found:
        return False
    layer = network.get_submodule(found[-1])
    assert isinstance(layer, nn.Linear)
    network.set_submodule(found[-1], ExactLinear(layer))
    return True


def _traced(network: nn.Module) -> Graph:
    """A network's calls; none where torch cannot follow them."""
    try:
        return _Tracer().trace(network)
    except Exception:  # noqa: BLE001 - whatever a forward pass does that a trace does not bear
        return Graph()


def _pairs(network: nn.Module, graph: Graph) -> Iterator[tuple[str, str]]:
    """Names of convolutions and of the normalisations that alone read them, each called once."""
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or len(node.all_input_nodes) != 1:
            continue
        (before,) = node.all_input_nodes
        if before.op != "call_module" or len(before.users) != 1:
            continue
        first, second = str(before.target), str(node.target)
        known = (
            _kind(network.get_submodule(first)) in _CONVOLUTIONS
            and _kind(norm := network.get_submodule(second)) in _NORMS
            and getattr(norm, "running_mean", None) is not None
        )
        if known and calls[first] == calls[second] == 1:
            yield first, second


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"
