"""load_split with a cache folder, and channel statistics."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import grey, png, write_files, write_parquet
from zoo.data import cache as cache_module
from zoo.data import channel_statistics, load_split, open_dataset
from zoo.data.dataset import Dataset
from zoo.errors import DataError, UnknownNameError, UsageError

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Six pictures, the third and the last unreadable."""
    images = [grey(1), grey(2), b"", grey(4), grey(5), b"<html>"]
    return open_dataset(
        str(write_parquet(tmp_path / "set" / "train.parquet", images, [0] * 6, names=("a",)))
    )


def load(
    dataset: Dataset, cache: Path | None, size: int = 2
) -> tuple[list[int], dict[int, str], np.ndarray]:
    decoded = load_split(dataset, "train", size=size, channels=1, fit="resize", cache=cache)
    return decoded.images[:, 0, 0, 0].tolist(), decoded.errors, decoded.images


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_a_cached_split_equals_the_decoded_one_and_is_a_read_only_map(
    dataset: Dataset, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    plain, first, second = load(dataset, None), load(dataset, cache), load(dataset, cache)
    assert plain[0] == first[0] == second[0] == [1, 2, 0, 4, 5, 0]
    assert plain[1] == first[1] == second[1]
    assert sorted(plain[1]) == [2, 5]
    for _, _, images in (first, second):
        assert isinstance(images, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            images[0] = 1
    stem = f"{dataset.fingerprint}-train-2x1-resize"
    assert names(cache) == [f"{stem}.json", f"{stem}.npy"]


def test_a_cached_split_is_not_decoded_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(dataset, tmp_path)
    monkeypatch.setattr(cache_module, "decode_examples", None)
    assert load(dataset, tmp_path)[0] == [1, 2, 0, 4, 5, 0]
    with pytest.raises(TypeError):
        load(dataset, tmp_path, size=3)  # the twin: what is not there is decoded


def test_blocks_smaller_than_the_split_give_the_same_file(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load(dataset, tmp_path / "whole")
    monkeypatch.setattr(cache_module, "_BLOCK_BYTES", 8)
    assert load(dataset, tmp_path / "blocks")[:2] == whole[:2]
    stem = f"{dataset.fingerprint}-train-2x1-resize"
    assert (tmp_path / "blocks" / f"{stem}.npy").read_bytes() == (
        tmp_path / "whole" / f"{stem}.npy"
    ).read_bytes()


@pytest.mark.parametrize("damage", ["cut", "no json", "other rules", "bad json"])
def test_a_damaged_or_outdated_cache_file_is_made_again(
    dataset: Dataset, tmp_path: Path, damage: str
) -> None:
    load(dataset, tmp_path)
    stem = tmp_path / f"{dataset.fingerprint}-train-2x1-resize"
    facts, pixels = stem.with_name(f"{stem.name}.json"), stem.with_name(f"{stem.name}.npy")
    good = pixels.read_bytes()
    if damage == "cut":
        pixels.write_bytes(good[:100])
    elif damage == "no json":
        facts.unlink()
    elif damage == "bad json":
        facts.write_text("[]")
    else:
        facts.write_text(json.dumps({"rules": 0, "errors": {}}))
        pixels.write_bytes(bytes(len(good)))
    assert load(dataset, tmp_path)[0] == [1, 2, 0, 4, 5, 0]
    assert pixels.read_bytes() == good
    assert sorted(json.loads(facts.read_text())["errors"]) == ["2", "5"]


def test_a_picture_that_cannot_be_read_this_time_is_not_remembered_as_unreadable(
    tmp_path: Path,
) -> None:
    opened = open_dataset(
        str(write_files(tmp_path / "set", {f"train/a/{i}.png": grey(i) for i in range(3)}))
    )
    (tmp_path / "set/train/a/1.png").rename(tmp_path / "away.png")
    values, errors, _ = load(opened, tmp_path / "cache")
    assert values == [0, 0, 2]
    assert list(errors) == [1]
    assert names(tmp_path / "cache") == []
    (tmp_path / "away.png").rename(tmp_path / "set/train/a/1.png")
    assert load(opened, tmp_path / "cache")[0] == [0, 1, 2]


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(
    dataset: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        DataError, match=r"cannot write the decoded pictures of split 'train' .*they take 24 bytes"
    ):
        load(dataset, tmp_path / "file")


def test_a_full_disk_leaves_nothing_behind(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "_to_disk", full)
    with pytest.raises(DataError, match="No space left on device"):
        load(dataset, tmp_path / "cache")
    assert names(tmp_path / "cache") == []


def test_an_unknown_split_is_an_error_that_lists_them(dataset: Dataset) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown split 'trian'. Did you mean 'train'"):
        load_split(dataset, "trian", size=2, channels=1, fit="pad", cache=None)


SCRIPT = """
import sys
from pathlib import Path
from zoo.data import cache, load_split, open_dataset
slow = float(sys.argv[3])
if slow:
    import time
    cache._BLOCK_BYTES, decode = 4, cache.decode_examples
    cache.decode_examples = lambda *a, **k: (time.sleep(slow), decode(*a, **k))[1]
    print("started", flush=True)
decoded = load_split(open_dataset(sys.argv[1]), "train", size=2, channels=1, fit="resize", cache=Path(sys.argv[2]))
print(decoded.images[:, 0, 0, 0].tolist(), sorted(decoded.errors))
"""  # noqa: E501


def start(dataset: Dataset, cache: Path, slow: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, dataset.uri, str(cache), str(slow)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPO)}
    )


def test_processes_that_decode_at_the_same_time_all_get_the_split_and_leave_one_file(
    dataset: Dataset, tmp_path: Path
) -> None:
    running = [start(dataset, tmp_path / "cache", 0.05) for _ in range(3)]
    outputs = {process.communicate(timeout=500)[0] for process in running}
    assert outputs == {"started\n[1, 2, 0, 4, 5, 0] [2, 5]\n"}
    assert len(names(tmp_path / "cache")) == 2


def test_a_killed_writer_publishes_nothing_and_its_rest_is_removed_later(
    dataset: Dataset, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    process = start(dataset, cache, 600)
    deadline = time.monotonic() + 500
    while not (cache.is_dir() and names(cache)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (left,) = names(cache)
    assert left.startswith(".tmp-")
    assert load(dataset, cache)[0] == [1, 2, 0, 4, 5, 0]
    assert len(names(cache)) == 3  # a fresh one may belong to a living writer
    os.utime(cache / left, (0, 0))
    load(dataset, cache, size=3)
    assert left in names(cache)  # another size does not clean up after this one
    (cache / f"{dataset.fingerprint}-train-2x1-resize.npy").unlink()
    load(dataset, cache)
    assert left not in names(cache)


def test_statistics_worked_by_hand() -> None:
    # channel 0: 0, 255 -> mean 0.5, std 0.5; channel 1: constant 51 -> 0.2, 0; channel 2: 0, 0 ->
    #     0, 0
    images = np.array([[[[0, 51, 0]]], [[[255, 51, 0]]]], dtype=np.uint8)
    assert channel_statistics(images) == ((0.5, 0.2, 0.0), (0.5, 0.0, 0.0))


def test_statistics_equal_numpys_and_do_not_depend_on_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert np.allclose(mean, (images / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(std, (images / 255).std(axis=(0, 1, 2)), atol=1e-6)
    monkeypatch.setattr(cache_module, "_BLOCK_BYTES", 200)
    assert channel_statistics(images) == (mean, std)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 2, 2, 1), np.uint8),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((1, 2, 2, 1), np.float32),
    ],
)
def test_statistics_of_nothing_or_of_another_type_are_refused(images: np.ndarray) -> None:
    with pytest.raises(UsageError, match="needed is uint8"):
        channel_statistics(images)


def test_an_empty_split_has_an_empty_picture_array(tmp_path: Path) -> None:
    write_parquet(tmp_path / "set/train.parquet", [png([[1]])], [0], names=("a",))
    write_parquet(tmp_path / "set/test.parquet", [], np.array([], dtype=np.int64), names=("a",))
    opened = open_dataset(str(tmp_path / "set"))
    assert load_split(
        opened, "test", size=4, channels=1, fit="pad", cache=tmp_path / "cache"
    ).images.shape == (0, 4, 4, 1)
