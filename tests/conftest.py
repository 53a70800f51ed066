"""Shared by all tests: hypothesis without a deadline (the machine may be busy), one thread per process."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")
