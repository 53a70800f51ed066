"""Selections: named manifests, and what each was made from.

A manifest is known by the hash of its content, so that trainings on equal examples are one
training. What it was made from (``Origin``) is in its record, a generation for each data set and
split, and whoever uses a manifest asks: example ids and labels of one split mean nothing in
another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.spec import Op, canonical_json
from zoo.store.commits import Commit
from zoo.store.datasets import called, int_column, titles
from zoo.store.origin import Origin
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "check_manifest",
    "commit_selection",
    "digests",
    "labels_in",
    "manifest_named",
    "manifest_of",
    "selection_of",
    "selection_op",
    "selection_origin",
    "selection_rules",
    "selections_frame",
]


def commit_selection(
    workspace: Workspace,
    name: str,
    manifest: Manifest,
    origin: Origin,
    rules: Sequence[str],
    *,
    draws: Mapping[int, Manifest] | None = None,
    replace: bool = False,
) -> Commit:
    """Store manifests under their content ids and give them a name. A name that means others
    already is an error unless ``replace``.

    Args:
        manifest: what the name stands for.
        origin: the examples it is about, and who scored them.
        rules: what made it, as text.
        draws: by seed, the manifest that a retraining of that seed trains on, where the selection
            has a random part that is drawn anew for each seed. None = every seed trains on
            ``manifest``. More draws of the same selection may be added at any time.

    Raises:
        UsageError: if the name is taken by another manifest, or one of other examples, and
            ``replace`` is false.
    """
    for each in [manifest, *(draws or {}).values()]:
        _commit_manifest(workspace, each, origin)
    content: dict[str, Any] = {"manifest": manifest.digest}
    if draws:
        content["draws"] = {str(seed): draw.digest for seed, draw in sorted(draws.items())}
    generation = 1
    if (there := workspace.commits.get("selection", name)) is not None:
        before, known, wanted = (
            selection_origin(there),
            there.identity.get("draws", {}),
            content.get("draws", {}),
        )
        same = there.identity["manifest"] == manifest.digest and all(
            wanted.get(seed, key) == key for seed, key in known.items()
        )
        fits = before.fits(origin.dataset, origin.split)
        # One of an earlier zoo, which did not record its data set (``fits`` is None), is recorded
        # anew when it is made again.
        if not replace and not (same and fits is not False):
            made = (
                f"split {before.split or '(not recorded)'} of {called(workspace, before.dataset)}"
            )
            raise UsageError(
                f"selection {name!r} exists and holds"
                f" {'the same rows of' if same else 'other examples, of'} {made}"
                f" ({there.facts['rows']} rows, made by {canonical_json(there.facts['origin'])})."
                " Choose another name with -o, or add --replace."
            )
        if same and wanted and (known or replace):
            content["draws"] = {**known, **wanted}
        if same and not replace and not (known and wanted):
            # A selection without draws means one manifest for every seed: it gets draws, which mean
            # another, by --replace only.
            content = {
                key: there.identity[key] for key in ("manifest", "draws") if key in there.identity
            }
        unchanged = all(
            content.get(key) == there.identity.get(key) for key in ("manifest", "draws")
        )
        if unchanged and fits and (before.population == origin.population or not replace):
            return there
        generation = there.generation + 1
    facts = {"rows": len(manifest), "origin": {**origin.as_json(), "rules": list(rules)}}
    identity = {**content, **origin.as_json()}
    return workspace.commits.publish(
        "selection", name, identity=identity, facts=facts, generation=generation
    )


def _commit_manifest(workspace: Workspace, manifest: Manifest, origin: Origin) -> None:
    digest = manifest.digest
    identity = {"manifest": digest, "dataset": origin.dataset, "split": origin.split}
    known = workspace.commits.generations("manifest", digest)
    if identity in [commit.identity for commit in known]:
        return
    frame = manifest.frame()
    columns = {"example_id": pa.int64(), "label": pa.int64(), "copies": pa.int64()}
    columns |= {"weight": pa.float32()} | ({"reason": pa.string()} if "reason" in frame else {})
    table = pa.Table.from_pandas(frame, schema=pa.schema(columns), preserve_index=False)
    ref = workspace.files.seal(
        "selections",
        digest,
        ".parquet",
        lambda path: pq.write_table(table, path, compression="zstd"),
    )
    generation = known[-1].generation + 1 if known else 1
    facts = {"rows": len(manifest)}
    workspace.commits.publish(
        "manifest", digest, identity=identity, facts=facts, files=[ref], generation=generation
    )


# ---------------------------------------------------------------- what it was made from


def selection_origin(record: Commit) -> Origin:
    """What a selection was made from, as its record says; of one that an earlier zoo made, the
    split alone."""
    return Origin.of({**record.facts.get("origin", {}), **record.identity})


def check_manifest(workspace: Workspace, digest: str, dataset: str, split: str) -> str:
    """Refuse to use a manifest on other examples than those it was made from.

    Returns:
        A sentence where an earlier zoo did not record what it was made from and the workspace holds
        several data sets; else nothing.

    Raises:
        UsageError: if it was made from another data set or split; names both.
    """
    origins = _origins(workspace, digest)
    fits = [origin.fits(dataset, split) for origin in origins]
    if any(fits):
        return ""
    names = ", ".join(repr(name) for name in _names(workspace, digest))
    what = f"selection {names} (manifest {digest})" if names else f"manifest {digest}"
    if None in fits or not fits:
        return (
            f"{what} was made by an earlier zoo, which did not record its data set; that it fits"
            f" {called(workspace, dataset)} cannot be checked. Make it again with 'zoo select"
            " --replace' to have it recorded."
        )
    made = " and ".join(
        sorted(
            {f"split {origin.split} of {called(workspace, origin.dataset)}" for origin in origins}
        )
    )
    raise UsageError(
        f"{what} was made from {made}; it cannot be used on split {split} of"
        f" {called(workspace, dataset)}: its example ids and labels are those of other examples."
        f" Make one with 'zoo select --split {split} --data {dataset}'."
    )


def _origins(workspace: Workspace, digest: str) -> list[Origin]:
    """Everything a manifest was made from."""
    known = [
        Origin.of(commit.identity) for commit in workspace.commits.generations("manifest", digest)
    ]
    if all(origin.dataset for origin in known):
        return known
    # Of an earlier zoo: its selections recorded their split; the data set is certain where there is
    #     but one.
    recorded = list(workspace.commits.keys("dataset"))
    only = recorded[0] if len(recorded) == 1 else ""
    splits = {
        selection_origin(commit).split
        for name in workspace.commits.keys("selection")
        for commit in workspace.commits.generations("selection", name)
        if digest in digests(commit) and "dataset" not in commit.identity
    }
    return [
        *(origin for origin in known if origin.dataset),
        *(Origin(only, split) for split in splits or {""}),
    ]


def _names(workspace: Workspace, digest: str) -> list[str]:
    return [
        name for name, commit in workspace.commits.each("selection") if digest in digests(commit)
    ]


def digests(selection: Commit) -> set[str]:
    """Content ids of the manifests a selection stands for."""
    return {selection.identity["manifest"], *selection.identity.get("draws", {}).values()}


# ---------------------------------------------------------------- reading


def selection_op(workspace: Workspace, name: str, seed: int | None = None) -> tuple[Op, ...]:
    """The treatment "train on this selection"; ``baseline`` is the training set as it is.

    Args:
        seed: the retraining's, where it trains on a draw of its own; None = the manifest the name
            stands for.

    Raises:
        UnknownNameError: if there is no such selection.
        NotFoundError: if the selection is drawn for each seed, but not for this one.
    """
    if name == "baseline":
        return ()
    commit = _record(workspace, name)
    draws = commit.identity.get("draws")
    if seed is None or draws is None:
        return (Op(name="manifest", params={"id": commit.identity["manifest"]}),)
    if str(seed) not in draws:
        raise NotFoundError(
            f"selection {name!r} has no draw for seed {seed}. Allowed: seeds"
            f" {', '.join(sorted(draws, key=int))}, for which its random part was drawn. Use these,"
            f" or make the selection again with --draws {seed + 1}."
        )
    return (Op(name="manifest", params={"id": draws[str(seed)]}),)


def selection_rules(workspace: Workspace, name: str) -> list[str]:
    """The rules a selection was made by, as text; none where it was imported.

    Raises:
        UnknownNameError: if there is no such selection.
    """
    return list(_record(workspace, name).facts["origin"].get("rules", ()))


def _record(workspace: Workspace, name: str) -> Commit:
    commit = workspace.commits.get("selection", name)
    if commit is None:
        known = ["baseline", *workspace.commits.all("selection")]
        raise UnknownNameError(
            "selection", name, known, "Make one with 'zoo select' or 'zoo relabel'."
        )
    return commit


def manifest_of(
    workspace: Workspace, digest: Any, *, dataset: str, split: str = "train"
) -> Manifest:
    """A manifest by its content id, to be used on a split of a data set (by fingerprint).

    Raises:
        NotFoundError: if the workspace does not hold it.
        UsageError: if it was made from other examples.
    """
    if workspace.commits.get("manifest", str(digest)) is None:
        raise NotFoundError(
            f"no manifest {digest!r} in {workspace.location}. Make the selection again with 'zoo"
            " select' or 'zoo relabel'."
        )
    check_manifest(workspace, str(digest), dataset, split)
    return _read(workspace, str(digest))


def _read(workspace: Workspace, digest: str) -> Manifest:
    commit = workspace.commits.get("manifest", digest)
    if commit is None:
        raise NotFoundError(
            f"no manifest {digest!r} in {workspace.location}. Make the selection again with 'zoo"
            " select' or 'zoo relabel'."
        )
    table = pq.read_table(workspace.files.local(commit.files[0].path))
    reasons = table.column("reason").to_pylist() if "reason" in table.column_names else None
    ids, labels, copies, weights = (
        table.column(name).to_numpy() for name in ("example_id", "label", "copies", "weight")
    )
    texts = None if reasons is None else np.array(reasons, dtype=np.str_)
    return Manifest(ids, labels, copies, weights, texts)


def selection_of(
    workspace: Workspace, name: str, *, dataset: str, split: str, seed: int | None = None
) -> Manifest:
    """``manifest_named``, to be used on a split of a data set (by fingerprint).

    Raises:
        UnknownNameError: if there is no such selection.
        UsageError: if it was made from other examples.
    """
    for step in selection_op(workspace, name, seed):
        check_manifest(workspace, str(step.params["id"]), dataset, split)
    return manifest_named(workspace, name, seed)


def manifest_named(workspace: Workspace, name: str, seed: int | None = None) -> Manifest:
    """A manifest by the selection's name. ``seed``: as for ``selection_op``.

    Raises:
        UnknownNameError: if there is no such selection.
    """
    return _read(workspace, str(selection_op(workspace, name, seed)[0].params["id"]))


def labels_in(
    workspace: Workspace, examples: pa.Table, column: str, *, dataset: str, split: str
) -> NDArray[np.int64]:
    """Labels of a split by column: ``label``, ``label_true``, or the name of a selection made from
    it (its labels where it has the example).

    Args:
        examples: what is on record of the split, E rows.
        dataset: fingerprint.

    Returns:
        int64 [E], -1 = none.

    Raises:
        UnknownNameError: if there is no such selection.
        UsageError: if it was made from other examples.
    """
    if column in ("label", "label_true"):
        return int_column(examples, column)
    manifest = selection_of(workspace, column, dataset=dataset, split=split)
    labels = np.full(examples.num_rows, -1, dtype=np.int64)
    labels[manifest.example_ids] = manifest.labels
    return labels


def selections_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``selections`` table: all named manifests, each draw of one that is drawn for each
    seed."""
    table, named = SCHEMA["selections"], titles(workspace)
    frames = []
    for name, commit in workspace.commits.each("selection"):
        origin = selection_origin(commit)
        about = {"name": name, "dataset": named.get(origin.dataset), "split": origin.split or None}
        draws: list[int | None] = [int(seed) for seed in commit.identity.get("draws", ())]
        for seed in draws or [None]:
            frame = manifest_named(workspace, name, seed).frame().assign(**about, draw=seed)
            frames.append(frame if "reason" in frame else frame.assign(reason=None))
    return table.typed(pd.concat(frames, ignore_index=True)) if frames else table.frame()
