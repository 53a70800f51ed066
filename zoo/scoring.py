"""From the store to the scores table: one streaming pass over the answers, block of examples by block of examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo import keyed, ledger
from zoo.data import open_dataset
from zoo.errors import NotFoundError, StoreError, UnknownNameError, UsageError
from zoo.scores import ScoreAccumulator
from zoo.spec import Preprocessing, content_id
from zoo.store.answers import logits_of, read_answers
from zoo.store.commits import Commit
from zoo.store.query import where as select_where
from zoo.workspace import Workspace

__all__ = [
    "Population",
    "Probabilities",
    "choose_population",
    "dataset_fingerprint",
    "examples_of",
    "list_values",
    "population_of",
    "sample_answers",
    "score",
]

_SCORED = ("prediction", "p_label", "entropy", "margin", "top5", "top5_p", "in_train")


@dataclass(frozen=True)
class Population:
    """Classifiers that are scored together: all on one data set, with one class list."""

    dataset: Commit
    classifiers: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        return self.dataset.key

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.dataset.facts["class_names"])

    @property
    def id(self) -> str:
        return content_id(list(self.classifiers))


def choose_population(workspace: Workspace, condition: str | None = None, *, dataset: str | None = None) -> Population:
    """The classifiers that score examples, or those of them for which an SQL condition over the ``classifiers`` table holds.

    Args:
        dataset: fingerprint; may be left out where the workspace holds one data set.

    Raises:
        NotFoundError: if none is left.
        UsageError: if they belong to several data sets or class lists; the message names them.
    """
    commits = ledger.population(workspace)
    if dataset is not None:
        commits = {key: commit for key, commit in commits.items() if commit.facts["dataset"] == dataset}
    if condition is not None:
        frame = ledger.classifiers_frame(workspace)
        chosen = set(select_where(frame[frame["classifier_id"].isin(list(commits))], condition)["classifier_id"])
        commits = {key: commit for key, commit in commits.items() if key in chosen}
    if not commits:
        raise NotFoundError(
            f"no classifier in {workspace.location}{f' with {condition!r}' if condition else ''}. See them with 'zoo status'."
        )
    found = sorted({commit.facts["dataset"] for commit in commits.values()})
    if len(found) > 1:
        seen = [_described(workspace, f, next(key for key, commit in commits.items() if commit.facts["dataset"] == f)) for f in found]
        raise UsageError(
            f"the classifiers belong to {len(found)} data sets: {'; '.join(seen)}. Scores are per data set: choose one with --data."
        )
    return population_of(workspace, found[0], commits)


def dataset_fingerprint(workspace: Workspace, name: str) -> str:
    """Fingerprint of a data set by the name, URI or fingerprint it is recorded under; else of one that can be opened.

    Raises:
        UsageError: if several are recorded under the name (imported ones of several class lists).
        UnknownNameError: if it is neither recorded nor found.
    """
    records = workspace.commits.all("dataset")
    found = [key for key, record in records.items() if name in (key, record.facts["name"], record.facts["uri"])]
    if len(found) > 1:
        seen = ", ".join(f"{key} ({len(records[key].facts['class_names'])} classes)" for key in found)
        raise UsageError(f"{len(found)} data sets of {workspace.location} are called {name!r}. Choose one by its fingerprint: {seen}.")
    return found[0] if found else open_dataset(name).fingerprint


def _described(workspace: Workspace, fingerprint: str, classifier: str) -> str:
    """A data set by name, fingerprint and class list, and one of its classifiers, for messages."""
    record = workspace.commits.get("dataset", fingerprint)
    if record is None:
        return f"{fingerprint} (not recorded; classifier {classifier})"
    classes = [str(name) for name in record.facts["class_names"]]
    listed = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"{record.facts['name']} ({fingerprint}; {len(classes)} classes: {listed}; classifier {classifier})"


def population_of(workspace: Workspace, fingerprint: str, classifiers: Iterable[str]) -> Population:
    """Exactly these classifiers, on one data set.

    A data set's fingerprint covers its class list in order, so two lists can never share one; the list a classifier recorded is compared all
    the same, because answers of another list would be counted under wrong names.

    Classifiers of one architecture and one input size must have been given their pictures in the same way, and answers must have been made in the
    way the checkpoint says. Of imported classifiers nothing is known, so they are compared with nothing.

    Raises:
        NotFoundError: if the workspace does not know the data set, or there is no classifier.
        UsageError: if a classifier belongs to another data set or class list, or was given its pictures in another way; names both.
        StoreError: if answers were made in another way than their classifier's checkpoint says.
    """
    record, members = workspace.commits.get("dataset", fingerprint), tuple(sorted(classifiers))
    if record is None:
        raise NotFoundError(f"data set {fingerprint} is not recorded in {workspace.location}. Run 'zoo fill' with its --data.")
    if not members:
        raise NotFoundError(f"no finished classifier in {workspace.location} to score with. See 'zoo status'.")
    classes = content_id(list(record.facts["class_names"]))
    wanted = set(members).__contains__
    made = dict(sorted({**workspace.commits.all("checkpoint", wanted), **workspace.commits.all("member", wanted)}.items()))
    for name in made:
        own = str(made[name].facts.get("dataset", fingerprint))
        if own != fingerprint or made[name].identity.get("classes", classes) != classes:
            here = f"{record.facts['name']} ({fingerprint}; {len(record.facts['class_names'])} classes)"
            there = _described(workspace, own, name) if own != fingerprint else f"another class list (classifier {name})"
            raise UsageError(
                f"the classifiers belong to several class lists: {here} and {there}. Scores are per data set: choose with --data."
            )
    _check_preprocessing(made)
    _check_answers(workspace, fingerprint, made)
    return Population(record, members)


def _check_preprocessing(classifiers: Mapping[str, Commit]) -> None:
    """Refuse classifiers of one architecture and input size whose pictures reached them in different ways.

    Architectures and sizes are mixed on purpose. Within one of each, other channels, fit, mean or std are a mistake.
    """
    first: dict[tuple[str, int], str] = {}
    for name, commit in classifiers.items():
        own = commit.facts.get("preprocessing")
        if own is None:
            continue
        arch, size = commit.facts["arch"], own["size"]
        other = first.setdefault((arch, size), name)
        if differs := _differences(classifiers[other].facts["preprocessing"], own):
            raise UsageError(
                f"classifiers {other} and {name}, both {arch} at {size} x {size} pixels, "
                f"were given their pictures in different ways: {differs}. "
                f"A score takes one way per architecture and input size: leave one out, such as --where \"classifier_id <> '{name}'\", "
                f"or train them in one new workspace."
            )


def _check_answers(workspace: Workspace, fingerprint: str, classifiers: Mapping[str, Commit]) -> None:
    """Refuse answers that record another preprocessing than their classifier's checkpoint, which was replaced since.

    Records without it (imported, or of an earlier zoo) are passed over. A unit that is not read for its answers may be for its logits.
    """
    for key, commit in workspace.commits.all("answers").items():
        recorded = commit.facts.get("preprocessing", {}) if commit.identity["dataset"] == fingerprint else {}
        for name in sorted(recorded.keys() & classifiers.keys()):
            if differs := _differences(recorded[name], classifiers[name].facts["preprocessing"]):
                raise StoreError(
                    f"the answers of classifier {name} on {commit.identity['split']} were made in another way "
                    f"than its checkpoint says: {differs}. "
                    f"Both have to be the same: leave it out, such as --where \"classifier_id <> '{name}'\", or move "
                    f"{workspace.files.where(commit.name)} and {workspace.files.where(f'answers/{key}')} elsewhere and run 'zoo fill'."
                )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The fields of two recorded ``Preprocessing`` that differ, with both values; empty if none does."""
    return ", ".join(
        f"{name} {one.get(name)} and {other.get(name)}" for name in Preprocessing.model_fields if one.get(name) != other.get(name)
    )


