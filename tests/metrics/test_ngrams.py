"""N-grams against plain counters, and the scores that carry their settings."""

import copy
import doctest
import importlib
import pickle
import pkgutil
import random
from collections import Counter

import pytest
from awkward import pairs

import minillm.metrics
from minillm.metrics import Score, Scores, clipped_matches, ngram_counts, ngram_scores, ngrams, tokenize_rouge


def slow_matches(references, candidate, n):
    def count(tokens):
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    most = Counter()
    for reference in references:
        most |= count(reference)
    return (most & count(candidate)).total()


def test_clipped_matches_are_the_intersection_of_counters():
    rng = random.Random(0)
    for _ in range(500):
        candidate, *references = (rng.choices("abcd", k=rng.randrange(12)) for _ in range(rng.randint(2, 4)))
        for n in (1, 2, 3, 5):
            assert clipped_matches(references, candidate, n) == slow_matches(references, candidate, n)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_precision_recall_and_f1_equal_a_slow_count(n):
    for candidate, (reference,) in pairs(300, seed=n):
        a, b = tokenize_rouge(reference), tokenize_rouge(candidate)
        matches, there, found = slow_matches([a], b, n), max(len(a) - n + 1, 0), max(len(b) - n + 1, 0)
        scores = ngram_scores(reference, candidate, n)
        expected = (matches / found if found else 0, matches / there if there else 0)
        assert scores[:2] == expected
        assert scores.f1 == pytest.approx(2 * matches / (there + found) if matches else 0)  # the same, said otherwise


def test_a_word_counts_as_often_as_the_reference_has_it():
    the = "the the the the the the the", "the cat is on the mat"  # Papineni et al. (2002), example 2
    assert ngram_scores(the[1], the[0], 1) == pytest.approx((2 / 7, 2 / 6, 4 / 13))


def test_tokens_are_taken_as_they_are():
    assert ngram_scores([1, 2, 3], [2, 3, 4], 2) == (0.5, 0.5, 0.5)
    assert ngram_scores(["A"], ["a"], 1).f1 == 0 and ngram_scores("A", "a", 1).f1 == 1
    assert ngram_scores(["a"], ["a"], 1).signature == "ngrams-1|tokens:given|f:1"
    assert ngram_scores("a", "a", 3).signature == "ngrams-3|tokens:a-z0-9|case:lower|stem:no|f:1"


def test_n_is_at_least_one():
    assert ngram_counts("abab", 2) == {("a", "b"): 2, ("b", "a"): 1}
    assert list(ngrams("ab", 3)) == [] and ngram_counts("", 1) == {}
    with pytest.raises(ValueError, match="n-grams of 0 tokens do not exist"):
        ngram_scores("a", "b", 0)


def test_scores_keep_their_signature_where_they_go():
    scores, score = Scores(0.5, 1.0, 2 / 3, "kind|setting:x"), Score(0.5, "kind|setting:x")
    for one in (scores, score):
        for other in (one, copy.copy(one), pickle.loads(pickle.dumps(one))):
            assert other == one and other.signature == "kind|setting:x"
    assert score + 1 == 1.5 and f"{score:.2f}" == "0.50"


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(minillm.metrics.__path__)])
def test_the_examples_in_the_docstrings_are_true(name):
    module = importlib.import_module(f"minillm.metrics.{name}")
    assert doctest.testmod(module, optionflags=doctest.ELLIPSIS).failed == 0
