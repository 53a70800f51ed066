"""MNIST idx files and CIFAR batches, with torchvision's own readers as the oracle."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.conftest import write_files
from zoo.data import PixelSource, Split, open_dataset
from zoo.data.cifar import load_batch
from zoo.data.mnist import read_idx
from zoo.errors import DataError


def idx(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def pixels_of(split: Split) -> NDArray[np.uint8]:
    assert isinstance(split.source, PixelSource)
    return split.source.pixels(np.arange(len(split), dtype=np.int64))


def random_bytes(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def mnist_files(train: int = 12, test: int = 5) -> dict[str, bytes]:
    return {
        "train-images-idx3-ubyte": idx(random_bytes(train, 28, 28)),
        "train-labels-idx1-ubyte": idx(np.arange(train, dtype=np.uint8) % 10),
        "t10k-images-idx3-ubyte": idx(random_bytes(test, 28, 28, seed=1)),
        "t10k-labels-idx1-ubyte": idx(np.array([9, 0, 3, 3, 7][:test], dtype=np.uint8)),
    }


def test_idx_files_are_read_as_torchvision_reads_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    write_files(tmp_path / "MNIST" / "raw", mnist_files())
    opened = open_dataset(str(tmp_path))
    assert (opened.form, opened.channels, opened.native_size) == ("mnist-idx", 1, (28, 28))
    for split, train in (("train", True), ("test", False)):
        oracle = datasets.MNIST(str(tmp_path), train=train)
        assert np.array_equal(pixels_of(opened.splits[split])[..., 0], oracle.data.numpy())
        assert opened.splits[split].labels.tolist() == oracle.targets.tolist()


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw"])
@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_found_packed_or_not_in_each_usual_folder(
    tmp_path: Path, place: str, packed: bool
) -> None:
    files = {
        f"{name}.gz" if packed else name: gzip.compress(data) if packed else data
        for name, data in mnist_files().items()
    }
    write_files(tmp_path / "set" / place, files)
    opened = open_dataset(str(tmp_path / "set"))
    assert opened.class_names == tuple("0123456789")
    assert opened.splits["test"].labels.tolist() == [9, 0, 3, 3, 7]
    assert opened.splits["train"].keys[3] == "train-idx/00003"


def test_fashion_gets_its_class_names_from_the_folder_name(tmp_path: Path) -> None:
    write_files(tmp_path / "FashionMNIST" / "raw", mnist_files())
    assert open_dataset(str(tmp_path / "FashionMNIST")).class_names[9] == "Ankle boot"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged idx file"),
        (b"\0\0\x08\x03" + struct.pack(">III", 2, 28, 28) + b"x", "announces 1,568 bytes"),
        (idx(np.zeros((1, 2, 2), dtype=np.uint8)) + b"more", "it holds more"),
        (b"\0\0\x0d\x03" + bytes(12), "starts with 0, 13, 3"),
        (
            b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**31, 2**31),
            "announces 9,903,520,314,283,042,199,192,993,792 bytes",
        ),
        (b"\0\0\x08\x01" + struct.pack(">I", 0), "starts with 0, 8, 1"),
    ],
)
def test_a_damaged_idx_file_is_an_error_that_says_what_is_wrong(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "file", dimensions=3)


def test_a_truncated_gz_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(gzip.compress(idx(random_bytes(4, 28, 28)))[:-50])
    with pytest.raises(DataError, match="damaged idx file"):
        read_idx(tmp_path / "file.gz", dimensions=3)


def test_fewer_labels_than_images_is_an_error(tmp_path: Path) -> None:
    write_files(
        tmp_path, mnist_files() | {"train-labels-idx1-ubyte": idx(np.zeros(3, dtype=np.uint8))}
    )
    with pytest.raises(DataError, match="12 images, but train-labels-idx1-ubyte has 3 labels"):
        open_dataset(str(tmp_path))


NAMES = [f"class{i}" for i in range(10)]


def cifar_files(rows: int = 4, **changes: Any) -> dict[str, bytes]:
    files = {}
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {
            "data": random_bytes(rows, 3072, seed=number),
            "labels": [(number + row) % 10 for row in range(rows)],
            **changes,
        }
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, protocol=2)
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps({"label_names": NAMES}, protocol=2)
    return files


def test_cifar_batches_are_read_as_torchvision_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    files = cifar_files()
    write_files(tmp_path, files)
    md5 = {
        name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in files.items()
    }

    class Tiny(datasets.CIFAR10):  # type: ignore[misc, name-defined]
        train_list: ClassVar = [
            [f"data_batch_{i}", md5[f"cifar-10-batches-py/data_batch_{i}"]] for i in range(1, 6)
        ]
        test_list: ClassVar = [["test_batch", md5["cifar-10-batches-py/test_batch"]]]
        meta: ClassVar = {
            "filename": "batches.meta",
            "key": "label_names",
            "md5": md5["cifar-10-batches-py/batches.meta"],
        }

    opened = open_dataset(str(tmp_path))
    assert (opened.form, opened.channels, opened.native_size, opened.class_names) == (
        "cifar-batches",
        3,
        (32, 32),
        tuple(NAMES),
    )
    for split, train in (("train", True), ("test", False)):
        oracle = Tiny(str(tmp_path), train=train)
        assert np.array_equal(pixels_of(opened.splits[split]), oracle.data)
        assert opened.splits[split].labels.tolist() == oracle.targets


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_batches_of_every_pickle_protocol_load(tmp_path: Path, protocol: int) -> None:
    data = random_bytes(2, 3072)
    (tmp_path / "batch").write_bytes(
        pickle.dumps(
            {b"data": data, b"labels": [1, 2], b"filenames": [b"a.png", b"b.png"]},
            protocol=protocol,
        )
    )
    batch = load_batch(tmp_path / "batch")
    assert np.array_equal(batch["data"], data)
    assert batch["labels"] == [1, 2]


class Trap:
    """Touches a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_calls_a_function_is_refused_and_the_function_is_not_called(
    tmp_path: Path,
) -> None:
    trap, sprung = tmp_path / "batch", tmp_path / "sprung"
    trap.write_bytes(pickle.dumps({"data": Trap(sprung)}))
    with pytest.raises(DataError, match=r"names (_?io)\.open; allowed are numpy arrays"):
        load_batch(trap)
    assert not sprung.exists()
    pickle.loads(trap.read_bytes())["data"].close()  # the twin: an ordinary load does call it
    assert sprung.exists()


