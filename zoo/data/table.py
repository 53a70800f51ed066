"""A table of paths and labels beside pictures: ``labels.csv`` in a folder, or a CSV, TSV or Parquet
file by its path.

A row is an example: one column says where its picture is, another its label (``PATH_NAMES``,
``LABEL_NAMES``; case does not matter), a third may say its split, a fourth its true label. A table
of two columns needs no header. Labels are class numbers or class names; class names are the
distinct labels in sorted order (numbers as numbers). Examples keep the order of the table.

A path is looked for from the table's folder; where it does not lead to a file, a picture of that
name below that folder, with or without its suffix, if there is exactly one (``train.csv`` prefers
those below ``train/``). Rows without a picture are a warning and are left out.

In a folder, the tables named like splits (``train.csv``, ``test.csv``), or the one table there is.
A folder whose own folders are two classes or more is read by these (``zoo.data.imagefolder``), and
so is what ``zoo export`` has written.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zoo.data.dataset import Contents, Found, Split, normalised_splits, split_name
from zoo.data.files import FileSource, ImageFile, image_files, printable, regular_files
from zoo.data.imagefolder import class_folders
from zoo.data.notes import Notes
from zoo.data.parquet_labels import LabelColumn, distinct_labels, label_array
from zoo.errors import DataError

__all__ = ["LABEL_NAMES", "PATH_NAMES", "table"]

PATH_NAMES = (
    "path",
    "file",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "image",
    "image_path",
    "image_name",
    "image_file",
    "img",
    "picture",
    "image_id",
    "key",
    "name",
    "id",
)
"""Columns that may say where a picture is, the first that is there and leads to one."""

LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "class_name",
    "category",
    "target",
    "y",
)
"""Columns that may be the label, the first that is there."""

_SUFFIXES = (".csv", ".tsv", ".parquet")
_PROBED = 20  # rows looked up before a table is taken for one of pictures


@dataclass(frozen=True)
class _Table:
    """A table and the columns that say what we need. ``file``: its path."""

    file: Path
    path: str
    label: str
    split: str | None
    label_true: str | None

    def columns(self) -> list[str]:
        return [
            name
            for name in (self.path, self.label, self.split, self.label_true)
            if name is not None
        ]

    def rows(self) -> dict[str, list[str | None]]:
        """The wanted columns, as texts; None or an empty text where nothing is written."""
        return _read_columns(self.file, self.columns())


def table(path: Path) -> Found | None:
    """Recognise a table of pictures, or a folder with some. Cheap: looks up a few rows."""
    if path.is_file():
        found = _recognised(path.resolve()) if path.suffix.lower() in _SUFFIXES else None
        return None if found is None else _found(path.resolve().parent, {"": found})
    if not path.is_dir():
        return None
    root = path.resolve()
    tables = {
        name: found for name in _tables_in(root) if (found := _recognised(root / name)) is not None
    }
    # Only now, as this lists the folder of every class. Other Parquet files are data themselves.
    if (
        not tables
        or len(class_folders(root)) > 1
        or set(regular_files(root, Notes(), suffix=".parquet", depth=2)) - set(tables)
    ):
        return None
    named = {name: split for name in tables if (split := split_name(name)) is not None}
    if named:
        return _found(root, {split: tables[name] for name, split in named.items()})
    if len(tables) > 1:
        raise DataError(
            f"{root}: {', '.join(tables)} are tables of pictures and labels; one is to be read."
            f" Give the path of one, such as {root / next(iter(tables))}."
        )
    return _found(root, {"": next(iter(tables.values()))})


def _tables_in(root: Path) -> list[str]:
    return [
        name
        for suffix in _SUFFIXES
        for name in regular_files(root, Notes(), suffix=suffix, depth=0)
    ]


def _found(root: Path, tables: Mapping[str, _Table]) -> Found:
    splits = dict.fromkeys(name or "train" for name in tables)
    return Found(dict.fromkeys(normalised_splits(splits)), partial(_read, root, tables))


# ---------------------------------------------------------------- reading tables


def _recognised(file: Path) -> _Table | None:
    """What a table's columns are, if it names pictures that are there; else None."""
    try:
        names = _header(file)
    except (OSError, UnicodeError, csv.Error, pa.ArrowException):
        return None
    lower = {name.strip().lower(): name for name in reversed(names)}
    label = next((lower[name] for name in LABEL_NAMES if name in lower), None)
    paths = [lower[name] for name in PATH_NAMES if name in lower]
    if _headless(file, names):
        label, paths = "1", ["0"]
    if label is None:
        return None
    for path in (name for name in paths if name != label):
        seen = _Table(file, path, label, lower.get("split"), lower.get("label_true"))
        try:
            first = islice(_values(file, path), _PROBED)
            if any(_place(file.parent, value, file) for value in first if value):
                return seen
        except (UnicodeError, csv.Error, pa.ArrowException):
            return None
    return None


