"""What is done to a training set before training: subsets, wrong labels, missing classes, selections, contaminated pictures.

A treatment is a function. One that changes rows takes ``Rows`` and returns ``Rows``; one that changes pictures takes uint8 images and
their example ids and returns images of the same shape. Its keyword-only parameters, with their annotations and defaults, are the
parameters a user writes: ``subsample:fraction=0.25,replica=1+label_noise:fraction=0.2``. To add one: write the function and its line
in ``TREATMENTS``.

Randomness is keyed by example id (``zoo.keyed``), never by a training's seed: all seeds of an arm train on the same treated set, the
order of the rows does not matter, and any process can recompute any part alone.

Shapes: n rows or images, H height, W width, K channels (1 grey, 3 RGB), M classes.
"""

from __future__ import annotations

import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.errors import UnknownNameError, UsageError
from zoo.registry import Registry
from zoo.spec import Op, parse_call

__all__ = [
    "TREATMENTS",
    "Manifest",
    "Parameter",
    "Rows",
    "Treatment",
    "apply_images",
    "apply_rows",
    "each_epoch",
    "op",
    "parse",
    "resolve",
    "treatment_help",
]

Scalar = bool | int | float | str

BLOCK_VALUES = 1 << 20
"""Pixel values treated at a time: 8 MB per float64 temporary, small enough for a cache, large enough to hide the loop."""


@dataclass(frozen=True)
class Rows:
    """A training set without its pictures.

    Args:
        example_ids: int64 [n], positions in the data set's training split; an id repeats where an example has copies.
        labels: int64 [n], in 0..M-1.
        weights: float32 [n], factor of each row's loss, 1 = as usual.
        num_classes: M. Stays M when a class is deleted: the network keeps its M outputs.
    """

    example_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float32]
    num_classes: int

    def __post_init__(self) -> None:
        if not len(self.example_ids) == len(self.labels) == len(self.weights):
            lengths = len(self.example_ids), len(self.labels), len(self.weights)
            raise ValueError(f"example_ids, labels, weights have {lengths} rows; they must have the same")

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """The rows at the given positions (int64 [m]) or where the mask (bool [n]) is true."""
        return Rows(self.example_ids[rows], self.labels[rows], self.weights[rows], self.num_classes)

    def with_labels(self, labels: NDArray[np.int64]) -> Rows:
        return Rows(self.example_ids, labels, self.weights, self.num_classes)


@dataclass(frozen=True)
class Manifest:
    """The outcome of a selection: which examples to train on, under which label, how often, with what weight.

    Args:
        example_ids: int64 [n], unique.
        labels: int64 [n].
        copies: int64 [n], how often each example enters an epoch; 0 = not at all.
        weights: float32 [n], finite, not negative.

    Raises:
        UsageError: if the columns do not fit these words.
    """

    example_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    copies: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        lengths = {len(self.example_ids), len(self.labels), len(self.copies), len(self.weights)}
        if len(lengths) != 1:
            raise UsageError(
                f"manifest: its columns have {sorted(lengths)} rows. All four columns need one entry per example. Make the selection again."
            )
        repeated = len(self.example_ids) - len(np.unique(self.example_ids))
        if repeated:
            raise UsageError(
                f"manifest: {repeated} of {len(self.example_ids)} rows repeat an example id. "
                f"Each example may stand there once. Give repetitions in the column copies."
            )
        if len(self.copies) and self.copies.min() < 0:
            raise UsageError(f"manifest: copies has {self.copies.min()}. Allowed are 0, 1, 2, .... Use 0 to leave an example out.")
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            wrong = self.weights[~(np.isfinite(self.weights) & (self.weights >= 0))][0]
            raise UsageError(f"manifest: weights has {wrong}. Allowed are finite numbers from 0. Use 1 for an ordinary example.")


