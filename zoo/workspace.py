"""A workspace: one folder that holds everything a study makes. Every path is named here.

::

    FORMAT.json               format and version; refused if newer than this zoo
    commits/<kind>/*.json     what is visible (zoo.store.commits)
    datasets/ checkpoints/ trainings/ answers/ selections/     immutable files behind the commits
    resume/<training_id>/     newest state of an unfinished training; removed when it is done
    attempts/                 diagnosis of failures; never trusted for truth
    cache/                    decoded pictures; may be deleted at any time
    results/*.csv figures/ report.html     derived, replaced as a whole
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.spec import canonical_json
from zoo.store.commits import Commits
from zoo.store.files import LocalFiles

__all__ = ["WORKSPACE_VERSION", "Workspace"]

WORKSPACE_VERSION = 1


class Workspace:
    """An open workspace. ``Workspace.open`` verifies before anything is written, and never deletes to create.

    Raises:
        UsageError: for a location this version cannot use.
        NotFoundError: if ``create`` is false and there is none.
        StoreError: if the folder is not writable, is something else, or has a newer format.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = LocalFiles(root)
        self.commits = Commits(self.files)

    @classmethod
    def open(cls, location: str | Path, *, create: bool = False) -> Workspace:
        text = str(location)
        if "://" in text:
            raise UsageError(f"workspace {text!r}: only folders are supported, local or on a network file system. Use --workspace DIR.")
        root = Path(text).expanduser().absolute()
        marker = root / "FORMAT.json"
        if marker.exists():
            cls._verify(marker)
            return cls(root)
        if not create:
            raise NotFoundError(f"no workspace at {root}. Make one with 'zoo demo' or 'zoo train', or choose another with --workspace DIR.")
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StoreError(f"{root} exists and is not a zoo workspace. Choose a new or an empty folder with --workspace DIR.")
        workspace = cls(root)
        workspace.files.publish(
            "FORMAT.json",
            canonical_json({"format": "zoo-workspace", "version": WORKSPACE_VERSION, "min_reader": WORKSPACE_VERSION}).encode(),
        )
        return workspace

    @staticmethod
    def _verify(marker: Path) -> None:
        try:
            content = json.loads(marker.read_bytes())
            needed = int(content["min_reader"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{marker} cannot be read as a workspace's format file ({error}). Restore it or choose another --workspace."
            ) from None
        if needed > WORKSPACE_VERSION:
            raise StoreError(
                f"{marker.parent} needs a zoo that reads workspace version {needed}; this one reads {WORKSPACE_VERSION}. Use a newer zoo."
            )

    def check_writable(self) -> None:
        """Probe with a real write before long work starts.

        Raises:
            StoreError: if the workspace cannot be written.
        """
        self.files.replace(f"attempts/.probe-{os.getpid()}", b"probe")
        self.files.remove(f"attempts/.probe-{os.getpid()}")

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
