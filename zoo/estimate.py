"""What a sweep will cost, before anything runs: image passes, seconds, dollars, bytes. Loads no
torch.

Time is a model, not a promise: seconds of a core by ``zoo.rates`` for what is missing, over the
cores, and the start of each stage. Beside it stands what the same model says of what is done, and
what that took.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from zoo import models
from zoo.data import Dataset
from zoo.data.published import Shape, dataset_of
from zoo.devices import ACCELERATORS, Accelerator
from zoo.errors import UnknownNameError, UsageError
from zoo.fill.plan import GROUP_CLASSIFIERS, KeepLogits, default_keep_logits
from zoo.fill.program import gain_expected
from zoo.machine import own_cpus
from zoo.manifest import Manifest
from zoo.models.at_hand import HOG
from zoo.progress import duration
from zoo.rates import (
    TRAINING_SECONDS,
    Basis,
    Input,
    Rates,
    filled_units,
    image_seconds,
    input_of,
    is_of,
    measured,
    was_done_on,
)
from zoo.spec import Op, Precision, Training, classifier_id, treatment_text
from zoo.store.answers import answer_parts
from zoo.store.ledger import missing, saved_epochs, uncovered_snapshots
from zoo.store.workspace import Workspace
from zoo.training.alike import alike
from zoo.training.rule import WIDTH, Whole, lanes_each, trainer_expected, wholes
from zoo.trainsets.prepare import usable_rows
from zoo.trainsets.treatments import TREATMENTS, apply_rows

__all__ = [
    "PAGE_SECONDS",
    "Done",
    "Estimate",
    "accelerator_of",
    "assumed_dataset",
    "estimate",
    "feature_seconds",
    "images_left",
    "training_images",
    "training_seconds",
    "whole_seconds",
    "wholes_of",
]


_START, _PAGE = "start", "page"
_HOG_GIGAMACS = 0.027
"""Of a picture of 64 x 64: what makes 0.9 ms of a core at a network's pace; 0.7 to 0.9 were
measured (docs/LOG.md)."""

_START_SECONDS = 7.0
"""Start of a session on this machine."""
_STAGE_SECONDS = 6.0
"""From the start of a stage until its workers are at work: new processes that import torch."""
PAGE_SECONDS = 9.0
"""Scores, comparisons and the page of an experiment. These three measured with the demo's stages on
two cores, docs/LOG.md."""

_STARTED = ("training", "fill", "retraining", "evaluation")
"""Stages whose workers have to start."""

_ANSWER_BYTES = 36
"""Bytes of an answer in Parquet, as measured on the demo's store."""

_BASES: dict[Basis, str] = {
    "cpu": "as measured here",
    "clock": (
        "as measured here by the wall's clock, which other work on the machine stretches (records"
        " without CPU seconds)"
    ),
    "paced": "by tables, at the pace of what is measured here",
    "table": "by tables",
}


@dataclass(frozen=True)
class Done:
    """A stage's work that is done, added up, each part on one device. ``planned``: seconds by the
    tables, before anything was measured, of the parts whose records know seconds of the CPU;
    ``cpu``, ``clock``: what these took of the CPU and by the wall's clock. ``clock_planned``,
    ``clock_only``: the same of the others, by the clock alone."""

    planned: float = 0.0
    cpu: float = 0.0
    clock: float = 0.0
    clock_planned: float = 0.0
    clock_only: float = 0.0

    def plus(self, other: Done) -> Done:
        return Done(
            *(mine + more for mine, more in zip(_values(self), _values(other), strict=True))
        )

    def text(self, stage: str) -> str:
        """What it took beside what was planned, of each kind apart: seconds by the clock, which
        other work stretches, say little of those of a device."""
        said = []
        if self.cpu:
            said.append(
                f"took {duration(self.cpu)} of one device, planned {duration(self.planned)},"
                f" {_off(self.planned, self.cpu)}; it had {self.cpu / self.clock:.0%} of a core"
                f" ({duration(self.clock)})"
            )
        if self.clock_only:
            said.append(
                f"{'other parts ' * bool(said)}took {duration(self.clock_only)} by the wall's"
                f" clock, which other work on the machine stretches, planned"
                f" {duration(self.clock_planned)}, {_off(self.clock_planned, self.clock_only)}"
            )
        return f"{stage} {'; '.join(said)}"


