"""Studies: points, outcomes, measures, claims, findings; arms and their comparison.

Everything that the file of an experiment needs is imported from here, and only when it is asked
for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame as Table

    from zoo.errors import NotFoundError
    from zoo.recipes import RECIPES
    from zoo.spec import Arm, ArmGroup, Experiment, Op, Recipe, SelectionRule, Sweep
    from zoo.statistics import blocks, mean_interval, mean_square, power_law, rank_correlation
    from zoo.studies.claims import (
        UNKNOWN,
        Claim,
        Evidence,
        Finding,
        NotTested,
        above,
        all_of,
        any_of,
        below,
        between,
        points_text,
        verdict_table,
    )
    from zoo.studies.class_changes import class_matters
    from zoo.studies.findings import Chart
    from zoo.studies.measures import (
        Row,
        accuracy_line,
        beyond_ceiling,
        change_name,
        changed_table,
        curve_table,
        heat,
        lines,
        matched_harm,
        power_law_table,
        reference_line,
        seed_noise,
        size_of,
        value,
    )
    from zoo.studies.outcomes import Outcomes
    from zoo.studies.points import Point, sweeps_of
    from zoo.studies.wrong_labels import require_memorised
    from zoo.trainsets.rules import parse as rules
    from zoo.trainsets.treatments import op

_HOMES = {
    "pandas": ("Table",),
    "zoo.errors": ("NotFoundError",),
    "zoo.recipes": ("RECIPES",),
    "zoo.spec": (
        "Arm",
        "ArmGroup",
        "Experiment",
        "Op",
        "Recipe",
        "SelectionRule",
        "Sweep",
    ),
    "zoo.statistics": (
        "blocks",
        "mean_interval",
        "mean_square",
        "power_law",
        "rank_correlation",
    ),
    "zoo.studies.claims": (
        "Claim",
        "Evidence",
        "Finding",
        "NotTested",
        "UNKNOWN",
        "above",
        "all_of",
        "any_of",
        "below",
        "between",
        "points_text",
        "verdict_table",
    ),
    "zoo.studies.class_changes": ("class_matters",),
    "zoo.studies.findings": ("Chart",),
    "zoo.studies.measures": (
        "Row",
        "accuracy_line",
        "beyond_ceiling",
        "change_name",
        "changed_table",
        "curve_table",
        "heat",
        "lines",
        "matched_harm",
        "power_law_table",
        "reference_line",
        "seed_noise",
        "size_of",
        "value",
    ),
    "zoo.studies.outcomes": ("Outcomes",),
    "zoo.studies.points": (
        "Point",
        "sweeps_of",
    ),
    "zoo.studies.wrong_labels": ("require_memorised",),
    "zoo.trainsets.rules": ("rules",),
    "zoo.trainsets.treatments": ("op",),
}
"""Module -> what is taken from it."""

_THERE = {"Table": "DataFrame", "rules": "parse"}
"""Name there, where it is another."""

__all__ = [
    "RECIPES",
    "UNKNOWN",
    "Arm",
    "ArmGroup",
    "Chart",
    "Claim",
    "Evidence",
    "Experiment",
    "Finding",
    "NotFoundError",
    "NotTested",
    "Op",
    "Outcomes",
    "Point",
    "Recipe",
    "Row",
    "SelectionRule",
    "Sweep",
    "Table",
    "above",
    "accuracy_line",
    "all_of",
    "any_of",
    "below",
    "between",
    "beyond_ceiling",
    "blocks",
    "change_name",
    "changed_table",
    "class_matters",
    "curve_table",
    "heat",
    "lines",
    "matched_harm",
    "mean_interval",
    "mean_square",
    "op",
    "points_text",
    "power_law",
    "power_law_table",
    "rank_correlation",
    "reference_line",
    "require_memorised",
    "rules",
    "seed_noise",
    "size_of",
    "sweeps_of",
    "value",
    "verdict_table",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(module), _THERE.get(name, name))
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
