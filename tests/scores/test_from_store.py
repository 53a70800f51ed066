"""From the store to the scores table: equal to the reference on plain arrays, held-out by hand,
other label columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from factories import (
    CLASSES,
    QUIET,
    TRAIN,
    UNREADABLE_TRAIN,
    Tiny,
    manifest,
    tiny_dataset,
    training,
    workspace,
)
from numpy.typing import NDArray

import zoo
from zoo import pipeline
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.exchange.importing import Request, import_predictions
from zoo.local import LocalRunner
from zoo.scores import from_store
from zoo.scores.convergence import convergence_table
from zoo.scores.detection import detection_table
from zoo.scores.from_store import entropy_classes, relabelling_note, sample_answers, score
from zoo.scores.population import Population, choose_population, population_of
from zoo.spec import content_id
from zoo.store import ledger
from zoo.store.answers import list_values, logits_of, read_answers
from zoo.store.origin import Origin
from zoo.store.schema import SCORES_SCHEMA
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace

READABLE = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)


def scored(
    space: Workspace, split: str = "train", where: str | None = None, label_column: str = "label"
) -> pd.DataFrame:
    return score(space, choose_population(space, where), split, label_column).to_pandas()


def kept(space: Workspace, names: tuple[str, ...]) -> NDArray[np.float32]:
    """Logits float32 [N, readable, M] from the store."""
    return np.stack(
        [logits_of(space, name, "train")[READABLE].astype(np.float32) for name in names]
    )


def seen(space: Workspace, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which readable examples each classifier was trained on, bool [N, readable], from the record
    of its training."""
    return np.stack([ledger.seen_by(space, name.rsplit("-e", 1)[0])[READABLE] for name in names])


def test_scores_equal_the_reference_on_the_kept_logits(trained: Tiny) -> None:
    """Every number of ``zoo.perplexity`` on the stored logits, to the precision of float16; counts
    and classes exactly."""
    space = trained.workspace
    population = choose_population(space)
    labels = trained.dataset.splits["train"].labels[READABLE]
    found = scored(space).iloc[READABLE].reset_index(drop=True)
    expected = zoo.perplexity(
        kept(space, population.classifiers),
        labels,
        kind="logits",
        in_train=seen(space, population.classifiers),
    )
    for name in (
        "label",
        "n",
        "n_heldout",
        "x_perplexity",
        "x_heldout",
        "x_insample",
        "top_confusion",
        "top_confusion_share",
        "top_probability",
    ):
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert found["x_bin"].tolist() == expected["x_bin"].tolist()
    for name in ("c_perplexity", "c_heldout", "mean_p_label", "mean_margin", "label_quality"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-3, atol=1e-3, err_msg=name)


def test_held_out_scores_by_hand(trained: Tiny) -> None:
    """X over the classifiers that did not train on an example, counted one by one; null where all
    of them did."""
    space = trained.workspace
    names = choose_population(space).classifiers
    labels = trained.dataset.splits["train"].labels
    frame = scored(space)
    predictions = {
        name: batch.column("prediction").to_pylist()
        for _, batches in read_answers(space, trained.dataset.fingerprint, "train", names)
        for name, batch in batches
    }
    masks = {name: ledger.seen_by(space, name.rsplit("-e", 1)[0]) for name in names}
    somewhere_heldout = 0
    for i in READABLE:
        wrong = {name: predictions[name][i] != labels[i] for name in names}
        heldout = [name for name in names if not masks[name][i]]
        inside = [name for name in names if masks[name][i]]
        row = frame.iloc[i]
        assert row["n"] == 12
        assert row["n_heldout"] == len(heldout)
        assert row["x_perplexity"] == pytest.approx(sum(wrong.values()) / 12)
        # the whole-set trainings saw everything
        assert row["x_insample"] == pytest.approx(np.mean([wrong[name] for name in inside]))
        if heldout:
            somewhere_heldout += 1
            assert row["x_heldout"] == pytest.approx(np.mean([wrong[name] for name in heldout]))
        else:
            assert np.isnan(row["x_heldout"])
    # Two independent halves: about three quarters of the examples are held out of one or both.
    assert 30 < somewhere_heldout < 58
    assert set(frame["n_heldout"].iloc[READABLE]) == {0, 4, 8}


