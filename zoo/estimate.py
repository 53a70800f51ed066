"""What a sweep will cost, before anything runs: image passes, seconds, dollars, bytes. Loads no
torch.

Time is a model, not a promise: seconds per image = fixed cost + multiply-adds / rate, forward and
backward three times the forward. Of the small networks the measured rate of one core is in the
table of models itself (``tools/bench/models.py``, docs/LOG.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace

from zoo import models
from zoo.data import Dataset
from zoo.data.published import Shape, dataset_of
from zoo.errors import UnknownNameError, UsageError
from zoo.fill.plan import KeepLogits, default_keep_logits
from zoo.machine import own_cpus
from zoo.manifest import Manifest
from zoo.progress import duration
from zoo.spec import Op, Training, classifier_id, treatment_text
from zoo.store.answers import answer_parts
from zoo.store.ledger import missing, uncovered_snapshots
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
    "training_images",
    "training_seconds",
]


@dataclass(frozen=True)
class Accelerator:
    """Speed of one device: sustained multiply-adds per second in training, and a fixed cost per
    image. ``times_rtx3090``: how many times as fast as an RTX 3090, for the networks whose rates on
        that one are published."""

    name: str
    training_gigamacs: float
    image_seconds: float
    source: str
    times_rtx3090: float | None = None


ACCELERATORS = {
    "cpu-core": Accelerator("cpu-core", 30.0, 4e-6, "measured, docs/LOG.md"),
    # Networks that are not in the table below: ResNet-50 trains at 1,218 images/s x 4.1 GMAC x 3
    #     there.
    "rtx3090": Accelerator("rtx3090", 15_000.0, 2e-5, "timm benchmark table, PyTorch 1.12", 1.0),
    "a100": Accelerator("a100", 32_000.0, 1e-5, "RTX 3090 x 2.13, timm issue 1491", 2.13),
    "h100": Accelerator("h100", 54_000.0, 6e-6, "assumption: 1.7 x A100", 3.6),
}

_RTX3090 = {
    "vgg16": (546, 1691),
    "resnet50": (1218, 3676),
    "resnet101": (748, 2246),
    "inception_v3": (782, 2512),
    "legacy_xception": (498, 1578),
    "densenet121": (914, 2936),
    "densenet169": (753, 2422),
    "densenet201": (563, 1869),
    "efficientnet_b0": (1752, 8015),
    "efficientnet_b2": (849, 3413),
}
"""Images a second on one RTX 3090, (in training, forward alone), at the reference size of the table
of models. Source: timm's benchmark table, AMP, channels last, PyTorch 1.12. Multiply-adds alone
are off by 4 times for EfficientNet-B0, whose layers wait for memory, and by 2 the other way for
VGG-16."""

_START_SECONDS = 7.0
"""Start of a session on this machine."""
_STAGE_SECONDS = 6.0
"""From the start of a stage until its workers are at work: new processes that import torch."""
_TRAINING_SECONDS = 1.2
"""Per training on its device: data, network, records. These three measured with the demo's stages
on two cores, docs/LOG.md."""

_PASSES_TRAINING = 3.0
_ANSWER_BYTES = 36
"""Bytes of an answer in Parquet, as measured on the demo's store."""

_OVERHEAD = 1.3
"""Loading, evaluation and snapshots on top of pure network time."""


@dataclass(frozen=True)
class Estimate:
    """What a plan needs. ``images``: training passes. ``answers``: classifier x example pairs to
    fill. ``seconds``: on all devices together."""

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
        return "\n".join(
            [
                f"{title} on {dataset} (an estimate)",
                *(f"  {name:<13} {value}" for name, value in rows.items()),
            ]
        )


def total(estimates: Sequence[Estimate]) -> Estimate:
    """What several plans for the same devices need together."""
    first = estimates[0]
    added = {
        f.name: sum(getattr(each, f.name) for each in estimates)
        for f in fields(Estimate)
        if f.name not in ("dollars", "accelerator", "devices")
    }
    dollars = None if first.dollars is None else sum(each.dollars or 0.0 for each in estimates)
    return replace(first, **added, dollars=dollars)


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
    """Seconds of one training on one device."""
    return training_images(training, dataset) * _seconds_per_image(
        training, dataset, accelerator, _PASSES_TRAINING
    )


def _seconds_per_image(
    training: Training, dataset: Dataset, accelerator: Accelerator, passes: float
) -> float:
    model = models.model(training.arch)
    size = geometry(dataset, training.arch, training.input_size, training.recipe.augment).size
    if accelerator.name == "cpu-core" and model.images_per_second is not None:
        return (
            passes / _PASSES_TRAINING / model.images_per_second * (size / model.reference_size) ** 2
        )
    if accelerator.times_rtx3090 is not None and model.name in _RTX3090:
        rate = _RTX3090[model.name][0 if passes == _PASSES_TRAINING else 1]
        return (size / model.reference_size) ** 2 / (rate * accelerator.times_rtx3090)
    gigamacs = model.mega_macs_at(size) / 1e3
    return accelerator.image_seconds + passes * gigamacs / accelerator.training_gigamacs


def estimate(
    workspace: Workspace | None,
    dataset: Dataset,
    trainings: Sequence[Training],
    fill_splits: Iterable[str] = (),
    *,
    retrainings: Sequence[Training] = (),
    to_come: Sequence[Training] = (),
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
    seconds = sum(training_seconds(t, dataset, device) for t in work)
    splits = [split for split in fill_splits if split in dataset.splits]
    keep_logits = keep_logits or default_keep_logits(classifiers)
    examples = sum(len(dataset.splits[s]) for s in splits)
    cells = 0
    for split in splits:
        done = (
            set()
            if workspace is None
            else {
                name
                for _, mine in answer_parts(workspace, dataset.fingerprint, split)
                for name in mine
            }
        )
        for training in trainings:
            epochs = training.snapshots or (training.recipe.epochs,)
            open_cells = len(dataset.splits[split]) * sum(
                classifier_id(training.id, epoch) not in done for epoch in epochs
            )
            cells += open_cells
            seconds += open_cells * _seconds_per_image(training, dataset, device, 1.0)
    for training in again:
        seconds += (
            len(dataset.splits["test"]) * _seconds_per_image(training, dataset, device, 1.0)
            if "test" in dataset.splits
            else 0.0
        )
    stages = bool(todo) + bool(cells) + 2 * bool(again)
    seconds = (
        (seconds * _OVERHEAD + len(work) * _TRAINING_SECONDS) / count
        + stages * _STAGE_SECONDS
        + bool(stages) * _START_SECONDS
    )
    whole = examples * classifiers
    weights = sum(
        int(models.model(t.arch).parameters * 4) * len(t.snapshots or (1,)) for t in trainings
    )
    logits = {
        "all": whole,
        "val": sum(len(dataset.splits[s]) for s in splits if s != "train") * classifiers,
        "none": 0,
    }[keep_logits]
    store = whole * _ANSWER_BYTES + logits * (2 * len(dataset.class_names) + 4)
    dollars = None if price is None else seconds / 3600 * count * price
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
