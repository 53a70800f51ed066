"""Treatments of the training set: answers by hand, laws, and outside references."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.exposure import adjust_gamma
from skimage.util import random_noise

from zoo import keyed
from zoo.errors import UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.spec import Op
from zoo.trainsets import treatments
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.steps import Treatment, step_help
from zoo.trainsets.treatments import (
    TREATMENTS,
    apply_images,
    apply_rows,
    each_epoch,
    op,
    parse,
    resolve,
)

# time limits fail on a busy machine, not on a wrong result
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

EXAMPLES: dict[str, dict[str, bool | int | float | str]] = {
    "subsample": {"fraction": 0.4, "replica": 1, "stratified": True},
    "take": {"count": 3},
    "fold": {"index": 1, "of": 3},
    "delete_fraction": {"fraction": 0.4, "replica": 1, "stratified": True},
    "label_noise": {"fraction": 0.3},
    "delete_class": {"label": 2},
    "relabel": {"label": 2, "to": 0},
    "manifest": {"id": "00000000000000e1"},
    "gaussian_noise": {"sigma": 8},
    "salt_pepper": {"share": 0.2, "channels": "independent"},
    "gamma": {"gamma": 0.5},
    "contrast": {"factor": 2},
    "gaussian_noise_each_epoch": {"sigma": 8, "channels": "independent"},
    "salt_pepper_each_epoch": {"share": 0.2},
}
"""One use of every treatment; the laws below run over all of them, with its defaults where nothing
is listed here."""

ON_ROWS = [
    name
    for name, treatment in TREATMENTS.items()
    if treatment.on_rows and not treatment.needs_manifests
]
FEWEST = {"take": 3, "fold": 3}
"""Rows that the example above needs, where any number from none on will not do."""

ON_IMAGES = [name for name, treatment in TREATMENTS.items() if treatment.on_images]


def rows_of(labels: list[int], num_classes: int = 10, first_id: int = 0) -> Rows:
    ids = np.arange(first_id, first_id + len(labels), dtype=np.int64)
    return Rows(
        ids, np.array(labels, dtype=np.int64), np.ones(len(labels), dtype=np.float32), num_classes
    )


def no_manifests(manifest_id: str) -> Manifest:
    raise AssertionError(f"asked for manifest {manifest_id}")


def treated(text: str, rows: Rows) -> Rows:
    return apply_rows(parse(text), rows, manifests=no_manifests)


def images_of(seed: int, count: int = 6, side: int = 5, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(
        0, 256, (count, side, side, channels), dtype=np.uint8
    )


def as_table(rows: Rows) -> list[tuple[int, int, float]]:
    return list(
        zip(rows.example_ids.tolist(), rows.labels.tolist(), rows.weights.tolist(), strict=True)
    )


def test_every_treatment_can_be_used_with_what_is_listed_here() -> None:
    """An example for each that has no default; a new line in the table falls under the laws with or
    without one."""
    assert set(EXAMPLES) <= set(TREATMENTS)
    assert [op(name, **EXAMPLES.get(name, {})).name for name in TREATMENTS] == list(TREATMENTS)


@pytest.mark.parametrize("treatment", TREATMENTS.values(), ids=TREATMENTS)
def test_every_treatment_explains_itself(treatment: Treatment) -> None:
    """A summary, exactly one function, and a usage text that names all its parameters."""
    assert len(treatment.summary) > 20
    assert (treatment.on_rows is None) != (treatment.on_images is None)
    assert all(f"{name}=" in treatment.usage for name in treatment.parameters)


def test_usage_text() -> None:
    assert TREATMENTS["subsample"].usage == "subsample:fraction=...,replica=0,stratified=false"


@pytest.mark.parametrize("treatment", TREATMENTS.values(), ids=TREATMENTS)
def test_every_treatment_is_described_in_words_and_for_programs(treatment: Treatment) -> None:
    """The help has the usage, the summary, and a line a parameter that says what is allowed; the
    same facts are there as JSON."""
    short, whole = (step_help(treatment, whole=whole) for whole in (False, True))
    lines = short.splitlines()
    assert lines[0] == treatment.usage
    assert " ".join(treatment.summary.replace("``", "").split()) in " ".join(short.split())
    assert [line.split()[0] for line in lines[len(lines) - len(treatment.parameters) :]] == list(
        treatment.parameters
    )
    assert " ".join(treatment.about.replace("``", "").split()) in " ".join(whole.split())
    facts = treatment.as_json()
    assert (facts["name"], facts["acts_on"]) == (
        treatment.name,
        "rows" if treatment.on_rows else "images",
    )
    assert [parameter["name"] for parameter in facts["parameters"]] == list(treatment.parameters)


def test_help_by_hand() -> None:
    assert step_help(TREATMENTS["label_noise"], whole=False).splitlines() == [
        "label_noise:fraction=...,to=random,seed=0",
        "  Wrong labels: exactly round(fraction * n) rows get another label, or the label to.",
        "  fraction  a number from 0 to 1; required",
        (
            "  to        a whole number from 0 or a class name or 'random' or 'confusion'; default"
            " random"
        ),
        "  seed      a whole number from 0; default 0",
    ]


# ----------------------------------------------------------------------------- steps and their text


def test_op_fills_in_defaults_and_types() -> None:
    """1 and 1.0 are the same fraction, so both are the same training."""
    assert op("subsample", fraction=1) == Op(
        name="subsample", params={"fraction": 1.0, "replica": 0, "stratified": False}
    )
    assert type(op("subsample", fraction=1).params["fraction"]) is float


def test_parse_reads_steps_joined_by_plus() -> None:
    assert parse("subsample:fraction=0.25,replica=1 + label_noise:fraction=0.2") == (
        op("subsample", fraction=0.25, replica=1),
        op("label_noise", fraction=0.2, to="random", seed=0),
    )


@pytest.mark.parametrize("text", ["", "none", "  "])
def test_no_treatment(text: str) -> None:
    assert parse(text) == ()


def test_exponents_are_not_steps() -> None:
    """1e+1 is ten, not two steps."""
    assert parse("gaussian_noise:sigma=1e+1+gamma:gamma=2") == (
        op("gaussian_noise", sigma=10),
        op("gamma", gamma=2),
    )


@pytest.mark.parametrize(
    "manifest_id", ["0000000000000012", "1234567890123456", "12e4567890123456", "00000000deadbeef"]
)
def test_an_id_is_text_even_if_it_looks_like_a_number(manifest_id: str) -> None:
    assert parse(f"manifest:id={manifest_id}") == (op("manifest", id=manifest_id),)


@given(
    fraction=st.floats(0, 1, allow_nan=False),
    replica=st.integers(0, 10**6),
    stratified=st.booleans(),
    to=st.one_of(st.just("random"), st.integers(0, 999)),
    sigma=st.floats(0, 1e30),
)
def test_text_and_steps_are_inverse(
    fraction: float, replica: int, stratified: bool, to: str | int, sigma: float
) -> None:
    """A chain written as text and read again is the same chain."""
    chain = (
        op("subsample", fraction=fraction, replica=replica, stratified=stratified),
        op("label_noise", fraction=fraction, to=to),
        op("gaussian_noise", sigma=sigma),
    )
    assert parse("+".join(step.text for step in chain)) == chain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "subsample:fraction=1.5",
            "subsample: fraction = 1.5 is not possible. Allowed: a number from 0 to 1. ",
        ),
        (
            "subsample:fraction=-0.1",
            "subsample: fraction = -0.1 is not possible. Allowed: a number from 0 to 1. ",
        ),
        (
            "subsample:fraction=half",
            "subsample: fraction = 'half' is not possible. Allowed: a number from 0 to 1. ",
        ),
        ("subsample:fraction=true", "subsample: fraction = True is not possible. "),
        ("subsample:fraction=nan", "subsample: fraction = nan is not possible. "),
        (
            "subsample:fraction=0.5,replica=0.5",
            "subsample: replica = 0.5 is not possible. Allowed: a whole number from 0. ",
        ),
        (
            "subsample:fraction=0.5,stratified=1",
            "subsample: stratified = 1 is not possible. Allowed: true or false. ",
        ),
        (
            "label_noise:fraction=0.5,to=-1",
            (
                "label_noise: to = -1 is not possible. Allowed: a whole number from 0 or a class"
                " name or 'random' or 'confusion'. "
            ),
        ),
        (
            "label_noise:fraction=1.01",
            "label_noise: fraction = 1.01 is not possible. Allowed: a number from 0 to 1. ",
        ),
        (
            "delete_fraction:fraction=-0.01",
            "delete_fraction: fraction = -0.01 is not possible. Allowed: a number from 0 to 1. ",
        ),
        (
            "delete_fraction:fraction=10 %",
            "delete_fraction: fraction = '10 %' is not possible. Allowed: a number from 0 to 1. ",
        ),
        (
            "take:count=0",
            (
                "take: count = 0 is not possible. Allowed: a whole number from 1. Write it as"
                " take:count=VALUE."
            ),
        ),
        ("take:count=0.5", "take: count = 0.5 is not possible. Allowed: a whole number from 1. "),
        (
            "contrast:factor=-inf",
            "contrast: factor = -inf is not possible. Allowed: a number from 0 or 'inf'. ",
        ),
        (
            "contrast:factor=inf,overflow=wrap",
            "contrast: factor = inf has no value that could wrap around. ",
        ),
        (
            "gaussian_noise:sigma=2,channels=red",
            (
                "unknown value of gaussian_noise:channels 'red'. Did you mean 'shared'? Known:"
                " independent, shared. Write it as"
            ),
        ),
        (
            "salt_pepper:share=0.6",
            "salt_pepper: share = 0.6 is not possible. Allowed: a number from 0 to 0.5. ",
        ),
        ("gamma:gamma=inf", "gamma: gamma = inf is not possible. "),
        (
            "delete_class:label=-1",
            (
                "delete_class: label = -1 is not possible. Allowed: a whole number from 0 or a"
                " class name. "
            ),
        ),
        ("delete_class:label=true", "delete_class: label = True is not possible. "),
        ("delete_class:label=", "delete_class: label = '' is not possible. "),
        (
            "gaussian_noise_each_epoch:sigma=1,epoch=2",
            "unknown parameter of gaussian_noise_each_epoch 'epoch'",
        ),
        (
            "delete_class",
            (
                "parameter label is missing; given: none. Allowed: a whole number from 0 or a class"
                " name. Write it as delete_class:label=..."
            ),
        ),
        (
            "relabel:label=3,to=3",
            (
                "relabel: label = 3 onto to = 3 changes nothing. The two classes must differ."
                " Choose another class"
            ),
        ),
        ("subsample:fraction", "parameter 'fraction' has no value"),
    ],
)
def test_wrong_parameters_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_unknown_names_list_the_near_ones() -> None:
    with pytest.raises(
        UnknownNameError, match=r"^unknown treatment 'subsampel'\. Did you mean 'subsample'\?"
    ):
        parse("subsampel:fraction=0.5")
    with pytest.raises(
        UnknownNameError,
        match=(
            r"^unknown parameter of subsample 'fractoin'\. Did you mean 'fraction'\?.*Write it as"
            r" subsample:fraction="
        ),
    ):
        parse("subsample:fractoin=0.5")
    with pytest.raises(UnknownNameError, match=r"^unknown treatment ''\."):
        parse("subsample:fraction=0.5+")


# ------------------------------------------------------------------------------------ rows, by hand


def test_delete_class_by_hand() -> None:
    assert as_table(treated("delete_class:label=1", rows_of([0, 1, 2, 1]))) == [
        (0, 0, 1.0),
        (2, 2, 1.0),
    ]


def test_delete_class_keeps_the_number_of_outputs() -> None:
    assert treated("delete_class:label=1", rows_of([0, 1], num_classes=2)).num_classes == 2


def test_deleting_the_only_class_leaves_an_empty_training_set() -> None:
    assert len(treated("delete_class:label=1", rows_of([1, 1]))) == 0
    assert len(treated("subsample:fraction=0", rows_of([1, 1]))) == 0
    assert (
        len(
            treated(
                "delete_class:label=1+label_noise:fraction=1+subsample:fraction=0.5,stratified=true",
                rows_of([1, 1]),
            )
        )
        == 0
    )


def test_relabel_by_hand() -> None:
    assert treated("relabel:label=1,to=2", rows_of([0, 1, 2, 1])).labels.tolist() == [0, 2, 2, 2]


def test_steps_act_in_order() -> None:
    """Relabel 1 -> 2, then delete 2: nothing of 1 or 2 is left. The other way round the relabelled
    rows stay."""
    labels = [0, 1, 2, 1]
    assert treated(
        "relabel:label=1,to=2+delete_class:label=2", rows_of(labels)
    ).labels.tolist() == [0]
    assert treated(
        "delete_class:label=2+relabel:label=1,to=2", rows_of(labels)
    ).labels.tolist() == [0, 2, 2]


def test_image_steps_leave_the_rows_alone() -> None:
    rows = rows_of([0, 1])
    assert treated("gamma:gamma=2", rows) is rows


def test_noise_to_one_class_by_hand() -> None:
    """All labels become 0 at fraction 1; exactly half of eight 5s at fraction 0.5."""
    assert treated("label_noise:fraction=1,to=0", rows_of([3, 0, 7])).labels.tolist() == [0, 0, 0]
    assert Counter(treated("label_noise:fraction=0.5,to=0", rows_of([5] * 8)).labels.tolist()) == {
        0: 4,
        5: 4,
    }


def test_noise_of_two_classes_is_a_swap() -> None:
    """With two classes the only wrong label is the other one."""
    assert treated("label_noise:fraction=1", rows_of([0, 1, 1], num_classes=2)).labels.tolist() == [
        1,
        0,
        0,
    ]


def test_random_wrong_labels_are_uniform() -> None:
    """90,000 fully noised 4s over 9 wrong classes: each about 10,000 (within 5 standard deviations,
    94 each), never 4."""
    counts = np.bincount(
        treated("label_noise:fraction=1", rows_of([4] * 90_000)).labels, minlength=10
    )
    assert counts[4] == 0
    assert np.abs(np.delete(counts, 4) - 10_000).max() < 5 * 94.3


def test_more_noise_contains_less() -> None:
    """The rows wrong at 10 % are wrong in the same way at 20 %: a curve over fractions is not
    blurred by new draws."""
    rows = rows_of([label % 10 for label in range(500)])
    little, more = (treated(f"label_noise:fraction={f}", rows).labels for f in (0.1, 0.2))
    wrong = little != rows.labels
    assert wrong.sum() == 50
    assert (more[wrong] == little[wrong]).all()


def test_noise_seeds_and_replicas_differ() -> None:
    rows = rows_of([label % 10 for label in range(200)])
    assert not np.array_equal(
        treated("label_noise:fraction=0.5,seed=0", rows).labels,
        treated("label_noise:fraction=0.5,seed=1", rows).labels,
    )
    first, second = (
        set(treated(f"subsample:fraction=0.5,replica={r}", rows).example_ids.tolist())
        for r in (0, 1)
    )
    # independent halves share a quarter of 200, standard deviation about 3.5
    assert 30 < len(first & second) < 70


def test_stratified_counts_by_hand() -> None:
    """Half of 5, 3 and 2: quotas 2.5, 1.5, 1; the total stays 5, so one remainder of .5 is rounded
    up: that of the lower class."""
    kept = treated(
        "subsample:fraction=0.5,stratified=true",
        rows_of([0] * 5 + [1] * 3 + [2] * 2, num_classes=3),
    )
    assert np.bincount(kept.labels).tolist() == [3, 1, 1]


def test_stratified_shares_are_not_spoiled_by_floating_point() -> None:
    """0.29 * 100 is 28.999999999999996 in floating point and still 29 of each class."""
    kept = treated("subsample:fraction=0.29,stratified=true", rows_of([0] * 100 + [1] * 100))
    assert np.bincount(kept.labels).tolist() == [29, 29]


def ids_of(text: str, rows: Rows) -> set[int]:
    return set(treated(text, rows).example_ids.tolist())


def test_take_by_hand() -> None:
    """7 of 20 are 7; all 20 are all, in their order; 21 are refused, also where an earlier step has
    left fewer."""
    rows = rows_of([label % 4 for label in range(20)])
    assert len(treated("take:count=7", rows)) == 7
    assert as_table(treated("take:count=20", rows)) == as_table(rows)
    for text, left in (("take:count=21", 20), ("delete_fraction:fraction=0.5+take:count=11", 10)):
        with pytest.raises(
            UsageError,
            match=(
                rf"^take: count = \d+ of {left} examples\. Allowed: 1 to {left}\. Write it as"
                r" take:count=N\.$"
            ),
        ):
            treated(text, rows)


def test_a_smaller_part_lies_within_a_larger_one() -> None:
    """Every size from 1 to 60 contains the one before; another replica is another draw (of 30 of
    60, about 15 in common)."""
    rows = rows_of([label % 10 for label in range(60)])
    parts = [ids_of(f"take:count={count}", rows) for count in range(1, 61)]
    assert [len(part) for part in parts] == list(range(1, 61))
    assert all(small < large for small, large in itertools.pairwise(parts))
    assert 7 < len(parts[29] & ids_of("take:count=30,replica=1", rows)) < 23


@pytest.mark.parametrize(
    ("n", "fraction", "left"),
    [
        (10_000, 0.1, 9_000),
        (10_000, 0.99, 100),
        (60, 0.01, 59),  # round(0.6) = 1
        (60, 0.008, 60),  # round(0.48) = 0
        (5, 0.5, 3),  # round(2.5) = 2: halves go to the even number
        (7, 0.5, 3),  # round(3.5) = 4
        (100, 0.29, 71),  # 0.29 * 100 is 28.999999999999996
        (7, 0, 7),
        (7, 1, 0),
        (0, 0.5, 0),
    ],
)
@pytest.mark.parametrize("stratified", ["false", "true"])
def test_deleted_counts_by_hand(n: int, fraction: float, left: int, stratified: str) -> None:
    rows = rows_of([label % 10 for label in range(n)])
    assert (
        len(treated(f"delete_fraction:fraction={fraction},stratified={stratified}", rows)) == left
    )


def test_what_is_deleted_stays_deleted_at_a_higher_fraction() -> None:
    """The 28 fractions of study 1 (1 to 20 %, 30 to 100 %) on 200 examples: each part lies within
    the one before; at the end there is nothing."""
    rows = rows_of([label % 10 for label in range(200)])
    percents = [*range(1, 21), *range(30, 101, 10)]
    parts = [ids_of(f"delete_fraction:fraction={percent / 100}", rows) for percent in percents]
    assert [len(part) for part in parts] == [200 - 2 * percent for percent in percents]
    assert all(large > small for large, small in itertools.pairwise(parts))
    assert parts[-1] == set()
    assert ids_of("delete_fraction:fraction=0.5,replica=1", rows) != ids_of(
        "delete_fraction:fraction=0.5", rows
    )


def test_stratified_deletion_by_hand() -> None:
    """Half of 5, 3 and 2 deleted: 3, 1 and 1 (the remainder of .5 goes to the lower class), so 2, 2
    and 1 are left."""
    rows = rows_of([0] * 5 + [1] * 3 + [2] * 2, num_classes=3)
    assert np.bincount(
        treated("delete_fraction:fraction=0.5,stratified=true", rows).labels
    ).tolist() == [2, 2, 1]


def test_stratified_parts_of_equal_classes_are_nested() -> None:
    """Ten classes of 6: every size contains the one before, and no two classes differ by more than
    one example."""
    rows = rows_of([label % 10 for label in range(60)])
    parts = [treated(f"take:count={count},stratified=true", rows) for count in range(1, 61)]
    for part in parts:
        counts = np.bincount(part.labels, minlength=10)
        assert counts.max() - counts.min() <= 1
    sets = [set(part.example_ids.tolist()) for part in parts]
    assert all(small < large for small, large in itertools.pairwise(sets))


def test_stratified_parts_of_unequal_classes_follow_the_largest_remainder() -> None:
    """6, 6 and 2 examples. 10 of 14: shares 4.29, 4.29, 1.43, so 4, 4, 2. 11 of 14: 4.71, 4.71,
    1.57, so 5, 5, 1: the quota of the smallest class falls as the whole grows (the Alabama
        paradox), and one example of the smaller part is not in the larger."""
    rows = rows_of([0] * 6 + [1] * 6 + [2] * 2, num_classes=3)
    ten, eleven = (treated(f"take:count={count},stratified=true", rows) for count in (10, 11))
    assert np.bincount(ten.labels).tolist() == [4, 4, 2]
    assert np.bincount(eleven.labels).tolist() == [5, 5, 1]
    assert len(set(ten.example_ids.tolist()) - set(eleven.example_ids.tolist())) == 1


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("delete_class:label=10", "label"),
        ("relabel:label=10,to=1", "label"),
        ("relabel:label=1,to=10", "to"),
        ("label_noise:fraction=1,to=10", "to"),
    ],
)
def test_a_class_the_data_set_does_not_have(text: str, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        treated(text, rows_of([0, 1]))
    treatment = text.partition(":")[0]
    assert (
        str(caught.value)
        == f"{treatment}: {name} = 10 is no class of this data set. Allowed: 0 to 9. Write it as"
        f" {treatment}:{name}=CLASS."
    )


def test_one_class_has_no_wrong_label() -> None:
    with pytest.raises(UsageError, match="no wrong label exists among 1 class"):
        treated("label_noise:fraction=1", rows_of([0, 0], num_classes=1))


# ---------------------------------------------------------------------------------- classes by name

ANIMALS = ("ant", "bee", "cat", "random", "4")


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("delete_class:label=bee", "delete_class:label=1"),
        ("relabel:label=cat,to=ant", "relabel:label=2,to=0"),
        ("relabel:label=cat,to=1", "relabel:label=2,to=1"),
        ("label_noise:fraction=0.5,to=bee", "label_noise:fraction=0.5,to=1"),
        # the word comes before a class of that name
        ("label_noise:fraction=0.5,to=random", "label_noise:fraction=0.5,to=random"),
        ("delete_class:label=random", "delete_class:label=3"),
        # a number is an index, also where a class is called so
        ("delete_class:label=4", "delete_class:label=4"),
        ("gamma:gamma=2+delete_class:label=bee", "gamma:gamma=2+delete_class:label=1"),
        ("none", "none"),
    ],
)
def test_classes_may_be_named(text: str, resolved: str) -> None:
    """A name and its index are the same step, and with it the same training."""
    assert resolve(parse(text), ANIMALS) == parse(resolved)
    assert resolve(parse(resolved), ANIMALS) == parse(resolved)


def test_a_class_that_does_not_exist_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError,
        match=(
            r"^unknown class of delete_class 'bea'\. Did you mean 'bee'\? Known: 4, ant, bee, cat,"
            r" random\.$"
        ),
    ):
        resolve(parse("delete_class:label=bea"), ANIMALS)
    with pytest.raises(
        UnknownNameError, match=r"^unknown class of label_noise 'Cat'\. Did you mean 'cat'"
    ):
        resolve(parse("label_noise:fraction=1,to=Cat"), ANIMALS)
    with pytest.raises(
        UsageError, match=r"^relabel: to = 5 is no class of this data set\. Allowed: 0 to 4\."
    ):
        resolve(parse("relabel:label=bee,to=5"), ANIMALS)


def test_what_names_hide_is_found_when_they_are_known() -> None:
    """bee is class 1: relabelling it onto 1 changes nothing, and it cannot be deleted twice."""
    with pytest.raises(UsageError, match=r"^relabel: label = 1 onto to = 1 changes nothing\."):
        resolve(parse("relabel:label=bee,to=1"), ANIMALS)
    with pytest.raises(
        UsageError,
        match=r"^delete_class:label=1: after delete_class:label=1 no example of class 1 is left\.",
    ):
        resolve(parse("delete_class:label=bee+delete_class:label=1"), ANIMALS)


def test_a_name_that_nobody_looked_up_is_no_class() -> None:
    """Rows know no names: a step has to be resolved first."""
    with pytest.raises(
        UsageError,
        match=r"^delete_class: label = bee is no class of this data set\. Allowed: 0 to 9\.",
    ):
        treated("delete_class:label=bee", rows_of([0, 1]))
    with pytest.raises(
        UsageError, match=r"^label_noise: to = bee is no class of this data set\. Allowed: 0 to 9\."
    ):
        # and not noise to random classes
        treated("label_noise:fraction=0.5,to=bee", rows_of([0, 1]))


# -------------------------------------------------------------- steps that cannot follow each other


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "delete_class:label=3+delete_class:label=3",
            "delete_class:label=3: after delete_class:label=3 no example of class 3 is left. ",
        ),
        (
            "delete_class:label=3+relabel:label=3,to=1",
            "relabel:label=3,to=1: after delete_class:label=3 no example of class 3 is left. ",
        ),
        (
            "relabel:label=3,to=1+delete_class:label=3",
            "delete_class:label=3: after relabel:label=3,to=1 no example of class 3 is left. ",
        ),
        (
            "relabel:label=3,to=1+gamma:gamma=2+relabel:label=3,to=2",
            "relabel:label=3,to=2: after relabel:label=3,to=1 no example",
        ),
        (
            "label_noise:fraction=0.1+label_noise:fraction=0.2",
            (
                "label_noise:fraction=0.2,seed=0,to=random: an earlier label_noise has seed 0 too"
                " and would draw the same again. Steps of one"
            ),
        ),
        (
            "gaussian_noise:sigma=3,seed=7+gamma:gamma=2+gaussian_noise:sigma=3,seed=7",
            "an earlier gaussian_noise has seed 7 too",
        ),
        (
            "salt_pepper_each_epoch:share=0.1+salt_pepper_each_epoch:share=0.1",
            "an earlier salt_pepper_each_epoch has seed 0 too",
        ),
        (
            "delete_class:label=3+manifest:id=aa",
            "manifest:id=aa comes after 1 other step(s) on rows",
        ),
        (
            "take:count=3+label_noise:fraction=1+manifest:id=aa",
            "manifest:id=aa comes after 2 other step(s) on rows",
        ),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    """By what is written, before any data are seen, and again where the steps are applied."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)
    steps = [step for part in text.split("+") for step in parse(part)]
    with pytest.raises(UsageError) as caught:
        apply_rows(steps, rows_of([3, 1]), manifests=no_manifests)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "delete_class:label=3+delete_class:label=4",
        # there are examples of class 3 again
        "delete_class:label=3+relabel:label=1,to=3+delete_class:label=3",
        "relabel:label=3,to=1+relabel:label=1,to=3",
        # wrong labels may fill a class again
        "delete_class:label=3+label_noise:fraction=0.5+delete_class:label=3",
        "label_noise:fraction=0.1+label_noise:fraction=0.2,seed=1",
        "gaussian_noise:sigma=3+gaussian_noise_each_epoch:sigma=3+salt_pepper:share=0.1",
        "subsample:fraction=0.5+subsample:fraction=0.5,replica=1+take:count=1+delete_fraction:fraction=0.1+delete_fraction:fraction=0.1",
        "manifest:id=aa+take:count=3",
    ],
)
def test_an_order_that_makes_sense_is_not(text: str) -> None:
    """Twin: steps like those above that can follow each other."""
    assert "+".join(step.name for step in parse(text)) == "+".join(
        part.partition(":")[0] for part in text.split("+")
    )


