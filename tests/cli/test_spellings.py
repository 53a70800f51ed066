"""One thing, two spellings: ``--json`` and ``--format json``, ``--archs`` and ``--arch``, ``zoo
help X`` and ``zoo X --help``. And files that a user named are not written over."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from factories import workspace as new_workspace

from tests.commands import corners, done, finished, zoo
from tools.make_reference import commands

LOCAL = ("--runner", "local")
OPTIONS = {
    name: {option for parameter in command.params for option in parameter.opts}
    for name, command in commands()
}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks trained, answered and scored; a selection."""
    root = tmp_path_factory.mktemp("spellings")
    data = corners(root / "corners")
    done("train", "--data", data, "--arch", "softmax,mlp", "--epochs", 1, "-w", root / "w", *LOCAL)
    done("fill", "-w", root / "w", *LOCAL)
    done("score", "-w", root / "w")
    done("select", "--worst", "0.1", "-o", "cleaned", "-w", root / "w")
    return root / "w"


# ---------------------------------------------------------------- JSON


def test_every_command_takes_both_or_neither() -> None:
    """--json and --format; at least the reading ones take them."""
    either = {name for name, options in OPTIONS.items() if options & {"--json", "--format"}}
    assert {name for name in either if not {"--json", "--format"} <= OPTIONS[name]} == set()
    assert {
        f"zoo {name}"
        for name in (
            "query",
            "status",
            "schema",
            "score",
            "select",
            "compare",
            "plan",
            "models",
            "data ls",
        )
    } <= either
    assert "zoo train" not in either


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("score",),
        ("fsck",),
        ("gc",),
        ("plan", "demo"),
        ("query", "select count(*) n from classifiers"),
        ("schema", "scores"),
        ("models",),
        ("data", "ls"),
        ("data", "treatments"),
    ],
    ids=lambda value: value[0],
)
def test_both_spellings_print_the_same_json(
    space: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ``--format table`` what is printed without either."""
    monkeypatch.setenv("ZOO_WORKSPACE", str(space))
    first = done(*arguments, "--json")
    assert (
        json.loads(first)
        == json.loads(done(*arguments, "--format", "json"))
        == json.loads(done(*arguments, "--json", "--format", "json"))
    )
    assert done(*arguments, "--format", "table") == done(*arguments) != first


@pytest.mark.parametrize(
    "arguments",
    [("models", "table"), ("query", "select 1", "csv"), ("status", "table")],
    ids=lambda value: value[0],
)
def test_two_forms_at_once_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    """Before anything is opened, naming both."""
    monkeypatch.setenv("ZOO_WORKSPACE", str(tmp_path / "none"))
    refused = zoo(*arguments[:-1], "--json", "--format", arguments[-1])
    assert (refused.code, refused.out) == (2, "")
    assert f"--json and --format {arguments[-1]} are two forms of output" in refused.err


# ---------------------------------------------------------------- architectures


def test_every_command_that_takes_networks_takes_both_names() -> None:
    """``--archs`` and ``--arch``."""
    assert {name for name, options in OPTIONS.items() if {"--arch", "--archs"} & options} == {
        name for name, options in OPTIONS.items() if {"--arch", "--archs"} <= options
    }
    assert {"zoo train", "zoo plan", "zoo retrain", "zoo compare"} <= {
        name for name, options in OPTIONS.items() if "--archs" in options
    }


def test_arms_are_retrained_and_compared_by_several_networks(space: Path) -> None:
    """2 arms x 2 networks x 2 seeds = 8 trainings; each network's difference is to its own
    baseline. One that has none is refused."""
    before = finished(space, "training")
    recipe = ("--recipe", "adam:epochs=2", "--seeds", "0,1", "-w", space, *LOCAL)
    said = done("retrain", "baseline", "cleaned", "--archs", "softmax,mlp", *recipe)
    assert said.startswith(
        "8 trainings of 2 arms done. Next: zoo compare baseline cleaned --arch softmax,mlp --recipe"
        " adam:epochs=2"
    )
    assert finished(space, "training") == before + 8
    both = json.loads(
        done(
            "compare",
            "baseline",
            "cleaned",
            "--arch",
            "softmax",
            "--arch",
            "mlp",
            "--json",
            *recipe,
        )
    )["comparisons"]
    rows = {
        (row["arch"], row["arm"]): row
        for row in both
        if row["on"] == "full" and row["metric"] == "acc1"
    }
    assert set(rows) == {
        (arch, arm) for arch in ("softmax", "mlp") for arm in ("baseline", "cleaned")
    }
    for arch in ("softmax", "mlp"):
        assert rows[arch, "baseline"]["delta"] is None
        assert rows[arch, "cleaned"]["delta"] == pytest.approx(
            rows[arch, "cleaned"]["mean"] - rows[arch, "baseline"]["mean"]
        )
        assert rows[arch, "cleaned"]["n_pairs"] == 2
    lacking = zoo("compare", "baseline", "cleaned", "--archs", "softmax,lenet5", *recipe)
    assert lacking.code == 4
    assert (
        "no finished retraining of baseline, cleaned by --arch lenet5 --recipe adam:epochs=2"
        in lacking.err
    )


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("words", [(), ("query",), ("data",), ("data", "show")], ids=" ".join)
def test_help_is_the_help_of_the_command(words: tuple[str, ...]) -> None:
    """``zoo help data show`` prints what ``zoo data show --help`` prints."""
    assert done("help", *words) == done(*words, "--help") != ""


def test_help_of_what_is_no_command_names_the_near_one() -> None:
    result = zoo("help", "qery")
    assert (result.code, result.out) == (2, "")
    assert "Did you mean 'query'" in result.err


# ---------------------------------------------------------------- files a user named


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_a_query_replaces_a_file_only_when_told(tmp_path: Path, form: str) -> None:
    """It is refused before the query runs, and stays as it is; with --replace it holds the
    result."""
    new_workspace(tmp_path)
    target = tmp_path / "mine"
    target.write_text("my notes")
    ask = ("query", "select 42 as n", "--format", form, "-w", tmp_path / "zoo", "-o")
    refused = zoo(*ask, target)
    assert (refused.code, refused.out) == (2, "")
    assert "mine exists already" in refused.err
    assert "--replace" in refused.err
    assert target.read_text() == "my notes"
    assert done(*ask, target, "--replace") == done(*ask, tmp_path / "fresh") == ""
    assert target.read_bytes() == (tmp_path / "fresh").read_bytes()
    read = {
        "csv": pd.read_csv,
        "json": pd.read_json,
        "parquet": lambda path: pq.read_table(path).to_pandas(),
    }
    assert (read[form](target)["n"].tolist() if form in read else target.read_text().split()) == (
        [42] if form in read else ["n", "--", "42"]
    )
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_a_query_into_a_folder_or_a_link_is_refused(tmp_path: Path) -> None:
    """By name, whatever --replace says."""
    new_workspace(tmp_path)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name, said in (("zoo", "is a folder"), ("link", "is a link")):
        refused = zoo(
            "query", "select 1 as n", "-w", tmp_path / "zoo", "--replace", "-o", tmp_path / name
        )
        assert refused.code == 2
        assert said in refused.err
    assert (tmp_path / "file").read_text() == "kept"


def test_a_pipe_is_written_to_and_never_replaced(tmp_path: Path, space: Path) -> None:
    """A query writes into it; an export, which renames a whole file into place, refuses it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    done("query", "select 42 as n", "--format", "csv", "-w", space, "-o", pipe)
    reader.join(60)
    assert read == ["n\n42\n"]
    refused = zoo("export", "scores", "--to", "csv", "-w", space, "-o", pipe, "--replace")
    assert refused.code == 2
    assert "is a device or a pipe" in refused.err
    assert pipe.is_fifo()