def _off(planned: float, took: float) -> str:
    return f"{100 * (planned / took - 1):+.0f} %"


def _values(done: Done) -> list[float]:
    return [getattr(done, each.name) for each in fields(Done)]


def busy(done: Mapping[str, Done]) -> float | None:
    """Which share of a core the work had that is done: seconds of the CPU over those of the wall's
    clock; None where no record says so."""
    clock = sum(each.clock for each in done.values())
    return sum(each.cpu for each in done.values()) / clock if clock else None


@dataclass(frozen=True)
class Estimate:
    """What a plan needs. ``images``: training passes. ``answers``: classifier x example pairs to
    fill. ``seconds``: on all devices together, ``stages``: the same by stage. ``done``: by stage,
    what is done of it. ``rates``: which trainings are planned by what was measured and which by
    tables."""

    trainings: int
    trainings_done: int
    retrainings: int
    retrainings_done: int
    classifiers: int
    classifiers_done: int
    images: int
    answers: int
    seconds: float
    dollars: float | None
    checkpoint_bytes: int
    store_bytes: int
    accelerator: str
    devices: int
    stages: dict[str, float] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    rates: dict[Basis, tuple[str, ...]] = field(default_factory=dict)

    @property
    def working(self) -> float:
        """Seconds on all devices together without the start of a session and of its stages."""
        starts = sum(_STAGE_SECONDS for stage in self.stages if stage in _STARTED)
        return self.seconds - starts - self.stages.get(_START, 0.0)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for ``--json``."""
        rates = {basis: list(names) for basis, names in self.rates.items()}
        return asdict(self) | {"rates": rates}

    def text(self, title: str, dataset: str) -> str:
        """The plan for people."""
        missing = self.trainings - self.trainings_done
        rows = {
            "trainings": (
                f"{self.trainings:,} planned, {self.trainings_done:,} done, {missing:,} missing"
            ),
            "retrainings": (
                f"{self.retrainings:,} on selections that the scores make,"
                f" {self.retrainings_done:,} done"
            ),
            "classifiers": (
                f"{self.classifiers:,} planned, {self.classifiers_done:,} done,"
                f" {self.classifiers - self.classifiers_done:,} missing"
            ),
            "image passes": f"{self.images:,} in training, {self.answers:,} in the fill",
            "time": (
                "nothing is left to do"
                if not self.seconds
                else (
                    f"about {duration(self.seconds)} on {self.devices} x {self.accelerator}"
                    f" ({ACCELERATORS[self.accelerator].source})"
                )
            ),
            "cost": (
                "not asked; give --gpu-price"
                if self.dollars is None
                else f"about ${self.dollars:,.2f}"
            ),
            "disk": (
                f"{_size(self.checkpoint_bytes)} checkpoints, {_size(self.store_bytes)} answers and"
                " logits"
            ),
        }
        lines = [f"  {name:<13} {value}" for name, value in rows.items()]
        kinds = [f"{len(of)} {_BASES[basis]}" for basis, of in self.rates.items() if of]
        if kinds:
            lines.append(f"  {'rates':<13} by kind of training: {'; '.join(kinds)}")
        told = [
            done.text(stage) for stage, done in self.done.items() if done.cpu or done.clock_only
        ]
        lines += [f"  {'so far' * (not n):<13} {text}" for n, text in enumerate(told)]
        return "\n".join([f"{title} on {dataset} (an estimate)", *lines])


def total(estimates: Sequence[Estimate], *, page: bool = False) -> Estimate:
    """What several plans for the same devices need together; a session is started once.

    Args:
        page: an experiment's: scores, comparisons and the page come on top.
    """
    first = estimates[0]
    added = {
        name: sum(getattr(each, name) for each in estimates)
        for name in (
            *("trainings", "trainings_done", "retrainings", "retrainings_done"),
            *("classifiers", "classifiers_done", "images", "answers"),
            *("checkpoint_bytes", "store_bytes"),
        )
    }
    stages: dict[str, float] = {}
    done: dict[str, Done] = {}
    rates: dict[Basis, dict[str, None]] = {}
    for each in estimates:
        for stage, seconds in each.stages.items():
            stages[stage] = seconds if stage == _START else stages.get(stage, 0.0) + seconds
        for stage, what in each.done.items():
            done[stage] = done.get(stage, Done()).plus(what)
        for basis, of in each.rates.items():
            rates.setdefault(basis, {}).update(dict.fromkeys(of))
    if page and stages:
        stages[_PAGE] = PAGE_SECONDS
    seconds, apart = sum(stages.values()), sum(each.seconds for each in estimates)
    dollars = sum(each.dollars or 0.0 for each in estimates) * seconds / (apart or 1.0)
    return replace(
        first,
        **added,
        seconds=seconds,
        dollars=None if first.dollars is None else dollars,
        stages=stages,
        done=done,
        rates={basis: tuple(of) for basis, of in rates.items()},
    )


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def training_images(training: Training, dataset: Dataset) -> int:
    """Pictures a training passes forward and backward (an upper bound if it may stop early)."""
    recipe = training.recipe
    if recipe.steps_per_epoch is not None:
        return recipe.epochs * recipe.steps_per_epoch * recipe.batch_size
    return recipe.epochs * _rows_left(dataset, training.treatment)


def images_left(training: Training, dataset: Dataset, saved: Mapping[str, int]) -> int:
    """``training_images`` without what lies behind a saved state
    (``zoo.store.ledger.saved_epochs``)."""
    return round(training_images(training, dataset) * _share_left(training, saved))


def _share_left(training: Training, saved: Mapping[str, int]) -> float:
    return 1 - saved.get(training.id, 0) / training.recipe.epochs


def wholes_of(declared: Iterable[Training], dataset: Dataset) -> dict[str, Whole]:
    """What decides who trains the trainings of a sweep as it was declared, done or not, by kind."""
    return wholes(declared, lambda training: training_images(training, dataset))


_rows_known: dict[tuple[str, int, int, str], int] = {}


def _rows_left(dataset: Dataset, treatment: tuple[Op, ...]) -> int:
    """Rows of the treated training set; of a selection, whose size is the workspace's to know,
    those of the whole set."""
    if any(TREATMENTS[step.name].needs_manifests for step in treatment):
        return len(dataset.splits["train"])
    on_rows = tuple(step for step in treatment if TREATMENTS[step.name].on_rows is not None)
    # All assumed data sets have one fingerprint; their sizes tell them apart.
    key = (
        dataset.fingerprint,
        len(dataset.splits["train"]),
        len(dataset.class_names),
        treatment_text(on_rows),
    )
    if key not in _rows_known:
        rows = usable_rows(dataset, {})
        _rows_known[key] = len(
            apply_rows(on_rows, rows, manifests=_no_manifest) if on_rows else rows
        )
    return _rows_known[key]


def _no_manifest(name: str) -> Manifest:
    raise AssertionError(f"manifest {name} is not looked up here")


def training_seconds(
    training: Training, dataset: Dataset, accelerator: Accelerator = ACCELERATORS["cpu-core"]
) -> float:
    """Seconds of one training on one device: its passes, and its evaluations on the test set."""
    side = input_of(training, dataset).side
    per_image, per_answer = (
        image_seconds(training, side, accelerator, trains=trains) for trains in (True, False)
    )
    return (
        training_images(training, dataset) * per_image
        + _pictures_asked(training, dataset) * per_answer
    )


def accelerator_of(device: str) -> Accelerator:
    """What a device, by the name that torch gives it (nothing for a CPU), counts as; a GPU that is
    not in the table as the slowest one that is."""
    known = (each for each in ACCELERATORS.values() if is_of(device, each))
    return next(known, ACCELERATORS["rtx3090"])


def feature_seconds(
    network: str, pictures: int, accelerator: Accelerator = ACCELERATORS["cpu-core"]
) -> float:
    """Seconds in which one device makes the features of so many pictures, by a network of timm
    (``ARCH`` or ``ARCH.TAG``) or by ``hog``."""
    name = network.partition(".")[0]
    gigamacs = _HOG_GIGAMACS if name == HOG else models.model(name).mega_macs / 1e3
    return pictures * (accelerator.image_seconds + gigamacs / accelerator.training_gigamacs)


def _missing_features(
    workspace: Workspace | None,
    dataset: Dataset,
    trainings: Sequence[Training],
    splits: Iterable[str],
    accelerator: Accelerator,
) -> float:
    """Seconds of making the features that trainings need on these splits and that are not there."""
    there = {
        (identity["dataset"], identity["split"], identity["backbone"])
        for commit in (workspace.commits.all("features").values() if workspace else ())
        for identity in (commit.identity,)
    }
    return sum(
        feature_seconds(key.rpartition("-")[0], len(dataset.splits[split]), accelerator)
        for key in {t.features for t in trainings if t.features is not None}
        for split in {*splits} & {*dataset.splits}
        if (dataset.fingerprint, split, key) not in there
    )


def _pictures_asked(training: Training, dataset: Dataset) -> int:
    """Pictures of the test set that a training is asked for on its way."""
    epochs, every = training.recipe.epochs, training.eval_every
    after = {epochs, *training.snapshots, *(range(every, epochs + 1, every) if every else ())}
    return len(after) * (len(dataset.splits["test"]) if "test" in dataset.splits else 0)


@dataclass(frozen=True)
class _By:
    """Who trains; ``lanes``: of a network."""

    trainer: str
    lanes: int = 1


def _whole_seconds(training: Training, dataset: Dataset, rates: Rates, by: _By) -> float:
    """Seconds of one training on its device with all that belongs to it."""
    shown = input_of(training, dataset)
    return (
        training_images(training, dataset) * rates.step(training, shown, by.trainer, by.lanes)
        + _pictures_asked(training, dataset) * rates.answer(training, shown)
        + TRAINING_SECONDS
    )


def whole_seconds(trainings: Sequence[Training], dataset: Dataset, cores: int) -> float:
    """Seconds by the tables of so many cores for trainings, with all that belongs to them: fetching
    examples, evaluation, files and records."""
    device, rates = ACCELERATORS["cpu-core"], Rates(ACCELERATORS["cpu-core"])
    by = _trainers(trainings, dataset, device)
    return sum(_whole_seconds(job, dataset, rates, by[job.id]) for job in trainings) / cores


def _trainers(
    declared: Sequence[Training], dataset: Dataset, device: Accelerator
) -> dict[str, _By]:
    """Who is expected to train each of a sweep, done or not, by id."""
    found: dict[str, _By] = {}
    for group in alike(declared):
        whole = Whole(len(group), sum(training_images(t, dataset) for t in group))
        name = trainer_expected(group[0], whole, on_cpu=device.name == "cpu-core")
        batch = group[0].recipe.batch_size
        by = _By(name, lanes_each(len(group), batch) if name == "lanes" else 1)
        found |= dict.fromkeys((training.id for training in group), by)
    return found


def _wall_seconds(
    work: Sequence[Training],
    saved: Mapping[str, int],
    by: Mapping[str, _By],
    dataset: Dataset,
    rates: Rates,
    devices: int,
) -> float:
    """Seconds by the clock of trainings on so many devices. In lanes a register that is filled in
    part takes as long as a full one, and is one worker's alone."""
    spent = longest = 0.0
    for group in alike(work):
        mine = sum(
            _whole_seconds(t, dataset, rates, by[t.id]) * _share_left(t, saved) for t in group
        )
        if (made := by[group[0].id]).trainer == "lanes":
            registers = -(-len(group) * made.lanes // WIDTH)
            mine *= registers * WIDTH / (len(group) * made.lanes)
            longest = max(longest, mine / registers)
        spent += mine
    return max(spent / devices, longest)


def _filling(
    classifiers: Sequence[tuple[Training, int]],
    dataset: Dataset,
    split: str,
    rates: Rates,
    precision: Precision,
) -> float:
    """Seconds of one device in which so many classifiers of each training answer a split. Who
    answers in lanes follows from how many of an architecture share a unit."""
    counts: dict[Input, dict[str, int]] = {}
    shown = [input_of(training, dataset) for training, _ in classifiers]
    for (training, number), each in zip(classifiers, shown, strict=True):
        of = counts.setdefault(each, {})
        of[training.arch] = of.get(training.arch, 0) + number
    examples, on_cpu = len(dataset.splits[split]), rates.device.name == "cpu-core"
    faster = {
        (each, arch): gain_expected(
            arch, count, -(-sum(of.values()) // GROUP_CLASSIFIERS), examples
        )
        if on_cpu and count
        else 1.0
        for each, of in counts.items()
        for arch, count in of.items()
    }
    return examples * sum(
        number * rates.filled(training, each, faster[each, training.arch], precision)
        for (training, number), each in zip(classifiers, shown, strict=True)
        if number
    )


def _done_so_far(
    workspace: Workspace | None,
    dataset: Dataset,
    stages: Mapping[str, Sequence[Training]],
    tables: Rates,
) -> dict[str, Done]:
    """What the finished trainings of each stage took, and the fill of them, beside what the tables
    say of them."""
    if workspace is None:
        return {}
    found: dict[str, Done] = {}
    known: dict[str, tuple[str, Training]] = {}
    for stage, jobs in stages.items():
        records = workspace.commits.some("training", {job.id for job in jobs})
        mine = {
            job.id: job
            for job in jobs
            if job.id in records and was_done_on(records[job.id], tables.device)
        }
        known |= {key: (stage, job) for key, job in mine.items()}
        by = _trainers(jobs, dataset, tables.device)
        for key, job in mine.items():
            facts = records[key].facts
            planned = _whole_seconds(job, dataset, tables, by[key])
            took = Done(clock_planned=planned, clock_only=facts["train_seconds"])
            if tables.device.name == "cpu-core" and "cpu_seconds" in facts:
                took = Done(planned, facts["cpu_seconds"], facts["train_seconds"])
            found[stage] = found.get(stage, Done()).plus(took)
    if tables.device.name == "cpu-core":
        units = filled_units(workspace.commits.all("answers").values(), dataset.fingerprint)
        for facts, classifiers in units:
            asked = {name: known[key] for name, key in classifiers.items() if key in known}
            if len(asked) == len(classifiers):
                jobs_of = {name: (job, input_of(job, dataset)) for name, (_, job) in asked.items()}
                took = Done(
                    facts["examples"] * tables.unit(facts, jobs_of),
                    facts["cpu_seconds"],
                    facts["fill_seconds"],
                )
                of_arms = all(stage == "retraining" for stage, _ in asked.values())
                stage = "evaluation" if of_arms else "fill"
                found[stage] = found.get(stage, Done()).plus(took)
    return found


def estimate(
    workspace: Workspace | None,
    dataset: Dataset,
    trainings: Sequence[Training],
    fill_splits: Iterable[str] = (),
    *,
    retrainings: Sequence[Training] = (),
    to_come: Sequence[Training] = (),
    probes: Sequence[Dataset] = (),
    tests: Sequence[Dataset] = (),
    keep_logits: KeepLogits | None = None,
    precision: Precision = "fp32",
    accelerator: str = "cpu-core",
    devices: int | None = None,
    price: float | None = None,
) -> Estimate:
    """Cost of what is missing of a set of trainings and of filling them.

    Args:
        retrainings: trainings of arms.
        to_come: those on selections that the scores have yet to make, as if on the whole training
            set; none of them is done.
        tests: other data sets, whose split test the retrained networks are asked for as well.
        probes: other data sets, whose splits but ``train`` the classifiers are asked for as well.
        precision: in which networks answer; on a CPU no other seconds are planned for it.
        price: dollars per device hour.

    Raises:
        UnknownNameError: for an accelerator that is not in ``ACCELERATORS``.
    """
    if accelerator not in ACCELERATORS:
        raise UnknownNameError("accelerator", accelerator, ACCELERATORS)
    device = ACCELERATORS[accelerator]
    count = devices or (own_cpus() if accelerator == "cpu-core" else 1)
    todo = list(trainings) if workspace is None else missing(workspace, trainings)
    classifiers = sum(len(t.snapshots) or 1 for t in trainings)
    open_classifiers = sum(
        len(t.snapshots or (1,)) if workspace is None else len(uncovered_snapshots(workspace, t))
        for t in todo
    )
    # Arms on selections to come look alike before these are there, and are as many all the same.
    again = [*to_come, *(t for t in retrainings if workspace is None or missing(workspace, [t]))]
    work = [*todo, *again]
    saved = {} if workspace is None else saved_epochs(workspace, work)
    images = sum(images_left(t, dataset, saved) for t in work)
    rates = measured(workspace, dataset, device)
    arms = [*retrainings, *to_come]
    by = _trainers(arms, dataset, device) | _trainers(trainings, dataset, device)
    basis: dict[Basis, dict[str, None]] = {}
    for training in work:
        shown = input_of(training, dataset)
        kind = f"{training.arch} {shown.text} {by[training.id].trainer}"
        basis.setdefault(rates.basis(training, shown, by[training.id].trainer), {})[kind] = None
    splits = [split for split in fill_splits if split in dataset.splits]
    keep_logits = keep_logits or default_keep_logits(classifiers)
    examples = sum(len(dataset.splits[s]) for s in splits)
    guests = [(probe, split) for probe in probes for split in probe.splits if split != "train"]
    cells, filling = 0, 0.0
    for asked, split in [*((dataset, split) for split in splits), *guests]:
        done = (
            set()
            if workspace is None
            else {
                name
                for _, mine in answer_parts(workspace, asked.fingerprint, split)
                for name in mine
            }
        )
        todo_of = [
            (
                training,
                sum(
                    classifier_id(training.id, epoch) not in done
                    for epoch in training.snapshots or (training.recipe.epochs,)
                ),
            )
            for training in trainings
        ]
        cells += len(asked.splits[split]) * sum(number for _, number in todo_of)
        filling += _filling(todo_of, asked, split, rates, precision)
    needed = ("train", "test", *splits) if work else splits if cells else ()
    work_of = {
        "features": _missing_features(workspace, dataset, trainings, needed, device) / count,
        "training": _wall_seconds(todo, saved, by, dataset, rates, count),
        "fill": filling / count,
        "retraining": _wall_seconds(again, saved, by, dataset, rates, count),
        # answers of the last epoch on the test sets
        "evaluation": sum(
            _filling([(training, 1) for training in again], each, "test", rates, precision)
            for each in (dataset, *tests)
            if "test" in each.splits
        )
        / count,
    }
    begun = {"training": bool(todo), "fill": bool(cells), "retraining": bool(again)}
    begun["evaluation"] = begun["retraining"]
    stages = {
        stage: spent + _STAGE_SECONDS * begun.get(stage, False)
        for stage, spent in work_of.items()
        if spent or begun.get(stage)
    }
    if any(begun.values()):
        stages = {_START: _START_SECONDS, **stages}
    seconds = sum(stages.values())
    whole = examples * classifiers
    weights = sum(
        int(models.model(t.arch).parameters * 4) * len(t.snapshots or (1,)) for t in trainings
    )
    logits = {
        "all": whole,
        "val": sum(len(dataset.splits[s]) for s in splits if s != "train") * classifiers,
        "none": 0,
    }[keep_logits]
    answers = whole + sum(len(probe.splits[split]) for probe, split in guests) * classifiers
    store = answers * _ANSWER_BYTES + logits * (2 * len(dataset.class_names) + 4)
    dollars = None if price is None else seconds / 3600 * count * price
    asked_for = {"training": trainings, "retraining": retrainings}
    return Estimate(
        trainings=len(trainings),
        trainings_done=len(trainings) - len(todo),
        retrainings=len(retrainings) + len(to_come),
        retrainings_done=len(retrainings) + len(to_come) - len(again),
        classifiers=classifiers,
        classifiers_done=classifiers - open_classifiers,
        images=images,
        answers=cells,
        seconds=seconds,
        dollars=dollars,
        checkpoint_bytes=weights,
        store_bytes=store,
        accelerator=accelerator,
        devices=count,
        stages=stages,
        done=_done_so_far(workspace, dataset, asked_for, Rates(device)),
        rates={each: tuple(of) for each, of in basis.items()},
    )


def assumed_dataset(text: str) -> Dataset:
    """A data set that is not here, for planning: ``TRAIN,TEST,CLASSES,SIZE`` (examples, examples,
    classes, pixels).

    Raises:
        UsageError: if it is not four whole numbers.
    """
    try:
        train, test, classes, size = (int(part) for part in text.split(","))
        if min(train, test, classes, size) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--assume {text!r}: allowed are four whole numbers TRAIN,TEST,CLASSES,SIZE, such as"
            " 1281167,50000,1000,400."
        ) from None
    return dataset_of(f"assumed ({text})", Shape(train, test, classes, 3, (size, size)))
