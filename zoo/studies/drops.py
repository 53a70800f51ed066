"""What a damage costs at the settings of its grid: findings of a study of damaged training sets.

Measures are arrays with one number per seed; a drop is the baseline's accuracy minus the point's,
as a fraction. An aspect and its settings are those of ``zoo.studies.points.Point``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zoo.studies.claims import (
    Finding,
    NetworkMeasure,
    NotTested,
    above,
    all_of,
    any_of,
    below,
    between,
    each_text,
    mean_over,
    points_text,
)
from zoo.studies.measures import size_of
from zoo.studies.outcomes import Outcomes
from zoo.studies.wrong_labels import require_memorised

__all__ = [
    "better_than",
    "costs",
    "costs_little",
    "darker_is_worse",
    "knee",
    "small_suffer_more",
    "some_factor_costs",
    "stronger_is_worse",
]


def costs(
    aspect: str,
    least: float,
    *,
    settings: Sequence[float] = (),
    over: float = -np.inf,
    said: str = "",
    mean: bool = False,
    memorised: bool = False,
) -> NetworkMeasure:
    """At each of some settings the drop is above ``least``. Measured: that at the smallest one.

    Args:
        settings: which; none = all over ``over``.
        said: how the note names a setting, such as ``p = {:.0%}``; "" = it lists none.
        mean: measured is the mean over the settings instead.
        memorised: not tested where these are wrong labels that were not memorised.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        chosen = settings or [s for s in outcomes.settings(aspect) if s > over]
        if memorised:
            require_memorised(outcomes, aspect, chosen, arch=arch)
        drops = {s: outcomes.drop(aspect, s, arch=arch) for s in chosen}
        named = {f"{said.format(s)}:": drop for s, drop in drops.items()}
        return Finding(
            all_of([above(drop, least) for drop in drops.values()]),
            mean_over(drops) if mean else drops[min(drops)],
            note=f"Drop: {each_text(named, between=', ')}." if said else "",
        )

    return measure


def costs_little(aspect: str, half: float, tenth: float) -> NetworkMeasure:
    """Half of the training set costs less than ``half``, nine tenths of it less than ``tenth``.
    Measured: the drop at nine tenths."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        at_half, at_tenth = (outcomes.drop(aspect, share, arch=arch) for share in (0.5, 0.9))
        note = (
            f"Drop at 50 % deleted {points_text(at_half)}, at 90 % deleted {points_text(at_tenth)}."
        )
        parts = [below(at_half, half), below(at_tenth, tenth)]
        return Finding(all_of(parts), at_tenth, note=note)

    return measure


def better_than(aspect: str, first: float, second: float | None = None) -> NetworkMeasure:
    """Accuracy at one setting is above that at another, or above the baseline's. Measured: by how
    much."""

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        other = ("baseline", 0.0) if second is None else (aspect, second)
        gain = outcomes.acc(aspect, first, arch=arch) - outcomes.acc(*other, arch=arch)
        return Finding(above(gain, 0.0), gain)

    return measure


def darker_is_worse(outcomes: Outcomes, arch: str) -> Finding:
    """A gamma over 1 costs more than its inverse, at 2 and at 4. Measured: the mean difference."""
    gaps = [
        outcomes.acc("gamma", 1 / g, arch=arch) - outcomes.acc("gamma", g, arch=arch)
        for g in (2.0, 4.0)
    ]
    note = (
        f"Gamma 0.5 against 2: {points_text(gaps[0])}; 0.25 against 4: {points_text(gaps[1])} in"
        " favour of brightening."
    )
    return Finding(all_of([above(gap, 0.0) for gap in gaps]), np.mean(gaps, axis=0), note=note)


def small_suffer_more(
    aspect: str, baseline: str, native: tuple[str, float], side: float
) -> NetworkMeasure:
    """The drop falls with the side of the pictures, at each step. Measured: that at the smallest.

    Args:
        aspect: of which the settings are sides; ``baseline``: its own, undamaged at each side.
        native: the same damage at the pictures' own side, ``side``.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        drops = {
            s: outcomes.drop(aspect, s, arch=arch, baseline=(baseline, s))
            for s in outcomes.settings(aspect)
        }
        drops[side] = outcomes.drop(*native, arch=arch)
        sides = sorted(drops)
        named = {f"{s:g} pixels": drops[s] for s in sides}
        return Finding(
            all_of([above(drops[a] - drops[b], 0.0) for a, b in pairwise(sides)]),
            drops[sides[0]],
            note=f"Drop at sigma {native[1]:g}: {each_text(named, between=', ')}.",
        )

    return measure


