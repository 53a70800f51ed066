"""CIFAR-10 and CIFAR-100 as the authors' Python batches (the form torchvision downloads), without
running what a pickle says.

``cifar-10-batches-py/{data_batch_1..5,test_batch,batches.meta}`` and
``cifar-100-python/{train,test,meta}``, in that folder or one level up.
The files are pickles, which can call any function when loaded. The reader here resolves nothing but
what numpy arrays are made of.

Source: the "Dataset layout" section of the CIFAR page: data is uint8 [E, 3072], red, green, blue
    planes of 32 x 32.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Contents, Found, Split, checked_labels
from zoo.data.mnist import ArraySource
from zoo.data.notes import Notes
from zoo.errors import DataError

__all__ = ["cifar", "load_batch"]

_CIFAR10 = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
_CIFAR100 = {"train": ["train"], "test": ["test"]}
_LABEL_KEYS = ("labels", "fine_labels")
_NAME_KEYS = ("label_names", "fine_label_names")
_ARCHIVES = ("cifar-10-python.tar.gz", "cifar-100-python.tar.gz")
"""What the files were unpacked from, left beside them by torchvision."""

_ROW_BYTES = 3 * 32 * 32


def _reconstruct(kind: type, shape: tuple[int, ...], _typecode: bytes) -> NDArray[Any]:
    """numpy's own maker of an empty array to be filled by the pickle's state; refuses to reserve
    memory ahead of the data."""
    if kind is not np.ndarray or tuple(shape) != (0,):
        raise pickle.UnpicklingError(f"array of kind {kind!r} and shape {shape!r}")
    return np.empty(0, dtype=np.uint8)


def _from_buffer(buffer: Any, dtype: Any, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    """Arrays of pickle protocol 5."""
    array: NDArray[Any] = np.frombuffer(buffer, dtype=dtype).reshape(
        shape, order="F" if order == "F" else "C"
    )
    return array


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them in pickle protocol 2."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _latin1,
}


class _ArraysOnly(pickle.Unpickler):
    """Loads lists, dicts, texts, bytes, numbers and numpy arrays; any other name in the pickle is
    refused before it is imported."""

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"names {module}.{name}; allowed are numpy arrays, lists, dicts, texts, numbers"
            ) from None


def load_batch(path: Path) -> dict[str, Any]:
    """A batch file as dict with text keys.

    Raises:
        DataError: if it is damaged, or names anything but arrays and plain values (nothing of it is
            run).
    """
    try:
        # latin1 keeps every byte of Python 2's strings, file names among them.
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # noqa: BLE001  damaged pickles raise anything from EOFError to IndexError
        raise DataError(
            f"{path}: cannot be loaded as a CIFAR batch ({type(error).__name__}: {error}). "
            "Only arrays and plain values are allowed in it; fetch it again."
        ) from None
    if not isinstance(batch, dict):
        raise DataError(
            f"{path}: holds a {type(batch).__name__}; a CIFAR batch is a dict. Fetch it again."
        )
    return {_text(key): value for key, value in batch.items()}


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def cifar(path: Path) -> Found | None:
    """Recognise a folder of CIFAR batches."""
    if not path.is_dir():
        return None
    for folder in (path, path / "cifar-10-batches-py", path / "cifar-100-python"):
        for files, meta, rows in ((_CIFAR10, "batches.meta", 10_000), (_CIFAR100, "meta", None)):
            present = {
                split: found
                for split, names in files.items()
                if (found := [folder / n for n in names if (folder / n).is_file()])
            }
            # "train" and "test" are common names: CIFAR-100 is believed only beside its file of
            # class names.
            if present and (files is _CIFAR10 or (folder / meta).is_file()):
                # Official batches have 10,000 rows and 30.7 MB; counting others would mean loading
                # them.
                counts = {
                    split: rows * len(found) if rows and _official(found) else None
                    for split, found in present.items()
                }
                absent = [
                    name
                    for split, names in files.items()
                    for name in names
                    if split in present and not (folder / name).is_file()
                ]
                return Found(counts, partial(_read, path, folder / meta, present, absent))
    return None


def _official(files: list[Path]) -> bool:
    return all(file.stat().st_size > 10_000 * _ROW_BYTES for file in files)


def _read(
    root: Path, meta: Path, present: Mapping[str, list[Path]], absent: Sequence[str]
) -> Contents:
    notes = Notes()
    for name in absent:
        notes.add(
            "warning",
            "missing file",
            name,
            "not there, so its examples are missing. Fetch it again",
        )
    covered = {
        file.relative_to(root).as_posix()
        for file in (meta, *(file for files in present.values() for file in files))
    }
    batches = {
        split: [(file, load_batch(file)) for file in files] for split, files in present.items()
    }
    labels = {
        split: np.concatenate([_labels(file, batch) for file, batch in loaded])
        for split, loaded in batches.items()
    }
    names = _class_names(meta)
    if names is None:
        largest = max((int(values.max()) for values in labels.values() if values.size), default=0)
        names = tuple(str(number) for number in range(largest + 1))
    splits = {}
    for split, loaded in batches.items():
        splits[split] = Split(
            name=split,
            labels=checked_labels(labels[split], len(names), str(loaded[0][0].parent / split)),
            labels_true=None,
            keys=[key for file, batch in loaded for key in _keys(file, batch)],
            source=ArraySource(np.concatenate([_images(file, batch) for file, batch in loaded])),
        )
    return Contents(names, splits, notes.all(), frozenset({*covered, *_ARCHIVES}))


def _class_names(meta: Path) -> tuple[str, ...] | None:
    if not meta.is_file():
        return None
    batch = load_batch(meta)
    for key in _NAME_KEYS:
        if isinstance(batch.get(key), list):
            return tuple(_text(name) for name in batch[key])
    raise DataError(
        f"{meta}: has no {' or '.join(_NAME_KEYS)}; its keys are {', '.join(sorted(batch))}. Fetch"
        " it again."
    )


def _labels(file: Path, batch: Mapping[str, Any]) -> NDArray[np.int64]:
    values = next((batch[key] for key in _LABEL_KEYS if key in batch), None)
    rows = len(_data(file, batch))
    if not isinstance(values, list | np.ndarray) or len(values) != rows:
        found = (
            "none"
            if values is None
            else len(values)
            if isinstance(values, list | np.ndarray)
            else type(values).__name__
        )
        raise DataError(
            f"{file}: {rows} images, labels: {found}; there must be one label per image. Fetch it"
            " again."
        )
    for row, value in enumerate(values):
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise DataError(
                f"{file}: row {row} has label {value!r}; labels must be integers. Fetch it again."
            )
    return np.asarray(values, dtype=np.int64)


def _data(file: Path, batch: Mapping[str, Any]) -> NDArray[np.uint8]:
    data = batch.get("data")
    if (
        not isinstance(data, np.ndarray)
        or data.dtype != np.uint8
        or data.ndim != 2
        or data.shape[1] != _ROW_BYTES
    ):
        seen = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise DataError(
            f"{file}: data is {seen}; a CIFAR batch has uint8 (rows, {_ROW_BYTES}). Fetch it again."
        )
    return data


def _images(file: Path, batch: Mapping[str, Any]) -> NDArray[np.uint8]:
    """uint8 [E, 32, 32, 3]: planes to channels last."""
    planes = _data(file, batch).reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _keys(file: Path, batch: Mapping[str, Any]) -> list[str]:
    rows = len(_data(file, batch))
    names = batch.get("filenames")
    if isinstance(names, list) and len(names) == rows:
        return [f"{file.name}/{_text(name)}" for name in names]
    return [f"{file.name}/{row:05d}" for row in range(rows)]
