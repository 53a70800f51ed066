"""Features of blocks of pictures: a backbone's answer before its last layer. Adding a backbone to a
workspace: weights from a cache or a file, never downloaded; ``hog`` needs none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.errors import UsageError
from zoo.fill.features import FeatureTask
from zoo.fill.fold import for_answers
from zoo.models import check_input
from zoo.models.at_hand import HOG, PACKAGED, packaged
from zoo.models.hog import SIDE, Hog, HogSettings, settings_for
from zoo.spec import Preprocessing, canonical_json
from zoo.store.features import (
    Backbone,
    FeatureReceipt,
    backbone_of,
    backbones,
    commit_backbone,
    write_features,
)
from zoo.store.heartbeat import heartbeat
from zoo.store.workspace import Workspace
from zoo.training.loop import evaluation_batch
from zoo.training.run import settle
from zoo.training.tensors import normalise

__all__ = ["FeatureWorker", "Opened", "open_backbone", "recorded_backbone"]


@dataclass(frozen=True)
class Opened:
    """A backbone whose weights were read and fit. ``data``: a safetensors file."""

    backbone: Backbone
    data: bytes
    provenance: Mapping[str, str | None]

    def commit(self, workspace: Workspace) -> str:
        """Its key, once it is in a workspace."""
        with heartbeat(workspace):
            commit_backbone(workspace, self.backbone, self.data, self.provenance)
        return self.backbone.key


def open_backbone(
    name: str,
    weights: Path | None = None,
    input_size: int | None = None,
    fit: Literal["crop", "resize"] = "crop",
) -> Opened:
    """Read pretrained weights of a network of timm, to make features with.

    Args:
        name: ``ARCH`` or ``ARCH.TAG``; ``hog`` = histograms of oriented gradients, which have no
            weights (``zoo.models.hog``).
        weights: a file; None = what is in a cache of this machine, or in an installed package
            (``zoo.models.at_hand``).
        input_size: side in pixels; None = timm's, or 64 of ``hog``.

    Raises:
        UnknownNameError: for a network or weights that timm does not know.
        UsageError: if no file is named and none is cached, the size is too small, or ``hog`` is
            given weights.
        DataError: if a file cannot be read, or does not fit.
    """
    if name == HOG:
        return _open_hog(weights, input_size or SIDE, fit)
    # timm, of 200 MB: not for hog, nor for a backbone whose features are there.
    from zoo.models.pretrained import facts_of, load, whereabouts

    facts = facts_of(name)
    size = input_size or facts.size
    check_input(facts.arch, size)
    package = None
    if weights is None and whereabouts(facts) is None:
        weights = package = packaged(facts.arch)
    found = load(facts, weights)
    network = _without_last(facts.arch, facts.outputs, size, found.data)
    with torch.inference_mode():
        made = network(torch.zeros(1, 3, size, size))
    if made.dim() != 2:
        raise UsageError(
            f"{name}: without its last layer it gives {tuple(made.shape[1:])} for a picture."
            " Allowed: networks that give one vector. Choose another backbone, such as resnet50."
        )
    tag = facts.tag if weights is None or "." in name else None
    backbone = Backbone(
        facts.arch,
        tag,
        facts.outputs,
        int(made.shape[1]),
        found.sha256,
        Preprocessing(size=size, channels=3, fit=fit, mean=facts.mean, std=facts.std),
    )
    cached = weights is None
    provenance = {
        "file": found.file,
        "fitted_by": found.fit,
        "source": facts.source if cached else PACKAGED[facts.arch] if package else None,
        "licence": facts.licence if cached else None,
        "pretrained_on": facts.pretrained_on if cached else None,
    }
    return Opened(backbone, found.data, provenance)


def _open_hog(weights: Path | None, size: int, fit: Literal["crop", "resize"]) -> Opened:
    """Histograms of oriented gradients as a backbone: its settings stand where weights do."""
    if weights is not None:
        raise UsageError(f"--weights {weights}: hog has none. Leave --weights out.")
    settings = settings_for(size)
    with torch.inference_mode():
        width = int(Hog(settings)(torch.zeros(1, 3, size, size)).shape[1])
    digest = hashlib.sha256(canonical_json(settings.as_json()).encode()).hexdigest()
    # Grey values 0 to 255: whole numbers, whose differences are exact in float32.
    scale = (1 / 255,) * 3
    preprocessing = Preprocessing(size=size, channels=3, fit=fit, mean=(0.0,) * 3, std=scale)
    backbone = Backbone(HOG, None, 0, width, digest, preprocessing)
    numbers = {key: torch.tensor(value) for key, value in asdict(settings).items()}
    source = "Dalal, Triggs 2005"
    provenance = {"file": None, "fitted_by": None, "source": source, "licence": None}
    data = safetensors.torch.save(numbers)
    return Opened(backbone, data, {**provenance, "pretrained_on": None})


def _network(backbone: Backbone, weights: bytes) -> nn.Module:
    """What makes a backbone's features."""
    if backbone.network == HOG:
        numbers = safetensors.torch.load(weights)
        return Hog(HogSettings(**{key: int(value) for key, value in numbers.items()})).eval()
    size = backbone.preprocessing.size
    return _without_last(backbone.network, backbone.outputs, size, weights)


