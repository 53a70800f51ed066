"""What all figures share: colours, style, captions, pictures, saving with the CSV beside the
image."""

from __future__ import annotations

import io
import re
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.scores.audited import AUDIT
from zoo.store.results import csv_text

__all__ = [
    "BLACK",
    "BLUE",
    "DARK_VERMILION",
    "GREEN",
    "GREY",
    "MISSING_GLYPH",
    "ORANGE",
    "PURPLE",
    "SKY",
    "STYLE",
    "VERMILION",
    "FigureEntry",
    "FigureFiles",
    "Pictures",
    "Provenance",
    "draw_entry",
    "draw_picture",
    "file_stem",
    "new_figure",
    "percent_axis",
    "safe_text",
    "save_entry",
    "save_table",
    "seeds_text",
    "write_atomically",
]


Pictures = Mapping[int, NDArray[np.uint8]]
"""example_id -> picture, uint8 [H, W, K] with K = 1 (grey) or 3 (RGB). An id that is absent is
drawn as an empty frame."""
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY = "#5f6368"
DARK_VERMILION = "#8f3f00"  # for small text: vermilion itself has a contrast of only 3.9 on white
THUMBNAIL = 96  # longest side in pixels: 40 of them as PNG stay under 1 MB
# a name in a script DejaVu lacks: the SVG shows it all the same, the PNG shows boxes
MISSING_GLYPH = "Glyph .* missing from"
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans",
        "Bitstream Vera Sans",
        "Verdana",
        "Lucida Grande",
        "Helvetica",
        "Arial",
        "sans-serif",
    ],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10,
    "axes.labelcolor": "#24292f",
    "axes.edgecolor": "#8c959f",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "text.color": "#24292f",
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
    "xtick.labelcolor": "#24292f",
    "ytick.labelcolor": "#24292f",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Names come from data: a "$" in a class name must not start a formula.
    "text.parse_math": False,
    # Text stays text: it can be searched and read aloud, and scripts DejaVu lacks are shown by the
    #     reader's own fonts.
    "svg.fonttype": "none",
    "svg.hashsalt": "zoo",
}


# --------------------------------------------------------------------------------------- provenance


@dataclass(frozen=True)
class Provenance:
    """Where a figure's numbers come from; every caption says all of it, but for an N or E of 0.

    Args:
        experiment: name of the experiment.
        scale: name of its scale (``demo``, ``laptop``, ``paper``, ...), or ``ad-hoc`` of what was
            made step by step.
        dataset: name of the data set.
        n_classifiers: N >= 0, classifiers of the population.
        n_examples: E >= 0, examples the figure is about.
        seeds: seeds of the trainings, any order.
        version: version of zoo.
        commit: commit of zoo, or "" where there is none.
        reproduces: whether the experiment reproduces a paper, so that a scale of its own has to be
            said.
        n_in_bf16: classifiers of the N that answered in bf16.
    """

    experiment: str
    scale: str
    dataset: str
    n_classifiers: int
    n_examples: int
    seeds: tuple[int, ...]
    version: str
    commit: str
    reproduces: bool = False
    n_in_bf16: int = 0

    @property
    def is_reduced(self) -> bool:
        """Whether this is a paper's experiment at another scale than the paper's."""
        return self.reproduces and self.scale != "paper"

    @property
    def text(self) -> str:
        """One line: experiment, scale, data, N, E, seeds, version, commit."""
        reduced = " (not the paper's)" if self.is_reduced else ""
        made = f"Experiment {self.experiment}, scale {self.scale}{reduced}"
        if self.scale == "ad-hoc":
            made = "Made by zoo audit" if self.experiment == AUDIT else "Made step by step"
        classifiers = "classifiers"
        if self.n_in_bf16:
            some = "" if self.n_in_bf16 == self.n_classifiers else f"{self.n_in_bf16:,} "
            classifiers = f"classifiers ({some}answering in bf16)"
        counts = ((self.n_classifiers, "N", classifiers), (self.n_examples, "E", "examples"))
        counted = ", ".join(
            f"{letter} = {count:,} {noun}" for count, letter, noun in counts if count
        )
        return (
            f"{made}; data {self.dataset};"
            f" {counted + '; ' if counted else ''}{seeds_text(self.seeds)}; zoo"
            f" {self.version}{f', commit {self.commit}' if self.commit else ''}"
        )


