"""Figures of very few and of many examples: every text is one a person reads, and no example is
called what it is not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.report.test_report import SHAPES, make_arms, make_scores
from zoo.report import charts, draw, figures
from zoo.report.draw import Provenance
from zoo.report.tidy import (
    tabulate_arm_accuracy,
    tabulate_contact_sheet,
    tabulate_per_class,
    tabulate_perplexity_histograms,
    tabulate_xc_plane,
)
from zoo.studies.findings import LINE_COLUMNS, Chart

HERE = Provenance("demo", "laptop", "shapes", 75, 5, (0,), "0.1.0", "")
SIZES = [0, 1, 5, 5000]


def texts(svg: Path) -> list[str]:
    """What a figure says, piece by piece."""
    return re.findall(
        r"<(?:text|tspan)[^>]*>([^<]+)</(?:text|tspan)>", svg.read_text(encoding="utf-8")
    )


def drawn(folder: Path, name: str, examples: int) -> list[str]:
    """Texts of a figure of that many made-up examples."""
    scores = make_scores("train", examples, 75, 0.1, 1)
    table = {
        "xc_plane": lambda: tabulate_xc_plane(scores, SHAPES),
        "perplexity_histograms": lambda: tabulate_perplexity_histograms({"train": scores}),
        "per_class": lambda: tabulate_per_class(scores, SHAPES),
        "contact_sheet": lambda: tabulate_contact_sheet(scores, SHAPES),
    }[name]()
    return texts(figures.save(name, table, folder, HERE).svg)


@pytest.mark.parametrize("examples", SIZES)
@pytest.mark.parametrize(
    "name", ["xc_plane", "perplexity_histograms", "per_class", "contact_sheet"]
)
def test_no_figure_shows_a_formula_for_a_number(tmp_path: Path, name: str, examples: int) -> None:
    """Of 0, 1, 5 and 5,000 examples: every tick is a plain number, no text is mathtext that nobody
    reads."""
    said = drawn(tmp_path, name, examples)
    assert said
    assert [text for text in said if "$" in text or "\\" in text] == []


@pytest.mark.parametrize(("low", "high"), [(0.031, 0.034), (0.3, 0.3), (0.002, 40.0)])
def test_log_axes_of_charts_are_named_in_plain_numbers(
    tmp_path: Path, low: float, high: float
) -> None:
    """Within less than a decade, at one value and over four decades, both axes have at least one
    tick and no mathtext."""
    rows = [("", "a", x, "", y, None, None, False) for x, y in ((3.0, low), (4.0, high))]
    table = pd.DataFrame(rows, columns=list(LINE_COLUMNS))
    chart = Chart(
        "narrow",
        "Narrow",
        "lines",
        table,
        "size",
        "error",
        "c",
        x_scale="log",
        y_scale="log",
        percent=False,
    )
    said = texts(charts.save(chart, tmp_path, HERE).svg)
    assert [text for text in said if "$" in text or "\\" in text] == []
    assert len([text for text in said if re.fullmatch(r"[\d.,]+", text)]) >= 2


def test_the_check_for_formulas_can_fail(tmp_path: Path) -> None:
    """Twin: matplotlib's own log axis, saved by the same settings, has them."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(draw.STYLE):
        ax = (figure := Figure()).subplots()
        ax.set_xscale("log")
        ax.set_xlim(1, 3)
        figure.savefig(tmp_path / "raw.svg")
    assert [text for text in texts(tmp_path / "raw.svg") if "$" in text]


def test_a_corner_is_an_example_of_its_own_quarter() -> None:
    """One easy example stands in no other corner; four examples, one in each quarter, stand in
    four."""
    easy = make_scores("train", 1, 75, 0, 1).assign(x_perplexity=0.01, c_perplexity=1.1)
    corners = tabulate_xc_plane(easy, SHAPES).query("kind == 'corner'")
    assert corners["corner"].tolist() == ["easy"]
    four = make_scores("train", 4, 75, 0, 1).assign(
        x_perplexity=[0.0, 0.0, 1.0, 1.0], c_perplexity=[1.0, 5.0, 1.0, 5.0]
    )
    corners = (
        tabulate_xc_plane(four, SHAPES).query("kind == 'corner'").set_index("corner")["example_id"]
    )
    assert corners.astype(int).to_dict() == {
        "easy": 0,
        "ambiguous": 1,
        "mislabelled-looking": 2,
        "hard": 3,
    }


def test_one_example_is_one_example(tmp_path: Path) -> None:
    """The histogram counts "1 example", "5 examples"."""
    assert sum("1 example;" in text for text in drawn(tmp_path, "perplexity_histograms", 1)) == 2
    assert sum("5 examples;" in text for text in drawn(tmp_path, "perplexity_histograms", 5)) == 2


def test_an_interval_of_accuracies_ends_at_all() -> None:
    """A t interval of three seeds around 99 % reaches beyond 100 %; it is shown as far as
    accuracies go, differences as they are."""
    arms, comparisons = make_arms()
    high = comparisons.assign(mean=0.99, low=0.97, high=1.01, delta_high=1.2)
    table = tabulate_arm_accuracy(high, arms)
    means = table[table["seed"].isna()]
    assert set(means["high"]) == {1.0}
    assert set(means["low"]) == {0.97}
    assert set(means["delta_high"]) == {1.2}
    assert np.isclose(tabulate_arm_accuracy(high.assign(low=-0.2), arms)["low"].min(), 0.0)


def test_an_arm_called_oracle_is_not_called_so_twice(tmp_path: Path) -> None:
    """Its role is added where the name does not say it."""
    arms, comparisons = make_arms()
    named = comparisons.assign(arm=comparisons["arm"].replace("true-labels", "oracle"))
    said = texts(figures.save("arm_accuracy", tabulate_arm_accuracy(named), tmp_path, HERE).svg)
    assert "oracle" in said
    assert "oracle (oracle)" not in said
    assert "random-like (control)" in said
    assert "true-labels (oracle)" in texts(
        figures.save("arm_accuracy", tabulate_arm_accuracy(comparisons, arms), tmp_path, HERE).svg
    )
