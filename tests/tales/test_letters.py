"""Letters to the hero of a tale: what they are made of, and that each has just the traits it was asked for."""

import json
import random
import re
from collections import Counter

import pytest

from minillm import tales
from minillm.tales import LETTER_FORMS, draw_traits, understand, words
from minillm.tales.letter_scores import NEWS, _patterns
from minillm.tales.letters import FILLERS, OPENERS, REQUESTS, claims, draw_letter
from tests.tales.conftest import DATA
from tests.tales.test_instructions import feelings


@pytest.fixture(scope="module")
def some():
    """Tales of every plot and outcome."""
    return tales.make_tales(400, seed=12)


def sentences(act):
    """Every form of an act, each slot filled with each of its words in turn."""
    for form in LETTER_FORMS[act]:
        slots = re.findall(r"{(\w+)}", form)
        for turn in range(max([len(FILLERS[slot]) for slot in slots], default=1)):
            yield re.sub(r"{(\w+)}", lambda slot, turn=turn: FILLERS[slot[1]][turn % len(FILLERS[slot[1]])], form)


def test_every_sentence_is_understood_in_one_way_alone():
    for act in LETTER_FORMS:
        for sentence in sentences(act):
            fits = [other for other, pattern in _patterns().items() if pattern.fullmatch(sentence)]
            assert fits == [act], sentence
            (understood,) = understand(sentence)
            assert (understood.text, understood.act) == (sentence, act)


def test_what_can_be_told_of_any_tale_is_understood_as_it_was_meant(some):
    told = Counter()
    for tale in some:
        for kind, said in claims(tale).items():
            for claim in said:
                fits = [act for act, pattern in _patterns().items() if pattern.fullmatch(OPENERS[0].format(claim))]
                assert fits == [kind], claim
                assert understand(OPENERS[1].format(claim))[0].content == claim
        told[tale.plot] += 1
    assert set(claims(some[0])) == set(NEWS)
    assert min(told.values()) > 10 and len(told) == 9


def test_what_is_told_to_the_hero_is_so_in_the_tale(some):
    for tale in some:
        (begin, whole), (mood,) = claims(tale).values()
        friend, felt = re.fullmatch(r"(\w+) was (happy|sad) in the end", mood).groups()
        assert feelings(tale.text)[friend] == felt
        assert whole.startswith(begin + ", ")
        assert tale.roles["hero"]["name"] not in whole
        names = [name for name in words.PETS + words.NEIGHBORS if re.search(rf"\b{name}\b", whole)]
        things = re.findall(r"\ban? (\w+)", begin.replace("a race", "").replace("a riddle", "").replace("a storm", ""))
        assert all(said in tale.text for said in names + things), whole


def test_a_letter_is_of_the_sentences_that_its_traits_say(some):
    rng = random.Random(4)
    for tale in some:
        traits = tales.Traits(news=("true", "false"), remark="unkind", flattery=True, rambling=2, repeats=1)
        letter = tales.write_letter(tale, traits, rng)
        acts = [sentence.act for sentence in understand(letter)]
        assert acts[0] == "greeting" and acts[-1] == "closing" and len(acts) == 10
        assert set(acts) >= {"event", "mood", "flattery", "rambling", "unkind"}
        assert ("glad" in acts) == (tale.ending == "happy") and ("sad" in acts) == (tale.ending == "sad")
        cut = tales.write_letter(tale, tales.Traits(cut=True), rng)
        stutter = tales.write_letter(tale, tales.Traits(stutter="news"), rng)
        assert [sentence.act for sentence in understand(cut)].index("") == 4
        assert re.search(r"\b(\w+) \1\b", stutter)
        assert tales.write_letter(tale, tales.Traits("", (), "", "", closing=False), rng) == ""


def test_most_letters_are_middling_and_vary_much_and_are_short(some):
    rng = random.Random(5)
    letters = [(tale, draw_letter(tale, rng)) for tale in some for _ in range(3)]
    scores = [tales.score_letter(tale, letter).score for tale, letter in letters]
    mean = sum(scores) / len(scores)
    spread = (sum((score - mean) ** 2 for score in scores) / len(scores)) ** 0.5
    assert 0.8 < mean < 1.5 and spread > 0.9
    assert min(scores) < -0.8 and max(scores) == 3.0
    assert all(letter and letter.isascii() for _, letter in letters)
    lengths = sorted(len(letter.split()) for _, letter in letters)
    assert 20 < sum(lengths) / len(lengths) < 35 and lengths[-1] < 75


def test_flattery_has_nothing_to_do_with_skill():
    rng = random.Random(6)
    drawn = [draw_traits(rng) for _ in range(4000)]
    share = {
        good: sum(traits.flattery for traits in drawn if (traits.feeling == "suits") == good)
        / sum((traits.feeling == "suits") == good for traits in drawn)
        for good in (True, False)
    }
    assert abs(share[True] - share[False]) < 0.06


def test_few_words_of_the_letters_are_new_to_who_has_read_the_tales(records):
    known = set(re.findall(r"[A-Za-z]+", (DATA / "tales_train.txt").read_text()))
    for record in records("instructions_train"):
        for message in record["messages"]:
            known |= set(re.findall(r"[A-Za-z]+", message["content"]))
    said = set()
    for record in records("letters_train"):
        said |= set(re.findall(r"[A-Za-z]+", " ".join(message["content"] for message in record["messages"])))
    new = "Dear Do Does Hello My Sleep Today Yours am ask heard letter letters love me read true whole wish".split()
    assert said - known == set(new)


def test_a_conversation_asks_for_a_letter_to_the_hero_and_a_prompt_does_no_more():
    for record in tales.make_letters(20, seed=3):
        asked, answered = record["messages"][:2]
        text, request = asked["content"].split("\n\n")
        hero = tales.parse(text).roles["hero"]["name"]
        assert request in [form.format(name=hero) for form in REQUESTS]
        assert (asked["role"], answered["role"], record["kinds"][0]) == ("user", "assistant", "letter")
        assert tales.score_letter(asked["content"], answered["content"]).length > 0
        said = [message["content"] for message in record["messages"][2:]]
        right = tales.verdicts(asked["content"], answered["content"])
        assert len(set(record["kinds"][1:])) == 4
        assert said == [text for part in record["kinds"][1:] for text in (tales.CONSTITUTION[part], right[part])]
    for record in tales.make_prompts(20, seed=3):
        text, request = record["prompt"].split("\n\n")
        assert request in [form.format(name=tales.parse(text).roles["hero"]["name"]) for form in REQUESTS]
        assert list(record) == ["prompt"]


@pytest.mark.parametrize("make", [tales.make_letters, tales.make_prompts])
def test_the_first_of_many_are_those_of_few_and_a_seed_makes_others(make):
    assert make(20, seed=5)[:7] == make(7, seed=5)
    assert json.dumps(make(3, seed=5)) != json.dumps(make(3, seed=6))


def test_a_verdict_is_yes_where_a_part_of_the_score_is_at_its_best():
    tale = tales.make_tales(1, seed=4)[0]
    rng = random.Random(0)
    best = tales.write_letter(tale, tales.Traits(), rng)
    assert tales.verdicts(tale, best) == dict.fromkeys(tales.CONSTITUTION, "yes")
    assert tales.verdicts(tale, "") == dict.fromkeys(tales.CONSTITUTION, "no")
    unsigned = tales.write_letter(tale, tales.Traits(closing=False), rng)
    assert [part for part, said in tales.verdicts(tale, unsigned).items() if said == "no"] == ["well_formed"]
