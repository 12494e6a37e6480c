"""ROUGE against Google's rouge-score on awkward text, against plain tables, and by hand."""

import random

import numpy as np
import pytest
from awkward import pairs
from hostile import HOSTILE

from minillm.metrics import (
    Interval,
    lcs_length,
    lcs_places,
    mean_scores,
    rouge_l,
    rouge_lsum,
    rouge_n,
    rouge_reads,
    tokenize_rouge,
)

FOX = "The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log."


@pytest.fixture(scope="module")
def theirs():
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    return scorer.RougeScorer(["rouge1", "rouge2", "rouge3", "rouge9", "rougeL", "rougeLsum"])


def ours(reference, candidate):
    scores = {f"rouge{n}": rouge_n(reference, candidate, n) for n in (1, 2, 3, 9)}
    return scores | {"rougeL": rouge_l(reference, candidate), "rougeLsum": rouge_lsum(reference, candidate)}


def furthest(reference, candidate, expected):
    """The largest difference from rouge-score's numbers."""
    scores = ours(reference, candidate)
    return max(abs(a - b) for kind in scores for a, b in zip(scores[kind], expected[kind], strict=True))


def test_every_score_equals_rouge_scores_on_thousands_of_awkward_pairs(theirs):
    for candidate, (reference,) in pairs(2000, seed=1):
        expected = theirs.score(reference, candidate)
        assert furthest(reference, candidate, expected) < 1e-9, (reference, candidate)


def test_the_union_over_sentences_takes_the_subsequences_that_rouge_score_takes(theirs):
    rng, apart = random.Random(4), 0
    for _ in range(1000):
        words = "abcdefgh"[: rng.randint(2, 8)]
        pair = ["".join(rng.choice(words) + rng.choice("   \n") for _ in range(rng.randrange(24))) for _ in range(2)]
        expected = theirs.score(*pair)
        assert furthest(*pair, expected) < 1e-9, pair
        apart += expected["rougeL"] != expected["rougeLsum"]
    assert apart > 400


def test_hostile_text_gets_rouge_scores_numbers(theirs):
    for reference in HOSTILE:
        for candidate in (reference, HOSTILE[6], "a b x"):
            expected = theirs.score(reference[:200], candidate[:200])
            assert furthest(reference[:200], candidate[:200], expected) < 1e-9, (reference, candidate)


def test_rouge_scores_own_example_by_hand():
    # the quick brown dog jumps on the log: 8 words, 6 of the reference's 9, of which the dog comes too early
    assert rouge_n(*FOX, 1) == pytest.approx((6 / 8, 6 / 9, 12 / 17))
    assert rouge_n(*FOX, 2) == pytest.approx((2 / 7, 2 / 8, 4 / 15))  # the quick, quick brown
    assert rouge_n(*FOX, 3) == pytest.approx((1 / 6, 1 / 7, 2 / 13))
    assert rouge_l(*FOX) == rouge_lsum(*FOX) == pytest.approx((5 / 8, 5 / 9, 10 / 17))  # the quick brown jumps the


def test_lins_own_examples():
    gunman, same_order, other_order = "police killed the gunman", "police kill the gunman", "the gunman kill police"
    assert rouge_l(gunman, same_order).f1 == 3 / 4 and rouge_l(gunman, other_order).f1 == 2 / 4
    assert rouge_n(gunman, same_order, 2) == rouge_n(gunman, other_order, 2)  # pairs of words do not see it
    # section 3.2: w1 w2 w3 w4 w5 against two sentences: the union of w1 w2 and w1 w3 w5 has four words
    union = rouge_lsum("w1 w2 w3 w4 w5", "w1 w2 w6 w7 w8\nw1 w3 w8 w9 w5")
    assert union == pytest.approx((4 / 10, 4 / 5, 8 / 15))


