"""The straight line of a study: train -> fill -> score -> select -> retrain -> compare -> conclude
-> report. Knows no torch and no ray.

Every stage asks the store what is missing and does only that, so a stage, and the whole, can be run
any number of times. Where trainings and fills run is behind ``Runner``; ``zoo.local`` and
``zoo.cluster`` each have one, and both run the same bodies.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from zoo.data import Dataset, open_dataset, open_or_published, require_split, require_trainable
from zoo.errors import FailedTrainingsError, NotFoundError, UnknownNameError, UsageError
from zoo.estimate import (
    Estimate,
    accelerator_of,
    estimate,
    images_left,
    total,
    training_seconds,
    wholes_of,
)
from zoo.fill.features import FeaturePlan
from zoo.fill.plan import FillPlan, KeepLogits, plan_fill
from zoo.manifest import Manifest
from zoo.progress import Progress, counted
from zoo.recipes import RECIPES
from zoo.scores.catalog import SINGLE, TOGETHER
from zoo.scores.from_store import score
from zoo.scores.issues import scored
from zoo.scores.measured import NOT_MEASURED, Measured, measure
from zoo.scores.population import Population, population_of
from zoo.scores.together import with_single, with_together
from zoo.spec import ArmGroup, Experiment, Precision, SelectionRule, Sweep, Training, content_id
from zoo.store import datasets, ledger, selections
from zoo.store.answers import list_values, read_answers
from zoo.store.commits import Commit
from zoo.store.heartbeat import heartbeat
from zoo.store.ledger import Role
from zoo.store.origin import Origin
from zoo.store.results import recorded_experiment, recorded_run, write_scores
from zoo.store.workspace import Workspace
from zoo.studies.arms import (
    Comparison,
    arm_trainings,
    compare_trainings,
    joined,
    retrainings_to_plan,
)
from zoo.studies.findings import NOTHING_CONCLUDED, Conclusion, conclude
from zoo.studies.results import Part, Probe
from zoo.trainsets import derived, rules
from zoo.trainsets.inputs import MemoryPictures, geometry, open_pictures
from zoo.trainsets.on_rows import small_classes
from zoo.trainsets.prepare import usable_rows
from zoo.trainsets.treatments import apply_rows, resolved

if TYPE_CHECKING:
    from zoo.fill.extract import Opened
    from zoo.training.rule import Whole

__all__ = [
    "STAGES",
    "Features",
    "Grid",
    "Run",
    "Runner",
    "check_experiment",
    "fill",
    "make_features",
    "on_backbones",
    "on_features",
    "planned",
    "prepare_dataset",
    "refuse_diverged",
    "run",
    "score_splits",
    "select",
    "train",
]


class Runner(Protocol):
    """Where the work runs. The bodies are ``zoo.training.run.run_training`` and
    ``zoo.fill.predict.ShardWorker`` everywhere."""

    @property
    def starting(self) -> str | None:
        """What ``start`` has to do, in words for a display; None if nothing."""
        ...

    @property
    def device_name(self) -> str:
        """What a training runs on, by the name that torch gives it; empty for a CPU."""
        ...

    def start(self) -> None:
        """Get ready to work."""
        ...

    def train(
        self,
        workspace: Workspace,
        trainings: Sequence[Training],
        costs: Mapping[str, float],
        on_epoch: Callable[[str, int], None],
        wholes: Mapping[str, Whole] | None = None,
    ) -> None:
        """Run trainings; call ``on_epoch(training_id, epochs)`` as they go: epochs that are behind
        it, all of its recipe's once it has ended. Returns when each is committed or has failed.

        Args:
            wholes: the sweep as it was declared, which says who trains
                (``zoo.training.rule.wholes``); of a kind that is missing, what is given is all.
        """
        ...

    def fill(self, workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None]) -> None:
        """Compute a plan's tasks and hand it the receipts; call ``on_task(cells)`` for each."""
        ...

    def extract(
        self, workspace: Workspace, plan: FeaturePlan, on_task: Callable[[int], None]
    ) -> None:
        """The same for features; ``on_task(pictures)``."""
        ...

    def close(self) -> None:
        """Release workers."""
        ...


def prepare_dataset(
    workspace: Workspace,
    uri: str,
    inputs: Iterable[tuple[str, int | None] | tuple[str, int | None, str]],
    progress: Progress,
) -> Dataset:
    """Open a data set, check it against the models, decode what is held in memory, record its
    examples.

    Args:
        uri: a name, path or recorded fingerprint.
        inputs: architectures with the input size asked for (None = by the rule of
            ``zoo.trainsets.inputs``) and the recipe's augmentation.

    Unreadable pictures are counted and named here, before anything is trained on the rest.
    """
    dataset = datasets.dataset_of(workspace, uri)
    require_trainable(dataset)
    shapes = {geometry(dataset, *asked) for asked in inputs}
    unreadable: dict[str, dict[int, str]] = {}
    for shape in sorted(shapes, key=lambda shape: shape.size):
        for split in dataset.splits:
            pictures = open_pictures(dataset, split, shape, workspace.cache)
            if isinstance(pictures, MemoryPictures):
                unreadable.setdefault(split, {}).update(pictures.decoded.errors)
    if changed := datasets.changed_since(workspace, dataset):
        progress.say(changed)
    datasets.commit_dataset(workspace, dataset, unreadable)
    for split, reasons in unreadable.items():
        if reasons:
            first, total = min(reasons), len(dataset.splits[split])
            progress.say(
                f"{dataset.name} {split}: {len(reasons)} of {total} pictures cannot be read and are"
                " left out; "
                f"first {dataset.splits[split].keys[first]}: {reasons[first]}. "
                f'All of them: zoo query "select * from examples where error is not null"'
            )
    return dataset


