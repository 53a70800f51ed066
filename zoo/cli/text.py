"""Tables and summaries as text."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from zoo.data import DatasetCheck, DatasetRow, class_titles
from zoo.errors import UsageError
from zoo.progress import counted, duration
from zoo.registry import distinct

if TYPE_CHECKING:
    from pandas import DataFrame as Table

    from zoo.pipeline import Run
    from zoo.store.workspace import Workspace

__all__ = [
    "check_place",
    "check_text",
    "cluster_text",
    "comparison_table",
    "dataset_rows",
    "detection_text",
    "interval_text",
    "status_text",
    "summary",
    "summary_text",
    "suspect_table",
    "text_table",
    "write_result",
]


_MOST_ROWS = 200


def text_table(frame: pd.DataFrame, *, limit: int = _MOST_ROWS) -> str:
    """Aligned text of a table: numbers to the right, at most ``limit`` rows."""
    rows = [[_cell(value) for value in row] for row in frame.head(limit).itertuples(index=False)]
    heads = [str(name) for name in frame.columns]
    numeric = [pd.api.types.is_numeric_dtype(frame[name].dtype) for name in frame.columns]
    widths = [
        max(len(head), *(len(row[i]) for row in rows)) if rows else len(head)
        for i, head in enumerate(heads)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(cells, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    lines = [line(heads), line(["-" * w for w in widths]), *map(line, rows)]
    if len(frame) > limit:
        lines.append(f"... and {len(frame) - limit:,} more rows; use --format csv for all")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple | dict):
        return _printable(json.dumps(_plain(value), ensure_ascii=False))
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return (
            f"{value:.4g}"
            if abs(value) < 1e-3 or abs(value) >= 1e5
            else f"{value:.4f}".rstrip("0").rstrip(".")
        )
    return _printable(str(value)).replace("\n", "\ufffd")


def _plain(value: Any) -> Any:
    """A list or struct of a query as JSON knows it: no arrays, no NaN."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def interval_text(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """``0.851 [0.838, 0.863]``; without bounds where there is one seed."""
    shown = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    return (
        shown
        if low != low
        else f"{shown} [{low:+.3f}, {high:+.3f}]"
        if signed
        else f"{shown} [{low:.3f}, {high:.3f}]"
    )


def detection_text(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of a detection table that a person reads, 95 % intervals beside what they are
    of."""

    def cell(row: Mapping[Any, Any], name: str) -> str:
        ends = f" [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
        return f"{row[name]:.4f}{ends}" if row[f"{name}_low"] == row[f"{name}_low"] else "-"

    rows = table.to_dict(orient="records")
    return table[["score"]].assign(
        **{f"{name} [95 %]": [cell(row, name) for row in rows] for name in _WITH_INTERVAL},
        **{name: table[name] for name in ("precision_at_n", "recall_at_n", "fnr_at_n", "n_errors")},
    )


_WITH_INTERVAL = ("auroc", "average_precision")


