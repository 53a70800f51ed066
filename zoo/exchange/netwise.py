"""Network by network: the two tables of the Example-Perplexity project that X and C are the means
of.

``netwise-x``: 0 where the classifier is right, 1 where it is wrong; the mean of a row is X.
``netwise-c``: entropy of its answer in bits; 2 to the mean of a row is C. A row per example in the
order of ``example_id``, first its file name, then a column per classifier, named by its id and in
the order of the population; null where there is no answer (or, of X, no label). Written block by
block of examples: memory is a block of 2,048 by the classifiers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from zoo.scores.population import Population
from zoo.store.answers import read_answers
from zoo.store.datasets import examples_of, int_column
from zoo.store.results import spreadsheet_text
from zoo.store.workspace import Workspace

__all__ = ["netwise_blocks", "write_netwise"]

Measure = Literal["x", "c"]
_TYPES = {"x": pa.int8(), "c": pa.float32()}


def netwise_schema(population: Population, measure: Measure) -> pa.Schema:
    columns = [pa.field(name, _TYPES[measure]) for name in population.classifiers]
    return pa.schema([pa.field("filename", pa.string()), *columns])


def netwise_blocks(
    workspace: Workspace, population: Population, split: str, measure: Measure
) -> Iterator[pa.RecordBatch]:
    """The table, block by block of examples.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    examples = examples_of(workspace, population.dataset, split)
    labels, keys = int_column(examples, "label"), examples.column("key").combine_chunks()
    schema = netwise_schema(population, measure)
    column = {"x": "prediction", "c": "entropy"}[measure]
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers, (column,)
    ):
        own = labels[block.start : block.stop]
        found: dict[str, pa.Array] = {}
        for name, batch in answers:
            values = batch.column(column)
            if measure == "c":
                found[name] = values.cast(pa.float32())
                continue
            prediction = values.fill_null(-1).to_numpy(zero_copy_only=False)
            unknown = (prediction < 0) | (own < 0)
            found[name] = pa.array((prediction != own).astype(np.int8), mask=unknown)
        yield pa.RecordBatch.from_arrays(
            [
                keys.slice(block.start, block.stop - block.start).cast(pa.string()),
                *(found[name] for name in population.classifiers),
            ],
            schema=schema,
        )


def write_netwise(
    file: BinaryIO,
    workspace: Workspace,
    population: Population,
    split: str,
    measure: Measure,
    to: Literal["csv", "parquet"],
) -> None:
    """Write the table as CSV (a name that a spreadsheet would take for a formula gets a leading
    quote) or Parquet (a row group per block)."""
    schema = netwise_schema(population, measure)
    blocks = netwise_blocks(workspace, population, split, measure)
    if to == "parquet":
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for block in blocks:
                writer.write_batch(block)
        return
    with pc.CSVWriter(file, schema) as writer:
        for block in blocks:
            names = [spreadsheet_text(name) for name in block.column(0).to_pylist()]
            writer.write_batch(block.set_column(0, "filename", pa.array(names, pa.string())))