def test_a_class_emptied_and_filled_again_by_hand() -> None:
    """3 deleted, 1 renamed to 3, 3 deleted: only the others are left. With noise between, what it
    moved to 3 goes too."""
    rows = rows_of([0, 1, 3, 1, 2])
    assert as_table(
        treated("delete_class:label=3+relabel:label=1,to=3+delete_class:label=3", rows)
    ) == [(0, 0, 1.0), (4, 2, 1.0)]
    assert (
        len(treated("delete_class:label=3+label_noise:fraction=1,to=3+delete_class:label=3", rows))
        == 0
    )


def test_exact_wrong_labels_of_a_class() -> None:
    """to=0: of the chosen rows those of other classes become wrong. On 6 zeros and 4 ones all
    chosen ones are, and only those."""
    rows = rows_of([0] * 6 + [1] * 4)
    for fraction in (0.1, 0.3, 0.5, 1.0):
        chosen = keyed.choose("label_noise/0", rows.example_ids, round(10 * fraction))
        wrong = treated(f"label_noise:fraction={fraction},to=0", rows).labels != rows.labels
        assert np.flatnonzero(wrong).tolist() == [
            position for position in chosen.tolist() if position >= 6
        ]
    assert (treated("label_noise:fraction=1,to=0", rows).labels != rows.labels).sum() == 4


