"""``zoo data check``: what a data set holds, and what is wrong with it. Reads every image once;
changes nothing.

Duplicates are exact: equal stored bytes (or equal pixels, where a form keeps bare arrays), compared
by sha256. Near-duplicates are what ``zoo.data.alike`` takes for the same picture, such as one that
was saved again; an opinion, so never more than a note. Unreadable images are reported as such and
take no part in either comparison.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.alike import SIDE, groups, hashes, thumbnails
from zoo.data.dataset import Dataset, EncodedSource, Split, UnreadableImage
from zoo.data.decode import decode_image, encoded_or_reason
from zoo.data.notes import Level, Note, merged
from zoo.registry import distinct

__all__ = [
    "DatasetCheck",
    "Duplicates",
    "NearDuplicates",
    "Overlap",
    "SplitCheck",
    "Unreadable",
    "check_dataset",
    "picture_digests",
]

_BLOCK = 512
_SIZES_SHOWN = 20


@dataclass(frozen=True)
class Unreadable:
    """An image that cannot be decoded, and why."""

    example_id: int
    key: str
    reason: str


@dataclass(frozen=True)
class Duplicates:
    """Examples of one split with the same image. ``conflicting``: their labels differ, so at least
    one is wrong."""

    example_ids: tuple[int, ...]
    keys: tuple[str, ...]
    labels: tuple[int, ...]
    conflicting: bool


@dataclass(frozen=True)
class NearDuplicates:
    """Examples of any splits with almost the same image, at least two of them not exactly the same;
    a value for each. ``conflicting``: their labels differ."""

    splits: tuple[str, ...]
    example_ids: tuple[int, ...]
    keys: tuple[str, ...]
    labels: tuple[int, ...]
    conflicting: bool


@dataclass(frozen=True)
class Overlap:
    """The same image in train and in another split."""

    split: str
    train_ids: tuple[int, ...]
    example_ids: tuple[int, ...]
    conflicting: bool


@dataclass(frozen=True)
class SplitCheck:
    """One split. ``counts``: examples per class, by its name as ``zoo.registry.distinct`` shows it.
    ``sizes``: "height x width" -> images, the 20 commonest and ``other``.

    ``known_label_errors``: labels that differ from label_true, None where the truth is not known.
    """

    name: str
    examples: int
    counts: dict[str, int]
    empty_classes: tuple[str, ...]
    known_label_errors: int | None
    unreadable: tuple[Unreadable, ...]
    duplicates: tuple[Duplicates, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class DatasetCheck:
    """Result of a check. ``notes``: all that was found, by level (``zoo.data.notes``), what reading
    the images has shown included.

    ``ok``: no warning and no error: all that is there was read, every class has training examples,
    every image is readable, no image is in train and elsewhere, and ``zoo train`` takes the data
    set. ``trainable``: no error.
    """

    name: str
    uri: str
    form: str
    fingerprint: str
    classes: int
    channels: int
    native_size: tuple[int, int] | None
    splits: tuple[SplitCheck, ...]
    overlap: tuple[Overlap, ...]
    near_duplicates: tuple[NearDuplicates, ...]
    notes: tuple[Note, ...]

    @property
    def ok(self) -> bool:
        return all(note.level == "note" for note in self.notes)

    @property
    def trainable(self) -> bool:
        return all(note.level != "error" for note in self.notes)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {
            **asdict(self),
            "notes": [note.as_json() for note in self.notes],
            "ok": self.ok,
            "trainable": self.trainable,
        }


@dataclass(frozen=True)
class _Read:
    """What one pass over a split's images gives. ``digests``: bytes [E, 32]; ``hashes``: uint64
    [E, 2], those that mean something ``hashed``, bool [E]; ``readable``: bool [E]."""

    digests: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    hashed: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    unreadable: tuple[Unreadable, ...]
    sizes: Counter[tuple[int, int]]


def check_dataset(
    dataset: Dataset, progress: Callable[[str, int, int], None] | None = None
) -> DatasetCheck:
    """Count classes, and decode every image to find unreadable ones, exact duplicates and overlap
    between train and the other splits.

    Args:
        dataset: an opened data set.
        progress: called with (split, images done, images in all) after every block.
    """
    read = {name: _read(split, progress) for name, split in dataset.splits.items()}
    overlap = [
        pair
        for name in dataset.splits
        if name != "train" and "train" in dataset.splits
        for pair in _overlap(
            dataset.splits["train"], read["train"], dataset.splits[name], read[name]
        )
    ]
    near = _near_duplicates(dataset, read)
    splits = tuple(
        _split_check(split, dataset.class_names, read[name])
        for name, split in dataset.splits.items()
    )
    return DatasetCheck(
        name=dataset.name,
        uri=dataset.uri,
        form=dataset.form,
        fingerprint=dataset.fingerprint,
        classes=len(dataset.class_names),
        channels=dataset.channels,
        native_size=dataset.native_size,
        splits=splits,
        overlap=tuple(overlap),
        near_duplicates=tuple(near),
        notes=merged(
            dataset.notes,
            *(_seen(split) for split in splits),
            _overlapping(dataset, overlap),
            _near(near),
        ),
    )


def _seen(split: SplitCheck) -> list[Note]:
    """What reading the images of a split has shown, as notes."""
    notes = []
    if split.unreadable:
        keys = [f"{split.name} {one.key}" for one in split.unreadable]
        lost = len(keys) == split.examples and split.name == "train"
        reason = f"cannot be decoded, {'all of its split' if lost else 'left out of trainings'}"
        notes.append(_note("error" if lost else "warning", "unreadable", reason, keys))
    for conflicting in (True, False):
        keys = [
            f"{split.name} {' = '.join(group.keys)}"
            for group in split.duplicates
            if group.conflicting is conflicting
        ]
        if keys:
            notes.append(
                _note(
                    "note",
                    "duplicates",
                    f"the same picture, with {'different labels' if conflicting else 'one label'}",
                    keys,
                )
            )
    return notes


def _overlapping(dataset: Dataset, overlap: list[Overlap]) -> list[Note]:
    if not overlap:
        return []
    keys = dataset.splits["train"].keys
    places = [
        f"train {keys[pair.train_ids[0]]} = {pair.split}"
        f" {dataset.splits[pair.split].keys[pair.example_ids[0]]}"
        for pair in overlap
    ]
    return [_note("warning", "overlap", "the same picture in train and in another split", places)]


def _near(found: list[NearDuplicates]) -> list[Note]:
    notes = []
    for kind in ("different labels", "train and another split", "one label"):
        places = [
            " = ".join(
                f"{split} {key}" for split, key in zip(group.splits, group.keys, strict=True)
            )
            for group in found
            if kind == _kind(group)
        ]
        if places:
            reason = f"almost the same picture, {'in' if 'split' in kind else 'with'} {kind}"
            notes.append(_note("note", "near-duplicates", reason, places))
    return notes


def _kind(group: NearDuplicates) -> str:
    if group.conflicting:
        return "different labels"
    across = len(set(group.splits)) > 1 and "train" in group.splits
    return "train and another split" if across else "one label"


def _note(level: Level, kind: str, reason: str, places: list[str]) -> Note:
    return Note(level, kind, reason, tuple(places[:1000]), len(places), max(0, len(places) - 1000))


def _read(split: Split, progress: Callable[[str, int, int], None] | None) -> _Read:
    digests = np.zeros((len(split), 32), dtype=np.uint8)
    readable = np.ones(len(split), dtype=np.bool_)
    hashed = np.zeros((len(split), 2), dtype=np.uint64)
    usable = np.zeros(len(split), dtype=np.bool_)
    unreadable: list[Unreadable] = []
    sizes: Counter[tuple[int, int]] = Counter()
    for start in range(0, len(split), _BLOCK):
        ids = np.arange(start, min(start + _BLOCK, len(split)), dtype=np.int64)
        stored = _stored(split, ids)
        if not isinstance(split.source, EncodedSource):
            hashed[ids], usable[ids] = hashes(np.stack([np.asarray(image) for image in stored]))
        for example_id, image in zip(ids.tolist(), stored, strict=True):
            try:
                if isinstance(image, UnreadableImage):
                    raise image
                if isinstance(image, np.ndarray):
                    size = image.shape[:2]
                else:
                    pixels = decode_image(image, 3)
                    size = pixels.shape[:2]
                    hashed[example_id], usable[example_id] = (
                        one[0] for one in hashes(pixels[None])
                    )
            except UnreadableImage as error:
                readable[example_id] = False
                unreadable.append(Unreadable(example_id, split.keys[example_id], error.reason))
                continue
            sizes[size[0], size[1]] += 1
            content = image.tobytes() if isinstance(image, np.ndarray) else image
            digests[example_id] = np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)
        if progress is not None:
            progress(split.name, int(ids[-1]) + 1, len(split))
    return _Read(digests, hashed, usable, readable, tuple(unreadable), sizes)


def _near_duplicates(dataset: Dataset, read: dict[str, _Read]) -> list[NearDuplicates]:
    """Groups over all splits. Of exact duplicates the first stands for the others, which join its
    group in the end."""
    names = list(read)
    starts = np.cumsum([0, *(len(dataset.splits[name]) for name in names)])
    digests, hashed, usable = (
        np.concatenate([getattr(read[name], part) for name in names])
        for part in ("digests", "hashes", "hashed")
    )
    numbers = np.flatnonzero(usable)
    same = {int(numbers[group[0]]): numbers[group] for group in _groups(digests[numbers])}
    for group in same.values():
        usable[group[1:]] = False

    def small(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.empty((len(numbers), SIDE, SIDE, 3), dtype=np.float32)
        of = np.searchsorted(starts, numbers, side="right") - 1
        for split in np.unique(of).tolist():
            mine = np.flatnonzero(of == split)
            found[mine] = _small(dataset.splits[names[split]], numbers[mine] - starts[split])
        return found

    near = []
    for group in groups(hashed, usable, small):
        members = np.unique(np.concatenate([same.get(int(i), np.array([i])) for i in group]))
        of = np.searchsorted(starts, members, side="right") - 1
        where = [
            (names[split], int(number - starts[split]))
            for split, number in zip(of.tolist(), members.tolist(), strict=True)
        ]
        labels = [int(dataset.splits[name].labels[i]) for name, i in where]
        near.append(
            NearDuplicates(
                tuple(name for name, _ in where),
                tuple(i for _, i in where),
                tuple(dataset.splits[name].keys[i] for name, i in where),
                tuple(labels),
                len(set(labels)) > 1,
            )
        )
    return near


def _small(split: Split, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Thumbnails of readable pictures, float32 [n, 32, 32, 3]."""
    found = np.empty((len(ids), SIDE, SIDE, 3), dtype=np.float32)
    for start in range(0, len(ids), _BLOCK):
        stored = _stored(split, ids[start : start + _BLOCK])
        if isinstance(split.source, EncodedSource):
            for position, image in enumerate(stored, start):
                assert isinstance(image, bytes), "only readable pictures have a hash"
                found[position] = thumbnails(decode_image(image, 3)[None])[0]
        else:
            found[start : start + _BLOCK] = thumbnails(
                np.stack([np.asarray(image) for image in stored])
            )
    return found


