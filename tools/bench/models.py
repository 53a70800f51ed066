"""Speed of the small models: images per second of one core in training (forward, backward, step),
batches of 64.

The figures behind ``zoo.rates``: beside each stands what the estimate's constants predict, and
below the constants that fit best. Pictures are the models' reference input, noise; float32; one
thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch.nn import functional

from tools.bench.paired import interleave, print_table, ratio_line, settings, since, spread
from zoo import models
from zoo.devices import ACCELERATORS

__all__ = ["main"]

_BATCH = 64
_PASSES = 3.0
_SECONDS = 0.6


def stepper(name: str) -> Callable[[int], float]:
    """A function that takes so many training steps and returns their seconds."""
    entry = models.model(name)
    torch.manual_seed(0)
    network = models.build(
        name, num_classes=10, in_channels=entry.reference_channels, size=entry.reference_size
    )
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    # As zoo.training.tensors.normalise leaves them: laid out with the channels last.
    pictures = (
        torch.randn(_BATCH, entry.reference_size, entry.reference_size, entry.reference_channels)
        .permute(0, 3, 1, 2)
        .contiguous()
    )
    labels = torch.randint(0, 10, (_BATCH,))

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            loss = functional.cross_entropy(network(pictures), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return since(began)

    return steps


def fitted(seconds: dict[str, float]) -> tuple[float, float]:
    """(fixed seconds per image, multiply-adds per second in 1e9) with the smallest relative errors;
    neither below zero."""
    gigamacs = np.array([models.model(name).mega_macs / 1e3 for name in seconds])
    values = np.array(list(seconds.values()))
    weighted = np.stack([1 / values, _PASSES * gigamacs / values], axis=1)
    fixed, slope = np.linalg.lstsq(weighted, np.ones(len(values)), rcond=None)[0]
    return float(max(fixed, 0.0)), float(1 / max(slope, 1e-9))


def main(argv: Sequence[str] | None = None) -> int:
    """Print images per second of every small model beside the estimate."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    torch.set_num_threads(1)
    small = [entry.name for entry in models.MODELS.values() if not entry.build.startswith("timm:")]
    steppers = {name: stepper(name) for name in small}
    # As many steps as fit the time, found from a step after the first, which prepares kernels.
    for steps in steppers.values():
        steps(1)
    counts = {
        name: max(1, round(_SECONDS / (10 if options.quick else 1) / steps(1)))
        for name, steps in steppers.items()
    }
    found = interleave(
        {name: partial(steppers[name], counts[name]) for name in small},
        options.rounds,
        warm_up=False,
    )
    core = ACCELERATORS["cpu-core"]
    rows: list[dict[str, str | float | int]] = []
    factors = []
    seconds = {
        name: statistics.median(values) / counts[name] / _BATCH for name, values in found.items()
    }
    for name in small:
        rates = spread([counts[name] * _BATCH / value for value in found[name]])
        gigamacs = models.model(name).mega_macs / 1e3
        estimated = 1 / (core.image_seconds + _PASSES * gigamacs / core.training_gigamacs)
        factors.append(rates.median / estimated)
        rows.append(
            {
                "name": name,
                "images_per_second": rates.median,
                "lowest": rates.low,
                "highest": rates.high,
                "gigamacs_per_second": rates.median * gigamacs * _PASSES,
                "estimated_images_per_second": estimated,
            }
        )
    print_table(rows, f"training on one core, batches of {_BATCH}, float32")
    ratio_line("measured / estimated images per second, over the models", spread(factors))
    fixed, rate = fitted(seconds)
    print(f"constants that fit best: image_seconds = {fixed:.2g}, training_gigamacs = {rate:.3g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
