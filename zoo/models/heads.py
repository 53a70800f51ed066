"""Heads: small networks on frozen features, as torch modules.

A feature vector is a picture of one pixel with D channels, so that builders have the signature of
all: ``builder(num_classes=M, in_channels=D, size=1) -> Module: float32 [n, D] (or [n, D, 1, 1]) ->
logits float32 [n, M]``. The first layer makes each number zero-mean and of unit variance over the
training split; what it does so with is part of the weights, so that a checkpoint explains itself.
Source of standardised features under a linear layer: the usual linear probe (Alain, Bengio 2017).
"""

# ruff: noqa: ARG001 - all builders have one signature

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["HIDDEN", "Standardised", "head_mlp", "head_softmax", "standardise"]

HIDDEN = 64
"""Units of the perceptron's hidden layer."""


class Standardised(nn.Module):
    """(x - mean) * scale for vectors [n, D]; until it is told, x itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - self.get_buffer("mean")) * self.get_buffer("scale")

    def equals(self, other: Standardised) -> bool:
        """Whether it does the same."""
        return all(
            torch.equal(self.get_buffer(name), other.get_buffer(name)) for name in ("mean", "scale")
        )


def standardise(head: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Tell a head the mean and the standard deviation of its features, float [D] each."""
    first = next(head.children())
    assert isinstance(first, Standardised)
    first.get_buffer("mean").copy_(mean)
    first.get_buffer("scale").copy_(std.reciprocal())


def head_softmax(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Softmax regression on features. torch's default start."""
    return nn.Sequential(Standardised(in_channels), nn.Linear(in_channels, num_classes))


def head_mlp(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """A perceptron with one hidden layer of 64 units and ReLU. torch's default start."""
    return nn.Sequential(
        Standardised(in_channels),
        nn.Linear(in_channels, HIDDEN),
        nn.ReLU(inplace=True),
        nn.Linear(HIDDEN, num_classes),
    )
