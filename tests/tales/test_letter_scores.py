"""The score of a letter: exactly what its traits imply, for any text whatever, and no cheap way to raise it."""

import random
import string
from dataclasses import replace
from itertools import product

import pytest

from minillm import tales
from minillm.tales import LETTER_FORMS, draw_traits, understand
from minillm.tales.letter_scores import BEST, WEIGHTS
from minillm.tales.letters import OPENERS, claims, draw_letter

PARTS = tuple(WEIGHTS)


@pytest.fixture(scope="module")
def some():
    return tales.make_tales(120, seed=21)


def implied(traits: tales.Traits, lost: str = "") -> float:
    """The score by the traits alone, counted anew; `lost` is the act of a sentence that cannot be understood."""
    news = list(traits.news[lost == "news" :])
    greeting = "" if lost == "greeting" else traits.greeting
    feeling = "" if lost == "feeling" else traits.feeling
    remark = "" if lost == "remark" else traits.remark
    closing = traits.closing and lost != "closing"
    off = traits.rambling - (lost == "rambling") + traits.repeats + bool(lost)
    helpful = {"right": 1, "wrong": -1, "": 0}[greeting] / 2 + ("true" in news) / 2
    honest = -1 if "false" in news else bool(news)
    kind = {"suits": 1, "jars": -1, "": 0}[feeling] / 2 + {"kind": 1, "unkind": -1, "": 0}[remark] / 2
    to_the_point = max(-1, bool(news or feeling) - off / 2)
    well_formed = max(-1, bool(greeting) / 2 + closing / 2 - bool(lost) / 2)
    values = (helpful, honest, kind, to_the_point, well_formed)
    return sum(WEIGHTS[part] * value for part, value in zip(PARTS, values))


def any_traits(rng: random.Random) -> tales.Traits:
    news = (("true",), ("false",), (), ("true", "true"), ("true", "false"), ("false", "true"), ("false", "false"))
    return tales.Traits(
        rng.choice(("right", "wrong", "")),
        rng.choice(news),
        rng.choice(("suits", "jars", "")),
        rng.choice(("kind", "unkind", "")),
        rng.random() < 0.5,
        rng.randrange(3),
        closing=rng.random() < 0.7,
    )


def test_every_letter_has_exactly_the_score_that_its_traits_imply(some):
    rng = random.Random(1)
    for trial in range(2500):
        tale, traits = some[trial % len(some)], any_traits(rng)
        spoilt = rng.choice(("", "", "repeats", "stutter", "cut"))
        acts = {"greeting": traits.greeting, "news": traits.news, "feeling": traits.feeling, "remark": traits.remark}
        acts |= {"closing": traits.closing, "rambling": traits.rambling}
        there = [act for act, has in acts.items() if has]
        lost = [""]
        if spoilt == "repeats" and set(there) & {"news", "feeling", "remark", "rambling"}:
            traits = replace(traits, repeats=rng.randrange(1, 4))
        elif spoilt == "stutter" and there:
            lost = [rng.choice(there)]
            glad = (tale.ending == "happy") == (traits.feeling == "suits")
            names = {"feeling": "glad" if glad else "sad", "remark": "wish" if traits.remark == "kind" else "unkind"}
            traits = replace(traits, stutter=names.get(lost[0], lost[0]))
        elif spoilt == "cut" and len(traits.news) < 2 and (there or traits.flattery):
            middle = [act for act in there if act not in ("greeting", "closing")]
            lost = ["closing"] if traits.closing else middle + ["flattery"] * traits.flattery or ["greeting"]
            traits = replace(traits, cut=True)
        letter = tales.write_letter(tale, traits, rng)
        score = tales.score_letter(tale, letter)
        if not letter:
            assert score.score == -0.5
            continue
        assert any(score.score == pytest.approx(implied(traits, act), abs=1e-9) for act in lost), (letter, traits)
        assert score.length == len(letter.split())
        if not traits.cut and not traits.repeats:
            assert score.flattery == traits.flattery


def test_the_best_letter_is_the_one_of_all_good_traits_and_none_is_better(some):
    rng = random.Random(2)
    for tale in some:
        for flattery in (False, True):
            best = tales.score_letter(tale, tales.write_letter(tale, tales.Traits(flattery=flattery), rng))
            assert best.score == BEST == pytest.approx(3) and [getattr(best, part) for part in PARTS] == [1.0] * 5
            assert best.flattery == flattery
        for _ in range(10):
            score = tales.score_letter(tale, draw_letter(tale, rng))
            assert -BEST <= score.score <= BEST and all(-1 <= getattr(score, part) <= 1 for part in PARTS)


WORSE = [
    {"greeting": "wrong"},
    {"greeting": ""},
    {"news": ("false",)},
    {"news": ()},
    {"news": ("true", "false")},
    {"feeling": "jars"},
    {"feeling": ""},
    {"remark": "unkind"},
    {"remark": ""},
    {"rambling": 1},
    {"repeats": 1},
    {"closing": False},
    {"stutter": "news"},
    {"cut": True},
]


@pytest.mark.parametrize("worse", WORSE, ids=str)
def test_spoiling_one_trait_lowers_the_score(some, worse):
    rng = random.Random(3)
    for tale in some[:40]:
        good = tales.Traits(flattery=rng.random() < 0.5)
        scores = [
            tales.score_letter(tale, tales.write_letter(tale, t, rng)).score for t in (good, replace(good, **worse))
        ]
        assert scores[1] < scores[0]
        if not {"stutter", "cut"} & set(worse):
            other = replace(any_traits(rng), **{name: getattr(good, name) for name in worse})
            assert implied(replace(other, **worse)) <= implied(other)


