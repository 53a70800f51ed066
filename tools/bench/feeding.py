"""Feeding a GPU: pictures a second of one core, from prepared shards, from image files, and by
torchvision's ImageFolder and DataLoader.

Made-up photographs of 500 x 375 pixels (about 100 kB of JPEG each), one process, one thread, random
order, random resized crops of 224 pixels and flips:

1. ``ImageFolder`` with the standard transforms (crop, flip, tensor, normalise) in a ``DataLoader``
   without workers: what one worker does.
2. The same files, prepared JPEGs and bare pixels, as a training reads them: bytes that go to the
   GPU, where zoo flips and normalises. Once also with that done on the CPU.

Then the cores that each backbone's training needs on an H100, from these rates and the table of
``zoo.estimate``. Then one random picture's bytes: from a file, a shard, and Parquet in row groups
of several sizes.
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo import keyed
from zoo.data import Dataset, open_dataset, prepare
from zoo.data.dataset import EncodedSource
from zoo.devices import ACCELERATORS, TRAINING_RTX3090
from zoo.spec import Preprocessing, Recipe
from zoo.training.tensors import augment, normalise
from zoo.trainsets.prepare import _CroppedPictures

__all__ = ["main"]

SIDE, BATCH = 224, 32
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SHAPE = Preprocessing(size=SIDE, channels=3, fit="crop", mean=_MEAN, std=_STD)
_RECIPE = Recipe(augment="resized_crop_flip")


def photograph(rng: np.random.Generator) -> bytes:
    """JPEG of 500 x 375 pixels with structure at every scale, as photographs have it."""
    total = np.zeros((375, 500, 3), dtype=np.float64)
    for level in range(1, 9):
        coarse = rng.integers(0, 256, (3 * 2**level // 4 + 1, 2**level + 1, 3), dtype=np.uint8)
        fine = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
        total += (np.asarray(fine, dtype=np.float64) - 128) * 0.83**level
    sink = io.BytesIO()
    pixels = np.clip(total * 1.4 + 128, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(sink, "JPEG", quality=92)
    return sink.getvalue()


def write_photographs(folder: Path, count: int) -> Dataset:
    rng = np.random.default_rng(0)
    for split, many in (("train", count), ("test", 2)):
        for i in range(many):
            path = folder / split / f"class{i % 2}" / f"{i:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photograph(rng))
    return open_dataset(str(folder))


def torchvision_side(folder: Path) -> Callable[[], object]:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(_MEAN, _STD),
        ]
    )
    loader = DataLoader(
        datasets.ImageFolder(str(folder / "train"), steps), batch_size=BATCH, shuffle=True
    )
    return lambda: [pictures for pictures, _ in loader]


def zoo_side(dataset: Dataset, *, whole: bool = False) -> Callable[[], object]:
    """``whole``: with flips and normalising, which belong to the GPU."""
    split, epoch = dataset.splits["train"], iter(range(1 << 30))
    ids = np.arange(len(split), dtype=np.int64)

    def work() -> None:
        key = f"bench/{next(epoch)}"
        order = np.random.default_rng(keyed.key_seed(key)).permutation(ids)
        pictures = _CroppedPictures(split, ids, _SHAPE, key)
        for start in range(0, len(order), BATCH):
            images, _ = pictures.gather(order[start : start + BATCH])
            if whole:
                normalise(augment(torch.from_numpy(images), _RECIPE, cropped=True), _SHAPE)

    return work


def cpu_seconds(work: Callable[[], object]) -> Callable[[], float]:
    """A side of which CPU time counts: a core is what is asked about, and the machine may be
    shared."""

    def side() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return side


def feed(folder: Path, count: int, rounds: int) -> dict[str, float]:
    dataset = write_photographs(folder / "photographs", count)
    split = dataset.splits["train"]
    source = split.source
    assert isinstance(source, EncodedSource)
    mean_bytes = sum(map(len, source.encoded(np.arange(count)))) / count
    sets = {}
    for side in (320, 256):
        for encoding in ("jpeg", "raw"):
            name = f"{encoding} {side}"
            began = time.process_time()
            done = prepare(dataset, folder / name, short_side=side, encoding=encoding)
            took = time.process_time() - began
            sets[name] = open_dataset(str(folder / name))
            print(
                f"prepared {name}: {done.bytes / done.examples / 1e3:.0f} kB a picture,"
                f" {done.examples / took:.0f} pictures a second of a core"
            )
    sides = {
        "ImageFolder + DataLoader": torchvision_side(folder / "photographs"),
        "zoo, image files": zoo_side(dataset),
        **{f"zoo, prepared {name}": zoo_side(found) for name, found in sets.items()},
        "zoo, prepared jpeg 320, normalised on the CPU": zoo_side(sets["jpeg 320"], whole=True),
    }
    found = interleave({name: cpu_seconds(work) for name, work in sides.items()}, rounds)
    rates = {name: spread([count / s for s in seconds]) for name, seconds in found.items()}
    print_table(
        [{"side": name, "pictures / s of a core": rate.text()} for name, rate in rates.items()],
        f"{count} photographs of {mean_bytes / 1e3:.0f} kB, by CPU time",
    )
    first = "ImageFolder + DataLoader"
    for name in list(sides)[1:]:
        ratio_line(f"{name} / {first}", ratios(found[first], found[name]))
    return {name: rate.median for name, rate in rates.items()}


def cores(rates: dict[str, float]) -> None:
    """Cores that keep one H100 busy, by backbone."""
    times = ACCELERATORS["h100"].trains or 1.0
    shown = ("ImageFolder + DataLoader", "zoo, prepared jpeg 320", "zoo, prepared raw 256")
    print_table(
        [
            {
                "backbone": name,
                "images / s on an H100": round(rate * times),
                **{side: math.ceil(rate * times / rates[side]) for side in shown},
            }
            for name, rate in TRAINING_RTX3090.items()
        ],
        "Cores that feed one H100 in training (its rate is an assumption of zoo.devices)",
    )


def rows(folder: Path, count: int, rounds: int) -> None:
    """One random picture's encoded bytes."""
    dataset, shards = (open_dataset(str(folder / name)) for name in ("photographs", "jpeg 320"))
    images = _encoded(shards)
    ids = np.random.default_rng(1).integers(0, count, 200)
    sides: dict[str, Callable[[], float]] = {}
    for name, found in (("image file", dataset), ("shard, by its range", shards)):
        source = found.splits["train"].source
        assert isinstance(source, EncodedSource)
        sides[name] = _each(partial(_encoded_row, source), ids)
    (path,) = (folder / "jpeg 320").glob("train-*.arrow")
    batches = pa.ipc.open_file(pa.memory_map(str(path)))
    held = [batches.get_batch(i).column(0) for i in range(batches.num_record_batches)]
    sides["shard, mapped by pyarrow"] = _each(lambda i: held[i // 256][i % 256].as_py(), ids)
    for size in (1, 16, 256):
        table = pa.table({"image": pa.array(images, pa.binary())})
        place = folder / f"{size}.parquet"
        pq.write_table(table, place, row_group_size=size, compression="none")
        file = pq.ParquetFile(place, memory_map=True)
        sides[f"Parquet, row groups of {size}"] = _each(partial(_parquet_row, file, size), ids)
    spent = interleave(sides, rounds)
    print_table(
        [
            {"way": name, "us per random picture": spread([s / 200 * 1e6 for s in seconds]).text()}
            for name, seconds in spent.items()
        ],
        f"Bytes of one of {count} pictures, {sum(map(len, images)) / count / 1e3:.0f} kB, cached",
    )


def _encoded(dataset: Dataset) -> list[bytes]:
    source = dataset.splits["train"].source
    assert isinstance(source, EncodedSource)
    return source.encoded(np.arange(len(dataset.splits["train"])))


def _encoded_row(source: EncodedSource, row: int) -> bytes:
    return source.encoded(np.array([row]))[0]


def _parquet_row(file: pq.ParquetFile, group_rows: int, row: int) -> object:
    return file.read_row_group(row // group_rows)["image"][row % group_rows].as_py()


def _each(read: Callable[[int], object], ids: NDArray[np.int64]) -> Callable[[], float]:
    def side() -> float:
        began = time.perf_counter()
        for i in ids:
            read(int(i))
        return since(began)

    return side


def main(argv: Sequence[str]) -> int:
    chosen = settings(__doc__ or "", rounds=7, argv=argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    count = 32 if chosen.quick else 256
    with tempfile.TemporaryDirectory(prefix="zoo-feeding-") as folder:
        rates = feed(Path(folder), count, chosen.rounds)
        cores(rates)
        rows(Path(folder), count, chosen.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
