"""Near-duplicates: pictures saved again or blurred that are found, and groups among the others.

Sets: training pictures of fashion-mini, and of MNIST and CIFAR-10 where ZOO_DATA has them. A part
of each is saved as JPEG at a quality, or blurred by a Gaussian of so many pixels, and stands a
second time at the end. A round is a draw of that
part. Printed: how many of the copies are in a group with their original, groups without a copy, and
CPU seconds of hashes and of candidates with their comparison.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tools.bench.paired import print_table, settings
from zoo.data import Dataset, open_dataset
from zoo.data.alike import groups, hashes, thumbnails
from zoo.data.decode import decode_examples
from zoo.errors import ZooError

__all__ = ["COPIES", "found", "main"]

SETS = ("fashion-mini", "mnist", "cifar10")
_BLOCK = 4096
Picture = NDArray[np.uint8]


def pictures(dataset: Dataset, count: int | None) -> NDArray[np.uint8]:
    """The first training pictures of a data set, uint8 [n, S, S, K]."""
    split = dataset.splits["train"]
    assert dataset.native_size is not None
    ids = np.arange(len(split) if count is None else min(count, len(split)))
    return decode_examples(
        split, ids, size=max(dataset.native_size), channels=dataset.channels, fit="pad"
    ).images


def saved(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """A picture [S, S, K] as it comes back from a JPEG."""
    kept = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(kept, "JPEG", quality=quality)
    return np.asarray(Image.open(kept)).reshape(picture.shape)


def blurred(picture: NDArray[np.uint8], radius: float) -> NDArray[np.uint8]:
    """A picture [S, S, K] seen through a Gaussian."""
    soft = Image.fromarray(picture.squeeze()).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(soft).reshape(picture.shape)


COPIES: Final[dict[str, Callable[[Picture], Picture]]] = {
    **{f"JPEG {quality}": partial(saved, quality=quality) for quality in (90, 75, 50)},
    **{f"blurred {radius:g}": partial(blurred, radius=radius) for radius in (0.7, 1.0, 1.5)},
}


def found(
    images: NDArray[np.uint8], copied: NDArray[np.int64], copy: str
) -> dict[str, str | float | int]:
    """Copies that are found, groups that have no copy in them, CPU seconds. ``copy``: of
    ``COPIES``."""
    n = len(images)
    everything = np.concatenate([images, np.stack([COPIES[copy](images[i]) for i in copied])])
    began = time.process_time()
    parts = [hashes(everything[i : i + _BLOCK]) for i in range(0, len(everything), _BLOCK)]
    hashed, usable = (np.concatenate(part) for part in zip(*parts, strict=True))
    hashing = time.process_time() - began
    together = groups(hashed, usable, lambda numbers: thumbnails(everything[numbers]))
    comparing = time.process_time() - began - hashing
    group = np.arange(len(everything))
    for members in together:
        group[members] = members[0]
    return {
        "copy": copy,
        "copies": len(copied),
        "found": int((group[n:] == group[copied]).sum()),
        "groups without a copy": sum(1 for members in together if members[-1] < n),
        "hashes, s": round(hashing, 2),
        "comparison, s": round(comparing, 2),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table for each set."""
    options = settings(str(__doc__), rounds=1, argv=argv)
    for name in SETS[:1] if options.quick else SETS:
        try:
            images = pictures(open_dataset(name), 500 if options.quick else None)
        except ZooError as error:
            print(f"{name} is left out: {error}")
            continue
        count = 20 if options.quick else 300
        rows = []
        for draw in range(options.rounds):
            rng = np.random.default_rng(draw)
            copied = np.sort(rng.choice(len(images), count, replace=False))
            rows += [found(images, copied, copy) for copy in COPIES]
        print_table(rows, f"{name}: {len(images):,} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