# ---------------------------------------------------------------------------------------- manifests


def manifest_of(
    ids: list[int], labels: list[int], copies: list[int], weights: list[float]
) -> Manifest:
    return Manifest(
        np.array(ids), np.array(labels), np.array(copies), np.array(weights, dtype=np.float32)
    )


def test_a_manifest_replaces_the_training_set() -> None:
    """Example 3 twice with a new label, example 0 once at half weight, example 1 not at all."""
    chosen = manifest_of([3, 0, 1], [7, 0, 1], [2, 1, 0], [1.0, 0.5, 1.0])
    asked: list[str] = []

    def find(manifest_id: str) -> Manifest:
        asked.append(manifest_id)
        return chosen

    rows = apply_rows(
        [op("manifest", id="00000000deadbeef")], rows_of([0, 1, 2, 3]), manifests=find
    )
    assert asked == ["00000000deadbeef"]
    assert as_table(rows) == [(3, 7, 1.0), (3, 7, 1.0), (0, 0, 0.5)]
    assert rows.weights.dtype == np.float32


def test_a_manifest_can_be_treated_further() -> None:
    chosen = manifest_of([3, 0], [7, 0], [2, 1], [1.0, 1.0])
    rows = apply_rows(
        parse("manifest:id=aa+delete_class:label=7"),
        rows_of([0, 1, 2, 3]),
        manifests=lambda _: chosen,
    )
    assert rows.example_ids.tolist() == [0]


