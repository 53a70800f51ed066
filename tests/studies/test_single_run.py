"""An experiment with one training beside its population: done once, ranked by, and in no score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zoo import pipeline
from zoo.errors import UsageError
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.recipes import RECIPES
from zoo.scores.catalog import worst_first
from zoo.scores.from_store import score
from zoo.scores.population import population_of
from zoo.spec import Experiment, Op, SelectionRule, Sweep
from zoo.store import ledger, selections
from zoo.store.results import record_run
from zoo.store.workspace import Workspace

QUIET = Progress(quiet=True)
ADAM = RECIPES["adam"].replace(epochs=2)
MANY = Sweep(archs=("softmax",), recipe=ADAM, seeds=(0, 1))
ONE = Sweep(archs=("softmax",), recipe=ADAM, seeds=(2,), snapshots=(1, 2))
DECLARED = Experiment(
    name="tiny",
    title="tiny",
    scale="smoke",
    dataset="fashion-mini+take:count=200,stratified=true",
    sweeps=(MANY,),
    single=ONE,
    fill_splits=("train", "test"),
    selections=(
        SelectionRule(
            name="kept",
            rules=(Op(name="worst", params={"share": 0.1, "by": "single_el2n"}),),
        ),
    ),
)


def test_it_is_ranked_by_and_never_scored_with(tmp_path: Path) -> None:
    """The selection leaves out the twenty of highest EL2N by that training alone; the scores are of
    the two others; a second run does nothing, and a plan of it says so."""
    space = Workspace.open(str(tmp_path / "w"), create=True)
    (part,) = pipeline.run(space, DECLARED, LocalRunner, QUIET, until="select").parts
    assert part.population is not None
    assert len(part.population.classifiers) == 2
    roles = ledger.trainings_frame(space).set_index("seed")["role"].to_dict()
    assert roles == {0: "population", 1: "population", 2: "retraining"}

    one = ledger.classifiers_of(space, ONE.expand(part.dataset.ref))
    assert len(one) == 2
    assert not set(one) & set(part.population.classifiers)
    alone = score(space, population_of(space, part.dataset.fingerprint, one), "train").to_pandas()
    x = part.scores["train"]["x_perplexity"].to_numpy(dtype=np.float64)
    order = worst_first(alone["el2n"].to_numpy(dtype=np.float64), x, np.arange(200))
    kept = selections.manifest_named(space, "kept").example_ids
    assert sorted(order[20:].tolist()) == kept.tolist()

    def none() -> LocalRunner:
        raise AssertionError("a runner was asked for")

    pipeline.run(space, DECLARED, none, QUIET, until="select")
    assert pipeline.cost_of_experiment(space, DECLARED).seconds == 0
    assert pipeline.cost_of_experiment(None, DECLARED).trainings == 3


def test_it_is_one() -> None:
    """A sweep of two is refused."""
    with pytest.raises(UsageError, match="single training is a sweep of 2"):
        DECLARED.replace(single=MANY)


def test_a_whole_run_is_what_its_stages_took(tmp_path: Path) -> None:
    """Training, fill and scoring of one run, the longest of each; of another scale, of an
    experiment that found its population trained, and of a new workspace there is nothing to compare
    a plan with."""
    space = Workspace.open(str(tmp_path / "w"), create=True)
    assert pipeline.whole_run(None, DECLARED) is None
    assert pipeline.whole_run(space, DECLARED) is None
    record_run(space, DECLARED, {"fill": 2.0, "scoring": 0.5})
    assert pipeline.whole_run(space, DECLARED) is None
    record_run(space, DECLARED, {"training": 4.0, "fill": 1.0})
    assert pipeline.whole_run(space, DECLARED) == {
        "fill": 2.0,
        "scoring": 0.5,
        "training": 4.0,
    }
    assert pipeline.whole_run(space, DECLARED.replace(scale="laptop")) is None


def test_a_run_stands_beside_its_plan_stage_by_stage() -> None:
    """20 s of training and fill by the clock, planned 15; scoring, start and page have nothing
    beside them. The share of a core is said where it is known."""
    from zoo.cli.studies import _last_run

    planned = {"start": 7.0, "training": 8.0, "fill": 7.0, "page": 9.0}
    said = _last_run({"training": 14.0, "fill": 6.0, "scoring": 1.0}, planned, 0.5)
    assert "training 14s (planned 8s), fill 6s (planned 7s), scoring 1s:" in said
    assert "took 20s, planned from nothing 15s, -25 %" in said
    assert "had 50% of a core" in said
    assert "of a core" not in _last_run({"training": 19.0}, planned, None)
