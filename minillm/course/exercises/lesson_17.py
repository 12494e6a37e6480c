"""Graders of lesson 17: steps with rehearsal, what was forgotten, a Fisher information by hand, two springs."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.training import fisher_diagonal


@exercise("rehearsal_steps")
def grade_rehearsal_steps(answer: Callable) -> None:
    """A fifth by hand, nothing, half, and a share that does not come out even."""
    came = answer(40, 0.2)
    slips = [
        (48, "A fifth of 40 old batches in addition would be 8 of 48: a sixth. The share is one of all steps."),
        (40, "Then only 32 of the steps are on the new task: the old ones come in addition."),
        (32, "Those are the steps that are left for the new task when the old ones take their place."),
        (10, "Those are the old steps alone: give all of them together."),
        (200, "Divide by the share of the new task, which is 1 - share."),
    ]
    expect(_integer(came), 50, likely_slip(came, slips, "40 new steps are four fifths of 50."))
    expect(_integer(answer(40, 0.0)), 40, "Without rehearsal nothing is added.")
    expect(_integer(answer(30, 0.5)), 60, "Half and half: as many old steps as new ones.")
    expect(_integer(answer(100, 0.07)), 108, "100 / 0.93 is 107.5...: round to the nearest whole number.")


@exercise("forgotten")
def grade_forgotten(answer: Callable) -> None:
    """Two tasks by hand, a best score in the middle, a task that gained, and a random table against a slow loop."""
    came = _number(answer([[0.9, 0.1], [0.6, 0.8]]))
    slips = [
        (-0.3, "That is the backward transfer: what is forgotten is counted as positive."),
        (0.15, "The last task cannot be forgotten yet: the mean is over the others."),
        (-0.15, "The last task cannot be forgotten yet, and what is forgotten is positive."),
        (0.8, "A row is a model and a column is a task: compare within a column."),
    ]
    expect(came, 0.3, likely_slip(came, slips, "The first task fell from 0.9 to 0.6."))
    table = [[0.5, 0.0, 0.0, 0.0], [0.9, 0.7, 0.0, 0.0], [0.6, 0.5, 0.7, 0.0], [0.3, 0.6, 0.4, 0.8]]
    came = _number(answer(table))
    slips = [
        (
            0.2,
            "The first task was at its best, 0.9, after the second was learned: compare with the best, not with R_jj.",
        ),
        (0.5 / 3, "Compare with the best score of all earlier rows, not with that of the row before the last alone."),
    ]
    slip = "From their best the first three tasks fell by 0.6, 0.1 and 0.3."
    expect(came, 1 / 3, likely_slip(came, slips, slip))
    slip = "A task that is better in the end than ever before has lost a negative amount: the last row is no best."
    expect(_number(answer([[0.4, 0.0], [0.6, 0.8]])), -0.2, slip)
    scores = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    drops = [max(scores[i][j] for i in range(4)) - scores[4][j] for j in range(4)]
    expect(_number(answer(scores)), sum(drops) / 4, "On a random table of five tasks it differs from the mean drop.")


class _Logistic(nn.Module):
    """A logistic regression with the logits 0 and w x."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.zeros(len(x)), x @ self.weight], -1)


@exercise("fisher_of_logistic")
def grade_fisher_of_logistic(answer: Callable) -> None:
    """The row of the lesson, two rows, and both labels of each row weighed by their probability in the library."""
    w, x = torch.tensor([0.0, math.log(2)]), torch.tensor([[1.0, 2.0]])
    came = _vector(answer(w, x), 2)
    slips = [
        (torch.tensor([0.04, 0.16]), "That is (1 - p)^2 x^2, for the label yes alone: average over both labels."),
        (torch.tensor([0.16, 0.32]), "The derivative is squared, and so is x."),
        (torch.tensor([0.8, 3.2]), "That is p x^2: no comes with probability 1 - p, and the average is p (1 - p) x^2."),
        (torch.tensor([0.4, 0.8]), "That is the root: do not take it."),
    ]
    expect(came, torch.tensor([0.16, 0.64]), likely_slip(came, slips, "p is 0.8 and x is (1, 2)."))
    x = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    slip = "The mean is over all examples, one of which has x = 0 and adds nothing: 0.08 and 0.32."
    expect(_vector(answer(w, x), 2), torch.tensor([0.08, 0.32]), slip)
    x = torch.tensor([[1.0, 2.0], [1.0, -2.0]])
    slip = "Square each example's derivative first: the mean of squares is not the square of the mean."
    expect(_vector(answer(torch.zeros(2), x), 2), torch.tensor([0.25, 1.0]), slip)
    generator = torch.Generator().manual_seed(2)
    w, x = torch.randn(4, generator=generator), torch.randn(7, 4, generator=generator)
    slip = "On seven random examples it differs from the library's, both labels weighed by their probabilities."
    expect(_vector(answer(w, x), 4), _exact(w, x), slip)


