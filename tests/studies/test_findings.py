"""What an experiment concluded is kept: it comes back whole without the experiment's file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.factories import tiny_dataset, workspace
from zoo.spec import Experiment
from zoo.studies import findings
from zoo.studies.findings import LINE_COLUMNS, NOTHING_CONCLUDED, Chart, conclude, kept
from zoo.studies.load import Judge
from zoo.studies.results import Part


def test_verdicts_and_charts_come_back_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables with nulls, NaN, infinities and truth values, and every field of a chart; of this
    experiment, scale and data alone."""
    rows = [
        ("", "a", np.inf, "all", 0.5, None, 3, False),
        ("p", "\u00e9", 0.1, "", float("nan"), 0.25, None, True),
    ]
    chart = Chart(
        "f-1",
        "Title",
        "lines",
        pd.DataFrame(rows, columns=list(LINE_COLUMNS)),
        "x",
        "y",
        "c",
        x_scale="log",
        percent=False,
    )
    heat = Chart(
        "f-2",
        "Heat",
        "heat",
        pd.DataFrame({"panel": [""], "row": ["r"], "column": ["k"], "value": [-0.5]}),
        "x",
        "y",
        "c",
    )
    verdicts = pd.DataFrame(
        {"claim": ["S.1"], "measured": [None], "mean": [np.nan], "n": [3], "verdict": ["holds"]}
    )
    judge = Judge(points=lambda *_: (), verdicts=lambda _: verdicts, charts=lambda _: (chart, heat))
    monkeypatch.setattr(findings, "judge_of", lambda _: judge)
    monkeypatch.setattr(
        findings, "collect", lambda *_: SimpleNamespace(table=pd.DataFrame({"a": [1]}))
    )
    space, dataset = workspace(tmp_path), tiny_dataset(tmp_path)
    spec = Experiment(name="mine", title="Mine", scale="tiny", dataset="any", sweeps=())
    assert kept(space, spec, dataset) == NOTHING_CONCLUDED
    made = conclude(space, spec, [Part("", space, spec, dataset)]).findings
    back = kept(space, spec, dataset).findings
    assert made is not None
    assert back is not None
    pd.testing.assert_frame_equal(back.verdicts, made.verdicts, check_dtype=False)
    assert len(back.charts) == 2
    for ours, theirs in zip(back.charts, made.charts, strict=True):
        assert replace(ours, table=theirs.table) == replace(theirs, table=theirs.table)
        pd.testing.assert_frame_equal(ours.table, theirs.table, check_dtype=False)
    assert kept(space, spec.replace(scale="other"), dataset) == NOTHING_CONCLUDED
