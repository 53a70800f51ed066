"""Orchestration: what a training costs beyond its own work, for 100 trainings of a trivial model
through ``zoo train`` on Ray.

Softmax regression, one epoch, 2 % of fashion-mini. Own work is ``train_seconds`` of the ledger
(data, training, evaluation, checkpoint); two workers share it. Overhead per training = (wall time
of the command - own work / workers) / trainings. A second command with few trainings separates what
is paid once (interpreter, Ray session, workers that import torch) from what every further training
costs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo.store import ledger
from zoo.store.workspace import Workspace

__all__ = ["main"]

_WORKERS = 2
_LIMIT = 0.25
_ZOO = [sys.executable, "-c", "from zoo.cli.main import main; main()"]


class Sweep:
    """``zoo train`` with so many seeds, into a new workspace each time; keeps the own work of each
    run."""

    def __init__(self, trainings: int) -> None:
        self.trainings = trainings
        self.own: list[float] = []

    def run(self) -> float:
        """Wall seconds of the command."""
        with tempfile.TemporaryDirectory() as folder:
            workspace = Path(folder) / "workspace"
            options = [
                "--data",
                "fashion-mini",
                "--archs",
                "softmax",
                "--fractions",
                "0.02",
                "--epochs",
                "1",
            ]
            seeds = ",".join(map(str, range(self.trainings)))
            command = [
                *_ZOO,
                "train",
                *options,
                "--seeds",
                seeds,
                "--cpus",
                str(_WORKERS),
                "-w",
                str(workspace),
            ]
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds = since(began)
            frame = ledger.trainings_frame(Workspace.open(workspace))
            assert (frame["status"] == "done").sum() == self.trainings
            self.own.append(float(frame["train_seconds"].sum()))
        return seconds

    def overheads(self, seconds: Sequence[float]) -> list[float]:
        """Wall seconds per training beyond own work, round by round."""
        return [
            (wall - own / _WORKERS) / self.trainings
            for wall, own in zip(seconds, self.own, strict=True)
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print wall time, own work and overhead of both sweeps."""
    options = settings(str(__doc__), rounds=3, argv=argv)
    few, many = (Sweep(n) for n in ((2, 20) if options.quick else (10, 100)))
    seconds = interleave(
        {"few": few.run, "many": many.run}, 1 if options.quick else options.rounds, warm_up=False
    )
    rows: list[dict[str, str | float | int]] = [
        {
            "trainings": sweep.trainings,
            "wall_seconds": spread(seconds[name]).text(),
            "own_seconds": spread(sweep.own).text(),
            "overhead_seconds_per_training": spread(sweep.overheads(seconds[name])).text(),
        }
        for name, sweep in (("few", few), ("many", many))
    ]
    print_table(rows, f"zoo train, softmax, 1 epoch on 100 pictures, Ray with {_WORKERS} workers")
    overhead = spread(many.overheads(seconds["many"]))
    further = [
        (b - a - (y - x) / _WORKERS) / (many.trainings - few.trainings)
        for a, b, x, y in zip(seconds["few"], seconds["many"], few.own, many.own, strict=True)
    ]
    met = "met" if overhead.median < _LIMIT else "MISSED"
    limit = "" if options.quick else f"; target < {_LIMIT} s: {met}"
    print(f"overhead per training of {many.trainings} = {overhead.text()} s{limit}")
    once = [
        wall - own / _WORKERS - few.trainings * each
        for wall, own, each in zip(seconds["few"], few.own, further, strict=True)
    ]
    print(
        f"overhead of every further training = {spread(further).text()} s; paid once ="
        f" {spread(once).text()} s"
    )
    own_share = [own / _WORKERS for own in many.own]
    ratio_line("wall time / own work on two workers", ratios(seconds["many"], own_share))
    return 0


if __name__ == "__main__":
    sys.exit(main())
