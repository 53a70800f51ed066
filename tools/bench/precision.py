"""What answers in bf16 cost and save, on the classifiers of a workspace: ``python -m
tools.bench.precision WORKSPACE [--classifiers N] [--pictures N] [--rounds N]``.

The last snapshot of trainings of every architecture in turn, on pictures of the test split, by the
fill's own code in this process on one thread, in float32 and in bf16, one network after the other;
CPU time counts. Printed by architecture: microseconds of an answer, the ratio, which share of the
predictions differs and how many of those are right by each; then what the scores of the pictures
make of it: how far X and C of these classifiers move.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from tools.bench.paired import Side, interleave, print_table, ratios, spread
from zoo.data import decode_examples
from zoo.fill.predict import ClassifierGroup, answers_of
from zoo.spec import PRECISIONS, Precision, Preprocessing
from zoo.store import ledger
from zoo.store.commits import Commit
from zoo.store.datasets import dataset_of
from zoo.store.workspace import Workspace

__all__ = ["Asked", "chosen", "main"]

CPU = torch.device("cpu")


def chosen(space: Workspace, count: int) -> dict[str, list[Commit]]:
    """So many classifiers by architecture, the newest snapshots of trainings in the order of their
    ids, one architecture after the other."""
    newest: dict[str, Commit] = {}
    for name, commit in sorted(ledger.population(space).items()):
        newest[name.rpartition("-e")[0]] = commit
    by_arch: dict[str, list[Commit]] = {}
    for commit in newest.values():
        by_arch.setdefault(str(commit.facts["arch"]), []).append(commit)
    each = max(1, count // len(by_arch))
    return {arch: commits[:each] for arch, commits in sorted(by_arch.items())}


class Asked:
    """Classifiers of one architecture, both ways."""

    def __init__(
        self, space: Workspace, commits: Sequence[Commit], images: NDArray[np.uint8]
    ) -> None:
        self.images, self.count = images, len(commits)
        self.groups = {
            precision: replace(
                ClassifierGroup.load(space.files, commits, CPU), precision=precision
            ).folded()
            for precision in PRECISIONS
        }

    def seconds(self, precision: Precision) -> Side:
        def side() -> float:
            began = time.process_time()
            self.groups[precision].logits(self.images)
            return time.process_time() - began

        return side

    def answers(
        self, precision: Precision, labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Predictions and entropies, each [classifiers, n]."""
        found = [answers_of(z, labels) for z in self.groups[precision].logits(self.images)]
        return np.stack([a.prediction for a in found]), np.stack([a.entropy for a in found])


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace")
    parser.add_argument("--classifiers", type=int, default=50)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    space = Workspace.open(options.workspace)
    dataset = dataset_of(space, None)
    test = dataset.splits["test"]
    # Evenly spaced: a data set may lie class by class.
    ids = np.unique(np.linspace(0, len(test) - 1, options.pictures).astype(np.int64))
    labels = test.labels[ids]
    rows: list[dict[str, str | float | int]] = []
    everyone: dict[Precision, list[tuple[NDArray[np.int16], NDArray[np.float32]]]] = {
        name: [] for name in PRECISIONS
    }
    for arch, commits in chosen(space, options.classifiers).items():
        shown = Preprocessing(**commits[0].facts["preprocessing"])
        size, channels = shown.size, shown.channels
        decoded = decode_examples(test, ids, size=size, channels=channels, fit=shown.fit)
        asked = Asked(space, commits, decoded.images)
        took = interleave({name: asked.seconds(name) for name in PRECISIONS}, options.rounds)
        found = {name: asked.answers(name, labels) for name in PRECISIONS}
        for name, both in found.items():
            everyone[name].append(both)
        differ = found["fp32"][0] != found["bf16"][0]
        right = {name: float((of[0] == labels)[differ].sum()) for name, of in found.items()}
        answers = asked.count * len(ids)
        each = {
            name: spread([1e6 * s / answers for s in seconds]).text()
            for name, seconds in took.items()
        }
        rows.append(
            {
                "network": arch,
                "classifiers": asked.count,
                **{f"{name}, us": text for name, text in each.items()},
                "fp32 / bf16": ratios(took["fp32"], took["bf16"]).text(),
                "differ": f"{differ.mean():.3%}",
                "right of these": f"{right['fp32']:.0f}, {right['bf16']:.0f} of {differ.sum()}",
            }
        )
    print_table(rows, f"answers of one thread, {len(ids):,} pictures of {dataset.name}")
    x = {n: (np.concatenate([p for p, _ in of]) != labels).mean(0) for n, of in everyone.items()}
    c = {n: 2 ** np.concatenate([e for _, e in of]).mean(0) for n, of in everyone.items()}
    for title, scores in (("X", x), ("C", c)):
        moved = np.abs(scores["fp32"] - scores["bf16"])
        rank = np.corrcoef(scores["fp32"], scores["bf16"])[0, 1]
        print(
            f"{title}-perplexity: moved by {moved.mean():.5f} in the mean, {moved.max():.4f} at"
            f" most (its own standard deviation {scores['fp32'].std():.3f}); correlation {rank:.6f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
