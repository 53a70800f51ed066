"""``tools.bench.records``: what it measures is a sweep that is done, in the store's own records."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import records
from zoo.store import fsck, ledger


def test_made_up_records_are_a_sweep_that_is_done(tmp_path: Path) -> None:
    """Twelve trainings of five snapshots: nothing is missing, every classifier counts, and the
    records are sound but for the parts of answers, which nobody reads. Twin: of thirteen one is
    missing."""
    space = records.done_workspace(tmp_path / "w", 12)
    found = records._all_done(space.location, 12)
    assert found.keys() == set(records.STEPS)
    assert all(seconds > 0 for seconds in found.values())
    assert len(ledger.population(space)) == 60
    assert {problem.path.split("/")[1] for problem in fsck.check(space, "quick")} <= {"answers"}
    with pytest.raises(AssertionError):
        records._all_done(space.location, 13)


def test_a_driver_that_has_work_and_one_that_has_none(tmp_path: Path) -> None:
    """Both end, and say what memory they took."""
    space = records.done_workspace(tmp_path / "w", 3)
    for found in (records._new(str(tmp_path / "new"), 3), records._again(space.location, 3)):
        assert found["cpu"] > 0
        assert found["peak_mb"] >= found["before_mb"] > 0
