"""Lesson 01's graders: the slips that people make are wrong, each with a message of its own."""

import math

import pytest
import torch

from minillm.course.exercises import grade


def says(name: str, answer, message: str) -> bool:
    verdict = grade(name, answer)
    assert verdict.status == "wrong", verdict
    assert message in verdict.message, verdict.message
    return True


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda p: mean([1 / x for x in p]), "averaged 1 / p"),
        (lambda p: 1 / math.prod(p), "did not divide"),
        (lambda p: 1 / mean(p), "mean of p"),
        (lambda p: 2 ** mean([-math.log(x) for x in p]), "mixed bits and nats"),
        (lambda p: mean([-math.log(x) for x in p]), "This is the loss"),
        (lambda p: math.exp(mean([math.log(x) for x in p])), "minus sign"),
        (lambda p: math.prod(p) ** (-1 / len(p)), "Add logarithms"),
        (lambda p: print(p), "None"),
    ],
)
def test_perplexity_of(answer, message):
    assert says("perplexity_of", answer, message)


def counted(ids, V):
    return torch.zeros(V, V).index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1), accumulate=True)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda ids, V, k: (counted(ids, V).T + k) / (counted(ids, V).T + k).sum(1, keepdim=True), "swapped"),
        (lambda ids, V, k: counted(ids, V) / counted(ids, V).sum(1, keepdim=True), "without smoothing"),
        (lambda ids, V, k: (counted(ids, V) + k) / (counted(ids, V) + k).sum(), "whole table"),
        (lambda ids, V, k: (counted(ids, V) + k) / (counted(ids, V).sum(1, keepdim=True) + k), "not by k"),
        (lambda ids, V, k: (counted(ids, V) + k) / (counted(ids, V) + k).sum(0), "Each column sums to 1"),
        (lambda ids, V, k: counted(ids, V) + k, "plus k V"),
    ],
)
def test_smoothed_table(answer, message):
    assert says("smoothed_table", answer, message)


def writer(pick, keep_stop=False, stops=True):
    def babble(table, stop, longest, generator):
        row, words = stop, []
        while len(words) < longest:
            token = pick(table, row, generator)
            if token == stop and stops:
                return [*words, stop] if keep_stop else words
            words.append(token)
            row = token
        return words

    return babble


def draw(table, row, generator):
    return int(torch.multinomial(table[row], 1, generator=generator))


@pytest.mark.parametrize(
    "answer, message",
    [
        (writer(draw, keep_stop=True), "leave it out"),
        (writer(draw, stops=False), "end when the stop is drawn"),
        (writer(lambda table, row, generator: int(table[row].argmax())), "do not take the likeliest"),
        (lambda table, stop, longest, generator: writer(draw)(table, stop, 99, generator), "at most `longest`"),
        (writer(lambda table, row, generator: int(torch.multinomial(table[row], 1))), "two different sentences"),
        (writer(lambda table, row, generator: draw((table[row] > 0).float()[None], 0, generator)), "75 %"),
    ],
)
def test_babble(answer, message):
    assert says("babble", answer, message)


def pulls(scores, ids):
    total = counted(ids, len(scores)).sum(1, keepdim=True)
    return scores.softmax(1) * total - counted(ids, len(scores))


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda scores, ids: -pulls(scores, ids) / (len(ids) - 1), "sign is turned"),
        (lambda scores, ids: pulls(scores, ids), "divide by their number"),
        (lambda scores, ids: pulls(scores, ids) / len(ids), "N - 1 pairs"),
        (lambda scores, ids: pulls(scores, ids).T / (len(ids) - 1), "swapped"),
        (lambda s, ids: s.softmax(1) - counted(ids, len(s)) / counted(ids, len(s)).sum(1, keepdim=True), "weighs more"),
        (lambda scores, ids: scores.softmax(1), "minus 1 in column b"),
    ],
)
def test_bigram_gradient(answer, message):
    assert says("bigram_gradient", answer, message)


def mixed(probabilities, rounds):
    weights = torch.full((len(probabilities),), 1 / len(probabilities))
    for _ in range(rounds):
        shares = weights[:, None] * probabilities
        weights = (shares / shares.sum(0)).mean(1)
    return weights


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda p: mixed(p, 0), "equal weights"),
        (lambda p: mixed(p, 1), "one round"),
        (lambda p: (p.log().mean(1) == p.log().mean(1).max()).float(), "alone is not the best"),
        (lambda p: mixed(p, 300) * p.size(1), "Average over the tokens"),
        (lambda p: p.mean(1) / p.mean(1).sum(), "maximise"),
    ],
)
def test_mixture_weights(answer, message):
    assert says("mixture_weights", answer, message)
