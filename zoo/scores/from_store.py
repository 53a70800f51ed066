"""From the store to the scores table: one streaming pass over the answers, block of examples by block of examples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo import keyed
from zoo.scores.accumulate import ScoreAccumulator
from zoo.scores.population import Population
from zoo.store.answers import list_values, logits_of, read_answers
from zoo.store.datasets import examples_of, int_column
from zoo.store.selections import labels_in
from zoo.store.workspace import Workspace

__all__ = ["AnswerSample", "Probabilities", "sample_answers", "score"]


_SCORED = ("prediction", "p_label", "entropy", "margin", "top5", "top5_p", "in_train")


def score(workspace: Workspace, population: Population, split: str, label_column: str = "label") -> pa.Table:
    """The ``scores`` table of a population on a split. Memory is one block of examples x classes and the result, never N x E.

    With another label column than the one the answers were made with, p(label) and the margin of an example whose label differs come from the
    answers' five most probable classes (a class outside them counts as probability 0); X, C and the confusions are exact.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    examples = examples_of(workspace, population.dataset, split)
    given, labels, truth = (
        labels_in(workspace, examples, column, dataset=population.fingerprint, split=split)
        for column in ("label", label_column, "label_true")
    )
    keys = examples.column("key")
    # Into Arrow block by block: the columns of a whole split in numpy, and their concatenation, would stand beside the result.
    tables = []
    for block, answers in read_answers(workspace, population.fingerprint, split, population.classifiers, _SCORED):
        own = labels[block.start : block.stop]
        accumulator = ScoreAccumulator(block.example_ids, own, len(population.class_names))
        for _, batch in answers:
            accumulator.add(*_columns(batch, own, given[block.start : block.stop]))
        rows = slice(block.start, block.stop)
        tables.append(accumulator.finish().to_arrow(split, keys[rows].to_pylist(), population.class_names, truth[rows]))
        del accumulator  # or the next block's sums, examples x classes, would stand beside these
    return pa.concat_tables(tables)


def _columns(batch: pa.RecordBatch, labels: NDArray[np.int64], given: NDArray[np.int64]) -> tuple[NDArray[np.int16], ...]:
    """Arguments of ``ScoreAccumulator.add`` from one classifier's answers on a block; nulls become -1, 0 and false."""

    def values(name: str, empty: float | bool) -> NDArray[np.generic]:
        array = batch.column(name)
        filled: NDArray[np.generic] = (array.fill_null(empty) if array.null_count else array).to_numpy(zero_copy_only=False)
        return filled

    prediction = values("prediction", -1)
    p_label, margin = values("p_label", 0.0), values("margin", 0.0)
    top5, top5_p = (list_values(batch.column(name)) for name in ("top5", "top5_p"))
    if (changed := labels != given).any():
        p_label, margin = _relabelled(p_label, margin, top5, top5_p, labels, changed)
    in_train = _membership(batch.column("in_train"))
    return prediction, p_label, values("entropy", 0.0), margin, top5, top5_p, in_train  # type: ignore[return-value]


def _membership(column: pa.Array) -> NDArray[np.generic] | None:
    """``in_train`` of ``ScoreAccumulator.add``: bool where it is known of every example, else integers with -1; None if of none."""
    if column.null_count == len(column):
        return None
    known: NDArray[np.generic] = (column.cast(pa.int8()).fill_null(-1) if column.null_count else column).to_numpy(zero_copy_only=False)
    return known


