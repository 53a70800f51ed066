"""What every benchmark here shares: sides that take turns, ratios of neighbours, tables, and a word
about the machine.

Two sides are timed one after the other, round after round, in changing order, and compared round by
round: a machine that slows down slows both sides of a round, so the ratio of a round says more than
the ratio of two separate runs. Reported is the median of those ratios with the smallest and the
largest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from typing import Any

__all__ = [
    "Spread",
    "Workers",
    "interleave",
    "machine",
    "print_table",
    "ratio_line",
    "ratios",
    "settings",
    "since",
    "spread",
    "timed",
]

Side = Callable[[], float]
"""Does its work once and returns what counts of it, in seconds (so that a side can leave its own
preparation out)."""


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some figures."""

    median: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 3) -> str:
        """``3.61 (3.2..3.9)``."""
        return (
            f"{_short(self.median, digits)}"
            f" ({_short(self.low, digits)}..{_short(self.high, digits)})"
        )


def spread(values: Sequence[float]) -> Spread:
    """Median with smallest and largest; at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def interleave(
    sides: Mapping[str, Side], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Run all sides in turn, ``rounds`` times, every other round backwards, so that no side always
    follows the same one.

    Args:
        warm_up: run every side once before, uncounted.

    Returns:
        Seconds of each side, round by round.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    if warm_up:
        for side in sides.values():
            side()
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            found[name].append(sides[name]())
    return found


def ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Ratios of neighbours: round by round, never of medians."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])


def timed(work: Callable[[], object]) -> Side:
    """A side whose whole work counts."""

    def side() -> float:
        began = time.perf_counter()
        work()
        return since(began)

    return side


def since(began: float) -> float:
    """Seconds since a ``time.perf_counter()``."""
    return time.perf_counter() - began


# --------------------------------------------------------------- processes that wait for their turn


class Workers:
    """Processes started once that do their work whenever told: their start-up is outside every
    measurement.

    Args:
        factory: a function of a module, called in each process with one element of ``arguments``
            (and no other work); returns the work.
    """

    def __init__(
        self, factory: Callable[..., Callable[[], object]], arguments: Sequence[tuple[Any, ...]]
    ) -> None:
        # a fork would inherit torch's threads without their thread pool
        context = multiprocessing.get_context("spawn")
        self._connections: list[Connection] = []
        self._processes = []
        for values in arguments:
            ours, theirs = context.Pipe()
            # Not a daemon: a DataLoader in it must be able to have children of its own.
            process = context.Process(target=_serve, args=(theirs, factory, values))
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)
        self._gather()

    def run(self) -> float:
        """Seconds from telling all of them to work until the last is done."""
        began = time.perf_counter()
        for connection in self._connections:
            connection.send("run")
        self._gather()
        return since(began)

    def _gather(self) -> None:
        for connection in self._connections:
            if (failure := connection.recv()) is not None:
                raise RuntimeError(failure)

    def close(self) -> None:
        """End the processes."""
        for connection in self._connections:
            connection.close()  # their recv() ends with EOFError
        for process in self._processes:
            process.join()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(
    connection: Connection, factory: Callable[..., Callable[[], object]], values: tuple[Any, ...]
) -> None:
    try:
        work = factory(*values)
        connection.send(None)
        while True:
            connection.recv()
            work()
            connection.send(None)
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - handed to the process that measures, which raises it
        connection.send(f"{type(error).__name__}: {error}")


# ---------------------------------------------------------------- what is printed


def _short(value: float, digits: int) -> str:
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def print_table(rows: Sequence[Mapping[str, str | float | int]], title: str) -> None:
    """One tidy table: a column per key of the first row, numbers to the right."""
    columns = list(rows[0])
    cells = [
        [
            value if isinstance(value, str) else _short(value, 4)
            for value in (row[c] for c in columns)
        ]
        for row in rows
    ]
    widths = [
        max(len(column), *(len(line[i]) for line in cells)) for i, column in enumerate(columns)
    ]
    numbers = [not isinstance(rows[0][column], str) for column in columns]

    def line(texts: Sequence[str]) -> str:
        placed = (
            t.rjust(w) if right else t.ljust(w)
            for t, w, right in zip(texts, widths, numbers, strict=True)
        )
        return "  ".join(placed).rstrip()

    print(f"\n{title}")
    print(line(columns))
    print("  ".join("-" * width for width in widths))
    for texts in cells:
        print(line(texts))


def ratio_line(what: str, ratio: Spread, target: float | None = None, *, digits: int = 3) -> None:
    """``ratio WHAT = 3.61 (3.2..3.9) in 5 rounds; target >= 3.0: met``."""
    verdict = (
        ""
        if target is None
        else f"; target >= {target:g}: {'met' if ratio.median >= target else 'MISSED'}"
    )
    print(
        f"ratio {what} = {ratio.text(digits)} in {ratio.count}"
        f" round{'s' if ratio.count != 1 else ''}{verdict}",
        flush=True,
    )


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - no path of the project
            return next(
                line.partition(":")[2].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):  # not Linux, or not a PC
        return platform.processor() or platform.machine()


def machine() -> str:
    """One line: processor, cores, load, versions that matter for speed."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    versions = ", ".join(
        f"{name} {_version(name)}" for name in ("torch", "numpy", "pyarrow", "ray")
    )
    return (
        f"machine: {processor()}, {os.cpu_count()} cores, load {load}; Python"
        f" {platform.python_version()}, {versions}"
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def settings(
    description: str, *, rounds: int, argv: Sequence[str] | None = None
) -> argparse.Namespace:
    """Options that all benchmarks have: ``quick`` and ``rounds``. Prints the machine.

    Args:
        description: the module's docstring; its first line is shown.
        rounds: default number of rounds; 2 with ``--quick``.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a short run that only shows that the benchmark works"
    )
    parser.add_argument("--rounds", type=int, help=f"rounds (default {rounds}, 2 with --quick)")
    chosen = parser.parse_args(argv)
    if chosen.rounds is None:
        chosen.rounds = 2 if chosen.quick else rounds
    print(f"\n== {description.splitlines()[0]}\n{machine()}", flush=True)
    sys.stdout.flush()
    return chosen
