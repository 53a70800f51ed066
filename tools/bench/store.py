"""The store at its size: scores of 500 classifiers, the cost of one classifier more, answers
against logits, what a fill pays for writing.

Answers are synthetic (drawn from a small pool; what they say changes no cost) and written with
``zoo.store.answers``.

1. *Scale.* All columns of the scores of 500 classifiers x 60,000 examples x 10 classes in a fresh
   process (largest resident size, mapped files counted), and time against N and against E up to 8
   million answers in one store.
2. *Shape of ImageNet*, 500 x 1,281,167 x 1,000: ``zoo.scores.from_store.score`` itself, given
   answers that are made up as it asks for them. A few blocks of 2,048 examples are scored in fresh
   processes; time and memory per block are multiplied. Extrapolated, and marked so.
3. *One classifier more.* What planning a fill as ``zoo fill`` does, committing it and finding what
   to read cost with 5 and with 500 classifiers there, each fill having added one (the most records
   there can be); and planning where each fill added two, whose records are no longer known by name.
4. *Answers against logits*, 1,000 classes: X and C from the answers' two columns, against the
   logits of the same store (mapped, softmax, entropy, argmax, then the same sums). And the first
   row of a classifier's logits, in a small file and in a large one.
5. *What writing costs a fill*: processor time of one ``ShardWorker`` call for eight LeNet-5s on
   2,048 pictures, by what it goes to.

``python -m tools.bench.store --part 3`` runs that part alone.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tools.bench.paired import (
    Spread,
    interleave,
    print_table,
    ratio_line,
    ratios,
    settings,
    since,
    spread,
    timed,
)
from zoo.data import Dataset, Split
from zoo.data.dataset import fingerprint
from zoo.data.mnist import ArraySource
from zoo.fill.plan import plan_fill
from zoo.scores import from_store
from zoo.scores.from_arrays import x_and_c
from zoo.scores.population import Population
from zoo.spec import Preprocessing, Recipe, Training, classifier_id, content_id
from zoo.store import answers as stored
from zoo.store import datasets, ledger
from zoo.store.answers import (
    Answers,
    AnswerUnit,
    Receipt,
    Shard,
    answer_parts,
    commit_unit,
    logits_blocks,
    read_answers,
    shards,
    write_part,
)
from zoo.store.files import FileRef
from zoo.store.workspace import Workspace

__all__ = ["main"]

Row = dict[str, str | float | int]

_GROUP = 125
_POOL = 16
_IMAGENET = 1_281_167
_PREPROCESSING = Preprocessing(size=28, channels=1, fit="pad", mean=(0.5,), std=(0.25,))


def dataset_of(examples: Mapping[str, int], classes: int) -> Dataset:
    """Splits of so many examples; the pictures are one pixel each and nobody looks at them."""
    generator = np.random.default_rng(0)
    splits = {}
    for name, count in examples.items():
        pictures = ArraySource(np.zeros((count, 1, 1, 1), dtype=np.uint8))
        splits[name] = Split(
            name,
            generator.integers(0, classes, count),
            None,
            [f"{name}/{i:08d}" for i in range(count)],
            pictures,
        )
    names = tuple(f"class {i}" for i in range(classes))
    return Dataset("synthetic", "synthetic", names, splits, 1, (1, 1), fingerprint(names, splits))


def answers_pool(classes: int, rows: int) -> list[Answers]:
    """Plausible answers of a few classifiers: five distinct classes, probabilities that fall."""
    generator = np.random.default_rng(1)
    # four steps of at most this stay below M, so the five classes differ
    step = max(1, (classes - 1) // 4)
    found = []
    for _ in range(_POOL):
        first = generator.integers(0, classes, rows)
        steps = np.cumsum(generator.integers(1, step + 1, (rows, 4)), axis=1)
        top5 = np.concatenate([first[:, None], (first[:, None] + steps) % classes], axis=1).astype(
            np.int16
        )
        top5_p = np.sort(generator.dirichlet(np.full(6, 0.5), rows)[:, :5], axis=1)[:, ::-1].astype(
            np.float32
        )
        entropy = generator.uniform(0, np.log2(classes), rows).astype(np.float32)
        margin = top5_p[:, 0] - top5_p[:, 1]
        found.append(
            Answers(
                top5[:, 0],
                top5_p[:, 0],
                entropy,
                margin,
                top5,
                top5_p.astype(np.float16),
                np.ones(rows, dtype=bool),
            )
        )
    return found


def first_rows(answers: Answers, rows: int) -> Answers:
    a = answers
    return Answers(
        a.prediction[:rows],
        a.p_label[:rows],
        a.entropy[:rows],
        a.margin[:rows],
        a.top5[:rows],
        a.top5_p[:rows],
        a.finite[:rows],
    )


def names_of(classifiers: int) -> tuple[str, ...]:
    return tuple(f"{i:016x}-e0001" for i in range(classifiers))


def filled(
    root: Path, dataset: Dataset, classifiers: int, *, logits: NDArray[np.float32] | None = None
) -> Workspace:
    """A workspace with committed answers (and the same logits for everyone) of so many classifiers,
    in groups, shard by shard."""
    workspace = Workspace.open(root, create=True)
    datasets.commit_dataset(workspace, dataset, {})
    classes = len(dataset.class_names)
    pool = answers_pool(classes, stored.SMALL_SHARD)
    names = names_of(classifiers)
    for split in dataset.splits.values():
        for start in range(0, classifiers, _GROUP):
            group = names[start : start + _GROUP]
            unit = AnswerUnit(
                dataset.fingerprint,
                split.name,
                group,
                classes,
                "synthetic",
                logits=logits is not None,
            )
            receipts = [
                _part(workspace, unit, shard, split.labels[shard.start : shard.stop], pool, logits)
                for shard in shards(len(split), 1)
            ]
            commit_unit(workspace, unit, len(split), len(split), receipts)
    return workspace


def _part(
    workspace: Workspace,
    unit: AnswerUnit,
    shard: Shard,
    labels: NDArray[np.int64],
    pool: Sequence[Answers],
    logits: NDArray[np.float32] | None,
) -> Receipt:
    rows, members = len(labels), len(unit.classifiers)
    answers = [first_rows(pool[i % _POOL], rows) for i in range(members)]
    seen = np.arange(rows)[None, :] % 2 == np.arange(members)[:, None] % 2
    kept = None if logits is None else (logits[:rows] for _ in range(members))
    return write_part(
        workspace.files, unit, shard, answers, np.zeros(rows, dtype=bool), labels, seen, kept
    )


def population_of(workspace: Workspace, classifiers: int) -> Population:
    return Population(next(iter(workspace.commits.all("dataset").values())), names_of(classifiers))


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
                ((name, batches[i % _POOL].slice(0, rows)) for i, name in enumerate(classifiers)),
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


# ---------------------------------------------------------------- 3. one classifier more


def with_members(root: Path, dataset: Dataset, members: int, group: int = 1) -> list[Training]:
    """A workspace of records alone: so many trained and filled classifiers, ``group`` of them at a
    time, and one that is not filled."""
    workspace = Workspace.open(root, create=True)
    datasets.commit_dataset(workspace, dataset, {})
    recipe = Recipe(epochs=1)
    trainings = [
        Training(arch="lenet5", dataset=dataset.ref, recipe=recipe, seed=seed, snapshots=(1,))
        for seed in range(members + 1)
    ]
    ledger.record_plan(workspace, "bench", "population", trainings)
    classes = content_id(list(dataset.class_names))
    for training in trainings:
        name = classifier_id(training.id, 1)
        facts = {
            "training_id": training.id,
            "arch": "lenet5",
            "epoch": 1,
            "dataset": dataset.fingerprint,
            "num_classes": len(dataset.class_names),
            "classes": classes,
            "preprocessing": _PREPROCESSING.as_json(),
            "train_acc1": 0.9,
            "test_acc1": 0.9,
            "test_acc5": 1.0,
        }
        file = FileRef(f"checkpoints/{name}-0123456789abcdef.safetensors", 250_000, "0" * 64)
        workspace.files.replace(file.path, b"")
        workspace.commits.publish(
            "checkpoint", name, identity={"training_id": training.id}, facts=facts, files=[file]
        )
        outcome = {"status": "done", "epochs": 1, "metrics": [], "stop_reason": "all epochs"}
        workspace.commits.publish(
            "training", training.id, identity={"training_id": training.id}, facts=outcome
        )
    for start in range(0, members, group):
        _commit_some(
            workspace,
            dataset,
            tuple(
                classifier_id(training.id, 1)
                for training in trainings[start : min(start + group, members)]
            ),
        )
    return trainings


def _commit_some(workspace: Workspace, dataset: Dataset, names: tuple[str, ...]) -> None:
    """Commit a fill of some classifiers whose parts are there and hold nothing."""
    split = dataset.splits["train"]
    unit = AnswerUnit(
        dataset.fingerprint,
        "train",
        names,
        len(dataset.class_names),
        content_id(list(dataset.class_names)),
        logits=False,
    )
    receipts = []
    for s in shards(len(split), 1):
        ref = FileRef(f"{unit.folder}/{s.stem}-0123456789abcdef.parquet", 50_000, "0" * 64)
        workspace.files.replace(ref.path, b"")
        receipts.append(
            Receipt(s.index, (s.stop - s.start) * len(names), 0, (0,) * len(names), ref, None)
        )
    commit_unit(
        workspace,
        unit,
        len(split),
        len(split),
        receipts,
        dict.fromkeys(names, _PREPROCESSING.as_json()),
    )


def one_more(rounds: int, few: int, many: int, examples: int) -> None:
    """Part 3: each step in a workspace opened anew, as a new command finds it. Processor time:
    other work on the machine does not count."""
    dataset = dataset_of({"train": examples}, 10)
    with tempfile.TemporaryDirectory() as folder:
        roots = {count: Path(folder) / f"members-{count}" for count in (few, many)}
        last = {
            count: classifier_id(with_members(root, dataset, count)[-1].id, 1)
            for count, root in roots.items()
        }
        pairs = {count: Path(folder) / f"pairs-{count}" for count in (few, many)}
        for count, root in pairs.items():
            with_members(root, dataset, count, group=2)
        fresh_names = iter(range(10**6))  # of fills that are measured

        def population(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            ledger.population(workspace)
            return time.process_time() - began

        def plan(count: int, root: Path | None = None) -> float:
            workspace = Workspace.open(root or roots[count])
            began = time.process_time()
            found = plan_fill(workspace, dataset, None, ["train"], None)
            seconds = time.process_time() - began
            assert {task.unit.classifiers for task in found.tasks} == {(last[count],)}
            return seconds

        def commit(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            _commit_some(workspace, dataset, (f"{next(fresh_names):016x}-e0001",))
            return time.process_time() - began

        def reading(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            answer_parts(workspace, dataset.fingerprint, "train")
            return time.process_time() - began

        def listing(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            for kind in ("checkpoint", "training", "answers"):
                workspace.files.names(f"commits/{kind}")
            return time.process_time() - began

        steps: dict[str, Callable[[int], float]] = {
            "names of all records": listing,
            "plan, as zoo fill does": plan,
            "the same where each fill added two": lambda count: plan(count, pairs[count]),
            "commit": commit,
            "population, as zoo score finds it": population,
            "answer_parts, as zoo score finds them": reading,
        }
        rows: list[Row] = []
        found: dict[str, dict[int, list[float]]] = {}
        for step, work in steps.items():
            seconds = interleave(
                {str(count): partial(work, count) for count in (few, many)}, rounds
            )
            found[step] = {count: seconds[str(count)] for count in (few, many)}
            here: Row = {
                "step": step,
                **{
                    f"cpu_ms_{count}": spread([s * 1000 for s in values]).text()
                    for count, values in found[step].items()
                },
            }
            further = [
                (b - a) / (many - few) * 1e6
                for a, b in zip(found[step][few], found[step][many], strict=True)
            ]
            here["us_per_classifier_there"] = spread(further).text()
            rows.append(here)
        print_table(
            rows,
            f"filling one classifier more, {few} and {many} there, {examples:,} examples, workspace"
            " opened anew each time",
        )
        planned = found["plan, as zoo fill does"]
        both = {
            n: [a + b for a, b in zip(planned[n], found["commit"][n], strict=True)]
            for n in (few, many)
        }
        milliseconds = {count: spread([s * 1000 for s in values]) for count, values in both.items()}
        ratio = ratios(both[many], both[few])
        verdict = "met" if ratio.median <= 2 or milliseconds[many].median <= 15 else "MISSED"
        print(
            f"plan and commit, processor time = {milliseconds[few].text()} ms with {few},"
            f" {milliseconds[many].text()} ms with {many}, ratio {ratio.text()}; target <= 2 x or"
            f" <= 15 ms: {verdict}"
        )


# ---------------------------------------------------------------- 4. answers against logits


def against_logits(rounds: int, classifiers: int, examples: int) -> None:
    """Part 4."""
    classes = 1000
    dataset = dataset_of({"train": examples}, classes)
    labels = dataset.splits["train"].labels
    logits = (np.random.default_rng(3).normal(size=(stored.SMALL_SHARD, classes)) * 3).astype(
        np.float32
    )
    with tempfile.TemporaryDirectory() as folder:
        workspace = filled(Path(folder) / "workspace", dataset, classifiers, logits=logits)
        names = names_of(classifiers)

        def from_answers() -> None:
            for block, batches in read_answers(
                workspace, dataset.fingerprint, "train", names, ("prediction", "entropy")
            ):
                pairs = [
                    (b.column("prediction").to_numpy(), b.column("entropy").to_numpy())
                    for _, b in batches
                ]
                x_and_c(
                    np.stack([p for p, _ in pairs]),
                    np.stack([e for _, e in pairs]),
                    labels[block.start : block.stop],
                )

        def from_logits(
            answer: Callable[[NDArray[np.float16]], tuple[NDArray[np.int16], NDArray[np.float32]]],
        ) -> None:
            mapped = [logits_blocks(workspace, name, "train") for name in names]
            for number, block in enumerate(shards(examples, 1)):
                pairs = [answer(blocks[number]) for blocks in mapped]
                x_and_c(
                    np.stack([p for p, _ in pairs]),
                    np.stack([e for _, e in pairs]),
                    labels[block.start : block.stop],
                )

        sides = {
            "answers": timed(from_answers),
            "logits, softmax and entropy": timed(lambda: from_logits(_plain)),
            "logits, the fewest operations": timed(lambda: from_logits(_in_cache)),
        }
        seconds = interleave(sides, rounds)
        cells = classifiers * examples
        print_table(
            [
                {"from": side, "us_per_cell": spread([s / cells * 1e6 for s in values]).text()}
                for side, values in seconds.items()
            ],
            f"X and C of {classifiers} x {examples:,}, {classes:,} classes, from one store",
        )
        plain, cached = (ratios(seconds[side], seconds["answers"]) for side in list(sides)[1:])
        ratio_line("from logits, softmax and entropy / from answers", plain, 50)
        ratio_line("from logits, the fewest operations / from answers", cached)

    first_row(max(rounds, 25), classifiers, logits)


def first_row(rounds: int, classifiers: int, logits: NDArray[np.float32]) -> None:
    """The first row of one classifier of many, in a file of 32 examples and in one of a whole
    shard."""
    name = names_of(classifiers)[classifiers // 2]
    with tempfile.TemporaryDirectory() as folder:
        spaces = {
            side: filled(
                Path(folder) / side,
                dataset_of({"train": examples}, logits.shape[1]),
                classifiers,
                logits=logits,
            )
            for side, examples in (("small", 32), ("large", stored.SMALL_SHARD))
        }

        def read(space: Workspace) -> Callable[[], object]:
            return lambda: logits_blocks(space, name, "train")[0][0].sum()

        found = interleave({side: timed(read(space)) for side, space in spaces.items()}, rounds)
        bytes_of = {
            side: max(
                ref.bytes
                for commit, _ in answer_parts(space)
                for ref in commit.files
                if ref.path.endswith(".arrow")
            )
            for side, space in spaces.items()
        }
    print_table(
        [
            {
                "file_MB": bytes_of[side] / 1e6,
                "ms_first_row": spread([s * 1000 for s in found[side]]).text(),
            }
            for side in spaces
        ],
        "first row of one classifier's logits: open, map, read one row",
    )
    print(
        f"{bytes_of['large'] / bytes_of['small']:.0f} x the file:"
        f" {ratios(found['large'], found['small']).text()} x the time"
    )


def _plain(logits: NDArray[np.float16]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Predictions and entropies of one block [n, M] of logits in float32: softmax and entropy as
    they are written, 256 rows at a time."""
    predictions, entropies = (
        np.empty(len(logits), dtype=np.int16),
        np.empty(len(logits), dtype=np.float32),
    )
    for start in range(0, len(logits), 256):
        part = slice(start, start + 256)
        z = logits[part].astype(np.float32)
        predictions[part] = z.argmax(axis=1)
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(axis=1, keepdims=True)
        entropies[part] = -(p * np.log2(np.maximum(p, np.float32(1e-37)))).sum(axis=1)
    return predictions, np.maximum(entropies, 0)


