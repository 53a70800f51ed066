"""Tidy tables of a workspace's results (one row = one fact), as CSV for people and Parquet for queries.

``results/<name>.csv`` and ``.parquet`` are derived: they are replaced as a whole and can be made again from the store at any time. The CSV of a
table depends on nothing but its values: sorted rows, shortest exact decimals, ``\\n`` line ends.
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

from zoo.errors import NotFoundError
from zoo.workspace import Workspace

__all__ = ["csv_text", "read_table", "table_names", "write_table"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: pd.DataFrame) -> str:
    """CSV of a tidy table. A text that a spreadsheet would take for a formula gets a leading quote; lists are JSON."""
    shown = table.copy()
    for name in shown.columns:
        if not pd.api.types.is_numeric_dtype(shown[name].dtype) and not pd.api.types.is_bool_dtype(shown[name].dtype):
            shown[name] = [_cell(value) for value in shown[name]]
    buffer = io.StringIO()
    shown.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
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
