"""Softmax regressions on features, and perceptrons of one hidden layer, one after the other, each
of their steps in one pass: rows are gathered into a buffer that stays in the core's cache, and
products, softmax and gradients are made of it. Vectors run along the features; along the rows in
what comes after the first products.

Shape letters: K heads, B examples of a step, D numbers of a feature vector, H hidden units, M
classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.training.lanes.vectors import (
    AVAILABLE,
    LANES,
    allocate,
    compiled,
    every_lane,
    exponential,
    lane_of,
    load,
    over_lanes,
    prefetch,
    store,
    tile,
    where_above,
    where_above_or_nan,
    where_below,
)

__all__ = ["Kernel", "fits"]

_ROWS, _CLASSES = 4, 5
"""Rows (or vectors) and classes whose sums stay in registers: 20, and what they are made of."""
_GROUP = 32
"""Rows that are worked on at a time, a multiple of the lanes: they stay in the second-level cache
from products to gradients, and the rows after them are asked for meanwhile, since features lie in
memory and a batch's all over."""
_PIECE = 5
"""Chunks of rows and weights that stay in the first-level cache for all rows of a group."""


def fits(width: int) -> bool:
    """Whether there is a kernel for features of so many numbers: whole vectors of them."""
    return AVAILABLE and width % LANES == 0