def _in_cache(logits: NDArray[np.float16]) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The same as fast as numpy can: without a division or a second logarithm per element, 64 rows
    at a time."""
    predictions, entropies = (
        np.empty(len(logits), dtype=np.int16),
        np.empty(len(logits), dtype=np.float32),
    )
    for start in range(0, len(logits), 64):
        part = slice(start, start + 64)
        z = logits[part].astype(np.float32)
        predictions[part] = z.argmax(axis=1)
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1)
        entropies[part] = (np.log(total) - np.einsum("em,em->e", e, z) / total) / np.float32(
            np.log(2)
        )
    return predictions, np.maximum(entropies, 0)


# ---------------------------------------------------------------- 5. what writing costs


def writing(rounds: int, examples: int) -> None:
    """Part 5. Processor time of this process (which waits for the disk without using any)."""
    import torch

    from tools.bench.filling import with_classifiers, write_pictures
    from zoo.fill import predict
    from zoo.fill.plan import FillBlock, decode_block

    torch.set_num_threads(1)
    spent: dict[str, float] = {}

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - began

        return run

    shares: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_pictures(Path(folder) / "pictures", examples)
        workspace = with_classifiers(Path(folder) / "workspace", dataset)
        plan = plan_fill(workspace, dataset, ledger.population(workspace), ["train"], "all")
        task = plan.tasks[0]
        worker = predict.ShardWorker(workspace, torch.device("cpu"))
        files = workspace.files
        seal, group_logits, answers_of = (
            files.seal,
            predict.ClassifierGroup.logits,
            predict.answers_of,
        )

        def sealed(folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
            found: FileRef = counted(f"write {suffix[1:]}", seal)(folder, stem, suffix, write)
            return found

        files.seal = sealed  # type: ignore[method-assign]
        predict.ClassifierGroup.logits = counted("network", group_logits)  # type: ignore[method-assign]
        predict.answers_of = counted("answers_of", answers_of)
        try:
            for number in range(rounds + 1):
                # or an equal file would be found there and not renamed
                for name in files.names(task.unit.folder):
                    files.remove(f"{task.unit.folder}/{name}")
                spent.clear()
                pictures, unreadable = counted("decode (apart)", decode_block)(FillBlock((task,)))
                counted("whole call", worker)(task, pictures, unreadable)
                if number:  # the first is the warm-up
                    for part in (
                        "network",
                        "answers_of",
                        "write parquet",
                        "write arrow",
                        "whole call",
                        "decode (apart)",
                    ):
                        shares.setdefault(part, []).append(spent[part])
        finally:
            predict.ClassifierGroup.logits, predict.answers_of = group_logits, answers_of  # type: ignore[method-assign]
    cells = len(task.unit.classifiers) * (task.shard.stop - task.shard.start)
    rows: list[Row] = [
        {
            "part": part,
            "cpu_us_per_answer": spread([s / cells * 1e6 for s in values]).text(),
            "percent_of_call": _percent(values, shares["whole call"]).text(),
        }
        for part, values in shares.items()
    ]
    print_table(
        rows,
        f"one ShardWorker call, {len(task.unit.classifiers)} LeNet-5s x"
        f" {task.shard.stop - task.shard.start:,} pictures, one thread",
    )
    share = _percent(shares["write arrow"], shares["whole call"])
    print(
        f"logits written = {share.text()} % of the call; target <= 5:"
        f" {'met' if share.median <= 5 else 'MISSED'}"
    )


def _percent(values: Sequence[float], whole: Sequence[float]) -> Spread:
    return spread([100 * a / b for a, b in zip(values, whole, strict=True)])


# ---------------------------------------------------------------- all


def main(argv: Sequence[str] | None = None) -> int:
    """Print all five parts, or one."""
    values = list(sys.argv[1:] if argv is None else argv)
    if values[:1] == ["--measure"]:
        measure_score(values[1], values[2], int(values[3]), values[4:] == ["synthetic"])
        return 0
    only = int(values[1]) if values[:1] == ["--part"] else None
    options = settings(str(__doc__), rounds=3, argv=values if only is None else values[2:])
    quick, rounds = options.quick, options.rounds
    growth = (512, 1_024, 2_048) if quick else (2_048, 4_096, 8_192, 16_384)
    parts: list[Callable[[], None]] = [
        lambda: scale(rounds, 40 if quick else 500, 4_096 if quick else 60_000, growth),
        lambda: imagenet_shape(40 if quick else 500, (1, 3) if quick else (1, 8, 24)),
        lambda: one_more(2 * rounds, 5, 50 if quick else 500, 60_000),
        lambda: against_logits(rounds, 8 if quick else 64, 2_048 if quick else 6_144),
        lambda: writing(2 * rounds, 1_024 if quick else 2_048),
    ]
    for part in parts if only is None else [parts[only - 1]]:
        part()
    return 0


if __name__ == "__main__":
    sys.exit(main())
