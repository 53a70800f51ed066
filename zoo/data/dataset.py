"""What a data set is, whatever form it was found in: splits of labelled examples, and a source that
hands out their images.

An example's id is its position in its split (0..E-1); its key is the path or index it had at its
origin, unique in its split (where the origin's is not, see ``unique_keys``). Both are stable: forms
that are folders list them in sorted order, forms that are files keep the order of the file.

Split names: ``train`` and ``test`` where a form has them. ``val``, ``validation`` or ``valid``
becomes ``test`` when there is no test split (ImageNet's validation set is what everybody tests on);
beside a test split it stays, as ``validation``.

Fingerprint: sha256 over class names, split names, labels, true labels and image content; first 16
hex digits. Image content is the encoded bytes for forms that keep images inside files (so the same
rows in other row groups are the same data set), the pixels for arrays, and relative path + size for
folders of image files, because reading ImageNet to open it would take hours. An image edited in
place to the same size is therefore not noticed in a folder. Parquet splits with more than 512 MB of
images count by the sizes of their row groups, for the same reason.

Shape letters: E examples, n examples asked for, M classes, H/W/K height, width, channels.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from zoo.data.notes import Note
from zoo.errors import DataError
from zoo.registry import distinct
from zoo.spec import DatasetRef, canonical_json

__all__ = [
    "Contents",
    "Dataset",
    "EncodedSource",
    "Found",
    "ImageSource",
    "PixelSource",
    "Split",
    "UnreadableImage",
    "checked_labels",
    "fingerprint",
    "normalised_splits",
    "split_name",
    "unique_keys",
]

T = TypeVar("T")


class UnreadableImage(DataError):
    """One image that cannot be turned into pixels. ``reason`` is short and goes into reports; it
    names no path.

    ``lasting``: False if the fault lies outside the image's content (permissions, a file that
        vanished), so another try may succeed.
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        self.reason, self.lasting = reason, lasting
        super().__init__(
            f"unreadable image: {reason}. Replace or remove it; `zoo data check` lists all such"
            " images."
        )


@runtime_checkable
class EncodedSource(Protocol):
    """Images as they are stored: PNG, JPEG, ... bytes."""

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        """Encoded bytes in the order asked; ids may repeat. Missing images are empty bytes.

        Raises:
            UnreadableImage: if one of them cannot be read at all; ask one by one to learn which.
        """
        ...

    def content_digest(self) -> bytes:
        """Hash of all images of the split, for the fingerprint (what it covers: module
        docstring)."""
        ...


@runtime_checkable
class PixelSource(Protocol):
    """Images as one array (the torchvision binaries)."""

    def pixels(self, example_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [n, H, W, K] in the order asked; ids may repeat."""
        ...

    def content_digest(self) -> bytes: ...


ImageSource: TypeAlias = EncodedSource | PixelSource


@dataclass(frozen=True, eq=False)
class Split:
    """Examples 0..E-1 of one split.

    ``labels``: int64 [E], 0..M-1. ``labels_true``: int64 [E] where the data set knows the truth,
        else None. ``keys``: E texts.
    """

    name: str
    labels: NDArray[np.int64]
    labels_true: NDArray[np.int64] | None
    keys: list[str]
    source: ImageSource

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Contents:
    """What a form hands over: everything that does not follow from the rest.

    ``notes``: what was left out, and why. ``covered``: files and folders that were read or are in
    the notes, relative to the data set's folder; the rest of that folder is then named by whoever
    opens it. None: the form answers for everything there. ``origin``: see ``Dataset``.
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    notes: tuple[Note, ...] = ()
    covered: frozenset[str] | None = None
    origin: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Found:
    """A recognised place: what a listing shows, and the reading of it, which may take a while.

    ``counts``: examples per split, None where counting them is not cheap.
    """

    counts: Mapping[str, int | None]
    read: Callable[[], Contents]


@dataclass(frozen=True, eq=False)
class Dataset:
    """An opened data set.

    ``uri`` is what ``open_dataset`` takes again in another process. ``channels``: 1 if a sample of
        up to 256 training images is all
    grey, else 3. ``native_size``: (height, width) in pixels if all of the sample share it, else
        None. ``notes``: ``zoo.data.notes``. ``origin``: the data set it was prepared from (name,
        form, fingerprint), whose ids, keys, labels and classes it has; None for all others.
    """

    uri: str
    name: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    channels: Literal[1, 3]
    native_size: tuple[int, int] | None
    fingerprint: str
    form: str = ""
    notes: tuple[Note, ...] = ()
    origin: Mapping[str, str] | None = None

    @property
    def ref(self) -> DatasetRef:
        return DatasetRef(uri=self.uri, fingerprint=self.fingerprint)


_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
}
_SPLIT_PATTERN = re.compile(
    rf"^({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})(?=$|[-_.])", re.IGNORECASE
)


