"""The ledger: what is planned, done, missing and failed, and the tables that say so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import UNREADABLE_TEST, UNREADABLE_TRAIN, Tiny, tiny_dataset, training, workspace

from zoo.data import Dataset
from zoo.errors import NotFoundError
from zoo.spec import Training, classifier_id
from zoo.store import ledger
from zoo.store.datasets import examples_frame
from zoo.store.heartbeat import heartbeat
from zoo.store.schema import SCHEMA
from zoo.store.selections import selections_frame
from zoo.store.workspace import Workspace
from zoo.trainsets.treatments import op


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(
        tmp_path_factory.mktemp("data"),
        unreadable_train=UNREADABLE_TRAIN,
        unreadable_test=UNREADABLE_TEST,
    )


def finish(
    space: Workspace, job: Training, *, epochs: int | None = None, status: str = "done"
) -> None:
    """Commit a training as if it had run, with checkpoints at its snapshots up to its last
    epoch."""
    reached = epochs or job.recipe.epochs
    if status == "done":
        for epoch in sorted({min(e, reached) for e in job.snapshots or (job.recipe.epochs,)}):
            facts = {
                "training_id": job.id,
                "epoch": epoch,
                "train_acc1": 0.5,
                "test_acc1": 0.25,
                "test_acc5": 1.0,
                "dataset": "f",
            }
            space.commits.publish(
                "checkpoint", classifier_id(job.id, epoch), identity={"epoch": epoch}, facts=facts
            )
    facts = {
        "status": status,
        "epochs": reached,
        "n_train": 3,
        "n_unique": 2,
        "steps": 9,
        "stop_reason": "test",
        "train_seconds": 1.5,
    }
    facts["label_change_rate"] = 0.25
    curve = [{"epoch": 1, "split": "train", "acc1": 0.5, "acc5": 1.0, "loss": None}]
    ledger.commit_training(
        space,
        job,
        {**facts, "versions": {"torch": "x"}, "metrics": curve},
        np.array([2, 0, 1], dtype=np.uint16),
    )


def test_an_empty_workspace_has_empty_tables_with_the_right_types(
    space: Workspace, trained: Tiny
) -> None:
    """No row, all columns, and the types of a filled table, so that frames of both can be
    joined."""
    for name in ("examples", "trainings", "classifiers", "metrics"):
        make = examples_frame if name == "examples" else getattr(ledger, f"{name}_frame")
        empty, full = make(space), make(trained.workspace)
        assert len(empty) == 0
        assert len(full) > 0
        assert empty.dtypes.to_dict() == full.dtypes.to_dict(), name
    assert selections_frame(space).columns.tolist() == list(SCHEMA["selections"].columns)


# ---------------------------------------------------------------- plans


def test_missing_is_planned_minus_done(space: Workspace, dataset: Dataset) -> None:
    """Three asked for, one done: the other two, in the order given; done twice asked is done."""
    jobs = [training(dataset, seed=seed) for seed in (2, 0, 1)]
    assert ledger.missing(space, jobs) == jobs
    finish(space, jobs[1])
    assert ledger.missing(space, jobs) == [jobs[0], jobs[2]]
    assert ledger.missing(space, [jobs[1], jobs[1]]) == []


def test_a_training_asked_for_twice_is_done_once_with_all_snapshots(
    space: Workspace, dataset: Dataset
) -> None:
    """Two requests for one training with snapshots 1 and 2: one training with both."""
    (job,) = ledger.missing(
        space, [training(dataset, snapshots=(1,)), training(dataset, snapshots=(2,))]
    )
    assert job.snapshots == (1, 2)


@pytest.mark.parametrize(
    ("asked", "every"), [((4, 6), 2), ((4, 0), 4), ((0, 0), 0), ((3, 5, 15), 1), ((6, 6), 6)]
)
def test_a_training_asked_for_twice_is_evaluated_often_enough_for_both(
    space: Workspace, dataset: Dataset, asked: tuple[int, ...], every: int
) -> None:
    """Every 4 and every 6 epochs: every 2, so that both curves have their points. 0 = no curve, and
    adds none."""
    (job,) = ledger.missing(
        space, [training(dataset, epochs=30, eval_every=each) for each in asked]
    )
    assert job.eval_every == every


def test_uncovered_snapshots(space: Workspace, dataset: Dataset) -> None:
    """Before: all of them (the last epoch where none is named). Done: those without a checkpoint.
    Diverged: none."""
    job = training(dataset, epochs=5, snapshots=(1, 3, 5))
    assert ledger.uncovered_snapshots(space, job) == [1, 3, 5]
    assert ledger.uncovered_snapshots(space, job.replace(snapshots=())) == [5]
    finish(space, job)
    assert ledger.uncovered_snapshots(space, job) == []
    assert ledger.uncovered_snapshots(space, job.replace(snapshots=(2, 3))) == [2]
    diverged = job.replace(seed=1)
    finish(space, diverged, status="diverged")
    assert ledger.uncovered_snapshots(space, diverged) == []


def test_snapshots_beyond_an_early_stop_are_its_last_epoch(
    space: Workspace, dataset: Dataset
) -> None:
    """Stopped at 3 of 10: snapshots 2, 6, 10 are covered by 2 and 3; snapshot 1 is not."""
    job = training(dataset, epochs=10, snapshots=(2, 6, 10))
    finish(space, job, epochs=3)
    assert ledger.uncovered_snapshots(space, job) == []
    assert ledger.uncovered_snapshots(space, job.replace(snapshots=(1, 10))) == [1]
    assert list(ledger.classifiers_of(space, [job])) == [
        classifier_id(job.id, 2),
        classifier_id(job.id, 3),
    ]


def test_the_population_is_what_population_plans_asked_for(
    space: Workspace, dataset: Dataset
) -> None:
    """A retraining is none; asked for by both it is population; unplanned, unfinished and diverged
    ones are left out."""
    names = ("both", "population", "retraining", "unplanned", "unfinished", "diverged")
    jobs = {name: training(dataset, seed=seed) for seed, name in enumerate(names)}
    ledger.record_plan(
        space,
        "a",
        "population",
        [jobs[n] for n in ("both", "population", "unfinished", "diverged")],
    )
    ledger.record_plan(space, "b", "retraining", [jobs["both"], jobs["retraining"]])
    for name in ("both", "population", "retraining", "unplanned"):
        finish(space, jobs[name])
    finish(space, jobs["diverged"], status="diverged")
    space.commits.publish(
        "checkpoint",
        classifier_id(jobs["unfinished"].id, 2),
        identity={},
        facts={"training_id": jobs["unfinished"].id, "epoch": 2},
    )
    ids = {classifier_id(jobs[name].id, 2): name for name in names}
    assert sorted(ids[key] for key in ledger.population(space)) == ["both", "population"]
    assert [ids[key] for key in ledger.population(space, "retraining")] == ["retraining"]
    assert sorted(ids[key] for key in ledger.classifiers_frame(space)["classifier_id"]) == [
        "both",
        "population",
        "retraining",
    ]
    frame = ledger.trainings_frame(space).set_index("training_id")
    assert {name: frame.loc[jobs[name].id, "status"] for name in names if name != "unplanned"} == {
        "both": "done",
        "population": "done",
        "retraining": "done",
        "unfinished": "planned",
        "diverged": "diverged",
    }
    assert frame.loc[jobs["both"].id, "experiments"] == "a, b"
    assert sorted(ledger.trainings_of(space, "b")) == sorted(
        [jobs["both"].id, jobs["retraining"].id]
    )


def test_recording_a_plan_twice_is_one_plan(space: Workspace, dataset: Dataset) -> None:
    """The same request is the same record; a longer one is another, and both are planned."""
    jobs = [training(dataset, seed=seed) for seed in range(3)]
    assert ledger.record_plan(space, "a", "population", jobs[:2]) == ledger.record_plan(
        space, "a", "population", jobs[:2]
    )
    ledger.record_plan(space, "a", "population", jobs)
    assert len(space.commits.all("plan")) == 2
    assert set(ledger.planned(space)) == {job.id for job in jobs}


def test_the_id_of_a_planned_training_is_that_of_the_training(dataset: Dataset) -> None:
    """By its text alone where it names every field; built first where it lacks one that an earlier
    zoo did not have."""
    jobs = [
        training(dataset),
        training(
            dataset,
            "mlp",
            seed=7,
            input_size=16,
            snapshots=(1, 2),
            eval_every=1,
            lr=1,
            milestones=(0.5,),
            label_smoothing=0.1,
        ),
        training(
            dataset,
            "lenet5",
            treatment=(op("subsample", fraction=0.5, replica=2), op("contrast", factor="inf")),
            stop_train_acc=0.9,
            augment="flip",
        ),
    ]
    assert len({job.id for job in jobs}) == 3
    for job in jobs:
        spec = job.as_json()
        assert ledger._planned_id(spec) == job.id
        shorter = {name: value for name, value in spec.items() if name != "eval_every"}
        assert ledger._planned_id(shorter) == job.id
        older = {
            **spec,
            "recipe": {
                name: value for name, value in spec["recipe"].items() if name != "channels_last"
            },
        }
        assert ledger._planned_id(older) == job.id


def roles_in(space: Workspace, dataset: Dataset) -> dict[str, str]:
    """Classifier id -> name: population of 2 x 2, a retraining, one in no plan, one that diverged
    after a snapshot, one under way."""
    names = ("first", "second", "retraining", "unplanned", "diverged", "unfinished")
    jobs = {name: training(dataset, seed=seed, snapshots=(1, 2)) for seed, name in enumerate(names)}
    ledger.record_plan(
        space, "a", "population", [jobs[n] for n in ("first", "diverged", "unfinished")]
    )
    ledger.record_plan(space, "b", "population", [jobs[n] for n in ("first", "second")])
    ledger.record_plan(space, "c", "retraining", [jobs[n] for n in ("first", "retraining")])
    for name in ("first", "second", "retraining", "unplanned"):
        finish(space, jobs[name])
    finish(space, jobs["diverged"], status="diverged")
    for name in ("diverged", "unfinished"):
        facts = {"training_id": jobs[name].id, "epoch": 1, "dataset": "f"}
        space.commits.publish(
            "checkpoint", classifier_id(jobs[name].id, 1), identity={}, facts=facts
        )
    return {
        classifier_id(job.id, epoch): f"{name} {epoch}"
        for name, job in jobs.items()
        for epoch in (1, 2)
    }


def test_the_size_of_the_population_is_counted_up_to_a_limit(
    space: Workspace, dataset: Dataset
) -> None:
    """4 planned classifiers of done trainings and an imported one are 5; asked whether there are 3,
    3 is the answer."""
    assert ledger.population_size(space, 10) == 0
    names = roles_in(space, dataset)
    assert [ledger.population_size(space, limit) for limit in (10, 5, 4, 1)] == [4, 4, 4, 1]
    space.commits.publish("member", "imported", identity={}, facts={})
    assert len(ledger.population(space)) == 5
    assert [ledger.population_size(space, limit) for limit in (10, 5, 3)] == [5, 5, 3]
    answered = {
        key for key, name in names.items() if name in ("first 1", "second 2", "retraining 1")
    }
    assert ledger.population_size(Workspace.open(space.root), 10, answered) == 5


def test_trained_classifiers_are_those_of_done_trainings_on_a_data_set(
    space: Workspace, dataset: Dataset
) -> None:
    """Of every role and of none, without those named, without those of another data set."""
    names = roles_in(space, dataset)
    key = next(key for key, name in names.items() if name == "first 1")
    expected = {
        f"{name} {epoch}"
        for name in ("first", "second", "retraining", "unplanned")
        for epoch in (1, 2)
    }
    assert {names[key] for key in ledger.trained(space, "f")} == expected
    assert list(ledger.trained(space, "f")) == sorted(ledger.trained(space, "f"))
    assert {names[key] for key in ledger.trained(space, "f", {key})} == expected - {"first 1"}
    assert ledger.trained(space, "another") == {}


def test_the_trainings_table_says_what_a_training_is(space: Workspace, dataset: Dataset) -> None:
    """Architecture, treatment, fraction and replica (1 and 0 for the whole set), seed, recipe;
    counts only when done."""
    half = training(dataset, "mlp", treatment=(op("subsample", fraction=0.5, replica=2),), seed=4)
    whole = training(dataset)
    ledger.record_plan(space, "a", "population", [half, whole])
    finish(space, half)
    frame = ledger.trainings_frame(space).set_index("training_id")
    row = frame.loc[half.id]
    assert (row["arch"], row["fraction"], row["replica"], row["seed"], row["epochs"]) == (
        "mlp",
        0.5,
        2,
        4,
        2,
    )
    assert (row["n_train"], row["n_unique"], row["steps"], row["train_seconds"]) == (3, 2, 9, 1.5)
    assert row["label_change_rate"] == 0.25
    assert row["treatment"] == "subsample:fraction=0.5,replica=2,stratified=false"
    other = frame.loc[whole.id]
    assert (other["fraction"], other["replica"], other["status"], other["treatment"]) == (
        1.0,
        0,
        "planned",
        "none",
    )
    assert pd.isna(other["n_train"])


# ---------------------------------------------------------------- outcomes and failures


def test_what_a_training_saw_is_kept(space: Workspace, dataset: Dataset) -> None:
    """Copies 2, 0, 1: seen, not seen, seen. An unfinished training is an error that names it."""
    job = training(dataset)
    with pytest.raises(
        NotFoundError, match=rf"^training {job.id} has no committed outcome\. Finish it"
    ):
        ledger.seen_by(space, job.id)
    finish(space, job)
    assert ledger.seen_by(space, job.id).tolist() == [True, False, True]


def test_a_failure_is_a_diagnosis_until_the_training_is_done(
    space: Workspace, dataset: Dataset
) -> None:
    """The newest reason counts; a committed outcome ends it."""
    job = training(dataset)
    ledger.record_plan(space, "a", "population", [job])
    ledger.record_failure(space, job.id, "first", "...")
    ledger.record_failure(space, job.id, "second", "...")
    assert ledger.failures(space) == {job.id: "second"}
    row = ledger.trainings_frame(space).iloc[0]
    assert (row["status"], row["stop_reason"]) == ("failed", "second")
    finish(space, job)
    assert ledger.failures(space) == {}


def test_what_else_lies_among_the_attempts_does_no_harm(space: Workspace, dataset: Dataset) -> None:
    """A running or killed sweep's scratch folder, a half-written text, a probe of another command:
    passed over."""
    job = training(dataset)
    ledger.record_failure(space, job.id, "reason", "...")
    attempts = Path(space.root) / "attempts"
    (attempts / "tune-host-1-abcd").mkdir()
    (attempts / "tune-host-1-abcd" / "x.json").write_text("{}")
    (attempts / "half.json").write_text('{"training_id":')
    (attempts / ".probe-17").write_bytes(b"probe")
    assert ledger.failures(space) == {job.id: "reason"}
    ledger.record_plan(space, "a", "population", [job])
    assert ledger.trainings_frame(space)["status"].tolist() == ["failed"]


def test_the_metrics_table_has_a_row_per_epoch_and_split(trained: Tiny) -> None:
    """Three epochs of training and two evaluations (at the snapshots) of each of six trainings."""
    frame = ledger.metrics_frame(trained.workspace)
    assert frame.groupby("split").size().to_dict() == {"train": 18, "test": 12}
    assert frame["acc1"].between(0, 1).all()
    assert sorted(set(frame.loc[frame["split"] == "test", "epoch"])) == [1, 3]


def test_a_training_runs_while_a_command_is_at_it_and_waits_afterwards(
    space: Workspace, dataset: Dataset
) -> None:
    """A state to resume from is no sign of life: running by a fresh heartbeat that names it, begun
    without, planned without a state."""
    jobs = [training(dataset, seed=seed) for seed in (0, 1)]
    ledger.record_plan(space, "test", "population", jobs)
    space.files.replace(f"resume/{jobs[0].id}/e0001-0123456789abcdef.safetensors", b"state")

    def said() -> list[str]:
        return (
            ledger.trainings_frame(space)
            .set_index("training_id")["status"]
            .loc[[job.id for job in jobs]]
            .tolist()
        )

    assert said() == ["begun", "planned"]
    with heartbeat(space, [job.id for job in jobs]):
        assert said() == ["running", "planned"]
    with heartbeat(space, ["another"]):
        assert said() == ["begun", "planned"]
    space.snapshot("then")
    assert ledger.trainings_frame(space.at("then"))["status"].tolist() == ["planned", "planned"]
