"""Figures: each has one function that makes its tidy table and one that only draws it.

``tabulate_NAME`` (in ``zoo.report.tidy``) turns scores or results into the table of figure NAME;
``_draw_NAME`` draws that table and computes nothing that is not in it; ``save`` writes NAME.svg,
NAME.png and NAME.csv, the last being the very table drawn. A new figure is such a pair and one line
in ``FIGURES``. Figures are made with ``matplotlib.figure.Figure``, never with pyplot, so there is
no global state and no window system.

Letters: N classifiers, E examples, M classes; H, W, K = height, width, channels of a picture.
Colours are those of Okabe & Ito (2008) for groups and viridis/cividis for quantities; what a colour
says, a shape or a word says too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from zoo.registry import Registry
from zoo.report.draw import (
    BLACK,
    BLUE,
    DARK_VERMILION,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    FigureEntry,
    FigureFiles,
    Pictures,
    Provenance,
    draw_entry,
    draw_picture,
    new_figure,
    percent_axis,
    safe_text,
    save_entry,
)
from zoo.report.tidy import COLUMNS

__all__ = ["FIGURES", "arm_kind", "draw", "save"]


MAX_CLASSES_DRAWN = 20
MAX_ARCHS_DRAWN = 20
ENOUGH = 0.95


def _examples(count: int) -> str:
    return f"{count:,} example" + ("" if count == 1 else "s")


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
            density, share = (
                bins["density"].to_numpy(np.float64),
                bins["share"].to_numpy(np.float64),
            )
            ax.bar(
                low,
                density,
                width=high - low,
                align="edge",
                color=colour,
                edgecolor="white",
                linewidth=1,
            )
            for left, right, y, part in zip(low, high, density, share, strict=True):
                text = "0" if part == 0 else "<0.1" if part < 0.001 else f"{100 * part:.1f}"
                ax.annotate(
                    text,
                    ((left + right) / 2, y),
                    (0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=GREY,
                )
            ax.set_title(f"{safe_text(split)}_{measure.upper()}")
            ax.set_title(
                f"{_examples(int(bins['n'].sum()))}; share of them above each bar, %",
                loc="right",
                fontsize=9,
                fontweight="normal",
                color=GREY,
            )
            ax.set_ylabel("density")
            ax.margins(y=0.12)
            if len(low):
                ax.set_xlim(low[0], high[-1])
            if row == len(splits) - 1:
                ax.set_xlabel(unit)
    return figure


def _draw_xc_plane(table: pd.DataFrame, pictures: Pictures) -> Figure:
    cells, points, corners = (
        table[table["kind"] == kind] for kind in ("density", "known_error", "corner")
    )
    # Places by hand: the layout solver lets pictures of fixed shape shrink each time it is asked.
    width, height, side = 10.0, 6.25, 1.5
    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((2.4 / width, 1.3 / height, 5.75 / width, 4.5 / height))
    bar = figure.add_axes((2.4 / width, 0.58 / height, 5.55 / width, 0.14 / height))
    count = cells["n"].to_numpy(np.float64)
    x_edges = np.unique(
        np.concatenate([cells["x_low"].to_numpy(np.float64), cells["x_high"].to_numpy(np.float64)])
    )
    c_edges = np.unique(
        np.concatenate([cells["c_low"].to_numpy(np.float64), cells["c_high"].to_numpy(np.float64)])
    )
    field_of = np.full((len(x_edges) - 1, len(c_edges) - 1), np.nan)
    # Cells without examples have no row; a gap between two edges is then one empty cell, which
    # stays white.
    field_of[
        np.searchsorted(x_edges, cells["x_low"].to_numpy()),
        np.searchsorted(c_edges, cells["c_low"].to_numpy()),
    ] = count
    mesh = ax.pcolormesh(
        c_edges,
        x_edges,
        np.ma.masked_invalid(field_of),
        cmap=_light_cividis(),
        norm=LogNorm(1, max(count.max(), 2)),
        rasterized=True,
    )
    ax.set_xscale("log")
    top = float(c_edges[-1])
    ax.set_xlim(0.985 ** max(np.log(top), 0.1), top * 1.01)
    ax.set_ylim(min(float(x_edges[0]), 0) - 0.015, max(float(x_edges[-1]), 1) + 0.015)
    # a share, though the cells of few classifiers reach beyond its ends
    ax.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    ax.xaxis.set_major_locator(FixedLocator(_log_ticks(top)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel("C-perplexity: effective number of classes (log scale)")
    ax.set_ylabel("X-perplexity: share of classifiers that miss the label")
    ticks = FixedLocator(
        [float(tick) for tick in _log_ticks(max(float(count.max()), 2), whole=True)]
    )
    numbers = FuncFormatter(lambda value, _: f"{value:,.0f}")
    figure.colorbar(
        mesh,
        cax=bar,
        orientation="horizontal",
        label="examples per cell (log scale)",
        ticks=ticks,
        format=numbers,
    )
    if len(points):
        c, x = points["c"].to_numpy(np.float64), points["x"].to_numpy(np.float64)
        total = int(points["n"].iloc[0])
        shown = f", {len(points):,} of them drawn" if total > len(points) else ""
        # A few circles get a white halo to stand out; many are drawn small and thin, to leave the
        # density visible.
        size, line = (26, 1.2) if len(points) <= 400 else (9, 0.6)
        if len(points) <= 400:
            ax.scatter(
                c, x, s=size, facecolors="none", edgecolors="white", linewidths=2.2, zorder=3
            )
        name = f"known label error ({total:,}{shown})"
        ax.scatter(
            c,
            x,
            s=size,
            facecolors="none",
            edgecolors=VERMILION,
            linewidths=line,
            zorder=4,
            label=name,
        )
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), handletextpad=0.2)
    left, right, above, below = 0.16, width - side - 0.16, 4.02, 0.95
    places = {
        "mislabelled-looking": (left, above),
        "easy": (left, below),
        "hard": (right, above),
        "ambiguous": (right, below),
    }
    told = {
        "mislabelled-looking": "high X, low C:\nagreed on another class",
        "easy": "low X, low C:\nagreed on the label",
        "hard": "high X, high C:\nno agreement, label missed",
        "ambiguous": "high C, lower X:\nsplit, label often kept",
    }
    for letter, (corner, (x_place, y_place)) in zip("ABCD", places.items(), strict=True):
        found = corners[corners["corner"] == corner]
        frame = figure.add_axes((x_place / width, y_place / height, side / width, side / height))
        middle: dict[str, Any] = {"transform": frame.transAxes, "ha": "center", "va": "bottom"}
        frame.text(0.5, 1.28, f"{letter}: {corner}", fontsize=9, fontweight="bold", **middle)
        frame.text(0.5, 1.05, told[corner], fontsize=7.8, color=GREY, **middle)
        if found.empty:
            frame.set(xticks=[], yticks=[], facecolor="#f3f4f6")
            frame.spines[:].set_visible(False)
            frame.text(
                0.5,
                0.5,
                "no example\nin this corner",
                transform=frame.transAxes,
                ha="center",
                va="center",
                fontsize=7.5,
                color=GREY,
            )
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
            letter,
            (example["c"], example["x"]),
            ha="center",
            va="center_baseline",
            fontsize=8.5,
            fontweight="bold",
            zorder=6,
            color=BLACK,
        )
        told_of = (
            f"{safe_text(example['label_name'], 18)}\n\u2192"
            f" {safe_text(example['top_name'], 18)}\nX {example['x']:.2f} \u00b7 C"
            f" {example['c']:.2f}{_truth_text(example.get('known_error'), prefix=chr(10))}"
        )
        if not pictures:  # none at all: why is said once, not in each frame
            frame.set(xticks=[], yticks=[], facecolor="none")
            frame.spines[:].set_visible(False)
            frame.text(
                0.5, 0.96, told_of, transform=frame.transAxes, ha="center", va="top", fontsize=8.5
            )
            continue
        draw_picture(frame, pictures.get(int(example["example_id"])))
        frame.set_xlabel(told_of, fontsize=8.5)
        _frame_by_truth(frame, example.get("known_error"))
    return figure


def _light_cividis() -> ListedColormap:
    """Cividis from light to dark, its light end mixed with white: a cell of one example must not
    outshine a cell of a hundred."""
    steps = np.linspace(0, 1, 256)[:, None]
    colours = mpl.colormaps["cividis_r"](steps[:, 0])[:, :3]  # [256, 3]
    strength = 0.35 + 0.65 * np.minimum(steps * 2, 1)
    return ListedColormap(1 - strength * (1 - colours))


def _log_ticks(top: float, *, whole: bool = False) -> list[float]:
    """Readable ticks of a log axis from 1 to ``top``; ``whole``: of a count, whose ticks are whole
    numbers."""
    if top < 1.6 and not whole:
        return [
            float(tick)
            for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(1, top)
            if 1 <= tick <= top
        ]
    steps = (1, 2, 5) if whole or top > 20 else (1, 1.5, 2, 3, 5, 7)
    powers = range(int(np.log10(top)) + 1)
    return [
        tick
        for tick in (step * 10.0**power for power in powers for step in steps)
        if tick <= top * 1.001
    ]


def _truth_text(wrong: Any, prefix: str = "") -> str:
    return "" if pd.isna(wrong) else prefix + ("known error" if wrong else "label right")


def _frame_by_truth(ax: Axes, wrong: Any) -> None:
    """Thick solid frame: known label error. Dashed: known to be right. Thin solid: not known."""
    width, line, colour = (
        (0.9, "solid", GREY)
        if pd.isna(wrong)
        else (2.8, "solid", VERMILION)
        if wrong
        else (1.3, (0, (3, 2)), GREY)
    )
    for spine in ax.spines.values():
        spine.set(visible=True, linewidth=width, linestyle=line, edgecolor=colour)
        # Off the picture by its own width, so that a dark picture does not swallow the dashes.
        spine.set_position(("outward", 0 if pd.isna(wrong) else 2))


def _draw_contact_sheet(table: pd.DataFrame, pictures: Pictures) -> Figure:
    columns = 8
    rows = -(-len(table) // columns)
    figure = new_figure(10, 1.95 * rows + 0.1)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(table) :]:
        ax.set_axis_off()
    for ax, (_, suspect) in zip(axes, table.iterrows(), strict=False):
        draw_picture(ax, pictures.get(int(suspect["example_id"])))
        _frame_by_truth(ax, suspect.get("known_error"))
        ax.set_title(
            f"{int(suspect['rank'])}. X {suspect['x']:.2f} \u00b7 C {suspect['c']:.2f}",
            fontsize=7.8,
            fontweight="normal",
            loc="center",
            pad=5,
        )
        truth = _truth_text(suspect.get("known_error"), prefix="\n")
        ax.set_xlabel(
            f"{safe_text(suspect['label_name'], 16)}\n\u2192"
            f" {safe_text(suspect['top_name'], 15)}{truth}",
            fontsize=8.5,
            color=DARK_VERMILION if truth.endswith("error") else "#24292f",
            labelpad=5,
        )
    return figure


def _draw_per_class(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    shown = table.head(MAX_CLASSES_DRAWN)
    with_errors = "known_error_share" in shown
    figure = new_figure(10, 1.1 + 0.29 * len(shown))
    axes = (
        figure.subplots(1, 2, squeeze=False, sharey=True, width_ratios=[2, 1])[0]
        if with_errors
        else [figure.subplots()]
    )
    y = np.arange(len(shown))
    part = f", the {len(shown)} worst of {len(table):,} classes" if len(table) > len(shown) else ""
    mean_x = shown["mean_x"].to_numpy(np.float64)
    _bars(axes[0], y, mean_x, BLUE, [f"{value:.3f}" for value in mean_x])
    axes[0].set_title(f"Mean X per class{part}")
    axes[0].set_xlabel("mean X-perplexity")
    axes[0].set_yticks(y, [safe_text(name) for name in shown["class_name"]])
    axes[0].invert_yaxis()
    if with_errors:
        shares = shown["known_error_share"].to_numpy(np.float64)
        counts = shown["n_known_errors"].to_numpy(np.float64)
        _bars(
            axes[1],
            y,
            shares,
            VERMILION,
            [f"{100 * s:.1f} % ({int(n):,})" for s, n in zip(shares, counts, strict=True)],
            hatch="////",
        )
        axes[1].set_title("Known label errors")
        axes[1].set_xlabel("share of the class's examples (number)")
        percent_axis(axes[1], x=True)
        axes[1].tick_params(axis="y", length=0)
    return figure


def _bars(
    ax: Axes,
    y: NDArray[np.int64],
    values: NDArray[np.float64],
    colour: str,
    texts: Sequence[str],
    hatch: str = "",
) -> None:
    bars = ax.barh(
        y,
        values,
        height=0.72,
        color="white" if hatch else colour,
        edgecolor=colour,
        linewidth=1 if hatch else 0,
        hatch=hatch,
    )
    ax.bar_label(bars, labels=list(texts), padding=4, fontsize=8.5, color=GREY)
    ax.margins(x=0.22 if hatch else 0.1, y=0.02)
    ax.set_xlim(left=0)
    if not np.nanmax(values, initial=0.0) > 0:
        ax.set_xlim(0, 1)
    ax.grid(axis="x")
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def arm_kind(note: object) -> str:
    """``oracle`` (uses what nobody knows in earnest, the true labels), ``control`` or "" from an
    arm's note."""
    text = str(note).lower()
    return "oracle" if "oracle" in text else "control" if "control" in text else ""


