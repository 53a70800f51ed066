"""Checkpoints: safetensors with the spec beside the weights. No pickle is ever written or read.

A checkpoint file holds the model's state; its metadata repeats what the commit record says (spec,
epoch, preprocessing, class list), so that a lone file explains itself. A resume file also holds the
optimiser's state and the curve so far, and is scratch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from zoo import models
from zoo.errors import StoreError
from zoo.spec import Preprocessing, canonical_json
from zoo.store.commits import Commit
from zoo.store.files import FileRef, Files
from zoo.store.ledger import epoch_of_state
from zoo.training.loop import Within

__all__ = [
    "drop_resume",
    "load_classifier",
    "load_classifiers",
    "load_resume",
    "pack",
    "save_checkpoint",
    "save_resume",
    "unpack",
    "within_epoch",
]


_MODEL = "model."
_OPTIMIZER = "optimizer."
_WITHIN = "within."


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in state.items()}


def pack(
    model: nn.Module, optimizer: torch.optim.Optimizer, within: Within | None = None
) -> dict[str, Tensor]:
    """Flat name -> tensor of a model and its optimiser, and of where an epoch stands."""
    tensors = {f"{_MODEL}{name}": tensor for name, tensor in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"{_OPTIMIZER}{index}.{slot}"] = value
    if within is not None:
        tensors |= {f"{_WITHIN}{name}": tensor for name, tensor in within.tensors.items()}
    return _contiguous(tensors)


def within_epoch(tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> Within | None:
    """Where the epoch of a loaded state stands; None between two epochs."""
    if "within" not in progress:
        return None
    kept = {
        name.removeprefix(_WITHIN): tensor
        for name, tensor in tensors.items()
        if name.startswith(_WITHIN)
    }
    return Within(progress["within"]["step"], progress["within"]["seen"], kept)


def unpack(
    tensors: Mapping[str, Tensor], model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Load a packed state into a fresh model and optimiser of the same training."""
    model.load_state_dict(
        {
            name.removeprefix(_MODEL): tensor
            for name, tensor in tensors.items()
            if name.startswith(_MODEL)
        }
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            index, slot = name.removeprefix(_OPTIMIZER).split(".", 1)
            state.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
    # Fused optimisers walk weight and moments by memory order, unchecked: a moment has to lie as
    # its weight does (channels_last).
    for parameter in model.parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and slot != "step":
                optimizer.state[parameter][slot] = torch.empty_like(
                    parameter, dtype=value.dtype
                ).copy_(value)


def _writer(tensors: dict[str, Tensor], about: Mapping[str, Any]) -> Callable[[Path], None]:
    """Writes by plain file I/O: ``save_file`` reports a full disk as an error of its own that is no
    OSError."""
    data = safetensors.torch.save(tensors, metadata={"zoo": canonical_json(about)})

    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


def save_checkpoint(
    files: Files, classifier: str, model: nn.Module, metadata: Mapping[str, Any]
) -> FileRef:
    """Write one classifier's weights; ``metadata`` must be JSON."""
    return files.seal(
        f"checkpoints/{classifier[:2]}",
        classifier,
        ".safetensors",
        _writer(_contiguous(model.state_dict()), metadata),
    )


def load_classifier(
    files: Files, commit: Commit, device: torch.device
) -> tuple[nn.Module, Preprocessing]:
    """A committed classifier in evaluation mode, its file verified against the commit.

    Raises:
        StoreError: if the file is missing, damaged, or does not fit its architecture.
    """
    return load_classifiers(files, [commit], device)[0]


def load_classifiers(
    files: Files, commits: Sequence[Commit], device: torch.device
) -> list[tuple[nn.Module, Preprocessing]]:
    """As ``load_classifier`` of each, in order; their files are read together."""
    contents = files.together(files.read_verified, (commit.files[0] for commit in commits))
    return [
        _classifier(commit, content, device)
        for commit, content in zip(commits, contents, strict=True)
    ]


def _classifier(
    commit: Commit, content: bytes, device: torch.device
) -> tuple[nn.Module, Preprocessing]:
    facts = commit.facts
    tensors = safetensors.torch.load(content)
    preprocessing = Preprocessing(**facts["preprocessing"])
    # Pretrained networks have outputs of their own, of which some are the data set's classes.
    arch = facts.get("network", facts["arch"])
    network = models.build(
        arch,
        num_classes=facts.get("outputs", facts["num_classes"]),
        in_channels=preprocessing.channels,
        size=preprocessing.size,
    )
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise StoreError(
            f"checkpoint {commit.key} does not fit architecture {arch!r}:"
            f" {str(error).splitlines()[0]}. Train it again."
        ) from None
    if (columns := facts.get("columns")) is not None:
        network = nn.Sequential(network, _Columns(columns))
    network.to(device).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network, preprocessing


class _Columns(nn.Module):
    """Some outputs of a network, in an order: logits [n, outputs] -> [n, M]."""

    def __init__(self, columns: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("columns", torch.tensor(list(columns)), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        return logits.index_select(1, self.get_buffer("columns"))


def save_resume(
    files: Files,
    training_id: str,
    epoch: int,
    tensors: dict[str, Tensor],
    progress: Mapping[str, Any],
    step: int = 0,
) -> None:
    """Write the state to go on from after ``epoch`` and ``step`` steps of the next one, then drop
    older states of the same training."""
    folder = f"resume/{training_id}"
    # Names sort by progress: e0003-..., e0003s000120-..., e0004-...
    stem = f"e{epoch:04d}s{step:06d}" if step else f"e{epoch:04d}"
    kept = files.seal(folder, stem, ".safetensors", _writer(tensors, progress))
    for name in files.names(folder):
        if name < kept.path.rsplit("/", 1)[1] and not name.startswith(f"{stem}-"):
            files.remove(f"{folder}/{name}")


def load_resume(
    files: Files, training_id: str
) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """(epoch, tensors, progress) of the newest state whose content matches its name; damaged ones
    are passed over."""
    folder = f"resume/{training_id}"
    for name in reversed(files.names(folder)):
        try:
            data = files.read(f"{folder}/{name}")
        except StoreError:  # another process on the same training has dropped it since
            if files.exists(f"{folder}/{name}"):
                raise
            continue
        digest = name.removesuffix(".safetensors").partition("-")[2]
        if hashlib.sha256(data).hexdigest()[:16] != digest:
            continue
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return (
            epoch_of_state(name),
            safetensors.torch.load(data),
            json.loads(header["__metadata__"]["zoo"]),
        )
    return None


def drop_resume(files: Files, training_id: str) -> None:
    """Remove the scratch states of a training."""
    files.remove_folder(f"resume/{training_id}")
