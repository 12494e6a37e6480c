"""The slips that people make in lesson 19 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade


def right_place(x, vectors, mask):
    rows = [torch.cat([row[:n], vectors, row[n:]]) for row, n in zip(x, mask.argmax(1).tolist())]
    return torch.stack(rows)


def right_prefix(q, k, v, pk, pv, shift=None, divide=True):
    keys, values = torch.cat([pk, k]), torch.cat([pv, v])
    scores = q @ keys.T / (q.size(-1) ** 0.5 if divide else 1)
    seen = torch.ones_like(scores).bool().tril(len(pk) if shift is None else shift)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values


def right_fold(weight, bias, scale, inputs):
    return (weight * scale, bias) if inputs else (weight * scale[:, None], bias * scale)


def right_near(vectors, table, noise):
    near = [(F.normalize(some) @ F.normalize(table).T).max(1).values.mean().item() for some in (vectors, noise)]
    return near[0] - near[1]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("place_prompt", right_place),
        ("prefix_attention", right_prefix),
        ("fold_scale", right_fold),
        ("nearer_than_chance", right_near),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def in_front(x, vectors, mask):
    return torch.cat([vectors.expand(len(x), *vectors.shape), x], 1)


def at_the_end(x, vectors, mask):
    return torch.cat([x, vectors.expand(len(x), *vectors.shape)], 1)


def one_late(x, vectors, mask):
    rows = [torch.cat([row[: n + 1], vectors, row[n + 1 :]]) for row, n in zip(x, mask.argmax(1).tolist())]
    return torch.stack(rows)


def by_counting_padding(x, vectors, mask):
    """Counts the zeros, which is right only where they stand on the left."""
    rows = [torch.cat([row[:n], vectors, row[n:]]) for row, n in zip(x, (1 - mask).sum(1).tolist())]
    return torch.stack(rows)


def two_softmaxes(q, k, v, pk, pv):
    return right_prefix(q, k, v, pk[:0], pv[:0]) + (q @ pk.T / q.size(-1) ** 0.5).softmax(-1) @ pv


def other_order(q, k, v, pk, pv):
    scores = q @ torch.cat([k, pk]).T / q.size(-1) ** 0.5
    seen = torch.ones_like(scores).bool().tril(len(pk))
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ torch.cat([pv, v])


def prefix_alone(q, k, v, pk, pv):
    return (q @ pk.T / q.size(-1) ** 0.5).softmax(-1) @ pv


def by_dot(vectors, table, noise):
    return ((vectors @ table.T).max(1).values.mean() - (noise @ table.T).max(1).values.mean()).item()


def by_mean(vectors, table, noise):
    near = [(F.normalize(some) @ F.normalize(table).T).mean().item() for some in (vectors, noise)]
    return near[0] - near[1]


def by_best(vectors, table, noise):
    near = [(F.normalize(some) @ F.normalize(table).T).max().item() for some in (vectors, noise)]
    return near[0] - near[1]


WRONG = [
    # the prompt and the padding
    ("place_prompt", in_front, "before the padding"),
    ("place_prompt", at_the_end, "behind the text"),
    ("place_prompt", one_late, "not before it"),
    ("place_prompt", lambda x, v, m: right_place(x, v.flip(0), m), "reverse"),
    ("place_prompt", by_counting_padding, "padding on the right"),
    ("place_prompt", lambda x, v, m: x, "shape"),
    ("place_prompt", lambda x, v, m: 3, "a tensor of shape"),
    # a prefix in causal attention
    ("prefix_attention", lambda *a: right_prefix(*a, shift=0), "the whole prefix"),
    ("prefix_attention", lambda *a: right_prefix(*a, shift=99), "comes after it"),
    ("prefix_attention", lambda *a: right_prefix(*a, divide=False), "root of D"),
    ("prefix_attention", lambda q, k, v, pk, pv: right_prefix(q, k, v, pk[:0], pv[:0]), "does not count"),
    ("prefix_attention", prefix_alone, "The text does not count"),
    ("prefix_attention", two_softmaxes, "one softmax"),
    ("prefix_attention", other_order, "the same order|first query"),
    ("prefix_attention", lambda q, *rest: q[:1], "shape"),
    # IA3 merged
    ("fold_scale", lambda w, b, s, inputs: (w * s, b * s), "an output is a row"),
    ("fold_scale", lambda w, b, s, inputs: (w * s, b), "an output is a row"),
    ("fold_scale", lambda w, b, s, inputs: (w * s if inputs else w * s[:, None], b), "part of the output"),
    ("fold_scale", lambda w, b, s, inputs: (w * s if inputs else w * s[:, None], b * s), "never meet the bias"),
    ("fold_scale", lambda w, b, s, inputs: (w * s[:, None], b if inputs else b * s), "Inputs are columns"),
    ("fold_scale", lambda w, b, s, inputs: (w * s[:, None], b * s), "leave the bias"),
    ("fold_scale", lambda w, b, s, inputs: (w + s[:, None], b + s), "multiplies"),
    ("fold_scale", lambda w, b, s, inputs: w, "a pair"),
    # nearness beside chance
    ("nearer_than_chance", by_dot, "dot product"),
    ("nearer_than_chance", by_mean, "not the mean over the table"),
    ("nearer_than_chance", by_best, "not the best"),
    ("nearer_than_chance", lambda v, t, n: right_near(n, t, v), "other way round"),
    ("nearer_than_chance", lambda v, t, n: (F.normalize(v) @ F.normalize(t).T).max(1).values.mean(), "take away"),
    ("nearer_than_chance", lambda v, t, n: v, "one number"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message


def test_an_untouched_stub_is_not_answered_yet():
    def fold_scale(weight, bias, scale, inputs):
        """What it should do."""
        ...

    assert grade("fold_scale", fold_scale).status == "not answered yet"
