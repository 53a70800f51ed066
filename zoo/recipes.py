"""Recipes by name. A recipe is a frozen spec; variants are made by changing fields:
``adam:lr=0.002,epochs=20``."""

from __future__ import annotations

from typing import Any

from zoo.errors import UnknownNameError, UsageError
from zoo.registry import Registry
from zoo.spec import Recipe, parse_call

__all__ = ["RECIPES", "parse_recipe", "recipe_text"]

RECIPES: Registry[Recipe] = Registry(
    "recipe",
    {
        # Small nets on small pictures.
        "adam": Recipe(optimizer="adam", lr=1e-3, batch_size=128, epochs=10),
        "onecycle": Recipe(
            optimizer="adam", lr=3e-3, batch_size=64, epochs=10, schedule="onecycle"
        ),
        # He et al. 2016, section 4.2: SGD 0.1 with momentum 0.9, divided by 10 at 1/2 and 3/4 of
        #     the schedule.
        "sgd": Recipe(
            optimizer="sgd",
            lr=0.1,
            weight_decay=1e-4,
            batch_size=128,
            epochs=40,
            schedule="step",
            milestones=(0.5, 0.75),
        ),
        # "Example perplexity and class label cleaning", section 3.2: Adam 1e-3, batch 128, 40
        # epochs; the step at epoch 30 is read off its figures.
        "cleaning": Recipe(
            optimizer="adam",
            lr=1e-3,
            batch_size=128,
            epochs=40,
            schedule="step",
            milestones=(0.75,),
            augment="resized_crop_flip",
            precision="bf16",
            channels_last=True,
        ),
    },
)


def parse_recipe(text: str) -> Recipe:
    """``"adam"`` or ``"adam:lr=0.002,epochs=20"`` -> Recipe.

    Raises:
        UnknownNameError: for an unknown recipe or field.
        UsageError: for a value out of range, naming the field.
    """
    name, changes = parse_call(text)
    recipe = RECIPES[name]
    for field in changes:
        if field not in Recipe.model_fields:
            raise UnknownNameError("recipe field", field, Recipe.model_fields)
    if "milestones" in changes:
        raise UsageError(
            f"{text!r}: milestones is a list and cannot be set here. Use recipe 'sgd' or"
            " 'cleaning', or an experiment file."
        )
    return recipe.replace(**changes)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as ``parse_recipe`` reads it, by the named one it differs least from:
    ``onecycle:epochs=12,lr=0.002``."""
    fields = recipe.as_json()

    def changes(name: str) -> dict[str, Any]:
        named = RECIPES[name].as_json()
        return {field: value for field, value in fields.items() if value != named[field]}

    name = min(RECIPES, key=lambda name: len(changes(name)))
    settings = ",".join(f"{field}={value}" for field, value in changes(name).items())
    return f"{name}:{settings}" if settings else name
