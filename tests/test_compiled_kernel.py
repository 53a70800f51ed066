"""The compiled kernel: the reference's predictions and order exactly, its numbers within what
float32 sums cost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.bench import compiled as kernel
from zoo.errors import UsageError
from zoo.scores.outputs import answers_from_logits
from zoo.store.answers import Answers

compiled = pytest.mark.skipif(
    not kernel.AVAILABLE, reason="numba (the extra 'fast') is not installed"
)

BITS, SHARE = 1e-5, 1e-6
"""Largest errors of an entropy and of a probability against float64; float16 of a probability
rounds by 2**-11 of it."""


def drawn(
    examples: int, classes: int, dtype: type = np.float32, scale: float = 3.0, seed: int = 0
) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Normal logits [E, M] and labels of which every fifth is unknown."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    labels[4::5] = -1
    return (rng.normal(size=(examples, classes)) * scale).astype(dtype), labels


def assert_as_reference(logits: NDArray[np.generic], labels: NDArray[np.int64]) -> Answers:
    found, expected = kernel.answers(logits, labels), answers_from_logits(logits, labels)
    np.testing.assert_array_equal(found.prediction, expected.prediction)
    np.testing.assert_array_equal(found.top5, expected.top5)
    np.testing.assert_array_equal(found.finite, expected.finite)
    np.testing.assert_allclose(found.entropy, expected.entropy, rtol=0, atol=BITS)
    np.testing.assert_allclose(found.p_label, expected.p_label, rtol=0, atol=SHARE)
    np.testing.assert_allclose(found.margin, expected.margin, rtol=0, atol=2 * SHARE)
    np.testing.assert_allclose(
        found.top5_p.astype(float), expected.top5_p.astype(float), rtol=2**-10, atol=SHARE
    )
    for name in ("prediction", "p_label", "entropy", "margin", "top5", "top5_p", "finite"):
        assert getattr(found, name).dtype == getattr(expected, name).dtype
    return found


@compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6, 15, 16, 17, 31, 100, 999, 1000])
@pytest.mark.parametrize("scale", [0.01, 3.0, 1e4])
def test_the_kernel_gives_the_references_answers(classes: int, dtype: type, scale: float) -> None:
    """1 to 1,000 classes, nearly uniform to certain, in both types."""
    logits, labels = drawn(60, classes, dtype, scale)
    assert_as_reference(np.clip(logits, -60_000, 60_000), labels)


@compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equal_logits_go_to_the_lowest_class_as_in_the_reference(dtype: type) -> None:
    """Whole numbers of -2..2 over 40 classes: many ties at the top, among the five and across the
    sixteens the kernel looks at."""
    logits = np.random.default_rng(3).integers(-2, 3, (400, 40)).astype(dtype)
    found = assert_as_reference(logits, np.arange(400) % 40)
    # the twin: there were ties
    assert (np.sort(logits, axis=1)[:, -1] == np.sort(logits, axis=1)[:, -2]).mean() > 0.9
    assert (
        found.top5[0].tolist() == np.lexsort((np.arange(40), -logits[0].astype(float)))[:5].tolist()
    )


@compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({67: 5, 35: 4, 3: 3, 99: 2, 19: 1}, [67, 35, 3, 99, 19]),
        ({67: 5, 35: 5, 3: 5, 99: 5, 19: 5, 51: 5}, [3, 19, 35, 51, 67]),
        ({j: j for j in range(100)}, [99, 98, 97, 96, 95]),
        ({j: -j for j in range(100)}, [0, 1, 2, 3, 4]),
        ({}, [0, 1, 2, 3, 4]),
    ],
    ids=["one lane", "equal in one lane", "rising", "falling", "all equal"],
)
def test_the_five_best_wherever_they_are(
    row: dict[int, int], expected: list[int], dtype: type
) -> None:
    """100 classes, 0 where nothing is said; 3, 19, 35, 51, 67 and 99 share the lane 3 of 16, whose
    maximum is then one of sixteen."""
    logits = np.zeros((1, 100), dtype=dtype)
    logits[0, list(row)] = list(row.values())
    assert kernel.answers(logits, np.array([0])).top5.tolist() == [expected]


@compiled
def test_a_row_by_hand() -> None:
    """Logits ln 1, ln 2, ln 4, ln 1: p = 1/8, 2/8, 4/8, 1/8, so 1.75 bits; label 1 has p 1/4 and
    margin -1/4."""
    found = kernel.answers(np.log(np.array([[1, 2, 4, 1]], dtype=np.float32)), np.array([1]))
    assert found.prediction.tolist() == [2]
    assert found.top5.tolist() == [[2, 1, 0, 3, -1]]
    assert found.entropy[0] == pytest.approx(1.75, abs=1e-6)
    assert (found.p_label[0], found.margin[0]) == (
        pytest.approx(0.25, abs=1e-6),
        pytest.approx(-0.25, abs=1e-6),
    )
    assert found.top5_p[0].tolist() == [0.5, 0.25, 0.125, 0.125, 0.0]


@compiled
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_row_that_is_not_finite_answers_nothing(dtype: type) -> None:
    """NaN, +inf and -inf in the first, a middle and the last of 20 classes: null answers; the rows
    between are untouched."""
    logits, labels = drawn(19, 20, dtype)
    for row, (place, value) in enumerate(
        (p, v) for p in (0, 9, 19) for v in (np.nan, np.inf, -np.inf)
    ):
        logits[2 * row, place] = value
    found = assert_as_reference(logits, labels)
    assert found.finite.tolist() == [row % 2 == 1 or row == 18 for row in range(19)]
    assert set(found.prediction[::2][:9].tolist()) == {-1}


@compiled
@pytest.mark.parametrize(
    "row",
    [
        [1e4, -1e4, 0, 1e4],
        [-1e4] * 7,
        [3e38, -3e38, 0],
        [-3e38, -3e38],
        [0.0, -0.0, 0.0],
        [1e-45, 0.0, -1e-45],
        [88.8, 0.0, -88.8, 177.0],
        [0.0] * 1000,
    ],
    ids=str,
)
def test_extreme_float32_rows(row: list[float]) -> None:
    """Overflow, underflow, subnormals, signed zeros and total indifference, each with the last
    class as the label."""
    logits = np.array([row], dtype=np.float32)
    with np.errstate(over="ignore"):
        assert_as_reference(logits, np.array([len(row) - 1]))


@compiled
def test_every_float16_is_widened_exactly() -> None:
    """All 63,488 finite float16, subnormal ones too: each beats the next smaller one, whichever
    comes first."""
    values = np.unique(
        np.arange(2**16, dtype=np.uint16).view(np.float16)[
            np.isfinite(np.arange(2**16, dtype=np.uint16).view(np.float16))
        ]
    )
    pairs = np.stack([values[:-1], values[1:]], axis=1)
    none = np.full(len(pairs), -1)
    assert set(kernel.answers(pairs, none).prediction.tolist()) == {1}
    assert set(kernel.answers(pairs[:, ::-1], none).prediction.tolist()) == {0}


@compiled
@settings(max_examples=50)
@given(
    st.integers(1, 40).flatmap(
        lambda m: st.lists(
            st.lists(st.floats(-3e4, 3e4, width=16), min_size=m, max_size=m), min_size=1, max_size=5
        )
    )
)
def test_any_finite_rows(rows: list[list[float]]) -> None:
    """Whatever the values: as the reference, in float16 and in float32."""
    for dtype in (np.float16, np.float32):
        logits = np.array(rows, dtype=dtype)
        assert_as_reference(logits, np.arange(len(rows)) % logits.shape[1])


@compiled
def test_views_that_are_not_contiguous_are_read_right() -> None:
    """Every other row and the classes backwards: the answers of a copy."""
    logits, labels = drawn(40, 30)
    view = logits[::2, ::-1]
    np.testing.assert_array_equal(
        kernel.answers(view, labels[::2]).top5, kernel.answers(view.copy(), labels[::2]).top5
    )


@compiled
def test_no_rows_are_no_answers() -> None:
    assert (
        len(kernel.answers(np.zeros((0, 10), dtype=np.float32), np.zeros(0, dtype=np.int64))) == 0
    )


@compiled
def test_float64_is_refused() -> None:
    """Its order would be lost in float32."""
    with pytest.raises(UsageError, match=r"logits are float64. Allowed: float16 and float32"):
        kernel.answers(np.zeros((1, 3)), np.array([0]))  # type: ignore[arg-type]


def test_without_numba_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "AVAILABLE", False)
    with pytest.raises(UsageError, match="Install the extra 'fast'"):
        kernel.answers(np.zeros((1, 3), dtype=np.float32), np.array([0]))
