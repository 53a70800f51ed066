"""What the second study says to input that it cannot do anything with: a clear outcome each, and a
twin of it that goes well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factories import Tiny, tiny_dataset

from zoo import pipeline
from zoo.cli.text import summary_text
from zoo.errors import NotFoundError, UsageError
from zoo.scores.from_store import score
from zoo.scores.population import choose_population, population_of
from zoo.spec import Experiment, Recipe, Sweep
from zoo.studies.class_groups import pruned_shares
from zoo.studies.load import judge_of, load
from zoo.studies.nested import thresholds_table
from zoo.studies.results import Part, Results
from zoo.trainsets.rules import build, manifest_summary, parse

NAMES = ("cleaning", "relabelling", "reweighting")


def judge(name: str) -> Any:
    found = judge_of(load(name, "smoke"))
    assert found is not None
    return found


def part(tiny: Tiny, name: str, classifiers: int) -> Part:
    """The first part of an experiment, on the tiny workspace's data and some of its classifiers."""
    space = tiny.workspace
    everybody = choose_population(space)
    people = population_of(space, everybody.fingerprint, everybody.classifiers[:classifiers])
    scores = {split: score(space, people, split).to_pandas() for split in ("train", "test")}
    return Part("clean", space, load(name, "smoke").each[0], tiny.dataset, scores, people)


def test_a_population_of_one_has_the_tables_of_a_study(trained: Tiny) -> None:
    """X is 0 or 1; sets, thresholds and pruned shares are counted as those of any population."""
    one, many = (tables(part(trained, "relabelling", n)) for n in (1, 12))
    assert set(one) == set(many)
    for table in one:
        assert len(one[table]), table
        assert list(one[table].columns) == list(many[table].columns)


def tables(part: Part) -> dict[str, pd.DataFrame]:
    train = part.scores["train"]
    return {
        **judge("relabelling").measures(part),
        "thresholds": thresholds_table(part, {"a": "below:c=2,x=0.5", "b": "below:x=1"}),
        "pruned": pruned_shares(train, (50, 90)),
    }


def test_a_population_of_one_has_no_share_between_its_two_levels_of_x(trained: Tiny) -> None:
    """A cleaned test set that no threshold can make is refused with the shares there are, and what
    to do; twelve classifiers have more levels than one."""
    scores = part(trained, "cleaning", 1).scores["test"]
    right = float((scores["x_perplexity"] == 0).mean())
    share = right / 2
    with pytest.raises(UsageError, match=r"because of ties: X has 2 levels.*more classifiers\.$"):
        build(parse(f"below:share={share},thresholds=joint,by=x"), scores, num_classes=3)
    kept = build(parse(f"worst:share={1 - share},by=joint"), scores, num_classes=3)
    assert len(kept) > 0


def test_a_split_without_labels_gives_no_selection(trained: Tiny) -> None:
    """Whatever the rule; that the examples were answered does not help."""
    scores = part(trained, "cleaning", 12).scores["train"]
    blind = scores.assign(label=pd.array([None] * len(scores), dtype="Int64"))
    for rule in ("below:share=0.9,thresholds=joint", "relabel:set=x > 0.5", "weigh:by=c"):
        with pytest.raises(NotFoundError, match="of 60 examples none has a label"):
            build(parse(rule), blind, num_classes=3)
        assert len(build(parse(rule), scores, num_classes=3)) > 0


def test_a_threshold_that_keeps_everything_says_so(trained: Tiny) -> None:
    """The selection is the whole set, and its summary that the rule changed nothing; one that keeps
    nothing is an error that names the rule."""
    scores = part(trained, "cleaning", 12).scores["train"]

    def told(text: str) -> str:
        steps: list[dict[str, Any]] = []
        made = build(parse(text), scores, num_classes=3, steps=steps)
        summary = manifest_summary(made, num_classes=3, scores=scores)
        return summary_text({**summary, "steps": steps, "draws": 1}, list("abc"))

    assert "changed nothing" in told("below:c=1000")
    assert "changed nothing" not in told("worst:share=0.1")
    whole = build(parse("below:c=1000"), scores, num_classes=3)
    assert whole.equals(build([], scores, num_classes=3))
    with pytest.raises(NotFoundError, match=r"rule below:c=1\.\d+ left none of 58 examples"):
        build(parse("below:c=1.0000001"), scores, num_classes=3)


def test_a_population_answers_no_data_set_of_other_classes(trained: Tiny, tmp_path: Path) -> None:
    """Before anything is trained: both data sets are named with their fingerprints and classes."""
    other = tiny_dataset(tmp_path, classes=4)
    own = trained.dataset
    experiment = Experiment(
        name="mixed",
        title="Mixed",
        scale="tiny",
        dataset=own.uri,
        sweeps=(Sweep(archs=("softmax",), recipe=Recipe(epochs=1)),),
        fill_splits=("test",),
        probes=(other.uri,),
    )
    with pytest.raises(UsageError) as error:
        pipeline.check_experiment(experiment)
    said = str(error.value)
    for each in (own, other):
        assert f"{each.name} ({each.fingerprint}) has the {len(each.class_names)} classes" in said
        assert ", ".join(each.class_names) in said
    assert "Allowed: the same classes in the same order" in said
    pipeline.check_experiment(experiment.replace(probes=(own.uri,)))


@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_of_other_data_is_not_applicable(name: str) -> None:
    """The same empty results: of Fashion-MNIST no claim is applicable, of CIFAR-10 none is
    tested."""
    found = judge(name)
    verdicts = {
        data: set(found.verdicts(Results({}, scale="laptop", dataset=data))["verdict"])
        for data in ("fashion-mini", "cifar10")
    }
    assert verdicts == {"fashion-mini": {"not applicable"}, "cifar10": {"not tested"}}
