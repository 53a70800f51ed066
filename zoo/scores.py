"""X- and C-perplexity, confusions and label quality of every example, from the answers of a population.

Shape letters: N classifiers, E examples, M classes, K = top classes kept per answer (5).

One pass, one classifier at a time, one block of examples at a time: ``add`` is all a classifier costs, ``merge`` joins two workers'
shares, ``finish`` gives the scores. Memory is E x M of the block (20 bytes a cell), never N x E x M.

**Sums are exact.** Every real number that is summed over classifiers (entropy, p(label), margin, top-5 probabilities) is first rounded
to a multiple of 2**-32 and summed as int64. Integer addition is associative, so scores are bit-identical whatever the order of the
classifiers, the partition into blocks or workers, and the shape of the merge tree; a float sum is none of these. What it costs: each
term is off by at most 2**-33, hence each mean by at most 2**-33 = 1.2e-10 (bits, or probability), and C = 2**mean by at most
ln(2) * 2**-33 = 8.1e-11 relative. That is a five-hundredth of the rounding that answers already carry as float32. int64 overflows past
2**63 / (15 * 2**32) = 1.4e8 classifiers.

Sources: X and C: "Example perplexity and class label cleaning", section 2 (X = share of classifiers that miss the label; C = geometric
mean of 2**entropy). Label quality: one minus X, ties broken by mean p(label).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.errors import DataError, UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FIXED_ONE",
    "SCORES_SCHEMA",
    "TOP_CLASSES",
    "X_BINS",
    "Answers",
    "ScoreAccumulator",
    "ScoreTable",
    "answers_from_logits",
    "answers_from_probabilities",
    "block_rows",
    "detect_kind",
    "perplexity",
    "x_and_c",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TOP_CLASSES: Final = 5
"""Classes kept per answer and listed per example."""

X_BINS: Final = ("0", "0-0.1", "0.1-0.2", "0.2-0.3", "0.3-0.4", "0.4-0.5", "0.5-0.6", "0.6-0.7", "0.7-0.8", "0.8-0.9", "0.9-1", "1")
"""Names of the 12 bins of X: {0}, (0, .1], ..., (.8, .9], (.9, 1), {1}."""

FIXED_ONE: Final = 4294967296.0
"""2**32, the 1 of fixed-point sums: multiplying a float32 by it is exact."""

SCORES_SCHEMA: Final = pa.schema(
    [
        ("split", pa.string()),
        ("example_id", pa.int64()),
        ("key", pa.string()),
        ("label", pa.int32()),
        ("label_true", pa.int32()),
        ("n", pa.int32()),
        ("x_perplexity", pa.float64()),
        ("c_perplexity", pa.float64()),
        ("n_heldout", pa.int32()),
        ("x_heldout", pa.float64()),
        ("c_heldout", pa.float64()),
        ("x_insample", pa.float64()),
        ("mean_p_label", pa.float64()),
        ("mean_margin", pa.float64()),
        ("label_quality", pa.float64()),
        ("x_bin", pa.string()),
        ("top_confusion", pa.int32()),
        ("top_confusion_share", pa.float64()),
        ("top5_x", pa.list_(pa.struct([("class", pa.int32()), ("votes", pa.int64())]))),
        ("top5_c", pa.list_(pa.struct([("class", pa.int32()), ("value", pa.float64())]))),
    ]
)
"""Columns of the ``scores`` table, in order. Null = not defined for this example (no classifier answered, label unknown, none held out)."""

_MAX_CLASSES: Final = 32767  # a class must fit an int16 answer
_BYTES_PER_CELL: Final = 4 + 8 + 8  # votes, probability, -p log2 p
_SLACK: Final = 1e-3  # answers are rounded to float32 by whoever made them


# --------------------------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Answers:
    """What is kept of one classifier's output on E examples.

    A row whose output holds a NaN or an infinity has ``finite`` False, prediction -1, NaN numbers and an empty top 5: it counts for
    nothing.

    Attributes:
        prediction: int16 [E]; most probable class, ties to the lowest; -1 = no answer.
        p_label: float32 [E] in [0, 1]; probability of the label; NaN where the label is unknown.
        entropy: float32 [E] in bits, in [0, log2 M].
        margin: float32 [E] in [-1, 1]; p(label) minus the largest other probability; NaN where the label is unknown.
        top5: int16 [E, 5]; most probable classes in descending order, ties to the lowest; -1 pads when M < 5.
        top5_p: float16 [E, 5]; their probabilities; 0 pads.
        finite: bool [E].
    """

    prediction: NDArray[np.int16]
    p_label: NDArray[np.float32]
    entropy: NDArray[np.float32]
    margin: NDArray[np.float32]
    top5: NDArray[np.int16]
    top5_p: NDArray[np.float16]
    finite: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prediction)


def answers_from_logits(logits: NDArray[Any], labels: NDArray[Any] | None = None, *, fast: bool = False) -> Answers:
    """Answers of one classifier from its logits: the reference that every faster version is tested against.

    The log-softmax is taken in float64, whatever the input; order and ties are those of the logits as given.

    Args:
        logits: float [E, M]; unnormalised log probabilities in nats. A row with a NaN or an infinity is not finite, see ``Answers``.
        labels: integer [E], -1 = unknown; None = all unknown.
        fast: with the compiled kernel of ``zoo.kernels`` (the extra ``fast``; float16 and float32 only): the same classes, entropies
            within 1e-5 bit. Never chosen by itself: what is stored must not depend on what is installed.

    Raises:
        UsageError: wrong shape, M outside 1..32767, or a label outside -1..M-1; fast without numba or with float64.
    """
    logits = _matrix("logits", logits)
    if fast:
        from zoo import kernels

        return kernels.answers(logits, _label_vector(labels, *logits.shape))
    return _answers(logits, _label_vector(labels, *logits.shape), kind="logits", finite=np.isfinite(logits).all(axis=1))


def answers_from_probabilities(probabilities: NDArray[Any], labels: NDArray[Any] | None = None) -> Answers:
    """Answers of one classifier from its probabilities, with 0 log 0 = 0. Rows are divided by their sum.

    Args:
        probabilities: float [E, M]; each row in [0, 1] with sum 1 +- 1e-3. A row with a NaN or an infinity is not finite, see ``Answers``.
        labels: integer [E], -1 = unknown; None = all unknown.

    Raises:
        UsageError: wrong shape, M outside 1..32767, a label outside -1..M-1, or a finite row that is no distribution.
    """
    probabilities = _matrix("probabilities", probabilities)
    finite = np.isfinite(probabilities).all(axis=1)
    wrong = np.flatnonzero(finite & ~_distribution_rows(probabilities))
    if len(wrong):
        row = probabilities[wrong[0]]
        raise UsageError(
            f"row {wrong[0]} of the probabilities is no distribution: values {row.min():g} to {row.max():g}, sum {float(row.sum()):g}. "
            f"Allowed: values in [0, 1] with sum 1 +- 0.001. Pass logits to answers_from_logits instead, or normalise the rows."
        )
    return _answers(probabilities, _label_vector(labels, *probabilities.shape), kind="probs", finite=finite)


def _answers(values: NDArray[Any], labels: Ints, *, kind: str, finite: NDArray[np.bool_]) -> Answers:
    """Answers from checked values [E, M]; rows that are not finite become null answers. A logit of -inf is a probability of 0."""
    blocks = [_answers_of_block(values[part], labels[part], kind, finite[part]) for part in _cached_rows(*values.shape)]
    return Answers(**{f.name: np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Answers)})


def _cached_rows(examples: int, classes: int) -> list[slice]:
    """Slices of about 64k cells: float64 temporaries of one stay in the second-level cache, which makes a pass 2x faster."""
    step = max(1, 2**16 // classes)
    return [slice(start, min(start + step, examples)) for start in range(0, max(examples, 1), step)]


def _answers_of_block(values: NDArray[Any], labels: Ints, kind: str, finite: NDArray[np.bool_]) -> Answers:
    examples, classes = values.shape
    ordered = values if finite.all() else np.where(finite[:, None], values, values.dtype.type(0))
    p, entropy = _softmax(ordered) if kind == "logits" else _normalise(ordered)  # [E, M], [E]
    kept = min(TOP_CLASSES, classes)
    top, _ = _top(ordered, None, max(kept, min(2, classes)))  # int64 [E, max(kept, 2)]: the margin needs the runner-up
    rows = np.arange(examples)
    top_p = p[rows[:, None], top]  # [E, >= kept]

    known = finite & (labels >= 0)
    p_label = np.where(known, p[rows, np.maximum(labels, 0)], np.nan)
    runner_up = top_p[:, 1] if classes > 1 else np.zeros(examples)
    best_other = np.where(top[:, 0] == labels, runner_up, top_p[:, 0])

    top5 = np.full((examples, TOP_CLASSES), -1, dtype=np.int16)
    top5_p = np.zeros((examples, TOP_CLASSES), dtype=np.float16)
    top5[:, :kept] = np.where(finite[:, None], top[:, :kept], -1)
    top5_p[:, :kept] = np.where(finite[:, None], top_p[:, :kept], 0.0)
    return Answers(
        prediction=np.where(finite, top[:, 0], -1).astype(np.int16),
        p_label=p_label.astype(np.float32),
        entropy=np.where(finite, entropy, np.nan).astype(np.float32),
        margin=np.where(known, p_label - best_other, np.nan).astype(np.float32),
        top5=top5,
        top5_p=top5_p,
        finite=finite,
    )


def _softmax(logits: NDArray[Any]) -> tuple[Floats, Floats]:
    """Probabilities [E, M] and entropies in bits [E], in float64.

    With z = logit - max and s = sum e**z the entropy is log s - sum(e**z z) / s: two non-negative terms, so nothing cancels.
    """
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z)
    total = p.sum(axis=1)
    if np.isneginf(z).any():
        z[np.isneginf(z)] = 0.0  # 0 log 0 = 0
    entropy = (np.log(total) - np.einsum("em,em->e", p, z) / total) / np.log(2.0)
    p /= total[:, None]
    return p, np.clip(entropy, 0.0, np.log2(logits.shape[1]))


def _normalise(probabilities: NDArray[Any]) -> tuple[Floats, Floats]:
    """Probabilities [E, M] that sum to 1 and entropies in bits [E], in float64."""
    p = probabilities.astype(np.float64)
    total = p.sum(axis=1, keepdims=True)
    np.divide(p, total, out=p, where=total > 0)
    logs = np.zeros_like(p)
    np.log2(p, out=logs, where=p > 0)  # 0 log 0 = 0
    return p, np.clip(-np.einsum("em,em->e", p, logs), 0.0, np.log2(p.shape[1]))


def _top(primary: NDArray[Any], secondary: NDArray[Any] | None, count: int) -> tuple[Ints, NDArray[Any]]:
    """The ``count`` largest entries of each row, in order: by ``primary``, then (where positive) ``secondary``, then lowest index.

    Returns:
        classes int64 [E, count] and their primary values [E, count].
    """
    classes = np.concatenate(
        [_top_of_block(primary[p], None if secondary is None else secondary[p], count) for p in _cached_rows(*primary.shape)]
    )
    return classes, np.take_along_axis(primary, classes, axis=1)


def _top_of_block(primary: NDArray[Any], secondary: NDArray[Any] | None, count: int) -> Ints:
    """``count`` passes of argmax: exact in its ties where argpartition is not, and cheaper than sorting rows of many classes."""
    rows = np.arange(len(primary))
    left = primary.copy()
    gone = left.dtype.type(-np.inf) if np.issubdtype(left.dtype, np.floating) else np.iinfo(left.dtype).min
    alive = np.ones(left.shape, dtype=bool) if np.isneginf(left).any() else None  # a logit of -inf is a value, not a class already taken
    classes = np.empty((len(left), count), dtype=np.int64)
    for place in range(count):
        best = left.argmax(axis=1)
        if alive is not None:
            exhausted = ~alive[rows, best]
            best = np.where(exhausted, alive.argmax(axis=1), best)
            alive[rows, best] = False
        if secondary is not None:
            value = left[rows, best]
            equal = left == value[:, None]  # [E, M]
            tied = np.flatnonzero((np.count_nonzero(equal, axis=1) > 1) & (value > 0))  # the order of classes without a vote is no one's
            if len(tied):
                best[tied] = np.where(equal[tied], secondary[tied], np.iinfo(np.int64).min).argmax(axis=1)
        classes[:, place] = best
        left[rows, best] = gone
    return classes


def _matrix(name: str, values: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(values)
    if values.ndim != 2 or not 1 <= values.shape[1] <= _MAX_CLASSES:
        raise UsageError(
            f"{name} have shape {values.shape}. Allowed: [E, M], examples by classes, with 1 to {_MAX_CLASSES} classes. "
            f"Pass one classifier's outputs; zoo.perplexity takes [N, E, M]."
        )
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)


def _label_vector(labels: NDArray[Any] | None, examples: int, classes: int) -> Ints:
    """Labels as int64 [E], checked; -1 where unknown."""
    if labels is None:
        return np.full(examples, -1, dtype=np.int64)
    labels = np.asarray(labels)
    if labels.shape != (examples,):
        raise UsageError(f"labels have shape {labels.shape}. Allowed: ({examples},), one per example. Pass those of the same examples.")
    if not np.issubdtype(labels.dtype, np.integer):
        whole = np.issubdtype(labels.dtype, np.floating) and bool((np.isfinite(labels) & (labels == np.rint(labels))).all())
        if not whole:
            raise UsageError(
                f"labels have type {labels.dtype}. Allowed: integers 0 to {classes - 1}, or -1 for unknown. "
                f"Convert class names to indices first."
            )
    checked = labels.astype(np.int64)
    wrong = np.flatnonzero((checked < -1) | (checked >= classes))
    if len(wrong):
        raise UsageError(
            f"label {checked[wrong[0]]} at example {wrong[0]} ({len(wrong)} such labels). Allowed: 0 to {classes - 1}, or -1 for unknown. "
            f"Check that labels count from 0 and belong to these {classes} classes."
        )
    return checked


def _distribution_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [E]: rows of [E, M] in [0, 1] whose sum is 1 within 1e-3 (summed in float64: float16 rows of 1,000 classes would drift)."""
    low, high = values.min(axis=1) >= 0, values.max(axis=1) <= 1 + _SLACK
    with np.errstate(invalid="ignore", over="ignore"):
        rows: NDArray[np.bool_] = low & high & (np.abs(values.sum(axis=1, dtype=np.float64) - 1.0) <= _SLACK)
    return rows