def _draw_arm_accuracy(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    single = table[table["seed"].notna()]
    means = table[table["seed"].isna()].reset_index(drop=True)
    names = [str(name) for name in means["arm"]]
    bases = [
        name for name, delta in zip(names, means["delta"], strict=True) if not np.isfinite(delta)
    ]
    figure = new_figure(10, 1.7 + 0.46 * len(means), pad=0.08)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    y_of = {name: y for y, name in enumerate(names)}
    one_seed = bool((means["n_seeds"] == 1).all())
    labels = []
    for ax, value, low, high in (
        (left, "value", "low", "high"),
        (right, "delta", "delta_low", "delta_high"),
    ):
        for y, (_, arm) in enumerate(means.iterrows()):
            kind = arm_kind(arm["note"])
            is_baseline = names[y] in bases
            if is_baseline and value == "delta":
                continue
            colour, marker = (
                (BLACK, "s")
                if is_baseline
                else {"oracle": (ORANGE, "D"), "control": (GREY, "o"), "": (BLUE, "o")}[kind]
            )
            if np.isfinite(arm[low]) and np.isfinite(arm[high]):
                ax.plot(
                    [100 * arm[low], 100 * arm[high]],
                    [y, y],
                    color=colour,
                    linewidth=2,
                    solid_capstyle="butt",
                    zorder=2,
                )
            face = "white" if kind == "control" else colour
            ax.plot(
                [100 * arm[value]],
                [y],
                marker=marker,
                markersize=7,
                color=colour,
                markerfacecolor=face,
                markeredgewidth=1.6,
                zorder=3,
            )
        dots = single[~single["arm"].isin(bases)] if value == "delta" else single
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
        label = safe_text(name, 60) + (f" ({kind})" if kind and kind not in name.lower() else "")
        alone = ", 1 seed: no interval" if seeds == 1 and not one_seed else ""
        labels.append(textwrap.fill(label + alone, 26))
    left.set_yticks(range(len(names)), labels)
    left.set_ylim(len(names) - 0.35, -0.6)
    right.axvline(0, color=BLACK, linewidth=1.2, zorder=1)
    on = safe_text(means["on"].iloc[0]) if len(means) else ""
    metric = safe_text(means["metric"].iloc[0]) if len(means) else ""
    left.set_title(
        "Accuracy, 1 seed: no interval"
        if one_seed
        else "Accuracy, mean over seeds\nwith 95 % interval"
    )
    left.set_xlabel(f"{metric} on {on}, %")
    to = safe_text(bases[0], 34) if len(bases) == 1 else "the first arm of its group"
    right.set_title(textwrap.fill(f"Paired difference to {to}", 34))
    right.set_xlabel("percentage points, same seed with same seed")
    return figure


def _draw_convergence(table: pd.DataFrame, _pictures: Pictures) -> Figure:
    """Rank correlations on one axis, and where true labels are known AUROC beside them on one of
    its own: they are not the same quantity."""
    styles = {
        "x": (BLUE, "o", "-", "X-perplexity"),
        "c": (VERMILION, "s", "--", "C-perplexity"),
        "auroc": (GREEN, "^", "-", "label_quality"),
    }
    found = table[table["measure"].astype(str) == "auroc"]
    figure = new_figure(10, 4.2)
    axes = figure.subplots(1, 2) if len(found) else [figure.subplots()]
    ranks = table[table["measure"].astype(str) != "auroc"]
    for ax, rows in zip(axes, (ranks, found), strict=False):
        for measure in dict.fromkeys(str(measure) for measure in rows["measure"]):
            colour, marker, line, name = styles.get(measure, (GREY, "v", ":", safe_text(measure)))
            mine = rows[rows["measure"].astype(str) == measure]
            n, mean = mine["n"].to_numpy(np.float64), mine["mean"].to_numpy(np.float64)
            ax.fill_between(
                n,
                mine["low"].to_numpy(np.float64),
                mine["high"].to_numpy(np.float64),
                color=colour,
                alpha=0.16,
                linewidth=0,
            )
            told = name
            if measure != "auroc":
                reached = n[mean >= ENOUGH]
                told = (
                    f"{name}: {ENOUGH:g} from N = {int(reached[0]):,}"
                    if len(reached)
                    else f"{name}: {ENOUGH:g} not reached"
                )
                if len(reached):
                    first = mean[mean >= ENOUGH][0]
                    ax.plot(
                        [reached[0]],
                        [first],
                        marker=marker,
                        markersize=11,
                        markerfacecolor="none",
                        markeredgecolor=colour,
                    )
            ax.plot(
                n,
                mean,
                color=colour,
                marker=marker,
                markersize=5,
                linestyle=line,
                linewidth=1.8,
                label=told,
            )
        _sizes_axis(ax, rows["n"].to_numpy(np.float64))
        # Neither quantity goes beyond 1; the last marker is drawn whole.
        low = ax.get_ylim()[0]
        ax.set_ylim(low, 1 + 0.02 * (1 - low))
        ax.yaxis.set_major_locator(
            FixedLocator([tick for tick in MaxNLocator(6).tick_values(low, 1) if low <= tick <= 1])
        )
        ax.grid(axis="y")
        ax.legend(loc="lower right")
    axes[0].axhline(ENOUGH, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
    axes[0].set_ylabel("rank correlation (Spearman)\nwith the full population")
    if len(found):
        axes[1].set_ylabel("AUROC of label_quality\nat finding wrong labels")
    return figure


def _sizes_axis(ax: Axes, sizes: NDArray[np.float64]) -> None:
    """Numbers of classifiers along x, in log scale where there are several."""
    ticks = np.unique(sizes)
    if len(ticks) > 1:
        ax.set_xscale("log")
        apart = [ticks[-1]]
        # labels closer than a third would touch; the full population keeps its own
        for tick in ticks[-2::-1]:
            if tick * 1.3 < apart[-1]:
                apart.append(tick)
        ax.xaxis.set_major_locator(FixedLocator(apart))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlabel("N, classifiers in a random sub-population (log scale)")


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
        for colour, marker, fraction in zip(
            colours,
            ("o", "s", "^", "D", "v", "P", "X", "*") * len(fractions),
            fractions,
            strict=False,
        ):
            one = table[(table["arch"].astype(str) == arch) & (table["fraction"] == fraction)]
            epoch = one["epoch"].to_numpy(np.float64)
            ax.fill_between(
                epoch,
                one["test_low"].to_numpy(np.float64),
                one["test_high"].to_numpy(np.float64),
                color=colour,
                alpha=0.18,
                linewidth=0,
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
        ax.xaxis.set_major_locator(
            FixedLocator(epochs) if len(epochs) <= 6 else MaxNLocator(nbins=4, integer=True)
        )
        percent_axis(ax, x=False)
        if index + columns >= len(archs):
            ax.set_xlabel("epoch")
            ax.tick_params(labelbottom=True)
        if index % columns == 0:
            ax.set_ylabel("test accuracy")
    if len(every) > len(archs):
        axes[len(archs) - 1].set_title(f"{safe_text(archs[-1], 14)} (+{len(every) - len(archs)})")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(fractions), 4),
    )
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
        chance = (
            np.full(len(table), 0.5) if column == "auroc" else table["chance"].to_numpy(np.float64)
        )
        ax.hlines(y, 0, value, color=colour, linewidth=1.6, alpha=0.45)
        ax.plot(value, y, marker=marker, linestyle="none", color=colour, markersize=7)
        if f"{column}_low" in table:  # 95 %, over the examples
            ends = (table[f"{column}_{end}"].to_numpy(np.float64) for end in ("low", "high"))
            ax.hlines(y, *ends, color=colour, linewidth=4, alpha=0.35)
        if np.isfinite(chance).any():
            ax.axvline(
                float(np.nanmean(chance)),
                color=GREY,
                linewidth=1,
                linestyle=(0, (4, 3)),
                label="a random order",
            )
        for at, number in zip(y, value, strict=True):
            if np.isfinite(number):
                ax.annotate(
                    f"{number:.3f}",
                    (number, at),
                    (9, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8.5,
                    color=GREY,
                )
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
    axes[2].set_xlabel(f"n = number of known errors{numbers}", fontsize=9)
    axes[0].set_xlabel("1 = every error before every clean example", fontsize=9)
    axes[1].set_xlabel("1 = the errors come first", fontsize=9)
    handles, texts = axes[0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower left")
    return figure


FIGURES: Registry[FigureEntry] = Registry(
    "figure",
    {
        "perplexity_histograms": FigureEntry(
            _draw_perplexity_histograms,
            "Distribution of X- and C-perplexity",
            "Ten equal bins each, density; X on [0, 1], C on [1, greatest value], as in the paper's"
            " Fig. 1. {provenance}.",
            "Histograms of X-perplexity (left) and C-perplexity (right), one row per split.",
            COLUMNS["perplexity_histograms"],
        ),
        "xc_plane": FigureEntry(
            _draw_xc_plane,
            "The X-C plane",
            "How many examples have which X and C{known}. A to D: of each quarter the example "
            "nearest to the corner, its label \u2192 its top confusion. {provenance}.",
            "Density map of X-perplexity against C-perplexity with an example picture for each of"
            " its four corners.",
            COLUMNS["xc_plane"],
            known="; circles: known label errors",
        ),
        "contact_sheet": FigureEntry(
            _draw_contact_sheet,
            "Suspects",
            "The most suspicious labels, worst first: label \u2192 suggested. X is over the"
            " classifiers that rank the example, the held-out ones where there are some.{known}"
            " {provenance}.",
            "Grid of pictures of the most suspicious examples, each with its label, the class"
            " suggested instead, X and C.",
            COLUMNS["contact_sheet"],
            known=(
                " Thick frame: known label error; dashed: label right; thin: the truth is not"
                " known."
            ),
        ),
        "per_class": FigureEntry(
            _draw_per_class,
            "Classes",
            "Mean X of the examples that carry each label, worst first{known}. {provenance}.",
            "Bars of the mean X-perplexity per class, and of the share of known label errors where"
            " there are any.",
            COLUMNS["per_class"],
            known="; beside it the known label errors",
        ),
        "arm_accuracy": FigureEntry(
            _draw_arm_accuracy,
            "Retraining arms",
            "Test accuracy of each arm, mean over seeds with 95 % interval, and its difference to"
            " the baseline paired by seed; small dots are single seeds. An oracle arm uses the true"
            " labels; a control changes the training set without looking at perplexity."
            " {provenance}.",
            "Dot plot of the accuracy of each retraining arm, and of its paired difference to the"
            " baseline.",
            COLUMNS["arm_accuracy"],
        ),
        "convergence": FigureEntry(
            _draw_convergence,
            "How many classifiers are enough",
            "Rank correlation of the perplexities of random sub-populations with those of the full"
            " population, mean and band. Members of a sub-population are also in the full one, so"
            " these curves end at 1 by construction. Where true labels are known, on an axis of its"
            " own: how well label_quality of the sub-populations finds the wrong ones."
            " {provenance}.",
            "Line charts against the number of classifiers: rank correlation with the full"
            " population for X and C, and AUROC of label_quality.",
            COLUMNS["convergence"],
        ),
        "population": FigureEntry(
            _draw_population,
            "The population",
            "Test accuracy of the classifiers by architecture, share of the training set and epoch:"
            " mean, and least to greatest as band. {provenance}.",
            "Small line charts, one per architecture, of test accuracy against epoch for each"
            " training fraction.",
            COLUMNS["population"],
        ),
        "detection": FigureEntry(
            _draw_detection,
            "Finding the known errors",
            "How well each score puts the known label errors before the other examples; dashed: a"
            " random order. {provenance}.",
            "Dot plots of AUROC, average precision and precision for each score.",
            COLUMNS["detection"],
        ),
    },
)


def draw(name: str, table: pd.DataFrame, pictures: Pictures | None = None) -> Figure:
    """Draw the tidy table of figure ``name``; a table without rows gives a figure that says so.

    Raises:
        UnknownNameError: no such figure.
        UsageError: the table lacks columns the figure needs.
    """
    return draw_entry(name, FIGURES[name], table, pictures)


def save(
    name: str,
    table: pd.DataFrame,
    folder: Path,
    provenance: Provenance,
    *,
    pictures: Pictures | None = None,
    stem: str | None = None,
) -> FigureFiles:
    """Draw figure ``name`` and write <stem>.svg, <stem>.png (150 dpi) and <stem>.csv, the table
    drawn. Equal inputs give equal bytes.

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
