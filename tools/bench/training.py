"""Training on both cores: zoo's loop against a torchvision data set, a DataLoader and an eager
loop.

zoo: two processes of one thread each, as its runners make them, every one a training of its own
(``prepare`` and ``fit``; the pictures are decoded once per sweep, which the first training of each
process pays outside the measurement). Where lanes are chosen for a network, also sixteen trainings
in the lanes of each process (``zoo.training.lanes``), as a sweep has them.
Baseline: one process of two threads,
``torchvision.datasets.FashionMNIST`` and ``DataLoader(num_workers=2)`` with workers that stay, the
loop of the tutorials. Both read the same idx files, train the same network with Adam and the same
batches per epoch; start-up of processes and workers is outside the measurement on both sides,
reading the data inside.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from tools.bench.courses import BareCourse, network
from tools.bench.paired import (
    Workers,
    interleave,
    print_table,
    ratio_line,
    ratios,
    settings,
    spread,
)
from zoo import models
from zoo.data import load_split, open_dataset
from zoo.spec import Recipe, Training
from zoo.store.workspace import Workspace
from zoo.training.lanes.vectors import LANES
from zoo.training.loop import fit
from zoo.training.run import optimizer_of
from zoo.trainsets.prepare import prepare

__all__ = ["main"]

_PROCESSES = 2


@dataclass(frozen=True)
class Case:
    """What both sides train: ``examples`` pictures of 28 x 28, one epoch, per training."""

    arch: str
    recipe: Recipe
    examples: int
    target: float
    lanes: float | None = None
    """Target of trainings in lanes, where they are measured."""


def cases(quick: bool) -> list[Case]:
    """The two comparisons."""
    lenet = Recipe(epochs=1)
    resnet = Recipe(epochs=1, augment="crop_flip", precision="bf16", channels_last=True)
    return [
        Case("lenet5", lenet, 6_400 if quick else 30_000, 3.0, 12.0),
        Case("resnet20", resnet, 640 if quick else 5_000, 2.0),
    ]


def write_idx(folder: Path, examples: int) -> None:
    """Pictures of fashion-mini, repeated to ``examples``, in the form that torchvision and zoo both
    read."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    dataset = open_dataset("fashion-mini")
    for split, prefix, count in (("train", "train", examples), ("test", "t10k", 256)):
        images = load_split(dataset, split, size=28, channels=1, fit="pad", cache=None).images[
            ..., 0
        ]
        rows = np.arange(count) % len(images)
        _write(raw / f"{prefix}-images-idx3-ubyte", images[rows])
        _write(
            raw / f"{prefix}-labels-idx1-ubyte", dataset.splits[split].labels[rows].astype(np.uint8)
        )


def _write(path: Path, values: NDArray[np.uint8]) -> None:
    header = struct.pack(f">{values.ndim + 1}I", 0x0800 + values.ndim, *values.shape)
    path.write_bytes(header + np.ascontiguousarray(values).tobytes())


def zoo_training(root: str, spec: dict[str, Any]) -> Callable[[], None]:
    """One process of zoo: a training each time it is told, through zoo's own loop."""
    torch.set_num_threads(1)
    workspace, training = Workspace.open(root), Training(**spec)
    # the first training of a process decodes, or maps what another has decoded
    prepare(workspace, training)

    def work() -> None:
        data = prepare(workspace, training)
        torch.manual_seed(training.seed)
        model = network(training.arch, data)
        if training.recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = optimizer_of(model, training.recipe)
        for _ in fit(model, optimizer, data, training, device=torch.device("cpu")):
            pass

    return work


def lanes_training(root: str, spec: dict[str, Any]) -> Callable[[], None]:
    """One process of zoo with as many trainings at once as there are lanes, seed by seed."""
    from zoo.training.lanes.fit import Lanes

    torch.set_num_threads(1)
    workspace, first = Workspace.open(root), Training(**spec)
    prepare(workspace, first)

    def fail(_training: Training, error: Exception) -> None:
        raise error

    def work() -> None:
        data = prepare(workspace, first)
        seeds = range(first.seed * LANES, (first.seed + 1) * LANES)
        courses = [
            BareCourse(first.replace(seed=seed), data, torch.device("cpu")) for seed in seeds
        ]
        rest = iter(courses[1:])
        together = Lanes(courses[0].model, data, first.recipe)
        together.train(courses[0], lambda: next(rest, None), fail, lambda: False)

    return work


