"""Trainings on Ray Tune. A trial is a worker: it asks a queue for batches until nothing is left.

Tune places the trials and starts a lost one again. It is not asked what is done: that is the
ledger's, so nothing is ever restored from Tune's state; nor what is left, which the queue knows.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from zoo.cluster.capacity import Resources
from zoo.cluster.keeper import Keeper
from zoo.cluster.nodes import Nodes, here
from zoo.cluster.queue import END, WAIT, State
from zoo.cluster.session import hush, last_words, longer
from zoo.errors import StoreError
from zoo.progress import announce
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training.alike import kind
from zoo.training.rule import SETTING, Whole

__all__ = ["run_sweep"]

_POLL_SECONDS = 1.0
_SECONDS_TO_SAVE = 20.0
_SECONDS_TO_END = 5.0
_STARTS = 6
"""Workers that may be lost in a row before they ask for anything: what starts them is broken."""


# ---------------------------------------------------------------- a worker's process


class _Worker(tune.Trainable):  # type: ignore[misc]
    """A trial: one process that trains batch after batch."""

    def setup(self, config: dict[str, Any]) -> None:
        self._config = config

    def step(self) -> dict[str, Any]:
        _Shift(self._config, self.trial_id).work()
        return {tune.result.DONE: True}


class _Shift:
    """What a worker does from its first batch to its last."""

    def __init__(self, config: Mapping[str, Any], trial: str) -> None:
        self._config = config
        self._queue = ray.get_actor(config["queue"])
        self._me, self._host = f"{trial}:{secrets.token_hex(4)}", here()
        self._stop, self._over = threading.Event(), threading.Event()
        self._epochs: dict[str, int] = {}
        self._lock = threading.Lock()

    def work(self) -> None:
        # Whoever ends the node gracefully ends its processes so.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, lambda *_: self._stop.set())
        # Before it asks for work: on a busy machine this takes minutes in which it can say nothing,
        # and what it had could be another's. What fails, fails again where it is reported.
        with contextlib.suppress(Exception):
            import zoo.training.run  # noqa: F401
        thread = threading.Thread(target=self._tell, daemon=True)
        thread.start()
        try:
            while not self._stop.is_set():
                given = self._ask("next", self._me, self._host)
                if given == END:
                    break
                if given == WAIT:
                    self._stop.wait(_POLL_SECONDS)
                else:
                    self._train(given)
        finally:
            self._over.set()
            thread.join()

    def _ask(self, method: str, *arguments: Any) -> Any:
        return ray.get(self._queue.call.remote(method, *arguments))

    def _train(self, batch: list[Training]) -> None:
        try:
            import torch

            from zoo.training.device import device_for
            from zoo.training.run import run

            torch.set_num_threads(int(self._config["threads"]))
            device = device_for(self._config["gpus"])
            workspace = Workspace.open(self._config["workspace"])

            def more() -> Training | None:
                if self._stop.is_set():
                    return None
                found: Training | None = None
                # Without the queue what is here goes on all the same.
                with contextlib.suppress(Exception):
                    found = self._ask("more", self._me)
                if found is not None:
                    given.append(found)
                return found

            given = list(batch)
            failed = run(
                workspace,
                batch,
                device=device,
                on_epoch=self._finished,
                should_stop=self._stop.is_set,
                trainer=self._config["trainer"],
                whole=self._ask("declared", kind(batch[0])),
                more=more,
            )
            left = [job.id for job in ledger.missing(workspace, given) if job.id not in failed]
        except Exception as error:  # noqa: BLE001 - this host cannot; the queue decides what follows
            self._ask("broke", self._me, _reason(error), traceback.format_exc())
        else:
            self._ask("back", self._me, failed, left)

    def _finished(self, training_id: str, epoch: int) -> None:
        with self._lock:
            self._epochs[training_id] = epoch

    def _tell(self) -> None:
        period = _POLL_SECONDS
        while not self._over.wait(period):
            with self._lock:
                epochs, self._epochs = self._epochs, {}
            try:
                order = self._ask("tell", self._me, epochs)
            except Exception:  # noqa: BLE001 - the queue is gone, and with it whoever wants the rest
                self._stop.set()
                return
            period = order.period
            if order.stop:
                self._stop.set()
        with self._lock, contextlib.suppress(Exception):
            self._ask("tell", self._me, self._epochs)


def _reason(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


# ---------------------------------------------------------------- the driver


class _Driver:
    """What Tune's hooks share: the queue, asked once a second, and the trials that live."""

    def __init__(self, queue: Any, nodes: Nodes, on_epoch: Callable[[str, int], None]) -> None:
        self._queue, self._nodes, self._on_epoch = queue, nodes, on_epoch
        self._asked = -_POLL_SECONDS
        self._starts = 0
        self._there: Any = None
        self._silent: set[str] = set()
        self.live: set[str] = set()
        self.now = State(settled=False, wanted=1, busy=0, epochs={}, lines=[])
        self.error = ""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it calls; a display does not travel

    @property
    def over(self) -> bool:
        return self.now.settled or bool(self.error)

    def ask(self, method: str, *arguments: Any) -> Any:
        return ray.get(self._queue.call.remote(method, *arguments))

    def look(self) -> None:
        """Ask how far it is, if it is time."""
        if time.monotonic() - self._asked < _POLL_SECONDS:
            return
        if (there := self._nodes.for_queue()) != self._there:
            self.ask("nodes", *there)
            self._there = there
        self.now = self.ask("state")
        self._asked = time.monotonic()
        self._silent |= set(self.now.silent)
        for line in self.now.lines:
            announce(line, [line])
        for training_id, epoch in self.now.epochs.items():
            self._on_epoch(training_id, epoch)
        if self.now.busy:
            self._nodes.worked()

    def lost(self, trial: Any) -> None:
        self.ask("lost", trial.trial_id)
        self._starts += 1
        if self._starts >= _STARTS * max(1, len(self.live)):
            self.error = last_words(trial.get_pickled_error() or RuntimeError("no worker starts"))

    def started(self, trial: Any) -> None:
        self._starts = 0
        self.ask("started", trial.trial_id)

    def ended(self, trial_id: str) -> None:
        self.live.discard(trial_id)
        self.ask("lost", trial_id)  # what it has not given back; nothing more is expected of it
        # Asked at once, not in a second: by what it knew before, another worker would be wanted.
        self._asked = -_POLL_SECONDS

    def end_silent(self, trials: Sequence[Any]) -> None:
        """End the workers that were taken for lost because they said nothing. Tune then starts them
        again; it would wait for them for ever, and they would keep their places."""
        silent, self._silent = self._silent, set()
        for trial in trials:
            actor = trial.temporary_state.ray_actor
            if trial.trial_id in silent and actor is not None:
                ray.kill(actor)

    def stop(self) -> None:
        """Let the workers save what they have; returns when they have, or after a while."""
        longer(_SECONDS_TO_SAVE + _SECONDS_TO_END)
        until = time.monotonic() + _SECONDS_TO_SAVE
        with contextlib.suppress(Exception):  # Ray may be gone by now, and with it the workers
            ray.get(self._queue.call.remote("stop"), timeout=_SECONDS_TO_END)
            while time.monotonic() < until and ray.get(
                self._queue.call.remote("at_work"), timeout=_SECONDS_TO_END
            ):
                time.sleep(_POLL_SECONDS / 10)


