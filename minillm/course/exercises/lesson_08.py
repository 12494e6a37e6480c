"""Graders of lesson 08: RMSNorm, the size of a cache, SwiGLU, grouped attention."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("rms_norm")
def grade_rms_norm(answer: Callable) -> None:
    """By hand, and a batch with weights against torch."""
    x = torch.tensor([[3.0, 4.0]])
    came = _tensor(answer(x.clone(), torch.ones(2), 0.0))
    slips = [
        (
            torch.tensor([[0.6, 0.8]]),
            "That has a norm of 1: take the mean of the squares, not their sum.",
        ),
        (torch.tensor([[-1.0, 1.0]]), "That is LayerNorm: the mean is not subtracted."),
        (torch.tensor([[0.24, 0.32]]), "The root is missing."),
        (
            torch.tensor([[6 / 7, 8 / 7]]),
            "Square, take the mean, then the root.",
        ),
    ]
    right = torch.tensor([[0.848528, 1.131371]])
    expect(came, right, likely_slip(came, slips, "The mean of the squares is 12.5."))
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 3, 6, generator=generator), torch.randn(6, generator=generator)
    came = _tensor(answer(x.clone(), weight.clone(), 0.5))
    root = x.square().mean(-1, keepdim=True).sqrt()
    slips = [
        (F.rms_norm(x, (6,), None, 0.5), "The weight is missing."),
        (weight * x / (root + 0.5), "eps stands inside of the root."),
        (weight * x / (x.square().mean() + 0.5).sqrt(), "The mean is over the last axis, for each vector by itself."),
    ]
    slip = likely_slip(came, slips, "On a batch of vectors with eps 0.5 it differs from torch's.")
    expect(came, F.rms_norm(x, (6,), weight, 0.5), slip)


@exercise("cache_bytes")
def grade_cache_bytes(answer: Callable) -> None:
    """By hand, and the heads of a real model."""
    came = _number(answer(2, 4, 8, 10, 2))
    slips = [
        (1280.0, "Keys and values are both kept: twice as much."),
        (640.0, "Each layer keeps its own."),
        (320.0, "Each layer keeps its own, and each head has head_dim channels."),
        (256.0, "Each token counts."),
        (20480.0, "Those are bits."),
    ]
    expect(came, 2560.0, likely_slip(came, slips, "2 x 2 layers x 4 heads x 8 channels x 10 tokens x 2 bytes."))
    expect(_number(answer(30, 3, 64, 8192, 2)), 188743680.0, "For SmolLM2-135M at 8,192 tokens it differs.")


@exercise("swiglu")
def grade_swiglu(answer: Callable) -> None:
    """By hand, and matrices that are not square."""
    one = torch.ones(1, 1)
    came = _tensor(answer(torch.ones(1), one, one, one))
    slips = [(torch.tensor([1.0]), "The activation is missing: silu(z) = z * sigmoid(z).")]
    expect(came, torch.tensor([0.731059]), likely_slip(came, slips, "silu(1) is 0.7311."))
    generator = torch.Generator().manual_seed(0)
    x, gate, up = (torch.randn(shape, generator=generator) for shape in ((2, 3), (5, 3), (5, 3)))
    down = torch.randn(3, 5, generator=generator)
    came = _tensor(answer(*(t.clone() for t in (x, gate, up, down))))
    z, u = x @ gate.T, x @ up.T
    slips = [
        ((torch.sigmoid(z) * u) @ down.T, "That is GLU: the gate is z * sigmoid(z), not the sigmoid alone."),
        ((z * F.silu(u)) @ down.T, "Gate and up are exchanged: silu is of the gate."),
        (F.silu(z * u) @ down.T, "silu is of the gate alone, before the product."),
        (F.silu(u) @ down.T, "The gate is missing."),
        ((F.silu(z) + u) @ down.T, "The gate multiplies; it is not added."),
        ((F.gelu(z) * u) @ down.T, "That is GEGLU, with GELU in the place of silu."),
    ]
    slip = likely_slip(came, slips, "On x (2, 3) with 5 inner channels it differs.")
    expect(came, (F.silu(z) * u) @ down.T, slip)


@exercise("grouped_attention")
def grade_grouped_attention(answer: Callable) -> None:
    """One token; as many groups as heads; two and one group against torch."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    v = torch.tensor([[[1.0]], [[2.0]]])
    came = _tensor(answer(draw(4, 1, 1), draw(2, 1, 1), v.clone()))
    slips = [(v.repeat(2, 1, 1), "The groups come in the other order: head 1 belongs to group 0, not to group 1.")]
    right = v.repeat_interleave(2, 0)
    expect(came, right, likely_slip(came, slips, "With one token each head gives the value of its group."))
    for heads, groups in ((4, 4), (6, 2), (4, 1)):
        q, k, v = draw(heads, 5, 8), draw(groups, 5, 8), draw(groups, 5, 8)
        came = _tensor(answer(q.clone(), k.clone(), v.clone()))
        k_all, v_all = (one.repeat_interleave(heads // groups, 0) for one in (k, v))
        scores = q @ k_all.mT
        later = torch.ones(5, 5, dtype=torch.bool).triu(1)
        slips = [
            ((scores / 8**0.5).softmax(-1) @ v_all, "The mask is missing: no token may see a later one."),
            (scores.masked_fill(later, -torch.inf).softmax(-1) @ v_all, "The scores are divided by the root of D."),
            ((scores / 8).masked_fill(later, -torch.inf).softmax(-1) @ v_all, "Divide by the root of D, not by D."),
            (
                (scores / 8**0.5).softmax(-1).masked_fill(later, 0) @ v_all,
                "Mask before the softmax.",
            ),
        ]
        slip = likely_slip(came, slips, f"With {heads} heads and {groups} groups it differs from torch's.")
        expect(came, F.scaled_dot_product_attention(q, k_all, v_all, is_causal=True), slip)


def _number(came) -> float:
    came = came.item() if isinstance(came, Tensor) and came.numel() == 1 else came
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where a number was expected.")
    return float(came)


def _tensor(came) -> Tensor:
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {came!r} where a tensor was expected.")
    return came
