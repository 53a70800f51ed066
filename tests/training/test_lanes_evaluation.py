"""Networks in the lanes of a register answer what torch answers for each of them, whoever is
beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from zoo import models

pytest.importorskip("numba", reason="numba (the extra 'fast') is not installed")

from zoo.training.lanes.evaluation import Evaluation, Weights, laid
from zoo.training.lanes.graph import Unsupported, describe
from zoo.training.lanes.vectors import LANES

SIDE, CHANNELS, CLASSES, PICTURES = 12, 2, 5, 7  # one whole block of four pictures, and three more
ARCHS = [m.name for m in models.MODELS.values() if not m.build.startswith("timm:")]


class Odd(nn.Module):
    """What the table's networks do not have: layers other than convolutions on the picture, groups,
    a normalisation that follows no convolution, overlapping and padded pools, an addition of a
    value to itself, a ReLU before a pool, sigmoid after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.BatchNorm2d(CHANNELS)
        self.alone = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)
        self.grouped = nn.Conv2d(CHANNELS, 8, 3, padding=1, groups=2)
        self.wide = nn.Conv2d(8, 7, 3, padding=1)
        self.most = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.padded = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.dense = nn.Linear(7 * 3 * 3, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.alone(x) + self.first(x)
        x = torch.sigmoid(self.grouped(x))
        x = x + x
        x = functional.relu(self.wide(x))
        return self.dense(self.padded(self.most(self.most(x))).flatten(1))


def networks(arch: str, count: int = 3) -> list[nn.Module]:
    """In evaluation mode, each with weights and statistics of its own."""
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        network = (
            Odd()
            if arch == "odd"
            else models.build(arch, num_classes=CLASSES, in_channels=CHANNELS, size=SIDE)
        )
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
        found.append(network.eval())
    return found


def state(network: nn.Module) -> dict[str, NDArray[Any]]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def program_for(network: nn.Module) -> Evaluation:
    described = describe(network, CHANNELS, SIDE, evaluated=True)
    return Evaluation(described, {name: v.shape for name, v in state(network).items()})


def pictures(count: int = PICTURES) -> torch.Tensor:
    return torch.randn(count, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def in_lanes(
    program: Evaluation, placed: dict[int, nn.Module], shown: torch.Tensor
) -> NDArray[np.float32]:
    """float32 [LANES, n, M], networks by lane."""
    weights = Weights(program)
    for lane, network in placed.items():
        weights.put(lane, state(network))
    found: NDArray[np.float32] = program.logits(weights, laid(shown.numpy()), len(shown))
    return found


@torch.no_grad()
def exact(network: nn.Module, shown: torch.Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = network.double()(shown.double()).numpy()
    network.float()
    return found


@pytest.mark.parametrize("arch", [*ARCHS, "odd"])
def test_logits_are_those_of_torch_to_rounding(arch: str) -> None:
    """Within 5e-6 of the largest logit of float64. Twin: of another network's they are not."""
    alone, shown = networks(arch), pictures()
    found = in_lanes(program_for(alone[0]), dict(enumerate(alone)), shown)
    for lane, network in enumerate(alone):
        expected = exact(network, shown)
        largest = np.abs(expected).max()
        assert np.abs(found[lane] - expected).max() < 5e-6 * largest
        assert np.abs(found[lane - 1] - expected).max() > 1e-3 * largest


@pytest.mark.parametrize("arch", ["lenet5", "resnet8", "mobilenet_mini"])
def test_logits_do_not_depend_on_lane_company_or_number_of_pictures(arch: str) -> None:
    """One network alone in the first lane, in the last beside others, beside one that is all NaN,
    and on more pictures: the same bits."""
    one, other, broken = networks(arch)
    with torch.no_grad():
        for parameter in broken.parameters():
            parameter.fill_(torch.nan)
    program, shown = program_for(one), pictures(70)
    alone = in_lanes(program, {0: one}, shown)[0]
    beside = in_lanes(program, {0: broken, 1: other, LANES - 1: one}, shown)
    np.testing.assert_array_equal(beside[LANES - 1], alone)
    assert np.isnan(beside[0]).all()
    assert np.isfinite(beside[1]).all()
    few = in_lanes(program, {2: one}, shown[5:8])[2]
    np.testing.assert_array_equal(few, alone[5:8])


def test_what_has_no_kernel_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(CHANNELS, 3, 3), nn.GELU(), nn.Flatten())
    with pytest.raises(Unsupported, match="GELU"):
        describe(network, CHANNELS, SIDE, evaluated=True)


def test_drop_out_and_thinned_maps_are_for_evaluation_alone() -> None:
    """A network with drop-out, and ResNet-8's shortcuts, have no kernels in training."""
    for arch, reason in (("nin", "Dropout"), ("resnet8", "every 2. row and column")):
        network = models.build(arch, num_classes=CLASSES, in_channels=CHANNELS, size=SIDE)
        describe(network, CHANNELS, SIDE, evaluated=True)
        with pytest.raises(Unsupported, match=reason):
            describe(network, CHANNELS, SIDE)
