"""Many networks of one architecture, in lanes and one after the other: their logits, and a fill of
them against plain torch loops that write nothing.

Logits: 16 networks of each small architecture on the same pictures in memory, 32 x 32 x 3, as they
were trained (*plain*: unfolded, one channel after the other), and by the fill's two programs.

Fills: pictures are PNGs in Parquet; one process and one thread each, and CPU time counts, so that a
busy machine spoils less. Sides, for 16 and 32 LeNet-5s (28 x 28 x 1) and 16 ResNet-20s
(32 x 32 x 3):

1. *passes*: a loop for each of eight networks: read, decode with PIL, normalise, predict.
2. *loop*: the same for all at once: pictures are decoded once.
3. *single*, *lanes*: ``plan_fill`` and ``LocalRunner`` with that program, everything written
   and committed.

Both cores, by the clock, in long runs: a fill of ResNet-20s in lanes on Ray, two workers, against
the loop for all with two threads. Two sizes give the cost per further picture.
"""

from __future__ import annotations

import copy
import io
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from tools.bench.filling import with_classifiers
from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo import models
from zoo.cluster.runner import RayRunner
from zoo.data import Dataset, open_dataset
from zoo.data.embedded_sets import embedded_path
from zoo.fill.plan import plan_fill
from zoo.fill.predict import ClassifierGroup
from zoo.fill.program import FASTER, SINGLE
from zoo.local import LocalRunner
from zoo.pipeline import Runner
from zoo.spec import Preprocessing
from zoo.store import ledger
from zoo.store.commits import Commit
from zoo.store.workspace import Workspace
from zoo.training.checkpoint import load_classifier
from zoo.training.loop import EVALUATION_BATCH
from zoo.training.run import settle
from zoo.training.tensors import normalise

__all__ = ["main"]

NETWORKS, PASSES = 16, 8
CPU = torch.device("cpu")


def pictures(folder: Path, examples: int, *, colour: bool) -> Dataset:
    """Fashion-mini's PNGs, repeated to so many; or the same as 32 x 32 x 3."""
    folder.mkdir()
    for split, count in (("train", examples), ("test", 64)):
        table = pq.read_table(embedded_path("fashion-mini") / f"{split}.parquet")
        table = table.take(pa.array(np.arange(count) % table.num_rows))
        if colour:
            table = table.set_column(
                table.column_names.index("image"), "image", [_coloured(table.column("image"))]
            )
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=1000)
    return open_dataset(str(folder))


def _coloured(images: pa.ChunkedArray) -> pa.Array:
    made = []
    for image in images.to_pylist():
        pixels = np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("L").resize((32, 32)))
        buffer = io.BytesIO()
        Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], 2)).save(buffer, "PNG")
        made.append({**image, "bytes": buffer.getvalue()})
    return pa.array(made, type=images.type)


class Sides:
    """The same pictures and networks, four ways; each gives its seconds of the CPU."""

    def __init__(self, arch: str, count: int, dataset: Dataset, scratch: Path) -> None:
        self.dataset, self.scratch, self.count = dataset, scratch, count
        self.template = with_classifiers(scratch / "template", dataset, (arch,) * count)
        self.commits = list(ledger.population(self.template).values())
        self.mode = "L" if arch == "lenet5" else "RGB"

    def loop(self, commits: Sequence[Commit], threads: int = 1) -> float:
        torch.set_num_threads(threads)
        group = [load_classifier(self.template.files, commit, CPU) for commit in commits]
        began = time.process_time()
        with torch.inference_mode():
            for batch in pq.ParquetFile(Path(self.dataset.uri) / "train.parquet").iter_batches(
                EVALUATION_BATCH, columns=["image"]
            ):
                encoded = batch.column("image").field("bytes").to_pylist()
                images = np.stack(
                    [
                        np.asarray(Image.open(io.BytesIO(data)).convert(self.mode))
                        for data in encoded
                    ]
                ).reshape(len(encoded), *self._shape(encoded[0]))
                raw = torch.from_numpy(images)
                x = normalise(raw, group[0][1])
                for network, _ in group:
                    network(x).argmax(1)
        return time.process_time() - began

    def _shape(self, encoded: bytes) -> tuple[int, int, int]:
        width, height = Image.open(io.BytesIO(encoded)).size
        return height, width, 1 if self.mode == "L" else 3

    def loop_on_both(self) -> float:
        """Seconds of the clock, with two threads."""
        began = time.perf_counter()
        self.loop(self.commits, threads=2)
        return since(began)

    def on_ray(self) -> float:
        """Seconds of the clock of a fill by two workers; starting Ray is not among them."""
        runner = RayRunner(cpus=2)
        try:
            runner.start()
            return self.fill("lanes", runner, time.perf_counter)
        finally:
            runner.close()

    def passes(self) -> float:
        return sum(self.loop([commit]) for commit in self.commits[:PASSES])

    def fill(
        self,
        program: str,
        runner: Runner | None = None,
        clock: Callable[[], float] = time.process_time,
    ) -> float:
        root = self.scratch / "filled"
        shutil.copytree(self.template.root, root)
        space = Workspace.open(root)
        began = clock()
        plan = plan_fill(
            space, self.dataset, ledger.population(space), ["train"], "all", program=program
        )
        (runner or LocalRunner("cpu")).fill(space, plan, lambda _: None)
        seconds = clock() - began
        assert len(plan.in_lanes) == (self.count if program == "lanes" else 0)
        shutil.rmtree(root)
        return seconds


