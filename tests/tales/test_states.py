"""The state at every place: it ends as the tale does, and a reading by hand of one plot agrees."""

import doctest
import random

from minillm.tales import NOBODY, make_tales, parse, states, states_at, tell
from minillm.tales import states as states_module  # noqa: F401


def named(tale, role):
    parts = tale.roles.get(role, {})
    return parts.get("name") or f"{parts['adjective']} {parts['noun']}"


def test_the_last_state_is_how_the_tale_ends():
    for tale in make_tales(300, 0):
        last = states(tale)[-1]
        assert len(states(tale)) == len(tale.sentences) + 1 and last.start == len(tale.text)
        has = {thing: who for thing, who in last.has.items() if who != NOBODY}
        assert len(has) == len(tale.final["has"])
        for thing, who in has.items():
            if "name" in tale.roles[who] and "noun" in tale.roles[thing] and "adjective" in tale.roles[thing]:
                assert tale.final["has"][named(tale, thing)] == named(tale, who)
        assert {named(tale, role): mood for role, mood in last.feels.items()} == tale.final["feels"]
        assert {named(tale, role): place for role, place in last.at.items()} == tale.final["at"]
        assert states(parse(tale.text)) == states(tale)


def test_who_has_the_lost_thing_follows_the_sentences():
    seen = set()
    for seed in range(60):
        tale = tell(random.Random(seed), ["lost"])
        after = [state.has.get("thing") for state in states(tale)]
        assert after[:3] == [None] * 3 and after[3] == NOBODY  # two of opening; the third says that it is gone
        for (start, end), holder in zip(tale.sentences, after[1:]):
            sentence = tale.text[start:end]
            if "At last" in sentence and "found the" in sentence:
                seen.add("found")
                finder = "hero" if f"At last {tale.roles['hero']['name']}" in sentence else "friend"
                assert holder == finder
            if "would not give it back" in sentence:
                seen.add("kept")
                assert holder == "neighbor"
    assert seen == {"found", "kept"}


def test_a_token_has_the_state_of_the_last_sentence_that_is_over():
    tale = make_tales(1, 3)[0]
    every = states(tale)
    ends = list(range(1, len(tale.text) + 1))
    for end, state in zip(ends, states_at(tale, ends)):
        over = sum(stop <= end for _, stop in tale.sentences)
        assert state == every[over]


def test_the_worked_example_is_true():
    import sys

    module = sys.modules["minillm.tales.states"]
    assert doctest.testmod(module, extraglobs={"random": random, "tell": tell}).failed == 0
