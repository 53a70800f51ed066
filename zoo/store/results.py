"""Tidy tables of a workspace's results (one row = one fact), as CSV for people and Parquet for
queries.

``results/<name>.csv`` and ``.parquet`` are derived: they are replaced as a whole and can be made
again from the store at any time. The CSV of a
table depends on nothing but its values: sorted rows, shortest exact decimals, ``\\n`` line ends.
What a table was computed from (``Origin``, and whatever else its maker says) is in the metadata of
its Parquet, under ``zoo``.

The scores of a whole population are tables of their own: ``scores-SPLIT``, or
``scores-SPLIT-FINGERPRINT`` in a workspace of several data sets.
``read_scores`` gives those of a data set and a split and no others. In a workspace as a snapshot
names it (``Workspace.at``), tables are those of then.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.errors import NotFoundError, UsageError
from zoo.spec import Experiment
from zoo.store.origin import Origin
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "EXPERIMENT_FILE",
    "about_table",
    "csv_text",
    "population_scores",
    "put",
    "read_arrow",
    "read_scores",
    "read_table",
    "record_run",
    "recorded_experiment",
    "recorded_run",
    "spreadsheet_text",
    "table_names",
    "table_of",
    "write_scores",
    "write_table",
]

_POPULATION = "population scores"
"""What the metadata of a table say under ``table`` that holds the scores of a whole population
against the given labels."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    r"""CSV of a tidy table: ``\n`` line ends, null as nothing, lists as JSON, floats by
    ``float_format`` (None = shortest exact).

    A text that a spreadsheet would run as a formula (it starts with = + - @ TAB or CR) gets a quote
    in front. Numbers do not. A carriage return inside a text becomes a line feed.
    """
    if not len(table.columns):
        empty: str = table.to_csv(index=False, lineterminator="\n")
        return empty
    head = io.StringIO()
    csv.writer(head, lineterminator="\n").writerow(table.columns)
    parts = [head.getvalue().encode()]
    for start in range(0, len(table), _CSV_ROWS):
        rows = table.iloc[start : start + _CSV_ROWS]
        cells = [_column_text(column, float_format) for _, column in rows.items()]
        if len(cells) == 1:  # an empty line would be no row
            cells = [pc.if_else(pc.equal(cells[0], _text("")), _text('""'), cells[0])]
        lines = _joined(*cells[:-1], _joined(cells[-1], "\n"), between=",")
        parts.append(lines.buffers()[2].to_pybytes()[: _end(lines)])
    return b"".join(parts).decode()


_CSV_ROWS = 1 << 16
_TEXT = pa.large_string()
_EXACT = (1e-4, 1e10)
"""Between these Arrow writes the digits of a float as Python does."""


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, _TEXT)


def _joined(*pieces: pa.Array | str, between: str = "") -> pa.Array:
    """Texts of several columns, row by row one after the other."""
    parts = [_text(piece) if isinstance(piece, str) else piece for piece in pieces]
    return pc.binary_join_element_wise(*parts, _text(between))


def _end(texts: pa.Array) -> int:
    """Bytes of a column of texts that begins with its buffer."""
    offsets = np.frombuffer(texts.buffers()[1], np.int64)
    return int(offsets[len(texts)])


def _column_text(column: pd.Series[Any], float_format: str | None) -> pa.Array:
    """The cells of a column as they stand in a CSV; a column at a time, as cell by cell was
    measured to take three quarters of the time of ``zoo score``."""
    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "iub":
        values = column.to_numpy()
        if kind.kind == "b":
            return pc.if_else(pa.array(values), _text("True"), _text("False"))
        return pc.cast(pa.array(values), _TEXT)
    if isinstance(kind, np.dtype) and kind.kind == "f":
        numbers = column.to_numpy()
        if float_format is not None:
            texts = ["" if v != v else float_format % v for v in numbers.tolist()]
            return pa.array(texts, _TEXT)
        if kind == np.float64:
            return _decimals(numbers)
        return pc.if_else(
            pa.array(np.isnan(numbers)), _text(""), pa.array(numbers.astype(str).tolist(), _TEXT)
        )
    if isinstance(kind, np.dtype) and kind.kind in "mM":
        lines = column.to_frame("x").to_csv(index=False, lineterminator="\n").split("\n")[1:-1]
        return pa.array([line.strip('"') for line in lines], _TEXT)
    if isinstance(kind, pd.StringDtype):
        texts = pa.chunked_array(pa.array(column, from_pandas=True)).cast(_TEXT).combine_chunks()
        if pc.any(pc.match_substring_regex(texts, r"\A[=+\-@\t]|\r")).as_py() is True:
            texts = pa.array([t and spreadsheet_text(t) for t in texts.to_pylist()], _TEXT)
    elif column.isna().all():
        return pa.array([""] * len(column), _TEXT)
    else:
        cells = [_cell(value) for value in column]
        texts = pa.array([None if v is None or v != v else str(v) for v in cells], _TEXT)
    return _quoted(texts.fill_null(""))


def _decimals(numbers: NDArray[np.float64]) -> pa.Array:
    """Shortest exact decimals, as ``repr`` gives them; nothing for NaN. A sixth of its time."""
    size = np.abs(numbers)
    whole = (numbers == np.floor(numbers)) & (size < _EXACT[1])
    texts = pc.cast(pa.array(numbers), _TEXT)
    texts = pc.if_else(pa.array(whole), _joined(texts, ".0"), texts)
    others = ~(whole | ((size >= _EXACT[0]) & (size < _EXACT[1])))
    if others.any():
        own = ["" if v != v else repr(v) for v in numbers[others].tolist()]
        texts = pc.replace_with_mask(texts, pa.array(others), pa.array(own, _TEXT))
    return texts


def _quoted(texts: pa.Array) -> pa.Array:
    """In quotes where a comma, a quote or a line end is in it, as the module ``csv`` does."""
    special = pc.match_substring_regex(texts, r'[",\n]')
    if not pc.any(special).as_py():
        return texts
    return pc.if_else(special, _joined('"', pc.replace_substring(texts, '"', '""'), '"'), texts)


def spreadsheet_text(text: str) -> str:
    """A text as a spreadsheet may read it: with a quote in front where it looks like a formula, and
    line feeds for carriage returns, which the CSV writer does not quote and a spreadsheet takes for
    a new row."""
    quoted = f"'{text}" if text.startswith(_FORMULA) else text
    return quoted.replace("\r\n", "\n").replace("\r", "\n")


def _listed_as_text(table: pa.Table) -> pa.Table:
    """Lists of structs of numbers as the JSON that ``csv_text`` gives: all items of a column at
    once, as going through its rows was measured to take two thirds of writing scores."""
    for position, field in enumerate(table.schema):
        kind = field.type
        if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
            continue
        lists = table.column(position).combine_chunks()
        parts = lists.flatten().flatten()
        if any(part.null_count or not _plain_numbers(part) for part in parts):
            continue
        pieces: list[pa.Array | str] = []
        for inner, part in zip(kind.value_type, parts, strict=True):
            pieces.append(f"{', ' if pieces else '{'}{json.dumps(inner.name)}: ")
            pieces.append(
                _decimals(part.to_numpy())
                if pa.types.is_floating(part.type)
                else pc.cast(part, _TEXT)
            )
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
        items = pa.LargeListArray.from_arrays(offsets, _joined(*pieces, "}"))
        texts = pc.if_else(
            lists.is_valid(), _joined("[", pc.binary_join(items, _text(", ")), "]"), None
        )
        table = table.set_column(position, field.name, pc.cast(texts, pa.string()))
    return table


def _plain_numbers(values: pa.Array) -> bool:
    """Whether JSON writes these numbers as Python does: whole, or finite."""
    if pa.types.is_integer(values.type):
        return True
    return pa.types.is_float64(values.type) and bool(
        pc.all(pc.is_finite(values)).as_py() in (True, None)
    )


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return spreadsheet_text(value)
    if isinstance(value, np.ndarray | list | tuple | dict):
        return json.dumps(
            value,
            default=lambda item: (
                item.tolist() if isinstance(item, np.ndarray | np.generic) else str(item)
            ),
        )
    return None if value is None or value is pd.NA else value


def write_table(
    workspace: Workspace,
    name: str,
    table: pd.DataFrame | pa.Table,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write ``results/<name>.csv`` and ``.parquet``; ``about`` says what it was computed from and
    goes into the Parquet's metadata."""
    arrow = (
        table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    )
    arrow = arrow.replace_schema_metadata(
        {
            **(arrow.schema.metadata or {}),
            b"zoo": json.dumps(dict(about or {}), sort_keys=True).encode(),
        }
    )
    sink = io.BytesIO()
    pq.write_table(arrow, sink, compression="zstd")
    put(workspace, f"results/{name}.parquet", sink.getvalue())
    frame = _listed_as_text(table).to_pandas() if isinstance(table, pa.Table) else table
    put(workspace, f"results/{name}.csv", csv_text(frame).encode())