def examples_of(workspace: Workspace, population: Population, split: str) -> pa.Table:
    """What is on record of a population's examples on a split, E rows.

    Raises:
        UnknownNameError: if the data set has no such split.
    """
    table = pq.read_table(workspace.files.local(population.dataset.files[0].path), filters=[("split", "=", split)])
    if not table.num_rows:
        raise UnknownNameError("split", split, population.dataset.facts["splits"])
    return table


def _labels(workspace: Workspace, examples: pa.Table, column: str) -> NDArray[np.int64]:
    """Labels of a split by column: ``label``, ``label_true``, or the name of a selection (its labels where it has the example)."""
    if column in ("label", "label_true"):
        labels: NDArray[np.int64] = examples.column(column).combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return labels
    manifest = ledger.selection_frame(workspace, column)
    labels = np.full(examples.num_rows, -1, dtype=np.int64)
    labels[manifest["example_id"].to_numpy()] = manifest["label"].to_numpy()
    return labels


def score(workspace: Workspace, population: Population, split: str, label_column: str = "label") -> pa.Table:
    """The ``scores`` table of a population on a split. Memory is one block of examples x classes and the result, never N x E.

    With another label column than the one the answers were made with, p(label) and the margin of an example whose label differs come from the
    answers' five most probable classes (a class outside them counts as probability 0); X, C and the confusions are exact.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    examples = examples_of(workspace, population, split)
    given, labels = _labels(workspace, examples, "label"), _labels(workspace, examples, label_column)
    keys, truth = examples.column("key"), _labels(workspace, examples, "label_true")
    # Into Arrow block by block: the columns of a whole split in numpy, and their concatenation, would stand beside the result.
    tables = []
    for block, answers in read_answers(workspace, population.fingerprint, split, population.classifiers, _SCORED):
        own = labels[block.start : block.stop]
        accumulator = ScoreAccumulator(block.example_ids, own, len(population.class_names))
        for _, batch in answers:
            accumulator.add(*_columns(batch, own, given[block.start : block.stop]))
        rows = slice(block.start, block.stop)
        tables.append(accumulator.finish().to_arrow(split, keys[rows].to_pylist(), population.class_names, truth[rows]))
        del accumulator  # or the next block's sums, examples x classes, would stand beside these
    return pa.concat_tables(tables)


def _columns(batch: pa.RecordBatch, labels: NDArray[np.int64], given: NDArray[np.int64]) -> tuple[NDArray[np.int16], ...]:
    """Arguments of ``ScoreAccumulator.add`` from one classifier's answers on a block; nulls become -1, 0 and false."""

    def values(name: str, empty: float | bool) -> NDArray[np.generic]:
        array = batch.column(name)
        filled: NDArray[np.generic] = (array.fill_null(empty) if array.null_count else array).to_numpy(zero_copy_only=False)
        return filled

    prediction = values("prediction", -1)
    p_label, margin = values("p_label", 0.0), values("margin", 0.0)
    top5, top5_p = (list_values(batch.column(name)) for name in ("top5", "top5_p"))
    if (changed := labels != given).any():
        p_label, margin = _relabelled(p_label, margin, top5, top5_p, labels, changed)
    in_train = None if batch.column("in_train").null_count == len(batch) else values("in_train", False)
    return prediction, p_label, values("entropy", 0.0), margin, top5, top5_p, in_train  # type: ignore[return-value]


