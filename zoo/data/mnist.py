"""MNIST and its relatives as idx files, with or without .gz, in the folder itself, in ``raw/`` or
in ``NAME/raw/`` (torchvision's form). Names with a dot (``train-images.idx3-ubyte``) are as good as
those with a dash.

The files carry no class names: digits, or Fashion-MNIST's names where a folder of the path says
    ``fashion``.

Source: the description of the idx format at the end of the MNIST page (magic number = 0, 0, type 8,
number of dimensions; big-endian sizes; then the values).
"""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Contents, Found, Split, checked_labels
from zoo.data.notes import Notes
from zoo.errors import DataError

__all__ = ["FASHION_CLASS_NAMES", "ArraySource", "mnist", "read_idx"]

FASHION_CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_PREFIX = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8


class ArraySource:
    """Pixels of a split as one array uint8 [E, H, W, K] (in memory, or mapped)."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images

    def pixels(self, example_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        chosen: NDArray[np.uint8] = self._images[example_ids]
        return chosen

    def content_digest(self) -> bytes:
        digest = hashlib.sha256(repr(self._images.shape).encode())
        digest.update(np.ascontiguousarray(self._images).data)
        return digest.digest()


def mnist(path: Path) -> Found | None:
    """Recognise a folder with idx files."""
    if not path.is_dir():
        return None
    for folder in (path, path / "raw", *sorted(path.glob("*/raw"))):
        files = {
            split: (_images(folder, prefix), _labels(folder, prefix))
            for split, prefix in _PREFIX.items()
        }
        pairs = {
            split: (images, labels)
            for split, (images, labels) in files.items()
            if images and labels
        }
        if pairs:
            single = [
                (split, file)
                for split, pair in files.items()
                if split not in pairs
                for file in pair
                if file
            ]
            return Found(
                {split: _count(labels) for split, (_, labels) in pairs.items()},
                partial(_read, path, pairs, single),
            )
    return None


def _images(folder: Path, prefix: str) -> Path | None:
    return _either(folder, f"{prefix}-images", "idx3-ubyte")


def _labels(folder: Path, prefix: str) -> Path | None:
    return _either(folder, f"{prefix}-labels", "idx1-ubyte")


def _either(folder: Path, name: str, kind: str) -> Path | None:
    candidates = (folder / f"{name}{mark}{kind}{end}" for mark in "-." for end in ("", ".gz"))
    return next((file for file in candidates if file.is_file()), None)


def _count(labels: Path) -> int | None:
    try:
        with _open(labels) as file:
            return int(struct.unpack(">ii", file.read(8))[1])
    except (OSError, EOFError, struct.error, zlib.error):
        return None


def _open(path: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """An idx file of unsigned bytes as uint8 array.

    Args:
        path: with or without .gz.
        dimensions: 1 (labels) or 3 (images [E, H, W]).

    Raises:
        DataError: if it is not such a file, or shorter or longer than its header says.
    """
    try:
        with _open(path) as file:
            zeros, kind, found = struct.unpack(">HBB", file.read(4))
            if (zeros, kind, found) != (0, _UNSIGNED_BYTE, dimensions):
                raise DataError(
                    f"{path}: starts with {zeros}, {kind}, {found}; an idx file of bytes with"
                    f" {dimensions} dimensions starts with 0, {_UNSIGNED_BYTE}, {dimensions}. Fetch"
                    " it again."
                )
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = int(np.prod(shape, dtype=object))
            # One byte more than announced: enough to notice a longer file without unpacking
            #     whatever else it holds.
            data = _read_up_to(file, size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise DataError(
            f"{path}: damaged idx file ({type(error).__name__}: {error}). Fetch it again."
        ) from None
    if len(data) != size:
        more = "more" if len(data) > size else f"{len(data):,}"
        raise DataError(
            f"{path}: its header announces {size:,} bytes {shape}, it holds {more}. Fetch it again."
        )
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_up_to(file: gzip.GzipFile | BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes, in pieces: a header that announces a terabyte must not reserve it."""
    pieces: list[bytes] = []
    missing = size
    while missing and (piece := file.read(min(missing, 1 << 24))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _read(
    root: Path, pairs: Mapping[str, tuple[Path, Path]], single: Sequence[tuple[str, Path]]
) -> Contents:
    notes = Notes()
    for split, file in single:
        other = "labels" if "-images" in file.name else "images"
        notes.add(
            "warning",
            "missing file",
            file.name,
            f"has no file of {other} beside it; the split {split!r} is left out",
        )
    read = [*(file for _, file in single), *(file for pair in pairs.values() for file in pair)]
    covered = {form for file in read for form in _forms(file.relative_to(root).as_posix())}
    labels = {split: read_idx(file, dimensions=1) for split, (_, file) in pairs.items()}
    images = {split: read_idx(file, dimensions=3) for split, (file, _) in pairs.items()}
    fashion = any(
        "fashion" in part.lower()
        for file, _ in pairs.values()
        for part in file.resolve().parts[:-1]
    )
    largest = max((int(values.max()) for values in labels.values() if values.size), default=0)
    names = (
        FASHION_CLASS_NAMES
        if fashion
        else tuple(str(digit) for digit in range(max(largest + 1, 10)))
    )
    splits = {}
    for split, (image_file, label_file) in pairs.items():
        if len(images[split]) != len(labels[split]):
            raise DataError(
                f"{image_file}: {len(images[split])} images, but {label_file.name} has"
                f" {len(labels[split])} labels; there must be one label per image. Fetch both"
                " again."
            )
        splits[split] = Split(
            name=split,
            labels=checked_labels(labels[split], len(names), str(label_file)),
            labels_true=None,
            keys=[f"{split}-idx/{row:05d}" for row in range(len(labels[split]))],
            source=ArraySource(images[split][..., None]),
        )
    return Contents(names, splits, notes.all(), frozenset(covered))


def _forms(name: str) -> set[str]:
    """A file and its other spellings: what lies there packed and unpacked, or with a dot and a
    dash, is there once."""
    plain = re.sub(r"[-.](idx\d-ubyte)(\.gz)?$", r"-\1", name)
    dotted = re.sub(r"-(idx\d-ubyte)$", r".\1", plain)
    return {plain, dotted, f"{plain}.gz", f"{dotted}.gz"}
