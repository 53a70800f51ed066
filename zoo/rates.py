"""How fast a device trains and answers: as its work in a workspace has shown, else by tables. Loads
no torch.

A rate of the tables is a model: seconds per image = fixed cost + multiply-adds / rate, forward and
backward three times the forward. Of the small networks the measured rate of one core is in the
table of models itself (``tools/bench/models.py``, docs/LOG.md). Seconds of a CPU are those that a
process had of it, so that a rate does not depend on what else the machine did.

The one other processor that was tried is faster than the tables' by much the same factor whatever
it does (docs/LOG.md): what a workspace has trained says it, and what it has not is expected so much
faster or slower than by the tables. Heads say nothing of it: their time is hardly a network's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from zoo import models
from zoo.data import Dataset
from zoo.devices import ACCELERATORS, ANSWERING, SMALL_H100, TRAINING_RTX3090, Accelerator
from zoo.fill.program import gain
from zoo.spec import Precision, Training
from zoo.store.commits import Commit
from zoo.store.ledger import planned
from zoo.store.workspace import Workspace
from zoo.training.rule import FASTER_THAN_SINGLE, in_lanes
from zoo.trainsets.inputs import geometry

__all__ = [
    "TRAINING_SECONDS",
    "Basis",
    "Input",
    "Rates",
    "image_seconds",
    "is_of",
    "measured",
    "was_done_on",
]


_FLOAT32_SHARE = 0.5
"""Of its peak in float32 that a network reaches: an assumption."""

_SMALL_SIDE = 32

TRAINING_SECONDS = 0.05
"""Of a training beside its steps and evaluations: its rows, its network, files and records.
Measured as CPU seconds of trainings of a few hundred steps, docs/LOG.md."""

_STEP_SECONDS = 0.8e-3
"""Of a step on a CPU beside what the network takes: gathering, bookkeeping. Measured likewise. A
trainer of many makes its steps at once."""

_ANSWER_SECONDS = 8e-6
"""Of an answer beside the network: entropy, ranks, its row in the store. Measured likewise."""

_OVERHEAD = 1.3
"""Loading and augmentation on top of pure network time."""

_PASSES_TRAINING = 3.0

_LEAST_CPU_SECONDS = 0.5
_LEAST_SECONDS = 5.0
"""Of the CPU, or of the wall's clock: before what was measured says more than the tables."""


def image_seconds(
    training: Training,
    side: int,
    device: Accelerator,
    *,
    trains: bool,
    precision: Precision = "fp32",
) -> float:
    """By the tables, of one picture of this side: a pass forward, and backward where it trains.

    Args:
        precision: of a pass forward alone; a step is in its recipe's.
    """
    model = models.model(training.arch)
    passes = _PASSES_TRAINING if trains else 1.0
    area = (side / model.reference_size) ** 2
    if device.name == "cpu-core" and model.images_per_second is not None:
        return passes / _PASSES_TRAINING / model.images_per_second * area
    gigamacs = model.mega_macs_at(side) / 1e3
    if device.trains is not None and model.name in TRAINING_RTX3090:
        table, times = device.answers
        rate = (
            TRAINING_RTX3090[model.name] * device.trains
            if trains
            else ANSWERING[table][model.name] * times
        )
        seconds = area / rate
    else:
        seconds = device.image_seconds + passes * gigamacs / device.training_gigamacs
    half = (training.recipe.precision if trains else precision) == "bf16"
    if device.float32 is None or half:
        return seconds
    # Published rates are those of half precision on tensor cores.
    return max(seconds, passes * gigamacs / (device.float32 * _FLOAT32_SHARE))


class Input(NamedTuple):
    """What a network is shown: pictures of a side and channels, or a backbone's features."""

    side: int
    channels: int = 0
    features: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return self.features or f"{self.side} x {self.side} x {self.channels}"


def input_of(training: Training, dataset: Dataset) -> Input:
    """What a training's network is shown of a data set."""
    model = models.model(training.arch)
    if training.features is not None or model.head:
        # Of a head that is only thought of the backbone may not be known yet.
        return Input(model.reference_size, features=training.features or "features")
    asked = training.arch, training.input_size, training.recipe.augment
    return Input(geometry(dataset, *asked).size, dataset.channels)


Basis = Literal["cpu", "clock", "paced", "table"]
"""What a rate rests on: CPU seconds, or seconds of the wall's clock, of trainings in the workspace;
the tables, at the pace of other trainings there; or the tables."""


@dataclass
class _Sum:
    """Pictures, and the seconds they took."""

    pictures: float = 0.0
    seconds: float = 0.0

    def add(self, pictures: float, seconds: float) -> None:
        self.pictures += pictures
        self.seconds += seconds


