"""Rules over scores that make training sets: a manifest says which example is used, with which
label, how often, with which weight.

Shape letters: E examples, M classes.

A rule is a function ``rule(scores, *, num_classes, resolve, manifest=None, **params) -> manifest``.
It changes the manifest so far (``None`` = every usable example as given), so rules chain:
``build([("below", {"c": 10, "x": 0.7}), ("per_class", {"count": 500})], ...)``. An example without
scores (no classifier could read it) or without a label is never usable, whatever the rule.

Every random choice is keyed by (rule, seed, example), not drawn from a stream: the same example has
the same priority in every manifest with the same seed, so that arms of a comparison share as many
examples as their rules allow.

Source of the rules: "Example perplexity and class label cleaning", sections 3 and 4; ``balance``
and ``weigh``: a later study on the same population. A new rule = one function here and its name in
``RULES``; users write its keyword-only parameters, checked by their annotations.
"""

# ruff: noqa: ARG001 - all rules are called alike; few need all that they are given

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Ints, Mask
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.registry import Registry
from zoo.scores.catalog import SHORT_NAMES, SIDES, suspicion, worst_first
from zoo.spec import Scalar
from zoo.trainsets.conditions import condition, finite_numbers
from zoo.trainsets.steps import Count, Fraction, Step, Within, split_steps

__all__ = [
    "RULES",
    "Rule",
    "build",
    "is_random",
    "manifest_summary",
    "parse",
    "redrawn",
    "scale_c_threshold",
]


Resolve = Callable[[str], Manifest]
_MEAN_SLACK: Final = 1e-6


# ----------------------------------------------------------------------------- manifests and scores


@dataclass(frozen=True)
class _Rows:
    """The manifest so far, and the scores of its examples in the same order (ascending
    example_id)."""

    scores: pd.DataFrame
    positions: Ints  # rows of ``scores``, [n]
    example_ids: Ints
    labels: Ints
    copies: Ints
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.example_ids)

    def column(self, name: str) -> Floats:
        """A numeric score column (short names allowed) as float64 [n], null as NaN."""
        return finite_numbers(self.scores, name)[self.positions]

    def manifest(
        self,
        keep: Mask | None = None,
        *,
        labels: Ints | None = None,
        copies: Ints | None = None,
        weights: Floats | None = None,
    ) -> Manifest:
        """This manifest with other labels, copies or weights; without rows where ``keep`` is False
        or no copy is left."""
        copies = self.copies if copies is None else copies
        used = copies > 0 if keep is None else keep & (copies > 0)
        labels = self.labels if labels is None else labels
        return Manifest(
            self.example_ids,
            labels,
            copies,
            self.weights if weights is None else weights.astype(np.float32),
        ).take(used)


def _rows(scores: pd.DataFrame, manifest: Manifest | None) -> _Rows:
    """Line the manifest up with the scores; None = every example that has a label and was answered
    by some classifier.

    Raises:
        UsageError: an example twice in the scores (two splits), or a manifest of examples that have
            no scores.
        UnknownNameError: no ``example_id``, ``label``, ``x_perplexity`` or ``c_perplexity``.
    """
    example_ids = finite_numbers(scores, "example_id").astype(np.int64)
    order = np.argsort(example_ids, kind="stable").astype(np.int64)
    ordered = example_ids[order]
    if len(ordered) > 1 and bool((ordered[1:] == ordered[:-1]).any()):
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise UsageError(
            f"example {twice} is twice in the scores. Allowed: one row per example. Pass the scores"
            " of one split: a manifest is about one."
        )
    usable = ~np.isnan(finite_numbers(scores, "x_perplexity")) & ~np.isnan(
        finite_numbers(scores, "c_perplexity")
    )
    labels = finite_numbers(scores, "label")
    usable &= ~np.isnan(labels) & (labels >= 0)
    if manifest is None:
        positions = order[usable[order]]
        ones = np.ones(len(positions), dtype=np.int64)
        return _Rows(
            scores,
            positions,
            example_ids[positions],
            labels[positions].astype(np.int64),
            ones,
            np.ones(len(positions), dtype=np.float32),
        )
    manifest = manifest.take(np.argsort(manifest.example_ids))
    wanted = manifest.example_ids
    places = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    missing = wanted[ordered[places] != wanted] if len(ordered) else wanted
    if len(missing):
        raise UsageError(
            f"example {missing[0]} of the manifest has no row in the scores ({len(missing)} such"
            " examples). Allowed: manifests of the examples scored here. Score the split that the"
            " manifest was made for."
        )
    positions = order[places]
    here = usable[positions]
    return _Rows(
        scores,
        positions[here],
        wanted[here],
        manifest.labels[here],
        manifest.copies[here],
        manifest.weights[here],
    )


