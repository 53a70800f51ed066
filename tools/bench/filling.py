"""The fill: one pass for eight classifiers against eight passes, and end to end on Ray against a
loop that writes nothing.

1. Eight LeNet-5s on the PNG pictures of fashion-mini, through ``plan_fill`` and ``LocalRunner``
   (one process, one thread), answers and logits written and committed: all eight in one pass,
   against one pass each.
2. The same fill on ``RayRunner``, from starting the session to closing it, against a plain torch
   loop over the same Parquet files that decodes and predicts and writes nothing (one process, two
   threads). Two sizes give the fixed cost (what it takes at zero pictures) and the cost per
   picture.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo.cluster.runner import RayRunner
from zoo.data import Dataset, open_dataset
from zoo.data.embedded_sets import embedded_path
from zoo.fill.plan import plan_fill
from zoo.local import LocalRunner
from zoo.pipeline import Runner
from zoo.spec import Recipe, Training
from zoo.store import datasets, ledger
from zoo.store.commits import Commit
from zoo.store.workspace import Workspace
from zoo.training.checkpoint import load_classifier
from zoo.training.loop import EVALUATION_BATCH
from zoo.training.tensors import normalise

__all__ = ["Passes", "main", "with_classifiers", "write_pictures"]

_CLASSIFIERS = 8
_SPLIT = "train"


def write_pictures(folder: Path, examples: int) -> Dataset:
    """The PNG pictures of fashion-mini, repeated to ``examples``, in one Parquet file."""
    folder.mkdir()
    source = embedded_path("fashion-mini")
    table = pq.read_table(source / "train.parquet")
    rows = pa.array(np.arange(examples) % table.num_rows)
    pq.write_table(table.take(rows), folder / "train.parquet", row_group_size=1000)
    pq.write_table(pq.read_table(source / "test.parquet").slice(0, 64), folder / "test.parquet")
    return open_dataset(str(folder))


def with_classifiers(
    root: Path,
    dataset: Dataset,
    archs: Sequence[str] = ("lenet5",) * _CLASSIFIERS,
    snapshots: int = 1,
) -> Workspace:
    """A workspace with eight LeNet-5s of one training step each, or with so many snapshots of other
    networks, a step apart: what they answer costs the same as after a hundred epochs."""
    workspace = Workspace.open(root, create=True)
    datasets.commit_dataset(workspace, dataset, {})
    recipe, kept = Recipe(epochs=snapshots, steps_per_epoch=1), tuple(range(1, snapshots + 1))
    trainings = [
        Training(arch=arch, dataset=dataset.ref, recipe=recipe, seed=s, snapshots=kept)
        for s, arch in enumerate(archs)
    ]
    ledger.record_plan(workspace, "bench", "population", trainings)
    LocalRunner("cpu").train(workspace, trainings, {}, _silent)
    return workspace


def _silent(*_: object) -> None:
    """No progress display."""


class Passes:
    """Fills of copies of one workspace, each copy thrown away afterwards; copying and removing are
    not measured."""

    def __init__(self, template: Workspace, dataset: Dataset, scratch: Path) -> None:
        self.template, self.dataset, self.scratch = template, dataset, scratch

    def fill(self, runner: Runner, groups: int) -> float:
        """Seconds to plan, fill and commit all classifiers in ``groups`` passes; 0 = as one fill
        that makes groups as it likes."""
        root = self.scratch / "filled"
        shutil.copytree(self.template.root, root)
        workspace = Workspace.open(root)
        classifiers = ledger.population(workspace)
        names = sorted(classifiers)
        began = time.perf_counter()
        for group in np.array_split(names, max(1, groups)):
            chosen: dict[str, Commit] = {str(name): classifiers[str(name)] for name in group}
            runner.fill(
                workspace, plan_fill(workspace, self.dataset, chosen, [_SPLIT], "all"), _silent
            )
        seconds = since(began)
        assert groups in (0, len(workspace.commits.all("answers")))
        shutil.rmtree(root)
        return seconds

    def fill_on_ray(self) -> float:
        """Seconds of a whole fill command: session up, fill, session down."""
        began = time.perf_counter()
        runner = RayRunner(cpus=2)
        up = since(began)
        try:
            seconds = self.fill(runner, 1)
        finally:
            began = time.perf_counter()
            runner.close()
        return up + seconds + since(began)

    def predict_only(self) -> float:
        """Seconds of the plain loop: read Parquet, decode PNG, predict with every classifier, keep
        the answers of the last batch only."""
        from PIL import Image

        torch.set_num_threads(2)
        commits = list(ledger.population(self.template).values())
        began = time.perf_counter()
        group = [
            load_classifier(self.template.files, commit, torch.device("cpu")) for commit in commits
        ]
        with torch.inference_mode():
            for batch in pq.ParquetFile(Path(self.dataset.uri) / "train.parquet").iter_batches(
                EVALUATION_BATCH, columns=["image"]
            ):
                encoded = batch.column("image").field("bytes").to_pylist()
                images = np.stack(
                    [np.asarray(Image.open(io.BytesIO(data)).convert("L")) for data in encoded]
                )[..., None]
                raw = torch.from_numpy(images)
                for network, preprocessing in group:
                    network(normalise(raw, preprocessing)).argmax(1)
        return since(began)


def one_pass(options_rounds: int, examples: int) -> None:
    """Part 1."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_pictures(Path(folder) / "pictures", examples)
        passes = Passes(with_classifiers(Path(folder) / "template", dataset), dataset, Path(folder))
        runner = LocalRunner("cpu")
        seconds = interleave(
            {
                "one": lambda: passes.fill(runner, 1),
                "eight": lambda: passes.fill(runner, _CLASSIFIERS),
            },
            options_rounds,
        )
    cells = examples * _CLASSIFIERS
    names = {
        "one": f"one pass of {_CLASSIFIERS} classifiers",
        "eight": f"{_CLASSIFIERS} passes of one classifier",
    }
    rows: list[dict[str, str | float | int]] = [
        {
            "side": names[side],
            "pictures": examples,
            "seconds": spread(values).text(),
            "answers_per_second": spread([cells / s for s in values]).text(),
        }
        for side, values in seconds.items()
    ]
    print_table(rows, "fill of 8 LeNet-5s from PNG, one process, one thread")
    ratio_line(
        f"{_CLASSIFIERS} passes / one pass, seconds", ratios(seconds["eight"], seconds["one"]), 1.7
    )


