"""Predictions made elsewhere become classifiers of a population: checked as a whole, then written
as a fill would write them.

**Nothing is written before everything is checked.** After that the order is data set, answers,
members: a classifier belongs to the population once all its answers are there. Stopped anywhere,
    the same command goes on: finished shards are found by their names.

**Which data set.** One that was imported is known by its labels only. Its key is the hash of its
name (``--dataset``, default ``imported``) and its class list; each split is recorded once and never
changes, and another split of the same name and classes joins it as a new generation of its record.
So the train and test split can come in two commands. Without ``--dataset``, predictions whose
labels are exactly those of a split that the workspace has recorded join that data set, also one
whose classifiers were trained here.

**Which classifier.** Its id is its name and the hash of (data set, name): one classifier may get
its train and its test split in two commands. What its answers were made from (sha256 of the file,
place in it, kind, masks) is on record per split. The same again does nothing; something else under
the same name is an error, so that no import can double a classifier or change one.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import DataError, NotFoundError, UsageError
from zoo.exchange import foreign
from zoo.exchange.foreign import Checked, Kind, Masks, Predictions
from zoo.progress import Progress
from zoo.registry import distinct
from zoo.scores.outputs import answers_from_logits, answers_from_probabilities
from zoo.spec import content_id
from zoo.store import datasets
from zoo.store.answers import (
    Answers,
    AnswerUnit,
    answer_parts,
    commit_unit,
    find_receipt,
    shards,
    write_part,
)
from zoo.store.commits import Commit
from zoo.store.datasets import int_column, split_table
from zoo.store.heartbeat import heartbeat
from zoo.store.workspace import Workspace

__all__ = ["DEFAULT_DATASET", "Imported", "Request", "import_predictions", "slug"]


DEFAULT_DATASET = "imported"
_GROUP_CLASSIFIERS = 128
_LOWEST = 65000.0  # float16 ends at 65504; e**-65000 is 0 anyway
_SMALLEST = 6e-8  # rounds to the smallest float16 above 0: a runner-up never becomes a tie
# the logit kept for p = 0: exact in float16, and e**-1000 is 0 in float64
_NO_PROBABILITY = -1000.0


@dataclass(frozen=True)
class Request:
    """What is asked for. Paths are files; see ``zoo.exchange.foreign`` for their forms.

    ``labels`` may be None where the split is recorded. ``names``: one per classifier; () = after
        the files. ``dataset``: see the module.
    """

    files: tuple[Path, ...]
    labels: Path | None = None
    label_true: Path | None = None
    ids: Path | None = None
    in_train: Path | None = None
    classes: Path | None = None
    names: tuple[str, ...] = ()
    kind: Literal["auto", "logits", "probs"] = "auto"
    split: str = "train"
    dataset: str | None = None
    keep_logits: bool = True


@dataclass(frozen=True)
class Imported:
    """What an import has done.

    ``classifiers``: id -> name, in the order given; ``added``: those that were not there before;
    ``accuracy``: id -> share of the labelled examples whose label comes first, NaN where no label
    is known; ``notes``: what was put right or left open, a line each; ``warnings``: what is likely
    wrong.
    """

    workspace: str
    dataset: str
    fingerprint: str
    split: str
    kind: Kind
    examples: int
    num_classes: int
    classifiers: Mapping[str, str]
    added: tuple[str, ...]
    accuracy: Mapping[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        accuracy = {key: None if value != value else value for key, value in self.accuracy.items()}
        listed = {name: list(getattr(self, name)) for name in ("added", "notes", "warnings")}
        return {
            **self.__dict__,
            "classifiers": dict(self.classifiers),
            "accuracy": accuracy,
            **listed,
        }


@dataclass(frozen=True)
class _Examples:
    """The examples of the split, whatever is known of them."""

    class_names: tuple[str, ...]
    named: bool
    keys: list[str] | None
    labels: NDArray[np.int64]
    labels_true: NDArray[np.int64] | None


@dataclass(frozen=True)
class _Member:
    """A classifier to import: its id, its record's identity, and where its answers come from."""

    key: str
    identity: Mapping[str, Any]
    source: Mapping[str, Any]
    index: int
    predictions: Predictions


