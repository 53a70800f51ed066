"""Small workspaces to export from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from commands import done
from factories import QUIET, UNREADABLE_TRAIN, Tiny, manifest

from zoo.exchange.importing import Request, import_predictions
from zoo.store.origin import Origin
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace

HALVES = ((1 / 2, 1 / 4, 1 / 4), (1 / 4, 1 / 4, 1 / 2))
"""What two classifiers say of one example: entropies of 1.5 bits both, votes for the first and the
last class."""


def two_classifiers(folder: Path) -> Path:
    """A workspace with three examples of three classes by two classifiers; one key looks like a
    formula, one label is unknown."""
    outputs = np.zeros((2, 3, 3))
    outputs[:, 0] = HALVES
    outputs[:, 1] = (1.0, 0.0, 0.0)
    outputs[:, 2] = HALVES
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "net.npy", outputs)
    (folder / "labels.csv").write_text('key,label\n=1+1.png,0\n"b,ä.png",2\nc.png,\n')
    (folder / "classes.txt").write_text("cat\ndog's\n@emu\n")
    request = Request((folder / "net.npy",), folder / "labels.csv", classes=folder / "classes.txt")
    import_predictions(str(folder / "w"), request, QUIET)
    return folder / "w"


def selected(trained: Tiny, folder: Path) -> Path:
    """A copy of the trained workspace with scores and a selection of 40 examples, some with new
    labels."""
    shutil.copytree(trained.root, folder / "w")
    done("score", "-w", folder / "w", "--top", 0)
    ids = [i for i in range(45) if i not in UNREADABLE_TRAIN]
    rows = manifest(ids, [i * 7 % 3 for i in ids], [1, 1, 1, 2, *[1] * (len(ids) - 4)], 0.5)
    commit_selection(
        Workspace.open(folder / "w"), "kept", rows, Origin(trained.dataset.fingerprint, "train"), []
    )
    return folder / "w"