def detect_kind(values: NDArray[Any]) -> Literal["logits", "probs"]:
    """``"probs"`` if every row of float [E, M] is in [0, 1] and sums to 1 within 1e-3, else ``"logits"`` (log probabilities are logits).

    Rows with a NaN or an infinity do not vote; without any other row it is ``"logits"``.
    """
    values = _matrix("values", values)
    values = values[np.isfinite(values).all(axis=1)]
    return "probs" if len(values) and bool(_distribution_rows(values).all()) else "logits"


# ------------------------------------------------------------------------------------------------------------ accumulator


def _fixed(values: NDArray[Any]) -> Ints:
    """Multiples of 2**-32, as int64. A float32 is scaled exactly (a power of two) and rounded once, half to even."""
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    fixed: Ints = np.rint(values * values.dtype.type(FIXED_ONE)).astype(np.int64)
    return fixed


def _float16_of_0_to_1() -> Floats:
    """Every float16 of [0, 1] by its bit pattern, float64 [15361]."""
    return np.arange(_ONE_F16 + 1, dtype=np.uint16).view(np.float16).astype(np.float64)


def _surprise(p: Floats) -> Ints:
    """-p log2 p in fixed point, 0 log 0 = 0."""
    logs = np.zeros_like(p)
    np.log2(p, out=logs, where=p > 0)
    return _fixed(-p * logs)