# ---------------------------------------------------------------------------------- rules that drop


def scale_c_threshold(c: float, num_classes: int) -> float:
    """A C threshold meant for 1,000 classes, for M: c ** (ln M / ln 1000), as entropies grow with
    log M. M = 10: 10 -> 2.15, 4 -> 1.59."""
    return float(c ** (np.log(num_classes) / np.log(1000.0)))


def below(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    c: float | None = None,
    x: float | None = None,
    thresholds: Literal["literal", "scaled", "quantile"] = "literal",
    heldout: bool = False,
) -> Manifest:
    """Keep examples with C below ``c`` and X below ``x`` (either may be left out).

    Args:
        c: literal: keep C < c, c > 1. scaled: the same after ``scale_c_threshold``. quantile: a
            share in (0, 1].
        x: literal and scaled: keep X < x, x in (0, 1]. quantile: a share in (0, 1].
        thresholds: with ``quantile`` the threshold is that quantile (linear interpolation) over the
            manifest so far, and a value *at* it is kept: X has only N + 1 levels, a strict < would
            throw the whole level away and share 1 would not keep everything.
        heldout: judge by x_heldout and c_heldout where an example has them.
    """
    if c is None and x is None:
        raise UsageError(
            "below: neither c nor x is given. Allowed: one or both. Write for example"
            " below:c=10,x=0.7."
        )
    rows = _rows(scores, manifest)
    keep = np.ones(len(rows), dtype=bool)
    for name, threshold in (("c", c), ("x", x)):
        if threshold is None:
            continue
        values = rows.column(name)
        if heldout:
            values = np.where(
                np.isnan(rows.column(f"{name}_heldout")), values, rows.column(f"{name}_heldout")
            )
        if thresholds == "quantile":
            if not 0 < threshold <= 1:
                raise UsageError(
                    f"below: {name} = {threshold!r} of thresholds=quantile. Allowed: a share above"
                    " 0 to 1. Write 10 % as 0.1."
                )
            keep &= values <= np.quantile(values, threshold) if len(values) else keep
            continue
        low, high = (1.0, np.inf) if name == "c" else (0.0, 1.0)
        if not low < threshold <= high:
            allowed = (
                "a number above 1: C lies in [1, M]"
                if name == "c"
                else "a number above 0, up to 1: X lies in [0, 1]"
            )
            raise UsageError(
                f"below: {name} = {threshold!r}. Allowed: {allowed}. For shares of examples use"
                " thresholds=quantile."
            )
        keep &= values < (
            scale_c_threshold(threshold, num_classes)
            if name == "c" and thresholds == "scaled"
            else threshold
        )
    return rows.manifest(keep)


def keep(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    set: str,  # noqa: A002 - the name that users write
) -> Manifest:
    """Keep the examples that match a condition, see ``condition``: ``keep:set=not (x >= 0.8 and c
    <= 1.2)``."""
    rows = _rows(scores, manifest)
    return rows.manifest(condition(set)(scores)[rows.positions])


