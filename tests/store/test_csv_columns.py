"""The CSV of a table, made column by column, is what the module ``csv`` writes cell by cell."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from factories import Tiny, workspace
from hypothesis import given
from hypothesis import strategies as st

from zoo.scores.from_store import score
from zoo.scores.population import choose_population
from zoo.store import results
from zoo.store.results import csv_text, spreadsheet_text, write_table


def cell(value: Any, float_format: str | None) -> Any:
    """A value by the rules of ``csv_text``."""
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, list | np.ndarray):
        return json.dumps(value, default=lambda array: array.tolist())
    if isinstance(value, float | np.floating):
        if math.isnan(value):
            return None
        if float_format is not None:
            return float_format % value
        # of the array, as pandas asks numpy, not of the number: 1e+06 and 1000000.0
        return np.array([value]).astype(str)[0] if isinstance(value, np.float32) else repr(value)
    return value


def by_cell(frame: pd.DataFrame, float_format: str | None = None) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(frame.columns)
    columns = [
        list(column.to_numpy() if column.dtype == np.float32 else column)
        for _, column in frame.items()
    ]
    writer.writerows([cell(v, float_format) for v in row] for row in zip(*columns, strict=True))
    return out.getvalue()


_FLOATS = st.floats() | st.sampled_from(
    [0.0, -0.0, 1e-4, math.nextafter(1e-4, 0), 1e10, math.nextafter(1e10, 0), 1e16, 5e-324, 7.0]
)
_ROWS = st.lists(
    st.tuples(
        _FLOATS,
        st.floats(width=32),
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
        st.none() | st.text(alphabet='ab,"\n\r=-+@\t é', max_size=6),
        st.none() | st.integers(0, 9),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@given(_ROWS, st.sampled_from([None, "%.6g"]))
def test_columns_are_written_as_cells_are(
    rows: list[tuple[Any, ...]], float_format: str | None
) -> None:
    """Floats of two widths, whole numbers, truth, texts with everything that needs a quote, and
    nullable columns."""
    f64, f32, i64, true, text, nullable, maybe = zip(*rows, strict=True)
    frame = pd.DataFrame(
        {
            "f64": np.array(f64, np.float64),
            "f32": np.array(f32, np.float32),
            "i64": np.array(i64, np.int64),
            "true": np.array(true),
            "text": pd.array(text, dtype="str"),
            "objects": pd.Series(text, dtype="object"),
            "nullable": pd.array(nullable, dtype="Int64"),
            "maybe": pd.array(maybe, dtype="boolean"),
            'a,"b"': pd.Categorical(text),
        }
    )
    assert csv_text(frame, float_format) == by_cell(frame, float_format)


def test_dates_lists_and_what_else_a_column_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pandas writes dates; lists as JSON; and the same in blocks of two rows."""
    days = pd.to_datetime(["2020-01-01", None, "2020-01-03"])
    frame = pd.DataFrame({"x": [[1, 2], None, []], "y": [1, 2.5, "z"]})
    expected = by_cell(frame)
    assert csv_text(frame) == expected
    monkeypatch.setattr(results, "_CSV_ROWS", 2)
    assert csv_text(frame) == expected
    assert (
        csv_text(pd.DataFrame({"day": days, "n": 1})) == "day,n\n2020-01-01,1\n,1\n2020-01-03,1\n"
    )


def test_a_column_of_texts_may_be_in_pieces() -> None:
    """As joined tables, and tables read in several batches, have it."""
    pieces = pa.table({"x": pa.chunked_array([["a", "=b"], [None, "c,d"]]), "n": [1, 2, 3, 4]})
    frame = pieces.to_pandas()
    assert isinstance(pa.array(frame["x"], from_pandas=True), pa.ChunkedArray)
    for table in (frame, pd.concat([frame, frame], ignore_index=True)):
        assert csv_text(table) == by_cell(table)


def test_tables_of_one_column_of_none_and_of_no_rows() -> None:
    """A row that is empty is quoted, so that it stays a row."""
    assert csv_text(pd.DataFrame({"a": ["x", None]})) == 'a\nx\n""\n'
    assert csv_text(pd.DataFrame({"a": [], "b": []})) == "a,b\n"
    assert csv_text(pd.DataFrame()) == pd.DataFrame().to_csv(index=False, lineterminator="\n")


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_table_of_scores_is_written_as_cell_by_cell(
    trained: Tiny, tmp_path_factory: pytest.TempPathFactory, split: str
) -> None:
    """All columns of ``zoo score``, lists of classes and votes among them."""
    table = score(trained.workspace, choose_population(trained.workspace), split)
    assert any(pa.types.is_list(field.type) for field in table.schema)
    space = workspace(tmp_path_factory.mktemp("csv"))
    write_table(space, "scores", table)
    assert (space.results / "scores.csv").read_bytes().decode() == by_cell(table.to_pandas())
