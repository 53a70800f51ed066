"""Which score finds wrong labels best: all of them on planted noise, the rule of
docs/ARCHITECTURE.md ("Which score ranks") applied, and what parts of a population find per image
pass beside five-fold cross-validation of one architecture.

Settings: fashion-mini, and MNIST and CIFAR-10 where ZOO_DATA has them, each with symmetric noise,
confusion noise, and symmetric noise on unbalanced classes (class k of M keeps 1 - 0.9 k / (M - 1)
of its examples), 20 % each. A round is a draw of the noise. The population of each: three small
architectures x five folds x two snapshots, in one process, so that every example is held out once
by each architecture and snapshot.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

import zoo
from tools.bench.paired import print_table, settings
from zoo import keyed, pipeline
from zoo.data import Dataset, open_dataset
from zoo.data.dataset import Split
from zoo.errors import ZooError
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.scores.catalog import SCORES, SIDES
from zoo.scores.confident import out_of_fold
from zoo.scores.detection import detection_table
from zoo.scores.from_store import Probabilities, score
from zoo.scores.passes import Taken, costs, cross_validated, detection_per_pass
from zoo.scores.population import Population, choose_population, population_of
from zoo.statistics import mean_interval
from zoo.store import ledger

__all__ = ["default_by_rule", "main"]

DATA = ("fashion-mini", "mnist", "cifar10")
NOISE = {
    "symmetric": "label_noise:fraction=0.2,seed={seed}",
    "confusion": "label_noise:fraction=0.2,to=confusion,seed={seed}",
    "unbalanced": "label_noise:fraction=0.2,seed={seed}",
}
ARCHS = ("softmax", "mlp", "lenet5")
CROSS_VALIDATED = "lenet5"
_QUIET = Progress(quiet=True)


def default_by_rule(measured: pd.DataFrame, current: str = "label_quality") -> tuple[str, str]:
    """The score to rank by, and why, by the rule of docs/ARCHITECTURE.md.

    Args:
        measured: one row per setting and score: setting, score, average_precision (mean over the
            draws of the noise), covered (whether it is there wherever ``current`` is).
    """
    table = measured.set_index(["setting", "score"])["average_precision"].unstack()  # noqa: PD010
    covered = measured.groupby("score")["covered"].all()
    best, reason = current, "no other passes"
    gain_of_best = 0.0
    for name in table.columns:
        if name == current or name not in SIDES or not covered[name]:
            continue
        gain = (table[name] - table[current]).to_numpy()
        mean, low, _ = mean_interval(gain)
        if low > 0 and gain.min() >= -0.02 and mean > gain_of_best:
            best, gain_of_best = name, mean
            reason = f"mean gain {mean:.3f}, at least {low:.3f}; worst setting {gain.min():+.3f}"
    return best, reason


def chosen_rows(split: Split, per_class: int, unbalanced: bool) -> NDArray[np.int64]:
    """Keyed examples, ``per_class`` of each true class, fewer of the later ones if unbalanced."""
    truth = split.labels if split.labels_true is None else split.labels_true
    classes = int(truth.max()) + 1
    rows = []
    for label in range(classes):
        mine = np.flatnonzero(truth == label)
        share = 1 - 0.9 * label / (classes - 1) if unbalanced else 1.0
        rows.append(mine[keyed.choose("bench/detection", mine, round(share * per_class))])
    return np.sort(np.concatenate(rows))


def written(source: Dataset, folder: Path, per_class: int, unbalanced: bool) -> str:
    """A Parquet data set of part of another, with the true labels; its path."""
    folder.mkdir(parents=True)
    fewest = int(np.bincount(source.splits["test"].labels).min())
    for name, count in (("train", per_class), ("test", min(max(per_class // 4, 5), fewest))):
        split = source.splits[name]
        rows = chosen_rows(split, count, unbalanced and name == "train")
        truth = split.labels if split.labels_true is None else split.labels_true
        pictures = []
        for pixels in _pixels(split, rows):
            buffer = io.BytesIO()
            Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
            pictures.append({"bytes": buffer.getvalue(), "path": None})
        images = pa.array(
            [picture | {"path": f"{row}.png"} for picture, row in zip(pictures, rows, strict=True)]
        )
        feature = {"names": list(source.class_names), "_type": "ClassLabel"}
        about = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
        table = pa.table({"image": images, "label": truth[rows]})
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps(about)}),
            folder / f"{name}.parquet",
        )
    return str(folder)


def _pixels(split: Split, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
    """Pictures uint8 [H, W, K]."""
    source = split.source
    if hasattr(source, "pixels"):
        return list(source.pixels(rows))
    decoded = (np.asarray(Image.open(io.BytesIO(data))) for data in source.encoded(rows))
    return [picture if picture.ndim == 3 else picture[..., None] for picture in decoded]


def measured(data: str, noise: str, seed: int, folder: Path, quick: bool) -> list[pd.DataFrame]:
    """Train, fill and score one setting: detection by score, and by part and score."""
    place = folder / f"{data}-{noise}-{seed}"
    base = written(open_dataset(data), place / "data", 60 if quick else 150, noise == "unbalanced")
    here = zoo.open(place / "workspace", create=True)
    uri = pipeline.with_confusion(
        here.workspace, f"{base}+{NOISE[noise].format(seed=seed)}", LocalRunner, _QUIET
    )
    epochs = 4 if quick else 12
    here.train(
        uri,
        ARCHS,
        folds="5x1",
        epochs=epochs,
        snapshots=(epochs // 2, epochs),
        runner="local",
    )
    space = here.workspace
    dataset = next(
        training.dataset.fingerprint
        for training, _, role in ledger.planned(space).values()
        if role == "population"
    )
    here.fill(("train",), data=dataset, keep_logits="all", runner="local")
    people = choose_population(space, dataset=dataset)

    def scores_of(names: tuple[str, ...]) -> pd.DataFrame:
        table: pd.DataFrame = score(
            space, population_of(space, people.fingerprint, names), "train"
        ).to_pandas()
        return table

    scores = scores_of(people.classifiers)
    there = scores["label_quality"].notna()
    whole = detection_table(scores)
    whole["covered"] = [scores.loc[there, name].notna().all() for name in whole["score"]]
    sizes = [1, 5, 15, len(people.classifiers)]
    by_part = pd.concat(
        [
            detection_per_pass(scores_of, costs(space, people), sizes, draws=3),
            folded(scores, space_population(here, people), costs_of_last=costs(space, people)),
        ]
    )
    about: dict[str, Any] = {"setting": f"{data} {noise}", "seed": seed}
    return [whole.assign(**about), by_part.assign(**about)]


def space_population(here: zoo.Zoo, people: Population) -> Probabilities:
    """The last snapshots of the folds of one architecture, with their kept logits."""
    frame = here.classifiers().set_index("classifier_id").loc[list(people.classifiers)]
    mine = frame[(frame["arch"] == CROSS_VALIDATED) & (frame["epoch"] == frame["epoch"].max())]
    part = population_of(here.workspace, people.fingerprint, map(str, mine.index))
    return Probabilities(here.workspace, part, "train")


def folded(
    scores: pd.DataFrame, members: Probabilities, costs_of_last: Mapping[str, Taken]
) -> pd.DataFrame:
    """The rows of cross-validation."""
    names = members.population.classifiers
    passes = sum(costs_of_last[name].passes for name in names)
    p = out_of_fold(members, members.held_out())
    return cross_validated(scores, p, classifiers=len(names), image_passes=passes)


def main(argv: Sequence[str] | None = None) -> int:
    """Print average precision by setting and score, the rule's choice, and the table by passes."""
    options = settings(str(__doc__), rounds=2, argv=list(sys.argv[1:] if argv is None else argv))
    tables: list[list[pd.DataFrame]] = []
    with tempfile.TemporaryDirectory() as folder:
        for data in DATA[:1] if options.quick else DATA:
            try:
                open_dataset(data)
            except ZooError as error:
                print(f"without {data}: {error}", flush=True)
                continue
            for noise in NOISE:
                for seed in range(options.rounds):
                    tables.append(measured(data, noise, seed, Path(folder), options.quick))
                    print(f"measured {data} {noise} {seed}", flush=True)
    whole, by_part = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    mean = whole.groupby(["setting", "score"], as_index=False).agg(
        average_precision=("average_precision", "mean"), covered=("covered", "all")
    )
    wide = mean.set_index(["score", "setting"])["average_precision"].unstack()  # noqa: PD010
    wide = wide.loc[[name for name in SCORES if name in wide.index]]
    print_table(
        [
            {"score": str(name), **{str(k): f"{v:.3f}" for k, v in row.items()}}
            for name, row in wide.iterrows()
        ],
        "average precision, mean over draws of the noise",
    )
    print(f"by the rule: {': '.join(default_by_rule(mean))}")
    some = by_part[
        by_part["score"].isin(
            ["label_quality", "mean_log_p", "logit_margin", "cv_self_confidence", "cv_issues"]
        )
    ]
    parts = some.groupby(["score", "n_classifiers"], as_index=False, sort=False).agg(
        image_passes=("image_passes", "mean"),
        auroc=("auroc", "mean"),
        average_precision=("average_precision", "mean"),
        precision_at_n=("precision_at_n", "mean"),
    )
    print_table(
        [
            {
                key: f"{value:.3f}"
                if isinstance(value, float) and key != "image_passes"
                else round(value)
                if key == "image_passes"
                else value
                for key, value in row.items()
            }
            for row in parts.to_dict(orient="records")
        ],
        "by part of the population, mean over settings and draws",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
