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
    over_neighbours,
    root,
    store,
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
    "add_up",
    "average_pool",
    "average_pool_back",
    "copy_channels",
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
]

IMAGES = 4
"""Images of a block: with 4 channels they make 16 sums, which hide the latency of an addition and
leave registers free."""
ACTIVATIONS = {"none": 0, "relu": 1, "relu6": 2, "silu": 3, "sigmoid": 4}


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
def _in_quarters(g: Any) -> Any:
    """Whether a pool's windows are 2 x 2, side by side, and whole."""
    height, width, _, height_out, width_out, _, ky, kx, stride, pad, _ = g
    whole = 2 * height_out <= height and 2 * width_out <= width
    return ky == 2 and kx == 2 and stride == 2 and pad == 0 and whole


@compiled
def _upper(pair: int, g: Any) -> Any:
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
    of: Any,
    smoothing: float,
    dz: Any,
    losses: Any,
    hits: Any,
) -> None:
    """Mean over the images of weight x cross-entropy, for each lane, and its gradient.

    Args:
        z, dz: logits and their gradient, ``[block][class][image]`` of vectors.
        labels, weights: ``[image][lane]``; of them the first ``counts`` of each lane count.
        of: ``[lane]``, images of the batch that the lane's are a part of.
        losses, hits: ``[lane]``, ``[lane, 2]``; what is found is put and added: the lane's part of
            the mean; top-1 and top-5 hits, ties to the lowest class, a row with a logit that is not
            finite a miss.
    """
    images, lanes = labels.shape
    floor = smoothing / classes
    for lane in range(lanes):
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
            weight = weights[n, lane] / of[lane]
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
def add_up(dw: Any, each: int, count: int) -> None:
    """dw = in each lane the sum of the ``each`` lanes of its network."""
    for i in range(count):
        value = load(dw, i)
        if each == 2:
            value = over_neighbours(value, 2)
        elif each == 4:
            value = over_neighbours(value, 4)
        elif each == 8:
            value = over_neighbours(value, 8)
        elif each == 16:
            value = over_neighbours(value, 16)
        store(dw, i, value)


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
