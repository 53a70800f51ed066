"""SQL over a workspace: the tables of ``zoo schema`` as DuckDB views. Reads only, and only what the commits name.

Safe by construction, as far as an SQL engine allows: exactly one SELECT by DuckDB's own parser; files are named one by one, never by a glob;
access to anything else is off, and the configuration is locked before the query runs. (DuckDB calls its settings no sandbox for hostile SQL;
isolate at the level of the operating system where queries come from strangers.)
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoo import ledger
from zoo.errors import UsageError
from zoo.scores import SCORES_SCHEMA
from zoo.store.answers import ANSWER_SCHEMA, answer_parts
from zoo.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

__all__ = ["TABLES", "query", "where"]

TABLES = (
    "answers",
    "classifiers",
    "comparisons",
    "examples",
    "metrics",
    "scores",
    "selections",
    "similarities",
    "trainings",
    "verdicts",
)
# Columns of tables that hold nothing yet: every table can be queried from the start. (DuckDB gives answers' float16 as float32.)
_NO_ANSWERS = pa.schema(
    [
        ("split", pa.string()),
        ("classifier_id", pa.string()),
        *(
            (field.name, {"top5": pa.list_(pa.int16()), "top5_p": pa.list_(pa.float32())}.get(field.name, field.type))
            for field in list(ANSWER_SCHEMA)[1:]
        ),
    ]
).empty_table()
_NOT_YET = {
    "scores": SCORES_SCHEMA,
    "comparisons": pa.schema(
        [(name, pa.string()) for name in ("arm", "on", "metric")]
        + [(name, pa.float64()) for name in ("mean", "low", "high")]
        + [("n_seeds", pa.int64())]
        + [(name, pa.float64()) for name in ("delta", "delta_low", "delta_high")]
        + [("note", pa.string())]
    ),
    "similarities": pa.schema(
        [
            ("arm_a", pa.string()),
            ("seed_a", pa.int64()),
            ("arm_b", pa.string()),
            ("seed_b", pa.int64()),
            ("measure", pa.string()),
            ("similarity", pa.float64()),
        ]
    ),
    "verdicts": pa.schema(
        [(name, pa.string()) for name in ("claim", "statement")]
        + [(name, pa.float64()) for name in ("published", "measured", "sd")]
        + [(name, pa.string()) for name in ("scale", "verdict", "rule")]
    ),
}
_MEMORY = "4GB"
_SECONDS = 600.0


def query(workspace: Workspace, sql: str, *, memory: str = _MEMORY, seconds: float = _SECONDS) -> pa.Table:
    """Run one SELECT over the workspace's tables.

    Args:
        memory: DuckDB's memory limit.
        seconds: time limit.

    Raises:
        UsageError: if it is not exactly one SELECT (DESCRIBE, SUMMARIZE and SHOW count as such), or DuckDB refuses it.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        _check(connection, sql)
        named = [name for name in TABLES if re.search(rf"\b{name}\b", sql, flags=re.IGNORECASE)]
        if re.search(r"\bshow\b", sql, flags=re.IGNORECASE):
            named = list(TABLES)
        _prepare(connection, workspace, named, memory)
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            return connection.sql(sql).to_arrow_table()
        except duckdb.InterruptException:
            raise UsageError(f"the query was stopped after {seconds:g} s. Narrow it with a WHERE clause.") from None
        except duckdb.Error as error:
            raise UsageError(f"the query was refused: {error}. See the tables and columns with 'zoo schema'.") from None
        finally:
            timer.cancel()
    finally:
        connection.close()


def where(frame: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Rows of a table for which an SQL condition holds, such as ``fraction <= 0.25 and arch not like 'vgg%'``.

    Raises:
        UsageError: if the condition is no single expression or names an unknown column; lists the columns.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        sql = f"select * from population where ({condition}\n)"
        _check(connection, sql)
        connection.register("population", frame)
        _lock(connection, _MEMORY, [])
        selected: pd.DataFrame = connection.execute(sql).df()
        return selected
    except duckdb.Error as error:
        raise UsageError(f"--where {condition!r} was refused: {error}. Columns: {', '.join(map(str, frame.columns))}.") from None
    finally:
        connection.close()


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(f'this is not SQL that DuckDB can parse: {error}. Example: zoo query "select count(*) from classifiers"') from None
    kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
    if kinds != ["SELECT"]:
        raise UsageError(
            f"a query must be exactly one SELECT; this is {' and '.join(kinds) or 'empty'}. The store is read-only by this way."
        )


def _prepare(connection: duckdb.DuckDBPyConnection, workspace: Workspace, named: list[str], memory: str) -> None:
    frames: dict[str, Callable[[Workspace], pd.DataFrame]] = {
        "examples": ledger.examples_frame,
        "trainings": ledger.trainings_frame,
        "classifiers": ledger.classifiers_frame,
        "metrics": ledger.metrics_frame,
        "selections": ledger.selections_frame,
    }
    paths: list[str] = []
    views: list[str] = []
    for name in named:
        if name in frames:
            connection.register(name, pa.Table.from_pandas(frames[name](workspace), preserve_index=False))
        elif name == "answers":
            for commit, mine in answer_parts(workspace):
                parts = [str(workspace.files.local(ref.path)) for ref in commit.files if ref.path.endswith(".parquet")]
                paths += parts
                only = (
                    ""
                    if len(mine) == len(commit.identity["classifiers"])
                    else f" where classifier_id in ({', '.join(map(_literal, mine))})"
                )
                columns = "classifier_id::varchar as classifier_id, " + ", ".join(f'"{f.name}"' for f in list(ANSWER_SCHEMA)[1:])
                listed = ", ".join(map(_literal, parts))
                views.append(f"select {_literal(commit.identity['split'])} as split, {columns} from read_parquet([{listed}]){only}")
        else:
            connection.register(name, _derived(workspace, name))
    if "answers" in named:
        connection.register("_no_answers", _NO_ANSWERS)
        _lock_paths(connection, paths)
        connection.execute("create view answers as " + (" union all ".join(views) or "select * from _no_answers"))
    _lock(connection, memory, paths)


def _derived(workspace: Workspace, name: str) -> pa.Table:
    """A derived table, empty before it is computed; ``scores`` is all splits' population scores together."""
    files = [
        f
        for f in workspace.files.names("results")
        if f in (f"{name}.parquet", *(f"{name}-{s}.parquet" for s in ("train", "test", "validation")))
    ]
    tables = [pq.read_table(workspace.files.local(f"results/{f}")).replace_schema_metadata(None) for f in files]
    return pa.concat_tables(tables, promote_options="permissive") if tables else _NOT_YET[name].empty_table()


def _lock_paths(connection: duckdb.DuckDBPyConnection, paths: list[str]) -> None:
    connection.execute("set temp_directory = ''")
    connection.execute(f"set allowed_paths = [{', '.join(map(_literal, paths))}]")


def _lock(connection: duckdb.DuckDBPyConnection, memory: str, paths: list[str]) -> None:
    if not paths:
        connection.execute("set temp_directory = ''")
    for setting in (
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"memory_limit = {_literal(memory)}",
        f"threads = {os.cpu_count() or 1}",
        "lock_configuration = true",
    ):
        connection.execute(f"set {setting}")


def _literal(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
