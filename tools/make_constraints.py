"""Bring constraints.txt up to what is installed in .venv: names and versions only, never the
project, an address or a path.

    python -m tools.make_constraints

A pin of a package that is not installed here (an extra that was not asked for) stays as it is.
Install and test first, pin afterwards.
"""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path

__all__ = ["CONSTRAINTS", "renewed"]

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
_OWN = {"classifier-zoo", "pip"}


def renewed(text: str, installed: dict[str, str]) -> str:
    """The file's text with the versions of ``installed`` (name -> version); comments at its head
    are kept."""
    lines = text.splitlines()
    pins = {
        _normal(line.partition("==")[0]): line
        for line in lines
        if line and not line.startswith("#")
    }
    pins |= {
        _normal(name): f"{name}=={version}"
        for name, version in installed.items()
        if _normal(name) not in _OWN
    }
    head = [line for line in lines if line.startswith("#")]
    return "\n".join([*head, *sorted(pins.values(), key=str.lower)]) + "\n"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    found = {
        distribution.metadata["Name"]: distribution.version for distribution in distributions()
    }
    CONSTRAINTS.write_text(
        renewed(CONSTRAINTS.read_text(encoding="utf-8"), found), encoding="utf-8"
    )
    print(CONSTRAINTS)
