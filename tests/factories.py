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
