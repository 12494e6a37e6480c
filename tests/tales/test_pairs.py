"""Tasks on two texts: each label is found again from the texts alone, and no half of a pair gives it away."""

import re

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack
from scipy.stats import spearmanr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from test_tasks import FEELS, accuracy, name_in

from minillm import tales
from minillm.tales import words

LISTS = (
    "HOMES",
    "SPOTS",
    "PLACES",
    "ADJECTIVES",
    "NOUNS",
    "CLOTHES",
    "TIMES",
    "DAYS",
    "INGREDIENTS",
    "DISHES",
    "ANIMALS_AND_TRADES",
)
WORDS = {word for name in (*LISTS, "NAMES", "TRAITS") for word in getattr(words, name)}


def opening(text: str) -> str:
    """The first two sentences of a tale, for one whose plot begins as this text does."""
    home = next((home for home in words.HOMES if re.search(rf"the {home}\b", text)), "hut")
    she = re.search(r"\b([Ss]he|[Hh]er)\b", text)
    hero = name_in(text, words.PEOPLE, "Lucy" if she else "Tom")
    his = "Her" if hero in words.SHE else "His"
    friend = name_in(text, words.PETS, "Ivy" if she else "Moss")
    first = f"In {words.article(home)} lived a shy cook called {hero}."
    return f"{first} {his} best friend was {friend}, a tall fox from the hill."


def test_what_is_next_is_what_the_world_can_go_on_with():
    examples = tales.make_next_sentence(400, seed=31)
    for example in examples:
        both = f"{example['text_a']} {example['text_b']}"
        text = f"{opening(both)} {both}"
        assert (tales.reading(text).stopped == len(text)) == (example["label"] == "next"), both


def test_each_text_is_next_once_and_not_next_once():
    examples = tales.make_next_sentence(400, seed=32)
    for group in (examples[i : i + 4] for i in range(0, 400, 4)):
        for half in ("text_a", "text_b"):
            labels: dict[str, list[str]] = {}
            for example in group:
                labels.setdefault(example[half], []).append(example["label"])
            assert sorted(map(sorted, labels.values())) == [["next", "not_next"]] * 2
        assert not any(e["text_b"] in e["text_a"] for e in group)


def who_has(text: str, noun: str, names: list[str]) -> str | None:
    """Who has a thing at the end of a text: the last sentence that says so, or None. Written from the text alone."""
    thing = rf"(?:\w+ )?{noun}"
    has = [
        rf"\b((?!He|She)[A-Z]\w+) took (?:his|her|the) {thing}",
        rf"(\w+) went to the \w+ with (?:his|her) {thing}",
        rf"and (\w+) had the {noun}",
        rf"([A-Z]\w+) (?:won the race and )?got the {noun}",
        rf"gave (\w+) (?:the|an?) {thing}",
        rf"brought the {noun} back to (\w+)",
        rf"came to (\w+) with the {noun}",
        rf"(\w+) found (?:the|an?) {thing}",
        r"gave it back to (\w+)",
        r'"It is mine," said (\w+)',
        r"(\w+)'s house",
        rf'you will get an? {thing}," said (\w+)',
    ]
    from_other = [rf"said (\w+), and brought the {noun}"]
    found = [(match.end(), match[1]) for pattern in has for match in re.finditer(pattern, text)]
    for pattern in from_other:
        found += [
            (match.end(), next(name for name in names if name != match[1])) for match in re.finditer(pattern, text)
        ]
    return max(found)[1] if found else None


def answer(premise: str, hypothesis: str) -> str:
    """The label of a pair, from its words."""
    names = [name for name in words.PEOPLE + words.PETS if re.search(rf"\b{name}\b", premise)]
    name = next(name for name in words.PEOPLE + words.PETS if re.search(rf"\b{name}\b", hypothesis))
    said = hypothesis.removesuffix(".").split()[-1]
    feelings = dict(re.findall(FEELS, premise))
    if hypothesis.startswith("Now"):
        held = None if feelings else who_has(premise, said, names)
        return "neutral" if held is None else "entails" if held == name else "contradicts"
    assert hypothesis == f"{name} felt {said}." and said in ("happy", "sad")
    if name not in feelings:
        return "neutral"
    return "entails" if (feelings[name] in words.GLAD) == (said == "happy") else "contradicts"


