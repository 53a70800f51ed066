"""Histograms of oriented gradients: a backbone that needs no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import dataset_folder

import zoo as library
from tests.commands import zoo
from zoo import auditing
from zoo.data import decode_examples, open_dataset
from zoo.errors import UsageError
from zoo.estimate import feature_seconds
from zoo.fill.extract import open_backbone
from zoo.models.hog import Hog, settings_for
from zoo.scores.audited import facts_of
from zoo.store import fsck
from zoo.store.features import backbones, feature_vectors
from zoo.store.workspace import Workspace


def scikit_images(picture: np.ndarray, cell: int) -> np.ndarray:
    """The reference, of a picture [S, S, K]."""
    feature = pytest.importorskip("skimage.feature")
    found: np.ndarray = feature.hog(
        picture.astype(np.float64),
        orientations=9,
        pixels_per_cell=(cell, cell),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
        channel_axis=-1,
    )
    return found


@pytest.mark.parametrize(("side", "channels"), [(16, 1), (28, 3), (64, 3)])
def test_histograms_are_those_of_scikit_image(side: int, channels: int) -> None:
    """Of pictures of noise, of few grey values (many ties and gradients along an axis), and of one
    grey, to float32's last bits."""
    rng = np.random.default_rng(side)
    shape = (side, side, channels)
    noise, coarse = rng.integers(0, 256, shape), rng.integers(0, 3, shape) * 100
    pictures = np.stack([noise, coarse, np.full(shape, 7)])
    settings = settings_for(side)
    made = Hog(settings)(torch.from_numpy(pictures).float().permute(0, 3, 1, 2)).numpy()
    expected = np.stack([scikit_images(picture, settings.cell) for picture in pictures])
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() < 1e-6
    assert not made[2].any()


def test_an_edge_votes_for_its_orientation() -> None:
    """Dark left of bright: all gradients point along the rows, into the first of nine bins; turned
    by a quarter, into the fifth, which holds 80 to 100 degrees."""
    picture = torch.zeros(1, 1, 16, 16)
    picture[..., 8:] = 100
    for turned, expected in ((picture, 0), (picture.mT, 4)):
        bins = Hog(settings_for(16))(turned).reshape(-1, 9).sum(dim=0)
        assert bins.nonzero().flatten().tolist() == [expected]


def test_what_hog_cannot_take_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 16x16 pixels; the input is 15x15"):
        open_backbone("hog", input_size=15)
    with pytest.raises(UsageError, match="hog has none"):
        open_backbone("hog", tmp_path / "weights.safetensors")
    assert "hog has no weights" in zoo("models", "fetch", "hog").err


def test_what_is_hashed_of_it_stays() -> None:
    """Its key is that of its settings and its input: a workspace made today knows it later."""
    known = {64: "hog-1d482c41b253afb2", 32: "hog-117e4ef97fc091c7"}
    assert {size: open_backbone("hog", input_size=size).backbone.key for size in known} == known
    assert open_backbone("hog").backbone.preprocessing.size == 64


def test_an_audit_on_histograms_finds_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any weights: three wrong labels among the first six of 36. The second command makes
    and trains nothing; the store is sound."""
    truth = [i % 3 for i in range(36)]
    given = [1, 2, 0, *truth[3:]]
    folder = dataset_folder(tmp_path / "photos", train=given, train_true=truth, side=72, channels=3)
    monkeypatch.setattr(auditing, "_MOST_REPEATS", 2)
    place = str(tmp_path / "w")

    def audited() -> Workspace:
        found = library.audit(folder, workspace=place, budget=1, features="hog", runner="local")
        return found.workspace

    space = audited()
    facts = facts_of(space)
    assert facts["trained"].startswith("head_softmax and head_mlp on features of hog")
    assert {row["key"] for row in facts["suspects"][:6]} >= {f"train/{i:03d}.png" for i in range(3)}

    (backbone,) = backbones(space)
    assert (backbone.name, backbone.width) == ("hog", 7 * 7 * 4 * 9)
    (unit,) = [c for c in space.commits.all("features").values() if c.identity["split"] == "train"]
    vectors, _ = feature_vectors(space.files, unit)
    dataset = open_dataset(str(folder))
    pictures = decode_examples(
        dataset.splits["train"], np.arange(2), size=64, channels=3, fit="crop"
    ).images
    expected = np.stack([scikit_images(picture, 8) for picture in pictures])
    assert np.abs(vectors[:2] - expected).max() < 1e-6

    def made() -> list[set[str]]:
        return [set(space.commits.keys(kind)) for kind in ("training", "features", "answers")]

    before = made()
    audited()
    assert made() == before
    assert fsck.check(space, "semantic") == []


def test_heads_on_histograms_vote_beside_an_audits_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36 small pictures, three of them with a wrong label: two networks and two heads, ten of each,
    eight classifiers to a picture that it was not trained on; a second command makes nothing."""
    truth = [i % 3 for i in range(36)]
    given = [1, 2, 0, *truth[3:]]
    folder = dataset_folder(tmp_path / "photos", train=given, train_true=truth, side=16, channels=3)
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", 0)
    monkeypatch.setattr(auditing, "_EPOCHS", (2, 4))
    monkeypatch.setattr(auditing, "ARCHS", ("resnet_mini", "lenet5"))
    monkeypatch.setattr(auditing, "at_hand", list)
    place = str(tmp_path / "w")
    space = library.audit(folder, workspace=place, budget=60, runner="local").workspace
    facts = facts_of(space)
    assert facts["features"] == "hog"
    assert facts["trained"] == (
        "resnet_mini, lenet5 at 16 x 16 pixels (their own size), 4 epochs, and head_softmax and"
        " head_mlp on features of hog, 4 epochs, on 5 folds shared out 2 times"
    )
    assert (facts["classifiers"], facts["heldout_least"], facts["not_held_out"]) == (40, 8, 0)
    assert {row["key"] for row in facts["suspects"][:6]} >= {f"train/{i:03d}.png" for i in range(3)}
    before = {kind: set(space.commits.keys(kind)) for kind in ("training", "features", "answers")}
    library.audit(folder, workspace=place, budget=60, runner="local")
    assert {kind: set(space.commits.keys(kind)) for kind in before} == before
    assert fsck.check(space, "semantic") == []


def test_their_cost_is_by_the_picture() -> None:
    """0.9 ms each on a core, and what every picture costs."""
    assert feature_seconds("hog", 1000) == pytest.approx(0.9 + 1000 * 4e-6)