def worst(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction,
    by: str = "label_quality",
    per_class: bool = False,
) -> Manifest:
    """Drop the worst share of the examples: round(share * E) of them, halves to even.

    Args:
        share: 0..1.
        by: label_quality, x, c, or another column of ``zoo.scores.catalog.SIDES``. Ties: higher X,
            then lower example_id is worse. An example without that score ranks best.
        per_class: drop round(share * size) in every class by itself, so that class proportions
            stay.
    """
    rows = _rows(scores, manifest)
    order = _worst_first(rows, by)
    rank = np.empty(len(rows), dtype=np.int64)
    if per_class:
        size = np.bincount(rows.labels, minlength=num_classes)
        rank[order] = _rank_within(rows.labels[order], len(size))
        return rows.manifest(rank >= np.rint(share * size)[rows.labels])
    rank[order] = np.arange(len(rows))
    return rows.manifest(rank >= round(share * len(rows)))


def hardest(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction,
    by: str = "label_quality",
    per_class: bool = False,
) -> Manifest:
    """Keep the worst share of the examples and drop the others: what ``worst`` drops, and with it a
    control of what it keeps.

    Args:
        share, by, per_class: as for ``worst``.
    """
    rows = _rows(scores, manifest)
    kept = worst(
        scores,
        num_classes=num_classes,
        resolve=resolve,
        manifest=manifest,
        share=share,
        by=by,
        per_class=per_class,
    )
    return rows.manifest(~np.isin(rows.example_ids, kept.example_ids))


def _worst_first(rows: _Rows, by: str) -> Ints:
    """Positions of the rows, worst first: the order of suspects, see
    ``zoo.scores.catalog.suspicion``; without the score last."""
    column = SHORT_NAMES.get(by, by)
    if column not in SIDES:
        raise UnknownNameError(
            "score to rank by", by, [*SIDES, *(s for s, c in SHORT_NAMES.items() if c in SIDES)]
        )
    held = rows.column("n_heldout") if "n_heldout" in rows.scores else None
    return worst_first(
        suspicion(column, rows.column(column), held), rows.column("x"), rows.example_ids
    )


def _rank_within(groups: Ints, count: int) -> Ints:
    """For each position its number 0, 1, ... among the positions of the same group, in the order
    given. int64 [n]."""
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - starts[groups[order]]
    return rank


def random_like(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    name: str,
    seed: Count = 0,
    per_class: bool = False,
) -> Manifest:
    """Keep as many examples as the named manifest has, chosen at random: the control that shows
    what fewer examples alone do.

    Args:
        name: a manifest that ``resolve`` knows; its rows are counted, not its copies.
        seed: which random choice; under one seed a smaller choice is part of a larger one.
        per_class: as many of each class as the named manifest has (by its labels).

    Raises:
        UsageError: if there are fewer examples (of a class) than that.
    """
    like = resolve(name)
    rows = _rows(scores, manifest)
    if per_class:
        wanted = np.bincount(like.labels, minlength=num_classes)
        groups = rows.labels
    else:
        wanted, groups = np.array([len(like)]), np.zeros(len(rows), dtype=np.int64)
    there = np.bincount(groups, minlength=len(wanted))
    short = np.flatnonzero(there[: len(wanted)] < wanted)
    if len(short):
        where = f" of class {short[0]}" if per_class else ""
        raise UsageError(
            f"random_like {name!r}: it has {wanted[short[0]]} examples{where}, there are only"
            f" {there[short[0]]} to choose from. Allowed: manifests no larger than the examples so"
            " far. Put random_like before the rules that drop examples."
        )
    return rows.manifest(
        _random_rank(f"random_like/{seed}", rows.example_ids, groups, len(wanted)) < wanted[groups]
    )


def _random_rank(key: str, example_ids: Ints, groups: Ints, count: int) -> Ints:
    """A random order 0, 1, ... within each group, int64 [n]: by keyed draw, ties by example_id, the
    same for any subset."""
    order = np.lexsort((example_ids, keyed.uniform(key, example_ids)[:, 0]))
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = _rank_within(groups[order], count)
    return rank


# ----------------------------------------------------------------------- rules that set class sizes