CONFUSED_BY: Final = Sweep(archs=("lenet5",), recipe=RECIPES["onecycle"].replace(epochs=8))
"""What decides the wrong labels of ``label_noise:to=confusion``: the network of ``Confusion``."""

_CONFUSED_AT: Final = 32
"""Side at which it is shown pictures that differ in size."""


def _confusing(dataset: Dataset, seed: int) -> Sweep:
    """``CONFUSED_BY`` on a data set."""
    size = None if dataset.native_size else _CONFUSED_AT
    return CONFUSED_BY.replace(seeds=(seed,), input_size=size)


def with_confusion(
    workspace: Workspace, uri: str, runner: Callable[[], Runner], progress: Progress
) -> str:
    """The data set with every step ``label_noise:to=confusion`` carried out: a small network is
    trained on what stands before the step, asked for its answers, and the labels that follow
    (``zoo.trainsets.derived.confused``) are kept in the workspace as the selection
    ``confusion-...`` and read from there.

    Done once: the same data set in the same workspace finds its labels.
    """
    while (found := derived.confusion_of(uri)) is not None:
        sweep = _confusing(datasets.dataset_of(workspace, found.base), found.seed)
        dataset = prepare_dataset(workspace, found.base, sweep.inputs, progress)
        trainings = sweep.expand(dataset.ref)
        refuse_diverged(
            train(
                workspace,
                dataset,
                "confusion",
                "retraining",
                trainings,
                runner,
                progress,
                stage="network that confuses",
            )
        )
        members = ledger.classifiers_of(workspace, trainings)
        fill(workspace, dataset, members, ("train",), "none", runner, progress, stage="its answers")
        (network,) = members
        margins, top = _margins(workspace, dataset.fingerprint, network)
        labels = derived.confused(dataset.splits["train"].labels, margins, top, found.fraction)
        ones = np.ones(len(labels), dtype=np.int64)
        manifest = Manifest(np.arange(len(labels)), labels, ones, ones.astype(np.float32))
        with heartbeat(workspace):
            selections.commit_selection(
                workspace,
                _confusion_name(found, dataset, network),
                manifest,
                Origin(dataset.fingerprint, "train", content_id([network])),
                [f"label_noise:fraction={found.fraction:g},seed={found.seed},to=confusion"],
                replace=True,
            )
        uri = found.with_labels(_place_of(workspace, manifest.digest))
    return uri


def _confusion_name(found: derived.Confusion, dataset: Dataset, network: str) -> str:
    return f"confusion-{found.fraction:g}-{dataset.fingerprint}-{network[:8]}"


def _place_of(workspace: Workspace, manifest: str) -> str:
    kept = workspace.commits.generations("manifest", manifest)[-1]
    return workspace.files.where(kept.files[0].path)


def _confused_there(workspace: Workspace, uri: str) -> str | None:
    """What ``with_confusion`` gives where everything is there already; else None. Makes nothing."""
    while (found := derived.confusion_of(uri)) is not None:
        dataset, stand_in = open_or_published(found.base)
        trainings = _confusing(dataset, found.seed).expand(dataset.ref)
        members = [] if stand_in else list(ledger.classifiers_of(workspace, trainings))
        kept = [
            workspace.commits.get("selection", _confusion_name(found, dataset, network))
            for network in members
        ]
        if not kept or kept[0] is None:
            return None
        uri = found.with_labels(_place_of(workspace, kept[0].identity["manifest"]))
    return uri


