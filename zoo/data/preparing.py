"""Writes a prepared data set (``zoo.data.prepared``): every picture decoded once by the rules of
``zoo.data.decode``, made smaller, encoded again.

The same request gives the same bytes, whatever the number of workers and however often it was
killed: pictures go into their shards in the order of their ids, a shard is written under a
temporary name, synced, and renamed to a name that holds its hash; what lies there under such a name
and has that hash is not written again. ``prepared.json`` comes last.

Pictures whose shorter side is not above the one asked for keep their bytes (``jpeg``): nothing is
enlarged, and no loss is added.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import fcntl
import hashlib
import io
import itertools
import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from zoo.data.dataset import Dataset, EncodedSource, Split, UnreadableImage
from zoo.data.decode import decode_image, encoded_or_reason
from zoo.data.prepared import FORMAT, INDEX_SCHEMA, MANIFEST, UNFINISHED
from zoo.errors import DataError, UsageError

__all__ = ["Encoding", "Prepared", "prepare"]

Encoding = Literal["jpeg", "raw"]

QUALITY = 95
ROWS_PER_SHARD = 8192
_ROWS_PER_BATCH = 256
_ROWS_PER_TASK = 32
_TEMPORARY = re.compile(r"\.tmp-.+-[0-9a-f]{8}")
_VERSION = 1
"""Raised when the same request gives other bytes."""


@dataclass(frozen=True)
class Prepared:
    """What ``prepare`` has written. ``written``: shards of this call; the others were there."""

    folder: Path
    examples: int
    unreadable: int
    bytes: int
    shards: int
    written: int


def prepare(
    dataset: Dataset,
    folder: Path,
    *,
    short_side: int,
    encoding: Encoding = "jpeg",
    workers: int = 1,
    command: str = "zoo data prepare",
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> Prepared:
    """Write a data set into a folder, or go on writing it.

    Args:
        dataset: one whose pictures are encoded one by one.
        folder: new or empty, or one that this request began.
        short_side: pixels; larger pictures are scaled down to it, aspect kept.
        encoding: ``jpeg`` (quality 95), or ``raw``: PPM and PGM, larger and without decoding.
        workers: threads; the bytes do not depend on it.
        command: what to run again if it is stopped; for messages.
        on_rows: called with the number of pictures finished since the last call.

    Raises:
        UsageError: for a data set that is in one array already, or a folder that holds something
            else.
        DataError: if a file cannot be read for now (permissions), or nothing can be written.
    """
    if not all(isinstance(split.source, EncodedSource) for split in dataset.splits.values()):
        raise UsageError(
            f"{dataset.name} ({dataset.form}): its pictures lie decoded in one file, so there is"
            " nothing to prepare. Allowed are folders of image files and Parquet. Use it as it is."
        )
    request = {
        "format": FORMAT,
        "version": _VERSION,
        "origin": {
            "name": dataset.name,
            "form": dataset.form,
            "fingerprint": dataset.fingerprint,
        },
        "short_side": short_side,
        "encoding": encoding,
        "quality": QUALITY if encoding == "jpeg" else None,
        "rows_per_shard": ROWS_PER_SHARD,
        "classes": list(dataset.class_names),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            _check_folder(folder, request)
            for path in folder.iterdir():
                if _TEMPORARY.fullmatch(path.name):  # of one that was killed: no other is alive
                    path.unlink()
            if not (folder / MANIFEST).exists():
                _write(folder, UNFINISHED, _json({**request, "command": command}))
            found = _prepare(dataset, folder, request, workers, on_rows)
            (folder / UNFINISHED).unlink(missing_ok=True)
            _sync_folder(folder)
            return found
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}). Free some"
            f" space or choose another folder; what is finished is kept: {command}"
        ) from None


def _prepare(
    dataset: Dataset,
    folder: Path,
    request: Mapping[str, Any],
    workers: int,
    on_rows: Callable[[int], None],
) -> Prepared:
    encode = _Encoder(int(request["short_side"]), request["encoding"])
    splits: dict[str, Any] = {}
    unreadable = written = 0
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for name, split in dataset.splits.items():
            count = -(-len(split) // ROWS_PER_SHARD)
            shards, places = [], []
            for number in range(count):
                start = number * ROWS_PER_SHARD
                stop = min(start + ROWS_PER_SHARD, len(split))
                stem = f"{name}-{number:05d}-of-{count:05d}"
                path = _finished(folder, stem)
                if path is None:
                    rows = _encoded_rows(pool, workers, encode, split, start, stop)
                    path = _write_shard(folder, stem, rows, on_rows)
                    written += 1
                else:
                    on_rows(stop - start)
                table, facts = _place(path, number)
                shards.append(facts)
                places.append(table)
            index = (
                _index(split, pa.concat_tables(places)) if places else INDEX_SCHEMA.empty_table()
            )
            unreadable += len(index) - index.column("error").null_count
            sink = io.BytesIO()
            pq.write_table(index, sink, compression="zstd")
            data = sink.getvalue()
            _write(folder, f"{name}.index.parquet", data)
            splits[name] = {
                "examples": len(split),
                "index": {
                    "file": f"{name}.index.parquet",
                    "sha256": hashlib.sha256(data).hexdigest(),
                },
                "shards": shards,
            }
    _write(folder, MANIFEST, _json({**request, "splits": splits}))
    every = [shard for facts in splits.values() for shard in facts["shards"]]
    return Prepared(
        folder,
        sum(facts["examples"] for facts in splits.values()),
        unreadable,
        sum(shard["bytes"] for shard in every),
        len(every),
        written,
    )


# ---------------------------------------------------------------- pictures


@dataclass(frozen=True)
class _Encoder:
    """Encoded bytes of one picture, smaller: a pure function of its bytes."""

    short_side: int
    encoding: Encoding

    def __call__(self, data: bytes) -> bytes:
        pixels = decode_image(data, 3)
        height, width = pixels.shape[:2]
        short = min(height, width)
        if short <= self.short_side and self.encoding == "jpeg":
            return data
        grey = bool((pixels == pixels[..., :1]).all())
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if grey else pixels)
        if short > self.short_side:
            scale = self.short_side / short
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = image.resize(size, Image.Resampling.BICUBIC)
        sink = io.BytesIO()
        if self.encoding == "raw":
            image.save(sink, "PPM")
        else:
            image.save(sink, "JPEG", quality=QUALITY)
        return sink.getvalue()


def _encoded_rows(
    pool: concurrent.futures.ThreadPoolExecutor,
    workers: int,
    encode: _Encoder,
    split: Split,
    start: int,
    stop: int,
) -> Iterator[list[tuple[bytes, str | None]]]:
    """(bytes, reason of an unreadable one) of rows start..stop-1, in order, some at a time."""

    def work(ids: NDArray[np.int64]) -> list[tuple[bytes, str | None]]:
        assert isinstance(split.source, EncodedSource)
        found: list[tuple[bytes, str | None]] = []
        for example_id, data in zip(
            ids.tolist(), encoded_or_reason(split.source, ids), strict=True
        ):
            try:
                if isinstance(data, UnreadableImage):
                    raise data
                found.append((encode(data), None))
            except UnreadableImage as error:
                if not error.lasting:
                    raise DataError(
                        f"{split.name}, {split.keys[example_id]}: {error.reason}. It would be kept"
                        " as unreadable for good: put it right and run the same command again."
                    ) from None
                found.append((b"", error.reason))
        return found

    ids = np.arange(start, stop, dtype=np.int64)
    ahead: collections.deque[concurrent.futures.Future[list[tuple[bytes, str | None]]]] = (
        collections.deque()
    )
    try:
        for first in range(0, len(ids), _ROWS_PER_TASK):
            ahead.append(pool.submit(work, ids[first : first + _ROWS_PER_TASK]))
            if len(ahead) > 2 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()


# ---------------------------------------------------------------- files

_SHARD_SCHEMA = pa.schema([pa.field("image", pa.binary()), pa.field("error", pa.string())])


def _write_shard(
    folder: Path,
    stem: str,
    rows: Iterator[list[tuple[bytes, str | None]]],
    on_rows: Callable[[int], None],
) -> Path:
    temporary = folder / f".tmp-{stem}-{secrets.token_hex(4)}"
    waiting: list[tuple[bytes, str | None]] = []
    with temporary.open("xb") as file:
        with pa.ipc.new_file(pa.PythonFile(file, mode="w"), _SHARD_SCHEMA) as writer:
            for some in rows:
                waiting += some
                on_rows(len(some))
                while len(waiting) >= _ROWS_PER_BATCH:
                    writer.write_batch(_batch(waiting[:_ROWS_PER_BATCH]))
                    del waiting[:_ROWS_PER_BATCH]
            if waiting:
                writer.write_batch(_batch(waiting))
        _to_disk(file)
    path = folder / f"{stem}-{_sha256(temporary)[:16]}.arrow"
    temporary.replace(path)
    _sync_folder(folder)
    return path


def _batch(rows: list[tuple[bytes, str | None]]) -> pa.RecordBatch:
    images, errors = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(images, pa.binary()), pa.array(errors, pa.string())], schema=_SHARD_SCHEMA
    )


def _finished(folder: Path, stem: str) -> Path | None:
    """A shard that lies there and is what its name says; a damaged one is removed."""
    for path in sorted(folder.glob(f"{stem}-*.arrow")):
        match = re.fullmatch(rf"{re.escape(stem)}-([0-9a-f]{{16}})\.arrow", path.name)
        if match and _sha256(path).startswith(match[1]):
            return path
        path.unlink()
    return None


def _place(path: Path, number: int) -> tuple[pa.Table, dict[str, Any]]:
    """Where each picture of a shard lies in its file, and the shard's facts for the manifest."""
    whole = pa.memory_map(str(path)).read_buffer()
    reader = pa.ipc.open_file(whole)
    offsets, lengths, crcs, errors = [], [], [], []
    for index in range(reader.num_record_batches):
        batch = reader.get_batch(index)
        values = batch.column(0)
        ends = np.frombuffer(values.buffers()[1], dtype=np.int32)[: len(values) + 1]
        data = values.buffers()[2]
        base = 0 if data is None else data.address - whole.address
        offsets.append(base + ends[:-1].astype(np.int64))
        lengths.append(np.diff(ends).astype(np.int64))
        view = memoryview(b"" if data is None else data)
        crcs += [zlib.crc32(view[a:b]) for a, b in itertools.pairwise(ends.tolist())]
        errors += batch.column(1).to_pylist()
    rows = sum(map(len, lengths))
    table = pa.table(
        {
            "error": pa.array(errors, pa.string()),
            "shard": pa.array(np.full(rows, number, dtype=np.int32)),
            "offset": pa.array(np.concatenate(offsets)),
            "bytes": pa.array(np.concatenate(lengths)),
            "crc32": pa.array(np.array(crcs, dtype=np.uint32)),
        }
    )
    return table, {
        "file": path.name,
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
    }


