"""Heads trained at once are trained as the one training loop trains them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from zoo import models
from zoo.models.heads import standardise
from zoo.spec import Recipe
from zoo.training.heads import HeadStack, _standardised
from zoo.training.lanes.vectors import LANES
from zoo.training.run import optimizer_of
from zoo.trainsets.inputs import FeatureVectors

HEADS, EXAMPLES, WIDTH, CLASSES, BATCH = 5, 40, 11, 4, 8
RECIPES = {
    "adam": Recipe(optimizer="adam", lr=0.01),
    "adam, decay, smoothing": Recipe(
        optimizer="adam", lr=0.01, weight_decay=0.1, label_smoothing=0.2
    ),
    "adamw": Recipe(optimizer="adamw", lr=0.01, weight_decay=0.3),
    "sgd": Recipe(optimizer="sgd", lr=0.05, momentum=0.0, weight_decay=0.1),
    "momentum": Recipe(optimizer="sgd", lr=0.05, momentum=0.9),
}


def heads(arch: str, width: int = WIDTH, classes: int = CLASSES) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    return [
        models.build(arch, num_classes=classes, in_channels=width, size=1).double()
        for _ in range(HEADS)
    ]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("arch", models.HEADS)
def test_steps_of_a_stack_are_torchs_own_in_float64(arch: str, recipe: Recipe) -> None:
    """Losses and weights within 1e-12 after four steps of torch's modules and optimisers, with
    weights of examples (one of them 0), batches of different size and a rate for each head."""
    own = heads(arch)
    compare(own, HeadStack(own, recipe), recipe)


@pytest.mark.parametrize("arch", models.HEADS)
@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize(("vectors", "batch"), [(1, 9), (6, 9), (26, 71), (21, 64)])
def test_steps_in_one_pass_are_torchs_own_in_float64(
    vectors: int, classes: int, batch: int, arch: str
) -> None:
    """The same where they are compiled, of all sizes of tiles: vectors by four and one, classes by
    five and one, examples by four and one, and of several groups of rows and pieces of vectors."""
    pytest.importorskip("numba")
    recipe, width = RECIPES["adam, decay, smoothing"], vectors * LANES
    own = heads(arch, width, classes)
    stack = HeadStack(own, recipe, fused=True)
    compare(own, stack, recipe, width, classes, batch)
    assert stack._kernel is not None


@pytest.mark.parametrize("arch", models.HEADS)
def test_a_head_begins_where_it_would_begin_alone(arch: str) -> None:
    """At a multiple of 64 bytes, of weights and gradients, before and after heads have left: on
    some processors a product's last bits depend on it. An odd width and three classes, so that a
    head's own numbers fill no such block."""
    own, recipe = heads(arch, 7, 3), RECIPES["adam, decay, smoothing"]
    stack = HeadStack(own, recipe)
    compare(own, stack, recipe, 7, 3)
    stack.keep([2, 0])
    for flat in (stack.values, stack._gradients, *stack.moments):
        assert {row.data_ptr() % 64 for row in flat} == {0}


def test_what_has_no_kernel_is_left_to_torch() -> None:
    """Three layers, and vectors that fill no register, whether it was asked for or not."""
    three = [
        torch.nn.Sequential(
            *(torch.nn.Linear(2 * LANES, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8)),
            *(torch.nn.ReLU(), torch.nn.Linear(8, CLASSES)),
        ).double()
        for _ in range(HEADS)
    ]
    for own, width in (
        (three, 2 * LANES),
        (heads("head_softmax", LANES + 1), LANES + 1),
        (heads("head_mlp", LANES + 1), LANES + 1),
    ):
        stack = HeadStack(own, RECIPES["sgd"], fused=True)
        compare(own, stack, RECIPES["sgd"], width)
        assert stack._kernel is None


@pytest.mark.parametrize("arch", models.HEADS)
def test_a_loss_that_is_not_finite_stays_so_in_one_pass(arch: str) -> None:
    """Of two heads on a feature that is infinite one sees it: its loss alone is not finite."""
    pytest.importorskip("numba")
    stack = HeadStack(heads(arch, LANES)[:2], RECIPES["sgd"], fused=True)
    features = torch.zeros(2, LANES, dtype=torch.float64)
    features[1, 0] = torch.inf
    examples, labels = torch.tensor([[0], [1]]), torch.zeros(2, 1, dtype=torch.int64)
    share, rates = torch.ones(2, 1).double(), torch.ones(2).double()
    losses, hits = stack.step(features, examples, labels, share, torch.tensor([1, 1]), rates)
    assert torch.isfinite(losses).tolist() == [True, False]
    assert hits[1].tolist() == [0, 0]