def put(workspace: Workspace, relative: str, data: bytes) -> None:
    """Replace a derived file; one that holds these bytes already is left alone, so that a run that
    finds everything done touches nothing."""
    if not (workspace.files.exists(relative) and workspace.files.read(relative) == data):
        workspace.files.replace(relative, data)


def read_arrow(workspace: Workspace, name: str) -> pa.Table:
    """A derived table as it is kept, without its metadata.

    Raises:
        NotFoundError: if it has not been computed yet; says which command makes it.
    """
    relative = _file(workspace, name)
    if not workspace.files.exists(relative):
        maker = {"arms": "'zoo compare'"}.get(name) or getattr(
            SCHEMA.get(name.split("-")[0]), "made_by", "'zoo run EXPERIMENT'"
        )
        raise NotFoundError(f"no table {name!r} in {workspace.results}. Make it with {maker}.")
    return pq.read_table(workspace.files.local(relative)).replace_schema_metadata(None)


def read_table(workspace: Workspace, name: str) -> pd.DataFrame:
    """A derived table; errors as ``read_arrow``."""
    table: pd.DataFrame = read_arrow(workspace, name).to_pandas()
    return table


def table_of(workspace: Workspace, name: str, dataset: str) -> pd.DataFrame | None:
    """A derived table if it is there and of this data set, or does not say of which; else None."""
    if (
        name not in table_names(workspace)
        or about_table(workspace, name).get("dataset", dataset) != dataset
    ):
        return None
    return read_table(workspace, name)


