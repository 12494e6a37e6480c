"""Graders of lesson 14: clipped precision, brevity, the longest common subsequence, paired wins, chrF."""

import math
import random
from collections.abc import Callable

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.metrics import clipped_matches, lcs_length


@exercise("clipped_precision")
def grade_clipped_precision(answer: Callable) -> None:
    """The cat on the mat, pairs of words, a candidate too short, and the library on random words."""
    cat = "the cat is on the mat".split()
    came = _number(answer(list(cat), ["the"] * 4, 1))
    slips = [
        (1.0, 'An n-gram of the reference can be used up: it has only two "the", so no more than two count.'),
        (1 / 4, "That counts kinds of words: a word counts as often as both have it, here twice."),
        (2 / 6, "That is recall: divide by the n-grams of the candidate."),
    ]
    expect(came, 2 / 4, likely_slip(came, slips, 'Two of four "the" find a partner.'))
    came = _number(answer(list(cat), "the cat sat on the mat".split(), 2))
    slips = [
        (3 / 6, "Six words hold five pairs: divide by the number of n-grams, not of words."),
        (5 / 6, "That is for n = 1: count runs of n words."),
    ]
    expect(came, 3 / 5, likely_slip(came, slips, '"the cat", "on the" and "the mat", of five pairs.'))
    expect(_number(answer(list(cat), ["the"], 2)), 0.0, "A candidate of one word has no pairs: 0.0.")
    expect(_number(answer([], ["the"], 1)), 0.0, "An empty reference has nothing to match: 0.0.")
    rng = random.Random(0)
    for _ in range(30):
        a, b = (rng.choices("abc", k=rng.randint(1, 12)) for _ in "ab")
        n = rng.randint(1, 3)
        expected = clipped_matches([a], b, n) / max(len(b) - n + 1, 1)
        slip = f"That is for reference {' '.join(a)}, candidate {' '.join(b)}, n = {n}."
        expect(_number(answer(list(a), list(b), n)), expected, slip)


@exercise("brevity_penalty")
def grade_brevity_penalty(answer: Callable) -> None:
    """One reference too long, too short, as long; the closest of several, ties, and nothing at all."""
    came = _number(answer(7, [8]))
    slips = [
        (math.exp(1 - 7 / 8), "The fraction is r / c, the other way round: a short candidate is punished."),
        (7 / 8, "That is the ratio of the lengths: the penalty is exp(1 - r / c)."),
        (math.exp(8 / 7), "The exponent is 1 - r / c."),
    ]
    expect(came, math.exp(1 - 8 / 7), likely_slip(came, slips, "Seven words for eight: exp(1 - 8/7)."))
    expect(_number(answer(9, [8])), 1.0, "A candidate longer than the reference has no penalty and no prize: 1.0.")
    expect(_number(answer(8, [8])), 1.0, "As long as the reference: no penalty.")
    for references in ([12, 8, 3], [3, 8, 12]):
        came = _number(answer(7, list(references)))
        slips = [
            (1.0, "The reference closest to 7 is the one of 8 words, not the shortest."),
            (math.exp(1 - 12 / 7), "The reference closest to 7 is the one of 8 words, not the longest."),
            (math.exp(1 - 23 / 21), "Take the closest reference, not the mean of all."),
        ]
        expect(came, math.exp(1 - 8 / 7), likely_slip(came, slips, "The closest of 3, 8 and 12 to 7 is 8."))
    for references in ([6, 8], [8, 6]):
        slip = "6 and 8 are as far from 7: of two equally close references the shorter counts, in whatever order."
        expect(_number(answer(7, list(references))), 1.0, slip)
    expect(_number(answer(0, [8])), 0.0, "A candidate without words: 0.0.")


@exercise("common_thread")
def grade_common_thread(answer: Callable) -> None:
    """Lin's gunman, a case on which taking the first match fails, nothing in common, and random words."""
    came = _words(answer("police killed the gunman".split(), "police kill the gunman".split()))
    _check_thread(came, "police killed the gunman".split(), "police kill the gunman".split())
    came = _words(answer(list("abcd"), list("dabc")))
    if came == ["d"]:
        raise Wrong("of a b c d and d a b c it gave ['d']: a greedy choice. Taking d first blocks a, b and c.")
    _check_thread(came, list("abcd"), list("dabc"))
    for first, second in ((list("ab"), list("cd")), ([], list("ab")), (list("ab"), [])):
        expect(_words(answer(list(first), list(second))), [], "Nothing in common: an empty list.")
    rng = random.Random(1)
    for _ in range(30):
        first, second = (rng.choices("abcd", k=rng.randint(1, 12)) for _ in "ab")
        _check_thread(_words(answer(list(first), list(second))), first, second)