def test_a_manifest_comes_first() -> None:
    """After another step on rows it would silently undo it; after one on images it is fine."""
    with pytest.raises(UsageError, match=r"^manifest:id=aa comes after 1 other step\(s\) on rows"):
        parse("subsample:fraction=0.5+manifest:id=aa")
    assert len(parse("gamma:gamma=2+manifest:id=aa")) == 2


def test_a_manifest_of_another_data_set_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"^manifest aa: 1 of its 2 examples, such as 9, are not in the training set\.",
    ):
        apply_rows(
            [op("manifest", id="aa")],
            rows_of([0, 1]),
            manifests=lambda _: manifest_of([0, 9], [0, 0], [1, 1], [1, 1]),
        )
    with pytest.raises(
        UsageError, match=r"^manifest aa: label 10 is no class of this data set\. Allowed: 0 to 9\."
    ):
        apply_rows(
            [op("manifest", id="aa")],
            rows_of([0, 1]),
            manifests=lambda _: manifest_of([0], [10], [1], [1]),
        )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 0], [1, 1], [1, 1], [1, 1]), "1 of 2 rows repeat an example id"),
        (([0, 1], [1, 1], [1, -1], [1, 1]), "copies has -1"),
        (([0, 1], [1, 1], [1, 32768], [1, 1]), "used 32768 times"),
        (([0, 1], [1, 1], [1, 1], [1, -2]), "weights has -2.0"),
        (([0, 1], [1, 1], [1, 1], [1, float("nan")]), "weights has nan"),
        (([0, 1], [1], [1, 1], [1, 1]), r"its columns have \[1, 2\] rows"),
    ],
)
def test_a_malformed_manifest_is_refused(
    columns: tuple[list[int], list[int], list[int], list[float]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        manifest_of(*columns)


# ------------------------------------------------------------------------------------- laws of rows

ROWS = st.lists(st.integers(0, 3), max_size=40).map(
    lambda labels: rows_of(labels, num_classes=4, first_id=100)
)


@pytest.mark.parametrize("name", ON_ROWS)
@given(rows=ROWS, seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(name: str, rows: Rows, seed: int) -> None:
    """Treating a permutation of the rows gives the permutation of the treated rows, in the permuted
    order."""
    assume(len(rows) >= FEWEST.get(name, 0))
    order = np.random.default_rng(seed).permutation(len(rows))
    step = [op(name, **EXAMPLES.get(name, {}))]
    straight = apply_rows(step, rows, manifests=no_manifests)
    shuffled = apply_rows(step, rows.take(order), manifests=no_manifests)
    assert sorted(as_table(straight)) == sorted(as_table(shuffled))
    place = {int(example): position for position, example in enumerate(rows.example_ids[order])}
    assert [place[int(example)] for example in shuffled.example_ids] == sorted(
        place[int(e)] for e in shuffled.example_ids
    )


@pytest.mark.parametrize("name", ON_ROWS)
@given(rows=ROWS)
def test_rows_given_are_not_changed(name: str, rows: Rows) -> None:
    assume(len(rows) >= FEWEST.get(name, 0))
    before = as_table(rows)
    apply_rows([op(name, **EXAMPLES.get(name, {}))], rows, manifests=no_manifests)
    assert as_table(rows) == before


@given(rows=ROWS, fraction=st.floats(0, 1), stratified=st.booleans(), replica=st.integers(0, 3))
def test_a_subsample_has_the_exact_count(
    rows: Rows, fraction: float, stratified: bool, replica: int
) -> None:
    """round(fraction * n) rows, each of the set once; stratified, each class within one of its
    share."""
    kept = apply_rows(
        [op("subsample", fraction=fraction, stratified=stratified, replica=replica)],
        rows,
        manifests=no_manifests,
    )
    assert len(kept) == round(fraction * len(rows))
    assert set(as_table(kept)) <= set(as_table(rows))
    assert len(set(kept.example_ids.tolist())) == len(kept)
    if stratified:
        shares = fraction * np.bincount(rows.labels, minlength=4)
        assert np.abs(np.bincount(kept.labels, minlength=4) - shares).max() < 1 + 1e-6


@given(rows=ROWS, fraction=st.floats(0, 1), stratified=st.booleans(), more=st.floats(0, 1))
def test_a_deletion_has_the_exact_count_and_is_nested(
    rows: Rows, fraction: float, stratified: bool, more: float
) -> None:
    """n - round(fraction * n) rows are left; at a higher fraction a part of them, but for one
    example a class where it is stratified."""
    low, high = sorted((fraction, more))
    left, fewer = (
        apply_rows(
            [op("delete_fraction", fraction=share, stratified=stratified)],
            rows,
            manifests=no_manifests,
        )
        for share in (low, high)
    )
    assert len(left) == len(rows) - round(low * len(rows))
    assert set(as_table(left)) <= set(as_table(rows))
    back = fewer.labels[~np.isin(fewer.example_ids, left.example_ids)]
    assert np.bincount(back, minlength=4).max() <= int(stratified)


@given(rows=ROWS, fraction=st.floats(0, 1), seed=st.integers(0, 3))
def test_random_noise_has_the_exact_count(rows: Rows, fraction: float, seed: int) -> None:
    """Exactly round(fraction * n) labels are wrong; all are classes; nothing else changes."""
    noisy = apply_rows(
        [op("label_noise", fraction=fraction, seed=seed)], rows, manifests=no_manifests
    )
    assert (noisy.labels != rows.labels).sum() == round(fraction * len(rows))
    assert ((noisy.labels >= 0) & (noisy.labels < 4)).all()
    assert noisy.example_ids is rows.example_ids


# ---------------------------------------------------------------------------------- images, by hand


def test_gamma_by_hand() -> None:
    """255 * (51/255) ** 2 = 10.2 -> 10; 255 * sqrt(51/255) = 114.04 -> 114; the ends stay."""
    image = np.array([0, 51, 255], dtype=np.uint8).reshape(1, 1, 3, 1)
    ids = np.array([0])
    assert apply_images(parse("gamma:gamma=2"), image, ids).ravel().tolist() == [0, 10, 255]
    assert apply_images(parse("gamma:gamma=0.5"), image, ids).ravel().tolist() == [0, 114, 255]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contrast:factor=0.5", [50, 100, 150]),  # mean 100: 100 + (x - 100) / 2
        ("contrast:factor=2", [0, 100, 255]),  # -100 and 300 are clipped
        ("contrast:factor=2,overflow=wrap", [156, 100, 44]),  # -100 + 256, 300 - 256
        ("contrast:factor=0.5,pivot=0", [0, 50, 100]),
        ("contrast:factor=0", [100, 100, 100]),
        ("contrast:factor=1", [0, 100, 200]),
        ("contrast:factor=1e6,pivot=99.5", [0, 255, 255]),  # the limit: a threshold at the pivot
    ],
)
def test_contrast_by_hand(text: str, expected: list[int]) -> None:
    image = np.array([0, 100, 200], dtype=np.uint8).reshape(1, 1, 3, 1)
    assert apply_images(parse(text), image, np.array([0])).ravel().tolist() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("contrast:factor=inf", [0, 100, 255]),  # the mean, 100, is met and stays
        ("contrast:factor=Infinity", [0, 100, 255]),
        ("contrast:factor=inf,pivot=99.5", [0, 255, 255]),
        ("contrast:factor=inf,pivot=0", [0, 255, 255]),
        ("contrast:factor=inf,pivot=255", [0, 0, 0]),
    ],
)
def test_infinite_contrast_by_hand(text: str, expected: list[int]) -> None:
    """0 under the pivot, 255 over it."""
    image = np.array([0, 100, 200], dtype=np.uint8).reshape(1, 1, 3, 1)
    assert apply_images(parse(text), image, np.array([0])).ravel().tolist() == expected


