"""Orders of suspicion that take all examples together: by hand, against the package cleanlab, and
asked for by a selection."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import Tiny

import zoo
from zoo import keyed
from zoo.errors import NotFoundError, UsageError
from zoo.scores.catalog import SINGLE, TOGETHER, suspicion, worst_first
from zoo.scores.from_store import Probabilities
from zoo.scores.population import choose_population
from zoo.scores.suspects import score_values
from zoo.scores.together import (
    confident_issues,
    pooled_log_margin,
    with_single,
    with_together,
)
from zoo.store.ledger import classifiers_frame
from zoo.store.results import read_scores
from zoo.store.workspace import Workspace
from zoo.trainsets.rules import build, parse


def test_the_pooled_margin_by_hand() -> None:
    """Two classifiers and four examples: the first always gives the winner of the mean, so d = 1/8
    after half an example; the second differs at one of four."""
    first = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    second = np.array([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 0])
    a, b = np.log(7), np.log(3)
    p = (a * first + b * second) / (a + b)
    # classes 0, 0, 1, 1 win
    usual = np.array([p[:2, 0].mean(), p[2:, 1].mean()])
    logs = np.log(p / usual)
    rows = np.arange(4)
    expected = logs[rows, 1 - labels] - logs[rows, labels]
    np.testing.assert_allclose(pooled_log_margin(labels, [first, second]), expected, atol=1e-12)


def test_a_classifier_that_guesses_weighs_nothing() -> None:
    """One that differs from the winner more often than not changes no margin, unless there is no
    other: then all weigh the same."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    good = [0.8 * np.eye(3)[truth] + 0.2 * rng.dirichlet(np.ones(3), 90) for _ in range(4)]
    bad = 0.5 * np.eye(3)[(truth + 1) % 3] + 0.5 * rng.dirichlet(np.ones(3), 90)
    labels = np.where(rng.random(90) < 0.1, (truth + 1) % 3, truth)
    winners = np.sum([*good, bad], axis=0).argmax(axis=1)
    assert (winners == np.sum(good, axis=0).argmax(axis=1)).all()
    alone, beside = pooled_log_margin(labels, good), pooled_log_margin(labels, [*good, bad])
    np.testing.assert_allclose(beside, alone, atol=1e-12)
    assert not np.allclose(pooled_log_margin(labels, [bad]), alone)


def test_confident_issues_are_listed_as_cleanlab_does() -> None:
    """find_label_issues by its defaults on the mean of the held-out probabilities, then normalised
    margins: the same order. Where every classifier saw the example, it is the mean of all."""
    pytest.importorskip("cleanlab")
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    examples, classes = 400, 4
    ids = np.arange(examples)
    truth = keyed.integers("truth", ids, classes)[:, 0]
    wrong = keyed.uniform("wrong", ids)[:, 0] < 0.2
    labels = np.where(wrong, (truth + 1) % classes, truth)
    members = []
    for number in range(5):
        logits = keyed.uniform(f"p/{number}", ids, classes) * 3
        logits[ids, truth] += 2.0
        members.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    held = keyed.uniform("held", ids, 5).T < 0.5
    assert (~held.any(axis=0)).any()
    use = held | ~held.any(axis=0)
    mean = (np.stack(members) * use[:, :, None]).sum(axis=0) / use.sum(axis=0)[:, None]
    flags = find_label_issues(labels, mean, n_jobs=1)
    margin = get_label_quality_scores(labels, mean, method="normalized_margin")
    found = confident_issues(labels, members, held)
    np.testing.assert_allclose(found, margin - flags, atol=1e-12)
    assert 0 < flags.sum() < examples


