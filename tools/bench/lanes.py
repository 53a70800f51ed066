"""Trainings in the lanes of a register against one after the other: images per second of one core.

All sides train whole epochs on the same pictures in memory, through zoo's own trainers: gathering,
normalising, forward, backward, the optimiser's step. ``lanes``: a network to a lane; ``shared``: as
many lanes to a network as a large sweep gives it (two in batches of 128); ``alone``: one network in
all of them. CPU time of this process counts, so that a busy machine spoils less. Second: the test
accuracies of 20 seeds by the loop, with as many lanes each as in a large sweep and with all lanes
each, which have to agree in distribution (their weights cannot: differences of float rounding grow
with every step).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
from zoo.training.rule import Whole, lanes_each
from zoo.training.run import run
from zoo.training.trainers import FASTER

__all__ = ["main"]

CPU = torch.device("cpu")
_SECONDS = 1.5
"""Of CPU, about, for a side of a round."""


def sides(
    arch: str, size: int, channels: int, batch: int
) -> tuple[dict[str, Callable[[], float]], dict[str, int]]:
    """Each as a function that takes CPU seconds, and the images that each trains on."""
    recipe = Recipe(batch_size=batch, epochs=1)

    def courses(steps: int, count: int) -> Iterator[BareCourse]:
        data = pictures(steps * batch, size, channels)
        for seed in range(count):
            yield bare(arch, data, recipe, CPU, seed)

    def single(steps: int) -> float:
        course = next(courses(steps, 1))
        began = time.process_time()
        course.alone()
        return time.process_time() - began

    def lanes(steps: int, each: int = 1) -> float:
        given = list(courses(steps, LANES // each))
        began = time.process_time()
        together = Lanes(given[0].model, given[0].data, recipe, each)
        rest = iter(given[1:])
        together.train(given[0], lambda: next(rest, None), _fail, lambda: False)
        return time.process_time() - began

    shared = lanes_each(LANES * LANES, batch, LANES)
    every: dict[str, tuple[Callable[[int], float], int]] = {
        "single": (single, 1),
        "lanes": (lanes, LANES),
        "shared": (partial(lanes, each=shared), LANES // shared),
        "alone": (partial(lanes, each=LANES), 1),
    }
    made: dict[str, Callable[[], float]] = {}
    images = {}
    for name, (side, networks) in every.items():
        side(2)  # kernels are compiled, memory is taken
        steps = max(1, round(_SECONDS / (side(4) / 4)))
        made[name], images[name] = partial(side, steps), steps * batch * networks
    return made, images


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
    # By how many are alike in the sweep: very many, or one that has all lanes.
    many, one = Whole(LANES * LANES, 0), Whole(1, 0)
    found: dict[str, list[float]] = {}
    for name, trainer, whole in (
        ("single", "single", one),
        ("shared", "lanes", many),
        ("alone", "lanes", one),
    ):
        with tempfile.TemporaryDirectory() as folder:
            space = Workspace.open(Path(folder) / "zoo", create=True)
            failed = run(
                *(space, batch), device=CPU, on_epoch=lambda *_: None, trainer=trainer, whole=whole
            )
            assert not failed, failed
            records = [space.commits.get("training", job.id) for job in batch]
            facts = [record.facts for record in records if record is not None]
            assert [fact["trainer"] for fact in facts] == [trainer] * seeds
            shared = lanes_each(many.count, recipe.batch_size, LANES)
            each = {"single": 1, "shared": shared, "alone": LANES}[name]
            assert {int(fact["versions"].get("lanes_each", 1)) for fact in facts} == {each}
            found[name] = [fact["metrics"][-1]["acc1"] for fact in facts]
    alone = found.pop("single")
    print(
        f"\n{arch}, {epochs} epochs of fashion-mini, {seeds} seeds, test accuracy: single"
        f" {statistics.mean(alone):.4f} (sd {statistics.stdev(alone):.4f})"
    )
    for name, these in found.items():
        differences = [b - a for a, b in zip(alone, these, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        print(
            f"  {name} {statistics.mean(these):.4f} (sd {statistics.stdev(these):.4f}); {name} -"
            f" single, paired by seed: {statistics.mean(differences):+.4f} +- {error:.4f};"
            f" Kolmogorov-Smirnov p = {stats.ks_2samp(alone, these).pvalue:.2f}",
            flush=True,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Print images per second of each side for each small model, and their ratios."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    torch.set_num_threads(1)
    cases = [(arch, 32, 3, 128) for arch in supported(32, 3)]
    cases += [(arch, 28, 1, 64) for arch in ("mobilenet_mini", "lenet5")]
    if options.quick:
        cases = [("mobilenet_mini", 16, 1, 32)]
    rows: list[dict[str, str | float | int]] = []
    found = []
    for arch, size, channels, batch in cases:
        every, images = sides(arch, size, channels, batch)
        seconds = interleave(every, options.rounds, warm_up=False)
        rates = {name: [images[name] / s for s in seconds[name]] for name in every}
        shape = f"{size} x {size} x {channels}"
        rows.append(
            {
                "network": arch,
                "pictures": shape,
                "batch": batch,
                **{name: spread(of).median for name, of in rates.items()},
            }
        )
        for name, listed in (("lanes", False), ("shared", arch in FASTER), ("alone", False)):
            ratio = ratios(rates[name], rates["single"])
            found.append((f"{arch} {shape} batch {batch}: {name} / single", ratio, listed))
    print_table(rows, f"training on one core, Adam, {LANES} lanes, images per CPU-second")
    for what, ratio, listed in found:
        ratio_line(what, ratio, 2.0 if listed else None)
    if not options.quick:
        accuracies("mobilenet_mini", 20, 4)
        accuracies("lenet5", 20, 4)
    return 0


if __name__ == "__main__":
    sys.exit(main())