def test_infinity_is_one_value_however_it_is_written() -> None:
    """As text or number it is the same step, and its text is read as itself."""
    step = op("contrast", factor="inf")
    assert (
        parse("contrast:factor=inf")
        == parse("contrast:factor=1e999")
        == (op("contrast", factor=math.inf),)
        == (step,)
    )
    assert step.text == "contrast:factor=inf,overflow=clip,pivot=image"
    assert parse(step.text) == (step,)


@given(seed=st.integers(0, 2**32 - 1), pivot=st.one_of(st.just("image"), st.floats(0, 255)))
@settings(max_examples=50)
def test_infinite_contrast_is_the_limit_of_clipping(seed: int, pivot: str | float) -> None:
    """At factor 1e12 a pixel that differs from the pivot by more than 1e-9 is black or white
    already."""
    images, ids = images_of(seed), np.arange(6)
    middle = images.mean(axis=(1, 2, 3), keepdims=True) if pivot == "image" else np.float64(pivot)
    assume(not np.any((np.abs(images - middle) < 1e-9) & (images != middle)))
    infinite = apply_images([op("contrast", factor=math.inf, pivot=pivot)], images, ids)
    assert np.array_equal(
        infinite, apply_images([op("contrast", factor=1e12, pivot=pivot)], images, ids)
    )