# ---------------------------------------------------------------- size


def knee(*, images: int | None = None, share: float = 0.0) -> NetworkMeasure:
    """Under a size of the training set accuracy gains at least twice as much per doubling as over
    it. Measured: the slope under it minus twice that over it.

    Args:
        images: that size; not tested where the whole training set is no larger.
        share: of the whole training set, where no number is given.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        full = size_of(outcomes, "baseline", 0.0, arch=arch)
        if images is not None and full <= images:
            raise NotTested(
                f"The largest training set has {full:,} images; the claim is about more and fewer"
                f" than {images:,}"
            )
        return _slopes(outcomes, arch, round(share * full) if images is None else images)

    return measure


def _slopes(outcomes: Outcomes, arch: str, knee: int) -> Finding:
    points = [("baseline", 0.0), *(("delete", s) for s in outcomes.settings("delete"))]
    at = {size_of(outcomes, *point, arch=arch): outcomes.acc(*point, arch=arch) for point in points}
    below_knee, above_knee = sorted(n for n in at if n <= knee), sorted(n for n in at if n >= knee)
    if len(below_knee) < 2 or len(above_knee) < 2:
        raise NotTested(f"The grid has fewer than two sizes on each side of {knee:,}")

    def slope(ns: Sequence[int]) -> NDArray[np.float64]:
        fit = np.polyfit(np.log2(ns), np.stack([at[n] for n in ns]), 1)
        return np.asarray(fit[0], dtype=np.float64)

    under, over = slope(below_knee), slope(above_knee)
    note = (
        f"Points per doubling: {points_text(under)} up to {knee:,} images, {points_text(over)} from"
        " there on."
    )
    return Finding(above(under - 2 * over, 0.0), under - 2 * over, note=note)


# ---------------------------------------------------------------- contrast


def some_factor_costs(aspect: str, low: float, high: float, *, weaker: bool) -> NetworkMeasure:
    """At some factor under 1 (``weaker``) or over it the drop lies between low and high; fails if
    at all of them it lies outside. Measured: the drop at the strongest.

    Of the stronger ones it is noted from which on 67 % is reached, the paper's number.
    """

    def measure(outcomes: Outcomes, arch: str) -> Finding:
        factors = [k for k in outcomes.settings(aspect) if (k < 1) == weaker]
        drops = {k: outcomes.drop(aspect, k, arch=arch) for k in factors}
        named = {f"k = {k:g}:": drop for k, drop in drops.items()}
        note = f"Drop by factor: {each_text(named, between=', ')}."
        if not weaker:
            under = [k for k in factors if float(outcomes.acc(aspect, k, arch=arch).mean()) <= 0.67]
            note += (
                f" 67 % is reached from k = {min(under):g} on."
                if under
                else " 67 % is reached at no k of the grid."
            )
        strongest = min(factors) if weaker else max(factors)
        return Finding(
            any_of([between(drop, low, high) for drop in drops.values()]),
            drops[strongest],
            note=note,
        )

    return measure


def stronger_is_worse(outcomes: Outcomes, arch: str) -> Finding:
    """Contrasts over 1, clipped and finite, cost more than those under it, in the mean. Measured:
    the difference."""
    factors = [k for k in outcomes.settings("contrast") if np.isfinite(k)]
    weaker, stronger = (
        np.mean(
            [outcomes.drop("contrast", k, arch=arch) for k in factors if (k < 1) == side], axis=0
        )
        for side in (True, False)
    )
    note = (
        f"Mean drop of the weaker contrasts {points_text(weaker)}, of the stronger ones"
        f" {points_text(stronger)} (clipped)."
    )
    return Finding(above(stronger - weaker, 0.0), stronger - weaker, note=note)
