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
