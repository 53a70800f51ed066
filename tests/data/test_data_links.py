"""Links in a data set's folder are followed wherever they lead, and said where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import notes_of, pictures, two_classes, write_files
from zoo.data import check_dataset, decode_examples, open_dataset


def test_a_class_that_is_a_link_to_elsewhere_is_a_class(tmp_path: Path) -> None:
    """cat and dog are folders, bird a link out of the set: three classes, nothing to be said."""
    write_files(tmp_path / "elsewhere", pictures("train/x.png", "test/y.png"))
    root = write_files(
        tmp_path / "set",
        pictures(
            "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", start=10
        ),
    )
    for split in ("train", "test"):
        (root / split / "bird").symlink_to(tmp_path / "elsewhere" / split)
    opened = open_dataset(str(root))
    assert opened.class_names == ("bird", "cat", "dog")
    assert opened.splits["train"].keys == ["train/bird/x.png", "train/cat/1.png", "train/dog/1.png"]
    assert opened.notes == ()
    assert check_dataset(opened).ok


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("linked", ["files", "classes", "splits"])
def test_a_view_made_of_links_only_is_read_like_the_original(
    tmp_path: Path, linked: str, absolute: bool
) -> None:
    original = two_classes(tmp_path / "original")
    view = tmp_path / "view"
    for file in sorted(original.glob("*/*/*")):
        split, name, _ = file.relative_to(original).parts
        depth = {"files": file, "classes": original / split / name, "splits": original / split}[
            linked
        ]
        link = view / depth.relative_to(original)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(depth if absolute else os.path.relpath(depth, link.parent))
    opened, expected = open_dataset(str(view)), open_dataset(str(original))
    assert opened.fingerprint == expected.fingerprint
    assert opened.splits["train"].keys == expected.splits["train"].keys
    assert opened.notes == ()
    decoded = [
        decode_examples(one.splits["train"], np.arange(2), size=2, channels=1, fit="pad").images
        for one in (opened, expected)
    ]
    assert np.array_equal(*decoded)


def test_pictures_that_links_inside_the_set_lead_to_are_not_left_out(tmp_path: Path) -> None:
    """Of a pool of three, two are linked into classes: the third alone is in no class."""
    root = write_files(
        tmp_path / "set",
        pictures("pool/1.png", "pool/2.png", "pool/3.png", "test/a/8.png", "test/b/9.png"),
    )
    for name, picture in (("a", "1.png"), ("b", "2.png")):
        (root / "train" / name).mkdir(parents=True)
        (root / "train" / name / picture).symlink_to(f"../../pool/{picture}")
    opened = open_dataset(str(root))
    assert notes_of(opened, "left out") == [
        ("warning", "pool/3.png: 1 picture in no split or class that is read; left out")
    ]


@pytest.mark.timeout(300)
def test_links_that_lead_round_in_a_circle_outside_the_set_end(tmp_path: Path) -> None:
    """train/a/out leads away, and from there a link leads back to train/a: its pictures are listed
    once."""
    root = two_classes(tmp_path / "set")
    away = write_files(tmp_path / "away", pictures("x.png", start=50))
    (root / "train/a/out").symlink_to(away)
    (away / "back").symlink_to(root / "train/a")
    opened = open_dataset(str(root))
    assert opened.splits["train"].keys == ["train/a/1.png", "train/a/out/x.png", "train/b/1.png"]
    assert notes_of(opened, "link") == [
        ("note", "train/a/out/back: a folder that is listed by another name already, left out")
    ]
    assert check_dataset(opened).ok


def test_a_folder_linked_twice_into_one_class_is_listed_once_and_that_is_said(
    tmp_path: Path,
) -> None:
    root = two_classes(tmp_path / "set")
    more = write_files(tmp_path / "more", pictures("x.png", start=50))
    for name in ("one", "two"):
        (root / "train/a" / name).symlink_to(more)
    opened = open_dataset(str(root))
    assert opened.splits["train"].keys == ["train/a/1.png", "train/a/one/x.png", "train/b/1.png"]
    assert notes_of(opened, "link") == [
        ("note", "train/a/two: a folder that is listed by another name already, left out")
    ]


@pytest.mark.parametrize("target", ["nowhere", "self"])
def test_a_broken_link_at_any_place_of_the_tree_is_a_warning(tmp_path: Path, target: str) -> None:
    """At the root, beside the classes, among the pictures: a disk that is not mounted must not cost
    a class in silence."""
    root = two_classes(tmp_path / "set")
    places = ("other", "train/bird", "train/a/9.png")
    for place in places:
        (root / place).symlink_to(Path(place).name if target == "self" else root / "nowhere")
    opened = open_dataset(str(root))
    (note,) = [note for note in opened.notes if note.kind == "link"]
    assert (note.level, sorted(note.places)) == ("warning", sorted(places))
    assert not check_dataset(opened).ok
