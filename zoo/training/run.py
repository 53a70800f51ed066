"""The one training loop, and what surrounds it: resume, snapshot, evaluate, commit.

Everything random is keyed: initial weights by (architecture, seed), the order of pass p by (seed,
p), dropout and augmentation by (seed, epoch). So a training that was killed goes on from its newest
state exactly as if nothing had happened, and arms of a comparison that share a seed share their
initial weights.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import inspect
import math
import os
import platform
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from zoo import keyed, models
from zoo.errors import StoreError, UsageError, ZooError
from zoo.machine import source_hash
from zoo.models.heads import standardise
from zoo.spec import Recipe, Training, classifier_id, content_id
from zoo.store import ledger
from zoo.store.ledger import record_failure
from zoo.store.workspace import Workspace
from zoo.training import checkpoint, trainers
from zoo.training.alike import alike
from zoo.training.clock import Clock, Spent
from zoo.training.heads import train_heads
from zoo.training.loop import Metrics, StoppedError, Within, evaluate, evaluate_rows, fit
from zoo.training.rule import MOST, Whole
from zoo.training.schedule import steps_per_epoch
from zoo.trainsets.prepare import TrainingData, prepare

if TYPE_CHECKING:
    from zoo.training.lanes.fit import Lanes
    from zoo.training.stacked import Stacked

__all__ = ["Outcome", "StoppedError", "optimizer_of", "run", "run_training", "settle"]


_RESUME_SECONDS = 30.0
_NEAR_STOP = 0.1
"""A pass in evaluation mode costs a third of an epoch: it is made where the running accuracy is at
most this far below the threshold."""
_EMPTY = "no example left in the training set"


@dataclass
class Outcome:
    """How a training ended. ``status``: done; diverged (a loss that is not finite, at step
    ``steps``); empty (no example left)."""

    status: Literal["done", "diverged", "empty"]
    stop_reason: str
    epochs: int
    steps: int
    metrics: list[Metrics] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)


# ---------------------------------------------------------------- a batch of trainings


def run(
    workspace: Workspace,
    batch: Sequence[Training],
    *,
    device: torch.device,
    on_epoch: Callable[[str, int], None],
    should_stop: Callable[[], bool] = lambda: False,
    trainer: str | None = None,
    whole: Whole | None = None,
    more: Callable[[], Training | None] = lambda: None,
) -> dict[str, str]:
    """Do what is missing of a batch and commit it; the seam behind which trainings run one after
    the other or at once, as ``zoo.training.trainers`` decides.

    Args:
        batch: trainings that are ``alike``.
        on_epoch: called with a training's id and each finished epoch.
        should_stop: asked after every step. Once it is true the state is saved, within the epoch,
            and the rest of the batch is left for another time.
        trainer: by name; None = what the environment says, else by the rule.
        whole: what of the sweep is like the batch, which decides by the rule, whatever is left of
            it and whoever has the rest; None = the batch alone, and no more than moments of work.
        more: asked for another training like the batch whenever a lane is free and the batch has
            none left for it; None = there is none. Only who trains in lanes asks.

    Returns:
        The reason of each training that failed, by id. It is written down too, and the others of
        the batch go on.

    Raises:
        StoreError: the storage is at fault, so the rest would fail alike.
        UsageError: for a trainer that there is not, or that is not installed.
        ValueError: if the trainings are not alike.
    """
    if len(kinds := alike(batch)) > 1:
        raise ValueError(
            f"a batch of {len(kinds)} kinds of trainings, such as {kinds[0][0].id} and"
            f" {kinds[1][0].id}; split it with alike()"
        )
    asked = trainers.asked(trainer)
    failed: dict[str, str] = {}
    _import_once()
    clock = Clock()

    def fail(training: Training, error: Exception) -> None:
        clock.leave(training.id)
        if isinstance(error, StoreError):
            raise error
        failed[training.id] = f"{type(error).__name__}: {error}"
        record_failure(workspace, training.id, failed[training.id], traceback.format_exc())

    one_by_one: Sequence[Training] = batch
    if not batch:
        return failed
    whole = whole or Whole(len(batch), 0)
    with contextlib.suppress(StoppedError):
        if trainers.heads_may(batch[0], whole, asked):
            _as_heads(workspace, batch, device, on_epoch, should_stop, clock, fail, whole.images)
        if trainers.lanes_may(batch[0], whole, device, asked):

            def lanes(course: _Course) -> Lanes | str:
                return trainers.lanes_for(course.model, course.data, course.training, whole, asked)

            one_by_one = _together(
                workspace, batch, device, on_epoch, should_stop, clock, lanes, fail, more=more
            )
        elif trainers.stacked_may(batch[0], whole, device, asked):

            def stacked(course: _Course) -> Stacked | str:
                return trainers.stacked_for(course, device)

            one_by_one = _together(
                workspace,
                batch,
                device,
                on_epoch,
                should_stop,
                clock,
                stacked,
                fail,
                again=asked is None,
            )
        for training in one_by_one:
            # Done by an earlier attempt of this batch, or by another command on the same workspace
            # meanwhile.
            if not ledger.missing(workspace, [training]):
                continue
            try:
                run_training(
                    workspace,
                    training,
                    device=device,
                    report=partial(on_epoch, training.id),
                    should_stop=should_stop,
                )
            except StoppedError:
                raise
            except Exception as error:  # noqa: BLE001 - one broken training must not end the sweep; the reason is recorded and shown
                fail(training, error)
    return failed


def _as_heads(
    workspace: Workspace,
    batch: Sequence[Training],
    device: torch.device,
    on_epoch: Callable[[str, int], None],
    should_stop: Callable[[], bool],
    clock: Clock,
    fail: Callable[[Training, Exception], None],
    images: int,
) -> None:
    """Train a batch of heads at once, those on one data set together.

    Args:
        images: as ``train_heads`` takes it.
    """
    groups: dict[str, list[Training]] = {}
    for training in ledger.missing(workspace, batch):
        groups.setdefault(training.dataset.fingerprint, []).append(training)
    for group in groups.values():
        for start in range(0, len(group), MOST["heads"]):
            courses = []
            for training in group[start : start + MOST["heads"]]:
                course = _begun(workspace, training, device, on_epoch, should_stop, clock, fail)
                if course is not None:
                    courses.append(course)
            train_heads(courses, device, fail, should_stop, images)


def _together(
    workspace: Workspace,
    batch: Sequence[Training],
    device: torch.device,
    on_epoch: Callable[[str, int], None],
    should_stop: Callable[[], bool],
    clock: Clock,
    find: Callable[[_Course], Lanes | Stacked | str],
    fail: Callable[[Training, Exception], None],
    *,
    again: bool = False,
    more: Callable[[], Training | None] = lambda: None,
) -> list[Training]:
    """Train at once what may be; returns what is to be trained one by one.

    Args:
        find: who trains what is like the first at once, or why nobody does.
        again: what torch could not make at once is tried one by one, and a warning says so: nobody
            has asked for this trainer.
        more: as ``run`` takes it.
    """
    rest: list[Training] = []
    waiting = collections.deque(ledger.missing(workspace, batch))
    together: Lanes | Stacked | None = None

    def take() -> _Course | None:
        """The next training that has an example, and fits those before it."""
        while (found := waiting.popleft() if waiting else more()) is not None:
            still = ledger.missing(workspace, [found])
            if not still:
                continue
            (training,) = still
            course = _begun(workspace, training, device, on_epoch, should_stop, clock, fail)
            if course is None:
                continue
            if together is None or together.takes(course):
                return course
            clock.leave(training.id)
            rest.append(training)
        return None

    first = take()
    if first is None:
        return rest
    with clock.aside():
        found = find(first)
    if isinstance(found, str):
        clock.leave(first.training.id)
        return [first.training, *waiting]
    together = found
    if not together.takes(first):  # who happens to be the first decides for nobody else
        clock.leave(first.training.id)
        rest.append(first.training)
        first = take()
        if first is None:
            return rest

    def refused(training: Training, error: Exception) -> None:
        if not again or not isinstance(error, RuntimeError):
            fail(training, error)
            return
        clock.leave(training.id)
        reason = str(error).partition("\n")[0]
        warnings.warn(
            f"{training.arch}: trained one by one, since many at once raised {reason}", stacklevel=2
        )
        rest.append(training)

    together.train(first, take, refused, should_stop)
    return rest


# ---------------------------------------------------------------- one training, from spec to commit


def run_training(
    workspace: Workspace,
    training: Training,
    *,
    device: torch.device,
    report: Callable[[int], None] = lambda _epoch: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Do what is missing of one training and commit it: checkpoints at its snapshots, then its
    outcome.

    Finished work is not touched. A training that was stopped goes on from its newest state.
    ``report`` is called with each finished epoch, ``should_stop`` after every step.

    Raises:
        StoppedError: if ``should_stop`` said so; the state is saved.
        ZooError: for a cause known by name. Any other exception is a bug or the machine; either way
            nothing half-done is visible.
    """
    course = _begin(workspace, training, device, report, should_stop, Clock())
    if course is None:
        return Outcome("empty", _EMPTY, 0, 0)
    course.alone()
    return course.outcome


