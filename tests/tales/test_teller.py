"""The teller and its drivers, against enumeration, closed forms and counting."""

import doctest
import importlib
import math
import random

import pytest

from minillm.tales.teller import (
    END,
    Detour,
    Judge,
    Options,
    Sampler,
    check_prefix_free,
    enumerate_texts,
    evenly,
    recover,
)

COLORS = Options([(3, "red", "red"), (1, "blue", "blue"), (4, "green", "green")])
COUNTS = Options([(1, "one", 1), (2, "two", 2)])


def fruit(teller):
    """A colour, then a number whose odds depend on it, then the colour again, then perhaps more."""
    color = teller.choose(COLORS)
    teller.say(" ")
    number = 1 if color == "red" else teller.choose(COUNTS)
    teller.say(" " * number)
    teller.recall(color, COLORS, lambda found: f"it was {color}, not {found}")
    if teller.choose(Options([(1, "!", True), (3, END, False)])):
        teller.say("?")
    return color, number


@pytest.mark.parametrize(
    "name", ["teller", "forms", "words", "world", "clinic", "patterns", "documents", "judging", "relations"]
)
def test_the_worked_examples_hold(name):
    assert doctest.testmod(importlib.import_module(f"minillm.tales.{name}")).failed == 0


def test_the_probabilities_of_all_texts_sum_to_one_and_are_those_worked_by_hand():
    texts = dict(enumerate_texts(fruit))
    assert math.fsum(math.exp(logprob) for logprob in texts.values()) == pytest.approx(1, abs=1e-12)
    assert len(texts) == 2 + 4 + 4
    assert math.exp(texts["red  red"]) == pytest.approx(3 / 8 * 3 / 4)
    assert math.exp(texts["green two  green!?"]) == pytest.approx(4 / 8 * 2 / 3 * 1 / 4)


def test_the_reader_recovers_choices_result_and_probability_of_every_text():
    for text, logprob in enumerate_texts(fruit):
        reading = recover(fruit, text, checked=True)
        assert reading.stopped is None
        assert reading.logprob == pytest.approx(logprob, abs=1e-12)
        assert reading.result[0] == text.split()[0]
        for step in reading.steps:
            assert (text + END).startswith(step.text, step.offset)


def test_the_sampler_draws_every_text_as_often_as_its_probability_says():
    rng, draws = random.Random(0), 20_000
    counts: dict[str, int] = {}
    for _ in range(draws):
        teller = Sampler(rng)
        fruit(teller)
        counts[teller.text] = counts.get(teller.text, 0) + 1
    texts = dict(enumerate_texts(fruit))
    assert counts.keys() == texts.keys()
    for text, logprob in texts.items():
        expected = draws * math.exp(logprob)
        assert abs(counts[text] - expected) < 5 * math.sqrt(expected)


def test_the_mean_of_minus_logprob_is_the_entropy_in_closed_form():
    def entropy(*weights):
        return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)

    exact = entropy(3, 1, 4) + 5 / 8 * entropy(1, 2) + entropy(1, 3)
    rng, draws, total, squares = random.Random(1), 20_000, 0.0, 0.0
    for _ in range(draws):
        teller = Sampler(rng)
        fruit(teller)
        total -= teller.logprob
        squares += teller.logprob**2
    mean = total / draws
    error = math.sqrt((squares / draws - mean**2) / draws)
    assert abs(mean - exact) < 4 * error < 0.03


@pytest.mark.parametrize(
    "text, stopped",
    [("", 0), ("pink", 0), ("red  re", 5), ("red  blue", 5), ("red  red??", 8), ("red  red!?" + END, 11)],
)
def test_what_cannot_have_been_written_has_probability_zero_and_a_place_where_that_shows(text, stopped):
    reading = recover(fruit, text)
    assert (reading.logprob, reading.stopped) == (-math.inf, stopped)


def test_a_judge_takes_a_false_recall_notes_why_and_goes_on_with_the_truth():
    judge = Judge("red  blue!?")
    assert fruit(judge) == ("red", 1)
    assert judge.mistakes == [(0, "it was red, not blue")]
    assert judge.recalls == 1


def test_a_judge_follows_a_detour():
    def program(teller):
        return teller.choose(Options([(1, "yes", "yes")]), Options([(1, "no", Detour("no"))]))

    judge = Judge("no")
    assert program(judge) == "no"
    assert len(judge.mistakes) == 1
    assert recover(program, "no").stopped == 0


def test_texts_that_begin_one_another_are_refused_in_checked_mode():
    with pytest.raises(AssertionError, match="'far' begins 'farm'"):
        check_prefix_free(["farm", "near", "far"])
    with pytest.raises(AssertionError, match="begins"):
        Sampler(random.Random(0), checked=True).choose(evenly(["a", "ab"]))
    with pytest.raises(AssertionError, match="begins"):
        Sampler(random.Random(0), checked=True).recall("a", evenly(["a", "ab"]))


def test_options_without_some_keep_the_weights_of_the_others():
    assert COLORS.without("blue").items() == [(3, "red", "red"), (4, "green", "green")]
