"""Pretrained weights of timm's networks, from a file or from the caches that timm's own downloads
go to. Nothing is downloaded but by ``download``, which ``zoo models fetch --download`` asks for.

A state fits a network in one of three ways, tried in this order: by its names; by timm's own
conversion of older names (``checkpoint_filter_fn`` of the network's module); or in order, tensor by
tensor, where both have equally many of equal shapes and roles (the last part of the name: a running
mean is never taken for a weight).
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.models import ALIASES, backbones

__all__ = ["Facts", "Pretrained", "download", "facts_of", "load", "whereabouts"]

Fit = Literal["names", "timm's conversion", "order"]


@dataclass(frozen=True)
class Facts:
    """What timm says of an architecture's weights. ``arch``: without tag. ``size``: pixels;
    ``mean``, ``std``: in units of 0..1. ``licence``, ``source``, ``pretrained_on``: of the weights
    of ``tag``; None where timm says nothing."""

    arch: str
    tag: str | None
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_share: float
    interpolation: str
    outputs: int
    licence: str | None
    source: str | None
    pretrained_on: str | None


@dataclass(frozen=True)
class Pretrained:
    """Weights that fit. ``data``: a safetensors file under the network's own names. ``sha256``: of
    the file they were read from."""

    data: bytes
    sha256: str
    tensors: int
    fit: Fit
    file: str


_SOURCES = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
}


def facts_of(name: str) -> Facts:
    """What timm says of ``ARCH`` or ``ARCH.TAG``.

    Raises:
        UnknownNameError: if timm has no such architecture, or no such weights of it.
    """
    arch, _, tag = name.partition(".")
    arch = ALIASES.get(arch, arch)
    if arch not in backbones.names():
        near = backbones.near_names(arch)
        raise UnknownNameError(
            "network of timm", arch, near, "Any name that timm.list_models() gives is allowed."
        )
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{arch}.*")]
    tags += [] if timm.get_pretrained_cfg(arch) is None else [timm.get_pretrained_cfg(arch).tag]
    if tag and tag not in tags:
        near = difflib.get_close_matches(tag, tags, n=3) or sorted(set(tags))
        raise UnknownNameError(f"weights of {arch}", tag, near)
    found = timm.get_pretrained_cfg(f"{arch}.{tag}" if tag else arch)
    settings: dict[str, Any] = {} if found is None else found.to_dict()
    tag = tag or str(settings.get("tag") or "")
    seen = [words for part, words in _SOURCES.items() if part in tag.split("_")]
    hub, url = settings.get("hf_hub_id"), settings.get("url")
    return Facts(
        arch=arch,
        tag=tag or None,
        size=int(settings.get("input_size", (3, 224, 224))[-1]),
        mean=tuple(map(float, settings.get("mean", (0.485, 0.456, 0.406)))),
        std=tuple(map(float, settings.get("std", (0.229, 0.224, 0.225)))),
        crop_share=float(settings.get("crop_pct", 0.875)),
        interpolation=str(settings.get("interpolation", "bicubic")),
        outputs=int(settings.get("num_classes", 1000)),
        licence=settings.get("license"),
        source=f"https://huggingface.co/{hub}" if hub else url,
        pretrained_on=" and ".join(seen) or None,
    )


def whereabouts(facts: Facts) -> Path | None:
    """The weights in a cache on this machine; None if they are in none."""
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(_name(facts))
    hub = str(settings.hf_hub_id or "") if settings is not None else ""
    for file in ("model.safetensors", "pytorch_model.bin") if hub else ():
        found = try_to_load_from_cache(hub, file)
        if isinstance(found, str):
            return Path(found)
    url = settings.url if settings is not None else ""
    if url:
        path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
        if path.is_file():
            return path
    return None


def download(facts: Facts) -> None:
    """Download weights into timm's cache, as timm does.

    Raises:
        UsageError: if timm knows no source, or it cannot be reached.
    """
    name = _name(facts)
    if facts.source is None:
        raise UsageError(
            f"weights of {name}: timm knows of none to download. Name a file with --weights FILE,"
            " or choose another network: timm.list_pretrained() has them all."
        )
    try:
        timm.create_model(name, pretrained=True)
    except Exception as error:  # noqa: BLE001 - whatever stands between here and there
        raise UsageError(
            f"weights of {name}: {facts.source} could not be read ({type(error).__name__}:"
            f" {str(error).partition(chr(10))[0][:160]}). Try again where there is a network, or"
            " name a file with --weights FILE."
        ) from None


def _name(facts: Facts) -> str:
    return f"{facts.arch}.{facts.tag}" if facts.tag else facts.arch


def _cached(facts: Facts) -> Path:
    """``whereabouts``.

    Raises:
        UsageError: if they are in no cache; says what to do.
    """
    if (found := whereabouts(facts)) is not None:
        return found
    name = _name(facts)
    raise UsageError(
        f"weights of {name}: in no cache of this machine, and nothing is downloaded unasked. Name"
        f" a file with --weights FILE, or see what a download is: zoo models fetch {name}"
    )


def load(facts: Facts, path: Path | None) -> Pretrained:
    """Read weights and fit them to their network.

    Args:
        path: a .safetensors or torch file; None = the caches.

    Raises:
        UsageError: if no file is named and none is cached.
        DataError: if a file cannot be read, or does not fit; says what differs.
    """
    path = path or _cached(facts)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        state = timm.models.load_state_dict(str(path), device="cpu", weights_only=True)
        state = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # noqa: BLE001 - torch and safetensors raise what they stumble over
        raise DataError(
            f"{path}: cannot be read as weights ({type(error).__name__}"
            f" {str(error).partition(chr(10))[0][:160]}). Allowed: .safetensors, and torch files of"
            " tensors alone. Fetch the file again."
        ) from None
    network = backbones.create(
        facts.arch, num_classes=facts.outputs, in_channels=3, size=facts.size
    )
    fit, fitted = _fitted(network, state, path, facts)
    tensors = {name: value.detach().contiguous() for name, value in fitted.items()}
    return Pretrained(safetensors.torch.save(tensors), digest, len(state), fit, path.name)


def _fitted(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, facts: Facts
) -> tuple[Fit, Mapping[str, Tensor]]:
    problem = _misfit(network, state)
    if problem is None:
        return "names", network.state_dict()
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is not None and len(inspect.signature(convert).parameters) >= 2:
        try:
            converted = convert(dict(state), network)
        except Exception:  # noqa: BLE001 - it is made for other files than this one
            converted = {}
        if converted and _misfit(network, converted) is None:
            return "timm's conversion", network.state_dict()
    own = network.state_dict()
    pairs = list(zip(own.items(), state.items(), strict=False))
    same = len(own) == len(state) and all(
        a.shape == b.shape and name.rpartition(".")[2] == other.rpartition(".")[2]
        for (name, a), (other, b) in pairs
    )
    if same:
        network.load_state_dict({name: value for (name, _), (_, value) in pairs})
        return "order", network.state_dict()
    raise DataError(
        f"{path}: does not fit {facts.arch} with {facts.outputs:,} outputs: {problem}. It holds"
        f" {len(state)} tensors, the network has {len(own)}. Name the network they belong to."
    )


def _misfit(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    try:
        network.load_state_dict(dict(state))
    except (RuntimeError, TypeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines()]
        return (lines[1] if len(lines) > 1 else lines[0])[:160].rstrip(".")
    return None
