"""The slips that people make in lesson 05 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch

from minillm.course.exercises import grade


def right_loss(logits, ids):
    return -logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].mean()


def right_clip(gradients, limit):
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    return [g * min(1.0, limit / norm) for g in gradients]


def right_stop(losses, patience):
    best = 0
    for index, loss in enumerate(losses):
        if loss < losses[best]:
            best = index
        if index - best == patience:
            return best, index
    return best, len(losses) - 1


def right_nucleus(probabilities, p):
    ordered, order = probabilities.sort(descending=True)
    kept = ordered * (ordered.cumsum(0) - ordered < p)
    return torch.zeros_like(probabilities).scatter(0, order, kept / kept.sum())


def beam(logprobs, start, end, beams, longest, extend=None, keep_ended=True):
    """The right answer, with two places where it can be made wrong."""
    going, ended = [([start], 0.0)], []
    for _ in range(longest):
        grown = []
        for ids, score in going:
            row = [([*ids, token], score + float(logprobs[ids[-1], token])) for token in range(len(logprobs))]
            grown += sorted(row, key=lambda pair: -pair[1])[:extend]
        grown.sort(key=lambda pair: -pair[1])
        ended = ended * keep_ended + [pair for pair in grown if pair[0][-1] == end]
        going = [pair for pair in grown if pair[0][-1] != end][:beams]
    return max(ended, key=lambda pair: pair[1]) if ended else ([start, end], 0.0)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("next_token_loss", right_loss),
        ("clip_together", right_clip),
        ("when_to_stop", right_stop),
        ("nucleus", right_nucleus),
        ("table_beam", beam),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


WRONG = [
    # the loss of the next token
    ("next_token_loss", lambda z, ids: right_loss(z, ids) * 3, "divide by their number"),
    ("next_token_loss", lambda z, ids: right_loss(z, ids) / math.log(2), "in bits"),
    ("next_token_loss", lambda z, ids: -right_loss(z, ids), "The sign"),
    ("next_token_loss", lambda z, ids: right_loss(z, ids) * 3 / 4, "three predictions"),
    ("next_token_loss", lambda z, ids: torch.nn.functional.cross_entropy(z, ids), "shift one against the other"),
    ("next_token_loss", lambda z, ids: math.log(8), "averaged over the three"),
    # clipping
    (
        "clip_together",
        lambda gs, limit: [g * min(1.0, limit / float(g.norm())) for g in gs],
        "Each tensor was cut alone",
    ),
    ("clip_together", lambda gs, limit: [g.clamp(-limit, limit) for g in gs], "Each tensor was cut alone"),
    (
        "clip_together",
        lambda gs, limit: [g / math.sqrt(sum(float((h**2).sum()) for h in gs)) for g in gs],
        "left as it is",
    ),
    ("clip_together", lambda gs, limit: right_clip(gs, 1.0), "with the limit that is given"),
    ("clip_together", lambda gs, limit: [g * min(1, limit / sum(float(h.norm()) for h in gs)) for g in gs], "sqrt"),
    ("clip_together", lambda gs, limit: gs[0], "a list of tensors"),
    # early stopping
    (
        "when_to_stop",
        lambda losses, patience: (losses.index(min(losses)), right_stop(losses, patience)[1]),
        "never sees",
    ),
    ("when_to_stop", lambda losses, patience: right_stop(losses, patience + 1), "stops there|Count"),
    ("when_to_stop", lambda losses, patience: right_stop(losses, patience - 1), "not yet two"),
    ("when_to_stop", lambda losses, patience: (len(losses) - 1,) * 2, "compare with the best"),
    # the nucleus
    ("nucleus", lambda p, share: right_nucleus(p, share) * 0.8, "divide by its sum"),
    ("nucleus", lambda p, share: _drop_the_last(p, share), "crosses the line is in"),
    ("nucleus", lambda p, share: right_nucleus(p.sort(descending=True).values, share), "its own place"),
    ("nucleus", lambda p, share: right_nucleus(p, max(share, 0.6)), "always stays"),
    ("nucleus", lambda p, share: right_nucleus(p, 0.7 if share > 0.5 else share), "On 30 tokens"),
    # the beam
    ("table_beam", lambda *a: beam(*a[:3], 1, a[4]), "with two beams it survives"),
    ("table_beam", lambda *a: beam(*a, extend=1), "one extension of each candidate is greedy"),
    ("table_beam", lambda *a: beam(*a[:3], 1000, a[4]), "looks at more"),
    ("table_beam", lambda *a: beam(*a, keep_ended=False), "put the ended ones aside|it survives"),
    ("table_beam", lambda *a: (beam(*a)[0], math.exp(beam(*a)[1])), "sum of the log-probabilities"),
    ("table_beam", lambda *a: beam(*a)[0], "a pair was expected"),
]


def _drop_the_last(p, share):
    ordered, order = p.sort(descending=True)
    kept = ordered * (ordered.cumsum(0) <= share)
    return torch.zeros_like(p).scatter(0, order, kept / kept.sum())


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
