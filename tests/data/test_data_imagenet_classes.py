"""ImageNet's classes by number and WordNet id, and the ReaL labels of its validation pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import QUIET, WNIDS, imagenet_folder, training, workspace

from zoo import pipeline
from zoo.data import class_titles, imagenet_classes, is_imagenet, open_dataset, real_mask
from zoo.data.imagenet_classes import real_labels, wnids
from zoo.errors import DataError, UsageError
from zoo.local import LocalRunner
from zoo.spec import Arm, ArmGroup
from zoo.store import ledger
from zoo.studies.arms import arm_trainings, compare_trainings
from zoo.studies.compare import acc_real, evaluate


def val(number: int) -> str:
    return f"val/ILSVRC2012_val_{number:08d}.JPEG"


def test_classes_are_in_the_order_of_timm() -> None:
    """Read from its files without importing it; timm's own reader is the oracle."""
    info = pytest.importorskip("timm.data").ImageNetInfo()
    assert list(wnids()) == [info.index_to_label_name(i) for i in range(1000)]
    assert list(wnids()) == sorted(wnids())


def test_two_pairs_of_classes_share_a_name_and_stay_apart() -> None:
    """Cranes 134 and 517, maillots 638 and 639: shown with their ids, which differ."""
    pairs = [(134, 517, "crane"), (638, 639, "maillot")]
    for one, other, name in pairs:
        shown = class_titles((wnids()[one], wnids()[other]))
        assert shown == (f"{wnids()[one]} {name}", f"{wnids()[other]} {name}")
    assert len(set(class_titles(wnids()) or ())) == 1000


def test_other_classes_are_not_imagenets() -> None:
    assert is_imagenet(WNIDS)
    for names in ((), ("cat", "dog"), (*WNIDS, "n00000000"), (*WNIDS, "cat")):
        assert not is_imagenet(names)
        assert class_titles(names) is None
        assert real_mask(names, [val(1)]) is None
    assert real_mask(WNIDS, ["train/n01440764/a.JPEG"]) is None  # no validation picture


def test_real_labels_are_timms() -> None:
    """Of all 50,000; 3,163 have none and 7,443 several, as is published."""
    labels = real_labels()
    oracle = pytest.importorskip("timm.data.real_labels").RealLabelsImagenet(
        [Path(val(i)).name for i in range(1, 50_001)]
    )
    assert all(
        set(oracle.real_labels[Path(val(i)).name]) == labels[i - 1] for i in range(1, 50_001)
    )
    assert sum(not found for found in labels) == 3163
    assert sum(len(found) > 1 for found in labels) == 7443


def test_a_mask_is_in_the_order_of_the_data_sets_classes() -> None:
    """Pictures 2, 3 and 1 of the validation set have the classes 795 and 970; 230 and 231; none. A
    data set of 231, 970, 5 has one of each."""
    classes = tuple(wnids()[i] for i in (231, 970, 5))
    assert [real_labels()[i - 1] for i in (2, 3, 1)] == [{795, 970}, {230, 231}, set()]
    mask = real_mask(classes, [val(2), val(3), val(1), "val/other.JPEG"])
    assert mask is not None
    assert mask.tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
        [False, False, False],
    ]


def test_timm_that_lacks_its_files_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagenet_classes, "_file", imagenet_classes._file)
    with pytest.raises(DataError, match="Install timm again"):
        imagenet_classes._file("no_such_file.txt")


def test_nothing_heavy_is_imported_for_it() -> None:
    code = (
        "import sys; from zoo.data import class_titles; class_titles(('n01440764',));"
        " print([m for m in ('timm', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_real_accuracy_by_hand() -> None:
    """Five pictures: right, right by the second of two, wrong, no answer, without a ReaL label: two
    of three."""
    real = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    predictions = np.array([0, 2, 1, -1, 0])
    assert acc_real(predictions, real) == pytest.approx(2 / 3)
    assert np.isnan(acc_real(predictions[4:], real[4:]))
    with pytest.raises(UsageError, match=r"Allowed: \[E\] and \[E, M\]"):
        acc_real(predictions, real[:2])
    top5 = np.full((5, 5), -1)
    table = evaluate(predictions, top5, np.zeros(5, int), {"two": np.arange(5) < 2}, real)
    assert table["real"].tolist() == pytest.approx([2 / 3, 1.0])
    assert "real" not in evaluate(predictions, top5, np.zeros(5, int))


def test_real_accuracy_stands_beside_top_1(tmp_path: Path) -> None:
    """In the table of classifiers and in that of arms: of the validation pictures with a ReaL label
    among the classes, the share that is answered by one. Their numbers decide, not their folders:
    pictures 2 and 3 are of class 970 and of 230 and 231."""
    classes = tuple(sorted(wnids()[i] for i in (230, 231, 970)))
    dataset = open_dataset(str(imagenet_folder(tmp_path / "photos", wnids=classes)))
    space = workspace(tmp_path)
    job = training(dataset, "softmax", input_size=16)
    runner = LocalRunner("cpu")
    pipeline.prepare_dataset(space, dataset.uri, [("softmax", 16)], QUIET)
    pipeline.train(space, dataset, "t", "population", [job], lambda: runner, QUIET)
    assert ledger.classifiers_frame(space)["test_real"].isna().all()  # before the fill
    pipeline.fill(space, dataset, None, ("test",), "none", lambda: runner, QUIET)
    frame = ledger.classifiers_frame(space)
    predictions = predicted(space, dataset.fingerprint, str(frame["classifier_id"][0]))
    mask = real_mask(classes, dataset.splits["test"].keys)
    assert mask is not None
    assert mask.any(axis=1).sum() == 2
    assert frame["test_real"][0] == pytest.approx(acc_real(predictions, mask))
    from zoo.spec import Sweep

    group = ArmGroup(
        name="g",
        arms=(Arm(name="baseline", selection=None),),
        retraining=Sweep(archs=("softmax",), recipe=job.recipe, input_size=16),
    )
    arms = arm_trainings(space, group, dataset)
    jobs = [one for jobs in arms.values() for one in jobs]
    pipeline.train(space, dataset, "t", "retraining", jobs, lambda: runner, QUIET)
    pipeline.fill(
        space,
        dataset,
        ledger.classifiers_of(space, jobs),
        ("test",),
        "none",
        lambda: runner,
        QUIET,
    )
    compared: pd.DataFrame = compare_trainings(
        space, [(group, arms)], on=(), test_scores=None, num_classes=3
    ).comparisons
    assert list(compared["metric"].unique()) == ["acc1", "acc2", "acc5", "real"]


def predicted(space: object, fingerprint: str, classifier: str) -> np.ndarray:
    from zoo.store.answers import read_answers

    ((_, rows),) = read_answers(space, fingerprint, "test", [classifier])  # type: ignore[arg-type]
    ((_, batch),) = rows
    return np.array([-1 if p is None else p for p in batch.column("prediction").to_pylist()])
