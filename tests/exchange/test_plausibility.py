"""What predictions are is not guessed where the guess could be wrong: kind, class order,
membership, and whether they fit the labels at all.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import done, zoo
from factories import QUIET
from numpy.typing import NDArray

import zoo as library
from zoo.errors import DataError, UsageError
from zoo.exchange.foreign import class_indices, example_keys, numbered, read_columns
from zoo.exchange.importing import Imported, Request, import_predictions
from zoo.scores.from_arrays import perplexity, x_and_c
from zoo.scores.kind import Evidence
from zoo.scores.outputs import answers_from_probabilities, detect_kind
from zoo.store.answers import logits_of
from zoo.store.workspace import Workspace

M = 10


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    e = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def population(
    members: int = 3, examples: int = 60, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [N, E, 10] that lean to the label, and labels 0, 1, ..., 9, 0, ..."""
    rng = np.random.default_rng(seed)
    labels = np.arange(examples) % M
    logits = rng.normal(0, 1.5, (members, examples, M))
    logits[:, np.arange(examples), labels] += 3
    return softmax(logits), labels


def bfloat16(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rounded to the 8 bits of a bfloat16, as float32."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)


ROUNDED = {
    "bfloat16": bfloat16,
    "two digits": lambda p: np.round(p, 2),
    "a negative": (
        lambda p: (
            np.where(np.arange(M) == 3, -1e-9, p)
            + np.where(np.arange(M) == 4, p[..., 3:4] + 1e-9, 0)
        )
    ),
}


@pytest.mark.parametrize("case", ROUNDED)
def test_values_that_are_nearly_probabilities_are_asked_about(case: str) -> None:
    """perplexity and detect_kind refuse them and name the option; said to be probabilities, they
    give the scores of the exact ones, nearly."""
    p, labels = population()
    rounded = ROUNDED[case](p)
    with pytest.raises(UsageError, match=r"look like probabilities.*kind='probs'.*kind='logits'"):
        perplexity(rounded, labels)
    with pytest.raises(UsageError, match=r"kind='probs'"):
        detect_kind(rounded[0])
    with pytest.warns(UserWarning, match="probabilities put right: .* rows"):
        scores = perplexity(rounded, labels, kind="probs")
    exact = perplexity(p, labels)
    np.testing.assert_allclose(scores["c_perplexity"], exact["c_perplexity"], rtol=0.2)
    # what a wrong guess gives
    assert perplexity(rounded, labels, kind="logits")["c_perplexity"].mean() > 9
    assert exact["c_perplexity"].mean() < 4


@pytest.mark.parametrize("case", ROUNDED)
def test_an_import_asks_about_them_too_and_writes_nothing(tmp_path: Path, case: str) -> None:
    """zoo import refuses them with --kind; with --kind probs it says what it put right, and scores
    are those of perplexity."""
    p, labels = population()
    rounded = ROUNDED[case](p)
    np.save(tmp_path / "cube.npy", rounded)
    np.save(tmp_path / "labels.npy", labels)
    command = [
        "import",
        tmp_path / "cube.npy",
        "--labels",
        tmp_path / "labels.npy",
        "-w",
        tmp_path / "w",
    ]
    refused = zoo(*command)
    assert refused.code == 1
    assert "look like probabilities" in refused.err
    assert "--kind probs" in refused.err
    assert not (tmp_path / "w").exists()
    assert "probabilities put right in 3 of 3 classifiers, first cube-0" in done(
        *command, "--kind", "probs"
    )
    with pytest.warns(UserWarning, match="put right"):
        expected = perplexity(rounded, labels, kind="probs")
    scores = library.open(tmp_path / "w").scores()
    for column in ("x_perplexity", "c_perplexity", "label_quality"):
        assert scores[column].tolist() == expected[column].tolist()


def test_clear_cases_are_not_asked_about() -> None:
    """Exact probabilities, logits, log probabilities and rows of zeros are taken for what they
    are."""
    p, _ = population()
    kinds = [
        detect_kind(values)
        for values in (
            p[0],
            p[0].astype(np.float16),
            np.log(p[0]),
            np.log(p[0]) + 20,
            np.zeros((4, M)),
        )
    ]
    assert kinds == ["probs", "probs", "logits", "logits", "logits"]


def test_numbers_between_0_and_1_that_are_no_distributions_are_asked_about() -> None:
    """Sigmoids lie in [0, 1] and sum to anything: neither a softmax of them nor a division is taken
    by itself."""
    sigmoids = 1 / (1 + np.exp(-np.random.default_rng(0).normal(0, 2, (20, M))))
    with pytest.raises(UsageError, match="look like probabilities"):
        detect_kind(sigmoids)
    with pytest.raises(UsageError, match=r"Allowed: values from -0.001 with sum 1 \+- 0.05"):
        answers_from_probabilities(sigmoids)


def test_probabilities_are_put_right_within_five_per_cent_and_not_beyond() -> None:
    """A row that sums to 1.04 is divided by it; one that sums to 1.06, or holds -0.01, is
    refused."""
    assert answers_from_probabilities(np.array([[0.52, 0.52]]), np.array([0])).p_label.tolist() == [
        0.5
    ]
    assert answers_from_probabilities(np.array([[1.0, -1e-9]])).entropy.tolist() == [0.0]
    for row in ([0.53, 0.53], [1.01, -0.01]):
        with pytest.raises(UsageError, match="no distribution"):
            answers_from_probabilities(np.array([row]))


def test_evidence_is_the_same_whatever_the_blocks() -> None:
    """Looking at rows in blocks of any size gives the counts and the first odd row of looking at
    all at once."""
    p = bfloat16(population()[0])[0]
    whole = Evidence().add(p)
    for size in (1, 7, 59):
        parts = Evidence()
        for start in range(0, len(p), size):
            parts.add(p[start : start + size], start)
        assert parts == whole


# ---------------------------------------------------------------- no answer is no answer


def test_an_entropy_that_is_no_number_is_no_certain_answer() -> None:
    """x_and_c refuses an answer with entropy NaN or infinity, naming it; with prediction -1 it
    counts for nothing. It never makes C = 1."""
    predictions, labels = np.array([[0, 1], [0, 0]]), np.array([0, 1])
    for wrong in (np.nan, np.inf):
        entropies = np.array([[1.0, 1.0], [wrong, 1.0]])
        with pytest.raises(UsageError, match="classifier 1 answers example 0 with an entropy of"):
            x_and_c(predictions, entropies, labels)
        x, c = x_and_c(np.array([[0, 1], [-1, 0]]), entropies, labels)
        assert x.tolist() == [0.0, 0.5]
        assert c.tolist() == [2.0, 2.0]


def test_perplexity_takes_one_classifier_as_a_matrix() -> None:
    """[E, M] is [1, E, M]."""
    p, labels = population(members=1)
    pd.testing.assert_frame_equal(perplexity(p[0], labels), perplexity(p, labels))
    seen = labels < 5
    pd.testing.assert_frame_equal(
        perplexity(p[0], labels, in_train=seen), perplexity(p, labels, in_train=seen[None])
    )


# ---------------------------------------------------------------- class order, row order


def bring(place: Path, *files: Path, labels: Path, **more: Any) -> Imported:
    return import_predictions(str(place), Request(files, labels, **more), QUIET)


def named_columns(path: Path, columns: list[str], labels: list[str]) -> Path:
    """A Parquet file whose most probable class is the label, by name."""
    table = {
        name: [0.8 if label == name else 0.2 / (len(columns) - 1) for label in labels]
        for name in columns
    }
    pq.write_table(pa.table(table), path)
    return path


GIVEN = ["dog", "cat", "bird", "cat", "dog", "bird", "bird", "dog", "cat"]


def test_names_of_columns_are_the_class_list(tmp_path: Path) -> None:
    """Columns dog, cat, bird and labels by name, without --classes: every answer is right, and
    classes have their names."""
    file = named_columns(tmp_path / "net.parquet", ["dog", "cat", "bird"], GIVEN)
    (tmp_path / "labels.txt").write_text("\n".join(GIVEN) + "\n")
    made = bring(tmp_path / "w", file, labels=tmp_path / "labels.txt")
    assert list(made.accuracy.values()) == [1.0]
    assert library.open(tmp_path / "w").scores()["x_perplexity"].tolist() == [0.0] * 9
    assert sorted(
        library.open(tmp_path / "w").query("select distinct class_name from examples")["class_name"]
    ) == ["bird", "cat", "dog"]


def test_numbers_for_unsorted_names_are_not_guessed(tmp_path: Path) -> None:
    """Labels numbered by sorted name beside columns dog, cat, bird are refused with --classes,
    which then gives the right answers."""
    file = named_columns(tmp_path / "net.parquet", ["dog", "cat", "bird"], GIVEN)
    names = sorted(set(GIVEN))
    np.save(tmp_path / "labels.npy", [names.index(name) for name in GIVEN])
    (tmp_path / "classes.txt").write_text("\n".join(names) + "\n")
    with pytest.raises(DataError, match="Which class is 0 is not guessed: say it with --classes"):
        bring(tmp_path / "w", file, labels=tmp_path / "labels.npy")
    assert not (tmp_path / "w").exists()
    made = bring(
        tmp_path / "w", file, labels=tmp_path / "labels.npy", classes=tmp_path / "classes.txt"
    )
    assert list(made.accuracy.values()) == [1.0]


def test_sorted_names_leave_no_question(tmp_path: Path) -> None:
    """Columns bird, cat, dog in this order: their order and the sorted one are the same, so numbers
    are welcome."""
    file = named_columns(tmp_path / "net.parquet", ["bird", "cat", "dog"], GIVEN)
    np.save(tmp_path / "labels.npy", [["bird", "cat", "dog"].index(name) for name in GIVEN])
    assert list(bring(tmp_path / "w", file, labels=tmp_path / "labels.npy").accuracy.values()) == [
        1.0
    ]


def test_numbered_columns_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """class_0, class_1, class_10, class_2: as text sorted, as numbers meant."""
    assert numbered(["class_0", "class_10", "class_2"]) == ("class_0", "class_2", "class_10")
    assert numbered(["1", "0"]) == ("0", "1")
    assert numbered(["cat", "dog"]) is None
    assert numbered(["a1", "b2"]) is None
    columns = sorted(f"class_{i}" for i in range(11))
    labels = [f"class_{i % 11}" for i in range(33)]
    file = named_columns(tmp_path / "net.parquet", columns, labels)
    np.save(tmp_path / "labels.npy", np.arange(33) % 11)
    assert list(bring(tmp_path / "w", file, labels=tmp_path / "labels.npy").accuracy.values()) == [
        1.0
    ]


def test_names_that_agree_only_in_part_are_refused(tmp_path: Path) -> None:
    """--classes with cat and dog and lion beside columns cat, dog, bird: one of the two lists is
    wrong."""
    file = named_columns(tmp_path / "net.parquet", ["bird", "cat", "dog"], GIVEN)
    (tmp_path / "labels.txt").write_text("\n".join(GIVEN) + "\n")
    (tmp_path / "classes.txt").write_text("lion\ncat\ndog\n")
    with pytest.raises(DataError, match="Allowed: the same names in any order"):
        bring(
            tmp_path / "w", file, labels=tmp_path / "labels.txt", classes=tmp_path / "classes.txt"
        )


@pytest.mark.parametrize("disorder", ["rows", "columns"])
def test_predictions_out_of_order_are_warned_about(tmp_path: Path, disorder: str) -> None:
    """Accuracy is printed per classifier; shuffled rows or columns are no better than chance, which
    is said. In order nothing is."""
    p, labels = population(members=2, examples=200)
    rng = np.random.default_rng(1)
    wrong = p[:, rng.permutation(200)] if disorder == "rows" else p[..., np.roll(np.arange(M), 1)]
    for name, values in (("right", p), ("wrong", wrong)):
        np.save(tmp_path / f"{name}.npy", values)
    np.save(tmp_path / "labels.npy", labels)
    right = zoo(
        "import", tmp_path / "right.npy", "--labels", tmp_path / "labels.npy", "-w", tmp_path / "v"
    )
    assert right.code == 0
    assert f"right-0: accuracy {(p[0].argmax(1) == labels).mean():.4f}" in right.out
    assert "chance" not in right.err
    both = zoo(
        "import",
        tmp_path / "right.npy",
        tmp_path / "wrong.npy",
        "--labels",
        tmp_path / "labels.npy",
        "-w",
        tmp_path / "w",
    )
    assert both.code == 0
    assert "2 of 4 classifiers are no better than chance, first wrong-0" in both.err
    assert "--ids" in both.err
    made = json.loads(
        done(
            "import",
            tmp_path / "wrong.npy",
            "--labels",
            tmp_path / "labels.npy",
            "-w",
            tmp_path / "u",
            "--json",
        )
    )
    assert len(made["warnings"]) == 1
    assert len(made["accuracy"]) == 2


def test_the_worst_accuracies_are_listed_first_and_not_all_of_hundreds(tmp_path: Path) -> None:
    """Of 25 classifiers the 20 worst have a line, in order; one line says that there are 5 more."""
    labels = np.arange(50) % 2
    values = np.zeros((25, 50, 2))
    for member in range(25):
        said = np.where(np.arange(50) < 25 + member, labels, 1 - labels)  # 25 + member right
        values[member, np.arange(50), said] = 1 + np.arange(50)
    np.save(tmp_path / "cube.npy", values)
    np.save(tmp_path / "labels.npy", labels)
    lines = done(
        "import", tmp_path / "cube.npy", "--labels", tmp_path / "labels.npy", "-w", tmp_path / "w"
    ).splitlines()
    assert lines[0] == "cube-00: accuracy 0.5000"
    assert lines[19] == "cube-19: accuracy 0.8800"
    assert lines[20].startswith("... and 5 more up to 0.9800")


def test_the_same_predictions_under_two_names_are_warned_about(tmp_path: Path) -> None:
    """In one command or in two, a second name for one content is said to count twice; repeating the
    import under its own name is not."""
    p, labels = population(members=1)
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", p[0])
    np.save(tmp_path / "labels.npy", labels)
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    twice = "'two' has the very predictions of 'one': they count twice in every score."
    assert bring(tmp_path / "w", one, labels=tmp_path / "labels.npy").warnings == ()
    assert bring(tmp_path / "w", one, labels=tmp_path / "labels.npy").warnings == ()
    assert bring(tmp_path / "w", two, labels=tmp_path / "labels.npy").warnings == (twice,)
    assert bring(tmp_path / "v", one, two, labels=tmp_path / "labels.npy").warnings == (twice,)


# ---------------------------------------------------------------- labels and ids of every type


WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FORMS = ("npy", "parquet", "parquet with nulls", "csv")


def column_file(folder: Path, form: str, name: str, values: NDArray[Any]) -> Path:
    """Numbers as a file of a form; with nulls the fifth is missing."""
    path = folder / f"values.{form.split()[0]}"
    if form == "npy":
        np.save(path, values)
    elif form == "csv":
        pd.DataFrame({name: values, "other": "x"}).to_csv(path, index=False)
    else:
        mask = np.arange(len(values)) == 4 if form == "parquet with nulls" else None
        pq.write_table(
            pa.table({name: pa.array(values, mask=mask), "other": ["x"] * len(values)}), path
        )
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [*WHOLE, "float16", "float32", "float64"])
def test_labels_of_every_type_are_read(tmp_path: Path, dtype: str, form: str) -> None:
    """Whole numbers are class indices whatever type and file holds them, also where some are
    missing and the type has no -1."""
    labels = np.arange(20) % M
    columns = read_columns(column_file(tmp_path, form, "label", labels.astype(dtype)), "labels")
    found = class_indices(
        columns.get("label", columns.get("")), [str(i) for i in range(M)], named=False, where="x"
    )
    assert found.tolist() == [
        -1 if i == 4 and form == "parquet with nulls" else i % M for i in range(20)
    ]


