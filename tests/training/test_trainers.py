"""What every trainer owes: snapshots, curves, stop rule, divergence, states, kills; and the rule by
which one is chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from factories import op, tiny_dataset, training, workspace

import zoo.training.rule
import zoo.training.run
from zoo.data import Dataset
from zoo.errors import UsageError
from zoo.spec import Training, classifier_id
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training import trainers
from zoo.training.lanes.vectors import LANES
from zoo.training.rule import Whole
from zoo.training.run import run

pytest.importorskip("numba", reason="numba (the extra 'fast') is not installed")

CPU = torch.device("cpu")
BOTH = pytest.mark.parametrize("trainer", trainers.TRAINERS)


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny_dataset(tmp_path)


@pytest.fixture
def _states_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state to go on from after every step, not every half minute."""
    monkeypatch.setattr(zoo.training.run, "_RESUME_SECONDS", -1.0)


def ignore(name: str, epoch: int) -> None:
    """Progress that nobody looks at."""


def facts_of(space: Workspace, job: Training) -> dict[str, object]:
    commit = space.commits.get("training", job.id)
    assert commit is not None
    return {name: value for name, value in commit.facts.items() if "seconds" not in name}


def weights_of(space: Workspace, job: Training, epoch: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    commit = space.commits.get("checkpoint", classifier_id(job.id, epoch))
    assert commit is not None
    return safetensors.numpy.load(space.files.read(commit.files[0].path))


def largest_difference(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> float:  # type: ignore[type-arg]
    assert one.keys() == two.keys()
    return max(float(np.abs(one[name] - two[name]).max()) for name in one)


KINDS: dict[str, dict[str, object]] = {
    "Adam, two snapshots": {"arch": "lenet5", "snapshots": (1, 2), "lr": 0.001},
    "batch normalisation": {"arch": "mobilenet_mini", "optimizer": "sgd"},
    "momentum, cosine, smoothing": {
        "arch": "lenet5",
        "optimizer": "sgd",
        "schedule": "cosine",
        "label_smoothing": 0.1,
        "weight_decay": 1e-3,
    },
    "no momentum": {"arch": "softmax", "optimizer": "sgd", "momentum": 0.0},
    "crops and flips, AdamW, channels last": {
        "arch": "lenet5",
        "augment": "crop_flip",
        "optimizer": "adamw",
        "channels_last": True,
        "lr": 0.001,
    },
    "steps over passes, wrong labels": {
        "arch": "softmax",
        "steps_per_epoch": 3,
        "schedule": "onecycle",
        "treatment": (op("label_noise", fraction=0.3),),
    },
    "noise drawn in each epoch": {
        "arch": "softmax",
        "treatment": (op("gaussian_noise_each_epoch", sigma=40),),
    },
}


AT_ONCE = pytest.mark.parametrize("trainer", ["lanes", "stacked"])


@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_trainers_of_many_train_what_single_trains(
    tmp_path: Path, dataset: Dataset, settings: dict[str, object]
) -> None:
    """Three seeds, two epochs in batches of 16: the same commits, the same curve to a millionth,
    the same weights to a hundred thousandth; and the commit names the trainer."""
    batch = [training(dataset, **settings, seed=seed) for seed in range(3)]  # type: ignore[arg-type]
    alone = workspace(tmp_path / "alone")
    assert run(alone, batch, device=CPU, on_epoch=ignore, trainer="single") == {}
    for trainer, versions in (
        ("lanes", {"numba", "lanes", "lanes_each"}),
        ("stacked", set[str]()),
    ):
        many = workspace(tmp_path / trainer)
        seen: list[tuple[str, int]] = []
        note = lambda name, epoch: seen.append((name, epoch))  # noqa: B023, E731
        assert run(many, batch, device=CPU, on_epoch=note, trainer=trainer) == {}
        # all at once, but for registers that have no room for three
        epochs = [(job.id, epoch) for epoch in (1, 2) for job in batch]
        assert (seen if LANES == 16 else sorted(seen)) == (
            epochs if LANES == 16 else sorted(epochs)
        )
        _are_alike(alone, many, batch, trainer, versions)


def _are_alike(
    alone: Workspace, many: Workspace, batch: list[Training], trainer: str, versions: set[str]
) -> None:
    for job in batch:
        one, two = facts_of(alone, job), facts_of(many, job)
        assert (one.pop("trainer"), two.pop("trainer")) == ("single", trainer)
        found = two.pop("versions")
        assert isinstance(found, dict)
        assert found.keys() - one.pop("versions").keys() == versions  # type: ignore[attr-defined]
        curves = one.pop("metrics"), two.pop("metrics")
        assert one == two
        for left, right in zip(*curves, strict=True):  # type: ignore[call-overload]
            assert right == pytest.approx(left, abs=1e-6)
        for epoch in one["snapshots"]:  # type: ignore[attr-defined]
            of_one, of_two = weights_of(alone, job, epoch), weights_of(many, job, epoch)
            assert largest_difference(of_one, of_two) < 1e-5
    assert largest_difference(weights_of(many, batch[0], 2), weights_of(many, batch[1], 2)) > 1e-3


@AT_ONCE
def test_training_sets_of_different_size_are_trained_at_once(
    tmp_path: Path, dataset: Dataset, trainer: str
) -> None:
    """60, 30 and 15 rows in batches of 16, with batch normalisation: 4, 2 and 1 steps an epoch, the
    last one short; each ends as alone."""
    treatments = (), (op("subsample", fraction=0.5),), (op("subsample", fraction=0.25),)
    batch = [
        training(dataset, "mobilenet_mini", optimizer="sgd", lr=0.001, treatment=treatment)
        for treatment in treatments
    ]
    alone, many = workspace(tmp_path / "alone"), workspace(tmp_path / "many")
    for space, made_by in ((alone, "single"), (many, trainer)):
        assert run(space, batch, device=CPU, on_epoch=ignore, trainer=made_by) == {}
    assert [facts_of(many, job)["steps"] for job in batch] == [8, 4, 2]
    for job in batch:
        assert facts_of(many, job)["trainer"] == trainer
        assert largest_difference(weights_of(alone, job, 2), weights_of(many, job, 2)) < 1e-4
    assert largest_difference(weights_of(many, batch[0], 2), weights_of(many, batch[1], 2)) > 1e-2


def test_a_free_lane_asks_for_more_and_no_sooner(tmp_path: Path, dataset: Dataset) -> None:
    """A register full and two more to be had: nobody is asked before a training has ended; what
    comes is trained to the byte as if it had been in the batch. Then there is none, which is asked
    once."""
    ended: list[str] = []
    asked_after: list[int] = []

    def more() -> Training | None:
        asked_after.append(len(ended))
        return row.pop(0) if row else None

    def on_epoch(name: str, epoch: int) -> None:
        if epoch == 2:
            ended.append(name)

    same = [training(dataset, "lenet5", seed=seed) for seed in range(LANES + 2)]
    batch, row = same[:LANES], same[LANES:]
    whole, many = workspace(tmp_path / "whole"), workspace(tmp_path / "many")
    run(whole, same, device=CPU, on_epoch=ignore, trainer="lanes")
    assert run(many, batch, device=CPU, on_epoch=on_epoch, trainer="lanes", more=more) == {}
    assert asked_after[0] >= 1
    assert len(asked_after) == 3
    assert ledger.missing(many, same) == []
    for job in same:
        assert facts_of(many, job)["trainer"] == "lanes"
        assert largest_difference(weights_of(whole, job, 2), weights_of(many, job, 2)) == 0


def test_only_lanes_ask_for_more(tmp_path: Path, dataset: Dataset) -> None:
    """One by one nobody does: the queue hands out the next batch then."""
    space, asked = workspace(tmp_path / "w"), []
    job = training(dataset, "lenet5")

    def more() -> Training | None:
        asked.append(1)
        return None

    run(space, [job], device=CPU, on_epoch=ignore, trainer="single", more=more)
    assert asked == []


def kill_after(reports: int) -> object:
    left = [reports]

    def on_epoch(name: str, epoch: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return on_epoch


@BOTH
@pytest.mark.usefixtures("_states_at_once")
def test_killed_in_the_middle_a_batch_ends_as_if_nothing_had_happened(
    tmp_path: Path, dataset: Dataset, trainer: str
) -> None:
    """Killed in the second epoch of some, in the first of others: every member goes on from its
    newest state, to the same bytes in every checkpoint and the same curve."""
    batch = [
        training(dataset, "lenet5", epochs=3, snapshots=(1, 3), seed=seed, augment="flip")
        for seed in range(4)
    ]
    calm, killed = workspace(tmp_path / "calm"), workspace(tmp_path / "killed")
    run(calm, batch, device=CPU, on_epoch=ignore, trainer=trainer)
    with pytest.raises(Killed):
        run(killed, batch, device=CPU, on_epoch=kill_after(6), trainer=trainer)  # type: ignore[arg-type]
    assert ledger.missing(killed, batch)
    run(killed, batch, device=CPU, on_epoch=ignore, trainer=trainer)
    for job in batch:
        assert facts_of(killed, job) == facts_of(calm, job)
        for epoch in (1, 3):
            assert (
                largest_difference(weights_of(killed, job, epoch), weights_of(calm, job, epoch))
                == 0
            )
        assert killed.files.names(f"resume/{job.id}") == []


@BOTH
def test_asked_to_stop_a_batch_saves_its_steps(
    tmp_path: Path, dataset: Dataset, trainer: str
) -> None:
    """Stopped after the second step of an epoch: nothing has failed, nothing is committed, the next
    run does the rest and ends with the undisturbed bytes."""
    batch = [training(dataset, "softmax", seed=seed, augment="flip") for seed in range(2)]
    calm, stopped = workspace(tmp_path / "calm"), workspace(tmp_path / "stopped")
    run(calm, batch, device=CPU, on_epoch=ignore, trainer=trainer)
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        return asked[0] >= 2

    assert (
        run(stopped, batch, device=CPU, on_epoch=ignore, trainer=trainer, should_stop=should_stop)
        == {}
    )
    assert ledger.missing(stopped, batch) == batch
    assert [name[:12] for name in stopped.files.names(f"resume/{batch[0].id}")] == ["e0000s000002"]
    run(stopped, batch, device=CPU, on_epoch=ignore, trainer=trainer)
    for job in batch:
        assert facts_of(stopped, job) == facts_of(calm, job)
        assert largest_difference(weights_of(stopped, job, 2), weights_of(calm, job, 2)) == 0


def test_one_trainer_goes_on_where_another_was_killed(tmp_path: Path, dataset: Dataset) -> None:
    """A snapshot's state from lanes, the rest by the loop, and so on in a ring: the weights are
    those of one trainer to a hundred thousandth."""
    job = training(dataset, "lenet5", epochs=2, snapshots=(1, 2), optimizer="sgd")
    calm = workspace(tmp_path / "calm")
    run(calm, [job], device=CPU, on_epoch=ignore, trainer="single")
    for first, second in (("lanes", "single"), ("single", "stacked"), ("stacked", "lanes")):
        space = workspace(tmp_path / first)
        with pytest.raises(Killed):
            run(space, [job], device=CPU, on_epoch=kill_after(2), trainer=first)  # type: ignore[arg-type]
        run(space, [job], device=CPU, on_epoch=ignore, trainer=second)
        assert largest_difference(weights_of(space, job, 2), weights_of(calm, job, 2)) < 1e-5


@BOTH
def test_a_network_that_reaches_its_accuracy_leaves_the_others(
    tmp_path: Path, dataset: Dataset, trainer: str
) -> None:
    """Stop at 60 %: every member ends after an epoch of its own choice, and more trainings than
    lanes find a lane."""
    batch = [
        training(dataset, "softmax", epochs=8, stop_train_acc=0.6, lr=0.003, seed=seed)
        for seed in range(20)
    ]
    space = workspace(tmp_path)
    assert run(space, batch, device=CPU, on_epoch=ignore, trainer=trainer) == {}
    ends = [facts_of(space, job)["epochs"] for job in batch]
    assert len(set(ends)) > 1  # type: ignore[arg-type]
    assert ledger.missing(space, batch) == []


@BOTH
def test_a_divergence_is_a_members_own(
    tmp_path: Path, dataset: Dataset, trainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rate of one seed is infinite from its second epoch on: that one has diverged at
    the first step after, the others end."""
    batch = [training(dataset, "lenet5", epochs=3, seed=seed) for seed in range(3)]
    sound = zoo.training.run._Course.__init__

    def planted(course: object, space: Workspace, job: Training, *rest: object) -> None:
        sound(course, space, job, *rest)  # type: ignore[arg-type]
        if job.seed == 1:
            with torch.no_grad():
                course.model[0].weight[0, 0, 0, 0] = float("nan")  # type: ignore[attr-defined]

    monkeypatch.setattr(zoo.training.run._Course, "__init__", planted)
    space = workspace(tmp_path)
    assert run(space, batch, device=CPU, on_epoch=ignore, trainer=trainer) == {}
    found = [(facts_of(space, job)["status"], facts_of(space, job)["steps"]) for job in batch]
    steps = found[0][1]
    assert found == [("done", steps), ("diverged", 0), ("done", steps)]
    assert facts_of(space, batch[1])["stop_reason"] == "the loss was not finite at step 0 (epoch 1)"


@BOTH
def test_a_member_that_raises_is_told_and_the_others_go_on(
    tmp_path: Path, dataset: Dataset, trainer: str
) -> None:
    """What is reported of seed 1 fails: its reason comes back and is written down, and just it is
    missing."""
    batch = [training(dataset, seed=seed) for seed in range(3)]
    space = workspace(tmp_path)

    def on_epoch(name: str, epoch: int) -> None:
        if name == batch[1].id:
            raise ArithmeticError("planted")

    assert run(space, batch, device=CPU, on_epoch=on_epoch, trainer=trainer) == {
        batch[1].id: "ArithmeticError: planted"
    }
    assert ledger.missing(space, batch) == [batch[1]]


@BOTH
def test_an_empty_training_set_is_an_outcome_for_every_trainer(
    tmp_path: Path, trainer: str
) -> None:
    """Both classes deleted: nothing fails, nothing is missing."""
    dataset = tiny_dataset(tmp_path, train=[0, 1] * 10, test=[0, 1] * 5, classes=2)
    steps = (op("delete_class", label=0), op("delete_class", label=1))
    batch = [training(dataset, treatment=steps, seed=seed) for seed in range(2)]
    space = workspace(tmp_path)
    assert run(space, batch, device=CPU, on_epoch=ignore, trainer=trainer) == {}
    assert [facts_of(space, job)["status"] for job in batch] == ["empty", "empty"]


# ---------------------------------------------------------------- which trainer


def test_what_lanes_do_not_take_is_trained_by_the_loop(tmp_path: Path, dataset: Dataset) -> None:
    """Asked for lanes: a network with drop-out, bf16 and random parts of pictures are ``single``'s,
    as their commits say."""
    space = workspace(tmp_path)
    for settings in (
        {"arch": "resnet8"},
        {"arch": "softmax", "precision": "bf16"},
        {"arch": "softmax", "augment": "resized_crop_flip"},
    ):
        job = training(dataset, **settings, epochs=1)  # type: ignore[arg-type]
        run(space, [job], device=CPU, on_epoch=ignore, trainer="lanes")
        assert facts_of(space, job)["trainer"] == "single"


def test_the_rule_takes_lanes_where_they_are_shown_to_win(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainings of a listed network that are worth it together, many or one; not of another
    network, not on a GPU, not where they take moments. How many of them a batch holds decides
    nothing, neither who trains nor how many lanes a network has: four where they are sixteen, all
    where it is the only one."""
    monkeypatch.setattr(trainers, "_WIDTH", 1)
    monkeypatch.setattr(zoo.training.rule, "vector_lanes", lambda: 16)
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    job = training(dataset, "lenet5", epochs=1, batch_size=64)
    whole, cuda = Whole(16, 10**9), torch.device("cuda")
    assert trainers.lanes_may(job, whole, CPU, None)
    assert trainers.lanes_may(job, Whole(1, 10**9), CPU, None)
    assert trainers.lanes_may(job, Whole(1, 0), CPU, "lanes")
    assert not trainers.lanes_may(job, whole, cuda, "lanes")
    assert not trainers.lanes_may(job, whole, CPU, "single")
    assert not trainers.lanes_may(job.replace(arch="mlp"), whole, CPU, None)
    for images, trainer in ((10**4, "single"), (10**9, "lanes")):
        space = workspace(tmp_path / trainer)
        run(space, [job], device=CPU, on_epoch=ignore, whole=Whole(16, images))
        assert facts_of(space, job)["trainer"] == trainer
    if LANES == 16:
        versions = facts_of(space, job)["versions"]
        assert versions["lanes_each"] == "4"  # type: ignore[index]
        space = workspace(tmp_path / "only")
        run(space, [job], device=CPU, on_epoch=ignore, whole=Whole(1, 10**9))
        versions = facts_of(space, job)["versions"]
        assert versions["lanes_each"] == "16"  # type: ignore[index]


def test_the_environment_names_a_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed decides before ``ZOO_TRAINER``; another name is refused, lanes without numba
    too."""
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    assert trainers.asked(None) is None
    monkeypatch.setenv("ZOO_TRAINER", "lanes")
    assert trainers.asked(None) == "lanes"
    assert trainers.asked("single") == "single"
    monkeypatch.setenv("ZOO_TRAINER", "faster")
    with pytest.raises(
        UsageError, match=r"ZOO_TRAINER=faster: there is no such trainer\. Allowed: single, lanes"
    ):
        trainers.asked(None)
    monkeypatch.setattr(trainers, "_installed", lambda: False)
    with pytest.raises(UsageError, match=r"needs numba.*Install the extra .fast."):
        trainers.asked("lanes")
