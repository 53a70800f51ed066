"""The training loop: order and schedule by hand, one step against its formula, reruns, resumption
and odd endings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import (
    QUIET,
    TRAIN,
    UNREADABLE_TRAIN,
    cycle,
    dataset_folder,
    tiny_dataset,
    training,
    workspace,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import zoo.training.loop
import zoo.training.run
import zoo.trainsets.inputs
from zoo import keyed, models, pipeline
from zoo.cli.text import status_text
from zoo.data import Dataset, Decoded, open_dataset
from zoo.errors import StoreError
from zoo.estimate import training_seconds
from zoo.local import LocalRunner
from zoo.rates import ACCELERATORS
from zoo.spec import DatasetRef, Op, Preprocessing, Recipe, Training, classifier_id
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.loop import evaluate, fit
from zoo.training.run import Outcome, StoppedError, run_training
from zoo.training.schedule import epoch_batches, learning_rate, steps_per_epoch
from zoo.training.tensors import augment, normalise
from zoo.trainsets.inputs import MemoryPictures
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData, prepare
from zoo.trainsets.treatments import op

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 + 30 readable pictures of 3 classes."""
    return tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def everything(space: Workspace, *, but: tuple[str, ...] = ()) -> dict[str, tuple[int, bytes]]:
    """Inode and content of every file of a workspace, but the folders named: a file that is written
    again is another one."""
    found = {}
    for path in sorted(space.root.rglob("*")):
        relative = path.relative_to(space.root).as_posix()
        if path.is_file() and not relative.startswith(but):
            found[relative] = (path.stat().st_ino, path.read_bytes())
    return found


def checkpoints(space: Workspace) -> dict[str, bytes]:
    """Content of every committed checkpoint by classifier id, read through its commit."""
    return {
        key: space.files.read_verified(commit.files[0])
        for key, commit in space.commits.all("checkpoint").items()
    }


def facts_of(space: Workspace, job: Training) -> dict[str, object]:
    """What a training's commit says, without how long it took."""
    commit = space.commits.get("training", job.id)
    assert commit is not None
    return {name: value for name, value in commit.facts.items() if "seconds" not in name}


# ---------------------------------------------------------------- order


@given(
    n=st.integers(1, 200),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 99),
    epoch=st.integers(1, 9),
)
def test_an_epoch_visits_every_row_once(n: int, batch_size: int, seed: int, epoch: int) -> None:
    """The batches of an epoch are a permutation of the rows, all full but the last, as many as
    ``steps_per_epoch`` says."""
    recipe = Recipe(batch_size=batch_size)
    batches = epoch_batches(n, recipe, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert len(batches) == steps_per_epoch(n, recipe)
    assert all(len(batch) == batch_size for batch in batches[:-1])


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"),
    [
        (8, 4, [4, 4]),
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 5]),
        (5, 4, [5]),
        (1, 4, [1]),
        (3, 1, [1, 2]),
        (3, 8, [3]),
    ],
)
def test_a_single_left_over_row_joins_the_batch_before(
    n: int, batch_size: int, sizes: list[int]
) -> None:
    """Batch normalisation needs two rows: 9 rows in fours are 4 + 5, not 4 + 4 + 1. A set of one
    row stays one."""
    assert [len(batch) for batch in epoch_batches(n, Recipe(batch_size=batch_size), 0, 1)] == sizes


