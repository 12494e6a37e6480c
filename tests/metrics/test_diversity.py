"""Diversity by hand, and self-BLEU against BLEU itself, one text at a time."""

import random

import pytest
from awkward import text

from minillm.metrics import distinct_n, repetition, self_bleu, sentence_bleu


def test_distinct_n_by_hand_and_on_empty_texts():
    assert distinct_n(["a b a b"], 2) == 2 / 3
    assert distinct_n(["a b", "a b"], 1) == 0.5
    assert distinct_n([], 2) == distinct_n(["a"], 2) == 0
    assert distinct_n(["a b", "c"], 2).signature == "distinct-2|tokens:white space|case:mixed|texts:2"


def test_one_text_in_the_place_of_a_list_is_not_read_letter_by_letter():
    for score in (lambda text: distinct_n(text, 1), self_bleu):
        with pytest.raises(ValueError, match="scores a list of texts, and 'abc def' is one: put it in a list"):
            score("abc def")
    assert distinct_n(["abc def"], 1) == 1


def test_repetition_counts_what_occurred_before():
    assert repetition("a b c d e f", 4) == 0 and repetition("a a a a a a", 4) == pytest.approx(2 / 3)
    assert repetition("a b a b", 1) == 0.5 and repetition("", 1) == repetition("a b c") == 0
    rng = random.Random(0)
    for _ in range(100):
        words = rng.choices("abc", k=rng.randint(4, 30))
        before, again = set(), 0
        for i in range(len(words) - 1):
            again += (words[i], words[i + 1]) in before
            before.add((words[i], words[i + 1]))
        assert repetition(" ".join(words), 2) == pytest.approx(again / (len(words) - 1))
        assert repetition(" ".join(words), 2) == pytest.approx(1 - distinct_n([" ".join(words)], 2))


@pytest.mark.parametrize("order", [1, 2, 4, 5])
def test_self_bleu_is_the_mean_bleu_against_all_others(order):
    rng = random.Random(order)
    for size in [2, 3, 4, 8, 25] * 3:
        texts = [text(rng) for _ in range(size)]
        texts += rng.sample(texts, rng.randrange(2))  # sometimes one of them twice
        slow = [sentence_bleu(own, texts[:i] + texts[i + 1 :], order=order) for i, own in enumerate(texts)]
        score = self_bleu(texts, order)
        assert score == pytest.approx(sum(one.score for one in slow) / len(texts), abs=1e-9), texts
        assert score.signature == f"self-{slow[0].signature}"


def test_self_bleu_of_equal_and_of_unlike_texts():
    assert self_bleu(["one two three four five"] * 3) == pytest.approx(100)
    assert self_bleu(["one two", "three four", "five six"]) == 0
    with pytest.raises(ValueError, match="at least two, not 1"):
        self_bleu(["alone"])
