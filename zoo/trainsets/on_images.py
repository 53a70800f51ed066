"""Treatments of pictures: noise, contrast, brightness."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.errors import UsageError
from zoo.spec import Scalar
from zoo.trainsets.steps import Count, Within

__all__ = [
    "check_contrast",
    "contrast",
    "gamma",
    "gaussian_noise",
    "gaussian_noise_each_epoch",
    "salt_pepper",
    "salt_pepper_each_epoch",
]


NoiseChannels = Literal["shared", "independent"]


# ------------------------------------------------------------------------------------------- images


def _to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Clip to 0..255, round (halves to even), uint8: the order study 1's reading fixes."""
    return np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)


def _pixel_draws(
    key: str, images: NDArray[np.uint8], example_ids: NDArray[np.int64], channels: NoiseChannels
) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), float64 [n, H, W, 1] (one per pixel, ``shared``) or [n, H, W, K]
    (``independent``)."""
    count, height, width, depth = images.shape
    depth = depth if channels == "independent" else 1
    return keyed.uniform(key, example_ids, height * width * depth).reshape(
        count, height, width, depth
    )


def gaussian_noise(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    sigma: Annotated[float, Within(0)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
) -> NDArray[np.uint8]:
    """Adds normal noise of standard deviation ``sigma`` (grey levels of 0..255), the same in all
    channels or independent per channel.

    clip(x + sigma * z), rounded. One draw per picture, the same in every epoch; z does not depend
    on sigma. Source: study 1 RQ4.
    """
    return _with_gaussian(f"gaussian_noise/{seed}", images, example_ids, sigma, channels)


def _with_gaussian(
    key: str,
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    sigma: float,
    channels: NoiseChannels,
) -> NDArray[np.uint8]:
    from scipy.special import ndtri  # 0.2 s to import, which a plan need not wait for

    draws = _pixel_draws(key, images, example_ids, channels)
    # A draw of exactly 0 would be -infinity; 2**-54 lies below every other draw.
    noise = ndtri(np.maximum(draws, 2.0**-54))
    return _to_bytes(images + sigma * noise)


def salt_pepper(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    share: Annotated[float, Within(0, 0.5)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
) -> NDArray[np.uint8]:
    """Makes a share of the pixels black and the same share white: 0 where a draw is under
    ``share``, 255 where it is over 1 - ``share``.

    Corrupted pixels: 2 * share on average (share = 0.4 leaves 20 %). Source: study 1 RQ4, where
        share is called a and b = 1 - a.
    """
    return _with_salt_pepper(f"salt_pepper/{seed}", images, example_ids, share, channels)


def _with_salt_pepper(
    key: str,
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    share: float,
    channels: NoiseChannels,
) -> NDArray[np.uint8]:
    draws = _pixel_draws(key, images, example_ids, channels)
    salted = np.where(draws > 1.0 - share, np.uint8(255), images)
    return np.where(draws < share, np.uint8(0), salted)


def gamma(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],  # noqa: ARG001 - every treatment of images has it
    *,
    gamma: Annotated[float, Within(0)],
) -> NDArray[np.uint8]:
    """Brightness: 255 * (x / 255) ** gamma, rounded; gamma over 1 darkens, under 1 brightens.

    Source: study 1 RQ4, which names scikit-image's ``exposure.adjust_gamma``; equal to it on uint8.
    """
    table = _to_bytes(255.0 * (np.arange(256) / 255.0) ** gamma)  # [256]
    return table[images]


def contrast(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],  # noqa: ARG001 - every treatment of images has it
    *,
    factor: Annotated[float, Within(0)] | Literal["inf"],
    pivot: Annotated[float, Within(0, 255)] | Literal["image"] = "image",
    overflow: Literal["clip", "wrap"] = "clip",
) -> NDArray[np.uint8]:
    """Contrast: pivot + factor * (x - pivot), rounded; factor under 1 weakens, over 1 strengthens.

    ``pivot``: the grey level (0..255) that stays, such as the data set's mean, or ``image`` = each
    picture's own mean over pixels and channels. ``overflow``: ``clip`` to 0..255, or ``wrap``
    around modulo 256 as arithmetic on bytes without a check does. ``factor=inf``, the limit of
    clipping: 0 under the pivot, 255 over it, the pivot where it is met.

    Source: study 1 RQ4 on MNIST ("weaker", "stronger"); the paper gives no factor, claim S1.12 asks
        which factors fit its numbers.
    """
    middle = (
        images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
        if isinstance(pivot, str)
        else np.float64(pivot)
    )
    if isinstance(factor, str):
        return np.where(
            images < middle, np.uint8(0), np.where(images > middle, np.uint8(255), images)
        )
    values = middle + factor * (images - middle)  # float64 [n, H, W, K]
    if overflow == "clip":
        return _to_bytes(values)
    return np.mod(np.rint(values), 256.0).astype(np.uint8)


def check_contrast(params: dict[str, Scalar]) -> None:
    if params["factor"] == "inf" and params["overflow"] == "wrap":
        raise UsageError(
            "contrast: factor = inf has no value that could wrap around. Allowed with"
            " overflow=wrap: a number. Use overflow=clip."
        )


def gaussian_noise_each_epoch(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    sigma: Annotated[float, Within(0)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
    epoch: int,
) -> NDArray[np.uint8]:
    """As ``gaussian_noise``, but drawn anew in every epoch: an augmentation, not a damaged data
    set. A different experiment from study 1's."""
    return _with_gaussian(
        f"gaussian_noise_each_epoch/{seed}/{epoch}", images, example_ids, sigma, channels
    )


def salt_pepper_each_epoch(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    share: Annotated[float, Within(0, 0.5)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
    epoch: int,
) -> NDArray[np.uint8]:
    """As ``salt_pepper``, but drawn anew in every epoch: an augmentation, not a damaged data set. A
    different experiment from study 1's."""
    return _with_salt_pepper(
        f"salt_pepper_each_epoch/{seed}/{epoch}", images, example_ids, share, channels
    )
