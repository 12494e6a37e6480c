"""In-context patterns: short lists whose rule differs from one to the next and shows in the examples alone.

Two kinds. A relation ("fox : den"): one of several fixed ones, which the first answer usually gives away. A game
("fox = north"): two groups of words, each with a label drawn anew for this document; a label can be known only once it
has been seen, so accuracy rises with the examples, and its ceiling is exact (`game_ceiling`). What is hidden (which
relation, whether it is a game) is drawn as it shows: each text with its probability given all that was said so far.
"""

import math
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
def _answers() -> Options:
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
        answer = teller.choose(answers, _answers(), why)
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