def per_class(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    count: Annotated[int, Within(1)],
    resample: bool = True,
    seed: Count = 0,
    empty: Literal["error", "drop"] = "error",
) -> Manifest:
    """The same number of examples of every class, as the paper trains: 500 of each class from those
    under a threshold.

    A class with more is sampled without replacement; a class with fewer keeps all of its examples
    and is filled up by drawing among them with replacement (more ``copies``). Copies made by
    earlier rules do not count and are replaced.

    Args:
        count: examples per class, >= 1.
        resample: fill up classes that are too small; False leaves them short.
        seed: which random choice.
        empty: a class without any example is an error, or (``drop``) is left out.
    """
    rows = _rows(scores, manifest)
    without = np.flatnonzero(np.bincount(rows.labels, minlength=num_classes) == 0)
    if len(without) and empty == "error":
        raise UsageError(
            "per_class: no example of class"
            f" {', '.join(map(str, without[:10]))}{', ...' if len(without) > 10 else ''} is left"
            f" ({len(without)} of {num_classes} classes). Allowed: at least one example per class."
            " Use milder thresholds, or empty=drop."
        )
    return _fill_quota(rows, np.full(num_classes, count, dtype=np.int64), seed, resample=resample)


def balance(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    to: Literal["original", "largest", "smallest"] = "original",
    seed: Count = 0,
) -> Manifest:
    """Bring class sizes back by duplicating (or dropping) examples at random; classes without any
    example stay empty.

    Args:
        to: ``original``: every class as large as in all usable examples (what pruning removed is
            replaced by copies of what is left); ``largest``: as the largest class of the manifest
            so far; ``smallest``: as its smallest that is not empty.
        seed: which random choice.
    """
    rows = _rows(scores, manifest)
    size = np.bincount(rows.labels, minlength=num_classes)
    if to == "original":
        quota = np.bincount(_rows(scores, None).labels, minlength=num_classes)
    else:
        there = size[size > 0]
        quota = np.full(
            num_classes,
            0 if not len(there) else there.max() if to == "largest" else there.min(),
            dtype=np.int64,
        )
    return _fill_quota(rows, quota, seed, resample=True)


def _fill_quota(rows: _Rows, quota: Ints, seed: int, *, resample: bool) -> Manifest:
    """``quota[k]`` examples of class k: a random choice of its rows, or all of them and draws with
    replacement for the rest."""
    if len(rows) == 0:
        return rows.manifest()
    classes = len(quota)
    copies = (
        _random_rank(f"per_class/{seed}", rows.example_ids, rows.labels, classes)
        < quota[rows.labels]
    ).astype(np.int64)
    if resample:
        size = np.bincount(rows.labels, minlength=classes)
        missing = np.where(size > 0, np.maximum(quota - size, 0), 0)
        filled = np.repeat(np.arange(classes), missing)  # class of each open slot
        slot = _rank_within(filled, classes)
        draw = keyed.uniform(f"per_class/{seed}/resample", filled * 2**32 + slot)[:, 0]
        member = np.minimum((draw * size[filled]).astype(np.int64), size[filled] - 1)
        # members of a class in the order of their ids
        by_class = np.argsort(rows.labels, kind="stable")
        starts = np.concatenate([[0], np.cumsum(size)])
        np.add.at(copies, by_class[starts[filled] + member], 1)
    return rows.manifest(copies=copies)


# ------------------------------------------------------------------------- rules that change labels


def relabel(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    set: str,  # noqa: A002 - the name that users write
    to: Literal["top_confusion", "label_true"] = "top_confusion",
) -> Manifest:
    """Give examples that match a condition another label and keep all others as they are.

    Args:
        set: see ``condition``; the paper's set A is ``x > 0.95``, its set B ``x > 0.95 and c < 2``.
        to: the most-voted class, or the known truth; an example without it keeps its label.
    """
    rows = _rows(scores, manifest)
    return _with_labels(rows, condition(set)(scores)[rows.positions], to)


def relabel_worst(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction | None = None,
    count: Count | None = None,
    to: Literal["top_confusion", "label_true"] = "top_confusion",
    by: str = "label_quality",
) -> Manifest:
    """Give the worst examples another label and keep all others as they are.

    Args:
        share: of the examples so far, round(share * E). Either this or ``count``.
        count: how many; all, if there are fewer.
        to, by: as for ``relabel`` and ``worst``.
    """
    if (share is None) == (count is None):
        raise UsageError(
            f"relabel_worst: share={share!r} and count={count!r}. Allowed: exactly one of them."
            " Write for example relabel_worst:share=0.01."
        )
    rows = _rows(scores, manifest)
    number = round(share * len(rows)) if share is not None else count
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[_worst_first(rows, by)[:number]] = True
    return _with_labels(rows, chosen, to)


