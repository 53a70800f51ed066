"""``zoo export``: what leaves a workspace is what is in it, whole or not at all, and can be read by
others.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import QUIET, TRAIN, UNREADABLE_TRAIN, Tiny, block_pictures, manifest
from PIL import Image

import zoo as library
from zoo.data import encode_examples, open_dataset
from zoo.exchange import exporting, places
from zoo.exchange.importing import Request, import_predictions
from zoo.store import ledger
from zoo.store.answers import logits_of
from zoo.store.datasets import commit_dataset
from zoo.store.origin import Origin
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace

HALVES = ((1 / 2, 1 / 4, 1 / 4), (1 / 4, 1 / 4, 1 / 2))
"""What two classifiers say of one example: entropies of 1.5 bits both, votes for the first and the
last class."""


def two_classifiers(folder: Path) -> Path:
    """A workspace with three examples of three classes by two classifiers; one key looks like a
    formula, one label is unknown."""
    outputs = np.zeros((2, 3, 3))
    outputs[:, 0] = HALVES
    outputs[:, 1] = (1.0, 0.0, 0.0)
    outputs[:, 2] = HALVES
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "net.npy", outputs)
    (folder / "labels.csv").write_text('key,label\n=1+1.png,0\n"b,ä.png",2\nc.png,\n')
    (folder / "classes.txt").write_text("cat\ndog's\n@emu\n")
    request = Request((folder / "net.npy",), folder / "labels.csv", classes=folder / "classes.txt")
    import_predictions(str(folder / "w"), request, QUIET)
    return folder / "w"


def selected(trained: Tiny, folder: Path) -> Path:
    """A copy of the trained workspace with scores and a selection of 40 examples, some with new
    labels."""
    shutil.copytree(trained.root, folder / "w")
    done("score", "-w", folder / "w", "--top", 0)
    ids = [i for i in range(45) if i not in UNREADABLE_TRAIN]
    rows = manifest(ids, [i * 7 % 3 for i in ids], [1, 1, 1, 2, *[1] * (len(ids) - 4)], 0.5)
    commit_selection(
        Workspace.open(folder / "w"), "kept", rows, Origin(trained.dataset.fingerprint, "train"), []
    )
    return folder / "w"


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


# ---------------------------------------------------------------- selections


def test_keep_list_is_one_key_a_line(trained: Tiny, tmp_path: Path) -> None:
    """The keys of the examples that are kept, in order, each once."""
    text = done(
        "export",
        "selection",
        "--to",
        "keep-list",
        "--selection",
        "kept",
        "-w",
        selected(trained, tmp_path),
    )
    keys = trained.dataset.splits["train"].keys
    assert text.splitlines() == [keys[i] for i in range(45) if i not in UNREADABLE_TRAIN]


def test_a_key_with_a_line_break_is_no_line(tmp_path: Path) -> None:
    """A keep-list of keys with line breaks is refused; as csv they are kept."""
    (tmp_path / "labels.csv").write_text('key,label\n"a\nb.png",0\nc.png,1\n')
    np.save(tmp_path / "net.npy", np.array([[0.5, 0.1], [2.0, -1.0]]))
    done("import", tmp_path / "net.npy", "--labels", tmp_path / "labels.csv", "-w", tmp_path / "w")
    arguments = ("export", "selection", "--selection", "baseline", "-w", tmp_path / "w", "--to")
    result = zoo(*arguments, "keep-list")
    assert result.code == 1
    assert r"'a\nb.png' holds a line break" in result.err
    assert pd.read_csv(io.StringIO(done(*arguments, "csv")))["key"].tolist() == [
        "a\nb.png",
        "c.png",
    ]


def test_hugging_face_export_opens_with_the_labels_of_the_selection(
    trained: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zoo opens it as a data set: pictures byte for byte, the selection's labels and class names;
    X, weights and old labels are beside."""
    monkeypatch.setattr(exporting, "_BLOCK", 16)
    monkeypatch.setattr(exporting, "_PICTURES_PER_FILE", 2000)
    w = selected(trained, tmp_path)
    done("export", "selection", "--to", "hf", "--selection", "kept", "-o", tmp_path / "hf", "-w", w)
    opened, original = open_dataset(str(tmp_path / "hf")), trained.dataset
    ids = np.array([i for i in range(45) if i not in UNREADABLE_TRAIN])
    split, source = opened.splits["train"], original.splits["train"]
    assert split.labels.tolist() == ((ids * 7) % 3).tolist()
    assert opened.class_names == original.class_names
    assert split.keys == [source.keys[i] for i in ids]
    assert encode_examples(split, np.arange(len(ids))) == encode_examples(source, ids)
    assert source.labels_true is not None
    assert split.labels_true is not None
    assert split.labels_true.tolist() == source.labels_true[ids].tolist()
    files = sorted((tmp_path / "hf").glob("*.parquet"))
    assert [path.name for path in files] == [
        f"train-{i:05d}-of-{len(files):05d}.parquet" for i in range(len(files))
    ]
    assert len(files) > 1
    table = pd.concat(
        [
            pq.read_table(
                path, columns=["label_original", "x_perplexity", "weight", "copies"]
            ).to_pandas()
            for path in files
        ]
    )
    scores = library.open(w).scores().set_index("example_id")
    assert table["label_original"].tolist() == source.labels[ids].tolist()
    assert table["x_perplexity"].tolist() == scores.loc[ids, "x_perplexity"].tolist()
    assert table["weight"].tolist() == [0.5] * len(ids)
    assert table["copies"].tolist() == [2 if i == 3 else 1 for i in ids]


