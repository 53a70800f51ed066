"""Which labels are probably wrong: the probabilities by hand, what is expected of a list against
planted truth, and the columns they are in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from factories import UNREADABLE_TRAIN, Tiny, manifest

import zoo as library
from tools.bench.label_count import simulated_truth
from zoo.errors import UsageError
from zoo.scores import from_store
from zoo.scores.catalog import SCORES
from zoo.scores.issues import issues, no_issues_note, scored
from zoo.scores.label_count import posterior, probably_wrong, wrong_labels
from zoo.scores.population import choose_population
from zoo.store.origin import Origin
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace


def test_the_probability_by_hand() -> None:
    """Three classes, a fifth of the labels wrong: with p = 1/2 another class has 1/4, so .2 / 4 of
    .2 / 4 + .8 / 2 is 1/9; with p = 0 certainly, with p = 1/3 it is as before looking, with p = 1
    never."""
    found = posterior(np.array([1 / 2, 0.0, 1 / 3, 1.0]), 0.2, 3)
    assert found == pytest.approx([1 / 9, 1.0, 0.2, 0.0])


def test_what_to_expect_of_a_list_by_hand() -> None:
    """Order by suspicion: examples 2, 0, 3 (1 is not known). Wrong with .9, .8 and .1, so 1.8 are
    wrong: the first two are flagged."""
    precision, flagged = issues(
        np.array([0.8, np.nan, 0.9, 0.1]),
        np.array([2.0, 9.0, 3.0, 1.0]),
        np.zeros(4),
        np.arange(4),
    )
    assert precision[[2, 0, 3]] == pytest.approx([0.9, 0.85, 0.6])
    assert np.isnan(precision[1])
    assert flagged.tolist() == [True, False, True, False]


def test_the_probabilities_sum_to_the_count() -> None:
    """The number of flags is the number that is reported; unknown labels and answers have none."""
    sums, counts, labels, wrong = simulated_truth(
        3, examples=500, classes=5, rate=0.1, strength=2.5, confusing=False
    )
    labels[:2], counts[:, 2] = -1, 0
    found = probably_wrong(sums, counts, labels)
    assert np.isnan(found[:3]).all()
    assert not np.isnan(found[3:]).any()
    assert np.nansum(found) == pytest.approx(wrong.sum(), rel=0.2)


def _off(shuffle: bool) -> float:
    """Largest difference between expected and true precision of a list, over cuts at 5, 10 and
    20 % and at the flags, mean over eight simulated sets."""
    differences = []
    for seed in range(8):
        sums, counts, labels, wrong = simulated_truth(
            seed, examples=600, classes=5, rate=0.1, strength=2.5, confusing=False
        )
        p = probably_wrong(sums, counts, labels)
        suspicious = -sums.mean(axis=0)[np.arange(len(labels)), labels]
        expected, flagged = issues(p, suspicious, np.zeros(len(p)), np.arange(len(p)))
        order = np.argsort(-suspicious, kind="stable")
        if shuffle:
            wrong = np.random.default_rng(seed).permutation(wrong)
        cuts = [30, 60, 120, int(flagged.sum())]
        differences.append([expected[order[n - 1]] - wrong[order[:n]].mean() for n in cuts])
    return float(np.abs(np.mean(differences, axis=0)).max())


def test_the_expected_precision_is_the_true_one_where_errors_fall_on_all_classes_alike() -> None:
    """Within four points of the planted truth, mean over sets. Twin: of errors that have nothing to
    do with the answers it is far off."""
    assert _off(shuffle=False) < 0.04
    assert _off(shuffle=True) > 0.3


def test_in_the_scores_of_a_population(trained: Tiny) -> None:
    """As many flags as the count says, the most suspicious ones; nothing of pictures that cannot be
    read; the other columns as they were."""
    space = trained.workspace
    population = choose_population(space)
    table = scored(space, population, "train")
    frame = table.to_pandas()
    assert no_issues_note(table) == ""
    labels = frame["label"].where(frame["n"] > 0).fillna(-1).to_numpy(np.int64)
    count = wrong_labels(space, population, "train", labels)
    assert count is not None
    assert frame["p_wrong"].sum() == pytest.approx(count.count, abs=1e-3)
    flagged = frame["is_label_issue"].astype("boolean")
    assert flagged.sum() == round(count.count)
    assert flagged.isna().sum() == frame["p_wrong"].isna().sum() >= len(UNREADABLE_TRAIN)
    known = frame[frame["p_wrong"].notna()]
    assert (
        known.loc[known["is_label_issue"].astype(bool), "label_quality"].max()
        <= known.loc[~known["is_label_issue"].astype(bool), "label_quality"].min()
    )
    plain = from_store.score(space, population, "train")
    new = ("p_wrong", "expected_precision", "is_label_issue")
    assert table.drop_columns(new).equals(plain.drop_columns(new))


def test_other_labels_leave_what_does_not_depend_on_labels_untouched(
    trained: Tiny, tmp_path: Path
) -> None:
    """A label edit changes no answer: with every label changed, columns that need none stay, bit
    for bit; those that need one do not. X alone, which is quick, is the same X."""
    shutil.copytree(trained.root, tmp_path / "w")
    space = Workspace.open(tmp_path / "w")
    examples = int(trained.dataset.splits["train"].labels.size)
    labels = (trained.dataset.splits["train"].labels + 1) % 3
    edited = manifest(range(examples), labels.tolist())
    origin = Origin(trained.dataset.fingerprint, "train")
    commit_selection(space, "edited", edited, origin, [])
    population = choose_population(space)
    given, other = (scored(space, population, "train", of) for of in ("label", "edited"))
    free = [name for name, score in SCORES.items() if "labels" not in score.needs]
    assert {"n", "c_perplexity", "c_heldout", "mutual_information", "top5_x"} <= set(free)
    assert given.select(free).equals(other.select(free))
    needing = ("x_perplexity", "mean_p_label", "label_quality", "p_wrong")
    assert not any(given.column(name).equals(other.column(name)) for name in needing)
    x = library.open(space.location).x_by("edited").to_numpy()
    assert np.array_equal(x, other.column("x_perplexity").to_numpy(), equal_nan=True)
    assert np.array_equal(
        library.open(space.location).x_by(trained.dataset.splits["train"].labels).to_numpy(),
        given.column("x_perplexity").to_numpy(),
        equal_nan=True,
    )
    # 65,536 more than a class: none, and not that class again in 16 bits
    assert (library.open(space.location).x_by(labels + 65_536).dropna() == 1).all()
    with pytest.raises(UsageError, match=r"labels of train have shape \(59,\). Allowed: \(60,\)"):
        library.open(space.location).x_by(labels[1:])
