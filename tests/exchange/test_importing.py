"""``zoo import``: predictions made elsewhere score like trained classifiers.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import zoo as library
from tests.exchange.predictions import (
    E,
    M,
    agree,
    bring,
    labels_file,
    oracle,
    outputs,
    save,
    softmax,
)
from zoo.store import answers as answers_module
from zoo.store import fsck, ledger
from zoo.store.answers import logits_of
from zoo.store.files import Disk
from zoo.store.workspace import Workspace


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
