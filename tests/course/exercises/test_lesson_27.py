"""The slips that people make in lesson 27 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade


def right_bytes(rows, columns, bits):
    return rows * (columns // 32) * (32 * bits // 8 + 2)


def right_block(values):
    largest = values.abs().max()
    return torch.round(values / largest * 127) * largest / 127 if largest > 0 else values


def right_acceptance(p, draft):
    return (draft * (p / draft).clamp(max=1)).sum(-1)


def right_loss(teacher, student, temperature):
    t, s = (teacher / temperature).softmax(-1), (student / temperature).log_softmax(-1)
    return temperature**2 * torch.nn.functional.kl_div(s, t, reduction="batchmean")


RIGHT = {
    "bytes_needed": right_bytes, "there_and_back": right_block, "acceptance": right_acceptance,
    "soft_loss": right_loss,
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


def rounded_by(how):
    def answer(values):
        scale = values.abs().max() / 127
        return how(values / scale) * scale if scale else values

    return answer


def by_the_largest(values):
    scale = values.max() / 127
    return (values / scale).round() * scale if scale else values


def zeros_divided(values):
    scale = values.abs().max() / 127
    return (values / scale).round() * scale


def only_the_student_cooled(teacher, student, temperature):
    t, s = teacher.softmax(-1), (student / temperature).log_softmax(-1)
    return temperature**2 * torch.nn.functional.kl_div(s, t, reduction="batchmean")


def cross_entropy(teacher, student, temperature):
    t, s = (teacher / temperature).softmax(-1), (student / temperature).log_softmax(-1)
    return -(temperature**2) * (t * s).sum(-1).mean()


WRONG = [
    ("bytes_needed", lambda r, c, b: r * c * b // 8, "scale is missing"),
    ("bytes_needed", lambda r, c, b: r * c // 32 * (32 * b + 16), "Those are bits"),
    ("bytes_needed", lambda r, c, b: r * c // 32 * (4 * b + 4), "not 4"),
    ("bytes_needed", lambda r, c, b: r * c * b // 8 + 2, "not one for all"),
    ("bytes_needed", lambda r, c, b: r * c * b // 8 + 2 * r, "for each row"),
    ("bytes_needed", lambda r, c, b: c // 32 * (4 * b + 2), "Both rows"),
    ("there_and_back", rounded_by(torch.trunc), "cut off"),
    ("there_and_back", lambda v: v, "Nothing was rounded"),
    ("there_and_back", rounded_by(torch.floor), "rounds down"),
    ("there_and_back", by_the_largest, "absolute value"),
    ("there_and_back", zeros_divided, "zeros"),
    ("acceptance", lambda p, q: (p / q).clamp(max=1).mean(-1), "chance that it is drafted"),
    ("acceptance", lambda p, q: (p / q).clamp(max=1).sum(-1), "are added"),
    ("acceptance", lambda p, q: (p * q).sum(-1), "two independent"),
    ("acceptance", lambda p, q: 1 - right_acceptance(p, q), "refused"),
    ("acceptance", lambda p, q: torch.maximum(p, q).sum(-1), "smaller of the two"),
    ("acceptance", lambda p, q: right_acceptance(p, q).sum(), r"\(N,\)"),
    ("acceptance", lambda p, q: (q * (p / q)).sum(-1), "cut at 1"),
    ("soft_loss", lambda t, s, T: right_loss(t, s, T) / T**2, "temperature.2 is missing"),
    ("soft_loss", lambda t, s, T: right_loss(t, s, T) / T, "square of the temperature"),
    ("soft_loss", lambda t, s, T: right_loss(s, t, T), "turned round: that is"),
    ("soft_loss", cross_entropy, "cross-entropy"),
    ("soft_loss", only_the_student_cooled, "too"),
    ("soft_loss", lambda t, s, T: right_loss(t, s, T) * len(t), "not the sum"),
    ("soft_loss", lambda t, s, T: right_loss(t, s, T) / (t.size(1) if len(t) > 1 else 1), "positions alone"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
