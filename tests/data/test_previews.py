"""Previews: pictures to look at, whole and undistorted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from commands import png
from PIL import Image

from zoo.data import open_dataset
from zoo.data.decode import previews_of


def test_a_preview_has_the_proportions_of_its_picture(tmp_path: Path) -> None:
    """A small one is kept pixel by pixel, a large one reduced as a whole; a damaged one is left
    out."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name, content in (
        ("a/0.png", png(small)),
        ("a/1.png", png(random.integers(0, 256, (100, 480, 3), dtype=np.uint8))),
        ("b/2.png", png(random.integers(0, 256, (500, 250, 3), dtype=np.uint8))),
        ("b/3.png", b"no picture"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    dataset = open_dataset(tmp_path)
    keys = dataset.splits["train"].keys
    found = previews_of(dataset, "train", np.arange(len(keys)))
    told = {keys[i]: (seen.width, seen.height, seen.kind) for i, seen in found.items()}
    assert {Path(key).name: value for key, value in told.items()} == {
        "0.png": (30, 20, "image/png"),
        "1.png": (240, 50, "image/jpeg"),
        "2.png": (120, 240, "image/jpeg"),
    }
    for seen in found.values():
        assert Image.open(io.BytesIO(seen.data)).size == (seen.width, seen.height)
    first = next(seen for i, seen in found.items() if keys[i].endswith("0.png"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(first.data))), small)
