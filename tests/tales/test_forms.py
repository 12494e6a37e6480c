"""Sentence forms: the tree draws each with its own weight, and an enumeration finds every text once."""

import math

import pytest

from minillm.tales.forms import form_pieces, tree
from minillm.tales.teller import Judge, enumerate_texts
from minillm.tales.world import World, pools

POOLS = pools(
    {
        "name": ["Ann", "Bob", "Cat"],
        "friend.name": ["Bob", "Cat"],
        "kind": ["fox", "owl"],
        "noun": ["cup"],
        "adjective": ["old", "red"],
    }
)


def test_a_form_is_cut_into_words_with_their_space_and_slots():
    assert form_pieces("{thing} is {hero.his} cup.") == (
        ("thing", "adjective"),
        " ",
        ("thing", "noun"),
        " ",
        "is ",
        ("hero", "his"),
        " ",
        "cup.",
    )


def test_a_capital_pronoun_says_the_space_behind_it():
    assert form_pieces("{hero.He} ran.") == (("hero", "He"), "ran.")


def one_sentence(teller):
    world = World(teller, POOLS)
    return world.tell(
        slot="{hero} saw {thing.a}.",
        late=((3, "{hero} ran."), (2, "{hero} slept.")),
        fixed="Nobody came, and {hero} slept.",
    )


def test_each_form_is_drawn_with_its_own_weight_and_all_texts_sum_to_one():
    texts = list(enumerate_texts(one_sentence))
    assert len({text for text, _ in texts}) == len(texts) == 3 * 2 + 3 + 3 + 3
    chance = {text: math.exp(logprob) for text, logprob in texts}
    assert math.fsum(chance.values()) == pytest.approx(1, abs=1e-12)
    assert chance["Ann ran."] == pytest.approx(3 / 7 / 3)
    assert chance["Bob saw an old cup."] == pytest.approx(1 / 7 / 3 / 2)
    assert chance["Nobody came, and Cat slept."] == pytest.approx(1 / 7 / 3)


def two_sentences(teller):
    world = World(teller, POOLS)
    world.tell("{hero} met {friend}.")
    return world.tell(good="{hero} sang.", bad=("{friend} hid.", "It hid."), truth="good", why="it ended well")


def test_a_second_mention_repeats_the_first_and_a_role_may_have_a_list_of_its_own():
    texts = dict(enumerate_texts(two_sentences))
    assert set(texts) == {f"{a} met {b}. {a} sang." for a in POOLS["name"].texts for b in POOLS["friend.name"].texts}
    assert all(logprob == pytest.approx(-math.log(6)) for logprob in texts.values())


@pytest.mark.parametrize(
    "text, label, mistakes",
    [
        ("Ann met Bob. Ann sang.", "good", []),
        ("Ann met Bob. Cat sang.", "good", [(2, "the hero is Ann, not Cat")]),
        ("Ann met Bob. It hid.", "bad", [(2, "it ended well")]),
        ("Ann met Bob. Bob hid.", "bad", [(2, "it ended well")]),
    ],
)
def test_a_judge_takes_false_names_and_false_forms(text, label, mistakes):
    judge = Judge(text)
    assert two_sentences(judge) == label
    assert judge.mistakes == mistakes


def test_forms_that_cannot_be_told_apart_are_refused():
    with pytest.raises(AssertionError):
        tree((("", "He ran.", 1), ("", "He ran.", 1)))
    with pytest.raises(AssertionError):
        tree((("", "He ran. ", 1), ("", "He ran. And fell.", 1)))