def _begun(
    workspace: Workspace,
    training: Training,
    device: torch.device,
    on_epoch: Callable[[str, int], None],
    should_stop: Callable[[], bool],
    clock: Clock,
    fail: Callable[[Training, Exception], None],
) -> _Course | None:
    """``_begin`` of one of many; None too, and told to ``fail``, if it raised."""
    try:
        report = partial(on_epoch, training.id)
        return _begin(workspace, training, device, report, should_stop, clock)
    except Exception as error:  # noqa: BLE001 - one broken training must not end the others
        fail(training, error)
        return None


def _begin(
    workspace: Workspace,
    training: Training,
    device: torch.device,
    report: Callable[[int], None],
    should_stop: Callable[[], bool],
    clock: Clock,
) -> _Course | None:
    """A training at its beginning, or where it was stopped; None, and its outcome committed, if it
    has no example. From here on it has its share of the process's time."""
    began = clock.enter(training.id)
    with clock.aside():
        settle(device)
        if training.recipe.version < 2 and training.recipe.augment == "resized_crop_flip":
            raise UsageError(
                f"training {training.id}: version = {training.recipe.version} of a recipe with"
                " augment=resized_crop_flip, whose crops were not the standard ones. The loop makes"
                " version 2 now. Leave version out of the recipe; that makes another training."
            )
        data = prepare(workspace, training)
        if not len(data.rows.example_ids):
            _commit_outcome(workspace, training, data, Outcome("empty", _EMPTY, 0, 0), [], device)
            clock.leave(training.id)
            report(training.recipe.epochs)
            return None
        course = _Course(workspace, training, data, device, report, should_stop, clock, began)
        if not course.resume():
            # Snapshots asked for only now, or whose commit is gone, need the epochs before the
            # state: start over, the same numbers come out.
            checkpoint.drop_resume(workspace.files, training.id)
            course = _Course(workspace, training, data, device, report, should_stop, clock, began)
        ledger.record_repeats(workspace, training, course.outcome.epochs)
        return course


