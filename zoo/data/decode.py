"""From encoded bytes to pixels: one set of rules for every form, on every machine.

1. The content decides, not the file name. Formats read: BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP.
   Anything else, an empty file, a truncated one, or one its decoder complains about is an
   ``UnreadableImage`` with its reason. Nothing is patched up or half decoded.
2. Pictures of more than 50 million pixels are refused from their header, before any memory is
   taken.
3. EXIF (or XMP) orientation 1 to 8 is applied: the picture is as its maker saw it. A damaged EXIF
   block counts as none.
4. Of an animation, the first frame.
5. Transparency (alpha channel, palette or single transparent colour) is composited over white, in 8
   bits.
6. 16-bit grey is scaled as v / 257, rounded (0 -> 0, 65535 -> 255), never clipped. 16-bit colour
   and 16-bit grey with alpha keep their high byte (that is how Pillow reads them). 32-bit integers
   outside 0..65535 and float pixels have no defined range: unreadable.
7. Palette, 1-bit, CMYK, YCbCr, LAB, HSV go to RGB by Pillow's conversion. No colour profile is
   applied.
8. Colour to grey: ITU-R 601-2 luma as Pillow computes it, (19595 R + 38470 G + 7471 B + 32768) >>
   16. Grey to colour: three equal channels.
9. Fit to the square: ``resize`` scales the whole picture (aspect not kept, nothing cropped),
   bilinear with antialiasing. ``pad`` puts a picture that fits unscaled on black, centred (an odd
   pixel goes right and below); a picture larger than the square in either direction is resized as a
   whole instead. ``crop`` scales the centred square of 7/8 of the shorter side to it (the usual
   test view of
   ImageNet networks: shorter side to 256, the middle 224). Where regions are given, that part of
   each picture is cut out and scaled instead. Conversion of channels comes before scaling.

Shape letters: n examples asked for, H/W/K height, width, channels.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from zoo.data.dataset import Dataset, EncodedSource, Split, UnreadableImage
from zoo.errors import UsageError

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "Decoded",
    "Fit",
    "Preview",
    "Region",
    "decode_examples",
    "decode_image",
    "encode_examples",
    "encode_pixels",
    "encoded_or_reason",
    "image_facts",
    "previews_of",
    "thumbnails_of",
]


_THUMBNAIL = 128
_PREVIEW = 240
_LOSSLESS = 64
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
"""Allowed formats, the common ones first: they are tried in this order."""
MAX_PIXELS = 50_000_000
"""Pictures with more pixels are refused from the header; the largest of ImageNet has 32 million."""
Fit: TypeAlias = Literal["pad", "resize", "crop"]
Region: TypeAlias = Callable[[int, int, int], tuple[int, int, int, int]]
"""(position among the examples asked for, height, width) -> left, top, right, bottom in pixels of
that picture."""
P = ParamSpec("P")
R = TypeVar("R")
_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_KEYS = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
_CENTRE = 224 / 256
_BLOCK = 1024  # encoded images held at once: 100 MB for ImageNet
# Pillow warns between 89 and 179 million pixels and refuses above. Ours refuses both, so the
# warning must not reach a terminal.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# "Corrupt EXIF data" and the like, once per image of a large set. Rule 3 says what they mean for
# the pixels: nothing.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures of one size. ``images``: uint8 [n, size, size, K]; ``errors``: example id -> reason,
    its picture is all zeros.

    ``lasting``: False if an error lies outside the image's content (a file without permission): not
        to be kept for the next time.
    """

    images: NDArray[np.uint8]
    errors: dict[int, str]
    lasting: bool = True


@dataclass(frozen=True)
class Preview:
    """A picture to look at: an image file in the picture's own proportions, of that many pixels.
    ``kind``: its media type."""

    width: int
    height: int
    kind: str
    data: bytes


def decode_image(data: bytes, channels: int) -> NDArray[np.uint8]:
    """Pixels of one encoded image in its own size, by the rules of the module docstring.

    Args:
        data: content of an image file.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        uint8 [H, W, K].

    Raises:
        UnreadableImage: with the reason.
    """
    pixels: NDArray[np.uint8] = np.asarray(_quietly(_decoded, data, channels), dtype=np.uint8)
    return pixels[:, :, None] if channels == 1 else pixels


