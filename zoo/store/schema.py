"""Every table and column that queries can use, in words. A test compares this with the tables themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from zoo.errors import UnknownNameError
from zoo.scores.catalog import SCORES
from zoo.store.answers import ANSWER_SCHEMA

__all__ = [
    "CLASSIFIER_COLUMNS",
    "EXAMPLE_COLUMNS",
    "METRIC_COLUMNS",
    "NOT_YET",
    "NO_ANSWERS",
    "OUTCOME_COLUMNS",
    "SCHEMA",
    "SCORES_SCHEMA",
    "SELECTION_COLUMNS",
    "TABLES",
    "TRAINING_COLUMNS",
    "VERDICT_COLUMNS",
    "frame_of",
    "schema_text",
]


TRAINING_COLUMNS = {
    "training_id": "string",
    "experiments": "string",
    "role": "string",
    "arch": "string",
    "dataset": "string",
    "treatment": "string",
    "fraction": "float64",
    "replica": "Int64",
    "seed": "int64",
    "recipe": "string",
    "epochs": "int64",
    "status": "string",
    "n_train": "Int64",
    "n_unique": "Int64",
    "label_change_rate": "float64",
    "steps": "Int64",
    "stop_reason": "string",
    "train_seconds": "float64",
    "versions": "string",
}
CLASSIFIER_COLUMNS = {
    "classifier_id": "string",
    "training_id": "string",
    "role": "string",
    "arch": "string",
    "treatment": "string",
    "fraction": "float64",
    "replica": "Int64",
    "seed": "int64",
    "epoch": "int64",
    "train_acc1": "float64",
    "test_acc1": "float64",
    "test_acc5": "float64",
}
METRIC_COLUMNS = {"training_id": "string", "epoch": "int64", "split": "string", "acc1": "float64", "acc5": "float64", "loss": "float64"}
EXAMPLE_COLUMNS = {
    "dataset": "string",
    "split": "string",
    "example_id": "int64",
    "key": "string",
    "label": "Int64",
    "label_true": "Int64",
    "class_name": "string",
    "error": "string",
}
SELECTION_COLUMNS = {"name": "string", "draw": "Int64", "example_id": "int64", "label": "int64", "copies": "int64", "weight": "float64"}
OUTCOME_COLUMNS = {
    "aspect": "string",
    "setting": "float64",
    "other": "int64",
    "arch": "string",
    "seed": "int64",
    "training_id": "string",
    "treatment": "string",
    "status": "string",
    "stop_reason": "string",
    "epochs": "Int64",
    "reached": "boolean",
    "n_train": "Int64",
    "label_change_rate": "float64",
    "train_acc1": "float64",
    "test_acc1": "float64",
}
SCORES_SCHEMA: Final = pa.schema(
    [
        ("split", pa.string()),
        ("example_id", pa.int64()),
        ("key", pa.string()),
        ("label", pa.int32()),
        ("label_true", pa.int32()),
        *((name, score.type) for name, score in SCORES.items()),
    ]
)
"""Columns of the ``scores`` table, in order. Null = not defined for this example (no classifier answered, label unknown, none held out)."""
TABLES = (
    "answers",
    "classifiers",
    "comparisons",
    "examples",
    "metrics",
    "outcomes",
    "scores",
    "selections",
    "similarities",
    "trainings",
    "verdicts",
)
NOT_YET = {
    "scores": SCORES_SCHEMA,
    "comparisons": pa.schema(
        [(name, pa.string()) for name in ("arm_group", "arm", "arch", "on", "metric")]
        + [(name, pa.float64()) for name in ("mean", "low", "high")]
        + [("n_seeds", pa.int64())]
        + [(name, pa.float64()) for name in ("delta", "delta_low", "delta_high")]
        + [("n_pairs", pa.int64()), ("method", pa.string()), ("note", pa.string())]
    ),
    "similarities": pa.schema(
        [("arm_group", pa.string())]
        + [(f"{name}_{side}", kind) for side in "ab" for name, kind in (("arm", pa.string()), ("arch", pa.string()), ("seed", pa.int64()))]
        + [("measure", pa.string()), ("similarity", pa.float64())]
    ),
    "outcomes": pa.schema(
        [
            ("aspect", pa.string()),
            ("setting", pa.float64()),
            ("other", pa.int64()),
            ("arch", pa.string()),
            ("seed", pa.int64()),
            *((name, pa.string()) for name in ("training_id", "treatment", "status", "stop_reason")),
            ("epochs", pa.int64()),
            ("reached", pa.bool_()),
            ("n_train", pa.int64()),
            *((name, pa.float64()) for name in ("label_change_rate", "train_acc1", "test_acc1")),
        ]
    ),
    "verdicts": pa.schema(
        [(name, pa.string()) for name in ("claim", "statement", "published", "measured")]
        + [("mean", pa.float64()), ("sd", pa.float64()), ("n", pa.int64())]
        + [(name, pa.string()) for name in ("scale", "verdict", "rule", "note")]
    ),
}
VERDICT_COLUMNS = ("claim", "statement", "published", "measured", "mean", "sd", "n", "scale", "verdict", "rule", "note")
"""Claim's id; its statement; the paper's words or number; measured value as text; its mean and sd over n seeds (null where it is no single
number); scale; holds, fails, undecided, not tested or not applicable (results of other data); the rule that decides, fixed before looking; what
decided it, or why it is not tested."""
SCHEMA: dict[str, dict[str, str]] = {
    "examples": {
        "dataset": "name of the data set",
        "split": "train, test or validation",
        "example_id": "0..E-1 within its split; stable",
        "key": "source path, or index in the source",
        "label": "given class index; what trainings see",
        "label_true": "true class index where the data set knows it, else null",
        "class_name": "name of the given class",
        "error": "why its picture cannot be read; null if it can",
    },
    "trainings": {
        "training_id": "hash of the spec",
        "experiments": "which experiments or commands asked for it",
        "role": "population (scores examples) or retraining (an arm of a comparison)",
        "arch": "architecture",
        "dataset": "data set as it was named",
        "treatment": "what was done to the training set, readable; none if nothing",
        "fraction": "share of the training set, 1 = all",
        "replica": "which of several independent subsets of that share; 0 for the whole set",
        "seed": "seed of initial weights and order",
        "recipe": "optimiser, schedule and all that, as JSON",
        "epochs": "epochs of the recipe",
        "status": "done, running (begun, resumable), diverged, empty (no example left: no classifier, chance level), failed, planned",
        "n_train": "training rows, copies counted",
        "n_unique": "different examples among them",
        "label_change_rate": "share of the training rows whose label is not the data set's; null without rows",
        "steps": "optimiser steps taken",
        "stop_reason": "why it ended",
        "train_seconds": "seconds it took, all attempts that were saved",
        "versions": "library versions, as JSON",
    },
    "classifiers": {
        "classifier_id": "training at an epoch",
        "training_id": "its training",
        "role": "population or retraining",
        "arch": "architecture",
        "treatment": "treatment of its training set",
        "fraction": "share of the training set",
        "replica": "which subset of that share",
        "seed": "seed",
        "epoch": "epoch of the snapshot",
        "train_acc1": "running training accuracy of that epoch",
        "test_acc1": "test accuracy",
        "test_acc5": "share of test examples whose label is among the five most probable",
    },
    "metrics": {
        "training_id": "training",
        "epoch": "1-based",
        "split": "train (running, while training), train-eval (the training set in evaluation mode, for the stop rule) or test",
        "acc1": "accuracy",
        "acc5": "top-5 accuracy",
        "loss": "mean cross-entropy [nats]",
    },
    "answers": {
        "split": "split",
        "classifier_id": "classifier",
        "example_id": "example",
        "prediction": "most probable class, ties to the lowest; null if the picture cannot be read",
        "p_label": "probability of the given label",
        "entropy": "entropy of the class distribution [bits]",
        "margin": "p(label) minus the largest other probability",
        "top5": "five most probable classes, -1 where there are fewer",
        "top5_p": "their probabilities (float16)",
        "in_train": "whether the classifier was trained on the example; null if unknown",
    },
    "scores": {
        "split": "split",
        "example_id": "example",
        "key": "source path or index",
        "label": "label the scores refer to",
        "label_true": "true label where known",
        **{name: score.text for name, score in SCORES.items()},
    },
    "selections": {
        "name": "selection",
        "draw": "seed of the retrainings that this draw of its random part is for; null where all seeds train on the same",
        "example_id": "example of the training split",
        "label": "label it gets",
        "copies": "how often it is used",
        "weight": "its weight in the loss, mean 1",
    },
    "comparisons": {
        "arm_group": "arms that are compared with each other",
        "arm": "retraining arm",
        "arch": "architecture that was retrained",
        "on": "test set: full, or the rule that made a cleaned part of it",
        "metric": "acc1, acc2 (below 50 classes) or acc5: share of test examples whose label is among the 1, 2 or 5 most probable classes",
        "mean": "mean over seeds",
        "low": "lower end of the 95 % t interval",
        "high": "upper end",
        "n_seeds": "seeds",
        "delta": "mean difference to the first arm of the group",
        "delta_low": "lower end of its 95 % t interval",
        "delta_high": "upper end",
        "n_pairs": "seeds that the difference is paired over; 0 = not paired",
        "method": "how the difference was taken, and where the arm had another training budget than the first",
        "note": "what the arm is; oracle and control are marked",
    },
    "similarities": {
        "arm_group": "arms that are compared with each other",
        "arm_a": "first arm",
        "arch_a": "its architecture",
        "seed_a": "its seed",
        "arm_b": "second arm",
        "arch_b": "its architecture",
        "seed_b": "its seed",
        "measure": "zero_one (both right or both wrong), prediction (equal class), kappa (zero_one beyond what the accuracies give)",
        "similarity": "share of the labelled test examples that both answer [0, 1]; kappa up to 1",
    },
    "outcomes": {
        "aspect": "kind of damage of the study's point, such as delete_class; baseline = none",
        "setting": "how much or which: a fraction, a sigma, a class index",
        "other": "second class of the damage (relabel setting -> other), else -1",
        "arch": "architecture",
        "seed": "seed of the training and of the damage's draw",
        "training_id": "the training; points of equal treatment share one",
        "treatment": "the treatment as text",
        "status": "done, empty (no example left: counts as chance), diverged",
        "stop_reason": "why the training ended",
        "epochs": "epochs trained",
        "reached": "whether the training accuracy reached the stop rule",
        "n_train": "rows of the treated training set",
        "label_change_rate": "share of those rows whose label is not the data set's",
        "train_acc1": "training accuracy of the last epoch, on the treated labels",
        "test_acc1": "accuracy on the clean test set, from the answers; 1 / classes where empty",
    },
    "verdicts": {
        "claim": "claim id",
        "statement": "what is claimed",
        "published": "published value",
        "measured": "measured value as text, mean ± sd over seeds",
        "mean": "mean over seeds, fractions for accuracies",
        "sd": "standard deviation over seeds (n - 1)",
        "n": "seeds",
        "scale": "scale it was measured at",
        "verdict": "holds, fails, undecided, not tested, not applicable (results of other data); conditional on test set and starting images",
        "rule": "rule that decides it, fixed before looking",
        "note": "what decided it, or why it was not tested",
    },
}


def schema_text(table: str | None = None) -> str:
    """The schema as text, all tables or one.

    Raises:
        UnknownNameError: for a table that does not exist.
    """
    if table is not None and table not in SCHEMA:
        raise UnknownNameError("table", table, SCHEMA)
    blocks = []
    for name in [table] if table else SCHEMA:
        width = max(len(column) for column in SCHEMA[name])
        blocks.append("\n".join([name, *(f"  {column:<{width}}  {text}" for column, text in SCHEMA[name].items())]))
    return "\n\n".join(blocks)


def frame_of(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.array([row.get(name) for row in rows], dtype=kind) for name, kind in columns.items()})  # type: ignore[call-overload]


# Columns of tables that hold nothing yet: every table can be queried from the start. (DuckDB gives answers' float16 as float32.)
NO_ANSWERS = pa.schema(
    [
        ("split", pa.string()),
        ("classifier_id", pa.string()),
        *(
            (field.name, {"top5": pa.list_(pa.int16()), "top5_p": pa.list_(pa.float32())}.get(field.name, field.type))
            for field in list(ANSWER_SCHEMA)[1:]
        ),
    ]
).empty_table()
