"""Labelled tasks on one text: how a tale ends for its hero, and what its words name. The answers are known exactly.

Both are made so that words alone do not give the answer. Whether a tale is happy turns on whose feeling is told, or on
who did what; whether "Moss" is an animal turns on what the text says of Moss. The tasks on two texts are in `pairs`.
Like all of the world, a task is the same to the byte for a seed on every machine, and the first k examples of n are
the examples of k.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from minillm.tales import words
from minillm.tales.documents import Tale, tell

UNLIKE = ("quarrel", "race", "riddle", "storm", "trade")  # plots in which the friends may end with different feelings
ALIKE = ("borrow", "gift", "lost", "promise", "quarrel", "trade")  # those in which they may be both glad or both sad
TAGS = {"person": "PER", "animal": "ANIMAL", "place": "PLACE", "object": "OBJ", "food": "FOOD", "time": "TIME"}
NEW_NAMES = frozenset(words.PEOPLE[4::5] + words.PETS[4::5])  # kept for the texts that are not trained on
TOKEN = re.compile(r"\w+|[^\w\s]")


def pick(rng: random.Random, items: Sequence) -> Any:
    """One of the items, all equally likely; only `rng.random()` is used, which is the same on every machine."""
    return items[int(rng.random() * len(items))]


def passage(tale: Tale, indices: Iterable[int]) -> str:
    """Some sentences of a tale as one text."""
    return " ".join(tale.sentence(i) for i in indices)


def two_names(tale: Tale) -> dict[str, str]:
    """The names of the hero and the friend."""
    return {role: tale.roles[role]["name"] for role in ("hero", "friend")}


def make_sentiment(n: int, seed: int) -> list[dict]:
    """How does it end for the one whom the tale is about? {"text", "label"}, the label "happy" or "sad".

    The hero is the one who is named first. In four of five texts one friend is happy in the end and the other is sad.
    Two in three say how both feel, half of them the friend first, and not why; the third says only what happened, from
    which the feelings follow. Each way of telling each plot ends happily as often as sadly.
    """
    return list(islice(sentiment_stream(seed), n))


def sentiment_stream(seed: int) -> Iterator[dict]:
    """The examples of `make_sentiment` without end."""
    rng = random.Random(f"sentiment {seed}")
    wanted: dict[tuple, str] = defaultdict(lambda: "happy")
    while True:
        alike = rng.random() < 0.2
        told = pick(rng, ("hero first", "friend first", "not"))
        plots = ALIKE if alike else UNLIKE
        if told == "not":
            plots = [plot for plot in plots if plot != "quarrel"]  # there only the hero runs "home": a word tells
        while True:
            tale = tell(rng, plots)
            way = (alike, told, tale.plot)
            if (len(set(tale.final["feels"].values())) == 1) == alike and tale.ending == wanted[way]:
                break
        wanted[way] = "sad" if tale.ending == "happy" else "happy"
        feelings = len(tale.sentences) - 2
        text = passage(tale, (0, 1) if told != "not" else (0, *range(2, feelings)))
        if told != "not":
            sentence = tale.sentence(feelings)
            text += " " + (sentence if told == "hero first" else turned(sentence))
        yield {"text": text, "label": tale.ending}


def turned(feelings: str) -> str:
    """The sentence that tells how the two friends feel, the other one first.

    >>> turned("In the end Mira was sad, but Moss was glad.")
    'In the end Moss was glad, but Mira was sad.'
    """
    start, hero, joint, friend, too = re.fullmatch(r"(In the end )?(.+), (and|but) (.+?)( too)?\.", feelings).groups("")
    return f"{start}{friend}, {joint} {hero}{too}."


def make_tags(n: int, seed: int, new_names: bool = False) -> list[dict]:
    """What does each word name? {"tokens", "tags"}: words and punctuation, with B- and I- tags of TAGS, and O.

    The text is the sentence of a tale that presents the hero or the friend, and a later one. In half of those whose
    hero and friend are both "he" or both "she" the two have changed names, so Moss may be a farmer and Mira a fox.
    Nobody has one of NEW_NAMES unless `new_names`. TIME is the day or time of day on which something happens or is due
    ("One icy winter day", "on Friday"; not "the next day"), OBJ a thing with its adjective ("red kite"), FOOD a dish
    ("apple pie"), PLACE where somebody lives or something happens; the answer to a riddle is none of them.
    """
    return list(islice(tag_stream(seed, new_names), n))


def tag_stream(seed: int, new_names: bool = False) -> Iterator[dict]:
    """The examples of `make_tags` without end."""
    rng = random.Random(f"tags {seed}")
    while True:
        tale = tell(rng)
        hero, friend = two_names(tale).values()
        if not new_names and {hero, friend} & NEW_NAMES:
            continue
        tokens, tags = [], []
        later = 2 if rng.random() < 0.5 else 3 + int(rng.random() * (len(tale.sentences) - 4))
        for index in (pick(rng, (0, 1)), later):
            for word in TOKEN.finditer(tale.text, *tale.sentences[index]):
                tokens.append(word[0])
                tags.append(_tag(tale, word.start()))
        if (hero in words.SHE) == (friend in words.SHE) and rng.random() < 0.5:
            other = {hero: friend, friend: hero}
            tokens = [other.get(token, token) for token in tokens]
        yield {"tokens": tokens, "tags": tags}


def _tag(tale: Tale, at: int) -> str:
    """The tag of the word that starts at a character."""
    for entity in tale.entities:
        if entity.start <= at < entity.end:
            return ("B-" if at == entity.start else "I-") + TAGS[entity.kind]
    return "O"
