"""``zoo import``: what does not fit is refused as a whole.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from numpy.typing import NDArray

from tests.exchange.predictions import E, M, bring, labels_file, outputs, save, softmax


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
    assert re.search(r"net1-\w+ has no answers on test\. Import them", result.err)
    assert "zoo import --split test" in result.err
    done("score", "--split", "test", "--where", "test_acc1 is not null", "-w", tmp_path / "w")
