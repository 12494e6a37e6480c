"""Scores against scipy and by hand."""

import math

import pytest
import scipy.stats
import torch

from minillm.metrics import (
    T_975,
    bits_per_character,
    bootstrap_interval,
    distinct_n,
    perplexity,
    seed_interval,
)


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert bits_per_character(math.log(2), tokens=10, characters=40) == pytest.approx(0.25)


def test_distinct_n_by_hand_and_on_empty_texts():
    assert distinct_n(["a b a b"], 2) == 2 / 3
    assert distinct_n(["a b", "a b"], 1) == 0.5
    assert distinct_n([], 2) == distinct_n(["a"], 2) == 0


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_interval_over_seeds_is_students(n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(n)).double()
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean().item(), values.std().item() / math.sqrt(n))
    assert seed_interval(values)[1:] == pytest.approx((low, high), rel=1e-3)
    assert T_975[1:] == pytest.approx(scipy.stats.t.ppf(0.975, range(1, len(T_975))), abs=1e-3)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    covered = 0
    for seed in range(200):
        values = torch.rand(40, generator=torch.Generator().manual_seed(seed))
        interval = bootstrap_interval(values, samples=200, seed=seed)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.88 <= covered / 200 <= 0.98


def test_too_few_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="at least two runs, not 1"):
        seed_interval([1.0])
