"""A sweep's driver and queue on many slots, with trainings that sleep: what they cost beyond the
trainings themselves; and, computed from that, what a cluster of each size asks of them.

A Ray node of its own has the slots, more than this machine has cores. Its workers have
``zoo.training.run`` replaced by a module that sleeps, tells of epochs and commits records as a
training does. Everything else is what ``zoo train --address`` runs. ``wall_after_first`` counts
from the first epoch told, which leaves out the start of Ray and of the first worker; ``ideal`` is
trainings x seconds / slots. ``python -m tools.bench.cluster --load 10000:0:2`` measures that load
alone: trainings, seconds of each, slots.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.paired import print_table, settings, since
from zoo.cluster.queue import MESSAGES_PER_SECOND
from zoo.data import open_dataset
from zoo.spec import Recipe, Sweep
from zoo.store import ledger
from zoo.store.workspace import Workspace

__all__ = ["Load", "Size", "load_of", "main", "on_paper"]

EPOCHS = 4

_SLEEPING = """
import os, time
from zoo.spec import classifier_id

def run(workspace, trainings, *, device, on_epoch, should_stop, trainer, whole, more):
    for training in trainings:
        for epoch in range(1, training.recipe.epochs + 1):
            if should_stop():
                return {}
            time.sleep(float(os.environ["ZOO_BENCH_SECONDS"]) / training.recipe.epochs)
            on_epoch(training.id, epoch)
        key, facts = classifier_id(training.id, epoch), {"training_id": training.id}
        workspace.commits.publish("checkpoint", key, identity={}, facts=facts)
        facts = {"status": "done", "epochs": epoch}
        workspace.commits.publish("training", training.id, identity={}, facts=facts)
    return {}
"""
_HOOK = """
import importlib.abc, importlib.util, pathlib, sys

