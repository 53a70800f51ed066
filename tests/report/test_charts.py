"""Charts of a study: what a reader sees of a table, and files that hold exactly what was drawn."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

from zoo.data import encode_pixels
from zoo.errors import UnknownNameError, UsageError
from zoo.report import charts
from zoo.report.charts import KINDS
from zoo.report.draw import Provenance
from zoo.studies.findings import (
    DENSITY_COLUMNS,
    HEAT_COLUMNS,
    LINE_COLUMNS,
    PICTURE_COLUMNS,
    Chart,
)

HERE = Provenance(
    "study", "laptop", "shapes", 12, 0, (0, 1, 2), "0.2.0", "abc1234", reproduces=True
)
NASTY = '"><script>alert(1)</script> $x_{$ <b>\x00_\u732b'
INFINITE = float("inf")
_NULL = ("y", "sd", "value", "picture")
PERCENTS = (*range(1, 21), *range(30, 101, 10))  # the 28 settings of study 1


def point(
    series: str | None,
    x: float | None,
    y: float | None,
    sd: float | None = None,
    *,
    panel: str = "",
    text: str = "",
    reference: bool = False,
) -> dict[str, Any]:
    return {
        "panel": panel,
        "series": series,
        "x": x,
        "x_text": text,
        "y": y,
        "sd": sd,
        "n": 3,
        "reference": reference,
    }


def cell(panel: str, row: str, column: str, value: float | None) -> dict[str, Any]:
    return {"panel": panel, "row": row, "column": column, "value": value}


def chart(kind: Any, rows: list[dict[str, Any]], **changes: Any) -> Chart:
    own = {"heat": HEAT_COLUMNS, "density": DENSITY_COLUMNS, "pictures": PICTURE_COLUMNS}
    columns = list(own.get(kind, LINE_COLUMNS))
    one = Chart(
        "figure-01",
        "Noise",
        kind,
        pd.DataFrame(rows, columns=columns),
        "share of labels",
        "accuracy",
        "As in figure 1 of the paper",
    )
    return dataclasses.replace(one, **changes)


def samples() -> dict[str, Chart]:
    """A small chart of every kind, with a null in each."""
    points = [
        point("LeNet", 0.1, 0.9, 0.01, panel="train", text="10 %"),
        point("LeNet", 0.2, 0.8, None, panel="train", text="20 %"),
        point("NIN", 0.1, None, None, panel="train", text="10 %"),
        point("NIN", 0.1, 0.7, 0.02, panel="test", text="10 %"),
        point("ceiling", 0.1, 0.95, None, panel="test", text="10 %", reference=True),
    ]
    cells = [
        cell("LeNet", "delete cat", "cat", -0.5),
        cell("LeNet", "delete cat", "dog", None),
        cell("NIN", "cat \u2192 dog", "dog", 0.25),
    ]
    plane = [
        {"panel": panel, "x_low": x, "x_high": x + 1, "y_low": y, "y_high": y + 0.5, "n": n}
        for panel, x, y, n in (("clean", 1, 0.0, 3), ("clean", 2, 0.5, 40), ("noisy", 1, 0.5, 1))
    ]
    shown = [
        {"panel": "hard", "picture": png(200), "text": "cat\nC 3.20  X 90 %"},
        {"panel": "hard", "picture": None, "text": "dog"},
        {"panel": "easy", "picture": png(90), "text": "ox"},
    ]
    return {
        "lines": chart("lines", points),
        "bars": chart("bars", points),
        "heat": chart("heat", cells),
        "density": chart("density", plane, x_scale="log"),
        "pictures": chart("pictures", shown),
    }


def png(grey: int) -> str:
    """A square of four pixels in base64."""
    picture = np.full((2, 2, 1), grey, dtype=np.uint8)
    return base64.b64encode(encode_pixels(picture)).decode()


def panels(figure: Figure) -> list[Axes]:
    """The axes that are shown and have data, without colour bars."""
    return [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]


def legend_texts(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def x_labels(ax: Axes) -> list[str]:
    low, high = ax.get_xlim()
    return [
        text.get_text()
        for place, text in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        if text.get_text() and low <= place <= high
    ]


def y_labels(ax: Axes) -> list[str]:
    low, high = sorted(ax.get_ylim())
    return [
        text.get_text()
        for place, text in zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
        if text.get_text() and low <= place <= high
    ]


def solid(ax: Axes) -> list[Any]:
    """The lines that are not dashed."""
    return [line for line in ax.lines if line.get_linestyle() == "-"]


def dashed(ax: Axes) -> list[Any]:
    return [line for line in ax.lines if line.get_linestyle() == "--"]


def overlapping(texts: list[Text]) -> list[tuple[str, str]]:
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [
        (a, b)
        for at, (a, one) in enumerate(boxes)
        for b, other in boxes[:at]
        if one.overlaps(other)
    ]


# -------------------------------------------------------------------------------------------- files


def test_every_kind_has_a_sample_here() -> None:
    assert set(samples()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tables_give_equal_bytes_and_another_table_other_bytes(
    kind: str, tmp_path: Path
) -> None:
    one, two = (charts.save(samples()[kind], tmp_path / folder, HERE) for folder in ("one", "two"))
    shorter = dataclasses.replace(samples()[kind], table=samples()[kind].table.iloc[:-1])
    other = charts.save(shorter, tmp_path / "other", HERE)
    for name in ("svg", "png", "csv"):
        assert getattr(one, name).read_bytes() == getattr(two, name).read_bytes()
        assert getattr(one, name).read_bytes() != getattr(other, name).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_the_csv_is_the_table_drawn(kind: str, tmp_path: Path) -> None:
    files = charts.save(samples()[kind], tmp_path, HERE)
    assert (files.svg.name, files.png.name, files.csv.name) == (
        "figure-01.svg",
        "figure-01.png",
        "figure-01.csv",
    )
    read = pd.read_csv(files.csv, keep_default_na=False, na_values=dict.fromkeys(_NULL, ""))
    pd.testing.assert_frame_equal(read, samples()[kind].table, check_dtype=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_rows_draws_a_figure_that_says_so(kind: str, tmp_path: Path) -> None:
    empty = dataclasses.replace(samples()[kind], table=samples()[kind].table.iloc[:0])
    assert "Noise: the table has no rows" in charts.save(empty, tmp_path, HERE).svg.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_without_a_needed_column_is_refused(kind: str) -> None:
    column = KINDS[kind].columns[-1]
    lacking = dataclasses.replace(samples()[kind], table=samples()[kind].table.drop(columns=column))
    with pytest.raises(
        UsageError,
        match=(
            rf"'figure-01' cannot be drawn.* lacks {column}\. It needs .*"
            r" zoo\.studies\.findings\.Chart says what they hold"
        ),
    ):
        charts.draw(lacking)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown kind of chart 'line'.*'lines'"):
        charts.draw(chart("line", []))


def test_a_name_that_is_no_plain_file_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Try 'up'"):
        charts.save(chart("lines", [point("a", 1, 1)], name="../up"), tmp_path, HERE)


def test_a_caption_says_what_is_seen_and_where_the_numbers_come_from(tmp_path: Path) -> None:
    caption = charts.save(samples()["lines"], tmp_path, HERE).caption
    assert caption.startswith(
        "As in figure 1 of the paper. Experiment study, scale laptop (not the paper's); data"
        " shapes; N = 12 classifiers;"
    )
    assert "E = 0" not in caption


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("x_scale", ["linear", "log", "even"])
def test_names_are_shown_as_text_and_what_is_not_finite_does_not_stop_the_drawing(
    kind: str, x_scale: Any, tmp_path: Path
) -> None:
    values = (0.5, None, INFINITE, -INFINITE, float("nan"), 0.25)
    if kind == "heat":
        rows = [cell(NASTY, NASTY, f"{at} {NASTY}", value) for at, value in enumerate(values)]
    elif kind == "density":
        edges = ("x_low", "x_high", "y_low", "y_high", "n")
        rows = [
            {"panel": NASTY} | dict(zip(edges, (low, 2, 0, 1, n), strict=True))
            for low in (0, 1, -INFINITE, None)
            for n in (0, 3, *values)
        ]
    elif kind == "pictures":
        rows = [
            {"panel": NASTY, "picture": picture, "text": NASTY}
            for picture in (None, "", NASTY, "bm9uZQ==", png(3))
        ]
    else:
        rows = [
            point(NASTY, x, y, INFINITE, panel=NASTY, text=NASTY)
            for x in (0, 1, -INFINITE, INFINITE, None)
            for y in values
        ]
        rows += [
            point(f"_{NASTY}", 1, 0.5, panel="b", reference=True),
            point(None, None, 0.5, panel="b"),
        ]
    table = chart(kind, rows).table.astype(object)
    hostile = chart(
        kind,
        rows,
        table=table,
        x_scale=x_scale,
        title=NASTY,
        x_label=NASTY,
        y_label=NASTY,
        caption=NASTY,
    )
    root = ElementTree.parse(charts.save(hostile, tmp_path, HERE).svg).getroot()
    assert "script" not in {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
    text = "".join(root.itertext())
    assert "<script>alert(1)</script> $x_{$ <b>\ufffd_\u732b" in text


# -------------------------------------------------------------------------------------------- lines


def test_each_panel_stands_in_the_order_of_its_first_row_and_a_series_keeps_its_colour_and_marker() -> (  # noqa: E501
    None
):
    rows = [
        point(s, x, 0.5, panel=p)
        for p, names in (("train", "ab"), ("test", "ba"))
        for s in names
        for x in (1, 2)
    ]
    figure = charts.draw(chart("lines", rows))
    assert [ax.get_title(loc="left") for ax in panels(figure)] == ["train", "test"]
    train, test = (
        [(line.get_color(), line.get_marker()) for line in solid(ax)] for ax in panels(figure)
    )
    assert train == test
    assert len(set(train)) == 2
    assert len({marker for _, marker in train}) == 2


@pytest.mark.parametrize(
    ("count", "places"), [(1, [1]), (2, [2]), (3, [3]), (4, [2, 2]), (5, [3, 2])]
)
def test_up_to_three_panels_stand_side_by_side_then_come_rows(
    count: int, places: list[int]
) -> None:
    figure = charts.draw(
        chart("lines", [point("a", x, 0.5, panel=f"p{at}") for at in range(count) for x in (1, 2)])
    )
    heights = [round(ax.get_position().y0, 3) for ax in panels(figure)]
    assert [heights.count(height) for height in dict.fromkeys(heights)] == places


def test_the_legend_names_series_then_references_row_by_row_below_all_panels() -> None:
    names = ["LeNet", "NIN", "_hidden?", "$x$"]
    rows = [point(name, x, 0.5, 0.1) for name in names for x in (1, 2)] + [
        point("ceiling", 1, 0.9, reference=True)
    ]
    figure = charts.draw(chart("lines", rows))
    assert legend_texts(figure) == [*names, "ceiling"]
    assert figure.legends[0].get_title().get_text() == "mean \u00b1 sd over 3 seeds"
    (ax,) = panels(figure)
    assert figure.legends[0].get_window_extent().y1 < ax.get_window_extent().y0


def test_many_names_in_a_legend_do_not_touch_and_read_from_left_to_right() -> None:
    names = [f"noise in {at + 1} of ten labels" for at in range(10)]
    figure = charts.draw(chart("lines", [point(name, x, 0.5) for name in names for x in (1, 2)]))
    texts = figure.legends[0].get_texts()
    assert overlapping(texts) == []
    width = figure.bbox.width
    assert all(
        text.get_window_extent().x0 > 0 and text.get_window_extent().x1 < width for text in texts
    )
    read = sorted(
        texts, key=lambda text: (-round(text.get_window_extent().y0), text.get_window_extent().x0)
    )
    assert [text.get_text() for text in read] == names


def test_a_single_series_without_a_name_needs_no_legend() -> None:
    assert charts.draw(chart("lines", [point("", 1, 0.5), point("", 2, 0.6)])).legends == []


def test_the_band_is_the_mean_and_one_sd_where_there_is_one() -> None:
    figure = charts.draw(
        chart(
            "lines",
            [
                point("a", 1, 0.5, 0.1),
                point("a", 2, 0.6, 0.2),
                point("a", 3, 0.7),
                point("a", 4, 0.8, 0.1),
            ],
        )
    )
    (ax,) = panels(figure)
    (band,) = ax.collections[:1]
    corners = {tuple(np.round(vertex, 6)) for path in band.get_paths() for vertex in path.vertices}
    assert corners == {(1, 0.4), (1, 0.6), (2, 0.4), (2, 0.8)}
    # A point whose neighbour has no sd has an error bar instead.
    bars = [
        segment.round(6).tolist() for bar in ax.collections[1:] for segment in bar.get_segments()
    ]
    assert bars == [[[4.0, 0.7], [4.0, 0.9]]]


def test_a_missing_value_is_a_gap() -> None:
    (ax,) = panels(
        charts.draw(
            chart(
                "lines",
                [point("a", x, y) for x, y in ((1, 0.5), (2, None), (3, INFINITE), (4, 0.6))],
            )
        )
    )
    (line,) = solid(ax)
    assert np.isnan(line.get_ydata()).tolist() == [False, True, True, False]


@pytest.mark.parametrize(("points", "marked"), [(40, True), (41, False)])
def test_curves_of_more_than_forty_points_have_no_markers_but_differ_in_their_dashes(
    points: int, marked: bool
) -> None:
    (ax,) = panels(
        charts.draw(chart("lines", [point(s, x, 0.5) for s in "ab" for x in range(points)]))
    )
    assert [line.get_marker() not in ("", "None") for line in ax.lines] == [marked, marked]
    assert (len({line.get_linestyle() for line in ax.lines}) == 2) is not marked


def test_equal_steps_follow_the_order_of_x_with_infinity_last() -> None:
    rows = [
        point("a", x, 0.5, text=text)
        for x, text in ((4, "\u00d7 4"), (INFINITE, "black and white"), (0.25, "\u00d7 1/4"))
    ]
    (ax,) = panels(charts.draw(chart("lines", rows, x_scale="even")))
    assert x_labels(ax) == ["\u00d7 1/4", "\u00d7 4", "black and white"]
    assert ax.get_xticks().tolist() == [0, 1, 2]
    assert [line.get_xdata().tolist() for line in solid(ax)] == [[0, 1, 2]]


@pytest.mark.parametrize("count", [1, 3])
def test_of_many_equal_steps_some_are_labelled_and_no_two_labels_touch(count: int) -> None:
    rows = [
        point("a", p / 100, 0.5, panel=f"p{at}", text=f"{p} %")
        for at in range(count)
        for p in PERCENTS
    ]
    figure = charts.draw(chart("lines", rows, x_scale="even"))
    for ax in panels(figure):
        assert len(ax.get_xticks()) == 28
        assert x_labels(ax)[0] == "1 %"
        assert 4 <= len(x_labels(ax)) <= 12
    assert overlapping([text for ax in panels(figure) for text in ax.get_xticklabels()]) == []


def test_a_log_axis_has_plain_numbers_and_says_what_has_no_place_on_it() -> None:
    rows = [point("a", x, 0.5) for x in (0, 0.25, 0.5, 1, 2, 4)]
    (ax,) = panels(charts.draw(chart("lines", rows, x_scale="log")))
    assert x_labels(ax) == ["4", "2", "1", "0.5", "0.25"]
    assert ax.get_xlabel() == "share of labels\nnot drawn: 0"


def test_a_log_axis_of_many_values_has_round_numbers_that_do_not_touch() -> None:
    (ax,) = panels(
        charts.draw(chart("lines", [point("a", 600 * p, 0.5) for p in PERCENTS], x_scale="log"))
    )
    assert x_labels(ax)[::-1] == ["1,000", "2,000", "5,000", "10,000", "20,000", "50,000"]
    assert overlapping(ax.get_xticklabels()) == []


def test_epochs_are_whole_numbers() -> None:
    (ax,) = panels(charts.draw(chart("lines", [point("a", x, 0.5) for x in (1, 2, 3)])))
    assert x_labels(ax) == ["1", "2", "3"]


def test_shares_are_in_per_cent_and_end_at_a_hundred() -> None:
    (ax,) = panels(charts.draw(chart("lines", [point("a", 1, 0.9, 0.3), point("a", 2, 1.0, 0.3)])))
    assert {"80 %", "100 %"} <= set(y_labels(ax))
    assert ax.get_ylim()[1] < 1.05


@pytest.mark.parametrize("kind", ["lines", "bars"])
def test_a_spread_that_reaches_below_zero_is_shown_whole(kind: str) -> None:
    """Gains of .2 and .7 points with a spread of .9: the axis reaches -.7 at least; without the
    spread it starts at 0 as shares do."""
    rows = [point("a", 1, 0.002, 0.009), point("a", 2, 0.007, 0.009)]
    (ax,) = panels(charts.draw(chart(kind, rows)))
    assert ax.get_ylim()[0] <= -0.007
    (ax,) = panels(charts.draw(chart(kind, [point("a", 1, 0.002), point("a", 2, 0.007)])))
    assert -0.001 < ax.get_ylim()[0] <= 0.002
    (plain,) = panels(
        charts.draw(chart("lines", [point("a", 1, -0.5), point("a", 2, 1)], percent=False))
    )
    assert {"\u22120.4", "0", "1"} <= set(y_labels(plain))


def test_a_reference_is_dashed_without_markers_in_grey_or_in_the_colour_of_its_series() -> None:
    rows = [point("a", x, 0.5) for x in (1, 2, 3)]
    rows += [point(name, x, 0.9, reference=True) for name in ("ceiling", "a") for x in (1, 3)]
    figure = charts.draw(chart("lines", rows))
    (ax,) = panels(figure)
    (line,), (ceiling, own) = solid(ax), dashed(ax)
    assert legend_texts(figure) == ["a", "ceiling", "a (reference)"]
    assert ceiling.get_marker() == own.get_marker() == "None"
    assert own.get_color() == line.get_color()
    red, green, blue, _ = to_rgba(ceiling.get_color())
    assert max(red, green, blue) - min(red, green, blue) < 0.05


@pytest.mark.parametrize("x", [2, None])
@pytest.mark.parametrize("x_scale", ["linear", "log", "even"])
def test_a_reference_of_one_value_runs_across_the_panel(x: float | None, x_scale: Any) -> None:
    rows = [*(point("a", at, 0.5) for at in (1, 2, 3)), point("ceiling", x, 0.9, reference=True)]
    (ax,) = panels(charts.draw(chart("lines", rows, x_scale=x_scale)))
    (line,) = dashed(ax)
    left, right = ax.transAxes.inverted().transform(
        line.get_transform().transform(line.get_xydata())
    )[:, 0]
    assert (left, right) == pytest.approx((0, 1))
    assert "not drawn" not in ax.get_xlabel()


# --------------------------------------------------------------------------------------------- bars


def heights(ax: Axes) -> list[tuple[float, float]]:
    """(middle, height) of the bars, series by series."""
    return [
        (round(bar.get_x() + bar.get_width() / 2, 6), round(bar.get_height(), 6))
        for group in ax.containers
        for bar in group
        if hasattr(bar, "get_height")
    ]


def test_bars_stand_by_group_in_the_order_of_x_and_of_the_series() -> None:
    rows = [
        point(s, x, y, text=t)
        for s, shift in (("a", 0), ("b", 0.1))
        for x, y, t in ((1, 0.3 + shift, "dog"), (0, -0.2 + shift, "cat"))
    ]
    figure = charts.draw(chart("bars", rows))
    (ax,) = panels(figure)
    assert x_labels(ax) == ["cat", "dog"]
    assert sorted(heights(ax)) == [(-0.2, -0.2), (0.2, -0.1), (0.8, 0.3), (1.2, 0.4)]
    assert legend_texts(figure) == ["a", "b"]
    assert "\u221220 %" in y_labels(ax)
    # the zero line under bars of both signs
    assert any(np.allclose(line.get_ydata(), 0) for line in ax.lines)


def test_the_reference_of_a_group_is_a_dash_over_it_and_that_of_a_series_over_its_bar() -> None:
    rows = [point(s, x, 0.5, text=t) for s in "ab" for x, t in ((0, "cat"), (1, "dog"))]
    rows += [
        point("ceiling", None, 0.9, text="dog", reference=True),
        point("b", 0, 0.7, text="cat", reference=True),
    ]
    figure = charts.draw(chart("bars", rows))
    (ax,) = panels(figure)
    spans = {
        round(float(line.get_ydata()[0]), 6): line.get_xdata()
        for line in ax.lines
        if len(line.get_xdata()) == 2
    }
    assert spans[0.9] == pytest.approx([0.55, 1.45])
    assert spans[0.7] == pytest.approx([0, 0.4])
    assert legend_texts(figure) == ["a", "b", "ceiling", "b (reference)"]


def test_error_bars_reach_one_sd_up_and_down() -> None:
    (ax,) = panels(
        charts.draw(
            chart(
                "bars", [point("a", 0, 0.5, 0.1, text="cat"), point("a", 1, 0.5, None, text="dog")]
            )
        )
    )
    assert [
        segment.round(6).tolist() for bars in ax.collections for segment in bars.get_segments()
    ] == [[[0.0, 0.4], [0.0, 0.6]]]


def test_an_unknown_bar_is_a_dash() -> None:
    (ax,) = panels(
        charts.draw(
            chart("bars", [point("a", 0, None, text="cat"), point("a", 1, 0.5, text="dog")])
        )
    )
    assert [text.get_text() for text in ax.texts] == ["\u2013"]
    assert heights(ax) == [(1, 0.5)]


def test_names_of_groups_do_not_touch_and_stay_in_the_figure() -> None:
    names = [f"a rather long name {at}" for at in range(12)]
    figure = charts.draw(
        chart("bars", [point("a", at, 0.5, text=name) for at, name in enumerate(names)])
    )
    (ax,) = panels(figure)
    assert x_labels(ax) == names
    assert {text.get_rotation() for text in ax.get_xticklabels()} == {40}
    assert all(text.get_window_extent().y0 > 0 for text in ax.get_xticklabels())
    (few,) = panels(
        charts.draw(
            chart(
                "bars", [point("a", at, 0.5, text=name) for at, name in enumerate(("cat", "dog"))]
            )
        )
    )
    assert {text.get_rotation() for text in few.get_xticklabels()} == {0}


# --------------------------------------------------------------------------------------------- heat


def test_a_matrix_has_its_rows_columns_and_panels_in_the_order_of_first_appearance() -> None:
    rows = [
        cell(p, r, c, 0.1)
        for p in ("NIN", "LeNet")
        for r in ("delete dog", "delete cat")
        for c in ("truck", "airplane")
    ]
    figure = charts.draw(chart("heat", rows))
    assert [ax.get_title(loc="left") for ax in panels(figure)] == ["NIN", "LeNet"]
    assert y_labels(panels(figure)[0]) == ["delete dog", "delete cat"]
    tops = [text.get_window_extent().y0 for text in panels(figure)[0].get_yticklabels()]
    assert tops[0] > tops[1]
    assert all(x_labels(ax) == ["truck", "airplane"] for ax in panels(figure))


def test_every_cell_says_its_value_and_a_null_is_a_grey_dash() -> None:
    rows = [
        cell("", "r", "a", -0.5),
        cell("", "r", "b", None),
        cell("", "r", "c", -0.0004),
        cell("", "s", "a", 0.123),
        cell("", "s", "b", 1.0),
    ]
    (ax,) = panels(charts.draw(chart("heat", rows)))
    assert [text.get_text() for text in ax.texts] == [
        "\u221250.0",
        "\u2013",
        "0.0",
        "12.3",
        "100.0",
        "\u2013",
    ]
    drawn = ax.collections[0].get_array()
    assert np.ma.getmaskarray(drawn).ravel().tolist() == [False, True, False, False, False, True]
    (plain,) = panels(charts.draw(chart("heat", rows, percent=False)))
    assert [text.get_text() for text in plain.texts] == [
        "\u22120.5",
        "\u2013",
        "\u22120.0004",
        "0.123",
        "1",
        "\u2013",
    ]


@pytest.mark.parametrize(
    ("values", "limits"),
    [
        ((-0.2, 0.5), (-0.5, 0.5)),
        ((0.1, 0.5), (0.1, 0.5)),
        ((-0.4, -0.1), (-0.4, -0.1)),
        ((0.3, 0.3), (0, 0.3)),
    ],
)
def test_one_colour_scale_serves_all_panels_and_is_centred_where_both_signs_occur(
    values: tuple[float, float], limits: tuple[float, float]
) -> None:
    figure = charts.draw(
        chart("heat", [cell(f"p{at}", "r", "c", value) for at, value in enumerate(values)])
    )
    assert sum(ax.get_label() == "<colorbar>" for ax in figure.axes) == 1
    assert [ax.collections[0].get_clim() for ax in panels(figure)] == [limits, limits]


def test_a_cell_farther_from_zero_is_darker_and_its_text_stands_out() -> None:
    for values in ((0.1, 0.5, 0.9), (-0.1, -0.5, -0.9), (-0.9, 0.0, 0.9)):
        (ax,) = panels(
            charts.draw(
                chart("heat", [cell("", "r", str(at), value) for at, value in enumerate(values)])
            )
        )
        mesh = ax.collections[0]
        for value, text in zip(values, ax.texts, strict=True):
            red, green, blue, _ = mesh.to_rgba(value)
            light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
            assert (light < 0.25) == (abs(value) == 0.9)
            assert (
                to_hex(text.get_color()) == ("#ffffff" if light < 0.25 else "#000000")
                or 0.25 < light < 0.6
            )


def test_the_texts_of_many_cells_stay_inside_their_cells() -> None:
    rows = [
        cell(p, f"row {r}", f"column {c}", -0.987)
        for p in ("a", "b")
        for r in range(12)
        for c in range(30)
    ]
    figure = charts.draw(chart("heat", rows))
    for ax in panels(figure):
        width = ax.get_window_extent().width / 30
        assert all(text.get_window_extent().width < width for text in ax.texts[:3])
        assert ax.texts[0].get_text() == "\u221299"
        assert ax.texts[0].get_fontsize() >= 6
    assert overlapping(panels(figure)[1].get_yticklabels()) == []


def test_a_cell_with_two_values_is_refused() -> None:
    with pytest.raises(UsageError, match="more than one value for panel 'p', row 'r', column 'c'"):
        charts.draw(chart("heat", [cell("p", "r", "c", 1), cell("p", "r", "c", 2)]))


def test_panels_share_an_axis_of_numbers_unless_one_looks_closer() -> None:
    """Train and test curves over the same epochs can be compared at a glance; "1 to 20 %" beside "0
    to 100 %" fills its own panel."""

    def limits(last: float) -> list[tuple[float, float]]:
        rows = [
            point("a", x, 0.5, panel=panel)
            for panel, end in (("left", 100.0), ("right", last))
            for x in (0.0, end)
        ]
        return [ax.get_xlim() for ax in panels(charts.draw(chart("lines", rows)))]

    left, right = limits(80.0)
    assert left == right
    left, right = limits(20.0)
    assert left[1] > 100
    assert 20 < right[1] < 25


