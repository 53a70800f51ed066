"""Recipes by name and their small changes."""

from __future__ import annotations

import pytest

from zoo.errors import UnknownNameError, UsageError
from zoo.recipes import RECIPES, parse_recipe, recipe_text
from zoo.spec import Recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_named_and_survives_json(name: str) -> None:
    """The name alone is the recipe; its JSON read back is the same recipe."""
    recipe = parse_recipe(name)
    assert recipe is RECIPES[name] or recipe == RECIPES[name]
    assert Recipe(**recipe.as_json()) == recipe


def test_changes_are_written_behind_the_name() -> None:
    """Numbers, words, truth values; everything else stays."""
    found = parse_recipe("adam:lr=0.002,epochs=20,augment=flip,channels_last=true,precision=bf16")
    assert found == RECIPES["adam"].replace(
        lr=0.002, epochs=20, augment="flip", channels_last=True, precision="bf16"
    )


def test_the_recipes_of_the_papers() -> None:
    """He et al. 2016: SGD 0.1, momentum 0.9, weight decay 1e-4, steps at 1/2 and 3/4. The cleaning
    study: Adam 1e-3, 128, 40 epochs."""
    sgd, cleaning = RECIPES["sgd"], RECIPES["cleaning"]
    assert (
        sgd.optimizer,
        sgd.lr,
        sgd.momentum,
        sgd.weight_decay,
        sgd.batch_size,
        sgd.milestones,
    ) == (
        "sgd",
        0.1,
        0.9,
        1e-4,
        128,
        (0.5, 0.75),
    )
    assert (cleaning.optimizer, cleaning.lr, cleaning.batch_size, cleaning.epochs) == (
        "adam",
        1e-3,
        128,
        40,
    )


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "adan",
            UnknownNameError,
            (
                r"^unknown recipe 'adan'\. Did you mean 'adam'\? Known: adam, cleaning, onecycle,"
                r" sgd\."
            ),
        ),
        ("adam:learning_rate=1", UnknownNameError, r"^unknown recipe field 'learning_rate'\..*lr"),
        ("adam:lr=-1", UsageError, r"^Recipe: lr = -1: "),
        ("adam:lr=fast", UsageError, r"^Recipe: lr = 'fast': "),
        ("adam:epochs=0", UsageError, r"^Recipe: epochs = 0: "),
        ("adam:epochs=1.5", UsageError, r"^Recipe: epochs = 1\.5: "),
        (
            "adam:optimizer=lion",
            UsageError,
            r"^Recipe: optimizer = 'lion': .*'sgd', 'adam' or 'adamw'",
        ),
        ("adam:lr=nan", UsageError, r"^Recipe: lr = nan: "),
        ("sgd:milestones=0.5", UsageError, r"milestones is a list and cannot be set here"),
        ("adam:lr", UsageError, r"parameter 'lr' has no value\. Write it as NAME:key=value"),
    ],
)
def test_a_wrong_recipe_is_refused_by_field(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse_recipe(text)


@pytest.mark.parametrize(
    "text",
    [
        "adam",
        "onecycle:epochs=12,lr=0.002",
        "adam:channels_last=True",
        "sgd:precision=bf16",
        "cleaning",
    ],
)
def test_a_recipe_is_told_as_it_is_asked_for(text: str) -> None:
    """By the named recipe it differs least from, and read again it is the same."""
    assert parse_recipe(recipe_text(parse_recipe(text))) == parse_recipe(text)
    assert recipe_text(parse_recipe("onecycle:epochs=12,lr=0.002")) == "onecycle:lr=0.002,epochs=12"
