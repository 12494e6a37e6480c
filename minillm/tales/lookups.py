"""Questions about one tale of a collection, which names its two friends: to be answered with the right tale at hand.

In a collection no two tales have the same hero and friend, so each question belongs to one tale, and a closed book
knows nothing of it: the tales are new. A question may also be about two friends of whom no tale is there, or about
what no tale says; then REFUSAL is the answer. `planted` makes a tale that contradicts another, to see whom a model
believes: its memory, or what it is shown.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from minillm.tales import words
from minillm.tales.documents import Tale, tell
from minillm.tales.instructions import MOST_CHARACTERS, MOST_TURNS, REFUSAL, UNTOLD, mood
from minillm.tales.tasks import passage, pick

UNKNOWN = 0.2  # share of the questions that nothing answers; half of them are about friends whom no tale has

ASKED: dict[str, tuple[str, Callable[[Tale], str]]] = {
    "home": ("Where did {hero} live?", lambda t: f"in the {t.roles['hero']['home']}"),
    "kind": ("What was {hero}?", lambda t: words.article(t.roles["hero"]["kind"])),
    "thing": ("What thing was it about?", lambda t: words.article(t.roles["thing"]["noun"])),
    "season": ("In which season did it happen?", lambda t: t.roles["when"]["weather"].split()[1]),
    "weather": ("How was the weather?", lambda t: t.roles["when"]["weather"].split()[0]),
    "time": ("At what time of the day did it happen?", lambda t: t.roles["when"]["time"]),
    "feeling": (
        "How did {hero} feel in the end, happy or sad? Say one word.",
        lambda t: mood(t, t.roles["hero"]["name"]),
    ),
}


BEGUN = ("home", "kind", "season", "weather", "time")  # what the first three sentences say


@dataclass(frozen=True)
class Lookup:
    """A question, its answer, the place of its tale in the collection (None: nothing answers it), and its kind."""

    question: str
    answer: str
    document: int | None
    kind: str


def make_collection(n: int, seed: int) -> list[Tale]:
    """`n` tales about different pairs of friends.

    Raises: ValueError for more than there are pairs.
    """
    most = len(words.PEOPLE) * len(words.PETS)
    if not 0 <= n <= most:
        raise ValueError(f"n is {n}: there are {most} pairs of friends, so as many tales at most")
    rng, found = random.Random(f"collection {seed}"), {}
    while len(found) < n:
        tale = tell(rng)
        found.setdefault(_pair(tale), tale)
    return list(found.values())


def _pair(tale: Tale) -> tuple[str, str]:
    return tale.roles["hero"]["name"], tale.roles["friend"]["name"]


def _ask(pair: tuple[str, str], question: str) -> str:
    return f"{pair[0]} and {pair[1]}: " + question.format(hero=pair[0], friend=pair[1])


def question_about_pair(rng: random.Random, tale: Tale, kinds: Sequence[str] = tuple(ASKED)) -> tuple[str, str, str]:
    """A question that a tale answers, which names its two friends; its answer; its kind."""
    kind = pick(rng, [kind for kind in kinds if kind != "thing" or "thing" in tale.roles])
    question, answer = ASKED[kind]
    return _ask(_pair(tale), question), answer(tale), kind


def questions_about(collection: Sequence[Tale]) -> list[dict[str, str]]:
    """Of each tale the questions that it answers, and their answers: what a closed book has to know by heart."""
    found = []
    for tale in collection:
        kinds = [kind for kind in ASKED if _has(kind, tale)]
        found.append({_ask(_pair(tale), ASKED[kind][0]): ASKED[kind][1](tale) for kind in kinds})
    return found


def make_lookups(collection: Sequence[Tale], n: int, seed: int, unknown: float = UNKNOWN) -> list[Lookup]:
    """`n` questions about a collection; a share `unknown` of them is answered by nothing in it."""
    rng, here = random.Random(f"lookups {seed}"), {_pair(tale) for tale in collection}
    others = [pair for hero in words.PEOPLE for friend in words.PETS if (pair := (hero, friend)) not in here]
    found = []
    for _ in range(n):
        place = int(rng.random() * len(collection))
        if rng.random() >= unknown:
            question, answer, kind = question_about_pair(rng, collection[place])
            found.append(Lookup(question, answer, place, kind))
        elif others and rng.random() < 0.5:
            question, _ = ASKED[pick(rng, list(ASKED))]
            found.append(Lookup(_ask(pick(rng, others), question), REFUSAL, None, "nobody"))
        else:
            pair = _pair(collection[place])
            question = pick(rng, UNTOLD).format(name=pick(rng, pair))
            found.append(Lookup(_ask(pair, question), REFUSAL, None, "untold"))
    return found


def with_document(document: str, question: str) -> str:
    """A question as an assistant is asked it that is shown a document: as in the other instructions, below the text."""
    return f"{document}\n\n{question}"


def make_lookup_instructions(n: int, seed: int) -> list[dict]:
    """Conversations for `sft`: a tale, or its first sentences, and questions that name two friends, theirs or others'.

    Of the questions a third are about two other friends, one of them perhaps the same, so a model has to look before it
    answers: there REFUSAL is right, and where no tale says it. Each {"messages", "kinds"}.
    """
    return list(islice(lookup_stream(seed), n))


def lookup_stream(seed: int) -> Iterator[dict]:
    """The conversations of `make_lookup_instructions` without end."""
    rng = random.Random(f"lookup instructions {seed}")
    while True:
        tale = tell(rng)
        begun = rng.random() < 0.5
        text, kinds = (passage(tale, range(3)), BEGUN) if begun else (tale.text, tuple(ASKED))
        messages, said, length = [], [], len(text)
        for _ in range(MOST_TURNS):
            question, answer, kind = _turn(rng, tale, kinds)
            length += len(question) + len(answer)
            if length > MOST_CHARACTERS:
                break
            messages += [
                {"role": "user", "content": question if messages else with_document(text, question)},
                {"role": "assistant", "content": answer},
            ]
            said.append(kind)
        if said:
            yield {"messages": messages, "kinds": said}


def _turn(rng: random.Random, tale: Tale, kinds: Sequence[str]) -> tuple[str, str, str]:
    """A question to someone who is shown a tale, the answer, and its kind."""
    question, answer, kind = question_about_pair(rng, tale, kinds)
    chance, pair = rng.random(), _pair(tale)
    if chance < 1 / 3:
        other = pair
        while other == pair:
            other = pick(rng, (pair[0], pick(rng, words.PEOPLE))), pick(rng, (pair[1], pick(rng, words.PETS)))
        return _ask(other, ASKED[kind][0]), REFUSAL, "nobody"
    if chance < 1 / 2:
        return _ask(pair, pick(rng, UNTOLD).format(name=pick(rng, pair))), REFUSAL, "untold"
    return question, answer, kind


def make_question_pairs(n: int, seed: int) -> list[dict]:
    """Questions and the tales that answer them, {"text_a", "text_b"}, for `encode`: what a finder learns from."""
    rng = random.Random(f"question pairs {seed}")
    found = []
    for _ in range(n):
        tale = tell(rng)
        found.append({"text_a": question_about_pair(rng, tale)[0], "text_b": tale.text})
    return found


def planted(tale: Tale, seed: int) -> Tale:
    """A tale of the same two friends with everything else drawn anew: what it says of them is false of the other."""
    hero, friend = _pair(tale)
    rng = random.Random(f"planted {seed}")
    while True:
        other = tell(rng, known={"hero.name": hero, "friend.name": friend})
        if all(ask(other) != ask(tale) for kind, (_, ask) in ASKED.items() if _has(kind, other) and _has(kind, tale)):
            return other


def _has(kind: str, tale: Tale) -> bool:
    return kind != "thing" or "thing" in tale.roles
