"""Experiments of a user's own: found in ./experiments, blamed by file and line when they are
wrong; heads on a named backbone in their population."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import commands
from tests.factories import QUIET
from zoo import api, pipeline
from zoo.errors import UnknownNameError, UsageError
from zoo.local import LocalRunner
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.studies.load import judge_of, load, names, shipped

MINE = """SCALES = ("tiny",)

def experiment(scale):
    from zoo.spec import Experiment
    return Experiment(name="mine", title="Mine", scale=scale, dataset="fashion-mini", sweeps=())
"""


def test_a_file_in_the_folder_experiments_here_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``zoo run mine`` in a folder with experiments/mine.py; it is loaded again by its path from
    anywhere."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    found = load("mine")
    assert (found.name, found.scale) == ("mine", "tiny")
    assert "mine" in names()
    monkeypatch.chdir("/")
    assert load(found.source) == found
    with pytest.raises(UnknownNameError, match=r"unknown experiment 'mine'.*\./experiments"):
        load("mine")


def test_a_shipped_experiment_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file called demo.py in the user's folder does not stand for ``zoo run demo``."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "demo.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert load("demo").source == "demo"
    assert names()["demo"] == shipped()["demo"]
    assert load("experiments/demo.py").name == "mine"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("SCALES = ('tiny',)\n\ndef experiment(scale:\n    pass\n", 3, r"'\(' was never closed"),
        (
            "SCALES = ('tiny',)\nimport nowhere_to_be_found\n",
            2,
            "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
        ),
        (
            "SCALES = ('tiny',)\n\n\ndef experiment(scale):\n    return {}['no such key']\n",
            5,
            "KeyError: 'no such key'",
        ),
    ],
    ids=["syntax", "import", "call"],
)
def test_a_mistake_in_the_file_is_the_files(
    tmp_path: Path, text: str, line: int, said: str
) -> None:
    """Syntax, imports and the function itself: exit 2, the file, the line, what is wrong; never "a
    bug in zoo"."""
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=rf"mine\.py, line {line}: .*{said}"):
        load(str(path))
    result = commands.zoo("plan", path)
    assert result.code == 2
    assert "bug in zoo" not in result.err
    assert f"{path}, line {line}" in result.err


def test_a_mistake_in_the_findings_is_the_files(tmp_path: Path) -> None:
    """What an experiment concludes with is its own code too."""
    path = tmp_path / "mine.py"
    hooks = (
        "\ndef points(scale, seed):\n    return ()\n\ndef verdicts(outcomes):\n    return"
        " outcomes.nothing\n"
    )
    path.write_text(f"{MINE}{hooks}charts = verdicts\n")
    judge = judge_of(load(str(path)))
    assert judge is not None
    assert judge.points("tiny", 0) == ()
    with pytest.raises(UsageError, match=r"mine\.py, line 11: AttributeError"):
        judge.verdicts(object())


def test_an_error_of_zoo_itself_stays_what_it_is(tmp_path: Path) -> None:
    """Twin: what zoo says about a wrong value in a file is said as it is."""
    path = tmp_path / "mine.py"
    path.write_text(MINE.replace("sweeps=()", "sweeps=(), no_such_field=1"))
    with pytest.raises(UsageError, match=r"^Experiment: no_such_field = 1"):
        load(str(path))


HEADS = """SCALES = ("tiny",)

def experiment(scale):
    from zoo.spec import Experiment, Recipe, Sweep
    sweeps = (
        Sweep(archs=("softmax",), recipe=Recipe(epochs=1)),
        Sweep(archs=("head_softmax",), recipe=Recipe(epochs=1), features="hog", input_size=32),
    )
    data = "fashion-mini+take:count=100,stratified=true"
    return Experiment(name="mine", title="Mine", scale=scale, dataset=data, sweeps=sweeps,
        fill_splits=("train",), sections=("suspects",))
"""


def test_a_named_backbone_is_a_member_of_a_declared_population(tmp_path: Path) -> None:
    """A network on pictures and a head on histograms of them score together; run again nothing is
    done, a plan says so, and the page is made from the file."""
    path = tmp_path / "mine.py"
    path.write_text(HEADS)
    spec = load(str(path))
    assert pipeline.cost_of_experiment(None, spec).trainings == 2
    here = api.run(str(path), workspace=tmp_path / "w", until="score", runner="local")
    assert {(m["arch"], m["features"] is not None) for m in members(here.workspace)} == {
        ("softmax", False),
        ("head_softmax", True),
    }
    assert here.scores("train")["n"].eq(2).all()
    (backbone,) = here.workspace.commits.all("backbone").values()
    assert backbone.key.startswith("hog-")
    assert backbone.identity["preprocessing"]["size"] == 32

    def none() -> LocalRunner:
        raise AssertionError("a runner was asked for")

    pipeline.run(here.workspace, spec, none, QUIET, until="score")
    assert pipeline.cost_of_experiment(here.workspace, spec).seconds == 0
    assert here.report(str(path)).exists()


def members(space: Workspace) -> list[dict[str, object]]:
    """Architecture and features of every training of the population."""
    specs = [commit.identity["spec"] for commit in space.commits.all("training").values()]
    assert len(ledger.population(space)) == len(specs)
    return [{"arch": spec["arch"], "features": spec.get("features")} for spec in specs]


def test_an_unknown_backbone_is_refused_before_a_workspace_is_made(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEADS.replace('"hog"', '"hogg"'))
    with pytest.raises(UnknownNameError, match="hogg"):
        api.run(str(path), workspace=tmp_path / "w", runner="local")
    assert not (tmp_path / "w").exists()
