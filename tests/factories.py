"""Makers of tiny data sets and workspaces. Everything lies under the folder given; nothing needs
the network or Ray.

The tiny data set: pictures of noise with one bright block whose place is the class, so that a
network learns it in an epoch or two. Shape letters: E examples, M classes, S side in pixels.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from zoo.data import Dataset, open_dataset
from zoo.manifest import Manifest
from zoo.progress import Progress
from zoo.spec import Recipe, Sweep, Training
from zoo.store.workspace import Workspace
from zoo.trainsets.treatments import op

__all__ = [
    "QUIET",
    "TRAIN",
    "UNREADABLE_TEST",
    "UNREADABLE_TRAIN",
    "Tiny",
    "block_pictures",
    "cycle",
    "dataset_folder",
    "imagenet_folder",
    "manifest",
    "tiny_dataset",
    "trained_workspace",
    "training",
    "workspace",
    "write_split",
]

QUIET = Progress(quiet=True)
TRAIN, TEST, CLASSES, SIDE = 60, 30, 3, 12
UNREADABLE_TRAIN, UNREADABLE_TEST = (7, 40), (11,)


def cycle(examples: int, classes: int = CLASSES) -> list[int]:
    """Labels 0, 1, 2, 0, 1, 2, ..."""
    return [i % classes for i in range(examples)]


def block_pictures(
    labels: Sequence[int], *, side: int = SIDE, channels: int = 1, seed: int = 0
) -> NDArray[np.uint8]:
    """uint8 [E, S, S, K]: noise of 0..79 with a block of 200..255 in the column band of the
    class."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 80, (len(labels), side, side, channels), dtype=np.uint8)
    width = side // 3
    for i, label in enumerate(labels):
        band = slice(label * width, (label + 1) * width)
        images[i, :, band] = rng.integers(200, 256, images[i, :, band].shape, dtype=np.uint8)
    return images


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_split(
    path: Path,
    labels: Sequence[int],
    *,
    classes: int = CLASSES,
    side: int = SIDE,
    channels: int = 1,
    seed: int = 0,
    unreadable: Collection[int] = (),
    labels_true: Sequence[int] | None = None,
    pictures_of: Sequence[int] | None = None,
) -> Path:
    """One split in the Hugging Face layout. ``pictures_of``: classes that the pictures show, where
    they differ from the labels."""
    images = block_pictures(pictures_of or labels, side=side, channels=channels, seed=seed)
    encoded = [
        b"this is no picture" if i in unreadable else _png(picture)
        for i, picture in enumerate(images)
    ]
    paths = [f"{path.stem}/{i:03d}.png" for i in range(len(labels))]
    columns = {
        "image": pa.StructArray.from_arrays(
            [pa.array(encoded, pa.binary()), pa.array(paths)], names=["bytes", "path"]
        )
    }
    table = pa.table(
        columns
        | {"label": list(labels)}
        | ({} if labels_true is None else {"label_true": list(labels_true)})
    )
    feature = {"names": [f"class {c}" for c in range(classes)], "_type": "ClassLabel"}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(about)}), path)
    return path


def dataset_folder(
    folder: Path,
    *,
    train: Sequence[int] | None = None,
    test: Sequence[int] | None = None,
    classes: int = CLASSES,
    side: int = SIDE,
    channels: int = 1,
    unreadable_train: Collection[int] = (),
    unreadable_test: Collection[int] = (),
    train_true: Sequence[int] | None = None,
    seed: int = 0,
) -> Path:
    """A folder with ``train.parquet`` and ``test.parquet``; default: 60 and 30 pictures of 3
    classes, 12 x 12 grey, all readable."""
    train, test = train or cycle(TRAIN, classes), test or cycle(TEST, classes)
    about = {"classes": classes, "side": side, "channels": channels}
    write_split(
        folder / "train.parquet",
        train,
        seed=seed,
        unreadable=unreadable_train,
        labels_true=train_true,
        pictures_of=train_true,
        **about,  # type: ignore[arg-type]
    )
    write_split(folder / "test.parquet", test, seed=seed + 1, unreadable=unreadable_test, **about)  # type: ignore[arg-type]
    return folder


def tiny_dataset(folder: Path, **changes: object) -> Dataset:
    """``dataset_folder``, opened."""
    return open_dataset(str(dataset_folder(folder / "pictures", **changes)))  # type: ignore[arg-type]


WNIDS = ("n01440764", "n02088364", "n03344393")
ODD = {
    "train/n01440764/cmyk.JPEG": "CMYK",
    "train/n01440764/grey.JPEG": "L",
    "train/n02088364/png.JPEG": "PNG",
}
"""Files of ``imagenet_folder`` of other kinds than their names and the rest suggest; the real set
has some of each."""