def suspect_table(suspects: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """The columns of a list of suspects that a person reads: which example, label -> suggested
    label, what ranks it, planted or not.

    ``X`` is over the classifiers that rank the example, ``of`` says how many and whether they were
        held out.
    """
    names = dict(enumerate(class_titles(class_names) or distinct(class_names)))
    heldout = [
        {True: " held out", False: " trained on it"}.get(value, "")
        for value in suspects["heldout"].astype(object)
    ]
    columns = {
        "example": suspects["key"],
        "label": [names.get(label, "") for label in suspects["label"]],
        "suggested": [
            "" if pd.isna(label) else names.get(int(label), "") for label in suspects["suggested"]
        ],
        "X": suspects["ranked_x"].round(3),
        "of": [
            f"{'' if pd.isna(n) else n}{told}"
            for n, told in zip(suspects["ranked_n"], heldout, strict=True)
        ],
        "C": suspects["c_perplexity"].round(3),
        "quality": [f"{quality:.2g}" for quality in suspects["label_quality"]],
    }
    if "planted" in suspects:
        columns["planted"] = [
            "" if value is pd.NA else "planted" if value else "no" for value in suspects["planted"]
        ]
    return pd.DataFrame(columns)


def comparison_table(comparisons: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Arms with mean accuracy and 95 % interval, and the difference to the first arm of their
    group; how it was taken, where it is not paired over all seeds."""
    chosen = comparisons if metric is None else comparisons[comparisons["metric"] == metric]
    several = {name: chosen[name] for name in ("arm_group", "arch") if len(set(chosen[name])) > 1}
    plain = [
        method in ("baseline", f"paired over {n} seeds")
        for method, n in zip(chosen["method"], chosen["n_seeds"], strict=True)
    ]
    notes = zip(chosen["note"], chosen["method"], plain, strict=True)
    return pd.DataFrame(
        {
            **several,
            "arm": chosen["arm"],
            "on": chosen["on"],
            "metric": chosen["metric"],
            "seeds": chosen["n_seeds"],
            "mean [95 %]": [
                interval_text(*row)
                for row in zip(chosen["mean"], chosen["low"], chosen["high"], strict=True)
            ],
            "difference [95 %]": [
                "" if d != d else interval_text(d, low, high, signed=True)
                for d, low, high in zip(
                    chosen["delta"], chosen["delta_low"], chosen["delta_high"], strict=True
                )
            ],
            "note": [
                "; ".join(filter(None, (note, "" if usual else method)))
                for note, method, usual in notes
            ],
        }
    )


def summary_text(summary: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """What each rule did and what a manifest holds, a line each."""
    lines = []
    for step in summary["steps"]:
        counts = step["per_class"]
        found = [
            f"{name} {_cell(value)}"
            for name, value in step.items()
            if name not in ("rule", "of", "kept", "changed", "per_class") and value is not None
        ]
        said = [
            f"kept {step['kept']:,} of {step['of']:,}",
            (
                f"{min(counts):,} to {max(counts):,} of a class"
                if min(counts) < max(counts)
                else f"{min(counts):,} of each class"
            ),
            *found,
            *([] if step["changed"] else ["changed nothing"]),
        ]
        lines.append(f"  {step['rule']}: {', '.join(said)}")
    for name, value in summary.items():
        if name == "empty_classes":
            value = ", ".join(class_names[k] for k in value) or "none"
        if name != "steps":
            lines.append(f"  {name}: {value}")
    return "\n".join(lines)


def dataset_rows(rows: Sequence[DatasetRow]) -> list[dict[str, Any]]:
    """Listing of data sets as plain rows."""
    return [
        {
            "name": row.name,
            "form": row.form,
            "splits": ", ".join(
                split if row.counts.get(split) is None else f"{split} {row.counts[split]:,}"
                for split in row.splits
            ),
            "path": row.path,
            "problem": row.problem or "",
        }
        for row in rows
    ]


def _groups(
    heading: str, word: str, groups: Sequence[tuple[bool, Sequence[int], Sequence[str]]]
) -> list[str]:
    """Groups of pictures (whether labels differ, labels, keys): how many, and ten of each kind."""
    if not groups:
        return []
    differ = sum(conflicting for conflicting, _, _ in groups)
    lines = [f"{heading}: {len(groups):,} groups, {differ:,} of them with different labels"]
    for kind, said in ((True, "labels"), (False, "label")):
        some = [(labels, keys) for conflicting, labels, keys in groups if conflicting is kind]
        for labels, keys in some[:10]:
            shown = ", ".join(map(str, labels if kind else labels[:1]))
            lines.append(f"  {word}, {said} {shown}: {_some(keys)}")
        lines += _more(len(some))
    return lines


def check_text(check: DatasetCheck) -> str:
    """Result of ``zoo data check`` for people: counts, and what reading the images has shown. What
    opening has shown is on stderr already."""
    size = "x".join(map(str, check.native_size)) if check.native_size else "sizes vary"
    lines = [
        (
            f"{check.name} ({check.form}): {check.classes} classes, {check.channels} channel(s),"
            f" {size}, fingerprint {check.fingerprint}"
        )
    ]
    for split in check.splits:
        lines.append(
            f"{split.name}: {split.examples:,} examples; per class"
            f" {', '.join(f'{name} {n:,}' for name, n in split.counts.items())}"
        )
        if split.empty_classes:
            lines.append(f"  classes without an example: {', '.join(split.empty_classes)}")
        if split.known_label_errors is not None:
            lines.append(f"  labels that differ from label_true: {split.known_label_errors:,}")
        lines += [f"  unreadable: {u.key} ({u.reason})" for u in split.unreadable[:10]] + _more(
            len(split.unreadable)
        )
        told = [(g.conflicting, g.labels, g.keys) for g in split.duplicates]
        lines += _groups("  same picture more than once", "same picture", told)
    for overlap in check.overlap[:10]:
        lines.append(
            f"in train and {overlap.split}: train {_some(overlap.train_ids)}, {overlap.split}"
            f" {_some(overlap.example_ids)}"
        )
    lines += _more(len(check.overlap))
    near = [
        (g.conflicting, g.labels, [f"{s} {k}" for s, k in zip(g.splits, g.keys, strict=True)])
        for g in check.near_duplicates
    ]
    lines += _groups("almost the same picture", "almost the same", near)
    errors, warnings = (
        sum(note.level == level for note in check.notes) for level in ("error", "warning")
    )
    found = ", ".join(
        f"{n} {word}{'' if n == 1 else 's'}"
        for n, word in ((errors, "error"), (warnings, "warning"))
        if n
    )
    verdict = (
        "ok"
        if check.ok
        else (
            f"not ok: {found}; zoo train {'takes' if check.trainable else 'refuses'} it. All with"
            " --json"
        )
    )
    return _printable("\n".join([*lines, verdict]))


def _some(values: Sequence[object]) -> str:
    """The first ten of a list, and how many more."""
    return ", ".join(map(str, values[:10])) + (
        f" and {len(values) - 10:,} more" if len(values) > 10 else ""
    )


def _printable(text: str) -> str:
    """Text without the control characters that a file name may hold; line ends are ours."""
    return "".join(ch if ch.isprintable() or ch == "\n" else "\ufffd" for ch in text)


def _more(count: int) -> list[str]:
    return [f"  ... and {count - 10:,} more; all of them with --json"] if count > 10 else []


Form = Literal["table", "csv", "json", "parquet"]


def check_place(form: Form, output: Path | None, *, replace: bool) -> None:
    """Refuse the place of a result before the work is done.

    Raises:
        UsageError: for Parquet without a file; for a file that is there, unless ``replace``; for a
            link to one, or a folder.
    """
    from zoo.exchange.places import check_free

    if output is None:
        if form == "parquet":
            raise UsageError("Parquet is not for a terminal. Give a file with --output FILE.")
    elif not _is_stream(output):
        if output.is_dir():
            raise UsageError(
                f"{output} is a folder; a file is to be written. Choose another place with -o FILE."
            )
        check_free(output, force=replace)


def _is_stream(path: Path) -> bool:
    """A pipe or device, such as /dev/stdout: nothing there can be written over."""
    return path.exists() and not path.is_file() and not path.is_dir()


def write_result(table: pa.Table, form: Form, output: Path | None, *, replace: bool) -> None:
    """Print the result of a query, or write it to a place that ``check_place`` has let pass."""
    import pyarrow.parquet as pq

    from zoo.exchange.places import write_file
    from zoo.store.results import csv_text

    frame = table.to_pandas()
    if form == "parquet":
        sink = io.BytesIO()
        pq.write_table(table, sink)
        made = sink.getvalue()
    elif form == "json":
        made = (frame.to_json(orient="records", indent=2, double_precision=15) + "\n").encode()
    else:
        made = (csv_text(frame) if form == "csv" else text_table(frame) + "\n").encode()
    if output is None:
        sys.stdout.write(made.decode())
    elif _is_stream(output):
        output.write_bytes(made)
    else:
        write_file(output, lambda file: file.write(made), force=replace)


def summary(workspace: Workspace, done: Run, timings: Mapping[str, float]) -> str:
    """What was trained, which planted label errors were found, the ten most suspicious examples,
    accuracy per arm, what to type next."""
    from zoo.scores.suspects import suspects

    parts = [_trained(workspace, done, timings)]
    for part, measured in zip(done.parts, done.measured, strict=True):
        of = f" of {part.name}" if part.name else ""
        if measured.detection is not None:
            parts.append(_found(measured.detection.table, of))
        if "train" in part.scores:
            table = suspect_table(suspects(part.scores["train"], 10), part.dataset.class_names)
            parts.append(f"The ten most suspicious training examples{of}\n" + text_table(table))
    if done.comparison is not None:
        table = done.comparison.comparisons
        full = table[(table["on"] == "full") & (table["metric"] == "acc1")]
        several = len(done.comparison.arms["arm_group"].unique()) > 1
        for (group, arch), mine in full.groupby(["arm_group", "arch"], sort=False):
            shown = comparison_table(mine).drop(columns=["on", "metric"])
            named = f" ({group})" if several else ""
            parts.append(
                f"Test accuracy of {arch} retrained on each selection, same number of steps, paired"
                f" by seed{named}\n" + text_table(shown)
            )
    if done.report is not None:
        parts.append(f"Report: {done.report}")
    if done.experiment.next_command:
        parts.append(f"Next: {done.experiment.next_command} -w {workspace.location}")
    return "\n\n".join(parts)


def _trained(workspace: Workspace, done: Run, timings: Mapping[str, float]) -> str:
    from zoo.store import ledger

    frame = ledger.trainings_frame(workspace)
    asked = [
        training
        for each in done.experiment.each
        for training in ledger.trainings_of(workspace, each.name)
    ]
    mine = frame[frame["training_id"].isin(asked) & (frame["status"] == "done")]
    population, retraining = (mine[mine["role"] == role] for role in ("population", "retraining"))
    classifiers = ledger.classifiers_frame(workspace)
    count = int(classifiers["training_id"].isin(population["training_id"]).sum())
    spent = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in timings.items())
    lines = [
        f"{done.experiment.title} (scale: {done.experiment.scale})",
        (
            f"  {count} classifiers from {len(population)} trainings of"
            f" {population['arch'].nunique()} architectures on"
            f" {' and '.join(part.dataset.name for part in done.parts)};"
            f" {len(retraining)} retrainings; {mine['train_seconds'].sum():.0f} s of training"
            " in all"
        ),
        f"  this run: {spent}",
    ]
    return "\n".join(lines)


def _found(table: Table, of: str) -> str:
    best = table.set_index("score").loc["label_quality"]
    n = int(table["n_errors"].max())
    return (
        f"Planted label errors{of} found by label_quality: precision"
        f" {best['precision_at_n']:.3f} and recall {best['recall_at_n']:.3f} at the planted"
        f" number ({n}), AUROC {best['auroc']:.4f},"
        f" average precision {best['average_precision']:.3f}"
    )


def cluster_text(told: Mapping[str, Any]) -> str:
    """What a cluster has (``zoo.cluster.reach.tell``), for people: GPUs where there are any."""
    nodes = told["nodes"]
    kinds = ["CPU", *(["GPU"] if any("GPU" in node["total"] for node in nodes) else [])]

    def free(some: Sequence[Mapping[str, Any]]) -> str:
        return ", ".join(
            f"{kind} {sum(n['free'].get(kind, 0.0) for n in some):g} of"
            f" {sum(n['total'].get(kind, 0.0) for n in some):g} free"
            for kind in kinds
        )

    lines = [f"cluster     {told['address']}: {len(nodes)} nodes, {free(nodes)}"]
    lines += [
        f"node        {node['host']} ({node['address']}): {free([node])}"
        f"{'; is about to go' if node['status'] == 'draining' else ''}"
        for node in nodes
    ]
    lines += [
        f"waiting     {some['count']:,} x "
        + ", ".join(f"{name} {amount:g}" for name, amount in sorted(some["asks"].items()))
        for some in told["waiting"]
    ]
    lines += [f"starting    {count:,} x {name}" for name, count in told["starting"].items()]
    lines += [f"not started {name}: {why}" for name, why in told["failed"]]
    return "\n".join(lines)


def status_text(found: Mapping[str, Any]) -> str:
    """``status`` for people."""
    lines = [f"workspace   {found['workspace']}"]
    for name, splits in found["datasets"].items():
        lines.append(
            f"data set    {name}: "
            + ", ".join(f"{split} {count:,}" for split, count in splits.items())
        )
    for title, key in (
        ("trainings", "trainings"),
        ("classifiers", "classifiers"),
        ("answered", "answered"),
    ):
        lines.append(
            f"{title:<12}"
            + (", ".join(f"{name} {count:,}" for name, count in found[key].items()) or "none")
        )
    if found["in_bf16"]:
        some = ", ".join(f"{split} {count:,}" for split, count in found["in_bf16"].items())
        lines.append(f"in bf16     {some} of these")
    lines += [
        f"held out    {name}: {count} training examples by no classifier"
        for name, count in found["not_held_out"].items()
    ]
    if empty := found["trainings"].get("empty"):
        lines.append(
            f"empty       {empty:,} of the trainings: their treatment leaves no example, so they"
            " have no classifier and count as chance; "
            f"""which: zoo query "select treatment from trainings where status = 'empty'\""""
        )
    lines += [
        f"pretrained  {name}: on {about['pretrained_on'] or 'unknown'}; licence"
        f" {about['licence'] or 'unknown'}; {about['source'] or about['file']}, sha256"
        f" {about['sha256'][:16]}"
        for name, about in found["pretrained"].items()
    ]
    if stopped := found["stopped"]:
        lines.append(
            f"stopped     {stopped:,} times a training was told to stop and saved where it stood"
        )
    if repeated := found["repeated"]:
        lines.append(
            f"repeated    {counted(repeated, 'epoch')} with a committed snapshot trained again,"
            " after a loss or for other snapshots"
        )
    lines += [f"left out    {name}: {reason}" for name, reason in found["left_out"].items()]
    lines.append(f"selections  {', '.join(found['selections']) or 'none'}")
    lines.append(f"tables      {', '.join(found['tables']) or 'none'}")
    lines += [
        f"{f['status']}: {f['training_id']} ({f['arch']}, {f['treatment']}, seed {f['seed']}):"
        f" {f['stop_reason']}"
        for f in found["failures"]
    ]
    return "\n".join(lines)
