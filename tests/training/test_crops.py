"""The random resized crop against its definition, and batches that lose unreadable pictures."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import zoo.training.loop
import zoo.training.run
from zoo.spec import DatasetRef, Preprocessing, Recipe, Training
from zoo.training.loop import evaluate, fit
from zoo.training.run import optimizer_of
from zoo.training.tensors import resized_crop
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData

CPU = torch.device("cpu")


def places(
    side: int, n: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(left, top, width, height) of n crops of a side x side picture that shows its own
    coordinates, in steps of 4 grey levels."""
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    picture = np.stack((4 * x, 4 * y, 0 * x), axis=2).astype(np.uint8)
    torch.manual_seed(seed)
    made = (
        resized_crop(torch.from_numpy(np.tile(picture[None], (n, 1, 1, 1)))).numpy().astype(float)
        / 4
    )
    left, top = np.rint(made[..., 0].min((1, 2))), np.rint(made[..., 1].min((1, 2)))
    return (
        left,
        top,
        np.rint(made[..., 0].max((1, 2))) - left + 1,
        np.rint(made[..., 1].max((1, 2))) - top + 1,
    )


def reference(side: int, n: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """(width, height) of the standard recipe, one picture at a time: up to ten draws of area and
    log-uniform aspect; the first that fits."""
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(n):
        for _ in range(10):
            area, aspect = (
                side * side * rng.uniform(0.08, 1),
                np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3))),
            )
            wide, high = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if 0 < wide <= side and 0 < high <= side:
                sides.append((wide, high))
                break
        else:
            sides.append((side, side))
    return tuple(np.array(sides).T)  # type: ignore[return-value]


def test_the_crops_are_those_of_the_standard_recipe() -> None:
    """8,000 crops of a 60-pixel picture: mean share of the area 0.480 (torchvision's, 40,000 draws
    of 224), and quantiles of area and aspect as a plain reference draws them. Stretching the ends
    (14 % of crops cut at the picture's side) gave 0.534."""
    left, top, wide, high = places(60, 8000)
    expected_wide, expected_high = reference(60, 8000)
    area, expected_area = wide * high / 3600, expected_wide * expected_high / 3600
    assert area.mean() == pytest.approx(0.480, abs=0.012)
    at = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(np.quantile(area, at), np.quantile(expected_area, at), atol=0.03)
    np.testing.assert_allclose(
        np.quantile(wide / high, at), np.quantile(expected_wide / expected_high, at), atol=0.04
    )
    assert (left >= 0).all()
    assert (left + wide <= 60).all()
    assert (top + high <= 60).all()
    # Placed uniformly in the room there is: the mean of left / room is a half, and both ends occur.
    room = 60 - wide
    assert (left[room > 0] / room[room > 0]).mean() == pytest.approx(0.5, abs=0.02)
    assert (left[room > 0] == 0).any()
    assert (left == room)[room > 0].any()


def test_a_crop_is_cut_out_first_and_scaled_then() -> None:
    """Each result is, to rounding, one rectangle of its picture enlarged bilinearly by torch
    itself; nothing beside the rectangle is seen."""
    raw = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    torch.manual_seed(2)
    made = resized_crop(raw).float()
    for picture, result in zip(raw, made, strict=True):
        gaps = []
        for wide, high in itertools.product(range(2, 9), repeat=2):
            for left, top in itertools.product(range(9 - wide), range(9 - high)):
                cut = picture[top : top + high, left : left + wide].permute(2, 0, 1)[None].float()
                scaled = functional.interpolate(
                    cut, size=(8, 8), mode="bilinear", align_corners=False
                )
                gaps.append(float((scaled[0].permute(1, 2, 0) - result).abs().max()))
        assert min(gaps) <= 0.501
        assert np.median(gaps) > 50


# ---------------------------------------------------------------- pictures that cannot be read


