"""Random parts of pictures: the standard augmentation of ImageNet networks, as boxes.

Source: Szegedy et al. 2015, "Going deeper with convolutions", in the form everybody uses
(torchvision's RandomResizedCrop): area 8 to 100 % of the picture, aspect log-uniform in 3/4 to 4/3,
sides rounded to pixels; of ten draws the first that fits into the picture, placed uniformly; where
none fits, the largest centred part whose aspect lies in that range.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "crop_boxes"]

DRAWS = 22
"""Uniform draws per picture: ten areas, ten aspects, two places."""

_TRIES = 10
_AREA = 0.08, 1.0
_ASPECT = 3 / 4, 4 / 3


def crop_boxes(draws: NDArray[np.float64], height: int, width: int) -> NDArray[np.int64]:
    """Where to cut pictures of height x width pixels: int64 [n, 4], left, top, right, bottom.

    Args:
        draws: float64 [n, 22], uniform in [0, 1).
    """
    area = height * width * (_AREA[0] + draws[:, :_TRIES] * (_AREA[1] - _AREA[0]))
    low, high = np.log(_ASPECT)
    aspect = np.exp(low + draws[:, _TRIES : 2 * _TRIES] * (high - low))
    # [2, n, 10]
    sides = np.stack((np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect)))).astype(
        np.int64
    )
    wide, tall = sides
    # [n, 10]
    fits: NDArray[np.bool_] = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = np.take_along_axis(sides, fits.argmax(axis=1)[None, :, None], axis=2)[:, :, 0]  # [2, n]
    largest = _largest(height, width)
    wide, tall = np.where(fits.any(axis=1), first, np.array(largest)[:, None])
    free = np.stack((width - wide, height - tall))
    left, top = np.where(
        fits.any(axis=1), (draws[:, 2 * _TRIES :].T * (free + 1)).astype(np.int64), free // 2
    )
    return np.stack((left, top, left + wide, top + tall), axis=1)


def _largest(height: int, width: int) -> tuple[int, int]:
    """(width, height) of the largest part of an allowed aspect."""
    if width / height < _ASPECT[0]:
        return width, round(width / _ASPECT[0])
    if width / height > _ASPECT[1]:
        return round(height * _ASPECT[1]), height
    return width, height
