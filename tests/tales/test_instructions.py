"""Instructions: every answer is found again from the text of its conversation alone."""

import re
from collections import Counter
from itertools import islice

import pytest

from minillm import tales
from minillm.tales import words
from minillm.tales.gists import GISTS, gist
from minillm.tales.instructions import REFUSAL, passage_stream

ENDINGS = {
    "happy": "That night {name} slept well in the {home}.|Then {name} sang all the way home to the {home}."
    "|{name} went back to the {home} with a smile.",
    "sad": "That night {name} lay awake in the {home}.|Then {name} sighed all the way home to the {home}."
    "|{name} went back to the {home} without a word.",
}


@pytest.fixture(scope="module")
def asked():
    """(tale, question, kind, answer) of many conversations."""
    found = []
    for conversation in tales.make_instructions(500, seed=3):
        contents = [message["content"] for message in conversation["messages"]]
        text, first = contents[0].split("\n\n")
        questions = [first, *contents[2::2]]
        found += [(text, *row) for row in zip(questions, conversation["kinds"], contents[1::2], strict=True)]
    return found


def of_kind(asked, kind):
    rows = [(text, question, answer) for text, question, own, answer in asked if own == kind]
    assert len(rows) > 20, kind
    return rows


def beings(text):
    """Name and kind of the hero and the friend, and the hero's home, by plain patterns."""
    name, kind = re.search(r"an? \w+ (\w+) called (\w+)", text).groups()[::-1]
    home = re.search(r"[Ii]n an? (\w+)", text)[1]
    friend = next(word for word in re.findall(r"\w+", text) if word in words.PETS)
    animal = next(word for word in re.findall(r"\w+", text) if word in words.ANIMALS)
    return name, kind, home, friend, animal


def feelings(text):
    """Who felt how, by plain patterns."""
    felt = re.findall(r"([A-Z]\w+) (?:felt|was) ({})\b".format("|".join(words.GLAD + words.SAD)), text)
    return {name: "happy" if feeling in words.GLAD else "sad" for name, feeling in felt}


def test_who_where_what_list_and_format_stand_in_the_first_two_sentences(asked):
    for text, question, answer in of_kind(asked, "who"):
        name, kind, home, friend, animal = beings(text)
        if "else" in question:
            assert answer in words.NEIGHBORS and answer in text
        elif "friend of" in question:
            assert answer == friend and name in question
        else:
            what = re.search(r"(\w+)\?$", question)[1]
            assert answer == (friend if what == animal else name) and what in (kind, home, animal)
    for text, _, answer in of_kind(asked, "where"):
        assert answer == f"in the {beings(text)[2]}"
    for text, question, answer in of_kind(asked, "what"):
        name, kind, *_ = beings(text)
        if "food" in question:
            ingredient, dish = answer.split()
            assert ingredient in words.INGREDIENTS and dish in words.DISHES and answer in text
            continue
        if "thing" in question:
            assert answer.split()[1] in words.NOUNS and answer.split()[1] in text
            continue
        assert answer == words.article(kind) and name in question
    for text, question, answer in of_kind(asked, "list"):
        name, _, _, friend, _ = beings(text)
        felt = feelings(text)
        moods = f"{name}, {felt[name]}; {friend}, {felt[friend]}"
        assert answer == (moods if "felt" in question else f"{name}, {friend}")
    for text, question, answer in of_kind(asked, "format"):
        name, kind, home, *_ = beings(text)
        assert name in question and answer == f"{name}: {kind}, {home}"


def test_when_feeling_and_refusals_follow_from_the_words(asked):
    for text, question, answer in of_kind(asked, "when"):
        weather, season, time = re.search(r"One (\w+) (\w+) (\w+)", text).groups()
        truth = {"In w": {season}, "How ": {weather}, "At w": {time}, "Whic": {d for d in words.DAYS if d in text}}
        assert answer in truth[question[:4]]
    for text, question, answer in of_kind(asked, "feeling"):
        name = next(name for name in feelings(text) if name in question)
        assert answer == feelings(text)[name]
    elsewhere = {
        "Who else was there?": words.NEIGHBORS,
        "What food was there?": words.DISHES,
        "Which day was it?": words.DAYS,
    }
    for text, question, answer in of_kind(asked, "refuse"):
        assert answer == REFUSAL
        assert not any(word in text for word in elsewhere.get(question, ()))
    share = sum(question in elsewhere for _, question, _ in of_kind(asked, "refuse")) / len(of_kind(asked, "refuse"))
    assert 0.3 < share < 0.6


def test_yes_and_no_are_true_and_equally_common(asked):
    answers = Counter()
    there = {"somebody else": words.NEIGHBORS, "food": words.DISHES, "day": words.DAYS}
    for text, question, answer in of_kind(asked, "yes or no"):
        felt = re.search(r"Was (\w+) (happy|sad) in the end", question)
        if felt:
            truth = feelings(text)[felt[1]] == felt[2]
        else:
            truth = any(word in text for word in next(every for what, every in there.items() if what in question))
        assert answer == ("yes" if truth else "no")
        answers[answer] += 1
    assert 0.35 < answers["yes"] / answers.total() < 0.65


