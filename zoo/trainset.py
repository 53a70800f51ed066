"""The treated training set of a training, and the clean test set beside it; a sample of one to look at.

Rows (which examples, how often, with which label and weight) are decided by the treatment; pictures follow by example id. An unreadable
picture leaves the training set and is counted; it never shifts an id. Test sets stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.data import Dataset, Decoded, decode_examples
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.inputs import Geometry, MemoryPictures, Pictures, geometry, open_pictures, open_verified, preprocessing, streams
from zoo.ledger import manifest_of
from zoo.spec import Op, Preprocessing, Training, treatment_text
from zoo.treatments import TREATMENTS, Manifest, Rows, apply_images, apply_rows, each_epoch
from zoo.workspace import Workspace

__all__ = ["Sample", "TrainingData", "prepare", "sample", "usable_rows"]

_SIDE_WITHOUT_A_SIZE = 224
"""Side in pixels of a sample's pictures where those of the data set differ in size: the input of the large networks."""


@dataclass(frozen=True)
class TrainingData:
    """What the loop needs. n training rows (copies count), E_test test examples.

    ``train`` is asked by row position 0..n-1, ``test`` by test example id. ``unreadable``: split -> example id -> reason, as far as known
    before training (a streamed split finds out as it goes). ``given_labels``: int64 [E], the data set's own labels of the training split.
    """

    rows: Rows
    train: Pictures
    test: Pictures
    test_labels: NDArray[np.int64]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    given_labels: NDArray[np.int64]
    unreadable: Mapping[str, Mapping[int, str]]

    @property
    def examples(self) -> int:
        """E: examples of the training split, trained on or not."""
        return len(self.given_labels)

    @property
    def label_change_rate(self) -> float | None:
        """Share of the rows whose label is not the data set's; None without rows."""
        return _change_rate(self.rows, self.given_labels)

    def train_at(self, epoch: int) -> Pictures:
        """The training pictures of an epoch (1-based); the same in every epoch unless the treatment draws anew."""
        return replace(self.train, epoch=epoch) if isinstance(self.train, _TreatedPictures) else self.train


@dataclass(frozen=True)
class _TreatedPictures:
    """Pictures of the rows, by position, treated as they are asked for (image treatments are keyed by example id)."""

    pictures: Pictures
    example_ids: NDArray[np.int64]
    treatment: tuple[Op, ...]
    epoch: int = 1

    @property
    def streamed(self) -> bool:
        return self.pictures.streamed

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        ids = self.example_ids[positions]
        images, unreadable = self.pictures.gather(ids)
        return apply_images(self.treatment, images, ids, epoch=self.epoch), unreadable


def prepare(workspace: Workspace, training: Training) -> TrainingData:
    """Open, verify, treat.

    Raises:
        DataError: if the data set changed or has no readable training picture.
        UsageError: if the treatment or the input size does not fit the data set.
    """
    dataset = open_verified(training.dataset)
    shape = geometry(dataset, training.arch, training.input_size)
    train, test = (open_pictures(dataset, split, shape, workspace.cache) for split in ("train", "test"))
    unreadable = {
        split: dict(pictures.decoded.errors)
        for split, pictures in (("train", train), ("test", test))
        if isinstance(pictures, MemoryPictures)
    }
    rows = apply_rows(training.treatment, usable_rows(dataset, unreadable.get("train", {})), manifests=partial(manifest_of, workspace))
    treated: Pictures = _TreatedPictures(train, rows.example_ids, training.treatment)
    if isinstance(train, MemoryPictures) and not each_epoch(training.treatment):
        # One copy of just the rows that are trained on, treated once for all epochs.
        treated = MemoryPictures(Decoded(treated.gather(np.arange(len(rows.example_ids), dtype=np.int64))[0], {}))
    split = dataset.splits["train"]
    return TrainingData(
        rows=rows,
        train=treated,
        test=test,
        test_labels=dataset.splits["test"].labels,
        preprocessing=preprocessing(dataset, shape, workspace.cache),
        class_names=dataset.class_names,
        given_labels=split.labels,
        unreadable=unreadable,
    )


def _change_rate(rows: Rows, given_labels: NDArray[np.int64]) -> float | None:
    return float(np.mean(rows.labels != given_labels[rows.example_ids])) if len(rows) else None


def usable_rows(dataset: Dataset, unreadable: Mapping[int, str], split_name: str = "train") -> Rows:
    """A split as rows, by default the training split: every readable, labelled example once, with weight 1."""
    split = dataset.splits[split_name]
    ids = np.arange(len(split), dtype=np.int64)
    usable = (split.labels >= 0) & ~np.isin(ids, list(unreadable))
    return Rows(ids[usable], split.labels[usable], np.ones(int(usable.sum()), dtype=np.float32), len(dataset.class_names))


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
        unreadable: bool [n], where both pictures are zeros (in a split too large to be read as a whole first).
        given: int64 [n], the data set's labels.
        labels: int64 [n], labels after the treatment.
        class_names: M texts.
        left: rows that the treatment leaves.
        total: rows before it: readable, labelled examples.
        label_change_rate: share of the rows left whose label is not the data set's.
        seed: what the examples were drawn by.
        epoch: epoch the pictures are of, None where they are the same in all.
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


def sample(dataset: Dataset, treatment: tuple[Op, ...], *, split: str = "train", count: int = 24, seed: int = 0, epoch: int = 1) -> Sample:
    """Examples that a treatment leaves in a split, drawn at random by ``seed``, in the data set's own size; needs no workspace.

    Rows, labels and pixels are those a training of this input size gets. Where the pictures differ in size they are resized to 224 x 224.

    Args:
        treatment: resolved steps.
        count: how many examples; all where fewer are left.
        epoch: 1-based; matters only to steps that draw anew in each epoch.

    Raises:
        UnknownNameError: if there is no such split.
        NotFoundError: if the treatment leaves no example.
        UsageError: if the treatment does not fit the data set, or begins with a selection, which only a workspace knows.
    """
    if split not in dataset.splits:
        raise UnknownNameError("split", split, dataset.splits)
    text = treatment_text(treatment)
    for step in treatment:
        if TREATMENTS[step.name].needs_manifests:
            raise UsageError(f"{step.text}: a selection lies in a workspace, and a sample is drawn without one. Leave this step out.")
    native = max(dataset.native_size) if dataset.native_size else None
    shape = Geometry(native or _SIDE_WITHOUT_A_SIZE, dataset.channels, "pad" if native else "resize")
    source = dataset.splits[split]
    decode = partial(decode_examples, source, channels=shape.channels)
    # A training leaves out what cannot be read before it is treated, so all are read here too; a pixel of each is enough.
    everyone = np.arange(0 if streams(dataset, split, shape) else len(source), dtype=np.int64)
    whole = usable_rows(dataset, decode(everyone, size=1, fit="resize").errors, split)
    rows = apply_rows(treatment, whole, manifests=_no_manifest)
    given = source.labels
    rate = _change_rate(rows, given)
    if rate is None:
        raise NotFoundError(
            f"{text} leaves none of the {len(whole):,} examples of {dataset.name} {split}: there is nothing to show. "
            f"A training on it ends as empty, without a classifier. Choose a treatment that leaves some."
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
        class_names=dataset.class_names,
        left=len(rows),
        total=len(whole),
        label_change_rate=rate,
        seed=seed,
        epoch=epoch if each_epoch(treatment) else None,
    )


def _no_manifest(name: str) -> Manifest:
    raise AssertionError(f"manifest {name} was refused above")
