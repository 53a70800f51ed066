"""People's decisions about examples, from a table they wrote: ``decisions.csv``.

==========  ========================================================================================
column      what is in it
==========  ========================================================================================
key         the example's key (its path at its origin); or
example_id  its id. Where both are given they must mean one example
decision    keep, relabel, drop or unsure; empty = not looked at, the row is passed over
label       for relabel: name or number of a class. A name counts before a number
reviewer    who decided; may be missing
time        when, ISO 8601; missing = when it was read in
digest      sha256 (or its first 8 and more hex digits) of the picture that was looked at
note        anything
==========  ========================================================================================

Other columns are passed over. What a row says wrongly is refused, with all such rows, before
anything is stored: an unknown word, a label that is no class, relabel without a label. What the
data no longer hold is left out and said: an unknown example, a picture whose digest is another now.
A key that is gone is looked for by its digest: a file that was moved is the same picture.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import Dataset, Split, check_dataset, picture_digests
from zoo.errors import NotFoundError, UsageError
from zoo.manifest import Manifest
from zoo.registry import distinct, position
from zoo.scores.remaining import remaining_after_decisions
from zoo.store import datasets, selections
from zoo.store.decisions import (
    WORDS,
    Decision,
    Settled,
    commit_decisions,
    counts,
    decided,
    decisions_of,
    settle,
)
from zoo.store.heartbeat import heartbeat
from zoo.store.origin import Origin
from zoo.store.workspace import Workspace

__all__ = ["Reviewed", "apply_decisions", "keep_or_drop", "listed_examples", "read_decisions"]

_COLUMNS: Final = (
    "key",
    "example_id",
    "decision",
    "label",
    "reviewer",
    "time",
    "digest",
    "note",
)
_SHOWN = 10
_SHORTEST = 8  # hex digits of a digest


@dataclass
class Reviewed:
    """What a file says. ``left_out``: rows about examples or pictures that are not there any more,
    a line each; ``moved``: examples that were found by their digest; ``empty``: rows without a
    decision."""

    decisions: list[Decision] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    moved: int = 0
    empty: int = 0

    @property
    def notes(self) -> list[str]:
        """Lines for people."""
        found = [_several("left out", self.left_out)] if self.left_out else []
        if self.moved:
            found.append(f"{self.moved:,} pictures were found under another key, by their digest.")
        if self.empty:
            found.append(f"{self.empty:,} rows without a decision were passed over.")
        return found


def read_decisions(
    file: Path, examples: pa.Table, class_names: Sequence[str], pictures: Split | None
) -> Reviewed:
    """Decisions of a CSV, TSV or Parquet file about the examples of a split.

    Args:
        examples: what is on record of the split.
        pictures: the split with its pictures, for digests; None where there are none.

    Raises:
        UsageError: if the file is no such table, or some rows say what cannot be; names them.
    """
    rows = _rows(file)
    if rows and not ({"decision"} <= rows[0].keys() and {"key", "example_id"} & rows[0].keys()):
        raise UsageError(
            f"{file}: its columns are {', '.join(rows[0]) or 'none'}. Needed: decision, and key or"
            f" example_id. Known beside them: {', '.join(_COLUMNS[3:])}."
        )
    finder, found, wrong = _Finder(examples, pictures), Reviewed(), []
    now = _now()
    for number, row in enumerate(rows, start=2):
        word = row.get("decision", "").strip().lower()
        if not word:
            found.empty += 1
            continue
        try:
            decision = _decision(row, word, class_names, now)
            example, moved = finder.find(row)
        except UsageError as error:
            wrong.append(f"row {number}: {error}")
            continue
        if example is None:
            found.left_out.append(f"row {number}: {finder.why}")
            continue
        found.moved += moved
        found.decisions.append(replace(decision, example_id=example))
    if wrong:
        raise UsageError(
            f"{file}: {_several('cannot be', wrong)} Nothing was stored. Correct these rows."
        )
    return found


def listed_examples(file: Path, examples: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
    """Ids of the examples that a file lists: a key a line, or a table with a column key or
    example_id; and a line for each that is not there.

    Raises:
        UsageError: if none of them is.
    """
    rows = _rows(file)
    if not rows or not {"key", "example_id"} & rows[0].keys():
        with _readable(file) as stream:
            rows = [{"key": line.rstrip("\r\n")} for line in stream if line.strip()]
    finder, ids, unknown = _Finder(examples, None), [], []
    for row in rows:
        example, _ = finder.find(row)
        if example is None:
            unknown.append(finder.why)
        else:
            ids.append(example)
    if not ids:
        raise UsageError(
            f"{file}: {_several('none of it is here', unknown)} Give keys or example ids of this"
            " split, one a line, or a table with a column key or example_id."
        )
    return np.unique(np.array(ids, dtype=np.int64)), unknown


def _several(what: str, lines: Sequence[str]) -> str:
    more = f"; and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
    rows = f"{len(lines):,} row{'' if len(lines) == 1 else 's'}"
    return f"{rows} {what}: {'; '.join(lines[:_SHOWN])}{more}."


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------- selections


def apply_decisions(
    workspace: Workspace,
    name: str,
    files: Sequence[Path],
    *,
    split: str = "train",
    data: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Store the decisions of files, and make a selection of all that are stored about the split:
    settled labels, without what is to be dropped, all else as it is.

    Returns:
        For people and JSON: digest, n, how many were kept, relabelled, dropped, unsure, disputed,
        superseded, which pairs of reviewers agree how well, what is left (``Remaining``; None where
        nothing was estimated), and notes.

    Raises:
        UsageError: if some rows cannot be, or a name is taken; nothing is stored then.
        NotFoundError: if no decision is about an example that is there.
    """
    dataset = _recorded(workspace, data)
    examples = _examples(workspace, dataset, split)
    pictures = None if dataset.form == "imported" else dataset.splits[split]
    read = [read_decisions(file, examples, dataset.class_names, pictures) for file in files]
    notes = [note for one in read for note in one.notes]
    if not any(one.decisions for one in read):
        raise NotFoundError(
            f"{', '.join(map(str, files))}: no decision about an example of {dataset.name} {split}."
            f" {' '.join(notes)} "
            + (
                "Fill in the column decision: keep, relabel (with a label), drop or unsure."
                if any(one.empty for one in read) and not any(one.left_out for one in read)
                else "Give the file that was made from this data set."
            )
        )
    before = decisions_of(workspace, dataset.fingerprint, split)
    new = [decision for one in read for decision in one.decisions]
    known = set(before)
    settled = settle(
        sorted([*before, *(d for d in new if d not in known)], key=lambda decision: decision.time)
    )
    manifest = decided(examples, settled)
    with heartbeat(workspace):
        selections.commit_selection(
            workspace,
            name,
            manifest,
            Origin(dataset.fingerprint, split),
            [],
            replace=replace,
        )
        for one in read:
            if one.decisions:
                commit_decisions(workspace, dataset.fingerprint, split, one.decisions)
    left = remaining_after_decisions(workspace, dataset.fingerprint, split)
    return {
        **_about(manifest),
        **_of_decisions(settled, examples),
        "remaining": None if left is None else left.as_json(),
        "notes": notes,
    }


