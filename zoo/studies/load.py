"""Find and load experiments: files that expose ``experiment(scale)`` and have no side effects."""

from __future__ import annotations

import importlib.util
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zoo.errors import UnknownNameError, UsageError
from zoo.spec import Experiment

__all__ = ["Judge", "folders", "judge_of", "load", "names"]


def folders() -> list[Path]:
    """Where experiments live: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return [folder for folder in (package / "experiments", package.parent / "experiments") if folder.is_dir()]


def names() -> dict[str, Path]:
    """Experiments that can be named, with their files."""
    return {path.stem: path for folder in reversed(folders()) for path in sorted(folder.glob("[!_]*.py"))}


def load(name: str, scale: str | None = None) -> Experiment:
    """The experiment of that name (or at that path) at a scale; its first scale if none is given.

    Raises:
        UnknownNameError: for an unknown experiment or scale.
        UsageError: if the file is no experiment.
    """
    path, module = _module(name)
    make, scales = getattr(module, "experiment", None), getattr(module, "SCALES", None)
    if not inspect.isfunction(make) or not scales:
        raise UsageError(f"{path} is no experiment: it must define SCALES (names) and experiment(scale) -> zoo.spec.Experiment.")
    chosen = scale or next(iter(scales))
    if chosen not in scales:
        raise UnknownNameError(f"scale of {path.stem}", chosen, scales)
    made = make(chosen)
    if not isinstance(made, Experiment):
        raise UsageError(f"{path}: experiment({chosen!r}) returned {type(made).__name__}, not zoo.spec.Experiment.")
    return made.replace(source=name if name in names() else str(path.absolute()))


@dataclass(frozen=True)
class Judge:
    """What the file of an experiment that judges claims says beside ``experiment``.

    Args:
        points: (scale, seed) -> its ``zoo.studies.points.Point``s.
        verdicts: ``zoo.studies.outcomes.Outcomes`` -> verdict table, with the columns ``zoo.store.schema.VERDICT_COLUMNS``.
        charts: ``Outcomes`` -> ``zoo.studies.findings.Chart``s in the order to be shown.
    """

    points: Callable[..., Any]
    verdicts: Callable[..., Any]
    charts: Callable[..., Any]


def judge_of(experiment: Experiment) -> Judge | None:
    """What judges an experiment's claims; None if its file defines none of ``points``, ``verdicts``, ``charts``.

    Raises:
        UsageError: if the file defines some of them only.
    """
    if not experiment.source:
        return None
    path, module = _module(experiment.source)
    hooks = {field.name: getattr(module, field.name, None) for field in fields(Judge)}
    missing = [name for name, hook in hooks.items() if hook is None]
    if missing and len(missing) < len(hooks):
        raise UsageError(f"{path} defines no {' and no '.join(missing)}. A study that judges claims has all of {', '.join(hooks)}.")
    return None if missing else Judge(**hooks)  # type: ignore[arg-type]


def _module(name: str) -> tuple[Path, types.ModuleType]:
    known = names()
    path = known.get(name) or Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise UnknownNameError("experiment", name, known, "A path to a .py file also works.")
    spec = importlib.util.spec_from_file_location(f"zoo_experiment_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return path, module