@dataclass(frozen=True)
class Within:
    """Allowed range of a number, both ends included; ``None`` = no limit on that side."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"from {self.low:g}"
        return f"from {self.low:g} to {self.high:g}" if self.low is not None else f"up to {self.high:g}"


class _OfClass:
    """Marks a parameter that means a class: its index, or its name until ``resolve`` has looked it up."""


Fraction = Annotated[float, Within(0, 1)]
Count = Annotated[int, Within(0)]
ClassIndex = Annotated[int, Within(0), _OfClass()]
NoiseChannels = Literal["shared", "independent"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a treatment, read from its function's signature.

    ``kinds``: the plain types it takes; ``words``: the fixed texts it takes; ``within``: the range of its numbers; ``of_class``: whether it
    means a class, which may also be named.
    """

    name: str
    kinds: tuple[type, ...]
    words: tuple[str, ...]
    within: Within | None
    default: Scalar | None
    required: bool
    of_class: bool = False

    @property
    def allowed(self) -> str:
        nouns = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        choices = [nouns[kind] + (f" {self.within}" if self.within and kind in (int, float) else "") for kind in self.kinds]
        return " or ".join(choices + ["a class name"] * self.of_class + [repr(word) for word in self.words])

    @property
    def default_text(self) -> str:
        """The default as it is written: ``false``, ``0``, ``random``; ``required`` where there is none."""
        return "required" if self.required else str(self.default).lower()

    def check(self, treatment: str, value: Scalar) -> Scalar:
        """The value in its canonical type (1 -> 1.0 where a number is wanted).

        Raises:
            UsageError: naming treatment, parameter, value and what is allowed.
        """
        if isinstance(value, str) and (value in self.words or (self.of_class and value)):
            return value
        if value == math.inf and "inf" in self.words:
            return "inf"
        for kind in self.kinds:
            if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
                value = float(value)
            if type(value) is kind and (not isinstance(value, (int, float)) or self._fits(value)):
                return value
        raise UsageError(
            f"{treatment}: {self.name} = {value!r} is not possible. Allowed: {self.allowed}. Write it as {treatment}:{self.name}=VALUE."
        )

    def _fits(self, value: float) -> bool:
        return math.isfinite(value) and (self.within is None or value in self.within)


