"""Many networks as one program compute what torch computes for each of them; and what that program
does not take, or has no memory for, is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from factories import op, tiny_dataset, training, workspace
from torch import nn
from torch.nn import functional

import zoo.training.run
from tests.training.test_trainers import facts_of, ignore, largest_difference, weights_of
from zoo import models
from zoo.spec import Recipe
from zoo.training import stacked, trainers
from zoo.training.rule import Whole
from zoo.training.run import optimizer_of, run
from zoo.training.stacked import Cost, Networks, cost

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
NETWORKS, PICTURES, CLASSES, SIDE = 3, 20, 5, 12
OWN = [name for name, m in models.MODELS.items() if not m.build.startswith("timm:")]
COVERED = [name for name in OWN if name != "nin"]
SGD = Recipe(optimizer="sgd", momentum=0.9, weight_decay=1e-3, label_smoothing=0.1)


def networks(arch: str) -> list[nn.Module]:
    found = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        found.append(models.build(arch, num_classes=CLASSES, in_channels=2, size=SIDE).double())
    return found


def differences(
    arch: str, recipe: Recipe, told: Recipe | None = None, steps: int = 2
) -> tuple[float, float]:
    """Largest differences (of losses, of weights and statistics) from torch after some steps in
    float64: networks 0 and 1 as one range, 2 by itself with fewer pictures; each with pictures,
    weights, a rate and a scaling of its own. ``told``: the recipe of the stack instead."""
    rng = np.random.default_rng(0)
    alone = networks(arch)
    optimizers = [optimizer_of(network, recipe) for network in alone]
    scaling = [((0.4 + 0.05 * k, 0.5), (0.2, 0.3)) for k in range(NETWORKS)]
    stack = Networks(alone, told or recipe, scaling)
    pictures = [
        torch.from_numpy(rng.integers(0, 256, (PICTURES, SIDE, SIDE, 2), dtype=np.uint8))
        for _ in range(NETWORKS)
    ]
    stack.show(pictures)
    of_losses = of_weights = 0.0
    for _ in range(steps):
        for part, size in ((slice(0, 2), 6), (slice(2, 3), 4)):
            members = range(part.start, part.stop)
            count = len(members)
            examples = torch.from_numpy(rng.integers(0, PICTURES, (count, size)))
            labels = torch.from_numpy(rng.integers(0, CLASSES, (count, size)))
            weights = torch.from_numpy(rng.uniform(0.5, 2, (count, size)))
            rates = torch.tensor([0.01 * (k + 1) for k in members], dtype=torch.float64)
            losses, hits = stack.step(part, [examples, labels, weights / size, rates])
            for row, k in enumerate(members):
                mean = torch.tensor(scaling[k][0]).mul(255).double()
                scale = torch.tensor(scaling[k][1]).mul(255).reciprocal().double()
                x = ((pictures[k][examples[row]].double() - mean) * scale).permute(0, 3, 1, 2)
                logits = alone[k](x.contiguous())
                each = functional.cross_entropy(
                    logits, labels[row], reduction="none", label_smoothing=recipe.label_smoothing
                )
                loss = (each * weights[row]).mean()
                optimizers[k].param_groups[0]["lr"] = float(rates[row])
                optimizers[k].zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizers[k].step()
                of_losses = max(of_losses, abs(float(loss.detach()) - float(losses[row])))
                assert int(hits[row, 0]) == int((logits.argmax(1) == labels[row]).sum())
                assert int(hits[row, 1]) == size
    found = stack.of(stack.values) | stack.buffers
    for k, network in enumerate(alone):
        for name, tensor in network.state_dict().items():
            of_weights = max(of_weights, float((tensor - found[name][k]).abs().max()))
    return of_losses, of_weights


@pytest.mark.parametrize("arch", COVERED)
def test_steps_of_one_program_are_torchs_in_double_precision(arch: str) -> None:
    """Losses, weights and running statistics within 1e-12 after two steps, for every small
    architecture but nin, with weights of examples, smoothing, momentum and decay."""
    of_losses, of_weights = differences(arch, SGD)
    assert of_losses < 1e-12
    assert of_weights < 1e-12


@pytest.mark.parametrize("last", [False, True])
def test_channels_last_is_the_same_program(last: bool) -> None:
    for arch in ("resnet8", "efficientnet_mini"):
        assert max(differences(arch, SGD.replace(channels_last=last))) < 1e-12


DECAYS = [
    Recipe(optimizer="sgd", momentum=0.0, weight_decay=0.1),
    Recipe(optimizer="adam", weight_decay=0.1),
    Recipe(optimizer="adamw", weight_decay=0.1),
]


@pytest.mark.parametrize("recipe", DECAYS, ids=lambda recipe: recipe.optimizer)
def test_optimisers_are_torchs(recipe: Recipe) -> None:
    """Twin: a program that is told half of the decay differs."""
    assert max(differences("lenet5", recipe, steps=3)) < 1e-12
    assert differences("lenet5", recipe, recipe.replace(weight_decay=0.05), steps=3)[1] > 1e-7


def test_bf16_is_that_of_autocast() -> None:
    """One step of resnet8: every layer answers in the precision that autocast gives it, and the
    step is as autocast's to 3 % of its length; told fp32, layers answer in float32."""
    torch.manual_seed(0)
    network = models.build("resnet8", num_classes=CLASSES, in_channels=1, size=16)
    raw = torch.randint(0, 256, (32, 16, 16, 1), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (1, 32))
    answered: list[torch.dtype] = []
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _m, _given, found: answered.append(found.dtype))
    step, kinds = {}, {}
    for precision in ("fp32", "bf16"):
        recipe = Recipe(optimizer="sgd", momentum=0.0, precision=precision)
        stack = Networks([network], recipe, [((0.5,), (0.25,))])
        stack.show([raw])
        before = stack.values.clone()
        share = torch.full((1, 32), 1 / 32)
        stack.step(slice(0, 1), [torch.arange(32)[None], labels, share, torch.ones(1)])
        step[precision] = (before - stack.values)[0]
        kinds[precision] = answered.copy()
        answered.clear()
    x = ((raw.float() - 127.5) / 63.75).permute(0, 3, 1, 2).contiguous()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(x)
    assert kinds["bf16"] == answered
    assert set(kinds["fp32"]) == {torch.float32}
    functional.cross_entropy(logits.float(), labels[0]).backward()  # type: ignore[no-untyped-call]
    auto = torch.cat([p.grad.reshape(-1) for p in network.parameters() if p.grad is not None])
    assert float((step["bf16"] - auto).norm()) < 0.03 * float(auto.norm())