def _margins(
    workspace: Workspace, dataset: str, classifier: str
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A classifier's margins (NaN without an answer) and top five on the training split, [E] and
    [E, 5]."""
    blocks = [
        (
            batch.column("margin").cast(pa.float64()).to_numpy(zero_copy_only=False),
            list_values(batch.column("top5")).astype(np.int64),
        )
        for _, answers in read_answers(
            workspace, dataset, "train", [classifier], columns=("margin", "top5")
        )
        for _, batch in answers
    ]
    return np.concatenate([m for m, _ in blocks]), np.concatenate([top for _, top in blocks])


def train(
    workspace: Workspace,
    dataset: Dataset,
    experiment: str,
    role: Role,
    trainings: Sequence[Training],
    runner: Callable[[], Runner],
    progress: Progress,
    *,
    stage: str = "training",
) -> list[str]:
    """Train what is missing of a sweep.

    Args:
        runner: makes (or returns) the runner; not called when nothing is missing.

    Returns:
        A line for each training that diverged: an outcome, left out of the population.

    Raises:
        DataError: if nothing can be trained on the data set (``zoo.data.notes``).
        FailedTrainingsError: if some trainings broke off; the others are done and committed.
    """
    require_trainable(dataset)
    _check_treatments(workspace, dataset, trainings, progress)
    ledger.record_plan(workspace, experiment, role, trainings)
    todo = ledger.missing(workspace, trainings)
    if todo:
        workspace.check_writable()
        shown = [split for split in ("train", "test") if split in dataset.splits]
        backbones = {training.features for training in todo if training.features is not None}
        if backbones:
            with heartbeat(workspace):
                make_features(workspace, dataset, backbones, shown, runner, progress)
        epochs: dict[str, int] = {}
        saved = ledger.saved_epochs(workspace, todo)
        images = sum(images_left(t, dataset, saved) for t in todo)
        if others := ledger.other_sources(workspace):
            progress.say(
                f"this workspace holds trainings of other code of zoo too ({', '.join(others)});"
                " their numbers may differ in more than what was asked for. Which is which:"
                ' zoo query "select training_id, versions from trainings"'
            )
        # A failure of an earlier run is history once the training is tried again.
        ledger.forget_failures(workspace, todo)
        with heartbeat(workspace, [t.id for t in todo]), _started(runner, progress) as work:
            device = accelerator_of(work.device_name)
            costs = {t.id: max(1e-3, training_seconds(t, dataset, device)) for t in todo}
            per_epoch = {t.id: costs[t.id] / t.recipe.epochs for t in todo}
            left = sum(per_epoch[t.id] * (t.recipe.epochs - saved.get(t.id, 0)) for t in todo)
            with progress.stage(stage, left) as bar:
                bar.note("waiting for the first worker")

                def on_epoch(training_id: str, epoch: int) -> None:
                    before = epochs.get(training_id, saved.get(training_id, 0))
                    epochs[training_id] = max(before, epoch)
                    bar.advance(
                        per_epoch[training_id] * (epochs[training_id] - before),
                        f"{len(epochs)} of {len(todo)} trainings begun",
                    )

                # Of all that was asked for, each once: what is left decides nothing.
                declared = {training.id: training for training in trainings}.values()
                work.train(workspace, todo, costs, on_epoch, wholes_of(declared, dataset))
                bar.text = f"{counted(len(todo), 'training')}, {images:,} image passes"
    ended = ledger.endings(workspace, {training.id for training in trainings})
    _say_empty(dataset, trainings, ended, progress)
    return _diverged(workspace, trainings, ended)


def make_features(
    workspace: Workspace,
    dataset: Dataset,
    backbones: Iterable[str],
    splits: Iterable[str],
    runner: Callable[[], Runner],
    progress: Progress,
) -> None:
    """Ask backbones of the workspace (their keys) for the features of these splits, where they are
    not there yet."""
    keys = sorted(set(backbones))
    plan = FeaturePlan(workspace, dataset, keys, splits)
    if not plan.tasks:
        return
    workspace.check_writable()
    pictures = plan.cells
    with _started(runner, progress) as work, progress.stage("features", pictures) as bar:
        bar.note("waiting for the first worker")
        work.extract(workspace, plan, bar.advance)
        bar.text = f"{counted(pictures, 'picture')} through {' and '.join(keys)}"


@contextlib.contextmanager
def _started(runner: Callable[[], Runner], progress: Progress) -> Iterator[Runner]:
    """The runner, ready; what it takes to start it is shown as a stage of its own."""
    work = runner()
    if work.starting is not None:
        with progress.stage(work.starting, None):
            work.start()
    yield work


def _check_treatments(
    workspace: Workspace, dataset: Dataset, trainings: Sequence[Training], progress: Progress
) -> None:
    """Apply every treatment's row part once, before anything is trained: a class that does not
    exist, or a selection of other data, is found now."""
    rows = usable_rows(dataset, {})
    folds = {int(training.param("fold", "of") or 0) for training in trainings} - {0}
    if folds and (small := small_classes(rows, max(folds), dataset.class_names)):
        progress.say(small)
    for treatment in {
        training.treatment_text: training.treatment for training in trainings
    }.values():
        apply_rows(
            treatment,
            rows,
            manifests=partial(selections.manifest_of, workspace, dataset=dataset.fingerprint),
        )
        for step in treatment:
            if step.name == "manifest":
                unknown = selections.check_manifest(
                    workspace, str(step.params["id"]), dataset.fingerprint, "train"
                )
                if unknown:
                    progress.say(unknown)


def _say_empty(
    dataset: Dataset,
    trainings: Sequence[Training],
    ended: Mapping[str, tuple[str, str]],
    progress: Progress,
) -> None:
    """A line about the trainings whose treatment leaves no example: an outcome, no failure."""
    empty = [
        training
        for training in trainings
        if training.id in ended and ended[training.id][0] == "empty"
    ]
    if empty:
        progress.say(
            f"{len(empty)} of {len(trainings)} trainings are empty: their treatment"
            f" ({empty[0].treatment_text}{', ...' if len(empty) > 1 else ''}) leaves no example."
            " They have no classifier to fill or score; their accuracy counts as chance, 1 in"
            f" {len(dataset.class_names)}."
        )


def _diverged(
    workspace: Workspace, trainings: Sequence[Training], ended: Mapping[str, tuple[str, str]]
) -> list[str]:
    failed = ledger.failures(workspace)
    diverged, broken = [], []
    for training in trainings:
        status, reason = ended.get(training.id, ("", ""))
        name = f"{training.id} ({training.arch}, {training.treatment_text}, seed {training.seed})"
        if not status:
            broken.append(
                f"{name}:"
                f" {failed.get(training.id, 'broke off without a word; its worker may have been killed')}"  # noqa: E501
            )
        elif status == "diverged":
            diverged.append(f"{name}: {reason}")
    if broken:
        raise FailedTrainingsError(
            f"{len(broken)} of {len(trainings)} trainings have no result:\n  {_listed(broken)}\n"
            "The others are done. Run the same command to try these again."
        )
    return diverged


def refuse_diverged(diverged: Sequence[str]) -> None:
    """Raise if some trainings diverged: the end of a command that has done everything else.

    Raises:
        FailedTrainingsError: naming each with its step.
    """
    if diverged:
        raise FailedTrainingsError(
            f"{len(diverged)} trainings diverged and are left out:\n "
            f" {_listed(diverged)}\nEverything else is done. A diverged training stays diverged:"
            " change its recipe, such as a lower lr."
        )


def _listed(lines: Sequence[str]) -> str:
    return "\n  ".join(lines[:10]) + (
        f"\n  and {len(lines) - 10} more: zoo status" if len(lines) > 10 else ""
    )


def fill(
    workspace: Workspace,
    dataset: Dataset,
    classifiers: Mapping[str, Commit] | None,
    splits: Sequence[str],
    keep_logits: KeepLogits | None,
    runner: Callable[[], Runner],
    progress: Progress,
    *,
    stage: str = "fill",
    guests: bool = False,
    program: str | None = None,
    precision: Precision = "fp32",
) -> None:
    """Stream splits through those of some committed classifiers (None = all) that have no answers
    on them yet; see ``zoo.fill.plan.plan_fill``.

    Raises:
        NotFoundError: if there is no classifier at all.
        UsageError: if the program that is asked for is none.
    """
    # Alive before the plan is made: it finds parts of an earlier try, and from then on they are
    #     needed.
    with heartbeat(workspace):
        while True:
            plan = plan_fill(
                workspace,
                dataset,
                classifiers,
                splits,
                keep_logits,
                guests=guests,
                program=program,
                precision=precision,
            )
            if plan.tasks:
                workspace.check_writable()
                shown = [(task.geometry.features, task.unit.split) for task in plan.tasks]
                backbones = {key for key, _ in shown if key is not None}
                there = {split for key, split in shown if key is not None}
                make_features(workspace, dataset, backbones, sorted(there), runner, progress)
                cells = plan.cells
                with _started(runner, progress) as work, progress.stage(stage, cells) as bar:
                    bar.note("waiting for the first worker")
                    work.fill(workspace, plan, bar.advance)
                    count = len(
                        {c for u in plan.units for c in u.classifiers} - plan.refused.keys()
                    )
                    bar.text = (
                        f"{cells:,} answers of {counted(count, 'classifier')} on"
                        f" {' and '.join(splits)}{_by_lanes(plan, count)}"
                    )
            if not plan.refused:
                return
            # One that cannot answer holds up nobody: it is written down, and the rest of its unit
            #     is planned without it.
            for name, reason in plan.refused.items():
                ledger.leave_out(workspace, name, reason)
                progress.say(
                    f"classifier {name} is left out for good: {reason}. It is named by 'zoo"
                    " status'."
                )
            if classifiers is not None:
                classifiers = {
                    name: commit for name, commit in classifiers.items() if name not in plan.refused
                }


def _by_lanes(plan: FillPlan, classifiers: int) -> str:
    """How many answered many at once, where they might have, and whether some did in bf16."""
    if any(unit.precision == "bf16" for unit in plan.units):
        return ", networks in bf16"
    asked = {name for task in plan.tasks for group in task.lanes for name in group}
    if not asked:
        return ""
    there = len(plan.in_lanes)
    return f", {'all' if there == classifiers else there or 'none'} of them in lanes"


# ---------------------------------------------------------------- scores and selections


def score_splits(
    workspace: Workspace, population: Population, splits: Sequence[str], progress: Progress
) -> dict[str, pd.DataFrame]:
    """Score a population on splits and write them to ``results/``
    (``zoo.store.results.write_scores``)."""
    tables = {}
    with progress.stage("scoring", len(splits)) as bar:
        for split in splits:
            table = scored(workspace, population, split)
            write_scores(workspace, table, population.origin(split), len(population.classifiers))
            tables[split] = table.to_pandas()
            bar.advance(
                1,
                f"{split}: {table.num_rows:,} examples by {len(population.classifiers)}"
                " classifiers",
            )
    return tables


def select(
    workspace: Workspace,
    rule: SelectionRule,
    scores: pd.DataFrame,
    origin: Origin,
    class_names: Sequence[str],
    *,
    population: Population | None = None,
    single: Population | None = None,
    seeds: Iterable[int] = (),
    replace: bool = False,
) -> dict[str, Any]:
    """Apply a chain of rules to scores, store the manifest under its name, and say what it holds.

    Args:
        origin: what the scores were made from.
        class_names: of the data set.
        population: who scored; needed where a rule ranks by one of
            ``zoo.scores.catalog.TOGETHER``.
        single: snapshots of the one training that ``zoo.scores.catalog.SINGLE`` is of.
        seeds: of the retrainings that will use it. Where the chain has a random part, each gets a
            draw of its own; a rule that refers to another selection takes that one's draw of the
            same seed.

    Returns:
        ``zoo.trainsets.rules.manifest_summary``; ``steps``: what each rule did, see ``build``
        there; ``draws``: how many.
    """
    chain = [(step.name, step.params) for step in rule.rules]
    ranked_by = {str(step.params.get("by")) for step in rule.rules}
    if ranked_by & set(SINGLE):
        scores = with_single(workspace, single, origin.split, scores)
    asked = ranked_by & set(TOGETHER)
    if asked and population is not None:
        if population.origin(origin.split).population != origin.population:
            raise UsageError(
                f"selection {rule.name!r}: the scores are of other classifiers than there are now."
                " Allowed: scores of all of them. Score again with 'zoo score'."
            )
        scores = with_together(workspace, population, origin.split, scores, sorted(asked))

    steps: list[dict[str, Any]] = []

    def drawn(seed: int | None) -> Manifest:
        resolve = partial(
            selections.selection_of,
            workspace,
            seed=seed,
            dataset=origin.dataset,
            split=origin.split,
        )
        return rules.build(
            rules.redrawn(chain, seed or 0),
            scores,
            num_classes=len(class_names),
            resolve=resolve,
            class_names=class_names,
            steps=steps if seed is None else None,
        )

    manifest = drawn(None)
    draws = {
        seed: drawn(seed) for seed in (seeds if rules.is_random(name for name, _ in chain) else ())
    }
    made_by = [step.text for step in rule.rules]
    with heartbeat(workspace):
        selections.commit_selection(
            workspace, rule.name, manifest, origin, made_by, draws=draws, replace=replace
        )
    return {
        **rules.manifest_summary(manifest, num_classes=len(class_names), scores=scores),
        "steps": steps,
        "draws": len(draws) or 1,
    }


# ---------------------------------------------------------------- a whole experiment


STAGES = ("train", "fill", "score", "select", "retrain", "compare", "conclude", "report")


@dataclass
class Run:
    """What an experiment has produced so far.

    ``parts``: of each of its data sets, as far as its stages went; ``measured``: what each part's
    scores are worth; ``comparison``: how the arms of all parts did; ``concluded``: see
    ``zoo.studies.findings``; ``report``: the page's path once it is written.
    """

    experiment: Experiment
    parts: list[Part] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    comparison: Comparison | None = None
    diverged: list[str] = field(default_factory=list)
    concluded: Conclusion = NOTHING_CONCLUDED
    report: Path | None = None


def run(
    workspace: Workspace,
    experiment: Experiment,
    runner: Callable[[], Runner],
    progress: Progress,
    *,
    until: str = STAGES[-1],
) -> Run:
    """Every stage of an experiment that is not done yet, up to and including ``until``; of a study
    over several data sets, part by part.

    Raises:
        UnknownNameError: for an unknown stage.
    """
    if until not in STAGES:
        raise UnknownNameError("stage", until, STAGES)
    wanted = STAGES[: STAGES.index(until) + 1]
    experiment, backbones = on_backbones(experiment, workspace)
    for opened in backbones:
        opened.commit(workspace)
    done = Run(experiment)
    for each in experiment.each:
        part, measured, diverged = _run_part(workspace, each, runner, progress, wanted)
        word = each.name.removeprefix(f"{experiment.name}-") if experiment.parts else ""
        done.parts.append(replace(part, name=word))
        done.measured.append(measured)
        done.diverged += diverged
    comparisons = [part.comparison for part in done.parts if part.comparison is not None]
    if comparisons:
        done.comparison = joined(comparisons)
        done.comparison.write(workspace)
    if "conclude" in wanted:
        done.concluded = conclude(workspace, experiment, done.parts)
    return done


def _run_part(
    workspace: Workspace,
    experiment: Experiment,
    runner: Callable[[], Runner],
    progress: Progress,
    wanted: Sequence[str],
) -> tuple[Part, Measured, list[str]]:
    """The stages of one data set: what they left, what its scores are worth, what diverged."""
    inputs = {
        asked for sweep in (*experiment.trained, *experiment.retrained) for asked in sweep.inputs
    }
    uri = with_confusion(workspace, experiment.dataset, runner, progress)
    dataset = prepare_dataset(workspace, uri, inputs, progress)
    part, measured = Part("", workspace, experiment, dataset), NOT_MEASURED
    trainings = population_trainings(experiment, dataset)
    diverged = train(workspace, dataset, experiment.name, "population", trainings, runner, progress)
    # An experiment's scores come from its own classifiers, whatever else the workspace holds.
    members = ledger.classifiers_of(workspace, trainings)
    if "fill" in wanted and experiment.fill_splits:
        fill(
            workspace,
            dataset,
            members,
            experiment.fill_splits,
            experiment.keep_logits,
            runner,
            progress,
            precision=experiment.fill_precision,
        )
    single, said = _single(workspace, dataset, experiment, runner, progress, wanted)
    diverged += said
    probes = {uri: _probe(workspace, uri, dataset) for uri in experiment.probes}
    if "fill" in wanted:
        for probe in probes.values():
            splits = [split for split in probe.splits if split != "train"]
            fill(
                workspace,
                probe,
                members,
                splits,
                "none",
                runner,
                progress,
                stage=f"fill of {probe.name}",
                guests=True,
                precision=experiment.fill_precision,
            )
    if "score" in wanted and experiment.fill_splits:
        population = population_of(workspace, dataset.fingerprint, members)
        scores = score_splits(workspace, population, experiment.fill_splits, progress)
        part = replace(
            part,
            population=population,
            scores=scores,
            probes={uri: _answered(workspace, population, probe) for uri, probe in probes.items()},
        )
        measured = measure(workspace, population, scores)
    if "select" in wanted:
        for rule in experiment.selections:
            assert part.population is not None
            names = {rule.name}
            seeds = {
                seed
                for group in experiment.arm_groups
                if names & {arm.selection for arm in group.arms}
                for seed in group.retraining.seeds
            } or {seed for sweep in experiment.retrained for seed in sweep.seeds}
            select(
                workspace,
                rule,
                part.scores[rule.split],
                part.population.origin(rule.split),
                dataset.class_names,
                population=part.population,
                single=single,
                seeds=sorted(seeds),
                replace=True,
            )
    if "retrain" in wanted and experiment.arm_groups:
        groups = [
            (group, arm_trainings(workspace, group, dataset)) for group in experiment.arm_groups
        ]
        part = replace(part, groups=groups)
        everything = [training for _, arms in groups for mine in arms.values() for training in mine]
        diverged += train(
            workspace,
            dataset,
            experiment.name,
            "retraining",
            everything,
            runner,
            progress,
            stage="retraining",
        )
        if "compare" in wanted:
            finals = ledger.classifiers_of(workspace, everything)
            ask = partial(
                fill,
                classifiers=finals,
                splits=("test",),
                keep_logits="none",
                runner=runner,
                progress=progress,
                precision=experiment.fill_precision,
            )
            ask(workspace, dataset, stage="evaluation")
            further = {}
            for uri in experiment.tests:
                try:
                    test = _probe(workspace, uri, dataset)
                except UnknownNameError as reason:
                    progress.say(f"arms are not compared on {uri}: {reason}")
                    continue
                further[uri] = test.fingerprint
                stage = f"evaluation on {test.name}"
                ask(workspace, test, stage=stage, guests=True)
            compared = compare_trainings(
                workspace,
                groups,
                experiment.on,
                part.scores.get("test"),
                len(dataset.class_names),
                further,
            )
            part = replace(part, comparison=compared)
    return part, measured, diverged


def _single(
    workspace: Workspace,
    dataset: Dataset,
    experiment: Experiment,
    runner: Callable[[], Runner],
    progress: Progress,
    wanted: Sequence[str],
) -> tuple[Population | None, list[str]]:
    """The snapshots of an experiment's training beside its population, with their answers, and a
    line if it diverged. Its role is that of an arm: nobody scores with it."""
    if experiment.single is None:
        return None, []
    trainings = resolved(experiment.single, dataset).expand(dataset.ref)
    name, stage = experiment.name, "single training"
    diverged = train(
        workspace, dataset, name, "retraining", trainings, runner, progress, stage=stage
    )
    members = ledger.classifiers_of(workspace, trainings)
    if "fill" not in wanted or not members:
        return None, diverged
    fill(
        workspace,
        dataset,
        members,
        experiment.fill_splits,
        experiment.keep_logits,
        runner,
        progress,
        stage="its answers",
        precision=experiment.fill_precision,
    )
    return population_of(workspace, dataset.fingerprint, members), diverged


def _probe(workspace: Workspace, uri: str, dataset: Dataset) -> Dataset:
    """A data set that the population of another one is to answer, recorded."""
    probe = datasets.dataset_of(workspace, uri)
    _require_same_classes(probe, dataset)
    datasets.commit_dataset(workspace, probe, {})
    return probe


def _require_same_classes(probe: Dataset, dataset: Dataset) -> None:
    """Refuse a data set that a population cannot answer.

    Raises:
        UsageError: if it has other classes; names both.
    """
    if probe.class_names != dataset.class_names:
        said = [
            f"{one.name} ({one.fingerprint}) has the {len(one.class_names)} classes"
            f" {', '.join(one.class_names[:5])}{', ...' if len(one.class_names) > 5 else ''}"
            for one in (probe, dataset)
        ]
        raise UsageError(
            f"{'; '.join(said)}. Allowed: the same classes in the same order, where one population"
            " answers both. Choose another data set."
        )


def _answered(workspace: Workspace, population: Population, probe: Dataset) -> Probe:
    record = workspace.commits.get("dataset", probe.fingerprint)
    assert record is not None
    guests = Population(record, population.classifiers)
    return Probe(
        probe,
        {
            split: score(workspace, guests, split).to_pandas()
            for split in probe.splits
            if split != "train"
        },
    )


def population_trainings(experiment: Experiment, dataset: Dataset) -> list[Training]:
    """The trainings of an experiment's sweeps on its data set."""
    return [
        training
        for sweep in experiment.sweeps
        for training in resolved(sweep, dataset).expand(dataset.ref)
    ]


def without_confusion(uri: str) -> str:
    """The data set before the first step that has to be carried out in a workspace: as large, and
    with the same pictures."""
    while (found := derived.confusion_of(uri)) is not None:
        uri = "+".join(filter(None, (found.base, found.after)))
    return uri


def check_experiment(spec: Experiment, workspace: str | None = None) -> None:
    """Find a missing data set, an unknown architecture or backbone, or too small an input before a
    workspace is made. ``workspace``: where one may be already, with its backbones."""
    spec, _ = on_backbones(spec, None if workspace is None else _there(workspace))
    for each in spec.each:
        _check_part(each)


def _check_part(spec: Experiment) -> None:
    from zoo.trainsets.prepare import check_sweep

    dataset = open_dataset(without_confusion(spec.dataset))
    require_trainable(dataset)
    for split in spec.fill_splits:
        require_split(dataset, split, f"experiment {spec.name} answers it (fill_splits)")
    if spec.arm_groups:
        require_split(dataset, "test", "retrained arms are compared on it")
    for sweep in (*spec.trained, *spec.retrained):
        check_sweep(dataset, sweep)
    for uri in spec.probes:
        _require_same_classes(open_dataset(uri), dataset)
    for uri in spec.tests:
        with contextlib.suppress(UnknownNameError):
            require_split(open_dataset(uri), "test", "arms are compared on it (tests)")
            _require_same_classes(open_dataset(uri), dataset)


@dataclass(frozen=True)
class Features:
    """What makes features. ``backbone``: ARCH or ARCH.TAG of timm, ``hog``, or the key of one that
    the workspace has. ``weights``: a file; None = what is in a cache of this machine.
    ``input_size``: side in pixels of its input; None = timm's."""

    backbone: str
    weights: Path | None = None
    input_size: int | None = None


def opened_backbone(workspace: str, features: Features) -> Opened:
    """A backbone by what a user says: one that the workspace has, where no other weights or size
    are named, else its weights read and fitted.

    Raises:
        UnknownNameError, UsageError, DataError: as ``zoo.fill.extract.open_backbone``.
    """
    return _opened(_there(workspace), features)


def _there(workspace: str) -> Workspace | None:
    try:
        return Workspace.open(workspace)
    except NotFoundError:  # no workspace yet
        return None


def _opened(space: Workspace | None, features: Features) -> Opened:
    from zoo.fill.extract import open_backbone, recorded_backbone

    if features.weights is None and space is not None:
        found = recorded_backbone(space, features.backbone, features.input_size)
        if found is not None:
            return found
    return open_backbone(features.backbone, features.weights, features.input_size)


def on_backbones(
    experiment: Experiment, space: Workspace | None
) -> tuple[Experiment, tuple[Opened, ...]]:
    """An experiment whose sweeps name what makes features as trainings do, by its key, and these
    backbones. A file in experiments/ says ``features="hog"`` or ``ARCH.TAG`` of timm, and
    ``input_size`` where it is not to be the backbone's own.

    Raises:
        UnknownNameError, UsageError, DataError: as ``opened_backbone``.
    """
    opened: dict[tuple[str, int | None], Opened] = {}

    def of(sweep: Sweep) -> Sweep:
        if sweep.features is None:
            return sweep
        asked = sweep.features, sweep.input_size
        if asked not in opened:
            opened[asked] = _opened(space, Features(sweep.features, None, sweep.input_size))
        return sweep.replace(features=opened[asked].backbone.key, input_size=None)

    def each(one: Experiment) -> Experiment:
        return one.replace(
            sweeps=tuple(map(of, one.sweeps)),
            arm_groups=tuple(
                group.replace(retraining=of(group.retraining)) for group in one.arm_groups
            ),
            single=None if one.single is None else of(one.single),
            parts=tuple(map(each, one.parts)),
        )

    return each(experiment), tuple(opened.values())


def on_features(sweep: Sweep, workspace: str, features: Features) -> tuple[Sweep, Opened]:
    """A sweep of heads on what a backbone makes of the pictures, and that backbone; its input size
    is the backbone's.

    Raises:
        UnknownNameError, UsageError, DataError: as ``opened_backbone``.
    """
    opened = opened_backbone(workspace, features)
    return sweep.replace(features=opened.backbone.key, input_size=None), opened


class Grid(NamedTuple):
    """A sweep, and what makes the features it is trained on in place of pictures."""

    sweep: Sweep
    features: Features | None = None


def planned(
    data: str, grids: Sequence[Grid], workspace: str, progress: Progress
) -> tuple[Dataset, list[Training], Workspace]:
    """Everything that can be wrong is found here: names, sizes, data, weights; only then a
    workspace is made. The trainings of all grids, in their order."""
    from zoo.trainsets.prepare import check_sweep

    try:
        dataset = datasets.dataset_of(Workspace.open(workspace), data)
    except NotFoundError:  # no workspace yet
        dataset = open_dataset(data)
    require_trainable(dataset)
    sweeps: list[Sweep] = []
    backbones: list[Opened] = []
    for sweep, features in grids:
        if features is not None:
            sweep, opened = on_features(sweep, workspace, features)
            backbones.append(opened)
        check_sweep(dataset, sweep)
        sweeps.append(resolved(sweep, dataset))
    trainings = [training for sweep in sweeps for training in sweep.expand(dataset.ref)]
    space = Workspace.open(workspace, create=True)
    for opened in backbones:
        opened.commit(space)
    inputs = [each for sweep in sweeps for each in sweep.inputs]
    prepare_dataset(space, data, inputs, progress)
    return dataset, trainings, space


def dataset_to_plan(workspace: Workspace | None, uri: str) -> tuple[Dataset, bool]:
    """A data set as a plan sees it, and whether it is a stand-in of its published shape.

    One with a step ``label_noise:to=confusion`` is that which the workspace has made; where it has
    not yet, it has the size of the one before the step, and nothing of it is done. The small
    network that decides its labels is not in a plan.
    """
    if derived.confusion_of(uri) is None:
        return open_or_published(uri)
    made = None if workspace is None else _confused_there(workspace, uri)
    if made is not None:
        return replace(open_dataset(made), name=uri), False
    dataset, stand_in = open_or_published(without_confusion(uri))
    return replace(dataset, name=uri, fingerprint=content_id(uri)), stand_in


def cost_of(
    workspace: Workspace | None,
    dataset: Dataset,
    sweeps: Sequence[Sweep],
    splits: Sequence[str],
    groups: Sequence[ArmGroup] = (),
    *,
    probes: Sequence[str] = (),
    tests: Sequence[str] = (),
    keep_logits: KeepLogits | None = None,
    precision: Precision = "fp32",
    **hardware: Any,
) -> Estimate:
    """What is missing of sweeps, their fill, their answers to other data sets and the retrainings
    of arms would cost; ``hardware``: as ``zoo.estimate.estimate`` takes it."""
    from zoo.trainsets.prepare import check_sweep

    for sweep in sweeps:
        if sweep.features is not None:
            check_sweep(dataset, sweep)
    trainings = [
        training for sweep in sweeps for training in resolved(sweep, dataset).expand(dataset.ref)
    ]
    again, to_come = retrainings_to_plan(workspace, groups, dataset)
    further = []
    for uri in tests:
        with contextlib.suppress(UnknownNameError):
            further.append(open_or_published(uri)[0])
    return estimate(
        workspace,
        dataset,
        trainings,
        splits,
        retrainings=again,
        to_come=to_come,
        probes=[open_or_published(uri)[0] for uri in probes],
        tests=further,
        keep_logits=keep_logits,
        precision=precision,
        **hardware,
    )


def cost_of_experiment(
    workspace: Workspace | None, experiment: Experiment, **hardware: Any
) -> Estimate:
    """What is missing of an experiment would cost, all its parts together; data that are not here
    by their published shape."""
    experiment, _ = on_backbones(experiment, workspace)
    return total(
        [
            cost_of(
                workspace,
                dataset_to_plan(workspace, each.dataset)[0],
                each.trained,
                each.fill_splits,
                each.arm_groups,
                probes=each.probes,
                tests=each.tests,
                keep_logits=each.keep_logits,
                precision=each.fill_precision,
                **hardware,
            )
            for each in experiment.each
        ],
        page=True,
    )


def whole_run(workspace: Workspace | None, experiment: Experiment) -> dict[str, float] | None:
    """Seconds of the wall's clock that each stage of an experiment took, the longest of its runs;
    None where they are not on record, or an experiment before it has trained the population that it
    shares."""
    if workspace is None:
        return None
    try:
        name, scale, timings = recorded_run(workspace)
    except (NotFoundError, UsageError):
        return None
    before = recorded_experiment(workspace)
    own = {"training"} | ({"retraining"} if any(e.arm_groups for e in experiment.each) else set())
    asked = (experiment.source or experiment.name, experiment.scale)
    same = (name, scale) == asked and (before is None or before.seeds == experiment.seeds)
    return timings if same and own <= set(timings) else None
