"""A manifest: which examples to train on, with which label, how often, with which weight."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from zoo.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Manifest"]

_MAX_COPIES: Final = np.iinfo(np.int16).max  # what a file holds


@dataclass(frozen=True, eq=False)
class Manifest:
    """The outcome of a selection: which examples to train on, under which label, how often, with
    what weight.

    Args:
        example_ids: int64 [n], unique.
        labels: int64 [n].
        copies: int64 [n], 0 to 32767: how often each example enters an epoch; 0 = not at all.
        weights: float32 [n], finite, not negative.
        reasons: n texts, why an example is as it is, such as a reviewer's decision; empty = nothing
            to say. None = nothing of any.

    Raises:
        UsageError: if the columns do not fit these words.
    """

    example_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    copies: NDArray[np.int64]
    weights: NDArray[np.float32]
    reasons: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.example_ids), len(self.labels), len(self.copies), len(self.weights)}
        lengths |= set() if self.reasons is None else {len(self.reasons)}
        if len(lengths) != 1:
            raise UsageError(
                f"manifest: its columns have {sorted(lengths)} rows. All its columns need one"
                " entry per example. Make the selection again."
            )
        repeated = len(self.example_ids) - len(np.unique(self.example_ids))
        if repeated:
            raise UsageError(
                f"manifest: {repeated} of {len(self.example_ids)} rows repeat an example id. "
                "Each example may stand there once. Give repetitions in the column copies."
            )
        if len(self.copies) and self.copies.min() < 0:
            raise UsageError(
                f"manifest: copies has {self.copies.min()}. Allowed are 0, 1, 2, .... Use 0 to"
                " leave an example out."
            )
        if len(self.copies) and self.copies.max() > _MAX_COPIES:
            raise UsageError(
                f"manifest: an example would be used {self.copies.max()} times. Allowed: up to"
                f" {_MAX_COPIES} copies. Ask for fewer per class, or drop the classes that are"
                " nearly empty."
            )
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            wrong = self.weights[~(np.isfinite(self.weights) & (self.weights >= 0))][0]
            raise UsageError(
                f"manifest: weights has {wrong}. Allowed are finite numbers from 0. Use 1 for an"
                " ordinary example."
            )

    def __len__(self) -> int:
        return len(self.example_ids)

    def take(self, rows: NDArray[Any]) -> Manifest:
        """These rows alone, by position or by mask."""
        return Manifest(
            self.example_ids[rows],
            self.labels[rows],
            self.copies[rows],
            self.weights[rows],
            None if self.reasons is None else self.reasons[rows],
        )

    def with_rows(self, other: Manifest) -> Manifest:
        """This manifest and the rows of another, which has none of its examples."""
        return Manifest(
            np.concatenate([self.example_ids, other.example_ids]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.copies, other.copies]),
            np.concatenate([self.weights, other.weights]),
        )

    def equals(self, other: Manifest) -> bool:
        """Whether both have the same rows in the same order."""
        return all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(
                self._columns().values(), other._columns().values(), strict=True
            )
        )

    @cached_property
    def digest(self) -> str:
        """16 hex digits of the sha256 of the content, whatever the order of rows or the width of
        the integer types. Reasons count where there are some."""
        columns = list(self._columns().values())
        order = np.lexsort(columns[::-1])  # of unique ids, so no other column has a say
        digest = hashlib.sha256(b"zoo manifest 1\n")
        for column in columns:
            digest.update(
                np.ascontiguousarray(column[order].astype(column.dtype.newbyteorder("<"))).tobytes()
            )
        if (reasons := self._reasons()) is not None:
            digest.update(json.dumps([str(reasons[row]) for row in order.tolist()]).encode())
        return digest.hexdigest()[:16]

    def _reasons(self) -> NDArray[np.str_] | None:
        return self.reasons if self.reasons is not None and (self.reasons != "").any() else None

    def frame(self) -> pd.DataFrame:
        """For files and people: example_id int64, label int32, copies int16, weight float32; reason
        (text) where there are some."""
        import pandas as pd

        frame, reasons = pd.DataFrame(self._columns()), self._reasons()
        return frame if reasons is None else frame.assign(reason=[str(r) for r in reasons])

    def _columns(self) -> dict[str, NDArray[Any]]:
        return {
            "example_id": self.example_ids.astype(np.int64),
            "label": self.labels.astype(np.int32),
            "copies": self.copies.astype(np.int16),
            "weight": self.weights.astype(np.float32),
        }
