"""Statistics: intervals over seeds, tests, ranks and rank correlation, measures of detection, power
laws.

All p are two-sided: an inequality whose p is under .05 is one whose 95 % interval lies on one side
of the threshold.
Shape letters of the tests: k groups (classes), n blocks (seeds).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from zoo.arrays import Floats
from zoo.errors import UsageError

__all__ = [
    "PowerLaw",
    "Spread",
    "auroc",
    "average_precision",
    "blocks",
    "correlation",
    "holm",
    "kappa",
    "mean_interval",
    "mean_square",
    "midranks",
    "p_above",
    "paired_interval",
    "power_law",
    "rank_correlation",
    "rank_interval",
    "same_length",
    "welch_interval",
    "wilson_interval",
]


_CONFIDENCE: Final = 0.95


def same_length(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    arrays = tuple(np.asarray(a) for a in arrays)
    if any(a.ndim != 1 or a.shape != arrays[0].shape for a in arrays):
        raise UsageError(
            f"arrays have shapes {', '.join(str(a.shape) for a in arrays)}. Allowed: all [E], the"
            " same examples in the same order. Join them by example_id first."
        )
    return arrays


# ---------------------------------------------------------------------------------------- agreement


def kappa(first: Sequence[object], second: Sequence[object]) -> float:
    """Cohen's kappa of two reviewers over the same n things: (p_o - p_e) / (1 - p_e), p_o the share
    they agree on, p_e what two would who choose as often, but at random. NaN where n is 0 or
    chance alone agrees on all.

    Source: Cohen 1960, A coefficient of agreement for nominal scales.
    """
    n = len(first)
    if n != len(second):
        raise UsageError(
            f"kappa: {n} and {len(second)} judgements. Allowed: as many of both, of the same"
            " things. Leave out what one has not judged."
        )
    if not n:
        return float("nan")
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    often = [Counter(values) for values in (first, second)]
    chance = sum(count * often[1][value] for value, count in often[0].items()) / n**2
    return (agreed - chance) / (1 - chance) if chance < 1 else float("nan")


# ---------------------------------------------------------------------------------------- intervals


def mean_interval(values: Sequence[float] | NDArray[Any]) -> tuple[float, float, float]:
    """Mean and 95 % confidence interval: mean +- t(0.975, n - 1) * sd / sqrt(n), sd with n - 1.

    Args:
        values: n numbers; NaN are left out.

    Returns:
        (mean, low, high); bounds NaN for n = 1, all NaN for n = 0.
    """
    x = np.asarray(values, dtype=np.float64)
    x = x[~np.isnan(x)]
    if not len(x):
        return float("nan"), float("nan"), float("nan")
    if len(x) == 1:
        return float(x[0]), float("nan"), float("nan")
    mean = float(x.mean())
    half = _t_quantile(len(x) - 1) * float(x.std(ddof=1)) / len(x) ** 0.5
    return mean, mean - half, mean + half


def paired_interval(
    a: Sequence[float] | NDArray[Any], b: Sequence[float] | NDArray[Any]
) -> tuple[float, float, float]:
    """``mean_interval`` of a - b, pair by pair (same seed); pairs with a NaN are left out.

    Raises:
        UsageError: lengths that differ.
    """
    x, y = same_length(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return mean_interval(x - y)


def welch_interval(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Difference of two independent means with its 95 % interval (Welch 1947); bounds NaN where a
    side has one value."""
    delta = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return delta, float("nan"), float("nan")
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if va + vb == 0:
        return delta, delta, delta
    degrees = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = _t_quantile(degrees) * (va + vb) ** 0.5
    return delta, delta - half, delta + half


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, from ``successes`` of ``n``; within [0, 1] also at the ends. NaN
    for n = 0.

    Source: Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if not n:
        return float("nan"), float("nan")
    z = _normal_quantile()
    share, weight = successes / n, z * z / n
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * (share * (1 - share) / n + weight / (4 * n)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _normal_quantile() -> float:
    """Two-sided 95 % point of the normal distribution: 1.96."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + _CONFIDENCE / 2))


def _t_quantile(degrees: float) -> float:
    """Two-sided 95 % point of Student's t."""
    from scipy.special import stdtrit  # 0.2 s to import; scipy.stats would be 1 s

    return float(stdtrit(degrees, 0.5 + _CONFIDENCE / 2))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation of two rank vectors, hence Spearman's of the values; NaN if one is
    constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / scale, -1.0, 1.0)) if scale else float("nan")


