"""Frozen specs: what a run is, apart from where and on what hardware it runs.

``Op`` (one treatment step) -> ``Recipe`` -> ``Training`` -> ``Sweep`` -> ``Experiment``. Each is
immutable, refuses unknown fields, and has a canonical JSON form. A training's id is the hash of the
part of its spec that decides its result.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zoo.errors import UsageError

__all__ = [
    "PRECISIONS",
    "Arm",
    "ArmGroup",
    "DatasetRef",
    "Experiment",
    "Op",
    "Precision",
    "Preprocessing",
    "Recipe",
    "SelectionRule",
    "Spec",
    "Sweep",
    "Training",
    "canonical_json",
    "classifier_id",
    "content_id",
    "plain_name",
    "treatment_text",
]

Scalar = bool | int | float | str
Precision = Literal["fp32", "bf16"]
"""Of a network's products and maps; weights, sums over a batch and what is stored are float32."""
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN. Equal values give equal text on
    every machine."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )


def content_id(value: Any) -> str:
    """First 16 hex digits of the sha256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def classifier_id(training_id: str, epoch: int) -> str:
    """A classifier is a training at an epoch: ``<training_id>-e0004``."""
    return f"{training_id}-e{epoch:04d}"


def training_and_epoch(classifier: str) -> tuple[str, int] | None:
    """What ``classifier_id`` was given; None for a classifier that was not trained here."""
    found = re.fullmatch(r"([0-9a-f]{16})-e(\d{4,})", classifier)
    return None if found is None else (found[1], int(found[2]))


def plain_name(name: str) -> str:
    """A name that users give to something stored, checked: it becomes part of a file's name.

    Raises:
        UsageError: for anything but 1 to 64 letters, digits, dots, dashes and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UsageError(
            f"name {name!r}: use 1 to 64 letters, digits, dots, dashes or underscores, starting"
            " with a letter or digit."
        )
    return name


def _absent(value: object) -> bool:
    """Whether a field is left out of JSON: one that came later, where it is not used, so that what
    was written before reads, and is hashed, as it was."""
    return value is None


