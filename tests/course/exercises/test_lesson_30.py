"""The slips that people make in lesson 30 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest

from minillm.course.exercises import grade


def right_questions(sentences, n):
    return [(" ".join(sentences[max(0, i - n) : i]), sentences[i]) for i in range(1, len(sentences))]


def right_preference(rule, prompt, a, b):
    gap = rule(prompt, a) - rule(prompt, b)
    return (gap > 0) - (gap < 0)


def runs(text, n):
    words = text.lower().split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def right_leak(learned, texts, n):
    seen = {run for text in learned for run in runs(text, n)}
    return sum(bool(runs(text, n) & seen) for text in texts) / len(texts)


def right_longer(pairs):
    sizes = [(len(a.split()), len(b.split())) for a, b in pairs]
    return sum((a > b) + 0.5 * (a == b) for a, b in sizes) / len(sizes)


RIGHT = [
    ("next_sentences", right_questions),
    ("preferred", right_preference),
    ("leaked_share", right_leak),
    ("longer_share", right_longer),
]


@pytest.mark.parametrize(("name", "answer"), RIGHT)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


@pytest.mark.parametrize("name", [name for name, _ in RIGHT])
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def leak_by_words(learned, texts, n):
    """A bag of single words in the place of runs."""
    seen = {word for text in learned for word in text.lower().split()}
    return sum(bool(seen & set(text.lower().split())) for text in texts) / len(texts)


def leak_of_runs(learned, texts, n):
    """The share of runs, not of texts."""
    seen = {run for text in learned for run in runs(text, n)}
    own = [run for text in texts for run in runs(text, n)]
    return sum(run in seen for run in own) / len(own)


def leak_with_case(learned, texts, n):
    def cut(text):
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    seen = {run for text in learned for run in cut(text)}
    return sum(bool(cut(text) & seen) for text in texts) / len(texts)


def dropping_ties(pairs):
    sizes = [(len(a.split()), len(b.split())) for a, b in pairs]
    kept = [(a, b) for a, b in sizes if a != b]
    return sum(a > b for a, b in kept) / max(len(kept), 1)


WRONG = [
    # questions out of sentences
    (
        "next_sentences",
        lambda s, n: [(" ".join(s[max(0, i - n + 1) : i + 1]), s[i]) for i in range(1, len(s))],
        "in its own question",
    ),
    ("next_sentences", lambda s, n: [(" ".join(s[:i][:n]), s[i]) for i in range(1, len(s))], "not the first n"),
    ("next_sentences", lambda s, n: [(" ".join(s[:i]), s[i]) for i in range(1, len(s))], "At most n"),
    ("next_sentences", lambda s, n: [(" ".join(s[max(0, i - n) : i]), s[i]) for i in range(len(s))], "nothing before"),
    ("next_sentences", lambda s, n: [(" ".join(s[i - n : i]), s[i]) for i in range(n, len(s))], "second sentence"),
    ("next_sentences", lambda s, n: ["".join(s)], "a list of pairs"),
    # a preference of a rule
    ("preferred", lambda r, p, a, b: -right_preference(r, p, a, b), "Turned round"),
    ("preferred", lambda r, p, a, b: r(p, a) - r(p, b), "Only the sign"),
    ("preferred", lambda r, p, a, b: 1 if r(p, a) >= r(p, b) else -1, "breaks the symmetry"),
    ("preferred", lambda r, p, a, b: 1 if r(p, a) > r(p, b) else 0, "Swapped"),
    ("preferred", lambda r, p, a, b: right_preference(lambda x, y: r(y, x), p, a, b), "."),
    ("preferred", lambda r, p, a, b: r(p, a) > r(p, b), "1, -1 or 0"),
    # a leak
    ("leaked_share", leak_by_words, "not single words"),
    ("leaked_share", leak_of_runs, "not of their runs"),
    ("leaked_share", lambda s, t, n: right_leak(s, t, n) * len(t), "not a number of texts"),
    ("leaked_share", lambda s, t, n: right_leak(s, t, n - 1), "not shorter runs"),
    ("leaked_share", leak_with_case, "Large and small"),
    ("leaked_share", lambda s, t, n: right_leak([" ".join(s)], t, n), "by itself"),
    # is the rule only length?
    ("longer_share", lambda p: sum(len(a.split()) > len(b.split()) for a, b in p) / len(p), "count as a half"),
    ("longer_share", lambda p: sum(len(a) > len(b) for a, b in p) / len(p), "not characters"),
    ("longer_share", dropping_ties, "Ties stay in"),
    ("longer_share", lambda p: 1 - right_longer(p), "Turned round"),
    ("longer_share", lambda p: right_longer(p) * len(p), "over the number"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
