"""Treatments of rows: which examples there are, and with which labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.errors import UsageError
from zoo.manifest import Manifest
from zoo.spec import Scalar
from zoo.trainsets.steps import ClassIndex, Count, Fraction, Within

__all__ = [
    "Rows",
    "check_relabel",
    "class_index",
    "delete_class",
    "delete_fraction",
    "fold",
    "label_noise",
    "lay_manifest",
    "relabel",
    "small_classes",
    "subsample",
    "take",
]


@dataclass(frozen=True)
class Rows:
    """A training set without its pictures.

    Args:
        example_ids: int64 [n], positions in the data set's training split; an id repeats where an
            example has copies.
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
            raise ValueError(
                f"example_ids, labels, weights have {lengths} rows; they must have the same"
            )

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """The rows at the given positions (int64 [m]) or where the mask (bool [n]) is true."""
        return Rows(self.example_ids[rows], self.labels[rows], self.weights[rows], self.num_classes)

    def with_labels(self, labels: NDArray[np.int64]) -> Rows:
        return Rows(self.example_ids, labels, self.weights, self.num_classes)


# --------------------------------------------------------------------------------------------- rows


def _drawn(
    rows: Rows, key: str, count: int, *, fraction: float, stratified: bool
) -> NDArray[np.bool_]:
    """Mask [n] of ``count`` rows drawn at random; ``stratified``: of each class its share
    ``fraction``, rounded by largest remainder.

    Ties of the remainder go to the lower class. Copies of one example are in or out together, save
    at the edge of the count.
    """
    if not stratified:
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[keyed.choose(key, rows.example_ids, count)] = True
        return mask
    shares = fraction * np.bincount(rows.labels, minlength=rows.num_classes)  # [M]
    # A share such as 0.29 * 100 = 28.999999999999996 is cut to 28 and has the largest remainder, so
    # it is 29 after the next two lines.
    quotas = np.floor(shares).astype(np.int64)
    by_remainder = np.lexsort((np.arange(len(shares)), -(shares - quotas)))
    quotas[by_remainder[: count - quotas.sum()]] += 1
    order = np.lexsort((rows.example_ids, keyed.uniform(key, rows.example_ids)[:, 0], rows.labels))
    # [M]
    first_of_class = np.concatenate(
        [[0], np.cumsum(np.bincount(rows.labels, minlength=rows.num_classes))[:-1]]
    )
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - first_of_class[rows.labels[order]]
    drawn: NDArray[np.bool_] = rank < quotas[rows.labels]
    return drawn


def subsample(
    rows: Rows, *, fraction: Fraction, replica: Count = 0, stratified: bool = False
) -> Rows:
    """A random part of the examples: exactly round(fraction * n) of them.

    Replicas and fractions are independent draws. ``stratified``: each class gives its share,
    rounded by largest remainder (ties to the lower class), so that the total stays round(fraction *
    n).

    Source: study 2's populations (three replicas each of 0.25, 0.5, 0.75).
    """
    key, count = f"subsample/{fraction!r}/{replica}", round(fraction * len(rows))
    return rows.take(_drawn(rows, key, count, fraction=fraction, stratified=stratified))


def take(
    rows: Rows, *, count: Annotated[int, Within(1)], replica: Count = 0, stratified: bool = False
) -> Rows:
    """A random part of a given size; with one replica, a smaller part lies within a larger one.

    ``stratified``: of each class its share, as ``subsample``. Where classes differ in size, the
        larger part may then lack one example of a
    class that the smaller one has: a quota by largest remainder can fall by 1 as the whole grows
        (the Alabama paradox).
    """
    if count > len(rows):
        raise UsageError(
            f"take: count = {count} of {len(rows)} examples. Allowed: 1 to {len(rows)}. Write it as"
            " take:count=N."
        )
    return rows.take(
        _drawn(rows, f"take/{replica}", count, fraction=count / len(rows), stratified=stratified)
    )


