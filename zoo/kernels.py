"""Answers from logits in one pass over memory, compiled by numba (the extra ``fast``).

``zoo.scores.answers_from_logits`` is the reference; it makes half a dozen arrays of examples x classes in float64. Here a row of logits is
read once, stays in the first-level cache, and leaves as ten numbers. Predictions and the five most probable classes are the reference's
exactly, ties included (they are compared as given, never computed); entropies are within 1e-5 bit of it, probabilities within 1e-6.

One row of M classes:

1. widen float16 to float32 into a buffer, padded to 16s with -inf; look for NaN and infinity in the bits;
2. largest value of each 16, then of those: the row's maximum;
3. s = sum 2**y and t = sum 2**y y with y = (logit - max) log2 e, so that the entropy is log2 s - t / s: two terms >= 0, nothing cancels.
   2**y = 2**k * polynomial(y - k) with k the nearest whole number: degree 6 on [-1/2, 1/2] is within 1e-7 relative, and the loop has no
   call and no branch, which is what lets LLVM turn it into vector instructions (``numpy.exp2`` would be a call per element);
4. five times: the 16 with the largest maximum, its first place with that value, take it out, and only that maximum anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.scores import TOP_CLASSES, Answers

try:
    from llvmlite import ir
    from numba import njit, types
    from numba.extending import intrinsic

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

__all__ = ["AVAILABLE", "SUPPORTED", "answers"]

SUPPORTED = (np.float16, np.float32)
"""Types of logits a kernel takes; float64 logits would lose order and ties on the way to float32."""

_Function = TypeVar("_Function", bound=Callable[..., Any])

# No "ninf": -inf marks what is taken. No NaN reaches arithmetic whose result is used, so "nnan" is safe, and a vector maximum needs it.
_FAST_MATH = {"reassoc", "contract", "nsz", "nnan", "arcp"}

_LOG2_E = np.float32(1.4426950408889634)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_LOWEST_POWER = np.float32(-126.0)  # the least power of two that is a normal float32; smaller ones count as this, 1e-38
_TAKEN = np.float32(-np.inf)
# 2**f = sum (f ln 2)**i / i! on [-1/2, 1/2]; the first term left out is below 1.2e-7 relative
_C1 = np.float32(0.6931471805599453)
_C2 = np.float32(0.2402265069591007)
_C3 = np.float32(0.05550410866482158)
_C4 = np.float32(0.009618129107628477)
_C5 = np.float32(0.0013333558146428443)
_C6 = np.float32(0.00015403530393381608)
_WIDTH = 16  # elements under one maximum
_MAXIMA = 8  # maxima are padded to whole vectors of so many


def _compiled(function: _Function) -> _Function:
    """The function compiled on first use and kept on disk where that is possible; itself where numba is absent (and never called)."""
    if not AVAILABLE:
        return function
    options: dict[str, Any] = {"fastmath": _FAST_MATH, "error_model": "numpy", "nogil": True}
    try:
        compiled: _Function = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = njit(**options)(function)
    return compiled


def _inline(function: Callable[..., Any]) -> Any:
    """Emits LLVM instructions where it is called (without numba's context, the first parameter)."""
    return intrinsic(function) if AVAILABLE else function


@_inline
def _as_float(_types: Any, bits: Any) -> Any:
    """float32 of the bits of a float16 (uint16) or a float32 (uint32)."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if bits == types.uint16:
            return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())
        return builder.bitcast(arguments[0], ir.FloatType())

    return (types.float32(bits), generate) if bits in (types.uint16, types.uint32) else None


@_inline
def _power_of_two(_types: Any, exponent: Any) -> Any:
    """2**k as float32 for int32 k in -126..127: k shifted into the exponent's bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.add(arguments[0], ir.Constant(word, 127)), ir.Constant(word, 23)), ir.FloatType())

    return (types.float32(types.int32), generate) if exponent == types.int32 else None


@_inline
def _larger(_types: Any, left: Any, right: Any) -> Any:
    """The larger of two float32, none of them NaN. The built-in ``max`` becomes a comparison that LLVM does not turn into vectors."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        single = ir.FloatType()
        function = builder.module.declare_intrinsic("llvm.maxnum", [single], ir.FunctionType(single, [single, single]))
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return (types.float32(types.float32, types.float32), generate) if left == right == types.float32 else None


@_compiled
def _widen(bits: Any, row: int, mask: Any, buffer: Any, classes: int) -> Any:
    """Row of logits as float32 into the buffer; whether it holds a NaN or an infinity (an exponent of ones)."""
    wrong = np.uint32(0)
    for j in range(classes):
        word = bits[row, j]
        wrong |= np.uint32((word & mask) == mask)
        buffer[j] = _as_float(word)
    return wrong != 0


@_compiled
def _exp2(y: Any) -> Any:
    """2**y for y in -126..0."""
    k = np.floor(y + _HALF)
    f = y - k
    return (_ONE + f * (_C1 + f * (_C2 + f * (_C3 + f * (_C4 + f * (_C5 + f * _C6)))))) * _power_of_two(np.int32(k))


@_compiled
def _sums(buffer: Any, top: Any) -> Any:
    """s = sum 2**y and t = sum 2**y y of a padded row (-inf adds 1e-38)."""
    s, t = _ZERO, _ZERO
    for j in range(len(buffer)):
        y = max((buffer[j] - top) * _LOG2_E, _LOWEST_POWER)
        e = _exp2(y)
        s += e
        t += e * y
    return s, t


@_compiled
def _largest(values: Any) -> Any:
    best = _TAKEN
    for j in range(len(values)):
        best = _larger(best, values[j])
    return best


@_compiled
def _largest_of_16(values: Any, start: int) -> Any:
    best = values[start]
    for j in range(1, _WIDTH):
        best = _larger(best, values[start + j])
    return best


@_compiled
def _first(values: Any, start: int, wanted: Any) -> Any:
    """Lowest place from ``start`` on of a value that is there."""
    place = start
    while values[place] != wanted:
        place += 1
    return place


@_compiled
def _probability(value: Any, top: Any, share: Any) -> Any:
    return _exp2(max((value - top) * _LOG2_E, _LOWEST_POWER)) * share


@_compiled
def _rows(
    bits: Any,
    mask: Any,
    limit: Any,
    labels: Any,
    buffer: Any,
    prediction: Any,
    p_label: Any,
    entropy: Any,
    margin: Any,
    top5: Any,
    top5_p: Any,
    finite: Any,
) -> None:
    """Answers of E rows [E, M]; the outputs arrive as null answers. ``buffer``: float32, M up to the next multiple of 16, all -inf.
    ``mask``: exponent of the type; ``limit``: log2 M."""
    examples, classes = bits.shape
    blocks = len(buffer) // _WIDTH
    maxima = -(-blocks // _MAXIMA) * _MAXIMA
    highest = np.full(maxima, _TAKEN, dtype=np.float32)
    kept = min(top5.shape[1], classes)
    for row in range(examples):
        if _widen(bits, row, mask, buffer, classes):
            continue
        finite[row] = True
        for block in range(blocks):
            highest[block] = _largest_of_16(buffer, block * _WIDTH)
        top = _largest(highest)
        s, t = _sums(buffer, top)
        share = _ONE / s
        entropy[row] = min(max(np.log2(s) - t * share, _ZERO), limit)
        label = labels[row]
        own = buffer[label] if label >= 0 else top
        for place in range(kept):
            value = _largest(highest)
            block = _first(highest, 0, value)
            start = block * _WIDTH
            best = _first(buffer, start, value)
            top5[row, place] = best
            top5_p[row, place] = _probability(value, top, share)
            buffer[best] = _TAKEN
            highest[block] = _largest_of_16(buffer, start)
        prediction[row] = top5[row, 0]
        if label >= 0:
            p_label[row] = _probability(own, top, share)
            rival = top5_p[row, 0]
            if top5[row, 0] == label:
                rival = top5_p[row, 1] if classes > 1 else _ZERO
            margin[row] = p_label[row] - rival


def answers(logits: NDArray[np.float16] | NDArray[np.float32], labels: NDArray[np.int64]) -> Answers:
    """As ``zoo.scores.answers_from_logits``, of arguments that were checked.

    Args:
        logits: float16 or float32 [E, M], M in 1..32767, any strides (rows that are not contiguous are copied).
        labels: int64 [E] in -1..M-1.

    Raises:
        UsageError: if numba is not installed, or the logits are of another type.
    """
    if not AVAILABLE:
        raise UsageError("the compiled kernels need numba, which is not installed. Allowed: without fast. Install the extra 'fast'.")
    if logits.dtype not in SUPPORTED:
        raise UsageError(f"logits are {logits.dtype}. Allowed: float16 and float32. Leave out fast: the reference takes float64.")
    examples, classes = logits.shape
    bits = np.ascontiguousarray(logits).view(np.uint16 if logits.dtype == np.float16 else np.uint32)
    top5_p = np.zeros((examples, TOP_CLASSES), dtype=np.float32)
    found = Answers(
        prediction=np.full(examples, -1, dtype=np.int16),
        p_label=np.full(examples, np.nan, dtype=np.float32),
        entropy=np.full(examples, np.nan, dtype=np.float32),
        margin=np.full(examples, np.nan, dtype=np.float32),
        top5=np.full((examples, TOP_CLASSES), -1, dtype=np.int16),
        top5_p=np.zeros((examples, TOP_CLASSES), dtype=np.float16),
        finite=np.zeros(examples, dtype=np.bool_),
    )
    buffer = np.full(-(-classes // _WIDTH) * _WIDTH, _TAKEN, dtype=np.float32)
    mask = bits.dtype.type(0x7C00 if logits.dtype == np.float16 else 0x7F800000)
    f = found
    _rows(bits, mask, np.float32(np.log2(classes)), labels, buffer, f.prediction, f.p_label, f.entropy, f.margin, f.top5, top5_p, f.finite)
    found.top5_p[...] = top5_p
    return found
