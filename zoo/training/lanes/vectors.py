"""Vectors of one number per network, for numba: the arithmetic that the kernels are written in.

LLVM turns loops into vectors by itself where it likes, and uses half of AVX-512's width; here
vectors are asked for. ``Lanes`` is a value of numba's world, ``LANES`` numbers that lie in one
register: ``load`` and ``store`` move it, ``+ - * /`` calculate with it, and ``tile`` is the loop
that nearly all of a training's time is spent in. All arrays are flat and contiguous; places in them
are counted in vectors. Everything works in float32 and in float64 (the tests' precision; LLVM takes
two registers for one vector then).
"""

from __future__ import annotations

import hashlib
import math
import operator
import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UsageError
from zoo.machine import user_folder

__all__ = ["AVAILABLE", "LANES", "allocate", "compiled"]

try:
    import numba
    from llvmlite import binding, ir
    from numba import njit, types
    from numba.core import cgutils
    from numba.extending import intrinsic, models, overload, register_model

    AVAILABLE = True
except ImportError:
    AVAILABLE = False

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ALIGNMENT = 64
_SETTING = "ZOO_LANES"


def _register_lanes() -> int:
    """How many float32 the widest register of this CPU holds: 16 (AVX-512), 8 (AVX), else 4.

    ``ZOO_LANES`` asks for another of these widths; LLVM makes it of the registers there are.
    """
    if asked := os.environ.get(_SETTING):
        if asked not in ("4", "8", "16"):
            raise UsageError(
                f"{_SETTING}={asked}: a register holds 4, 8 or 16 float32. Leave it out: the width"
                " of this machine's registers is found."
            )
        return int(asked)
    if not AVAILABLE:
        return 16
    features = binding.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


LANES = _register_lanes()
"""Networks that are trained at once: one per float32 of a register."""


