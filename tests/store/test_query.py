"""SQL over a workspace: every table is there from the start, and nothing but one SELECT over them
is possible."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from factories import QUIET, Tiny
from factories import workspace as new_workspace

from zoo import pipeline
from zoo.errors import UsageError
from zoo.local import LocalRunner
from zoo.scores.population import choose_population
from zoo.spec import Arm, ArmGroup, Op, Recipe, SelectionRule, Sweep
from zoo.store import ledger
from zoo.store.decisions import Decision, commit_decisions
from zoo.store.query import query, where
from zoo.store.results import write_table
from zoo.store.schema import SCHEMA, TABLES
from zoo.store.workspace import Workspace
from zoo.studies import arms
from zoo.trainsets.rules import parse

OF_A_STUDY = ("outcomes", "verdicts")
"""Tables of an experiment that judges claims; tests/test_studies.py has them filled."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A tiny workspace of its own with every stage done: scores, a selection, two arms with two
    seeds, their comparison, and what a reviewer decided."""
    from factories import trained_workspace

    tiny = trained_workspace(tmp_path_factory.mktemp("study"))
    space, dataset = tiny.workspace, tiny.dataset
    population = choose_population(space)
    scores = pipeline.score_splits(space, population, ("train", "test"), QUIET)
    rules = tuple(
        Op(name=name, params=params) for name, params in parse("worst:share=0.1,by=label_quality")
    )
    pipeline.select(
        space,
        SelectionRule(name="worst-dropped", rules=rules),
        scores["train"],
        population.origin("train"),
        dataset.class_names,
    )
    chosen = (Arm(name="baseline", selection=None), Arm(name="dropped", selection="worst-dropped"))
    sweep = Sweep(archs=("softmax",), recipe=Recipe(lr=0.01, batch_size=16, epochs=1), seeds=(0, 1))
    group = ArmGroup(name="tiny", arms=chosen, retraining=sweep)
    by_arm = arms.arm_trainings(space, group, dataset)
    jobs = [job for mine in by_arm.values() for job in mine]
    runner = LocalRunner("cpu")
    pipeline.train(space, dataset, "tiny", "retraining", jobs, lambda: runner, QUIET)
    pipeline.fill(
        space, dataset, ledger.classifiers_of(space, jobs), ("test",), "none", lambda: runner, QUIET
    )
    arms.compare_trainings(space, [(group, by_arm)], (), scores["test"], 3).write(space)
    commit_decisions(space, dataset.fingerprint, "train", [Decision(0, "relabel", 1, "ann")])
    return tiny


def rows(space: Workspace, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in query(space, sql).to_pylist()]


# ---------------------------------------------------------------- tables


def test_the_tables_are_those_of_the_schema() -> None:
    """Nothing documented that cannot be queried, nothing to query that is not documented."""
    assert sorted(SCHEMA) == list(TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_new_workspace_has_every_table_empty(tmp_path: Path, table: str) -> None:
    """Before anything is done each table has its columns, exactly those of the schema, and no
    row."""
    found = query(new_workspace(tmp_path), f"select * from {table}")
    assert found.num_rows == 0
    assert found.column_names == list(SCHEMA[table].columns)


@pytest.mark.parametrize("table", [name for name in TABLES if name not in OF_A_STUDY])
def test_a_finished_workspace_has_every_table_filled(study: Tiny, table: str) -> None:
    """After all stages each table has rows, and exactly the columns of the schema."""
    found = query(study.workspace, f"select * from {table}")
    assert found.num_rows > 0
    assert found.column_names == list(SCHEMA[table].columns)


@pytest.mark.parametrize("table", [name for name in TABLES if name not in OF_A_STUDY])
def test_empty_and_filled_tables_have_the_same_types(
    study: Tiny, tmp_path: Path, table: str
) -> None:
    """A query that works on a finished workspace works on a new one: the types agree column by
    column."""
    full, empty = (
        query(study.workspace, f"describe {table}").to_pylist(),
        query(new_workspace(tmp_path), f"describe {table}").to_pylist(),
    )
    assert [(row["column_name"], row["column_type"]) for row in full] == [
        (row["column_name"], row["column_type"]) for row in empty
    ]


def test_counts_are_those_of_the_study(study: Tiny) -> None:
    """6 + 4 trainings; 12 + 4 classifiers; 90 examples, 3 of them unreadable; 12 x 90 + 4 x 30
    answers."""
    space = study.workspace
    assert rows(space, "select role, count(*) from trainings group by role order by role") == [
        ("population", 6),
        ("retraining", 4),
    ]
    assert rows(space, "select role, count(*) from classifiers group by role order by role") == [
        ("population", 12),
        ("retraining", 4),
    ]
    assert rows(space, "select count(*), count(error) from examples") == [(90, 3)]
    assert rows(
        space,
        "select split, count(*), count(prediction) from answers group by split order by split",
    ) == [
        ("test", 16 * 30, 16 * 29),
        ("train", 12 * 60, 12 * 58),
    ]
    assert rows(space, "select count(*) from metrics where split = 'test'") == [(12 + 4,)]


def test_tables_can_be_joined(study: Tiny) -> None:
    """X-perplexity by hand in SQL, from answers and examples, equals the scores table, example by
    example."""
    sql = """
        select s.example_id, s.x_perplexity, x.x from scores s join (
            select a.split, a.example_id, avg((a.prediction <> e.label)::int) x
            from answers a join examples e using (split, example_id) join classifiers c using (classifier_id)
            where c.role = 'population' and a.prediction is not null group by all
        ) x using (split, example_id)
    """  # noqa: E501
    found = query(study.workspace, sql).to_pandas()
    assert len(found) == 58 + 29
    np.testing.assert_allclose(found["x_perplexity"], found["x"], rtol=1e-12)


def test_a_selection_can_be_read_back(study: Tiny) -> None:
    """What was selected is 58 readable examples less a tenth, each once."""
    assert rows(
        study.workspace, "select name, count(*), sum(copies) from selections group by name"
    ) == [("worst-dropped", 52, 52)]


@pytest.mark.parametrize(
    "sql",
    [
        "from classifiers",
        "with x as (select 1 as one) select * from x, trainings",
        "describe scores",
        "summarize metrics",
        "show tables",
        "SELECT count(*) FROM Scores;",
        "select * from (values (1), (2))",
        "-- a comment\nselect 1",
    ],
)
def test_harmless_forms_are_queries_too(study: Tiny, sql: str) -> None:
    assert query(study.workspace, sql).num_rows > 0


def test_show_tables_lists_all(tmp_path: Path) -> None:
    names = {row["name"] for row in query(new_workspace(tmp_path), "show tables").to_pylist()}
    assert set(TABLES) <= names


def test_an_unknown_column_says_where_the_columns_are(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"(?s)^the query was refused: .*nonsense.*See the tables and columns with 'zoo"
            r" schema'\."
        ),
    ):
        query(new_workspace(tmp_path), "select nonsense from scores")


# ---------------------------------------------------------------- attacks

CANARY = b"secret,column\n1,2\n"

ATTACKS = {
    "copy out": "copy (select 1) to '{out}'",
    "copy out a table": "copy classifiers to '{out}'",
    "copy in": "copy classifiers from '{canary}'",
    "attach": "attach '{out}' as other",
    "detach": "detach memory",
    "export": "export database '{out}'",
    "import": "import database '{folder}'",
    "pragma": "pragma enable_external_access = true",
    "set": "set enable_external_access = true",
    "reset": "reset enable_external_access",
    "install": "install httpfs",
    "load": "load '{canary}'",
    "create table": "create table t as select 1",
    "create view": "create view v as select 1",
    "create macro": "create macro m() as 1",
    "insert": "insert into classifiers select * from classifiers",
    "update": "update classifiers set epoch = 0",
    "delete": "delete from classifiers",
    "drop": "drop view classifiers",
    "two statements": "select 1; copy (select 1) to '{out}'",
    "two selects": "select 1; select 2",
    "select and set": "select 1; set enable_external_access = true",
    "explain analyze copy": "explain analyze copy (select 1) to '{out}'",
    "explain": "explain select 1",
    "prepare": "prepare p as copy (select 1) to '{out}'",
    "call": "call pragma_version()",
    "transaction": "begin transaction",
    "checkpoint": "checkpoint",
    "vacuum": "vacuum",
    "use": "use memory",
    "nothing": "",
    "only a comment": "-- copy (select 1) to '{out}'",
    "no sql": "delete everything, please",
    "read_csv": "select * from read_csv('{canary}')",
    "read_csv_auto": "select * from read_csv_auto('{canary}')",
    "read_text": "select content from read_text('{canary}')",
    "read_blob": "select * from read_blob('{canary}')",
    "read_parquet": "select * from read_parquet('{parquet}')",
    "read_json": "select * from read_json('{canary}')",
    "path as a table": "select * from '{canary}'",
    "parquet as a table": "select * from '{parquet}'",
    "glob": "select * from glob('{folder}/*')",
    "glob in a reader": "select * from read_csv('{folder}/*.csv')",
    "dots": "select * from read_csv('{store}/../canary.csv')",
    "file uri": "select * from read_csv('file://{canary}')",
    "http": "select * from read_csv('http://127.0.0.1:9/x.csv')",
    "s3": "select * from read_parquet('s3://bucket/x.parquet')",
    "sniffer": "select * from sniff_csv('{canary}')",
    "in a subquery": "select (select content from read_text('{canary}')) as c from classifiers",
    "in a common table": "with t as (select * from read_csv('{canary}')) select * from t",
    "beside the answers": "select * from answers, read_text('{canary}')",
    "by way of query()": "select * from query('copy (select 1) to ''{out}''')",
    "reader by way of query()": "select * from query('select * from read_text(''{canary}'')')",
    "by way of query_table()": "select * from query_table('{canary}')",
    "writing in a common table": (
        "with t as (insert into classifiers select * from classifiers returning *) select * from t"
    ),
    "deleting in a common table": "with t as (delete from answers returning *) select * from t",
    "getenv": "select getenv('HOME')",
    "settings by function": (
        "select * from classifiers where set_config('enable_external_access', 'true')"
    ),
    "parquet metadata": "select * from parquet_metadata('{parquet}')",
    "sqlite": "select * from sqlite_scan('{canary}', 't')",
}

OPENS_FILES = {
    name
    for name, sql in ATTACKS.items()
    if sql.startswith(("select", "with"))
    and any(place in sql for place in ("{canary}", "{parquet}", "{folder}", "{store}", "://"))
} - {"sqlite", "two statements"}
"""Those that are one SELECT, and have to be stopped by the lock on files rather than by their
form."""


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_touches_nothing(
    study: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Refused with an error of ours; the canary beside the workspace has its bytes and time,
    nothing new lies there, nothing changed."""
    space = study.workspace
    canary, parquet, out = tmp_path / "canary.csv", tmp_path / "canary.parquet", tmp_path / "out"
    canary.write_bytes(CANARY)
    pd.DataFrame({"secret": [1]}).to_parquet(parquet)
    store = tmp_path / "inner"
    store.mkdir()
    before = {path: path.stat().st_mtime_ns for path in (canary, parquet)}
    sql = ATTACKS[name].format(
        out=out, canary=canary, folder=tmp_path, parquet=parquet, store=store
    )
    with pytest.raises(UsageError):
        query(space, sql)
    if name in OPENS_FILES:  # also without the look at their form
        monkeypatch.setattr("zoo.store.query._check_nodes", lambda nodes: None)
        with pytest.raises(UsageError) as caught:
            query(space, sql)
        assert "Permission Error: Cannot access file" in str(caught.value)
    assert canary.read_bytes() == CANARY
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "canary.csv",
        "canary.parquet",
        "inner",
    ]
    assert rows(space, "select count(*) from classifiers") == [(16,)]


