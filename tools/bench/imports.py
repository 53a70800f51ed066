"""Start-up: seconds and heavy modules of ``import zoo`` and of the commands that must stay light.

Each command runs in a fresh interpreter, in turn with ``import torch`` for comparison. Afterwards
the interpreter says which heavy modules it has loaded; torch and ray must not be among them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial

from tools.bench.paired import interleave, print_table, ratio_line, ratios, settings, since, spread
from zoo.data import open_dataset
from zoo.store import datasets
from zoo.store.workspace import Workspace

__all__ = ["main"]

_HEAVY = (
    "duckdb",
    "matplotlib",
    "numpy",
    "pandas",
    "pyarrow",
    "pydantic",
    "ray",
    "scipy",
    "timm",
    "torch",
    "torchvision",
)
_FORBIDDEN = {"ray", "timm", "torch", "torchvision"}
_COMMAND = """import sys
sys.argv = ["zoo", *{arguments!r}]
from zoo.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
_REPORT = (
    "\nimport sys\nprint('heavy:', *[name for name in {heavy!r} if name in sys.modules],"
    " file=sys.__stderr__)\n"
)


def run(code: str, loaded: set[str]) -> float:
    """Seconds of a fresh interpreter that runs the code; adds what it loaded to ``loaded``."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code + _REPORT.format(heavy=_HEAVY)],
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = since(began)
    loaded |= set(done.stderr.strip().splitlines()[-1].split()[1:])
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line per command; the exit code says whether one loads torch or ray."""
    options = settings(str(__doc__), rounds=7, argv=argv)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.open(f"{folder}/workspace", create=True)
        datasets.commit_dataset(workspace, open_dataset("fashion-mini"), {})
        where = ["-w", str(workspace.root)]
        sql = "select split, count(*) from examples group by split"
        codes = {
            "python -c pass": "pass",
            "import zoo": "import zoo",
            "zoo --help": _COMMAND.format(arguments=["--help"]),
            "zoo plan demo": _COMMAND.format(arguments=["plan", "demo", *where]),
            "zoo query": _COMMAND.format(arguments=["query", sql, *where]),
            "import torch": "import torch",
        }
        loaded: dict[str, set[str]] = {name: set() for name in codes}
        seconds = interleave(
            {name: partial(run, code, loaded[name]) for name, code in codes.items()}, options.rounds
        )
    rows = [
        {
            "command": name,
            "seconds": spread(values).text(),
            "loads": " ".join(sorted(loaded[name])) or "-",
        }
        for name, values in seconds.items()
    ]
    print_table(rows, "fresh interpreter, files in the page cache")
    for name in ("import zoo", "zoo --help", "zoo plan demo", "zoo query"):
        ratio_line(
            f"import torch / {name}, seconds", ratios(seconds["import torch"], seconds[name])
        )
    offenders = {
        name: loaded[name] & _FORBIDDEN
        for name in codes
        if name != "import torch" and loaded[name] & _FORBIDDEN
    }
    print(
        f"torch or ray loaded by: {offenders or 'none'}; target none:"
        f" {'MISSED' if offenders else 'met'}"
    )
    return 1 if offenders else 0


if __name__ == "__main__":
    sys.exit(main())
