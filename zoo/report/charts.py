"""Charts: the figures of a study, drawn from the tidy tables its experiment made.

``save`` writes NAME.svg, NAME.png and NAME.csv of a ``zoo.studies.findings.Chart`` by the rules of
``zoo.report.figures``: the CSV is the very table drawn, equal inputs give equal bytes, names from
data are text. A kind of chart is one function and one line in ``KINDS``. What has no place in a
figure (a null, an infinity, zero on a log axis) leaves a gap, a dash or a remark.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from zoo.data import UnreadableImage, decode_image
from zoo.errors import UsageError
from zoo.registry import Registry
from zoo.report.draw import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    FigureEntry,
    FigureFiles,
    Provenance,
    draw_entry,
    draw_picture,
    new_figure,
    safe_text,
    save_entry,
)
from zoo.studies.findings import (
    DENSITY_COLUMNS,
    HEAT_COLUMNS,
    LINE_COLUMNS,
    PICTURE_COLUMNS,
    Chart,
)

__all__ = ["KINDS", "ChartKind", "draw", "entry_of", "save"]


WIDTH = 10.0  # inches, as all figures of a report
COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, "#6a4c2f")
# eight, not seven: colour and marker part ways at the eighth series
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# no dots: a page of them weighs ten times as much
HATCHES = ("", "////", "\\\\\\\\", "xxxx", "----", "++++")
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (6, 1.5)),
    (0, (2.5, 1.2)),
    (0, (7, 1.5, 1.5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (9, 2, 3, 2)),
)
REFERENCE_DASHES: tuple[Any, ...] = ((0, (4, 3)), (0, (1, 1.8)), (0, (8, 2.5, 1.5, 2.5)))
MOST_MARKERS = 40
MOST_LABELS = 12
INK = "#24292f"
NULL_CELL = "#dfe2e6"
MINUS = "\u2212"
# From negative to positive; a quantity of one sign uses its half, so that a darker cell is always
# farther from zero.
_SIGNED = LinearSegmentedColormap.from_list(
    "signed", ["#7a2f00", VERMILION, "#f2b48a", "#f7f7f7", "#9fcbe8", BLUE, "#08375c"]
)
_POSITIVE = LinearSegmentedColormap.from_list("positive", _SIGNED(np.linspace(0.5, 1, 129)))
_NEGATIVE = LinearSegmentedColormap.from_list("negative", _SIGNED(np.linspace(0, 0.5, 129)))


def save(chart: Chart, folder: Path, provenance: Provenance) -> FigureFiles:
    """Draw a chart and write <name>.svg, <name>.png and <name>.csv, its table. Equal inputs give
    equal bytes.

    Args:
        folder: where to write; made if absent. Each file appears whole or not at all.
        provenance: follows the chart's caption, and goes into the metadata of both images.

    Raises:
        UnknownNameError: no such kind of chart.
        UsageError: the table lacks columns or says a cell twice, or the name is no plain file name.
    """
    return save_entry(chart.name, entry_of(chart), chart.table, folder, provenance)


def draw(chart: Chart) -> Figure:
    """Draw a chart; a table without rows gives a figure that says so. Errors as in ``save``."""
    return draw_entry(chart.name, entry_of(chart), chart.table)


def entry_of(chart: Chart) -> FigureEntry:
    """The chart as ``zoo.report.figures`` draws and saves it."""
    kind = KINDS[chart.kind]
    caption = chart.caption.strip()
    stop = "" if not caption or caption.endswith((".", "!", "?")) else "."
    return FigureEntry(
        draw=lambda table, _pictures: kind.draw(chart, table),
        title=chart.title,
        caption=f"{caption}{stop} {{provenance}}.".strip(),
        alt=(
            f"{kind.told}: {chart.y_label} by {chart.x_label}. {chart.title}"
            if chart.x_label
            else f"{kind.told}. {chart.title}"
        ),
        columns=kind.columns,
        advice="zoo.studies.findings.Chart says what they hold.",
    )


# --------------------------------------------------------------------------------- tables and texts


def _tidy(table: pd.DataFrame) -> pd.DataFrame:
    """A table of lines or bars with plain types: names without nulls, float64 with NaN,
    ``reference`` without nulls."""
    return pd.DataFrame(
        {
            **{name: _plain(table[name]) for name in ("panel", "series", "x_text")},
            **{
                name: table[name].to_numpy(dtype=np.float64, na_value=np.nan)
                for name in ("x", "y", "sd", "n")
            },
            "reference": table["reference"].eq(True).fillna(False).to_numpy(dtype=np.bool_),
        }
    )


def _plain(column: pd.Series[Any]) -> list[str]:
    return [
        "" if missing else str(value) for value, missing in zip(column, column.isna(), strict=True)
    ]


def _unique(names: Iterable[str]) -> list[str]:
    """In the order of first appearance."""
    return list(dict.fromkeys(names))


def _number(value: float) -> str:
    """``-0.30000000000000004`` -> "−0.3"; ``12000`` -> "12,000"; infinity by its sign."""
    if np.isinf(value):
        return "\u221e" if value > 0 else f"{MINUS}\u221e"
    text = f"{value:,.10g}"
    return "0" if text == "-0" else text.replace("-", MINUS)


def _values_text(chart: Chart) -> FuncFormatter:
    # Differences of shares are in points, which their axis says.
    unit = "" if "[points]" in chart.y_label else " %"
    return FuncFormatter(
        lambda value, _: (
            f"{_number(round(100 * value, 8))}{unit}" if chart.percent else _number(value)
        )
    )


def _inches(text: str, points: float) -> float:
    """About how wide a text is: DejaVu's mean letter is 0.56 of its size."""
    return 0.56 * points / 72 * len(text)


