"""Every table that queries can use, declared once: its columns, their types in Arrow and pandas,
what they mean, the command that fills it.

What the code writes, what an empty workspace answers, what ``zoo schema`` prints and what the tests
compare is all derived from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from zoo.errors import UnknownNameError
from zoo.scores.catalog import SCORES

__all__ = [
    "SCHEMA",
    "SCORES_SCHEMA",
    "TABLES",
    "Column",
    "Table",
    "schema_text",
    "words",
]

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        type: Arrow type that a query sees.
        words: what it means, without a full stop.
        required: never null.
        stored: Arrow type on disk where it is another one (DuckDB gives a dictionary's values, and
            float16 as float32).
    """

    name: str
    type: pa.DataType
    words: str
    required: bool = False
    stored: pa.DataType | None = None

    @property
    def field(self) -> pa.Field:
        """As it is kept on disk."""
        return pa.field(self.name, self.stored or self.type, nullable=not self.required)

    @property
    def pandas(self) -> str:
        """Name of the pandas type: one that knows null, unless the column is required."""
        if pa.types.is_nested(self.type):
            return "object"
        name = {_TEXT: "string", _BOOL: "boolean"}.get(self.type) or str(
            self.type.to_pandas_dtype().__name__
        )
        return name if self.required or not name.startswith("int") else name.replace("int", "Int")


