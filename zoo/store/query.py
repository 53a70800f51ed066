"""SQL over a workspace: the tables of ``zoo schema`` as DuckDB views. Reads only, and only what the
commits name.

Three walls, each tested without the others:

1. Form, by DuckDB's own parser: exactly one SELECT (DESCRIBE, SUMMARIZE and SHOW are such), nothing
   that writes in any part of it, and no table function but those that make rows out of numbers
   (``_TABLE_FUNCTIONS``): no file reader, no ``query()``, no scan of an address.
2. Reach: files are named one by one, never by a glob; access to anything else is off, Python's
   variables are out of sight, and the configuration is locked before the query runs.
3. Size: DuckDB's memory limit, a limit on the result (which DuckDB does not count: measured, 2.6 GB
   in 3 s under a limit of 200 MB), and a time limit. One function call that makes one huge value,
   such as ``repeat('x', 2000000000)``, is neither counted nor interrupted by DuckDB;
   ``hard_limits`` bounds it by the operating system, which takes a process of its own: ``zoo
       query`` is one.

DuckDB calls its settings no sandbox for hostile SQL: where queries come from strangers, isolate the
process as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.machine import own_cpus
from zoo.registry import distinct
from zoo.store import ledger
from zoo.store.answers import ANSWER_SCHEMA, answer_parts
from zoo.store.commits import Commit
from zoo.store.datasets import examples_frame, titles
from zoo.store.decisions import decisions_frame
from zoo.store.results import population_scores, read_arrow, table_names
from zoo.store.schema import SCHEMA, TABLES
from zoo.store.selections import selections_frame
from zoo.store.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

__all__ = ["TABLES", "classifiers_where", "hard_limits", "query", "where"]

_MEMORY = "4GB"
_RESULT_BYTES = 2 * 10**9
_SECONDS = 600.0
_GRACE_SECONDS = 5.0
# what DuckDB, Arrow and their threads take beside the data
_ENGINE_BYTES = 10**9 + own_cpus() * 2**24
_TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})
_READING_NODES = frozenset({"CTE_NODE", "RECURSIVE_CTE_NODE", "SELECT_NODE", "SET_OPERATION_NODE"})


def query(
    workspace: Workspace,
    sql: str,
    *,
    memory: str = _MEMORY,
    seconds: float = _SECONDS,
    result_bytes: int = _RESULT_BYTES,
    on_empty: Callable[[str, str], None] = lambda _table, _command: None,
) -> pa.Table:
    """Run one SELECT over the workspace's tables.

    Args:
        on_empty: called with each table of the query that holds nothing yet, and the command that
            fills it, before the query runs.
        memory: DuckDB's memory limit.
        seconds: time limit.
        result_bytes: size limit of the result, which DuckDB's memory limit does not count.

    Raises:
        UsageError: if it is not exactly one SELECT (DESCRIBE, SUMMARIZE and SHOW count as such),
            goes beyond the tables or a limit, or DuckDB refuses it.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        asked = _check(connection, sql)
        named = [name for name in TABLES if re.search(rf"\b{name}\b", sql, flags=re.IGNORECASE)]
        if re.search(r"\bshow\b", sql, flags=re.IGNORECASE):
            named = list(TABLES)
        for name in _prepare(connection, workspace, named, memory):
            if name in asked:
                on_empty(name, SCHEMA[name].made_by)
        with _interrupted_after(connection, seconds):
            return _collect(connection.sql(sql), result_bytes)
    except duckdb.InterruptException:
        raise UsageError(
            f"the query was stopped after {seconds:g} s. Narrow it with a WHERE clause."
        ) from None
    except duckdb.Error as error:
        raise UsageError(
            f"the query was refused: {_plain(error)}. See the tables and columns with 'zoo schema'."
        ) from None
    finally:
        connection.close()


