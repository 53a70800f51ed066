"""What a plan costs: image passes, seconds, dollars and bytes, worked by hand from the table's
constants."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import Tiny, training

import zoo.estimate
import zoo.rates
from zoo import models
from zoo.data import Dataset
from zoo.devices import ACCELERATORS, ANSWERING, Accelerator
from zoo.errors import UnknownNameError, UsageError
from zoo.estimate import (
    Done,
    Estimate,
    assumed_dataset,
    estimate,
    training_images,
    training_seconds,
)
from zoo.machine import own_cpus
from zoo.spec import Precision, Recipe, Sweep, Training
from zoo.studies.load import load
from zoo.trainsets.treatments import op, parse

DEVICE = Accelerator("test", 2.0, 1e-3, "made up")


@pytest.fixture
def planned() -> Dataset:
    """1,000 + 200 colour pictures of 32 pixels, 10 classes."""
    return assumed_dataset("1000,200,10,32")


def test_image_passes(planned: Dataset) -> None:
    """Epochs x rows; a quarter of the rows for a quarter; steps x batch where the steps are
    fixed."""
    assert training_images(training(planned, epochs=3), planned) == 3000
    assert (
        training_images(
            training(planned, epochs=3, treatment=(op("subsample", fraction=0.25),)), planned
        )
        == 750
    )
    assert (
        training_images(training(planned, epochs=3, steps_per_epoch=5, batch_size=16), planned)
        == 240
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("delete_class:label=3", 900),  # 100 of each class
        ("delete_class:label=3+delete_class:label=4+take:count=10", 10),
        ("delete_fraction:fraction=0.99", 10),
        ("delete_fraction:fraction=1", 0),
        ("take:count=250+subsample:fraction=0.5+gaussian_noise:sigma=3", 125),
        ("label_noise:fraction=1,to=0", 1000),
        ("label_noise:fraction=1,to=0+delete_class:label=0", 0),
        ("manifest:id=aa", 1000),  # how large a selection is, only its workspace knows
    ],
)
def test_image_passes_are_those_of_the_rows_left(planned: Dataset, text: str, rows: int) -> None:
    """The treatment is applied, whatever it is."""
    assert training_images(training(planned, epochs=2, treatment=parse(text)), planned) == 2 * rows


def test_seconds_of_a_training(planned: Dataset) -> None:
    """Images x (fixed cost + 3 x multiply-adds / rate), and a forward pass of the 200 test pictures
    for each epoch that is evaluated: the last, the snapshots, those of a curve. ResNet-20 at 32
    pixels has 40.55 million."""
    passes, test = 1e-3 + 3 * 0.04055 / 2.0, 200 * (1e-3 + 0.04055 / 2.0)
    for evaluated, asked in ((1, {}), (2, {"snapshots": (1,)}), (3, {"eval_every": 2})):
        epochs = 5 if evaluated == 3 else 2
        job = training(planned, "resnet20", epochs=epochs, **asked)
        assert training_seconds(job, planned, DEVICE) == pytest.approx(
            epochs * 1000 * passes + evaluated * test
        )


def test_a_plan_by_hand(planned: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings of ResNet-20, two snapshots each, filled on both splits, on two devices at 3
    dollars an hour."""
    monkeypatch.setitem(ACCELERATORS, "test", DEVICE)
    jobs = [training(planned, "resnet20", epochs=2, seed=seed, snapshots=(1, 2)) for seed in (0, 1)]
    found = estimate(
        None, planned, jobs, ("train", "test"), accelerator="test", devices=2, price=3.0
    )
    assert (found.trainings, found.trainings_done, found.classifiers, found.classifiers_done) == (
        2,
        0,
        4,
        0,
    )
    assert (found.images, found.answers) == (4000, 4 * 1200)
    train, forward = 4000 * (1e-3 + 3 * 0.04055 / 2), (4800 + 4 * 200) * (1e-3 + 0.04055 / 2)
    # A session's start, two stages, and a fixed cost for each of two trainings on two devices.
    start = (
        zoo.estimate._START_SECONDS + 2 * zoo.estimate._STAGE_SECONDS + zoo.rates.TRAINING_SECONDS
    )
    assert found.seconds == pytest.approx((train + forward) * 1.3 / 2 + start)
    assert found.dollars == pytest.approx(found.seconds * 2 / 3600 * 3.0)
    assert found.checkpoint_bytes == 4 * 4 * models.model("resnet20").parameters
    answer = zoo.estimate._ANSWER_BYTES
    for keep, kept in (("all", 4800), ("val", 4 * 200), ("none", 0)):
        store = estimate(None, planned, jobs, ("train", "test"), keep_logits=keep).store_bytes  # type: ignore[arg-type]
        assert store == 4800 * answer + kept * (2 * 10 + 4)


