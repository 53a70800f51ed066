"""One list of notes per data set, and who hears it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.conftest import one_class
from zoo.data import open_dataset
from zoo.data.notes import Note, Notes, merged
from zoo.progress import announce, listening


def test_notes_of_two_readers_are_one_list_with_errors_first() -> None:
    one, two = Notes(), Notes()
    one.add("note", "link", "a", "left out")
    one.add("warning", "x", "b", "gone")
    two.add("note", "link", "a", "left out")
    two.add("note", "link", "c", "left out")
    found = merged(one.all(), two.all(), [Note("error", "no split", "none")])
    assert [(note.level, note.places, note.count) for note in found] == [
        ("error", (), 1),
        ("warning", ("b",), 1),
        ("note", ("a", "c"), 2),
    ]


def test_of_many_places_three_are_shown_a_thousand_kept_and_all_counted() -> None:
    notes = Notes()
    for number in range(1200):
        notes.add("warning", "link", f"{number}", "broken")
    (note,) = notes.all()
    assert note.text == "0, 1, 2 and 1,197 more: broken"
    assert (note.count, len(note.as_json()["places"])) == (1200, 1000)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    lines: list[str] = []
    with listening(lines.append):
        yield lines


def test_opening_a_data_set_tells_its_notes_once_however_often_it_is_opened(
    tmp_path: Path, heard: list[str]
) -> None:
    root = one_class(tmp_path / "set")
    for _ in range(3):
        open_dataset(str(root))
    assert len(heard) == 1
    assert heard[0].startswith("error: set: all 2 training examples are of one class (a)")


def test_each_command_hears_a_subject_once_and_nobody_listening_is_no_fault() -> None:
    first: list[str] = []
    second: list[str] = []
    announce("x", ["nobody hears this"])
    for lines in (first, second):
        with listening(lines.append):
            announce("x", ["one", "two"])
            announce("x", ["again"])
    assert first == second == ["one", "two"]
