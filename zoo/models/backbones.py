"""Networks of the timm library (PyTorch Image Models), always with random weights: nothing is ever
downloaded.

Shapes: n images of a batch, K channels, S side in pixels, M classes.
"""

from __future__ import annotations

import difflib
import functools
import warnings
from typing import Any

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = [
    "cost",
    "create",
    "default_size",
    "family",
    "forward_macs",
    "names",
    "near_names",
    "refusal",
]


@functools.cache
def names() -> frozenset[str]:
    """All architectures of this timm; without the names it has deprecated."""
    return frozenset(timm.list_models())


def near_names(name: str) -> list[str]:
    return difflib.get_close_matches(name, sorted(names()), n=3, cutoff=0.6)


def family(name: str) -> str:
    """The module of timm that defines the architecture, such as ``vision_transformer``."""
    return str(timm.model_entrypoint(name).__module__).rpartition(".")[2]


def default_size(name: str) -> int:
    """Side in pixels that timm trained the architecture for."""
    settings = timm.get_pretrained_cfg(name)
    return int(settings.input_size[-1]) if settings is not None else 224


def create(name: str, *, num_classes: int, in_channels: int, size: int) -> nn.Module:
    """A timm network with random weights. ``img_size`` is passed to those built for one size
    (transformers), and only to them."""
    settings = timm.get_pretrained_cfg(name)
    extra: dict[str, Any] = (
        {"img_size": size} if settings is not None and settings.fixed_input_size else {}
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks of timm about its own internals
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=num_classes, in_chans=in_channels, **extra
        )
    return network


@functools.cache
def refusal(name: str, size: int) -> str | None:
    """Why the network cannot learn from S x S pictures, or None if it can. Tried in training mode
    on the meta device, without memory."""
    classes = 7
    try:
        with torch.device("meta"), torch.no_grad():
            network = create(name, num_classes=classes, in_channels=3, size=size).train()
            logits = network(torch.empty(2, 3, size, size))
    except Exception as error:  # noqa: BLE001 - timm's networks fail with whatever their layers raise
        return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != (2, classes):
        return (
            f"for 2 pictures and {classes} classes it returns"
            f" {tuple(getattr(logits, 'shape', ())) or type(logits).__name__}"
        )
    return None


def forward_macs(network: nn.Module, channels: int, size: int) -> float:
    """Multiply-adds of one forward pass of one image, in millions: half of what torch's counter
    calls floating-point operations."""
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.empty(1, channels, size, size, device=device))
    return float(counter.get_total_flops()) / 2e6


@functools.cache
def cost(name: str, size: int) -> tuple[int, float]:
    """Parameters and ``forward_macs`` of a timm network for S x S x 3 and 10 classes, counted on
    the meta device."""
    with torch.device("meta"):
        network = create(name, num_classes=10, in_channels=3, size=size)
    return sum(p.numel() for p in network.parameters()), forward_macs(network, 3, size)