def test_an_error_over_both_log_axes_has_plain_ticks_and_a_straight_line() -> None:
    """A power law is a straight line there; ticks are per cent, and a value of 0 has no place."""
    rows = [point("net", n, y) for n, y in ((100.0, 0.2), (1_000.0, 0.02), (10_000.0, 0.0))]
    (ax,) = panels(charts.draw(chart("lines", rows, x_scale="log", y_scale="log")))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert set(y_labels(ax)) >= {"2 %", "5 %", "10 %", "20 %"}
    assert ax.get_ylim()[0] > 0.015


# ---------------------------------------------------------------------------- density and pictures


def test_a_cell_of_a_plane_lies_where_its_edges_are_and_fuller_is_darker() -> None:
    clean, noisy = panels(charts.draw(samples()["density"]))
    (cells,) = clean.collections
    corners = [path.vertices[[0, 2]].tolist() for path in cells.get_paths()]
    assert corners == [[[1, 0], [2, 0.5]], [[2, 0.5], [3, 1]]]
    colours = cells.cmap(cells.norm(cells.get_array()))
    assert colours[1].sum() < colours[0].sum()
    assert clean.get_xscale() == "log"
    assert x_labels(clean) == ["1", "1.5", "2", "3"]
    assert noisy.get_xlim() == clean.get_xlim() == (1, 3)
    assert y_labels(clean)[0] == "0 %"


def test_examples_stand_in_rows_under_the_name_of_their_panel_each_with_its_words() -> None:
    figure = charts.draw(samples()["pictures"])
    said = [text.get_text() for text in figure.texts]
    assert said == ["hard", "cat\nC 3.20  X 90 %", "dog", "easy", "ox"]
    first, lost, third = figure.axes
    assert first.images[0].get_array().ravel().tolist() == [200] * 12  # grey as three channels
    assert not lost.images
    assert "no\npicture" in [text.get_text() for text in lost.texts]
    assert third.get_position().y1 < first.get_position().y0


def test_nine_examples_take_two_rows() -> None:
    rows = [{"panel": "", "picture": png(9), "text": str(n)} for n in range(9)]
    figure = charts.draw(chart("pictures", rows))
    heights = {round(ax.get_position().y0, 6) for ax in figure.axes}
    assert len(figure.axes) == 9
    assert len(heights) == 2