def about_table(workspace: Workspace, name: str) -> dict[str, Any]:
    """What a derived table that is there was computed from, as its maker said."""
    metadata = pq.read_schema(workspace.files.local(_file(workspace, name))).metadata or {}
    about: dict[str, Any] = json.loads(metadata.get(b"zoo", b"{}"))
    return about


def table_names(workspace: Workspace) -> list[str]:
    """Names of the derived tables that are there.

    Raises:
        NotFoundError: in a workspace as of a snapshot that kept no tables.
    """
    if workspace.tables is None:
        names = workspace.files.names("results")
        return [name.removesuffix(".parquet") for name in names if name.endswith(".parquet")]
    return sorted(workspace.tables)


def _file(workspace: Workspace, name: str) -> str:
    return (
        f"results/{name}.parquet"
        if workspace.tables is None
        else workspace.tables.get(name, f"snapshots/{name}")
    )


# ---------------------------------------------------------------- scores of a population


def write_scores(workspace: Workspace, table: pa.Table, origin: Origin, n: int) -> str:
    """Write the scores of a whole population of ``n`` classifiers; the table's name."""
    plain = f"scores-{origin.split}"
    alone = set(workspace.commits.keys("dataset")) <= {origin.dataset}
    name = plain if alone else f"{plain}-{origin.dataset}"
    write_table(workspace, name, table, {"table": _POPULATION, **origin.as_json(), "n": n})
    if (
        not alone
        and plain in table_names(workspace)
        and about_table(workspace, plain).get("dataset") == origin.dataset
    ):
        for suffix in (".csv", ".parquet"):  # of the time when this was the only data set
            workspace.files.remove(f"results/{plain}{suffix}")
    return name


def population_scores(workspace: Workspace) -> Iterator[tuple[pa.Table, Origin]]:
    """The scores tables of whole populations that are there, each with what it was made from."""
    for name in table_names(workspace):
        if (origin := _scores_origin(workspace, name)) is not None:
            yield read_arrow(workspace, name), origin


