"""One kind of table for everything that has a name: data sets, models, treatments, rules, figures.

A table lives in the module whose things it names, is filled when that module is imported, and is therefore
the same in every process. (An entry added by an experiment file would be unknown in a worker.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from zoo.errors import UnknownNameError

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A table name -> thing. ``kind`` is the noun used in error messages ("model", "treatment").

    Raises:
        UnknownNameError: on look-up of a name that is not there; the message lists the near ones.
        ValueError: on registering a name twice (a programming error).
    """

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None) -> None:
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})

    def register(self, name: str, thing: T) -> T:
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._entries[name] = thing
        return thing

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
