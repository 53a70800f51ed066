"""What a sweep will cost, before anything runs: image passes, seconds, dollars, bytes. Loads no
torch.

Time is a model, not a promise: seconds per image = fixed cost + multiply-adds / rate, forward and
backward three times the forward. Of the small networks the measured rate of one core is in the
table of models itself (``tools/bench/models.py``, docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace

from zoo import models
from zoo.data import Dataset
from zoo.data.published import Shape, dataset_of
from zoo.errors import UnknownNameError, UsageError
from zoo.fill.plan import KeepLogits, default_keep_logits
from zoo.machine import own_cpus
from zoo.manifest import Manifest
from zoo.models.at_hand import HOG
from zoo.progress import duration
from zoo.spec import Op, Training, classifier_id, treatment_text
from zoo.store.answers import answer_parts
from zoo.store.commits import Commit
from zoo.store.ledger import missing, planned, uncovered_snapshots
from zoo.store.workspace import Workspace
from zoo.trainsets.inputs import geometry
from zoo.trainsets.prepare import usable_rows
from zoo.trainsets.treatments import TREATMENTS, apply_rows

__all__ = [
    "ACCELERATORS",
    "Accelerator",
    "Estimate",
    "assumed_dataset",
    "estimate",
    "feature_seconds",
    "training_images",
    "training_seconds",
]


@dataclass(frozen=True)
class Accelerator:
    """Speed of one device: sustained multiply-adds per second in training, in units of 1e9, and a
    fixed cost per image, for networks whose rates are not published.

    ``trains``: how many times as fast as an RTX 3090 in training, for those whose are;
    ``answers``: table of forward rates and how many times as fast as it. ``float32``: peak in
    multiply-adds per second, in units of 1e9, without tensor cores (its maker's data sheet): the
    fill answers in float32, and so does a recipe that is not in bf16.
    """

    name: str
    training_gigamacs: float
    image_seconds: float
    source: str
    trains: float | None = None
    answers: tuple[str, float] = ("rtx3090", 1.0)
    float32: float | None = None


_HOG_GIGAMACS = 0.027
"""Of a picture of 64 x 64: 0.9 ms on a core, measured (docs/LOG.md), as a network's would take."""

_FLOAT32_SHARE = 0.5
"""Of its peak in float32 that a network reaches: an assumption."""

ACCELERATORS = {
    "cpu-core": Accelerator("cpu-core", 30.0, 4e-6, "measured, docs/LOG.md"),
    # Networks that are not in the tables below: ResNet-50 trains at 1,218 images/s x 4.1 GMAC x 3
    # there.
    "rtx3090": Accelerator(
        "rtx3090",
        15_000.0,
        2e-5,
        "timm benchmark table, PyTorch 1.12",
        trains=1.0,
        float32=17_800.0,
    ),
    "rtx5090": Accelerator(
        "rtx5090",
        50_000.0,
        6e-6,
        "timm benchmark table of 2026, PyTorch 2.9.1 compiled; training by that of an RTX 3090",
        trains=3.37,
        answers=("rtx5090", 1.0),
        float32=52_400.0,
    ),
    "a100": Accelerator(
        "a100",
        32_000.0,
        1e-5,
        "RTX 3090 x 2.13, timm issue 1491",
        trains=2.13,
        answers=("rtx3090", 2.13),
        float32=9_750.0,
    ),
    "h100": Accelerator(
        "h100",
        54_000.0,
        6e-6,
        "assumptions: trains 1.7 x an A100, answers as an RTX 5090 in timm's table of 2026",
        trains=3.6,
        answers=("rtx5090", 1.0),
        float32=33_500.0,
    ),
}

_TRAINING_RTX3090 = {
    "vgg16": 546,
    "resnet50": 1218,
    "resnet101": 748,
    "inception_v3": 782,
    "legacy_xception": 498,
    "densenet121": 914,
    "densenet169": 753,
    "densenet201": 563,
    "efficientnet_b0": 1752,
    "efficientnet_b2": 849,
}
"""Images a second in training on one RTX 3090, at the reference size of the table of models.
Source: timm's benchmark table, AMP, channels last, PyTorch 1.12. Multiply-adds alone are off by 4
times for EfficientNet-B0, whose layers wait for memory, and by 2 the other way for VGG-16."""

_ANSWERING = {
    "rtx3090": {
        "vgg16": 1691,
        "resnet50": 3676,
        "resnet101": 2246,
        "inception_v3": 2512,
        "legacy_xception": 1578,
        "densenet121": 2936,
        "densenet169": 2422,
        "densenet201": 1869,
        "efficientnet_b0": 8015,
        "efficientnet_b2": 3413,
    },
    "rtx5090": {
        "vgg16": 5358,
        "resnet50": 12_401,
        "resnet101": 7583,
        "inception_v3": 9390,
        "legacy_xception": 4816,
        "densenet121": 10_179,
        "densenet169": 8285,
        "densenet201": 6221,
        "efficientnet_b0": 18_234,
        "efficientnet_b2": 8926,
    },
}
"""Images a second forward alone, at the reference size. Sources: the same table of timm; and
``benchmark-infer-amp-nchw-pt291-cu130-5090-dynamo.csv`` of its results (PyTorch 2.9.1, compiled,
AMP), EfficientNet-B2 from 256 pixels to 260 by the area."""

_START_SECONDS = 7.0
"""Start of a session on this machine."""
_STAGE_SECONDS = 6.0
"""From the start of a stage until its workers are at work: new processes that import torch."""
_TRAINING_SECONDS = 1.2
"""Per training on its device: data, network, records."""
_PAGE_SECONDS = 9.0
"""Scores, comparisons and the page of an experiment. These four measured with the demo's stages on
two cores, docs/LOG.md."""

_PASSES_TRAINING = 3.0
_ANSWER_BYTES = 36
"""Bytes of an answer in Parquet, as measured on the demo's store."""

_OVERHEAD = 1.3
"""Loading, augmentation and snapshots on top of pure network time."""

_BATCH = 16
"""Trainings that go to a worker together."""

_FIXED_SHARE = 0.2
"""Of what trainings of one architecture are expected to take, the most that may be fixed cost where
their pace is to say how fast it answers."""

_LEAST_SECONDS = 5.0
"""Of trainings of one architecture, before what they took says more than the tables."""


@dataclass(frozen=True)
class Estimate:
    """What a plan needs. ``images``: training passes. ``answers``: classifier x example pairs to
    fill. ``seconds``: on all devices together. ``done_seconds``: what its finished trainings took,
    added up, each on one device; ``done_planned_seconds``: the same by the tables, before anything
    was measured."""

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
    done_seconds: float = 0.0
    done_planned_seconds: float = 0.0

    def as_json(self) -> dict[str, float | int | str | None]:
        """Plain values, for ``--json``."""
        return asdict(self)

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
        if self.done_seconds and self.done_planned_seconds:
            off = self.done_planned_seconds / self.done_seconds - 1
            rows["so far"] = (
                f"trainings that are done took {duration(self.done_seconds)} of one device; planned"
                f" {duration(self.done_planned_seconds)}, {100 * off:+.0f} %"
            )
        return "\n".join(
            [
                f"{title} on {dataset} (an estimate)",
                *(f"  {name:<13} {value}" for name, value in rows.items()),
            ]
        )


def total(estimates: Sequence[Estimate], *, page: bool = False) -> Estimate:
    """What several plans for the same devices need together; a session is started once.

    Args:
        page: an experiment's: scores, comparisons and the page come on top.
    """
    first = estimates[0]
    added = {
        f.name: sum(getattr(each, f.name) for each in estimates)
        for f in fields(Estimate)
        if f.name not in ("dollars", "accelerator", "devices")
    }
    busy = sum(each.seconds > 0 for each in estimates)
    apart = added.pop("seconds")
    seconds = apart - _START_SECONDS * max(0, busy - 1) + _PAGE_SECONDS * bool(page and busy)
    dollars = sum(each.dollars or 0.0 for each in estimates) * seconds / (apart or 1.0)
    return replace(
        first, **added, seconds=seconds, dollars=None if first.dollars is None else dollars
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
    per_image, per_answer = (
        _seconds_per_image(training, dataset, accelerator, passes)
        for passes in (_PASSES_TRAINING, 1.0)
    )
    tested = len(dataset.splits["test"]) if "test" in dataset.splits else 0
    return (
        training_images(training, dataset) * per_image
        + len(_evaluated(training)) * tested * per_answer
    )


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


def _evaluated(training: Training) -> set[int]:
    """Epochs after which a training is evaluated."""
    epochs, every = training.recipe.epochs, training.eval_every
    return {epochs, *training.snapshots, *(range(every, epochs + 1, every) if every else ())}


def _seconds_per_image(
    training: Training, dataset: Dataset, accelerator: Accelerator, passes: float
) -> float:
    model = models.model(training.arch)
    size = (
        model.reference_size
        if model.head
        else geometry(dataset, training.arch, training.input_size, training.recipe.augment).size
    )
    area = (size / model.reference_size) ** 2
    trains = passes == _PASSES_TRAINING
    if accelerator.name == "cpu-core" and model.images_per_second is not None:
        return passes / _PASSES_TRAINING / model.images_per_second * area
    gigamacs = model.mega_macs_at(size) / 1e3
    if accelerator.trains is not None and model.name in _TRAINING_RTX3090:
        table, times = accelerator.answers
        rate = (
            _TRAINING_RTX3090[model.name] * accelerator.trains
            if trains
            else _ANSWERING[table][model.name] * times
        )
        seconds = area / rate
    else:
        seconds = accelerator.image_seconds + passes * gigamacs / accelerator.training_gigamacs
    if accelerator.float32 is None or (trains and training.recipe.precision == "bf16"):
        return seconds
    # Published rates are those of half precision on tensor cores.
    return max(seconds, passes * gigamacs / (accelerator.float32 * _FLOAT32_SHARE))


def measured_pace(
    workspace: Workspace | None,
    dataset: Dataset,
    accelerator: Accelerator = ACCELERATORS["cpu-core"],
) -> dict[str, float]:
    """By architecture: how many times as long as the tables say its finished trainings have taken
    in this workspace, on such a device: those on this data set, or where they say nothing, those on
    its sisters of as many examples, such as the same pictures with other labels. Where that is
    known it wins, in training and retraining, and where it is about passes also in the fill.

    Trainings that took next to nothing together say nothing.
    """
    return {arch: times for arch, (times, _) in _paces(workspace, dataset, accelerator).items()}


def _paces(
    workspace: Workspace | None, dataset: Dataset, accelerator: Accelerator
) -> dict[str, tuple[float, float]]:
    """``measured_pace``, each with the share of the expected time that does not depend on the
    passes."""
    if workspace is None:
        return {}
    sizes = {split: len(examples) for split, examples in dataset.splits.items()}
    sisters = {
        fingerprint
        for fingerprint, record in workspace.commits.all("dataset").items()
        if record.facts["splits"] == sizes
    } - {dataset.fingerprint}
    return _pace(workspace, dataset, accelerator, sisters) | _pace(
        workspace, dataset, accelerator, {dataset.fingerprint}
    )


def _pace(
    workspace: Workspace, dataset: Dataset, accelerator: Accelerator, on: Collection[str]
) -> dict[str, tuple[float, float]]:
    """``_paces`` of the trainings on some data sets, by fingerprint, as large as this one."""
    took: dict[str, float] = {}
    fixed: dict[str, float] = {}
    expected: dict[str, float] = {}
    for training_id, (training, _, _) in planned(workspace).items():
        if training.dataset.fingerprint not in on:
            continue
        commit = workspace.commits.get("training", training_id)
        if commit is None or not _was_done_on(commit, accelerator):
            continue
        done = commit.facts["images"] / max(1, training_images(training, dataset))
        lanes = "lanes" in str(commit.facts.get("trainer", ""))
        seconds = _whole_seconds(training, dataset, accelerator, done, lanes=lanes)
        took[training.arch] = took.get(training.arch, 0.0) + commit.facts["train_seconds"]
        expected[training.arch] = expected.get(training.arch, 0.0) + seconds
        fixed[training.arch] = fixed.get(training.arch, 0.0) + _TRAINING_SECONDS
    return {
        arch: (took[arch] / expected[arch], fixed[arch] / expected[arch])
        for arch in took
        if took[arch] >= _LEAST_SECONDS
    }


def _was_done_on(commit: Commit, accelerator: Accelerator) -> bool:
    """Whether a training has finished, on such a device."""
    device = str(commit.facts["versions"].get("device", ""))
    return commit.facts["status"] == "done" and _is_of(device, accelerator)


def _done_so_far(
    workspace: Workspace | None,
    dataset: Dataset,
    jobs: Sequence[Training],
    accelerator: Accelerator,
    devices: int,
) -> tuple[float, float]:
    """(seconds that the finished ones of some trainings took, seconds of them by the tables alone):
    of one device, as if nothing had been measured."""
    if workspace is None:
        return 0.0, 0.0
    found = workspace.commits.some("training", {job.id for job in jobs})
    done = {
        job.id: job for job in jobs if job.id in found and _was_done_on(found[job.id], accelerator)
    }
    mine = list(done.values())
    lanes = _in_lanes(mine, dataset, devices) if accelerator.name == "cpu-core" else set()
    return (
        sum(float(found[key].facts["train_seconds"]) for key in done),
        sum(_whole_seconds(job, dataset, accelerator, lanes=job.id in lanes) for job in mine),
    )


def _is_of(device: str, accelerator: Accelerator) -> bool:
    """Whether a device, by the name that torch gives it (nothing for a CPU), is such a one."""
    if accelerator.name == "cpu-core":
        return not device
    return accelerator.name in device.lower().replace(" ", "")


def _whole_seconds(
    training: Training,
    dataset: Dataset,
    accelerator: Accelerator,
    done: float = 1.0,
    *,
    lanes: bool = False,
) -> float:
    """Seconds of one training on its device with all that belongs to it; ``done``: the share of its
    passes that it took, where it stopped early; ``lanes``: in company (``zoo.training.lanes``)."""
    seconds = training_seconds(training, dataset, accelerator)
    if lanes:
        from zoo.training.rule import FASTER  # late, as the room's other modules load torch

        passes = training_images(training, dataset) * _seconds_per_image(
            training, dataset, accelerator, _PASSES_TRAINING
        )
        seconds -= passes * (1 - 1 / FASTER.get(training.arch, 1.0))
    return done * seconds * _OVERHEAD + _TRAINING_SECONDS


def _in_lanes(work: Sequence[Training], dataset: Dataset, devices: int) -> set[str]:
    """Ids of the trainings that are expected to be trained in lanes: a batch is 16, or a worker's
    share of all that there is."""
    from zoo.training.alike import alike
    from zoo.training.rule import lanes_expected

    share = -(-len(work) // devices)
    return {
        training.id
        for group in alike(work)
        for training in group
        if lanes_expected(
            training, min(_BATCH, share, len(group)), training_images(training, dataset)
        )
    }


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
    images = sum(training_images(t, dataset) for t in work)
    paces = _paces(workspace, dataset, device)
    pace = {arch: times for arch, (times, _) in paces.items()}
    answering = {arch: times for arch, (times, share) in paces.items() if share <= _FIXED_SHARE}
    lanes = _in_lanes(work, dataset, count) if accelerator == "cpu-core" else set()
    seconds = sum(
        _whole_seconds(t, dataset, device, lanes=t.id in lanes) * pace.get(t.arch, 1.0)
        for t in work
    )
    splits = [split for split in fill_splits if split in dataset.splits]
    keep_logits = keep_logits or default_keep_logits(classifiers)
    examples = sum(len(dataset.splits[s]) for s in splits)
    guests = [(probe, split) for probe in probes for split in probe.splits if split != "train"]
    cells = 0
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
        for training in trainings:
            epochs = training.snapshots or (training.recipe.epochs,)
            open_cells = len(asked.splits[split]) * sum(
                classifier_id(training.id, epoch) not in done for epoch in epochs
            )
            cells += open_cells
            seconds += (
                open_cells
                * _seconds_per_image(training, asked, device, 1.0)
                * _OVERHEAD
                * answering.get(training.arch, 1.0)
            )
    asked_last = sum(
        len(each.splits["test"]) for each in (dataset, *tests) if "test" in each.splits
    )
    for training in again:  # answers of the last epoch on the test sets
        seconds += (
            asked_last
            * _seconds_per_image(training, dataset, device, 1.0)
            * _OVERHEAD
            * answering.get(training.arch, 1.0)
        )
    if work or cells:
        needed = ("train", "test", *splits) if work else splits
        seconds += _missing_features(workspace, dataset, trainings, needed, device)
    stages = bool(todo) + bool(cells) + 2 * bool(again)
    seconds = seconds / count + stages * _STAGE_SECONDS + bool(stages) * _START_SECONDS
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
    took, expected = _done_so_far(workspace, dataset, [*trainings, *retrainings], device, count)
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
        done_seconds=took,
        done_planned_seconds=expected,
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
