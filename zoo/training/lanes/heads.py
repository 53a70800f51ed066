"""Softmax regressions on features, one after the other, each of their steps in one pass: rows are
gathered into a buffer that stays in the core's cache, and products, softmax and gradients are made
of it. Vectors run along the features.

Shape letters: K heads, B examples of a step, D numbers of a feature vector, M classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.training.lanes.vectors import AVAILABLE, LANES, allocate, compiled, load, store, tile

__all__ = ["Kernel", "fits"]

_ROWS, _CLASSES = 4, 5
"""Rows (or vectors) and classes whose sums stay in registers: 20, and what they are made of."""


def fits(width: int) -> bool:
    """Whether there is a kernel for features of so many numbers: whole vectors of them."""
    return AVAILABLE and width % LANES == 0


class Kernel:
    """The kernel and what it works on.

    Args:
        batch, width, classes: B, D, M.
        dtype: float32, or float64 for tests.
    """

    def __init__(self, batch: int, width: int, classes: int, dtype: Any) -> None:
        vectors = width // LANES
        self.batch = batch
        self._rows = allocate(batch * vectors, dtype)
        self._weights = allocate(classes * vectors, dtype)
        self._gradient = allocate(classes * vectors, dtype)
        self._sums = allocate(_ROWS * _CLASSES, dtype)
        self._nothing = allocate(1, dtype)
        self._delta = np.zeros((batch * classes, 1), dtype=dtype)

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
            values: [k, M * D + M], weights and then biases.
            smoothing: of the labels.
            gradients: like values; written, as are z [k, M, B] and loss [k, B].
        """
        _steps(
            features.reshape(-1),
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
        )


@compiled
def _logits(
    rows: Any, weights: Any, vectors: int, z: Any, batch: int, sums: Any, nothing: Any
) -> None:
    """z[c, b] += rows[b] . weights[c]."""
    classes = z.shape[0]
    b = 0
    while b < batch:
        some = _ROWS if batch - b >= _ROWS else 1
        c = 0
        while c < classes:
            few = _CLASSES if classes - c >= _CLASSES and some == _ROWS else 1
            place, zero = (0, few, 1), (0, 0, 0)
            left, right = (b * vectors, vectors, 0, 0, 1), (c * vectors, vectors, 0, 0, 1)
            counts = (1, 1, vectors)
            if few == _CLASSES:
                tile(4, 5, sums, place, nothing, zero, rows, left, weights, right, counts)
            elif some == _ROWS:
                tile(4, 1, sums, place, nothing, zero, rows, left, weights, right, counts)
            else:
                tile(1, 1, sums, place, nothing, zero, rows, left, weights, right, counts)
            for lane in range(LANES):
                for t in range(some):
                    for n in range(few):
                        z[c + n, b + t] += sums[(t * few + n) * LANES + lane]
            c += few
        b += some


@compiled
def _gradients(
    rows: Any, delta: Any, vectors: int, classes: int, batch: int, gradient: Any, nothing: Any
) -> None:
    """gradient[c] = sum over b of delta[b, c] rows[b]."""
    v = 0
    while v < vectors:
        some = _ROWS if vectors - v >= _ROWS else 1
        c = 0
        while c < classes:
            few = _CLASSES if classes - c >= _CLASSES and some == _ROWS else 1
            place, zero = (c * vectors + v, 1, vectors), (0, 0, 0)
            left, right, counts = (v, 1, 0, 0, vectors), (c, 1, 0, 0, classes), (1, 1, batch)
            if few == _CLASSES:
                tile(4, 5, gradient, place, nothing, zero, rows, left, delta, right, counts)
            elif some == _ROWS:
                tile(4, 1, gradient, place, nothing, zero, rows, left, delta, right, counts)
            else:
                tile(1, 1, gradient, place, nothing, zero, rows, left, delta, right, counts)
            c += few
        v += some


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
) -> None:
    heads, batch = examples.shape
    classes = z.shape[1]
    vectors = weights.shape[0] // LANES // classes
    size = classes * vectors * LANES
    for head in range(heads):
        for b in range(batch):
            example = examples[head, b] * vectors
            for v in range(vectors):
                store(rows, b * vectors + v, load(features, example + v))
        weights[:] = values[head, :size]
        own = z[head]
        for c in range(classes):
            own[c, :] = values[head, size + c]
            gradients[head, size + c] = 0
        _logits(rows, weights, vectors, own, batch, sums, nothing)
        for b in range(batch):
            highest = own[0, b]
            for c in range(1, classes):
                # NaN too: what is not finite stays so, and names the step
                if not own[c, b] <= highest:
                    highest = own[c, b]
            total = mean = highest - highest
            for c in range(classes):
                shifted = own[c, b] - highest
                mean += shifted
                delta[b * classes + c, 0] = np.exp(shifted)
                total += delta[b * classes + c, 0]
            label = labels[head, b]
            mine = own[label, b] - highest
            if smoothing:
                mine = (1 - smoothing) * mine + smoothing * (mean / classes)
            loss[head, b] = np.log(total) - mine
            for c in range(classes):
                part = delta[b * classes + c, 0] / total - smoothing / classes
                if c == label:
                    part += smoothing - 1
                part *= share[head, b]
                delta[b * classes + c, 0] = part
                gradients[head, size + c] += part
        _gradients(rows, delta, vectors, classes, batch, gradient, nothing)
        gradients[head, :size] = gradient
