"""The list of planted faults fits the code, and the program that tries them tells a test that
notices from one that does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tools.mutants import ROOT, Fate, Mutant, read_list, try_mutants

MUTANTS = read_list()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.why}")
def test_every_planted_fault_still_fits(mutant: Mutant) -> None:
    """Its text stands exactly once in its file, the change is one line and leaves Python, and its
    tests are there."""
    changed = mutant.applied_to((ROOT / mutant.file).read_text(encoding="utf-8"))
    ast.parse(changed)
    assert "\n" not in mutant.old + mutant.new
    assert mutant.old != mutant.new
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_the_list_is_long_and_names_nothing_twice() -> None:
    """At least 60, in most rooms."""
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS) >= 60
    assert len({Path(mutant.file).parts[1] for mutant in MUTANTS}) >= 8


def test_a_text_that_is_not_there_once_is_refused() -> None:
    """Absent or twice: the message says how often, and where to mend the list."""
    mutant = Mutant("a.py", "x", "y", ("t",), "why")
    assert mutant.applied_to("a x b") == "a y b"
    for text, times in (("a b", 0), ("x x", 2)):
        with pytest.raises(
            ValueError, match=rf"a\.py: 'x' stands there {times} times.*mutants\.toml"
        ):
            mutant.applied_to(text)


def test_a_fault_is_killed_survives_or_was_not_tried(tmp_path: Path) -> None:
    """One test looks at a sum, one looks away, one does not exist: killed, survived, broken; the
    file is sound again afterwards."""
    sound = "def add(a, b):\n    return a + b\n"
    (tmp_path / "sums.py").write_text(sound)
    (tmp_path / "test_looks.py").write_text(
        "from sums import add\n\n\ndef test_sum():\n    assert add(2, 3) == 5\n"
    )
    (tmp_path / "test_away.py").write_text(
        "from sums import add\n\n\ndef test_sum():\n    add(2, 3)\n"
    )
    tries = {"test_looks.py": "killed", "test_away.py": "survived", "test_none.py": "broken"}
    told: list[Fate] = []
    mutants = [Mutant("sums.py", "a + b", "a - b", (test,), "differences") for test in tries]
    fates = try_mutants(tmp_path, mutants, lambda mutant, fate, seconds, lines: told.append(fate))
    assert [fates[mutant] for mutant in mutants] == told == list(tries.values())
    stale = Mutant("sums.py", "a * b", "a / b", ("test_looks.py",), "not there any more")
    assert try_mutants(tmp_path, [stale], lambda *told: None) == {stale: "broken"}
    assert (tmp_path / "sums.py").read_text() == sound
