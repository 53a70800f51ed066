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

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import numpy as np
import pandas as pd

from zoo import keyed
from zoo.arrays import Floats, Ints, Mask
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.registry import Registry, distinct, position
from zoo.scores.catalog import SHORT_NAMES
from zoo.spec import Op, Scalar
from zoo.trainsets.conditions import finite_numbers
from zoo.trainsets.scored import JOINT, Joint, Scored, random_rank, rank_within, scored
from zoo.trainsets.steps import Count, Fraction, Step, Within, split_steps

__all__ = [
    "RULES",
    "Rule",
    "build",
    "is_random",
    "manifest_summary",
    "parse",
    "redrawn",
]


Resolve = Callable[[str], Manifest]
_MEAN_SLACK: Final = 1e-6
_LABEL_WORDS: Final = ("top_confusion", "top_probability", "label_true")
Labels = str | int | Literal["top_confusion", "top_probability", "label_true"]
"""Where new labels come from: a column, written with dashes or underscores, a selection, or one
class for all."""


# ---------------------------------------------------------------------------------- rules that drop


def below(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    c: float | None = None,
    x: float | None = None,
    share: Fraction | None = None,
    thresholds: Literal["literal", "joint", "marginal", "quantile"] = "literal",
    by: Literal["both", "c", "x"] = "both",
    heldout: bool = False,
) -> Manifest:
    """Keep examples with low C and low X: below thresholds, or below those that keep a share.

    Args:
        c: literal: keep C < c, c > 1. marginal: a share in (0, 1]. May be left out.
        x: literal: keep X < x, x in (0, 1]. marginal: a share in (0, 1]. May be left out.
        share: joint: how much to keep, above 0, up to 1.
        thresholds: ``literal``: c and x are numbers that C and X lie below. ``joint``: the one q at
            which C <= Q_C(q) and X <= Q_X(q) together keep the share, Q the quantile over the
            manifest so far. X has only N + 1 levels, so ties may leave no q for a share: the
            nearest is taken, of two equally near ones the larger, and one more than 5 points away
            is refused. What C and X came to be is told. ``marginal``: c and x are quantiles
            (linear interpolation) over the manifest so far, each by itself: two of .9 keep .8 to .9
            together. A value *at* a quantile is kept: a strict < would throw its whole level away.
            ``quantile``: the older word for marginal.
        by: joint: both, or C or X alone. To drop equally many by either, drop by rank:
            ``worst:like=NAME,by=x``.
        heldout: judge by x_heldout and c_heldout where an example has them.
    """
    rows = scored(scores, manifest)
    joint = _joint(rows, c, x, share, thresholds, by, heldout=heldout)
    if joint is not None:
        return rows.manifest(joint.keep)
    keep = np.ones(len(rows), dtype=bool)
    for name, threshold in (("c", c), ("x", x)):
        if threshold is None:
            continue
        values = rows.score(name, heldout=heldout)
        if thresholds in ("marginal", "quantile"):
            if not 0 < threshold <= 1:
                raise UsageError(
                    f"below: {name} = {threshold!r} of thresholds={thresholds}. Allowed: a share"
                    " above 0 to 1. Write 10 % as 0.1."
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
                f"below: {name} = {threshold!r}. Allowed: {allowed}. For a share of the examples"
                " write below:share=0.8,thresholds=joint."
            )
        keep &= values < threshold
    return rows.manifest(keep)


def _joint(
    rows: Scored,
    c: float | None,
    x: float | None,
    share: float | None,
    thresholds: str,
    by: str,
    *,
    heldout: bool,
) -> Joint | None:
    """The joint threshold where it is asked for; refuses parameters of one kind of threshold with
    another."""
    if thresholds != "joint":
        if share is not None or by != "both":
            other = f"share = {share!r}" if share is not None else f"by = {by!r}"
            raise UsageError(
                f"below: {other} with thresholds={thresholds}. Allowed: c and x. Write for example"
                " below:share=0.8,thresholds=joint."
            )
        if c is None and x is None:
            raise UsageError(
                "below: neither c nor x is given. Allowed: one or both. Write for example"
                " below:c=10,x=0.7, or below:share=0.8,thresholds=joint."
            )
        return None
    if share is None or share <= 0 or c is not None or x is not None:
        given = {"share": share, "c": c, "x": x}
        shown = ", ".join(f"{k} = {v!r}" for k, v in given.items() if v is not None)
        raise UsageError(
            f"below: {shown or 'no share'} with thresholds=joint. Allowed: a share above 0, up to"
            " 1, and no c or x: one q decides both. Write for example"
            " below:share=0.8,thresholds=joint."
        )
    return rows.joint(share, by, heldout=heldout)


