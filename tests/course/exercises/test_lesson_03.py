"""The slips that people make in lesson 03 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch
import torch.nn.functional as F

from minillm.course.exercises import grade


def right_cosines(vectors):
    unit = F.normalize(vectors, dim=1)
    return unit @ unit.T


def unguarded_cosines(vectors):
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    return unit @ unit.T


def right_gradient(ids, upstream, rows):
    return torch.zeros(rows, upstream.size(1)).index_add(0, ids, upstream)


def overwriting_gradient(ids, upstream, rows):
    gradient = torch.zeros(rows, upstream.size(1))
    for i, row in zip(ids, upstream):
        gradient[i] = row
    return gradient


def mean_gradient(ids, upstream, rows):
    times = torch.bincount(ids, minlength=rows).clamp(min=1)
    return right_gradient(ids, upstream, rows) / times[:, None]


def right_smoothed(counts, power):
    return torch.where(counts > 0, pmi(counts, counts.sum(0) ** power), 0.0).clamp(min=0)


def pmi(counts, totals):
    """With the totals of the contexts that are given, made shares."""
    joint = counts / counts.sum()
    return (joint / (joint.sum(1, keepdim=True) * totals / totals.sum())).log()


def not_shares_again(counts, power):
    joint = counts / counts.sum()
    return (joint / (joint.sum(1, keepdim=True) * counts.sum(0) ** power)).log().clamp(min=0)


def smoothed_by_word(counts, power):
    joint, totals = counts / counts.sum(), counts.sum(1, keepdim=True) ** power
    return (joint / (totals / totals.sum() * joint.sum(0))).log().clamp(min=0)


def right_skip_gram(centre, near, noise):
    drawn = F.logsigmoid(-(noise @ centre[:, :, None])[:, :, 0])
    return -(F.logsigmoid((centre * near).sum(1)) + drawn.sum(1)).mean()


def pulled_to_noise(centre, near, noise):
    return right_skip_gram(centre, near, -noise)


def averaged_noise(centre, near, noise):
    drawn = F.logsigmoid(-(noise @ centre[:, :, None])[:, :, 0])
    return -(F.logsigmoid((centre * near).sum(1)) + drawn.mean(1)).mean()


def overflowing(centre, near, noise):
    drawn = torch.sigmoid(-(noise @ centre[:, :, None])[:, :, 0]).log()
    return -(torch.sigmoid((centre * near).sum(1)).log() + drawn.sum(1)).mean()


RIGHT = {
    "cosine_matrix": right_cosines,
    "embedding_gradient": right_gradient,
    "smoothed_ppmi": right_smoothed,
    "skip_gram_loss": right_skip_gram,
}
WRONG = [
    ("cosine_matrix", lambda vectors: vectors @ vectors.T, "Those are dot products"),
    ("cosine_matrix", lambda vectors: right_cosines(vectors.T), "compares columns"),
    ("cosine_matrix", unguarded_cosines, "not nan"),
    ("cosine_matrix", lambda vectors: torch.eye(len(vectors)), "Divide each dot product"),
    ("embedding_gradient", overwriting_gradient, "not the last one"),
    ("embedding_gradient", mean_gradient, "not their mean"),
    (
        "embedding_gradient",
        lambda ids, upstream, rows: right_gradient(ids, upstream, int(ids.max()) + 1),
        "`rows` rows",
    ),
    ("embedding_gradient", lambda ids, upstream, rows: upstream, "one for each row of the table"),
    ("smoothed_ppmi", lambda counts, power: pmi(counts, counts.sum(0) ** power), "ln 0 is -inf"),
    ("smoothed_ppmi", lambda counts, power: right_smoothed(counts, 1.0), "the plain PPMI"),
    ("smoothed_ppmi", lambda counts, power: right_smoothed(counts**power, 1.0), "not the counts themselves"),
    ("smoothed_ppmi", lambda counts, power: right_smoothed(counts, 0.5), "With a power of 1"),
    ("smoothed_ppmi", lambda counts, power: right_smoothed(counts, power) / torch.tensor(2.0).log(), "in bits"),
    ("smoothed_ppmi", lambda counts, power: pmi(counts, counts.sum(0) ** power).clamp(min=0), "not nan"),
    ("smoothed_ppmi", not_shares_again, "divided by their sum"),
    ("smoothed_ppmi", smoothed_by_word, "not the words"),
    ("skip_gram_loss", pulled_to_noise, "minus inside"),
    ("skip_gram_loss", averaged_noise, "summed over K"),
    ("skip_gram_loss", lambda *tensors: -right_skip_gram(*tensors), "The sign"),
    ("skip_gram_loss", lambda *tensors: right_skip_gram(*tensors) * len(tensors[0]), "Average over the batch"),
    ("skip_gram_loss", overflowing, "F.logsigmoid"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name):
    assert grade(name, RIGHT[name]).status == "right", grade(name, RIGHT[name])


@pytest.mark.parametrize(("name", "answer", "message"), WRONG, ids=[f"{w[0]}: {w[2]}" for w in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, message):
    status, said = grade(name, answer)
    assert status == "wrong"
    assert re.search(re.escape(message), said), said