@given(
    n=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    steps=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_a_fixed_number_of_steps_cuts_one_stream_of_passes(
    n: int, batch_size: int, steps: int, seed: int
) -> None:
    """With ``steps_per_epoch`` three epochs laid end to end are the permutations of the ordinary
    epochs laid end to end."""
    recipe = Recipe(batch_size=batch_size, steps_per_epoch=steps, epochs=3)
    epochs = [epoch_batches(n, recipe, seed, epoch) for epoch in (1, 2, 3)]
    assert all(
        len(batches) == steps and {len(batch) for batch in batches} == {batch_size}
        for batches in epochs
    )
    stream = np.concatenate([batch for batches in epochs for batch in batches])
    plain = Recipe(batch_size=batch_size)
    passes = np.concatenate(
        [np.concatenate(epoch_batches(n, plain, seed, p)) for p in range(1, len(stream) // n + 2)]
    )
    assert stream.tolist() == passes[: len(stream)].tolist()


def test_the_order_is_keyed_by_seed_and_epoch_alone() -> None:
    """Same seed and epoch: same order whatever the learning rate or optimiser; another seed or
    epoch: another order."""

    def order(seed: int, epoch: int, **changes: object) -> list[int]:
        return np.concatenate(
            epoch_batches(50, Recipe(batch_size=50, **changes), seed, epoch)
        ).tolist()  # type: ignore[arg-type]

    assert order(3, 2) == order(3, 2, lr=0.5, optimizer="sgd", epochs=99)
    assert len({tuple(order(*at)) for at in [(3, 2), (3, 1), (4, 2)]}) == 3


# ---------------------------------------------------------------- schedule


def rates(steps: int, per_epoch: int, **recipe: object) -> list[float]:
    return [learning_rate(Recipe(**recipe), step, per_epoch) for step in range(steps)]  # type: ignore[arg-type]


def test_a_constant_rate_is_constant() -> None:
    assert rates(4, 2, lr=0.5, epochs=2) == [0.5] * 4


def test_cosine_falls_from_the_rate_towards_zero() -> None:
    """Two epochs of two steps: lr (1 + cos(pi s / 4)) / 2 = 1, (1 + sqrt(1/2)) / 2, 1/2, (1 -
    sqrt(1/2)) / 2."""
    half = 0.5**0.5
    assert rates(4, 2, lr=1.0, epochs=2, schedule="cosine") == pytest.approx(
        [1, (1 + half) / 2, 0.5, (1 - half) / 2]
    )


def test_steps_down_at_the_milestones() -> None:
    """Four epochs of one step, milestones 0.5 and 0.75, gamma 0.1: the third epoch has a tenth, the
    fourth a hundredth."""
    assert rates(4, 1, lr=1.0, epochs=4, schedule="step", milestones=(0.5, 0.75)) == pytest.approx(
        [1, 1, 0.1, 0.01]
    )


def test_onecycle_rises_for_15_percent_and_falls_to_zero() -> None:
    """Twenty steps: up over 3 (1/3, 2/3, 1 of the rate), then down by 1/17 a step; the next step
    would be 0."""
    expected = [1 / 3, 2 / 3, 1.0, *(17 / 17 - i / 17 for i in range(17))]
    assert rates(20, 5, lr=1.0, epochs=4, schedule="onecycle") == pytest.approx(expected)


@given(
    st.sampled_from(["constant", "cosine", "step", "onecycle"]),
    st.integers(1, 20),
    st.integers(1, 20),
    st.floats(1e-6, 10),
)
def test_a_rate_lies_between_zero_and_the_recipes(
    schedule: str, epochs: int, per_epoch: int, lr: float
) -> None:
    """No schedule exceeds the recipe's rate or goes below 0."""
    found = rates(
        epochs * per_epoch, per_epoch, lr=lr, epochs=epochs, schedule=schedule, milestones=(0.5,)
    )
    assert all(0 <= rate <= lr * (1 + 1e-12) for rate in found)


# ---------------------------------------------------------------- one step by its formula


class Fixed:
    """Pictures in memory, by position; ``mask`` marks those that cannot be read, as a streamed
    source would."""

    streamed = False

    def __init__(self, images: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None) -> None:
        self.images, self.mask = images, mask

    def gather(
        self, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        return self.images[positions], None if self.mask is None else self.mask[positions]


def memory_data(
    images: NDArray[np.uint8],
    labels: list[int],
    *,
    weights: list[float] | None = None,
    classes: int = 3,
    mask: list[bool] | None = None,
) -> TrainingData:
    """Training data without a data set: rows 0..n-1 of uint8 [n, S, S, 1], also the test set."""
    n = len(labels)
    rows = Rows(
        np.arange(n), np.array(labels), np.array(weights or [1.0] * n, dtype=np.float32), classes
    )
    shape = Preprocessing(size=images.shape[1], channels=1, fit="pad", mean=(0.5,), std=(0.25,))
    pictures = Fixed(images, None if mask is None else np.array(mask))
    return TrainingData(
        rows,
        pictures,
        pictures,
        np.array(labels),
        shape,
        tuple("abcdefgh"[:classes]),
        np.array(labels),
        {},
    )


def plain(**recipe: object) -> Training:
    """A training without a data set, for ``fit``: SGD without momentum unless told otherwise."""
    settings = {
        "optimizer": "sgd",
        "lr": 0.5,
        "momentum": 0.0,
        "epochs": 1,
        "batch_size": 100,
    } | recipe
    return Training(
        arch="softmax",
        dataset=DatasetRef(uri="none", fingerprint="none"),
        recipe=Recipe(**settings),
    )  # type: ignore[arg-type]


def one_step(data: TrainingData, job: Training) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [M, P + 1] (bias last) of softmax regression before and after one epoch."""
    torch.manual_seed(0)
    model = models.build(
        "softmax", num_classes=data.rows.num_classes, in_channels=1, size=data.preprocessing.size
    )
    linear = model[1]  # type: ignore[index]

    def weights() -> NDArray[np.float64]:
        return np.hstack(
            [linear.weight.detach().numpy(), linear.bias.detach().numpy()[:, None]]
        ).astype(np.float64)

    before = weights()
    epochs = list(
        fit(model, zoo.training.run.optimizer_of(model, job.recipe), data, job, device=CPU)
    )
    assert [epoch for epoch, _, _ in epochs] == [1]
    return before, weights()


def formula_step(
    before: NDArray[np.float64],
    data: TrainingData,
    images: NDArray[np.uint8],
    targets: NDArray[np.float64],
    shares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """W - lr sum_i share_i (p_i - t_i) x_i^T in float64; x = (picture / 255 - 0.5) / 0.25 and a 1
    for the bias, lr 0.5."""
    # [n, P + 1]
    x = np.hstack([(images.reshape(len(images), -1) / 255 - 0.5) / 0.25, np.ones((len(images), 1))])
    z = x @ before.T
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return before - 0.5 * ((p - targets) * shares[:, None]).T @ x


def random_images(n: int, side: int = 8, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 1), dtype=np.uint8)


def test_a_step_of_softmax_regression_is_its_closed_form() -> None:
    """One step equals W - lr mean((p - onehot) x^T) computed in float64."""
    images, labels = random_images(6), [0, 1, 2, 2, 1, 0]
    data = memory_data(images, labels)
    before, after = one_step(data, plain())
    np.testing.assert_allclose(
        after, formula_step(before, data, images, np.eye(3)[labels], np.full(6, 1 / 6)), atol=2e-6
    )
    assert np.abs(after - before).max() > 0.01


def test_label_smoothing_moves_the_target() -> None:
    """Smoothing 0.3 over 3 classes: the target is 0.8 for the label and 0.1 for the others."""
    images, labels = random_images(6), [0, 1, 2, 2, 1, 0]
    data = memory_data(images, labels)
    before, after = one_step(data, plain(label_smoothing=0.3))
    targets = np.where(np.eye(3)[labels] == 1, 0.8, 0.1)
    np.testing.assert_allclose(
        after, formula_step(before, data, images, targets, np.full(6, 1 / 6)), atol=2e-6
    )


def test_a_weight_multiplies_an_examples_share_of_the_loss() -> None:
    """Weights 2, 1, 0, 1 over 4 rows: shares 2/4, 1/4, 0, 1/4 of the gradient."""
    images, labels, weights = random_images(4), [0, 1, 2, 0], [2.0, 1.0, 0.0, 1.0]
    data = memory_data(images, labels, weights=weights)
    before, after = one_step(data, plain())
    np.testing.assert_allclose(
        after,
        formula_step(before, data, images, np.eye(3)[labels], np.array(weights) / 4),
        atol=2e-6,
    )


def test_weight_zero_leaves_an_example_out_of_the_loss() -> None:
    """With mean weight 1 (4/3, 4/3, 4/3, 0) a step equals one without the last row; its picture and
    label have no influence."""
    images, labels = random_images(4), [0, 1, 2, 0]
    third = 4 / 3
    _, weighted = one_step(memory_data(images, labels, weights=[third, third, third, 0.0]), plain())
    _, shorter = one_step(memory_data(images[:3], labels[:3]), plain())
    np.testing.assert_allclose(weighted, shorter, atol=1e-6)
    other = images.copy()
    other[3] = 255 - other[3]
    _, changed = one_step(
        memory_data(other, [0, 1, 2, 1], weights=[third, third, third, 0.0]), plain()
    )
    np.testing.assert_array_equal(changed, weighted)


def test_copies_are_rows_of_their_own() -> None:
    """A row given twice counts twice: shares 2/4, 1/4, 1/4 of the gradient of the three different
    rows."""
    images, labels = random_images(3), [0, 1, 2]
    doubled = memory_data(images[[0, 0, 1, 2]], [0, 0, 1, 2])
    before, after = one_step(doubled, plain())
    shares = np.array([0.5, 0.25, 0.25])
    np.testing.assert_allclose(
        after, formula_step(before, doubled, images, np.eye(3)[labels], shares), atol=2e-6
    )


def test_unreadable_pictures_are_left_out_of_loss_and_accuracy() -> None:
    """A streamed row that cannot be read has no share of the gradient, and the mean is over the
    others."""
    images, labels = random_images(4), [0, 1, 2, 0]
    images[3] = 0
    _, masked = one_step(memory_data(images, labels, mask=[False, False, False, True]), plain())
    _, shorter = one_step(memory_data(images[:3], labels[:3]), plain())
    np.testing.assert_allclose(masked, shorter, atol=1e-6)


def test_a_batch_without_a_readable_picture_changes_nothing() -> None:
    """Its loss is 0 and its gradient is 0: the weights stay, and nothing diverges."""
    data = memory_data(random_images(4), [0, 1, 2, 0], mask=[True, True, True, True])
    before, after = one_step(data, plain())
    np.testing.assert_array_equal(before, after)


def network_step(
    arch: str, side: int, double: bool, *, channels_last: bool = False
) -> dict[str, NDArray[np.float64]]:
    """Weights after one SGD step of 0.1 on 8 pictures, in float32 by ``fit`` or in float64 by a
    plain reference."""
    images, labels = random_images(8, side), cycle(8)
    data = memory_data(images, labels)
    torch.manual_seed(3)
    model = models.build(arch, num_classes=3, in_channels=1, size=side)
    if double:
        model = model.double().train()
        x = torch.from_numpy((images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25)
        loss = nn.functional.cross_entropy(model(x), torch.tensor(labels))
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.1 * parameter.grad
    else:
        if channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        job = plain(lr=0.1, channels_last=channels_last)
        list(fit(model, zoo.training.run.optimizer_of(model, job.recipe), data, job, device=CPU))
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("arch", ["softmax", "mlp", "lenet5", "nin_mini", "resnet8"])
def test_one_step_agrees_with_double_precision(arch: str) -> None:
    """float32 with our normalisation and loop against float64 by hand: the same weights to single
    precision."""
    single, double = network_step(arch, 16, False), network_step(arch, 16, True)
    assert single.keys() == double.keys()
    for name, value in double.items():
        np.testing.assert_allclose(single[name], value, atol=2e-4, rtol=2e-3, err_msg=name)


@pytest.mark.parametrize("arch", ["lenet5", "nin_mini", "resnet8"])
def test_channels_last_is_only_a_memory_layout(arch: str) -> None:
    """After one step the weights agree with those of the usual layout to rounding."""
    usual, last = network_step(arch, 16, False), network_step(arch, 16, False, channels_last=True)
    for name, value in usual.items():
        np.testing.assert_allclose(last[name], value, atol=2e-4, rtol=2e-3, err_msg=name)


# ---------------------------------------------------------------- normalisation and augmentation


def test_normalisation_by_hand() -> None:
    """(x / 255 - mean) / std per channel, channels first: 255 with mean 0.5 and std 0.25 is 2, 0 is
    -2."""
    shape = Preprocessing(size=2, channels=3, fit="pad", mean=(0.5, 0.0, 1.0), std=(0.25, 1.0, 0.5))
    raw = torch.tensor(
        [[[[255, 255, 255], [0, 0, 0]], [[0, 255, 0], [255, 0, 255]]]], dtype=torch.uint8
    )
    x = normalise(raw, shape)
    assert x.shape == (1, 3, 2, 2)
    assert x.is_contiguous()
    expected = [[[2, -2], [-2, 2]], [[1, 0], [1, 0]], [[0, -2], [-2, 0]]]
    torch.testing.assert_close(x[0], torch.tensor(expected, dtype=torch.float32))


def augmented(kind: str, raw: torch.Tensor, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return augment(raw, Recipe(augment=kind))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["none", "flip", "crop_flip", "resized_crop_flip"])
@pytest.mark.parametrize("channels", [1, 3])
def test_augmentation_keeps_shape_and_type_and_is_keyed_by_the_seed(
    kind: str, channels: int
) -> None:
    """uint8 [n, H, W, K] in and out; one seed gives one result, and (but for none) two seeds give
    two."""
    raw = torch.from_numpy(
        np.random.default_rng(0).integers(1, 256, (16, 10, 12, channels), dtype=np.uint8)
    )
    first, again, other = augmented(kind, raw), augmented(kind, raw), augmented(kind, raw, seed=1)
    assert (first.shape, first.dtype) == (raw.shape, torch.uint8)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (kind == "none")


def test_flip_mirrors_left_and_right_about_half_of_the_pictures() -> None:
    """Every picture is itself or its mirror image, and of 400 between 150 and 250 are mirrored."""
    raw = torch.from_numpy(random_images(400, 6))
    made = augmented("flip", raw)
    kept = (made == raw).flatten(1).all(1)
    mirrored = (made == raw.flip(2)).flatten(1).all(1)
    assert (kept | mirrored).all()
    assert 150 < int(mirrored.sum()) < 250


def test_crop_moves_by_at_most_four_and_pads_with_zero() -> None:
    """Every result is a window of the picture (or its mirror image) in a frame of 4 zeros; all 81
    places occur among 2,000."""
    picture = np.arange(1, 65, dtype=np.uint8).reshape(8, 8)
    raw = torch.from_numpy(np.tile(picture[None, :, :, None], (2000, 1, 1, 1)))
    windows = {}
    for mirrored, source in ((False, picture), (True, picture[:, ::-1])):
        framed = np.pad(source, 4)
        for top in range(9):
            for left in range(9):
                windows[framed[top : top + 8, left : left + 8].tobytes()] = (top, left, mirrored)
    places = [windows[made.tobytes()] for made in augmented("crop_flip", raw).numpy()[..., 0]]
    assert len({(top, left) for top, left, _ in places}) == 81
    assert {mirrored for _, _, mirrored in places} == {False, True}


def test_resized_crop_of_a_constant_picture_is_constant() -> None:
    """Resampling inside the picture (reflected at its edge) invents no value: grey 77 stays 77
    everywhere."""
    raw = torch.full((50, 9, 9, 3), 77, dtype=torch.uint8)
    assert (augmented("resized_crop_flip", raw) == 77).all()


# ---------------------------------------------------------------- evaluation


class Table(nn.Module):
    """A network that looks its logits up by the first pixel of the picture (mean 0, std 1/255: the
    input is the pixel value)."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits[x[:, 0, 0, 0].round().long()]


def table_data(labels: list[int], unreadable: Mapping[int, str] | None = None) -> TrainingData:
    """Test picture i has the value i everywhere."""
    images = np.tile(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    data = memory_data(images, [0] * len(labels), classes=7)
    shape = Preprocessing(size=2, channels=1, fit="pad", mean=(0.0,), std=(1 / 255,))
    return replace(
        data,
        preprocessing=shape,
        test_labels=np.array(labels),
        unreadable={"test": dict(unreadable or {})},
    )


def test_evaluation_by_hand_with_ties_to_the_lowest_class() -> None:
    """Picture 0 right; 1 wrong but second; 2 tied for first with a lower class: wrong; 3 tied with
    a higher one: right; 4 sixth of 7.

    acc1 = 2/5, acc5 = 4/5. Loss: logits 3 and six 0s give ln(e^3 + 6) - 3 and so on, by hand below.
    """
    logits = [
        [3.0, 0, 0, 0, 0, 0, 0],
        [3.0, 2, 0, 0, 0, 0, 0],
        [3.0, 3, 0, 0, 0, 0, 0],
        [0.0, 3, 3, 0, 0, 0, 0],
        [6.0, 5, 4, 3, 2, 1, 0],
    ]
    labels = [0, 1, 1, 1, 5]
    e = np.exp
    losses = [
        np.log(e(3) + 6) - 3,
        np.log(e(3) + e(2) + 5) - 2,
        np.log(2 * e(3) + 5) - 3,
        np.log(2 * e(3) + 5) - 3,
        np.log(sum(e(i) for i in range(7))) - 1,
    ]
    found = evaluate(Table(logits), table_data(labels), Recipe(), 4, CPU)
    assert (found["epoch"], found["split"], found["acc1"], found["acc5"]) == (
        4,
        "test",
        pytest.approx(0.4),
        pytest.approx(0.8),
    )
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)


def test_unreadable_and_unlabelled_test_examples_do_not_count() -> None:
    """Of four examples one is unreadable and one has no label: one hit of two."""
    right, wrong = [1.0] + [0.0] * 6, [0.0] * 6 + [1.0]
    found = evaluate(
        Table([right, wrong, wrong, wrong]),
        table_data([0, 0, -1, 0], {3: "gone"}),
        Recipe(),
        1,
        CPU,
    )
    assert found["acc1"] == 0.5


def test_evaluation_of_nothing_has_no_numbers() -> None:
    found = evaluate(Table([[0.0] * 7]), table_data([-1]), Recipe(), 1, CPU)
    assert (found["acc1"], found["acc5"], found["loss"]) == (None, None, None)


@given(st.integers(1, 9), st.integers(1, 30), st.randoms(use_true_random=False))
def test_hits_are_a_stable_sort(classes: int, n: int, random: object) -> None:
    """Top-1 and top-5 hits equal a stable descending sort of logits with many ties, row by row."""
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    logits = rng.integers(0, 3, (n, classes)).astype(np.float32)
    labels = rng.integers(0, classes, n)
    order = np.argsort(-logits, axis=1, kind="stable")
    expected = [int((order[:, :k] == labels[:, None]).any(axis=1).sum()) for k in (1, 5)]
    assert (
        zoo.training.loop.top_hits(torch.from_numpy(logits), torch.from_numpy(labels)).tolist()
        == expected
    )


# ---------------------------------------------------------------- whole trainings

RECIPES: dict[str, dict[str, object]] = {
    "batch normalisation, Adam": {"arch": "nin_mini", "optimizer": "adam"},
    "convolutions, Adam, channels last": {
        "arch": "nin_mini",
        "optimizer": "adam",
        "channels_last": True,
    },
    "momentum, weight decay, cosine": {
        "arch": "lenet5",
        "optimizer": "sgd",
        "lr": 0.05,
        "weight_decay": 1e-3,
        "schedule": "cosine",
    },
    "no momentum": {"arch": "softmax", "optimizer": "sgd", "momentum": 0.0},
    "AdamW, bf16": {
        "arch": "lenet5",
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "precision": "bf16",
    },
    "drop-out": {"arch": "with_dropout", "optimizer": "adam"},
    "augmentation": {"arch": "mlp", "optimizer": "adam", "augment": "crop_flip"},
    "steps over passes": {
        "arch": "mlp",
        "optimizer": "adam",
        "steps_per_epoch": 3,
        "schedule": "onecycle",
    },
    "noise drawn in each epoch": {
        "arch": "mlp",
        "optimizer": "adam",
        "treatment": (op("gaussian_noise_each_epoch", sigma=40),),
    },
}


@pytest.fixture(autouse=True)
def _with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network with drop-out under a name of its own: NIN, which has it, takes seconds a
    step."""
    build = models.build

    def patched(name: str, *, num_classes: int, in_channels: int, size: int) -> nn.Module:
        if name != "with_dropout":
            return build(name, num_classes=num_classes, in_channels=in_channels, size=size)
        pixels = in_channels * size * size
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(pixels, 32),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(32, num_classes),
        )

    monkeypatch.setattr(models, "build", patched)
    monkeypatch.setattr(
        models.MODELS,
        "_entries",
        {**models.MODELS._entries, "with_dropout": replace(models.MODELS["mlp"])},
    )


@pytest.mark.parametrize("arch", ["softmax", "mlp", "lenet5", "nin_mini"])
def test_two_classes_are_learned(tmp_path: Path, arch: str) -> None:
    """Pictures of two kinds: every network reads the test set without an error after 6 epochs."""
    dataset = tiny_dataset(tmp_path, train=cycle(60, 2), test=cycle(30, 2), classes=2)
    outcome = run_training(workspace(tmp_path), training(dataset, arch, epochs=6), device=CPU)
    assert (outcome.status, outcome.stop_reason, outcome.epochs, outcome.steps) == (
        "done",
        "all epochs",
        6,
        24,
    )
    assert outcome.metrics[-1]["acc1"] == 1.0


@pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)
def test_a_rerun_elsewhere_is_bit_equal(
    tmp_path: Path, dataset: Dataset, settings: dict[str, object]
) -> None:
    """Two workspaces, one spec: the same bytes in every checkpoint, the same curve, other than the
    seconds."""
    job = training(dataset, epochs=3, snapshots=(1, 3), **settings)
    spaces = [workspace(tmp_path / name) for name in ("one", "two")]
    for space in spaces:
        run_training(space, job, device=CPU)
    assert list(checkpoints(spaces[0])) == [classifier_id(job.id, 1), classifier_id(job.id, 3)]
    assert checkpoints(spaces[0]) == checkpoints(spaces[1])
    assert facts_of(spaces[0], job) == facts_of(spaces[1], job)


def test_the_seed_decides_the_weights(tmp_path: Path, dataset: Dataset) -> None:
    """Twin of the test above: with another seed the bytes differ."""
    spaces = [workspace(tmp_path / name) for name in ("one", "two")]
    for seed, space in enumerate(spaces):
        run_training(space, training(dataset, seed=seed), device=CPU)
    assert set(checkpoints(spaces[0]).values()).isdisjoint(checkpoints(spaces[1]).values())


class Stopped(Exception):
    """Stands for a kill."""


def stop_after(epoch: int) -> Callable[[int], None]:
    def report(finished: int) -> None:
        if finished == epoch:
            raise Stopped

    return report


def run_stopped(space: Workspace, job: Training, *stops: int) -> Outcome:
    """Run with a stop after each of these epochs, then to the end."""
    for epoch in stops:
        with pytest.raises(Stopped):
            run_training(space, job, device=CPU, report=stop_after(epoch))
    return run_training(space, job, device=CPU)


@pytest.fixture
def _states_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state to go on from after every epoch, not every half minute."""
    monkeypatch.setattr(zoo.training.run, "_RESUME_SECONDS", -1.0)


@pytest.mark.usefixtures("_states_at_once")
@pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)
def test_a_stopped_training_ends_as_if_nothing_had_happened(
    tmp_path: Path, dataset: Dataset, settings: dict[str, object]
) -> None:
    """Stopped after epochs 2 and 4 of 5: the same bytes in every checkpoint and the same curve as
    undisturbed, and no scratch left."""
    job = training(dataset, epochs=5, snapshots=(2, 5), **settings)
    calm, stopped = workspace(tmp_path / "calm"), workspace(tmp_path / "stopped")
    run_training(calm, job, device=CPU)
    run_stopped(stopped, job, 2, 4)
    assert checkpoints(calm) == checkpoints(stopped)
    assert facts_of(calm, job) == facts_of(stopped, job)
    assert stopped.files.names(f"resume/{job.id}") == []


@pytest.mark.usefixtures("_states_at_once")
def test_a_stopped_training_goes_on_from_its_state(tmp_path: Path, dataset: Dataset) -> None:
    """Stopped in the report of epoch 3, after the state of epoch 2: the second run does epochs 3,
    4, 5 and no more."""
    space, job = workspace(tmp_path), training(dataset, epochs=5)
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    assert [name[:5] for name in space.files.names(f"resume/{job.id}")] == ["e0002"]
    epochs: list[int] = []
    run_training(space, job, device=CPU, report=epochs.append)
    assert epochs == [3, 4, 5]


def test_a_snapshot_is_a_state_to_go_on_from(tmp_path: Path, dataset: Dataset) -> None:
    """Without waiting half a minute: a stop after the snapshot at epoch 2 costs nothing before
    it."""
    space, job = workspace(tmp_path), training(dataset, epochs=4, snapshots=(2, 4))
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    epochs: list[int] = []
    run_training(space, job, device=CPU, report=epochs.append)
    assert epochs == [3, 4]


def test_epochs_that_are_trained_again_are_counted(tmp_path: Path, dataset: Dataset) -> None:
    """Ended between the snapshot at epoch 2 and its state, then after that state: the first costs
    the epoch of a committed snapshot, which the status says, the second none."""
    space, job = workspace(tmp_path), training(dataset, epochs=4, snapshots=(1, 2, 4))
    assert ledger.status(space)["repeated"] == 0
    for last in (2, 3):
        with pytest.raises(Stopped):
            run_training(space, job, device=CPU, report=stop_after(last))
    run_training(space, job, device=CPU)
    assert ledger.status(space)["repeated"] == 1
    assert "repeated    1 epoch with a committed snapshot" in status_text(ledger.status(space))


def test_a_training_in_progress_has_no_visible_outcome(tmp_path: Path, dataset: Dataset) -> None:
    """Stopped after its first snapshot: its checkpoint is committed, but it is no member of the
    population, and it is missing."""
    space, job = workspace(tmp_path), training(dataset, epochs=4, snapshots=(2, 4))
    ledger.record_plan(space, "test", "population", [job])
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    assert list(checkpoints(space)) == [classifier_id(job.id, 2)]
    assert ledger.population(space) == {}
    assert ledger.missing(space, [job]) == [job]
    assert ledger.trainings_frame(space)["status"].tolist() == ["begun"]


def asked_after(steps: int) -> Callable[[], bool]:
    """True from the n-th question on: one is asked after each step."""
    left = iter(range(steps - 1))
    return lambda: next(left, None) is None


@pytest.mark.parametrize("settings", RECIPES.values(), ids=RECIPES)
def test_a_training_stopped_within_an_epoch_ends_as_if_nothing_had_happened(
    tmp_path: Path, dataset: Dataset, settings: dict[str, object]
) -> None:
    """Asked to stop after step 1 of epoch 2, then after the last step of that epoch: the state says
    so, and bytes and curve are those of an undisturbed training."""
    job = training(dataset, epochs=3, snapshots=(1, 3), **settings)
    calm, stopped = workspace(tmp_path / "calm"), workspace(tmp_path / "stopped")
    steps = run_training(calm, job, device=CPU).steps // 3
    folder = f"resume/{job.id}"
    for asked, name in ((steps + 1, "e0001s000001"), (steps - 1, f"e0001s{steps:06d}")):
        with pytest.raises(StoppedError):
            run_training(stopped, job, device=CPU, should_stop=asked_after(asked))
        assert [found.split("-")[0] for found in stopped.files.names(folder)] == [name]
    epochs: list[int] = []
    run_training(stopped, job, device=CPU, report=epochs.append)
    assert epochs == [2, 3]
    assert checkpoints(calm) == checkpoints(stopped)
    assert facts_of(calm, job) == facts_of(stopped, job)
    assert stopped.files.names(folder) == []


def test_what_an_epoch_draws_is_part_of_its_state(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: without the generators' state a network with drop-out ends with other bytes."""
    job = training(dataset, "with_dropout", epochs=2, optimizer="adam")
    calm, stopped = workspace(tmp_path / "calm"), workspace(tmp_path / "stopped")
    run_training(calm, job, device=CPU)
    with pytest.raises(StoppedError):
        run_training(stopped, job, device=CPU, should_stop=asked_after(1))
    monkeypatch.setattr(zoo.training.loop, "_go_on_with", lambda stream, device: None)
    run_training(stopped, job, device=CPU)
    assert checkpoints(calm) != checkpoints(stopped)


def test_a_batch_that_is_asked_to_stop_leaves_the_rest(tmp_path: Path, dataset: Dataset) -> None:
    """Two trainings, asked within the first: no failure is written down, both are missing, the
    first one's state is kept, and status counts the stop."""
    space = workspace(tmp_path)
    jobs = [training(dataset, epochs=2, seed=seed) for seed in (0, 1)]
    failed = zoo.training.run.run(
        space, jobs, device=CPU, on_epoch=lambda *_: None, should_stop=asked_after(2)
    )
    assert failed == {} == ledger.failures(space)
    assert ledger.missing(space, jobs) == jobs
    assert [len(space.files.names(f"resume/{job.id}")) for job in jobs] == [1, 0]
    assert ledger.stops(space) == 1


@pytest.mark.usefixtures("_states_at_once")
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_state_is_passed_over(tmp_path: Path, dataset: Dataset, damage: str) -> None:
    """A flipped byte, a cut file or an empty one: the training starts again and ends with the
    undisturbed bytes."""
    job = training(dataset, "nin_mini", epochs=4, snapshots=(2, 4))
    calm, space = workspace(tmp_path / "calm"), workspace(tmp_path / "damaged")
    run_training(calm, job, device=CPU)
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    (name,) = space.files.names(f"resume/{job.id}")
    path = space.files.path(f"resume/{job.id}/{name}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:100]), "empty": b""}[damage])
    epochs: list[int] = []
    run_training(space, job, device=CPU, report=epochs.append)
    assert epochs == [1, 2, 3, 4]
    assert checkpoints(space) == checkpoints(calm)
    assert facts_of(space, job) == facts_of(calm, job)


def test_finished_work_is_not_touched(tmp_path: Path, dataset: Dataset) -> None:
    """Asked for again, a finished training is not missing, and running it all the same changes no
    file: same bytes, same times."""
    space, job = workspace(tmp_path), training(dataset, "nin_mini", epochs=3, snapshots=(1, 3))
    run_training(space, job, device=CPU)
    before = everything(space, but=("cache",))
    assert ledger.missing(space, [job]) == []
    run_training(space, job, device=CPU)
    after = everything(space, but=("cache", "resume"))
    assert {name: after[name] for name in before} == before
    (note,) = after.keys() - before.keys()
    assert f"attempts/{job.id}.repeated-2-" in note


def test_more_snapshots_later_only_add(tmp_path: Path, dataset: Dataset) -> None:
    """Snapshot 3 asked for first, 1 and 2 later: two checkpoints more, every file that was there
    keeps bytes and time, as if asked at once."""
    space, at_once = workspace(tmp_path / "later"), workspace(tmp_path / "at_once")
    job = training(dataset, "nin_mini", epochs=3, snapshots=(3,))
    more = job.replace(snapshots=(1, 2, 3))
    assert more.id == job.id
    run_training(space, job, device=CPU)
    before = everything(space, but=("cache", "resume"))
    assert ledger.uncovered_snapshots(space, more) == [1, 2]
    assert ledger.missing(space, [more]) == [more]
    run_training(space, more, device=CPU)
    after = everything(space, but=("cache", "resume"))
    assert {name: after[name] for name in before} == before
    # Two checkpoints, two commits, and a note that the epoch of snapshot 3 came again.
    assert len(after) == len(before) + 5
    run_training(at_once, more, device=CPU)
    assert checkpoints(space) == checkpoints(at_once)


@pytest.mark.usefixtures("_states_at_once")
def test_a_snapshot_asked_for_while_stopped_is_made_too(tmp_path: Path, dataset: Dataset) -> None:
    """Stopped after epoch 3, then asked for epoch 1 as well, which lies before the state: the
    training starts over and has both."""
    space, at_once, job = (
        workspace(tmp_path / "later"),
        workspace(tmp_path / "at_once"),
        training(dataset, epochs=4, snapshots=(4,)),
    )
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    more = job.replace(snapshots=(1, 4))
    run_training(space, more, device=CPU)
    run_training(at_once, more, device=CPU)
    assert list(checkpoints(space)) == [classifier_id(job.id, 1), classifier_id(job.id, 4)]
    assert checkpoints(space) == checkpoints(at_once)


def test_evaluations_between_snapshots_do_not_change_the_training(
    tmp_path: Path, dataset: Dataset
) -> None:
    """``eval_every=1`` adds test accuracies to the curve; the weights and the training curve stay,
    bit for bit."""
    job = training(dataset, "nin_mini", epochs=3)
    often = job.replace(eval_every=1)
    assert often.id == job.id
    spaces = workspace(tmp_path / "rarely"), workspace(tmp_path / "often")
    outcomes = [
        run_training(space, spec, device=CPU)
        for space, spec in zip(spaces, (job, often), strict=True)
    ]
    assert checkpoints(spaces[0]) == checkpoints(spaces[1])
    rarely, more = ([m for m in outcome.metrics if m["split"] == "train"] for outcome in outcomes)
    assert rarely == more
    tested = [[m["epoch"] for m in outcome.metrics if m["split"] == "test"] for outcome in outcomes]
    assert tested == [[3], [1, 2, 3]]


# ---------------------------------------------------------------- odd endings


def test_divergence_is_an_outcome_with_its_step(tmp_path: Path, dataset: Dataset) -> None:
    """Learning rate 1e30: done with, at a step, without a checkpoint, left out of the population,
    and not tried again."""
    space, job = (
        workspace(tmp_path),
        training(dataset, "mlp", lr=1e30, optimizer="sgd", epochs=4, snapshots=(1, 4)),
    )
    ledger.record_plan(space, "test", "population", [job])
    outcome = run_training(space, job, device=CPU)
    assert outcome.status == "diverged"
    assert 0 < outcome.steps < 4
    assert outcome.stop_reason == f"the loss was not finite at step {outcome.steps} (epoch 1)"
    assert (outcome.metrics[0]["epoch"], outcome.metrics[0]["loss"]) == (1, None)
    assert checkpoints(space) == {}
    assert ledger.population(space) == {}
    assert ledger.missing(space, [job]) == []
    row = ledger.trainings_frame(space).iloc[0]
    assert (row["status"], row["steps"], row["stop_reason"]) == (
        "diverged",
        outcome.steps,
        outcome.stop_reason,
    )


def test_the_step_of_divergence_is_the_first_loss_that_is_not_finite() -> None:
    """Steps of 4 rows, the third batch of the second epoch turns infinite: step 5 + 2 = 7 of 0, 1,
    2, ..."""
    images, job = random_images(20), plain(batch_size=4, epochs=3)
    data = memory_data(images, cycle(20))

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.calls = nn.Parameter(torch.zeros(3)), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            logits = self.weight.expand(len(x), 3)
            return logits + float("nan") if self.calls == 8 else logits

    model = Breaks()
    found = [
        (epoch, step)
        for epoch, _, step in fit(
            model, zoo.training.run.optimizer_of(model, job.recipe), data, job, device=CPU
        )
    ]
    assert found == [(1, None), (2, 7)]


def test_a_diverged_training_keeps_its_earlier_snapshots_out_of_the_population(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finite in epoch 1 (a snapshot), infinite from epoch 2 on: no checkpoint after it, none of it
    in the population."""
    space, job = workspace(tmp_path), training(dataset, "softmax", epochs=3, snapshots=(1, 2, 3))
    ledger.record_plan(space, "test", "population", [job])
    rate = learning_rate
    monkeypatch.setattr(
        zoo.training.loop,
        "learning_rate",
        lambda recipe, step, per: float("nan") if step >= per else rate(recipe, step, per),
    )
    outcome = run_training(space, job, device=CPU)
    assert (outcome.status, outcome.epochs) == ("diverged", 2)
    assert list(checkpoints(space)) == [classifier_id(job.id, 1)]
    assert ledger.population(space) == {}
    assert ledger.missing(space, [job]) == []


def test_an_empty_training_set_is_an_outcome(tmp_path: Path) -> None:
    """Both classes deleted: status empty, no checkpoint, not missing, no member of the
    population."""
    dataset = tiny_dataset(tmp_path, train=cycle(20, 2), test=cycle(10, 2), classes=2)
    space = workspace(tmp_path)
    job = training(dataset, treatment=(op("delete_class", label=0), op("delete_class", label=1)))
    ledger.record_plan(space, "test", "population", [job])
    outcome = run_training(space, job, device=CPU)
    assert (outcome.status, outcome.stop_reason) == ("empty", "no example left in the training set")
    assert checkpoints(space) == {}
    assert ledger.missing(space, [job]) == []
    assert ledger.population(space) == {}
    assert not ledger.seen_by(space, job.id).any()


def test_the_label_change_rate_is_kept(tmp_path: Path) -> None:
    """All 20 labels of two classes set to 0: the 10 ones are changed, half of them. Twin: without a
    treatment none; without rows not known."""
    dataset = tiny_dataset(tmp_path, train=cycle(20, 2), test=cycle(10, 2), classes=2)
    space = workspace(tmp_path)
    steps: dict[float | None, tuple[Op, ...]] = {
        0.5: (op("label_noise", fraction=1, to=0),),
        0.0: (),
        None: (op("delete_fraction", fraction=1),),
    }
    for rate, treatment in steps.items():
        job = training(dataset, epochs=1, treatment=treatment)
        run_training(space, job, device=CPU)
        assert facts_of(space, job)["label_change_rate"] == rate
        ledger.record_plan(space, "test", "population", [job])
    frame = ledger.trainings_frame(space)
    assert frame.set_index("treatment")["label_change_rate"].dropna().sort_index(
        ascending=False
    ).to_dict() == {
        "none": 0.0,
        "label_noise:fraction=1,seed=0,to=0": 0.5,
    }


def test_noise_drawn_in_each_epoch_is_another_training_than_fixed_noise(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Same strength and seed, another id, other weights; its second epoch sees other pixels than
    its first."""
    space = workspace(tmp_path)
    jobs = [
        training(dataset, epochs=2, treatment=(op(name, sigma=40),))
        for name in ("gaussian_noise", "gaussian_noise_each_epoch")
    ]
    for job in jobs:
        run_training(space, job, device=CPU)
    assert jobs[0].id != jobs[1].id
    weights = checkpoints(space)
    assert weights[classifier_id(jobs[0].id, 2)] != weights[classifier_id(jobs[1].id, 2)]
    seen = [
        [prepare(space, job).train_at(epoch).gather(np.arange(4))[0] for epoch in (1, 2)]
        for job in jobs
    ]
    assert np.array_equal(seen[0][0], seen[0][1])
    assert not np.array_equal(seen[1][0], seen[1][1])


def test_training_ends_early_at_the_accuracy_asked_for(tmp_path: Path, dataset: Dataset) -> None:
    """``stop_train_acc=0.9``: ends in the first epoch that reaches it, says so, and its last
    checkpoint is that epoch's."""
    space = workspace(tmp_path)
    job = training(dataset, "lenet5", epochs=30, stop_train_acc=0.9, snapshots=(1, 30), version=1)
    ledger.record_plan(space, "test", "population", [job])
    outcome = run_training(space, job, device=CPU)
    curve = [float(m["acc1"] or 0) for m in outcome.metrics if m["split"] == "train"]
    assert 1 < outcome.epochs < 30
    assert curve[-1] >= 0.9 > max(curve[:-1])
    assert outcome.stop_reason == f"training accuracy {curve[-1]:.4f} reached 0.9"
    assert list(ledger.population(space)) == [
        classifier_id(job.id, 1),
        classifier_id(job.id, outcome.epochs),
    ]
    assert ledger.missing(space, [job]) == []


def test_a_row_of_its_own_can_be_trained_on(tmp_path: Path, dataset: Dataset) -> None:
    """One example left (fraction 1/60): a training without batch normalisation runs on it."""
    job = training(dataset, "softmax", treatment=(op("subsample", fraction=1 / 60),))
    outcome = run_training(workspace(tmp_path), job, device=CPU)
    assert (outcome.status, outcome.steps) == ("done", 2)


def test_a_bf16_recipe_runs_and_differs_from_fp32(tmp_path: Path, dataset: Dataset) -> None:
    """bf16 autocast: float32 weights, a finite loss, and a result that is not fp32's."""
    space = workspace(tmp_path)
    jobs = [training(dataset, "nin_mini", precision=precision) for precision in ("fp32", "bf16")]
    for job in jobs:
        outcome = run_training(space, job, device=CPU)
        assert outcome.status == "done"
        assert np.isfinite(float(outcome.metrics[-1]["loss"] or np.nan))
    full, half = (
        checkpoint.load_classifier(space.files, c, CPU)[0]
        for c in ledger.classifiers_of(space, jobs).values()
    )
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    assert any(
        not torch.equal(a, b) for a, b in zip(full.parameters(), half.parameters(), strict=True)
    )


# ---------------------------------------------------------------- in memory and streamed


@pytest.fixture
def _streaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every split is too large to be held decoded."""
    monkeypatch.setattr(zoo.trainsets.inputs, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(zoo.trainsets.inputs, "_HELD", {})
    zoo.trainsets.inputs._statistics.cache_clear()


@pytest.mark.parametrize("treatment", ["", "gaussian_noise", "gaussian_noise_each_epoch", "copies"])
def test_streamed_pictures_give_the_same_weights_bit_for_bit(
    tmp_path: Path, dataset: Dataset, request: pytest.FixtureRequest, treatment: str
) -> None:
    """Decoded at every use or held in memory: the same bytes, with image treatments and subsets too
    (all pictures readable)."""
    noise = {
        name: (op(name, sigma=20),) for name in ("gaussian_noise", "gaussian_noise_each_epoch")
    }
    ops = {"": (), **noise, "copies": (op("subsample", fraction=0.5),)}[treatment]
    job = training(dataset, "nin_mini", epochs=2, treatment=ops, augment="flip")
    held, streamed = workspace(tmp_path / "held"), workspace(tmp_path / "streamed")
    run_training(held, job, device=CPU)
    request.getfixturevalue("_streaming")
    assert prepare(streamed, job).train.streamed
    run_training(streamed, job, device=CPU)
    assert checkpoints(held) == checkpoints(streamed)
    assert not (streamed.root / "cache").exists()


def unreadable_folder(folder: Path) -> Dataset:
    return open_dataset(
        str(
            dataset_folder(folder / "bad", unreadable_train=UNREADABLE_TRAIN, unreadable_test=(11,))
        )
    )


def test_unreadable_pictures_leave_the_training_set(tmp_path: Path) -> None:
    """Held in memory, 2 of 60 training pictures unreadable: 58 rows, counted and not seen."""
    dataset, space = unreadable_folder(tmp_path), workspace(tmp_path)
    job = training(dataset)
    run_training(space, job, device=CPU)
    facts = facts_of(space, job)
    assert (facts["n_train"], facts["unreadable"]) == (TRAIN - 2, {"train": 2, "test": 1})
    assert np.flatnonzero(~ledger.seen_by(space, job.id)).tolist() == list(UNREADABLE_TRAIN)


@pytest.mark.usefixtures("_streaming")
def test_unreadable_pictures_of_a_stream_have_no_share_in_the_loss(tmp_path: Path) -> None:
    """Streamed, in batches of one pass: the running accuracy counts 58 examples, the test accuracy
    29."""
    dataset, space = unreadable_folder(tmp_path), workspace(tmp_path)
    job = training(dataset, "lenet5", epochs=2)
    outcome = run_training(space, job, device=CPU)
    assert outcome.status == "done"
    for metric in outcome.metrics:
        counted = TRAIN - 2 if metric["split"] == "train" else 29
        hits = float(metric["acc1"] or 0) * counted
        assert hits == pytest.approx(round(hits), abs=1e-6)


@pytest.mark.usefixtures("_streaming")
def test_a_subset_of_nothing_but_unreadable_pictures_does_not_crash(tmp_path: Path) -> None:
    """Streamed, and both rows of the class kept are unreadable: the training ends with an outcome,
    not an exception."""
    labels = [1 if i in UNREADABLE_TRAIN else 0 for i in range(TRAIN)]
    folder = dataset_folder(
        tmp_path / "bad",
        train=labels,
        test=cycle(10, 2),
        classes=2,
        unreadable_train=UNREADABLE_TRAIN,
    )
    dataset, space = open_dataset(str(folder)), workspace(tmp_path)
    outcome = run_training(
        space, training(dataset, treatment=(op("delete_class", label=0),)), device=CPU
    )
    assert outcome.status == "done"
    assert outcome.metrics[0]["acc1"] is None


# ---------------------------------------------------------------- a sweep in this process


def test_a_failed_training_does_not_end_the_sweep(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of three breaks: its reason is recorded, the others are done, and a rerun does
    just the one."""
    space, runner = workspace(tmp_path), LocalRunner("cpu")
    jobs = [training(dataset, seed=seed) for seed in range(3)]
    run = zoo.training.run.run_training

    def breaking(space: Workspace, job: Training, **rest: object) -> Outcome:
        if job.seed == 1:
            raise ArithmeticError("planted")
        return run(space, job, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr("zoo.training.run.run_training", breaking)
    ledger.record_plan(space, "test", "population", jobs)
    runner.train(space, jobs, {}, lambda name, epoch: None)
    assert ledger.missing(space, jobs) == [jobs[1]]
    assert ledger.failures(space) == {jobs[1].id: "ArithmeticError: planted"}
    assert sorted(ledger.trainings_frame(space)["status"]) == ["done", "done", "failed"]
    monkeypatch.undo()
    runner.train(space, ledger.missing(space, jobs), {}, lambda name, epoch: None)
    assert ledger.missing(space, jobs) == []
    assert ledger.failures(space) == {}


def test_a_storage_failure_ends_the_sweep(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is no fault of one training: the error goes up at once."""
    space, begun = workspace(tmp_path), []

    def full(space: Workspace, job: Training, **rest: object) -> Outcome:
        begun.append(job)
        raise StoreError("disk full")

    monkeypatch.setattr("zoo.training.run.run_training", full)
    with pytest.raises(StoreError, match="disk full"):
        LocalRunner("cpu").train(
            space, [training(dataset, seed=seed) for seed in range(3)], {}, lambda name, epoch: None
        )
    assert len(begun) == 1


def test_an_extended_grid_trains_only_what_is_new(tmp_path: Path, dataset: Dataset) -> None:
    """Seeds 0 and 1, then 0, 1, 2: the runner gets one training, and files of the first two keep
    bytes and times."""
    space, runner = workspace(tmp_path), LocalRunner("cpu")
    pipeline.train(
        space,
        dataset,
        "test",
        "population",
        [training(dataset, seed=s) for s in (0, 1)],
        lambda: runner,
        QUIET,
    )
    before = everything(space, but=("cache", "resume", "attempts"))
    grown = [training(dataset, seed=s) for s in (0, 1, 2)]
    assert ledger.missing(space, grown) == [grown[2]]
    pipeline.train(space, dataset, "test", "population", grown, lambda: runner, QUIET)
    after = everything(space, but=("cache", "resume", "attempts"))
    assert {name: after[name] for name in before} == before
    assert len(ledger.population(space)) == 3


@pytest.mark.parametrize(
    ("name", "accelerator"),
    [("", "cpu-core"), ("NVIDIA H100 80GB HBM3", "h100"), ("Some GPU of 2030", "rtx3090")],
)
def test_a_runner_is_told_what_trainings_take_on_its_device(
    tmp_path: Path, dataset: Dataset, name: str, accelerator: str
) -> None:
    """A GPU that nobody knows counts as the slowest one that is known."""
    told: dict[str, float] = {}

    class Noting(LocalRunner):
        device_name = name

        def train(self, space, trainings, costs, on_epoch, wholes):  # type: ignore[no-untyped-def]
            told.update(costs)
            super().train(space, trainings, costs, on_epoch, wholes)

    job, made = training(dataset, epochs=1), Noting("cpu")
    pipeline.train(workspace(tmp_path), dataset, "test", "population", [job], lambda: made, QUIET)
    seconds = training_seconds(job, dataset, ACCELERATORS[accelerator])
    assert told == {job.id: max(1e-3, seconds)}


def test_initial_weights_are_shared_by_seed(dataset: Dataset, tmp_path: Path) -> None:
    """Arms of a comparison start alike: architecture and seed decide the initial weights, treatment
    and recipe do not."""
    seeds = [keyed.key_seed(f"init/lenet5/{seed}") for seed in (0, 0, 1)]
    first = []
    for seed in seeds:
        torch.manual_seed(seed)
        first.append(
            next(models.build("lenet5", num_classes=3, in_channels=1, size=12).parameters())
            .detach()
            .clone()
        )
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    # With a learning rate too small to matter, two treatments end where they began: at the same
    # weights.
    space = workspace(tmp_path)
    jobs = [
        training(dataset, "softmax", lr=1e-30, optimizer="sgd", epochs=1, treatment=ops)
        for ops in ((), (op("subsample", fraction=0.5),), (op("label_noise", fraction=0.5),))
    ]
    for job in jobs:
        run_training(space, job, device=CPU)
    loaded = [
        checkpoint.load_classifier(space.files, c, CPU)[0]
        for c in ledger.classifiers_of(space, jobs).values()
    ]
    weights = [torch.cat([p.flatten() for p in network.parameters()]) for network in loaded]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_memory_pictures_know_their_unreadable_ones() -> None:
    """Asked for readable ones there is no mask; asked for others the mask follows the order
    asked."""
    pictures = MemoryPictures(Decoded(np.zeros((4, 2, 2, 1), dtype=np.uint8), {2: "gone"}))
    assert pictures.gather(np.array([0, 1]))[1] is None
    mask = pictures.gather(np.array([2, 0, 2]))[1]
    assert mask is not None
    assert mask.tolist() == [True, False, True]