class Table:
    """A table by its columns in order. ``made_by``: the command that fills it."""

    def __init__(self, name: str, made_by: str, *columns: Column) -> None:
        self.name, self.made_by = name, made_by
        self.columns: Mapping[str, Column] = {column.name: column for column in columns}

    def __iter__(self) -> Iterator[str]:
        """Names of its columns, in order."""
        return iter(self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """Schema of what a query sees."""
        return pa.schema([pa.field(column.name, column.type) for column in self.columns.values()])

    def stored(self, *but: str) -> pa.Schema:
        """Schema of the files, without the columns that a query adds to them."""
        return pa.schema(
            [column.field for column in self.columns.values() if column.name not in but]
        )

    def empty(self) -> pa.Table:
        """No row yet."""
        return self.arrow.empty_table()

    def frame(self, rows: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
        """Rows with these columns and pandas types; what a row leaves out is null."""
        columns = {
            c.name: pd.array([row.get(c.name) for row in rows], dtype=c.pandas)  # type: ignore[call-overload]
            for c in self.columns.values()
        }
        return pd.DataFrame(columns)

    def typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame's columns in order and with their pandas types."""
        found: pd.DataFrame = frame[list(self.columns)].astype(
            {c.name: c.pandas for c in self.columns.values()}
        )
        return found


_TABLES: Final = (
    Table(
        "examples",
        "'zoo train' or 'zoo import'",
        Column("dataset", _TEXT, "name of the data set", required=True),
        Column("split", _TEXT, "train, test or validation", required=True),
        Column("example_id", _INT, "0..E-1 within its split; stable", required=True),
        Column("key", _TEXT, "source path, or index in the source", required=True),
        Column("label", _INT, "given class index; what trainings see"),
        Column("label_true", _INT, "true class index where the data set knows it, else null"),
        Column("class_name", _TEXT, "name of the given class"),
        Column("error", _TEXT, "why its picture cannot be read; null if it can"),
    ),
    Table(
        "trainings",
        "'zoo train'",
        Column("training_id", _TEXT, "hash of the spec", required=True),
        Column("experiments", _TEXT, "which experiments or commands asked for it", required=True),
        Column(
            "role",
            _TEXT,
            "population (scores examples) or retraining (an arm of a comparison)",
            required=True,
        ),
        Column("arch", _TEXT, "architecture", required=True),
        Column("dataset", _TEXT, "data set as it was named", required=True),
        Column(
            "treatment",
            _TEXT,
            "what was done to the training set, readable; none if nothing",
            required=True,
        ),
        Column("fraction", _FLOAT, "share of the training set, 1 = all"),
        Column(
            "replica",
            _INT,
            "which of several independent subsets of that share; 0 for the whole set",
        ),
        Column("seed", _INT, "seed of initial weights and order", required=True),
        Column("recipe", _TEXT, "optimiser, schedule and all that, as JSON", required=True),
        Column("epochs", _INT, "epochs of the recipe", required=True),
        Column(
            "status",
            _TEXT,
            "done, running (begun, a command is at it), begun (the same command goes on), diverged,"
            " empty (no example left: no classifier, chance level), failed, planned",
            required=True,
        ),
        Column("n_train", _INT, "training rows, copies counted"),
        Column("n_unique", _INT, "different examples among them"),
        Column(
            "label_change_rate",
            _FLOAT,
            "share of the training rows whose label is not the data set's; null without rows",
        ),
        Column("steps", _INT, "optimiser steps taken"),
        Column("stop_reason", _TEXT, "why it ended"),
        Column("train_seconds", _FLOAT, "seconds it took, all attempts that were saved"),
        Column("versions", _TEXT, "library versions, as JSON"),
    ),
    Table(
        "classifiers",
        "'zoo train' or 'zoo import'",
        Column("classifier_id", _TEXT, "training at an epoch", required=True),
        Column("training_id", _TEXT, "its training"),
        Column("role", _TEXT, "population or retraining", required=True),
        Column("arch", _TEXT, "architecture", required=True),
        Column("treatment", _TEXT, "treatment of its training set", required=True),
        Column("fraction", _FLOAT, "share of the training set"),
        Column("replica", _INT, "which subset of that share"),
        Column("seed", _INT, "seed", required=True),
        Column("epoch", _INT, "epoch of the snapshot", required=True),
        Column("train_acc1", _FLOAT, "running training accuracy of that epoch"),
        Column("test_acc1", _FLOAT, "test accuracy"),
        Column(
            "test_acc5",
            _FLOAT,
            "share of test examples whose label is among the five most probable",
        ),
        Column(
            "test_real",
            _FLOAT,
            "ReaL accuracy by its answers: share of ImageNet's validation pictures of which it"
            " names one of the classes that people see; null for other data",
        ),
    ),
    Table(
        "metrics",
        "'zoo train'",
        Column("training_id", _TEXT, "training", required=True),
        Column("epoch", _INT, "1-based", required=True),
        Column(
            "split",
            _TEXT,
            "train (running, while training), train-eval (the training set in evaluation mode, for"
            " the stop rule) or test",
            required=True,
        ),
        Column("acc1", _FLOAT, "accuracy"),
        Column("acc5", _FLOAT, "top-5 accuracy"),
        Column("loss", _FLOAT, "mean cross-entropy [nats]"),
    ),
    Table(
        "answers",
        "'zoo fill'",
        Column("dataset", _TEXT, "data set, as in examples", required=True),
        Column("split", _TEXT, "split", required=True),
        Column(
            "classifier_id",
            _TEXT,
            "classifier",
            required=True,
            stored=pa.dictionary(pa.int32(), _TEXT),
        ),
        Column("example_id", pa.int32(), "example", required=True),
        Column(
            "prediction",
            pa.int16(),
            "most probable class, ties to the lowest; null if the picture cannot be read",
        ),
        Column("p_label", pa.float32(), "probability of the given label"),
        Column("entropy", pa.float32(), "entropy of the class distribution [bits]"),
        Column("margin", pa.float32(), "p(label) minus the largest other probability"),
        Column(
            "top5",
            pa.list_(pa.int16()),
            "five most probable classes, -1 where there are fewer",
            stored=pa.list_(pa.int16(), 5),
        ),
        Column(
            "top5_p",
            pa.list_(pa.float32()),
            "their probabilities (float16)",
            stored=pa.list_(pa.float16(), 5),
        ),
        Column(
            "in_train", _BOOL, "whether the classifier was trained on the example; null if unknown"
        ),
    ),
    Table(
        "scores",
        "'zoo score'",
        Column("dataset", _TEXT, "data set, as in examples"),
        Column("split", _TEXT, "split", required=True),
        Column("example_id", _INT, "example", required=True),
        Column("key", _TEXT, "source path or index", required=True),
        Column("label", pa.int32(), "label the scores refer to"),
        Column("label_true", pa.int32(), "true label where known"),
        *(Column(name, score.type, score.text) for name, score in SCORES.items()),
        Column("label_name", _TEXT, "name of the class label"),
        Column("top_confusion_name", _TEXT, "name of the class top_confusion"),
        Column(
            "p_wrong",
            _FLOAT,
            "probability that the label is wrong, by the held-out answers and the mixture that"
            " counts wrong labels; their sum is the estimated number [0 to 1]; null without kept"
            " logits, a held-out answer or a label",
        ),
        Column(
            "expected_precision",
            _FLOAT,
            "mean p_wrong of the example and all that label_quality ranks as more suspicious: the"
            " share of wrong labels to expect when the list is cut here [0 to 1]",
        ),
        Column(
            "is_label_issue",
            _BOOL,
            "whether it is among the most suspicious by label_quality, as many as there are wrong"
            " labels by the estimate (the sum of p_wrong)",
        ),
    ),
    Table(
        "selections",
        "'zoo select'",
        Column("name", _TEXT, "selection", required=True),
        Column("dataset", _TEXT, "data set it was made from; null if that is not on record"),
        Column("split", _TEXT, "split whose examples it holds; null likewise"),
        Column(
            "draw",
            _INT,
            "seed of the retrainings that this draw of its random part is for; null where all seeds"
            " train on the same",
        ),
        Column("example_id", _INT, "example, as in examples", required=True),
        Column("label", _INT, "label it gets", required=True),
        Column("copies", _INT, "how often it is used", required=True),
        Column("weight", _FLOAT, "its weight in the loss, mean 1"),
        Column("reason", _TEXT, "why it is as it is, such as a decision and its reviewer; or null"),
    ),
    Table(
        "decisions",
        "'zoo relabel --from'",
        Column("dataset", _TEXT, "data set whose example it is", required=True),
        Column("split", _TEXT, "its split", required=True),
        Column("example_id", _INT, "example, as in examples", required=True),
        Column("key", _TEXT, "its key", required=True),
        Column("decision", _TEXT, "keep, relabel, drop or unsure", required=True),
        Column("label", _INT, "class index it shall have; null but for relabel"),
        Column("label_name", _TEXT, "name of that class"),
        Column("reviewer", _TEXT, "who decided; empty where that was not said", required=True),
        Column("time", _TEXT, "when, ISO 8601 in UTC; of the import where that was not said"),
        Column("digest", _TEXT, "sha256 of the picture that was looked at; null if not said"),
        Column("note", _TEXT, "the reviewer's note"),
    ),
    Table(
        "comparisons",
        "'zoo compare'",
        Column("arm_group", _TEXT, "arms that are compared with each other", required=True),
        Column("arm", _TEXT, "retraining arm", required=True),
        Column("arch", _TEXT, "architecture that was retrained", required=True),
        Column(
            "on", _TEXT, "test set: full, or the rule that made a cleaned part of it", required=True
        ),
        Column(
            "metric",
            _TEXT,
            "acc1, acc2 (below 50 classes) or acc5: share of test examples whose label is among the"
            " 1, 2 or 5 most probable classes; real: ReaL accuracy, where the data are ImageNet",
            required=True,
        ),
        Column("mean", _FLOAT, "mean over seeds"),
        Column("low", _FLOAT, "lower end of the 95 % t interval"),
        Column("high", _FLOAT, "upper end"),
        Column("n_seeds", _INT, "seeds", required=True),
        Column("delta", _FLOAT, "mean difference to the first arm of the group"),
        Column("delta_low", _FLOAT, "lower end of its 95 % t interval"),
        Column("delta_high", _FLOAT, "upper end"),
        Column(
            "n_pairs",
            _INT,
            "seeds that the difference is paired over; 0 = not paired",
            required=True,
        ),
        Column(
            "method",
            _TEXT,
            "how the difference was taken, and where the arm had another training budget than the"
            " first",
        ),
        Column("note", _TEXT, "what the arm is; oracle and control are marked"),
    ),
    Table(
        "similarities",
        "'zoo compare'",
        Column("arm_group", _TEXT, "arms that are compared with each other", required=True),
        Column("arm_a", _TEXT, "first arm", required=True),
        Column("arch_a", _TEXT, "its architecture", required=True),
        Column("seed_a", _INT, "its seed", required=True),
        Column("arm_b", _TEXT, "second arm", required=True),
        Column("arch_b", _TEXT, "its architecture", required=True),
        Column("seed_b", _INT, "its seed", required=True),
        Column(
            "measure",
            _TEXT,
            "zero_one (both right or both wrong), prediction (equal class), kappa (zero_one beyond"
            " what the accuracies give)",
            required=True,
        ),
        Column(
            "similarity",
            _FLOAT,
            "share of the labelled test examples that both answer [0, 1]; kappa up to 1",
        ),
    ),
    Table(
        "outcomes",
        "'zoo run EXPERIMENT'",
        Column(
            "aspect",
            _TEXT,
            "kind of damage of the study's point, such as delete_class; baseline = none",
            required=True,
        ),
        Column("setting", _FLOAT, "how much or which: a fraction, a sigma, a class index"),
        Column(
            "other",
            _INT,
            "second class of the damage (relabel setting -> other), else -1",
            required=True,
        ),
        Column("arch", _TEXT, "architecture", required=True),
        Column("seed", _INT, "seed of the training and of the damage's draw", required=True),
        Column(
            "training_id", _TEXT, "the training; points of equal treatment share one", required=True
        ),
        Column("treatment", _TEXT, "the treatment as text", required=True),
        Column(
            "status",
            _TEXT,
            "done, empty (no example left: counts as chance), diverged",
            required=True,
        ),
        Column("stop_reason", _TEXT, "why the training ended"),
        Column("epochs", _INT, "epochs trained"),
        Column("reached", _BOOL, "whether the training accuracy reached the stop rule"),
        Column("n_train", _INT, "rows of the treated training set"),
        Column(
            "label_change_rate", _FLOAT, "share of those rows whose label is not the data set's"
        ),
        Column("train_acc1", _FLOAT, "training accuracy of the last epoch, on the treated labels"),
        Column(
            "test_acc1",
            _FLOAT,
            "accuracy on the clean test set, from the answers; 1 / classes where empty",
        ),
    ),
    Table(
        "verdicts",
        "'zoo run EXPERIMENT'",
        Column("claim", _TEXT, "claim id", required=True),
        Column("statement", _TEXT, "what is claimed", required=True),
        Column("published", _TEXT, "published value"),
        Column("measured", _TEXT, "measured value as text, mean ± sd over seeds"),
        Column("mean", _FLOAT, "mean over seeds, fractions for accuracies"),
        Column("sd", _FLOAT, "standard deviation over seeds (n - 1)"),
        Column("n", _INT, "seeds"),
        Column("scale", _TEXT, "scale it was measured at", required=True),
        Column(
            "verdict",
            _TEXT,
            "holds, fails, undecided, not tested, not applicable (results of other data);"
            " conditional on test set and starting images",
            required=True,
        ),
        Column("rule", _TEXT, "rule that decides it, fixed before looking"),
        Column("note", _TEXT, "what decided it, or why it was not tested"),
        Column("p", _FLOAT, "smaller p, of holds or of fails; null where an interval decides"),
        Column("p_holm", _FLOAT, "the same, adjusted for the other claims of its number (Holm)"),
    ),
)

SCHEMA: Final[Mapping[str, Table]] = {table.name: table for table in _TABLES}
"""All tables by name."""

TABLES: Final = tuple(sorted(SCHEMA))
"""Their names."""


SCORES_SCHEMA: Final = pa.schema(
    [field for field in SCHEMA["scores"].arrow if field.name != "dataset"]
)
"""Columns of a scores table as it is computed and kept: of one data set, which its metadata name.
Null = not defined for this example (no classifier answered, label unknown, none held out)."""


def words(table: str | None = None) -> dict[str, dict[str, str]]:
    """What the columns mean: table -> column -> words; of all tables or one.

    Raises:
        UnknownNameError: for a table that does not exist.
    """
    if table is not None and table not in SCHEMA:
        raise UnknownNameError("table", table, SCHEMA)
    chosen = [SCHEMA[table]] if table else SCHEMA.values()
    return {
        each.name: {column.name: column.words for column in each.columns.values()}
        for each in chosen
    }


def schema_text(table: str | None = None) -> str:
    """The schema as text, all tables or one.

    Raises:
        UnknownNameError: for a table that does not exist.
    """
    blocks = []
    for name, columns in words(table).items():
        width = max(len(column) for column in columns)
        blocks.append(
            "\n".join([name, *(f"  {column:<{width}}  {text}" for column, text in columns.items())])
        )
    return "\n\n".join(blocks)