def test_parts_of_an_experiment_start_once_and_draw_one_page(planned: Dataset) -> None:
    """Three parts, one of them done: two plans' seconds less one start, plus a page; in dollars of
    the same devices. All done: nothing, and no page."""
    parts = [
        estimate(None, planned, jobs, devices=2, price=3.0)
        for jobs in ([training(planned)], [], [training(planned, seed=1)])
    ]
    assert parts[1].seconds == 0
    alone = sum(part.seconds for part in parts)
    found = zoo.estimate.total(parts, page=True)
    once = zoo.estimate._START_SECONDS
    assert found.seconds == pytest.approx(alone - once + zoo.estimate.PAGE_SECONDS)
    assert found.dollars == pytest.approx(found.seconds * 2 / 3600 * 3.0)
    assert found.trainings == 2
    nothing = zoo.estimate.total([parts[1]] * 2, page=True)
    assert (nothing.seconds, nothing.dollars) == (0, 0)


def test_more_devices_take_less_time(planned: Dataset) -> None:
    """Four do in a quarter of the time what one does, but for the start, which all of them wait
    for."""
    jobs = [training(planned, "resnet20", epochs=2000)]
    one, four = (
        estimate(None, planned, jobs, accelerator="a100", devices=n, price=2.0) for n in (1, 4)
    )
    start = zoo.estimate._START_SECONDS + zoo.estimate._STAGE_SECONDS
    assert one.seconds - start == pytest.approx(4 * (four.seconds - start))
    assert four.dollars == pytest.approx(four.seconds * 4 / 3600 * 2.0)
    assert estimate(None, planned, jobs).devices == own_cpus()
    assert estimate(None, planned, jobs).dollars is None


def test_retrainings_cost_image_passes_but_no_answers(planned: Dataset) -> None:
    """Arms are counted in full: what they train on is not known before the scores are."""
    jobs = [training(planned)]
    plain = estimate(None, planned, jobs, ("train",))
    with_arms = estimate(
        None, planned, jobs, ("train",), retrainings=[training(planned, seed=s) for s in (1, 2)]
    )
    assert with_arms.retrainings == 2
    assert with_arms.images == 3 * plain.images
    assert with_arms.trainings == plain.trainings
    assert with_arms.seconds > plain.seconds


def test_what_is_done_is_not_trained_again(trained: Tiny) -> None:
    """All six done: no image passes. One seed more: those of one more. One snapshot more: its
    training is missing again."""
    space, dataset, jobs = trained.workspace, trained.dataset, list(trained.trainings)
    done = estimate(space, dataset, jobs, ("train", "test"))
    assert (
        done.trainings,
        done.trainings_done,
        done.classifiers,
        done.classifiers_done,
        done.images,
    ) == (6, 6, 12, 12, 0)
    more = estimate(space, dataset, [*jobs, jobs[0].replace(seed=1)], ())
    assert (more.trainings_done, more.classifiers, more.classifiers_done, more.images) == (
        6,
        14,
        12,
        training_images(jobs[0], dataset),
    )
    snapshot = estimate(space, dataset, [jobs[0].replace(snapshots=(1, 2, 3)), *jobs[1:]], ())
    assert (snapshot.trainings_done, snapshot.classifiers, snapshot.classifiers_done) == (5, 13, 12)


