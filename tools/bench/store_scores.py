"""Parts 1 and 2 of the benchmark ``store``: the scores of 500 classifiers, and of the shape of
ImageNet."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tools.bench.paired import interleave, print_table, ratios, since, spread, timed
from tools.bench.synthetic_store import answers_pool, dataset_of, filled, population_of
from zoo.scores import from_store
from zoo.store import answers as stored
from zoo.store import datasets
from zoo.store.answers import Answers, Shard, shards
from zoo.store.workspace import Workspace

__all__ = ["imagenet_shape", "measure_score", "scale"]

Row = dict[str, str | float | int]

_IMAGENET = 1_281_167


# ---------------------------------------------------------------- 1. scale


def fresh(*arguments: str) -> dict[str, float]:
    """What ``--measure`` prints in a process of its own."""
    command = [sys.executable, "-m", "tools.bench.store", "--measure", *arguments]
    found: dict[str, float] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )
    return found


def measure_score(root: str, split: str, classifiers: int, synthetic: bool) -> None:
    """Body of the fresh process: score once; seconds and the largest resident size before and
    after, in MB, as JSON."""
    workspace = Workspace.open(root)
    population = population_of(workspace, classifiers)
    if synthetic:
        module: Any = from_store
        module.read_answers = _made_up(len(population.class_names))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, processor = time.perf_counter(), time.process_time()
    table = from_store.score(workspace, population, split)
    seconds, processor = since(began), time.process_time() - processor
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "rows": table.num_rows,
        "columns": table.num_columns,
        "seconds": seconds,
        "cpu": processor,
    }
    examples = (
        datasets.examples_of(workspace, population.dataset, split).nbytes / 1e6
        + 3 * 8 * table.num_rows / 1e6
    )
    print(
        json.dumps(
            {
                **result,
                "before": before / 1024,
                "after": after / 1024,
                "table": table.nbytes / 1e6,
                "examples": examples,
            }
        )
    )


def scale(rounds: int, classifiers: int, examples: int, growth: Sequence[int]) -> None:
    """Part 1: memory at full size, time by N and by E."""
    sizes = {f"e{count}": count for count in growth}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        began = time.perf_counter()
        workspace = filled(root, dataset_of({"all": examples, **sizes}, 10), classifiers)
        print(
            f"wrote {classifiers * (examples + sum(growth)):,} answers in {since(began):.0f} s",
            flush=True,
        )
        result = fresh(str(root), "all", str(classifiers))
        cells = classifiers * examples
        print_table(
            [
                {
                    "classifiers": classifiers,
                    "examples": examples,
                    "columns": int(result["columns"]),
                    "seconds": result["seconds"],
                    "cpu_seconds": result["cpu"],
                    "cpu_ns_per_cell": result["cpu"] / cells * 1e9,
                    "maxrss_MB": result["after"],
                    "maxrss_MB_before": result["before"],
                    "table_MB": result["table"],
                }
            ],
            "scores, 10 classes, fresh process",
        )
        verdict = "met" if result["after"] < 1000 else "MISSED"
        print(f"largest resident size = {result['after']:.0f} MB; target < 1,000: {verdict}")

        largest = f"e{growth[-1]}"
        by_n = {
            str(n): (largest, n)
            for n in (classifiers // 8, classifiers // 4, classifiers // 2, classifiers)
        }
        by_e = {str(count): (f"e{count}", classifiers) for count in growth}
        for letter, cases, other in (
            ("N", by_n, f"{growth[-1]:,} examples"),
            ("E", by_e, f"{classifiers} classifiers"),
        ):
            sides = {case: timed(_scorer(workspace, *values)) for case, values in cases.items()}
            seconds = interleave(sides, rounds)
            cells_of = {
                case: growth[-1] * n if letter == "N" else sizes[split] * n
                for case, (split, n) in cases.items()
            }
            each = {
                case: [s / cells_of[case] * 1e9 for s in values] for case, values in seconds.items()
            }
            rows: list[Row] = [
                {letter: case, "cells": cells_of[case], "ns_per_cell": spread(values).text()}
                for case, values in each.items()
            ]
            print_table(rows, f"time by {letter}, {other}")
            first, last = next(iter(cases)), list(cases)[-1]
            growing = ratios(seconds[last], seconds[first])
            print(
                f"{cells_of[last] / cells_of[first]:.3g} x {letter}: {growing.text()} x the time"
                " (fixed costs make it less than linear)"
            )


def _scorer(workspace: Workspace, split: str, classifiers: int) -> Callable[[], object]:
    population = population_of(workspace, classifiers)
    return lambda: from_store.score(workspace, population, split)


# ---------------------------------------------------------------- 2. shape of ImageNet


def _made_up(
    classes: int,
) -> Callable[..., Iterator[tuple[Shard, Iterator[tuple[str, pa.RecordBatch]]]]]:
    """A ``read_answers`` whose answers come from nowhere."""
    pool = answers_pool(classes, stored.SMALL_SHARD)

    def batch(answers: Answers) -> pa.RecordBatch:
        a = answers
        lists = [
            pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 5)
            for values in (a.top5, a.top5_p)
        ]
        columns = [
            pa.array(a.prediction),
            pa.array(a.p_label),
            pa.array(a.entropy),
            pa.array(a.margin),
            *lists,
        ]
        columns.append(pa.array(np.arange(len(a)) % 2 == 0))
        return pa.RecordBatch.from_arrays(
            columns, ["prediction", "p_label", "entropy", "margin", "top5", "top5_p", "in_train"]
        )

    batches = [batch(answers) for answers in pool]

    def read(
        workspace: Workspace,
        _dataset: str,
        split: str,
        classifiers: Sequence[str],
        _columns: object,
    ) -> Iterator[Any]:
        count = next(iter(workspace.commits.all("dataset").values())).facts["splits"][split]
        for block in shards(count, 1):
            rows = block.stop - block.start
            yield (
                block,
                (
                    (name, batches[i % len(batches)].slice(0, rows))
                    for i, name in enumerate(classifiers)
                ),
            )

    return read


def imagenet_shape(classifiers: int, blocks: Sequence[int]) -> None:
    """Part 2."""
    rows: list[Row] = []
    results = []
    splits = {f"b{count}": count * stored.SMALL_SHARD for count in blocks}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "workspace"
        datasets.commit_dataset(Workspace.open(root, create=True), dataset_of(splits, 1000), {})
        for split, examples in splits.items():
            result = fresh(str(root), split, str(classifiers), "synthetic")
            results.append(result)
            cells = classifiers * examples
            rows.append(
                {
                    "examples": examples,
                    "cpu_seconds": result["cpu"],
                    "cpu_ns_per_cell": result["cpu"] / cells * 1e9,
                    "maxrss_MB": result["after"],
                    "above_before_MB": result["after"] - result["before"],
                    "table_MB": result["table"],
                }
            )
    print_table(
        rows,
        f"{classifiers} classifiers, 1,000 classes, answers made up on the way, fresh process each",
    )
    # Below the peak of the imports nothing shows: what grows is counted, not seen. Table, and its
    # examples with three columns of labels.
    few, many = results[0], results[-1]
    seconds = many["cpu"] + (many["cpu"] - few["cpu"]) / (many["rows"] - few["rows"]) * (
        _IMAGENET - many["rows"]
    )
    per_example = (many["table"] + many["examples"]) / many["rows"]  # MB
    memory = many["after"] + per_example * (_IMAGENET - many["rows"])
    print(
        f"EXTRAPOLATED to {classifiers} x {_IMAGENET:,}: {seconds:,.0f} s of one core without"
        f" reading, {memory:,.0f} MB ({many['table'] / many['rows'] * _IMAGENET:,.0f} MB of them"
        f" the table), {per_example * 1e6:,.0f} bytes per example"
    )
