"""Intervals and comparisons against scipy, sacrebleu and what they promise."""

import math
import random

import numpy as np
import pytest
import scipy.stats
import torch
from awkward import changed, pairs

from minillm.metrics import (
    SHARE,
    T_975,
    bleu,
    bleu_of,
    bleu_statistics,
    bootstrap_interval,
    paired_comparison,
    seed_interval,
    share_interval,
)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_interval_over_seeds_is_students(n):
    values = torch.randn(n, generator=torch.Generator().manual_seed(n)).double()
    low, high = scipy.stats.t.interval(0.95, n - 1, values.mean().item(), values.std().item() / math.sqrt(n))
    assert seed_interval(values)[1:] == pytest.approx((low, high), rel=1e-3)
    assert T_975[1:] == pytest.approx(scipy.stats.t.ppf(0.975, range(1, len(T_975))), abs=1e-3)


def test_an_interval_ends_at_its_limits_and_else_is_as_it_was():
    assert seed_interval([0.9, 0.95, 1.0], SHARE) == pytest.approx((0.95, seed_interval([0.9, 0.95, 1.0]).low, 1.0))
    assert seed_interval([0.0, 0.0, 0.01], SHARE).low == 0
    assert seed_interval([0.5, 0.51, 0.52], SHARE) == seed_interval([0.5, 0.51, 0.52])


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 7), (500, 804)])
def test_the_interval_of_a_share_is_wilsons(right, n):
    other = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
    assert share_interval(right, n) == pytest.approx((right / n, other.low, other.high), abs=1e-6)


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
    for right, n in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="is no share"):
            share_interval(right, n)


def test_an_interval_of_rows_is_that_of_what_they_score():
    values = torch.rand(60, generator=torch.Generator().manual_seed(1)).double()
    rows = torch.stack([values, torch.ones(60)], dim=1)
    of_rows = bootstrap_interval(rows, score=lambda rows: (rows[:, 0].sum() / rows[:, 1].sum()).item())
    assert of_rows == pytest.approx(bootstrap_interval(values))


def two_systems(N, seed, gap):
    """Scores of two systems on the same items, which are hard or easy for both."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=N)
    return hard + gap + rng.normal(size=N) * 0.5, hard + rng.normal(size=N) * 0.5


@pytest.mark.parametrize("gap", [0.0, 0.2, 0.6])
def test_p_is_that_of_all_ways_to_swap(gap):
    first, second = two_systems(10, seed=3, gap=gap)
    exact = scipy.stats.permutation_test(
        (first, second), lambda a, b: a.mean() - b.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert paired_comparison(first, second, samples=1000).p == pytest.approx(exact.pvalue, abs=0.04)


def test_the_bootstrap_of_differences_is_normal_where_items_are_many():
    first, second = two_systems(400, seed=5, gap=0.05)
    error = (first - second).std() / math.sqrt(400)
    expected = scipy.stats.norm((first - second).mean(), error)
    comparison = paired_comparison(first, second)
    assert comparison.difference == pytest.approx((expected.mean(), *expected.interval(0.95)), abs=0.15 * error)
    assert comparison.wins == pytest.approx(1 - expected.cdf(0), abs=0.03)
    unpaired = math.hypot(first.std(), second.std()) / math.sqrt(400)
    assert comparison.difference.high - comparison.difference.low < 2 * unpaired  # what is hard for both cancels


def test_p_is_below_5_percent_in_5_percent_of_equal_systems():
    p = [paired_comparison(*two_systems(30, seed, gap=0.0), samples=79, seed=seed).p for seed in range(60)]
    assert 0 < sum(one <= 0.05 for one in p) / 60 <= 0.1


def test_the_same_system_does_not_differ_from_itself():
    same = paired_comparison([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    assert same.difference == (0, 0, 0) and same.wins == 0 and same.p == 1


def test_the_other_way_round_is_the_opposite():
    first, second = two_systems(50, seed=1, gap=0.1)
    there, back = paired_comparison(first, second, 300), paired_comparison(second, first, 300)
    assert there.p == back.p and there.wins == pytest.approx(1 - back.wins)
    assert there.difference == pytest.approx((-back.difference.mean, -back.difference.high, -back.difference.low))


def test_two_systems_are_compared_by_bleu_as_sacrebleu_does_it():
    significance = pytest.importorskip("sacrebleu.significance")
    metric = pytest.importorskip("sacrebleu").BLEU()
    first, references = zip(*((candidate, own[0]) for candidate, own in pairs(60, seed=11)))
    rng = random.Random(0)
    second = [changed(rng, words) for words in first]
    rows = [bleu_statistics(texts, references) for texts in (first, second)]
    comparison = paired_comparison(*rows, samples=400, score=lambda rows: bleu_of(rows).score)
    assert comparison.difference.mean == pytest.approx(bleu(first, references).score - bleu(second, references).score)
    baseline = metric._extract_corpus_statistics(second, [references])
    known = {"BLEU": (baseline, significance.Result(metric._aggregate_and_compute(baseline).score))}
    _, theirs = significance._paired_ar_test(known, "first", first, [references], {"BLEU": metric}, 1000, seed=1)
    assert comparison.p == pytest.approx(theirs["BLEU"].p_value, abs=0.05)
    assert comparison.signature == "paired bootstrap and randomisation|items:60|samples:400|seed:0"


def test_different_items_are_not_compared():
    with pytest.raises(ValueError, match=r"shape \(2,\) and \(3,\)"):
        paired_comparison([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="at least one"):
        paired_comparison([], [])


def test_a_comparison_with_what_is_no_number_claims_nothing():
    found = paired_comparison([1.0, math.nan, 0.5], [0.0, 1.0, 0.2], samples=50)
    assert math.isnan(found.p) and math.isnan(found.wins) and math.isnan(found.difference.mean)
