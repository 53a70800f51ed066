"""All benchmarks, one after the other, or some: ``python -m tools.bench [--quick] [--rounds N]
[NAME ...]``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["commands", "main"]

NAMES = (
    "imports",
    "models",
    "lanes",
    "heads",
    "many_heads",
    "gpu",
    "training",
    "population",
    "filling",
    "together",
    "fill_shares",
    "feeding",
    "backbones",
    "scoring",
    "tables",
    "relabelled",
    "detection",
    "audit",
    "alike",
    "orchestration",
    "cluster",
    "records",
    "store",
    "kernel",
    "study",
)


def commands(argv: Sequence[str]) -> list[list[str]]:
    """The benchmarks asked for, each as what runs it in a process of its own: none inherits
    another's threads, caches or Ray session."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench", description="Run the benchmarks."
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; default all"
    )
    parser.add_argument(
        "--quick", action="store_true", help="short runs that only show that the benchmarks work"
    )
    parser.add_argument("--rounds", type=int, help="rounds of each; default: its own")
    parser.add_argument(
        "--part", type=int, choices=range(1, 6), help="of store: one of its five parts"
    )
    parser.add_argument("--device", help="of gpu: cuda or cpu")
    parser.add_argument("--out", help="of gpu: where its JSON is written")
    chosen = parser.parse_args(argv)
    if unknown := [name for name in chosen.names if name not in NAMES]:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    if chosen.part is not None and chosen.names != ["store"]:
        parser.error("--part is of the benchmark store alone: python -m tools.bench store --part 3")
    of_gpu = [
        word
        for name, value in (("--device", chosen.device), ("--out", chosen.out))
        if value is not None
        for word in (name, value)
    ]
    if of_gpu and chosen.names != ["gpu"]:
        parser.error(f"{of_gpu[0]} is of the benchmark gpu alone: python -m tools.bench gpu")
    options = [
        *of_gpu,
        *(["--part", str(chosen.part)] if chosen.part is not None else []),
        *(["--quick"] if chosen.quick else []),
        *(["--rounds", str(chosen.rounds)] if chosen.rounds is not None else []),
    ]
    return [
        [sys.executable, "-m", f"tools.bench.{name}", *options] for name in chosen.names or NAMES
    ]


def main(argv: Sequence[str]) -> int:
    """Run each; 1 if one breaks off."""
    failed = [
        command[2] for command in commands(argv) if subprocess.run(command, check=False).returncode
    ]
    if failed:
        print(f"\nbroke off: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
