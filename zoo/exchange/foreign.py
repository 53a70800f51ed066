"""Files from outside zoo: predictions, labels, ids, membership masks, class names. Opened, put in
order, checked; a workspace is never touched.

Shape letters: N classifiers, E examples, M classes.

==============  ===========================================================================================================
predictions     .npy [E, M] float16, 32 or 64 (memory-mapped), .npy cube [N, E, M], or .parquet: one list column of M numbers,
                or M number columns; a column ``key`` or ``example_id`` says which example a row is, whatever the order
labels, truth   .npy [E], .txt (one a line), .csv, .parquet: class indices or class names; -1, an empty cell or null = unknown
ids             the same forms, any text or number, each once
masks           .npy [N, E] (or [E]) bool or 0/1; .parquet: N columns of E rows, by classifier name or in order
class names     .txt (one a line), .csv, .npy, .parquet, .json (a list)
==============  ===========================================================================================================

Nothing here unpickles: a .npy with objects is refused.
"""  # noqa: E501

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import DataError, UsageError
from zoo.registry import distinct
from zoo.scores.kind import ROUNDING, SLACK, Evidence, Kind
from zoo.store.files import sha256_of

__all__ = [
    "KEY_COLUMNS",
    "LABEL_COLUMNS",
    "TRUE_COLUMNS",
    "Checked",
    "Kind",
    "Masks",
    "Predictions",
    "aligned",
    "check_values",
    "class_indices",
    "example_keys",
    "open_masks",
    "open_predictions",
    "pick_column",
    "read_class_names",
    "read_columns",
]

_FLOATS: Final = (np.float16, np.float32, np.float64)
_CELLS: Final = 1 << 21  # cells looked at together: 16 MB as float64
_SPILL_ROWS: Final = 8192
_MAX_CLASSES: Final = 32767
_LARGEST: Final = 1e30  # a logit beyond is no float32 any more once classifiers are compared
KEY_COLUMNS: Final = ("key", "id", "example_id", "filename", "file_name")
PATH_COLUMNS: Final = (
    "path",
    "filepath",
    "file_path",
    "file",
    "image",
    "image_path",
    "image_id",
    "uri",
    "url",
)
LABEL_COLUMNS: Final = ("label", "labels", "given_label", "target", "y")
TRUE_COLUMNS: Final = ("label_true", "true_label")
CLASS_COLUMNS: Final = ("class_name", "class", "name")


# ---------------------------------------------------------------- columns: labels, ids, class names


def _regular(path: Path, what: str, suffixes: Sequence[str]) -> Path:
    if not path.is_file():
        raise UsageError(
            f"{what}: {path} is {'a folder' if path.is_dir() else 'not there'}. Needed is a file:"
            f" {', '.join(suffixes)}."
        )
    if path.suffix.lower() not in suffixes:
        raise UsageError(
            f"{what}: {path} ends in {path.suffix or 'nothing'!r}. Allowed: {', '.join(suffixes)}."
            " Convert it, or rename it."
        )
    return path


