"""What must be known about a data set before its numbers are believed: one list, made by whoever
reads it, shown by every command.

Three levels, and what follows from each:

- ``note``: nothing of the data is missing (a system folder passed over, two classes of one name, no
  test split). Said, the last only by what trains, plans or checks; ``zoo data check`` is still ok.
- ``warning``: something that may belong to the data was left out, or a class has no training
  example. ``zoo data check`` is not ok; every other command says it and goes on.
- ``error``: nothing can be trained on the data set as it is (one class, no training split, an empty
  one). ``zoo data check`` is not ok, and whatever trains or plans a training refuses it with
  these words.

Equal findings at several places are one note, so the list is short whatever the size of the set.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from zoo.errors import DataError
from zoo.registry import distinct

if TYPE_CHECKING:
    from zoo.data.dataset import Dataset, Split

__all__ = [
    "NO_TEST",
    "Level",
    "Note",
    "Notes",
    "judged",
    "merged",
    "require_split",
    "require_trainable",
]

NO_TEST: Final = "no test split"
"""The kind of note that matters to who trains, and to nobody who judges labels or reads."""

Level: TypeAlias = Literal["note", "warning", "error"]

_LEVELS: tuple[Level, ...] = ("error", "warning", "note")
MOST_CLASSES = 32_767
"""A predicted class is an int16 in the answers."""
_PLACES_SHOWN = 3
_PLACES_KEPT = 1000


@dataclass(frozen=True)
class Note:
    """One finding.

    ``kind``: its name for programs, such as ``link``. ``reason``: the sentence after the places.
    ``places``: paths, splits or classes, at most 1,000. ``count``: how many things it is about,
    places that are not kept included.
    """

    level: Level
    kind: str
    reason: str
    places: tuple[str, ...] = ()
    count: int = 1
    more: int = 0
    """Places beyond those kept."""

    @property
    def text(self) -> str:
        """One line: the first three places, how many more, and what is the matter. Control
        characters in names are made visible."""
        if not self.places:
            return self.reason
        more = len(self.places) - _PLACES_SHOWN + self.more
        places = ", ".join(_visible(place) for place in self.places[:_PLACES_SHOWN]) + (
            f" and {more:,} more" if more > 0 else ""
        )
        return f"{places}: {self.reason}"

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        return {
            "level": self.level,
            "kind": self.kind,
            "text": self.text,
            "count": self.count,
            "places": list(self.places),
        }


def _visible(text: str) -> str:
    """A file name may hold line breaks and escape sequences; a terminal must not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass
class Notes:
    """Collects findings place by place; each place counts once per finding.

    ``linked``: what links inside the data set led to, relative to its root: that has been read too,
        under the name of the link.
    """

    linked: set[str] = field(default_factory=set)
    _found: dict[tuple[Level, str, str], dict[str, None]] = field(default_factory=dict)

    def add(self, level: Level, kind: str, place: str, reason: str) -> None:
        self._found.setdefault((level, kind, reason), {})[place] = None

    def all(self) -> tuple[Note, ...]:
        """One note per finding, in the order they were met."""
        return tuple(
            Note(
                level,
                kind,
                reason,
                tuple(list(places)[:_PLACES_KEPT]),
                len(places),
                max(0, len(places) - _PLACES_KEPT),
            )
            for (level, kind, reason), places in self._found.items()
        )


def merged(*lists: Iterable[Note]) -> tuple[Note, ...]:
    """One list out of several, errors first, then warnings. The same place met by two readers is
    one."""
    met: dict[tuple[Level, str, str], Note] = {}
    for note in (note for notes in lists for note in notes):
        key = note.level, note.kind, note.reason
        before = met.get(key)
        if before is None:
            met[key] = note
            continue
        new = tuple(place for place in note.places if place not in before.places)
        places = (*before.places, *new)[:_PLACES_KEPT]
        more = before.more + note.more + len(before.places) + len(new) - len(places)
        met[key] = Note(
            *key, places, before.count + note.count - (len(note.places) - len(new)), more
        )
    return tuple(sorted(met.values(), key=lambda note: _LEVELS.index(note.level)))


