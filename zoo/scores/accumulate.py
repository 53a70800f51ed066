"""X- and C-perplexity, confusions and label quality of every example, from the answers of a
population.

Shape letters: N classifiers, E examples, M classes, K = top classes kept per answer (5).

One pass, one classifier at a time, one block of examples at a time: ``add`` is all a classifier
costs, ``merge`` joins two workers' shares, ``finish`` gives the scores. Memory is E x M of the
block (20 bytes a cell), never N x E x M.

**Sums are exact.** Every real number that is summed over classifiers (entropy, p(label), margins,
logarithms, top-5 probabilities) is first rounded to a multiple of 2**-32 and summed as int64.
Integer addition is associative, so scores are bit-identical whatever the order of the classifiers,
the partition into blocks or workers, and the shape of the merge tree; a float sum is none of these.
What it costs: each term is off by at most 2**-33, hence each mean by at most 2**-33 = 1.2e-10
(bits, or probability), and C = 2**mean by at most ln(2) * 2**-33 = 8.1e-11 relative. That is a
five-hundredth of the rounding that answers already carry as float32. int64 overflows past
2**63 / (34 * 2**32) = 6.3e7 classifiers.

**Snapshots of a training** (``Snapshot``) may come in any order, with other classifiers between
them: what a course needs of each is kept until all are there, and then becomes one number. In the
order of the store one training is open at a time; at worst it is 10 bytes for each classifier and
example of the block.

What the scores are is in ``zoo.scores.catalog``; here is how their sums come about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.errors import DataError
from zoo.registry import distinct
from zoo.scores.catalog import (
    COURSES,
    FIXED_ONE,
    SCORES,
    TERMS,
    Course,
    Given,
    Listed,
    Score,
    Sums,
    Term,
)
from zoo.scores.kind import SLACK
from zoo.scores.outputs import MAX_CLASSES, top_classes
from zoo.store.answers import TOP_CLASSES, Answers
from zoo.store.schema import SCORES_SCHEMA

__all__ = [
    "ScoreAccumulator",
    "ScoreTable",
    "Snapshot",
    "block_rows",
    "entropy_terms",
    "log_shares",
    "padded",
]


_BYTES_PER_CELL: Final = 4 + 8 + 8  # votes, probability, -p log2 p


# -------------------------------------------------------------------------------------- accumulator


def _fixed(values: NDArray[Any]) -> Ints:
    """Multiples of 2**-32, as int64. A float32 is scaled exactly (a power of two) and rounded once,
    half to even."""
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    fixed: Ints = np.rint(values * values.dtype.type(FIXED_ONE)).astype(np.int64)
    return fixed


def _float16_of_0_to_1() -> Floats:
    """Every float16 of [0, 1] by its bit pattern, float64 [15361]."""
    return np.arange(_ONE_F16 + 1, dtype=np.uint16).view(np.float16).astype(np.float64)


def entropy_terms(p: Floats) -> Ints:
    """-p log2 p in fixed point, 0 log 0 = 0."""
    logs = np.zeros_like(p)
    np.log2(p, out=logs, where=p > 0)
    return _fixed(-p * logs)


_ONE_F16: Final = 0x3C00  # the bits of 1; those of all smaller float16 from +0 are smaller
# p and -p log2 p in fixed point for each float16 of [0, 1], int64 [15361]: a look-up costs a half
# of the rounding, a tenth of the logarithm.
_FIXED_F16: Final = _fixed(_float16_of_0_to_1())
_SURPRISE_F16: Final = entropy_terms(_float16_of_0_to_1())


def block_rows(num_classes: int, *, memory_bytes: int = 256 * 2**20) -> int:
    """How many examples a block may hold so that its accumulator stays within ``memory_bytes``; at
    least 1."""
    return max(1, memory_bytes // (_BYTES_PER_CELL * num_classes + 200))


def log_shares(labels: NDArray[Any], num_classes: int) -> Floats:
    """Log of the share of each class among the known labels, float64 [M]; -inf for a class without
    any."""
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    logs = np.full(num_classes, -np.inf)
    np.log(counts / max(counts.sum(), 1), out=logs, where=counts > 0)
    return logs


_Kept = dict[int, tuple[NDArray[np.bool_], dict[str, NDArray[Any]]]]
"""Of the snapshots of a training that are there, by index: who counts, bool [E], and what courses
keep."""


@dataclass(frozen=True)
class Snapshot:
    """A classifier's place among the snapshots of its training: ``index`` in the order of epochs,
    of ``count`` that the population has, 2 or more."""

    training: str
    index: int
    count: int


class ScoreAccumulator:
    """Scores of one block of examples, classifier by classifier: ``add`` each, ``merge`` partial
    populations, ``finish``.

    ``merge`` of two accumulators equals one that was given all their classifiers, bit for bit, in
        any order (see the module's text).

    Args:
        example_ids: integer [E], distinct.
        labels: integer [E]; -1 = unknown, which leaves everything that needs a label null.
        num_classes: M, 1 to 32767.
        scores: which scores are wanted, by column.
        log_prior: float64 [M], ``log_shares`` of all labels of the split; None = of these, the
            block being all there is.

    Raises:
        DataError: shapes that differ, a label outside -1..M-1, an example id twice.
    """

    def __init__(
        self,
        example_ids: NDArray[Any],
        labels: NDArray[Any],
        num_classes: int,
        scores: Mapping[str, Score] = SCORES,
        log_prior: Floats | None = None,
    ) -> None:
        self.example_ids: Ints = np.array(example_ids, dtype=np.int64)
        self.labels: Ints = np.array(labels, dtype=np.int64)
        self.num_classes = int(num_classes)
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise DataError(
                f"{num_classes} classes. Allowed: 1 to {MAX_CLASSES}, so that an answer fits 16"
                " bits. Merge classes or score part of them."
            )
        if self.example_ids.ndim != 1 or self.labels.shape != self.example_ids.shape:
            raise DataError(
                f"example_ids have shape {self.example_ids.shape}, labels {self.labels.shape}."
                " Allowed: both [E]. Pass one label per example, -1 where it is unknown."
            )
        examples = len(self.example_ids)
        if len(np.unique(self.example_ids)) != examples:
            raise DataError(
                "example_ids hold an id twice. Allowed: each example of a split once. Score one"
                " split at a time."
            )
        self._check_range(
            "labels",
            self.labels,
            -1,
            self.num_classes - 1,
            "Check the label column against the data set's class names.",
        )
        self._log_prior = (
            log_shares(self.labels, self.num_classes) if log_prior is None else log_prior
        )
        self.scores = scores
        self._terms = _terms(scores)
        self._courses = _courses(scores)
        names = ["n", "n@heldout", "n@unknown"]
        for term, (_, parts, _) in self._terms.items():
            names += [term, *(f"{term}@{part}" for part in parts)]
        names += ["trainings", *self._courses] if self._courses else []
        self._sums: dict[str, Ints] = {name: np.zeros(examples, dtype=np.int64) for name in names}
        # of trainings whose snapshots are not all there: by index, who counts and what is kept
        self._open: dict[str, tuple[int, _Kept]] = {}
        self._closed: set[str] = set()
        self.needs_logits = any("logits" in score.needs for score in scores.values())
        self._without_logits = False
        # cell of (example, class 0) in the flat arrays below
        self._offsets: Ints = np.arange(examples, dtype=np.int64) * self.num_classes
        # flat [E, M]
        self._votes: NDArray[np.int32] = np.zeros(examples * self.num_classes, dtype=np.int32)
        # flat [E, M], sum of p
        self._probability: Ints = np.zeros(examples * self.num_classes, dtype=np.int64)
        # flat [E, M], sum of -p log2 p
        self._surprise: Ints = np.zeros(examples * self.num_classes, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.example_ids)

    def add(
        self,
        prediction: NDArray[Any],
        p_label: NDArray[Any],
        entropy: NDArray[Any],
        margin: NDArray[Any],
        top5: NDArray[Any],
        top5_p: NDArray[Any],
        in_train: NDArray[Any] | None = None,
        probabilities: NDArray[Any] | None = None,
        snapshot: Snapshot | None = None,
    ) -> Self:
        """Count one classifier's answers to all E examples of the block, in the order of
        ``example_ids``.

        Rows with prediction -1 (unreadable image, diverged network) count for nothing, whatever
        their other values.

        Args:
            prediction: integer [E], -1 or 0..M-1.
            p_label: float [E] in [0, 1]; ignored where the label is unknown.
            entropy: float [E] in bits, in [0, log2 M].
            margin: float [E] in [-1, 1]; ignored where the label is unknown.
            top5: integer [E, K], -1 pads; K is usually 5.
            top5_p: float [E, K] in [0, 1]; float16 takes a fast path.
            in_train: bool [E]; whether the classifier was trained on the example. An integer [E]
                may also say -1: not known. None = not known of any: the answers count neither as
                held out nor as in-sample.
            probabilities: float [E, M]; None = not at hand, which leaves scores that need logits
                null. Looked at only if ``needs_logits``.
            snapshot: of which training it is a snapshot; None = of none, or its only one. A
                training counts once all its snapshots were added, here or in what is merged.

        Raises:
            DataError: a shape, class or number outside what is said above, or the same snapshot
                twice; nothing is counted then.
        """
        examples = (len(self),)
        prediction, p_label, entropy, margin = (
            np.asarray(a) for a in (prediction, p_label, entropy, margin)
        )
        top5, top5_p = np.asarray(top5), np.asarray(top5_p)
        for name, array in (
            ("prediction", prediction),
            ("p_label", p_label),
            ("entropy", entropy),
            ("margin", margin),
        ):
            self._check_shape(name, array, examples)
        self._check_shape("top5", top5, (len(self), *top5.shape[1:2]))
        self._check_shape("top5_p", top5_p, top5.shape)
        held, unknown = _membership(in_train)
        if held is not None:
            self._check_shape("in_train", held, examples)
        if self.needs_logits and probabilities is not None:
            self._check_shape("probabilities", probabilities, (len(self), self.num_classes))
        if snapshot is not None:
            self._check_snapshot(snapshot.training, {snapshot.index})
        if not len(self):
            return self

        damaged = (
            "The answers do not belong to this data set, or are damaged: run 'zoo fsck --semantic'."
        )
        self._check_range("prediction", prediction, -1, self.num_classes - 1, damaged)
        self._check_range("top5", top5, -1, self.num_classes - 1, damaged)
        answered = prediction >= 0
        known = self.labels >= 0
        if not answered.all():
            known = known & answered
            held = None if held is None else held & answered
            unknown = None if unknown is None else unknown & answered
            entropy = np.where(answered, entropy, entropy.dtype.type(0))
            top5 = np.where(answered[:, None], top5, -1)
        if not known.all():
            p_label = np.where(known, p_label, p_label.dtype.type(0))
            margin = np.where(known, margin, margin.dtype.type(0))
        listed = top5 >= 0
        if not listed.all():
            top5_p = np.where(listed, top5_p, top5_p.dtype.type(0))
        self._check_range("entropy", entropy, -SLACK, np.log2(self.num_classes) + SLACK, damaged)
        self._check_range("p_label", p_label, -SLACK, 1 + SLACK, damaged)
        self._check_range("margin", margin, -1 - SLACK, 1 + SLACK, damaged)
        # numpy compares float16 one by one, its bits in vectors
        if top5_p.dtype != np.float16 or top5_p.view(np.uint16).max(initial=0) > _ONE_F16:
            self._check_range("top5_p", top5_p, 0, 1, damaged)

        wrong = known & (prediction != self.labels)
        given = Given(
            wrong,
            p_label,
            entropy,
            margin,
            prediction,
            top5,
            top5_p,
            self.labels,
            self._log_prior,
            probabilities if self.needs_logits else None,
        )
        self._without_logits |= given.probabilities is None
        complete = bool(answered.all())
        sums = self._sums
        sums["n"] += answered
        if held is None:
            sums["n@unknown"] += answered
        else:
            sums["n@heldout"] += held
        if unknown is not None:
            sums["n@unknown"] += unknown
        for name, (term, parts, needs_logits) in self._terms.items():
            if needs_logits and given.probabilities is None:
                continue
            value = term.of(given)
            # the logarithm of no answer is no one's, nor are probabilities of an unreadable picture
            if value.dtype != np.bool_ and not complete:
                value = np.where(answered, value, 0)
            value = value if value.dtype == np.bool_ else _fixed(value)
            sums[name] += value
            if held is not None and "heldout" in parts:
                sums[f"{name}@heldout"] += value & held if value.dtype == np.bool_ else value * held
            if "unknown" in parts and (held is None or unknown is not None):
                sums[f"{name}@unknown"] += value if unknown is None else value * unknown

        # np.add.at on flat, unbuffered int64: 2x faster than a[i] += v here, and right even if a
        #     class were listed twice
        voters = slice(None) if complete else answered
        np.add.at(self._votes, (self._offsets + prediction)[voters], np.int32(1))
        places = slice(None) if listed.all() else listed.ravel()
        cells = (self._offsets[:, None] + top5).ravel()[places]  # [E * K]
        p = np.ascontiguousarray(top5_p).ravel()[places]
        if p.dtype == np.float16:
            bits = p.view(np.uint16) & 0x7FFF  # -0 is 0
            probability, surprise = _FIXED_F16.take(bits), _SURPRISE_F16.take(bits)
        else:
            probability, surprise = _fixed(p), entropy_terms(p.astype(np.float64))
        np.add.at(self._probability, cells, probability)
        np.add.at(self._surprise, cells, surprise)
        if snapshot is not None and self._courses:
            seen = np.zeros(len(self), dtype=bool)
            if held is not None:
                seen = answered & ~held & (True if unknown is None else ~unknown)
            kept = {
                name: course.keep(given)
                for name, course in self._courses.items()
                if not (course.first and snapshot.index)
            }
            self._follow(snapshot, seen, kept)
        return self

    def _check_snapshot(self, training: str, indices: Iterable[int]) -> None:
        _, there = self._open.get(training, (0, {}))
        if there.keys() & set(indices) or training in self._closed:
            raise DataError(
                f"a snapshot of training {training} was added twice. Allowed: each snapshot once."
                " Add every classifier of the population once."
            )

    def _follow(
        self, snapshot: Snapshot, seen: NDArray[np.bool_], kept: dict[str, NDArray[Any]]
    ) -> None:
        """Keep what courses need of a snapshot; add a training's numbers once all are there.

        ``seen``: bool [E], answered and known to have been trained on.
        """
        _, snapshots = self._open.setdefault(snapshot.training, (snapshot.count, {}))
        snapshots[snapshot.index] = (seen, kept)
        if len(snapshots) < snapshot.count:
            return
        inside = np.logical_and.reduce([seen for seen, _ in snapshots.values()])
        self._sums["trainings"] += inside
        for name, course in self._courses.items():
            number = course.of(
                np.stack([kept[name] for _, (_, kept) in sorted(snapshots.items()) if name in kept])
            )
            fixed = number if np.issubdtype(number.dtype, np.integer) else _fixed(number)
            self._sums[name] += np.where(inside, fixed, 0)
        del self._open[snapshot.training]
        self._closed.add(snapshot.training)

    def add_answers(
        self,
        answers: Answers,
        in_train: NDArray[Any] | None = None,
        probabilities: NDArray[Any] | None = None,
        snapshot: Snapshot | None = None,
    ) -> Self:
        """``add`` with the arrays of an ``Answers``."""
        a = answers
        return self.add(
            *(a.prediction, a.p_label, a.entropy, a.margin, a.top5, a.top5_p),
            in_train,
            probabilities,
            snapshot,
        )

    def merge(self, other: ScoreAccumulator) -> Self:
        """Add the classifiers that another accumulator of the same block was given.

        Raises:
            DataError: if the other block has other examples, labels, prior or classes, or both were
                given one snapshot.
        """
        same = (
            self.num_classes == other.num_classes
            and self._sums.keys() == other._sums.keys()
            and np.array_equal(self.example_ids, other.example_ids)
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self._log_prior, other._log_prior)
        )
        if not same:
            raise DataError(
                f"cannot merge scores of {len(self)} examples and {self.num_classes} classes with"
                f" {len(other)} examples and {other.num_classes} classes: examples, order, labels"
                " and classes must be equal. Accumulate the same block on both sides."
            )
        for training in self._closed & other._closed:
            self._check_snapshot(training, ())
        for training, (_, snapshots) in other._open.items():
            self._check_snapshot(training, snapshots)
        for name, total in self._sums.items():
            total += other._sums[name]
        self._votes += other._votes
        self._probability += other._probability
        self._surprise += other._surprise
        self._without_logits |= other._without_logits
        for training, (count, snapshots) in other._open.items():
            for index, (seen, kept) in snapshots.items():
                self._follow(Snapshot(training, index, count), seen, kept)
        self._closed |= other._closed
        return self

    def finish(self) -> ScoreTable:
        """The scores of what was added so far. The accumulator stays usable."""
        examples, classes = len(self), self.num_classes
        kept = min(TOP_CLASSES, classes)
        probability = self._probability.reshape(examples, classes)
        sums = Sums(
            classes,
            self.labels,
            self._sums,
            {name: term.unit for name, (term, _, _) in self._terms.items()}
            | {name: course.unit for name, course in self._courses.items()},
            most_voted=padded(
                *top_classes(self._votes.reshape(examples, classes), probability, kept)
            ),
            most_uncertain=padded(
                *top_classes(self._surprise.reshape(examples, classes), None, kept)
            ),
            probability=probability,
            courses=frozenset(self._courses),
        )
        columns: dict[str, Any] = {}
        for name, score in self.scores.items():
            lacking = "logits" in score.needs and self._without_logits
            columns[name] = np.full(examples, np.nan) if lacking else _own(score.of(sums))
        return ScoreTable(
            classes,
            self.example_ids.copy(),
            self.labels.copy(),
            self._sums["n"].copy(),
            columns,
            self.scores,
        )

    @staticmethod
    def _check_shape(name: str, array: NDArray[Any], expected: tuple[int, ...]) -> None:
        if array.shape != expected:
            raise DataError(
                f"{name} has shape {array.shape}. Allowed: {expected}, the examples of this block"
                " in its order. Pass the answers of the same block."
            )

    @staticmethod
    def _check_range(name: str, array: NDArray[Any], low: float, high: float, advice: str) -> None:
        # min and max carry a NaN along, and a NaN fails both comparisons
        if array.size and not (array.min() >= low and array.max() <= high):
            wrong = array[~((array >= low) & (array <= high))]
            raise DataError(
                f"{name} holds {wrong[0]} ({wrong.size} such values). Allowed: {low:g} to {high:g}."
                f" {advice}"
            )


def _own(values: Any) -> Any:
    """A column that shares no memory with the sums, which may grow further."""
    return Listed(*map(np.copy, values)) if isinstance(values, Listed) else np.array(values)


def _terms(scores: Mapping[str, Score]) -> dict[str, tuple[Term, frozenset[str], bool]]:
    """What has to be added up for these scores: term, parts of the population it is summed over
    beside the whole, whether it needs logits.

    In-sample sums are what is left of the whole without the held-out and the unknown ones.
    """
    known: dict[str, tuple[Term, bool]] = {name: (term, False) for name, term in TERMS.items()}
    for score in scores.values():
        known |= {name: (term, "logits" in score.needs) for name, term in score.terms.items()}
    parts: dict[str, set[str]] = {}
    for use in (use for score in scores.values() for use in score.uses):
        term, _, part = use.partition("@")
        if term != "n" and term not in _courses(scores):
            parts.setdefault(term, set()).update(
                {"": (), "insample": ("heldout", "unknown")}.get(part, (part,))
            )
    return {
        name: (known[name][0], frozenset(found), known[name][1]) for name, found in parts.items()
    }


def _courses(scores: Mapping[str, Score]) -> dict[str, Course]:
    """The courses that these scores use."""
    known = dict(COURSES)
    for score in scores.values():
        known |= score.courses
    used = {use for score in scores.values() for use in score.uses}
    return {name: course for name, course in known.items() if name in used}


def _membership(
    in_train: NDArray[Any] | None,
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """(held out, not known), bool [E] each, from what ``ScoreAccumulator.add`` is given.

    No ``held out`` = nothing is known; no ``not known`` beside it = everything is.
    """
    if in_train is None:
        return None, None
    seen = np.asarray(in_train)
    return (~seen, None) if seen.dtype == np.bool_ else (seen == 0, seen < 0)


def padded(classes: Ints, values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Top classes and values to [E, 5]: entries without a vote (or surprise) become class -1, value
    0."""
    examples, kept = classes.shape
    listed = np.full((examples, TOP_CLASSES), -1, dtype=np.int64)
    counts = np.zeros((examples, TOP_CLASSES), dtype=np.int64)
    listed[:, :kept] = np.where(values > 0, classes, -1)
    counts[:, :kept] = values
    return listed, counts


# ---------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class ScoreTable:
    """Scores of E examples as numpy columns.

    Attributes:
        num_classes: M.
        example_ids, labels: int64 [E]; label -1 = unknown.
        n: int64 [E]; classifiers that answered.
        columns: a column per score, in the order of ``zoo.scores.catalog``: float64 [E] (NaN = not
            defined for that example), int64 [E] (-1 = not defined), or ``Listed``. Each is also an
            attribute: ``table.x_perplexity``.
        scores: what the columns are.
    """

    num_classes: int
    example_ids: Ints
    labels: Ints
    n: Ints
    columns: Mapping[str, Any]
    scores: Mapping[str, Score]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["columns"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __len__(self) -> int:
        return len(self.example_ids)

    @classmethod
    def concatenate(cls, blocks: Sequence[ScoreTable]) -> ScoreTable:
        """The blocks of one split, one after the other.

        Raises:
            DataError: no blocks, or blocks with different numbers of classes.
        """
        classes = {block.num_classes for block in blocks}
        if len(classes) != 1:
            raise DataError(
                f"cannot join {len(blocks)} blocks of scores with {sorted(classes)} classes."
                " Allowed: one block or more, all with the same classes. Score each data set by"
                " itself."
            )
        columns: dict[str, Any] = {}
        for name, first in blocks[0].columns.items():
            parts = [block.columns[name] for block in blocks]
            columns[name] = (
                Listed(*map(np.concatenate, zip(*parts, strict=True)))
                if isinstance(first, Listed)
                else np.concatenate(parts)
            )
        ids, labels, n = (
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("example_ids", "labels", "n")
        )
        return cls(classes.pop(), ids, labels, n, columns, blocks[0].scores)

    def to_arrow(
        self,
        split: str,
        keys: Sequence[str],
        class_names: Sequence[str] | None = None,
        label_true: NDArray[Any] | None = None,
    ) -> pa.Table:
        """The ``scores`` table, columns as ``SCORES_SCHEMA``.

        Args:
            split: name of the split, written to every row.
            keys: the E examples' source paths or indices.
            class_names: the M names; kept as JSON in the schema's metadata under ``class_names``.
            label_true: integer [E], -1 = unknown; None = all unknown.

        Raises:
            DataError: if the lengths do not fit.
        """
        truth = (
            np.full(len(self), -1, dtype=np.int64)
            if label_true is None
            else np.asarray(label_true, dtype=np.int64)
        )
        for name, length, expected in (
            ("keys", len(keys), len(self)),
            ("label_true", len(truth), len(self)),
            (
                "class_names",
                self.num_classes if class_names is None else len(class_names),
                self.num_classes,
            ),
        ):
            if length != expected:
                raise DataError(
                    f"{name} has {length} entries. Allowed: {expected}. Pass those of the examples"
                    " (classes) that were scored."
                )
        about: list[pa.Array] = [
            pa.repeat(pa.scalar(split, pa.string()), len(self)),
            pa.array(self.example_ids),
            pa.array(list(keys), pa.string()),
            _nullable(self.labels, pa.int32()),
            _nullable(truth, pa.int32()),
        ]
        columns = about + [
            self._arrow(score, self.columns[name]) for name, score in self.scores.items()
        ]
        fields = [
            *list(SCORES_SCHEMA)[: len(about)],
            *(pa.field(name, score.type) for name, score in self.scores.items()),
        ]
        # By the names that every listing shows, of which no two are equal.
        names = pa.array(() if class_names is None else distinct(class_names), pa.string())
        for name, classes in (
            ("label_name", self.labels),
            ("top_confusion_name", self.columns.get("top_confusion")),
        ):
            columns.append(
                pa.nulls(len(self), pa.string())
                if classes is None or not len(names)
                else names.take(_nullable(classes, pa.int32()))
            )
            fields.append(pa.field(name, pa.string()))
        # What is of all examples together is not known here: ``zoo.scores.issues`` fills it in.
        for field in list(SCORES_SCHEMA)[list(SCORES_SCHEMA.names).index("p_wrong") :]:
            columns.append(pa.nulls(len(self), field.type))
            fields.append(field)
        schema = pa.schema(fields)
        if class_names is not None:
            schema = schema.with_metadata(
                {"class_names": json.dumps(list(class_names), ensure_ascii=False)}
            )
        return pa.Table.from_arrays(columns, schema=schema)

    def _arrow(self, score: Score, values: Any) -> pa.Array:
        """A column, with null for NaN and -1; lists without their padding, that of an unanswered
        example null."""
        if isinstance(values, Listed):
            there = values.classes >= 0
            offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
            names = [field.name for field in score.type.value_type]
            items = pa.StructArray.from_arrays(
                [pa.array(values.classes[there], pa.int32()), pa.array(values.values[there])],
                names=names,
            )
            return pa.ListArray.from_arrays(pa.array(offsets), items, mask=pa.array(self.n == 0))
        if score.names:
            return pa.array(score.names, score.type).take(_nullable(values, pa.int32()))
        if np.issubdtype(values.dtype, np.integer):
            return _nullable(values, score.type)
        return pa.array(values, score.type, mask=np.isnan(values))


def _nullable(values: Ints, kind: pa.DataType) -> pa.Array:
    """Whole numbers with null for -1."""
    return pa.array(values, pa.int64(), mask=values < 0).cast(kind)
