"""The seam: a batch of trainings that are alike goes in, commits come out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from factories import tiny_dataset, training, workspace

import zoo.training.run
from zoo.errors import StoreError
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training.alike import alike
from zoo.training.run import Outcome, run, run_training
from zoo.trainsets.treatments import parse

CPU = torch.device("cpu")


def files(space: Workspace) -> dict[str, bytes]:
    """Content of every checkpoint and training file."""
    return {
        path.relative_to(space.root).as_posix(): path.read_bytes()
        for folder in ("checkpoints", "trainings")
        for path in sorted((space.root / folder).rglob("*"))
        if path.is_file()
    }


def ignore(name: str, epoch: int) -> None:
    """Progress that nobody looks at."""


def test_a_batch_gives_the_bytes_of_its_trainings_one_by_one(tmp_path: Path) -> None:
    """Three seeds with two snapshots each: every sealed file as by ``run_training`` alone; each
    epoch is reported under its training."""
    dataset, alone, together = (
        tiny_dataset(tmp_path),
        workspace(tmp_path / "alone"),
        workspace(tmp_path / "together"),
    )
    batch = [
        training(dataset, "nin_mini", epochs=2, snapshots=(1, 2), seed=seed) for seed in range(3)
    ]
    for job in batch:
        run_training(alone, job, device=CPU)
    seen: list[tuple[str, int]] = []
    assert (
        run(together, batch, device=CPU, on_epoch=lambda name, epoch: seen.append((name, epoch)))
        == {}
    )
    assert seen == [(job.id, epoch) for job in batch for epoch in (1, 2)]
    assert files(together) == files(alone)
    assert len(files(alone)) == 9


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    """Of three seeds the middle one is committed: only the other two report epochs, and its files
    keep their times."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    batch = [training(dataset, seed=seed) for seed in range(3)]
    run_training(space, batch[1], device=CPU)
    before = {
        path: path.stat().st_mtime_ns for path in space.root.rglob("*") if batch[1].id in path.name
    }
    seen: set[str] = set()
    run(space, batch, device=CPU, on_epoch=lambda name, _: seen.add(name))
    assert seen == {batch[0].id, batch[2].id}
    assert {path: path.stat().st_mtime_ns for path in before} == before


def breaking(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """The training of seed 1 raises."""
    sound = zoo.training.run.run_training

    def patched(space: Workspace, job: Training, **rest: object) -> Outcome:
        if job.seed == 1:
            raise error
        return sound(space, job, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(zoo.training.run, "run_training", patched)


def test_one_broken_training_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 1 of 0, 1, 2 breaks: its reason comes back and is written down, and just it is missing
    afterwards."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    batch = [training(dataset, seed=seed) for seed in range(3)]
    breaking(monkeypatch, ArithmeticError("planted"))
    assert run(space, batch, device=CPU, on_epoch=ignore) == {
        batch[1].id: "ArithmeticError: planted"
    }
    assert ledger.failures(space) == {batch[1].id: "ArithmeticError: planted"}
    assert ledger.missing(space, batch) == [batch[1]]


def test_a_storage_at_fault_ends_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is nobody's own fault: the error goes up at seed 1, and seed 2 is not begun."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    batch = [training(dataset, seed=seed) for seed in range(3)]
    breaking(monkeypatch, StoreError("disk full"))
    with pytest.raises(StoreError, match="disk full"):
        run(space, batch, device=CPU, on_epoch=ignore)
    assert ledger.missing(space, batch) == batch[1:]


def test_alike_are_trainings_of_one_architecture_size_and_recipe(tmp_path: Path) -> None:
    """Seeds, replicas and fractions are alike; another architecture, size or rate is not, in the
    order given."""
    dataset = tiny_dataset(tmp_path)
    half, other, quarter = (
        parse(f"subsample:fraction={text}") for text in ("0.5", "0.5,replica=1", "0.25")
    )
    jobs = [
        training(dataset, treatment=half),
        training(dataset, "mlp", treatment=half),
        training(dataset, treatment=half, seed=1),
        training(dataset, treatment=other),
        training(dataset, treatment=quarter),
        training(dataset, treatment=half, lr=0.02),
        training(dataset, treatment=half, input_size=16),
    ]
    assert alike(jobs) == [[jobs[0], *jobs[2:5]], [jobs[1]], [jobs[5]], [jobs[6]]]
    with pytest.raises(
        ValueError,
        match=rf"2 kinds of trainings, such as {jobs[0].id} and {jobs[1].id}; split it with alike",
    ):
        run(workspace(tmp_path), jobs[:2], device=CPU, on_epoch=ignore)