def recorded_backbone(
    workspace: Workspace, name: str, input_size: int | None = None
) -> Opened | None:
    """A backbone that a workspace has, by its key, ARCH.TAG, or ARCH where it has one such alone;
    None if it has none.

    Raises:
        UsageError: if several are meant; names them.
    """
    known = backbones(workspace)
    meant = [b for b in known if name == b.key] or [
        b
        for b in known
        if name in (b.name, b.network) and input_size in (None, b.preprocessing.size)
    ]
    if len(meant) > 1:
        raise UsageError(
            f"{name}: {workspace.location} has {len(meant)} such backbones. Name one of them:"
            f" --features {', --features '.join(b.key for b in meant)}."
        )
    if not meant:
        return None
    _, commit = backbone_of(workspace, meant[0].key)
    data = workspace.files.read_verified(commit.files[0])
    return Opened(meant[0], data, dict(commit.facts["provenance"]))


def _without_last(arch: str, outputs: int, size: int, weights: bytes) -> nn.Module:
    """The network up to what its last layer is given, in evaluation mode."""
    from zoo.models.backbones import create

    network = create(arch, num_classes=outputs, in_channels=3, size=size)
    network.load_state_dict(safetensors.torch.load(weights))
    reset = getattr(network, "reset_classifier", None)
    if reset is None:
        raise UsageError(
            f"{arch}: timm cannot take its last layer off. Choose another backbone, such as"
            " resnet50."
        )
    reset(0)
    return network.eval()


class FeatureWorker:
    """Runs backbones over decoded shards; keeps the newest one loaded. One per process."""

    def __init__(self, workspace: Workspace, device: torch.device) -> None:
        settle(device)
        self.workspace, self.device = workspace, device
        self._loaded: dict[str, tuple[Backbone, nn.Module]] = {}

    @torch.inference_mode()
    def __call__(
        self, task: FeatureTask, images: NDArray[np.uint8], unreadable: NDArray[np.bool_]
    ) -> FeatureReceipt:
        """Features of a task's pictures, uint8 [n, S, S, 3], written as one part.

        Raises:
            StoreError: if they are not finite.
        """
        backbone, network = self._backbone(task.unit.backbone)
        side = backbone.preprocessing.size
        size, last = evaluation_batch(side, self.device), self.device.type == "cpu"
        made: list[Tensor] = []
        for start in range(0, len(images), size):
            raw = torch.from_numpy(np.ascontiguousarray(images[start : start + size]))
            pictures = normalise(raw.to(self.device), backbone.preprocessing, channels_last=last)
            made.append(network(pictures).float().cpu())
        vectors = torch.cat(made).numpy()
        return write_features(self.workspace.files, task.unit, task.shard, vectors, unreadable)

    def _backbone(self, key: str) -> tuple[Backbone, nn.Module]:
        if key not in self._loaded:
            backbone, commit = backbone_of(self.workspace, key)
            weights = self.workspace.files.read_verified(commit.files[0])
            network = _network(backbone, weights)
            for parameter in network.parameters():
                parameter.requires_grad_(False)
            last = self.device.type == "cpu"
            network = for_answers(network.to(self.device), channels_last=last)
            self._loaded = {key: (backbone, network)}
        return self._loaded[key]
