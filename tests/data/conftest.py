"""Makers of tiny data sets, and a search path that finds nothing on this machine by accident."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import ArrayLike
from PIL import Image


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
