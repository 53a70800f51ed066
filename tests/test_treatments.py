"""Treatments of the training set: answers by hand, laws, and outside references."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.exposure import adjust_gamma
from skimage.util import random_noise

from zoo import treatments
from zoo.errors import UnknownNameError, UsageError
from zoo.spec import Op
from zoo.treatments import TREATMENTS, Manifest, Rows, Treatment, apply_images, apply_rows, op, parse

settings.register_profile("shared-machine", deadline=None)  # time limits fail on a busy machine, not on a wrong result
settings.load_profile("shared-machine")

EXAMPLES: dict[str, dict[str, bool | int | float | str]] = {
    "subsample": {"fraction": 0.4, "replica": 1, "stratified": True},
    "label_noise": {"fraction": 0.3},
    "delete_class": {"label": 2},
    "relabel": {"label": 2, "to": 0},
    "manifest": {"id": "00000000000000e1"},
    "gaussian_noise": {"sigma": 8},
    "salt_pepper": {"share": 0.2, "channels": "independent"},
    "gamma": {"gamma": 0.5},
    "contrast": {"factor": 2},
}
"""One use of every treatment; the laws below run over all of them, with its defaults where nothing is listed here."""

ON_ROWS = [name for name, treatment in TREATMENTS.items() if treatment.on_rows and not treatment.needs_manifests]
ON_IMAGES = [name for name, treatment in TREATMENTS.items() if treatment.on_images]


def rows_of(labels: list[int], num_classes: int = 10, first_id: int = 0) -> Rows:
    ids = np.arange(first_id, first_id + len(labels), dtype=np.int64)
    return Rows(ids, np.array(labels, dtype=np.int64), np.ones(len(labels), dtype=np.float32), num_classes)


def no_manifests(manifest_id: str) -> Manifest:
    raise AssertionError(f"asked for manifest {manifest_id}")


def treated(text: str, rows: Rows) -> Rows:
    return apply_rows(parse(text), rows, manifests=no_manifests)


def images_of(seed: int, count: int = 6, side: int = 5, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), dtype=np.uint8)


def as_table(rows: Rows) -> list[tuple[int, int, float]]:
    return list(zip(rows.example_ids.tolist(), rows.labels.tolist(), rows.weights.tolist(), strict=True))


def test_every_treatment_can_be_used_with_what_is_listed_here() -> None:
    """An example for each that has no default; a new line in the table falls under the laws with or without one."""
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


# ---------------------------------------------------------------------------------------------------- steps and their text


def test_op_fills_in_defaults_and_types() -> None:
    """1 and 1.0 are the same fraction, so both are the same training."""
    assert op("subsample", fraction=1) == Op(name="subsample", params={"fraction": 1.0, "replica": 0, "stratified": False})
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
    assert parse("gaussian_noise:sigma=1e+1+gamma:gamma=2") == (op("gaussian_noise", sigma=10), op("gamma", gamma=2))


@pytest.mark.parametrize("manifest_id", ["0000000000000012", "1234567890123456", "12e4567890123456", "00000000deadbeef"])
def test_an_id_is_text_even_if_it_looks_like_a_number(manifest_id: str) -> None:
    assert parse(f"manifest:id={manifest_id}") == (op("manifest", id=manifest_id),)


@given(
    fraction=st.floats(0, 1, allow_nan=False),
    replica=st.integers(0, 10**6),
    stratified=st.booleans(),
    to=st.one_of(st.just("random"), st.integers(0, 999)),
    sigma=st.floats(0, 1e30),
)
def test_text_and_steps_are_inverse(fraction: float, replica: int, stratified: bool, to: str | int, sigma: float) -> None:
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
        ("subsample:fraction=1.5", "subsample: fraction = 1.5 is not possible. Allowed: a number from 0 to 1. "),
        ("subsample:fraction=-0.1", "subsample: fraction = -0.1 is not possible. Allowed: a number from 0 to 1. "),
        ("subsample:fraction=half", "subsample: fraction = 'half' is not possible. Allowed: a number from 0 to 1. "),
        ("subsample:fraction=true", "subsample: fraction = True is not possible. "),
        ("subsample:fraction=nan", "subsample: fraction = nan is not possible. "),
        ("subsample:fraction=0.5,replica=0.5", "subsample: replica = 0.5 is not possible. Allowed: a whole number from 0 or more. "),
        ("subsample:fraction=0.5,stratified=1", "subsample: stratified = 1 is not possible. Allowed: true or false. "),
        (
            "label_noise:fraction=0.5,to=zero",
            "label_noise: to = 'zero' is not possible. Allowed: a whole number from 0 or more or 'random'. ",
        ),
        ("gaussian_noise:sigma=2,channels=red", "Allowed: 'shared' or 'independent'. Write it as gaussian_noise:channels=VALUE."),
        ("salt_pepper:share=0.6", "salt_pepper: share = 0.6 is not possible. Allowed: a number from 0 to 0.5. "),
        ("gamma:gamma=inf", "gamma: gamma = inf is not possible. "),
        ("delete_class:label=-1", "delete_class: label = -1 is not possible. Allowed: a whole number from 0 or more. "),
        (
            "delete_class",
            "parameter label is missing; given: none. Allowed: a whole number from 0 or more. Write it as delete_class:label=...",
        ),
        ("relabel:label=3,to=3", "relabel: label = 3 onto to = 3 changes nothing. The two classes must differ. Choose another class"),
        ("subsample:fraction", "parameter 'fraction' has no value"),
    ],
)
def test_wrong_parameters_are_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert message in str(caught.value)


def test_unknown_names_list_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown treatment 'subsampel'\. Did you mean 'subsample'\?"):
        parse("subsampel:fraction=0.5")
    with pytest.raises(
        UnknownNameError, match=r"^unknown parameter of subsample 'fractoin'\. Did you mean 'fraction'\?.*Write it as subsample:fraction="
    ):
        parse("subsample:fractoin=0.5")
    with pytest.raises(UnknownNameError, match=r"^unknown treatment ''\."):
        parse("subsample:fraction=0.5+")


# ------------------------------------------------------------------------------------------------------------ rows, by hand


def test_delete_class_by_hand() -> None:
    assert as_table(treated("delete_class:label=1", rows_of([0, 1, 2, 1]))) == [(0, 0, 1.0), (2, 2, 1.0)]


def test_delete_class_keeps_the_number_of_outputs() -> None:
    assert treated("delete_class:label=1", rows_of([0, 1], num_classes=2)).num_classes == 2


def test_deleting_the_only_class_leaves_an_empty_training_set() -> None:
    assert len(treated("delete_class:label=1", rows_of([1, 1]))) == 0
    assert len(treated("subsample:fraction=0", rows_of([1, 1]))) == 0
    assert len(treated("delete_class:label=1+label_noise:fraction=1+subsample:fraction=0.5,stratified=true", rows_of([1, 1]))) == 0


def test_relabel_by_hand() -> None:
    assert treated("relabel:label=1,to=2", rows_of([0, 1, 2, 1])).labels.tolist() == [0, 2, 2, 2]


def test_steps_act_in_order() -> None:
    """Relabel 1 -> 2, then delete 2: nothing of 1 or 2 is left. The other way round the relabelled rows stay."""
    labels = [0, 1, 2, 1]
    assert treated("relabel:label=1,to=2+delete_class:label=2", rows_of(labels)).labels.tolist() == [0]
    assert treated("delete_class:label=2+relabel:label=1,to=2", rows_of(labels)).labels.tolist() == [0, 2, 2]


def test_image_steps_leave_the_rows_alone() -> None:
    rows = rows_of([0, 1])
    assert treated("gamma:gamma=2", rows) is rows


def test_noise_to_one_class_by_hand() -> None:
    """All labels become 0 at fraction 1; exactly half of eight 5s at fraction 0.5."""
    assert treated("label_noise:fraction=1,to=0", rows_of([3, 0, 7])).labels.tolist() == [0, 0, 0]
    assert Counter(treated("label_noise:fraction=0.5,to=0", rows_of([5] * 8)).labels.tolist()) == {0: 4, 5: 4}


def test_noise_of_two_classes_is_a_swap() -> None:
    """With two classes the only wrong label is the other one."""
    assert treated("label_noise:fraction=1", rows_of([0, 1, 1], num_classes=2)).labels.tolist() == [1, 0, 0]


def test_random_wrong_labels_are_uniform() -> None:
    """90,000 fully noised 4s over 9 wrong classes: each about 10,000 (within 5 standard deviations, 94 each), never 4."""
    counts = np.bincount(treated("label_noise:fraction=1", rows_of([4] * 90_000)).labels, minlength=10)
    assert counts[4] == 0
    assert np.abs(np.delete(counts, 4) - 10_000).max() < 5 * 94.3


def test_more_noise_contains_less() -> None:
    """The rows wrong at 10 % are wrong in the same way at 20 %: a curve over fractions is not blurred by new draws."""
    rows = rows_of([label % 10 for label in range(500)])
    little, more = (treated(f"label_noise:fraction={f}", rows).labels for f in (0.1, 0.2))
    wrong = little != rows.labels
    assert wrong.sum() == 50
    assert (more[wrong] == little[wrong]).all()


def test_noise_seeds_and_replicas_differ() -> None:
    rows = rows_of([label % 10 for label in range(200)])
    assert not np.array_equal(
        treated("label_noise:fraction=0.5,seed=0", rows).labels, treated("label_noise:fraction=0.5,seed=1", rows).labels
    )
    first, second = (set(treated(f"subsample:fraction=0.5,replica={r}", rows).example_ids.tolist()) for r in (0, 1))
    assert 30 < len(first & second) < 70  # independent halves share a quarter of 200, standard deviation about 3.5


def test_stratified_counts_by_hand() -> None:
    """Half of 5, 3 and 2: quotas 2.5, 1.5, 1; the total stays 5, so one remainder of .5 is rounded up: that of the lower class."""
    kept = treated("subsample:fraction=0.5,stratified=true", rows_of([0] * 5 + [1] * 3 + [2] * 2, num_classes=3))
    assert np.bincount(kept.labels).tolist() == [3, 1, 1]


def test_stratified_shares_are_not_spoiled_by_floating_point() -> None:
    """0.29 * 100 is 28.999999999999996 in floating point and still 29 of each class."""
    kept = treated("subsample:fraction=0.29,stratified=true", rows_of([0] * 100 + [1] * 100))
    assert np.bincount(kept.labels).tolist() == [29, 29]


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
    assert str(caught.value) == (
        f"{treatment}: {name} = 10 is no class of this data set. Allowed: 0 to 9. Write it as {treatment}:{name}=CLASS."
    )


def test_one_class_has_no_wrong_label() -> None:
    with pytest.raises(UsageError, match="no wrong label exists among 1 class"):
        treated("label_noise:fraction=1", rows_of([0, 0], num_classes=1))


# ------------------------------------------------------------------------------------------------------------- manifests


def manifest_of(ids: list[int], labels: list[int], copies: list[int], weights: list[float]) -> Manifest:
    return Manifest(np.array(ids), np.array(labels), np.array(copies), np.array(weights, dtype=np.float32))


def test_a_manifest_replaces_the_training_set() -> None:
    """Example 3 twice with a new label, example 0 once at half weight, example 1 not at all."""
    chosen = manifest_of([3, 0, 1], [7, 0, 1], [2, 1, 0], [1.0, 0.5, 1.0])
    asked: list[str] = []

    def find(manifest_id: str) -> Manifest:
        asked.append(manifest_id)
        return chosen

    rows = apply_rows([op("manifest", id="00000000deadbeef")], rows_of([0, 1, 2, 3]), manifests=find)
    assert asked == ["00000000deadbeef"]
    assert as_table(rows) == [(3, 7, 1.0), (3, 7, 1.0), (0, 0, 0.5)]
    assert rows.weights.dtype == np.float32


def test_a_manifest_can_be_treated_further() -> None:
    chosen = manifest_of([3, 0], [7, 0], [2, 1], [1.0, 1.0])
    rows = apply_rows(parse("manifest:id=aa+delete_class:label=7"), rows_of([0, 1, 2, 3]), manifests=lambda _: chosen)
    assert rows.example_ids.tolist() == [0]


def test_a_manifest_comes_first() -> None:
    """After another step on rows it would silently undo it; after one on images it is fine."""
    with pytest.raises(UsageError, match=r"^manifest:id=aa comes after 1 other step\(s\) on rows"):
        parse("subsample:fraction=0.5+manifest:id=aa")
    assert len(parse("gamma:gamma=2+manifest:id=aa")) == 2


def test_a_manifest_of_another_data_set_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^manifest aa: 1 of its 2 examples, such as 9, are not in the training set\."):
        apply_rows([op("manifest", id="aa")], rows_of([0, 1]), manifests=lambda _: manifest_of([0, 9], [0, 0], [1, 1], [1, 1]))
    with pytest.raises(UsageError, match=r"^manifest aa: label 10 is no class of this data set\. Allowed: 0 to 9\."):
        apply_rows([op("manifest", id="aa")], rows_of([0, 1]), manifests=lambda _: manifest_of([0], [10], [1], [1]))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0, 0], [1, 1], [1, 1], [1, 1]), "1 of 2 rows repeat an example id"),
        (([0, 1], [1, 1], [1, -1], [1, 1]), "copies has -1"),
        (([0, 1], [1, 1], [1, 1], [1, -2]), "weights has -2.0"),
        (([0, 1], [1, 1], [1, 1], [1, float("nan")]), "weights has nan"),
        (([0, 1], [1], [1, 1], [1, 1]), r"its columns have \[1, 2\] rows"),
    ],
)
def test_a_malformed_manifest_is_refused(columns: tuple[list[int], list[int], list[int], list[float]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        manifest_of(*columns)


# ------------------------------------------------------------------------------------------------------------ laws of rows

ROWS = st.lists(st.integers(0, 3), max_size=40).map(lambda labels: rows_of(labels, num_classes=4, first_id=100))


@pytest.mark.parametrize("name", ON_ROWS)
@given(rows=ROWS, seed=st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter(name: str, rows: Rows, seed: int) -> None:
    """Treating a permutation of the rows gives the permutation of the treated rows, in the permuted order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    step = [op(name, **EXAMPLES.get(name, {}))]
    straight = apply_rows(step, rows, manifests=no_manifests)
    shuffled = apply_rows(step, rows.take(order), manifests=no_manifests)
    assert sorted(as_table(straight)) == sorted(as_table(shuffled))
    place = {int(example): position for position, example in enumerate(rows.example_ids[order])}
    assert [place[int(example)] for example in shuffled.example_ids] == sorted(place[int(e)] for e in shuffled.example_ids)