# ---------------------------------------------------------------- what it takes


def test_what_draws_in_its_layers_is_no_part_of_one_program() -> None:
    """Drop-out of nin by name; all others of this package have a cost, in parameters that of the
    table."""
    assert "Dropout draws for all networks from one stream" in str(cost("nin", 10, 3, 32, Recipe()))
    for arch in COVERED:
        entry = models.MODELS[arch]
        found = cost(arch, 10, entry.reference_channels, entry.reference_size, Recipe())
        assert isinstance(found, Cost), (arch, found)
        assert found.parameters == entry.parameters
        assert found.activations > 0
    bf16 = Recipe(precision="bf16")
    assert isinstance(cost("resnet8", 10, 3, 32, bf16), Cost)
    assert "network of timm" in str(cost("resnet50", 10, 3, 32, bf16))


def test_the_rule_takes_one_program_on_a_gpu_alone(tmp_path: Path) -> None:
    """Two trainings of a small network, on CUDA; not one, not a network of timm, not on a CPU
    unless asked for."""
    job, two = training(tiny_dataset(tmp_path), "resnet8"), Whole(2, 0)
    assert trainers.stacked_may(job, two, CUDA, None)
    assert not trainers.stacked_may(job, Whole(1, 0), CUDA, None)
    assert not trainers.stacked_may(job, two, CUDA, "single")
    assert not trainers.stacked_may(job.replace(arch="resnet50"), two, CUDA, None)
    assert not trainers.stacked_may(job, two, CPU, None)
    assert trainers.stacked_may(job, Whole(1, 0), CPU, "stacked")
    crops = job.replace(recipe=Recipe(augment="resized_crop_flip"))
    assert not trainers.stacked_may(crops, two, CUDA, "stacked")


