"""The ledger of a workspace: what was asked for, what is done, what is missing, and the tables that
say so.

A training is done if and only if its commit exists; there is no other state to consult. ``missing``
is all a resumed or extended sweep needs. How a training ended (done, diverged, empty) is said by
``zoo.training.run``, which commits it through here.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import math
import secrets
import socket
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import is_imagenet, real_mask
from zoo.errors import NotFoundError, StoreError
from zoo.machine import source_hash
from zoo.spec import Recipe, Training, canonical_json, classifier_id, content_id
from zoo.store.answers import answer_parts, answered_in, read_answers
from zoo.store.commits import Commit
from zoo.store.datasets import split_table, titles
from zoo.store.files import attempt_id
from zoo.store.heartbeat import at_work_on
from zoo.store.results import population_scores, table_names
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "Role",
    "classifiers_frame",
    "classifiers_of",
    "commit_training",
    "endings",
    "epoch_of_state",
    "failure_details",
    "failures",
    "forget_failures",
    "leave_out",
    "left_out",
    "metrics_frame",
    "missing",
    "other_sources",
    "planned",
    "population",
    "population_size",
    "record_failure",
    "record_plan",
    "record_repeats",
    "record_stop",
    "repeats",
    "saved_epochs",
    "seen_by",
    "status",
    "stops",
    "trained",
    "trainings_frame",
    "trainings_of",
    "uncovered_snapshots",
]


Role = Literal["population", "retraining"]


# ---------------------------------------------------------------- plans and trainings


def record_plan(
    workspace: Workspace, experiment: str, role: Role, trainings: Sequence[Training]
) -> Commit:
    """Record which trainings an experiment or command asked for, and whether they belong to the
    population."""
    specs = [training.as_json() for training in trainings]
    identity = {"experiment": experiment, "role": role, "trainings": content_id(specs)}
    return workspace.commits.publish(
        "plan",
        f"{experiment}-{content_id(identity)}",
        identity=identity,
        facts={**identity, "specs": specs},
    )


def planned(workspace: Workspace) -> dict[str, tuple[Training, set[str], Role]]:
    """Every training any plan asked for: id -> (spec, names of experiments, role). A training asked
    for by a population plan is population."""
    found: dict[str, tuple[Training, set[str], Role]] = {}
    for commit in workspace.commits.all("plan").values():
        role: Role = commit.facts["role"]
        for spec in commit.facts["specs"]:
            training_id, training = _training(canonical_json(spec))
            known = found.get(training_id)
            experiments = {commit.facts["experiment"]} | (known[1] if known else set())
            found[training_id] = (
                training,
                experiments,
                "population" if known and known[2] == "population" else role,
            )
    return found


@functools.lru_cache(maxsize=1 << 16)
def _training(text: str) -> tuple[str, Training]:
    """(id, training) of a planned training's canonical JSON: checked once per process, however many
    plans and calls name it."""
    training = Training(**json.loads(text))
    return training.id, training


def _planned_id(spec: Mapping[str, Any]) -> str:
    """Id of a planned training. One that names every field is hashed as it stands, for a tenth of
    what building it costs."""
    if (
        spec.keys() | {"features"} != Training.model_fields.keys()
        or spec["recipe"].keys() != Recipe.model_fields.keys()
    ):
        return _training(canonical_json(spec))[0]
    fields = ["arch", "recipe", "treatment", "seed", "input_size"]
    fields += [name for name in ("features",) if name in spec]
    return content_id(
        {
            "format": 1,
            "dataset": spec["dataset"]["fingerprint"],
            **{name: spec[name] for name in fields},
        }
    )


def _planned_as(workspace: Workspace, role: Role) -> Iterator[str]:
    """Ids of the trainings that plans of a role asked for, each plan read in its turn; one that two
    plans name comes twice."""
    for _, commit in workspace.commits.each("plan"):
        if commit.facts["role"] == role:
            yield from map(_planned_id, commit.facts["specs"])


def trainings_of(workspace: Workspace, experiment: str) -> list[str]:
    """Ids of the trainings an experiment or command asked for."""
    return [
        training_id
        for training_id, (_, experiments, _) in planned(workspace).items()
        if experiment in experiments
    ]


def uncovered_snapshots(workspace: Workspace, training: Training) -> list[int]:
    """Snapshots of a training that have no committed checkpoint yet (as far as its run reached
    them)."""
    commit = workspace.commits.get("training", training.id)
    wanted = training.snapshots or (training.recipe.epochs,)
    if commit is not None:
        if commit.facts["status"] != "done":
            return []
        reached = int(commit.facts["epochs"])
        wanted = tuple(sorted({min(epoch, reached) for epoch in wanted}))
    return [
        epoch
        for epoch in wanted
        if workspace.commits.get("checkpoint", classifier_id(training.id, epoch)) is None
    ]


def missing(workspace: Workspace, trainings: Iterable[Training]) -> list[Training]:
    """The trainings that still have work to do, each once, in the order given."""
    seen: dict[str, Training] = {}
    for training in trainings:
        if training.id in seen:
            known = seen[training.id]
            both = {*known.snapshots, *training.snapshots}
            # The finer of two curves; 0 = no curve.
            every = math.gcd(known.eval_every, training.eval_every)
            seen[training.id] = known.replace(snapshots=tuple(both), eval_every=every)
        else:
            seen[training.id] = training
    if len(seen) > _ONE_BY_ONE:
        with workspace.commits.listed_once():
            return _missing_by_names(workspace, seen)
    return [
        training
        for training in seen.values()
        if workspace.commits.get("training", training.id) is None
        or uncovered_snapshots(workspace, training)
    ]


_ONE_BY_ONE = 8


def _missing_by_names(workspace: Workspace, trainings: Mapping[str, Training]) -> list[Training]:
    """As above, by two listings. Read is the outcome of a training that lacks a snapshot, since it
    may have ended before it. In a bucket each look at a record is a journey."""
    done, there = workspace.commits.keys("training"), workspace.commits.keys("checkpoint")

    def lacks(key: str, epochs: Iterable[int]) -> bool:
        return any(classifier_id(key, epoch) not in there for epoch in epochs)

    wanted = {key: t.snapshots or (t.recipe.epochs,) for key, t in trainings.items()}
    partly = [key for key in trainings if key in done and lacks(key, wanted[key])]
    outcomes = workspace.commits.some("training", partly)

    def unfinished(key: str) -> bool:
        if key not in outcomes:
            return key not in done
        facts = outcomes[key].facts
        reached = (min(epoch, int(facts["epochs"])) for epoch in wanted[key])
        return facts["status"] == "done" and lacks(key, reached)

    return [training for key, training in trainings.items() if unfinished(key)]


def epoch_of_state(name: str) -> int:
    """Epochs behind a saved state, by its file's name (``zoo.training.checkpoint.save_resume``)."""
    return int(name[1:].partition("-")[0].partition("s")[0])


