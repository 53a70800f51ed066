"""A data set written once for reading at random: shards of pictures with an index, made by ``zoo
data prepare``.

A folder::

    prepared.json                      what it is, written last; without it the folder is unfinished
    train.index.parquet                one row per example: key, label, label_true, error,
                                       shard, offset, bytes, crc32
    train-00000-of-00157-HASH.arrow    an Arrow IPC file, column ``image`` (binary), in the
                                       order of the example ids; HASH begins its sha256

Arrow IPC lies on disk as it lies in memory, uncompressed, so a picture is one range of bytes: any
Arrow reader can map the file, and the index says offset and length for whoever reads ranges. Here a
picture is one ``pread`` of exactly its bytes, checked against its crc32; nothing is held but the
index, and a shard that shrinks is an error and no SIGBUS, as a map would be.

Classes, splits, keys and labels are those of the data set it was made from, which
``Dataset.origin`` names. A picture that could not be read there is kept as such, with the reason.
Its pixels differ, so it is another data set with a fingerprint of its own, which covers the sha256
of every shard.

Shape letters: E examples, n examples asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data.dataset import Contents, Found, Split, UnreadableImage, checked_labels
from zoo.data.notes import Note
from zoo.errors import DataError

__all__ = ["FORMAT", "INDEX_SCHEMA", "MANIFEST", "UNFINISHED", "PreparedSource", "prepared"]

MANIFEST = "prepared.json"
UNFINISHED = "unfinished.json"
"""What was asked for, in a folder that is still being written."""
FORMAT = 1

INDEX_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("label", pa.int64()),
        pa.field("label_true", pa.int64()),
        pa.field("error", pa.string()),
        pa.field("shard", pa.int32()),
        pa.field("offset", pa.int64()),
        pa.field("bytes", pa.int64()),
        pa.field("crc32", pa.uint32()),
    ]
)
"""``label_true``: null where unknown. ``error``: why the picture could not be read; its ``bytes``
are 0."""
_HELD_FILES = 256
"""Shards kept open; a process has 1,024 descriptors."""


def prepared(path: Path) -> Found | None:
    """Recognise a prepared folder.

    Raises:
        DataError: if it is unfinished, or made by a newer zoo.
    """
    if not path.is_dir():
        return None
    root = path.resolve()
    if not (root / MANIFEST).is_file():
        if (root / UNFINISHED).is_file():
            raise DataError(
                f"{root}: not finished. Run the command that writes it again; it goes on:"
                f" {_command(root)}"
            )
        return None
    about = _manifest(root)
    counts = {name: int(facts["examples"]) for name, facts in about["splits"].items()}
    return Found(counts, partial(_read, root, about))


def _command(root: Path) -> str:
    try:
        return str(json.loads((root / UNFINISHED).read_text(encoding="utf-8"))["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return "zoo data prepare"


def _manifest(root: Path) -> dict[str, Any]:
    try:
        about = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        version = int(about["format"])
        splits = {str(name): dict(facts) for name, facts in about["splits"].items()}
        complete = {**about, "splits": splits, "classes": [str(c) for c in about["classes"]]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{root / MANIFEST}: cannot be read ({type(error).__name__}: {error}). Prepare the data"
            " set again, into another folder."
        ) from None
    if version != FORMAT:
        raise DataError(
            f"{root / MANIFEST}: format {version}; this zoo reads {FORMAT}. Use the zoo that wrote"
            " it, or prepare the data set again."
        )
    return complete


def _read(root: Path, about: Mapping[str, Any]) -> Contents:
    splits, unreadable = {}, []
    for name, facts in about["splits"].items():
        index = _index(root, facts)
        splits[name] = _split(root, name, facts, index, len(about["classes"]))
        errors = index.column("error")
        if lost := len(errors) - errors.null_count:
            reason = f"{lost:,} of {len(errors):,} could not be read when it was prepared"
            unreadable.append(Note("note", "unreadable", reason, (name,), lost))
    origin = {str(k): v for k, v in about["origin"].items()}
    made = (
        f"prepared from {origin['name']} ({origin['fingerprint']}), shorter side"
        f" {about['short_side']}, {about['encoding']}"
    )
    return Contents(
        class_names=tuple(about["classes"]),
        splits=splits,
        notes=(Note("note", "prepared", made), *unreadable),
        origin=origin,
    )


def _index(root: Path, facts: Mapping[str, Any]) -> pa.Table:
    path = root / str(facts["index"]["file"])
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from None
    if hashlib.sha256(data).hexdigest() != facts["index"]["sha256"]:
        raise _damaged(path, "its content is not what was written")
    table = pq.read_table(pa.BufferReader(data)).cast(INDEX_SCHEMA)
    if len(table) != facts["examples"]:
        raise _damaged(path, f"{len(table)} rows instead of {facts['examples']}")
    return table


def _split(root: Path, name: str, facts: Mapping[str, Any], index: pa.Table, classes: int) -> Split:
    for shard in facts["shards"]:
        path = root / shard["file"]
        try:
            found = path.stat().st_size
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from None
        if found != shard["bytes"]:
            raise _damaged(path, f"{found:,} bytes instead of {shard['bytes']:,}")

    def numbers(column: str) -> NDArray[Any]:
        values: NDArray[Any] = index.column(column).to_numpy()
        return values

    truth = index.column("label_true")
    source = PreparedSource(
        [root / shard["file"] for shard in facts["shards"]],
        _Places(numbers("shard"), numbers("offset"), numbers("bytes"), numbers("crc32")),
        {i: reason for i, reason in enumerate(index.column("error").to_pylist()) if reason},
        [str(shard["sha256"]) for shard in facts["shards"]],
    )
    where = str(root / str(facts["index"]["file"]))
    return Split(
        name=name,
        labels=checked_labels(numbers("label"), classes, where),
        labels_true=(
            None if truth.null_count else checked_labels(truth.to_numpy(), classes, where)
        ),
        keys=index.column("key").to_pylist(),
        source=source,
    )


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}. Copy the file again from where it was made, or repeat the zoo data"
        " prepare that wrote it: it writes what is damaged."
    )


@dataclass(frozen=True)
class _Places:
    """Where the pictures of a split are: arrays [E]."""

    shard: NDArray[np.int32]
    offset: NDArray[np.int64]
    bytes: NDArray[np.int64]
    crc32: NDArray[np.uint32]


class _Shard:
    """A file open for ranged reads until nobody has it any more."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)


