"""The treated training set: which rows, which pictures, and that the test set stays as it is."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from factories import (
    QUIET,
    TEST,
    TRAIN,
    UNREADABLE_TRAIN,
    cycle,
    manifest,
    tiny_dataset,
    training,
    workspace,
    write_split,
)

import zoo.trainsets.inputs
from zoo import keyed, pipeline
from zoo.data import Dataset, Split, open_dataset
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.spec import Op
from zoo.store.origin import Origin
from zoo.store.selections import commit_selection, selection_op
from zoo.store.workspace import Workspace
from zoo.trainsets.inputs import geometry, open_pictures
from zoo.trainsets.prepare import prepare, usable_rows
from zoo.trainsets.sample import sample
from zoo.trainsets.treatments import apply_images, apply_rows, op, parse


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 training pictures, of which 7 and 40 cannot be read."""
    return tiny_dataset(tmp_path_factory.mktemp("data"), unreadable_train=UNREADABLE_TRAIN)


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def test_unreadable_pictures_leave_the_rows_and_shift_no_id(
    space: Workspace, dataset: Dataset
) -> None:
    """58 rows with their own ids and labels, weight 1; the picture at a position is the picture of
    its id."""
    data = prepare(space, training(dataset))
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    assert data.rows.example_ids.tolist() == readable.tolist()
    assert data.rows.labels.tolist() == (readable % 3).tolist()
    assert set(data.rows.weights.tolist()) == {1.0}
    assert dict(data.unreadable["train"].items()).keys() == set(UNREADABLE_TRAIN)
    whole = open_pictures(dataset, "train", geometry(dataset, "softmax", None), None)
    positions = np.array([57, 0, 30])
    np.testing.assert_array_equal(
        data.train.gather(positions)[0], whole.gather(readable[positions])[0]
    )
    assert (data.examples, data.class_names) == (TRAIN, dataset.class_names)


def test_usable_rows_need_a_label_and_a_picture(dataset: Dataset) -> None:
    """Without a list of unreadable ones all 60 are usable."""
    assert len(usable_rows(dataset, {}).example_ids) == TRAIN
    assert usable_rows(dataset, {0: "x", 59: "y"}).example_ids.tolist() == list(range(1, 59))


def test_the_test_set_is_never_treated(space: Workspace, dataset: Dataset) -> None:
    """Noise on labels and pictures of the training set: test pictures and labels are those of the
    data set."""
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
    """Examples 5 (twice, label 0, weight 2) and 9 (once): three rows; the two copies show the same
    picture."""
    rows = manifest([5, 9, 11], [0, 1, 2], [2, 1, 0], [2.0, 0.5, 1.0])
    commit_selection(space, "mine", rows, Origin(dataset.fingerprint, "train"), [])
    data = prepare(space, training(dataset, treatment=selection_op(space, "mine")))
    rows = Counter(
        zip(
            data.rows.example_ids.tolist(),
            data.rows.labels.tolist(),
            data.rows.weights.tolist(),
            strict=True,
        )
    )
    assert rows == {(5, 0, 2.0): 2, (9, 1, 0.5): 1}
    pictures = data.train.gather(np.flatnonzero(data.rows.example_ids == 5))[0]
    np.testing.assert_array_equal(pictures[0], pictures[1])


def test_an_unknown_manifest_is_named(space: Workspace, dataset: Dataset) -> None:
    with pytest.raises(NotFoundError, match="no manifest 'feedfeedfeedfeed'"):
        prepare(
            space,
            training(dataset, treatment=(Op(name="manifest", params={"id": "feedfeedfeedfeed"}),)),
        )


def test_a_class_that_does_not_exist_is_found_before_anything_is_trained(
    space: Workspace, dataset: Dataset
) -> None:
    """Label 3 of 3 classes: refused when planning; the runner is never made."""

    def no_runner() -> pipeline.Runner:
        raise AssertionError("the runner was started")

    job = training(dataset, treatment=(op("delete_class", label=3),))
    with pytest.raises(UsageError, match="delete_class"):
        pipeline.train(space, dataset, "test", "population", [job], no_runner, QUIET)