def saved_epochs(workspace: Workspace, trainings: Iterable[Training]) -> dict[str, int]:
    """Whole epochs of which a training that was stopped keeps the state, by id. One that starts
    over, for a snapshot that was asked for later, is not among them."""
    begun = set() if workspace.past else set(workspace.files.names("resume"))
    found: dict[str, int] = {}
    for training in trainings:
        if training.id not in begun:
            continue
        names = workspace.files.names(f"resume/{training.id}")
        saved = max(map(epoch_of_state, names), default=0)
        if saved and all(epoch > saved for epoch in uncovered_snapshots(workspace, training)):
            found[training.id] = saved
    return found


def endings(workspace: Workspace, ids: Container[str]) -> dict[str, tuple[str, str]]:
    """How trainings ended, of those of these ids that have: id -> (status, reason). Of thousands
    the records are large, and are not kept in memory."""
    return {
        key: (str(commit.facts["status"]), str(commit.facts.get("stop_reason", "")))
        for key, commit in workspace.commits.each("training", ids.__contains__, keep=False)
    }


def commit_training(
    workspace: Workspace, training: Training, facts: Mapping[str, Any], copies: NDArray[np.uint16]
) -> Commit:
    """Publish a training's outcome and which examples it saw (``copies``: uint16 [E], 0 = not
    seen)."""
    table = pa.table({"copies": copies})
    folder = f"trainings/{training.id[:2]}"
    ref = workspace.files.seal(
        folder,
        training.id,
        ".parquet",
        lambda path: pq.write_table(table, path, compression="zstd"),
    )
    return workspace.commits.publish(
        "training", training.id, identity={"spec": training.identity}, facts=facts, files=[ref]
    )