def judged(class_names: tuple[str, ...], splits: Mapping[str, Split]) -> tuple[Note, ...]:
    """What follows from the labels alone: splits that training needs, classes without an example,
    class names that can be mixed up."""
    found: list[Note] = []
    there = ", ".join(splits) or "none"
    if "train" not in splits:
        found.append(
            Note(
                "error",
                "no split",
                f"has no split 'train'. Its splits: {there}. Training needs one: add files for it.",
            )
        )
    if "test" not in splits:
        found.append(
            Note(
                "note",
                NO_TEST,
                f"has no split 'test'. Its splits: {there}. Its labels can be judged all the same"
                " (zoo audit, or zoo train --folds 5x2); there is no test accuracy, and no arm to"
                " retrain.",
            )
        )
    if empty := tuple(name for name, split in splits.items() if not len(split)):
        level: Level = "error" if "train" in empty else "warning"
        found.append(
            Note(
                level,
                "empty split",
                "a split without examples. Add some, or remove its files.",
                empty,
                len(empty),
            )
        )
    if len(class_names) > MOST_CLASSES:
        found.append(
            Note(
                "error",
                "many classes",
                f"has {len(class_names):,} classes; answers hold up to {MOST_CLASSES:,}. Is the"
                " label column the right one?",
            )
        )
    shown = distinct(class_names)
    if "train" in splits and len(splits["train"]):
        counts = np.bincount(splits["train"].labels, minlength=len(class_names))  # [M]
        present = np.flatnonzero(counts)
        if len(present) < 2:
            found.append(
                Note(
                    "error",
                    "one class",
                    f"all {len(splits['train']):,} training examples are of one class"
                    f" ({_visible(shown[present[0]])}), so there is nothing to learn. Training"
                    " needs two classes or more: one folder, or one label, for each.",
                )
            )
        if missing := tuple(shown[label] for label in np.flatnonzero(counts == 0)):
            found.append(
                Note(
                    "warning",
                    "empty class",
                    f"{'classes' if len(missing) > 1 else 'a class'} without a training example."
                    " Add some, or remove the class.",
                    missing[:_PLACES_KEPT],
                    len(missing),
                    max(0, len(missing) - _PLACES_KEPT),
                )
            )
    found += _names_alike(class_names, shown)
    return tuple(found)


def _names_alike(class_names: tuple[str, ...], shown: tuple[str, ...]) -> Iterable[Note]:
    """Class names that are equal, or would be but for case and the ways Unicode spells a letter."""
    equal = tuple(label for name, label in zip(class_names, shown, strict=True) if name != label)
    if equal:
        yield Note(
            "note",
            "equal class names",
            "classes of one name; shown with their number, which is how to name one.",
            equal,
            len(equal),
        )
    alike: dict[str, dict[str, None]] = {}
    for name in class_names:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), {})[name] = None
    for names in alike.values():
        if len(names) > 1:
            reason = (
                "class names that differ only in case, spaces or the spelling of a letter; read as"
                " classes of their own."
            )
            yield Note("note", "similar class names", reason, tuple(names), len(names))


def require_trainable(dataset: Dataset) -> None:
    """Refuse a data set that ``zoo data check`` calls an error.

    Raises:
        DataError: with everything that has to be mended first.
    """
    if errors := [note.text for note in dataset.notes if note.level == "error"]:
        raise DataError(
            f"{dataset.name}: {' '.join(errors)} All that is known of it: zoo data check"
            f" {dataset.uri}"
        )


def require_split(dataset: Dataset, name: str, use: str) -> None:
    """Refuse what cannot be done without a split that the data set does not have.

    Args:
        use: what it is for, as in "arms are compared on it".

    Raises:
        DataError: naming the splits there are.
    """
    if name not in dataset.splits:
        raise DataError(
            f"{dataset.name}: has no split {name!r}; {use}. Its splits:"
            f" {', '.join(dataset.splits)}. Put some pictures aside for it: in a folder"
            f" {name}/CLASS/, or a file named {name}."
        )
