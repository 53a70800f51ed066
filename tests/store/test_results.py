"""Tidy tables on disk: one CSV for people, one Parquet for queries, the same values in both."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import workspace
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import NotFoundError
from zoo.store.origin import Origin
from zoo.store.query import query
from zoo.store.results import (
    csv_text,
    read_scores,
    read_table,
    table_names,
    table_of,
    write_scores,
    write_table,
)
from zoo.store.schema import SCORES_SCHEMA


def test_a_table_comes_back_from_parquet_and_lies_beside_as_csv(tmp_path: Path) -> None:
    """Numbers, text, nulls and lists; the name is listed."""
    space = workspace(tmp_path)
    frame = pd.DataFrame(
        {"name": ["a", None], "n": [1, 2], "x": [0.1, np.nan], "list": [[1, 2], []]}
    )
    write_table(space, "mine", frame, {"n": 3})
    back = read_table(space, "mine")
    assert back["n"].tolist() == [1, 2]
    assert back["x"].tolist()[0] == 0.1
    assert [list(values) for values in back["list"]] == [[1, 2], []]
    assert (space.results / "mine.csv").read_text() == 'name,n,x,list\na,1,0.1,"[1, 2]"\n,2,,[]\n'
    assert table_names(space) == ["mine"]
    about = pq.read_schema(space.results / "mine.parquet").metadata[b"zoo"]
    assert json.loads(about) == {"n": 3}


def test_writing_again_replaces_the_whole(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    for rows in ([1, 2, 3], [4]):
        write_table(space, "mine", pa.table({"n": rows}))
    assert read_table(space, "mine")["n"].tolist() == [4]
    assert (space.results / "mine.csv").read_text() == "n\n4\n"


def test_the_bytes_depend_on_the_values_alone(tmp_path: Path) -> None:
    """The same table written in two workspaces, from pandas and from Arrow: the same CSV."""
    one, two = workspace(tmp_path / "one"), workspace(tmp_path / "two")
    frame = pd.DataFrame({"x": [1 / 3, 1e-300, 0.1 + 0.2], "name": ["a", "b", "c"]})
    write_table(one, "t", frame)
    write_table(two, "t", pa.Table.from_pandas(frame))
    assert (one.results / "t.csv").read_bytes() == (two.results / "t.csv").read_bytes()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_floats_are_exact_in_csv(values: list[float]) -> None:
    """Reading a CSV gives back every double."""
    text = csv_text(pd.DataFrame({"x": values}))
    assert [float(row["x"]) for row in csv.DictReader(io.StringIO(text))] == values


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_text_that_a_spreadsheet_would_run_is_quoted(start: str) -> None:
    """A class called =HYPERLINK(...) is text; a negative number stays a number."""
    text = csv_text(pd.DataFrame({"name": [f"{start}1+1"], "x": [-1.5]}))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {"name": f"'{start}1+1", "x": "-1.5"}


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6))
def test_any_text_is_one_cell(values: list[str]) -> None:
    """Commas, quotes and line ends in a text make no new column and no new row."""
    frame = pd.DataFrame({"name": pd.Series(values, dtype="object"), "n": range(len(values))})
    rows = list(csv.DictReader(io.StringIO(csv_text(frame), newline="")))
    assert [row["n"] for row in rows] == [str(i) for i in range(len(values))]


def test_an_absent_table_says_which_command_makes_it(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    assert table_names(space) == []
    for name, command in (
        ("scores-train", "zoo score"),
        ("comparisons", "zoo compare"),
        ("detection", "zoo run EXPERIMENT"),
    ):
        with pytest.raises(
            NotFoundError, match=rf"^no table '{name}' in .*Make it with '{command}'\.$"
        ):
            read_table(space, name)


# ---------------------------------------------------------------- scores of a population


def scores_of(split: str) -> pa.Table:
    """Two rows of a scores table, of which nothing but key and split is known."""
    rows = {
        "split": [split] * 2,
        "example_id": [0, 1],
        "key": [f"{split}/0", f"{split}/1"],
        "n": [1, 1],
    }
    return pa.table(
        {
            field.name: pa.array(rows.get(field.name, [None, None]), field.type)
            for field in SCORES_SCHEMA
        }
    )


def test_scores_of_a_split_of_any_name_are_in_the_table(tmp_path: Path) -> None:
    """Not only train, test and validation; a part of a population, and what else lies there, are
    not."""
    space = workspace(tmp_path)
    for split in ("train", "holdout", "fold-3"):
        write_scores(space, scores_of(split), Origin("0123456789abcdef", split, "p"), 1)
    write_table(space, "subscores-train", scores_of("train"), {"where": "epoch = 1"})
    write_table(space, "scores-mine", scores_of("mine"), {})
    found = query(
        space, "select split, count(*) n from scores group by split order by split"
    ).to_pylist()
    assert found == [
        {"split": "fold-3", "n": 2},
        {"split": "holdout", "n": 2},
        {"split": "train", "n": 2},
    ]
    assert read_scores(space, "0123456789abcdef", "holdout")[1] == Origin(
        "0123456789abcdef", "holdout", "p"
    )


def test_scores_that_are_not_there_name_the_command_and_those_that_are(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    write_scores(space, scores_of("train"), Origin("a" * 16, "train", "p"), 1)
    with pytest.raises(
        NotFoundError,
        match=(
            r"^no scores of split test of data set a{16} in .*: scores-train is of split train of"
            r" .*zoo score --split test"
        ),
    ):
        read_scores(space, "a" * 16, "test")
    with pytest.raises(NotFoundError, match=r"no scores of split train of data set b{16}"):
        read_scores(space, "b" * 16, "train")


def test_a_table_of_another_data_set_is_not_given(tmp_path: Path) -> None:
    """One that does not say of which data set it is, is."""
    space = workspace(tmp_path)
    write_table(space, "arms", pd.DataFrame({"x": [1]}), {"dataset": "a"})
    write_table(space, "older", pd.DataFrame({"x": [1]}))
    assert table_of(space, "arms", "a") is not None
    assert table_of(space, "arms", "b") is None
    assert table_of(space, "older", "b") is not None
    assert table_of(space, "never", "a") is None


@given(st.lists(st.floats(), min_size=1))
def test_numbers_are_written_with_the_digits_of_numpy(numbers: list[float]) -> None:
    """Shortest that give the number back; a NaN is nothing, an infinity is inf; as pandas itself
    writes the column."""
    frame = pd.DataFrame({"a": np.array(numbers), "b": 1})
    assert csv_text(frame) == frame.to_csv(index=False, lineterminator="\n")


def test_lists_of_numbers_are_written_as_json_would(tmp_path: Path) -> None:
    """Whole columns at once and row by row give the same CSV: missing lists, empty lists, an
    infinity (which JSON writes in its own way), a sliced column, texts that need a quote and texts
    that do not."""
    votes = pa.list_(pa.struct([("class", pa.int32()), ("votes", pa.int64())]))
    values = pa.list_(pa.struct([("class", pa.int32()), ("value", pa.float64())]))
    items = [[{"class": 3, "value": 0.1}, {"class": 1, "value": 1e-07}], None, [], [], None]
    table = pa.table(
        {
            "votes": pa.array([[{"class": 3, "votes": 5}], [], None, None, None], votes),
            "values": pa.array(items, values),
            "endless": pa.array([[{"class": 1, "value": np.inf}], *[None] * 4], values),
            "plain": pa.array(["a", None, "b,c", 'd"', "e"]),
            "formula": pa.array(["a", None, "=b", "c\rd", "-e"]),
        }
    )
    for part in (table, table.slice(1, 3)):
        space = workspace(tmp_path)
        write_table(space, "lists", part)
        text = (space.results / "lists.csv").read_text(encoding="utf-8")
        assert text == csv_text(part.to_pandas().astype(object))
        assert read_table(space, "lists").equals(part.to_pandas())
