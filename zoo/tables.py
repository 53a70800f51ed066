"""Tables as text: aligned columns for a terminal, plain when piped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from zoo.data import DatasetCheck, DatasetRow
from zoo.errors import UsageError

__all__ = ["check_text", "comparison_table", "dataset_rows", "interval_text", "summary_text", "suspect_table", "text_table", "write_result"]

_MOST_ROWS = 200


def text_table(frame: pd.DataFrame, *, limit: int = _MOST_ROWS) -> str:
    """Aligned text of a table: numbers to the right, at most ``limit`` rows."""
    rows = [[_cell(value) for value in row] for row in frame.head(limit).itertuples(index=False)]
    heads = [str(name) for name in frame.columns]
    numeric = [pd.api.types.is_numeric_dtype(frame[name].dtype) for name in frame.columns]
    widths = [max(len(head), *(len(row[i]) for row in rows)) if rows else len(head) for i, head in enumerate(heads)]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.rjust(w) if right else cell.ljust(w) for cell, w, right in zip(cells, widths, numeric, strict=True))
        return "  ".join(padded).rstrip()

    lines = [line(heads), line(["-" * w for w in widths]), *map(line, rows)]
    if len(frame) > limit:
        lines.append(f"... and {len(frame) - limit:,} more rows; use --format csv for all")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 or abs(value) >= 1e5 else f"{value:.4f}".rstrip("0").rstrip(".")
    # A control character in a name must not reach the terminal.
    return "".join(ch if ch.isprintable() else "�" for ch in str(value))


def interval_text(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """``0.851 [0.838, 0.863]``; without bounds where there is one seed."""
    shown = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    return shown if low != low else f"{shown} [{low:+.3f}, {high:+.3f}]" if signed else f"{shown} [{low:.3f}, {high:.3f}]"


def suspect_table(suspects: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """The columns of a list of suspects that a person reads: which example, label -> top confusion, scores, planted or not."""
    names = dict(enumerate(class_names))
    return pd.DataFrame(
        {
            "example": suspects["key"],
            "label": [names.get(label, "") for label in suspects["label"]],
            "top confusion": [names.get(label, "") for label in suspects["top_confusion"]],
            "votes": [f"{share:.0%}" for share in suspects["top_confusion_share"]],
            "X": suspects["x_perplexity"].round(3),
            "C": suspects["c_perplexity"].round(3),
            "quality": [f"{quality:.2g}" for quality in suspects["label_quality"]],
            "planted": ["" if value is pd.NA else "planted" if value else "no" for value in suspects["planted"]],
        }
    )


def comparison_table(comparisons: pd.DataFrame, metric: str | None = None) -> pd.DataFrame:
    """Arms with mean accuracy and 95 % interval, and the paired difference to the first arm."""
    chosen = comparisons if metric is None else comparisons[comparisons["metric"] == metric]
    return pd.DataFrame(
        {
            "arm": chosen["arm"],
            "on": chosen["on"],
            "metric": chosen["metric"],
            "seeds": chosen["n_seeds"],
            "mean [95 %]": [interval_text(*row) for row in zip(chosen["mean"], chosen["low"], chosen["high"], strict=True)],
            "difference [95 %]": [
                "" if d != d else interval_text(d, low, high, signed=True)
                for d, low, high in zip(chosen["delta"], chosen["delta_low"], chosen["delta_high"], strict=True)
            ],
            "note": chosen["note"],
        }
    )


def summary_text(summary: Mapping[str, Any]) -> str:
    """What a manifest holds, a line each."""
    return "\n".join(f"  {name}: {value}" for name, value in summary.items())


def dataset_rows(rows: Sequence[DatasetRow]) -> list[dict[str, Any]]:
    """Listing of data sets as plain rows."""
    return [
        {
            "name": row.name,
            "form": row.form,
            "splits": ", ".join(split if row.counts.get(split) is None else f"{split} {row.counts[split]:,}" for split in row.splits),
            "path": row.path,
            "problem": row.problem or "",
        }
        for row in rows
    ]


def check_text(check: DatasetCheck) -> str:
    """Result of ``zoo data check`` for people: counts, and at most ten of each kind of trouble."""
    size = "x".join(map(str, check.native_size)) if check.native_size else "sizes vary"
    lines = [f"{check.name} ({check.form}): {check.classes} classes, {check.channels} channel(s), {size}, fingerprint {check.fingerprint}"]
    for split in check.splits:
        lines.append(
            f"{split.name}: {split.examples:,} examples; per class {', '.join(f'{name} {n:,}' for name, n in split.counts.items())}"
        )
        if split.empty_classes:
            lines.append(f"  classes without an example: {', '.join(split.empty_classes)}")
        if split.known_label_errors is not None:
            lines.append(f"  labels that differ from label_true: {split.known_label_errors:,}")
        lines += [f"  unreadable: {u.key} ({u.reason})" for u in split.unreadable[:10]] + _more(len(split.unreadable))
        conflicts = [d for d in split.duplicates if d.conflicting]
        if split.duplicates:
            lines.append(
                f"  same picture more than once: {len(split.duplicates):,} groups, {len(conflicts):,} of them with different labels"
            )
        lines += [f"  same picture, labels {d.labels}: {', '.join(d.keys)}" for d in conflicts[:10]] + _more(len(conflicts))
    for overlap in check.overlap[:10]:
        lines.append(f"in train and {overlap.split}: train {overlap.train_ids}, {overlap.split} {overlap.example_ids}")
    lines += _more(len(check.overlap)) + [f"left out: {warning}" for warning in check.warnings]
    return "\n".join([*lines, "ok" if check.ok else "not ok"])


def _more(count: int) -> list[str]:
    return [f"  ... and {count - 10:,} more; all of them with --json"] if count > 10 else []


def write_result(table: pa.Table, output_format: Literal["table", "csv", "json", "parquet"], output: Path | None) -> None:
    """Print or write the result of a query.

    Raises:
        UsageError: for Parquet without a file.
    """
    from zoo.results import csv_text

    frame = table.to_pandas()
    if output_format == "parquet":
        if output is None:
            raise UsageError("Parquet is not for a terminal. Give a file with --output FILE.")
        import pyarrow.parquet as pq

        pq.write_table(table, output)
        return
    if output_format == "table":
        text = text_table(frame) + "\n"
    elif output_format == "csv":
        text = csv_text(frame)
    else:
        text = frame.to_json(orient="records", indent=2, double_precision=15) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
