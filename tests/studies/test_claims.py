"""Every rule of study 1 against results made for it: they hold, fail or stay open where the rule's
words say so.

The results are synthetic: all accuracies are 0.95 (a seed's own level added), a drop is set for the
points that a claim is about, a fifth of a point under or over the rule's threshold, with a noise of
two hundredths of that. So a rule that is turned round, or whose threshold is moved by more than a
fifth of a point, is told from the one that is written down.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from zoo.studies.claims import (
    LEVEL,
    Claim,
    Evidence,
    above,
    all_of,
    any_of,
    below,
    between,
    verdict_table,
)
from zoo.studies.load import names
from zoo.studies.outcomes import Outcomes

OFFSETS = (0.0, 0.02, -0.03)
"""What a seed adds to all of its trainings."""

WIDE = 0.2
"""A noise in which three seeds decide nothing."""

Drop = float | Callable[[Any], float]


def _module(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, names()[name])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MNIST, CIFAR = _module("data_quality_mnist"), _module("data_quality_cifar10")


def results(
    module: types.ModuleType,
    drops: Mapping[str, Drop],
    *,
    arch: str,
    noise: float = 5e-5,
    recalls: Callable[[Any, int], float] = lambda point, c: 0.0,
    changed: Callable[[Any, int, str], float] = lambda point, c, arch: 0.1,
    fall: Callable[[float], float] = lambda p: 0.0,
    memorised: Callable[[Any], bool] = lambda point: True,
    scale: str = "laptop",
    dataset: str | None = None,
    draw: int = 1,
) -> Outcomes:
    """A study in which the points of an aspect lose what ``drops`` says (a number, or point ->
    number) for one network, and nothing else happens.

    Args:
        noise: sd of what every number has beside the level of its seed.
        recalls: (point, class) -> change of the class's recall.
        changed: (point, class, arch) -> share of predictions that change.
        fall: p -> peak minus final test accuracy of random wrong labels.
    """
    archs = [MNIST.ARCH] if module is MNIST else list(CIFAR.ARCHS["laptop"])
    size = 10_000 if module is MNIST else 50_000 if scale == "paper" else 2_500
    rows, by_class, curves = [], [], []
    rng = np.random.default_rng(draw)
    for which in archs:
        for seed, offset in enumerate(OFFSETS):
            for number, point in enumerate(module.points(scale, seed)):
                drop = drops.get(point.aspect, 0.0) if which == arch else 0.0
                accuracy = (
                    0.95 + offset + noise * rng.normal() - (drop(point) if callable(drop) else drop)
                )
                name = f"{which}/{seed}/{number}"
                kept = 1 - point.setting if point.aspect == "delete" else 1.0
                row = {
                    "aspect": point.aspect,
                    "setting": float(point.setting),
                    "other": point.other,
                    "arch": which,
                    "seed": seed,
                }
                rows.append(
                    row
                    | {
                        "training_id": name,
                        "reached": memorised(point),
                        "n_train": round(size * kept),
                        "train_acc1": 0.9995 if memorised(point) else 0.92,
                    }
                    | {"test_acc1": accuracy}
                )
                for c in range(10):
                    recall = 0.5 + offset + noise * rng.normal() + recalls(point, c)
                    share = changed(point, c, which) + noise * rng.normal()
                    by_class.append(
                        {"training_id": name, "class": c, "recall": recall, "changed": share}
                    )
                if point.aspect in ("baseline", "noise_random"):
                    peak = accuracy + fall(point.setting)
                    # A curve of one training also has a maximum of its own, at another epoch for
                    # each seed.
                    tests = [0.3, peak, accuracy, accuracy, accuracy, accuracy]
                    tests[2 + seed] += 0.015
                    tests = [acc + noise * rng.normal() for acc in tests]
                    curves += [
                        {"training_id": name, "epoch": 2 * e + 2, "split": "test", "acc1": acc}
                        for e, acc in enumerate(tests)
                    ]
    return Outcomes(
        table=pd.DataFrame(rows),
        by_class=pd.DataFrame(by_class),
        curves=pd.DataFrame(curves),
        class_names=tuple(f"class{c}" for c in range(10)),
        class_counts=(1000,) * 10,
        scale=scale,
        dataset=dataset or module.DATASET,
        train_size=size,
    )


def claims(module: types.ModuleType, outcomes: Outcomes) -> dict[str, Claim]:
    listed = MNIST.CLAIMS if module is MNIST else CIFAR.claims(outcomes.archs)
    return {claim.claim: claim for claim in listed}


def verdict(module: types.ModuleType, claim: str, outcomes: Outcomes) -> str:
    return str(
        verdict_table([claims(module, outcomes)[claim]], outcomes, about=module.DATASET)[
            "verdict"
        ].item()
    )


# ---------------------------------------------------------------- MNIST: (claim, verdict, drops)

LENET = MNIST.ARCH


def at(settings: Mapping[float, float], other: float = 0.0) -> Callable[[Any], float]:
    """Drop by setting."""
    return lambda point: settings.get(point.setting, other)


ONLY_3 = {3: 0.048}
MNIST_CASES: list[tuple[str, str, dict[str, Drop]]] = [
    ("S1.1", "holds", {"delete_class": 0.052}),
    ("S1.1", "fails", {"delete_class": at({3: 0.048}, 0.2)}),
    ("S1.1", "fails", {"delete_class": 0.048}),
    ("S1.4", "holds", {"delete_class": lambda point: 0.1 + 0.01 * point.setting}),
    ("S1.4", "fails", {"delete_class": 0.12}),
    ("S1.6", "holds", {"delete": at({0.5: 0.008, 0.9: 0.028}, 0.5)}),
    ("S1.6", "fails", {"delete": at({0.5: 0.012, 0.9: 0.028})}),
    ("S1.6", "fails", {"delete": at({0.5: 0.008, 0.9: 0.032})}),
    *(
        case
        for reading in ("random", "to_0")
        for claim in (f"S1.8 {reading}".replace("_", " "), f"S1.9 {reading}".replace("_", " "))
        for case in (
            [
                (claim, "holds", {f"noise_{reading}": at({0.2: 0.032}, 0.5)}),
                (claim, "holds", {f"noise_{reading}": at({0.2: 0.128}, 0.5)}),
                (claim, "fails", {f"noise_{reading}": at({0.2: 0.028}, 0.08)}),
                (claim, "fails", {f"noise_{reading}": at({0.2: 0.132}, 0.08)}),
            ]
            if claim.startswith("S1.8")
            else [
                (claim, "holds", {f"noise_{reading}": at({0.15: 0.832})}),
                (claim, "fails", {f"noise_{reading}": at({0.15: 0.828}, 0.9)}),
            ]
        )
    ),
    (
        "S1.11",
        "holds",
        {"noise_random": at({0.1: 0.052, 0.2: 0.052}), "delete": 0.05, "delete_class": 0.05},
    ),
    (
        "S1.11",
        "fails",
        {"noise_random": at({0.1: 0.052, 0.2: 0.048}), "delete": 0.05, "delete_class": 0.05},
    ),
    (
        "S1.11",
        "fails",
        {
            "noise_random": at({0.1: 0.048, 0.2: 0.052}),
            "delete": at({0.2: 0.05}),
            "delete_class": 0.05,
        },
    ),
    (
        "S1.11",
        "fails",
        {"noise_random": at({0.1: 0.048, 0.2: 0.052}), "delete": 0.05, "delete_class": 0.04},
    ),
    ("S1.12 weaker", "holds", {"contrast": at({0.25: 0.058, 0.5: 0.5, 0.75: 0.0})}),
    ("S1.12 weaker", "holds", {"contrast": at({0.25: 0.5, 0.5: 0.017, 0.75: 0.0})}),
    ("S1.12 weaker", "fails", {"contrast": at({0.25: 0.062, 0.5: 0.013, 0.75: 0.0}, 0.03)}),
    ("S1.12 stronger", "holds", {"contrast": at({1.5: 0.202}, 0.5)}),
    ("S1.12 stronger", "holds", {"contrast": at({float("inf"): 0.448})}),
    ("S1.12 stronger", "fails", {"contrast": at({1.5: 0.198, 2.0: 0.452, 0.5: 0.3})}),
    ("S1.12 wrapped", "holds", {"contrast_wrap": at({2.0: 0.202}, 0.5)}),
    ("S1.12 wrapped", "holds", {"contrast_wrap": at({4.0: 0.448})}),
    ("S1.12 wrapped", "fails", {"contrast_wrap": at({1.5: 0.198}, 0.452), "contrast": 0.3}),
    (
        "S1.12 order",
        "holds",
        {"contrast": at({0.25: 0.3, 0.5: 0.0, 0.75: 0.0, 1.5: 0.102, 2.0: 0.102, 4.0: 0.102})},
    ),
    (
        "S1.12 order",
        "fails",
        {
            "contrast": at(
                {0.25: 0.1, 0.5: 0.1, 0.75: 0.1, 1.5: 0.0, 2.0: 0.0, 4.0: 0.294, float("inf"): 0.9}
            )
        },
    ),
]


@pytest.mark.parametrize(("claim", "expected", "drops"), MNIST_CASES)
def test_a_rule_of_mnist_decides_as_it_says(
    claim: str, expected: str, drops: dict[str, Drop]
) -> None:
    assert verdict(MNIST, claim, results(MNIST, drops, arch=LENET)) == expected


@pytest.mark.parametrize("claim", [claim.claim for claim in MNIST.CLAIMS])
def test_a_rule_of_mnist_decides_nothing_in_the_noise(claim: str) -> None:
    """With a noise that swallows the differences (19 of 20 draws, so say 4 of 5), and with one
    seed; the cases above are decided."""
    drops = next(
        drops for name, expected, drops in MNIST_CASES if (name, expected) == (claim, "holds")
    )
    noise = WIDE * (6 if "9" in claim else 1)
    found = [
        verdict(MNIST, claim, results(MNIST, drops, arch=LENET, noise=noise, draw=draw))
        for draw in range(5)
    ]
    assert found.count("undecided") >= 4
    assert verdict(MNIST, claim, one_seed(results(MNIST, drops, arch=LENET))) == "undecided"


def test_every_claim_of_mnist_has_a_case_that_holds_and_one_that_fails() -> None:
    assert {(claim, expected) for claim, expected, _ in MNIST_CASES} == {
        (claim.claim, expected) for claim in MNIST.CLAIMS for expected in ("holds", "fails")
    }


def one_seed(outcomes: Outcomes) -> Outcomes:
    return dataclasses.replace(
        outcomes, table=outcomes.table[outcomes.table["seed"] == 0].reset_index(drop=True)
    )


# ---------------------------------------------------------------- CIFAR-10

RESNET = "resnet8"
GAUSSIAN = {2.0: 0.0, 8.0: 0.0, 16.0: 0.0}
HARMS = {"salt_pepper": 0.05, "delete": 0.05, "delete_class": 0.05, "relabel": 0.05}
LOOK_ALIKES = {0: 2, 1: 9, 3: 5, 4: 7, 5: 3, 7: 4, 8: 0, 9: 1}


def sizes(under: float, over: float) -> Drop:
    """Drop of a training set of 50,000 * kept images that gains ``under`` per doubling up to 10,000
    and ``over`` from there on."""

    def drop(point: Any) -> float:
        n = 50_000 * (1 - point.setting)
        return over * np.log2(50_000 / max(n, 10_000)) + under * np.log2(10_000 / min(n, 10_000))

    return drop


def grows(slope: float) -> Drop:
    return lambda point: slope * point.setting


def alike(share_of_order: float) -> Callable[[Any, int, str], float]:
    """Shares of changed predictions of the other classes: in order for the ResNet; for the NIN that
    order mixed with a random one, turned round where the share is negative. The changed class
    itself is the most changed in both."""
    random = np.random.default_rng(3).permuted(np.tile(np.arange(10.0), (20, 1)), axis=1)

    def share(point: Any, c: int, arch: str) -> float:
        if point.aspect not in ("delete_class", "relabel"):
            return 0.1
        if c == int(point.setting):
            return 0.9
        order = (c + point.setting) % 10
        other = random[int(point.setting) + 10 * (point.aspect == "relabel"), c]
        return float(
            0.01
            * (
                order
                if arch == RESNET
                else share_of_order * order + (1 - abs(share_of_order)) * other
            )
        )

    return share


def gains(
    of_look_alikes: float, of_others: float, *, only: tuple[int, ...] = ()
) -> Callable[[Any, int], float]:
    """Change of recall of look-alikes of deleted classes, and of every other class under every
    other change."""

    def change(point: Any, c: int) -> float:
        if point.aspect not in ("delete_class", "relabel"):
            return 0.0
        is_gain = (
            point.aspect == "delete_class"
            and LOOK_ALIKES.get(int(point.setting)) == c
            and (not only or int(point.setting) in only)
        )
        return of_look_alikes if is_gain else of_others

    return change


CIFAR_CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("S1.2", "holds", {"recalls": gains(-0.002, -0.002)}),
    ("S1.2", "fails", {"recalls": gains(0.002, -0.05)}),
    # one cell rises much, the look-alikes fall in the mean
    ("S1.2", "undecided", {"recalls": gains(0.4, -0.1, only=(3,))}),
    ("S1.3", "holds", {"drops": {"relabel": 0.063, "delete_class": 0.05}}),
    ("S1.3", "holds", {"drops": {"relabel": 0.037, "delete_class": 0.05}}),
    ("S1.3", "fails", {"drops": {"relabel": 0.067, "delete_class": 0.05}}),
    (
        "S1.3",
        "fails",
        {
            "drops": {
                "relabel": lambda point: 0.05 + 0.017 * (-1) ** point.setting,
                "delete_class": 0.05,
            }
        },
    ),
    ("S1.4", "holds", {"drops": {"delete_class": lambda point: 0.1 + 0.01 * point.setting}}),
    ("S1.4", "fails", {"drops": {"delete_class": 0.12}}),
    ("S1.5", "holds", {"changed": alike(0.41)}),  # rank correlation .51
    ("S1.5", "fails", {"changed": alike(0.39)}),  # .48; over .5 with the changed class
    ("S1.5", "holds", {"changed": alike(1.0)}),
    ("S1.5", "fails", {"changed": alike(-1.0)}),
    ("S1.7", "holds", {"scale": "paper", "drops": {"delete": sizes(0.102, 0.05)}}),
    ("S1.7", "fails", {"scale": "paper", "drops": {"delete": sizes(0.098, 0.05)}}),
    ("S1.7 scaled", "holds", {"drops": {"delete": sizes(0.102, 0.05)}}),
    ("S1.7 scaled", "fails", {"drops": {"delete": sizes(0.098, 0.05)}}),
    ("S1.10 decline", "holds", {"fall": lambda p: 0.012 if p > 0.15 else 0.0}),
    *(
        ("S1.10 decline", "fails", {"fall": lambda p, low=low: 0.008 if p == low else 0.2})
        for low in (0.2, 0.6)
    ),
    ("S1.10 limit", "holds", {"fall": lambda p: 0.008 if p == 0.1 else 0.2}),
    ("S1.10 limit", "fails", {"fall": lambda p: 0.012 if p == 0.1 else 0.0}),
    (
        "S1.10 intolerable",
        "holds",
        {"drops": {"noise_random": lambda point: 0.102 if point.setting > 0.25 else 0.0}},
    ),
    *(
        (
            "S1.10 intolerable",
            "fails",
            {
                "drops": {
                    "noise_random": lambda point, low=low: 0.098 if point.setting == low else 0.5
                }
            },
        )
        for low in (0.3, 0.6)
    ),
    ("S1.11", "holds", {"drops": {"noise_random": 0.052, **HARMS}}),
    *(
        (
            "S1.11",
            "fails",
            {"drops": {**dict.fromkeys(HARMS, 0.04), **HARMS, "noise_random": at({p: 0.048}, 0.2)}},
        )
        for p in (0.1, 0.2, 0.4, 0.6)
    ),
    *(
        (
            "S1.11",
            "fails",
            {"drops": {"noise_random": 0.05, **dict.fromkeys(HARMS, 0.02), worse: 0.052}},
        )
        for worse in ("salt_pepper", "delete", "delete_class", "relabel")
    ),
    *(
        ("S1.13 gain", "holds", {"drops": {"gaussian": at({2.0: -0.002}, other)}})
        for other in (0.1, -0.1)
    ),
    ("S1.13 gain", "fails", {"drops": {"gaussian": at({2.0: 0.002}, -0.1)}}),
    *(
        ("S1.13 8", "holds", {"drops": {"gaussian": at({2.0: 0.05, 8.0: 0.052}, other)}})
        for other in (0.0, 0.2)
    ),
    ("S1.13 8", "fails", {"drops": {"gaussian": at({2.0: 0.05, 8.0: 0.048, 16.0: 0.2})}}),
    *(
        ("S1.13 16", "holds", {"drops": {"gaussian": at({2.0: other, 8.0: 0.05, 16.0: 0.052})}})
        for other in (0.0, 0.2)
    ),
    ("S1.13 16", "fails", {"drops": {"gaussian": at({8.0: 0.05, 16.0: 0.048})}}),
    ("S1.14 never", "holds", {"drops": {"salt_pepper": 0.002}}),
    *(
        ("S1.14 never", "fails", {"drops": {"salt_pepper": at({a: -0.002}, 0.2)}})
        for a in (0.05, 0.4)
    ),
    ("S1.14 damage", "holds", {"drops": {"salt_pepper": at({0.3: 0.102, 0.4: 0.102})}}),
    *(
        ("S1.14 damage", "fails", {"drops": {"salt_pepper": at({a: 0.098}, 0.2)}})
        for a in (0.3, 0.4)
    ),
    ("S1.14 findings", "holds", {"drops": {"salt_pepper": at({0.05: -0.002}, 0.2)}}),
    ("S1.14 findings", "fails", {"drops": {"salt_pepper": at({0.05: 0.002}, -0.2)}}),
    (
        "S1.15 darker",
        "holds",
        {"drops": {"gamma": at({0.25: 0.05, 0.5: 0.01, 2.0: 0.012, 4.0: 0.052})}},
    ),
    (
        "S1.15 darker",
        "fails",
        {"drops": {"gamma": at({0.25: 0.05, 0.5: 0.01, 2.0: 0.008, 4.0: 0.2})}},
    ),
    (
        "S1.15 darker",
        "fails",
        {"drops": {"gamma": at({0.25: 0.05, 0.5: 0.01, 2.0: 0.2, 4.0: 0.048})}},
    ),
    ("S1.15 never", "holds", {"drops": {"gamma": 0.002}}),
    *(
        ("S1.15 never", "fails", {"drops": {"gamma": at({g: -0.002}, 0.2)}})
        for g in (0.25, 0.5, 2.0, 4.0)
    ),
    (
        "S1.16",
        "holds",
        {
            "drops": {
                **dict.fromkeys(("gaussian", "salt_pepper", "gamma"), 0.05),
                **dict.fromkeys(("delete_class", "relabel", "delete", "noise_random"), 0.052),
            }
        },
    ),
    *(
        (
            "S1.16",
            "fails",
            {
                "drops": {
                    **dict.fromkeys(("gaussian", "salt_pepper", "gamma"), 0.05),
                    **dict.fromkeys(("delete_class", "relabel", "delete", "noise_random"), 0.06),
                    **dict.fromkeys(milder, 0.048),
                }
            },
        )
        for milder in (("delete_class", "relabel"), ("delete",), ("noise_random",))
    ),
    ("S1.17", "holds", {"drops": {"gaussian_size": 0.102, "gaussian": at({16.0: 0.1})}}),
    ("S1.17", "fails", {"drops": {"gaussian_size": 0.098, "gaussian": at({16.0: 0.1})}}),
]


def judged(claim: str, more: Mapping[str, Any], arch: str = RESNET, **other: Any) -> str:
    name = claim if claim == "S1.5" else f"{claim} {arch}"
    return verdict(
        CIFAR,
        name,
        results(
            CIFAR,
            more.get("drops", {}),
            arch=arch,
            **{k: v for k, v in more.items() if k != "drops"} | other,
        ),
    )


@pytest.mark.parametrize(("claim", "expected", "more"), CIFAR_CASES)
def test_a_rule_of_cifar10_decides_as_it_says(
    claim: str, expected: str, more: dict[str, Any]
) -> None:
    assert judged(claim, more) == expected


CIFAR_NAMES = [*(claim for claim, *_ in CIFAR.PER_NETWORK), "S1.4", "S1.5"]


@pytest.mark.parametrize("claim", CIFAR_NAMES)
def test_a_rule_of_cifar10_decides_nothing_in_the_noise(claim: str) -> None:
    more = next(
        more for name, expected, more in CIFAR_CASES if (name, expected) == (claim, "holds")
    )
    noise = 0.01 if claim == "S1.5" else WIDE  # a third of the differences between classes
    assert [judged(claim, more, noise=noise, draw=draw) for draw in range(5)].count(
        "undecided"
    ) >= 4


@pytest.mark.parametrize("claim", CIFAR_NAMES)
def test_a_claim_is_about_its_own_network(claim: str) -> None:
    """What decides it for one network leaves the other where it was."""
    more = next(
        more for name, expected, more in CIFAR_CASES if (name, expected) == (claim, "holds")
    )
    assert judged(claim, more, arch="nin_mini") == "holds"
    if "drops" in more:
        other = results(
            CIFAR, more["drops"], arch=RESNET, **{k: v for k, v in more.items() if k != "drops"}
        )
        nothing = results(CIFAR, {}, arch=RESNET, **{k: v for k, v in more.items() if k != "drops"})
        assert verdict(CIFAR, f"{claim} nin_mini", other) == verdict(
            CIFAR, f"{claim} nin_mini", nothing
        )


def test_every_claim_of_cifar10_has_a_case_that_holds_and_one_that_fails() -> None:
    found = {(claim, expected) for claim, expected, _ in CIFAR_CASES if expected != "undecided"}
    assert found == {(claim, expected) for claim in CIFAR_NAMES for expected in ("holds", "fails")}


# ------------------------------------------------- what is not tested, and what is about other data

NOISE_CLAIMS = ("S1.8 random", "S1.8 to 0", "S1.9 random", "S1.9 to 0", "S1.11")


@pytest.mark.parametrize("claim", NOISE_CLAIMS)
def test_wrong_labels_that_were_not_memorised_decide_nothing_on_mnist(claim: str) -> None:
    found = results(
        MNIST, {"noise_random": 0.3, "noise_to_0": 0.3}, arch=LENET, memorised=lambda point: False
    )
    row = MNIST.verdicts(found).set_index("claim").loc[claim]
    assert row["verdict"] == "not tested"
    assert f"0 of {6 if claim == 'S1.11' else 3} trainings reached the stop rule" in row["note"]
    assert "92.0%" in row["note"]


@pytest.mark.parametrize(
    "claim", ["S1.10 decline", "S1.10 limit", "S1.10 intolerable", "S1.11", "S1.16"]
)
def test_wrong_labels_that_were_not_memorised_decide_nothing_on_cifar10(claim: str) -> None:
    assert (
        judged(
            claim,
            {"drops": {"noise_random": 0.3, "delete": 0.1, "delete_class": 0.1, "relabel": 0.1}},
            memorised=lambda point: False,
        )
        == "not tested"
    )


NOISY_SETTINGS = [
    *((MNIST, f"S1.8 {reading}", [0.2]) for reading in ("random", "to 0")),
    *((MNIST, f"S1.9 {reading}", [0.15]) for reading in ("random", "to 0")),
    (MNIST, "S1.11", [0.1, 0.2]),
    (CIFAR, "S1.10 decline resnet8", [0.2, 0.3, 0.4, 0.5, 0.6]),
    (CIFAR, "S1.10 limit resnet8", [0.1]),
    (CIFAR, "S1.10 intolerable resnet8", [0.3, 0.4, 0.5, 0.6]),
    (CIFAR, "S1.11 resnet8", [0.1, 0.2, 0.4, 0.6]),
]


@pytest.mark.parametrize(("module", "claim", "settings"), NOISY_SETTINGS)
def test_one_training_that_a_claim_speaks_of_is_enough_not_to_test_it(
    module: types.ModuleType, claim: str, settings: list[float]
) -> None:
    """Exactly the shares of wrong labels that it speaks of must be memorised, each of them."""
    grid = [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6]
    wanting = []
    for p in grid:
        found = results(
            module,
            {},
            arch=LENET if module is MNIST else RESNET,
            memorised=lambda point, p=p: point.setting != p,
        )
        if verdict(module, claim, found) == "not tested":
            wanting.append(p)
    assert wanting == settings


def test_image_noise_that_harms_more_than_deleting_fails_without_the_wrong_labels() -> None:
    assert (
        judged(
            "S1.16",
            {"drops": {"gaussian": 0.3, "noise_random": 0.9}},
            memorised=lambda point: False,
        )
        == "fails"
    )


@pytest.mark.parametrize("module", [MNIST, CIFAR])
def test_results_of_other_data_are_measured_and_decide_nothing(module: types.ModuleType) -> None:
    """So a run at smoke scale, on Fashion-MNIST, fails no claim about MNIST or CIFAR-10; the twin
    is the same results under the right name."""
    arch = LENET if module is MNIST else RESNET
    other = module.verdicts(results(module, {}, arch=arch, dataset="fashion-mini"))
    own = module.verdicts(results(module, {}, arch=arch))
    assert set(other["verdict"]) == {"not applicable"}
    assert "fails" in set(own["verdict"])
    assert list(other["measured"].fillna("")) == list(own["measured"].fillna(""))
    assert (
        other["note"]
        .str.contains(f"the claim is about {module.DATASET}, these results are of fashion-mini")
        .all()
    )


def test_claims_that_need_answers_by_class_say_so_where_only_accuracies_were_stored() -> None:
    whole = results(CIFAR, {}, arch=RESNET)
    stored = dataclasses.replace(whole, by_class=None, curves=None)
    table = CIFAR.verdicts(stored).set_index("claim")
    for claim in ("S1.2 resnet8", "S1.5", "S1.10 decline resnet8"):
        assert table.loc[claim, "verdict"] == "not tested"
        assert "stored tables lack" in table.loc[claim, "note"]
    assert (
        table.loc["S1.13 8 resnet8", "verdict"]
        == CIFAR.verdicts(whole).set_index("claim").loc["S1.13 8 resnet8", "verdict"]
    )


# ---------------------------------------------------------------- what is shown

CONTRAST = at(
    {0.25: 0.03, 0.5: 0.02, 0.75: 0.01, 1.5: 0.05, 2.0: 0.32, 4.0: 0.1, float("inf"): 0.4}
)
SHOWN: list[tuple[types.ModuleType, str, dict[str, Any], float, str]] = [
    (
        MNIST,
        "S1.1",
        {"drops": {"delete_class": at({3: 0.1, 5: 0.3}, 0.2)}},
        0.2,
        "Class with the smallest drop: 10.0",
    ),
    (
        MNIST,
        "S1.6",
        {"drops": {"delete": at({0.5: 0.02, 0.9: 0.03})}},
        0.03,
        "Drop at 50 % deleted 2.0",
    ),
    # .95 less the seeds' mean of .00333 and .1
    (MNIST, "S1.8 random", {"drops": {"noise_random": at({0.2: 0.1})}}, 0.1, "Accuracy 84.7"),
    (MNIST, "S1.9 to 0", {"drops": {"noise_to_0": at({0.15: 0.1})}}, 0.1, "Accuracy 84.7"),
    (
        MNIST,
        "S1.11",
        {"drops": {"noise_random": at({0.1: 0.02, 0.2: 0.1})}},
        0.1,
        "10 % random wrong labels 2.0",
    ),
    (MNIST, "S1.12 weaker", {"drops": {"contrast": CONTRAST}}, 0.03, "k = 0.25: 3.0"),
    (
        MNIST,
        "S1.12 stronger",
        {"drops": {"contrast": CONTRAST}},
        0.4,
        "67 % is reached from k = 2 on",
    ),
    (
        MNIST,
        "S1.12 stronger",
        {"drops": {"contrast": 0.27}},
        0.27,
        "67 % is reached at no k of the grid",
    ),
    (
        MNIST,
        "S1.12 order",
        {"drops": {"contrast": CONTRAST}},
        0.47 / 3 - 0.02,
        "weaker contrasts 2.0",
    ),
    # 172 of 180
    (
        CIFAR,
        "S1.2 resnet8",
        {"recalls": gains(0.04, -0.02)},
        0.04,
        "96% of 180 cells (other class x change) fell",
    ),
    (
        CIFAR,
        "S1.3 resnet8",
        {"drops": {"relabel": 0.07, "delete_class": 0.05}},
        0.02,
        "Root mean square of the difference 2.0 points",
    ),
    (
        CIFAR,
        "S1.4 resnet8",
        {"drops": {"delete_class": at({3: 0.2}, 0.1)}},
        0.01,
        "Sd between classes 3.16 points",
    ),
    (CIFAR, "S1.5", {"changed": alike(1.0)}, 0.99, "With the changed class itself"),
    (
        CIFAR,
        "S1.7 scaled resnet8",
        {"drops": {"delete": sizes(0.1, 0.02)}},
        0.06,
        "10.0 \u00b1 0.0 points up to 500 images, 2.0",
    ),
    (CIFAR, "S1.10 decline resnet8", {"fall": lambda p: p / 10}, 0.04, "p = 20%: 2.0"),
    (
        CIFAR,
        "S1.10 intolerable resnet8",
        {"drops": {"noise_random": grows(0.5)}},
        0.15,
        "p = 60%: 30.0",
    ),
    (
        CIFAR,
        "S1.11 resnet8",
        {"drops": {"noise_random": grows(0.5), "salt_pepper": grows(1.0)}},
        0.1,
        "10 %: wrong labels 5.0",
    ),
    (CIFAR, "S1.13 8 resnet8", {"drops": {"gaussian": grows(0.01)}}, 0.06, ""),
    (CIFAR, "S1.14 never resnet8", {"drops": {"salt_pepper": grows(1.0)}}, 0.05, "a = 0.4: 40.0"),
    (CIFAR, "S1.14 damage resnet8", {"drops": {"salt_pepper": grows(1.0)}}, 0.3, ""),
    (CIFAR, "S1.14 findings resnet8", {"drops": {"salt_pepper": grows(1.0)}}, -0.05, ""),
    (
        CIFAR,
        "S1.15 darker resnet8",
        {"drops": {"gamma": grows(0.1)}},
        (0.15 + 0.375) / 2,
        "Gamma 0.5 against 2: 15.0",
    ),
    (CIFAR, "S1.15 never resnet8", {"drops": {"gamma": grows(0.1)}}, 0.675 / 4, "gamma = 4: 40.0"),
    # five of twelve points
    (CIFAR, "S1.16 resnet8", {"drops": {"delete": 0.3, "salt_pepper": 0.12}}, 0.05, "size 30.0"),
    (
        CIFAR,
        "S1.17 resnet8",
        {"drops": {"gaussian_size": 0.1, "gaussian": 0.05}},
        0.1,
        "16 pixels 10.0 \u00b1 0.0 points, 32 pixels 5.0",
    ),
]


@pytest.mark.parametrize(("module", "claim", "more", "mean", "note"), SHOWN)
def test_what_is_measured_is_what_the_rule_says(
    module: types.ModuleType, claim: str, more: dict[str, Any], mean: float, note: str
) -> None:
    """The number in the table, fixed beforehand and worked by hand, and the sentence that tells
    what decided it."""
    arch = LENET if module is MNIST else RESNET
    found = results(
        module, more.get("drops", {}), arch=arch, **{k: v for k, v in more.items() if k != "drops"}
    )
    row = verdict_table([claims(module, found)[claim]], found, about=module.DATASET).iloc[0]
    assert row["mean"] == pytest.approx(mean, abs=4e-4)
    assert note in row["note"]


# ---------------------------------------------------------------- laws


def shifted(outcomes: Outcomes, by: Mapping[int, float]) -> Outcomes:
    """A constant added to everything that was measured with a seed."""
    assert outcomes.by_class is not None
    assert outcomes.curves is not None
    seed_of = dict(zip(outcomes.table["training_id"], outcomes.table["seed"], strict=True))

    def moved(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
        seeds = table["seed"] if "seed" in table else table["training_id"].map(seed_of)
        return table.assign(**{column: table[column] + seeds.map(by) for column in columns})

    return dataclasses.replace(
        outcomes,
        table=moved(outcomes.table, "test_acc1"),
        by_class=moved(outcomes.by_class, "recall", "changed"),
        curves=moved(outcomes.curves, "acc1"),
    )


def loud(module: types.ModuleType, draw: int) -> Outcomes:
    """Results in which every rule is near its threshold: effects and noise of a few points, at
    random."""
    rng = np.random.default_rng(draw)
    arch = LENET if module is MNIST else RESNET
    scale = "paper" if module is CIFAR else "laptop"
    found = results(module, {}, arch=arch, noise=0.0, scale=scale)
    table = found.table.assign(test_acc1=lambda t: t["test_acc1"] - 0.05 * rng.random(len(t)))
    assert found.by_class is not None
    assert found.curves is not None
    by_class = found.by_class.assign(
        recall=lambda t: t["recall"] + rng.normal(0, 0.03, len(t)),
        changed=lambda t: t["changed"] + 0.05 * rng.random(len(t)),
    )
    curves = found.curves.assign(acc1=lambda t: t["acc1"] + rng.normal(0, 0.03, len(t)))
    return dataclasses.replace(found, table=table, by_class=by_class, curves=curves)


def evidence(module: types.ModuleType, outcomes: Outcomes) -> dict[str, tuple[float, ...]]:
    """p for, p against and the measure of every claim."""
    found = {}
    for name, claim in claims(module, outcomes).items():
        finding = claim.measure(outcomes)
        found[name] = (finding.evidence.holds, finding.evidence.fails, *np.sort(finding.values))
    return found


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("module", [MNIST, CIFAR])
def test_what_a_seed_adds_to_all_its_trainings_changes_no_rule(
    module: types.ModuleType, draw: int
) -> None:
    before = loud(module, draw)
    found, wanted = (
        evidence(module, shifted(before, {0: 0.3, 1: -0.2, 2: 0.05})),
        evidence(module, before),
    )
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], abs=1e-9), name


@pytest.mark.parametrize("module", [MNIST, CIFAR])
def test_the_law_can_fail(module: types.ModuleType) -> None:
    """Added to the baselines alone, the same constants change the rules about drops."""
    before = loud(module, 0)
    baseline = before.table["aspect"] == "baseline"
    moved = before.table["test_acc1"] + baseline * before.table["seed"].map(
        {0: 0.3, 1: -0.2, 2: 0.05}
    )
    found, wanted = (
        evidence(module, dataclasses.replace(before, table=before.table.assign(test_acc1=moved))),
        evidence(module, before),
    )
    changed = {name for name in wanted if found[name] != pytest.approx(wanted[name], abs=1e-9)}
    assert changed >= (
        {"S1.1", "S1.6"} if module is MNIST else {"S1.13 gain resnet8", "S1.14 never resnet8"}
    )


@pytest.mark.parametrize("module", [MNIST, CIFAR])
def test_the_names_of_the_seeds_change_no_rule(module: types.ModuleType) -> None:
    before = loud(module, 5)
    table = before.table.assign(seed=before.table["seed"].map({0: 2, 1: 0, 2: 1}))
    found, wanted = (
        evidence(module, dataclasses.replace(before, table=table)),
        evidence(module, before),
    )
    for name in wanted:
        assert found[name] == pytest.approx(wanted[name], abs=1e-9), name


# ---------------------------------------------------------------- parts


def test_an_inequality_needs_its_whole_interval() -> None:
    # Mean .2, sd .1, n = 3: half-width 4.3027 * .1 / sqrt(3) = .2484.
    values = [0.1, 0.2, 0.3]
    assert above(values, -0.05).verdict == "holds"
    assert above(values, -0.048).verdict == "undecided"
    assert above(values, 0.45).verdict == "fails"
    assert below(values, 0.45).verdict == "holds"
    assert below(values, -0.05).verdict == "fails"
    assert between(values, -0.05, 0.45).verdict == "holds"
    assert between(values, -0.048, 0.45).verdict == "undecided"
    assert between(values, 0.45, 0.9).verdict == between(values, -0.9, -0.05).verdict == "fails"
    assert above([0.5], 0.0).verdict == "undecided"


def test_parts_are_corrected_for_their_number_where_one_of_them_is_enough() -> None:
    sure, unsure, no_ = Evidence(0.0, 1.0), Evidence(0.3, 1.0), Evidence(1.0, 0.03)
    assert all_of([sure, sure]).verdict == "holds"
    assert all_of([sure, unsure]).verdict == "undecided"
    assert all_of([no_]).verdict == "fails"
    assert all_of([sure, no_]).verdict == "undecided"  # .03 of two is .06
    assert any_of([Evidence(0.03, 1.0)]).verdict == "holds"
    assert any_of([Evidence(0.03, 1.0), no_]).verdict == "undecided"
    assert any_of([no_, no_]).verdict == "fails"
    assert any_of([no_, unsure]).verdict == "undecided"
    for combine in (all_of, any_of):
        with pytest.raises(ValueError, match="no parts"):
            combine([])


def test_ten_parts_at_their_threshold_fail_a_claim_no_more_often_than_one() -> None:
    """1,000 draws of a fixed generator; the twin shows that uncorrected parts would: one in
    five."""
    draw = np.random.default_rng(0)
    parts = [
        [above(x, 0.0) for x in draw.normal(0, np.linspace(0.1, 3, 10)[:, None], (10, 3))]
        for _ in range(1000)
    ]
    assert np.mean([all_of(x).verdict == "fails" for x in parts]) < LEVEL
    assert np.mean([min(part.fails for part in x) < LEVEL for x in parts]) > 0.15


def test_a_scale_that_asks_some_questions_has_their_charts_and_judges_no_other() -> None:
    found = results(CIFAR, {}, arch=RESNET, scale="workstation")
    names = {chart.name for chart in CIFAR.charts(found)}
    assert names == {"figure-05", "size-power-law", "figure-11", "figure-12"}
    judged = {
        row["claim"].removesuffix(f" {RESNET}")
        for row in CIFAR.verdicts(found).to_dict("records")
        if row["claim"].endswith(RESNET) and row["verdict"] != "not tested"
    }
    asked = {"S1.13 gain", "S1.13 8", "S1.13 16", "S1.15 darker", "S1.15 never", "S1.17"}
    assert judged == {"S1.7 scaled", *asked}