def seen_by(workspace: Workspace, training_id: str) -> NDArray[np.bool_]:
    """Which training examples a training saw, bool [E].

    Raises:
        NotFoundError: if the training is not committed.
    """
    commit = workspace.commits.get("training", training_id)
    if commit is None:
        raise NotFoundError(
            f"training {training_id} has no committed outcome. Finish it with the command that"
            " planned it."
        )
    copies = pq.read_table(workspace.files.local(commit.files[0].path)).column("copies").to_numpy()
    seen: NDArray[np.bool_] = copies > 0
    return seen


def record_failure(workspace: Workspace, training_id: str, reason: str, details: str) -> None:
    """Leave a diagnosis of a training that broke off. It is no commit: the next run tries again."""
    body = {
        "training_id": training_id,
        "reason": reason,
        "details": details,
        "host": socket.gethostname(),
        "attempt": attempt_id(),
        "time": time.time(),
    }
    workspace.files.replace(f"attempts/{training_id}.json", canonical_json(body).encode())


def failure_details(workspace: Workspace, training_id: str) -> str:
    """The traceback of a training's newest failure; empty where none is written down."""
    name = f"attempts/{training_id}.json"
    with contextlib.suppress(StoreError, ValueError, KeyError):
        if workspace.files.exists(name):
            return str(json.loads(workspace.files.read(name))["details"])
    return ""


_STOPPED = ".stopped-"


def record_stop(workspace: Workspace, training_id: str) -> None:
    """Note that a training was asked to stop and has saved where it stands: no failure."""
    name = f"{training_id}{_STOPPED}{attempt_id()}-{secrets.token_hex(4)}"
    workspace.files.replace(f"attempts/{name}", b"")


def stops(workspace: Workspace) -> int:
    """How often trainings of this workspace were stopped and have saved their state, as far as it
    is still noted."""
    return sum(_STOPPED in name for name in workspace.files.names("attempts"))


_REPEATED = ".repeated-"


def record_repeats(workspace: Workspace, training: Training, start: int) -> None:
    """Note how many of a training's committed snapshots lie after the epoch from which it goes on:
    their epochs are trained again, for the same numbers. None, unless a process was killed between
    a snapshot and its state, the state is gone, or other snapshots are asked for."""
    asked = training.snapshots or (training.recipe.epochs,)
    there = [
        epoch
        for epoch in asked
        if epoch > start
        and workspace.commits.get("checkpoint", classifier_id(training.id, epoch)) is not None
    ]
    if there:
        name = f"{training.id}{_REPEATED}{len(there)}-{attempt_id()}-{secrets.token_hex(4)}"
        workspace.files.replace(f"attempts/{name}", b"")


def repeats(workspace: Workspace) -> int:
    """How many epochs of committed snapshots of this workspace were trained again, as far as it is
    still noted."""
    found = [name.partition(_REPEATED)[2] for name in workspace.files.names("attempts")]
    return sum(int(text.partition("-")[0]) for text in found if text)


_SOURCE = "source-"