@pytest.mark.parametrize(
    "name", ["read_csv", "read_text", "glob", "dots", "read_parquet", "path as a table", "copy out"]
)
def test_the_attacks_work_where_nothing_is_locked(tmp_path: Path, name: str) -> None:
    """Twin: plain DuckDB reads the canary by the same statements, and writes the file."""
    canary, parquet, out = tmp_path / "canary.csv", tmp_path / "canary.parquet", tmp_path / "out"
    canary.write_bytes(CANARY)
    pd.DataFrame({"secret": [1]}).to_parquet(parquet)
    (tmp_path / "inner").mkdir()
    sql = ATTACKS[name].format(
        out=out, canary=canary, folder=tmp_path, parquet=parquet, store=tmp_path / "inner"
    )
    found = duckdb.connect(":memory:").execute(sql).fetchall()
    assert found
    assert out.exists() == (name == "copy out")


def test_only_one_select_passes_with_a_reason(tmp_path: Path) -> None:
    """The message names what it was instead."""
    space = new_workspace(tmp_path)
    with pytest.raises(
        UsageError,
        match=(
            r"^a query must be exactly one SELECT; this is COPY\. The store is read-only by this"
            r" way\.$"
        ),
    ):
        query(space, "copy (select 1) to 'x'")
    with pytest.raises(UsageError, match=r"this is SELECT and SELECT\."):
        query(space, "select 1; select 2")
    with pytest.raises(UsageError, match=r"this is empty\."):
        query(space, " ")
    with pytest.raises(
        UsageError, match=r"(?s)^this is not SQL that DuckDB can parse: .*Example: zoo query"
    ):
        query(space, "selec 1")


