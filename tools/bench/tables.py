"""Result tables: ``zoo score`` with the CSV written column by column and cell by cell.

Of 5 classifiers and 50,000 examples of ten classes, from synthetic answers
(``tools.bench.scoring``). Both files are written anew each time. *Cell by cell* is the function
that zoo had before; that both give the same bytes is checked.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pyarrow as pa

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, spread
from tools.bench.scoring import filled
from zoo.scores.from_store import score
from zoo.store import results

__all__ = ["main"]

_SPLIT = "train"


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return results.spreadsheet_text(value)
    if isinstance(value, np.ndarray | list | tuple | dict):
        return json.dumps(
            value,
            default=lambda item: (
                item.tolist() if isinstance(item, np.ndarray | np.generic) else str(item)
            ),
        )
    return None if value is None or value is pd.NA else value


def cell_by_cell(table: pd.DataFrame, float_format: str | None = None) -> str:
    """CSV of a table, every value that is no number looked at on its own."""
    safe = table.copy()
    for position, (_, column) in enumerate(table.items()):
        if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            continue
        cells = pd.Series([_cell(value) for value in column], index=table.index, dtype="object")
        safe.isetitem(position, cells.array)
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format=float_format)
    return text


def _lists_as_they_are(table: pa.Table) -> pa.Table:
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Print both, whole and the writing alone."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    examples = 5_000 if options.quick else 50_000
    with tempfile.TemporaryDirectory() as folder:
        workspace, population = filled(Path(folder) / "workspace", 5, examples, 10)
        origin = population.origin(_SPLIT)
        writing: dict[str, list[float]] = {}
        written: dict[str, bytes] = {}

        def run(side: str) -> float:
            """Processor time: this process waits for nobody but the disk."""
            for name in workspace.files.names("results"):
                workspace.files.remove(f"results/{name}")
            began = time.process_time()
            table = score(workspace, population, _SPLIT)
            scored = time.process_time()
            name = results.write_scores(workspace, table, origin, len(population.classifiers))
            ended = time.process_time()
            writing.setdefault(side, []).append(ended - scored)
            written[side] = (workspace.results / f"{name}.csv").read_bytes()
            return ended - began

        def before() -> float:
            with (
                patch.object(results, "csv_text", cell_by_cell),
                patch.object(results, "_listed_as_text", _lists_as_they_are),
            ):
                return run("cell by cell")

        sides: dict[str, Callable[[], float]] = {
            "column by column": lambda: run("column by column"),
            "cell by cell": before,
        }
        seconds = interleave(sides, options.rounds)
    assert written["column by column"] == written["cell by cell"]
    rows: list[dict[str, str | float | int]] = [
        {
            "side": side,
            "cpu_seconds": spread(seconds[side]).text(),
            "of_that_writing": spread(writing[side][1:]).text(),
            "MB": len(written[side]) / 1e6,
        }
        for side in sides
    ]
    print_table(rows, f"zoo score, 5 classifiers x {examples:,} examples, processor time")
    whole = ratios(seconds["column by column"], seconds["cell by cell"])
    ratio_line("zoo score, column by column / cell by cell (at most 0.35)", whole)
    ratio_line(
        "writing alone", ratios(writing["column by column"][1:], writing["cell by cell"][1:])
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
