"""One card: is what it computes right, and how fast are trainings on it, one by one and stacked.

At most ``--minutes`` (8), one process and a few more for one comparison, no network, no Ray; what
the time does not reach is named. It needs torch (with CUDA), numpy, pandas, pyarrow, pydantic,
safetensors and Pillow with what they need, and for the ResNet-50 timm; no ray.

1. Right: trainings of fashion-mini by ``single`` and ``stacked`` on the card against ``single`` on
   the CPU; stopped in the middle and gone on with; the answers of their checkpoints on both
   devices, equal but where two classes are nearly tied; a fill through ``LocalRunner``; steps as a
   CUDA graph against steps without.
2. Fast: what the kernels need is compiled, each network in a process of its own. Then images per
   second of an epoch on resident pictures, sides in turn: *eager* (today's loop),
   *graph* (one network, captured), *stacked* (8, 32, 100 networks), processes side by side. Memory
   and utilisation of each.
3. Answers per second of a fill, ResNet-50 at 224 pixels in batches of 256.

Writes a JSON. ``--device cpu --quick`` shows on any machine that it works.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.bench.courses import CLASSES, bare, pictures
from tools.bench.paired import (
    Spread,
    Workers,
    interleave,
    machine,
    print_table,
    ratio_line,
    ratios,
    since,
    spread,
)
from zoo.data import open_dataset
from zoo.fill.plan import plan_fill
from zoo.fill.predict import ClassifierGroup, answers_of
from zoo.local import LocalRunner
from zoo.spec import PRECISIONS, Recipe, Training, classifier_id
from zoo.store import datasets, ledger
from zoo.store.commits import Commit
from zoo.store.workspace import Workspace
from zoo.training.run import run, settle
from zoo.training.seat import Seat
from zoo.training.stacked import Networks, Stacked, cost
from zoo.trainsets.prepare import TrainingData, prepare

__all__ = ["main"]

CPU = torch.device("cpu")
MINIS = (
    *("softmax", "mlp", "lenet5", "nin_mini", "vgg_mini", "resnet_mini", "inception_mini"),
    *("xception_mini", "densenet_mini", "efficientnet_mini"),
)
"""The ten networks that score in study 2."""
ARCHS = ("resnet20", *MINIS, "resnet8")
SIDES = {
    "eager": (0, 60),
    "graph": (1, 100),
    "stacked 8": (8, 30),
    "stacked 32": (32, 15),
    "stacked 100": (100, 8),
}
"""Of a side, its networks as one program (0: the loop of ``single``), and steps of an epoch."""
SIDE, BATCH, PICTURES = 32, 128, 10_000
PROCESSES = 4
LOGITS, GRAPH = 1e-2, 1e-5
"""Largest differences that count as equal: of logits between devices, between a captured step's
weights and an eager one's, in parts of their largest."""
CURVE = 0.05
"""Of running losses after two epochs between devices, in parts of the loss: rounding grows."""
TESTED = 0.25
"""The same of losses on the test set, which see running statistics too."""
TIMM_3090 = {"train": 1218.0, "infer": 3676.0}
"""Images per second of resnet50 at 224 in timm's published tables (RTX 3090, AMP, channels last,
torch 1.12, synthetic data)."""


class Clock:
    """What is left of the time."""

    def __init__(self, minutes: float) -> None:
        self._until = time.monotonic() + 60 * minutes
        self.left_out: list[str] = []

    def reaches(self, what: str, seconds: float) -> bool:
        """Whether there is time for something; else its name is kept."""
        if time.monotonic() + seconds <= self._until:
            return True
        self.left_out.append(what)
        return False


def silent(*_: object) -> None:
    """No progress display."""


# ---------------------------------------------------------------- is it right