class Sleeping(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "zoo.training.run":
            place = pathlib.Path(__file__).parent / "sleeping.py"
            return importlib.util.spec_from_file_location(name, place)

sys.meta_path.insert(0, Sleeping())
"""


@dataclass(frozen=True)
class Load:
    """So many trainings that sleep so long, on so many slots."""

    trainings: int
    seconds: float
    slots: int


FULL = (Load(300, 2.0, 32), Load(1000, 2.0, 32), Load(5000, 0.5, 32), Load(600, 0.0, 2))
QUICK = (Load(12, 0.2, 3),)


def load_of(text: str) -> Load:
    """``10000:0:2``: ten thousand trainings of no length on two slots."""
    trainings, seconds, slots = text.split(":")
    return Load(int(trainings), float(seconds), int(slots))


@contextlib.contextmanager
def _node(load: Load, folder: Path) -> Iterator[str]:
    """A Ray node with the slots, whose workers sleep; its address."""
    from ray.cluster_utils import Cluster

    from zoo.cluster.session import authenticate_again

    (folder / "sitecustomize.py").write_text(_HOOK)
    (folder / "sleeping.py").write_text(_SLEEPING)
    variables = {"PYTHONPATH": str(folder), "ZOO_BENCH_SECONDS": str(load.seconds)}
    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = "disabled"
    authenticate_again()
    node = {"num_cpus": load.slots, "object_store_memory": 80_000_000, "env_vars": variables}
    made = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield made.address
    finally:
        made.shutdown()
        if before is None:
            del os.environ["RAY_AUTH_MODE"]
        else:
            os.environ["RAY_AUTH_MODE"] = before


class _StateFile:
    """The largest size, bytes, that the file of Tune's own state had meanwhile, of sweeps that
    began since."""

    def __init__(self) -> None:
        self.largest, self._over = 0, threading.Event()
        self._others = set(self._sweeps())

    def _sweeps(self) -> Iterator[Path]:
        return Path(tempfile.gettempdir()).glob("zoo-tune-*")

    def __enter__(self) -> _StateFile:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            with contextlib.suppress(OSError):
                for sweep in set(self._sweeps()) - self._others:
                    sizes = [path.stat().st_size for path in sweep.rglob("experiment_state*")]
                    self.largest = max(self.largest, *sizes, 0)

    def __exit__(self, *_: object) -> None:
        self._over.set()


def measure(load: Load) -> dict[str, str | float | int]:
    """One sweep of a load, from an empty workspace to the last commit."""
    from zoo.cluster.runner import RayRunner

    sweep = Sweep(archs=("mlp",), recipe=Recipe(epochs=EPOCHS), seeds=tuple(range(load.trainings)))
    jobs = list(sweep.expand(open_dataset("fashion-mini").ref))
    first: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        root, folder = Path(place) / "space", Path(place) / "hook"
        folder.mkdir()
        space = Workspace.open(root, create=True)
        with _node(load, folder) as address, _StateFile() as state:
            runner = RayRunner(address, workspace=str(root))

            def on_epoch(_training: str, _epoch: int) -> None:
                if not first:
                    first.append(time.perf_counter())

            cpu, began = time.process_time(), time.perf_counter()
            costs = dict.fromkeys((job.id for job in jobs), max(load.seconds, 0.01))
            runner.train(space, jobs, costs, on_epoch)
            wall, cpu = since(began), time.process_time() - cpu
            after = since(first[0]) if first else 0.0
            runner.close()
        left = ledger.missing(Workspace.open(root), jobs)
    assert not left, f"{len(left)} trainings are not done"
    return {
        "trainings": load.trainings,
        "seconds_each": load.seconds,
        "slots": load.slots,
        "wall": wall,
        "wall_after_first": after,
        "ideal": load.trainings * load.seconds / load.slots,
        "driver_cpu_ms_per_training": 1000 * cpu / load.trainings,
        "driver_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trainings_per_minute": 60 * load.trainings / wall,
        "tune_state_mb": state.largest / 1e6,
    }


# ---------------------------------------------------------------- on paper


@dataclass(frozen=True)
class Size:
    """A cluster and what it trains. ``seconds``: of one training on one GPU; ``snapshots`` of
    each; ``shard_mb``: decoded pictures of one shard of a fill."""

    name: str
    gpus: int
    trainings: int
    seconds: float
    snapshots: int
    shard_mb: float


SIZES = (
    Size("10 GPUs, small pictures", 10, 1_000, 120.0, 5, 6.3),
    Size("100 GPUs, small pictures", 100, 5_000, 120.0, 5, 6.3),
    Size("1,000 GPUs, small pictures", 1_000, 50_000, 120.0, 5, 6.3),
    Size("100 GPUs, 500 x ImageNet", 100, 100, 11_000.0, 5, 77.0),
)
_DRIVER_SECONDS = 0.015
"""CPU of the driver per training: the goal; what this machine showed is in docs/scale.md."""
REQUESTS = {"PUT": 3, "GET": 1, "HEAD": 3}
"""Of a new record with one file in a bucket: asked for (1 HEAD), its file sealed (copied onto
itself in case it is there, uploaded: 2 PUT), published (1 PUT, its file looked at before and after:
2 HEAD, read back: 1 GET). States of unfinished epochs come on top."""
_DOLLARS = {"PUT": 0.005 / 1000, "GET": 0.0004 / 1000, "HEAD": 0.0004 / 1000}
_SHARDS_ON_THE_WAY = 3


def on_paper(size: Size) -> dict[str, str | float | int]:
    """What a cluster of a size asks for, computed from how zoo works and no more."""
    per_second = size.gpus / size.seconds
    records = size.snapshots + 1
    requests = {kind: count * records for kind, count in REQUESTS.items()}
    return {
        "size": size.name,
        "trials": size.gpus,
        "messages_per_second": min(float(size.gpus), MESSAGES_PER_SECOND),
        "trainings_per_second": per_second,
        "driver_share_of_a_core": per_second * _DRIVER_SECONDS,
        "commits_per_second": per_second * records,
        "requests_per_second": per_second * sum(requests.values()),
        "dollars_for_requests": size.trainings
        * sum(count * _DOLLARS[kind] for kind, count in requests.items()),
        "object_store_mb_per_gpu": _SHARDS_ON_THE_WAY * size.shard_mb,
        "hours": size.trainings / per_second / 3600,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was measured, then what follows for larger ones."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--load", type=load_of, action="append", metavar="TRAININGS:SECONDS:SLOTS")
    asked, rest = parser.parse_known_args(argv)
    options = settings(str(__doc__), rounds=1, argv=rest)
    rows = [measure(load) for load in asked.load or (QUICK if options.quick else FULL)]
    print_table(rows, "a sweep of trainings that sleep, one node" + " (quick)" * options.quick)
    print_table([on_paper(size) for size in SIZES], "on paper: training, a workspace in a bucket")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
