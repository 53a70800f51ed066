"""Data sets made from others: ``cifar10+take:count=10000+label_noise:fraction=0.2``.

What follows the base's name, path or URI are steps on its *training split*; its other splits stay.
The steps are the treatments of rows, with the same parameters and the same keyed draws, and
``labels``, which takes the labels from a file. A treatment belongs to a training: the data set
stays as it was given, and scores are against its own labels. A derived data set is one of its own:
its ``label`` is what the population, the scores, the selections and the retraining see, and where
the steps changed labels, ``label_true`` is what they were before. It has its own fingerprint and
keeps the keys, so that two data sets made from one can be compared example by example.

``numbered:of=NAME`` stands alone: a folder whose class folders are numbers is read as a test set of
the data set NAME, class folder k as that one's class k. So lies ImageNetV2, folders 0 to 999:
``imagenetv2+numbered:of=imagenet``.

One step is of another kind: ``composites`` makes new pictures of the test split, for a population
to answer and for nobody to be trained on (``zoo.trainsets.composites``).

Which labels ``label_noise:to=confusion`` gives depends on what a small network answers: a data set
with that step is first made in a workspace (``zoo.pipeline.with_confusion``), which turns the step
into ``labels``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import (
    Contents,
    Dataset,
    EncodedSource,
    ImageSource,
    PixelSource,
    Split,
    open_or_published,
)
from zoo.errors import DataError, NotFoundError, UsageError
from zoo.manifest import Manifest
from zoo.registry import position
from zoo.spec import Op
from zoo.trainsets.composites import COMPOSITES, composites_of
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.steps import split_steps
from zoo.trainsets.treatments import TREATMENTS, apply_rows, op, resolve

__all__ = ["Confusion", "confused", "confusion_of", "derived", "labels_step", "split_base"]

LABELS = "labels"
"""The step that takes labels from a file: ``labels:from=FILE``."""

NUMBERED = "numbered"
"""The step that takes class folders for class numbers of another data set."""


def split_base(uri: str) -> tuple[str, str]:
    """``BASE+step+step`` -> (BASE, the steps as text); no steps: (uri, ""). A ``+`` that no step
    follows belongs to the base."""
    known = {name for name, treatment in TREATMENTS.items() if treatment.on_rows is not None}
    for at, character in enumerate(uri):
        if character == "+" and at:
            name = uri[at + 1 :].partition("+")[0].partition(":")[0].strip()
            if name.replace("-", "_") in known | {LABELS, COMPOSITES, NUMBERED}:
                return uri[:at], uri[at + 1 :]
    return uri, ""


def derived(base: Dataset, steps: str) -> tuple[Contents, str, str]:
    """What a data set and steps make; the steps in canonical form, and for its name: without what
    is the default anyway, and of a file of labels its own name.

    Raises:
        UsageError, UnknownNameError: for steps that are not possible on this data set.
        DataError: if the steps leave no example, or labels cannot be read.
    """
    (name, settings), *more = split_steps(steps)
    if COMPOSITES in (name, *(other for other, _ in more)):
        if more:
            raise UsageError(
                f"{base.name}+{steps}: composites are made of the split test, which no other step"
                f" touches. Allowed: {base.name}+composites:..., without others."
            )
        made, step = composites_of(base, settings)
        return Contents(base.class_names, {COMPOSITES: made}), step.text, step.text
    if NUMBERED in (name, *(other for other, _ in more)):
        key, _, of = settings.partition("=")
        if more or key.strip() != "of" or not of:
            raise UsageError(
                f"{base.name}+{steps}: numbered stands alone and says whose classes the numbers"
                f" are. Allowed: {base.name}+numbered:of=NAME, a data set (a comma or a plus sign"
                " in its name as %2C and %2B)."
            )
        text = f"{NUMBERED}:of={of}"
        return _numbered(base, open_or_published(unquote(of.strip()))[0]), text, text
    train = base.splits.get("train")
    if train is None:
        raise UsageError(
            f"{base.name}+{steps}: {base.name} has no training split (it has"
            f" {', '.join(base.splits)}), and steps are on that. Leave them out."
        )
    rows = Rows(
        np.arange(len(train), dtype=np.int64),
        train.labels,
        np.ones(len(train), dtype=np.float32),
        len(base.class_names),
    )
    texts, shown = [], []
    for step in _parsed(steps, base.class_names):
        if step.name == LABELS:
            place = str(step.params["from"])
            rows = rows.with_labels(_labels_from(place, train, rows, base.class_names))
            texts.append(labels_step(place))
            shown.append(f"{LABELS}:from={place.rpartition('/')[2]}")
        else:
            if step.params.get("to") == "confusion":
                raise UsageError(
                    f"{base.name}+{steps}: which labels to=confusion gives is decided by a small"
                    " network that has to be trained first. Allowed: where there is a workspace to"
                    " train it in, as in an experiment or 'zoo train --data'."
                )
            rows = apply_rows((step,), rows, manifests=_no_manifests)
            texts.append(step.text)
            shown.append(_without_defaults(step).text)
    if not len(rows):
        raise DataError(f"{base.name}+{steps}: no example is left. Take milder steps.")
    ids = rows.example_ids
    before = train.labels[ids]
    truth = None if train.labels_true is None else train.labels_true[ids]
    if truth is None and (rows.labels != before).any():
        truth = before
    whole = len(ids) == len(train) and bool((ids == np.arange(len(train))).all())
    split = Split(
        name=train.name,
        labels=rows.labels,
        labels_true=truth,
        # A stand-in of a published shape has none.
        keys=[train.keys[position] for position in ids] if train.keys else [],
        source=train.source if whole else _part(train.source, ids),
    )
    return (
        Contents(base.class_names, {**base.splits, "train": split}, notes=base.notes),
        "+".join(texts),
        "+".join(shown),
    )


def _numbered(base: Dataset, of: Dataset) -> Contents:
    """The one split of a data set whose class names are class numbers of another one, as a test set
    with that one's classes.

    Raises:
        DataError: if it has several splits, or a name that is no class number.
    """
    if len(base.splits) != 1:
        raise DataError(
            f"{base.name}: has the splits {', '.join(base.splits)}. Allowed: a folder of class"
            " folders, which is one test set. Give the folder that holds the class folders."
        )
    wrong = [
        name
        for name in base.class_names
        if not (name.isascii() and name.isdecimal() and int(name) < len(of.class_names))
    ]
    if wrong:
        raise DataError(
            f"{base.name}: class folder {wrong[0]!r} is no class of {of.name} by number. Allowed: 0"
            f" to {len(of.class_names) - 1}. Check whose classes they are."
        )
    (split,) = base.splits.values()
    numbers = np.array([int(name) for name in base.class_names], dtype=np.int64)
    test = replace(split, name="test", labels=numbers[split.labels])
    return Contents(of.class_names, {"test": test}, notes=base.notes)


def _without_defaults(step: Op) -> Op:
    known = TREATMENTS[step.name].parameters
    return step.replace(
        params={name: v for name, v in step.params.items() if v != known[name].default}
    )


def _no_manifests(digest: str) -> Manifest:
    raise NotFoundError(
        f"manifest {digest}: a selection belongs to a workspace and to the data set it was made"
        " from. Use 'zoo retrain', or --treatment manifest:id=..., on that data set."
    )


def _parsed(steps: str, class_names: tuple[str, ...]) -> list[Op]:
    found = []
    for name, settings in split_steps(steps):
        if name == LABELS:
            key, _, place = settings.partition("=")
            if key.strip() != "from" or not place or "," in place:
                raise UsageError(
                    f"labels:{settings}. Allowed: exactly labels:from=FILE, a Parquet file with the"
                    " columns label and key or example_id (a comma or a plus sign in its name as"
                    " %2C and %2B)."
                )
            found.append(Op(name=LABELS, params={"from": unquote(place.strip())}))
            continue
        treatment = TREATMENTS[name]
        if treatment.on_rows is None or treatment.needs_manifests:
            raise UsageError(
                f"{name}: no step of a data set. Allowed: steps on rows"
                f" ({', '.join(n for n, t in TREATMENTS.items() if t.on_rows is not None and not t.needs_manifests)})"  # noqa: E501
                f" and {LABELS}. Steps on pictures belong to a training: --treatment."
            )
        found += resolve((op(name, **treatment.read(settings)),), class_names)
    return found


# ---------------------------------------------------------------- pictures of a part


@dataclass(frozen=True, eq=False)
class _EncodedPart:
    """Pictures of some examples of a source, numbered anew."""

    whole: EncodedSource
    example_ids: NDArray[np.int64]

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        return self.whole.encoded(self.example_ids[example_ids])

    def content_digest(self) -> bytes:
        return _part_digest(self.whole, self.example_ids)


@dataclass(frozen=True, eq=False)
class _PixelPart:
    """The same for pictures that are one array."""

    whole: PixelSource
    example_ids: NDArray[np.int64]

    def pixels(self, example_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self.whole.pixels(self.example_ids[example_ids])

    def content_digest(self) -> bytes:
        return _part_digest(self.whole, self.example_ids)


def _part(source: ImageSource, example_ids: NDArray[np.int64]) -> ImageSource:
    kind: Any = _EncodedPart if isinstance(source, EncodedSource) else _PixelPart
    part: ImageSource = kind(source, example_ids)
    return part


def _part_digest(source: ImageSource, example_ids: NDArray[np.int64]) -> bytes:
    ids = np.ascontiguousarray(example_ids, dtype="<i8").tobytes()
    return hashlib.sha256(source.content_digest() + ids).digest()


# ---------------------------------------------------------------- labels from a file


def labels_step(place: str) -> str:
    """The step that takes the labels from a file, as text: ``labels:from=FILE``, with the
    characters that mean something to steps quoted as in a URL."""
    return f"{LABELS}:from={quote(place, safe='/:._-~ ')}"


def _labels_from(
    place: str, train: Split, rows: Rows, class_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """The label of each row by a table of labels; rows that it does not name keep theirs.

    ``example_id`` in that table is the position among the rows that the steps before have left;
    ``key`` the base's key.
    """
    table = _read(place)
    names = table.column_names
    known = {train.keys[i]: n for n, i in enumerate(rows.example_ids)} if "key" in names else {}
    if "label" not in names or not {"key", "example_id"} & {*names}:
        raise DataError(
            f"{place}: columns {', '.join(names)}. Allowed: label, and key or example_id. Name them"
            " so."
        )
    if "key" in names:
        keys = [str(key) for key in table.column("key").to_pylist()]
        unknown = [key for key in keys if key not in known]
        ids = np.array([known.get(key, -1) for key in keys], dtype=np.int64)
    else:
        ids = table.column("example_id").to_numpy().astype(np.int64)
        unknown = [str(i) for i in ids if not 0 <= i < len(rows)]
    if unknown:
        raise DataError(
            f"{place}: {len(unknown)} of its {len(ids)} examples, such as {unknown[0]!r}, are not"
            f" among the {len(rows)} of the training split. Allowed: labels of this data set. Check"
            " which data set they were made for."
        )
    twice = np.flatnonzero(np.bincount(ids, minlength=1) > 1)
    if len(twice):
        raise DataError(
            f"{place}: example {twice[0]} is there twice ({len(twice)} such). Allowed: one label"
            " each. Drop the duplicates."
        )
    given = table.column("label").to_pylist()
    new = np.array(
        [position(class_names, v, f"label of {place}") if isinstance(v, str) else v for v in given],
        dtype=np.int64,
    )
    wrong = (new < 0) | (new >= len(class_names))
    if wrong.any():
        raise DataError(
            f"{place}: label {new[wrong][0]}. Allowed: 0 to {len(class_names) - 1}, or names of"
            " classes. Correct it."
        )
    labels = rows.labels.copy()
    labels[ids] = new
    return labels


def _read(place: str) -> pa.Table:
    try:
        if "://" in place:
            system, path = pafs.FileSystem.from_uri(place)
        else:
            system, path = pafs.LocalFileSystem(), str(Path(place).absolute())
        return pq.read_table(path, filesystem=system)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{place}: no table of labels can be read there ({str(error)[:200]}). Give a Parquet"
            " file with the columns label and key or example_id."
        ) from None


# ---------------------------------------------------------------- wrong labels by confusion


@dataclass(frozen=True)
class Confusion:
    """Wrong labels that look right: ``label_noise:fraction=0.2,to=confusion``.

    ``base``: the data set before that step, as a URI; ``after``: steps behind it. ``fraction``: of
    the examples. ``seed``: of the small network.
    """

    base: str
    fraction: float
    seed: int
    after: str

    def with_labels(self, place: str) -> str:
        """The data set with the labels of a file in place of the step."""
        return "+".join(filter(None, (self.base, labels_step(place), self.after)))


def confusion_of(uri: str) -> Confusion | None:
    """The first step of a data set that needs a network's answers; None if there is none."""
    base, steps = split_base(uri)
    texts = [":".join(filter(None, step)) for step in split_steps(steps)] if steps else []
    for number, (name, settings) in enumerate(split_steps(steps) if steps else []):
        step = TREATMENTS["label_noise"]
        if name.replace("-", "_") != step.name:
            continue
        params = step.canonical(step.read(settings))
        if params["to"] == "confusion":
            return Confusion(
                "+".join([base, *texts[:number]]),
                float(params["fraction"]),
                int(params["seed"]),
                "+".join(texts[number + 1 :]),
            )
    return None


