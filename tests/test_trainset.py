"""The treated training set: which rows, which pictures, and that the test set stays as it is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import QUIET, TEST, TRAIN, UNREADABLE_TRAIN, cycle, tiny_dataset, training, workspace, write_split

from zoo import ledger, pipeline
from zoo.data import Dataset, open_dataset
from zoo.errors import DataError, NotFoundError, UsageError
from zoo.inputs import geometry, open_pictures
from zoo.selection import manifest_digest
from zoo.spec import Op
from zoo.trainset import prepare, usable_rows
from zoo.treatments import apply_images, op
from zoo.workspace import Workspace


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 training pictures, of which 7 and 40 cannot be read."""
    return tiny_dataset(tmp_path_factory.mktemp("data"), unreadable_train=UNREADABLE_TRAIN)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_unreadable_pictures_leave_the_rows_and_shift_no_id(space: Workspace, dataset: Dataset) -> None:
    """58 rows with their own ids and labels, weight 1; the picture at a position is the picture of its id."""
    data = prepare(space, training(dataset))
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    assert data.rows.example_ids.tolist() == readable.tolist()
    assert data.rows.labels.tolist() == (readable % 3).tolist()
    assert set(data.rows.weights.tolist()) == {1.0}
    assert dict(data.unreadable["train"].items()).keys() == set(UNREADABLE_TRAIN)
    whole = open_pictures(dataset, "train", geometry(dataset, "softmax", None), None)
    positions = np.array([57, 0, 30])
    np.testing.assert_array_equal(data.train.gather(positions)[0], whole.gather(readable[positions])[0])
    assert (data.examples, data.class_names) == (TRAIN, dataset.class_names)


def test_usable_rows_need_a_label_and_a_picture(dataset: Dataset) -> None:
    """Without a list of unreadable ones all 60 are usable."""
    assert len(usable_rows(dataset, {}).example_ids) == TRAIN
    assert usable_rows(dataset, {0: "x", 59: "y"}).example_ids.tolist() == list(range(1, 59))


def test_the_test_set_is_never_treated(space: Workspace, dataset: Dataset) -> None:
    """Noise on labels and pictures of the training set: test pictures and labels are those of the data set."""
    treated = (op("label_noise", fraction=0.5), op("gaussian_noise", sigma=30))
    data = prepare(space, training(dataset, treatment=treated))
    plain = prepare(space, training(dataset))
    ids = np.arange(TEST)
    np.testing.assert_array_equal(data.test.gather(ids)[0], plain.test.gather(ids)[0])
    assert data.test_labels.tolist() == cycle(TEST)
    assert (data.rows.labels != plain.rows.labels).any()
    assert data.preprocessing == plain.preprocessing


def test_image_treatments_are_keyed_by_example(space: Workspace, dataset: Dataset) -> None:
    """A picture's noise is that of its id, whatever its row, its batch, or the subset it is in."""
    noise = op("gaussian_noise", sigma=30)
    data = prepare(space, training(dataset, treatment=(op("subsample", fraction=0.5), noise)))
    plain = prepare(space, training(dataset))
    ids = data.rows.example_ids
    clean = plain.train.gather(np.searchsorted(plain.rows.example_ids, ids))[0]
    found = data.train.gather(np.arange(len(ids)))[0]
    np.testing.assert_array_equal(found, apply_images((noise,), clean, ids))
    assert (found != clean).any()


def test_a_manifest_gives_labels_copies_and_weights(space: Workspace, dataset: Dataset) -> None:
    """Examples 5 (twice, label 0, weight 2) and 9 (once): three rows; the two copies show the same picture."""
    frame = pd.DataFrame({"example_id": [5, 9, 11], "label": [0, 1, 2], "copies": [2, 1, 0], "weight": [2.0, 0.5, 1.0]})
    ledger.commit_selection(space, "mine", frame, manifest_digest(frame), {})
    data = prepare(space, training(dataset, treatment=ledger.selection_op(space, "mine")))
    rows = Counter(zip(data.rows.example_ids.tolist(), data.rows.labels.tolist(), data.rows.weights.tolist(), strict=True))
    assert rows == {(5, 0, 2.0): 2, (9, 1, 0.5): 1}
    pictures = data.train.gather(np.flatnonzero(data.rows.example_ids == 5))[0]
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_an_unknown_manifest_is_named(space: Workspace, dataset: Dataset) -> None:
    with pytest.raises(NotFoundError, match="no manifest 'feedfeedfeedfeed'"):
        prepare(space, training(dataset, treatment=(Op(name="manifest", params={"id": "feedfeedfeedfeed"}),)))


def test_a_class_that_does_not_exist_is_found_before_anything_is_trained(space: Workspace, dataset: Dataset) -> None:
    """Label 3 of 3 classes: refused when planning; the runner is never made."""

    def no_runner() -> pipeline.Runner:
        raise AssertionError("the runner was started")

    job = training(dataset, treatment=(op("delete_class", label=3),))
    with pytest.raises(UsageError, match="delete_class"):
        pipeline.train(space, dataset, "test", "population", [job], no_runner, QUIET)


def test_a_data_set_without_a_test_split_is_refused_before_anything_is_trained(space: Workspace, tmp_path: Path) -> None:
    """Every classifier has a test accuracy, so there has to be something to test on."""
    write_split(tmp_path / "alone" / "train.parquet", cycle(6))
    dataset = open_dataset(str(tmp_path / "alone"))
    with pytest.raises(DataError, match=r"^alone has no split 'test'\. Its splits: train\. "):
        pipeline.prepare_dataset(space, dataset.uri, [("softmax", None)], QUIET)
    with pytest.raises(DataError, match="no split 'test'"):
        prepare(space, training(dataset))
