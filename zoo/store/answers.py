"""Answers and logits: the parts of the store that grow with classifiers x examples.

One *unit* is a group of classifiers on one split; one *part* is that group on one shard (a fixed
range of example ids). Rows are sorted by classifier, then example, with a row group (Parquet) or a
record batch (Arrow IPC) per classifier, so one classifier is one range of bytes. A part's name
carries its shard and its hash, so a fill that was killed finds what it has finished without any
list of its own.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import StoreError
from zoo.spec import PRECISIONS, Precision, canonical_json, content_id
from zoo.store.commits import Commit
from zoo.store.files import FileRef, Files
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "ANSWER_SCHEMA",
    "PARTS",
    "TOP_CLASSES",
    "AnswerUnit",
    "Answers",
    "Receipt",
    "Shard",
    "answer_parts",
    "answered",
    "answered_in",
    "commit_unit",
    "find_receipt",
    "list_values",
    "logits_between",
    "logits_blocks",
    "logits_of",
    "logits_schema",
    "read_answers",
    "read_predictions",
    "shards",
    "sound_part",
    "write_part",
]


TOP_CLASSES: Final = 5
"""Classes kept per answer and listed per example."""
SMALL_SHARD, LARGE_SHARD = 2048, 512
"""Examples per shard: of pictures up to 64 x 64 RGB, and above. The first is a multiple of the
second, so shards of both kinds align."""
PARTS: Final = "answers"
"""Folder of the parts, with a folder for each unit of which there are any."""
_LARGEST_F16 = 65504.0

ANSWER_SCHEMA = SCHEMA["answers"].stored("dataset", "split")
"""prediction is null where the picture could not be read; p_label and margin also where the example
has no label; in_train where unknown."""
_ENCODING: Mapping[str, Any] = {
    "use_dictionary": ["classifier_id"],
    "column_encoding": {"example_id": "DELTA_BINARY_PACKED"},
}
"""Probabilities hardly repeat: a dictionary of them was measured to cost 1.8 x the writing, 1.6 x
the reading and a quarter more space."""
_TRIES = 5
"""How often a part is looked for that was there and is not: see ``find_receipt``."""
_READ_CLASSIFIERS = 64
"""Row groups per call of the Parquet reader: one at a time was measured to take twice as long; 64
on a block are 6 MB."""


@dataclass(frozen=True)
class Shard:
    """Example ids ``start`` to ``stop`` (exclusive) of a split of ``total`` examples."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def stem(self) -> str:
        return f"shard-{self.index:05d}-of-{self.count:05d}"

    @property
    def example_ids(self) -> NDArray[np.int64]:
        return np.arange(self.start, self.stop, dtype=np.int64)


def shards(examples: int, bytes_per_example: int) -> list[Shard]:
    """The fixed ranges a split is cut into."""
    size = SMALL_SHARD if bytes_per_example <= 64 * 64 * 3 else LARGE_SHARD
    count = math.ceil(examples / size)
    return [Shard(i, count, i * size, min((i + 1) * size, examples)) for i in range(count)]


@dataclass(frozen=True)
class AnswerUnit:
    """A group of classifiers on one split. ``logits``: whether logits are kept beside the answers.

    ``source``: hash of what the answers are made from where it is not the classifiers' checkpoints
        (imported predictions), else empty. ``precision``: in which the networks answered; it is
        part of a unit, so that no unit is of both.
    """

    dataset: str
    split: str
    classifiers: tuple[str, ...]
    num_classes: int
    classes: str
    logits: bool
    source: str = ""
    precision: Precision = "fp32"

    @functools.cached_property
    def key(self) -> str:
        return content_id(self.identity)

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "classifiers": list(self.classifiers),
            "num_classes": self.num_classes,
            "classes": self.classes,
            "logits": self.logits,
            **({"source": self.source} if self.source else {}),
            **({"precision": self.precision} if self.precision != "fp32" else {}),
        }

    @property
    def folder(self) -> str:
        return f"{PARTS}/{self.key}"

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self:
        return cls(**{**identity, "classifiers": tuple(identity["classifiers"])})


@dataclass(frozen=True)
class Receipt:
    """What a worker hands back for one shard: files, and the counts the driver checks before it
    commits. ``seconds``: of the wall's clock and of the CPU that it took; None where an earlier
    attempt or a GPU made it. ``lanes``: the classifiers that answered many at once
    (``zoo.fill.program``)."""

    shard: int
    rows: int
    unreadable: int
    hits: tuple[int, ...]
    answers: FileRef
    logits: FileRef | None
    seconds: tuple[float, float] | None = None
    lanes: tuple[str, ...] = ()


