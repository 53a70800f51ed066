"""Training on both cores: zoo's loop against a torchvision data set, a DataLoader and an eager
loop.

zoo: two processes of one thread each, as its runners make them, every one a training of its own
(``prepare`` and ``fit``; the pictures are decoded once per sweep, which the first training of each
process pays outside the measurement). Where lanes are chosen for a network, also sixteen trainings
in the lanes of each process (``zoo.training.lanes``), as a sweep has them.
Baseline: one process of two threads, ``torchvision.datasets.FashionMNIST`` or ``CIFAR10`` and
``DataLoader(num_workers=2)`` with workers that stay, the loop of the tutorials. Both read the same
files (pictures of fashion-mini), train the same network with Adam and the same batches per epoch;
start-up of processes and workers is outside the measurement on both sides, reading the data inside.
``--networks`` measures some of them alone.
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
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
from zoo.recipes import RECIPES
from zoo.spec import Recipe, Training
from zoo.store.workspace import Workspace
from zoo.training.lanes.vectors import LANES
from zoo.training.loop import fit
from zoo.training.rule import lanes_each
from zoo.training.run import optimizer_of
from zoo.trainsets.prepare import prepare

__all__ = ["main"]

_PROCESSES = 2


@dataclass(frozen=True)
class Case:
    """What both sides train: ``examples`` pictures, one epoch, per training; of 28 x 28 in grey as
    in Fashion-MNIST, or of 32 x 32 in colour as in CIFAR-10."""

    arch: str
    recipe: Recipe
    examples: int
    target: float | None = None
    in_lanes: bool = False
    """Whether trainings in lanes are measured too."""
    lanes_target: float | None = None
    colour: bool = False


def cases(quick: bool) -> list[Case]:
    """The comparisons; the last two as study 1 trains them on CIFAR-10."""
    lenet = Recipe(epochs=1)
    resnet = Recipe(epochs=1, augment="crop_flip", precision="bf16", channels_last=True)
    study = RECIPES["onecycle"].replace(
        epochs=1, batch_size=32, precision="bf16", channels_last=True
    )
    return [
        Case("lenet5", lenet, 6_400 if quick else 30_000, 3.0, in_lanes=True, lanes_target=12.0),
        Case("resnet20", resnet, 640 if quick else 5_000, 2.0),
        Case("resnet8", study, 640 if quick else 5_000, colour=True),
        Case("nin_mini", study, 1_280 if quick else 10_000, colour=True),
    ]


def write(folder: Path, examples: int, colour: bool) -> None:
    """Pictures of fashion-mini, repeated to ``examples``, in the form that torchvision and zoo both
    read: Fashion-MNIST's, or CIFAR-10's of one file each split."""
    dataset = open_dataset("fashion-mini")
    size, channels = (32, 3) if colour else (28, 1)
    made = folder / ("cifar-10-batches-py" if colour else "FashionMNIST/raw")
    made.mkdir(parents=True)
    for split, name, count in (("train", "train", examples), ("test", "t10k", 256)):
        decoded = load_split(dataset, split, size=size, channels=channels, fit="pad", cache=None)
        rows = np.arange(count) % len(decoded.images)
        images = decoded.images[rows]
        labels = dataset.splits[split].labels[rows]
        if colour:
            batch = {
                "data": images.transpose(0, 3, 1, 2).reshape(count, -1),
                "labels": labels.tolist(),
            }
            file = "data_batch_1" if split == "train" else "test_batch"
            (made / file).write_bytes(pickle.dumps(batch, protocol=2))
        else:
            _write(made / f"{name}-images-idx3-ubyte", images[..., 0])
            _write(made / f"{name}-labels-idx1-ubyte", labels.astype(np.uint8))
    if colour:
        names = {"label_names": list(dataset.class_names)}
        (made / "batches.meta").write_bytes(pickle.dumps(names, protocol=2))


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
    """One process of zoo with its half of a sweep of twice as many trainings as there are lanes,
    seed by seed."""
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
        each = lanes_each(2 * LANES, first.recipe.batch_size, LANES)
        together = Lanes(courses[0].model, data, first.recipe, each)
        together.train(courses[0], lambda: next(rest, None), fail, lambda: False)

    return work


def torchvision_set(folder: str, colour: bool, transform: Callable[..., Any]) -> Any:
    """The training pictures as torchvision hands them out, one by one."""
    from torchvision import datasets

    if not colour:
        return datasets.FashionMNIST(folder, train=True, transform=transform)

    # One file of each split, not the published ones: no checksum is asked for.
    cifar: Any = datasets.CIFAR10
    cifar.train_list, cifar.test_list = [("data_batch_1", None)], [("test_batch", None)]
    cifar.meta = {**cifar.meta, "md5": None}
    return cifar(folder, train=True, transform=transform)


def loader_training(
    folder: str, arch: str, batch_size: int, augmented: bool, colour: bool
) -> Callable[[], None]:
    """The baseline's process: Dataset, DataLoader with two workers, eager float32 loop with two
    threads."""
    from torch.utils.data import DataLoader
    from torchvision import transforms

    torch.set_num_threads(_PROCESSES)
    size, channels = (32, 3) if colour else (28, 1)
    augmentation = (
        [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip()]
        if augmented
        else []
    )
    normalize = transforms.Normalize((0.2860,) * channels, (0.3530,) * channels)
    transform = transforms.Compose([*augmentation, transforms.ToTensor(), normalize])
    loader = DataLoader(
        torchvision_set(folder, colour, transform),
        batch_size=batch_size,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
    )
    for _ in loader:  # starts the workers
        pass

    def work() -> None:
        torch.manual_seed(0)
        model = models.build(arch, num_classes=10, in_channels=channels, size=size)
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
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--networks", default="", metavar="A,B")
    mine, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = settings(str(__doc__), rounds=5, argv=rest)
    asked = set(filter(None, mine.networks.split(",")))
    all_cases = cases(options.quick)
    if unknown := asked - {case.arch for case in all_cases}:
        parser.error(f"{', '.join(sorted(unknown))}: not among {[c.arch for c in all_cases]}")
    rows, found = [], []
    for case in all_cases:
        if asked and case.arch not in asked:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), case.examples, case.colour)
            workspace = Workspace.open(Path(folder) / "workspace", create=True)
            dataset = open_dataset(folder)
            specs = [
                Training(
                    arch=case.arch, dataset=dataset.ref, recipe=case.recipe, seed=seed
                ).as_json()
                for seed in range(_PROCESSES)
            ]
            augmented = case.recipe.augment != "none"
            baseline = (folder, case.arch, case.recipe.batch_size, augmented, case.colour)
            ours = [(str(workspace.root), spec) for spec in specs]
            with contextlib.ExitStack() as stack:
                sides = {
                    "zoo": stack.enter_context(Workers(zoo_training, ours)).run,
                    "loader": stack.enter_context(Workers(loader_training, [baseline])).run,
                }
                if case.in_lanes:
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
                    "pictures": "32 x 32 x 3" if case.colour else "28 x 28 x 1",
                    "batch": case.recipe.batch_size,
                    "side": what,
                    "precision": precision,
                    "augmentation": case.recipe.augment,
                    "images_per_second": spread(rates[name]).text(4),
                }
            )
        for name, target in (("zoo", case.target), ("lanes", case.lanes_target)):
            if name in rates:
                what = f"{case.arch}: {name} / DataLoader loop, images per second"
                found.append((what, ratios(rates[name], rates["loader"]), target))
    print_table(rows, "training on both cores")
    for what, ratio, target in found:
        ratio_line(what, ratio, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
