"""What a study of damaged training sets is made of: its points (one damaged training set each) and
their sweeps.

A point is an aspect of data quality ("label_noise"), a setting of it (0.2) and the treatment that
makes it. A study trains every point with several seeds; a seed changes the initial weights, the
order of the examples and the draw of the damage, never the images the study starts from, so that a
point and the baseline of the same seed form a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zoo.spec import Op, Recipe, Sweep, treatment_text

__all__ = ["Point", "sweeps_of"]


@dataclass(frozen=True)
class Point:
    """One damaged training set of a study.

    Args:
        aspect: the kind of damage, the study's own word, such as ``delete_class``; ``baseline`` =
            none.
        setting: how much or which: a fraction, a sigma, a class index.
        ops: the treatment.
        other: a second class where the damage has one (relabel c -> other); -1 = none.
        input_size: side of the network's input where it is not the architecture's own rule.
    """

    aspect: str
    setting: float
    ops: tuple[Op, ...]
    other: int = -1
    input_size: int | None = None


def sweeps_of(
    points: Callable[[int], Sequence[Point]],
    *,
    archs: tuple[str, ...],
    seeds: Sequence[int],
    recipe: Recipe,
    recipes: Mapping[str, Recipe] | None = None,
    eval_every: Mapping[str, int] | None = None,
) -> tuple[Sweep, ...]:
    """The sweeps that train every point of every seed.

    Args:
        points: seed -> the points of that repetition, whose damage is drawn by that seed.
        eval_every: aspect -> epochs between test evaluations; other aspects are evaluated at their
            end only.
    """
    sweeps = []
    for seed in seeds:
        groups: dict[tuple[int, int | None], dict[str, tuple[Op, ...]]] = {}
        for point in points(seed):
            group = groups.setdefault(
                ((eval_every or {}).get(point.aspect, 0), point.input_size), {}
            )
            group[treatment_text(point.ops)] = point.ops
        sweeps += [
            Sweep(
                archs=archs,
                treatments=tuple(treatments.values()),
                recipe=recipe,
                recipes=dict(recipes or {}),
                seeds=(seed,),
                eval_every=every,
                input_size=size,
            )
            for (every, size), treatments in groups.items()
        ]
    return tuple(sweeps)