def oracle(
    scores: pd.DataFrame, *, num_classes: int, resolve: Resolve, manifest: Manifest | None = None
) -> Manifest:
    """Every label that is known to be wrong set right: the bound that cleaning by relabelling can
    reach."""
    rows = _rows(scores, manifest)
    return _with_labels(rows, np.ones(len(rows), dtype=bool), "label_true")


def _with_labels(rows: _Rows, chosen: Mask, to: str) -> Manifest:
    new = rows.column(to)
    there = chosen & ~np.isnan(new) & (new >= 0)
    return rows.manifest(labels=np.where(there, np.nan_to_num(new), rows.labels).astype(np.int64))


# --------------------------------------------------------------------------------- rules that weigh


def weigh(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    by: Literal["c", "x"],
    favour: Literal["easy", "hard"] = "easy",
) -> Manifest:
    """Sample weights from perplexity, with mean 1 over the copies.

    by x, easy: e - 0.5 e**X (ratio 1.63 between X = 0 and 1). by x, hard: e**X. by c, easy: 2.3 -
    0.95 / (1 + e**(d - C)) with d the 90th percentile of C (3.98 in the source). by c, hard: 1.35 +
    0.95 / (1 + e**(d - C)), its mirror image.

    Source: the later study on the same population. Departures: weights are divided by their mean
    (theirs, about 2.1, doubled the effective learning rate); d follows the data; the mirror image
    is ours.
    """
    rows = _rows(scores, manifest)
    if len(rows) == 0:
        return rows.manifest()
    values = rows.column(by)
    if by == "x":
        raw = np.exp(values) if favour == "hard" else np.e - 0.5 * np.exp(values)
    else:
        step = 0.95 / (1.0 + np.exp(np.quantile(values, 0.9) - values))
        raw = 1.35 + step if favour == "hard" else 2.3 - step
    return rows.manifest(weights=raw / np.average(raw, weights=rows.copies))


@dataclass(frozen=True)
class Rule(Step):
    """A named selection rule. ``apply(scores, *, num_classes, resolve, manifest=None, ...)``: see
    the module's text."""

    apply: Callable[..., Manifest]

    @property
    def function(self) -> Callable[..., Manifest]:
        return self.apply

    @property
    def given(self) -> frozenset[str]:
        return frozenset({"num_classes", "resolve", "manifest"})


RULES: Final[Registry[Rule]] = Registry(
    "selection rule",
    {
        rule.__name__: Rule(rule.__name__, rule)
        for rule in (
            balance,
            below,
            hardest,
            keep,
            oracle,
            per_class,
            random_like,
            relabel,
            relabel_worst,
            weigh,
            worst,
        )
    },
)
"""All selection rules by name."""


def parse(text: str) -> tuple[tuple[str, dict[str, Scalar]], ...]:
    """``"below:c=10,x=0.7+per_class:count=500"`` -> ((rule, params), ...) as written, checked.

    Raises:
        UnknownNameError: a rule, or a parameter of a rule, that is not there.
        UsageError: a parameter without a value, a required one left out, a value that is not
            possible.
    """
    rules = [(name, RULES[name].read(settings)) for name, settings in split_steps(text)]
    for name, params in rules:
        RULES[name].canonical(params)
    return tuple(rules)


def is_random(names: Iterable[str]) -> bool:
    """Whether a chain of rules, given by their names, has a random part: a rule that takes a
    seed."""
    return any("seed" in RULES[name].parameters for name in names)