def test_the_halves_were_trained_on_halves(trained: Tiny) -> None:
    """in_train of the answers is what the trainings saw: 29 of 58 for a half, 58 for the whole,
    nothing on the test split."""
    space = trained.workspace
    fractions = dict(
        ledger.classifiers_frame(space)[["classifier_id", "fraction"]].itertuples(index=False)
    )
    for split in ("train", "test"):
        for _, batches in read_answers(space, trained.dataset.fingerprint, split, tuple(fractions)):
            for name, batch in batches:
                count = sum(batch.column("in_train").to_pylist())
                assert count == (0 if split == "test" else 29 if fractions[name] == 0.5 else 58)


def test_the_table_is_the_declared_one(trained: Tiny) -> None:
    """Columns and types of ``SCORES_SCHEMA``, a row per example in order, keys and true labels from
    the data set."""
    space = trained.workspace
    table = score(space, choose_population(space), "train")
    assert table.schema.remove_metadata().equals(SCORES_SCHEMA)
    frame, split = table.to_pandas(), trained.dataset.splits["train"]
    assert frame["example_id"].tolist() == list(range(TRAIN))
    assert frame["key"].tolist() == split.keys
    assert split.labels_true is not None
    assert frame["label_true"].tolist() == split.labels_true.tolist()
    assert set(frame["split"]) == {"train"}


def test_unreadable_examples_have_a_row_without_scores(trained: Tiny) -> None:
    """No classifier answered: n is 0 and everything else null, but id, key and label are there."""
    frame = scored(trained.workspace)
    lost = frame.iloc[list(UNREADABLE_TRAIN)]
    assert lost["n"].tolist() == [0, 0]
    assert lost["label"].notna().all()
    assert (
        lost[["x_perplexity", "c_perplexity", "label_quality", "x_bin", "top_confusion", "top5_x"]]
        .isna()
        .all(axis=None)
    )


def test_the_order_and_grouping_of_classifiers_do_not_matter(trained: Tiny) -> None:
    """Scores of the population in reverse order are bit-identical."""
    space = trained.workspace
    population = choose_population(space)
    backwards = Population(population.dataset, population.classifiers[::-1])
    assert score(space, population, "train").equals(score(space, backwards, "train"))


def test_a_sub_population_scores_as_if_it_were_alone(trained: Tiny) -> None:
    """--where equals the reference on just these classifiers, and differs from the whole
    population."""
    space, condition = trained.workspace, "arch = 'softmax' and epoch = 3"
    names = choose_population(space, condition).classifiers
    assert len(names) == 3
    labels = trained.dataset.splits["train"].labels[READABLE]
    found = scored(space, where=condition).iloc[READABLE].reset_index(drop=True)
    expected = zoo.perplexity(
        kept(space, names), labels, kind="logits", in_train=seen(space, names)
    )
    np.testing.assert_array_equal(found["x_perplexity"], expected["x_perplexity"])
    np.testing.assert_array_equal(found["n_heldout"], expected["n_heldout"])
    np.testing.assert_allclose(found["c_perplexity"], expected["c_perplexity"], rtol=2e-3)
    assert (
        scored(space)["c_perplexity"].iloc[READABLE].to_numpy() != found["c_perplexity"].to_numpy()
    ).any()