def _plain(error: Exception) -> str:
    """DuckDB's message without its advice, which names its own tables and functions; ours in its
    place where a table is meant."""
    text = re.sub(r'\n?Did you mean "[^"]*"\??', "", str(error)).rstrip(" .\n")
    if missing := re.search(r"Table with name (\S+) does not exist", text):
        return f"{text}\n{UnknownNameError('table', missing[1], TABLES)}".rstrip(".")
    column = re.search(r'Referenced column "(\w+)" not found', text)
    homes = [table for table in SCHEMA.values() if column and column[1] in table.columns]
    if column and homes:
        return (
            f"{text}\n{column[1]} is a column of {homes[0].name}; one that an earlier zoo made may"
            f" lack it until it is made again with {homes[0].made_by}"
        )
    return text


def classifiers_where(workspace: Workspace, dataset: str, condition: str) -> dict[str, Commit]:
    """The trained classifiers of a data set, whatever their role, for which an SQL condition over
    the ``classifiers`` table holds.

    Raises:
        NotFoundError: if it holds for none.
        UsageError: as ``where``.
    """
    found = ledger.trained(workspace, dataset)
    frame = ledger.classifiers_frame(workspace)
    chosen = set(where(frame[frame["classifier_id"].isin(list(found))], condition)["classifier_id"])
    if not chosen:
        raise NotFoundError(
            f"no classifier in {workspace.location} with {condition!r}. See them with 'zoo query"
            ' "select * from classifiers"\'.'
        )
    return {key: commit for key, commit in found.items() if key in chosen}


def where(frame: pd.DataFrame, condition: str, *, seconds: float = _SECONDS) -> pd.DataFrame:
    """Rows of a table for which an SQL condition holds, such as ``fraction <= 0.25 and arch not
    like 'vgg%'``.

    The condition is one expression. It may hold subqueries on the table itself, which is called
    ``classifiers``, and on nothing else.

    Raises:
        UsageError: if the condition is no single expression, or names an unknown column or another
            table; lists the columns.
    """
    import duckdb

    connection = duckdb.connect(":memory:")
    try:
        sql = f"select * from classifiers where ({condition}\n)"
        _check_condition(connection, condition, sql)
        connection.register("classifiers", frame)
        _lock(connection, _MEMORY)
        with _interrupted_after(connection, seconds):
            selected: pd.DataFrame = connection.execute(sql).df()
        return selected
    except (duckdb.Error, UsageError) as error:
        reason = (
            f"not done after {seconds:g} s"
            if isinstance(error, duckdb.InterruptException)
            else _plain(error)
        )
        raise UsageError(
            f"--where {condition!r} was refused: {reason}. Columns:"
            f" {', '.join(map(str, frame.columns))}."
        ) from None
    finally:
        connection.close()


