"""zoo: train a zoo of image classifiers, run a data set through all of them, and read off which
examples are hard, ambiguous or mislabelled.

>>> import zoo                                             # doctest: +SKIP
>>> zoo.open("./zoo-workspace").scores("train")            # doctest: +SKIP
>>> zoo.perplexity(probabilities, labels)                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo import studies
    from zoo.api import Zoo, audit, open, plan, run  # noqa: A004 - zoo.open is the name users know
    from zoo.errors import ZooError
    from zoo.scores.from_arrays import perplexity

__all__ = ["Zoo", "ZooError", "audit", "open", "perplexity", "plan", "run", "studies"]

_HOME = {
    "Zoo": "zoo.api",
    "ZooError": "zoo.errors",
    "audit": "zoo.api",
    "open": "zoo.api",
    "perplexity": "zoo.scores.from_arrays",
    "plan": "zoo.api",
    "run": "zoo.api",
}


def __getattr__(name: str) -> Any:
    # Public names are imported when first used: ``import zoo`` costs milliseconds.
    import importlib

    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name == "studies":  # what the file of an experiment needs
        return importlib.import_module("zoo.studies")
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
