"""The decode rules of zoo.data.decode, one by one, on images made here."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import grey, png
from zoo.data import Split, UnreadableImage, decode_examples, decode_image, encode_examples
from zoo.data.mnist import ArraySource
from zoo.errors import UsageError


class Listed:
    """Images in a list, as a source."""

    def __init__(self, images: list[bytes]) -> None:
        self.images = images

    def encoded(self, example_ids: Any) -> list[bytes]:
        return [self.images[i] for i in example_ids]

    def content_digest(self) -> bytes:
        return b""


def split_of(images: list[bytes]) -> Split:
    return Split(
        "train",
        np.zeros(len(images), dtype=np.int64),
        None,
        [str(i) for i in range(len(images))],
        Listed(images),
    )


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def raw_png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG from its header fields and filtered rows, for what Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def pixel(data: bytes, channels: int = 3) -> list[int]:
    """The first pixel of an image."""
    found: list[int] = decode_image(data, channels)[0, 0].tolist()
    return found


def test_8_bit_grey_keeps_its_values_and_fills_three_channels() -> None:
    data = png([[0, 7, 255], [1, 2, 3]])
    assert decode_image(data, 1)[..., 0].tolist() == [[0, 7, 255], [1, 2, 3]]
    assert decode_image(data, 3).shape == (2, 3, 3)
    assert decode_image(data, 3)[0, 1].tolist() == [7, 7, 7]


def test_colour_becomes_grey_by_the_documented_weights() -> None:
    data = png(np.array([[[200, 100, 50]]]))
    assert pixel(data) == [200, 100, 50]
    assert pixel(data, 1) == [(19595 * 200 + 38470 * 100 + 7471 * 50 + 32768) >> 16] == [124]


@pytest.mark.parametrize(("mode", "colour"), [("LA", (100, 128)), ("RGBA", (100, 100, 100, 128))])
def test_half_transparent_grey_is_mixed_with_white(mode: str, colour: tuple[int, ...]) -> None:
    # 100 * 128/255 + 255 * 127/255 = 177.2
    data = saved(Image.new(mode, (1, 1), colour), "PNG")
    assert pixel(data) == [177, 177, 177]
    assert pixel(data, 1) == [177]


def test_invisible_colour_is_white_and_opaque_colour_is_itself() -> None:
    assert pixel(saved(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG")) == [255, 255, 255]
    assert pixel(saved(Image.new("RGBA", (1, 1), (255, 0, 9, 255)), "PNG")) == [255, 0, 9]


def test_palette_gives_its_colours_and_its_transparent_entry_gives_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert decode_image(saved(image, "PNG"), 3)[0].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert decode_image(saved(image, "PNG", transparency=1), 3)[0].tolist() == [
        [10, 20, 30],
        [255, 255, 255],
    ]


def test_a_single_transparent_colour_gives_white() -> None:
    assert decode_image(png([[5, 6]], transparency=6), 1)[0, :, 0].tolist() == [5, 255]


def test_1_bit_is_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode_image(saved(image, "PNG"), 1)[0, :, 0].tolist() == [0, 255]
    assert decode_image(saved(image, "PNG"), 3)[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_16_bit_grey_is_scaled_and_rounded_not_clipped() -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], dtype=np.uint16)  # 129 / 257 = 0.502
    data = saved(Image.fromarray(values), "PNG")
    assert Image.open(io.BytesIO(data)).mode == "I;16"
    assert decode_image(data, 1)[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]


def test_16_bit_colour_keeps_its_high_byte() -> None:
    row = b"\0" + struct.pack(">HHH", 0x12FF, 0x8000, 0xFFFF)
    assert pixel(raw_png(1, 1, 16, 2, row)) == [0x12, 0x80, 0xFF]


@pytest.mark.parametrize(("ink", "expected"), [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0)])
def test_cmyk_jpeg_without_ink_is_white_and_with_full_black_is_black(
    ink: tuple[int, ...], expected: int
) -> None:
    data = saved(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100)
    assert np.abs(np.array(pixel(data)) - expected).max() <= 2


def test_ycbcr_jpeg_gives_its_colour_back() -> None:
    data = saved(Image.new("RGB", (8, 8), (200, 40, 90)), "JPEG", quality=100)
    assert np.abs(np.array(pixel(data)) - [200, 40, 90]).max() <= 2


STORED = [[10, 20, 30], [40, 50, 60]]
UPRIGHT = {
    1: [[10, 20, 30], [40, 50, 60]],
    2: [[30, 20, 10], [60, 50, 40]],
    3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]],
    5: [[10, 40], [20, 50], [30, 60]],
    6: [[40, 10], [50, 20], [60, 30]],
    7: [[60, 30], [50, 20], [40, 10]],
    8: [[30, 60], [20, 50], [10, 40]],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(UPRIGHT))
def test_every_exif_orientation_is_turned_upright_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.array(STORED, dtype=np.uint8)), kind, exif=exif)
    assert decode_image(data, 1)[..., 0].tolist() == UPRIGHT[orientation]


def test_orientation_of_a_16_bit_picture_is_applied_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(np.array(STORED, dtype=np.uint16) * 257), "PNG", exif=exif)
    assert decode_image(data, 1)[..., 0].tolist() == UPRIGHT[6]


def test_damaged_exif_does_not_spoil_the_picture() -> None:
    data = saved(
        Image.new("L", (8, 8), 77), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff", quality=100
    )
    assert pixel(data, 1) == [77]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = saved(
        frames[0],
        kind,
        save_all=True,
        append_images=frames[1:],
        **({"lossless": True} if kind == "WEBP" else {}),
    )
    assert pixel(data) == [255, 0, 0]


JPEG = saved(Image.effect_noise((64, 64), 50), "JPEG")
BROKEN = {
    "empty": (b"", "empty (0 bytes)"),
    "html": (b"<!DOCTYPE html><html>not found</html>", "an HTML or XML text"),
    "text": (b"hello", "not an image (text)"),
    "bytes": (bytes(range(200, 256)), "unknown content"),
    "icon format outside the list": (
        saved(Image.new("RGB", (16, 16)), "ICO"),
        "formats read: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP",
    ),
    "truncated jpeg": (JPEG[: len(JPEG) // 2], "damaged or truncated JPEG"),
    "truncated png": (grey(9, 64, 64)[:60], "damaged or truncated PNG"),
    "half a header": (grey(9)[:20], "damaged header"),
    "60 megapixels": (
        raw_png(10_000, 6_000, 8, 0, b""),
        "10000 x 6000 pixels, more than 50,000,000",
    ),
    "Pillow's warning zone": (raw_png(10_000, 10_000, 8, 0, b""), "more than 50,000,000 pixels"),
    "Pillow's error zone": (raw_png(60_000, 60_000, 8, 0, b""), "more than 50,000,000 pixels"),
    "float": (saved(Image.new("F", (2, 2), 0.5), "TIFF"), "float pixels"),
    "32-bit": (
        saved(Image.new("I", (2, 2), 70_000), "TIFF"),
        "integer pixels from 70000 to 70000; allowed is 0 to 65535",
    ),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_is_not_a_whole_picture_is_unreadable_with_its_reason(name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises(UnreadableImage) as caught:
        decode_image(data, 3)
    assert reason in caught.value.reason


def test_an_unreadable_image_is_zeros_and_an_error_and_shifts_nothing() -> None:
    split = split_of([grey(1), b"", grey(3), b"<html>", grey(5)])
    decoded = decode_examples(split, np.array([4, 1, 2, 3, 0, 2]), size=2, channels=1, fit="resize")
    assert decoded.images[:, 0, 0, 0].tolist() == [5, 0, 3, 0, 1, 3]
    assert sorted(decoded.errors) == [1, 3]
    assert decoded.errors[1] == "empty (0 bytes)"


def test_pad_centres_on_black_and_puts_the_odd_pixel_right_and_below() -> None:
    decoded = decode_examples(
        split_of([grey(9, 1, 2)]), np.array([0]), size=4, channels=1, fit="pad"
    )
    assert decoded.images[0, :, :, 0].tolist() == [
        [0, 0, 0, 0],
        [0, 9, 9, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_pad_shrinks_a_larger_picture_whole_and_resize_takes_the_whole_picture_too() -> None:
    # 4 x 2, left half 0, right half 200: shrunk to 2 x 2 both columns stay what they were, nothing
    #     is cropped.
    wide = png(np.array([[0, 0, 200, 200]] * 2))
    fits: list[Literal["pad", "resize"]] = ["pad", "resize"]
    for fit in fits:
        images = decode_examples(
            split_of([wide]), np.array([0]), size=2, channels=1, fit=fit
        ).images
        left, right = images[0, 0, :, 0].tolist()
        assert left < 50
        assert right > 150


def test_resize_is_pillows_antialiased_bilinear() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((16, 16), Image.Resampling.BILINEAR))
    decoded = decode_examples(
        split_of([png(noise)]), np.array([0]), size=16, channels=3, fit="resize"
    )
    assert np.array_equal(decoded.images[0], expected)


@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "fit"), [(8, "pad"), (8, "resize"), (5, "pad"), (13, "pad"), (13, "resize")]
)
def test_arrays_and_files_of_the_same_pixels_decode_to_the_same(
    stored: int, channels: int, size: int, fit: Literal["pad", "resize"]
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 8, 8, stored), dtype=np.uint8)
    arrays = Split("train", np.zeros(3, dtype=np.int64), None, ["a", "b", "c"], ArraySource(pixels))
    ids = np.array([2, 0, 0])
    from_arrays = decode_examples(arrays, ids, size=size, channels=channels, fit=fit)
    from_files = decode_examples(
        split_of(encode_examples(arrays, np.arange(3))), ids, size=size, channels=channels, fit=fit
    )
    assert np.array_equal(from_arrays.images, from_files.images)


@pytest.mark.parametrize("ids", [[-1], [2], [[0]]])
def test_ids_outside_the_split_are_refused(ids: list[Any]) -> None:
    with pytest.raises(UsageError, match=r"allowed is one dimension of 0 to 1"):
        decode_examples(split_of([grey(1), grey(2)]), np.array(ids), size=2, channels=1, fit="pad")


def test_a_format_that_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="channels 1 or 3"):
        decode_examples(split_of([grey(1)]), np.array([0]), size=2, channels=2, fit="pad")
