"""The compiled kernel: from raw logits to entropy, argmax, p(label), margin and top 5, against
numpy and torch, per row and element.

Sides, all on the same rows and all giving the same ten numbers per row:

- *plain numpy*: float32, an expression per line, all rows at once, as a notebook has it; *numpy in
  pieces*: the same, 64 rows at a time, so that nothing leaves the cache; *fewest numpy*: in pieces,
      no logarithm per element, no ``argpartition`` but five passes of ``argmax``;
- *reference*: ``zoo.scores.outputs.answers_from_logits`` (float64); *torch*:
  ``zoo.fill.predict.answers_of``, what a fill calls;
- *kernel*: ``tools.bench.compiled.answers``, if the extra ``fast`` is installed.

One thread each, in CPU time: a side that takes longer is interrupted more often by whatever else
runs, and wall time would count that for the kernel.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tools.bench import compiled as kernel
from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo.fill.predict import answers_of
from zoo.scores.outputs import answers_from_logits
from zoo.store.answers import TOP_CLASSES

__all__ = ["main"]

_SHIFT = 20.0
"""Added to every logit: raw logits do not have their maximum at 0."""


def plain_numpy(logits: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Entropy, prediction, p(label), margin, top 5 and their probabilities of E rows."""
    z = logits.astype(np.float32)
    z -= z.max(axis=1, keepdims=True)
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    entropy = -(p * np.log2(np.maximum(p, np.float32(1e-37)))).sum(axis=1)
    kept = min(TOP_CLASSES, logits.shape[1])
    top = np.argpartition(-z, kept - 1, axis=1)[:, :kept]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(z, top, axis=1), axis=1), axis=1)
    top_p = np.take_along_axis(p, top, axis=1)
    own = p[np.arange(len(p)), labels]
    prediction = z.argmax(axis=1)
    return (
        entropy,
        prediction,
        own,
        own - np.where(prediction == labels, top_p[:, 1], top_p[:, 0]),
        top,
        top_p,
    )


def fewest_numpy(logits: NDArray[Any], labels: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """The same with the fewest and cheapest passes of numpy."""
    z = logits.astype(np.float32)
    z -= z.max(axis=1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=1)
    entropy = (np.log(total) - np.einsum("em,em->e", e, z) / total) / np.float32(np.log(2))
    rows = np.arange(len(z))
    own = e[rows, labels] / total
    top = np.empty((len(z), min(TOP_CLASSES, z.shape[1])), dtype=np.int64)
    for place in range(top.shape[1]):
        top[:, place] = z.argmax(axis=1)
        z[rows, top[:, place]] = -np.inf
    top_p = e[rows[:, None], top] / total[:, None]
    return (
        entropy,
        top[:, 0],
        own,
        own - np.where(top[:, 0] == labels, top_p[:, 1], top_p[:, 0]),
        top,
        top_p,
    )


def in_pieces(
    function: Callable[..., object], logits: NDArray[Any], labels: NDArray[np.int64]
) -> None:
    for start in range(0, len(logits), 64):
        function(logits[start : start + 64], labels[start : start + 64])


def _cpu_timed(work: Callable[[], object]) -> Callable[[], float]:
    """A side that counts the CPU seconds of its process."""

    def side() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return side


def compare(
    rounds: int, rows: int, classes: int, dtype: type[np.floating[Any]], target: float | None
) -> None:
    """One table: all sides at one number of classes and one type."""
    generator = np.random.default_rng(classes)
    logits = (generator.normal(size=(rows, classes)) * 3 + _SHIFT).astype(dtype)
    labels = generator.integers(0, classes, rows)
    work: dict[str, Callable[[], object]] = {
        "plain numpy": lambda: plain_numpy(logits, labels),
        "numpy in pieces": lambda: in_pieces(plain_numpy, logits, labels),
        "fewest numpy": lambda: in_pieces(fewest_numpy, logits, labels),
        "reference": lambda: answers_from_logits(logits, labels),
        "torch": lambda: answers_of(logits.astype(np.float32), labels),
    }
    if kernel.AVAILABLE:
        work["kernel"] = lambda: kernel.answers(logits, labels)
    seconds = interleave({name: _cpu_timed(side) for name, side in work.items()}, rounds)
    print_table(
        [
            {
                "side": name,
                "us_per_row": spread([s / rows * 1e6 for s in values]).text(),
                "ns_per_element": spread([s / rows / classes * 1e9 for s in values]).text(),
            }
            for name, values in seconds.items()
        ],
        f"{classes:,} classes, {np.dtype(dtype).name}, {rows:,} rows",
    )
    if not kernel.AVAILABLE:
        return
    for name in list(work)[:-1]:
        ratio_line(
            f"{name} / kernel",
            ratios(seconds[name], seconds["kernel"]),
            target if name in ("plain numpy", "numpy in pieces") else None,
        )
    found, expected = kernel.answers(logits, labels), answers_from_logits(logits, labels)
    same = bool(
        (found.prediction == expected.prediction).all() and (found.top5 == expected.top5).all()
    )
    error = float(np.abs(found.entropy - expected.entropy).max())
    p_error = float(np.abs(found.p_label - expected.p_label).max())
    print(
        f"predictions and top 5 equal: {same}; largest error {error:.2g} bit, p(label)"
        f" {p_error:.2g}; target <= 1e-05 bit"
    )


def vectorised() -> None:
    """What LLVM made of the kernel: packed or scalar multiply-adds, in which registers, and what
    the first call costs."""
    logits = np.zeros((1, 100), dtype=np.float32)
    began = time.perf_counter()
    kernel.answers(logits, np.zeros(1, dtype=np.int64))
    print(
        f"first call: {since(began):.2f} s (kept on disk after the first process: later ones only"
        " load it)"
    )
    from numba import njit

    rows: Any = kernel._rows
    compiled = njit(error_model="numpy")(rows.py_func)  # a kept one cannot be looked at
    compiled.compile(rows.signatures[0])
    listing = next(iter(compiled.inspect_asm().values()))
    packed, scalar = (
        len(re.findall(rf"vfn?m(?:add|sub)\d+{kind}", listing)) for kind in ("ps", "ss")
    )
    wide = {register: len(re.findall(register, listing)) for register in ("zmm", "ymm")}
    print(f"kernel: {packed} packed and {scalar} scalar multiply-adds, registers {wide}")


def main(argv: Sequence[str] | None = None) -> int:
    """Print all comparisons."""
    options = settings(str(__doc__), rounds=31, argv=argv)
    torch.set_num_threads(1)
    if kernel.AVAILABLE:
        vectorised()
    else:
        print("numba is not installed (the extra 'fast'): without the kernel")
    for classes in (10, 100, 1000):
        for dtype in (np.float32, np.float16):
            compare(
                options.rounds,
                512 if options.quick else 2048,
                classes,
                dtype,
                10 if classes == 1000 else None,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
