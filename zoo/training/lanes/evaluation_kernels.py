"""What networks in evaluation mode are made of beside ``kernels``: convolutions with what follows
them, for many networks on the same pictures.

Values lie as there. Pictures, which all networks share, are numbers in the same order, an array
[places, 1]. A network's result does not depend on its lane or on the networks beside it.
"""

from __future__ import annotations

from typing import Any

from zoo.training.lanes.convolutions import few_channels, taps_at_once
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

__all__ = ["convolve", "convolve_pooled", "convolve_threes", "dense", "spread", "thin", "widen"]


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
            few = few_channels(outputs - o)
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
def dense(
    x: Any,
    at: int,
    w: Any,
    w_at: int,
    b: Any,
    zero: Any,
    floor: Any,
    z: Any,
    z_at: int,
    blocks: int,
    g: Any,
) -> None:
    """``convolve`` of a kernel that is the whole picture, row after row of it: what a row's weights
    are multiplied with for all blocks stays in the first cache. ``zero``: a vector of zeros."""
    height, width, inputs, outputs = g
    row, step = width * inputs * IMAGES, outputs * inputs
    o = 0
    while o < outputs:
        few = few_channels(outputs - o)
        for y in range(height):
            taps = w_at + (y * width * outputs + o) * inputs
            weights = (taps, inputs, 0, step, 1)
            for block in range(blocks):
                to = z_at + (block * outputs + o) * IMAGES
                target, begin = (to, IMAGES, 1), (to, IMAGES, 1)
                images = (at + (block * height + y) * row, 1, 0, inputs * IMAGES, IMAGES)
                n = (1, width, inputs)
                if y == 0:
                    for i in range(few * IMAGES):
                        store(z, to + i, load(b, o + i // IMAGES))
                if y < height - 1:
                    if few == 4:
                        tile(4, 4, z, target, z, begin, w, weights, x, images, n)
                    elif few == 6:
                        tile(6, 4, z, target, z, begin, w, weights, x, images, n)
                    elif few == 2:
                        tile(2, 4, z, target, z, begin, w, weights, x, images, n)
                    else:
                        tile(1, 4, z, target, z, begin, w, weights, x, images, n)
                elif few == 4:
                    tile_above(
                        4, 4, z, target, z, begin, w, weights, x, images, n, zero, (0, 0, 0), floor
                    )
                elif few == 6:
                    tile_above(
                        6, 4, z, target, z, begin, w, weights, x, images, n, zero, (0, 0, 0), floor
                    )
                elif few == 2:
                    tile_above(
                        2, 4, z, target, z, begin, w, weights, x, images, n, zero, (0, 0, 0), floor
                    )
                else:
                    tile_above(
                        1, 4, z, target, z, begin, w, weights, x, images, n, zero, (0, 0, 0), floor
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
            few = few_channels(outputs - o)
            bias = (b_at + group * outputs + o, 1, 0)
            most = taps_at_once(kx * few * inputs, ky)
            for block in range(blocks):
                for py in range(high):
                    for px in range(wide):
                        for turn in range(-(-ky // most) * side * side):
                            above, place = turn // (side * side) * most, turn % (side * side)
                            oy, ox = py * side + place // side, px * side + place % side
                            top = max(above, pad - oy * stride)
                            rows = max(0, min(above + most, ky, height + pad - oy * stride) - top)
                            y = oy * stride - pad + top
                            left = max(0, pad - ox * stride)
                            columns = min(kx, width + pad - ox * stride) - left
                            seen = (block * height + y) * width + ox * stride - pad + left
                            first = at + (seen * channels + group * inputs) * IMAGES
                            tap = (group * ky + top) * kx + left
                            taps = w_at + (tap * outputs + o) * inputs
                            target = (place * few * IMAGES, IMAGES, 1)
                            begin, start = (b, bias) if above == 0 else (window, target)
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
                                tile(4, 4, window, target, begin, start, w, weights, x, images, n)
                            elif few == 6:
                                tile(6, 4, window, target, begin, start, w, weights, x, images, n)
                            elif few == 2:
                                tile(2, 4, window, target, begin, start, w, weights, x, images, n)
                            else:
                                tile(1, 4, window, target, begin, start, w, weights, x, images, n)
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
    some: int,
    v: Any,
    m: Any,
) -> None:
    """``convolve`` of 3 x 3 kernels of stride 1 and padding 1 to a multiple of 4 channels, with
    half of the products: F(4, 3) of Winograd 1980 (Lavin, Gray 2016) along rows, points 0, 1, -1,
    2, -2 and infinity. Four neighbours of a row are made of six products of transformed numbers;
    the rows of the kernel are summed before they are transformed back. Loops are in such an order
    that what a tile reads stays in the first cache: of the second, it is read too slowly.

    Args:
        u: transformed weights ``[6][part of the channels][3][out][in]``
            (``zoo.training.lanes.evaluation``).
        zero: a vector of zeros.
        strip: rows that are made at a time.
        some: channels of a part.
        v: room for ``6 * (strip + 2) * ceil(width / 4) * channels * IMAGES`` vectors.
        m: room for ``6 * strip * ceil(width / 4) * outputs * IMAGES`` vectors.
    """
    height, width, inputs, outputs = g
    tiles = (width + 3) // 4
    column = inputs * IMAGES
    in_row = tiles * column
    of_product = (strip + 2) * in_row
    for block in range(blocks):
        for start in range(0, height, strip):
            end = min(height, start + strip)
            low, high = max(0, start - 1), min(height, end + 1)
            first = at + block * height * width * column
            _products(x, first, low, high, width, column, zero, v, of_product)
            for product in range(6):
                for o in range(0, outputs, 4):
                    for part in range(0, inputs, some):
                        source, held = (m, 1) if part else (zero, 0)
                        taps = u_at + product * 3 * outputs * inputs
                        taps += part * 3 * outputs + o * some
                        for t in range(tiles):
                            for y in range(start, end):
                                top = max(0, 1 - y)
                                rows = min(3, height + 1 - y) - top
                                seen = product * of_product + (y - 1 + top - low) * in_row
                                seen += t * column + part * IMAGES
                                to = ((product * outputs + o) * tiles + t * 4) * strip
                                to = (to + (y - start) * 4) * IMAGES
                                tile(
                                    4,
                                    4,
                                    m,
                                    (to, IMAGES, 1),
                                    source,
                                    (held * to, held * IMAGES, held),
                                    u,
                                    (taps + top * outputs * some, some, outputs * some, 0, 1),
                                    v,
                                    (seen, 1, in_row, 0, IMAGES),
                                    (rows, 1, some),
                                )
            each = outputs * tiles * strip * IMAGES
            for o in range(0, outputs, 4):
                for t in range(tiles):
                    for y in range(start, end):
                        place = (((block * height + y) * width + 4 * t) * outputs + o) * IMAGES
                        of_m = ((o * tiles + t * 4) * strip + (y - start) * 4) * IMAGES
                        there = min(4, width - 4 * t)
                        _summed(
                            m,
                            of_m,
                            each,
                            b,
                            o,
                            more,
                            more_at,
                            floor,
                            z,
                            z_at,
                            place,
                            outputs,
                            there,
                        )


@compiled
def _products(
    x: Any,
    at: int,
    low: int,
    high: int,
    width: int,
    column: int,
    zero: Any,
    v: Any,
    of_product: int,
) -> None:
    """Rows ``low`` to ``high`` of a picture as six products take them, ``v[6][row][tile][channel]
    [image]``. ``column``: vectors of a place."""
    none = load(zero, 0)
    two, four = every_lane(x, x.dtype.type(2)), every_lane(x, x.dtype.type(4))
    five = every_lane(x, x.dtype.type(5))
    tiles = (width + 3) // 4
    for y in range(low, high):
        for t in range(tiles):
            rest = width - 4 * t  # columns from the second of the six on
            seen = at + (y * width + 4 * t - 1) * column
            to = ((y - low) * tiles + t) * column
            for i in range(column):
                x0 = x2 = x3 = x4 = x5 = none
                if t > 0:
                    x0 = load(x, seen + i)
                x1 = load(x, seen + column + i)
                if rest > 1:
                    x2 = load(x, seen + 2 * column + i)
                if rest > 2:
                    x3 = load(x, seen + 3 * column + i)
                if rest > 3:
                    x4 = load(x, seen + 4 * column + i)
                if rest > 4:
                    x5 = load(x, seen + 5 * column + i)
                store(v, to + i, four * x0 - five * x2 + x4)
                even, odd = x4 - four * x2, x3 - four * x1
                store(v, of_product + to + i, even + odd)
                store(v, 2 * of_product + to + i, even - odd)
                even, odd = x4 - x2, two * (x3 - x1)
                store(v, 3 * of_product + to + i, even + odd)
                store(v, 4 * of_product + to + i, even - odd)
                store(v, 5 * of_product + to + i, four * x1 - five * x3 + x5)


@compiled
def _summed(
    m: Any,
    at: int,
    each: int,
    b: Any,
    o: int,
    more: Any,
    more_at: int,
    floor: Any,
    z: Any,
    z_at: int,
    place: int,
    outputs: int,
    there: int,
) -> None:
    """``there`` neighbours of a row, of four channels, from six products that lie ``each`` apart;
    with the bias and what is added, and at least ``floor``."""
    lowest, step = load(floor, 0), outputs * IMAGES
    two, four = every_lane(m, m.dtype.type(2)), every_lane(m, m.dtype.type(4))
    eight = every_lane(m, m.dtype.type(8))
    for i in range(4 * IMAGES):
        to, bias = place + i, load(b, o + i // IMAGES)
        m1, m2 = load(m, at + each + i), load(m, at + 2 * each + i)
        m3, m4 = load(m, at + 3 * each + i), load(m, at + 4 * each + i)
        even, odd, even2, odd2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        value = load(m, at + i) + even + even2 + bias
        if more_at >= 0:
            value = value + load(more, more_at + to)
        store(z, z_at + to, where_below(value, lowest, lowest, value))
        if there > 1:
            value = odd + two * odd2 + bias
            if more_at >= 0:
                value = value + load(more, more_at + to + step)
            store(z, z_at + to + step, where_below(value, lowest, lowest, value))
        if there > 2:
            value = even + four * even2 + bias
            if more_at >= 0:
                value = value + load(more, more_at + to + 2 * step)
            store(z, z_at + to + 2 * step, where_below(value, lowest, lowest, value))
        if there > 3:
            value = odd + eight * odd2 + load(m, at + 5 * each + i) + bias
            if more_at >= 0:
                value = value + load(more, more_at + to + 3 * step)
            store(z, z_at + to + 3 * step, where_below(value, lowest, lowest, value))
