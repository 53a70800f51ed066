"""zoo: train a zoo of image classifiers, run a data set through all of them, and read off which examples are hard, ambiguous or mislabelled.

>>> import zoo                                             # doctest: +SKIP
>>> zoo.open("./zoo-workspace").scores("train")            # doctest: +SKIP
>>> zoo.perplexity(probabilities, labels)                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.api import Study, open  # noqa: A004 - zoo.open is the name users know
    from zoo.errors import ZooError
    from zoo.scores.from_arrays import perplexity

__all__ = ["Study", "ZooError", "open", "perplexity"]

_HOME = {"Study": "zoo.api", "open": "zoo.api", "perplexity": "zoo.scores.from_arrays", "ZooError": "zoo.errors"}


def __getattr__(name: str) -> Any:
    # Public names are imported when first used: ``import zoo`` costs milliseconds.
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'zoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