def test_halves_round_to_even() -> None:
    """0.5 -> 0 and 1.5 -> 2, as numpy and the published order clip, round, uint8 have it."""
    image = np.array([1, 3], dtype=np.uint8).reshape(1, 1, 2, 1)
    assert apply_images(
        parse("contrast:factor=0.5,pivot=0"), image, np.array([0])
    ).ravel().tolist() == [0, 2]


def test_salt_and_pepper_at_its_ends() -> None:
    """share 0 changes nothing; share 0.5 leaves only black and white, about half each."""
    image = np.full((1, 100, 100, 1), 77, dtype=np.uint8)
    ids = np.array([3])
    assert (apply_images(parse("salt_pepper:share=0"), image, ids) == 77).all()
    extreme = apply_images(parse("salt_pepper:share=0.5"), image, ids)
    assert set(np.unique(extreme).tolist()) == {0, 255}
    assert abs((extreme == 0).mean() - 0.5) < 0.03


def test_no_noise_is_no_change() -> None:
    images = images_of(0)
    assert np.array_equal(
        apply_images(parse("gaussian_noise:sigma=0"), images, np.arange(6)), images
    )


def test_the_smallest_draw_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform draw of exactly 0 gives black, not a warning or a wrapped number, even with sigma
    0."""
    monkeypatch.setattr("zoo.keyed.uniform", lambda key, ids, draws: np.zeros((len(ids), draws)))
    image = np.full((1, 2, 2, 1), 100, dtype=np.uint8)
    assert (apply_images(parse("gaussian_noise:sigma=50"), image, np.array([0])) == 0).all()
    assert (apply_images(parse("gaussian_noise:sigma=0"), image, np.array([0])) == 100).all()


@pytest.mark.parametrize("name", ["gaussian_noise:sigma=16", "salt_pepper:share=0.2"])
def test_one_draw_for_the_three_colours(name: str) -> None:
    """``shared``: a grey picture stays grey. ``independent``: it does not."""
    grey = np.full((2, 8, 8, 3), 128, dtype=np.uint8)
    shared = apply_images(parse(name), grey, np.arange(2))
    assert (shared == shared[..., :1]).all()
    assert not np.array_equal(shared[0], shared[1])
    coloured = apply_images(parse(f"{name},channels=independent"), grey, np.arange(2))
    assert (coloured != coloured[..., :1]).any()


def test_noise_scales_with_sigma() -> None:
    """The same draw at every sigma: doubling sigma doubles each pixel's deviation (within
    rounding)."""
    grey = np.full((1, 16, 16, 1), 128, dtype=np.uint8)
    weak, strong = (
        apply_images([op("gaussian_noise", sigma=s)], grey, np.array([5])).astype(int) - 128
        for s in (8, 16)
    )
    assert np.abs(strong - 2 * weak).max() <= 1


@pytest.mark.parametrize("name", ["gaussian_noise", "salt_pepper"])
def test_noise_of_each_epoch_is_fixed_within_an_epoch_and_new_in_the_next(name: str) -> None:
    """The same epoch gives the same pixels, any other epoch or seed others; none of them is the
    noise that is fixed for a training."""
    strength = "sigma=30" if name == "gaussian_noise" else "share=0.3"
    grey, ids = np.full((2, 16, 16, 1), 128, dtype=np.uint8), np.arange(2)
    step = parse(f"{name}_each_epoch:{strength}")
    epochs = [apply_images(step, grey, ids, epoch=epoch) for epoch in (1, 2, 3, 10)]
    assert np.array_equal(epochs[1], apply_images(step, grey, ids, epoch=2))
    others = [
        *epochs,
        apply_images(parse(f"{name}:{strength}"), grey, ids),
        apply_images(parse(f"{name}_each_epoch:{strength},seed=1"), grey, ids),
    ]
    assert all(not np.array_equal(a, b) for i, a in enumerate(others) for b in others[:i])


@pytest.mark.parametrize("name", [name for name in ON_IMAGES if not TREATMENTS[name].each_epoch])
def test_an_epoch_means_nothing_to_what_is_fixed(name: str) -> None:
    """Twin: every other treatment of images gives the same pixels in epochs 1 and 2."""
    step = [op(name, **EXAMPLES.get(name, {}))]
    first, second = (
        apply_images(step, images_of(3), np.arange(6), epoch=epoch) for epoch in (1, 2)
    )
    assert np.array_equal(first, second)


def test_epochs_are_independent_draws() -> None:
    """a = 0.25: half of the pixels are corrupted in an epoch, a quarter in both of two (160,000
    pixels, 5 standard deviations of 0.0011)."""
    grey = np.full((16, 100, 100, 1), 128, dtype=np.uint8)
    first, second = (
        apply_images(parse("salt_pepper_each_epoch:share=0.25"), grey, np.arange(16), epoch=e)
        != 128
        for e in (1, 2)
    )
    assert abs(first.mean() - 0.5) < 5 * 0.00125
    assert abs((first & second).mean() - 0.25) < 5 * 0.0011


def test_which_treatments_are_drawn_in_each_epoch() -> None:
    assert each_epoch(parse("gamma:gamma=2+gaussian_noise_each_epoch:sigma=3"))
    assert not each_epoch(parse("gaussian_noise:sigma=3+salt_pepper:share=0.1"))
    assert not each_epoch(())


def test_image_steps_act_in_order() -> None:
    images = images_of(1)
    ids = np.arange(6)
    both = apply_images(parse("gaussian_noise:sigma=20+gamma:gamma=2"), images, ids)
    assert np.array_equal(
        both,
        apply_images(
            parse("gamma:gamma=2"), apply_images(parse("gaussian_noise:sigma=20"), images, ids), ids
        ),
    )


def test_rows_steps_leave_the_images_alone() -> None:
    images = images_of(2)
    assert apply_images(parse("subsample:fraction=0.5"), images, np.arange(6)) is images


def test_wrong_arrays_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="n ids"):
        apply_images((), images_of(0), np.arange(5))
    with pytest.raises(ValueError, match="float64"):
        apply_images((), images_of(0).astype(float), np.arange(6))  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------- laws of images


@pytest.mark.parametrize("name", ON_IMAGES)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 6))
@settings(max_examples=30)
def test_blocks_and_order_of_images_do_not_matter(name: str, seed: int, cut: int) -> None:
    """Two blocks treated apart, or a permutation, give the same pictures as the whole; the input is
    not written to."""
    images = images_of(seed)
    images.flags.writeable = False
    ids = np.random.default_rng(seed).choice(1000, 6, replace=False).astype(np.int64)
    step = [op(name, **EXAMPLES.get(name, {}))]
    whole = apply_images(step, images, ids)
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
    blocks = [
        apply_images(step, images[:cut], ids[:cut]),
        apply_images(step, images[cut:], ids[cut:]),
    ]
    assert np.array_equal(np.concatenate(blocks), whole)
    order = np.random.default_rng(seed + 1).permutation(6)
    assert np.array_equal(apply_images(step, images[order], ids[order]), whole[order])


@pytest.mark.parametrize("name", ON_IMAGES)
def test_the_inner_block_size_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by working in blocks; the block size changes nothing."""
    images, ids, step = images_of(4), np.arange(6), [op(name, **EXAMPLES.get(name, {}))]
    whole = apply_images(step, images, ids)
    monkeypatch.setattr(treatments, "BLOCK_VALUES", 1)
    assert np.array_equal(apply_images(step, images, ids), whole)


