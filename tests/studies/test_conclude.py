"""Conclusions are a stage of the pipeline: verdicts are there to query before anything is drawn.
And what a study file may import."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo.studies
from tests.commands import corners, run
from tools.make_study import drawn, open_study, with_seeds
from zoo.data import open_dataset
from zoo.scores.from_store import AnswerSample, sample_answers
from zoo.store.query import query
from zoo.store.workspace import Workspace
from zoo.studies import outcomes
from zoo.studies.load import judge_of, load, names

LOCAL = ("--runner", "local")

STUDY = '''
"""Two seeds of a baseline and of a training set without one class."""

from zoo.studies import RECIPES, Chart, Claim, Experiment, Finding, Point, above, lines, op, sweeps_of, value, verdict_table

SCALES = ("tiny",)


def points(scale, seed):
    return [Point("baseline", 0.0, ()), Point("delete_class", 0.0, (op("delete_class", label=0),))]


def experiment(scale):
    return Experiment(
        name="study", title="Corners", scale=scale, dataset=DATA, fill_splits=("test",), keep_logits="none",
        sweeps=sweeps_of(lambda seed: points(scale, seed), archs=("mlp",), seeds=(0, 1), recipe=RECIPES["adam"].replace(epochs=2)),
        sections=("verdicts", "charts"),
    )


def _falls(outcomes):
    drop = outcomes.drop("delete_class", 0.0, arch="mlp")
    return Finding(above(drop, 0.0), drop)


def verdicts(outcomes):
    return verdict_table([Claim("T1", "It falls", "much", "drop above 0", _falls)], outcomes, about=DATA)


def charts(outcomes):
    rows = [value("", "drop", 0, outcomes.drop("delete_class", 0.0, arch="mlp"))]
    return (Chart("drops", "Drops", "bars", lines(rows), "class", "drop", "What it costs."),)
'''  # noqa: E501


@pytest.fixture
def study(tmp_path: Path) -> Path:
    data = corners(tmp_path / "corners", train=40, test=16)
    path = tmp_path / "study.py"
    path.write_text(STUDY.replace("DATA", repr(str(data))))
    return path


def test_verdicts_are_there_before_anything_is_drawn(study: Path, tmp_path: Path) -> None:
    """``--until compare`` leaves none, ``--until conclude`` leaves outcomes and verdicts and no
    figure, the report draws what was concluded."""
    space = tmp_path / "space"
    assert run(tmp_path, "run", study, "--until", "compare", "-w", space, *LOCAL).code == 0
    assert query(Workspace.open(space), "select * from verdicts").num_rows == 0
    assert run(tmp_path, "run", study, "--until", "conclude", "-w", space, *LOCAL).code == 0
    workspace = Workspace.open(space)
    assert query(workspace, "select claim, scale, n from verdicts").to_pylist() == [
        {"claim": "T1", "scale": "tiny", "n": 2}
    ]
    assert query(workspace, "select count(*) n from outcomes").to_pylist() == [{"n": 4}]
    assert not list(workspace.figures.glob("*"))
    assert not workspace.report.exists()
    concluded = (workspace.results / "verdicts.csv").read_bytes()
    assert run(tmp_path, "run", study, "-w", space, *LOCAL).code == 0
    assert (workspace.results / "verdicts.csv").read_bytes() == concluded
    assert (workspace.figures / "drops.svg").exists()
    assert "It falls" in workspace.report.read_text()


def test_a_picture_that_nobody_could_answer_is_nobody_s_mistake(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unreadable test picture is left out of accuracies and class counts, as where arms are
    compared."""
    assert (
        run(tmp_path, "run", study, "--until", "fill", "-w", tmp_path / "space", *LOCAL).code == 0
    )
    workspace = Workspace.open(tmp_path / "space")
    spec = load(str(study))
    dataset, judge = open_dataset(spec.dataset), judge_of(spec)
    assert judge is not None
    whole = outcomes.collect(workspace, dataset, spec, judge.points)

    def one_unread(*arguments: Any) -> AnswerSample:
        answered = sample_answers(*arguments)
        answered.predictions[:, 0] = -1
        return answered

    monkeypatch.setattr(outcomes, "sample_answers", one_unread)
    found = outcomes.collect(workspace, dataset, spec, judge.points)
    assert sum(whole.class_counts) == 16
    assert sum(found.class_counts) == 15
    right = found.table["test_acc1"] * 15
    np.testing.assert_allclose(right, right.round(), atol=1e-9)
    assert (whole.table["test_acc1"] * 16 - right).round(9).isin([0, 1]).all()


