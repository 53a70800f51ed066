"""What networks are made of, for ``LANES`` networks at once: forward and backward of each primitive
operation, loss, optimisers.

A value (the activations of one place in the networks) lies as ``[block][y][x][channel][image]`` of
vectors, ``IMAGES`` images to a block, a vector holding the same number of every network. So nothing
is packed or transposed, every product is one instruction for all networks, and a picture's edge
costs no padding: a tap that falls outside is not taken. All images of a block take part; those past
a network's batch are given no gradient and no share in statistics.

Places are counted in vectors. ``at``: where the first of ``blocks`` blocks lies in its array. A
geometry is ``(height, width, channels, height out, width out, channels out, kernel height, kernel
width, stride, padding, groups)``. ``add``: add to what is in the target instead of replacing it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.training.lanes.vectors import (
    LANES,
    compiled,
    every_lane,
    exponential,
    load,
    of_bytes,
    root,
    store,
    tile,
    where_above,
    where_above_or_nan,
    where_below,
    where_equal,
    widened,
)

__all__ = [
    "ACTIVATIONS",
    "IMAGES",
    "activate",
    "activate_back",
    "adam",
    "add",
    "average_pool",
    "average_pool_back",
    "convolve",
    "convolve_back",
    "convolve_weights",
    "copy_channels",
    "depthwise",
    "depthwise_back",
    "depthwise_weights",
    "gate",
    "gate_back",
    "loss",
    "max_pool",
    "max_pool_back",
    "normalise",
    "normalise_back",
    "normalise_sums",
    "pictures",
    "sgd",
    "statistics",
    "sum_images",
]

IMAGES = 4
"""Images of a block: with 4 channels they make 16 sums, which hide the latency of an addition and
leave registers free."""
_KEPT = 384
"""Vectors that are taken to stay in the first-level cache: half of 48 KiB of float32."""
ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2, "silu": 3, "sigmoid": 4}


# ---------------------------------------------------------------- convolution, dense layers


@compiled
def _few(rest: int) -> int:
    """How many of the channels that are left go into the next tile: 6 where what is left after
    them goes into tiles of 4 and 6 too."""
    if rest == 6 or rest >= 10:
        return 6
    return 4 if rest >= 4 else 2 if rest >= 2 else 1


@compiled
def _taps_at_once(weights: int, taps: int) -> int:
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
            few = _few(outputs - o)
            bias = biased * (b_at + group * outputs + o)
            most = _taps_at_once(kx * few * inputs, ky)
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
            few = _few(inputs - i)
            most = _taps_at_once(-(-kx // stride) * few * outputs, taps_y)
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
        few = 8 if inputs in (1, 3) and rest >= 8 else 4 if rest == 8 else _few(rest)
        upstream = (z_at + o * IMAGES, IMAGES, of_z[0], of_z[1], 1)
        i = 0
        while i < inputs:
            own = 6 if few == 4 and _few(inputs - i) == 6 else min(4, inputs - i)
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


# ---------------------------------------------------------------- activation


@compiled
def _sigmoid(value: Any, one: Any) -> Any:
    zero = one - one
    return one / (one + exponential(zero - value))


@compiled
def _activated(value: Any, kind: int, zero: Any, one: Any, six: Any) -> Any:
    """NaN stays NaN, as in torch: it is how a divergence is seen."""
    if kind == 1:
        return where_below(value, zero, zero, value)
    if kind == 2:
        return where_above(
            where_below(value, zero, zero, value), six, six, where_below(value, zero, zero, value)
        )
    if kind == 3:
        return value * _sigmoid(value, one)
    if kind == 4:
        return _sigmoid(value, one)
    return value


@compiled
def _sloped(gradient: Any, value: Any, kind: int, zero: Any, one: Any, six: Any) -> Any:
    """A gradient times the slope of the activation at ``value``."""
    if kind == 1:
        return where_above_or_nan(value, zero, gradient, zero)
    if kind == 2:
        return where_above_or_nan(value, zero, where_below(value, six, gradient, zero), zero)
    if kind == 3:
        gate_ = _sigmoid(value, one)
        return gradient * (gate_ * (one + value * (one - gate_)))
    if kind == 4:
        gate_ = _sigmoid(value, one)
        return gradient * (gate_ * (one - gate_))
    return gradient


@compiled
def activate(x: Any, at: int, kind: int, z: Any, z_at: int, count: int) -> None:
    """z = the activation of ``count`` vectors."""
    zero, one, six = (
        every_lane(x, x.dtype.type(0)),
        every_lane(x, x.dtype.type(1)),
        every_lane(x, x.dtype.type(6)),
    )
    for i in range(count):
        store(z, z_at + i, _activated(load(x, at + i), kind, zero, one, six))


@compiled
def activate_back(
    dz: Any, z_at: int, x: Any, at: int, kind: int, dx: Any, dx_at: int, count: int, add: bool
) -> None:
    """Gradient of the input of ``activate``."""
    zero, one, six = (
        every_lane(x, x.dtype.type(0)),
        every_lane(x, x.dtype.type(1)),
        every_lane(x, x.dtype.type(6)),
    )
    for i in range(count):
        slope = _sloped(load(dz, z_at + i), load(x, at + i), kind, zero, one, six)
        if add:
            slope = slope + load(dx, dx_at + i)
        store(dx, dx_at + i, slope)


# ---------------------------------------------------------------- batch normalisation


@compiled
def statistics(
    z: Any,
    at: int,
    positions: int,
    channels: int,
    blocks: int,
    first: int,
    whole: int,
    there: Any,
    share: Any,
    weight: Any,
    per_image: Any,
    mean: Any,
    squares: Any,
) -> None:
    """Merges blocks into the mean and the sum of squared deviations of each channel (float64): each
    block by itself, in two passes, then as Chan, Golub, LeVeque 1983.

    Args:
        first: number of the first of the blocks. Those below ``whole`` hold an image of every
            network in each place.
        there: by image, 1 for the networks whose batch has it, else 0.
        share, weight: by block, with a images before it and b in it: b / (a + b), a b / (a + b).
        per_image: by block, 1 / b.
    """
    for block in range(blocks):
        number = first + block
        of_share, of_weight = load(share, number), load(weight, number)
        of_weight = of_weight * every_lane(weight, float(positions))
        per_value = load(per_image, number) * every_lane(z, z.dtype.type(1.0 / positions))
        for channel in range(channels):
            start = at + (block * positions * channels + channel) * IMAGES
            sum0 = sum1 = sum2 = sum3 = every_lane(z, z.dtype.type(0))
            if number < whole:
                for position in range(positions):
                    place = start + position * channels * IMAGES
                    sum0, sum1 = sum0 + load(z, place), sum1 + load(z, place + 1)
                    sum2, sum3 = sum2 + load(z, place + 2), sum3 + load(z, place + 3)
            else:
                for position in range(positions):
                    for image in range(IMAGES):
                        value = load(z, start + position * channels * IMAGES + image)
                        sum0 = sum0 + value * load(there, number * IMAGES + image)
            own = ((sum0 + sum1) + (sum2 + sum3)) * per_value
            sum0 = sum1 = sum2 = sum3 = every_lane(z, z.dtype.type(0))
            if number < whole:
                for position in range(positions):
                    place = start + position * channels * IMAGES
                    d0, d1 = load(z, place) - own, load(z, place + 1) - own
                    d2, d3 = load(z, place + 2) - own, load(z, place + 3) - own
                    sum0, sum1 = sum0 + d0 * d0, sum1 + d1 * d1
                    sum2, sum3 = sum2 + d2 * d2, sum3 + d3 * d3
            else:
                for position in range(positions):
                    for image in range(IMAGES):
                        d0 = load(z, start + position * channels * IMAGES + image) - own
                        d0 = d0 * load(there, number * IMAGES + image)
                        sum0 = sum0 + d0 * d0
            spread = widened((sum0 + sum1) + (sum2 + sum3))
            difference = widened(own) - load(mean, channel)
            store(mean, channel, load(mean, channel) + difference * of_share)
            between = difference * difference * of_weight
            store(squares, channel, load(squares, channel) + spread + between)


@compiled
def normalise(
    z: Any,
    at: int,
    scale: Any,
    shift: Any,
    c_at: int,
    kind: int,
    y: Any,
    y_at: int,
    positions: int,
    channels: int,
) -> None:
    """y = activation(z * scale + shift) at ``positions`` places (of all blocks)."""
    zero, one, six = (
        every_lane(z, z.dtype.type(0)),
        every_lane(z, z.dtype.type(1)),
        every_lane(z, z.dtype.type(6)),
    )
    for position in range(positions):
        for channel in range(channels):
            factor, addend = load(scale, c_at + channel), load(shift, c_at + channel)
            place = (position * channels + channel) * IMAGES
            for i in range(place, place + IMAGES):
                store(
                    y, y_at + i, _activated(load(z, at + i) * factor + addend, kind, zero, one, six)
                )


@compiled
def normalise_sums(
    dy: Any,
    dy_at: int,
    z: Any,
    at: int,
    scale: Any,
    shift: Any,
    mean: Any,
    c_at: int,
    kind: int,
    positions: int,
    channels: int,
    sums: Any,
    products: Any,
) -> None:
    """Turns the gradient after the activation into that before it, in place, and adds up (in
    float64, by channel) it and its product with ``z - mean``."""
    zero, one, six = (
        every_lane(z, z.dtype.type(0)),
        every_lane(z, z.dtype.type(1)),
        every_lane(z, z.dtype.type(6)),
    )
    for channel in range(channels):
        factor, addend = load(scale, c_at + channel), load(shift, c_at + channel)
        centre = load(mean, c_at + channel)
        sum0 = sum1 = dot0 = dot1 = zero
        for position in range(positions):
            place = (position * channels + channel) * IMAGES
            for i in range(place, place + IMAGES, 2):
                z0, z1 = load(z, at + i), load(z, at + i + 1)
                d0 = _sloped(load(dy, dy_at + i), z0 * factor + addend, kind, zero, one, six)
                d1 = _sloped(load(dy, dy_at + i + 1), z1 * factor + addend, kind, zero, one, six)
                store(dy, dy_at + i, d0)
                store(dy, dy_at + i + 1, d1)
                sum0, sum1 = sum0 + d0, sum1 + d1
                dot0, dot1 = dot0 + d0 * (z0 - centre), dot1 + d1 * (z1 - centre)
        store(sums, channel, load(sums, channel) + widened(sum0 + sum1))
        store(products, channel, load(products, channel) + widened(dot0 + dot1))


@compiled
def normalise_back(
    dy: Any,
    dy_at: int,
    z: Any,
    at: int,
    mean: Any,
    gain: Any,
    of_value: Any,
    of_one: Any,
    c_at: int,
    dz: Any,
    dz_at: int,
    positions: int,
    channels: int,
    blocks: int,
    first: int,
    whole: int,
    there: Any,
    add: bool,
) -> None:
    """dz = (dy - (z - mean) * of_value - of_one) * gain, and 0 past a batch's end; ``first``,
    ``whole``, ``there`` as in ``statistics``."""
    for block in range(blocks):
        number = first + block
        for position in range(block * positions, (block + 1) * positions):
            for channel in range(channels):
                centre, factor = load(mean, c_at + channel), load(gain, c_at + channel)
                slope, offset = load(of_value, c_at + channel), load(of_one, c_at + channel)
                place = (position * channels + channel) * IMAGES
                for image in range(IMAGES):
                    i = place + image
                    value = load(dy, dy_at + i) - (load(z, at + i) - centre) * slope - offset
                    value = value * factor
                    if number >= whole:
                        value = value * load(there, number * IMAGES + image)
                    if add:
                        value = value + load(dz, dz_at + i)
                    store(dz, dz_at + i, value)


# ---------------------------------------------------------------- pooling


@compiled
def _in_quarters(g: Any) -> bool:
    """Whether a pool's windows are 2 x 2, side by side, and whole."""
    height, width, _, height_out, width_out, _, ky, kx, stride, pad, _ = g
    whole = 2 * height_out <= height and 2 * width_out <= width
    return ky == 2 and kx == 2 and stride == 2 and pad == 0 and whole


