"""Every network of the table: sizes, channels, learning, saving, cost. A new line in the table
falls under these at once."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from zoo.models import MODELS, Model, backbones, build

EVERY_MODEL = pytest.mark.parametrize("entry", MODELS.values(), ids=MODELS)


def usable_size(entry: Model) -> int:
    return max(32, entry.min_size)


def build_without_memory(
    entry: Model, num_classes: int, in_channels: int, size: int
) -> torch.nn.Module:
    """Shapes and counts only; the largest networks have 500 MB of weights."""
    with torch.device("meta"):
        return build(entry.name, num_classes=num_classes, in_channels=in_channels, size=size)


@EVERY_MODEL
@pytest.mark.parametrize("in_channels", [1, 3])
def test_logits_have_one_column_per_class(entry: Model, in_channels: int) -> None:
    """Two pictures and 7 classes give logits [2, 7], at the smallest size, at 28 and 32 pixels, in
    training and in evaluation."""
    for size in {entry.min_size, max(28, entry.min_size), usable_size(entry)}:
        network = build_without_memory(entry, 7, in_channels, size)
        images = torch.empty(2, in_channels, size, size, device="meta")
        assert network.train()(images).shape == (2, 7)
        assert network.eval()(images).shape == (2, 7)


# the very failure wanted, at its first sign
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "entry",
    [entry for entry in MODELS.values() if entry.min_size > 8],
    ids=lambda entry: entry.name,
)
def test_the_smallest_size_is_the_smallest(entry: Model) -> None:
    """One pixel less and the layers themselves fail: the table refuses no size that would work
    (from 8 pixels up)."""
    smaller = entry.min_size - 1
    source, _, function = entry.build.partition(":")

    def run() -> torch.Tensor:
        if source == "timm":
            network = backbones.create(function, num_classes=7, in_channels=1, size=smaller)
        else:
            network = getattr(importlib.import_module(source), function)(7, 1, smaller)
        logits: torch.Tensor = network(torch.empty(2, 1, smaller, smaller))
        return logits

    with torch.device("meta"), pytest.raises((RuntimeError, ValueError)):
        run()


@EVERY_MODEL
def test_the_table_knows_parameters_and_cost(entry: Model) -> None:
    """Parameters exactly, multiply-adds within 5 %, counted anew from the layers."""
    network = build_without_memory(entry, 10, entry.reference_channels, entry.reference_size)
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert backbones.forward_macs(
        network, entry.reference_channels, entry.reference_size
    ) == pytest.approx(entry.mega_macs, rel=0.05)


@EVERY_MODEL
def test_learning_and_saving(entry: Model, tmp_path: Path) -> None:
    """Two SGD steps have finite losses and move every parameter; the state survives a safetensors
    file bit by bit."""
    torch.manual_seed(0)
    size = usable_size(entry)
    network = build(entry.name, num_classes=5, in_channels=1, size=size)
    before = [p.detach().clone() for p in network.parameters()]
    images, labels = torch.randn(6, 1, size, size), torch.arange(6) % 5
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    # Two steps: residual branches that start at zero (timm's ResNets) let no gradient into their
    #     convolutions on the first.
    for _ in range(2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    for (name, after), start in zip(network.named_parameters(), before, strict=True):
        assert not torch.equal(after, start), name
    del before, optimizer
    path = tmp_path / "state.safetensors"
    state = network.state_dict()
    save_file(state, path)
    with safe_open(path, framework="pt") as stored:
        assert set(stored.keys()) == set(state)
        for name, tensor in state.items():
            assert torch.equal(stored.get_tensor(name), tensor), name
    path.unlink()  # up to 540 MB


@pytest.mark.parametrize(
    "entry",
    [entry for entry in MODELS.values() if entry.parameters < 5_000_000],
    ids=lambda entry: entry.name,
)
def test_the_seed_decides_the_start(entry: Model) -> None:
    """Equal seeds give equal weights, other seeds others (the large ones, drawn by timm from the
    same generator, are left out for time)."""

    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = build(entry.name, num_classes=5, in_channels=1, size=usable_size(entry))
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def parameters(name: str, num_classes: int = 10, in_channels: int = 3, size: int = 32) -> int:
    return sum(
        p.numel()
        for p in build_without_memory(MODELS[name], num_classes, in_channels, size).parameters()
    )


def test_resnet20_is_the_papers() -> None:
    """0.27 M parameters as in table 6 of He et al.: 269,722 with parameter-free shortcuts (option
    A); option B would be 272,474."""
    stem = 3 * 9 * 16 + 2 * 16
    first = 6 * (16 * 16 * 9 + 2 * 16)
    second = 16 * 32 * 9 + 5 * 32 * 32 * 9 + 6 * 2 * 32
    third = 32 * 64 * 9 + 5 * 64 * 64 * 9 + 6 * 2 * 64
    assert parameters("resnet20") == stem + first + second + third + 64 * 10 + 10 == 269_722


def test_lenet5_is_the_papers() -> None:
    """61,706 parameters: C1 156, C3 2,416 (all maps connected), C5 48,120, F6 10,164, output 850;
    the same for 28 and 32 pixels."""
    assert (
        parameters("lenet5", in_channels=1, size=28)
        == 156 + 2_416 + 48_120 + 10_164 + 850
        == 61_706
    )
    assert parameters("lenet5", in_channels=1, size=32) == 61_706


def test_lenet5_pads_28_to_32_as_the_paper_does() -> None:
    """28 pixels padded inside the network equal the same picture padded to 32 outside."""
    torch.manual_seed(0)
    inside = build("lenet5", num_classes=10, in_channels=1, size=28)
    outside = build("lenet5", num_classes=10, in_channels=1, size=32)
    outside.load_state_dict(inside.state_dict())
    images = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(
        inside(images), outside(torch.nn.functional.pad(images, (2, 2, 2, 2)))
    )


def test_nin_is_the_authors() -> None:
    """966,986 parameters: the widths 192-160-96, 192-192-192, 192-192-10 of the published CIFAR-10
    configuration."""
    first = (3 * 25 + 1) * 192 + (192 + 1) * 160 + (160 + 1) * 96
    second = (96 * 25 + 1) * 192 + 2 * (192 + 1) * 192
    third = (192 * 9 + 1) * 192 + (192 + 1) * 192 + (192 + 1) * 10
    assert parameters("nin") == first + second + third == 966_986


def test_only_nin_has_dropout_among_our_own() -> None:
    """Elsewhere a training step draws no random numbers of its own."""
    with_dropout = {
        name
        for name, entry in MODELS.items()
        if entry.build.startswith("zoo.")
        and any(
            isinstance(m, torch.nn.Dropout)
            for m in build_without_memory(entry, 10, 1, 28).modules()
        )
    }
    assert with_dropout == {"nin"}


def test_minis_cost_about_as_much_as_lenet5() -> None:
    """0.3 to 3 million multiply-adds at 28x28x1: dozens of trainings in a minute on two cores."""
    minis = {name: entry.mega_macs for name, entry in MODELS.items() if name.endswith("_mini")}
    assert len(minis) >= 7
    assert all(0.3 <= cost <= 3 for cost in minis.values()), minis
