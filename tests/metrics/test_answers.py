"""Answers against the published examples of SQuAD's rules and against a slow count."""

import string
from collections import Counter

import pytest
from awkward import pairs

from minillm.metrics import exact_match, squad_words, token_f1


def slow_words(text):
    """Letter by letter, as the official script says: lower case, punctuation out, articles out, white space."""
    letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    words, word = [], ""
    for letter in letters + " ":  # a word of the rule's kind is a run of letters, digits and underscores
        if letter.isalnum() or letter == "_":
            word += letter
        else:
            words += [" " if word in ("a", "an", "the") else word, letter]
            word = ""
    return "".join(words).split()


def test_words_and_f1_equal_a_slow_count_on_awkward_text():
    for candidate, (reference,) in pairs(1000, seed=7):
        a, b = slow_words(reference), slow_words(candidate)
        assert squad_words(reference) == a, reference
        same = (Counter(a) & Counter(b)).total()
        expected = 2 * same / (len(a) + len(b)) if a or b else 1.0
        assert token_f1(reference, candidate).f1 == pytest.approx(expected, abs=1e-9)
        assert exact_match(reference, candidate, squad=True) == (a == b)


def test_an_exact_match_is_strict_but_for_white_space():
    assert exact_match("in the  lake", " in the\nlake ") == 1
    assert exact_match("In the lake", "in the lake") == exact_match("the lake", "the lake.") == 0
    assert exact_match("In the lake", "in lake.", squad=True) == 1
    assert exact_match("", " ") == 1 and exact_match("", "no") == 0


def test_answers_by_hand():
    assert token_f1("Denver Broncos", "The Denver Broncos!") == (1, 1, 1)
    assert token_f1("Denver Broncos", "Broncos of Denver") == pytest.approx((2 / 3, 1, 4 / 5))  # in any order
    assert token_f1("no no", "no") == pytest.approx((1, 1 / 2, 2 / 3))
    assert token_f1("", "the") == (1, 1, 1)  # neither has words
    assert token_f1("", "lake") == token_f1("lake", "") == (0, 0, 0)


def test_an_answer_says_how_it_was_compared():
    strict, loose = "case:mixed|punctuation:yes|articles:yes", "case:lower|punctuation:no|articles:no"
    assert exact_match("a", "b").signature == f"exact match|{strict}|white space:any"
    assert exact_match("a", "b", squad=True).signature == f"exact match|{loose}|white space:any"
    assert token_f1("", "").signature == token_f1("a", "b").signature == f"token f1|{loose}|f:1"
