"""Which trainings may share a batch. Loads no torch, so that who hands out batches can ask."""

from __future__ import annotations

from collections.abc import Iterable

from zoo.spec import Training, canonical_json

__all__ = ["alike", "kind"]


def alike(trainings: Iterable[Training]) -> list[list[Training]]:
    """Batches for ``run``: of one architecture, input size, recipe and number of steps, in the
    order of their first members.

    The number of steps is the recipe's, or follows from the treatment apart from its draws
    (``replica``, ``seed``).
    """
    batches: dict[str, list[Training]] = {}
    for training in trainings:
        batches.setdefault(kind(training), []).append(training)
    return list(batches.values())


def kind(training: Training) -> str:
    """What trainings must have in common to be alike, as text."""
    steps = [
        op.as_json()
        | {
            "params": {
                name: value for name, value in op.params.items() if name not in ("replica", "seed")
            }
        }
        for op in training.treatment
    ]
    recipe = training.recipe
    return canonical_json(
        [
            training.arch,
            training.input_size,
            recipe.as_json(),
            None if recipe.steps_per_epoch else steps,
        ]
    )
