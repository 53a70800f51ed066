"""From a data set to a network's input: which size, which channels, how to fit, which statistics;
in memory or streamed.

The rule, in order: the size asked for, else the pictures' own size where they share one that is
below the model's default, else the model's default. (A 28-pixel set is not blown up to 224 unless
that is asked for.) A picture up to 8 pixels smaller than the input is centred on black (28 -> 32),
anything else is resized as a whole to the square; for a recipe that trains on random parts of
pictures (``resized_crop_flip``), the middle of the picture is, without distortion, as those parts
are.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo import keyed, models
from zoo.data import Dataset, Decoded, channel_statistics, decode_examples, load_split, open_dataset
from zoo.errors import DataError, NotFoundError, UsageError
from zoo.spec import DatasetRef, Preprocessing
from zoo.store.features import FeatureUnit, backbone_of, feature_vectors, features_of
from zoo.store.workspace import Workspace

__all__ = [
    "IN_MEMORY_BYTES",
    "FeatureVectors",
    "Geometry",
    "Inputs",
    "MemoryPictures",
    "Pictures",
    "StreamedPictures",
    "geometry",
    "open_features",
    "open_pictures",
    "open_verified",
    "preprocessing",
    "require_splits",
    "streams",
]


IN_MEMORY_BYTES = 2 << 30
"""Decoded splits up to this size are decoded once and held as a memory map; larger ones are decoded
as they are used."""
_LARGEST_PADDING = 8
_STATISTICS_SAMPLE = 4096


@dataclass(frozen=True)
class Geometry:
    """What a decoded picture looks like when it reaches a network: [size, size, channels] uint8.
    With ``features``, what is kept of it: [channels] float32, see ``zoo.spec.Preprocessing``."""

    size: int
    channels: int
    fit: Literal["pad", "resize", "crop"]
    features: str | None = None

    @property
    def bytes_per_example(self) -> int:
        return self.size * self.size * self.channels * (1 if self.features is None else 4)


Inputs: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]


class Pictures(Protocol):
    """What networks are shown of one split, by example id: decoded pictures, or features.
    ``streamed``: decoded at every use, so worth fetching ahead."""

    @property
    def streamed(self) -> bool: ...

    def gather(self, example_ids: NDArray[np.int64]) -> tuple[Inputs, NDArray[np.bool_] | None]:
        """(uint8 [n, H, W, K], or features float32 [n, D], in the order asked; mask [n] of
        unreadable ones or None); unreadable pictures are zeros."""
        ...


@dataclass(frozen=True)
class MemoryPictures:
    """A whole split, decoded once (``zoo.data.load_split``)."""

    decoded: Decoded
    streamed: bool = False

    def gather(
        self, example_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        return self.decoded.images[example_ids], _mask(example_ids, self.decoded.errors)


@dataclass(frozen=True)
class StreamedPictures:
    """A split too large to hold: decoded at every use."""

    dataset: Dataset
    split: str
    geometry: Geometry
    streamed: bool = True

    def gather(
        self, example_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        g = self.geometry
        decoded = decode_examples(
            self.dataset.splits[self.split],
            example_ids,
            size=g.size,
            channels=g.channels,
            fit=g.fit,
        )
        return decoded.images, _mask(example_ids, decoded.errors)


_AT_ONCE = 64
"""Numbers of a vector whose mean and deviation are taken together."""


@dataclass(frozen=True, eq=False)
class FeatureVectors:
    """Features of a split, held in memory. ``vectors``: float32 [E, D]; ``unreadable``: bool
    [E]."""

    vectors: NDArray[np.float32]
    unreadable: NDArray[np.bool_]
    streamed: bool = False

    def gather(
        self, example_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        mask = self.unreadable[example_ids]
        return self.vectors[example_ids], mask if mask.any() else None

    @functools.cached_property
    def statistics(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and standard deviation of each number over the readable pictures, float32 [D] each;
        1 where a number never varies."""
        there = self.vectors[~self.unreadable] if self.unreadable.any() else self.vectors
        if not len(there):
            raise DataError(
                f"features of {len(self.vectors)} pictures: none of these can be read. See why"
                " with: zoo data check"
            )
        # A few numbers at a time: in float64 all of them are twice the features once more.
        parts = [there[:, at : at + _AT_ONCE] for at in range(0, there.shape[1], _AT_ONCE)]
        mean = np.concatenate([part.mean(axis=0, dtype=np.float64) for part in parts])
        std = np.concatenate([part.std(axis=0, dtype=np.float64) for part in parts])
        return mean.astype(np.float32), np.where(std > 1e-6, std, 1.0).astype(np.float32)


def _mask(example_ids: NDArray[np.int64], errors: Mapping[int, str]) -> NDArray[np.bool_] | None:
    mask = np.isin(example_ids, list(errors)) if errors else None
    return mask if mask is not None and mask.any() else None


_HELD: dict[tuple[str, str, Geometry], Pictures] = {}
_FEATURES: dict[tuple[str, str], FeatureVectors] = {}


