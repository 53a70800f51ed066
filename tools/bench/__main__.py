"""All benchmarks, one after the other: ``python -m tools.bench [--quick] [NAME ...]``."""

from __future__ import annotations

import argparse
import subprocess
import sys

__all__ = ["main"]

NAMES = ("imports", "models", "training", "filling", "scoring", "orchestration", "store", "kernel", "study")


def main() -> int:
    """Run each in a process of its own, so that none inherits another's threads, caches or Ray session."""
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; default all")
    parser.add_argument("--quick", action="store_true", help="short runs that only show that the benchmarks work")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.names if name not in NAMES]:
        parser.error(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}")
    failed = []
    for name in chosen.names or NAMES:
        command = [sys.executable, "-m", f"tools.bench.{name}", *(["--quick"] if chosen.quick else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nbroke off: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
