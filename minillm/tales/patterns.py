"""In-context patterns: short lists whose rule differs from one to the next and shows in the examples alone.

Two kinds. A relation ("fox : den"): one of several fixed ones, which the first answer usually gives away. A game
("fox = north"): two groups of words, each with a label drawn anew for this document; a label can be known only once it
has been seen, so accuracy rises with the examples, and its ceiling is exact (`game_ceiling`). What is hidden (which
relation, whether it is a game) is drawn as it shows: each text with its probability given all that was said so far.
"""

import math
import random
from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from functools import cache

from minillm.tales.relations import GROUPS, LABELS, RELATIONS
from minillm.tales.teller import END, Detour, Options, Teller, evenly

LINES = range(4, 13)  # how many lines a document may have, all equally likely
GAME = Fraction(2, 5)  # the share of games among the patterns


def spread(groups: Iterable[tuple[Fraction, Collection[str]]], after: str = "") -> Options:
    """A draw of a group by its share, then of one of its texts evenly; a text may be in several groups.

    >>> spread([(Fraction(1, 2), ["fox"]), (Fraction(1, 2), ["fox", "owl"])]).items()
    [(3, 'fox', 'fox'), (1, 'owl', 'owl')]
    """
    groups = [(share / len(texts), texts) for share, texts in groups if share]
    scale = math.lcm(*(share.denominator for share, _ in groups))
    weights: dict[str, int] = {}
    for share, texts in groups:
        for text in texts:
            weights[text] = weights.get(text, 0) + int(share * scale)
    return Options((weight, text + after, text) for text, weight in weights.items())


@cache
def _first_words() -> Options:
    relations = [((1 - GAME) / len(RELATIONS), relation) for relation in RELATIONS.values()]
    return spread([*relations, *((GAME / len(GROUPS), group) for group in GROUPS.values())], " ")


@cache
def _marks(word: str) -> Options:
    """The mark behind the first word shows whether it is a relation or a game."""
    relation = sum(1 / Fraction(len(relation)) for relation in RELATIONS.values() if word in relation)
    game = sum(1 / Fraction(len(group)) for group in GROUPS.values() if word in group)
    relation, game = relation * (1 - GAME) / len(RELATIONS), game * GAME / len(GROUPS)
    both = relation + game
    return spread([(relation / both, [": "]), (game / both, ["= "])])


@cache
def _all_answers() -> Options:
    """Every answer there is, each a detour to None: a false one tells a judge nothing about the relation."""
    answers = sorted({answer for relation in RELATIONS.values() for answer in relation.values()})
    return Options((1, answer, Detour(None)) for answer in answers)


def tell_pattern(teller: Teller) -> str:
    """A document of either kind; returns "relation" or "game"."""
    teller.sentence = 1
    word = teller.choose(_first_words())
    if teller.choose(_marks(word)) == ": ":
        _relation(teller, word)
        return "relation"
    _game(teller, word)
    return "game"


def _more(teller: Teller, line: int) -> bool:
    """Whether another line follows line number `line`, so that every length in LINES is equally likely."""
    teller.sentence = line + 1
    if line < LINES[0]:
        teller.say("\n")
        return True
    left = LINES[-1] - line
    return teller.choose(Options([*([(left, "\n", True)] if left else []), (1, END, False)]))


def _update(belief: dict[str, Fraction], likelihood: Callable[[str], Fraction]) -> dict[str, Fraction]:
    """Bayes' rule: the belief in each relation after something that it makes as likely as `likelihood` says."""
    if len(belief) == 1:  # nothing left to learn
        return belief
    joint = {name: share * likelihood(name) for name, share in belief.items()}
    total = sum(joint.values())
    return {name: share / total for name, share in joint.items() if share}


def _relation(teller: Teller, word: str) -> None:
    """Lines of one relation; `belief` is the probability of each, given what was said."""
    belief = _update(
        {name: Fraction(1, len(RELATIONS)) for name in RELATIONS},
        lambda name: Fraction(word in RELATIONS[name], len(RELATIONS[name])),
    )
    rest = {name: list(RELATIONS[name]) for name in belief}
    line = 1
    while True:
        answers = spread((share, [RELATIONS[name][word]]) for name, share in belief.items())
        why = lambda found, word=word, right=answers.texts: f"{word} goes with {' or '.join(right)} here, not {found}"  # noqa: E731
        answer = teller.choose(answers, _all_answers(), why)
        if answer is not None:
            belief = _update(belief, lambda name, word=word, answer=answer: Fraction(RELATIONS[name][word] == answer))
        if not _more(teller, line):
            return
        line += 1
        for name in belief:
            rest[name].remove(word)
        word = teller.choose(spread(((share, rest[name]) for name, share in belief.items()), " "))
        belief = _update(belief, lambda name, word=word: Fraction(word in rest[name], len(rest[name])))
        teller.say(": ")


