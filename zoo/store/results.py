"""Tidy tables of a workspace's results (one row = one fact), as CSV for people and Parquet for queries.

``results/<name>.csv`` and ``.parquet`` are derived: they are replaced as a whole and can be made again from the store at any time. The CSV of a
table depends on nothing but its values: sorted rows, shortest exact decimals, ``\n`` line ends.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.errors import NotFoundError, UsageError
from zoo.spec import Experiment, canonical_json
from zoo.store.workspace import Workspace

__all__ = ["csv_text", "read_table", "record_run", "recorded_run", "table_names", "write_table"]


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    r"""CSV of a tidy table: ``\n`` line ends, null as nothing, lists as JSON, floats by ``float_format`` (None = shortest exact).

    A text that a spreadsheet would run as a formula (it starts with = + - @ TAB or CR) gets a quote in front. Numbers do not.
    A carriage return inside a text becomes a line feed.
    """
    safe = table.copy()
    for position, (_, column) in enumerate(table.items()):
        if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            continue
        safe.isetitem(position, pd.Series([_cell(value) for value in column], index=table.index, dtype="object").array)
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format=float_format)
    return text


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        quoted = f"'{value}" if value.startswith(_FORMULA) else value
        # The CSV writer quotes a line feed, but not a lone carriage return, which a spreadsheet takes for a new row.
        return quoted.replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(value, np.ndarray | list | tuple | dict):
        return json.dumps(value, default=lambda item: item.tolist() if isinstance(item, np.ndarray | np.generic) else str(item))
    return None if value is None or value is pd.NA else value


def write_table(workspace: Workspace, name: str, table: pd.DataFrame | pa.Table, about: Mapping[str, Any] | None = None) -> None:
    """Write ``results/<name>.csv`` and ``.parquet``; ``about`` says what it was computed from and goes into the Parquet's metadata."""
    arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), b"zoo": json.dumps(dict(about or {}), sort_keys=True).encode()})
    sink = io.BytesIO()
    pq.write_table(arrow, sink, compression="zstd")
    workspace.files.replace(f"results/{name}.parquet", sink.getvalue())
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    workspace.files.replace(f"results/{name}.csv", csv_text(frame).encode())


def read_table(workspace: Workspace, name: str) -> pd.DataFrame:
    """A derived table.

    Raises:
        NotFoundError: if it has not been computed yet; says which command makes it.
    """
    relative = f"results/{name}.parquet"
    if not workspace.files.exists(relative):
        maker = {"scores": "zoo score", "comparisons": "zoo compare", "arms": "zoo compare", "similarities": "zoo compare"}
        hint = maker.get(name.split("-")[0], "zoo run EXPERIMENT")
        raise NotFoundError(f"no table {name!r} in {workspace.results}. Make it with '{hint}'.")
    table: pd.DataFrame = pq.read_table(workspace.files.local(relative)).to_pandas()
    return table


def table_names(workspace: Workspace) -> list[str]:
    """Names of the derived tables that are there."""
    return [name.removesuffix(".parquet") for name in workspace.files.names("results") if name.endswith(".parquet")]


def record_run(workspace: Workspace, experiment: Experiment, timings: Mapping[str, float]) -> dict[str, float]:
    """Remember which experiment this workspace's report is about, and the longest time each stage took (a rerun finds most of it done)."""
    known: dict[str, float] = {}
    source = experiment.source or experiment.name
    try:
        name, scale, known = recorded_run(workspace)
        if (name, scale) != (source, experiment.scale):
            known = {}
    except NotFoundError:
        pass
    merged = {stage: max(seconds, known.get(stage, 0.0)) for stage, seconds in {**known, **timings}.items()}
    body = {"experiment": source, "scale": experiment.scale, "timings": merged}
    workspace.files.replace("results/run.json", canonical_json(body).encode())
    return merged


def recorded_run(workspace: Workspace) -> tuple[str, str, dict[str, float]]:
    """(experiment's name or path, scale, seconds per stage) of the run that made this workspace's report.

    Raises:
        NotFoundError: if no report was made yet.
    """
    if not workspace.files.exists("results/run.json"):
        raise NotFoundError(
            f"{workspace.location} has no report yet. Make one with 'zoo run EXPERIMENT', or name its experiment: zoo report EXPERIMENT."
        )
    try:
        body = json.loads(workspace.files.read("results/run.json"))
        return str(body["experiment"]), str(body["scale"]), {str(k): float(v) for k, v in body["timings"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{workspace.results / 'run.json'} is damaged. Name the experiment: zoo report EXPERIMENT.") from None