def test_more_networks_than_memory_holds_are_halved_once_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that runs out of memory at three networks, in the second step: five become two, two
    and one; one line says so; all end as they would have."""
    dataset = tiny_dataset(tmp_path)
    batch = [training(dataset, "softmax", augment="flip", seed=seed) for seed in range(5)]
    calm, tight = workspace(tmp_path / "calm"), workspace(tmp_path / "tight")
    assert run(calm, batch, device=CPU, on_epoch=ignore, trainer="stacked") == {}
    sound, steps = Networks.step, [0]

    def step(stack: Networks, part: slice, given: list[torch.Tensor]) -> object:
        steps[0] += 1
        if steps[0] > 1 and len(stack.values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return sound(stack, part, given)

    monkeypatch.setattr(Networks, "step", step)
    with pytest.warns(UserWarning, match="5 networks at once are more than.*are 2 at once") as told:
        assert run(tight, batch, device=CPU, on_epoch=ignore, trainer="stacked") == {}
    assert len(told) == 1
    for job in batch:
        assert facts_of(tight, job) == facts_of(calm, job)
        assert largest_difference(weights_of(tight, job, 2), weights_of(calm, job, 2)) < 1e-6


def test_a_network_too_large_for_memory_by_itself_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network, and no memory even for it: its training has failed for that reason; any other
    error of a step is told to all in it."""
    batch = [training(tiny_dataset(tmp_path), "softmax", seed=seed) for seed in range(2)]
    for error, count in ((torch.OutOfMemoryError("no memory"), 1), (RuntimeError("planted"), 2)):

        def step(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(Networks, "step", step)
        space = workspace(tmp_path / str(count))
        failed = run(space, batch[:count], device=CPU, on_epoch=ignore, trainer="stacked")
        assert failed == {job.id: f"{type(error).__name__}: {error}" for job in batch[:count]}


def test_chosen_by_the_rule_it_leaves_to_the_loop_what_it_cannot_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has asked for it, and its second step raises: a warning says so, and the loop trains
    all."""
    batch = [training(tiny_dataset(tmp_path), "softmax", seed=seed) for seed in range(2)]
    calm, space = workspace(tmp_path / "calm"), workspace(tmp_path / "w")
    run(calm, batch, device=CPU, on_epoch=ignore, trainer="single")
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    monkeypatch.setattr(trainers, "stacked_may", lambda *_: True)
    sound, steps = Networks.step, [0]

    def step(stack: Networks, part: slice, given: list[torch.Tensor]) -> object:
        steps[0] += 1
        if steps[0] > 1:
            raise RuntimeError("planted")
        return sound(stack, part, given)

    monkeypatch.setattr(Networks, "step", step)
    with pytest.warns(UserWarning, match="softmax: trained one by one, since .* raised planted"):
        assert run(space, batch, device=CPU, on_epoch=ignore) == {}
    for job in batch:
        assert facts_of(space, job) | {"trainer": "single"} == facts_of(calm, job)
        assert largest_difference(weights_of(space, job, 2), weights_of(calm, job, 2)) == 0


def test_the_room_follows_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3,000 parameters and 100 activations a picture, in batches of 16: 4 * (6 * 3000 + 2 * 17 *
    100) = 85,600 bytes a network, so that 200,000 bytes hold two."""
    found = Cost(3000, 100)
    assert found.bytes(Recipe(batch_size=16)) == 85_600
    monkeypatch.setattr(stacked, "_CPU_BYTES", 200_000)
    job = training(tiny_dataset(tmp_path), "softmax")
    data = zoo.training.run.prepare(workspace(tmp_path / "w"), job)
    assert stacked.Stacked(data, Recipe(batch_size=16), CPU, found).room == 2
    assert stacked.Stacked(data, Recipe(batch_size=16), CPU, Cost(1, 0)).room == stacked.MOST


def test_a_state_within_a_long_epoch_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look after every step, and a kill in the last one of the second epoch: members go on from
    the step before, to the same curve; training sets of different size, damaged pictures and noise
    drawn anew among them."""
    monkeypatch.setattr(stacked, "_LOOK_SECONDS", -1.0)
    monkeypatch.setattr(zoo.training.run, "_RESUME_SECONDS", -1.0)
    dataset = tiny_dataset(tmp_path)
    treatments = (
        (),
        (op("subsample", fraction=0.5),),
        (op("gaussian_noise", sigma=20),),
        (op("gaussian_noise_each_epoch", sigma=20),),
    )
    batch = [training(dataset, "softmax", treatment=each, augment="flip") for each in treatments]
    calm, killed = workspace(tmp_path / "calm"), workspace(tmp_path / "killed")
    run(calm, batch, device=CPU, on_epoch=ignore, trainer="single")
    asked = [0]

    def should_stop() -> bool:
        asked[0] += 1
        if asked[0] == 8:
            raise SystemExit  # no Exception: nothing catches it
        return False

    with pytest.raises(SystemExit):
        run(killed, batch, device=CPU, on_epoch=ignore, trainer="stacked", should_stop=should_stop)
    assert [name[:12] for name in killed.files.names(f"resume/{batch[0].id}")] == ["e0001s000003"]
    run(killed, batch, device=CPU, on_epoch=ignore, trainer="stacked")
    for job in batch:
        assert facts_of(killed, job)["trainer"] == "stacked"
        for left, right in zip(
            facts_of(calm, job)["metrics"],  # type: ignore[call-overload]
            facts_of(killed, job)["metrics"],
            strict=True,
        ):
            assert right == pytest.approx(left, abs=1e-5)
        assert largest_difference(weights_of(calm, job, 2), weights_of(killed, job, 2)) < 1e-5


def test_kernels_want_triton_a_compiler_and_a_gpu_of_ampere_or_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = stacked.has_kernels.__wrapped__
    monkeypatch.delenv("CC", raising=False)

    def given(*, triton: bool, compiler: str | None, capability: tuple[int, int]) -> None:
        monkeypatch.setattr(stacked, "find_spec", lambda _name: "found" if triton else None)
        monkeypatch.setattr(stacked.shutil, "which", lambda name: compiler and f"/bin/{name}")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    given(triton=True, compiler="gcc", capability=(8, 0))
    assert asked()
    given(triton=False, compiler="gcc", capability=(8, 0))
    assert not asked()
    given(triton=True, compiler=None, capability=(8, 0))
    assert not asked()
    given(triton=True, compiler="gcc", capability=(7, 5))
    assert not asked()