def _relabelled(
    p_label: NDArray[np.generic],
    margin: NDArray[np.generic],
    top5: NDArray[np.generic],
    top5_p: NDArray[np.generic],
    labels: NDArray[np.int64],
    changed: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    p, m = p_label.astype(np.float32), margin.astype(np.float32)
    hit = top5[changed] == labels[changed, None]
    ranked = top5_p[changed].astype(np.float32)
    own = (ranked * hit).sum(axis=1)
    p[changed] = own
    m[changed] = own - np.where(hit[:, 0], ranked[:, 1], ranked[:, 0])
    return p, m


@dataclass(frozen=True)
class Probabilities:
    """Class probabilities of a population on a split, from the logits that were kept; see ``detection.Members``."""

    workspace: Workspace
    population: Population
    split: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(classifiers, examples, classes)"""
        facts = self.population.dataset.facts
        return len(self.population.classifiers), int(facts["splits"][self.split]), len(facts["class_names"])

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        for name in self.population.classifiers:
            p = np.exp(logits_of(self.workspace, name, self.split).astype(np.float64))  # centred: the largest is 1
            p /= p.sum(axis=1, keepdims=True)
            yield p

    def held_out(self) -> NDArray[np.bool_]:
        """bool [classifiers, examples]: not trained on it, or not known to be."""
        classifiers, examples, _ = self.shape
        held = np.ones((classifiers, examples), dtype=bool)
        index = {name: position for position, name in enumerate(self.population.classifiers)}
        for block, answers in read_answers(
            self.workspace, self.population.fingerprint, self.split, self.population.classifiers, ("in_train",)
        ):
            for name, batch in answers:
                seen = batch.column("in_train").fill_null(False).to_numpy(zero_copy_only=False)
                held[index[name], block.start : block.stop] = ~seen
        return held


@dataclass(frozen=True, eq=False)
class AnswerSample:
    """Answers of a population to some examples of a split; rows are in the order of the population's classifiers.

    Args:
        example_ids: int64 [e], ascending.
        predictions: int16 [N, e], -1 where a picture could not be read.
        entropies: float32 [N, e] in bits.
        p_labels: float32 [N, e], probability of the given label.
        in_train: bool [N, e], whether the classifier was trained on the example; None where that is not known of every one.
        labels: int64 [e], -1 = unknown.
        labels_true: int64 [e], -1 = unknown.
    """

    example_ids: NDArray[np.int64]
    predictions: NDArray[np.int16]
    entropies: NDArray[np.float32]
    p_labels: NDArray[np.float32]
    in_train: NDArray[np.bool_] | None
    labels: NDArray[np.int64]
    labels_true: NDArray[np.int64]


def sample_answers(workspace: Workspace, population: Population, split: str, limit: int) -> AnswerSample:
    """The answers to at most ``limit`` keyed examples of a split.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    examples = examples_of(workspace, population.dataset, split)
    ids = np.arange(examples.num_rows, dtype=np.int64)
    chosen = keyed.choose("sample_answers", ids, min(limit, len(ids)))
    empty = {"prediction": -1, "entropy": 0.0, "p_label": 0.0, "in_train": False}
    blocks: dict[str, list[NDArray[Any]]] = {name: [] for name in empty}
    known = True
    for block, batches in read_answers(workspace, population.fingerprint, split, population.classifiers, tuple(empty)):
        inside = chosen[(chosen >= block.start) & (chosen < block.stop)] - block.start
        # Classifiers of several fills come fill by fill, not in the population's order.
        rows: dict[str, dict[str, NDArray[Any]]] = {}
        for classifier, batch in batches:
            known &= batch.column("in_train").null_count == 0
            rows[classifier] = {
                name: batch.column(name).fill_null(value).to_numpy(zero_copy_only=False)[inside] for name, value in empty.items()
            }
        for name, parts in blocks.items():
            parts.append(np.stack([rows[classifier][name] for classifier in population.classifiers]))
    found = {name: np.concatenate(parts, axis=1) for name, parts in blocks.items()}
    labels, truth = (int_column(examples, column)[chosen] for column in ("label", "label_true"))
    return AnswerSample(
        example_ids=chosen,
        predictions=found["prediction"],
        entropies=found["entropy"],
        p_labels=found["p_label"],
        in_train=found["in_train"].astype(bool) if known else None,
        labels=labels,
        labels_true=truth,
    )