@dataclass(frozen=True)
class Treatment:
    """A named treatment: ``on_rows`` or ``on_images`` does it, the other is None.

    ``on_rows(rows, *, ...) -> Rows``; where ``needs_manifests``, ``on_rows(rows, manifests, *, ...)``.
    ``on_images(images uint8 [n, H, W, K], example_ids int64 [n], *, ...) -> uint8 [n, H, W, K]``, which never writes to its argument.
    Where ``each_epoch``, it also takes ``epoch`` (1-based), which is not a user's to give: the pictures differ from epoch to epoch.
    ``check(params)`` refuses combinations of parameters that are each fine.
    """

    name: str
    on_rows: Callable[..., Rows] | None = None
    on_images: Callable[..., NDArray[np.uint8]] | None = None
    needs_manifests: bool = False
    each_epoch: bool = False
    check: Callable[[dict[str, Scalar]], None] | None = None

    @property
    def _function(self) -> Callable[..., Any]:
        function = self.on_rows or self.on_images
        if function is None:
            raise ValueError(f"treatment {self.name!r} has no function")
        return function

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return self.about.partition("\n")[0]

    @property
    def about(self) -> str:
        """The whole docstring, a paragraph a line: what it does exactly, and its source."""
        paragraphs = (inspect.getdoc(self._function) or "").split("\n\n")
        return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The keyword-only parameters of the function, by name."""
        hints = typing.get_type_hints(self._function, include_extras=True)
        found = {}
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not (self.each_epoch and parameter.name == "epoch"):
                required = parameter.default is inspect.Parameter.empty
                kinds, words, within, of_class = _read_annotation(hints[parameter.name])
                default = None if required else parameter.default
                found[parameter.name] = Parameter(parameter.name, kinds, words, within, default, required, of_class)
        return found

    @property
    def usage(self) -> str:
        """How to write it: ``subsample:fraction=...,replica=0,stratified=false``."""
        settings = [f"{p.name}={'...' if p.required else p.default_text}" for p in self.parameters.values()]
        return f"{self.name}:{','.join(settings)}" if settings else self.name

    def as_json(self) -> dict[str, Any]:
        """What it is for programs: name, usage, what it acts on, summary and description, parameters."""
        return {
            "name": self.name,
            "usage": self.usage,
            "acts_on": "rows" if self.on_rows else "images",
            "each_epoch": self.each_epoch,
            "summary": self.summary,
            "about": self.about,
            "parameters": [
                {"name": p.name, "allowed": p.allowed, "required": p.required, "default": p.default} for p in self.parameters.values()
            ],
        }


def treatment_help(treatment: Treatment, *, whole: bool) -> str:
    """How to write a treatment, what it does in a line (``whole``: in all its words), and a line for each parameter."""
    words = treatment.about.replace("``", "").splitlines()
    shown = [textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="  ") for line in (words if whole else words[:1])]
    width = max((len(name) for name in treatment.parameters), default=0)
    shown += [
        f"  {p.name:<{width}}  {p.allowed}; {p.default_text if p.required else f'default {p.default_text}'}"
        for p in treatment.parameters.values()
    ]
    return "\n".join([treatment.usage, *shown])


def _read_annotation(hint: Any) -> tuple[tuple[type, ...], tuple[str, ...], Within | None, bool]:
    """Splits ``Annotated[int, Within(0)] | Literal["random"]`` into plain types, words, range and whether it means a class."""
    if typing.get_origin(hint) is Annotated:
        base, *notes = typing.get_args(hint)
        kinds, words, _, _ = _read_annotation(base)
        within = next((note for note in notes if isinstance(note, Within)), None)
        return kinds, words, within, any(isinstance(note, _OfClass) for note in notes)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_read_annotation(part) for part in typing.get_args(hint)]
        return (
            tuple(kind for part in parts for kind in part[0]),
            tuple(word for part in parts for word in part[1]),
            next((part[2] for part in parts if part[2]), None),
            any(part[3] for part in parts),
        )
    if typing.get_origin(hint) is Literal:
        return (), typing.get_args(hint), None, False
    return (hint,), (), None, False


# ---------------------------------------------------------------------------------------------------------------- rows


def _drawn(rows: Rows, key: str, count: int, *, fraction: float, stratified: bool) -> NDArray[np.bool_]:
    """Mask [n] of ``count`` rows drawn at random; ``stratified``: of each class its share ``fraction``, rounded by largest remainder.

    Ties of the remainder go to the lower class. Copies of one example are in or out together, save at the edge of the count.
    """
    if not stratified:
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[keyed.choose(key, rows.example_ids, count)] = True
        return mask
    shares = fraction * np.bincount(rows.labels, minlength=rows.num_classes)  # [M]
    # A share such as 0.29 * 100 = 28.999999999999996 is cut to 28 and has the largest remainder, so it is 29 after the next two lines.
    quotas = np.floor(shares).astype(np.int64)
    by_remainder = np.lexsort((np.arange(len(shares)), -(shares - quotas)))
    quotas[by_remainder[: count - quotas.sum()]] += 1
    order = np.lexsort((rows.example_ids, keyed.uniform(key, rows.example_ids)[:, 0], rows.labels))
    first_of_class = np.concatenate([[0], np.cumsum(np.bincount(rows.labels, minlength=rows.num_classes))[:-1]])  # [M]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - first_of_class[rows.labels[order]]
    drawn: NDArray[np.bool_] = rank < quotas[rows.labels]
    return drawn


def _subsample(rows: Rows, *, fraction: Fraction, replica: Count = 0, stratified: bool = False) -> Rows:
    """A random part of the examples: exactly round(fraction * n) of them.

    Replicas and fractions are independent draws. ``stratified``: each class gives its share, rounded by largest remainder (ties to the
    lower class), so that the total stays round(fraction * n).

    Source: study 2's populations (three replicas each of 0.25, 0.5, 0.75).
    """
    key, count = f"subsample/{fraction!r}/{replica}", round(fraction * len(rows))
    return rows.take(_drawn(rows, key, count, fraction=fraction, stratified=stratified))


def _take(rows: Rows, *, count: Annotated[int, Within(1)], replica: Count = 0, stratified: bool = False) -> Rows:
    """A random part of a given size; with one replica, a smaller part lies within a larger one.

    ``stratified``: of each class its share, as ``subsample``. Where classes differ in size, the larger part may then lack one example of a
    class that the smaller one has: a quota by largest remainder can fall by 1 as the whole grows (the Alabama paradox).
    """
    if count > len(rows):
        raise UsageError(f"take: count = {count} of {len(rows)} examples. Allowed: 1 to {len(rows)}. Write it as take:count=N.")
    return rows.take(_drawn(rows, f"take/{replica}", count, fraction=count / len(rows), stratified=stratified))


def _delete_fraction(rows: Rows, *, fraction: Fraction, replica: Count = 0, stratified: bool = False) -> Rows:
    """Exactly round(fraction * n) examples are left out, at random; what is left out at 10 % is also left out at 20 %.

    1 leaves nothing: the training ends as ``empty``, without a classifier. ``stratified``: of each class its share, as ``subsample``; that
    one example of a class can come back, as in ``take``, holds here too.

    Source: study 1 RQ2, which deletes at random, not per class.
    """
    count = round(fraction * len(rows))
    return rows.take(~_drawn(rows, f"delete_fraction/{replica}", count, fraction=fraction, stratified=stratified))


def _label_noise(rows: Rows, *, fraction: Fraction, to: ClassIndex | Literal["random"] = "random", seed: Count = 0) -> Rows:
    """Wrong labels: exactly round(fraction * n) rows get another label, or the label ``to``.

    ``to=random``: uniform over the M - 1 other classes, so each chosen row is wrong. ``to`` a class: the chosen rows get it whatever they
    had, so some stay right (true error rate = fraction * share of the other classes). With one seed the choice is nested: the rows
    wrong at 10 % are among those wrong at 20 %, with the same wrong label.

    Source: study 1 RQ3, figures 6 ("modified to 0") and 7 ("modified randomly").
    """
    chosen = keyed.choose(f"label_noise/{seed}", rows.example_ids, round(fraction * len(rows)))
    labels = rows.labels.copy()
    if to == "random":
        if rows.num_classes < 2:
            raise UsageError(
                f"label_noise: no wrong label exists among {rows.num_classes} class. At least 2 classes are needed. Use another data set."
            )
        shift = 1 + keyed.integers(f"label_noise/{seed}/to", rows.example_ids[chosen], rows.num_classes - 1)[:, 0]
        labels[chosen] = (labels[chosen] + shift) % rows.num_classes
    else:
        labels[chosen] = _class_of(rows, "label_noise", "to", to)
    return rows.with_labels(labels)


def _delete_class(rows: Rows, *, label: ClassIndex) -> Rows:
    """All examples of one class are left out; the network keeps that class's output. Source: study 1 RQ1."""
    return rows.take(rows.labels != _class_of(rows, "delete_class", "label", label))


