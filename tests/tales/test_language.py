"""The second language: every text comes back, whatever it is; names stay; the order of a clause is turned round."""

import doctest
import random

from minillm.tales import LANGUAGE, from_lantic, language, make_tales, make_translations, to_lantic, words
from minillm.tales.language import KEPT, LETTERS


def test_every_text_comes_back_from_either_language():
    rng = random.Random(0)
    letters = "abeimnorstMT  ,.'\"é-1_\nß"
    noise = ["".join(rng.choice(letters) for _ in range(rng.randrange(40))) for _ in range(3000)]
    kept = [rng.choice([n, n.lower(), to_lantic(n.lower())]) for n in sorted(KEPT) for _ in range(9)]
    mixed = [
        " ".join(rng.choice([*kept, "I", "the", "The", "McX"]) for _ in range(rng.randrange(9))) for _ in range(999)
    ]
    for text in [*noise, *mixed, *(tale.text for tale in make_tales(100, 0)), "", " ", "MIRA Moss moss"]:
        assert from_lantic(to_lantic(text)) == text == to_lantic(from_lantic(text)), text


def test_words_have_one_counterpart_each_names_stay_and_vowels_are_vowels():
    assert sorted(LETTERS) == sorted(LETTERS.values()) == sorted("abcdefghijklmnopqrstuvwxyz")
    assert all((old in "aeiou") == (new in "aeiou") and old != new for old, new in LETTERS.items())
    vocabulary = {word for text in (tale.text.lower() for tale in make_tales(300, 1)) for word in text.split()}
    assert len({to_lantic(word) for word in vocabulary}) == len(vocabulary)
    for name in [*words.PEOPLE, *words.PETS]:
        assert to_lantic(name) == name and to_lantic(name.lower()) == name.lower()


def test_a_clause_is_turned_round_by_its_words():
    one, two = (to_lantic(word) for word in ("kite", "red"))
    assert to_lantic("red kite") == f"{one} {two}" and to_lantic("red, kite") == f"{two}, {one}"
    assert to_lantic("Red kite.") == f"{one.capitalize()} {two}."  # a capital stays at its place
    assert doctest.testmod(language).failed == 0


def test_translations_are_conversations_of_two_sentences_and_the_same_for_one_seed():
    records = make_translations(200, 3)
    assert records == make_translations(200, 3) and len({record["input"] for record in records}) == 200
    for record, back in zip(records, make_translations(200, 3, back=True)):
        assert record["instruction"] == f"Say it in {LANGUAGE}." and record["output"] == to_lantic(record["input"])
        assert back["input"] == record["output"] and back["output"] == record["input"]