def load_npy(path: Path, what: str) -> NDArray[Any]:
    """A memory-mapped array.

    Raises:
        DataError: if the file is no whole .npy of plain numbers or texts.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"{what}: {path} cannot be read as .npy ({reason}). Allowed: a whole file of"
            " numpy.save, without objects. Write it again."
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{what}: {path} is an archive of several arrays. Allowed: one array, as numpy.save"
            " writes it. Save it by itself."
        )
    return array


def open_parquet(path: Path, what: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{what}: {path} cannot be read as Parquet ({str(error).splitlines()[0][:160]}). Write"
            " it again."
        ) from None


def read_columns(path: Path, what: str) -> dict[str, pa.Array]:
    """Columns of a .npy, .txt, .csv or .parquet file by name; the only column of a file without
    names is called ``""``.

    Raises:
        UsageError: if there is no such file, or one of another form.
        DataError: if it cannot be read.
    """
    path = _regular(path, what, (".npy", ".txt", ".csv", ".parquet"))
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = load_npy(path, what)
        if array.ndim != 1:
            raise DataError(
                f"{what}: {path} has shape {array.shape}. Allowed: [E], one entry per example."
                " Flatten or transpose it."
            )
        return {"": pa.array(array.astype(array.dtype.newbyteorder("=")))}
    if suffix == ".parquet":
        table = open_parquet(path, what).read()
        return {name: table.column(name).combine_chunks() for name in table.schema.names}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{what}: {path} is no UTF-8 text (byte {error.start}). Save it as UTF-8."
        ) from None
    if suffix == ".txt":
        lines = [line.removesuffix("\r") for line in text.split("\n")]
        return {"": pa.array(lines[:-1] if lines and not lines[-1] else lines, pa.string())}
    return _csv_columns(text, path, what)


def _csv_columns(text: str, path: Path, what: str) -> dict[str, pa.Array]:
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    if not rows:
        raise DataError(
            f"{what}: {path} is empty. Allowed: one row per example, with a heading if there are"
            " several columns."
        )
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        line = next(number for number, row in enumerate(rows, 1) if len(row) != len(rows[0]))
        raise DataError(
            f"{what}: {path}, row {line} has {len(rows[line - 1])} cells, row 1 has {len(rows[0])}."
            " All need the same. Correct it."
        )
    known = {*KEY_COLUMNS, *LABEL_COLUMNS, *TRUE_COLUMNS, *CLASS_COLUMNS}
    named = len(rows[0]) > 1 or rows[0][0].strip().lower() in known
    head, body = (rows[0], rows[1:]) if named else ([""], rows)
    twice = next(
        (name for name, count in Counter(name.strip() for name in head).items() if count > 1), None
    )
    if twice is not None:
        raise DataError(
            f"{what}: {path} has two columns called {twice!r}. Allowed: each name once. Rename one"
            " of them."
        )
    columns = zip(*body, strict=True) if body else ([] for _ in head)
    return {
        name.strip(): pa.array(list(cells), pa.string())
        for name, cells in zip(head, columns, strict=True)
    }


def pick_column(
    columns: Mapping[str, pa.Array], names: Sequence[str], path: Path, what: str
) -> pa.Array:
    """The column of one of these names, or the only one there is.

    Raises:
        DataError: if there are several, and none of them is called so.
    """
    lowered = {name.lower(): column for name, column in columns.items()}
    for name in names:
        if name in lowered:
            return lowered[name]
    if len(columns) == 1:
        return next(iter(columns.values()))
    raise DataError(
        f"{what}: {path} has the columns {', '.join(map(repr, columns))}. One must be called"
        f" {', '.join(names[:-1])} or {names[-1]}: the first of these that is there is read. Rename"
        " a column."
    )


def class_indices(
    column: pa.Array, class_names: Sequence[str], *, named: bool, where: str
) -> NDArray[np.int64]:
    """Labels as int64 [E], -1 where unknown.

    Args:
        column: whole numbers (class indices), or texts: class names, or indices written out.
        class_names: the M names.
        named: whether the names were given; if not, a text can only be an index.
        where: names the file in messages.

    Raises:
        DataError: naming the first row that is neither a class nor unknown.
    """
    classes = len(class_names)
    column = _plain(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _indices_of_texts(
            [text or "" for text in column.to_pylist()], class_names, named=named, where=where
        )
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise DataError(
            f"{where}: labels have type {column.type}. Allowed: whole numbers 0 to {classes - 1},"
            " or class names. Convert them."
        )
    null = column.is_null().to_numpy(zero_copy_only=False)
    # Filled with a class, not with -1, which no unsigned column can hold. Arrow fills no float16.
    column = column.cast(pa.float32()) if pa.types.is_float16(column.type) else column
    values = column.fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        wrong = np.flatnonzero(
            ~null & ~((values >= -1) & (values < classes) & (values == np.floor(values)))
        )
    if len(wrong):
        raise DataError(_label_message(where, int(wrong[0]), values[wrong[0]], len(wrong), classes))
    indices: NDArray[np.int64] = values.astype(np.int64)
    indices[null] = -1
    return indices


def _plain(column: pa.Array) -> pa.Array:
    """A column of categories (as pandas writes them) as what the categories are."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _indices_of_texts(
    texts: Sequence[str], class_names: Sequence[str], *, named: bool, where: str
) -> NDArray[np.int64]:
    # A class is named as it is shown: by its name, or by name and number where several bear it.
    index = {name: place for place, name in enumerate(distinct(class_names))} | {"": -1}
    unclear = next(
        (text for text in texts if named and text in class_names and text not in index), None
    )
    if unclear is not None:
        places = [str(place) for place, name in enumerate(class_names) if name == unclear]
        raise DataError(
            f"{where}: row {texts.index(unclear)} has label {unclear!r}, the name of {len(places)}"
            f" classes (numbers {', '.join(places)}). Give class numbers, or names as they are"
            f" shown, such as {unclear} ({places[0]})."
        )
    if named and all(text in index for text in texts):
        return np.array([index[text] for text in texts], dtype=np.int64)
    # 3.0 is what pandas writes of 3 where another row is missing
    whole = re.compile(r"\s*[+-]?\d{1,9}(\.0*)?\s*")
    for row, text in enumerate(texts):
        if text and not whole.fullmatch(text):
            hint = (
                f"Class names are {', '.join(class_names)[:120]}"
                if named
                else (
                    f"Allowed: whole numbers 0 to {len(class_names) - 1}; names need --classes"
                    " FILE, in the order of the predictions' columns"
                )
            )
            raise DataError(
                f"{where}: row {row} has label {text[:80]!r}. {hint}. Correct the labels."
            )
    return class_indices(
        pa.array([int(float(text)) if text else -1 for text in texts], pa.int64()),
        class_names,
        named=named,
        where=where,
    )


