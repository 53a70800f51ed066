"""The device a worker computes on: what it was given, or a refusal; never another in its stead."""

from __future__ import annotations

import torch

from zoo.errors import UsageError
from zoo.machine import gpu_share, own_cpus

__all__ = ["device_for", "name_of", "visible_gpus"]


def visible_gpus() -> int:
    """GPUs that torch can drive from this process."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def name_of(device: torch.device) -> str:
    """As its maker calls a GPU; empty for a CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


def device_for(gpus: float) -> torch.device:
    """The device of a worker that was given so many GPUs: the CPU for 0, else CUDA's.

    Raises:
        UsageError: if a GPU is asked for and torch sees none. Nothing is ever computed on a CPU in
            its stead.
    """
    if not gpu_share(gpus):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        built = (
            "torch sees no GPU here"
            if torch.version.cuda or torch.version.hip
            else "the torch installed here is built for CPUs"
        )
        raise UsageError(
            f"--gpus {gpus:g}: {built}, and this machine has CPU {own_cpus()}, GPU 0. Leave --gpus"
            " out to run on the CPU."
        )
    return torch.device("cuda")
