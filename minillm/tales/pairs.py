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

from minillm.tales.documents import Tale, known, reading, tell
from minillm.tales.tasks import TOKEN, passage, pick, two_names

MOST_SENTENCES = 3  # sentences of the text that another one may follow


def make_next_sentence(n: int, seed: int) -> list[dict]:
    """Can the second text be the sentence after the first? {"text_a", "text_b", "label"}, "next" or "not_next".

    The first text is the beginning of a plot. A wrong sentence comes from another tale of the same plot with the same
    names, places and things, in which other things happen, or the same things in another place; and it is one with
    which no tale that begins as the first text can go on, as the reader of the tales confirms. Four examples in a row
    are two beginnings with two sentences: each is right once and wrong once, so neither text alone tells anything.
    """
    return list(islice(next_sentence_stream(seed), n))


def follows(opening: str, text: str, sentence: str) -> bool:
    """Whether some tale begins with these: the reader understands it all, and wants more."""
    begun = f"{opening} {text} {sentence}"
    return reading(begun).stopped == len(begun)


def next_sentence_stream(seed: int) -> Iterator[dict]:
    """The examples of `make_next_sentence` without end."""
    rng = random.Random(f"next sentence {seed}")
    while True:
        tale = tell(rng)
        pair = (tale, tell(rng, [tale.plot], known(tale)))
        cuts = [3 + int(rng.random() * min(len(tale.sentences) - 3, MOST_SENTENCES)) for tale in pair]
        first = [passage(tale, range(2, cut)) for tale, cut in zip(pair, cuts)]
        second = [tale.sentence(cut) for tale, cut in zip(pair, cuts)]
        openings = [passage(tale, (0, 1)) for tale in pair]
        crossed = [(openings[i], first[i], second[1 - i]) for i in (0, 1)]
        if not any(wrong in text or follows(opening, text, wrong) for opening, text, wrong in crossed):
            for i, j in ((0, 0), (1, 0), (1, 1), (0, 1)):
                yield {"text_a": first[i], "text_b": second[j], "label": "next" if i == j else "not_next"}


# Sentences after which it is told who has the thing, but not how anybody feels; by plot.
HELD = {"borrow": (3, 4), "lost": (4, 5), "promise": (3, 4), "quarrel": (3,), "race": (6,), "riddle": (6,)}
HELD |= {"storm": (4,), "trade": (3, 4)}
SKIPPED = {"race": (4, 5), "riddle": (4, 5)}  # sentences that such a premise can do without


def make_entailment(n: int, seed: int) -> list[dict]:
    """Does the first text say the second? {"text_a", "text_b", "label"}: "entails", "contradicts" or "neutral".

    The premise is some sentences of a tale. It tells either who has the thing in the end, or how the two friends feel.
    The hypothesis is about one or the other, so it is true, false, or neutral: the premise does not say, even if one
    could guess. Each hypothesis is as often one as another, and so is what is asked of each kind of premise; no half of
    a pair gives the label away.
    """
    return list(islice(entailment_stream(seed), n))


def entailment_stream(seed: int) -> Iterator[dict]:
    """The examples of `make_entailment` without end."""
    rng = random.Random(f"entailment {seed}")
    cells = list(
        product(("holder", "mood"), ("entails", "contradicts", "neutral"), ("hero", "friend"), ("glad", "sad"))
    )
    while True:
        for _, cell in sorted((rng.random(), cell) for cell in cells):
            example = None
            while example is None:
                example = _statement(rng, *cell)
            yield example


def _statement(rng: random.Random, told: str, label: str, role: str, mood: str) -> dict | None:
    """A premise that tells one thing and a hypothesis on it, or on the other; None when the tale drawn has no such."""
    tale = tell(rng, tuple(HELD) if told == "holder" else ("quarrel", "race"))
    name, last = two_names(tale)[role], len(tale.sentences) - 2
    if told == "holder":
        last = pick(rng, HELD[tale.plot])
        indices = [i for i in range(2, last + 1) if i not in SKIPPED.get(tale.plot, ())]
        true = holder(tale, last) == name
    else:
        indices = [2, *([3] if tale.plot == "race" else []), last]
        true = tale.final["feels"][name] == mood
    premise = passage(tale, indices)
    if told == "holder" and holder(tale, last) not in two_names(tale).values():
        return None
    if label != "neutral" and true != (label == "entails"):
        return None
    if (told == "holder") == (label != "neutral"):
        hypothesis = f"Now {name} had the {tale.roles['thing']['noun']}."
    else:
        hypothesis = f"{name} felt {'happy' if mood == 'glad' else 'sad'}."
    return {"text_a": premise, "text_b": hypothesis, "label": label}


def holder(tale: Tale, last: int) -> str:
    """Who has the thing of the tale after a sentence; "" when nobody has."""
    thing = "{adjective} {noun}".format(**tale.roles["thing"])
    having = [fact for fact in tale.facts if fact.object == thing and fact.sentence <= last]
    return having[-1].subject if having and having[-1].relation == "has" else ""


PART, STARTS = 2, range(4)  # sentences of a passage, and where it may start: what comes late is often the same
TRIES = 8  # tellings of one state, of which two are taken


def make_paraphrases(n: int, seed: int, scored: bool = False) -> list[dict]:
    """A passage of a tale and the same told again: {"text_a", "text_b"}; with `scored`, pairs of every likeness.

    Told again means the same state and the same turns of the plot in other forms. `scored` adds "score", the share of
    what either passage says that both say: the words of the world's lists in them, who does what, and what is so then.
    One pair in four is told again (1.0); one has a word or a turn of the plot changed, the most alike of several that
    are not the same; in two a share of the words is changed, from none to all.
    """
    return list(islice(paraphrase_stream(seed, scored), n))


class Part(NamedTuple):
    """A passage: its sentences, and what it says."""

    sentences: tuple[str, ...]
    says: frozenset[tuple]


def part(tale: Tale, start: int) -> Part:
    """PART sentences, and the names, kinds and things in them, what each brings about for whom, what is so then."""
    sentences = tuple(tale.sentence(i) for i in range(start, start + PART))
    used = set(TOKEN.findall(" ".join(sentences)))
    says = {(slot.split(".")[1], word) for slot, word in known(tale).items() if used.issuperset(TOKEN.findall(word))}
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


def paraphrase_stream(seed: int, scored: bool = False) -> Iterator[dict]:
    """The examples of `make_paraphrases` without end."""
    rng = random.Random(f"paraphrases {seed}")
    while True:
        kind = pick(rng, ("again", "near", "far", "far")) if scored else "again"
        found = _two_passages(rng, kind)
        if found is not None:
            example = {f"text_{half}": " ".join(found[i].sentences) for i, half in enumerate("ab")}
            yield example | ({"score": round(likeness(*found), 4)} if scored else {})


def _two_passages(rng: random.Random, kind: str) -> tuple[Part, Part] | None:
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
