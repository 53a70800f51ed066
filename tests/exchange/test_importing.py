"""``zoo import``: predictions made elsewhere score, query, select and report like trained
classifiers, or are refused as a whole.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import QUIET, Tiny
from numpy.typing import NDArray

import zoo as library
from zoo.exchange import importing
from zoo.exchange.foreign import check_values, class_indices, open_predictions
from zoo.exchange.importing import Request, import_predictions
from zoo.fill.plan import plan_fill
from zoo.store import answers as answers_module
from zoo.store import fsck, ledger
from zoo.store.answers import logits_of
from zoo.store.datasets import examples_frame
from zoo.store.files import Disk
from zoo.store.workspace import Workspace

N, E, M = 5, 130, 4


def outputs(
    members: int = N, examples: int = E, classes: int = M, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits [N, E, M] that lean to the label, and labels [E]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    values = rng.normal(0, 2, (members, examples, classes))
    values[:, np.arange(examples), labels] += 2
    return values, labels


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def oracle(
    values: NDArray[np.float64], labels: NDArray[np.int64], *, probs: bool = False
) -> dict[str, NDArray[np.float64]]:
    """X, C and label quality in plain numpy, from logits or probabilities [N, E, M]."""
    p = values if probs else softmax(values)
    n, rows = len(values), np.arange(values.shape[1])
    x = (values.argmax(2) != labels).mean(0)
    surprise = np.zeros_like(p)
    surprise[p > 0] = -p[p > 0] * np.log2(p[p > 0])
    c = 2 ** surprise.sum(2).mean(0)
    quality = 1 - (n * x + 1 - p[:, rows, labels].mean(0)) / (n + 1)
    return {"x_perplexity": x, "c_perplexity": c, "label_quality": quality}


def agree(scores: pd.DataFrame, expected: dict[str, NDArray[np.float64]]) -> None:
    np.testing.assert_allclose(
        scores["x_perplexity"].to_numpy(), expected["x_perplexity"], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        scores["c_perplexity"].to_numpy(), expected["c_perplexity"], rtol=1e-6
    )
    np.testing.assert_allclose(
        scores["label_quality"].to_numpy(), expected["label_quality"], rtol=1e-6
    )


def save(folder: Path, values: NDArray[Any], stem: str = "net") -> list[Path]:
    """One .npy per classifier."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}{i}.npy" for i in range(len(values))]
    for path, one in zip(paths, values, strict=True):
        np.save(path, one)
    return paths


def labels_file(folder: Path, labels: NDArray[Any], name: str = "labels.npy") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / name, labels)
    return folder / name


def bring(place: Path, files: list[Path], labels: Path | None, **more: Any) -> importing.Imported:
    return import_predictions(str(place), Request(tuple(files), labels, **more), QUIET)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("small", "large"), [(2048, 512), (64, 16), (7, 1)])
