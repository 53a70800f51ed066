"""Two classes of one name (crane, tench, crane) and keys borne by several examples: nothing is
counted, asked for or written under the wrong one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import done, zoo
from tests.data.conftest import grey
from zoo.data import catalog, open_dataset
from zoo.errors import UnknownNameError, UsageError
from zoo.registry import distinct, position

LOCAL = ("--runner", "local")
NAMES = ["crane", "tench", "crane"]
SHOWN = ["crane (0)", "tench", "crane (2)"]


def birds(folder: Path, *, paths: bool = False) -> Path:
    """Twelve pictures in train and six in test, classes 0, 1, 2 in turn, each of its own
    brightness. ``paths``: 0.png to 3.png in each class."""
    features = {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 12), ("test", 6)):
        labels = [row % 3 for row in range(count)]
        image = [
            {"bytes": grey(60 * row % 256, 8, 8), "path": f"{row // 3}.png" if paths else None}
            for row in range(count)
        ]
        table = pa.table({"image": image, "label": labels})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classifiers with answers to train and test, scores, and the selection of everything."""
    root = tmp_path_factory.mktemp("equal")
    done(
        "train",
        "--data",
        birds(root / "birds"),
        "--archs",
        "softmax",
        "--epochs",
        1,
        "--seeds",
        "0,1",
        "-w",
        root / "w",
        *LOCAL,
    )
    done("fill", "-w", root / "w", *LOCAL)
    done("score", "-w", root / "w")
    return root / "w"


# ---------------------------------------------------------------- the rule itself


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["a", "b"], ["a", "b"]),
        (NAMES, SHOWN),
        (["x", "x", "x (1)"], ["x (0)", "x (1) (1)", "x (1)"]),
        ([], []),
    ],
)
def test_names_are_shown_apart_and_unique_ones_as_they_are(
    names: Sequence[str], shown: Sequence[str]
) -> None:
    assert list(distinct(names)) == list(shown)
    assert len(set(distinct(names))) == len(names)


def test_a_class_is_found_by_its_name_or_as_it_is_shown_and_an_equal_name_is_refused_with_its_numbers() -> (  # noqa: E501
    None
):
    assert [position(NAMES, name, "class") for name in ("tench", "crane (0)", "crane (2)")] == [
        1,
        0,
        2,
    ]
    with pytest.raises(
        UsageError,
        match=(
            r"class 'crane': 2 classes bear this name, numbers 0, 2\. Give the number, or the name"
        ),
    ):
        position(NAMES, "crane", "class")
    with pytest.raises(UnknownNameError, match=r"unknown class 'crane \(1\)'\. Did you mean"):
        position(NAMES, "crane (1)", "class")


# ---------------------------------------------------------- everything that counts or shows by name


def test_the_tables_count_the_two_classes_apart(space: Path) -> None:
    counts = done(
        "query",
        "select class_name, count(*) n from examples group by 1 order by 1",
        "--format",
        "csv",
        "-w",
        space,
    )
    assert counts.splitlines() == ["class_name,n", "crane (0),6", "crane (2),6", "tench,6"]


def test_suspects_and_the_page_name_the_two_classes_apart(space: Path) -> None:
    """Twelve suspects, four of each class; on the page, one row per class in the figure's table."""
    text = done("score", "--top", 12, "-w", space)
    assert [text.count(f"  {name}  ") >= 4 for name in ("crane (0)", "crane (2)")] == [True, True]
    done("report", "-w", space)
    (table,) = (space / "figures").glob("*per_class*.csv")
    frame = pd.read_csv(table)
    assert sorted(frame["class_name"]) == sorted(SHOWN)
    assert frame["n"].tolist() == [4, 4, 4]


def test_exports_name_the_two_classes_apart_and_the_dataset_comes_back(
    space: Path, tmp_path: Path
) -> None:
    """The datasets library refuses equal names in a ClassLabel."""
    done("export", "scores", "--to", "perplexity", "-o", tmp_path / "p.csv", "-w", space)
    assert sorted(set(pd.read_csv(tmp_path / "p.csv")["label"])) == sorted(SHOWN)
    done(
        "export",
        "selection",
        "--selection",
        "baseline",
        "--to",
        "hf",
        "-o",
        tmp_path / "hf",
        "-w",
        space,
    )
    opened = open_dataset(str(tmp_path / "hf"))
    assert opened.class_names == tuple(SHOWN)
    assert np.bincount(opened.splits["train"].labels).tolist() == [4, 4, 4]
    done(
        "export",
        "selection",
        "--selection",
        "baseline",
        "--to",
        "imagefolder",
        "-o",
        tmp_path / "folder",
        "-w",
        space,
    )
    assert np.bincount(open_dataset(str(tmp_path / "folder")).splits["train"].labels).tolist() == [
        4,
        4,
        4,
    ]
    assert sorted(set(pd.read_csv(tmp_path / "folder/manifest.csv")["class_name"])) == sorted(SHOWN)


