"""Data sets made from others by steps behind their name: rows, labels, truth, identity, and what is
refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zoo.data import Dataset, decode_examples, open_dataset, open_or_published
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.trainsets.derived import confused, confusion_of, labels_step, split_base
from zoo.trainsets.on_rows import Rows, label_noise, take

BASE = "fashion-mini"


def rows_of(dataset: Dataset) -> Rows:
    train = dataset.splits["train"]
    return Rows(np.arange(len(train)), train.labels, np.ones(len(train), np.float32), 10)


def test_steps_are_the_treatments_with_their_draws() -> None:
    """The same rows with the same labels as a training would get, numbered anew, keys kept."""
    base = open_dataset(BASE)
    made = open_dataset(f"{BASE}+take:count=300+label_noise:fraction=0.2,seed=3")
    expected = label_noise(take(rows_of(base), count=300), fraction=0.2, seed=3)
    train, source = made.splits["train"], base.splits["train"]
    assert train.labels.tolist() == expected.labels.tolist()
    assert train.keys == [source.keys[i] for i in expected.example_ids]
    assert made.splits["test"] is base.splits["test"]
    ids = np.array([0, 7, 299])
    assert np.array_equal(
        decode_examples(train, ids, size=28, channels=1, fit="pad").images,
        decode_examples(source, expected.example_ids[ids], size=28, channels=1, fit="pad").images,
    )


def test_truth_is_what_the_labels_were_before_unless_the_base_knows_better() -> None:
    base = open_dataset(BASE)  # has planted errors of its own
    made = open_dataset(f"{BASE}+label_noise:fraction=0.5")
    assert made.splits["train"].labels_true is not None
    assert base.splits["train"].labels_true is not None
    assert np.array_equal(made.splits["train"].labels_true, base.splits["train"].labels_true)


def test_truth_of_a_base_without_one(tmp_path: Path) -> None:
    """Labels changed: the truth is what they were; none changed: it stays unknown."""
    save_pictures(tmp_path, labels=[0, 1, 1, 0])
    plain = open_dataset(f"{tmp_path}+take:count=3").splits["train"]
    noisy = open_dataset(f"{tmp_path}+label_noise:fraction=0.5").splits["train"]
    assert plain.labels_true is None
    assert noisy.labels_true is not None
    assert noisy.labels_true.tolist() == [0, 1, 1, 0]
    assert int((noisy.labels != noisy.labels_true).sum()) == 2


def test_one_fingerprint_for_one_content() -> None:
    """Spelling does not matter, rows and labels do, and no steps are no change."""
    prints = {
        text: open_dataset(f"{BASE}+{text}").fingerprint
        for text in (
            "take:count=300",
            "take:count=300,replica=0",
            "take:count=300,replica=1",
            "take:count=300+label_noise:fraction=0.1",
        )
    }
    assert prints["take:count=300"] == prints["take:count=300,replica=0"]
    assert len(set(prints.values())) == 3
    assert open_dataset(f"{BASE}+take:count=5000").fingerprint == open_dataset(BASE).fingerprint
    assert open_dataset(f"{BASE}+take:count=300").name == f"{BASE}+take:count=300"


def test_it_opens_again_by_the_uri_it_has() -> None:
    made = open_dataset(f"{BASE}+take:count=300")
    assert open_dataset(made.uri).fingerprint == made.fingerprint


@pytest.mark.parametrize("column", ["key", "example_id"])
def test_labels_from_a_file(tmp_path: Path, column: str) -> None:
    """By key or by position; names of classes or numbers; the others keep theirs."""
    save_pictures(tmp_path / "data", labels=[0, 1, 1, 0])
    base = open_dataset(str(tmp_path / "data"))
    place = tmp_path / "other, labels+1.parquet"
    of = base.splits["train"].keys[2] if column == "key" else 2
    pq.write_table(pa.table({column: [of], "label": ["0"]}), place)
    made = open_dataset(f"{base.uri}+{labels_step(str(place))}").splits["train"]
    assert made.labels.tolist() == [0, 1, 0, 0]
    assert made.labels_true is not None
    assert made.labels_true.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"example_id": [4], "label": [0]}, "not among the 4"),
        ({"example_id": [1, 1], "label": [0, 1]}, "twice"),
        ({"example_id": [1], "label": [2]}, "0 to 1"),
        ({"row": [1], "label": [1]}, "key or example_id"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, table: dict[str, list[int]], said: str
) -> None:
    save_pictures(tmp_path / "data", labels=[0, 1, 1, 0])
    pq.write_table(pa.table(table), tmp_path / "l.parquet")
    with pytest.raises(DataError, match=said):
        open_dataset(f"{tmp_path / 'data'}+labels:from={tmp_path / 'l.parquet'}")


@pytest.mark.parametrize(
    ("steps", "error", "said"),
    [
        ("gamma:gamma=2", UnknownNameError, "data set"),  # no step of rows: a name with a plus
        ("take:count=9000", UsageError, "of 5000"),
        ("take:number=3", UnknownNameError, "number"),
        ("delete_fraction:fraction=1", DataError, "no example is left"),
        ("label_noise:fraction=0.1,to=confusion", UsageError, "trained first"),
        ("manifest:id=ab", UsageError, "no step of a data set"),
        ("labels:of=x", UsageError, "labels:from=FILE"),
        ("labels:from=nowhere.parquet", DataError, "no table of labels"),
        ("take:count=30+gamma:gamma=2", UsageError, "pictures belong to a training"),
    ],
)
def test_what_cannot_be_a_step_is_said(steps: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        open_dataset(f"{BASE}+{steps}")


def test_a_plus_that_no_step_follows_belongs_to_the_name(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a+b", labels=[0, 1])
    save_pictures(tmp_path / "a+take", labels=[0, 1, 1])
    assert len(open_dataset(str(tmp_path / "a+b")).splits["train"]) == 2
    assert len(open_dataset(str(tmp_path / "a+take")).splits["train"]) == 3
    assert split_base("x/a+b+take:count=1") == ("x/a+b", "take:count=1")


def test_a_stand_in_of_published_shape_takes_steps() -> None:
    """For plans of data that are not here."""
    made, stand_in = open_or_published("imagenet+take:count=1000,stratified=true")
    assert stand_in
    assert len(made.splits["train"]) == 1000


def test_confusion_gives_the_least_sure_their_likeliest_other_class() -> None:
    """Worked by hand: margins .9, -.3, .1, unknown, .2; 2 of 5 examples: the second (its network
    says 2 already) and the third (right, second choice 0)."""
    labels = np.array([0, 1, 2, 0, 1])
    margins = np.array([0.9, -0.3, 0.1, np.nan, 0.2])
    top = np.array([[0, 1], [2, 1], [2, 0], [-1, -1], [1, 2]])
    assert confused(labels, margins, top, 0.4).tolist() == [0, 2, 0, 0, 1]
    assert confused(labels, margins, top, 0.0).tolist() == labels.tolist()
    with pytest.raises(UsageError, match="4 were answered"):
        confused(labels, margins, top, 1.0)


def test_confusion_is_found_among_the_steps() -> None:
    found = confusion_of(
        "mnist+take:count=100+label_noise:fraction=0.2,to=confusion,seed=4+delete_class:label=3"
    )
    assert found is not None
    assert (found.base, found.fraction, found.seed) == ("mnist+take:count=100", 0.2, 4)
    assert (
        found.with_labels("w/l.parquet")
        == "mnist+take:count=100+labels:from=w/l.parquet+delete_class:label=3"
    )
    assert confusion_of("mnist+label_noise:fraction=0.2") is None


def save_pictures(folder: Path, labels: list[int]) -> None:
    """A Parquet data set of grey squares, with a test split."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for split, given in (("train", labels), ("test", [0, 1])):
        images = []
        for number, _ in enumerate(given):
            place = folder / "x.png"
            Image.fromarray(np.full((8, 8), 20 * number + (split == "test"), np.uint8)).save(place)
            images.append({"bytes": place.read_bytes(), "path": f"{split}{number}.png"})
            place.unlink()
        pq.write_table(pa.table({"image": images, "label": given}), folder / f"{split}-0.parquet")
