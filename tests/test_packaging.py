"""The wheel is all that is needed: built, looked into, installed elsewhere, and run from an empty
folder away from the sources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from tools.make_constraints import renewed

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+")


def run(
    *command: str | Path, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline, with the hatchling that is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_what_the_program_reads(wheel: Path) -> None:
    """Experiments, the embedded data with their licence, the page's template, the marker of types,
    the licence of the program."""
    names = contents(wheel)
    experiments = {f"zoo/experiments/{path.name}" for path in (ROOT / "experiments").glob("*.py")}
    assert "zoo/experiments/demo.py" in experiments
    data = {
        f"zoo/data/embedded/fashion-mini/{name}"
        for name in ("train.parquet", "test.parquet", "LICENSE")
    }
    assert names >= experiments | data | {"zoo/report/templates/report.html", "zoo/py.typed"}
    assert any(
        re.fullmatch(r"classifier_zoo-[^/]+\.dist-info/licenses/LICENSE", name) for name in names
    )


def test_the_wheel_carries_every_module_and_nothing_else(wheel: Path) -> None:
    """All Python files of zoo/ are in it; no test, no cache, no tool, no workspace."""
    names = contents(wheel)
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "zoo").rglob("*.py")} <= names
    assert [name for name in names if not name.startswith(("zoo/", "classifier_zoo-"))] == []
    assert [
        name for name in names if "__pycache__" in name or name.endswith((".pyc", ".tmp"))
    ] == []


def test_the_wheel_is_small(wheel: Path) -> None:
    """Under 5 MB: the embedded pictures are most of it."""
    assert 1_000_000 < wheel.stat().st_size < 5_000_000


# ---------------------------------------------------------------- installed elsewhere


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel. The dependencies are this environment's, put behind its own
    packages by a .pth file."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        wheel,
        cwd=folder,
    )
    own = Path(
        run(
            python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).stdout.strip()
    )
    # site.addsitedir would also run the .pth files there, and with them the editable install; a
    # plain line only adds the folder.
    folders = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "dependencies.pth").write_text("\n".join(folders) + "\n", encoding="utf-8")
    return folder / "venv" / "bin"


@pytest.fixture
def away(tmp_path: Path) -> Path:
    """An empty folder away from the sources, and an environment without their traces."""
    folder = tmp_path / "away"
    folder.mkdir()
    return folder


def clean_environment(away: Path) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZOO_", "PYTHON", "RAY_", "VIRTUAL_ENV"))
    }
    return {
        **kept,
        "HOME": str(away),
        "XDG_DATA_HOME": str(away / "share"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
    }


def zoo(installed: Path, away: Path, *arguments: str) -> str:
    return run(installed / "zoo", *arguments, cwd=away, environment=clean_environment(away)).stdout


def test_the_program_is_the_installed_one(installed: Path, away: Path) -> None:
    """``zoo`` comes from the wheel, not from the sources that this environment has on its path; its
    dependencies do come from here."""
    code = (
        "import sys, zoo, pyarrow; print(zoo.__file__); print(pyarrow.__file__); print(*sys.path,"
        " sep='\\n')"
    )
    done = run(installed / "python", "-c", code, cwd=away, environment=clean_environment(away))
    zoo_file, pyarrow_file, *path = done.stdout.splitlines()
    assert Path(zoo_file).is_relative_to(installed.parent)
    assert not Path(pyarrow_file).is_relative_to(installed.parent)
    assert str(ROOT) not in path


def test_it_helps_lists_data_and_plans(installed: Path, away: Path) -> None:
    """Help, the embedded data and the plan of the demo, from an empty folder; none of them leaves a
    file."""
    assert "demo" in zoo(installed, away, "--help")
    assert "fashion-mini" in zoo(installed, away, "data", "ls")
    assert "75 planned" in zoo(installed, away, "plan", "demo")
    assert list(away.iterdir()) == []


def test_the_demo_runs_from_the_wheel(installed: Path, away: Path) -> None:
    """The whole loop at the smallest scale, in one process: it ends with a report, a table of
    suspects and the next command."""
    printed = zoo(installed, away, "demo", "--scale", "smoke", "--runner", "local")
    assert "The ten most suspicious training examples" in printed
    assert "Next: zoo " in printed
    page = away / "zoo-workspace" / "report.html"
    assert f"Report: {page}" in printed
    assert "<svg" in page.read_text(encoding="utf-8")
    assert (away / "zoo-workspace" / "results" / "scores-train.csv").exists()


# ---------------------------------------------------------------- constraints


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        normal(line.split("==")[0]): line.split("==")[1]
        for line in lines
        if line and not line.startswith("#")
    }


def test_constraints_are_names_and_versions_only() -> None:
    """No address, no path, no option, no project itself; sorted; each name once."""
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert lines == sorted(lines, key=str.lower)
    assert len(pins()) == len(lines)
    assert "classifier-zoo" not in pins()


def test_pins_are_renewed_from_what_is_installed() -> None:
    """A new version replaces the old, a new package is added, others and the comments stay, the
    project itself is left out."""
    before = "# words\nA_b==1.0\nzlib-ng==3\n"
    after = renewed(before, {"a-B": "2.0", "new": "0.1", "classifier-zoo": "9", "pip": "1"})
    assert after == "# words\na-B==2.0\nnew==0.1\nzlib-ng==3\n"


def test_every_dependency_is_pinned_within_its_range() -> None:
    """All direct dependencies, of the program and of its extras, have a pin, and the pin is one
    that pyproject.toml allows."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    pinned = pins()
    for requirement in map(Requirement, texts):
        assert normal(requirement.name) in pinned, requirement
        assert requirement.specifier.contains(pinned[normal(requirement.name)]), requirement


