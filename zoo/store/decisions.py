"""What people have decided about examples: append-only, a record per file that was read in.

Decisions are about examples of one split of one data set; the record holds them whole. Nothing is
ever changed or taken back: a reviewer who decides again has decided later, and the later counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final, Literal, get_args

import numpy as np
import pandas as pd
import pyarrow as pa

from zoo.manifest import Manifest
from zoo.registry import distinct
from zoo.spec import content_id
from zoo.statistics import kappa
from zoo.store.commits import Commit
from zoo.store.datasets import int_column, split_table, titles
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "WORDS",
    "Decision",
    "Settled",
    "Word",
    "commit_decisions",
    "counts",
    "decided",
    "decisions_frame",
    "decisions_of",
    "settle",
]

Word = Literal["keep", "relabel", "drop", "unsure"]
WORDS: Final[tuple[Word, ...]] = get_args(Word)


@dataclass(frozen=True)
class Decision:
    """One reviewer's word on one example.

    Args:
        example_id: within its split.
        decision: keep the label as it is, relabel, drop the example, or unsure.
        label: class index; None but for relabel.
        reviewer: a name; empty where none was given.
        time: ISO 8601 in UTC.
        digest: sha256 of the picture that was looked at; None where none was given.
        note: free text.
    """

    example_id: int
    decision: Word
    label: int | None = None
    reviewer: str = ""
    time: str = ""
    digest: str | None = None
    note: str = ""

    @property
    def outcome(self) -> tuple[Word, int | None]:
        """What two reviewers agree or disagree on."""
        return self.decision, self.label


def commit_decisions(
    workspace: Workspace, dataset: str, split: str, decisions: Sequence[Decision]
) -> Commit:
    """Add decisions about a split of a data set (by fingerprint). The same once more changes
    nothing."""
    body = {
        "dataset": dataset,
        "split": split,
        "decisions": [asdict(decision) for decision in decisions],
    }
    key = content_id(body)
    there = workspace.commits.get("decisions", key)
    return there or workspace.commits.publish(
        "decisions", key, identity={"dataset": dataset, "split": split, "content": key}, facts=body
    )


def decisions_of(workspace: Workspace, dataset: str, split: str) -> list[Decision]:
    """All decisions about a split of a data set, the latest last; at equal times in the order in
    which they were read in."""
    found = [
        Decision(**row)
        for commit in sorted(
            workspace.commits.all("decisions").values(), key=lambda one: (one.created, one.key)
        )
        if (commit.facts["dataset"], commit.facts["split"]) == (dataset, split)
        for row in commit.facts["decisions"]
    ]
    return sorted(found, key=lambda decision: decision.time)


def decisions_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``decisions`` table."""
    named, records = titles(workspace), workspace.commits.all("dataset")
    rows: list[dict[str, Any]] = []
    about = {
        (commit.facts["dataset"], commit.facts["split"])
        for commit in workspace.commits.all("decisions").values()
    }
    for dataset, split in sorted(about):
        keys = split_table(workspace, records[dataset], split).column("key").to_pylist()
        names = distinct(tuple(map(str, records[dataset].facts["class_names"])))
        rows += [
            {
                **asdict(decision),
                "dataset": named[dataset],
                "split": split,
                "key": keys[decision.example_id],
                "label_name": None if decision.label is None else names[decision.label],
            }
            for decision in decisions_of(workspace, dataset, split)
        ]
    return SCHEMA["decisions"].frame(rows)


# ---------------------------------------------------------------- what follows


@dataclass(frozen=True)
class Settled:
    """What reviewers have decided together.

    Args:
        chosen: the decision that counts, by example: the latest of its reviewer, not contradicted.
        unsure: examples that some reviewer looked at and none decided.
        disputed: examples on which reviewers differ. They stay as they are.
        superseded: decisions that their reviewer has replaced by a later one.
        agreement: pairs of reviewers, on how many examples both have decided, and Cohen's kappa
            (NaN: not defined).
    """

    chosen: Mapping[int, Decision]
    unsure: tuple[int, ...]
    disputed: tuple[int, ...]
    superseded: int
    agreement: tuple[tuple[str, str, int, float], ...]


def settle(decisions: Sequence[Decision]) -> Settled:
    """What counts of a list of decisions, latest last.

    Of one reviewer and example the last counts. Reviewers who are unsure leave it to the others;
    where the others differ, nothing is decided.
    """
    latest: dict[int, dict[str, Decision]] = defaultdict(dict)
    for decision in decisions:
        latest[decision.example_id][decision.reviewer] = decision
    chosen, unsure, disputed = {}, [], []
    for example, by in sorted(latest.items()):
        sure = [decision for decision in by.values() if decision.decision != "unsure"]
        if not sure:
            unsure.append(example)
        elif len({decision.outcome for decision in sure}) > 1:
            disputed.append(example)
        else:
            chosen[example] = sure[-1]
    reviewers = sorted({decision.reviewer for decision in decisions})
    agreement = []
    for one, other in combinations(reviewers, 2):
        both = [by for by in latest.values() if one in by and other in by]
        pairs = [(by[one].outcome, by[other].outcome) for by in both]
        if pairs:
            agreement.append((one, other, len(pairs), kappa(*zip(*pairs, strict=True))))
    superseded = len(decisions) - sum(map(len, latest.values()))
    return Settled(chosen, tuple(unsure), tuple(disputed), superseded, tuple(agreement))


def decided(examples: pa.Table, settled: Settled) -> Manifest:
    """The examples of a split with their settled labels, without those to be dropped; all others as
    they are. The reason says what was decided and by whom.

    Args:
        examples: what is on record of the split. Unreadable and unlabelled ones are left out.
    """
    labels = int_column(examples, "label")
    usable = (labels >= 0) & examples.column("error").is_null().to_numpy(zero_copy_only=False)
    reasons = np.full(len(labels), "", dtype=object)
    for example, decision in settled.chosen.items():
        if decision.decision == "drop":
            usable[example] = False
        elif decision.label is not None:
            labels[example] = decision.label
        by = f" by {decision.reviewer}" if decision.reviewer else ""
        reasons[example] = f"{decision.decision}{by}{f': {decision.note}' if decision.note else ''}"
    ids = np.flatnonzero(usable).astype(np.int64)
    return Manifest(
        ids,
        labels[ids],
        np.ones(len(ids), dtype=np.int64),
        np.ones(len(ids), dtype=np.float32),
        reasons[ids].astype(np.str_),
    )


def counts(settled: Settled) -> dict[str, int]:
    """How many examples each word was settled for."""
    found = Counter(decision.decision for decision in settled.chosen.values())
    return {word: found[word] for word in WORDS if word != "unsure"}
