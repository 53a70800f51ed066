"""Two hundred heads on 50,000 x 1,280 features, as an audit trains them: time and memory.

Features are made at random, a centre for each of ten classes and noise, one label in ten wrong, and
put into a workspace as a backbone's would be. What follows is the product's own way, in one
process: heads on five folds that are shared out again and again (``zoo train``), answers and
logits of all of them (``zoo fill``), scores over those that were not trained on an example
(``zoo score``).

Printed: seconds by the clock and of the CPU of each stage, and how much memory the process held at
most. Training and fill share out by batches and parts, so two cores take half of the CPU's seconds.
That the wrong labels come first is checked.

Options of its own: --examples, --heads and --epochs, for less.
"""

from __future__ import annotations

import argparse
import resource
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tools.bench.paired import print_table, settings
from zoo import auditing, pipeline
from zoo.data import Dataset, open_dataset
from zoo.local import LocalRunner
from zoo.models.at_hand import HOG
from zoo.pipeline import Features, Grid
from zoo.progress import Progress
from zoo.scores.from_store import score
from zoo.scores.population import population_of
from zoo.scores.suspects import suspects
from zoo.spec import Preprocessing
from zoo.store import ledger
from zoo.store.answers import shards
from zoo.store.features import (
    Backbone,
    FeatureUnit,
    commit_backbone,
    commit_features,
    write_features,
)
from zoo.store.workspace import Workspace

__all__ = ["main", "measured"]

_CLASSES, _FOLDS = 10, 5
_SECONDS, _BYTES = 360.0, 2e9
"""Of the CPU, three minutes of two cores; and of memory."""
_APART = 2.5
"""Distance of a class's centre from 0, in standard deviations of the noise in one direction."""
_QUIET = Progress(quiet=True)


def pictures(folder: Path, examples: int) -> tuple[Dataset, np.ndarray]:
    """MNIST's form, of one pixel each that nobody looks at; the true labels, int64 [E]."""
    random = np.random.default_rng(0)
    truth = random.integers(0, _CLASSES, examples)
    wrong = np.arange(examples) % 10 == 0
    given = np.where(wrong, (truth + random.integers(1, _CLASSES, examples)) % _CLASSES, truth)
    folder.mkdir()
    (folder / "train-images-idx3-ubyte").write_bytes(
        struct.pack(">IIII", 0x803, examples, 1, 1) + bytes(examples)
    )
    (folder / "train-labels-idx1-ubyte").write_bytes(
        struct.pack(">II", 0x801, examples) + given.astype(np.uint8).tobytes()
    )
    return open_dataset(str(folder)), truth


def put_features(space: Workspace, dataset: Dataset, truth: np.ndarray, width: int) -> str:
    """Vectors of the training split, a part at a time; the backbone's key."""
    shown = Preprocessing(size=64, channels=3, fit="crop", mean=(), std=())
    backbone = Backbone(HOG, None, 0, width, "made at random", shown)
    commit_backbone(space, backbone, b"", {"file": "none"})
    unit = FeatureUnit(dataset.fingerprint, "train", backbone.key, width)
    random = np.random.default_rng(1)
    centres = random.standard_normal((_CLASSES, width), dtype=np.float32)
    centres *= np.float32(_APART / np.sqrt(width))
    receipts = []
    for shard in shards(len(truth), 1):
        own = truth[shard.start : shard.stop]
        vectors = centres[own] + random.standard_normal((len(own), width), dtype=np.float32)
        lost = np.zeros(len(own), dtype=np.bool_)
        receipts.append(write_features(space.files, unit, shard, vectors, lost))
    commit_features(space, unit, len(truth), receipts)
    return backbone.key


def measured(
    folder: Path, examples: int, width: int, heads: int, epochs: int
) -> tuple[list[dict[str, str | float | int]], float, float]:
    """A row of seconds per stage; the share of the wrong labels that come first; bytes that this
    process held at most."""
    where = str(folder / "workspace")
    dataset, truth = pictures(folder / "data", examples)
    key = put_features(Workspace.open(where, create=True), dataset, truth, width)
    repeats = max(1, heads // (len(auditing.HEADS) * _FOLDS))
    sweep = auditing.heads(examples, repeats)
    sweep = sweep.replace(recipe=sweep.recipe.replace(epochs=epochs), snapshots=None)
    rows: list[dict[str, str | float | int]] = []

    def timed(stage: str, work: Callable[[], object]) -> None:
        began = time.perf_counter(), time.process_time()
        work()
        took = time.perf_counter() - began[0], time.process_time() - began[1]
        rows.append({"stage": stage, "seconds": took[0], "cpu_seconds": took[1]})

    dataset, trainings, space = pipeline.planned(
        dataset.uri, [Grid(sweep, Features(key))], where, _QUIET
    )
    timed(
        "train",
        lambda: pipeline.train(
            space, dataset, "audit", "population", trainings, LocalRunner, _QUIET
        ),
    )
    members = ledger.classifiers_of(space, trainings)
    timed(
        "fill",
        lambda: pipeline.fill(space, dataset, members, ("train",), "all", LocalRunner, _QUIET),
    )
    tables: list[pd.DataFrame] = []
    people = population_of(space, dataset.fingerprint, members)
    timed("score", lambda: tables.append(score(space, people, "train").to_pandas()))
    wrong = dataset.splits["train"].labels != truth
    first = suspects(tables[0], int(wrong.sum()))["example_id"].to_numpy()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return rows, float(wrong[first].mean()), most


def main(argv: Sequence[str] | None = None) -> int:
    """Print the stages, the whole against three minutes of two cores, and memory against 2 GB."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--examples", type=int, default=50_000)
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=8)
    own, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = settings(str(__doc__), rounds=1, argv=rest)
    examples, width, heads, epochs = own.examples, 1_280, own.heads, own.epochs
    if options.quick:
        examples, width, heads, epochs = 1_000, 64, 10, 4
    with tempfile.TemporaryDirectory() as folder:
        rows, found, most = measured(Path(folder), examples, width, heads, epochs)
    print_table(rows, f"{heads} heads on {examples:,} x {width:,} features, {epochs} epochs")
    print(f"wrong labels among as many suspects: {found:.3f}")
    seconds = sum(float(row["cpu_seconds"]) for row in rows[:2])
    for what, value, target, unit in (
        ("train and fill", seconds, _SECONDS, "CPU s"),
        ("memory", most / 1e9, _BYTES / 1e9, "GB"),
    ):
        verdict = "" if options.quick else f": {'met' if value < target else 'MISSED'}"
        print(f"{what} = {value:.3g} {unit}; target < {target:g}{verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
