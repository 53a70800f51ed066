"""Answers from logits in one pass over memory, compiled by numba (the extra ``fast``): a
measurement of what a fill could gain, not a part of zoo.

Nothing that is stored depends on it: a fill computes answers in torch, beside the network. ``python
    -m tools.bench kernel`` is its one caller.

``zoo.scores.outputs.answers_from_logits`` is the reference; it makes half a dozen arrays of
examples x classes in float64. Here a row of logits is read once, stays in the first-level cache,
and leaves as ten numbers. Predictions and the five most probable classes are the reference's
exactly, ties included (they are compared as given, never computed); entropies are within 1e-5 bit
of it, probabilities within 1e-6.

One row of M classes, 16 at a time:

1. prefetch the next row; widen float16 to float32 into a buffer, padded to 16s with -inf, and keep
   the largest value of each lane (of the classes that are equal modulo 16); a product with 0 that
   is not 0 betrays a NaN or an infinity;
2. the largest of these 16 is the row's maximum; the fifth largest is a bound that at least five
   classes reach, so the best five all do;
3. s = sum 2**y and t = sum 2**y y with y = (logit - max) log2 e, so that the entropy is log2 s - t
   / s: two terms >= 0, nothing cancels. 2**y = 2**k * polynomial(y - k) with k the nearest whole
   number: degree 6 on [-1/2, 1/2] is within 1.7e-7 relative;
4. classes that reach the bound, about six of 1,000 in no particular order, are sorted into the best
   five.

Steps 1 and 3 and the comparison of step 4 are emitted as vectors of 16 float32, which LLVM splits
where registers are shorter. Loops that it turns into vectors by itself get 256 of AVX-512's 512
bits, and a comparison of 16 values does not become 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.store.answers import TOP_CLASSES, Answers

__all__ = ["SUPPORTED", "answers"]


try:
    from llvmlite import ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic

    AVAILABLE = True
except ImportError:
    AVAILABLE = False
SUPPORTED = (np.float16, np.float32)
"""Types of logits a kernel takes; float64 logits would lose order and ties on the way to
float32."""
_Function = TypeVar("_Function", bound=Callable[..., Any])
_WIDTH = 16  # lanes of a vector; 32 is 5 % faster for 1,000 classes and 10 % slower for 10
_LOG2_E = np.float32(math.log2(math.e))
# the least power of two that is a normal float32; smaller ones count as this, 1e-38
_LOWEST_POWER = -126.0
# adding it to a float32 rounds it to a whole number, which is then in the lowest bits of the sum
_ROUNDER = 1.5 * 2**23
# 2**f = sum (f ln 2)**i / i!
_TERMS = tuple(float(np.float32(math.log(2) ** i / math.factorial(i))) for i in range(7))
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_NONE = np.float32(-np.inf)


def _compiled(function: _Function) -> _Function:
    """The function compiled on first use and kept on disk where that is possible; itself where
    numba is absent (and never called).

    Never with numba's ``fastmath``: it reaches the emitted vectors too, and would fold away the
    rounding and the products with 0.
    """
    if not AVAILABLE:
        return function
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        compiled: _Function = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = njit(**options)(function)
    return compiled


def _inline(function: Callable[..., Any]) -> Any:
    """Emits LLVM instructions where it is called (without numba's context, the first parameter)."""
    return intrinsic(function) if AVAILABLE else function


# -------------------------------------------------------------- vectors; ``emit`` is LLVM's builder


def _vector(element: Any) -> Any:
    return ir.VectorType(element, _WIDTH)


def _floats(value: float) -> Any:
    """The float32 in every lane."""
    return ir.Constant(_vector(ir.FloatType()), [value] * _WIDTH)


def _integers(value: int) -> Any:
    """The int32 in every lane."""
    return ir.Constant(_vector(ir.IntType(32)), [value] * _WIDTH)


def _every_lane(emit: Any, value: Any) -> Any:
    """A value known only when running in every lane."""
    undefined = ir.Constant(_vector(value.type), ir.Undefined)
    return emit.shuffle_vector(
        emit.insert_element(undefined, value, ir.IntType(32)(0)), undefined, _integers(0)
    )


def _place(emit: Any, data: Any, start: Any, element: Any) -> Any:
    """Pointer to the 16 elements from ``start`` on."""
    return emit.bitcast(emit.gep(data, [start]), _vector(element).as_pointer())


def _multiply_add(emit: Any, left: Any, right: Any, addend: Any) -> Any:
    return emit.fadd(emit.fmul(left, right, flags=("contract",)), addend, flags=("contract",))


def _larger(emit: Any, left: Any, right: Any) -> Any:
    return emit.select(emit.fcmp_ordered(">", left, right), left, right)


def _call(
    emit: Any, name: str, result: Any, arguments: list[Any], fastmath: tuple[str, ...] = ()
) -> Any:
    """Call of LLVM's own function of that name."""
    function = cgutils.get_or_insert_function(
        emit.module, ir.FunctionType(result, [a.type for a in arguments]), name
    )
    return emit.call(function, arguments, fastmath=fastmath)


def _total(emit: Any, vector: Any) -> Any:
    """Sum of the lanes, in any order."""
    return _call(
        emit,
        f"llvm.vector.reduce.fadd.v{_WIDTH}f32",
        ir.FloatType(),
        [ir.FloatType()(0.0), vector],
        ("reassoc",),
    )


def _steps(emit: Any, stop: Any) -> Any:
    """The loop over 0, 16, 32 .. below ``stop``: ``with _steps(emit, stop) as (start, _)``."""
    return cgutils.for_range_slice(emit, ir.IntType(64)(0), stop, ir.IntType(64)(_WIDTH))


@_inline
def _read(_types: Any, bits: Any, _row: Any, buffer: Any, highest: Any) -> Any:
    """Copies a row of ``bits`` (uint16 [E, M] of float16, uint32 of float32) into the buffer
    (float32, M up to the next multiple of 16, the rest -inf) and the maximum of each lane into
    ``highest`` (float32 [16]); returns whether all logits are finite."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        rows, copy, maxima = (
            context.make_array(kind)(context, emit, arguments[i])
            for i, kind in ((0, bits), (2, buffer), (3, highest))
        )
        half = bits.dtype == types.uint16
        element, size, name = (ir.HalfType(), 2, "f16") if half else (ir.FloatType(), 4, "f32")
        classes = cgutils.unpack_tuple(emit, rows.shape, 2)[1]
        row = emit.bitcast(
            emit.gep(rows.data, [emit.mul(arguments[1], classes)]), element.as_pointer()
        )
        best, products = (
            cgutils.alloca_once_value(emit, _floats(-math.inf)),
            cgutils.alloca_once_value(emit, _floats(0.0)),
        )

        def step(start: Any, present: Any = None) -> None:
            """16 logits, or those of the lanes that are present."""
            place = _place(emit, row, start, element)
            below = emit.bitcast(
                emit.gep(row, [emit.add(start, classes)]), ir.IntType(8).as_pointer()
            )
            # read, keep, data; may be outside
            _call(emit, "llvm.prefetch.p0", ir.VoidType(), [below, *map(ir.IntType(32), (0, 3, 1))])
            if present is None:
                values = emit.load(place, align=size)
            else:
                absent = ir.Constant(_vector(element), [-math.inf] * _WIDTH)
                values = _call(
                    emit,
                    f"llvm.masked.load.v{_WIDTH}{name}.p0",
                    absent.type,
                    [place, ir.IntType(32)(size), present, absent],
                )
            if half:
                values = emit.fpext(values, _vector(ir.FloatType()))
            emit.store(values, _place(emit, copy.data, start, ir.FloatType()), align=4)
            emit.store(_larger(emit, values, emit.load(best)), best)
            checked = values if present is None else emit.select(present, values, _floats(0.0))
            emit.store(_multiply_add(emit, checked, _floats(0.0), emit.load(products)), products)

        whole = emit.and_(classes, ir.IntType(64)(-_WIDTH))
        with _steps(emit, whole) as (start, _):
            step(start)
        with emit.if_then(emit.icmp_signed("<", whole, classes)):
            left = _every_lane(emit, emit.trunc(emit.sub(classes, whole), ir.IntType(32)))
            step(whole, emit.icmp_signed("<", ir.Constant(left.type, list(range(_WIDTH))), left))
        emit.store(
            emit.load(best), _place(emit, maxima.data, ir.IntType(64)(0), ir.FloatType()), align=4
        )
        return emit.fcmp_ordered("==", _total(emit, emit.load(products)), ir.FloatType()(0.0))

    return types.boolean(bits, types.int64, buffer, highest), generate


@_inline
def _sums(_types: Any, buffer: Any, _top: Any) -> Any:
    """s = sum 2**y and t = sum 2**y y of a padded row (-inf adds 1e-38)."""

    def generate(context: Any, emit: Any, signature: Any, arguments: Any) -> Any:
        values = context.make_array(buffer)(context, emit, arguments[0])
        top = _every_lane(emit, arguments[1])
        s, t = (
            cgutils.alloca_once_value(emit, _floats(0.0)),
            cgutils.alloca_once_value(emit, _floats(0.0)),
        )
        with _steps(emit, values.nitems) as (start, _):
            logits = emit.load(_place(emit, values.data, start, ir.FloatType()), align=4)
            y = _larger(
                emit,
                emit.fmul(emit.fsub(logits, top), _floats(float(_LOG2_E))),
                _floats(_LOWEST_POWER),
            )
            rounded = emit.fadd(y, _floats(_ROUNDER))
            f = emit.fsub(y, emit.fsub(rounded, _floats(_ROUNDER)))
            power = _floats(_TERMS[-1])
            for term in _TERMS[-2::-1]:
                power = _multiply_add(emit, power, f, _floats(term))
            # where a float32 has its exponent
            k = emit.shl(emit.bitcast(rounded, _vector(ir.IntType(32))), _integers(23))
            e = emit.bitcast(emit.add(emit.bitcast(power, k.type), k), power.type)
            emit.store(emit.fadd(e, emit.load(s)), s)
            emit.store(_multiply_add(emit, e, y, emit.load(t)), t)
        return context.make_tuple(
            emit, signature.return_type, [_total(emit, emit.load(s)), _total(emit, emit.load(t))]
        )

    return types.UniTuple(types.float32, 2)(buffer, types.float32), generate


@_inline
def _reaching(_types: Any, values: Any, _start: Any, _bound: Any) -> Any:
    """Which of the 16 values from ``start`` on are >= bound: bit i for the i-th."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        data = context.make_array(values)(context, emit, arguments[0]).data
        compared = emit.load(_place(emit, data, arguments[1], ir.FloatType()), align=4)
        reaching = emit.fcmp_ordered(">=", compared, _every_lane(emit, arguments[2]))
        return emit.zext(emit.bitcast(reaching, ir.IntType(_WIDTH)), ir.IntType(64))

    return types.uint64(values, types.int64, types.float32), generate


@_inline
def _count(_types: Any, _bits: Any) -> Any:
    """Number of bits that are 1."""
    return types.int64(types.uint64), lambda _context, emit, _signature, arguments: emit.ctpop(
        arguments[0]
    )


@_inline
def _lowest(_types: Any, _bits: Any) -> Any:
    """Place of the lowest bit that is 1, of a number that is not 0."""
    return types.int64(types.uint64), lambda _context, emit, _signature, arguments: emit.cttz(
        arguments[0], ir.IntType(1)(1)
    )


# ---------------------------------------------------------------- rows


@_compiled
def _probability(value: Any, top: Any, share: Any) -> Any:
    return np.exp2((value - top) * _LOG2_E) * share


@_compiled
def _rows(
    bits: Any,
    limit: Any,
    labels: Any,
    prediction: Any,
    p_label: Any,
    entropy: Any,
    margin: Any,
    top5: Any,
    top5_p: Any,
    finite: Any,
) -> None:
    """Answers of E rows [E, M]; the outputs arrive as null answers. ``limit``: log2 M."""
    examples, classes = bits.shape
    kept = min(TOP_CLASSES, classes)
    buffer = np.empty(-(-classes // _WIDTH) * _WIDTH, dtype=np.float32)
    highest = np.empty(_WIDTH, dtype=np.float32)
    best = np.empty(TOP_CLASSES, dtype=np.float32)
    places = np.empty(TOP_CLASSES, dtype=np.int64)
    for row in range(examples):
        if not _read(bits, row, buffer, highest):
            continue
        finite[row] = True
        top, bound = _NONE, _NONE
        for lane in range(_WIDTH):
            value = highest[lane]
            top = max(top, value)
            bound = max(
                bound, value if _count(_reaching(highest, 0, value)) >= TOP_CLASSES else _NONE
            )
        s, t = _sums(buffer, top)
        share = _ONE / s
        entropy[row] = min(max(np.log2(s) - t * share, _ZERO), limit)
        best[:] = _NONE
        for start in range(0, len(buffer), _WIDTH):
            left = _reaching(buffer, start, bound)
            while left:
                place = start + _lowest(left)
                left &= left - np.uint64(1)
                value = buffer[place]
                # not >=: among equals the lower class came first and stays before
                if value > best[TOP_CLASSES - 1]:
                    i = TOP_CLASSES - 1
                    while i > 0 and value > best[i - 1]:
                        best[i], places[i] = best[i - 1], places[i - 1]
                        i -= 1
                    best[i], places[i] = value, place
        for i in range(kept):
            top5[row, i] = places[i]
            top5_p[row, i] = _probability(best[i], top, share)
        prediction[row] = places[0]
        label = labels[row]
        if label >= 0:
            p_label[row] = _probability(buffer[label], top, share)
            rival = top5_p[row, 0]
            if places[0] == label:
                rival = top5_p[row, 1] if classes > 1 else _ZERO
            margin[row] = p_label[row] - rival


def answers(
    logits: NDArray[np.float16] | NDArray[np.float32], labels: NDArray[np.int64]
) -> Answers:
    """As ``zoo.scores.outputs.answers_from_logits``, of arguments that were checked.

    Args:
        logits: float16 or float32 [E, M], M in 1..32767, any strides (rows that are not contiguous
            are copied).
        labels: int64 [E] in -1..M-1.

    Raises:
        UsageError: if numba is not installed, or the logits are of another type.
    """
    if not AVAILABLE:
        raise UsageError(
            "the compiled kernels need numba, which is not installed. Allowed: without fast."
            " Install the extra 'fast'."
        )
    if logits.dtype not in SUPPORTED:
        raise UsageError(
            f"logits are {logits.dtype}. Allowed: float16 and float32. Leave out fast: the"
            " reference takes float64."
        )
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
    f = found
    _rows(
        bits,
        np.float32(np.log2(classes)),
        labels,
        f.prediction,
        f.p_label,
        f.entropy,
        f.margin,
        f.top5,
        top5_p,
        f.finite,
    )
    found.top5_p[...] = top5_p
    return found
