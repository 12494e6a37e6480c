"""Tasks on one text: each label is found again from the text alone, and a bag of words does not find it."""

import re

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from minillm import tales
from minillm.tales import words
from minillm.tales.tasks import NEW_NAMES, TAGS, turned

FEELS = r"(\w+) (?:felt|was) ({})\b".format("|".join(words.GLAD + words.SAD))


@pytest.fixture(scope="module")
def sentiment():
    return tales.make_sentiment(400, seed=21)


def name_in(text: str, names: list[str], other: str) -> str:
    """The one of these names that a text mentions."""
    return next((word for word in re.findall(r"\w+", text) if word in names), other)


def presented(hero: str, friend: str) -> str:
    """A second sentence of a tale."""
    return f"{'Her' if hero in words.SHE else 'His'} best friend was {friend}, a tall fox from the hill."


def moods_of_hero(text: str) -> set[str]:
    """How the hero may feel at the end of a tale that is told up to where the feelings would be."""
    opening, rest = text.split(". ", 1)
    hero, friend = re.search(r"called (\w+)", opening)[1], name_in(rest, words.PETS, "")
    begun = f"{opening}. {presented(hero, friend)} {rest}"
    endings = {
        f"{hero} felt glad, and {friend} felt glad too.": "happy",
        f"{hero} felt glad, but {friend} felt sad.": "happy",
        f"{hero} felt sad, and {friend} felt sad too.": "sad",
        f"{hero} felt sad, but {friend} felt glad.": "sad",
    }
    texts = {f"{begun} {ending}": mood for ending, mood in endings.items()}
    return {mood for text, mood in texts.items() if tales.reading(text).stopped == len(text)}


def test_the_sentiment_is_what_the_text_says_of_its_hero_or_what_alone_can_follow(sentiment):
    told = 0
    for example in sentiment:
        hero = re.search(r"called (\w+)", example["text"])[1]
        feelings = dict(re.findall(FEELS, example["text"]))
        if feelings:
            told += 1
            assert example["label"] == ("happy" if feelings[hero] in words.GLAD else "sad")
        else:
            assert moods_of_hero(example["text"]) == {example["label"]}
    assert 0.55 < told / len(sentiment) < 0.78


def test_the_friend_s_feelings_come_first_as_often_as_last_and_mostly_differ(sentiment):
    first = unlike = told = 0
    for example in sentiment:
        feelings = re.findall(FEELS, example["text"])
        if feelings:
            told += 1
            first += feelings[0][0] in words.PETS
            unlike += len({word in words.GLAD for _, word in feelings}) == 2
    assert abs(first / told - 0.5) < 0.1
    assert abs(unlike / told - 0.8) < 0.1
    assert turned("Mira felt sad, and Moss felt sorry too.") == "Moss felt sorry, and Mira felt sad too."


def accuracy(train: list[str], labels: list[str], test: list[str], truth: list[str], ngrams: int = 1) -> float:
    """Of a logistic regression on counts of words, or also of runs of words."""
    vectorizer = CountVectorizer(ngram_range=(1, ngrams))
    model = LogisticRegression(max_iter=500).fit(vectorizer.fit_transform(train), labels)
    return model.score(vectorizer.transform(test), truth)


@pytest.mark.parametrize("ngrams", [1, 2])
def test_a_bag_of_words_does_not_find_the_sentiment(records, ngrams):
    train, test = records("sentiment_train"), records("sentiment_test")
    texts, labels = zip(*((example["text"], example["label"]) for example in train))
    assert abs(labels.count("happy") / len(labels) - 0.5) < 0.01
    unseen, truth = zip(*((example["text"], example["label"]) for example in test))
    assert accuracy(texts, labels, unseen, truth, ngrams) < 0.72


def answer(tokens: list[str], i: int) -> bool:
    """Whether a word is the answer to a riddle, or the box or string of a fixed phrase."""
    sentence = " ".join(tokens)
    guess = re.search(rf"(it (is )?the|opened the) {tokens[i]}\b", sentence)
    return bool(guess) and len(re.findall(rf"\b{tokens[i]}\b", sentence[: guess.end()])) == tokens[: i + 1].count(
        tokens[i]
    )


def slow_tags(tokens: list[str]) -> list[str]:
    """Tags from word lists and neighbours, with no knowledge of the grammar's state."""
    persons = {tokens[i + 1] for i, token in enumerate(tokens) if token == "called" and "friend" not in tokens[:i]}
    pets = {next(token for token in tokens if token in words.PEOPLE + words.PETS)} - persons
    tags = []
    for i, token in enumerate(tokens):
        before, after = tokens[i - 1] if i else "", tokens[i + 1] if i + 1 < len(tokens) else ""
        tag = "O"
        if token in ("Mr", "Mrs"):
            tag = "B-PER"
        elif before in ("Mr", "Mrs"):
            tag = "I-PER"
        elif token in words.PEOPLE + words.PETS:
            tag = "B-PER" if token in persons or (pets and token not in pets) else "B-ANIMAL"
        elif token in words.ADJECTIVES and after in words.NOUNS + words.CLOTHES:
            tag = "B-OBJ"
        elif token in words.NOUNS + words.CLOTHES and not answer(tokens, i):
            tag = "I-OBJ" if before in words.ADJECTIVES else "B-OBJ"
        elif token in words.INGREDIENTS and after in words.DISHES:
            tag = "B-FOOD"
        elif token in words.DISHES:
            tag = "I-FOOD" if before in words.INGREDIENTS else "B-FOOD"
        elif token in words.DAYS or (
            token in words.TIMES and any(before in weather.split() for weather in words.WEATHERS)
        ):
            tag = "B-TIME"
        elif token in words.HOMES + words.SPOTS + words.PLACES and before in ("a", "an", "the"):
            tag = "B-PLACE"
        tags.append(tag)
    return tags


def test_tags_are_what_word_lists_and_neighbours_say():
    kinds = set()
    for example in tales.make_tags(400, seed=22, new_names=True):
        assert slow_tags(example["tokens"]) == example["tags"], list(zip(*example.values()))
        kinds |= set(example["tags"])
    assert kinds == {"O"} | {f"B-{tag}" for tag in TAGS.values()} | {"I-PER", "I-OBJ", "I-FOOD"}


def test_training_names_are_not_the_new_ones_and_half_of_the_names_that_can_be_are_changed():
    known, all_names = (tales.make_tags(400, seed=23, new_names=new) for new in (False, True))
    assert not any(NEW_NAMES & set(example["tokens"]) for example in known)
    assert 0.2 < sum(bool(NEW_NAMES & set(example["tokens"])) for example in all_names) / 400 < 0.5
    named = [(token, tag) for example in known for token, tag in zip(example["tokens"], example["tags"])]
    pets = [tag for token, tag in named if token in words.PETS and tag in ("B-PER", "B-ANIMAL")]
    assert 0.15 < pets.count("B-PER") / len(pets) < 0.35
