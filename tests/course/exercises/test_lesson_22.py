"""The slips that people make in lesson 22 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade


def right_step(logits, arm, reward, baseline, rate):
    p = torch.tensor(logits).softmax(0)
    return (torch.tensor(logits) + rate * (reward - baseline) * (torch.eye(len(p))[arm] - p)).tolist()


def right_learns(ratio, advantage, clip):
    return (advantage > 0 and ratio < 1 + clip) or (advantage < 0 and ratio > 1 - clip)


def right_rewards(score, k1, beta):
    return [-beta * k for k in k1[:-1]] + [score - beta * k1[-1]]


def right_advantages(rewards, values, mask, gamma, lam):
    places = [t for t, real in enumerate(mask) if real]
    found = [0.0] * len(mask)
    for i, t in enumerate(places):
        for k, place in enumerate(places[i:]):
            after = values[places[i + k + 1]] if i + k + 1 < len(places) else 0.0
            found[t] += (gamma * lam) ** k * (rewards[place] + gamma * after - values[place])
    return found


RIGHT = [
    ("policy_step", right_step),
    ("still_learns", right_learns),
    ("token_rewards", right_rewards),
    ("token_advantages", right_advantages),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT, ids=[name for name, _ in RIGHT])
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", [name for name, _ in RIGHT])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def only_the_arm(logits, arm, reward, baseline, rate):
    return [z + (i == arm) * rate * (reward - baseline) for i, z in enumerate(logits)]


def of_p(logits, arm, reward, baseline, rate):
    """The gradient of p instead of that of ln p."""
    p = torch.tensor(logits).softmax(0)
    return (torch.tensor(logits) + rate * (reward - baseline) * p[arm] * (torch.eye(len(p))[arm] - p)).tolist()


def walk(rewards, values, mask, gamma, lam, trusting=False, loud=False, plain=False):
    """A loop with a slip: expects something of the padding, leaves it in, or forgets gamma at one place."""
    found, advantage, after = [], 0.0, 0.0
    for reward, value, real in reversed(list(zip(rewards, values, mask))):
        if real:
            advantage = reward + (1.0 if plain else gamma) * after - value + gamma * lam * advantage
        found.append(advantage if real else value if loud else 0.0)
        after = value if real or trusting else after
    return found[::-1]


def sums_forwards(rewards, values, mask, gamma, lam):
    deltas = right_advantages(rewards, values, mask, gamma, 0.0)
    found, total = [], 0.0
    for delta, real in zip(deltas, mask):
        total = delta + gamma * lam * total if real else total
        found.append(total if real else 0.0)
    return found


WRONG = [
    # a step of REINFORCE
    ("policy_step", lambda z, a, r, b, s: right_step(z, a, r, b, -s), "Upwards"),
    ("policy_step", only_the_arm, "other logits move"),
    ("policy_step", lambda z, a, r, b, s: right_step(z, a, r, 0.0, s), "baseline is missing"),
    ("policy_step", lambda z, a, r, b, s: right_step(z, a, r, b, 1.0), "rate is missing"),
    ("policy_step", of_p, "not of p"),
    ("policy_step", lambda *x: torch.tensor(right_step(*x)).softmax(0).tolist(), "not the probabilities"),
    ("policy_step", lambda *x: 1.0, "a list of numbers"),
    # what clipping stops
    ("still_learns", lambda rho, a, c: a != 0 and abs(rho - 1) < c, "has to be undone"),
    ("still_learns", lambda rho, a, c: a != 0 and rho < 1 + c, "less likely by more"),
    ("still_learns", lambda rho, a, c: a != 0, "had its share"),
    ("still_learns", lambda rho, a, c: right_learns(rho, a, c) or a == 0, "pulls nowhere"),
    ("still_learns", lambda rho, a, c: right_learns(rho, -a, c), "had its share"),
    ("still_learns", lambda rho, a, c: right_learns(rho, a, 0.2), "not always 0.2"),
    ("still_learns", lambda rho, a, c: int(right_learns(rho, a, c)), "True or False"),
    # the reward of each token
    ("token_rewards", lambda s, k, b: right_rewards(s, k, -b), "paid for"),
    ("token_rewards", lambda s, k, b: [s - b * x for x in k], "last token alone"),
    ("token_rewards", lambda s, k, b: [-b * x for x in k[:-1]] + [s], "pays for its distance as well"),
    ("token_rewards", lambda s, k, b: [0.0] * (len(k) - 1) + [s - b * sum(k)], "where it stands"),
    ("token_rewards", lambda s, k, b: right_rewards(s, k, 1.0), "price is missing"),
    ("token_rewards", lambda s, k, b: [-b * x for x in k], "score of the answer is missing"),
    ("token_rewards", lambda s, k, b: right_rewards(s, [abs(x) for x in k], b), "no absolute value"),
    ("token_rewards", lambda s, k, b: right_rewards(s, [max(x, 0) for x in k], b), "cut off"),
    ("token_rewards", lambda s, k, b: s - b * sum(k), "a list of numbers"),
    # advantages with a mask
    ("token_advantages", lambda r, v, m, g, lam: right_advantages(r, v, m, g, 0.0), "lam is missing"),
    ("token_advantages", lambda r, v, m, g, lam: right_advantages(r, v, m, g, 1.0), "lam = 1"),
    ("token_advantages", lambda *x: walk(*x, trusting=True), "nothing is expected after the end"),
    ("token_advantages", lambda *x: walk(*x, loud=True), "the mask is 0"),
    ("token_advantages", lambda *x: right_advantages(*x)[::-1], "turned round"),
    ("token_advantages", sums_forwards, "Backwards"),
    ("token_advantages", lambda r, v, m, g, lam: right_advantages(r, v, m, 1.0, lam), "gamma is missing"),
    ("token_advantages", lambda r, v, m, g, lam: right_advantages(r, v, m, g, 0.5 / g), "gamma times lam"),
    ("token_advantages", lambda *x: walk(*x, plain=True), "at the value behind"),
    ("token_advantages", lambda *x: 0.5, "a list of numbers"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
