"""Pictures that are almost the same: what is found, what is not taken for it, and how the check of
a data set names them."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from tools.bench import alike as bench
from zoo.cli.text import check_text
from zoo.data import check_dataset, open_dataset
from zoo.data.alike import candidates, groups, hashes, same_picture, thumbnails
from zoo.data.decode import decode_examples


def scene(seed: int, side: int = 96) -> NDArray[np.uint8]:
    """A colour picture with large forms in colour and small ones in grey, as photos have them."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((side, side, 3))
    for cells, channels, share in ((4, 3, 0.5), (8, 1, 0.3), (24, 1, 0.2)):
        coarse = generator.integers(0, 256, (cells, cells, channels), dtype=np.uint8)
        grown = Image.fromarray(coarse.repeat(3 // channels, axis=2)).resize((side, side), 3)
        picture += share * np.asarray(grown, np.float64)
    return picture.astype(np.uint8)


def saved(pixels: NDArray[np.uint8], form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def again(pixels: NDArray[np.uint8], how: str) -> NDArray[np.uint8]:
    """The picture as another program leaves it."""
    image = Image.fromarray(pixels)
    if how == "jpeg":
        image = Image.open(io.BytesIO(saved(pixels, "JPEG", quality=50)))
    elif how == "smaller":
        image = image.resize((60, 60), Image.Resampling.BILINEAR)
    elif how == "larger":
        image = image.resize((150, 140), Image.Resampling.BICUBIC)
    elif how == "brighter":
        image = image.point(lambda value: min(255, int(value * 1.1 + 8)))
    elif how == "blurred":
        image = image.filter(ImageFilter.GaussianBlur(3))
    elif how == "sharpened":
        image = image.filter(ImageFilter.SHARPEN)
    elif how == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)


def found(pictures: list[NDArray[np.uint8]]) -> list[list[int]]:
    """Groups by numbers, of pictures of any sizes."""
    each = [hashes(picture[None]) for picture in pictures]
    hashed, usable = (np.concatenate([one[part] for one in each]) for part in (0, 1))
    small = np.concatenate([thumbnails(picture[None]) for picture in pictures])
    return [group.tolist() for group in groups(hashed, usable, lambda numbers: small[numbers])]


@pytest.mark.parametrize("how", ["jpeg", "smaller", "larger", "brighter", "blurred", "sharpened"])
def test_a_picture_saved_again_is_found_among_others(how: str) -> None:
    """Thirty pictures, three of them again: three groups of two and nothing else."""
    pictures = [scene(seed) for seed in range(30)]
    pictures += [again(pictures[i], how) for i in (3, 11, 20)]
    assert found(pictures) == [[3, 30], [11, 31], [20, 32]]


def test_others_are_not_taken_for_it() -> None:
    """Twin: mirrored, flat and tiny pictures, and the same forms in other colours."""
    base = scene(1)
    flat = [np.full((96, 96, 3), value, np.uint8) for value in (200, 200, 203)]
    tiny = [scene(5)[:4, :4]] * 2
    red = base.copy()
    red[..., 0] = 255 - red[..., 0] // 2
    assert found([base, again(base, "mirrored"), red, *flat, *tiny]) == []


def test_digits_and_clothes_that_look_alike_are_not_the_same() -> None:
    """Two thousand pictures of clothes in small: many are candidates, none or next to none counts,
    and of fifty that were saved again all are found."""
    split = open_dataset("fashion-mini").splits["train"]
    pixels = decode_examples(split, np.arange(2000), size=28, channels=1, fit="resize").images
    twice = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(saved(pixels[i, ..., 0], "JPEG", quality=90))))
            for i in range(50)
        ]
    )
    whole = np.concatenate([pixels, twice[..., None]])
    hashed, usable = hashes(whole)
    assert len(candidates(hashed[:2000])) >= 10
    result = groups(hashed, usable, lambda numbers: thumbnails(whole[numbers]))
    planted = [[i, 2000 + i] for i in range(50)]
    assert [group for group in map(np.ndarray.tolist, result) if group in planted] == planted
    assert len(result) <= 51


@pytest.mark.parametrize("blurred", [0.7, 1.0, 1.5])
def test_small_pictures_that_were_blurred_are_found(blurred: float) -> None:
    """Of 28 pixels, forty among five hundred: each with its original, and next to none else."""
    split = open_dataset("fashion-mini").splits["train"]
    pixels = decode_examples(split, np.arange(500), size=28, channels=1, fit="resize").images
    soft = [
        np.asarray(Image.fromarray(pixels[i, ..., 0]).filter(ImageFilter.GaussianBlur(blurred)))
        for i in range(40)
    ]
    whole = np.concatenate([pixels, np.stack(soft)[..., None]])
    result = [group.tolist() for group in groups(*hashes(whole), lambda n: thumbnails(whole[n]))]
    assert sum([i, 500 + i] in result for i in range(40)) >= 38
    assert len(result) <= 41


