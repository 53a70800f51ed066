"""Pictures as tensors: normalised, augmented."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.spec import Preprocessing, Recipe

__all__ = ["augment", "normalise"]


def normalise(raw: Tensor, preprocessing: Preprocessing, recipe: Recipe | None = None) -> Tensor:
    """uint8 [n, H, W, K] -> float32 [n, K, H, W], (x / 255 - mean) / std per channel."""
    shape = (1, 1, 1, preprocessing.channels)
    mean = torch.tensor(preprocessing.mean, device=raw.device).mul(255).view(shape)
    scale = torch.tensor(preprocessing.std, device=raw.device).mul(255).reciprocal().view(shape)
    x = raw.float().sub_(mean).mul_(scale).permute(0, 3, 1, 2)
    # The pictures lie channels-last already; a permuted view is that memory format.
    return x if recipe is not None and recipe.channels_last else x.contiguous()


def augment(raw: Tensor, recipe: Recipe) -> Tensor:
    """Augmented pictures, uint8 [n, H, W, K], drawn from torch's generator (seeded per epoch)."""
    if recipe.augment == "none":
        return raw
    n, height, width, _ = raw.shape
    flip = torch.rand(n, device=raw.device) < 0.5
    raw = torch.where(flip.view(-1, 1, 1, 1), raw.flip(2), raw)
    if recipe.augment == "crop_flip":
        padded = functional.pad(raw, (0, 0, 4, 4, 4, 4))
        top, left = torch.randint(0, 9, (2, n, 1), device=raw.device)
        rows = (top + torch.arange(height, device=raw.device)).view(n, height, 1)
        columns = (left + torch.arange(width, device=raw.device)).view(n, 1, width)
        return padded[torch.arange(n, device=raw.device).view(n, 1, 1), rows, columns]
    if recipe.augment == "resized_crop_flip":
        # Area 8..100 % and aspect 3/4..4/3 as in the standard ImageNet recipe, by bilinear sampling of the whole batch at once.
        area = torch.empty(n, device=raw.device).uniform_(0.08, 1.0)
        aspect = torch.exp(torch.empty(n, device=raw.device).uniform_(float(np.log(3 / 4)), float(np.log(4 / 3))))
        wide, high = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
        shift = (torch.rand(2, n, device=raw.device) * 2 - 1) * torch.stack((1 - wide, 1 - high))
        zero = torch.zeros_like(wide)
        theta = torch.stack((torch.stack((wide, zero, shift[0]), 1), torch.stack((zero, high, shift[1]), 1)), 1)
        grid = functional.affine_grid(theta, [n, raw.shape[3], height, width], align_corners=False)
        sampled = functional.grid_sample(
            raw.permute(0, 3, 1, 2).float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        return sampled.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8)
    return raw
