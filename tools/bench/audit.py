"""What ``zoo audit`` finds beside cleanlab's way: from networks, and from classical features.

Sets: of Fashion-MNIST (fashion-mini) 520 and 5,000 pictures, of CIFAR-10 520 and 2,500, of MNIST
10,000, the last two where ZOO_DATA has them; balanced, with their true labels; 10 % of these are
made wrong, on all classes alike (symmetric) or where a network takes one class for another
(confusion). A round is a draw of the noise.

- networks: what ``zoo audit --features none`` trains by its rule and budget.
- hog: what ``zoo audit --features hog`` trains by its rule and budget, features included.
- five-fold: cross-validation of the audit's first network, as many image passes in all.
- classical: the histograms of oriented gradients of ``hog`` under scikit-learn's logistic
  regression, five-fold; seconds without the histograms.

Options of its own: --sets (data set and pictures of each class, as fashion-mini:52), --noise and
--budget (seconds of an audit).

Each is ranked as cleanlab does by its defaults (``zoo.scores.confident``, which tests compare with
the package) on its held-out probabilities, by self-confidence and by find_label_issues with what it
flags first; an audit by label quality too, which is what it shows.

Printed: AUROC, average precision, wrong labels among the first n (n being how many there are),
image passes (of features, none), seconds and CPU seconds of one process. One process does all;
other work on the machine makes the seconds longer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import zoo
from tools.bench.detection import written
from tools.bench.paired import print_table, settings
from zoo import pipeline
from zoo.arrays import Floats
from zoo.auditing import BUDGET, HEADS, Chosen, audit_pictures, choose
from zoo.data import Dataset, open_dataset
from zoo.errors import ZooError
from zoo.local import LocalRunner
from zoo.models.at_hand import HOG
from zoo.progress import Progress
from zoo.scores.confident import out_of_fold
from zoo.scores.detection import detection_table
from zoo.scores.from_store import Probabilities
from zoo.scores.passes import costs, cross_validated
from zoo.scores.population import Population, choose_population, population_of
from zoo.store.features import feature_vectors
from zoo.store.results import read_scores
from zoo.store.workspace import Workspace
from zoo.trainsets.sweeps import sweep_of

__all__ = ["compared", "main"]

SETS = "fashion-mini:52,cifar10:52,fashion-mini:500,cifar10:250,mnist:1000"
"""Data set and pictures of each class."""
NOISE = {
    "symmetric": "label_noise:fraction=0.1,seed={seed}",
    "confusion": "label_noise:fraction=0.1,to=confusion,seed={seed}",
}
_QUIET = Progress(quiet=True)
_MEASURES = ("auroc", "average_precision", "precision_at_n", "n_errors")
_COLUMNS = ["way", "score", *_MEASURES, "image_passes", "seconds", "cpu"]


def compared(
    base: str, noise: str, seed: int, folder: Path, *, quick: bool, budget: float = BUDGET
) -> pd.DataFrame:
    """All ways on one set: a row per way and way of ranking. ``budget``: seconds of an audit."""
    space = zoo.open(folder / "networks", create=True).workspace
    uri = pipeline.with_confusion(
        space, f"{base}+{NOISE[noise].format(seed=seed)}", LocalRunner, _QUIET
    )
    dataset = open_dataset(uri)
    networks, people, chosen = _audited(space, uri, dataset, None, budget, quick)
    classical = zoo.open(folder / "hog", create=True).workspace
    heads, _, _ = _audited(classical, uri, dataset, HOG, budget, quick)
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    rows = [
        networks,
        heads,
        _five_fold(space, people, chosen, uri, scores),
        _regression(classical, dataset, scores),
    ]
    return pd.concat(rows, ignore_index=True)[_COLUMNS]


def _audited(
    space: Workspace, uri: str, dataset: Dataset, features: str | None, budget: float, quick: bool
) -> tuple[pd.DataFrame, Population, Chosen]:
    """What an audit finds, by label quality and by cleanlab's ways on its held-out answers."""
    chosen = choose(dataset, budget, 1, features or "none")
    if quick:
        archs = ("mlp", "softmax") if features is None else HEADS
        size = chosen.sweep.input_size
        few = sweep_of(archs, None, 4, None, "onecycle:lr=0.002", None, None, size, ["5x2"])
        chosen = Chosen(few, 0.0, "quick", "", chosen.features)
    took = _timed(lambda: audit_pictures(space.location, uri, dataset, chosen, LocalRunner, _QUIET))
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    people = choose_population(space, dataset=dataset.fingerprint)
    passes = _passes(space, people) if features is None else 0
    table = detection_table(scores)
    answers = Probabilities(space, people, "train")
    rows = [
        table[table["score"] == "label_quality"].assign(image_passes=passes),
        _by_cleanlab(scores, out_of_fold(answers, answers.held_out()), passes),
    ]
    found = pd.concat(rows, ignore_index=True).assign(way=features or "networks", **took)
    return found, people, chosen