def _relabel(rows: Rows, *, label: ClassIndex, to: ClassIndex) -> Rows:
    """All examples of one class get the label of another. Source: study 1 RQ1."""
    _class_of(rows, "relabel", "label", label)
    _class_of(rows, "relabel", "to", to)
    return rows.with_labels(np.where(rows.labels == label, np.int64(to), rows.labels))


def _check_relabel(params: dict[str, Scalar]) -> None:
    if params["label"] == params["to"]:
        raise UsageError(
            f"relabel: label = {params['label']} onto to = {params['to']} changes nothing. The two classes must differ. "
            f"Choose another class for to, or leave the treatment out."
        )


def _manifest(rows: Rows, manifests: Callable[[str], Manifest], *, id: str) -> Rows:  # noqa: A002 - the word users write
    """A selection: its examples, labels, copies and weights replace the training set. Source: study 2, table 1 and sets A and B."""
    manifest = manifests(id)
    strangers = np.flatnonzero(~np.isin(manifest.example_ids, rows.example_ids))
    if len(strangers):
        raise UsageError(
            f"manifest {id}: {len(strangers)} of its {len(manifest.example_ids)} examples, such as {manifest.example_ids[strangers[0]]}, "
            f"are not in the training set. A selection fits the data set whose scores it was made from. "
            f"Make the selection again on this data set."
        )
    wrong = (manifest.labels < 0) | (manifest.labels >= rows.num_classes)
    if wrong.any():
        raise UsageError(
            f"manifest {id}: label {manifest.labels[wrong][0]} is no class of this data set. "
            f"Allowed: 0 to {rows.num_classes - 1}. Make the selection again on this data set."
        )
    position = np.repeat(np.arange(len(manifest.example_ids)), manifest.copies)
    return Rows(manifest.example_ids[position], manifest.labels[position], manifest.weights[position], rows.num_classes)


