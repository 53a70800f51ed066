"""Steps such as ``NAME:key=value``: their parameters, types, bounds and help."""

from __future__ import annotations

import inspect
import math
import re
import textwrap
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UnknownNameError, UsageError
from zoo.spec import Scalar, parse_call

if TYPE_CHECKING:
    from zoo.trainsets.on_rows import Rows

__all__ = [
    "ClassIndex",
    "Count",
    "Fraction",
    "Parameter",
    "Step",
    "Treatment",
    "Within",
    "split_steps",
    "step_help",
]


@dataclass(frozen=True)
class Within:
    """Allowed range of a number, both ends included; ``None`` = no limit on that side."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"from {self.low:g}"
        return (
            f"from {self.low:g} to {self.high:g}"
            if self.low is not None
            else f"up to {self.high:g}"
        )


class _OfClass:
    """Marks a parameter that means a class: its index, or its name until ``resolve`` has looked it
    up."""


Fraction = Annotated[float, Within(0, 1)]
Count = Annotated[int, Within(0)]
ClassIndex = Annotated[int, Within(0), _OfClass()]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a step, read from its function's signature.

    ``kinds``: the plain types it takes; ``words``: the fixed texts it takes; ``within``: the range
    of its numbers; ``of_class``: whether it means a class, which may also be named.
    """

    name: str
    kinds: tuple[type, ...]
    words: tuple[str, ...]
    within: Within | None
    default: Scalar | None
    required: bool
    of_class: bool = False

    @property
    def allowed(self) -> str:
        nouns = {float: "a number", int: "a whole number", bool: "true or false", str: "text"}
        choices = [
            nouns[kind] + (f" {self.within}" if self.within and kind in (int, float) else "")
            for kind in self.kinds
        ]
        return " or ".join(
            choices + ["a class name"] * self.of_class + [repr(word) for word in self.words]
        )

    @property
    def default_text(self) -> str:
        """The default as it is written: ``false``, ``0``, ``random``; ``required`` where there is
        none."""
        return (
            "required"
            if self.required
            else "none"
            if self.default is None
            else str(self.default).lower()
        )

    def check(self, step: str, value: Scalar) -> Scalar:
        """The value in its canonical type (1 -> 1.0 where a number is wanted).

        Raises:
            UnknownNameError: for a text that is none of the words, where only words are allowed.
            UsageError: naming step, parameter, value and what is allowed.
        """
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str) and value.replace("-", "_") in self.words:
            return value.replace("-", "_")
        if isinstance(value, str) and self.of_class and value:
            return value
        if value == math.inf and "inf" in self.words:
            return "inf"
        for kind in self.kinds:
            if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
                value = float(value)
            if type(value) is kind and (not isinstance(value, (int, float)) or self._fits(value)):
                return value
        if self.words and not self.kinds and isinstance(value, str):
            raise UnknownNameError(
                f"value of {step}:{self.name}",
                value,
                self.words,
                f"Write it as {step}:{self.name}=VALUE.",
            )
        raise UsageError(
            f"{step}: {self.name} = {value!r} is not possible. Allowed: {self.allowed}. Write it as"
            f" {step}:{self.name}=VALUE."
        )

    def _fits(self, value: float) -> bool:
        return math.isfinite(value) and (self.within is None or value in self.within)


