"""What a query says to people: tables that hold nothing yet, names that are wrong, and places with
odd names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from factories import Tiny
from factories import workspace as new_workspace
from typer.testing import CliRunner

from zoo.cli.main import app
from zoo.errors import UsageError
from zoo.store.query import query, where
from zoo.store.schema import SCHEMA, TABLES
from zoo.store.workspace import Workspace

# ---------------------------------------------------------------- empty tables


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_holds_nothing_names_the_command_that_fills_it(
    tmp_path: Path, table: str
) -> None:
    """On stderr, one line; the answer is the empty table all the same, exit code 0."""
    new_workspace(tmp_path)
    result = CliRunner().invoke(
        app,
        [
            "query",
            f"select count(*) n from {table}",
            "--format",
            "json",
            "-w",
            str(tmp_path / "zoo"),
        ],
    )
    assert (result.exit_code, json.loads(result.stdout)) == (0, [{"n": 0}])
    assert result.stderr == f"table {table} holds nothing yet: {SCHEMA[table].made_by} fills it.\n"


def test_each_command_that_fills_a_table_exists() -> None:
    """``'zoo train' or 'zoo import'``: every word after zoo is a command."""
    known = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }
    for table in SCHEMA.values():
        named = table.made_by.replace("'", "").split(" or ")
        assert all(
            command.split()[0] == "zoo" and command.split()[1] in known for command in named
        ), table.name


def test_only_empty_tables_that_are_asked_are_named(trained: Tiny) -> None:
    """Of the trained workspace: classifiers and answers are filled, scores are not; a text that
    says ``scores`` asks nothing."""
    said: list[str] = []
    for sql in (
        "select count(*) from classifiers join answers using (classifier_id)",
        "select 'scores' as word from classifiers limit 1",
        "with a as (select * from scores) select * from a join examples using (split, example_id)",
    ):
        query(trained.workspace, sql, on_empty=lambda table, _: said.append(table))
    assert said == ["scores"]


def test_a_result_without_rows_is_no_empty_table(trained: Tiny) -> None:
    """A condition that nothing fulfils is an answer."""
    said: list[str] = []
    assert (
        query(
            trained.workspace,
            "select * from classifiers where epoch = 77",
            on_empty=lambda table, _: said.append(table),
        ).num_rows
        == 0
    )
    assert said == []


# ---------------------------------------------------------------- wrong names


def test_a_wrong_table_is_answered_with_ours(tmp_path: Path) -> None:
    """Not with DuckDB's own: ``scors`` is near ``scores``, not near ``pg_constraint``."""
    with pytest.raises(UsageError) as refused:
        query(new_workspace(tmp_path), "select * from scors")
    said = str(refused.value)
    assert "pg_" not in said
    assert "unknown table 'scors'. Did you mean 'scores'" in said


@pytest.mark.parametrize(
    "sql", ["select nearly(1) from examples", "select * from exmpls", "select lable from scores"]
)
def test_no_message_offers_what_is_duckdbs_own(tmp_path: Path, sql: str) -> None:
    """Neither functions nor system tables; columns of the query's own tables are offered."""
    with pytest.raises(UsageError) as refused:
        query(new_workspace(tmp_path), sql)
    said = str(refused.value)
    assert not any(word in said for word in ("pg_", "duckdb_", "sqlite_", "information_schema"))
    assert "Did you mean" not in said.partition("unknown table")[0]
    assert ('"label"' in said) == ("lable" in sql)


def test_a_wrong_column_of_a_condition_lists_the_columns(trained: Tiny) -> None:
    frame = query(trained.workspace, "select * from classifiers").to_pandas()
    with pytest.raises(UsageError, match=r"Columns: classifier_id, training_id") as refused:
        where(frame, "nearly(1)")
    assert "Did you mean" not in str(refused.value)


# ---------------------------------------------------------------- odd places


@pytest.mark.parametrize("name", ["ws[1]", "ws*", "ws?", "ws[ab]{c,d}", "[", "a]b"])
def test_a_folder_whose_name_is_a_pattern_is_read_itself(
    trained: Tiny, tmp_path: Path, name: str
) -> None:
    """Answers come from this workspace, and not from the one that the pattern would find beside
    it."""
    for decoy in ("ws1", "wsx", "wsa", "b"):
        (tmp_path / decoy).mkdir()
    space = Workspace.open(shutil.copytree(trained.root, tmp_path / name))
    assert query(space, "select count(*) n from answers").to_pylist() == [{"n": 12 * 90}]


def test_a_pattern_reaches_no_other_file(trained: Tiny, tmp_path: Path) -> None:
    """``ws[1]`` does not read the parts of ``ws1``, whose answers are another's."""
    for name in ("ws1", "ws[1]"):
        shutil.copytree(trained.root, tmp_path / name)
    for part in (tmp_path / "ws1" / "answers").rglob("*.parquet"):
        part.write_bytes(b"not parquet")
    assert query(
        Workspace.open(tmp_path / "ws[1]"), "select count(*) n from answers"
    ).to_pylist() == [{"n": 12 * 90}]