def _headless(file: Path, names: Sequence[str]) -> bool:
    """Whether the first line is an example already: two cells, the first of which is a file."""
    return file.suffix != ".parquet" and len(names) == 2 and (file.parent / names[0]).is_file()


def _header(file: Path) -> list[str]:
    if file.suffix == ".parquet":
        schema = pq.read_schema(file)
        return [
            field.name
            for field in schema
            if not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
        ]
    return next(_lines(file), [])


def _lines(file: Path) -> Iterator[list[str]]:
    """The lines of a text table, split at the commonest of comma, semicolon and tab of the
    first."""
    with file.open(encoding="utf-8-sig", newline="") as stream:
        first = stream.readline()
        if "\0" in first:
            return
        stream.seek(0)
        delimiter = max(",;\t", key=first.count)
        yield from (line for line in csv.reader(stream, delimiter=delimiter) if line)


def _values(file: Path, column: str) -> Iterator[str | None]:
    """A column's values, one after the other."""
    if file.suffix == ".parquet":
        for batch in pq.ParquetFile(file).iter_batches(_PROBED, columns=[column]):
            yield from (None if v is None else str(v) for v in batch.column(0).to_pylist())
        return
    lines = _lines(file)
    names = next(lines)
    if _headless(file, names):
        yield names[int(column)]
        yield from (line[int(column)] if len(line) > int(column) else None for line in lines)
        return
    place = names.index(column)
    yield from (line[place] if len(line) > place else None for line in lines)


def _read_columns(file: Path, columns: Sequence[str]) -> dict[str, list[str | None]]:
    if file.suffix == ".parquet":
        read = pq.read_table(file, columns=list(columns))
        return {
            name: [None if v is None else str(v) for v in read.column(name).to_pylist()]
            for name in columns
        }
    return {name: list(_values(file, name)) for name in columns}


# ---------------------------------------------------------------- pictures


def _place(root: Path, value: str, file: Path) -> str | None:
    """Where a few steps down the picture of a value may lie, for recognising; None if nowhere."""
    if (root / value).is_file():
        return value
    own = split_name(file.name)
    below = sorted(entry for entry in root.iterdir() if entry.is_dir())[:_PROBED]
    for folder in sorted(below, key=lambda entry: split_name(entry.name) != own):
        for suffix in ("", ".jpg", ".png", ".jpeg"):
            if (found := folder / f"{value}{suffix}").is_file():
                return found.relative_to(root).as_posix()
    return None


class _Pictures:
    """The pictures below a folder, by path and by name. Listed when the first value is no path."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._by_name: dict[str, list[ImageFile]] | None = None

    def find(self, value: str, split: str) -> ImageFile | None:
        """The picture of a table's cell."""
        place = self._root / value
        try:
            if place.is_file():
                relative = os.path.relpath(place, self._root).replace(os.sep, "/")
                return ImageFile(relative, place.stat().st_size)
        except (OSError, ValueError):  # a value that is no path at all, too long or with a NUL
            pass
        if self._by_name is None:
            self._by_name = {}
            for file in image_files(self._root, self._root, Notes()):
                name = file.relative.rpartition("/")[2]
                for known in {name, name.rpartition(".")[0] or name}:
                    self._by_name.setdefault(known, []).append(file)
        found = self._by_name.get(value.replace("\\", "/").rpartition("/")[2], [])
        if len(found) > 1:
            found = [
                file
                for file in found
                if any(split_name(part) == split for part in file.relative.split("/")[:-1])
            ]
        return found[0] if len(found) == 1 else None


