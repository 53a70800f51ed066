"""Parquet in the Hugging Face layout: ``image`` struct<bytes, path> (or plain binary), ``label``,
optionally ``label_true``.

A file, a folder of files, or a folder with split-named files or folders (``train.parquet``,
``data/train-00000-of-00002.parquet``, ``train/0000.parquet``). Files without a split in their name
are ``train``. Rows keep the order of the files sorted by relative path.

Shards of one split may keep their labels in several widths of integers or texts.

Columns: the first feature of type Image and the ClassLabel named ``label``, ``labels`` or
``fine_label`` of the schema metadata ``huggingface``, else columns of those names. Class names from
the same place, else the distinct labels in sorted order. A split other than train whose labels are
all -1 (Hugging Face's mark for a hidden test set) is left out with a note. Files that hold the
paths of their images and not the images are refused.

How images are read: ``zoo.data.parquet_source``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs

from zoo.data.dataset import Contents, Found, Split, normalised_splits, split_name
from zoo.data.files import regular_files
from zoo.data.notes import Note, Notes
from zoo.data.parquet_labels import LabelColumn, all_hidden, distinct_labels, joined, label_array
from zoo.data.parquet_source import ParquetFileAt, ParquetSource, holds_images, open_at
from zoo.errors import DataError

__all__ = ["parquet", "parquet_at"]

_LABEL_NAMES = ("label", "labels", "fine_label")
_IMAGE_NAMES = ("image", "img")
_SUFFIX = ".parquet"


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what. ``image_bytes``, ``image_path``: leaf names as Parquet spells
    them."""

    image: str
    image_bytes: str
    image_path: str | None
    label: str
    label_true: str | None
    class_names: tuple[str, ...] | None


def parquet(path: Path) -> Found | None:
    """Recognise a Parquet file, or a folder with some."""
    if path.is_file():
        return (
            _found(
                pafs.LocalFileSystem(use_mmap=True),
                str(path.resolve().parent),
                [path.name],
                Notes(),
            )
            if _is_parquet(path)
            else None
        )
    if not path.is_dir():
        return None
    root, notes = path.resolve(), Notes()
    names = regular_files(root, notes, suffix=_SUFFIX, depth=2)
    return _found(pafs.LocalFileSystem(use_mmap=True), str(root), names, notes) if names else None


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return path.suffix == _SUFFIX or file.read(4) == b"PAR1"


def parquet_at(filesystem: pafs.FileSystem, folder: str) -> Found | None:
    """The same in any file system pyarrow knows (s3, gs, hdfs): a file or a folder."""
    if filesystem.get_file_info(folder).type == pafs.FileType.File:
        parent, _, name = folder.rpartition("/")
        return _found(filesystem, parent, [name], Notes())
    listing = filesystem.get_file_info(
        pafs.FileSelector(folder, recursive=True, allow_not_found=True)
    )
    paths = [
        info.path
        for info in listing
        if info.type == pafs.FileType.File and info.path.endswith(_SUFFIX)
    ]
    names = sorted(path[len(folder) :].lstrip("/") for path in paths)
    return _found(filesystem, folder, names, Notes()) if names else None


def _found(filesystem: pafs.FileSystem, root: str, names: list[str], notes: Notes) -> Found:
    by_split: dict[str, list[str]] = {}
    for name in names:
        # The innermost name that is a split counts: train/0000.parquet, but also
        #     cifar/train-0.parquet.
        split = next(filter(None, (split_name(part) for part in reversed(name.split("/")))), None)
        by_split.setdefault(split or "", []).append(name)
    if "" in by_split:
        unnamed = by_split.pop("")
        if by_split:
            for name in unnamed:
                notes.add(
                    "warning",
                    "no split in name",
                    name,
                    "no split in its name, beside files that have one; left out",
                )
        else:
            by_split["train"] = unnamed
    files = {
        split: [open_at(filesystem, f"{root}/{name}") for name in found]
        for split, found in normalised_splits(by_split).items()
    }
    counts = {
        split: sum(file.metadata.num_rows for file in opened) for split, opened in files.items()
    }
    return Found(counts, partial(_read, files, notes.all(), frozenset({*names, *notes.linked})))


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's features of a schema, {} without any."""
    text = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(text)["info"]["features"] if text else {}
    except (ValueError, KeyError, TypeError):
        return {}
    return (
        {name: feature for name, feature in features.items() if isinstance(feature, dict)}
        if isinstance(features, dict)
        else {}
    )


def _columns(file: ParquetFileAt) -> _Columns:
    schema: pa.Schema = file.schema
    features = _features(schema)
    images = [name for name, feature in features.items() if feature.get("_type") == "Image"] + list(
        _IMAGE_NAMES
    )
    class_labels = [
        name
        for name, feature in features.items()
        if feature.get("_type") == "ClassLabel" and name != "label_true"
    ]
    labels = (
        [name for name in _LABEL_NAMES if name in class_labels] + class_labels + list(_LABEL_NAMES)
    )
    image = next((name for name in images if name in schema.names), None)
    label = next((name for name in labels if name in schema.names), None)
    if image is None or label is None:
        raise DataError(
            f"{file.name}: no {'image' if image is None else 'label'} column; its columns are"
            f" {', '.join(schema.names)}, looked for"
            f" {' or '.join(dict.fromkeys(images if image is None else labels))}. Rename the"
            " column, or name it in the schema metadata."
        )
    kind = schema.field(image).type
    nested = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    if not nested and not pa.types.is_binary(kind) and not pa.types.is_large_binary(kind):
        raise DataError(
            f"{file.name}: column {image!r} is {kind}; allowed are binary and struct<bytes: binary,"
            " path: string>, with the content of the image files in it. Convert it; with the"
            " datasets library, cast the column to Image() and write the files with"
            " embed_external_files."
        )
    names = features.get(label, {}).get("names")
    return _Columns(
        image=image,
        image_bytes=f"{image}.bytes" if nested else image,
        image_path=f"{image}.path" if nested and kind.get_field_index("path") >= 0 else None,
        label=label,
        label_true="label_true" if "label_true" in schema.names else None,
        class_names=tuple(str(name) for name in names) if isinstance(names, list) else None,
    )