class Streamed:
    """Pictures that turn out unreadable as they are asked for: zeros, and a mask."""

    streamed = True

    def __init__(self, images: np.ndarray, unreadable: list[bool]) -> None:  # type: ignore[type-arg]
        self.images, self.mask = (
            np.where(np.array(unreadable)[:, None, None, None], np.uint8(0), images),
            np.array(unreadable),
        )

    def gather(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:  # type: ignore[type-arg]
        mask = self.mask[positions]
        return self.images[positions], mask if mask.any() else None


def data_of(images: np.ndarray, labels: list[int], unreadable: list[bool]) -> TrainingData:  # type: ignore[type-arg]
    n = len(labels)
    rows = Rows(np.arange(n), np.array(labels), np.ones(n, dtype=np.float32), 3)
    shape = Preprocessing(size=4, channels=1, fit="pad", mean=(0.0,), std=(1.0,))
    pictures = Streamed(images, unreadable)
    return TrainingData(
        rows, pictures, pictures, np.array(labels), shape, ("a", "b", "c"), np.array(labels), {}
    )


def fitted(data: TrainingData, **recipe: object) -> tuple[nn.Module, zoo.training.loop.Metrics]:
    """A small network with batch normalisation after one epoch in one batch."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    settings = {"optimizer": "sgd", "lr": 0.1, "epochs": 1, "batch_size": 100} | recipe
    job = Training(
        arch="softmax",
        dataset=DatasetRef(uri="none", fingerprint="none"),
        recipe=Recipe(**settings),
    )  # type: ignore[arg-type]
    ((_, metrics, _),) = fit(model, optimizer_of(model, job.recipe), data, job, device=CPU)
    return model, metrics


IMAGES = np.random.default_rng(0).integers(100, 256, (6, 4, 4, 1), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]


def test_an_unreadable_picture_does_not_pass_through_batch_normalisation() -> None:
    """Two of six cannot be read: the running mean and variance, and all weights, are those of a
    training on the other four."""
    bad = [False, True, False, False, True, False]
    kept = [i for i, unreadable in enumerate(bad) if not unreadable]
    with_gaps, metrics = fitted(data_of(IMAGES, LABELS, bad))
    without, expected = fitted(data_of(IMAGES[kept], [LABELS[i] for i in kept], [False] * 4))
    assert metrics["acc1"] == expected["acc1"]
    for (name, ours), theirs in zip(
        with_gaps.state_dict().items(), without.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6, msg=name)


def test_a_batch_of_which_one_picture_is_left_is_not_trained_on() -> None:
    """Batch normalisation needs two rows: with one or none readable the weights and statistics
    stay, momentum too, and there is no loss."""
    torch.manual_seed(0)
    untouched = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)
    ).state_dict()
    for readable in (0, 1):
        model, metrics = fitted(data_of(IMAGES, LABELS, [i >= readable for i in range(6)]))
        assert (metrics["acc1"], metrics["loss"]) == (None, None)
        assert all(
            torch.equal(value, untouched[name]) for name, value in model.state_dict().items()
        )


def test_an_unreadable_picture_has_no_part_in_an_evaluation() -> None:
    """Of six test pictures, found unreadable only now, two drop out: accuracy and loss are those of
    the other four."""
    bad = [False, True, False, False, True, False]
    data = data_of(IMAGES, LABELS, bad)
    model, _ = fitted(data)
    kept = [i for i, unreadable in enumerate(bad) if not unreadable]
    found = evaluate(model, data, Recipe(), 1, CPU)
    alone = evaluate(
        model, data_of(IMAGES[kept], [LABELS[i] for i in kept], [False] * 4), Recipe(), 1, CPU
    )
    assert (found["acc1"], found["loss"]) == (alone["acc1"], pytest.approx(alone["loss"]))
    nothing = replace(data, test=Streamed(IMAGES, [True] * 6))
    assert evaluate(model, nothing, Recipe(), 1, CPU)["acc1"] is None


def test_a_bf16_training_is_evaluated_in_float32() -> None:
    """Logits 1 + 2^-10 and 1 differ in float32 and tie in bfloat16, where the lower class would
    win: class 1 is right, and so it is counted."""

    class Close(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(1, 2, bias=False)
            self.head.weight.data = torch.tensor([[1.0], [1.0 + 2.0**-10]])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.ones(len(x), 1))

    data = data_of(IMAGES, [1] * 6, [False] * 6)
    found = evaluate(Close(), data, Recipe(precision="bf16"), 1, CPU)
    assert found["acc1"] == 1.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Close()(torch.zeros(1, 1)).argmax() == 0


def test_on_a_gpu_the_arithmetic_is_fixed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No TF32, no cuDNN that tries kernels, deterministic algorithms where there are some, and a
    record of it; a CPU has nothing to choose."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags], torch.backends.cudnn.benchmark
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        assert zoo.training.run.settle(CPU) == {}
        assert not torch.are_deterministic_algorithms_enabled()
        for flag in flags:
            flag.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        said = zoo.training.run.settle(torch.device("cuda"))
        assert (said["device"], said["tf32"], said["algorithms"]) == (
            "a GPU",
            "off",
            "deterministic",
        )
        assert not any(flag.allow_tf32 for flag in flags)
        assert not torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        for flag, value in zip(flags, before[0], strict=True):
            flag.allow_tf32 = value
        torch.backends.cudnn.benchmark = before[1]
