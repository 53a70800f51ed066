"""What ``zoo audit`` finds beside cleanlab's way: from networks, and from features.

Sets: of Fashion-MNIST (fashion-mini) 520 and 5,000 pictures, of CIFAR-10 520 and 2,500, of MNIST
10,000, the last two where ZOO_DATA has them; balanced, with their true labels. ``crops:N`` are N
square cuts, 96 to 160 pixels wide, of each of nine photographs that scikit-image and scikit-learn
ship; which photograph is the class, so it is an easy set. 10 % of the labels are made wrong, on all
classes alike (symmetric) or where a network takes one class for another (confusion). A round is a
draw of the noise.

- networks: what ``zoo audit --features none`` trains by its rule and budget.
- hog, or a network of timm: what ``zoo audit --features hog`` (or that) trains by its rule and
  budget, features included.
- networks + hog: both populations as one, and the mean of their held-out probabilities.
- five-fold: cross-validation of the audit's first network, as many image passes in all.
- classical: the histograms of oriented gradients of ``hog`` under scikit-learn's logistic
  regression, five-fold; seconds without the histograms.

Options of its own: --sets (data set and pictures of each class, as fashion-mini:52), --noise,
--ways (of the above; a network of timm by its name) and --budget (seconds of an audit).

Each is ranked as cleanlab does by its defaults (``zoo.scores.confident``, which tests compare with
the package) on its held-out probabilities, by self-confidence and by find_label_issues with what it
flags first; an audit, and two together, by label quality too, which is what an audit shows.

Printed: AUROC, average precision, wrong labels among the first n (n being how many there are),
image passes (of features, none), seconds and CPU seconds of one process; then, of every audit, its
gain in average precision over networks, paired by set and draw, with a 95 % t interval over sets.
One process does all; other work on the machine makes the seconds longer.
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
from PIL import Image

import zoo
from tools.bench.detection import written
from tools.bench.paired import print_table, settings
from zoo import keyed, pipeline
from zoo.arrays import Floats
from zoo.auditing import BUDGET, HEADS, Chosen, audit_pictures, choose
from zoo.data import Dataset, open_dataset
from zoo.errors import ZooError
from zoo.local import LocalRunner
from zoo.models.at_hand import HOG
from zoo.progress import Progress
from zoo.scores.confident import out_of_fold
from zoo.scores.detection import detection_table
from zoo.scores.from_store import Probabilities, score
from zoo.scores.passes import costs, cross_validated
from zoo.scores.population import Population, population_of
from zoo.statistics import mean_interval
from zoo.store import ledger
from zoo.store.features import feature_vectors
from zoo.store.results import read_scores
from zoo.store.workspace import Workspace
from zoo.trainsets.sweeps import sweep_of

__all__ = ["compared", "crops", "gains", "main"]

SETS = "fashion-mini:52,cifar10:52,fashion-mini:500,cifar10:250,mnist:1000"
"""Data set and pictures of each class."""
NOISE = {
    "symmetric": "label_noise:fraction=0.1,seed={seed}",
    "confusion": "label_noise:fraction=0.1,to=confusion,seed={seed}",
}
NETWORKS, FIVE_FOLD, CLASSICAL = "networks", "five-fold", "classical"
WAYS = (NETWORKS, HOG, FIVE_FOLD, CLASSICAL)
CROPS = "crops"
_OF_SKIMAGE = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "rocket")
_QUIET = Progress(quiet=True)
_MEASURES = ("auroc", "average_precision", "precision_at_n", "n_errors")
_COLUMNS = ["way", "score", *_MEASURES, "image_passes", "seconds", "cpu"]


def compared(
    base: str,
    noise: str,
    seed: int,
    folder: Path,
    *,
    quick: bool,
    budget: float = BUDGET,
    ways: Sequence[str] = WAYS,
) -> pd.DataFrame:
    """All ways on one set: a row per way and way of ranking. ``budget``: seconds of an audit.
    ``folder``: of the workspace, where a set's draws share the network that confuses."""
    space = zoo.open(folder, create=True).workspace
    uri = pipeline.with_confusion(
        space, f"{base}+{NOISE[noise].format(seed=seed)}", LocalRunner, _QUIET
    )
    dataset = open_dataset(uri)
    rows: list[pd.DataFrame] = []
    audits: dict[str, tuple[Population, Chosen]] = {}
    for way in (way for way in ways if way not in (FIVE_FOLD, CLASSICAL)):
        found, people, chosen = _audited(space, uri, dataset, way, budget, quick)
        audits[way] = people, chosen
        rows.append(found)
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    if NETWORKS in audits:
        people, chosen = audits[NETWORKS]
        rows += [
            _together(space, people, audits[way][0], f"{NETWORKS} + {way}")
            for way in audits
            if way != NETWORKS
        ]
        if FIVE_FOLD in ways:
            rows.append(_five_fold(space, people, chosen, uri, scores))
    if CLASSICAL in ways and HOG in audits:
        rows.append(_regression(space, dataset, scores))
    return pd.concat(rows, ignore_index=True)[_COLUMNS]


