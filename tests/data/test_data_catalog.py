"""Names, paths and URIs; the embedded data; fetch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import grey, write_files, write_parquet
from zoo import data
from zoo.data import (
    DATASETS,
    FETCHABLE,
    Found,
    channel_statistics,
    embedded_sets,
    fetch,
    list_datasets,
    load_split,
    open_dataset,
)
from zoo.data.embedded_sets import embedded, embedded_path
from zoo.data.mnist import read_idx
from zoo.errors import DataError, UnknownNameError

REPO = Path(__file__).resolve().parents[2]


def small(path: Path, value: int = 1) -> Path:
    write_parquet(path / "train.parquet", [grey(value)], [0], names=("a",))
    return path


def test_importing_the_data_layer_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys, zoo.data as d; d.list_datasets(); d.open_dataset('fashion-mini');"
        "print(sorted({'torch', 'torchvision', 'ray', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout == "[]\n"


def test_public_names_are_sorted_and_exist() -> None:
    assert (
        sorted(data.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
        == data.__all__
    )
    assert all(hasattr(data, name) for name in data.__all__)


def test_a_name_is_looked_for_in_zoo_data_then_data_then_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [
        tmp_path / "one",
        tmp_path / "two",
        Path("data").absolute(),
        Path(os.environ["XDG_DATA_HOME"]) / "zoo",
    ]
    monkeypatch.setenv("ZOO_DATA", os.pathsep.join([str(places[0]), str(places[1])]))
    for value, place in enumerate(reversed(places)):
        small(place / "pets", value)
        assert open_dataset("pets").uri == str(place / "pets")
    assert [row.path for row in list_datasets() if row.name == "pets"] == [
        str(place / "pets") for place in places
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("MNIST", "mnist"),
        ("CIFAR-10", "cifar10"),
        ("cifar-10-batches-py", "cifar10"),
        ("ILSVRC2012", "imagenet"),
        ("my_pets", "my-pets"),
    ],
)
def test_case_and_dashes_and_usual_folder_names_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    small(tmp_path / folder)
    assert open_dataset(name).uri == str(tmp_path / folder)


def test_a_parquet_file_and_a_place_that_is_a_data_set_have_names_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "place" / "birds.parquet", [grey(1)], [0], names=("a",))
    write_files(tmp_path / "fish", {"train/a/1.png": grey(1), "test/a/1.png": grey(2)})
    monkeypatch.setenv(
        "ZOO_DATA", os.pathsep.join(map(str, [tmp_path / "place", tmp_path / "fish"]))
    )
    assert open_dataset("birds").uri == str(tmp_path / "place" / "birds.parquet")
    assert open_dataset("fish").uri == str(tmp_path / "fish")
    assert [(row.name, row.form) for row in list_datasets()] == [
        ("fashion-mini", "embedded"),
        ("birds", "parquet"),
        ("fish", "imagefolder"),
    ]


def test_a_folder_of_the_name_that_is_no_data_set_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one" / "pets").mkdir(parents=True)
    small(tmp_path / "two" / "pets")
    monkeypatch.setenv("ZOO_DATA", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    assert open_dataset("pets").uri == str(tmp_path / "two" / "pets")


def test_an_unknown_name_lists_the_near_ones_and_where_was_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "place"))
    small(tmp_path / "place" / "pets")
    with pytest.raises(UnknownNameError) as caught:
        open_dataset("fashion-mni")
    text = str(caught.value)
    assert (
        "unknown data set 'fashion-mni'. Did you mean 'fashion-mini'? Known: fashion-mini, pets."
        in text
    )
    assert f"Looked in {tmp_path / 'place'}, data, " in text
    assert "`zoo data fetch` it" in text


def test_a_path_that_does_not_exist_and_one_without_a_data_set_are_errors_that_say_what_was_looked_for(  # noqa: E501
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        open_dataset(str(tmp_path / "nothing"))
    write_files(tmp_path / "notes", {"readme.txt": b"hello"})
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / "notes"))
    for form in ("mnist-idx", "cifar-batches", "imagenet", "imagefolder", "parquet"):
        assert f"{form}: {DATASETS[form].looks_for}" in str(caught.value)


def test_a_data_set_is_opened_once_and_its_uri_opens_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path / "set")
    opened = open_dataset(str(path))
    monkeypatch.chdir(tmp_path)
    assert (
        open_dataset(opened.uri)
        is open_dataset("set")
        is open_dataset("./set")
        is open_dataset(path.as_uri())
        is opened
    )
    assert opened.ref.uri == opened.uri
    assert opened.ref.fingerprint == opened.fingerprint
    assert len(opened.fingerprint) == 16


def test_a_network_address_that_does_not_work_is_an_error() -> None:
    with pytest.raises(DataError, match="nosuchscheme://bucket/set: cannot be opened"):
        open_dataset("nosuchscheme://bucket/set")


def test_a_data_set_without_examples_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [], np.array([], dtype=np.int64), names=("a",))
    with pytest.raises(DataError, match="has no examples in its splits"):
        open_dataset(str(tmp_path))


def test_a_damaged_data_set_is_listed_with_its_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    write_files(tmp_path, {"bad/train.parquet": b"PAR1"})
    (row,) = [row for row in list_datasets() if row.name == "bad"]
    assert row.problem is not None
    assert "not a readable Parquet file" in row.problem
    assert json.loads(json.dumps(row.as_json()))["form"] == "unknown"


def test_a_new_form_is_a_function_and_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def csv_list(path: Path) -> Found | None:
        inner = DATASETS["parquet"].find(path / "inside")
        return inner if (path / "list.csv").is_file() else None

    monkeypatch.setattr(DATASETS, "_entries", {**DATASETS, "csv": data.Form(csv_list, "list.csv")})
    write_files(tmp_path / "set", {"list.csv": b""})
    monkeypatch.setitem(
        DATASETS._entries,
        "parquet",
        data.Form(lambda p: None if (p / "list.csv").exists() else found(p), "*.parquet"),
    )
    small(tmp_path / "set" / "inside")
    assert open_dataset(str(tmp_path / "set")).form == "csv"


found = DATASETS["parquet"].find


def test_the_embedded_data_are_what_they_say() -> None:
    opened = open_dataset("fashion-mini")
    train, test = opened.splits["train"], opened.splits["test"]
    assert (opened.uri, opened.form, opened.channels, opened.native_size) == (
        "fashion-mini",
        "embedded",
        1,
        (28, 28),
    )
    assert (len(train), len(test), opened.class_names[0], opened.class_names[9]) == (
        5000,
        2000,
        "T-shirt/top",
        "Ankle boot",
    )
    assert train.labels_true is not None
    assert test.labels_true is not None
    assert np.bincount(train.labels_true).tolist() == [500] * 10
    assert np.bincount(test.labels).tolist() == [200] * 10
    assert int((train.labels != train.labels_true).sum()) == 250
    assert (test.labels == test.labels_true).all()
    assert len(set(train.keys)) == 5000
    assert all(key.startswith("train-idx/") for key in train.keys)
    # Mixed by key: no class fills the first hundred.
    assert np.bincount(train.labels_true[:100], minlength=10).max() < 30
    # Wrong labels go to every other class, none much more than its share of 25.
    wrong = train.labels[train.labels != train.labels_true]
    assert (
        8 <= np.bincount(wrong, minlength=10).min() <= np.bincount(wrong, minlength=10).max() <= 45
    )


def test_the_embedded_statistics_are_near_those_published_for_fashion_mnist() -> None:
    decoded = load_split(
        open_dataset("fashion-mini"), "train", size=28, channels=1, fit="pad", cache=None
    )
    (mean,), (std,) = channel_statistics(decoded.images)
    assert decoded.errors == {}
    # mean and std of the 60,000 training images as everybody uses them
    assert abs(mean - 0.2860) < 0.005
    assert abs(std - 0.3530) < 0.005


def test_the_embedded_data_stay_below_4_mb_and_carry_their_licence() -> None:
    folder = embedded_path("fashion-mini")
    assert sum(file.stat().st_size for file in folder.iterdir()) < 4_000_000
    licence = (folder / "LICENSE").read_text()
    assert "MIT License" in licence
    assert "Zalando SE" in licence


def test_damaged_embedded_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(embedded_path("fashion-mini"), tmp_path / "fashion-mini")
    monkeypatch.setattr(embedded_sets, "_FOLDER", tmp_path)
    assert embedded(tmp_path / "fashion-mini") is not None  # the twin: an undamaged copy is taken
    content = bytearray((tmp_path / "fashion-mini/test.parquet").read_bytes())
    content[1000] ^= 1
    (tmp_path / "fashion-mini/test.parquet").write_bytes(bytes(content))
    with pytest.raises(
        DataError, match=r"test\.parquet: embedded data are damaged: sha256 [0-9a-f]{64}, should be"
    ):
        embedded(tmp_path / "fashion-mini")


SOURCE = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(
    not SOURCE.is_dir(), reason="needs the idx files of Debian's package dataset-fashion-mnist"
)
def test_the_tool_makes_the_embedded_files_again_byte_for_byte_from_the_originals(
    tmp_path: Path,
) -> None:
    command = [sys.executable, str(REPO / "tools/make_fashion_mini.py"), "--out", str(tmp_path)]
    subprocess.run(
        command, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )
    for name in ("train.parquet", "test.parquet", "LICENSE"):
        assert (tmp_path / name).read_bytes() == (embedded_path("fashion-mini") / name).read_bytes()
    opened = open_dataset("fashion-mini")
    originals = {
        "train": (
            read_idx(SOURCE / "train-images-idx3-ubyte.gz", dimensions=3),
            read_idx(SOURCE / "train-labels-idx1-ubyte.gz", dimensions=1),
        ),
        "test": (
            read_idx(SOURCE / "t10k-images-idx3-ubyte.gz", dimensions=3),
            read_idx(SOURCE / "t10k-labels-idx1-ubyte.gz", dimensions=1),
        ),
    }
    for split, (images, labels) in originals.items():
        found_split = opened.splits[split]
        indices = np.array([int(key.rpartition("/")[2]) for key in found_split.keys])
        decoded = load_split(opened, split, size=28, channels=1, fit="pad", cache=None)
        assert np.array_equal(decoded.images[..., 0], images[indices])
        assert found_split.labels_true is not None
        assert np.array_equal(found_split.labels_true, labels[indices])


def shared_data() -> Path | None:
    """Public copies of MNIST and CIFAR-10 that a developer may have."""
    places = [
        *os.environ.get("ZOO_DATA", "").split(os.pathsep),
        str(REPO.parent / "shared" / "data"),
    ]
    return next(
        (
            Path(place)
            for place in places
            if place and (Path(place) / "mnist" / "train.parquet").is_file()
        ),
        None,
    )


SHARED = shared_data()


@pytest.mark.skipif(
    SHARED is None, reason="needs Parquet copies of mnist and cifar10 in ZOO_DATA or ../shared/data"
)
@pytest.mark.parametrize(
    ("name", "channels", "size", "train"), [("mnist", 1, 28, 60_000), ("cifar10", 3, 32, 50_000)]
)
def test_public_copies_open_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, channels: int, size: int, train: int
) -> None:
    monkeypatch.setenv("ZOO_DATA", str(SHARED))
    opened = open_dataset(name)
    assert (opened.channels, opened.native_size) == (channels, (size, size))
    assert (len(opened.splits["train"]), len(opened.splits["test"]), len(opened.class_names)) == (
        train,
        10_000,
        10,
    )


def test_fetch_asks_torchvision_for_both_splits_and_the_result_is_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    calls: list[tuple[str, bool, bool]] = []

    def reader(root: str, train: bool, download: bool) -> None:
        calls.append((root, train, download))
        small(Path(root))

    monkeypatch.setattr(datasets, "MNIST", reader)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path))
    assert fetch("mnist", tmp_path) == tmp_path / "mnist"
    assert calls == [(str(tmp_path / "mnist"), True, True), (str(tmp_path / "mnist"), False, True)]
    assert open_dataset("mnist").uri == str(tmp_path / "mnist")


def test_a_failed_download_and_an_unknown_one_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("torchvision.datasets")

    def offline(**_: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(DataError, match=r"mnist: download into .* failed \(Error downloading"):
        fetch("mnist", tmp_path)
    with pytest.raises(
        UnknownNameError,
        match=(
            r"unknown download 'imagenet'\..*Known: cifar10, cifar100, fashion-mnist, mnist.*no"
            r" free download"
        ),
    ):
        fetch("imagenet", tmp_path)


def test_every_download_is_a_reader_of_torchvision() -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    assert all(hasattr(datasets, download.reader) for download in FETCHABLE.values())