@dataclass(frozen=True)
class _Plan:
    """A checked import."""

    dataset: str
    fingerprint: str
    recorded: bool
    split: str
    kind: Kind
    examples: _Examples
    members: tuple[_Member, ...]
    masks: Masks | None
    keep_logits: bool
    accuracy: Mapping[str, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    answered: frozenset[str] = field(default=frozenset())

    @property
    def size(self) -> int:
        return len(self.examples.labels)


def import_predictions(location: str, request: Request, progress: Progress) -> Imported:
    """Check predictions and make them classifiers of a workspace's population; the workspace is
    made if there is none.

    Raises:
        UsageError: for a wrong request (names, data set, a classifier that is there with other
            predictions).
        DataError: for files that cannot be read, do not fit each other, or hold what they must not.
            Nothing was written.
    """
    with tempfile.TemporaryDirectory(prefix="zoo-import-") as scratch:
        try:
            space: Workspace | None = Workspace.open(location)
        except NotFoundError:
            space = None
        with progress.stage("checking", len(request.files)) as bar:
            plan = _checked(space, request, Path(scratch))
            bar.text = (
                f"{len(plan.members)} classifiers, {plan.size:,} examples,"
                f" {len(plan.examples.class_names)} classes, {plan.kind}"
            )
        space = space or Workspace.open(location, create=True)
        todo = [member for member in plan.members if member.key not in plan.answered]
        fresh = [m for m in plan.members if not _is_published(space, m, plan.split)]
        if todo or fresh or not plan.recorded:
            space.check_writable()
            with heartbeat(space):
                _write(space, plan, todo, progress)
    return Imported(
        workspace=space.location,
        dataset=plan.dataset,
        fingerprint=plan.fingerprint,
        split=plan.split,
        kind=plan.kind,
        examples=plan.size,
        num_classes=len(plan.examples.class_names),
        classifiers={member.key: str(member.identity["name"]) for member in plan.members},
        added=tuple(member.key for member in fresh),
        accuracy=plan.accuracy,
        notes=plan.notes,
        warnings=plan.warnings,
    )


# ---------------------------------------------------------------- checking


def _checked(space: Workspace | None, request: Request, scratch: Path) -> _Plan:
    """Everything that can be wrong is found here."""
    if not request.files:
        raise UsageError(
            "nothing to import. Give files of predictions. Example: zoo import a.npy b.npy --labels"
            " labels.npy"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", request.split):
        raise UsageError(
            f"split {request.split!r}: allowed are small letters, digits and _, such as train,"
            " test, validation. Use --split."
        )
    if request.dataset is not None and (
        not request.dataset.strip() or not request.dataset.isprintable()
    ):
        raise UsageError(
            f"data set name {request.dataset!r}: allowed are printable characters, at least one."
            " Use --dataset NAME."
        )
    opened = foreign.open_predictions(request.files, request.names, scratch)
    examples, record, name, fingerprint = _dataset(space, request, opened)
    size = len(examples.labels)
    if opened[0].shape[0] != size:
        raise DataError(
            f"the predictions have {opened[0].shape[0]} examples, the labels {size}. Allowed: as"
            " many labels as rows, in the same order. Check that they are of the same split."
        )
    keys = examples.keys or _common_keys(opened)
    aligned = [
        foreign.aligned(member, keys, size, _column_order(opened, examples)) for member in opened
    ]
    checked = [foreign.check_values(member, request.kind, examples.labels) for member in aligned]
    kinds = [found.kind for found in checked]
    odd = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), None)
    if odd is not None:
        raise DataError(
            f"{opened[0].name} ({opened[0].source}) holds {kinds[0]}, {opened[odd].name}"
            f" ({opened[odd].source}) {kinds[odd]}. Allowed: one kind in one import. Import them in"
            " two commands, or say --kind logits if all are logits."
        )
    masks = None
    if request.in_train is not None:
        masks = foreign.open_masks(request.in_train, [member.name for member in opened], size)
    members = tuple(
        _member(i, m, fingerprint, examples.class_names, kinds[0], masks, size)
        for i, m in enumerate(aligned)
    )
    answered: frozenset[str] = frozenset()
    if space is not None:
        for member in members:
            _check_member(space.commits.get("member", member.key), request.split, member.source)
        answered = frozenset(
            key for _, mine in answer_parts(space, fingerprint, request.split) for key in mine
        )
    complete = _Examples(
        examples.class_names,
        examples.named,
        keys or [str(i) for i in range(size)],
        examples.labels,
        examples.labels_true,
    )
    recorded = (
        record is not None
        and request.split in record.facts["splits"]
        and not _adds_truth(space, record, request.split, complete)
    )
    return _Plan(
        name,
        fingerprint,
        recorded,
        request.split,
        kinds[0],
        complete,
        members,
        masks,
        request.keep_logits,
        accuracy={
            member.key: found.accuracy for member, found in zip(members, checked, strict=True)
        },
        notes=_notes(opened, checked, masks),
        warnings=_warnings(space, opened, checked, members, fingerprint, request.split),
        answered=answered,
    )


