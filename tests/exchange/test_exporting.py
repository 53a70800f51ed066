"""``zoo export`` of scores, predictions and logits: the numbers are those of the store."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import done, zoo
from factories import QUIET, TRAIN, UNREADABLE_TRAIN, Tiny

import zoo as library
from tests.exchange.exported import two_classifiers
from zoo.exchange.importing import Request, import_predictions
from zoo.store import ledger
from zoo.store.answers import logits_of
from zoo.store.workspace import Workspace

# ---------------------------------------------------------------- scores


def test_perplexity_csv_by_hand(tmp_path: Path) -> None:
    """The columns of the parent project's perplexity.csv: names, the 12 bins, and lists of (class,
    index) and (class, votes)."""
    text = done("export", "scores", "--to", "perplexity", "-w", two_classifiers(tmp_path))
    assert text.splitlines() == [
        (
            "filename,label,c_perplexity,x_perplexity,x_perplexity_label,top 5 c_perplexity"
            " class,top 5 x_perplexity class"
        ),
        (
            "'=1+1.png,cat,2.8284271247461903,0.5,0.4-0.5,"
            "\"[('cat', 0.5), (\"\"dog's\"\", 0.5), ('@emu', 0.5)]\",\"[('cat', 1), ('@emu', 1)]\""
        ),
        '"b,ä.png",\'@emu,1.0,1.0,1,[],"[(\'cat\', 2)]"',
        (
            "c.png,,2.8284271247461903,,,\"[('cat', 0.5), (\"\"dog's\"\", 0.5), ('@emu',"
            " 0.5)]\",\"[('cat', 1), ('@emu', 1)]\""
        ),
    ]
    rows = list(csv.DictReader(io.StringIO(text)))
    assert ast.literal_eval(rows[0]["top 5 c_perplexity class"])[1] == ("dog's", 0.5)


def test_cleanlab_columns(tmp_path: Path) -> None:
    """One row per example in order: an issue is one of the most suspicious, as many as are wrong by
    the estimate; of an unknown label nothing is said."""
    text = done("export", "scores", "--to", "cleanlab", "-w", two_classifiers(tmp_path))
    frame = pd.read_csv(io.StringIO(text))
    assert list(frame.columns) == [
        "is_label_issue",
        "label_quality",
        "given_label",
        "predicted_label",
        "example_id",
        "key",
        "p_wrong",
        "expected_precision",
    ]
    assert frame["is_label_issue"][1]
    assert frame["is_label_issue"].sum() == round(frame["p_wrong"].sum())
    assert frame.loc[2, ["is_label_issue", "p_wrong", "expected_precision"]].isna().all()
    assert frame["expected_precision"][0] == pytest.approx(frame["p_wrong"][:2].mean())
    assert frame["given_label"].tolist()[:2] == [0, 2]
    assert frame["predicted_label"].tolist() == [0, 0, 0]
    # 1 - (N X + 1 - mean p(label)) / (N + 1) with N = 2: X = 1/2, p = 3/8; X = 1, p = 0.
    assert frame["label_quality"].tolist()[:2] == pytest.approx([1 - (1 + 1 - 3 / 8) / 3, 0.0])


def test_without_kept_logits_nothing_is_called_an_issue_and_why_is_said(tmp_path: Path) -> None:
    """The columns are empty, the reason stands on stderr: no guess in their place."""
    np.save(tmp_path / "net.npy", np.full((1, 4, 2), 0.5))
    np.save(tmp_path / "labels.npy", [0, 1, 0, 1])
    request = Request((tmp_path / "net.npy",), tmp_path / "labels.npy", keep_logits=False)
    import_predictions(str(tmp_path / "w"), request, QUIET)
    result = zoo("export", "scores", "--to", "cleanlab", "-w", tmp_path / "w")
    assert result.code == 0
    assert pd.read_csv(io.StringIO(result.out))["is_label_issue"].isna().all()
    assert "is_label_issue are null: how many labels are wrong was not estimated: " in result.err


def test_perplexity_csv_lists_the_entropys_classes_or_says_that_it_cannot(tmp_path: Path) -> None:
    """Seven classes: with logits the definition's five, by hand; without, a column whose name says
    what it lists."""
    p = np.array(
        [[[0.4, 0.3, 0.1, 0.08, 0.06, 0.04, 0.02]], [[0.02, 0.04, 0.06, 0.08, 0.1, 0.3, 0.4]]]
    )
    np.save(tmp_path / "net.npy", p)
    np.save(tmp_path / "labels.npy", [0])
    for logits, title in (("all", ""), ("none", " (of each classifier's five most probable)")):
        done(
            "import",
            tmp_path / "net.npy",
            "--labels",
            tmp_path / "labels.npy",
            "-w",
            tmp_path / logits,
            "--keep-logits",
            logits,
        )
        frame = pd.read_csv(
            io.StringIO(done("export", "scores", "--to", "perplexity", "-w", tmp_path / logits))
        )
        listed = ast.literal_eval(frame[f"top 5 c_perplexity class{title}"][0])
        mean = (-p * np.log2(p)).mean(axis=(0, 1))
        exact = [value == pytest.approx(mean[int(name)], abs=1e-3) for name, value in listed]
        assert all(exact) == (logits == "all")


def test_scores_as_csv_and_parquet_are_those_of_the_store(tmp_path: Path) -> None:
    """Both hold the scores table of the population, or of the part of it that --where names."""
    w = two_classifiers(tmp_path)
    done("export", "scores", "--to", "parquet", "-o", tmp_path / "s.parquet", "-w", w)
    expected = library.open(w).scores()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "s.parquet"), expected)
    one = pd.read_csv(
        io.StringIO(done("export", "scores", "--to", "csv", "--where", "arch = 'net-1'", "-w", w))
    )
    assert one["n"].tolist() == [1, 1, 1]
    assert one["x_perplexity"].tolist()[:2] == [1.0, 1.0]
    assert one["key"][0] == "'=1+1.png"


# ---------------------------------------------------------------- predictions and logits


def test_predictions_are_a_cube_with_the_list_of_its_rows(trained: Tiny, tmp_path: Path) -> None:
    """int16 [N, E] in the order of the list beside it, -1 where a picture could not be read;
    probabilities are the softmax of the logits."""
    out = tmp_path / "p.npy"
    done("export", "predictions", "--to", "npy", "-o", out, "-w", trained.root)
    cube, rows = np.load(out), pd.read_csv(tmp_path / "p.classifiers.csv")
    assert (cube.dtype, cube.shape, len(rows)) == (np.int16, (12, TRAIN), 12)
    answers = library.open(trained.root).query(
        "select classifier_id, example_id, prediction from answers where split = 'train'"
    )
    wide = answers.pivot_table(
        index="classifier_id", columns="example_id", values="prediction", dropna=False
    ).fillna(-1)
    assert np.array_equal(cube, wide.loc[rows["classifier_id"]].to_numpy())
    assert sorted(np.flatnonzero((cube == -1).all(0))) == list(UNREADABLE_TRAIN)
    done(
        "export",
        "predictions",
        "--to",
        "npy",
        "--probabilities",
        "-o",
        tmp_path / "q.npy",
        "-w",
        trained.root,
    )
    p = np.load(tmp_path / "q.npy")
    assert (p.dtype, p.shape) == (np.float32, (12, TRAIN, 3))
    np.testing.assert_allclose(p.sum(2), 1, atol=1e-6)
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    assert np.array_equal(p.argmax(2)[:, readable], cube[:, readable])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_predictions_as_a_table_have_a_column_per_classifier(
    trained: Tiny, tmp_path: Path, form: str
) -> None:
    """A row per example; null where there is no answer."""
    done(
        "export",
        "predictions",
        "--to",
        form,
        "-o",
        tmp_path / "p",
        "--split",
        "test",
        "-w",
        trained.root,
    )
    frame = pd.read_csv(tmp_path / "p") if form == "csv" else pd.read_parquet(tmp_path / "p")
    assert list(frame.columns[:3]) == ["example_id", "key", "label"]
    assert list(frame.columns[3:]) == list(ledger.population(trained.workspace))
    assert np.flatnonzero(frame.iloc[:, 3:].isna().all(axis=1)).tolist() == [11]


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_exported_logits_come_back_with_the_same_scores(tmp_path: Path, form: str) -> None:
    """Exported and imported again, X is the same exactly, C within 1e-4; files, labels and class
    names of the export are all it takes."""
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1.5, (20, 300, 10)).astype(np.float32)
    labels = rng.integers(0, 10, 300)
    # A runner-up so close that float16 alone would make a tie, and the tie would go to the lower
    # class.
    values[:, 0, :] = 0.0
    values[:, 0, 5] = np.float32(1e-9)
    np.save(tmp_path / "net.npy", values)
    np.save(tmp_path / "labels.npy", labels)
    names = tmp_path / "names.txt"
    names.write_text("".join(f"class {i}\n" for i in range(10)))
    import_predictions(
        str(tmp_path / "a"),
        Request((tmp_path / "net.npy",), tmp_path / "labels.npy", classes=names),
        QUIET,
    )
    out = tmp_path / "out"
    done("export", "logits", "--to", form, "-o", out, "-w", tmp_path / "a")
    files = sorted(out.glob(f"*.{form}"))
    assert len(files) == 20
    done(
        "import",
        *files,
        "--labels",
        out / "examples.csv",
        "--classes",
        out / "classes.json",
        "-w",
        tmp_path / "b",
    )
    a, b = (library.open(tmp_path / name).scores() for name in "ab")
    assert a["x_perplexity"].tolist() == b["x_perplexity"].tolist()
    assert a["top_confusion"][0] == b["top_confusion"][0] == 5
    np.testing.assert_allclose(b["c_perplexity"], a["c_perplexity"], rtol=1e-4)
    assert b["key"].tolist() == a["key"].tolist()
    if form == "npy":
        first = Workspace.open(tmp_path / "a")
        assert np.array_equal(np.load(files[0]), logits_of(first, files[0].stem, "train"))


def test_logits_that_were_not_kept_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Without logits in the store there is a message that says so, and no folder."""
    values = np.random.default_rng(0).normal(0, 1, (10, 3))
    np.save(tmp_path / "net.npy", values)
    np.save(tmp_path / "labels.npy", np.zeros(10, dtype=int))
    done(
        "import",
        tmp_path / "net.npy",
        "--labels",
        tmp_path / "labels.npy",
        "--keep-logits",
        "none",
        "-w",
        tmp_path / "w",
    )
    result = zoo("export", "logits", "--to", "npy", "-o", tmp_path / "out", "-w", tmp_path / "w")
    assert result.code == 1
    assert "no logits of net-" in result.err
    assert not (tmp_path / "out").exists()
