"""The slips that people make in lesson 24 are wrong, each with its own message. (Its folded solutions are right.)"""

import itertools
import math
import re
from math import comb

import numpy as np
import pytest

from minillm.course.exercises import grade


def right_distribution(p, n):
    powers = [sum(p[: i + 1]) ** n for i in range(len(p))]
    return [a - b for a, b in zip(powers, [0.0, *powers])]


def right_agreement(a, b):
    return a * b + (1 - a) * (1 - b)


def right_best(proxy, truth, n):
    order = sorted(range(len(proxy)), key=proxy.__getitem__)
    return sum(truth[i] * comb(k, n - 1) for k, i in enumerate(order)) / comb(len(proxy), n)


def right_peak(d, gains):
    (alpha, beta), *_ = np.linalg.lstsq(np.array([[x, -x * x] for x in d]), np.array(gains), rcond=None)
    return alpha, beta, alpha / (2 * beta) if beta > 0 else math.inf


RIGHT = {
    "best_of_distribution": right_distribution,
    "expected_agreement": right_agreement,
    "expected_best": right_best,
    "goodhart_peak": right_peak,
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name):
    assert grade(name, RIGHT[name]).status == "right", grade(name, RIGHT[name])


@pytest.mark.parametrize("name", RIGHT)
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def choices(proxy, truth, n, by=None, worth=None):
    """The mean over all choices of n, with another choice, or another worth of it."""
    by, worth = by or proxy, worth or truth
    groups = list(itertools.combinations(range(len(proxy)), n))
    return sum(worth[max(group, key=by.__getitem__)] for group in groups) / len(groups)


def in_groups(proxy, truth, n):
    groups = [range(k, k + n) for k in range(0, len(proxy), n)]
    return sum(truth[max(group, key=proxy.__getitem__)] for group in groups) / len(groups)


def with_replacement(proxy, truth, n):
    order, size = sorted(range(len(proxy)), key=proxy.__getitem__), len(proxy)
    return sum(truth[i] * (((k + 1) / size) ** n - (k / size) ** n) for k, i in enumerate(order))


def fitted(columns, weight=lambda x: 1.0):
    """A fit to other columns, or with weights: alpha, beta and the peak."""

    def peak(d, gains):
        rows = np.array([[weight(x) * c for c in columns(x)] for x in d])
        alpha, beta, *_ = np.linalg.lstsq(rows, np.array([weight(x) * g for x, g in zip(d, gains)]), rcond=None)[0]
        return alpha, beta, alpha / (2 * beta) if beta > 1e-9 else math.inf

    return peak


def changed(change):
    """The right fit, and something done to it."""
    return lambda d, gains: change(*right_peak(d, gains))


WRONG = [
    # the distribution of the best
    ("best_of_distribution", lambda p, n: [sum(p[: i + 1]) ** n for i in range(len(p))], "what came before"),
    ("best_of_distribution", lambda p, n: right_distribution(p[::-1], n)[::-1], "from the worst to i|worst of n"),
    ("best_of_distribution", lambda p, n: [x**n for x in p], "all n draws are i"),
    ("best_of_distribution", lambda p, n: [x**n / sum(y**n for y in p) for x in p], "all n draws are i"),
    ("best_of_distribution", lambda p, n: [1 - (1 - x) ** n for x in p], "drawn at all"),
    ("best_of_distribution", lambda p, n: right_distribution(p, n + 1), "One draw too many"),
    ("best_of_distribution", lambda p, n: p, "no effect"),
    ("best_of_distribution", lambda p, n: 0.39, "a list of numbers"),
    # agreement by chance
    ("expected_agreement", lambda a, b: a * b, "both can be wrong"),
    ("expected_agreement", lambda a, b: (a + b) / 2, "mean of the two"),
    ("expected_agreement", lambda a, b: 1 - abs(a - b), "1 less the difference"),
    ("expected_agreement", min, "the worse one"),
    ("expected_agreement", lambda a, b: 1 - right_agreement(a, b), "how often they differ"),
    ("expected_agreement", lambda a, b: 1 - (1 - a) * (1 - b), "at least one"),
    ("expected_agreement", lambda a, b: "often", "a number was expected"),
    # the best of all choices of n
    ("expected_best", lambda p, t, n: choices(p, t, n, by=t), "The proxy chooses"),
    ("expected_best", lambda p, t, n: choices(p, t, n, worth=p), "the proxy of its choice"),
    ("expected_best", lambda p, t, n: t[p.index(max(p))], "best of all four"),
    ("expected_best", in_groups, "two of the six"),
    ("expected_best", with_replacement, "drawn twice"),
    ("expected_best", lambda p, t, n: sum(t) / len(t), "nothing was chosen"),
    ("expected_best", lambda p, t, n: right_best(p, t, n) * comb(len(p), n), "not their sum"),
    # where the curve turns
    ("goodhart_peak", changed(lambda a, b, peak: (a, -b, peak)), "what is taken off"),
    ("goodhart_peak", changed(lambda a, b, peak: (a, b, a / b)), "half as far"),
    ("goodhart_peak", changed(lambda a, b, peak: (a, b, a * a / (4 * b))), "height of the curve"),
    ("goodhart_peak", changed(lambda a, b, peak: (b, a, peak)), "alpha first"),
    ("goodhart_peak", changed(lambda a, b, peak: (a, b, a / (2 * b))), "never turns"),
    ("goodhart_peak", fitted(lambda x: (x, -x * x), lambda x: 1 / x), "Divided by d"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message


def test_a_curve_with_a_constant_is_named():
    def with_constant(d, gains):
        if len(d) < 4:
            return right_peak(d, gains)
        return fitted(lambda x: (x, -x * x, 1.0))(d, gains)

    assert "no constant" in grade("goodhart_peak", with_constant).message