def read_scores(workspace: Workspace, dataset: str, split: str) -> tuple[pd.DataFrame, Origin]:
    """The scores of a data set's population on a split, and what they were made from.

    Raises:
        NotFoundError: if there are none; says which command makes them, and whose there are.
    """
    others = []
    for name in table_names(workspace):
        if not name.startswith("scores-") or (origin := _scores_origin(workspace, name)) is None:
            continue
        if origin.fits(dataset, split):
            return read_table(workspace, name), origin
        others.append(
            f"{name} is of split {origin.split} of data set {origin.dataset or '(not recorded)'}"
        )
    several = len(workspace.commits.keys("dataset")) > 1
    raise NotFoundError(
        f"no scores of split {split} of data set {dataset} in"
        f" {workspace.results}{': ' + '; '.join(others) if others else ''}. Make them with 'zoo"
        f" score --split {split}{f' --data {dataset}' if several else ''}'."
    )


def _scores_origin(workspace: Workspace, name: str) -> Origin | None:
    """What a table of population scores was made from; None for every other table."""
    if not name.startswith("scores-"):
        return None
    about = about_table(workspace, name)
    if about.get("table") == _POPULATION:
        return Origin.of(about)
    # An earlier zoo recorded neither data set nor split; its own names and keys say them.
    match = re.fullmatch(r"scores-(train|test|validation)", name)
    if (
        match is None
        or "table" in about
        or about.get("where")
        or about.get("label", "label") != "label"
    ):
        return None
    keys = read_arrow(workspace, name).column("key")
    for fingerprint, record in workspace.commits.each("dataset"):
        recorded = pq.read_table(
            workspace.files.local(record.files[0].path),
            columns=["key"],
            filters=[("split", "=", match[1])],
        )
        if recorded.column("key").cast(keys.type).equals(keys):
            return Origin(fingerprint, match[1], str(about.get("population") or ""))
    return None


# ---------------------------------------------------------------- the run that made a report


def record_run(
    workspace: Workspace, experiment: Experiment, timings: Mapping[str, float]
) -> dict[str, float]:
    """Remember which experiment this workspace's report is about, and the longest time each stage
    took (a rerun finds most of it done)."""
    known: dict[str, float] = {}
    source = experiment.source or experiment.name
    try:
        name, scale, known = recorded_run(workspace)
        before = recorded_experiment(workspace)
        other_seeds = before is not None and before.seeds != experiment.seeds
        if (name, scale) != (source, experiment.scale) or other_seeds:
            known = {}
    except NotFoundError:
        pass
    merged = {
        stage: max(seconds, known.get(stage, 0.0))
        for stage, seconds in {**known, **timings}.items()
    }
    body = {
        "experiment": source,
        "scale": experiment.scale,
        "timings": merged,
        "spec": experiment.as_json(),
    }
    # stages in their order
    put(workspace, "results/run.json", json.dumps(body, ensure_ascii=False).encode())
    if source.endswith(".py") and Path(source).is_file():
        put(workspace, EXPERIMENT_FILE, Path(source).read_bytes())
    return merged


EXPERIMENT_FILE = "results/experiment.py"
"""Copy of the file of an experiment that was named by its path: for people, who may run it again.
zoo itself runs nothing out of a workspace."""


def recorded_experiment(workspace: Workspace) -> Experiment | None:
    """The experiment of ``recorded_run`` as it was, whatever has become of its file; None where an
    earlier zoo did not record it."""
    if not workspace.files.exists("results/run.json"):
        return None
    try:
        return Experiment(**json.loads(workspace.files.read("results/run.json"))["spec"])
    except (ValueError, KeyError, TypeError, UsageError):
        return None


def recorded_run(workspace: Workspace) -> tuple[str, str, dict[str, float]]:
    """(experiment's name or path, scale, seconds per stage) of the run that made this workspace's
    report.

    Raises:
        NotFoundError: if no report was made yet.
    """
    if not workspace.files.exists("results/run.json"):
        raise NotFoundError(
            f"{workspace.location} has no report yet. Make one with 'zoo run EXPERIMENT', or name"
            " its experiment: zoo report EXPERIMENT."
        )
    try:
        body = json.loads(workspace.files.read("results/run.json"))
        return (
            str(body["experiment"]),
            str(body["scale"]),
            {str(k): float(v) for k, v in body["timings"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(
            f"{workspace.results / 'run.json'} is damaged. Name the experiment: zoo report"
            " EXPERIMENT."
        ) from None
