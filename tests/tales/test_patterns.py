"""In-context patterns, against the same distributions written as plain mixtures over what is hidden."""

import math
from fractions import Fraction
from itertools import combinations

import pytest

from minillm import tales
from minillm.tales.patterns import GAME, LINES
from minillm.tales.relations import GROUPS, LABELS, RELATIONS


def mixture(text: str) -> Fraction:
    """P(text) as the sum over every hidden rule of P(rule) P(text | rule): nothing drawn step by step."""
    mark = " : " if " : " in text else " = "
    lines = [line.split(mark) for line in text.split("\n")]
    total = Fraction(0)
    if mark == " : ":
        for relation in RELATIONS.values():
            if all(relation.get(word) == answer for word, answer in lines):
                total += (1 - GAME) / len(RELATIONS) / math.perm(len(relation), len(lines))
    else:
        for pair in combinations(GROUPS.values(), 2):
            seen = [[(word, label) for word, label in lines if word in group] for group in pair]
            if len(seen[0]) + len(seen[1]) == len(lines):
                chance = GAME / math.comb(len(GROUPS), 2) / 2 ** len(lines)
                for part, group in zip(seen, pair):
                    chance /= math.perm(len(group), len(part))
                total += chance / math.perm(len(LABELS), sum(bool(part) for part in seen))
    return total / len(LINES)


def test_probabilities_are_those_of_the_mixture_over_what_is_hidden():
    for document in tales.make_patterns(300, seed=13):
        assert document.logprob == pytest.approx(math.log(mixture(document.text)), abs=1e-9)


def test_lengths_are_even_and_games_as_frequent_as_stated():
    documents = tales.make_patterns(600, seed=14)
    for length in LINES:
        share = sum(document.text.count("\n") + 1 == length for document in documents) / len(documents)
        assert share == pytest.approx(1 / len(LINES), abs=0.05)
    games = sum(document.plot == "game" for document in documents) / len(documents)
    assert games == pytest.approx(float(GAME), abs=0.08)


def test_the_ceiling_of_the_game_is_what_a_perfect_player_reaches():
    right, asked = [0.0] * 12, [0] * 12
    group_of = {word: name for name, group in GROUPS.items() for word in group}
    for document in tales.make_patterns(1500, seed=15):
        if document.plot != "game":
            continue
        known: dict[str, str] = {}
        for shots, line in enumerate(document.text.split("\n")):
            word, label = line.split(" = ")
            asked[shots] += 1
            right[shots] += 1 if group_of[word] in known else 1 / (len(LABELS) - len(known))
            known[group_of[word]] = label
    for shots in range(8):
        assert right[shots] / asked[shots] == pytest.approx(tales.game_ceiling(shots), abs=0.06)


def test_a_word_never_comes_twice_and_a_label_stands_for_one_group():
    for document in tales.make_patterns(500, seed=16):
        words = [line.split()[0] for line in document.text.split("\n")]
        assert len(words) == len(set(words))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("fox : den\nowl : nest\nbear : cave\npig : sty", "line 2"),
        ("fox : den\nbee : hive\nbear : cub\npig : sty", "line 3: bear goes with cave here, not cub"),
        ("fox = sun\nowl = sun\nball = moon\nowl = moon", "line 2"),
        ("fox = sun\notter = moon\nball = moon\nbell = moon", "line 2: otter is sun in this game, not moon"),
    ],
)
def test_a_broken_rule_is_named(text, reason):
    judgement = tales.judge(text)
    assert judgement.score < 1
    assert judgement.reasons[0].startswith(reason)
