"""Graders of lesson 19: a prompt beside padding, a prefix in causal attention, IA3 merged, nearness beside chance."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.models import attention, causal_mask
from minillm.peft import first_real, insert


@exercise("place_prompt")
def grade_place_prompt(answer: Callable) -> None:
    """Two rows by hand, one padded on the left; padding on the right; a random batch against the library."""
    x = torch.tensor([[9.0, 5.0, 6.0], [7.0, 8.0, 4.0]])[..., None]
    vectors, mask = torch.tensor([[1.0], [2.0]]), torch.tensor([[0, 1, 1], [1, 1, 1]])
    came = _tensor(answer(x.clone(), vectors.clone(), mask.clone()), (2, 5, 1))[..., 0]
    front = torch.cat([vectors.expand(2, 2, 1), x], 1)[..., 0]
    behind = torch.cat([x, vectors.expand(2, 2, 1)], 1)[..., 0]
    turned = torch.tensor([[9.0, 2, 1, 5, 6], [2, 1, 7, 8, 4]])
    late = torch.tensor([[9.0, 5, 1, 2, 6], [7, 1, 2, 8, 4]])
    slips = [
        (front, "It stands before the padding of the first row: put it right before the first real token."),
        (behind, "It stands behind the text: a model that reads from left to right would not see it in time."),
        (turned, "The vectors of the prompt are in reverse order."),
        (late, "It stands behind the first real token, not before it."),
    ]
    slip = likely_slip(came, slips, "The first row is padding 9, the prompt 1 and 2, then 5 and 6.")
    expect(came, torch.tensor([[9.0, 1, 2, 5, 6], [1, 2, 7, 8, 4]]), slip)
    came = _tensor(answer(x[1:], vectors, torch.tensor([[1, 1, 0]])), (1, 5, 1))[..., 0]
    expect(came, torch.tensor([[1.0, 2, 7, 8, 4]]), "With padding on the right the prompt stands at the front.")
    generator = torch.Generator().manual_seed(0)
    x, vectors = torch.randn(4, 6, 3, generator=generator), torch.randn(5, 3, generator=generator)
    mask = (torch.arange(6) >= torch.tensor([[0], [2], [5], [1]])).long()
    came = _tensor(answer(x, vectors, mask), (4, 11, 3))
    expect(came, insert(x, vectors, first_real(mask)), "On four random rows it differs: look at each row by itself.")


@exercise("prefix_attention")
def grade_prefix_attention(answer: Callable) -> None:
    """Equal scores by hand, so that weights are shares; random queries against the library's formula."""
    zero, v, pv = torch.zeros(2, 1), torch.tensor([[3.0], [9.0]]), torch.tensor([[6.0], [12.0]])
    came = _tensor(answer(zero, zero.clone(), v, zero.clone(), pv), (2, 1))[:, 0]
    slips = [
        (torch.tensor([6.0, 9.0]), "The first query sees one key only: each sees the whole prefix."),
        (torch.tensor([7.5, 7.5]), "The first query sees the second token, which comes after it."),
        (torch.tensor([3.0, 6.0]), "The prefix does not count: put its keys and values before the text's."),
        (torch.tensor([9.0, 9.0]), "The text does not count: each query also sees itself and what came before."),
        (torch.tensor([12.0, 15.0]), "Two softmaxes, added: that is LLaMA-Adapter. A prefix shares one softmax."),
    ]
    slip = likely_slip(came, slips, "All scores are 0. The first query has the mean of 6, 12 and 3, which is 7.")
    expect(came, torch.tensor([7.0, 7.5]), slip)
    generator = torch.Generator().manual_seed(0)
    q, k, v, pk, pv = (torch.randn(n, 4, generator=generator) for n in (5, 5, 5, 3, 3))
    keys, values, seen = torch.cat([pk, k]), torch.cat([pv, v]), causal_mask(5, 8)
    came = _tensor(answer(q, k, v, pk, pv), (5, 4))
    undivided, _ = attention(q * 2, keys, values, seen)
    mixed = attention(q, torch.cat([k, pk]), values, seen)[0]
    slips = [
        (undivided, "Divide the scores by the root of D."),
        (mixed, "The prefix is first among the keys and last among the values: the same order in both."),
    ]
    slip = likely_slip(came, slips, "By hand it is right, on random vectors not. Is it a softmax of q k' / sqrt(D)?")
    expect(came, attention(q, keys, values, seen)[0], slip)
    none = attention(q, k, v, causal_mask(5, 5))[0]
    came = _tensor(answer(q, k, v, pk[:0], pv[:0]), (5, 4))
    expect(came, none, "A prefix of no vectors is plain causal attention.")


