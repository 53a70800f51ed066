"""What something derived was made from: a data set, one of its splits, the classifiers that scored
it. Whoever uses it asks whether it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """Where a score, a selection or a comparison comes from.

    Args:
        dataset: fingerprint of the data set; empty in what a zoo made that did not record it.
        split: the split whose examples it is about; empty likewise.
        population: hash of the ids of the classifiers behind it (``Population.id``); empty
            likewise, and where there are none.
    """

    dataset: str = ""
    split: str = ""
    population: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> Self:
        """The origin among other facts of a record or a table; what is not recorded is empty."""
        return cls(*(str(about.get(name) or "") for name in ("dataset", "split", "population")))

    def fits(self, dataset: str, split: str) -> bool | None:
        """Whether it is about this split of this data set; None if it is not recorded and nothing
        speaks against it."""
        if self.dataset not in ("", dataset) or self.split not in ("", split):
            return False
        return None if "" in (self.dataset, self.split) else True
