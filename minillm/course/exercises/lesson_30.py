"""Lesson 30, the whole life: questions from a text, an antisymmetric preference, a leak, a rule that is only length."""

import random
from collections.abc import Callable

from minillm.course.exercises import Wrong, exercise, expect, likely_slip

DOCUMENT = ["A cat sat.", "It slept.", "A dog came.", "It woke."]


@exercise("next_sentences")
def grade_next_sentences(answer: Callable) -> None:
    """Four sentences by hand, a window of one, too short a document, and a slow loop."""
    came = _pairs(answer(list(DOCUMENT), 2))
    right = _next_sentences(DOCUMENT, 2)
    slips = [
        (
            [(" ".join(DOCUMENT[max(0, i - 1) : i + 1]), DOCUMENT[i]) for i in range(1, 4)],
            "The answer stands in its own question: a model would learn to copy it.",
        ),
        (
            [(" ".join(DOCUMENT[:i][:2]), DOCUMENT[i]) for i in range(1, 4)],
            "Take the last n sentences before the answer, not the first n of the document.",
        ),
        (
            [(" ".join(DOCUMENT[:i]), DOCUMENT[i]) for i in range(1, 4)],
            "At most n sentences stand in a question: here two.",
        ),
        (
            [("", DOCUMENT[0]), *right],
            "The first sentence has nothing before it: it is no answer.",
        ),
        (right[1:], "The second sentence is an answer too, with the one sentence before it as its question."),
        (right[:-1], "The last sentence is an answer, too."),
        (
            [("".join(DOCUMENT[max(0, i - 2) : i]), DOCUMENT[i]) for i in range(1, 4)],
            "Put a space between the sentences.",
        ),
    ]
    expect(came, right, likely_slip(came, slips, "Three answers, each behind at most two sentences."))
    came = _pairs(answer(list(DOCUMENT), 1))
    expect(came, _next_sentences(DOCUMENT, 1), "With n = 1 each sentence but the last is the question of the next.")
    for short in ([], ["Alone."]):
        expect(_pairs(answer(list(short), 3)), [], f"A document of {len(short)} sentences has nothing to continue.")
    rng = random.Random(0)
    for _ in range(5):
        some = [f"s{rng.randrange(9)}." for _ in range(rng.randrange(2, 9))]
        n = rng.randrange(1, 5)
        expect(_pairs(answer(list(some), n)), _next_sentences(some, n), f"With {some} and n = {n} it differs.")


def _next_sentences(sentences: list[str], n: int) -> list[tuple[str, str]]:
    return [(" ".join(sentences[max(0, i - n) : i]), sentences[i]) for i in range(1, len(sentences))]


@exercise("preferred")
def grade_preferred(answer: Callable) -> None:
    """Short over long by hand, ties, both orders, and a rule that asks the prompt."""

    def short(_: str, text: str) -> float:
        return -len(text)

    came = _sign(answer(short, "x", "aa", "bbbb"))
    slips = [
        (-1, "Turned round: 1 where the first answer has more of the rule. The shorter one has -2, more than -4."),
        (2, "Only the sign, please: 1, -1 or 0."),
    ]
    expect(came, 1, likely_slip(came, slips, "The rule gives -2 to the first answer and -4 to the second: 1."))
    came = _sign(answer(short, "x", "bbbb", "aa"))
    slip = "Swapped, the answers must give the opposite: -1. What likes whatever comes first teaches nothing."
    expect(came, -1, slip)
    came = _sign(answer(short, "x", "aa", "bb"))
    expect(came, 0, "The rule finds both alike: 0, such a pair is left out. To take the first breaks the symmetry.")

    def on_topic(prompt: str, text: str) -> float:
        return float(prompt in text)

    slip = "Give the rule the prompt first, then the answer."
    expect(_sign(answer(on_topic, "cat", "a dog", "the cat sat")), -1, slip)
    expect(_sign(answer(lambda _, text: len(text) / 10, "x", "aa", "a")), 1, "A gap of 0.1 is a gap: do not round.")
    rng = random.Random(0)
    for _ in range(10):
        a, b = ("a" * rng.randrange(5) for _ in range(2))
        sign = (len(a) < len(b)) - (len(a) > len(b))
        expect(_sign(answer(short, "x", a, b)), sign, f"With the answers {a!r} and {b!r} it differs.")


