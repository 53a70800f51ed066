"""What is to be known of a data set is said by every command that opens it, once; what check calls
an error, training refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import corners, done, finished, zoo
from tests.data.conftest import grey, write_files

LOCAL = ("--runner", "local")


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of four classes, and beside them two that are in no split."""
    folder = corners(tmp_path_factory.mktemp("noted") / "noted", train=40, test=20, wrong=2)
    write_files(folder, {"unused/1.png": grey(1), "unused/2.png": grey(2)})
    return folder


SAID = "warning: noted: unused: 2 pictures in no split or class that is read; left out"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory, noted: Path) -> Path:
    """Two classifiers with answers and scores, and a selection."""
    where = tmp_path_factory.mktemp("space") / "w"
    done(
        "train",
        "--data",
        noted,
        "--archs",
        "softmax",
        "--epochs",
        1,
        "--seeds",
        "0,1",
        "-w",
        where,
        *LOCAL,
    )
    done("fill", "-w", where, *LOCAL)
    done("score", "-w", where)
    done("select", "--worst", 0.1, "-o", "cleaned", "-w", where)
    return where


@pytest.mark.parametrize(
    "command",
    [
        "train --data DATA --archs softmax --epochs 1 -w SPACE --runner local",
        "fill --data DATA -w SPACE --runner local",
        "fill -w SPACE --runner local",
        "plan --data DATA --archs softmax -w SPACE",
        (
            "retrain baseline cleaned --arch softmax --recipe adam:epochs=1 --seeds 0 -w SPACE"
            " --runner local"
        ),
        "report -w SPACE",
        "export selection --selection cleaned --to imagefolder -o NEW -w SPACE",
        "data show DATA --count 2 -o NEW.png",
        "data check DATA",
        "data check DATA --json",
    ],
)
def test_every_command_that_opens_a_data_set_says_its_notes_once(
    tmp_path: Path, noted: Path, space: Path, command: str
) -> None:
    """On stderr; the answers of the commands are on stdout as ever."""
    words = {
        "DATA": str(noted),
        "SPACE": str(space),
        "NEW": str(tmp_path / "new"),
        "NEW.png": str(tmp_path / "new.png"),
    }
    result = zoo(*(words.get(word, word) for word in command.split()))
    assert result.code == (1 if command.startswith("data check") else 0), result
    assert result.err.splitlines().count(SAID) == 1, result


def test_an_experiment_says_them_too(tmp_path: Path, noted: Path) -> None:
    from tests.commands import tiny_experiment

    experiment = tiny_experiment(tmp_path)
    (tmp_path / "corners/unused").mkdir()
    (tmp_path / "corners/unused/1.png").write_bytes(grey(1))
    result = zoo("run", experiment, "--until", "train", "-w", tmp_path / "w", *LOCAL)
    assert result.code == 0, result
    assert (
        result.err.splitlines().count(
            "warning: corners: unused: 1 picture in no split or class that is read; left out"
        )
        == 1
    )


def test_check_names_what_it_found_as_json(noted: Path) -> None:
    found = json.loads(zoo("data", "check", noted, "--json").out)
    assert (found["ok"], found["trainable"]) == (False, True)
    (note,) = [note for note in found["notes"] if note["level"] != "note"]
    assert note == {
        "level": "warning",
        "kind": "left out",
        "text": "unused: 2 pictures in no split or class that is read; left out",
        "count": 2,
        "places": ["unused"],
    }


def test_check_ends_with_what_follows(tmp_path: Path, noted: Path) -> None:
    """ok; not ok but trainable; refused by train."""
    assert done("data", "check", corners(tmp_path / "sound", 40, 20)).splitlines()[-1] == "ok"
    assert (
        zoo("data", "check", noted).out.splitlines()[-1]
        == "not ok: 1 warning; zoo train takes it. All with --json"
    )
    flat = write_files(tmp_path / "flat", {"a/1.png": grey(1), "b/1.png": grey(2)})
    result = zoo("data", "check", flat)
    assert (result.code, result.out.splitlines()[-1]) == (0, "ok")
    assert result.err.startswith("note: flat: has no split 'test'.")
    alone = write_files(tmp_path / "alone", {"a/1.png": grey(1), "a/2.png": grey(2)})
    result = zoo("data", "check", alone)
    assert result.code == 1
    assert result.out.splitlines()[-1] == "not ok: 1 error; zoo train refuses it. All with --json"
    assert "error: alone: all 2 training examples are of one class (a)" in result.err


