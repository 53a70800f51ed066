"""Trainings in the lanes of a register against one after the other: images per second of one core.

Both sides train whole epochs on the same pictures in memory, through zoo's own trainers: gathering,
normalising, forward, backward, the optimiser's step. CPU time of this process counts, so that a
busy machine spoils less. Second: the test accuracies of 20 seeds by both trainers, which have to
agree in distribution (their weights cannot: differences of float rounding grow with every step).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from scipy import stats

from tools.bench.courses import BareCourse, bare, pictures
from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, spread
from zoo import models
from zoo.data import open_dataset
from zoo.spec import Recipe, Training
from zoo.store.workspace import Workspace
from zoo.training.lanes.fit import Lanes
from zoo.training.lanes.graph import Unsupported, describe
from zoo.training.lanes.vectors import LANES
from zoo.training.run import run
from zoo.training.trainers import FASTER

__all__ = ["main"]

CPU = torch.device("cpu")
_SECONDS = 1.5
"""Of CPU, about, for a side of a round."""


def sides(
    arch: str, size: int, channels: int, batch: int
) -> tuple[dict[str, Callable[[], float]], dict[str, int]]:
    """Both trainers as functions that take CPU seconds, and the images that each trains on."""
    recipe = Recipe(batch_size=batch, epochs=1)

    def courses(steps: int) -> Iterator[BareCourse]:
        data = pictures(steps * batch, size, channels)
        for seed in range(LANES):
            yield bare(arch, data, recipe, CPU, seed)

    def single(steps: int) -> float:
        course = next(courses(steps))
        began = time.process_time()
        course.alone()
        return time.process_time() - began

    def lanes(steps: int) -> float:
        given = list(courses(steps))
        began = time.process_time()
        together = Lanes(given[0].model, given[0].data, recipe)
        rest = iter(given[1:])
        together.train(given[0], lambda: next(rest, None), _fail, lambda: False)
        return time.process_time() - began

    counts = {}
    for name, side in (("single", single), ("lanes", lanes)):
        side(2)  # kernels are compiled, memory is taken
        counts[name] = max(1, round(_SECONDS / (side(4) / 4)))
    return (
        {"single": lambda: single(counts["single"]), "lanes": lambda: lanes(counts["lanes"])},
        {"single": counts["single"] * batch, "lanes": counts["lanes"] * batch * LANES},
    )


def _fail(_training: Training, error: Exception) -> None:
    raise error


def supported(size: int, channels: int) -> list[str]:
    """Small architectures that have kernels."""
    found = []
    for entry in models.MODELS.values():
        if entry.build.startswith("timm:"):
            continue
        network = models.build(entry.name, num_classes=10, in_channels=channels, size=size)
        try:
            describe(network, channels, size)
        except Unsupported as reason:
            print(f"{entry.name}: single; {reason} has no kernel")
        else:
            found.append(entry.name)
    return found


def accuracies(arch: str, seeds: int, epochs: int) -> None:
    """Test accuracies of both trainers over seeds, on fashion-mini."""
    dataset = open_dataset("fashion-mini")
    recipe = Recipe(epochs=epochs)
    batch = [
        Training(arch=arch, dataset=dataset.ref, recipe=recipe, seed=seed) for seed in range(seeds)
    ]
    found: dict[str, list[float]] = {}
    for trainer in ("single", "lanes"):
        with tempfile.TemporaryDirectory() as folder:
            space = Workspace.open(Path(folder) / "zoo", create=True)
            failed = run(space, batch, device=CPU, on_epoch=lambda *_: None, trainer=trainer)
            assert not failed, failed
            records = [space.commits.get("training", job.id) for job in batch]
            assert all(
                record is not None and record.facts["trainer"] == trainer for record in records
            )
            found[trainer] = [record.facts["metrics"][-1]["acc1"] for record in records if record]
    one, two = found["single"], found["lanes"]
    differences = [b - a for a, b in zip(one, two, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5
    print(
        f"\n{arch}, {epochs} epochs of fashion-mini, {seeds} seeds, test accuracy: single"
        f" {statistics.mean(one):.4f} (sd {statistics.stdev(one):.4f}), lanes"
        f" {statistics.mean(two):.4f} (sd {statistics.stdev(two):.4f}); lanes - single, paired by"
        f" seed: {statistics.mean(differences):+.4f} +- {error:.4f}; Kolmogorov-Smirnov"
        f" p = {stats.ks_2samp(one, two).pvalue:.2f}",
        flush=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print images per second of both trainers for each small model, and their ratio."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    torch.set_num_threads(1)
    cases = [(arch, 32, 3, 128) for arch in supported(32, 3)]
    cases += [(arch, 28, 1, 64) for arch in ("mobilenet_mini", "lenet5")]
    if options.quick:
        cases = [("mobilenet_mini", 16, 1, 32)]
    rows: list[dict[str, str | float | int]] = []
    found = []
    for arch, size, channels, batch in cases:
        both, images = sides(arch, size, channels, batch)
        seconds = interleave(both, options.rounds, warm_up=False)
        rates = {name: [images[name] / s for s in seconds[name]] for name in both}
        ratio = ratios(rates["lanes"], rates["single"])
        shape = f"{size} x {size} x {channels}"
        rows.append(
            {
                "network": arch,
                "pictures": shape,
                "batch": batch,
                "single": spread(rates["single"]).median,
                "lanes": spread(rates["lanes"]).median,
            }
        )
        found.append((f"{arch} {shape} batch {batch}: lanes / single", ratio, arch in FASTER))
    print_table(rows, f"training on one core, Adam, {LANES} lanes, images per CPU-second")
    for what, ratio, listed in found:
        ratio_line(what, ratio, 2.0 if listed else None)
    if not options.quick:
        accuracies("mobilenet_mini", 20, 4)
        accuracies("lenet5", 20, 4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
