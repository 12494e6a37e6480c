"""Graders of lesson 24: best-of-n exactly, how often judges agree, the best of every n letters, where a curve turns."""

import itertools
import math
from collections.abc import Callable

import torch

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("best_of_distribution")
def grade_best_of_distribution(answer: Callable) -> None:
    """Three answers by hand, one draw, and random policies against all triples of draws."""
    p = [0.5, 0.3, 0.2]
    came = _list(answer(list(p), 2))
    slips = [
        ([0.25, 0.64, 1.0], "That is F_i^n, the chance of a best no better than i: take off what came before."),
        ([0.75, 0.21, 0.04], "That is the worst of n. The list begins with the worst answer."),
        ([0.96, 0.03, 0.01], "Sum up from the worst to i, not from i to the best."),
        ([0.25, 0.09, 0.04], "p_i^n is the chance that all n draws are i. The others may be worse."),
        ([0.25 / 0.38, 0.09 / 0.38, 0.04 / 0.38], "p_i^n is the chance that all n draws are i; others may be worse."),
        ([0.75, 0.51, 0.36], "1 - (1 - p_i)^n is the chance that i is drawn at all. Something better may be, too."),
        ([0.125, 0.387, 0.488], "One draw too many."),
        ([0.5, 0.3, 0.2], "n has no effect."),
    ]
    expect(came, [0.25, 0.39, 0.36], likely_slip(came, slips, "F is 0.5, 0.8 and 1; squared, 0.25, 0.64 and 1."))
    expect(_list(answer(list(p), 1)), p, "With one draw nothing is chosen: the policy itself.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        some = torch.rand(4, generator=generator, dtype=torch.float64)
        some = (some / some.sum()).tolist()
        slow = [0.0] * 4
        for draws in itertools.product(range(4), repeat=3):
            slow[max(draws)] += math.prod(some[i] for i in draws)
        expect(_list(answer(list(some), 3)), slow, f"For p = {some} and n = 3 it differs from all triples of draws.")


@exercise("expected_agreement")
def grade_expected_agreement(answer: Callable) -> None:
    """Two judges by hand, a coin, a judge that is always wrong, and random ones counted out."""
    came = _number(answer(0.9, 0.8))
    slips = [
        (0.72, "Of two answers both can be wrong, and then they agree as well."),
        (0.85, "The mean of the two is no agreement: two judges who are both right at 0.5 agree at 0.5, by chance."),
        (0.9, "Agreement is not what the better one reaches, nor 1 less the difference."),
        (0.8, "Agreement is not what the worse one reaches: where that is right, the better one may be wrong."),
        (0.26, "That is how often they differ."),
        (0.98, "That is how often at least one is right."),
    ]
    expect(came, 0.74, likely_slip(came, slips, "Both right: 0.72. Both wrong: 0.1 x 0.2."))
    expect(_number(answer(0.5, 0.93)), 0.5, "With a coin everybody agrees half of the time.")
    expect(_number(answer(0.0, 0.3)), 0.7, "Somebody who is always wrong agrees with those who err.")
    for a, b in torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist():
        slow = sum(
            (a if first else 1 - a) * (b if second else 1 - b)
            for first, second in itertools.product((True, False), repeat=2)
            if first == second
        )
        expect(_number(answer(a, b)), slow, f"For {a} and {b} it differs from all four cases, counted out.")


@exercise("expected_best")
def grade_expected_best(answer: Callable) -> None:
    """Four letters by hand, n = 1 and n = N, and random scores against every choice of n."""
    proxy, truth = [0.1, 0.9, 0.5, 0.7], [4.0, 1.0, 3.0, 2.0]
    came = _number(answer(list(proxy), list(truth), 2))
    slips = [
        (20 / 6, "The proxy chooses; the truth only says what its choice is worth."),
        (4.6 / 6, "That is the proxy of its choice. What is its choice worth?"),
        (1.0, "That is the best of all four: take every choice of n."),
        (1.5, "Two groups of two are two of the six choices: take every one."),
        (30 / 16, "No letter is drawn twice: a choice of n is n different letters."),
        (2.5, "That is the mean of all: nothing was chosen."),
        (10.0, "The mean over the six choices, not their sum."),
    ]
    slip = likely_slip(came, slips, "The six pairs give 1, 3, 2, 1, 1 and 2.")
    expect(came, 10 / 6, slip)
    expect(_number(answer(list(proxy), list(truth), 1)), 2.5, "With n = 1 nothing is chosen: the mean.")
    expect(_number(answer(list(proxy), list(truth), 4)), 1.0, "With n = N there is one choice: the proxy's favourite.")
    generator = torch.Generator().manual_seed(0)
    for n in (2, 3, 5):
        some, worth = torch.rand(2, 7, generator=generator, dtype=torch.float64).tolist()
        chosen = [worth[max(group, key=some.__getitem__)] for group in itertools.combinations(range(7), n)]
        slow = sum(chosen) / len(chosen)
        expect(_number(answer(list(some), list(worth), n)), slow, f"Of 7 letters with n = {n} it differs.")


@exercise("goodhart_peak")
def grade_goodhart_peak(answer: Callable) -> None:
    """An exact curve, one that never turns, and noisy points against torch's least squares."""
    came = _list(answer([1.0, 2.0, 3.0], [0.8, 1.2, 1.2]))
    slips = [
        ([1.0, -0.2, 2.5], "beta is what is taken off: d (alpha - beta d)."),
        ([1.0, -0.2, -2.5], "beta is what is taken off: d (alpha - beta d)."),
        ([1.0, 0.2, 5.0], "There everything that was gained is lost again. The peak is half as far."),
        ([1.0, 0.2, 1.25], "That is the height of the curve at its peak. Where is it?"),
        ([0.2, 1.0, 2.5], "alpha first, then beta."),
    ]
    expect(came, [1.0, 0.2, 2.5], likely_slip(came, slips, "The points are d (1 - 0.2 d) exactly."))
    came = _list(answer([1.0, 2.0], [1.1, 2.4]))
    expect(came, [1.0, -0.1, math.inf], "Where beta is not positive the curve never turns: the peak is math.inf.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        d = torch.rand(6, generator=generator, dtype=torch.float64) * 4
        gains = d * (1 - 0.2 * d) + 0.1 * torch.randn(6, generator=generator, dtype=torch.float64)
        columns = torch.stack((d, -d * d), dim=1)
        alpha, beta = torch.linalg.lstsq(columns, gains[:, None]).solution.flatten().tolist()
        came = _list(answer(d.tolist(), gains.tolist()))
        free = torch.linalg.lstsq(torch.cat((columns, torch.ones(6, 1, dtype=torch.float64)), 1), gains[:, None])
        a, b, _ = free.solution.flatten().tolist()
        ratio = torch.linalg.lstsq(torch.stack((torch.ones_like(d), -d), dim=1), (gains / d)[:, None])
        u, v = ratio.solution.flatten().tolist()
        slips = [
            ([a, b, a / (2 * b)], "At distance 0 nothing is gained: the curve has no constant."),
            ([u, v, u / (2 * v)], "Fit the gains themselves. Divided by d, points near 0 weigh too much."),
        ]
        slip = likely_slip(came, slips, "It differs from the least squares of torch for noisy points.")
        expect(came, [alpha, beta, alpha / (2 * beta) if beta > 0 else math.inf], slip)


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number was expected.") from None


def _list(came) -> list[float]:
    came = came.tolist() if hasattr(came, "tolist") else came
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of numbers was expected.")
    return [_number(value) for value in came]
