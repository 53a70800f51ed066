"""The published small networks, as torch modules: softmax regression, a perceptron, LeNet-5, CIFAR
ResNets, Network In Network.

Shapes: n images of a batch, K channels, S side in pixels, M classes. Every builder has the form
``builder(num_classes=M, in_channels=K, size=S) -> Module`` with ``Module: float32 [n, K, S, S] ->
logits float32 [n, M]``. Builders draw initial weights from torch's global generator: seed it
before.
"""

# ruff: noqa: ARG001 - all builders have one signature; networks that end in a global average do not need the size

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["lenet5", "mlp", "nin", "resnet8", "resnet20", "softmax"]


def softmax(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Softmax regression on the pixels: the weakest member a population can have. No hidden layer;
    torch's default start."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * size * size, num_classes))


def mlp(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """A perceptron with hidden layers of 256 and 128 units and ReLU; knows nothing of neighbouring
    pixels. torch's default start."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_channels * size * size, 256),
        nn.ReLU(inplace=True),
        nn.Linear(256, 128),
        nn.ReLU(inplace=True),
        nn.Linear(128, num_classes),
    )


def lenet5(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """LeNet-5 with ReLU and max-pooling: 61,706 parameters for 28x28x1 or 32x32x1 pictures and 10
    classes.

    Source: LeCun, Bottou, Bengio, Haffner 1998, figure 2. Departures, all usual today: ReLU for the
    scaled tanh, max-pooling for the trained subsampling, C3 connected to all maps of S2, a linear
    output for the RBF units. The paper pads MNIST to 32x32; a picture under 32 pixels is padded by
    2 in the first convolution instead, which is the same computation.
    """
    padding = 2 if size < 32 else 0
    side = ((size + 2 * padding - 4) // 2 - 4) // 2  # after C1, S2, C3, S4; 5 for 28 and for 32
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, kernel_size=5, padding=padding),  # [n, 6, 28, 28]
        # [n, 6, 14, 14]; before the ReLU: the same numbers on a quarter of the pixels
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, kernel_size=5),  # [n, 16, 10, 10]
        nn.MaxPool2d(2),  # [n, 16, 5, 5]
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, num_classes),
    )


class _ResidualBlock(nn.Module):
    """Two 3x3 convolutions and an identity shortcut of option A: stride by slicing, new channels
    filled with zeros, no parameters."""

    def __init__(self, in_width: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride = stride
        self.new_channels = width - in_width

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.new_channels:
            before = self.new_channels // 2
            shortcut = functional.pad(shortcut, (0, 0, 0, 0, before, self.new_channels - before))
        hidden = functional.relu(self.norm1(self.conv1(x)), inplace=True)
        return functional.relu(self.norm2(self.conv2(hidden)) + shortcut, inplace=True)


def _cifar_resnet(blocks_per_stage: int, num_classes: int, in_channels: int) -> nn.Module:
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
    ]
    in_width = 16
    for width in (16, 32, 64):
        for block in range(blocks_per_stage):
            stride = 2 if block == 0 and width > 16 else 1
            layers.append(_ResidualBlock(in_width, width, stride))
            in_width = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)]
    network = nn.Sequential(*layers)
    _he_start(network)
    return network


def _he_start(network: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in for convolutions, zero biases (He et al. 2015, equation
    10)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def resnet20(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """ResNet-20 for CIFAR: 269,722 parameters for 3 channels and 10 classes ("0.27 M" in the
    paper).

    Source: He, Zhang, Ren, Sun 2016, section 4.2 and table 6: three stages of three blocks, 16, 32,
    64 filters. Shortcuts are option A (identity, zero-padded), as there: "we use identity shortcuts
    in all cases (i.e., option A)". Option B would have 272,474.
    """
    return _cifar_resnet(3, num_classes, in_channels)


def resnet8(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """The smallest member of the same family, n = 1 (6n + 2 = 8 layers): a third of ResNet-20's
    cost. Source: as ``resnet20``."""
    return _cifar_resnet(1, num_classes, in_channels)


def nin(num_classes: int, in_channels: int, size: int) -> nn.Module:
    """Network In Network, full width: 966,986 parameters for 3 channels and 10 classes.

    Source: Lin, Chen, Yan 2014, section 4.1, with the widths, pool sizes (3, stride 2, rounded up)
    and dropout (0.5 after each pool) of the authors' published CIFAR-10 configuration. Departures:
    no ReLU on the class maps (with it a class whose map is negative everywhere gets no gradient any
    more) and He's start instead of a fixed standard deviation of 0.05.
    """

    def mlpconv(in_width: int, widths: tuple[int, int, int], kernel: int) -> list[nn.Module]:
        first, second, third = widths
        return [
            nn.Conv2d(in_width, first, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(first, second, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(second, third, 1),
            nn.ReLU(inplace=True),
        ]

    network = nn.Sequential(
        *mlpconv(in_channels, (192, 160, 96), 5),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),  # 32 -> 16, 28 -> 14
        nn.Dropout(0.5),
        *mlpconv(96, (192, 192, 192), 5),
        nn.AvgPool2d(3, stride=2, ceil_mode=True),  # 16 -> 8, 14 -> 7
        nn.Dropout(0.5),
        *mlpconv(192, (192, 192, num_classes), 3)[:-1],
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    _he_start(network)
    return network
