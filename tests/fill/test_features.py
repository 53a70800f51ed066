"""Frozen features: what a backbone makes of every picture, once; heads that are trained and asked
on it as every network is on pictures."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from factories import QUIET, dataset_folder
from factories import training as job_on

import zoo as library
from tests.commands import done, zoo
from zoo import pipeline
from zoo.data import Dataset, decode_examples, open_dataset
from zoo.errors import UsageError
from zoo.fill.features import FeaturePlan
from zoo.local import LocalRunner
from zoo.pipeline import Features, Grid
from zoo.scores.from_store import score
from zoo.scores.population import choose_population
from zoo.spec import Sweep, Training
from zoo.store import fsck, gc, ledger
from zoo.store.answers import logits_of
from zoo.store.commits import Commit
from zoo.store.features import backbones, feature_vectors
from zoo.store.workspace import Workspace
from zoo.trainsets.sweeps import sweep_of

NETWORK, SIDE, TRAIN, TEST, UNREADABLE = "mobilenetv3_small_050", 32, 24, 12, 5


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to reach a host fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Weights that stand for pretrained ones: random."""
    torch.manual_seed(0)
    made: torch.nn.Module = timm.create_model(NETWORK, pretrained=False).eval()
    return made


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(network.state_dict()))
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = dataset_folder(
        tmp_path_factory.mktemp("data") / "photos",
        train=[i % 3 for i in range(TRAIN)],
        test=[i % 3 for i in range(TEST)],
        channels=3,
        side=24,
        unreadable_train=(UNREADABLE,),
    )
    return open_dataset(str(folder))


Trained = tuple[Workspace, list[Training]]


def trained(where: Path, photos: Dataset, weights: Path, trainer: str, **sweep: object) -> Trained:
    """Heads on three folds shared out twice, trained, filled."""
    asked = {"epochs": 3, "folds": ["3x2"], "snapshots": ["1", "3"], "recipe": "onecycle"} | sweep
    grid = sweep_of(
        ["head_softmax", "head_mlp"],
        None,
        asked["epochs"],  # type: ignore[arg-type]
        asked["snapshots"],  # type: ignore[arg-type]
        str(asked["recipe"]),
        None,
        None,
        None,
        asked["folds"],  # type: ignore[arg-type]
    )
    grid = grid.replace(recipe=grid.recipe.replace(batch_size=5))
    dataset, trainings, space = pipeline.planned(
        photos.uri, [Grid(grid, Features(NETWORK, weights, SIDE))], str(where), QUIET
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_TRAINER", trainer)
        runner = LocalRunner("cpu")
        diverged = pipeline.train(
            space, dataset, "t", "population", trainings, lambda: runner, QUIET
        )
    assert not diverged
    return space, trainings


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory, photos: Dataset, weights: Path) -> Trained:
    space, trainings = trained(tmp_path_factory.mktemp("ws") / "w", photos, weights, "")
    runner = LocalRunner("cpu")
    pipeline.fill(space, photos, None, ("train", "test"), "all", lambda: runner, QUIET)
    return space, trainings


def test_a_head_s_bits_are_not_its_neighbours(
    at_once: Trained, photos: Dataset, tmp_path: Path
) -> None:
    """Sets of 15 and 16 rows in batches of 5, whose last batches hold 5 and 6: where two of three
    are done, the third is to the byte what it is among all."""
    space, trainings = at_once
    assert {c.facts["n_train"] for c in space.commits.all("training").values()} == {15, 16}
    shutil.copytree(space.location, tmp_path / "w")
    for job in trainings[::3]:
        for record in (tmp_path / "w/commits").glob(f"*/{job.id}*"):
            record.unlink()
    own, runner = Workspace.open(tmp_path / "w"), LocalRunner("cpu")
    assert ledger.missing(own, trainings) == trainings[::3]
    pipeline.train(own, photos, "t", "population", trainings, lambda: runner, QUIET)
    for key, commit in space.commits.all("checkpoint").items():
        found = own.commits.get("checkpoint", key)
        assert found is not None
        assert [ref.sha256 for ref in found.files] == [ref.sha256 for ref in commit.files]


