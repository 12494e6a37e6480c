"""Graders of lesson 05: the loss of the next token, clipping, early stopping, the nucleus, a beam by hand."""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.inference import filter_logits
from minillm.training import causal_lm_loss


@exercise("next_token_loss")
def grade_next_token_loss(answer: Callable) -> None:
    """Uniform logits by hand, then random ones against the library."""
    ids = torch.tensor([3, 0, 2, 2])
    uniform = answer(torch.zeros(4, 8), ids)
    slips = [
        (3 * math.log(8), "That is the sum over the predictions: divide by their number."),
        (3 / 4 * math.log(8), "Four tokens make three predictions: nothing announces the first one."),
        (3.0, "That is in bits: use the natural logarithm."),
        (-math.log(8), "The sign: a loss is minus the log-probability."),
    ]
    expect(uniform, math.log(8), likely_slip(uniform, slips, "Eight equally likely tokens cost ln 8 each."))
    logits = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    came = answer(logits.clone(), ids.clone())
    logprobs = logits.log_softmax(-1)
    slips = [
        (-logprobs[range(4), ids].mean(), "Position t predicts token t + 1: shift one against the other."),
        (-logprobs[range(3), ids[:3]].mean(), "Position t predicts token t + 1: shift one against the other."),
        (-logits[range(3), ids[1:]].mean(), "Those are logits: a softmax turns them into probabilities first."),
    ]
    expected = causal_lm_loss(logits[None], ids[None])
    expect(came, expected, likely_slip(came, slips, "Take -log p of the token that came, averaged over the three."))


@exercise("clip_together")
def grade_clip_together(answer: Callable) -> None:
    """The 3-4-5 triangle, a gradient that is short already, and torch on random ones."""
    came = answer([torch.tensor([3.0]), torch.tensor([4.0])], 1.0)
    slip = "The norm is that of all gradients together: sqrt(9 + 16) = 5, and each is divided by 5."
    if _list(came) == [1.0, 1.0]:
        slip = "Each tensor was cut alone, which changes the direction. " + slip
    expect(_tensors(came), [torch.tensor([0.6]), torch.tensor([0.8])], slip)
    short = [torch.tensor([0.03, 0.0]), torch.tensor([[0.04]])]
    slip = "This norm is below the limit: a short gradient is left as it is, never made longer."
    expect(_tensors(answer([g.clone() for g in short], 1.0)), short, slip)
    generator = torch.Generator().manual_seed(2)
    long = [torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)]
    parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in long]
    for parameter, gradient in zip(parameters, long):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, 0.7)
    expected = [parameter.grad for parameter in parameters]
    slip = "Multiply every gradient by limit / norm, with the limit that is given."
    expect(_tensors(answer([g.clone() for g in long], 0.7)), expected, slip, tolerance=1e-3)


@exercise("when_to_stop")
def grade_when_to_stop(answer: Callable) -> None:
    """Curves with a dip, a plateau, no end, and a better value that comes too late."""
    dip = [3.0, 2.0, 2.5, 2.4, 2.3, 1.8]
    came = answer(dip, 2)
    slips = [
        ((5, 5), "2.4 is better than 2.5, but not than the best so far, 2.0: compare with the best."),
        ((5, 3), "It stops at index 3 and never sees 1.8: the best is among what was measured until then."),
        ((1, 4), "Index 3 is the second evaluation in a row without a better one: it stops there."),
        ((1, 2), "One evaluation without a better one is not yet two."),
    ]
    expect(
        came,
        (1, 3),
        likely_slip(came, slips, "Count the evaluations since the best one; stop when they reach patience."),
    )
    expect(answer([3.0, 2.0, 1.0], 2), (2, 2), "It never stops early here: then the last index is where it ends.")
    slip = "An equal value is not a better one: it counts towards patience."
    expect(answer([3.0, 2.0, 2.0, 2.0, 1.0], 2), (1, 3), slip)
    slip = "A better value sets the count back to 0."
    expect(answer([3.0, 3.5, 2.0, 2.5, 1.0, 1.5, 1.6, 1.7], 2), (4, 6), slip)