def test_empty_texts_and_texts_without_latin_letters_score_nothing():
    for nothing in ("", " \n ", "?!", "日本語"):
        for pair in [(nothing, "a b"), ("a b", nothing), (nothing, nothing)]:
            assert rouge_n(*pair, 1) == rouge_l(*pair) == rouge_lsum(*pair) == (0, 0, 0)
    assert rouge_n("one two", "one two", 3) == (0, 0, 0)


def test_newlines_matter_to_lsum_alone():
    reference, candidate = "one two\nthree four", "three four\none two"
    assert rouge_l(reference, candidate).f1 == 0.5 and rouge_lsum(reference, candidate).f1 == 1
    assert rouge_l(reference, candidate) == rouge_l(reference.replace("\n", " "), candidate.replace("\n", " "))


def test_invariants():
    for candidate, (reference,) in pairs(300, seed=2):
        forth, back = ours(reference, candidate), ours(candidate, reference)
        assert all(0 <= number <= 1 for scores in forth.values() for number in scores)
        del forth["rougeLsum"]  # whose union is over the candidate's sentences
        for kind, scores in forth.items():
            assert back[kind][:2] == scores[1::-1]
        assert rouge_l(reference, candidate).recall <= rouge_n(reference, candidate, 1).recall
        if tokenize_rouge(candidate):
            assert rouge_n(candidate, candidate, 1) == rouge_l(candidate, candidate) == (1, 1, 1)


def slow_table(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    return table


def test_the_table_in_bits_equals_the_table():
    rng = random.Random(0)
    for _ in range(300):
        first, second = (rng.choices("abcdef"[: rng.randint(1, 6)], k=rng.randrange(80)) for _ in range(2))
        assert lcs_length(first, second) == slow_table(first, second)[-1][-1]
        places = lcs_places(first, second)[::-1]
        assert len(places) == lcs_length(first, second) and places == sorted(set(places))
        rest = iter(second)
        assert all(first[place] in rest for place in places)  # `in` moves on: a subsequence


def test_every_score_says_what_it_depends_on():
    assert rouge_n(*FOX, 2).signature == "rouge-2|tokens:a-z0-9|case:lower|stem:no|f:1"
    assert "signature='rouge-l|" in repr(rouge_l(*FOX))
    assert rouge_lsum(*FOX).signature.endswith("|sentences:newline|lcs:union")
    precision, recall, f1 = rouge_l(*FOX)
    assert f1 == rouge_l(*FOX).f1 and (precision, recall) == rouge_l(*FOX)[:2]


def test_the_mean_over_texts_has_rouge_scores_interval(theirs):
    scoring = pytest.importorskip("rouge_score.scoring")
    aggregator, scores = scoring.BootstrapAggregator(n_samples=2000), []
    for candidate, (reference,) in pairs(120, seed=3):
        scores.append(rouge_l(reference, candidate))
        aggregator.add_scores({"l": scoring.Score(*scores[-1])})
    mean = mean_scores(scores)
    np.random.seed(0)  # noqa: NPY002 - it draws from the global generator
    expected = aggregator.aggregate()["l"]
    assert mean.f1.mean == pytest.approx(sum(score.f1 for score in scores) / 120)
    for k in range(3):
        assert isinstance(mean[k], Interval)
        assert mean[k] == pytest.approx((expected.mid[k], expected.low[k], expected.high[k]), abs=0.01)
    assert mean.signature == scores[0].signature + "|texts:120|bootstrap:2000|seed:0"


def test_scores_of_different_settings_have_no_mean():
    with pytest.raises(ValueError, match=r"these are of \['rouge-1.*rouge-l"):
        mean_scores([rouge_n(*FOX, 1), rouge_l(*FOX)])
    with pytest.raises(ValueError, match="these are of none"):
        mean_scores([])


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("naïve café 42", True),
        ("x", True),
        ("蓝色", False),
        ("3个苹果和梨子", False),
        ("да", False),
        ("?!", False),
        ("", False),
    ],
)
def test_rouge_says_which_texts_it_can_read(text, reads):
    assert rouge_reads(text) == reads
    if reads:  # then equal texts get all of it
        assert rouge_l(text, text).f1 == 1