_ONE_F16: Final = 0x3C00  # the bits of 1; those of all smaller float16 from +0 are smaller
# p and -p log2 p in fixed point for each float16 of [0, 1], int64 [15361]: a look-up costs a half of the rounding, a tenth of the logarithm.
_FIXED_F16: Final = _fixed(_float16_of_0_to_1())
_SURPRISE_F16: Final = _surprise(_float16_of_0_to_1())


def block_rows(num_classes: int, *, memory_bytes: int = 256 * 2**20) -> int:
    """How many examples a block may hold so that its accumulator stays within ``memory_bytes``; at least 1."""
    return max(1, memory_bytes // (_BYTES_PER_CELL * num_classes + 200))


class ScoreAccumulator:
    """Scores of one block of examples, classifier by classifier: ``add`` each, ``merge`` partial populations, ``finish``.

    ``merge`` of two accumulators equals one that was given all their classifiers, bit for bit, in any order (see the module's text).

    Args:
        example_ids: integer [E], distinct.
        labels: integer [E]; -1 = unknown, which leaves everything that needs a label null.
        num_classes: M, 1 to 32767.

    Raises:
        DataError: shapes that differ, a label outside -1..M-1, an example id twice.
    """

    def __init__(self, example_ids: NDArray[Any], labels: NDArray[Any], num_classes: int) -> None:
        self.example_ids: Ints = np.array(example_ids, dtype=np.int64)
        self.labels: Ints = np.array(labels, dtype=np.int64)
        self.num_classes = int(num_classes)
        if not 1 <= self.num_classes <= _MAX_CLASSES:
            raise DataError(
                f"{num_classes} classes. Allowed: 1 to {_MAX_CLASSES}, so that an answer fits 16 bits. Merge classes or score part of them."
            )
        if self.example_ids.ndim != 1 or self.labels.shape != self.example_ids.shape:
            raise DataError(
                f"example_ids have shape {self.example_ids.shape}, labels {self.labels.shape}. Allowed: both [E]. "
                f"Pass one label per example, -1 where it is unknown."
            )
        examples = len(self.example_ids)
        if len(np.unique(self.example_ids)) != examples:
            raise DataError("example_ids hold an id twice. Allowed: each example of a split once. Score one split at a time.")
        self._check_range("labels", self.labels, -1, self.num_classes - 1, "Check the label column against the data set's class names.")
        self._sums: dict[str, Ints] = {name: np.zeros(examples, dtype=np.int64) for name in _SUMS}
        self._offsets: Ints = np.arange(examples, dtype=np.int64) * self.num_classes  # cell of (example, class 0) in the flat arrays below
        self._votes: NDArray[np.int32] = np.zeros(examples * self.num_classes, dtype=np.int32)  # flat [E, M]
        self._probability: Ints = np.zeros(examples * self.num_classes, dtype=np.int64)  # flat [E, M], sum of p
        self._surprise: Ints = np.zeros(examples * self.num_classes, dtype=np.int64)  # flat [E, M], sum of -p log2 p

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
    ) -> Self:
        """Count one classifier's answers to all E examples of the block, in the order of ``example_ids``.

        Rows with prediction -1 (unreadable image, diverged network) count for nothing, whatever their other values.

        Args:
            prediction: integer [E], -1 or 0..M-1.
            p_label: float [E] in [0, 1]; ignored where the label is unknown.
            entropy: float [E] in bits, in [0, log2 M].
            margin: float [E] in [-1, 1]; ignored where the label is unknown.
            top5: integer [E, K], -1 pads; K is usually 5.
            top5_p: float [E, K] in [0, 1]; float16 takes a fast path.
            in_train: bool [E]; whether the classifier was trained on the example. None = on none of them (all held out).

        Raises:
            DataError: a shape, class or number outside what is said above; nothing is counted then.
        """
        examples = (len(self),)
        prediction, p_label, entropy, margin = (np.asarray(a) for a in (prediction, p_label, entropy, margin))
        top5, top5_p = np.asarray(top5), np.asarray(top5_p)
        for name, array in (("prediction", prediction), ("p_label", p_label), ("entropy", entropy), ("margin", margin)):
            self._check_shape(name, array, examples)
        self._check_shape("top5", top5, (len(self), *top5.shape[1:2]))
        self._check_shape("top5_p", top5_p, top5.shape)
        held = None
        if in_train is not None:
            held = ~np.asarray(in_train, dtype=bool)
            self._check_shape("in_train", held, examples)
        if not len(self):
            return self

        damaged = "The answers do not belong to this data set, or are damaged: run 'zoo fsck --semantic'."
        self._check_range("prediction", prediction, -1, self.num_classes - 1, damaged)
        self._check_range("top5", top5, -1, self.num_classes - 1, damaged)
        answered = prediction >= 0
        known = self.labels >= 0
        if not answered.all():
            known = known & answered
            held = answered if held is None else held & answered
            entropy = np.where(answered, entropy, entropy.dtype.type(0))
            top5 = np.where(answered[:, None], top5, -1)
        if not known.all():
            p_label = np.where(known, p_label, p_label.dtype.type(0))
            margin = np.where(known, margin, margin.dtype.type(0))
        listed = top5 >= 0
        if not listed.all():
            top5_p = np.where(listed, top5_p, top5_p.dtype.type(0))
        self._check_range("entropy", entropy, -_SLACK, np.log2(self.num_classes) + _SLACK, damaged)
        self._check_range("p_label", p_label, -_SLACK, 1 + _SLACK, damaged)
        self._check_range("margin", margin, -1 - _SLACK, 1 + _SLACK, damaged)
        # numpy compares float16 one by one, its bits in vectors
        if top5_p.dtype != np.float16 or top5_p.view(np.uint16).max(initial=0) > _ONE_F16:
            self._check_range("top5_p", top5_p, 0, 1, damaged)

        wrong = answered & (prediction != self.labels)
        fixed = {"entropy": _fixed(entropy), "p_label": _fixed(p_label)}
        sums = self._sums
        sums["n"] += answered
        sums["wrong"] += wrong
        sums["entropy"] += fixed["entropy"]
        sums["p_label"] += fixed["p_label"]
        sums["margin"] += _fixed(margin)
        if held is None:
            sums["n_heldout"] += 1
            sums["wrong_heldout"] += wrong
            sums["entropy_heldout"] += fixed["entropy"]
            sums["p_label_heldout"] += fixed["p_label"]
        else:
            sums["n_heldout"] += held
            sums["wrong_heldout"] += wrong & held
            sums["entropy_heldout"] += fixed["entropy"] * held
            sums["p_label_heldout"] += fixed["p_label"] * held

        # np.add.at on flat, unbuffered int64: 2x faster than a[i] += v here, and right even if a class were listed twice
        voters = slice(None) if answered.all() else answered
        np.add.at(self._votes, (self._offsets + prediction)[voters], np.int32(1))
        places = slice(None) if listed.all() else listed.ravel()
        cells = (self._offsets[:, None] + top5).ravel()[places]  # [E * K]
        p = np.ascontiguousarray(top5_p).ravel()[places]
        if p.dtype == np.float16:
            bits = p.view(np.uint16) & 0x7FFF  # -0 is 0
            probability, surprise = _FIXED_F16.take(bits), _SURPRISE_F16.take(bits)
        else:
            probability, surprise = _fixed(p), _surprise(p.astype(np.float64))
        np.add.at(self._probability, cells, probability)
        np.add.at(self._surprise, cells, surprise)
        return self

    def add_answers(self, answers: Answers, in_train: NDArray[Any] | None = None) -> Self:
        """``add`` with the arrays of an ``Answers``."""
        a = answers
        return self.add(a.prediction, a.p_label, a.entropy, a.margin, a.top5, a.top5_p, in_train)

    def merge(self, other: ScoreAccumulator) -> Self:
        """Add the classifiers that another accumulator of the same block was given.

        Raises:
            DataError: if the other block has other examples, labels or classes.
        """
        same = (
            self.num_classes == other.num_classes
            and np.array_equal(self.example_ids, other.example_ids)
            and np.array_equal(self.labels, other.labels)
        )
        if not same:
            raise DataError(
                f"cannot merge scores of {len(self)} examples and {self.num_classes} classes with {len(other)} examples and "
                f"{other.num_classes} classes: examples, order, labels and classes must be equal. Accumulate the same block on both sides."
            )
        for name, total in self._sums.items():
            total += other._sums[name]
        self._votes += other._votes
        self._probability += other._probability
        self._surprise += other._surprise
        return self

    def finish(self) -> ScoreTable:
        """The scores of what was added so far. The accumulator stays usable."""
        s = self._sums
        examples, classes = len(self), self.num_classes
        n, held, known = s["n"], s["n_heldout"], self.labels >= 0
        inside = n - held
        x = _ratio(s["wrong"], n, known)
        use_held = held > 0  # label quality: over the classifiers that did not see the example, where there are any
        quality_n = np.where(use_held, held, n)
        quality_wrong = np.where(use_held, s["wrong_heldout"], s["wrong"])
        quality_p = _ratio(np.where(use_held, s["p_label_heldout"], s["p_label"]), quality_n, known, unit=FIXED_ONE)

        votes = self._votes.reshape(examples, classes)
        kept = min(TOP_CLASSES, classes)
        top_x, top_votes = _pad(*_top(votes, self._probability.reshape(examples, classes), kept))
        top_c, top_surprise = _pad(*_top(self._surprise.reshape(examples, classes), None, kept))
        surprise = np.divide(top_surprise, n[:, None] * FIXED_ONE, out=np.zeros(top_surprise.shape), where=n[:, None] > 0)
        return ScoreTable(
            num_classes=classes,
            example_ids=self.example_ids.copy(),
            labels=self.labels.copy(),
            n=n.copy(),
            x_perplexity=x,
            c_perplexity=_perplexity(s["entropy"], n, classes),
            n_heldout=held.copy(),
            x_heldout=_ratio(s["wrong_heldout"], held, known),
            c_heldout=_perplexity(s["entropy_heldout"], held, classes),
            x_insample=_ratio(s["wrong"] - s["wrong_heldout"], inside, known),
            c_insample=_perplexity(s["entropy"] - s["entropy_heldout"], inside, classes),
            mean_p_label=_ratio(s["p_label"], n, known, unit=FIXED_ONE),
            mean_margin=_ratio(s["margin"], n, known, unit=FIXED_ONE),
            label_quality=1.0 - (quality_wrong + 1.0 - quality_p) / (quality_n + 1.0),
            x_bin=np.where(known & (n > 0), _x_bin(s["wrong"], n), -1),
            top_confusion=top_x[:, 0],
            top_confusion_share=_ratio(top_votes[:, 0], n, np.ones(examples, dtype=bool)),
            top5_x=top_x,
            top5_x_votes=top_votes,
            top5_c=top_c,
            top5_c_value=surprise,
        )

    @staticmethod
    def _check_shape(name: str, array: NDArray[Any], expected: tuple[int, ...]) -> None:
        if array.shape != expected:
            raise DataError(
                f"{name} has shape {array.shape}. Allowed: {expected}, the examples of this block in its order. "
                f"Pass the answers of the same block."
            )

    @staticmethod
    def _check_range(name: str, array: NDArray[Any], low: float, high: float, advice: str) -> None:
        # min and max carry a NaN along, and a NaN fails both comparisons
        if array.size and not (array.min() >= low and array.max() <= high):
            wrong = array[~((array >= low) & (array <= high))]
            raise DataError(f"{name} holds {wrong[0]} ({wrong.size} such values). Allowed: {low:g} to {high:g}. {advice}")


