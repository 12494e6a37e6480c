"""The slips that people make in lesson 14 are wrong, each with its own message. (Its folded solutions are right.)"""

import math
import random
import re
from collections import Counter

import pytest
from sacrebleu.metrics import CHRF

from minillm.course.exercises import grade
from minillm.course.exercises.lesson_14 import _chrf


def grams(words, n):
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def right_precision(reference, candidate, n):
    a, b = Counter(grams(reference, n)), Counter(grams(candidate, n))
    return (a & b).total() / b.total() if b else 0.0


def right_penalty(candidate, references, key=lambda length, candidate: (abs(length - candidate), length)):
    r = min(references, key=lambda length: key(length, candidate))
    return 1.0 if 0 < r <= candidate else math.exp(1 - r / candidate) if candidate else 0.0


def right_thread(first, second):
    if not first or not second:
        return []
    if first[-1] == second[-1]:
        return [*right_thread(first[:-1], second[:-1]), first[-1]]
    return max(right_thread(first[:-1], second), right_thread(first, second[:-1]), key=len)


def right_wins(first, second, draws):
    return sum(sum(first[i] - second[i] for i in draw) > 0 for draw in draws) / len(draws)


def right_chrf(reference, candidate, beta=2, cut="".join, orders=6):
    a, b = (cut(text.split()) for text in (reference, candidate))
    shares = []
    for n in range(1, min(len(a), len(b), orders) + 1):
        matched = (Counter(grams(a, n)) & Counter(grams(b, n))).total()
        shares.append((matched / (len(b) - n + 1), matched / (len(a) - n + 1)))
    P, R = (sum(column) / len(column) for column in zip(*shares)) if shares else (0, 0)
    return 100 * (1 + beta**2) * P * R / (beta**2 * P + R) if P + R else 0.0


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("clipped_precision", right_precision),
        ("brevity_penalty", right_penalty),
        ("common_thread", right_thread),
        ("share_of_wins", right_wins),
        ("chrf", right_chrf),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def test_the_graders_chrf_is_that_of_sacrebleu():
    rng, theirs = random.Random(0), CHRF()
    for _ in range(200):
        a, b = ("".join(rng.choices("abC. ", k=rng.randint(1, 40))) for _ in "ab")
        assert _chrf(a, b) == pytest.approx(theirs.sentence_score(b, [a]).score, abs=1e-6), (a, b)


def unclipped(reference, candidate, n):
    there = set(grams(reference, n))
    return sum(gram in there for gram in grams(candidate, n)) / max(len(candidate) - n + 1, 1)


def of_kinds(reference, candidate, n):
    a, b = set(grams(reference, n)), grams(candidate, n)
    return len(a & set(b)) / len(b) if b else 0.0


def greedy(first, second):
    thread, place = [], 0
    for word in first:
        if word in second[place:]:
            place = second.index(word, place) + 1
            thread.append(word)
    return thread


def greedy_of_second(first, second):
    return greedy(second, first)


def mean_of_fs(reference, candidate):
    a, b = ("".join(text.split()) for text in (reference, candidate))
    fs = []
    for n in range(1, min(len(a), len(b), 6) + 1):
        matched = (Counter(grams(a, n)) & Counter(grams(b, n))).total()
        P, R = matched / (len(b) - n + 1), matched / (len(a) - n + 1)
        fs.append(5 * P * R / (4 * P + R) if matched else 0.0)
    return 100 * sum(fs) / len(fs) if fs else 0.0


def every_order(reference, candidate):
    """An n for which a text is too short counts as nothing right."""
    a, b = ("".join(text.split()) for text in (reference, candidate))
    P = R = 0
    for n in range(1, 7):
        matched = (Counter(grams(a, n)) & Counter(grams(b, n))).total()
        P, R = P + matched / max(len(b) - n + 1, 1) / 6, R + matched / max(len(a) - n + 1, 1) / 6
    return 100 * 5 * P * R / (4 * P + R) if P + R else 0.0


WRONG = [
    # clipped precision
    ("clipped_precision", unclipped, "used up"),
    ("clipped_precision", of_kinds, "kinds of words"),
    ("clipped_precision", lambda a, b, n: right_precision(b, a, n), "recall"),
    ("clipped_precision", lambda a, b, n: right_precision(a, b, 1), "runs of n words"),
    ("clipped_precision", lambda a, b, n: right_precision(a, b, n) * max(len(b) - n + 1, 0) / len(b), "five pairs"),
    ("clipped_precision", lambda a, b, n: (a, b), "one number"),
    # brevity
    ("brevity_penalty", lambda c, r: math.exp(1 - c / min(r)), "other way round"),
    ("brevity_penalty", lambda c, r: c / min(r), "ratio of the lengths"),
    ("brevity_penalty", lambda c, r: math.exp(1 - min(r) / c), "no prize"),
    ("brevity_penalty", lambda c, r: right_penalty(c, [min(r)]), "not the shortest"),
    ("brevity_penalty", lambda c, r: right_penalty(c, [max(r)]), "not the longest"),
    ("brevity_penalty", lambda c, r: right_penalty(c, [sum(r) / len(r)]), "not the mean"),
    ("brevity_penalty", lambda c, r: right_penalty(c, r, lambda own, c: abs(own - c)), "of two equally close"),
    ("brevity_penalty", lambda c, r: right_penalty(c, r) if c else 1.0, "without words"),
    # the longest common subsequence
    ("common_thread", greedy, "greedy"),
    ("common_thread", greedy_of_second, "greedy"),
    ("common_thread", lambda a, b: [word for word in a if word in b], "in this order"),
    ("common_thread", lambda a, b: right_thread(a, b)[::-1], "in this order"),
    ("common_thread", lambda a, b: len(right_thread(a, b)), "a list of words"),
    # paired wins
    ("share_of_wins", lambda a, b, d: sum(x > y for x, y in zip(a, b)) / len(a), "items that the first one wins"),
    ("share_of_wins", lambda a, b, d: right_wins(a, b, d) * len(d), "divide it"),
    ("share_of_wins", lambda a, b, d: right_wins(b, a, d), "second is higher"),
    ("share_of_wins", lambda a, b, d: right_wins(a, b, [set(draw) for draw in d]), "as often as it was drawn"),
    ("share_of_wins", lambda a, b, d: 1 - right_wins(b, a, d), "a tie is no win"),
    (
        "share_of_wins",
        lambda a, b, d: sum(sum(a[i] > b[i] for i in draw) * 2 > len(draw) for draw in d) / len(d),
        "wins most items",
    ),
    # chrF
    ("chrf", lambda a, b: right_chrf(a, b, beta=1), "alike"),
    ("chrf", lambda a, b: right_chrf(a, b, beta=0.5), "swap the two"),
    ("chrf", lambda a, b: right_chrf(b, a), "swap the two"),
    ("chrf", lambda a, b: right_chrf(a, b) / 100, "from 0 to 100"),
    ("chrf", mean_of_fs, "mean of the Fs"),
    ("chrf", every_order, "too short"),
    ("chrf", lambda a, b: right_chrf(a, b, cut=" ".join), "remove white space"),
    ("chrf", lambda a, b: right_chrf(a.lower(), b.lower()), "Case is kept"),
    ("chrf", lambda a, b: right_chrf(a, b, orders=4), "n from 1 to 6"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