def logits(arch: str, rounds: int) -> None:
    """CPU seconds of the logits of 16 networks: as they are, prepared for answers, and in lanes
    where there are any."""
    settle(CPU)  # as a worker of a fill does: memory that a batch gave back is there for the next
    size, channels = 32, 3
    shown = Preprocessing(
        size=size, channels=channels, fit="pad", mean=(0.5,) * channels, std=(0.25,) * channels
    )
    members = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = models.build(arch, num_classes=10, in_channels=channels, size=size)
        members.append((network.eval(), shown))
    given = ClassifierGroup(tuple(members), CPU)
    alone = ClassifierGroup(tuple(copy.deepcopy(members)), CPU).folded()
    images = np.random.default_rng(0).integers(0, 256, (256, size, size, channels), dtype=np.uint8)

    def plain() -> float:
        began = time.process_time()
        with torch.inference_mode():
            pictures = normalise(torch.from_numpy(images), shown)
            for network, _ in members:
                network(pictures)
        return time.process_time() - began

    def taken(group: ClassifierGroup) -> Callable[[], float]:
        def side() -> float:
            began = time.process_time()
            group.logits(images)
            return time.process_time() - began

        return side

    sides = {"plain": plain, "single": taken(alone)}
    if arch in FASTER:
        together = given.in_lanes([range(NETWORKS)], wanted=True)
        assert together.together
        sides["lanes"] = taken(together)
    seconds = interleave(sides, rounds)
    each = {
        side: spread([1e6 * s / NETWORKS / len(images) for s in v]) for side, v in seconds.items()
    }
    for slow, fast in itertools.pairwise(sides):
        ratio_line(
            f"{arch}: {slow} / {fast}, microseconds per answer {each[slow].text()} /"
            f" {each[fast].text()}",
            ratios(seconds[slow], seconds[fast]),
        )


def both_cores(arch: str, sizes: tuple[int, int], rounds: int) -> None:
    """Seconds per further picture of a fill on Ray and of the loop, two cores each."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)  # Ray's own lines go elsewhere
    slopes: dict[str, list[float]] = {}
    found: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            scratch = Path(folder) / str(size)
            scratch.mkdir()
            dataset = pictures(scratch / "pictures", size, colour=arch != "lenet5")
            sides = Sides(arch, NETWORKS, dataset, scratch)
            found[size] = interleave(
                {"ray": sides.on_ray, "loop": sides.loop_on_both}, rounds, warm_up=False
            )
    for side in ("ray", "loop"):
        pairs = zip(found[sizes[0]][side], found[sizes[1]][side], strict=True)
        slopes[side] = [(b - a) / (sizes[1] - sizes[0]) for a, b in pairs]
    print(
        f"{arch}, {NETWORKS} networks, both cores, microseconds per answer: fill in lanes on Ray"
        f" {spread([1e6 * s / NETWORKS for s in slopes['ray']]).text()}, loop"
        f" {spread([1e6 * s / NETWORKS for s in slopes['loop']]).text()}"
    )
    ratio_line(
        f"loop for all, two threads / fill in lanes on Ray, seconds per further picture, {arch}",
        ratios(slopes["loop"], slopes["ray"]),
        3.0 if arch == "resnet20" else None,
    )


def compare(
    arch: str,
    count: int,
    examples: int,
    rounds: int,
    targets: tuple[float | None, float | None],
) -> None:
    """So many networks of one architecture. ``targets``: of passes over the fill, of the loop over
    the fill, by answer."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = pictures(Path(folder) / "pictures", examples, colour=arch != "lenet5")
        sides = Sides(arch, count, dataset, Path(folder))
        seconds = interleave(
            {
                "passes": sides.passes,
                "loop": lambda: sides.loop(sides.commits),
                "single": lambda: sides.fill("single"),
                "lanes": lambda: sides.fill("lanes"),
            },
            rounds,
        )
    answers = {side: examples * (PASSES if side == "passes" else count) for side in seconds}
    each = {side: [s / answers[side] for s in values] for side, values in seconds.items()}
    rows: list[dict[str, str | float | int]] = [
        {
            "side": side,
            "answers": answers[side],
            "cpu_seconds": spread(seconds[side]).text(),
            "us_per_answer": spread([1e6 * s for s in values]).text(),
        }
        for side, values in each.items()
    ]
    print_table(rows, f"{count} networks, {arch}, {examples:,} PNG pictures, one thread")
    of_passes, of_loop = targets
    lanes = each["lanes"]
    ratio_line(
        f"a pass for each / fill in lanes, CPU seconds per answer, {arch}",
        ratios(each["passes"], lanes),
        of_passes,
    )
    ratio_line(
        f"loop for all / fill in lanes, CPU seconds, {arch}", ratios(each["loop"], lanes), of_loop
    )
    ratio_line(
        f"fill one by one / fill in lanes, CPU seconds, {arch}", ratios(each["single"], lanes)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print both comparisons."""
    options = settings(str(__doc__), rounds=5, argv=argv)
    for arch in sorted({*FASTER, *SINGLE}):
        logits(arch, options.rounds)
    for count in (NETWORKS, 2 * NETWORKS):
        compare("lenet5", count, 2048 if options.quick else 8192, options.rounds, (8.0, None))
    compare("resnet20", NETWORKS, 256 if options.quick else 1024, options.rounds, (None, 3.0))
    if not options.quick:
        both_cores("resnet20", (4096, 8192), min(options.rounds, 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
