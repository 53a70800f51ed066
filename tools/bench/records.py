"""Orchestration without Ray: what a sweep of many trainings costs the process that asks for it, by
how many trainings there are, each with five snapshots.

1. *All is done.* A workspace whose trainings, checkpoints and answers are records of one real
   training under other names. In a fresh process each, processor time of: expanding the sweep,
   ``ledger.missing``, ``ledger.status`` (``zoo status``), an estimate (``zoo plan``), and
   ``pipeline.train`` with nothing left (``zoo train`` again). Linear if the time per 1,000
   trainings stays; asked is less than a second per 1,000 x 5.
2. *Nothing is done.* A driver's process that hands trainings to a queue whose workers end them at
   once: processor time, and how its memory grows with the sweep.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.bench.paired import Spread, print_table, settings, spread
from zoo.data import Dataset, open_dataset
from zoo.errors import FailedTrainingsError
from zoo.progress import Progress
from zoo.spec import Recipe, Sweep, Training, classifier_id, content_id
from zoo.store import ledger
from zoo.store.answers import AnswerUnit
from zoo.store.commits import COMMIT_FORMAT, Commit, sealed_json
from zoo.store.workspace import Workspace
from zoo.trainsets.treatments import op

__all__ = ["STEPS", "done_workspace", "main", "sweep_of"]

DATA = "fashion-mini"
SNAPSHOTS = (1, 2, 3, 4, 5)
STEPS = ("expand", "missing", "status", "plan", "nothing left")
_GROUP = 125
_QUIET = Progress(quiet=True)
_LIMIT = 1.0


def sweep_of(trainings: int) -> Sweep:
    """So many trainings that differ in their seed alone."""
    return Sweep(
        archs=("softmax",),
        recipe=Recipe(epochs=SNAPSHOTS[-1]),
        treatments=((op("subsample", fraction=0.02),),),
        seeds=tuple(range(trainings)),
        snapshots=SNAPSHOTS,
    )


def done_workspace(root: Path, trainings: int) -> Workspace:
    """A workspace in which all of a sweep is trained and filled, by the records of its first
    training, which is real. Written without waiting for the disk."""
    from zoo import pipeline
    from zoo.local import LocalRunner

    dataset = open_dataset(DATA)
    jobs = expanded(dataset, trainings)
    space, runner = Workspace.open(root, create=True), LocalRunner("cpu")
    pipeline.prepare_dataset(space, DATA, (), _QUIET)
    real = jobs[0]
    pipeline.train(space, dataset, "train", "population", [real], lambda: runner, _QUIET)
    ledger.record_plan(space, "train", "population", jobs)
    outcome = space.commits.get("training", real.id)
    checkpoints = {
        epoch: space.commits.get("checkpoint", classifier_id(real.id, epoch)) for epoch in SNAPSHOTS
    }
    names = []

    def put(like: Commit, key: str, identity: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        body = {
            "format": COMMIT_FORMAT,
            "kind": like.kind,
            "key": key,
            "generation": 1,
            "identity": identity,
            "facts": facts,
            "files": [ref.as_json() for ref in like.files],
            "created": like.created,
        }
        path = root / Commit(like.kind, key, 1, {}, {}).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sealed_json(body))

    assert outcome is not None
    for job in jobs:
        for epoch, like in checkpoints.items():
            assert like is not None
            names.append(classifier_id(job.id, epoch))
            of = {"training_id": job.id}
            put(like, names[-1], {**like.identity, **of}, {**like.facts, **of})
        put(outcome, job.id, {"spec": job.identity}, {**outcome.facts, "spec": job.identity})
    classes = content_id(list(dataset.class_names))
    for start in range(0, len(names), _GROUP):
        group = tuple(sorted(names)[start : start + _GROUP])
        unit = AnswerUnit(
            dataset.fingerprint, "test", group, len(dataset.class_names), classes, logits=False
        )
        facts = {"hits": dict.fromkeys(group, 1), "labelled": 1, "shards": 1, "rows": len(group)}
        put(Commit("answers", "", 1, {}, {}), unit.key, unit.identity, facts)
    return space


def expanded(dataset: Dataset, trainings: int) -> list[Training]:
    from zoo.trainsets.treatments import resolved

    return list(resolved(sweep_of(trainings), dataset).expand(dataset.ref))


# ---------------------------------------------------------------- in a process of its own


def _all_done(root: str, trainings: int) -> dict[str, float]:
    """CPU seconds of each step, each in the workspace opened anew."""
    from zoo import pipeline

    dataset = open_dataset(DATA)
    found: dict[str, float] = {}

    def timed(step: str, work: Callable[[], Any]) -> Any:
        ledger._training.cache_clear()  # a command has what it has read itself
        began = time.process_time()
        result = work()
        found[step] = time.process_time() - began
        return result

    jobs = timed("expand", lambda: expanded(dataset, trainings))
    assert timed("missing", lambda: ledger.missing(Workspace.open(root), jobs)) == []
    said = timed("status", lambda: ledger.status(Workspace.open(root)))
    assert said["classifiers"] == {"population": trainings * len(SNAPSHOTS)}
    plan = timed(
        "plan",
        lambda: pipeline.cost_of(Workspace.open(root), dataset, [sweep_of(trainings)], ["test"]),
    )
    assert (plan.trainings_done, plan.answers) == (trainings, 0)
    space = Workspace.open(root)
    timed(
        "nothing left",
        lambda: pipeline.train(space, dataset, "train", "population", jobs, _refuse, _QUIET),
    )
    return found


def _new(root: str, trainings: int) -> dict[str, float]:
    """CPU seconds and memory of a driver whose queue is in its own process; MB."""
    from zoo import pipeline
    from zoo.cluster.queue import Queue

    dataset = open_dataset(DATA)
    space = Workspace.open(root, create=True)
    pipeline.prepare_dataset(space, DATA, (), _QUIET)

    class Ends:
        """A runner whose workers end each training at once, and commit nothing."""

        starting = None
        device_name = ""

        def start(self) -> None: ...

        def train(
            self,
            workspace: Workspace,
            todo: Sequence[Training],
            costs: Mapping[str, float],
            on_epoch: Callable[[str, int], None],
            wholes: Any,
        ) -> None:
            queue = Queue(todo, costs, lambda _: "", lambda *_: None, wholes=wholes)
            queue.nodes({"A": "host"}, "A", "", 2)
            taken, asked = 0, 0.0
            while isinstance(given := queue.next("w:x", "A"), list):
                for training in given:
                    on_epoch(training.id, training.recipe.epochs)
                taken += len(given)
                if time.monotonic() - asked > 1.0:
                    queue.state()
                    asked = time.monotonic()
                queue.back("w:x", {}, [])
            assert taken == len(todo)

    return _memory(space, dataset, trainings, Ends)


def _again(root: str, trainings: int) -> dict[str, float]:
    """The same of a driver that finds nothing to do."""
    return _memory(Workspace.open(root), open_dataset(DATA), trainings, _refuse)


def _refuse() -> Any:
    raise AssertionError("something is missing")


def _memory(
    space: Workspace, dataset: Dataset, trainings: int, runner: Callable[[], Any]
) -> dict[str, float]:
    from zoo import pipeline

    before, began = _resident(), time.process_time()
    jobs = expanded(dataset, trainings)
    with contextlib.suppress(FailedTrainingsError):  # nothing is committed
        pipeline.train(space, dataset, "train", "population", jobs, runner, _QUIET)
    return {"cpu": time.process_time() - began, "before_mb": before, "peak_mb": _peak()}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _peak() -> float:
    """Of this process alone: what getrusage says begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM"))


