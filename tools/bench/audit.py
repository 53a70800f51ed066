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
- networks + hog (or that network): the networks, and heads on the same folds as they are, as one
  population; the order is then of both. It is measured after both, so its seconds are of scoring.
- five-fold: cross-validation of the audit's first network, as many image passes in all.
- classical: the histograms of oriented gradients of ``hog`` under scikit-learn's logistic
  regression, five-fold; seconds without the histograms.
- svm: the same under its support vector machine of radial kernel, whose answers a sigmoid makes
  probabilities of, inside each fold. Only where it is asked for: its seconds grow with the square.

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
from dataclasses import replace
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
from zoo.pipeline import Grid
from zoo.progress import Progress
from zoo.scores.confident import out_of_fold
from zoo.scores.detection import detection_table
from zoo.scores.from_store import Probabilities
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
NETWORKS, FIVE_FOLD, CLASSICAL, SVM = "networks", "five-fold", "classical", "svm"
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

    def audited(way: str, chosen: Chosen) -> None:
        found, people = _audited(space, uri, dataset, chosen, networks=NETWORKS in way)
        audits[way] = people, chosen
        rows.append(found.assign(way=way))

    for way in (way for way in ways if way not in (FIVE_FOLD, CLASSICAL, SVM)):
        chosen = choose(dataset, budget, 1, "none" if way == NETWORKS else way)
        audited(way, _quick(way, chosen) if quick else chosen)
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    if NETWORKS in audits:
        people, chosen = audits[NETWORKS]
        for way in [way for way in audits if way != NETWORKS]:
            audited(f"{NETWORKS} + {way}", _beside(chosen, audits[way][1]))
        if FIVE_FOLD in ways:
            one = _one_network(chosen, _passes(space, people), len(scores))
            found, _ = _audited(space, uri, dataset, one, networks=True)
            # one network is judged as cleanlab does only
            rows.append(found[found["score"] != "label_quality"].assign(way=FIVE_FOLD))
    if HOG in audits:
        rows += [
            _on_histograms(space, dataset, scores, way) for way in (CLASSICAL, SVM) if way in ways
        ]
    return pd.concat(rows, ignore_index=True)[_COLUMNS]


def _quick(way: str, chosen: Chosen) -> Chosen:
    """Two small networks, or the heads, for four epochs."""
    (grid,) = chosen.grids
    archs, size = ("mlp", "softmax") if way == NETWORKS else HEADS, grid.sweep.input_size
    few = sweep_of(archs, None, 4, None, "onecycle:lr=0.002", None, None, size, ["5x2"])
    return replace(chosen, grids=(Grid(few, grid.features),))


def _beside(networks: Chosen, heads: Chosen) -> Chosen:
    """The networks of one audit, and the heads of another on the folds of these: what an audit
    takes by itself where it takes both."""
    (of_networks,), (of_heads,) = networks.grids, heads.grids
    alike = of_heads.sweep.replace(treatments=of_networks.sweep.treatments)
    return replace(networks, grids=(of_networks, Grid(alike, of_heads.features)))


def _audited(
    space: Workspace, uri: str, dataset: Dataset, chosen: Chosen, *, networks: bool
) -> tuple[pd.DataFrame, Population]:
    """What an audit finds, by label quality and by cleanlab's ways on its held-out answers."""
    took = _timed(lambda: audit_pictures(space.location, uri, dataset, chosen, LocalRunner, _QUIET))
    _, trainings, _ = pipeline.planned(uri, chosen.grids, space.location, _QUIET)
    people = population_of(space, dataset.fingerprint, ledger.classifiers_of(space, trainings))
    scores = read_scores(space, dataset.fingerprint, "train")[0]
    passes = _passes(space, people) if networks else 0
    table = detection_table(scores)
    answers = Probabilities(space, people, "train")
    rows = [
        table[table["score"] == "label_quality"].assign(image_passes=passes),
        _by_cleanlab(scores, out_of_fold(answers, answers.held_out()), passes),
    ]
    return pd.concat(rows, ignore_index=True).assign(**took), people


def _one_network(networks: Chosen, passes: int, examples: int) -> Chosen:
    """Five folds of an audit's first network, of about as many image passes in all."""
    sweep = networks.grids[0].sweep
    epochs = max(1, round(passes / (examples * 4)))  # five folds of four fifths
    recipe, size = "onecycle:lr=0.002", sweep.input_size
    folds = sweep_of(sweep.archs[:1], None, epochs, None, recipe, None, None, size, ["5x1"])
    return replace(networks, grids=(Grid(folds),))


def _on_histograms(
    space: Workspace, dataset: Dataset, scores: pd.DataFrame, way: str
) -> pd.DataFrame:
    """A classifier of scikit-learn on the stored features of the training split."""
    from sklearn.calibration import CalibratedClassifierCV  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
    from sklearn.model_selection import (  # type: ignore[import-untyped]
        StratifiedKFold,
        cross_val_predict,
    )
    from sklearn.svm import SVC  # type: ignore[import-untyped]

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
        classifier = (
            LogisticRegression(max_iter=300)
            if way == CLASSICAL
            else CalibratedClassifierCV(SVC(random_state=0), ensemble=False)
        )
        answers.append(
            cross_val_predict(classifier, vectors, labels, cv=folds, method="predict_proba")
        )

    took = _timed(work)
    # Classes without an example have no column.
    p = np.zeros((len(labels), len(dataset.class_names)))
    p[:, np.unique(labels)] = answers[0]
    return _by_cleanlab(scores, p, 0).assign(way=way, **took)


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
    if rows := gains(everything):  # of networks alone there are none
        print_table(rows, "average precision by label quality: gain over networks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
