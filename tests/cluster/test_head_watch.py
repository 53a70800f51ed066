"""Whom the watch of the head ends. (On Ray: ``test_nodes.py``, ``test_fill_ray.py``.)"""

from __future__ import annotations

import time

import pytest

from zoo.cluster import nodes


def test_only_a_process_that_is_connected_is_ended_for_a_head_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody answers: a process without a session goes on; twin: one that has a session ends."""
    ended: list[int] = []
    monkeypatch.setattr(nodes, "_HEAD_SECONDS", 0.1)
    monkeypatch.setattr(nodes, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(nodes.os, "_exit", ended.append)
    for connected in (False, True):
        monkeypatch.setattr(nodes.ray, "is_initialized", lambda known=connected: known)
        with nodes.head_watched(lambda: None):
            time.sleep(1.5)
        assert bool(ended) is connected
