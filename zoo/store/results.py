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
    safe = table.copy()
    for position, (_, column) in enumerate(table.items()):
        if column.dtype == np.float64 and float_format is None:
            # the same digits as pandas writes, which asks numpy for them, at a third of the time
            numbers = column.to_numpy(np.float64).tolist()
            digits = [None if number != number else repr(number) for number in numbers]
            safe.isetitem(position, pd.Series(digits, index=table.index, dtype="object").array)
            continue
        if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
            continue
        if not _needs_care(column):
            continue
        safe.isetitem(
            position,
            pd.Series([_cell(value) for value in column], index=table.index, dtype="object").array,
        )
    text: str = safe.to_csv(index=False, lineterminator="\n", float_format=float_format)
    return text


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
        names = [json.dumps(inner.name) for inner in kind.value_type]
        form = "{" + ", ".join(f"{name.replace('%', '%%')}: %r" for name in names) + "}"
        items = [form % row for row in zip(*(part.to_pylist() for part in parts), strict=True)]
        texts: list[str | None] = []
        start = 0
        for length in pc.list_value_length(lists).to_pylist():
            texts.append(
                None if length is None else f"[{', '.join(items[start : start + length])}]"
            )
            start += length or 0
        table = table.set_column(position, field.name, pa.array(texts, pa.string()))
    return table


def _plain_numbers(values: pa.Array) -> bool:
    """Whether JSON writes these numbers as Python does: whole, or finite."""
    if pa.types.is_integer(values.type):
        return True
    return pa.types.is_float64(values.type) and bool(
        pc.all(pc.is_finite(values)).as_py() in (True, None)
    )


def _needs_care(column: pd.Series[Any]) -> bool:
    """Whether a cell of a column of text has to be written in another way than it stands there."""
    if not isinstance(column.dtype, pd.StringDtype):
        return True
    texts = pa.array(column, pa.string(), from_pandas=True)
    return pc.any(pc.match_substring_regex(texts, r"\A[=+\-@\t]|\r")).as_py() is True


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
        if (name, scale) != (source, experiment.scale):
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