def confused(
    labels: NDArray[np.int64],
    margins: NDArray[np.floating[Any]],
    top: NDArray[np.integer[Any]],
    fraction: float,
) -> NDArray[np.int64]:
    """Labels with wrong ones where a network is least sure of the right one: exactly
    round(fraction * E) examples, those of the lowest margin (ties: lower example id), get the most
    probable class that is not their label.

    Instance-dependent noise: what a hurried annotator would write. Every chosen label is wrong.

    Args:
        labels: int64 [E], all known.
        margins: float [E], p(label) minus the largest other probability; NaN where there is no
            answer, never chosen.
        top: integer [E, T], most probable classes, T >= 2, -1 pads.
        fraction: 0..1.

    Raises:
        UsageError: if fewer examples were answered than that.
    """
    count = round(fraction * len(labels))
    answered = ~np.isnan(margins) & (top[:, :2] >= 0).all(axis=1)
    if count > int(answered.sum()):
        raise UsageError(
            f"label_noise to=confusion: fraction = {fraction} of {len(labels)} examples, of which"
            f" {int(answered.sum())} were answered. Allowed: no more than these."
        )
    order = np.lexsort((np.arange(len(labels)), np.where(answered, margins, np.inf)))
    chosen = order[:count]
    noisy = labels.copy()
    first = top[chosen, 0].astype(np.int64)
    noisy[chosen] = np.where(first == labels[chosen], top[chosen, 1], first)
    return noisy
