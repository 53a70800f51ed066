"""The populations of study 2, which its experiments share: data, networks, training sets,
snapshots and recipes by scale.

Source: "Example perplexity and class label cleaning", section 3: ten architectures, ten training
sets each (three at 25 %, three at 50 %, three at 75 %, the whole), five snapshots: 500 classifiers
from 100 trainings. A part of the study is one data set: clean, with symmetric noise, with noise by
confusion. What an experiment adds to a part are its selections and arms; the trainings of its
population are the same trainings everywhere, and done once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from zoo.recipes import RECIPES
from zoo.spec import Arm, ArmGroup, Experiment, Op, Recipe, SelectionRule, Sweep
from zoo.trainsets import rules
from zoo.trainsets.treatments import op

__all__ = [
    "ABOUT",
    "HEADLINE",
    "MODELS",
    "PAPER_BUDGETS",
    "RETRAINED",
    "SCALES",
    "SCORING",
    "Group",
    "arms_on",
    "budgets",
    "chain",
    "cleaned",
    "data",
    "drawn",
    "ops",
    "part",
    "population",
    "retraining",
    "single_run",
    "words",
]

SCALES: Final = ("smoke", "laptop", "gpu", "paper")

ABOUT: Final = ("cifar10", "imagenet")
"""Data sets that the claims may be judged on; ImageNet is the paper's."""

