"""Statistics: intervals over seeds, tests, ranks and rank correlation, measures of detection, power laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zoo.arrays import Floats
from zoo.errors import UsageError

__all__ = [
    "PowerLaw",
    "auroc",
    "average_precision",
    "correlation",
    "f_test",
    "mean_interval",
    "midranks",
    "paired_interval",
    "power_law",
    "rank_correlation",
    "same_length",
    "welch_interval",
]


_CONFIDENCE: Final = 0.95


def same_length(*arrays: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    arrays = tuple(np.asarray(a) for a in arrays)
    if any(a.ndim != 1 or a.shape != arrays[0].shape for a in arrays):
        raise UsageError(
            f"arrays have shapes {', '.join(str(a.shape) for a in arrays)}. Allowed: all [E], the same examples in the same order. "
            f"Join them by example_id first."
        )
    return arrays


# -------------------------------------------------------------------------------------------------------------- intervals


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


def paired_interval(a: Sequence[float] | NDArray[Any], b: Sequence[float] | NDArray[Any]) -> tuple[float, float, float]:
    """``mean_interval`` of a - b, pair by pair (same seed); pairs with a NaN are left out.

    Raises:
        UsageError: lengths that differ.
    """
    x, y = same_length(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    return mean_interval(x - y)


def welch_interval(a: Floats, b: Floats) -> tuple[float, float, float]:
    """Difference of two independent means with its 95 % interval (Welch 1947); bounds NaN where a side has one value."""
    delta = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return delta, float("nan"), float("nan")
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if va + vb == 0:
        return delta, delta, delta
    degrees = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = _t_quantile(degrees) * (va + vb) ** 0.5
    return delta, delta - half, delta + half


def _t_quantile(degrees: float) -> float:
    """Two-sided 95 % point of Student's t."""
    from scipy.special import stdtrit  # 0.2 s to import; scipy.stats would be 1 s

    return float(stdtrit(degrees, 0.5 + _CONFIDENCE / 2))


def correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation of two rank vectors, hence Spearman's of the values; NaN if one is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip((a @ b) / scale, -1.0, 1.0)) if scale else float("nan")


def midranks(values: NDArray[Any]) -> Floats:
    """Ranks 1..E of float [E] in ascending order; equal values share the mean of their ranks. float64 [E], multiples of 1/2."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = (last - (counts - 1) / 2.0)[inverse]
    return middle


def auroc(suspicion: NDArray[Any], is_error: NDArray[np.bool_]) -> float:
    """Probability that a random error is more suspicious than a random correct example, ties counting a half.

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
    """Sum over distinct scores, from the most suspicious down, of (step in recall) * precision there; no interpolation.

    Args and NaN as ``auroc``.
    """
    is_error = np.asarray(is_error, dtype=bool)
    errors = int(is_error.sum())
    if not errors or errors == len(is_error):
        return float("nan")
    order = np.argsort(suspicion, kind="stable")[::-1]
    ordered = np.asarray(suspicion)[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last place of each distinct score: ties form one threshold
    found = np.cumsum(is_error[order])[ends]
    steps = np.diff(found, prepend=0)
    return float(np.sum(steps * (found / (ends + 1))) / errors)


def f_test(groups: Sequence[NDArray[np.float64]]) -> tuple[float, float, float]:
    """(sd between the means of the groups, pooled sd within them, p of the one-way analysis of variance).

    Args:
        groups: one array of equal length (seeds) per class.
    """
    from scipy.special import fdtrc  # scipy.stats would take a second to import

    x = np.stack(groups)  # [classes, seeds]
    k, n = x.shape
    between = float(x.mean(axis=1).std(ddof=1))
    within = float(np.sqrt(x.var(axis=1, ddof=1).mean())) if n > 1 else float("nan")
    if n < 2 or within == 0:
        return between, within, float("nan") if n < 2 else 0.0
    return between, within, float(fdtrc(k - 1, k * (n - 1), n * between**2 / within**2))


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation; ties get their mean rank. NaN where one side is constant."""
    ranks = [pd.Series(np.ravel(np.asarray(side, dtype=np.float64))).rank().to_numpy() for side in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


@dataclass(frozen=True)
class PowerLaw:
    """error = scale * n ** -exponent, fitted by least squares in log-log; ``r2`` of that fit; ``n`` and ``error``: what was fitted."""

    scale: float
    exponent: float
    r2: float
    n: NDArray[np.float64]
    error: NDArray[np.float64]

    def at(self, n: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(self.scale * np.asarray(n, dtype=np.float64) ** -self.exponent, dtype=np.float64)


def power_law(n: ArrayLike, error: ArrayLike) -> PowerLaw:
    """Fit error = scale * n ** -exponent.

    Args:
        n: training-set sizes, positive.
        error: test errors, fractions; zeros and NaN are left out. At least two different n must be left.

    Raises:
        ValueError: if they are not.
    """
    x, y = np.asarray(n, dtype=np.float64), np.asarray(error, dtype=np.float64)
    usable = (x > 0) & (y > 0)
    x, y = x[usable], y[usable]
    if len(np.unique(x)) < 2:
        raise ValueError(f"a power law needs two sizes with an error over 0; {len(np.unique(x))} given")
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    residual = np.log(y) - (offset + slope * np.log(x))
    spread = float(((np.log(y) - np.log(y).mean()) ** 2).sum())
    r2 = 1 - float((residual**2).sum()) / spread if spread > 0 else float("nan")
    return PowerLaw(float(np.exp(offset)), float(-slope), r2, x, y)