def test_scores_of_imported_logits_equal_plain_numpy(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: type[np.floating[Any]],
    small: int,
    large: int,
) -> None:
    """X equals the oracle's to 1e-12, C and label quality to 1e-6, whatever the type of the numbers
    and the size of the shards."""
    monkeypatch.setattr(answers_module, "SMALL_SHARD", small)
    monkeypatch.setattr(answers_module, "LARGE_SHARD", large)
    values, labels = outputs()
    values = values.astype(dtype)
    bring(tmp_path / "w", save(tmp_path, values), labels_file(tmp_path, labels))
    agree(library.open(tmp_path / "w").scores(), oracle(values.astype(np.float64), labels))
    assert len(list((tmp_path / "w" / "answers").rglob("*.parquet"))) == -(-E // small)


def test_scores_of_imported_probabilities_equal_plain_numpy(tmp_path: Path) -> None:
    """Rows that sum to 1 are probabilities: entropies are of them, a probability of 0 adds nothing,
    and the kept logits keep that 0."""
    p = softmax(outputs()[0])
    p[:, ::3, 1] = 0.0
    p /= p.sum(2, keepdims=True)
    labels = np.arange(E) % M
    report = bring(tmp_path / "w", save(tmp_path, p), labels_file(tmp_path, labels))
    assert report.kind == "probs"
    agree(library.open(tmp_path / "w").scores(), oracle(p, labels, probs=True))
    logits = logits_of(Workspace.open(tmp_path / "w"), next(iter(report.classifiers)), "train")
    assert np.isfinite(logits).all()
    assert (softmax(logits.astype(np.float64))[::3, 1] == 0).all()


def test_probabilities_said_to_be_logits_are_taken_as_logits(tmp_path: Path) -> None:
    """--kind logits overrules what the numbers look like: their softmax is what counts."""
    p = softmax(outputs()[0])
    labels = np.arange(E) % M
    bring(tmp_path / "w", save(tmp_path, p), labels_file(tmp_path, labels), kind="logits")
    agree(library.open(tmp_path / "w").scores(), oracle(p, labels))


def test_order_of_files_and_split_into_commands_change_no_score(tmp_path: Path) -> None:
    """All at once, backwards, and one command per file give bit-equal scores."""
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    bring(tmp_path / "a", files, given)
    bring(tmp_path / "b", files[::-1], given)
    for file in files:
        bring(tmp_path / "c", [file], given)
    a, b, c = (library.open(tmp_path / name).scores() for name in "abc")
    pd.testing.assert_frame_equal(a, b, check_exact=True)
    pd.testing.assert_frame_equal(a, c, check_exact=True)


def test_cube_equals_its_slices(tmp_path: Path) -> None:
    """One file [N, E, M] is N classifiers, named after it."""
    values, labels = outputs(members=3)
    np.save(tmp_path / "cube.npy", values)
    given = labels_file(tmp_path, labels)
    report = bring(tmp_path / "w", [tmp_path / "cube.npy"], given)
    assert list(report.classifiers.values()) == ["cube-0", "cube-1", "cube-2"]
    bring(tmp_path / "v", save(tmp_path, values), given)
    pd.testing.assert_frame_equal(
        library.open(tmp_path / "w").scores(), library.open(tmp_path / "v").scores()
    )


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 8, 11])
def test_interrupted_import_is_finished_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Stopped at any file it writes, an import leaves no classifier behind that lacks answers;
    repeated, the store is as if nothing had been."""
    monkeypatch.setattr(answers_module, "SMALL_SHARD", 50)
    monkeypatch.setattr(answers_module, "LARGE_SHARD", 10)
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    calls = 0
    rename, link = Disk.rename, Disk.link

    def counted(original: Callable[..., None]) -> Callable[..., None]:
        def run(self: Disk, path: Path, target: Path) -> None:
            nonlocal calls
            # The format file and the probe belong to the workspace, not to the import.
            if "answers" in target.parts or "commits" in target.parts or "datasets" in target.parts:
                calls += 1
                if calls == stop:
                    raise KeyboardInterrupt
            original(self, path, target)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "rename", counted(rename))
        patch.setattr(Disk, "link", counted(link))
        with pytest.raises(KeyboardInterrupt):
            bring(tmp_path / "w", files, given)
    interrupted = Workspace.open(tmp_path / "w")
    members = ledger.population(interrupted)
    if members:
        assert {
            name for _, mine in answers_module.answer_parts(interrupted) for name in mine
        } >= set(members)
    bring(tmp_path / "w", files, given)
    agree(library.open(tmp_path / "w").scores(), oracle(values, labels))
    bring(tmp_path / "fresh", files, given)

    def content(name: str) -> set[str]:
        return {
            str(p.relative_to(tmp_path / name))
            for p in (tmp_path / name).rglob("*")
            if p.suffix in (".parquet", ".arrow", ".json")
        }

    assert content("w") == content("fresh")
    assert fsck.check(Workspace.open(tmp_path / "w"), "semantic") == []


def test_out_of_bag_value_of_a_bagging_model(tmp_path: Path) -> None:
    """With masks, x_heldout is one minus the share of right answers among the members that did not
    see the example (Data-OOB)."""
    from sklearn.ensemble import BaggingClassifier
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 200)
    features = rng.normal(0, 1, (200, 4)) + labels[:, None]
    model = BaggingClassifier(
        DecisionTreeClassifier(max_depth=3, random_state=0), n_estimators=15, random_state=0
    ).fit(features, labels)
    p = np.stack([member.predict_proba(features) for member in model.estimators_])
    masks = np.zeros((15, 200), dtype=bool)
    for i, seen in enumerate(model.estimators_samples_):
        masks[i, seen] = True
    right = p.argmax(2) == labels
    held = ~masks
    value = np.divide(
        (right & held).sum(0), held.sum(0), out=np.full(200, np.nan), where=held.sum(0) > 0
    )
    assert 0 < np.isnan(value).sum() < 5  # an example that all members saw has no out-of-bag value
    np.save(tmp_path / "cube.npy", p)
    np.save(tmp_path / "masks.npy", masks)
    bring(
        tmp_path / "w",
        [tmp_path / "cube.npy"],
        labels_file(tmp_path, labels),
        in_train=tmp_path / "masks.npy",
    )
    scores = library.open(tmp_path / "w").scores()
    np.testing.assert_allclose(scores["x_heldout"].to_numpy(), 1 - value, rtol=0, atol=1e-12)
    assert scores["n_heldout"].tolist() == held.sum(0).tolist()
    assert not np.allclose(scores["x_heldout"], scores["x_perplexity"])
    classifiers = library.open(tmp_path / "w").classifiers().set_index("arch")
    assert classifiers.loc["cube-00", "fraction"] == pytest.approx(masks[0].mean())


def test_without_masks_membership_is_not_known(tmp_path: Path) -> None:
    """in_train is null for imported classifiers without masks: no classifier counts as held out or
    in-sample, and the import says so."""
    values, labels = outputs()
    made = bring(tmp_path / "w", save(tmp_path, values), labels_file(tmp_path, labels))
    assert "n_heldout and the held-out scores stay empty" in made.notes[0]
    study = library.open(tmp_path / "w")
    assert study.query("select count(*) as n from answers where in_train is not null")["n"][0] == 0
    scores = study.scores()
    assert scores[["n_heldout", "x_heldout", "c_heldout", "x_insample"]].isna().all(axis=None)
    agree(scores, oracle(values, labels))  # label quality is over all


def test_sub_population_equals_a_store_with_only_those(tmp_path: Path) -> None:
    """--where gives bit for bit what a store gives that holds only these classifiers."""
    values, labels = outputs()
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    bring(tmp_path / "all", files, given)
    bring(tmp_path / "some", [files[1], files[3]], given)
    some = library.open(tmp_path / "all").scores(where="arch in ('net1', 'net3')")
    pd.testing.assert_frame_equal(some, library.open(tmp_path / "some").scores(), check_exact=True)
    assert not some["x_perplexity"].equals(library.open(tmp_path / "all").scores()["x_perplexity"])


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


# ---------------------------------------------------------------- refusals


def _nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values[1, 5, 2] = np.nan
    return values


def _damaged(values: NDArray[np.float64]) -> NDArray[np.float64]:
    p = softmax(values)
    p[1, 7] *= 0.5
    return p


def _mixed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values[1] = softmax(values[1])
    return values


WRONG: dict[
    str,
    tuple[
        Callable[[NDArray[np.float64]], NDArray[Any]],
        Callable[[NDArray[np.int64]], NDArray[Any]],
        str,
    ],
] = {
    "a NaN": (_nan, lambda y: y, r"net1 .*example 5 holds nan .*Allowed: finite numbers"),
    "an infinity": (
        lambda v: np.where(v == v[0, 9, 0], np.inf, v),
        lambda y: y,
        r"net0 .*example 9 holds inf",
    ),
    "too large": (
        lambda v: np.where(v == v[0, 9, 0], 1e200, v),
        lambda y: y,
        r"example 9 holds 1e\+200",
    ),
    "damaged probabilities": (
        _damaged,
        lambda y: y,
        r"net1 .*example 7 .*sum 0\.5, 129 of 130 rows are probabilities",
    ),
    "two kinds": (_mixed, lambda y: y, r"net0 .*holds logits, net1 .*probs.*Allowed: one kind"),
    "whole numbers": (
        lambda v: v.argmax(2)[..., None],
        lambda y: y,
        r"holds int64\. Allowed: float16, float32 or float64",
    ),
    "one class": (lambda v: v[..., :1], lambda y: y, r"has 1 classes in its last dimension"),
    "no class axis": (lambda v: v[..., 0], lambda y: y, r"has shape \(130,\)\. Allowed: \[E, M\]"),
    "label too high": (
        lambda v: v,
        lambda y: np.where(np.arange(E) == 8, M, y),
        r"row 8 has label 4 \(1 such row\)\. Allowed: 0 to 3",
    ),
    "label too low": (
        lambda v: v,
        lambda y: np.where(np.arange(E) == 8, -2, y),
        r"row 8 has label -2",
    ),
    "label and a half": (
        lambda v: v,
        lambda y: np.where(np.arange(E) == 8, 1.5, y),
        r"row 8 has label 1\.5",
    ),
    "label NaN": (
        lambda v: v,
        lambda y: np.where(np.arange(E) == 8, np.nan, y),
        r"row 8 has label nan",
    ),
    "labels too few": (
        lambda v: v,
        lambda y: y[:-1],
        r"predictions have 130 examples, the labels 129",
    ),
    "labels of two dimensions": (
        lambda v: v,
        lambda y: np.eye(M)[y],
        r"labels\.npy has shape \(130, 4\)\. Allowed: \[E\]",
    ),
    "labels as objects": (lambda v: v, lambda y: y.astype(object), r"cannot be read as \.npy"),
    "label names without classes": (
        lambda v: v,
        lambda y: y.astype(str) + np.array("x"),
        r"row 0 has label '\dx'.*need --classes",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_numbers_are_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    """Each fault is named with its place and what is allowed; there is no workspace afterwards, and
    without the fault there is one."""
    values, labels = outputs(members=2)
    change_values, change_labels, message = WRONG[case]
    files = save(tmp_path / "bad", change_values(values.copy()))
    result = zoo(
        "import",
        *files,
        "--labels",
        labels_file(tmp_path / "bad", change_labels(labels)),
        "-w",
        tmp_path / "w",
    )
    assert result.code == 1
    error = result.err[result.err.index("zoo: ") :]
    assert re.search(message, error), error
    assert not (tmp_path / "w").exists()
    done(
        "import",
        *save(tmp_path, values),
        "--labels",
        labels_file(tmp_path, labels),
        "-w",
        tmp_path / "w",
    )
    assert (tmp_path / "w" / "commits" / "member").is_dir()


REQUESTS = (
    "no labels",
    "different lengths",
    "different class counts",
    "names",
    "same name",
    "duplicate ids",
    "too few ids",
    "class names",
    "class twice",
    "ragged csv",
    "truncated",
    "masks transposed",
    "masks are samples",
    "masks are floats",
    "archive",
    "missing file",
    "a folder",
    "logits said to be probs",
    "unknown keys",
    "key twice",
    "uneven lists",
    "text column",
    "split name",
)


def _requests(tmp_path: Path) -> dict[str, tuple[list[object], int, str]]:
    values, labels = outputs(members=2)
    a, b = save(tmp_path, values)
    y = labels_file(tmp_path, labels)
    short = save(tmp_path / "short", values[:1, :100])[0]
    wide = save(tmp_path / "wide", outputs(members=1, classes=5)[0], "wide")[0]
    (tmp_path / "twice.txt").write_text("\n".join(["same", "same", *map(str, range(E - 2))]) + "\n")
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "doubled.txt").write_text("a\nb\nc\na\n")
    (tmp_path / "ragged.csv").write_text("key,label\na,1\nb\n")
    (tmp_path / "cut.npy").write_bytes(a.read_bytes()[:-8])
    np.save(tmp_path / "masks.npy", np.zeros((E, 2), dtype=bool))
    np.save(tmp_path / "samples.npy", np.tile(np.arange(E), (2, 1)))
    np.save(tmp_path / "probabilities.npy", softmax(values)[0])
    np.savez(tmp_path / "many.npz", a=values)
    other = pa.table({"key": [f"k{i}" for i in range(E)], "logits": list(values[0])})
    pq.write_table(other, tmp_path / "keyed.parquet")
    (tmp_path / "ids.txt").write_text("\n".join(map(str, range(E))) + "\n")
    pq.write_table(
        pa.table({"key": ["x"] * E, "logits": list(values[0])}), tmp_path / "onekey.parquet"
    )
    pq.write_table(pa.table({"l": [[1.0, 2.0], [1.0]]}), tmp_path / "uneven.parquet")
    pq.write_table(pa.table({"l": [1.0], "text": ["a"]}), tmp_path / "text.parquet")
    return {
        "no labels": ([a, b], 2, "need labels"),
        "different lengths": (
            [a, short, "--labels", y],
            1,
            "net0.npy has 130 examples and 4 classes, net0.npy has 100 and 4",
        ),
        "different class counts": (
            [a, wide, "--labels", y],
            1,
            "130 examples and 4 classes, wide0.npy has 130 and 5",
        ),
        "names": ([a, b, "--labels", y, "--names", "one"], 2, "1 names for 2 classifiers"),
        "same name": (
            [a, b, "--labels", y, "--names", "one,one"],
            2,
            "two classifiers would be called 'one'",
        ),
        "duplicate ids": (
            [a, b, "--labels", y, "--ids", tmp_path / "twice.txt"],
            1,
            "id 'same' is in rows 0 and 1",
        ),
        "too few ids": (
            [a, b, "--labels", y, "--ids", tmp_path / "three.txt"],
            1,
            "--ids has 3 entries, --labels has 130",
        ),
        "class names": (
            [a, b, "--labels", y, "--classes", tmp_path / "three.txt"],
            1,
            "names 3 classes, net0.npy has 4",
        ),
        "class twice": (
            [a, b, "--labels", y, "--classes", tmp_path / "doubled.txt"],
            1,
            "'a' twice",
        ),
        "ragged csv": (
            [a, "--labels", tmp_path / "ragged.csv"],
            1,
            "row 3 has 1 cells, row 1 has 2",
        ),
        "truncated": ([tmp_path / "cut.npy", "--labels", y], 1, "cannot be read as .npy"),
        "masks transposed": (
            [a, b, "--labels", y, "--in-train", tmp_path / "masks.npy"],
            1,
            "It looks transposed",
        ),
        "masks are samples": (
            [a, b, "--labels", y, "--in-train", tmp_path / "samples.npy"],
            1,
            "holds 2 for net0, example 2",
        ),
        "masks are floats": (
            [a, b, "--labels", y, "--in-train", tmp_path / "probabilities.npy"],
            1,
            "Allowed: (2, 130)",
        ),
        "archive": (
            [tmp_path / "many.npz", "--labels", y],
            2,
            "ends in '.npz'. Allowed: .npy, .parquet",
        ),
        "missing file": ([tmp_path / "none.npy", "--labels", y], 2, "is not there"),
        "a folder": ([tmp_path, "--labels", y], 2, "is a folder"),
        "logits said to be probs": (
            [a, "--labels", y, "--kind", "probs"],
            1,
            "0 of 130 rows are probabilities",
        ),
        "unknown keys": (
            [tmp_path / "keyed.parquet", "--labels", y, "--ids", tmp_path / "ids.txt"],
            1,
            "'k0', which is no example",
        ),
        "key twice": ([tmp_path / "onekey.parquet", "--labels", y], 1, "id 'x' is in rows 0 and 1"),
        "uneven lists": ([tmp_path / "uneven.parquet", "--labels", y], 1, "differ in length"),
        "text column": ([tmp_path / "text.parquet", "--labels", y], 1, "l: double, text: string"),
        "split name": ([a, "--labels", y, "--split", "../x"], 2, "split '../x'"),
    }


@pytest.mark.parametrize("case", REQUESTS)
def test_wrong_requests_are_refused_and_nothing_is_written(tmp_path: Path, case: str) -> None:
    """What does not fit together is named, with what is allowed; no workspace is made."""
    cases = _requests(tmp_path)
    assert set(cases) == set(REQUESTS)
    arguments, code, message = cases[case]
    result = zoo("import", *arguments, "-w", tmp_path / "w")
    assert result.code == code, result
    assert message in result.err
    assert not (tmp_path / "w").exists()


def test_another_content_under_a_known_name_is_refused(tmp_path: Path) -> None:
    """A classifier's predictions on a split never change: other content, other masks and another
    kind are refused, naming both files."""
    values, labels = outputs(members=2)
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    w = tmp_path / "w"
    bring(w, files, given)
    before = {p: p.stat().st_mtime_ns for p in w.rglob("*") if p.is_file()}
    other = save(tmp_path / "other", values[::-1])
    np.save(tmp_path / "masks.npy", np.ones((2, E), dtype=bool))
    for arguments, word in (
        ([*other, "--labels", given], "differs in content"),
        (
            [*files, "--labels", given, "--in-train", tmp_path / "masks.npy"],
            "differs in training membership",
        ),
    ):
        result = zoo("import", *arguments, "-w", w)
        assert result.code == 2
        assert "'net0' has answers on train already, from net0.npy" in result.err
        assert word in result.err
    p = save(tmp_path / "p", softmax(values), "soft")
    bring(w, p, given)
    assert (
        "differs in kind" in zoo("import", *p, "--labels", given, "--kind", "logits", "-w", w).err
    )
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels", "other labels: example 4"),
        ("ids", "other ids: example 0"),
        ("size", "130 examples"),
    ],
)
def test_a_recorded_split_never_changes(tmp_path: Path, change: str, message: str) -> None:
    """Other labels, ids or another number of examples for a recorded split are refused; under
    another --dataset name they are welcome."""
    values, labels = outputs(members=1)
    given = labels_file(tmp_path, labels)
    (tmp_path / "ids.txt").write_text("\n".join(f"k{i}" for i in range(E)) + "\n")
    w = tmp_path / "w"
    bring(w, save(tmp_path, values), given, dataset="mine", ids=tmp_path / "ids.txt")
    more: list[object] = []
    if change == "labels":
        labels = np.where(np.arange(E) == 4, (labels + 1) % M, labels)
    elif change == "ids":
        (tmp_path / "others.txt").write_text("\n".join(f"j{i}" for i in range(E)) + "\n")
        more = ["--ids", tmp_path / "others.txt"]
    else:
        values, labels = values[:, :100], labels[:100]
    files = save(tmp_path / "second", values, "second")
    arguments = [
        "import",
        *files,
        "--labels",
        labels_file(tmp_path / "second", labels),
        *more,
        "-w",
        w,
    ]
    result = zoo(*arguments, "--dataset", "mine")
    assert result.code == 1
    assert message in result.err
    done(*arguments, "--dataset", "yours")


def test_members_without_a_split_are_named_when_it_is_scored(tmp_path: Path) -> None:
    """Scoring a split that some imported classifiers have no predictions on says so, and how to
    bring them or leave them out."""
    values, labels = outputs(members=2)
    files, given = save(tmp_path, values), labels_file(tmp_path, labels)
    bring(tmp_path / "w", files, given)
    bring(tmp_path / "w", files[:1], given, split="test")
    result = zoo("score", "--split", "test", "-w", tmp_path / "w")
    assert result.code == 1
    assert "1 classifiers have no answers on test, first net1-" in result.err
    assert "zoo import --split test" in result.err
    done("score", "--split", "test", "--where", "test_acc1 is not null", "-w", tmp_path / "w")


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
