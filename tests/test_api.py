"""Python access: what ``zoo.open`` and ``zoo.perplexity`` promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import TRAIN, UNREADABLE_TRAIN, Tiny

import zoo
from tests.commands import corners, done
from tools.make_reference import command_tree
from zoo.errors import NotFoundError, StoreError
from zoo.scores import issues, population
from zoo.store import ledger


@pytest.fixture(scope="module")
def study(trained: Tiny) -> zoo.Zoo:
    return zoo.open(trained.root)


def test_a_workspace_is_opened_by_path_or_text(trained: Tiny) -> None:
    for location in (trained.root, str(trained.root)):
        assert isinstance(zoo.open(location), zoo.Zoo)


def test_a_place_without_a_workspace_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no workspace at"):
        zoo.open(tmp_path / "none")
    assert issubclass(NotFoundError, zoo.ZooError)


def test_scores_are_those_of_the_store(study: zoo.Zoo, trained: Tiny) -> None:
    """A row per example; the whole population by default, a part of it by condition."""
    frame = study.scores("train")
    expected = issues.scored(
        trained.workspace, population.choose_population(trained.workspace), "train"
    ).to_pandas()
    pd.testing.assert_frame_equal(frame, expected)
    assert set(study.scores("train", where="arch = 'softmax'")["n"]) == {0, 6}
    assert len(study.scores("test")) == 30


def test_tables_are_pandas(study: zoo.Zoo) -> None:
    """12 classifiers, 6 trainings, and any SELECT."""
    assert len(study.classifiers()) == 12
    assert study.trainings()["status"].tolist() == ["done"] * 6
    found = study.query("select arch, count(*) n from classifiers group by arch order by arch")
    assert found.to_dict("list") == {"arch": ["nin_mini", "softmax"], "n": [6, 6]}


def test_logits_are_mapped_and_lead_to_the_same_scores(study: zoo.Zoo, trained: Tiny) -> None:
    """float16 [E, M] without a copy; ``zoo.perplexity`` on them gives the X of the store."""
    names = study.classifiers()["classifier_id"].tolist()
    kept = [study.logits(name, "train") for name in names]
    assert {(values.dtype.name, values.shape, values.flags.owndata) for values in kept} == {
        ("float16", (TRAIN, 3), False)
    }
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    labels = trained.dataset.splits["train"].labels[readable]
    x = zoo.perplexity(np.stack([v[readable].astype(np.float32) for v in kept]), labels)[
        "x_perplexity"
    ]
    np.testing.assert_array_equal(x, study.scores("train")["x_perplexity"].to_numpy()[readable])


def test_logits_of_an_unknown_classifier_are_an_error(study: zoo.Zoo) -> None:
    with pytest.raises(StoreError, match=r"^no logits of nonsense on train are kept"):
        study.logits("nonsense", "train")


def test_reading_changes_nothing(study: zoo.Zoo, trained: Tiny) -> None:
    """All of the above leaves every file of the workspace as it was."""
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()}
    study.scores("train")
    study.query("select * from answers")
    study.logits(next(iter(ledger.population(trained.workspace))), "test")
    assert {
        path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()
    } == before


# ---------------------------------------------------------------- the public face


def test_the_exported_names_are_these() -> None:
    """A change here is a change for everybody's scripts and belongs into the CHANGELOG. Each
    resolves, and has a docstring."""
    assert " ".join(zoo.__all__) == "Zoo ZooError audit open perplexity plan run studies"
    assert all(getattr(zoo, name).__doc__ for name in zoo.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Study'"):
        _ = zoo.Study


READ = "classifiers examples logits query scores selection summary suspects trainings verdicts x_by"
MAKE = (
    "compare decide export fill import_ keep_or_drop relabel report retrain score select train"
    " weigh"
)


def test_the_methods_are_these_and_each_command_is_one() -> None:
    """What reads and what makes; a command that works on a workspace's content is a method, and
    each says what it gives back."""
    methods = {name for name in vars(zoo.Zoo) if not name.startswith("_")}
    assert methods == set(READ.split()) | set(MAKE.split())
    assert all(getattr(zoo.Zoo, name).__doc__ for name in methods)
    about_the_store = {
        "snapshot",
        "gc",
        "fsck",
        "status",
        "schema",
        "data",
        "demo",
        "models",
        "help",
    }
    around_a_cluster = {"up", "submit", "logs", "down", "doctor"}
    functions = {"audit", "run", "plan"}
    by_command_alone = {"pretrained"}
    commands = {name.replace("import", "import_") for name in command_tree().commands}
    others = about_the_store | around_a_cluster | functions | by_command_alone
    assert commands - others <= methods


def test_importing_zoo_is_light() -> None:
    """No name of the public face is loaded before it is used."""
    code = (
        "import sys, zoo; print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch',"
        " 'ray', 'pandas', 'matplotlib', 'pydantic')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> zoo.Zoo:
    """Everything that can be made, by methods alone."""
    folder = tmp_path_factory.mktemp("by hand")
    here = zoo.open(folder / "space", create=True)
    here.train(str(corners(folder / "corners")), "mlp", fractions="0.5x2", epochs=2, runner="local")
    here.fill(runner="local")
    here.score("train")
    here.score("test")
    here.select("cleaned", "worst:share=0.1")
    here.relabel("relabelled", "x>0.9 and c<4")
    here.weigh("weighted", "x")
    here.retrain(
        ["baseline", "cleaned"], "mlp", recipe="adam:epochs=1", seeds=(0, 1), runner="local"
    )
    return here


def test_a_study_can_be_made_by_methods(by_hand: zoo.Zoo) -> None:
    """Two trainings, scores of every example, three selections, a comparison of two arms, a
    page."""
    assert by_hand.trainings()["status"].tolist() == ["done"] * 6
    assert len(by_hand.scores("train")) == 240
    suspects = by_hand.suspects(5)
    assert len(suspects) == 5
    assert set(suspects["example_id"]) <= set(
        by_hand.examples().query("split == 'train'")["example_id"]
    )
    assert len(by_hand.selection("cleaned")) == 216
    found = by_hand.compare(
        ["baseline", "cleaned"], "mlp", recipe="adam:epochs=1", seeds=(0, 1), runner="local"
    )
    assert found.comparisons["arm"].unique().tolist() == ["baseline", "cleaned"]
    assert by_hand.report().read_text().startswith("<!DOCTYPE html>")
    assert "6 trainings" in repr(by_hand)
    with pytest.raises(NotFoundError, match="verdicts"):
        by_hand.verdicts()


def test_a_command_line_is_a_shell_around_it(by_hand: zoo.Zoo) -> None:
    """The same words do the same: the command finds everything done and writes the same table and
    page."""
    space = Path(by_hand.workspace.location)
    before = {
        path: path.read_bytes()
        for path in [*(space / "results").glob("*.csv"), space / "report.html"]
    }
    assert before
    done("score", "-w", space)
    done("report", "-w", space)
    assert {path: path.read_bytes() for path in before} == before


def test_predictions_go_in_and_out(tmp_path: Path) -> None:
    """``import_`` and ``export``: two classifiers, their X, and a list of what is kept."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.dirichlet(np.ones(3), 12))
    np.save(tmp_path / "labels.npy", np.arange(12) % 3)
    here = zoo.open(tmp_path / "space", create=True)
    added = here.import_([tmp_path / "a.npy"], labels=tmp_path / "labels.npy")
    assert len(added.added) == 1
    assert len(here.score("train")) == 12
    assert isinstance(here.export("scores", "csv"), str)


def test_an_experiment_is_planned_by_a_call(tmp_path: Path) -> None:
    """``zoo.plan`` says what ``zoo plan`` says, and makes nothing."""
    cost = zoo.plan("demo", "smoke", workspace=tmp_path / "none")
    said = json.loads(done("plan", "demo", "--scale", "smoke", "--json", "-w", tmp_path / "none"))
    assert {name: value for name, value in cost.as_json().items() if name in said} == {
        name: said[name] for name in cost.as_json()
    }
    assert not (tmp_path / "none").exists()