def image_facts(data: bytes, *, colour: bool) -> tuple[tuple[int, int], bool | None]:
    """(height, width) after orientation, and whether all pixels are grey. With ``colour=False``
    only the header is read: (size, None).

    Raises:
        UnreadableImage: if the image (or, for ``colour=False``, its header) cannot be read.
    """
    if not colour:
        image = _quietly(_opened, data)
        # Pillow reports TIFF sizes already turned
        turned = image.format != "TIFF" and _orientation(image) >= 5
        return (image.width, image.height) if turned else (image.height, image.width), None
    pixels = decode_image(data, 3)
    grey = bool(
        (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    )
    return (pixels.shape[0], pixels.shape[1]), grey


def _quietly(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function; where a process turns warnings into errors, again without Pillow's: they
    must not decide what is readable."""
    try:
        return function(*args, **kwargs)
    except UserWarning:
        with warnings.catch_warnings():  # not thread-safe, so never on the usual path
            warnings.simplefilter("ignore", UserWarning)
            return function(*args, **kwargs)


def _opened(data: bytes) -> Image.Image:
    """The image with its header read and its size accepted, not yet decoded."""
    if not data:
        raise UnreadableImage("empty (0 bytes)")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableImage(f"more than {MAX_PIXELS:,} pixels") from None
    except UnidentifiedImageError:
        raise UnreadableImage(
            f"not an image ({_looks_like(data)}); formats read: {', '.join(sorted(FORMATS))}"
        ) from None
    except UserWarning:
        raise
    except Exception as error:  # noqa: BLE001  whatever a parser of foreign bytes trips over: struct.error, KeyError, SyntaxError, ...
        raise UnreadableImage(f"damaged header ({_short(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
    return image


def _decoded(data: bytes, channels: int) -> Image.Image:
    """The picture in mode L (channels 1) or RGB (channels 3), upright."""
    image = _opened(data)
    try:
        image.load()
        if image.format != "TIFF":  # Pillow turns TIFFs while it loads them
            image = _upright(image)
        wanted = "L" if channels == 1 else "RGB"
        if image.mode in ("L", "RGB") and "transparency" not in image.info:
            return image if image.mode == wanted else image.convert(wanted)
        return _eight_bit_opaque(image).convert(wanted)
    except (UnreadableImage, UserWarning):
        raise
    except Exception as error:  # noqa: BLE001  decoders of damaged data raise almost anything
        raise UnreadableImage(
            f"damaged or truncated {image.format or 'image'} ({_short(error)})"
        ) from None


def _upright(image: Image.Image) -> Image.Image:
    method = _TRANSPOSE.get(_orientation(image))
    if method is None:
        return image
    turned = image.transpose(method)
    turned.info = image.info
    return turned


def _orientation(image: Image.Image) -> int:
    if _EXIF_KEYS.isdisjoint(image.info):  # parsing costs more than decoding a small PNG
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except UserWarning:
        raise
    except Exception:  # noqa: BLE001  a damaged EXIF block does not spoil the pixels
        return 1
    return value if isinstance(value, int) else 1


def _eight_bit_opaque(image: Image.Image) -> Image.Image:
    """Any mode to L or RGB: 16-bit scaled, transparency composited over white."""
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _scaled_grey(image, transparent)
    if image.mode == "F":
        raise UnreadableImage(
            "float pixels have no defined range; allowed are 8-bit and 16-bit integers"
        )
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or transparent is not None:
        if image.mode in ("La", "RGBa"):
            image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _scaled_grey(image: Image.Image, transparent: object) -> Image.Image:
    values = np.asarray(image).astype(np.int64)  # [H, W]
    if values.size and not 0 <= values.min() <= values.max() <= 65535:
        raise UnreadableImage(
            f"integer pixels from {values.min()} to {values.max()}; allowed is 0 to 65535"
        )
    # round(v / 257); 257 is odd, so there are no ties
    scaled = ((values + 128) // 257).astype(np.uint8)
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(scaled)


def _looks_like(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<svg")):
        return "an HTML or XML text"
    return "text" if start.isascii() and start.decode("ascii").isprintable() else "unknown content"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def decode_examples(
    split: Split,
    example_ids: NDArray[np.int64],
    *,
    size: int,
    channels: int,
    fit: Fit,
    region: Region | None = None,
) -> Decoded:
    """Pictures of some examples in one size. An unreadable one is zeros and an entry in ``errors``;
    ids never shift.

    Args:
        split: where they come from.
        example_ids: int64 [n], any order, may repeat.
        size: side of the square in pixels.
        channels: 1 or 3.
        fit: see the module docstring, rule 9.
        region: the part of each picture to take instead.

    Returns:
        images uint8 [n, size, size, K] in the order asked, and the errors by example id.

    Raises:
        UsageError: if an id, the size, the channels or the fit is out of range.
    """
    example_ids = np.asarray(example_ids, dtype=np.int64)
    _check_request(split, example_ids, size, channels, fit)
    images = np.zeros((len(example_ids), size, size, channels), dtype=np.uint8)
    failed: dict[int, UnreadableImage] = {}
    source = split.source
    for start in range(0, len(example_ids), _BLOCK):
        ids = example_ids[start : start + _BLOCK]
        block = images[start : start + _BLOCK]
        here = None if region is None else partial(_of_block, region, start)
        if isinstance(source, EncodedSource):
            _decode_into(block, ids, encoded_or_reason(source, ids), fit, here, failed)
        else:
            _fit_pixels_into(block, source.pixels(ids), fit, here)
    return Decoded(
        images,
        {i: error.reason for i, error in failed.items()},
        all(error.lasting for error in failed.values()),
    )


def _of_block(
    region: Region, start: int, position: int, height: int, width: int
) -> tuple[int, int, int, int]:
    return region(start + position, height, width)


def _check_request(
    split: Split, example_ids: NDArray[np.int64], size: int, channels: int, fit: str
) -> None:
    if example_ids.ndim != 1 or (
        example_ids.size and not 0 <= example_ids.min() <= example_ids.max() < len(split)
    ):
        seen = (
            f"{example_ids.min()} to {example_ids.max()}"
            if example_ids.size
            else f"shape {example_ids.shape}"
        )
        raise UsageError(
            f"split {split.name!r}: example ids {seen}; allowed is one dimension of 0 to"
            f" {len(split) - 1}. Check the split."
        )
    if size < 1 or channels not in (1, 3) or fit not in ("pad", "resize", "crop"):
        raise UsageError(
            f"cannot decode to size {size}, channels {channels}, fit {fit!r}; "
            "allowed: size >= 1, channels 1 or 3, fit 'pad', 'resize' or 'crop'."
        )


def encoded_or_reason(
    source: EncodedSource, ids: NDArray[np.int64]
) -> list[bytes | UnreadableImage]:
    """Encoded bytes, or why there are none, per id: one missing file does not hide the others."""
    try:
        return list(source.encoded(ids))
    except UnreadableImage:
        found: list[bytes | UnreadableImage] = []
        for position in range(len(ids)):
            try:
                found += source.encoded(ids[position : position + 1])
            except UnreadableImage as error:
                found.append(error)
        return found


def _decode_into(
    images: NDArray[np.uint8],
    ids: NDArray[np.int64],
    encoded: list[bytes | UnreadableImage],
    fit: Fit,
    region: Region | None,
    failed: dict[int, UnreadableImage],
) -> None:
    """Fill images [n, size, size, K]. The one loop per example: 2 of its 87 microseconds are not
    Pillow's (measured on 32 x 32 JPEGs)."""
    size, channels = images.shape[1], images.shape[3]
    for position, data in enumerate(encoded):
        try:
            if isinstance(data, UnreadableImage):
                raise data
            image = _quietly(_decoded, data, channels)
            box = None if region is None else region(position, image.height, image.width)
            _fit_into(images[position], image, size, fit, box)
        except UnreadableImage as error:
            failed[int(ids[position])] = error


def _fit_into(
    picture: NDArray[np.uint8],
    image: Image.Image,
    size: int,
    fit: Fit,
    box: tuple[int, int, int, int] | None = None,
) -> None:
    """Place one image of mode L or RGB, or the part of it in the box, into picture [size, size, K]
    of zeros."""
    if box is not None:
        image = image.crop(box).resize((size, size), Image.Resampling.BILINEAR)
    elif fit == "crop":
        side = min(image.size) * _CENTRE
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
        )
    elif image.size != (size, size):
        if fit == "resize" or max(image.size) > size:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        else:
            top, left = (size - image.height) // 2, (size - image.width) // 2
            picture = picture[top : top + image.height, left : left + image.width]
    picture[...] = np.asarray(image).reshape(picture.shape)


def _fit_pixels_into(
    images: NDArray[np.uint8], pixels: NDArray[np.uint8], fit: Fit, region: Region | None
) -> None:
    """Place arrays [n, H, W, K'] into images [n, size, size, K] of zeros."""
    size, channels = images.shape[1], images.shape[3]
    if pixels.shape[3] == 3 and channels == 1:
        # [n, H, W, 1]
        weighted = pixels.astype(np.uint32) @ np.array([[19595], [38470], [7471]], dtype=np.uint32)
        pixels = ((weighted + 32768) >> 16).astype(np.uint8)
    height, width = pixels.shape[1:3]
    whole = region is None and fit != "crop"
    if whole and ((height, width) == (size, size) or (fit == "pad" and max(height, width) <= size)):
        top, left = (size - height) // 2, (size - width) // 2
        # one channel spreads over three
        images[:, top : top + height, left : left + width] = pixels
        return
    for position, picture in enumerate(pixels):
        image = Image.fromarray(
            np.ascontiguousarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
        )
        fitted = np.zeros((size, size, picture.shape[2]), dtype=np.uint8)
        _fit_into(
            fitted, image, size, fit, None if region is None else region(position, height, width)
        )
        images[position] = fitted


def encode_examples(split: Split, example_ids: NDArray[np.int64]) -> list[bytes]:
    """Image files of some examples: as stored, or PNG where it keeps bare pixels. One that cannot
    be read is empty bytes."""
    if isinstance(split.source, EncodedSource):
        return [
            b"" if isinstance(data, UnreadableImage) else data
            for data in encoded_or_reason(split.source, example_ids)
        ]
    return [encode_pixels(pixels) for pixels in split.source.pixels(example_ids)]


def encode_pixels(pixels: NDArray[np.uint8]) -> bytes:
    """A picture, uint8 [H, W, K], as the content of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def thumbnails_of(dataset: Dataset, split: str, example_ids: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures as they are in the data set, [n, H, W, K]; large ones are reduced to thumbnails."""
    side = min(_THUMBNAIL, max(dataset.native_size)) if dataset.native_size else _THUMBNAIL
    ids = np.asarray(example_ids, dtype=np.int64)
    return decode_examples(
        dataset.splits[split], ids, size=side, channels=dataset.channels, fit="resize"
    ).images


def previews_of(dataset: Dataset, split: str, example_ids: NDArray[np.int64]) -> dict[int, Preview]:
    """Pictures to look at by example id, none distorted or cropped: the longer side at most 240
    pixels, PNG up to 64 pixels and JPEG above. One that cannot be read is left out."""
    ids = np.asarray(example_ids, dtype=np.int64)
    found = {}
    for example, data in zip(
        ids.tolist(), encode_examples(dataset.splits[split], ids), strict=True
    ):
        try:
            image = _quietly(_decoded, data, dataset.channels)
        except UnreadableImage:
            continue
        image.thumbnail((_PREVIEW, _PREVIEW))
        lossless = max(image.size) <= _LOSSLESS
        buffer = io.BytesIO()
        image.save(buffer, "PNG" if lossless else "JPEG", **({} if lossless else {"quality": 85}))
        kind = f"image/{'png' if lossless else 'jpeg'}"
        found[example] = Preview(*image.size, kind, buffer.getvalue())
    return found