@exercise("fold_scale")
def grade_fold_scale(answer: Callable) -> None:
    """A layer of two inputs and two outputs by hand; the invariant that the layer does the same, both ways."""
    weight, bias, scale = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1.0, 10.0]), torch.tensor([2.0, 5.0])
    rows, columns = weight * scale[:, None], weight * scale
    came = _pair(answer(weight.clone(), bias.clone(), scale.clone(), inputs=False), (2, 2))
    slips = [
        ((columns, bias * scale), "You scaled the columns, which belong to the inputs: an output is a row."),
        ((columns, bias), "You scaled the columns, which belong to the inputs: an output is a row."),
        ((rows, bias), "The bias is part of the output, so it is scaled, too."),
        ((weight + scale[:, None], bias + scale), "IA3 multiplies."),
    ]
    slip = likely_slip(came, slips, "Row i of the weight, and number i of the bias, times number i of the scale.")
    expect(came, (rows, bias * scale), slip)
    came = _pair(answer(weight.clone(), bias.clone(), scale.clone(), inputs=True), (2, 2))
    slips = [
        ((columns, bias * scale), "Scaled inputs never meet the bias: it stays."),
        ((rows, bias), "Inputs are columns of the weight."),
        ((rows, bias * scale), "`inputs` is true here: scale the columns, and leave the bias."),
    ]
    slip = likely_slip(came, slips, "Column j of the weight times number j of the scale; the bias stays.")
    expect(came, (columns, bias), slip)
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(3, 5, generator=generator), torch.randn(3, generator=generator)
    x = torch.randn(4, 5, generator=generator)
    for inputs in (False, True):
        scale = torch.randn(5 if inputs else 3, generator=generator)
        new = _pair(answer(weight.clone(), bias.clone(), scale.clone(), inputs), (3, 5))
        right = F.linear(x * scale, weight, bias) if inputs else F.linear(x, weight, bias) * scale
        expect(F.linear(x, *new), right, "On a layer of five inputs and three outputs it is another function.")


@exercise("nearer_than_chance")
def grade_nearer_than_chance(answer: Callable) -> None:
    """Right angles by hand, where lengths must not matter; random vectors against a slow loop."""
    table = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    vectors, noise = torch.tensor([[5.0, 0.0], [2.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    came = _number(answer(vectors.clone(), table.clone(), noise.clone()))
    half = math.sqrt(0.5)
    slips = [
        (5.5 - 3, "That is the dot product: divide by both lengths, for long vectors are not nearer."),
        ((1 + half) / 2, "That is the nearness of the vectors alone: take away that of the noise."),
        (half - (1 + half) / 2, "The other way round: vectors minus noise."),
        (1 - half, "The mean over the vectors, not the best of them."),
        ((0.5 + half) / 2 - half, "The largest cosine of each vector, not the mean over the table."),
    ]
    slip = likely_slip(came, slips, "The first vector points to row 0: 1. The second is between both: 0.7071.")
    expect(came, (1 + half) / 2 - half, slip)
    generator = torch.Generator().manual_seed(0)
    table, vectors, noise = (torch.randn(n, 6, generator=generator) for n in (30, 4, 7))
    nearness = [
        sum(max((a @ b / a.norm() / b.norm()).item() for b in table) for a in some) / len(some)
        for some in (vectors, noise)
    ]
    came = _number(answer(vectors * 3, table, noise))
    expect(came, nearness[0] - nearness[1], "On random vectors it differs: mean over the vectors of the largest.")


def _tensor(came, shape: tuple) -> Tensor:
    if not isinstance(came, Tensor):
        raise Wrong(f"it gave {type(came).__name__} where a tensor of shape {shape} was expected.")
    if tuple(came.shape) != shape:
        raise Wrong(f"it gave a tensor of shape {tuple(came.shape)} where {shape} was expected.")
    return came.detach()


def _pair(came, shape: tuple) -> tuple[Tensor, Tensor]:
    if not isinstance(came, tuple | list) or len(came) != 2:
        raise Wrong(f"it gave {type(came).__name__} where a pair was expected: the weight and the bias.")
    return _tensor(came[0], shape), _tensor(came[1], shape[:1])


def _number(came) -> float:
    if isinstance(came, Tensor) and came.numel() != 1:
        raise Wrong(f"it gave a tensor of shape {tuple(came.shape)} where one number was expected.")
    try:
        return float(came)
    except (TypeError, ValueError):
        raise Wrong(f"it gave {came!r} where one number was expected.") from None