@exercise("nucleus")
def grade_nucleus(answer: Callable) -> None:
    """Four tokens by hand, in two orders; a tiny p; then the library's."""
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    came = answer(probabilities.clone(), 0.7)
    slips = [
        (torch.tensor([0.5, 0.3, 0.0, 0.0]), "What is left must sum to 1: divide by its sum."),
        (torch.tensor([1.0, 0.0, 0.0, 0.0]), "0.5 is less than 0.7: the token that crosses the line is in the set."),
        (torch.tensor([0.5263, 0.3158, 0.1579, 0.0]), "0.5 + 0.3 is enough: stop as soon as the sum reaches p."),
    ]
    slip = likely_slip(came, slips, "Keep the likeliest tokens until their sum reaches p.")
    expect(came, torch.tensor([0.625, 0.375, 0.0, 0.0]), slip)
    order = torch.tensor([3, 1, 0, 2])
    slip = "The same tokens in another order: every probability must come back to its own place."
    expect(answer(probabilities[order].clone(), 0.7), torch.tensor([0.0, 0.375, 0.625, 0.0]), slip)
    slip = "The likeliest token always stays, however small p is."
    expect(answer(probabilities[order].clone(), 0.01), torch.tensor([0.0, 0.0, 1.0, 0.0]), slip)
    logits = 2 * torch.randn(30, generator=torch.Generator().manual_seed(3))
    expected = filter_logits(logits[None], top_p=0.83)[0].softmax(-1)
    slip = "On 30 tokens it differs from minillm.inference.sampling.filter_logits."
    expect(answer(logits.softmax(-1), 0.83), expected, slip)


@exercise("table_beam")
def grade_table_beam(answer: Callable) -> None:
    """A table on which one beam loses and two win, and random ones against every text there is."""
    table = torch.full((5, 5), 1e-6)  # 0 begins, 1 ends; 2 looks best at first, 3 is best in the end
    table[0, [2, 3]] = torch.tensor([0.6, 0.4])
    table[2, [1, 3, 4]] = torch.tensor([0.4, 0.25, 0.35])
    table[3, [1, 4]] = torch.tensor([0.9, 0.1])
    table[4, 1] = 1.0
    logprobs = table.log()
    ids, score = _text(answer(logprobs.clone(), 0, 1, 2, 4))
    slip = "Token 3 is second at first (0.4), but 0.4 * 0.9 beats all that follows 2: with two beams it survives."
    if ids == [0, 2, 1]:
        slip += " Keep the best of all extensions together; one extension of each candidate is greedy."
    expect(ids, [0, 3, 1], slip)
    expect(float(score), math.log(0.36), "The score is the sum of the log-probabilities of the new tokens.")
    ids, score = _text(answer(logprobs.clone(), 0, 1, 1, 4))
    slip = "With one beam only the likeliest open candidate goes on, so 3 is lost at once: this looks at more."
    expect(ids, [0, 2, 1], slip)
    for seed in range(4):
        logits = 1.5 * torch.randn(5, 5, generator=torch.Generator().manual_seed(seed))
        logprobs = logits.log_softmax(-1)
        ids, score = _text(answer(logprobs.clone(), 0, 1, 1000, 4))
        best_ids, best = _likeliest(logprobs, 0, 1, 4)
        slip = "With room for every candidate the likeliest text must be found: put the ended ones aside and keep them."
        if len(ids) - 1 > 4:
            slip = "At most four new tokens, and the end is one of them."
        expect(list(ids), best_ids, slip)
        expect(float(score), best, "The ids are right, their log-probability is not.")


def _likeliest(logprobs: Tensor, start: int, end: int, longest: int) -> tuple[list[int], float]:
    """The likeliest text of all, by trying every one."""
    inner = [token for token in range(len(logprobs)) if token != end]
    texts = [[start, *middle, end] for length in range(longest) for middle in itertools.product(inner, repeat=length)]
    scores = [sum(float(logprobs[a, b]) for a, b in itertools.pairwise(text)) for text in texts]
    best = max(range(len(texts)), key=scores.__getitem__)
    return texts[best], scores[best]


def _tensors(came) -> list:
    if not isinstance(came, list | tuple) or not all(isinstance(g, Tensor) for g in came):
        raise Wrong(f"it gave {type(came).__name__} where a list of tensors was expected. Return the scaled gradients.")
    return list(came)


def _list(came) -> list[float]:
    return [float(g) for g in came] if isinstance(came, list | tuple) and all(g.numel() == 1 for g in came) else []


def _text(came) -> tuple[list[int], float]:
    if not isinstance(came, tuple) or len(came) != 2:
        raise Wrong(f"it gave {came!r} where a pair was expected. Return the ids, from start to end, and their score.")
    return [int(token) for token in came[0]], came[1]