def test_a_plan_for_people(planned: Dataset) -> None:
    """Title, counts with commas, time, price and disk; it says that it is an estimate, and what its
    constants rest on."""
    text = estimate(
        None, planned, [training(planned)], ("test",), accelerator="a100", price=1.8
    ).text("mine", "pictures")
    assert text.splitlines()[0] == "mine on pictures (an estimate)"
    for part in (
        "1 planned, 0 done, 1 missing",
        "2,000 in training, 200 in the fill",
        "1 x a100",
        "RTX 3090",
        "about $",
        "checkpoints",
    ):
        assert part in text
    assert "--gpu-price" in estimate(None, planned, [training(planned)]).text("mine", "pictures")


def test_a_plan_as_json_has_every_field(planned: Dataset) -> None:
    found = estimate(None, planned, [training(planned)])
    assert set(found.as_json()) == set(Estimate.__dataclass_fields__)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_every_accelerator_names_its_source(name: str) -> None:
    assert ACCELERATORS[name].name == name
    assert len(ACCELERATORS[name].source) > 10


def test_an_unknown_accelerator_is_named(planned: Dataset) -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown accelerator 'a10'\. Did you mean 'a100'"):
        estimate(None, planned, [], accelerator="a10")


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1000,200,0,32", "1000,-2,10,32", "1e3,200,10,32"]
)
def test_an_assumed_data_set_is_four_whole_numbers(text: str) -> None:
    with pytest.raises(
        UsageError,
        match=(
            r"allowed are four whole numbers TRAIN,TEST,CLASSES,SIZE, such as"
            r" 1281167,50000,1000,400\.$"
        ),
    ):
        assumed_dataset(text)


def test_imagenet_can_be_planned_without_being_there() -> None:
    """1.28 million pictures, 1,000 classes, the ten architectures of study 2: numbers in the right
    order of magnitude."""
    dataset = assumed_dataset("1281167,50000,1000,224")
    sweep = Sweep(
        archs=("resnet50", "vgg16"), recipe=training(dataset, epochs=90, precision="bf16").recipe
    )
    jobs: tuple[Training, ...] = sweep.expand(dataset.ref)
    found = estimate(None, dataset, jobs, ("test",), accelerator="a100", devices=8)
    assert found.images == 2 * 90 * 1281167
    assert 5 < found.seconds / 3600 < 50
    with pytest.raises(UsageError, match="an assumed data set has no pictures"):
        dataset.splits["train"].source.encoded([0])  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("arch", "size", "rate"),
    [
        ("efficientnet_b0", 224, 1752),
        ("vgg16", 224, 546),
        ("resnet50", 224, 1218),
        ("inception_v3", 299, 782),
    ],
)
def test_large_networks_train_as_fast_as_was_published(arch: str, size: int, rate: float) -> None:
    """Images a second in timm's table for an RTX 3090; an A100 is 2.13 times as fast. At another
    size by its area."""
    dataset = assumed_dataset(f"1000,100,1000,{size}")

    def pace(side: int, gpu: str) -> float:
        """Images a second of training alone: two epochs less one."""
        one, two = (
            training_seconds(
                training(dataset, arch, epochs=n, input_size=side, precision="bf16"),
                dataset,
                ACCELERATORS[gpu],
            )
            for n in (1, 2)
        )
        return 1000 / (two - one)

    assert pace(size, "rtx3090") == pytest.approx(rate)
    assert pace(size, "a100") == pytest.approx(2.13 * rate)
    assert pace(2 * size, "rtx3090") == pytest.approx(rate / 4)


