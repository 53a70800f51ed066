"""The manifest so far beside the scores of its examples, and the orders of examples that rules
choose by.

Shape letters: E examples, n of them in the manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Ints, Mask
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.scores.catalog import SHORT_NAMES, SIDES, SINGLE, TOGETHER, suspicion, worst_first
from zoo.trainsets.conditions import condition, finite_numbers, smaller

__all__ = ["JOINT", "Joint", "Scored", "random_rank", "rank_within", "scored"]

JOINT: Final = "joint"
"""What ``by`` says for the order of ``Scored.joint``: worse by C or by X, whichever is worse."""

_FAR: Final = 0.05
"""How far, as a share of the examples, a joint threshold may miss the share asked for: ties of a
few classifiers can leave larger holes, and an arm of another size answers another question."""


@dataclass(frozen=True)
class Joint:
    """The threshold at which C and X together keep a share of the examples.

    Attributes:
        q: the share of each score's quantile, 0..1.
        c, x: the quantiles there; what lies at them is kept. None: that score does not decide.
        keep: bool [n].
    """

    q: float
    c: float | None
    x: float | None
    keep: Mask


@dataclass(frozen=True)
class Scored:
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

    def score(self, name: str, *, heldout: bool = False) -> Floats:
        """``column``; with ``heldout`` that over the held-out classifiers where there are some."""
        values = self.column(name)
        if not heldout:
            return values
        held = self.column(f"{name}_heldout")
        return np.where(np.isnan(held), values, held)

    def meets(self, text: str, class_names: Sequence[str] = ()) -> Mask:
        """Which of them a condition is true of, bool [n]; percentiles are among these alone.
        ``class_names``: M names, for classes that it names."""
        return condition(text)(self.scores.iloc[self.positions], class_names)

    def wrong(self, rule: str) -> tuple[Mask, Mask]:
        """(labels known to be wrong, labels known to be right), bool [n] each.

        Raises:
            NotFoundError: if the truth of none is known.
        """
        truth = (
            self.column("label_true") if "label_true" in self.scores else np.full(len(self), np.nan)
        )
        known = ~np.isnan(truth) & (truth >= 0)
        if len(self) and not known.any():
            raise NotFoundError(
                f"{rule}: the truth of no example is known: label_true is null of all {len(self)}."
                " Allowed: data that know it, such as a set with planted wrong labels. Leave the"
                " rule out for this one."
            )
        return known & (truth != self.labels), known & (truth == self.labels)

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

    # ------------------------------------------------------------ orders

    def worst_first(self, by: str) -> Ints:
        """Positions, worst first: the order of suspects, see ``zoo.scores.catalog.suspicion``;
        without the score last. ``by``: a column of ``SIDES``, its short name, one of
        ``TOGETHER`` or ``SINGLE``, or ``joint``.

        Raises:
            UnknownNameError: for another name.
            NotFoundError: for a score that no example has, and one of ``TOGETHER`` or ``SINGLE``
                where there is no workspace to work it out in.
        """
        if by == JOINT:
            ranks = self._joint_ranks((self.score("c"), self.score("x"))).astype(np.float64)
            return worst_first(ranks, self.column("x"), self.example_ids)
        column = SHORT_NAMES.get(by, by)
        if column not in SIDES | TOGETHER | SINGLE:
            short = (s for s, c in SHORT_NAMES.items() if c in SIDES)
            known = [*SIDES, *TOGETHER, *SINGLE, JOINT, *short]
            raise UnknownNameError("score to rank by", by, known)
        if column in TOGETHER and column not in self.scores:
            raise NotFoundError(
                f"no order by {column}: it is worked out from a population's kept logits, and no"
                " column of the scores. Allowed: selections in a workspace, by 'zoo select' or an"
                " experiment. Rank by a column of 'zoo schema scores'."
            )
        if column in SINGLE and column not in self.scores:
            raise NotFoundError(
                f"no order by {column}: it is of one training beside the population, and no column"
                " of the scores. Allowed: experiments that declare one (single=). Rank by el2n,"
                " forgetting, aum or small_loss, which are of the population's trainings."
            )
        values = self.column(column)
        if len(self) and np.isnan(values).all():
            raise NotFoundError(
                f"no example has the score {column}: it is null of all {len(self)}. Allowed: scores"
                " that some example has. Rank by another, or see in 'zoo schema scores' what it"
                " needs."
            )
        held = self.column("n_heldout") if "n_heldout" in self.scores else None
        return worst_first(suspicion(column, values, held), self.column("x"), self.example_ids)

    @staticmethod
    def _joint_ranks(values: tuple[Floats, ...]) -> Ints:
        """For each example the k at which Q(k / (n - 1)) first reaches it in every score, Q the
        quantile by linear interpolation: how many examples have a smaller value, at most. int64
        [n]."""
        ranks: Ints = np.max([smaller(each) for each in values], axis=0)
        return ranks

    def joint(self, share: float, by: str, *, heldout: bool = False) -> Joint:
        """The one q at which C <= Q_C(q) and X <= Q_X(q) together keep the share of the examples
        that is nearest to ``share``; of two equally near ones the larger.

        Args:
            share: above 0, up to 1.
            by: ``both``, or ``c`` or ``x`` alone.
            heldout: see ``score``.

        Raises:
            UsageError: if ties leave no share within a twentieth of it.
        """
        names = ("c", "x") if by == "both" else (by,)
        values = tuple(self.score(name, heldout=heldout) for name in names)
        n = len(self)
        if n == 0:
            return Joint(1.0, None, None, np.zeros(0, dtype=bool))
        ranks = self._joint_ranks(values)
        steps = np.unique(ranks)
        kept = np.searchsorted(np.sort(ranks), steps, side="right")
        # from the largest down, so that of two equally near the larger is found first
        best = len(steps) - 1 - int(np.argmin(np.abs(kept[::-1] - share * n)))
        if abs(kept[best] - share * n) > max(1.0, _FAR * n):
            near = [number for number in (best - 1, best, best + 1) if 0 <= number < len(steps)]
            levels = len(np.unique(self.score("x", heldout=heldout)))
            raise UsageError(
                f"below: no threshold keeps {share:.1%} of {n} examples, because of ties: X has"
                f" {levels} levels here. Allowed: shares within 5 points of"
                f" {' or '.join(f'{kept[number] / n:.1%}' for number in near)}. Drop by rank, which"
                f" breaks ties: worst:share={1 - share:.4g},by={JOINT if by == 'both' else by}; or"
                " score with more classifiers."
            )
        rank = int(steps[best])
        at = {name: float(np.sort(each)[rank]) for name, each in zip(names, values, strict=True)}
        return Joint(
            rank / (n - 1) if n > 1 else 1.0, at.get("c"), at.get("x"), np.asarray(ranks <= rank)
        )


def scored(scores: pd.DataFrame, manifest: Manifest | None) -> Scored:
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
        return Scored(
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
    return Scored(
        scores,
        positions[here],
        wanted[here],
        manifest.labels[here],
        manifest.copies[here],
        manifest.weights[here],
    )


def rank_within(groups: Ints, count: int) -> Ints:
    """For each position its number 0, 1, ... among the positions of the same group, in the order
    given. int64 [n]."""
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - starts[groups[order]]
    return rank


def random_rank(key: str, example_ids: Ints, groups: Ints, count: int) -> Ints:
    """A random order 0, 1, ... within each group, int64 [n]: by keyed draw, ties by example_id, the
    same for any subset."""
    order = np.lexsort((example_ids, keyed.uniform(key, example_ids)[:, 0]))
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = rank_within(groups[order], count)
    return rank
