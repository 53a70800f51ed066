"""Any model of the timm library by its name, without a line in the table and without a download."""

from __future__ import annotations

import socket

import pytest
import torch

from zoo.errors import UnknownNameError, UsageError
from zoo.models import MODELS, backbones, build, check_input, model


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach a host fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_a_timm_name_outside_the_table_builds(name: str) -> None:
    """Convolutional or transformer: logits [2, 7] at 64 pixels; the transformer is built for that
    size."""
    check_input(name, 64)
    network = build(name, num_classes=7, in_channels=1, size=64)
    assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 7)


def test_facts_of_a_timm_name_are_counted() -> None:
    """ResNet-18 at 224: 11.2 M parameters with 10 classes, 1.81 G multiply-adds (1.82 with 1000
    classes, as published)."""
    entry = model("resnet18")
    assert (entry.name, entry.default_size, entry.family, entry.paper) == (
        "resnet18",
        224,
        "resnet",
        "timm",
    )
    assert entry.parameters == 11_689_512 - 990 * 513
    assert entry.mega_macs == pytest.approx(1814, rel=0.01)


def test_a_size_the_layers_refuse_is_named_before_anything_starts() -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"^vgg11 cannot take pictures of 28x28 pixels: .*made for 224x224\. Use --input-size"
            r" 224 or"
        ),
    ):
        check_input("vgg11", 28)


def test_a_size_the_layers_take_passes() -> None:
    """Twin of the test above."""
    check_input("vgg11", 32)


def test_names_of_remote_weights_are_unknown() -> None:
    """timm would download from such a name; here it is just unknown."""
    with pytest.raises(UnknownNameError, match="unknown model 'hf_hub:timm/resnet50'"):
        model("hf_hub:timm/resnet50")


def test_our_own_names_hide_no_timm_model() -> None:
    """A name means one thing: only entries built by timm share a name with timm."""
    assert {name for name in MODELS if name in backbones.names()} == {
        name for name, entry in MODELS.items() if entry.build.startswith("timm:")
    }