@pytest.mark.parametrize("form", ["npy", "parquet", "csv"])
@pytest.mark.parametrize("dtype", WHOLE)
def test_ids_of_every_whole_type_are_read(tmp_path: Path, dtype: str, form: str) -> None:
    """Ids that are whole numbers are these numbers as text."""
    columns = read_columns(column_file(tmp_path, form, "key", np.arange(20).astype(dtype)), "ids")
    assert example_keys(columns.get("key", columns.get("")), "x") == [str(i) for i in range(20)]


@pytest.mark.parametrize("option", ["labels", "label_true", "ids"])
def test_every_option_that_takes_labels_or_ids_takes_unsigned_numbers(
    tmp_path: Path, option: str
) -> None:
    """Published label files are uint16, with gaps: --labels, --label-true and --ids read them."""
    p, labels = population(members=1, examples=20)
    np.save(tmp_path / "net.npy", p[0])
    np.save(tmp_path / "labels.npy", labels)
    name = {"labels": "label", "label_true": "label_true", "ids": "key"}[option]
    values = np.arange(20) if option == "ids" else labels
    path = column_file(
        tmp_path,
        "parquet" if option == "ids" else "parquet with nulls",
        name,
        values.astype("uint16"),
    )
    bring(
        tmp_path / "w",
        tmp_path / "net.npy",
        **({"labels": tmp_path / "labels.npy"} | {option: path}),
    )
    found = library.open(tmp_path / "w").query("select * from examples order by example_id")[name]
    expected = [
        None if option != "ids" and i == 4 else int(value) for i, value in enumerate(values)
    ]
    assert [None if pd.isna(value) else int(value) for value in found] == expected