_SUMS: Final = ("n", "wrong", "entropy", "p_label", "margin", "n_heldout", "wrong_heldout", "entropy_heldout", "p_label_heldout")


def _ratio(total: Ints, count: Ints, known: NDArray[np.bool_], unit: float = 1.0) -> Floats:
    """total / (count * unit) as float64 [E], NaN where count is 0 or the label unknown. One rounding: count * unit is exact."""
    ratio: Floats = np.divide(total, count * unit, out=np.full(len(total), np.nan), where=known & (count > 0))
    return ratio


def _perplexity(entropy: Ints, count: Ints, num_classes: int) -> Floats:
    """C = 2 ** mean entropy, float64 [E], NaN where count is 0. Clipped to [1, M]: log2 M as a float32 may lie above log2 M."""
    bits = _ratio(entropy, count, np.ones(len(entropy), dtype=bool), unit=FIXED_ONE)
    return np.minimum(np.maximum(np.exp2(bits), 1.0), float(num_classes))


def _x_bin(wrong: Ints, n: Ints) -> Ints:
    """Bin 0..11 of X = wrong / n, in integers: {0}, (0, .1], ..., (.9, 1), {1}. No float edge (0.30000000000000004) can move one."""
    tenth = -(-10 * wrong // np.maximum(n, 1))  # ceil(10 X): 0 for X = 0, i for (i - 1) / 10 < X <= i / 10
    return np.where((wrong == n) & (n > 0), 11, tenth)


def _pad(classes: Ints, values: NDArray[Any]) -> tuple[Ints, Ints]:
    """Top classes and values to [E, 5]: entries without a vote (or surprise) become class -1, value 0."""
    examples, kept = classes.shape
    padded = np.full((examples, TOP_CLASSES), -1, dtype=np.int64)
    counts = np.zeros((examples, TOP_CLASSES), dtype=np.int64)
    padded[:, :kept] = np.where(values > 0, classes, -1)
    counts[:, :kept] = values
    return padded, counts


# -------------------------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class ScoreTable:
    """Scores of E examples as numpy columns. NaN (or -1 for classes and bins) = not defined for that example.

    Attributes:
        num_classes: M.
        example_ids, labels: int64 [E]; label -1 = unknown.
        n, n_heldout: int64 [E]; classifiers that answered, and those of them that were not trained on the example.
        x_perplexity, x_heldout, x_insample: [E] in [0, 1]; share of wrong predictions over all, held-out, other classifiers.
        c_perplexity, c_heldout, c_insample: [E] in [1, M]; 2 ** mean entropy in bits over the same.
        mean_p_label, mean_margin: [E]; means over all classifiers.
        label_quality: [E] in [0, 1]; 1 - (n X + 1 - mean p(label)) / (n + 1) over the held-out classifiers where there are some, else
            over all. Low = suspicious; X comes first, p(label) breaks its ties.
        x_bin: int64 [E]; index into ``X_BINS``.
        top_confusion: int64 [E]; most-voted class (the label itself, more often than not), ties by summed probability, then lowest index.
        top_confusion_share: [E]; its votes / n.
        top5_x, top5_x_votes: int64 [E, 5]; most-voted classes in the same order, -1 where fewer got a vote.
        top5_c, top5_c_value: int64 and float64 [E, 5]; classes with the largest mean of -p log2 p over all n classifiers.

    ``top5_c_value`` and the tie-breaking probability see what the answers keep: the five most probable classes of each classifier, as
    float16 (relative error 2**-11). So a value is a lower bound where the class falls outside some classifier's five; it is complete
    for M <= 5.
    """

    num_classes: int
    example_ids: Ints
    labels: Ints
    n: Ints
    x_perplexity: Floats
    c_perplexity: Floats
    n_heldout: Ints
    x_heldout: Floats
    c_heldout: Floats
    x_insample: Floats
    c_insample: Floats
    mean_p_label: Floats
    mean_margin: Floats
    label_quality: Floats
    x_bin: Ints
    top_confusion: Ints
    top_confusion_share: Floats
    top5_x: Ints
    top5_x_votes: Ints
    top5_c: Ints
    top5_c_value: Floats

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
                f"cannot join {len(blocks)} blocks of scores with {sorted(classes)} classes. "
                f"Allowed: one block or more, all with the same classes. Score each data set by itself."
            )
        columns = {f.name: np.concatenate([getattr(b, f.name) for b in blocks]) for f in fields(cls) if f.name != "num_classes"}
        return cls(num_classes=classes.pop(), **columns)

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
        truth = np.full(len(self), -1, dtype=np.int64) if label_true is None else np.asarray(label_true, dtype=np.int64)
        for name, length, expected in (
            ("keys", len(keys), len(self)),
            ("label_true", len(truth), len(self)),
            ("class_names", self.num_classes if class_names is None else len(class_names), self.num_classes),
        ):
            if length != expected:
                raise DataError(f"{name} has {length} entries. Allowed: {expected}. Pass those of the examples (classes) that were scored.")
        names = pa.array(X_BINS, pa.string())
        columns: list[pa.Array] = [
            pa.repeat(pa.scalar(split, pa.string()), len(self)),
            pa.array(self.example_ids),
            pa.array(list(keys), pa.string()),
            _nullable(self.labels),
            _nullable(truth),
            pa.array(self.n, pa.int32()),
            _number(self.x_perplexity),
            _number(self.c_perplexity),
            pa.array(self.n_heldout, pa.int32()),
            _number(self.x_heldout),
            _number(self.c_heldout),
            _number(self.x_insample),
            _number(self.mean_p_label),
            _number(self.mean_margin),
            _number(self.label_quality),
            names.take(_nullable(self.x_bin)),
            _nullable(self.top_confusion),
            _number(self.top_confusion_share),
            self._lists(self.top5_x, self.top5_x_votes, "votes"),
            self._lists(self.top5_c, self.top5_c_value, "value"),
        ]
        schema = SCORES_SCHEMA
        if class_names is not None:
            schema = schema.with_metadata({"class_names": json.dumps(list(class_names), ensure_ascii=False)})
        return pa.Table.from_arrays(columns, schema=schema)

    def _lists(self, classes: Ints, values: NDArray[Any], name: str) -> pa.Array:
        """[E, 5] classes and values as list<struct<class, name>>; padding is dropped, the list of an unanswered example is null."""
        there = classes >= 0
        offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
        items = pa.StructArray.from_arrays([pa.array(classes[there], pa.int32()), pa.array(values[there])], names=["class", name])
        return pa.ListArray.from_arrays(pa.array(offsets), items, mask=pa.array(self.n == 0))