def write_part(
    files: Files,
    unit: AnswerUnit,
    shard: Shard,
    answers: Sequence[Answers],
    unreadable: NDArray[np.bool_],
    labels: NDArray[np.int64],
    in_train: Sequence[NDArray[np.bool_] | None] | NDArray[np.bool_] | None,
    logits: Iterable[NDArray[np.floating[Any]]] | None,
    lanes: Sequence[str] = (),
) -> Receipt:
    """Write one part: the answers of each classifier of the unit (in its order) on one shard of n
    examples.

    Args:
        answers: one per classifier, arrays of length n.
        unreadable: bool [n]; these rows become nulls.
        labels: int64 [n], -1 where unknown.
        in_train: bool [n] of each classifier; None where unknown, of one or of all.
        logits: float32 or float64 [n, M] per classifier, stored centred (minus their maximum, the
            maximum beside them) in float16; or None.

    Raises:
        StoreError: if a classifier's output is not finite, naming it.
    """
    for name, answer in zip(unit.classifiers, answers, strict=True):
        if not (answer.finite | unreadable).all():
            raise StoreError(
                f"classifier {name} gives logits that are not finite on {unit.split}. Leave it out"
                " of the fill, or train it again."
            )
    rows, lost = len(answers) * (shard.stop - shard.start), int(unreadable.sum())
    hits = [int(((a.prediction == labels) & ~unreadable).sum()) for a in answers]
    receipt: dict[str, Any] = {"rows": rows, "unreadable": lost, "hits": hits}
    if lanes:
        receipt["lanes"] = list(lanes)
    schema = ANSWER_SCHEMA.with_metadata(
        {"zoo": canonical_json({"unit": unit.identity, "shard": shard.index, "receipt": receipt})}
    )

    def write_answers(path: Path) -> None:
        with pq.ParquetWriter(
            path, schema, compression="zstd", write_page_checksum=True, **_ENCODING
        ) as writer:
            for index, (name, answer) in enumerate(zip(unit.classifiers, answers, strict=True)):
                writer.write_table(
                    _answer_table(
                        schema,
                        name,
                        shard,
                        answer,
                        unreadable,
                        labels,
                        None if in_train is None else in_train[index],
                    )
                )

    def write_logits(path: Path) -> None:
        assert logits is not None
        schema = logits_schema(unit)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for values in logits:
                top = values.max(axis=1)
                # e**-65504 is 0, and no overflow
                centred = np.maximum(values - top[:, None], -_LARGEST_F16).astype(np.float16)
                column = pa.FixedSizeListArray.from_arrays(
                    pa.array(centred.reshape(-1)), unit.num_classes
                )
                writer.write_batch(
                    pa.record_batch(
                        [column, pa.array(top.astype(np.float32, copy=False))], schema=schema
                    )
                )

    answers_ref = files.seal(unit.folder, shard.stem, ".parquet", write_answers)
    # The logits bear the name of the answers they belong to: two attempts need not compute the same
    # bytes, and halves of two are no pair.
    pair = f"{shard.stem}-{answers_ref.sha256[:16]}"
    logits_ref = (
        files.seal(unit.folder, pair, ".arrow", write_logits) if logits is not None else None
    )
    return Receipt(
        shard.index, rows, lost, tuple(hits), answers_ref, logits_ref, lanes=tuple(lanes)
    )


def logits_schema(unit: AnswerUnit) -> pa.Schema:
    """Schema of a logits part: one record batch per classifier, rows in example order."""
    return pa.schema(
        [
            pa.field("logits", pa.list_(pa.float16(), unit.num_classes)),
            pa.field("max", pa.float32()),
        ],
        metadata={"zoo": canonical_json({"unit": unit.identity})},
    )


