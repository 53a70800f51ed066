"""Tables of a study of scores and arms: gains by seed, what selections do by truth, several data
sets in one study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from zoo import pipeline
from zoo.errors import NotFoundError, UsageError
from zoo.local import LocalRunner
from zoo.manifest import Manifest
from zoo.progress import Progress
from zoo.store.results import read_table
from zoo.store.workspace import Workspace
from zoo.studies.load import judge_of, load
from zoo.studies.results import Results, selection_facts

QUIET = Progress(quiet=True)


def manifest(ids: list[int], labels: list[int], copies: list[int]) -> Manifest:
    return Manifest(
        np.array(ids), np.array(labels), np.array(copies), np.ones(len(ids), dtype=np.float32)
    )


def test_what_a_selection_does_by_truth() -> None:
    """Six examples, of which 1, 3 and 5 have wrong labels. Kept: 0 (right), 1 (set right), 2 (set
    wrong), 3 (wrong as it was), 4 (right, twice); 5 is removed."""
    labels, truth = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    found = selection_facts(
        manifest([0, 1, 2, 3, 4], [0, 1, 0, 1, 2], [1, 1, 1, 1, 2]), labels, truth
    )
    assert found == {
        "n": 6,
        "unique": 5,
        "smallest_class": 2,
        "relabelled": 2,
        "removed": 1,
        "removed_wrong": 1,
        "wrong_left": 2,
        "repaired": 1,
        "broken": 1,
    }
    assert selection_facts(manifest([0], [0], [1]), labels, None)["repaired"] is None


def results() -> Results:
    rows = [
        ("p", "g", "base", seed, "full", accuracy)
        for seed, accuracy in ((0, 0.5), (1, 0.6), (2, 0.7))
    ] + [("p", "g", "other", seed, "full", accuracy) for seed, accuracy in ((2, 0.75), (1, 0.7))]
    arms = pd.DataFrame(rows, columns=["part", "arm_group", "arm", "seed", "on", "acc1"])
    return Results({"arms": arms}, scale="tiny", dataset="any")


def test_gains_are_paired_by_seed() -> None:
    """Seeds 1 and 2 are in both arms: 0.7 - 0.6 and 0.75 - 0.7."""
    assert results().gain("p", "g", "other").tolist() == pytest.approx([0.1, 0.05])
    assert results().accuracy("p", "g", "base").tolist() == [0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("part", "group", "arm"), [("q", "g", "base"), ("p", "h", "base"), ("p", "g", "none")]
)
def test_what_is_not_there_is_said(part: str, group: str, arm: str) -> None:
    with pytest.raises(NotFoundError, match="no arms"):
        results().gain(part, group, arm)
    with pytest.raises(NotFoundError, match="no table 'curves'"):
        results()["curves"]


STUDY = """
from zoo.studies import RECIPES, Arm, ArmGroup, Experiment, SelectionRule, Sweep, op, rules, Op
from zoo.store.schema import SCHEMA
import pandas as pd

SCALES = ("tiny",)

def part(word, noise):
    recipe = RECIPES["onecycle"].replace(epochs=1)
    chain = tuple(Op(name=n, params=p) for n, p in rules("worst:share=0.1+per_class:count=15"))
    return Experiment(
        name=f"mine-{word}", title="t", scale="tiny",
        dataset="fashion-mini+take:count=300,stratified=true" + noise,
        sweeps=(Sweep(archs=("softmax",), recipe=recipe, seeds=(0, 1)),),
        fill_splits=("train", "test"),
        selections=(SelectionRule(name=f"{word}-cleaned", rules=chain),),
        arm_groups=(ArmGroup(
            name=f"{word}-arms",
            arms=(
                Arm(name="all", selection=None), Arm(name="cleaned", selection=f"{word}-cleaned"),
            ),
            retraining=Sweep(archs=("softmax",), recipe=recipe, seeds=(0, 1), eval_every=1),
        ),),
    )

def experiment(scale):
    return Experiment(
        name="mine", title="Two data sets", scale=scale,
        parts=(part("clean", ""), part("noisy", "+label_noise:fraction=0.2")),
    )

def measures(part):
    table = part.scores["train"]
    return {"means": pd.DataFrame({"mean_x": [table["x_perplexity"].mean()]})}

def verdicts(results):
    means = results["means"].set_index("part")["mean_x"]
    row = {"claim": "T1", "statement": "noise raises X", "scale": results.scale,
           "verdict": "holds" if means["noisy"] > means["clean"] else "fails"}
    return SCHEMA["verdicts"].frame([row])

def charts(results):
    return ()
"""


def test_a_study_over_two_data_sets(tmp_path: Path) -> None:
    """Both parts go through all stages in one workspace, and one verdict is made from both."""
    path = tmp_path / "mine.py"
    path.write_text(STUDY)
    space = Workspace.open(str(tmp_path / "w"), create=True)
    spec = load(str(path))
    pipeline.check_experiment(spec)
    done = pipeline.run(space, spec, LocalRunner, QUIET, until="conclude")
    assert [part.name for part in done.parts] == ["clean", "noisy"]
    assert done.concluded.findings is not None
    assert done.concluded.findings.verdicts["verdict"].tolist() == ["holds"]
    assert sorted(set(read_table(space, "arms")["arm_group"])) == ["clean-arms", "noisy-arms"]
    selected = read_table(space, "study-mine-selected")
    assert selected["n"].tolist() == [150] * 4
    noisy = selected[selected["part"] == "noisy"]
    # 30 of 300 examples are removed, the most suspicious first: most have a wrong label.
    assert (noisy["removed"] >= 30).all()
    assert noisy["removed_wrong"].min() > 15
    curves = read_table(space, "study-mine-curves")
    assert len(curves) == 2 * 2 * 2 * 2  # parts, arms, seeds, splits
    alike = read_table(space, "study-mine-similarities")
    assert len(alike) == 2 * 2 * 2 * 2 * 3  # parts, arms, their seeds, other arms, measures


def test_a_study_has_data_or_parts() -> None:
    from zoo.spec import Experiment

    with pytest.raises(UsageError, match="neither"):
        Experiment(name="e", title="t", scale="s")
    inner = Experiment(name="e-a", title="t", scale="s", dataset="fashion-mini")
    with pytest.raises(UsageError, match="both"):
        Experiment(name="e", title="t", scale="s", dataset="fashion-mini", parts=(inner,))
    with pytest.raises(UsageError, match="two parts"):
        Experiment(name="e", title="t", scale="s", parts=(inner, inner))


def test_a_judge_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "half.py"
    path.write_text(STUDY.replace("def verdicts", "def other"))
    with pytest.raises(UsageError, match="verdicts and charts"):
        judge_of(load(str(path)))
    path.write_text(STUDY + "\npoints = measures\n")
    with pytest.raises(UsageError, match="either points"):
        judge_of(load(str(path)))
