"""How fast a device is: what a workspace's trainings say of it, worked by hand, else tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories import tiny_dataset, training, workspace

import zoo.rates
from zoo.data import Dataset
from zoo.devices import ACCELERATORS
from zoo.estimate import assumed_dataset, estimate
from zoo.fill import program
from zoo.fill.program import gain, gain_expected
from zoo.rates import Rates, input_of, measured
from zoo.spec import Recipe, Training, classifier_id
from zoo.store import ledger
from zoo.store.datasets import commit_dataset
from zoo.store.workspace import Workspace
from zoo.training.rule import FASTER_THAN_SINGLE, Whole, trainer_expected

CORE = ACCELERATORS["cpu-core"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny_dataset(tmp_path / "pictures")


@pytest.fixture
def space(tmp_path: Path, dataset: Dataset) -> Workspace:
    found = workspace(tmp_path)
    commit_dataset(found, dataset, {})
    return found


def done(space: Workspace, job: Training, **changes: Any) -> None:
    """A training on record that passed 1,000 pictures in steps and was asked for the 30 test
    pictures once: 20 s of the CPU, 16 of them in steps, 80 s by the clock."""
    ledger.record_plan(space, "made up", "population", [job])
    facts = {
        "status": "done",
        "images": 1000,
        "metrics": [{"epoch": 1, "split": split} for split in ("train", "test")],
        "n_train": 500,
        "train_seconds": 80.0,
        "cpu_seconds": 20.0,
        "steps_cpu_seconds": 16.0,
        "input": [32, 3],
        "trainer": "single",
        "versions": {},
    } | changes
    kept = {name: value for name, value in facts.items() if value is not None}
    space.commits.publish("training", job.id, identity={"spec": job.identity}, facts=kept)


def test_rates_are_cpu_seconds_per_picture(space: Workspace, dataset: Dataset) -> None:
    """Two trainings: 2,000 pictures in 32 s of steps, 60 answers in 2 x (20 - 16) s less what
    belongs to a training; by architecture, input and trainer. Of all others the tables' seconds, as
    many times as these took the tables' own."""
    tested = len(dataset.splits["test"])
    jobs = [training(dataset, "lenet5", seed=seed) for seed in (0, 1)]
    for job in jobs:
        done(space, job)
    rates = measured(space, dataset, CORE)
    shown = zoo.rates.Input(32, 3)
    assert rates.step(jobs[0], shown) == pytest.approx(0.016)
    assert rates.answer(jobs[0], shown) == pytest.approx((4 - zoo.rates.TRAINING_SECONDS) / tested)
    assert rates.basis(jobs[0], shown, "single") == "cpu"
    tables = Rates(CORE)
    pace = 0.016 / tables.step(jobs[0], shown)
    assert rates.pace == pytest.approx(pace)
    assert abs(pace - 1) > 0.1
    for other, at, trainer in (
        (training(dataset, "mlp"), shown, "single"),
        (jobs[0], shown._replace(side=28), "single"),
        (jobs[0], shown._replace(channels=1), "single"),
        (jobs[0], shown, "lanes"),
    ):
        assert rates.step(other, at, trainer) == pytest.approx(
            pace * tables.step(other, at, trainer)
        )
        assert rates.basis(other, at, trainer) == "paced"
        assert tables.basis(other, at, trainer) == "table"
    other = training(dataset, "mlp")
    assert rates.answer(other, shown) == pytest.approx(pace * tables.answer(other, shown))
    # They are of whatever data: a set of another size is planned by them too.
    smaller = replace(dataset, splits={"train": dataset.splits["test"]})
    assert measured(space, smaller, CORE).step(jobs[0], shown) == pytest.approx(0.016)
    assert measured(space, dataset, ACCELERATORS["h100"]).steps == {}
    assert measured(None, dataset, CORE) == tables


def test_heads_say_nothing_of_a_core_s_pace(space: Workspace, dataset: Dataset) -> None:
    """A head's record alone leaves networks to the tables."""
    job = training(dataset, "head_softmax").replace(features="hog-1")
    done(space, job, input=[96, 0, "hog-1"], trainer="heads")
    rates, network = measured(space, dataset, CORE), training(dataset, "lenet5")
    assert rates.pace == 1.0
    assert rates.basis(network, zoo.rates.Input(32, 3), "single") == "table"


def test_load_does_not_change_a_rate(space: Workspace, dataset: Dataset) -> None:
    """The same CPU seconds in ten times the clock's: the same plan. Twin: where the clock is all
    there is, ten times as long."""
    quiet, busy = (training(dataset, "lenet5", seed=seed) for seed in (0, 1))
    shown = zoo.rates.Input(32, 3)
    done(space, quiet)
    before = measured(space, dataset, CORE).step(quiet, shown)
    done(space, busy, train_seconds=800.0)
    assert measured(space, dataset, CORE).step(quiet, shown) == pytest.approx(before)


