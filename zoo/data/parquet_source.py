"""Images out of Parquet files, by example id.

A split of up to 512 MB of images is read once and held as encoded bytes. A larger one keeps footers
only and reads the row groups that hold
the ids asked for, keeping the last one: a range of consecutive ids touches one or two row groups,
whatever the size of the set. So fingerprint what is held by its bytes, and larger splits by the
sizes of their row groups.

Files are opened when read and closed again: ImageNet in Parquet has hundreds of files, a process
has 1024 descriptors.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import DataError

__all__ = ["HELD_BYTES", "ParquetFileAt", "ParquetSource", "holds_images", "open_at", "short"]

HELD_BYTES = 512 << 20
"""Splits with no more image bytes than this are held in memory; larger ones are read by row
group."""


@dataclass(frozen=True)
class ParquetFileAt:
    """A Parquet file whose footer has been read. ``name``: its path, for opening and for
    messages."""

    filesystem: pafs.FileSystem
    name: str
    metadata: pq.FileMetaData
    schema: pa.Schema

    def read(self, columns: list[str], group: int | None = None) -> pa.Table:
        """Some columns (leaf names) of one row group, or of the whole file.

        Raises:
            DataError: if the file is gone or damaged.
        """
        try:
            with self.filesystem.open_input_file(self.name) as source:
                reader = pq.ParquetFile(
                    source, metadata=self.metadata, page_checksum_verification=True
                )
                table = (
                    reader.read(columns) if group is None else reader.read_row_group(group, columns)
                )
                return table.replace_schema_metadata(None)
        except (pa.ArrowException, OSError) as error:
            part = "" if group is None else f", row group {group}"
            raise DataError(
                f"{self.name}{part}: cannot be read ({short(error)}). Fetch or write the file"
                " again."
            ) from None


def open_at(filesystem: pafs.FileSystem, name: str) -> ParquetFileAt:
    """Read a file's footer.

    Raises:
        DataError: if it is not a readable Parquet file.
    """
    try:
        with filesystem.open_input_file(name) as source:
            reader = pq.ParquetFile(source)
            return ParquetFileAt(filesystem, name, reader.metadata, reader.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{name}: not a readable Parquet file ({short(error)}). Fetch or write it again."
        ) from None


def holds_images(files: list[ParquetFileAt], leaf: str) -> bool:
    """Whether any row of some files has image bytes. Footers say it where they count nulls; else
    row groups are read up to the first such row."""
    for number, file in enumerate(files):
        for group in _row_groups(number, file, leaf):
            if group.nulls is None:
                values = file.read([leaf], group.group).column(leaf.partition(".")[0])
                nulls = (pc.struct_field(values, "bytes") if "." in leaf else values).null_count
            else:
                nulls = group.nulls
            if nulls < group.rows:
                return True
    return False


def short(error: BaseException) -> str:
    """The first 160 characters of a foreign message, on one line."""
    return " ".join(str(error).split())[:160]


@dataclass(frozen=True)
class _RowGroup:
    """One row group of one file. ``bytes``: of its images, uncompressed; ``stored``: as they lie in
    the file. ``nulls``: None = not counted."""

    file: int
    group: int
    rows: int
    bytes: int
    stored: int
    nulls: int | None


class ParquetSource:
    """Image column of the files of one split, in order.

    Args:
        files: opened footers, in the order of the example ids.
        image: name of the column.
        leaf: name of the leaf that holds the bytes (``image.bytes``, or the column itself).
    """

    def __init__(
        self, files: list[ParquetFileAt], image: str, leaf: str, held_bytes: int = HELD_BYTES
    ) -> None:
        self._files, self._image, self._leaf = files, image, leaf
        self._groups = [
            group for number, file in enumerate(files) for group in _row_groups(number, file, leaf)
        ]
        self._firsts = np.cumsum([0, *(group.rows for group in self._groups)])  # [groups + 1]
        self._holds = sum(group.bytes for group in self._groups) <= held_bytes
        self._held: pa.LargeBinaryArray | None = None
        self._last: tuple[int, pa.LargeBinaryArray] | None = None
        self._lock = threading.Lock()

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        if self._holds:
            return _bytes_of(self._all(), example_ids)
        group_of = np.searchsorted(self._firsts, example_ids, side="right") - 1  # [n]
        found: list[bytes] = [b""] * len(example_ids)
        for group in np.unique(group_of).tolist():
            positions = np.flatnonzero(group_of == group)
            images = _bytes_of(self._group(group), example_ids[positions] - self._firsts[group])
            for position, image in zip(positions.tolist(), images, strict=True):
                found[position] = image
        return found

    def content_digest(self) -> bytes:
        """Of a held split: lengths and bytes of all images, whatever row groups they lie in. Of a
        larger one: its row groups' sizes."""
        if not self._holds:
            return hashlib.sha256(
                repr([(group.rows, group.bytes, group.stored) for group in self._groups]).encode()
            ).digest()
        images = self._all()
        offsets = np.frombuffer(images.buffers()[1], dtype=np.int64)[
            images.offset : images.offset + len(images) + 1
        ]
        digest = hashlib.sha256(np.diff(offsets).astype("<i8").tobytes())
        if len(images):
            digest.update(memoryview(images.buffers()[2])[offsets[0] : offsets[-1]])
        return digest.digest()

    def _all(self) -> pa.LargeBinaryArray:
        with self._lock:
            if self._held is None:
                chunks = [self._read(number) for number in range(len(self._groups))]
                self._held = pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_binary())
            return self._held

    def _group(self, number: int) -> pa.LargeBinaryArray:
        with self._lock:
            if self._last is None or self._last[0] != number:
                self._last = None  # free one before reading the next
                self._last = (number, self._read(number))
            return self._last[1]

    def _read(self, number: int) -> pa.LargeBinaryArray:
        group = self._groups[number]
        column = self._files[group.file].read([self._leaf], group.group).column(self._image)
        if pa.types.is_struct(column.type):
            column = pc.struct_field(column, "bytes")
        # Missing images become empty ones: the decoder says so, and the hash sees a length of 0.
        return pc.fill_null(column.cast(pa.large_binary()), b"").combine_chunks()


def _row_groups(number: int, file: ParquetFileAt, leaf: str) -> list[_RowGroup]:
    """Row groups of a file that have rows."""
    found = []
    for index in range(file.metadata.num_row_groups):
        group: Any = file.metadata.row_group(index)
        column = next(
            group.column(c)
            for c in range(group.num_columns)
            if group.column(c).path_in_schema == leaf
        )
        if group.num_rows:
            sizes = column.total_uncompressed_size, column.total_compressed_size
            counted = column.is_stats_set and column.statistics.has_null_count
            found.append(
                _RowGroup(
                    number,
                    index,
                    group.num_rows,
                    *sizes,
                    column.statistics.null_count if counted else None,
                )
            )
    return found


def _bytes_of(images: pa.LargeBinaryArray, positions: NDArray[np.int64]) -> list[bytes]:
    taken: list[bytes] = images.take(pa.array(positions, pa.int64())).to_pylist()
    return taken