def _notes(
    opened: Sequence[Predictions], checked: Sequence[Checked], masks: Masks | None
) -> tuple[str, ...]:
    """What was put right, and what stays open: a line each."""
    repaired = [
        (member.name, found.repairs)
        for member, found in zip(opened, checked, strict=True)
        if found.repairs
    ]
    notes = []
    if repaired:
        name, repairs = repaired[0]
        notes.append(
            f"probabilities put right in {len(repaired)} of {len(opened)} classifiers, first"
            f" {name}: {repairs}."
        )
    if masks is None:
        notes.append(
            "which examples the classifiers were trained on is not known (no --in-train): n_heldout"
            " and the held-out scores stay empty, and label quality is over all classifiers."
        )
    return tuple(notes)


def _warnings(
    space: Workspace | None,
    opened: Sequence[Predictions],
    checked: Sequence[Checked],
    members: Sequence[_Member],
    fingerprint: str,
    split: str,
) -> tuple[str, ...]:
    """Signs that predictions are not what they are taken for: accuracies no better than chance, one
    content under two names."""
    warnings = []
    chance = [
        (member.name, found)
        for member, found in zip(opened, checked, strict=True)
        if found.by_chance
    ]
    if chance:
        name, found = chance[0]
        warnings.append(
            f"{len(chance)} of {len(opened)} classifiers are no better than chance, first {name}:"
            f" accuracy {found.accuracy:.3f}, by chance {found.chance:.3f}. Rows or columns may be"
            " out of order: check that rows follow the labels (--ids) and columns the class"
            " numbers (--classes)."
        )
    seen: dict[tuple[Any, ...], str] = {}
    if space is not None:
        mine = {member.key for member in members}
        for key, record in space.commits.all("member").items():
            there = record.facts["splits"].get(split)
            if there is not None and key not in mine and record.facts["dataset"] == fingerprint:
                seen.setdefault(
                    (there["sha256"], there["part"], there["kind"]), str(record.facts["name"])
                )
    for member in members:
        name = str(member.identity["name"])
        other = seen.setdefault(
            (member.source["sha256"], member.source["part"], member.source["kind"]), name
        )
        if other != name:
            warnings.append(
                f"{name!r} has the very predictions of {other!r}: they count twice in every score."
            )
    return tuple(warnings)