def test_an_older_record_is_taken_by_the_clock(space: Workspace, dataset: Dataset) -> None:
    """Without CPU seconds and input: 80 s by the clock are shared out as the tables would; only for
    data of as many examples. A record with CPU seconds wins over any number of them."""
    old, new = (training(dataset, "lenet5", seed=seed) for seed in (0, 1))
    shown, tables = input_of(old, dataset), Rates(CORE)
    by_tables = (
        1000 * tables.step(old, shown),
        len(dataset.splits["test"]) * tables.answer(old, shown),
    )
    done(space, old, cpu_seconds=None, steps_cpu_seconds=None, input=None, trainer=None)
    rates = measured(space, dataset, CORE)
    pace = 80 / (sum(by_tables) + zoo.rates.TRAINING_SECONDS)
    assert rates.step(old, shown) == pytest.approx(pace * tables.step(old, shown))
    assert rates.basis(old, shown, "single") == "clock"
    more = estimate(space, dataset, [old.replace(seed=9)], devices=1)
    assert more.rates.keys() == {"clock"}
    assert "records without CPU seconds" in more.text("mine", "pictures")
    assert more.done == {}
    smaller = replace(dataset, splits={"train": dataset.splits["test"]})
    assert measured(space, smaller, CORE).steps == {}
    done(space, new, input=list(shown[:2]))
    assert measured(space, dataset, CORE).step(old, shown) == pytest.approx(0.016)


def test_what_took_next_to_nothing_says_nothing(space: Workspace, dataset: Dataset) -> None:
    job = training(dataset, "lenet5")
    done(space, job, cpu_seconds=0.3, steps_cpu_seconds=0.2)
    assert measured(space, dataset, CORE).steps == {}


def test_what_diverged_or_ran_on_another_device_says_nothing(
    space: Workspace, dataset: Dataset
) -> None:
    """A card's trainings are rates of that card, by the clock: its host's CPU says nothing."""
    card, broken = (training(dataset, "lenet5", seed=seed) for seed in (0, 1))
    name = {"device": "NVIDIA H100 80GB HBM3"}
    done(space, card, versions=name, trainer="stacked", images=10**8)
    done(space, broken, status="diverged")
    assert measured(space, dataset, CORE).steps == {}
    rates = measured(space, dataset, ACCELERATORS["h100"])
    assert rates.basis(card, zoo.rates.Input(32, 3), "stacked") == "clock"


def test_each_trainer_has_a_rate_of_its_own(dataset: Dataset) -> None:
    """By the tables, over ``single``'s network time; a step of ``single`` has its own cost. In
    lanes batches of 16 are slower than the table's by what a step takes, as long as 1.5 images: of
    16, where the table's are 64."""
    tables = Rates(CORE)
    shown = zoo.rates.Input(32, 3)
    for trainer, arch in (("lanes", "lenet5"), ("heads", "head_softmax")):
        job = training(dataset, arch, features="b-0123456789abcdef" if trainer == "heads" else None)
        alone = tables.step(job, shown) - zoo.rates._STEP_SECONDS / job.recipe.batch_size
        faster = FASTER_THAN_SINGLE[trainer][arch]
        slower = (1 + 1.5 / 16) / (1 + 1.5 / 64) if trainer == "lanes" else 1.0
        assert tables.step(job, shown, trainer) == pytest.approx(alone / faster * slower)
    card = Rates(ACCELERATORS["h100"])
    job = training(dataset, "resnet20")
    assert card.step(job, shown) == pytest.approx(1.3 / 12_777)
    assert card.step(job, shown, "stacked") == pytest.approx(1.3 / 51_683)