def test_the_answers_of_other_workspaces_cannot_be_read(study: Tiny, trained: Tiny) -> None:
    """A query over answers opens the parts of its own workspace and no others."""
    other = next(path for path in (trained.root / "answers").rglob("*.parquet"))
    with pytest.raises(UsageError, match="table function 'read_parquet' is not allowed"):
        query(study.workspace, f"select count(*) from answers, read_parquet('{other}')")
    with pytest.raises(UsageError, match="refused"):
        query(study.workspace, f"select count(*) from answers, '{other}'")


def test_a_part_that_no_commit_names_is_not_seen(study: Tiny) -> None:
    """Tables come from commits, never from what lies in a folder."""
    space = study.workspace
    before = rows(space, "select count(*) from answers")
    stray = next(path for path in (study.root / "answers").rglob("*.parquet"))
    copy = stray.with_name(f"shard-00009-of-00010-{stray.stem[-16:]}.parquet")
    copy.write_bytes(stray.read_bytes())
    try:
        assert rows(space, "select count(*) from answers") == before
    finally:
        copy.unlink()


def test_a_slow_query_is_stopped(tmp_path: Path) -> None:
    """After its time limit, with advice."""
    sql = (
        "select count(*) from range(10000000) a, range(10000000) b where (a.range * b.range) %"
        " 7 = 3"
    )
    with pytest.raises(
        UsageError, match=r"^the query was stopped after 0\.2 s\. Narrow it with a WHERE clause\.$"
    ):
        query(new_workspace(tmp_path), sql, seconds=0.2)