@dataclass(frozen=True)
class Rates:
    """Seconds of a picture on a device, by architecture, input and trainer.

    ``steps``, ``answers``: seconds per picture as measured, and on what they rest; where they say
    nothing, the tables do. ``fill``: how many times as long as by these a fill has taken.
    ``pace``: how many times as long as by the tables the steps on record took; of what is on no
    record the tables' seconds count so often.
    """

    device: Accelerator
    steps: Mapping[tuple[str, Input, str], tuple[float, Basis]] = field(default_factory=dict)
    answers: Mapping[tuple[str, Input], tuple[float, Basis]] = field(default_factory=dict)
    fill: float = 1.0
    pace: float = 1.0

    def step(
        self, training: Training, shown: Input, trainer: str = "single", lanes: int = 1
    ) -> float:
        """Seconds of a picture in a step. ``lanes``: of a network, where it is trained in lanes."""
        known = self.steps.get((training.arch, shown, trainer))
        if known is not None:
            return known[0]
        return self.pace * self._by_tables(training, shown, trainer, lanes)

    def _by_tables(self, training: Training, shown: Input, trainer: str, lanes: int) -> float:
        """``step`` of an architecture, input and trainer of which nothing is known."""
        seconds = image_seconds(training, shown.side, self.device, trains=True) * _OVERHEAD
        if self.device.trains is not None and training.arch in SMALL_H100:
            alone, stacked = SMALL_H100[training.arch]
            if trainer != "stacked":
                return max(seconds, _OVERHEAD / alone)
            slower = (ACCELERATORS["h100"].trains or 1.0) / self.device.trains
            return _OVERHEAD * slower * (shown.side / _SMALL_SIDE) ** 2 / stacked
        if trainer != "single":
            shared = in_lanes(training.recipe.batch_size, lanes) if trainer == "lanes" else 1.0
            return seconds / shared / FASTER_THAN_SINGLE.get(trainer, {}).get(training.arch, 1.0)
        on_cpu = self.device.name == "cpu-core"
        return seconds + on_cpu * _STEP_SECONDS / training.recipe.batch_size

    def answer(self, training: Training, shown: Input, precision: Precision = "fp32") -> float:
        """Seconds of a picture forward alone."""
        known = self.answers.get((training.arch, shown))
        if known is not None:
            return known[0]
        alone = image_seconds(training, shown.side, self.device, trains=False, precision=precision)
        return self.pace * alone * _OVERHEAD

    def filled(
        self,
        training: Training,
        shown: Input,
        gain: float = 1.0,
        precision: Precision = "fp32",
    ) -> float:
        """Seconds of a picture in a fill.

        Args:
            gain: how many times as fast as alone it is answered (``zoo.fill.program.gain``).
        """
        write = _ANSWER_SECONDS * (self.device.name == "cpu-core")
        return self.fill * (self.answer(training, shown, precision) / gain + write)

    def unit(self, facts: Mapping[str, Any], asked: Mapping[str, tuple[Training, Input]]) -> float:
        """Seconds of a picture for all classifiers of a unit that is filled, by its record, which
        says who answered in lanes."""
        alike: dict[tuple[str, Input], list[str]] = {}
        for name, (training, shown) in asked.items():
            alike.setdefault((training.arch, shown), []).append(name)
        total = 0.0
        for (arch, shown), names in alike.items():
            together = len(facts.get("lanes", {}).keys() & set(names))
            faster = gain(arch, together, len(names) - together)
            total += len(names) * self.filled(asked[names[0]][0], shown, faster)
        return total

    def basis(self, training: Training, shown: Input, trainer: str) -> Basis:
        """What ``step`` rests on."""
        known = self.steps.get((training.arch, shown, trainer))
        if known is None:
            return "table" if self.pace == 1.0 else "paced"
        return known[1]


def is_of(device: str, accelerator: Accelerator) -> bool:
    """Whether a device, by the name that torch gives it (nothing for a CPU), is such a one."""
    if accelerator.name == "cpu-core":
        return not device
    return accelerator.name in device.lower().replace(" ", "")


def was_done_on(commit: Commit, accelerator: Accelerator) -> bool:
    """Whether a training has finished, on such a device."""
    device = str(commit.facts["versions"].get("device", ""))
    return commit.facts["status"] == "done" and is_of(device, accelerator)


def lanes_of(facts: Mapping[str, Any]) -> int:
    """Lanes that the network of a training had, by its record."""
    return int(facts.get("versions", {}).get("lanes_each", 1))


def trainer_of(facts: Mapping[str, Any]) -> str:
    """Who made a training's steps, by its record; the first of several."""
    return str(facts.get("trainer") or "single").partition("+")[0]


