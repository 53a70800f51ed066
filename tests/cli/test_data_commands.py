"""``zoo data show`` and ``zoo data treatments``; treatments on the command line, wrong ones above
all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.commands import CLASSES, Result, corners, done, finished, png, zoo
from zoo.trainsets.treatments import TREATMENTS

LOCAL = ("--runner", "local")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 pictures of four classes, 61 + 60 + 60 + 59 or so by their labels."""
    return corners(tmp_path_factory.mktemp("data") / "corners")


def train(data: Path, space: Path, treatment: str, *more: object) -> Result:
    return zoo(
        "train",
        "--data",
        data,
        "--archs",
        "softmax",
        "--epochs",
        1,
        "--treatment",
        treatment,
        "-w",
        space,
        *LOCAL,
        *more,
    )


# ---------------------------------------------------------------- wrong treatments


@pytest.mark.parametrize(
    ("treatment", "said"),
    [
        (
            "subsample:fraction=1.5",
            "subsample: fraction = 1.5 is not possible. Allowed: a number from 0 to 1.",
        ),
        (
            "delete_fraction:fraction=-0.1",
            "delete_fraction: fraction = -0.1 is not possible. Allowed: a number from 0 to 1.",
        ),
        (
            "label_noise:fraction=2",
            "label_noise: fraction = 2.0 is not possible. Allowed: a number from 0 to 1.",
        ),
        (
            "label_noise:fraction=nan",
            "label_noise: fraction = nan is not possible. Allowed: a number from 0 to 1.",
        ),
        (
            "salt_pepper:share=0.6",
            "salt_pepper: share = 0.6 is not possible. Allowed: a number from 0 to 0.5.",
        ),
        (
            "gaussian_noise:sigma=-1",
            "gaussian_noise: sigma = -1.0 is not possible. Allowed: a number from 0.",
        ),
        ("delete_class:label=south-est", "unknown class of delete_class 'south-est'. Did you mean"),
        (
            "delete_class:label=4",
            "delete_class: label = 4 is no class of this data set. Allowed: 0 to 3.",
        ),
        ("label_noise:fraction=0.1,to=north", "unknown class of label_noise 'north'. Did you mean"),
        ("relabel:label=2,to=2", "relabel: label = 2 onto to = 2 changes nothing."),
        ("relabel:label=south-west,to=2", "relabel: label = 2 onto to = 2 changes nothing."),
        (
            "delete_class:label=1+delete_class:label=north-east",
            "after delete_class:label=1 no example of class 1 is left.",
        ),
        (
            "delete_class:label=1+relabel:label=1,to=2",
            "after delete_class:label=1 no example of class 1 is left.",
        ),
        (
            "label_noise:fraction=0.1+label_noise:fraction=0.2",
            "an earlier label_noise has seed 0 too",
        ),
        ("subsample:fraction=0.5+manifest:id=00000000000000aa", "A manifest may only come first."),
    ],
)
@pytest.mark.parametrize("command", ["train", "data show"])
def test_a_wrong_treatment_is_refused_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    command: str,
    treatment: str,
    said: str,
) -> None:
    """Exit 2, the value and what is allowed; no workspace, no picture."""
    monkeypatch.chdir(tmp_path)
    result = (
        train(data, tmp_path / "space", treatment)
        if command == "train"
        else zoo("data", "show", data, "--treatment", treatment)
    )
    assert (result.code, result.out) == (2, ""), result
    assert said in result.err
    assert list(tmp_path.iterdir()) == []


def test_more_than_there_is_cannot_be_taken(tmp_path: Path, data: Path) -> None:
    """241 of 240: known only when the data are counted, but still before anything is trained."""
    result = train(data, tmp_path / "space", "take:count=241")
    assert (result.code, result.out) == (2, "")
    assert "take: count = 241 of 240 examples. Allowed: 1 to 240." in result.err
    assert not finished(tmp_path / "space", "training")