def other_sources(workspace: Workspace) -> list[str]:
    """Notes that the code of zoo that runs here trains in this workspace; the hashes of other code
    that has done so. (Each record says its own in its versions; this saves reading them all.)"""
    there = {
        name.removeprefix(_SOURCE)
        for name in workspace.files.names("attempts")
        if name.startswith(_SOURCE)
    }
    if source_hash() not in there:
        workspace.files.replace(f"attempts/{_SOURCE}{source_hash()}", b"")
    return sorted(there - {source_hash()})


def forget_failures(workspace: Workspace, trainings: Iterable[Training]) -> None:
    """Remove the diagnosis of trainings that are tried again, so that the next one is of the next
    attempt."""
    there = set(workspace.files.names("attempts"))
    for name in (f"{training.id}.json" for training in trainings):
        if name in there:
            workspace.files.remove(f"attempts/{name}")


def failures(workspace: Workspace) -> dict[str, str]:
    """Reason of the newest failure by training id, for trainings without a committed outcome; with
    its host where that is another one than this."""
    found, done = {}, workspace.commits.keys("training")

    def read(name: str) -> bytes:
        try:
            return workspace.files.read(f"attempts/{name}")
        except StoreError:
            if workspace.files.exists(f"attempts/{name}"):
                raise
            return b""  # its training is tried again since

    # Other things live there too for a while: probes, scratch folders of a run that was killed.
    names = [name for name in workspace.files.names("attempts") if name.endswith(".json")]
    broken = [name for name in names if name.removesuffix(".json") not in done]
    for data in workspace.files.together(read, broken):
        with contextlib.suppress(ValueError, KeyError):
            body = json.loads(data)
            host = body.get("host", socket.gethostname())
            where = "" if host == socket.gethostname() else f" (on {host})"
            found[body["training_id"]] = f"{body['reason']}{where}"
    return found


