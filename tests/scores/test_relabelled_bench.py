"""``tools.bench.relabelled``: both sides after one label edit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.bench.relabelled import measured


def test_both_sides_have_the_same_x(tmp_path: Path) -> None:
    """Of three classifiers and 1,100 examples, which lie in two blocks: thirds, alike by both, and
    both take time."""
    seconds, found = measured(tmp_path / "w", 3, 1100, 1)
    assert found["x"].shape == (1100,)
    assert found["x"].tolist() == found["all"].tolist()
    assert np.unique(np.rint(3 * found["x"])).size > 1
    assert (3 * found["x"]).tolist() == pytest.approx(np.rint(3 * found["x"]))
    assert all(each[0] > 0 for each in seconds.values())
