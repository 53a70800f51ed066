"""Which trainings may share a batch. Loads no torch, so that who hands out batches can ask."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.spec import Training, canonical_json

__all__ = ["alike", "kind"]


def alike(trainings: Iterable[Training]) -> list[list[Training]]:
    """Batches for ``run``: of one architecture, input and recipe, in the order of their first
    members. Data, treatment and seed may differ, and with them the number of steps."""
    batches: dict[str, list[Training]] = {}
    for training in trainings:
        batches.setdefault(kind(training), []).append(training)
    return list(batches.values())


def kind(training: Training) -> str:
    """What trainings must have in common to be alike, as text."""
    return canonical_json(
        [training.arch, training.input_size, training.features, training.recipe.as_json()]
    )
