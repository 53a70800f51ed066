"""Folders of image files: class folders, ImageNet's forms, and what a downloaded folder may hold
besides images."""

from __future__ import annotations

import hashlib
import os
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
from factories import kit_folder

from tests.data.conftest import grey, png, write_files
from zoo.data import Dataset, decode_examples, open_dataset
from zoo.errors import DataError

PHOTO = png(np.random.default_rng(0).integers(0, 256, (4, 5, 3)))


def facts(dataset: Dataset, split: str = "train") -> list[tuple[str, str]]:
    """Key and class name of every example."""
    found = dataset.splits[split]
    return [
        (key, dataset.class_names[label])
        for key, label in zip(found.keys, found.labels.tolist(), strict=True)
    ]


def first_pixels(dataset: Dataset, split: str = "train") -> list[int]:
    ids = np.arange(len(dataset.splits[split]))
    found: list[int] = (
        decode_examples(dataset.splits[split], ids, size=2, channels=1, fit="pad")
        .images[:, 0, 0, 0]
        .tolist()
    )
    return found


def test_classes_are_sorted_as_plain_strings_and_examples_by_path(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "train/10/b.png": grey(1),
            "train/10/a.png": grey(2),
            "train/2/z.png": grey(3),
            "test/2/y.png": grey(4),
        },
    )
    opened = open_dataset(str(tmp_path))
    assert (opened.form, opened.class_names, opened.channels, opened.native_size) == (
        "imagefolder",
        ("10", "2"),
        1,
        (2, 2),
    )
    assert facts(opened) == [
        ("train/10/a.png", "10"),
        ("train/10/b.png", "10"),
        ("train/2/z.png", "2"),
    ]
    assert first_pixels(opened) == [2, 1, 3]
    assert facts(opened, "test") == [("test/2/y.png", "2")]


def test_class_folders_without_split_folders_are_train(tmp_path: Path) -> None:
    write_files(tmp_path, {"cat/1.png": grey(1), "dog/1.png": grey(2), "dog/deeper/2.png": grey(3)})
    opened = open_dataset(str(tmp_path))
    assert facts(opened) == [
        ("cat/1.png", "cat"),
        ("dog/1.png", "dog"),
        ("dog/deeper/2.png", "dog"),
    ]


@pytest.mark.parametrize("folder", ["val", "valid", "Validation"])
def test_a_validation_folder_is_the_test_split(tmp_path: Path, folder: str) -> None:
    write_files(tmp_path, {"train/a/1.png": grey(1), f"{folder}/a/1.png": grey(2)})
    assert list(open_dataset(str(tmp_path)).splits) == ["train", "test"]


def test_two_folders_for_one_split_are_refused(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"train/a/1.png": grey(1), "val/a/1.png": grey(2), "valid/a/1.png": grey(2)}
    )
    with pytest.raises(DataError, match="'val' and 'valid' both stand for the split 'validation'"):
        open_dataset(str(tmp_path))


def test_a_folder_of_unlabelled_images_is_left_out_with_a_warning(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"train/a/1.png": grey(1), "val/a/1.png": grey(2), "test/secret.png": grey(3)}
    )
    opened = open_dataset(str(tmp_path))
    assert facts(opened, "test") == [("val/a/1.png", "a")]
    assert any(
        "test: has no class folders" in note.text and note.level == "warning"
        for note in opened.notes
    )


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "train/a/0-png.JPEG": grey(7),
            "train/a/1-text.jpg": b"this is not a picture",
            "train/a/2-no-suffix": grey(8),
            "train/a/README.txt": b"about the pictures",
            "train/a/.DS_Store": b"\0\0\0\1Bud1",
        },
    )
    opened = open_dataset(str(tmp_path))
    assert opened.splits["train"].keys == [
        "train/a/0-png.JPEG",
        "train/a/1-text.jpg",
        "train/a/2-no-suffix",
    ]
    decoded = decode_examples(opened.splits["train"], np.arange(3), size=2, channels=1, fit="pad")
    assert decoded.images[:, 0, 0, 0].tolist() == [7, 0, 8]
    assert "not an image (text)" in decoded.errors[1]
    assert "train/a/README.txt: not an image file, left out" in [note.text for note in opened.notes]


def test_links_are_followed_wherever_they_lead_and_a_broken_one_is_a_warning(
    tmp_path: Path,
) -> None:
    outside = write_files(tmp_path / "outside", {"one.png": grey(9), "folder/x.png": grey(8)})
    root = write_files(tmp_path / "set", {"train/a/1.png": grey(1), "shared/2.png": grey(2)})
    (root / "train/a/2.png").symlink_to("../../shared/2.png")
    (root / "train/a/3.png").symlink_to(outside / "one.png")
    (root / "train/a/4.png").symlink_to("nowhere.png")
    (root / "train/b").symlink_to(outside / "folder")
    (root / "train/c").symlink_to(outside / "gone")
    opened = open_dataset(str(root))
    assert facts(opened) == [
        ("train/a/1.png", "a"),
        ("train/a/2.png", "a"),
        ("train/a/3.png", "a"),
        ("train/b/x.png", "b"),
    ]
    assert first_pixels(opened) == [1, 2, 9, 8]
    (broken,) = [note for note in opened.notes if note.kind == "link"]
    assert (broken.level, broken.count) == ("warning", 2)
    assert (
        broken.text
        == "train/a/4.png, train/c: cannot be followed (No such file or directory), left out"
    )