class _Course:
    """A training under way: its network, its curve so far, and what follows each epoch. A trainer
    makes the steps between."""

    def __init__(
        self,
        workspace: Workspace,
        training: Training,
        data: TrainingData,
        device: torch.device,
        report: Callable[[int], None],
        should_stop: Callable[[], bool],
        clock: Clock,
        began: Spent,
    ) -> None:
        self.workspace, self.training, self.data = workspace, training, data
        self.device, self._report, self._should_stop = device, report, should_stop
        recipe, shape = training.recipe, data.preprocessing
        torch.manual_seed(keyed.key_seed(f"init/{training.arch}/{training.seed}"))
        model = models.build(
            training.arch,
            num_classes=len(data.class_names),
            in_channels=shape.channels,
            size=shape.size,
        ).to(device)
        if data.features is not None:
            standardise(model, *map(torch.from_numpy, data.features.statistics))
        elif recipe.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model, self.optimizer = model, optimizer_of(model, recipe)
        self.outcome = Outcome("done", "all epochs", 0, 0)
        self.within: Within | None = None
        """Where the epoch after ``outcome.epochs`` was stopped."""
        self._snapshots: list[int] = []
        self._trainers: list[str] = []
        self._lanes = 1
        self._per_epoch = steps_per_epoch(len(data.rows.example_ids), recipe)
        self._saved, self._clock, self._counted = time.monotonic(), clock, began

    def resume(self) -> bool:
        """Go on from the newest state, if there is one; False if it lies behind a snapshot that is
        asked for."""
        state = checkpoint.load_resume(self.workspace.files, self.training.id)
        if state is None:
            return True
        self.outcome.epochs, tensors, progress = state
        checkpoint.unpack(tensors, self.model, self.optimizer)
        self.within = checkpoint.within_epoch(tensors, progress)
        self.outcome.metrics, self._snapshots = progress["metrics"], progress["snapshots"]
        # A state of zoo 0.1 knows the wall's seconds alone, and nothing makes up for the others.
        cpu = progress.get("cpu_seconds", (math.nan, math.nan))
        self.outcome.spent = Spent(progress["seconds"], *cpu)
        self._trainers = progress.get("trainers", [])
        uncovered = ledger.uncovered_snapshots(self.workspace, self.training)
        return all(epoch > self.outcome.epochs for epoch in uncovered)

    def alone(self) -> None:
        """The trainer ``single``: the one training loop, to the end."""
        self.used("single")
        for epoch, metrics, diverged in fit(
            self.model,
            self.optimizer,
            self.data,
            self.training,
            device=self.device,
            start=self.outcome.epochs,
            within=self.within,
            on_step=self._on_step,
        ):
            if self.after(epoch, metrics, diverged):
                return

    def used(self, trainer: str, lanes: int = 1) -> None:
        """Note who makes the steps that follow, and how many lanes a network has."""
        self._lanes = lanes
        if trainer not in self._trainers:
            self._trainers.append(trainer)

    def _on_step(self, place: Callable[[], Within]) -> None:
        stop = self._should_stop()
        self.keep(place, stop=stop)
        if stop:
            raise StoppedError(self.training.id)

    def keep(self, place: Callable[[], Within], *, stop: bool) -> None:
        """Save the state within an epoch, if it is time or the last chance."""
        if stop or time.monotonic() - self._saved > _RESUME_SECONDS:
            self._save(place())
        if stop:
            ledger.record_stop(self.workspace, self.training.id)

    def _save(self, within: Within | None) -> None:
        with self._clock.aside():
            self._write_state(within)

    def _write_state(self, within: Within | None) -> None:
        self._tick()
        self._saved = time.monotonic()
        progress: dict[str, Any] = {
            "metrics": self.outcome.metrics,
            "snapshots": self._snapshots,
            "seconds": self.outcome.spent.wall,
            **({"cpu_seconds": self.outcome.spent[1:]} if self.outcome.spent.known else {}),
            "trainers": self._trainers,
        }
        if within is not None:
            progress["within"] = {"step": within.step, "seen": within.seen}
        checkpoint.save_resume(
            self.workspace.files,
            self.training.id,
            self.outcome.epochs,
            checkpoint.pack(self.model, self.optimizer, within),
            progress,
            step=within.step if within else 0,
        )

    def _tick(self) -> None:
        each = self._clock.each()
        self.outcome.spent = self.outcome.spent.plus(each.minus(self._counted))
        self._counted = each

    def after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool:
        """What follows an epoch: evaluation, snapshot, state; at the end the commit, and True."""
        with self._clock.aside():
            return self._after(epoch, metrics, diverged)

    def _after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool:
        outcome, training, model = self.outcome, self.training, self.model
        recipe, data, device = training.recipe, self.data, self.device
        self.within = None
        outcome.epochs, outcome.steps = epoch, epoch * self._per_epoch
        outcome.metrics.append(metrics)
        if diverged is not None:
            outcome.steps = diverged
            fault = f"the loss was not finite at step {diverged} (epoch {epoch})"
            return self._end("diverged", fault)
        reached = _reached(model, data, recipe, outcome.metrics, device)
        last = reached is not None or epoch == recipe.epochs
        snapshot = last or epoch in training.snapshots
        if snapshot or (training.eval_every and epoch % training.eval_every == 0):
            outcome.metrics.append(evaluate(model, data, recipe, epoch, device))
        if snapshot and (broken := _fault(model, outcome.metrics[-1])) is not None:
            if self.workspace.commits.get("training", training.id) is not None:
                # Asked for only later: how the training ended is committed and stays.
                raise ZooError(
                    f"training {training.id}, snapshot at epoch {epoch}: {broken}, so it is no"
                    f" classifier. The training itself is committed. Leave epoch {epoch} out of"
                    " --snapshots."
                )
            return self._end("diverged", f"{broken} after epoch {epoch}")
        if snapshot:
            _commit_checkpoint(
                self.workspace, training, data, model, epoch, outcome.metrics, device
            )
            self._snapshots.append(epoch)
        if last:
            return self._end("done", reached or outcome.stop_reason)
        self._report(epoch)
        if snapshot or time.monotonic() - self._saved > _RESUME_SECONDS:
            self._save(None)
        return False

    def _end(self, status: Literal["done", "diverged"], reason: str) -> bool:
        self._tick()
        self._clock.leave(self.training.id)
        self.outcome.status, self.outcome.stop_reason = status, reason
        _commit_outcome(
            self.workspace,
            self.training,
            self.data,
            self.outcome,
            self._snapshots,
            self.device,
            trainer="+".join(self._trainers),
            lanes=self._lanes,
        )
        self._report(self.training.recipe.epochs)
        return True