def fold(
    rows: Rows,
    *,
    index: Count,
    of: Annotated[int, Within(2)] = 5,
    repeat: Count = 0,
) -> Rows:
    """All examples but those of one fold: a network trained on them answers that fold as one that
    has not seen it.

    The folds 0 to ``of`` - 1 of one ``repeat`` share the examples out: each lies in exactly one, so
    that over all folds every example is held out equally often. Folds differ by at most one
    example, in all and in each class; repeats are independent draws. Copies of an example stay
    together. An example that is the only one of its class lies in no fold: without it, no network
    could know the class.

    Source: k-fold cross-validation, stratified (Kohavi 1995, section 2.2).
    """
    if index >= of:
        raise UsageError(
            f"fold: index = {index} of {of} folds. Allowed: 0 to {of - 1}. Write it as"
            f" fold:index=INDEX,of={of}."
        )
    ids, first = np.unique(rows.example_ids, return_index=True)
    labels = rows.labels[first]
    if of > len(ids):
        raise UsageError(
            f"fold: of = {of} folds of {len(ids)} examples. Allowed: 2 to {len(ids)}. Ask for fewer"
            " folds, or for more data."
        )
    shared = np.bincount(labels, minlength=rows.num_classes)[labels] > 1
    ids, labels = ids[shared], labels[shared]
    # Dealt out class after class without a break, so that the remainders of classes are spread too.
    dealt = np.lexsort((ids, keyed.uniform(f"fold/{of}/{repeat}", ids)[:, 0], labels))
    return rows.take(~np.isin(rows.example_ids, ids[dealt[index::of]]))


def small_classes(rows: Rows, of: int, class_names: Sequence[str]) -> str:
    """A line about the classes that folds cannot share out: fewer examples than folds, or a single
    one; empty where there is none."""
    counts = np.bincount(rows.labels, minlength=rows.num_classes)  # [M]
    said = []
    for chosen, what in (
        (
            np.flatnonzero((counts > 1) & (counts < of)),
            f"fewer than {of} examples, so some folds hold none: held out all the same",
        ),
        (
            np.flatnonzero(counts == 1),
            "a single example, which no fold can hold out: it is ranked apart",
        ),
    ):
        if len(chosen):
            names = ", ".join(f"{class_names[label]} ({counts[label]})" for label in chosen[:5])
            more = f" and {len(chosen) - 5:,} more" if len(chosen) > 5 else ""
            said.append(f"{names}{more}: {what}")
    return "; ".join(said)


def delete_fraction(
    rows: Rows, *, fraction: Fraction, replica: Count = 0, stratified: bool = False
) -> Rows:
    """Exactly round(fraction * n) examples are left out, at random; what is left out at 10 % is
    also left out at 20 %.

    1 leaves nothing: the training ends as ``empty``, without a classifier. ``stratified``: of each
    class its share, as ``subsample``; that one example of a class can come back, as in ``take``,
    holds here too.

    Source: study 1 RQ2, which deletes at random, not per class.
    """
    count = round(fraction * len(rows))
    return rows.take(
        ~_drawn(rows, f"delete_fraction/{replica}", count, fraction=fraction, stratified=stratified)
    )