def unit(space: Workspace, split: str) -> Commit:
    (found,) = [c for c in space.commits.all("features").values() if c.identity["split"] == split]
    return found


def test_a_feature_is_what_the_backbone_gives_its_last_layer(
    at_once: Trained, photos: Dataset, network: torch.nn.Module
) -> None:
    """Of the middle of each picture, normalised by timm's mean and deviation; a picture that
    cannot be read has none, and is named."""
    space, _ = at_once
    decoded = decode_examples(
        photos.splits["train"], np.arange(TRAIN), size=SIDE, channels=3, fit="crop"
    )
    settings = timm.get_pretrained_cfg(NETWORK)
    mean, std = torch.tensor(settings.mean), torch.tensor(settings.std)
    x = (torch.from_numpy(decoded.images).float() / 255 - mean) / std
    with torch.inference_mode():
        maps = network.forward_features(x.permute(0, 3, 1, 2))  # type: ignore[operator]
        expected = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    found, lost = feature_vectors(space.files, unit(space, "train"))
    assert np.flatnonzero(lost).tolist() == [UNREADABLE]
    assert not found[UNREADABLE].any()
    assert np.allclose(found[~lost], expected.numpy()[~lost], atol=1e-5)


def test_heads_are_classifiers_like_any_other(at_once: Trained, photos: Dataset) -> None:
    """12 trainings with two snapshots each, scored; each picture is held out by a third of them;
    the store is sound at every depth and holds nothing that no record names."""
    space, trainings = at_once
    assert len(trainings) == 12
    assert len(ledger.classifiers_of(space, trainings)) == 24
    people = choose_population(space)
    scores = score(space, people, "train").to_pandas()
    read = scores["example_id"] != UNREADABLE
    assert (scores.loc[read, "n_heldout"] == 8).all()
    assert (scores.loc[~read, "n"] == 0).all()
    assert fsck.check(space, "semantic") == []
    assert gc.find(space, 0.0) == []


def test_what_the_fill_says_is_what_the_head_says(at_once: Trained, photos: Dataset) -> None:
    """Logits of the batched fill against each head by itself on the stored features, to the
    precision in which logits are kept."""
    from zoo.training.checkpoint import load_classifier

    space, trainings = at_once
    vectors, _ = feature_vectors(space.files, unit(space, "test"))
    for name, commit in ledger.classifiers_of(space, trainings).items():
        head, shape = load_classifier(space.files, commit, torch.device("cpu"))
        assert (shape.features, shape.channels) == (backbones(space)[0].key, vectors.shape[1])
        expected = head(torch.from_numpy(vectors))
        expected = (expected - expected.max(1, keepdim=True).values).numpy()
        assert np.allclose(logits_of(space, name, "test"), expected, atol=5e-3, rtol=1e-3)


def test_trained_at_once_or_one_by_one_is_the_same(
    at_once: Trained, tmp_path: Path, photos: Dataset, weights: Path
) -> None:
    """The same ids, curves within 1e-4 and weights within 1e-4 after three epochs in float32; who
    trained is on record."""
    space, trainings = at_once
    other, again = trained(tmp_path / "w", photos, weights, "single")
    assert [t.id for t in again] == [t.id for t in trainings]
    for training in trainings:
        one, two = (s.commits.get("training", training.id) for s in (space, other))
        assert one is not None and two is not None  # noqa: PT018
        assert (one.facts["trainer"], two.facts["trainer"]) == ("heads", "single")
        curves = [pd.DataFrame(c.facts["metrics"]) for c in (one, two)]
        pd.testing.assert_frame_equal(*curves, check_exact=False, atol=1e-4, rtol=1e-4)
        for epoch in (1, 3):
            states = [
                safetensors.torch.load(
                    s.files.read(
                        s.commits.get("checkpoint", f"{training.id}-e{epoch:04d}").files[0].path
                    )  # type: ignore[union-attr]
                )
                for s in (space, other)
            ]
            for key, value in states[0].items():
                assert torch.allclose(value, states[1][key], atol=1e-4), (training.id, key)


