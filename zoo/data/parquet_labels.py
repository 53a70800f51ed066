"""Label columns of Parquet files: from whatever type they have to class indices, or an error that
names the row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from zoo.data.dataset import checked_labels
from zoo.errors import DataError

__all__ = ["LabelColumn", "all_hidden", "distinct_labels", "joined", "label_array"]


@dataclass(frozen=True)
class LabelColumn:
    """Values of one column of one split. ``where``: file, split and column, for messages."""

    values: pa.ChunkedArray
    where: str


def joined(columns: Sequence[LabelColumn]) -> LabelColumn:
    """The labels of all shards of a split as one column, whichever width of integer, float or text
    each shard uses.

    Raises:
        DataError: if some shards have numbers and some texts, naming one of each.
    """
    values = [_plain(column.values) for column in columns]
    kinds = [_kind(one.type) for one in values]
    if len(set(kinds)) > 1:
        other = next(i for i, kind in enumerate(kinds) if kind != kinds[0])
        raise DataError(
            f"{columns[0].where} is {values[0].type}, {columns[other].where} is"
            f" {values[other].type}; labels of one split are all numbers or all texts. Convert one"
            " of the files."
        )
    types = {one.type for one in values}
    if len(types) > 1:
        if kinds[0] == "number":
            values = [
                _whole(LabelColumn(one, column.where))
                for one, column in zip(values, columns, strict=True)
            ]
        wanted = pa.int64() if kinds[0] == "number" else pa.large_string()
        try:
            values = [one.cast(wanted) for one in values]
        except pa.ArrowInvalid as error:  # an unsigned label beyond 2**63
            raise DataError(
                f"{columns[0].where}: labels do not fit into 64 bits ({error}). Correct them."
            ) from None
    return LabelColumn(
        pa.chunked_array([chunk for one in values for chunk in one.chunks], values[0].type),
        columns[0].where,
    )


def _plain(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a dictionary column themselves."""
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return (
        "text"
        if pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        else str(kind)
    )


def all_hidden(values: pa.ChunkedArray) -> bool:
    """Whether every label is -1, Hugging Face's mark for a test set whose labels are secret."""
    return bool(
        len(values) and pa.types.is_integer(values.type) and pc.all(pc.equal(values, -1)).as_py()
    )


def distinct_labels(columns: Sequence[LabelColumn]) -> tuple[str, ...]:
    """Class names of data without any: the distinct labels of all columns, sorted (numbers as
    numbers).

    Raises:
        DataError: if a label is null, negative, not whole, or some are numbers and some texts.
    """
    values: set[Any] = set()
    for column in columns:
        whole = _whole(column)
        values.update(whole.unique().to_pylist())
        if pa.types.is_integer(whole.type):
            negative = np.flatnonzero(whole.to_numpy() < 0)
            if negative.size:
                row = int(negative[0])
                raise DataError(
                    f"{column.where}: row {row} has label {whole[row]}; labels must be 0 or more."
                    " Correct or drop such rows."
                )
    if len({type(value) for value in values}) > 1:
        places = ", ".join(column.where for column in columns)
        raise DataError(
            f"some labels are numbers and some texts ({places}); a data set uses one kind. Convert"
            " the columns."
        )
    return tuple(str(value) for value in sorted(values))


def label_array(
    column: LabelColumn, class_names: tuple[str, ...], *, by_value: bool
) -> NDArray[np.int64]:
    """Class index of every row, int64 [E].

    Args:
        column: integers, whole floats or texts.
        class_names: M names.
        by_value: a number is looked up among the names (they were taken from the data) instead of
            being an index. Texts always are.

    Raises:
        DataError: naming the first row whose label is null, not whole, out of range or not a class
            name.
    """
    values = _whole(column)
    if pa.types.is_integer(values.type) and not by_value:
        return checked_labels(values.to_numpy(), len(class_names), column.where)
    for name, count in Counter(class_names).items():
        if count > 1 and pc.any(pc.equal(values.cast(pa.large_string()), name)).as_py():
            raise DataError(
                f"{column.where}: label {name!r} is the name of {count} classes. Write class"
                f" numbers (0 to {len(class_names) - 1}) as labels, or give each class a name of"
                " its own."
            )
    found = pc.index_in(values.cast(pa.large_string()), pa.array(class_names, pa.large_string()))
    if found.null_count:
        row = pc.index(pc.is_null(found), True).as_py()
        known = ", ".join(class_names)[:200]
        raise DataError(
            f"{column.where}: row {row} has label {values[row].as_py()!r}; class names are {known}."
            " Correct the label."
        )
    indices: NDArray[np.int64] = found.to_numpy().astype(np.int64)
    return indices


def _whole(column: LabelColumn) -> pa.ChunkedArray:
    """Labels as integers or texts, none missing; float columns only if every value is whole."""
    values, where = column.values, column.where
    if values.null_count:
        row = pc.index(pc.is_null(values), True).as_py()
        raise DataError(
            f"{where}: row {row} has no label (null); every row needs one ({values.null_count} have"
            " none). Fill or drop them."
        )
    values = _plain(values)
    kind = values.type
    if pa.types.is_string_view(kind):
        values, kind = values.cast(pa.large_string()), pa.large_string()
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return values
    if not pa.types.is_floating(kind):
        raise DataError(
            f"{where}: row 0 has a label of type {kind}; labels must be integers or texts. Convert"
            " the column."
        )
    numbers = values.to_numpy()  # [E]
    bad = np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.floor(numbers))))
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{where}: row {row} has label {numbers[row]}; labels must be integers ({bad.size} are"
            " not). Correct them."
        )
    return pa.chunked_array([pa.array(numbers.astype(np.int64))])
