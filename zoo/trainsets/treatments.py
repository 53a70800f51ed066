"""What is done to a training set before training: subsets, wrong labels, missing classes,
selections, contaminated pictures.

A treatment is a function. One that changes rows takes ``Rows`` and returns ``Rows``; one that
changes pictures takes uint8 images and their example ids and returns images of the same shape. Its
keyword-only parameters, with their annotations and defaults, are the
parameters a user writes: ``subsample:fraction=0.25,replica=1+label_noise:fraction=0.2``. To add
one: write the function in ``on_rows`` or ``on_images`` and its line in ``TREATMENTS``.

Randomness is keyed by example id (``zoo.keyed``), never by a training's seed: all seeds of an arm
train on the same treated set, the order of the rows does not matter, and any process can recompute
any part alone.

Shapes: n rows or images, H height, W width, K channels (1 grey, 3 RGB), M classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data import Dataset
from zoo.errors import UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.registry import Registry, position
from zoo.spec import Op, Scalar, Sweep
from zoo.trainsets import on_images, on_rows
from zoo.trainsets.steps import Treatment, split_steps

__all__ = [
    "TREATMENTS",
    "apply_images",
    "apply_rows",
    "each_epoch",
    "op",
    "parse",
    "resolve",
    "resolved",
]


BLOCK_VALUES = 1 << 20
"""Pixel values treated at a time: 8 MB per float64 temporary, small enough for a cache, large
enough to hide the loop."""

TREATMENTS: Registry[Treatment] = Registry(
    "treatment",
    {
        treatment.name: treatment
        for treatment in (
            Treatment("subsample", on_rows=on_rows.subsample),
            Treatment("take", on_rows=on_rows.take),
            Treatment("fold", on_rows=on_rows.fold),
            Treatment("delete_fraction", on_rows=on_rows.delete_fraction),
            Treatment("label_noise", on_rows=on_rows.label_noise),
            Treatment("delete_class", on_rows=on_rows.delete_class),
            Treatment("relabel", on_rows=on_rows.relabel, check=on_rows.check_relabel),
            Treatment("manifest", on_rows=on_rows.lay_manifest, needs_manifests=True),
            Treatment("gaussian_noise", on_images=on_images.gaussian_noise),
            Treatment("salt_pepper", on_images=on_images.salt_pepper),
            Treatment("gamma", on_images=on_images.gamma),
            Treatment("contrast", on_images=on_images.contrast, check=on_images.check_contrast),
            Treatment(
                "gaussian_noise_each_epoch",
                on_images=on_images.gaussian_noise_each_epoch,
                each_epoch=True,
            ),
            Treatment(
                "salt_pepper_each_epoch",
                on_images=on_images.salt_pepper_each_epoch,
                each_epoch=True,
            ),
        )
    },
)


def op(name: str, **params: Scalar) -> Op:
    """One treatment step in canonical form: every parameter present, in its own type, within its
    range.

    Raises:
        UnknownNameError: if there is no such treatment or parameter.
        UsageError: if a parameter is missing or its value is not possible.
    """
    return Op(name=name, params=TREATMENTS[name].canonical(params))


def parse(text: str) -> tuple[Op, ...]:
    """``"subsample:fraction=0.25,replica=1+label_noise:fraction=0.2"`` -> two steps; ``"none"`` and
    ``""`` -> no step.

    The inverse of joining ``Op.text`` with ``+``.

    Raises:
        UnknownNameError, UsageError: as ``op``.
    """
    if text.strip() in ("", "none"):
        return ()
    for name, _ in (steps := split_steps(text)):
        if name not in TREATMENTS:
            raise UnknownNameError(
                "treatment",
                name,
                TREATMENTS,
                "Write steps as NAME:key=value,key=value, joined by +.",
            )
    return _checked_chain(op(name, **TREATMENTS[name].read(settings)) for name, settings in steps)


def _checked_chain(ops: Iterable[Op]) -> tuple[Op, ...]:
    """The steps, if they can follow each other.

    A manifest replaces the whole training set, so nothing that chose rows may precede it. The same
    random step with the same seed would meet the same examples (a label moved twice could come out
    right). A class that an earlier step emptied has nothing to delete or relabel.
    """
    chain = tuple(ops)
    before = 0
    drawn: set[tuple[str, Scalar]] = set()
    emptied: dict[Scalar, str] = {}
    for step in chain:
        if TREATMENTS[step.name].needs_manifests and before:
            raise UsageError(
                f"{step.text} comes after {before} other step(s) on rows, whose effect it would"
                f" undo. A manifest may only come first. Write {step.text}+..., or make the"
                " selection from a population trained with those steps."
            )
        before += TREATMENTS[step.name].on_rows is not None
        if "seed" in step.params:
            if (draw := (step.name, step.params["seed"])) in drawn:
                raise UsageError(
                    f"{step.text}: an earlier {step.name} has seed {draw[1]} too and would draw the"
                    " same again. Steps of one name need different seeds. Write"
                    f" {step.name}:...,seed=OTHER."
                )
            drawn.add(draw)
        if step.name in ("delete_class", "relabel"):
            label = step.params["label"]
            if label in emptied:
                raise UsageError(
                    f"{step.text}: after {emptied[label]} no example of class {label} is left. A"
                    " class can be deleted or relabelled once. Put the steps in another order, or"
                    " leave one out."
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
                params[parameter.name] = position(class_names, value, f"class of {step.name}")
            else:
                on_rows.class_index(len(class_names), step.name, parameter.name, value)
        resolved.append(op(step.name, **params))
    return _checked_chain(resolved)


def each_epoch(ops: Sequence[Op]) -> bool:
    """Whether the pictures differ from epoch to epoch."""
    return any(TREATMENTS[step.name].each_epoch for step in ops)


def apply_rows(
    ops: Sequence[Op], rows: on_rows.Rows, *, manifests: Callable[[str], Manifest]
) -> on_rows.Rows:
    """The training set after the steps on rows, in order; steps on images are passed over.

    Args:
        ops: canonical steps, from ``op`` or ``parse``.
        rows: the data set's training split.
        manifests: manifest id -> ``Manifest``; called only for steps ``manifest``.

    Returns:
        Rows in the order of ``rows`` (of the manifest, where there is one). Can be empty: the
        caller names that outcome.

    Raises:
        UsageError: if a step does not fit this data set.
    """
    for step in _checked_chain(ops):
        treatment = TREATMENTS[step.name]
        if treatment.on_rows is not None:
            arguments = (rows, manifests) if treatment.needs_manifests else (rows,)
            rows = treatment.on_rows(*arguments, **step.params)
    return rows


def apply_images(
    ops: Sequence[Op], images: NDArray[np.uint8], example_ids: NDArray[np.int64], *, epoch: int = 1
) -> NDArray[np.uint8]:
    """The pictures after the steps on images, in order; steps on rows are passed over.

    Each picture's result depends on its pixels and its example id alone, so any block of a data set
    may be treated anywhere.

    Args:
        ops: canonical steps, from ``op`` or ``parse``.
        images: uint8 [n, H, W, K]; read only.
        example_ids: int64 [n].
        epoch: 1-based; matters only to steps that draw anew in each epoch.

    Returns:
        uint8 [n, H, W, K]: new, or ``images`` itself where no step concerns images.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(example_ids):
        raise ValueError(
            f"images {images.dtype} {images.shape}, {len(example_ids)} example ids; expected uint8"
            " [n, H, W, K] and n ids"
        )
    functions: list[tuple[Callable[..., NDArray[np.uint8]], dict[str, Any]]] = []
    for step in ops:
        treatment = TREATMENTS[step.name]
        if treatment.on_images is not None:
            functions.append(
                (
                    treatment.on_images,
                    {**step.params, "epoch": epoch} if treatment.each_epoch else {**step.params},
                )
            )
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


def resolved(sweep: Sweep, dataset: Dataset) -> Sweep:
    """The sweep with the class names in its treatments replaced by the data set's indices.

    Raises:
        UnknownNameError, UsageError: as ``zoo.trainsets.treatments.resolve``.
    """
    return sweep.replace(
        treatments=tuple(resolve(treatment, dataset.class_names) for treatment in sweep.treatments)
    )