def loader_training(folder: str, arch: str, batch_size: int, augmented: bool) -> Callable[[], None]:
    """The baseline's process: Dataset, DataLoader with two workers, eager float32 loop with two
    threads."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import FashionMNIST

    torch.set_num_threads(_PROCESSES)
    augmentation = (
        [transforms.RandomCrop(28, padding=4), transforms.RandomHorizontalFlip()]
        if augmented
        else []
    )
    transform = transforms.Compose(
        [*augmentation, transforms.ToTensor(), transforms.Normalize((0.2860,), (0.3530,))]
    )
    dataset = FashionMNIST(folder, train=True, transform=transform)
    loader = DataLoader(
        dataset, batch_size=batch_size, shuffle=True, num_workers=2, persistent_workers=True
    )
    for _ in loader:  # starts the workers
        pass

    def work() -> None:
        torch.manual_seed(0)
        model = models.build(arch, num_classes=10, in_channels=1, size=28)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loss_sum, correct = 0.0, 0
        for x, y in loader:
            logits = model(x)
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.item() * len(y)
            correct += int((logits.argmax(1) == y).sum())
        assert np.isfinite(loss_sum)
        assert correct

    return work


def main(argv: Sequence[str] | None = None) -> int:
    """Print images per second of both sides for each network, and their ratio."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    rows, found = [], []
    for case in cases(options.quick):
        with tempfile.TemporaryDirectory() as folder:
            write_idx(Path(folder), case.examples)
            workspace = Workspace.open(Path(folder) / "workspace", create=True)
            dataset = open_dataset(folder)
            specs = [
                Training(
                    arch=case.arch, dataset=dataset.ref, recipe=case.recipe, seed=seed
                ).as_json()
                for seed in range(_PROCESSES)
            ]
            baseline = (folder, case.arch, case.recipe.batch_size, case.recipe.augment != "none")
            ours = [(str(workspace.root), spec) for spec in specs]
            with contextlib.ExitStack() as stack:
                sides = {
                    "zoo": stack.enter_context(Workers(zoo_training, ours)).run,
                    "loader": stack.enter_context(Workers(loader_training, [baseline])).run,
                }
                if case.lanes is not None:
                    sides["lanes"] = stack.enter_context(Workers(lanes_training, ours)).run
                seconds = interleave(sides, options.rounds)
        passes = {"zoo": _PROCESSES, "lanes": _PROCESSES * LANES, "loader": 1}
        rates = {
            name: [passes[name] * case.examples / s for s in each] for name, each in seconds.items()
        }
        for name, what in (
            ("zoo", f"zoo, {_PROCESSES} processes x 1 thread"),
            ("lanes", f"zoo, {_PROCESSES} processes x {LANES} lanes"),
            ("loader", f"DataLoader, 1 process x {_PROCESSES} threads"),
        ):
            if name not in rates:
                continue
            precision = (
                f"{case.recipe.precision}, channels last"
                if name == "zoo" and case.recipe.channels_last
                else "fp32"
            )
            rows.append(
                {
                    "network": case.arch,
                    "side": what,
                    "precision": precision,
                    "augmentation": case.recipe.augment,
                    "images_per_second": spread(rates[name]).text(4),
                }
            )
        for name, target in (("zoo", case.target), ("lanes", case.lanes)):
            if name in rates:
                what = f"{case.arch}: {name} / DataLoader loop, images per second"
                found.append((what, ratios(rates[name], rates["loader"]), target))
    print_table(rows, "training, 28 x 28 x 1, batches of 128")
    for what, ratio, target in found:
        ratio_line(what, ratio, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
