"""A tiny data set that the commands are tried on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import corners

LOCAL = ("--runner", "local")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of bright corners, eight wrong labels among 240."""
    return corners(tmp_path_factory.mktemp("data") / "corners")