@pytest.mark.parametrize("name", ON_ROWS)
@given(rows=ROWS)
def test_rows_given_are_not_changed(name: str, rows: Rows) -> None:
    before = as_table(rows)
    apply_rows([op(name, **EXAMPLES.get(name, {}))], rows, manifests=no_manifests)
    assert as_table(rows) == before


@given(rows=ROWS, fraction=st.floats(0, 1), stratified=st.booleans(), replica=st.integers(0, 3))
def test_a_subsample_has_the_exact_count(rows: Rows, fraction: float, stratified: bool, replica: int) -> None:
    """round(fraction * n) rows, each of the set once; stratified, each class within one of its share."""
    kept = apply_rows([op("subsample", fraction=fraction, stratified=stratified, replica=replica)], rows, manifests=no_manifests)
    assert len(kept) == round(fraction * len(rows))
    assert set(as_table(kept)) <= set(as_table(rows))
    assert len(set(kept.example_ids.tolist())) == len(kept)
    if stratified:
        shares = fraction * np.bincount(rows.labels, minlength=4)
        assert np.abs(np.bincount(kept.labels, minlength=4) - shares).max() < 1 + 1e-6


@given(rows=ROWS, fraction=st.floats(0, 1), seed=st.integers(0, 3))
def test_random_noise_has_the_exact_count(rows: Rows, fraction: float, seed: int) -> None:
    """Exactly round(fraction * n) labels are wrong; all are classes; nothing else changes."""
    noisy = apply_rows([op("label_noise", fraction=fraction, seed=seed)], rows, manifests=no_manifests)
    assert (noisy.labels != rows.labels).sum() == round(fraction * len(rows))
    assert ((noisy.labels >= 0) & (noisy.labels < 4)).all()
    assert noisy.example_ids is rows.example_ids