def open_features(workspace: Workspace, dataset: str, split: str, backbone: str) -> FeatureVectors:
    """What a backbone has made of a split of a data set (its fingerprint); held between the
    trainings of one process.

    Raises:
        NotFoundError: if there is no such backbone, or its features have not been made.
    """
    unit = FeatureUnit(dataset, split, backbone, backbone_of(workspace, backbone)[0].width)
    key = (workspace.location, unit.key)
    if key not in _FEATURES:
        commit = features_of(workspace, unit)
        if commit is None:
            raise NotFoundError(
                f"features of {backbone} on {split} of data set {dataset} are not in"
                f" {workspace.location}. 'zoo train' and 'zoo fill' make them first: run the same"
                " command again."
            )
        _FEATURES[key] = FeatureVectors(*feature_vectors(workspace.files, commit))
    return _FEATURES[key]


def open_verified(ref: DatasetRef) -> Dataset:
    """Open the data set of a spec and make sure it is still the same one.

    Raises:
        DataError: if its content changed since the spec was made; names both fingerprints.
    """
    dataset = open_dataset(ref.uri)
    if dataset.fingerprint != ref.fingerprint:
        raise DataError(
            f"data set {ref.uri!r} has changed: its fingerprint is {dataset.fingerprint}, this run"
            f" was planned on {ref.fingerprint}. Restore the data, or plan again (a changed data"
            " set makes new trainings)."
        )
    return dataset


def geometry(
    dataset: Dataset, arch: str, input_size: int | None, augment: str = "none"
) -> Geometry:
    """Input geometry of an architecture on a data set, checked against the model's smallest working
    input.

    Args:
        augment: of the recipe: what a network was trained to look at decides what it is shown.

    Raises:
        UsageError: if the size is below what the model can take, or no size is known.
    """
    if models.model(arch).head:
        raise UsageError(
            f"{arch} is a head: it is trained on features, not on pictures. Name what makes them"
            " with --features BACKBONE, or choose a network: zoo data models."
        )
    default = models.model(arch).default_size
    native = max(dataset.native_size) if dataset.native_size else None
    size = input_size or (native if native and (default is None or native < default) else default)
    if size is None:
        raise UsageError(
            f"{dataset.name}: its pictures differ in size and {arch} has no default input size."
            " Give one with --input-size, such as 32."
        )
    models.check_input(arch, size)
    channels: Literal[1, 3] = 1 if dataset.channels == 1 else 3
    smaller = (
        dataset.native_size is not None and 0 <= size - max(dataset.native_size) <= _LARGEST_PADDING
    )
    return Geometry(
        size, channels, "pad" if smaller else "crop" if augment == "resized_crop_flip" else "resize"
    )


def require_splits(dataset: Dataset, *splits: str) -> None:
    """Refuse a data set that lacks one of these splits.

    Raises:
        DataError: naming the first one absent and those there are.
    """
    for split in splits:
        if split not in dataset.splits:
            raise DataError(
                f"{dataset.name} has no split {split!r}. Its splits: {', '.join(dataset.splits)}."
                " Training needs train and test: add files for it."
            )


def streams(dataset: Dataset, split: str, geometry: Geometry) -> bool:
    """Whether a split is too large to be held decoded."""
    return len(dataset.splits[split]) * geometry.bytes_per_example > IN_MEMORY_BYTES


def open_pictures(dataset: Dataset, split: str, geometry: Geometry, cache: Path | None) -> Pictures:
    """Pictures of one split, from memory where they fit; held between the trainings of one process.

    Raises:
        DataError: if the data set has no such split.
    """
    require_splits(dataset, split)
    key = (dataset.fingerprint, split, geometry)
    if key not in _HELD:
        if streams(dataset, split, geometry):
            _HELD[key] = StreamedPictures(dataset, split, geometry)
        else:
            decoded = load_split(
                dataset,
                split,
                size=geometry.size,
                channels=geometry.channels,
                fit=geometry.fit,
                cache=cache,
            )
            _HELD[key] = MemoryPictures(decoded)
    return _HELD[key]


def preprocessing(dataset: Dataset, geometry: Geometry, cache: Path | None) -> Preprocessing:
    """Geometry plus the mean and standard deviation of the clean training pictures (a keyed sample
    where they are streamed)."""
    mean, std = _statistics(
        dataset.uri, dataset.fingerprint, geometry, str(cache) if cache else None
    )
    return Preprocessing(
        size=geometry.size, channels=geometry.channels, fit=geometry.fit, mean=mean, std=std
    )


@functools.lru_cache(maxsize=64)
def _statistics(
    uri: str, fingerprint: str, geometry: Geometry, cache: str | None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    dataset = open_verified(DatasetRef(uri=uri, fingerprint=fingerprint))
    pictures = open_pictures(dataset, "train", geometry, Path(cache) if cache else None)
    ids = np.arange(len(dataset.splits["train"]), dtype=np.int64)
    if streams(dataset, "train", geometry):
        ids = ids[keyed.choose("statistics", ids, min(_STATISTICS_SAMPLE, len(ids)))]
    images, unreadable = pictures.gather(ids)
    if unreadable is not None:
        images = images[~unreadable]
    if not len(images):
        raise DataError(
            f"{dataset.name}: none of its {len(ids)} training pictures can be read. See why with:"
            f" zoo data check {uri}"
        )
    mean, std = channel_statistics(np.asarray(images, dtype=np.uint8))
    # A channel without any variation would divide by zero.
    return mean, tuple(s if s > 0 else 1.0 for s in std)
