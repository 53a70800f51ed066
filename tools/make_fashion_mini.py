"""Make the embedded data set ``fashion-mini`` from the four idx files of Fashion-MNIST.

    python tools/make_fashion_mini.py [--source FOLDER] [--out FOLDER]

5,000 training and 2,000 test images of Fashion-MNIST (MIT licence, Zalando SE 2017), 500 and 200
per class, as PNG in Parquet (Hugging Face layout). 5 % of the training labels are planted errors:
``label`` is what trainings see, ``label_true`` is the truth. Every choice is a keyed draw over the
index in the original idx file, so two runs give the same bytes (with the same Pillow, zlib and
pyarrow), and the sha256 printed at the end goes into ``zoo/data/embedded_sets.py``.

The idx files are those of Debian's package ``dataset-fashion-mnist``; the originals are published
by their authors.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from zoo import keyed
from zoo.data.mnist import FASHION_CLASS_NAMES, read_idx

DEFAULT_SOURCE = Path("/usr/share/datasets/fashion-mnist")
DEFAULT_OUT = Path(__file__).resolve().parent.parent / "zoo" / "data" / "embedded" / "fashion-mini"
PER_CLASS = {"train": 500, "test": 200}
IDX_PREFIX = {"train": "train", "test": "t10k"}
WRONG_LABELS = 250
ROWS_PER_GROUP = 1000

LICENCE = """\
fashion-mini: 7,000 images of Fashion-MNIST, unchanged apart from being re-encoded as PNG; 250 of its training labels are
deliberately wrong (column label; the original label is in label_true).

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES
OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""  # noqa: E501


def chosen_indices(labels: NDArray[np.int64], split: str, per_class: int) -> NDArray[np.int64]:
    """Indices into the idx file, int64 [classes * per_class], in the order of the example ids
    (classes mixed by key)."""
    of_class = [np.flatnonzero(labels == c) for c in range(len(FASHION_CLASS_NAMES))]
    picked = [
        ids[keyed.choose(f"fashion-mini/{split}/class-{c}", ids, per_class)]
        for c, ids in enumerate(of_class)
    ]
    indices = np.sort(np.concatenate(picked))
    order = np.argsort(keyed.uniform(f"fashion-mini/{split}/order", indices)[:, 0], kind="stable")
    return indices[order].astype(np.int64)


def with_wrong_labels(
    labels: NDArray[np.int64], indices: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Labels int64 [E] of which ``count`` are replaced by a uniformly random wrong class, keyed by
    the idx index."""
    positions = keyed.choose("fashion-mini/train/label-errors", indices, count)
    classes = len(FASHION_CLASS_NAMES)
    # 1..M-1: never the truth
    shift = (
        1 + keyed.integers("fashion-mini/train/wrong-class", indices[positions], classes - 1)[:, 0]
    )
    wrong = labels.copy()
    wrong[positions] = (wrong[positions] + shift) % classes
    return wrong


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey image [H, W] as PNG bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_split(source: Path, out: Path, split: str) -> Path:
    """Write ``<out>/<split>.parquet`` and return its path."""
    prefix = IDX_PREFIX[split]
    pixels = read_idx(source / f"{prefix}-images-idx3-ubyte.gz", dimensions=3)  # [E, H, W]
    labels_all = read_idx(source / f"{prefix}-labels-idx1-ubyte.gz", dimensions=1).astype(np.int64)
    indices = chosen_indices(labels_all, split, PER_CLASS[split])
    labels_true = labels_all[indices]
    labels = (
        with_wrong_labels(labels_true, indices, WRONG_LABELS) if split == "train" else labels_true
    )
    image = pa.StructArray.from_arrays(
        [
            pa.array([png(pixels[i]) for i in indices], pa.binary()),
            pa.array([f"{split}-idx/{i:05d}" for i in indices]),
        ],
        names=["bytes", "path"],
    )
    class_label = {"names": list(FASHION_CLASS_NAMES), "_type": "ClassLabel"}
    features = {
        "info": {
            "features": {
                "image": {"_type": "Image"},
                "label": class_label,
                "label_true": class_label,
            }
        }
    }
    schema = pa.schema(
        [("image", image.type), ("label", pa.int64()), ("label_true", pa.int64())],
        metadata={"huggingface": json.dumps(features)},
    )
    table = pa.table([image, pa.array(labels), pa.array(labels_true)], schema=schema)
    path = out / f"{split}.parquet"
    # PNGs do not shrink, their equal headers do: zstd at its strongest takes 10 % off. A dictionary
    # of distinct images would add to it.
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=22,
        use_dictionary=False,
        row_group_size=ROWS_PER_GROUP,
        write_statistics=False,
        write_page_checksum=True,
    )
    return path


def main() -> None:
    """Write the two splits and the licence, print their hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, default=DEFAULT_SOURCE, help="folder with the four *-ubyte.gz files"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_OUT,
        help="folder to write train.parquet, test.parquet and LICENSE to",
    )
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "LICENSE").write_text(LICENCE)
    for split in PER_CLASS:
        path = write_split(arguments.source, arguments.out, split)
        content = path.read_bytes()
        print(f'"{path.name}": "{hashlib.sha256(content).hexdigest()}",  # {len(content):,} bytes')


if __name__ == "__main__":
    main()