def imagenet_folder(
    folder: Path,
    *,
    wnids: Sequence[str] = WNIDS,
    train: int = 3,
    val: int = 2,
    size: tuple[int, int] = (100, 75),
    flat: bool = False,
    truncated: Collection[str] = (),
) -> Path:
    """ImageNet as it lies on disks: ``train/WNID/*.JPEG``, and ``val/`` sorted or flat with a
    development kit.

    Args:
        train, val: pictures per class. The first three of train are those of ``ODD``.
        size: (width, height) in pixels; one picture in three stands upright.
        truncated: files cut off in the middle, relative to the folder.
    """
    rng, numbers = np.random.default_rng(len(wnids)), iter(range(1, 1 + val * len(wnids)))
    odd = {name: kind for name, kind in ODD.items() if name.split("/")[1] in wnids}
    truth: list[int] = []
    for label, wnid in enumerate(wnids):
        mine = [name for name in odd if name.split("/")[1] == wnid]
        names = [*mine, *(f"train/{wnid}/{wnid}_{i}.JPEG" for i in range(train - len(mine)))]
        for number in (next(numbers) for _ in range(val)):
            place = "val" if flat else f"val/{wnid}"
            names.append(f"{place}/ILSVRC2012_val_{number:08d}.JPEG")
            truth.append(len(wnids) - label)
        for i, name in enumerate(names):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = photo(rng, size if i % 3 else size[::-1], label, odd.get(name, "RGB"))
            path.write_bytes(data[: len(data) // 2] if name in truncated else data)
    if flat:
        # The kit counts from 1, in an order of its own: here the reverse.
        text = "".join(f"{number}\n" for number in truth)
        kit_folder(folder, text, [(len(wnids) - i, wnid, 0) for i, wnid in enumerate(wnids)])
    return folder


def photo(rng: np.random.Generator, size: tuple[int, int], label: int, kind: str = "RGB") -> bytes:
    """A smooth picture with some texture, darker by class: JPEG in the mode named, or PNG."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.int16) + rng.integers(-12, 13, (*size[::-1], 3))
    image = Image.fromarray((np.clip(pixels, 0, 255) // (1 + label % 5)).astype(np.uint8))
    buffer = io.BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG")
    else:
        image.convert(kind).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def kit_folder(root: Path, truth: str, rows: Sequence[tuple[int, str, int]]) -> None:
    """ILSVRC2012's development kit: rows of (ILSVRC2012_ID, WNID, num_children)."""
    from scipy.io import savemat

    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    synsets = np.zeros(len(rows), dtype=[(field, object) for field in fields])
    for position, (number, wnid, children) in enumerate(rows):
        synsets[position] = (float(number), wnid, "words", "gloss", float(children))
    savemat(kit / "meta.mat", {"synsets": synsets.reshape(-1, 1)})
    (kit / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)


def workspace(folder: Path) -> Workspace:
    """A new, empty workspace."""
    return Workspace.open(folder / "zoo", create=True)


def manifest(
    example_ids: Sequence[int], labels: ArrayLike, copies: ArrayLike = 1, weights: ArrayLike = 1
) -> Manifest:
    """A manifest of these examples; a number stands for all of them."""
    ids = np.array(example_ids, dtype=np.int64)
    columns = ((labels, np.int64), (copies, np.int64), (weights, np.float32))
    return Manifest(
        ids, *(np.broadcast_to(column, len(ids)).astype(kind) for column, kind in columns)
    )


def training(dataset: Dataset, arch: str = "softmax", **changes: object) -> Training:
    """A training of two short epochs: fields of ``Recipe`` and ``Training`` by keyword."""
    recipe = {"lr": 0.01, "batch_size": 16, "epochs": 2} | {
        k: v for k, v in changes.items() if k in Recipe.model_fields
    }
    rest = {k: v for k, v in changes.items() if k not in Recipe.model_fields}
    return Training(arch=arch, dataset=dataset.ref, recipe=Recipe(**recipe), **rest)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Tiny:
    """A workspace whose sweep is trained and filled. Tests must not write to it."""

    root: Path
    dataset: Dataset
    trainings: tuple[Training, ...]

    @property
    def workspace(self) -> Workspace:
        """Opened anew, with an empty cache of records."""
        return Workspace.open(self.root)


def trained_workspace(folder: Path) -> Tiny:
    """Two architectures x (two halves, whole set), two snapshots each: 12 classifiers with answers
    and logits on both splits.

    60 + 30 pictures, of them 2 + 1 unreadable; 6 training labels are wrong and known to be.
    """
    from zoo import pipeline
    from zoo.local import LocalRunner
    from zoo.store import ledger

    truth = cycle(TRAIN)
    given = [(label + 1) % CLASSES if i % 10 == 5 else label for i, label in enumerate(truth)]
    dataset = tiny_dataset(
        folder,
        train=given,
        train_true=truth,
        unreadable_train=UNREADABLE_TRAIN,
        unreadable_test=UNREADABLE_TEST,
    )
    space = workspace(folder)
    sweep = Sweep(
        archs=("softmax", "nin_mini"),
        treatments=(
            (op("subsample", fraction=0.5, replica=1),),
            (op("subsample", fraction=0.5, replica=2),),
            (),
        ),
        recipe=Recipe(lr=0.01, batch_size=16, epochs=3),
        snapshots=(1, 3),
    )
    pipeline.prepare_dataset(space, dataset.uri, [(arch, None) for arch in sweep.archs], QUIET)
    trainings = sweep.expand(dataset.ref)
    runner = LocalRunner("cpu")
    pipeline.train(space, dataset, "tiny", "population", trainings, lambda: runner, QUIET)
    pipeline.fill(
        space, dataset, ledger.population(space), ("train", "test"), "all", lambda: runner, QUIET
    )
    return Tiny(space.root, dataset, trainings)