def seeds_text(seeds: Sequence[int]) -> str:
    """``(0, 1, 2)`` -> "seeds 0-2"; ``(3,)`` -> "seed 3"; ``(0, 2)`` -> "seeds 0, 2"; none -> "seed
    unknown"."""
    ordered = sorted(set(seeds))
    if not ordered:
        return "seed unknown"
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"seeds {ordered[0]}-{ordered[-1]}"
    return "seeds " + ", ".join(str(seed) for seed in ordered)


# ------------------------------------------------------------------------------------------ drawing


def safe_text(value: object, longest: int = 24) -> str:
    """A name from data as it may stand in a figure: no control characters (XML forbids them), at
    most ``longest`` characters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(value))
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def new_figure(width: float, height: float, pad: float = 0.04) -> Figure:
    """An empty figure; sizes and padding in inches. 10 in are 960 CSS pixels, a report's full
    width."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad))


def _draw_empty(title: str) -> Figure:
    figure = new_figure(10, 1.6)
    figure.text(
        0.5,
        0.5,
        f"{safe_text(title, 80)}: the table has no rows, there is nothing to draw.",
        ha="center",
        va="center",
        color=GREY,
    )
    return figure


def percent_axis(axis_values: Axes, *, x: bool) -> None:
    (axis_values.xaxis if x else axis_values.yaxis).set_major_formatter(
        FuncFormatter(lambda value, _: f"{100 * value:.4g} %")
    )


def draw_picture(ax: Axes, picture: NDArray[np.uint8] | None) -> None:
    """A picture, uint8 [H, W, K], pixels kept visible as pixels; a sentence where there is none."""
    ax.set_xticks([])
    ax.set_yticks([])
    if picture is None or picture.size == 0:
        ax.set_facecolor("#f3f4f6")
        ax.set_aspect("equal")
        ax.text(
            0.5,
            0.5,
            "no\npicture",
            transform=ax.transAxes,
            ha="center",
            va="center",
            fontsize=7.5,
            color=GREY,
        )
        return
    small = _thumbnail(picture)
    ax.imshow(
        small[:, :, 0] if small.shape[2] == 1 else small[:, :, :3],
        cmap="gray",
        vmin=0,
        vmax=255,
        interpolation="none",
    )


