"""Predictions made elsewhere, as files, and what their scores are in plain numpy.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from factories import QUIET
from numpy.typing import NDArray

from zoo.exchange import importing
from zoo.exchange.importing import Request, import_predictions

N, E, M = 5, 130, 4


def outputs(
    members: int = N, examples: int = E, classes: int = M, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits [N, E, M] that lean to the label, and labels [E]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    values = rng.normal(0, 2, (members, examples, classes))
    values[:, np.arange(examples), labels] += 2
    return values, labels


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def oracle(
    values: NDArray[np.float64], labels: NDArray[np.int64], *, probs: bool = False
) -> dict[str, NDArray[np.float64]]:
    """X, C and label quality in plain numpy, from logits or probabilities [N, E, M]."""
    p = values if probs else softmax(values)
    n, rows = len(values), np.arange(values.shape[1])
    x = (values.argmax(2) != labels).mean(0)
    surprise = np.zeros_like(p)
    surprise[p > 0] = -p[p > 0] * np.log2(p[p > 0])
    c = 2 ** surprise.sum(2).mean(0)
    quality = 1 - (n * x + 1 - p[:, rows, labels].mean(0)) / (n + 1)
    return {"x_perplexity": x, "c_perplexity": c, "label_quality": quality}


def agree(scores: pd.DataFrame, expected: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_allclose(
        scores["x_perplexity"].to_numpy(), expected["x_perplexity"], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        scores["c_perplexity"].to_numpy(), expected["c_perplexity"], rtol=1e-6
    )
    np.testing.assert_allclose(
        scores["label_quality"].to_numpy(), expected["label_quality"], rtol=1e-6
    )


def save(folder: Path, values: NDArray[Any], stem: str = "net") -> list[Path]:
    """One .npy per classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{i}.npy" for i in range(len(values))]
    for path, one in zip(paths, values, strict=True):
        np.save(path, one)
    return paths


def labels_file(folder: Path, labels: NDArray[Any], name: str = "labels.npy") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, labels)
    return folder / name


def bring(place: Path, files: list[Path], labels: Path | None, **more: Any) -> importing.Imported:
    return import_predictions(str(place), Request(tuple(files), labels, **more), QUIET)
