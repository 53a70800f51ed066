"""From what a classifier puts out, logits or probabilities, to its answers."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.errors import UsageError
from zoo.scores.kind import ROUNDING, SLACK, Evidence, Kind, clipped, nearly_distribution_rows
from zoo.store.answers import TOP_CLASSES, Answers

__all__ = [
    "MAX_CLASSES",
    "answers_from_logits",
    "answers_from_probabilities",
    "answers_of",
    "detect_kind",
    "label_vector",
    "probabilities_of",
    "top_classes",
]


MAX_CLASSES: Final = 32767  # a class must fit an int16 answer


def answers_from_logits(logits: NDArray[Any], labels: NDArray[Any] | None = None) -> Answers:
    """Answers of one classifier from its logits: the reference that every faster version is tested
    against.

    The log-softmax is taken in float64, whatever the input; order and ties are those of the logits
    as given.

    Args:
        logits: float [E, M]; unnormalised log probabilities in nats. A row with a NaN or an
            infinity is not finite, see ``Answers``.
        labels: integer [E], -1 = unknown; None = all unknown.

    Raises:
        UsageError: wrong shape, M outside 1..32767, or a label outside -1..M-1.
    """
    logits = _matrix("logits", logits)
    return answers_of(
        logits,
        label_vector(labels, *logits.shape),
        kind="logits",
        finite=np.isfinite(logits).all(axis=1),
    )


def answers_from_probabilities(
    probabilities: NDArray[Any], labels: NDArray[Any] | None = None
) -> Answers:
    """Answers of one classifier from its probabilities, with 0 log 0 = 0. Tiny negatives become 0,
    rows are divided by their sum.

    Args:
        probabilities: float [E, M]; each row from -0.001 with sum 1 +- 0.05 (see
            ``zoo.scores.kind``). A row with a NaN or an infinity is not finite, see ``Answers``.
        labels: integer [E], -1 = unknown; None = all unknown.

    Raises:
        UsageError: wrong shape, M outside 1..32767, a label outside -1..M-1, or a finite row that
            is no distribution.
    """
    probabilities = _matrix("probabilities", probabilities)
    finite = np.isfinite(probabilities).all(axis=1)
    wrong = np.flatnonzero(finite & ~nearly_distribution_rows(probabilities))
    if len(wrong):
        row = probabilities[wrong[0]]
        raise UsageError(
            f"row {wrong[0]} of the probabilities is no distribution: values {row.min():g} to"
            f" {row.max():g}, sum {float(row.sum()):g}. Allowed: values from -{SLACK:g} with sum 1"
            f" +- {ROUNDING:g}. Pass logits to answers_from_logits instead, or normalise the rows."
        )
    return answers_of(
        clipped(probabilities),
        label_vector(labels, *probabilities.shape),
        kind="probs",
        finite=finite,
    )


def answers_of(
    values: NDArray[Any], labels: Ints, *, kind: str, finite: NDArray[np.bool_]
) -> Answers:
    """Answers from checked values [E, M]; rows that are not finite become null answers. A logit of
    -inf is a probability of 0."""
    blocks = [
        _answers_of_block(values[part], labels[part], kind, finite[part])
        for part in _cached_rows(*values.shape)
    ]
    return Answers(
        **{
            f.name: np.concatenate([getattr(block, f.name) for block in blocks])
            for f in fields(Answers)
        }
    )


def _cached_rows(examples: int, classes: int) -> list[slice]:
    """Slices of about 64k cells: float64 temporaries of one stay in the second-level cache, which
    makes a pass 2x faster."""
    step = max(1, 2**16 // classes)
    return [slice(start, min(start + step, examples)) for start in range(0, max(examples, 1), step)]


def _answers_of_block(
    values: NDArray[Any], labels: Ints, kind: str, finite: NDArray[np.bool_]
) -> Answers:
    examples, classes = values.shape
    ordered = values if finite.all() else np.where(finite[:, None], values, values.dtype.type(0))
    p, entropy = _softmax(ordered) if kind == "logits" else _normalise(ordered)  # [E, M], [E]
    kept = min(TOP_CLASSES, classes)
    # int64 [E, max(kept, 2)]: the margin needs the runner-up
    top, _ = top_classes(ordered, None, max(kept, min(2, classes)))
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


def probabilities_of(values: NDArray[Any], kind: str) -> Floats:
    """float64 [E, M] with rows that sum to 1, from logits or (nearly) probabilities of finite
    rows."""
    return _softmax(values)[0] if kind == "logits" else _normalise(clipped(values))[0]


def _softmax(logits: NDArray[Any]) -> tuple[Floats, Floats]:
    """Probabilities [E, M] and entropies in bits [E], in float64.

    With z = logit - max and s = sum e**z the entropy is log s - sum(e**z z) / s: two non-negative
    terms, so nothing cancels.
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
    # 0 - 0 is 0, -0. would be stored
    return p, np.clip(0.0 - np.einsum("em,em->e", p, logs), 0.0, np.log2(p.shape[1]))