@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0.1, 1), high=st.floats(1, 5))
@settings(max_examples=30)
def test_gamma_darkens_over_one_and_brightens_under_one(seed: int, low: float, high: float) -> None:
    images, ids = images_of(seed), np.arange(6)
    assert (apply_images([op("gamma", gamma=high)], images, ids) <= images).all()
    assert (apply_images([op("gamma", gamma=low)], images, ids) >= images).all()


# ------------------------------------------------------------------------------- outside references


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1, 2, 4])
def test_gamma_equals_scikit_image(gamma: float) -> None:
    every_level = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(
        apply_images([op("gamma", gamma=gamma)], every_level, np.array([0])),
        adjust_gamma(every_level, gamma),
    )


def test_gaussian_noise_has_the_distribution_of_scikit_image() -> None:
    """sigma 16 on mid-grey, 160,000 pixels: mean, deviation and tails as scikit-image's noise of
    the same variance."""
    grey = np.full((16, 100, 100, 1), 128, dtype=np.uint8)
    ours = apply_images([op("gaussian_noise", sigma=16)], grey, np.arange(16)).astype(float)
    theirs = np.rint(255 * random_noise(grey, mode="gaussian", var=(16 / 255) ** 2, rng=0))
    assert abs(ours.mean() - theirs.mean()) < 5 * 16 * (2 / 160_000) ** 0.5
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    assert np.quantile(ours, [0.01, 0.1, 0.5, 0.9, 0.99]) == pytest.approx(
        np.quantile(theirs, [0.01, 0.1, 0.5, 0.9, 0.99]), abs=1
    )


