"""Labelled tasks on two texts: does one follow the other, does it say so, does it say the same? Answers are exact.

They follow from the state of the world, and no half of a pair gives them away. What follows (`make_next_sentence`): two
tales with the same names and things, told apart, exchange their sentences, so each text is right once and wrong once.
What holds (`make_entailment`): each question is put where the premise answers it one way, the other, or not at all.
What means the same (`make_paraphrases`): the same state told again in other words.
"""

import random
from collections.abc import Iterator
from itertools import combinations, islice, product
from typing import NamedTuple

from minillm.tales import words
from minillm.tales.documents import Tale, known, reading, tell
from minillm.tales.tasks import WORD, names, passage, pick

LONGEST = 4  # sentences of the text that another one may follow


def make_next_sentence(n: int, seed: int) -> list[dict]:
    """Can the second text be the sentence after the first? {"text_a", "text_b", "label"}, "next" or "not_next".

    The first text is the beginning of a plot. A wrong sentence comes from another tale of the same plot with the same
    names, places and things, in which other things happen, or the same things in another place; and it is one with
    which no tale that begins as the first text can go on, as the reader of the tales confirms. Four examples in a row
    are two beginnings with two sentences: each is right once and wrong once, so neither text alone tells anything.
    """
    return list(islice(_next_sentence(random.Random(f"next sentence {seed}")), n))


def follows(opening: str, text: str, sentence: str) -> bool:
    """Whether some tale begins with these: the reader understands it all, and wants more."""
    begun = f"{opening} {text} {sentence}"
    return reading(begun).stopped == len(begun)


def _next_sentence(rng: random.Random) -> Iterator[dict]:
    while True:
        tale = tell(rng)
        pair = (tale, tell(rng, [tale.plot], known(tale)))
        cuts = [3 + int(rng.random() * min(len(tale.sentences) - 3, LONGEST)) for tale in pair]
        first = [passage(tale, range(2, cut)) for tale, cut in zip(pair, cuts)]
        second = [tale.sentence(cut) for tale, cut in zip(pair, cuts)]
        openings = [passage(tale, (0, 1)) for tale in pair]
        crossed = [(openings[i], first[i], second[1 - i]) for i in (0, 1)]
        if not any(wrong in text or follows(opening, text, wrong) for opening, text, wrong in crossed):
            for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)):
                yield {"text_a": first[i], "text_b": second[j], "label": "next" if i == j else "not_next"}


TOPICS = (
    "origin",
    "holder",
    "mood",
)  # what a hypothesis can be about: "Moss was a fox", "Now Moss had the kite", "Moss felt sad"
# Sentences after which somebody has the thing and not yet everybody's mood is settled, by plot.
UNSETTLED = {"borrow": (2, 3), "gift": (2,), "lost": (4,), "promise": (3,), "race": (6,), "riddle": (6,)}
UNSETTLED |= {"storm": (4,), "trade": (2, 3)}
# Outcomes after which it is not plain whose the thing is: they share it, or it is spoiled, or there are two.
VAGUE = {"double", "help", "made_good", "made_up", "share", "spoiled"}
PLOTS_FOR = {"origin": (*UNSETTLED, "quarrel"), "holder": ("quarrel", "race"), "mood": tuple(UNSETTLED)}
ORIGINS = {  # for a role: what of it is stated, how, and what could stand there
    "hero": (("kind", "{} was {}.", words.TRADES), ("home", "{} lived in the {}.", words.HOMES)),
    "friend": (("kind", "{} was {}.", words.ANIMALS), ("spot", "{} lived by the {}.", words.SPOTS)),
}


