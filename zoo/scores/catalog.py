"""Every score of an example: what it is called, what it means, on which side it is suspicious, what
it needs, and how it is computed.

A score is one function here and one line in ``SCORES``. From these lines come the columns of the
``scores`` table with their types and words (``zoo schema``, ``zoo query``), what ``zoo select`` may
rank by and conditions may name, what is measured as a detector of wrong labels, what the report and
the exports list, and what ``zoo.perplexity`` returns. The list is ground that every
room may stand on: it imports numbers only.

A score is a function of ``Sums``, which hold what was added up over the classifiers, one classifier
at a time. What is added up is a *term*, a number per classifier and example; ``TERMS`` has the
common ones, and a score may bring its own. What is worked out from the snapshots of one training in
their order (how often an example was forgotten) is a *course*, a number per training and example;
``COURSES`` has them. Both are rounded to multiples of 2**-32 and summed as whole numbers, so that
no score depends on the order of classifiers, on blocks or on workers.

**Logarithms and what answers keep.** An answer keeps p(label) and the margin as float32 and the
five largest probabilities as float16; all M are kept apart, and not always. Scores of logarithms
are worked out from the answers alone, so that they do not depend on what else was kept:

- A probability below ``FLOOR`` = 2**-24, the least that float16 tells from 0, counts as that: an
  answer of 0 for the label is -24 bits, however sure the classifier was. So one classifier is
  bounded: log p in [-24, 0] bits, a logit margin in [-16.64, 16.64] nats (24 bits).
- ``Given.other``, the largest probability but the label's, is p(label) - margin where it is at
  least 2**-13 (off by at most 2**-24, hence 2**-11 relative) and float16's own below (off by at
  most 2**-11 relative, or 2**-25). A logit margin is off by at most 2**-10 nats where the second
  class has 2**-14 or more, by 2**-24 / p(second) below, where the classifier is right and sure.
- Classes outside the five are unknown but for their sum. What follows for a score is in its
  docstring.

Letters: N classifiers, E examples, M classes, S snapshots of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints, Mask
from zoo.registry import Registry
from zoo.statistics import midranks

__all__ = [
    "COURSES",
    "DETECTORS",
    "FIXED_ONE",
    "FLOOR",
    "SCORES",
    "SHORT_NAMES",
    "SIDES",
    "SINGLE",
    "TERMS",
    "TOGETHER",
    "X_BINS",
    "Course",
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

FLOOR: Final = 2.0**-24
"""Smaller probabilities count as this one in logarithms."""

_NATS: Final = float(np.log(2.0))
"""Nats of a bit: logarithms are summed as bits, in which ``FLOOR`` is a whole number."""

_MOST: Final = FLOOR**-2
"""Quotients of probabilities over priors are cut at this one and its inverse."""

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

Need = Literal["labels", "membership", "logits", "snapshots"]
"""What a score needs beside answers: the examples' labels; knowing which classifiers were trained
on which example; all probabilities; trainings of which the population has two snapshots or more,
and their order."""


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
        label: integer [E], -1 = unknown.
        log_prior: float64 [M], log of the share of the given labels; -inf where no example has
            the class.
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
    label: Ints
    log_prior: Floats
    probabilities: NDArray[Any] | None = None

    @cached_property
    def places(self) -> tuple[NDArray[Any], Floats, Mask]:
        """The five most probable classes a row per place, [5, E] each: class, probability, whether
        it is the label."""
        classes = np.ascontiguousarray(self.top5.T)
        return classes, np.ascontiguousarray(self.top5_p.T, np.float64), classes == self.label

    @cached_property
    def other(self) -> Floats:
        """Largest probability of a class that is not the label, float64 [E]; see the module's
        text."""
        second = self.top5[:, 0] == self.label
        following = self.top5_p[:, 1] if self.top5_p.shape[1] > 1 else 0.0  # a single class
        kept = np.where(second, following, self.top5_p[:, 0]).astype(np.float64)
        exact = np.subtract(self.p_label, self.margin, dtype=np.float64)
        other: Floats = np.where(kept >= 2.0**-13, exact, kept)
        return other

    @cached_property
    def log_p(self) -> Floats:
        """log2 p(label), float64 [E]."""
        return _log(self.p_label)

    @cached_property
    def log_margin(self) -> Floats:
        """Logit margin: log p(label) minus the largest other log p, in bits, float64 [E].
        Differences of log probabilities are differences of logits."""
        margin: Floats = self.log_p - _log(self.other)
        return margin


def _log(p: NDArray[Any]) -> Floats:
    """log2, float64; of ``FLOOR`` below it."""
    logs: Floats = np.log2(np.maximum(p, FLOOR, dtype=np.float64))
    return logs


class Term(NamedTuple):
    """A number per classifier and example; bool [E] where it is counted, else float [E] below 2**31
    in size. ``unit``: the sum's 1."""

    of: Callable[[Given], NDArray[Any]]
    unit: float = FIXED_ONE