@pytest.fixture(scope="module")
def entailment():
    return tales.make_entailment(432, seed=33)


def test_what_is_entailed_is_what_the_words_of_the_premise_say(entailment):
    for example in entailment:
        assert answer(example["text_a"], example["text_b"]) == example["label"], example


def test_every_kind_of_hypothesis_and_of_premise_has_its_labels_equally_often(entailment):
    groups: dict[tuple, list[str]] = {}
    for example in entailment:
        groups.setdefault(("hypothesis", example["text_b"].split()[0] == "Now"), []).append(example["label"])
        groups.setdefault(("premise", bool(re.search(FEELS, example["text_a"]))), []).append(example["label"])
    assert len(groups) == 4
    for labels in groups.values():
        assert {labels.count(label) for label in ("entails", "contradicts", "neutral")} == {len(labels) // 3}


def halves(examples: list[dict]) -> tuple[list[str], list[str], list[str]]:
    """First texts, second texts, labels."""
    return tuple([example[key] for example in examples] for key in ("text_a", "text_b", "label"))


@pytest.mark.parametrize("task, chance", [("next_sentence", 1 / 2), ("entailment", 1 / 3)])
def test_no_half_of_a_pair_gives_the_label_away(records, task, chance):
    train, test = halves(records(f"{task}_train")), halves(records(f"{task}_test"))
    for half in (0, 1):
        assert accuracy(train[half], train[2], test[half], test[2]) < chance + 0.08


def overlaps(first: list[str], second: list[str]) -> np.ndarray:
    """How many words of the second text are in the first, which share of them, and both lengths."""
    pairs = [(set(re.findall(r"\w+", a)), re.findall(r"\w+", b)) for a, b in zip(first, second)]
    shared = [sum(word in a for word in b) for a, b in pairs]
    return np.array([(n, n / len(b), len(a), len(b)) for n, (a, b) in zip(shared, pairs)], float)


@pytest.mark.parametrize("task, bound", [("next_sentence", 0.8), ("entailment", 0.5)])
def test_a_bag_of_words_of_both_with_their_overlap_does_not_find_the_label(records, task, bound):
    train, test = halves(records(f"{task}_train")), halves(records(f"{task}_test"))
    bags = [CountVectorizer().fit(train[half]) for half in (0, 1)]

    def features(data):
        return hstack([*(bags[i].transform(data[i]) for i in (0, 1)), csr_matrix(overlaps(*data[:2]))]).tocsr()

    model = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=1000))
    assert model.fit(features(train), train[2]).score(features(test), test[2]) < bound


def used(text: str) -> set[str]:
    """The words of the world's lists that a text uses."""
    text = re.sub("the old oak|opened the box|[Aa]ll (that )?day|[Tt]he next day|until morning", "", text)
    return WORDS & set(re.findall(r"\w+", text))


def test_a_paraphrase_uses_the_same_words_of_the_world_in_another_telling():
    examples = tales.make_paraphrases(300, seed=35)
    for example in examples:
        assert example["text_a"] != example["text_b"]
        assert used(example["text_a"]) == used(example["text_b"]), example
        assert set(example) == {"text_a", "text_b"}
    assert len({example["text_a"] for example in examples}) == 300


def test_scores_tell_how_much_is_the_same():
    examples = tales.make_paraphrases(300, seed=36, scored=True)
    scores = [example["score"] for example in examples]
    shares = []
    for example in examples:
        a, b = used(example["text_a"]), used(example["text_b"])
        shares.append(len(a & b) / len(a | b))
        assert 0 <= example["score"] <= 1
        assert example["score"] < 1 or a == b
        assert example["score"] > 0 or not (a & b) & {*words.PEOPLE, *words.NOUNS}
    assert spearmanr(scores, shares).statistic > 0.85
    assert 0.15 < scores.count(1.0) / 300 < 0.35
    assert sum(0.7 < score < 1 for score in scores) > 40
    assert sum(score < 0.3 for score in scores) > 40
