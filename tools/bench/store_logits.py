"""Part 4 of the benchmark ``store``: X and C from answers, against the logits of the same store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.paired import interleave, print_table, ratio_line, ratios, spread, timed
from tools.bench.synthetic_store import dataset_of, filled, names_of
from zoo.scores.from_arrays import x_and_c
from zoo.store import answers as stored
from zoo.store.answers import answer_parts, logits_blocks, read_answers, shards
from zoo.store.workspace import Workspace

__all__ = ["against_logits"]

Row = dict[str, str | float | int]


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