def test_what_the_pins_need_is_pinned_too() -> None:
    """From the program and its extra dev, following what each installed package requires, nothing
    is left to chance."""
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    pinned, todo, seen = (
        pins(),
        [("classifier-zoo", frozenset({"dev"}))],
        set[tuple[str, frozenset[str]]](),
    )
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            needed = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue  # pinned for another platform
        for requirement in needed:
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
            ):
                assert normal(requirement.name) in pinned, f"{requirement}, needed by {name}"
                todo.append((normal(requirement.name), frozenset(requirement.extras)))
    assert len(seen) > 50


# ---------------------------------------------------------------- Makefile


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that the set-up reads, in an empty folder."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def fake_python(folder: Path, version: str) -> Path:
    """A script that says it is Python of a version, and that it is too old."""
    path = folder / "fake-python"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "Python {version}"; else exit 1; fi\n',
        encoding="utf-8",
    )
    path.chmod(0o755)
    return path


def test_an_old_python_is_refused_in_words(clone: Path) -> None:
    """The version seen, the version needed, what to type; and nothing is made."""
    done = make(clone, "setup", f"PYTHON={fake_python(clone, '3.9.2')}")
    assert done.returncode != 0
    assert (
        "Python 3.9.2 is too old: Python 3.11 or newer is needed. Name one: make PYTHON=python3.11"
        in done.stderr
    )
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_refused_in_words(clone: Path) -> None:
    done = make(clone, "setup", "PYTHON=python-that-is-not-there")
    assert done.returncode != 0
    assert "no interpreter named 'python-that-is-not-there'" in done.stderr


def test_the_set_up_is_skipped_the_second_time(clone: Path) -> None:
    """A stamp newer than pyproject.toml and constraints.txt means nothing to do; touching either
    means set up again."""
    stamp = clone / ".venv" / ".set-up"
    stamp.parent.mkdir()
    stamp.touch()
    newest = max((clone / name).stat().st_mtime for name in ("pyproject.toml", "constraints.txt"))
    os.utime(stamp, (newest + 10, newest + 10))
    assert "Setting up" not in make(clone, "--dry-run", "demo").stdout
    assert "zoo demo" in make(clone, "--dry-run", "demo").stdout
    for name in ("pyproject.toml", "constraints.txt"):
        os.utime(clone / name, (newest + 20, newest + 20))
        assert "Setting up" in make(clone, "--dry-run", "demo").stdout
        os.utime(clone / name, (newest, newest))


def test_ci_calls_make_and_can_be_run() -> None:
    """``.ci/run`` is executable, stops at errors, and calls lint, the tests and the test of a
    cluster's hosts."""
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert "make lint test multihost" in text
