"""The store at its size: scores of 500 classifiers, the cost of one classifier more, answers
against logits, what a fill pays for writing.

Answers are synthetic (drawn from a small pool; what they say changes no cost) and written with
``zoo.store.answers``.

1. *Scale.* All columns of the scores of 500 classifiers x 60,000 examples x 10 classes in a fresh
   process (largest resident size, mapped files counted), and time against N and against E up to 8
   million answers in one store.
2. *Shape of ImageNet*, 500 x 1,281,167 x 1,000: ``zoo.scores.from_store.score`` itself, given
   answers that are made up as it asks for them. A few blocks of 2,048 examples are scored in fresh
   processes; time and memory per block are multiplied. Extrapolated, and marked so.
3. *One classifier more.* What planning a fill as ``zoo fill`` does, committing it and finding what
   to read cost with 5 and with 500 classifiers there, each fill having added one (the most records
   there can be); and planning where each fill added two, whose records are no longer known by name.
4. *Answers against logits*, 1,000 classes: X and C from the answers' two columns, against the
   logits of the same store (mapped, softmax, entropy, argmax, then the same sums). And the first
   row of a classifier's logits, in a small file and in a large one.
5. *What writing costs a fill*: processor time of one ``ShardWorker`` call for eight LeNet-5s on
   2,048 pictures, by what it goes to.

``python -m tools.bench.store --part 3`` runs that part alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tools.bench.paired import Spread, interleave, print_table, ratios, settings, spread
from tools.bench.store_logits import against_logits
from tools.bench.store_scores import imagenet_shape, measure_score, scale
from tools.bench.synthetic_store import commit_some, dataset_of, with_members
from zoo.fill.plan import plan_fill
from zoo.spec import classifier_id
from zoo.store import ledger
from zoo.store.answers import answer_parts
from zoo.store.files import FileRef
from zoo.store.workspace import Workspace

__all__ = ["main"]

Row = dict[str, str | float | int]


# ---------------------------------------------------------------- 3. one classifier more


def one_more(rounds: int, few: int, many: int, examples: int) -> None:
    """Part 3: each step in a workspace opened anew, as a new command finds it. Processor time:
    other work on the machine does not count."""
    dataset = dataset_of({"train": examples}, 10)
    with tempfile.TemporaryDirectory() as folder:
        roots = {count: Path(folder) / f"members-{count}" for count in (few, many)}
        last = {
            count: classifier_id(with_members(root, dataset, count)[-1].id, 1)
            for count, root in roots.items()
        }
        pairs = {count: Path(folder) / f"pairs-{count}" for count in (few, many)}
        for count, root in pairs.items():
            with_members(root, dataset, count, group=2)
        fresh_names = iter(range(10**6))  # of fills that are measured

        def population(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            ledger.population(workspace)
            return time.process_time() - began

        def plan(count: int, root: Path | None = None) -> float:
            workspace = Workspace.open(root or roots[count])
            began = time.process_time()
            found = plan_fill(workspace, dataset, None, ["train"], None)
            seconds = time.process_time() - began
            assert {task.unit.classifiers for task in found.tasks} == {(last[count],)}
            return seconds

        def commit(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            commit_some(workspace, dataset, (f"{next(fresh_names):016x}-e0001",))
            return time.process_time() - began

        def reading(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            answer_parts(workspace, dataset.fingerprint, "train")
            return time.process_time() - began

        def listing(count: int) -> float:
            workspace = Workspace.open(roots[count])
            began = time.process_time()
            for kind in ("checkpoint", "training", "answers"):
                workspace.files.names(f"commits/{kind}")
            return time.process_time() - began

        steps: dict[str, Callable[[int], float]] = {
            "names of all records": listing,
            "plan, as zoo fill does": plan,
            "the same where each fill added two": lambda count: plan(count, pairs[count]),
            "commit": commit,
            "population, as zoo score finds it": population,
            "answer_parts, as zoo score finds them": reading,
        }
        rows: list[Row] = []
        found: dict[str, dict[int, list[float]]] = {}
        for step, work in steps.items():
            seconds = interleave(
                {str(count): partial(work, count) for count in (few, many)}, rounds
            )
            found[step] = {count: seconds[str(count)] for count in (few, many)}
            here: Row = {
                "step": step,
                **{
                    f"cpu_ms_{count}": spread([s * 1000 for s in values]).text()
                    for count, values in found[step].items()
                },
            }
            further = [
                (b - a) / (many - few) * 1e6
                for a, b in zip(found[step][few], found[step][many], strict=True)
            ]
            here["us_per_classifier_there"] = spread(further).text()
            rows.append(here)
        print_table(
            rows,
            f"filling one classifier more, {few} and {many} there, {examples:,} examples, workspace"
            " opened anew each time",
        )
        planned = found["plan, as zoo fill does"]
        both = {
            n: [a + b for a, b in zip(planned[n], found["commit"][n], strict=True)]
            for n in (few, many)
        }
        milliseconds = {count: spread([s * 1000 for s in values]) for count, values in both.items()}
        ratio = ratios(both[many], both[few])
        verdict = "met" if ratio.median <= 2 or milliseconds[many].median <= 15 else "MISSED"
        print(
            f"plan and commit, processor time = {milliseconds[few].text()} ms with {few},"
            f" {milliseconds[many].text()} ms with {many}, ratio {ratio.text()}; target <= 2 x or"
            f" <= 15 ms: {verdict}"
        )


# ---------------------------------------------------------------- 5. what writing costs


def writing(rounds: int, examples: int) -> None:
    """Part 5. Processor time of this process (which waits for the disk without using any)."""
    import torch

    from tools.bench.filling import with_classifiers, write_pictures
    from zoo.fill import predict
    from zoo.fill.plan import FillBlock, decode_block

    torch.set_num_threads(1)
    spent: dict[str, float] = {}

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] = spent.get(name, 0.0) + time.process_time() - began

        return run

    shares: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_pictures(Path(folder) / "pictures", examples)
        workspace = with_classifiers(Path(folder) / "workspace", dataset)
        plan = plan_fill(workspace, dataset, ledger.population(workspace), ["train"], "all")
        task = plan.tasks[0]
        worker = predict.ShardWorker(workspace, torch.device("cpu"))
        files = workspace.files
        seal, group_logits, answers_of = (
            files.seal,
            predict.ClassifierGroup.logits,
            predict.answers_of,
        )

        def sealed(folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
            found: FileRef = counted(f"write {suffix[1:]}", seal)(folder, stem, suffix, write)
            return found

        files.seal = sealed  # type: ignore[method-assign]
        predict.ClassifierGroup.logits = counted("network", group_logits)  # type: ignore[method-assign]
        predict.answers_of = counted("answers_of", answers_of)
        try:
            for number in range(rounds + 1):
                # or an equal file would be found there and not renamed
                for name in files.names(task.unit.folder):
                    files.remove(f"{task.unit.folder}/{name}")
                spent.clear()
                pictures, unreadable = counted("decode (apart)", decode_block)(FillBlock((task,)))
                counted("whole call", worker)(task, pictures, unreadable)
                if number:  # the first is the warm-up
                    for part in (
                        "network",
                        "answers_of",
                        "write parquet",
                        "write arrow",
                        "whole call",
                        "decode (apart)",
                    ):
                        shares.setdefault(part, []).append(spent[part])
        finally:
            predict.ClassifierGroup.logits, predict.answers_of = group_logits, answers_of  # type: ignore[method-assign]
    cells = len(task.unit.classifiers) * (task.shard.stop - task.shard.start)
    rows: list[Row] = [
        {
            "part": part,
            "cpu_us_per_answer": spread([s / cells * 1e6 for s in values]).text(),
            "percent_of_call": _percent(values, shares["whole call"]).text(),
        }
        for part, values in shares.items()
    ]
    print_table(
        rows,
        f"one ShardWorker call, {len(task.unit.classifiers)} LeNet-5s x"
        f" {task.shard.stop - task.shard.start:,} pictures, one thread",
    )
    share = _percent(shares["write arrow"], shares["whole call"])
    print(
        f"logits written = {share.text()} % of the call; target <= 5:"
        f" {'met' if share.median <= 5 else 'MISSED'}"
    )


def _percent(values: Sequence[float], whole: Sequence[float]) -> Spread:
    return spread([100 * a / b for a, b in zip(values, whole, strict=True)])


# ---------------------------------------------------------------- all


def main(argv: Sequence[str] | None = None) -> int:
    """Print all five parts, or one."""
    values = list(sys.argv[1:] if argv is None else argv)
    if values[:1] == ["--measure"]:
        measure_score(values[1], values[2], int(values[3]), values[4:] == ["synthetic"])
        return 0
    only = int(values[1]) if values[:1] == ["--part"] else None
    options = settings(str(__doc__), rounds=3, argv=values if only is None else values[2:])
    quick, rounds = options.quick, options.rounds
    growth = (512, 1_024, 2_048) if quick else (2_048, 4_096, 8_192, 16_384)
    parts: list[Callable[[], None]] = [
        lambda: scale(rounds, 40 if quick else 500, 4_096 if quick else 60_000, growth),
        lambda: imagenet_shape(40 if quick else 500, (1, 3) if quick else (1, 8, 24)),
        lambda: one_more(2 * rounds, 5, 50 if quick else 500, 60_000),
        lambda: against_logits(rounds, 8 if quick else 64, 2_048 if quick else 6_144),
        lambda: writing(2 * rounds, 1_024 if quick else 2_048),
    ]
    for part in parts if only is None else [parts[only - 1]]:
        part()
    return 0


if __name__ == "__main__":
    sys.exit(main())
