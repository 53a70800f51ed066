"""How often the interval of the estimated number of wrong labels holds the true number.

Simulated sets: examples of M classes with a margin each, drawn anew; G groups of classifiers see it
with noise of their own and are over- or under-confident; given labels are drawn from what is really
so, with a share of wrong ones. Two kinds of wrong labels: any other class alike, which is what the
estimate assumes, and half of them the class most like the true one, which it does not.

Run: python -m tools.bench.label_count [--sets 200] [--noise uniform]
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.scores.label_count import count_wrong

__all__ = ["coverage", "simulated", "simulated_truth"]

_CONFUSING = {"uniform": False, "half-alike": True}


def simulated(
    seed: int, **about: Any
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int]:
    """Sums [G, E, M], counts [G, E], labels [E], and how many of these are wrong."""
    sums, counts, labels, wrong = simulated_truth(seed, **about)
    return sums, counts, labels, int(wrong.sum())


def simulated_truth(
    seed: int, *, examples: int, classes: int, rate: float, strength: float, confusing: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The same, with which labels are wrong, bool [E]."""
    generator = np.random.default_rng(seed)
    groups = 4
    truth = generator.integers(0, classes, examples)
    rows = np.arange(examples)
    # What a perfect observer sees of each picture: the truth is drawn from it, so that hard
    # pictures are hard for everybody.
    evidence = generator.normal(0, 1, (examples, classes))
    evidence[rows, truth] += strength
    sharpness = generator.uniform(0.7, 1.6, groups)
    sums = np.empty((groups, examples, classes))
    for group in range(groups):
        z = sharpness[group] * (strength * evidence + generator.normal(0, 1, evidence.shape))
        q = np.exp(z - z.max(axis=1, keepdims=True))
        sums[group] = q / q.sum(axis=1, keepdims=True)
    labels = truth.copy()
    wrong = generator.random(examples) < rate
    labels[wrong] = (truth[wrong] + generator.integers(1, classes, wrong.sum())) % classes
    if confusing:
        other = evidence.copy()
        other[rows, truth] = -np.inf
        half = wrong & (generator.random(examples) < 0.5)
        labels[half] = other.argmax(axis=1)[half]
    counts = np.ones((groups, examples), dtype=np.int64)
    return sums, counts, labels, labels != truth


def coverage(sets: int, **about: object) -> dict[str, float]:
    """Over simulated sets: share of intervals that hold the truth, mean of the estimate and of the
    truth, and of the confident joint."""
    rows = []
    for seed in range(sets):
        sums, counts, labels, wrong = simulated(seed, **about)
        found = count_wrong(sums, counts, labels)
        rows.append((found.low <= wrong <= found.high, found.count, wrong, found.confident_joint))
    means = np.mean(rows, axis=0)
    return dict(zip(("covered", "estimate", "true", "confident_joint"), means, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--noise", choices=(*_CONFUSING, "both"), default="both")
    own = parser.parse_args()
    sets = own.sets
    print("noise      examples  classes  rate  strength  covered  estimate  true  confident joint")
    for name, confusing in _CONFUSING.items():
        if own.noise not in (name, "both"):
            continue
        for examples, classes, rate, strength in (
            (500, 5, 0.05, 2.5),
            (1000, 10, 0.05, 2.5),
            (1000, 10, 0.10, 2.0),
            (1000, 10, 0.02, 3.0),
        ):
            found = coverage(
                sets,
                examples=examples,
                classes=classes,
                rate=rate,
                strength=strength,
                confusing=confusing,
            )
            print(
                f"{name:<10} {examples:>8}  {classes:>7} "
                f" {rate:.2f}  {strength:>8}  {found['covered']:>7.3f}  {found['estimate']:>8.1f} "
                f" {found['true']:>4.1f}  {found['confident_joint']:>15.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