def label_noise(
    rows: Rows,
    *,
    fraction: Fraction,
    to: ClassIndex | Literal["random", "confusion"] = "random",
    seed: Count = 0,
) -> Rows:
    """Wrong labels: exactly round(fraction * n) rows get another label, or the label ``to``.

    ``to=random``: uniform over the M - 1 other classes, so each chosen row is wrong. ``to`` a
    class: the chosen rows get it whatever they had, so some stay right (true error rate = fraction
    * share of the other classes). With one seed the choice is nested: the rows wrong at 10 % are
    among those wrong at 20 %, with the same wrong label.

    ``to=confusion``, as a step of a data set only (``--data NAME+label_noise:fraction=0.2,``
    ``to=confusion``): the rows on which a small network trained on the labels before is least sure
    of them get the class that it takes for the likeliest other one. ``seed``: that network's.

    Source: study 1 RQ3, figures 6 ("modified to 0") and 7 ("modified randomly").
    """
    if to == "confusion":
        raise UsageError(
            "label_noise: to=confusion is decided by a network that is trained on the labels before"
            " it, so it is a step of a data set, not of one training. Allowed here: random or a"
            f" class. Write --data NAME+label_noise:fraction={fraction:g},to=confusion."
        )
    chosen = keyed.choose(f"label_noise/{seed}", rows.example_ids, round(fraction * len(rows)))
    labels = rows.labels.copy()
    if to == "random":
        if rows.num_classes < 2:
            raise UsageError(
                f"label_noise: no wrong label exists among {rows.num_classes} class. At least 2"
                " classes are needed. Use another data set."
            )
        shift = (
            1
            + keyed.integers(
                f"label_noise/{seed}/to", rows.example_ids[chosen], rows.num_classes - 1
            )[:, 0]
        )
        labels[chosen] = (labels[chosen] + shift) % rows.num_classes
    else:
        labels[chosen] = _class_of(rows, "label_noise", "to", to)
    return rows.with_labels(labels)


def delete_class(rows: Rows, *, label: ClassIndex) -> Rows:
    """All examples of one class are left out; the network keeps that class's output. Source: study
    1 RQ1."""
    return rows.take(rows.labels != _class_of(rows, "delete_class", "label", label))


def relabel(rows: Rows, *, label: ClassIndex, to: ClassIndex) -> Rows:
    """All examples of one class get the label of another. Source: study 1 RQ1."""
    _class_of(rows, "relabel", "label", label)
    _class_of(rows, "relabel", "to", to)
    return rows.with_labels(np.where(rows.labels == label, np.int64(to), rows.labels))


def check_relabel(params: dict[str, Scalar]) -> None:
    if params["label"] == params["to"]:
        raise UsageError(
            f"relabel: label = {params['label']} onto to = {params['to']} changes nothing. The two"
            " classes must differ. Choose another class for to, or leave the treatment out."
        )


def lay_manifest(rows: Rows, manifests: Callable[[str], Manifest], *, id: str) -> Rows:  # noqa: A002 - the word users write
    """A selection: its examples, labels, copies and weights replace the training set. Source: study
    2, table 1 and sets A and B."""
    manifest = manifests(id)
    strangers = np.flatnonzero(~np.isin(manifest.example_ids, rows.example_ids))
    if len(strangers):
        raise UsageError(
            f"manifest {id}: {len(strangers)} of its {len(manifest)} examples, such as"
            f" {manifest.example_ids[strangers[0]]}, are not in the training set. A selection fits"
            " the data set whose scores it was made from. Make the selection again on this data"
            " set."
        )
    wrong = (manifest.labels < 0) | (manifest.labels >= rows.num_classes)
    if wrong.any():
        raise UsageError(
            f"manifest {id}: label {manifest.labels[wrong][0]} is no class of this data set. "
            f"Allowed: 0 to {rows.num_classes - 1}. Make the selection again on this data set."
        )
    position = np.repeat(np.arange(len(manifest.example_ids)), manifest.copies)
    return Rows(
        manifest.example_ids[position],
        manifest.labels[position],
        manifest.weights[position],
        rows.num_classes,
    )


def _class_of(rows: Rows, treatment: str, name: str, label: int | str) -> int:
    """The class index, if the data set has it: the number of classes is known only now."""
    return class_index(rows.num_classes, treatment, name, label)


def class_index(num_classes: int, treatment: str, name: str, label: Scalar) -> int:
    if not isinstance(label, int) or not 0 <= label < num_classes:
        raise UsageError(
            f"{treatment}: {name} = {label} is no class of this data set. "
            f"Allowed: 0 to {num_classes - 1}. Write it as {treatment}:{name}=CLASS."
        )
    return label
