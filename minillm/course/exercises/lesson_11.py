"""Graders of lesson 11: the masked loss, BERT's hiding, filling by scoring, the pseudo-log-likelihood."""

import math
from collections.abc import Callable

import torch

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.data import IGNORE_INDEX
from minillm.training import masked_lm_loss


@exercise("masked_loss")
def grade_masked_loss(answer: Callable) -> None:
    """Uniform logits by hand, random ones against the library, and a text in which nothing counts."""
    labels = torch.tensor([IGNORE_INDEX, 3, IGNORE_INDEX, 5])
    came = answer(torch.zeros(4, 8), labels.clone())
    slips = [
        (2 * math.log(8), "That is the sum: divide by the number of rows that count."),
        (math.log(8) / 2, "You divided by all positions: divide by the number of rows that count, 2."),
        (3.0, "That is in bits: use the natural logarithm."),
        (-math.log(8), "The sign: a loss is minus the log-probability."),
    ]
    expect(came, math.log(8), likely_slip(came, slips, "Eight equally likely tokens cost ln 8 each."))
    logits = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([IGNORE_INDEX, 3, IGNORE_INDEX, 5, 0, IGNORE_INDEX])
    came = answer(logits.clone(), labels.clone())
    keep = labels != IGNORE_INDEX
    wrapped = -logits.log_softmax(-1)[range(6), labels.clamp(min=0)].mean()
    slips = [
        (masked_lm_loss(logits[:-1], labels[1:]), "Row t speaks of token t: there is no shift here."),
        (-logits[keep, labels[keep]].mean(), "Those are logits: a softmax turns them into probabilities first."),
        (wrapped, "Rows whose label is -100 were counted as if the label were 0: leave them out."),
    ]
    slip = "Take -ln p of the label, averaged over the rows whose label is not -100 (0 is a label like any other)."
    expect(came, masked_lm_loss(logits, labels), likely_slip(came, slips, slip))
    came = answer(logits.clone(), torch.full((6,), IGNORE_INDEX))
    expect(came, 0.0, "Here no row counts: the loss is 0, not the mean of nothing.")


@exercise("hide_tokens")
def grade_hide_tokens(answer: Callable) -> None:
    """Each fate once, a special token, and the two edges."""
    ids, random_ids = [1, 11, 12, 13, 14, 2], [30, 31, 32, 33, 34, 35]
    select, fate = [0.0, 0.10, 0.10, 0.10, 0.90, 0.0], [0.5, 0.5, 0.85, 0.95, 0.5, 0.85]
    came = _pair(answer(list(ids), list(select), list(fate), list(random_ids), 9, {1, 2}))
    read, labels = [1, 9, 32, 13, 14, 2], [-100, 11, 12, 13, -100, -100]
    slips = [
        (([9, 9, 32, 13, 14, 35], [1, 11, 12, 13, -100, 2]), "Special tokens are never selected."),
        (([1, 9, 32, 13, 14, 2], [-100, 11, 12, -100, -100, -100]), "A selected one that stays is asked for too."),
        (([1, 9, 32, 13, 14, 2], [-100, 11, -100, -100, -100, -100]), "A label is set for every selected token."),
        (([1, 9, 32, 13, 14, 2], [-100, 9, 32, 13, -100, -100]), "The label is the original, not what is read."),
        (([1, 9, 9, 9, 14, 2], [-100, 11, 12, 13, -100, -100]), "Only fates below 0.8 become the mask."),
        (([1, 9, 12, 32, 14, 2], labels), "From 0.8 to 0.9 a random token, from 0.9 on it stays."),
        (([1, 9, 32, 13, 14, 2], ids), "Labels are -100 where nothing was selected, or every row would count."),
    ]
    expect(
        came, (read, labels), likely_slip(came, slips, "Selected are the positions 1, 2 and 3: mask, random, stays.")
    )
    came = _pair(answer([5, 6, 7], [0.15, 0.1, 0.1], [0.1, 0.8, 0.9], [20, 21, 22], 9, set()))
    slip = "The edges: selected is < 0.15, masked is < 0.8, random is < 0.9."
    expect(came, ([5, 21, 7], [-100, 6, 7]), slip)
    given = [5, 6]
    answer(given, [0.1, 0.1], [0.1, 0.1], [7, 7], 9, set())
    expect(given, [5, 6], "It changed the list that it was given: work on a copy.")