class _Stop(Exception):
    pass


def test_a_batch_that_was_stopped_goes_on_as_if_nothing_had_been(
    at_once: Trained, tmp_path: Path, photos: Dataset, weights: Path
) -> None:
    """Stopped after every 4th step, over and over, within epochs and at their ends: the weights
    are those of heads that were not."""
    from zoo.training.run import run

    space, trainings = at_once
    grid = [t for t in trainings if t.arch == "head_softmax"]
    other, _ = trained(
        tmp_path / "w", photos, weights, "single", folds=["2"], epochs=1, snapshots=None
    )
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked % 4 == 0

    rounds = 0
    while ledger.missing(other, grid):
        rounds += 1
        assert rounds < 20
        failed = run(
            other, grid, device=torch.device("cpu"), on_epoch=lambda *_: None, should_stop=stop
        )
        assert failed == {}
    assert rounds > 2
    for training in grid:
        name = f"{training.id}-e0003"
        states = [
            safetensors.torch.load(s.files.read(s.commits.get("checkpoint", name).files[0].path))  # type: ignore[union-attr]
            for s in (space, other)
        ]
        for key, value in states[0].items():
            assert torch.equal(value, states[1][key]), key


def test_features_are_made_once_and_by_shard(
    tmp_path: Path, at_once: Trained, photos: Dataset
) -> None:
    """Nothing is left to do where they are; a part that was finished before a kill is found by its
    name, and a damaged one made again."""
    space, _ = at_once
    (backbone,) = backbones(space)
    assert FeaturePlan(space, photos, [backbone.key], ["train", "test"]).tasks == []
    (other,) = [tmp_path / "other"]
    fresh = Workspace.open(str(other), create=True)
    commit = space.commits.get("backbone", backbone.key)
    assert commit is not None
    from zoo.store.features import commit_backbone

    commit_backbone(fresh, backbone, space.files.read(commit.files[0].path), {})
    plan = FeaturePlan(fresh, photos, [backbone.key], ["test"])
    assert [task.cells for task in plan.tasks] == [TEST]
    part = unit(space, "test").files[0]
    data = space.files.read(part.path)
    fresh.files.replace(part.path, data[:-1] + b"?")
    assert len(FeaturePlan(fresh, photos, [backbone.key], ["test"]).tasks) == 1
    fresh.files.replace(part.path, data)
    assert FeaturePlan(fresh, photos, [backbone.key], ["test"]).tasks == []
    assert unit(fresh, "test").files == (part,)


def test_damaged_features_are_found(tmp_path: Path, at_once: Trained, photos: Dataset) -> None:
    """A flipped byte, by fsck --full."""
    import shutil

    space, _ = at_once
    shutil.copytree(space.location, tmp_path / "copy")
    copy = Workspace.open(str(tmp_path / "copy"))
    path = Path(copy.location) / unit(copy, "train").files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))
    assert [d.kind for d in fsck.check(copy, "full")] == ["features"]