def margin_over_prior(given: Given) -> Floats:
    """Logit margin of p(k) / pi(k), pi the shares of the given labels, in bits, float64 [E].

    The largest other ratio is looked for among the five most probable classes. A class outside
    them may have a larger one where the fifth probability divided by its share exceeds it; the
    margin is then too high by at most the logarithm of that quotient. With equal shares, and up
    to five classes, it cannot happen.
    """
    classes, p, hits = given.places
    # 1 / pi; 0 for a class that no example has and for class -1, which pads: no ratio for them
    weight = np.append(
        np.exp(
            -given.log_prior, where=given.log_prior > -np.inf, out=np.zeros(len(given.log_prior))
        ),
        0.0,
    )
    ratios = np.maximum(p, FLOOR)
    ratios *= weight.take(classes)
    ratios *= ~hits
    best = ratios.max(axis=0)
    own = weight.take(given.label) * np.maximum(given.p_label, FLOOR)
    # no other class has an example: there is nothing to be taken for
    quotient = np.divide(own, best, out=np.full(len(own), _MOST), where=best > 0)
    margin: Floats = np.log2(np.clip(quotient, 1 / _MOST, _MOST, out=quotient), out=quotient)
    return margin


def error_norm(given: Given) -> Floats:
    """Euclidean norm of p - onehot(label), float64 [E] in [0, 2**.5].

    What lies outside the five most probable classes (and the label) is taken to be spread evenly
    over them: the least it can add. It adds at most its sum times the fifth probability to the
    square, which is 0 up to five classes.
    """
    classes, p, hits = given.places
    others = np.where(hits, 0.0, p)  # [5, E]
    own = given.p_label.astype(np.float64)
    rest = np.maximum(1.0 - own - others.sum(axis=0), 0.0)
    listed = (classes >= 0).sum(axis=0) + ~hits.any(axis=0)
    left = np.maximum(len(given.log_prior) - listed, 0)
    spread = np.divide(rest**2, left, out=np.zeros(len(own)), where=left > 0)
    squares = (others**2).sum(axis=0) + spread + (1.0 - own) ** 2
    norm: Floats = np.sqrt(np.minimum(squares, 2.0))
    return norm


TERMS: Final[dict[str, Term]] = {
    "wrong": Term(lambda given: given.wrong, unit=1.0),
    "entropy": Term(lambda given: given.entropy),
    "p_label": Term(lambda given: given.p_label),
    "margin": Term(lambda given: given.margin),
    "log_p": Term(lambda given: given.log_p),
    "log_margin": Term(lambda given: given.log_margin),
    "log_margin_prior": Term(margin_over_prior),
}


class Course(NamedTuple):
    """A number per training and example, from its snapshots in the order of their epochs.

    It is added up over the trainings of two snapshots or more that are known to have trained on
    the example and answered it at each.

    Attributes:
        keep: what is kept of a snapshot's answers until all are there, [E].
        of: from these, [S, E], the number, [E]: whole, or float below 2**31 in size.
        unit: the sum's 1.
        first: whether the first snapshot is enough; [1, E] then.
    """

    keep: Callable[[Given], NDArray[Any]]
    of: Callable[[NDArray[Any]], NDArray[Any]]
    unit: float = FIXED_ONE
    first: bool = False


def times_forgotten(right: NDArray[Any]) -> Ints:
    """Steps from right to wrong of [S, E]; S where it was right at none, more than any other can
    have."""
    forgotten: Ints = (right[:-1] & ~right[1:]).sum(axis=0, dtype=np.int64)
    return np.where(right.any(axis=0), forgotten, len(right))


COURSES: Final[dict[str, Course]] = {
    "area_under_margin": Course(
        lambda given: given.log_margin, lambda margins: margins.mean(axis=0)
    ),
    "forgotten": Course(lambda given: ~given.wrong, times_forgotten, unit=1.0),
    "first_error_norm": Course(error_norm, lambda norms: norms[0], first=True),
}