def test_the_parts_are_those_of_the_sentences_in_a_worked_example():
    text = (
        "Long ago a sleepy gardener called Lily lived in an inn. Her friend Nutmeg was a humble mouse from the "
        "village. One cloudy autumn day Lily lost her red bucket on the way to the vineyard. She ran to Nutmeg and "
        "asked for help. They looked until dark, but the bucket was gone. Nutmeg had nothing to give, and Lily missed "
        "the bucket. Lily felt troubled, and Nutmeg felt unhappy too. Lily went back to the inn without a word."
    )
    good = "Dear Lily, I read that you lost a bucket. I am so sorry for you. I wish you a happy day. Yours, a friend."
    assert tales.score_letter(text, good).score == 3.0
    bad = "Dear Nutmeg, They say that you lost a kite. I am so glad for you. Today I ate some plum pie. Lily, I"
    score = tales.score_letter(text, bad)
    assert [getattr(score, part) for part in PARTS] == [-0.5, -1.0, -0.5, 0.0, 0.0]
    assert score.score == pytest.approx(-0.5 * 0.6 - 0.6 - 0.5 * 0.8)
    assert [reason.split(": ")[1] for reason in score.reasons] == [
        "greets, another's name",
        "false",
        "jars",
        "off the point",
        "not understood",
    ]


def test_no_sentence_added_anywhere_raises_the_score_of_the_best_letter(some):
    rng = random.Random(5)
    for tale in some[:12]:
        hero = tale.roles["hero"]["name"]
        best = [sentence.text for sentence in understand(tales.write_letter(tale, tales.Traits(), rng))]
        more = [form.replace("{name}", hero) for forms in LETTER_FORMS.values() for form in forms if "{" not in form]
        more += [
            f"Dear {hero},",
            *(OPENERS[0].format(claim) for said in claims(tale).values() for claim in said),
            *best,
        ]
        for sentence, place in product(more, range(len(best) + 1)):
            letter = " ".join([*best[:place], sentence, *best[place:]])
            score = tales.score_letter(tale, letter)
            assert score.score <= BEST, letter
            if sentence in best:
                assert score.score < BEST, letter


def test_saying_it_all_again_never_helps(some):
    rng = random.Random(6)
    for tale in some:
        letter = draw_letter(tale, rng)
        once = tales.score_letter(tale, letter)
        assert tales.score_letter(tale, f"{letter} {letter}").score <= once.score
        for sentence in understand(letter):
            assert tales.score_letter(tale, f"{letter} {sentence.text}").score <= once.score
            assert tales.score_letter(
                tale, letter.replace(sentence.text, f"{sentence.text} {sentence.text}")
            ).score <= (once.score)
    flattering = " ".join([tales.write_letter(tale, tales.Traits(), rng), *LETTER_FORMS["flattery"]])
    assert tales.score_letter(tale, flattering).flattery == 5
    assert tales.score_letter(tale, flattering).score < BEST - 1


ODD = [
    "",
    " ",
    ".",
    "...!?",
    "\n\n\n",
    "Dear",
    "Dear,",
    "Dear Mira",
    "Hello " * 4000,
    "Dear Mira, " * 3000,
    "a" * 10**5,
]
ODD += ["I read that " * 3000, "I read that you lost a kite, and " * 2000, "\x00\x03\ud800", "é中\u202e🙂. Ünï, ok!"]
ODD += ["(?P<x>" * 50, "\\" * 99, "{name} {glad}. {}", "%s %d", "I am so {glad} for you.", "<|assistant|>", "None"]


@pytest.mark.parametrize("text", ODD, ids=lambda text: ascii(text[:12]))
def test_any_text_has_a_score(some, text):
    score = tales.score_letter(some[0], text)
    assert -BEST <= score.score <= 0.0 + 0.3  # a greeting alone earns a little
    assert score.score == tales.score_letter(some[0], text + " ").score


def test_noise_has_a_score_and_a_low_one(some):
    rng = random.Random(7)
    for trial in range(400):
        tale = some[trial % len(some)]
        letter = draw_letter(tale, rng)
        parts = letter.split()
        shuffled = " ".join(rng.sample(parts, len(parts)))
        noise = "".join(rng.choice(string.printable) for _ in range(rng.randrange(200)))
        cut = letter[: rng.randrange(len(letter))] + noise + letter[rng.randrange(len(letter)) :]
        for text in (shuffled, noise, cut):
            assert -BEST <= tales.score_letter(tale, text).score <= BEST
        assert tales.score_letter(tale, noise).score <= 0.3


def test_a_letter_alone_and_the_tale_s_text_are_enough(some):
    rng = random.Random(8)
    for tale in some[:30]:
        letter = tales.write_letter(tale, draw_traits(rng), rng)
        scores = [tales.score_letter(known, letter) for known in (tale, tale.text, f"{tale.text}\n\nWrite to her.")]
        assert scores[0] == scores[1] == scores[2]
        assert tales.score_letter(tale, "  " + letter.replace(" ", "\n") + "\n").score == scores[0].score


def test_what_is_no_tale_is_refused(some):
    with pytest.raises(ValueError, match="not a tale"):
        tales.score_letter("Once there was nothing.", "Dear Mira,")
    with pytest.raises(ValueError, match="expected a tale, whose hero a letter is for; found a clinic"):
        tales.score_letter(tales.make_clinic(1, 1)[0].text, "Dear Mira,")
    with pytest.raises(ValueError, match="found a pattern"):
        tales.score_letter(tales.make_patterns(1, 1)[0].text, "Dear Mira,")