def _answer_table(
    schema: pa.Schema,
    classifier: str,
    shard: Shard,
    answer: Answers,
    unreadable: NDArray[np.bool_],
    labels: NDArray[np.int64],
    in_train: NDArray[np.bool_] | None,
) -> pa.Table:
    n = shard.stop - shard.start
    unlabelled = unreadable | (labels < 0)
    mask = pa.array(unreadable)
    columns = [
        pa.DictionaryArray.from_arrays(
            pa.array(np.zeros(n, dtype=np.int32)), pa.array([classifier])
        ),
        pa.array(shard.example_ids.astype(np.int32)),
        pa.array(answer.prediction, mask=unreadable),
        pa.array(answer.p_label, mask=unlabelled),
        pa.array(answer.entropy, mask=unreadable),
        pa.array(answer.margin, mask=unlabelled),
        pa.FixedSizeListArray.from_arrays(pa.array(answer.top5.reshape(-1)), 5, mask=mask),
        pa.FixedSizeListArray.from_arrays(pa.array(answer.top5_p.reshape(-1)), 5, mask=mask),
        pa.nulls(n, pa.bool_()) if in_train is None else pa.array(in_train),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def find_receipt(files: Files, unit: AnswerUnit, shard: Shard) -> Receipt | None:
    """The receipt of a shard whose parts are there already, match their names' hashes and belong
    together; None if it has to be done.

    What is found is touched, so that ``zoo gc`` leaves it to the commit that is to come.
    """
    for tries_left in reversed(range(_TRIES)):
        try:
            return _found(files, unit, shard)
        except (StoreError, FileNotFoundError):
            # A collector takes a file aside for a moment, and gives it back if somebody has touched
            # it since.
            if not tries_left:
                raise
            time.sleep(0.02)
    return None


def _found(files: Files, unit: AnswerUnit, shard: Shard) -> Receipt | None:
    names = files.names(unit.folder)
    for name in names:
        match = re.fullmatch(rf"{shard.stem}-([0-9a-f]{{16}})\.parquet", name)
        if match is None:
            continue
        logits = [
            other
            for other in names
            if re.fullmatch(rf"{shard.stem}-{match[1]}-[0-9a-f]{{16}}\.arrow", other)
        ]
        refs = [
            sound_part(files, f"{unit.folder}/{part}")
            for part in (name, *(logits if unit.logits else ()))
        ]
        halves = [ref for ref in refs[1:] if ref is not None]
        if refs[0] is None or (unit.logits and not halves):
            continue
        content = json.loads(pq.read_schema(files.local(refs[0].path)).metadata[b"zoo"])
        counts = content["receipt"]
        return Receipt(
            shard.index,
            counts["rows"],
            counts["unreadable"],
            tuple(counts["hits"]),
            refs[0],
            halves[0] if unit.logits else None,
            lanes=tuple(counts.get("lanes", ())),
        )
    return None


def sound_part(files: Files, path: str) -> FileRef | None:
    """A part whose content is what its name says, touched; None if it is damaged or gone."""
    if not files.touch(path):
        return None
    try:
        digest = files.digest(path)
        return (
            FileRef(path, files.size(path), digest)
            if path.rpartition("-")[2].startswith(digest[:16])
            else None
        )
    except (StoreError, FileNotFoundError):
        if files.exists(path):
            raise
        return None


def commit_unit(
    workspace: Workspace,
    unit: AnswerUnit,
    examples: int,
    labelled: int,
    receipts: Sequence[Receipt],
    preprocessing: Mapping[str, Mapping[str, Any]] | None = None,
) -> Commit:
    """Check that the receipts are the whole unit, then make it visible.

    Args:
        preprocessing: how pictures were given to each classifier, ``zoo.spec.Preprocessing`` as
            JSON by classifier; None where unknown.

    Raises:
        StoreError: if a shard is missing or doubled, the rows do not add up, or a part is gone;
            nothing becomes visible.
    """
    ordered = sorted(receipts, key=lambda receipt: receipt.shard)
    rows = sum(receipt.rows for receipt in ordered)
    if [receipt.shard for receipt in ordered] != list(
        range(len(ordered))
    ) or rows != examples * len(unit.classifiers):
        raise StoreError(
            f"fill of {unit.split} is incomplete: shards {[r.shard for r in ordered]}, {rows} rows"
            f" instead of {examples * len(unit.classifiers)}. Run the same command again."
        )
    unreadable = sum(receipt.unreadable for receipt in ordered)
    hits = np.sum([receipt.hits for receipt in ordered], axis=0)
    refs = [
        ref for receipt in ordered for ref in (receipt.answers, receipt.logits) if ref is not None
    ]
    facts = {
        "rows": rows,
        "examples": examples,
        "unreadable": unreadable,
        "shards": len(ordered),
        "hits": dict(zip(unit.classifiers, hits.tolist(), strict=True)),
        "labelled": labelled,
        **_seconds(ordered),
        **_lanes(ordered),
        **(
            {}
            if preprocessing is None
            else {"preprocessing": {name: dict(preprocessing[name]) for name in unit.classifiers}}
        ),
    }
    return workspace.commits.publish(
        "answers", unit.key, identity=unit.identity, facts=facts, files=refs
    )


def _seconds(receipts: Sequence[Receipt]) -> dict[str, float]:
    """What the parts took together, where all of them are known."""
    known = [receipt.seconds for receipt in receipts if receipt.seconds is not None]
    if len(known) < len(receipts):
        return {}
    wall, cpu = (round(sum(column), 4) for column in zip(*known, strict=True))
    return {"fill_seconds": wall, "cpu_seconds": cpu}


def _lanes(receipts: Sequence[Receipt]) -> dict[str, dict[str, int]]:
    """Of how many shards each classifier answered in lanes, where some did."""
    found: dict[str, int] = {}
    for receipt in receipts:
        for name in receipt.lanes:
            found[name] = found.get(name, 0) + 1
    return {"lanes": found} if found else {}


# ---------------------------------------------------------------- reading


_ANY = "any classifier"


def answered(workspace: Workspace) -> dict[tuple[str, str], set[str]]:
    """Which classifiers have committed answers: (fingerprint, split) -> classifier ids."""
    found: dict[tuple[str, str], set[str]] = {}
    for (fingerprint, split, _), names in answered_in(workspace).items():
        found.setdefault((fingerprint, split), set()).update(names)
    return found


def answered_in(workspace: Workspace) -> dict[tuple[str, str, Precision], set[str]]:
    """The same by precision: (fingerprint, split, precision) -> classifier ids.

    A unit's key is the hash of its identity, so the name of a record alone tells that a trained
    classifier was filled by itself. Only the other
    records are read: a store to which classifiers are added one by one has a record for each.
    """
    commits = workspace.commits
    left, classifiers = set(commits.keys("answers")), list(commits.keys("checkpoint"))
    found: dict[tuple[str, str, Precision], set[str]] = {}
    for fingerprint, record in commits.each("dataset") if left else ():
        names = [str(name) for name in record.facts["class_names"]]
        kinds = itertools.product(PRECISIONS, record.facts["splits"], (False, True))
        for precision, split, logits in kinds:
            if not left:
                break
            unit = AnswerUnit(
                fingerprint,
                split,
                (_ANY,),
                len(names),
                content_id(names),
                logits,
                precision=precision,
            )
            keys = _keys_alone(unit, classifiers)
            there = left & keys.keys()
            place = fingerprint, split, precision
            found.setdefault(place, set()).update(keys[key] for key in there)
            left -= there
    for _, commit in commits.each("answers", left.__contains__) if left else ():
        unit = AnswerUnit.from_identity(commit.identity)
        place = unit.dataset, unit.split, unit.precision
        found.setdefault(place, set()).update(unit.classifiers)
    return found


def _keys_alone(unit: AnswerUnit, classifiers: Iterable[str]) -> dict[str, str]:
    """``AnswerUnit.key`` with each of these classifiers in place of the unit's own -> that
    classifier; a unit for each would cost ten times."""
    before, after = canonical_json(unit.identity).split(canonical_json(list(unit.classifiers)))
    return {
        hashlib.sha256(f'{before}["{name}"]{after}'.encode()).hexdigest()[:16]: name
        for name in classifiers
    }


def answer_parts(
    workspace: Workspace, dataset: str | None = None, split: str | None = None
) -> list[tuple[Commit, tuple[str, ...]]]:
    """Committed units and the classifiers to read from each: one unit per classifier, data set and
    split, though two fills may have met."""
    taken: set[tuple[str, str, str]] = set()
    found: list[tuple[Commit, tuple[str, ...]]] = []
    for commit in workspace.commits.all("answers").values():
        unit = AnswerUnit.from_identity(commit.identity)
        if split not in (None, unit.split) or dataset not in (None, unit.dataset):
            continue
        here = (unit.dataset, unit.split)
        mine = tuple(name for name in unit.classifiers if (*here, name) not in taken)
        taken |= {(*here, name) for name in mine}
        if mine:
            found.append((commit, mine))
    return found


def read_answers(
    workspace: Workspace,
    dataset: str,
    split: str,
    classifiers: Sequence[str],
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[Shard, Iterator[tuple[str, pa.RecordBatch]]]]:
    """Block by block of examples: (block, iterator of (classifier_id, its answers on the block)):
    fill by fill, sorted within each, so not in one order over all.

    Memory is one part at a time. Blocks have ``SMALL_SHARD`` examples and cover the split in order.

    Args:
        columns: which of ``ANSWER_SCHEMA`` to read; None = all. Two of them cost a third.

    Raises:
        StoreError: if a classifier has no committed answers on the split.
    """
    units = _units_of(workspace, dataset, split, classifiers)
    for block in _blocks(units):
        yield block, _block(workspace, units, block, None if columns is None else list(columns))


def read_predictions(
    workspace: Workspace, dataset: str, split: str, classifiers: Sequence[str]
) -> Iterator[tuple[Shard, Iterator[NDArray[np.int16]]]]:
    """``read_answers`` for who needs no more than predictions, and does not ask whose they are:
    several classifiers at a time, int16 [n, examples of the block], -1 = no answer.

    Raises:
        StoreError: if a classifier has no committed answers on the split.
    """
    units = _units_of(workspace, dataset, split, classifiers)

    def stacked(block: Shard) -> Iterator[NDArray[np.int16]]:
        for names, tables in _tables(workspace, units, block, ["prediction"]):
            columns = [table.column("prediction").combine_chunks() for table in tables]
            parts = [
                (column.fill_null(-1) if column.null_count else column)
                .to_numpy()
                .reshape(len(names), -1)
                for column in columns
            ]
            yield parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    for block in _blocks(units):
        yield block, stacked(block)


def _units_of(
    workspace: Workspace, dataset: str, split: str, classifiers: Sequence[str]
) -> list[tuple[Commit, list[str]]]:
    """The units that hold the answers of these classifiers, and whose of them each holds."""
    wanted = set(classifiers)
    units = [
        (commit, [c for c in mine if c in wanted])
        for commit, mine in answer_parts(workspace, dataset, split)
    ]
    units = [(commit, mine) for commit, mine in units if mine]
    if lacking := sorted(wanted - {name for _, mine in units for name in mine}):
        member = workspace.commits.get("member", lacking[0])
        imported = member is not None and not member.files
        todo = (
            f"Import them with 'zoo import --split {split}', or score others with --where"
            if imported
            else f"Run 'zoo fill --splits {split}'"
        )
        raise StoreError(
            f"{lacking[0]} has no answers on {split}. {todo}."
            if len(lacking) == 1
            else f"{len(lacking)} classifiers have no answers on {split}, first {lacking[0]}."
            f" {todo}."
        )
    return units


def _blocks(units: Sequence[tuple[Commit, list[str]]]) -> Iterator[Shard]:
    return iter(shards(max((commit.facts["examples"] for commit, _ in units), default=0), 1))


def _block(
    workspace: Workspace,
    units: Sequence[tuple[Commit, list[str]]],
    block: Shard,
    columns: list[str] | None,
) -> Iterator[tuple[str, pa.RecordBatch]]:
    for names, tables in _tables(workspace, units, block, columns):
        rows = [len(table) // len(names) for table in tables]
        for position, name in enumerate(names):
            own = [table.slice(position * n, n) for table, n in zip(tables, rows, strict=True)]
            yield name, pa.concat_tables(own).combine_chunks().to_batches()[0]


def _tables(
    workspace: Workspace,
    units: Sequence[tuple[Commit, list[str]]],
    block: Shard,
    columns: list[str] | None,
) -> Iterator[tuple[list[str], list[pa.Table]]]:
    """Some classifiers, and their answers on a block: a table of each file that has a part of it,
    classifier after classifier."""
    for commit, mine in units:
        parts = [ref.path for ref in commit.files if ref.path.endswith(".parquet")]
        size = LARGE_SHARD if len(parts) != block.count else SMALL_SHARD
        group = commit.identity["classifiers"]
        needed = parts[block.start // size : -(-block.stop // size)]
        handles = [pq.ParquetFile(workspace.files.local(path), memory_map=True) for path in needed]
        for start in range(0, len(mine), _READ_CLASSIFIERS):
            names = mine[start : start + _READ_CLASSIFIERS]
            groups = [group.index(name) for name in names]
            # Columns are what threads share out: of one they cost and win nothing.
            threads = columns is None or len(columns) > 1
            yield (
                names,
                [
                    handle.read_row_groups(groups, columns=columns, use_threads=threads)
                    for handle in handles
                ],
            )


def logits_blocks(workspace: Workspace, classifier: str, split: str) -> list[NDArray[np.float16]]:
    """Centred logits (minus their maximum) of one classifier, float16 [n, M] per shard in order,
    each a memory map: nothing is read yet.

    Raises:
        StoreError: if none were kept.
    """
    commit, paths = _logits_parts(workspace, classifier, split)
    index = commit.identity["classifiers"].index(classifier)
    return [
        _logits_block(workspace.files.local(path), index, commit.identity["num_classes"])
        for path in paths
    ]


def logits_between(
    workspace: Workspace, classifier: str, split: str, start: int, stop: int
) -> NDArray[np.float16]:
    """``logits_of`` the examples start..stop-1, of which only the parts that hold them are opened;
    float16 [n, M].

    Raises:
        StoreError: if none were kept.
    """
    commit, paths = _logits_parts(workspace, classifier, split)
    index, examples = (
        commit.identity["classifiers"].index(classifier),
        int(commit.facts["examples"]),
    )
    size = SMALL_SHARD if -(-examples // SMALL_SHARD) == len(paths) else LARGE_SHARD
    first = start // size
    needed = paths[first : -(-stop // size)]
    blocks = [
        _logits_block(workspace.files.local(path), index, commit.identity["num_classes"])
        for path in needed
    ]
    return np.concatenate(blocks)[start - first * size : stop - first * size]


def _logits_parts(workspace: Workspace, classifier: str, split: str) -> tuple[Commit, list[str]]:
    """A unit that kept a classifier's logits on a split, and its files in order."""
    # Any unit will do: where two fills met, one of them may have kept logits and the other not.
    for commit in workspace.commits.all("answers").values():
        if commit.identity["split"] == split and classifier in commit.identity["classifiers"]:
            paths = [ref.path for ref in commit.files if ref.path.endswith(".arrow")]
            if paths:
                return commit, paths
    raise StoreError(f"no logits of {classifier} on {split} are kept. Fill with --keep-logits all.")


def logits_of(workspace: Workspace, classifier: str, split: str) -> NDArray[np.float16]:
    """``logits_blocks`` as one array [E, M]: a memory map of a split of one shard, else one copy.

    Raises:
        StoreError: if none were kept.
    """
    blocks = logits_blocks(workspace, classifier, split)
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _logits_block(path: Path, index: int, num_classes: int) -> NDArray[np.float16]:
    batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(index)
    values: NDArray[np.float16] = batch.column("logits").flatten().to_numpy(zero_copy_only=True)
    return values.reshape(-1, num_classes)


# ------------------------------------------------------------------------------------------ answers


@dataclass(frozen=True)
class Answers:
    """What is kept of one classifier's output on E examples.

    A row whose output holds a NaN or an infinity has ``finite`` False, prediction -1, NaN numbers
    and an empty top 5: it counts for nothing.

    Attributes:
        prediction: int16 [E]; most probable class, ties to the lowest; -1 = no answer.
        p_label: float32 [E] in [0, 1]; probability of the label; NaN where the label is unknown.
        entropy: float32 [E] in bits, in [0, log2 M].
        margin: float32 [E] in [-1, 1]; p(label) minus the largest other probability; NaN where the
            label is unknown.
        top5: int16 [E, 5]; most probable classes in descending order, ties to the lowest; -1 pads
            when M < 5.
        top5_p: float16 [E, 5]; their probabilities; 0 pads.
        finite: bool [E].
    """

    prediction: NDArray[np.int16]
    p_label: NDArray[np.float32]
    entropy: NDArray[np.float32]
    margin: NDArray[np.float32]
    top5: NDArray[np.int16]
    top5_p: NDArray[np.float16]
    finite: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prediction)


def list_values(array: pa.FixedSizeListArray) -> NDArray[np.generic]:
    """[E, 5] of a fixed-size list column. ``values`` keeps the slots of null rows, which
    ``flatten`` would drop."""
    width = array.type.list_size
    flat = array.values[array.offset * width : (array.offset + len(array)) * width]
    empty: NDArray[np.generic] = (flat.fill_null(0) if flat.null_count else flat).to_numpy(
        zero_copy_only=False
    )
    return empty.reshape(-1, width)
