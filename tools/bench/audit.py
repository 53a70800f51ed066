"""What ``zoo audit`` finds beside cleanlab's way, at equal image passes.

Sets: 5,000 pictures of Fashion-MNIST (those of fashion-mini), 10,000 of MNIST and 2,500 of CIFAR-10
where ZOO_DATA has them, balanced, with their true labels; 10 % of these are made wrong, on all
classes alike (symmetric) or where a network takes one class for another (confusion). A round is a
draw of the noise.

- audit: what ``zoo audit`` trains by its rule and budget, suspects by label quality.
- five-fold: cross-validation of the audit's first network, as many image passes in all, ranked as
  cleanlab does by its defaults (``zoo.scores.confident``, which tests compare with the package):
  self-confidence, and find_label_issues with what it flags first.

Printed: AUROC, average precision, wrong labels among the first n (n being how many there are),
image passes, seconds and CPU seconds of one process. One process does all; other work on the
machine makes the seconds longer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import zoo
from tools.bench.detection import DATA, written
from tools.bench.paired import print_table, settings
from zoo import pipeline
from zoo.auditing import BUDGET, Chosen, audit_pictures, choose
from zoo.data import open_dataset
from zoo.errors import ZooError
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.scores.confident import out_of_fold
from zoo.scores.detection import detection_table
from zoo.scores.from_store import Probabilities
from zoo.scores.passes import costs, cross_validated
from zoo.scores.population import Population, choose_population, population_of
from zoo.store.results import read_scores
from zoo.store.workspace import Workspace
from zoo.trainsets.sweeps import sweep_of

__all__ = ["compared", "main"]

PER_CLASS = {"fashion-mini": 500, "mnist": 1000, "cifar10": 250}
NOISE = {
    "symmetric": "label_noise:fraction=0.1,seed={seed}",
    "confusion": "label_noise:fraction=0.1,to=confusion,seed={seed}",
}
_QUIET = Progress(quiet=True)
_MEASURES = ("auroc", "average_precision", "precision_at_n", "n_errors")


def compared(base: str, noise: str, seed: int, folder: Path, *, quick: bool) -> pd.DataFrame:
    """Both ways on one set: a row per way of ranking."""
    here = zoo.open(folder, create=True)
    space = here.workspace
    uri = pipeline.with_confusion(
        space, f"{base}+{NOISE[noise].format(seed=seed)}", LocalRunner, _QUIET
    )
    dataset = open_dataset(uri)
    chosen = choose(dataset, BUDGET, 1)
    if quick:
        size = chosen.sweep.input_size
        few = sweep_of(
            ("mlp", "softmax"), None, 4, None, "onecycle:lr=0.002", None, None, size, ["5x2"]
        )
        chosen = Chosen(few, 0.0, "quick", "")
    began = time.perf_counter(), time.process_time()
    audit_pictures(str(folder), uri, dataset, chosen, LocalRunner, _QUIET)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    people = choose_population(space, dataset=dataset.fingerprint)
    passes, table = _passes(space, people), detection_table(scores)
    audited = table[table["score"] == "label_quality"].assign(
        way="audit", image_passes=passes, seconds=spent[0], cpu=spent[1]
    )

    epochs = max(1, round(passes / (len(scores) * 4)))  # five folds of four fifths
    began = time.perf_counter(), time.process_time()
    here.train(
        uri,
        chosen.sweep.archs[:1],
        folds="5x1",
        epochs=epochs,
        recipe="onecycle:lr=0.002",
        input_size=chosen.sweep.input_size,
        runner="local",
    )
    here.fill(("train",), data=dataset.fingerprint, keep_logits="all", runner="local")
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    both = choose_population(space, dataset=dataset.fingerprint).classifiers
    folds = population_of(space, dataset.fingerprint, sorted(set(both) - set(people.classifiers)))
    answers = Probabilities(space, folds, "train")
    folded = cross_validated(
        scores,
        out_of_fold(answers, answers.held_out()),
        classifiers=len(folds.classifiers),
        image_passes=_passes(space, folds),
    ).assign(way="five-fold", seconds=spent[0], cpu=spent[1])
    columns = ["way", "score", *_MEASURES, "image_passes", "seconds", "cpu"]
    return pd.concat([audited[columns], folded[columns]], ignore_index=True)


def _passes(space: Workspace, people: Population) -> int:
    """Image passes of the trainings of a population, each counted once."""
    most: dict[str, int] = {}
    for taken in costs(space, people).values():
        most[taken.training] = max(most.get(taken.training, 0), taken.passes)
    return sum(most.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row per set, noise and way, means over the draws."""
    options = settings(str(__doc__), rounds=3, argv=list(sys.argv[1:] if argv is None else argv))
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for data in DATA[:1] if options.quick else DATA:
            try:
                source = open_dataset(data)
            except ZooError as error:
                print(f"without {data}: {error}", flush=True)
                continue
            per_class = 12 if options.quick else PER_CLASS[data]
            base = written(source, Path(folder) / data, per_class, unbalanced=False)
            for noise in NOISE:
                for seed in range(options.rounds):
                    place = Path(folder) / f"{data}-{noise}-{seed}"
                    found = compared(base, noise, seed, place, quick=options.quick)
                    tables.append(found.assign(set=f"{data} {noise}"))
                    print(f"measured {data} {noise} {seed}", flush=True)
    by = ["set", "way", "score"]
    mean = pd.concat(tables).groupby(by, sort=False, as_index=False).mean(numeric_only=True)
    print_table(
        [
            {
                **{name: row[name] for name in by},
                **{name: f"{row[name]:.3f}" for name in _MEASURES[:3]},
                **{
                    name: round(row[name])
                    for name in ("n_errors", "image_passes", "seconds", "cpu")
                },
            }
            for _, row in mean.iterrows()
        ],
        "means over draws of the noise",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
