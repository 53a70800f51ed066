"""Networks with pretrained weights become classifiers of a population: their weights are kept in
the workspace, and the fill asks them like the trained ones.

Their record is a ``member``, as that of imported predictions, with a file of weights. It says where
they come from (sha256, source, licence, what they were pretrained on) and which outputs of the
network are the data set's classes: an ImageNet network has 1,000, a data set may have some of them,
in its own order; the others are left out before anything is normalised.

**Which examples they have seen is not known** unless it is said, split by split: unknown is neither
held out nor in-sample. A network pretrained on ImageNet has seen its training split, and may have
been chosen by its validation split.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.data import Dataset
from zoo.data.imagenet_classes import wnids
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.exchange.foreign import read_class_names
from zoo.exchange.importing import slug
from zoo.spec import Preprocessing, content_id
from zoo.store.datasets import commit_dataset
from zoo.store.heartbeat import heartbeat
from zoo.store.workspace import Workspace

if TYPE_CHECKING:
    from zoo.models.pretrained import Facts

__all__ = ["PretrainedRequest", "add_pretrained", "output_columns"]


@dataclass(frozen=True)
class PretrainedRequest:
    """What is asked for.

    ``network``: ``ARCH`` or ``ARCH.TAG`` of timm. ``weights``: a file; None = what is in a cache.
    ``source``, ``licence``, ``pretrained_on``: None = what timm says of cached weights, else
    unknown. ``classes``: names of the network's outputs in order, a file; None = ImageNet's 1,000
    WordNet ids. ``same_order``: the data set's classes are the outputs, whatever they are called.
    ``in_train``, ``held_out``: splits whose examples are known to be, or not to be, among those
    they were trained on.
    """

    network: str
    weights: Path | None = None
    name: str | None = None
    source: str | None = None
    licence: str | None = None
    pretrained_on: str | None = None
    classes: Path | None = None
    same_order: bool = False
    fit: Literal["crop", "resize"] = "crop"
    input_size: int | None = None
    in_train: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class AddedMember:
    """What was added. ``notes``: what a user should know, a line each."""

    classifier_id: str
    name: str
    added: bool
    record: dict[str, Any]
    notes: tuple[str, ...]


def add_pretrained(
    workspace: Workspace, dataset: Dataset, request: PretrainedRequest
) -> AddedMember:
    """Check a network with pretrained weights and make it a classifier of a data set's population.
    It has no answers before the next fill.

    Raises:
        UsageError: for classes that are no outputs of the network, a grey data set, a split said to
            be both, or a name that is there with something else.
        UnknownNameError: for a network, weights or split that do not exist.
        DataError: for weights that cannot be read or do not fit.
    """
    from zoo.models import check_input
    from zoo.models.pretrained import facts_of, load

    facts = facts_of(request.network)
    seen = _membership(dataset, request)
    size = request.input_size or facts.size
    check_input(facts.arch, size)
    if dataset.channels != 3:
        raise UsageError(
            f"{dataset.name}: its pictures are grey, {request.network} takes colour. Pretrained"
            " networks need a data set of colour pictures."
        )
    columns = output_columns(dataset, facts, request)
    weights = load(facts, request.weights)
    cached = request.weights is None
    # Of a file nobody knows that it is the one that timm would take for want of a tag.
    tag = facts.tag if cached or "." in request.network else None
    name = request.name or f"{facts.arch}.{tag or 'pretrained'}"
    provenance = {
        "file": weights.file,
        "sha256": weights.sha256,
        "source": request.source or (facts.source if cached else None),
        "licence": request.licence or (facts.licence if cached else None),
        "pretrained_on": request.pretrained_on or (facts.pretrained_on if cached else None),
        "tensors": weights.tensors,
        "fitted_by": weights.fit,
    }
    preprocessing = Preprocessing(
        size=size, channels=3, fit=request.fit, mean=facts.mean, std=facts.std
    )
    classes = content_id(list(dataset.class_names))
    key = f"{slug(name)}-{content_id({'pretrained': name, 'dataset': dataset.fingerprint})}"
    identity = {
        "name": name,
        "dataset": dataset.fingerprint,
        "num_classes": len(dataset.class_names),
        "classes": classes,
        "network": facts.arch,
        "outputs": facts.outputs,
        "columns": None if columns == list(range(facts.outputs)) else columns,
        "weights": weights.sha256,
        "preprocessing": preprocessing.as_json(),
        "in_train": seen,
    }
    there = workspace.commits.get("member", key)
    if there is not None and dict(there.identity) != identity:
        differing = [k for k in identity if there.identity.get(k) != identity[k]]
        raise UsageError(
            f"{name!r} is in {workspace.location} with something else:"
            f" {', '.join(f'{k} {_short(there.identity.get(k))}' for k in differing)}; asked for:"
            f" {', '.join(f'{k} {_short(identity[k])}' for k in differing)}. What a classifier is"
            " never changes: choose another --name."
        )
    if there is None:
        workspace.check_writable()
        with heartbeat(workspace):
            commit_dataset(workspace, dataset, {})
            ref = workspace.files.seal(
                f"checkpoints/{key[:2]}",
                key,
                ".safetensors",
                lambda path: _written(path, weights.data),
            )
            workspace.commits.publish(
                "member",
                key,
                identity=identity,
                facts={**identity, "arch": name, "splits": {}, "provenance": provenance},
                files=[ref],
            )
    return AddedMember(
        key, name, there is None, provenance, tuple(_notes(facts, request, provenance, columns))
    )


def _written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _membership(dataset: Dataset, request: PretrainedRequest) -> dict[str, bool]:
    """What is known of each split: True = trained on all of it, False = on none."""
    for split in (*request.in_train, *request.held_out):
        if split not in dataset.splits:
            raise UnknownNameError(f"split of {dataset.name}", split, dataset.splits)
    if both := sorted({*request.in_train} & {*request.held_out}):
        raise UsageError(
            f"split {both[0]!r} is named by --in-train and by --held-out. Allowed: one of them, or"
            " neither where it is not known."
        )
    return {
        split: split in request.in_train
        for split in dataset.splits
        if split in request.in_train or split in request.held_out
    }


def output_columns(dataset: Dataset, facts: Facts, request: PretrainedRequest) -> list[int]:
    """Which output of the network each class of the data set is.

    Raises:
        UsageError: naming classes that are none.
        DataError: if a list of classes does not have one name per output.
    """
    outputs: Sequence[str] | None = None
    if request.classes is not None:
        outputs = read_class_names(request.classes)
        if len(outputs) != facts.outputs:
            raise DataError(
                f"{request.classes} names {len(outputs)} classes, {facts.arch} has"
                f" {facts.outputs:,} outputs. Allowed: one name per output, in their order."
            )
    elif facts.outputs == len(wnids()):
        outputs = wnids()
    if request.same_order:
        if len(dataset.class_names) != facts.outputs:
            raise UsageError(
                f"--same-order: {dataset.name} has {len(dataset.class_names):,} classes,"
                f" {facts.arch} has {facts.outputs:,} outputs. Allowed: equally many. Name the"
                " outputs with --classes FILE."
            )
        return list(range(facts.outputs))
    lacking = _lacking(dataset.class_names, outputs or ())
    if outputs is None or lacking:
        what = (
            f"nothing says what the {facts.outputs:,} outputs of {facts.arch} are"
            if outputs is None
            else f"classes {', '.join(lacking[:5])} are no outputs of {facts.arch}, which are"
            f" {', '.join(outputs[:3])}, ..."
        )
        raise UsageError(
            f"{dataset.name}: {what}. Classes are matched by WordNet id, as in folders called"
            " n01440764. Name the outputs with --classes FILE, a line each, or say --same-order"
            " where the classes are the outputs in their order."
        )
    place = {name: position for position, name in enumerate(outputs)}
    return [place[name] for name in dataset.class_names]


def _lacking(names: Sequence[str], outputs: Collection[str]) -> list[str]:
    known = set(outputs)
    return [name for name in names if name not in known]


def _notes(
    facts: Facts, request: PretrainedRequest, provenance: dict[str, Any], columns: Sequence[int]
) -> list[str]:
    notes = []
    unknown = [word for word in ("source", "licence", "pretrained_on") if not provenance[word]]
    if unknown:
        options = ", ".join(f"--{word.replace('_', '-')}" for word in unknown)
        notes.append(f"not known of these weights: {', '.join(unknown)}. Say it with {options}.")
    if provenance["fitted_by"] != "names":
        notes.append(
            f"the {provenance['tensors']} tensors were fitted by {provenance['fitted_by']}: their"
            " names are not those of timm. Shapes and roles agree; look at the accuracy."
        )
    if len(columns) < facts.outputs:
        notes.append(
            f"{len(columns):,} of the {facts.outputs:,} outputs are classes of the data set; the"
            " others are left out."
        )
    if request.fit == "crop" and abs(facts.crop_share - 0.875) > 0.005:
        notes.append(
            f"made for the middle {facts.crop_share:.3g} of a picture; zoo shows the middle 0.875."
        )
    said = {*request.in_train, *request.held_out}
    if not said:
        notes.append(
            "which examples it was trained on is not known: it is held out of none and counts in"
            " scores over all classifiers alone. Say it with --in-train and --held-out."
        )
    return notes
