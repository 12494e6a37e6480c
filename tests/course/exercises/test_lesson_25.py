"""The slips that people make in lesson 25 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch

from minillm.course.exercises import grade
from minillm.metrics import pass_at_k


def right_states(state, swaps):
    found = []
    for a, b in swaps:
        state = list(state)
        state[a], state[b] = state[b], state[a]
        found.append(state)
    return found


def right_advantages(rewards, scale):
    found = rewards - rewards.mean(1, keepdim=True)
    return found / (rewards.std(1, keepdim=True) + 1e-4) if scale else found


def right_gradient(logits, chosen, rewards):
    p, rewards = logits.softmax(0), torch.tensor(rewards)
    ways = torch.nn.functional.one_hot(torch.tensor(chosen), len(p)) - p
    return ((rewards - rewards.mean())[:, None] * ways).mean(0)


RIGHT = {
    "states_of_swaps": right_states,
    "advantages_in_group": right_advantages,
    "at_least_one": lambda n, c, k: pass_at_k([c], n, k),
    "group_gradient": right_gradient,
}


@pytest.mark.parametrize(("name", "answer"), RIGHT.items())
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", RIGHT)
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def one_list(state, swaps):
    state, found = list(state), []
    for a, b in swaps:
        state[a], state[b] = state[b], state[a]
        found.append(state)
    return found


def from_the_start(state, swaps):
    return [right_states(state, [swap])[0] for swap in swaps]


def in_place(state, swaps):
    found = []
    for a, b in swaps:
        state[a], state[b] = state[b], state[a]
        found.append(list(state))
    return found


def no_epsilon(rewards, scale):
    found = rewards - rewards.mean(1, keepdim=True)
    return found / rewards.std(1, keepdim=True) if scale else found


def no_baseline(logits, chosen, rewards):
    ways = torch.nn.functional.one_hot(torch.tensor(chosen), len(logits)) - logits.softmax(0)
    return (torch.tensor(rewards)[:, None] * ways).mean(0)


WRONG = [
    ("states_of_swaps", one_list, "keep a copy"),
    ("states_of_swaps", from_the_start, "the one before"),
    ("states_of_swaps", lambda s, w: [s, *right_states(s, w)][:-1], "after"),
    ("states_of_swaps", in_place, "handed in has changed"),
    ("states_of_swaps", lambda s, w: right_states(s, w)[-1], "2 states"),
    ("advantages_in_group", lambda r, s: right_advantages(r, False), "divide by the deviation"),
    ("advantages_in_group", lambda r, s: right_advantages(r, True), "nothing is divided"),
    ("advantages_in_group", lambda r, s: (r - r.mean(1, True)) * r.size(1) / (r.size(1) - 1), "RLOO"),
    ("advantages_in_group", lambda r, s: (r - r.mean(1, True)) / (r.std(1, True, correction=0) + 1e-4), "N - 1"),
    ("advantages_in_group", lambda r, s: right_advantages(r, s) if s else r - r.mean(), "mean of its own"),
    ("advantages_in_group", no_epsilon, "0 / 0"),
    ("at_least_one", lambda n, c, k: 1 - (1 - c / n) ** k, "picks the same sample again"),
    ("at_least_one", lambda n, c, k: c / n, "k = 1"),
    ("at_least_one", lambda n, c, k: 1 - math.comb(n - c, k) / math.comb(n, k) if c else 1.0, "with none right"),
    ("group_gradient", no_baseline, "baseline is missing"),
    ("group_gradient", lambda *a: -right_gradient(*a), "Downhill"),
    ("group_gradient", lambda g, c, r: right_gradient(g, c, r) * len(c), "not the sum"),
    ("group_gradient", lambda g, c, r: right_gradient(g, c, r)[:1], "shape"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong", verdict
    assert re.search(slip, verdict.message), verdict.message
