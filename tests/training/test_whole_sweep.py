"""Who trains follows from the sweep as it was declared: not from what is left of it, and not from
how many workers share it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from factories import QUIET, op, tiny_dataset, training, workspace

import zoo.training.rule
import zoo.training.run
from zoo import models, pipeline
from zoo.cluster.queue import Queue
from zoo.data import Dataset
from zoo.errors import FailedTrainingsError
from zoo.estimate import wholes_of
from zoo.local import LocalRunner
from zoo.spec import DatasetRef, Recipe, Training
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training import trainers
from zoo.training.alike import kind
from zoo.training.rule import MOST, WIDTH, Whole, at_once, trainer_expected, wholes
from zoo.training.run import run

CPU = torch.device("cpu")


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return tiny_dataset(tmp_path)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five trainings are worth lanes by what they take together, on this machine too; four are
    not."""
    pytest.importorskip("numba", reason="numba (the extra 'fast') is not installed")
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    monkeypatch.setattr(zoo.training.rule, "vector_lanes", lambda: WIDTH)
    monkeypatch.setattr(trainers, "_WIDTH", 1)
    rate = models.model("softmax").images_per_second
    assert rate is not None
    monkeypatch.setattr(zoo.training.rule, "_GAIN", 1.0)
    monkeypatch.setattr(zoo.training.rule, "WORTH_SECONDS", 4.5 * 60 / rate)


def ignore(name: str, epoch: int) -> None:
    """Progress that nobody looks at."""


def trainers_of(space: Workspace, jobs: Sequence[Training]) -> list[str]:
    records = space.commits.some("training", {job.id for job in jobs})
    return [records[job.id].facts["trainer"] for job in jobs]


def train(space: Workspace, dataset: Dataset, jobs: Sequence[Training], **runner: object) -> None:
    made = Interrupted(**runner)  # type: ignore[arg-type]
    pipeline.train(space, dataset, "test", "population", jobs, lambda: made, QUIET)


class Interrupted(LocalRunner):
    """Killed at a report; None = never."""

    def __init__(self, killed_at: int | None = None) -> None:
        super().__init__("cpu")
        self._left = killed_at

    def train(
        self,
        workspace: Workspace,
        trainings: Sequence[Training],
        costs: Mapping[str, float],
        on_epoch: Callable[[str, int], None],
        wholes: Mapping[str, Whole] | None = None,
    ) -> None:
        def told(name: str, epoch: int) -> None:
            on_epoch(name, epoch)
            if self._left is not None:
                self._left -= 1
                if not self._left:
                    raise Killed

        super().train(workspace, trainings, costs, told, wholes)


# ---------------------------------------------------------------- the law


