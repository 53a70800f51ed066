"""Histograms of oriented gradients: the classical features of a picture, which need no weights.

Dalal, Triggs, "Histograms of oriented gradients for human detection" (CVPR 2005), in the variant of
scikit-image's ``hog`` (hard bins, L2-Hys), with which a test compares them. Written for batches, so
that they are made as every backbone's features are, on any device.

Letters: n pictures, K channels, S side in pixels, C cells to a side, B = C - 1 blocks to a side.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.errors import UsageError
from zoo.models.at_hand import HOG

__all__ = ["SIDE", "Hog", "HogSettings", "settings_for"]

SIDE: Final = 64
"""Of its input in pixels, where none is asked for: cells of 8 pixels, as in the paper."""
_SMALLEST: Final = 16
_CELLS: Final = 8
_BLOCK: Final = 2
_EPSILON, _CLIPPED = 1e-5, 0.2


@dataclass(frozen=True)
class HogSettings:
    """``orientations``: bins of half a turn. ``cell``: side of a histogram's square in pixels. A
    block is 2 x 2 cells, normalised together."""

    orientations: int
    cell: int

    def as_json(self) -> dict[str, int | str]:
        return {"features": HOG, "block": _BLOCK, **asdict(self)}


def settings_for(size: int) -> HogSettings:
    """Nine orientations, and a picture cut into 8 x 8 cells.

    Raises:
        UsageError: if its side is below 16 pixels.
    """
    if size < _SMALLEST:
        raise UsageError(
            f"hog takes pictures of at least {_SMALLEST}x{_SMALLEST} pixels; the input is"
            f" {size}x{size}. Use --input-size {_SMALLEST} or more."
        )
    return HogSettings(orientations=9, cell=size // _CELLS)


class Hog(nn.Module):
    """float32 [n, K, S, S], grey values, -> float32 [n, B * B * 4 * orientations]; by block, then
    cell of the block, then orientation."""

    def __init__(self, settings: HogSettings) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, pictures: Tensor) -> Tensor:
        across, down = _strongest(*_gradients(pictures))  # [n, S, S]
        size, bins = torch.hypot(across, down), _bins(across, down, self.settings.orientations)
        votes = torch.stack(
            [size * (bins == k) for k in range(self.settings.orientations)], dim=1
        )  # [n, orientations, S, S]
        cells = functional.avg_pool2d(votes, self.settings.cell)  # [n, orientations, C, C]
        blocks = cells.unfold(2, _BLOCK, 1).unfold(3, _BLOCK, 1)  # [n, orientations, B, B, 2, 2]
        n, orientations, rows, columns = blocks.shape[:4]
        vectors = blocks.permute(0, 2, 3, 4, 5, 1).reshape(
            n, rows * columns, _BLOCK * _BLOCK * orientations
        )
        return _unit(_unit(vectors).clamp(max=_CLIPPED)).flatten(1)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / torch.sqrt((vectors**2).sum(dim=-1, keepdim=True) + _EPSILON**2)


def _gradients(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along rows and along columns, [n, K, S, S] each; 0 at the border."""
    across, down = torch.zeros_like(pictures), torch.zeros_like(pictures)
    across[..., :, 1:-1] = pictures[..., :, 2:] - pictures[..., :, :-2]
    down[..., 1:-1, :] = pictures[..., 2:, :] - pictures[..., :-2, :]
    return across, down


def _strongest(across: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the channel in which it is largest, the first of several, [n, S, S]."""
    best_across, best_down = across[:, 0], down[:, 0]
    for channel in range(1, across.shape[1]):
        one, other = across[:, channel], down[:, channel]
        larger = one**2 + other**2 > best_across**2 + best_down**2
        best_across = torch.where(larger, one, best_across)
        best_down = torch.where(larger, other, best_down)
    return best_across, best_down


def _bins(across: Tensor, down: Tensor, orientations: int) -> Tensor:
    """Which part of half a turn a gradient points to, 0 to orientations - 1. By the side of each
    edge that it lies on, so that no angle is rounded at the ends."""
    turned = (down < 0) | ((down == 0) & (across < 0))
    across, down = torch.where(turned, -across, across), torch.where(turned, -down, down)
    edges = [math.pi * k / orientations for k in range(1, orientations)]
    beyond = [math.cos(edge) * down - math.sin(edge) * across >= 0 for edge in edges]
    # A gradient of no length lies on every edge; it has no vote.
    return torch.stack(beyond).sum(dim=0)
