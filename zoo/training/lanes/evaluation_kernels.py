"""What networks in evaluation mode are made of beside ``kernels``: convolutions with what follows
them, for many networks on the same pictures.

Values lie as there. Pictures, which all networks share, are numbers in the same order, an array
[places, 1]. A network's result does not depend on its lane or on the networks beside it.
"""

from __future__ import annotations

from typing import Any

from zoo.training.lanes.kernels import IMAGES
from zoo.training.lanes.vectors import (
    compiled,
    every_lane,
    load,
    store,
    tile,
    tile_above,
    where_above,
    where_below,
    where_equal,
)

__all__ = ["convolve", "convolve_pooled", "spread", "thin", "widen"]


@compiled
def _few(rest: int) -> int:
    """How many of the channels that are left go into the next tile."""
    if rest % 4 == 2 and rest >= 6:
        return 6
    return 4 if rest >= 4 else 2 if rest >= 2 else 1


@compiled
def convolve(
    x: Any,
    at: int,
    w: Any,
    w_at: int,
    b: Any,
    b_at: int,
    more: Any,
    more_at: int,
    floor: Any,
    z: Any,
    z_at: int,
    blocks: int,
    g: Any,
) -> None:
    """z = max(w * x + b + more, floor). ``b``: a vector per channel. ``more``: lies as z; or a
    vector of zeros, ``more_at`` -1. ``floor``: a vector, 0 for a ReLU, minus infinity for none."""
    height, width, channels, height_out, width_out, channels_out, ky, kx, stride, pad, groups = g
    inputs, outputs = channels // groups, channels_out // groups
    added = 0 if more_at < 0 else 1
    for group in range(groups):
        o = 0
        while o < outputs:
            few = _few(outputs - o)
            start = (b_at + group * outputs + o, 1, 0)
            for block in range(blocks):
                for oy in range(height_out):
                    top = max(0, pad - oy * stride)
                    rows = min(ky, height + pad - oy * stride) - top
                    y = oy * stride - pad + top
                    for ox in range(width_out):
                        left = max(0, pad - ox * stride)
                        columns = min(kx, width + pad - ox * stride) - left
                        seen = (block * height + y) * width + ox * stride - pad + left
                        first = at + (seen * channels + group * inputs) * IMAGES
                        tap = (group * ky + top) * kx + left
                        taps = w_at + (tap * outputs + o) * inputs
                        to = ((block * height_out + oy) * width_out + ox) * channels_out
                        to = (to + group * outputs + o) * IMAGES
                        target = (z_at + to, IMAGES, 1)
                        plus = (added * (more_at + to), added * IMAGES, added)
                        weights = (taps, inputs, kx * outputs * inputs, outputs * inputs, 1)
                        images = (first, 1, width * channels * IMAGES, channels * IMAGES, IMAGES)
                        n = (rows, columns, inputs)
                        if few == 4:
                            tile_above(
                                4,
                                4,
                                z,
                                target,
                                b,
                                start,
                                w,
                                weights,
                                x,
                                images,
                                n,
                                more,
                                plus,
                                floor,
                            )
                        elif few == 6:
                            tile_above(
                                6,
                                4,
                                z,
                                target,
                                b,
                                start,
                                w,
                                weights,
                                x,
                                images,
                                n,
                                more,
                                plus,
                                floor,
                            )
                        elif few == 2:
                            tile_above(
                                2,
                                4,
                                z,
                                target,
                                b,
                                start,
                                w,
                                weights,
                                x,
                                images,
                                n,
                                more,
                                plus,
                                floor,
                            )
                        else:
                            tile_above(
                                1,
                                4,
                                z,
                                target,
                                b,
                                start,
                                w,
                                weights,
                                x,
                                images,
                                n,
                                more,
                                plus,
                                floor,
                            )
            o += few