# ---------------------------------------------------------------------------------------------------------- images, by hand


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


def test_halves_round_to_even() -> None:
    """0.5 -> 0 and 1.5 -> 2, as numpy and the published order clip, round, uint8 have it."""
    image = np.array([1, 3], dtype=np.uint8).reshape(1, 1, 2, 1)
    assert apply_images(parse("contrast:factor=0.5,pivot=0"), image, np.array([0])).ravel().tolist() == [0, 2]


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
    assert np.array_equal(apply_images(parse("gaussian_noise:sigma=0"), images, np.arange(6)), images)


def test_the_smallest_draw_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A uniform draw of exactly 0 gives black, not a warning or a wrapped number, even with sigma 0."""
    monkeypatch.setattr(treatments.keyed, "uniform", lambda key, ids, draws: np.zeros((len(ids), draws)))
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
    """The same draw at every sigma: doubling sigma doubles each pixel's deviation (within rounding)."""
    grey = np.full((1, 16, 16, 1), 128, dtype=np.uint8)
    weak, strong = (apply_images([op("gaussian_noise", sigma=s)], grey, np.array([5])).astype(int) - 128 for s in (8, 16))
    assert np.abs(strong - 2 * weak).max() <= 1


def test_image_steps_act_in_order() -> None:
    images = images_of(1)
    ids = np.arange(6)
    both = apply_images(parse("gaussian_noise:sigma=20+gamma:gamma=2"), images, ids)
    assert np.array_equal(both, apply_images(parse("gamma:gamma=2"), apply_images(parse("gaussian_noise:sigma=20"), images, ids), ids))


