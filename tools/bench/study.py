"""Study 1's MNIST sweep at laptop scale: images per second through Ray Tune against the trainings'
own rate.

A part of the trainings of ``data_quality_mnist --scale laptop`` (every thirtieth; real MNIST is
needed: ZOO_DATA). The sweep is ``pipeline.train`` on Ray with two workers into a new workspace:
session, trials, data, evaluations on 10,000 test images, checkpoints, commits. Own rate: the same
trainings by the bare loop (``fit``) in two waiting processes, half of them each. Then one
evaluation of the test set against one training.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tools.bench.courses import network
from tools.bench.paired import Workers, interleave, ratio_line, ratios, settings, since, spread
from zoo import pipeline
from zoo.cluster.runner import RayRunner
from zoo.data import open_dataset
from zoo.progress import Progress
from zoo.spec import Training
from zoo.store.workspace import Workspace
from zoo.studies.load import load
from zoo.training.loop import evaluate, fit
from zoo.training.run import optimizer_of
from zoo.trainsets import treatments
from zoo.trainsets.prepare import prepare

__all__ = ["main"]

_PROCESSES = 2
_EXPERIMENT = ("data_quality_mnist", "laptop")


def bare(root: str, specs: list[dict[str, Any]], evaluation: bool) -> Callable[[], None]:
    """A process that runs trainings without anything around them, or (``evaluation``) evaluates as
    many untrained networks once each."""
    torch.set_num_threads(1)
    workspace, trainings = Workspace.open(root), [Training(**spec) for spec in specs]
    prepare(workspace, trainings[0])

    def work() -> None:
        for training in trainings:
            data = prepare(workspace, training)
            model = network(training.arch, data)
            if evaluation:
                evaluate(model, data, training.recipe, 1, torch.device("cpu"))
                continue
            for _, metrics, _ in fit(
                model,
                optimizer_of(model, training.recipe),
                data,
                training,
                device=torch.device("cpu"),
            ):
                if float(metrics["acc1"] or 0) >= (training.recipe.stop_train_acc or 2):
                    break

    return work


def main(argv: Sequence[str] | None = None) -> int:
    """Print both times and their ratios."""
    options = settings(str(__doc__), rounds=2, argv=argv)
    spec = load(*_EXPERIMENT)
    dataset = open_dataset(spec.dataset)
    known = {
        t.id: t
        for sweep in spec.sweeps
        for t in treatments.resolved(sweep, dataset).expand(dataset.ref)
    }
    trainings = [
        t
        for t in list(known.values())[:: 120 if options.quick else 30]
        if "fraction=1," not in t.treatment_text
    ]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(f"{folder}/bare", create=True)
        pipeline.prepare_dataset(
            workspace, spec.dataset, [(trainings[0].arch, None)], Progress(quiet=True)
        )
        # Alternating between the processes: neighbours in the study's order cost about the same.
        halves = [
            (str(workspace.root), [t.as_json() for t in trainings[k::_PROCESSES]])
            for k in range(_PROCESSES)
        ]

        def sweep() -> float:
            with tempfile.TemporaryDirectory() as space:
                new = Workspace.open(f"{space}/sweep", create=True)
                began = time.perf_counter()
                runner = RayRunner(cpus=_PROCESSES)
                try:
                    pipeline.prepare_dataset(
                        new, spec.dataset, [(trainings[0].arch, None)], Progress(quiet=True)
                    )
                    pipeline.train(
                        new,
                        dataset,
                        "bench",
                        "population",
                        trainings,
                        lambda: runner,
                        Progress(quiet=True),
                    )
                finally:
                    runner.close()
                return since(began)

        with (
            Workers(bare, [(*half, False) for half in halves]) as own,
            Workers(bare, [(*half, True) for half in halves]) as evaluation,
        ):
            sides = {"sweep": sweep, "own": own.run, "evaluation": evaluation.run}
            seconds = interleave(sides, 1 if options.quick else options.rounds, warm_up=False)
    for name, what in (
        ("sweep", "on Ray"),
        ("own", "bare loop"),
        ("evaluation", "one evaluation each"),
    ):
        print(
            f"{len(trainings)} trainings, {what}: {spread(seconds[name]).text()} s on {_PROCESSES}"
            " processes"
        )
    ratio_line(
        "image rate of the sweep / of its trainings alone",
        ratios(seconds["own"], seconds["sweep"]),
        None if options.quick else 0.7,
    )
    share = ratios(seconds["evaluation"], seconds["own"])
    limit = "" if options.quick else f"; target < 0.2: {'met' if share.median < 0.2 else 'MISSED'}"
    print(
        f"one evaluation of {len(dataset.splits['test']):,} test images / one training ="
        f" {share.text()}{limit}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
