"""Many networks in the lanes of a register compute what torch computes for each of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from zoo import models
from zoo.training import trainers

pytest.importorskip("numba", reason="numba (the extra 'fast') is not installed")

from zoo.training.lanes.graph import Unsupported, describe
from zoo.training.lanes.program import Program, Rule
from zoo.training.lanes.vectors import LANES
from zoo.training.rule import LANES_EACH

IMAGES = 7  # one whole block of four images, and one that is not full
NETWORKS = 3


class Odd(nn.Module):
    """What the table's networks do not have: groups, a bias beside them, overlapping and padded
    pools, pools that hang over, ReLU6 and sigmoid by themselves, one value used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(2, 8, 3, stride=2, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.most = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.mean = nn.AvgPool2d(2, stride=2, ceil_mode=True)
        self.padded = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.six = nn.ReLU6()
        self.bent = nn.Sigmoid()
        self.dense = nn.Linear(16 * 2 * 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.padded(self.six(self.norm(self.grouped(x))))
        x = self.mean(self.most(x))
        left, right = x.chunk(2, dim=1)
        x = torch.cat([self.bent(left), right, left + right, left], dim=1)
        return self.dense(x.flatten(1))


class One(nn.Module):
    """A convolution between others, then the largest of 2 x 2 where there are so many."""

    def __init__(self, convolution: nn.Conv2d, channels: int, size: int, *, first: bool) -> None:
        super().__init__()
        self.before = nn.Identity() if first else nn.Conv2d(channels, convolution.in_channels, 1)
        self.convolution = convolution
        side = convolution(torch.zeros(1, convolution.in_channels, size, size)).shape[-1]
        self.most = nn.MaxPool2d(2, stride=2) if side > 1 else nn.Identity()
        self.dense = nn.Linear(convolution.out_channels * (side // 2 if side > 1 else 1) ** 2, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.most(self.convolution(self.before(x))).flatten(1))


def named(arch: str, channels: int, size: int) -> nn.Module:
    if arch == "odd":
        return Odd()
    return models.build(arch, num_classes=5, in_channels=channels, size=size)


def steps(
    arch: str | Callable[[], nn.Module],
    rule: Rule,
    *,
    told: Rule | None = None,
    count: int = 2,
    channels: int = 2,
    size: int = 12,
    lanes: int = 1,
    most: int = IMAGES,
) -> tuple[float, float]:
    """Largest differences (of losses, of weights and statistics) from torch after some steps in
    float64, every network with pictures, labels, weights, a rate and a size of batch of its own.

    Args:
        told: what the lanes are told instead of ``rule``.
        lanes: of a network.
        most: images of the largest batch.
    """
    alone, networks = [], min(NETWORKS, LANES // lanes)
    for seed in range(networks):
        torch.manual_seed(seed)
        made = named(arch, channels, size) if isinstance(arch, str) else arch()
        alone.append(made.double())
    program = Program(
        describe(copy.deepcopy(alone[0]).float(), channels, size),
        {name: tuple(p.shape) for name, p in alone[0].named_parameters()},
        told or rule,
        images=-(-most // lanes),
        each=lanes,
        dtype=np.float64,
    )
    for number, network in enumerate(alone):
        program.put(number, {name: t.numpy() for name, t in network.state_dict().items()})
    rates = 0.01 * (1 + np.arange(LANES) // lanes)
    how = {"weight_decay": rule.weight_decay}
    kinds = {
        "sgd": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=rule.momentum, **how),
        "adam": lambda p, lr: torch.optim.Adam(p, lr=lr, **how),
        "adamw": lambda p, lr: torch.optim.AdamW(p, lr=lr, **how),
    }
    optimizers = [
        kinds[rule.optimizer](network.parameters(), rates[number * lanes])
        for number, network in enumerate(alone)
    ]
    random = np.random.default_rng(0)
    mean, scale = np.zeros((2, channels, LANES))
    for numbers, low, high in ((mean, 90, 130), (scale, 0.01, 0.02)):
        drawn = random.uniform(low, high, (channels, networks))
        numbers[:, : networks * lanes] = drawn.repeat(lanes, axis=1)
    of_losses = of_weights = 0.0
    for number in range(count):
        images = most - number  # a full batch, then a shorter one; networks have fewer of it
        counts = np.array([images, images - 1, images - 4])[:networks]
        raw = random.integers(0, 256, (networks, images, size * size, channels), dtype=np.uint8)
        labels = random.integers(0, 5, (images, networks))
        weights = random.uniform(0.5, 2, (images, networks))
        losses, hits = step_of(program, raw, labels, weights, counts, mean, scale, rates)
        for lane, (network, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            own = counts[lane]
            shift, factor = mean[:, lane * lanes], scale[:, lane * lanes]
            x = (raw[lane, :own].astype(np.float64) - shift) * factor
            logits = network(
                torch.from_numpy(x.reshape(own, size, size, channels).transpose(0, 3, 1, 2).copy())
            )
            y = torch.from_numpy(labels[:own, lane].copy())
            each = functional.cross_entropy(
                logits, y, reduction="none", label_smoothing=rule.label_smoothing
            )
            loss = (each * torch.from_numpy(weights[:own, lane].copy())).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            of_losses = max(of_losses, abs(float(loss.detach()) - losses[lane]))
            assert hits[lane].tolist() == [int((logits.argmax(1) == y).sum()), own]
    for number, network in enumerate(alone):
        found = program.get(number)
        in_lanes = program.weights.reshape(-1, LANES)[:, program.lanes(number)]
        assert (in_lanes == in_lanes[:, :1]).all()
        for name, tensor in network.state_dict().items():
            if name in found:
                of_weights = max(of_weights, float(np.abs(tensor.numpy() - found[name]).max()))
    return of_losses, of_weights


def step_of(
    program: Program,
    raw: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    rates: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A step, every network's images dealt to its lanes in turn; losses and hits by network."""
    each = program.each
    used, most = len(counts) * each, -(-raw.shape[1] // each)
    dealt = np.zeros((LANES, most, *raw.shape[2:]), dtype=np.uint8)
    own_labels, own_weights = np.zeros((most, used), dtype=np.int64), np.zeros((most, used))
    own_counts = np.zeros(used, dtype=np.int64)
    for lane in range(used):
        network = lane // each
        images = np.arange(counts[network])[lane % each :: each]
        own_counts[lane] = len(images)
        dealt[lane, : len(images)] = raw[network, images]
        own_labels[: len(images), lane] = labels[images, network]
        own_weights[: len(images), lane] = weights[images, network]
    losses, hits = np.zeros(used), np.zeros((used, 2), dtype=np.int64)
    program.step(dealt, mean, scale, own_labels, own_weights, own_counts, rates, losses, hits)
    return losses.reshape(-1, each).sum(1), hits.reshape(-1, each, 2).sum(1)


SGD = Rule("sgd", 0.9, 1e-3, 0.1)


@pytest.mark.parametrize("arch", ["odd", "mlp", *trainers.FASTER])
def test_two_steps_are_torchs_in_double_precision(arch: str) -> None:
    """Losses, weights and running statistics within 1e-12, for every architecture that lanes are
    chosen for, with a short batch, weights of examples, smoothing, momentum and decay."""
    of_losses, of_weights = steps(arch, SGD)
    assert of_losses < 1e-12
    assert of_weights < 1e-12


@pytest.mark.parametrize("lanes", [each for each in LANES_EACH if 1 < each <= LANES])
@pytest.mark.parametrize("arch", ["odd", "mobilenet_mini", "lenet5"])
def test_lanes_that_share_out_a_batch_are_torchs(arch: str, lanes: int) -> None:
    """2, 4, 8 and 16 lanes of a network, batches of 19 to 14 images: so unlike numbers by lane, and
    lanes with none. Statistics, gradients and losses are those of the whole batch, within 1e-12;
    weights are the same bits in all lanes."""
    of_losses, of_weights = steps(arch, SGD, lanes=lanes, most=19)
    assert of_losses < 1e-12
    assert of_weights < 1e-12


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "pad", "groups", "size"),
    [
        (1, 6, 5, 1, 2, 1, 12),  # the first of LeNet-5
        (6, 16, 5, 1, 0, 1, 14),  # its second
        (1, 9, 3, 1, 1, 1, 7),
        (1, 8, 5, 2, 2, 1, 11),
        (1, 7, 3, 3, 1, 1, 10),
        (1, 2, 5, 1, 0, 1, 5),  # one output
        (1, 5, 5, 1, 2, 1, 3),  # larger than the picture: no output sees by all taps
        (1, 3, 3, 2, 2, 1, 4),
        (1, 4, 7, 1, 3, 1, 9),
        (3, 11, 3, 1, 1, 1, 8),
        (5, 8, 5, 1, 4, 1, 6),
        (40, 7, 5, 2, 2, 1, 9),  # the weights of one row of taps are more than is kept at a time
        (30, 10, 3, 1, 2, 1, 5),
        (12, 24, 3, 2, 1, 3, 9),
        (70, 13, 4, 1, 0, 1, 4),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_a_convolution_is_torchs_in_any_geometry(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int,
    pad: int,
    groups: int,
    size: int,
    first: bool,
) -> None:
    """Outputs, gradients of inputs and of weights: of the pictures themselves and of what another
    convolution made of them, where a gradient goes on."""
    channels = inputs if first else 2

    def made() -> nn.Module:
        convolution = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=pad, groups=groups, bias=outputs != 7
        )
        return One(convolution, channels, size, first=first)

    of_losses, of_weights = steps(made, SGD, channels=channels, size=size)
    assert of_losses < 1e-12
    assert of_weights < 1e-12


DECAYS = [Rule("sgd", 0.0, 0.1), Rule("adam", weight_decay=0.1), Rule("adamw", weight_decay=0.1)]


@pytest.mark.parametrize("rule", DECAYS)
def test_optimisers_are_torchs(rule: Rule) -> None:
    """Without momentum; Adam, which adds the decay to the gradient; AdamW, which does not."""
    of_losses, of_weights = steps("lenet5", rule, count=3)
    assert of_losses < 1e-12
    assert of_weights < 1e-12


@pytest.mark.parametrize("rule", DECAYS)
def test_another_decay_would_be_seen(rule: Rule) -> None:
    """Twin of the above: lanes that are told half of the decay differ from torch."""
    assert steps("lenet5", rule, told=replace(rule, weight_decay=0.05))[1] > 1e-7


def test_what_has_no_kernel_is_named() -> None:
    """Drop-out, slices of channels, dilation: the reason says which."""
    for arch, reason in (("nin", "Dropout"), ("resnet8", "getitem")):
        with pytest.raises(Unsupported, match=reason):
            describe(models.build(arch, num_classes=5, in_channels=3, size=16), 3, 16)
    dilated = nn.Sequential(nn.Conv2d(3, 5, 3, dilation=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(Unsupported, match="dilation"):
        describe(dilated, 3, 16)