class Spec(BaseModel):
    """Base of all specs: frozen, unknown fields are errors, wrong values raise ``UsageError``
    naming the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            lines = []
            for item in error.errors():
                if "ctx" in item and isinstance(item["ctx"].get("error"), UsageError):
                    raise item["ctx"]["error"] from None
                where = ".".join(str(part) for part in item["loc"]) or type(self).__name__
                lines.append(f"{where} = {item.get('input')!r}: {item['msg']}")
            raise UsageError(f"{type(self).__name__}: " + "; ".join(lines)) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        return type(self)(
            **{**{name: getattr(self, name) for name in type(self).model_fields}, **changes}
        )

    def as_json(self) -> dict[str, Any]:
        dumped: dict[str, Any] = self.model_dump(mode="json")
        return dumped


class Op(Spec):
    """One treatment step: a name of ``zoo.trainsets.treatments.TREATMENTS`` and its parameters,
    defaults filled in.

    Build it with ``zoo.trainsets.treatments.op`` or ``zoo.trainsets.treatments.parse``, which check
    names, types and ranges; that makes ``fraction=1`` and ``fraction=1.0`` the same op, and with it
    the same training.
    """

    name: str
    params: dict[str, Scalar] = Field(default_factory=dict)

    @property
    def text(self) -> str:
        """Readable form, also the form the command line takes:
        ``subsample:fraction=0.25,replica=1``."""
        settings = ",".join(f"{k}={_scalar_text(v)}" for k, v in sorted(self.params.items()))
        return f"{self.name}:{settings}" if settings else self.name


SAMPLING = frozenset({"delete_fraction", "fold", "subsample", "take"})
"""Treatments that only choose which examples are trained on, at random; all others change what is
learned (labels, pictures, classes, weights)."""


def is_sample(ops: Iterable[Op]) -> bool:
    """Whether a treatment leaves a random part of the training set as it was given."""
    return all(op.name in SAMPLING for op in ops)


def treatment_text(ops: Sequence[Op]) -> str:
    """The steps as users read them: ``subsample:fraction=0.25,replica=1 +
    label_noise:fraction=0.2``; ``none`` without a step."""
    return " + ".join(op.text for op in ops) or "none"


def _scalar_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


class DatasetRef(Spec):
    """A data set by where to open it and what is in it. Only the fingerprint is identity."""

    uri: str
    fingerprint: str


class Preprocessing(Spec):
    """What turns a decoded picture into a network's input; part of every checkpoint.

    ``size``: side of the square input in pixels. ``channels``: 1 grey, 3 RGB. ``fit``: ``pad``
    centres a smaller picture on black, ``resize`` scales the whole picture to the square (bilinear,
    antialiased), ``crop`` the centred square of 7/8 of its shorter side. ``mean``, ``std``: per
    channel, in units of 0..1.

    ``features``: key of a backbone (``zoo.store.features``), where a network's input is not a
    picture but what that backbone makes of it: a vector of ``channels`` numbers at ``size`` 1, as
    it is stored. None = pictures.
    """

    size: int = Field(ge=1)
    channels: int = Field(ge=1)
    fit: Literal["pad", "resize", "crop"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    features: str | None = Field(default=None, exclude_if=_absent)

    @model_validator(mode="after")
    def _channels_of_pictures(self) -> Self:
        if self.features is None and self.channels not in (1, 3):
            raise UsageError(
                f"Preprocessing: channels = {self.channels}. Allowed for pictures: 1 grey, 3 RGB."
            )
        return self


class Recipe(Spec):
    """How a network is trained. Every field is identity.

    ``epochs``: passes (or, with ``steps_per_epoch``, stretches of that many optimiser steps over a
    stream of reshuffled passes). ``schedule``: constant; cosine to 0; step = times ``gamma`` at
    each of ``milestones`` (fractions of the epochs); onecycle = linear up over the first 15 % of
    the steps, then linear down to 0. ``stop_train_acc``: end when the accuracy on the training set
    reaches it after an epoch. ``augment``: none, flip, crop_flip (pad 4, random crop, flip),
    resized_crop_flip (the standard random resized crop of 8 to 100 % of the area, flip).

    ``version``: which loop; raised where the loop changes a recipe's results, so that the ids of
    other recipes stay. Left out, it is today's: 2 with ``stop_train_acc`` (which version 1 compared
    with the running accuracy of the epoch, drop-out on) or ``resized_crop_flip`` (which in version
    1 was not the standard one, and cannot be run any more), else 1.
    """

    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch_size: int = Field(default=128, ge=1)
    epochs: int = Field(default=10, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    schedule: Literal["constant", "cosine", "step", "onecycle"] = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = Field(default=0.1, gt=0, le=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    stop_train_acc: float | None = Field(default=None, gt=0, le=1)
    augment: Literal["none", "flip", "crop_flip", "resized_crop_flip"] = "none"
    precision: Precision = "fp32"
    channels_last: bool = False
    version: int = Field(default=1, ge=1, le=2)

    @model_validator(mode="before")
    @classmethod
    def _todays_version(cls, fields: dict[str, Any]) -> dict[str, Any]:
        return fields if "version" in fields else {**fields, "version": _loop_version(fields)}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again; of today's version, unless this one or
        the change names an older one."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        if self.version == _loop_version(fields):
            del fields["version"]
        return type(self)(**{**fields, **changes})


def _loop_version(recipe: Mapping[str, Any]) -> int:
    """The version that today's loop gives a recipe with these fields."""
    return (
        2
        if recipe.get("stop_train_acc") is not None or recipe.get("augment") == "resized_crop_flip"
        else 1
    )