def test_what_cannot_be_trained_on_features_is_refused(
    tmp_path: Path, at_once: Trained, photos: Dataset, weights: Path
) -> None:
    """A head without features, a network with them, pictures that would be changed: before
    anything is made."""

    def plan(archs: list[str], features: Features | None, **words: str) -> None:
        grid = sweep_of(
            archs, None, 1, None, words.get("recipe", "adam"), words.get("treatment"), None, None
        )
        pipeline.planned(photos.uri, [Grid(grid, features)], str(tmp_path / "new"), QUIET)

    made_by = Features(NETWORK, weights, SIDE)
    with pytest.raises(UsageError, match=r"head_mlp is a head.*--features BACKBONE"):
        plan(["head_mlp"], None)
    with pytest.raises(UsageError, match="lenet5 takes pictures, not features"):
        plan(["lenet5"], made_by)
    with pytest.raises(UsageError, match=r"gamma.*treatments of rows"):
        plan(["head_mlp"], made_by, treatment="gamma:gamma=2")
    with pytest.raises(UsageError, match="augment=flip"):
        plan(["head_mlp"], made_by, recipe="adam:augment=flip")
    with pytest.raises(UsageError, match="zoo models fetch resnet50"):
        plan(["head_mlp"], Features("resnet50"))
    assert not (tmp_path / "new").exists()


def test_a_workspace_knows_its_backbone_by_name(
    at_once: Trained, photos: Dataset, tmp_path: Path
) -> None:
    """No weights have to be named again where they are in the workspace; elsewhere they do."""
    space, trainings = at_once
    opened = pipeline.opened_backbone(space.location, Features(NETWORK))
    assert opened.backbone.key == trainings[0].features
    with pytest.raises(UsageError, match="in no cache of this machine"):
        pipeline.opened_backbone(str(tmp_path / "none"), Features(NETWORK))


def test_a_plan_of_heads_knows_what_is_done(
    at_once: Trained, photos: Dataset, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``zoo plan --features`` counts the heads that are there as done, by the name of the
    workspace's backbone or by the weights; nothing is made. Twins: another folding is to be
    trained; networks are refused; an experiment says itself what it is trained on."""
    space, trainings = at_once
    archs = ("--archs", "head_softmax,head_mlp", "--features", NETWORK, "--data", photos.uri)
    recipe = ("--recipe", "onecycle:batch_size=5", "--epochs", "3", "--snapshots", "1,3")
    here = ("-w", space.location, "--json")

    def planned(*words: object) -> dict[str, int]:
        found: dict[str, int] = json.loads(done("plan", *words, *here))
        return found

    before = sorted(space.commits.keys("backbone"))
    found = planned(*archs, *recipe, "--folds", "3x2")
    assert (found["trainings"], found["trainings_done"]) == (len(trainings), len(trainings))
    assert found["seconds"] == 0
    other = planned(*archs, *recipe, "--folds", "4x1")
    assert (other["trainings"], other["trainings_done"]) == (8, 0)
    assert sorted(space.commits.keys("backbone")) == before
    refused = zoo("plan", "--archs", "lenet5", "--features", NETWORK, *here)
    assert refused.code == 2
    assert "head" in refused.err
    refused = zoo("plan", "demo", "--features", NETWORK, *here)
    assert "an experiment's sweeps say themselves what they are trained on" in refused.err
    refused = zoo("plan", "--archs", "mlp", "--weights", weights, *here)
    assert "--weights" in refused.err
    assert "belongs to --features" in refused.err


def test_heads_are_trained_from_python(tmp_path: Path, photos: Dataset, weights: Path) -> None:
    """By the arguments of the command."""
    made = library.open(str(tmp_path / "w"), create=True).train(
        photos.uri,
        "head_softmax",
        features=NETWORK,
        weights=weights,
        input_size=SIDE,
        epochs=1,
        runner="local",
    )
    assert made[["arch", "status"]].to_numpy().tolist() == [["head_softmax", "done"]]


def test_without_features_nothing_is_named_or_hashed_that_was_not_before(photos: Dataset) -> None:
    """Specs read and hash as they did: the new field is left out where it is not used."""
    job = job_on(photos)
    assert "features" not in job.identity
    assert "features" not in job.as_json()
    assert "features" not in Sweep(archs=("mlp",)).as_json()
    assert job.id != job.replace(features="x").id
    assert ledger._planned_id(job.as_json()) == job.id
    assert ledger._planned_id(job.replace(features="x").as_json()) == job.replace(features="x").id
