"""Losses in the units that people compare."""

import math

import pytest

from minillm.metrics import bits_per_byte, bits_per_character, perplexity


def test_perplexity_of_a_uniform_guess_is_the_number_of_choices():
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert bits_per_character(math.log(2), tokens=10, characters=40) == pytest.approx(0.25)


def test_a_byte_guessed_blindly_has_eight_bits():
    text = "naïve 日本"
    size = len(text.encode())
    assert bits_per_byte(math.log(256), tokens=size, size=size) == pytest.approx(8)
    assert bits_per_byte(3.0, 7, size) < bits_per_character(3.0, 7, len(text))
