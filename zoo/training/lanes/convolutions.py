"""Convolutions and dense layers of ``LANES`` networks at once: forward and backward, with the
layouts, places and geometries of ``zoo.training.lanes.kernels``.

What nearly all of a training's time is spent in. A core multiplies faster than its second-level
cache delivers: sums are ordered so that what they are made of is read from the first.
"""

from __future__ import annotations

from typing import Any

from zoo.training.lanes.kernels import IMAGES
from zoo.training.lanes.vectors import compiled, every_lane, load, store, tile

__all__ = [
    "convolve",
    "convolve_back",
    "convolve_weights",
    "depthwise",
    "depthwise_back",
    "depthwise_weights",
    "few_channels",
    "sum_images",
    "taps_at_once",
]

_KEPT = 384
"""Vectors that are taken to stay in the first-level cache: half of 48 KiB of float32."""


@compiled
def few_channels(rest: int) -> int:
    """How many of the channels that are left go into the next tile: 6 where what is left after
    them goes into tiles of 4 and 6 too."""
    if rest == 6 or rest >= 10:
        return 6
    return 4 if rest >= 4 else 2 if rest >= 2 else 1


@compiled
def taps_at_once(weights: int, taps: int) -> int:
    """How many rows of taps, of so many weights each, are added up before the next place: as many
    as stay in the first-level cache from one place to the next."""
    return min(max(1, _KEPT // weights), taps)


@compiled
def convolve(
    x: Any, at: int, w: Any, w_at: int, b: Any, b_at: int, z: Any, z_at: int, blocks: int, g: Any
) -> None:
    """z = w * x + b; weights ``[group][ky][kx][out][in]``. ``b``: the bias, or a vector of zeros
    and ``b_at`` -1. A dense layer is a convolution whose kernel is the whole picture."""
    height, width, channels, height_out, width_out, channels_out, ky, kx, stride, pad, groups = g
    inputs, outputs = channels // groups, channels_out // groups
    biased = 0 if b_at < 0 else 1
    w_y, w_x = kx * outputs * inputs, outputs * inputs
    x_y, x_x = width * channels * IMAGES, channels * IMAGES
    for group in range(groups):
        o = 0
        while o < outputs:
            few = few_channels(outputs - o)
            bias = biased * (b_at + group * outputs + o)
            most = taps_at_once(kx * few * inputs, ky)
            for above in range(0, ky, most):
                begin = b if above == 0 else z
                for block in range(blocks):
                    for oy in range(height_out):
                        top = max(above, pad - oy * stride)
                        rows = max(0, min(above + most, ky, height + pad - oy * stride) - top)
                        if rows == 0 and above > 0:
                            continue
                        y = oy * stride - pad + top
                        for ox in range(width_out):
                            left = max(0, pad - ox * stride)
                            columns = min(kx, width + pad - ox * stride) - left
                            seen = (block * height + y) * width + ox * stride - pad + left
                            first = at + (seen * channels + group * inputs) * IMAGES
                            taps = w_at + ((group * ky + top) * kx + left) * w_x + o * inputs
                            to = ((block * height_out + oy) * width_out + ox) * channels_out
                            to = z_at + (to + group * outputs + o) * IMAGES
                            target = (to, IMAGES, 1)
                            start = (bias, biased, 0) if above == 0 else target
                            if inputs == 1:
                                weights = (taps, 1, 0, w_y, w_x)
                                images = (first, 1, 0, x_y, x_x)
                                counts = (1, rows, columns)
                            else:
                                weights = (taps, inputs, w_y, w_x, 1)
                                images = (first, 1, x_y, x_x, IMAGES)
                                counts = (rows, columns, inputs)
                            if few == 4:
                                tile(4, 4, z, target, begin, start, w, weights, x, images, counts)
                            elif few == 6:
                                tile(6, 4, z, target, begin, start, w, weights, x, images, counts)
                            elif few == 2:
                                tile(2, 4, z, target, begin, start, w, weights, x, images, counts)
                            else:
                                tile(1, 4, z, target, begin, start, w, weights, x, images, counts)
            o += few


@compiled
def _reach(place: int, pad: int, kernel: int, stride: int, side_out: int) -> Any:
    """(first tap, taps, first output) of the outputs that saw an input place: tap ``first + i *
    stride`` belongs to output ``output - i``."""
    first = (place + pad) % stride
    while (place + pad - first) // stride >= side_out:
        first += stride
    last = min(kernel - 1, place + pad)
    taps = (last - first) // stride + 1 if last >= first else 0
    return first, taps, (place + pad - first) // stride


@compiled
def convolve_back(
    dz: Any,
    z_at: int,
    w: Any,
    w_at: int,
    dx: Any,
    at: int,
    blocks: int,
    g: Any,
    add: bool,
    zero: Any,
) -> None:
    """Gradient of the input. ``zero``: a vector of zeros."""
    height, width, channels, height_out, width_out, channels_out, ky, kx, stride, pad, groups = g
    inputs, outputs = channels // groups, channels_out // groups
    of_y, of_x = stride * kx * outputs * inputs, stride * outputs * inputs
    z_y, z_x = -width_out * channels_out * IMAGES, -channels_out * IMAGES
    taps_y = -(-ky // stride)
    for group in range(groups):
        i = 0
        while i < inputs:
            few = few_channels(inputs - i)
            most = taps_at_once(-(-kx // stride) * few * outputs, taps_y)
            for above in range(0, taps_y, most):
                begin = dx if add or above > 0 else zero
                added = 1 if add or above > 0 else 0
                for block in range(blocks):
                    for y in range(height):
                        top, rows, oy = _reach(y, pad, ky, stride, height_out)
                        top, oy = top + above * stride, oy - above
                        rows = max(0, min(most, rows - above))
                        if rows == 0 and added:
                            continue
                        for xx in range(width):
                            left, columns, ox = _reach(xx, pad, kx, stride, width_out)
                            seen = (block * height_out + oy) * width_out + ox
                            first = z_at + (seen * channels_out + group * outputs) * IMAGES
                            tap = (group * ky + top) * kx + left
                            taps = w_at + tap * outputs * inputs + i
                            to = ((block * height + y) * width + xx) * channels
                            to = at + (to + group * inputs + i) * IMAGES
                            target = (to, IMAGES, 1)
                            start = (added * to, added * IMAGES, added)
                            weights = (taps, 1, of_y, of_x, inputs)
                            images = (first, 1, z_y, z_x, IMAGES)
                            counts = (rows, columns, outputs)
                            if few == 4:
                                tile(4, 4, dx, target, begin, start, w, weights, dz, images, counts)
                            elif few == 6:
                                tile(6, 4, dx, target, begin, start, w, weights, dz, images, counts)
                            elif few == 2:
                                tile(2, 4, dx, target, begin, start, w, weights, dz, images, counts)
                            else:
                                tile(1, 4, dx, target, begin, start, w, weights, dz, images, counts)
            i += few


@compiled
def _span(tap: int, pad: int, stride: int, side: int, side_out: int) -> Any:
    """(first output, after the last) of those that a tap shows a place of the picture."""
    first = max(0, -((tap - pad) // stride))
    return first, max(first, min(side_out, (side - 1 + pad - tap) // stride + 1))


@compiled
def convolve_weights(
    dz: Any, z_at: int, x: Any, at: int, dw: Any, w_at: int, blocks: int, g: Any
) -> None:
    """Adds the gradient of the weights.

    A few rows of outputs at a time are taken through all taps, so that what is read of them stays
    in the first-level cache; where there is one output to a picture, all blocks at once.
    """
    height, width, channels, height_out, width_out, channels_out, ky, kx, stride, pad, groups = g
    inputs, outputs = channels // groups, channels_out // groups
    if height_out * width_out == 1:
        # the sum over blocks takes the place of the one over rows
        of_block = channels_out * IMAGES, height * width * channels * IMAGES
        for group in range(groups):
            for tap_y in range(max(0, pad), min(ky, height + pad)):
                for tap_x in range(max(0, pad), min(kx, width + pad)):
                    seen = ((tap_y - pad) * width + tap_x - pad) * channels + group * inputs
                    tap = (group * ky + tap_y) * kx + tap_x
                    _add_products(
                        dz,
                        z_at + group * outputs * IMAGES,
                        (of_block[0], 0),
                        outputs,
                        x,
                        at + seen * IMAGES,
                        (of_block[1], 0),
                        inputs,
                        dw,
                        w_at + tap * outputs * inputs,
                        (blocks, 1, IMAGES),
                    )
        return
    most = max(1, _KEPT // ((width_out * 4 + width * channels) * IMAGES))
    of_z = (width_out * channels_out * IMAGES, channels_out * IMAGES)
    of_x = (stride * width * channels * IMAGES, stride * channels * IMAGES)
    for block in range(blocks):
        for group in range(groups):
            for above in range(0, height_out, most):
                for tap_y in range(ky):
                    top, bottom = _span(tap_y, pad, stride, height, height_out)
                    top, bottom = max(top, above), min(bottom, above + most)
                    if top >= bottom:
                        continue
                    y = top * stride - pad + tap_y
                    of_row = z_at + (block * height_out + top) * of_z[0] + group * outputs * IMAGES
                    seen_row = ((block * height + y) * width - pad) * channels + group * inputs
                    seen_row = at + seen_row * IMAGES
                    first = w_at + (group * ky + tap_y) * kx * outputs * inputs
                    if inputs == 1 and kx in (3, 5):
                        _add_taps(
                            dz,
                            of_row,
                            of_z,
                            outputs,
                            x,
                            seen_row,
                            of_x,
                            dw,
                            first,
                            (bottom - top, channels),
                            (kx, pad, stride, width, width_out),
                        )
                        continue
                    for tap_x in range(kx):
                        left, right = _span(tap_x, pad, stride, width, width_out)
                        if left >= right:
                            continue
                        _add_products(
                            dz,
                            of_row + left * of_z[1],
                            of_z,
                            outputs,
                            x,
                            seen_row + left * of_x[1] + tap_x * channels * IMAGES,
                            of_x,
                            inputs,
                            dw,
                            first + tap_x * outputs * inputs,
                            (bottom - top, right - left, IMAGES),
                        )


@compiled
def _add_products(
    dz: Any,
    z_at: int,
    of_z: Any,
    outputs: int,
    x: Any,
    at: int,
    of_x: Any,
    inputs: int,
    dw: Any,
    w_at: int,
    counts: Any,
) -> None:
    """``convolve_weights`` of one tap, ``[out][in]``; ``of_z``, ``of_x``: steps of row and
    column, ``counts`` of rows, columns and images."""
    o = 0
    while o < outputs:
        rest = outputs - o
        few = 8 if inputs in (1, 3) and rest >= 8 else 4 if rest == 8 else few_channels(rest)
        upstream = (z_at + o * IMAGES, IMAGES, of_z[0], of_z[1], 1)
        i = 0
        while i < inputs:
            own = 6 if few == 4 and few_channels(inputs - i) == 6 else min(4, inputs - i)
            place = (w_at + o * inputs + i, inputs, 1)
            images = (at + i * IMAGES, IMAGES, of_x[0], of_x[1], 1)
            if few == 4 and own == 6:
                tile(4, 6, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 4 and own == 4:
                tile(4, 4, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 6 and own == 4:
                tile(6, 4, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 8 and own == 3:
                tile(8, 3, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 4 and own == 3:
                tile(4, 3, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 6 and own == 3:
                tile(6, 3, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 4 and own == 2:
                tile(4, 2, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 6 and own == 2:
                tile(6, 2, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 8 and own == 1:
                tile(8, 1, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 4 and own == 1:
                tile(4, 1, dw, place, dw, place, dz, upstream, x, images, counts)
            elif few == 6 and own == 1:
                tile(6, 1, dw, place, dw, place, dz, upstream, x, images, counts)
            else:
                for t in range(few):
                    upstream_t = (z_at + (o + t) * IMAGES, IMAGES, of_z[0], of_z[1], 1)
                    for n in range(own):
                        place = (w_at + (o + t) * inputs + i + n, inputs, 1)
                        images = (at + (i + n) * IMAGES, IMAGES, of_x[0], of_x[1], 1)
                        tile(1, 1, dw, place, dw, place, dz, upstream_t, x, images, counts)
            i += own
        o += few


@compiled
def _add_taps(
    dz: Any,
    z_at: int,
    of_z: Any,
    outputs: int,
    x: Any,
    at: int,
    of_x: Any,
    dw: Any,
    w_at: int,
    sizes: Any,
    across: Any,
) -> None:
    """``convolve_weights`` of one row of 3 or 5 taps on one channel: all of them at once where all
    of them see the picture, tap by tap at its edges. ``at``: what output 0 sees by tap 0;
    ``sizes``: rows and channels; ``across``: (taps, pad, stride, width, width out)."""
    rows, channels = sizes
    kx, pad, stride, width, width_out = across
    last, _ = _span(0, pad, stride, width, width_out)
    _, end = _span(kx - 1, pad, stride, width, width_out)
    end = max(last, end)
    step = channels * IMAGES
    o = 0
    while o < outputs and last < end:
        rest = outputs - o
        few = 4 if rest >= 4 and rest != 6 else 3 if rest >= 3 else rest
        place = (w_at + o, 1, outputs)
        upstream = (z_at + o * IMAGES + last * of_z[1], IMAGES, of_z[0], of_z[1], 1)
        images = (at + last * of_x[1], step, of_x[0], of_x[1], 1)
        counts = (rows, end - last, IMAGES)
        if kx == 5 and few == 4:
            tile(4, 5, dw, place, dw, place, dz, upstream, x, images, counts)
        elif kx == 5 and few == 3:
            tile(3, 5, dw, place, dw, place, dz, upstream, x, images, counts)
        elif kx == 5 and few == 2:
            tile(2, 5, dw, place, dw, place, dz, upstream, x, images, counts)
        elif kx == 5:
            tile(1, 5, dw, place, dw, place, dz, upstream, x, images, counts)
        elif few == 4:
            tile(4, 3, dw, place, dw, place, dz, upstream, x, images, counts)
        elif few == 3:
            tile(3, 3, dw, place, dw, place, dz, upstream, x, images, counts)
        elif few == 2:
            tile(2, 3, dw, place, dw, place, dz, upstream, x, images, counts)
        else:
            tile(1, 3, dw, place, dw, place, dz, upstream, x, images, counts)
        o += few
    for tap in range(kx):
        left, right = _span(tap, pad, stride, width, width_out)
        for begin, after in ((left, min(right, last)), (max(left, end), right)):
            if begin < after:
                _add_products(
                    dz,
                    z_at + begin * of_z[1],
                    of_z,
                    outputs,
                    x,
                    at + begin * of_x[1] + tap * step,
                    of_x,
                    1,
                    dw,
                    w_at + tap * outputs,
                    (rows, after - begin, IMAGES),
                )


@compiled
def sum_images(
    dz: Any, at: int, positions: int, channels: int, blocks: int, db: Any, b_at: int
) -> None:
    """Adds the gradient of a bias: the sum over places and images."""
    for channel in range(channels):
        for block in range(blocks):
            total = load(db, b_at + channel)
            for position in range(positions):
                place = at + ((block * positions + position) * channels + channel) * IMAGES
                total = total + (
                    (load(dz, place) + load(dz, place + 1))
                    + (load(dz, place + 2) + load(dz, place + 3))
                )
            store(db, b_at + channel, total)


# ---------------------------------------------------------------- one filter per channel


@compiled
def depthwise(x: Any, at: int, w: Any, w_at: int, z: Any, z_at: int, blocks: int, g: Any) -> None:
    """As ``convolve`` without a bias, with a filter per channel; weights ``[ky][kx][channel]``."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    for block in range(blocks):
        for oy in range(height_out):
            top, bottom = max(0, pad - oy * stride), min(ky, height + pad - oy * stride)
            for ox in range(width_out):
                left, right = max(0, pad - ox * stride), min(kx, width + pad - ox * stride)
                to = z_at + ((block * height_out + oy) * width_out + ox) * channels * IMAGES
                for channel in range(channels):
                    sum0 = sum1 = sum2 = sum3 = every_lane(x, x.dtype.type(0))
                    for tap_y in range(top, bottom):
                        row = (block * height + oy * stride - pad + tap_y) * width
                        for tap_x in range(left, right):
                            seen = (
                                at
                                + ((row + ox * stride - pad + tap_x) * channels + channel) * IMAGES
                            )
                            weight = load(w, w_at + (tap_y * kx + tap_x) * channels + channel)
                            sum0 = sum0 + weight * load(x, seen)
                            sum1 = sum1 + weight * load(x, seen + 1)
                            sum2 = sum2 + weight * load(x, seen + 2)
                            sum3 = sum3 + weight * load(x, seen + 3)
                    store(z, to + channel * IMAGES, sum0)
                    store(z, to + channel * IMAGES + 1, sum1)
                    store(z, to + channel * IMAGES + 2, sum2)
                    store(z, to + channel * IMAGES + 3, sum3)


@compiled
def depthwise_back(
    dz: Any, z_at: int, w: Any, w_at: int, dx: Any, at: int, blocks: int, g: Any, add: bool
) -> None:
    """Gradient of the input of ``depthwise``."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    for block in range(blocks):
        for y in range(height):
            top, rows, oy = _reach(y, pad, ky, stride, height_out)
            for xx in range(width):
                left, columns, ox = _reach(xx, pad, kx, stride, width_out)
                to = at + ((block * height + y) * width + xx) * channels * IMAGES
                for channel in range(channels):
                    place = to + channel * IMAGES
                    sum0 = sum1 = sum2 = sum3 = every_lane(dz, dz.dtype.type(0))
                    if add:
                        sum0, sum1 = load(dx, place), load(dx, place + 1)
                        sum2, sum3 = load(dx, place + 2), load(dx, place + 3)
                    for i in range(rows):
                        row = (block * height_out + oy - i) * width_out + ox
                        for j in range(columns):
                            seen = z_at + ((row - j) * channels + channel) * IMAGES
                            tap = (top + i * stride) * kx + left + j * stride
                            weight = load(w, w_at + tap * channels + channel)
                            sum0 = sum0 + weight * load(dz, seen)
                            sum1 = sum1 + weight * load(dz, seen + 1)
                            sum2 = sum2 + weight * load(dz, seen + 2)
                            sum3 = sum3 + weight * load(dz, seen + 3)
                    store(dx, place, sum0)
                    store(dx, place + 1, sum1)
                    store(dx, place + 2, sum2)
                    store(dx, place + 3, sum3)


@compiled
def depthwise_weights(
    dz: Any, z_at: int, x: Any, at: int, dw: Any, w_at: int, blocks: int, g: Any
) -> None:
    """Adds the gradient of the weights of ``depthwise``."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    for block in range(blocks):
        for tap_y in range(ky):
            top = max(0, -((tap_y - pad) // stride))
            bottom = min(height_out, (height - 1 + pad - tap_y) // stride + 1)
            for tap_x in range(kx):
                left = max(0, -((tap_x - pad) // stride))
                right = min(width_out, (width - 1 + pad - tap_x) // stride + 1)
                for channel in range(channels):
                    target = w_at + (tap_y * kx + tap_x) * channels + channel
                    sum0 = load(dw, target)
                    sum1 = sum2 = sum3 = every_lane(dz, dz.dtype.type(0))
                    for oy in range(top, bottom):
                        row = (block * height + oy * stride - pad + tap_y) * width - pad + tap_x
                        for ox in range(left, right):
                            of_z = (block * height_out + oy) * width_out + ox
                            of_z = z_at + (of_z * channels + channel) * IMAGES
                            of_x = at + ((row + ox * stride) * channels + channel) * IMAGES
                            sum0 = sum0 + load(dz, of_z) * load(x, of_x)
                            sum1 = sum1 + load(dz, of_z + 1) * load(x, of_x + 1)
                            sum2 = sum2 + load(dz, of_z + 2) * load(x, of_x + 2)
                            sum3 = sum3 + load(dz, of_z + 3) * load(x, of_x + 3)
                    store(dw, target, (sum0 + sum1) + (sum2 + sum3))
