"""Scoring: X and C from answers against a Python loop per classifier and example, and memory for 50
and 500 classifiers.

Answers are synthetic (1,000 classes, written with ``zoo.store.answers``): their cost does not
depend on what they say. Sides, each per
(classifier, example):

- *loop over probabilities*: how the published implementation of the method works it out: per
  classifier and example, take the row of probabilities, its argmax, its entropy, count the
  predicted class in a dictionary, add -p log p per class to a table of examples x classes, add to
  two running sums. (There the sums and the table are pandas objects, which costs several times
  more; here they are plain numpy and lists.)
- *loop over answers*: predictions and entropies are known already; a bare Python loop adds them up.
- *zoo score*: all columns of the scores table from the Parquet parts.
- *zoo X and C from the store*: predictions and entropies from the same parts, then
  ``zoo.scores.from_arrays.x_and_c``; *in memory*: that function alone.

Memory: ``zoo.scores.from_store.score`` in a fresh process each; the largest resident size that was
the process's own (without mapped files, which the system may drop at any time) above what it was
before scoring.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.paired import (
    interleave,
    print_table,
    ratio_line,
    ratios,
    settings,
    since,
    spread,
    timed,
)
from zoo.data import Dataset
from zoo.data.dataset import Split, fingerprint
from zoo.data.mnist import ArraySource
from zoo.scores.from_arrays import x_and_c
from zoo.scores.from_store import score
from zoo.scores.population import Population
from zoo.store import datasets
from zoo.store.answers import Answers, AnswerUnit, commit_unit, read_answers, shards, write_part
from zoo.store.workspace import Workspace

__all__ = ["main"]

_CLASSES = 1000
_SPLIT = "train"
_GROUP = 50
_POOL = 4096


def synthetic_dataset(examples: int, classes: int = _CLASSES) -> Dataset:
    """Labels of so many classes; the pictures are one pixel each and nobody looks at them."""
    labels = np.random.default_rng(0).integers(0, classes, examples)
    pictures = ArraySource(np.zeros((examples, 1, 1, 1), dtype=np.uint8))
    splits = {_SPLIT: Split(_SPLIT, labels, None, [f"{i:08d}" for i in range(examples)], pictures)}
    names = tuple(f"class {i}" for i in range(classes))
    return Dataset("synthetic", "synthetic", names, splits, 1, (1, 1), fingerprint(names, splits))


def synthetic_answers(
    labels: NDArray[np.int64], generator: np.random.Generator, classes: int = _CLASSES
) -> Answers:
    """Plausible answers: right four times out of five, five distinct classes, probabilities that
    fall."""
    n = len(labels)
    first = np.where(generator.random(n) < 0.8, labels, generator.integers(0, classes, n))
    # four steps make less than a round, so the five classes differ
    step = min(180, (classes - 1) // 4 + 1)
    steps = np.cumsum(generator.integers(1, step, (n, 4)), axis=1)
    top5 = np.concatenate([first[:, None], (first[:, None] + steps) % classes], axis=1)
    top5_p = np.sort(generator.dirichlet(np.full(6, 0.5), n).astype(np.float32)[:, :5], axis=1)[
        :, ::-1
    ]
    p_label = np.where(first == labels, top5_p[:, 0], top5_p[:, 4])
    margin = np.where(first == labels, top5_p[:, 0] - top5_p[:, 1], p_label - top5_p[:, 0])
    return Answers(
        prediction=first.astype(np.int16),
        p_label=p_label.astype(np.float32),
        entropy=generator.uniform(0, min(9.0, np.log2(classes)), n).astype(np.float32),
        margin=margin.astype(np.float32),
        top5=top5.astype(np.int16),
        top5_p=top5_p.astype(np.float16),
        finite=np.ones(n, dtype=bool),
    )


def filled(
    root: Path, classifiers: int, examples: int, classes: int = _CLASSES
) -> tuple[Workspace, Population]:
    """A workspace with committed answers of so many classifiers, in groups of 50 as after several
    fills."""
    workspace, dataset = Workspace.open(root, create=True), synthetic_dataset(examples, classes)
    datasets.commit_dataset(workspace, dataset, {})
    labels = dataset.splits[_SPLIT].labels
    generator = np.random.default_rng(1)
    for start in range(0, classifiers, _GROUP):
        names = tuple(f"{i:016x}-e0001" for i in range(start, min(start + _GROUP, classifiers)))
        unit = AnswerUnit(dataset.fingerprint, _SPLIT, names, classes, "synthetic", logits=False)
        receipts = []
        for shard in shards(examples, 1):
            part = labels[shard.start : shard.stop]
            answers = [synthetic_answers(part, generator, classes) for _ in names]
            seen = np.arange(len(part))[None, :] % 2 == np.arange(len(names))[:, None] % 2
            receipts.append(
                write_part(
                    workspace.files,
                    unit,
                    shard,
                    answers,
                    np.zeros(len(part), dtype=bool),
                    part,
                    seen,
                    None,
                )
            )
        commit_unit(workspace, unit, examples, examples, receipts)
    return workspace, first_classifiers(workspace, classifiers)


def first_classifiers(workspace: Workspace, classifiers: int) -> Population:
    """The first so many classifiers of a workspace made by ``filled``."""
    return Population(
        next(iter(workspace.commits.all("dataset").values())),
        tuple(f"{i:016x}-e0001" for i in range(classifiers)),
    )


# ---------------------------------------------------------------- the loops


def loop_over_probabilities(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """X and C of E examples from probabilities [N, E, M], one row at a time."""
    members, examples, classes = probabilities.shape
    wrong, bits = [0.0] * examples, [0.0] * examples
    votes: list[dict[int, int]] = [{} for _ in range(examples)]
    surprise = np.zeros((examples, classes))
    for member in range(members):
        for example in range(examples):
            row = probabilities[member, example]
            predicted = int(row.argmax())
            if predicted != labels[example]:
                wrong[example] += 1
            votes[example][predicted] = votes[example].get(predicted, 0) + 1
        for example in range(examples):
            row = probabilities[member, example]
            terms = np.nan_to_num(row * np.log2(row))
            bits[example] += float(-np.nansum(terms))
            surprise[example] += -terms / members
    return [w / members for w in wrong], [2.0 ** (b / members) for b in bits]


def loop_over_answers(
    predictions: NDArray[np.int16], entropies: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[list[float], list[float]]:
    """X and C of E examples from predictions and entropies [N, E], as plain Python numbers."""
    members, examples = predictions.shape
    wrong, bits, truth = [0] * examples, [0.0] * examples, labels.tolist()
    for member in range(members):
        answers, uncertain = predictions[member].tolist(), entropies[member].tolist()
        for example in range(examples):
            if answers[example] != truth[example]:
                wrong[example] += 1
            bits[example] += uncertain[example]
    return [w / members for w in wrong], [2.0 ** (b / members) for b in bits]


def x_and_c_from_store(
    workspace: Workspace, population: Population, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """X and C of a split from the answers of a population, block by block."""
    blocks = []
    for block, batches in read_answers(
        workspace, population.fingerprint, _SPLIT, population.classifiers, ("prediction", "entropy")
    ):
        answers = [
            (batch.column("prediction").to_numpy(), batch.column("entropy").to_numpy())
            for _, batch in batches
        ]
        predictions, entropies = (np.stack(columns) for columns in zip(*answers, strict=True))
        blocks.append(x_and_c(predictions, entropies, labels[block.start : block.stop]))
    x, c = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return x, c


def speed(rounds: int, classifiers: int, examples: int) -> None:
    """Both loops on a part small enough to wait for, zoo on all; compared per (classifier,
    example)."""
    generator = np.random.default_rng(2)
    loop_members, loop_examples = 2, 500
    probabilities = generator.dirichlet(
        np.full(_CLASSES, 0.02), (loop_members, loop_examples)
    ).astype(np.float32)
    labels = generator.integers(0, _CLASSES, examples)
    predictions = generator.integers(0, _CLASSES, (classifiers, examples)).astype(np.int16)
    entropies = generator.uniform(0, 9, (classifiers, examples)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder, np.errstate(divide="ignore", invalid="ignore"):
        workspace, population = filled(Path(folder) / "workspace", classifiers, examples)
        truth = synthetic_dataset(examples).splits[_SPLIT].labels
        sides = {
            "loop over probabilities": timed(
                lambda: loop_over_probabilities(probabilities, labels)
            ),
            "loop over answers": timed(
                lambda: loop_over_answers(predictions[:10], entropies[:10], labels)
            ),
            "zoo score, all columns": timed(lambda: score(workspace, population, _SPLIT)),
            "zoo X and C from the store": timed(
                lambda: x_and_c_from_store(workspace, population, truth)
            ),
            "zoo X and C in memory": timed(lambda: x_and_c(predictions, entropies, labels)),
        }
        # The fast way and the whole table say the same.
        table = score(workspace, population, _SPLIT)
        for name, values in zip(
            ("x_perplexity", "c_perplexity"),
            x_and_c_from_store(workspace, population, truth),
            strict=True,
        ):
            assert np.array_equal(table.column(name).to_numpy(), values), name
        seconds = interleave(sides, rounds)
    cells = dict.fromkeys(sides, classifiers * examples)
    cells |= {
        "loop over probabilities": loop_members * loop_examples,
        "loop over answers": 10 * examples,
    }
    each = {side: [s / cells[side] * 1e6 for s in values] for side, values in seconds.items()}
    rows: list[dict[str, str | float | int]] = [
        {"side": side, "cells": cells[side], "microseconds_per_cell": spread(values).text()}
        for side, values in each.items()
    ]
    print_table(rows, f"X and C, {_CLASSES:,} classes; cell = one classifier and one example")
    for loop in ("loop over probabilities", "loop over answers"):
        for side in list(sides)[2:]:
            target = (
                300
                if (loop, side) == ("loop over probabilities", "zoo X and C from the store")
                else None
            )
            ratio_line(f"{loop} / {side}, per cell", ratios(each[loop], each[side]), target)


# ---------------------------------------------------------------- memory


def _bytes(field: str) -> int:
    """A field of this process's memory. RssAnon: resident without mapped files; VmHWM: most ever
    resident (getrusage's would be the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{field}:\s+(\d+) kB", status, flags=re.MULTILINE)
    assert found is not None, "needs Linux"
    return int(found[1]) * 1024


def measure(root: str, classifiers: int) -> None:
    """Body of the fresh process: score once, print the most memory seen (looked at every
    millisecond) and the time as JSON."""
    workspace = Workspace.open(root)
    population = first_classifiers(workspace, classifiers)
    before, peak, done = _bytes("RssAnon"), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.001):
            peak = max(peak, _bytes("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    table = score(workspace, population, _SPLIT)
    seconds = since(began)
    done.set()
    watcher.join()
    print(
        json.dumps(
            {
                "rows": table.num_rows,
                "seconds": seconds,
                "own": peak - before,
                "resident": _bytes("VmHWM"),
            }
        )
    )


def memory(members: tuple[int, int], examples: tuple[int, int]) -> None:
    """Peak of scoring for few and many classifiers, and for fewer and more examples."""
    rows: list[dict[str, str | float | int]] = []
    found: dict[tuple[int, int], float] = {}
    for size in examples:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "workspace"
            filled(root, members[1], size)
            for count in members:
                command = [
                    sys.executable,
                    "-m",
                    "tools.bench.scoring",
                    "--measure",
                    str(root),
                    str(count),
                ]
                result = json.loads(
                    subprocess.run(command, check=True, capture_output=True, text=True).stdout
                )
                found[count, size] = result["own"]
                rows.append(
                    {
                        "classifiers": count,
                        "examples": size,
                        "cells": count * size,
                        "seconds": result["seconds"],
                        "peak_own_MB": result["own"] / 1e6,
                        "peak_resident_MB": result["resident"] / 1e6,
                    }
                )
    print_table(
        rows,
        "memory of zoo.scores.from_store.score, fresh process each; own = above what it had before"
        " scoring, without mapped files",
    )
    large = examples[-1]
    growth = spread([found[members[1], large] / found[members[0], large]])
    print(
        f"ratio memory, {members[1]} / {members[0]} classifiers at {large:,} examples ="
        f" {growth.median:.3g}; N x E would give {members[1] / members[0]:g}; target <= 1.5:"
        f" {'met' if growth.median <= 1.5 else 'MISSED'}"
    )
    further = (found[members[1], large] - found[members[1], examples[0]]) / (large - examples[0])
    print(f"memory per further example at {members[1]} classifiers = {further:,.0f} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    """Print speed and memory."""
    values = list(sys.argv[1:] if argv is None else argv)
    if values[:1] == ["--measure"]:
        measure(values[1], int(values[2]))
        return 0
    options = settings(str(__doc__), rounds=5, argv=values)
    speed(options.rounds, 50, 2_048 if options.quick else 10_000)
    memory((50, 500), (2_048, 4_096) if options.quick else (5_000, 20_000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
