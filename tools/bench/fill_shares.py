"""Where the processor time of a fill goes: networks, decoding, loading, answers, writing.

Populations of 500 classifiers, LeNet-5s and study 2's ten networks at laptop scale (snapshots of
trainings of a few steps), on as many PNG pictures of fashion-mini as a split of that study has,
through ``plan_fill`` and ``LocalRunner``: one process, one thread, answers and logits written and
committed. In groups of at most 128, once in blocks, each decoded once for all groups, and once with
every group decoding for itself, which was how a fill went before it had blocks. *networks* is time
inside the modules' ``forward`` alone, so they answer one by one (``--program single``).
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tools.bench.filling import Passes, with_classifiers, write_pictures
from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, spread
from zoo import local
from zoo.fill import predict, program
from zoo.fill.plan import FillBlock, FillPlan, decode_block
from zoo.local import LocalRunner
from zoo.store.answers import write_part
from zoo.studies.populations import SCORING
from zoo.training.checkpoint import load_classifiers

__all__ = ["main"]

_SIDES = ("in blocks", "every group for itself")


class _Timed(torch.nn.Module):
    """A network that counts the processor time it takes."""

    def __init__(self, network: torch.nn.Module, spent: Counter[str]) -> None:
        super().__init__()
        self.network, self.spent = network, spent

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        began = time.process_time()
        logits: torch.Tensor = self.network(x)
        self.spent["networks"] += time.process_time() - began  # type: ignore[assignment]
        return logits


class Accounts:
    """Fills of one population in this process, with the processor time of their parts."""

    parts = ("networks", "decoding", "loading", "answers", "writing", "whole")

    def __init__(self, passes: Passes) -> None:
        self.passes = passes
        self.spent: Counter[str] = Counter()
        self.kept: dict[str, list[Counter[str]]] = {}

    def _timed(self, name: str, work: Any) -> Any:
        def run(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return work(*arguments, **named)
            finally:
                self.spent[name] += time.process_time() - began  # type: ignore[assignment]

        return run

    def _loaded(self, *arguments: Any) -> Any:
        return [
            (_Timed(network, self.spent), preprocessing)
            for network, preprocessing in load_classifiers(*arguments)
        ]

    def fill(self, side: str) -> float:
        """Seconds of processor time of one fill."""
        self.spent = Counter()
        changed: dict[tuple[Any, str], Any] = {
            (local, "decode_block"): self._timed("decoding", decode_block),
            (predict, "load_classifiers"): self._timed("loading", self._loaded),
            (predict, "answers_of"): self._timed("answers", predict.answers_of),
            (predict, "write_part"): self._timed("writing", write_part),
        }
        if side == _SIDES[1]:
            changed[FillPlan, "blocks"] = lambda plan: [FillBlock((task,)) for task in plan.tasks]
        before = {place: getattr(*place) for place in changed}
        try:
            for place, value in changed.items():
                setattr(*place, value)
            began = time.process_time()
            self.passes.fill(LocalRunner("cpu"), 0)
            self.spent["whole"] = time.process_time() - began  # type: ignore[assignment]
        finally:
            for place, value in before.items():
                setattr(*place, value)
        self.kept.setdefault(side, []).append(self.spent)
        return float(self.spent["whole"])


def population(rounds: int, examples: int, classifiers: int) -> None:
    """Both populations, of about so many classifiers."""
    for name, archs in (("LeNet-5s", ("lenet5",) * 10), ("study 2's ten", SCORING["laptop"])):
        snapshots = -(-classifiers // len(archs))
        with tempfile.TemporaryDirectory() as folder:
            dataset = write_pictures(Path(folder) / "pictures", examples)
            template = with_classifiers(Path(folder) / "template", dataset, archs, snapshots)
            accounts = Accounts(Passes(template, dataset, Path(folder)))
            seconds = interleave(
                {side: partial(accounts.fill, side) for side in _SIDES}, rounds, warm_up=False
            )
        count = len(archs) * snapshots
        rows: list[dict[str, str | float | int]] = [
            {
                "side": side,
                **{
                    f"{part}_percent": spread(
                        [100 * each[part] / each["whole"] for each in accounts.kept[side]]
                    ).text()
                    for part in Accounts.parts[:-1]
                },
                "us_per_answer": spread([s / count / examples * 1e6 for s in values]).text(),
            }
            for side, values in seconds.items()
        ]
        print_table(rows, f"fill of {count} classifiers ({name}) on {examples:,} PNG pictures, CPU")
        ratio_line(
            f"every group for itself / in blocks, CPU seconds, {name}",
            ratios(*(seconds[side] for side in _SIDES[::-1])),
        )
        share = spread([each["networks"] / each["whole"] for each in accounts.kept[_SIDES[0]]])
        ratio_line(f"CPU inside the networks / CPU of the fill, {name}", share, 0.85)


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    options = settings(str(__doc__), rounds=3, argv=argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ[program.SETTING] = "single"
    if options.quick:
        population(1, 256, 150)
    else:
        population(options.rounds, 10_000, 500)
    return 0


if __name__ == "__main__":
    sys.exit(main())
