"""pass@k equals its definition: all choices of k among the samples, counted; and it is unbiased."""

import doctest
from itertools import combinations, product
from math import comb

import pytest

from minillm.metrics import pass_at, pass_at_k


@pytest.mark.parametrize("n", [1, 4, 7])
def test_it_is_the_share_of_all_choices_of_k_that_hold_a_right_one(n):
    for c in range(n + 1):
        samples = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            choices = list(combinations(samples, k))
            assert pass_at_k([c], n, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_its_mean_over_all_that_could_be_drawn_is_the_chance_itself():
    p, n = 0.3, 5
    for k in range(1, n + 1):
        mean = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * pass_at_k([c], n, k) for c in range(n + 1))
        assert mean == pytest.approx(1 - (1 - p) ** k)
        plugged = sum(comb(n, c) * p**c * (1 - p) ** (n - c) * (1 - (1 - c / n) ** k) for c in range(n + 1))
        assert k == 1 or plugged < mean - 1e-3


def test_problems_are_averaged_and_what_cannot_be_is_refused():
    assert pass_at_k([4, 0, 1], 4, 1) == pytest.approx(5 / 12)
    for right, n, k in product([[1]], [3], [0, 4]):
        with pytest.raises(ValueError, match="of 3 samples it must be 1 to 3"):
            pass_at_k(right, n, k)
    for right in ([], [4], [-1]):
        with pytest.raises(ValueError, match="that cannot be"):
            pass_at_k(right, 3, 1)
    assert doctest.testmod(pass_at).failed == 0
