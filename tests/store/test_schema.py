"""The words of ``zoo schema``. That tables have just these columns is tested in
store/test_query.py."""

from __future__ import annotations

import pytest

from zoo.errors import UnknownNameError
from zoo.store.schema import SCHEMA, SCORES_SCHEMA, TABLES, schema_text, words


def test_every_column_has_words() -> None:
    """No table without a column, no column without an explanation that ends without a full stop."""
    for table, columns in words().items():
        assert columns, table
        for column, text in columns.items():
            assert len(text) >= 4, f"{table}.{column}"
            assert not text.endswith("."), f"{table}.{column}"


def test_tables_and_scores_are_those_of_the_code() -> None:
    assert set(SCHEMA) == set(TABLES)
    assert list(SCHEMA["scores"].columns) == ["dataset", *SCORES_SCHEMA.names]


def test_one_table_as_text() -> None:
    """Name, then a line a column, aligned."""
    lines = schema_text("metrics").splitlines()
    assert lines[0] == "metrics"
    assert [line.split()[0] for line in lines[1:]] == list(SCHEMA["metrics"].columns)
    assert lines[2] == "  epoch        1-based"


def test_all_tables_as_text() -> None:
    """Every table is one paragraph."""
    assert [paragraph.splitlines()[0] for paragraph in schema_text().split("\n\n")] == list(SCHEMA)


def test_an_unknown_table_names_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown table 'score'\. Did you mean 'scores'"):
        schema_text("score")