class _Trials(Searcher):  # type: ignore[misc]
    """Tune's source of trials: one more as long as there is work for it."""

    def __init__(self, driver: _Driver) -> None:
        super().__init__()
        self._driver = driver

    def suggest(self, trial_id: str) -> Any:
        # Asked here too: where no trial lives, Tune waits in a loop of its own for the next one.
        self._driver.look()
        if self._driver.over:
            return Searcher.FINISHED
        if len(self._driver.live) >= self._driver.now.wanted:
            return None
        self._driver.live.add(trial_id)
        return {}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        self._driver.ended(trial_id)

    def save_to_dir(self, *_: Any, **__: Any) -> None:
        """Nothing is restored from Tune."""

    save = restore = restore_from_dir = save_to_dir


class _Events(tune.Callback):  # type: ignore[misc]
    def __init__(self, driver: _Driver) -> None:
        self._driver = driver

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._driver.look()
        self._driver.end_silent(trials)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._driver.started(trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._driver.lost(trial)


class _Over(tune.Stopper):  # type: ignore[misc]
    def __init__(self, driver: _Driver) -> None:
        self._driver = driver

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._driver.over


def run_sweep(
    workspace: Workspace,
    trainings: Sequence[Training],
    costs: Mapping[str, float],
    on_epoch: Callable[[str, int], None],
    nodes: Nodes,
    *,
    resources: Resources,
    wholes: Mapping[str, Whole],
    trainer: str | None = None,
) -> None:
    """Run trainings as Tune trials; returns when each is committed, has diverged or has failed for
    good.

    Args:
        wholes: as ``zoo.training.rule.wholes`` gives them, of the sweep as it was declared.
        trainer: by name; None = as this process's environment says, which workers elsewhere do not
            have, else by the rule.

    Raises:
        StoreError: if no host can use the storage.
        ZooError: if no worker starts.
    """
    hush()
    trainer = trainer or os.environ.get(SETTING) or None
    name = f"zoo-queue-{secrets.token_hex(4)}"
    texts = [json.dumps(training.as_json()) for training in trainings]
    # A message that is lost on the way is sent again: what it asks for may be done twice.
    keeper = ray.remote(num_cpus=0, max_task_retries=-1)(Keeper)
    queue = keeper.options(
        name=name, scheduling_strategy=NodeAffinitySchedulingStrategy(here(), soft=False)
    ).remote(
        *(workspace.location, texts, dict(costs), not resources.get("GPU")),
        *(dict(wholes), trainer),
    )
    driver = _Driver(queue, nodes, on_epoch)
    config = {
        "queue": name,
        "workspace": workspace.location,
        "threads": max(1, int(resources.get("CPU", 1))) if resources.get("GPU") else 1,
        "gpus": resources.get("GPU", 0.0),
        "trainer": trainer,
    }
    # Tune's own files are scratch, and nobody's but this process's.
    with tempfile.TemporaryDirectory(prefix="zoo-tune-", ignore_cleanup_errors=True) as scratch:
        try:
            driver.look()
            tune.Tuner(
                tune.with_resources(_Worker, dict(resources)),
                param_space=config,
                tune_config=tune.TuneConfig(
                    num_samples=-1,
                    search_alg=_Trials(driver),
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    verbose=0,
                    stop=_Over(driver),
                    failure_config=tune.FailureConfig(max_failures=-1),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[_Events(driver)],
                ),
            ).fit()
        except (KeyboardInterrupt, SystemExit):
            driver.stop()
            raise
        finally:
            ray.kill(queue)
    _tell_end(workspace, trainings, driver)


def _tell_end(workspace: Workspace, trainings: Sequence[Training], driver: _Driver) -> None:
    """The error of a whole sweep: its storage's, or the reason of every training that has no
    outcome and no reason of its own.

    Raises:
        StoreError: nobody's training is to blame, and all would fail alike.
    """
    error, _, text = driver.now.hopeless.partition(": ")
    if error == StoreError.__name__:
        raise StoreError(text)
    if driver.error:
        said = ledger.failures(workspace)
        for training in ledger.missing(workspace, trainings):
            if training.id not in said:
                ledger.record_failure(workspace, training.id, driver.error, "")