def _dataset(
    space: Workspace | None, request: Request, opened: Sequence[Predictions]
) -> tuple[_Examples, Commit | None, str, str]:
    """The examples, the record of the data set if there is one, its name and key."""
    classes = opened[0].shape[1]
    given = foreign.read_class_names(request.classes) if request.classes is not None else None
    if given is not None and len(given) != classes:
        raise DataError(
            f"{request.classes} names {len(given)} classes, {opened[0].source} has {classes}."
            " Allowed: one name per column of the predictions, in their order. Correct the list."
        )
    columns = next((member.columns for member in opened if member.columns is not None), None)
    columns = None if columns is None or foreign.numbered(columns) is not None else columns
    if (
        given is not None
        and columns is not None
        and set(given) & set(columns)
        and set(given) != set(columns)
    ):
        raise DataError(
            f"{opened[0].source} has the class columns {', '.join(columns)[:120]},"
            f" {request.classes} names {', '.join(given)[:120]}. Allowed: the same names in any"
            " order, or columns that are only numbered. Correct one of them."
        )
    records = _records(space, request.dataset, classes, given)
    guessed = given is None and columns is not None
    if guessed and columns is not None:
        # Names of columns are the class list; a data set that has the same names also knows which
        # number each has.
        same = [
            record
            for record in records
            if _called(columns, list(map(str, record.facts["class_names"])))
        ]
        lists = {tuple(map(str, record.facts["class_names"])) for record in same}
        if len(lists) == 1:
            records, given, guessed = same, lists.pop(), False
        elif request.dataset is None or not records:
            records, given = [], columns
    if len(records) == 1 and request.dataset is not None and request.labels is None:
        record: Commit | None = records[0]
        examples = _recorded_examples(space, records[0], request)
    elif request.labels is None:
        raise UsageError(
            "imported predictions need labels. Give them with --labels FILE (.npy, .csv, .parquet"
            " or .txt)."
        )
    else:
        names = given
        if names is None:
            # Splits of one data set have one class list: what the first import said holds for the
            # next.
            lists = {
                tuple(record.facts["class_names"])
                for record in records
                if request.dataset is not None or _default(record)
            }
            names = next(iter(lists)) if len(lists) == 1 else tuple(map(str, range(classes)))
            named = len(lists) == 1
        else:
            named = True
        examples = _given_examples(request, names, named=named, guessed=guessed and named)
        record = (
            _same_examples(space, records, request.split, examples)
            if request.dataset is None
            else None
        )
        if record is None:
            candidates = [
                r
                for r in records
                if tuple(r.facts["class_names"]) == names
                and (request.dataset is not None or _default(r))
            ]
            record = candidates[0] if candidates else None
    name = str(record.facts["name"]) if record is not None else (request.dataset or DEFAULT_DATASET)
    if record is not None and tuple(record.facts["class_names"]) != examples.class_names:
        # The labels are those of a recorded data set that knows its classes by name.
        examples = _Examples(
            tuple(record.facts["class_names"]),
            True,
            examples.keys,
            examples.labels,
            examples.labels_true,
        )
    if record is not None:
        examples = _check_recorded(space, record, request, examples)
    fingerprint = record.key if record is not None else _dataset_id(name, examples.class_names)
    return examples, record, name, fingerprint


def _called(columns: Sequence[str], class_names: Sequence[str]) -> bool:
    """Whether columns bear the names of the classes, in any order; those of equal name as they are
    shown."""
    return set(columns) in (set(class_names), set(distinct(class_names)))


def _default(record: Commit) -> bool:
    return bool(record.facts.get("imported")) and record.facts["name"] == DEFAULT_DATASET


def _records(
    space: Workspace | None, name: str | None, classes: int, given: tuple[str, ...] | None
) -> list[Commit]:
    """Recorded data sets that these predictions may be about: of that name if one is given, with as
    many classes, called so."""
    if space is None:
        return []
    records = list(space.commits.all("dataset").values())
    if name is not None:
        records = [record for record in records if name in (record.key, record.facts["name"])]
        foreign_ones = [record for record in records if not record.facts.get("imported")]
        if foreign_ones and len(foreign_ones[0].facts["class_names"]) != classes:
            known = foreign_ones[0].facts["class_names"]
            raise DataError(
                f"the predictions have {classes} classes, data set {name!r} has {len(known)}:"
                f" {', '.join(map(str, known))[:120]}. Allowed: predictions of its classes. Choose"
                " another name with --dataset."
            )
    return [
        record
        for record in records
        if len(record.facts["class_names"]) == classes
        and given in (None, tuple(record.facts["class_names"]))
    ]


def _same_examples(
    space: Workspace | None, records: Sequence[Commit], split: str, examples: _Examples
) -> Commit | None:
    """The one recorded data set whose split has exactly these labels (and ids, if they are
    given)."""
    found = []
    for record in records:
        if space is not None and split in record.facts["splits"]:
            table = split_table(space, record, split)
            labels = int_column(table, "label")
            if np.array_equal(labels, examples.labels) and (
                examples.keys is None or table.column("key").to_pylist() == examples.keys
            ):
                found.append(record)
    return found[0] if len(found) == 1 else None


