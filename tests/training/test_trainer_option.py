"""``--trainer``: a trainer asked for by name is refused where it does not cover what is to be
trained; and what plans expect of lanes."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import Tiny, training

import zoo.estimate
import zoo.rates
import zoo.training.rule
from tests.commands import done
from tests.commands import zoo as command
from zoo.devices import ACCELERATORS
from zoo.errors import UsageError
from zoo.estimate import assumed_dataset, estimate, training_images
from zoo.machine import vector_lanes
from zoo.models import model
from zoo.spec import Recipe, Training
from zoo.training import trainers
from zoo.training.rule import Whole, trainer_expected


def test_a_trainer_that_does_not_cover_is_refused_with_the_reason(
    trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By architecture, device, precision and input; auto, single and the environment refuse
    nothing."""
    monkeypatch.setattr(trainers, "_installed", lambda: True)
    jobs = [training(trained.dataset, arch) for arch in ("lenet5", "resnet8", "nin")]
    with pytest.raises(
        UsageError,
        match=r"^trainer lanes does not cover resnet8: .*; nin: .*\. Allowed for these: auto, s",
    ) as told:
        trainers.check("lanes", jobs, "cpu")
    assert "lenet5" not in str(told.value)
    trainers.check("lanes", jobs[:1], "cpu")
    with pytest.raises(UsageError, match=r"lenet5: lanes are of a CPU, not of cuda"):
        trainers.check("lanes", jobs[:1], "cuda")
    half = [jobs[0].replace(recipe=Recipe(precision="bf16"))]
    with pytest.raises(UsageError, match=r"lenet5: precision bf16; lanes train in fp32"):
        trainers.check("lanes", half, "cpu")
    with pytest.raises(UsageError, match=r"heads does not cover lenet5: it is no head"):
        trainers.check("heads", jobs[:1], "cpu")
    with pytest.raises(UsageError, match=r"stacked does not cover nin: Dropout draws for all net"):
        trainers.check("stacked", jobs, "cpu")
    trainers.check("stacked", jobs[:2], "cuda")
    monkeypatch.setenv("ZOO_TRAINER", "lanes")
    for name in (None, "single"):
        trainers.check(name, jobs, "cpu")
    monkeypatch.setattr(trainers, "_installed", lambda: False)
    with pytest.raises(UsageError, match=r"^trainer=lanes needs numba, which is not installed"):
        trainers.check("lanes", jobs[:1], "cpu")


def test_the_command_line_names_a_trainer(trained: Tiny, tmp_path: Path) -> None:
    """Refused before anything is trained, exit 2; with single it trains."""
    asked = ("train", "--data", trained.dataset.uri, "--epochs", 1, "--runner", "local")
    refused = command(*asked, "-w", tmp_path / "w", "--archs", "resnet8", "--trainer", "heads")
    assert refused.code == 2
    assert "trainer heads does not cover resnet8" in refused.err
    assert not list((tmp_path / "w" / "commits").glob("training/*"))
    done(*asked, "-w", tmp_path / "w", "--archs", "softmax", "--trainer", "single")
    unknown = command(*asked, "-w", tmp_path / "w", "--archs", "mlp", "--trainer", "faster")
    assert unknown.code == 2
    assert "lanes" in unknown.err


def a_machine(monkeypatch: pytest.MonkeyPatch, *, lanes: int = 16, numba: bool = True) -> None:
    monkeypatch.delenv("ZOO_TRAINER", raising=False)
    monkeypatch.setattr(zoo.training.rule, "vector_lanes", lambda: lanes)
    monkeypatch.setattr(zoo.training.rule, "find_spec", lambda _: object() if numba else None)


def test_lanes_are_expected_where_the_rule_takes_them(
    trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listed network that takes a core ten seconds or more, one training or many, with batches
    that can be shared out among lanes; nothing else."""

    def lanes_expected(job: Training, count: int, images: int) -> bool:
        return trainer_expected(job, Whole(count, images), on_cpu=True) == "lanes"

    a_machine(monkeypatch)
    job = training(trained.dataset, "lenet5").replace(recipe=Recipe())
    images = 8_000_000
    rate = model("lenet5").images_per_second or 0.0
    for count in (1, 5, 16, 17, 400):
        assert lanes_expected(job, count, images)
        assert lanes_expected(job, count, round(10.1 * rate))
        assert not lanes_expected(job, count, round(9.9 * rate))
    few = job.replace(recipe=Recipe(batch_size=4))
    assert lanes_expected(few, 16, images)
    assert not lanes_expected(few, 1, images)
    assert not lanes_expected(job.replace(arch="mlp"), 16, images)
    assert not lanes_expected(job.replace(recipe=Recipe(precision="bf16")), 16, images)
    assert trainer_expected(job, Whole(16, images), on_cpu=False) == "stacked"
    monkeypatch.setenv("ZOO_TRAINER", "single")
    assert not lanes_expected(job, 16, images)
    monkeypatch.setenv("ZOO_TRAINER", "lanes")
    assert lanes_expected(job, 1, 1000)
    a_machine(monkeypatch, lanes=8)
    assert not lanes_expected(job, 16, images)
    a_machine(monkeypatch, numba=False)
    assert not lanes_expected(job, 16, images)


def test_a_plan_counts_with_lanes_where_they_will_train(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen LeNet-5s of four lanes each, on one core: their passes take 1 / 3.6 of the time, and
    a little more in batches of 64 (16 images of a lane and what a step takes, which is as long as
    1.5, where the table's are 64 and 1.5); their steps no time of their own; evaluations and what
    belongs to a training as long as ever. They make four programs: on nine workers they take a
    quarter of it, and so does one that is left."""
    dataset, recipe = assumed_dataset("50000,1000,10,32"), Recipe(epochs=20, batch_size=64)
    jobs = [
        Training(arch="lenet5", dataset=dataset.ref, recipe=recipe, seed=seed) for seed in range(16)
    ]
    a_machine(monkeypatch, numba=False)
    apart = estimate(None, dataset, jobs, devices=1).seconds
    a_machine(monkeypatch)
    together = estimate(None, dataset, jobs, devices=1).seconds
    passes = sum(training_images(job, dataset) for job in jobs)
    core = ACCELERATORS["cpu-core"]
    each = zoo.rates.image_seconds(jobs[0], 32, core, trains=True) * 1.3
    step = zoo.rates._STEP_SECONDS / jobs[0].recipe.batch_size
    shared = (1 + 1.5 / 16) / (1 + 1.5 / 64)
    assert apart - together == pytest.approx(passes * (each * (1 - shared / 3.6) + step))
    rates = zoo.rates.Rates(core)
    by = zoo.estimate._trainers(jobs, dataset, core)
    whole = zoo.estimate._wall_seconds(jobs, {}, by, dataset, rates, 1)
    for some, workers in ((jobs, 4), (jobs, 9), (jobs[:1], 2)):
        found = zoo.estimate._wall_seconds(some, {}, by, dataset, rates, workers)
        assert found == pytest.approx(whole / 4)


def test_the_lanes_of_a_cpu_are_read_from_its_flags(tmp_path: Path) -> None:
    for flags, lanes in (("fpu avx avx2 avx512f", 16), ("fpu avx avx2", 8), ("fpu sse2", 4)):
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: avx512f\n")
        assert vector_lanes(tmp_path / "cpuinfo") == lanes
    assert vector_lanes(tmp_path / "none") == 4
