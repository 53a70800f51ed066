"""Trainings on random parts of pictures of any size, and what their networks are shown
afterwards."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import training, workspace
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as reference

from zoo.data import Dataset, open_dataset
from zoo.data.decode import decode_examples
from zoo.errors import UsageError
from zoo.training import checkpoint
from zoo.training.run import run_training
from zoo.trainsets.crops import DRAWS, crop_boxes
from zoo.trainsets.inputs import geometry
from zoo.trainsets.prepare import prepare
from zoo.trainsets.treatments import op

CPU = torch.device("cpu")


def picture(height: int, width: int, seed: int) -> Image.Image:
    """A smooth picture: a few random colours, enlarged."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two classes of pictures of several sizes and shapes, as an ImageFolder: 8 to train and 4 to
    test of each."""
    sizes = [(60, 100), (90, 70), (64, 64), (50, 130)]
    for split, count in (("train", 8), ("test", 4)):
        for label in (0, 1):
            folder = tmp_path / "pictures" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                buffer = io.BytesIO()
                picture(*sizes[i % 4], seed=100 * label + i).save(buffer, "PNG")
                (folder / f"{i}.png").write_bytes(buffer.getvalue())
    return open_dataset(str(tmp_path / "pictures"))


def original(dataset: Dataset, split: str, example_id: int) -> Image.Image:
    return Image.open(
        io.BytesIO(dataset.splits[split].source.encoded(np.array([example_id]))[0])
    ).convert("RGB")  # type: ignore[union-attr]


def test_the_test_view_is_the_middle_without_distortion(dataset: Dataset) -> None:
    """Shorter side to 256 / 224 of the input, the middle of it: torchvision's Resize and
    CenterCrop, to a few grey levels; squashing is far off."""
    ids = np.arange(4)
    crop = decode_examples(
        dataset.splits["test"], ids, size=56, channels=3, fit="crop"
    ).images.astype(int)
    squashed = decode_examples(
        dataset.splits["test"], ids, size=56, channels=3, fit="resize"
    ).images.astype(int)
    view = transforms.Compose([transforms.Resize(64), transforms.CenterCrop(56)])
    expected = np.stack([np.asarray(view(original(dataset, "test", i))) for i in ids]).astype(int)
    assert np.abs(crop - expected).mean() < 2
    assert np.abs(squashed - expected).mean() > 10


def test_a_region_is_cut_out_of_the_picture_in_its_own_size(dataset: Dataset) -> None:
    """Equal to torchvision's ``resized_crop`` of the same box, pixel by pixel."""
    boxes = {0: (10, 5, 70, 50), 1: (0, 0, 70, 90)}
    asked: list[tuple[int, int, int]] = []

    def region(position: int, height: int, width: int) -> tuple[int, int, int, int]:
        asked.append((position, height, width))
        return boxes[position]

    found = decode_examples(
        dataset.splits["train"], np.array([0, 1]), size=32, channels=3, fit="crop", region=region
    )
    assert asked == [(0, 60, 100), (1, 90, 70)]
    for position, (left, top, right, bottom) in boxes.items():
        expected = reference.resized_crop(
            original(dataset, "train", position), top, left, bottom - top, right - left, [32, 32]
        )
        np.testing.assert_array_equal(found.images[position], np.asarray(expected))


@pytest.mark.parametrize(("height", "width"), [(60, 100), (224, 224), (20, 200)])
def test_boxes_are_those_of_the_standard_recipe(height: int, width: int) -> None:
    """Area, aspect and place of 4,000 boxes against torchvision's own; one picture is so long that
    the fallback is met."""
    torch.manual_seed(0)
    theirs = np.array(
        [
            transforms.RandomResizedCrop.get_params(
                torch.zeros(1, height, width), [0.08, 1.0], [3 / 4, 4 / 3]
            )  # type: ignore[list-item]
            for _ in range(4000)
        ]
    )
    boxes = crop_boxes(np.random.default_rng(0).random((4000, DRAWS)), height, width)
    ours = np.stack(
        (boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]), axis=1
    )
    at = np.linspace(0.05, 0.95, 10)
    scale = [height, width, height, width]
    for column in range(4):
        gap = (
            np.abs(np.quantile(ours[:, column], at) - np.quantile(theirs[:, column], at))
            / scale[column]
        )
        assert gap.max() < 0.05
    if width == 200:
        fallback = (
            (ours == [0, 86, 20, 27]).all(axis=1).mean(),
            (theirs == [0, 86, 20, 27]).all(axis=1).mean(),
        )
        assert fallback[0] == pytest.approx(fallback[1], abs=0.03)
        assert fallback[0] > 0.1


def test_a_training_sees_other_parts_in_every_epoch_and_seed(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Keyed by seed, epoch and row: asked in another order the same pictures come; the pictures to
    evaluate on stay."""
    job = training(dataset, "softmax", augment="resized_crop_flip", input_size=32)
    data = prepare(workspace(tmp_path), job)
    assert (data.preprocessing.fit, data.cropped, len(data.rows)) == ("crop", True, 16)
    everyone = np.arange(16)
    first = data.augmented_at(1, 0).gather(everyone)[0]
    np.testing.assert_array_equal(
        data.augmented_at(1, 0).gather(everyone[::-1].copy())[0][::-1], first
    )
    for epoch, seed in ((2, 0), (1, 1)):
        assert (data.augmented_at(epoch, seed).gather(everyone)[0] != first).any(
            axis=(1, 2, 3)
        ).mean() > 0.9
    np.testing.assert_array_equal(
        data.train_at(1).gather(everyone)[0], data.train_at(2).gather(everyone)[0]
    )
    flat = prepare(workspace(tmp_path), training(dataset, "softmax", augment="flip", input_size=32))
    assert (flat.preprocessing.fit, flat.cropped) == ("resize", False)
    assert flat.augmented_at(1, 0) is flat.train


def test_what_a_network_was_trained_on_decides_what_it_is_shown(
    tmp_path: Path, dataset: Dataset
) -> None:
    """The checkpoint's preprocessing says ``crop``, so a fill decodes the middle of each picture.
    Small pictures stay whole."""
    space, job = (
        workspace(tmp_path),
        training(dataset, "lenet5", augment="resized_crop_flip", input_size=32),
    )
    assert run_training(space, job, device=CPU).status == "done"
    (commit,) = space.commits.all("checkpoint").values()
    assert checkpoint.load_classifier(space.files, commit, CPU)[1].fit == "crop"
    assert geometry(open_dataset("fashion-mini"), "lenet5", None, "resized_crop_flip").fit == "pad"


def test_pictures_cannot_be_damaged_and_cut_as_they_are_read(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Noise belongs to a picture, not to a part of it: refused, with the augmentations that go;
    treatments of rows are fine."""
    space = workspace(tmp_path)
    noisy = training(
        dataset,
        "softmax",
        augment="resized_crop_flip",
        input_size=32,
        treatment=(op("gaussian_noise", sigma=8),),
    )
    with pytest.raises(
        UsageError,
        match=(
            r"gaussian_noise.*augment=resized_crop_flip.*no whole picture to treat.*augment=flip or"
            r" crop_flip"
        ),
    ):
        prepare(space, noisy)
    half = noisy.replace(treatment=(op("subsample", fraction=0.5),))
    assert len(prepare(space, half).rows) == 8
