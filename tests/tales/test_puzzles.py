"""Puzzles against a slow play of them with real objects; a verifier that takes right answers and nothing else."""

import doctest
import random

import pytest

from minillm.tales import KINDS_OF_PUZZLE, SOLVERS, make_puzzle_instructions, make_puzzles, puzzles, solve, verify


def played(prompt):
    """The states of a puzzle, played by moving things about."""
    words = prompt.replace(".", "").replace("?", "").replace(",", "").split()
    if "Swaps:" in words:
        hands = {name: None for name in SOLVERS}
        hands[words[0]] = "it"
        steps, states = words[words.index("Swaps:") + 1 : words.index("Who")], []
        for place in range(0, len(steps), 4):
            a, b = steps[place + 1], steps[place + 3]
            hands[a], hands[b] = hands[b], hands[a]
            states.append(next(name for name, thing in hands.items() if thing == "it"))
        return tuple(states)
    arrows = [(words[i - 1], words[i + 2]) for i, word in enumerate(words) if word == "points"]
    here, states = words[words.index("at") + 1], []
    for _ in range(int(words[words.index("steps") - 1])):
        here = next(b for a, b in arrows if a == here)
        states.append(here)
    return tuple(states)


@pytest.mark.parametrize("kind", KINDS_OF_PUZZLE)
def test_the_states_are_those_of_a_puzzle_that_is_played(kind):
    found = make_puzzles(400, 0, range(1, 9), kind)
    assert found == make_puzzles(400, 0, range(1, 9), kind) and found != make_puzzles(400, 1, range(1, 9), kind)
    for puzzle in found:
        assert puzzle.states == solve(puzzle.prompt) == played(puzzle.prompt)
    steps = [len(puzzle.states) for puzzle in found]
    assert all(30 < steps.count(k) < 75 for k in range(1, 9))
    answers = [puzzle.states[-1] for puzzle in found]
    assert all(50 < answers.count(name) < 115 for name in SOLVERS[:5])  # nobody is right by always saying one name


@pytest.mark.parametrize("kind", KINDS_OF_PUZZLE)
def test_the_verifier_takes_right_answers_and_counts_right_steps(kind):
    rng = random.Random(0)
    for puzzle in make_puzzles(100, 1, range(2, 7), kind):
        n = len(puzzle.states)
        assert verify(puzzle.prompt, puzzle.worked).faithful and verify(puzzle.prompt, puzzle.direct).right
        assert not verify(puzzle.prompt, puzzle.direct).worked
        wrong = next(name for name in SOLVERS if name != puzzle.states[-1])
        assert not verify(puzzle.prompt, puzzle.worked.rsplit(" ", 1)[0] + f" {wrong}").right
        spoiled, place = list(puzzle.states), rng.randrange(n)
        spoiled[place] = next(name for name in SOLVERS if name != spoiled[place])
        text = " ".join(f"{i} {name}" for i, name in enumerate(spoiled, 1)) + f" {puzzle.direct}"
        found = verify(puzzle.prompt, text)
        assert found.right and not found.faithful and (found.steps_right, found.steps_shown) == (place, n)


def test_what_is_no_answer_is_not_right():
    puzzle = make_puzzles(1, 0, [3])[0]
    name = puzzle.states[-1]
    for answer in ("", name, f"so {name} or so", f"so {name}, so {name}!", f"also {name}", f"so {name}x", f"SO {name}"):
        assert not verify(puzzle.prompt, answer).right, answer
    assert verify(puzzle.prompt, f"so {name}\n").right
    for text in ("Who has it?", puzzle.prompt + " ", "Tom points to Max. Start at Ivy, 2 steps. Who is it?", ""):
        with pytest.raises(ValueError, match="no puzzle whose answer can be checked"):
            solve(text)
    for settings, complaint in (
        ({"kind": "x"}, "unknown kind"),
        ({"people": 2}, "people is 2"),
        ({"steps": []}, "steps is"),
    ):
        with pytest.raises(ValueError, match=complaint):
            make_puzzles(1, 0, **settings)


def test_instructions_show_their_steps_as_often_as_asked():
    found = make_puzzles(500, 0)
    records = make_puzzle_instructions(found, 0, worked=0.3)
    assert 110 < sum(record["kinds"] == ["worked"] for record in records) < 190
    for puzzle, record in zip(found, records):
        assert [m["content"] for m in record["messages"]] == [puzzle.prompt, getattr(puzzle, record["kinds"][0])]
    assert doctest.testmod(puzzles).failed == 0
