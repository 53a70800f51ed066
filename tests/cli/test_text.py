"""Tables as text: what a person sees in a terminal."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from zoo.cli.text import text_table


def last_row(*cells: object) -> str:
    """The row of a table of one row."""
    frame = pd.DataFrame(
        {f"c{at}": pd.Series([cell], dtype="object") for at, cell in enumerate(cells)}
    )
    return text_table(frame).splitlines()[-1]


def test_a_list_is_printed_as_json() -> None:
    """Arrays, nested lists and structs of a query parse as JSON; what is no number is null; nothing
    is cut out of the middle."""
    votes = np.arange(2000)
    assert json.loads(last_row(votes)) == list(range(2000))
    assert json.loads(last_row([np.array([1, 2], dtype=np.int32), None])) == [[1, 2], None]
    assert json.loads(last_row({"name": "é", "share": np.float32(0.5), "gone": float("nan")})) == {
        "name": "é",
        "share": 0.5,
        "gone": None,
    }
    assert last_row(np.array(["a", "b"], dtype=object)) == '["a", "b"]'


def test_a_control_character_in_a_list_does_not_reach_the_terminal() -> None:
    """Neither raw nor by the list's own text."""
    assert "\x1b" not in last_row(["\x1b[31m"])
    assert json.loads(last_row(["line\nline"])) == ["line\nline"]
