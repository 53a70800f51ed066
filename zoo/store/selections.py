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

__all__ = ["commit_selection", "manifest_of", "selection_frame", "selection_op", "selection_rules", "selections_frame"]


# ---------------------------------------------------------------- selections


def commit_selection(
    workspace: Workspace,
    name: str,
    manifest: pd.DataFrame,
    digest: str,
    origin: Mapping[str, Any],
    *,
    draws: Mapping[int, tuple[pd.DataFrame, str]] | None = None,
    replace: bool = False,
) -> Commit:
    """Store manifests under their content ids and give them a name. A name that means others already is an error unless ``replace``.

    Args:
        manifest, digest: what the name stands for, and its content id.
        draws: by seed, the manifest that a retraining of that seed trains on, and its content id, where the selection has a random part that
            is drawn anew for each seed. None = every seed trains on ``manifest``. More draws of the same selection may be added at any time.

    Raises:
        UsageError: if the name is taken by another manifest and ``replace`` is false.
    """
    for table, key in [(manifest, digest), *(draws or {}).values()]:
        _commit_manifest(workspace, table, key)
    identity: dict[str, Any] = {"manifest": digest}
    if draws:
        identity["draws"] = {str(seed): key for seed, (_, key) in sorted(draws.items())}
    generation = 1
    if (there := workspace.commits.get("selection", name)) is not None:
        known, wanted = there.identity.get("draws", {}), identity.get("draws", {})
        same = there.identity["manifest"] == digest and all(wanted.get(seed, key) == key for seed, key in known.items())
        if same and wanted and (known or replace):
            identity["draws"] = {**known, **wanted}
        # A selection without draws means one manifest for every seed: it gets draws, which mean another, by --replace only.
        if identity == there.identity or (same and not replace and not (known and wanted)):
            return there
        if not same and not replace:
            raise UsageError(
                f"selection {name!r} exists and holds other examples ({there.facts['rows']} rows, made by {canonical_json(there.facts['origin'])}). "
                f"Choose another name with -o, or add --replace."
            )
        generation = there.generation + 1
    facts = {"rows": len(manifest), "origin": dict(origin)}
    return workspace.commits.publish("selection", name, identity=identity, facts=facts, generation=generation)


def _commit_manifest(workspace: Workspace, manifest: pd.DataFrame, digest: str) -> None:
    table = pa.Table.from_pandas(
        manifest[["example_id", "label", "copies", "weight"]],
        schema=pa.schema({"example_id": pa.int64(), "label": pa.int64(), "copies": pa.int64(), "weight": pa.float32()}),
        preserve_index=False,
    )
    ref = workspace.files.seal("selections", digest, ".parquet", lambda path: pq.write_table(table, path, compression="zstd"))
    workspace.commits.publish("manifest", digest, identity={"manifest": digest}, facts={"rows": len(manifest)}, files=[ref])


def _selection(workspace: Workspace, name: str) -> Commit:
    commit = workspace.commits.get("selection", name)
    if commit is None:
        known = ["baseline", *workspace.commits.all("selection")]
        raise UnknownNameError("selection", name, known, "Make one with 'zoo select' or 'zoo relabel'.")
    return commit


def selection_frame(workspace: Workspace, name: str, seed: int | None = None) -> pd.DataFrame:
    """One manifest by the selection's name: example_id, label, copies, weight. ``seed``: as for ``selection_op``.

    Raises:
        UnknownNameError: if there is no such selection.
    """
    manifest = manifest_of(workspace, selection_op(workspace, name, seed)[0].params["id"])
    return pd.DataFrame(
        {"example_id": manifest.example_ids, "label": manifest.labels, "copies": manifest.copies, "weight": manifest.weights}
    )


def selection_op(workspace: Workspace, name: str, seed: int | None = None) -> tuple[Op, ...]:
    """The treatment "train on this selection"; ``baseline`` is the training set as it is.

    Args:
        seed: the retraining's, where it trains on a draw of its own; None = the manifest the name stands for.

    Raises:
        UnknownNameError: if there is no such selection.
        NotFoundError: if the selection is drawn for each seed, but not for this one.
    """
    if name == "baseline":
        return ()
    commit = _selection(workspace, name)
    draws = commit.identity.get("draws")
    if seed is None or draws is None:
        return (Op(name="manifest", params={"id": commit.identity["manifest"]}),)
    if str(seed) not in draws:
        raise NotFoundError(
            f"selection {name!r} has no draw for seed {seed}. Allowed: seeds {', '.join(sorted(draws, key=int))}, for which its random part "
            f"was drawn. Use these, or make the selection again with --draws {seed + 1}."
        )
    return (Op(name="manifest", params={"id": draws[str(seed)]}),)


def selection_rules(workspace: Workspace, name: str) -> list[str]:
    """The rules a selection was made by, as text; none where it was imported.

    Raises:
        UnknownNameError: if there is no such selection.
    """
    return list(_selection(workspace, name).facts["origin"].get("rules", ()))


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
    """The ``selections`` table: all named manifests, each draw of one that is drawn for each seed."""
    frames = []
    for name, commit in workspace.commits.all("selection").items():
        draws: list[int | None] = [int(seed) for seed in commit.identity.get("draws", ())]
        frames += [selection_frame(workspace, name, seed).assign(name=name, draw=seed) for seed in draws or [None]]
    if not frames:
        return frame_of([], SELECTION_COLUMNS)
    return pd.concat(frames, ignore_index=True)[list(SELECTION_COLUMNS)].astype(SELECTION_COLUMNS)