def _exact(w: Tensor, x: Tensor) -> Tensor:
    """The library's Fisher information of each example with each label, weighed by the label's probability."""
    model, total = _Logistic(w), torch.zeros(len(w))
    for row in x.split(1):
        for label, p in enumerate(model(row).softmax(-1)[0].tolist()):
            batch = {"x": row, "labels": torch.tensor([label])}
            total += p * fisher_diagonal(model, lambda model, b: (model(b["x"]), b["labels"]), [batch])["weight"]
    return total / len(x)


@exercise("where_it_ends")
def grade_where_it_ends(answer: Callable) -> None:
    """One weight by hand, a free one, a fast one, and the gradient of the whole loss at the answer."""
    one = torch.ones(1)
    came = _vector(answer(0 * one, 2 * one, 3 * one, one, 1.0), 1)
    slips = [
        (torch.tensor([0.5]), "That weighs the two places the other way round: the stiffer spring has more say."),
        (torch.tensor([2.0]), "That is where the new task alone ends: the spring pulls as well."),
        (torch.tensor([0.0]), "That is where it was: the new task pulls as well."),
        (torch.tensor([1.0]), "Half way would be right if both springs were equally stiff."),
        (torch.tensor([6.0]), "Divide by the sum of the two stiffnesses."),
    ]
    slip = "Both springs pull: 3 (w - 2) + 1 (w - 0) = 0 at w = 1.5."
    expect(came, torch.tensor([1.5]), likely_slip(came, slips, slip))
    home, goal = torch.tensor([1.0, 1.0]), torch.tensor([5.0, 5.0])
    came = _vector(answer(home, goal, torch.ones(2), torch.tensor([0.0, 1.0]), 3.0), 2)
    slips = [
        (
            torch.tensor([5.0, 3.0]),
            "The strength multiplies the Fisher information: a stiffness of 3 for the second weight.",
        ),
        (torch.tensor([2.0, 2.0]), "Each weight has a Fisher information of its own."),
    ]
    slip = "The first weight has F = 0 and is free; the second is pulled home with a stiffness of 3."
    expect(came, torch.tensor([5.0, 2.0]), likely_slip(came, slips, slip))
    generator = torch.Generator().manual_seed(3)
    home, goal = torch.randn(2, 6, generator=generator)
    curvature, fisher = torch.rand(2, 6, generator=generator) + 0.1
    came = _vector(answer(home, goal, curvature, fisher, 0.7), 6)
    w = came.detach().clone().float().requires_grad_()
    loss = (curvature * (w - goal) ** 2).sum() / 2 + 0.7 * (fisher * (w - home) ** 2).sum() / 2
    (gradient,) = torch.autograd.grad(loss, w)
    expect(gradient, torch.zeros(6), "On six random weights the gradient of loss and penalty is not 0 where it ends.")


def _number(came) -> float:
    if isinstance(came, Tensor) and came.numel() == 1:
        came = came.item()
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where one number was expected.")
    return float(came)


def _integer(came) -> int:
    value = _number(came)
    if not isinstance(came, int) and value != round(value):
        raise Wrong(f"it gave {came!r} where a whole number of steps was expected: round.")
    return round(value)


def _vector(came, n: int) -> Tensor:
    if not isinstance(came, Tensor) or came.shape != (n,):
        shape = list(came.shape) if isinstance(came, Tensor) else came
        raise Wrong(f"it gave {shape!r} where a tensor of {n} numbers was expected, one for each weight.")
    return came
