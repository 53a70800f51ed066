"""Table of network architectures by name. Importing it loads neither torch nor timm; ``build``
does.

A model is added by one builder function (``small.py``, ``minis.py``) and one line here. Heads,
which take features instead of pictures (``heads.py``), are in a table beside it. Beyond the tables,
every model of the timm library can be used by its name; it is then looked up in timm, which imports
torch.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import UnknownNameError, UsageError
from zoo.registry import Registry

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ALIASES", "HEADS", "MODELS", "Model", "build", "check_input", "model"]


@dataclass(frozen=True)
class Model:
    """An architecture.

    Args:
        name: canonical name; part of a training's identity.
        family: the architecture it is or stands for.
        build: ``module:function`` of the builder, or ``timm:name``.
        min_size: smallest side of the square input in pixels; 8 where the layers would take less.
        default_size: side used where none is asked for; None = the data's own.
        parameters: trainable numbers, for the reference input and 10 classes.
        mega_macs: multiply-adds of one forward pass of one image, in millions, convolutions and
            dense layers only, for the reference input and 10 classes.
        reference_size, reference_channels: the reference input, S x S x K.
        paper: source.
        images_per_second: measured rate of one CPU core in training (forward, backward, Adam step;
            batches of 64) at the reference size; None = estimate by ``mega_macs``. See
            ``tools/bench/models.py``; it only serves plans and progress bars.
    """

    name: str
    family: str
    build: str
    min_size: int
    default_size: int | None
    parameters: int
    mega_macs: float
    reference_size: int
    reference_channels: int
    paper: str
    images_per_second: float | None = None

    @property
    def head(self) -> bool:
        """Whether it takes features instead of pictures: its reference input is a vector."""
        return self.build.startswith("zoo.models.heads:")

    def mega_macs_at(self, size: int) -> float:
        """Estimate for another side, in millions: in proportion to the area (a few per cent off
        where sides round)."""
        return self.mega_macs * (size / self.reference_size) ** 2


def _small(
    name: str,
    family: str,
    module: str,
    min_size: int,
    parameters: int,
    mega_macs: float,
    paper: str,
    *,
    cifar: bool = False,
    rate: float | None = None,
) -> Model:
    reference = (32, 3) if cifar else (28, 1)
    return Model(
        name,
        family,
        f"zoo.models.{module}:{name}",
        min_size,
        None,
        parameters,
        mega_macs,
        *reference,
        paper,
        rate,
    )


def _timm(
    name: str,
    family: str,
    min_size: int,
    default_size: int,
    parameters: int,
    mega_macs: float,
    paper: str,
) -> Model:
    return Model(
        name,
        family,
        f"timm:{name}",
        min_size,
        default_size,
        parameters,
        mega_macs,
        default_size,
        3,
        paper,
    )


_VGG = "Simonyan, Zisserman 2015"
_RESNET = "He, Zhang, Ren, Sun 2016"
_INCEPTION = "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016"
_XCEPTION = "Chollet 2017"
_DENSENET = "Huang, Liu, van der Maaten, Weinberger 2017"
_EFFICIENTNET = "Tan, Le 2019"
_NIN = "Lin, Chen, Yan 2014"

# Minimum sizes, parameters and multiply-adds are checked by tests against the built networks; rates
# by tools/bench/models.py.
MODELS: Registry[Model] = Registry(
    "model",
    {
        entry.name: entry
        for entry in (
            _small(
                "lenet5",
                "lenet5",
                "small",
                12,
                61_706,
                0.4165,
                "LeCun, Bottou, Bengio, Haffner 1998",
                rate=11_600,
            ),
            _small("resnet20", "resnet", "small", 8, 269_722, 40.55, _RESNET, cifar=True, rate=298),
            _small("nin", "nin", "small", 8, 966_986, 222.5, _NIN, cifar=True, rate=60.6),
            _small(
                "softmax", "softmax", "small", 8, 7_850, 0.00784, "softmax regression", rate=217_000
            ),
            _small(
                "mlp",
                "mlp",
                "small",
                8,
                235_146,
                0.2348,
                "perceptron with two hidden layers",
                rate=47_000,
            ),
            _small("resnet8", "resnet", "small", 8, 75_002, 9.145, _RESNET, rate=1_220),
            _small("vgg_mini", "vgg", "minis", 8, 35_610, 1.176, _VGG, rate=8_170),
            _small("resnet_mini", "resnet", "minis", 8, 24_666, 0.4646, _RESNET, rate=5_780),
            _small(
                "inception_mini", "inception", "minis", 8, 31_338, 0.6133, _INCEPTION, rate=6_070
            ),
            _small("xception_mini", "xception", "minis", 8, 21_114, 0.6157, _XCEPTION, rate=6_060),
            _small("densenet_mini", "densenet", "minis", 8, 38_362, 0.9934, _DENSENET, rate=5_610),
            _small(
                "efficientnet_mini",
                "efficientnet",
                "minis",
                8,
                26_338,
                0.4361,
                _EFFICIENTNET,
                rate=4_420,
            ),
            _small(
                "mobilenet_mini",
                "mobilenet",
                "minis",
                8,
                23_242,
                0.4679,
                "Sandler, Howard, Zhu, Zhmoginov, Chen 2018",
                rate=5_680,
            ),
            _small("nin_mini", "nin", "minis", 8, 38_898, 0.899, _NIN, rate=7_360),
            # The ten of study 2. EfficientNet-B2 at 260 as there and in its paper; timm's own
            # figure is 256.
            _timm("vgg16", "vgg", 32, 224, 134_301_514, 15466.2, _VGG),
            _timm("resnet50", "resnet", 8, 224, 23_528_522, 4087.2, _RESNET),
            _timm("resnet101", "resnet", 8, 224, 42_520_650, 7799.4, _RESNET),
            _timm("inception_v3", "inception", 75, 299, 21_806_058, 5711.2, _INCEPTION),
            _timm("legacy_xception", "xception", 8, 299, 20_827_442, 8355.4, _XCEPTION),
            _timm("densenet121", "densenet", 29, 224, 6_964_106, 2833.1, _DENSENET),
            _timm("densenet169", "densenet", 29, 224, 12_501_130, 3358.2, _DENSENET),
            _timm("densenet201", "densenet", 29, 224, 18_112_138, 4289.5, _DENSENET),
            _timm("efficientnet_b0", "efficientnet", 8, 224, 4_020_358, 384.5, _EFFICIENTNET),
            _timm("efficientnet_b2", "efficientnet", 8, 260, 7_715_084, 992.2, _EFFICIENTNET),
        )
    },
)

HEADS: Registry[Model] = Registry(
    "head",
    {
        name: Model(
            name,
            family,
            f"zoo.models.heads:{name}",
            1,
            1,
            parameters,
            mega_macs,
            1,
            1280,
            paper,
            rate,
        )
        for name, family, parameters, mega_macs, paper, rate in (
            ("head_softmax", "softmax", 12_810, 0.0128, "softmax regression", 500_000),
            ("head_mlp", "mlp", 82_634, 0.08256, "perceptron with one hidden layer", 150_000),
        )
    },
)
"""Architectures that are trained on frozen features (``--features``)."""

ALIASES = {"xception": "legacy_xception"}
"""Other names people use -> canonical name. timm renamed ``xception`` to ``legacy_xception``."""


def model(name: str) -> Model:
    """The model of that name: from the table, through an alias, or from timm (which is imported
    only then).

    Raises:
        UnknownNameError: if neither the table nor timm has it; names near ones.
        UsageError: if the name asks timm for pretrained weights.
    """
    canonical = ALIASES.get(name, name)
    for table in (MODELS, HEADS):
        if canonical in table:
            return table[canonical]
    return _from_timm(canonical)


@functools.cache
def _from_timm(name: str) -> Model:
    from zoo.models import backbones

    architecture, dot, tag = name.partition(".")
    if architecture not in backbones.names():
        near = backbones.near_names(name)
        hint = (
            f"timm has {', '.join(near)}."
            if near
            else "Any model of the timm library can be named too; it has none near this."
        )
        raise UnknownNameError("model", name, [*MODELS, *HEADS, *ALIASES], hint)
    if dot:
        raise UsageError(
            f"model {name!r} names the pretrained weights {tag!r}. Every training starts from"
            " random weights, to keep its classifiers comparable; allowed are architectures alone."
            f" Write {architecture}."
        )
    size = backbones.default_size(name)
    reason = backbones.refusal(name, size)
    if reason:
        raise UsageError(
            f"model {name!r} of timm does not classify {size}x{size} pictures: {reason}. Allowed"
            " are networks that return one logit per class. Use another model:"
            f" {', '.join(MODELS)}."
        )
    parameters, mega_macs = backbones.cost(name, size)
    return Model(
        name,
        backbones.family(name),
        f"timm:{name}",
        1,
        size,
        parameters,
        mega_macs,
        size,
        3,
        "timm",
    )


def check_input(name: str, size: int) -> None:
    """Refuses an input too small for a model before anything is started.

    For models of the table this is a comparison; a timm model outside it is built without memory
    (torch's meta device) and tried.

    Args:
        name: as in ``model``.
        size: side of the square input in pixels.

    Raises:
        UsageError: naming the model, the size seen, the smallest allowed, and what to do.
        UnknownNameError: as ``model``.
    """
    entry = model(name)
    if size < entry.min_size:
        fitting = ", ".join(other.name for other in MODELS.values() if other.min_size <= size)
        advice = f"Use --input-size {entry.min_size}" + (
            f" or another model: {fitting}." if fitting else "."
        )
        raise UsageError(
            f"{entry.name} needs pictures of at least {entry.min_size}x{entry.min_size} pixels; the"
            f" input is {size}x{size}. {advice}"
        )
    if entry.name not in MODELS and not entry.head:
        from zoo.models import backbones

        reason = backbones.refusal(entry.name, size)
        if reason:
            raise UsageError(
                f"{entry.name} cannot take pictures of {size}x{size} pixels: {reason}. It is made"
                f" for {entry.default_size}x{entry.default_size}. Use --input-size"
                f" {entry.default_size} or another model: {', '.join(MODELS)}."
            )


def build(name: str, *, num_classes: int, in_channels: int, size: int) -> nn.Module:
    """A network with fresh random weights, in training mode, in float32 on the CPU. Seed torch
    before.

    Args:
        name: as in ``model``.
        num_classes: M.
        in_channels: K, 1 or 3; of a head, D.
        size: S, side of the square input in pixels.

    Returns:
        Module: float32 [n, K, S, S] -> logits float32 [n, M].

    Raises:
        UsageError: as ``check_input``.
    """
    check_input(name, size)
    module, _, function = model(name).build.partition(":")
    if module == "timm":
        from zoo.models import backbones

        return backbones.create(
            function, num_classes=num_classes, in_channels=in_channels, size=size
        )
    builder: Callable[[int, int, int], nn.Module] = getattr(
        importlib.import_module(module), function
    )
    return builder(num_classes, in_channels, size)