SCORING: Final = {
    "smoke": ("softmax", "mlp", "lenet5"),
    "laptop": (
        *("softmax", "mlp", "lenet5", "nin_mini", "vgg_mini"),
        *("resnet_mini", "inception_mini", "xception_mini", "densenet_mini", "efficientnet_mini"),
    ),
    "paper": (
        *("vgg16", "resnet50", "resnet101", "inception_v3", "legacy_xception"),
        *("densenet121", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b2"),
    ),
}
"""Networks that score. At the scales ``laptop`` and ``gpu`` one that scores is never retrained; the
paper retrains two of its own."""

RETRAINED: Final = {
    "smoke": "mlp",
    "laptop": "mobilenet_mini",
    "gpu": "mobilenet_mini",
    "paper": "resnet50",
}
"""The network of the grids; the paper's second."""

HEADLINE: Final = {
    "smoke": "mlp",
    "laptop": "resnet8",
    "gpu": "resnet20",
    "paper": "resnet101",
}
"""The network of the headline comparison; the paper's first."""

_BASE: Final = {
    "smoke": "fashion-mini+take:count=500,stratified=true",
    "laptop": "cifar10+take:count=10000,stratified=true",
    "gpu": "cifar10",
    "paper": "imagenet",
}
"""Before any noise. ``smoke`` has planted errors of its own; its numbers mean nothing."""

_NOISE: Final = {
    "clean": "",
    "sym20": "+label_noise:fraction=0.2",
    "conf20": "+label_noise:fraction=0.2,to=confusion",
}
"""Symmetric: any other class. By confusion: where a small network is least sure of the label, its
likeliest other class."""

_PER_CLASS: Final = {"smoke": 50, "laptop": 1000, "gpu": 5000, "paper": 1281}
"""Examples of a class, about."""

MODELS: Final = {"model-1": 0.916, "model-2": 0.809, "model-3": 0.692}
"""The paper's table 1 by the share of the training set that its thresholds keep."""

PAPER_BUDGETS: Final = (200, 500)
"""Examples per class that the paper retrains on, of 1,281: its second and its first network."""


def words(scale: str, *, confusion: bool = True) -> tuple[str, ...]:
    """Words of the parts at a scale. ImageNet gets no planted noise: its own labels are studied;
    the smallest scale leaves out what takes a network of its own.

    Args:
        confusion: False = without the part whose noise is by confusion.
    """
    if scale == "paper":
        return ("clean",)
    return tuple(_NOISE) if confusion and scale != "smoke" else ("clean", "sym20")


def data(scale: str, word: str) -> str:
    """The data set of a part, as ``zoo.data.open_dataset`` takes it."""
    return _BASE[scale] + _NOISE[word]


def budgets(scale: str) -> tuple[int, int]:
    """Examples per class for retraining, in the paper's proportion to the size of a class: 156 and
    390 of 1,000."""
    small, large = (
        n if scale == "paper" else round(n / _PER_CLASS["paper"] * _PER_CLASS[scale])
        for n in PAPER_BUDGETS
    )
    return small, large


def population(scale: str, *, last: bool = False) -> Sweep:
    """The trainings of a population and their snapshots: evenly spaced over the schedule, or the
    last ones (the two readings of the paper's "different epochs")."""
    epochs, count = {"smoke": (2, 2), "laptop": (10, 5), "gpu": (15, 5), "paper": (25, 5)}[scale]
    replicas = 1 if scale == "smoke" else 3
    evenly = tuple(epochs * (k + 1) // count for k in range(count))
    return Sweep(
        archs=SCORING.get(scale, SCORING["laptop"]),
        treatments=tuple(
            (op("subsample", fraction=fraction, replica=replica),) if fraction < 1 else ()
            for fraction, many in ((0.25, replicas), (0.5, replicas), (0.75, replicas), (1.0, 1))
            for replica in range(1, many + 1)
        ),
        recipe=_SGD if scale == "paper" else RECIPES["onecycle"].replace(epochs=epochs, lr=2e-3),
        # Without batch normalisation, VGG-16 diverges at a rate of 0.1.
        recipes={"vgg16": _SGD.replace(lr=0.01)} if scale == "paper" else {},
        snapshots=tuple(range(epochs - count + 1, epochs + 1)) if last else evenly,
    )


def single_run(scale: str) -> Sweep:
    """One training of the whole set with every epoch a snapshot, by the population's recipe and a
    seed of its own: what EL2N, forgetting, AUM and small loss are of in their sources, which rank
    by residual networks (``resnet_mini``; like all that score it is never retrained)."""
    recipe = population(scale).recipe
    return Sweep(
        archs=("lenet5" if scale == "smoke" else "resnet_mini",),
        recipe=recipe,
        seeds=(1,),
        snapshots=tuple(range(1, recipe.epochs + 1)),
    )


_SGD: Final = RECIPES["sgd"].replace(
    epochs=25, batch_size=256, augment="resized_crop_flip", precision="bf16", channels_last=True
)


def retraining(
    scale: str, arch: str, *, seeds: int = 6, passes: int = 1, eval_every: int = 0
) -> Sweep:
    """How arms are retrained: Adam at 1e-3, batches of 128, a tenth of the rate for the last
    quarter (section 3.2 and figures 3 and 4), as many steps whatever an arm holds and whatever its
    budget: at the laptop's scale 64,000 image passes, 16 over the larger budget.

    Args:
        seeds: how many; two at the scale smoke.
        passes: how often as many steps.
        eval_every: epochs between test evaluations, for curves.
    """
    recipe = RECIPES["cleaning"]
    if scale != "paper":
        epochs = {"smoke": 2, "laptop": 16, "gpu": 13}[scale]
        recipe = Recipe(
            optimizer="adam",
            lr=1e-3,
            batch_size=128,
            epochs=epochs * passes,
            schedule="step",
            milestones=(0.75,),
            augment="crop_flip",
        )
    steps = math.ceil(_classes(scale) * budgets(scale)[1] / recipe.batch_size)
    return Sweep(
        archs=(arch,),
        recipe=recipe.replace(steps_per_epoch=steps),
        seeds=tuple(range(2 if scale == "smoke" else seeds)),
        eval_every=eval_every,
    )


def chain(*steps: str) -> str:
    """Selection rules as text, one after the other; "" is none."""
    return "+".join(filter(None, steps))


def cleaned(share: float) -> str:
    """The rule that keeps this share of the examples, whatever C and X that is here."""
    return f"below:share={share},thresholds=joint"


def drawn(arms: Mapping[str, str], count: int) -> dict[str, str]:
    """Arms whose examples are drawn, so many of each class, from what their rules leave."""
    return {arm: chain(rule, f"per_class:count={count}") for arm, rule in arms.items()}


def ops(text: str) -> tuple[Op, ...]:
    """Selection rules as text -> steps."""
    return tuple(Op(name=rule, params=params) for rule, params in rules.parse(text))


class Group(NamedTuple):
    """Arms that are compared with each other, as an experiment declares them.

    Attributes:
        title: the group is called ``WORD: TITLE``.
        arms: name -> selection rules as text, "" = the training set as given; the first is what
            the others are measured against.
        retraining: network, recipe and seeds. Groups of fewer seeds share their trainings with
            those of more.
        tag: what the names of selections end in that this group is the first to need.
    """

    title: str
    arms: Mapping[str, str]
    retraining: Sweep
    tag: str = ""


def arms_on(
    word: str, groups: Iterable[Group], named: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Selections and arm groups of a part, for ``part``. Equal rules are one selection, and equal
    trainings one training, however many groups name them.

    Args:
        named: name -> rules of selections that come first, for rules that refer to them: the
            selection is called ``WORD-NAME``, as is that of an arm of that name.
    """
    chains = {_selection(word, name): rule for name, rule in (named or {}).items()}
    made = []
    for group in groups:
        arms = []
        for arm, rule in group.arms.items():
            name = next((known for known, text in chains.items() if text == rule), None)
            if name is None and rule:
                name = _selection(word, arm, group.tag)
                assert name not in chains, f"two selections are called {name}: give a tag"
                chains[name] = rule
            arms.append(Arm(name=arm, selection=name))
        made.append(
            ArmGroup(name=f"{word}: {group.title}", arms=tuple(arms), retraining=group.retraining)
        )
    return {
        "selections": tuple(
            SelectionRule(name=name, rules=ops(text)) for name, text in chains.items()
        ),
        "arm_groups": tuple(made),
    }


def _selection(*words: str) -> str:
    """The name of a selection: ``sym20``, ``model-4 x5`` -> ``sym20-model-4-x5``."""
    return re.sub("[^A-Za-z0-9.]+", "-", "-".join(filter(None, words))).strip("-")


def _classes(scale: str) -> int:
    return 1000 if scale == "paper" else 10


def part(study: str, scale: str, word: str, *, last: bool = False, **stages: Any) -> Experiment:
    """One data set of a study with the population that scores it.

    Args:
        study: the study's name; the part is called ``STUDY-WORD``.
        word: which noise, of ``words``.
        stages: selections, arm_groups, on: what the study does with the scores.
    """
    return Experiment(
        name=f"{study}-{word}",
        title=f"{study} on {data(scale, word)}",
        scale=scale,
        dataset=data(scale, word),
        sweeps=(population(scale, last=last),),
        fill_splits=("train", "test"),
        keep_logits="val" if scale == "paper" else "all",
        fill_precision="bf16" if scale == "paper" else "fp32",
        **stages,
    )