def trainings_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``trainings`` table: everything planned, with its state."""
    failed, running = (
        ({}, set()) if workspace.past else (failures(workspace), at_work_on(workspace))
    )
    rows = []
    plans = planned(workspace)
    outcomes = workspace.commits.some("training", plans)
    # which is of today
    begun = set() if workspace.past else set(workspace.files.names("resume"))
    for training_id, (training, experiments, role) in sorted(plans.items()):
        commit = outcomes.get(training_id)
        row: dict[str, Any] = {
            "training_id": training_id,
            "experiments": ", ".join(sorted(experiments)),
            "role": role,
            "arch": training.arch,
            "dataset": training.dataset.uri,
            "treatment": training.treatment_text,
            **_fraction(training),
            "seed": training.seed,
            "recipe": canonical_json(training.recipe.as_json()),
            "epochs": training.recipe.epochs,
        }
        if commit is not None:
            row |= {
                name: commit.facts[name]
                for name in (
                    "status",
                    "n_train",
                    "n_unique",
                    "steps",
                    "stop_reason",
                    "train_seconds",
                )
            }
            row["label_change_rate"] = commit.facts.get("label_change_rate")
            row["versions"] = canonical_json(commit.facts["versions"])
        elif training_id in failed:
            row |= {"status": "failed", "stop_reason": failed[training_id]}
        elif training_id in begun:
            row["status"] = "running" if training_id in running else "begun"
        else:
            row["status"] = "planned"
        rows.append(row)
    return SCHEMA["trainings"].frame(rows)


def _fraction(training: Training) -> dict[str, Any]:
    fraction = training.param("subsample", "fraction")
    folds = training.param("fold", "of")
    if fraction is None and folds is not None:
        index, repeat = (int(training.param("fold", name) or 0) for name in ("index", "repeat"))
        return {"fraction": 1 - 1 / int(folds), "replica": repeat * int(folds) + index + 1}
    return {
        "fraction": 1.0 if fraction is None else float(fraction),
        "replica": training.param("subsample", "replica") or 0,
    }


def leave_out(workspace: Workspace, classifier: str, reason: str) -> None:
    """Leave a classifier out for good: it belongs to no population and is not filled again. Its
    checkpoint stays, and so do its answers."""
    workspace.commits.publish(
        "unusable", classifier, identity={"classifier": classifier}, facts={"reason": reason}
    )


def left_out(workspace: Workspace) -> dict[str, str]:
    """Classifiers that are left out for good, with the reason."""
    return {
        key: str(commit.facts["reason"])
        for key, commit in workspace.commits.all("unusable").items()
    }


def population(workspace: Workspace, role: Role = "population") -> dict[str, Commit]:
    """Committed classifiers of a role by id, sorted. Those of a training that diverged or has no
    outcome yet are left out, and those that ``leave_out`` named.

    Imported classifiers (commits of kind ``member``) belong to the population.
    """
    asked = set(_planned_as(workspace, role))
    if role == "retraining":
        asked -= set(_planned_as(workspace, "population"))
    done = {
        key
        for key, outcome in workspace.commits.each("training", asked.__contains__)
        if outcome.facts["status"] == "done"
    }
    unusable = set(workspace.commits.keys("unusable"))
    checkpoints = workspace.commits.each("checkpoint", lambda key: key not in unusable)
    found = {key: commit for key, commit in checkpoints if commit.facts["training_id"] in done}
    if role == "population":
        members = workspace.commits.all("member")
        found |= {key: commit for key, commit in members.items() if key not in unusable}
    return dict(sorted(found.items()))


def trained(workspace: Workspace, dataset: str, but: Container[str] = ()) -> dict[str, Commit]:
    """Committed classifiers with weights for a data set: of finished trainings on it, sorted,
    whatever plan asked for them, so no plan is read; and pretrained ones.

    Args:
        dataset: fingerprint.
        but: classifiers to leave out; their records are not read.
    """
    unusable = set(workspace.commits.keys("unusable"))
    checkpoints = workspace.commits.each(
        "checkpoint", lambda key: key not in but and key not in unusable
    )
    found = {key: commit for key, commit in checkpoints if commit.facts["dataset"] == dataset}
    asked = {str(commit.facts["training_id"]) for commit in found.values()}
    outcomes = workspace.commits.some("training", asked)
    done = {key for key, outcome in outcomes.items() if outcome.facts["status"] == "done"}
    pretrained = workspace.commits.each(
        "member", lambda key: key not in but and key not in unusable
    )
    return {key: c for key, c in found.items() if c.facts["training_id"] in done} | {
        key: c for key, c in pretrained if c.files and c.facts["dataset"] == dataset
    }


def population_size(workspace: Workspace, at_most: int, done: Container[str] = ()) -> int:
    """How many classifiers ``population`` has, or ``at_most`` if it has more: then no more records
    are read than it takes to know.

    Args:
        done: classifiers that have answers. Their training ended well, or they would have none, so
            its outcome is not read again.
    """
    found = len(workspace.commits.keys("member"))
    snapshots: dict[str, list[str]] = {}
    unusable = set(workspace.commits.keys("unusable"))
    for key in (key for key in workspace.commits.keys("checkpoint") if key not in unusable):
        snapshots.setdefault(key.rpartition("-e")[0], []).append(key)
    asked = _planned_as(workspace, "population")
    while found < at_most and snapshots:
        unsure: dict[str, int] = {}  # training -> its snapshots, where its outcome has to be read
        for training_id in asked:
            names = snapshots.pop(training_id, [])
            if any(name in done for name in names):
                found += len(names)
            elif names:
                unsure[training_id] = len(names)
            if not snapshots or found + sum(unsure.values()) >= at_most:
                break
        else:
            snapshots = {}  # the others are of no population
        for key, outcome in workspace.commits.some("training", unsure).items():
            found += unsure[key] if outcome.facts["status"] == "done" else 0
    return min(found, at_most)


def classifiers_of(workspace: Workspace, trainings: Iterable[Training]) -> dict[str, Commit]:
    """Committed classifiers at the snapshots of these trainings, by id, sorted; of a training that
    stopped early, its last epoch."""
    trainings = list(trainings)
    outcomes = workspace.commits.some("training", {training.id for training in trainings})
    keys = {
        classifier_id(training.id, min(epoch, int(outcome.facts["epochs"])))
        for training in trainings
        if (outcome := outcomes.get(training.id)) and outcome.facts["status"] == "done"
        for epoch in training.snapshots or (training.recipe.epochs,)
    }
    found = workspace.commits.some("checkpoint", keys - workspace.commits.keys("unusable").keys())
    return dict(sorted(found.items()))


def classifiers_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``classifiers`` table: every committed checkpoint of a finished training, every imported
    classifier."""
    plans = planned(workspace)
    rows = []
    accuracy, real = _accuracies(workspace), _real_accuracies(workspace)
    roles: tuple[Role, ...] = ("population", "retraining")
    for role in roles:
        for key, commit in population(workspace, role).items():
            if commit.kind == "member":
                rows.append(
                    _pretrained_row(key, commit, accuracy.get((key, "test")))
                    if commit.files
                    else _member_row(key, commit)
                )
                continue
            training = plans[commit.facts["training_id"]][0]
            rows.append(
                {
                    "classifier_id": key,
                    "role": role,
                    "arch": training.arch,
                    "treatment": training.treatment_text,
                    **_fraction(training),
                    "seed": training.seed,
                    **{
                        name: commit.facts[name]
                        for name in ("training_id", "epoch", "train_acc1", "test_acc1", "test_acc5")
                    },
                }
            )
    rows = [{**row, "test_real": real.get(str(row["classifier_id"]))} for row in rows]
    return SCHEMA["classifiers"].frame(sorted(rows, key=lambda row: str(row["classifier_id"])))


