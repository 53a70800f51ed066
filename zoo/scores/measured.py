"""What the scores of a population are worth: how well they find labels known to be wrong, and how
many classifiers would have been enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pandas as pd

from zoo.scores.convergence import convergence_table
from zoo.scores.detection import LabelErrors, label_errors
from zoo.scores.from_store import Probabilities
from zoo.scores.population import Population
from zoo.store.results import write_table
from zoo.store.workspace import Workspace

__all__ = ["NOT_MEASURED", "Measured", "detect", "measure"]


@dataclass(frozen=True)
class Measured:
    """What is known of a population's scores.

    Args:
        detection: how well label errors are found; None where no true label is known.
        convergence: table ``convergence``; None for a population of one, or where the training
            split was not scored.
    """

    detection: LabelErrors | None = None
    convergence: pd.DataFrame | None = None

    @property
    def notes(self) -> list[str]:
        """What is to be said about the detection: what cleanlab flags, or why it is not there."""
        if self.detection is None:
            return []
        notes = [
            f"{row['score']}: {row['n_flagged']:,.0f} examples flagged by cleanlab's own estimate"
            f" of their number, precision {row['precision']:.3f}, recall {row['recall']:.3f}."
            for row in self.detection.flagged.to_dict(orient="records")
        ]
        return notes or [f"Without cleanlab beside them. {self.detection.reason}"]


NOT_MEASURED: Final = Measured()


def detect(
    workspace: Workspace, population: Population, split: str, scores: pd.DataFrame
) -> LabelErrors:
    """How well a population's scores of a split find label errors; written as table ``detection``
    where a true label is known.

    Args:
        scores: the ``scores`` table of that population and split.
    """
    found = label_errors(scores, Probabilities(workspace, population, split))
    if len(found.table):
        write_table(workspace, "detection", found.table, population.origin(split).as_json())
    return found


def measure(
    workspace: Workspace, population: Population, scores: Mapping[str, pd.DataFrame]
) -> Measured:
    """Detection on the first scored split with known truth (train before others), and convergence
    on the training split; both are written.

    Args:
        scores: the ``scores`` table of that population by split.
    """
    known = [
        split
        for split in sorted(scores, key=lambda name: name != "train")
        if scores[split]["label_true"].notna().any()
    ]
    detection = detect(workspace, population, known[0], scores[known[0]]) if known else None
    convergence = None
    if "train" in scores and len(population.classifiers) > 1:
        convergence = convergence_table(workspace, population)
        write_table(workspace, "convergence", convergence, population.origin("train").as_json())
    return Measured(detection, convergence)