def _recorded_examples(space: Workspace | None, record: Commit, request: Request) -> _Examples:
    """What is on record of the split.

    Raises:
        UsageError: if the data set has no such split yet: then labels are needed.
    """
    if space is None or request.split not in record.facts["splits"]:
        raise UsageError(
            f"data set {record.facts['name']!r} has no split {request.split!r} on record. It has:"
            f" {', '.join(record.facts['splits'])}. Give the labels with --labels FILE."
        )
    table = split_table(space, record, request.split)
    names = tuple(map(str, record.facts["class_names"]))
    labels_true = None
    if request.label_true is not None:
        labels_true = _labels(
            request.label_true,
            "--label-true",
            foreign.TRUE_COLUMNS + foreign.LABEL_COLUMNS,
            names,
            named=True,
        )
    keys = _ids(request.ids) if request.ids is not None else None
    return _Examples(names, True, keys, int_column(table, "label"), labels_true)


def _given_examples(
    request: Request, names: tuple[str, ...], *, named: bool, guessed: bool
) -> _Examples:
    """Labels, true labels and ids from the files; a table of labels may hold all three.

    Args:
        guessed: the names are those of the predictions' columns, and nothing else says which number
            each class has.

    Raises:
        DataError: among others, if labels are numbers and two readings of them differ.
    """
    assert request.labels is not None
    columns = foreign.read_columns(request.labels, "--labels")
    column = foreign.pick_column(columns, foreign.LABEL_COLUMNS, request.labels, "--labels")
    if guessed and list(names) != sorted(names) and not foreign.are_names(column, names):
        raise DataError(
            f"--labels {request.labels}: labels are numbers, and the predictions' columns are"
            f" {', '.join(names)[:120]}, in another order than sorted by name. Which class is 0 is"
            " not guessed: say it with --classes FILE, the names in the order of the numbers, or"
            " give the labels as names."
        )
    labels = foreign.class_indices(column, names, named=named, where=f"--labels {request.labels}")
    lowered = {text.lower(): values for text, values in columns.items()} if len(columns) > 1 else {}
    labels_true = None
    if request.label_true is not None:
        labels_true = _labels(
            request.label_true,
            "--label-true",
            foreign.TRUE_COLUMNS + foreign.LABEL_COLUMNS,
            names,
            named=named,
        )
    elif (
        beside := next((lowered[c] for c in foreign.TRUE_COLUMNS if c in lowered), None)
    ) is not None and beside.null_count < len(beside):
        labels_true = foreign.class_indices(
            beside, names, named=named, where=f"--labels {request.labels}, column label_true"
        )
    keys = None
    if request.ids is not None:
        keys = _ids(request.ids)
    elif (
        beside := next((lowered[c] for c in foreign.KEY_COLUMNS if c in lowered), None)
    ) is not None:
        keys = foreign.example_keys(beside, f"--labels {request.labels}")
    for what, values in (("--label-true", labels_true), ("--ids", keys)):
        if values is not None and len(values) != len(labels):
            raise DataError(
                f"{what} has {len(values)} entries, --labels has {len(labels)}. Allowed: one per"
                " example, in the same order."
            )
    return _Examples(names, named, keys, labels, labels_true)


def _labels(
    path: Path, what: str, columns: Sequence[str], names: tuple[str, ...], *, named: bool
) -> NDArray[np.int64]:
    column = foreign.pick_column(foreign.read_columns(path, what), columns, path, what)
    return foreign.class_indices(column, names, named=named, where=f"{what} {path}")


def _ids(path: Path) -> list[str]:
    columns = foreign.read_columns(path, "--ids")
    return foreign.example_keys(
        foreign.pick_column(columns, foreign.KEY_COLUMNS + foreign.PATH_COLUMNS, path, "--ids"),
        f"--ids {path}",
    )