def _tell_below(rows: Scored, params: Mapping[str, Any], resolve: Resolve) -> dict[str, Any]:
    """The joint threshold: q, and C and X there."""
    keys = ("c", "x", "share", "thresholds", "by")
    joint = _joint(rows, *(params.get(key) for key in keys), heldout=params["heldout"])  # type: ignore[arg-type]
    return {} if joint is None else {"q": joint.q, "c": joint.c, "x": joint.x}


def keep(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    set: str,  # noqa: A002 - the name that users write
    class_names: Sequence[str] = (),
) -> Manifest:
    """Keep the examples that match a condition, see ``condition``: ``keep:set=not (x >= 0.8 and
    percentile(c) <= 30)``, ``keep:set=label != 'cat'``. Percentiles are over the examples so
    far."""
    rows = scored(scores, manifest)
    return rows.manifest(rows.meets(set, class_names))


def worst(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction | None = None,
    like: str | None = None,
    by: str = "label_quality",
    per_class: bool = False,
) -> Manifest:
    """Drop the worst examples: a share, or as many as leave what another selection has.

    Args:
        share: 0..1; round(share * E) of them, halves to even. Either this or ``like``.
        like: a selection: as many are kept as it has examples (not copies), so that two rules are
            compared at equal size.
        by: label_quality, x, c, or another column of ``zoo.scores.catalog.SIDES``. Ties: higher X,
            then lower example_id is worse. An example without that score ranks best. ``joint``: the
            order of ``below:thresholds=joint``, worse by C or by X, whichever is worse.
            ``confident_issues`` (what confident learning flags on held-out probabilities, then the
            rest), ``pooled_log_margin`` and ``small_loss`` (of one network) are worked out when
            they are asked for, from all the population's logits, which must have been kept.
            ``single_el2n``, ``single_forgetting``, ``single_aum`` and ``single_loss`` are of one
            training beside the population, which an experiment declares.
        per_class: by itself in every class: round(share * size) of it, so that class proportions
            stay; with ``like`` as many of each class as it has (by its labels).

    Raises:
        UsageError: if there are fewer examples (of a class) than ``like`` has.
    """
    rows = scored(scores, manifest)
    if (share is None) == (like is None):
        raise UsageError(
            f"worst: share={share!r} and like={like!r}. Allowed: exactly one of them. Write for"
            " example worst:share=0.05."
        )
    groups, count = (
        (rows.labels, num_classes) if per_class else (np.zeros(len(rows), dtype=np.int64), 1)
    )
    size = np.bincount(groups, minlength=count)
    if share is not None:
        number = np.rint(share * size)
    else:
        number = size - _sizes_of("worst", str(like), resolve, size, per_class=per_class)
    order = rows.worst_first(by)
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = rank_within(groups[order], len(size))
    return rows.manifest(rank >= number[groups])


def hardest(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction | None = None,
    like: str | None = None,
    by: str = "label_quality",
    per_class: bool = False,
) -> Manifest:
    """Keep the worst examples and drop the others: what ``worst`` drops, and with it a control of
    what it keeps.

    Args:
        share, like, by, per_class: as for ``worst``.
    """
    rows = scored(scores, manifest)
    kept = worst(
        scores,
        num_classes=num_classes,
        resolve=resolve,
        manifest=manifest,
        share=share,
        like=like,
        by=by,
        per_class=per_class,
    )
    return rows.manifest(~np.isin(rows.example_ids, kept.example_ids))


