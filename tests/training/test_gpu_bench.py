"""The benchmark of a card: that it works without one, and that it can say no."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.bench import gpu
from tools.bench.__main__ import commands


def test_it_works_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its short run trains, stops, goes on, fills and compares, and writes what it found; nothing
    is wrong, and another prediction, an answer or a loss too far off would be."""
    out = tmp_path / "gpu.json"
    asked = ["--device", "cpu", "--quick", "--rounds", "1", "--out", str(out)]
    assert gpu.main(asked) == 0
    found = json.loads(out.read_text())
    assert found["wrong"] == []
    right = found["right"]["lenet5"]
    assert right["stopped in the middle"] == 2
    assert right["answers compared"] == right["answers filled"] == 2 * 2 * 2000
    assert right["loss, stacked / cpu"] < 1e-5
    (row,) = found["trainings"]
    assert row["network"] == "lenet5"
    assert row.keys() >= {"eager", "graph", "stacked 2", "ratios"}
    assert found["answers"].keys() == {"2 x lenet5", "2 x resnet20"}
    assert "ratio lenet5: stacked 2 / eager" in capsys.readouterr().out
    for name, value in (
        ("other predictions, no near tie", 1),
        ("logits, card / cpu", 0.5),
        ("loss, stacked / cpu", 0.2),
        ("test loss, stacked / cpu", 0.5),
        ("answers filled", 0),
    ):
        other: dict[str, Any] = copy.deepcopy(found["right"])
        other["lenet5"][name] = value
        assert len(gpu.verdicts(other)) == 1, name
    assert gpu.verdicts({"graph / eager, weights": 0.1}) == ["graph / eager, weights: 0.1"]


def test_without_a_card_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "none.json")]) == 0
    assert "no card is seen here, so nothing is measured" in capsys.readouterr().out
    assert not (tmp_path / "none.json").exists()


def test_the_rate_of_a_population_counts_equal_passes() -> None:
    """Nine networks at 1,000 images per second stacked (500 by the loop) and one at 100 by the
    loop, its best: 10 / (9 / 1000 + 1 / 100); by the loop 10 / (9 / 500 + 1 / 100). Without the
    last there is none."""
    rows = [{"network": arch, "eager": 500.0, "stacked 8": 1000.0} for arch in gpu.MINIS[:9]]
    last = {"network": gpu.MINIS[9], "eager": 100.0, "stacked 8": "out of memory"}
    assert gpu.population([*rows, last]) == pytest.approx({"best": 10 / 0.019, "eager": 10 / 0.028})
    assert gpu.population(rows) is None


def test_what_the_time_does_not_reach_is_named() -> None:
    clock = gpu.Clock(1.0)
    assert clock.reaches("short", 30)
    assert not clock.reaches("long", 90)
    assert clock.left_out == ["long"]


def test_its_options_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = commands(["gpu", "--device", "cpu", "--quick", "--out", "a.json"])
    assert command[2:] == ["tools.bench.gpu", "--device", "cpu", "--out", "a.json", "--quick"]
    with pytest.raises(SystemExit):
        commands(["heads", "--device", "cpu"])
    assert "--device is of the benchmark gpu alone" in capsys.readouterr().err