def _read(root: Path, tables: Mapping[str, _Table]) -> Contents:
    notes = Notes()
    files: dict[str, list[ImageFile]] = {}
    labels: dict[str, list[str | None]] = {}
    truths: dict[str, list[str | None]] = {}
    covered = {table.file.relative_to(root).as_posix() for table in tables.values()}
    pictures = _Pictures(root)
    for split, found in tables.items():
        columns = found.rows()
        known = {"": split or "train"}
        for row, value in enumerate(columns[found.path]):
            word = (columns[found.split][row] or "" if found.split else "").strip()
            if word not in known:
                known[word] = split_name(word) or ""
                if not known[word]:
                    raise DataError(
                        f"{found.file}: row {row} has split {word!r}. Allowed: train, test, val, or"
                        " nothing. Correct the column, or rename it."
                    )
            own = known[word]
            file = pictures.find((value or "").strip(), own) if value else None
            if file is None:
                reason = f"no such picture (a row of {found.file.name}), left out"
                notes.add("warning", "no picture", printable(value or f"row {row}"), reason)
                continue
            files.setdefault(own, []).append(file)
            labels.setdefault(own, []).append(columns[found.label][row])
            if found.label_true:
                truths.setdefault(own, []).append(columns[found.label_true][row])
    if not files:
        raise DataError(
            f"{root}: none of the pictures that {' or '.join(sorted(covered))} names is there. Put"
            " the table beside them, or correct its paths."
        )
    return _contents(root, files, labels, truths, notes, covered, next(iter(tables.values())))


def _contents(
    root: Path,
    files: Mapping[str, list[ImageFile]],
    labels: Mapping[str, list[str | None]],
    truths: Mapping[str, list[str | None]],
    notes: Notes,
    covered: set[str],
    example: _Table,
) -> Contents:
    texts = {
        kind: {split: [(v or "").strip() or None for v in values] for split, values in by.items()}
        for kind, by in (("label", labels), ("label_true", truths))
    }
    numbers = all(
        value is not None and value.lstrip("-").isdigit()
        for by in texts.values()
        for values in by.values()
        for value in values
    )
    columns = {
        (kind, split): LabelColumn(
            pa.chunked_array(
                [pa.array([int(v) for v in values if v is not None] if numbers else values)]
            ),
            f"{example.file.name} ({split}), column {example.label if kind == 'label' else kind}",
        )
        for kind, by in texts.items()
        for split, values in by.items()
    }
    names = distinct_labels(list(columns.values()))
    splits = {}
    for split, own in files.items():
        true = columns.get(("label_true", split))
        paths = [file.relative for file in own]
        _note_repeated(paths, labels[split], notes)
        splits[split] = Split(
            name=split,
            labels=label_array(columns["label", split], names, by_value=True),
            labels_true=None if true is None else label_array(true, names, by_value=True),
            keys=[printable(path) for path in paths],
            source=FileSource(root, own),
        )
        covered |= {path for path in paths if not path.startswith("../")}
    outside = sum(file.relative.startswith("../") for own in files.values() for file in own)
    if outside:
        notes.add(
            "note",
            "outside",
            example.file.name,
            f"{outside:,} of its pictures lie outside its folder; read where they are",
        )
    return Contents(
        class_names=tuple(printable(name) for name in names),
        splits={name: replace(s, name=name) for name, s in normalised_splits(splits).items()},
        notes=notes.all(),
        covered=frozenset({*covered, *notes.linked}),
    )


def _note_repeated(paths: Sequence[str], labels: Sequence[str | None], notes: Notes) -> None:
    first: dict[str, int] = {}
    for row, path in enumerate(paths):
        before = first.setdefault(path, row)
        if before != row:
            same = labels[before] == labels[row]
            reason = f"listed more than once, with {'one label' if same else 'different labels'}"
            notes.add("note" if same else "warning", "listed twice", printable(path), reason)
