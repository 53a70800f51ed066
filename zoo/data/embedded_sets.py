"""Data that come with the package, so that the demo and the tests need nothing else.

``fashion-mini``: 5,000 + 2,000 images of Fashion-MNIST (10 classes, 28 x 28 grey, MIT licence), 250
of the training labels planted wrong. Made by ``tools/make_fashion_mini.py``; the hashes below are
what it prints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from zoo.data.dataset import Found
from zoo.data.parquet import parquet
from zoo.errors import DataError

__all__ = ["EMBEDDED", "embedded", "embedded_path"]

_FOLDER = Path(__file__).resolve().parent / "embedded"

EMBEDDED: Mapping[str, Mapping[str, str]] = {
    "fashion-mini": {
        "train.parquet": "9bcec29a5af0f7f811e3737dc476a37741768472a6abdde842b850e4ec8e9393",
        "test.parquet": "0fa515c22ae87345029d77675f71fa40a56c8feee95d4f1e4dd2769f6fc50c47",
    },
}
"""Name -> file -> sha256."""


def embedded_path(name: str) -> Path:
    """Folder of an embedded data set."""
    return _FOLDER / name


def embedded(path: Path) -> Found | None:
    """Recognise a folder of this package; its files are checked against their hashes before
    anything is believed of them."""
    if path.parent != _FOLDER or path.name not in EMBEDDED:
        return None
    _verify(path, EMBEDDED[path.name])
    found = parquet(path)
    if found is None:
        raise DataError(f"{path}: has no Parquet files. Install the package again.")
    return found


def _verify(path: Path, hashes: Mapping[str, str]) -> None:
    for name, expected in hashes.items():
        file = path / name
        seen = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
        if seen != expected:
            raise DataError(
                f"{file}: embedded data are damaged: sha256 {seen}, should be {expected}. Install"
                " the package again."
            )