@compiled
def convolve_pooled(
    x: Any,
    at: int,
    w: Any,
    w_at: int,
    b: Any,
    b_at: int,
    floor: Any,
    z: Any,
    z_at: int,
    blocks: int,
    g: Any,
    side: int,
    window: Any,
) -> None:
    """z = max(the largest of w * x + b in windows of ``side`` x ``side`` places, floor): what is
    pooled does not leave the first cache. Windows do not overlap; places that fill none are left
    out. NaN wins. ``window``: room for ``side ** 2 * 6 * IMAGES`` vectors."""
    height, width, channels, height_out, width_out, channels_out, ky, kx, stride, pad, groups = g
    inputs, outputs = channels // groups, channels_out // groups
    high, wide = height_out // side, width_out // side
    lowest = load(floor, 0)
    for group in range(groups):
        o = 0
        while o < outputs:
            few = _few(outputs - o)
            start = (b_at + group * outputs + o, 1, 0)
            for block in range(blocks):
                for py in range(high):
                    for px in range(wide):
                        for place in range(side * side):
                            oy, ox = py * side + place // side, px * side + place % side
                            top = max(0, pad - oy * stride)
                            rows = min(ky, height + pad - oy * stride) - top
                            y = oy * stride - pad + top
                            left = max(0, pad - ox * stride)
                            columns = min(kx, width + pad - ox * stride) - left
                            seen = (block * height + y) * width + ox * stride - pad + left
                            first = at + (seen * channels + group * inputs) * IMAGES
                            tap = (group * ky + top) * kx + left
                            taps = w_at + (tap * outputs + o) * inputs
                            target = (place * few * IMAGES, IMAGES, 1)
                            weights = (taps, inputs, kx * outputs * inputs, outputs * inputs, 1)
                            images = (
                                first,
                                1,
                                width * channels * IMAGES,
                                channels * IMAGES,
                                IMAGES,
                            )
                            n = (rows, columns, inputs)
                            if few == 4:
                                tile(4, 4, window, target, b, start, w, weights, x, images, n)
                            elif few == 6:
                                tile(6, 4, window, target, b, start, w, weights, x, images, n)
                            elif few == 2:
                                tile(2, 4, window, target, b, start, w, weights, x, images, n)
                            else:
                                tile(1, 4, window, target, b, start, w, weights, x, images, n)
                        to = ((block * high + py) * wide + px) * channels_out
                        to = z_at + (to + group * outputs + o) * IMAGES
                        for i in range(few * IMAGES):
                            best = load(window, i)
                            for place in range(1, side * side):
                                value = load(window, place * few * IMAGES + i)
                                best = where_above(
                                    value, best, value, where_equal(value, value, best, value)
                                )
                            store(z, to + i, where_below(best, lowest, lowest, best))
            o += few


@compiled
def spread(x: Any, z: Any, z_at: int, at: int, count: int) -> None:
    """z = numbers that all networks share, in every lane."""
    for i in range(count):
        store(z, z_at + i, every_lane(z, x[at + i, 0]))


@compiled
def thin(x: Any, at: int, z: Any, z_at: int, blocks: int, g: Any) -> None:
    """z = every ``stride``-th row and column of x."""
    height, width, channels, height_out, width_out, stride = g
    row = channels * IMAGES
    for block in range(blocks):
        for oy in range(height_out):
            for ox in range(width_out):
                seen = at + ((block * height + oy * stride) * width + ox * stride) * row
                to = z_at + ((block * height_out + oy) * width_out + ox) * row
                for i in range(row):
                    store(z, to + i, load(x, seen + i))


@compiled
def widen(
    x: Any, at: int, channels: int, z: Any, z_at: int, channels_out: int, first: int, positions: int
) -> None:
    """z = x with channels of zeros around, ``first`` of them before."""
    zero = every_lane(z, z.dtype.type(0))
    for position in range(positions):
        of_x = at + position * channels * IMAGES
        of_z = z_at + position * channels_out * IMAGES
        for i in range(channels_out * IMAGES):
            store(z, of_z + i, zero)
        for i in range(channels * IMAGES):
            store(z, of_z + first * IMAGES + i, load(x, of_x + i))