def _check_recorded(
    space: Workspace | None, record: Commit, request: Request, examples: _Examples
) -> _Examples:
    """Examples of a data set that is on record: a split never changes, and one that was trained on
    gets no new ones.

    Raises:
        DataError: naming what differs.
    """
    name = record.facts["name"]
    assert space is not None
    if request.split not in record.facts["splits"]:
        if not record.facts.get("imported"):
            raise DataError(
                f"data set {name!r} has no split {request.split!r}. Its splits:"
                f" {', '.join(record.facts['splits'])}. Choose one with --split, or another name"
                " with --dataset."
            )
        return examples
    table = split_table(space, record, request.split)
    known, keys, truth = (
        int_column(table, "label"),
        table.column("key").to_pylist(),
        int_column(table, "label_true"),
    )
    advice = (
        "A split of a data set never changes: choose another name with --dataset, or another"
        " --split."
    )
    where = f"split {request.split!r} of data set {name!r} is on record with"
    if len(examples.labels) != len(known):
        raise DataError(
            f"{where} {len(known)} examples, the labels are {len(examples.labels)}. {advice}"
        )
    if not np.array_equal(known, examples.labels):
        row = int(np.flatnonzero(known != examples.labels)[0])
        raise DataError(
            f"{where} other labels: example {row} has {known[row]}, in --labels it has"
            f" {examples.labels[row]}. {advice}"
        )
    if examples.keys is not None and examples.keys != keys:
        row = (
            next(i for i, (a, b) in enumerate(zip(keys, examples.keys, strict=False)) if a != b)
            if len(examples.keys) == len(keys)
            else 0
        )
        raise DataError(f"{where} other ids: example {row} is {keys[row]!r}. {advice}")
    new = examples.labels_true
    if new is not None and len(new) != len(known):
        raise DataError(f"{where} {len(known)} examples, the true labels are {len(new)}. {advice}")
    if new is not None and (truth >= 0).any() and not np.array_equal(truth, new):
        row = int(np.flatnonzero(truth != new)[0])
        raise DataError(
            f"{where} other true labels: example {row} has {truth[row]}, in --label-true it has"
            f" {new[row]}. {advice}"
        )
    if new is not None and not (truth >= 0).any() and not record.facts.get("imported"):
        raise DataError(
            f"{where}out true labels, and belongs to classifiers trained here. {advice}"
        )
    return _Examples(
        examples.class_names,
        examples.named,
        keys,
        known,
        new if new is not None else (truth if (truth >= 0).any() else None),
    )


def _adds_truth(space: Workspace | None, record: Commit, split: str, examples: _Examples) -> bool:
    """Whether true labels are given that are not on record yet."""
    assert space is not None
    return examples.labels_true is not None and not np.array_equal(
        int_column(split_table(space, record, split), "label_true"), examples.labels_true
    )


def _common_keys(opened: Sequence[Predictions]) -> list[str] | None:
    """Ids by the files' own column, where nothing else says them: then all must list them in one
    order, that of the labels."""
    keyed = [
        member for member in opened if member.keys is not None and member.id_column != "example_id"
    ]
    if not keyed:
        return None
    if any(member.keys != keyed[0].keys for member in opened):
        raise DataError(
            f"{keyed[0].source} lists its examples by {keyed[0].id_column}, and not all files list"
            " the same in the same order, so it is unknown which label belongs to which. Give the"
            " ids in the order of the labels with --ids FILE."
        )
    return list(keyed[0].keys or ())


def _column_order(opened: Sequence[Predictions], examples: _Examples) -> tuple[str, ...]:
    """Names that columns are put in order by: the data set's where they are called so, their
    numbers, else the first file's order."""
    columns = next((member.columns for member in opened if member.columns is not None), None)
    if columns is None or _called(columns, examples.class_names):
        return examples.class_names
    return foreign.numbered(columns) or columns


def _member(
    index: int,
    predictions: Predictions,
    fingerprint: str,
    class_names: Sequence[str],
    kind: Kind,
    masks: Masks | None,
    size: int,
) -> _Member:
    name = predictions.name
    key = f"{slug(name)}-{content_id({'member': name, 'dataset': fingerprint})}"
    identity = {
        "name": name,
        "dataset": fingerprint,
        "num_classes": len(class_names),
        "classes": content_id(list(class_names)),
    }
    source = {
        "file": predictions.source,
        "part": predictions.part,
        "sha256": predictions.sha256,
        "kind": kind,
        "in_train": None if masks is None else _mask_digest(masks, index, size),
        "fraction": None if masks is None else float(masks.block(index, 0, size).mean()),
    }
    return _Member(key, identity, source, index, predictions)


def _mask_digest(masks: Masks, index: int, size: int) -> str:
    """Of one classifier's row, so that a file of masks for more classifiers says the same of this
    one."""
    import hashlib

    return hashlib.sha256(np.packbits(masks.block(index, 0, size)).tobytes()).hexdigest()[:16]