def picture_folder(folder: Path) -> Path:
    """A data set of class folders, two PNG each; two classes hold a file of the same name."""
    for label, name in enumerate(("ant", "bee", "cat")):
        place = folder / "train" / name
        place.mkdir(parents=True)
        for i, picture in enumerate(block_pictures([label] * 2, seed=label)):
            Image.fromarray(picture[:, :, 0]).save(place / f"{i} = x.png")
    return folder


def test_image_folder_of_copies(tmp_path: Path) -> None:
    """The files of a folder data set under their own names in folders of their new classes,
    repeated as often as copied; the manifest lists them."""
    dataset = open_dataset(str(picture_folder(tmp_path / "pictures")))
    w = tmp_path / "w"
    commit_dataset(Workspace.open(w, create=True), dataset, {})
    np.save(tmp_path / "net.npy", np.random.default_rng(0).normal(0, 1, (6, 3)))
    np.save(tmp_path / "labels.npy", dataset.splits["train"].labels)
    done("import", tmp_path / "net.npy", "--labels", tmp_path / "labels.npy", "-w", w)
    commit_selection(
        Workspace.open(w),
        "kept",
        manifest([0, 1, 4], [0, 2, 2], [1, 3, 1]),
        Origin(dataset.fingerprint, "train"),
        [],
    )
    out = tmp_path / "out"
    done("export", "selection", "--to", "imagefolder", "--selection", "kept", "-o", out, "-w", w)
    source = {p.read_bytes(): p for p in (tmp_path / "pictures").rglob("*.png")}
    assert len(source) == len(list((tmp_path / "pictures").rglob("*.png")))
    found = {
        str(p.relative_to(out / "train")): source[p.read_bytes()].relative_to(tmp_path / "pictures")
        for p in (out / "train").rglob("*.png")
    }
    assert {name: str(target) for name, target in found.items()} == {
        "ant/0 = x.png": "train/ant/0 = x.png",
        "cat/1 = x.png": "train/ant/1 = x.png",
        "cat/1 = x-copy1.png": "train/ant/1 = x.png",
        "cat/1 = x-copy2.png": "train/ant/1 = x.png",
        "cat/0 = x.png": "train/cat/0 = x.png",
    }
    assert not any(path.is_symlink() for path in (out / "train").rglob("*.png"))
    assert (out / "train" / "bee").is_dir()  # a class without examples keeps its number
    table = pd.read_csv(out / "manifest.csv")
    assert sorted(table["file"]) == sorted(f"train/{name}" for name in found)
    assert table["label_original"].tolist() == [0, 0, 0, 0, 2]
    assert table["class_name"].tolist() == ["ant", "cat", "cat", "cat", "cat"]


def test_image_folder_of_files_where_the_pictures_are_in_none(
    trained: Tiny, tmp_path: Path
) -> None:
    """Pictures out of Parquet become files, and zoo opens the folder with the selection's labels
    and the same number of each class."""
    out = tmp_path / "out"
    done(
        "export",
        "selection",
        "--to",
        "imagefolder",
        "--selection",
        "kept",
        "-o",
        out,
        "-w",
        selected(trained, tmp_path),
    )
    assert not any(path.is_symlink() for path in out.rglob("*"))
    opened = open_dataset(str(out))
    ids = np.array([i for i in range(45) if i not in UNREADABLE_TRAIN])
    expected = np.bincount((ids * 7) % 3, minlength=3)
    expected[(3 * 7) % 3] += 1
    assert np.bincount(opened.splits["train"].labels).tolist() == expected.tolist()
    assert opened.class_names == trained.dataset.class_names