class Training(Spec):
    """One run of one recipe on one treated training set.

    ``snapshots`` (epochs that become classifiers) and ``eval_every`` (epochs between test
        evaluations; 0 = at snapshots only) are not
    identity: asking for another snapshot of a known training repeats the same computation and
        commits what is missing.

    ``features``: key of the backbone whose features are trained on in place of pictures; it names
        weights and transform by their content (``zoo.store.features``).
    """

    arch: str
    dataset: DatasetRef
    recipe: Recipe
    treatment: tuple[Op, ...] = ()
    seed: int = Field(default=0, ge=0)
    input_size: int | None = Field(default=None, ge=1)
    snapshots: tuple[int, ...] = ()
    eval_every: int = Field(default=0, ge=0)
    features: str | None = Field(default=None, exclude_if=_absent)

    @field_validator("snapshots")
    @classmethod
    def _sorted_snapshots(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _snapshots_in_range(self) -> Self:
        for epoch in self.snapshots:
            if not 1 <= epoch <= self.recipe.epochs:
                raise UsageError(
                    f"snapshot at epoch {epoch}: the recipe has epochs 1 to {self.recipe.epochs}. "
                    "Choose snapshots within it or raise epochs."
                )
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the result, apart from hardware. The hash of this is the training's id."""
        return {
            "format": 1,
            "arch": self.arch,
            "dataset": self.dataset.fingerprint,
            "recipe": self.recipe.as_json(),
            "treatment": [op.as_json() for op in self.treatment],
            "seed": self.seed,
            "input_size": self.input_size,
            **({} if self.features is None else {"features": self.features}),
        }

    @functools.cached_property
    def id(self) -> str:
        """Worked out once: a sweep of thousands asks for it many times each."""
        return content_id(self.identity)

    @property
    def treatment_text(self) -> str:
        return treatment_text(self.treatment)

    def param(self, op_name: str, param: str) -> Scalar | None:
        """The value of one parameter of the first treatment step of that name, or None."""
        for op in self.treatment:
            if op.name == op_name:
                return op.params.get(param)
        return None


class Sweep(Spec):
    """A grid of trainings: architectures x treatments x seeds, one recipe. ``recipes`` overrides it
    per architecture. ``features``: as in ``Training``; the architectures are then heads. In an
    experiment's file it may be a name too, ``hog`` or ``ARCH.TAG`` of timm, and ``input_size`` is
    then the backbone's (``zoo.pipeline.on_backbones``)."""

    archs: tuple[str, ...] = Field(min_length=1)
    treatments: tuple[tuple[Op, ...], ...] = ((),)
    recipe: Recipe = Recipe()
    recipes: dict[str, Recipe] = Field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    snapshots: tuple[int, ...] | None = None
    eval_every: int = 0
    input_size: int | None = None
    features: str | None = Field(default=None, exclude_if=_absent)

    @property
    def inputs(self) -> tuple[tuple[str, int | None, str], ...]:
        """What decides how pictures reach each architecture: (architecture, input size,
        augmentation); nothing where none does."""
        return (
            ()
            if self.features is not None
            else tuple(
                (arch, self.input_size, self.recipes.get(arch, self.recipe).augment)
                for arch in self.archs
            )
        )

    def expand(self, dataset: DatasetRef) -> tuple[Training, ...]:
        """All trainings, in the order archs, treatments, seeds. Default snapshot: the last
        epoch."""
        trainings = []
        for arch in self.archs:
            recipe = self.recipes.get(arch, self.recipe)
            for treatment in self.treatments:
                trainings += [
                    Training(
                        arch=arch,
                        dataset=dataset,
                        recipe=recipe,
                        treatment=treatment,
                        seed=seed,
                        input_size=self.input_size,
                        snapshots=(recipe.epochs,) if self.snapshots is None else self.snapshots,
                        eval_every=self.eval_every,
                        features=self.features,
                    )
                    for seed in self.seeds
                ]
        return tuple(trainings)


class SelectionRule(Spec):
    """A named manifest and the chain of rules of ``zoo.trainsets.rules.RULES`` that makes it from
    the scores of a split."""

    name: str
    rules: tuple[Op, ...] = Field(min_length=1)
    split: str = "train"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        return plain_name(value)


class Arm(Spec):
    """One retraining arm of a comparison: a selection's name (``baseline`` = the training set as
    given)."""

    name: str
    selection: str | None
    note: str = ""


class ArmGroup(Spec):
    """Arms that are compared with each other: the same networks, recipes, optimiser steps and
    seeds. The first is what the others are measured against.

    Each seed of ``retraining`` redraws the random part of every arm's selection, the initial
    weights and the order of the examples; within a seed all arms share their random ranks. How many
    steps an arm takes must not depend on what it is trained on: see
    ``zoo.studies.arms.equal_steps``.
    """

    name: str
    arms: tuple[Arm, ...] = Field(min_length=1)
    retraining: Sweep

    @model_validator(mode="after")
    def _arms_differ_in_their_selections_alone(self) -> Self:
        sweep = self.retraining
        for what, values in (
            ("arm", [arm.name for arm in self.arms]),
            ("seed", [*sweep.seeds]),
            ("architecture", [*sweep.archs]),
        ):
            twice = [value for number, value in enumerate(values) if value in values[:number]]
            if twice:
                raise UsageError(
                    f"arms {self.name!r}: {what} {twice[0]!r} is there twice. Allowed: each once."
                    " Leave one out or rename it."
                )
        if sweep.treatments != ((),):
            raise UsageError(
                f"arms {self.name!r}: their sweep has the treatment"
                f" {treatment_text(sweep.treatments[0])!r}. Allowed: none, what an arm is trained"
                " on is its selection. Make a selection of it, or leave treatments out."
            )
        for recipe in (sweep.recipe, *sweep.recipes.values()):
            if recipe.stop_train_acc is not None:
                raise UsageError(
                    f"arms {self.name!r}: their recipe stops at training accuracy"
                    f" {recipe.stop_train_acc}, so an arm that is easier to learn would take fewer"
                    " optimiser steps. Allowed: recipes without stop_train_acc. Choose another"
                    " recipe, or replace it by None."
                )
        return self


class Experiment(Spec):
    """A study: what to train, fill, score, select, retrain and report. Made by ``experiment()`` of
    a file in experiments/.

    Stages run in this order and each may be empty: train ``sweeps`` -> fill ``fill_splits`` ->
    score -> ``selections`` -> retrain
    ``arm_groups`` -> compare each ``on`` cleaned test sets -> report ``sections``. ``source``: what
    loads it again, a name or a file's path; filled in by ``zoo.studies.load.load``.

    ``parts``: a study over several data sets is an experiment for each of them, in one workspace;
    it has no data set of its own, and what it concludes is concluded from all. The names of groups
    and selections are then unique over its parts, and a part's name is the study's with its own
    word behind: ``cleaning-sym20``.

    ``probes``: other data sets with the same class list whose pictures the population is asked as
    well, all splits but ``train``: pictures made for a question, another test set.

    ``tests``: other data sets with the same class list whose split ``test`` the arms answer too, as
    further test sets of their comparison; one that is not here is said and left out.

    ``single``: one training beside the population, filled like it and never scored with it, of
    which selections may take an order of suspicion (``zoo.scores.catalog.SINGLE``).
    """

    name: str
    title: str
    scale: str
    dataset: str = ""
    sweeps: tuple[Sweep, ...] = ()
    fill_splits: tuple[str, ...] = ()
    keep_logits: Literal["none", "val", "all"] = "all"
    fill_precision: Precision = "fp32"
    selections: tuple[SelectionRule, ...] = ()
    arm_groups: tuple[ArmGroup, ...] = ()
    on: tuple[Op, ...] = ()
    sections: tuple[str, ...] = ()
    next_command: str = ""
    source: str = ""
    parts: tuple[Experiment, ...] = ()
    probes: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    single: Sweep | None = None

    @model_validator(mode="after")
    def _one_training(self) -> Self:
        if self.single is not None:
            count = len(self.single.expand(DatasetRef(uri="", fingerprint="")))
            if count != 1:
                raise UsageError(
                    f"experiment {self.name!r}: its single training is a sweep of {count}. Allowed:"
                    " one architecture, treatment and seed. Put the others into sweeps."
                )
        return self

    @model_validator(mode="after")
    def _data_or_parts(self) -> Self:
        own = self.dataset or self.sweeps or self.selections or self.arm_groups
        if bool(own) == bool(self.parts) or any(part.parts for part in self.parts):
            raise UsageError(
                f"experiment {self.name!r}: it has"
                f" {'both a data set and parts' if own else 'neither a data set nor parts'}."
                " Allowed: a data set with its stages, or parts that each have one."
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("groups of arms", [group.name for e in self.each for group in e.arm_groups]),
            ("selections", [rule.name for e in self.each for rule in e.selections]),
            ("parts", [part.name for part in self.parts]),
        ):
            if len(set(names)) < len(names):
                raise UsageError(
                    f"experiment {self.name!r}: two {what} have one name among"
                    f" {', '.join(names)}. Give each its own."
                )
        return self

    @property
    def each(self) -> tuple[Experiment, ...]:
        """Its parts; itself where it has none."""
        return self.parts or (self,)

    @property
    def trained(self) -> tuple[Sweep, ...]:
        """What is trained and filled before anything is selected."""
        return self.sweeps if self.single is None else (*self.sweeps, self.single)

    @property
    def retrained(self) -> tuple[Sweep, ...]:
        """The sweeps of its arm groups."""
        return tuple(group.retraining for group in self.arm_groups)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Those of its sweeps, ascending."""
        return tuple(sorted({seed for sweep in self.sweeps for seed in sweep.seeds}))

    def of_seeds(self, seeds: Sequence[int]) -> Experiment:
        """The same study of some of its seeds alone, where a seed is a repetition of everything.

        Raises:
            UsageError: for a seed that it has not, or none; where its seeds are members of one
                population, which a part of them does not make (selections, arms, parts, a single
                training).
        """
        if self.parts or self.arm_groups or self.selections or self.single is not None:
            raise UsageError(
                f"experiment {self.name!r}: its seeds are no repetitions of the whole, what it"
                " selects and retrains is made from all of them. Leave the seeds out."
            )
        if not seeds or (unknown := sorted({*seeds} - {*self.seeds})):
            raise UsageError(
                f"experiment {self.name!r}: it has no seed {unknown[0] if seeds else repr('')} at"
                f" scale {self.scale}. Allowed: {', '.join(map(str, self.seeds))}."
            )
        kept = [
            sweep.replace(seeds=mine)
            for sweep in self.sweeps
            if (mine := tuple(seed for seed in sweep.seeds if seed in seeds))
        ]
        return self.replace(sweeps=tuple(kept))


def parse_scalar(text: str) -> Scalar:
    """``"true"`` -> True, ``"3"`` -> 3, ``"0.5"`` -> 0.5, anything else stays text."""
    lowered = text.strip().lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()


def parse_call(text: str) -> tuple[str, Mapping[str, Scalar]]:
    """``"label_noise:fraction=0.2,to=random"`` -> ("label_noise", {"fraction": 0.2, "to":
    "random"}).

    Raises:
        UsageError: if a parameter has no ``=``.
    """
    name, _, settings = text.strip().partition(":")
    params: dict[str, Scalar] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(
                f"{text!r}: parameter {setting!r} has no value. Write it as"
                " NAME:key=value,key=value."
            )
        params[key.strip()] = parse_scalar(value)
    return name.strip(), params