def _thinned(labels: Sequence[str], width: float) -> list[str]:
    """The labels of an even axis of ``width`` inches, of which every second, third, ... is kept so
    that they fit; the others are empty."""
    longest = max((_inches(label, 9) for label in labels), default=0.0)
    fitting = max(2, min(MOST_LABELS, int(width / (longest + 0.12))))
    step = max(1, -(-(len(labels) - 1) // (fitting - 1)))
    return [label if at % step == 0 else "" for at, label in enumerate(labels)]


# --------------------------------------------------------------------------------- looks and legend


@dataclass(frozen=True)
class _Look:
    """How one series is drawn in every panel."""

    label: str
    colour: str
    marker: str = ""
    dashes: Any = "solid"
    hatch: str = ""


def _looks(
    rows: pd.DataFrame, *, markers: bool, reference_dashes: Sequence[Any] = REFERENCE_DASHES
) -> tuple[dict[str, _Look], dict[str, _Look]]:
    """(looks of the series, looks of the references), in the order of first appearance."""
    names = _unique(rows.loc[~rows["reference"], "series"])
    looks = {
        name: _Look(
            safe_text(name or "\u2013", 60),
            COLOURS[at % len(COLOURS)],
            MARKERS[at % len(MARKERS)] if markers else "",
            "solid" if markers else DASHES[at % len(DASHES)],
            HATCHES[at % len(HATCHES)],
        )
        for at, name in enumerate(names)
    }
    references = {}
    for at, name in enumerate(_unique(rows.loc[rows["reference"], "series"])):
        label = safe_text(name or "\u2013", 60) + (" (reference)" if name in looks else "")
        colour = looks[name].colour if name in looks else GREY
        references[name] = _Look(label, colour, dashes=reference_dashes[at % len(reference_dashes)])
    return looks, references


def _spread_text(rows: pd.DataFrame) -> str:
    """What a band or an error bar is; "" where there is none."""
    n = rows.loc[rows["sd"].notna() & ~rows["reference"], "n"]
    if n.empty:
        return ""
    counts = sorted({int(value) for value in n.dropna()})
    return "mean \u00b1 sd" + (
        ""
        if not counts
        else f" over {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "") + " seeds"
    )


def _legend(figure: Figure, entries: Sequence[tuple[Any, str]], spread: str) -> None:
    """One legend below all panels, read row by row, under the words that say what bands or error
    bars are."""
    if not entries and not spread:
        return
    longest = max((_inches(text, 9) for _, text in entries), default=0.0) + 0.75
    most = max(1, min(len(entries), int((WIDTH - 0.2) / longest)))
    columns = -(-len(entries) // -(-len(entries) // most)) if entries else 1
    # the legend fills its columns first
    ordered = [entry for column in range(columns) for entry in entries[column::columns]]
    legend = figure.legend(
        [handle for handle, _ in ordered],
        [text for _, text in ordered],
        loc="outside lower center",
        ncols=columns,
        title=spread or None,
        title_fontsize=8.5,
        handlelength=2.6,
    )
    legend.get_title().set_color(GREY)


# ------------------------------------------------------------------------------------------- panels


def _side_by_side(panels: int) -> int:
    """Up to three; four stand two by two."""
    return 2 if panels == 4 else min(panels, 3)


def _panel_width(columns: int) -> float:
    """Inches that the data of one of ``columns`` panels side by side have."""
    return (WIDTH - 1.0) / columns - 0.2


def _panels(
    chart: Chart, names: Sequence[str], columns: int, foot: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel per name, with its titles and the names of its axes, and the panels.
    ``foot``: inches of slanting labels."""
    rows = -(-len(names) // columns)
    height = {1: 3.7, 2: 3.1}.get(columns, 2.6)
    figure = new_figure(WIDTH, 0.75 + (height + 0.3 + foot) * rows, pad=0.06)
    # One scale of y for all panels: they show one quantity, and are compared.
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel().tolist()
    for unused in axes[len(names) :]:
        unused.set_axis_off()
    for at, (ax, name) in enumerate(zip(axes, names, strict=False)):
        _name_panel(ax, name, names, _panel_width(columns))
        ax.grid(axis="y")
        if at % columns == 0:
            ax.set_ylabel(_wrapped(chart.y_label, height - 0.2))
        else:
            ax.tick_params(left=False, labelleft=False)
        if at + columns >= len(names):
            ax.set_xlabel(_wrapped(chart.x_label, _panel_width(columns)))
    return figure, axes[: len(names)]


def _name_panel(ax: Axes, name: str, names: Sequence[str], width: float) -> None:
    if name or len(names) > 1:
        ax.set_title(_wrapped(name or "\u2013", width, points=12, longest=80))


def _wrapped(text: str, width: float, *, points: float = 10, longest: int = 200) -> str:
    """A name of an axis or a panel in lines of ``width`` inches."""
    return textwrap.fill(safe_text(text, longest), max(12, int(width / _inches("x", points))))


def _even_places(rows: pd.DataFrame) -> tuple[NDArray[np.float64], list[str]]:
    """Equal steps in the order of x: (place of each row, label of each place). A row without x
    stands where its text stands.

    A reference without x and without such a place has none (NaN): it holds for all.
    """
    x = rows["x"].to_numpy(np.float64)
    own_first = rows.sort_values("reference", kind="stable")
    labels: list[str] = []
    for value in np.unique(x[~np.isnan(x)]):
        texts = own_first.loc[own_first["x"] == value, "x_text"]
        labels.append(next((text for text in texts if text), _number(float(value))))
    labels += [
        text
        for text in _unique(rows.loc[np.isnan(x) & ~rows["reference"], "x_text"])
        if text and text not in labels
    ]
    places = np.searchsorted(np.unique(x[~np.isnan(x)]), x).astype(np.float64)
    for row in np.flatnonzero(np.isnan(x)):
        text = rows["x_text"].iloc[row]
        places[row] = labels.index(text) if text and text in labels else np.nan
    return places, [safe_text(label) for label in labels]


def _value_limits(chart: Chart, rows: pd.DataFrame, axes: Sequence[Axes]) -> None:
    """A log axis where the chart wants one; else shares end at 0 and 100 %, so that no axis
    promises more than all. What says how far values spread stays whole: differences that are all
    above 0 look like shares."""
    y = rows["y"].to_numpy(np.float64)
    known = np.isfinite(y)
    y, sd = y[known], np.nan_to_num(rows["sd"].to_numpy(np.float64)[known])
    axes[0].yaxis.set_major_formatter(_values_text(chart))
    if chart.y_scale == "log" and (positive := y[y > 0]).size:
        axes[0].set_yscale("log")
        axes[0].set_ylim(positive.min() / 1.15, positive.max() * 1.15)
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes[0].yaxis.set_minor_locator(NullLocator())
        axes[0].yaxis.set_major_formatter(_values_text(chart))
        return
    if chart.percent and len(y) and (y - sd).min() >= 0 and y.max() <= 1:
        low, high = axes[0].get_ylim()
        room = 0.02 * (high - low)
        axes[0].set_ylim(max(low, -room), min(high, 1 + room))


# -------------------------------------------------------------------------------------------- lines


def _draw_lines(chart: Chart, table: pd.DataFrame) -> Figure:
    rows = _tidy(table)
    names = _unique(rows["panel"])
    columns = _side_by_side(len(names))
    width = _panel_width(columns)
    figure, axes = _panels(chart, names, columns)
    longest = rows[~rows["reference"]].groupby(["panel", "series"]).size().max()
    looks, references = _looks(rows, markers=not longest > MOST_MARKERS)
    spans = rows[np.isfinite(rows["x"])].groupby("panel")["x"].agg(np.ptp)
    # A panel that looks closer at a part of x has an axis of its own.
    alike = bool(spans.max() <= 2 * spans.min())
    for ax, name in zip(axes, names, strict=True):
        part = rows[rows["panel"] == name]
        if chart.x_scale == "even":
            places, labels = _even_places(part)
            room = max(0.25, 0.025 * len(labels))
            ax.set_xticks(np.arange(len(labels)), _thinned(labels, width))
            ax.set_xlim(-room, max(len(labels), 1) - 1 + room)
        else:
            places = part["x"].to_numpy(np.float64)
            places = np.where(
                np.isfinite(places) & ((places > 0) | (chart.x_scale != "log")), places, np.nan
            )
            _number_axis(ax, chart, rows["x"].to_numpy(np.float64) if alike else places, width)
        part = part.assign(place=places).sort_values("place", kind="stable")
        for series, look in references.items():
            _reference_line(ax, part[part["reference"] & (part["series"] == series)], look)
        for series, look in looks.items():
            _line(
                ax,
                part[~part["reference"] & (part["series"] == series)].dropna(subset=["place"]),
                look,
            )
        _remark(ax, part[~part["reference"] & part["place"].isna() & np.isfinite(part["y"])])
    _value_limits(chart, rows, axes)
    line: dict[str, Any] = {"linewidth": 1.7, "markersize": 5}
    entries: list[tuple[Any, str]] = [
        (
            Line2D(
                [], [], color=look.colour, linestyle=look.dashes, marker=look.marker or None, **line
            ),
            look.label,
        )
        for look in (*looks.values(), *references.values())
    ]
    if len(entries) == 1 and not rows["series"].iloc[0]:
        entries = []
    _legend(figure, entries, _spread_text(rows))
    return figure


def _line(ax: Axes, points: pd.DataFrame, look: _Look) -> None:
    """One series of one panel: line, markers, band; an error bar where a band would have no
    width."""
    x, y, sd = (points[name].to_numpy(np.float64) for name in ("place", "y", "sd"))
    y = np.where(np.isfinite(y), y, np.nan)
    known = np.isfinite(y) & np.isfinite(sd)
    padded = np.concatenate([[False], known, [False]])
    lone = known & ~padded[:-2] & ~padded[2:]
    band = np.where(known & ~lone, sd, np.nan)
    ax.fill_between(x, y - band, y + band, color=look.colour, alpha=0.16, linewidth=0, zorder=1.5)
    ax.errorbar(
        x[lone],
        y[lone],
        sd[lone],
        fmt="none",
        ecolor=look.colour,
        elinewidth=1.2,
        capsize=3,
        zorder=2,
    )
    ax.plot(
        x,
        y,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker or None,
        markersize=5,
        linewidth=1.7,
        zorder=3,
    )


def _reference_line(ax: Axes, points: pd.DataFrame, look: _Look) -> None:
    """A dashed line through its points; right across the panel where it has one place or none."""
    points = points[np.isfinite(points["y"])]
    style: dict[str, Any] = {
        "color": look.colour,
        "linestyle": look.dashes,
        "linewidth": 1.4,
        "zorder": 2.5,
    }
    if len(points["place"].dropna().unique()) > 1:
        ax.plot(points["place"].to_numpy(np.float64), points["y"].to_numpy(np.float64), **style)
    else:
        for y in points["y"].unique():
            ax.axhline(float(y), **style)


def _remark(ax: Axes, left: pd.DataFrame) -> None:
    """Says below the axis which values of x have no place on it."""
    if len(left):
        texts = _unique(
            text or ("no x" if np.isnan(x) else _number(float(x)))
            for text, x in zip(left["x_text"], left["x"], strict=True)
        )
        ax.set_xlabel(f"{ax.get_xlabel()}\nnot drawn: {safe_text(', '.join(texts), 40)}".strip())


def _number_axis(ax: Axes, chart: Chart, every_x: NDArray[np.float64], width: float) -> None:
    """A linear or log axis of x with plain numbers. ``every_x``: what it has to span, any
    values."""
    x = np.unique(every_x[np.isfinite(every_x) & ((every_x > 0) | (chart.x_scale != "log"))])
    if not len(x):
        ax.set_xticks([])
        return
    low, high = float(x[0]), float(x[-1])
    if chart.x_scale == "log":
        ax.set_xscale("log")
        room = (high / low) ** 0.03 if high > low else 1.5
        ax.set_xlim(low / room, high * room)
        ax.xaxis.set_major_locator(FixedLocator(_log_ticks(x, width)))
        ax.xaxis.set_minor_locator(NullLocator())
    else:
        room = 0.025 * (high - low) if high > low else 0.5
        ax.set_xlim(low - room, high + room)
        ax.xaxis.set_major_locator(
            MaxNLocator(
                nbins=int(min(10, max(4, width / 0.45))),
                steps=[1, 2, 5, 10],
                integer=bool((x == np.round(x)).all()),
            )
        )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))


def _log_ticks(x: NDArray[np.float64], width: float) -> list[float]:
    """Ticks of a log axis: the values themselves if they are few, else 1, 2, 5, 10, ...; none so
    near another that their texts touch.

    Args:
        x: different values > 0, ascending.
        width: of the axis, in inches.
    """
    candidates = x
    if len(x) > MOST_LABELS:
        powers = np.arange(np.floor(np.log10(x[0])), np.ceil(np.log10(x[-1])) + 1)
        round_numbers = (10.0 ** powers[:, None] * np.array([1, 2, 5])).ravel()
        inside = round_numbers[(round_numbers >= x[0] * 0.999) & (round_numbers <= x[-1] * 1.001)]
        candidates = inside if len(inside) > 2 else x
    per_log = width / max(np.log(x[-1] / x[0]), 1e-9)
    kept: list[float] = []
    for value in candidates[::-1].tolist():
        if (
            not kept
            or per_log * np.log(kept[-1] / value)
            > (_inches(_number(kept[-1]), 9) + _inches(_number(value), 9)) / 2 + 0.08
        ):
            kept.append(value)
    return kept


# --------------------------------------------------------------------------------------------- bars


def _draw_bars(chart: Chart, table: pd.DataFrame) -> Figure:
    rows = _tidy(table)
    names = _unique(rows["panel"])
    looks, references = _looks(rows, markers=True, reference_dashes=("solid", *REFERENCE_DASHES))
    own = rows[~rows["reference"]]
    most = int(own.groupby("panel")["x_text"].nunique().max()) * len(looks) if len(own) else 1
    # a bar narrower than 0.11 in is a line
    columns = max(1, min(_side_by_side(len(names)), int(9 / (0.11 * most))))
    parts = {name: rows[rows["panel"] == name] for name in names}
    placed = {name: _even_places(part) for name, part in parts.items()}
    slants = [_slant(labels, _panel_width(columns)) for _, labels in placed.values()]
    figure, axes = _panels(chart, names, columns, foot=max(inches for _, inches in slants))
    for ax, name, (slant, _) in zip(axes, names, slants, strict=True):
        places, labels = placed[name]
        part = parts[name].assign(place=places)
        step = 0.8 / max(len(looks), 1)
        middles = {series: (at - (len(looks) - 1) / 2) * step for at, series in enumerate(looks)}
        for series, look in looks.items():
            _bars(
                ax,
                part[~part["reference"] & (part["series"] == series)].dropna(subset=["place"]),
                look,
                middles[series],
                step,
            )
        for series, look in references.items():
            _reference_dashes(
                ax,
                part[part["reference"] & (part["series"] == series)],
                look,
                middles.get(series),
                step,
            )
        _remark(ax, part[~part["reference"] & part["place"].isna() & np.isfinite(part["y"])])
        if (part["y"] < 0).any():
            ax.axhline(0, color="#57606a", linewidth=0.9, zorder=2)
        every = _label_step(labels)
        ax.set_xticks(np.arange(0, len(labels), every), labels[::every], **slant)
        ax.set_xlim(-0.6, max(len(labels), 1) - 0.4)
        ax.tick_params(axis="x", length=0)
    _value_limits(chart, rows, axes)
    entries: list[tuple[Any, str]] = [
        (Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0), look.label)
        for look in looks.values()
    ]
    if len(entries) == 1 and not own["series"].iloc[0]:
        entries = []
    entries += [
        (Line2D([], [], color=BLACK, linestyle=look.dashes, linewidth=1.8), look.label)
        for look in references.values()
    ]
    _legend(figure, entries, _spread_text(rows))
    return figure


def _bars(ax: Axes, points: pd.DataFrame, look: _Look, middle: float, width: float) -> None:
    """The bars of one series; a dash on the zero line where the value is not known."""
    x, y, sd = (points[name].to_numpy(np.float64) for name in ("place", "y", "sd"))
    x, known = x + middle, np.isfinite(y)
    ax.bar(
        x[known],
        y[known],
        width=0.94 * width,
        color=look.colour,
        hatch=look.hatch,
        edgecolor="white",
        linewidth=0,
    )
    spread = known & np.isfinite(sd)
    ax.errorbar(
        x[spread],
        y[spread],
        sd[spread],
        fmt="none",
        ecolor=INK,
        elinewidth=1,
        capsize=min(3.0, 12 * width),
        zorder=5,
    )
    for place in x[~known]:
        ax.annotate(
            "\u2013",
            (place, 0),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=GREY,
        )


def _reference_dashes(
    ax: Axes, points: pd.DataFrame, look: _Look, middle: float | None, width: float
) -> None:
    """A short dash over each group, or over the bar of the same series (``middle``); right across
    the panel where it has no place."""
    points = points[np.isfinite(points["y"])]
    for place, y in zip(points["place"], points["y"], strict=True):
        if np.isnan(place):
            ax.axhline(y, color=BLACK, linestyle=look.dashes, linewidth=1.4, zorder=4)
            continue
        left, right = (
            (place - 0.45, place + 0.45)
            if middle is None
            else (place + middle - 0.5 * width, place + middle + 0.5 * width)
        )
        # seen on a bar of any colour
        ax.plot([left, right], [y, y], color="white", linewidth=3, solid_capstyle="butt", zorder=4)
        ax.plot(
            [left, right],
            [y, y],
            color=BLACK,
            linestyle=look.dashes,
            linewidth=1.7,
            solid_capstyle="butt",
            zorder=4.1,
        )


def _label_step(labels: Sequence[str]) -> int:
    """Every group is named; beyond 40 groups every second, third, ... is."""
    return max(1, -(-len(labels) // 40))


def _slant(labels: Sequence[str], width: float) -> tuple[dict[str, Any], float]:
    """(how the names of groups are turned in a panel of ``width`` inches, the inches below it that
    this takes)."""
    longest = max((_inches(label, 9) for label in labels), default=0.0)
    room = width / max(len(labels), 1) * _label_step(labels)
    if longest < room - 0.04:
        return {}, 0.0
    angle = 40 if room > 0.22 else 90
    style = {
        "rotation": angle,
        "rotation_mode": "anchor",
        "ha": "right",
        "va": "top" if angle == 40 else "center",
    }
    return style, float(np.sin(np.radians(angle))) * longest


# --------------------------------------------------------------------------------------------- heat


def _draw_heat(chart: Chart, table: pd.DataFrame) -> Figure:
    tidy = pd.DataFrame(
        {
            **{name: _plain(table[name]) for name in ("panel", "row", "column")},
            "value": table["value"].to_numpy(dtype=np.float64, na_value=np.nan),
        }
    )
    twice = tidy[tidy.duplicated(["panel", "row", "column"])]
    if len(twice):
        where = ", ".join(f"{name} {twice[name].iloc[0]!r}" for name in ("panel", "row", "column"))
        raise UsageError(
            f"chart {chart.name!r} cannot be drawn: it has more than one value for {where}. Give"
            " each cell one value."
        )
    names = _unique(tidy["panel"])
    matrices = [_matrix(tidy[tidy["panel"] == name]) for name in names]
    shapes = [matrix.shape for matrix in matrices]
    most_rows, most_columns = max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
    row_labels = max(
        min(_inches(str(row), 9), _inches("x" * 28, 9))
        for matrix in matrices
        for row in matrix.index
    )
    across, cell_width = _heat_grid(
        len(names),
        most_columns,
        row_labels,
        shared=all(m.index.equals(matrices[0].index) for m in matrices),
    )
    down = -(-len(names) // across)
    cell_height = max(
        0.31 if most_rows <= 14 else 0.25 if most_rows <= 40 else 0.2, 0.9 / most_rows
    )
    column_labels = max(
        min(_inches(str(column), 9), _inches("x" * 24, 9))
        for matrix in matrices
        for column in matrix.columns
    )
    slanting = column_labels > cell_width - 0.04
    foot = 0.75 * column_labels + 0.1 if slanting else 0.2
    figure = new_figure(WIDTH, 0.4 + down * (cell_height * most_rows + foot + 0.35), pad=0.06)
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for unused in axes[len(names) :]:
        unused.set_axis_off()
    scale, colours = _heat_colours(tidy["value"].to_numpy(np.float64))
    texts, points = _cell_texts(chart, matrices, cell_width, cell_height)
    for at, (ax, name, matrix, cells) in enumerate(zip(axes, names, matrices, texts, strict=False)):
        _name_panel(ax, name, names, cell_width * most_columns)
        _heat_panel(ax, matrix, cells, scale, colours, points)
        left, below = (
            (matrices[at - 1] if at % across else None),
            (matrices[at + across] if at + across < len(names) else None),
        )
        rows_shown = left is None or not left.index.equals(matrix.index)
        columns_shown = below is None or not below.columns.equals(matrix.columns)
        ax.set_yticks(
            np.arange(len(matrix)) + 0.5,
            [safe_text(row, 28) for row in matrix.index] if rows_shown else [""] * len(matrix),
        )
        slant: dict[str, Any] = (
            {"rotation": 40, "ha": "right", "va": "top", "rotation_mode": "anchor"}
            if slanting
            else {}
        )
        columns = (
            [safe_text(column) for column in matrix.columns]
            if columns_shown
            else [""] * matrix.shape[1]
        )
        ax.set_xticks(np.arange(matrix.shape[1]) + 0.5, columns, **slant)
        if at % across == 0:
            ax.set_ylabel(_wrapped(chart.y_label, cell_height * most_rows))
        if at + across >= len(names):
            ax.set_xlabel(_wrapped(chart.x_label, cell_width * most_columns))
    bar = figure.colorbar(
        ScalarMappable(scale, colours),
        ax=axes,
        aspect=28,
        pad=0.015,
        fraction=0.03,
        format=_values_text(chart),
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    return figure


def _matrix(cells: pd.DataFrame) -> pd.DataFrame:
    """Rows x columns in the order of first appearance; a cell that is not in the table is NaN."""
    wide: pd.DataFrame = cells.pivot(index="row", columns="column", values="value")  # noqa: PD010 - each cell is there once
    return wide.reindex(index=_unique(cells["row"]), columns=_unique(cells["column"]))


def _heat_grid(panels: int, columns: int, row_labels: float, *, shared: bool) -> tuple[int, float]:
    """(panels side by side, width of a cell): as many as leave a number room in each cell, three at
    most.

    Args:
        columns: of the widest panel.
        row_labels: their width in inches.
        shared: all panels have the same rows, named once.
    """
    for across in range(_side_by_side(panels), 0, -1):
        cell = (
            (WIDTH - 1.3 - row_labels * (1 if shared else across) - 0.15 * across)
            / across
            / columns
        )
        if cell >= 0.34 or across == 1:
            break
    return across, max(cell, 0.05)


def _heat_colours(values: NDArray[np.float64]) -> tuple[Normalize, LinearSegmentedColormap]:
    """One scale for all panels: symmetric around zero if values have both signs, else from least to
    greatest."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if low < 0 < high:
        top = max(-low, high)
        return Normalize(-top, top), _SIGNED
    if low == high:
        low, high = (low, 0.0) if low < 0 else (0.0, high or 1.0)
    return Normalize(low, high), _POSITIVE if low >= 0 else _NEGATIVE


def _cell_texts(
    chart: Chart, matrices: Sequence[pd.DataFrame], cell_width: float, cell_height: float
) -> tuple[list[NDArray[np.object_]], float]:
    """(text of every cell, their size in points); per cent have a decimal where it leaves them
    readable."""
    points = 0.0
    for decimals in (1, 0):
        texts = [
            np.array(
                [[_cell_text(chart, v, decimals) for v in row] for row in m.to_numpy()],
                dtype=object,
            )
            for m in matrices
        ]
        longest = max(len(text) for text_of in texts for text in text_of.ravel())
        points = min(8.5, 72 * 0.9 * cell_width / (0.62 * longest), 72 * 0.58 * cell_height)
        if points >= 6.5 or not chart.percent:
            break
    return texts, max(points, 3.0)


def _cell_text(chart: Chart, value: float, decimals: int) -> str:
    if np.isnan(value):
        return "\u2013"
    if np.isinf(value):
        return _number(value)
    text = f"{100 * value:.{decimals}f}" if chart.percent else f"{value:.3g}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", MINUS)


def _heat_panel(
    ax: Axes,
    matrix: pd.DataFrame,
    texts: NDArray[np.object_],
    scale: Normalize,
    colours: LinearSegmentedColormap,
    points: float,
) -> None:
    """One matrix, its first row at the top; a cell without a number is grey."""
    values = matrix.to_numpy(np.float64)
    ax.set_facecolor(NULL_CELL)
    ax.pcolormesh(
        np.ma.masked_invalid(values), cmap=colours, norm=scale, edgecolors="white", linewidth=0.8
    )
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for (row, column), text in np.ndenumerate(texts):
        value = float(values[row, column])
        colour = _text_colour(colours(float(scale(value)))) if np.isfinite(value) else GREY
        # Inside its cell by its size: the layout need not look at it.
        ax.text(
            column + 0.5,
            row + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=points,
            color=colour,
            in_layout=False,
        )


def _text_colour(background: Sequence[float]) -> str:
    """Black or white, whichever has the greater contrast (WCAG 2.1, relative luminance)."""
    rgb = np.asarray(background[:3])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


# ---------------------------------------------------------------------------- density and pictures


def _cells(chart: Chart, table: pd.DataFrame) -> pd.DataFrame:
    """The cells that are drawn: those with an example, and with a place on the axes."""
    edges = [name for name in DENSITY_COLUMNS if name != "panel"]
    rows = pd.DataFrame(
        {name: table[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in edges}
    )
    drawn = np.isfinite(rows.to_numpy()).all(axis=1) & (rows["n"] > 0)
    for axis, scale in (("x", chart.x_scale), ("y", chart.y_scale)):
        drawn &= (rows[f"{axis}_low"] > 0) | (scale != "log")
    cells: pd.DataFrame = rows.assign(panel=_plain(table["panel"]))[drawn]
    return cells


def _draw_density(chart: Chart, table: pd.DataFrame) -> Figure:
    """How many examples lie in each cell of a plane: one scale of colour for all panels."""
    rows, names = _cells(chart, table), _unique(_plain(table["panel"]))
    across = _side_by_side(len(names))
    down = -(-len(names) // across)
    figure = new_figure(WIDTH, 0.4 + 3.6 * down, pad=0.06)
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for unused in axes[len(names) :]:
        unused.set_axis_off()
    scale = LogNorm(1, max([2.0, *rows["n"]]))
    cold, hot = _POSITIVE(0.12), _POSITIVE(1.0)
    colours = LinearSegmentedColormap.from_list("density", [cold, _POSITIVE(0.55), hot])
    for at, (ax, name) in enumerate(zip(axes, names, strict=False)):
        mine = rows[rows["panel"] == name]
        corners = mine[["x_low", "y_low", "x_high", "y_high"]].to_numpy()
        cells = PolyCollection(
            [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in corners],
            array=mine["n"].to_numpy(),
            cmap=colours,
            norm=scale,
            linewidths=0,
            rasterized=True,
        )
        ax.add_collection(cells)
        ax.set_xscale("log" if chart.x_scale == "log" else "linear")
        ax.set_yscale(chart.y_scale)
        _name_panel(ax, name, names, _panel_width(across))
        if at % across == 0:
            ax.set_ylabel(_wrapped(chart.y_label, 3.2))
        if at + across >= len(names):
            ax.set_xlabel(_wrapped(chart.x_label, _panel_width(across)))
    (left, right), (bottom, top) = (
        (float(rows[f"{axis}_low"].min()), float(rows[f"{axis}_high"].max()))
        if len(rows)
        else (1.0, 2.0)
        for axis in "xy"
    )
    axes[0].set_xlim(left, right)
    axes[0].set_ylim(bottom, top)
    if chart.x_scale == "log":
        powers = np.arange(np.floor(np.log10(left)), np.ceil(np.log10(right)) + 1)
        ticks = (10.0 ** powers[:, None] * np.array([1, 1.5, 2, 3, 4, 5, 7])).ravel()
        inside = ticks[(ticks >= left * 0.999) & (ticks <= right * 1.001)]
        axes[0].xaxis.set_major_locator(FixedLocator(inside.tolist()))
        axes[0].xaxis.set_major_formatter(FuncFormatter(lambda tick, _: _number(tick)))
        for ax in axes[: len(names)]:
            ax.xaxis.set_minor_locator(NullLocator())
    axes[0].yaxis.set_major_formatter(_values_text(chart))
    bar = figure.colorbar(
        ScalarMappable(scale, colours), ax=axes, aspect=28, pad=0.015, fraction=0.03
    )
    bar.set_label("examples in a cell")
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.outline.set_visible(False)
    return figure


MOST_PICTURES = 8
"""Side by side."""


def _draw_pictures(_chart: Chart, table: pd.DataFrame) -> Figure:
    """Examples in rows, a panel's after its name, with a few lines of text below each."""
    names = _unique(_plain(table["panel"]))
    side, gap, name_height = 0.92, WIDTH / MOST_PICTURES, 0.3
    lines = max(str(text).count("\n") + 1 for text in table["text"])
    height = side + 0.16 * lines + 0.18
    rows = {
        name: [mine.iloc[k : k + MOST_PICTURES] for k in range(0, len(mine), MOST_PICTURES)]
        for name, mine in ((n, table[_plain_is(table["panel"], n)]) for n in names)
    }
    total = sum(name_height + height * len(chunks) for chunks in rows.values()) + 0.1
    figure = Figure(figsize=(WIDTH, total))
    top = total - 0.05
    for name, chunks in rows.items():
        figure.text(
            0.1 / WIDTH,
            (top - 0.06) / total,
            safe_text(name or "\u2013", 60),
            va="top",
            fontsize=10.5,
            fontweight="bold",
        )
        top -= name_height
        for chunk in chunks:
            for at, (picture, text) in enumerate(zip(chunk["picture"], chunk["text"], strict=True)):
                left = 0.1 + gap * at
                place = (left / WIDTH, (top - side) / total, side / WIDTH, side / total)
                ax = figure.add_axes(place)
                draw_picture(ax, _decoded(picture))
                ax.spines[:].set_visible(False)
                shown = "\n".join(safe_text(line, 20) for line in str(text).split("\n"))
                figure.text(
                    left / WIDTH, (top - side - 0.04) / total, shown, va="top", fontsize=7.8
                )
            top -= height
    return figure


def _plain_is(column: pd.Series[Any], name: str) -> list[bool]:
    return [text == name for text in _plain(column)]


def _decoded(picture: object) -> NDArray[np.uint8] | None:
    """A PNG in base64 as uint8 [H, W, K]; None where there is none."""
    try:
        return decode_image(base64.b64decode(str(picture), validate=True), 3)
    except (ValueError, UnreadableImage):
        return None


# ------------------------------------------------------------------------------- the table of kinds


@dataclass(frozen=True)
class ChartKind:
    """One kind of chart.

    Args:
        draw: (chart, its table with at least one row) -> matplotlib Figure.
        columns: columns its table must have.
        told: what it is, for those who do not see it.
    """

    draw: Callable[[Chart, pd.DataFrame], Figure]
    columns: tuple[str, ...]
    told: str


KINDS: Registry[ChartKind] = Registry(
    "kind of chart",
    {
        "lines": ChartKind(_draw_lines, LINE_COLUMNS, "Line chart"),
        "bars": ChartKind(_draw_bars, LINE_COLUMNS, "Bar chart"),
        "heat": ChartKind(_draw_heat, HEAT_COLUMNS, "Heat map"),
        "density": ChartKind(_draw_density, DENSITY_COLUMNS, "Density plot"),
        "pictures": ChartKind(_draw_pictures, PICTURE_COLUMNS, "Grid of pictures"),
    },
)