def keep_or_drop(
    workspace: Workspace,
    name: str,
    file: Path,
    *,
    drop: bool,
    split: str = "train",
    data: str | None = None,
    replace: bool = False,
) -> dict[str, Any]:
    """Make a selection of the examples that a file lists, or of all but these.

    Raises:
        UsageError: if none of them is there, or none would be left.
    """
    dataset = _recorded(workspace, data)
    examples = _examples(workspace, dataset, split)
    ids, unknown = listed_examples(file, examples)
    whole = decided(examples, settle([]))
    manifest = whole.take(np.isin(whole.example_ids, ids, invert=drop))
    if not len(manifest):
        raise UsageError(
            f"{file}: {'without' if drop else 'of'} its {len(ids):,} examples none is left."
            " Allowed: files that leave at least one. Did you mean"
            f" --{'keep' if drop else 'drop'}?"
        )
    with heartbeat(workspace):
        selections.commit_selection(
            workspace, name, manifest, Origin(dataset.fingerprint, split), [], replace=replace
        )
    return {**_about(manifest), "notes": [_several("passed over", unknown)] if unknown else []}


def _recorded(workspace: Workspace, data: str | None) -> Dataset:
    """The data set, on record here."""
    dataset = datasets.dataset_of(workspace, data, imported=True)
    if workspace.commits.get("dataset", dataset.fingerprint) is None:
        unreadable = {
            split.name: {one.example_id: one.reason for one in split.unreadable}
            for split in check_dataset(dataset).splits
        }
        datasets.commit_dataset(workspace, dataset, unreadable)
    return dataset


def _examples(workspace: Workspace, dataset: Dataset, split: str) -> pa.Table:
    record = workspace.commits.get("dataset", dataset.fingerprint)
    assert record is not None
    return datasets.examples_of(workspace, record, split)


def _about(manifest: Manifest) -> dict[str, Any]:
    return {"digest": manifest.digest, "n": len(manifest)}


def _of_decisions(settled: Settled, examples: pa.Table) -> dict[str, Any]:
    given = datasets.int_column(examples, "label")
    changed = sum(
        decision.label is not None and decision.label != int(given[example])
        for example, decision in settled.chosen.items()
    )
    return {
        **counts(settled),
        "changed": changed,
        "unsure": len(settled.unsure),
        "disputed": [str(examples.column("key")[example]) for example in settled.disputed],
        "superseded": settled.superseded,
        "agreement": [
            {"reviewers": [one, other], "examples": n, "kappa": None if k != k else k}
            for one, other, n, k in settled.agreement
        ],
    }


# ---------------------------------------------------------------- rows


def _readable(file: Path) -> TextIO:
    try:
        return file.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise UsageError(
            f"{file}: cannot be read ({error.strerror}). Give a CSV, TSV or Parquet file."
        ) from None


