"""Study 1 on CIFAR-10: equilibrium, size, label quality and contamination of the training set, for a ResNet and a Network In Network.

Source: He, Yu, Wang, Li, Chen, "From Data Quality to Model Quality: an Exploratory Study on Deep Learning", figures 2, 3, 5, 8, 9, 11, 12 and
its claims about CIFAR-10.

Scales: ``laptop`` trains ResNet-8 and a small NIN in place of ResNet-20 and NIN, on 3,000 of the 50,000 images, three seeds. ``paper`` trains
ResNet-20 and NIN on all of them (a GPU is wanted), relabelling each class to the next one; ``paper-pairs`` relabels every class to every
other (90 pairs). ``smoke`` runs a few points of every question on the embedded Fashion-MNIST (grey) in a minute; its numbers mean nothing.
Command: ``zoo run data_quality_cifar10 --scale laptop``.
"""

from __future__ import annotations

from zoo.recipes import RECIPES
from zoo.spec import Experiment, Recipe
from zoo.study import Point, sweeps_of
from zoo.treatments import op

SCALES = ("laptop", "smoke", "paper", "paper-pairs")

DELETED = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
NOISE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SIGMAS = (2.0, 8.0, 16.0)
SALT_PEPPER = (0.05, 0.1, 0.2, 0.3, 0.4)
GAMMAS = (0.25, 0.5, 2.0, 4.0)

ARCHS = {"smoke": ("resnet_mini", "nin_mini"), "laptop": ("resnet8", "nin_mini"), "paper": ("resnet20", "nin")}
"""The ResNet first, the NIN second."""

IMAGES = {"smoke": 400, "laptop": 3_000, "paper": None}
SEEDS = {"smoke": (0, 1), "laptop": (0, 1, 2), "paper": (0, 1, 2)}
SIZES = {"smoke": (), "laptop": (16,), "paper": (16, 64)}
"""Sides, beside the native 32, at which the Gaussian noise of sigma 16 is repeated (claim S1.17)."""

_FAST = {"precision": "bf16", "channels_last": True, "stop_train_acc": 0.999}
_STEPS = RECIPES["sgd"].replace(epochs=160, **_FAST)
RECIPE: dict[str, dict[str, Recipe]] = {
    "smoke": dict.fromkeys(ARCHS["smoke"], RECIPES["onecycle"].replace(epochs=3, lr=6e-3, batch_size=32, **_FAST)),
    "laptop": dict.fromkeys(ARCHS["laptop"], RECIPES["onecycle"].replace(epochs=20, lr=6e-3, batch_size=32, **_FAST)),
    "paper": {"resnet20": _STEPS, "nin": _STEPS.replace(lr=0.05)},
}


def points(scale: str, seed: int) -> list[Point]:
    """The damaged training sets of one seed."""
    size, smoke = scale.removesuffix("-pairs"), scale == "smoke"
    images = IMAGES[size]
    start = () if images is None else (op("take", count=images),)
    classes = (3, 5) if smoke else range(10)
    pairs = [(c, d) for c in range(10) for d in range(10) if c != d] if scale == "paper-pairs" else [(c, (c + 1) % 10) for c in classes]
    return [
        Point("baseline", 0.0, start),
        *(Point("delete_class", c, (*start, op("delete_class", label=c))) for c in classes),
        *(Point("relabel", c, (*start, op("relabel", label=c, to=d)), other=d) for c, d in pairs),
        *(Point("delete", p, (*start, op("delete_fraction", fraction=p, replica=seed))) for p in ((0.5, 0.9) if smoke else DELETED)),
        *(Point("noise_random", p, (*start, op("label_noise", fraction=p, seed=seed))) for p in ((0.1, 0.4) if smoke else NOISE)),
        *(Point("gaussian", s, (*start, op("gaussian_noise", sigma=s, seed=seed))) for s in ((16.0,) if smoke else SIGMAS)),
        *(Point("salt_pepper", a, (*start, op("salt_pepper", share=a, seed=seed))) for a in ((0.2,) if smoke else SALT_PEPPER)),
        *(Point("gamma", g, (*start, op("gamma", gamma=g))) for g in ((0.5, 2.0) if smoke else GAMMAS)),
        *(Point("baseline_size", s, start, input_size=s) for s in SIZES[size]),
        *(Point("gaussian_size", s, (*start, op("gaussian_noise", sigma=16.0, seed=seed)), input_size=s) for s in SIZES[size]),
    ]


def experiment(scale: str) -> Experiment:
    """Trains every point with every seed and asks every classifier for its answers on the clean test set."""
    size = scale.removesuffix("-pairs")
    every = 1 if size == "paper" else 2
    return Experiment(
        name="data_quality_cifar10",
        title="From data quality to model quality: CIFAR-10",
        scale=scale,
        dataset="fashion-mini" if scale == "smoke" else "cifar10",
        sweeps=sweeps_of(
            lambda seed: points(scale, seed),
            archs=ARCHS[size],
            seeds=SEEDS[size],
            recipe=RECIPE[size][ARCHS[size][0]],
            recipes=RECIPE[size],
            eval_every={"baseline": every, "noise_random": every},
        ),
        fill_splits=("test",),
        keep_logits="none",
        next_command='zoo query "select arch, treatment, seed, epochs, stop_reason from trainings order by arch, treatment"',
    )
