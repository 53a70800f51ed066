"""The table of models: facts written there hold for the networks; importing it is cheap; wrong
requests are refused in words."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import zoo
from zoo.errors import UnknownNameError, UsageError
from zoo.models import ALIASES, MODELS, check_input, model

ROOT = Path(__file__).parents[2]
STUDY_2 = {
    "vgg16": 224,
    "resnet50": 224,
    "resnet101": 224,
    "inception_v3": 299,
    "legacy_xception": 299,
    "densenet121": 224,
    "densenet169": 224,
    "densenet201": 224,
    "efficientnet_b0": 224,
    "efficientnet_b2": 260,
}


def modules_loaded_by(statements: str) -> set[str]:
    code = (
        f"import sys\n{statements}\nprint(*[m for m in ('torch', 'timm', 'torchvision', 'ray',"
        " 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return set(run.stdout.split())


def test_planning_with_the_table_loads_no_torch() -> None:
    """Import, look-up, cost and the size check of a model in the table need neither torch nor
    timm."""
    plan = (
        "from zoo.models import check_input,"
        " model\nmodel('xception').mega_macs_at(150)\ncheck_input('vgg16', 32)"
    )
    assert modules_loaded_by(plan) == set()


def test_the_torch_check_can_fail() -> None:
    """Twin of the test above: building does load torch."""
    assert "torch" in modules_loaded_by(
        "from zoo.models import build\nbuild('softmax', num_classes=2, in_channels=1, size=8)"
    )


def test_every_entry_is_filed_under_its_own_name() -> None:
    assert [entry.name for entry in MODELS.values()] == list(MODELS)


@pytest.mark.parametrize("entry", MODELS.values(), ids=MODELS)
def test_every_entry_is_complete(entry: object) -> None:
    """Every entry says what it is, what it costs and where it comes from."""
    for field in dataclasses.fields(entry):  # type: ignore[arg-type]
        if field.name not in ("default_size", "images_per_second"):
            assert getattr(entry, field.name), field.name


def test_the_ten_architectures_of_study_2_have_the_studys_input_sizes() -> None:
    assert {name: MODELS[name].default_size for name in STUDY_2} == STUDY_2


def test_each_family_of_study_2_has_a_small_relative() -> None:
    """A population on 28-pixel pictures can have the same mix of families."""
    small = {entry.family for entry in MODELS.values() if entry.default_size is None}
    assert {MODELS[name].family for name in STUDY_2} <= small


def test_small_networks_take_the_data_as_they_are() -> None:
    """Every network of our own takes 28 and 32 pixels, without a size of its own."""
    for entry in MODELS.values():
        if entry.build.startswith("zoo."):
            assert entry.default_size is None
            check_input(entry.name, 28)
            check_input(entry.name, 32)


def test_old_names_lead_to_the_canonical_model() -> None:
    assert model("xception") is MODELS["legacy_xception"]
    assert set(ALIASES.values()) <= set(MODELS)
    assert not set(ALIASES) & set(MODELS)


def test_cost_grows_with_the_area() -> None:
    assert model("lenet5").mega_macs_at(56) == pytest.approx(4 * model("lenet5").mega_macs)


def test_a_picture_too_small_is_refused_in_four_parts() -> None:
    """What failed, the value seen, what is allowed, what to do next."""
    with pytest.raises(UsageError) as caught:
        check_input("vgg16", 28)
    fitting = ", ".join(name for name, entry in MODELS.items() if entry.min_size <= 28)
    assert (
        str(caught.value)
        == "vgg16 needs pictures of at least 32x32 pixels; the input is 28x28. Use --input-size 32"
        f" or another model: {fitting}."
    )
    assert "lenet5" in fitting
    assert "densenet121" not in fitting


def test_a_picture_too_small_for_every_model_is_refused_too() -> None:
    with pytest.raises(
        UsageError,
        match=r"^lenet5 needs .* at least 12x12 pixels; the input is 4x4\. Use --input-size 12\.$",
    ):
        check_input("lenet5", 4)


def test_an_unknown_model_names_its_neighbours() -> None:
    with pytest.raises(
        UnknownNameError,
        match=r"^unknown model 'resnet5O'\. Did you mean .*'resnet50'.*Known: .*lenet5.*timm has ",
    ):
        model("resnet5O")


def test_pretrained_weights_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"names the pretrained weights 'a1_in1k'.*Write resnet50\.$"
    ):
        model("resnet50.a1_in1k")


def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """``zoo models fetch`` says what it would be; ``--download`` alone asks timm for it."""
    asked: list[str] = []
    monkeypatch.setattr(
        "timm.create_model", lambda name, pretrained: asked.append(f"{name} {pretrained}")
    )
    monkeypatch.setattr("zoo.models.pretrained.whereabouts", lambda _facts: None)
    told = zoo("models", "fetch", "resnet18.a1_in1k")
    assert "licence apache-2.0, pretrained on ImageNet-1k" in told.out
    assert "not here. To download: zoo models fetch resnet18.a1_in1k --download" in told.out
    assert asked == []
    zoo("models", "fetch", "resnet18.a1_in1k", "--download")
    assert asked == ["resnet18.a1_in1k True"]
    assert "needs the name of a network" in zoo("models", "fetch").err
