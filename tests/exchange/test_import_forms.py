"""``zoo import``: forms of files, labels and ids; several commands and splits; company with trained
classifiers.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import Tiny

import zoo as library
from tests.exchange.predictions import E, M, N, agree, bring, labels_file, oracle, outputs, save
from zoo.exchange.foreign import check_values, class_indices, open_predictions
from zoo.fill.plan import plan_fill
from zoo.store import ledger
from zoo.store.datasets import examples_frame
from zoo.store.workspace import Workspace

# ---------------------------------------------------------------- Parquet, ids, names


def test_parquet_rows_are_joined_by_key(tmp_path: Path) -> None:
    """A Parquet file with a key column may list its rows in any order; fixed-size and plain lists
    and columns per class mean the same."""
    values, labels = outputs(members=4)
    keys = [f"img/{i:03d}.png" for i in range(E)]
    (tmp_path / "ids.txt").write_text("\n".join(keys) + "\n")
    order = np.random.default_rng(1).permutation(E)
    shuffled = values[:, order]
    listed = [keys[i] for i in order]
    pq.write_table(
        pa.table({"key": listed, "logits": list(shuffled[0])}), tmp_path / "net0.parquet"
    )
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(shuffled[1].reshape(-1)), M)
    pq.write_table(
        pa.table({"key": listed, "logits": fixed}), tmp_path / "net1.parquet", row_group_size=17
    )
    columns = {f"class_{c}": shuffled[2][:, c] for c in range(M)}
    pq.write_table(pa.table({"example_id": order, **columns}), tmp_path / "net2.parquet")
    pq.write_table(
        pa.table({f"class_{c}": values[3][:, c] for c in range(M)}), tmp_path / "net3.parquet"
    )
    given = labels_file(tmp_path, labels)
    files = [tmp_path / f"net{i}.parquet" for i in range(4)]
    bring(tmp_path / "w", files, given, ids=tmp_path / "ids.txt")
    scores = library.open(tmp_path / "w").scores()
    agree(scores, oracle(values, labels))
    assert scores["key"].tolist() == keys


def test_parquet_columns_are_put_in_the_order_of_the_classes(tmp_path: Path) -> None:
    """Columns called like the classes are taken by name: another order of columns changes
    nothing."""
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    pq.write_table(
        pa.table({"dog": p[:, 1], "cat": p[:, 0], "emu": p[:, 2]}), tmp_path / "net.parquet"
    )
    (tmp_path / "classes.txt").write_text("cat\ndog\nemu\n")
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    bring(
        tmp_path / "w",
        [tmp_path / "net.parquet"],
        tmp_path / "labels.txt",
        classes=tmp_path / "classes.txt",
    )
    answers = library.open(tmp_path / "w").query(
        "select prediction, p_label from answers order by example_id"
    )
    assert answers["prediction"].tolist() == [0, 2]
    assert answers["p_label"].tolist() == pytest.approx([0.7, 0.1])


def test_files_of_one_name_in_two_folders_are_two_classifiers(tmp_path: Path) -> None:
    """Classifiers are named after their files, with the folder in front where that is needed;
    --names decides otherwise."""
    values, labels = outputs(members=2)
    a, b = save(tmp_path / "vgg", values[:1])[0], save(tmp_path / "resnet", values[1:])[0]
    given = labels_file(tmp_path, labels)
    assert list(bring(tmp_path / "w", [a, b], given).classifiers.values()) == [
        "vgg-net0",
        "resnet-net0",
    ]
    report = bring(tmp_path / "v", [a, b], given, names=("VGG 16 / large", "Ünï"))
    assert list(report.classifiers.values()) == ["VGG 16 / large", "Ünï"]
    assert [key.rpartition("-")[0] for key in report.classifiers] == ["VGG-16-large", "Uni"]


@pytest.mark.parametrize("form", ["csv", "parquet", "txt"])
def test_labels_come_in_several_forms(tmp_path: Path, form: str) -> None:
    """A table may hold ids and true labels beside the labels; an empty cell is an unknown label."""
    values, _ = outputs(members=1, examples=4)
    frame = pd.DataFrame(
        {
            "key": ["a", "b", "c", "d"],
            "label": pd.array([0, 1, None, 3], dtype="Int64"),
            "label_true": [0, 2, 1, 3],
        }
    )
    path = tmp_path / f"labels.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text("0\n1\n\n3\n")
    bring(tmp_path / "w", save(tmp_path, values), path)
    examples = examples_frame(Workspace.open(tmp_path / "w"))
    assert examples["label"].fillna(-1).tolist() == [0, 1, -1, 3]
    if form != "txt":
        assert examples["key"].tolist() == ["a", "b", "c", "d"]
        assert examples["label_true"].tolist() == [0, 2, 1, 3]


# ---------------------------------------------------------------- splits, repetition, company


def test_the_same_import_again_changes_nothing(tmp_path: Path) -> None:
    """Repeated, no file is added and no classifier doubled; more files at once add only what is
    new."""
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    assert len(bring(tmp_path / "w", files[:2], given).added) == 2
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("*") if p.is_file()}
    assert bring(tmp_path / "w", files[:2], given).added == ()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "w").rglob("*") if p.is_file()} == before
    report = bring(tmp_path / "w", files, given)
    assert [report.classifiers[key] for key in report.added] == ["net2", "net3", "net4"]
    assert all(path.exists() and path.stat().st_mtime_ns == time for path, time in before.items())
    agree(library.open(tmp_path / "w").scores(), oracle(values, labels))


def test_two_splits_of_one_data_set_come_in_two_commands(tmp_path: Path) -> None:
    """Train and test predictions of the same names are the same classifiers, whichever split comes
    first."""
    train, y = outputs()
    test, z = outputs(examples=40, seed=1)
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\n")
    for name, order in (("w", ("train", "test")), ("v", ("test", "train"))):
        for split in order:
            values, labels = (train, y) if split == "train" else (test, z)
            given = labels_file(tmp_path / split, labels)
            # Class names of the first command hold for the second.
            classes = tmp_path / "classes.txt" if split == order[0] else None
            bring(
                tmp_path / name, save(tmp_path / split, values), given, split=split, classes=classes
            )
        study = library.open(tmp_path / name)
        agree(study.scores("train"), oracle(train, y))
        agree(study.scores("test"), oracle(test, z))
        frame = study.classifiers()
        assert len(frame) == N
        assert frame["test_acc1"].tolist() == pytest.approx((test.argmax(2) == z).mean(1).tolist())
        assert frame["train_acc1"].tolist() == pytest.approx(
            (train.argmax(2) == y).mean(1).tolist()
        )
        assert set(frame["treatment"]) == {"imported"}
    a, b = (library.open(tmp_path / name) for name in ("w", "v"))
    pd.testing.assert_frame_equal(a.classifiers(), b.classifiers())


def test_true_labels_can_be_added_later(tmp_path: Path) -> None:
    """An import that brings true labels for a recorded split makes them known; answers stay as they
    are."""
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    bring(tmp_path / "w", files, given)
    truth = labels.copy()
    truth[3] = (truth[3] + 1) % M
    bring(tmp_path / "w", files, given, label_true=labels_file(tmp_path, truth, "truth.npy"))
    scores = library.open(tmp_path / "w").scores()
    assert scores["label_true"].tolist() == truth.tolist()
    assert (scores["label"] != scores["label_true"]).sum() == 1
    bring(tmp_path / "w", files, given)
    assert library.open(tmp_path / "w").scores()["label_true"].tolist() == truth.tolist()


def test_imported_classifiers_join_trained_ones(trained: Tiny, tmp_path: Path) -> None:
    """Predictions whose labels are those of a recorded split belong to that data set: they score
    together, and a fill leaves them out."""
    shutil.copytree(trained.root, tmp_path / "w")
    space = Workspace.open(tmp_path / "w")
    examples = examples_frame(space)
    labels = examples[examples["split"] == "train"]["label"].to_numpy(dtype=np.int64)
    values = np.random.default_rng(0).normal(0, 1, (2, len(labels), 3))
    report = bring(tmp_path / "w", save(tmp_path, values), labels_file(tmp_path, labels))
    assert report.fingerprint == trained.dataset.fingerprint
    space = Workspace.open(tmp_path / "w")
    assert len(ledger.population(space)) == 14
    scores = library.open(tmp_path / "w").scores()
    only = library.open(tmp_path / "w").scores(where="treatment = 'imported'")
    before = library.open(trained.root).scores()
    readable = before["n"] == 12
    assert scores["n"][readable].unique().tolist() == [14]
    joined = (12 * before["x_perplexity"] + 2 * only["x_perplexity"]) / 14
    np.testing.assert_allclose(scores["x_perplexity"][readable], joined[readable], atol=1e-12)
    assert (
        plan_fill(space, trained.dataset, ledger.population(space), ("train", "test"), "all").tasks
        == []
    )


def test_class_lists_are_not_mixed_in_one_score(tmp_path: Path) -> None:
    """Classifiers of three and of four classes live in one workspace; a score over both is refused
    and names both class lists."""
    for classes in (3, 4):
        values, labels = outputs(members=1, classes=classes)
        place = tmp_path / str(classes)
        bring(tmp_path / "w", save(place, values, f"net{classes}-"), labels_file(place, labels))
    result = zoo("score", "-w", tmp_path / "w")
    assert result.code == 2
    assert "3 classes: 0, 1, 2;" in result.err
    assert "4 classes: 0, 1, 2, 3;" in result.err
    assert "net3-0" in result.err
    assert "net4-0" in result.err
    done("score", "-w", tmp_path / "w", "--where", "arch = 'net3-0'")


def test_imported_classifiers_score_query_select_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way from a file to a selection and a page, without any picture."""
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    truth = labels_file(tmp_path, (labels + (np.arange(E) % 10 == 0)) % M, "truth.npy")
    w = tmp_path / "w"
    made = json.loads(
        done("import", *files, "--labels", given, "--label-true", truth, "-w", w, "--json")
    )
    assert (made["kind"], made["examples"], made["num_classes"], len(made["added"])) == (
        "logits",
        E,
        M,
        N,
    )
    assert json.loads(done("score", "-w", w, "--data", "imported", "--json"))["classifiers"] == N
    count = (
        "select count(*) as n, count(distinct classifier_id) as c from answers join classifiers"
        " using (classifier_id)"
    )
    assert json.loads(done("query", count, "-w", w, "--format", "json")) == [{"n": N * E, "c": N}]
    assert "selection 'kept'" in done("select", "--worst", "0.1", "-o", "kept", "-w", w)

    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("a picture was asked for")

    monkeypatch.setattr("zoo.data.decode.decode_examples", decoded)
    assert "Classifiers of imported" in Path(done("report", "-w", w).strip()).read_text()
    refused = zoo("fill", "-w", w, "--runner", "local")
    assert refused.code == 2
    assert "0 data sets with pictures" in refused.err


# ---------------------------------------------------------------- single functions


def test_few_rows_that_look_like_probabilities_are_still_logits(tmp_path: Path) -> None:
    """Logits of which one row happens to sum to 1 are logits; only a majority of such rows means
    damaged probabilities."""
    values = np.array([[0.5, 0.5], [3.0, -1.0], [2.0, 2.0]])
    np.save(tmp_path / "a.npy", values)
    (member,) = open_predictions([tmp_path / "a.npy"], [], tmp_path)
    assert check_values(member, "auto").kind == "logits"


def test_texts_are_class_names_where_names_are_given() -> None:
    """Class names 3, 5, 8 make '5' the second class; without names it is the number 5."""
    column = pa.array(["5", "8", ""])
    assert class_indices(column, ["3", "5", "8"], named=True, where="x").tolist() == [1, 2, -1]
    assert class_indices(column, [str(i) for i in range(10)], named=False, where="x").tolist() == [
        5,
        8,
        -1,
    ]
