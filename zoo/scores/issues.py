"""Which labels are probably wrong, one by one, and what to expect of a list that is cut somewhere.

The mixture that counts wrong labels (``zoo.scores.label_count``) says of each example how probable
it is that its label is wrong; the sum is the count. The order stays that of ``label_quality``, the
one in which suspects are listed:

- ``expected_precision``: mean of these probabilities down to the example, the share of wrong labels
  to expect in a list that ends with it;
- ``is_label_issue``: the first of that order, as many as the count.

All three rest on what the count rests on: wrong labels fall on the other classes alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from zoo.arrays import Floats, Ints, Mask
from zoo.errors import StoreError, UsageError
from zoo.scores import from_store
from zoo.scores.catalog import suspicion, worst_first
from zoo.scores.label_count import held_out_sums, probably_wrong
from zoo.scores.population import Population
from zoo.store.workspace import Workspace

__all__ = ["issues", "no_issues_note", "scored"]

_REASON: Final = b"no_issues"


def scored(
    workspace: Workspace, population: Population, split: str, label_column: str = "label"
) -> pa.Table:
    """``from_store.score``, with the columns of this module; null where the kept logits do not
    suffice, why in the table's metadata: see ``no_issues_note``.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    table = from_store.score(workspace, population, split, label_column)
    # A picture that nobody could read has no answer, and no part in the count.
    unanswered = _values(table, "n") == 0
    labels = np.where(unanswered, -1, np.nan_to_num(_values(table, "label"), nan=-1))
    try:
        found = held_out_sums(workspace, population, split, 1)
        if found is None:
            return _without(table, "examples times classes are too many to hold")
        wrong = probably_wrong(*found, labels.astype(np.int64))
    except (StoreError, UsageError) as error:
        return _without(table, str(error))
    held = _values(table, "n_heldout")
    precision, flagged = issues(
        wrong,
        suspicion("label_quality", _values(table, "label_quality"), held),
        _values(table, "x_perplexity"),
        table.column("example_id").to_numpy(),
    )
    unknown = np.isnan(wrong)
    for name, values in (
        ("p_wrong", wrong),
        ("expected_precision", precision),
        ("is_label_issue", flagged),
    ):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.field(place), pa.array(values, mask=unknown))
    return table


def issues(wrong: Floats, suspicious: Floats, x: Floats, example_ids: Ints) -> tuple[Floats, Mask]:
    """(expected precision of a list that ends with the example, float64 [E]; whether it is among
    the first, as many as ``wrong`` sums up to, bool [E]).

    Args:
        wrong: float64 [E], probability that the label is wrong; NaN = not known: no part of the
            list, NaN and False.
        suspicious, x, example_ids: as of ``zoo.scores.catalog.worst_first``, which gives the order.
    """
    order = worst_first(suspicious, x, example_ids)
    order = order[~np.isnan(wrong[order])]
    precision, flagged = np.full(len(wrong), np.nan), np.zeros(len(wrong), dtype=bool)
    precision[order] = np.cumsum(wrong[order]) / np.arange(1, len(order) + 1)
    flagged[order[: round(float(wrong[order].sum()))]] = True
    return precision, flagged


def no_issues_note(table: pa.Table) -> str:
    """Why no label of a scores table is flagged or cleared, in a line; empty where they are."""
    reason = (table.schema.metadata or {}).get(_REASON)
    if reason is None:
        return ""
    return (
        "p_wrong, expected_precision and is_label_issue are null: how many labels are wrong was not"
        f" estimated: {reason.decode()}"
    )


def _without(table: pa.Table, reason: str) -> pa.Table:
    about = table.schema.metadata or {}
    return table.replace_schema_metadata({**about, _REASON: reason.encode()})


def _values(table: pa.Table, name: str) -> Floats:
    """A column of numbers, null as NaN."""
    values: Floats = table.column(name).cast(pa.float64()).to_numpy()
    return values
