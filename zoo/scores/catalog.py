"""Every score of an example: what it is called, what it means, on which side it is suspicious, what
it needs, and how it is computed.

A score is one function here and one line in ``SCORES``. From these lines come the columns of the
``scores`` table with their types and words (``zoo schema``, ``zoo query``), what ``zoo select`` may
rank by and conditions may name, what is measured as a detector of wrong labels, what the report and
the exports list, and what ``zoo.perplexity`` returns. The list is ground that every
room may stand on: it imports numbers only.

A score is a function of ``Sums``, which hold what was added up over the classifiers, one classifier
at a time. What is added up is a *term*, a number per classifier and example; ``TERMS`` has the
common ones, and a score may bring its own. Terms are rounded to multiples of 2**-32 and summed as
whole numbers, so that no score depends on the order of classifiers, on blocks or on workers.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints, Mask
from zoo.registry import Registry
from zoo.statistics import midranks

__all__ = [
    "DETECTORS",
    "FIXED_ONE",
    "SCORES",
    "SHORT_NAMES",
    "SIDES",
    "TERMS",
    "X_BINS",
    "Given",
    "Listed",
    "Score",
    "Sums",
    "Term",
    "ratio",
    "suspicion",
    "worst_first",
]

FIXED_ONE: Final = 4294967296.0
"""2**32, the 1 of fixed-point sums: multiplying a float32 by it is exact."""

X_BINS: Final = (
    "0",
    "0-0.1",
    "0.1-0.2",
    "0.2-0.3",
    "0.3-0.4",
    "0.4-0.5",
    "0.5-0.6",
    "0.6-0.7",
    "0.7-0.8",
    "0.8-0.9",
    "0.9-1",
    "1",
)
"""Names of the 12 bins of X: {0}, (0, .1], ..., (.8, .9], (.9, 1), {1}."""

Need = Literal["labels", "membership", "logits"]
"""What a score needs beside answers: the examples' labels; knowing which classifiers were trained
on which example; all probabilities."""


# ---------------------------------------------------------------- what is added up


@dataclass(frozen=True)
class Given:
    """One classifier's answers to E examples, as terms see them: 0 where there is no answer, or no
    label where one is needed.

    Attributes:
        wrong: bool [E]; answered, and not with the label.
        p_label: float [E] in [0, 1].
        entropy: float [E] in bits.
        margin: float [E] in [-1, 1].
        prediction: integer [E], -1 = no answer.
        top5, top5_p: integer and float [E, 5]; most probable classes (-1 pads) and their
            probabilities.
        probabilities: float [E, M]; None where they were not kept, and unless a score needs them
            ("logits").
    """

    wrong: Mask
    p_label: NDArray[Any]
    entropy: NDArray[Any]
    margin: NDArray[Any]
    prediction: NDArray[Any]
    top5: NDArray[Any]
    top5_p: NDArray[Any]
    probabilities: NDArray[Any] | None = None


class Term(NamedTuple):
    """A number per classifier and example; bool [E] where it is counted, else float [E] below 2**31
    in size. ``unit``: the sum's 1."""

    of: Callable[[Given], NDArray[Any]]
    unit: float = FIXED_ONE


TERMS: Final[dict[str, Term]] = {
    "wrong": Term(lambda given: given.wrong, unit=1.0),
    "entropy": Term(lambda given: given.entropy),
    "p_label": Term(lambda given: given.p_label),
    "margin": Term(lambda given: given.margin),
}


@dataclass(frozen=True)
class Sums:
    """What was added up over the classifiers of a population for E examples.

    A sum is named by its term, over all classifiers that answered; ``term@heldout`` over those
    known not to have been trained on the example, ``term@insample`` over those known to have been.

    Attributes:
        num_classes: M.
        labels: int64 [E], -1 = unknown.
        totals: int64 [E] by ``n`` (classifiers) or term, with ``@heldout`` and ``@unknown``
            (membership) beside where a score asked for it.
        most_voted: classes and votes, int64 [E, 5], in the order of votes, then summed probability,
            then index; -1 where fewer got one.
        most_uncertain: classes and sums of -p log2 p over the answers' five most probable classes,
            int64 [E, 5]; fixed-point.
        most_probable: class with the largest sum of probability over the answers' five most
            probable classes, int64 [E]; ties by lowest index, -1 where nobody answered.
    """

    num_classes: int
    labels: Ints
    totals: Mapping[str, Ints]
    units: Mapping[str, float]
    most_voted: tuple[Ints, Ints]
    most_uncertain: tuple[Ints, Ints]
    most_probable: Ints

    def __getitem__(self, name: str) -> Ints:
        """int64 [E]: how many classifiers (``n``, ``n@heldout``), or the sum of a term over
        them."""
        term, _, part = name.partition("@")
        if part == "insample":
            return (
                self.totals[term] - self.totals[f"{term}@heldout"] - self.totals[f"{term}@unknown"]
            )
        return self.totals[name]

    def count(self, name: str) -> Ints:
        """int64 [E]: how many classifiers the sum of that name is over."""
        return self["n" + name[len(name.partition("@")[0]) :]]

    def mean(self, name: str, *, needs_label: bool = True) -> Floats:
        """float64 [E]: a sum over how many it is of; NaN where that is 0, or a label is needed and
        unknown."""
        known = self.labels >= 0 if needs_label else np.ones(len(self.labels), dtype=bool)
        return ratio(self[name], self.count(name), known, unit=self.units[name.partition("@")[0]])