def tables(trained: Tiny) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The stored scores, and the same with all of ``TOGETHER``."""
    space = trained.workspace
    people = choose_population(space)
    scores = zoo.open(trained.root).scores("train")
    return scores, with_together(space, people, "train", scores, TOGETHER)


def test_small_loss_is_that_of_the_best_network_of_the_whole_set(trained: Tiny) -> None:
    """-log2 p(label) by the classifier of highest test accuracy among those that saw every example;
    pictures that could not be read have none."""
    space = trained.workspace
    scores, found = tables(trained)
    frame = classifiers_frame(space)
    whole = frame[(frame["treatment"] == "none") & (frame["role"] == "population")]
    best = whole.sort_values(["test_acc1", "classifier_id"], ascending=[False, True])
    name = best["classifier_id"].iloc[0]
    people = choose_population(space)
    members = dict(zip(people.classifiers, Probabilities(space, people, "train"), strict=True))
    readable = scores["x_perplexity"].notna().to_numpy()
    labels = scores["label"].to_numpy(dtype=np.int64)
    expected = -np.log2(members[name][np.arange(60), labels])
    np.testing.assert_allclose(found["small_loss"][readable], expected[readable], atol=1e-9)
    assert found.loc[~readable, list(TOGETHER)].isna().all().all()
    assert found.loc[readable, list(TOGETHER)].notna().all().all()


@pytest.mark.parametrize("name", TOGETHER)
def test_a_selection_may_rank_by_it(trained: Tiny, tmp_path: Path, name: str) -> None:
    """``zoo select worst:share=0.1,by=NAME`` drops the six that are most suspicious by it, and a
    selection without a workspace says where it can be had."""
    root = shutil.copytree(trained.root, tmp_path / "w")
    scores, found = tables(trained)
    zoo.open(root).score("train")
    summary = zoo.open(root).select("cleaned", f"worst:share=0.1,by={name}")
    usable = scores["x_perplexity"].notna().to_numpy()
    table = found[usable]
    held = score_values(table, "n_heldout")
    order = worst_first(
        suspicion(name, score_values(table, name), held),
        score_values(table, "x_perplexity"),
        table["example_id"].to_numpy(dtype=np.int64),
    )
    made = build(parse(f"worst:share=0.1,by={name}"), found, num_classes=3)
    assert summary["digest"] == made.digest
    dropped = set(table["example_id"]) - set(made.example_ids.tolist())
    assert dropped == set(table["example_id"].to_numpy()[order[: len(dropped)]])
    assert len(dropped) == 6
    with pytest.raises(NotFoundError, match="worked out from a population's kept logits"):
        build(parse(f"worst:share=0.1,by={name}"), scores, num_classes=3)


def test_scores_of_other_classifiers_are_refused(trained: Tiny, tmp_path: Path) -> None:
    """The columns would be of one population and X of another."""
    from zoo import pipeline
    from zoo.scores.population import Population
    from zoo.spec import Op, SelectionRule

    space = Workspace.open(shutil.copytree(trained.root, tmp_path / "w"))
    people = choose_population(space)
    zoo.open(space.location).score("train")
    scores, origin = read_scores(space, people.fingerprint, "train")
    ((name, params),) = parse("worst:share=0.1,by=pooled_log_margin")
    rule = SelectionRule(name="cleaned", rules=(Op(name=name, params=params),))
    fewer = Population(people.dataset, people.classifiers[1:])
    with pytest.raises(UsageError, match="are of other classifiers than there are now"):
        pipeline.select(space, rule, scores, origin, people.class_names, population=fewer)
    pipeline.select(space, rule, scores, origin, people.class_names, population=people)


def test_scores_of_one_training_are_those_of_its_own_snapshots(trained: Tiny) -> None:
    """Of ``nin_mini`` on the whole set, at epochs 1 and 3: the norm of the error at the first; 1
    where it was right and then wrong, 2 where it was never right; the mean margin of log p; the
    loss of the snapshot of higher test accuracy. Whatever else the population holds."""
    space = trained.workspace
    people = choose_population(space, "arch = 'nin_mini' and treatment = 'none'")
    assert [name[-4:] for name in people.classifiers] == ["0001", "0003"]
    scores = zoo.open(trained.root).scores("train")
    found = with_single(space, people, "train", scores)
    p = np.stack(list(Probabilities(space, people, "train")))  # [2, E, 3]
    label = scores["label"].to_numpy(dtype=np.int64)
    rows = np.flatnonzero(scores["x_perplexity"].notna())
    error = p - np.eye(3)[label]
    right = p.argmax(axis=2) == label
    logs = np.log2(p)
    own = logs[:, np.arange(60), label]
    others = np.where(np.eye(3, dtype=bool)[label], -np.inf, logs).max(axis=2)
    forgotten = np.where(right.any(axis=0), right[0] & ~right[1], 2)
    accuracy = classifiers_frame(space).set_index("classifier_id")["test_acc1"]
    best = int(accuracy[list(people.classifiers)].to_numpy(dtype=np.float64).argmax())
    for name, expected, off in (
        ("single_el2n", np.sqrt((error[0] ** 2).sum(axis=1)), 2e-3),
        ("single_forgetting", forgotten, 0),
        ("single_aum", np.log(2) * (own - others).mean(axis=0), 2e-2),
        ("single_loss", -own[best], 2e-2),
    ):
        values = score_values(found, name)
        np.testing.assert_allclose(values[rows], expected[rows], atol=off, err_msg=name)
    assert set(SINGLE) == set(found.columns) - set(scores.columns)


@pytest.mark.parametrize("name", SINGLE)
def test_without_one_training_there_is_no_such_order(trained: Tiny, name: str) -> None:
    """Neither of a workspace's population nor of a table of scores, and the message says whose
    order there is."""
    scores = zoo.open(trained.root).scores("train")
    with pytest.raises(NotFoundError, match="experiments that declare one"):
        with_single(trained.workspace, None, "train", scores)
    with pytest.raises(NotFoundError, match=f"no order by {name}.*Rank by el2n"):
        build(parse(f"worst:share=0.1,by={name}"), scores, num_classes=3)