def _apart(what: str, root: Path, trainings: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tools.bench.records", "--in-process", what, str(root)]
    said = subprocess.run(
        [*command, str(trainings)], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


# ---------------------------------------------------------------- the tables


def main(argv: Sequence[str] | None = None) -> int:
    """Print both tables."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--in-process"]:
        what, place, trainings = words[1:]
        does = {"done": _all_done, "new": _new, "again": _again}[what]
        print(json.dumps(does(place, int(trainings))))
        return 0
    options = settings(str(__doc__), rounds=3, argv=words)
    rounds = 1 if options.quick else options.rounds
    sizes = (10, 20) if options.quick else (500, 1000, 2000, 10_000)
    rows: list[dict[str, str | float | int]] = []
    each: dict[int, dict[str, Spread]] = {}
    with tempfile.TemporaryDirectory() as folder:
        roots = {size: Path(folder) / str(size) for size in sizes}
        for size, root in roots.items():
            done_workspace(root, size)
        found = {size: [_apart("done", roots[size], size) for _ in range(rounds)] for size in sizes}
        for size in sizes:
            per = {step: [run[step] / size * 1000 for run in found[size]] for step in STEPS}
            each[size] = {step: spread(values) for step, values in per.items()}
            rows.append({"trainings": size, **{s: each[size][s].text() for s in STEPS}})
        print_table(
            rows,
            "CPU seconds per 1,000 trainings x 5 snapshots, all done, a fresh process each",
        )
        driver: list[dict[str, str | float | int]] = []
        for size in sizes:
            row: dict[str, str | float | int] = {"trainings": size}
            for what in ("new", "again"):
                runs = [
                    _apart(
                        what, roots[size] if what == "again" else Path(folder) / f"{size}-{k}", size
                    )
                    for k in range(rounds)
                ]
                each_run = [run["cpu"] / size * 1000 for run in runs]
                row[f"{what}_cpu_s_per_1000"] = spread(each_run).text()
                row[f"{what}_mb"] = spread(
                    [run["peak_mb"] - run["before_mb"] for run in runs]
                ).text()
            driver.append(row)
        print_table(
            driver,
            "the driver and its queue: trainings that end at once (new), nothing left (again);"
            " MB beside what the program takes",
        )
    if not options.quick:
        slow = [
            f"{step} of {size:,}: {each[size][step].text()}"
            for size in sizes
            for step in STEPS
            if each[size][step].median >= _LIMIT
        ]
        verdict = f"MISSED: {'; '.join(slow)}" if slow else "met"
        print(f"target < {_LIMIT:g} s per 1,000 x 5: {verdict}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