@compiled
def _upper(pair: int, g: Any) -> int:
    """The row of a picture, counted over all blocks, that a row of 2 x 2 windows begins in."""
    return pair // g[3] * g[0] + 2 * (pair % g[3])


@compiled
def _larger(best: Any, value: Any) -> Any:
    """The larger of two; NaN if one is."""
    return where_above(value, best, value, where_equal(value, value, best, value))


@compiled
def max_pool(x: Any, at: int, z: Any, z_at: int, blocks: int, g: Any) -> None:
    """The largest of each window; NaN wins, as in torch."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    row = channels * IMAGES
    if _in_quarters(g):
        for pair in range(blocks * height_out):
            upper = at + _upper(pair, g) * width * row
            for ox in range(width_out):
                first, to = upper + 2 * ox * row, z_at + (pair * width_out + ox) * row
                for i in range(row):
                    a, b = load(x, first + i), load(x, first + row + i)
                    below = first + width * row + i
                    c, d = load(x, below), load(x, below + row)
                    store(z, to + i, _larger(_larger(_larger(a, b), c), d))
        return
    for block in range(blocks):
        for oy in range(height_out):
            top, bottom = max(0, oy * stride - pad), min(height, oy * stride - pad + ky)
            for ox in range(width_out):
                left, right = max(0, ox * stride - pad), min(width, ox * stride - pad + kx)
                to = z_at + ((block * height_out + oy) * width_out + ox) * row
                for i in range(row):
                    best = load(x, at + ((block * height + top) * width + left) * row + i)
                    for y in range(top, bottom):
                        for xx in range(left, right):
                            value = load(x, at + ((block * height + y) * width + xx) * row + i)
                            best = _larger(best, value)
                    store(z, to + i, best)


@compiled
def max_pool_back(
    dz: Any, z_at: int, x: Any, at: int, dx: Any, dx_at: int, blocks: int, g: Any, add: bool
) -> None:
    """Gradient of the input of ``max_pool``: to the first of equals, as in torch."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    row = channels * IMAGES
    zero, one = every_lane(x, x.dtype.type(0)), every_lane(x, x.dtype.type(1))
    if _in_quarters(g) and not add and 2 * height_out == height and 2 * width_out == width:
        for pair in range(blocks * height_out):
            upper = 2 * pair * width * row
            for ox in range(width_out):
                first, of_z = upper + 2 * ox * row, z_at + (pair * width_out + ox) * row
                for i in range(row):
                    gradient = load(dz, of_z + i)
                    place = first + i
                    below = place + width * row
                    a, b = load(x, at + place), load(x, at + place + row)
                    c, d = load(x, at + below), load(x, at + below + row)
                    best = where_above(b, a, b, a)
                    best = where_above(c, best, c, best)
                    best = where_above(d, best, d, best)
                    left = gradient
                    for j, value in ((place, a), (place + row, b), (below, c), (below + row, d)):
                        share = where_equal(value, best, left, zero)
                        left = where_equal(value, best, zero, left)
                        store(dx, dx_at + j, share)
        return
    for block in range(blocks):
        if not add:
            for i in range(height * width * row):
                store(dx, dx_at + block * height * width * row + i, zero)
        for oy in range(height_out):
            top, bottom = max(0, oy * stride - pad), min(height, oy * stride - pad + ky)
            for ox in range(width_out):
                left, right = max(0, ox * stride - pad), min(width, ox * stride - pad + kx)
                of_z = z_at + ((block * height_out + oy) * width_out + ox) * row
                for i in range(row):
                    gradient = load(dz, of_z + i)
                    best = load(x, at + ((block * height + top) * width + left) * row + i)
                    for y in range(top, bottom):
                        for xx in range(left, right):
                            value = load(x, at + ((block * height + y) * width + xx) * row + i)
                            best = where_above(value, best, value, best)
                    open_ = one
                    for y in range(top, bottom):
                        for xx in range(left, right):
                            place = ((block * height + y) * width + xx) * row + i
                            here = where_equal(load(x, at + place), best, open_, zero)
                            open_ = open_ - here
                            share = load(dx, dx_at + place) + gradient * here
                            store(dx, dx_at + place, share)


