"""From the store to the scores table: one streaming pass over the answers, block of examples by
block of examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Ints
from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.scores.accumulate import ScoreAccumulator, entropy_terms, log_shares, padded
from zoo.scores.catalog import FIXED_ONE, SCORES, Listed, ratio
from zoo.scores.outputs import probabilities_of, top_classes
from zoo.scores.population import Population
from zoo.store.answers import (
    TOP_CLASSES,
    Shard,
    list_values,
    logits_between,
    logits_of,
    read_answers,
    read_predictions,
)
from zoo.store.datasets import examples_of, int_column
from zoo.store.selections import labels_in
from zoo.store.workspace import Workspace

__all__ = [
    "AnswerSample",
    "Probabilities",
    "entropy_classes",
    "entropy_sums",
    "relabelling_note",
    "sample_answers",
    "score",
    "x_by",
]


_SCORED = ("prediction", "p_label", "entropy", "margin", "top5", "top5_p", "in_train")


def score(
    workspace: Workspace, population: Population, split: str, label_column: str = "label"
) -> pa.Table:
    """The ``scores`` table of a population on a split. Memory is one block of examples x classes
    and the result, never N x E.

    With another label column than the one the answers were made with, p(label) and the margin of an
    example whose label differs come from the
    logits that were kept (float16: relative error of a probability below 1e-2), and of classifiers
    without any from the answers' five most probable classes (a class outside them counts as
    probability 0). X, C and the confusions are exact. How many classifiers were without logits is
    in the table's metadata: ``without_logits``, see ``relabelling_note``.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    examples = examples_of(workspace, population.dataset, split)
    given, labels, truth = (
        labels_in(workspace, examples, column, dataset=population.fingerprint, split=split)
        for column in ("label", label_column, "label_true")
    )
    keys = examples.column("key")
    # Into Arrow block by block: the columns of a whole split in numpy, and their concatenation,
    #     would stand beside the result.
    tables: list[pa.Table] = []
    kept = _KeptLogits(workspace, split)
    needs_logits = any("logits" in score.needs for score in SCORES.values())
    snapshots, prior = population.snapshots, log_shares(labels, len(population.class_names))
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers, _SCORED
    ):
        own = labels[block.start : block.stop]
        accumulator = ScoreAccumulator(
            block.example_ids, own, len(population.class_names), log_prior=prior
        )
        for name, batch in answers:
            columns = _columns(
                batch, own, given[block.start : block.stop], partial(kept.rows, name, block)
            )
            accumulator.add(
                *columns,
                kept.rows(name, block, np.arange(len(own))) if needs_logits else None,
                snapshots.get(name),
            )
        rows = slice(block.start, block.stop)
        tables.append(
            accumulator.finish().to_arrow(
                split, keys[rows].to_pylist(), population.class_names, truth[rows]
            )
        )
        del accumulator  # or the next block's sums, examples x classes, would stand beside these
    whole = pa.concat_tables(tables)
    if label_column == "label" or not kept.without:
        return whole
    about = {b"without_logits": f"{len(kept.without)} of {len(population.classifiers)}".encode()}
    return whole.replace_schema_metadata({**(whole.schema.metadata or {}), **about})


def x_by(workspace: Workspace, population: Population, split: str, labels: Ints) -> Floats:
    """``x_perplexity`` of a split by other labels, bit for bit as ``score`` has it: float64 [E],
    NaN where nobody answered or there is no label. Answers do not depend on labels, so it is enough
    to compare the predictions, the one column of the answers that is read.

    Args:
        labels: int64 [E], -1 = none.

    Raises:
        StoreError: if a classifier has no answers on the split.
        UsageError: if there is not one label per example.
    """
    examples = int(population.dataset.facts["splits"][split])
    if labels.shape != (examples,):
        raise UsageError(
            f"labels of {split} have shape {labels.shape}. Allowed: ({examples},), one per example"
            " in the order of example_id. Pass the whole column, with the edits in it."
        )
    n, wrong = np.zeros(examples, dtype=np.int64), np.zeros(examples, dtype=np.int64)
    # As narrow as predictions are; a label that no prediction can be stays one.
    own = np.where(labels <= np.iinfo(np.int16).max, labels, -1).astype(np.int16)
    for block, answers in read_predictions(
        workspace, population.fingerprint, split, population.classifiers
    ):
        rows = slice(block.start, block.stop)
        for predicted in answers:
            answered = predicted >= 0
            n[rows] += answered.sum(axis=0)
            wrong[rows] += (answered & (predicted != own[rows])).sum(axis=0)
    return ratio(wrong, n, labels >= 0)


