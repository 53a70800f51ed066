"""X- and C-perplexity of arrays, without a workspace."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.errors import UsageError
from zoo.scores.accumulate import ScoreAccumulator, ScoreTable, block_rows, log_shares
from zoo.scores.catalog import FIXED_ONE, SCORES, ratio
from zoo.scores.kind import (
    ROUNDING,
    SLACK,
    Evidence,
    Kind,
    clipped,
    distribution_rows,
    nearly_distribution_rows,
)
from zoo.scores.outputs import MAX_CLASSES, answers_of, label_vector, probabilities_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["perplexity", "x_and_c"]


# --------------------------------------------------------------------------------- for plain arrays


def x_and_c(
    predictions: NDArray[Any], entropies: NDArray[Any], labels: NDArray[Any]
) -> tuple[Floats, Floats]:
    """X and C alone, from predictions and entropies, at about a nanosecond per classifier and
    example.

    Bit-equal to the accumulator's (which also clips C to M, for entropies that float32 rounded
    above log2 M).

    Args:
        predictions: integer [N, E]; -1 = no answer, counts for nothing.
        entropies: float [N, E] in bits; whatever it is where there is no answer.
        labels: integer [E]; -1 = unknown.

    Returns:
        X float64 [E] in [0, 1], NaN where the label is unknown, and C float64 [E] >= 1; both NaN
        where no classifier answered.

    Raises:
        UsageError: shapes that do not fit, or an answer whose entropy is a NaN or an infinity: it
            is none, and would count as certain.
    """
    predictions, entropies, labels = (
        np.asarray(predictions),
        np.asarray(entropies),
        np.asarray(labels),
    )
    if (
        predictions.ndim != 2
        or entropies.shape != predictions.shape
        or labels.shape != predictions.shape[1:]
    ):
        raise UsageError(
            f"predictions have shape {predictions.shape}, entropies {entropies.shape}, labels"
            f" {labels.shape}. Allowed: [N, E], [N, E], [E]. Pass one row per classifier and one"
            " label per example."
        )
    members, examples = predictions.shape
    narrow = (
        labels.astype(predictions.dtype)
        if np.array_equal(labels, labels.astype(predictions.dtype))
        else labels
    )
    n, wrong, bits = (np.zeros(examples, dtype=np.int64) for _ in range(3))
    # columns whose running sums stay in the first-level cache
    for start in range(0, examples, 8192):
        part = slice(start, start + 8192)
        for first in range(0, members, 255):  # rows that an 8-bit counter can count
            group = slice(first, first + 255)
            counts = _count_rows(predictions[group, part], entropies[group, part], narrow[part])
            if counts is None:
                _refuse_entropies(predictions[group, part], entropies[group, part], first, start)
            for total, count in zip((n, wrong, bits), counts, strict=True):
                total[part] += count
    c = np.exp2(ratio(bits, n, np.ones(examples, dtype=bool), unit=FIXED_ONE))
    return ratio(wrong, n, labels >= 0), np.maximum(c, 1.0)


def _refuse_entropies(
    predictions: NDArray[Any], entropies: NDArray[Any], member: int, example: int
) -> NoReturn:
    """Name the first answer whose entropy is no number; ``member`` and ``example``: where this
    block begins."""
    row, column = np.argwhere((predictions >= 0) & ~np.isfinite(entropies))[0].tolist()
    raise UsageError(
        f"classifier {member + row} answers example {example + column} with an entropy of"
        f" {entropies[row, column]}. Allowed: finite bits, or prediction -1 where there is no"
        " answer. Mark such answers with -1, or leave the classifier out."
    )


def _count_rows(
    predictions: NDArray[Any], entropies: NDArray[Any], labels: NDArray[Any]
) -> tuple[Ints, Ints, Ints] | None:
    """Answers, misses and fixed-point bits of at most 255 classifiers, int64 [E] each; None if an
    answer's entropy is no finite number.

    Misses are counted in 8 bits; fixed-point entropies are whole numbers below 2**36, which float64
    adds exactly up to 2**53.
    """
    examples = predictions.shape[1]
    answered, missed, bits = (
        np.zeros(examples, np.uint8),
        np.zeros(examples, np.uint8),
        np.zeros(examples, np.float64),
    )
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
    # a NaN stays in its sum, so that looking at the sums costs nothing
    if not np.isfinite(bits).all():
        return None
    n = np.full(examples, len(predictions), dtype=np.int64) if full else answered.astype(np.int64)
    return n, missed.astype(np.int64), bits.astype(np.int64)


def perplexity(
    probs_or_logits: NDArray[Any] | Sequence[NDArray[Any]],
    labels: NDArray[Any] | None = None,
    *,
    kind: Literal["auto", "logits", "probs"] = "auto",
    in_train: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """Scores of examples from the outputs of N classifiers, with no workspace: equal to those of a
    store filled with the same outputs.

    Reads one classifier and one block of examples at a time, so a memory-mapped array larger than
    memory works.

    Args:
        probs_or_logits: float [N, E, M], or N arrays [E, M]; an array [E, M] is one classifier.
        labels: integer [E] in 0..M-1, -1 = unknown. None: only the columns that need no label.
        kind: ``"probs"`` or ``"logits"``; ``"auto"`` finds out by the rule of ``zoo.scores.kind``
            and refuses what is neither clearly. With ``"probs"`` tiny negatives become 0 and rows
            are divided by their sum; a warning says how many.
        in_train: bool [N, E]; which examples each classifier was trained on. None = none; adds the
            held-out and in-sample columns.

    Returns:
        One row per example, indexed by ``example_id`` 0..E-1, columns of the ``scores`` table
        (``zoo.scores.catalog``) whose needs are met: n, c_perplexity, mutual_information,
        top_confusion, top_confusion_share, top_probability always; with labels also label,
        x_perplexity, mean_p_label, margins, logarithms, label_quality, x_bin; with in_train also
        the held-out and in-sample ones. Those of snapshots need a store.

    Raises:
        UsageError: wrong shape, a label out of range, a NaN (an answer that is none must be left
            out by its maker: it is neither a hit nor a miss), rows that are no distributions, a mix
                of probabilities and logits, values that may be either.

    Example:
        >>> import numpy as np
        >>> frame = perplexity(np.array([[[0.5, 0.5]], [[0.25, 0.75]]]), np.array([1]))
        >>> float(frame.x_perplexity[0])  # the tie goes to class 0, which is wrong: 1 of 2
        0.5
    """
    import pandas as pd

    if kind not in ("auto", "logits", "probs"):
        raise UsageError(
            f"kind {kind!r}. Allowed: auto, logits, probs. Leave it out to have it found from the"
            " values."
        )
    if isinstance(probs_or_logits, np.ndarray) and probs_or_logits.ndim == 2:
        probs_or_logits = probs_or_logits[None]
        in_train = None if in_train is None else np.atleast_2d(in_train)
    members, examples, classes = _population_shape(probs_or_logits)
    vector = label_vector(labels, examples, classes)
    seen = None if in_train is None else np.asarray(in_train, dtype=bool)
    if seen is not None and seen.shape != (members, examples):
        raise UsageError(
            f"in_train has shape {seen.shape}. Allowed: ({members}, {examples}), classifiers by"
            " examples. Pass one row per classifier, or leave it out."
        )
    actual = _population_kind(probs_or_logits) if kind == "auto" else kind
    step, prior = block_rows(classes, memory_bytes=64 * 2**20), log_shares(vector, classes)
    blocks, repaired = [], Evidence()
    for start in range(0, examples, step):
        part = slice(start, min(start + step, examples))
        total = ScoreAccumulator(
            np.arange(part.start, part.stop), vector[part], classes, log_prior=prior
        )
        for member in range(members):
            values = np.asarray(probs_or_logits[member][part])
            values = (
                values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
            )
            _check_values(values, member, part.start, actual, said=kind == "probs")
            if actual == "probs":
                repaired.add(values)
            answers = answers_of(
                clipped(values) if actual == "probs" else values,
                vector[part],
                kind=actual,
                finite=np.ones(len(values), dtype=bool),
            )
            p = probabilities_of(values, actual) if total.needs_logits else None
            total.add_answers(answers, None if seen is None else seen[member, part], p)
        blocks.append(total.finish())
    table = ScoreTable.concatenate(blocks)
    if kind == "probs" and repaired.repairs:
        warnings.warn(f"probabilities put right: {repaired.repairs}", stacklevel=2)

    given: set[str] = {
        "logits",
        *(() if labels is None else ("labels",)),
        *(() if seen is None else ("membership",)),
    }
    columns: dict[str, Any] = {} if labels is None else {"label": table.labels}
    for name, score in SCORES.items():
        if score.needs <= given and not score.is_list:
            column = table.columns[name]
            columns[name] = (
                pd.array([score.names[i] if i >= 0 else None for i in column], dtype="str")
                if score.names
                else column
            )
    return pd.DataFrame(columns, index=pd.RangeIndex(examples, name="example_id"))


def _population_shape(values: NDArray[Any] | Sequence[NDArray[Any]]) -> tuple[int, int, int]:
    """(N, E, M) of an array [N, E, M] or of a sequence of arrays [E, M], without copying either."""
    if isinstance(values, Mapping | str) or not hasattr(values, "__len__"):
        raise UsageError(
            f"outputs are a {type(values).__name__}. Allowed: an array [N, E, M] or a list of"
            " arrays [E, M]. Use numpy."
        )
    shapes = (
        {tuple(np.shape(values)[1:])}
        if hasattr(values, "ndim")
        else {np.shape(member) for member in values}
    )
    if (
        len(values) == 0
        or len(shapes) != 1
        or len(next(iter(shapes))) != 2
        or 0 in next(iter(shapes))
    ):
        seen = (
            tuple(np.shape(values))
            if hasattr(values, "ndim")
            else f"a list of {len(values)} arrays of shapes {sorted(shapes)}"
        )
        raise UsageError(
            f"outputs have shape {seen}. Allowed: [N, E, M], classifiers by examples by classes,"
            " none of them 0. An array [E, M] is one classifier."
        )
    examples, classes = next(iter(shapes))
    if classes > MAX_CLASSES:
        raise UsageError(
            f"outputs have {classes} classes. Allowed: at most {MAX_CLASSES}. Check that the last"
            " axis is the classes: [N, E, M]."
        )
    return len(values), examples, classes


def _population_kind(values: NDArray[Any] | Sequence[NDArray[Any]]) -> Kind:
    """What all classifiers give, decided on each one's first rows (1,024 of them: enough, and cheap
    on a memory map).

    Raises:
        UsageError: if some give probabilities and others do not, or if one gives what may be
            either.
    """
    kinds: dict[int, Kind] = {}
    for member in range(len(values)):
        evidence = Evidence().add(np.asarray(values[member][:1024], dtype=np.float64))
        # one with nothing finite says nothing about its kind; _check_values names it
        if not evidence.rows:
            continue
        if evidence.kind is None:
            raise UsageError(evidence.question(f"the values of classifier {member}", "kind={!r}"))
        kinds[member] = evidence.kind
    if len(set(kinds.values())) > 1:
        reference = min(kinds)
        odd = next(member for member, kind in kinds.items() if kind != kinds[reference])
        raise UsageError(
            f"classifier {reference} gives {kinds[reference]}, classifier {odd} gives {kinds[odd]}."
            " Allowed: all the same. Convert them to one kind, or say kind='logits' if these are"
            " logits that happen to look like probabilities."
        )
    return next(iter(kinds.values()), "logits")


def _check_values(values: NDArray[Any], member: int, first: int, kind: str, *, said: bool) -> None:
    """Raise UsageError for NaN or +inf, and for probabilities that are none. A logit of -inf is
    allowed unless the whole row is.

    ``said``: that they are probabilities was said, not found: then rounding is put right.
    """
    with np.errstate(invalid="ignore"):
        highest = values.max(axis=1)
        bad = (
            ~np.isfinite(highest)
            if kind == "logits"
            else ~(nearly_distribution_rows if said else distribution_rows)(values)
        )
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        if kind == "logits":
            found, allowed = (
                f"a largest value of {highest[row]:g}",
                "logits without NaN and +inf, not all -inf",
            )
        else:
            total = values[row].sum(dtype=np.float64)
            found = f"values {values[row].min():g} to {highest[row]:g} with sum {total:g}"
            allowed = (
                f"probabilities from -{SLACK:g} with sum 1 +- {ROUNDING:g}"
                if said
                else "probabilities in [0, 1] with sum 1 +- 0.001"
            )
        raise UsageError(
            f"classifier {member}, example {first + row}: {found} ({int(bad.sum())} such rows in"
            f" its block). Allowed: {allowed}. Leave out the classifier or the examples, or"
            f" {'check the kind' if said else 'say the kind'} (taken as {kind})."
        )