def _class_of(rows: Rows, treatment: str, name: str, label: int | str) -> int:
    """The class index, if the data set has it: the number of classes is known only now."""
    return _class_index(rows.num_classes, treatment, name, label)


def _class_index(num_classes: int, treatment: str, name: str, label: Scalar) -> int:
    if not isinstance(label, int) or not 0 <= label < num_classes:
        raise UsageError(
            f"{treatment}: {name} = {label} is no class of this data set. "
            f"Allowed: 0 to {num_classes - 1}. Write it as {treatment}:{name}=CLASS."
        )
    return label


# -------------------------------------------------------------------------------------------------------------- images


def _to_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Clip to 0..255, round (halves to even), uint8: the order study 1's reading fixes."""
    return np.rint(np.clip(values, 0.0, 255.0)).astype(np.uint8)


def _pixel_draws(key: str, images: NDArray[np.uint8], example_ids: NDArray[np.int64], channels: NoiseChannels) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), float64 [n, H, W, 1] (one per pixel, ``shared``) or [n, H, W, K] (``independent``)."""
    count, height, width, depth = images.shape
    depth = depth if channels == "independent" else 1
    return keyed.uniform(key, example_ids, height * width * depth).reshape(count, height, width, depth)


def _gaussian_noise(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    sigma: Annotated[float, Within(0)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
) -> NDArray[np.uint8]:
    """Adds normal noise of standard deviation ``sigma`` (grey levels of 0..255), the same in all channels or independent per channel.

    clip(x + sigma * z), rounded. One draw per picture, the same in every epoch; z does not depend on sigma. Source: study 1 RQ4.
    """
    return _with_gaussian(f"gaussian_noise/{seed}", images, example_ids, sigma, channels)


def _with_gaussian(
    key: str, images: NDArray[np.uint8], example_ids: NDArray[np.int64], sigma: float, channels: NoiseChannels
) -> NDArray[np.uint8]:
    from scipy.special import ndtri  # 0.2 s to import, which a plan need not wait for

    draws = _pixel_draws(key, images, example_ids, channels)
    # A draw of exactly 0 would be -infinity; 2**-54 lies below every other draw.
    noise = ndtri(np.maximum(draws, 2.0**-54))
    return _to_bytes(images + sigma * noise)


def _salt_pepper(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    share: Annotated[float, Within(0, 0.5)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
) -> NDArray[np.uint8]:
    """Makes a share of the pixels black and the same share white: 0 where a draw is under ``share``, 255 where it is over 1 - ``share``.

    Corrupted pixels: 2 * share on average (share = 0.4 leaves 20 %). Source: study 1 RQ4, where share is called a and b = 1 - a.
    """
    return _with_salt_pepper(f"salt_pepper/{seed}", images, example_ids, share, channels)


def _with_salt_pepper(
    key: str, images: NDArray[np.uint8], example_ids: NDArray[np.int64], share: float, channels: NoiseChannels
) -> NDArray[np.uint8]:
    draws = _pixel_draws(key, images, example_ids, channels)
    salted = np.where(draws > 1.0 - share, np.uint8(255), images)
    return np.where(draws < share, np.uint8(0), salted)


def _gamma(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],  # noqa: ARG001 - every treatment of images has it
    *,
    gamma: Annotated[float, Within(0)],
) -> NDArray[np.uint8]:
    """Brightness: 255 * (x / 255) ** gamma, rounded; gamma over 1 darkens, under 1 brightens.

    Source: study 1 RQ4, which names scikit-image's ``exposure.adjust_gamma``; equal to it on uint8.
    """
    table = _to_bytes(255.0 * (np.arange(256) / 255.0) ** gamma)  # [256]
    return table[images]


def _contrast(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],  # noqa: ARG001 - every treatment of images has it
    *,
    factor: Annotated[float, Within(0)] | Literal["inf"],
    pivot: Annotated[float, Within(0, 255)] | Literal["image"] = "image",
    overflow: Literal["clip", "wrap"] = "clip",
) -> NDArray[np.uint8]:
    """Contrast: pivot + factor * (x - pivot), rounded; factor under 1 weakens, over 1 strengthens.

    ``pivot``: the grey level (0..255) that stays, such as the data set's mean, or ``image`` = each picture's own mean over pixels and
    channels. ``overflow``: ``clip`` to 0..255, or ``wrap`` around modulo 256 as arithmetic on bytes without a check does.
    ``factor=inf``, the limit of clipping: 0 under the pivot, 255 over it, the pivot where it is met.

    Source: study 1 RQ4 on MNIST ("weaker", "stronger"); the paper gives no factor, claim S1.12 asks which factors fit its numbers.
    """
    middle = images.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64) if isinstance(pivot, str) else np.float64(pivot)
    if isinstance(factor, str):
        return np.where(images < middle, np.uint8(0), np.where(images > middle, np.uint8(255), images))
    values = middle + factor * (images - middle)  # float64 [n, H, W, K]
    if overflow == "clip":
        return _to_bytes(values)
    return np.mod(np.rint(values), 256.0).astype(np.uint8)


def _check_contrast(params: dict[str, Scalar]) -> None:
    if params["factor"] == "inf" and params["overflow"] == "wrap":
        raise UsageError(
            "contrast: factor = inf has no value that could wrap around. Allowed with overflow=wrap: a number. Use overflow=clip."
        )


def _gaussian_noise_each_epoch(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    sigma: Annotated[float, Within(0)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
    epoch: int,
) -> NDArray[np.uint8]:
    """As ``gaussian_noise``, but drawn anew in every epoch: an augmentation, not a damaged data set. A different experiment from study 1's."""
    return _with_gaussian(f"gaussian_noise_each_epoch/{seed}/{epoch}", images, example_ids, sigma, channels)