def _member_row(key: str, commit: Commit) -> dict[str, Any]:
    """An imported classifier: its name as architecture, the share of the training set it saw where
    that is known."""
    train, test = (commit.facts["splits"].get(split, {}) for split in ("train", "test"))
    return {
        "classifier_id": key,
        "role": "population",
        "arch": commit.facts["name"],
        "treatment": "imported",
        "fraction": train.get("fraction"),
        "replica": 0,
        "seed": 0,
        "epoch": 0,
        "train_acc1": train.get("acc1"),
        "test_acc1": test.get("acc1"),
        "test_acc5": test.get("acc5"),
    }


def _pretrained_row(key: str, commit: Commit, acc1: float | None) -> dict[str, Any]:
    """A classifier with pretrained weights: nothing of it was trained here."""
    return {
        "classifier_id": key,
        "role": "population",
        "arch": commit.facts["name"],
        "treatment": f"pretrained on {commit.facts['provenance']['pretrained_on'] or 'unknown'}",
        "replica": 0,
        "seed": 0,
        "epoch": 0,
        "test_acc1": acc1,
    }


def _accuracies(workspace: Workspace) -> dict[tuple[str, str], float]:
    """(classifier, split) -> accuracy by its answers, of pretrained ones, of which no training says
    it."""
    members = {key for key, commit in workspace.commits.all("member").items() if commit.files}
    if not members:
        return {}
    return {
        (name, str(commit.identity["split"])): commit.facts["hits"][name] / commit.facts["labelled"]
        for commit, mine in answer_parts(workspace)
        for name in members.intersection(mine)
        if commit.facts["labelled"]
    }


def _real_accuracies(workspace: Workspace) -> dict[str, float]:
    """Share of ImageNet's validation pictures of which a classifier names one of the ReaL labels,
    by classifier, of those that have answered them."""
    found: dict[str, float] = {}
    for fingerprint, record in workspace.commits.all("dataset").items():
        names = tuple(map(str, record.facts["class_names"]))
        if not is_imagenet(names) or "test" not in record.facts["splits"]:
            continue
        mine = tuple(
            sorted(n for _, ns in answer_parts(workspace, fingerprint, "test") for n in ns)
        )
        keys = split_table(workspace, record, "test").column("key").to_pylist()
        real = real_mask(names, keys)
        if real is None or not mine:
            continue
        hits, counted = dict.fromkeys(mine, 0), dict.fromkeys(mine, 0)
        for block, rows in read_answers(workspace, fingerprint, "test", mine, ["prediction"]):
            known = real[block.start : block.stop]
            for name, batch in rows:
                p = batch.column("prediction").fill_null(-1).to_numpy().astype(np.int64)
                there = (p >= 0) & known.any(axis=1)
                hits[name] += int((known[np.arange(len(p)), np.maximum(p, 0)] & there).sum())
                counted[name] += int(there.sum())
        found |= {name: hits[name] / counted[name] for name in mine if counted[name]}
    return found


