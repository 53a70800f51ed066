"""Speeds of devices as they were published or measured elsewhere: tables, and nothing that
calculates. ``zoo.rates`` does."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACCELERATORS", "ANSWERING", "SMALL_H100", "TRAINING_RTX3090", "Accelerator"]


@dataclass(frozen=True)
class Accelerator:
    """Speed of one device: sustained multiply-adds per second in training, in units of 1e9, and a
    fixed cost per image, for networks whose rates are not published.

    ``trains``: how many times as fast as an RTX 3090 in training, for those whose are;
    ``answers``: table of forward rates and how many times as fast as it. ``float32``: peak in
    multiply-adds per second, in units of 1e9, without tensor cores (its maker's data sheet): the
    fill answers in float32, and so does a recipe that is not in bf16.
    """

    name: str
    training_gigamacs: float
    image_seconds: float
    source: str
    trains: float | None = None
    answers: tuple[str, float] = ("rtx3090", 1.0)
    float32: float | None = None


ACCELERATORS = {
    "cpu-core": Accelerator("cpu-core", 30.0, 4e-6, "measured, docs/LOG.md"),
    # Networks that are not in the tables below: ResNet-50 trains at 1,218 images/s x 4.1 GMAC x 3
    # there.
    "rtx3090": Accelerator(
        "rtx3090",
        15_000.0,
        2e-5,
        "timm benchmark table, PyTorch 1.12",
        trains=1.0,
        float32=17_800.0,
    ),
    "rtx5090": Accelerator(
        "rtx5090",
        50_000.0,
        6e-6,
        "timm benchmark table of 2026, PyTorch 2.9.1 compiled; training by that of an RTX 3090",
        trains=3.37,
        answers=("rtx5090", 1.0),
        float32=52_400.0,
    ),
    "a100": Accelerator(
        "a100",
        32_000.0,
        1e-5,
        "RTX 3090 x 2.13, timm issue 1491",
        trains=2.13,
        answers=("rtx3090", 2.13),
        float32=9_750.0,
    ),
    "h100": Accelerator(
        "h100",
        54_000.0,
        6e-6,
        "assumptions: trains 1.7 x an A100, answers as an RTX 5090 in timm's table of 2026",
        trains=3.6,
        answers=("rtx5090", 1.0),
        float32=33_500.0,
    ),
}

TRAINING_RTX3090 = {
    "vgg16": 546,
    "resnet50": 1218,
    "resnet101": 748,
    "inception_v3": 782,
    "legacy_xception": 498,
    "densenet121": 914,
    "densenet169": 753,
    "densenet201": 563,
    "efficientnet_b0": 1752,
    "efficientnet_b2": 849,
}
"""Images a second in training on one RTX 3090, at the reference size of the table of models.
Source: timm's benchmark table, AMP, channels last, PyTorch 1.12. Multiply-adds alone are off by 4
times for EfficientNet-B0, whose layers wait for memory, and by 2 the other way for VGG-16."""

ANSWERING = {
    "rtx3090": {
        "vgg16": 1691,
        "resnet50": 3676,
        "resnet101": 2246,
        "inception_v3": 2512,
        "legacy_xception": 1578,
        "densenet121": 2936,
        "densenet169": 2422,
        "densenet201": 1869,
        "efficientnet_b0": 8015,
        "efficientnet_b2": 3413,
    },
    "rtx5090": {
        "vgg16": 5358,
        "resnet50": 12_401,
        "resnet101": 7583,
        "inception_v3": 9390,
        "legacy_xception": 4816,
        "densenet121": 10_179,
        "densenet169": 8285,
        "densenet201": 6221,
        "efficientnet_b0": 18_234,
        "efficientnet_b2": 8926,
    },
}
"""Images a second forward alone, at the reference size. Sources: the same table of timm; and
``benchmark-infer-amp-nchw-pt291-cu130-5090-dynamo.csv`` of its results (PyTorch 2.9.1, compiled,
AMP), EfficientNet-B2 from 256 pixels to 260 by the area."""

SMALL_H100 = {
    "resnet20": (12_777, 51_683),
    "resnet8": (20_456, 125_078),
    "softmax": (60_774, 2_872_094),
    "mlp": (34_627, 1_619_802),
    "lenet5": (23_169, 620_816),
    "nin_mini": (32_587, 482_949),
    "vgg_mini": (29_114, 581_947),
    "resnet_mini": (20_643, 383_304),
    "inception_mini": (25_631, 437_889),
    "xception_mini": (27_147, 405_824),
    "densenet_mini": (17_214, 338_836),
    "efficientnet_mini": (8_768, 286_617),
}
"""Images a second in training one by one, and 32 stacked: 32 x 32 x 3, batches of 128, float32, on
an H200 (the chip of an H100, faster memory). Source: ``python -m tools.bench gpu``, docs/LOG.md.
One by one they wait for launches, which no other card makes faster."""