def test_a_sub_population_equals_a_store_with_only_those(
    trained: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same trainings alone in a workspace of their own give the same table, bit for bit."""
    from factories import QUIET

    from zoo import pipeline
    from zoo.local import LocalRunner

    space = trained.workspace
    jobs = [job for job in trained.trainings if job.arch == "softmax" and job.treatment]
    own = workspace(tmp_path_factory.mktemp("own"))
    pipeline.prepare_dataset(own, trained.dataset.uri, [("softmax", None)], QUIET)
    runner = LocalRunner("cpu")
    pipeline.train(own, trained.dataset, "own", "population", jobs, lambda: runner, QUIET)
    pipeline.fill(
        own, trained.dataset, ledger.population(own), ("train",), "none", lambda: runner, QUIET
    )
    part = choose_population(space, "arch = 'softmax' and fraction = 0.5")
    alone = choose_population(own)
    assert part.classifiers == alone.classifiers
    assert part.id == alone.id == content_id(list(part.classifiers))
    assert score(space, part, "train").equals(score(own, alone, "train"))


# ---------------------------------------------------------------- other labels


def test_scores_against_the_true_labels(trained: Tiny) -> None:
    """label_column label_true: X and confusions as the reference on the true labels; mean p(label)
    too, M being below 6."""
    space = trained.workspace
    names = choose_population(space).classifiers
    truth = trained.dataset.splits["train"].labels_true
    assert truth is not None
    found = scored(space, label_column="label_true").iloc[READABLE].reset_index(drop=True)
    expected = zoo.perplexity(
        kept(space, names), truth[READABLE], kind="logits", in_train=seen(space, names)
    )
    assert found["label"].tolist() == truth[READABLE].tolist()
    np.testing.assert_array_equal(found["x_perplexity"], expected["x_perplexity"])
    np.testing.assert_array_equal(found["x_heldout"], expected["x_heldout"])
    np.testing.assert_allclose(found["mean_p_label"], expected["mean_p_label"], atol=2e-3)
    np.testing.assert_allclose(found["mean_margin"], expected["mean_margin"], atol=2e-3)
    assert (
        found["x_perplexity"].to_numpy() != scored(space)["x_perplexity"].iloc[READABLE].to_numpy()
    ).any()


def test_scores_against_a_selections_labels(
    trained: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A selection's labels where it has the example, unknown elsewhere: X is null there, C is as it
    was."""
    import shutil

    root = tmp_path_factory.mktemp("copy") / "zoo"
    shutil.copytree(trained.root, root)
    space = Workspace.open(root)
    ids = np.array([0, 1, 2, 10])
    commit_selection(
        space, "twos", manifest(ids, 2), Origin(trained.dataset.fingerprint, "train"), []
    )
    found, plain = scored(space, label_column="twos"), scored(space)
    assert found["label"].iloc[ids].tolist() == [2, 2, 2, 2]
    assert found["x_perplexity"].notna().sum() == 4
    np.testing.assert_array_equal(found["c_perplexity"], plain["c_perplexity"])
    names = choose_population(space).classifiers
    labels = np.full(len(READABLE), -1)
    labels[np.isin(READABLE, ids)] = 2
    expected = zoo.perplexity(kept(space, names), labels, kind="logits")
    np.testing.assert_array_equal(found["x_perplexity"].iloc[READABLE], expected["x_perplexity"])
    with pytest.raises(UnknownNameError, match=r"^unknown selection 'nonsense'\. .*Known: .*twos"):
        scored(space, label_column="nonsense")


def test_a_label_beyond_the_five_kept_has_probability_zero() -> None:
    """Seven classes, label moved to one that is not in the top 5: p(label) 0, margin minus the
    largest; within it, their difference."""
    top5 = pa.FixedSizeListArray.from_arrays(pa.array([6, 0, 1, 2, 3] * 3, pa.int16()), 5)
    top5_p = pa.FixedSizeListArray.from_arrays(
        pa.array(np.array([0.5, 0.25, 0.125, 0.0625, 0.03125] * 3, dtype=np.float16)), 5
    )
    batch = pa.record_batch(
        {
            "prediction": pa.array([6, 6, 6], pa.int16()),
            "p_label": pa.array([0.5, 0.5, 0.5], pa.float32()),
            "entropy": pa.array([1.0, 1.0, 1.0], pa.float32()),
            "margin": pa.array([0.25, 0.25, 0.25], pa.float32()),
            "top5": top5,
            "top5_p": top5_p,
            "in_train": pa.array([None, None, None], pa.bool_()),
        }
    )
    _, p_label, _, margin, _, _, in_train = from_store._columns(
        batch, np.array([6, 0, 5]), np.array([6, 6, 6]), lambda rows: None
    )
    assert p_label.tolist() == [0.5, 0.25, 0.0]
    assert margin.tolist() == [0.25, -0.25, -0.5]
    assert in_train is None


def test_a_label_moved_to_the_first_class_has_a_positive_margin() -> None:
    """The given label was wrong, the new one is the prediction: margin is the first probability
    minus the second."""
    p, m = from_store._of_top5(
        np.array([[1, 0, -1, -1, -1]]),
        np.array([[0.75, 0.25, 0, 0, 0]], dtype=np.float32),
        np.array([1]),
    )
    assert (p.tolist(), m.tolist()) == ([0.75], [0.5])
    p, m = from_store._of_all(np.array([[0.25, 0.75], [0.25, 0.75]]), np.array([1, 0]))
    assert (p.tolist(), m.tolist()) == ([0.75, 0.25], [0.5, -0.5])


# ---------------------------------------------------------------- other labels, ten classes


def ten_classes(
    folder: Path, *, keep_logits: bool
) -> tuple[Workspace, NDArray[np.float64], NDArray[np.int64]]:
    """Two imported classifiers of ten classes on 40 examples; their probabilities [N, E, M] and the
    true labels, of which every fifth differs."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(10, 0.7), (2, 40))
    labels = rng.integers(0, 10, 40)
    truth = np.where(np.arange(40) % 5 == 2, (labels + 1 + rng.integers(0, 9, 40)) % 10, labels)
    for name, values in (("cube", p), ("labels", labels), ("truth", truth)):
        np.save(folder / f"{name}.npy", values)
    request = Request(
        (folder / "cube.npy",), folder / "labels.npy", folder / "truth.npy", keep_logits=keep_logits
    )
    import_predictions(str(folder / "w"), request, QUIET)
    return Workspace.open(folder / "w"), p, truth


def test_scores_by_other_labels_use_the_logits_that_were_kept(tmp_path: Path) -> None:
    """Every p(label), margin and quality is that of all probabilities, to the precision of float16
    logits; there is nothing to say."""
    space, p, truth = ten_classes(tmp_path, keep_logits=True)
    table = score(space, choose_population(space), "train", "label_true")
    expected = zoo.perplexity(p, truth)
    for name in ("mean_p_label", "mean_margin", "label_quality"):
        np.testing.assert_allclose(table.column(name).to_numpy(), expected[name], atol=2e-3)
    assert relabelling_note(table) == ""


def test_scores_by_other_labels_without_logits_say_that_they_are_approximate(
    tmp_path: Path,
) -> None:
    """Five classes of ten were kept: some p(label) are 0 that are not, which the table's note says;
    by its own labels there is no note."""
    space, p, truth = ten_classes(tmp_path, keep_logits=False)
    population = choose_population(space)
    table = score(space, population, "train", "label_true")
    expected = zoo.perplexity(p, truth)
    np.testing.assert_array_equal(table.column("x_perplexity").to_numpy(), expected["x_perplexity"])
    assert np.abs(table.column("mean_p_label").to_numpy() - expected["mean_p_label"]).max() > 5e-3
    assert relabelling_note(table).startswith("2 of 2 classifiers kept no logits")
    assert relabelling_note(score(space, population, "train")) == ""


def test_the_classes_of_the_entropy_are_those_of_the_definition(tmp_path: Path) -> None:
    """With all logits: the largest means of -p log2 p over all ten classes. top5_c of the table,
    from five classes each, is a lower bound."""
    space, p, _ = ten_classes(tmp_path, keep_logits=True)
    population = choose_population(space)
    found = entropy_classes(space, population, "train")
    assert found is not None
    mean = (-p * np.log2(p)).mean(axis=0)  # [E, M]
    order = np.argsort(-mean, axis=1)[:, :5]
    np.testing.assert_array_equal(found.classes, order)
    np.testing.assert_allclose(found.values, np.take_along_axis(mean, order, 1), atol=2e-3)
    listed = score(space, population, "train").column("top5_c").to_pylist()
    assert any(
        [item["class"] for item in row] != own.tolist()
        for row, own in zip(listed, order, strict=True)
    )
    for row, own in zip(listed, mean, strict=True):
        assert all(item["value"] <= own[item["class"]] + 2e-3 for item in row)
    (tmp_path / "none").mkdir()
    bare, _, _ = ten_classes(tmp_path / "none", keep_logits=False)
    assert entropy_classes(bare, choose_population(bare), "train") is None


# ---------------------------------------------------------------- populations


def test_several_data_sets_have_to_be_told_apart(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two data sets in one workspace: an error naming both, unless one is chosen."""
    from factories import QUIET

    from zoo import pipeline
    from zoo.local import LocalRunner

    folder = tmp_path_factory.mktemp("two")
    space, runner = workspace(folder), LocalRunner("cpu")
    sets = [tiny_dataset(folder / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    for dataset in sets:
        pipeline.prepare_dataset(space, dataset.uri, [("softmax", None)], QUIET)
        pipeline.train(
            space,
            dataset,
            "x",
            "population",
            [training(dataset, epochs=1, snapshots=(1,))],
            lambda: runner,
            QUIET,
        )
    with pytest.raises(
        UsageError,
        match=(
            r"^the classifiers belong to 2 data sets: pictures.*; pictures.*choose one with"
            r" --data\.$"
        ),
    ):
        choose_population(space)
    for dataset in sets:
        population = choose_population(space, dataset=dataset.fingerprint)
        assert (
            population.fingerprint,
            len(population.classifiers),
            len(population.class_names),
        ) == (dataset.fingerprint, 1, CLASSES)


def test_no_classifier_left_is_not_found(trained: Tiny) -> None:
    with pytest.raises(NotFoundError, match=r"no classifier in .* with 'epoch = 99'"):
        choose_population(trained.workspace, "epoch = 99")


def test_a_population_can_be_named_exactly(trained: Tiny) -> None:
    """Any two classifiers, in any order; an unknown data set and an empty list are errors."""
    space, names = trained.workspace, list(ledger.population(trained.workspace))[:2]
    assert population_of(space, trained.dataset.fingerprint, names[::-1]).classifiers == tuple(
        names
    )
    with pytest.raises(NotFoundError, match="is not recorded"):
        population_of(space, "0" * 16, names)
    with pytest.raises(NotFoundError, match="no finished classifier"):
        population_of(space, trained.dataset.fingerprint, [])


def test_an_unknown_split_is_named(trained: Tiny) -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"^unknown split 'tset'\. Did you mean 'test'\? Known: test, train\.",
    ):
        scored(trained.workspace, split="tset")


def test_a_sample_of_answers_is_part_of_all(trained: Tiny) -> None:
    """20 of 60 examples: sorted ids, and the predictions, entropies and labels of just these; more
    than there are gives all."""
    space = trained.workspace
    population = choose_population(space)
    some, everyone = (sample_answers(space, population, "train", limit) for limit in (20, 10**6))
    ids = some.example_ids
    assert ids.tolist() == sorted(set(ids.tolist()))
    assert everyone.example_ids.tolist() == list(range(TRAIN))
    for name in ("predictions", "entropies", "p_labels", "in_train"):
        assert getattr(some, name).shape == (12, 20), name
        np.testing.assert_array_equal(
            getattr(some, name), getattr(everyone, name)[:, ids], err_msg=name
        )
    for name in ("labels", "labels_true"):
        np.testing.assert_array_equal(
            getattr(some, name), getattr(everyone, name)[ids], err_msg=name
        )
    assert (everyone.predictions[:, list(UNREADABLE_TRAIN)] == -1).all()
    seen = np.stack(
        [ledger.seen_by(space, name.partition("-e")[0]) for name in population.classifiers]
    )
    np.testing.assert_array_equal(everyone.in_train, seen)


def test_the_last_point_of_the_convergence_is_the_populations_own_detection(trained: Tiny) -> None:
    """At n = N the AUROC of the curve is that of label_quality in the scores: with p(label), and
    held out where there are such classifiers. X alone, or all classifiers, would give another."""
    space = trained.workspace
    population = choose_population(space, "arch = 'nin_mini'")
    table = convergence_table(space, population)
    last = table[(table["measure"] == "auroc") & (table["n"] == 6)]["mean"].item()
    scores = score(space, population, "train").to_pandas()
    detection = detection_table(scores).set_index("score")["auroc"]
    assert last == pytest.approx(detection["label_quality"], abs=1e-12)
    assert abs(last - detection["x_perplexity"]) > 1e-3


def test_the_rows_of_a_sample_are_those_of_its_population_whatever_the_fills(
    tmp_path: Path,
) -> None:
    """Filled one classifier at a time, the last name first: each row is still the one of its
    name."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    runner = LocalRunner("cpu")
    jobs = [training(dataset, seed=seed, epochs=1, snapshots=(1,)) for seed in range(4)]
    pipeline.prepare_dataset(space, dataset.uri, [("softmax", None)], QUIET)
    pipeline.train(space, dataset, "tiny", "population", jobs, lambda: runner, QUIET)
    members = ledger.classifiers_of(space, jobs)
    for name in reversed(list(members)):
        pipeline.fill(
            space, dataset, {name: members[name]}, ("test",), "none", lambda: runner, QUIET
        )
    population = population_of(space, dataset.fingerprint, members)
    together = sample_answers(space, population, "test", 10**6)
    for row, name in enumerate(population.classifiers):
        alone = sample_answers(
            space, population_of(space, dataset.fingerprint, [name]), "test", 10**6
        )
        for column in ("predictions", "entropies", "p_labels", "in_train"):
            np.testing.assert_array_equal(
                getattr(together, column)[row], getattr(alone, column)[0], err_msg=column
            )
    assert len({tuple(row) for row in together.entropies.tolist()}) == 4


def test_list_values_keep_the_places_of_null_rows() -> None:
    """[[1, 2], null, [3, 4]] is three rows; a slice is its rows."""
    lists = pa.FixedSizeListArray.from_arrays(
        pa.array([1, 2, 9, 9, 3, 4], pa.int16()), 2, mask=pa.array([False, True, False])
    )
    values = list_values(lists)
    assert values.shape == (3, 2)
    assert values[[0, 2]].tolist() == [[1, 2], [3, 4]]
    assert list_values(lists.slice(2)).tolist() == [[3, 4]]
