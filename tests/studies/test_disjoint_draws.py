"""Arms of which one draws its budget from what the others did not draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo import pipeline
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.recipes import RECIPES
from zoo.spec import Experiment, Sweep
from zoo.store.workspace import Workspace
from zoo.studies.arms import read_test_answers
from zoo.studies.compare import similarity_table
from zoo.studies.populations import Group, arms_on
from zoo.studies.similarity import disjoint_table

QUIET = Progress(quiet=True)
SWEEP = Sweep(archs=("softmax",), recipe=RECIPES["adam"].replace(epochs=1))
CLEAN = "below:share=0.8,thresholds=joint"
ARMS = {
    "baseline": "per_class:count=5",
    "cleaned": f"{CLEAN}+per_class:count=5",
    "other": f"{CLEAN}+without:name=p-baseline-5+without:name=p-cleaned-5+per_class:count=5",
}
TINY = Experiment(
    name="tiny",
    title="tiny",
    scale="smoke",
    dataset="fashion-mini+take:count=200,stratified=true",
    sweeps=(SWEEP,),
    fill_splits=("train", "test"),
    **arms_on("p", [Group("drawn", ARMS, SWEEP.replace(seeds=(0, 1)), "5")]),
)


def test_no_example_is_in_both_draws(tmp_path: Path) -> None:
    """Under either seed the other draw shares nothing with the two arms, and kappa is that of the
    answers of the two networks of that seed. Twin: the baseline and the cleaned arm, which share
    their random ranks, share examples."""
    space = Workspace.open(str(tmp_path / "w"), create=True)
    (part,) = pipeline.run(space, TINY, LocalRunner, QUIET, until="compare").parts
    table = disjoint_table(part, "p: drawn", "other")
    assert table[["arm", "seed"]].to_numpy().tolist() == [
        [arm, seed] for arm in ("baseline", "cleaned") for seed in (0, 1)
    ]
    assert (table["shared"] == 0).all()
    ((_, arms),) = part.groups
    finals, answers = read_test_answers(space, [job for jobs in arms.values() for job in jobs])
    for row in table.to_dict(orient="records"):
        said = {
            arm: answers.predictions[finals[arms[arm][row["seed"]].id]]
            for arm in (row["arm"], "other")
        }
        pairs = similarity_table(said, np.asarray(answers.labels))
        (kappa,) = pairs.loc[(pairs["a"] == row["arm"]) & (pairs["b"] == "other"), "kappa"]
        assert row["kappa"] == kappa
    assert (
        disjoint_table(part, "p: drawn", "cleaned").query("arm == 'baseline'")["shared"] > 0
    ).all()