def ratio(total: Ints, count: Ints, known: Mask, unit: float = 1.0) -> Floats:
    """total / (count * unit) as float64 [E], NaN where count is 0 or the label unknown. One
    rounding: count * unit is exact."""
    quotient: Floats = np.divide(
        total, count * unit, out=np.full(len(total), np.nan), where=known & (count > 0)
    )
    return quotient


class Listed(NamedTuple):
    """A list per example: classes int64 [E, 5], -1 where it ends, and a number for each, [E, 5]."""

    classes: Ints
    values: NDArray[Any]


# ---------------------------------------------------------------- the scores


def number(sums: Sums) -> Ints:
    """Classifiers that answered."""
    return sums["n"]


def x_perplexity(sums: Sums) -> Floats:
    """Share of the classifiers that miss the label."""
    return sums.mean("wrong")


def c_perplexity(sums: Sums) -> Floats:
    """2 ** mean entropy of the classifiers' answers: the effective number of classes they waver
    between."""
    return _perplexity(sums, "entropy")


def n_heldout(sums: Sums) -> Ints:
    """Classifiers known not to have been trained on the example; -1 where nothing is known of
    any."""
    unknown = sums["n@unknown"]
    return np.where((unknown > 0) & (unknown == sums["n"]), -1, sums["n@heldout"])


def x_heldout(sums: Sums) -> Floats:
    """X over the held-out classifiers."""
    return sums.mean("wrong@heldout")


def c_heldout(sums: Sums) -> Floats:
    """C over the held-out classifiers."""
    return _perplexity(sums, "entropy@heldout")


def x_insample(sums: Sums) -> Floats:
    """X over the classifiers that were trained on the example."""
    return sums.mean("wrong@insample")


def mean_p_label(sums: Sums) -> Floats:
    """Mean probability of the label: self-confidence, unweighted."""
    return sums.mean("p_label")


def mean_margin(sums: Sums) -> Floats:
    """Mean of p(label) minus the largest other probability."""
    return sums.mean("margin")


def label_quality(sums: Sums) -> Floats:
    """1 - (n X + 1 - mean p(label)) / (n + 1) over the n held-out classifiers where there are some,
    else over all.

    Of two examples with the same n, the one with the lower X is better, and p(label) decides
    between equals.
    """
    held = sums["n@heldout"] > 0
    n = np.where(held, sums["n@heldout"], sums["n"])
    wrong = np.where(held, sums["wrong@heldout"], sums["wrong"])
    p = ratio(
        np.where(held, sums["p_label@heldout"], sums["p_label"]),
        n,
        sums.labels >= 0,
        unit=FIXED_ONE,
    )
    quality: Floats = 1.0 - (wrong + 1.0 - p) / (n + 1.0)
    return quality