@exercise("fill_by_scoring")
def grade_fill_by_scoring(answer: Callable) -> None:
    """A right side that decides, a left side that decides, far effects, and a tie."""
    table = torch.full((8, 8), 1e-6)
    table[0, [1, 2, 4]] = torch.tensor([0.59, 0.4, 0.01])
    table[1, [6, 7]] = torch.tensor([0.9, 0.1])
    table[2, [6, 7]] = torch.tensor([0.1, 0.9])
    table[4, 6] = 1.0
    table[[6, 7], 3] = 1.0

    def bigram(before, token):
        return math.log(table[before[-1] if before else 0, token])

    came = answer(bigram, [0, 5, 7, 3], 1, [1, 2])
    slip = "0.4 * 0.9 beats 0.59 * 0.1."
    if came == 1:
        slip += " That is only the left side: the tokens on the right must be scored too, given the candidate."
    expect(came, 2, slip)
    came = answer(bigram, [0, 5, 6, 3], 1, [4, 1])
    slip = "0.59 * 0.9 beats 0.01 * 1. The candidate's own log-probability is a part of the sum."
    expect(came, 1, slip)

    def far(before, token):
        """The last token agrees with the one four places before it."""
        if len(before) == 5:
            return math.log(0.9 if token == before[1] else 0.1)
        return math.log({1: 0.5, 2: 0.3, 3: 0.2}.get(token, 1.0))

    slip = "Score all that follows, to the end: here the last token decides."
    expect(answer(far, [8, 4, 8, 8, 8, 3], 1, [1, 2, 3]), 3, slip)
    expect(answer(lambda before, token: -1.0, [0, 0], 0, [4, 5]), 4, "All are equally likely: the first is asked for.")


@exercise("pseudo_logprob")
def grade_pseudo_logprob(answer: Callable) -> None:
    """A uniform model, then one that looks at both neighbours and at what it may not see."""
    came = answer(lambda ids: torch.zeros(len(ids), 8), [0, 3, 4, 5, 1], 2, {0, 1, 2})
    slips = [
        (-5 * math.log(8), "Special tokens are skipped: only three count."),
        (-math.log(8), "That is the mean: the sum is asked for."),
        (3 * math.log(8), "The sign: a log-probability is negative."),
        (-9.0, "That is in bits: use the natural logarithm."),
    ]
    expect(came, -3 * math.log(8), likely_slip(came, slips, "Three ordinary tokens, each one of eight."))
    weights = torch.randn(8, 24, generator=torch.Generator().manual_seed(3))

    def predict(ids):
        one_hot = torch.eye(8)[torch.tensor([0, *ids, 1])]
        return torch.cat([one_hot[:-2], 3 * one_hot[1:-1], one_hot[2:]], -1) @ weights.T

    ids = [0, 3, 5, 5, 7, 1]
    inside = range(1, 5)
    masked = [predict([*ids[:t], 2, *ids[t + 1 :]]).log_softmax(-1) for t in inside]
    expected = sum(row[t, ids[t]] for t, row in zip(inside, masked))
    seen = predict(ids).log_softmax(-1)
    at_once = predict([0, 2, 2, 2, 2, 1]).log_softmax(-1)
    left = [predict([*ids[:t], 2]).log_softmax(-1) for t in inside]
    slips = [
        (
            sum(seen[t, ids[t]] for t in inside),
            "Nothing was masked, so it could read the answer: mask position t first.",
        ),
        (sum(at_once[t, ids[t]] for t in inside), "All were masked at once: mask one, and let it see all others."),
        (sum(row[t, ids[t]] for t, row in zip(inside, left)), "It saw only the left side: keep what stands right."),
        (
            sum(row[t, 2] for t, row in zip(inside, masked)),
            "That is the log-probability of the mask: take the original.",
        ),
    ]
    came = answer(predict, list(ids), 2, {0, 1, 2})
    expect(came, expected.item(), likely_slip(came, slips, "Mask one token at a time and add up ln p of the original."))


def _pair(came) -> tuple[list[int], list[int]]:
    if not isinstance(came, tuple | list) or len(came) != 2:
        raise Wrong(f"it gave {came!r} where a pair was expected. Return what the model reads, and the labels.")
    return tuple([int(token) for token in side] for side in came)
