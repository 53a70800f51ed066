"""Downloads, through torchvision, into the folder form that ``open_dataset`` reads. Nothing else in
zoo.data opens a connection.

torchvision (and with it torch) is imported when a download is asked for and at no other time: the
one exception to the rule that the number ring knows no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zoo.errors import DataError, UnknownNameError

__all__ = ["FETCHABLE", "Download", "fetch"]


@dataclass(frozen=True)
class Download:
    """``reader``: class of torchvision.datasets, called with (root, train, download).
    ``megabytes``: to transfer."""

    reader: str
    megabytes: int


FETCHABLE: Mapping[str, Download] = {
    "cifar10": Download("CIFAR10", 170),
    "cifar100": Download("CIFAR100", 169),
    "fashion-mnist": Download("FashionMNIST", 31),
    "mnist": Download("MNIST", 12),
}

_HINT = (
    "ImageNet has no free download: get it under its own terms and point ZOO_DATA at the folder. "
    "Any other data set: give the path of a folder of class folders or of Parquet files."
)


def fetch(name: str, folder: Path) -> Path:
    """Download a data set into ``folder/name`` and return that path. What is there and complete is
    not downloaded again.

    Raises:
        UnknownNameError: if there is nothing of that name to download.
        DataError: if torchvision is missing or the download fails.
    """
    if name not in FETCHABLE:
        raise UnknownNameError("download", name, FETCHABLE, _HINT)
    target = folder / name
    try:
        from torchvision import datasets
    except ImportError as error:
        raise DataError(
            f"{name}: downloads need torchvision, which cannot be imported ({error}). Install it,"
            f" or {_by_hand(name)}"
        ) from None
    reader = getattr(datasets, FETCHABLE[name].reader)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for train in (True, False):
            reader(root=str(target), train=train, download=True)
    # URLError is an OSError; a wrong checksum a RuntimeError
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{name}: download into {target} failed ({error}). Try again, or {_by_hand(name)}"
        ) from None
    return target


def _by_hand(name: str) -> str:
    return f"download it elsewhere and put it into a folder {name!r} of a place in ZOO_DATA."