def _reached(
    model: nn.Module,
    data: TrainingData,
    recipe: Recipe,
    metrics: list[Metrics],
    device: torch.device,
) -> str | None:
    """Why a training may end after the epoch whose running metrics come last; None = it goes on.

    The running accuracy is measured with drop-out on and on weights that still move, so that a
    network may never reach by it what it reached long ago. Near the threshold the network is asked
    as it answers later; that measurement joins ``metrics`` and decides.
    """
    target, running = recipe.stop_train_acc, metrics[-1]
    if target is None or running["acc1"] is None:
        return None
    accuracy, how = float(running["acc1"]), ""
    if recipe.version > 1 and accuracy >= target - _NEAR_STOP:
        metrics.append(evaluate_rows(model, data, recipe, int(running["epoch"] or 0), device))
        accuracy, how = float(metrics[-1]["acc1"] or 0), " in evaluation mode"
    return f"training accuracy {accuracy:.4f}{how} reached {target}" if accuracy >= target else None


def _fault(model: nn.Module, tested: Metrics) -> str | None:
    """What makes a network no classifier: a loss on the test set, or a weight where no test example
    has a label, that is not finite."""
    if tested["acc1"] is not None and tested["loss"] is None:
        return "the loss on the test set was not finite"
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
        return "a weight was not finite"
    return None


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    match recipe.optimizer:
        case "sgd":
            return _eager(torch.optim.SGD)(
                model.parameters(),
                lr=recipe.lr,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
                fused=True,
            )
        case "adam":
            return _eager(torch.optim.Adam)(
                model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )
        case "adamw":
            return _eager(torch.optim.AdamW)(
                model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
            )


