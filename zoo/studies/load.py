"""Find and load experiments: files that expose ``experiment(scale)`` and have no side effects."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import inspect
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from zoo.errors import UnknownNameError, UsageError, ZooError
from zoo.spec import Experiment

__all__ = ["Judge", "folders", "judge_of", "load", "names", "shipped"]


def folders() -> list[Path]:
    """Where experiments live: inside the installed package, or beside it in a clone."""
    package = Path(__file__).parents[1]
    return [
        folder
        for folder in (package / "experiments", package.parent / "experiments")
        if folder.is_dir()
    ]


def shipped() -> dict[str, Path]:
    """Experiments that came with zoo, with their files: known by name wherever zoo is called."""
    return {
        path.stem: path
        for folder in reversed(folders())
        for path in sorted(folder.glob("[!_]*.py"))
    }


def names() -> dict[str, Path]:
    """Experiments that can be named here, with their files: those in ./experiments of the folder
    zoo is called in, and those shipped.

    A shipped one keeps its name; a file of the same name is reached by its path.
    """
    return {path.stem: path for path in sorted(Path("experiments").glob("[!_]*.py"))} | shipped()


def load(name: str, scale: str | None = None) -> Experiment:
    """The experiment of that name (or at that path) at a scale; its first scale if none is given.

    Raises:
        UnknownNameError: for an unknown experiment or scale.
        UsageError: if the file is no experiment.
    """
    path, module = _module(name)
    make, scales = getattr(module, "experiment", None), getattr(module, "SCALES", None)
    if not inspect.isfunction(make) or not scales:
        raise UsageError(
            f"{path} is no experiment: it must define SCALES (names) and experiment(scale) ->"
            " zoo.spec.Experiment."
        )
    chosen = scale or next(iter(scales))
    if chosen not in scales:
        raise UnknownNameError(f"scale of {path.stem}", chosen, scales)
    made = _blaming(path, make)(chosen)
    if not isinstance(made, Experiment):
        raise UsageError(
            f"{path}: experiment({chosen!r}) returned {type(made).__name__}, not"
            " zoo.spec.Experiment."
        )
    source = name if path in shipped().values() else str(path.absolute())
    parts = tuple(part.replace(source=source) for part in made.parts)
    return made.replace(source=source, parts=parts)


@dataclass(frozen=True)
class Judge:
    """What the file of an experiment that judges claims says beside ``experiment``.

    Either ``points``, for a study of damaged training sets: its evidence is one
    ``zoo.studies.outcomes.Outcomes``; or ``measures``, for a study of scores and arms: its evidence
    is ``zoo.studies.results.Results``.

    Args:
        verdicts: evidence -> verdict table, with the columns
            ``zoo.store.schema.VERDICT_COLUMNS``.
        charts: evidence -> ``zoo.studies.findings.Chart``s in the order to be shown.
        tables: evidence -> ``Chart``s of the kind ``table``, shown before the others.
        points: (scale, seed) -> its ``zoo.studies.points.Point``s.
        measures: ``zoo.studies.results.Part`` -> small tidy tables by name, all that verdicts and
            charts need of the part's scores and answers.
    """

    verdicts: Callable[..., Any]
    charts: Callable[..., Any]
    tables: Callable[..., Any] = lambda _evidence: ()
    points: Callable[..., Any] | None = None
    measures: Callable[..., Any] | None = None


def judge_of(experiment: Experiment) -> Judge | None:
    """What judges an experiment's claims; None if its file defines none of a judge's functions.

    Raises:
        UsageError: if the file defines some of them only.
    """
    if not experiment.source:
        return None
    path, module = _module(experiment.source)
    hooks = {field.name: getattr(module, field.name, None) for field in fields(Judge)}
    there = {name: _blaming(path, hook) for name, hook in hooks.items() if hook is not None}
    if not there:
        return None
    missing = [name for name in ("verdicts", "charts") if name not in there]
    if missing or ("points" in there) == ("measures" in there):
        raise UsageError(
            f"{path} defines {', '.join(there)}{' and no ' if missing else ''}"
            f"{' and no '.join(missing)}. A study that judges claims has verdicts and"
            " charts, and either points (of damaged training sets) or measures (of scores and"
            " arms)."
        )
    return Judge(**there)


def _module(name: str) -> tuple[Path, types.ModuleType]:
    known = names()
    path = known.get(name) or Path(name)
    if path.suffix != ".py" or not path.is_file():
        raise UnknownNameError(
            "experiment",
            name,
            known,
            "The name of a file in ./experiments works too, and so does a path.",
        )
    spec = importlib.util.spec_from_file_location(f"zoo_experiment_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _blamed(path):
        spec.loader.exec_module(module)
    return path, module


@contextlib.contextmanager
def _blamed(path: Path) -> Iterator[None]:
    """What goes wrong inside an experiment's file is said of that file and its line: it is the
    user's own, no bug in zoo."""
    try:
        yield
    except ZooError:
        raise
    except SyntaxError as error:
        where = f"{error.filename or path}, line {error.lineno}"
        raise UsageError(
            f"{where}: {error.msg}: {(error.text or '').strip()!r}. Correct the experiment's file."
        ) from error
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename) == path.absolute()
        ]
        if not lines:
            raise
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UsageError(
            f"{path}, line {lines[-1]}: {said}. Look there first; zoo --debug shows the whole way"
            " to it."
        ) from error


def _blaming(path: Path, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def blaming(*arguments: Any) -> Any:
        with _blamed(path):
            return function(*arguments)

    return blaming