def test_memory_is_limited(tmp_path: Path) -> None:
    """Beyond its limit a query ends with an error, and spills nowhere."""
    sql = "select count(distinct a.range::varchar || repeat('x', 100)) from range(5000000) a"
    with pytest.raises(UsageError, match=r"(?i)out of memory"):
        query(new_workspace(tmp_path), sql, memory="20MB")


# ---------------------------------------------------------------- sub-populations


@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("fraction <= 0.5", 8),
        ("arch not like 'nin%'", 6),
        ("arch = 'softmax' and epoch = 3 and fraction = 1", 1),
        ("true", 12),
        ("replica in (select 1)", 4),
        ("epoch = 1 -- a comment", 6),
    ],
)
def test_a_condition_chooses_classifiers(trained: Tiny, condition: str, count: int) -> None:
    assert len(choose_population(trained.workspace, condition).classifiers) == count


@pytest.mark.parametrize(
    "condition",
    [
        "fraction <",
        "nonsense = 1",
        "true) or (select 1 from read_csv('/etc/hostname'))::bool or (true",
        "exists (select * from read_text('/etc/hostname'))",
        "true); copy (select 1) to '{out}'; select * from population where (true",
        "true) union all select * from population where (true); select 1; --",
        "",
    ],
)
def test_a_condition_that_is_none_is_refused(trained: Tiny, tmp_path: Path, condition: str) -> None:
    """Half an expression, an unknown column, a way to files or a second statement: an error of
    ours, and no file."""
    with pytest.raises(UsageError):
        choose_population(trained.workspace, condition.format(out=tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_column_lists_the_columns() -> None:
    with pytest.raises(
        UsageError, match=r"(?s)^--where 'colour = 1' was refused: .*Columns: arch, epoch\.$"
    ):
        where(pd.DataFrame({"arch": ["a"], "epoch": [1]}), "colour = 1")


def test_where_keeps_rows_as_they_are() -> None:
    frame = pd.DataFrame({"arch": ["a", "b", "c"], "epoch": [1, 2, 3]})
    assert where(frame, "epoch >= 2")["arch"].tolist() == ["b", "c"]


def test_results_of_other_names_are_no_tables(tmp_path: Path) -> None:
    """Only the scores of whole splits make the table ``scores``; a sub-population's has a name of
    its own."""
    space = new_workspace(tmp_path)
    write_table(space, "subscores-train", pd.DataFrame({"x": [1]}))
    assert query(space, "select * from scores").num_rows == 0
    with pytest.raises(UsageError, match="refused"):
        query(space, "select * from subscores")