def _audited(
    space: Workspace, uri: str, dataset: Dataset, way: str, budget: float, quick: bool
) -> tuple[pd.DataFrame, Population, Chosen]:
    """What an audit finds, by label quality and by cleanlab's ways on its held-out answers."""
    networks = way == NETWORKS
    chosen = choose(dataset, budget, 1, "none" if networks else way)
    if quick:
        archs = ("mlp", "softmax") if networks else HEADS
        size = chosen.sweep.input_size
        few = sweep_of(archs, None, 4, None, "onecycle:lr=0.002", None, None, size, ["5x2"])
        chosen = Chosen(few, 0.0, "quick", chosen.features)
    before = _classifiers(space, dataset.fingerprint)
    took = _timed(lambda: audit_pictures(space.location, uri, dataset, chosen, LocalRunner, _QUIET))
    more = _classifiers(space, dataset.fingerprint) - before
    people = population_of(space, dataset.fingerprint, sorted(more))
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    passes = _passes(space, people) if networks else 0
    table = detection_table(scores)
    answers = Probabilities(space, people, "train")
    rows = [
        table[table["score"] == "label_quality"].assign(image_passes=passes),
        _by_cleanlab(scores, out_of_fold(answers, answers.held_out()), passes),
    ]
    found = pd.concat(rows, ignore_index=True).assign(way=way, **took)
    return found, people, chosen


def _classifiers(space: Workspace, fingerprint: str) -> set[str]:
    """Those of a data set that may score."""
    found = ledger.population(space).items()
    return {key for key, commit in found if commit.facts["dataset"] == fingerprint}


def _together(space: Workspace, one: Population, other: Population, way: str) -> pd.DataFrame:
    """Two populations as one, by label quality, where the larger counts for more; and by cleanlab's
    ways on the mean of their held-out probabilities, where both count alike. Nothing is trained, so
    that its seconds are those of scoring."""
    both = population_of(space, one.fingerprint, sorted({*one.classifiers, *other.classifiers}))
    tables: list[pd.DataFrame] = []
    took = _timed(lambda: tables.append(score(space, both, "train").to_pandas()))
    passes = _passes(space, one)
    table = detection_table(tables[0])
    mean = np.mean(
        [
            out_of_fold(answers, answers.held_out())
            for answers in (Probabilities(space, people, "train") for people in (one, other))
        ],
        axis=0,
    )
    rows = [
        table[table["score"] == "label_quality"].assign(image_passes=passes),
        _by_cleanlab(tables[0], mean, passes),
    ]
    return pd.concat(rows, ignore_index=True).assign(way=way, **took)


def _five_fold(
    space: Workspace, people: Population, chosen: Chosen, uri: str, scores: pd.DataFrame
) -> pd.DataFrame:
    passes = _passes(space, people)
    epochs = max(1, round(passes / (len(scores) * 4)))  # five folds of four fifths
    here, before = zoo.open(space.location), _classifiers(space, people.fingerprint)

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
    more = _classifiers(space, people.fingerprint) - before
    folds = population_of(space, people.fingerprint, sorted(more))
    answers = Probabilities(space, folds, "train")
    p = out_of_fold(answers, answers.held_out())
    return _by_cleanlab(scores, p, _passes(space, folds)).assign(way=FIVE_FOLD, **took)


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
        if commit.identity["dataset"] == dataset.fingerprint
        and commit.identity["split"] == "train"
        and commit.identity["backbone"].startswith(HOG)
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
    return _by_cleanlab(scores, p, 0).assign(way=CLASSICAL, **took)


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