def holm(p: Sequence[float] | NDArray[Any]) -> Floats:
    """p of m tests adjusted for their number, float64 [m]: step down, the k-th smallest times
    m - k + 1, none below the one before it, 1 at most (Holm, Scand. J. Stat. 6 (1979) 65). NaN
    stays NaN and counts for nothing."""
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def midranks(values: NDArray[Any]) -> Floats:
    """Ranks 1..E of float [E] in ascending order; equal values share the mean of their ranks.
    float64 [E], multiples of 1/2."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = (last - (counts - 1) / 2.0)[inverse]
    return middle


def auroc(suspicion: NDArray[Any], is_error: NDArray[np.bool_]) -> float:
    """Probability that a random error is more suspicious than a random correct example, ties
    counting a half.

    Args:
        suspicion: float [E], high = suspicious, no NaN.
        is_error: bool [E].

    Returns:
        0..1; NaN if there is no error or nothing but errors.
    """
    is_error = np.asarray(is_error, dtype=bool)
    errors = int(is_error.sum())
    correct = len(is_error) - errors
    if not errors or not correct:
        return float("nan")
    u = midranks(suspicion)[is_error].sum() - errors * (errors + 1) / 2.0
    return float(u / (errors * correct))


def average_precision(suspicion: NDArray[Any], is_error: NDArray[np.bool_]) -> float:
    """Sum over distinct scores, from the most suspicious down, of (step in recall) * precision
    there; no interpolation.

    Args and NaN as ``auroc``.
    """
    is_error = np.asarray(is_error, dtype=bool)
    errors = int(is_error.sum())
    if not errors or errors == len(is_error):
        return float("nan")
    order = np.argsort(suspicion, kind="stable")[::-1]
    ordered = np.asarray(suspicion)[order]
    # last place of each distinct score: ties form one threshold
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    found = np.cumsum(is_error[order])[ends]
    steps = np.diff(found, prepend=0)
    return float(np.sum(steps * (found / (ends + 1))) / errors)


# -------------------------------------------------------------------------------------------- tests

_STEPS = 1000
"""Quantiles of the noise that a p is averaged over."""

_LARGE = 5000.0
"""Noncentrality beyond which the root of a chi-square counts as normal: then to four digits."""

_DIGITS = 12
"""Differences of accuracies are compared after rounding to this many decimals: 0.8 - 0.75 is not
above 0.05."""


def p_above(values: ArrayLike, threshold: float) -> float:
    """How far chance alone explains that the mean of n values lies above a threshold: p of
    Student's t, 1 where it does not.

    Under .05 exactly where the whole 95 % interval of the mean lies above the threshold. One value
    decides nothing (1); n equal values decide at once (0).
    """
    from scipy.special import stdtr  # scipy.stats would take a second to import

    x = np.round(np.asarray(values, dtype=np.float64) - threshold, _DIGITS)
    if len(x) < 2 or not x.mean() > 0:
        return 1.0
    error = float(x.std(ddof=1)) / len(x) ** 0.5
    return 2 * float(stdtr(len(x) - 1, -float(x.mean()) / error)) if error else 0.0


@dataclass(frozen=True)
class Spread:
    """How far the means of k groups lie apart (or from 0), against the noise of their values.

    Args:
        size: estimate of the true spread, noise taken off (0 where the noise explains all of it),
            in the unit of the values.
        noise: sd of a single value.
        p: p that there is no spread at all (analysis of variance).
    """

    size: float
    noise: float
    p: float
    # of the groups' means, times n; noise**2 * chi-square with _df[0] degrees of freedom and
    # noncentrality
    _squares: float
    _weight: int  # noncentrality = _weight * true spread**2 / noise**2
    _df: tuple[int, int]

    def p_under(self, margin: float) -> float:
        """p of a true spread as large as the margin: under .05 where the 95 % interval of the
        spread ends under it.

        Means that by luck lie closer together than their own noise puts them count as lying as far
        apart as it does on average: values too noisy to tell a spread of the margin from none never
        come out as equal.
        """
        return min(
            1.0, 2 * self._share_below(margin, max(self._squares, self._df[0] * self.noise**2))
        )

    def p_over(self, margin: float) -> float:
        """p of a true spread no larger than the margin: under .05 where the 95 % interval of the
        spread begins over it."""
        return min(1.0, 2 * (1 - self._share_below(margin, self._squares)))

    def _share_below(self, margin: float, squares: float) -> float:
        """P(squares as small as these are found, were the true spread the margin), averaged over
        what the true noise may be.

        Source: generalised p: Weerahandi, Exact Statistical Methods for Data Analysis (1995),
            chapter 5. At margin 0 it is the F test.
        """
        from scipy.special import chndtr, gammaincinv, ndtr

        quantiles = (np.arange(_STEPS) + 0.5) / _STEPS
        variance = self.noise**2 * self._df[1] / (2 * gammaincinv(self._df[1] / 2, quantiles))
        found, shift = squares / variance, self._weight * margin**2 / variance
        large = shift > _LARGE
        small = chndtr(found[~large], self._df[0], shift[~large])
        root = np.sqrt(shift[large])
        # chndtr gives NaN there
        normal = ndtr(np.sqrt(found[large]) - root - (self._df[0] - 1) / (2 * root))
        return float(np.concatenate([small, normal]).mean())


def blocks(groups: Sequence[ArrayLike]) -> Spread:
    """Randomised blocks: do k groups, measured once in each of n blocks, differ? The spread is the
    sd (k - 1) of the groups' means.

    A constant added to all values of a block changes nothing: a baseline that all classes of a seed
    share cancels, as it does not in a one-way analysis of variance.

    Args:
        groups: k arrays of n values, in the same order of blocks; k, n >= 2.

    Source: Fisher, The Design of Experiments (1935), chapter 4.
    """
    x = np.stack([np.asarray(group, dtype=np.float64) for group in groups])
    k, n = x.shape
    residual = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0, keepdims=True) + x.mean()
    return _spread(
        float(x.mean(axis=1).var(ddof=1)),
        float((residual**2).sum()),
        (k - 1, (k - 1) * (n - 1)),
        n,
        k - 1,
    )


def mean_square(groups: Sequence[ArrayLike]) -> Spread:
    """How far the means of k groups of n values lie from 0: The spread is their root mean square.

    Args:
        groups: k arrays of n values; n >= 2.
    """
    x = np.stack([np.asarray(group, dtype=np.float64) for group in groups])
    k, n = x.shape
    residual = x - x.mean(axis=1, keepdims=True)
    return _spread(
        float((x.mean(axis=1) ** 2).mean()), float((residual**2).sum()), (k, k * (n - 1)), n, k
    )


def _spread(between: float, residual: float, df: tuple[int, int], n: int, count: int) -> Spread:
    """``between``: mean square of the groups' means over ``count``; ``residual``: sum of
    squares."""
    from scipy.special import fdtrc

    # values equal to the last digit leave a noise of rounding, not of 0
    variance = max(residual / df[1], 10.0 ** (-2 * _DIGITS))
    return Spread(
        size=max(0.0, between - variance / n) ** 0.5,
        noise=variance**0.5,
        p=float(fdtrc(*df, n * count * between / df[0] / variance)),
        _squares=n * count * between,
        _weight=n * count,
        _df=df,
    )


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; ties get their mean rank. NaN where one side is constant."""
    first, second = (midranks(np.ravel(np.asarray(side, dtype=np.float64))) for side in (a, b))
    return correlation(first, second)