def _index(split: Split, places: pa.Table) -> pa.Table:
    truth = pa.nulls(len(split), pa.int64()) if split.labels_true is None else split.labels_true
    columns = {"key": split.keys, "label": split.labels, "label_true": truth}
    return pa.table(
        {
            name: columns[name] if name in columns else places.column(name)
            for name in INDEX_SCHEMA.names
        },
        schema=INDEX_SCHEMA,
    )


def _check_folder(folder: Path, request: Mapping[str, Any]) -> None:
    """Refuse a folder that holds something else than what this request began."""
    names = {path.name for path in folder.iterdir() if not _TEMPORARY.fullmatch(path.name)}
    if not names:
        return
    begun = next((name for name in (MANIFEST, UNFINISHED) if name in names), None)
    if begun is None:
        raise UsageError(
            f"{folder}: holds other files, such as {min(names)}. Allowed is a new or empty folder."
            " Choose one with -o."
        )
    try:
        there = json.loads((folder / begun).read_text(encoding="utf-8"))
    except ValueError:
        there = {}
    asked, known = _comparable(request), _comparable(there)
    differing = [name for name in asked if asked[name] != known.get(name)]
    if differing:
        seen = "; ".join(
            f"{name} {_short(known.get(name))} there, {_short(asked[name])} asked for"
            for name in differing
        )
        raise UsageError(
            f"{folder}: was begun for another request ({seen}). Repeat that one, or choose another"
            " folder with -o."
        )


def _comparable(request: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bytes: the data set by its fingerprint, not by where it lies."""
    origin = request.get("origin") or {}
    return {
        "data set": origin.get("fingerprint"),
        **{
            name: request.get(name)
            for name in ("format", "version", "short_side", "encoding", "quality", "rows_per_shard")
        },
    }


def _short(value: object) -> str:
    return str(value)[:60]


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only writer of a folder. The kernel lets go of the lock however the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another zoo data prepare is writing it. Wait for it, or choose another"
                " folder with -o."
            ) from None
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, name: str, data: bytes) -> None:
    temporary = folder / f".tmp-{name}-{secrets.token_hex(4)}"
    with temporary.open("xb") as file:
        file.write(data)
        _to_disk(file)
    temporary.replace(folder / name)
    _sync_folder(folder)


def _json(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