@dataclass(frozen=True)
class Sums:
    """What was added up over the classifiers of a population for E examples.

    A sum is named by its term, over all classifiers that answered; ``term@heldout`` over those
    known not to have been trained on the example, ``term@insample`` over those known to have been.
    A course's sum is over trainings, whose number is ``trainings``.

    Attributes:
        num_classes: M.
        labels: int64 [E], -1 = unknown.
        totals: int64 [E] by ``n`` (classifiers) or term, with ``@heldout`` and ``@unknown``
            (membership) beside where a score asked for it.
        most_voted: classes and votes, int64 [E, 5], in the order of votes, then summed probability,
            then index; -1 where fewer got one.
        most_uncertain: classes and sums of -p log2 p over the answers' five most probable classes,
            int64 [E, 5]; fixed-point.
        probability: sums of the answers' five largest probabilities by class, int64 [E, M];
            fixed-point.
        courses: names of the sums that are over trainings.
    """

    num_classes: int
    labels: Ints
    totals: Mapping[str, Ints]
    units: Mapping[str, float]
    most_voted: tuple[Ints, Ints]
    most_uncertain: tuple[Ints, Ints]
    probability: Ints
    courses: frozenset[str] = frozenset()

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
        """int64 [E]: how many classifiers (trainings, of a course) the sum of that name is over."""
        if name in self.courses:
            return self["trainings"]
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


def logit_margin(sums: Sums) -> Floats:
    """Mean over the classifiers of log p(label) minus the largest other log p."""
    return _NATS * sums.mean("log_margin")


def logit_margin_heldout(sums: Sums) -> Floats:
    """The same over the held-out classifiers."""
    return _NATS * sums.mean("log_margin@heldout")


def logit_margin_prior(sums: Sums) -> Floats:
    """Logit margin of p(k) divided by the share of the examples that carry label k."""
    return _NATS * sums.mean("log_margin_prior")


def mean_log_p(sums: Sums) -> Floats:
    """Mean log2 p(label): minus the cross-entropy, "small loss" where the population is one
    network."""
    return sums.mean("log_p")


def mean_log_p_heldout(sums: Sums) -> Floats:
    """The same over the held-out classifiers."""
    return sums.mean("log_p@heldout")


def label_perplexity(sums: Sums) -> Floats:
    """2 ** -mean log2 p(label): the number of classes among which guessing would do as badly."""
    perplexity: Floats = np.exp2(-mean_log_p(sums))
    return perplexity


def mutual_information(sums: Sums) -> Floats:
    """Entropy of the mean of all answers minus the mean of their entropies: what the classifiers
    disagree about, without what they all doubt.

    The second is exact. Of the mean the five largest probabilities of each answer are known; the
    share R that lies outside them is spread evenly. Off by at most R log2(M - 1) + h(R) bits (h:
    binary entropy; Audenaert's inequality, R being at least the distance in total variation), and
    .004 log2 M for float16: nothing but that up to five classes.
    """
    there = sums["n"][:, None] > 0
    mean = np.full(sums.probability.shape, np.nan)
    np.divide(sums.probability, sums["n"][:, None] * FIXED_ONE, out=mean, where=there)
    mean += np.maximum(1.0 - mean.sum(axis=1, keepdims=True), 0.0) / sums.num_classes
    logs = np.zeros_like(mean)
    np.log2(mean, out=logs, where=mean > 0)
    bits = -np.einsum("em,em->e", mean, logs) - sums.mean("entropy", needs_label=False)
    shared: Floats = np.clip(bits, 0.0, np.log2(sums.num_classes))
    return shared


def memorisation_gap(sums: Sums) -> Floats:
    """Mean p(label) of the classifiers that were trained on the example minus that of the held-out
    ones."""
    return sums.mean("p_label@insample") - sums.mean("p_label@heldout")


def data_oob(sums: Sums) -> Floats:
    """Share of the held-out classifiers that give the label: 1 - X over them."""
    return 1.0 - x_heldout(sums)


def aum(sums: Sums) -> Floats:
    """Area under the margin: logit margin averaged over the snapshots of a training, then over the
    trainings.

    The source takes every epoch of one training; here it is the epochs that were kept. Its margin
    is of logits, and so is ours: normalising takes the same number from all of a row.
    """
    return _NATS * sums.mean("area_under_margin")


def forgetting(sums: Sums) -> Floats:
    """How often the label was right at a snapshot and wrong at the next, mean over trainings.

    Where a training never had it right, the number of its snapshots is counted: the source ranks
    what was never learnt before all that was forgotten.
    """
    return sums.mean("forgotten")


