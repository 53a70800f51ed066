"""Figures: each has one function that makes its tidy table and one that only draws it.

``tabulate_NAME`` turns scores or results into the table of figure NAME; ``_draw_NAME`` draws that table and computes nothing that is not in
it; ``save`` writes NAME.svg, NAME.png and NAME.csv, the last being the very table drawn. A new figure is such a pair and one line in
``FIGURES``. Figures are made with ``matplotlib.figure.Figure``, never with pyplot, so there is no global state and no window system.

Letters: N classifiers, E examples, M classes; H, W, K = height, width, channels of a picture.
Colours are those of Okabe & Ito (2008) for groups and viridis/cividis for quantities; what a colour says, a shape or a word says too.
"""

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
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.registry import Registry
from zoo.results import csv_text

__all__ = [
    "FIGURES",
    "FigureEntry",
    "FigureFiles",
    "Pictures",
    "Provenance",
    "arm_kind",
    "baseline_arm",
    "draw",
    "draw_entry",
    "draw_picture",
    "file_stem",
    "new_figure",
    "planted_errors",
    "safe_text",
    "save",
    "save_entry",
    "save_table",
    "seeds_text",
    "tabulate_arm_accuracy",
    "tabulate_contact_sheet",
    "tabulate_convergence",
    "tabulate_detection",
    "tabulate_per_class",
    "tabulate_perplexity_histograms",
    "tabulate_population",
    "tabulate_xc_plane",
    "write_atomically",
]

Pictures = Mapping[int, NDArray[np.uint8]]
"""example_id -> picture, uint8 [H, W, K] with K = 1 (grey) or 3 (RGB). An id that is absent is drawn as an empty frame."""

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#5f6368"
DARK_VERMILION = "#8f3f00"  # for small text: vermilion itself has a contrast of only 3.9 on white
N_BINS = 10  # the paper's Fig. 1 has ten equal bins
MAX_DENSITY_BINS = 48
MAX_PLANTED_POINTS = 1000  # more circles than this hide the density they lie on
MAX_CLASSES_DRAWN = 20
MAX_ARCHS_DRAWN = 20
THUMBNAIL = 96  # longest side in pixels: 40 of them as PNG stay under 1 MB
ENOUGH = 0.95
MISSING_GLYPH = "Glyph .* missing from"  # a name in a script DejaVu lacks: the SVG shows it all the same, the PNG shows boxes

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Bitstream Vera Sans", "Verdana", "Lucida Grande", "Helvetica", "Arial", "sans-serif"],
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
    # Text stays text: it can be searched and read aloud, and scripts DejaVu lacks are shown by the reader's own fonts.
    "svg.fonttype": "none",
    "svg.hashsalt": "zoo",
}


# ---------------------------------------------------------------------------------------------------------------- provenance


@dataclass(frozen=True)
class Provenance:
    """Where a figure's numbers come from; every caption says all of it, but for an N or E of 0.

    Args:
        experiment: name of the experiment.
        scale: name of its scale (``demo``, ``laptop``, ``paper``, ...).
        dataset: name of the data set.
        n_classifiers: N >= 0, classifiers of the population.
        n_examples: E >= 0, examples the figure is about.
        seeds: seeds of the trainings, any order.
        version: version of zoo.
        commit: commit of zoo, or "" where there is none.
    """

    experiment: str
    scale: str
    dataset: str
    n_classifiers: int
    n_examples: int
    seeds: tuple[int, ...]
    version: str
    commit: str

    @property
    def is_paper_scale(self) -> bool:
        return self.scale == "paper"

    @property
    def text(self) -> str:
        """One line: experiment, scale, data, N, E, seeds, version, commit."""
        scale = f"scale {self.scale}" + ("" if self.is_paper_scale else " (not the paper's)")
        counts = ((self.n_classifiers, "N", "classifiers"), (self.n_examples, "E", "examples"))
        counted = ", ".join(f"{letter} = {count:,} {noun}" for count, letter, noun in counts if count)
        return (
            f"Experiment {self.experiment}, {scale}; data {self.dataset}; {counted + '; ' if counted else ''}{seeds_text(self.seeds)}; "
            f"zoo {self.version}{f', commit {self.commit}' if self.commit else ''}"
        )


def seeds_text(seeds: Sequence[int]) -> str:
    """``(0, 1, 2)`` -> "seeds 0-2"; ``(3,)`` -> "seed 3"; ``(0, 2)`` -> "seeds 0, 2"; none -> "seed unknown"."""
    ordered = sorted(set(seeds))
    if not ordered:
        return "seed unknown"
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if len(ordered) > 2 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"seeds {ordered[0]}-{ordered[-1]}"
    return "seeds " + ", ".join(str(seed) for seed in ordered)


# ---------------------------------------------------------------------------------------------------------------- tidy tables