def rank_interval(a: ArrayLike, b: ArrayLike) -> tuple[float, float, float]:
    """Spearman's rank correlation with its 95 % interval over the examples, by Fisher's z with
    variance (1 + rho**2 / 2) / (n - 3). Bounds NaN for n < 4; at rho = +-1 the interval is that
    point.

    Source: Bonett and Wright, Psychometrika 65 (2000) 23.
    """
    rho, n = rank_correlation(a, b), np.size(a)
    if n < 4 or np.isnan(rho):
        return rho, float("nan"), float("nan")
    if abs(rho) > 1 - 1e-12:
        return rho, rho, rho
    half = _normal_quantile() * ((1 + rho * rho / 2) / (n - 3)) ** 0.5
    low, high = np.tanh(np.arctanh(rho) + np.array([-half, half]))
    return rho, float(low), float(high)


@dataclass(frozen=True)
class PowerLaw:
    """error = scale * n ** -exponent, fitted by least squares in log-log; ``r2`` of that fit; ``n``
    and ``error``: what was fitted."""

    scale: float
    exponent: float
    r2: float
    n: NDArray[np.float64]
    error: NDArray[np.float64]

    def at(self, n: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(
            self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent, dtype=np.float64
        )


def power_law(n: ArrayLike, error: ArrayLike) -> PowerLaw:
    """Fit error = scale * n ** -exponent.

    Args:
        n: training-set sizes, positive.
        error: test errors, fractions; zeros and NaN are left out. At least two different n must be
            left.

    Raises:
        ValueError: if they are not.
    """
    x, y = np.asarray(n, dtype=np.float64), np.asarray(error, dtype=np.float64)
    usable = (x > 0) & (y > 0)
    x, y = x[usable], y[usable]
    if len(np.unique(x)) < 2:
        raise ValueError(
            f"a power law needs two sizes with an error over 0; {len(np.unique(x))} given"
        )
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    residual = np.log(y) - (offset + slope * np.log(x))
    spread = float(((np.log(y) - np.log(y).mean()) ** 2).sum())
    r2 = 1 - float((residual**2).sum()) / spread if spread > 0 else float("nan")
    return PowerLaw(float(np.exp(offset)), float(-slope), r2, x, y)