def el2n(sums: Sums) -> Floats:
    """Norm of p - onehot(label) at the first snapshot, mean over trainings."""
    return sums.mean("first_error_norm")


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
    voted = sums.probability.any(axis=1)
    return np.where(voted, sums.probability.argmax(axis=1), np.int64(-1))


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
        courses: courses of its own, likewise.
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
    courses: Mapping[str, Course] = field(default_factory=dict)
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
_SNAPSHOTS: Final = _BOTH | frozenset[Need]({"snapshots"})

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
        "logit_margin": Score(
            logit_margin,
            "mean of log p(label) minus the largest other log p [nats]; p below 2 ** -24 counts as"
            " that",
            "-16.64 to 16.64",
            ("log_margin",),
            _LABELS,
            side=-1,
            source="Pickler, Kamassury & Silva, Benchmarking noisy label detection methods (2025)",
        ),
        "logit_margin_heldout": Score(
            logit_margin_heldout,
            "the same over the held-out classifiers [nats]",
            "-16.64 to 16.64",
            ("log_margin@heldout",),
            _BOTH,
            side=-1,
        ),
        "logit_margin_prior": Score(
            logit_margin_prior,
            "logit margin of p(k) / (share of the examples with label k), k among the answers' five"
            " most probable classes [nats]",
            "-33.28 to 33.28",
            ("log_margin_prior",),
            _LABELS,
            side=-1,
            source="Menon et al., Long-tail learning via logit adjustment (2021)",
        ),
        "mean_log_p": Score(
            mean_log_p,
            "mean log2 p(label), minus the cross-entropy; p below 2 ** -24 counts as that [bits]",
            "-24 to 0",
            ("log_p",),
            _LABELS,
            side=-1,
        ),
        "mean_log_p_heldout": Score(
            mean_log_p_heldout,
            "the same over the held-out classifiers [bits]",
            "-24 to 0",
            ("log_p@heldout",),
            _BOTH,
            side=-1,
        ),
        "label_perplexity": Score(
            label_perplexity,
            "2 ** -mean log2 p(label)",
            "1 to 16777216",
            ("log_p",),
            _LABELS,
            side=+1,
        ),
        "mutual_information": Score(
            mutual_information,
            "entropy of the mean answer minus mean entropy [bits]: disagreement without common"
            " doubt; what lies outside the answers' five classes is taken as spread evenly",
            "0 to log2 M",
            ("entropy",),
            side=+1,
            source="Houlsby et al., Bayesian active learning (2011)",
        ),
        "memorisation_gap": Score(
            memorisation_gap,
            "mean p(label) of classifiers that trained on it minus that of held-out ones",
            "-1 to 1",
            ("p_label@insample", "p_label@heldout"),
            _BOTH,
            side=+1,
            source="Feldman & Zhang, What neural networks memorize and why (2020)",
        ),
        "data_oob": Score(
            data_oob,
            "Data-OOB's value: share of the held-out classifiers that give the label, 1 - X over"
            " them",
            "0 to 1",
            ("wrong@heldout",),
            _BOTH,
            side=-1,
            source="Kwon & Zou, Data-OOB (2023)",
        ),
        "aum": Score(
            aum,
            "area under the margin: logit margin at the snapshots of a training that trained on"
            " it, mean over these, then over trainings of two snapshots or more [nats]",
            "-16.64 to 16.64",
            ("area_under_margin",),
            _SNAPSHOTS,
            side=-1,
            source="Pleiss et al., Identifying mislabeled data using the area under the margin"
            " ranking (2020)",
        ),
        "forgetting": Score(
            forgetting,
            "times that it was right at a snapshot and wrong at the next (never right: the number"
            " of snapshots), mean over the same trainings",
            "0 to S",
            ("forgotten",),
            _SNAPSHOTS,
            side=+1,
            source="Toneva et al., An empirical study of example forgetting (2019)",
        ),
        "el2n": Score(
            el2n,
            "norm of p - onehot(label) at the first snapshot, mean over the same trainings; what"
            " lies outside the answers' five classes is taken as spread evenly",
            "0 to 1.4143",
            ("first_error_norm",),
            _SNAPSHOTS,
            side=+1,
            source="Paul, Ganguli & Dziugaite, Deep learning on a data diet (2021)",
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

TOGETHER: Final = {"confident_issues": -1, "pooled_log_margin": +1, "small_loss": +1}
"""What selections may rank by beside ``SIDES``: no columns of the table, but worked out of kept
logits when they are asked for, see ``zoo.scores.together``. confident_issues: what confident
learning flags, then the rest; pooled_log_margin: of weighted probabilities, each class measured by
its own usual confidence; small_loss: of one network."""

SINGLE: Final = {"single_el2n": +1, "single_forgetting": +1, "single_aum": -1, "single_loss": +1}
"""The same of one training beside the population with every epoch a snapshot, as their sources take
them (``zoo.spec.Experiment.single``): EL2N at the first epoch, forgetting and AUM over all, and the
loss of its best epoch by test accuracy."""

_APART: Final = {name for name, score in SCORES.items() if score.apart} | {
    "cleanlab_issues_heldout",
    "confident_issues",
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
    suspicious: Floats = (DETECTORS | TOGETHER | SINGLE)[name] * values
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
