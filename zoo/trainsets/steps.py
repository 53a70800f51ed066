"""Steps such as ``NAME:key=value``: their parameters, types, bounds and help."""

from __future__ import annotations

import inspect
import math
import textwrap
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from zoo.trainsets.on_rows import Rows

__all__ = [
    "ClassIndex",
    "Count",
    "Fraction",
    "Parameter",
    "Scalar",
    "Treatment",
    "Within",
    "check_choice",
    "check_count",
    "check_share",
    "is_number",
    "treatment_help",
]


def is_number(value: object, kind: type = Real) -> bool:
    """A number of Python or numpy; True and False are none."""
    return isinstance(value, kind) and not isinstance(value, bool)


def check_share(name: str, value: float, *, zero: bool = True) -> float:
    if not is_number(value) or not 0 <= value <= 1 or (not zero and value == 0):
        raise UsageError(f"{name}={value!r}. Allowed: a share {'from' if zero else 'above'} 0 to 1. Write 10 % as 0.1.")
    return float(value)


def check_count(name: str, value: int, low: int = 0) -> int:
    if not is_number(value, Integral) or value < low:
        raise UsageError(f"{name}={value!r}. Allowed: a whole number, {low} or more. Give it as {name}=100.")
    return int(value)


def check_choice(name: str, value: str, allowed: Sequence[str]) -> str:
    value = value.replace("-", "_") if isinstance(value, str) else value
    if value not in allowed:
        raise UnknownNameError(f"value of {name}", str(value), allowed)
    return value


Scalar = bool | int | float | str


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
        return f"from {self.low:g} to {self.high:g}" if self.low is not None else f"up to {self.high:g}"


class _OfClass:
    """Marks a parameter that means a class: its index, or its name until ``resolve`` has looked it up."""


Fraction = Annotated[float, Within(0, 1)]
Count = Annotated[int, Within(0)]
ClassIndex = Annotated[int, Within(0), _OfClass()]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a treatment, read from its function's signature.

    ``kinds``: the plain types it takes; ``words``: the fixed texts it takes; ``within``: the range of its numbers; ``of_class``: whether it
    means a class, which may also be named.
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
        choices = [nouns[kind] + (f" {self.within}" if self.within and kind in (int, float) else "") for kind in self.kinds]
        return " or ".join(choices + ["a class name"] * self.of_class + [repr(word) for word in self.words])

    @property
    def default_text(self) -> str:
        """The default as it is written: ``false``, ``0``, ``random``; ``required`` where there is none."""
        return "required" if self.required else str(self.default).lower()

    def check(self, treatment: str, value: Scalar) -> Scalar:
        """The value in its canonical type (1 -> 1.0 where a number is wanted).

        Raises:
            UsageError: naming treatment, parameter, value and what is allowed.
        """
        if isinstance(value, str) and (value in self.words or (self.of_class and value)):
            return value
        if value == math.inf and "inf" in self.words:
            return "inf"
        for kind in self.kinds:
            if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
                value = float(value)
            if type(value) is kind and (not isinstance(value, (int, float)) or self._fits(value)):
                return value
        raise UsageError(
            f"{treatment}: {self.name} = {value!r} is not possible. Allowed: {self.allowed}. Write it as {treatment}:{self.name}=VALUE."
        )

    def _fits(self, value: float) -> bool:
        return math.isfinite(value) and (self.within is None or value in self.within)


@dataclass(frozen=True)
class Treatment:
    """A named treatment: ``on_rows`` or ``on_images`` does it, the other is None.

    ``on_rows(rows, *, ...) -> Rows``; where ``needs_manifests``, ``on_rows(rows, manifests, *, ...)``.
    ``on_images(images uint8 [n, H, W, K], example_ids int64 [n], *, ...) -> uint8 [n, H, W, K]``, which never writes to its argument.
    Where ``each_epoch``, it also takes ``epoch`` (1-based), which is not a user's to give: the pictures differ from epoch to epoch.
    ``check(params)`` refuses combinations of parameters that are each fine.
    """

    name: str
    on_rows: Callable[..., Rows] | None = None
    on_images: Callable[..., NDArray[np.uint8]] | None = None
    needs_manifests: bool = False
    each_epoch: bool = False
    check: Callable[[dict[str, Scalar]], None] | None = None

    @property
    def _function(self) -> Callable[..., Any]:
        function = self.on_rows or self.on_images
        if function is None:
            raise ValueError(f"treatment {self.name!r} has no function")
        return function

    @property
    def summary(self) -> str:
        """First line of the function's docstring."""
        return self.about.partition("\n")[0]

    @property
    def about(self) -> str:
        """The whole docstring, a paragraph a line: what it does exactly, and its source."""
        paragraphs = (inspect.getdoc(self._function) or "").split("\n\n")
        return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """The keyword-only parameters of the function, by name."""
        hints = typing.get_type_hints(self._function, include_extras=True)
        found = {}
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not (self.each_epoch and parameter.name == "epoch"):
                required = parameter.default is inspect.Parameter.empty
                kinds, words, within, of_class = _read_annotation(hints[parameter.name])
                default = None if required else parameter.default
                found[parameter.name] = Parameter(parameter.name, kinds, words, within, default, required, of_class)
        return found

    @property
    def usage(self) -> str:
        """How to write it: ``subsample:fraction=...,replica=0,stratified=false``."""
        settings = [f"{p.name}={'...' if p.required else p.default_text}" for p in self.parameters.values()]
        return f"{self.name}:{','.join(settings)}" if settings else self.name

    def as_json(self) -> dict[str, Any]:
        """What it is for programs: name, usage, what it acts on, summary and description, parameters."""
        return {
            "name": self.name,
            "usage": self.usage,
            "acts_on": "rows" if self.on_rows else "images",
            "each_epoch": self.each_epoch,
            "summary": self.summary,
            "about": self.about,
            "parameters": [
                {"name": p.name, "allowed": p.allowed, "required": p.required, "default": p.default} for p in self.parameters.values()
            ],
        }


def treatment_help(treatment: Treatment, *, whole: bool) -> str:
    """How to write a treatment, what it does in a line (``whole``: in all its words), and a line for each parameter."""
    words = treatment.about.replace("``", "").splitlines()
    shown = [textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="  ") for line in (words if whole else words[:1])]
    width = max((len(name) for name in treatment.parameters), default=0)
    shown += [
        f"  {p.name:<{width}}  {p.allowed}; {p.default_text if p.required else f'default {p.default_text}'}"
        for p in treatment.parameters.values()
    ]
    return "\n".join([treatment.usage, *shown])


def _read_annotation(hint: Any) -> tuple[tuple[type, ...], tuple[str, ...], Within | None, bool]:
    """Splits ``Annotated[int, Within(0)] | Literal["random"]`` into plain types, words, range and whether it means a class."""
    if typing.get_origin(hint) is Annotated:
        base, *notes = typing.get_args(hint)
        kinds, words, _, _ = _read_annotation(base)
        within = next((note for note in notes if isinstance(note, Within)), None)
        return kinds, words, within, any(isinstance(note, _OfClass) for note in notes)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_read_annotation(part) for part in typing.get_args(hint)]
        return (
            tuple(kind for part in parts for kind in part[0]),
            tuple(word for part in parts for word in part[1]),
            next((part[2] for part in parts if part[2]), None),
            any(part[3] for part in parts),
        )
    if typing.get_origin(hint) is Literal:
        return (), typing.get_args(hint), None, False
    return (hint,), (), None, False
