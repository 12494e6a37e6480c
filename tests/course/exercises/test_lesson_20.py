"""The slips that people make in lesson 20 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade
from minillm.metrics import T_975


def right_rank(shapes, room):
    return room // (4 * sum(out + inside for out, inside in shapes))


def right_bytes(there, learned, held):
    return 4 * there + 3 * 4 * learned + held


def right_front(points):
    return [
        i
        for i, (size, score) in enumerate(points)
        if not any(s <= size and r >= score and (s < size or r > score) for s, r in points)
    ]


def right_gain(ours, theirs):
    d = torch.tensor(ours, dtype=torch.float64) - torch.tensor(theirs, dtype=torch.float64)
    reach = T_975[len(d) - 1] * d.std().item() / len(d) ** 0.5
    return d.mean().item(), d.mean().item() - reach, d.mean().item() + reach


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("largest_rank", right_rank),
        ("step_bytes", right_bytes),
        ("pareto_front", right_front),
        ("paired_gain", right_gain),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", ["largest_rank", "step_bytes", "pareto_front", "paired_gain"])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def unpaired(ours, theirs):
    a, b = torch.tensor(ours), torch.tensor(theirs)
    mean = (a.mean() - b.mean()).item()
    reach = T_975[len(a) - 1] * (a.var() / len(a) + b.var() / len(b)).sqrt().item()
    return mean, mean - reach, mean + reach


def widened(factor, correction=1):
    """The right interval with another factor in the place of t over the root of n."""

    def gain(ours, theirs):
        d = torch.tensor(ours) - torch.tensor(theirs)
        reach = factor(len(d)) * d.std(correction=correction).item()
        return d.mean().item(), d.mean().item() - reach, d.mean().item() + reach

    return gain


def strictly(points):
    """Beaten only by what is better in both."""
    return [i for i, (a, b) in enumerate(points) if not any(s < a and r > b for s, r in points)]


def beaten_by_equals(points):
    return [
        i for i, (a, b) in enumerate(points) if not any(k != i and s <= a and r >= b for k, (s, r) in enumerate(points))
    ]


WRONG = [
    # the rank that fits a file
    ("largest_rank", lambda s, room: room // sum(a + b for a, b in s), "four bytes"),
    ("largest_rank", lambda s, room: room // (4 * sum(a * b for a, b in s)), "not in times out"),
    ("largest_rank", lambda s, room: -(-room // (4 * sum(a + b for a, b in s))), "[Rr]ound down"),
    ("largest_rank", lambda s, room: (room - 1) // (4 * sum(a + b for a, b in s)), "fits exactly"),
    ("largest_rank", lambda s, room: max(1, right_rank(s, room)), "Not even one"),
    ("largest_rank", lambda s, room: "three", "a whole number"),
    # what a step holds
    ("step_bytes", lambda n, k, h: 4 * n + 12 * n + h, "Frozen weights have neither"),
    ("step_bytes", lambda n, k, h: 4 * n + 8 * k + h, "two numbers for each that learns"),
    ("step_bytes", lambda n, k, h: 16 * k + h, "Frozen weights stand in memory"),
    ("step_bytes", lambda n, k, h: 4 * n + 12 * k + 4 * h, "in bytes already"),
    ("step_bytes", lambda n, k, h: 4 * n + 12 * k, "held for the backward pass counts"),
    ("step_bytes", lambda n, k, h: 4 * n + 16 * k + h, "stands there once"),
    ("step_bytes", lambda n, k, h: n + 3 * k + h, "four bytes"),
    ("step_bytes", lambda n, k, h: None if n else 0, "a number of bytes"),
    # what nothing beats
    ("pareto_front", strictly, "as large as point 0"),
    ("pareto_front", beaten_by_equals, "do not beat each other"),
    ("pareto_front", lambda p: right_front([(-a, b) for a, b in p]), "Small is good"),
    ("pareto_front", lambda p: [i for i in range(len(p)) if i not in right_front(p)], "that are beaten"),
    ("pareto_front", lambda p: [max(range(len(p)), key=lambda i: p[i][1])], "best score alone"),
    ("pareto_front", lambda p: sorted(right_front(p), key=lambda i: p[i][0]), "order of the list"),
    ("pareto_front", lambda p: 0, "a list of places"),
    # differences seed by seed
    ("paired_gain", lambda a, b: right_gain(b, a), "Turned round"),
    ("paired_gain", unpaired, "differences first"),
    ("paired_gain", widened(lambda n: 1.96 / n**0.5), "many runs"),
    ("paired_gain", widened(lambda n: T_975[n - 1]), "root of n"),
    ("paired_gain", widened(lambda n: T_975[n] / n**0.5), "degrees of freedom"),
    ("paired_gain", widened(lambda n: T_975[n - 1] / n**0.5, correction=0), "not by n"),
    ("paired_gain", lambda a, b: 0.2, "two ends"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