def planted_errors(scores: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Which examples carry a planted label error: their true label is known and is another one.

    Args:
        scores: table with ``label`` and, where known, ``label_true``.

    Returns:
        bool [E], or None where no true label is known at all.
    """
    if "label_true" not in scores:
        return None
    truth = pd.to_numeric(scores["label_true"]).to_numpy(dtype=np.float64, na_value=np.nan)  # [E]
    if not np.isfinite(truth).any():
        return None
    given = scores["label"].to_numpy(dtype=np.float64)  # [E]
    wrong: NDArray[np.bool_] = np.isfinite(truth) & (truth != given)
    return wrong


def tabulate_perplexity_histograms(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Histograms of X on [0, 1] and C on [1, max], ten equal bins each, per split.

    Source: "Example perplexity and class label cleaning", Fig. 1. The last bin is closed on both sides.

    Returns:
        One row per split x measure x bin: split, measure (x | c), bin (0..9), low, high, n, share (sums to 1), density (integrates to 1).
    """
    parts = []
    for split, table in scores.items():
        for measure in ("x", "c"):
            values = _finite(table[f"{measure}_perplexity"])  # [E]
            if not len(values):
                continue
            top = 1.0 if measure == "x" else max(float(values.max()), 1.0 + 1e-6)
            edges = np.linspace(0.0 if measure == "x" else 1.0, top, N_BINS + 1)
            # C comes from a float32 mean and may lie a rounding error below 1.
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
            share = counts / counts.sum()
            parts.append(
                pd.DataFrame(
                    {
                        "split": split,
                        "measure": measure,
                        "bin": np.arange(N_BINS),
                        "low": edges[:-1],
                        "high": edges[1:],
                        "n": counts,
                        "share": share,
                        "density": share / np.diff(edges),
                    }
                )
            )
    return _stack(parts, FIGURES["perplexity_histograms"].columns)


CORNERS: Mapping[str, tuple[float, float]] = {"mislabelled-looking": (1, 0), "hard": (1, 1), "easy": (0, 0), "ambiguous": (0, 1)}
"""Corner of the X-C plane -> (X, log C), both scaled to 0..1 of what was seen."""


def tabulate_xc_plane(scores: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Density of examples over X and C, the planted errors as points, and the example nearest to each corner.

    Bins of X hold whole levels of the N + 1 that X can take, so that no bin is fuller only because two levels fall into it.

    Returns:
        Rows of three kinds (column ``kind``): ``density`` (x_low, x_high, c_low, c_high, n), ``planted`` (example_id, x, c, names) and
        ``corner`` (the same with ``corner``). At most 1000 planted rows, evenly thinned; their ``n`` is the number they
        stand for.
    """
    columns = FIGURES["xc_plane"].columns
    known = np.isfinite(scores["x_perplexity"].to_numpy(np.float64)) & np.isfinite(scores["c_perplexity"].to_numpy(np.float64))
    scores = scores[known].reset_index(drop=True)
    if scores.empty:
        return _stack([], columns)
    x = scores["x_perplexity"].to_numpy(np.float64)  # [E]
    c = np.maximum(scores["c_perplexity"].to_numpy(np.float64), 1.0)  # [E]
    levels = max(int(scores["n"].max()), 1) + 1
    per_bin = -(-levels // MAX_DENSITY_BINS)
    n_x = -(-levels // per_bin)
    x_edges = (np.arange(n_x + 1) * per_bin - 0.5) / (levels - 1)
    x_edges[-1] = 1 + 0.5 / (levels - 1)
    c_edges = np.geomspace(1.0, max(float(c.max()) * (1 + 1e-9), 1.05), MAX_DENSITY_BINS + 1)
    counts, _, _ = np.histogram2d(np.clip(x, 0, 1), c, bins=(x_edges, c_edges))
    at_x, at_c = np.nonzero(counts)
    density = pd.DataFrame(
        {
            "kind": "density",
            "x_low": x_edges[at_x],
            "x_high": x_edges[at_x + 1],
            "c_low": c_edges[at_c],
            "c_high": c_edges[at_c + 1],
            "n": counts[at_x, at_c].astype(np.int64),
        }
    )
    parts = [density]
    planted = planted_errors(scores)
    if planted is not None and planted.any():
        rows = np.flatnonzero(planted)
        shown = rows[:: -(-len(rows) // MAX_PLANTED_POINTS)]
        parts.append(_named_points(scores, shown, class_names, planted).assign(kind="planted", n=len(rows)))
    log_c = np.log(c) / np.log(c_edges[-1])
    for corner, (at, log_at) in CORNERS.items():
        nearest = int(np.argmin((x - at) ** 2 + (log_c - log_at) ** 2))
        parts.append(_named_points(scores, np.array([nearest]), class_names, planted).assign(kind="corner", corner=corner, n=1))
    return _stack(parts, columns)


def tabulate_contact_sheet(scores: pd.DataFrame, class_names: Sequence[str], limit: int = 40) -> pd.DataFrame:
    """The suspects: examples whose top confusion is not their label, lowest label quality first (X first, ties by p(label)).

    Returns:
        At most ``limit`` rows: rank (1..), example_id, key, label_name, top_name, x, c, label_quality, top_confusion_share, planted
        (null where the true label is unknown).
    """
    columns = FIGURES["contact_sheet"].columns
    quality = scores["label_quality"].to_numpy(np.float64, na_value=np.nan)
    # An example without a quality (unreadable, no label) is no suspect, though its null differs from any label.
    rows = np.flatnonzero((scores["top_confusion"].to_numpy() != scores["label"].to_numpy()) & np.isfinite(quality))
    if not len(rows):
        return _stack([], columns)
    order = rows[np.argsort(quality[rows], kind="stable")][:limit]
    table = _named_points(scores, order, class_names, planted_errors(scores))
    table = table.assign(
        rank=np.arange(1, len(order) + 1),
        key=_plain_strings(scores["key"].iloc[order]),
        label_quality=quality[order],
        top_confusion_share=scores["top_confusion_share"].to_numpy(np.float64)[order],
    )
    return _stack([table], columns)


def tabulate_per_class(scores: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """All classes by mean X, worst first.

    Returns:
        One row per class that has examples: rank, class, class_name, n, mean_x, mean_c, confused_with (the other class most often voted for
        an example of this label; empty if none), confused_n, n_planted and planted_share (null where no true label is known).
    """
    columns = FIGURES["per_class"].columns
    if scores.empty:
        return _stack([], columns)
    planted = planted_errors(scores)
    work = pd.DataFrame(
        {
            "class": scores["label"].to_numpy(np.int64),
            "x": scores["x_perplexity"].to_numpy(np.float64),
            "c": scores["c_perplexity"].to_numpy(np.float64),
            "top": scores["top_confusion"].to_numpy(np.float64),
            "planted": np.nan if planted is None else planted.astype(np.float64),
        }
    )
    grouped = work.groupby("class", sort=True)
    table = grouped.agg(n=("x", "size"), mean_x=("x", "mean"), mean_c=("c", "mean"), n_planted=("planted", "sum")).reset_index()
    others = work[np.isfinite(work["top"]) & (work["top"] != work["class"])]
    votes = others.groupby(["class", "top"]).size().reset_index(name="confused_n")
    votes = votes.sort_values(["class", "confused_n", "top"], ascending=[True, False, True]).drop_duplicates("class")
    table = table.merge(votes, on="class", how="left")
    names = _names(class_names, table["class"].to_numpy(np.int64))
    has_other = np.isfinite(table["top"].to_numpy(np.float64))
    other = _names(class_names, np.where(has_other, table["top"].to_numpy(np.float64), 0).astype(np.int64))
    table = table.assign(
        class_name=names,
        confused_with=[name if shown else "" for name, shown in zip(other, has_other, strict=True)],
        confused_n=table["confused_n"].fillna(0).astype(np.int64),
        planted_share=table["n_planted"] / table["n"],
    )
    if planted is None:
        table = table.assign(n_planted=np.nan, planted_share=np.nan)
    table = table.sort_values(["mean_x", "class"], ascending=[False, True], ignore_index=True)
    return _stack([table.assign(rank=np.arange(1, len(table) + 1))], columns)


def baseline_arm(comparisons: pd.DataFrame) -> str:
    """The arm the others are compared with: the one called ``baseline``, else the first."""
    names = [str(name) for name in comparisons["arm"]]
    return "baseline" if "baseline" in names else names[0]


def tabulate_arm_accuracy(comparisons: pd.DataFrame, arms: pd.DataFrame | None = None, metric: str = "acc1") -> pd.DataFrame:
    """Accuracy of every arm with its interval, its paired difference to the baseline, and the single seeds behind both.

    Only the first evaluation set of ``comparisons`` (the full one) is taken; accuracies are fractions 0..1.

    Returns:
        arm, note, on, metric, seed (null = the mean over seeds), n_seeds, value, low, high, delta, delta_low, delta_high.
    """
    columns = FIGURES["arm_accuracy"].columns
    chosen = comparisons[comparisons["metric"].astype(str) == metric] if len(comparisons) else comparisons
    if chosen.empty:
        return _stack([], columns)
    on = str(chosen["on"].iloc[0])
    means = chosen[chosen["on"].astype(str) == on].rename(columns={"mean": "value"}).reset_index(drop=True)
    parts = [means.assign(note=_plain_strings(means["note"]), seed=np.nan)]
    if arms is not None and len(arms) and metric in arms:
        reference = arms[arms["arm"].astype(str) == baseline_arm(means)].drop_duplicates("seed").set_index("seed")[metric]
        single = arms[arms["arm"].isin(means["arm"])]
        value = single[metric].to_numpy(np.float64)
        parts.append(
            pd.DataFrame(
                {
                    "arm": single["arm"].to_numpy(),
                    "note": "",
                    "on": on,
                    "metric": metric,
                    "seed": single["seed"].to_numpy(np.float64),
                    "n_seeds": 1,
                    "value": value,
                    "delta": value - single["seed"].map(reference).to_numpy(np.float64),
                }
            )
        )
    return _stack(parts, columns)


def tabulate_convergence(convergence: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation with the full population against the number of classifiers: measure, n, mean, low, high, sorted."""
    columns = FIGURES["convergence"].columns
    if convergence.empty:
        return _stack([], columns)
    return _stack([convergence.sort_values(["measure", "n"], ascending=[False, True], ignore_index=True)], columns)


def tabulate_population(population: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the classifiers by architecture, training fraction and epoch.

    Returns:
        arch, fraction, epoch, n (classifiers), train_acc1, test_acc1, test_acc5 (means), test_low, test_high (range of test_acc1).
    """
    columns = FIGURES["population"].columns
    if population.empty:
        return _stack([], columns)
    # A training on all data has fraction 1; an imported classifier may have none, which must not drop it from the table.
    filled = population.assign(
        fraction=population["fraction"].fillna(1.0),
        epoch=population["epoch"].fillna(0),
        arch=population["arch"].astype("string").fillna("unknown"),
    )
    table = (
        filled.groupby(["arch", "fraction", "epoch"], sort=True)
        .agg(
            n=("test_acc1", "size"),
            train_acc1=("train_acc1", "mean"),
            test_acc1=("test_acc1", "mean"),
            test_acc5=("test_acc5", "mean"),
            test_low=("test_acc1", "min"),
            test_high=("test_acc1", "max"),
        )
        .reset_index()
    )
    # The best architecture first: an order that says something, and the same in figure and table.
    best = table.groupby("arch")["test_acc1"].mean()
    table = table.assign(order=-table["arch"].map(best)).sort_values(["order", "arch", "fraction", "epoch"], ignore_index=True)
    return _stack([table], columns)


def tabulate_detection(detection: pd.DataFrame, n_examples: int | None = None) -> pd.DataFrame:
    """How well each score finds the planted errors, best average precision first.

    Args:
        n_examples: examples that were ranked; gives ``chance`` = n_errors / n_examples, the precision of a random order.
    """
    columns = FIGURES["detection"].columns
    if detection.empty:
        return _stack([], columns)
    chance = detection["n_errors"] / n_examples if n_examples else np.nan
    table = detection.assign(chance=chance).sort_values(["average_precision", "score"], ascending=[False, True], ignore_index=True)
    return _stack([table], columns)


def _finite(series: pd.Series[Any]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return values[np.isfinite(values)]


def _names(class_names: Sequence[str], classes: NDArray[np.int64]) -> list[str]:
    """Names of class indices; an index without a name is called "class 12"."""
    known = range(len(class_names))
    return [class_names[index] if index in known else f"class {index}" for index in classes.tolist()]


def _plain_strings(series: pd.Series[Any]) -> list[str]:
    return ["" if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)]


def _named_points(
    scores: pd.DataFrame, rows: NDArray[np.int64], class_names: Sequence[str], planted: NDArray[np.bool_] | None
) -> pd.DataFrame:
    """The examples at positions ``rows`` as tidy rows: example_id, label_name, top_name, x, c, planted."""
    some = scores.iloc[rows]
    if planted is None:
        known = pd.array([pd.NA] * len(rows), dtype="boolean")
    else:
        truth = pd.to_numeric(some["label_true"]).to_numpy(dtype=np.float64, na_value=np.nan)
        known = pd.array(planted[rows], dtype="boolean")
        known[~np.isfinite(truth)] = pd.NA
    return pd.DataFrame(
        {
            "example_id": some["example_id"].to_numpy(np.int64),
            "label_name": _names(class_names, some["label"].to_numpy(np.int64)),
            "top_name": _names(class_names, some["top_confusion"].to_numpy(np.int64)),
            "x": some["x_perplexity"].to_numpy(np.float64),
            "c": some["c_perplexity"].to_numpy(np.float64),
            "planted": known,
        }
    )


def _stack(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Parts under each other with exactly these columns, in this order; what a part does not have is null."""
    if not parts:
        return pd.DataFrame({name: [] for name in columns})
    whole = pd.concat([part.dropna(axis="columns", how="all") for part in parts], ignore_index=True)
    return whole.reindex(columns=list(columns))


# ---------------------------------------------------------------------------------------------------------------- drawing


def safe_text(value: object, longest: int = 24) -> str:
    """A name from data as it may stand in a figure: no control characters (XML forbids them), at most ``longest`` characters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(value))
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"


def new_figure(width: float, height: float, pad: float = 0.04) -> Figure:
    """An empty figure; sizes and padding in inches. 10 in are 960 CSS pixels, a report's full width."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad))


def _draw_empty(title: str) -> Figure:
    figure = new_figure(10, 1.6)
    figure.text(0.5, 0.5, f"{safe_text(title, 80)}: the table has no rows, there is nothing to draw.", ha="center", va="center", color=GREY)
    return figure


def _percent(axis_values: Axes, *, x: bool) -> None:
    (axis_values.xaxis if x else axis_values.yaxis).set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))


def _draw_perplexity_histograms(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    splits = list(dict.fromkeys(str(split) for split in table["split"]))
    figure = new_figure(10, 0.4 + 2.85 * len(splits), pad=0.08)
    axes = figure.subplots(len(splits), 2, squeeze=False)
    for row, split in enumerate(splits):
        for column, (measure, colour, unit) in enumerate(
            (
                ("x", BLUE, "X-perplexity: share of classifiers that miss the label"),
                ("c", GREEN, "C-perplexity: effective number of classes"),
            )
        ):
            ax = axes[row][column]
            bins = table[(table["split"].astype(str) == split) & (table["measure"] == measure)]
            low, high = bins["low"].to_numpy(np.float64), bins["high"].to_numpy(np.float64)
            density, share = bins["density"].to_numpy(np.float64), bins["share"].to_numpy(np.float64)
            ax.bar(low, density, width=high - low, align="edge", color=colour, edgecolor="white", linewidth=1)
            for left, right, y, part in zip(low, high, density, share, strict=True):
                text = "0" if part == 0 else "<0.1" if part < 0.001 else f"{100 * part:.1f}"
                ax.annotate(text, ((left + right) / 2, y), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=GREY)
            ax.set_title(f"{safe_text(split)}_{measure.upper()}")
            ax.set_title(
                f"{int(bins['n'].sum()):,} examples; % of them above each bar", loc="right", fontsize=9, fontweight="normal", color=GREY
            )
            ax.set_ylabel("density")
            ax.margins(y=0.12)
            if len(low):
                ax.set_xlim(low[0], high[-1])
            if row == len(splits) - 1:
                ax.set_xlabel(unit)
    return figure


def _draw_xc_plane(table: pd.DataFrame, pictures: Pictures) -> Figure:
    cells, points, corners = (table[table["kind"] == kind] for kind in ("density", "planted", "corner"))
    # Places by hand: the layout solver lets pictures of fixed shape shrink each time it is asked.
    width, height, side = 10.0, 6.25, 1.5
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((2.4 / width, 1.3 / height, 5.75 / width, 4.5 / height))
    bar = figure.add_axes((2.4 / width, 0.58 / height, 5.75 / width, 0.14 / height))
    count = cells["n"].to_numpy(np.float64)
    x_edges = np.unique(np.concatenate([cells["x_low"].to_numpy(np.float64), cells["x_high"].to_numpy(np.float64)]))
    c_edges = np.unique(np.concatenate([cells["c_low"].to_numpy(np.float64), cells["c_high"].to_numpy(np.float64)]))
    field_of = np.full((len(x_edges) - 1, len(c_edges) - 1), np.nan)
    # Cells without examples have no row; a gap between two edges is then one empty cell, which stays white.
    field_of[np.searchsorted(x_edges, cells["x_low"].to_numpy()), np.searchsorted(c_edges, cells["c_low"].to_numpy())] = count
    mesh = ax.pcolormesh(
        c_edges, x_edges, np.ma.masked_invalid(field_of), cmap=_light_cividis(), norm=LogNorm(1, max(count.max(), 2)), rasterized=True
    )
    ax.set_xscale("log")
    top = float(c_edges[-1])
    ax.set_xlim(0.985 ** max(np.log(top), 0.1), top * 1.01)
    ax.set_ylim(min(float(x_edges[0]), 0) - 0.015, max(float(x_edges[-1]), 1) + 0.015)
    ax.xaxis.set_major_locator(FixedLocator(_log_ticks(top)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("C-perplexity: effective number of classes (log scale)")
    ax.set_ylabel("X-perplexity: share of classifiers that miss the label")
    figure.colorbar(mesh, cax=bar, orientation="horizontal", label="examples per cell (log scale)", format="{x:g}")
    if len(points):
        c, x = points["c"].to_numpy(np.float64), points["x"].to_numpy(np.float64)
        total = int(points["n"].iloc[0])
        shown = f", {len(points):,} of them drawn" if total > len(points) else ""
        # A few circles get a white halo to stand out; many are drawn small and thin, to leave the density visible.
        size, line = (26, 1.2) if len(points) <= 400 else (9, 0.6)
        if len(points) <= 400:
            ax.scatter(c, x, s=size, facecolors="none", edgecolors="white", linewidths=2.2, zorder=3)
        name = f"planted label error ({total:,}{shown})"
        ax.scatter(c, x, s=size, facecolors="none", edgecolors=VERMILION, linewidths=line, zorder=4, label=name)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), handletextpad=0.2)
    left, right, above, below = 0.16, width - side - 0.16, 4.02, 0.95
    places = {"mislabelled-looking": (left, above), "easy": (left, below), "hard": (right, above), "ambiguous": (right, below)}
    told = {
        "mislabelled-looking": "high X, low C:\nagreed on another class",
        "easy": "low X, low C:\nagreed on the label",
        "hard": "high X, high C:\nno agreement, label missed",
        "ambiguous": "high C, lower X:\nsplit, label often kept",
    }
    for letter, (corner, (x_place, y_place)) in zip("ABCD", places.items(), strict=True):
        found = corners[corners["corner"] == corner]
        frame = figure.add_axes((x_place / width, y_place / height, side / width, side / height))
        if found.empty:
            frame.set_axis_off()
            continue
        example = found.iloc[0]
        ax.plot(
            [example["c"]],
            [example["x"]],
            marker="o",
            markersize=13,
            markerfacecolor="white",
            markeredgecolor=BLACK,
            zorder=5,
            clip_on=False,
        )
        ax.annotate(
            letter, (example["c"], example["x"]), ha="center", va="center_baseline", fontsize=8.5, fontweight="bold", zorder=6, color=BLACK
        )
        draw_picture(frame, pictures.get(int(example["example_id"])))
        middle: dict[str, Any] = {"transform": frame.transAxes, "ha": "center", "va": "bottom"}
        frame.text(0.5, 1.28, f"{letter}: {corner}", fontsize=9, fontweight="bold", **middle)
        frame.text(0.5, 1.05, told[corner], fontsize=7.8, color=GREY, **middle)
        frame.set_xlabel(
            f"{safe_text(example['label_name'], 18)}\n\u2192 {safe_text(example['top_name'], 18)}\n"
            f"X {example['x']:.2f} \u00b7 C {example['c']:.2f}{_planted_text(example['planted'], prefix=chr(10))}",
            fontsize=8.5,
        )
        _frame_by_truth(frame, example["planted"])
    return figure


def _light_cividis() -> ListedColormap:
    """Cividis from light to dark, its light end mixed with white: a cell of one example must not outshine a cell of a hundred."""
    steps = np.linspace(0, 1, 256)[:, None]
    colours = mpl.colormaps["cividis_r"](steps[:, 0])[:, :3]  # [256, 3]
    strength = 0.35 + 0.65 * np.minimum(steps * 2, 1)
    return ListedColormap(1 - strength * (1 - colours))


def _log_ticks(top: float) -> list[float]:
    """Readable ticks of a log axis from 1 to ``top``."""
    if top < 1.6:
        return [float(tick) for tick in np.round(np.linspace(1, np.floor(top * 50) / 50, 5), 2)]
    candidates = [step * 10.0**power for power in range(5) for step in ((1, 1.5, 2, 3, 5, 7) if top <= 20 else (1, 2, 5))]
    return [tick for tick in candidates if tick <= top * 1.001]


def _planted_text(planted: Any, prefix: str = "") -> str:
    return "" if pd.isna(planted) else prefix + ("planted error" if planted else "not planted")


def _frame_by_truth(ax: Axes, planted: Any) -> None:
    """Thick solid frame: planted error. Dashed: known not to be one. Thin solid: not known."""
    width, line, colour = (0.9, "solid", GREY) if pd.isna(planted) else (2.8, "solid", VERMILION) if planted else (1.3, (0, (3, 2)), GREY)
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=width, linestyle=line, edgecolor=colour)
        # Off the picture by its own width, so that a dark picture does not swallow the dashes.
        spine.set_position(("outward", 0 if pd.isna(planted) else 2))


def draw_picture(ax: Axes, picture: NDArray[np.uint8] | None) -> None:
    """A picture, uint8 [H, W, K], pixels kept visible as pixels; a sentence where there is none."""
    ax.set_xticks([])
    ax.set_yticks([])
    if picture is None or picture.size == 0:
        ax.set_facecolor("#f3f4f6")
        ax.set_aspect("equal")
        ax.text(0.5, 0.5, "no\npicture", transform=ax.transAxes, ha="center", va="center", fontsize=7.5, color=GREY)
        return
    small = _thumbnail(picture)
    ax.imshow(small[:, :, 0] if small.shape[2] == 1 else small[:, :, :3], cmap="gray", vmin=0, vmax=255, interpolation="none")


def _thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, K] -> uint8 [h, w, K] with h, w <= 96, by the mean of square blocks (an edge narrower than a block is cut)."""
    height, width, channels = picture.shape
    block = min(-(-max(height, width) // THUMBNAIL), height, width)
    if block <= 1:
        return picture
    rows, columns = height // block, width // block
    blocks = picture[: rows * block, : columns * block].reshape(rows, block, columns, block, channels)
    small: NDArray[np.uint8] = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8)
    return small


def _draw_contact_sheet(table: pd.DataFrame, pictures: Pictures) -> Figure:
    columns = 8
    rows = -(-len(table) // columns)
    figure = new_figure(10, 1.95 * rows + 0.1)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(table) :]:
        ax.set_axis_off()
    for ax, (_, suspect) in zip(axes, table.iterrows(), strict=False):
        draw_picture(ax, pictures.get(int(suspect["example_id"])))
        _frame_by_truth(ax, suspect["planted"])
        ax.set_title(
            f"{int(suspect['rank'])}. X {suspect['x']:.2f} \u00b7 C {suspect['c']:.2f}",
            fontsize=7.8,
            fontweight="normal",
            loc="center",
            pad=5,
        )
        truth = _planted_text(suspect["planted"], prefix="\n")
        ax.set_xlabel(
            f"{safe_text(suspect['label_name'], 16)}\n\u2192 {safe_text(suspect['top_name'], 15)}{truth}",
            fontsize=8.5,
            color=DARK_VERMILION if truth.endswith("error") else "#24292f",
            labelpad=5,
        )
    return figure


def _draw_per_class(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    shown = table.head(MAX_CLASSES_DRAWN)
    with_planted = bool(shown["planted_share"].notna().any())
    figure = new_figure(10, 1.1 + 0.29 * len(shown))
    axes = figure.subplots(1, 2, squeeze=False, sharey=True, width_ratios=[2, 1])[0] if with_planted else [figure.subplots()]
    y = np.arange(len(shown))
    part = f", the {len(shown)} worst of {len(table):,} classes" if len(table) > len(shown) else ""
    mean_x = shown["mean_x"].to_numpy(np.float64)
    _bars(axes[0], y, mean_x, BLUE, [f"{value:.3f}" for value in mean_x])
    axes[0].set_title(f"Mean X per class{part}")
    axes[0].set_xlabel("mean X-perplexity")
    axes[0].set_yticks(y, [safe_text(name) for name in shown["class_name"]])
    axes[0].invert_yaxis()
    if with_planted:
        planted = shown["planted_share"].to_numpy(np.float64)
        counts = shown["n_planted"].to_numpy(np.float64)
        _bars(axes[1], y, planted, VERMILION, [f"{100 * s:.1f} % ({int(n):,})" for s, n in zip(planted, counts, strict=True)], hatch="////")
        axes[1].set_title("Planted label errors")
        axes[1].set_xlabel("share of the class's examples (number)")
        _percent(axes[1], x=True)
        axes[1].tick_params(axis="y", length=0)
    return figure


def _bars(ax: Axes, y: NDArray[np.int64], values: NDArray[np.float64], colour: str, texts: Sequence[str], hatch: str = "") -> None:
    bars = ax.barh(y, values, height=0.72, color="white" if hatch else colour, edgecolor=colour, linewidth=1 if hatch else 0, hatch=hatch)
    ax.bar_label(bars, labels=list(texts), padding=4, fontsize=8.5, color=GREY)
    ax.margins(x=0.22 if hatch else 0.1, y=0.02)
    ax.set_xlim(left=0)
    if not np.nanmax(values, initial=0.0) > 0:
        ax.set_xlim(0, 1)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def arm_kind(note: object) -> str:
    """``oracle`` (uses what nobody knows in earnest, the true labels), ``control`` or "" from an arm's note."""
    text = str(note).lower()
    return "oracle" if "oracle" in text else "control" if "control" in text else ""