def test_rows_steps_leave_the_images_alone() -> None:
    images = images_of(2)
    assert apply_images(parse("subsample:fraction=0.5"), images, np.arange(6)) is images


def test_wrong_arrays_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="n ids"):
        apply_images((), images_of(0), np.arange(5))
    with pytest.raises(ValueError, match="float64"):
        apply_images((), images_of(0).astype(float), np.arange(6))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- laws of images


@pytest.mark.parametrize("name", ON_IMAGES)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 6))
@settings(max_examples=30)
def test_blocks_and_order_of_images_do_not_matter(name: str, seed: int, cut: int) -> None:
    """Two blocks treated apart, or a permutation, give the same pictures as the whole; the input is not written to."""
    images = images_of(seed)
    images.flags.writeable = False
    ids = np.random.default_rng(seed).choice(1000, 6, replace=False).astype(np.int64)
    step = [op(name, **EXAMPLES.get(name, {}))]
    whole = apply_images(step, images, ids)
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape
    blocks = [apply_images(step, images[:cut], ids[:cut]), apply_images(step, images[cut:], ids[cut:])]
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


# ------------------------------------------------------------------------------------------------------ outside references


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1, 2, 4])
def test_gamma_equals_scikit_image(gamma: float) -> None:
    every_level = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(apply_images([op("gamma", gamma=gamma)], every_level, np.array([0])), adjust_gamma(every_level, gamma))