@functools.cache
def _eager(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """An optimiser of torch, the same steps, without torch's compiler: every optimiser loads it (2
    s of a core in each process) only to tell it to keep away from the optimiser's methods.

    torch asks a method for the attribute set here before it does; ``step`` is taken from inside
    what it is wrapped in, which is ``no_grad`` and breaks in graphs that nobody makes here.
    """
    for method in vars(torch.optim.Optimizer).values():
        if (plain := getattr(method, "__wrapped__", None)) is not None:
            plain.__dynamo_disable = plain
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {"step": step})


def _commit_checkpoint(
    workspace: Workspace,
    training: Training,
    data: TrainingData,
    model: nn.Module,
    epoch: int,
    metrics: Sequence[Metrics],
    device: torch.device,
) -> None:
    key = classifier_id(training.id, epoch)
    if workspace.commits.get("checkpoint", key) is not None:
        return
    at_epoch = {m["split"]: m for m in metrics if m["epoch"] == epoch}
    what = {
        "training_id": training.id,
        "epoch": epoch,
        "arch": training.arch,
        "dataset": training.dataset.fingerprint,
        "num_classes": len(data.class_names),
        "classes": content_id(list(data.class_names)),
        "preprocessing": data.preprocessing.as_json(),
    }
    accuracy = {
        "train_acc1": at_epoch["train"]["acc1"],
        "test_acc1": at_epoch["test"]["acc1"],
        "test_acc5": at_epoch["test"]["acc5"],
    }
    ref = checkpoint.save_checkpoint(
        workspace.files, key, model, {**what, "spec": training.identity}
    )
    workspace.commits.publish(
        "checkpoint",
        key,
        identity=what,
        facts={**what, **accuracy, "versions": _versions(device)},
        files=[ref],
    )


