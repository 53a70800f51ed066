"""Tests and intervals against answers worked by hand, against scipy, and against the laws that make
them fit for claims."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.statistics import blocks, holm, mean_square, p_above

GROUPS = [[1.0, 2.0, 4.0], [3.0, 5.0, 5.0], [2.0, 2.0, 6.0]]


def test_p_above_is_that_of_student_s_t() -> None:
    # Mean 2, sd 1, n 3: t = 2 * sqrt(3) = 3.4641; two degrees of freedom: p = 1 - t / sqrt(2 + t^2)
    #     = 1 - 3.4641 / sqrt(14).
    assert p_above([1.0, 2.0, 3.0], 0.0) == pytest.approx(1 - 12**0.5 / 14**0.5)
    assert p_above([1.0, 2.0, 3.0], 4.0) == 1.0
    assert p_above([-1.0, -2.0, -3.0], 0.0) == 1.0


def test_holm_s_steps() -> None:
    """.01 x 3, .03 x 2, and .04 x 1 that may not lie below the one before it; one at most; what
    was not tested counts for nothing."""
    assert holm([0.04, 0.01, np.nan, 0.03]) == pytest.approx(
        [0.06, 0.03, np.nan, 0.06], nan_ok=True
    )
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


def test_one_value_decides_nothing_equal_values_do_and_a_tie_does_not() -> None:
    assert p_above([5.0], 0.0) == 1.0
    assert p_above([5.0, 5.0], 0.0) == 0.0
    assert p_above([0.8 - 0.75] * 3, 0.05) == 1.0  # 0.050000000000000044


def test_blocks_by_hand() -> None:
    # Row means 2 and 4, column means 1, 3, 5: residuals of [[1, 2, 3], [1, 4, 7]] are [[1, 0, -1],
    #     [-1, 0, 1]], sum of squares 4, df 2.
    # Between the means: variance 2, times n = 3, over 4 / 2 = 2: F = 3 on 1 and 2 degrees of
    #     freedom, p = 1 - sqrt(F / (F + 2)).
    found = blocks([[1.0, 2.0, 3.0], [1.0, 4.0, 7.0]])
    assert found.noise == pytest.approx(2**0.5)
    assert found.size == pytest.approx((2 - 2 / 3) ** 0.5)
    assert found.p == pytest.approx(1 - (3 / 5) ** 0.5)


def test_what_a_block_adds_to_all_groups_changes_nothing() -> None:
    """The twin shows that the check can fail: a one-way analysis of variance turns from a clear
    difference to none."""
    stats = pytest.importorskip("scipy.stats")
    clear = np.array([[1.0, 1.1, 0.9], [2.1, 2.0, 1.9], [3.0, 2.9, 3.1]])
    shifted = clear + np.array([0.0, 50.0, -50.0])
    assert blocks(list(shifted)).p == pytest.approx(blocks(list(clear)).p)
    assert blocks(list(clear)).p < 1e-3
    assert stats.f_oneway(*clear).pvalue < 1e-3
    assert stats.f_oneway(*shifted).pvalue > 0.9


def test_blocks_see_a_difference_that_adds_up_within_every_block_and_order_does_not_matter() -> (
    None
):
    found = blocks(GROUPS)
    assert blocks(GROUPS[::-1]).p == pytest.approx(found.p)
    assert blocks([[row[1], row[2], row[0]] for row in GROUPS]).p == pytest.approx(found.p)


def test_mean_square_takes_the_noise_off() -> None:
    # Means 3 and -3 with variance 1 each: mean square 9, less 1 / 2 seeds.
    found = mean_square([[3 - 0.5**0.5, 3 + 0.5**0.5], [-3 - 0.5**0.5, -3 + 0.5**0.5]])
    assert found.noise == pytest.approx(1.0)
    assert found.size == pytest.approx(8.5**0.5)
    assert mean_square([[-1.0, 1.0], [1.0, -1.0]]).size == 0.0


def test_the_interval_of_a_spread_lies_around_it_and_ends_where_it_should() -> None:
    sharp = blocks([[0.0, 0.01, -0.01], [1.0, 0.99, 1.01], [2.0, 2.01, 1.99]])  # sd of the means 1
    assert sharp.p_under(1.1) < 0.05 < sharp.p_over(1.1)
    assert sharp.p_over(0.9) < 0.05 < sharp.p_under(0.9)
    assert min(blocks(GROUPS).p_under(1.5), blocks(GROUPS).p_over(0.5)) > 0.05
    assert blocks(GROUPS).p_over(0.0) == pytest.approx(2 * blocks(GROUPS).p, rel=0.01)
    # equal to the last digit
    assert blocks([[1.0, 1.0], [1.0, 1.0]]).p_under(0.1) == pytest.approx(0.0)


def test_two_groups_of_the_same_mean_differ_in_one_of_twenty() -> None:
    """The size of the test, from 2,000 draws of a fixed generator: 5 % within three standard
    errors, whatever the seeds add."""
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 1, (2000, 4, 3)) + draw.normal(0, 10, (2000, 1, 3))
    share = np.mean([blocks(list(x)).p < 0.05 for x in noise])
    assert abs(share - 0.05) < 0.015


def test_a_spread_at_the_margin_is_called_larger_or_smaller_in_one_of_twenty_at_most() -> None:
    draw = np.random.default_rng(1)
    means = np.array([-1.0, 1.0, 1.0, -1.0])  # root mean square 1
    found = [mean_square(list(means[:, None] + draw.normal(0, 0.7, (4, 3)))) for _ in range(300)]
    assert np.mean([x.p_under(1.0) < 0.05 for x in found]) < 0.06
    assert np.mean([x.p_over(1.0) < 0.05 for x in found]) < 0.06


def test_values_too_noisy_to_tell_never_come_out_as_equal() -> None:
    """Means that by luck are all 0 under a noise ten times the margin; the twin: with a noise far
    under the margin they do."""
    assert mean_square([[-10.0, 10.0], [10.0, -10.0]]).p_under(1.0) > 0.05
    assert mean_square([[-0.01, 0.01], [0.01, -0.01]]).p_under(1.0) < 0.05
