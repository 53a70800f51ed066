"""Optimisers as torch makes them, without torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from zoo.spec import Recipe
from zoo.training.run import optimizer_of

OURS = "from zoo.training.run import optimizer_of; o = optimizer_of(m, Recipe())"
TORCHS = "o = torch.optim.Adam(m.parameters(), fused=True)"


def steps(network: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for number in range(count):
        optimizer.param_groups[0]["lr"] = 0.1 / (number + 1)
        optimizer.zero_grad(set_to_none=True)
        network(torch.arange(12.0).reshape(3, 4)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("name", "kind", "further"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9}),
        ("adam", torch.optim.Adam, {}),
        ("adamw", torch.optim.AdamW, {}),
    ],
)
def test_its_steps_are_torchs_own(name: Any, kind: Any, further: dict[str, float]) -> None:
    """Weights and state are bit-equal after five steps, the last two from a loaded state."""
    networks = []
    for own in (True, False):
        torch.manual_seed(0)
        network = nn.Linear(4, 2)
        recipe = Recipe(optimizer=name, momentum=0.9, weight_decay=1e-3)

        def made(own: bool = own, network: nn.Module = network, recipe: Recipe = recipe) -> Any:
            if own:
                return optimizer_of(network, recipe)
            settings = {"lr": recipe.lr, "weight_decay": 1e-3, "fused": True, **further}
            return kind(network.parameters(), **settings)

        first, second = made(), made()
        steps(network, first, 3)
        second.load_state_dict(first.state_dict())
        steps(network, second, 2)
        networks.append([*network.parameters(), *second.state_dict()["state"][0].values()])
    assert all(map(torch.equal, *networks))


@pytest.mark.parametrize(("made", "loads"), [(OURS, False), (TORCHS, True)])
def test_it_does_not_load_torchs_compiler(made: str, loads: bool) -> None:
    """In a process of its own; torch's own optimiser loads it."""
    code = (
        "import sys, torch\nfrom zoo.spec import Recipe\nm = torch.nn.Linear(2, 2)\n"
        f"{made}\nm(torch.ones(1, 2)).sum().backward()\no.step()\no.zero_grad()\n"
        "o.load_state_dict(o.state_dict())\nprint('torch._dynamo' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == str(loads)