def metrics_frame(workspace: Workspace) -> pd.DataFrame:
    """The ``metrics`` table: accuracy and loss per training, epoch and split."""
    rows = [
        {"training_id": key, **metric}
        for key, commit in workspace.commits.all("training").items()
        for metric in commit.facts["metrics"]
    ]
    return SCHEMA["metrics"].frame(rows)


def _not_held_out(workspace: Workspace) -> dict[str, str]:
    """Of the scored splits on which it is known who was trained on what: ``163 of 520``, the
    examples that no classifier held out."""
    found = {}
    for table, origin in population_scores(workspace):
        held = table.column("n_heldout") if "n_heldout" in table.column_names else None
        if held is not None and held.null_count < len(held) and origin.split == "train":
            name = titles(workspace).get(origin.dataset, origin.dataset)
            answered = table.filter(pc.greater(table.column("n"), 0)).column("n_heldout")
            without = pc.sum(pc.equal(answered, 0)).as_py() or 0
            found[name] = f"{without:,} of {len(answered):,}"
    return found


def _classifiers_by_role(workspace: Workspace, trainings: pd.DataFrame) -> dict[str, int]:
    """How many classifiers ``population`` has of each role, by the names of records alone.

    Args:
        trainings: the ``trainings`` table.
    """
    done = trainings[trainings["status"] == "done"]
    roles = dict(zip(done["training_id"], done["role"], strict=True))
    unusable = workspace.commits.keys("unusable")
    found = collections.Counter(
        str(roles[training_id])
        for key in workspace.commits.keys("checkpoint")
        if key not in unusable and (training_id := key.rpartition("-e")[0]) in roles
    )
    found["population"] += sum(key not in unusable for key in workspace.commits.keys("member"))
    return {role: count for role, count in sorted(found.items()) if count}


def status(workspace: Workspace) -> dict[str, Any]:
    """Counts of everything in a workspace, and the failures with their reasons."""
    with workspace.commits.listed_once():
        return _status(workspace)


def _status(workspace: Workspace) -> dict[str, Any]:
    trainings = trainings_frame(workspace)
    answers, half = Counter[str](), Counter[str]()
    for (_, split, precision), names in answered_in(workspace).items():
        if names:
            answers[split] += len(names)
            half[split] += len(names) * (precision == "bf16")
    datasets = workspace.commits.all("dataset")
    broken = trainings[trainings["status"].isin(["failed", "diverged"])]
    return {
        "workspace": workspace.location,
        "datasets": {
            name: datasets[key].facts["splits"] for key, name in titles(workspace).items()
        },
        "trainings": {
            str(k): int(v) for k, v in trainings["status"].value_counts().sort_index().items()
        },
        "classifiers": _classifiers_by_role(workspace, trainings),
        "pretrained": {
            commit.facts["name"]: commit.facts["provenance"]
            for commit in workspace.commits.all("member").values()
            if commit.files
        },
        "stopped": stops(workspace),
        "repeated": repeats(workspace),
        "left_out": left_out(workspace),
        "answered": dict(sorted(answers.items())),
        "in_bf16": {split: count for split, count in sorted(half.items()) if count},
        "not_held_out": _not_held_out(workspace),
        "selections": list(workspace.commits.all("selection")),
        "tables": table_names(workspace),
        "failures": (
            broken[["training_id", "arch", "treatment", "seed", "status", "stop_reason"]].to_dict(
                orient="records"
            )
        ),
    }