def test_unsigned_labels_out_of_range_are_named() -> None:
    """The largest uint64 is no class, and no crash."""
    with pytest.raises(DataError, match="row 1 has label 18446744073709551615"):
        class_indices(pa.array([0, 2**64 - 1], pa.uint64()), ["a", "b"], named=True, where="x")


@pytest.mark.parametrize("name", ["key", "filename", "path", "image"])
def test_ids_of_a_frame_are_found_by_their_name(tmp_path: Path, name: str) -> None:
    """--ids takes a table with a column called key, id, path, image or the like; without one the
    message lists these names."""
    p, labels = population(members=1, examples=12)
    np.save(tmp_path / "net.npy", p[0])
    np.save(tmp_path / "labels.npy", labels)
    pd.DataFrame({name: [f"{i}.png" for i in range(12)], "width": 32}).to_csv(
        tmp_path / "frame.csv"
    )
    bring(
        tmp_path / "w",
        tmp_path / "net.npy",
        labels=tmp_path / "labels.npy",
        ids=tmp_path / "frame.csv",
    )
    assert library.open(tmp_path / "w").scores()["key"].tolist() == [f"{i}.png" for i in range(12)]
    pd.DataFrame({"a": range(12), "b": 1}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(
        DataError, match=r"has the columns 'a', 'b'\. One must be called key, id, .*path"
    ):
        bring(
            tmp_path / "v",
            tmp_path / "net.npy",
            labels=tmp_path / "labels.npy",
            ids=tmp_path / "other.csv",
        )


def test_a_runner_up_by_a_hair_is_no_tie_in_the_kept_logits(tmp_path: Path) -> None:
    """Logits 1 and 1 + 1e-9: class 1 is predicted, and float16 logits say so too; logits of 1e5
    apart are kept without a warning."""
    np.save(tmp_path / "net.npy", np.array([[1.0, 1.0 + 1e-9, -3.0], [0.0, 2e5, 0.0]]))
    np.save(tmp_path / "labels.npy", [1, 1])
    made = bring(tmp_path / "w", tmp_path / "net.npy", labels=tmp_path / "labels.npy")
    logits = logits_of(Workspace.open(tmp_path / "w"), next(iter(made.classifiers)), "train")
    assert logits.argmax(axis=1).tolist() == [1, 1]
    assert (logits.max(axis=1) == 0).all()
    assert (logits[0, :1] < 0).all()
    assert np.isfinite(logits).all()