def test_the_owner_is_who_the_world_says(asked):
    for text, question, answer in of_kind(asked, "owner"):
        thing = re.search(r"had the (\w+)", question)[1]
        owner = next(who for what, who in tales.parse(text).final["has"].items() if what.endswith(f" {thing}"))
        assert answer == owner


def test_a_sentence_told_as_now_differs_in_its_verb_alone(asked):
    for text, _, answer in of_kind(asked, "tense"):
        matches = [
            sentence
            for sentence in tales.parse(text).text.split(". ")
            if len(sentence.rstrip(".").split()) == len(answer.rstrip(".").split())
            and sum(a != b for a, b in zip(sentence.rstrip(".").split(), answer.rstrip(".").split())) in (1, 2)
        ]
        assert matches, answer


def test_a_changed_ending_is_one_of_a_tale_that_went_the_other_way(asked):
    for text, question, answer in of_kind(asked, "ending"):
        name, mood = re.search(r"so that (\w+) is (\w+)", question).groups()
        assert feelings(text)[name] != mood
        assert name in answer and answer != tales.parse(text).sentence(-1)
        home = beings(text)[2]
        assert re.fullmatch(ENDINGS[mood].format(name=name, home=home), answer)


def test_every_outcome_of_every_plot_has_a_summary_of_its_own_and_all_forms_are_used():
    seen = {}
    for tale in tales.make_tales(3000, seed=8):
        sentence = gist(tale)
        assert sentence.endswith(".") and "{" not in sentence
        assert tale.roles["hero"]["name"] in sentence or tale.plot in ("storm", "riddle")
        seen.setdefault((tale.plot, tale.outcome), sentence)
    for plot, (_, ends) in GISTS.items():
        outcomes = [" ".join(outcome) for own, outcome in seen if own == plot]
        for start in ends:
            assert any(f" {start} " in f" {outcome} " for outcome in outcomes), (plot, start)


def test_a_continuation_is_right_when_some_tale_goes_on_so():
    for conversation in tales.make_instructions(60, seed=3, kinds=("continue",)):
        prompt, answer = (message["content"] for message in conversation["messages"])
        assert tales.right_answer("continue", prompt, answer, answer)
        assert not tales.right_answer("continue", prompt, answer, answer[:-3])
        assert not tales.right_answer("continue", prompt, answer, answer + " Then it was over.")
        assert not tales.right_answer("continue", prompt, answer, "")


def test_an_answer_is_right_but_for_white_space_alone():
    assert tales.right_answer("who", "Who?", "Mira", " Mira\n")
    assert not tales.right_answer("who", "Who?", "Mira", "mira")


def test_the_first_conversations_of_many_are_those_of_few():
    assert tales.make_instructions(20, seed=5)[:7] == tales.make_instructions(7, seed=5)
    assert tales.make_instructions(3, seed=5) != tales.make_instructions(3, seed=6)


def test_kinds_can_be_chosen():
    for conversation in tales.make_instructions(30, seed=2, kinds=("feeling",)):
        assert set(conversation["kinds"]) == {"feeling"}


def test_the_later_task_says_in_words_of_its_own_how_somebody_feels():
    for conversation in tales.make_instructions(40, seed=2, kinds=("sentiment",)):
        (text, question), answer = conversation["messages"][0]["content"].split("\n\n"), conversation["messages"][1]
        name = next(name for name in feelings(text) if name in question)
        assert answer["content"] == {"happy": "positive", "sad": "negative"}[feelings(text)[name]]
    assert "sentiment" not in tales.KINDS


def test_a_passage_answers_what_is_asked_about_it():
    asked = Counter()
    for record in islice(passage_stream(3), 600):
        text = record["messages"][0]["content"].split("\n\n")[0]
        there = set(re.findall(r"\w+", text)) | {"in"}
        for question, answer, kind in zip(record["messages"][::2], record["messages"][1::2], record["kinds"]):
            asked[kind] += 1
            said = set(re.findall(r"\w+", answer["content"]))
            if kind in ("who", "where", "when", "format", "owner"):
                assert said <= there, (text, question, answer)
            elif kind == "what":
                assert said - {"a", "an"} <= there, (text, question, answer)
            elif kind in ("feeling", "list"):
                names = set(re.findall(r"\b[A-Z]\w+", answer["content"] + question["content"].split("\n\n")[-1][3:]))
                assert names & there, (text, question, answer)
            elif kind in ("tense", "ending"):
                assert len(said & there) >= len(said) - 3, (text, question, answer)
            else:
                assert kind == "refuse" and answer["content"] == "The tale does not say."
        assert 1 <= len(record["kinds"]) <= 6
    assert min(asked.values()) > 50 and len(asked) == 11