def _salt_pepper_each_epoch(
    images: NDArray[np.uint8],
    example_ids: NDArray[np.int64],
    *,
    share: Annotated[float, Within(0, 0.5)],
    seed: Count = 0,
    channels: NoiseChannels = "shared",
    epoch: int,
) -> NDArray[np.uint8]:
    """As ``salt_pepper``, but drawn anew in every epoch: an augmentation, not a damaged data set. A different experiment from study 1's."""
    return _with_salt_pepper(f"salt_pepper_each_epoch/{seed}/{epoch}", images, example_ids, share, channels)


TREATMENTS: Registry[Treatment] = Registry(
    "treatment",
    {
        treatment.name: treatment
        for treatment in (
            Treatment("subsample", on_rows=_subsample),
            Treatment("take", on_rows=_take),
            Treatment("delete_fraction", on_rows=_delete_fraction),
            Treatment("label_noise", on_rows=_label_noise),
            Treatment("delete_class", on_rows=_delete_class),
            Treatment("relabel", on_rows=_relabel, check=_check_relabel),
            Treatment("manifest", on_rows=_manifest, needs_manifests=True),
            Treatment("gaussian_noise", on_images=_gaussian_noise),
            Treatment("salt_pepper", on_images=_salt_pepper),
            Treatment("gamma", on_images=_gamma),
            Treatment("contrast", on_images=_contrast, check=_check_contrast),
            Treatment("gaussian_noise_each_epoch", on_images=_gaussian_noise_each_epoch, each_epoch=True),
            Treatment("salt_pepper_each_epoch", on_images=_salt_pepper_each_epoch, each_epoch=True),
        )
    },
)


