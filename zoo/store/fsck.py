"""Check a store, and set aside what is damaged so that the next run makes it again.

Three depths, each including the one before: *quick* (records parse, files exist with their size,
headers and schemas are what they should be),
*full* (sha256 of every file: finds every flipped bit), *semantic* (what the files say: ids 0..n-1
    once per classifier, finite numbers, classes in
range, the recorded accuracy recomputed, some answers recomputed from the logits beside them). It is
the oracle of every crash test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.errors import StoreError
from zoo.spec import canonical_json
from zoo.store.answers import ANSWER_SCHEMA, AnswerUnit, logits_schema
from zoo.store.commits import KINDS, Commit, unsealed
from zoo.store.features import FeatureUnit, feature_schema, feature_vectors
from zoo.store.files import FileRef
from zoo.store.workspace import MARKER, MARKER_BYTES, Workspace

__all__ = ["CONTENT_FOLDERS", "Damage", "Level", "check", "repair"]

Level = Literal["quick", "full", "semantic"]

CONTENT_FOLDERS = (
    "answers",
    "checkpoints",
    "datasets",
    "features",
    "selections",
    "snapshots",
    "trainings",
)
"""Folders of immutable files. Every file in them is named by a commit, unfinished, or left over
from a writer that was stopped."""

_LOST = {"backbone", "member", "manifest", "selection", "decisions", "snapshot"}
"""Kinds that no rerun makes again by itself: imported predictions have to be imported again,
selections made again by their rules, decisions read again from their file."""

_RECOMPUTED = 16
"""Rows of each classifier and part whose answers are computed again from their logits."""

_ENTROPY_SLACK = 0.05
"""Bits by which an entropy from logits rounded to float16 may be off: 2**-11 of each logit that
matters, well under this."""


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong. ``lost``: no rerun of a command makes it again by itself."""

    kind: str
    key: str
    path: str
    problem: str
    lost: bool

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check(
    workspace: Workspace,
    level: Level = "quick",
    on_unit: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Damage]:
    """Everything that is wrong with a workspace, at a depth.

    Args:
        on_unit: called with (records checked, records in all).
    """
    names = [
        (kind, name)
        for kind in (*KINDS, "snapshot")
        for name in workspace.files.names(f"commits/{kind}")
    ]
    found = list(_check_marker(workspace))
    for done, (kind, name) in enumerate(names):
        on_unit(done, len(names))
        found += _check_record(workspace, kind, name, level)
    on_unit(len(names), len(names))
    return found


def _check_marker(workspace: Workspace) -> Iterator[Damage]:
    try:
        unsealed(workspace.files.read(MARKER))
    except ValueError as error:
        yield Damage("workspace", "format", MARKER, str(error), lost=False)
    else:
        workspace.verify_format()  # a newer store is not damage: it is refused


def _check_record(workspace: Workspace, kind: str, name: str, level: Level) -> Iterator[Damage]:
    path = f"commits/{kind}/{name}"
    key = name.rpartition(".g")[0]
    try:
        commit = workspace.commits.read_fresh(path)
        if (commit.kind, f"{commit.key}.g{commit.generation:04d}.json") != (kind, name):
            raise StoreError(
                f"the record says it is {commit.kind} {commit.key} generation {commit.generation}"
            )
    except StoreError as error:
        yield Damage(kind, key, path, str(error), lost=kind in _LOST)
        return
    # Imported answers cannot be computed again: no checkpoint is behind them.
    members = (
        [workspace.commits.get("member", c) for c in commit.identity["classifiers"]]
        if kind == "answers"
        else []
    )
    lost = kind in _LOST or any(member is not None and not member.files for member in members)
    damaged = False
    for ref in commit.files:
        problem = _check_file(workspace, commit, ref, level)
        if problem:
            damaged = True
            yield Damage(kind, key, ref.path, problem, lost)
    if level == "semantic" and not damaged and kind == "features":
        try:
            feature_vectors(workspace.files, commit)
        except StoreError as error:
            yield Damage(kind, key, path, str(error), lost)
    if level == "semantic" and not damaged and kind == "answers":
        # The second look takes for granted what the first has found sound.
        for problem in list(_check_answers(workspace, commit)) or _check_pairs(workspace, commit):
            yield Damage(kind, key, path, problem, lost)