def _five_fold(
    space: Workspace, people: Population, chosen: Chosen, uri: str, scores: pd.DataFrame
) -> pd.DataFrame:
    passes = _passes(space, people)
    epochs = max(1, round(passes / (len(scores) * 4)))  # five folds of four fifths
    here = zoo.open(space.location)

    def work() -> None:
        here.train(
            uri,
            chosen.sweep.archs[:1],
            folds="5x1",
            epochs=epochs,
            recipe="onecycle:lr=0.002",
            input_size=chosen.sweep.input_size,
            runner="local",
        )
        here.fill(("train",), data=people.fingerprint, keep_logits="all", runner="local")

    took = _timed(work)
    both = choose_population(space, dataset=people.fingerprint).classifiers
    folds = population_of(space, people.fingerprint, sorted(set(both) - set(people.classifiers)))
    answers = Probabilities(space, folds, "train")
    p = out_of_fold(answers, answers.held_out())
    return _by_cleanlab(scores, p, _passes(space, folds)).assign(way="five-fold", **took)


def _regression(space: Workspace, dataset: Dataset, scores: pd.DataFrame) -> pd.DataFrame:
    """Logistic regression on the stored features of the training split."""
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedKFold,
        cross_val_predict,
    )

    (unit,) = (
        commit
        for commit in space.commits.all("features").values()
        if commit.identity["split"] == "train"
    )
    vectors, _ = feature_vectors(space.files, unit)
    labels = dataset.splits["train"].labels
    answers: list[Floats] = []

    def work() -> None:
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        regression = LogisticRegression(max_iter=300)
        answers.append(
            cross_val_predict(regression, vectors, labels, cv=folds, method="predict_proba")
        )

    took = _timed(work)
    # Classes without an example have no column.
    p = np.zeros((len(labels), len(dataset.class_names)))
    p[:, np.unique(labels)] = answers[0]
    return _by_cleanlab(scores, p, 0).assign(way="classical", **took)


def _by_cleanlab(scores: pd.DataFrame, p: Floats, passes: int) -> pd.DataFrame:
    return cross_validated(scores, p, classifiers=1, image_passes=passes)


def _timed(work: Callable[[], object]) -> dict[str, float]:
    began = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - began[0], "cpu": time.process_time() - began[1]}


def _passes(space: Workspace, people: Population) -> int:
    """Image passes of the trainings of a population, each counted once."""
    most: dict[str, int] = {}
    for taken in costs(space, people).values():
        most[taken.training] = max(most.get(taken.training, 0), taken.passes)
    return sum(most.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row per set, noise and way, means over the draws."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--noise", default=",".join(NOISE))
    parser.add_argument("--budget", type=float, default=BUDGET)
    own, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = settings(str(__doc__), rounds=3, argv=rest)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for chosen in ["fashion-mini:12"] if options.quick else own.sets.split(","):
            data, _, per_class = chosen.partition(":")
            try:
                source = open_dataset(data)
            except ZooError as error:
                print(f"without {data}: {error}", flush=True)
                continue
            base = written(source, Path(folder) / chosen, int(per_class), unbalanced=False)
            for noise in own.noise.split(","):
                for seed in range(options.rounds):
                    place = Path(folder) / f"{data}-{per_class}-{noise}-{seed}"
                    found = compared(
                        base, noise, seed, place, quick=options.quick, budget=own.budget
                    )
                    examples = int(per_class) * len(source.class_names)
                    tables.append(found.assign(set=f"{data} {examples:,} {noise}"))
                    print(f"measured {data} {examples:,} {noise} {seed}", flush=True)
    if not tables:
        return 0
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