@contextlib.contextmanager
def hard_limits(
    *, memory_bytes: int = 4 * 10**9 + _RESULT_BYTES, seconds: float = _SECONDS + _GRACE_SECONDS
) -> Iterator[None]:
    """Limits that hold where DuckDB's do not look. For a process that does nothing else: they are
    the whole process's.

    Memory beyond ``memory_bytes`` cannot be had (by RLIMIT_DATA, on Linux), which DuckDB reports as
    an error; after ``seconds`` the process ends with exit code 1, whatever it is doing.
    """

    def end() -> None:
        print(  # noqa: T201
            f"zoo: the query did not stop after {seconds:g} s and was ended. Narrow it with a WHERE"
            " clause.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    with _data_limit(memory_bytes + _ENGINE_BYTES):
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextlib.contextmanager
def _data_limit(more: int) -> Iterator[None]:
    """At most so many bytes of private memory beyond what the process has reserved already. Linux
    counts them; elsewhere nothing happens."""
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource
    from pathlib import Path

    status = Path("/proc/self/status").read_text(encoding="ascii")
    reserved = (
        int(next(line for line in status.splitlines() if line.startswith("VmData")).split()[1])
        * 1024
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    allowed = [
        reserved + more,
        *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY),
    ]
    resource.setrlimit(resource.RLIMIT_DATA, (min(allowed), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextlib.contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _collect(relation: duckdb.DuckDBPyRelation, most: int) -> pa.Table:
    """The whole result, batch by batch, so that one that is too large ends early."""
    import duckdb

    reader = relation.to_arrow_reader()
    batches: list[pa.RecordBatch] = []
    size = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            break
        # so Arrow hands on what DuckDB raises between two batches
        except (OSError, pa.ArrowException) as error:
            raise (
                duckdb.InterruptException(str(error))
                if "INTERRUPT" in str(error)
                else duckdb.Error(str(error))
            ) from None
        batches.append(batch)
        size += batch.nbytes
        if size > most:
            raise UsageError(
                f"the result is larger than {most:,} bytes ({sum(map(len, batches)):,} rows so"
                " far). Narrow it with a WHERE clause or a LIMIT."
            )
    return pa.Table.from_batches(batches, schema=reader.schema)


# ---------------------------------------------------------------- the form of a query


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Refuse all but one harmless SELECT; the tables it asks."""
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise UsageError(
            f'this is not SQL that DuckDB can parse: {_plain(error)}. Example: zoo query "select'
            ' count(*) from classifiers"'
        ) from None
    kinds = [str(statement.type).rpartition(".")[2] for statement in statements]
    if kinds != ["SELECT"]:
        raise UsageError(
            f"a query must be exactly one SELECT; this is {' and '.join(kinds) or 'empty'}. The"
            " store is read-only by this way."
        )
    nodes = _nodes(_tree(connection, sql))
    _check_nodes(nodes)
    paths = [
        node["qualified_name"]["path"]
        for node in nodes
        if node.get("type") in ("BASE_TABLE", "SHOW_REF")
    ]
    return {str(path[-1]).lower() for path in paths if path}


def _check_condition(connection: duckdb.DuckDBPyConnection, condition: str, sql: str) -> None:
    """One expression means the same with brackets around it and without; ``true) or (true`` or
    ``true order by 1`` do not."""
    bare, bracketed = (
        _tree(connection, text) for text in (f"select * from classifiers where {condition}\n", sql)
    )
    if _without_places(bare) != _without_places(bracketed):
        raise UsageError("it is not one expression")
    nodes = _nodes(bracketed)
    _check_nodes(nodes)
    own = {
        ("classifiers",),
        *(
            (str(entry["key"]).lower(),)
            for node in nodes
            for entry in node.get("cte_map", {}).get("map", [])
        ),
    }
    for node in nodes:
        if node.get("type") in ("BASE_TABLE", "SHOW_REF"):
            path = tuple(str(part).lower() for part in node["qualified_name"]["path"])
            if node["type"] == "SHOW_REF" or path not in own:
                raise UsageError(
                    f"it asks {'.'.join(path) or 'for a description'}; a condition has the table"
                    " classifiers alone"
                )


def _tree(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """The parsed statement as DuckDB sees it; nothing is run.

    Raises:
        UsageError: if it does not parse, is no SELECT, or is nested too deeply.
    """
    [(text,)] = connection.execute("select json_serialize_sql(?)", [sql]).fetchall()
    try:
        tree: dict[str, Any] = json.loads(text)
    except RecursionError:
        raise UsageError("the query is nested too deeply. Write it with fewer brackets.") from None
    if tree["error"]:
        raise UsageError(f"DuckDB's parser says: {tree['error_message']}")
    return tree


def _nodes(tree: Any) -> list[dict[str, Any]]:
    """Every object of a parsed statement."""
    found, waiting = [], [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            found.append(node)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return found


def _without_places(tree: Any) -> Any:
    """The same tree without where in the text its parts stood."""
    for node in _nodes(tree):
        for place in ("query_location", "query_location_length"):
            node.pop(place, None)
    return tree


def _check_nodes(nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        kind = str(node.get("type", ""))
        if kind.endswith("_NODE") and kind not in _READING_NODES:
            raise UsageError(
                f"a query only reads; this holds a {kind.partition('_')[0]}. The store is read-only"
                " by this way."
            )
        if kind == "TABLE_FUNCTION":
            name = str(node["function"]["function_name"])
            if name.lower() not in _TABLE_FUNCTIONS:
                raise UsageError(
                    f"table function {name!r} is not allowed in a query. Allowed: the tables of"
                    f" 'zoo schema' and {', '.join(sorted(_TABLE_FUNCTIONS))}."
                )


# ---------------------------------------------------------------- what a query can reach


def _prepare(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, named: list[str], memory: str
) -> list[str]:
    """Make the tables named, and lock all else; those of them that hold nothing."""
    frames: dict[str, Callable[[Workspace], pd.DataFrame]] = {
        "examples": examples_frame,
        "trainings": ledger.trainings_frame,
        "classifiers": ledger.classifiers_frame,
        "metrics": ledger.metrics_frame,
        "selections": selections_frame,
        "decisions": decisions_frame,
    }
    paths: list[str] = []
    empty: list[str] = []
    for name in named:
        if name == "answers":
            views, paths = _answers(workspace)
            connection.register("_no_answers", SCHEMA["answers"].empty())
            connection.execute(
                "create view answers as "
                + (" union all ".join(views) or "select * from _no_answers")
            )
            rows = len(views)
        else:
            table = (
                pa.Table.from_pandas(frames[name](workspace), preserve_index=False)
                if name in frames
                else _derived(workspace, name)
            )
            connection.register(name, table)
            rows = len(table)
        if not rows:
            empty.append(name)
    _lock(connection, memory, paths)
    return empty


def _answers(workspace: Workspace) -> tuple[list[str], list[str]]:
    """A SELECT for each unit of answers, and the paths they read."""
    views, paths = [], []
    columns = "classifier_id::varchar as classifier_id, " + ", ".join(
        f'"{f.name}"' for f in list(ANSWER_SCHEMA)[1:]
    )
    for commit, mine in answer_parts(workspace):
        parts = [
            str(workspace.files.local(ref.path))
            for ref in commit.files
            if ref.path.endswith(".parquet")
        ]
        # DuckDB takes every path for a pattern, and asks for permission of the pattern and of what
        # it has found by it.
        patterns = [re.sub(r"([*?[])", r"[\1]", part) for part in parts]
        paths += sorted({*parts, *patterns})
        all_of_them = len(mine) == len(commit.identity["classifiers"])
        only = "" if all_of_them else f" where classifier_id in ({', '.join(map(_literal, mine))})"
        dataset, split = (
            _literal(titles(workspace)[commit.identity["dataset"]]),
            _literal(commit.identity["split"]),
        )
        listed = ", ".join(map(_literal, patterns))
        views.append(
            f"select {dataset} as dataset, {split} as split, {columns} from"
            f" read_parquet([{listed}]){only}"
        )
    return views, paths


def _derived(workspace: Workspace, name: str) -> pa.Table:
    """A derived table, empty before it is computed; ``scores`` is those of the whole population, of
    every data set and split."""
    if name != "scores":
        return (
            read_arrow(workspace, name) if name in table_names(workspace) else SCHEMA[name].empty()
        )
    named = titles(workspace)
    tables = [
        _with_names(workspace, table, origin.dataset).add_column(
            0, "dataset", pa.array([named.get(origin.dataset)] * len(table), pa.string())
        )
        for table, origin in population_scores(workspace)
    ]
    return (
        pa.concat_tables(tables, promote_options="permissive")
        if tables
        else SCHEMA["scores"].empty()
    )


def _with_names(workspace: Workspace, table: pa.Table, dataset: str) -> pa.Table:
    """Scores that an earlier zoo wrote, with the names of their classes."""
    record = workspace.commits.get("dataset", dataset)
    if record is None or "label_name" in table.column_names:
        return table
    names = pa.array(distinct(tuple(map(str, record.facts["class_names"]))), pa.string())
    for name in ("label", "top_confusion"):
        classes = table.column(name).combine_chunks().cast(pa.int32())
        table = table.append_column(f"{name}_name", names.take(classes))
    return table


def _lock(connection: duckdb.DuckDBPyConnection, memory: str, paths: Sequence[str] = ()) -> None:
    for setting in (
        "temp_directory = ''",
        f"allowed_paths = [{', '.join(map(_literal, paths))}]",
        "python_enable_replacements = false",
        "allow_persistent_secrets = false",
        "allow_community_extensions = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        f"memory_limit = {_literal(memory)}",
        f"threads = {own_cpus()}",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"set {setting}")


def _literal(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
