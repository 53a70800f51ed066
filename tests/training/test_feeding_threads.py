"""How many threads decode ahead of a training, and that their number changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from zoo.training import loop


class Numbered:
    """Pictures that show their own position."""

    streamed = True

    def gather(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.uint8], None]:
        return np.broadcast_to(ids[:, None, None, None], (len(ids), 2, 2, 1)).astype(np.uint8), None


@pytest.mark.parametrize(
    ("device", "cpus", "threads"),
    [("cpu", 64, 2), ("cuda", 1, 2), ("cuda", 16, 16), ("cuda", 200, 32)],
)
def test_a_gpu_is_fed_by_all_cpus_of_its_process(
    monkeypatch: pytest.MonkeyPatch, device: str, cpus: int, threads: int
) -> None:
    monkeypatch.setattr(loop, "own_cpus", lambda: cpus)
    assert loop._fetch_threads(torch.device(device)) == threads


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_number_of_threads_changes_no_order(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(loop, "_fetch_threads", lambda _device: threads)
    batches = np.split(np.random.default_rng(0).permutation(60).astype(np.int64), 12)
    found = list(loop._fetch(Numbered(), batches, torch.device("cpu")))  # type: ignore[arg-type]
    assert [positions.tolist() for positions, _ in found] == [b.tolist() for b in batches]
    assert [raw[:, 0, 0, 0].tolist() for _, raw in found] == [b.tolist() for b in batches]