def picture_digests(split: Split, example_ids: NDArray[np.int64]) -> list[str | None]:
    """Sha256 (64 hex digits) of pictures as they are stored: of their bytes, or of the pixels where
    a form keeps bare arrays. None where one cannot be read."""
    found: list[str | None] = []
    for start in range(0, len(example_ids), _BLOCK):
        for image in _stored(split, example_ids[start : start + _BLOCK]):
            if isinstance(image, UnreadableImage):
                found.append(None)
                continue
            content = image.tobytes() if isinstance(image, np.ndarray) else image
            found.append(hashlib.sha256(content).hexdigest())
    return found


def _stored(
    split: Split, ids: NDArray[np.int64]
) -> list[bytes | UnreadableImage] | list[NDArray[np.uint8]]:
    if isinstance(split.source, EncodedSource):
        return encoded_or_reason(split.source, ids)
    return list(split.source.pixels(ids))


def _split_check(split: Split, class_names: tuple[str, ...], read: _Read) -> SplitCheck:
    counts = np.bincount(split.labels, minlength=len(class_names))  # [M]
    shown = distinct(class_names)
    common = read.sizes.most_common(_SIZES_SHOWN)
    sizes = {f"{height} x {width}": count for (height, width), count in common}
    if len(read.sizes) > _SIZES_SHOWN:
        sizes["other"] = read.sizes.total() - sum(count for _, count in common)
    return SplitCheck(
        name=split.name,
        examples=len(split),
        counts=dict(zip(shown, counts.tolist(), strict=True)),
        empty_classes=tuple(shown[label] for label in np.flatnonzero(counts == 0)),
        known_label_errors=(
            None if split.labels_true is None else int((split.labels != split.labels_true).sum())
        ),
        unreadable=read.unreadable,
        duplicates=tuple(_duplicates(split, read)),
        sizes=sizes,
    )


