"""When a training may end early: by the running accuracy (version 1) or by what the network answers
in evaluation mode (version 2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import tiny_dataset, training, workspace
from torch import nn

import zoo.training.loop
import zoo.training.run
from zoo import keyed, models
from zoo.data import Decoded
from zoo.spec import Preprocessing, Recipe, Training
from zoo.training.run import run_training
from zoo.trainsets.inputs import MemoryPictures
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData
from zoo.trainsets.treatments import op

CPU = torch.device("cpu")


def test_todays_version_of_a_recipe_follows_from_its_fields() -> None:
    """1 for recipes whose results never changed; 2 with a stop rule or the standard crop; an older
    one stays where it is named."""
    assert Recipe().version == Recipe(augment="crop_flip").version == 1
    assert Recipe(stop_train_acc=0.9).version == Recipe(augment="resized_crop_flip").version == 2
    stopping = Recipe().replace(stop_train_acc=0.9)
    assert (stopping.version, stopping.replace(stop_train_acc=None).version) == (2, 1)
    old = Recipe(stop_train_acc=0.9, version=1)
    assert old.replace(epochs=3, steps_per_epoch=2).version == 1
    assert Recipe(**old.as_json()) == old


class Shaky(nn.Module):
    """Right about every picture in evaluation mode, about half of them while it trains: the extreme
    of drop-out. Class = first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        classes = x[:, 0, 0, 0].round().long()
        if self.training:
            classes = torch.where(torch.arange(len(x)) % 10 == 0, 1 - classes, classes)
        return nn.functional.one_hot(classes, 2).float() * self.scale


