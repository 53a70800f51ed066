"""Selections: named manifests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.spec import Op, canonical_json
from zoo.store.commits import Commit
from zoo.store.schema import SELECTION_COLUMNS, frame_of
from zoo.store.workspace import Workspace

__all__ = ["commit_selection", "manifest_of", "selection_frame", "selection_op", "selections_frame"]


# ---------------------------------------------------------------- selections


def commit_selection(
    workspace: Workspace, name: str, manifest: pd.DataFrame, digest: str, origin: Mapping[str, Any], *, replace: bool = False
) -> Commit:
    """Store a manifest under its content id and give it a name. A name that means another manifest already is an error unless ``replace``.

    Raises:
        UsageError: if the name is taken by another manifest and ``replace`` is false.
    """
    table = pa.Table.from_pandas(
        manifest[["example_id", "label", "copies", "weight"]],
        schema=pa.schema({"example_id": pa.int64(), "label": pa.int64(), "copies": pa.int64(), "weight": pa.float32()}),
        preserve_index=False,
    )
    ref = workspace.files.seal("selections", digest, ".parquet", lambda path: pq.write_table(table, path, compression="zstd"))
    workspace.commits.publish("manifest", digest, identity={"manifest": digest}, facts={"rows": len(manifest)}, files=[ref])
    generation = 1
    if (there := workspace.commits.get("selection", name)) is not None:
        if there.identity["manifest"] == digest:
            return there
        if not replace:
            raise UsageError(
                f"selection {name!r} exists and holds other examples ({there.facts['rows']} rows, made by {canonical_json(there.facts['origin'])}). "
                f"Choose another name with -o, or add --replace."
            )
        generation = there.generation + 1
    facts = {"rows": len(manifest), "origin": dict(origin)}
    return workspace.commits.publish("selection", name, identity={"manifest": digest}, facts=facts, generation=generation)


def selection_frame(workspace: Workspace, name: str) -> pd.DataFrame:
    """One manifest by the selection's name: example_id, label, copies, weight.

    Raises:
        UnknownNameError: if there is no such selection.
    """
    manifest = manifest_of(workspace, selection_op(workspace, name)[0].params["id"])
    return pd.DataFrame(
        {"example_id": manifest.example_ids, "label": manifest.labels, "copies": manifest.copies, "weight": manifest.weights}
    )


def selection_op(workspace: Workspace, name: str) -> tuple[Op, ...]:
    """The treatment "train on this selection"; ``baseline`` is the training set as it is."""
    if name == "baseline":
        return ()
    commit = workspace.commits.get("selection", name)
    if commit is None:
        known = ["baseline", *workspace.commits.all("selection")]
        raise UnknownNameError("selection", name, known, "Make one with 'zoo select' or 'zoo relabel'.")
    return (Op(name="manifest", params={"id": commit.identity["manifest"]}),)


def manifest_of(workspace: Workspace, digest: Any) -> Manifest:
    """A manifest by its content id.

    Raises:
        NotFoundError: if the workspace does not hold it.
    """
    commit = workspace.commits.get("manifest", str(digest))
    if commit is None:
        raise NotFoundError(f"no manifest {digest!r} in {workspace.location}. Make the selection again with 'zoo select' or 'zoo relabel'.")
    table = pq.read_table(workspace.files.local(commit.files[0].path))
    example_ids, labels, copies, weights = (table.column(name).to_numpy() for name in ("example_id", "label", "copies", "weight"))
    return Manifest(example_ids, labels, copies, weights)


def selections_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``selections`` table: all named manifests."""
    frames = [selection_frame(workspace, name).assign(name=name) for name in workspace.commits.all("selection")]
    if not frames:
        return frame_of([], SELECTION_COLUMNS)
    return pd.concat(frames, ignore_index=True)[list(SELECTION_COLUMNS)].astype(SELECTION_COLUMNS)
