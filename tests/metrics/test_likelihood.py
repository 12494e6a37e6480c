"""Losses in the units that people compare."""

import math

import pytest

from minillm.metrics import bits_per_byte, bits_per_character, perplexity


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert bits_per_character(math.log(2), tokens=10, characters=40) == pytest.approx(0.25)


def test_a_loss_beyond_all_floats_and_a_text_of_nothing():
    assert perplexity(800) == perplexity(math.inf) == math.inf and math.isfinite(perplexity(700))
    assert math.isnan(perplexity(math.nan))
    with pytest.raises(ValueError, match="the text has 0 characters"):
        bits_per_character(2.0, tokens=5, characters=0)
    with pytest.raises(ValueError, match="the text has 0 bytes"):
        bits_per_byte(2.0, tokens=5, size=0)


def test_a_byte_guessed_blindly_has_eight_bits():
    text = "naïve 日本"
    size = len(text.encode())
    assert bits_per_byte(math.log(256), tokens=size, size=size) == pytest.approx(8)
    assert bits_per_byte(3.0, 7, size) < bits_per_character(3.0, 7, len(text))