def _game(teller: Teller, word: str) -> None:
    """Lines of a game: each of two groups with equal chance, a word not used yet, and the label of its group."""
    rest = {name: list(group) for name, group in GROUPS.items()}
    labels: dict[str, str] = {}
    line = 1
    while True:
        group = next(name for name, group in GROUPS.items() if word in group)
        rest[group].remove(word)
        if group in labels:
            why = lambda found, word=word, label=labels[group]: f"{word} is {label} in this game, not {found}"  # noqa: E731
            teller.recall(labels[group], evenly(LABELS), why)
        else:
            labels[group] = teller.choose(evenly(LABELS).without(*labels.values()))
        if not _more(teller, line):
            return
        line += 1
        new = [] if len(labels) == 2 else [name for name in GROUPS if name not in labels]
        shares = [(Fraction(1, 2), rest[name]) for name in labels]
        shares += [(Fraction(1, 2 * len(new)), rest[name]) for name in new]
        word = teller.choose(spread(shares, " "))
        teller.say("= ")


def game_ceiling(shots: int) -> float:
    """The best possible accuracy in naming a label after `shots` lines of a game.

    The group of the asked word has not been seen with probability 1/2 ** shots; then one can only guess, among the
    labels not yet taken.

    >>> [round(game_ceiling(shots), 3) for shots in (0, 1, 4)]
    [0.083, 0.545, 0.943]
    """
    unseen = 0.5**shots
    return 1 - unseen + unseen / (len(LABELS) - (shots > 0))


def make_pattern_questions(n: int, seed: int, shots: int, kind: str) -> list[dict]:
    """Lines of which the last lacks its answer.

    A seed gives the same n queries at every number of shots, and the examples of fewer shots begin those of more. Words
    and answers are distributed as in a document.

    Args:
        kind: "game" or "relation"
    Returns: records {"examples", "query", "answer", "candidates", "ceiling"}: "examples" are `shots` pairs (word,
        answer), "candidates" all answers that such documents have, and "ceiling" is the probability of the likeliest
        one given the examples: 1 where only one is possible. Its mean is the best accuracy that one can have.
    Raises: ValueError for more shots than a document has room for, and for another kind.
    """
    if kind not in ("game", "relation") or not 0 <= shots < LINES[-1]:
        raise ValueError(
            f"a pattern question of kind {kind!r} with {shots} shots: the kind must be 'game' or 'relation' and the "
            f"shots 0 to {LINES[-1] - 1}"
        )
    lines, chances = (_game_lines, _game_chances) if kind == "game" else (_relation_lines, _relation_chances)
    candidates = list(LABELS) if kind == "game" else sorted({a for r in RELATIONS.values() for a in r.values()})
    rng = random.Random(f"{kind} questions {seed}")
    questions = []
    for _ in range(n):
        # The lines are exchangeable: each is as likely at any place, so the first of them may as well be asked last.
        (query, answer), *rest = lines(rng)
        question = {"examples": rest[:shots], "query": query, "answer": answer, "candidates": candidates}
        chance = chances(rest[:shots], query)
        questions.append(question | {"ceiling": float(max(chance.values()) / sum(chance.values()))})
    return questions


def _shuffled(rng: random.Random, items: Iterable[str]) -> list[str]:
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def _relation_lines(rng: random.Random) -> list[tuple[str, str]]:
    """As many lines of a relation as the longest document has."""
    relation = RELATIONS[_shuffled(rng, RELATIONS)[0]]
    return [(word, relation[word]) for word in _shuffled(rng, relation)[: LINES[-1]]]


def _game_lines(rng: random.Random) -> list[tuple[str, str]]:
    """As many lines of a game as the longest document has."""
    pair, labels = _shuffled(rng, GROUPS)[:2], _shuffled(rng, LABELS)[:2]
    words = [_shuffled(rng, GROUPS[name]) for name in pair]
    sides = [int(rng.random() * 2) for _ in range(LINES[-1])]
    return [(words[side].pop(), labels[side]) for side in sides]


def _relation_chances(examples: list[tuple[str, str]], query: str) -> dict[str, Fraction]:
    """How likely each possible answer is, up to a common factor: a mixture over the relations that fit."""
    chances: dict[str, Fraction] = {}
    for relation in RELATIONS.values():
        if query in relation and all(relation.get(word) == answer for word, answer in examples):
            share = Fraction(1, math.perm(len(relation), len(examples) + 1))
            chances[relation[query]] = chances.get(relation[query], 0) + share
    return chances


def _game_chances(examples: list[tuple[str, str]], query: str) -> dict[str, Fraction]:
    """The same of a game: the label of the word's group, or any that is not taken."""
    members = next(group for group in GROUPS.values() if query in group)
    known = {label for word, label in examples if word in members}
    return dict.fromkeys(known or set(LABELS) - {label for _, label in examples}, Fraction(1))