def rows_of(labels: list[int], shown: list[int]) -> TrainingData:
    """Pictures whose pixels are the class shown; the network's input is that number."""
    n = len(labels)
    rows = Rows(np.arange(n), np.array(labels), np.ones(n, dtype=np.float32), 2)
    images = np.tile(np.array(shown, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    pictures = MemoryPictures(Decoded(images, {}))
    shape = Preprocessing(size=2, channels=1, fit="pad", mean=(0.0,), std=(1 / 255,))
    return TrainingData(
        rows, pictures, pictures, np.array(labels), shape, ("a", "b"), np.array(labels), {}
    )


def reached(
    recipe: Recipe, running: float | None, data: TrainingData
) -> tuple[str | None, list[str]]:
    """Why the training may end, and of which splits there are metrics afterwards."""
    metrics: list[zoo.training.loop.Metrics] = [
        {"epoch": 3, "split": "train", "acc1": running, "acc5": running, "loss": 0.1}
    ]
    reason = zoo.training.run._reached(Shaky(), data, recipe, metrics, CPU)
    return reason, [str(m["split"]) for m in metrics]


def test_the_running_accuracy_decides_in_version_1_and_at_the_threshold_exactly() -> None:
    """0.9 is reached by 0.9 and not by 0.8999; there is no second measurement."""
    data, recipe = rows_of([0, 1] * 10, [0, 1] * 10), Recipe(stop_train_acc=0.9, version=1)
    assert reached(recipe, 0.9, data) == ("training accuracy 0.9000 reached 0.9", ["train"])
    assert reached(recipe, 0.8999, data) == (None, ["train"])
    assert reached(recipe, None, data) == (None, ["train"])


def test_near_the_threshold_the_network_in_evaluation_mode_decides() -> None:
    """Right about all 20: reached at a running 0.9, although that is below 0.99. Far below, at 0.5,
    it is not asked."""
    data, recipe = rows_of([0, 1] * 10, [0, 1] * 10), Recipe(stop_train_acc=0.99)
    assert reached(recipe, 0.9, data) == (
        "training accuracy 1.0000 in evaluation mode reached 0.99",
        ["train", "train-eval"],
    )
    assert reached(recipe, 0.5, data) == (None, ["train"])


def test_the_network_in_evaluation_mode_can_also_say_no() -> None:
    """The label of 1 of 20 is another class: 0.95. That reaches 0.95 exactly, and not 0.96,
    whatever the running accuracy says."""
    data = rows_of([1, *[0, 1] * 9, 1], [0, *[0, 1] * 9, 1])
    assert (
        reached(Recipe(stop_train_acc=0.95), 1.0, data)[0]
        == "training accuracy 0.9500 in evaluation mode reached 0.95"
    )
    assert reached(Recipe(stop_train_acc=0.96), 1.0, data) == (None, ["train", "train-eval"])


def with_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """``mlp`` becomes a network with strong drop-out: its running accuracy stays behind what it
    answers."""

    def build(name: str, *, num_classes: int, in_channels: int, size: int) -> nn.Module:
        pixels = in_channels * size * size
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(pixels, 64),
            nn.ReLU(),
            nn.Dropout(0.9),
            nn.Linear(64, num_classes),
        )

    monkeypatch.setattr(models, "build", build)


def test_a_network_with_dropout_ends_when_it_answers_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.99 asked for, drop-out 0.9: version 2 ends early, at a measured accuracy of at least 0.99
    and a running one below; version 1 later."""
    with_dropout(monkeypatch)
    dataset = tiny_dataset(tmp_path)
    job = training(dataset, "mlp", epochs=40, lr=0.003, stop_train_acc=0.99)
    outcome = run_training(workspace(tmp_path / "now"), job, device=CPU)
    last = {str(m["split"]): m["acc1"] for m in outcome.metrics if m["epoch"] == outcome.epochs}
    assert outcome.epochs < 40
    assert last["train-eval"] >= 0.99 > last["train"]  # type: ignore[operator]
    assert (
        outcome.stop_reason
        == f"training accuracy {last['train-eval']:.4f} in evaluation mode reached 0.99"
    )
    before = run_training(
        workspace(tmp_path / "before"),
        job.replace(recipe=job.recipe.replace(version=1)),
        device=CPU,
    )
    assert before.epochs > outcome.epochs


def test_measuring_does_not_change_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A threshold out of reach (one wrong label in two networks alike) is measured in vain: weights
    as without a stop rule, bit for bit."""
    with_dropout(monkeypatch)
    dataset = tiny_dataset(
        tmp_path, train=[1, *[0, 1, 2] * 19, 0, 1], train_true=[0, *[0, 1, 2] * 19, 0, 1]
    )
    jobs = [training(dataset, "mlp", epochs=6, **rule) for rule in ({}, {"stop_train_acc": 1.0})]
    weights, asked = [], []
    for number, job in enumerate(jobs):
        space = workspace(tmp_path / str(number))
        outcome = run_training(space, job, device=CPU)
        assert outcome.epochs == 6
        asked.append(sum(m["split"] == "train-eval" for m in outcome.metrics))
        (commit,) = space.commits.all("checkpoint").values()
        weights.append(_weights(space, commit))
    assert asked[0] == 0 < asked[1]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def _weights(space, commit) -> dict[str, torch.Tensor]:  # type: ignore[no-untyped-def]
    import safetensors.torch

    return safetensors.torch.load(space.files.read_verified(commit.files[0]))


def test_every_epoch_draws_dropout_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator of drop-out and augmentation is keyed by seed and epoch: the first numbers
    drawn in epochs 1 and 2 differ, and by seed."""
    drawn: dict[tuple[int, int], float] = {}

    class Draws(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.first: list[float] = []

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                self.first.append(float(torch.rand(())))
            return self.weight.expand(len(x), 3)

    dataset = tiny_dataset(tmp_path)
    for seed in (0, 1):
        model = Draws()
        monkeypatch.setattr(models, "build", lambda *args, model=model, **rest: model)
        run_training(
            workspace(tmp_path / str(seed)),
            training(dataset, epochs=2, batch_size=60, seed=seed),
            device=CPU,
        )
        drawn |= {(seed, epoch): value for epoch, value in enumerate(model.first, start=1)}
    assert len(drawn) == len(set(drawn.values())) == 4
    torch.manual_seed(keyed.key_seed("epoch/1/2"))
    assert drawn[1, 2] == float(torch.rand(()))


def test_initial_weights_are_keyed_by_architecture_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One builder under two names: after a step too small to matter, the two names and the two
    seeds give four different sets of weights."""
    build = models.build
    monkeypatch.setattr(models, "build", lambda name, **rest: build("softmax", **rest))
    dataset, found = tiny_dataset(tmp_path), []
    for arch, seed in (("softmax", 0), ("mlp", 0), ("softmax", 1), ("mlp", 1)):
        space = workspace(tmp_path / f"{arch}-{seed}")
        run_training(
            space,
            training(dataset, arch, seed=seed, lr=1e-30, optimizer="sgd", epochs=1),
            device=CPU,
        )
        (commit,) = space.commits.all("checkpoint").values()
        found.append(next(iter(_weights(space, commit).values())).flatten()[:4].tolist())
    assert len({tuple(values) for values in found}) == 4


def test_how_often_a_training_saw_an_example_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of rows 5, 5, 5, 9: column copies says 3 for example 5, 1 for 9, 0 for all others."""
    import pyarrow.parquet as pq

    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    monkeypatch.setattr(
        "zoo.trainsets.prepare.apply_rows",
        lambda ops, rows, *, manifests: rows.take(np.array([5, 5, 5, 9])),
    )
    job = training(dataset, epochs=1, treatment=(op("take", count=4),))
    run_training(space, job, device=CPU)
    commit = space.commits.get("training", job.id)
    assert commit is not None
    copies = pq.read_table(space.files.local(commit.files[0].path)).column("copies").to_pylist()
    assert {i: n for i, n in enumerate(copies) if n} == {5: 3, 9: 1}
    assert (commit.facts["n_train"], commit.facts["n_unique"]) == (4, 2)


def test_a_named_older_version_of_the_crop_is_refused(tmp_path: Path) -> None:
    """Version 1 of resized_crop_flip is not run as something else: the message says how to get
    today's."""
    from zoo.errors import UsageError

    job: Training = training(tiny_dataset(tmp_path), augment="resized_crop_flip", version=1)
    with pytest.raises(
        UsageError,
        match=r"version = 1 of a recipe with augment=resized_crop_flip.*Leave version out",
    ):
        run_training(workspace(tmp_path), job, device=CPU)