@pytest.mark.parametrize(
    ("classes", "folders"),
    [
        (["ant", "bee"], ["ant", "bee"]),
        (["b", "a"], ["0-b", "1-a"]),
        (["a/b", "a_b"], ["0-a_b", "1-a_b"]),
        (["..", "-x", "\n"], ["0-_.", "1-_x", "2-_"]),
    ],
)
def test_class_folders_keep_the_numbers_of_the_classes(
    classes: list[str], folders: list[str]
) -> None:
    """Sorted by name, folders are in the order of the classes; no name leaves its folder, none
    meets another."""
    assert exporting._class_folders(classes) == folders
    assert sorted(folders) == folders


def test_pictures_of_an_imported_data_set_are_refused(tmp_path: Path) -> None:
    """There are none: the message names the forms that need none."""
    result = zoo(
        "export",
        "selection",
        "--selection",
        "baseline",
        "--to",
        "hf",
        "-o",
        tmp_path / "x",
        "-w",
        two_classifiers(tmp_path),
    )
    assert result.code == 1
    assert (
        "was imported without pictures. Export the selection as keep-list, csv or parquet."
        in result.err
    )
    assert not (tmp_path / "x").exists()


# ---------------------------------------------------------------- places and combinations


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("scores", "--to", "hf", "-o", "x"),
            (
                "cannot export scores as hf. Possible are scores: csv, parquet, perplexity,"
                " cleanlab, decisions;"
            ),
        ),
        (("logits", "--to", "csv", "-o", "x"), "logits: npy, parquet;"),
        (("logits", "--to", "npy"), "needs a place"),
        (("scores", "--to", "parquet"), "needs a place"),
        (
            ("selection", "--to", "csv"),
            "needs its name. Give one with --selection NAME; there are: none",
        ),
        (("scores", "--to", "csv", "--selection", "x"), "--selection has no meaning"),
        (
            ("selection", "--to", "csv", "--selection", "baseline", "--where", "true"),
            "--where has no meaning",
        ),
        (("scores", "--to", "csv", "--probabilities"), "--probabilities has no meaning"),
        (("scores", "--to", "csv", "--json"), "--json says where"),
        (("scores", "--to", "csv", "--split", "none"), "unknown split 'none'"),
    ],
)
def test_combinations_without_sense_are_refused(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Exit code 2, and what is possible instead."""
    result = zoo("export", *arguments, "-w", two_classifiers(tmp_path))
    assert result.code == 2, result
    assert message in result.err


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    """A file is replaced only with --replace (or its other name, --force); a folder only if an
    export made it; a link never."""
    w = two_classifiers(tmp_path)
    file, folder, link = tmp_path / "a" / "s.csv", tmp_path / "l", tmp_path / "link.csv"
    arguments = ("export", "scores", "--to", "csv", "-w", w, "-o")
    done(*arguments, file)
    file.write_text("mine")
    assert "exists already" in zoo(*arguments, file).err
    assert file.read_text() == "mine"
    done(*arguments, file, "--replace")
    assert file.read_text() == done("export", "scores", "--to", "csv", "-w", w)
    link.symlink_to(file)
    assert "is a link" in zoo(*arguments, link, "--force").err
    logits = ("export", "logits", "--to", "npy", "-w", w, "-o", folder)
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    assert "that no export made" in zoo(*logits, "--force").err
    assert (folder / "thesis.txt").read_text() == "mine"
    (folder / "thesis.txt").unlink()
    folder.rmdir()
    done(*logits)
    first = json.loads((folder / places.MARKER).read_text())
    assert (first["what"], first["to"]) == ("logits", "npy")
    assert "exists already" in zoo(*logits).err
    done(*logits, "--force")
    assert not [
        path
        for path in (*tmp_path.iterdir(), *file.parent.iterdir())
        if path.name.startswith((".tmp-", ".old-"))
    ]


def test_a_broken_off_export_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writing fails, what was there before is untouched and no temporary file remains."""
    w = two_classifiers(tmp_path)
    out = tmp_path / "out"
    done("export", "logits", "--to", "npy", "-o", out, "-w", w)
    before = sorted(path.name for path in out.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.np, "save", full)
    result = zoo("export", "logits", "--to", "npy", "-o", out, "--force", "-w", w)
    assert result.code == 1
    assert "No space left on device" in result.err
    assert sorted(path.name for path in out.iterdir()) == before
    assert not list(tmp_path.glob(".*"))


def test_every_form_says_how_it_is_written() -> None:
    """The forms a user is told of are those that exist."""
    for what, to in exporting.FORMATS:
        assert to in exporting.formats_text().split(f"{what}: ")[1].split(";")[0]