def _read(
    files: Mapping[str, list[ParquetFileAt]], notes: tuple[Note, ...], covered: frozenset[str]
) -> Contents:
    columns = {split: _common_columns(opened) for split, opened in files.items()}
    declared = _declared_names({files[split][0].name: found for split, found in columns.items()})
    tables = {
        split: [_labels_and_paths(file, columns[split]) for file in opened]
        for split, opened in files.items()
    }
    labels = {
        split: _label_columns(files[split], tables[split], columns[split], split) for split in files
    }
    for split in [
        s for s, (label, _) in labels.items() if s != "train" and all_hidden(label.values)
    ]:
        notes = (
            *notes,
            Note(
                "note",
                "hidden labels",
                "all labels are -1 (hidden), the split is left out",
                (split,),
            ),
        )
        del tables[split], labels[split]
    class_names = declared or distinct_labels(
        [column for pair in labels.values() for column in pair if column is not None]
    )
    splits = {}
    for split, read in tables.items():
        label, true = labels[split]
        _check_images(files[split], columns[split])
        splits[split] = Split(
            name=split,
            labels=label_array(label, class_names, by_value=declared is None),
            labels_true=(
                None if true is None else label_array(true, class_names, by_value=declared is None)
            ),
            keys=_keys(read, columns[split], split),
            source=ParquetSource(files[split], columns[split].image, columns[split].image_bytes),
        )
    # Once more: a hidden test split may have gone.
    return Contents(
        class_names,
        {name: replace(split, name=name) for name, split in normalised_splits(splits).items()},
        notes,
        covered,
    )


def _check_images(files: list[ParquetFileAt], columns: _Columns) -> None:
    """Refuse files whose image column holds no image at all, before every picture of it is found
    unreadable.

    Raises:
        DataError: naming the first path found in place of the bytes.
    """
    if not sum(file.metadata.num_rows for file in files) or holds_images(
        files, columns.image_bytes
    ):
        return
    path = None
    if columns.image_path is not None:
        paths = (
            pc.struct_field(
                file.read([columns.image_path]).column(columns.image), "path"
            ).drop_null()
            for file in files
        )
        path = next((chunk[0].as_py() for chunk in paths if len(chunk)), None)
    seen = f"only paths, such as {path!r}" if path else "no bytes in any row"
    raise DataError(
        f"{files[0].name}: column {columns.image!r} holds {seen}; allowed is the content of the"
        " image files. Write the files again with the images in them; with the datasets library:"
        " embed_external_files."
    )


def _declared_names(columns: Mapping[str, _Columns]) -> tuple[str, ...] | None:
    """The class names of the metadata, from whichever files have them.

    Raises:
        DataError: if two splits name different classes.
    """
    declared = {
        file: found.class_names for file, found in columns.items() if found.class_names is not None
    }
    if len(set(declared.values())) > 1:
        seen = "; ".join(f"{file}: {', '.join(names)[:80]}" for file, names in declared.items())
        raise DataError(
            f"the splits name different classes ({seen}); one data set has one list. Give all files"
            " the same."
        )
    return next(iter(declared.values()), None)


def _label_columns(
    files: list[ParquetFileAt], tables: list[pa.Table], columns: _Columns, split: str
) -> tuple[LabelColumn, LabelColumn | None]:
    """The labels of all files of a split as one column each, label and label_true."""

    def column(name: str) -> LabelColumn:
        return joined(
            [
                LabelColumn(table.column(name), f"{file.name} ({split}), column {name}")
                for file, table in zip(files, tables, strict=True)
            ]
        )

    return column(columns.label), None if columns.label_true is None else column(columns.label_true)


def _common_columns(files: list[ParquetFileAt]) -> _Columns:
    columns = [_columns(file) for file in files]
    for file, found in zip(files, columns, strict=True):
        if found != columns[0]:
            raise DataError(
                f"{file.name}: its columns or class names differ from those of {files[0].name}; one"
                " split has one layout."
            )
    return columns[0]


def _labels_and_paths(file: ParquetFileAt, columns: _Columns) -> pa.Table:
    return file.read(
        [
            name
            for name in (columns.image_path, columns.label, columns.label_true)
            if name is not None
        ]
    )


def _keys(tables: list[pa.Table], columns: _Columns, split: str) -> list[str]:
    """The path a row had at its origin, else split and row number."""
    rows = sum(len(table) for table in tables)
    if columns.image_path is None:
        return [f"{split}/{row:05d}" for row in range(rows)]
    paths = [
        path
        for table in tables
        for path in pc.struct_field(table.column(columns.image), "path").to_pylist()
    ]
    return [path or f"{split}/{row:05d}" for row, path in enumerate(paths)]
