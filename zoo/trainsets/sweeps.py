"""A sweep as people write it: architectures, fractions such as ``0.25x3``, folds such as ``5x2``, a
recipe with changes, treatment steps."""

from __future__ import annotations

from collections.abc import Sequence

from zoo import models
from zoo.errors import UsageError
from zoo.recipes import parse_recipe
from zoo.spec import Op, Sweep
from zoo.trainsets.treatments import op, parse

__all__ = ["listed", "numbers", "sweep_of"]


def listed(values: Sequence[str] | None) -> list[str]:
    """Commas and repetition both make a list."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def numbers(values: Sequence[str] | None, what: str) -> list[int]:
    """Whole numbers with commas between them; ``what`` was given them.

    Raises:
        UsageError: for what is none.
    """
    try:
        return [int(value) for value in listed(values)]
    except ValueError:
        raise UsageError(
            f"{what} {','.join(values or ())!r}: allowed are whole numbers with commas between"
            " them, such as 0,1,2."
        ) from None


def _fractions(values: Sequence[str]) -> list[tuple[float, int]]:
    """``0.25x3,1`` -> [(0.25, 1), (0.25, 2), (0.25, 3), (1.0, 0)]: fraction and replica."""
    found: list[tuple[float, int]] = []
    for text in listed(values):
        number, times, count = text.partition("x")
        try:
            fraction, replicas = float(number), int(count) if times else 1
        except ValueError:
            raise UsageError(
                f"fraction {text!r}: write 0.25 for a quarter, 0.25x3 for three independent"
                " quarters."
            ) from None
        if not 0 < fraction <= 1 or replicas < 1:
            raise UsageError(
                f"fraction {text!r}: allowed are fractions above 0 up to 1, and one replica or"
                " more. Example: --fractions 0.25x3,0.5x3,1"
            )
        if fraction == 1 and replicas > 1:
            raise UsageError(
                f"fraction {text!r}: the whole set has no independent replicas. Write 1, and vary"
                " --seeds instead."
            )
        found += (
            [(fraction, replica) for replica in range(1, replicas + 1)]
            if fraction < 1
            else [(1.0, 0)]
        )
    return found


def _folds(values: Sequence[str]) -> list[Op]:
    """``5x2`` -> the ten trainings of five folds, shared out twice."""
    found = []
    for text in listed(values):
        number, times, count = text.partition("x")
        try:
            of, repeats = int(number), int(count) if times else 1
        except ValueError:
            raise UsageError(
                f"folds {text!r}: write 5 for five folds, 5x2 for five folds shared out twice."
            ) from None
        if of < 2 or repeats < 1:
            raise UsageError(
                f"folds {text!r}: allowed are two folds or more, and one repeat or more. Example:"
                " --folds 5x2"
            )
        found += [
            op("fold", index=index, of=of, repeat=repeat)
            for repeat in range(repeats)
            for index in range(of)
        ]
    return found


def sweep_of(
    archs: Sequence[str] | None,
    fractions: Sequence[str] | None,
    epochs: int | None,
    snapshots: Sequence[str] | None,
    recipe: str,
    treatment: str | None,
    seeds: Sequence[str] | None,
    input_size: int | None,
    folds: Sequence[str] | None = None,
) -> Sweep:
    """The grid that these words ask for; class names in the treatment are looked up when the data
    set is known.

    Raises:
        UnknownNameError, UsageError: for a name that is not there, or a value that is none.
    """
    chosen = parse_recipe(recipe)
    if epochs is not None:
        chosen = chosen.replace(epochs=epochs)
    base = parse(treatment) if treatment else ()
    held_out = _folds(folds or [])
    treatments = [
        (*((op("subsample", fraction=f, replica=r),) if f < 1 else ()), *base)
        for f, r in _fractions(fractions or ([] if held_out else ["1"]))
    ]
    treatments += [(step, *base) for step in held_out]
    return Sweep(
        archs=tuple(models.model(arch).name for arch in listed(archs)),
        treatments=tuple(treatments),
        recipe=chosen,
        seeds=tuple(numbers(seeds, "--seeds") or [0]),
        snapshots=tuple(numbers(snapshots, "--snapshots")) or None,
        input_size=input_size,
    )
