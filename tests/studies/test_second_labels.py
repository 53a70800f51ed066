"""A second label column, of another annotator, say, drives a study of labels: it is what networks
and scores see, and the data set's own labels are the truth that it is judged by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import QUIET, cycle, tiny_dataset, workspace

from zoo import pipeline
from zoo.errors import NotFoundError
from zoo.local import LocalRunner
from zoo.spec import Experiment, Recipe, Sweep
from zoo.store.selections import manifest_named
from zoo.studies.label_errors import judged_sets, target_table
from zoo.studies.populations import Group, arms_on
from zoo.trainsets.rules import build, parse
from zoo.trainsets.treatments import op

SETS = {"n": "planted:label_quality", "A": "x > 0.5"}
SWEEP = Sweep(archs=("softmax",), recipe=Recipe(lr=0.01, batch_size=16, epochs=3))


def second(uri: str) -> Experiment:
    """A population of three classifiers, and the arms of relabelling on its scores."""
    halves = ((op("subsample", fraction=0.5, replica=r),) for r in (1, 2))
    group = Group(
        "relabelled",
        {
            "baseline": "",
            "model-4": "relabel_worst:count=planted,by=x",
            "true labels": "oracle",
        },
        SWEEP.replace(seeds=(0, 1)),
    )
    return Experiment(
        name="second",
        title="Second labels",
        scale="tiny",
        dataset=uri,
        sweeps=(SWEEP.replace(treatments=(*halves, ())),),
        fill_splits=("train", "test"),
        **arms_on("second", [group]),
    )


def test_labels_of_a_file_drive_relabelling(tmp_path: Path) -> None:
    """Twelve of sixty labels are others in the file, named by key: these are scored, are the twelve
    errors by truth, and the arms give them back. The test split stays as it is."""
    truth = np.array(cycle(60))
    own = tiny_dataset(tmp_path, train=truth.tolist())
    assert own.splits["train"].labels_true is None
    changed = np.arange(0, 60, 5)
    keys = own.splits["train"].keys
    table = {
        "key": [keys[i] for i in changed],
        "label": [own.class_names[(truth[i] + 1) % 3] for i in changed],
    }
    pq.write_table(pa.table(table), tmp_path / "people.parquet")
    given = truth.copy()
    given[changed] = (truth[changed] + 1) % 3

    space = workspace(tmp_path)
    experiment = second(f"{own.uri}+labels:from={tmp_path / 'people.parquet'}")
    done = pipeline.run(space, experiment, lambda: LocalRunner("cpu"), QUIET, until="compare")
    part = done.parts[0]
    scores = part.scores["train"]
    assert scores["label"].tolist() == given.tolist()
    assert scores["label_true"].tolist() == truth.tolist()
    assert part.dataset.splits["test"].labels.tolist() == own.splits["test"].labels.tolist()

    judged = judged_sets(scores, SETS).set_index("set")
    assert judged.loc["n", ["n", "known"]].tolist() == [12, 12]
    assert judged.loc["n", "wrong"] > 6  # one in five at random
    targets = target_table(scores, SETS).set_index(["set", "to"])
    assert targets.loc[("n", "top_confusion"), "repaired"] > 0

    oracle = manifest_named(space, "second-true-labels")
    assert oracle.labels.tolist() == truth.tolist()
    relabelled = manifest_named(space, "second-model-4")
    assert 0 < (relabelled.labels != given).sum() <= 12
    assert done.comparison is not None
    arms = done.comparison.arms
    assert set(arms["arm"]) == {"baseline", "model-4", "true labels"}
    assert arms.groupby("arm")["seed"].apply(list).map(len).tolist() == [2, 2, 2]

    # The same scores without a second column know no truth, and no arm by truth can be made.
    blind = scores.assign(label_true=np.nan)
    with pytest.raises(NotFoundError, match="the truth of no example is known"):
        build(parse("oracle"), blind, num_classes=3)
    assert "n" not in set(judged_sets(blind, SETS)["set"])