@pytest.mark.parametrize("command", ["train", "plan"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            ("train/a/1.png", "train/a/2.png", "test/a/3.png"),
            "all 2 training examples are of one class (a)",
        ),
        (("test/a/1.png", "test/b/2.png"), "has no split 'train'. Its splits: test."),
    ],
)
def test_what_check_calls_an_error_is_refused_before_a_workspace_is_made(
    tmp_path: Path, files: tuple[str, ...], said: str, command: str
) -> None:
    data = write_files(tmp_path / "set", {name: grey(value) for value, name in enumerate(files)})
    more = LOCAL if command == "train" else ()
    result = zoo(command, "--data", data, "--archs", "softmax", "-w", tmp_path / "w", *more)
    assert (result.code, result.out) == (1, "")
    assert f"zoo: set: {said}" in result.err
    assert not (tmp_path / "w").exists()


def test_pictures_in_system_folders_are_not_trained_on(tmp_path: Path) -> None:
    """A NAS leaves thumbnails beside the pictures: four examples are trained on, two classes, and
    the folder is named."""
    places = [
        f"{split}/{name}/{i}.png"
        for split in ("train", "test")
        for name in ("a", "b")
        for i in range(2)
    ]
    data = write_files(
        tmp_path / "set", {place: grey(20 * i, 8, 8) for i, place in enumerate(places)}
    )
    write_files(data, {f"train/{name}@eaDir/1.png": grey(9, 8, 8) for name in ("", "a/")})
    space = tmp_path / "w"
    result = zoo("train", "--data", data, "--archs", "softmax", "--epochs", 1, "-w", space, *LOCAL)
    assert result.code == 0
    assert (
        "note: set: train/@eaDir, train/a/@eaDir: a folder of the system's own, passed over by its"
        " name" in result.err
    )
    assert finished(space, "training") == 1
    shown = done(
        "query",
        "select distinct class_name from examples order by 1",
        "--format",
        "csv",
        "-w",
        space,
    )
    assert shown.splitlines() == ["class_name", "a", "b"]


def test_check_names_pictures_that_are_there_twice(tmp_path: Path) -> None:
    """Two groups: one with one label, one with two labels; both by their keys."""
    files = {
        "train/a/1.png": grey(1),
        "train/a/1-again.png": grey(1),
        "train/a/2.png": grey(2),
        "train/b/2.png": grey(2),
    }
    data = write_files(
        tmp_path / "set", {**files, "test/a/3.png": grey(3), "test/b/4.png": grey(4)}
    )
    out = done("data", "check", data)
    assert "  same picture more than once: 2 groups, 1 of them with different labels" in out
    assert "  same picture, labels 0, 1: train/a/2.png, train/b/2.png" in out
    assert "  same picture, label 0: train/a/1-again.png, train/a/1.png" in out
    found = json.loads(done("data", "check", data, "--json"))
    texts = [note["text"] for note in found["notes"] if note["kind"] == "duplicates"]
    assert texts == [
        "train train/a/2.png = train/b/2.png: the same picture, with different labels",
        "train train/a/1-again.png = train/a/1.png: the same picture, with one label",
    ]


def test_more_than_ten_duplicates_are_counted(tmp_path: Path) -> None:
    files = {
        f"{split}/{name}/{i}{end}.png": grey(i + 30 * (name == "b"))
        for split in ("train",)
        for name in "ab"
        for i in range(12)
        for end in "xy"
    }
    data = write_files(
        tmp_path / "set", {**files, "test/a/t.png": grey(200), "test/b/t.png": grey(201)}
    )
    lines = done("data", "check", data).splitlines()
    assert sum(line.startswith("  same picture, label") for line in lines) == 10
    assert "  ... and 14 more; all of them with --json" in lines


# ---------------------------------------------------------------- zoo data show


