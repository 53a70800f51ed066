"""A whole split decoded once: in memory, or as one .npy file that every process of a machine maps.

File ``<cache>/<fingerprint>-<split>-<size>x<channels>-<fit>.npy`` with a .json beside it
(unreadable images, version of the rules). Both are written under a temporary name, fsynced and
published whole, the .npy last: a reader sees all of it or none, a killed writer leaves a temporary
file that a later one removes, and two writers at once publish the same bytes. Blocks are written
with ``write``, not through a map: on a full disk that is an error message, where a map is killed by
SIGBUS.

Shape letters: E examples, n images, H/W/K height, width, channels.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Split
from zoo.data.decode import Decoded, Fit, decode_examples
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.spec import canonical_json

__all__ = ["RULES_VERSION", "channel_statistics", "load_split"]

RULES_VERSION = 1
"""Raised when ``zoo.data.decode`` gives other pixels for the same bytes; older cache files are then
made again."""

_BLOCK_BYTES = 64 << 20
_ABANDONED_SECONDS = 3600  # a writer at work touches its file every block


def load_split(
    dataset: Dataset, split_name: str, *, size: int, channels: int, fit: Fit, cache: Path | None
) -> Decoded:
    """All pictures of a split in one size.

    Args:
        dataset: an opened data set.
        split_name: one of its splits.
        size, channels, fit: as for ``decode_examples``.
        cache: folder for the decoded file, made if missing; None = decode into memory.

    Returns:
        images uint8 [E, size, size, K] (with a cache: a read-only memory map) and the errors by
        example id.

    Raises:
        UnknownNameError: if there is no such split.
        DataError: if the cache cannot be written.
    """
    if split_name not in dataset.splits:
        raise UnknownNameError(
            "split", split_name, dataset.splits, f"Data set {dataset.name} has no other splits."
        )
    split = dataset.splits[split_name]
    if cache is None or not len(split):
        return decode_examples(
            split, np.arange(len(split), dtype=np.int64), size=size, channels=channels, fit=fit
        )
    name = f"{dataset.fingerprint}-{split_name}-{size}x{channels}-{fit}"
    shape = (len(split), size, size, channels)
    cached = _open_cached(cache, name, shape)
    return cached if cached is not None else _decode_to_file(cache, name, split, shape, fit)


def _open_cached(cache: Path, name: str, shape: tuple[int, int, int, int]) -> Decoded | None:
    """The published file, or None if there is none, or one of other rules or another shape."""
    try:
        facts = json.loads((cache / f"{name}.json").read_text(encoding="utf-8"))
        if facts["rules"] != RULES_VERSION:
            return None
        errors = {int(example_id): str(reason) for example_id, reason in facts["errors"].items()}
        images = np.load(cache / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Decoded(images, errors) if images.shape == shape and images.dtype == np.uint8 else None


def _decode_to_file(
    cache: Path, name: str, split: Split, shape: tuple[int, int, int, int], fit: Fit
) -> Decoded:
    temporary = cache / f".tmp-{name}-{secrets.token_hex(8)}"
    pixels, facts = (
        temporary.with_name(f"{temporary.name}.npy"),
        temporary.with_name(f"{temporary.name}.json"),
    )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache, name)
        with pixels.open("xb") as file:
            errors, lasting = _write_blocks(file, split, shape, fit)
            _to_disk(file)
        # Mapped before publishing: what is returned is this process's own result, whoever wins.
        decoded = Decoded(np.load(pixels, mmap_mode="r", allow_pickle=False), errors, lasting)
        if lasting:
            content = canonical_json(
                {"rules": RULES_VERSION, "errors": {str(i): reason for i, reason in errors.items()}}
            )
            with facts.open("xb") as file:
                file.write(content.encode())
                _to_disk(file)
            _publish(cache, name, pixels, facts, shape)
    except OSError as error:
        raise DataError(
            f"{cache}: cannot write the decoded pictures of split {split.name!r}"
            f" ({error.strerror or error}); they take {np.prod(shape, dtype=np.int64):,} bytes."
            " Free some space, or give another workspace."
        ) from None
    finally:
        for file_left in (pixels, facts):
            # gone, or never made; the error worth telling is the one above
            with contextlib.suppress(OSError):
                file_left.unlink()
    return decoded


def _write_blocks(
    file: BinaryIO, split: Split, shape: tuple[int, int, int, int], fit: Fit
) -> tuple[dict[int, str], bool]:
    """Write header and pictures; memory stays at one block whatever the size of the split."""
    examples, size, _, channels = shape
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    errors: dict[int, str] = {}
    lasting = True
    block = max(1, _BLOCK_BYTES // (size * size * channels))
    for start in range(0, examples, block):
        ids = np.arange(start, min(start + block, examples), dtype=np.int64)
        decoded = decode_examples(split, ids, size=size, channels=channels, fit=fit)
        file.write(decoded.images.data)
        errors.update(decoded.errors)
        lasting = lasting and decoded.lasting
    return errors, lasting


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(
    cache: Path, name: str, pixels: Path, facts: Path, shape: tuple[int, int, int, int]
) -> None:
    """Make both files visible, the pictures last. Somebody else's good file is left alone; a
    damaged or outdated one is replaced."""
    target = cache / f"{name}.npy"
    if target.exists() and _open_cached(cache, name, shape) is None:
        pixels.replace(target)
        facts.replace(cache / f"{name}.json")
    else:
        facts.replace(cache / f"{name}.json")
        try:
            os.link(pixels, target)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            pixels.replace(target)
    descriptor = os.open(cache, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(cache: Path, name: str) -> None:
    """Temporary files of writers of the same split that were killed: by the clock of the file
    system, which may be another machine's."""
    there = list(cache.glob(f".tmp-{name}-*"))
    if not there:
        return
    with tempfile.NamedTemporaryFile(dir=cache, prefix=".tmp-clock-") as probe:
        now = os.fstat(probe.fileno()).st_mtime
    for left in there:
        with contextlib.suppress(OSError):
            if now - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


def channel_statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation per channel, in units of 0..1, rounded to 6 digits.

    Computed from exact counts of the 256 values, so neither block size nor order can change a
    digit. A constant channel has standard deviation 0.

    Args:
        images: uint8 [n, H, W, K], n * H * W >= 1.

    Raises:
        UsageError: if there are no pixels, or the array is not of this kind.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not images.size:
        raise UsageError(
            f"statistics of {images.dtype} {images.shape}: needed is uint8 [n, H, W, K] with at"
            " least one pixel."
        )
    channels = images.shape[3]
    counts = np.zeros((channels, 256), dtype=np.int64)
    block = max(1, _BLOCK_BYTES // images[0].size)
    for start in range(0, len(images), block):
        pixels = images[start : start + block].reshape(-1, channels)
        for channel in range(channels):
            counts[channel] += np.bincount(pixels[:, channel], minlength=256)
    values = np.arange(256, dtype=np.float64) / 255.0
    share = counts / counts.sum(axis=1, keepdims=True)  # [K, 256]
    mean = share @ values
    std = np.sqrt((share * (values[None, :] - mean[:, None]) ** 2).sum(axis=1))
    return tuple(round(float(m), 6) for m in mean), tuple(round(float(s), 6) for s in std)