def _nullable(classes: Ints) -> pa.Array:
    """int32 with null for -1."""
    return pa.array(classes.astype(np.int32), pa.int32(), mask=classes < 0)


def _number(values: Floats) -> pa.Array:
    """float64 with null for NaN."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


# --------------------------------------------------------------------------------------------------------- for plain arrays


def x_and_c(predictions: NDArray[Any], entropies: NDArray[Any], labels: NDArray[Any]) -> tuple[Floats, Floats]:
    """X and C alone, from predictions and entropies, at about a nanosecond per classifier and example.

    Bit-equal to the accumulator's (which also clips C to M, for entropies that float32 rounded above log2 M).

    Args:
        predictions: integer [N, E]; -1 = no answer, counts for nothing.
        entropies: float [N, E] in bits.
        labels: integer [E]; -1 = unknown.

    Returns:
        X float64 [E] in [0, 1], NaN where the label is unknown, and C float64 [E] >= 1; both NaN where no classifier answered.

    Raises:
        UsageError: shapes that do not fit.
    """
    predictions, entropies, labels = np.asarray(predictions), np.asarray(entropies), np.asarray(labels)
    if predictions.ndim != 2 or entropies.shape != predictions.shape or labels.shape != predictions.shape[1:]:
        raise UsageError(
            f"predictions have shape {predictions.shape}, entropies {entropies.shape}, labels {labels.shape}. "
            f"Allowed: [N, E], [N, E], [E]. Pass one row per classifier and one label per example."
        )
    members, examples = predictions.shape
    narrow = labels.astype(predictions.dtype) if np.array_equal(labels, labels.astype(predictions.dtype)) else labels
    n, wrong, bits = (np.zeros(examples, dtype=np.int64) for _ in range(3))
    for start in range(0, examples, 8192):  # columns whose running sums stay in the first-level cache
        part = slice(start, start + 8192)
        for first in range(0, members, 255):  # rows that an 8-bit counter can count
            group = slice(first, first + 255)
            counts = _count_rows(predictions[group, part], entropies[group, part], narrow[part])
            for total, count in zip((n, wrong, bits), counts, strict=True):
                total[part] += count
    c = np.exp2(_ratio(bits, n, np.ones(examples, dtype=bool), unit=FIXED_ONE))
    return _ratio(wrong, n, labels >= 0), np.maximum(c, 1.0)


def _count_rows(predictions: NDArray[Any], entropies: NDArray[Any], labels: NDArray[Any]) -> tuple[Ints, Ints, Ints]:
    """Answers, misses and fixed-point bits of at most 255 classifiers, int64 [E] each.

    Misses are counted in 8 bits; fixed-point entropies are whole numbers below 2**36, which float64 adds exactly up to 2**53.
    """
    examples = predictions.shape[1]
    answered, missed, bits = np.zeros(examples, np.uint8), np.zeros(examples, np.uint8), np.zeros(examples, np.float64)
    full = predictions.size == 0 or predictions.min() >= 0
    wide = np.float64 if entropies.dtype != np.float32 else np.float32
    scaled: NDArray[Any] = np.empty(examples, dtype=wide)
    miss = np.empty(examples, dtype=bool)
    for prediction, entropy in zip(predictions, entropies, strict=True):
        np.not_equal(prediction, labels, out=miss)
        np.multiply(entropy, wide(FIXED_ONE), out=scaled)
        np.rint(scaled, out=scaled)
        if not full:
            there = np.asarray(prediction >= 0)
            answered += there.view(np.uint8)
            miss &= there
            scaled[~there] = 0
        missed += miss.view(np.uint8)
        bits += scaled
    n = np.full(examples, len(predictions), dtype=np.int64) if full else answered.astype(np.int64)
    return n, missed.astype(np.int64), bits.astype(np.int64)


def perplexity(
    probs_or_logits: NDArray[Any] | Sequence[NDArray[Any]],
    labels: NDArray[Any] | None = None,
    *,
    kind: Literal["auto", "logits", "probs"] = "auto",
    in_train: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Scores of examples from the outputs of N classifiers, with no workspace: equal to those of a store filled with the same outputs.

    Reads one classifier and one block of examples at a time, so a memory-mapped array larger than memory works.

    Args:
        probs_or_logits: float [N, E, M], or N arrays [E, M].
        labels: integer [E] in 0..M-1, -1 = unknown. None: only the columns that need no label.
        kind: ``"probs"`` or ``"logits"``; ``"auto"`` takes values as probabilities if every row is in [0, 1] and sums to 1 within 1e-3.
        in_train: bool [N, E]; which examples each classifier was trained on. None = none; adds the held-out and in-sample columns.

    Returns:
        One row per example, indexed by ``example_id`` 0..E-1, columns of the ``scores`` table: n, c_perplexity, top_confusion,
        top_confusion_share always; with labels also label, x_perplexity, mean_p_label, mean_margin, label_quality, x_bin; with in_train
        also n_heldout, x_heldout, c_heldout, x_insample.

    Raises:
        UsageError: wrong shape, a label out of range, a NaN, rows that are no distributions, a mix of probabilities and logits.

    Example:
        >>> import numpy as np
        >>> frame = perplexity(np.array([[[0.5, 0.5]], [[0.25, 0.75]]]), np.array([1]))
        >>> float(frame.x_perplexity[0])  # the tie goes to class 0, which is wrong: 1 of 2
        0.5
    """
    import pandas as pd

    if kind not in ("auto", "logits", "probs"):
        raise UsageError(f"kind {kind!r}. Allowed: auto, logits, probs. Leave it out to have it found from the values.")
    members, examples, classes = _population_shape(probs_or_logits)
    vector = _label_vector(labels, examples, classes)
    seen = None if in_train is None else np.asarray(in_train, dtype=bool)
    if seen is not None and seen.shape != (members, examples):
        raise UsageError(
            f"in_train has shape {seen.shape}. Allowed: ({members}, {examples}), classifiers by examples. "
            f"Pass one row per classifier, or leave it out."
        )
    actual = _population_kind(probs_or_logits) if kind == "auto" else kind
    step = block_rows(classes, memory_bytes=64 * 2**20)
    blocks = []
    for start in range(0, examples, step):
        part = slice(start, min(start + step, examples))
        total = ScoreAccumulator(np.arange(part.start, part.stop), vector[part], classes)
        for member in range(members):
            values = np.asarray(probs_or_logits[member][part])
            _check_values(values, member, part.start, actual)
            answers = _answers(
                values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64),
                vector[part],
                kind=actual,
                finite=np.ones(len(values), dtype=bool),
            )
            total.add_answers(answers, None if seen is None else seen[member, part])
        blocks.append(total.finish())
    table = ScoreTable.concatenate(blocks)

    columns: dict[str, Any] = {}
    if labels is not None:
        columns["label"] = table.labels
    columns["n"] = table.n
    wanted = ["c_perplexity"] if labels is None else ["x_perplexity", "c_perplexity"]
    if seen is not None:
        wanted += ["n_heldout", "c_heldout"] if labels is None else ["n_heldout", "x_heldout", "c_heldout", "x_insample"]
    if labels is not None:
        wanted += ["mean_p_label", "mean_margin", "label_quality"]
    columns |= {name: getattr(table, name) for name in wanted}
    if labels is not None:
        columns["x_bin"] = pd.array([X_BINS[i] if i >= 0 else None for i in table.x_bin], dtype="str")
    columns |= {"top_confusion": table.top_confusion, "top_confusion_share": table.top_confusion_share}
    return pd.DataFrame(columns, index=pd.RangeIndex(examples, name="example_id"))