def test_who_will_train_is_known_to_a_plan(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads of two or more; on a GPU this package's own networks stacked, those of timm never; one
    alone by ``single``; another trainer where it is asked for."""
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    head = training(dataset, "head_mlp", features="b-0123456789abcdef")
    small, large = training(dataset, "lenet5"), training(dataset, "resnet50")
    one, two, nine = (Whole(count, 1000 * count) for count in (1, 2, 9))
    assert trainer_expected(head, two, on_cpu=True) == "heads"
    assert trainer_expected(head, one, on_cpu=True) == "single"
    assert trainer_expected(small, two, on_cpu=False) == "stacked"
    assert trainer_expected(small, one, on_cpu=False) == "single"
    assert trainer_expected(small, two, on_cpu=True) == "single"
    assert trainer_expected(large, nine, on_cpu=False) == "single"
    cropped = small.replace(recipe=Recipe(augment="resized_crop_flip"))
    assert trainer_expected(cropped, two, on_cpu=False) == "single"
    monkeypatch.setenv("ZOO_TRAINER", "single")
    assert trainer_expected(head, two, on_cpu=True) == "single"
    assert trainer_expected(small, two, on_cpu=False) == "single"


# ---------------------------------------------------------------- fills in lanes


def a_machine(monkeypatch: pytest.MonkeyPatch, *, lanes: int = 16, numba: bool = True) -> None:
    monkeypatch.delenv("ZOO_PROGRAM", raising=False)
    monkeypatch.setattr(program, "vector_lanes", lambda: lanes)
    monkeypatch.setattr(program, "find_spec", lambda _: object() if numba else None)


def test_what_is_gained_in_lanes_counts_those_that_are_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ResNet-8, by itself 1.3 times as fast as it was trained, and 1.5 times that where all sixteen
    are filled: 32 gain that; of 33 the last one answers by itself, 33 / (32 / 1.5 + 1). Of 20
    LeNet-5s (1.4 and 4) the four of a second register would take as long as sixteen."""
    a_machine(monkeypatch)
    assert gain_expected("resnet8", 32, 1, 10**6) == pytest.approx(1.3 * 1.5)
    assert gain_expected("resnet8", 33, 1, 10**6) == pytest.approx(1.3 * 33 / (32 / 1.5 + 1))
    assert gain_expected("lenet5", 20, 1, 10**6) == pytest.approx(1.4 * 20 / (16 / 4 + 4))
    assert gain_expected("lenet5", 40, 2, 10**6) == gain_expected("lenet5", 20, 1, 10**6)
    assert gain("mlp", 0, 7) == 1
    assert gain("nin", 0, 7) == 1.9


def test_a_plan_expects_lanes_where_a_fill_would_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of few pictures, of another network, on narrow registers, without numba, or where the
    environment says otherwise."""
    a_machine(monkeypatch)
    assert gain_expected("lenet5", 16, 1, 10**6) == pytest.approx(1.4 * 4)
    assert gain_expected("lenet5", 16, 1, 100) == 1.4
    assert gain_expected("lenet5", 3, 1, 10**6) == 1.4
    assert gain_expected("mlp", 16, 1, 10**6) == 1
    monkeypatch.setenv("ZOO_PROGRAM", "lanes")
    assert gain_expected("lenet5", 16, 1, 100) == pytest.approx(1.4 * 4)
    monkeypatch.setenv("ZOO_PROGRAM", "single")
    assert gain_expected("lenet5", 16, 1, 10**6) == 1.4
    a_machine(monkeypatch, lanes=8)
    assert gain_expected("lenet5", 16, 1, 10**6) == 1.4
    a_machine(monkeypatch, numba=False)
    assert gain_expected("lenet5", 16, 1, 10**6) == 1.4


def test_a_plan_s_fill_is_shorter_by_what_lanes_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen LeNet-5s on 200,000 pictures: their networks take a quarter of the time, what belongs
    to an answer beside them takes what it took; on a GPU nothing changes."""
    pictures = assumed_dataset("200000,1000,10,32")
    jobs = [
        Training(arch="lenet5", dataset=pictures.ref, recipe=Recipe(epochs=1), seed=seed)
        for seed in range(16)
    ]

    def fill(accelerator: str) -> float:
        found = estimate(None, pictures, jobs, ("train",), accelerator=accelerator, devices=1)
        return found.stages["fill"]

    a_machine(monkeypatch, numba=False)
    apart, on_card = fill("cpu-core"), fill("h100")
    a_machine(monkeypatch)
    answer = zoo.rates.image_seconds(jobs[0], 32, CORE, trains=False) * zoo.rates._OVERHEAD
    saved = 16 * 200_000 * answer / 1.4 * (1 - 1 / 4)
    assert apart - fill("cpu-core") == pytest.approx(saved)
    assert fill("h100") == on_card


def test_a_fill_that_was_in_lanes_is_compared_with_one_in_lanes(
    space: Workspace, dataset: Dataset
) -> None:
    """Sixteen classifiers on 10,000 pictures that took exactly what lanes are expected to take: a
    fill takes once what is expected of it. Twin: the same seconds by a record that says nothing of
    lanes are less than expected."""
    jobs = [training(dataset, "lenet5", epochs=2, seed=seed) for seed in range(16)]
    for job in jobs:
        done(space, job, cpu_seconds=0.1, steps_cpu_seconds=0.05, train_seconds=0.1)
    shown = zoo.rates.Input(32, 3)
    names = [classifier_id(job.id, 2) for job in jobs]
    seconds = 10_000 * 16 * Rates(CORE).filled(jobs[0], shown, 1.4 * 4)
    facts = {"examples": 10_000, "cpu_seconds": seconds, "fill_seconds": seconds}
    identity = {"dataset": dataset.fingerprint, "split": "train", "classifiers": names}
    lanes = {"lanes": dict.fromkeys(names, 5)}
    space.commits.publish("answers", "u", identity=identity, facts=facts | lanes)
    assert measured(space, dataset, CORE).fill == pytest.approx(1)
    (record,) = space.commits.all("answers").values()
    (unit,) = zoo.rates.filled_units([replace(record, facts=facts)])
    expected = Rates(CORE).unit(unit[0], dict.fromkeys(unit[1], (jobs[0], shown)))
    assert seconds < 10_000 * expected / 2