def test_the_data_set_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    write_files(tmp_path / "real", {"train/a/1.png": grey(1)})
    (tmp_path / "link").symlink_to("real")
    assert open_dataset(str(tmp_path / "link")).splits["train"].keys == ["train/a/1.png"]


@pytest.mark.timeout(300)
def test_loops_fifos_and_sockets_neither_hang_nor_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files(tmp_path / "set", {"train/a/1.png": grey(1)})
    (root / "train/a/loop").symlink_to("..")
    (root / "train/a/self").symlink_to("self")
    os.mkfifo(root / "train/a/pipe.png")
    monkeypatch.chdir(root / "train/a")  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("sock.png")
        opened = open_dataset(str(root))
    keys = opened.splits["train"].keys
    assert keys == ["train/a/1.png"]
    texts = [note.text for note in opened.notes]
    assert "train/a/loop: symbolic link to a folder it lies in, left out" in texts
    assert (
        "train/a/pipe.png, train/a/sock.png: neither a file nor a folder (FIFO, socket or device),"
        " left out" in texts
    )
    assert any("train/a/self: cannot be followed" in text for text in texts)


@pytest.mark.timeout(300)
def test_a_file_replaced_by_a_fifo_or_removed_after_opening_is_unreadable(tmp_path: Path) -> None:
    opened = open_dataset(
        str(write_files(tmp_path / "set", {f"train/a/{i}.png": grey(i) for i in range(4)}))
    )
    (tmp_path / "set/train/a/1.png").unlink()
    (tmp_path / "set/train/a/2.png").unlink()
    os.mkfifo(tmp_path / "set/train/a/2.png")
    decoded = decode_examples(opened.splits["train"], np.arange(4), size=2, channels=1, fit="pad")
    assert decoded.images[:, 0, 0, 0].tolist() == [0, 0, 0, 3]
    assert decoded.errors == {
        1: "cannot be opened (No such file or directory)",
        2: "not a regular file",
    }
    assert not decoded.lasting


