"""One kind of table for everything that has a name: data sets, models, treatments, rules, figures.

A table lives in the module whose things it names, is filled when that module is imported, and is
therefore the same in every process. (An entry added by an experiment file would be unknown in a
worker.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from zoo.errors import UnknownNameError, UsageError

__all__ = ["Registry", "distinct", "position"]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A table name -> thing. ``kind`` is the noun used in error messages ("model", "treatment").

    Raises:
        UnknownNameError: on look-up of a name that is not there; the message lists the near ones.
    """

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownNameError(self.kind, name, self._entries) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names to show, no two equal: one borne by several classes gets its number behind it, ``crane
    (134)``; the others stay as they are."""
    counts, taken = Counter(names), set(names)
    shown = []
    for number, name in enumerate(names):
        label = name
        while counts[name] > 1 and (label == name or label in taken):
            label = f"{label} ({number})"
        taken.add(label)
        shown.append(label)
    return tuple(shown)


def position(names: Sequence[str], name: str, kind: str) -> int:
    """Place of a name in a list, by the name or as ``distinct`` shows it.

    Args:
        names: M names, some of which may be equal.
        name: what was asked for.
        kind: noun for the message, such as "class of delete_class".

    Raises:
        UnknownNameError: if there is none; lists the near ones.
        UsageError: if several bear it; says which, and how to name one of them.
    """
    places = [number for number, known in enumerate(names) if known == name]
    shown = distinct(names)
    if len(places) > 1:
        raise UsageError(
            f"{kind} {name!r}: {len(places)} classes bear this name, numbers"
            f" {', '.join(map(str, places))}. Give the number, or the name as it is shown:"
            f" {' or '.join(repr(shown[number]) for number in places)}."
        )
    if not places and name in shown:
        places = [shown.index(name)]
    if not places:
        raise UnknownNameError(kind, name, shown)
    return places[0]
