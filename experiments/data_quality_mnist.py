"""Study 1 on MNIST: how dataset equilibrium, size, label quality and contamination of the training set decide a LeNet-5's test accuracy.

Source: He, Yu, Wang, Li, Chen, "From Data Quality to Model Quality: an Exploratory Study on Deep Learning", figures 1, 4, 6, 7, 10 and its
claims about MNIST. The paper gives neither optimiser nor seeds nor contrast factors; what stands here for them is in ``docs/studies``.

Scales: ``laptop`` trains on 10,000 of the 60,000 images, three seeds. ``paper`` trains on all of them, until the training accuracy is
99.9 % or the epochs are used up. ``smoke`` runs a few points of every question on the embedded Fashion-MNIST in a minute; its numbers mean
nothing. Command: ``zoo run data_quality_mnist --scale laptop``.
"""

from __future__ import annotations

from zoo.recipes import RECIPES
from zoo.spec import Experiment
from zoo.study import Point, sweeps_of
from zoo.treatments import op

SCALES = ("laptop", "smoke", "paper")

PERCENTS = (*range(1, 21), *range(30, 101, 10))
"""10 to 100 in steps of 10 and 1 to 20 in steps of 1: 28 points (section III.A of the paper)."""

CONTRASTS = (0.25, 0.5, 0.75, 1.5, 2.0, 4.0)
WRAPPED = (1.5, 2.0, 4.0)
INFINITE = float("inf")

IMAGES = {"smoke": 600, "laptop": 10_000, "paper": None}
SEEDS = {"smoke": (0, 1), "laptop": (0, 1, 2), "paper": (0, 1, 2)}

RECIPE = {
    "smoke": RECIPES["onecycle"].replace(epochs=4, lr=4e-3, batch_size=64, stop_train_acc=0.999),
    "laptop": RECIPES["onecycle"].replace(epochs=24, lr=4e-3, batch_size=128, stop_train_acc=0.999),
    "paper": RECIPES["adam"].replace(epochs=100, stop_train_acc=0.999),
}


def points(scale: str, seed: int) -> list[Point]:
    """The damaged training sets of one seed."""
    images = IMAGES[scale]
    start = () if images is None else (op("take", count=images),)
    smoke = scale == "smoke"
    percents = (10, 20, 90, 100) if smoke else PERCENTS
    classes = (0, 3) if smoke else range(10)
    kept = (10, 20) if smoke else PERCENTS

    return [
        Point("baseline", 0.0, start),
        *(Point("delete_class", c, (*start, op("delete_class", label=c))) for c in classes),
        *(Point("delete", p / 100, (*start, op("delete_fraction", fraction=p / 100, replica=seed))) for p in percents),
        # The other reading of "10 % to 100 %": keep p %. The points shared with "delete" are the same trainings.
        *(
            Point("keep", p / 100, (*start, op("delete_fraction", fraction=(100 - p) / 100, replica=seed)) if p < 100 else start)
            for p in kept
        ),
        *(Point("noise_to_0", p / 100, (*start, op("label_noise", fraction=p / 100, to=0, seed=seed))) for p in percents),
        *(Point("noise_random", p / 100, (*start, op("label_noise", fraction=p / 100, seed=seed))) for p in percents),
        *(Point("contrast", k, (*start, op("contrast", factor=k))) for k in ((0.5, 2.0) if smoke else CONTRASTS)),
        Point("contrast", INFINITE, (*start, op("contrast", factor="inf"))),
        *(Point("contrast_wrap", k, (*start, op("contrast", factor=k, overflow="wrap"))) for k in ((2.0,) if smoke else WRAPPED)),
    ]


def experiment(scale: str) -> Experiment:
    """Trains every point with every seed and asks every classifier for its answers on the clean test set."""
    # The curves of the noisy trainings show memorisation set in; the others are evaluated a few times.
    every = 1 if scale == "paper" else 4
    aspects = ("baseline", "delete_class", "delete", "keep", "noise_to_0", "noise_random", "contrast", "contrast_wrap")
    return Experiment(
        name="data_quality_mnist",
        title="From data quality to model quality: MNIST",
        scale=scale,
        dataset="fashion-mini" if scale == "smoke" else "mnist",
        sweeps=sweeps_of(
            lambda seed: points(scale, seed),
            archs=("lenet5",),
            seeds=SEEDS[scale],
            recipe=RECIPE[scale],
            eval_every=dict.fromkeys(aspects, every),
        ),
        fill_splits=("test",),
        keep_logits="none",
        next_command='zoo query "select treatment, seed, epochs, stop_reason, label_change_rate from trainings order by treatment"',
    )
