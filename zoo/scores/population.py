"""The population: the classifiers that are scored together, and what must not be scored
together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.scores.accumulate import Snapshot
from zoo.spec import (
    Op,
    Preprocessing,
    content_id,
    is_sample,
    training_and_epoch,
    treatment_text,
)
from zoo.store import ledger
from zoo.store.commits import Commit
from zoo.store.datasets import described
from zoo.store.origin import Origin
from zoo.store.query import where as select_where
from zoo.store.workspace import Workspace

__all__ = ["Population", "choose_population", "population_of"]


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

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        """Classifier -> its place among the snapshots of its training, for trainings of which the
        population has two or more."""
        epochs: dict[str, list[tuple[int, str]]] = {}
        for name in self.classifiers:
            if (found := training_and_epoch(name)) is not None:
                epochs.setdefault(found[0], []).append((found[1], name))
        return {
            name: Snapshot(training, index, len(listed))
            for training, listed in epochs.items()
            if len(listed) > 1
            for index, (_, name) in enumerate(sorted(listed))
        }

    def origin(self, split: str) -> Origin:
        """What is made from its answers on a split comes from there."""
        return Origin(self.fingerprint, split, self.id)


def choose_population(
    workspace: Workspace,
    condition: str | None = None,
    *,
    dataset: str | None = None,
    say: Callable[[str], object] = lambda _line: None,
) -> Population:
    """The classifiers that score examples: those trained on the data as given, or on random parts
    of it; or those for which an SQL condition over the ``classifiers`` table holds, however they
    were trained.

    Args:
        dataset: fingerprint; may be left out where the workspace holds one data set.
        say: is told, in a line, how many were left out for having been trained on damaged or
            changed data. Where all were, none is left out.

    Raises:
        NotFoundError: if none is left.
        UsageError: if they belong to several data sets or class lists; the message names them.
    """
    commits = ledger.population(workspace)
    if dataset is not None:
        commits = {
            key: commit for key, commit in commits.items() if commit.facts["dataset"] == dataset
        }
    if condition is not None:
        frame = ledger.classifiers_frame(workspace)
        chosen = set(
            select_where(frame[frame["classifier_id"].isin(list(commits))], condition)[
                "classifier_id"
            ]
        )
        commits = {key: commit for key, commit in commits.items() if key in chosen}
    else:
        commits = _as_given(workspace, commits, say)
    if not commits:
        raise NotFoundError(
            f"no classifier in {workspace.location}{f' with {condition!r}' if condition else ''}."
            " See them with 'zoo status'."
        )
    found = sorted({commit.facts["dataset"] for commit in commits.values()})
    if len(found) > 1:
        seen = [
            described(
                workspace,
                f,
                next(key for key, commit in commits.items() if commit.facts["dataset"] == f),
            )
            for f in found
        ]
        raise UsageError(
            f"the classifiers belong to {len(found)} data sets: {'; '.join(seen)}. Scores are per"
            " data set: choose one with --data."
        )
    return population_of(workspace, found[0], commits)


def _as_given(
    workspace: Workspace, commits: dict[str, Commit], say: Callable[[str], object]
) -> dict[str, Commit]:
    """Those that were trained on the data as given; all of them where none was."""
    wanted = {
        str(commit.facts["training_id"])
        for commit in commits.values()
        if "training_id" in commit.facts
    }
    treatments = {
        key: tuple(Op(**step) for step in training.identity["spec"]["treatment"])
        for key, training in workspace.commits.each("training", wanted.__contains__)
    }
    treated = {
        key: treatments[commit.facts["training_id"]]
        for key, commit in commits.items()
        if not is_sample(treatments.get(commit.facts.get("training_id", ""), ()))
    }
    if not treated:
        return commits
    example = treatment_text(next(iter(treated.values())))
    if len(treated) == len(commits):
        say(
            f"All {len(commits)} classifiers were trained on damaged or changed data ({example},"
            " ...): there are no others to score with."
        )
        return commits
    say(
        f"{len(treated)} of {len(commits)} classifiers were trained on damaged or changed data"
        f" ({example}, ...) and are left out. --where true takes all."
    )
    return {key: commit for key, commit in commits.items() if key not in treated}


def population_of(workspace: Workspace, fingerprint: str, classifiers: Iterable[str]) -> Population:
    """Exactly these classifiers, on one data set.

    A data set's fingerprint covers its class list in order, so two lists can never share one; the
    list a classifier recorded is compared all the same, because answers of another list would be
    counted under wrong names.

    Classifiers of one architecture and one input size must have been given their pictures in the
    same way, and answers must have been made in the way the checkpoint says. Of imported
    classifiers nothing is known, so they are compared with nothing.

    Raises:
        NotFoundError: if the workspace does not know the data set, or there is no classifier.
        UsageError: if a classifier belongs to another data set or class list, or was given its
            pictures in another way; names both.
        StoreError: if answers were made in another way than their classifier's checkpoint says.
    """
    record, members = workspace.commits.get("dataset", fingerprint), tuple(sorted(classifiers))
    if record is None:
        raise NotFoundError(
            f"data set {fingerprint} is not recorded in {workspace.location}. Run 'zoo fill' with"
            " its --data."
        )
    if not members:
        raise NotFoundError(
            f"no finished classifier in {workspace.location} to score with. See 'zoo status'."
        )
    classes = content_id(list(record.facts["class_names"]))
    wanted = set(members).__contains__
    made = dict(
        sorted(
            {
                **workspace.commits.all("checkpoint", wanted),
                **workspace.commits.all("member", wanted),
            }.items()
        )
    )
    for name in made:
        own = str(made[name].facts.get("dataset", fingerprint))
        if own != fingerprint or made[name].identity.get("classes", classes) != classes:
            here = (
                f"{record.facts['name']} ({fingerprint}; {len(record.facts['class_names'])}"
                " classes)"
            )
            there = (
                described(workspace, own, name)
                if own != fingerprint
                else f"another class list (classifier {name})"
            )
            raise UsageError(
                f"the classifiers belong to several class lists: {here} and {there}. Scores are per"
                " data set: choose with --data."
            )
    _check_preprocessing(made)
    _check_answers(workspace, fingerprint, made)
    return Population(record, members)


def _check_preprocessing(classifiers: Mapping[str, Commit]) -> None:
    """Refuse classifiers of one architecture and input size whose pictures reached them in
    different ways.

    Architectures, sizes and backbones are mixed on purpose. Within one of each, other channels,
    fit, mean or std are a mistake.
    """
    first: dict[tuple[str, int, str | None], str] = {}
    for name, commit in classifiers.items():
        own = commit.facts.get("preprocessing")
        if own is None:
            continue
        arch, size = commit.facts["arch"], own["size"]
        other = first.setdefault((arch, size, own.get("features")), name)
        if differs := _differences(classifiers[other].facts["preprocessing"], own):
            raise UsageError(
                f"classifiers {other} and {name}, both {arch} at {size} x {size} pixels, were given"
                f" their pictures in different ways: {differs}. A score takes one way per"
                ' architecture and input size: leave one out, such as --where "classifier_id <>'
                f" '{name}'\", or train them in one new workspace."
            )


def _check_answers(
    workspace: Workspace, fingerprint: str, classifiers: Mapping[str, Commit]
) -> None:
    """Refuse answers that record another preprocessing than their classifier's checkpoint, which
    was replaced since.

    Records without it (imported, or of an earlier zoo) are passed over. A unit that is not read for
    its answers may be for its logits.
    """
    for key, commit in workspace.commits.all("answers").items():
        recorded = (
            commit.facts.get("preprocessing", {})
            if commit.identity["dataset"] == fingerprint
            else {}
        )
        for name in sorted(recorded.keys() & classifiers.keys()):
            if differs := _differences(recorded[name], classifiers[name].facts["preprocessing"]):
                raise StoreError(
                    f"the answers of classifier {name} on {commit.identity['split']} were made in"
                    f" another way than its checkpoint says: {differs}. Both have to be the same:"
                    f" leave it out, such as --where \"classifier_id <> '{name}'\", or move"
                    f" {workspace.files.where(commit.name)} and"
                    f" {workspace.files.where(f'answers/{key}')} elsewhere and run 'zoo fill'."
                )


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The fields of two recorded ``Preprocessing`` that differ, with both values; empty if none
    does."""
    return ", ".join(
        f"{name} {one.get(name)} and {other.get(name)}"
        for name in Preprocessing.model_fields
        if one.get(name) != other.get(name)
    )
