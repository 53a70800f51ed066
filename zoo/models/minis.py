"""Small relatives of the ImageNet families, made for 28 to 32 pixels and one CPU core.

Each keeps the one idea its family is known for and costs about as much as LeNet-5. The common plan,
from measurement: the first convolution has stride 2, because at full resolution normalisation and
activation cost more than the convolutions; depthwise convolutions run at 7x7 only, because on a CPU
they are bound by memory, not by arithmetic. No dropout, torch's default start.

Shapes: n images of a batch, K channels, S side in pixels, M classes; comments give those for S =
28. Every builder has the form ``builder(num_classes=M, in_channels=K, size=S) -> Module`` with
``Module: float32 [n, K, S, S] -> logits float32 [n, M]``.
"""

# ruff: noqa: ARG001 - all builders have one signature; networks that end in a global average do not need the size

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "densenet_mini",
    "efficientnet_mini",
    "inception_mini",
    "mobilenet_mini",
    "nin_mini",
    "resnet_mini",
    "vgg_mini",
    "xception_mini",
]

Activation = Callable[[], nn.Module]


def _relu() -> nn.Module:
    return nn.ReLU(inplace=True)


def _relu6() -> nn.Module:
    return nn.ReLU6(inplace=True)


def _silu() -> nn.Module:
    return nn.SiLU(inplace=True)


def _conv(
    in_width: int,
    width: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = _relu,
) -> nn.Sequential:
    """Convolution (same padding, no bias), batch normalisation, activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(
            in_width, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(width),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def _head(width: int, num_classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes)]


def vgg_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Stacks of 3x3 convolutions between 2x2 max-pools, two dense layers. Source: Simonyan,
    Zisserman 2015 (VGG); batch-normalised."""
    side = -(-size // 2) // 2 // 2
    return nn.Sequential(
        _conv(in_channels, 16, 3, stride=2),  # [n, 16, 14, 14]
        _conv(16, 16, 3),
        nn.MaxPool2d(2),  # [n, 16, 7, 7]
        _conv(16, 32, 3),
        _conv(32, 32, 3),
        nn.MaxPool2d(2),  # [n, 32, 3, 3]
        nn.Flatten(),
        nn.Linear(32 * side * side, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, num_classes),
    )


class _Residual(nn.Module):
    """``activation(body(x) + shortcut(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return y


def resnet_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Bottleneck blocks (1x1, 3x3, 1x1) with projection shortcuts. Source: He et al. 2016
    (ResNet-50), figure 5."""

    def bottleneck(in_width: int, width: int, stride: int) -> nn.Module:
        inner = width // 4
        body = nn.Sequential(
            _conv(in_width, inner, 1),
            _conv(inner, inner, 3, stride=stride),
            _conv(inner, width, 1, activation=None),
        )
        same = in_width == width and stride == 1
        shortcut = (
            nn.Identity() if same else _conv(in_width, width, 1, stride=stride, activation=None)
        )
        return _Residual(body, shortcut, _relu())

    return nn.Sequential(
        _conv(in_channels, 16, 3, stride=2),  # [n, 16, 14, 14]
        nn.MaxPool2d(2),  # [n, 16, 7, 7]
        bottleneck(16, 32, 1),  # [n, 32, 7, 7]
        bottleneck(32, 96, 2),  # [n, 96, 4, 4]
        bottleneck(96, 96, 1),
        *_head(96, num_classes),
    )


class _Inception(nn.Module):
    """Four branches side by side: 1x1; 3x3; two 3x3 in a row; average pool. Output width is four
    times ``width``.

    The 1x1 convolutions that open the branches are one convolution of four times the width, split
    afterwards: the same function, a third faster on a CPU. The pooling branch projects before it
    pools for the same reason.
    """

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.open = _conv(in_width, 4 * width, 1)
        self.reach3 = _conv(width, width, 3)
        self.reach5 = nn.Sequential(_conv(width, width, 3), _conv(width, width, 3))
        self.pool = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        point, single, twice, pooled = self.open(x).chunk(4, dim=1)
        return torch.cat([point, self.reach3(single), self.reach5(twice), self.pool(pooled)], dim=1)


def inception_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Parallel branches of different reach, concatenated. Source: Szegedy et al. 2016 (Inception
    v3), figure 5."""
    return nn.Sequential(
        _conv(in_channels, 16, 3, stride=2),  # [n, 16, 14, 14]
        nn.MaxPool2d(2),  # [n, 16, 7, 7]
        _Inception(16, 16),  # [n, 64, 7, 7]
        nn.MaxPool2d(2),  # [n, 64, 3, 3]
        _Inception(64, 24),  # [n, 96, 3, 3]
        *_head(96, num_classes),
    )


def _separable(in_width: int, width: int) -> nn.Module:
    """Depthwise 3x3, then pointwise 1x1, normalised once, as in Xception."""
    return nn.Sequential(
        nn.Conv2d(in_width, in_width, 3, padding=1, groups=in_width, bias=False),
        nn.Conv2d(in_width, width, 1, bias=False),
        nn.BatchNorm2d(width),
    )


def xception_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Depthwise separable convolutions in residual blocks, activation before each. Source: Chollet
    2017 (Xception), figure 5."""

    def block(in_width: int, width: int, *, pool: bool) -> nn.Module:
        body: list[nn.Module] = [
            nn.ReLU(),
            _separable(in_width, in_width),
            nn.ReLU(inplace=True),
            _separable(in_width, width),
        ]
        if pool:
            body.append(nn.MaxPool2d(2, ceil_mode=True))
        shortcut = _conv(in_width, width, 1, stride=2, activation=None) if pool else nn.Identity()
        return _Residual(nn.Sequential(*body), shortcut, nn.Identity())

    return nn.Sequential(
        _conv(in_channels, 16, 3, stride=2),  # [n, 16, 14, 14]
        _conv(16, 32, 3, stride=2),  # [n, 32, 7, 7]
        block(32, 64, pool=True),  # [n, 64, 4, 4]
        block(64, 64, pool=False),
        nn.ReLU(inplace=True),
        *_head(64, num_classes),
    )


class _DenseLayer(nn.Module):
    """Normalise, ReLU, 3x3 convolution; its ``growth`` new maps are appended to all earlier
    ones."""

    def __init__(self, in_width: int, growth: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_width)
        self.conv = nn.Conv2d(in_width, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(functional.relu(self.norm(x), inplace=True))], dim=1)