def crops(folder: Path, per_class: int) -> str:
    """Class folders of squares cut at random places out of photographs, keyed; their path."""
    from skimage import data
    from sklearn.datasets import load_sample_images  # type: ignore[import-untyped]

    photographs = {name: getattr(data, name)() for name in _OF_SKIMAGE}
    samples = load_sample_images()
    photographs |= {
        Path(name).stem: picture
        for name, picture in zip(samples.filenames, samples.images, strict=True)
    }
    numbers = np.arange(per_class)
    for name, picture in photographs.items():
        (folder / name).mkdir(parents=True)
        draws = keyed.uniform(f"bench/audit/{name}", numbers, 3)
        for number, (size, row, column) in zip(numbers, draws, strict=True):
            side = 96 + int(65 * size)
            top = int(row * (picture.shape[0] - side + 1))
            left = int(column * (picture.shape[1] - side + 1))
            cut = Image.fromarray(picture[top : top + side, left : left + side]).convert("RGB")
            cut.save(folder / name / f"{number:04d}.png")
    return str(folder)


def _made(chosen: str, folder: Path) -> tuple[str, str]:
    """A set by its name and pictures of each class: its address, and how it is called."""
    data, _, per_class = chosen.partition(":")
    if data == CROPS:
        base = crops(folder / chosen, int(per_class))
    else:
        base = written(open_dataset(data), folder / chosen, int(per_class), unbalanced=False)
    examples = len(open_dataset(base).splits["train"])
    return base, f"{data} {examples:,}"


def gains(table: pd.DataFrame) -> list[dict[str, str | float | int]]:
    """Of every audit its gain in average precision over networks by label quality.

    Args:
        table: columns set, draw, way, score, average_precision.
    """
    by_quality = table[table["score"] == "label_quality"]
    each = by_quality.pivot_table(index=["set", "draw"], columns="way", values="average_precision")
    if NETWORKS not in each:
        return []
    rows: list[dict[str, str | float | int]] = []
    for way in each.columns.drop(NETWORKS):
        of_sets = (each[way] - each[NETWORKS]).dropna().groupby("set").mean()
        mean, low, high = mean_interval(of_sets.to_numpy())
        rows.append(
            {
                "way": way,
                "sets": len(of_sets),
                "gain": f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]",
                "least": f"{of_sets.min():+.3f} ({of_sets.idxmin()})",
            }
        )
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row per set, noise and way, means over the draws; then the gains."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--noise", default=",".join(NOISE))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--budget", type=float, default=BUDGET)
    own, rest = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    options = settings(str(__doc__), rounds=3, argv=rest)
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for chosen in ["fashion-mini:12"] if options.quick else own.sets.split(","):
            try:
                base, name = _made(chosen, Path(folder))
            except ZooError as error:
                print(f"without {chosen}: {error}", flush=True)
                continue
            for noise in own.noise.split(","):
                for seed in range(options.rounds):
                    found = compared(
                        base,
                        noise,
                        seed,
                        Path(folder) / f"{chosen}-workspace",
                        quick=options.quick,
                        budget=own.budget,
                        ways=own.ways.split(","),
                    ).assign(set=f"{name} {noise}", draw=seed)
                    tables.append(found)
                    print(f"measured {name} {noise} {seed}", flush=True)
                    print(found.to_csv(index=False, header=False), file=sys.stderr, flush=True)
    if not tables:
        return 0
    everything = pd.concat(tables)
    by = ["set", "way", "score"]
    mean = everything.groupby(by, sort=False, as_index=False).mean(numeric_only=True)
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
    print_table(gains(everything), "average precision by label quality: gain over networks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