def split_name(text: str) -> str | None:
    """The split a file or folder name stands for: ``train-00000-of-00002.parquet`` -> ``train``,
    ``Val`` -> ``validation``, else None."""
    match = _SPLIT_PATTERN.match(text)
    return _SPLIT_WORDS[match[1].lower()] if match else None


def normalised_splits(splits: Mapping[str, T]) -> dict[str, T]:
    """``validation`` becomes ``test`` where there is no test split. Order: train, test, the rest
    sorted."""
    renamed = {
        ("test" if name == "validation" and "test" not in splits else name): thing
        for name, thing in splits.items()
    }
    first = [name for name in ("train", "test") if name in renamed]
    return {name: renamed[name] for name in first + sorted(set(renamed) - set(first))}


def checked_labels(labels: NDArray[np.integer], num_classes: int, where: str) -> NDArray[np.int64]:
    """Labels as int64 [E], all in 0..M-1.

    Args:
        labels: integers [E].
        num_classes: M.
        where: names the file or split in the message.

    Raises:
        DataError: naming the first row that is out of range.
    """
    # Compared before the cast: an unsigned 2**63 would turn negative in it.
    bad = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{where}: row {row} has label {int(labels[row])}; labels must be 0 to"
            f" {num_classes - 1} ({num_classes} classes). {bad.size} such"
            f" row{'s' if bad.size > 1 else ''}. Correct the labels or the list of class names."
        )
    return labels.astype(np.int64)


def unique_keys(
    keys: Sequence[str], labels: NDArray[np.int64], class_names: Sequence[str]
) -> list[str]:
    """Keys of which no two are equal. Those borne by several examples get their class before them
    (``cat/1.png``), and where that is not enough the row behind (``cat/1.png#12``); all others stay
    as they are.

    Args:
        keys: E texts.
        labels: int64 [E].
        class_names: M texts.
    """
    found, shown = list(keys), distinct(class_names)
    counts = Counter(found)
    for row, key in enumerate(keys):
        if counts[key] > 1:
            found[row] = f"{shown[labels[row]]}/{key}"
    counts = Counter(found)
    taken = set(found)
    for row, key in enumerate(found):
        if counts[key] > 1:
            while found[row] in taken:
                found[row] = f"{found[row]}#{row}"
            taken.add(found[row])
    return found


def fingerprint(class_names: Iterable[str], splits: Mapping[str, Split]) -> str:
    """16 hex digits that change when the data do; see the module docstring for what is covered."""

    def digest(array: NDArray[np.int64] | None) -> str | None:
        return (
            None
            if array is None
            else hashlib.sha256(np.ascontiguousarray(array, dtype="<i8").tobytes()).hexdigest()
        )

    facts = {
        "classes": list(class_names),
        "splits": {
            name: [
                len(split),
                digest(split.labels),
                digest(split.labels_true),
                split.source.content_digest().hex(),
            ]
            for name, split in splits.items()
        },
    }
    return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:16]
