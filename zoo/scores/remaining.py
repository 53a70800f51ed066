"""How many wrong labels are left after some examples were reviewed, and whether to go on.

The mixture that counts wrong labels (``zoo.scores.label_count``), fitted again with what reviewers
found: a label they call wrong counts as such, one they keep as right, and both say more about the
share of wrong ones. Which examples were looked at does not matter, since the list they were taken
from was made of the same answers. What is left is the sum of the probabilities of the examples not
reviewed. Its 95 % interval is a percentile bootstrap over examples and groups of classifiers, as
that of the count, with a draw of which labels are wrong on top.

It is conditional on the mixture: wrong labels fall on the other classes alike. Where they do not,
and on what reviewers overlook, nothing here is an answer.

A decision to keep, or to give the label that was there, says that it is right; another label, or to
drop the example, that it is wrong.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Ints
from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.scores.catalog import worst_first
from zoo.scores.label_count import held_out_sums, refitted
from zoo.scores.population import choose_population
from zoo.scores.suspects import score_values, suspicion_of
from zoo.store.decisions import decisions_of, settle
from zoo.store.results import read_scores
from zoo.store.workspace import Workspace

__all__ = ["Remaining", "remaining", "remaining_after_decisions"]

_REPLICATES: Final = 100
_NEXT: Final = 20


@dataclass(frozen=True)
class Remaining:
    """What is left.

    Args:
        reviewed: examples with a settled decision, of those that the estimate is about.
        wrong: how many of them were wrong.
        unreviewed: the others.
        expected: wrong labels among these.
        low, high: its 95 % interval.
        next: how many come next in the list, 20 or what is left.
        next_expected: wrong labels among these.
    """

    reviewed: int
    wrong: int
    unreviewed: int
    expected: float
    low: float
    high: float
    next: int
    next_expected: float

    @property
    def stop(self) -> bool:
        """Whether the next twenty hold less than one wrong label."""
        return self.next_expected < 1

    @property
    def text(self) -> str:
        """A line for people."""
        if not self.unreviewed:
            return f"all {self.reviewed:,} were reviewed, {self.wrong:,} of them were wrong"
        return (
            f"of {self.reviewed:,} reviewed {self.wrong:,} were wrong; about {self.expected:.0f}"
            f" more wrong labels (95 % interval {self.low:.0f} to {self.high:.0f}) among the"
            f" {self.unreviewed:,} others, {self.next_expected:.1f} of them among the next"
            f" {self.next}: {'stop here' if self.stop else 'go on'}"
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "stop": self.stop, "text": self.text}


def remaining(
    sums: NDArray[np.floating],
    counts: Ints,
    labels: Ints,
    order: Ints,
    found: Ints,
    *,
    replicates: int = _REPLICATES,
) -> Remaining:
    """What is left.

    Args:
        sums, counts, labels: as of ``zoo.scores.label_count.count_wrong``.
        order: int64 [E], positions of the examples, most suspicious first.
        found: int64 [E], what reviewers found: 1 = wrong, 0 = right, -1 = not reviewed.
        replicates: of the bootstrap.

    Raises:
        UsageError: as ``count_wrong``.
    """
    p, drawn = refitted(sums, counts, labels, found, replicates)
    known = ~np.isnan(p)
    rest = order[known[order] & (found[order] < 0)]
    generator = np.random.Generator(np.random.Philox(key=keyed.key_seed("remaining")))
    left = [int((generator.random(len(rest)) < each[rest]).sum()) for each in drawn]
    low, high = np.quantile(left, (0.025, 0.975))
    expected = float(p[rest].sum())
    return Remaining(
        reviewed=int((known & (found >= 0)).sum()),
        wrong=int((known & (found == 1)).sum()),
        unreviewed=len(rest),
        expected=expected,
        low=min(float(low), expected),
        high=max(float(high), expected),
        next=min(_NEXT, len(rest)),
        next_expected=float(p[rest[:_NEXT]].sum()),
    )


def remaining_after_decisions(workspace: Workspace, dataset: str, split: str) -> Remaining | None:
    """What is left of a data set's split (by fingerprint) after the decisions that are stored; None
    without decisions, or where wrong labels were not counted: no scores, or no kept logits."""
    settled = settle(decisions_of(workspace, dataset, split)).chosen
    if not settled:
        return None
    try:
        scores = read_scores(workspace, dataset, split)[0]
        population = choose_population(workspace, dataset=dataset)
        held = held_out_sums(workspace, population, split)
    except (NotFoundError, StoreError):
        return None
    if held is None:
        return None
    ids = scores["example_id"].to_numpy(dtype=np.int64)
    labels = scores["label"].where(scores["n"] > 0).fillna(-1).to_numpy(dtype=np.int64)
    found = np.full(len(ids), -1, dtype=np.int64)
    for place in np.flatnonzero(np.isin(ids, list(settled))):
        decision = settled[int(ids[place])]
        found[place] = decision.decision == "drop" or decision.label not in (None, labels[place])
    order = worst_first(
        suspicion_of(scores, "label_quality"), score_values(scores, "x_perplexity"), ids
    )
    try:
        return remaining(*held, labels, order, found)
    except UsageError:  # nothing was held out
        return None