def test_a_class_by_name_and_by_number_is_one_training(tmp_path: Path, data: Path) -> None:
    """south-east is class 3; the second command finds nothing to do."""
    space = tmp_path / "space"
    assert train(data, space, "relabel:label=south-east,to=north-west").code == 0
    again = train(data, space, "relabel:label=3,to=0")
    assert (again.code, again.err) == (0, "")
    assert finished(space, "training") == 1
    shown = done(
        "query",
        "select treatment, label_change_rate from trainings",
        "--format",
        "csv",
        "-w",
        space,
    )
    # 59 or 61 labels of 240 would be 0.2458 or 0.2542; of the 8 wrong labels 2 leave class 3 and 2
    # enter it, so 60 are renamed.
    assert shown.splitlines() == ["treatment,label_change_rate", '"relabel:label=3,to=0",0.25']


# ---------------------------------------------------------------- nothing left


@pytest.mark.parametrize(
    "treatment",
    [
        "delete_fraction:fraction=1",
        "subsample:fraction=0",
        "+".join(f"delete_class:label={name}" for name in CLASSES),
    ],
)
def test_a_training_set_without_examples_is_an_outcome(
    tmp_path: Path, data: Path, treatment: str
) -> None:
    """Exit 0, no classifier; one line says so when it is trained and each time it is asked for
    again, one in the status, one in the table."""
    space = tmp_path / "space"
    for _ in range(2):
        result = train(data, space, treatment)
        assert (result.code, result.out) == (0, f"1 training done, 0 classifiers in {space}.\n")
        (line,) = [line for line in result.err.splitlines() if "empty" in line]
        assert line.startswith("1 of 1 trainings are empty: their treatment (")
        assert line.endswith(
            "leaves no example. They have no classifier to fill or score; their accuracy counts as"
            " chance, 1 in 4."
        )
    text = done("status", "-w", space)
    assert "trainings   empty 1\n" in text
    assert (
        "empty       1 of the trainings: their treatment leaves no example, so they have no"
        " classifier and count as chance" in text
    )
    shown = done(
        "query",
        "select status, n_train, label_change_rate, stop_reason from trainings",
        "--format",
        "csv",
        "-w",
        space,
    )
    assert shown.splitlines()[1] == "empty,0,,no example left in the training set"


def test_fill_and_score_pass_an_empty_training_by(tmp_path: Path, data: Path) -> None:
    """Alone it leaves nothing to fill (exit 4); beside another the other's classifier is filled and
    scored alone."""
    space = tmp_path / "space"
    assert train(data, space, "delete_fraction:fraction=1").code == 0
    nothing = zoo("fill", "-w", space, *LOCAL)
    assert (nothing.code, nothing.out) == (4, "")
    assert "no trained classifier" in nothing.err
    assert zoo("score", "-w", space).code == 4
    assert train(data, space, "delete_fraction:fraction=0.5").out.startswith(
        f"1 training done, 1 classifier in {space}. Next: zoo fill"
    )
    done("fill", "-w", space, *LOCAL)
    assert done("score", "-w", space).startswith("240 examples of train by 1 classifier: ")


# ---------------------------------------------------------------- labels that are not there