def test_answers_are_in_float32_which_tensor_cores_do_not_help(planned: Dataset) -> None:
    """EfficientNet-B0 waits for memory: 8,015 answers a second on an RTX 3090 as in the table,
    which is of half precision. ResNet-50 has 4.087 G multiply-adds: half of the card's 17,800 G a
    second in float32 are 2,178 a second, below the table's 3,676. Trained in float32, three times
    that."""
    seconds = {}
    for name, precision in (
        ("efficientnet_b0", "bf16"),
        ("resnet50", "bf16"),
        ("resnet50", "fp32"),
    ):
        job = training(planned, name, epochs=1, input_size=224, precision=precision)
        with_test = training_seconds(job, planned, ACCELERATORS["rtx3090"])
        passes = {"resnet50": 1218, "efficientnet_b0": 1752}[name]
        seconds[name, precision] = with_test - 1000 / passes
    assert 200 / seconds["efficientnet_b0", "bf16"] == pytest.approx(8015)
    assert 200 / seconds["resnet50", "bf16"] == pytest.approx(8900 / 4.0872)
    slower = 1000 * 3 * 4.0872 / 8900 - 1000 / 1218
    assert seconds["resnet50", "fp32"] == pytest.approx(seconds["resnet50", "bf16"] + slower)


def test_in_bf16_answers_are_as_fast_as_was_published() -> None:
    """ResNet-50 on an H100, which answers as an RTX 5090: 12,401 pictures a second, a third slower
    with what belongs to them; in float32 its peak decides, 4.1 GMAC at half of 33,500 a second. On
    a CPU nothing else is planned. ImageNet's studies ask for bf16, those on CIFAR-10 do not."""
    pictures = assumed_dataset("1000,10000,1000,500")
    job = Training(arch="resnet50", dataset=pictures.ref, recipe=Recipe(epochs=1))

    def fill(accelerator: str, precision: Precision) -> float:
        found = estimate(
            None,
            pictures,
            [job],
            ("test",),
            accelerator=accelerator,
            devices=1,
            precision=precision,
        )
        return found.stages["fill"] - zoo.estimate._STAGE_SECONDS

    assert fill("h100", "bf16") == pytest.approx(1.3 * 10_000 / 12_401)
    macs = models.model("resnet50").mega_macs / 1e3
    assert fill("h100", "fp32") == pytest.approx(1.3 * 10_000 * macs / 16_750)
    assert fill("cpu-core", "bf16") == fill("cpu-core", "fp32")
    for scale, expected in (("paper", "bf16"), ("laptop", "fp32")):
        parts = load("population", scale).each
        assert {part.fill_precision for part in parts} == {expected}


def test_a_fill_costs_a_forward_pass(planned: Dataset) -> None:
    """200 answers of one classifier beside its training and its evaluation."""
    job = training(planned, "efficientnet_b0", epochs=1, input_size=224, precision="bf16")
    without, found = (
        estimate(None, planned, [job], splits, accelerator="rtx3090", devices=1)
        for splits in ((), ("test",))
    )
    stage = zoo.estimate._STAGE_SECONDS
    assert found.seconds - without.seconds == pytest.approx(200 / 8015 * 1.3 + stage)


@pytest.mark.parametrize(
    ("arch", "rate"),
    [
        ("resnet50", 12_401),
        ("resnet101", 7_583),
        ("densenet121", 10_179),
        ("legacy_xception", 4_816),
        ("efficientnet_b0", 18_234),
    ],
)
def test_rates_of_2026_are_timms(arch: str, rate: int) -> None:
    """As in the table of an RTX 5090, for it and for an H100."""
    assert ANSWERING["rtx5090"][arch] == rate
    assert ACCELERATORS["h100"].answers == ("rtx5090", 1.0)


