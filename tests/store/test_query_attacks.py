"""Attacks on ``zoo query``: each is refused or harmless, none reads or touches a canary or a part
of the store, and the harness would notice."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from factories import workspace as new_workspace

from tests.store.story import tell
from zoo.errors import UsageError
from zoo.store import answers
from zoo.store import query as module
from zoo.store.query import query, where
from zoo.store.workspace import Workspace

SECRET = "canary-c0ffee"
OUTSIDE = pa.table({"secret": [SECRET]})
"""A table of this module: what a replacement scan of Python's variables would find."""


@dataclass(frozen=True)
class Field:
    """A workspace, and around it what attacks are after. ``seen``: bytes and time of every file
    before the attack."""

    workspace: Workspace
    folder: Path
    seen: dict[Path, tuple[str, int]]

    @property
    def part(self) -> Path:
        """A part of the store that queries may read."""
        return min((self.workspace.root / "answers").rglob("*.parquet"))

    def statement(self, text: str) -> str:
        places = {
            "f": self.folder,
            "out": self.folder / "out",
            "part": self.part,
            "answers": self.part.parent,
        }
        for name, place in places.items():
            text = text.replace("{" + name + "}", str(place))
        return text


def files_below(folder: Path) -> dict[Path, tuple[str, int]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in found
    }


def new_field(folder: Path) -> Field:
    """The store of the story, canaries beside it, and a link inside it that leads out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "SMALL_SHARD", 64)
        patch.setattr(answers, "LARGE_SHARD", 16)
        told = Workspace.open(folder / "store", create=True)
        tell(told)
    (folder / "canary.csv").write_text(f"secret,n\n{SECRET},1\n")
    (folder / "canary.txt").write_text(SECRET)
    (folder / "canary.json").write_text(f'{{"secret": "{SECRET}"}}\n')
    pd.DataFrame({"secret": [SECRET]}).to_parquet(folder / "canary.parquet")
    (folder / "macro.sql").write_text(f"create macro m() as '{SECRET}';\n")
    (min((told.root / "answers").iterdir()) / "link.csv").symlink_to(folder / "canary.csv")
    return Field(told, folder, files_below(folder))


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """One for all attacks: each proves that it is as before."""
    return new_field(tmp_path_factory.mktemp("field"))


@pytest.fixture(autouse=True)
def a_table_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB looks for unknown tables among the variables around its call: here is one to be
    found."""
    monkeypatch.setattr(module, "_A_TABLE_OF_THE_MODULE", pa.table({"secret": [1]}), raising=False)


@pytest.fixture
def victim(tmp_path: Path) -> Field:
    """One for an attack that succeeds."""
    return new_field(tmp_path)


def consequences(field: Field, sql: str, run: Callable[[Workspace, str], pa.Table]) -> list[str]:
    """What an attack has achieved: [] if nothing. It may be refused, by an error of ours alone, or
    give a result without the secret."""
    found, said = [], ""
    try:
        said = str(run(field.workspace, sql).to_pydict())
    except UsageError as refusal:
        said = str(refusal)
    except Exception as error:
        found.append(f"an error that is not ours: {type(error).__name__}")
    if SECRET in said:
        found.append("the secret was read")
    after = files_below(field.folder)
    found += [f"changed {path.name}" for path in field.seen if after.get(path) != field.seen[path]]
    found += [f"made {path.name}" for path in after if path not in field.seen]
    return found


READERS = {
    f"{reader} of {place}": f"select * from {reader}('{place}')"
    for reader, place in [
        ("read_csv", "{f}/canary.csv"),
        ("read_csv_auto", "{f}/canary.csv"),
        ("read_text", "{f}/canary.txt"),
        ("read_blob", "{f}/canary.txt"),
        ("read_json", "{f}/canary.json"),
        ("read_json_auto", "{f}/canary.json"),
        ("read_json_objects", "{f}/canary.json"),
        ("read_ndjson", "{f}/canary.json"),
        ("read_parquet", "{f}/canary.parquet"),
        ("parquet_scan", "{f}/canary.parquet"),
        ("parquet_metadata", "{f}/canary.parquet"),
        ("parquet_schema", "{f}/canary.parquet"),
        ("parquet_file_metadata", "{f}/canary.parquet"),
        ("parquet_kv_metadata", "{f}/canary.parquet"),
        ("parquet_full_metadata", "{f}/canary.parquet"),
        ("sniff_csv", "{f}/canary.csv"),
        ("glob", "{f}/*"),
        ("read_duckdb", "{f}/canary.db"),
        ("read_text", "{answers}/../../../canary.txt"),
        ("read_text", "{part}/../../../../canary.txt"),
        ("read_csv", "{answers}/link.csv"),
        ("read_csv", "{f}/*.csv"),
        ("read_text", "file://{f}/canary.txt"),
        ("read_text", "/proc/self/environ"),
    ]
}

