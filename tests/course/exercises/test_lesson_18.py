"""The slips that people make in lesson 18 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade


def right_size(shapes, rank):
    return sum(rank * (out + inside) for out, inside in shapes)


def right_gradients(G, A, B, scale):
    return scale * B.T @ G, scale * G @ A.T


def right_ranks(change, share):
    squares = torch.linalg.svdvals(change) ** 2
    return int((squares.cumsum(0) < share * squares.sum() * (1 - 1e-6)).sum()) + 1


def right_join(first, second):
    (A1, B1, s1), (A2, B2, s2) = first, second
    return torch.cat([A1, A2]), torch.cat([s1 * B1, s2 * B2], dim=1)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("lora_size", right_size),
        ("lora_gradients", right_gradients),
        ("ranks_needed", right_ranks),
        ("joined_adapters", right_join),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def stub(*arguments):
    """An answer that nobody has written yet."""
    ...


@pytest.mark.parametrize("name", ["lora_size", "lora_gradients", "ranks_needed", "joined_adapters"])
def test_an_untouched_exercise_is_not_answered_yet(name):
    assert grade(name, stub).status == "not answered yet"


def untransposed(G, A, B, scale):
    return scale * B.T @ G.T, scale * G.T @ A.T


def constant(G, A, B, scale):
    return torch.tensor([[60.0, 80.0]]), torch.tensor([[10.0], [30.0]])


def not_squared(change, share):
    values = torch.linalg.svdvals(change)
    return int((values.cumsum(0) < share * values.sum() * (1 - 1e-6)).sum()) + 1


def more_than_the_share(change, share):
    squares = torch.linalg.svdvals(change) ** 2
    return int((squares.cumsum(0) <= share * squares.sum() * (1 + 1e-6)).sum()) + 1


def smallest_first(change, share):
    squares = torch.linalg.svdvals(change).flip(0) ** 2
    return int((squares.cumsum(0) < share * squares.sum() * (1 - 1e-6)).sum()) + 1


def rooted(change, share):
    squares = torch.linalg.svdvals(change) ** 2
    norms = squares.cumsum(0).sqrt() / squares.sum().sqrt()
    return int((norms < share).sum()) + 1


def added(first, second):
    (A1, B1, s1), (A2, B2, s2) = first, second
    return A1 + A2, s1 * B1 + s2 * B2


def without_scales(first, second):
    return right_join((*first[:2], 1.0), (*second[:2], 1.0))


def scales_twice(first, second):
    return right_join((first[0], first[1], first[2] ** 2), (second[0], second[1], second[2] ** 2))


def one_for_both(first, second):
    return right_join((*first[:2], second[2]), (*second[:2], first[2]))


def only_rank_one(first, second):
    """Right for two of rank 1: takes the first rank of each."""
    (A1, B1, s1), (A2, B2, s2) = first, second
    return torch.cat([A1[:1], A2[:1]]), torch.cat([s1 * B1[:, :1], s2 * B2[:, :1]], dim=1)


WRONG = [
    # how many numbers learn
    ("lora_size", lambda shapes, rank: sum(a * b for a, b in shapes), "the matrix itself"),
    ("lora_size", lambda shapes, rank: sum(rank * a * b for a, b in shapes), "not their product"),
    ("lora_size", lambda shapes, rank: sum(a + b for a, b in shapes), "for rank 1"),
    ("lora_size", lambda shapes, rank: sum(rank * a for a, _ in shapes), "B alone"),
    ("lora_size", lambda shapes, rank: sum(rank * b for _, b in shapes), "A alone"),
    ("lora_size", lambda shapes, rank: rank * sum(shapes[0]) if shapes else 0, "first matrix only"),
    ("lora_size", lambda shapes, rank: rank * sum(shapes[-1]) if shapes else 0, "last matrix only"),
    ("lora_size", lambda shapes, rank: "20", "a whole number"),
    # the gradients of both
    ("lora_gradients", lambda *a: right_gradients(*a)[::-1], "of A first"),
    ("lora_gradients", lambda G, A, B, scale: right_gradients(G, A, B, 1.0), "and so both gradients"),
    ("lora_gradients", lambda G, A, B, scale: right_gradients(G, A, B, scale**2), "not squared"),
    ("lora_gradients", untransposed, "not G itself"),
    ("lora_gradients", lambda *a: tuple(g.T for g in right_gradients(*a)), "the shape of its matrix"),
    (
        "lora_gradients",
        constant,
        "nothing pulls at A",
    ),
    ("lora_gradients", lambda *a: 3, "two tensors"),
    # how many ranks a change needs
    ("ranks_needed", not_squared, "without squaring"),
    ("ranks_needed", lambda c, s: right_ranks(c, s) - 1, "Count the last one too"),
    ("ranks_needed", smallest_first, "largest come first"),
    ("ranks_needed", rooted, "take a root"),
    ("ranks_needed", more_than_the_share, "that is enough"),
    ("ranks_needed", lambda c, s: min(right_ranks(c, s), 2), "has rank 3"),
    # two adapters as one
    ("joined_adapters", added, "stack, do not add"),
    ("joined_adapters", without_scales, "scales are missing"),
    ("joined_adapters", scales_twice, "not both"),
    ("joined_adapters", one_for_both, "exchanged"),
    ("joined_adapters", only_rank_one, "ranks 1 and 3"),
    ("joined_adapters", lambda a, b: right_join(a, b)[::-1], "by rows|differs|shape"),
    ("joined_adapters", lambda a, b: a[0], "two tensors"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