def _check_file(workspace: Workspace, commit: Commit, ref: FileRef, level: Level) -> str | None:
    """What is wrong with one file of a commit, or None."""
    files = workspace.files
    if not files.exists(ref.path):
        return "missing"
    if (size := files.size(ref.path)) != ref.bytes:
        return f"{size} bytes instead of {ref.bytes}"
    try:
        _check_header(workspace, commit, ref)
    except (pa.ArrowException, OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        return f"cannot be opened: {str(error).splitlines()[0][:200]}"
    if level != "quick" and (digest := files.digest(ref.path)) != ref.sha256:
        return f"sha256 {digest[:16]} instead of {ref.sha256[:16]}"
    return None


def _check_header(workspace: Workspace, commit: Commit, ref: FileRef) -> None:
    path = workspace.files.local(ref.path)
    if ref.path.endswith(".parquet"):
        schema = pq.read_schema(path)
        if commit.kind == "answers" and not schema.remove_metadata().equals(ANSWER_SCHEMA):
            raise ValueError(f"columns {schema.names} are not those of answers")
    elif ref.path.endswith(".arrow"):
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            if commit.kind == "features":
                if not reader.schema.equals(
                    feature_schema(FeatureUnit.from_identity(commit.identity))
                ):
                    raise ValueError("its schema is not that of its features")
                return
            unit = AnswerUnit.from_identity(commit.identity)
            if not reader.schema.equals(logits_schema(unit)) or reader.num_record_batches != len(
                unit.classifiers
            ):
                raise ValueError("schema or number of record batches does not fit its unit")
    elif ref.path.endswith(".safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if 0 < length <= ref.bytes else None
        if not isinstance(header, dict):
            raise ValueError("no safetensors header")
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
        if 8 + length + end != ref.bytes:
            raise ValueError("tensor offsets do not fit the file's size")


def _check_answers(workspace: Workspace, commit: Commit) -> Iterator[str]:
    """What the answers of a unit say: ids, ranges, accuracy. One part in memory at a time."""
    unit, facts = AnswerUnit.from_identity(commit.identity), commit.facts
    labels = _labels(workspace, unit)
    hits = dict.fromkeys(unit.classifiers, 0)
    expected = 0
    for ref in (ref for ref in commit.files if ref.path.endswith(".parquet")):
        file = pq.ParquetFile(workspace.files.local(ref.path), memory_map=True)
        if file.num_row_groups != len(unit.classifiers):
            yield f"{ref.path}: {file.num_row_groups} row groups instead of {len(unit.classifiers)}"
            return
        rows = 0
        for index, name in enumerate(unit.classifiers):
            table = file.read_row_group(index)
            rows = table.num_rows
            ids = table.column("example_id").to_numpy()
            if set(table.column("classifier_id").unique().to_pylist()) != {
                name
            } or not np.array_equal(ids, np.arange(expected, expected + rows)):
                yield (
                    f"{ref.path}: row group {index} is not {name} on examples {expected} to"
                    f" {expected + rows - 1}"
                )
                return
            prediction = table.column("prediction").combine_chunks()
            answered = prediction.is_valid().to_numpy(zero_copy_only=False)
            values = prediction.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            entropy = (
                table.column("entropy")
                .combine_chunks()
                .fill_null(0.0)
                .to_numpy(zero_copy_only=False)
            )
            if (
                not np.isfinite(entropy).all()
                or (entropy < -1e-3).any()
                or (entropy > np.log2(unit.num_classes) + 1e-3).any()
            ):
                yield (
                    f"{ref.path}: {name} has an entropy that is not in [0, log2 {unit.num_classes}]"
                )
                return
            if ((values < 0) & answered).any() or (values >= unit.num_classes).any():
                yield f"{ref.path}: {name} predicts a class outside 0..{unit.num_classes - 1}"
                return
            if labels is not None:
                hits[name] += int(((values == labels[ids]) & answered).sum())
        expected += rows
    if expected != facts["examples"]:
        yield f"{expected} examples instead of {facts['examples']}"
    elif labels is not None and hits != {name: int(count) for name, count in facts["hits"].items()}:
        wrong = next(name for name in unit.classifiers if hits[name] != facts["hits"][name])
        yield f"{wrong} is right on {hits[wrong]} examples, its record says {facts['hits'][wrong]}"


def _check_pairs(workspace: Workspace, commit: Commit) -> Iterator[str]:
    """Whether answers and logits of each part are of one computation: some answers of each
    classifier from its logits."""
    parts = [
        [ref.path for ref in commit.files if ref.path.endswith(suffix)]
        for suffix in (".parquet", ".arrow")
    ]
    if not parts[1]:
        return
    if len(parts[0]) != len(parts[1]):
        yield f"{len(parts[0])} parts of answers and {len(parts[1])} of logits"
        return
    for of_answers, of_logits in zip(*parts, strict=True):
        file = pq.ParquetFile(workspace.files.local(of_answers), memory_map=True)
        with pa.memory_map(str(workspace.files.local(of_logits))) as source:
            reader = pa.ipc.open_file(source)
            for index, name in enumerate(commit.identity["classifiers"]):
                if problem := _differs(
                    file.read_row_group(index, ["prediction", "entropy"]), reader.get_batch(index)
                ):
                    yield (
                        f"{of_answers} and {of_logits} are not of one computation: {name} {problem}"
                    )
                    break


def _differs(answers: pa.Table, batch: pa.RecordBatch) -> str | None:
    """How the answers of a classifier on a part differ from what its logits say; None if those
    looked at agree."""
    if len(answers) != len(batch):
        return f"has {len(answers)} answers and {len(batch)} rows of logits"
    rows = np.unique(
        np.linspace(0, max(len(batch) - 1, 0), min(_RECOMPUTED, len(batch))).astype(np.int64)
    )
    prediction = answers.column("prediction").combine_chunks()
    rows = rows[prediction.is_valid().to_numpy(zero_copy_only=False)[rows]]
    predicted = prediction.fill_null(0).to_numpy()[rows].astype(np.int64)
    entropy = answers.column("entropy").combine_chunks().fill_null(0.0).to_numpy()[rows]
    centred = (
        batch.column("logits").flatten().to_numpy().reshape(len(batch), -1)[rows].astype(np.float64)
    )
    # Logits are stored minus their maximum, taken before anything was rounded: the predicted class
    # has exactly 0.
    wrong = np.flatnonzero(centred[np.arange(len(rows)), predicted] != 0)
    if len(wrong):
        return (
            f"predicts {predicted[wrong[0]]} in row {rows[wrong[0]]}, its logits say"
            f" {centred[wrong[0]].argmax()}"
        )
    p = np.exp(centred)
    p /= p.sum(axis=1, keepdims=True)
    bits = -(p * np.log2(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1)
    wrong = np.flatnonzero(np.abs(bits - entropy) > _ENTROPY_SLACK)
    if len(wrong):
        return (
            f"has an entropy of {entropy[wrong[0]]:.3f} bits in row {rows[wrong[0]]}, its logits"
            f" say {bits[wrong[0]]:.3f}"
        )
    return None


def _labels(workspace: Workspace, unit: AnswerUnit) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    record = workspace.commits.get("dataset", unit.dataset)
    if record is None or not workspace.files.exists(record.files[0].path):
        return None
    table = pq.read_table(workspace.files.local(record.files[0].path), columns=["split", "label"])
    chosen = (
        table.filter(pa.compute.equal(table.column("split"), unit.split))
        .column("label")
        .combine_chunks()
    )
    return np.asarray(chosen.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def repair(workspace: Workspace, damages: list[Damage]) -> list[str]:
    """Move damaged files, and the records that name them, to ``quarantine/`` with a reason beside
    them; the next run makes them again.

    A file that another, sound record names too stays where it is.

    Returns:
        What was moved, as paths.
    """
    moved: list[str] = []
    broken = {(damage.kind, damage.key) for damage in damages}
    reasons: dict[str, list[str]] = {}
    for damage in damages:
        reasons.setdefault(damage.path, []).append(damage.problem)
        for name in workspace.files.names(f"commits/{damage.kind}"):
            if name.rpartition(".g")[0] == damage.key:
                reasons.setdefault(f"commits/{damage.kind}/{name}", []).append(
                    f"{damage.path}: {damage.problem}"
                )
    sound = {
        ref.path
        for kind in (*KINDS, "snapshot")
        for name in workspace.files.names(f"commits/{kind}")
        if (kind, name.rpartition(".g")[0]) not in broken
        for ref in workspace.commits.read_fresh(f"commits/{kind}/{name}").files
    }
    if MARKER in reasons:
        workspace.files.replace(MARKER, MARKER_BYTES)
        del reasons[MARKER]
    for path, why in sorted(reasons.items()):
        if path in sound or not workspace.files.exists(path):
            continue
        workspace.files.move(path, f"quarantine/{path}")
        workspace.files.replace(
            f"quarantine/{path}.reason.json",
            canonical_json({"path": path, "reasons": sorted(set(why))}).encode(),
        )
        moved.append(path)
    workspace.commits.forget()
    return moved
