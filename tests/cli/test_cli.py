"""The command line: its names, its refusals, where its output goes, and the chain of commands a
study takes by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import typer

from tests.commands import (
    CLASSES,
    ZOO,
    Result,
    corners,
    done,
    environment,
    files,
    finished,
    run,
    untouched,
    zoo,
)
from zoo.cli import main

# Names are part of the interface: a change here is a change for every user's scripts and belongs
#     into the CHANGELOG.
OPTIONS = {
    "audit": (
        "--address --budget --cpus --features --gpus --json --labels --predictions --runner"
        " --workspace DATA"
    ),
    "demo": "--address --cpus --gpus --runner --scale --workspace",
    "run": "--address --cpus --gpus --runner --scale --trainer --until --workspace EXPERIMENT",
    "plan": (
        "--archs --assume --data --devices --epochs --features --folds --fractions --gpu"
        " --gpu-price --json --recipe --scale --seeds --snapshots --weights --workspace EXPERIMENT"
    ),
    "train": (
        "--address --archs --cpus --data --epochs --features --folds --fractions --gpus"
        " --input-size --recipe --runner --scale --seeds --snapshots --trainer --treatment"
        " --weights --workspace EXPERIMENT"
    ),
    "fill": (
        "--address --cpus --data --gpus --keep-logits --program --runner --splits --where"
        " --workspace"
    ),
    "score": ("--data --json --label-column --output --snapshot --split --top --where --workspace"),
    "select": (
        "--balance --below --by-class --data --draws --drop --empty --joint --json --keep"
        " --output --per-class --random-like --replace --resample --seed --split --thresholds"
        " --workspace --worst RULES"
    ),
    "relabel": "--data --from --json --output --replace --set --split --to --workspace",
    "weigh": "--by --data --favour --json --output --raw --replace --split --workspace",
    "retrain": (
        "--address --archs --cpus --data --gpus --recipe --runner --seeds --workspace NAMES"
    ),
    "compare": (
        "--address --archs --cpus --data --gpus --json --on --recipe --runner --seeds"
        " --workspace NAMES"
    ),
    "query": "--format --output --replace --snapshot --workspace SQL",
    "schema": "--json TABLE",
    "models": "--download --json ACTION NAME",
    "status": "--address --json --workspace",
    "report": "--data --scale --workspace EXPERIMENT",
    "import": (
        "--classes --dataset --ids --in-train --json --keep-logits --kind --label-true --labels"
        " --names --split --workspace FILES"
    ),
    "pretrained": (
        "--classes --data --fit --held-out --in-train --input-size --json --licence --name"
        " --pretrained-on --same-order --source --weights --workspace NETWORK"
    ),
    "export": (
        "--data --json --output --probabilities --replace --selection --split --to --where"
        " --workspace WHAT"
    ),
    "fsck": "--full --json --quick --repair --semantic --workspace",
    "snapshot": "--workspace NAME",
    "gc": "--delete --json --older-than --workspace",
    "doctor": "--address --data --gpus --json --workspace FILE",
    "up": "--restart --workspace FILE",
    "submit": "COMMAND FILE",
    "logs": "--follow FILE JOB",
    "down": "FILE",
    "help": "WORDS",
    "data ls": "--json",
    "data check": "--json NAME",
    "data show": "--count --epoch --output --replace --seed --split --treatment NAME",
    "data treatments": "--json NAME",
    "data prepare": "--encoding --json --output --short-side --workers NAME",
    "data fetch": "--folder NAME",
}
LOCAL = ("--runner", "local")
ANSI = "\x1b["


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(main.app)
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= (
            {f"{name} {key}": value for key, value in inner.items()} if inner else {name: command}
        )
    return found


def names_of(command: typer.core.TyperCommand) -> str:
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    named = [
        max(p.opts, key=len) if p.param_type_name == "option" else str(p.name).upper()
        for p in shown
    ]
    return " ".join(sorted(named))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes of bright corners, eight wrong labels among 240."""
    return corners(tmp_path_factory.mktemp("data") / "corners")


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


