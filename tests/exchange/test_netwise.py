"""The tables and rows of the Example-Perplexity project: network by network, and the golden rows of
its perplexity.csv."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import UNREADABLE_TRAIN, Tiny

from zoo.exchange.exporting import perplexity_table
from zoo.scores.accumulate import ScoreAccumulator
from zoo.scores.from_store import score
from zoo.scores.population import choose_population

# ---------------------------------------------------------------- golden rows

CLASSES = ("n01751748", "n09193705", "n02105855", "n04263257", "n03125729", "n04228054", "other")
GOLDEN = (
    # label, X, C, its own votes, the top vote: published in the parent's perplexity.csv
    ("val_00000001", 0, 0.492, 3.379219, 254, (0, 254)),
    ("val_00000002", 1, 0.992, 1.129952, 4, (5, 492)),
    ("val_00000003", 2, 0.252, 1.607961, 374, (2, 374)),
    ("val_00000004", 3, 0.238, 2.611515, 381, (3, 381)),
    ("val_00000005", 4, 0.884, 3.114571, 58, (6, 304)),
)
BINS = ["0.4-0.5", "0.9-1", "0.2-0.3", "0.2-0.3", "0.8-0.9"]


def test_the_golden_rows_of_the_parent_project_come_out_of_the_same_votes_and_entropies() -> None:
    """500 classifiers with the published votes, each as uncertain as C says: X = 1 - votes of the
    label / 500, C = 2 ** mean entropy, and no column is shifted by the file name."""
    n = 500
    labels = np.array([row[1] for row in GOLDEN])
    total = ScoreAccumulator(np.arange(5), labels, len(CLASSES))
    predictions = np.empty((n, 5), dtype=np.int16)
    for column, (_, label, _, _, own, (top, votes)) in enumerate(GOLDEN):
        # what is left goes to a class that gets fewer than either
        rest = next(k for k in range(len(CLASSES)) if k not in (label, top))
        cast = [label] * own + ([] if top == label else [top] * votes)
        predictions[:, column] = cast + [rest] * (n - len(cast))
    bits = np.log2([row[3] for row in GOLDEN]).astype(np.float32)
    for mine in predictions:
        top5 = np.full((5, 5), -1, dtype=np.int16)
        top5[:, 0] = mine
        right = (mine == labels).astype(np.float32)
        total.add(mine, right, bits, right, top5, np.ones((5, 5), np.float16))
    scores = total.finish().to_arrow("test", [row[0] for row in GOLDEN], CLASSES)
    table = perplexity_table(scores, CLASSES)
    assert list(table)[:5] == [
        *("filename", "label", "c_perplexity", "x_perplexity", "x_perplexity_label")
    ]
    for row, (name, label, x, c, own, (top, votes)) in zip(
        table.to_dict(orient="records"), GOLDEN, strict=True
    ):
        assert (row["filename"], row["label"]) == (name, CLASSES[label])
        assert row["x_perplexity"] == pytest.approx(x, abs=1e-12)
        assert row["c_perplexity"] == pytest.approx(c, abs=5e-7)
        listed = dict(ast.literal_eval(row["top 5 x_perplexity class"]))
        assert next(iter(listed.items())) == (CLASSES[top], votes)
        assert listed[CLASSES[label]] == own == round(n * (1 - x))
    assert table["x_perplexity_label"].tolist() == BINS


# ---------------------------------------------------------------- network by network


@pytest.fixture
def place(trained: Tiny, tmp_path: Path) -> Path:
    shutil.copytree(trained.root, tmp_path / "w")
    return tmp_path / "w"


def test_x_and_c_are_the_means_of_the_netwise_tables(trained: Tiny, place: Path) -> None:
    population = choose_population(trained.workspace)
    scores = score(trained.workspace, population, "train").to_pandas()
    for what, column in (("netwise-x", "x_perplexity"), ("netwise-c", "c_perplexity")):
        out = place.parent / f"{what}.parquet"
        done("export", what, "--to", "parquet", "-o", out, "-w", place)
        table = pq.read_table(out).to_pandas()
        assert list(table) == ["filename", *population.classifiers]
        assert table["filename"].tolist() == scores["key"].tolist()
        mean = table.iloc[:, 1:].mean(axis=1)
        mean = mean if what == "netwise-x" else np.exp2(mean)
        np.testing.assert_allclose(mean, scores[column], rtol=1e-6)
        lost = table.index[table.iloc[:, 1:].isna().all(axis=1)]
        assert lost.tolist() == list(UNREADABLE_TRAIN)


def test_csv_and_parquet_say_the_same_and_a_sub_population_has_its_columns(place: Path) -> None:
    for to in ("csv", "parquet"):
        out = place.parent / f"x.{to}"
        narrow = ("--where", "arch = 'softmax' and fraction = 0.5", "--split", "test")
        done("export", "netwise-x", "--to", to, "-o", out, "-w", place, *narrow)
    text = pd.read_csv(place.parent / "x.csv")
    table = pq.read_table(place.parent / "x.parquet").to_pandas()
    assert table.shape == (30, 1 + 4)
    pd.testing.assert_frame_equal(text, table, check_dtype=False)
    assert set(np.unique(text.iloc[:, 1:].dropna().to_numpy())) <= {0, 1}


def test_a_netwise_table_needs_a_place_and_has_two_forms(place: Path) -> None:
    nowhere = zoo("export", "netwise-x", "--to", "csv", "-w", place)
    wrong = zoo("export", "netwise-c", "--to", "npy", "-o", place.parent / "a", "-w", place)
    assert (nowhere.code, wrong.code) == (2, 2)
    assert "needs a place" in nowhere.err
    assert "netwise-c: csv, parquet" in " ".join(wrong.err.split())
