"""The slips that people make in lesson 06 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch

from minillm.course.exercises import grade


def right_clip(gradients, limit):
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    return [g * min(1.0, limit / max(float(norm), 1e-30)) for g in gradients]


def right_share(step, steps, warmup):
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))


def right_rmsprop(weight, gradient, square, rate, beta, eps):
    square = square * beta + gradient * gradient * (1 - beta)
    return weight - rate * gradient / (torch.sqrt(square) + eps), square


def right_orthogonal(matrix):
    U, _, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return U @ Vh


RIGHT = {
    "clipped": right_clip, "rate_share": right_share, "rmsprop_step": right_rmsprop, "orthogonal": right_orthogonal,
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name):
    assert grade(name, RIGHT[name]).status == "right", grade(name, RIGHT[name])


def stub(*arguments):
    """An answer that nobody has written yet."""
    ...


@pytest.mark.parametrize("name", RIGHT)
def test_an_untouched_exercise_is_not_answered_yet(name):
    assert grade(name, stub).status == "not answered yet"


def corrected(weight, gradient, square, rate, beta, eps):
    _, square = right_rmsprop(weight, gradient, square, rate, beta, eps)
    return weight - rate * gradient / ((square / (1 - beta)).sqrt() + eps), square


def inside_the_root(weight, gradient, square, rate, beta, eps):
    _, square = right_rmsprop(weight, gradient, square, rate, beta, eps)
    return weight - rate * gradient / (square + eps).sqrt(), square


def forgets(weight, gradient, square, rate, beta, eps):
    return right_rmsprop(weight, gradient, torch.zeros_like(square), rate, beta, eps)


WRONG = [
    ("clipped", lambda g, c: [c * x / x.norm() for x in g], "each by itself"),
    ("clipped", lambda g, c: [x * c / sum(y.norm() for y in g) for x in g], "sum of the norms"),
    ("clipped", lambda g, c: [x * c / sum(float(y @ y) for y in g) for x in g], "root is missing"),
    ("clipped", lambda g, c: g, "Nothing was clipped"),
    ("clipped", lambda g, c: [x * c / torch.cat([y.flatten() for y in g]).norm() for x in g], "stays as it is"),
    ("clipped", lambda g, c: g[0], "tensors were expected"),
    ("rate_share", lambda s, n, w: s / w if s < w else right_share(s, n, w), "would not move"),
    ("rate_share", lambda s, n, w: right_share(s, n, 0), "warm-up is missing"),
    ("rate_share", lambda s, n, w: (s + 1) / w if s < w else right_share(s, n, 0), "subtract it"),
    ("rate_share", lambda s, n, w: (s + 1) / w if s < w else 0.1 + 0.9 * right_share(s, n, w), "ends at 0"),
    ("rate_share", lambda s, n, w: (s + 1) / w if s < w else 2 * right_share(s, n, w) - 1, "raised and halved"),
    ("rate_share", lambda s, n, w: (s + 1) / w if s < w else (n - s) / (n - w), "straight line"),
    ("rate_share", lambda s, n, w: "0.5", "a number was expected"),
    ("rmsprop_step", corrected, "no correction"),
    ("rmsprop_step", lambda w, g, s, r, b, e: right_rmsprop(w, g, s, r, 1 - b, e), "keeps the old"),
    ("rmsprop_step", lambda w, g, s, r, b, e: right_rmsprop(w, g, s, -r, b, e), "uphill"),
    ("rmsprop_step", lambda *a: right_rmsprop(*a)[::-1], "new weight, then"),
    ("rmsprop_step", inside_the_root, "outside of the root"),
    ("rmsprop_step", forgets, "new square kept"),
    ("orthogonal", lambda m: m / m.norm(), "divided by the norm"),
    ("orthogonal", lambda m: right_orthogonal(m).T, "transposed"),
    ("orthogonal", lambda m: m, "leave S out"),
    ("orthogonal", lambda m: torch.linalg.svd(m)[2].T @ torch.linalg.svd(m)[2], "identity"),
    ("orthogonal", lambda m: torch.sign(m) if m.shape == (2, 2) else torch.linalg.qr(m)[0], "QR|3 x 5"),
    ("orthogonal", lambda m: 1, "tensor was expected"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