def densenet_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Dense blocks: each layer sees all earlier ones; transitions halve maps and side.

    Source: Huang et al. 2017 (DenseNet), section 3: the basic form, without bottlenecks.
    """
    growth, layers_per_block = 16, 3
    # [n, 16, 7, 7]
    layers: list[nn.Module] = [_conv(in_channels, 16, 3, stride=2), nn.MaxPool2d(2)]
    width = 16
    for block in range(2):
        for _ in range(layers_per_block):
            layers.append(_DenseLayer(width, growth))
            width += growth
        if block == 0:  # transition to [n, width / 2, 3, 3]
            layers += [
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width // 2, 1, bias=False),
                nn.AvgPool2d(2),
            ]
            width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), *_head(width, num_classes)]
    return nn.Sequential(*layers)


class _SqueezeExcite(nn.Module):
    """Scales each channel by a gate computed from the mean of all channels. Source: Hu et al.
    2018."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(width, squeezed)
        self.expand = nn.Linear(squeezed, width)

    def forward(self, x: Tensor) -> Tensor:
        # [n, width]
        gate: Tensor = torch.sigmoid(self.expand(functional.silu(self.reduce(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None]


def _inverted_residual(
    in_width: int, width: int, *, stride: int, expansion: int, activation: Activation, excite: bool
) -> nn.Module:
    """Expand 1x1, depthwise 3x3, (squeeze-excite), project 1x1 without activation; a shortcut where
    shapes allow."""
    inner = in_width * expansion
    layers: list[nn.Module] = [
        _conv(in_width, inner, 1, activation=activation),
        _conv(inner, inner, 3, stride=stride, groups=inner, activation=activation),
    ]
    if excite:
        layers.append(_SqueezeExcite(inner, max(4, in_width // 4)))
    layers.append(_conv(inner, width, 1, activation=None))
    body = nn.Sequential(*layers)
    return (
        _Residual(body, nn.Identity(), nn.Identity()) if stride == 1 and in_width == width else body
    )


def mobilenet_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Inverted residuals with linear bottlenecks and ReLU6. Source: Sandler et al. 2018
    (MobileNetV2), figure 3."""

    def block(in_width: int, width: int, stride: int) -> nn.Module:
        return _inverted_residual(
            in_width, width, stride=stride, expansion=3, activation=_relu6, excite=False
        )

    return nn.Sequential(
        _conv(in_channels, 16, 3, stride=2, activation=_relu6),  # [n, 16, 14, 14]
        _conv(16, 16, 3, stride=2, activation=_relu6),  # [n, 16, 7, 7]
        block(16, 32, 2),  # [n, 32, 4, 4]
        block(32, 32, 1),
        block(32, 32, 1),
        _conv(32, 64, 1, activation=_relu6),
        *_head(64, num_classes),
    )


def efficientnet_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """MBConv blocks: inverted residuals with squeeze-and-excitation and SiLU. Source: Tan, Le 2019
    (EfficientNet), table 1."""

    def block(in_width: int, width: int, stride: int) -> nn.Module:
        return _inverted_residual(
            in_width, width, stride=stride, expansion=3, activation=_silu, excite=True
        )

    return nn.Sequential(
        _conv(in_channels, 12, 3, stride=2, activation=_silu),  # [n, 12, 14, 14]
        _conv(12, 16, 3, stride=2, activation=_silu),  # [n, 16, 7, 7]
        block(16, 32, 2),  # [n, 32, 4, 4]
        block(32, 32, 1),
        block(32, 32, 1),
        _conv(32, 64, 1, activation=_silu),
        *_head(64, num_classes),
    )


def nin_mini(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Convolutions each followed by a 1x1 one, class maps averaged, no dense layer. Source: Lin et
    al. 2014 (NIN); batch-normalised."""
    return nn.Sequential(
        _conv(in_channels, 24, 5, stride=2),  # [n, 24, 14, 14]
        _conv(24, 16, 1),
        nn.MaxPool2d(2),  # [n, 16, 7, 7]
        _conv(16, 48, 3),
        _conv(48, 48, 1),
        nn.MaxPool2d(2),  # [n, 48, 3, 3]
        _conv(48, 64, 3),
        nn.Conv2d(64, num_classes, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
