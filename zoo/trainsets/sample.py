"""Examples before and after a treatment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.data import Dataset, class_titles, decode_examples
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.registry import distinct
from zoo.spec import Op, treatment_text
from zoo.trainsets.inputs import Geometry, streams
from zoo.trainsets.prepare import change_rate, usable_rows
from zoo.trainsets.treatments import TREATMENTS, apply_images, apply_rows, each_epoch

__all__ = ["Sample", "sample"]


_SIDE_WITHOUT_A_SIZE = 224
"""Side in pixels of a sample's pictures where those of the data set differ in size: the input of
the large networks."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Some examples of a treated split, before and after. n examples, M classes.

    Args:
        dataset: name of the data set.
        split: name of the split.
        treatment: the steps as text.
        example_ids: int64 [n], ascending.
        before: uint8 [n, H, W, K], pictures of the data set.
        after: uint8 [n, H, W, K], the same pictures treated.
        unreadable: bool [n], where both pictures are zeros (in a split too large to be read as a
            whole first).
        given: int64 [n], the data set's labels.
        labels: int64 [n], labels after the treatment.
        class_names: M texts.
        left: rows that the treatment leaves.
        total: rows before it: readable, labelled examples.
        label_change_rate: share of the rows left whose label is not the data set's.
        seed: what the examples were drawn by.
        epoch: epoch the pictures are of, None where they are the same in all.
        treated: False = the treatment has no step, so before and after are the same.
    """

    dataset: str
    split: str
    treatment: str
    example_ids: NDArray[np.int64]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]
    unreadable: NDArray[np.bool_]
    given: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    left: int
    total: int
    label_change_rate: float
    seed: int
    epoch: int | None
    treated: bool = True


def sample(
    dataset: Dataset,
    treatment: tuple[Op, ...],
    *,
    split: str = "train",
    count: int = 24,
    seed: int = 0,
    epoch: int = 1,
) -> Sample:
    """Examples that a treatment leaves in a split, drawn at random by ``seed``, in the data set's
    own size; needs no workspace.

    Rows, labels and pixels are those a training of this input size gets. Where the pictures differ
    in size they are resized to 224 x 224.

    Args:
        treatment: resolved steps.
        count: how many examples; all where fewer are left.
        epoch: 1-based; matters only to steps that draw anew in each epoch.

    Raises:
        UnknownNameError: if there is no such split.
        NotFoundError: if the treatment leaves no example.
        UsageError: if the treatment does not fit the data set, or begins with a selection, which
            only a workspace knows.
    """
    if split not in dataset.splits:
        raise UnknownNameError("split", split, dataset.splits)
    text = treatment_text(treatment)
    for step in treatment:
        if TREATMENTS[step.name].needs_manifests:
            raise UsageError(
                f"{step.text}: a selection lies in a workspace, and a sample is drawn without one."
                " Leave this step out."
            )
    native = max(dataset.native_size) if dataset.native_size else None
    shape = Geometry(
        native or _SIDE_WITHOUT_A_SIZE, dataset.channels, "pad" if native else "resize"
    )
    source = dataset.splits[split]
    decode = partial(decode_examples, source, channels=shape.channels)
    # A training leaves out what cannot be read before it is treated, so all are read here too; a
    # pixel of each is enough.
    everyone = np.arange(0 if streams(dataset, split, shape) else len(source), dtype=np.int64)
    whole = usable_rows(dataset, decode(everyone, size=1, fit="resize").errors, split)
    rows = apply_rows(treatment, whole, manifests=_no_manifest)
    given = source.labels
    rate = change_rate(rows, given)
    if rate is None:
        raise NotFoundError(
            f"{text} leaves none of the {len(whole):,} examples of {dataset.name} {split}: there is"
            " nothing to show. A training on it ends as empty, without a classifier. Choose a"
            " treatment that leaves some."
        )
    chosen = rows.take(keyed.choose(f"sample/{seed}", rows.example_ids, min(count, len(rows))))
    before = decode(chosen.example_ids, size=shape.size, fit=shape.fit)
    return Sample(
        dataset=dataset.name,
        split=split,
        treatment=text,
        example_ids=chosen.example_ids,
        before=before.images,
        after=apply_images(treatment, before.images, chosen.example_ids, epoch=epoch),
        unreadable=np.isin(chosen.example_ids, list(before.errors)),
        given=given[chosen.example_ids],
        labels=chosen.labels,
        class_names=class_titles(dataset.class_names) or distinct(dataset.class_names),
        left=len(rows),
        total=len(whole),
        label_change_rate=rate,
        seed=seed,
        epoch=epoch if each_epoch(treatment) else None,
        treated=bool(treatment),
    )


def _no_manifest(name: str) -> Manifest:
    raise AssertionError(f"manifest {name} was refused above")
