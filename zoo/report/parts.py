"""What a page is made of: sections of tables, figures, texts and tiles."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from zoo.data.decode import Preview
from zoo.report import charts, draw, figures
from zoo.report.draw import FigureFiles, Pictures, Provenance
from zoo.scores import suspects
from zoo.studies.findings import Chart

__all__ = [
    "Absent",
    "Cell",
    "Column",
    "CommandPart",
    "Desk",
    "GalleryPart",
    "Part",
    "PictureSource",
    "PreviewSource",
    "ReportData",
    "Section",
    "Shot",
    "TablePart",
    "TextPart",
    "TilesPart",
    "inline_svg",
]


PictureSource = Callable[[str, NDArray[np.int64]], NDArray[np.uint8]]
"""(split, example_ids int64 [n]) -> uint8 [n, H, W, K], in that order."""
PreviewSource = Callable[[str, NDArray[np.int64]], Mapping[int, Preview]]
"""(split, example_ids int64 [n]) -> pictures in their own proportions by example id."""


@dataclass(frozen=True)
class ReportData:
    """Everything a report is made of. What is None or empty leaves its section out with a reason.

    Args:
        title: heading of the page.
        experiment: name of the experiment.
        scale: name of its scale.
        provenance: goes into every caption.
        scores: split -> scores table (E rows; columns of the ``scores`` table).
        population: one row per classifier: classifier_id, training_id, arch, fraction, replica,
            seed, epoch, train_acc1, test_acc1, test_acc5 (accuracies as fractions 0..1).
        class_names: names of the M classes.
        arms: one row per arm x seed: arm, selection, seed, n_train, n_unique, steps, acc1, acc5.
        comparisons: one row per arm x metric x evaluation set: arm, on, metric, mean, low, high,
            n_seeds, delta, delta_low, delta_high, note; the full evaluation set first.
        detection: one row per score: score, auroc, average_precision, precision_at_n, recall_at_n,
            n_errors.
        detection_notes: sentences under that table.
        convergence: measure (x | c), n, mean, low, high.
        verdicts: one row per claim, any columns; a column ``verdict`` is marked. With the columns
            of the table ``verdicts``, rule and note stand under their claim, and mean, sd and n in
            the CSV alone.
        findings_note: why an experiment that judges claims has neither verdicts nor charts yet.
        charts: figures of the experiment's own, in the order to be shown; their names differ, and
            are none of the page's own files.
        pictures: where pictures come from; None where there are none (imported predictions, data
            that are gone).
        previews: where pictures in their own proportions come from; None = the suspects are drawn
            as a figure, of ``pictures``.
        no_pictures: why none are shown where none are.
        audit: the facts of the last ``zoo audit`` of these data, or None.
        timings: stage -> seconds, in the order of the stages.
        next_command: what to run next.
        rerun: the commands that made it, in order; () = ``zoo run`` of the experiment's name.
        rerun_note: what is to be said about them.
        sections: names of ``SECTIONS`` in the order wanted; () = all.
    """

    title: str
    experiment: str
    scale: str
    provenance: Provenance
    scores: Mapping[str, pd.DataFrame]
    population: pd.DataFrame
    class_names: Sequence[str]
    arms: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    detection: pd.DataFrame | None = None
    detection_notes: Sequence[str] = ()
    convergence: pd.DataFrame | None = None
    verdicts: pd.DataFrame | None = None
    charts: Sequence[Chart] = ()
    findings_note: str = ""
    pictures: PictureSource | None = None
    previews: PreviewSource | None = None
    no_pictures: str = "those of the data set cannot be read"
    audit: Mapping[str, Any] | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    next_command: str = ""
    rerun: Sequence[str] = ()
    rerun_note: str = ""
    sections: tuple[str, ...] = ()

    @property
    def main_split(self) -> str | None:
        """The split whose labels are examined: one with known label errors first, else ``train``,
        else the first that has examples."""
        filled = [split for split, table in self.scores.items() if len(table)]
        with_errors = [
            split for split in filled if suspects.planted_errors(self.scores[split]) is not None
        ]
        return next(
            iter(with_errors or [split for split in filled if split == "train"] or filled), None
        )


# ---------------------------------------------------------------------------------- parts of a page


@dataclass(frozen=True)
class Cell:
    """One table cell. ``mark``: a style class of the template ("good", "bad", "open", "untested",
    "wrong", "role") or ""."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    numeric: bool = False