def test_a_plan_says_what_was_planned_for_what_is_done(trained: Tiny) -> None:
    """By stage: CPU seconds of its trainings and of their fill, beside the tables' for them, and
    which share of a core they had. What is not done adds nothing, and where nothing is there is no
    such line."""
    space, dataset, jobs = trained.workspace, trained.dataset, list(trained.trainings)
    new = [jobs[0].replace(seed=7)]
    found = estimate(space, dataset, [*jobs[1:], *new], retrainings=jobs[:1], devices=1)
    facts = [c.facts for c in space.commits.some("training", {job.id for job in jobs}).values()]
    training, retraining = found.done["training"], found.done["retraining"]
    cpu, clock = (sum(f[name] for f in facts) for name in ("cpu_seconds", "train_seconds"))
    assert training.cpu + retraining.cpu == pytest.approx(cpu)
    assert training.clock + retraining.clock == pytest.approx(clock)
    assert training.clock_only == 0
    by_tables = estimate(None, dataset, jobs, devices=1).stages
    stage = zoo.estimate._STAGE_SECONDS
    assert training.planned + retraining.planned == pytest.approx(by_tables["training"] - stage)
    filled = [c.facts for c in space.commits.all("answers").values()]
    fill = found.done["fill"]
    assert fill.cpu == pytest.approx(sum(f["cpu_seconds"] for f in filled))
    whole = estimate(None, dataset, jobs, ("train", "test"), devices=1).stages["fill"]
    assert fill.planned == pytest.approx(whole - stage)
    said = found.text("mine", "pictures")
    assert f"{100 * (fill.planned / fill.cpu - 1):+.0f} %" in said
    assert f"it had {training.cpu / training.clock:.0%} of a core" in said
    assert "wall's clock" not in said
    share = zoo.estimate.busy({"training": training, "retraining": retraining})
    assert share == pytest.approx(cpu / clock)
    both = zoo.estimate.total([found, found])
    assert both.done["fill"] == fill.plus(fill)
    alone = estimate(space, dataset, new, devices=1)
    assert alone.done == {}
    assert "so far" not in alone.text("mine", "pictures")
    assert zoo.estimate.busy({}) is None


def test_records_without_cpu_seconds_are_compared_by_themselves() -> None:
    """4 s of the CPU in 8 were planned as 3; others took 10 s by the clock alone, planned as 4."""
    done = Done(planned=3, cpu=4, clock=8).plus(Done(clock_planned=4, clock_only=10))
    said = done.text("training")
    for part in (
        "training took 4s of one device, planned 3s, -25 %; it had 50% of a core (8s)",
        "other parts took 10s by the wall's clock",
        "planned 4s, -60 %",
    ):
        assert part in said
    alone = Done(clock_planned=4, clock_only=10).text("fill")
    assert alone.startswith("fill took 10s by the wall's clock")
    assert "of one device" not in alone


@pytest.mark.parametrize(
    ("device", "name", "is_it"),
    [
        ("", "cpu-core", True),
        ("NVIDIA H100 80GB HBM3", "h100", True),
        ("NVIDIA GeForce RTX 3090", "rtx3090", True),
        ("NVIDIA H100 80GB HBM3", "a100", False),
        ("NVIDIA H100 80GB HBM3", "cpu-core", False),
        ("", "h100", False),
    ],
)
def test_a_pace_is_of_the_device_it_was_measured_on(device: str, name: str, is_it: bool) -> None:
    assert zoo.rates.is_of(device, ACCELERATORS[name]) is is_it


def test_where_all_is_done_there_is_nothing_to_plan_for(trained: Tiny) -> None:
    """Trainings, answers and retrainings of a finished workspace: no time, no passes, and the plan
    says so."""
    space, dataset, jobs = trained.workspace, trained.dataset, list(trained.trainings)
    found = estimate(space, dataset, jobs, ("train", "test"), retrainings=jobs, price=1.0)
    assert (found.images, found.answers, found.seconds, found.dollars) == (0, 0, 0, 0)
    assert (found.retrainings, found.retrainings_done) == (6, 6)
    text = found.text("mine", "pictures")
    assert "6 on selections that the scores make, 6 done" in text
    assert "nothing is left to do" in text
    # Twin: an arm on a selection that is not made yet is work, whatever else is done.
    more = estimate(space, dataset, jobs, ("train", "test"), retrainings=jobs, to_come=[jobs[0]])
    assert (more.retrainings, more.retrainings_done, more.images) == (
        7,
        6,
        training_images(jobs[0], dataset),
    )
    assert more.seconds > zoo.estimate._START_SECONDS


