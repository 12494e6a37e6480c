"""The judge: right about what the world wrote, about what was spoiled, and about anything else at all."""

import random

import pytest

from minillm import tales
from minillm.tales import LABELS, RELATIONS, words
from minillm.tales.clinic import CLINIC_WORDS

ANSWERS = sorted({answer for relation in RELATIONS.values() for answer in relation.values()})
LISTS_OF_TALES = (words.NAMES, words.NOUNS, words.ADJECTIVES, words.SPOTS, words.HOMES, words.PLACES, words.KINDS)
MAKERS = {
    tales.make_tales: LISTS_OF_TALES,
    tales.make_clinic: [CLINIC_WORDS["remedy"], CLINIC_WORDS["symptom"], CLINIC_WORDS["doctor"], CLINIC_WORDS["bed"]],
    tales.make_patterns: [LABELS, ANSWERS],
}


@pytest.mark.parametrize("make", MAKERS)
def test_everything_that_the_world_writes_is_right(make):
    for document in make(250, seed=6):
        judgement = tales.judge(document.text)
        assert judgement == tales.Judgement(True, True, 1.0, []), (document.text, judgement)


@pytest.mark.parametrize("make", MAKERS)
def test_one_false_word_is_found_named_and_told_from_bad_grammar(make):
    rng, spoiled, ungrammatical = random.Random(7), 0, 0
    for document in make(300, seed=7):
        said = [step for step in document.steps if step.recall and step.text not in words.RIDDLES.values()]
        recalls = [(step, pool) for step in said for pool in MAKERS[make] if step.text in pool]
        if not recalls:
            continue
        step, pool = rng.choice(recalls)
        false = rng.choice([word for word in pool if word not in document.text])
        text = document.text[: step.offset] + false + document.text[step.offset + len(step.text) :]
        judgement = tales.judge(text)
        assert not judgement.consistent and 0 <= judgement.score < 1, (text, judgement)
        assert any(false in reason for reason in judgement.reasons), (text, judgement)
        ungrammatical += not judgement.grammatical
        spoiled += 1
    assert spoiled > 100
    assert (
        ungrammatical < 0.05 * spoiled
    )  # where either friend could act and a third is named, what follows may not fit


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("Moss had the kite", "Moss had the lamp", "sentence 5: it is the red kite, not the lamp"),
        ("asked Moss", "asked Fern", "sentence 6: the friend is Moss, not Fern"),
        ("took her red", "took his red", "sentence 3: Mira is not 'his', but 'her'"),
        ("Mira felt sad", "Mira felt glad", "sentence 8: Mira is sad here, not glad"),
        ("but Moss felt glad", "and Moss felt glad too", "sentence 8: Mira and Moss do not feel the same"),
        ("lay awake", "slept well", "sentence 9: Mira is sad in the end"),
        ("in the hut.", "in the mill.", "sentence 9: Mira lives in the hut, not mill"),
    ],
)
def test_reasons_say_what_is_false(old, new, reason):
    from test_documents import HAND

    assert HAND.count(old) == 1
    judgement = tales.judge(HAND.replace(old, new))
    assert judgement.grammatical and not judgement.consistent
    assert judgement.reasons[0] == reason


def test_a_riddle_answered_rightly_is_not_called_wrong():
    tale = next(tale for tale in tales.make_tales(200, seed=8) if tale.plot == "riddle" and "right" in tale.outcome)
    answer = words.RIDDLES[tale.roles["puzzle"]["riddle"]]
    said = next(tale.sentence(i) for i in range(len(tale.sentences)) if "gave" in tale.sentence(i))
    asker, guesser = tale.roles["asker"]["name"], tale.roles["guesser"]["name"]
    false = f'"No, it is the {answer}," said {asker}, and {guesser} got nothing.'
    judgement = tales.judge(tale.text.replace(said, false))
    assert judgement.grammatical and not judgement.consistent
    assert f"the guess was the {answer}" in judgement.reasons[0]


def test_the_clinic_holds_its_table_and_its_allergies():
    case = (
        "Ward East, bed two: Mrs Quinn, a pilot, came in on Sunday with a cough. "
        "Nurse Diaz checked her pulse and sent for Doctor Patel. The patient was allergic to syrup. "
        "Doctor Patel prescribed {0} for the cough, once a day. Nurse Diaz wrote {0} on the chart of bed two. "
        "By Monday the cough was gone. Mrs Quinn was discharged from Ward East, and {0} was stopped."
    )
    assert tales.judge(case.format("menthol")).score == 1
    judgement = tales.judge(case.format("syrup"))
    assert judgement.grammatical and not judgement.consistent
    assert judgement.reasons[0] == "sentence 4: the remedy is menthol, not syrup"


def test_scrambled_words_are_ungrammatical():
    rng = random.Random(9)
    for document in tales.make_tales(100, seed=9):
        scrambled = document.text.split()
        rng.shuffle(scrambled)
        judgement = tales.judge(" ".join(scrambled))
        assert not judgement.grammatical and judgement.score < 0.5 and judgement.reasons


def test_the_score_rises_with_the_share_that_is_right():
    text = tales.make_tales(1, seed=10)[0].text
    spoiled = [tales.judge(text[:at] + "#" + text[at:]).score for at in range(0, len(text), 7)]
    assert spoiled == sorted(spoiled)
    assert 0 == spoiled[0] < spoiled[-1] < 0.5
    assert tales.judge(text[:-9]).reasons[0].endswith(f"at character {tales.reading(text[:-9]).stopped}")
    assert "ends in the middle" in tales.judge(text[:-9]).reasons[0]


@pytest.mark.parametrize("space", [" ", "\n", "\n\n\t "])
def test_white_space_around_a_text_does_not_count(space):
    text = tales.make_tales(1, seed=10)[0].text
    assert tales.judge(space + text + space).score == 1


def test_any_text_gets_a_judgement():
    rng = random.Random(11)
    texts = "| |\n|Ward|fox|fox : |fox = |fox : den\n|\x03|Once there was\x03|é|\ud800".split("|")
    texts.append("x" * 9999)
    documents = [*tales.make_documents(100, seed=12), *tales.make_clinic(50, seed=12)]
    for document in documents:
        cut = int(rng.random() * len(document.text))
        texts += [document.text[:cut], document.text[cut:], document.text[:cut] + document.text, document.text + "\x03"]
        texts.append(document.text[:cut] + chr(32 + int(rng.random() * 90)) + document.text[cut + 1 :])
    for text in texts:
        judgement = tales.judge(text)
        assert 0 <= judgement.score <= 1
        assert (judgement.score == 1) == (judgement.grammatical and judgement.consistent) == (not judgement.reasons)