def test_gaussian_noise_has_the_distribution_of_scikit_image() -> None:
    """sigma 16 on mid-grey, 160,000 pixels: mean, deviation and tails as scikit-image's noise of the same variance."""
    grey = np.full((16, 100, 100, 1), 128, dtype=np.uint8)
    ours = apply_images([op("gaussian_noise", sigma=16)], grey, np.arange(16)).astype(float)
    theirs = np.rint(255 * random_noise(grey, mode="gaussian", var=(16 / 255) ** 2, rng=0))
    assert abs(ours.mean() - theirs.mean()) < 5 * 16 * (2 / 160_000) ** 0.5
    assert ours.std() == pytest.approx(theirs.std(), rel=0.01)
    assert np.quantile(ours, [0.01, 0.1, 0.5, 0.9, 0.99]) == pytest.approx(np.quantile(theirs, [0.01, 0.1, 0.5, 0.9, 0.99]), abs=1)


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
    """Grey pictures of mean exactly 100 (torchvision floors the mean) agree up to torchvision's cutting off instead of rounding."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    half = np.random.default_rng(7).integers(0, 201, (8, 14, 28, 1), dtype=np.uint8)
    images = np.concatenate([half, 200 - half], axis=1)  # [8, 28, 28, 1]
    ours = apply_images([op("contrast", factor=factor)], images, np.arange(8)).astype(int)
    theirs = functional.adjust_contrast(torch.from_numpy(images).permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(ours - theirs).max() <= 1


def test_treatments_load_no_torch() -> None:
    """Plans are made without torch."""
    code = "import sys, zoo.treatments; print([m for m in ('torch', 'ray', 'skimage') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
