"""A page whose inputs are what they were is kept: nothing is drawn a second time, and whatever it
shows makes it be drawn again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from factories import QUIET, Tiny

from zoo import pipeline
from zoo.report import write
from zoo.report.parts import ReportData
from zoo.report.write import write_report
from zoo.scores.population import choose_population
from zoo.spec import Experiment
from zoo.store.results import read_table, write_table
from zoo.store.workspace import Workspace


def times(space: Workspace) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (space.report, *space.figures.iterdir())}


def test_a_page_is_drawn_again_only_if_something_it_shows_has_changed(
    trained: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept: the same inputs, whatever the stages took. Drawn: another title, another number in a
    table, a figure that is gone."""
    space = Workspace.open(shutil.copytree(trained.root, tmp_path / "zoo"))
    pipeline.score_splits(space, choose_population(space), ("train",), QUIET)
    about = Experiment(
        name="tiny", title="Blocks", scale="tiny", dataset=trained.dataset.uri, sweeps=()
    )
    drawn: list[str] = []

    # in place of matplotlib: what is asked for, not how it looks
    def render(data: ReportData, page: Path) -> Path:
        drawn.append(data.title)
        space.figures.mkdir(exist_ok=True)
        for path in (page, space.figures / "one.svg", space.figures / "two.svg"):
            path.write_text(data.title)
        return page

    monkeypatch.setattr(write, "render", render)

    page = write_report(space, about, trained.dataset, {"training": 3.0})
    first = times(space)
    assert len(first) == 3
    assert write_report(space, about, trained.dataset, {"training": 9.0}) == page
    assert times(space) == first
    assert drawn == ["Blocks"]

    write_report(space, about.replace(title="Other"), trained.dataset, {})
    table = read_table(space, "scores-train")
    write_table(space, "more", table.head(3))
    write_report(space, about.replace(title="Other"), trained.dataset, {})
    (space.figures / "two.svg").unlink()
    write_report(space, about.replace(title="Other"), trained.dataset, {})
    assert drawn == ["Blocks", "Other", "Other", "Other"]
    assert set(times(space)) == set(first)