def test_names_that_are_not_utf8_get_keys_that_are(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/set/train/caf\xe9"
    Path(os.fsdecode(folder)).mkdir(parents=True)
    Path(os.fsdecode(folder + b"/\xff.png")).write_bytes(grey(6))
    opened = open_dataset(str(tmp_path / "set"))
    assert opened.class_names == ("caf\\xe9",)
    assert opened.splits["train"].keys == ["train/caf\\xe9/\\xff.png"]
    assert first_pixels(opened) == [6]


def test_an_empty_class_folder_is_a_class_without_examples(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/b/1.png": grey(1)})
    (tmp_path / "train/a").mkdir()
    assert open_dataset(str(tmp_path)).class_names == ("a", "b")


def test_colour_and_sizes_are_those_of_a_sample_of_train(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"train/a/1.png": grey(1), "train/a/2.png": PHOTO, "train/a/3.png": b"broken"}
    )
    opened = open_dataset(str(tmp_path))
    assert (opened.channels, opened.native_size) == (3, None)


def test_grey_pictures_saved_in_colour_are_grey(tmp_path: Path) -> None:
    write_files(tmp_path, {"train/a/1.png": png(np.full((2, 3, 3), 9))})
    opened = open_dataset(str(tmp_path))
    assert (opened.channels, opened.native_size) == (1, (2, 3))


def test_the_fingerprint_of_a_folder_covers_names_and_sizes(tmp_path: Path) -> None:
    prints = []
    for name, files in (
        ("a", {"train/a/1.png": grey(1)}),
        ("b", {"train/a/2.png": grey(1)}),
        ("c", {"train/a/1.png": grey(1) + b"x"}),
        ("d", {"train/a/1.png": grey(1)}),
    ):
        prints.append(open_dataset(str(write_files(tmp_path / name, files))).fingerprint)
    assert prints[0] == prints[3]
    assert len(set(prints)) == 3


WNIDS = ("n01440764", "n01443537", "n02084071")


def test_sorted_imagenet_is_recognised_and_validation_is_test(tmp_path: Path) -> None:
    write_files(
        tmp_path, {f"{split}/{wnid}/x.JPEG": PHOTO for split in ("train", "val") for wnid in WNIDS}
    )
    opened = open_dataset(str(tmp_path))
    assert (opened.form, opened.class_names) == ("imagenet", WNIDS)
    assert opened.splits["test"].keys[2] == "val/n02084071/x.JPEG"
    assert opened.splits["test"].labels.tolist() == [0, 1, 2]


def test_flat_validation_images_get_their_class_through_the_devkits_own_ids(tmp_path: Path) -> None:
    # The kit counts in another order than the sorted WordNet ids: 1 = n02084071, 2 = n01440764, 3 =
    # n01443537; 4 is an inner node.
    kit_folder(
        tmp_path,
        "1\n2\n3\n2\n",
        [(1, WNIDS[2], 0), (2, WNIDS[0], 0), (3, WNIDS[1], 0), (4, "n00001740", 3)],
    )
    write_files(tmp_path, {f"train/{wnid}/x.JPEG": PHOTO for wnid in WNIDS[:2]})
    write_files(tmp_path, {f"val/ILSVRC2012_val_{number:08d}.JPEG": PHOTO for number in (1, 2, 4)})
    opened = open_dataset(str(tmp_path))
    assert opened.form == "imagenet"
    assert opened.class_names == WNIDS
    assert facts(opened, "test") == [
        ("val/ILSVRC2012_val_00000001.JPEG", "n02084071"),
        ("val/ILSVRC2012_val_00000002.JPEG", "n01440764"),
        ("val/ILSVRC2012_val_00000004.JPEG", "n01440764"),
    ]
    assert opened.splits["train"].labels.tolist() == [0, 1]


def test_the_devkit_is_read_as_torchvision_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = pytest.importorskip("torchvision.datasets.imagenet")
    kit_folder(
        tmp_path,
        "3\n1\n2\n3\n",
        [(1, WNIDS[2], 0), (2, WNIDS[0], 0), (3, WNIDS[1], 0), (4, "n00001740", 3)],
    )
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    checksum = hashlib.md5(
        (tmp_path / "kit.tar.gz").read_bytes(), usedforsecurity=False
    ).hexdigest()
    monkeypatch.setitem(oracle.ARCHIVE_META, "devkit", ("kit.tar.gz", checksum))
    oracle.parse_devkit_archive(str(tmp_path))
    _, val_wnids = oracle.load_meta_file(str(tmp_path))
    write_files(
        tmp_path, {f"val/ILSVRC2012_val_{number:08d}.JPEG": PHOTO for number in (1, 2, 3, 4)}
    )
    assert (
        [wnid for _, wnid in facts(open_dataset(str(tmp_path)), "test")]
        == val_wnids
        == [WNIDS[1], WNIDS[2], WNIDS[0], WNIDS[1]]
    )


def test_flat_validation_without_a_devkit_is_an_error_that_says_what_is_missing(
    tmp_path: Path,
) -> None:
    write_files(tmp_path, {"val/ILSVRC2012_val_00000001.JPEG": PHOTO})
    with pytest.raises(
        DataError,
        match=(
            r"Looked for ILSVRC2012_validation_ground_truth.txt with meta.mat .* and for"
            r" LOC_val_solution.csv"
        ),
    ):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("truth", "message"),
    [("1\n9\n", r"line 2 is '9'"), ("1\n", r"no label for validation image 2"), ("x", "line 1")],
)
def test_a_ground_truth_that_does_not_fit_is_an_error(
    tmp_path: Path, truth: str, message: str
) -> None:
    kit_folder(tmp_path, truth, [(1, WNIDS[0], 0)])
    write_files(tmp_path, {f"val/ILSVRC2012_val_{number:08d}.JPEG": PHOTO for number in (1, 2)})
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path))


def test_a_meta_mat_that_is_none_is_an_error(tmp_path: Path) -> None:
    kit_folder(tmp_path, "1\n", [(1, WNIDS[0], 0)])
    (tmp_path / "ILSVRC2012_devkit_t12/data/meta.mat").write_bytes(b"not a mat file")
    write_files(tmp_path, {"val/ILSVRC2012_val_00000001.JPEG": PHOTO})
    with pytest.raises(
        DataError, match=r"meta\.mat: cannot be read as the development kit's meta\.mat"
    ):
        open_dataset(str(tmp_path))


def test_kaggles_form_takes_its_labels_from_the_solution_file(tmp_path: Path) -> None:
    images = "ILSVRC/Data/CLS-LOC"
    write_files(tmp_path, {f"{images}/train/{wnid}/{wnid}_1.JPEG": PHOTO for wnid in WNIDS})
    write_files(
        tmp_path, {f"{images}/val/ILSVRC2012_val_{number:08d}.JPEG": PHOTO for number in (1, 2)}
    )
    write_files(tmp_path, {f"{images}/test/ILSVRC2012_test_00000001.JPEG": PHOTO})
    solution = (
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n01443537 1 2 3 4"
        " \nILSVRC2012_val_00000001,n02084071 1 2 3 4 \n"
    )
    (tmp_path / "LOC_val_solution.csv").write_text(solution)
    opened = open_dataset(str(tmp_path))
    assert [name for _, name in facts(opened, "test")] == ["n02084071", "n01443537"]
    assert len(opened.splits["train"]) == 3
