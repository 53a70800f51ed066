"""A population's training: image passes per CPU second of the run against its networks' own rate.

A part of study 2's population (its ten networks, one training set of each size, two epochs, one
snapshot) on the laptop's pictures; CIFAR-10 is needed: ZOO_DATA. The run is ``pipeline.train`` in
this process into a new workspace: data, training, evaluations on the test set, checkpoints,
commits, whichever trainer its rule takes. Own rate: the same trainings one after the other by the
bare loop (``fit``), their data prepared outside the measurement; so each network counts by its
passes. Both by CPU time, which other work on the machine hardly changes.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence

import torch

from tools.bench.courses import network
from tools.bench.paired import interleave, ratio_line, ratios, settings, spread
from zoo import pipeline
from zoo.data import open_dataset
from zoo.estimate import training_images
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.spec import Sweep, Training
from zoo.store.workspace import Workspace
from zoo.studies.populations import data, population
from zoo.training.loop import fit
from zoo.training.run import optimizer_of
from zoo.trainsets.prepare import prepare

__all__ = ["main", "measured"]

_QUIET = Progress(quiet=True)
_TARGET = 0.8


def sweep(quick: bool) -> Sweep:
    """One training set of each size."""
    whole = population("smoke" if quick else "laptop")
    epochs = 1 if quick else 2
    treatments = {
        float(steps[0].params["fraction"]) if steps else 1.0: steps
        for steps in reversed(whole.treatments)
    }
    return whole.replace(
        treatments=tuple(treatments.values()),
        recipe=whole.recipe.replace(epochs=epochs),
        snapshots=(epochs,),
    )


def own_seconds(workspace: Workspace, trainings: Sequence[Training]) -> float:
    """CPU seconds of the bare loop of all trainings, one thread."""
    threads, seconds = torch.get_num_threads(), 0.0
    torch.set_num_threads(1)
    try:
        for training in trainings:
            ready = prepare(workspace, training)
            model = network(training.arch, ready)
            optimizer = optimizer_of(model, training.recipe)
            began = time.process_time()
            for _ in fit(model, optimizer, ready, training, device=torch.device("cpu")):
                pass
            seconds += time.process_time() - began
    finally:
        torch.set_num_threads(threads)
    return seconds


def run_seconds(uri: str, work: Sweep) -> float:
    """CPU seconds of the whole run into a new workspace, from the decoding of the pictures on."""
    dataset = open_dataset(uri)
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace.open(f"{folder}/run", create=True)
        began = time.process_time()
        pipeline.prepare_dataset(space, uri, work.inputs, _QUIET)
        jobs = work.expand(dataset.ref)
        diverged = pipeline.train(space, dataset, "bench", "population", jobs, LocalRunner, _QUIET)
        seconds = time.process_time() - began
    assert not diverged, diverged
    return seconds


def measured(quick: bool, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Image passes of either side, and the CPU seconds of both, round by round."""
    uri, work = data("smoke" if quick else "laptop", "clean"), sweep(quick)
    dataset = open_dataset(uri)
    trainings = work.expand(dataset.ref)
    passes = sum(training_images(training, dataset) for training in trainings)
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace.open(f"{folder}/own", create=True)
        pipeline.prepare_dataset(space, uri, work.inputs, _QUIET)
        sides = {
            "run": lambda: run_seconds(uri, work),
            "own": lambda: own_seconds(space, trainings),
        }
        return passes, interleave(sides, rounds, warm_up=quick)


def main(argv: Sequence[str] | None = None) -> int:
    """Print both rates and their ratio."""
    options = settings(str(__doc__), rounds=2, argv=argv)
    passes, seconds = measured(options.quick, options.rounds)
    for name, what in (("run", "the run"), ("own", "the bare loop")):
        rate = spread([passes / each for each in seconds[name]])
        print(f"{passes:,} image passes, {what}: {rate.text(4)} a CPU second")
    ratio_line(
        "image rate of the run / of its networks alone",
        ratios(seconds["own"], seconds["run"]),
        None if options.quick else _TARGET,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
