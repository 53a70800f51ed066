"""After a label edit: X of every example by the new labels, and all columns of ``zoo score``.

Of 500 classifiers and 50,000 examples of ten classes, from synthetic answers
(``tools.bench.scoring``); one label in a hundred is another one. Answers do not depend on labels:
X reads predictions alone (``zoo.scores.from_store.x_by``), *all columns* read everything. That both
give the same X is checked. CPU seconds of one process; writing the answers is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, spread
from tools.bench.scoring import filled
from zoo.arrays import Floats
from zoo.manifest import Manifest
from zoo.scores.from_store import score, x_by
from zoo.store.datasets import examples_of, int_column
from zoo.store.selections import commit_selection

__all__ = ["main", "measured"]

_CLASSES = 10
_TARGET = 1.0
"""CPU seconds of X, 500 x 50,000."""


def measured(
    root: Path, classifiers: int, examples: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, Floats]]:
    """CPU seconds of each side by round, and X by each, [E]."""
    space, population = filled(root, classifiers, examples, _CLASSES)
    labels = int_column(examples_of(space, population.dataset, "train"), "label")
    edited = np.where(np.arange(examples) % 100 == 0, (labels + 1) % _CLASSES, labels)
    ones = np.ones(examples, dtype=np.int64)
    manifest = Manifest(np.arange(examples), edited, ones, ones.astype(np.float32))
    commit_selection(space, "edited", manifest, population.origin("train"), [])
    found: dict[str, Floats] = {}

    def side(name: str, x: Callable[[], Floats]) -> Callable[[], float]:
        def work() -> float:
            began = time.process_time()
            found[name] = x()
            return time.process_time() - began

        return work

    def whole() -> Floats:
        table = score(space, population, "train", "edited")
        x: Floats = table.column("x_perplexity").to_numpy()
        return x

    sides = {
        "X by other labels": side("x", lambda: x_by(space, population, "train", edited)),
        "zoo score, all columns": side("all", whole),
    }
    return interleave(sides, rounds), found


def main(argv: Sequence[str] | None = None) -> int:
    """Print both, and whether X takes less than a second."""
    options = settings(str(__doc__), rounds=3, argv=argv)
    classifiers, examples = (20, 2_000) if options.quick else (500, 50_000)
    with tempfile.TemporaryDirectory() as folder:
        seconds, found = measured(Path(folder) / "workspace", classifiers, examples, options.rounds)
    assert np.array_equal(found["x"], found["all"], equal_nan=True)
    print_table(
        [{"side": side, "cpu_seconds": spread(each).text()} for side, each in seconds.items()],
        f"{classifiers} classifiers x {examples:,} examples",
    )
    x, whole = seconds.values()
    ratio_line("all columns / X", ratios(whole, x), None)
    if not options.quick:
        median = spread(x).median
        verdict = "met" if median < _TARGET else "MISSED"
        print(f"X after an edit = {median:.3g} CPU s; target < {_TARGET:g}: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