def are_names(column: pa.Array, class_names: Sequence[str]) -> bool:
    """Whether labels are names of these classes, not numbers."""
    column = _plain(column)
    texts = (
        column.to_pylist()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        else None
    )
    return texts is not None and set(texts) <= {*class_names, "", None}


def numbered(columns: Sequence[str]) -> tuple[str, ...] | None:
    """Names of columns that are but numbers, alone or after one common text (``class_0``), in the
    order of these; None if they say more."""
    parts = [re.fullmatch(r"(.*?)(\d{1,9})", name) for name in columns]
    if not all(parts) or len({part[1] for part in parts if part}) != 1:
        return None
    number = {name: int(part[2]) for name, part in zip(columns, parts, strict=True) if part}
    return (
        tuple(sorted(columns, key=number.__getitem__))
        if len(set(number.values())) == len(columns)
        else None
    )


def _label_message(where: str, row: int, value: Any, count: int, classes: int) -> str:
    return (
        f"{where}: row {row} has label {value} ({count} such row{'s' if count > 1 else ''})."
        f" Allowed: 0 to {classes - 1} ({classes} classes), -1 for unknown. Check that labels count"
        " from 0 and belong to these predictions."
    )


def example_keys(column: pa.Array, where: str) -> list[str]:
    """Ids as texts.

    Raises:
        DataError: if one is missing or there twice.
    """
    column = _plain(column)
    if not (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_integer(column.type)
    ):
        raise DataError(
            f"{where}: ids have type {column.type}. Allowed: texts or whole numbers. Convert them."
        )
    if column.null_count:
        raise DataError(
            f"{where}: row {column.is_null().index(True).as_py()} has no id. Allowed: one per"
            " example. Fill it in."
        )
    keys = [str(key) for key in column.to_pylist()]
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None:
        first = keys.index(twice)
        raise DataError(
            f"{where}: id {twice[:80]!r} is in rows {first} and {keys.index(twice, first + 1)}"
            f" ({len(keys) - len(set(keys))} duplicates). Allowed: each id once. Remove duplicate"
            " ids."
        )
    return keys


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names in the order of the predictions' columns.

    Raises:
        DataError: if one is empty or there twice.
    """
    what = "class names"
    path = _regular(path, what, (".txt", ".csv", ".npy", ".parquet", ".json"))
    if path.suffix.lower() == ".json":
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(
                f"{what}: {path} is no JSON ({error}). Needed is a list of texts."
            ) from None
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise DataError(
                f"{what}: {path} holds no list of texts. Write it as a JSON list, in the order of"
                " the predictions' columns."
            )
        names = tuple(listed)
    else:
        names = tuple(
            str(name)
            for name in pick_column(read_columns(path, what), CLASS_COLUMNS, path, what).to_pylist()
        )
    twice = next((name for name, count in Counter(names).items() if count > 1 or not name), None)
    if twice is not None:
        raise DataError(
            f"{what}: {path} holds {twice!r} twice or an empty name. Allowed: each class once."
            " Correct the list."
        )
    return names


# ---------------------------------------------------------------- predictions


@dataclass(frozen=True, eq=False)
class Predictions:
    """One classifier's outputs [E, M], in a .npy file. ``block`` maps it, copies some rows, in the
    order of the examples, and unmaps it.

    ``source``: name of the file, ``part``: its place in a cube. ``columns``: names of the M
    columns, where they have some. ``keys``: which example each row is, ``id_column`` says by which
    column; None = in the order of the labels.
    ``order``: row of each example, int64 [E].
    """

    name: str
    source: str
    sha256: str
    file: Path
    shape: tuple[int, int]
    part: int | None = None
    columns: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    id_column: str = ""
    order: NDArray[np.int64] | None = None
    classes: NDArray[np.int64] | None = None

    def block(self, start: int, stop: int) -> NDArray[Any]:
        """Rows of examples start..stop-1, in native byte order and class order."""
        # Mapped anew each time: pages of a map that stays open count as this process's memory, and
        #     there may be hundreds of files.
        mapped = load_npy(self.file, "predictions")
        values = mapped if self.part is None else mapped[self.part]
        rows = values[start:stop] if self.order is None else values[self.order[start:stop]]
        if self.classes is not None:
            rows = rows[:, self.classes]
        return np.array(rows, dtype=rows.dtype.newbyteorder("="), order="C")


def open_predictions(
    files: Sequence[Path], names: Sequence[str], scratch: Path
) -> list[Predictions]:
    """Open prediction files, one classifier or more each.

    Args:
        names: names of all classifiers in order; none = after the files.
        scratch: folder for what Parquet files hold, as .npy: Parquet cannot be memory-mapped.

    Raises:
        UsageError: for a wrong number of names, or a name twice.
        DataError: for a file that is no such thing, or files of different shapes.
    """
    opened: list[Predictions] = []
    # Files of the same name in different folders are told apart by the folder.
    stems = [path.stem for path in files]
    if len(set(stems)) < len(stems):
        stems = [f"{path.absolute().parent.name}-{path.stem}" for path in files]
    for number, (path, stem) in enumerate(zip(files, stems, strict=True)):
        _regular(path, "predictions", (".npy", ".parquet"))
        opened += (
            _npy(path, stem)
            if path.suffix.lower() == ".npy"
            else [_parquet(path, stem, scratch / f"{number}.npy")]
        )
    first = opened[0]
    odd = next((member for member in opened if member.shape != first.shape), None)
    if odd is not None:
        raise DataError(
            f"{first.source} has {first.shape[0]} examples and {first.shape[1]} classes,"
            f" {odd.source} has {odd.shape[0]} and {odd.shape[1]}. Allowed: all files of one import"
            " with the same examples and classes. Import the others by themselves."
        )
    sets = {frozenset(member.columns): member for member in opened if member.columns is not None}
    if len(sets) > 1:
        one, two = list(sets.values())[:2]
        raise DataError(
            f"{one.source} has the class columns {', '.join(one.columns or ())[:120]}, {two.source}"
            f" {', '.join(two.columns or ())[:120]}. Allowed: the same classes in all files of one"
            " import. Rename the columns, or import the files by themselves."
        )
    return _named(opened, names, len(files))


def _named(opened: Sequence[Predictions], names: Sequence[str], files: int) -> list[Predictions]:
    names = names or [member.name for member in opened]
    if len(names) != len(opened):
        raise UsageError(
            f"{len(names)} names for {len(opened)} classifiers in {files}"
            f" file{'s' if files > 1 else ''}. Allowed: one name per classifier. Give all with"
            " --names, or none."
        )
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise UsageError(
            f"two classifiers would be called {twice!r}. Allowed: each name once. Name them with"
            " --names a,b."
        )
    blank = next((name for name in names if not name.strip() or not name.isprintable()), None)
    if blank is not None:
        raise UsageError(
            f"classifier name {blank!r}: allowed are printable characters, at least one. Name them"
            " with --names a,b."
        )
    return [replace(member, name=name) for member, name in zip(opened, names, strict=True)]


def _npy(path: Path, name: str) -> list[Predictions]:
    array = load_npy(path, "predictions")
    if array.dtype.newbyteorder("=") not in [np.dtype(kind) for kind in _FLOATS]:
        raise DataError(
            f"{path} holds {array.dtype}. Allowed: float16, float32 or float64, logits or"
            " probabilities of every class. Predicted classes alone are not enough; save the"
            " scores."
        )
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"{path} has shape {array.shape}. Allowed: [E, M], examples by classes, or [N, E, M] of"
            " N classifiers, none of them 0. Reshape or transpose it."
        )
    _check_class_count(path, array.shape[-1])
    digest = sha256_of(path)
    if array.ndim == 2:
        return [Predictions(name, path.name, digest, path, array.shape)]
    width = len(str(len(array) - 1))
    return [
        Predictions(f"{name}-{i:0{width}d}", path.name, digest, path, array.shape[1:], part=i)
        for i in range(len(array))
    ]


def _check_class_count(path: Path, classes: int) -> None:
    if not 2 <= classes <= _MAX_CLASSES:
        raise DataError(
            f"{path} has {classes} classes in its last dimension. Allowed: 2 to {_MAX_CLASSES}."
            " Check the order of dimensions."
        )


def _parquet(path: Path, name: str, spill: Path) -> Predictions:
    file = open_parquet(path, "predictions")
    schema = file.schema_arrow
    key = next((name for name in KEY_COLUMNS if name in schema.names), None)
    ids = [name for name in schema.names if name in KEY_COLUMNS]
    lists = [f.name for f in schema if f.name not in ids and _is_list(f.type)]
    floats = [f.name for f in schema if f.name not in ids and pa.types.is_floating(f.type)]
    other = [name for name in schema.names if name not in {*ids, *lists, *floats}]
    if other or (len(lists), len(floats) > 0) not in ((1, False), (0, True)):
        seen = ", ".join(f"{f.name}: {f.type}" for f in schema)[:300]
        raise DataError(
            f"{path} has the columns {seen}. Allowed: one column of lists of floats, or one column"
            f" of floats per class; beside them only {' or '.join(KEY_COLUMNS[:3])}. Drop the"
            " others."
        )
    wanted = lists or floats
    dtype: np.dtype[Any] = np.dtype(np.float64)
    kinds = {
        schema.field(name).type.value_type if lists else schema.field(name).type for name in wanted
    }
    if kinds <= {pa.float16(), pa.float32()}:
        dtype = np.dtype(np.float16 if kinds == {pa.float16()} else np.float32)
    rows, classes, keys = file.metadata.num_rows, len(floats), []
    with spill.open("wb") as sink:
        begun = False
        for start, block, batch in _batches(file, path, wanted, ids, bool(lists), dtype):
            if not begun:
                classes, begun = block.shape[1], True
                np.lib.format.write_array_header_2_0(
                    sink, {"descr": dtype.str, "fortran_order": False, "shape": (rows, classes)}
                )
            if block.shape[1] != classes:
                raise DataError(
                    f"{path}: row {start} has a list of {block.shape[1]} numbers, row 0 of"
                    f" {classes}. All need the same."
                )
            sink.write(np.ascontiguousarray(block).data)
            if key is not None:
                keys += example_keys_of_batch(batch.column(key), f"{path}, column {key}", start)
    if not rows:
        raise DataError(f"{path} has no rows. Allowed: one row per example. Write it again.")
    _check_class_count(path, classes)
    found = (
        tuple(example_keys(pa.array(keys), f"{path}, column {key}")) if key is not None else None
    )
    named = tuple(floats) if floats else None
    return Predictions(
        name,
        path.name,
        sha256_of(path),
        spill,
        (rows, classes),
        columns=named,
        keys=found,
        id_column=key or "",
    )


def example_keys_of_batch(column: pa.Array, where: str, start: int) -> list[str]:
    if column.null_count:
        raise DataError(
            f"{where}: row {start + column.is_null().index(True).as_py()} has no id. Allowed: one"
            " per row. Fill it in."
        )
    return [str(key) for key in column.to_pylist()]


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        (
            pa.types.is_list(kind)
            or pa.types.is_large_list(kind)
            or pa.types.is_fixed_size_list(kind)
        )
        and pa.types.is_floating(kind.value_type)
    )


def _batches(
    file: pq.ParquetFile,
    path: Path,
    wanted: Sequence[str],
    ids: Sequence[str],
    lists: bool,
    dtype: np.dtype[Any],
) -> Iterator[tuple[int, NDArray[Any], pa.RecordBatch]]:
    """(first row, values [n, M], batch) one batch after the other; without nulls."""
    start = 0
    try:
        for batch in file.iter_batches(batch_size=_SPILL_ROWS, columns=[*wanted, *ids]):
            flat = [
                batch.column(name).flatten() if lists else batch.column(name) for name in wanted
            ]
            missing = next(
                (
                    name
                    for name, column in zip(wanted, flat, strict=True)
                    if column.null_count or batch.column(name).null_count
                ),
                None,
            )
            if missing is not None:
                raise DataError(
                    f"{path}: column {missing} holds nulls between rows {start} and"
                    f" {start + len(batch) - 1}. Allowed: numbers. Fill them."
                )
            if lists:
                values = flat[0].to_numpy(zero_copy_only=False)
                if len(values) % max(len(batch), 1) or not _even(batch.column(wanted[0])):
                    raise DataError(
                        f"{path}: lists between rows {start} and {start + len(batch) - 1} differ in"
                        " length. All need M numbers."
                    )
                block = values.reshape(len(batch), -1)
            else:
                block = np.stack([column.to_numpy(zero_copy_only=False) for column in flat], axis=1)
            yield start, block.astype(dtype, copy=False), batch
            start += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read after row {start} ({str(error).splitlines()[0][:160]}). Write"
            " it again."
        ) from None


def _even(column: pa.Array) -> bool:
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    return bool((lengths == lengths[0]).all()) if len(lengths) else True


def aligned(
    member: Predictions, keys: Sequence[str] | None, examples: int, class_names: Sequence[str]
) -> Predictions:
    """The same predictions with rows in the order of the examples and columns in the order of the
    classes.

    Args:
        keys: ids of the E examples where they are known.

    Raises:
        DataError: if the rows are not exactly these examples, or the columns are other classes.
    """
    order: NDArray[np.int64] | None = None
    if member.keys is not None:
        positions = {key: i for i, key in enumerate(keys)} if keys is not None else {}
        unknown = next((key for key in member.keys if key not in positions), None)
        if unknown is not None and member.id_column == "example_id":
            positions = {str(i): i for i in range(examples)}
            unknown = next((key for key in member.keys if key not in positions), None)
        if unknown is not None or len(member.keys) != examples:
            seen = (
                f"{unknown[:80]!r}, which is no example"
                if unknown is not None
                else f"{len(member.keys)} rows"
            )
            raise DataError(
                f"{member.source}: its column {member.id_column} holds {seen}. Allowed: each of the"
                f" {examples} examples once. Give the examples' ids, in the order of the labels,"
                " with --ids."
            )
        rows = np.fromiter((positions[key] for key in member.keys), dtype=np.int64, count=examples)
        if not np.array_equal(rows, np.arange(examples)):
            order = np.empty(examples, dtype=np.int64)
            order[rows] = np.arange(examples)
    classes: NDArray[np.int64] | None = None
    if member.columns is not None and tuple(member.columns) not in (
        tuple(class_names),
        shown := distinct(class_names),
    ):
        if set(member.columns) == set(shown):
            classes = np.array([member.columns.index(name) for name in shown], dtype=np.int64)
        elif sorted(member.columns) == sorted(class_names):
            twice = next(name for name in class_names if list(class_names).count(name) > 1)
            raise DataError(
                f"{member.source}: several columns are called {twice!r}, as are several classes,"
                " and the columns are in another order than the classes. Put them in the order of"
                f" the classes, or call them as these are shown: {', '.join(shown)[:200]}."
            )
    return replace(member, order=order, classes=classes)


@dataclass(frozen=True)
class Checked:
    """What a look at every number of a classifier has shown.

    ``repairs``: what has to be put right before its rows are probabilities, as one line; empty for
    nothing. ``accuracy``: share of the labelled examples whose label comes first; ``chance``: what
    it would be if predictions and labels had nothing to do with each other, the sum over the
    classes of (share predicted) x (share labelled); NaN for both where no label is known.
    ``labelled``: how many are.
    """

    kind: Kind
    repairs: str
    accuracy: float
    chance: float
    labelled: int

    @property
    def by_chance(self) -> bool:
        """Whether the accuracy is no better than chance: less than two standard errors above it."""
        noise = (self.chance * (1 - self.chance) / max(self.labelled, 1)) ** 0.5
        return bool(
            self.labelled
            and (self.accuracy <= self.chance or self.accuracy < self.chance + 2 * noise)
        )


def check_values(
    member: Predictions,
    kind: Literal["auto", "logits", "probs"],
    labels: NDArray[np.int64] | None = None,
) -> Checked:
    """Look at every number of a classifier once: what they are (see ``zoo.scores.kind``), and
    whether they have to do with the labels.

    Args:
        labels: int64 [E], -1 = unknown; None = all unknown.

    Raises:
        DataError: for a NaN, an infinity, or rows that are not of the kind; names the first. For
            ``auto`` also where the numbers look like probabilities and are none: the message names
                the option that decides.
    """
    examples, classes = member.shape
    labels = np.full(examples, -1, dtype=np.int64) if labels is None else labels
    evidence, hits = Evidence(), 0
    predicted, given = np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    step = max(1, _CELLS // classes)
    for start in range(0, examples, step):
        block = member.block(start, min(start + step, examples))
        # [n, M]; a NaN is not <=
        sound = (
            np.isfinite(block)
            if block.dtype == np.float16
            else np.abs(block) <= block.dtype.type(_LARGEST)
        )
        bad = np.flatnonzero(~sound.all(axis=1))
        if len(bad):
            value = block[bad[0]][~sound[bad[0]]][0]
            raise DataError(
                f"{member.name} ({member.source}): example {start + bad[0]} holds {value}"
                f" ({len(bad)} such rows nearby). Allowed: finite numbers up to {_LARGEST:g}. Leave"
                " this classifier out, or correct its output."
            )
        evidence.add(block, start)
        own = labels[start : start + len(block)]
        first = block.argmax(axis=1)[own >= 0]
        hits += int((first == own[own >= 0]).sum())
        predicted += np.bincount(first, minlength=classes)
        given += np.bincount(own[own >= 0], minlength=classes)
    found = evidence.kind if kind == "auto" else kind
    who = f"{member.name} ({member.source}): its numbers"
    if found is None:
        raise DataError(evidence.question(who, "--kind {}"))
    if found == "probs" and evidence.wrong is not None:
        place, low, high, total = evidence.wrong
        raise DataError(
            f"{member.name} ({member.source}): example {place} has values {low:g} to {high:g} with"
            f" sum {total:g}, {evidence.exact} of {evidence.rows} rows are probabilities. Allowed:"
            f" rows from -{SLACK:g} with sum 1 +- {ROUNDING:g}. Correct the row, or say --kind"
            " logits."
        )
    labelled = int(given.sum())
    accuracy = hits / labelled if labelled else float("nan")
    chance = float(predicted @ given) / labelled**2 if labelled else float("nan")
    return Checked(found, evidence.repairs if found == "probs" else "", accuracy, chance, labelled)


# ---------------------------------------------------------------- masks


@dataclass(frozen=True, eq=False)
class Masks:
    """Which examples each classifier was trained on. ``block(index, start, stop)``: bool [n] of one
    classifier."""

    sha256: str
    block: Callable[[int, int, int], NDArray[np.bool_]]


def open_masks(path: Path, names: Sequence[str], examples: int) -> Masks:
    """Membership masks of N classifiers on E examples.

    Raises:
        DataError: for another shape, another type, or a value that is neither 0 nor 1.
    """
    what = "--in-train"
    path = _regular(path, what, (".npy", ".parquet"))
    array = load_npy(path, what) if path.suffix.lower() == ".npy" else _mask_columns(path, names)
    shape = (len(names), examples)
    if array.ndim == 1 and len(names) == 1:
        array = array[None]
    if array.shape != shape:
        turned = " It looks transposed." if array.shape == shape[::-1] else ""
        raise DataError(
            f"{what}: {path} has shape {array.shape}. Allowed: {shape}, classifiers by"
            f" examples.{turned} Give one row per classifier."
        )
    if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{what}: {path} holds {array.dtype}. Allowed: bool, or whole numbers 0 and 1."
            " Convert it."
        )
    if array.dtype != np.bool_:
        for index in range(len(names)):
            wrong = np.flatnonzero((array[index] != 0) & (array[index] != 1))
            if len(wrong):
                raise DataError(
                    f"{what}: {path} holds {array[index][wrong[0]]} for {names[index]}, example"
                    f" {wrong[0]}. Allowed: 1 (trained on it) and 0. Masks are not lists of example"
                    " numbers; convert them."
                )
    return Masks(
        sha256_of(path),
        lambda index, start, stop: np.asarray(array[index, start:stop]).astype(np.bool_),
    )


def _mask_columns(path: Path, names: Sequence[str]) -> NDArray[Any]:
    file = open_parquet(path, "--in-train")
    table = file.read().combine_chunks()
    columns = [name for name in table.schema.names if name not in KEY_COLUMNS]
    null = next((name for name in columns if table.column(name).null_count), None)
    if null is not None:
        raise DataError(
            f"--in-train: {path}, column {null} holds nulls. Allowed: true and false. Leave"
            " --in-train out where nothing is known."
        )
    if "example_id" in table.schema.names and table.column("example_id").to_pylist() != list(
        range(table.num_rows)
    ):
        table = table.sort_by("example_id")
        if table.column("example_id").to_pylist() != list(range(table.num_rows)):
            raise DataError(
                f"--in-train: {path}, column example_id is not 0 to {table.num_rows - 1}, each"
                " once. Correct it."
            )
    if (
        len(columns) == 1
        and not set(columns) <= set(names)
        and (kind := table.schema.field(columns[0]).type)
        and hasattr(kind, "value_type")
    ):
        return np.array(table.column(columns[0]).to_pylist())
    if set(columns) == set(names):
        columns = list(names)
    return (
        np.stack([table.column(name).to_numpy(zero_copy_only=False) for name in columns])
        if columns
        else np.empty((0, table.num_rows), bool)
    )