def test_an_array_of_objects_is_not_taken_for_images(tmp_path: Path) -> None:
    write_files(tmp_path, cifar_files(data=np.array([["x"] * 3072] * 4, dtype=object)))
    with pytest.raises(DataError, match="uint8"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 10], r"row 3 has label 10; labels must be 0 to 9"),
        ([0, 1, None, 3], r"row 2 has label None"),
        ([0, 1.5, 2, 3], r"row 1 has label 1.5"),
        ([0, 1], "4 images, labels: 2"),
    ],
)
def test_labels_of_a_batch_must_be_one_class_index_per_image(
    tmp_path: Path, labels: list[Any], message: str
) -> None:
    write_files(tmp_path, cifar_files(labels=labels))
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps(1)])
def test_what_is_not_a_batch_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match=r"CIFAR batch"):
        load_batch(tmp_path / "batch")


def test_cifar_100_has_its_fine_labels(tmp_path: Path) -> None:
    batch = {"data": random_bytes(2, 3072), "fine_labels": [1, 0], "coarse_labels": [0, 0]}
    meta = {"fine_label_names": ["apple", "bee"], "coarse_label_names": ["thing"]}
    write_files(
        tmp_path / "cifar-100-python",
        {name: pickle.dumps(batch) for name in ("train", "test")} | {"meta": pickle.dumps(meta)},
    )
    opened = open_dataset(str(tmp_path))
    assert opened.class_names == ("apple", "bee")
    assert opened.splits["train"].labels.tolist() == [1, 0]


def test_keys_are_the_file_names_of_the_batch_where_it_has_some(tmp_path: Path) -> None:
    write_files(tmp_path, cifar_files(rows=1, filenames=["cat_s_1.png"]))
    assert open_dataset(str(tmp_path)).splits["train"].keys[1] == "data_batch_2/cat_s_1.png"
