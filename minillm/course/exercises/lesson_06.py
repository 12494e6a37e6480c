"""Graders of lesson 06: clipping, a schedule, RMSprop, exact orthogonalisation."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("clipped")
def grade_clipped(answer: Callable) -> None:
    """By hand; shorter than the limit; nothing to clip; tensors of several shapes against torch."""
    came = _tensors(answer([torch.tensor([3.0]), torch.tensor([4.0])], 1.0), 2)
    slips = [
        (
            [torch.tensor([1.0]), torch.tensor([1.0])],
            "You clipped each by itself: the joint norm is 5.",
        ),
        (
            [torch.tensor([3 / 7]), torch.tensor([4 / 7])],
            "That is the sum of the norms: take the root of squares.",
        ),
        ([torch.tensor([0.12]), torch.tensor([0.16])], "The root is missing: the norm is 5, not 25."),
        ([torch.tensor([3.0]), torch.tensor([4.0])], "Nothing was clipped: the norm is 5."),
    ]
    right = [torch.tensor([0.6]), torch.tensor([0.8])]
    expect(came, right, likely_slip(came, slips, "The joint norm is 5; both are divided by it."))
    short = [torch.tensor([0.3]), torch.tensor([0.4])]
    slip = "What is shorter than the limit stays as it is."
    expect(_tensors(answer([g.clone() for g in short], 1.0), 2), short, slip)
    zero = [torch.zeros(2)]
    expect(_tensors(answer(zero, 1.0), 1), zero, "Gradients of 0 have the norm 0: do not divide by it.")
    generator = torch.Generator().manual_seed(0)
    some = [torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), (2, 2))]
    weights = [torch.nn.Parameter(torch.zeros_like(g)) for g in some]
    for weight, g in zip(weights, some):
        weight.grad = g.clone()
    torch.nn.utils.clip_grad_norm_(weights, 2.0)
    came = _tensors(answer([g.clone() for g in some], 2.0), 3)
    expect(came, [weight.grad for weight in weights], "On matrices and vectors together it differs from torch's.")


@exercise("rate_share")
def grade_rate_share(answer: Callable) -> None:
    """The rise, the peak, halfway, the last step; no warm-up."""
    came = _number(answer(0, 12, 2))
    slips = [
        (0.0, "The first step would not move: count from 1, (step + 1) / warmup."),
        (1.0, "The warm-up is missing."),
    ]
    expect(came, 0.5, likely_slip(came, slips, "The first of two steps of warm-up has half the peak."))
    expect(_number(answer(1, 12, 2)), 1.0, "The last step of the warm-up is at the peak.")
    came = _number(answer(7, 12, 2))
    slips = [
        ((1 + math.cos(math.pi * 7 / 12)) / 2, "The wave begins after the warm-up: subtract it above and below."),
        ((1 + math.cos(math.pi * 5 / 12)) / 2, "Divide by the steps after the warm-up, 10, not by all."),
        (0.55, "That ends at a tenth. Here it ends at 0."),
        (0.0, "A cosine from 1 to -1 has to be raised and halved: (1 + cos) / 2."),
        (math.sqrt(0.5), "Half a wave, not a quarter: cos(pi * progress), raised and halved."),
    ]
    expect(came, 0.5, likely_slip(came, slips, "Step 7 is halfway between 2 and 12."))
    came = _number(answer(11, 12, 2))
    slips = [(0.1, "That is a straight line, not a cosine.")]
    expect(came, (1 + math.cos(0.9 * math.pi)) / 2, likely_slip(came, slips, "At nine tenths it is nearly down."))
    expect(_number(answer(0, 10, 0)), 1.0, "Without a warm-up the first step is at the peak.")


@exercise("rmsprop_step")
def grade_rmsprop_step(answer: Callable) -> None:
    """One step by hand, then several against torch."""
    given = [torch.tensor([value]) for value in (1.0, 2.0, 0.0)]
    came = _tensors(answer(*given, 0.1, 0.75, 0.0), 2)
    right = [torch.tensor([0.8]), torch.tensor([1.0])]
    slips = [
        ([torch.tensor([0.9]), torch.tensor([1.0])], "RMSprop has no correction: nothing is divided by 1 - beta^t."),
        ([torch.tensor([0.8845]), torch.tensor([3.0])], "beta keeps the old: 0.75 of it, and 0.25 of the new square."),
        ([torch.tensor([1.2]), torch.tensor([1.0])], "That goes uphill: subtract."),
        ([torch.tensor([0.8]), torch.tensor([0.5])], "The square of the gradient is missing."),
        ([torch.tensor([1.0]), torch.tensor([0.8])], "The order is the new weight, then the new square."),
    ]
    expect(came, right, likely_slip(came, slips, "square = 0.25 * 4 = 1, and 1 - 0.1 * 2 / 1 = 0.8."))
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    theirs, mine, square = (
        torch.optim.RMSprop([weight], lr=0.05, alpha=0.9, eps=0.1),
        weight.detach().clone(),
        torch.zeros(3),
    )
    for t in range(4):
        gradient = torch.tensor([0.01, 1.0, -3.0]) * (t + 1)
        weight.grad = gradient
        theirs.step()
        mine, square = _tensors(answer(mine, gradient.clone(), square, 0.05, 0.9, 0.1), 2)
        slip = "After the first step it differs from torch's. Does eps stand outside of the root?"
        expect(
            mine, weight.detach().clone(), slip if not t else f"After step {t + 1} it differs: is the new square kept?"
        )


@exercise("orthogonal")
def grade_orthogonal(answer: Callable) -> None:
    """By hand, a wide and a tall matrix against their polar factor."""
    came = _tensor(answer(torch.tensor([[0.0, 5.0], [-2.0, 0.0]])))
    slips = [
        (torch.tensor([[0.0, 5.0], [-2.0, 0.0]]) / 29**0.5, "You divided by the norm."),
        (torch.tensor([[0.0, -1.0], [1.0, 0.0]]), "It is transposed, or turned the other way."),
        (torch.tensor([[0.0, 5.0], [-2.0, 0.0]]), "The singular values came back in: leave S out."),
        (torch.eye(2), "That is the identity: multiply U by Vh, not a matrix by its own transpose."),
    ]  # fmt: skip
    expect(
        came, torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), likely_slip(came, slips, "The singular values 5 and 2 become 1.")
    )
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 5), (6, 2)):
        matrix = torch.randn(shape, generator=generator)
        came = _tensor(answer(matrix.clone()))
        small = matrix.double() if shape[0] <= shape[1] else matrix.double().T
        values, vectors = torch.linalg.eigh(small @ small.T)
        right = vectors @ torch.diag(values.rsqrt()) @ vectors.T @ small  # (A A')^(-1/2) A
        right = (right if shape[0] <= shape[1] else right.T).float()
        slips = [
            (torch.linalg.qr(matrix)[0], "That is QR's Q: its columns are orthogonal, but they are other vectors.")
        ]
        expect(came, right, likely_slip(came, slips, f"On a matrix of {shape[0]} x {shape[1]} it differs."))


def _number(came) -> float:
    came = came.item() if isinstance(came, Tensor) and came.numel() == 1 else came
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where a number was expected.")
    return float(came)


def _tensor(came) -> Tensor:
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {came!r} where a tensor was expected.")
    return came


def _tensors(came, count: int) -> list[Tensor]:
    if not isinstance(came, list | tuple) or len(came) != count or not all(isinstance(one, Tensor) for one in came):
        raise Wrong(f"it gave {came!r} where {count} tensors were expected.")
    return list(came)