def relabelling_note(table: pa.Table) -> str:
    """A line about scores by other labels that were not computed from full probabilities; empty
    where they were."""
    without = (table.schema.metadata or {}).get(b"without_logits")
    if without is None:
        return ""
    return (
        f"{without.decode()} classifiers kept no logits: where the label is another one, their"
        " p(label) and margin come from their five most probable classes alone, so mean_p_label,"
        " label_quality and all scores of margins and logarithms are approximate. X and C are"
        " exact."
    )


class _KeptLogits:
    """Probabilities of some examples from the logits that were kept; ``without``: classifiers that
    were asked for and have none."""

    def __init__(self, workspace: Workspace, split: str) -> None:
        self._workspace, self._split = workspace, split
        self.without: set[str] = set()

    def rows(
        self, classifier: str, block: Shard, rows: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """float64 [n, M] of these rows of a block; None if the classifier's logits were not
        kept."""
        if classifier in self.without:
            return None
        try:
            logits = logits_between(
                self._workspace, classifier, self._split, block.start, block.stop
            )
        except StoreError:
            self.without.add(classifier)
            return None
        return probabilities_of(logits[rows], "logits")


def _columns(
    batch: pa.RecordBatch,
    labels: NDArray[np.int64],
    given: NDArray[np.int64],
    probabilities: Callable[[NDArray[np.int64]], NDArray[np.float64] | None],
) -> tuple[Any, Any, Any, Any, Any, Any, Any]:
    """Arguments of ``ScoreAccumulator.add`` from one classifier's answers on a block; nulls become
    -1, 0 and false.

    ``probabilities``: of some rows of the block, float64 [n, M], where they can be had.
    """

    def values(name: str, empty: float | bool) -> NDArray[Any]:
        array = batch.column(name)
        filled: NDArray[Any] = (array.fill_null(empty) if array.null_count else array).to_numpy(
            zero_copy_only=False
        )
        return filled

    prediction = values("prediction", -1)
    p_label, margin = values("p_label", 0.0), values("margin", 0.0)
    top5, top5_p = (list_values(batch.column(name)) for name in ("top5", "top5_p"))
    if len(changed := np.flatnonzero((labels != given) & (labels >= 0) & (prediction >= 0))):
        p_label, margin = p_label.astype(np.float32), margin.astype(np.float32)
        p = probabilities(changed)
        of_top5 = (top5[changed], top5_p[changed].astype(np.float32))
        p_label[changed], margin[changed] = (
            _of_top5(*of_top5, labels[changed]) if p is None else _of_all(p, labels[changed])
        )
    in_train = _membership(batch.column("in_train"))
    return prediction, p_label, values("entropy", 0.0), margin, top5, top5_p, in_train


def _membership(column: pa.Array) -> NDArray[np.generic] | None:
    """``in_train`` of ``ScoreAccumulator.add``: bool where it is known of every example, else
    integers with -1; None if of none."""
    if column.null_count == len(column):
        return None
    known: NDArray[np.generic] = (
        column.cast(pa.int8()).fill_null(-1) if column.null_count else column
    ).to_numpy(zero_copy_only=False)
    return known


def _of_all(
    p: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """p(label) and margin [n] from all probabilities [n, M]."""
    rows = np.arange(len(p))
    own = p[rows, labels]
    others = p.copy()
    others[rows, labels] = -np.inf
    best = others.max(axis=1) if p.shape[1] > 1 else np.zeros(len(p))
    return own, own - best


def _of_top5(
    top5: NDArray[np.generic], top5_p: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The same from the five most probable classes [n, 5] and their probabilities: a class outside
    them has 0."""
    hit = top5 == labels[:, None]
    own = (top5_p * hit).sum(axis=1)
    return own, own - np.where(hit[:, 0], top5_p[:, 1], top5_p[:, 0])


def entropy_sums(
    workspace: Workspace, population: Population, split: str
) -> Iterator[tuple[Shard, Ints, Ints]]:
    """Block by block of examples: (block, sums of -p log2 p over the classifiers that answered,
    int64 [n, M] in multiples of 2**-32, how many these are, int64 [n]).

    From the logits that were kept, of which all N x E x M are read.

    Raises:
        NotFoundError: if some classifier's logits were not kept.
    """
    kept, classes = _KeptLogits(workspace, split), len(population.class_names)
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers, ("prediction",)
    ):
        rows = np.arange(block.stop - block.start)
        total, n = (
            np.zeros((len(rows), classes), dtype=np.int64),
            np.zeros(len(rows), dtype=np.int64),
        )
        for name, batch in answers:
            p = kept.rows(name, block, rows)
            if p is None:
                raise NotFoundError(
                    f"classifier {name} kept no logits of {split}. Fill with --keep-logits all."
                )
            answered = batch.column("prediction").is_valid().to_numpy(zero_copy_only=False)
            total += np.where(answered[:, None], entropy_terms(p), 0)
            n += answered
        yield block, total, n


def entropy_classes(workspace: Workspace, population: Population, split: str) -> Listed | None:
    """The five classes with most of the entropy, by the definition: the largest means of -p log2 p
    over all classifiers that answered, [E, 5].

    Memory is one block of examples x classes. (``top5_c`` of the scores table knows each
    classifier's five most probable classes only.) None if some classifier's logits were not kept.
    """
    kept = min(TOP_CLASSES, len(population.class_names))
    blocks = []
    try:
        for _, total, n in entropy_sums(workspace, population, split):
            chosen, sums = padded(*top_classes(total, None, kept))
            blocks.append(
                (
                    chosen,
                    np.divide(
                        sums, n[:, None] * FIXED_ONE, out=np.zeros(sums.shape), where=n[:, None] > 0
                    ),
                )
            )
    except NotFoundError:
        return None
    return Listed(*map(np.concatenate, zip(*blocks, strict=True)))


@dataclass(frozen=True)
class Probabilities:
    """Class probabilities of a population on a split, from the logits that were kept; see
    ``detection.Members``."""

    workspace: Workspace
    population: Population
    split: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(classifiers, examples, classes)"""
        facts = self.population.dataset.facts
        return (
            len(self.population.classifiers),
            int(facts["splits"][self.split]),
            len(facts["class_names"]),
        )

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        for name in self.population.classifiers:
            # centred: the largest is 1
            p = np.exp(logits_of(self.workspace, name, self.split).astype(np.float64))
            p /= p.sum(axis=1, keepdims=True)
            yield p

    def held_out(self) -> NDArray[np.bool_]:
        """bool [classifiers, examples]: not trained on it, or not known to be."""
        classifiers, examples, _ = self.shape
        held = np.ones((classifiers, examples), dtype=bool)
        index = {name: position for position, name in enumerate(self.population.classifiers)}
        for block, answers in read_answers(
            self.workspace,
            self.population.fingerprint,
            self.split,
            self.population.classifiers,
            ("in_train",),
        ):
            for name, batch in answers:
                seen = batch.column("in_train").fill_null(False).to_numpy(zero_copy_only=False)
                held[index[name], block.start : block.stop] = ~seen
        return held


@dataclass(frozen=True, eq=False)
class AnswerSample:
    """Answers of a population to some examples of a split; rows are in the order of the
    population's classifiers.

    Args:
        example_ids: int64 [e], ascending.
        predictions: int16 [N, e], -1 where a picture could not be read.
        entropies: float32 [N, e] in bits.
        p_labels: float32 [N, e], probability of the given label.
        in_train: bool [N, e], whether the classifier was trained on the example; None where that is
            not known of every one.
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


def sample_answers(
    workspace: Workspace, population: Population, split: str, limit: int
) -> AnswerSample:
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
    for block, batches in read_answers(
        workspace, population.fingerprint, split, population.classifiers, tuple(empty)
    ):
        inside = chosen[(chosen >= block.start) & (chosen < block.stop)] - block.start
        # Classifiers of several fills come fill by fill, not in the population's order.
        rows: dict[str, dict[str, NDArray[Any]]] = {}
        for classifier, batch in batches:
            known &= batch.column("in_train").null_count == 0
            rows[classifier] = {
                name: batch.column(name).fill_null(value).to_numpy(zero_copy_only=False)[inside]
                for name, value in empty.items()
            }
        for name, parts in blocks.items():
            parts.append(
                np.stack([rows[classifier][name] for classifier in population.classifiers])
            )
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