def make_entailment(n: int, seed: int) -> list[dict]:
    """Does the first text say the second? {"text_a", "text_b", "label"}: "entails", "contradicts" or "neutral".

    A hypothesis says what someone is or where someone lives, who has the thing now, or how someone feels. A premise is
    some sentences of a tale; it settles two of these topics and leaves out the third. Each topic is asked as often of
    each kind of premise, so half of what is not neutral is true, and no half of a pair gives the label away. Neutral is
    what the premise does not say, and the world could still decide either way.
    """
    return list(islice(_entailment(random.Random(f"entailment {seed}")), n))


def _entailment(rng: random.Random) -> Iterator[dict]:
    cells = list(product(TOPICS, TOPICS, (True, False), ("hero", "friend"), (0, 1)))
    while True:
        for *cell, _ in sorted(((*cell, rng.random()) for cell in cells), key=lambda cell: cell[-1]):
            example = None
            while example is None:
                example = _question(rng, *cell)
            yield example


def _question(rng: random.Random, left_out: str, topic: str, true: bool, role: str, form: int) -> dict | None:
    """A premise that leaves out one topic and a hypothesis on one; None when the tale drawn has no such pair."""
    tale = tell(rng, PLOTS_FOR[left_out])
    indices = _premise(rng, tale, left_out)
    if indices is None:
        return None
    truth = None if topic == left_out else true
    premise = passage(tale, indices)
    if topic == "origin":
        hypothesis = _origin(rng, tale, role, form, truth, premise)
    elif topic == "holder":
        hypothesis = _holder(tale, role, truth, indices[-1])
    else:
        hypothesis = _mood(tale, role, form, truth, indices[-1])
    label = {True: "entails", False: "contradicts", None: "neutral"}[truth]
    return hypothesis and {"text_a": premise, "text_b": hypothesis, "label": label}


def _premise(rng: random.Random, tale: Tale, left_out: str) -> list[int] | None:
    """The sentences of a premise that leaves out one topic and settles the others, if this tale has one."""
    feelings = len(tale.sentences) - 2
    race = tale.plot == "race"
    if left_out == "holder":  # both feel alike, so that this does not tell who won the prize or took the thing
        alike = len(set(tale.final["feels"].values())) == 1
        return [0, 1, 2, *([3] if race else []), feelings] if alike else None
    first, last = (0, pick(rng, UNSETTLED[tale.plot])) if left_out == "mood" else (2, feelings)
    if holder(tale, last) not in names(tale).values() or (left_out == "origin" and VAGUE & set(tale.outcome)):
        return None
    return [i for i in range(first, last + 1) if not (race and i in (4, 5))]  # who led is not needed


def holder(tale: Tale, last: int) -> str:
    """Who has the thing of the tale after a sentence; "" when nobody has."""
    thing = "{adjective} {noun}".format(**tale.roles["thing"])
    having = [fact for fact in tale.facts if fact.object == thing and fact.sentence <= last]
    return having[-1].subject if having and having[-1].relation == "has" else ""


def _origin(rng: random.Random, tale: Tale, role: str, form: int, truth: bool | None, premise: str) -> str | None:
    aspect, statement, others = ORIGINS[role][form]
    value = tale.roles[role][aspect]
    if truth is None and value in premise:
        return None
    if truth is False:
        value = pick(rng, [other for other in others if other not in premise])
    return statement.format(names(tale)[role], words.article(value) if aspect == "kind" else value)


def _holder(tale: Tale, role: str, truth: bool | None, last: int) -> str | None:
    name = names(tale)[role]
    if truth is not None and (holder(tale, last) == name) != truth:
        return None
    return f"Now {name} had the {tale.roles['thing']['noun']}."


def _mood(tale: Tale, role: str, form: int, truth: bool | None, last: int) -> str | None:
    name, mood = names(tale)[role], ("glad", "sad")[form]
    if truth is None and not _may_be_either(tale, name, last):
        return None
    if truth is not None and (tale.final["feels"][name] == mood) != truth:
        return None
    return f"{name} felt {'happy' if mood == 'glad' else 'sad'}."