def top_classes(
    primary: NDArray[Any], secondary: NDArray[Any] | None, count: int
) -> tuple[Ints, NDArray[Any]]:
    """The ``count`` largest entries of each row, in order: by ``primary``, then (where positive)
    ``secondary``, then lowest index.

    Returns:
        classes int64 [E, count] and their primary values [E, count].
    """
    classes = np.concatenate(
        [
            _top_of_block(primary[p], None if secondary is None else secondary[p], count)
            for p in _cached_rows(*primary.shape)
        ]
    )
    return classes, np.take_along_axis(primary, classes, axis=1)


def _top_of_block(primary: NDArray[Any], secondary: NDArray[Any] | None, count: int) -> Ints:
    """``count`` passes of argmax: exact in its ties where argpartition is not, and cheaper than
    sorting rows of many classes."""
    rows = np.arange(len(primary))
    left = primary.copy()
    gone = (
        left.dtype.type(-np.inf)
        if np.issubdtype(left.dtype, np.floating)
        else np.iinfo(left.dtype).min
    )
    # a logit of -inf is a value, not a class already taken
    alive = np.ones(left.shape, dtype=bool) if np.isneginf(left).any() else None
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
            # the order of classes without a vote is no one's
            tied = np.flatnonzero((np.count_nonzero(equal, axis=1) > 1) & (value > 0))
            if len(tied):
                best[tied] = np.where(equal[tied], secondary[tied], np.iinfo(np.int64).min).argmax(
                    axis=1
                )
        classes[:, place] = best
        left[rows, best] = gone
    return classes


def _matrix(name: str, values: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(values)
    if values.ndim != 2 or not 1 <= values.shape[1] <= MAX_CLASSES:
        raise UsageError(
            f"{name} have shape {values.shape}. Allowed: [E, M], examples by classes, with 1 to"
            f" {MAX_CLASSES} classes. Pass one classifier's outputs; zoo.perplexity takes [N,"
            " E, M]."
        )
    return values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)


def label_vector(labels: NDArray[Any] | None, examples: int, classes: int) -> Ints:
    """Labels as int64 [E], checked; -1 where unknown."""
    if labels is None:
        return np.full(examples, -1, dtype=np.int64)
    labels = np.asarray(labels)
    if labels.shape != (examples,):
        raise UsageError(
            f"labels have shape {labels.shape}. Allowed: ({examples},), one per example. Pass those"
            " of the same examples."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        whole = np.issubdtype(labels.dtype, np.floating) and bool(
            (np.isfinite(labels) & (labels == np.rint(labels))).all()
        )
        if not whole:
            raise UsageError(
                f"labels have type {labels.dtype}. Allowed: integers 0 to {classes - 1}, or -1 for"
                " unknown. Convert class names to indices first."
            )
    checked = labels.astype(np.int64)
    wrong = np.flatnonzero((checked < -1) | (checked >= classes))
    if len(wrong):
        raise UsageError(
            f"label {checked[wrong[0]]} at example {wrong[0]} ({len(wrong)} such labels). Allowed:"
            f" 0 to {classes - 1}, or -1 for unknown. Check that labels count from 0 and belong to"
            f" these {classes} classes."
        )
    return checked


def detect_kind(values: NDArray[Any]) -> Kind:
    """``"probs"`` or ``"logits"`` by the rule of ``zoo.scores.kind`` for float [E, M] (log
    probabilities are logits).

    Rows with a NaN or an infinity do not vote; without any other row it is ``"logits"``.

    Raises:
        UsageError: for values that look like probabilities and do not quite sum to 1: only who made
            them knows.
    """
    evidence = Evidence().add(_matrix("values", values))
    if evidence.kind is None:
        raise UsageError(evidence.question("the values", "kind={!r}"))
    return evidence.kind