def test_without_a_test_split_there_is_nothing_to_test_on(space: Workspace, tmp_path: Path) -> None:
    """The training set is what it is with one; no test pictures, no test labels."""
    write_split(tmp_path / "alone" / "train.parquet", cycle(6))
    dataset = open_dataset(str(tmp_path / "alone"))
    pipeline.prepare_dataset(space, dataset.uri, [("softmax", None)], QUIET)
    data = prepare(space, training(dataset))
    assert (len(data.rows), data.test, data.test_labels.tolist()) == (6, None, [])


# ---------------------------------------------------------------- labels


def test_the_label_change_rate_by_hand(space: Workspace, dataset: Dataset) -> None:
    """58 readable examples, as 7 and 40 are both of class 1: 20 of class 0, 18 of class 1, 20 of
    class 2."""
    rates = {
        "none": 0,
        "label_noise:fraction=0.5": 29 / 58,
        "label_noise:fraction=1,to=0": 38 / 58,
        "relabel:label=1,to=2": 18 / 58,
        "delete_class:label=0+relabel:label=1,to=2": 18 / 38,
        "gaussian_noise:sigma=3": 0,
    }
    for text, rate in rates.items():
        assert prepare(space, training(dataset, treatment=parse(text))).label_change_rate == rate, (
            text
        )
    assert (
        prepare(
            space, training(dataset, treatment=parse("delete_fraction:fraction=1"))
        ).label_change_rate
        is None
    )


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
def test_the_rate_of_labels_set_to_one_class_is_exact(
    space: Workspace, dataset: Dataset, fraction: float
) -> None:
    """The fraction times the share of other classes among the chosen: round(f * 58) are chosen, the
    wrong ones are those not of class 0."""
    data = prepare(
        space, training(dataset, treatment=parse(f"label_noise:fraction={fraction},to=0,seed=3"))
    )
    chosen = keyed.choose("label_noise/3", data.rows.example_ids, round(fraction * 58))
    others = int((data.given_labels[data.rows.example_ids[chosen]] != 0).sum())
    assert 0 < others < len(chosen)
    assert data.label_change_rate == others / 58
    assert data.label_change_rate == pytest.approx(len(chosen) / 58 * others / len(chosen))


def test_examples_without_a_label_are_left_out_before_noise(dataset: Dataset) -> None:
    """Every third of 60 labels unknown (-1): 40 rows, of which half, exactly 20, get a wrong label;
    no unknown one gets any."""
    split = dataset.splits["train"]
    labels = np.where(np.arange(TRAIN) % 3 == 1, -1, split.labels)
    hidden = dataclasses.replace(
        dataset, splits={"train": Split("train", labels, None, split.keys, split.source)}
    )
    rows = usable_rows(hidden, {})
    noisy = apply_rows(
        parse("label_noise:fraction=0.5"), rows, manifests=lambda _: pytest.fail("no manifest here")
    )
    assert len(rows) == 40
    assert (noisy.labels != rows.labels).sum() == 20
    assert (noisy.example_ids % 3 != 1).all()


# ---------------------------------------------------------------- epochs


def test_pictures_drawn_in_each_epoch_are_those_of_the_treatment(
    space: Workspace, dataset: Dataset
) -> None:
    """Epoch 3 of a training shows what ``apply_images`` makes of epoch 3, by example id; a fixed
    treatment shows the same in every epoch."""
    noise = op("salt_pepper_each_epoch", share=0.2)
    data = prepare(space, training(dataset, treatment=(op("subsample", fraction=0.5), noise)))
    plain = prepare(space, training(dataset))
    ids, positions = data.rows.example_ids, np.arange(len(data.rows))
    clean = plain.train.gather(np.searchsorted(plain.rows.example_ids, ids))[0]
    for epoch in (1, 3):
        np.testing.assert_array_equal(
            data.train_at(epoch).gather(positions)[0],
            apply_images((noise,), clean, ids, epoch=epoch),
        )
    assert (data.train_at(1).gather(positions)[0] != data.train_at(3).gather(positions)[0]).any()
    assert plain.train_at(1) is plain.train_at(3)


# ---------------------------------------------------------------- a sample to look at