ATTACKS: dict[str, str] = READERS | {
    # writing
    "copy to": "copy (select 1) to '{out}'",
    "copy table to": "copy classifiers to '{out}' (format csv)",
    "copy to parquet": "copy (select 1) to '{out}' (format parquet)",
    "copy without a temporary file": "copy (select 1) to '{out}' (use_tmp_file false)",
    "copy per thread": "copy (select 1) to '{out}' (per_thread_output true)",
    "copy over a part": "copy (select 1 as one) to '{part}' (format parquet, use_tmp_file false)",
    "copy from": "copy classifiers from '{f}/canary.csv'",
    "copy database": "copy from database memory to other",
    "explain copy": "explain copy (select 1) to '{out}'",
    "explain analyze copy": "explain analyze copy (select 1) to '{out}'",
    "copy in a common table": "with t as (copy (select 1) to '{out}') select 1",
    "copy in a common table over a part": (
        "with t as (copy (select 1 as one) to '{part}' (format parquet, use_tmp_file false)) select"
        " * from answers"
    ),
    "copy in a nested common table": (
        "select * from (with t as materialized (copy (select 1) to '{part}') from t) u, answers"
    ),
    "export": "export database '{out}'",
    "import": "import database '{f}'",
    "attach": "attach '{out}' as other",
    "attach read-only": "attach '{f}/canary.txt' as other (read_only)",
    "detach": "detach memory",
    "prepare": "prepare p as copy (select 1) to '{out}'",
    "execute": "execute p",
    "vacuum": "vacuum",
    "checkpoint": "force checkpoint",
    # changing what can be reached
    "set": "set enable_external_access = true",
    "set global": "set global lock_configuration = false",
    "set paths": "set allowed_paths = ['{f}/canary.txt']",
    "reset": "reset lock_configuration",
    "pragma": "pragma enable_external_access = true",
    "pragma table": "pragma table_info('classifiers')",
    "install": "install httpfs",
    "install from a folder": "install x from '{f}'",
    "load": "load '{f}/canary.txt'",
    "secret": "create secret s (type s3, key_id 'a', secret 'b')",
    "use": "use memory",
    "call": "call pragma_version()",
    "settings by function": "select set_config('enable_external_access', 'true')",
    "logging to a file": (
        "from enable_logging('QueryLog', storage = 'file', storage_path = '{out}')"
    ),
    "profiling to a file": "from enable_profiling(save_location = '{out}')",
    # changing the tables
    "create table": "create table t as select 1",
    "create or replace view": "create or replace view classifiers as select 1",
    "create macro": "create macro m() as table select * from read_text('{f}/canary.txt')",
    "insert": "insert into classifiers select * from classifiers",
    "update": "update classifiers set epoch = 0",
    "delete": "delete from answers",
    "truncate": "truncate answers",
    "drop": "drop view answers",
    "alter": "alter view answers rename to other",
    "comment on": "comment on view answers is 'x'",
    "merge": "merge into classifiers using metrics on true when matched then delete",
    "insert in a common table": (
        "with t as (insert into classifiers select * from classifiers returning *) select * from t"
    ),
    "update in a common table": (
        "with t as (update classifiers set epoch = 0 returning *) select * from t"
    ),
    "delete in a common table": "with t as (delete from answers returning *) select * from t",
    # more than one statement, or another than it seems
    "two statements": "select 1; copy (select 1) to '{out}'",
    "the other first": "copy (select 1) to '{out}'; select 1",
    "behind a line comment": "select 1 -- harmless\n; copy (select 1) to '{out}'",
    "behind a block comment": "select 1 /* ; */ ; copy (select 1) to '{out}' /* */",
    "comment inside a comment": "/* /* */ select 1; */ copy (select 1) to '{out}'",
    "dollar quotes": "select $$ $$; copy (select 1) to $a${out}$a$",
    "a null byte": "select 1\0; copy (select 1) to '{out}'",
    "shell": ".shell touch {out}",
    "shell by once": ".once {out}\nselect 1",
    # by another door
    "path as a table": "select * from '{f}/canary.csv'",
    "quoted path as a table": 'select * from "{f}/canary.parquet"',
    "path of a text file": "from '{f}/canary.txt'",
    "path of a link": "from '{answers}/link.csv'",
    "describe a path": "describe '{f}/canary.csv'",
    "describe a reader": "describe select * from read_csv('{f}/canary.csv')",
    "summarize a path": "summarize '{f}/canary.csv'",
    "query()": "from query('copy (select 1) to ''{out}''')",
    "query() with a reader": "from query('from read_text(''{f}/canary.txt'')')",
    "query_table()": "from query_table('{f}/canary.csv')",
    "query_table() of several": "from query_table(['{f}/canary.csv', '{f}/canary.csv'])",
    "a statement as JSON": (
        "from json_execute_serialized_sql(json_serialize_sql('from read_text(''{f}/canary.txt'')'))"
    ),
    "a macro over a path": "from histogram('{f}/canary.csv', n)",
    "reader with a qualified name": "from system.main.read_text('{f}/canary.txt')",
    "reader in capitals": "FROM READ_TEXT('{f}/canary.txt')",
    "reader in quotes": "from \"read_text\"('{f}/canary.txt')",
    "reader in a scalar subquery": "select (select content from read_text('{f}/canary.txt'))",
    "reader in a lateral join": (
        "from range(1) r, lateral (select * from read_text('{f}/canary.txt')) t"
    ),
    "reader beside answers": "select * from answers, read_text('{f}/canary.txt')",
    "reader in a common table": "with t as (from read_text('{f}/canary.txt')) from t",
    "reader in a recursion": (
        "with recursive t as (select content from read_text('{f}/canary.txt') union all from t"
        " where false) from t"
    ),
    "reader in a condition": (
        "select 1 where exists (from read_text('{f}/canary.txt') where content like 'canary-c0%')"
    ),
    "reader in an order": "from metrics order by (select content from read_text('{f}/canary.txt'))",
    "pivot over a reader": "pivot read_csv('{f}/canary.csv') on n in (1) using first(secret)",
    "error that tells": "select error((select content from read_text('{f}/canary.txt')))",
    "cast that tells": "select (select content from read_text('{f}/canary.txt'))::int",
    "http": "from read_csv('http://127.0.0.1:9/x.csv')",
    "s3": "from 's3://bucket/x.parquet'",
    "sqlite": "from sqlite_scan('{f}/canary.txt', 't')",
    "a python table": "from OUTSIDE",
    "a python variable of the query module": "from _A_TABLE_OF_THE_MODULE",
    "a python variable of the call": "from frames",
    "an address": "from arrow_scan(1234::pointer, 1234::pointer, 1234::pointer)",
    "an address of a frame": "from pandas_scan(1234)",
    "getenv": "select getenv('SECRET')",
    "getvariable": "select getvariable('SECRET')",
    "secrets": "from duckdb_secrets()",
    "which secret": "from which_secret('s3://bucket', 's3')",
    "log": "from duckdb_logs()",
    "truncate log": "from truncate_duckdb_logs()",
    "sequence": "select nextval('s')",
    "nested deeply": "select " + "(" * 5000 + "1" + ")" * 5000,
    "a long sum": "select " + "+".join(["1"] * 20000),
    "no text": "",
    "only a comment": "-- copy (select 1) to '{out}'",
}
HARMLESS = {"getvariable"}
"""An answer, but an empty one: only their consequences count."""