# ---------------------------------------------------------------- import


def predictions(path: Path, columns: list[str], truth: Sequence[int]) -> Path:
    """Probabilities .8, .1, .1 for the true class, in columns of these names."""
    values = np.full((len(truth), 3), 0.1)
    values[np.arange(len(truth)), truth] = 0.8
    frame = pd.DataFrame(values)
    header = ",".join(columns)
    path.write_text(
        "\n".join([header, *(",".join(map(str, row)) for row in frame.to_numpy())]) + "\n"
    )
    table = pa.Table.from_arrays([pa.array(values[:, i]) for i in range(3)], names=columns)
    pq.write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def test_labels_given_by_an_equal_name_are_refused_and_by_the_shown_name_taken(
    space: Path, tmp_path: Path
) -> None:
    truth = [row % 3 for row in range(12)]
    file = predictions(tmp_path / "model.csv", SHOWN, truth)
    labels = tmp_path / "labels.csv"
    labels.write_text("label\n" + "\n".join(NAMES[label] for label in truth) + "\n")
    common = (file, "--labels", labels, "--dataset", "birds", "--split", "train", "-w", space)
    refused = zoo("import", *common)
    assert refused.code in (1, 2), refused
    assert "row 0 has label 'crane', the name of 2 classes (numbers 0, 2)." in refused.err
    labels.write_text("label\n" + "\n".join(SHOWN[label] for label in truth) + "\n")
    done("import", *common)


def test_columns_named_as_shown_are_put_into_the_order_of_the_classes() -> None:
    from zoo.errors import DataError
    from zoo.exchange.foreign import Predictions, aligned

    base = Predictions(
        "m", "m.parquet", "", Path("nowhere"), (2, 3), columns=("tench", "crane (2)", "crane (0)")
    )
    found = aligned(base, None, 2, NAMES)
    assert found.classes is not None
    assert found.classes.tolist() == [2, 0, 1]
    equal = Predictions("m", "m.parquet", "", Path("nowhere"), (2, 3), columns=tuple(NAMES))
    assert aligned(equal, None, 2, NAMES).classes is None
    mixed = Predictions(
        "m", "m.parquet", "", Path("nowhere"), (2, 3), columns=("tench", "crane", "crane")
    )
    with pytest.raises(
        DataError, match="several columns are called 'crane', as are several classes"
    ):
        aligned(mixed, None, 2, NAMES)


# ---------------------------------------------------------------- keys


def test_a_keep_list_names_every_example_once(tmp_path: Path) -> None:
    """Twelve examples whose paths are 0.png to 3.png in each of three classes, two of them of one
    name: twelve different lines."""
    data = birds(tmp_path / "set", paths=True)
    done("train", "--data", data, "--archs", "softmax", "--epochs", 1, "-w", tmp_path / "w", *LOCAL)
    lines = done(
        "export", "selection", "--selection", "baseline", "--to", "keep-list", "-w", tmp_path / "w"
    ).splitlines()
    assert sorted(lines) == sorted(f"{name}/{i}.png" for name in SHOWN for i in range(4))


def test_a_keep_list_of_a_record_with_equal_keys_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace of the version before holds such keys; csv, which has ids, is still written."""
    monkeypatch.setattr(catalog, "unique_keys", lambda keys, _labels, _names: list(keys))
    data = birds(tmp_path / "set", paths=True)
    done("train", "--data", data, "--archs", "softmax", "--epochs", 1, "-w", tmp_path / "w", *LOCAL)
    chosen = ("export", "selection", "--selection", "baseline", "-w", tmp_path / "w", "--to")
    refused = zoo(*chosen, "keep-list")
    assert (refused.code, refused.out) == (1, "")
    assert (
        "the key '0.png' is borne by 3 examples of set train (4 keys are borne by several)"
        in refused.err
    )
    assert len(done(*chosen, "csv").splitlines()) == 1 + 12
