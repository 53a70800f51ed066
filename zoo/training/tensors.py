"""Pictures as tensors: normalised, augmented."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zoo.spec import Preprocessing, Recipe
from zoo.trainsets.crops import DRAWS, crop_boxes

__all__ = ["augment", "draw", "moved", "normalise", "resized_crop"]


def normalise(raw: Tensor, preprocessing: Preprocessing, *, channels_last: bool = False) -> Tensor:
    """uint8 [n, H, W, K] -> float32 [n, K, H, W], (x / 255 - mean) / std per channel. Features
    float32 [n, D] stay: what is done to them is part of their head."""
    if preprocessing.features is not None:
        return raw
    shape = (1, 1, 1, preprocessing.channels)
    mean = torch.tensor(preprocessing.mean, device=raw.device).mul(255).view(shape)
    scale = torch.tensor(preprocessing.std, device=raw.device).mul(255).reciprocal().view(shape)
    x = raw.float().sub_(mean).mul_(scale).permute(0, 3, 1, 2)
    # The pictures lie channels-last already; a permuted view is that memory format.
    return x if channels_last else x.contiguous()


def augment(
    raw: Tensor,
    recipe: Recipe,
    *,
    cropped: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Augmented pictures, uint8 [n, H, W, K], drawn from a generator that is seeded per epoch (None
    = torch's own). ``cropped``: they are random parts already."""
    if recipe.augment == "none":
        return raw
    raw = moved(raw, *draw(len(raw), recipe, raw.device, generator))
    if recipe.augment == "resized_crop_flip" and not cropped:
        return resized_crop(raw, generator)
    return raw


def draw(
    n: int, recipe: Recipe, device: torch.device, generator: torch.Generator | None = None
) -> tuple[Tensor, ...]:
    """What is drawn for n pictures: bool [n], which are mirrored; for ``crop_flip`` also int64 [2,
    n, 1], where the part begins, top and left, in a picture padded by 4."""
    flip = torch.rand(n, device=device, generator=generator) < 0.5
    if recipe.augment != "crop_flip":
        return (flip,)
    return flip, torch.randint(0, 9, (2, n, 1), device=device, generator=generator)


def moved(raw: Tensor, flip: Tensor, corners: Tensor | None = None) -> Tensor:
    """Pictures uint8 [n, H, W, K], mirrored and cropped as drawn by ``draw``."""
    n, height, width, _ = raw.shape
    raw = torch.where(flip.view(-1, 1, 1, 1), raw.flip(2), raw)
    if corners is None:
        return raw
    padded = functional.pad(raw, (0, 0, 4, 4, 4, 4))
    top, left = corners
    rows = (top + torch.arange(height, device=raw.device)).view(n, height, 1)
    columns = (left + torch.arange(width, device=raw.device)).view(n, 1, width)
    return padded[torch.arange(n, device=raw.device).view(n, 1, 1), rows, columns]


def resized_crop(raw: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A random part of each picture (``zoo.trainsets.crops``), scaled to the whole, uint8 [n, H, W,
    K]: cut out first, then enlarged bilinearly."""
    n, height, width, _ = raw.shape
    boxes = torch.from_numpy(
        crop_boxes(
            torch.rand(n, DRAWS, dtype=torch.float64, generator=generator).numpy(), height, width
        )
    ).to(raw.device)
    x = _sampled_places(boxes[:, 0], boxes[:, 2], width)[:, None, :].expand(n, height, width)
    y = _sampled_places(boxes[:, 1], boxes[:, 3], height)[:, :, None].expand(n, height, width)
    sampled = functional.grid_sample(
        raw.permute(0, 3, 1, 2).float(),
        torch.stack((x, y), 3),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return sampled.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)


def _sampled_places(start: Tensor, stop: Tensor, side: int) -> Tensor:
    """Where ``side`` output pixels lie in a part start..stop of ``side`` input pixels, [n, side] in
    -1..1 of the input.

    Kept within the centres of the part's own first and last pixel: what lies outside of it is not
    seen.
    """
    start, stop = start[:, None].float(), stop[:, None].float()
    steps = (torch.arange(side, device=start.device) + 0.5) / side
    centres = torch.minimum(torch.maximum(start + steps * (stop - start), start + 0.5), stop - 0.5)
    return centres * (2 / side) - 1
