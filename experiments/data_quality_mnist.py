"""Study 1 on MNIST: how dataset equilibrium, size, label quality and contamination of the training
set decide a LeNet-5's test accuracy.

Source: He, Yu, Wang, Li, Chen, "From Data Quality to Model Quality: an Exploratory Study on Deep
Learning", figures 1, 4, 6, 7, 10 and its claims about MNIST. The paper gives neither optimiser nor
seeds nor contrast factors; what stands here for them is in ``docs/studies``.

Scales: ``laptop`` trains on 10,000 of the 60,000 images, three seeds. ``paper`` trains on all of
them, until the training accuracy is 99.9 % or the epochs are used up. ``smoke`` runs a few points
of every question on the embedded Fashion-MNIST in a minute; its numbers mean nothing.

Expected (forecast before the first run, nothing is tuned to it): deleting a class costs its share
of the test set and hardly more; half of the images cost less than a point; memorised wrong labels
bring the accuracy to about 90 % at 20 %, and never to chance at 15 %; a clipped contrast costs a
few points, 67 % needs bytes that wrap around. Cost: ``laptop`` under an hour on two cores,
``smoke`` half a minute; for ``paper`` ask ``zoo plan``. Command: ``zoo run data_quality_mnist
    --scale laptop``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from zoo.studies import (
    RECIPES,
    Chart,
    Claim,
    Experiment,
    Outcomes,
    Point,
    Row,
    Table,
    above,
    accuracy_line,
    between,
    class_matters,
    lines,
    matched_harm,
    op,
    power_law_table,
    reference_line,
    sweeps_of,
    value,
    verdict_table,
)
from zoo.studies.claims import of_network
from zoo.studies.class_changes import beyond_rows, deleted_rows, deleting_costs
from zoo.studies.drops import costs_little, some_factor_costs, stronger_is_worse
from zoo.studies.wrong_labels import harm_most, memorised_drop

SCALES = ("laptop", "smoke", "paper")

PERCENTS = (*range(1, 21), *range(30, 101, 10))
"""10 to 100 in steps of 10 and 1 to 20 in steps of 1: 28 points (section III.A of the paper)."""

CONTRASTS = (0.25, 0.5, 0.75, 1.5, 2.0, 4.0)
WRAPPED = (1.5, 2.0, 4.0)
INFINITE = float("inf")

IMAGES = {"smoke": 600, "laptop": 10_000, "paper": None}
SEEDS = {"smoke": (0, 1), "laptop": (0, 1, 2), "paper": (0, 1, 2)}

# Version 1, whose stop rule reads the running accuracy: the loop that made the results in
# docs/studies. LeNet-5 has no drop-out.
RECIPE = {
    "smoke": (
        RECIPES["onecycle"].replace(
            epochs=4, lr=4e-3, batch_size=64, stop_train_acc=0.999, version=1
        )
    ),
    "laptop": (
        RECIPES["onecycle"].replace(
            epochs=24, lr=4e-3, batch_size=128, stop_train_acc=0.999, version=1
        )
    ),
    "paper": RECIPES["adam"].replace(epochs=60, stop_train_acc=0.999, version=1),
}

ARCH = "lenet5"
DATASET = "mnist"
"""What the claims are about."""


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
        *(
            Point(
                "delete", p / 100, (*start, op("delete_fraction", fraction=p / 100, replica=seed))
            )
            for p in percents
        ),
        # The other reading of "10 % to 100 %": keep p %. The points shared with "delete" are the
        # same trainings.
        *(
            Point(
                "keep",
                p / 100,
                (
                    (*start, op("delete_fraction", fraction=(100 - p) / 100, replica=seed))
                    if p < 100
                    else start
                ),
            )
            for p in kept
        ),
        *(
            Point(
                "noise_to_0",
                p / 100,
                (*start, op("label_noise", fraction=p / 100, to=0, seed=seed)),
            )
            for p in percents
        ),
        *(
            Point("noise_random", p / 100, (*start, op("label_noise", fraction=p / 100, seed=seed)))
            for p in percents
        ),
        *(
            Point("contrast", k, (*start, op("contrast", factor=k)))
            for k in ((0.5, 2.0) if smoke else CONTRASTS)
        ),
        Point("contrast", INFINITE, (*start, op("contrast", factor="inf"))),
        *(
            Point("contrast_wrap", k, (*start, op("contrast", factor=k, overflow="wrap")))
            for k in ((2.0,) if smoke else WRAPPED)
        ),
    ]


def experiment(scale: str) -> Experiment:
    """Trains every point with every seed and asks every classifier for its answers on the clean
    test set."""
    every = 1 if scale == "paper" else 4
    return Experiment(
        name="data_quality_mnist",
        title=(
            "From data quality to model quality:"
            f" {'Fashion-MNIST in place of MNIST' if scale == 'smoke' else 'MNIST'}"
        ),
        scale=scale,
        dataset="fashion-mini" if scale == "smoke" else DATASET,
        sweeps=sweeps_of(
            lambda seed: points(scale, seed),
            archs=(ARCH,),
            seeds=SEEDS[scale],
            recipe=RECIPE[scale],
            eval_every={point.aspect: every for point in points(scale, 0)},
        ),
        fill_splits=("test",),
        keep_logits="none",
        sections=("summary", "verdicts", "charts", "rerun"),
        next_command=(
            'zoo query "select treatment, seed, epochs, stop_reason, label_change_rate from'
            ' trainings order by treatment"'
        ),
    )


# ---------------------------------------------------------- claims, with the rules that decide them


_lenet = partial(of_network, arch=ARCH)
_near_90 = partial(between, low=0.03, high=0.13)
_at_chance = partial(above, threshold=0.83)


def _harms(outcomes: Outcomes, arch: str, percent: int) -> dict[str, NDArray[np.float64]]:
    """Drop at ``percent`` % of the examples affected. One class of ten is 10 % of the examples."""
    share = percent / 100
    groups = {
        f"{percent} % random wrong labels": [("noise_random", share, -1)],
        f"{percent} % labels set to 0": [("noise_to_0", share, -1)],
        f"{percent} % deleted at random": [("delete", share, -1)],
    }
    if percent == 10:
        groups["class deleted (mean)"] = outcomes.changes("delete_class")
    return matched_harm(outcomes, groups, arch=arch)


CLAIMS = (
    Claim(
        "S1.1",
        "Deleting one class lowers the test accuracy by at least 5 points, whichever class it is",
        '"decreases significantly"',
        "Drop against the baseline of the same seed above 5 points for every class. Measured: mean"
        " over the classes.",
        _lenet(deleting_costs(0.05)),
    ),
    class_matters(ARCH),
    Claim(
        "S1.6",
        "Half of the training set costs at most 1 point, nine tenths at most 3",
        '"not significantly influence"',
        "Drop at 50 % deleted under 1 point and at 90 % deleted under 3 points. Measured: the drop"
        " at 90 %.",
        _lenet(costs_little("delete", 0.01, 0.03)),
    ),
    Claim(
        "S1.8 random",
        "With random wrong labels the accuracy decreases to about 90 %",
        "about 90 %",
        "From 98 to about 90 %: drop at 20 % wrong labels, the end of the fine grid, between 3 and"
        " 13 points. Judged where these trainings memorised the wrong labels (reached the stop"
        " rule).",
        _lenet(memorised_drop("noise_random", 0.2, _near_90)),
    ),
    Claim(
        "S1.8 to 0",
        "With labels set to 0 the accuracy decreases to about 90 %",
        "about 90 %",
        "As S1.8 random, for labels set to 0.",
        _lenet(memorised_drop("noise_to_0", 0.2, _near_90)),
    ),
    Claim(
        "S1.9 random",
        "At 15 % random wrong labels the accuracy is that of guessing",
        "10 % at 15 %",
        "From 98 % to guessing: drop at 15 % wrong labels above 83 points. Judged where these"
        " trainings memorised the wrong labels (reached the stop rule). The paper contradicts"
        " itself here (S1.8): both are judged.",
        _lenet(memorised_drop("noise_random", 0.15, _at_chance)),
    ),
    Claim(
        "S1.9 to 0",
        "At 15 % labels set to 0 the accuracy is that of guessing",
        "10 % at 15 %",
        "As S1.9 random, for labels set to 0.",
        _lenet(memorised_drop("noise_to_0", 0.15, _at_chance)),
    ),
    Claim(
        "S1.11",
        "Wrong labels harm more than any other damage to as many examples",
        '"Label errors are the most harmful"',
        "At 10 % and at 20 % of the examples affected: the drop by random wrong labels exceeds that"
        " by random deletion and (10 %) that by deleting one class (mean over the classes). Judged"
        " where the wrong labels were memorised. Measured: drop at 20 % wrong labels.",
        _lenet(harm_most(_harms, (10, 20), said="Drops: ", each="")),
    ),
    Claim(
        "S1.12 weaker",
        "A weaker contrast costs about 3 points",
        "98 % to 95 %",
        "At some factor of the grid under 1 the drop lies between 1.5 and 6 points. Measured: the"
        " drop at the smallest factor.",
        _lenet(some_factor_costs("contrast", 0.015, 0.06, weaker=True)),
    ),
    Claim(
        "S1.12 stronger",
        "A stronger contrast costs about 31 points",
        "98 % to 67 %",
        "At some clipped factor of the grid over 1 (or infinite) the drop lies between 20 and 45"
        " points. Measured: the drop at the largest factor.",
        _lenet(some_factor_costs("contrast", 0.2, 0.45, weaker=False)),
    ),
    Claim(
        "S1.12 wrapped",
        "A stronger contrast whose bytes wrap around costs about 31 points",
        "98 % to 67 %",
        "As S1.12 stronger, for values taken modulo 256 instead of clipped: what an unchecked"
        " computation on bytes would have done.",
        _lenet(some_factor_costs("contrast_wrap", 0.2, 0.45, weaker=False)),
    ),
    Claim(
        "S1.12 order",
        "A stronger contrast harms more than a weaker one",
        "-31 against -3 points",
        "Mean drop over the stronger (clipped, finite) factors minus mean drop over the weaker"
        " ones, above 0.",
        _lenet(stronger_is_worse),
    ),
)


# ---------------------------------------------------------------- figures


def _two_ranges(outcomes: Outcomes, aspects: dict[str, str]) -> list[Row]:
    """Accuracy against per cent in the paper's two ranges, 0 to 100 in steps of 10 and 1 to 20 in
    steps of 1."""
    return [
        row
        for panel, inside in (
            ("0 to 100 %", lambda x: x % 10 == 0),
            ("0 to 20 %", lambda x: x <= 20),
        )
        for aspect, series in aspects.items()
        for row in accuracy_line(
            outcomes,
            aspect,
            arch=ARCH,
            panel=panel,
            series=series,
            baseline_at=None if aspect == "keep" else 0.0,
            within=inside,
            x=lambda setting: round(100 * setting),
        )
    ]


def verdicts(outcomes: Outcomes) -> Table:
    """The claims about MNIST, judged."""
    return verdict_table(CLAIMS, outcomes, about=DATASET)


def charts(outcomes: Outcomes) -> tuple[Chart, ...]:
    """Figures 1, 4, 6, 7, 10 of the paper, and three that it lacks."""
    factors = [value("", "clipped", 1.0, outcomes.acc("baseline", arch=ARCH), x_text="1")]
    for aspect, series in (("contrast", "clipped"), ("contrast_wrap", "wrapped around")):
        factors += accuracy_line(outcomes, aspect, arch=ARCH, series=series)
    # Infinity has no place on an axis of numbers: the axis is even and shows the factors as text.
    top = 2 * max(row["x"] for row in factors if np.isfinite(row["x"]))
    contrast = sorted(
        ({**row, "x": row["x"] if np.isfinite(row["x"]) else top} for row in factors),
        key=lambda row: float(row["x"]),
    )
    harms = [
        value(
            f"{percent} % of the examples affected",
            "drop",
            position,
            harm,
            x_text=kind.replace(f"{percent} % ", ""),
        )
        for percent in (10, 20)
        for position, (kind, harm) in enumerate(_harms(outcomes, ARCH, percent).items())
    ]
    size_rows, law = power_law_table(outcomes, ["delete", "keep"], arch=ARCH, series="LeNet-5")
    noise = {"noise_to_0": "labels set to 0", "noise_random": "random wrong labels"}
    deleted = "examples deleted or kept (%)"
    return (
        Chart(
            "figure-01",
            "Figure 1: accuracy when one class is deleted",
            "bars",
            lines(deleted_rows(outcomes, arch=ARCH)),
            "class deleted",
            "test accuracy",
            "Accuracy on the whole test set, and on the classes that were not deleted. Bars: mean"
            " and sd over seeds.",
        ),
        Chart(
            "beyond-ceiling",
            "Accuracy lost beyond the class-deletion ceiling",
            "bars",
            lines(
                beyond_rows(
                    outcomes,
                    outcomes.changes("delete_class"),
                    {"delete_class": ""},
                    arch=ARCH,
                    series="drop beyond the ceiling",
                )
            ),
            "class deleted",
            "drop beyond the ceiling",
            "Drop against the baseline of the same seed minus the deleted class's share of the test"
            " set, which no network could keep. Under 0: the other classes gain, or the class was"
            " never recognised in whole. Not in the paper.",
        ),
        Chart(
            "figure-04",
            "Figure 4: accuracy when the size of the training set is changed",
            "lines",
            lines(_two_ranges(outcomes, {"delete": "deleted", "keep": "kept"})),
            deleted,
            "test accuracy",
            "Both readings of the paper's percentages: that share deleted (its text), that share"
            " kept. No example left counts as chance.",
        ),
        Chart(
            "size-power-law",
            "Test error against training-set size",
            "lines",
            lines(size_rows),
            "training examples",
            "test error",
            f"Power law fitted by least squares in log-log (R\u00b2 = {law.r2:.3f}). Not in the"
            " paper.",
            x_scale="log",
            y_scale="log",
        ),
        *(
            Chart(
                f"figure-0{number}",
                f"Figure {number}: accuracy with {noise[aspect]}",
                "lines",
                lines(_two_ranges(outcomes, {aspect: noise[aspect]})),
                "labels changed (%)",
                "test accuracy",
                caption,
            )
            for number, aspect, caption in (
                (
                    6,
                    "noise_to_0",
                    (
                        "Labels set to 0, zeros included: the true error rate is smaller by their"
                        " share."
                    ),
                ),
                (
                    7,
                    "noise_random",
                    "Each changed label is a wrong one, uniformly among the others.",
                ),
            )
        ),
        Chart(
            "figure-10",
            "Figure 10: accuracy when the contrast of the training images is changed",
            "lines",
            lines(
                [
                    *contrast,
                    *reference_line(
                        "",
                        "baseline",
                        [row["x"] for row in contrast],
                        float(outcomes.acc("baseline", arch=ARCH).mean()),
                    ),
                ]
            ),
            "contrast factor k",
            "test accuracy",
            "x' = m + k (x - m), m the image's mean; inf is the threshold at m. Clipped to 0..255,"
            " or wrapped around modulo 256.",
            x_scale="even",
        ),
        Chart(
            "matched-harm",
            "Harm at the same share of affected examples",
            "bars",
            lines(harms),
            "damage",
            "drop of test accuracy",
            "Drop against the baseline of the same seed. Not in the paper, which compares damages"
            " of unequal extent.",
        ),
    )
