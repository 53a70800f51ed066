"""Keyed random numbers: a draw is a pure function of key, example and draw number."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from zoo import keyed

# time limits fail on a busy machine, not on a wrong result
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

IDS = st.lists(st.integers(0, 2**40), unique=True, max_size=50).map(
    lambda ids: np.array(ids, dtype=np.int64)
)
KEYS = st.text(max_size=20)
MASK = 2**64 - 1


def splitmix64(x: int) -> int:
    """The finaliser of Steele, Lea, Flood 2014 in plain integers, written independently of the
    module."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def test_the_mixer_is_splitmix64() -> None:
    """First outputs of the published generator for seed 1234567."""
    state, outputs = 1234567, []
    for _ in range(3):
        outputs.append(splitmix64(state))
        state = (state + 0x9E3779B97F4A7C15) & MASK
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@given(key=KEYS, example_ids=IDS, draws=st.integers(1, 4))
def test_uniform_is_the_documented_hash(key: str, example_ids: np.ndarray, draws: int) -> None:
    """Recomputed with Python integers and hashlib: nothing depends on numpy, machine or order."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    expected = [
        [
            (splitmix64((splitmix64(int(i) ^ seed) + d * 0x9E3779B97F4A7C15) & MASK) >> 11) / 2**53
            for d in range(draws)
        ]
        for i in example_ids
    ]
    assert keyed.key_seed(key) == seed
    assert keyed.uniform(key, example_ids, draws).tolist() == expected


@given(key=KEYS, example_ids=IDS, seed=st.integers(0, 99))
def test_a_draw_does_not_depend_on_its_neighbours(
    key: str, example_ids: np.ndarray, seed: int
) -> None:
    """Permuting or cutting the examples permutes or cuts the draws; more draws per example leave
    the first ones."""
    order = np.random.default_rng(seed).permutation(len(example_ids))
    draws = keyed.uniform(key, example_ids, 3)
    assert np.array_equal(keyed.uniform(key, example_ids[order], 3), draws[order])
    assert np.array_equal(keyed.uniform(key, example_ids[:7], 3), draws[:7])
    assert np.array_equal(keyed.uniform(key, example_ids, 1), draws[:, :1])


def test_draws_are_uniform_and_independent() -> None:
    """100,000 neighbouring ids: uniform, uncorrelated between neighbours, draws and keys."""
    ids = np.arange(100_000)
    draws = keyed.uniform("test", ids, 2)
    other = keyed.uniform("tesu", ids)[:, 0]
    assert kstest(draws[:, 0], "uniform").pvalue > 1e-3
    assert kstest(draws[:, 1], "uniform").pvalue > 1e-3
    for left, right in [
        (draws[:, 0], draws[:, 1]),
        (draws[:-1, 0], draws[1:, 0]),
        (draws[:, 0], other),
    ]:
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / np.sqrt(len(left))


@given(key=KEYS, example_ids=IDS, high=st.integers(1, 1000))
def test_integers_stay_below_high(key: str, example_ids: np.ndarray, high: int) -> None:
    drawn = keyed.integers(key, example_ids, high, draws=2)
    assert drawn.shape == (len(example_ids), 2)
    assert ((drawn >= 0) & (drawn < high)).all()


def test_integers_are_even() -> None:
    counts = np.bincount(keyed.integers("dice", np.arange(60_000), 6)[:, 0], minlength=6)
    assert chisquare(counts).pvalue > 1e-3


@given(key=KEYS, example_ids=IDS, data=st.data())
def test_choose_takes_the_exact_count_whatever_the_order(
    key: str, example_ids: np.ndarray, data: st.DataObject
) -> None:
    """``count`` different positions, sorted; the same examples after a permutation; a smaller
    choice lies within a larger."""
    count = data.draw(st.integers(0, len(example_ids)))
    chosen = keyed.choose(key, example_ids, count)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert len(chosen) == count
    order = np.random.default_rng(count).permutation(len(example_ids))
    assert set(example_ids[order][keyed.choose(key, example_ids[order], count)]) == set(
        example_ids[chosen]
    )
    smaller = data.draw(st.integers(0, count))
    assert set(keyed.choose(key, example_ids, smaller)) <= set(chosen)


@given(key=KEYS, example_ids=IDS, data=st.data())
def test_choose_takes_the_smallest_draws(
    key: str, example_ids: np.ndarray, data: st.DataObject
) -> None:
    """Chosen examples have smaller draws than the others: the rule that subsets made elsewhere must
    follow."""
    chosen = keyed.choose(key, example_ids, data.draw(st.integers(0, len(example_ids))))
    draws = keyed.uniform(key, example_ids)[:, 0]
    assert max(draws[chosen], default=0.0) <= min(np.delete(draws, chosen), default=1.0)


def test_equal_draws_go_to_the_lower_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "uniform", lambda key, ids: np.zeros((len(ids), 1)))
    assert keyed.choose("key", np.array([9, 4, 7]), 2).tolist() == [1, 2]


@pytest.mark.parametrize("count", [-1, 4])
def test_choose_refuses_an_impossible_count(count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot choose {count} of 3 examples"):
        keyed.choose("key", np.arange(3), count)