def test_one_picture_and_itself_blurred_agree_whatever_the_order() -> None:
    """By a Gaussian of 1.5 pixels, cut off by nothing: the transform's factors, by hand, leave a
    correlation of .93 as they are. Twin: another picture does not agree, blurred or not."""
    one, other = (thumbnails(scene(seed, 32)[None]) for seed in (2, 3))
    soft = np.stack(
        [gaussian_filter(one[0, ..., k], 1.5, mode="reflect", truncate=8) for k in range(3)], -1
    )[None]
    grey = [part.mean(axis=3).ravel() for part in (one, soft)]
    assert np.corrcoef(*grey)[0, 1] < 0.95
    assert same_picture(one, soft).tolist() == same_picture(soft, one).tolist() == [True]
    assert not same_picture(other, soft).any()
    assert not same_picture(soft, other).any()


def test_candidates_are_those_of_comparing_all_with_all() -> None:
    """Reference: every pair within the two distances, of hashes that lie in clumps."""
    generator = np.random.default_rng(0)
    centres = generator.integers(0, 2**63, (12, 2), dtype=np.uint64)
    clumps = np.repeat(centres, 10, axis=0)
    for _ in range(4):
        places = generator.integers(0, 63, clumps.shape, dtype=np.uint64)
        flips = (generator.random(clumps.shape) < 0.6).astype(np.uint64)
        clumps ^= flips << places
    expected = [
        [i, j]
        for i, j in itertools.combinations(range(len(clumps)), 2)
        if int(clumps[i, 0] ^ clumps[j, 0]).bit_count() <= 4
        and int(clumps[i, 1] ^ clumps[j, 1]).bit_count() <= 10
    ]
    assert 50 < len(expected) < 540
    assert candidates(clumps).tolist() == expected


def test_a_thumbnail_is_an_average() -> None:
    """64 x 32 pixels: two above each other make one; a picture and itself, brighter, agree."""
    pixels = np.zeros((1, 64, 32, 1), np.uint8)
    pixels[0, ::2] = 10
    assert (thumbnails(pixels) == 5).all()
    one = thumbnails(scene(2)[None])
    assert same_picture(one, one * 0.5 + 20).tolist() == [True]
    assert same_picture(one, thumbnails(scene(3)[None])).tolist() == [False]


def test_the_check_names_them_with_their_labels(tmp_path: Path) -> None:
    """By their files: two labels; one label; in train and test. An exact copy joins its group, and
    is no group by itself. Notes, not warnings of their own."""
    pictures = {
        "train/ant/a.png": saved(scene(1), "PNG"),
        "train/bee/a.jpg": saved(scene(1), "JPEG", quality=80),
        "train/bee/copy.png": saved(scene(1), "PNG"),
        "train/bee/b.png": saved(scene(2), "PNG"),
        "train/bee/c.webp": saved(again(scene(2), "smaller"), "WEBP", quality=90),
        "train/ant/d.png": saved(scene(3), "PNG"),
        "test/ant/e.jpg": saved(scene(3), "JPEG", quality=90),
        "train/ant/f.png": saved(scene(4), "PNG"),
        "train/ant/g.png": saved(scene(4), "PNG"),
    }
    for name, data in pictures.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    check = check_dataset(open_dataset(str(tmp_path)))
    said = {
        (group.keys, group.labels, group.conflicting): group.splits
        for group in check.near_duplicates
    }
    assert said == {
        (("train/ant/a.png", "train/bee/a.jpg", "train/bee/copy.png"), (0, 1, 1), True): ("train",)
        * 3,
        (("train/bee/b.png", "train/bee/c.webp"), (1, 1), False): ("train",) * 2,
        (("train/ant/d.png", "test/ant/e.jpg"), (0, 0), False): ("train", "test"),
    }
    near = [note for note in check.notes if note.kind == "near-duplicates"]
    assert {note.level for note in near} == {"note"}
    assert [note.reason for note in near] == [
        "almost the same picture, with different labels",
        "almost the same picture, in train and another split",
        "almost the same picture, with one label",
    ]
    text = check_text(check)
    assert "almost the same picture: 3 groups, 1 of them with different labels" in text
    assert "almost the same, labels 0, 1, 1: train train/ant/a.png, train train/bee/a.jpg" in text


def test_the_bench_counts_copies_and_other_groups() -> None:
    """Three of forty scenes saved again are found, and nothing else; with one of them there twice,
    that group as well."""
    images, copied = np.stack([scene(seed) for seed in range(40)]), np.array([2, 7, 30])
    row = bench.found(images, copied, "JPEG 90")
    assert (row["found"], row["copies"], row["groups without a copy"]) == (3, 3, 0)
    images[11] = images[10]
    row = bench.found(images, copied, "JPEG 90")
    assert (row["found"], row["groups without a copy"]) == (3, 1)
