"""The chain of commands a study takes by hand: what each says, where its output goes, and what is
refused in a workspace that has everything."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import LOCAL
from tests.commands import CLASSES, ZOO, Result, done, environment, files, run, zoo

ANSI = "\x1b["


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, data: Path) -> tuple[Path, dict[str, Result]]:
    """A study by hand in a fresh workspace, command by command, with what each printed."""
    space = tmp_path_factory.mktemp("study") / "space"
    arms = (
        "baseline",
        "cleaned",
        "right",
        "heavy",
        "--arch",
        "mlp",
        "--recipe",
        "adam:epochs=3",
        "--seeds",
        "0,1",
    )
    lines: dict[str, tuple[object, ...]] = {
        "train": (
            "--data",
            data,
            "--archs",
            "mlp,lenet5",
            "--fractions",
            "0.5x2,1",
            "--epochs",
            4,
            "--snapshots",
            "2,4",
            *LOCAL,
        ),
        "fill": LOCAL,
        "score": (),
        "select": ("--worst", "0.05", "-o", "cleaned"),
        "relabel": ("--set", "x>0.5", "-o", "right"),
        "weigh": ("--by", "x", "-o", "heavy"),
        "retrain": (*arms, *LOCAL),
        "compare": (*arms, *LOCAL),
        "query": (
            (
                "select arch, count(*) as n from classifiers where role = 'population' group by"
                " arch order by arch"
            ),
            "--format",
            "csv",
        ),
        "status": (),
        "report": (),
    }
    return space, {
        name: zoo(name, *arguments, *(() if name == "models" else ("-w", space)))
        for name, arguments in lines.items()
    }


# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("score", "--split", "tst"), 2, "unknown split 'tst'. Did you mean 'test'"),
        (("fill", "--splits", "tst", *LOCAL), 2, "'tst'. Did you mean 'test'"),
        (
            ("select", "wrst:share=0.1", "-o", "a"),
            2,
            "unknown selection rule 'wrst'. Did you mean 'worst'",
        ),
        (("select", "--worst", "2", "-o", "a"), 2, "share"),
        (("select", "--worst", "0.1"), 2, "needs a name"),
        (("select", "-o", "a"), 2, "select needs a rule"),
        (("select", "--random-like", "cleand", "-o", "a"), 2, "'cleand'. Did you mean 'cleaned'"),
        (("select", "keep:set=x>2", "-o", "a"), 4, "left none of 240 examples"),
        (("relabel", "--set", "zz>3", "-o", "a"), 2, "unknown score column 'zz'"),
        (
            ("relabel", "--set", "x>0.5", "--to", "top", "-o", "a"),
            2,
            "Known: baseline, cleaned",
        ),
        (("weigh", "--by", "q", "-o", "a"), 2, "'q'"),
        (
            ("retrain", "cleand", "--arch", "mlp", *LOCAL),
            2,
            "unknown selection 'cleand'. Did you mean 'cleaned'",
        ),
        (
            ("compare", "cleaned", "cleand", "--arch", "mlp", *LOCAL),
            2,
            "unknown selection 'cleand'. Did you mean 'cleaned'",
        ),
        (
            (
                "compare",
                "baseline",
                "cleaned",
                "--arch",
                "mlp",
                "--recipe",
                "adam:epochs=7",
                *LOCAL,
            ),
            4,
            (
                "Retrained here: baseline, cleaned, heavy, right by --arch mlp --recipe"
                " adam:epochs=3 --seeds 0,1."
            ),
        ),
        (
            ("retrain", "cleaned", "--arch", "mlp", "--recipe", "adam:stop_train_acc=0.9", *LOCAL),
            2,
            "without stop_train_acc",
        ),
        (("score", "--where", "archh = 'mlp'"), 2, "arch"),
        (("score", "--where", "arch = 'none'"), 4, ""),
        (("query", "delete from scores"), 2, "SELECT"),
        (("query", "select * from scors"), 2, "scors"),
        (("query", "select 1", "--format", "parquet"), 2, "Give a file with --output FILE"),
        (("score", "--split", "test", "--output", "../outside"), 2, "names a table in results/"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_names_in_a_workspace_are_refused_and_change_nothing(
    study: tuple[Path, dict[str, Result]], arguments: tuple[str, ...], code: int, said: str
) -> None:
    """The same in a workspace that has everything: no commit and no file is added."""
    space, before = study[0], files(study[0])
    result = zoo(*arguments, "-w", space)
    assert (result.code, result.out) == (code, ""), result
    assert said in result.err
    assert files(space) == before


def test_a_selection_is_drawn_for_each_seed_of_its_retrainings(
    study: tuple[Path, dict[str, Result]], tmp_path: Path
) -> None:
    """Three draws: seeds 0 to 2 train on one each, seed 3 is refused by name; a control by class
    has the classes of what it controls."""
    space = shutil.copytree(study[0], tmp_path / "space")
    assert "draws: 3" in done("select", "--per-class", 20, "--draws", 3, "-o", "few", "-w", space)
    retrain = ("retrain", "few", "--arch", "mlp", "--recipe", "adam:epochs=1", *LOCAL, "-w", space)
    assert done(*retrain, "--seeds", "0,1,2").startswith("3 trainings of 1 arm done.")
    trained = (
        "select count(distinct treatment) as n from trainings where treatment like 'manifest%' and"
        " epochs = 1"
    )
    assert done("query", trained, "--format", "csv", "-w", space) == "n\n3\n"
    refused = zoo(*retrain, "--seeds", "2,3")
    assert (refused.code, refused.out) == (4, "")
    assert "selection 'few' has no draw for seed 3. Allowed: seeds 0, 1, 2" in refused.err

    done("select", "--random-like", "cleaned", "--by-class", "-o", "control", "-w", space)
    counts = (
        "select label, count(*) as n from selections where name = '{}' and coalesce(draw, 4) = 4"
        " group by label order by label"
    )
    control, cleaned = (
        done("query", counts.format(name), "--format", "csv", "-w", space)
        for name in ("control", "cleaned")
    )
    assert control == cleaned


# ---------------------------------------------------------------- a study by hand


def test_each_step_of_a_study_by_hand_says_what_it_did(
    study: tuple[Path, dict[str, Result]], data: Path
) -> None:
    """train, fill, score, select, relabel, weigh, retrain, compare, query, status, report: all exit
    0 and print their outcome."""
    space, said = study
    assert {name: result.code for name, result in said.items()} == dict.fromkeys(said, 0), said
    out = {name: result.out for name, result in said.items()}
    # 2 architectures x (2 halves + 1 whole) = 6 trainings, 2 snapshots each.
    assert (
        out["train"]
        == f"6 trainings done, 12 classifiers in {space}. Next: zoo fill -w {space} --data {data}\n"
    )
    assert out["fill"] == f"Every classifier of {space} has answers. Next: zoo score -w {space}\n"
    assert out["score"].startswith(
        f"240 examples of train by 12 classifiers: {space}/results/scores-train.csv\n"
    )
    # 5 % of 240 = 12 dropped, 228 stay.
    assert "selection 'cleaned' = worst:share=0.05\n" in out["select"]
    assert "n: 228\n" in out["select"]
    assert (
        f"Next: zoo retrain baseline cleaned --arch lenet5 --seeds 0,1,2 -w {space}\n"
        in out["select"]
    )
    assert "relabelled: " in out["relabel"]
    assert "selection 'heavy' = weigh:by=x\n" in out["weigh"]
    assert out["retrain"].startswith(
        "8 trainings of 4 arms done. Next: zoo compare baseline cleaned right heavy --arch mlp"
    )
    rows = [line.split() for line in out["compare"].splitlines()[2:]]
    assert {row[0] for row in rows} == {"baseline", "cleaned", "right", "heavy"}
    assert out["query"] == "arch,n\nlenet5,6\nmlp,6\n"
    # 'baseline' with adam:epochs=3 is another training than any of the sweep's: 6 + 8.
    assert "trainings   done 14\n" in out["status"]
    assert "selections  cleaned, heavy, right\n" in out["status"]
    assert out["report"] == f"{space}/report.html\n"
    page = (space / "report.html").read_text()
    assert "Classifiers of corners" in page


def test_progress_is_on_stderr_and_nothing_is_coloured_when_piped(
    study: tuple[Path, dict[str, Result]],
) -> None:
    """stdout holds data alone; no escape codes on either stream."""
    said = study[1]
    assert said["train"].err.startswith("training ...\ntraining: 6 trainings, ")
    assert said["fill"].err.startswith("fill ...\nfill: ")
    for result in said.values():
        assert ANSI not in result.out + result.err
        assert "training ..." not in result.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "demo"),
        ("score",),
        ("select", "--worst", "0.05", "-o", "cleaned"),
        ("relabel", "--set", "x>0.5", "-o", "right"),
        ("weigh", "--by", "x", "-o", "heavy"),
        (
            "compare",
            "baseline",
            "cleaned",
            "--arch",
            "mlp",
            "--recipe",
            "adam:epochs=3",
            "--seeds",
            "0,1",
            *LOCAL,
        ),
        ("status",),
        ("fsck",),
        ("gc",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_json_is_one_object_that_names_its_schema(
    study: tuple[Path, dict[str, Result]], arguments: tuple[str, ...]
) -> None:
    """``--json`` of every reading command parses, with the version of its form under ``schema``."""
    out = done(*arguments, "--json", "-w", study[0])
    assert json.loads(out)["schema"] == 1


def test_json_of_commands_without_a_workspace(data: Path) -> None:
    """The same for the commands that look at data and at names."""
    assert json.loads(done("schema", "--json"))["tables"].keys() >= {"scores", "classifiers"}
    assert json.loads(done("schema", "scores", "--json"))["tables"].keys() == {"scores"}
    assert "fashion-mini" in {
        row["name"] for row in json.loads(done("data", "ls", "--json"))["datasets"]
    }
    checked = json.loads(done("data", "check", data, "--json"))
    assert checked["schema"] == 1


def test_query_prints_the_same_rows_in_every_form(
    study: tuple[Path, dict[str, Result]], tmp_path: Path
) -> None:
    """table, csv, json and parquet of one query hold the same two rows."""
    import pyarrow.parquet as pq

    sql = (
        "query",
        "select distinct label_true as a from scores where label_true < 2 order by a",
        "-w",
        study[0],
        "--format",
    )
    assert done(*sql, "csv") == "a\n0\n1\n"
    assert json.loads(done(*sql, "json")) == [{"a": 0}, {"a": 1}]
    assert done(*sql, "table").split() == ["a", "-", "0", "1"]
    assert done(*sql, "parquet", "-o", tmp_path / "a.parquet") == ""
    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == {"a": [0, 1]}


def test_lists_are_given_by_commas_or_by_repetition(tmp_path: Path, data: Path) -> None:
    """``--archs a,b`` and ``--archs a --archs b`` plan the same trainings."""
    common = ("plan", "--data", data, "--fractions", "0.5x2,1", "--json", "-w", tmp_path / "none")
    assert done(*common, "--archs", "mlp,lenet5") == done(
        *common, "--archs", "mlp", "--archs", "lenet5"
    )
    assert done(*common, "--archs", "mlp,lenet5") != done(*common, "--archs", "mlp")


# ---------------------------------------------------------------- as a process


def test_a_reader_that_stops_early_is_no_error(study: tuple[Path, dict[str, Result]]) -> None:
    """``zoo query ... | head -1`` prints one line, exits 0 and says nothing on stderr."""
    sql = "select * from answers, range(20)"
    script = f'set -o pipefail; "{ZOO}" query "{sql}" --format csv -w "{study[0]}" | head -1'
    shell = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment(), check=False
    )
    assert (shell.returncode, shell.stderr) == (0, "")
    assert shell.stdout.startswith("dataset,split,classifier_id,example_id,")
    assert shell.stdout.count("\n") == 1


def test_the_installed_command_keeps_the_streams_apart(
    study: tuple[Path, dict[str, Result]], tmp_path: Path
) -> None:
    """As a process of its own: data on stdout, messages on stderr, the same exit codes, no
    colour."""
    good = run(
        tmp_path, "query", "select count(*) as n from examples", "--format", "csv", "-w", study[0]
    )
    assert good == Result(0, f"n\n{240 + 80}\n", "")
    bad = run(tmp_path, "status", "-w", tmp_path / "none")
    assert (bad.code, bad.out) == (4, "")
    wrong = run(tmp_path, "train", "--nope")
    assert (wrong.code, wrong.out) == (2, "")
    assert ANSI not in wrong.err + run(tmp_path, "--help").out


def test_a_traceback_is_shown_only_with_debug(tmp_path: Path) -> None:
    """An error is one message; ``--debug`` adds where it came from."""
    assert "Traceback" not in zoo("status", "-w", tmp_path / "none").err
    assert "Traceback" in run(tmp_path, "--debug", "status", "-w", tmp_path / "none").err


def test_class_names_reach_the_list_of_suspects(study: tuple[Path, dict[str, Result]]) -> None:
    """The planted errors lead the list, with label and top confusion by name."""
    suspects = study[1]["score"].out.splitlines()[-10:]
    assert sum(line.endswith("  planted") for line in suspects[:8]) >= 6
    assert all(any(name in line for name in CLASSES) for line in suspects)
