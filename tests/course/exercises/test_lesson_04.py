"""The slips that people make in lesson 04 are wrong, each with its own message. (Its folded solutions are right.)"""

import math

import pytest
import torch

from minillm.course.exercises import grade
from minillm.models import attention


def triangle(mask):
    return torch.ones(mask.size(1), mask.size(1)).tril().bool()


def distances(weights):
    place = torch.arange(weights.size(-1))
    return place[:, None] - place


def by_exponentials(q, keys):
    exponentials = (keys @ q / math.sqrt(len(q))).exp()
    return exponentials / exponentials.sum()


def mean_of_pieces(q, k, v, size):
    pieces = [attention(q, *piece)[0] for piece in zip(k.split(size), v.split(size))]
    return torch.stack(pieces).mean(0)


def never_rescaled(q, k, v, size):
    largest, total, output = torch.full((len(q), 1), -math.inf), 0.0, 0.0
    for keys, values in zip(k.split(size), v.split(size)):
        scores = q @ keys.T / math.sqrt(q.size(1))
        largest = torch.maximum(largest, scores.amax(1, keepdim=True))
        exponentials = (scores - largest).exp()
        total, output = total + exponentials.sum(1, keepdim=True), output + exponentials @ values
    return output / total


def never_shifted(q, k, v, size):
    total, output = 0.0, 0.0
    for keys, values in zip(k.split(size), v.split(size)):
        exponentials = (q @ keys.T / math.sqrt(q.size(1))).exp()
        total, output = total + exponentials.sum(1, keepdim=True), output + exponentials @ values
    return output / total


def without_the_last_piece(q, k, v, size):
    whole = len(k) // size * size
    return attention(q, k[:whole], v[:whole])[0]


SLIPS = [
    ("weights_of_one_query", lambda q, keys: (keys @ q).softmax(0), "square root of D before"),
    ("weights_of_one_query", lambda q, keys: (keys @ q / len(q)).softmax(0), "not by D"),
    ("weights_of_one_query", lambda q, keys: keys @ q / math.sqrt(len(q)), "Those are scores"),
    ("weights_of_one_query", by_exponentials, "must not be nan"),
    ("who_sees_whom", lambda mask: triangle(mask) & mask.bool()[:, :, None], "padding of queries"),
    ("who_sees_whom", lambda mask: triangle(mask).T & mask.bool()[:, None, :], "upside down"),
    ("who_sees_whom", lambda mask: triangle(mask).expand(len(mask), -1, -1), "padding is missing"),
    ("who_sees_whom", lambda mask: triangle(mask) * mask[:, None, :], "boolean"),
    ("cut_into_heads", lambda x, heads: x.reshape(len(x), heads, x.size(1), -1), "mixes positions"),
    ("cut_into_heads", lambda x, heads: x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2), "every other channel"),
    ("cut_into_heads", lambda x, heads: x.unflatten(-1, (heads, -1)), "exchange T and H"),
    ("mean_reach", lambda weights: (weights * -distances(weights)).sum(-1).mean(-1), "negative"),
    ("mean_reach", lambda weights: (weights * distances(weights)).mean((-2, -1)), "T x T entries"),
    ("mean_reach", lambda weights: (weights * distances(weights)).sum((-2, -1)), "not the sum"),
    ("attention_in_pieces", mean_of_pieces, "mean of the pieces' means"),
    ("attention_in_pieces", never_rescaled, "the old sums"),
    ("attention_in_pieces", never_shifted, "must not be nan"),
    ("attention_in_pieces", without_the_last_piece, "shorter piece is missing"),
    ("attention_in_pieces", lambda q, k, v, size: attention(q, k, v)[0], "a table of all"),
]


@pytest.mark.parametrize(("name", "answer", "message"), SLIPS)
def test_a_slip_is_wrong_and_is_told_what_it_is(name, answer, message):
    verdict = grade(name, answer)
    assert verdict.status == "wrong" and message in verdict.message, verdict


def test_every_exercise_of_the_lesson_has_slips_with_messages_of_their_own():
    messages = [grade(name, answer).message.split(". ", 1)[-1] for name, answer, _ in SLIPS]
    assert len({name for name, _, _ in SLIPS}) == 5
    assert len(set(messages)) >= len(SLIPS) - 1  # a cut in the wrong order mixes positions, however it was made
