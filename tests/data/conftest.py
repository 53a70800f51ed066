"""Makers of tiny data sets, and a search path that finds nothing on this machine by accident."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import imagenet_folder
from numpy.typing import ArrayLike
from PIL import Image

from zoo.data import Dataset, open_dataset, preparing
from zoo.data.dataset import EncodedSource, UnreadableImage
from zoo.data.decode import encoded_or_reason


def png(pixels: ArrayLike, **options: Any) -> bytes:
    """PNG bytes of uint8 [H, W] or [H, W, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(buffer, "PNG", **options)
    return buffer.getvalue()


def grey(value: int, height: int = 2, width: int = 2) -> bytes:
    """A PNG of one grey value."""
    return png(np.full((height, width), value))


def huggingface(names: Sequence[str] | None, label: str = "label") -> dict[str, str]:
    """Schema metadata as the datasets library writes them."""
    feature: dict[str, Any] = (
        {"_type": "Value", "dtype": "int64"}
        if names is None
        else {"names": list(names), "_type": "ClassLabel"}
    )
    return {
        "huggingface": json.dumps(
            {"info": {"features": {"image": {"_type": "Image"}, label: feature}}}
        )
    }


def write_parquet(
    path: Path,
    images: Sequence[bytes | None],
    labels: Any,
    *,
    names: Sequence[str] | None = None,
    metadata: bool = True,
    row_group_size: int | None = None,
    **columns: Any,
) -> Path:
    """A Parquet file in the Hugging Face layout; further columns by keyword."""
    paths = [f"{i}.png" for i in range(len(images))]
    image = pa.StructArray.from_arrays(
        [pa.array(images, pa.binary()), pa.array(paths)], names=["bytes", "path"]
    )
    table = pa.table({"image": image, "label": labels, **columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata(huggingface(names) if metadata else None),
        path,
        row_group_size=row_group_size,
    )
    return path


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    """Files under root by relative path."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture(autouse=True)
def _nothing_found_by_accident(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path_factory.mktemp("empty")
    monkeypatch.chdir(empty)
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(empty / "share"))


PETS = ("ant", "bee")


def notes_of(dataset: Dataset, kind: str) -> list[tuple[str, str]]:
    """Level and text of the notes of one kind."""
    return [(note.level, note.text) for note in dataset.notes if note.kind == kind]


def pictures(*places: str, start: int = 1) -> dict[str, bytes]:
    return {place: grey(value) for value, place in enumerate(places, start=start)}


def two_classes(root: Path, **more: bytes) -> Path:
    """A sound image folder: two classes in train and in test."""
    return write_files(
        root, pictures("train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png") | more
    )


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def one_class(root: Path) -> Path:
    return write_files(root, pictures("train/a/1.png", "train/a/2.png", "test/a/3.png"))


BROKEN = "train/n03344393/n03344393_1.JPEG"


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Three classes, 3 + 2 pictures of 100 x 75 pixels, one of them truncated."""
    return open_dataset(str(imagenet_folder(tmp_path / "photos", truncated=[BROKEN])))


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 4 pictures in batches of 2, made 2 at a time: 9 + 6 pictures are 3 + 2 shards."""
    monkeypatch.setattr(preparing, "ROWS_PER_SHARD", 4)
    monkeypatch.setattr(preparing, "_ROWS_PER_BATCH", 2)
    monkeypatch.setattr(preparing, "_ROWS_PER_TASK", 2)


def content(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def encoded(dataset: Dataset, split: str) -> list[bytes | UnreadableImage]:
    source = dataset.splits[split].source
    assert isinstance(source, EncodedSource)
    return encoded_or_reason(source, np.arange(len(dataset.splits[split])))
