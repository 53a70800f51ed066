"""The sections of the page, each from the data of a study to its parts."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from zoo.errors import UsageError, ZooError
from zoo.registry import Registry
from zoo.report import draw, figures, tidy
from zoo.report.draw import Pictures, Provenance
from zoo.report.parts import (
    Absent,
    Cell,
    Column,
    CommandPart,
    Desk,
    GalleryPart,
    Part,
    ReportData,
    Section,
    Shot,
    TablePart,
    TextPart,
    TilesPart,
)
from zoo.scores import suspects
from zoo.scores.audited import count_in_words, population_in_words
from zoo.studies.claims import evidence_text
from zoo.studies.findings import Chart

__all__ = ["SECTIONS", "duration_text", "sections_for"]


MAX_SUSPECTS = 40
MAX_TABLE_ROWS = 1000  # a row costs about 150 bytes of page; the CSV has them all
MAX_CLASSES = 20
SMALL = 64  # pixels; what is smaller is enlarged with its pixels to be seen


# ---------------------------------------------------------------------------------- numbers as text


def duration_text(seconds: float) -> str:
    """``3`` -> "3.0 s"; ``83`` -> "1 min 23 s"; ``7500`` -> "2 h 05 min"."""
    if not np.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return (
        f"{whole // 60} min {whole % 60:02d} s"
        if whole < 3600
        else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def _text(value: Any) -> str:
    """A value of any kind as a cell; null is a dash."""
    if (
        value is None
        or value is pd.NA
        or (isinstance(value, float | np.floating) and np.isnan(value))
    ):
        return "\u2013"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)


def _number(value: Any, digits: int) -> str:
    return "\u2013" if pd.isna(value) else f"{value:.{digits}f}"


def _percent(value: Any, digits: int = 1) -> str:
    return "\u2013" if pd.isna(value) else f"{100 * value:.{digits}f}\u00a0%"


def _range(low: Any, high: Any, *, signed: bool = False) -> str:
    if pd.isna(low) or pd.isna(high):
        return "\u2013"
    return (
        f"{_points(low)} to {_points(high)}" if signed else f"{100 * low:.2f} to {100 * high:.2f}"
    )


def _points(difference: Any) -> str:
    """A difference of two fractions in percentage points, with its sign."""
    return "\u2013" if pd.isna(difference) else f"{100 * difference:+.2f}".replace("-", "\u2212")


def _truth(wrong: Any) -> Cell:
    return (
        Cell("not known")
        if pd.isna(wrong)
        else Cell("known error", "wrong")
        if wrong
        else Cell("label right")
    )


def _count(number: int, noun: str) -> str:
    plural = (
        noun[:-1] + "ies" if noun.endswith("y") else noun + ("es" if noun.endswith("s") else "s")
    )
    return f"{number:,} {noun if number == 1 else plural}"


def _examples_of(data: ReportData, *splits: str) -> Provenance:
    """The provenance of a figure about these splits only."""
    return dataclasses.replace(
        data.provenance, n_examples=sum(len(data.scores[split]) for split in splits)
    )


def _pictures_of(data: ReportData, split: str, example_ids: Sequence[int]) -> Pictures:
    """Pictures by example id; none where the source has none or cannot be read."""
    unique = np.array(sorted(set(example_ids)), dtype=np.int64)
    if data.pictures is None or not len(unique):
        return {}
    try:
        images = data.pictures(split, unique)  # [n, H, W, K]
    except (ZooError, OSError):
        # The numbers of a report do not depend on pictures, and the suspects say that they are
        # missing.
        return {}
    return dict(zip(unique.tolist(), images, strict=True))


# ----------------------------------------------------------------------------------------- sections


def _findings(data: ReportData, _desk: Desk) -> Sequence[Part] | Absent:
    facts = data.audit
    if facts is None:
        return Absent("No audit was made of these data.")
    tiles = [
        (f"{facts['examples']:,}", f"pictures of {_count(facts['classes'], 'class')}"),
        *_wrong_tiles(facts),
    ]
    if facts["damaged"] is not None:
        tiles += [
            (f"{len(facts['damaged']):,}", "files that cannot be read"),
            (
                f"{facts['duplicates']:,}",
                f"times the same picture, {len(facts['conflicting']):,} with different labels",
            ),
        ]
    if facts.get("near_duplicates") is not None:
        tiles.append(
            (
                f"{facts['near_duplicates']:,}",
                f"times almost the same, {len(facts['near_conflicting']):,} with different labels",
            )
        )
    told = [*count_in_words(facts), *population_in_words(facts)]
    return [TilesPart(tuple(tiles)), *(TextPart(f"{line[:1].upper()}{line[1:]}.") for line in told)]


def _wrong_tiles(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = facts["wrong_labels"]
    if wrong is None:
        return []
    low, high = wrong["wrong_low"], wrong["wrong_high"]
    tiles = [(f"{wrong['wrong']:.0f}", f"labels wrong by estimate (95 %: {low:.0f} to {high:.0f})")]
    cuts = facts.get("cuts") or ()
    if cuts:
        told = f"of the first {cuts[-1]['first']:,} suspects to be wrong, by estimate"
        tiles.append((_percent(cuts[-1]["expected_precision"], 0), told))
    return tiles


def _files(data: ReportData, _desk: Desk) -> Sequence[Part] | Absent:
    facts = data.audit
    files = None if facts is None else facts.get("files")
    if facts is None or files is None:
        return Absent("No picture was read.")
    parts: list[Part] = [TextPart(f"{note.removesuffix('.')}.") for note in files["notes"]]
    if files["damaged"]:
        damaged = files["damaged"][:MAX_TABLE_ROWS]
        part = "" if len(damaged) == len(files["damaged"]) else f", the first {len(damaged):,}"
        parts.append(
            TablePart(
                f"Files that cannot be read{part}; they have no part in the rest.",
                (Column("file"), Column("why")),
                tuple((Cell(one["key"]), Cell(one["reason"])) for one in damaged),
            )
        )
    for kind, count, caption in (
        ("equal", facts["duplicates"], "The same picture more than once"),
        ("nearly", facts.get("near_duplicates"), "Almost the same picture"),
    ):
        groups = files[kind]
        if not groups:
            continue
        part = "" if len(groups) == count else f", the first {len(groups):,} of {count:,} groups"
        rows = tuple(
            (
                Cell(" = ".join(group["keys"])),
                Cell(", ".join(dict.fromkeys(group["label_names"]))),
                Cell("labels differ", "bad") if group["conflicting"] else Cell("one label"),
            )
            for group in groups
        )
        columns = (Column("files"), Column("labels"), Column("what it means"))
        parts.append(TablePart(f"{caption}{part}.", columns, rows))
    return parts or Absent("Every file can be read, and no picture is there twice.")


def _summary(data: ReportData, _desk: Desk) -> Sequence[Part] | Absent:
    population, split = data.population, data.main_split
    trainings = int(population["training_id"].nunique()) if len(population) else 0
    sentences, tiles = [], []
    if len(population) or data.scores:
        archs = int(population["arch"].nunique()) if len(population) else 0
        made = _count(len(population), "classifier")
        if trainings or not len(population):
            made += f" from {_count(trainings, 'training')} of {_count(archs, 'architecture')}"
        seen = " and ".join(f"{len(table):,} {name}" for name, table in data.scores.items())
        answered = f"answered for {seen} examples of" if data.scores else "on"
        sentences.append(
            f"{made} {answered} {data.provenance.dataset} with"
            f" {_count(len(data.class_names), 'class')}."
        )
        tiles += [
            (f"{len(population):,}", "classifiers (N)"),
            *([(f"{trainings:,}", "trainings")] if trainings else []),
        ]
    else:
        sentences.append(
            f"Data set {data.provenance.dataset} with {_count(len(data.class_names), 'class')}."
        )
    if len(population) and population["test_acc1"].notna().any():
        accuracy = population["test_acc1"]
        tiles.append(
            (
                _percent(accuracy.mean()),
                (
                    f"mean test accuracy ({_percent(accuracy.min(), 0)} to"
                    f" {_percent(accuracy.max(), 0)})"
                ),
            )
        )
    # A table of classifiers from elsewhere may lack the column.
    if "test_real" in population and population["test_real"].notna().any():
        tiles.append((_percent(population["test_real"].mean()), "mean ReaL accuracy, test"))
    for name, table in data.scores.items():
        if len(table):
            tiles.append((_number(table["x_perplexity"].mean(), 3), f"mean X, {name}"))
            tiles.append((_number(table["c_perplexity"].mean(), 2), f"mean C, {name}"))
    if split is not None:
        wrong = suspects.planted_errors(data.scores[split])
        if wrong is None:
            sentences.append(
                "No label of these examples is known to be wrong, so detection cannot be measured."
            )
        else:
            tiles.append(
                (f"{int(wrong.sum()):,}", f"known label errors, {split} ({_percent(wrong.mean())})")
            )
    if (
        data.detection is not None
        and (data.detection["average_precision"].notna() & (data.detection["n_errors"] > 0)).any()
    ):
        best = tidy.tabulate_detection(data.detection).iloc[0]
        tiles.append(
            (
                _number(best["average_precision"], 3),
                f"average precision of {best['score']}, the best at finding them",
            )
        )
    if data.verdicts is not None and "verdict" in data.verdicts:
        tiles += [
            (f"{n:,}", f"published claims: {verdict}")
            for verdict, n in _verdict_counts(data.verdicts).items()
        ]
    if data.timings:
        total = sum(seconds for seconds in data.timings.values() if np.isfinite(seconds))
        tiles.append((duration_text(total), "time, all stages"))
        stages = ", ".join(
            f"{stage} {duration_text(seconds)}" for stage, seconds in data.timings.items()
        )
        sentences.append(f"Time by stage: {stages}.")
    return [TextPart(" ".join(sentences)), *([TilesPart(tuple(tiles))] if tiles else [])]


def _perplexity(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    table = tidy.tabulate_perplexity_histograms(data.scores)
    if table.empty:
        return Absent("No split has scores yet.")
    return [desk.figure("perplexity_histograms", table, _examples_of(data, *data.scores))]


def _xc_plane(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    parts: list[Part] = []
    ordered = sorted(data.scores, key=lambda name: name != data.main_split)
    for split in ordered:
        scores, held = _over_held_out(data, split)
        table = tidy.tabulate_xc_plane(scores, data.class_names)
        if table.empty:
            continue
        shown = table.loc[table["kind"] == "corner", "example_id"].astype(int).tolist()
        stem = "xc_plane" if split == data.main_split else f"xc_plane-{draw.file_stem(split)}"
        over = "; X and C of each picture over the classifiers that were not trained on it"
        parts.append(TextPart(f"Split {split}{over if held else ''}:"))
        parts.append(
            desk.figure(
                "xc_plane",
                table,
                _examples_of(data, split),
                pictures=_pictures_of(data, split, shown),
                stem=stem,
            )
        )
    return parts or Absent("No split has scores yet.")


def _over_held_out(data: ReportData, split: str) -> tuple[pd.DataFrame, bool]:
    """Of an audit scores whose X and C are those over the held-out classifiers, which rank the
    suspects, and True; as they are, and False, elsewhere or where no example was held out.

    Which class most held-out classifiers name is not stored. Where most of them miss the label it
    is taken to be the class that is suggested, not the label, which those trained on it know by
    heart.
    """
    scores = data.scores[split]
    held = scores.get("n_heldout")
    if data.audit is None or held is None or not (held.fillna(0) > 0).any():
        return scores, False
    suggested = suspects.suggested_labels(scores)
    missed = (suspects.score_values(scores, "x_heldout") > 0.5) & ~np.isnan(suggested)
    top = np.where(missed, suggested, suspects.score_values(scores, "top_confusion"))
    return (
        scores.assign(
            x_perplexity=scores["x_heldout"],
            c_perplexity=scores["c_heldout"],
            n=held,
            top_confusion=top,
        ),
        True,
    )


def _deciding(data: ReportData) -> list[Part]:
    """Of an audit, what to do with suspects."""
    if data.audit is None:
        return []
    pictures = "csv -o corrected.csv" if data.pictures is None else "imagefolder -o ./corrected"
    return [
        TextPart(
            "What to do with them: the first command below writes a table of all suspects in this"
            " order. In its column decision fill in keep, relabel (with the class in the column"
            " label), drop or unsure, for those you looked at; the others may stay empty. Then"
            " bring it back in and write what is corrected; no file of yours is changed. In the"
            " folder of the audit, or with its place after -w:"
        ),
        CommandPart(
            "zoo export scores --to decisions -o decisions.csv\n"
            "zoo relabel --from decisions.csv -o corrected\n"
            f"zoo export selection corrected --to {pictures}"
        ),
    ]


def _suspects(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    split = data.main_split
    if split is None:
        return Absent("No split has scores yet.")
    table = tidy.tabulate_contact_sheet(data.scores[split], data.class_names, MAX_SUSPECTS)
    if table.empty:
        return Absent(
            f"Every classifier gives every example of {split} its label: there is no suspect."
        )
    known = (
        table["known_error"].notna()
        if "known_error" in table
        else pd.Series(False, index=table.index)
    )
    told = f"The {len(table)} most suspicious examples of {split} follow."
    if known.any():
        told += (
            f" Of the {int(known.sum())} shown,"
            f" {int(table.loc[known, 'known_error'].astype(bool).sum())} are known label errors."
        )
    told += _expected(data.scores[split], len(table))
    if apart := suspects.ranked_apart(data.scores[split]):
        told += f" {apart}"
    gallery = None if known.any() else _gallery(data, split, table)
    drawn = gallery is None
    pictures = _pictures_of(data, split, table["example_id"].tolist()) if drawn else {}
    rows = tuple(
        (
            Cell(_text(int(row["rank"]))),
            Cell(str(row["key"])),
            Cell(str(row["label_name"])),
            Cell(str(row["top_name"])),
            Cell(_number(row["x"], 3)),
            Cell(_votes(row["x"], row["n"], row["heldout"])),
            Cell(_number(row["c"], 2)),
            Cell(_number(row["label_quality"], 4)),
            *([_truth(row["known_error"])] if known.any() else []),
        )
        for _, row in table.iterrows()
    )
    heads = (
        "rank",
        "example",
        "label",
        "suggested",
        "X",
        "against the label",
        "C",
        "label quality",
        *(["known truth"] if known.any() else []),
    )
    columns = tuple(Column(head, head in ("rank", "X", "C", "label quality")) for head in heads)
    if gallery is not None:
        told += (
            " Under each picture: its file, label \u2192 suggested, and who is against the label."
        )
        listed = f"The same {len(table)} suspects as a table"
        href = desk.table("contact_sheet", table)
        return [
            TextPart(told),
            gallery,
            TablePart("The suspects.", columns, rows, href, listed),
            *_deciding(data),
        ]
    if not pictures:
        told += f" No picture is shown: {data.no_pictures}."
        return [
            TextPart(told),
            TablePart("The suspects.", columns, rows, desk.table("contact_sheet", table)),
            *_deciding(data),
        ]
    sheet = desk.figure("contact_sheet", table, _examples_of(data, split), pictures=pictures)
    return [
        TextPart(told),
        sheet,
        TablePart(
            "The suspects of the contact sheet.",
            columns,
            rows,
            sheet.csv,
            f"The same {len(table)} suspects as a table",
        ),
    ]


def _expected(scores: pd.DataFrame, shown: int) -> str:
    """How many labels are wrong by the estimate, and which share of the first suspects to expect to
    be; empty where that was not estimated."""
    if "p_wrong" not in scores or scores["p_wrong"].isna().all():
        return ""
    ranked = suspects.suspects(scores, shown)["expected_precision"].dropna()
    share = (
        f"; of the first {len(ranked)} about {_percent(ranked.iloc[-1], 0)}" if len(ranked) else ""
    )
    return (
        f" By estimate {scores['p_wrong'].sum():,.0f} labels of the split are wrong{share}, if"
        " wrong labels fall on all classes alike."
    )


def _votes(x: Any, n: Any, heldout: Any) -> str:
    """How many of the classifiers an example is ranked by do not give its label: ``14 of 15 held
    out``, ``14 of 75 trained on it``, ``14 of 75`` where that is not known."""
    if pd.isna(n) or pd.isna(x):
        return "\u2013"
    votes = f"{round(float(x) * int(n)):,} of {int(n):,}"
    return (
        votes if pd.isna(heldout) else f"{votes} held out" if heldout else f"{votes} trained on it"
    )


def _gallery(data: ReportData, split: str, table: pd.DataFrame) -> GalleryPart | None:
    """The suspects as pictures in their own proportions; None where there are none."""
    if data.previews is None:
        return None
    try:
        found = data.previews(split, table["example_id"].to_numpy(np.int64))
    except (ZooError, OSError):
        return None
    if not found:
        return None
    shots = []
    for _, row in table.iterrows():
        seen = found.get(int(row["example_id"]))
        votes = _votes(row["x"], row["n"], row["heldout"])
        lines = (f"{row['label_name']} \u2192 {row['top_name'] or '?'}", votes)
        key = str(row["key"])
        if seen is None:
            shots.append(Shot("", 0, 0, False, key, lines))
            continue
        src = f"data:{seen.kind};base64,{base64.b64encode(seen.data).decode()}"
        small = max(seen.width, seen.height) <= SMALL
        shots.append(Shot(src, seen.width, seen.height, small, key, lines))
    return GalleryPart(tuple(shots))


def _per_class(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    split = data.main_split
    if split is None:
        return Absent("No split has scores yet.")
    scores, held = _over_held_out(data, split)
    table = tidy.tabulate_per_class(scores, data.class_names)
    drawn = desk.figure("per_class", table, _examples_of(data, split))
    shown = table.head(MAX_CLASSES)
    known = "n_known_errors" in table
    rows = tuple(
        (
            Cell(str(row["class_name"])),
            Cell(_text(int(row["n"]))),
            Cell(_number(row["mean_x"], 3)),
            Cell(_number(row["mean_c"], 2)),
            Cell(
                f"{row['confused_with']} ({int(row['confused_n']):,})"
                if row["confused_with"]
                else "\u2013"
            ),
            *(
                [Cell(f"{int(row['n_known_errors']):,} ({_percent(row['known_error_share'])})")]
                if known
                else []
            ),
        )
        for _, row in shown.iterrows()
    )
    heads = (
        "class",
        "examples",
        "mean X",
        "mean C",
        "most often voted instead (examples)",
        *(["known errors"] if known else []),
    )
    columns = tuple(
        Column(head, head in ("examples", "mean X", "mean C", "known errors")) for head in heads
    )
    told = (
        f"All {len(table)} classes"
        if len(table) == len(shown)
        else f"The {len(shown)} worst of {len(table):,} classes; all are in the CSV"
    )
    over = " over the classifiers that were not trained on a picture" if held else ""
    return [drawn, TablePart(f"{told}, split {split}, by mean X{over}.", columns, rows, drawn.csv)]


def _arms(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    comparisons = data.comparisons
    if comparisons is None or comparisons.empty:
        return Absent("Nothing was retrained in this experiment.")
    parts: list[Part] = []
    drawn = tidy.tabulate_arm_accuracy(comparisons, data.arms)
    if len(drawn):
        seeds = data.provenance.seeds
        if data.arms is not None and len(data.arms):
            seeds = tuple(int(seed) for seed in data.arms["seed"].dropna().unique())
        parts.append(
            desk.figure("arm_accuracy", drawn, dataclasses.replace(data.provenance, seeds=seeds))
        )
    bases = tidy.baselines(comparisons)
    baseline = " and ".join(dict.fromkeys(bases.values()))
    named = (
        None if data.arms is None or data.arms.empty else tidy.told_apart(data.arms, comparisons)
    )
    sizes = (
        {}
        if named is None
        else named.groupby("arm")[["n_train", "n_unique"]].mean().to_dict("index")
    )
    metrics = [str(metric) for metric in comparisons["metric"].unique()]
    metric_of = {metric: f" ({metric})" if len(metrics) > 1 else "" for metric in metrics}
    rows = []
    for _, row in tidy.told_apart(comparisons, comparisons).iterrows():
        kind, size = figures.arm_kind(row["note"]), sizes.get(row["arm"], {})
        is_baseline = bases[str(row["arm"])] == str(row["arm"])
        rows.append(
            (
                Cell(str(row["arm"])),
                Cell(
                    kind or ("baseline" if is_baseline else ""),
                    "role" if kind or is_baseline else "",
                ),
                # Rules are one long word, which could not be wrapped.
                Cell(f"{str(row['on']).replace(',', ', ')}{metric_of[str(row['metric'])]}"),
                Cell("\u2013" if is_baseline else _points(row["delta"])),
                Cell(
                    "\u2013"
                    if is_baseline
                    else _range(row["delta_low"], row["delta_high"], signed=True)
                ),
                Cell(_number(100 * row["mean"], 2)),
                Cell(_range(max(row["low"], 0.0), min(row["high"], 1.0))),
                Cell(_text(int(row["n_seeds"]))),
                Cell(f"{size['n_unique']:,.0f} / {size['n_train']:,.0f}" if size else "\u2013"),
            )
        )
    heads = (
        ("arm", False),
        ("role", False),
        ("measured on", False),
        ("difference, points", True),
        ("its 95 % interval, paired", True),
        ("accuracy, %", True),
        ("its 95 % interval", True),
        ("seeds", True),
        ("unique / all examples", True),
    )
    href = desk.table("comparisons", comparisons)
    parts.append(
        TablePart(
            f"All arms on all evaluation sets ({', '.join(metrics)}); differences are to"
            f" {baseline}, seed by seed.",
            tuple(Column(*head) for head in heads),
            tuple(rows),
            href,
        )
    )
    noted = comparisons.drop_duplicates("arm")
    told = [
        (str(arm), "" if pd.isna(note) else str(note).strip())
        for arm, note in zip(noted["arm"], noted["note"], strict=True)
    ]
    notes = [f"{arm}: {note.removeprefix(f'{arm}: ')}" for arm, note in told if note]
    if notes:
        parts.append(TextPart("Notes. " + "; ".join(notes) + "."))
    if (comparisons["n_seeds"] <= 1).any():
        parts.append(
            TextPart(
                "An arm with one seed has no interval; its difference to the baseline may be luck."
            )
        )
    return parts


def _convergence(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    if data.convergence is None or data.convergence.empty:
        return Absent("Sub-populations were not compared with the full one in this run.")
    return [
        desk.figure("convergence", tidy.tabulate_convergence(data.convergence), data.provenance)
    ]


def _detection(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    if data.detection is None or data.detection.empty:
        return Absent(
            "No true labels are known, or none is wrong, so there is nothing to measure detection"
            " against."
        )
    split = data.main_split
    n_examples = None if split is None else len(data.scores[split])
    table = tidy.tabulate_detection(data.detection, n_examples)
    drawn = desk.figure(
        "detection", table, data.provenance if split is None else _examples_of(data, split)
    )
    names = ("auroc", "average_precision", "precision_at_n", "recall_at_n", "fnr_at_n")
    rows = tuple(
        (
            Cell(str(row["score"])),
            *(Cell(_number(row[name], 4)) for name in names),
            Cell(_text(int(row["n_errors"]))),
        )
        for _, row in table.iterrows()
    )
    heads = (
        "score",
        "AUROC",
        "average precision",
        "precision among the first n",
        "recall among the first n",
        "false negative rate at n",
        "n, known errors",
    )
    return [
        drawn,
        TablePart(
            "Detection of the known errors.",
            tuple(Column(head, head != "score") for head in heads),
            rows,
            drawn.csv,
        ),
        *(TextPart(note) for note in data.detection_notes),
    ]


def _population(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    population = data.population
    if population.empty:
        return Absent("No classifier is recorded.")
    table = tidy.tabulate_population(population)
    tested = table["test_acc1"].notna().any()
    shown: list[Part] = []
    if tested:
        drawn = desk.figure("population", table, data.provenance)
        shown, by_group = [drawn], drawn.csv
    else:
        by_group = desk.table("population", table)
    grouped = tuple(
        (
            Cell(str(row["arch"])),
            Cell(_percent(row["fraction"], 0)),
            Cell(_text(int(row["epoch"]))),
            Cell(_text(int(row["n"]))),
            *(Cell(_percent(row[name])) for name in ("train_acc1", "test_acc1", "test_acc5")),
        )
        for _, row in table.head(MAX_TABLE_ROWS).iterrows()
    )
    accuracies = ("train accuracy", "test accuracy", "test, top 5")
    columns = (
        Column("architecture"),
        Column("training set", True),
        Column("epoch", True),
        Column("classifiers", True),
        *(Column(name, True) for name in accuracies),
    )
    listed = population.head(MAX_TABLE_ROWS)
    single = tuple(
        (
            Cell(str(row["classifier_id"])),
            Cell(str(row["arch"])),
            Cell(_percent(row["fraction"], 0)),
            *(
                Cell(_text(None if pd.isna(row[name]) else int(row[name])))
                for name in ("replica", "seed", "epoch")
            ),
            *(Cell(_percent(row[name])) for name in ("train_acc1", "test_acc1", "test_acc5")),
        )
        for _, row in listed.iterrows()
    )
    single_columns = (
        Column("classifier"),
        Column("architecture"),
        *(Column(name, True) for name in ("training set", "replica", "seed", "epoch", *accuracies)),
    )
    href = desk.table("classifiers", population)
    every = f"All {_count(len(population), 'classifier')}"
    if len(listed) < len(population):
        every = f"The first {len(listed):,} of {len(population):,} classifiers; all are in the CSV"
    return [
        *shown,
        TablePart(
            "Means by architecture, training fraction and epoch."
            + ("" if tested else " There is no test split, so no test accuracy."),
            columns,
            grouped,
            by_group,
            f"The same by group ({len(table):,} rows)",
        ),
        TablePart("One row per classifier.", single_columns, single, href, every),
    ]


VERDICT_MARKS = {
    "holds": ("\u2713", "good"),
    "fails": ("\u2717", "bad"),
    "undecided": ("?", "open"),
    "not tested": ("\u25cb", "untested"),
    "not applicable": ("\u2013", "untested"),
}
"""Verdict -> (sign, style class), in the order of counting."""
VERDICTS_SHOWN = ("claim", "verdict", "published", "measured", "statement", "scale")
VERDICT_NOTES = ("rule", "note")


def _verdict_notes(row: pd.Series) -> tuple[tuple[str, str], ...]:
    """What stands in small letters under a verdict."""
    notes = [(name.capitalize(), str(row[name])) for name in VERDICT_NOTES if _told(row[name])]
    evidence = evidence_text(row.get("p"), row.get("p_holm"))
    return (*notes, *((("Evidence", evidence),) if evidence else ()))


def _told(value: Any) -> bool:
    return not pd.isna(value) and bool(str(value).strip())


def _verdict_counts(verdicts: pd.DataFrame) -> dict[str, int]:
    """How often each verdict was given, those of ``VERDICT_MARKS`` first."""
    given = [
        "\u2013" if missing else str(verdict)
        for verdict, missing in zip(verdicts["verdict"], verdicts["verdict"].isna(), strict=True)
    ]
    ordered = [
        *(known for known in VERDICT_MARKS if known in given),
        *sorted(set(given) - set(VERDICT_MARKS)),
    ]
    return {verdict: given.count(verdict) for verdict in ordered}


def _verdicts(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    verdicts = data.verdicts
    if verdicts is None or verdicts.empty:
        return Absent(
            data.findings_note or "This experiment compares nothing with published claims."
        )
    whole = {*VERDICTS_SHOWN, *VERDICT_NOTES} <= {*verdicts.columns}
    names = list(VERDICTS_SHOWN) if whole else [str(name) for name in verdicts.columns]
    rows = []
    for _, row in verdicts.iterrows():
        cells = []
        for name in names:
            sign, mark = (
                VERDICT_MARKS.get(str(row[name]).lower(), ("", ""))
                if name == "verdict"
                else ("", "")
            )
            cells.append(Cell(f"{sign} {_text(row[name])}".strip(), mark))
        rows.append(tuple(cells))
    columns = tuple(
        Column(name, pd.api.types.is_numeric_dtype(verdicts[name].dtype)) for name in names
    )
    notes = tuple(_verdict_notes(row) for _, row in verdicts.iterrows()) if whole else ()
    counted = ""
    if "verdict" in names:
        counts = ", ".join(f"{verdict} {n:,}" for verdict, n in _verdict_counts(verdicts).items())
        counted = f" {_count(len(verdicts), 'claim')}: {counts}."
    scale = (
        f" Measured at scale {data.scale}, which is not the paper's."
        if data.provenance.is_reduced
        else ""
    )
    given = (
        " Intervals are over seeds: every verdict is conditional on this test set and on the images"
        " that the study starts from."
    )
    told = f"Published claims and what was measured here.{counted}{scale}{given if whole else ''}"
    return [TablePart(told, columns, tuple(rows), desk.table("verdicts", verdicts), notes=notes)]


def _charts(data: ReportData, desk: Desk) -> Sequence[Part] | Absent:
    if not data.charts:
        return Absent(data.findings_note or "This experiment draws no figures of its own.")
    names = [chart.name for chart in data.charts]
    reserved = (*figures.FIGURES, "classifiers", "comparisons", "verdicts")
    taken = next(
        (name for at, name in enumerate(names) if name in reserved or name in names[:at]), None
    )
    if taken is not None:
        raise UsageError(
            f"the report cannot have a chart named {taken!r}: another figure or table of the page"
            " has that name and would be overwritten. Names of charts must differ, and be none of"
            f" {', '.join(reserved)}."
        )
    return [
        _as_table(chart, desk) if chart.kind == "table" else desk.chart(chart, data.provenance)
        for chart in data.charts
    ]


def _as_table(chart: Chart, desk: Desk) -> TablePart:
    columns = tuple(Column(str(name)) for name in chart.table.columns)
    rows = tuple(
        tuple(Cell(_text(value)) for value in row) for row in chart.table.itertuples(index=False)
    )
    told = f"{chart.title}. {chart.caption}"
    return TablePart(told, columns, rows, desk.table(chart.name, chart.table))


def _rerun(data: ReportData, _desk: Desk) -> Sequence[Part] | Absent:
    where = data.provenance
    commit = f"commit {where.commit}" if where.commit else "an unrecorded commit"
    parts: list[Part] = [
        TextPart(
            f"Made by zoo {where.version} at {commit}, {draw.seeds_text(where.seeds)}. In its"
            " folder, or with its place after -w,"
            f" {'the same command finds' if len(data.rerun) < 2 else 'these commands find'} what is"
            " already trained and what is missing:"
        ),
        CommandPart("\n".join(data.rerun or (f"zoo run {data.experiment} --scale {data.scale}",))),
        *([TextPart(data.rerun_note)] if data.rerun_note else []),
    ]
    if data.next_command:
        parts += [TextPart("Next:"), CommandPart(data.next_command)]
    return parts


SECTIONS: Registry[Section] = Registry(
    "report section",
    {
        "findings": Section("What was found", _findings),
        "summary": Section("Summary", _summary),
        "verdicts": Section("Verdicts", _verdicts),
        "charts": Section("Figures of the study", _charts),
        "perplexity": Section(
            "Perplexity distributions",
            _perplexity,
            "X-perplexity is the share of classifiers that do not predict an example's label, from"
            " 0 (all do) to 1 (none does). C-perplexity is 2 to the mean entropy of their outputs"
            " in bits: the number of classes the population hesitates between. It does not look at"
            " the label.",
        ),
        "xc_plane": Section(
            "The X-C plane",
            _xc_plane,
            "A wrong label is where the classifiers agree (low C) on something else (high X): upper"
            " left. High C says hard or ambiguous, not wrong.",
        ),
        "suspects": Section(
            "Suspects",
            _suspects,
            "Ranked by label quality over the classifiers that did not train on the example, where"
            " there are some: their X, shrunk by the mean probability of the label. The class"
            " suggested is that with most votes beside the label.",
        ),
        "files": Section("Files", _files),
        "per_class": Section("Classes", _per_class),
        "arms": Section(
            "Retraining",
            _arms,
            "The same network and recipe trained on treated training sets. A control is treated"
            " alike but blindly; an oracle uses true labels that nobody has in earnest, and marks"
            " what could be reached.",
        ),
        "detection": Section(
            "Finding the known errors",
            _detection,
            "Where labels are known to be wrong, each score ranks the examples and is judged by how"
            " early the wrong ones come.",
        ),
        "convergence": Section("How many classifiers are enough", _convergence),
        "population": Section("The population", _population),
        "rerun": Section("How to rerun", _rerun),
    },
)

_AUDITED = ("findings", "suspects", "files", "per_class", "xc_plane", "perplexity", "population")


def sections_for(data: ReportData) -> tuple[str, ...]:
    """Sections of a page for which none were asked: of an audit, the findings and suspects first,
    and nothing of studies but what was done; of all else, all that are not of an audit."""
    if data.audit is None:
        return tuple(name for name in SECTIONS if name not in ("findings", "files"))
    done = {
        "arms": data.comparisons is not None and len(data.comparisons) > 0,
        "detection": data.detection is not None and len(data.detection) > 0,
    }
    return (*_AUDITED, *(name for name, there in done.items() if there), "rerun")
