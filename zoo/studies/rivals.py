"""What a cleaning is compared with where as many examples are removed: other orders of suspicion,
and controls. What takes a cleaning's effect apart is the experiment ``decomposition``.

Sources of the scores: ``zoo.scores.catalog``; of the rules: docs/rules.md.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CONTROLS", "RIVALS", "beside"]

RIVALS: Final = {
    "by label quality": "label_quality",
    "by logit margin": "logit_margin_prior",
    "by log p": "mean_log_p",
    "by X held out": "x_heldout",
    "by EL2N": "el2n",
    "by forgetting": "forgetting",
    "by AUM": "aum",
    "by memorisation": "memorisation_gap",
    "by X": "x",
    "by C": "c",
    "by pooled margin": "pooled_log_margin",
    "by confident learning": "confident_issues",
    "by small loss": "small_loss",
    "by EL2N of one training": "single_el2n",
    "by forgetting of one training": "single_forgetting",
    "by AUM of one training": "single_aum",
    "by loss of one training": "single_loss",
}
"""Arm -> the score whose worst it removes. X held out is one minus Data-OOB. EL2N, forgetting and
AUM, which their sources take of one training, are means over all trainings, of the snapshots that
the population has; ``of one training`` is as the sources do it: one network more, with every epoch
a snapshot. Confident learning is cleanlab's find_label_issues by its defaults on held-out
probabilities: what it flags goes first. Small loss is that of one network; by log p is the same of
all."""

CONTROLS: Final = {
    "random": "random_like:name={},per_class=true",
    "noise removed": "drop_errors:like={}",
    "easiness": "drop_correct:like={}",
    "true labels": "oracle",
}
"""Arm -> its rule, ``{}`` being the cleaning. By truth, and as many as the cleaning drops of both
kinds: ``noise removed`` drops wrong labels alone, at random, so more noise than the cleaning does;
``easiness`` right ones alone, the first that the cleaning would drop, so that the share of wrong
ones rises. They are no parts of its effect that add up."""


def beside(cleaning: str) -> dict[str, str]:
    """Rivals, then controls, as rules as text.

    Args:
        cleaning: name of a selection; as many examples as it removes are removed.
    """
    return {arm: f"worst:like={cleaning},by={score}" for arm, score in RIVALS.items()} | {
        arm: rule.format(cleaning) for arm, rule in CONTROLS.items()
    }