def slug(name: str) -> str:
    """A name as part of a file name: ASCII letters, digits, dot, dash, underscore; 40 at most."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "-", ascii_name).strip("-._")[:40] or "classifier"


def _dataset_id(name: str, class_names: Sequence[str]) -> str:
    return content_id({"imported": name, "classes": list(class_names)})


# ---------------------------------------------------------------- records that grow by a split


_ORIGIN = {
    "sha256": "content",
    "part": "place in its file",
    "kind": "kind",
    "in_train": "training membership",
}


def _check_member(record: Commit | None, split: str, source: Mapping[str, Any]) -> None:
    """Refuse to give a classifier other answers than it has."""
    old = None if record is None else record.facts["splits"].get(split)
    if record is None or old is None:
        return
    differs = [text for name, text in _ORIGIN.items() if old[name] != source[name]]
    if differs:
        raise UsageError(
            f"classifier {record.facts['name']!r} has answers on {split} already, from"
            f" {old['file']} ({old['kind']}); {source['file']} ({source['kind']}) differs in"
            f" {' and '.join(differs)}. Allowed: one set of predictions per classifier and split."
            " Call this one otherwise with --names, or use another workspace."
        )


def _is_published(space: Workspace, member: _Member, split: str) -> bool:
    record = space.commits.get("member", member.key)
    return record is not None and split in record.facts["splits"]


def _publish_member(
    space: Workspace, member: _Member, split: str, accuracy: Mapping[str, float | None]
) -> None:
    """Make a classifier one of the population, or give it a split more. Another process may do the
    same: then look again."""
    entry = {**member.source, **accuracy}
    while True:
        there = space.commits.get("member", member.key)
        _check_member(there, split, entry)
        splits = {} if there is None else dict(there.facts["splits"])
        if split in splits:
            return
        facts = {**member.identity, "splits": {**splits, split: entry}}
        generation = 1 if there is None else there.generation + 1
        space.commits.publish(
            "member", member.key, identity=member.identity, facts=facts, generation=generation
        )


def _publish_split(space: Workspace, plan: _Plan) -> None:
    """Record the examples of the split: a new data set, or a new generation of its record. Another
    process may do the same: then look again."""
    e = plan.examples
    mine = datasets.examples_table(
        plan.split, e.keys or [], e.labels, e.labels_true, e.class_names, {}
    )
    while True:
        there = space.commits.get("dataset", plan.fingerprint)
        known: dict[str, pa.Table] = {}
        if there is not None:
            table = pq.read_table(space.files.local(there.files[0].path))
            known = {
                split: table.filter(pc.equal(table.column("split"), split))
                for split in there.facts["splits"]
            }
        if plan.split in known:
            old = known[plan.split]
            if not old.drop_columns(["label_true"]).equals(mine.drop_columns(["label_true"])):
                raise DataError(
                    f"split {plan.split!r} of data set {plan.dataset!r} was recorded with other"
                    " examples while this ran. Use another --dataset."
                )
            if e.labels_true is None or old.equals(mine):
                return
        known[plan.split] = mine
        order = sorted(known, key=lambda split: (split != "train", split != "test", split))
        joined = pa.concat_tables([known[split] for split in order])
        ref = space.files.seal(
            "datasets", plan.fingerprint, ".parquet", partial(_write_parquet, joined)
        )
        facts = {
            "name": plan.dataset,
            "uri": f"imported:{plan.dataset}",
            "imported": True,
            "class_names": list(e.class_names),
            "channels": None,
            "splits": {split: known[split].num_rows for split in order},
        }
        space.commits.publish(
            "dataset",
            plan.fingerprint,
            identity={"fingerprint": plan.fingerprint},
            facts=facts,
            files=[ref],
            generation=1 if there is None else there.generation + 1,
        )


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


# ---------------------------------------------------------------- writing


def _write(space: Workspace, plan: _Plan, todo: Sequence[_Member], progress: Progress) -> None:
    if not plan.recorded:
        _publish_split(space, plan)
    ordered = sorted(todo, key=lambda member: member.key)
    cells = len(ordered) * plan.size
    with progress.stage("importing", max(cells, 1)) as bar:
        for first in range(0, len(ordered), _GROUP_CLASSIFIERS):
            _write_unit(space, plan, ordered[first : first + _GROUP_CLASSIFIERS], bar.advance)
        bar.text = f"{cells:,} answers of {len(ordered)} classifiers on {plan.split}"
    accuracies = _accuracies(space, plan)
    for member in plan.members:
        _publish_member(space, member, plan.split, accuracies[member.key])


def _write_unit(space: Workspace, plan: _Plan, members: Sequence[_Member], advance: Any) -> None:
    """Answers (and logits) of a group of classifiers, shard by shard; what an earlier try has
    finished is kept."""
    first = members[0].identity
    unit = AnswerUnit(
        plan.fingerprint,
        plan.split,
        tuple(member.key for member in members),
        first["num_classes"],
        first["classes"],
        plan.keep_logits,
        source=content_id([[member.source[name] for name in _ORIGIN] for member in members]),
    )
    receipts = []
    for shard in shards(plan.size, 1):
        receipt = find_receipt(space.files, unit, shard)
        if receipt is None:
            labels = plan.examples.labels[shard.start : shard.stop]
            answers = [
                _answers(plan.kind, member.predictions.block(shard.start, shard.stop), labels)
                for member in members
            ]
            masks = None
            if plan.masks is not None:
                masks = np.stack(
                    [plan.masks.block(member.index, shard.start, shard.stop) for member in members]
                )
            logits = (
                _logits(plan.kind, members, shard.start, shard.stop) if plan.keep_logits else None
            )
            readable = np.zeros(len(labels), dtype=np.bool_)
            receipt = write_part(space.files, unit, shard, answers, readable, labels, masks, logits)
        receipts.append(receipt)
        advance(len(members) * (shard.stop - shard.start))
    commit_unit(space, unit, plan.size, int((plan.examples.labels >= 0).sum()), receipts)


def _answers(kind: Kind, values: NDArray[Any], labels: NDArray[np.int64]) -> Answers:
    return (
        answers_from_logits(values, labels)
        if kind == "logits"
        else answers_from_probabilities(values, labels)
    )


def _logits(
    kind: Kind, members: Sequence[_Member], start: int, stop: int
) -> Iterator[NDArray[np.float64]]:
    """Logits float64 [n, M] of one classifier after the other, such that float16 keeps the order of
    the first two and p = 0 exactly."""
    for member in members:
        values = member.predictions.block(start, stop).astype(np.float64)
        if kind == "probs":
            values = np.log(values, out=np.full(values.shape, _NO_PROBABILITY), where=values > 0)
        top = values.max(axis=1, keepdims=True)
        np.maximum(values, top - _LOWEST, out=values)
        yield np.where(values < top, np.minimum(values, top - _SMALLEST), values)


def _accuracies(space: Workspace, plan: _Plan) -> dict[str, dict[str, float | None]]:
    """Share of labelled examples whose label is first, and among the first five, per classifier."""
    labels = plan.examples.labels
    labelled = int((labels >= 0).sum())
    wanted = {member.key for member in plan.members}
    found: dict[str, dict[str, float | None]] = {}
    for commit, mine in answer_parts(space, plan.fingerprint, plan.split):
        group = commit.identity["classifiers"]
        names = [name for name in mine if name in wanted]
        if not names:
            continue
        hits = dict.fromkeys(names, 0)
        start = 0
        for ref in (ref for ref in commit.files if ref.path.endswith(".parquet")):
            file = pq.ParquetFile(space.files.local(ref.path), memory_map=True)
            rows = 0
            for name in names:
                top5 = (
                    file.read_row_group(group.index(name), columns=["top5"])
                    .column("top5")
                    .combine_chunks()
                )
                rows = len(top5)
                known = labels[start : start + rows]
                values = top5.values.to_numpy(zero_copy_only=False).reshape(rows, 5)
                hits[name] += int(((values == known[:, None]).any(axis=1) & (known >= 0)).sum())
            start += rows
        for name in names:
            first = int(commit.facts["hits"][name])
            found[name] = {
                "acc1": first / labelled if labelled else None,
                "acc5": hits[name] / labelled if labelled else None,
            }
    return found
