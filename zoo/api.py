"""The public face: ``zoo.open(place)`` is a workspace with methods, ``zoo.run`` a whole experiment.
The command line is a shell around them.

Nothing here prints. ``runner`` is where trainings and fills run: ``"ray"``, ``"local"`` (this
process), or a ``zoo.pipeline.Runner`` of one's own, which is not closed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import pipeline
from zoo.errors import NotFoundError
from zoo.pipeline import Runner
from zoo.progress import Progress
from zoo.scores import from_store, issues, population
from zoo.scores import suspects as ranking
from zoo.spec import Arm, ArmGroup, Experiment, Op, Precision, SelectionRule
from zoo.store import datasets, ledger, selections
from zoo.store.answers import logits_of
from zoo.store.query import query
from zoo.store.results import (
    read_scores,
    read_table,
    recorded_experiment,
    recorded_run,
    write_scores,
)
from zoo.store.workspace import Workspace
from zoo.trainsets import rules as selection_rules
from zoo.trainsets.sweeps import sweep_of

if TYPE_CHECKING:
    from zoo.estimate import Estimate
    from zoo.studies.arms import Comparison

__all__ = ["Zoo", "audit", "open", "plan", "run"]

RunsOn = Literal["ray", "local"] | Runner

AD_HOC = "train"
"""Name under which trainings that no experiment asked for are recorded."""

QUIET = Progress(quiet=True)


@contextlib.contextmanager
def _running(runner: RunsOn) -> Iterator[Any]:
    """A function that starts the runner when it is first needed; what was started here is closed at
    the end."""
    made: list[Runner] = []

    def make() -> Runner:
        if not isinstance(runner, str):
            return runner
        if not made:
            if runner == "local":
                from zoo.local import LocalRunner

                made.append(LocalRunner())
            else:
                from zoo.cluster.runner import RayRunner

                made.append(RayRunner())
        return made[0]

    try:
        yield make
    finally:
        for started in made:
            started.close()


class Zoo:
    """A workspace: what was trained, answered, scored and concluded in one place, and the ways to
    get there.

    >>> zoo = open("./zoo-workspace")                                              # doctest: +SKIP
    >>> zoo.train("fashion-mini", ["lenet5", "mlp"], fractions="0.5x3,1")          # doctest: +SKIP
    >>> zoo.fill(); zoo.score("train"); zoo.suspects(20)                           # doctest: +SKIP

    Every method that makes something does only what is missing, and may be stopped and called
    again.
    """

    def __init__(self, workspace: Workspace, data: str | None = None) -> None:
        """``data``: fingerprint of the data set that is meant where a method is told of none."""
        self.workspace, self._data = workspace, data

    def __repr__(self) -> str:
        counts = {
            kind: len(self.workspace.commits.keys(kind))
            for kind in ("training", "checkpoint", "member", "selection")
        }
        held = ", ".join(
            f"{count:,} {kind}{'' if count == 1 else 's'}"
            for kind, count in counts.items()
            if count
        )
        return f"<Zoo {self.workspace.location}: {held or 'empty'}>"

    # ------------------------------------------------------------ read

    def scores(
        self,
        split: str = "train",
        where: str | None = None,
        *,
        label_column: str = "label",
        data: str | None = None,
    ) -> pd.DataFrame:
        """The ``scores`` table of the population on a split, computed from the store: a row per
        example.

        >>> scores = zoo.open("zoo-workspace").scores("train", where="fraction <= 0.5")                # doctest: +SKIP

        Args:
            where: SQL condition over the ``classifiers`` table: a sub-population. Without one: all
                that were trained on the data as given, or on random parts of it.
            label_column: ``label``, ``label_true`` or the name of a selection.
            data: name or fingerprint of the data set, where the workspace holds several.

        Raises:
            NotFoundError: if no classifier is left.
            StoreError: if some have no answers on the split.
        """  # noqa: E501
        table: pd.DataFrame = issues.scored(
            self.workspace, self._population(where, data), split, label_column
        ).to_pandas()
        return table

    def x_by(
        self,
        labels: str | Sequence[int] | NDArray[Any],
        split: str = "train",
        where: str | None = None,
        *,
        data: str | None = None,
    ) -> pd.Series[float]:
        """X-perplexity of a split by other labels, by ``example_id``: what became of it after an
        edit, without scoring all over. The classifiers' answers stay what they are, so only the
        columns of ``scores`` that need labels differ.

        >>> zoo.open("zoo-workspace").x_by("corrected")                                                # doctest: +SKIP

        Args:
            labels: the name of a selection, ``label_true``, or one class number per example, -1 =
                none.
        """  # noqa: E501
        scored = self._population(where, data)
        examples = datasets.examples_of(self.workspace, scored.dataset, split)
        given = (
            selections.labels_in(
                self.workspace, examples, labels, dataset=scored.fingerprint, split=split
            )
            if isinstance(labels, str)
            else np.asarray(labels, dtype=np.int64)
        )
        x = from_store.x_by(self.workspace, scored, split, given)
        ids = pd.Index(np.arange(len(x)), name="example_id")
        return pd.Series(x, index=ids, name="x_perplexity")

    def suspects(
        self,
        n: int = 10,
        split: str = "train",
        where: str | None = None,
        *,
        data: str | None = None,
    ) -> pd.DataFrame:
        """The ``n`` examples whose labels are most likely wrong, most suspicious first: rows of
        ``scores``, and what ranked them.

        >>> zoo.open("zoo-workspace").suspects(20)[["key", "label", "suggested"]]                      # doctest: +SKIP
        """  # noqa: E501
        return ranking.suspects(self.scores(split, where, data=data), n)

    def summary(self) -> str:
        """What the last ``audit`` of this workspace found, in words.

        Raises:
            NotFoundError: if there was none.
        """
        from zoo.scores.audited import summary

        return summary(self.workspace)

    def examples(self) -> pd.DataFrame:
        """The ``examples`` table: ids, keys, labels, what could not be read."""
        return datasets.examples_frame(self.workspace)

    def classifiers(self) -> pd.DataFrame:
        """The ``classifiers`` table."""
        return ledger.classifiers_frame(self.workspace)

    def trainings(self) -> pd.DataFrame:
        """The ``trainings`` table."""
        return ledger.trainings_frame(self.workspace)

    def selection(self, name: str) -> pd.DataFrame:
        """The manifest a name stands for: example_id, label, copies, weight.

        Raises:
            UnknownNameError: if no selection has that name.
        """
        return selections.manifest_named(self.workspace, name).frame()

    def verdicts(self) -> pd.DataFrame:
        """What became of an experiment's published claims: the ``verdicts`` table.

        Raises:
            NotFoundError: if nothing was concluded here; says what concludes.
        """
        return read_table(self.workspace, "verdicts")

    def query(self, sql: str) -> pd.DataFrame:
        """One SELECT over the tables of ``zoo schema``.

        >>> zoo.open("zoo-workspace").query("select arch, avg(test_acc1) a from classifiers group by arch")   # doctest: +SKIP
        """  # noqa: E501
        table: pd.DataFrame = query(self.workspace, sql).to_pandas()
        return table

    def logits(self, classifier_id: str, split: str) -> NDArray[np.float16]:
        """Centred logits (minus their maximum) of one classifier, float16 [E, M]; memory-mapped
        where the split is one shard.

        Raises:
            StoreError: if none were kept.
        """
        return logits_of(self.workspace, classifier_id, split)

    # ------------------------------------------------------------ make

    def train(
        self,
        data: str,
        archs: Sequence[str] | str,
        *,
        fractions: Sequence[str | float] | str = "",
        folds: str = "",
        epochs: int | None = None,
        snapshots: Sequence[int] = (),
        recipe: str = "adam",
        treatment: str | None = None,
        seeds: Sequence[int] = (0,),
        input_size: int | None = None,
        features: str | None = None,
        weights: str | Path | None = None,
        runner: RunsOn = "ray",
    ) -> pd.DataFrame:
        """Train what is missing of a sweep; its rows of the ``trainings`` table.

        >>> zoo.open("new", create=True).train("fashion-mini", "lenet5,mlp", fractions="0.5x3,1", epochs=8)   # doctest: +SKIP

        Args:
            data: name or path of a data set.
            archs: architectures, as a list or with commas between them.
            fractions: shares of the training set; ``0.25x3`` = three independent quarters. Default:
                the whole set, or the folds alone.
            folds: ``5x2`` = leave out one of five folds after another, shared out twice, so that
                every example is held out twice.
            snapshots: epochs that become classifiers; none = the last.
            recipe: name, with changes: ``adam:lr=0.002``.
            features: a pretrained network of timm (``resnet50.a1_in1k``) or ``hog``, on whose features
                heads are trained; ``input_size`` is then the side of its pictures.
            weights: with features, a file of weights instead of those in a cache.
            treatment: steps done to the training set, as for ``zoo train --treatment``.

        Raises:
            FailedTrainingsError: if some have no result; the others are done and committed.
        """  # noqa: E501
        sweep = sweep_of(
            _texts(archs),
            _texts(fractions) or None,
            epochs,
            _texts(snapshots) or None,
            recipe,
            treatment,
            _texts(seeds),
            None if features else input_size,
            _texts(folds),
        )
        made_by = (
            pipeline.Features(features, None if weights is None else Path(weights), input_size)
            if features
            else None
        )
        dataset, trainings, _ = pipeline.planned(
            data, [pipeline.Grid(sweep, made_by)], self.workspace.location, QUIET
        )
        with _running(runner) as make:
            diverged = pipeline.train(
                self.workspace, dataset, AD_HOC, "population", trainings, make, QUIET
            )
        pipeline.refuse_diverged(diverged)
        table = self.trainings()
        return table[
            table["training_id"].isin([training.id for training in trainings])
        ].reset_index(drop=True)

    def fill(
        self,
        splits: Sequence[str] | None = None,
        *,
        data: str | None = None,
        keep_logits: Literal["none", "val", "all"] | None = None,
        precision: Precision = "fp32",
        runner: RunsOn = "ray",
    ) -> None:
        """Stream splits (default: train, and test where there is one) through every classifier that
        has no answers on them yet; networks in float32, or in bf16.

        >>> zoo.open("zoo-workspace").fill(runner="local")                                             # doctest: +SKIP
        """  # noqa: E501
        dataset = datasets.dataset_of(self.workspace, data)
        usual = [name for name in ("train", "test") if name in dataset.splits]
        with _running(runner) as make:
            pipeline.fill(
                self.workspace,
                dataset,
                None,
                usual if splits is None else _texts(splits),
                keep_logits,
                make,
                QUIET,
                precision=precision,
            )

    def score(self, split: str = "train", *, data: str | None = None) -> pd.DataFrame:
        """``scores`` of the whole population, kept in ``results/`` for selections, queries and the
        report."""
        people = self._population(None, data)
        table = issues.scored(self.workspace, people, split)
        write_scores(self.workspace, table, people.origin(split), len(people.classifiers))
        frame: pd.DataFrame = table.to_pandas()
        return frame

    def select(
        self,
        name: str,
        rules: str,
        *,
        split: str = "train",
        data: str | None = None,
        draws: int = 10,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Make a manifest of examples to train on by a chain of rules over the kept scores; what it
        holds.

        >>> zoo.open("zoo-workspace").select("cleaned", "worst:share=0.05")                            # doctest: +SKIP

        Args:
            name: what the selection is called; one that exists and holds other examples is refused
                without ``replace``.
            rules: such as ``below:c=10,x=0.7+per_class:count=500``; ``docs/rules.md`` has them
                all.
            draws: of the random choices, one for each retraining seed 0, 1, ...; 1 = one for all
                seeds.
        """  # noqa: E501
        people = self._population(None, data)
        scores, origin = read_scores(self.workspace, people.origin(split).dataset, split)
        chain = tuple(Op(name=rule, params=params) for rule, params in selection_rules.parse(rules))
        rule = SelectionRule(name=name, rules=chain, split=split)
        seeds = range(draws) if draws > 1 else ()
        return pipeline.select(
            self.workspace,
            rule,
            scores,
            origin,
            people.class_names,
            population=people,
            seeds=seeds,
            replace=replace,
        )

    def relabel(
        self,
        name: str,
        condition: str,
        *,
        to: str = "top_confusion",
        replace: bool = False,
        **options: Any,
    ) -> dict[str, Any]:
        """``select`` by the rule ``relabel``: the examples that meet a condition get another label,
        all others stay as they are.

        >>> zoo.open("zoo-workspace").relabel("relabelled", "x>0.95 and c<2")                          # doctest: +SKIP
        """  # noqa: E501
        return self.select(name, f"relabel:set={condition},to={to}", replace=replace, **options)

    def decide(
        self,
        name: str,
        files: Sequence[str | Path],
        *,
        split: str = "train",
        data: str | None = None,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Store people's decisions (``decisions.csv``), and make a selection of all that are stored
        about the split: their labels, without what is to be dropped, all else as it is.

        >>> zoo.open("zoo-workspace").decide("corrected", ["decisions.csv"])                           # doctest: +SKIP

        Args:
            files: columns key or example_id, decision (keep, relabel, drop, unsure), label,
                reviewer, time, digest, note; docs/decisions.md.
            data: name or path of the data set; one that is not on record here is recorded.
        """  # noqa: E501
        from zoo.exchange.reviews import apply_decisions

        paths, data = [Path(file) for file in files], data or self._data
        return apply_decisions(self.workspace, name, paths, split=split, data=data, replace=replace)

    def keep_or_drop(
        self,
        name: str,
        file: str | Path,
        *,
        drop: bool,
        split: str = "train",
        data: str | None = None,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Make a selection of the examples that a file lists, or (``drop``) of all but these."""
        from zoo.exchange.reviews import keep_or_drop

        return keep_or_drop(
            self.workspace, name, Path(file), drop=drop, split=split, data=data, replace=replace
        )

    def weigh(
        self, name: str, by: Literal["x", "c"], *, replace: bool = False, **options: Any
    ) -> dict[str, Any]:
        """``select`` by the rule ``weigh``: a weight per example, mean 1."""
        return self.select(name, f"weigh:by={by}", replace=replace, **options)

    def retrain(
        self,
        names: Sequence[str],
        arch: Sequence[str] | str,
        *,
        recipe: str = "adam",
        seeds: Sequence[int] = (0, 1, 2),
        data: str | None = None,
        runner: RunsOn = "ray",
    ) -> None:
        """Train the same network, or each of several, on selections (``baseline`` = the training
        set as it is), equal steps, equal seeds.

        >>> zoo.open("zoo-workspace").retrain(["baseline", "cleaned"], "lenet5", recipe="onecycle")    # doctest: +SKIP
        """  # noqa: E501
        from zoo.studies.arms import arm_trainings

        dataset, group = (
            datasets.dataset_of(self.workspace, data),
            _group(names, arch, recipe, seeds),
        )
        trainings = [
            training
            for mine in arm_trainings(self.workspace, group, dataset).values()
            for training in mine
        ]
        pipeline.prepare_dataset(self.workspace, dataset.uri, group.retraining.inputs, QUIET)
        with _running(runner) as make:
            diverged = pipeline.train(
                self.workspace,
                dataset,
                "retrain",
                "retraining",
                trainings,
                make,
                QUIET,
                stage="retraining",
            )
        pipeline.refuse_diverged(diverged)

    def compare(
        self,
        names: Sequence[str],
        arch: Sequence[str] | str,
        *,
        recipe: str = "adam",
        seeds: Sequence[int] = (0, 1, 2),
        on: Sequence[str] = (),
        data: str | None = None,
        runner: RunsOn = "ray",
    ) -> Comparison:
        """Accuracy of retrained arms with intervals, and their differences to the first, paired by
        seed, each network by itself; kept in ``results/``.

        >>> zoo.open("zoo-workspace").compare(["baseline", "cleaned"], "lenet5").comparisons           # doctest: +SKIP

        Args:
            on: selection rules that make cleaned test sets beside the full one.
        """  # noqa: E501
        from zoo.studies.arms import arm_trainings, check_retrained, compare_trainings

        dataset, group = (
            datasets.dataset_of(self.workspace, data),
            _group(names, arch, recipe, seeds),
        )
        by_arm = arm_trainings(self.workspace, group, dataset)
        check_retrained(self.workspace, group, by_arm, group.arms)
        with _running(runner) as make:
            finals = ledger.classifiers_of(
                self.workspace, [training for mine in by_arm.values() for training in mine]
            )
            pipeline.fill(
                self.workspace, dataset, finals, ("test",), "none", make, QUIET, stage="evaluation"
            )
        cleaned = [
            Op(name=name, params=params)
            for text in on
            for name, params in selection_rules.parse(text)
        ]
        scores = read_scores(self.workspace, dataset.fingerprint, "test")[0] if cleaned else None
        found = compare_trainings(
            self.workspace, [(group, by_arm)], cleaned, scores, len(dataset.class_names)
        )
        found.write(self.workspace)
        return found

    def report(
        self, experiment: str | None = None, scale: str | None = None, *, data: str | None = None
    ) -> Path:
        """Tables and figures of the workspace in one self-contained page; its path.

        Args:
            experiment: judged by again, from its file; None = what is recorded, whatever has become
                of its file.
        """
        from zoo.report.write import write_report
        from zoo.studies import load as experiments
        from zoo.studies.findings import NOTHING_CONCLUDED, concluded_again, kept

        space, data = self.workspace, data or self._data
        timings: dict[str, float] = {}
        try:
            name, recorded_scale, timings = recorded_run(space)
        except NotFoundError:
            if experiment is None and not len(ledger.population(space)):
                raise
            name, recorded_scale = AD_HOC, None
        stored = (
            recorded_experiment(space)
            if experiment is None and scale in (None, recorded_scale)
            else None
        )
        if experiment is None and name == AD_HOC:
            dataset = datasets.shown_of(space, data)
            title = f"Classifiers of {dataset.name}"
            spec, concluded = (
                Experiment(
                    name=AD_HOC, title=title, scale="ad-hoc", dataset=dataset.uri, sweeps=()
                ),
                NOTHING_CONCLUDED,
            )
        elif stored is not None:
            spec = stored
            dataset = datasets.shown_of(space, data or spec.each[0].dataset)
            concluded = kept(space, spec, dataset)
        else:
            spec = experiments.load(
                experiment or name,
                scale or (recorded_scale if experiment in (None, name) else None),
            )
            dataset = datasets.shown_of(space, data or spec.each[0].dataset)
            spec, _ = pipeline.on_backbones(spec, space)
            concluded = concluded_again(space, spec, dataset)
        return write_report(space, spec, dataset, timings, concluded)

    def import_(self, files: Sequence[str | Path], **options: Any) -> Any:
        """Make predictions from elsewhere classifiers of the population; what was added.

        >>> zoo.open("new", create=True).import_(["resnet.npy"], labels=Path("labels.csv"))            # doctest: +SKIP

        Args:
            files: ``.npy`` or ``.parquet`` of logits or probabilities [E, M] or [N, E, M].
            options: the further fields of ``zoo.exchange.importing.Request``, as ``zoo import`` has
                them.
        """  # noqa: E501
        from zoo.exchange.importing import Request, import_predictions

        paths = tuple(Path(file) for file in files)
        return import_predictions(self.workspace.location, Request(files=paths, **options), QUIET)

    def export(
        self, what: str, to: str, output: str | Path | None = None, **options: Any
    ) -> Path | str:
        """Write scores, predictions, logits or a selection for other programs; the path, or the
        text where there is no ``output``.

        >>> zoo.open("zoo-workspace").export("selection", "keep-list", "keep.txt", selection="cleaned")   # doctest: +SKIP

        Args:
            options: the further fields of ``zoo.exchange.places.Request``, as ``zoo export`` has
                them.
        """  # noqa: E501
        from zoo.exchange import exporting, places

        place = None if output is None else Path(output)
        asked = {
            "split": None,
            "where": None,
            "selection": None,
            "data": None,
            "probabilities": False,
            "force": False,
        } | options
        return exporting.export(self.workspace, places.Request(what, to, place, **asked))

    def _population(self, where: str | None, data: str | None) -> population.Population:
        asked = data or self._data
        fingerprint = None if asked is None else datasets.dataset_fingerprint(self.workspace, asked)
        return population.choose_population(self.workspace, where, dataset=fingerprint)


def open(workspace: str | Path, *, create: bool = False) -> Zoo:  # noqa: A001 - zoo.open is the name users know
    """Open a workspace: a folder or ``s3://bucket/folder``.

    Args:
        create: make it if it is not there.

    Raises:
        NotFoundError: if there is none and none is to be made.
    """
    return Zoo(Workspace.open(workspace, create=create))


def run(
    experiment: str,
    scale: str | None = None,
    *,
    workspace: str | Path = "./zoo-workspace",
    until: str = "report",
    seeds: Sequence[int] | None = None,
    runner: RunsOn = "ray",
) -> Zoo:
    """Every stage of an experiment that is not done yet; the workspace.

    >>> zoo.run("demo").suspects(10)                                                                   # doctest: +SKIP

    Args:
        experiment: a name in experiments/, or the path of a file.
        until: last stage to do, of ``zoo.pipeline.STAGES``.
        seeds: only these of a study's seeds; None = all.

    Raises:
        FailedTrainingsError: if some trainings broke off or diverged; everything else is done.
        UsageError: for seeds that the study has not, or whose part is no study
            (``zoo.spec.Experiment.of_seeds``).
    """  # noqa: E501
    from zoo.studies import load as experiments

    spec = experiments.load(experiment, scale)
    if seeds is not None:
        spec = spec.of_seeds(seeds)
    pipeline.check_experiment(spec, str(workspace))
    here = open(workspace, create=True)
    with _running(runner) as make:
        done = pipeline.run(here.workspace, spec, make, QUIET, until=until)
    if until == "report":
        from zoo.report.write import write_report

        data, measured = done.parts[0].dataset, done.measured[0]
        write_report(here.workspace, spec, data, {}, done.concluded, measured)
    pipeline.refuse_diverged(done.diverged)
    return here


def plan(
    experiment: str,
    scale: str | None = None,
    *,
    workspace: str | Path = "./zoo-workspace",
    seeds: Sequence[int] | None = None,
    **hardware: Any,
) -> Estimate:
    """What an experiment would cost before anything runs, as ``zoo plan`` says it.

    >>> zoo.plan("demo").as_json()                                                                     # doctest: +SKIP

    Args:
        seeds: only these of a study's seeds; None = all.
        hardware: ``accelerator``, ``devices``, ``price`` of ``zoo.estimate.estimate``.
    """  # noqa: E501
    from zoo.studies import load as experiments

    space: Workspace | None
    try:
        space = Workspace.open(workspace)
    except NotFoundError:
        space = None
    spec = experiments.load(experiment, scale)
    if seeds is not None:
        spec = spec.of_seeds(seeds)
    return pipeline.cost_of_experiment(space, spec, **hardware)


def audit(
    path: str | Path,
    *,
    workspace: str = "zoo-workspace",
    budget: float | None = None,
    features: str | None = None,
    runner: RunsOn = "ray",
) -> Zoo:
    """Train a population on complementary folds of somebody's pictures and score them; the
    workspace, with ``suspects(n)`` and ``summary()``.

    >>> print(zoo.audit("./photos").summary())                                                         # doctest: +SKIP

    Args:
        path: class folders, a table of paths and labels, Parquet, or the name of a data set.
        budget: seconds of training; default: three minutes.
        features: a pretrained network of timm on whose features heads are trained, ``hog`` for
            histograms of oriented gradients, or ``none`` for networks on pictures; default: by the
            pictures and the weights that are at hand.

    Raises:
        DataError: if nothing can be trained on it.
    """  # noqa: E501
    from zoo.auditing import BUDGET, audit_pictures, opened
    from zoo.machine import own_cpus

    cores = 1 if runner == "local" else own_cpus()
    dataset, chosen = opened(str(path), BUDGET if budget is None else budget, cores, features)
    with _running(runner) as make:
        space = audit_pictures(workspace, str(path), dataset, chosen, make, QUIET)
    return Zoo(space, dataset.fingerprint)


def _group(
    names: Sequence[str], arch: Sequence[str] | str, recipe: str, seeds: Sequence[int]
) -> ArmGroup:
    sweep = sweep_of(_texts(arch), None, None, None, recipe, None, _texts(seeds), None)
    return ArmGroup(
        name="arms",
        arms=tuple(Arm(name=n, selection=None if n == "baseline" else n) for n in names),
        retraining=sweep,
    )


def _texts(values: Sequence[Any] | str) -> list[str]:
    """A list, or a text with commas, as the words of a command."""
    return (
        [part.strip() for part in values.split(",") if part.strip()]
        if isinstance(values, str)
        else [f"{value}" for value in values]
    )
