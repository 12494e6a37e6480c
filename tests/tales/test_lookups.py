"""Questions about a collection: one tale answers each, as the world's reader agrees; what nothing answers is told."""

import re

import pytest

from minillm.tales import (
    REFUSAL,
    make_collection,
    make_lookup_instructions,
    make_lookups,
    make_question_pairs,
    parse,
    planted,
    questions_about,
)  # fmt: skip
from minillm.tales.documents import reading
from minillm.tales.lookups import ASKED


def friends(tale):
    return tale.roles["hero"]["name"], tale.roles["friend"]["name"]


def asked_about(question):
    return tuple(re.match(r"(\w+) and (\w+): ", question).groups())


def test_a_collection_has_one_tale_for_each_pair_of_friends():
    collection = make_collection(300, 0)
    assert len({friends(tale) for tale in collection}) == len(collection) == 300
    assert make_collection(50, 0) == collection[:50] != make_collection(50, 1)
    with pytest.raises(ValueError, match="there are 960 pairs of friends"):
        make_collection(961, 0)


def test_each_question_is_answered_by_its_tale_alone_or_by_none():
    collection = make_collection(200, 1)
    lookups = make_lookups(collection, 600, 2)
    kinds = {lookup.kind for lookup in lookups}
    assert kinds == {*ASKED, "nobody", "untold"} and lookups == make_lookups(collection, 600, 2)
    pairs = [friends(tale) for tale in collection]
    for lookup in lookups:
        pair = asked_about(lookup.question)
        if lookup.document is None:
            assert lookup.answer == REFUSAL and (pair in pairs) == (lookup.kind == "untold")
            continue
        tale = parse(collection[lookup.document].text)  # from the text alone
        assert pairs[lookup.document] == pair and ASKED[lookup.kind][1](tale) == lookup.answer
        words = lookup.answer.split()[-1]
        assert lookup.kind == "feeling" or re.search(rf"\b{words}\b", tale.text)
    share = sum(lookup.document is None for lookup in lookups) / len(lookups)
    assert 0.15 < share < 0.25
    assert all(lookup.document is not None for lookup in make_lookups(collection, 50, 3, unknown=0.0))


def test_what_is_learned_answers_only_of_the_friends_who_are_there():
    counts = {"right": 0, "nobody": 0, "untold": 0}
    for record in make_lookup_instructions(150, 0):
        turns = [(a["content"], b["content"]) for a, b in zip(record["messages"][::2], record["messages"][1::2])]
        text, first = turns[0][0].split("\n\n")
        whole = reading(text).stopped is None
        for (question, answer), kind in zip([(first, turns[0][1]), *turns[1:]], record["kinds"], strict=True):
            there = all(re.search(rf"\b{name}\b", text) for name in asked_about(question))
            if kind in ASKED:
                word = answer.split()[-1]
                assert there and (kind == "feeling" or re.search(rf"\b{word}\b", text))
                assert not whole or ASKED[kind][1](parse(text)) == answer
            else:
                assert answer == REFUSAL and there == (kind == "untold")
            counts[kind if kind in counts else "right"] += 1
    total = sum(counts.values())
    assert 0.28 < counts["nobody"] / total < 0.39 and 0.45 < counts["right"] / total < 0.56


def test_a_planted_tale_is_about_the_same_two_and_contradicts_every_answer():
    for tale in make_collection(40, 5):
        other = planted(tale, 1)
        assert friends(parse(other.text)) == friends(tale)
        for kind, (_, answer) in ASKED.items():
            if kind != "thing" or ("thing" in tale.roles and "thing" in other.roles):
                assert answer(other) != answer(tale), kind


def test_pairs_for_a_finder_are_a_question_and_its_tale():
    for record in make_question_pairs(100, 0):
        assert asked_about(record["text_a"]) == friends(parse(record["text_b"]))


def test_a_collection_s_questions_are_those_that_lookups_ask_of_it():
    collection = make_collection(30, 3)
    known = questions_about(collection)
    for one in make_lookups(collection, 200, 3, unknown=0.0):
        assert known[one.document][one.question] == one.answer
    changed = questions_about([planted(tale, 0) for tale in collection])
    for was, now in zip(known, changed):
        assert all(was[question] != now[question] for question in was if question in now)
