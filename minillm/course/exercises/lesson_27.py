"""Graders of lesson 27: bytes, a block in 8 bits, how often a draft is accepted, distillation with a temperature."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.models import quantize_blocks
from minillm.training import forward_kl


@exercise("bytes_needed")
def grade_bytes_needed(answer: Callable) -> None:
    """One block by hand, several, and an odd number of bits."""
    came = _number(answer(1, 32, 8))
    slips = [
        (32.0, "The scale is missing: 2 bytes for each block."),
        (272.0, "Those are bits: 8 of them are a byte."),
        (36.0, "The scale has 2 bytes, not 4."),
        (66.0, "A scale belongs to a block, not to each weight."),
        (96.0, "A scale belongs to a block, not to each weight."),
    ]
    expect(came, 34.0, likely_slip(came, slips, "32 weights of one byte, and 2 bytes."))
    came = _number(answer(2, 64, 4))
    slips = [
        (66.0, "There is a scale for each block of 32, not one for all."),
        (68.0, "There is a scale for each block of 32, not one for each row."),
        (136.0, "4 bits are half a byte."),
        (36.0, "Both rows count."),
    ]
    expect(came, 72.0, likely_slip(came, slips, "Four blocks of 16 + 2 bytes."))
    expect(_number(answer(3, 96, 5)), 198.0, "Nine blocks of 20 + 2 bytes.")


@exercise("there_and_back")
def grade_there_and_back(answer: Callable) -> None:
    """By hand, a negative largest, zeros, and the library's block."""
    came = _tensor(answer(torch.tensor([127.0, 0.6, -2.4])))
    slips = [
        (torch.tensor([127.0, 0.0, -2.0]), "The rest was cut off: round to the nearest."),
        (torch.tensor([127.0, 0.6, -2.4]), "Nothing was rounded."),
        (torch.tensor([127.0, 0.0, -3.0]), "That rounds down: round to the nearest."),
        (torch.tensor([127.0, 1.0079, -2.0157]), "127 steps, not 126 or 128."),
        (torch.tensor([127.0, 0.9922, -1.9844]), "The largest becomes 127, not 128."),
    ]
    expect(came, torch.tensor([127.0, 1.0, -2.0]), likely_slip(came, slips, "The scale is 1; whole numbers come back."))
    came = _tensor(answer(torch.tensor([-254.0, 3.2, 1.2])))
    slip = "The largest in absolute value, -254, sets the scale: 2."
    expect(came, torch.tensor([-254.0, 4.0, 2.0]), slip)
    expect(_tensor(answer(torch.zeros(3))), torch.zeros(3), "A block of zeros has the scale 0: do not divide by it.")
    block = torch.randn(32, generator=torch.Generator().manual_seed(0))
    _, q = quantize_blocks(block, 8)
    right = q[0].float() * block.abs().max() / 127
    expect(_tensor(answer(block.clone())), right, "On 32 random numbers it differs from the library's block.")


@exercise("acceptance")
def grade_acceptance(answer: Callable) -> None:
    """By hand, equal distributions, nothing in common, and by trial."""
    p, draft = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    came = _tensor(answer(p.clone(), draft.clone()))
    slips = [
        (torch.tensor([(0.5 / 0.9 + 1) / 2]), "That is the mean ratio, without the chance that it is drafted."),
        (torch.tensor([0.5 / 0.9 + 1]), "Those ratios are added without the chance that a token is drafted."),
        (torch.tensor([0.5 * 0.9 + 0.5 * 0.1]), "That is how often two independent draws agree."),
        (torch.tensor([0.4]), "That is how often it is refused."),
        (torch.tensor([1.4]), "Take the smaller of the two, not the larger."),
        (torch.tensor(0.6), "One number for each position, (N,)."),
        (torch.tensor([1.0]), "The ratio must be cut at 1."),
    ]
    expect(came, torch.tensor([0.6]), likely_slip(came, slips, "0.9 x 5/9 + 0.1 x 1 = 0.6."))
    generator = torch.Generator().manual_seed(0)
    p, draft = torch.randn(2, 5, 7, generator=generator).softmax(-1)
    right = 1 - 0.5 * (p - draft).abs().sum(-1)  # one less the total variation
    expect(_tensor(answer(p.clone(), draft.clone())), right, "On five random positions of seven tokens it differs.")
    expect(_tensor(answer(p.clone(), p.clone())), torch.ones(5), "A draft that is the model is always accepted.")


@exercise("soft_loss")
def grade_soft_loss(answer: Callable) -> None:
    """By hand at temperature 2, at 1 against the library, over positions, and equal logits."""
    teacher, student = torch.tensor([[2.0, 0.0]]), torch.zeros(1, 2)
    t = torch.tensor([1.0, 0.0]).softmax(-1)
    right = 4 * float((t * (t * 2).log()).sum())
    came = _number(answer(teacher.clone(), student.clone(), 2.0))
    reverse = -4 * 0.5 * float((t * 2).log().sum())
    entropy = -4 * float((t * torch.tensor([0.5, 0.5]).log()).sum())
    cold = torch.tensor([2.0, 0.0]).softmax(-1)
    slips = [
        (right / 4, "The factor temperature^2 is missing."),
        (right / 2, "The factor is the square of the temperature."),
        (reverse, "It is turned round: that is KL(student || teacher)."),
        (entropy, "That is the cross-entropy: subtract the teacher's own entropy, by t ln t."),
        (4 * float((cold * (cold * 2).log()).sum()), "The teacher's logits are divided by the temperature, too."),
        (-right, "The sign is turned round: a divergence is never negative."),
    ]
    expect(
        came,
        right,
        likely_slip(came, slips, "The teacher has 0.731 and 0.269 at this temperature, the student halves."),
    )
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 6, 9, generator=generator)
    came = _number(answer(teacher.clone(), student.clone(), 1.0))
    each = forward_kl(teacher.log_softmax(-1), student)
    slips = [
        (float(each.sum()), "Take the mean over positions, not the sum."),
        (float(each.sum()) / each.numel() / 9, "Sum over the vocabulary; the mean is over positions alone."),
    ]
    slip = likely_slip(came, slips, "On six positions of nine tokens it differs from the library's forward_kl.")
    expect(came, float(each.mean()), slip)
    same = _number(answer(teacher.clone(), teacher.clone() + 3, 3.0))
    expect(same, 0.0, "A constant added to all logits changes nothing: take log_softmax of both.")
    assert math.isfinite(same)


def _number(came) -> float:
    came = came.item() if isinstance(came, Tensor) and came.numel() == 1 else came
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where a number was expected.")
    return float(came)


def _tensor(came) -> Tensor:
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {came!r} where a tensor was expected.")
    return came