def list_values(array: pa.FixedSizeListArray) -> NDArray[np.generic]:
    """[E, 5] of a fixed-size list column. ``values`` keeps the slots of null rows, which ``flatten`` would drop."""
    width = array.type.list_size
    flat = array.values[array.offset * width : (array.offset + len(array)) * width]
    empty: NDArray[np.generic] = (flat.fill_null(0) if flat.null_count else flat).to_numpy(zero_copy_only=False)
    return empty.reshape(-1, width)


def _relabelled(
    p_label: NDArray[np.generic],
    margin: NDArray[np.generic],
    top5: NDArray[np.generic],
    top5_p: NDArray[np.generic],
    labels: NDArray[np.int64],
    changed: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    p, m = p_label.astype(np.float32), margin.astype(np.float32)
    hit = top5[changed] == labels[changed, None]
    ranked = top5_p[changed].astype(np.float32)
    own = (ranked * hit).sum(axis=1)
    p[changed] = own
    m[changed] = own - np.where(hit[:, 0], ranked[:, 1], ranked[:, 0])
    return p, m


@dataclass(frozen=True)
class Probabilities:
    """Class probabilities of a population on a split, from the logits that were kept; see ``detection.Members``."""

    workspace: Workspace
    population: Population
    split: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(classifiers, examples, classes)"""
        facts = self.population.dataset.facts
        return len(self.population.classifiers), int(facts["splits"][self.split]), len(facts["class_names"])

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        for name in self.population.classifiers:
            p = np.exp(logits_of(self.workspace, name, self.split).astype(np.float64))  # centred: the largest is 1
            p /= p.sum(axis=1, keepdims=True)
            yield p

    def held_out(self) -> NDArray[np.bool_]:
        """bool [classifiers, examples]: not trained on it, or not known to be."""
        classifiers, examples, _ = self.shape
        held = np.ones((classifiers, examples), dtype=bool)
        index = {name: position for position, name in enumerate(self.population.classifiers)}
        for block, answers in read_answers(
            self.workspace, self.population.fingerprint, self.split, self.population.classifiers, ("in_train",)
        ):
            for name, batch in answers:
                seen = batch.column("in_train").fill_null(False).to_numpy(zero_copy_only=False)
                held[index[name], block.start : block.stop] = ~seen
        return held


def sample_answers(
    workspace: Workspace, population: Population, split: str, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int16], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """(example ids [e], predictions [N, e], entropies [N, e], labels [e], true labels [e]) of at most ``limit`` keyed examples.

    Rows are in the order of the population's classifiers.
    """
    examples = examples_of(workspace, population, split)
    ids = np.arange(examples.num_rows, dtype=np.int64)
    chosen = keyed.choose("sample_answers", ids, min(limit, len(ids)))
    predictions, entropies = [], []
    for block, batches in read_answers(workspace, population.fingerprint, split, population.classifiers, ("prediction", "entropy")):
        inside = chosen[(chosen >= block.start) & (chosen < block.stop)] - block.start
        # Classifiers of several fills come fill by fill, not in the population's order.
        rows = {
            name: (b.column("prediction").fill_null(-1).to_numpy()[inside], b.column("entropy").fill_null(0.0).to_numpy()[inside])
            for name, b in batches
        }
        predictions.append(np.stack([rows[name][0] for name in population.classifiers]))
        entropies.append(np.stack([rows[name][1] for name in population.classifiers]))
    labels, truth = (_labels(workspace, examples, column)[chosen] for column in ("label", "label_true"))
    return chosen, np.concatenate(predictions, axis=1), np.concatenate(entropies, axis=1), labels, truth
