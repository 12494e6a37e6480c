"""Words of any script, against the package regex, whose classes know marks, and against white space."""

import sys
import unicodedata

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from minillm.metrics import combining_marks, words, words_and_marks, words_of
from minillm.text import clean, near_duplicates, shingles
from minillm.text.cleaning import line_key

WHOLE = [
    "अनीता दिल्ली गई",  # vowel signs and a virama
    "عَرَبِيّ جَدِيدٌ",  # harakat
    unicodedata.normalize("NFD", "résumé Ångström"),
    "می\u200cخواهم برود",  # a word with a joiner
    "ศิลปะ กับ ที่",
    "İstanbul".lower() + " şehri",
]


@pytest.mark.parametrize("text", WHOLE)
def test_marks_and_joiners_do_not_cut_a_word(text):
    assert words_of(text) == words_and_marks(text) == text.split()
    assert line_key(text).count(" ") == text.count(" ")
    width_one = shingles([text], width=1)[0]
    assert len(width_one) == len(set(text.split()))


@pytest.mark.parametrize("symbol", ["❤\ufe0f", "👩🏽\u200d🔬", "❤\ufe0f\u200d🔥", "👍🏽", "!"])
def test_a_symbol_stays_with_what_stands_on_it(symbol):
    assert words_and_marks(f"so {symbol} {symbol}!") == ["so", symbol, symbol, "!"]
    assert words_of(f"so {symbol} yes") == ["so", "yes"]


letters = st.characters(categories=["L", "N"])
marks = st.text(st.characters(categories=["M"]), max_size=2)
word = st.lists(st.tuples(letters, marks).map("".join), min_size=1, max_size=4).map("".join)


@given(st.lists(word | st.sampled_from([" ", ",", "\n", "--", "…"]), max_size=8).map("".join))
def test_words_are_those_of_a_library_that_knows_marks(text):
    found = regex.findall(r"[\p{L}\p{N}_][\p{L}\p{N}\p{M}_]*", text)
    assert words_of(text) == found
    assert words_of(" ".join(words_and_marks(text))) == found


@given(st.text())
def test_nothing_but_space_is_lost(text):
    assert "".join(words_and_marks(text)) == "".join(text.split())


def test_the_marks_are_all_that_there_are():
    every = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "M"]
    assert combining_marks() == "".join(every)


def test_one_spelling_of_an_accent_is_as_good_as_the_other_for_duplicates():
    tale = "Zoé naïve Ångström façade résumé café déjà vu crème brûlée"
    assert near_duplicates([tale, unicodedata.normalize("NFC", tale)]) == [0, 0]
    assert clean(unicodedata.normalize("NFD", tale)) == tale


def test_the_worked_examples_hold():
    import doctest

    assert doctest.testmod(words).failed == 0