def _sizes_of(rule: str, name: str, resolve: Resolve, there: Ints, *, per_class: bool) -> Ints:
    """Examples that another selection has, of each class or of all, int64 [groups].

    Args:
        there: how many examples there are to choose from.

    Raises:
        UsageError: if it has more than there are.
    """
    like = resolve(name)
    wanted = np.bincount(like.labels, minlength=len(there)) if per_class else np.array([len(like)])
    if len(wanted) > len(there):
        raise UsageError(
            f"{rule}: selection {name!r} has a label {len(wanted) - 1}. Allowed: 0 to"
            f" {len(there) - 1}, the classes of this data set. Name a selection of this data set."
        )
    short = np.flatnonzero(there < wanted)
    if len(short):
        where = f" of class {short[0]}" if per_class else ""
        raise UsageError(
            f"{rule} {name!r}: it has {wanted[short[0]]} examples{where}, there are only"
            f" {there[short[0]]} to choose from. Allowed: manifests no larger than the examples so"
            f" far. Put {rule} before the rules that drop examples."
        )
    return np.asarray(wanted)


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
    rows = scored(scores, manifest)
    groups, count = (
        (rows.labels, num_classes) if per_class else (np.zeros(len(rows), dtype=np.int64), 1)
    )
    there = np.bincount(groups, minlength=count)
    wanted = _sizes_of("random_like", name, resolve, there, per_class=per_class)
    return rows.manifest(
        random_rank(f"random_like/{seed}", rows.example_ids, groups, len(wanted)) < wanted[groups]
    )


def without(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    name: str,
) -> Manifest:
    """Drop the examples that another selection has, such as those that another arm has drawn: two
    draws of a budget then have none in common.

    Args:
        name: a selection that ``resolve`` knows; of one with a random part, the same draw.
    """
    rows = scored(scores, manifest)
    return rows.manifest(~np.isin(rows.example_ids, resolve(name).example_ids))


# ------------------------------------------------------------------ controls that know the truth


def drop_errors(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    like: str,
    own: bool = False,
    fill: bool = True,
    seed: Count = 0,
) -> Manifest:
    """Drop labels known to be wrong: those that another selection drops (``own=true``), or, chosen
    at random, as many wrong ones as it drops of any kind. Needs ``label_true``.

    ``own=true`` and ``drop_correct`` with ``fill=false`` take a cleaning apart: together they drop
    what it drops, one the wrong labels and the other the right ones. As many of one kind instead
    is a control of another size: where half of what a cleaning drops is wrong, it takes away twice
    the noise.

    Args:
        like: a selection; as many are dropped as it lacks of the examples so far.
        own: drop the wrong labels that the selection drops, and nothing else; ``fill`` and ``seed``
            do nothing then.
        fill: where fewer wrong labels are known than that, drop others at random until the numbers
            are equal (a random drop changes nothing where a budget of each class is drawn
            afterwards); ``false``: drop the wrong ones alone.
        seed: which random choice.

    Raises:
        NotFoundError: if the truth of no example is known.
    """
    rows = scored(scores, manifest)
    wrong, _ = rows.wrong("drop_errors")
    number = _number_dropped("drop_errors", rows, like, resolve)
    if own:
        return rows.manifest(~wrong | np.isin(rows.example_ids, resolve(like).example_ids))
    rank = random_rank(
        f"drop_errors/{seed}", rows.example_ids, np.where(wrong, 0, 1).astype(np.int64), 2
    )
    errors = int(wrong.sum())
    return rows.manifest(
        np.where(wrong, rank >= number, rank >= (max(number - errors, 0) if fill else 0))
    )


def drop_correct(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    like: str,
    by: str = JOINT,
    fill: bool = True,
) -> Manifest:
    """Drop examples whose label is known to be right: those that another selection drops, then the
    next worst, as many as it drops of any kind. Needs ``label_true``.

    Args:
        like: a selection; as many are dropped as it lacks of the examples so far.
        by: the order of the next worst, as for ``worst``: give the one that ``like`` was made by.
        fill: drop the next worst until the numbers are equal; ``false``: drop those alone that the
            selection drops, which is what of its effect is easiness (see ``drop_errors``).

    Raises:
        NotFoundError: if the truth of no example is known.
        UsageError: if fewer labels are known to be right than are to be dropped.
    """
    rows = scored(scores, manifest)
    _, right = rows.wrong("drop_correct")
    number = _number_dropped("drop_correct", rows, like, resolve)
    lacked = right & ~np.isin(rows.example_ids, resolve(like).example_ids)
    if not fill:
        return rows.manifest(~lacked)
    if right.sum() < number:
        raise UsageError(
            f"drop_correct: {like!r} drops {number} examples, only {int(right.sum())} labels are"
            " known to be right. Allowed: selections that drop no more than these. Name one that"
            " keeps more, or write fill=false."
        )
    rank = np.empty(len(rows), dtype=np.int64)
    rank[rows.worst_first(by)] = np.arange(len(rows))
    # those that it drops first, then the other right ones, then the rest; each worst first
    order = np.lexsort((rank, np.where(lacked, 0, np.where(right, 1, 2))))
    keep = np.ones(len(rows), dtype=bool)
    keep[order[:number]] = False
    return rows.manifest(keep)


