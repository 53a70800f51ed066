"""A second test set for arms: class folders by number, answered and compared beside the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zoo import pipeline
from zoo.data import encode_pixels, load_split, open_dataset
from zoo.errors import DataError, UsageError
from zoo.local import LocalRunner
from zoo.progress import Progress
from zoo.recipes import RECIPES
from zoo.spec import Experiment, Sweep
from zoo.store.ledger import classifiers_of
from zoo.store.workspace import Workspace
from zoo.studies import arms as studied
from zoo.studies.populations import Group, arms_on

QUIET = Progress(quiet=True)
BASE = "fashion-mini+take:count=100,stratified=true"
SWEEP = Sweep(archs=("softmax",), recipe=RECIPES["adam"].replace(epochs=1))


def folder_of_numbers(place: Path, numbers: tuple[str, ...], each: int = 4) -> Path:
    """``each`` test pictures of fashion-mini in every class folder, whatever they show."""
    images = load_split(
        open_dataset("fashion-mini"), "test", size=28, channels=1, fit="pad", cache=None
    ).images
    for at, number in enumerate(numbers):
        (place / number).mkdir(parents=True)
        for k in range(each):
            (place / number / f"{k}.png").write_bytes(encode_pixels(images[at * each + k]))
    return place


def test_numbers_are_classes_of_the_other_data_set(tmp_path: Path) -> None:
    """Folders 2 and 9 are classes 2 and 9 there, and the test set opens again by its address."""
    place = folder_of_numbers(tmp_path / "v2", ("9", "2"))
    found = open_dataset(f"{place}+numbered:of=fashion-mini")
    assert found.class_names == open_dataset("fashion-mini").class_names
    assert list(found.splits) == ["test"]
    assert found.splits["test"].labels.tolist() == [2] * 4 + [9] * 4
    assert found.splits["test"].keys[0] == "2/0.png"
    assert open_dataset(found.uri).fingerprint == found.fingerprint


def test_what_is_no_class_number_is_refused(tmp_path: Path) -> None:
    """A number too large, a name, several splits, a step beside it."""
    for wrong in ("10", "cat"):
        place = folder_of_numbers(tmp_path / wrong, ("0", wrong), each=1)
        with pytest.raises(DataError, match=f"class folder '{wrong}' is no class of fashion-mini"):
            open_dataset(f"{place}+numbered:of=fashion-mini")
    with pytest.raises(DataError, match="has the splits train, test"):
        open_dataset("fashion-mini+numbered:of=fashion-mini")
    good = folder_of_numbers(tmp_path / "good", ("0", "1"), each=1)
    for steps in ("numbered:of=fashion-mini+take:count=1", "numbered", "numbered:in=mnist"):
        with pytest.raises(UsageError, match="numbered stands alone and says whose"):
            open_dataset(f"{good}+{steps}")


def test_arms_are_compared_on_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Accuracy there is the share of right answers there; one that is not here is said; a second
    run asks nobody; a plan counts its pictures."""
    place = folder_of_numbers(tmp_path / "v2", ("0", "2", "9"))
    uri = f"{place}+numbered:of=fashion-mini"
    tiny = Experiment(
        name="tiny",
        title="tiny",
        scale="smoke",
        dataset=BASE,
        sweeps=(SWEEP,),
        fill_splits=("train", "test"),
        tests=(uri, "not-here+numbered:of=fashion-mini"),
        **arms_on(
            "p",
            [Group("g", {"baseline": "", "few": "worst:share=0.5"}, SWEEP.replace(seeds=(0, 1)))],
        ),
    )
    pipeline.check_experiment(tiny)
    space = Workspace.open(str(tmp_path / "w"), create=True)
    more, less = (
        pipeline.cost_of_experiment(None, each).seconds for each in (tiny, tiny.replace(tests=()))
    )
    assert more > less
    (part,) = pipeline.run(space, tiny, LocalRunner, Progress(), until="compare").parts
    assert "arms are not compared on not-here" in capsys.readouterr().err
    assert part.comparison is not None
    arms = part.comparison.arms
    assert arms["on"].value_counts().to_dict() == {"full": 4, uri: 4}
    assert arms.loc[arms["on"] == uri, "n"].tolist() == [12] * 4
    second = open_dataset(uri)
    ((_, trainings),) = part.groups
    for row in arms[arms["on"] == uri].to_dict(orient="records"):
        (name,) = classifiers_of(space, [trainings[row["arm"]][row["seed"]]])
        said = studied.TestAnswers.read(space, second.fingerprint, [name]).predictions[name]
        assert row["acc1"] == pytest.approx(np.mean(said == second.splits["test"].labels))
    compared = part.comparison.comparisons
    assert {*compared.loc[compared["on"] == uri, "arm"]} == {"baseline", "few"}

    def none() -> LocalRunner:
        raise AssertionError("a runner was asked for")

    pipeline.run(space, tiny, none, QUIET, until="compare")
    assert pipeline.cost_of_experiment(space, tiny).seconds == 0
    other = replace(second, class_names=("a", "b"))
    with pytest.raises(UsageError, match="the same classes in the same order"):
        pipeline._require_same_classes(other, part.dataset)
