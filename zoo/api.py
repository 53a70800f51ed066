"""Python access to a workspace: ``zoo.open(path)``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.scores import from_store, population
from zoo.store import ledger
from zoo.store.answers import logits_of
from zoo.store.query import query
from zoo.store.workspace import Workspace

__all__ = ["Study", "open"]


class Study:
    """A workspace opened for reading."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def scores(self, split: str = "train", where: str | None = None) -> pd.DataFrame:
        """The ``scores`` table of the population on a split, computed from the store.

        Args:
            where: SQL condition over the ``classifiers`` table: a sub-population. Without one: all that were trained on the data as given, or
                on random parts of it.

        Raises:
            NotFoundError: if no classifier is left.
            StoreError: if some have no answers on the split.
        """
        table: pd.DataFrame = from_store.score(self.workspace, population.choose_population(self.workspace, where), split).to_pandas()
        return table

    def classifiers(self) -> pd.DataFrame:
        """The ``classifiers`` table."""
        return ledger.classifiers_frame(self.workspace)

    def trainings(self) -> pd.DataFrame:
        """The ``trainings`` table."""
        return ledger.trainings_frame(self.workspace)

    def query(self, sql: str) -> pd.DataFrame:
        """One SELECT over the tables of ``zoo schema``."""
        table: pd.DataFrame = query(self.workspace, sql).to_pandas()
        return table

    def logits(self, classifier_id: str, split: str) -> NDArray[np.float16]:
        """Centred logits (minus their maximum) of one classifier, float16 [E, M]; memory-mapped where the split is one shard.

        Raises:
            StoreError: if none were kept.
        """
        return logits_of(self.workspace, classifier_id, split)


def open(workspace: str | Path) -> Study:  # noqa: A001 - zoo.open is the name users know
    """Open a workspace for reading.

    Raises:
        NotFoundError: if there is none.
    """
    return Study(Workspace.open(workspace))
