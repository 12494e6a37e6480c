"""Graders of lesson 25: states after swaps, advantages in a group, pass@k without bias, and the gradient of a group."""

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.training import group_advantages


@exercise("states_of_swaps")
def grade_states_of_swaps(answer: Callable) -> None:
    """Two swaps by hand, one that changes nothing, and that what was handed in stays as it was."""
    start = ["red", "blue", "green"]
    came = _states(answer(list(start), [(0, 1), (1, 2)]), 2)
    slips = [
        ([["blue", "green", "red"]] * 2, "All states are one list, which goes on changing: keep a copy of each."),
        ([["blue", "red", "green"], ["red", "green", "blue"]], "Each swap begins with the state after the one before."),
        ([start, ["blue", "red", "green"]], "The state *after* each swap, so the start is not among them."),
        ([["blue", "blue", "green"], ["blue", "green", "green"]], "One of the two was lost: swap both at once."),
        ([["red", "red", "green"], ["red", "green", "green"]], "One of the two was lost: swap both at once."),
    ]
    slip = likely_slip(came, slips, "After (0, 1) blue, red, green; after (1, 2) blue, green, red.")
    expect(came, [["blue", "red", "green"], ["blue", "green", "red"]], slip)
    expect(_states(answer(list(start), [(2, 2)]), 1), [start], "A swap of a place with itself changes nothing.")
    given = list(start)
    answer(given, [(0, 2)])
    expect(given, start, "The list that was handed in has changed: work on a copy.")


@exercise("advantages_in_group")
def grade_advantages_in_group(answer: Callable) -> None:
    """One right answer of three, two groups, groups that agree, and the library's own."""
    came = _tensor(answer(torch.tensor([[1.0, 0.0, 0.0]]), True), (1, 3))
    spread = math.sqrt(1 / 3)
    slips = [
        (torch.tensor([[1.0, -0.5, -0.5]]), "That is RLOO, the mean of the others; here the mean of all, divided."),
        (torch.tensor([[2.0, -1.0, -1.0]]) / 3, "With scale=True divide by the deviation of the group."),
        (
            torch.tensor([[2.0, -1.0, -1.0]]) / 3 / math.sqrt(2 / 9),
            "The deviation divides by N - 1 here, as torch does.",
        ),
        (torch.tensor([[2.0, -1.0, -1.0]]) / 3 / spread**2, "Divide by the deviation, not by the variance."),
    ]
    slip = likely_slip(came, slips, "Mean 1/3, deviation 0.577: 1.155, -0.577, -0.577.")
    expect(came, torch.tensor([[2.0, -1.0, -1.0]]) / 3 / spread, slip, tolerance=1e-3)
    two = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    came = _tensor(answer(two.clone(), False), (2, 4))
    slips = [
        (two - two.mean(), "Each group has a mean of its own: along the answers, dim 1."),
        (group_advantages(two), "With scale=False nothing is divided."),
    ]
    slip = likely_slip(came, slips, "The means are 1/4 and 3/4.")
    expect(came, two - two.mean(1, keepdim=True), slip)
    same = _tensor(answer(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), True), (2, 2))
    expect(same, torch.zeros(2, 2), "Where all answers agree the advantages are 0, and 0 / 0 is no number.")
    some = torch.rand(5, 8, generator=torch.Generator().manual_seed(0))
    expect(_tensor(answer(some.clone(), True), (5, 8)), group_advantages(some), "On random rewards.", tolerance=2e-3)


@exercise("at_least_one")
def grade_at_least_one(answer: Callable) -> None:
    """Small numbers by listing all choices; none right, all right, and large numbers."""
    came = _number(answer(4, 1, 2))
    slips = [
        (0.4375, "With the same share drawn twice: 1 - (1 - c/n)^k picks the same sample again. Without putting back."),
        (0.25, "That is k = 1."),
        (0.75, "C(n - c, k) counts the choices without a right one: 3 of 6."),
    ]
    expect(came, 0.5, likely_slip(came, slips, "Of the 6 pairs, 3 hold the right one."))
    for n, c, k in ((5, 2, 3), (6, 3, 2), (4, 0, 2), (4, 4, 1), (5, 3, 3), (3, 1, 3)):
        pairs = list(combinations(range(n), k))
        expected = sum(any(i < c for i in chosen) for chosen in pairs) / len(pairs)
        slip = f"For n = {n}, c = {c}, k = {k}: with fewer than k wrong ones it is 1, with none right it is 0."
        expect(_number(answer(n, c, k)), expected, slip)
    expect(_number(answer(400, 10, 100)), 1 - math.comb(390, 100) / math.comb(400, 100), "For 10 of 400 it differs.")


@exercise("group_gradient")
def grade_group_gradient(answer: Callable) -> None:
    """Three answers by hand, a group that agrees, and autograd on random ones."""
    logits = torch.zeros(3)
    came = _tensor(answer(logits.clone(), [0, 1], [1.0, 0.0]), (3,))
    # advantages 1/2 and -1/2: ((e0 - p) / 2 - (e1 - p) / 2) / 2
    slips = [
        (torch.tensor([-0.25, 0.25, 0.0]), "Downhill: asked is the direction in which the reward grows."),
        (torch.tensor([0.5, -0.5, 0.0]), "The mean over the answers, not the sum."),
        (torch.tensor([1 / 3, -1 / 6, -1 / 6]), "The baseline is missing: take the group's mean from each reward."),
    ]
    slip = likely_slip(came, slips, "Advantages 1/2 and -1/2, each times (one-hot - p), and the mean of the two.")
    expect(came, torch.tensor([0.25, -0.25, 0.0]), slip)
    came = _tensor(answer(torch.tensor([0.3, -0.2, 0.1]), [2, 0, 2], [1.0, 1.0, 1.0]), (3,))
    expect(came, torch.zeros(3), "Where all rewards are equal nothing is learned.")
    generator = torch.Generator().manual_seed(0)
    logits, rewards = torch.randn(6, generator=generator), torch.rand(9, generator=generator)
    chosen = torch.randint(6, (9,), generator=generator)
    free = logits.clone().requires_grad_()
    ((rewards - rewards.mean()) * free.log_softmax(0)[chosen]).mean().backward()
    came = _tensor(answer(logits.clone(), chosen.tolist(), rewards.tolist()), (6,))
    expect(came, free.grad, "On nine random answers autograd says otherwise: one-hot minus p, with the softmax p.")


def _states(came, n: int) -> list[list[str]]:
    if not isinstance(came, list | tuple) or len(came) != n:
        raise Wrong(f"it gave {came!r} where a list of {n} states was expected.")
    return [list(state) for state in came]


def _tensor(came, shape: tuple[int, ...]) -> Tensor:
    try:
        came = torch.as_tensor(came).detach().float()
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a tensor was expected.") from None
    if came.shape != shape:
        raise Wrong(f"it gave shape {tuple(came.shape)} where {shape} was expected.")
    return came


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where a number was expected.") from None