def test_without_a_treatment_every_picture_is_drawn_once(
    tmp_path: Path, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    heights = {}
    for name, treatment in (("plain", ()), ("treated", ("--treatment", "gaussian_noise:sigma=8"))):
        done("data", "show", noted, *treatment, "--count", 8, "-o", tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as sheet:
            heights[name] = sheet.height
    # One row of eight pictures, 156 pixels high (12 x 13), and the 12 pixels between two of them.
    assert heights["treated"] - heights["plain"] == 156 + 12


def test_a_file_that_is_there_is_not_overwritten_unless_asked_for(
    tmp_path: Path, noted: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    sheet.write_bytes(b"mine")
    result = zoo("data", "show", noted, "--count", 1, "-o", sheet)
    assert (result.code, result.out, sheet.read_bytes()) == (2, "", b"mine")
    assert (
        "there is a file of this name. Give another name with -o FILE.png, or --replace."
        in result.err
    )
    assert done("data", "show", noted, "--count", 1, "-o", sheet, "--replace") == f"{sheet}\n"
    assert sheet.read_bytes()[:4] == b"\x89PNG"


# ---------------------------------------------------------------- plans without data


@pytest.fixture
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "passes", "answers"),
    [
        # 160 epochs of 60,000; of 10,000 test and 60,000 training examples each is asked once.
        (("--data", "mnist", "--archs", "lenet5", "--epochs", "160"), 9_600_000, 70_000),
        (("--data", "Fashion_MNIST", "--archs", "lenet5", "--epochs", "1"), 60_000, 70_000),
        (("--data", "cifar-10", "--archs", "nin", "--epochs", "2"), 100_000, 60_000),
        (("--data", "cifar100", "--archs", "nin", "--epochs", "2"), 100_000, 60_000),
        (("--data", "imagenet-1k", "--archs", "resnet50", "--epochs", "1"), 1_281_167, 1_331_167),
    ],
)
def test_a_plan_of_a_well_known_set_needs_no_data(
    nothing_here: Path, arguments: tuple[str, ...], passes: int, answers: int
) -> None:
    result = zoo("plan", *arguments, "--json")
    assert result.code == 0, result
    plan = json.loads(result.out)
    assert (plan["images"], plan["answers"], plan["published_shape"]) == (passes, answers, True)
    assert "not here; planned from its published shape (" in result.err
    assert list(nothing_here.iterdir()) == []


@pytest.mark.parametrize("study", ["data_quality_mnist", "data_quality_cifar10"])
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_plans_of_the_studies_need_no_data(nothing_here: Path, study: str, scale: str) -> None:
    result = zoo("plan", study, "--scale", scale)
    assert result.code == 0, result
    assert "(not here, by its published shape) (an estimate)" in result.out.splitlines()[0]


def test_data_that_are_here_are_planned_from_themselves(
    nothing_here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 + 20 pictures called mnist: one epoch passes 40."""
    corners(nothing_here / "data/mnist", train=40, test=20, wrong=2)
    plan = json.loads(
        done("plan", "--data", "mnist", "--archs", "softmax", "--epochs", 1, "--json")
    )
    assert (plan["images"], plan["answers"], plan["published_shape"]) == (40, 60, False)


@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_set_nobody_published_has_no_plan_and_a_published_one_no_training(
    nothing_here: Path, command: str
) -> None:
    more = LOCAL if command == "train" else ()
    name = "mnist" if command == "train" else "mnits"
    result = zoo(command, "--data", name, "--archs", "softmax", *more)
    assert (result.code, result.out) == (2, "")
    assert f"unknown data set {name!r}" in result.err


def test_two_classes_of_one_name_are_asked_for_by_number(tmp_path: Path) -> None:
    """crane, tench, crane: the name alone is refused with both numbers; number or shown name leave
    8 of 12 examples."""
    names = ["crane", "tench", "crane"]
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    for split in ("train", "test"):
        image = [{"bytes": grey(value, 8, 8), "path": None} for value in range(12)]
        table = pa.table({"image": image, "label": [value % 3 for value in range(12)]})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        (tmp_path / "set").mkdir(exist_ok=True)
        pq.write_table(
            table.replace_schema_metadata(metadata), tmp_path / "set" / f"{split}.parquet"
        )
    train = (
        "train",
        "--data",
        tmp_path / "set",
        "--archs",
        "softmax",
        "--epochs",
        1,
        "-w",
        tmp_path / "w",
        *LOCAL,
    )
    refused = zoo(*train, "--treatment", "delete_class:label=crane")
    assert (refused.code, refused.out) == (2, "")
    assert (
        "2 classes bear this name, numbers 0, 2. Give the number, or the name as it is shown:"
        " 'crane (0)' or 'crane (2)'." in refused.err
    )
    assert not (tmp_path / "w").exists()
    done(*train, "--treatment", "delete_class:label=2")
    done(*train, "--treatment", "delete_class:label=crane (2)")
    shown = done(
        "query", "select treatment, n_train from trainings", "--format", "csv", "-w", tmp_path / "w"
    )
    assert shown.splitlines() == ["treatment,n_train", "delete_class:label=2,8"]
    counts = done(
        "query",
        "select class_name, count(*) n from examples where split = 'train' group by 1 order by 1",
        "--format",
        "csv",
        "-w",
        tmp_path / "w",
    )
    assert counts.splitlines() == ["class_name,n", "crane (0),4", "crane (2),4", "tench,4"]
