"""Every experiment is a spec: it loads without side effects, says what it is, and everything it
names exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from zoo import models
from zoo.data.embedded_sets import EMBEDDED
from zoo.errors import UnknownNameError, UsageError
from zoo.spec import Experiment
from zoo.studies.load import folders, load, names
from zoo.trainsets.rules import RULES
from zoo.trainsets.treatments import TREATMENTS


def scales(path: Path) -> list[str]:
    """The names in SCALES, read from the text."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SCALES":
            return list(ast.literal_eval(node.value))
    raise AssertionError(f"{path} has no SCALES")


ALL = [(name, scale) for name, path in names().items() for scale in scales(path)]


def test_there_is_the_demo() -> None:
    assert "demo" in names()


@pytest.mark.parametrize("name", names())
def test_an_experiment_explains_itself(name: str) -> None:
    """Its docstring names source, expectation, cost and command."""
    text = " ".join((ast.get_docstring(ast.parse(names()[name].read_text())) or "").lower().split())
    for word in ("source", "expected", "cost", f"zoo run {name}"):
        assert word in text, word


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_everything_an_experiment_names_exists(name: str, scale: str) -> None:
    """Architectures, treatments, rules, selections; each arm has the selection it trains on, or
    none."""
    spec = load(name, scale)
    assert (spec.name, spec.scale) == (name, scale)
    assert Experiment(**spec.as_json()) == spec
    for each in spec.each:
        for sweep in (*each.sweeps, *each.retrained):
            assert all(models.model(arch).name for arch in sweep.archs)
            assert all(step.name in TREATMENTS for steps in sweep.treatments for step in steps)
        assert all(step.name in RULES for rule in each.selections for step in rule.rules)
        arms = [arm for group in each.arm_groups for arm in group.arms]
        assert {arm.selection for arm in arms} <= {
            None,
            "baseline",
            *(rule.name for rule in each.selections),
        }
        assert all(rule.split in each.fill_splits for rule in each.selections)


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_loading_twice_gives_the_same_trainings(name: str, scale: str) -> None:
    """Ids depend on the file alone: nothing random, nothing of the clock or the machine."""
    spec, again = load(name, scale), load(name, scale)
    assert spec == again
    from zoo.spec import DatasetRef

    ref = DatasetRef(uri="x", fingerprint="y")
    assert [job.id for e in spec.each for sweep in e.sweeps for job in sweep.expand(ref)] == [
        job.id for e in again.each for sweep in e.sweeps for job in sweep.expand(ref)
    ]


def test_the_demo_is_what_it_promises() -> None:
    """75 classifiers from 25 trainings on the embedded data; six arms of six seeds, each drawn anew
    by every seed on one budget per class: the baseline, what cleaning leaves, a control matched by
        class, the hardest half, the oracle."""
    from zoo.spec import DatasetRef

    spec = load("demo")
    jobs = [
        job for sweep in spec.sweeps for job in sweep.expand(DatasetRef(uri="x", fingerprint="y"))
    ]
    assert spec.dataset in EMBEDDED
    assert (len(jobs), sum(len(job.snapshots) for job in jobs)) == (25, 75)
    (group,) = spec.arm_groups
    names = [
        "baseline",
        "worst-dropped",
        "suspects-relabelled",
        "random-dropped",
        "hardest-half",
        "oracle",
    ]
    assert [arm.name for arm in group.arms] == names
    assert len(group.retraining.seeds) == 6
    chains = {rule.name: [step.text for step in rule.rules] for rule in spec.selections}
    assert {chains[str(arm.selection)][-1] for arm in group.arms} == {"per_class:count=195"}
    assert chains["random-dropped"][0] == "random_like:name=cleaned,per_class=true"
    assert (
        chains["cleaned"] == chains["worst-dropped"][:-1] == ["worst:by=label_quality,share=0.05"]
    )


def test_the_population_of_the_demo_is_that_of_the_version_before() -> None:
    """Ids of its 25 trainings, by hash, as commit 8ec8b82 made them: no workspace trains them
    again."""
    from zoo.spec import DatasetRef, content_id

    ref = DatasetRef(uri="x", fingerprint="y")
    assert (
        content_id([job.id for sweep in load("demo").sweeps for job in sweep.expand(ref)])
        == "d1835f380abe5ad5"
    )


def test_the_first_scale_is_the_default() -> None:
    assert load("demo").scale == scales(names()["demo"])[0]


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        (
            "demmo",
            None,
            (
                r"^unknown experiment 'demmo'\. Did you mean 'demo'\? .*a file in \./experiments"
                r" works too, and so does a path\."
            ),
        ),
        ("demo", "huge", r"^unknown scale of demo 'huge'\. .*Known: laptop, smoke\."),
        ("nowhere.py", None, r"^unknown experiment 'nowhere\.py'"),
    ],
)
def test_an_unknown_experiment_or_scale_is_named(
    name: str, scale: str | None, message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        load(name, scale)


def test_a_file_of_ones_own_is_an_experiment_too(tmp_path: Path) -> None:
    """A path to a file that defines SCALES and experiment()."""
    own = tmp_path / "mine.py"
    own.write_text(names()["demo"].read_text().replace('name="demo"', 'name="mine"'))
    assert load(str(own), "smoke").name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", r"is no experiment: it must define SCALES \(names\) and experiment\(scale\)"),
        ("SCALES = ('a',)\nexperiment = 3", "is no experiment"),
        ("SCALES = ()\ndef experiment(scale): ...", "is no experiment"),
        (
            "SCALES = ('a',)\ndef experiment(scale): return {}",
            r"experiment\('a'\) returned dict, not zoo\.spec\.Experiment",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load(str(path))


def test_experiments_lie_beside_or_in_the_package() -> None:
    assert all(folder.name == "experiments" for folder in folders())
    assert folders()
