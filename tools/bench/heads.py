"""Hundreds of heads on frozen features at once against one by one with torch: CPU seconds for a
step of a head.

The work: 200 heads on 10,000 x 1,280 features and 10 classes, each on its own four fifths of the
examples, Adam, batches of 128. Four sides, all on one thread: ``heads`` (all 200 at once, zoo's
trainer), ``single`` (zoo's one training loop), ``torch`` (a module, torch's fused Adam, rows
gathered by index from a tensor: the best plain loop) and ``DataLoader`` (a TensorDataset, a
DataLoader and Adam as in torch's tutorials). Heads that are trained one by one take the same time
each, so those sides train a few of the 200. CPU time of this process counts, so that a busy machine
spoils less.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, spread
from zoo import models
from zoo.models.heads import standardise
from zoo.spec import DatasetRef, Preprocessing, Recipe, Training
from zoo.training.heads import train_heads
from zoo.training.lanes.vectors import AVAILABLE
from zoo.training.loop import Metrics, Within, fit
from zoo.training.run import optimizer_of
from zoo.training.schedule import steps_per_epoch
from zoo.trainsets.inputs import FeatureVectors
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData, rows_of

__all__ = ["main", "sides"]

CPU = torch.device("cpu")
CLASSES, BATCH = 10, 128
TARGET = 10.0


class _Done:
    """How far a course is."""

    epochs = 0


class _Course:
    """A head of one epoch that nobody evaluates or saves."""

    def __init__(self, training: Training, data: TrainingData) -> None:
        self.training, self.data = training, data
        self.within: Within | None = None
        self.outcome = _Done()
        torch.manual_seed(training.seed)
        self.model: nn.Module = models.build(
            training.arch,
            num_classes=CLASSES,
            in_channels=data.preprocessing.channels,
            size=1,
        )
        assert data.features is not None
        standardise(self.model, *map(torch.from_numpy, data.features.statistics))
        self.optimizer = optimizer_of(self.model, training.recipe)

    def used(self, trainer: str, lanes: int = 1) -> None:
        """Nobody asks."""

    def keep(self, place: Callable[[], Within], *, stop: bool) -> None:
        """Nothing is saved."""

    def after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool:
        return True


def features(examples: int, width: int) -> tuple[FeatureVectors, np.ndarray]:
    """Noise, and labels."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((examples, width), dtype=np.float32)
    return FeatureVectors(vectors, np.zeros(examples, dtype=np.bool_)), random.integers(
        0, CLASSES, examples
    )


def courses(
    arch: str, held: FeatureVectors, labels: np.ndarray, heads: int, recipe: Recipe
) -> Iterator[_Course]:
    """Heads on the data without every fifth example, from another one on each."""
    examples, width = held.vectors.shape
    ref = DatasetRef(uri="none", fingerprint="none")
    shape = Preprocessing(size=1, channels=width, fit="resize", mean=(), std=(), features="none")
    names = tuple(str(label) for label in range(CLASSES))
    for seed in range(heads):
        ids = np.flatnonzero(np.arange(examples) % 5 != seed % 5)
        rows = Rows(ids, labels[ids], np.ones(len(ids), dtype=np.float32), CLASSES)
        data = TrainingData(
            rows, rows_of(held, ids), held, labels, shape, names, labels, {}, features=held
        )
        training = Training(arch=arch, dataset=ref, recipe=recipe, seed=seed, features="none")
        yield _Course(training, data)


def sides(
    arch: str, examples: int, width: int, heads: int, few: int
) -> dict[str, Callable[[], float]]:
    """Each as a function that takes CPU seconds for a step of a head.

    Args:
        few: heads that are trained one by one.
    """
    recipe = Recipe(batch_size=BATCH, epochs=1)
    held, labels = features(examples, width)
    steps = steps_per_epoch(examples * 4 // 5, recipe)

    def stacked() -> float:
        given = list(courses(arch, held, labels, heads, recipe))
        began = time.process_time()
        train_heads(given, CPU, _fail, lambda: False, fused=AVAILABLE)
        return (time.process_time() - began) / (heads * steps)

    def single() -> float:
        given = list(courses(arch, held, labels, few, recipe))
        began = time.process_time()
        for course in given:
            for _ in fit(course.model, course.optimizer, course.data, course.training, device=CPU):
                pass
        return (time.process_time() - began) / (few * steps)

    mean, std = held.statistics
    x = torch.from_numpy((held.vectors - mean) / std)
    y = torch.from_numpy(labels)

    def plain(batches: Callable[[Tensor], Iterator[tuple[Tensor, Tensor]]], fused: bool) -> float:
        given = list(courses(arch, held, labels, few, recipe))
        began = time.process_time()
        for course in given:
            layers = nn.Sequential(*list(course.model.children())[1:])
            optimizer = torch.optim.Adam(layers.parameters(), lr=recipe.lr, fused=fused)
            for pictures, answers in batches(torch.from_numpy(course.data.rows.example_ids)):
                optimizer.zero_grad()
                loss = functional.cross_entropy(layers(pictures), answers)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return (time.process_time() - began) / (few * steps)

    def by_index(ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen in ids[torch.randperm(len(ids))].split(BATCH):  # type: ignore[no-untyped-call]
            yield x[chosen], y[chosen]

    def by_loader(ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        yield from DataLoader(TensorDataset(x[ids], y[ids]), BATCH, shuffle=True)

    return {
        "heads": stacked,
        "single": single,
        "torch": lambda: plain(by_index, True),
        "DataLoader": lambda: plain(by_loader, False),
    }


def _fail(_training: Training, error: Exception) -> None:
    raise error


def main(argv: Sequence[str] | None = None) -> int:
    """Print what a step of a head takes on each side, and the ratios."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    torch.set_num_threads(1)
    examples, width, heads, few = (500, 64, 8, 2) if options.quick else (10_000, 1_280, 200, 6)
    rows: list[dict[str, str | float | int]] = []
    found = []
    for arch in models.HEADS:
        seconds = interleave(sides(arch, examples, width, heads, few), options.rounds)
        rows.append({"head": arch, **{name: spread(s).median * 1e6 for name, s in seconds.items()}})
        for name in ("single", "torch", "DataLoader"):
            goal = TARGET if (arch, name) == ("head_softmax", "DataLoader") else None
            found.append((f"{arch}: {name} / heads", ratios(seconds[name], seconds["heads"]), goal))
    print_table(
        rows,
        f"{heads} heads on {examples:,} x {width:,} features, CPU microseconds a step of a head",
    )
    for what, ratio, goal in found:
        ratio_line(what, ratio, goal)
    return 0


if __name__ == "__main__":
    sys.exit(main())
