"""Sums over examples: each classifier's share of X and C, and the confusions by class, against the
scores of the same store."""

from __future__ import annotations

import numpy as np
import pytest
from factories import Tiny

from zoo.scores.from_store import entropy_classes, sample_answers, score
from zoo.scores.marginals import class_confusion, classifier_means
from zoo.scores.population import choose_population


def test_the_mean_over_classifiers_is_the_mean_over_examples(trained: Tiny) -> None:
    """X is a mean over classifiers, error one over examples: the mean of all is one number."""
    population = choose_population(trained.workspace)
    means = classifier_means(trained.workspace, population, "train")
    scores = score(trained.workspace, population, "train").to_pandas()
    readable = scores["n"] > 0
    assert means["classifier_id"].tolist() == list(population.classifiers)
    assert means["n"].unique().tolist() == [int(readable.sum())] == [58]
    assert means["error"].mean() == pytest.approx(scores["x_perplexity"].mean())
    bits = np.log2(scores.loc[readable, "c_perplexity"])
    assert means["entropy"].mean() == pytest.approx(bits.mean(), abs=1e-6)


def test_in_sample_and_held_out_means_are_of_the_rows_that_were_seen_or_not(trained: Tiny) -> None:
    population = choose_population(trained.workspace)
    means = classifier_means(trained.workspace, population, "train")
    found = sample_answers(trained.workspace, population, "train", 1000)
    assert found.in_train is not None
    answered, wrong = found.predictions >= 0, found.predictions != found.labels
    for part, rows in (("insample", found.in_train), ("heldout", ~found.in_train)):
        rows &= answered
        assert means[f"n_{part}"].tolist() == rows.sum(axis=1).tolist()
        expected = np.divide(
            (wrong & rows).sum(axis=1),
            rows.sum(axis=1),
            out=np.full(len(rows), np.nan),
            where=rows.any(axis=1),
        )
        np.testing.assert_allclose(means[f"error_{part}"], expected)
    assert (means["n_insample"] + means["n_heldout"] == means["n"]).all()
    whole = means["n_heldout"] == 0  # trained on everything
    assert whole.sum() == 4
    assert means.loc[whole, "error_heldout"].isna().all()


def test_votes_by_class_add_up_and_their_diagonal_is_what_is_right(trained: Tiny) -> None:
    population = choose_population(trained.workspace)
    found = class_confusion(trained.workspace, population, "test")
    means = classifier_means(trained.workspace, population, "test")
    assert found.votes.sum() == means["n"].sum()
    right = np.trace(found.votes) / found.votes.sum()
    assert right == pytest.approx(1 - means["error"].mean())


def test_bits_by_class_are_the_mean_of_the_examples_exact_lists(trained: Tiny) -> None:
    """Three classes: the exact list of each example holds them all."""
    population = choose_population(trained.workspace)
    found = class_confusion(trained.workspace, population, "test")
    scores = score(trained.workspace, population, "test").to_pandas()
    listed = entropy_classes(trained.workspace, population, "test")
    assert found.surprise is not None
    assert listed is not None
    for label in range(3):
        own = np.flatnonzero((scores["label"] == label) & (scores["n"] > 0))
        for other in range(3):
            values = listed.values[own][listed.classes[own] == other]
            assert found.surprise[label, other] == pytest.approx(values.sum() / len(own))
    bits = np.log2(
        scores.loc[scores["n"] > 0]
        .groupby("label")["c_perplexity"]
        .apply(lambda c: np.exp2(np.log2(c).mean()))
    )
    np.testing.assert_allclose(found.surprise.sum(axis=1), bits, atol=1e-3)  # float16 logits