def _may_be_either(tale: Tale, name: str, last: int) -> bool:
    """Whether someone has no mood yet after a sentence, and may still become glad or sad: the winner of a race will be
    glad, who answers a riddle or is not guessed too, who opens or shuts a door in a storm too, who finds a lost thing
    too."""
    if any(fact.relation == "mood" and fact.subject == name and fact.sentence <= last for fact in tale.facts):
        return False
    has = holder(tale, last) == name
    return {"race": not has, "riddle": not has, "storm": has, "lost": False}.get(tale.plot, True)


PART, STARTS = 2, range(4)  # sentences of a passage, and where it may start: what comes late is often the same
TRIES = 8  # tellings of one state, of which two are taken


def make_paraphrases(n: int, seed: int, scored: bool = False) -> list[dict]:
    """A passage of a tale and the same told again: {"text_a", "text_b"}; with `scored`, pairs of every likeness.

    Told again means the same state and the same turns of the plot in other forms. `scored` adds "score", the share of
    what either passage says that both say: the words of the world's lists in them, who does what, and what is so then.
    One pair in four is told again (1.0); one has a word or a turn of the plot changed, the most alike of several that
    are not the same; in two a share of the words is changed, from none to all.
    """
    return list(islice(_paraphrases(random.Random(f"paraphrases {seed}"), scored), n))


class Part(NamedTuple):
    """A passage: its sentences, and what it says."""

    sentences: tuple[str, ...]
    says: frozenset[tuple]


def part(tale: Tale, start: int) -> Part:
    """PART sentences, and the names, kinds and things in them, what each brings about for whom, what is so then."""
    sentences = tuple(tale.sentence(i) for i in range(start, start + PART))
    used = set(WORD.findall(" ".join(sentences)))
    says = {(slot.split(".")[1], word) for slot, word in known(tale).items() if used.issuperset(WORD.findall(word))}
    for i in range(start, start + PART):
        first, end = tale.sentences[i]
        named = [
            entity.text
            for entity in tale.entities
            if first <= entity.start < end and entity.kind in ("person", "animal")
        ]
        says.add((i - start, tale.labels[i], *dict.fromkeys(named)))
    says |= {fact[:3] for fact in tale.facts if start <= fact.sentence < start + PART and fact.relation != "feels"}
    return Part(sentences, frozenset(says))


def likeness(first: Part, second: Part) -> float:
    """The share of what either says that both say."""
    return len(first.says & second.says) / len(first.says | second.says)


def _paraphrases(rng: random.Random, scored: bool) -> Iterator[dict]:
    while True:
        kind = pick(rng, ("again", "near", "far", "far")) if scored else "again"
        found = _pair(rng, kind)
        if found is not None:
            example = {f"text_{half}": " ".join(found[i].sentences) for i, half in enumerate("ab")}
            yield example | ({"score": round(likeness(*found), 4)} if scored else {})


def _pair(rng: random.Random, kind: str) -> tuple[Part, Part] | None:
    """Two passages that are alike in one of the three ways, or None when the tales drawn have none."""
    tale = tell(rng)
    start = pick(rng, STARTS)
    kept = rng.random() if kind == "far" else 1.0
    given = {slot: word for slot, word in known(tale).items() if rng.random() < kept}
    if kind == "near":
        del given[pick(rng, list(given))]
    others = [tell(rng, [tale.plot], given) for _ in range(1 if kind == "far" else TRIES)]
    first, *parts = (part(other, start) for other in (tale, *others))
    if kind == "again":
        pairs = [(one, two) for one, two in combinations([first, *parts], 2) if one.says == two.says]
        new = [sum(a != b for a, b in zip(one.sentences, two.sentences)) for one, two in pairs]
        return pairs[new.index(max(new))] if any(new) else None
    unlike = [(likeness(first, other), first, other) for other in parts if first.says != other.says]
    return max(unlike, key=lambda pair: pair[0])[1:] if unlike else None
