"""Contact sheets of treatments: what is said on them, that nothing overlaps, that pixels are
pixels."""

from __future__ import annotations

import dataclasses
import io
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from factories import tiny_dataset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from zoo.errors import StoreError
from zoo.report.sheets import draw_sheet, save_sheet
from zoo.trainsets.sample import Sample, sample
from zoo.trainsets.treatments import parse


def sample_of(
    count: int = 3,
    *,
    size: int = 12,
    channels: int = 1,
    names: tuple[str, ...] = ("ant", "bee", "cow"),
) -> Sample:
    """Examples 100, 101, ...; the treated picture is the negative; the second of three is an ant
    called a bee."""
    random = np.random.default_rng(0)
    before = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    given = np.arange(count) // 2 % 3
    labels = given.copy()
    labels[1:2] = 1
    return Sample(
        dataset="insects",
        split="train",
        treatment="label_noise:fraction=0.25,seed=0,to=1 + invert",
        example_ids=np.arange(100, 100 + count),
        before=before,
        after=255 - before,
        unreadable=np.zeros(count, dtype=np.bool_),
        given=given,
        labels=labels,
        class_names=names,
        left=900,
        total=1000,
        label_change_rate=0.225,
        seed=7,
        epoch=None,
    )


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def png_of(figure: Figure) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return np.asarray(Image.open(buffer).convert("RGB"))


def test_a_sheet_says_what_it_shows() -> None:
    """Data set, split, how many are left, the rate, the steps, the seed, the size; every id; the
    class, and old → new where it is changed."""
    words = texts(draw_sheet(sample_of()))
    assert (
        words[0]
        == "insects train: 900 of 1,000 examples are left, 22.5 % of them with another label"
    )
    assert words[1] == "label_noise:fraction=0.25,seed=0,to=1 + invert"
    assert words[2] == "3 examples drawn by seed 7; pictures of 12 x 12 pixels"
    assert [word for word in words if word.startswith("id ")] == ["id 100", "id 101", "id 102"]
    assert [word for word in words if word in ("ant", "ant → bee", "bee")] == [
        "ant",
        "ant → bee",
        "bee",
    ]
    assert (
        "none of them with another label"
        in texts(draw_sheet(dataclasses.replace(sample_of(), label_change_rate=0.0)))[0]
    )
    assert texts(draw_sheet(dataclasses.replace(sample_of(), epoch=4)))[2].startswith(
        "noise of epoch 4, drawn anew in each; 3 examples"
    )


def test_a_changed_label_is_marked_in_colour_and_in_words() -> None:
    """One of three: its caption and the frame of its treated picture are red, all other frames are
    thin and grey."""
    figure = draw_sheet(sample_of())
    colours = {text.get_text(): text.get_color() for text in figure.texts}
    assert colours["ant → bee"] == "#8f3f00"
    assert colours["ant"] == colours["bee"] == "#24292f"
    frames = [
        (round(frame.get_linewidth() * 150 / 72), to_hex(frame.get_edgecolor()))
        for frame in figure.artists
    ]
    # before and treated of each
    assert frames == [(1, "#8c959f")] * 3 + [(5, "#d55e00")] + [(1, "#8c959f")] * 2


@pytest.mark.parametrize(("size", "channels"), [(12, 1), (28, 1), (32, 3), (80, 3)])
def test_every_pixel_of_a_small_picture_is_a_square_of_its_own(size: int, channels: int) -> None:
    """Each picture lies on the page enlarged by a whole number, 160 // size, exact to a grey level;
    no frame covers any of it."""
    shown = sample_of(3, size=size, channels=channels)
    figure = draw_sheet(shown)
    pixels = png_of(figure).astype(int)
    times = 160 // size
    pictures = [picture for pair in zip(shown.before, shown.after, strict=True) for picture in pair]
    for ax, picture in zip(figure.axes, pictures, strict=True):
        x, y, width, height = (
            round(edge * scale, 3)
            for edge, scale in zip(ax.get_position().bounds, pixels.shape[1::-1] * 2, strict=True)
        )
        assert width == height == times * size
        left, bottom = int(x), int(y)
        assert (left, bottom) == (x, y)
        top = pixels.shape[0] - bottom - times * size
        found = pixels[top : top + times * size, left : left + times * size]
        assert (
            np.abs(
                found - np.broadcast_to(picture, (size, size, 3)).repeat(times, 0).repeat(times, 1)
            ).max()
            <= 1
        )


@pytest.mark.parametrize(
    "names",
    [
        ("ant", "bee", "cow"),
        ("a very long name of a class indeed",) * 3,
        ("Käfer", "甲虫", "W" * 40),
    ],
)
@pytest.mark.parametrize(("count", "size"), [(1, 28), (9, 12), (9, 224)])
def test_nothing_overlaps_and_nothing_is_cut(names: tuple[str, ...], count: int, size: int) -> None:
    """The boxes of all texts and pictures are apart and inside the page, also with long names and a
    treatment of many steps."""
    steps = " + ".join(["label_noise:fraction=0.25,seed=0,to=random"] * 6)
    figure = draw_sheet(
        dataclasses.replace(
            sample_of(count, size=size, names=names), treatment=steps, dataset="d" * 60
        )
    )
    with warnings.catch_warnings():
        # a script the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph")
        renderer = FigureCanvasAgg(figure).get_renderer()
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in figure.texts]
    boxes += [
        (f"picture {number}", ax.get_window_extent(renderer))
        for number, ax in enumerate(figure.axes)
    ]
    page = figure.bbox
    for words, box in boxes:
        assert box.x0 >= page.x0, words
        assert box.x1 <= page.x1, words
        assert box.y0 >= page.y0, words
        assert box.y1 <= page.y1, words
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0
        assert apart, (one, other)


def test_a_picture_that_cannot_be_read_is_said_to_be_none() -> None:
    """Both of its places say so instead of a black square."""
    figure = draw_sheet(dataclasses.replace(sample_of(), unreadable=np.array([True, False, False])))
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said == [["no\npicture"], ["no\npicture"], [], [], [], []]


def test_a_large_picture_is_shown_smaller_and_that_is_said() -> None:
    words = texts(draw_sheet(sample_of(size=224, channels=3)))
    assert (
        words[2]
        == "3 examples drawn by seed 7; pictures of 224 x 224 pixels, shown smaller, which hides"
        " part of the noise"
    )


def test_a_sheet_is_written_whole_and_alike(tmp_path: Path) -> None:
    """Equal samples, equal bytes; a place that cannot be written is named and left as it was."""
    found = sample(tiny_dataset(tmp_path), parse("label_noise:fraction=0.5"), count=9)
    one, two = (save_sheet(found, tmp_path / name) for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        StoreError,
        match=r"^cannot write .*file/sheet\.png: .*Choose another place with -o FILE\.png\.$",
    ):
        save_sheet(found, tmp_path / "file" / "sheet.png")
    assert (tmp_path / "file").read_text() == "mine"