@pytest.mark.usefixtures("_small")
def test_whatever_is_done_the_rest_is_trained_by_who_would_have_trained_it(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Of five that are worth lanes the first 0, 1 .. 4 are done, by another trainer so that it
    shows: the rest goes to lanes, with as many lanes to a network. Twin: a sweep of four is
    nobody's but ``single``'s, and so is the rest of the five where it is taken for all there is."""
    jobs = [training(dataset, "softmax", epochs=1, seed=seed) for seed in range(5)]
    for done in range(5):
        space = workspace(tmp_path / str(done))
        run(space, jobs[:done], device=CPU, on_epoch=ignore, trainer="single")
        train(space, dataset, jobs)
        assert trainers_of(space, jobs) == ["single"] * done + ["lanes"] * (5 - done)
    alone = workspace(tmp_path / "alone")
    train(alone, dataset, jobs[:4])
    assert trainers_of(alone, jobs[:4]) == ["single"] * 4
    run(alone, ledger.missing(alone, jobs), device=CPU, on_epoch=ignore)
    assert trainers_of(alone, jobs[4:]) == ["single"]


@pytest.mark.usefixtures("_small")
def test_a_sweep_in_lanes_that_is_killed_ends_with_the_undisturbed_bytes(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight networks of unlike data stop after epochs of their own choice. Killed at every fourth
    report, with ever fewer of them left, at last too few for lanes by themselves, and filled:
    weights, answers and logits are those of a sweep that nobody disturbed. Twin: two of them that
    are no part of such a sweep are trained one by one, to other bytes."""
    monkeypatch.setattr(zoo.training.run, "_RESUME_SECONDS", -1.0)
    jobs = [
        training(
            dataset,
            "softmax",
            epochs=12,
            stop_train_acc=0.8,
            lr=0.0007,
            seed=seed,
            treatment=(op("subsample", fraction=fraction),),
        )
        for seed in range(4)
        for fraction in (0.5, 1.0)
    ]
    calm, killed = workspace(tmp_path / "calm"), workspace(tmp_path / "killed")
    train(calm, dataset, jobs)
    epochs = [
        c.facts["epochs"] for c in calm.commits.some("training", {j.id for j in jobs}).values()
    ]
    assert len(set(epochs)) > 2
    left = []
    while remain := ledger.missing(killed, jobs):
        left.append(len(remain))
        with contextlib.suppress(Killed):
            train(killed, dataset, jobs, killed_at=4)
    assert left[0] == 8
    assert min(left) < 5  # fewer than a sweep that the rule would give to lanes
    assert set(trainers_of(killed, jobs)) == set(trainers_of(calm, jobs)) == {"lanes"}
    for space in (calm, killed):
        pipeline.fill(space, dataset, None, ("train", "test"), "all", Interrupted, QUIET)
    assert files_of(killed) == files_of(calm)
    alone = workspace(tmp_path / "alone")
    run(alone, jobs[:2], device=CPU, on_epoch=ignore)
    assert set(trainers_of(alone, jobs[:2])) == {"single"}
    theirs = files_of(calm)
    assert all(theirs[name] != found for name, found in files_of(alone).items())


def files_of(space: Workspace) -> dict[tuple[str, str, int], bytes]:
    """Content of every file that a checkpoint or an answers record names."""
    return {
        (what, key, number): space.files.read(ref.path)
        for what in ("checkpoint", "answers")
        for key, commit in space.commits.all(what).items()
        for number, ref in enumerate(commit.files)
    }


# ---------------------------------------------------------------- the sweep as declared


def declared(archs: Sequence[str], seeds: int, features: str | None = None) -> list[Training]:
    data = DatasetRef(uri="x", fingerprint="0" * 16)
    return [
        Training(arch=arch, dataset=data, recipe=Recipe(), seed=seed, features=features)
        for arch in archs
        for seed in range(seeds)
    ]


def test_a_sweep_is_counted_by_kind() -> None:
    """Three lenet5 of 10, 20 and 30 pictures and three mlp: 60 pictures each."""
    jobs = declared(["lenet5", "mlp"], 3)
    whole = wholes(jobs, lambda job: 10 * (job.seed + 1))
    assert whole == {kind(jobs[0]): Whole(3, 60), kind(jobs[3]): Whole(3, 60)}


def test_plan_and_sweep_go_by_the_same(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a runner is told is what plans go by: all that was asked for, each once, for every
    number of them that are done."""
    told: list[Mapping[str, Whole] | None] = []

    class Told(LocalRunner):
        def train(self, *given: object, **_: object) -> None:
            told.append(given[4])  # type: ignore[arg-type]

    jobs = [training(dataset, seed=seed) for seed in range(3)]
    space = workspace(Path(dataset.uri).parent / "w")
    for done in range(3):
        run(space, jobs[:done], device=CPU, on_epoch=ignore, trainer="single")
        with pytest.raises(FailedTrainingsError):
            pipeline.train(
                space, dataset, "t", "population", [*jobs, jobs[0]], lambda: Told("cpu"), QUIET
            )
    assert told == [wholes_of(jobs, dataset)] * 3
    assert told[0] == {kind(jobs[0]): Whole(3, 3 * 2 * 60)}


@pytest.mark.parametrize("workers", [1, 2, 3, 16, 100])
def test_lanes_are_not_cut_by_how_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Of 40 for lanes, two to a network, nobody gets fewer than fill a register: empty lanes take
    as long. Twin: heads of the same costs are shared out."""
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    monkeypatch.setattr(zoo.training.rule, "vector_lanes", lambda: 16)
    monkeypatch.setattr(zoo.training.rule, "find_spec", lambda _: object())
    found = {}
    for arch, features in (("lenet5", None), ("head_softmax", "hog-1")):
        jobs = declared([arch], 40, features)
        queue = Queue(
            *(jobs, {job.id: 100.0 for job in jobs}, lambda _: "", lambda *_: None),
            wholes=wholes(jobs, lambda _: 10**7),
        )
        queue.nodes({"A": "host-A"}, "A", "", workers)
        sizes = []
        while isinstance(given := queue.next(f"w{len(sizes)}", "A"), list):
            sizes.append(len(given))
        assert sum(sizes) == 40
        found[arch] = sizes
    assert found["lenet5"] == [8] * 5
    assert max(found["head_softmax"]) <= max(1, 40 // workers)


def test_as_many_go_out_at_once_as_a_trainer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """By whom the rule chooses, and by whom is asked for."""
    monkeypatch.setattr(zoo.training.rule, "vector_lanes", lambda: 16)
    monkeypatch.setattr(zoo.training.rule, "find_spec", lambda _: object())
    (net, *_), (head, *_) = declared(["lenet5"], 1), declared(["head_mlp"], 1, "hog-1")
    many, few = Whole(4 * WIDTH, 10**9), Whole(2 * WIDTH, 10**4)
    assert at_once(net, many, None, on_cpu=True) == (8, 8)
    small = net.replace(recipe=Recipe(batch_size=32))
    assert at_once(small, many, None, on_cpu=True) == (WIDTH, WIDTH)
    assert at_once(net, Whole(5, 10**9), None, on_cpu=True) == (1, 1)
    assert at_once(net, few, None, on_cpu=True) == (1, WIDTH)
    assert at_once(net, many, "single", on_cpu=True) == (1, WIDTH)
    assert at_once(net, few, "lanes", on_cpu=True) == (8, 8)
    assert at_once(net, many, None, on_cpu=False) == (1, MOST["stacked"])
    assert at_once(head, many, None, on_cpu=True) == (1, MOST["heads"])
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    assert trainer_expected(net, many, on_cpu=True) == "lanes"
    assert trainer_expected(net, few, on_cpu=True) == "single"


@pytest.mark.parametrize("trainer", ["lanes", "stacked"])
def test_who_happens_to_be_the_first_decides_for_nobody_else(tmp_path: Path, trainer: str) -> None:
    """A training set of one row has no batch that can be normalised: it is ``single``'s, and first
    or last in its batch the others are trained at once."""
    if trainer == "lanes":
        pytest.importorskip("numba")
    dataset = tiny_dataset(tmp_path)
    jobs = [training(dataset, epochs=1, seed=seed) for seed in range(2)]
    one = training(dataset, epochs=1, treatment=(op("subsample", fraction=1 / 60),))
    for order in ([one, *jobs], [*jobs, one]):
        space = workspace(tmp_path / order[0].id)
        assert run(space, order, device=CPU, on_epoch=ignore, trainer=trainer) == {}
        assert trainers_of(space, [one, *jobs]) == ["single", trainer, trainer]