class Kernel:
    """The kernel and what it works on.

    Args:
        batch, width, classes: B, D, M.
        hidden: H; 0 = there is no hidden layer.
        dtype: float32, or float64 for tests.
    """

    def __init__(self, batch: int, width: int, classes: int, hidden: int, dtype: Any) -> None:
        chunks = -(-(width // LANES) // _ROWS)
        first = hidden or classes
        self.batch = batch
        # A chunk's rows one after the other, [chunk][row][vector]; one more, so that chunks do not
        # all begin in the same places of a cache.
        self._rows = allocate(chunks * (_GROUP + 1) * _ROWS, dtype)
        self._weights = allocate(first * chunks * _ROWS, dtype)
        self._gradient = allocate(first * chunks * _ROWS, dtype)
        self._sums = allocate(_GROUP * first, dtype)
        self._nothing = allocate(1, dtype)
        self._delta = allocate(classes * _GROUP // LANES, dtype).reshape(-1, 1)
        across = max(1, hidden) * _GROUP // LANES
        self._units = allocate(across, dtype).reshape(-1, _GROUP)
        self._slopes = allocate(across, dtype).reshape(-1, 1)
        self._hidden = hidden

    def __call__(
        self,
        features: NDArray[Any],
        examples: NDArray[np.int64],
        labels: NDArray[np.int64],
        share: NDArray[Any],
        values: NDArray[Any],
        smoothing: float,
        gradients: NDArray[Any],
        z: NDArray[Any],
        loss: NDArray[Any],
    ) -> None:
        """Logits, losses and gradients of some heads.

        Args:
            features: [E, D]. examples, labels, share: [k, B], as ``HeadStack.step`` takes them.
            values: [k, M * D + M], weights and then biases; with a hidden layer
                [k, H * D + H + M * H + M], those of the first layer first.
            smoothing: of the labels.
            gradients: like values; written, as are z [k, M, B] and loss [k, B].
        """
        _steps(
            features,
            examples,
            labels,
            share,
            values,
            values.dtype.type(smoothing),
            gradients,
            z,
            loss,
            self._rows,
            self._weights,
            self._gradient,
            self._sums,
            self._nothing,
            self._delta,
            self._hidden,
            self._units,
            self._slopes,
        )


@compiled
def _gathered(features: Any, example: int, vectors: int, rows: Any, b: int) -> None:
    """Row b = a feature vector."""
    chunk, whole = (_GROUP + 1) * _ROWS, vectors // _ROWS
    for v in range(whole):
        place, to = example * vectors + v * _ROWS, v * chunk + b * _ROWS
        store(rows, to, load(features, place))
        store(rows, to + 1, load(features, place + 1))
        store(rows, to + 2, load(features, place + 2))
        store(rows, to + 3, load(features, place + 3))
    for v in range(whole * _ROWS, vectors):
        to = whole * chunk + b * _ROWS + v - whole * _ROWS
        store(rows, to, load(features, example * vectors + v))


@compiled
def _logits(rows: Any, vectors: int, weights: Any, z: Any, sums: Any, nothing: Any) -> None:
    """z[c, b] += rows[b] . weights[c]."""
    classes, batch = z.shape
    chunks, step = -(-vectors // _ROWS), (_GROUP + 1) * _ROWS
    for chunk in range(0, chunks, _PIECE):
        end = min(chunk + _PIECE, chunks)
        begin, again = (nothing, 0) if chunk == 0 else (sums, 1)
        b = 0
        while b < batch:
            some = _ROWS if batch - b >= _ROWS else 1
            left = (chunk * step + b * _ROWS, _ROWS, step, 0, 1)
            c = 0
            while c < classes:
                few = _CLASSES if classes - c >= _CLASSES and some == _ROWS else 1
                at = b * classes + c
                place, start = (at, classes, 1), (again * at, again * classes, again)
                right = ((c * chunks + chunk) * _ROWS, chunks * _ROWS, _ROWS, 0, 1)
                counts = (end - chunk, 1, _ROWS)
                if few == _CLASSES:
                    tile(4, 5, sums, place, begin, start, rows, left, weights, right, counts)
                elif some == _ROWS:
                    tile(4, 1, sums, place, begin, start, rows, left, weights, right, counts)
                else:
                    tile(1, 1, sums, place, begin, start, rows, left, weights, right, counts)
                c += few
            b += some
    for b in range(batch):
        for c in range(classes):
            z[c, b] += over_lanes(load(sums, b * classes + c))


@compiled
def _gradients(
    features: Any,
    ahead: Any,
    rows: Any,
    delta: Any,
    vectors: int,
    classes: int,
    batch: int,
    gradient: Any,
) -> None:
    """gradient[c] += sum over b of delta[c, b] rows[b]. ``ahead``: examples whose features are
    needed next; they are asked for a few at a time, since many at once have to wait."""
    chunks = -(-vectors // _ROWS)
    for chunk in range(chunks):
        c = 0
        while c < classes:
            few = _CLASSES if classes - c >= _CLASSES else 1
            for n in range(len(ahead) * c // classes, len(ahead) * (c + few) // classes):
                for v in range(chunk * _ROWS, min((chunk + 1) * _ROWS, vectors)):
                    prefetch(features, ahead[n] * vectors + v)
            place = ((c * chunks + chunk) * _ROWS, 1, chunks * _ROWS)
            left = (chunk * (_GROUP + 1) * _ROWS, 1, 0, 0, _ROWS)
            right, counts = (c * _GROUP, _GROUP, 0, 0, 1), (1, 1, batch)
            if few == _CLASSES:
                tile(4, 5, gradient, place, gradient, place, rows, left, delta, right, counts)
            else:
                tile(4, 1, gradient, place, gradient, place, rows, left, delta, right, counts)
            c += few


@compiled
def _softmax(z: Any, labels: Any, share: Any, smoothing: Any, delta: Any, loss: Any) -> None:
    """From logits [M, b]: losses [b], and what they change by with each logit times the share,
    [M, _GROUP]."""
    classes, batch = z.shape
    across = _GROUP // LANES
    flat = delta.reshape(-1)
    for c in range(classes):
        flat[c * _GROUP : c * _GROUP + batch] = z[c]
    less = every_lane(flat, flat.dtype.type(smoothing / classes))
    for v in range(across):
        highest = load(flat, v)
        for c in range(1, classes):
            value = load(flat, c * across + v)
            highest = where_above(value, highest, value, highest)
        total = mean = highest - highest
        for c in range(classes):
            shifted = load(flat, c * across + v) - highest
            mean = mean + shifted
            # what is not finite stays so, and names the step
            power = exponential(shifted)
            total = total + power
            store(flat, c * across + v, power)
        for lane in range(min(LANES, batch - v * LANES)):
            b = v * LANES + lane
            own = z[labels[b], b] - lane_of(highest, lane)
            if smoothing:
                own = (1 - smoothing) * own + smoothing * (lane_of(mean, lane) / classes)
            loss[b] = np.log(lane_of(total, lane)) - own
        for c in range(classes):
            store(flat, c * across + v, load(flat, c * across + v) / total - less)
    for b in range(batch):
        delta[labels[b] * _GROUP + b, 0] += smoothing - 1
    for c in range(classes):
        for b in range(batch):
            delta[c * _GROUP + b, 0] *= share[b]


@compiled
def _forward_of_units(units: Any, values: Any, at: int, z: Any) -> None:
    """units = ReLU, [H, _GROUP]; z[c] += the sum over h of weight[c, h] units[h], weights [M, H]
    from ``at`` on. NaN stays NaN."""
    classes, batch = z.shape
    hidden, across = len(units), _GROUP // LANES
    flat = units.reshape(-1)
    zero = every_lane(flat, flat.dtype.type(0))
    for i in range(hidden * across):
        value = load(flat, i)
        store(flat, i, where_below(value, zero, zero, value))
    for c in range(classes):
        for v in range(across):
            total = zero
            for h in range(hidden):
                total = total + every_lane(flat, values[at + c * hidden + h]) * load(
                    flat, h * across + v
                )
            for lane in range(min(LANES, batch - v * LANES)):
                z[c, v * LANES + lane] += lane_of(total, lane)


@compiled
def _back_to_units(
    units: Any, values: Any, at: int, delta: Any, batch: int, gradients: Any, slopes: Any
) -> None:
    """From delta [M, _GROUP] of a group's logits: gradients of the weights [M, H] from ``at`` on
    are added up, slopes [H, _GROUP] are what the loss changes by with each unit before its ReLU."""
    hidden, across = len(units), _GROUP // LANES
    classes = len(delta) // _GROUP
    of_units, of_logits, of_slopes = units.reshape(-1), delta.reshape(-1), slopes.reshape(-1)
    zero = every_lane(of_units, of_units.dtype.type(0))
    for c in range(classes):
        for b in range(batch, _GROUP):
            of_logits[c * _GROUP + b] = 0
    for h in range(hidden):
        for v in range(across):
            total, unit = zero, load(of_units, h * across + v)
            for c in range(classes):
                total = total + every_lane(of_units, values[at + c * hidden + h]) * load(
                    of_logits, c * across + v
                )
            store(of_slopes, h * across + v, where_above_or_nan(unit, zero, total, zero))
        for c in range(classes):
            total = zero
            for v in range(across):
                total = total + load(of_logits, c * across + v) * load(of_units, h * across + v)
            gradients[at + c * hidden + h] += over_lanes(total)


@compiled
def _steps(
    features: Any,
    examples: Any,
    labels: Any,
    share: Any,
    values: Any,
    smoothing: Any,
    gradients: Any,
    z: Any,
    loss: Any,
    rows: Any,
    weights: Any,
    gradient: Any,
    sums: Any,
    nothing: Any,
    delta: Any,
    hidden: int,
    units: Any,
    slopes: Any,
) -> None:
    heads, batch = examples.shape
    classes, width = z.shape[1], features.shape[1]
    outputs = hidden if hidden else classes  # of the layer that sees the features
    vectors, room = width // LANES, len(weights) // outputs
    second = hidden * (width + 1)  # where the other layer's weights begin
    numbers = features.reshape(-1)
    for head in range(heads):
        own = z[head]
        gradient[:] = 0
        gradients[head, outputs * width :] = 0
        for c in range(outputs):
            weights[c * room : c * room + width] = values[head, c * width : (c + 1) * width]
        for c in range(classes):
            own[c, :] = values[head, second + classes * (hidden if hidden else width) + c]
        for first in range(0, batch, _GROUP):
            last = min(first + _GROUP, batch)
            ahead = examples[head, last : last + _GROUP]
            if last == batch and head + 1 < heads:
                ahead = examples[head + 1, :_GROUP]
            for b in range(first, last):
                _gathered(numbers, examples[head, b], vectors, rows, b - first)
            group = own[:, first:last]
            if hidden:
                for h in range(hidden):
                    units[h, :] = values[head, hidden * width + h]
                _logits(rows, vectors, weights, units[:, : last - first], sums, nothing)
                _forward_of_units(units, values[head], second, group)
            else:
                _logits(rows, vectors, weights, group, sums, nothing)
            _softmax(
                group,
                labels[head, first:last],
                share[head, first:last],
                smoothing,
                delta,
                loss[head, first:last],
            )
            own_slopes = delta
            if hidden:
                own_slopes = slopes
                of_second, some = gradients[head], last - first
                _back_to_units(units, values[head], second, delta, some, of_second, slopes)
                for c in range(classes):
                    for b in range(some):
                        of_second[second + classes * hidden + c] += delta[c * _GROUP + b, 0]
            _gradients(numbers, ahead, rows, own_slopes, vectors, outputs, last - first, gradient)
            for c in range(outputs):
                for b in range(last - first):
                    gradients[head, outputs * width + c] += own_slopes[c * _GROUP + b, 0]
        for c in range(outputs):
            part = gradient[c * room : c * room + width]
            gradients[head, c * width : (c + 1) * width] = part
