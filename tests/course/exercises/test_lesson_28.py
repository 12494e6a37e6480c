"""The slips that people make in lesson 28 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade
from minillm.course.exercises.lesson_28 import slow_bm25


def right_places(question, documents, k):
    return F.cosine_similarity(documents, question[None], dim=1).argsort(descending=True)[:k]


def right_rank(found, truth):
    return sum(1 / (row.index(right) + 1) if right in row else 0 for row, right in zip(found, truth)) / len(truth)


def right_threshold(cosines, known):
    ranked = [(sum((c >= cut) == k for c, k in zip(cosines, known)), -cut) for cut in cosines]
    return -max(ranked)[1]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("nearest_places", right_places),
        ("nearest_places", lambda q, d, k: right_places(q, d, k).tolist()),
        ("reciprocal_rank", right_rank),
        ("best_threshold", right_threshold),
        ("bm25", slow_bm25),
        ("bm25", lambda q, d: torch.tensor(slow_bm25(q, d))),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", ["nearest_places", "reciprocal_rank", "best_threshold", "bm25"])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def only_found(found, truth):
    ranks = [1 / (row.index(right) + 1) for row, right in zip(found, truth) if right in row]
    return sum(ranks) / len(ranks) if ranks else 0.0


def from_zero(found, truth):
    return sum(1 / (row.index(right) + 2) if right in row else 0 for row, right in zip(found, truth)) / len(truth)


def of_answered(cosines, known):
    return max(sorted(cosines), key=lambda cut: sum(c >= cut and k for c, k in zip(cosines, known)))


def last_of_equals(cosines, known):
    return max(sorted(cosines, reverse=True), key=lambda cut: sum((c >= cut) == k for c, k in zip(cosines, known)))


def no_saturation(question, documents):
    def rare(word):
        n = sum(word in d for d in documents)
        return math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))

    return [sum(rare(word) * d.count(word) for word in question) for d in documents]


WRONG = [
    ("nearest_places", lambda q, d, k: (d @ q).topk(k).indices.tolist(), "long documents win"),
    ("nearest_places", lambda q, d, k: right_places(q, d, 3).flip(0)[:k], "stands first"),
    ("nearest_places", lambda q, d, k: (right_places(q, d, k) + 1).tolist(), "begin with 0"),
    ("nearest_places", lambda q, d, k: 2, "a list of places"),
    ("reciprocal_rank", only_found, "counts as 0"),
    ("reciprocal_rank", from_zero, "counted from 1"),
    ("reciprocal_rank", lambda f, t: sum(x[0] == y for x, y in zip(f, t)) / len(t), "recall at 1"),
    ("best_threshold", of_answered, "refusing rightly"),
    ("best_threshold", lambda c, k: min(x for x, ok in zip(c, k) if ok), "far off may be given up"),
    ("best_threshold", last_of_equals, "take the smallest"),
    ("best_threshold", lambda c, k: 0.5, "that were seen"),
    ("bm25", no_saturation, "saturates"),
    ("bm25", lambda q, d: slow_bm25(q, d, b=0.0), "length is missing"),
    ("bm25", lambda q, d: slow_bm25(sorted(set(q)), d), "counts twice"),
    ("bm25", lambda q, d: sum(slow_bm25(q, d)), "a score for each"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong", verdict
    assert re.search(slip, verdict.message), verdict.message