def test_one_seed_after_the_other_is_the_whole_study(study: Path, tmp_path: Path) -> None:
    """``--seeds 1`` trains and judges that seed alone, and its page is made of it; all of them at
    once find it done. Put together from two workspaces, the tables are those of one run."""
    spaces = {name: tmp_path / name for name in ("of0", "of1", "whole")}
    for seed in (0, 1):
        assert (
            run(tmp_path, "run", study, "--seeds", seed, "-w", spaces[f"of{seed}"], *LOCAL).code
            == 0
        )
    space = Workspace.open(spaces["of1"])
    asked = "select seed, count(*) n from outcomes group by seed"
    assert query(space, asked).to_pylist() == [{"seed": 1, "n": 2}]
    assert query(space, "select verdict, n from verdicts").to_pylist() == [
        {"verdict": "undecided", "n": 1}
    ]
    assert run(tmp_path, "report", "-w", spaces["of1"]).code == 0
    plan = ["plan", study, "--json", "-w", spaces["of1"]]
    left = [json.loads(run(tmp_path, *plan, *seeds).out) for seeds in ((), ("--seeds", 1))]
    assert [found["trainings"] - found["trainings_done"] for found in left] == [2, 0]
    assert run(tmp_path, "run", study, "-w", spaces["whole"], *LOCAL).code == 0

    parts = [open_study(str(spaces[name])) for name in ("of0", "of1", "whole")]
    both = drawn(with_seeds(parts[0], parts[1]))
    assert isinstance(both.evidence, outcomes.Outcomes)
    assert isinstance(parts[2].evidence, outcomes.Outcomes)
    pd.testing.assert_frame_equal(both.evidence.table, parts[2].evidence.table)
    pd.testing.assert_frame_equal(both.verdicts, parts[2].verdicts)
    assert both.figures is not None
    assert (both.figures / "drops.svg").exists()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("data_quality_mnist", "--scale", "smoke", "--seeds", "0,7"), "it has no seed 7 at scale"),
        (("cleaning", "--scale", "smoke", "--seeds", "0"), "its seeds are no repetitions"),
        (
            ("data_quality_mnist", "--seeds", ","),
            "it has no seed '' at scale laptop. Allowed: 0, 1",
        ),
        (("demo", "--seeds", "one"), "--seeds 'one': allowed are whole numbers"),
    ],
)
def test_seeds_that_make_no_study_are_refused(
    tmp_path: Path, asked: tuple[str, ...], said: str
) -> None:
    result = run(tmp_path, "run", *asked, "-w", tmp_path / "space", *LOCAL)
    assert (result.code, said in result.err) == (2, True), result.err
    assert not (tmp_path / "space").exists()


def test_a_study_with_half_of_its_functions_is_refused(study: Path, tmp_path: Path) -> None:
    study.write_text(study.read_text().replace("def charts(", "def _charts("))
    result = run(tmp_path, "run", study, "--until", "conclude", "-w", tmp_path / "space", *LOCAL)
    assert result.code != 0
    assert (
        "and no charts. A study that judges claims has verdicts and charts, and either points"
        in result.err
    )


# ---------------------------------------------------------------- what a study file needs


@pytest.mark.parametrize("name", names())
def test_an_experiment_imports_nothing_of_zoo_but_zoo_studies(name: str) -> None:
    found = set()
    for node in ast.walk(ast.parse(names()[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    foreign = {
        module for module in found if module.partition(".")[0] not in sys.stdlib_module_names
    }
    others = {module for module in foreign if not f"{module}.".startswith("zoo.studies.")}
    assert others <= {"numpy", "numpy.typing"}


@pytest.mark.parametrize("name", zoo.studies.__all__)
def test_every_name_of_zoo_studies_is_there(name: str) -> None:
    assert getattr(zoo.studies, name) is not None


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        zoo.studies.nothing  # noqa: B018


def test_zoo_studies_loads_nothing_before_it_is_asked() -> None:
    code = (
        "import sys, zoo.studies; print([m for m in ('pandas', 'scipy', 'duckdb', 'torch',"
        " 'zoo.studies.claims') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