class PreparedSource:
    """Pictures of one split, by example id, from any number of threads."""

    def __init__(
        self, files: list[Path], places: _Places, errors: Mapping[int, str], digests: list[str]
    ) -> None:
        self._files, self._places, self._errors = files, places, errors
        self._digests = digests
        self._open: dict[int, _Shard] = {}
        self._lock = threading.Lock()

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        """As ``EncodedSource``: one ranged read per picture.

        Raises:
            UnreadableImage: with the reason found when it was prepared, or if its bytes are not
                those that were written.
        """
        return [self._one(i) for i in example_ids.tolist()]

    def _one(self, example_id: int) -> bytes:
        if (reason := self._errors.get(example_id)) is not None:
            raise UnreadableImage(reason)
        places = self._places
        shard, length = int(places.shard[example_id]), int(places.bytes[example_id])
        try:
            file = self._open.get(shard) or self._opened(shard)
            data = os.pread(file.descriptor, length, int(places.offset[example_id]))
        except OSError as error:
            raise UnreadableImage(
                f"cannot be read from its shard ({error.strerror})", lasting=False
            ) from None
        if zlib.crc32(data) != places.crc32[example_id]:
            raise UnreadableImage(
                f"its bytes in {self._files[shard].name} are not those that were written",
                lasting=False,
            )
        return data

    def _opened(self, shard: int) -> _Shard:
        file = _Shard(self._files[shard])
        with self._lock:
            if len(self._open) < _HELD_FILES:
                return self._open.setdefault(shard, file)
        return file  # closed when it is dropped

    def content_digest(self) -> bytes:
        """Of the sha256 of its shards, in order."""
        return hashlib.sha256("".join(self._digests).encode()).digest()