def test_salt_and_pepper_has_the_shares_of_scikit_image() -> None:
    """Our share a is half of scikit-image's amount: a = 0.1 makes 10 % black and 10 % white."""
    grey = np.full((16, 100, 100, 1), 128, dtype=np.uint8)
    ours = apply_images([op("salt_pepper", share=0.1)], grey, np.arange(16))
    theirs = np.rint(255 * random_noise(grey, mode="s&p", amount=0.2, rng=0))
    for level in (0, 255):
        assert (ours == level).mean() == pytest.approx(0.1, abs=0.005)
        assert (ours == level).mean() == pytest.approx((theirs == level).mean(), abs=0.008)


@pytest.mark.parametrize("factor", [0.25, 0.75, 1.5, 4])
def test_contrast_is_within_a_grey_level_of_torchvision(factor: float) -> None:
    """Grey pictures of mean exactly 100 (torchvision floors the mean) agree up to torchvision's
    cutting off instead of rounding."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    half = np.random.default_rng(7).integers(0, 201, (8, 14, 28, 1), dtype=np.uint8)
    images = np.concatenate([half, 200 - half], axis=1)  # [8, 28, 28, 1]
    ours = apply_images([op("contrast", factor=factor)], images, np.arange(8)).astype(int)
    theirs = (
        functional.adjust_contrast(torch.from_numpy(images).permute(0, 3, 1, 2), factor)
        .permute(0, 2, 3, 1)
        .numpy()
        .astype(int)
    )
    assert np.abs(ours - theirs).max() <= 1


def test_treatments_load_no_torch() -> None:
    """Plans are made without torch."""
    code = (
        "import sys, zoo.trainsets.treatments; print([m for m in ('torch', 'ray', 'skimage') if m"
        " in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == "[]"