def right(device: torch.device, quick: bool) -> dict[str, Any]:
    """Differences between devices and trainers; see the module's docstring, 1."""
    dataset = open_dataset("fashion-mini")
    archs = ("lenet5",) if quick else ("lenet5", "resnet8", "mobilenet_mini")
    steps, seeds = (2, 2) if quick else (24, 3)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for arch in archs:
            recipe = Recipe(epochs=2, steps_per_epoch=steps, augment="flip", optimizer="sgd")
            batch = [
                Training(arch=arch, dataset=dataset.ref, recipe=recipe, seed=s, snapshots=(1, 2))
                for s in range(seeds)
            ]

            def space(name: str, arch: str = arch) -> Workspace:
                made = Workspace.open(Path(folder) / arch / name, create=True)
                datasets.commit_dataset(made, dataset, {})
                return made

            reference, alone, stacked, stopped = map(space, ("cpu", "single", "stacked", "stopped"))
            _train(reference, batch, CPU, "single")
            _train(alone, batch, device, "single")
            _train(stacked, batch, device, "stacked")
            asked = iter(range(steps + steps // 2))
            run(
                *(stopped, batch),
                device=device,
                on_epoch=silent,
                trainer="stacked",
                should_stop=lambda asked=asked: next(asked, None) is None,  # type: ignore[misc]
            )
            unfinished = len(ledger.missing(stopped, batch))
            _train(stopped, batch, device, "stacked")
            names = [classifier_id(job.id, epoch) for job in batch for epoch in (1, 2)]
            found[arch] = {
                "loss, single / cpu": _of_losses(reference, alone, batch),
                "loss, stacked / cpu": _of_losses(reference, stacked, batch),
                "stopped in the middle": unfinished,
                "loss, stopped and gone on / stacked": _of_losses(stacked, stopped, batch),
                "test loss, stacked / cpu": _of_losses(reference, stacked, batch, "test"),
                **_of_answers(stacked, names, prepare(stacked, batch[0]), device),
                "answers filled": _filled(stacked, names, device),
            }
    if device.type == "cuda":
        found["graph / eager, weights"] = _of_graphs(device)
    return found


def verdicts(found: Mapping[str, Any]) -> list[str]:
    """What of it is wrong."""
    wrong = []
    for arch, of in found.items():
        if not isinstance(of, dict):
            wrong += [f"{arch}: {of:.2g}"] if of > GRAPH else []
            continue
        limits = {name: CURVE for name in of if name.startswith("loss")}
        limits |= {"test loss, stacked / cpu": TESTED}
        limits |= {"logits, card / cpu": LOGITS, "other predictions, no near tie": 0}
        wrong += [
            f"{arch}, {n}: {of[n]:.3g} > {most}" for n, most in limits.items() if of[n] > most
        ]
        if not of["stopped in the middle"] or not of["answers filled"]:
            wrong.append(f"{arch}: nothing was stopped, or nothing filled")
    return wrong


def _train(space: Workspace, batch: Sequence[Training], device: torch.device, name: str) -> None:
    failed = run(space, batch, device=device, on_epoch=silent, trainer=name)
    assert not failed, failed


def _record(space: Workspace, kind: str, name: str) -> Commit:
    found = space.commits.get(kind, name)
    assert found is not None, name
    return found


def _of_losses(
    one: Workspace, two: Workspace, batch: Sequence[Training], split: str = "train"
) -> float:
    """Largest difference of losses on a split (of train: running ones), in parts of the loss."""
    most = 0.0
    for job in batch:
        curves = [_record(s, "training", job.id).facts["metrics"] for s in (one, two)]
        for left, right in zip(*curves, strict=True):
            if left["split"] == split:
                most = max(most, abs(left["loss"] - right["loss"]) / left["loss"])
    return most


def _of_answers(
    space: Workspace, names: Sequence[str], data: TrainingData, device: torch.device
) -> dict[str, float]:
    """Logits of the same checkpoints on both devices. A near tie: the two largest logits are less
    apart than twice the largest difference between devices."""
    commits = [_record(space, "checkpoint", name) for name in names]
    assert data.test is not None
    images, _ = data.test.gather(np.arange(len(data.test_labels), dtype=np.int64))
    here, there = (
        np.stack(ClassifierGroup.load(space.files, commits, on).logits(images))
        for on in (CPU, device)
    )
    difference = float(np.abs(here - there).max())
    ordered = np.sort(here, axis=2)
    near = ordered[..., -1] - ordered[..., -2] <= 2 * difference
    other = here.argmax(2) != there.argmax(2)
    return {
        "logits, card / cpu": difference,
        "answers compared": other.size,
        "other predictions": int(other.sum()),
        "other predictions, no near tie": int((other & ~near).sum()),
    }


def _filled(space: Workspace, names: Sequence[str], device: torch.device) -> int:
    """Answers that a fill has committed."""
    dataset = open_dataset("fashion-mini")
    commits = {name: _record(space, "checkpoint", name) for name in names}
    plan = plan_fill(space, dataset, commits, ["test"], "all")
    LocalRunner(str(device)).fill(space, plan, silent)
    return len(space.commits.all("answers")) and plan.cells


def _of_graphs(device: torch.device) -> float:
    """Largest difference of weights and running statistics after six steps, captured and not, in
    parts of the largest."""
    data = pictures(512, SIDE, 3)
    found = []
    for captured in (True, False):
        recipe = Recipe(optimizer="sgd", lr=0.01, steps_per_epoch=6, augment="crop_flip")
        many = Many("resnet8", 4, recipe, data, device, captured=captured)
        many.epoch()
        statistics = [values.double().flatten() for values in many.stack.buffers.values()]
        found.append(torch.cat([many.stack.values.double().flatten(), *statistics]))
    return float((found[0] - found[1]).abs().max() / found[1].abs().max())


# ---------------------------------------------------------------- is it fast


class Many:
    """Some networks as one program, and their epochs."""

    def __init__(
        self,
        arch: str,
        count: int,
        recipe: Recipe,
        data: TrainingData,
        device: torch.device,
        *,
        captured: bool = True,
    ) -> None:
        needs = cost(arch, CLASSES, data.preprocessing.channels, SIDE, recipe)
        assert not isinstance(needs, str), needs
        courses = [bare(arch, data, recipe, device, seed) for seed in range(count)]
        self._together = Stacked(data, recipe, device, needs)
        self._seats = [Seat(course, device) for course in courses]
        self.stack: Networks = self._together.stack_of(courses)
        self.stack.captured = captured and device.type == "cuda"

    def epoch(self) -> None:
        """One epoch of all."""
        for seat in self._seats:
            seat.begin()
        self._together.epoch(self.stack, self._seats, lambda: False)


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done it."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return since(began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def watched(device: torch.device) -> Iterator[dict[str, float | None]]:
    """Peak memory in GiB, and the mean utilisation that nvidia-smi tells, of what is inside."""
    found: dict[str, float | None] = {"GiB": None, "utilisation": None}
    if device.type != "cuda":
        yield found
        return
    torch.cuda.reset_peak_memory_stats(device)
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.Popen([*query, "-lms", "100"], stdout=subprocess.PIPE, text=True)
    except OSError:
        told = None
    try:
        yield found
    finally:
        found["GiB"] = torch.cuda.max_memory_allocated(device) / 2**30
        if told is not None:
            told.terminate()
            said = [float(w) for w in told.communicate()[0].split() if w.isdigit()]
            found["utilisation"] = sum(said) / len(said) if said else None


def epochs_of(
    arch: str, count: int, device: torch.device, data: TrainingData, steps: int, recipe: Recipe
) -> tuple[Callable[[], float], int]:
    """A side that trains an epoch of so many steps, and its images. ``count``: networks as one
    program; 0 = one by the loop of ``single``. Captured, or warm."""
    own = recipe.replace(steps_per_epoch=steps)
    images = steps * recipe.batch_size * max(1, count)
    if count:
        many = Many(arch, count, own, data, device)
        many.epoch()  # the second use of a step captures it
        return lambda: timed(many.epoch, device), images
    course = bare(arch, data, own, device)
    course.alone()
    return lambda: timed(course.alone, device), images


def compiled(archs: Sequence[str], seconds: float) -> dict[str, Any]:
    """Compile what the networks' steps need, each architecture in a process of its own, into the
    folder where Triton keeps it: how long that took, and which broke off or came to no end; their
    measurement compiles again, or says why not."""
    began = time.perf_counter()
    asked = [sys.executable, "-m", "tools.bench.gpu", "--compile"]
    silence = subprocess.DEVNULL
    running = {a: subprocess.Popen([*asked, a], stdout=silence, stderr=silence) for a in archs}
    for process in running.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(1.0, seconds - since(began)))
        process.kill()
    return {
        "seconds": since(began),
        "not compiled": [arch for arch, process in running.items() if process.wait() != 0],
    }


def process_of(arch: str, steps: int, device: str) -> Callable[[], object]:
    """A process that trains by the loop of ``single`` (``Workers``)."""
    torch.set_num_threads(1)
    data = pictures(PICTURES, SIDE, 3)
    course = bare(
        arch, data, Recipe(batch_size=BATCH, epochs=1, steps_per_epoch=steps), torch.device(device)
    )
    course.alone()
    return lambda: timed(course.alone, course.device)


def trainings(
    device: torch.device, clock: Clock, *, rounds: int, quick: bool
) -> list[dict[str, Any]]:
    """Images per second of every side, and their ratios."""
    torch.set_num_threads(1)
    data = pictures(512 if quick else PICTURES, SIDE, 3)
    recipe = Recipe(batch_size=16 if quick else BATCH, epochs=1, optimizer="sgd")
    sides_of = {"eager": (0, 2), "graph": (1, 2), "stacked 2": (2, 2)} if quick else SIDES
    found = []
    for arch in ("lenet5",) if quick else ARCHS:
        sides: dict[str, Callable[[], float]] = {}
        images: dict[str, int] = {}
        about: dict[str, Any] = {"network": arch, "batch": recipe.batch_size}
        if not clock.reaches(arch, 20):
            continue
        for name, (count, steps) in sides_of.items():
            try:
                with watched(device) as use:
                    side, many = epochs_of(arch, count, device, data, steps, recipe)
                    side()
            except torch.OutOfMemoryError:
                about[name] = "out of memory"
                continue
            sides[name], images[name] = side, many
            about[f"{name}, use"] = use
        took = interleave(sides, rounds, warm_up=False)
        rates = {name: [images[name] / s for s in took[name]] for name in sides}
        about |= {name: spread(each).median for name, each in rates.items()}
        about["ratios"] = {
            name: vars(ratios(each, rates["eager"]))
            for name, each in rates.items()
            if name != "eager"
        }
        if arch == "resnet20" and not quick and clock.reaches(f"{arch}, processes", 30):
            about[f"processes {PROCESSES}"] = _processes(arch, device, rates["eager"])
        found.append(about)
        print(json.dumps(about), flush=True)
    return found


def _processes(arch: str, device: torch.device, eager: Sequence[float]) -> float:
    """Images per second of some processes on one device, each by the loop."""
    steps = max(2, round(0.4 * spread(eager).median / BATCH))
    with Workers(process_of, [(arch, steps, str(device))] * PROCESSES) as workers:
        return PROCESSES * steps * BATCH / min(workers.run() for _ in range(3))


def population(found: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Training images per second over the ten minis, as many passes of each: by the fastest side of
    each, and by the loop. None where one was not reached."""
    rates = {row["network"]: row for row in found}
    if any(arch not in rates for arch in MINIS):
        return None
    best = [
        max(
            v
            for k, v in rates[a].items()
            if k.startswith(("eager", "graph", "stacked")) and isinstance(v, float)
        )
        for a in MINIS
    ]
    eager = [rates[arch]["eager"] for arch in MINIS]
    return {
        name: len(each) / sum(1 / rate for rate in each)
        for name, each in (("best", best), ("eager", eager))
    }


def answers(device: torch.device, clock: Clock, *, rounds: int, quick: bool) -> dict[str, float]:
    """Answers per second: groups of untrained networks on pictures, to what is stored of them."""
    data = pictures(64 if quick else PICTURES, SIDE, 3)
    images, _ = data.train.gather(np.arange(len(data.rows)))
    found = {}
    for arch, count in (("lenet5", 2 if quick else 100), ("resnet20", 2 if quick else 32)):
        if not clock.reaches(f"answers of {arch}", 20):
            continue
        networks = [bare(arch, data, Recipe(), device, seed).model.eval() for seed in range(count)]
        group = ClassifierGroup(tuple((one, data.preprocessing) for one in networks), device)

        def work(group: ClassifierGroup = group) -> None:
            for logits in group.logits(images):
                answers_of(logits, data.rows.labels)

        took = interleave({"fill": lambda work=work: timed(work, device)}, rounds)["fill"]  # type: ignore[misc]
        found[f"{count} x {arch}"] = spread([count * len(images) / s for s in took]).median
    return found


def backbone(device: torch.device, clock: Clock, *, quick: bool) -> dict[str, Any]:
    """ResNet-50 at 224, batch 256, bf16, channels last: training by the loop, and answers as a fill
    makes them, in float32 and in bf16, in images per second."""
    if find_spec("timm") is None:
        return {"left out": "timm is not installed"}
    if quick:
        return {"left out": "quick"}
    if not clock.reaches("resnet50", 60):
        return {"left out": "no time"}
    recipe = Recipe(
        batch_size=256, epochs=1, steps_per_epoch=10, precision="bf16", channels_last=True
    )
    data = pictures(512, 224, 3)
    with watched(device) as use:
        course = bare("resnet50", data, recipe, device)
        course.alone()
        train = 2560 / min(timed(course.alone, device) for _ in range(3))
    images, _ = data.train.gather(np.arange(512))
    infer: dict[str, float] = {}
    for precision in PRECISIONS:
        network = copy.deepcopy(course.model).eval()
        members = ((network, data.preprocessing),)
        group = ClassifierGroup(members, device, precision=precision).folded()
        group.logits(images)
        seconds = min(timed(partial(group.logits, images), device) for _ in range(3))
        infer[precision] = 512 / seconds
    return {
        "train": train,
        **{f"infer, {precision}": rate for precision, rate in infer.items()},
        "train / timm's table (RTX 3090)": train / TIMM_3090["train"],
        "infer, bf16 / timm's table (RTX 3090, AMP)": infer["bf16"] / TIMM_3090["infer"],
        "use": use,
    }


# ---------------------------------------------------------------- what is written


def told(found: Mapping[str, Any]) -> None:
    """The table, and the targets."""
    rows = found["trainings"]
    if rows:
        names = [name for name in rows[0] if isinstance(rows[0][name], str | float | int)]
        print_table(
            [{name: row.get(name, "-") for name in names} for row in rows],
            "training images per second",
        )
    for row in rows:
        for name, ratio in row["ratios"].items():
            goal = 3.0 if (row["network"], name) == ("resnet20", "stacked 32") else None
            ratio_line(f"{row['network']}: {name} / eager", Spread(**ratio), goal)
    if found["population"] is not None:
        rate = found["population"]["best"]
        met = "met" if rate >= 170_000 else "MISSED"
        print(f"ten minis: {rate:,.0f} training images per second; target >= 170,000: {met}")
    for name, rate in found["answers"].items():
        print(f"answers per second, {name}: {rate:,.0f}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run all, print it and write it; 1 if something is not right."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="at most (default 8)")
    parser.add_argument("--compile", metavar="NETWORK", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("gpu-bench.json"), help="the JSON")
    options = parser.parse_args(argv)
    if options.compile:
        settle(torch.device("cuda"))
        data = pictures(512, SIDE, 3)
        recipe = Recipe(batch_size=BATCH, epochs=1, optimizer="sgd", steps_per_epoch=1)
        Many(options.compile, 2, recipe, data, torch.device("cuda"), captured=False).epoch()
        return 0
    print(f"\n== {str(__doc__).splitlines()[0]}\n{machine()}", flush=True)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("no card is seen here, so nothing is measured. To see it work: --device cpu --quick")
        return 0
    device, clock = torch.device(options.device), Clock(options.minutes)
    about = settle(device) | {"torch": torch.__version__, "machine": machine()}
    found: dict[str, Any] = {"about": about}
    if device.type == "cuda":
        found["compiled"] = compiled(ARCHS, 75)
    found["right"] = right(device, options.quick)
    found["wrong"] = verdicts(found["right"])
    print(json.dumps(found["right"], indent=1), *found["wrong"], sep="\n", flush=True)
    options.out.write_text(json.dumps(found, indent=1))
    rounds, quick = options.rounds, options.quick
    found["trainings"] = trainings(device, clock, rounds=rounds, quick=quick)
    found["population"] = population(found["trainings"])
    found["answers"] = answers(device, clock, rounds=rounds, quick=quick)
    found["resnet50"] = backbone(device, clock, quick=quick)
    found["left out"] = clock.left_out
    told(found)
    options.out.write_text(json.dumps(found, indent=1))
    print(f"written: {options.out}")
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