def _rows(file: Path) -> list[dict[str, str]]:
    """Rows as texts, by column in lower case; nothing is an empty text."""
    try:
        if file.suffix.lower() == ".parquet":
            table: Iterable[Mapping[str, object]] = pq.read_table(file).to_pylist()
        else:
            with _readable(file) as stream:
                first = stream.readline()
                stream.seek(0)
                delimiter = max(",;\t", key=first.count)
                table = list(csv.DictReader(stream, delimiter=delimiter))
    except (OSError, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise UsageError(
            f"{file}: cannot be read ({str(error)[:200]}). Give a CSV, TSV or Parquet file."
        ) from None
    return [
        {
            str(name).strip().lower(): "" if value is None else str(value)
            for name, value in row.items()
            if name is not None
        }
        for row in table
    ]


def _decision(row: Mapping[str, str], word: str, class_names: Sequence[str], now: str) -> Decision:
    """A row's decision; its example is not known yet."""
    if word not in WORDS:
        raise UsageError(f"decision {word!r}; allowed are {', '.join(WORDS)}")
    written = row.get("label", "").strip()
    if word == "relabel" and not written:
        raise UsageError("relabel without a label")
    label = _class_of(written, class_names) if word == "relabel" else None
    digest = row.get("digest", "").strip().lower() or None
    if digest is not None and not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST},64}}", digest):
        raise UsageError(f"digest {digest!r}; allowed are 8 to 64 hex digits of a sha256")
    return Decision(
        example_id=-1,
        decision=word,
        label=label,
        reviewer=_unquoted(row.get("reviewer", "").strip()),
        time=_time(row.get("time", "").strip()) or now,
        digest=digest,
        note=_unquoted(row.get("note", "").strip()),
    )


def _class_of(written: str, class_names: Sequence[str]) -> int:
    """The class that a name means, or else a number."""
    text = _unquoted(written)
    if text not in class_names and text not in distinct(class_names):
        number = text.removesuffix(".0")  # of a spreadsheet's column with gaps
        if re.fullmatch(r"[0-9]+", number):
            if int(number) < len(class_names):
                return int(number)
            raise UsageError(f"label {text}; allowed are 0 to {len(class_names) - 1}, or a name")
    return position(class_names, text, "class")


def _unquoted(text: str) -> str:
    """Without the quote that our own exports put before what a spreadsheet would run."""
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def _time(text: str) -> str:
    if not text:
        return ""
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"time {text!r}; write it as 2026-01-31 14:05 or 2026-01-31") from None
    when = when.replace(tzinfo=when.tzinfo or datetime.UTC)
    return when.astimezone(datetime.UTC).isoformat(timespec="seconds")


# ---------------------------------------------------------------- examples


class _Finder:
    """Finds a row's example by key, id and digest. ``why``: what was amiss with the last that was
    not found."""

    def __init__(self, examples: pa.Table, pictures: Split | None) -> None:
        keys = examples.column("key").to_pylist()
        self._keys = keys
        self._by_key = {key: example for example, key in enumerate(keys)}
        self._pictures = pictures
        self._digests: dict[int, str | None] = {}
        self._all = False
        self.why = ""

    def find(self, row: Mapping[str, str]) -> tuple[int | None, bool]:
        """Its example, None if that is not there or not what it was; whether it was found by its
        digest.

        Raises:
            UsageError: if it names none, or two.
        """
        key, written = _unquoted(row.get("key", "").strip()), row.get("example_id", "").strip()
        digest = row.get("digest", "").strip().lower()
        example = self._by_key.get(key) if key else None
        if written:
            number = written.removesuffix(".0")
            if not re.fullmatch(r"[0-9]+", number):
                raise UsageError(f"example_id {written!r} is no number")
            own = int(number)
            if key and example is not None and example != own:
                raise UsageError(f"key {key!r} is example {example}, example_id says {own}")
            if not key:
                example = own if own < len(self._keys) else None
        elif not key:
            raise UsageError("neither key nor example_id")
        named = repr(key) if key else f"example_id {written}"
        if example is not None and digest and self._pictures is not None:
            if (self._digest(example) or "").startswith(digest):
                return example, False
            self.why = f"the picture of {named} has changed since"
            return self._by_digest(digest)
        if example is None:
            self.why = f"no example {named}"
            return self._by_digest(digest) if digest and self._pictures else (None, False)
        return example, False

    def _digest(self, example: int) -> str | None:
        assert self._pictures is not None
        if example not in self._digests:
            (self._digests[example],) = picture_digests(
                self._pictures, np.array([example], dtype=np.int64)
            )
        return self._digests[example]

    def _by_digest(self, digest: str) -> tuple[int | None, bool]:
        """The one example whose picture has this digest. Reads every picture, once."""
        assert self._pictures is not None
        if not self._all:
            ids = np.arange(len(self._keys), dtype=np.int64)
            self._digests = dict(
                zip(ids.tolist(), picture_digests(self._pictures, ids), strict=True)
            )
            self._all = True
        same = [example for example, own in self._digests.items() if (own or "").startswith(digest)]
        return (same[0], True) if len(same) == 1 else (None, False)