def test_a_sample_is_what_a_training_gets(space: Workspace, dataset: Dataset) -> None:
    """Two deleted classes' worth of noise: rows, labels, pixels and rate of a sample of all are
    those of the training set."""
    steps = parse("label_noise:fraction=0.5+delete_class:label=1+gaussian_noise:sigma=30")
    data = prepare(space, training(dataset, treatment=steps))
    found = sample(dataset, steps, count=1000)
    assert found.example_ids.tolist() == data.rows.example_ids.tolist()
    assert found.labels.tolist() == data.rows.labels.tolist()
    assert found.given.tolist() == data.given_labels[data.rows.example_ids].tolist()
    assert (found.left, found.total, found.label_change_rate, found.epoch) == (
        len(data.rows),
        58,
        data.label_change_rate,
        None,
    )
    np.testing.assert_array_equal(found.after, data.train.gather(np.arange(len(data.rows)))[0])
    plain = prepare(space, training(dataset))
    np.testing.assert_array_equal(
        found.before,
        plain.train.gather(np.searchsorted(plain.rows.example_ids, found.example_ids))[0],
    )
    assert not found.unreadable.any()


def test_a_sample_is_drawn_by_its_seed_from_what_is_left(dataset: Dataset) -> None:
    """Ten of the 20 of class 2, ascending; the same again by the same seed, others by another, a
    part of the first where five are asked for."""
    steps = parse("delete_class:label=0+delete_class:label=1")
    ten, again, other, five = (
        sample(dataset, steps, count=n, seed=s).example_ids.tolist()
        for n, s in ((10, 0), (10, 0), (10, 1), (5, 0))
    )
    assert all(example % 3 == 2 for example in ten + other)
    assert ten == sorted(ten) == again != other
    assert len(ten) == 10
    assert set(five) < set(ten)


def test_a_sample_of_an_epoch(dataset: Dataset) -> None:
    """The pixels are those of the epoch asked for, and the sample says which; the pictures before
    are the same."""
    steps = parse("gaussian_noise_each_epoch:sigma=30")
    first, third = (sample(dataset, steps, count=4, epoch=epoch) for epoch in (1, 3))
    assert (first.epoch, third.epoch) == (1, 3)
    np.testing.assert_array_equal(first.before, third.before)
    np.testing.assert_array_equal(
        third.after, apply_images(steps, third.before, third.example_ids, epoch=3)
    )
    assert (first.after != third.after).any()


def test_the_test_split_can_be_looked_at_too(dataset: Dataset) -> None:
    """30 examples, 15 of them with a wrong label; trainings never do that."""
    found = sample(dataset, parse("label_noise:fraction=0.5"), split="test", count=30)
    assert (found.split, found.left, int((found.labels != found.given).sum())) == ("test", 30, 15)


def test_a_sample_of_pictures_too_many_to_be_read_first(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a training would stream them, nothing but the sample is decoded: 60 rows, and the
    unreadable ones are marked."""
    monkeypatch.setattr(zoo.trainsets.inputs, "IN_MEMORY_BYTES", 0)
    found = sample(dataset, (), count=60)
    assert (found.left, found.total) == (60, 60)
    assert np.flatnonzero(found.unreadable).tolist() == list(UNREADABLE_TRAIN)


def test_pictures_of_different_sizes_are_shown_at_224(tmp_path: Path) -> None:
    """No size is theirs in common: 224 x 224, as the large networks see them."""
    write_split(tmp_path / "sizes" / "train-0.parquet", cycle(6), side=12)
    write_split(tmp_path / "sizes" / "train-1.parquet", cycle(6), side=15)
    found = sample(open_dataset(str(tmp_path / "sizes")), parse("gaussian_noise:sigma=9"), count=3)
    assert found.before.shape == found.after.shape == (3, 224, 224, 1)


def test_a_sample_of_nothing_or_of_something_unknown_is_refused(dataset: Dataset) -> None:
    with pytest.raises(
        NotFoundError,
        match=(
            r"^delete_class:label=0 \+ .* leaves none of the 58 examples of pictures train: there"
            r" is nothing to"
        ),
    ):
        sample(dataset, parse("delete_class:label=0+delete_class:label=1+delete_class:label=2"))
    with pytest.raises(UnknownNameError, match=r"^unknown split 'tests'\. Did you mean 'test'"):
        sample(dataset, (), split="tests")
    with pytest.raises(UsageError, match=r"^manifest:id=aa: a selection lies in a workspace"):
        sample(dataset, parse("manifest:id=aa"))