def _groups(digests: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """Positions of equal rows, groups of two and more, in the order of their first member."""
    if not len(digests):
        return []
    keys = np.ascontiguousarray(digests).view("V32")[:, 0]  # [n]
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    groups = [group for group in np.split(order, np.cumsum(counts)[:-1]) if len(group) > 1]
    return sorted(groups, key=lambda group: int(group[0]))


def _duplicates(split: Split, read: _Read) -> list[Duplicates]:
    ids = np.flatnonzero(read.readable)
    found = []
    for group in _groups(read.digests[ids]):
        same = ids[group]
        labels = split.labels[same]
        keys = tuple(split.keys[i] for i in same.tolist())
        found.append(
            Duplicates(
                tuple(same.tolist()),
                keys,
                tuple(labels.tolist()),
                bool((labels != labels[0]).any()),
            )
        )
    return found


def _overlap(train: Split, train_read: _Read, other: Split, other_read: _Read) -> list[Overlap]:
    train_ids, other_ids = np.flatnonzero(train_read.readable), np.flatnonzero(other_read.readable)
    found = []
    for group in _groups(
        np.concatenate([train_read.digests[train_ids], other_read.digests[other_ids]])
    ):
        in_train = train_ids[group[group < len(train_ids)]]
        in_other = other_ids[group[group >= len(train_ids)] - len(train_ids)]
        if len(in_train) and len(in_other):
            labels = np.concatenate([train.labels[in_train], other.labels[in_other]])
            conflicting = bool((labels != labels[0]).any())
            found.append(
                Overlap(other.name, tuple(in_train.tolist()), tuple(in_other.tolist()), conflicting)
            )
    return found