def _thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, K] -> uint8 [h, w, K] with h, w <= 96, by the mean of square blocks (an edge
    narrower than a block is cut)."""
    height, width, channels = picture.shape
    block = min(-(-max(height, width) // THUMBNAIL), height, width)
    if block <= 1:
        return picture
    rows, columns = height // block, width // block
    blocks = picture[: rows * block, : columns * block].reshape(
        rows, block, columns, block, channels
    )
    small: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


# ----------------------------------------------------------------------------- the table of figures


@dataclass(frozen=True)
class FigureEntry:
    """One figure: how to draw its tidy table.

    Args:
        draw: (table, pictures) -> matplotlib Figure. Only draws.
        title: heading above the figure.
        caption: what is seen; ``{provenance}`` is where ``Provenance.text`` goes, ``{known}`` where
            ``known`` does.
        alt: what the figure shows, for those who do not see it.
        columns: columns its table must have; ``tabulate_NAME`` gives exactly these.
        advice: where else such a table comes from, told to those who bring another one.
        known: what the caption says of known label errors, where the table has columns about them.
    """

    draw: Callable[[pd.DataFrame, Pictures], Figure]
    title: str
    caption: str
    alt: str
    columns: tuple[str, ...]
    advice: str = ""
    known: str = ""


# -------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class FigureFiles:
    """What ``save`` wrote: three files beside each other, and the words that go with them."""

    name: str
    svg: Path
    png: Path
    csv: Path
    title: str
    caption: str
    alt: str = field(default="")


def draw_entry(
    name: str, entry: FigureEntry, table: pd.DataFrame, pictures: Pictures | None = None
) -> Figure:
    """``draw`` for an entry that need not be in ``FIGURES``; ``name`` stands in the error message.

    Raises:
        UsageError: the table lacks columns the figure needs.
    """
    missing = [column for column in entry.columns if column not in table]
    if missing:
        raise UsageError(
            f"figure {name!r} cannot be drawn: its table has the columns"
            f" {', '.join(map(str, table.columns)) or 'none'} and lacks {', '.join(missing)}. It"
            f" needs {', '.join(entry.columns)}."
            f" {entry.advice or f'Make the table with tabulate_{name}.'}"
        )
    with mpl.rc_context(STYLE):
        figure = _draw_empty(entry.title) if table.empty else entry.draw(table, pictures or {})
        _settle(figure)
    return figure


def _settle(figure: Figure) -> None:
    """Lay the figure out once and fix the result, rounded.

    The layout solver's answers differ in the last bits from draw to draw, and the SVG writer hashes
    them into ids: without the rounding, ten draws of one table gave two different files.
    """
    for ax in figure.axes:
        # Matplotlib names the minor ticks of a log axis of less than a decade, in mathtext, which
        # no text here is read as.
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.yaxis.set_minor_formatter(NullFormatter())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        # Twice: titles and outward frames have their place only after a first layout, and the
        #     second makes room for them.
        figure.draw_without_rendering()
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (
            round(float(edge), 6) for edge in ax.get_position(original=True).bounds
        )
        ax.set_position((left, bottom, width, height), which="both")


def save_entry(
    name: str,
    entry: FigureEntry,
    table: pd.DataFrame,
    folder: Path,
    provenance: Provenance,
    *,
    pictures: Pictures | None = None,
    stem: str | None = None,
) -> FigureFiles:
    """``save`` for an entry that need not be in ``FIGURES``, such as a study's chart; arguments and
    errors are those of ``save``."""
    stem = name if stem is None else stem
    if stem != file_stem(stem):
        raise UsageError(
            f"figure {name!r} cannot be saved as {stem!r}: use letters, digits, dots, dashes,"
            f" underscores. Try {file_stem(stem)!r}."
        )
    known = entry.known if any("known_error" in str(column) for column in table.columns) else ""
    caption = entry.caption.replace("{known}", known).replace("{provenance}", provenance.text)
    figure = draw_entry(name, entry, table, pictures)
    words = {"Title": safe_text(entry.title, 200), "Description": safe_text(caption, 2000)}
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        figure.savefig(
            svg, format="svg", dpi=150, metadata={**words, "Date": None, "Creator": "zoo"}
        )
        figure.savefig(png, format="png", dpi=150, metadata={**words, "Software": None})
    files = FigureFiles(
        name,
        folder / f"{stem}.svg",
        folder / f"{stem}.png",
        folder / f"{stem}.csv",
        entry.title,
        caption,
        entry.alt,
    )
    write_atomically(files.svg, svg.getvalue())
    write_atomically(files.png, png.getvalue())
    write_atomically(files.csv, csv_text(table, _FLOATS).encode())
    return files


_FLOATS = "%.10g"


def save_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV by the rules of ``csv_text``, whole or not at all."""
    return write_atomically(path, csv_text(table, _FLOATS).encode())


def file_stem(text: str) -> str:
    """A name from data (a split, an arm) as part of a file name: ``"val 2/b"`` -> ``"val-2-b"``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:80] or "unnamed"


def write_atomically(path: Path, data: bytes) -> Path:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
