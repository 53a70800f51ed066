"""The treated training set of a training, and the clean test set beside it; a sample of one to look
at.

Rows (which examples, how often, with which label and weight) are decided by the treatment; pictures
follow by example id. An unreadable picture leaves the training set and is counted; it never shifts
an id. Test sets stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo import keyed, models
from zoo.data import Dataset, Decoded, Split, decode_examples
from zoo.errors import UsageError
from zoo.spec import Op, Preprocessing, Sweep, Training
from zoo.store.features import backbone_of
from zoo.store.selections import manifest_of
from zoo.store.workspace import Workspace
from zoo.trainsets.crops import DRAWS, crop_boxes
from zoo.trainsets.inputs import (
    FeatureVectors,
    Inputs,
    MemoryPictures,
    Pictures,
    geometry,
    open_features,
    open_pictures,
    open_verified,
    preprocessing,
)
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.treatments import TREATMENTS, apply_images, apply_rows, each_epoch

__all__ = ["TrainingData", "change_rate", "check_sweep", "prepare", "rows_of", "usable_rows"]


@dataclass(frozen=True)
class TrainingData:
    """What the loop needs. n training rows (copies count), E_test test examples.

    ``train`` is asked by row position 0..n-1, ``test`` by test example id; both as a classifier
    sees them. Without a test split, ``test`` is None and ``test_labels`` empty. ``whole``: the
    split whose pictures are cut as they are read, where the recipe asks for random parts of
    pictures of any size. ``unreadable``: split -> example id -> reason, as far as known before
    training (a streamed split finds out as it goes). ``given_labels``: int64 [E], the data set's
    own labels of the training split. ``features``: of the training split by example id, where they
    stand for the pictures.
    """

    rows: Rows
    train: Pictures
    test: Pictures | None
    test_labels: NDArray[np.int64]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    given_labels: NDArray[np.int64]
    unreadable: Mapping[str, Mapping[int, str]]
    whole: Split | None = None
    features: FeatureVectors | None = None

    @property
    def cropped(self) -> bool:
        """Whether ``augmented_at`` gives random parts of the pictures already."""
        return self.whole is not None

    @property
    def examples(self) -> int:
        """E: examples of the training split, trained on or not."""
        return len(self.given_labels)

    @property
    def label_change_rate(self) -> float | None:
        """Share of the rows whose label is not the data set's; None without rows."""
        return change_rate(self.rows, self.given_labels)

    def train_at(self, epoch: int) -> Pictures:
        """The training pictures of an epoch (1-based); the same in every epoch unless the treatment
        draws anew."""
        return (
            replace(self.train, epoch=epoch)
            if isinstance(self.train, _TreatedPictures) and each_epoch(self.train.treatment)
            else self.train
        )

    def held_at(self, epoch: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The training pictures of an epoch where they lie in memory, uint8 [m, H, W, K], and which
        of them each row is, int64 [n]. What is not treated lies there for all trainings at once."""
        pictures, rows = self.train_at(epoch), np.arange(len(self.rows), dtype=np.int64)
        if isinstance(pictures, MemoryPictures):
            return pictures.decoded.images, rows
        if isinstance(pictures, _TreatedPictures):
            inner = pictures.pictures
            if isinstance(inner, MemoryPictures) and not _changed(pictures.treatment):
                return inner.decoded.images, pictures.example_ids
        images, _ = pictures.gather(rows)
        return np.asarray(images, dtype=np.uint8), rows

    def augmented_at(self, epoch: int, seed: int) -> Pictures:
        """What an epoch is trained on: ``train_at``, or random parts of the pictures, keyed by
        (seed, epoch, row)."""
        if self.whole is None:
            return self.train_at(epoch)
        return _CroppedPictures(
            self.whole, self.rows.example_ids, self.preprocessing, f"crop/{seed}/{epoch}"
        )


@dataclass(frozen=True)
class _TreatedPictures:
    """Pictures of the rows, by position, treated as they are asked for (image treatments are keyed
    by example id)."""

    pictures: Pictures
    example_ids: NDArray[np.int64]
    treatment: tuple[Op, ...]
    epoch: int = 1

    @property
    def streamed(self) -> bool:
        return self.pictures.streamed

    def gather(self, positions: NDArray[np.int64]) -> tuple[Inputs, NDArray[np.bool_] | None]:
        ids = self.example_ids[positions]
        images, unreadable = self.pictures.gather(ids)
        if not self.treatment:
            return images, unreadable
        pictures = np.asarray(images, dtype=np.uint8)
        return apply_images(self.treatment, pictures, ids, epoch=self.epoch), unreadable


@dataclass(frozen=True)
class _CroppedPictures:
    """Random parts of the rows' pictures, by position, each cut out of the picture in its own size
    and then scaled."""

    split: Split
    example_ids: NDArray[np.int64]
    shape: Preprocessing
    key: str
    streamed: bool = True

    def gather(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        draws = keyed.uniform(self.key, positions, DRAWS)

        def region(position: int, height: int, width: int) -> tuple[int, int, int, int]:
            left, top, right, bottom = crop_boxes(draws[position : position + 1], height, width)[
                0
            ].tolist()
            return left, top, right, bottom

        ids, shape = self.example_ids[positions], self.shape
        decoded = decode_examples(
            self.split, ids, size=shape.size, channels=shape.channels, fit=shape.fit, region=region
        )
        return decoded.images, np.isin(ids, list(decoded.errors)) if decoded.errors else None


def prepare(workspace: Workspace, training: Training) -> TrainingData:
    """Open, verify, treat.

    Raises:
        DataError: if the data set changed or has no readable training picture.
        UsageError: if the treatment or the input size does not fit the data set.
    """
    dataset = open_verified(training.dataset)
    if training.features is not None:
        return _prepare_features(workspace, training, dataset, training.features)
    shape = geometry(dataset, training.arch, training.input_size, training.recipe.augment)
    pictures = {
        split: open_pictures(dataset, split, shape, workspace.cache)
        for split in ("train", "test")
        if split == "train" or split in dataset.splits
    }
    unreadable = {
        split: dict(held.decoded.errors)
        for split, held in pictures.items()
        if isinstance(held, MemoryPictures)
    }
    train, test = pictures["train"], pictures.get("test")
    manifests = partial(manifest_of, workspace, dataset=dataset.fingerprint)
    rows = apply_rows(
        training.treatment, usable_rows(dataset, unreadable.get("train", {})), manifests=manifests
    )
    treated: Pictures = _TreatedPictures(train, rows.example_ids, training.treatment)
    if shape.fit == "crop":
        _refuse_treated_crops(training.treatment)
    elif isinstance(train, MemoryPictures) and _treated_once(training.treatment):
        # One copy of just the rows that are trained on, treated once for all epochs. What is not
        # treated is read where it lies, which many trainings at once share.
        once, _ = treated.gather(np.arange(len(rows.example_ids), dtype=np.int64))
        treated = MemoryPictures(Decoded(np.asarray(once, dtype=np.uint8), {}))
    split = dataset.splits["train"]
    return TrainingData(
        rows=rows,
        train=treated,
        test=test,
        test_labels=(
            dataset.splits["test"].labels if test is not None else np.empty(0, dtype=np.int64)
        ),
        preprocessing=preprocessing(dataset, shape, workspace.cache),
        class_names=dataset.class_names,
        given_labels=split.labels,
        unreadable=unreadable,
        whole=split if shape.fit == "crop" else None,
    )


def _prepare_features(
    workspace: Workspace, training: Training, dataset: Dataset, backbone: str
) -> TrainingData:
    """``prepare`` where features stand for pictures: rows are treated, pictures cannot be."""
    _check_head(training.arch, training.recipe.augment, training.treatment, backbone)
    found = {
        split: open_features(workspace, dataset.fingerprint, split, backbone)
        for split in ("train", "test")
        if split == "train" or split in dataset.splits
    }
    unreadable = {
        split: dict.fromkeys(np.flatnonzero(held.unreadable).tolist(), "no features")
        for split, held in found.items()
    }
    rows = apply_rows(
        training.treatment,
        usable_rows(dataset, unreadable["train"]),
        manifests=partial(manifest_of, workspace, dataset=dataset.fingerprint),
    )
    return TrainingData(
        rows=rows,
        train=rows_of(found["train"], rows.example_ids),
        test=found.get("test"),
        test_labels=(
            dataset.splits["test"].labels if "test" in found else np.empty(0, dtype=np.int64)
        ),
        preprocessing=backbone_of(workspace, backbone)[0].input,
        class_names=dataset.class_names,
        given_labels=dataset.splits["train"].labels,
        unreadable=unreadable,
        features=found["train"],
    )


def rows_of(pictures: Pictures, example_ids: NDArray[np.int64]) -> Pictures:
    """Pictures by example id -> the same by row, untreated."""
    return _TreatedPictures(pictures, example_ids, ())


def _check_head(arch: str, augment: str, treatment: Sequence[Op], features: str) -> None:
    """Refuse what cannot be done to features: they were made of the pictures as they are."""
    if not models.model(arch).head:
        raise UsageError(
            f"{arch} takes pictures, not features (of {features}). Allowed with --features:"
            f" {', '.join(models.HEADS)}. Choose one of these, or leave --features out."
        )
    if augment != "none":
        raise UsageError(
            f"{arch} with augment={augment}: features were made of the pictures as they are, so"
            " nothing can be drawn anew. Use a recipe with augment=none."
        )
    for step in treatment:
        if TREATMENTS[step.name].on_images is not None:
            raise UsageError(
                f"{step.text} with features: they were made of the pictures as they are. Allowed:"
                " treatments of rows. Train a network on pictures for this one."
            )


def _treated_once(treatment: Sequence[Op]) -> bool:
    """Whether pictures are changed, and the same way in every epoch."""
    return _changed(treatment) and not each_epoch(treatment)


def _changed(treatment: Sequence[Op]) -> bool:
    """Whether pictures are treated, not rows alone."""
    return any(TREATMENTS[step.name].on_images is not None for step in treatment)


def check_sweep(dataset: Dataset, sweep: Sweep) -> None:
    """Find what a data set does not allow before anything is made.

    Raises:
        UsageError: an input size that a model cannot take, or damaged pictures that would be cut as
            they are read.
    """
    if sweep.features is not None:
        for arch in sweep.archs:
            augment = sweep.recipes.get(arch, sweep.recipe).augment
            for treatment in sweep.treatments:
                _check_head(arch, augment, treatment, sweep.features)
    for asked in sweep.inputs:
        if geometry(dataset, *asked).fit == "crop":
            for treatment in sweep.treatments:
                _refuse_treated_crops(treatment)


def _refuse_treated_crops(treatment: Sequence[Op]) -> None:
    """Damage belongs to a picture, not to a part of it."""
    for step in treatment:
        if TREATMENTS[step.name].on_images is not None:
            raise UsageError(
                f"{step.text} with augment=resized_crop_flip: pictures of this data set are cut out"
                " of their files at random, so there is no whole picture to treat. Allowed:"
                " treatments of rows. Use a recipe with augment=flip or crop_flip."
            )


def change_rate(rows: Rows, given_labels: NDArray[np.int64]) -> float | None:
    return float(np.mean(rows.labels != given_labels[rows.example_ids])) if len(rows) else None


def usable_rows(dataset: Dataset, unreadable: Mapping[int, str], split_name: str = "train") -> Rows:
    """A split as rows, by default the training split: every readable, labelled example once, with
    weight 1."""
    split = dataset.splits[split_name]
    ids = np.arange(len(split), dtype=np.int64)
    usable = (split.labels >= 0) & ~np.isin(ids, list(unreadable))
    return Rows(
        ids[usable],
        split.labels[usable],
        np.ones(int(usable.sum()), dtype=np.float32),
        len(dataset.class_names),
    )
