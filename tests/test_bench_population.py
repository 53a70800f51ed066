"""``tools.bench.population``: the whole way on a small set."""

from __future__ import annotations

import pytest

from tools.bench.population import main, measured, sweep


def test_both_sides_do_the_same_passes() -> None:
    """Three networks on 500 pictures by 2.5 (a quarter, a half, three quarters, all), one epoch;
    both sides take time."""
    assert [len(steps) for steps in sweep(True).treatments] == [0, 1, 1, 1]
    passes, seconds = measured(True, 1)
    assert passes == 3 * 1250
    assert all(len(each) == 1 and each[0] > 0 for each in seconds.values())


def test_the_full_setting_is_the_laptops_population() -> None:
    """Ten networks, a set of each size, and what it prints says what was compared."""
    full = sweep(False)
    assert len(full.archs) == 10
    assert len(full.treatments) == 4
    assert full.recipe.epochs == 2


def test_it_prints_a_ratio_and_judges_no_quick_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    assert "3,750 image passes, the bare loop" in said
    assert "target" not in said
