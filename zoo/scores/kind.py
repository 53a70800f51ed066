"""Logits or probabilities: one rule, for arrays, for files and for imports.

A softmax turns both into something that looks like a result, so a wrong guess is silent: C of 9.6
in place of 2.7. The rule therefore guesses only where nothing speaks against the guess, and asks
otherwise.

===============================================================  ============  ========================================================
what the rows of finite numbers [n, M] are                       ``auto``      ``probs`` was said
===============================================================  ============  ========================================================
all in [0, 1] with sum 1 +- 0.001                                probs         taken as they are
most: -0.001 or more, sum 1 +- 0.05 (rounded to two digits,      refused       negatives become 0, rows are divided by their sum; both
computed in bfloat16, a negative -1e-9, a damaged row)                         are counted, so that they can be said
all in [0, 1], sums elsewhere (sigmoids, sums over classifiers)  refused       refused
anything else                                                    logits        refused
===============================================================  ============  ========================================================

Letters: E examples, M classes.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ROUNDING",
    "SLACK",
    "Evidence",
    "Kind",
    "clipped",
    "distribution_rows",
    "nearly_distribution_rows",
]

Kind = Literal["logits", "probs"]

SLACK: Final = 1e-3
"""How far a sum of probabilities may lie from 1, and a number below 0 or above 1, unquestioned:
float32 and three digits stay within."""

ROUNDING: Final = 0.05
"""How far a sum may lie from 1 where probabilities were said: ten classes in two digits are off by
at most that, bfloat16 by a fifth of it."""


def _sums(values: NDArray[Any]) -> NDArray[np.float64]:
    """Row sums in float64: float16 rows of 1,000 classes would drift."""
    with np.errstate(invalid="ignore", over="ignore"):
        sums: NDArray[np.float64] = values.sum(axis=1, dtype=np.float64)
    return sums


def distribution_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [E]: rows of float [E, M] in [0, 1] whose sum is 1 within ``SLACK``."""
    low, high = values.min(axis=1) >= 0, values.max(axis=1) <= 1 + SLACK
    rows: NDArray[np.bool_] = low & high & (np.abs(_sums(values) - 1.0) <= SLACK)
    return rows


def nearly_distribution_rows(values: NDArray[Any]) -> NDArray[np.bool_]:
    """bool [E]: rows that ``clipped`` and divided by their sum are the distribution they were meant
    to be."""
    low = values.min(axis=1) >= -SLACK
    rows: NDArray[np.bool_] = low & (np.abs(_sums(clipped(values)) - 1.0) <= ROUNDING + 1e-9)
    return rows


def clipped(values: NDArray[Any]) -> NDArray[Any]:
    """Probabilities without negatives; the array itself where it has none."""
    return (
        values if not values.size or values.min() >= 0 else np.maximum(values, values.dtype.type(0))
    )


@dataclass
class Evidence:
    """What has been seen of one classifier's numbers, block by block.

    Attributes:
        rows: rows of finite numbers.
        exact, nearly: of these, distributions, and those that are at least nearly so.
        inside: rows with all numbers in [0, 1] and one above 0, whatever their sum.
        negative, uneven: rows with a number below 0, and with a sum off by more than ``SLACK``,
            among those that are nearly distributions.
        off: largest distance of such a sum from 1.
        odd: (place, lowest, highest, sum) of the first row that is no distribution; None if all
            are.
        wrong: the same of the first row that is not even nearly one.
    """

    rows: int = 0
    exact: int = 0
    nearly: int = 0
    inside: int = 0
    negative: int = 0
    uneven: int = 0
    off: float = 0.0
    odd: tuple[int, float, float, float] | None = None
    wrong: tuple[int, float, float, float] | None = None

    def add(self, values: NDArray[Any], start: int = 0) -> Evidence:
        """Look at rows start, start + 1, ... of float [n, M]. Rows with a NaN or an infinity say
        nothing."""
        places = np.flatnonzero(np.isfinite(values).all(axis=1))
        values = values if len(places) == len(values) else values[places]
        if not len(values):
            return self
        exact = distribution_rows(values)
        self.rows += len(values)
        self.exact += int(exact.sum())
        if exact.all():
            self.nearly += len(values)
            self.inside += len(values)
            return self
        nearly = exact | nearly_distribution_rows(values)
        low, high = values.min(axis=1), values.max(axis=1)
        distance = np.abs(_sums(clipped(values)) - 1.0)
        uneven = nearly & (distance > SLACK)
        self.nearly += int(nearly.sum())
        self.inside += int(((low >= 0) & (high <= 1) & (high > 0)).sum())
        self.negative += int((nearly & (low < 0)).sum())
        self.uneven += int(uneven.sum())
        self.off = max(self.off, float(distance[uneven].max(initial=0.0)))
        self.odd = self.odd or _first(values, ~exact, places + start)
        self.wrong = self.wrong or _first(values, ~nearly, places + start)
        return self

    @property
    def kind(self) -> Kind | None:
        """What the numbers are, or None where only the one who made them knows."""
        if self.rows and self.exact == self.rows:
            return "probs"
        return (
            None
            if self.rows and (2 * self.nearly > self.rows or self.inside == self.rows)
            else "logits"
        )

    @property
    def seen(self) -> str:
        """What speaks against probabilities, for messages: the first row that is none."""
        place, low, high, total = self.odd or (0, 0.0, 1.0, 1.0)
        return (
            f"example {place} has values {low:g} to {high:g} with sum {total:g}, {self.exact} of"
            f" {self.rows} rows are probabilities"
        )

    @property
    def repairs(self) -> str:
        """What ``clipped`` and the division by the sum change, as one line; empty if nothing."""
        parts = []
        if self.negative:
            parts.append(f"{self.negative:,} rows with negatives down to -{SLACK:g}, set to 0")
        if self.uneven:
            parts.append(
                f"{self.uneven:,} rows with a sum off by up to {self.off:.2g}, divided by their sum"
            )
        return f"{' and '.join(parts)} (of {self.rows:,})" if parts else ""

    def question(self, who: str, option: str) -> str:
        """The message where ``kind`` is None. ``option``: how a kind is said, with ``{}`` in its
        place, such as ``--kind {}``."""
        return (
            f"{who} look like probabilities, but not all rows sum to 1: {self.seen} (1 +-"
            f" {SLACK:g}). Logits and probabilities give different scores, so this is not guessed."
            f" Say {option.format('probs')}: negatives up to {SLACK:g} become 0 and rows are"
            f" divided by their sum, if that is within {ROUNDING:.0%} of 1; or"
            f" {option.format('logits')}: a softmax is taken."
        )


def _first(
    values: NDArray[Any], chosen: NDArray[np.bool_], places: NDArray[np.int64]
) -> tuple[int, float, float, float] | None:
    if not chosen.any():
        return None
    row = int(np.flatnonzero(chosen)[0])
    return (
        int(places[row]),
        float(values[row].min()),
        float(values[row].max()),
        float(values[row].sum(dtype=np.float64)),
    )
