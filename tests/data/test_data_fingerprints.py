"""Fingerprints are those of the versions before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.conftest import idx, write_files, write_parquet
from zoo.data import open_dataset

# ---------------------------------------------------------------- what must not change


ONE = b"not a picture, but bytes that never change"


def folders(root: Path) -> Path:
    names = ("train/10/b.png", "train/2/z/deep.jpg", "test/2/y.png", "test/10/y.png")
    return write_files(
        root,
        {**dict.fromkeys(names, ONE), "train/10/a.png": ONE + b"1", "train/2/README.txt": b"x"},
    )


def flat_folders(root: Path) -> Path:
    return write_files(
        root, {"cat/1.png": ONE, "dog/1.png": ONE + b"22", "dog/caf\u00e9/2.png": ONE}
    )


def parquet(root: Path) -> Path:
    for split, labels in (("train", [0, 1, 2, 1]), ("test", [2, 0])):
        images: list[bytes | None] = [ONE + bytes([i]) for i in range(len(labels))]
        write_parquet(
            root / f"{split}.parquet",
            images,
            labels,
            names=("ant", "bee", "cow"),
            label_true=labels[::-1],
        )
    return root


def wordnet(root: Path) -> Path:
    return write_files(
        root,
        {
            f"{split}/{wnid}/x.JPEG": ONE
            for split in ("train", "val")
            for wnid in ("n01440764", "n01443537")
        },
    )


def idx_files(root: Path) -> Path:
    for prefix, count in (("train", 5), ("t10k", 3)):
        images, labels = np.arange(count * 16).reshape(count, 4, 4) % 251, np.arange(count) % 3
        write_files(
            root,
            {
                f"{prefix}-images-idx3-ubyte": idx(images),
                f"{prefix}-labels-idx1-ubyte": idx(labels),
            },
        )
    return root


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (folders, "2dabc48d2791f960"),
        (flat_folders, "e59889feb0a88244"),
        (parquet, "e31f4cdf37e61b0f"),
        (wordnet, "4acf6f64eec3d001"),
        (idx_files, "70939a15c9e2353f"),
        (lambda _: "fashion-mini", "93ac45f31cb9a730"),
    ],
)
def test_fingerprints_are_those_of_the_version_before(
    tmp_path: Path, make: Any, expected: str
) -> None:
    """Computed by commit 8ec8b82 on the same files: another value would make every training of a
    workspace unknown."""
    assert open_dataset(str(make(tmp_path))).fingerprint == expected


# ---------------------------------------------------------------- CIFAR and ImageNet


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(
    not (SHARED / "mnist/train.parquet").is_file(),
    reason="needs Parquet copies of mnist and cifar10 in ../shared/data",
)
@pytest.mark.parametrize(
    ("name", "expected"), [("mnist", "ced6bff42f364936"), ("cifar10", "d29b56c153d4ac41")]
)
def test_fingerprints_of_the_public_copies_are_those_of_the_version_before(
    name: str, expected: str
) -> None:
    opened = open_dataset(str(SHARED / name))
    assert (opened.fingerprint, opened.notes) == (expected, ())