def on_ray(options_rounds: int, sizes: tuple[int, int]) -> None:
    """Part 2."""
    # As the command line does: our own messages get a descriptor of their own, so that Ray's C++
    #     log lines can be turned away.
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    found: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            dataset = write_pictures(Path(folder) / f"pictures-{size}", size)
            passes = Passes(
                with_classifiers(Path(folder) / f"template-{size}", dataset), dataset, Path(folder)
            )
            sides = {"ray": passes.fill_on_ray, "loop": passes.predict_only}
            found[size] = interleave(sides, options_rounds, warm_up=size == sizes[0])
    small, large = sizes
    rows: list[dict[str, str | float | int]] = []
    slopes: dict[str, list[float]] = {}
    fixed: dict[str, list[float]] = {}
    names = {
        "ray": "zoo fill on Ray, 2 workers, writes answers and logits",
        "loop": "plain torch loop, 2 threads, writes nothing",
    }
    for side, name in names.items():
        pairs = list(zip(found[small][side], found[large][side], strict=True))
        slopes[side] = [(b - a) / (large - small) for a, b in pairs]
        fixed[side] = [a - slope * small for (a, _), slope in zip(pairs, slopes[side], strict=True)]
        rows.append(
            {
                "side": name,
                f"seconds_{small}": spread(found[small][side]).text(),
                f"seconds_{large}": spread(found[large][side]).text(),
                "fixed_seconds": spread(fixed[side]).text(),
                "microseconds_per_answer": (
                    spread([s / _CLASSIFIERS * 1e6 for s in slopes[side]]).text()
                ),
            }
        )
    print_table(rows, f"fill of 8 LeNet-5s from PNG, end to end, {small:,} and {large:,} pictures")
    for size in sizes:
        ratio_line(
            f"plain loop / zoo fill on Ray, seconds, {size:,} pictures",
            ratios(found[size]["loop"], found[size]["ray"]),
        )
    ratio_line(
        "plain loop / zoo fill on Ray, seconds per further picture",
        ratios(slopes["loop"], slopes["ray"]),
    )
    print(
        f"fixed cost of a fill on Ray = {spread(fixed['ray']).text()} s (session, actors, import of"
        " torch, closing)"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print both comparisons."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    one_pass(options.rounds, 2048 if options.quick else 5000)
    on_ray(min(options.rounds, 3), (2048, 8192) if options.quick else (10_000, 50_000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