def op(name: str, **params: Scalar) -> Op:
    """One treatment step in canonical form: every parameter present, in its own type, within its range.

    Raises:
        UnknownNameError: if there is no such treatment or parameter.
        UsageError: if a parameter is missing or its value is not possible.
    """
    treatment = TREATMENTS[name]
    for given in params:
        if given not in treatment.parameters:
            raise UnknownNameError(f"parameter of {name}", given, treatment.parameters, f"Write it as {treatment.usage}.")
    canonical: dict[str, Scalar] = {}
    for parameter in treatment.parameters.values():
        if parameter.name in params:
            canonical[parameter.name] = parameter.check(name, params[parameter.name])
        elif parameter.default is not None:
            canonical[parameter.name] = parameter.default
        else:
            raise UsageError(
                f"{name}: parameter {parameter.name} is missing; given: {', '.join(params) or 'none'}. "
                f"Allowed: {parameter.allowed}. Write it as {treatment.usage}."
            )
    if treatment.check is not None:
        treatment.check(canonical)
    return Op(name=name, params=canonical)


def parse(text: str) -> tuple[Op, ...]:
    """``"subsample:fraction=0.25,replica=1+label_noise:fraction=0.2"`` -> two steps; ``"none"`` and ``""`` -> no step.

    The inverse of joining ``Op.text`` with ``+``.

    Raises:
        UnknownNameError, UsageError: as ``op``.
    """
    if text.strip() in ("", "none"):
        return ()
    # A plus sign divides steps only before a name, so that 1e+3 stays a number.
    return _checked_chain(_parse_step(step) for step in re.split(r"\+(?=\s*(?:[A-Za-z_]|$))", text))


def _parse_step(text: str) -> Op:
    name, params = parse_call(text)
    if name not in TREATMENTS:
        raise UnknownNameError("treatment", name, TREATMENTS, "Write steps as NAME:key=value,key=value, joined by +.")
    # A text parameter is taken as written: the id 0000000000000012 is no number, and 12e4567890123456 even less.
    for setting in text.strip().partition(":")[2].split(","):
        key, _, written = setting.partition("=")
        parameter = TREATMENTS[name].parameters.get(key.strip())
        if parameter is not None and str in parameter.kinds:
            params = {**params, parameter.name: written.strip()}
    return op(name, **params)


def _checked_chain(ops: Iterable[Op]) -> tuple[Op, ...]:
    """The steps, if they can follow each other.

    A manifest replaces the whole training set, so nothing that chose rows may precede it. The same random step with the same seed would
    meet the same examples (a label moved twice could come out right). A class that an earlier step emptied has nothing to delete or relabel.
    """
    chain = tuple(ops)
    before = 0
    drawn: set[tuple[str, Scalar]] = set()
    emptied: dict[Scalar, str] = {}
    for step in chain:
        if TREATMENTS[step.name].needs_manifests and before:
            raise UsageError(
                f"{step.text} comes after {before} other step(s) on rows, whose effect it would undo. A manifest may only come first. "
                f"Write {step.text}+..., or make the selection from a population trained with those steps."
            )
        before += TREATMENTS[step.name].on_rows is not None
        if "seed" in step.params:
            if (draw := (step.name, step.params["seed"])) in drawn:
                raise UsageError(
                    f"{step.text}: an earlier {step.name} has seed {draw[1]} too and would draw the same again. "
                    f"Steps of one name need different seeds. Write {step.name}:...,seed=OTHER."
                )
            drawn.add(draw)
        if step.name in ("delete_class", "relabel"):
            label = step.params["label"]
            if label in emptied:
                raise UsageError(
                    f"{step.text}: after {emptied[label]} no example of class {label} is left. "
                    f"A class can be deleted or relabelled once. Put the steps in another order, or leave one out."
                )
            emptied[label] = step.text
            emptied.pop(step.params.get("to", ""), None)
        if step.name == "label_noise":
            emptied.clear()
    return chain


