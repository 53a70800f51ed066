"""A test picture that cannot be read counts for nobody: one rule for the outcomes of a study and
for a comparison of arms."""

from __future__ import annotations

import numpy as np
import pytest
from factories import UNREADABLE_TEST, Tiny

from zoo.spec import Arm, ArmGroup, Experiment, Recipe, Sweep
from zoo.store.answers import read_answers
from zoo.studies.arms import arm_trainings, compare_trainings
from zoo.studies.outcomes import collect
from zoo.studies.points import Point


def test_outcomes_and_comparisons_count_the_same_pictures(trained: Tiny) -> None:
    """Of 30 test pictures one is unreadable. The accuracy of the study's outcome, that of an arm,
    and a count over the 29 are one number."""
    sweep = Sweep(
        archs=("softmax", "nin_mini"),
        recipe=Recipe(lr=0.01, batch_size=16, epochs=3),
        snapshots=(3,),
    )
    study = Experiment(name="x", title="x", scale="s", dataset=trained.dataset.uri, sweeps=(sweep,))
    outcomes = collect(
        trained.workspace,
        trained.dataset,
        study,
        lambda _scale, _seed: [Point("baseline", 0.0, ())],
    )
    labels = trained.dataset.splits["test"].labels
    readable = ~np.isin(np.arange(len(labels)), UNREADABLE_TEST)
    assert list(outcomes.class_counts) == np.bincount(labels[readable], minlength=3).tolist()

    plain = sweep.replace(recipe=sweep.recipe.replace(steps_per_epoch=None))
    group = ArmGroup(name="x", arms=(Arm(name="baseline", selection=None),), retraining=plain)
    jobs = plain.expand(trained.dataset.ref)
    assert arm_trainings(trained.workspace, group, trained.dataset)["baseline"] != jobs, (
        "an arm's steps are fixed: these were not trained"
    )
    arms = compare_trainings(
        trained.workspace, [(group, {"baseline": jobs})], (), None, 3
    ).arms.set_index("arch")
    for job in jobs:
        ((_, batches),) = read_answers(
            trained.workspace, trained.dataset.fingerprint, "test", [f"{job.id}-e0003"]
        )
        said = np.array(
            [
                -1 if p is None else p
                for p in next(iter(batches))[1].column("prediction").to_pylist()
            ]
        )
        assert ((said >= 0) == readable).all()
        right = float(np.mean(said[readable] == labels[readable]))
        assert outcomes.acc("baseline", arch=job.arch).tolist() == [pytest.approx(right)]
        assert arms.loc[job.arch, "acc1"] == pytest.approx(right)
        recalls = outcomes.recalls(outcomes.rows("baseline", arch=job.arch))[0]
        by_class = [np.mean(said[readable & (labels == c)] == c) for c in range(3)]
        assert recalls.tolist() == pytest.approx(by_class)