def x_bin(sums: Sums) -> Ints:
    """Bin 0..11 of X, in integers: {0}, (0, .1], ..., (.9, 1), {1}. No float edge
    (0.30000000000000004) can move one."""
    wrong, n = sums["wrong"], sums["n"]
    # ceil(10 X): 0 for X = 0, i for (i - 1) / 10 < X <= i / 10
    tenth = -(-10 * wrong // np.maximum(n, 1))
    return np.where((sums.labels >= 0) & (n > 0), np.where((wrong == n) & (n > 0), 11, tenth), -1)


def top_confusion(sums: Sums) -> Ints:
    """Most-voted class (the label itself, more often than not); ties by summed probability, then
    lowest index."""
    return sums.most_voted[0][:, 0]


def top_confusion_share(sums: Sums) -> Floats:
    """Its share of the votes."""
    return ratio(sums.most_voted[1][:, 0], sums["n"], np.ones(len(sums.labels), dtype=bool))


def top_probability(sums: Sums) -> Ints:
    """Class of the largest mean probability, as far as the answers keep p: each classifier's five
    most probable classes, in float16.

    Exact, but for float16, for M <= 5. Above, a class counts as 0 where it is not among a
    classifier's five, so its mean is too low by at most the mean of 1 - (sum of the five).
    """
    return sums.most_probable


def top5_x(sums: Sums) -> Listed:
    """Most-voted classes and their votes."""
    return Listed(*sums.most_voted)


def top5_c(sums: Sums) -> Listed:
    """Classes with the largest mean of -p log2 p, as far as the answers keep p: each classifier's
    five most probable classes, in float16.

    A lower bound where a class falls outside some classifier's five; complete for M <= 5.
    """
    classes, surprise = sums.most_uncertain
    n = sums["n"][:, None]
    return Listed(
        classes, np.divide(surprise, n * FIXED_ONE, out=np.zeros(surprise.shape), where=n > 0)
    )


def _perplexity(sums: Sums, name: str) -> Floats:
    """2 ** mean, NaN where there is none. Clipped to [1, M]: log2 M as a float32 may lie above log2
    M."""
    bits = sums.mean(name, needs_label=False)
    return np.minimum(np.maximum(np.exp2(bits), 1.0), float(sums.num_classes))


# ---------------------------------------------------------------- the table

_XC: Final = "Example perplexity and class label cleaning, section 2"
_VOTES: Final = pa.list_(pa.struct([("class", pa.int32()), ("votes", pa.int64())]))
_VALUES: Final = pa.list_(pa.struct([("class", pa.int32()), ("value", pa.float64())]))


@dataclass(frozen=True)
class Score:
    """A score of an example: one column of the ``scores`` table.

    Attributes:
        of: the function. It gives float64 [E] (NaN = not defined), int64 [E] (-1 = not defined;
            with ``names`` an index into these), or lists.
        words: what it says, for ``zoo schema``.
        unit: unit or range, for the same.
        uses: sums it reads, such as ``wrong`` or ``wrong@heldout``; ``n`` and its parts are always
            there.
        needs: what it needs beside answers.
        side: +1 where high is suspicious, -1 where low is, 0 where neither: no one ranks by it.
        short: what conditions may say for the column; empty = its name alone.
        source: where it comes from, where it is not our own.
        terms: terms of its own, by name, that are added up for it.
        type: of the column, where it is not float64.
        names: texts that an index stands for.
        apart: whether examples with and without held-out classifiers are ranked apart, because it
            is over other classifiers in each.
    """

    of: Callable[[Sums], Any]
    words: str
    unit: str = ""
    uses: tuple[str, ...] = ()
    needs: frozenset[Need] = frozenset()
    side: Literal[-1, 0, 1] = 0
    short: str = ""
    source: str = ""
    terms: Mapping[str, Term] = field(default_factory=dict)
    type: pa.DataType = field(default_factory=pa.float64)
    names: tuple[str, ...] = ()
    apart: bool = False

    @property
    def text(self) -> str:
        """Words and unit."""
        return f"{self.words} [{self.unit}]" if self.unit else self.words

    @property
    def is_list(self) -> bool:
        return bool(pa.types.is_list(self.type))


_LABELS: Final[frozenset[Need]] = frozenset({"labels"})
_MEMBERSHIP: Final[frozenset[Need]] = frozenset({"membership"})
_BOTH: Final = _LABELS | _MEMBERSHIP

SCORES: Final[Registry[Score]] = Registry(
    "score",
    {
        "n": Score(number, "classifiers that answered", type=pa.int32()),
        "x_perplexity": Score(
            x_perplexity,
            "X: share of them that get it wrong",
            "0 to 1",
            ("wrong",),
            _LABELS,
            side=+1,
            short="x",
            source=_XC,
        ),
        "c_perplexity": Score(
            c_perplexity,
            "C: 2 ** mean entropy",
            "1 to M",
            ("entropy",),
            side=+1,
            short="c",
            source=_XC,
        ),
        "n_heldout": Score(
            n_heldout,
            "classifiers known not to have trained on it; null where nothing is known of any",
            needs=_MEMBERSHIP,
            type=pa.int32(),
        ),
        "x_heldout": Score(
            x_heldout,
            "X over those; null where there is none",
            "0 to 1",
            ("wrong@heldout",),
            _BOTH,
            side=+1,
        ),
        "c_heldout": Score(
            c_heldout, "C over those", "1 to M", ("entropy@heldout",), _MEMBERSHIP, side=+1
        ),
        "x_insample": Score(
            x_insample,
            "X over the classifiers known to have trained on it",
            "0 to 1",
            ("wrong@insample",),
            _BOTH,
            side=+1,
        ),
        "mean_p_label": Score(
            mean_p_label,
            "mean probability of the label",
            "0 to 1",
            ("p_label",),
            _LABELS,
            side=-1,
            short="p_label",
        ),
        "mean_margin": Score(
            mean_margin,
            "mean of p(label) minus the largest other probability",
            "-1 to 1",
            ("margin",),
            _LABELS,
            side=-1,
            short="margin",
        ),
        "label_quality": Score(
            label_quality,
            "1 - (n X + 1 - mean p(label)) / (n + 1) over the n held-out classifiers where there"
            " are some, else over all n; low = suspicious. For one n, X decides and p(label) breaks"
            " ties; examples with and without held-out classifiers are ranked apart",
            "0 to 1",
            ("wrong", "p_label", "wrong@heldout", "p_label@heldout"),
            _LABELS,
            side=-1,
            short="quality",
            apart=True,
        ),
        "x_bin": Score(
            x_bin,
            "12 bins of X: 0, 0-0.1, ..., 0.9-1, 1",
            "",
            ("wrong",),
            _LABELS,
            type=pa.string(),
            names=X_BINS,
        ),
        "top_confusion": Score(
            top_confusion, "class with most votes (may be the label)", type=pa.int32()
        ),
        "top_confusion_share": Score(top_confusion_share, "its share of the votes", "0 to 1"),
        "top_probability": Score(
            top_probability,
            "class of the largest mean probability over the classifiers (may be the label), from"
            " the five most probable classes of each, the ones that answers keep",
            type=pa.int32(),
        ),
        "top5_x": Score(
            top5_x, "classes with most votes: list of (class, votes)", type=_VOTES, source=_XC
        ),
        "top5_c": Score(
            top5_c,
            "classes with most of the entropy among the five most probable of each classifier, the"
            " ones that answers keep: list of (class, mean -p log2 p). A lower bound of the"
            " definition's above five classes; zoo export scores --to perplexity has the"
            " definition's own",
            type=_VALUES,
            source=_XC,
        ),
    },
)
"""Every score, in the order of the table's columns."""

SIDES: Final = {name: score.side for name, score in SCORES.items() if score.side}
"""Columns that examples can be ranked by: +1 = high is suspicious, -1 = low is."""

SHORT_NAMES: Final = {
    score.short: name
    for name, score in sorted(SCORES.items(), key=lambda entry: entry[1].short)
    if score.short
}
"""What conditions and ``by=`` may say for a column of the scores table."""

DETECTORS: Final = SIDES | {
    "cleanlab_ensemble": -1,
    "cleanlab_issues": -1,
    "cleanlab_issues_heldout": -1,
}
"""Scores that are measured as detectors of wrong labels, those of cleanlab beside ours."""

_APART: Final = {name for name, score in SCORES.items() if score.apart} | {
    "cleanlab_issues_heldout"
}


# ---------------------------------------------------------------- the one order of suspicion


def suspicion(name: str, values: Floats, n_heldout: Floats | None = None) -> Floats:
    """How suspicious examples are by a score: float64 [E], high = more, NaN where the score is.

    A network gives the label it was trained with, also a wrong one, so label quality over
    classifiers that were trained on the example is no number beside label quality over held-out
    ones. Where a population has examples of both sorts, each sort is ranked by itself, and an
    example's suspicion is the share of its own sort that is less suspicious (ties: a half). So an
    equal share of both is suspected.

    Args:
        values: the score, float64 [E], NaN = not defined.
        n_heldout: held-out classifiers of each example, NaN = not known; None = not known of any.
    """
    suspicious: Floats = DETECTORS[name] * values
    defined = ~np.isnan(values)
    held = np.zeros(len(values), dtype=bool) if n_heldout is None else np.nan_to_num(n_heldout) > 0
    if name not in _APART or not (defined & held).any() or not (defined & ~held).any():
        return suspicious
    places = np.full(len(values), np.nan)
    for sort in (defined & held, defined & ~held):
        places[sort] = (midranks(suspicious[sort]) - 0.5) / sort.sum()
    return places


def worst_first(suspicious: Floats, x: Floats, example_ids: Ints) -> Ints:
    """Positions of examples, most suspicious first, int64 [E]: ties by higher X, then by lower
    example_id; NaN last.

    The one order that suspects are listed in, selections drop from, and detection is measured on.
    """
    return np.lexsort((example_ids, -x, -suspicious)).astype(np.int64)