def measured(workspace: Workspace | None, dataset: Dataset, device: Accelerator) -> Rates:
    """What the finished trainings of a workspace on such a device say of its rates, whatever data
    they were on; an older record, which does not say what its network was shown, only where its
    data are of as many examples as these.

    On a CPU seconds are the CPU's where a record has them, which win over those by the clock. What
    took next to nothing says nothing.
    """
    tables = Rates(device)
    if workspace is None:
        return tables
    sizes = {split: len(examples) for split, examples in dataset.splits.items()}
    records = workspace.commits.all("dataset")
    sums: dict[Basis, tuple[dict[Any, _Sum], dict[Any, _Sum]]] = {
        "clock": ({}, {}),
        "cpu": ({}, {}),
    }
    shown_to: dict[str, tuple[Training, Input]] = {}
    took = by_table = 0.0
    plans = planned(workspace)
    for key, commit in workspace.commits.some("training", plans).items():
        training, facts = plans[key][0], commit.facts
        record = records.get(training.dataset.fingerprint)
        if record is None or not was_done_on(commit, device):
            continue
        if training.features is not None or "input" not in facts:
            if record.facts["splits"] != sizes:
                continue
            shown = input_of(training, dataset)
        else:
            shown = Input(*facts["input"])
        shown_to[key] = training, shown
        trainer, images = trainer_of(facts), facts["images"]
        asked = _asked(facts, record.facts["splits"].get("test", 0))
        basis: Basis = "clock"
        if device.name == "cpu-core" and "cpu_seconds" in facts:
            basis, steps = "cpu", facts["steps_cpu_seconds"]
            around = max(0.0, facts["cpu_seconds"] - steps - TRAINING_SECONDS)
            if training.features is None:
                took += steps
                by_table += images * tables.step(training, shown, trainer, lanes_of(facts))
        else:  # shared out as the tables would
            by_tables = (
                images * tables.step(training, shown, trainer),
                asked * tables.answer(training, shown),
            )
            pace = facts["train_seconds"] / (sum(by_tables) + TRAINING_SECONDS)
            steps, around = (pace * seconds for seconds in by_tables)
        mine, answering = sums[basis]
        mine.setdefault((training.arch, shown, trainer), _Sum()).add(images, steps)
        answering.setdefault((training.arch, shown), _Sum()).add(asked, around)
    pace = took / by_table if took >= _LEAST_SECONDS else 1.0
    found = Rates(device, _rates(sums, 0), _rates(sums, 1), pace=pace)
    return found if device.name != "cpu-core" else _with_fill(workspace, found, shown_to)


def _asked(facts: Mapping[str, Any], tested: int) -> int:
    """Pictures that a training was asked for on its way."""
    counts = {"test": tested, "train-eval": int(facts["n_train"])}
    return sum(counts.get(row["split"], 0) for row in facts["metrics"])


def _rates(
    sums: Mapping[Basis, tuple[Mapping[Any, _Sum], Mapping[Any, _Sum]]], which: int
) -> dict[Any, tuple[float, Basis]]:
    """Seconds per picture of what took long enough; of CPU seconds last, so that they win."""
    least = {"clock": _LEAST_SECONDS, "cpu": _LEAST_CPU_SECONDS}
    return {
        key: (total.seconds / total.pictures, basis)
        for basis, both in sums.items()
        for key, total in both[which].items()
        if total.pictures and total.seconds >= least[basis]
    }


def _with_fill(
    workspace: Workspace, rates: Rates, shown_to: Mapping[str, tuple[Training, Input]]
) -> Rates:
    """The same, with what a fill took of the CPU over what is expected of it."""
    took = expected = 0.0
    for unit, ids in filled_units(workspace.commits.all("answers").values()):
        if all(key in shown_to for key in ids.values()):
            took += unit["cpu_seconds"]
            asked = {name: shown_to[key] for name, key in ids.items()}
            expected += unit["examples"] * rates.unit(unit, asked)
    if took < _LEAST_CPU_SECONDS:
        return rates
    return replace(rates, fill=took / expected)


def filled_units(
    records: Iterable[Commit], dataset: str | None = None
) -> Iterable[tuple[Mapping[str, Any], dict[str, str]]]:
    """(facts, training of each classifier by its name) of the records of answers in float32 that
    say what they took; ``dataset``: of one alone, by its fingerprint."""
    for record in records:
        known = "cpu_seconds" in record.facts and "precision" not in record.identity
        if known and dataset in (None, record.identity["dataset"]):
            yield (
                record.facts,
                {name: name.rpartition("-e")[0] for name in record.identity["classifiers"]},
            )