@exercise("leaked_share")
def grade_leaked_share(answer: Callable) -> None:
    """Four texts by hand, case, short texts, nothing, and a slow loop."""
    learned = ["the cat sat on the mat", "a dog came home"]
    texts = ["so the cat sat down", "on a mat the cat slept", "a dog ran", "it rained all day"]
    came = _number(answer(learned, texts, 3))
    slips = [
        (0.75, "Count runs of n neighbouring words, in their order: not single words, and not shorter runs."),
        (1.0, "One text, of four: a share, not a number of texts."),
        (1 / 10, "The share of the texts, not of their runs: a text leaks if one of its runs does."),
        (0.0, '"the cat sat" stands in both. Runs overlap: one begins at every word.'),
    ]
    expect(came, 0.25, likely_slip(came, slips, 'Only the first text shares three words in a row, "the cat sat".'))
    came = _number(answer(["The Cat sat"], ["the cat SAT here"], 3))
    expect(came, 1.0, "Large and small letters count as the same.")
    came = _number(answer(["one two", "three four"], ["two three four five"], 3))
    expect(came, 0.0, "A run does not go on from one learned text into the next: take each text by itself.")
    came = _number(answer(["one two"], ["one two"], 3))
    expect(came, 0.0, "Texts with fewer than n words have no run, and share none.")
    rng = random.Random(0)
    for n in (1, 2, 3):
        some, others = ([" ".join(rng.choices("abcd", k=rng.randrange(1, 7))) for _ in range(6)] for _ in range(2))
        seen = {run for text in some for run in _runs(text, n)}
        share = sum(bool(_runs(text, n) & seen) for text in others) / len(others)
        expect(_number(answer(some, others, n)), share, f"With {some}, {others} and n = {n} it differs.")


def _runs(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


@exercise("longer_share")
def grade_longer_share(answer: Callable) -> None:
    """Four pairs by hand, all ties, turned round, and a slow loop."""
    pairs = [("a b c", "a"), ("a", "a b"), ("aaaaaa b", "c d"), ("a b", "a")]
    came = _number(answer(list(pairs)))
    slips = [
        (0.5, "Two answers of equally many words count as a half."),
        (0.75, "Count words, not characters: the third pair is a tie, and counts a half."),
        (2 / 3, "Ties stay in: they count as a half, over all pairs."),
        (0.375, "Turned round: the chosen answer stands first."),
        (2.5, "A share: over the number of pairs."),
    ]
    expect(came, 0.625, likely_slip(came, slips, "Two are longer, one is a tie: (2 + 1/2) / 4."))
    expect(_number(answer([("a b", "c d"), ("a", "b")])), 0.5, "Only ties: no preference for either, 0.5.")
    rng = random.Random(0)
    for _ in range(5):
        some = [tuple(" ".join("w" * rng.randrange(1, 4)) for _ in range(2)) for _ in range(7)]
        slow = sum(
            1.0 if len(a.split()) > len(b.split()) else 0.5 if len(a.split()) == len(b.split()) else 0.0
            for a, b in some
        ) / len(some)
        expect(_number(answer(list(some))), slow, f"With the pairs {some} it differs.")


def _pairs(came) -> list[tuple]:
    if not isinstance(came, list | tuple) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in came):
        raise Wrong(f"it gave {came!r} where a list of pairs (question, answer) was expected.")
    return [tuple(one) for one in came]


def _sign(came) -> int:
    if isinstance(came, bool) or not isinstance(came, int | float) or came != int(came):
        raise Wrong(f"it gave {came!r} where 1, -1 or 0 was expected.")
    return int(came)


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError):
        raise Wrong(f"it gave {came!r} where a share was expected.") from None
