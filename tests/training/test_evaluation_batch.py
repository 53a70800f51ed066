"""Pictures are shown to networks in batches that memory allows, and it changes no result."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch
from factories import Tiny, training
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zoo import models
from zoo.fill.predict import ClassifierGroup
from zoo.spec import Preprocessing
from zoo.training import loop
from zoo.training.loop import EVALUATION_BATCH, evaluate, evaluation_batch
from zoo.trainsets.prepare import prepare

CPU = torch.device("cpu")
BUDGET = 1 << 30


class Live(TorchDispatchMode):
    """Bytes of the tensors that are alive at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                key = tensor.untyped_storage()._cdata
                if key not in self.alive:
                    self.alive[key] = tensor.untyped_storage().nbytes()
                    weakref.finalize(tensor, self.alive.pop, key, None)
        self.most = max(self.most, sum(self.alive.values()))
        return found


def activations(name: str, size: int, batch: int) -> int:
    """Bytes that a network's activations take at once, counted without computing any."""
    with torch.device("meta"), torch.inference_mode():
        network = models.build(name, num_classes=10, in_channels=3, size=size).eval()
        pictures = torch.empty(batch, 3, size, size)
        with Live() as live:
            network(pictures)
    return live.most


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, 32) for name in ("lenet5", "resnet20", "nin", "vgg_mini", "densenet_mini")),
        ("efficientnet_mini", 96),
        ("vgg16", 224),
        ("efficientnet_b0", 224),
        ("legacy_xception", 299),
    ],
)
def test_activations_stay_within_the_budget(name: str, size: int) -> None:
    """For small pictures with 256 at a time, for large ones with fewer."""
    batch = evaluation_batch(size, CPU)
    assert 0 < activations(name, size, batch) <= BUDGET
    assert (batch == 256) == (size <= 64)


def test_with_256_pictures_they_would_not() -> None:
    """The twin: VGG-16 at 224 pixels, in the fixed batch of before."""
    assert activations("vgg16", 224, 256) > 6 * BUDGET
    assert evaluation_batch(224, CPU) == 5


def test_a_batch_is_at_least_one_picture_and_larger_on_a_gpu() -> None:
    """128 MiB / (512 x 65 x 65) = 62 of more than 64 pixels on a CPU, as many as 1 GiB holds
    else."""
    assert evaluation_batch(10_000, CPU) == 1
    assert (evaluation_batch(64, CPU), evaluation_batch(65, CPU)) == (256, 62)
    assert evaluation_batch(1, CPU) == EVALUATION_BATCH == 256
    assert evaluation_batch(299, torch.device("cuda")) == 187


def in_batches_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "EVALUATION_BATCH", size)


@pytest.mark.parametrize("name", ["resnet8", "densenet_mini", "mlp"])
def test_answers_do_not_depend_on_the_batch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits of 30 pictures in batches of 1, of 7 and of all, to float rounding; batch
    normalisation among it. Twin: a network that normalises by the batch is found out."""
    torch.manual_seed(0)
    network = models.build(name, num_classes=10, in_channels=3, size=32).eval()
    batchwise = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3072, track_running_stats=False))
    given = Preprocessing(size=32, channels=3, fit="pad", mean=(0.5,) * 3, std=(0.2,) * 3)
    pictures = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    found = []
    for size in (1, 7, 256):
        in_batches_of(size, monkeypatch)
        group = ClassifierGroup(((network, given), (batchwise.eval(), given)), CPU)
        found.append(
            group.logits(pictures) if size > 1 else [group_alone(network, given, pictures)]
        )
    whole = found[-1]
    for some in found:
        np.testing.assert_allclose(some[0], whole[0], rtol=1e-4, atol=1e-5)
        assert (some[0].argmax(1) == whole[0].argmax(1)).all()
    assert not np.allclose(found[1][1], whole[1], rtol=1e-4, atol=1e-5)


def group_alone(
    network: nn.Module, given: Preprocessing, pictures: np.ndarray[Any, np.dtype[np.uint8]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    return ClassifierGroup(((network, given),), CPU).logits(pictures)[0]


def test_evaluation_does_not_depend_on_the_batch(
    trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accuracies are equal, the loss to rounding."""
    job = training(trained.dataset, "softmax")
    data = prepare(trained.workspace, job)
    torch.manual_seed(1)
    network = models.build("softmax", num_classes=3, in_channels=1, size=12)
    found = []
    for size in (1, 7, 256):
        in_batches_of(size, monkeypatch)
        found.append(evaluate(network, data, job.recipe, 1, CPU))
    for metrics in found:
        assert (metrics["acc1"], metrics["acc5"]) == (found[-1]["acc1"], found[-1]["acc5"])
        assert metrics["loss"] == pytest.approx(found[-1]["loss"], rel=1e-5)
