"""Networks of one architecture as one: what is trained of K networks in a few tensors, and the
optimiser's step for all of them.

Trainers of many at once that compute with torch are made of it: ``zoo.training.heads``,
``zoo.training.stacked``. Shape letters: K networks, P parameters of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo.spec import Recipe
from zoo.training.course import Course, moment_names

__all__ = ["BETA1", "BETA2", "EPSILON", "Pace", "Stack", "adam"]

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Pace:
    """How far an optimiser's step of some networks goes, [k, 1] each: the learning rate; of Adam,
    the rate and the root of the second moment's weight, for moments that began at 0."""

    rate: Tensor
    along: Tensor
    root: Tensor

    def of(self, part: slice) -> Pace:
        """Of some of them."""
        return Pace(self.rate[part], self.along[part], self.root[part])


def adam(values: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, pace: Pace) -> None:
    """Adam's step of k networks, in place.

    Args:
        values, mean, square: [k, P], parameters and the moments of their gradients.
        gradient: [k, P]; overwritten.
    """
    mean.lerp_(gradient, 1 - BETA1)
    square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
    # gradient is done with: it holds the denominator
    torch.sqrt(square, out=gradient).div_(pace.root).add_(EPSILON)
    values.sub_(gradient.reciprocal_().mul_(mean).mul_(pace.along))


class Stack:
    """Parameters and moments of networks, each [K, P] in the order of ``named_parameters``.

    Args:
        networks: of one architecture; their values are copied.
        recipe: has the optimiser.
    """

    def __init__(self, networks: Sequence[nn.Module], recipe: Recipe) -> None:
        self.recipe = recipe
        self.shapes = {name: tuple(p.shape) for name, p in networks[0].named_parameters()}
        self._sizes = [math.prod(shape) for shape in self.shapes.values()]
        self.values = torch.stack(
            [
                torch.cat([p.detach().reshape(-1) for p in network.parameters()])
                for network in networks
            ]
        )
        count = 2 if recipe.optimizer != "sgd" else 1 if recipe.momentum else 0
        self.moments = [torch.zeros_like(self.values) for _ in range(count)]
        self.steps = torch.zeros(len(networks), dtype=torch.float64, device=self.values.device)
        """Optimiser steps that each network has made."""
        self.adam = adam

    def of(self, flat: Tensor) -> dict[str, Tensor]:
        """[k, P] -> parameter -> [k, its shape], views."""
        parts = torch.split(flat, self._sizes, dim=1)
        return {
            name: part.view(len(flat), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def counted(self, part: slice, rates: Tensor) -> Pace:
        """Count a step of some networks, of learning rates [k]."""
        self.steps[part] += 1
        steps, kind = self.steps[part, None], self.values.dtype
        root = (1 - BETA2**steps).sqrt().to(kind)
        return Pace(rates[:, None], rates[:, None] / (1 - BETA1**steps).to(kind), root)

    def update(self, part: slice, gradient: Tensor, pace: Pace) -> None:
        """The optimiser's step of some networks, as torch makes it (``torch.optim``).

        Args:
            gradient: [k, P]; overwritten.
        """
        recipe, values = self.recipe, self.values[part]
        if recipe.weight_decay and recipe.optimizer == "adamw":
            values *= 1 - pace.rate * recipe.weight_decay
        elif recipe.weight_decay:
            gradient.add_(values, alpha=recipe.weight_decay)
        if recipe.optimizer == "sgd":
            if recipe.momentum:
                gradient = self.moments[0][part].mul_(recipe.momentum).add_(gradient)
            values.addcmul_(gradient, pace.rate, value=-1)
            return
        mean, square = (moment[part] for moment in self.moments)
        self.adam(values, mean, square, gradient, pace)

    def keep(self, order: Sequence[int]) -> None:
        """Leave these networks, in this order."""
        if list(order) == list(range(len(self.values))):
            return
        chosen = torch.tensor(list(order), dtype=torch.int64, device=self.values.device)
        self.values = self.values[chosen]
        self.moments = [moment[chosen] for moment in self.moments]
        self.steps = self.steps[chosen]

    def take_moments(self, number: int, course: Course) -> None:
        """Read a network's optimiser, where it has a state."""
        named = dict(course.model.named_parameters())
        for slot, moment in zip(moment_names(self.recipe), self.moments, strict=False):
            for name, values in self.of(moment).items():
                state = course.optimizer.state.get(named[name], {})
                if state.get(slot) is not None:
                    values[number] = state[slot]
                self.steps[number] = float(state.get("step", 0.0))

    def leave(self, number: int, course: Course) -> None:
        """Put a network's part into its module and optimiser."""
        slots = moment_names(self.recipe)[: len(self.moments)]
        here = slice(number, number + 1)
        values = self.of(self.values[here])
        moments = [self.of(moment[here]) for moment in self.moments]
        with torch.no_grad():
            for name, parameter in course.model.named_parameters():
                parameter.copy_(values[name][0])
                if not slots:
                    continue
                kept, state = course.optimizer.state.get(parameter, {}), {}
                for slot, moment in zip(slots, moments, strict=True):
                    into = kept.get(slot)
                    if into is None:
                        # Fused optimisers want it to lie as the weights do (channels_last).
                        into = torch.empty_like(parameter, requires_grad=False)
                    state[slot] = into.copy_(moment[name][0])
                if "exp_avg" in state:
                    state["step"] = self.steps[number].float()
                course.optimizer.state[parameter] = state