@dataclass(frozen=True)
class Step(ABC):
    """A named function that users write as ``NAME:key=value,key=value``: a treatment or a selection
    rule.

    Its keyword-only parameters, with their annotations and defaults, are what users may write, but
    for those ``given`` by the program.
    """

    name: str

    @property
    @abstractmethod
    def function(self) -> Callable[..., Any]:
        """The function that does the step."""

    @property
    def given(self) -> frozenset[str]:
        """Keyword-only parameters that are not a user's."""
        return frozenset()

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return self.about.partition("\n")[0]

    @property
    def about(self) -> str:
        """The whole docstring but for its errors, a paragraph or parameter a line: what it does
        exactly, and its source."""
        lines: list[str] = []
        for paragraph in (inspect.getdoc(self.function) or "").split("\n\n"):
            if paragraph.startswith("Args:"):
                entries = re.split(r"\n    (?=\S)", paragraph)[1:]
                lines += [
                    "``{}``: {}".format(*" ".join(entry.split()).split(": ", 1))
                    for entry in entries
                ]
            elif not paragraph.startswith("Raises:"):
                lines.append(" ".join(paragraph.split()))
        return "\n".join(lines)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """What users may write, by name."""
        hints = typing.get_type_hints(self.function, include_extras=True)
        found = {}
        for parameter in inspect.signature(self.function).parameters.values():
            if (
                parameter.kind is inspect.Parameter.KEYWORD_ONLY
                and parameter.name not in self.given
            ):
                required = parameter.default is inspect.Parameter.empty
                kinds, words, within, of_class = _read_annotation(hints[parameter.name])
                default = None if required else parameter.default
                found[parameter.name] = Parameter(
                    parameter.name, kinds, words, within, default, required, of_class
                )
        return found

    @property
    def usage(self) -> str:
        """How to write it: ``subsample:fraction=...,replica=0,stratified=false``; parameters that
        may be left out without a default are not shown."""
        shown = [p for p in self.parameters.values() if p.required or p.default is not None]
        settings = [f"{p.name}={'...' if p.required else p.default_text}" for p in shown]
        return f"{self.name}:{','.join(settings)}" if settings else self.name

    def read(self, settings: str) -> dict[str, Scalar]:
        """``fraction=0.2,to=random`` -> parameters as written. A text is taken as it stands: the id
        0000000000000012 is no number.

        Raises:
            UsageError: if a parameter has no ``=``.
        """
        params = dict(parse_call(f"{self.name}:{settings}")[1])
        for setting in settings.split(","):
            key, _, written = setting.partition("=")
            parameter = self.parameters.get(key.strip())
            if parameter is not None and str in parameter.kinds:
                params[parameter.name] = written.strip()
        return params

    def canonical(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every parameter, in its own type, within its range; one without a default is absent
        unless given.

        Raises:
            UnknownNameError: if there is no such parameter.
            UsageError: if one is missing or its value is not possible.
        """
        for name in params:
            if name not in self.parameters:
                raise UnknownNameError(
                    f"parameter of {self.name}", name, self.parameters, f"Write it as {self.usage}."
                )
        found: dict[str, Scalar] = {}
        for parameter in self.parameters.values():
            if parameter.name in params:
                found[parameter.name] = parameter.check(self.name, params[parameter.name])
            elif parameter.required:
                raise UsageError(
                    f"{self.name}: parameter {parameter.name} is missing; given:"
                    f" {', '.join(params) or 'none'}. Allowed: {parameter.allowed}. Write it as"
                    f" {self.usage}."
                )
            elif parameter.default is not None:
                found[parameter.name] = parameter.default
        return found

    def as_json(self) -> dict[str, Any]:
        """What it is for programs: name, usage, summary and description, parameters."""
        return {
            "name": self.name,
            "usage": self.usage,
            "summary": self.summary,
            "about": self.about,
            "parameters": [
                {"name": p.name, "allowed": p.allowed, "required": p.required, "default": p.default}
                for p in self.parameters.values()
            ],
        }


def split_steps(text: str) -> list[tuple[str, str]]:
    """``"subsample:fraction=0.25 + gamma:gamma=2"`` -> [("subsample", "fraction=0.25"), ("gamma",
    "gamma=2")].

    A plus sign divides steps only before a name, so that 1e+3 stays a number.
    """
    steps = re.split(r"\+(?=\s*(?:[A-Za-z_]|$))", text)
    return [
        (name.strip(), settings.strip())
        for name, _, settings in (step.partition(":") for step in steps)
    ]


@dataclass(frozen=True)
class Treatment(Step):
    """A named treatment: ``on_rows`` or ``on_images`` does it, the other is None.

    ``on_rows(rows, *, ...) -> Rows``; where ``needs_manifests``, ``on_rows(rows, manifests, *,
    ...)``. ``on_images(images uint8 [n, H, W, K], example_ids int64 [n], *, ...) -> uint8 [n, H, W,
    K]``, which never writes to its argument. Where ``each_epoch``, it also takes ``epoch``
    (1-based), which is not a user's to give: the pictures differ from epoch to epoch.
    ``check(params)`` refuses combinations of parameters that are each fine.
    """

    on_rows: Callable[..., Rows] | None = None
    on_images: Callable[..., NDArray[np.uint8]] | None = None
    needs_manifests: bool = False
    each_epoch: bool = False
    check: Callable[[dict[str, Scalar]], None] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        function = self.on_rows or self.on_images
        if function is None:
            raise ValueError(f"treatment {self.name!r} has no function")
        return function

    @property
    def given(self) -> frozenset[str]:
        return frozenset({"epoch"} if self.each_epoch else ())

    def canonical(self, params: Mapping[str, Scalar]) -> dict[str, Scalar]:
        found = super().canonical(params)
        if self.check is not None:
            self.check(found)
        return found

    def as_json(self) -> dict[str, Any]:
        """As of every step, and what it acts on."""
        return {
            **super().as_json(),
            "acts_on": "rows" if self.on_rows else "images",
            "each_epoch": self.each_epoch,
        }


def step_help(step: Step, *, whole: bool) -> str:
    """How to write a step, what it does in a line (``whole``: in all its words), and a line for
    each parameter."""
    words = step.about.replace("``", "").splitlines()
    shown = [
        textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="  ")
        for line in (words if whole else words[:1])
    ]
    width = max((len(name) for name in step.parameters), default=0)
    shown += [
        f"  {p.name:<{width}}  {p.allowed};"
        f" {p.default_text if p.required else f'default {p.default_text}'}"
        for p in step.parameters.values()
    ]
    return "\n".join([step.usage, *shown])


def _read_annotation(hint: Any) -> tuple[tuple[type, ...], tuple[str, ...], Within | None, bool]:
    """Splits ``Annotated[int, Within(0)] | Literal["random"]`` into plain types, words, range and
    whether it means a class."""
    if typing.get_origin(hint) is Annotated:
        base, *notes = typing.get_args(hint)
        kinds, words, _, _ = _read_annotation(base)
        within = next((note for note in notes if isinstance(note, Within)), None)
        return kinds, words, within, any(isinstance(note, _OfClass) for note in notes)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [
            _read_annotation(part) for part in typing.get_args(hint) if part is not types.NoneType
        ]
        return (
            tuple(kind for part in parts for kind in part[0]),
            tuple(word for part in parts for word in part[1]),
            next((part[2] for part in parts if part[2]), None),
            any(part[3] for part in parts),
        )
    if typing.get_origin(hint) is Literal:
        return (), typing.get_args(hint), None, False
    return (hint,), (), None, False