def settle(device: torch.device) -> dict[str, str]:
    """Fix how this process calculates on a device, and say so: full float32 products (no TF32),
    deterministic algorithms where torch has them.

    A CPU has nothing to choose from; there, the number of threads decides and is recorded beside
    this. It keeps the memory that a layer's maps were in for the next layer's.
    """
    if device.type != "cuda":
        _keep_memory()
        return {}
    # Read by cuBLAS when it starts; without it its matrix products are not deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Else every new tensor is filled with NaN first, which is a diagnosis and takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": str(torch.version.cuda),
        "tf32": "off",
        "algorithms": "deterministic",
    }


@functools.cache
def _keep_memory() -> None:
    """Let the C library keep what is given back, up to half a GiB, and take blocks of up to 32 MiB
    from it. By itself it gives large blocks back to the system, which clears each page of them
    anew: a third of the time in which a ResNet-20 answers (measured, docs/LOG.md). A C library
    without these settings (they are glibc's) does as it does."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in ((_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 512 << 20)):
            library.mallopt(setting, value)


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of ``mallopt``, as malloc.h numbers them."""


@functools.cache
def _import_once() -> None:
    """Let torch load what its first optimiser of a process needs, before the time of a training is
    taken: the first one would be charged for what all have."""
    optimizer_of(nn.Linear(1, 1), Recipe())


def _versions(device: torch.device) -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "numpy", "classifier-zoo")} | {
        "python": platform.python_version(),
        "source": source_hash(),
    }
    return found | settle(device)


def _commit_outcome(
    workspace: Workspace,
    training: Training,
    data: TrainingData,
    outcome: Outcome,
    snapshots: list[int],
    device: torch.device,
    trainer: str = "single",
    lanes: int = 1,
) -> None:
    rows = data.rows
    unique, copies = np.unique(rows.example_ids, return_counts=True)
    facts = {
        "spec": training.identity,
        "arch": training.arch,
        "dataset_uri": training.dataset.uri,
        "treatment": training.treatment_text,
        "status": outcome.status,
        "stop_reason": outcome.stop_reason,
        "epochs": outcome.epochs,
        "steps": outcome.steps,
        "snapshots": snapshots,
        "n_train": len(rows.example_ids),
        "n_unique": len(unique),
        "label_change_rate": data.label_change_rate,
        "class_counts": np.bincount(rows.labels, minlength=len(data.class_names)).tolist(),
        "unreadable": {split: len(reasons) for split, reasons in data.unreadable.items()},
        "metrics": outcome.metrics,
        **outcome.spent.as_facts(),
        "images": (
            int(
                outcome.epochs
                * steps_per_epoch(len(rows.example_ids), training.recipe)
                * training.recipe.batch_size
            )
            if training.recipe.steps_per_epoch
            else outcome.epochs * len(rows.example_ids)
        ),
        "input": [data.preprocessing.size, data.preprocessing.channels],
        "threads": torch.get_num_threads(),
        "trainer": trainer,
        "versions": _versions(device) | trainers.versions(trainer, device, training.recipe, lanes),
    }
    seen = np.zeros(data.examples, dtype=np.uint16)
    seen[unique] = np.minimum(copies, np.iinfo(np.uint16).max)
    ledger.commit_training(workspace, training, facts, seen)
    checkpoint.drop_resume(workspace.files, training.id)