def allocate(vectors: int, dtype: Any) -> NDArray[Any]:
    """A flat array of so many vectors, zero, that starts where a vector register likes it."""
    itemsize = np.dtype(dtype).itemsize
    room = np.zeros(vectors * LANES + _ALIGNMENT // itemsize, dtype=dtype)
    start = (-room.ctypes.data % _ALIGNMENT) // itemsize
    return room[start : start + vectors * LANES]


# ---------------------------------------------------------------- compiling, once per machine


def _cache_folder() -> Path | None:
    """Where compiled kernels are kept: a folder named by their sources, the compiler and the width,
    since numba itself looks at one file's date only. None = where numba keeps its own."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return None
    base = user_folder("XDG_CACHE_HOME", ".cache")
    if base is None:
        return None
    told = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        told.update(source.read_bytes())
    told.update(f"{version('numba')} {version('llvmlite')} {LANES}".encode())
    return base / "zoo" / f"lanes-{told.hexdigest()[:12]}"


_FOLDER = _cache_folder() if AVAILABLE else None


def compiled(function: _Function) -> _Function:
    """The function compiled on first use and kept on disk where that is possible; itself where
    numba is absent (and never called)."""
    if not AVAILABLE:
        return function
    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(_FOLDER) if _FOLDER is not None else before
    try:
        made: _Function = njit(cache=True, **options)(function)
    except (RuntimeError, OSError):  # no folder to keep it in
        made = njit(**options)(function)
    finally:
        numba.config.CACHE_DIR = before
    return made


def _inline(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Emits LLVM instructions where it is called (without numba's context, the first parameter)."""
    if not AVAILABLE:
        return lambda function: function
    made: Callable[[Callable[..., Any]], Any] = intrinsic(**options) if options else intrinsic
    return made


# ---------------------------------------------------------------- the type

_CONTRACT = ("contract",)  # a product and a sum may become one instruction


def _vector(element: Any) -> Any:
    return ir.VectorType(ir.FloatType() if element == types.float32 else ir.DoubleType(), LANES)


def _align(element: Any) -> int:
    return 4 if element == types.float32 else 8


def _filled(element: Any, value: float) -> Any:
    return ir.Constant(_vector(element), [value] * LANES)


if AVAILABLE:

    class Lanes(types.Type):  # type: ignore[misc]
        """numba's type of a vector of ``element``."""

        def __init__(self, element: Any) -> None:
            self.element = element
            super().__init__(name=f"Lanes({element}, {LANES})")

    @register_model(Lanes)
    class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            super().__init__(manager, kind, _vector(kind.element))

    def _binary(name: str) -> Any:
        @_inline()
        def calculate(_context: Any, left: Any, _right: Any) -> Any:
            def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
                return getattr(emit, name)(*arguments, flags=_CONTRACT)

            return left(left, left), generate

        return calculate

    def _define(operation: Any, name: str) -> None:
        calculate = _binary(name)

        # numba compares signatures, annotations included, with the function returned
        def chosen(left, right):  # type: ignore[no-untyped-def]
            if isinstance(left, Lanes) and left == right:
                return lambda left, right: calculate(left, right)
            return None

        overload(operation)(chosen)

    for _operation, _name in (
        (operator.add, "fadd"),
        (operator.sub, "fsub"),
        (operator.mul, "fmul"),
        (operator.truediv, "fdiv"),
    ):
        _define(_operation, _name)


def _pointer(context: Any, emit: Any, kind: Any, array: Any) -> Any:
    data = context.make_array(kind)(context, emit, array).data
    return emit.bitcast(data, _vector(kind.dtype).as_pointer())


@_inline()
def load(_context: Any, array: Any, _place: Any) -> Any:
    """The vector at a place of a flat array."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        place = emit.gep(_pointer(context, emit, array, arguments[0]), [arguments[1]])
        return emit.load(place, align=_align(array.dtype))

    return Lanes(array.dtype)(array, types.int64), generate


@_inline()
def store(_context: Any, array: Any, _place: Any, value: Any) -> Any:
    """Put a vector at a place of a flat array."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        place = emit.gep(_pointer(context, emit, array, arguments[0]), [arguments[1]])
        emit.store(arguments[2], place, align=_align(array.dtype))
        return context.get_dummy_value()

    return types.void(array, types.int64, value), generate


@_inline()
def every_lane(_context: Any, array: Any, _value: Any) -> Any:
    """A number in every lane, of the array's precision."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        kind = _vector(array.dtype)
        undefined = ir.Constant(kind, ir.Undefined)
        first = emit.insert_element(undefined, arguments[1], ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return emit.shuffle_vector(first, undefined, zeros)

    return Lanes(array.dtype)(array, array.dtype), generate


@_inline()
def of_bytes(_context: Any, array: Any, numbers: Any, _first: Any, _step: Any) -> Any:
    """The uint8 at a place of a flat array and every ``step`` further, one in each lane, in the
    precision of ``array``."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        byte, whole = ir.IntType(8), ir.IntType(32)
        _, bytes_, place, step = arguments
        pointer = context.make_array(numbers)(context, emit, bytes_).data
        vector = ir.Constant(ir.VectorType(byte, LANES), ir.Undefined)
        for lane in range(LANES):
            number = emit.load(emit.gep(pointer, [_place(emit, place, (step, lane))]))
            vector = emit.insert_element(vector, number, whole(lane))
        return emit.uitofp(vector, _vector(array.dtype))

    return Lanes(array.dtype)(array, numbers, types.int64, types.int64), generate


@_inline()
def over_lanes(_context: Any, value: Any) -> Any:
    """The sum of a vector's numbers: halves are added until one is left."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        total, whole = arguments[0], ir.IntType(32)
        undefined, half = ir.Constant(_vector(value.element), ir.Undefined), LANES // 2
        while half:
            places = [(lane + half) % LANES for lane in range(LANES)]
            other = ir.Constant(ir.VectorType(whole, LANES), places)
            total = emit.fadd(total, emit.shuffle_vector(total, undefined, other))
            half //= 2
        return emit.extract_element(total, whole(0))

    return value.element(value), generate


@_inline(prefer_literal=True)
def over_neighbours(_context: Any, value: Any, count: Any) -> Any:
    """In each lane the sum of the ``count`` lanes side by side that it is one of, in the same order
    in all of them. ``count`` is written as a number that divides ``LANES``."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        given, each = arguments[0], count.literal_value
        undefined = ir.Constant(_vector(value.element), ir.Undefined)
        whole = ir.VectorType(ir.IntType(32), LANES)
        total = None
        for turn in range(each):
            # A wider sum than this machine's lanes is compiled where it is never asked for.
            own = [(lane // each * each + turn) % LANES for lane in range(LANES)]
            places = ir.Constant(whole, own)
            other = emit.shuffle_vector(given, undefined, places)
            total = other if total is None else emit.fadd(total, other)
        return total

    return value(value, count), generate


@_inline()
def lane_of(_context: Any, value: Any, _lane: Any) -> Any:
    """One of a vector's numbers."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        return emit.extract_element(*arguments)

    return value.element(value, types.int64), generate


@_inline()
def prefetch(_context: Any, array: Any, _place: Any) -> Any:
    """Ask for the vector at a place of a flat array before it is needed."""

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        ask = cgutils.get_or_insert_function(emit.module, kind, "llvm.prefetch.p0")
        place = emit.gep(_pointer(context, emit, array, arguments[0]), [arguments[1]])
        # to read, to be kept, data
        emit.call(ask, [emit.bitcast(place, byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@_inline()
def widened(_context: Any, value: Any) -> Any:
    """A vector in float64."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        wide = _vector(types.float64)
        return arguments[0] if value.element == types.float64 else emit.fpext(arguments[0], wide)

    return Lanes(types.float64)(value), generate


def _select(comparison: str, *, ordered: bool) -> Any:
    """``(a, b, yes, no)`` -> ``yes`` in the lanes where a compares so with b, else ``no``."""

    def choose(_context: Any, left: Any, _right: Any, _yes: Any, _no: Any) -> Any:
        def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
            compare = emit.fcmp_ordered if ordered else emit.fcmp_unordered
            return emit.select(compare(comparison, *arguments[:2]), *arguments[2:])

        return left(left, left, left, left), generate

    return intrinsic(choose) if AVAILABLE else choose


where_below = _select("<", ordered=True)
where_above = _select(">", ordered=True)
where_equal = _select("==", ordered=True)
where_above_or_nan = _select(">", ordered=False)


@_inline()
def root(_context: Any, value: Any) -> Any:
    """Square root."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        return _call(emit, "sqrt", value.element, arguments)

    return value(value), generate


@_inline()
def product_and_sum(_context: Any, left: Any, _right: Any, _sum: Any) -> Any:
    """left * right + sum of three numbers, rounded once."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        return emit.fma(*arguments)

    return left(left, left, left), generate


def _call(emit: Any, name: str, element: Any, arguments: Any) -> Any:
    """LLVM's own function of that name on a vector."""
    kind = _vector(element)
    suffix = "f32" if element == types.float32 else "f64"
    function = cgutils.get_or_insert_function(
        emit.module, ir.FunctionType(kind, [kind]), f"llvm.{name}.v{LANES}{suffix}"
    )
    return emit.call(function, arguments)


# 2**f = sum (f ln 2)**i / i!: degree 6 on [-1/2, 1/2] is within 1.7e-7 relative
_TERMS = tuple(math.log(2) ** i / math.factorial(i) for i in range(7))
_LOWEST_POWER, _HIGHEST_POWER = -126.0, 127.0  # of a float32 with an exponent
_ROUNDER = 1.5 * 2**23  # added to a float32 it rounds it; the whole number is in the lowest bits


@_inline()
def exponential(_context: Any, value: Any) -> Any:
    """e**x: in float32 within 3e-7 relative, and at least 1e-38, at most 1e38; NaN stays NaN."""

    def generate(_context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        element = value.element
        if element == types.float64:
            return _call(emit, "exp", element, arguments)
        vector, whole = _vector(element), ir.VectorType(ir.IntType(32), LANES)
        y = emit.fmul(arguments[0], _filled(element, float(np.float32(math.log2(math.e)))))
        for comparison, limit in (("<", _LOWEST_POWER), (">", _HIGHEST_POWER)):
            bound = _filled(element, limit)
            y = emit.select(emit.fcmp_ordered(comparison, y, bound), bound, y)
        rounded = emit.fadd(y, _filled(element, _ROUNDER))
        f = emit.fsub(y, emit.fsub(rounded, _filled(element, _ROUNDER)))
        power = _filled(element, float(np.float32(_TERMS[-1])))
        for term in _TERMS[-2::-1]:
            product = emit.fmul(power, f, flags=_CONTRACT)
            power = emit.fadd(product, _filled(element, float(np.float32(term))), flags=_CONTRACT)
        places = ir.Constant(whole, [23] * LANES)  # where a float32 has its exponent
        k = emit.shl(emit.bitcast(rounded, whole), places)
        raised = emit.bitcast(emit.add(emit.bitcast(power, whole), k), vector)
        no_number = emit.fcmp_unordered("uno", y, y)
        return emit.select(no_number, y, raised)

    return value(value), generate


# ---------------------------------------------------------------- the loop that counts


def _right(emit: Any, kind: Any, pointer: Any, align: int) -> Any:
    """What loads a vector of the right factor at a place: of an array of two axes, a number that
    all networks share, in every lane."""
    if kind.ndim == 1:
        return lambda place: emit.load(emit.gep(pointer, [place]), align=align)
    element = _vector(kind.dtype).element
    numbers = emit.bitcast(pointer, element.as_pointer())
    vector = _vector(kind.dtype)
    undefined = ir.Constant(vector, ir.Undefined)
    first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

    def shared(place: Any) -> Any:
        number = emit.load(emit.gep(numbers, [place]), align=align)
        alone = emit.insert_element(undefined, number, ir.IntType(32)(0))
        return emit.shuffle_vector(alone, undefined, first)

    return shared


def _place(emit: Any, first: Any, *steps: tuple[Any, int]) -> Any:
    """first + the sum of step * times."""
    for step, times in steps:
        if times:
            first = emit.add(first, emit.mul(step, ir.IntType(64)(times)))
    return first


def _sums(
    context: Any,
    emit: Any,
    tile: tuple[int, int],
    kinds: tuple[Any, Any, Any],
    arrays: tuple[Any, Any, Any],
    places: tuple[Any, Any, Any],
    counts: Any,
) -> dict[tuple[int, int], Any]:
    """The sums of a tile, in registers; see ``tile``. Of (begin, left, right): types, arrays and
    unpacked places."""
    rows, columns = tile
    vector, align = _vector(kinds[0].dtype), _align(kinds[0].dtype)
    start, x, y = (
        _pointer(context, emit, kind, array) for kind, array in zip(kinds, arrays, strict=True)
    )
    of_begin, of_left, of_right = places
    load_right = _right(emit, kinds[2], y, align)
    sums = {(t, n): cgutils.alloca_once(emit, vector) for t in range(rows) for n in range(columns)}
    for (t, n), total in sums.items():
        place = _place(emit, of_begin[0], (of_begin[1], t), (of_begin[2], n))
        emit.store(emit.load(emit.gep(start, [place]), align=align), total)

    def along(level: int, left: Any, right: Any) -> None:
        if level < 3:
            with cgutils.for_range(emit, counts[level]) as loop:
                along(
                    level + 1,
                    emit.add(left, emit.mul(loop.index, of_left[level + 2])),
                    emit.add(right, emit.mul(loop.index, of_right[level + 2])),
                )
            return
        columns_now = [load_right(_place(emit, right, (of_right[1], n))) for n in range(columns)]
        for t in range(rows):
            place = _place(emit, left, (of_left[1], t))
            value = emit.load(emit.gep(x, [place]), align=align)
            for n, column in enumerate(columns_now):
                product = emit.fmul(value, column, flags=_CONTRACT)
                total = emit.fadd(product, emit.load(sums[t, n]), flags=_CONTRACT)
                emit.store(total, sums[t, n])

    along(0, of_left[0], of_right[0])
    return sums


@_inline(prefer_literal=True)
def tile(
    _context: Any,
    rows: Any,
    columns: Any,
    out: Any,
    _out_at: Any,
    begin: Any,
    _begin_at: Any,
    left: Any,
    _left_at: Any,
    right: Any,
    _right_at: Any,
    _counts: Any,
) -> Any:
    """``out[t, n] = begin[t, n] + sum over a, b, c of left[t, a, b, c] * right[n, a, b, c]`` for
    ``rows`` x ``columns`` vectors that stay in registers while the sums grow.

    All places are affine: ``out_at`` and ``begin_at`` are (start, step of t, step of n),
    ``left_at`` is (start, steps of t, a, b, c), ``right_at`` (start, steps of n, a, b, c),
    ``counts`` how many a, b, c there are. ``rows`` and ``columns`` are written as numbers.
    ``right`` may be [places, 1]: numbers that all networks share.
    """
    three, five = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 5)

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        unpacked = [cgutils.unpack_tuple(emit, arguments[i]) for i in (3, 5, 7, 9, 10)]
        of_out, *places, counts = unpacked
        sums = _sums(
            context,
            emit,
            (rows.literal_value, columns.literal_value),
            (begin, left, right),
            (arguments[4], arguments[6], arguments[8]),
            (places[0], places[1], places[2]),
            counts,
        )
        to = _pointer(context, emit, out, arguments[2])
        for (t, n), total in sums.items():
            place = _place(emit, of_out[0], (of_out[1], t), (of_out[2], n))
            emit.store(emit.load(total), emit.gep(to, [place]), align=_align(out.dtype))
        return context.get_dummy_value()

    kinds = (rows, columns, out, three, begin, three, left, five, right, five, three)
    return types.void(*kinds), generate


@_inline(prefer_literal=True)
def tile_above(
    _context: Any,
    rows: Any,
    columns: Any,
    out: Any,
    _out_at: Any,
    begin: Any,
    _begin_at: Any,
    left: Any,
    _left_at: Any,
    right: Any,
    _right_at: Any,
    _counts: Any,
    more: Any,
    _more_at: Any,
    floor: Any,
) -> Any:
    """``tile``, with ``more[t, n]`` added at the end, and at least ``floor[0]``: 0 for a ReLU,
    minus infinity for none. NaN stays NaN."""
    three, five = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 5)

    def generate(context: Any, emit: Any, _signature: Any, arguments: Any) -> Any:
        unpacked = [cgutils.unpack_tuple(emit, arguments[i]) for i in (3, 5, 7, 9, 10, 12)]
        of_out, *places, counts, of_more = unpacked
        sums = _sums(
            context,
            emit,
            (rows.literal_value, columns.literal_value),
            (begin, left, right),
            (arguments[4], arguments[6], arguments[8]),
            (places[0], places[1], places[2]),
            counts,
        )
        align = _align(out.dtype)
        to, other = (_pointer(context, emit, k, arguments[i]) for k, i in ((out, 2), (more, 11)))
        lowest = emit.load(_pointer(context, emit, floor, arguments[13]), align=align)
        for (t, n), total in sums.items():
            place = _place(emit, of_more[0], (of_more[1], t), (of_more[2], n))
            value = emit.load(emit.gep(other, [place]), align=align)
            value = emit.fadd(emit.load(total), value)
            value = emit.select(emit.fcmp_ordered("<", value, lowest), lowest, value)
            place = _place(emit, of_out[0], (of_out[1], t), (of_out[2], n))
            emit.store(value, emit.gep(to, [place]), align=align)
        return context.get_dummy_value()

    kinds = (rows, columns, out, three, begin, three, left, five, right, five, three)
    return types.void(*kinds, more, three, floor), generate
