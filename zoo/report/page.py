"""The report: the tables of an experiment as one self-contained HTML page, its figures beside it as
files.

``render`` writes ``report.html`` and, in ``figures/`` next to it, every figure as SVG, PNG and CSV.
The page needs nothing from outside: figures are inline SVG, pictures are ``data:`` URIs, there is
no script, and a content security policy forbids the rest. Every name from data is escaped. A
section is one function and one line in ``SECTIONS`` of ``zoo.report.sections``; which sections
appear is the experiment's choice. What cannot be shown is left out; the end of the page says why.
An empty table is never an error.

Letters: N classifiers, E examples, M classes; H, W, K = height, width, channels of a picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import jinja2

from zoo.report import draw
from zoo.report.parts import Absent, Desk, Part, ReportData
from zoo.report.sections import SECTIONS, sections_for

__all__ = ["render"]


# ----------------------------------------------------------------------------------------- the page


@dataclass(frozen=True)
class _Shown:
    """A section as the template sees it."""

    name: str
    title: str
    lead: str
    parts: tuple[Part, ...]


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def render(report: ReportData, path: Path) -> Path:
    """Write the report as one HTML page, and its figures and tables to ``figures/`` beside it.

    Args:
        report: what to show.
        path: the page, usually ``report.html`` in the workspace; its folder is made if absent.

    Returns:
        ``path``.

    Raises:
        UnknownNameError: ``report.sections`` has a name that is not in ``SECTIONS``.
        UsageError: a chart cannot be drawn from its table, or its name is taken.
    """
    chosen = [(name, SECTIONS[name]) for name in report.sections or sections_for(report)]
    desk = Desk(path.parent)
    shown, absent = [], []
    for name, section in chosen:
        built = section.build(report, desk)
        if isinstance(built, Absent):
            absent.append((section.title, built.reason))
        else:
            shown.append(_Shown(name, section.title, section.lead, tuple(built)))
    page = _template().render(
        report=report, provenance=report.provenance, sections=shown, absent=absent
    )
    return draw.write_atomically(path, page.encode())