def _check_thread(came: list, first: list, second: list) -> None:
    """Raises Wrong unless the words stand in both lists in this order, and no longer list does."""
    case = f"of {' '.join(first)} and {' '.join(second)} it gave {came}"
    for words in (first, second):
        rest = iter(words)
        if not all(word in rest for word in came):
            raise Wrong(f"{case}, but in {' '.join(words)} these do not stand in this order. Keep the order of both.")
    if len(came) < (length := lcs_length(first, second)):
        raise Wrong(f"{case}, but there is one of {length} words. Gaps are allowed; a greedy choice is not enough.")


@exercise("share_of_wins")
def grade_share_of_wins(answer: Callable) -> None:
    """Three draws by hand, items drawn twice, ties, and a slow loop on random scores."""
    came = _number(answer([1, 0], [0, 0.5], [[0, 0], [0, 1], [1, 1]]))
    slips = [
        (0.5, "That is the share of items that the first one wins: count draws."),
        (2.0, "That is the number of wins: divide it by the number of draws."),
        (1 / 3, "That is where the second is higher, or the first wins most items: compare the means of both."),
    ]
    expect(came, 2 / 3, likely_slip(came, slips, "It wins the first two draws and loses the third."))
    slip = "Item 1 is drawn twice and outweighs item 0: each item counts as often as it was drawn."
    expect(_number(answer([3, 0], [0, 2], [[0, 1, 1]])), 0.0, slip)
    slip = "Item 0 wins by much, two others lose by little: compare the means over a draw, not the wins in it."
    expect(_number(answer([9, 0, 0], [0, 1, 1], [[0, 1, 2]])), 1.0, slip)
    expect(_number(answer([1, 2], [1, 2], [[0, 1], [1, 1]])), 0.0, "The same scores: a tie is no win.")
    rng = random.Random(2)
    first, second = ([rng.randint(0, 9) for _ in range(10)] for _ in "ab")
    draws = [rng.choices(range(10), k=10) for _ in range(200)]
    wins = 0
    for draw in draws:
        wins += sum(first[i] for i in draw) > sum(second[i] for i in draw)
    slip = "On 200 random draws it differs. Both systems must be scored on the same items of a draw."
    expect(_number(answer(list(first), list(second), draws)), wins / 200, slip)


@exercise("chrf")
def grade_chrf(answer: Callable) -> None:
    """Three letters by hand, the same text, white space, case, nothing in common, and a slow count on random texts."""
    came = _number(answer("ab", "abc"))
    slips = [
        (100 * 2 * (7 / 12) / (7 / 12 + 1), "That weighs precision and recall alike: F = 5PR / (4P + R)."),
        (100 * 5 * (7 / 12) / (4 + 7 / 12), "That weighs precision double: swap the two. The reference comes first."),
        (0.875, "It goes from 0 to 100."),
        (100 * (10 / 11 + 5 / 6) / 2, "That is the mean of the Fs: average P and R over n, then make one F."),
        (100 * 5 * (7 / 36) * (1 / 3) / (4 * 7 / 36 + 1 / 3), "Leave out each n for which a text is too short."),
    ]
    slips += [(100 * 5 * (7 / 18) * (2 / 3) / (4 * 7 / 18 + 2 / 3), "Leave out each n for which a text is too short.")]
    expect(came, 87.5, likely_slip(came, slips, "P is the mean of 2/3 and 1/2, R is 1."))
    expect(_number(answer("the kite", "the kite")), 100.0, "A text against itself has 100.")
    expect(_number(answer("the kite", "thekite")), 100.0, "Without white space these are the same: remove white space.")
    expect(_number(answer("ab", "AB")), 0.0, "Case is kept: ab and AB have nothing in common.")
    expect(_number(answer("", "ab")), 0.0, "An empty reference has nothing to match: 0.0.")
    expect(_number(answer("ab", "")), 0.0, "An empty candidate matches nothing: 0.0.")
    rng = random.Random(3)
    for _ in range(20):
        a, b = ("".join(rng.choices("ab c", k=rng.randint(3, 30))) for _ in "ab")
        slip = f"That is for reference {a!r}, candidate {b!r}: n from 1 to 6, clipped."
        expect(_number(answer(a, b)), _chrf(a, b), slip, 1e-3)


def _chrf(reference: str, candidate: str) -> float:
    """The count itself, one n after the other."""
    texts = ["".join(text.split()) for text in (candidate, reference)]
    shares = []
    for n in range(1, 7):
        grams = [[text[i : i + n] for i in range(len(text) - n + 1)] for text in texts]
        if all(grams):
            matched = sum(min(grams[0].count(gram), grams[1].count(gram)) for gram in set(grams[0]))
            shares.append([matched / len(own) for own in grams])
    P, R = (sum(column) / len(column) for column in zip(*shares)) if shares else (0.0, 0.0)
    return 100 * 5 * P * R / (4 * P + R) if P + R else 0.0


def _words(came) -> list:
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of words was expected.")
    return list(came)


def _number(came) -> float:
    if isinstance(came, bool) or not hasattr(came, "__float__"):
        raise Wrong(f"it gave {came!r} where one number was expected.")
    return float(came)
