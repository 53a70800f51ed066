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
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.errors import DataError
from zoo.scores.kind import SLACK
from zoo.scores.outputs import MAX_CLASSES, top_classes
from zoo.store.answers import TOP_CLASSES, Answers
from zoo.store.schema import SCORES_SCHEMA, X_BINS

__all__ = ["FIXED_ONE", "ScoreAccumulator", "ScoreTable", "block_rows", "ratio"]


FIXED_ONE: Final = 4294967296.0
"""2**32, the 1 of fixed-point sums: multiplying a float32 by it is exact."""
_BYTES_PER_CELL: Final = 4 + 8 + 8  # votes, probability, -p log2 p


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
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise DataError(
                f"{num_classes} classes. Allowed: 1 to {MAX_CLASSES}, so that an answer fits 16 bits. Merge classes or score part of them."
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
        self._check_range("entropy", entropy, -SLACK, np.log2(self.num_classes) + SLACK, damaged)
        self._check_range("p_label", p_label, -SLACK, 1 + SLACK, damaged)
        self._check_range("margin", margin, -1 - SLACK, 1 + SLACK, damaged)
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
        x = ratio(s["wrong"], n, known)
        use_held = held > 0  # label quality: over the classifiers that did not see the example, where there are any
        quality_n = np.where(use_held, held, n)
        quality_wrong = np.where(use_held, s["wrong_heldout"], s["wrong"])
        quality_p = ratio(np.where(use_held, s["p_label_heldout"], s["p_label"]), quality_n, known, unit=FIXED_ONE)

        votes = self._votes.reshape(examples, classes)
        kept = min(TOP_CLASSES, classes)
        top_x, top_votes = _pad(*top_classes(votes, self._probability.reshape(examples, classes), kept))
        top_c, top_surprise = _pad(*top_classes(self._surprise.reshape(examples, classes), None, kept))
        surprise = np.divide(top_surprise, n[:, None] * FIXED_ONE, out=np.zeros(top_surprise.shape), where=n[:, None] > 0)
        return ScoreTable(
            num_classes=classes,
            example_ids=self.example_ids.copy(),
            labels=self.labels.copy(),
            n=n.copy(),
            x_perplexity=x,
            c_perplexity=_perplexity(s["entropy"], n, classes),
            n_heldout=held.copy(),
            x_heldout=ratio(s["wrong_heldout"], held, known),
            c_heldout=_perplexity(s["entropy_heldout"], held, classes),
            x_insample=ratio(s["wrong"] - s["wrong_heldout"], inside, known),
            c_insample=_perplexity(s["entropy"] - s["entropy_heldout"], inside, classes),
            mean_p_label=ratio(s["p_label"], n, known, unit=FIXED_ONE),
            mean_margin=ratio(s["margin"], n, known, unit=FIXED_ONE),
            label_quality=1.0 - (quality_wrong + 1.0 - quality_p) / (quality_n + 1.0),
            x_bin=np.where(known & (n > 0), _x_bin(s["wrong"], n), -1),
            top_confusion=top_x[:, 0],
            top_confusion_share=ratio(top_votes[:, 0], n, np.ones(examples, dtype=bool)),
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


def ratio(total: Ints, count: Ints, known: NDArray[np.bool_], unit: float = 1.0) -> Floats:
    """total / (count * unit) as float64 [E], NaN where count is 0 or the label unknown. One rounding: count * unit is exact."""
    ratio: Floats = np.divide(total, count * unit, out=np.full(len(total), np.nan), where=known & (count > 0))
    return ratio


def _perplexity(entropy: Ints, count: Ints, num_classes: int) -> Floats:
    """C = 2 ** mean entropy, float64 [E], NaN where count is 0. Clipped to [1, M]: log2 M as a float32 may lie above log2 M."""
    bits = ratio(entropy, count, np.ones(len(entropy), dtype=bool), unit=FIXED_ONE)
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
