"""``zoo export selection``: keep-lists, Hugging Face and image folders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import UNREADABLE_TRAIN, Tiny, block_pictures, manifest
from PIL import Image

import zoo as library
from tests.exchange.exported import selected, two_classifiers
from zoo.data import encode_examples, open_dataset
from zoo.exchange import exporting
from zoo.store.datasets import commit_dataset
from zoo.store.origin import Origin
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace


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