def resolve(ops: Sequence[Op], class_names: Sequence[str]) -> tuple[Op, ...]:
    """The steps with class names replaced by class indices (a number is an index already).

    Raises:
        UnknownNameError: for a class that the data set does not have, with its nearest name.
        UsageError: for an index out of range, or steps that cannot follow each other.
    """
    resolved = []
    for step in ops:
        params = dict(step.params)
        for parameter in TREATMENTS[step.name].parameters.values():
            value = params[parameter.name]
            if not parameter.of_class or value in parameter.words:
                continue
            if isinstance(value, str):
                if value not in class_names:
                    raise UnknownNameError(f"class of {step.name}", value, class_names)
                params[parameter.name] = list(class_names).index(value)
            else:
                _class_index(len(class_names), step.name, parameter.name, value)
        resolved.append(op(step.name, **params))
    return _checked_chain(resolved)


def each_epoch(ops: Sequence[Op]) -> bool:
    """Whether the pictures differ from epoch to epoch."""
    return any(TREATMENTS[step.name].each_epoch for step in ops)


def apply_rows(ops: Sequence[Op], rows: Rows, *, manifests: Callable[[str], Manifest]) -> Rows:
    """The training set after the steps on rows, in order; steps on images are passed over.

    Args:
        ops: canonical steps, from ``op`` or ``parse``.
        rows: the data set's training split.
        manifests: manifest id -> ``Manifest``; called only for steps ``manifest``.

    Returns:
        Rows in the order of ``rows`` (of the manifest, where there is one). Can be empty: the caller names that outcome.

    Raises:
        UsageError: if a step does not fit this data set.
    """
    for step in _checked_chain(ops):
        treatment = TREATMENTS[step.name]
        if treatment.on_rows is not None:
            arguments = (rows, manifests) if treatment.needs_manifests else (rows,)
            rows = treatment.on_rows(*arguments, **step.params)
    return rows


def apply_images(ops: Sequence[Op], images: NDArray[np.uint8], example_ids: NDArray[np.int64], *, epoch: int = 1) -> NDArray[np.uint8]:
    """The pictures after the steps on images, in order; steps on rows are passed over.

    Each picture's result depends on its pixels and its example id alone, so any block of a data set may be treated anywhere.

    Args:
        ops: canonical steps, from ``op`` or ``parse``.
        images: uint8 [n, H, W, K]; read only.
        example_ids: int64 [n].
        epoch: 1-based; matters only to steps that draw anew in each epoch.

    Returns:
        uint8 [n, H, W, K]: new, or ``images`` itself where no step concerns images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(example_ids):
        raise ValueError(f"images {images.dtype} {images.shape}, {len(example_ids)} example ids; expected uint8 [n, H, W, K] and n ids")
    functions: list[tuple[Callable[..., NDArray[np.uint8]], dict[str, Any]]] = []
    for step in ops:
        treatment = TREATMENTS[step.name]
        if treatment.on_images is not None:
            functions.append((treatment.on_images, {**step.params, "epoch": epoch} if treatment.each_epoch else {**step.params}))
    if not functions:
        return images
    treated = np.empty_like(images)
    block = max(1, BLOCK_VALUES // max(1, math.prod(images.shape[1:])))
    for start in range(0, len(images), block):
        part, ids = images[start : start + block], example_ids[start : start + block]
        for function, params in functions:
            part = function(part, ids, **params)
        treated[start : start + block] = part
    return treated