def _number_dropped(rule: str, rows: Scored, name: str, resolve: Resolve) -> int:
    """How many of the examples so far another selection does without."""
    return len(rows) - int(
        _sizes_of(rule, name, resolve, np.array([len(rows)]), per_class=False)[0]
    )


def _tell_truth(rows: Scored, params: Mapping[str, Any], resolve: Resolve) -> dict[str, Any]:
    """How many labels are known to be wrong and right, and how many were to be dropped."""
    wrong, right = rows.wrong("drop")
    return {
        "known_wrong": int(wrong.sum()),
        "known_right": int(right.sum()),
        "to_drop": _number_dropped("drop", rows, str(params["like"]), resolve),
    }


# ----------------------------------------------------------------------- rules that set class sizes


def per_class(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    class_names: Sequence[str] = (),
    count: Annotated[int, Within(1)],
    resample: bool = True,
    seed: Count = 0,
    empty: Literal["error", "keep", "drop"] = "error",
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
        empty: a class without any example left is an error, is taken whole as it was before the
            rules (``keep``), or is left out (``drop``).
    """
    rows = _none_empty(
        "per_class", scored(scores, manifest), np.arange(num_classes), empty, class_names
    )
    return _fill_quota(rows, np.full(num_classes, count, dtype=np.int64), seed, resample=resample)


def _none_empty(
    rule: str, rows: Scored, classes: Ints, empty: str, class_names: Sequence[str]
) -> Scored:
    """The rows, with every one of these classes in them, by ``empty`` of ``per_class``.

    Raises:
        UsageError: naming the classes that are without an example.
    """
    without = np.setdiff1d(classes, rows.labels)
    if not len(without) or empty == "drop":
        return rows
    whole = scored(rows.scores, None)
    if empty == "keep":
        back = np.isin(whole.labels, without) & ~np.isin(whole.example_ids, rows.example_ids)
        manifest, more = rows.manifest(), whole.manifest(back)
        rows = scored(rows.scores, manifest.with_rows(more))
        without = np.setdiff1d(without, rows.labels)
        if not len(without):
            return rows
    named = [
        f"{k} ({class_names[k]})" if k < len(class_names) else str(k) for k in without[:10].tolist()
    ]
    raise UsageError(
        f"{rule}: no example of class {', '.join(named)}{', ...' if len(without) > 10 else ''} is"
        f" {'left' if empty == 'error' else 'there to keep'} ({len(without)} of {len(classes)}"
        " classes). Allowed: at least one example per class. Use milder thresholds, or empty=keep"
        " to take such a class whole, or empty=drop to leave it out."
    )


def balance(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    class_names: Sequence[str] = (),
    to: Literal["original", "largest", "smallest"] = "original",
    seed: Count = 0,
    empty: Literal["error", "keep", "drop"] = "error",
) -> Manifest:
    """Bring class sizes back by duplicating (or dropping) examples at random.

    Args:
        to: ``original``: every class as large as in all usable examples (what pruning removed is
            replaced by copies of what is left); ``largest``: as the largest class of the manifest
            so far; ``smallest``: as its smallest that is not empty.
        seed: which random choice.
        empty: of a class that has lost every example, as for ``per_class``.
    """
    whole = scored(scores, None)
    rows = _none_empty(
        "balance", scored(scores, manifest), np.unique(whole.labels), empty, class_names
    )
    size = np.bincount(rows.labels, minlength=num_classes)
    if to == "original":
        quota = np.bincount(whole.labels, minlength=num_classes)
    else:
        there = size[size > 0]
        quota = np.full(
            num_classes,
            0 if not len(there) else there.max() if to == "largest" else there.min(),
            dtype=np.int64,
        )
    return _fill_quota(rows, quota, seed, resample=True)


def _fill_quota(rows: Scored, quota: Ints, seed: int, *, resample: bool) -> Manifest:
    """``quota[k]`` examples of class k: a random choice of its rows, or all of them and draws with
    replacement for the rest."""
    if len(rows) == 0:
        return rows.manifest()
    classes = len(quota)
    copies = (
        random_rank(f"per_class/{seed}", rows.example_ids, rows.labels, classes)
        < quota[rows.labels]
    ).astype(np.int64)
    if resample:
        size = np.bincount(rows.labels, minlength=classes)
        missing = np.where(size > 0, np.maximum(quota - size, 0), 0)
        filled = np.repeat(np.arange(classes), missing)  # class of each open slot
        slot = rank_within(filled, classes)
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
    times: Annotated[int, Within(1)] = 1,
    by: str = "label_quality",
    to: Labels = "top_confusion",
    class_names: Sequence[str] = (),
) -> Manifest:
    """Give examples that match a condition another label and keep all others as they are.

    Args:
        set: see ``condition``; the paper's set A is ``x > 0.95``, its set B ``x > 0.95 and c < 2``.
        times: so many times as many: those of the set, then the worst of the others.
        by: the order of these, as for ``worst``.
        to: the class of most votes (``top_confusion``) or of the largest mean probability
            (``top_probability``), the known truth (``label_true``), another column of the scores
            that holds classes, a selection, whose labels are taken, or else one class for all, by
            its name or number. An example without it keeps its label.
    """
    rows = scored(scores, manifest)
    inside = rows.meets(set, class_names)
    if times > 1:
        order = rows.worst_first(by)
        order = order[np.argsort(~inside[order], kind="stable")]  # those of the set first
        inside, number = np.zeros(len(rows), dtype=bool), times * int(inside.sum())
        inside[order[:number]] = True
    return _with_labels("relabel", rows, inside, to, num_classes, resolve, class_names)


def relabel_worst(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    share: Fraction | None = None,
    count: Count | Literal["planted"] | None = None,
    to: Labels = "top_confusion",
    by: str = "label_quality",
    class_names: Sequence[str] = (),
) -> Manifest:
    """Give the worst examples another label and keep all others as they are.

    Args:
        share: of the examples so far, round(share * E). Either this or ``count``.
        count: how many; all, if there are fewer. ``planted``: as many as have a label that is known
            to be wrong.
        to, by: as for ``relabel`` and ``worst``.

    Raises:
        NotFoundError: ``planted``, and the truth of no example is known.
    """
    if (share is None) == (count is None):
        raise UsageError(
            f"relabel_worst: share={share!r} and count={count!r}. Allowed: exactly one of them."
            " Write for example relabel_worst:share=0.01."
        )
    rows = scored(scores, manifest)
    if share is not None:
        number = round(share * len(rows))
    elif isinstance(count, int):
        number = count
    else:
        number = int(rows.wrong("relabel_worst:count=planted")[0].sum())
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[rows.worst_first(by)[:number]] = True
    return _with_labels("relabel_worst", rows, chosen, to, num_classes, resolve, class_names)


def oracle(
    scores: pd.DataFrame, *, num_classes: int, resolve: Resolve, manifest: Manifest | None = None
) -> Manifest:
    """Every label that is known to be wrong set right: the bound that cleaning by relabelling can
    reach. What cleaning by leaving out can reach is ``keep:set=not label != label_true``.

    Raises:
        NotFoundError: if the truth of no example is known.
    """
    rows = scored(scores, manifest)
    wrong, _ = rows.wrong("oracle")
    return _with_labels("oracle", rows, wrong, "label_true", num_classes, resolve)


def _with_labels(
    rule: str,
    rows: Scored,
    chosen: Mask,
    to: str | int,
    num_classes: int,
    resolve: Resolve,
    class_names: Sequence[str] = (),
) -> Manifest:
    """The chosen rows with other labels, see ``relabel``."""
    new = _labels(rule, rows, to, resolve, class_names)
    there = chosen & ~np.isnan(new) & (new >= 0)
    strange = new[there & ((new != np.rint(new)) | (new >= num_classes))]
    if len(strange):
        raise UsageError(
            f"{rule}: to={to} holds {strange[0]:g}, which is no class. Allowed: whole numbers from"
            f" 0 to {num_classes - 1}. Name a column of classes, such as top_confusion, or a"
            " selection of this data set."
        )
    return rows.manifest(labels=np.where(there, np.nan_to_num(new), rows.labels).astype(np.int64))


def _labels(
    rule: str, rows: Scored, to: str | int, resolve: Resolve, class_names: Sequence[str]
) -> Floats:
    """A class for each row, float64 [n], NaN where there is none.

    Raises:
        NotFoundError: for the truth, or another of the known words, where it is known of none.
        UnknownNameError: for what is neither a column nor a selection nor a class.
        UsageError: for a name that several classes bear.
    """
    to = str(to)
    if to == "label_true":
        rows.wrong(f"{rule}:to=label_true")  # raises where there is none
    if to in _LABEL_WORDS and to not in rows.scores:
        raise NotFoundError(
            f"{rule}: the scores have no column {to}: an earlier zoo made them. Allowed: scores of"
            " this one. Make them again with 'zoo score', for the split you select from."
        )
    if SHORT_NAMES.get(to, to) in rows.scores:
        new = rows.column(to)
        if len(rows) and np.isnan(new).all():
            raise NotFoundError(
                f"{rule}: to={to} is null of all {len(rows)} examples. Allowed: columns that hold"
                " classes. Score again with 'zoo score', or name another column."
            )
        return new
    try:
        other = resolve(to)
    except (UnknownNameError, NotFoundError) as error:
        shown = distinct(class_names)
        if to in class_names or to in shown:
            return np.full(len(rows), float(position(class_names, to, "class")))
        if re.fullmatch(r"[0-9]{1,9}", to):  # whether there is such a class is seen there
            return np.full(len(rows), float(to))
        selections = error.known if isinstance(error, UnknownNameError) else []
        raise UnknownNameError(
            "label to give",
            to,
            [*_LABEL_WORDS, *selections, *shown],
            "Write one of these words, a column of 'zoo schema scores' that holds classes, or the"
            " name of a selection or of a class.",
        ) from None
    new = np.full(len(rows), np.nan)
    places = np.searchsorted(rows.example_ids, other.example_ids)
    inside = places < len(rows)
    inside[inside] = rows.example_ids[places[inside]] == other.example_ids[inside]
    new[places[inside]] = other.labels[inside]
    return new


# --------------------------------------------------------------------------------- rules that weigh


def weigh(
    scores: pd.DataFrame,
    *,
    num_classes: int,
    resolve: Resolve,
    manifest: Manifest | None = None,
    by: Literal["c", "x"],
    favour: Literal["easy", "hard"] = "easy",
    raw: bool = False,
) -> Manifest:
    """Sample weights from perplexity, with mean 1 over the copies unless they are asked for raw.

    by x, easy: e - 0.5 e**X (ratio 1.63 between X = 0 and 1). by x, hard: e**X. by c, easy: 2.3 -
    0.95 / (1 + e**(d - C)) with d the 90th percentile of C (3.98 in the source). by c, hard: 1.35 +
    0.95 / (1 + e**(d - C)), its mirror image.

    Source: the later study on the same population. Departures: weights are divided by their mean;
    d follows the data; the mirror image is ours.

    Args:
        by: which score.
        favour: which examples get more.
        raw: keep the mean, about 2.1 for easy ones, as the source did. A weight multiplies an
            example's loss, so that by SGD raw weights also double the step that is taken, and a
            difference may be the learning rate's: hence mean 1 unless asked for, whatever rules
            follow. (Adam's steps hardly depend on the mean.)
    """
    rows = scored(scores, manifest)
    if len(rows) == 0:
        return rows.manifest()
    values = rows.column(by)
    if by == "x":
        weights = np.exp(values) if favour == "hard" else np.e - 0.5 * np.exp(values)
    else:
        step = 0.95 / (1.0 + np.exp(np.quantile(values, 0.9) - values))
        weights = 1.35 + step if favour == "hard" else 2.3 - step
    return rows.manifest(
        weights=weights if raw else weights / np.average(weights, weights=rows.copies)
    )


Tell = Callable[[Scored, Mapping[str, Any], Resolve], dict[str, Any]]


@dataclass(frozen=True)
class Rule(Step):
    """A named selection rule. ``apply(scores, *, num_classes, resolve, manifest=None, ...)``: see
    the module's text. ``tell(rows, params, resolve)``: what it found on the way, ready for JSON,
    such as the threshold that keeps a share; ``rows`` is what it is applied to."""

    apply: Callable[..., Manifest]
    tell: Tell | None = None

    @property
    def function(self) -> Callable[..., Manifest]:
        return self.apply

    @property
    def given(self) -> frozenset[str]:
        return frozenset({"num_classes", "resolve", "manifest", "class_names"})

    @property
    def names_classes(self) -> bool:
        """Whether it wants the classes' names, for its messages."""
        return "class_names" in inspect.signature(self.apply).parameters


RULES: Final[Registry[Rule]] = Registry(
    "selection rule",
    {
        rule.__name__: Rule(rule.__name__, rule, tell)
        for rule, tell in (
            (balance, None),
            (below, _tell_below),
            (drop_correct, _tell_truth),
            (drop_errors, _tell_truth),
            (hardest, None),
            (keep, None),
            (oracle, None),
            (per_class, None),
            (random_like, None),
            (relabel, None),
            (relabel_worst, None),
            (weigh, None),
            (without, None),
            (worst, None),
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
    class_names: Sequence[str] = (),
    steps: list[dict[str, Any]] | None = None,
) -> Manifest:
    """Apply rules one after the other; none = every usable example as given.

    Args:
        rules: (name, parameters) in order.
        scores: the ``scores`` table of one split.
        num_classes: M.
        resolve: name -> manifest, for rules that refer to another selection.
        class_names: M names, for messages; none = classes go by their index.
        steps: gets, for each rule in turn: ``rule`` as text, ``of`` and ``kept`` (examples before
            and after), ``changed`` (whether it changed anything), ``per_class`` (examples of each
            class after it, M numbers), and what the rule found.

    Returns:
        A manifest in the order of example ids; copies are 1 or more.

    Raises:
        UnknownNameError, UsageError: names and values, checked for all rules before the first one
            runs.
        NotFoundError: if no example has a label and scores, or none is left.
    """
    chain = [(name, RULES[name].canonical(params), params) for name, params in rules]
    manifest = scored(scores, None).manifest()
    if not len(manifest):
        labelled = int((np.nan_to_num(finite_numbers(scores, "label"), nan=-1) >= 0).sum())
        why = (
            "none has a label" if not labelled else f"{labelled} have a label, but none is answered"
        )
        raise NotFoundError(
            f"nothing to select from: of {len(scores)} examples {why}. Allowed: splits with labels,"
            " answered by some classifier. Choose another split, or fill and score this one."
        )
    if manifest.labels.max() >= num_classes:
        raise UsageError(
            f"label {manifest.labels.max()} in the scores. Allowed: 0 to {num_classes - 1}. Pass"
            " the number of classes of this data set."
        )
    for name, canonical, params in chain:
        before, rule = manifest, RULES[name]
        more: dict[str, Any] = {"class_names": class_names} if rule.names_classes else {}
        manifest = rule.apply(
            scores,
            num_classes=num_classes,
            resolve=resolve,
            manifest=before,
            **more,
            **canonical,
        )
        text = Op(name=name, params=dict(params)).text
        if not len(manifest):
            raise NotFoundError(
                f"rule {text} left none of {len(before)} examples. Allowed: rules that leave at"
                " least one. Use milder values; 'zoo score' shows how the scores are spread."
            )
        if steps is not None:
            steps.append(
                {
                    "rule": text,
                    "of": len(before),
                    "kept": len(manifest),
                    "changed": not manifest.equals(before),
                    "per_class": np.bincount(manifest.labels, minlength=num_classes).tolist(),
                    **(rule.tell(scored(scores, before), canonical, resolve) if rule.tell else {}),
                }
            )
    weighed = [canonical["raw"] for name, canonical, _ in chain if name == "weigh"]
    return manifest if weighed and weighed[-1] else _mean_one(manifest)


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
        rows = scored(scores, manifest)
        relabelled = int((rows.labels != rows.column("label")).sum())
        share_kept = len(rows) / max(len(scored(scores, None)), 1)
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
