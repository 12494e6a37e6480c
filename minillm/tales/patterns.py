"""In-context patterns: short lists whose rule differs from one to the next and shows in the examples alone.

Two kinds. A relation ("fox : den"): one of several fixed ones, which the first answer usually gives away. A game
("fox = north"): two groups of words, each with a label drawn anew for this document; a label can be known only once it
has been seen, so accuracy rises with the examples, and its ceiling is exact (`game_ceiling`). What is hidden (which
relation, whether it is a game) is drawn as it shows: each text with its probability given all that was said so far.
"""

import math
from fractions import Fraction

from minillm.tales.relations import GROUPS, LABELS, RELATIONS
from minillm.tales.teller import END, Options, Teller, evenly

LINES = range(4, 13)  # how many lines a document may have, all equally likely
GAME = Fraction(2, 5)  # the share of games among the patterns


def exact(weights: dict[str, Fraction]) -> Options:
    """Options with the given probabilities, as integer weights."""
    scale = math.lcm(*(weight.denominator for weight in weights.values()))
    return Options((int(weight * scale), text, text) for text, weight in weights.items() if weight)


def tell_pattern(teller: Teller) -> str:
    """A document of either kind; returns "relation" or "game"."""
    belief = {name: (1 - GAME) / len(RELATIONS) for name in RELATIONS}
    chances: dict[str, Fraction] = {}
    for name, share in belief.items():
        for word in RELATIONS[name]:
            chances[word] = chances.get(word, 0) + share / len(RELATIONS[name])
    for group in GROUPS.values():
        for word in group:
            chances[word] = chances.get(word, 0) + GAME / len(GROUPS) / len(group)
    first = teller.choose(exact({f"{word} ": chance for word, chance in chances.items()})).strip()
    belief = {name: share / len(RELATIONS[name]) for name, share in belief.items() if first in RELATIONS[name]}
    in_relation = sum(belief.values(), Fraction(0))
    kinds = {": ": in_relation / chances[first], "= ": 1 - in_relation / chances[first]}
    kind = teller.choose(exact(kinds))
    if kind == ": ":
        _relation(teller, first, {name: share / in_relation for name, share in belief.items()})
        return "relation"
    _game(teller, first)
    return "game"


def _more(teller: Teller, line: int) -> bool:
    """Whether another line follows line number `line`, so that every length in LINES is equally likely."""
    if line < LINES[0]:
        teller.say("\n")
        return True
    left = LINES[-1] - line
    return teller.choose(Options([*([(left, "\n", True)] if left else []), (1, END, False)]))


def _relation(teller: Teller, word: str, belief: dict[str, Fraction]) -> None:
    """Lines of one relation; `belief` is the probability of each, given what was said."""
    used, line = [word], 1
    everything = evenly(sorted({answer for name in RELATIONS for answer in RELATIONS[name].values()}))
    while True:
        answers: dict[str, Fraction] = {}
        for name, share in belief.items():
            answers[RELATIONS[name][word]] = answers.get(RELATIONS[name][word], 0) + share
        why = lambda found, word=word, answers=answers: f"{word} goes with {' or '.join(answers)} here, not {found}"  # noqa: E731
        answer = teller.choose(exact(answers), everything, why)
        belief = {name: share / answers[answer] for name, share in belief.items() if RELATIONS[name][word] == answer}
        if not _more(teller, line):
            return
        line += 1
        chances: dict[str, Fraction] = {}
        for name, share in belief.items():
            rest = [other for other in RELATIONS[name] if other not in used]
            for other in rest:
                chances[other] = chances.get(other, 0) + share / len(rest)
        text = teller.choose(exact({f"{other} ": chance for other, chance in chances.items()}))
        word = text.strip()
        belief = {
            name: share / sum(other not in used for other in RELATIONS[name]) / chances[word]
            for name, share in belief.items()
            if word in RELATIONS[name]
        }
        used.append(word)
        teller.say(": ")


def _game(teller: Teller, word: str) -> None:
    """Lines of a game: each of two groups with equal chance, a word not used yet, and the label of its group."""
    group_of = {text: name for name, group in GROUPS.items() for text in group}
    labels: dict[str, str] = {}
    used, line = [], 1
    while True:
        used.append(word)
        group = group_of[word]
        if group in labels:
            why = lambda found, word=word, label=labels[group]: f"{word} is {label} in this game, not {found}"  # noqa: E731
            teller.recall(labels[group], evenly(LABELS), why)
        else:
            labels[group] = teller.choose(evenly(LABELS).without(*labels.values()))
        if not _more(teller, line):
            return
        line += 1
        known = [name for name in GROUPS if name in labels]
        shares = {name: Fraction(1, 2) for name in known}
        if len(known) == 1:
            shares |= {name: Fraction(1, 2 * (len(GROUPS) - 1)) for name in GROUPS if name not in known}
        chances = {}
        for name, share in shares.items():
            rest = [other for other in GROUPS[name] if other not in used]
            chances |= {f"{other} ": share / len(rest) for other in rest}
        word = teller.choose(exact(chances)).strip()
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