@compiled
def convolve_threes(
    x: Any,
    at: int,
    u: Any,
    u_at: int,
    b: Any,
    more: Any,
    more_at: int,
    zero: Any,
    floor: Any,
    z: Any,
    z_at: int,
    blocks: int,
    g: Any,
    strip: int,
    v: Any,
    m: Any,
) -> None:
    """``convolve`` of 3 x 3 kernels of stride 1 and padding 1 to a multiple of 4 channels, with
    half of the products: F(4, 3) of Winograd 1980 (Lavin, Gray 2016) along rows, points 0, 1, -1,
    2, -2 and infinity. Four neighbours of a row are made of six products of transformed numbers;
    the rows of the kernel are summed before they are transformed back.

    Args:
        u: transformed weights ``[6][3][out][in]`` (``zoo.training.lanes.evaluation``).
        zero: a vector of zeros.
        strip: rows that are made at a time.
        v: room for ``2 * (strip + 2) * ceil(width / 4) * channels * IMAGES`` vectors.
        m: room for ``8 * IMAGES`` vectors.
    """
    height, width, inputs, outputs = g
    tiles = (width + 3) // 4
    added = more_at >= 0
    none, lowest = load(zero, 0), load(floor, 0)
    four, five = every_lane(x, x.dtype.type(4)), every_lane(x, x.dtype.type(5))
    two, eight = every_lane(x, x.dtype.type(2)), every_lane(x, x.dtype.type(8))
    in_row = tiles * inputs * IMAGES
    half = (strip + 2) * in_row
    per_row = outputs * inputs
    for block in range(blocks):
        for start in range(0, height, strip):
            end = min(height, start + strip)
            low, high = max(0, start - 1), min(height, end + 1)
            for phase in range(3):
                for y in range(low, high):
                    for t in range(tiles):
                        first, rest = 4 * t - 1, width - 4 * t  # rest: columns from 4 t on
                        seen = at + ((block * height + y) * width + first) * inputs * IMAGES
                        to = (y - low) * in_row + t * inputs * IMAGES
                        step = inputs * IMAGES
                        for i in range(inputs * IMAGES):
                            x1 = load(x, seen + step + i)
                            x2 = x3 = x4 = none
                            if rest > 1:
                                x2 = load(x, seen + 2 * step + i)
                            if rest > 2:
                                x3 = load(x, seen + 3 * step + i)
                            if rest > 3:
                                x4 = load(x, seen + 4 * step + i)
                            if phase == 0:
                                x0 = x5 = none
                                if first >= 0:
                                    x0 = load(x, seen + i)
                                if rest > 4:
                                    x5 = load(x, seen + 5 * step + i)
                                store(v, to + i, four * x0 - five * x2 + x4)
                                store(v, half + to + i, four * x1 - five * x3 + x5)
                            elif phase == 1:
                                even, odd = x4 - four * x2, x3 - four * x1
                                store(v, to + i, even + odd)
                                store(v, half + to + i, even - odd)
                            else:
                                even, odd = x4 - x2, two * (x3 - x1)
                                store(v, to + i, even + odd)
                                store(v, half + to + i, even - odd)
                one, other = (0, 5) if phase == 0 else (2 * phase - 1, 2 * phase)
                for o in range(0, outputs, 4):
                    for y in range(start, end):
                        top = max(0, 1 - y)
                        rows = min(3, height + 1 - y) - top
                        row = (y - 1 + top - low) * in_row
                        counts = (rows, 1, inputs)
                        for t in range(tiles):
                            of_v = row + t * inputs * IMAGES
                            of_u = u_at + ((one * 3 + top) * outputs + o) * inputs
                            left = (of_u, inputs, per_row, 0, 1)
                            right = (of_v, 1, in_row, 0, IMAGES)
                            begin = (0, 0, 0)
                            target = (0, IMAGES, 1)
                            tile(4, 4, m, target, zero, begin, u, left, v, right, counts)
                            of_u = u_at + ((other * 3 + top) * outputs + o) * inputs
                            left = (of_u, inputs, per_row, 0, 1)
                            right = (half + of_v, 1, in_row, 0, IMAGES)
                            target = (4 * IMAGES, IMAGES, 1)
                            tile(4, 4, m, target, zero, begin, u, left, v, right, counts)
                            place = ((block * height + y) * width + 4 * t) * outputs + o
                            there = min(4, width - 4 * t)
                            step = outputs * IMAGES
                            for i in range(4 * IMAGES):
                                to = place * IMAGES + i
                                m0, m1 = load(m, i), load(m, 4 * IMAGES + i)
                                if phase == 0:
                                    bias = load(b, o + i // IMAGES)
                                    for c in range(there):
                                        value = bias
                                        if added:
                                            value = value + load(more, more_at + to + c * step)
                                        if c == 0:
                                            value = value + m0
                                        elif c == 3:
                                            value = value + m1
                                        store(z, z_at + to + c * step, value)
                                else:
                                    even, odd = m0 + m1, m0 - m1
                                    z_to = z_at + to
                                    a0, a1, a2, a3 = even, odd, even, odd
                                    if phase == 2:
                                        a1, a2, a3 = two * odd, four * even, eight * odd
                                    a0 = load(z, z_to) + a0
                                    if phase == 2:
                                        a0 = where_below(a0, lowest, lowest, a0)
                                    store(z, z_to, a0)
                                    if there > 1:
                                        a1 = load(z, z_to + step) + a1
                                        if phase == 2:
                                            a1 = where_below(a1, lowest, lowest, a1)
                                        store(z, z_to + step, a1)
                                    if there > 2:
                                        a2 = load(z, z_to + 2 * step) + a2
                                        if phase == 2:
                                            a2 = where_below(a2, lowest, lowest, a2)
                                        store(z, z_to + 2 * step, a2)
                                    if there > 3:
                                        a3 = load(z, z_to + 3 * step) + a3
                                        if phase == 2:
                                            a3 = where_below(a3, lowest, lowest, a3)
                                        store(z, z_to + 3 * step, a3)
