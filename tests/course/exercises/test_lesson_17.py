"""The slips that people make in lesson 17 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch

from minillm.course.exercises import grade


def right_steps(steps, share):
    return round(steps / (1 - share))


def right_forgotten(R):
    last, tasks = R[-1], len(R) - 1
    return sum(max(row[j] for row in R[:-1]) - last[j] for j in range(tasks)) / tasks


def right_fisher(w, X):
    p = torch.sigmoid(X @ w)
    return ((p * (1 - p))[:, None] * X**2).mean(0)


def right_end(home, goal, curvature, fisher, strength):
    return (curvature * goal + strength * fisher * home) / (curvature + strength * fisher)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("rehearsal_steps", right_steps),
        ("forgotten", right_forgotten),
        ("fisher_of_logistic", right_fisher),
        ("where_it_ends", right_end),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def backward(R):
    return sum(R[-1][j] - R[j][j] for j in range(len(R) - 1)) / (len(R) - 1)


def with_the_last_row(R):
    return sum(max(row[j] for row in R) - R[-1][j] for j in range(len(R) - 1)) / (len(R) - 1)


def from_the_row_before(R):
    return sum(R[-2][j] - R[-1][j] for j in range(len(R) - 1)) / (len(R) - 1)


def over_all_tasks(R):
    return right_forgotten(R) * (len(R) - 1) / len(R)


def only_the_label_yes(w, X):
    return ((1 - torch.sigmoid(X @ w))[:, None] * X).square().mean(0)


def square_of_the_mean(w, X):
    p = torch.sigmoid(X @ w)
    return ((p * (1 - p)).sqrt()[:, None] * X).mean(0).square()


def not_squared(w, X):
    p = torch.sigmoid(X @ w)
    return ((p * (1 - p))[:, None] * X).mean(0)


WRONG = [
    # steps of rehearsal
    ("rehearsal_steps", lambda n, x: round(n * (1 + x)), "a sixth"),
    ("rehearsal_steps", lambda n, x: n, "in addition"),
    ("rehearsal_steps", lambda n, x: round(n * (1 - x)), "left for the new task"),
    ("rehearsal_steps", lambda n, x: round(n / (1 - x) - n), "old steps alone"),
    ("rehearsal_steps", lambda n, x: round(n / x), "1 - share"),
    ("rehearsal_steps", lambda n, x: n / (1 - x), "round"),
    ("rehearsal_steps", lambda n, x: int(n / (1 - x) + 1e-9), "nearest whole number"),
    # what was forgotten
    ("forgotten", backward, "backward transfer"),
    ("forgotten", lambda R: -backward(R), "not with R_jj"),
    ("forgotten", over_all_tasks, "cannot be forgotten yet"),
    ("forgotten", with_the_last_row, "the last row is no best"),
    ("forgotten", from_the_row_before, "earlier rows"),
    ("forgotten", lambda R: right_forgotten([list(column) for column in zip(*R)]), "within a column"),
    ("forgotten", lambda R: [right_forgotten(R)] * 2, "one number"),
    # Fisher information
    ("fisher_of_logistic", only_the_label_yes, "both labels"),
    ("fisher_of_logistic", not_squared, "so is x"),
    ("fisher_of_logistic", lambda w, X: (torch.sigmoid(X @ w)[:, None] * X**2).mean(0), r"p x\^2"),
    ("fisher_of_logistic", lambda w, X: right_fisher(w, X).sqrt(), "the root"),
    ("fisher_of_logistic", lambda w, X: right_fisher(w, X) * len(X), "mean is over all examples"),
    ("fisher_of_logistic", square_of_the_mean, "mean of squares|mean is over"),
    ("fisher_of_logistic", lambda w, X: float(right_fisher(w, X).sum()), "one for each weight"),
    # two springs
    ("where_it_ends", lambda h, g, c, f, s: right_end(g, h, c, f, s), "the other way round"),
    ("where_it_ends", lambda h, g, c, f, s: g, "the new task alone"),
    ("where_it_ends", lambda h, g, c, f, s: h, "where it was"),
    ("where_it_ends", lambda h, g, c, f, s: (h + g) / 2, "equally stiff"),
    ("where_it_ends", lambda h, g, c, f, s: c * g + s * f * h, "Divide"),
    ("where_it_ends", lambda h, g, c, f, s: right_end(h, g, c, f, 1.0), "strength multiplies"),
    ("where_it_ends", lambda h, g, c, f, s: right_end(h, g, c, torch.ones(len(f)), s), "of its own"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
