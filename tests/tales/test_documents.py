"""Whole documents: what was written is read back exactly, and everything known about it agrees with the text."""

import hashlib
import math
import random
import re

import pytest

from minillm import tales
from minillm.tales import known, tell, words
from minillm.tales.documents import PROGRAMS, kind_of
from minillm.tales.plots import PLOTS
from minillm.tales.teller import Sampler
from minillm.tales.words import ANIMALS, NAMES, SHE

MAKERS = {"tale": tales.make_tales, "pattern": tales.make_patterns, "clinic": tales.make_clinic}
GOLDEN = {
    "tale": "1ac17e79c917ca0006884fc3820b8ed903faca5d9205dec79293f762770ed07f",
    "pattern": "6834f15421bd848df690478e591ad1dfcd80e01009f14915058116c2fa4d069d",
    "clinic": "f8226d3993477f8e5b9dde710eaab04d8c34133bf947b821e4551833ed65442d",
}


@pytest.fixture(scope="module")
def some():
    """Several hundred documents of each kind."""
    return {kind: make(400, seed=3) for kind, make in MAKERS.items()}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_reader_recovers_what_the_sampler_chose(some, kind):
    for document in some[kind]:
        reading = tales.reading(document.text)
        assert reading.stopped is None
        assert abs(reading.logprob - document.logprob) < 1e-9
        assert tuple(step for step in reading.steps if step.offset < len(document.text)) == document.steps
        assert kind_of(document.text) == document.kind == kind


@pytest.mark.parametrize("kind", MAKERS)
def test_no_text_of_a_choice_begins_another(kind):
    rng = random.Random(4)
    for _ in range(300):
        teller = Sampler(rng, checked=True)  # raises AssertionError where one text begins another
        PROGRAMS[kind](teller)
        assert teller.steps and tales.reading(teller.text).stopped is None


@pytest.mark.parametrize("kind", MAKERS)
def test_everything_known_about_a_document_is_recovered_from_its_text(some, kind):
    for document in some[kind][:200]:
        assert tales.parse(document.text) == document


@pytest.mark.parametrize("kind", MAKERS)
def test_one_seed_gives_the_same_bytes_everywhere_and_fewer_are_the_first_of_more(some, kind):
    text = "\n\n".join(document.text for document in some[kind])
    assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN[kind]
    assert MAKERS[kind](10, seed=3) == some[kind][:10]
    assert MAKERS[kind](10, seed=4) != some[kind][:10]


def test_the_mix_is_nine_tales_to_one_pattern_and_its_share_is_part_of_the_probability():
    documents = tales.make_documents(1000, seed=5)
    patterns = sum(document.kind == "pattern" for document in documents)
    assert abs(patterns - 100) < 4 * math.sqrt(90)
    for document in documents[:50]:
        share = 0.1 if document.kind == "pattern" else 0.9
        assert tales.logprob(document.text) == pytest.approx(document.logprob + math.log(share), abs=1e-9)


def test_a_text_that_the_world_cannot_tell_has_probability_zero():
    for text in ("", "Once", "A tale of my own.", "Ward", "fox"):
        assert tales.logprob(text) == -math.inf
        with pytest.raises(ValueError, match="not a tale"):
            tales.parse(text)


def test_tales_have_the_length_entropy_and_number_of_recalls_that_they_should(some):
    chosen = some["tale"]
    mean = {
        "words": sum(len(tale.text.split()) for tale in chosen) / len(chosen),
        "sentences": sum(len(tale.sentences) for tale in chosen) / len(chosen),
        "nats": -sum(tale.logprob for tale in chosen) / len(chosen),
        "recalls": sum(step.recall for tale in chosen for step in tale.steps) / len(chosen),
    }
    assert 70 < mean["words"] < 110
    assert 6 < mean["sentences"] < 10.5
    assert 50 < mean["nats"] < 80
    assert mean["recalls"] > 10


def test_every_plot_ends_both_ways_and_sometimes_the_two_friends_feel_differently(some):
    assert {tale.plot for tale in some["tale"]} == set(PLOTS)
    for plot in PLOTS:
        assert {tale.ending for tale in some["tale"] if tale.plot == plot} == {"happy", "sad"}
    mixed = [tale for tale in some["tale"] if len(set(tale.final["feels"].values())) == 2]
    assert len(mixed) > 40


def test_text_is_clean_english(some):
    for document in some["tale"] + some["clinic"]:
        text = document.text
        assert text.isascii() and text == text.strip() and "  " not in text and "\n" not in text
        assert text[-1] in '.!?"'
        assert not re.search(r"\ba [aeiou]", text.replace("a one", "")), text
        assert not re.search(r"\ban [^aeiouh]|\ban h(?!onest)", text), text
        assert not re.search(r"[{}_;]", text)