@dataclass(frozen=True)
class TablePart:
    """A table.

    Args:
        href: its CSV, or "".
        collapsed: the line under which it is folded away, or "".
        notes: what stands in small letters under each row, as (word, text) pairs; () = nothing
            under any row.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    href: str = ""
    collapsed: str = ""
    notes: tuple[tuple[tuple[str, str], ...], ...] = ()
    kind: str = "table"


@dataclass(frozen=True)
class FigurePart:
    """A figure. ``heading``: what stands above it, or "" where the section's title is enough."""

    svg: Markup
    title: str
    alt: str
    caption: str
    csv: str
    svg_file: str
    png_file: str
    heading: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Shot:
    """A picture and what stands under it.

    Args:
        src: the picture as a ``data:`` URI, or "" where it cannot be read.
        width: of the picture in pixels.
        height: of the picture in pixels.
        small: whether it is so small that its pixels are to be seen.
        name: of its file.
        lines: what else is said, a line each.
    """

    src: str
    width: int
    height: int
    small: bool
    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class GalleryPart:
    """Pictures in their own proportions, as many beside each other as the window has room for."""

    shots: tuple[Shot, ...]
    kind: str = "gallery"


@dataclass(frozen=True)
class TextPart:
    text: str
    kind: str = "text"


@dataclass(frozen=True)
class TilesPart:
    """Key figures: (value, what it is)."""

    tiles: tuple[tuple[str, str], ...]
    kind: str = "tiles"


@dataclass(frozen=True)
class CommandPart:
    command: str
    kind: str = "command"


Part = TablePart | FigurePart | GalleryPart | TextPart | TilesPart | CommandPart


@dataclass(frozen=True)
class Absent:
    """A section that cannot be shown, and why."""

    reason: str


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Args:
        title: its heading.
        build: (data, desk) -> its parts, or ``Absent`` with the reason.
        lead: what a reader should know before looking.
    """

    title: str
    build: Callable[[ReportData, Desk], Sequence[Part] | Absent]
    lead: str = ""


@dataclass(frozen=True)
class Desk:
    """Where the sections of one report put their files: the folder of ``report.html``."""

    folder: Path

    def figure(
        self,
        name: str,
        table: pd.DataFrame,
        provenance: Provenance,
        *,
        pictures: Pictures | None = None,
        stem: str | None = None,
    ) -> FigurePart:
        """Draw and save a figure; its part for the page."""
        return self._part(
            figures.save(
                name, table, self.folder / "figures", provenance, pictures=pictures, stem=stem
            )
        )

    def chart(self, chart: Chart, provenance: Provenance) -> FigurePart:
        """Draw and save a chart; its part for the page, under its title."""
        part = self._part(charts.save(chart, self.folder / "figures", provenance))
        return dataclasses.replace(part, heading=part.title)

    @staticmethod
    def _part(files: FigureFiles) -> FigurePart:
        svg = inline_svg(
            files.svg.read_text(encoding="utf-8"), prefix=files.svg.stem, alt=files.alt
        )
        csv, svg_file, png_file = (
            f"figures/{quote(path.name)}" for path in (files.csv, files.svg, files.png)
        )
        return FigurePart(svg, files.title, files.alt, files.caption, csv, svg_file, png_file)

    def table(self, stem: str, table: pd.DataFrame) -> str:
        """Save a whole table as CSV; its address for the page."""
        path = draw.save_table(table, self.folder / "figures" / f"{draw.file_stem(stem)}.csv")
        return f"figures/{quote(path.name)}"


def inline_svg(svg: str, *, prefix: str, alt: str) -> Markup:
    """An SVG file's text as an element of an HTML page: no prologue, no metadata, ids that no other
    figure of the page has.

    Args:
        svg: text of a file matplotlib wrote (its texts are escaped already).
        prefix: put before every id, so that clip paths of two figures do not meet.
        alt: read aloud in place of the picture.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<title>.*?</title>", "", body, flags=re.DOTALL)
    # Namespaces are implied inside HTML; without them the page holds no address at all.
    body = re.sub(r"""\sxmlns(:\w+)?="[^"]*\"""", "", body)
    # Only inside tags: a class name such as 'id="x"' is text, in which matplotlib leaves quotes as
    #     they are.
    body = re.sub(r"<[^>]*>", lambda tag: _prefix_ids(tag.group(), prefix), body)
    label = str(Markup(' role="img" aria-label="{}"').format(alt))
    return Markup(body.replace("<svg", "<svg" + label, 1))  # noqa: S704 - matplotlib has escaped every text in it


def _prefix_ids(tag: str, prefix: str) -> str:
    tag = re.sub(r'(\sid=")', rf"\g<1>{prefix}-", tag)
    tag = re.sub(r"(url\(#)", rf"\g<1>{prefix}-", tag)
    return re.sub(r'(href="#)', rf"\g<1>{prefix}-", tag)