def _draw_arm_accuracy(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    single = table[table["seed"].notna()]
    means = table[table["seed"].isna()].reset_index(drop=True)
    names = [str(name) for name in means["arm"]]
    baseline = baseline_arm(means) if len(means) else ""
    figure = new_figure(10, 1.5 + 0.42 * len(means))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    y_of = {name: y for y, name in enumerate(names)}
    labels = []
    for ax, value, low, high in ((left, "value", "low", "high"), (right, "delta", "delta_low", "delta_high")):
        for y, (_, arm) in enumerate(means.iterrows()):
            kind = arm_kind(arm["note"])
            is_baseline = names[y] == baseline
            if is_baseline and value == "delta":
                continue
            colour, marker = (BLACK, "s") if is_baseline else {"oracle": (ORANGE, "D"), "control": (GREY, "o"), "": (BLUE, "o")}[kind]
            if np.isfinite(arm[low]) and np.isfinite(arm[high]):
                ax.plot([100 * arm[low], 100 * arm[high]], [y, y], color=colour, linewidth=2, solid_capstyle="butt", zorder=2)
            face = "white" if kind == "control" else colour
            ax.plot([100 * arm[value]], [y], marker=marker, markersize=7, color=colour, markerfacecolor=face, markeredgewidth=1.6, zorder=3)
        dots = single[single["arm"].astype(str) != baseline] if value == "delta" else single
        ax.scatter(
            100 * dots[value].to_numpy(np.float64),
            [y_of[str(name)] + 0.27 for name in dots["arm"]],
            s=9,
            color="#8c959f",
            zorder=2,
        )
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.margins(x=0.08)
    for y, name in enumerate(names):
        kind = arm_kind(means["note"].iloc[y])
        seeds = int(means["n_seeds"].iloc[y])
        labels.append(safe_text(name, 34) + (f" ({kind})" if kind else "") + (", 1 seed: no interval" if seeds == 1 else ""))
    left.set_yticks(range(len(names)), labels)
    left.set_ylim(len(names) - 0.35, -0.6)
    right.axvline(0, color=BLACK, linewidth=1.2, zorder=1)
    on = safe_text(means["on"].iloc[0]) if len(means) else ""
    metric = safe_text(means["metric"].iloc[0]) if len(means) else ""
    left.set_title("Accuracy, mean over seeds with 95 % interval")
    left.set_xlabel(f"{metric} on {on}, %")
    right.set_title(f"Paired difference to {safe_text(baseline)}")
    right.set_xlabel("percentage points, same seed with same seed")
    return figure


def _draw_convergence(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    figure = new_figure(10, 4.2)
    ax = figure.subplots()
    styles = {"x": (BLUE, "o", "-", "X-perplexity"), "c": (VERMILION, "s", "--", "C-perplexity")}
    measures = list(dict.fromkeys(str(measure) for measure in table["measure"]))
    for measure in measures:
        colour, marker, line, name = styles.get(measure, (GREEN, "^", ":", safe_text(measure)))
        rows = table[table["measure"].astype(str) == measure]
        n, mean = rows["n"].to_numpy(np.float64), rows["mean"].to_numpy(np.float64)
        ax.fill_between(n, rows["low"].to_numpy(np.float64), rows["high"].to_numpy(np.float64), color=colour, alpha=0.16, linewidth=0)
        reached = n[mean >= ENOUGH]
        told = f"{name}: {ENOUGH:g} from N = {int(reached[0]):,}" if len(reached) else f"{name}: {ENOUGH:g} not reached"
        ax.plot(n, mean, color=colour, marker=marker, markersize=5, linestyle=line, linewidth=1.8, label=told)
        if len(reached):
            ax.plot([reached[0]], [mean[mean >= ENOUGH][0]], marker=marker, markersize=11, markerfacecolor="none", markeredgecolor=colour)
    ax.axhline(ENOUGH, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    ticks = np.unique(table["n"].to_numpy(np.float64))
    if len(ticks) > 1:
        ax.set_xscale("log")
        apart = [ticks[-1]]
        for tick in ticks[-2::-1]:  # labels closer than a fifth would touch; the full population keeps its own
            if tick * 1.2 < apart[-1]:
                apart.append(tick)
        ax.xaxis.set_major_locator(FixedLocator(apart))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlabel("N, classifiers in a random sub-population (log scale)")
    ax.set_ylabel("rank correlation (Spearman)\nwith the full population")
    ax.set_ylim(top=1.01)
    ax.grid(axis="y")
    ax.legend(loc="lower right")
    return figure


def _draw_population(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    every = list(dict.fromkeys(str(arch) for arch in table["arch"]))
    archs = every[:MAX_ARCHS_DRAWN]
    columns = min(len(archs), 5)
    rows = -(-len(archs) // columns)
    figure = new_figure(10, 0.9 + 2.25 * rows)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    fractions = sorted(set(table["fraction"].to_numpy(np.float64).tolist()))
    epochs = sorted(set(table["epoch"].to_numpy(np.float64).tolist()))
    colours = mpl.colormaps["viridis"](np.linspace(0.0, 0.82, len(fractions)))
    for ax in axes[len(archs) :]:
        ax.set_axis_off()
    for index, (ax, arch) in enumerate(zip(axes, archs, strict=False)):
        for colour, marker, fraction in zip(colours, ("o", "s", "^", "D", "v", "P", "X", "*") * len(fractions), fractions, strict=False):
            one = table[(table["arch"].astype(str) == arch) & (table["fraction"] == fraction)]
            epoch = one["epoch"].to_numpy(np.float64)
            ax.fill_between(
                epoch, one["test_low"].to_numpy(np.float64), one["test_high"].to_numpy(np.float64), color=colour, alpha=0.18, linewidth=0
            )
            ax.plot(
                epoch,
                one["test_acc1"].to_numpy(np.float64),
                color=colour,
                marker=marker,
                markersize=4.5,
                linewidth=1.4,
                label=f"{100 * fraction:g} % of the training set",
            )
        ax.set_title(safe_text(arch, 20))
        ax.grid(axis="y")
        ax.xaxis.set_major_locator(FixedLocator(epochs) if len(epochs) <= 6 else MaxNLocator(nbins=4, integer=True))
        _percent(ax, x=False)
        if index + columns >= len(archs):
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
        if index % columns == 0:
            ax.set_ylabel("test accuracy")
    if len(every) > len(archs):
        axes[len(archs) - 1].set_title(f"{safe_text(archs[-1], 14)} (+{len(every) - len(archs)})")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(fractions), 4))
    return figure


def _draw_detection(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    measures = (
        ("auroc", "AUROC", BLUE, "o"),
        ("average_precision", "Average precision", VERMILION, "s"),
        ("precision_at_n", "Precision among the first n", GREEN, "D"),
    )
    figure = new_figure(10, 1.45 + 0.34 * len(table))
    axes = figure.subplots(1, len(measures), sharey=True)
    y = np.arange(len(table))
    for ax, (column, title, colour, marker) in zip(axes, measures, strict=True):
        value = table[column].to_numpy(np.float64)
        chance = np.full(len(table), 0.5) if column == "auroc" else table["chance"].to_numpy(np.float64)
        ax.hlines(y, 0, value, color=colour, linewidth=1.6, alpha=0.45)
        ax.plot(value, y, marker=marker, linestyle="none", color=colour, markersize=7)
        if np.isfinite(chance).any():
            ax.axvline(float(np.nanmean(chance)), color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="a random order")
        for at, number in zip(y, value, strict=True):
            if np.isfinite(number):
                ax.annotate(f"{number:.3f}", (number, at), (9, 0), textcoords="offset points", va="center", fontsize=8.5, color=GREY)
        ax.set_title(title)
        ax.set_xlim(0, 1.19)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1])
        ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
    axes[0].set_yticks(y, [safe_text(score, 28) for score in table["score"]])
    axes[0].set_ylim(len(table) - 0.4, -0.6)
    errors = sorted({int(n) for n in table["n_errors"]})
    numbers = f" ({', '.join(f'{n:,}' for n in errors)})" if len(errors) < 4 else ""
    axes[2].set_xlabel(f"n = number of planted errors{numbers}", fontsize=9)
    axes[0].set_xlabel("1 = every error before every clean example", fontsize=9)
    axes[1].set_xlabel("1 = the errors come first", fontsize=9)
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower left")
    return figure


# ---------------------------------------------------------------------------------------------------------------- the table of figures


@dataclass(frozen=True)
class FigureEntry:
    """One figure: how to draw its tidy table.

    Args:
        draw: (table, pictures) -> matplotlib Figure. Only draws.
        title: heading above the figure.
        caption: what is seen; ``{provenance}`` is where ``Provenance.text`` goes.
        alt: what the figure shows, for those who do not see it.
        columns: columns its table must have; ``tabulate_NAME`` gives exactly these.
        advice: where else such a table comes from, told to those who bring another one.
    """

    draw: Callable[[pd.DataFrame, Pictures], Figure]
    title: str
    caption: str
    alt: str
    columns: tuple[str, ...]
    advice: str = ""


FIGURES: Registry[FigureEntry] = Registry(
    "figure",
    {
        "perplexity_histograms": FigureEntry(
            _draw_perplexity_histograms,
            "Distribution of X- and C-perplexity",
            "Ten equal bins each, density; X on [0, 1], C on [1, greatest value], as in the paper's Fig. 1. {provenance}.",
            "Histograms of X-perplexity (left) and C-perplexity (right), one row per split.",
            ("split", "measure", "bin", "low", "high", "n", "share", "density"),
        ),
        "xc_plane": FigureEntry(
            _draw_xc_plane,
            "The X-C plane",
            "How many examples have which X and C; circles: planted label errors, where the truth is known. A to D: the example nearest to "
            "each corner, its label \u2192 its top confusion. {provenance}.",
            "Density map of X-perplexity against C-perplexity with an example picture for each of its four corners.",
            (
                "kind",
                "corner",
                "example_id",
                "label_name",
                "top_name",
                "planted",
                "x",
                "c",
                "x_low",
                "x_high",
                "c_low",
                "c_high",
                "n",
            ),
        ),
        "contact_sheet": FigureEntry(
            _draw_contact_sheet,
            "Suspects",
            "The most suspicious labels, worst first: label \u2192 top confusion. Thick frame: planted label error; dashed: not planted; "
            "thin: the truth is not known. {provenance}.",
            "Grid of pictures of the most suspicious examples, each with its label, its top confusion, X and C.",
            ("rank", "example_id", "key", "label_name", "top_name", "x", "c", "label_quality", "top_confusion_share", "planted"),
        ),
        "per_class": FigureEntry(
            _draw_per_class,
            "Classes",
            "Mean X of the examples that carry each label, worst first; beside it, where the truth is known, the planted errors. "
            "{provenance}.",
            "Bars of the mean X-perplexity per class and of the share of planted label errors per class.",
            (
                "rank",
                "class",
                "class_name",
                "n",
                "mean_x",
                "mean_c",
                "confused_with",
                "confused_n",
                "n_planted",
                "planted_share",
            ),
        ),
        "arm_accuracy": FigureEntry(
            _draw_arm_accuracy,
            "Retraining arms",
            "Test accuracy of each arm, mean over seeds with 95 % interval, and its difference to the baseline paired by seed; small dots "
            "are single seeds. An oracle arm uses the true labels; a control changes the training set without looking at perplexity. "
            "{provenance}.",
            "Dot plot of the accuracy of each retraining arm, and of its paired difference to the baseline.",
            ("arm", "note", "on", "metric", "seed", "n_seeds", "value", "low", "high", "delta", "delta_low", "delta_high"),
        ),
        "convergence": FigureEntry(
            _draw_convergence,
            "How many classifiers are enough",
            "Rank correlation of the perplexities of random sub-populations with those of the full population, mean and band. Members of "
            "a sub-population are also in the full one, so the curve ends at 1 by construction. {provenance}.",
            "Line chart of rank correlation with the full population against the number of classifiers, for X and C.",
            ("measure", "n", "mean", "low", "high"),
        ),
        "population": FigureEntry(
            _draw_population,
            "The population",
            "Test accuracy of the classifiers by architecture, share of the training set and epoch: mean, and least to greatest as band. "
            "{provenance}.",
            "Small line charts, one per architecture, of test accuracy against epoch for each training fraction.",
            ("arch", "fraction", "epoch", "n", "train_acc1", "test_acc1", "test_acc5", "test_low", "test_high"),
        ),
        "detection": FigureEntry(
            _draw_detection,
            "Finding the planted errors",
            "How well each score puts the planted label errors before the other examples; dashed: a random order. {provenance}.",
            "Dot plots of AUROC, average precision and precision for each score.",
            ("score", "auroc", "average_precision", "precision_at_n", "recall_at_n", "n_errors", "chance"),
        ),
    },
)


# ---------------------------------------------------------------------------------------------------------------- files


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


def draw(name: str, table: pd.DataFrame, pictures: Pictures | None = None) -> Figure:
    """Draw the tidy table of figure ``name``; a table without rows gives a figure that says so.

    Raises:
        UnknownNameError: no such figure.
        UsageError: the table lacks columns the figure needs.
    """
    return draw_entry(name, FIGURES[name], table, pictures)


def draw_entry(name: str, entry: FigureEntry, table: pd.DataFrame, pictures: Pictures | None = None) -> Figure:
    """``draw`` for an entry that need not be in ``FIGURES``; ``name`` stands in the error message.

    Raises:
        UsageError: the table lacks columns the figure needs.
    """
    missing = [column for column in entry.columns if column not in table]
    if missing:
        raise UsageError(
            f"figure {name!r} cannot be drawn: its table has the columns {', '.join(map(str, table.columns)) or 'none'} "
            f"and lacks {', '.join(missing)}. It needs {', '.join(entry.columns)}. {entry.advice or f'Make the table with tabulate_{name}.'}"
        )
    with mpl.rc_context(STYLE):
        figure = _draw_empty(entry.title) if table.empty else entry.draw(table, pictures or {})
        _settle(figure)
    return figure


def _settle(figure: Figure) -> None:
    """Lay the figure out once and fix the result, rounded.

    The layout solver's answers differ in the last bits from draw to draw, and the SVG writer hashes them into ids: without the rounding,
    ten draws of one table gave two different files.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        # Twice: titles and outward frames have their place only after a first layout, and the second makes room for them.
        figure.draw_without_rendering()
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ax in figure.axes:
        left, bottom, width, height = (round(float(edge), 6) for edge in ax.get_position(original=True).bounds)
        ax.set_position((left, bottom, width, height), which="both")


def save(
    name: str, table: pd.DataFrame, folder: Path, provenance: Provenance, *, pictures: Pictures | None = None, stem: str | None = None
) -> FigureFiles:
    """Draw figure ``name`` and write <stem>.svg, <stem>.png (150 dpi) and <stem>.csv, the table drawn. Equal inputs give equal bytes.

    Args:
        name: a name of ``FIGURES``.
        table: its tidy table.
        folder: where to write; made if absent. Each file appears whole or not at all.
        provenance: goes into the caption and into the metadata of both images.
        pictures: example_id -> picture, for the figures that show some.
        stem: file name without ending, if one figure is drawn twice (default: ``name``).

    Raises:
        UnknownNameError: no such figure.
        UsageError: the table lacks columns, or ``stem`` is no plain file name.
    """
    return save_entry(name, FIGURES[name], table, folder, provenance, pictures=pictures, stem=stem)


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
    """``save`` for an entry that need not be in ``FIGURES``, such as a study's chart; arguments and errors are those of ``save``."""
    stem = name if stem is None else stem
    if stem != file_stem(stem):
        raise UsageError(
            f"figure {name!r} cannot be saved as {stem!r}: use letters, digits, dots, dashes, underscores. Try {file_stem(stem)!r}."
        )
    caption = entry.caption.replace("{provenance}", provenance.text)
    figure = draw_entry(name, entry, table, pictures)
    words = {"Title": safe_text(entry.title, 200), "Description": safe_text(caption, 2000)}
    svg, png = io.BytesIO(), io.BytesIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=MISSING_GLYPH)
        figure.savefig(svg, format="svg", dpi=150, metadata={**words, "Date": None, "Creator": "zoo"})
        figure.savefig(png, format="png", dpi=150, metadata={**words, "Software": None})
    files = FigureFiles(name, folder / f"{stem}.svg", folder / f"{stem}.png", folder / f"{stem}.csv", entry.title, caption, entry.alt)
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