def test_entities_are_where_they_say_and_of_the_kind_they_say(some):
    for tale in some["tale"]:
        names = {tale.roles[role]["name"]: tale.roles[role].get("kind") for role in ("hero", "friend")}
        for entity in tale.entities:
            assert tale.text[entity.start : entity.end] == entity.text
            if entity.text in names:
                assert entity.kind == ("animal" if names[entity.text] in ANIMALS else "person")
        starts = [entity.start for entity in tale.entities]
        assert starts == sorted(starts)
        in_text = {word for word in re.findall(r"(?:Mrs? )?[A-Z][a-z]+", tale.text) if word in NAMES}
        assert in_text == {entity.text for entity in tale.entities if entity.kind in ("animal", "person")}


def test_sentences_are_the_text_in_order(some):
    for tale in some["tale"] + some["clinic"]:
        assert " ".join(tale.sentence(i) for i in range(len(tale.sentences))) == tale.text


def test_pronouns_go_with_names(some):
    for tale in some["tale"]:
        genders = {tale.roles[role]["name"] in SHE for role in tale.roles if "name" in tale.roles[role]}
        if genders == {True}:
            assert not re.search(r"\b([Hh]e|[Hh]is|him)\b", tale.text)
        if genders == {False}:
            assert not re.search(r"\b([Ss]he|[Hh]er)\b", tale.text)


def test_a_tale_is_told_again_with_what_is_known_of_it():
    mira = {"hero.name": "Mira", "thing.noun": "kite"}
    assert tell(random.Random(1), ["race"], mira).roles["thing"]["noun"] == "kite"
    rng, different = random.Random(5), 0
    for tale in tales.make_tales(50, seed=5):
        again = tell(rng, [tale.plot], known(tale))
        assert again.plot == tale.plot and tales.reading(again.text).stopped is None
        for role in ("hero", "friend", "thing", "other", "place", "when", "due", "neighbor"):
            parts = again.roles.get(role, {})
            assert parts == parts | {part: tale.roles[role][part] for part in parts if part in tale.roles.get(role, {})}
        assert len(again.labels) == len(again.sentences) and again.labels[2] == tale.plot
        different += again.outcome != tale.outcome
    assert different > 20


HAND = (
    "In a hut lived a shy farmer called Mira. Her best friend was Moss, a tall fox from the hill. "
    "One windy autumn day Mira took her red kite to the fair, and Moss came with an old scarf. "
    'Mira asked, "Will you trade your scarf for my kite?" '
    "They traded, so now Mira had the scarf and Moss had the kite. "
    "But soon Mira missed the kite and asked Moss to trade back. "
    "But Moss said no, and Mira cried. "
    "Mira felt sad, but Moss felt glad. That night Mira lay awake in the hut."
)


def test_state_of_a_tale_worked_by_hand():
    tale = tales.parse(HAND)
    assert (tale.plot, tale.outcome, tale.ending) == ("trade", ("yes", "hero", "kept"), "sad")
    assert tale.final == {
        "has": {"red kite": "Moss", "old scarf": "Mira"},
        "at": {"Mira": "hut", "Moss": "fair"},
        "feels": {"Mira": "sad", "Moss": "glad"},
    }
    facts = [tuple(fact) for fact in tale.facts]
    for fact in [
        ("Mira", "is a", "farmer", 0),
        ("Moss", "lives by", "hill", 1),
        ("Moss", "is", "tall", 1),
        ("Mira", "has", "red kite", 2),
        ("Moss", "has", "red kite", 4),
        ("Mira", "mood", "sad", 6),
        ("Moss", "feels", "glad", 7),
    ]:
        assert fact in facts
    assert facts.index(("Mira", "has", "red kite", 2)) < facts.index(("Moss", "has", "red kite", 4))
    assert [(entity.text, entity.kind) for entity in tale.entities[1:3]] == [("Mira", "person"), ("Moss", "animal")]
    assert "red kite" in {entity.text for entity in tale.entities if entity.kind == "object"}


def test_probability_of_a_tale_worked_by_hand():
    """Every choice of HAND with its number of alternatives, read off the word lists and the forms."""
    lists = (words.HOMES, words.TRAITS, words.TRADES, words.PEOPLE, words.PETS, words.ANIMALS, words.SPOTS)
    homes, traits, trades, people, pets, animals, spots = map(len, lists)
    factors = [4, homes, traits, trades, people]  # the form, and the hero
    factors += [4, pets, traits, animals, spots]  # the friend
    things = len(words.ADJECTIVES) ** 2 * len(words.NOUNS) * len(words.CLOTHES)
    factors += [len(words.WEATHERS), len(words.TIMES), 18, len(words.PLACES), things]  # 18 beginnings: 9 plots, 2 forms
    factors += [4]  # who asks, and how
    factors += [2]  # yes (3 in 4, in one of two forms: 2 in 4) ...
    factors += [3, 2, 2, len(words.SAD), len(words.GLAD), 3]
    assert tales.parse(HAND).logprob == pytest.approx(-sum(math.log(factor) for factor in factors), abs=1e-9)


def test_the_entropy_floor_is_exact_for_the_world_and_unknown_for_any_other_text(some):
    documents = [document.text for kind in MAKERS for document in some[kind][:20]]
    assert tales.entropy_floor(documents, 500) == pytest.approx(-sum(map(tales.logprob, documents)) / 500)
    assert tales.entropy_floor([*documents, "To be, or not to be."], 500) is None
