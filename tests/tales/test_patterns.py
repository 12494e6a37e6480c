"""In-context patterns, against the same distributions written as plain mixtures over what is hidden."""

import math
from fractions import Fraction
from itertools import combinations

import pytest

from minillm import tales
from minillm.tales import GROUPS, LABELS, RELATIONS
from minillm.tales.patterns import GAME, LINES


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
            first, second = ({label for _, label in part} for part in seen)
            fits = len(seen[0]) + len(seen[1]) == len(lines)
            if fits and len(first) < 2 and len(second) < 2 and not first & second:
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


@pytest.mark.parametrize(("kind", "mark"), [("relation", " : "), ("game", " = ")])
@pytest.mark.parametrize("shots", [0, 1, 3, 11])
def test_the_ceiling_of_a_question_is_the_share_of_its_likeliest_answer_in_the_mixture(kind, mark, shots):
    for question in tales.make_pattern_questions(60, seed=17, shots=shots, kind=kind):
        lines = [mark.join(example) for example in question["examples"]]
        chances = {
            answer: mixture("\n".join([*lines, question["query"] + mark + answer])) for answer in question["candidates"]
        }
        assert question["ceiling"] == pytest.approx(float(max(chances.values()) / sum(chances.values())))
        assert chances[question["answer"]] > 0 and len(question["examples"]) == shots


def test_questions_stay_when_examples_are_added_and_a_seed_and_a_number_fix_them():
    for kind in ("game", "relation"):
        few, more = (tales.make_pattern_questions(40, seed=18, shots=shots, kind=kind) for shots in (3, 7))
        for a, b in zip(few, more):
            assert (a["query"], a["answer"], a["examples"]) == (b["query"], b["answer"], b["examples"][:3])
        assert tales.make_pattern_questions(10, seed=18, shots=3, kind=kind) == few[:10]
        assert tales.make_pattern_questions(40, seed=19, shots=3, kind=kind) != few


def test_questions_have_the_odds_of_documents():
    for shots in (0, 1, 2, 5):
        questions = tales.make_pattern_questions(3000, seed=20, shots=shots, kind="game")
        mean = sum(question["ceiling"] for question in questions) / len(questions)
        assert mean == pytest.approx(tales.game_ceiling(shots), abs=0.03)
    zero = tales.make_pattern_questions(3000, seed=21, shots=0, kind="relation")
    for relation in RELATIONS.values():
        share = sum(relation.get(question["query"]) == question["answer"] for question in zero) / len(zero)
        assert share == pytest.approx(1 / len(RELATIONS), abs=0.03)


@pytest.mark.parametrize(("shots", "kind"), [(12, "game"), (-1, "relation"), (2, "tale")])
def test_questions_that_no_document_holds_are_refused(shots, kind):
    with pytest.raises(ValueError, match="must be 'game' or 'relation' and the shots 0 to 11"):
        tales.make_pattern_questions(1, seed=0, shots=shots, kind=kind)


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