def test_there_are_attacks_enough() -> None:
    """The issue asks for forty."""
    assert len(ATTACKS) >= 100


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_achieves_nothing(
    field: Field, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is refused by an error of ours; no secret is in the answer or the error; no file is new,
    gone or changed, the store's own included."""
    monkeypatch.setenv("SECRET", SECRET)
    sql = field.statement(ATTACKS[name])
    assert consequences(field, sql, query) == []
    if name not in HARMLESS:
        with pytest.raises(UsageError):
            query(field.workspace, sql)


SELECTS = [
    name
    for name, text in ATTACKS.items()
    if text.lower().startswith(("select", "from", "with")) and ";" not in text
]


@pytest.mark.parametrize("name", [name for name in SELECTS if "copy in" not in name])
def test_the_second_wall_holds_alone(
    field: Field, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without any look at the form of a SELECT, the lock on files and settings gives away nothing
    either (all but COPY over a part)."""
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setattr(module, "_check_nodes", lambda nodes: None)
    assert consequences(field, field.statement(ATTACKS[name]), query) == []


@pytest.mark.parametrize("name", [name for name in SELECTS if "read" in name or "copy in" in name])
def test_the_first_wall_holds_alone(
    field: Field, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without any lock, the form of a SELECT keeps it from readers and from writing."""
    monkeypatch.setattr(module, "_lock", lambda *arguments: None)
    assert consequences(field, field.statement(ATTACKS[name]), query) == []


# ---------------------------------------------------------------- twins: the harness notices


@pytest.fixture
def no_walls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protection is taken away: any statement, any function, any file."""
    for name in ("_check", "_lock"):
        monkeypatch.setattr(module, name, lambda *arguments: None)


@pytest.mark.usefixtures("no_walls")
@pytest.mark.parametrize(
    ("name", "consequence"),
    [
        ("read_csv of {f}/canary.csv", "the secret was read"),
        ("read_text of {answers}/../../../canary.txt", "the secret was read"),
        ("read_csv of {answers}/link.csv", "the secret was read"),
        ("read_parquet of {f}/canary.parquet", "the secret was read"),
        ("path as a table", "the secret was read"),
        ("describe a reader", ""),
        ("a statement as JSON", "the secret was read"),
        ("query() with a reader", "the secret was read"),
        ("error that tells", "the secret was read"),
        ("a python variable of the query module", ""),
        ("copy to", "made out"),
        ("copy in a common table", "made out"),
        ("attach", "made out"),
        ("export", "made schema.sql"),
    ],
)
def test_without_walls_an_attack_succeeds_and_is_noticed(
    victim: Field, name: str, consequence: str
) -> None:
    """Twin: the same statements by the same harness."""
    sql = victim.statement(ATTACKS[name])
    if consequence:
        assert consequence in consequences(victim, sql, query)
    else:
        assert query(victim.workspace, sql).num_columns > 0


def test_a_locked_query_could_overwrite_parts_but_for_its_form(
    victim: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: files that may be read may be written, for DuckDB; COPY inside a SELECT is kept out by
    the first wall alone."""
    monkeypatch.setattr(module, "_check_nodes", lambda nodes: None)
    sql = victim.statement(ATTACKS["copy in a common table over a part"])
    assert f"changed {victim.part.name}" in consequences(victim, sql, query)


def test_the_secret_in_a_refusal_is_noticed(field: Field) -> None:
    """Twin: an error that tells is a consequence, an error of another kind too."""

    def tells(workspace: Workspace, sql: str) -> Any:
        raise UsageError(f"cannot convert {SECRET}")

    def breaks(workspace: Workspace, sql: str) -> Any:
        raise KeyError(sql)

    assert consequences(field, "select 1", tells) == ["the secret was read"]
    assert consequences(field, "select 1", breaks) == ["an error that is not ours: KeyError"]


# ---------------------------------------------------------------- limits


HUGE = {
    "rows": "from range(100000000000)",
    "cross join": "from range(10000000) a, range(10000000) b",
    "sorted cross join": (
        "from range(10000000) a, range(100000) b order by a.range * b.range % 1000"
    ),
    "recursion": "with recursive t as (select 1::hugeint n union all select n + 1 from t) from t",
    "distinct": "select count(distinct a.range * b.range) from range(1000000) a, range(1000000) b",
    "sleep": "select sleep_ms(1000000)",
    "endless condition": (
        "select count(*) from range(10000000) a, range(10000000) b where hash(a.range, b.range) = 0"
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_query_ends_by_a_limit(field: Field, name: str) -> None:
    """By memory, size of the result or time, whichever comes first, with what to do."""
    with pytest.raises(
        UsageError, match=r"(?i)stopped after 1 s|larger than 50,000,000 bytes|out of memory"
    ):
        query(field.workspace, HUGE[name], memory="100MB", seconds=1, result_bytes=50_000_000)
    assert files_below(field.folder) == field.seen


def test_a_condition_has_a_time_limit() -> None:
    """One that counts for ever is refused like others."""
    frame = pd.DataFrame({"epoch": [1]})
    endless = (
        "(select count(*) from range(10000000) a, range(10000000) b where hash(a.range, b.range) ="
        " 0) = 0"
    )
    with pytest.raises(UsageError, match=r"was refused: not done after 0\.5 s\. Columns: epoch\."):
        where(frame, endless, seconds=0.5)


def limited(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own; ``run(sql)`` is a query over an empty workspace."""
    head = """
import sys, tempfile
from pathlib import Path
from zoo.errors import UsageError
from zoo.store.query import hard_limits, query
from zoo.store.workspace import Workspace
space = Workspace.open(Path(tempfile.mkdtemp()) / 'zoo', create=True)
query(space, 'select 1')
def run(sql):
    try:
        query(space, sql, memory='100MB')
    except UsageError as error:
        print('refused:', error)
    else:
        print('done')
"""
    return subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="RLIMIT_DATA counts private memory on Linux alone"
)
def test_one_huge_value_is_refused_by_the_hard_limit() -> None:
    """Two billion letters of one function call, which DuckDB's own limit does not count. Twin: a
    small one is made, a large one without limits."""
    done = limited(
        "import zoo.store.query as module\nmodule._ENGINE_BYTES = 3 * 10**8\n"
        "with hard_limits(memory_bytes=10**8, seconds=100):\n"
        "    run(\"select length(repeat('xy', 1000000000))\")\n"
        "    run(\"select length(repeat('xy', 1000000))\")\n"
        "run(\"select length(repeat('0123456789' || repeat('x', 1000000), 600))\")\n"
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("refused", "done"))]
    assert [line.partition(":")[0] for line in lines] == ["refused", "done", "done"]
    assert "Out of Memory" in lines[0]


def test_a_query_that_cannot_be_interrupted_ends_with_its_process() -> None:
    """One call that runs for minutes: after its time the process ends with 1 and says why. Twin: a
    short one goes on."""
    done = limited(
        "with hard_limits(seconds=60):\n    run('select 1')\nprint('still here', flush=True)\nwith"
        " hard_limits(memory_bytes=4 * 10**9, seconds=1):\n    run(\"select length(repeat('x',"
        ' 3000000000))")\n    import time; time.sleep(60)\n'
    )
    assert done.returncode == 1
    assert "still here" in done.stdout
    assert (
        "zoo: the query did not stop after 1 s and was ended. Narrow it with a WHERE clause."
        in done.stderr
    )


def test_half_precision_lists_come_as_floats(field: Field) -> None:
    """top5_p is float16 in the store and float32 in a query, value by value, also inside lists and
    over all classes."""
    found = query(
        field.workspace,
        "select top5_p, top5, p_label, prediction from answers where example_id = 3 order by"
        " classifier_id",
    )
    assert found.schema.field("top5_p").type == pa.list_(pa.field("l", pa.float32()))
    assert found.num_rows == 2
    for row in found.to_pylist():
        assert row["top5"][0] == row["prediction"]
        assert row["top5"][3:] == [-1, -1]
        # the label of example 3 is 0
        assert row["top5_p"][row["top5"].index(0)] == pytest.approx(row["p_label"], rel=1e-3)
    assert query(field.workspace, "select avg(list_sum(top5_p)) as s from answers").to_pylist()[0][
        "s"
    ] == pytest.approx(1.0, abs=1e-3)


def test_a_new_workspace_is_no_weaker(tmp_path: Path) -> None:
    """Without any answers there are no files to read: none can be."""
    (tmp_path / "canary.txt").write_text(SECRET)
    with pytest.raises(
        UsageError,
        match=(
            r"^table function 'read_text' is not allowed in a query\. Allowed: the tables of 'zoo"
            r" schema' and "
        ),
    ):
        query(new_workspace(tmp_path), f"from read_text('{tmp_path}/canary.txt'), answers")