def compare(
    own: list[torch.nn.Module],
    stack: HeadStack,
    recipe: Recipe,
    width: int = WIDTH,
    classes: int = CLASSES,
    batch: int = BATCH,
) -> None:
    """Four steps of a stack and of torch's own modules and optimisers."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(EXAMPLES, width)))
    truth = torch.from_numpy(rng.integers(0, classes, EXAMPLES))
    weights = torch.from_numpy(rng.random(EXAMPLES))
    weights[3] = 0
    optimizers = [optimizer_of(head, recipe) for head in own]
    for _ in range(4):
        examples = torch.from_numpy(rng.integers(0, EXAMPLES, (HEADS, batch)))
        counts = torch.tensor([batch, batch, batch - 3, batch, 1])
        there = torch.arange(batch) < counts[:, None]
        share = torch.where(there, weights[examples], 0.0) / counts[:, None]
        rates = torch.tensor([recipe.lr * (k + 1) for k in range(HEADS)], dtype=torch.float64)
        losses, hits = stack.step(features, examples, truth[examples], share, counts, rates)
        for k, (head, optimizer) in enumerate(zip(own, optimizers, strict=True)):
            chosen = examples[k, : counts[k]]
            optimizer.param_groups[0]["lr"] = float(rates[k])
            logits = head(features[chosen])
            each = functional.cross_entropy(
                logits, truth[chosen], reduction="none", label_smoothing=recipe.label_smoothing
            )
            loss = (each * weights[chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert abs(float(losses[k]) - float(loss.detach())) < 1e-12
            assert int(hits[k, 0]) == int((logits.argmax(1) == truth[chosen]).sum())
            top5 = logits.topk(min(5, classes)).indices == truth[chosen, None]
            assert int(hits[k, 1]) == int(top5.sum())
    for name, stacked in stack.of(stack.values).items():
        for k, head in enumerate(own):
            expected = dict(head.named_parameters())[name]
            assert torch.allclose(stacked[k], expected, rtol=0, atol=1e-12), name


def test_the_comparison_sees_another_optimiser() -> None:
    """Twin: with another momentum the weights of the same steps differ by far more."""
    own = heads("head_softmax")
    found = []
    for recipe in (RECIPES["sgd"], RECIPES["momentum"]):
        stack = HeadStack(own, recipe)
        features = torch.ones(EXAMPLES, WIDTH, dtype=torch.float64)
        examples = torch.zeros(HEADS, BATCH, dtype=torch.int64)
        share = torch.full((HEADS, BATCH), 1 / BATCH, dtype=torch.float64)
        counts, rates = torch.full((HEADS,), BATCH), torch.full((HEADS,), 0.05).double()
        for _ in range(3):
            stack.step(features, examples, examples, share, counts, rates)
        found.append(stack.values)
    assert float((found[0] - found[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["adam", "adam, decay, smoothing", "adamw"])
@pytest.mark.parametrize("arch", models.HEADS)
def test_a_compiled_step_of_adam_is_torchs_to_the_bit(arch: str, name: str) -> None:
    """Weights and moments after four steps in float32, with the compiled step and without; of
    another rate than torch's they are others."""
    pytest.importorskip("numba")
    from zoo.training.lanes.adam import compiled_adam, is_torchs

    if not is_torchs(torch.float32):
        pytest.skip("torch makes other last bits of Adam on this CPU, and is left to it")
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(EXAMPLES, WIDTH)).astype(np.float32))
    drawn = torch.from_numpy(rng.integers(0, EXAMPLES, (4, HEADS, BATCH)))
    found = []
    for fused, rate in ((True, 0.01), (False, 0.01), (False, 0.011)):
        own = [head.float() for head in heads(arch)]
        stack = HeadStack(own, RECIPES[name], fused=fused)
        assert (stack.adam is compiled_adam) == fused
        share, counts = torch.full((HEADS, BATCH), 1 / BATCH), torch.full((HEADS,), BATCH)
        for examples in drawn:
            rates = torch.full((HEADS,), rate)
            stack.step(features, examples, examples % CLASSES, share, counts, rates)
        found.append([stack.values, *stack.moments])
    assert all(map(torch.equal, found[0], found[1]))
    assert not torch.equal(found[0][0], found[2][0])


def test_features_are_standardised_some_at_a_time_as_all_at_once() -> None:
    """Of 2,500 vectors, more than are done at once, the same bits."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(3, 2, (2_500, WIDTH)).astype(np.float32)
    held = FeatureVectors(vectors, np.zeros(len(vectors), np.bool_))
    head = models.build("head_softmax", num_classes=CLASSES, in_channels=WIDTH, size=1)
    standardise(head, *map(torch.from_numpy, held.statistics))
    course = SimpleNamespace(data=SimpleNamespace(features=held), model=head)
    made = _standardised(course, torch.device("cpu"))
    assert torch.equal(made, next(head.children())(torch.from_numpy(vectors)))
    assert not made.requires_grad


def test_the_bench_of_heads_works(capsys: pytest.CaptureFixture[str]) -> None:
    """Its short run trains on all four sides."""
    from tools.bench.heads import main

    assert main(["--quick", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    for side in ("single / heads", "torch / heads", "DataLoader / heads"):
        assert f"head_softmax: {side}" in said
