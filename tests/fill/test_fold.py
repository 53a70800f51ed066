"""Normalisations folded into convolutions: by hand, every network against itself, and what has to
stay as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from zoo import models
from zoo.fill.fold import fold, for_answers, keep_exact
from zoo.fill.predict import ClassifierGroup
from zoo.spec import Preprocessing
from zoo.training.checkpoint import _Columns

CPU = torch.device("cpu")


def lived(network: nn.Module) -> nn.Module:
    """A network in evaluation mode whose normalisations are not those of a new one."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                module.weight.data.uniform_(0.5, 2)
                module.bias.data.normal_(0, 0.3)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_folded_convolution_by_hand() -> None:
    """Convolution 2 x + 1; mean 3, variance 4, weight 6, bias 5: 6 (2 x + 1 - 3) / 2 + 5 = 6 x -
    1."""
    convolution, norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.0)
    for parameter, value in (
        (convolution.weight, 2.0),
        (convolution.bias, 1.0),
        (norm.weight, 6.0),
        (norm.bias, 5.0),
        (norm.running_mean, 3.0),
        (norm.running_var, 4.0),
    ):
        assert parameter is not None
        parameter.data.fill_(value)
    network = nn.Sequential(convolution, norm).eval()
    assert fold(network) == 1
    folded, rest = network
    assert isinstance(folded, nn.Conv2d)
    assert isinstance(rest, nn.Identity)
    assert folded.bias is not None
    assert (folded.weight.item(), folded.bias.item()) == (6.0, -1.0)
    with torch.inference_mode():
        assert network(torch.full((1, 1, 1, 1), 0.5)).item() == 2.0


# side, normalisations, and how many of them stay: densenets normalise what several layers wrote
NETWORKS = {
    "resnet8": (32, 7, 0),
    "resnet20": (32, 19, 0),
    "nin_mini": (32, 5, 0),
    "vgg_mini": (32, 4, 0),
    "resnet_mini": (32, 12, 0),
    "inception_mini": (32, 9, 0),
    "xception_mini": (32, 7, 0),
    "densenet_mini": (32, 9, 8),
    "efficientnet_mini": (32, 12, 0),
    "mobilenet_mini": (32, 12, 0),
    "resnet50": (64, 53, 0),
    "efficientnet_b0": (64, 49, 0),
    "densenet121": (64, 121, 62),
    "xception": (96, 40, 0),
    "lenet5": (32, 0, 0),
}


@pytest.mark.parametrize("arch", NETWORKS)
def test_a_network_answers_as_before(arch: str) -> None:
    """Logits of the folded network, channels-last, in float64: within 1e-10 of the largest."""
    side, count, left = NETWORKS[arch]
    torch.manual_seed(0)
    network = lived(models.build(arch, num_classes=10, in_channels=3, size=side)).double()
    assert norms(network) == count
    folded = for_answers(copy.deepcopy(network), channels_last=True)
    assert norms(folded) == left
    x = torch.randn(3, 3, side, side, dtype=torch.float64)
    with torch.inference_mode():
        before = network(x)
        after = folded(x.contiguous(memory_format=torch.channels_last))
    assert float((after - before).abs().max() / before.abs().max()) < 1e-10


def test_a_convolution_of_timm_that_pads_by_the_picture() -> None:
    """EfficientNet-lite0 of TensorFlow: paddings follow from the pictures' size, which torch cannot
    follow; its convolutions are not entered."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    made = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=7)
    network = lived(made).double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        before = network(x)
        assert fold(network) == 49
        after = network(x)
    assert norms(network) == 0
    assert float((after - before).abs().max() / before.abs().max()) < 1e-10


class Branch(nn.Module):
    """Reads what the convolution wrote a second time."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        z = self.a(x)
        found: Tensor = self.n(z) + z
        return found


class Twice(nn.Module):
    """Calls its convolution twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.n(self.a(self.a(x)))
        return found


class Shared(nn.Module):
    """Uses one normalisation for two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.n = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.n(self.a(x)) + self.n(self.b(x))
        return found


class Standardised(nn.Conv2d):
    """Computes its weights from its parameters."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias)


class Odd(nn.Module):
    """Asks the pictures which way to go: nothing that torch can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.n(self.a(x if x.sum() > 0 else -x))
        return found


def by_the_batch() -> nn.Module:
    """A normalisation that goes by the pictures it is shown, as in training."""
    network = lived(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    network[1].train()  # type: ignore[index]
    return network


@pytest.mark.parametrize(
    "make",
    [
        Branch,
        Twice,
        Shared,
        Odd,
        by_the_batch,
        lambda: nn.Sequential(Standardised(3, 4, 3), nn.BatchNorm2d(4)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
    ],
)
def test_what_cannot_be_folded_stays(make: Callable[[], nn.Module]) -> None:
    """Not a bit of its answers changes."""
    network = make() if make is by_the_batch else lived(make())
    x = torch.randn(4, 3, 8, 8)
    with torch.inference_mode():
        before = network(x)
        assert fold(network) == 0
        assert torch.equal(network(x), before)


@pytest.mark.parametrize(
    ("arch", "has"), [("lenet5", True), ("resnet20", True), ("mlp", True), ("nin_mini", False)]
)
def test_a_linear_last_layer_keeps_float32_under_autocast(arch: str, has: bool) -> None:
    """Its logits are float32 then, no two of them equal for being rounded, and what comes before it
    is in bf16 all the same; a network that ends otherwise stays as it is."""
    torch.manual_seed(0)
    network = models.build(arch, num_classes=10, in_channels=3, size=32).eval()
    x = torch.randn(4, 3, 32, 32)
    with torch.inference_mode():
        exact = network(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = network(x)
            assert keep_exact(network) == has
            after = network(x)
    assert rounded.dtype == torch.bfloat16
    assert after.dtype == (torch.float32 if has else torch.bfloat16)
    assert 0 < float((after - exact).abs().max()) < float(exact.abs().max()) / 20
    with torch.inference_mode():
        assert torch.equal(network(x), exact)


def test_logits_in_float32_of_a_network_that_torch_cannot_follow() -> None:
    """VGG-16 of timm asks its maps for their size; and pretrained weights of which some outputs are
    chosen end with that choice."""
    torch.manual_seed(0)
    vgg = models.build("vgg16", num_classes=10, in_channels=3, size=64).eval()
    lenet = models.build("lenet5", num_classes=3, in_channels=3, size=32).eval()
    for network, side in ((vgg, 64), (nn.Sequential(lenet, _Columns([2, 0])), 32)):
        assert keep_exact(network)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(torch.randn(1, 3, side, side)).dtype == torch.float32


def test_a_group_folds_who_answers_alone() -> None:
    """Sixteen in lanes and one that is not: the last one alone has lost its normalisations, and
    every one answers as it did."""
    pytest.importorskip("numba")
    shown = Preprocessing(size=32, channels=3, fit="pad", mean=(0.5,) * 3, std=(0.25,) * 3)
    members = []
    for seed in range(17):
        torch.manual_seed(seed)
        made = models.build("resnet_mini", num_classes=10, in_channels=3, size=32)
        members.append((lived(made), shown))
    images = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8).numpy()
    plain = ClassifierGroup(tuple((copy.deepcopy(net), at) for net, at in members), CPU)
    before = plain.logits(images)
    group = ClassifierGroup(tuple(members), CPU).in_lanes([range(16)], wanted=True).folded()
    assert [norms(network) for network, _ in group.members] == [12] * 16 + [0]
    for old, new in zip(before, group.logits(images), strict=True):
        assert abs(new - old).max() / abs(old).max() < 1e-5