def test_a_plan_knows_which_arms_are_retrained(trained: Tiny, tmp_path: Path) -> None:
    """Baseline alone has a manifest to train on; the arm whose selection is not there counts in
    full, as on the whole set."""
    from zoo.recipes import RECIPES
    from zoo.spec import Arm, ArmGroup
    from zoo.studies.arms import retrainings_to_plan

    arms = (Arm(name="baseline", selection=None), Arm(name="cleaned", selection="cleaned"))
    group = ArmGroup(
        name="g",
        arms=arms,
        retraining=Sweep(archs=("softmax",), recipe=RECIPES["adam"], seeds=(0, 1)),
    )
    for space in (trained.workspace, None):
        known, to_come = retrainings_to_plan(space, [group], trained.dataset)
        assert [job.seed for job in known] == [0, 1]
        assert [job.seed for job in to_come] == [0, 1]
    # Another group shares the baseline and an arm, and has one of its own with a third seed.
    other = group.replace(
        name="h",
        arms=(*arms, Arm(name="easy", selection="easy")),
        retraining=group.retraining.replace(seeds=(0, 2)),
    )
    known, to_come = retrainings_to_plan(trained.workspace, [group, other], trained.dataset)
    assert [job.seed for job in known] == [0, 1, 2]
    assert sorted(job.seed for job in to_come) == [0, 0, 1, 2, 2]


def test_a_plan_counts_answers_to_other_data_sets(trained: Tiny) -> None:
    """12 classifiers x 30 pictures of the other set's test split, its training split not; none
    where the workspace has them."""
    jobs, dataset = list(trained.trainings), trained.dataset
    plain = estimate(None, dataset, jobs, ("train",))
    more = estimate(None, dataset, jobs, ("train",), probes=[dataset])
    assert more.answers - plain.answers == 12 * 30
    assert more.seconds > plain.seconds
    assert more.store_bytes > plain.store_bytes
    done = estimate(trained.workspace, dataset, jobs, ("train",), probes=[dataset])
    assert (done.answers, done.seconds) == (0, 0.0)


def test_features_are_made_once_for_all_heads_of_a_plan(
    planned: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 + 200 pictures through a network of 4.089 billion multiply-adds, however many heads;
    beside them heads cost what they cost alone. Twin: what is done needs none."""
    monkeypatch.setitem(ACCELERATORS, "test", DEVICE)
    assert models.model("resnet50").mega_macs == pytest.approx(4089, rel=0.02)
    once = 1200 * (1e-3 + models.model("resnet50").mega_macs / 1e3 / 2.0)
    assert zoo.estimate.feature_seconds("resnet50.a1_in1k", 1200, DEVICE) == pytest.approx(once)
    heads = Sweep(archs=("head_softmax", "head_mlp"), features="resnet50-0123456789abcdef")
    jobs = heads.expand(planned.ref)
    whole, one = (
        estimate(None, planned, some, ("train", "test"), accelerator="test", devices=1)
        for some in (jobs, jobs[:1])
    )
    alone = [
        training_seconds(job, planned, DEVICE) * 1.3
        + zoo.rates.TRAINING_SECONDS
        + 1200 * zoo.rates.image_seconds(job, 1, DEVICE, trains=False) * 1.3
        for job in jobs
    ]
    assert whole.seconds - one.seconds == pytest.approx(alone[1])
    start = zoo.estimate._START_SECONDS + 2 * zoo.estimate._STAGE_SECONDS
    assert one.seconds == pytest.approx(once + alone[0] + start)
    nothing = estimate(None, planned, [], ("train",), accelerator="test", devices=1)
    assert nothing.seconds == 0