def redrawn(
    rules: Iterable[tuple[str, Mapping[str, Any]]], draw: int
) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The same chain with its random part drawn anew: draw 0 is the chain as it stands, draw d adds
    d to the seed of each rule that has one.

    Chains whose rules have the same seeds share their random ranks in every draw, hence as many
    examples as their rules allow.
    """
    steps: list[tuple[str, dict[str, Any]]] = []
    for name, params in rules:
        seed = RULES[name].parameters.get("seed")
        steps.append(
            (
                name,
                (
                    dict(params)
                    if seed is None
                    else {**params, "seed": params.get("seed", seed.default) + draw}
                ),
            )
        )
    return tuple(steps)


def _no_manifests(name: str) -> Manifest:
    raise NotFoundError(
        f"no manifest named {name!r}: none are known here. Make it first with 'zoo select ... -o"
        f" {name}'."
    )


def build(
    rules: Iterable[tuple[str, Mapping[str, Any]]],
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve = _no_manifests,
) -> Manifest:
    """Apply rules one after the other; none = every usable example as given.

    Args:
        rules: (name, parameters) in order.
        scores: the ``scores`` table of one split.
        num_classes: M.
        resolve: name -> manifest, for rules that refer to another selection.

    Returns:
        A manifest in the order of example ids; copies are 1 or more.

    Raises:
        UnknownNameError, UsageError: names and values, checked for all rules before the first one
            runs.
        NotFoundError: if no example is left.
    """
    steps = [(name, RULES[name].canonical(params), params) for name, params in rules]
    manifest = _rows(scores, None).manifest()
    if len(manifest) and manifest.labels.max() >= num_classes:
        raise UsageError(
            f"label {manifest.labels.max()} in the scores. Allowed: 0 to {num_classes - 1}. Pass"
            " the number of classes of this data set."
        )
    for name, canonical, params in steps:
        before = len(manifest)
        manifest = RULES[name].apply(
            scores, num_classes=num_classes, resolve=resolve, manifest=manifest, **canonical
        )
        if not len(manifest):
            settings = ",".join(f"{k}={v}" for k, v in params.items())
            raise NotFoundError(
                f"rule {name}{':' if settings else ''}{settings} left none of {before} examples."
                " Allowed: rules that leave at least one. Use milder values; 'zoo score' shows how"
                " the scores are spread."
            )
    return _mean_one(manifest)


def _mean_one(manifest: Manifest) -> Manifest:
    """Weights with mean 1 over the copies: rules after ``weigh`` may have dropped light or heavy
    examples, and the mean scales the learning rate."""
    weights = manifest.weights.astype(np.float64)
    mean = float(np.average(weights, weights=manifest.copies)) if len(manifest) else 1.0
    # Within the rounding of float32 it is 1 already: the manifest, and with it its hash, stays.
    return (
        manifest
        if abs(mean - 1) < _MEAN_SLACK
        else replace(manifest, weights=(weights / mean).astype(np.float32))
    )


def manifest_summary(
    manifest: Manifest, *, num_classes: int, scores: pd.DataFrame | None = None
) -> dict[str, Any]:
    """What a manifest holds, ready for JSON.

    Args:
        num_classes: M.
        scores: the table it was made from; needed for ``relabelled`` and ``share_kept``, which are
            None without.

    Returns:
        digest; n (examples with copies) and unique; share_kept (of the usable examples); per_class
        (copies counted, M numbers); empty_classes; relabelled (examples whose label differs from
        the scores'); mean_weight (over copies; None if empty).
    """
    per_class_counts = np.bincount(
        manifest.labels, weights=manifest.copies, minlength=num_classes
    ).astype(np.int64)
    relabelled = share_kept = None
    if scores is not None:
        rows = _rows(scores, manifest)
        relabelled = int((rows.labels != rows.column("label")).sum())
        share_kept = len(rows) / max(len(_rows(scores, None)), 1)
    return {
        "digest": manifest.digest,
        "n": int(manifest.copies.sum()),
        "unique": len(manifest),
        "share_kept": share_kept,
        "per_class": [int(n) for n in per_class_counts],
        "empty_classes": [int(k) for k in np.flatnonzero(per_class_counts == 0)],
        "relabelled": relabelled,
        "mean_weight": (
            float(np.average(manifest.weights.astype(np.float64), weights=manifest.copies))
            if len(manifest)
            else None
        ),
    }
