"""The ten networks of study 2 for real, at their own input sizes: trained, stopped, resumed, filled
through Ray Data, on a folder that looks like ImageNet.

One network of 224 and one of 299 pixels are in ``make test``; all ten in ``make test-slow``.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from factories import QUIET, imagenet_folder, training, workspace

import zoo.data.decode
from zoo import pipeline
from zoo.cluster.runner import RayRunner
from zoo.data import Dataset, open_dataset
from zoo.fill.plan import decode_block, plan_fill
from zoo.models import MODELS
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.answers import read_answers
from zoo.store.commits import Commit
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.run import run_training

pytestmark = [pytest.mark.slow, pytest.mark.ray]

TEN = tuple(name for name, entry in MODELS.items() if entry.build.startswith("timm:"))
QUICK = ("efficientnet_b0", "inception_v3")
SIZES = dict.fromkeys(TEN, 224) | {
    "inception_v3": 299,
    "legacy_xception": 299,
    "efficientnet_b2": 260,
}
BROKEN = ("train/n03344393/n03344393_2.JPEG", "val/ILSVRC2012_val_00000003.JPEG")
CPU = torch.device("cpu")
BACKBONES = [pytest.param(name, marks=[] if name in QUICK else pytest.mark.long) for name in TEN]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As every runner has it: results are equal only for equal thread counts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three classes, 3 + 2 pictures each; a CMYK, a grey and a PNG file among them, one truncated
    in either split; the validation set flat, with its development kit."""
    folder = imagenet_folder(tmp_path_factory.mktemp("photos") / "i", flat=True, truncated=BROKEN)
    return open_dataset(str(folder))


def job(dataset: Dataset, name: str) -> Training:
    """Two epochs of two steps, a snapshot after each."""
    return training(
        dataset, name, optimizer="sgd", lr=0.01, batch_size=4, epochs=2, snapshots=(1, 2)
    )


class Resumed:
    """A workspace where each network is trained once: stopped after its first snapshot, gone on."""

    def __init__(self, space: Workspace, dataset: Dataset) -> None:
        self.space, self.dataset = space, dataset

    def classifiers(self, names: Sequence[str]) -> dict[str, Commit]:
        for name in names:
            asked = job(self.dataset, name)
            if not ledger.missing(self.space, [asked]):
                continue
            pipeline.prepare_dataset(self.space, self.dataset.uri, [(name, None)], QUIET)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(checkpoint, "save_resume", _saved_then_stopped)
                with pytest.raises(Stopped):
                    run_training(self.space, asked, device=CPU)
            epochs: list[int] = []
            run_training(self.space, asked, device=CPU, report=epochs.append)
            assert epochs == [2]  # it went on, it did not begin again
        return ledger.classifiers_of(self.space, [job(self.dataset, name) for name in names])


_save_resume = checkpoint.save_resume


def _saved_then_stopped(*arguments: object, step: int = 0) -> None:
    _save_resume(*arguments, step=step)  # type: ignore[arg-type]
    if not step:  # the state at an epoch's end, not one within it
        raise Stopped


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, photos: Dataset) -> Resumed:
    return Resumed(workspace(tmp_path_factory.mktemp("resumed")), photos)


def weights(space: Workspace, classifiers: dict[str, Commit]) -> dict[str, bytes]:
    """Content of the checkpoints by classifier."""
    return {key: space.files.read_verified(c.files[0]) for key, c in classifiers.items()}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_trains_at_its_size_and_resumes_exactly(
    tmp_path: Path, resumed: Resumed, photos: Dataset, name: str
) -> None:
    """Stopped after its first snapshot and gone on: the same bytes as undisturbed, two different
    classifiers, on 8 of 9 pictures (one is truncated)."""
    calm, asked = workspace(tmp_path), job(photos, name)
    run_training(calm, asked, device=CPU)
    stopped = resumed.classifiers([name])
    undisturbed = ledger.classifiers_of(calm, [asked])
    assert weights(resumed.space, stopped) == weights(calm, undisturbed)
    assert len(set(weights(calm, undisturbed).values())) == 2
    assert {c.facts["preprocessing"]["size"] for c in stopped.values()} == {SIZES[name]}
    outcome = resumed.space.commits.get("training", asked.id)
    assert outcome is not None
    assert (outcome.facts["status"], outcome.facts["n_train"]) == ("done", 8)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("names", [QUICK, pytest.param(TEN, marks=pytest.mark.long)], ids=len)
def test_backbones_of_several_sizes_fill_together(
    monkeypatch: pytest.MonkeyPatch, resumed: Resumed, photos: Dataset, names: Sequence[str]
) -> None:
    """Through Ray Data: each picture is decoded once for each input size, whatever the number of
    networks, and every classifier answers every picture that can be read."""
    space, classifiers = resumed.space, resumed.classifiers(names)
    plan = plan_fill(space, photos, classifiers, ("train", "test"), "none")
    decoded: collections.Counter[tuple[str, int, int]] = collections.Counter()
    whole = zoo.data.decode._decode_into

    def counted(images, ids, *rest):  # type: ignore[no-untyped-def]
        decoded.update((block.tasks[0].unit.split, images.shape[1], int(i)) for i in ids)
        whole(images, ids, *rest)

    monkeypatch.setattr(zoo.data.decode, "_decode_into", counted)
    for block in plan.blocks():  # a row of the Ray pipeline each, decoded by this one call
        decode_block(block)
    monkeypatch.undo()
    open_names = {name for unit in plan.units for name in unit.classifiers}
    sizes = {classifiers[name].facts["preprocessing"]["size"] for name in open_names}
    assert decoded == {
        (split, size, i): 1
        for split, count in (("train", 9), ("test", 6))
        for size in sizes
        for i in range(count)
    }
    runner = RayRunner(cpus=2)
    try:
        pipeline.fill(space, photos, classifiers, ("train", "test"), "none", lambda: runner, QUIET)
    finally:
        runner.close()
    for split in ("train", "test"):
        (broken,) = (i for i, key in enumerate(photos.splits[split].keys) if key in BROKEN)
        answered = {}
        for _, rows in read_answers(space, photos.fingerprint, split, list(classifiers)):
            answered |= {name: rows.column("prediction").to_pylist() for name, rows in rows}
        assert set(answered) == set(classifiers)
        for predictions in answered.values():
            assert [i for i, p in enumerate(predictions) if p is None] == [broken]
            assert set(predictions) - {None} <= {0, 1, 2}
