"""Puzzles whose every step can be checked: who has it after some swaps, and who stands at the end of a chain.

    swaps   Sam has the lamp. Swaps: 1 Max and Tom. 2 Sam and Ivy. Who has it?
    chain   Tom points to Max. Ada points to Tom. Max points to Ada. Start at Ada, 2 steps. Who is it?

An answer is direct, "so Ivy", or worked, with the state after each step before it, "1 Sam 2 Ivy so Ivy" (Wei et al.
2022, "Chain-of-thought prompting"; Nye et al. 2021, "Show your work: scratchpads"). The puzzle is all in its text:
`solve` reads the steps back, so that a program can verify any answer, its result and each of its steps.
"""

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from minillm.tales.tasks import pick

SOLVERS = "Tom Ivy Sam Ada Max Zoe Ben Kate".split()
KINDS_OF_PUZZLE = ("swaps", "chain")
THINGS = "lamp kite bell drum rope".split()
STATED = re.compile(r"(\d+) (\w+)")
RESULT = re.compile(r"(?:^|\s)so (\w+)\s*\Z")


@dataclass(frozen=True)
class Puzzle:
    """A puzzle's text, and the state after each of its steps; the last is the answer."""

    prompt: str
    states: tuple[str, ...]

    @property
    def direct(self) -> str:
        """The answer alone.

        >>> Puzzle("...", ("Sam", "Ivy")).direct
        'so Ivy'
        """
        return f"so {self.states[-1]}"

    @property
    def worked(self) -> str:
        """The answer with every step before it.

        >>> Puzzle("...", ("Sam", "Ivy")).worked
        '1 Sam 2 Ivy so Ivy'
        """
        return " ".join([*(f"{number} {state}" for number, state in enumerate(self.states, 1)), self.direct])


@dataclass(frozen=True)
class Verdict:
    """What is right about an answer: its result; how many steps before the first wrong one; and how many it shows."""

    right: bool
    steps_right: int
    steps_shown: int
    steps: int

    @property
    def worked(self) -> bool:
        """Whether it shows steps at all."""
        return self.steps_shown > 0

    @property
    def faithful(self) -> bool:
        """Whether it is right by steps that are all there and all right."""
        return self.right and self.steps_right == self.steps == self.steps_shown


def make_puzzles(
    n: int, seed: int, steps: Iterable[int] = range(1, 7), kind: str = "swaps", people: int = 5
) -> list[Puzzle]:
    """`n` puzzles, of each of these numbers of steps about as many.

    Args: people: how many there are, 3 to len(SOLVERS); whoever guesses is right once in so many.
    Raises: ValueError for an unknown kind, too few or too many people, and steps below 1.
    """
    steps = list(steps)
    if kind not in KINDS_OF_PUZZLE:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS_OF_PUZZLE)}")
    if not 3 <= people <= len(SOLVERS):
        raise ValueError(f"people is {people}: there can be 3 to {len(SOLVERS)}")
    if not steps or min(steps) < 1:
        raise ValueError(f"steps is {steps}: a puzzle has at least 1")
    return list(islice(_stream(random.Random(f"puzzles {kind} {seed}"), steps, kind, SOLVERS[:people]), n))


def _stream(rng: random.Random, steps: Sequence[int], kind: str, names: Sequence[str]):
    while True:
        prompt = (_swaps if kind == "swaps" else _chain)(rng, pick(rng, steps), names)
        yield Puzzle(prompt, solve(prompt))


def _swaps(rng: random.Random, steps: int, names: Sequence[str]) -> str:
    lines = []
    for number in range(1, steps + 1):
        first = pick(rng, names)
        lines.append(f" {number} {first} and {pick(rng, [name for name in names if name != first])}.")
    return f"{pick(rng, names)} has the {pick(rng, THINGS)}. Swaps:{''.join(lines)} Who has it?"


def _chain(rng: random.Random, steps: int, names: Sequence[str]) -> str:
    shuffled = [name for _, name in sorted((rng.random(), name) for name in names)]
    links = sorted((rng.random(), a, b) for a, b in zip(shuffled, [*shuffled[1:], shuffled[0]]))  # a ring
    told = " ".join(f"{a} points to {b}." for _, a, b in links)
    return f"{told} Start at {pick(rng, names)}, {steps} steps. Who is it?"


def solve(prompt: str) -> tuple[str, ...]:
    """The state after each step of a puzzle, from its text alone.

    Raises: ValueError for a text that is no puzzle.

    >>> solve("Sam has the lamp. Swaps: 1 Max and Tom. 2 Sam and Ivy. Who has it?")
    ('Sam', 'Ivy')
    """
    if found := re.fullmatch(r"(\w+) has the \w+\. Swaps:((?: \d+ \w+ and \w+\.)+) Who has it\?", prompt):
        holder, states = found[1], []
        for a, b in re.findall(r"\d+ (\w+) and (\w+)\.", found[2]):
            holder = {a: b, b: a}.get(holder, holder)
            states.append(holder)
        return tuple(states)
    if found := re.fullmatch(r"((?:\w+ points to \w+\. )+)Start at (\w+), (\d+) steps\. Who is it\?", prompt):
        after = dict(re.findall(r"(\w+) points to (\w+)\.", found[1]))
        here, states = found[2], []
        for _ in range(min(int(found[3]), 1000)):
            if here not in after:
                break
            here = after[here]
            states.append(here)
        if states:
            return tuple(states)
    raise ValueError(f"no puzzle whose answer can be checked: {' '.join(prompt.split())[:60]!r}")


def verify(prompt: str, answer: str) -> Verdict:
    """What is right about an answer to a puzzle: only its last words, "so NAME", are its result.

    Raises: ValueError as `solve`.

    >>> verify("Sam has the lamp. Swaps: 1 Max and Tom. 2 Sam and Ivy. Who has it?", "1 Tom 2 Ivy so Ivy")
    Verdict(right=True, steps_right=0, steps_shown=2, steps=2)
    """
    states = solve(prompt)
    result = RESULT.search(answer)
    shown = STATED.findall(answer[: result.start()] if result else answer)
    right = 0
    for number, (said, state) in enumerate(zip(shown, states), 1):
        if said != (str(number), state):
            break
        right = number
    return Verdict(bool(result) and result[1] == states[-1], right, len(shown), len(states))


def make_puzzle_instructions(puzzles: Sequence[Puzzle], seed: int, worked: float = 1.0) -> list[dict]:
    """Conversations for `sft`: a share `worked` of the answers shows its steps. Each {"messages", "kinds"}."""
    rng, found = random.Random(f"puzzle instructions {seed}"), []
    for puzzle in puzzles:
        kind = "worked" if rng.random() < worked else "direct"
        answer = puzzle.worked if kind == "worked" else puzzle.direct
        messages = [{"role": "user", "content": puzzle.prompt}, {"role": "assistant", "content": answer}]
        found.append({"messages": messages, "kinds": [kind]})
    return found
