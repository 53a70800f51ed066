"""Specs: canonical text, identity of a training, refusal of wrong fields."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.errors import UsageError
from zoo.spec import (
    DatasetRef,
    Op,
    Preprocessing,
    Recipe,
    SelectionRule,
    Sweep,
    Training,
    canonical_json,
    classifier_id,
    content_id,
    parse_call,
    parse_scalar,
)

# time limits fail on a busy machine, not on a wrong result
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

DATASET = DatasetRef(uri="digits", fingerprint="0123456789abcdef")
NOISE = Op(name="label_noise", params={"fraction": 0.2, "to": "random", "seed": 0})
TRAINING = Training(
    arch="lenet5",
    dataset=DATASET,
    recipe=Recipe(epochs=4),
    treatment=(NOISE,),
    seed=3,
    snapshots=(2, 4),
)

OTHER_RECIPE_VALUES: dict[str, Any] = {
    "optimizer": "sgd",
    "lr": 0.002,
    "momentum": 0.8,
    "weight_decay": 1e-4,
    "batch_size": 64,
    "epochs": 5,
    "steps_per_epoch": 10,
    "schedule": "step",
    "milestones": (0.5,),
    "gamma": 0.2,
    "label_smoothing": 0.1,
    "stop_train_acc": 0.999,
    "augment": "flip",
    "precision": "bf16",
    "channels_last": True,
    "version": 2,
}

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


# ----------------------------------------------------------------------------------- canonical JSON


def test_canonical_json_by_hand() -> None:
    """Sorted keys, no spaces, text as it is."""
    assert (
        canonical_json({"b": [1, 0.5, None], "a": {"ü": True, "A": "x"}})
        == '{"a":{"A":"x","ü":true},"b":[1,0.5,null]}'
    )


@given(value=JSON)
def test_canonical_json_loses_nothing(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(entries=st.dictionaries(st.text(), st.integers()))
def test_order_of_keys_does_not_matter(entries: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(entries.items()))) == canonical_json(entries)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_has_no_nan(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"x": value})


def test_whole_and_broken_numbers_differ() -> None:
    """1 and 1.0 are different texts: this is why steps are made canonical by
    ``zoo.trainsets.treatments.op``."""
    assert canonical_json(1) != canonical_json(1.0)


# ---------------------------------------------------------------------------------------------- ids


def test_id_of_a_training_from_its_text() -> None:
    """The id is the sha256 of this very text, written out by hand: changing it orphans every stored
    training."""
    text = (
        '{"arch":"lenet5","dataset":"0123456789abcdef","format":1,"input_size":null,'
        '"recipe":{"augment":"none","batch_size":128,"channels_last":false,"epochs":4,"gamma":0.1,"label_smoothing":0.0,"lr":0.001,'
        '"milestones":[],"momentum":0.9,"optimizer":"adam","precision":"fp32","schedule":"constant","steps_per_epoch":null,'
        '"stop_train_acc":null,"version":1,"weight_decay":0.0},'
        '"seed":3,"treatment":[{"name":"label_noise","params":{"fraction":0.2,"seed":0,"to":"random"}}]}'
    )
    assert TRAINING.id == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_content_id_is_sha256_of_the_canonical_text() -> None:
    assert content_id({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()[:16]


def test_classifier_id_names_training_and_epoch() -> None:
    assert classifier_id("0123456789abcdef", 4) == "0123456789abcdef-e0004"


@pytest.mark.parametrize(
    "changes",
    [
        {"snapshots": (1,)},
        {"snapshots": ()},
        {"eval_every": 2},
        {"dataset": DatasetRef(uri="/elsewhere/digits", fingerprint=DATASET.fingerprint)},
    ],
    ids=["snapshots", "no snapshots", "eval_every", "uri"],
)
def test_what_does_not_change_the_result_does_not_change_the_id(changes: dict[str, Any]) -> None:
    """Another snapshot, another place of the same data: the same training."""
    assert TRAINING.replace(**changes).id == TRAINING.id


@pytest.mark.parametrize(
    "changes",
    [
        {"arch": "nin"},
        {"seed": 4},
        {"input_size": 32},
        {"treatment": ()},
        {"treatment": (NOISE, NOISE)},
        {"treatment": (Op(name="label_noise", params={**NOISE.params, "seed": 1}),)},
        {"dataset": DatasetRef(uri="digits", fingerprint="f" * 16)},
    ],
    ids=["arch", "seed", "input_size", "no treatment", "twice", "parameter", "fingerprint"],
)
def test_what_changes_the_result_changes_the_id(changes: dict[str, Any]) -> None:
    assert TRAINING.replace(**changes).id != TRAINING.id


def test_every_recipe_field_has_another_value_here() -> None:
    """A new field of the recipe must be added to the test below."""
    assert set(OTHER_RECIPE_VALUES) == set(Recipe.model_fields)


@pytest.mark.parametrize("field", OTHER_RECIPE_VALUES)
def test_every_field_of_the_recipe_is_identity(field: str) -> None:
    changed = TRAINING.recipe.replace(**{field: OTHER_RECIPE_VALUES[field]})
    assert getattr(changed, field) != getattr(TRAINING.recipe, field)
    assert TRAINING.replace(recipe=changed).id != TRAINING.id


def test_order_of_steps_is_identity() -> None:
    """Relabel then delete is not delete then relabel."""
    first, second = NOISE, Op(name="delete_class", params={"label": 1})
    assert (
        TRAINING.replace(treatment=(first, second)).id
        != TRAINING.replace(treatment=(second, first)).id
    )


def test_json_and_back_is_the_same_training() -> None:
    copy = Training(**json.loads(canonical_json(TRAINING.as_json())))
    assert copy == TRAINING
    assert copy.id == TRAINING.id


# ------------------------------------------------------------------------------------------ refusal


def test_specs_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TRAINING.seed = 5  # type: ignore[misc]


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^Recipe: learning_rate = 0\.1: "):
        Recipe(learning_rate=0.1)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("lr", 0),
        ("lr", float("inf")),
        ("momentum", 1),
        ("epochs", 0),
        ("batch_size", 0),
        ("optimizer", "sdg"),
        ("stop_train_acc", 1.5),
    ],
)
def test_values_out_of_range_are_refused_by_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"^Recipe: {field} = {value!r}: "):
        Recipe(**{field: value})


def test_changes_are_checked_again() -> None:
    with pytest.raises(UsageError, match="epochs = 0"):
        Recipe().replace(epochs=0)


def test_a_snapshot_after_the_end_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"^snapshot at epoch 5: the recipe has epochs 1 to 4\. Choose snapshots within it or"
            r" raise epochs\.$"
        ),
    ):
        TRAINING.replace(snapshots=(4, 5))


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "x" * 65])
def test_a_selections_name_is_plain(name: str) -> None:
    with pytest.raises(UsageError, match="use 1 to 64 letters"):
        SelectionRule(name=name, rule="below")


def test_preprocessing_has_one_or_three_channels() -> None:
    with pytest.raises(UsageError, match="channels = 2"):
        Preprocessing(size=28, channels=2, fit="pad", mean=(0.0, 0.0), std=(1.0, 1.0))  # type: ignore[arg-type]


# --------------------------------------------------------------------------------- sweeps and texts


def test_snapshots_are_sorted_and_once() -> None:
    assert TRAINING.replace(snapshots=(4, 2, 4)).snapshots == (2, 4)


def test_a_sweep_is_the_product_in_order() -> None:
    """Architectures, then treatments, then seeds; a recipe of its own where one is given; by
    default the last epoch is kept."""
    sweep = Sweep(
        archs=("lenet5", "nin"),
        treatments=((), (NOISE,)),
        recipe=Recipe(epochs=4),
        recipes={"nin": Recipe(epochs=9)},
        seeds=(0, 1),
    )
    trainings = sweep.expand(DATASET)
    assert [(t.arch, len(t.treatment), t.seed) for t in trainings] == [
        (arch, steps, seed) for arch in ("lenet5", "nin") for steps in (0, 1) for seed in (0, 1)
    ]
    assert [t.snapshots for t in trainings] == [(4,)] * 4 + [(9,)] * 4
    assert len({t.id for t in trainings}) == 8


def test_treatment_in_words() -> None:
    assert TRAINING.treatment_text == "label_noise:fraction=0.2,seed=0,to=random"
    assert TRAINING.replace(treatment=()).treatment_text == "none"
    assert TRAINING.param("label_noise", "fraction") == 0.2
    assert TRAINING.param("subsample", "fraction") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("random", "random"),
        (" a ", "a"),
    ],
)
def test_parse_scalar(text: str, value: bool | int | float | str) -> None:
    parsed = parse_scalar(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_parse_call_by_hand() -> None:
    assert parse_call("label_noise:fraction=0.2,to=random") == (
        "label_noise",
        {"fraction": 0.2, "to": "random"},
    )
    assert parse_call(" gamma : gamma = 2 ") == ("gamma", {"gamma": 2})
    assert parse_call("none") == ("none", {})


def test_parse_call_refuses_a_parameter_without_value() -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"^'subsample:half': parameter 'half' has no value\. Write it as"
            r" NAME:key=value,key=value\.$"
        ),
    ):
        parse_call("subsample:half")
