"""A contact sheet: some examples of a data set; with a treatment before and after it, with what
became of their labels.

Drawn from a ``zoo.trainsets.sample.Sample`` and from nothing else; equal samples give equal bytes.
Places are whole pixels, and a small picture is enlarged by a whole number, so that every pixel of
it has the same size.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from zoo.errors import StoreError
from zoo.report.draw import (
    DARK_VERMILION,
    GREY,
    MISSING_GLYPH,
    STYLE,
    VERMILION,
    draw_picture,
    safe_text,
    write_atomically,
)
from zoo.trainsets.sample import Sample

__all__ = ["draw_sheet", "save_sheet"]


DPI = 150
COLUMNS = 8
# Pixels at 150 dpi; 1500 is the width of the report's figures.
WIDTH, MARGIN, LEFT, PITCH = 1500, 14, 92, 174
PICTURE = 160
LINE, ABOVE, BETWEEN, CAPTION, GAP = 27, 26, 12, 12, 24
CAPTION_POINTS = 8.5


def save_sheet(sample: Sample, path: Path) -> Path:
    """Draw the sheet and write it as PNG, whole or not at all; an older file of that name is
    replaced.

    Raises:
        StoreError: if it cannot be written there.
    """
    figure, png = draw_sheet(sample), io.BytesIO()
    about = {
        "Title": f"{sample.dataset} {sample.split}: {sample.treatment}",
        "Description": " ".join([_heading(sample), *_notes(sample)]),
    }
    metadata = {name: safe_text(text, 2000) for name, text in about.items()} | {"Software": None}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        figure.savefig(png, format="png", dpi=DPI, metadata=metadata)
    try:
        return write_atomically(path, png.getvalue())
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Choose another place with -o"
            " FILE.png."
        ) from error


def draw_sheet(sample: Sample) -> Figure:
    """Rows of eight examples: id, picture, treated picture, class name; ``old → new`` in red under
    a red frame where the label is changed."""
    with mpl.rc_context(STYLE):
        return _draw(sample)


def _draw(sample: Sample) -> Figure:
    size = max(sample.before.shape[1:3])
    side = PICTURE // size * size if size <= PICTURE // 2 else PICTURE
    # Wider than the line is long in any script seen; a treatment of many steps takes several lines.
    treatment = textwrap.wrap(safe_text(sample.treatment, 2000), 116, break_on_hyphens=False)
    notes = _notes(sample)
    head = MARGIN + 34 + LINE * (len(treatment) + len(notes)) + 10
    labels = [_label(sample, index) for index in range(len(sample.example_ids))]
    rows = [("treated" if sample.treated else "", sample.after)]
    if sample.treated:
        rows.insert(0, ("before", sample.before))
    tall = len(rows) * side + (len(rows) - 1) * BETWEEN
    row = ABOVE + tall + CAPTION + 24 * (1 + max(label.count("\n") for label in labels)) + GAP
    height = head + row * -(-len(sample.example_ids) // COLUMNS) - GAP + MARGIN
    figure = Figure(figsize=(WIDTH / DPI, height / DPI))

    def text(x: float, y: float, words: str, **style: Any) -> None:
        """Words whose upper edge lies ``y`` pixels below the top, from ``x`` pixels on."""
        figure.text(x / WIDTH, 1 - y / height, words, **{"va": "top", "fontsize": 9, **style})

    text(MARGIN, MARGIN, _heading(sample), fontsize=10.5, fontweight="bold")
    for number, line in enumerate([*treatment, *notes]):
        text(
            MARGIN,
            MARGIN + 34 + LINE * number,
            line,
            color="#24292f" if number < len(treatment) else GREY,
        )
    for index, example_id in enumerate(sample.example_ids.tolist()):
        across, down = index % COLUMNS, index // COLUMNS
        left, top = LEFT + PITCH * across + (PITCH - side) // 2, head + row * down + ABOVE
        middle = left + side / 2
        changed = bool(sample.labels[index] != sample.given[index])
        text(middle, top - 22, f"id {example_id}", ha="center", fontsize=7.8, color=GREY)
        for step, (said, pictures) in enumerate(rows):
            y = top + step * (side + BETWEEN)
            if not across:
                text(LEFT - 6, y + side / 2, said, ha="right", va="center", color=GREY)
            ax = figure.add_axes(
                (left / WIDTH, 1 - (y + side) / height, side / WIDTH, side / height)
            )
            draw_picture(ax, None if sample.unreadable[index] else pictures[index])
            for spine in ax.spines.values():
                spine.set_visible(False)
            # A frame of 5 or 1 screen pixels, a pixel away from the picture, so that it hides none
            # of it.
            thick, colour = (5, VERMILION) if changed and step == len(rows) - 1 else (1, "#8c959f")
            off, long = 1 + thick / 2, side + 2 + thick
            frame = Rectangle(
                ((left - off) / WIDTH, 1 - (y + side + off) / height),
                long / WIDTH,
                long / height,
                fill=False,
            )
            frame.set(linewidth=thick * 72 / DPI, edgecolor=colour, transform=figure.transFigure)
            figure.add_artist(frame)
        caption = top + tall + 8
        text(
            middle,
            caption,
            labels[index],
            ha="center",
            fontsize=CAPTION_POINTS,
            color=DARK_VERMILION if changed else "#24292f",
        )
    return figure


def _heading(sample: Sample) -> str:
    rate = sample.label_change_rate
    return (
        f"{safe_text(sample.dataset)} {safe_text(sample.split)}: {sample.left:,} of"
        f" {sample.total:,} examples are left, {f'{100 * rate:.4g} %' if rate else 'none'} of them"
        " with another label"
    )


def _notes(sample: Sample) -> list[str]:
    """What else one has to know: where the noise is of, how large the pictures are, how the
    examples were drawn."""
    height, width = sample.before.shape[1:3]
    epoch = "" if sample.epoch is None else f"noise of epoch {sample.epoch}, drawn anew in each; "
    shown = (
        ""
        if max(height, width) <= PICTURE // 2
        else ", shown smaller, which hides part of the noise"
    )
    return [
        (
            f"{epoch}{len(sample.example_ids)} examples drawn by seed {sample.seed}; pictures of"
            f" {height} x {width} pixels{shown}"
        )
    ]


def _label(sample: Sample, index: int) -> str:
    """``cat``, or ``cat → dog`` on one line or two; cut where it would be wider than its column."""
    old, new = (
        safe_text(sample.class_names[labels[index]], 40) for labels in (sample.given, sample.labels)
    )
    if sample.given[index] == sample.labels[index]:
        return _fitted(old)
    line = f"{old} \u2192 {new}"
    return line if _fitted(line) == line else _fitted(old) + "\n" + _fitted(f"\u2192 {new}")


def _fitted(text: str) -> str:
    """As much of a line as fits under a picture."""
    font, whole = FontProperties(family="sans-serif", size=CAPTION_POINTS), text
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        while (
            text_to_path.get_text_width_height_descent(text, font, False)[0]
            > (PITCH - 8) * 72 / DPI
        ):
            whole = whole[:-1]
            text = f"{whole}\u2026"
    return text