def _population_shape(values: NDArray[Any] | Sequence[NDArray[Any]]) -> tuple[int, int, int]:
    """(N, E, M) of an array [N, E, M] or of a sequence of arrays [E, M], without copying either."""
    if isinstance(values, Mapping | str) or not hasattr(values, "__len__"):
        raise UsageError(f"outputs are a {type(values).__name__}. Allowed: an array [N, E, M] or a list of arrays [E, M]. Use numpy.")
    shapes = {tuple(np.shape(values)[1:])} if hasattr(values, "ndim") else {np.shape(member) for member in values}
    if len(values) == 0 or len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        seen = tuple(np.shape(values)) if hasattr(values, "ndim") else f"a list of {len(values)} arrays of shapes {sorted(shapes)}"
        raise UsageError(
            f"outputs have shape {seen}. Allowed: [N, E, M], classifiers by examples by classes, none of them 0. "
            f"For a single classifier pass values[None]."
        )
    examples, classes = next(iter(shapes))
    if classes > _MAX_CLASSES:
        raise UsageError(
            f"outputs have {classes} classes. Allowed: at most {_MAX_CLASSES}. Check that the last axis is the classes: [N, E, M]."
        )
    return len(values), examples, classes


def _population_kind(values: NDArray[Any] | Sequence[NDArray[Any]]) -> Literal["logits", "probs"]:
    """What all classifiers give, decided on each one's first rows (1,024 of them: enough, and cheap on a memory map).

    Raises:
        UsageError: if some give probabilities and others do not.
    """
    kinds: dict[int, Literal["logits", "probs"]] = {}
    for member in range(len(values)):
        first = np.asarray(values[member][:1024])
        if np.isfinite(first).all(axis=1).any():  # one with nothing finite says nothing about its kind; _check_values names it
            kinds[member] = detect_kind(first)
    if len(set(kinds.values())) > 1:
        reference = min(kinds)
        odd = next(member for member, kind in kinds.items() if kind != kinds[reference])
        raise UsageError(
            f"classifier {reference} gives {kinds[reference]}, classifier {odd} gives {kinds[odd]}. Allowed: all the same. "
            f"Convert them to one kind, or say kind='logits' if these are logits that happen to look like probabilities."
        )
    return next(iter(kinds.values()), "logits")


def _check_values(values: NDArray[Any], member: int, first: int, kind: str) -> None:
    """Raise UsageError for NaN or +inf, and for probabilities that are none. A logit of -inf is allowed unless the whole row is."""
    with np.errstate(invalid="ignore"):
        highest = values.max(axis=1)
        bad = ~np.isfinite(highest) if kind == "logits" else ~_distribution_rows(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        if kind == "logits":
            found, allowed = f"a largest value of {highest[row]:g}", "logits without NaN and +inf, not all -inf"
        else:
            total = values[row].sum(dtype=np.float64)
            found = f"values {values[row].min():g} to {highest[row]:g} with sum {total:g}"
            allowed = "probabilities in [0, 1] with sum 1 +- 0.001"
        raise UsageError(
            f"classifier {member}, example {first + row}: {found} ({int(bad.sum())} such rows in its block). Allowed: {allowed}. "
            f"Leave out the classifier or the examples, or check the kind (taken as {kind})."
        )