@compiled
def average_pool(x: Any, at: int, z: Any, z_at: int, blocks: int, g: Any, padded: bool) -> None:
    """The mean of each window; ``padded``: padding counts as zeros (of a window that hangs over the
    padded picture, what hangs over does not count)."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    row = channels * IMAGES
    for block in range(blocks):
        for oy in range(height_out):
            top, bottom = max(0, oy * stride - pad), min(height, oy * stride - pad + ky)
            rows = min(oy * stride - pad + ky, height + pad) - (oy * stride - pad)
            for ox in range(width_out):
                left, right = max(0, ox * stride - pad), min(width, ox * stride - pad + kx)
                columns = min(ox * stride - pad + kx, width + pad) - (ox * stride - pad)
                count = rows * columns if padded else (bottom - top) * (right - left)
                share = every_lane(x, x.dtype.type(1.0 / count))
                to = z_at + ((block * height_out + oy) * width_out + ox) * row
                for i in range(row):
                    total = every_lane(x, x.dtype.type(0))
                    for y in range(top, bottom):
                        for xx in range(left, right):
                            total = total + load(
                                x, at + ((block * height + y) * width + xx) * row + i
                            )
                    store(z, to + i, total * share)


@compiled
def average_pool_back(
    dz: Any, z_at: int, dx: Any, dx_at: int, blocks: int, g: Any, padded: bool, add: bool
) -> None:
    """Gradient of the input of ``average_pool``."""
    height, width, channels, height_out, width_out, _, ky, kx, stride, pad, _ = g
    row = channels * IMAGES
    for block in range(blocks):
        if not add:
            for i in range(height * width * row):
                store(
                    dx, dx_at + block * height * width * row + i, every_lane(dz, dz.dtype.type(0))
                )
        for oy in range(height_out):
            top, bottom = max(0, oy * stride - pad), min(height, oy * stride - pad + ky)
            rows = min(oy * stride - pad + ky, height + pad) - (oy * stride - pad)
            for ox in range(width_out):
                left, right = max(0, ox * stride - pad), min(width, ox * stride - pad + kx)
                columns = min(ox * stride - pad + kx, width + pad) - (ox * stride - pad)
                count = rows * columns if padded else (bottom - top) * (right - left)
                share = every_lane(dz, dz.dtype.type(1.0 / count))
                of_z = z_at + ((block * height_out + oy) * width_out + ox) * row
                for i in range(row):
                    part = load(dz, of_z + i) * share
                    for y in range(top, bottom):
                        for xx in range(left, right):
                            place = dx_at + ((block * height + y) * width + xx) * row + i
                            store(dx, place, load(dx, place) + part)


# ---------------------------------------------------------------- joining and scaling values


@compiled
def add(x: Any, at: int, z: Any, z_at: int, count: int) -> None:
    """z += x."""
    for i in range(count):
        store(z, z_at + i, load(z, z_at + i) + load(x, at + i))


@compiled
def copy_channels(
    x: Any,
    at: int,
    channels: int,
    first: int,
    z: Any,
    z_at: int,
    channels_out: int,
    first_out: int,
    count: int,
    positions: int,
    add: bool,
) -> None:
    """``count`` channels from ``first`` on, put (or added) where ``first_out`` begins."""
    for position in range(positions):
        of_x = at + (position * channels + first) * IMAGES
        of_z = z_at + (position * channels_out + first_out) * IMAGES
        if add:
            for i in range(count * IMAGES):
                store(z, of_z + i, load(z, of_z + i) + load(x, of_x + i))
        else:
            for i in range(count * IMAGES):
                store(z, of_z + i, load(x, of_x + i))


@compiled
def gate(
    x: Any,
    at: int,
    s: Any,
    s_at: int,
    z: Any,
    z_at: int,
    positions: int,
    channels: int,
    blocks: int,
) -> None:
    """z = x times one number per channel and image."""
    row = channels * IMAGES
    for block in range(blocks):
        for position in range(positions):
            start = (block * positions + position) * row
            for i in range(row):
                store(
                    z, z_at + start + i, load(x, at + start + i) * load(s, s_at + block * row + i)
                )


@compiled
def gate_back(
    dz: Any,
    z_at: int,
    x: Any,
    at: int,
    s: Any,
    s_at: int,
    dx: Any,
    dx_at: int,
    add_x: bool,
    ds: Any,
    ds_at: int,
    add_s: bool,
    positions: int,
    channels: int,
    blocks: int,
) -> None:
    """Gradients of both inputs of ``gate``."""
    row = channels * IMAGES
    for block in range(blocks):
        for i in range(row):
            scale = load(s, s_at + block * row + i)
            total = every_lane(dz, dz.dtype.type(0))
            for position in range(positions):
                place = (block * positions + position) * row + i
                gradient = load(dz, z_at + place)
                total = total + gradient * load(x, at + place)
                own = gradient * scale
                if add_x:
                    own = own + load(dx, dx_at + place)
                store(dx, dx_at + place, own)
            if add_s:
                total = total + load(ds, ds_at + block * row + i)
            store(ds, ds_at + block * row + i, total)


# ---------------------------------------------------------------- pictures in, loss out


@compiled
def pictures(raw: Any, x: Any, mean: Any, scale: Any) -> None:
    """x = (raw - mean) * scale by channel, from uint8 ``[network][image][y * x][channel]``; mean
    and scale ``[channel]`` of vectors. Images past the end are 0."""
    _, images, positions, channels = raw.shape
    numbers, step = raw.reshape(-1), images * positions * channels
    nothing = every_lane(x, x.dtype.type(0))
    for block in range(-(-images // IMAGES)):
        for position in range(positions):
            for channel in range(channels):
                to = ((block * positions + position) * channels + channel) * IMAGES
                middle, factor = load(mean, channel), load(scale, channel)
                for image in range(IMAGES):
                    n = block * IMAGES + image
                    if n < images:
                        place = (n * positions + position) * channels + channel
                        value = (of_bytes(x, numbers, place, step) - middle) * factor
                        store(x, to + image, value)
                    else:
                        store(x, to + image, nothing)


@compiled
def loss(
    z: Any,
    classes: int,
    labels: Any,
    weights: Any,
    counts: Any,
    smoothing: float,
    dz: Any,
    losses: Any,
    hits: Any,
) -> None:
    """Mean over the images of weight x cross-entropy, for each network, and its gradient.

    Args:
        z, dz: logits and their gradient, ``[block][class][image]`` of vectors.
        labels, weights: ``[image][network]``; of them the first ``counts`` of each network count.
        losses, hits: ``[network]``, ``[network, 2]``; what is found is put and added: top-1 and
            top-5 hits, ties to the lowest class, a row with a logit that is not finite a miss.
    """
    images, networks = labels.shape
    floor = smoothing / classes
    for lane in range(networks):
        total = 0.0
        count = counts[lane]
        for n in range(count):
            block, image = n // IMAGES, n % IMAGES
            start = (block * classes * IMAGES + image) * LANES + lane
            step = IMAGES * LANES
            label = labels[n, lane]
            own = z[start + label * step]
            top, before, finite = own, 0, True
            for c in range(classes):
                value = z[start + c * step]
                finite = finite and np.isfinite(value)
                top = max(top, value)
                if value > own or (value == own and c < label):
                    before += 1
            if finite and before < 5:
                hits[lane, 1] += 1
                if before == 0:
                    hits[lane, 0] += 1
            powers = 0.0
            beyond = 0.0
            for c in range(classes):
                value = z[start + c * step] - top
                powers += np.exp(value)
                beyond += value
            log_powers = np.log(powers)
            weight = weights[n, lane] / count
            cost = log_powers - (own - top)
            if smoothing > 0:
                cost = (1 - smoothing) * cost + floor * (classes * log_powers - beyond)
            total += weight * cost
            for c in range(classes):
                p = np.exp(z[start + c * step] - top) / powers
                target = floor + (1 - smoothing if c == label else 0.0)
                dz[start + c * step] = weight * (p - target)
        losses[lane] = total
        for n in range(count, -(-images // IMAGES) * IMAGES):
            block, image = n // IMAGES, n % IMAGES
            for c in range(classes):
                dz[((block * classes + c) * IMAGES + image) * LANES + lane] = 0


# ---------------------------------------------------------------- optimisers


@compiled
def sgd(w: Any, dw: Any, v: Any, rate: Any, momentum: float, decay: float, count: int) -> None:
    """v = momentum v + (dw + decay w); w -= rate v. ``rate``: a vector."""
    m, d, rates = (
        every_lane(w, w.dtype.type(momentum)),
        every_lane(w, w.dtype.type(decay)),
        load(rate, 0),
    )
    for i in range(count):
        weight = load(w, i)
        velocity = m * load(v, i) + (load(dw, i) + d * weight)
        store(v, i, velocity)
        store(w, i, weight - rates * velocity)


@compiled
def adam(
    w: Any,
    dw: Any,
    m: Any,
    v: Any,
    rate: Any,
    step: Any,
    second: Any,
    decay: float,
    apart: bool,
    count: int,
) -> None:
    """Adam (Kingma, Ba 2015) and AdamW (``apart``: the weights shrink beside the gradient;
    Loshchilov, Hutter 2019), betas 0.9 and 0.999, epsilon 1e-8, as torch's. ``rate``, ``step``,
    ``second``: vectors of the learning rate, the same over 1 - 0.9**t, the root of 1 - 0.999**t."""
    one = every_lane(w, w.dtype.type(1))
    beta, gamma = every_lane(w, w.dtype.type(0.1)), every_lane(w, w.dtype.type(0.001))
    keep = every_lane(w, w.dtype.type(0.999))
    epsilon, d = every_lane(w, w.dtype.type(1e-8)), every_lane(w, w.dtype.type(decay))
    rates, roots = load(rate, 0), load(second, 0)
    steps, shrunk = load(step, 0), one - rates * d
    for i in range(count):
        weight, gradient = load(w, i), load(dw, i)
        if apart:
            weight = weight * shrunk
        else:
            gradient = gradient + d * weight
        mean = load(m, i)
        mean = mean + beta * (gradient - mean)
        square = keep * load(v, i) + gamma * (gradient * gradient)
        store(m, i, mean)
        store(v, i, square)
        store(w, i, weight - steps * mean / (root(square) / roots + epsilon))
