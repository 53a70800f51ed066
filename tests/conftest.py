"""Shared by all tests: hypothesis without a deadline (the machine may be busy), one thread per
process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from factories import Tiny

settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """One tiny workspace, trained and filled once; see ``factories.trained_workspace``. Tests read
    it and never write to it."""
    from factories import trained_workspace

    return trained_workspace(tmp_path_factory.mktemp("trained"))