def test_a_label_column_with_nulls_is_refused_with_its_first_row(tmp_path: Path) -> None:
    """An example without a label cannot be trained on. Nothing is dropped in silence: the data set
    does not open, whatever the treatment."""
    folder = tmp_path / "nulls"
    folder.mkdir()
    picture = {"bytes": png(np.zeros((12, 12), dtype=np.uint8)), "path": None}
    for split, labels in (("train", [0, 1, None, 1]), ("test", [0, 1])):
        pq.write_table(
            pa.table({"image": [picture] * len(labels), "label": labels}),
            folder / f"{split}.parquet",
        )
    for result in (
        train(folder, tmp_path / "space", "label_noise:fraction=0.5"),
        zoo(
            "data",
            "show",
            folder,
            "--treatment",
            "label_noise:fraction=0.5",
            "-o",
            tmp_path / "sheet.png",
        ),
    ):
        assert (result.code, result.out) == (1, "")
        assert (
            "row 2 has no label (null); every row needs one (1 have none). Fill or drop them."
            in result.err
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nulls"]


# ---------------------------------------------------------------- zoo data show


def test_a_contact_sheet_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    """Its path is printed; a folder is made; the same request gives the same bytes, another seed
    others; no workspace is made."""
    monkeypatch.chdir(tmp_path)
    treatment = ("--treatment", "label_noise:fraction=0.5+gaussian_noise:sigma=16")
    assert done("data", "show", data, *treatment, "--count", 3) == "contact-sheet.png\n"
    assert done("data", "show", data, *treatment, "--count", 3, "-o", "new/a.png") == "new/a.png\n"
    done("data", "show", data, *treatment, "--count", 3, "--seed", 1, "-o", "b.PNG")
    first, again, other = (
        Path(name).read_bytes() for name in ("contact-sheet.png", "new/a.png", "b.PNG")
    )
    assert first == again != other
    with Image.open("contact-sheet.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 1500)
        assert picture.info["Title"].startswith(
            "corners train: label_noise:fraction=0.5,seed=0,to=random + gaussian_noise:"
        )
        assert (
            "240 of 240 examples are left, 50 % of them with another label"
            in picture.info["Description"]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.PNG", "contact-sheet.png", "new"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ("--treatment", "delete_fraction:fraction=1"),
            4,
            "leaves none of the 240 examples of corners train: there is nothing to show.",
        ),
        (
            ("--treatment", "manifest:id=00000000000000aa"),
            2,
            "a selection lies in a workspace, and a sample is drawn without one.",
        ),
        (("--split", "tset"), 2, "unknown split 'tset'. Did you mean 'test'"),
        (("-o", "sheet.jpg"), 2, "a contact sheet is a PNG file. Write it as sheet.png."),
        (("-o", "taken/sheet.png"), 1, "cannot write taken/sheet.png: "),
        (("--count", "0"), 2, "--count"),
        (("--epoch", "0"), 2, "--epoch"),
        (("--seed", "-1"), 2, "--seed"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: Path,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    """One message, nothing written."""
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    result = zoo("data", "show", data, *arguments)
    assert (result.code, result.out) == (code, ""), result
    assert said in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# ---------------------------------------------------------------- zoo data treatments


def test_all_treatments_are_listed() -> None:
    """Each by its usage, in the order of the table, and the same as JSON."""
    blocks = done("data", "treatments").rstrip("\n").split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        treatment.usage for treatment in TREATMENTS.values()
    ]
    listed = json.loads(done("data", "treatments", "--json"))
    assert listed["schema"] == 1
    assert [treatment["name"] for treatment in listed["treatments"]] == list(TREATMENTS)


def test_one_treatment_is_explained_in_full() -> None:
    """Its source is named, which the list leaves out; an unknown name is answered with the
    nearest."""
    assert "Source: study 1 RQ3" in done("data", "treatments", "label_noise")
    assert "Source: study 1 RQ3" not in done("data", "treatments")
    assert [
        t["name"] for t in json.loads(done("data", "treatments", "gamma", "--json"))["treatments"]
    ] == ["gamma"]
    wrong = zoo("data", "treatments", "gama")
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown treatment 'gama'. Did you mean 'gamma'" in wrong.err


@pytest.mark.parametrize("command", ["train", "data show"])
def test_help_names_every_treatment(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """From the table itself, so a new one is there at once; asked twice, it says the same."""
    monkeypatch.setitem(TREATMENTS._entries, "brand_new", TREATMENTS["gamma"])
    monkeypatch.setenv("COLUMNS", "200")
    first, second = (done(*command.split(), "--help") for _ in range(2))
    assert first == second
    words = " ".join(first.replace("│", " ").split())
    assert f"Known: {', '.join(TREATMENTS)}." in words