def test_the_frozen_list_names_every_command_and_option_in_the_order_of_work() -> None:
    """Commands, their order in the help, and their options are exactly those written down here."""
    assert {name: names_of(command) for name, command in commands().items()} == OPTIONS
    assert list(commands()) == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_help_has_an_example_of_its_own_command(name: str) -> None:
    """Every command's help ends with a line that can be typed."""
    result = zoo(*name.split(), "--help")
    assert result.code == 0
    assert f"Example: zoo {name}" in " ".join(result.out.split())


def test_version_is_the_installed_one() -> None:
    """``--version`` prints one line and needs no command."""
    assert zoo("--version") == Result(0, "0.1.0\n", "")


# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian",), "Did you mean 'train'"),
        (("train", "--archs", "lenett5"), "unknown model 'lenett5'. Did you mean 'lenet5'"),
        (("train", "--archs", "mlp", "--data", "fashion-mimi"), "fashion-mini"),
        (
            ("train", "--archs", "mlp", "--recipe", "adm"),
            "unknown recipe 'adm'. Did you mean 'adam'?",
        ),
        (
            ("train", "--archs", "mlp", "--recipe", "adam:ler=1"),
            "unknown recipe field 'ler'. Did you mean 'lr'?",
        ),
        (
            ("train", "--archs", "mlp", "--treatment", "label_nois:fraction=0.1"),
            "Did you mean 'label_noise'",
        ),
        (("train", "--archs", "mlp", "--treatment", "label_noise:frction=0.1"), "fraction"),
        (("train", "demoo"), "unknown experiment 'demoo'. Did you mean 'demo'?"),
        (("run", "demoo"), "unknown experiment 'demoo'. Did you mean 'demo'?"),
        (("run", "demo", "--scale", "smok"), "unknown scale of demo 'smok'. Did you mean 'smoke'?"),
        (("run", "demo", "--until", "scor"), "unknown stage 'scor'. Did you mean 'score'"),
        (("plan", "--archs", "lenett5"), "Did you mean 'lenet5'"),
        (("plan",), "plan needs either an experiment or --archs"),
        (("train",), "train needs architectures"),
        (("train", "demo", "--archs", "mlp"), "not both"),
        (
            ("train", "--archs", "mlp", "--fractions", "0"),
            "fraction '0': allowed are fractions above 0 up to 1",
        ),
        (
            ("train", "--archs", "mlp", "--fractions", "1.5"),
            "fraction '1.5': allowed are fractions above 0 up to 1",
        ),
        (("train", "--archs", "mlp", "--fractions", "nan"), "fraction 'nan': allowed"),
        (
            ("train", "--archs", "mlp", "--fractions", "abc"),
            "fraction 'abc': write 0.25 for a quarter",
        ),
        (("train", "--archs", "mlp", "--fractions", "0.5x"), "fraction '0.5x': write"),
        (("train", "--archs", "mlp", "--fractions", "0.5x0"), "one replica or more"),
        (
            ("train", "--archs", "mlp", "--fractions", "1x3"),
            "the whole set has no independent replicas",
        ),
        (
            ("train", "--archs", "mlp", "--epochs", "3", "--snapshots", "4"),
            "snapshot at epoch 4: the recipe has epochs 1 to 3",
        ),
        (("train", "--archs", "mlp", "--seeds", "a"), "--seeds 'a': allowed are whole numbers"),
        (("train", "--archs", "mlp", "--seeds", "-1"), "seed"),
        (
            ("train", "--archs", "vgg16", "--input-size", "28"),
            "vgg16 needs pictures of at least 32x32 pixels; the input is 28x28",
        ),
        (("train", "--archs", "mlp", "--runner", "slurm"), "--runner"),
        (("schema", "scors"), "unknown table 'scors'. Did you mean 'scores'"),
        (("schema", "scors", "--json"), "unknown table 'scors'. Did you mean 'scores'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_refused_by_name_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, a message that names the near or the allowed, nothing on stdout, no
    workspace."""
    space = tmp_path / "space"
    options = ("-w", str(space)) if arguments[0] not in ("schema", "trian") else ()
    result = zoo(*arguments, *options)
    assert result.code == 2, result
    assert said in result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    assert not space.exists()


def test_the_same_request_with_right_names_makes_a_workspace(tmp_path: Path, data: Path) -> None:
    """Twin of the refusals: nothing about the form of those commands keeps them from starting."""
    done(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--epochs",
        1,
        "--fractions",
        "0.5",
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert finished(tmp_path / "space", "training") == 1


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


# ---------------------------------------------------------------- bad data, bad places


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A path that is not there: exit 1 or 2, the path in the message, no workspace."""
    result = zoo("train", "--archs", "mlp", "--data", tmp_path / "gone", "-w", tmp_path / "space")
    assert result.code in (1, 2)
    assert str(tmp_path / "gone") in result.err
    assert not (tmp_path / "space").exists()


def test_a_label_out_of_range_is_refused_before_training(tmp_path: Path) -> None:
    """Label 7 of four classes is an error of the data, found when it is opened."""
    result = zoo(
        "train",
        "--archs",
        "mlp",
        "--data",
        corners(tmp_path / "d", label=7),
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert result.code == 1
    assert "7" in result.err
    assert not (tmp_path / "space").exists()


def test_a_class_that_does_not_exist_cannot_be_deleted(tmp_path: Path, data: Path) -> None:
    """A treatment that names class 9 of four is refused with the allowed ones."""
    result = zoo(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--treatment",
        "delete_class:label=9",
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert result.code == 2
    assert "label = 9 is no class of this data set. Allowed: 0 to 3" in result.err
    assert not finished(tmp_path / "space", "training")


def test_a_class_emptied_by_a_treatment_is_an_outcome_with_its_count(
    tmp_path: Path, data: Path
) -> None:
    """Deleting class 3 (south-east, 60 of 240, one wrong label less and one more) is what study RQ1
    asks for: trained, and recorded."""
    space = tmp_path / "space"
    done(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--treatment",
        "delete_class:label=3",
        "--epochs",
        1,
        "-w",
        space,
        *LOCAL,
    )
    commit = next((space / "commits" / "training").glob("*.json"))
    assert json.loads(commit.read_text())["facts"]["class_counts"] == [60, 60, 60, 0]


def test_an_unreadable_picture_is_left_out_named_and_counted(tmp_path: Path) -> None:
    """One broken picture: said with its key at the start, absent from training, null in the scores,
    the rest goes on."""
    space = tmp_path / "space"
    folder = corners(tmp_path / "d", broken=5)
    result = zoo("train", "--archs", "mlp", "--data", folder, "--epochs", 1, "-w", space, *LOCAL)
    assert result.code == 0
    assert (
        "train: 1 of 240 pictures cannot be read and are left out; first train/00005" in result.err
    )
    done("fill", "-w", space, *LOCAL)
    done("score", "-w", space)
    shown = done("query", "select n_train from trainings", "--format", "csv", "-w", space)
    assert shown.splitlines() == ["n_train", "239"]
    empty = done(
        "query",
        "select example_id from scores where x_perplexity is null",
        "--format",
        "csv",
        "-w",
        space,
    )
    assert empty.splitlines() == ["example_id", "5"]


def test_a_workspace_below_a_file_is_refused_with_the_reason(tmp_path: Path, data: Path) -> None:
    """A folder cannot be made below a regular file: exit 1, the place, no bug report."""
    (tmp_path / "file").write_text("mine")
    result = zoo(
        "train", "--archs", "mlp", "--data", data, "-w", tmp_path / "file" / "space", *LOCAL
    )
    assert result.code == 1
    assert str(tmp_path / "file" / "space") in result.err
    assert "bug" not in result.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, data: Path) -> None:
    """A folder with other things in it is no place for a workspace."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    result = zoo("train", "--archs", "mlp", "--data", data, "-w", tmp_path / "letters", *LOCAL)
    assert result.code == 1
    assert "exists and is not a zoo workspace" in result.err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_a_newer_workspace_is_refused_by_every_command_that_opens_it(tmp_path: Path) -> None:
    """A format that asks for reader 99 is refused with both numbers."""
    from zoo.store.commits import sealed_json

    (tmp_path / "FORMAT.json").write_text(
        sealed_json({"format": "zoo-workspace", "version": 99, "min_reader": 99})
    )
    for arguments in (("status",), ("query", "select 1"), ("train", "--archs", "mlp", *LOCAL)):
        result = zoo(*arguments, "-w", tmp_path)
        assert result.code == 1, arguments
        assert "99" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("fill", *LOCAL),
        ("score",),
        ("report",),
        ("query", "select 1"),
        ("select", "--worst", "0.1", "-o", "a"),
    ],
)
def test_where_there_is_no_workspace_nothing_is_found(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Exit code 4, with the command that would make one; and none is made."""
    result = zoo(*arguments, "-w", tmp_path / "none")
    assert result.code == 4
    assert "no workspace at" in result.err
    assert not (tmp_path / "none").exists()


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


# ---------------------------------------------------------------- extending, planning


def test_an_extended_grid_trains_only_what_is_new(tmp_path: Path, data: Path) -> None:
    """Another fraction and another architecture add their trainings; what was there keeps its bytes
    and its time."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--epochs", 2, "-w", space, *LOCAL)
    done(*sweep, "--archs", "mlp", "--fractions", "0.5x2")
    first = files(space)
    assert finished(space, "training") == 2
    assert "training: 2 trainings" in zoo(*sweep, "--archs", "mlp", "--fractions", "0.5x3,1").err
    assert finished(space, "training") == 4
    assert (
        "training: 4 trainings"
        in zoo(*sweep, "--archs", "mlp,softmax", "--fractions", "0.5x3,1").err
    )
    assert finished(space, "training") == 8
    assert untouched(first, space)
    again = zoo(*sweep, "--archs", "mlp,softmax", "--fractions", "0.5x3,1")
    assert (again.code, again.err) == (0, "")


def test_a_changed_recipe_is_another_training(tmp_path: Path, data: Path) -> None:
    """lr 0.001 as given by the recipe and by hand is one training; 0.002 is a second."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--archs", "softmax", "--epochs", 1, "-w", space, *LOCAL)
    done(*sweep, "--recipe", "adam")
    done(*sweep, "--recipe", "adam:lr=0.001")
    assert finished(space, "training") == 1
    done(*sweep, "--recipe", "adam:lr=0.002")
    assert finished(space, "training") == 2


def test_a_later_snapshot_of_a_known_training_adds_its_checkpoint(
    tmp_path: Path, data: Path
) -> None:
    """Asking for epoch 1 after epoch 2 is the same training: one more classifier, the first
    untouched."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--archs", "softmax", "--epochs", 2, "-w", space, *LOCAL)
    done(*sweep)
    before = files(space)
    done(*sweep, "--snapshots", "1,2")
    assert (finished(space, "training"), finished(space, "checkpoint")) == (1, 2)
    assert untouched(before, space)


def test_a_plan_touches_nothing_and_comes_true(tmp_path: Path, data: Path) -> None:
    """``zoo plan`` makes no workspace; its counts of trainings, classifiers and image passes are
    what then happens."""
    space = tmp_path / "space"
    sweep = (
        "--data",
        data,
        "--archs",
        "mlp",
        "--fractions",
        "0.5x2,1",
        "--epochs",
        2,
        "--snapshots",
        "1,2",
        "-w",
        space,
    )
    plan = json.loads(done("plan", *sweep, "--json"))
    assert not space.exists()
    assert (plan["trainings"], plan["trainings_done"], plan["classifiers"], plan["images"]) == (
        3,
        0,
        6,
        960,
    )
    result = zoo("train", *sweep, *LOCAL)
    # (120 + 120 + 240 examples) x 2 epochs = 960.
    assert "training: 3 trainings, 960 image passes" in result.err
    before = files(space)
    after = json.loads(done("plan", *sweep, "--json"))
    assert (
        after["trainings"],
        after["trainings_done"],
        after["classifiers_done"],
        after["images"],
    ) == (3, 3, 6, 0)
    assert files(space) == before
    assert finished(space, "checkpoint") == 6


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
