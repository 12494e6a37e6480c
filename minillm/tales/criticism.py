"""Letters and what is to be said of them: questions with a yes or a no, one for each part of the score.

They are what a model learns to judge from, and what a judge may be asked (`align.Constitution`). The answer is yes
where nothing is missing: the part is at its best, 1.
"""

import random
from collections.abc import Iterator
from itertools import islice

from minillm.tales.documents import Tale
from minillm.tales.letter_scores import score_letter
from minillm.tales.letters import ask_for_letter, draw_letter

CONSTITUTION = {  # part of the score: how it is asked for
    "helpful": "Does the letter have the right name and tell what happened?",
    "honest": "Is it true?",
    "kind": "Is it kind?",
    "to_the_point": "Is there nothing in it that nobody asked for?",
    "well_formed": "Is it a whole letter?",
}
PARTS_ASKED = 4  # questions about a letter


def verdicts(tale: Tale | str, letter: str) -> dict[str, str]:
    """The right answer to each question of CONSTITUTION, "yes" or "no", by part.

    Args:
        tale, letter: as for `score_letter`
    Raises: ValueError where there is no tale.
    """
    score = score_letter(tale, letter)
    return {part: "yes" if getattr(score, part) == 1 else "no" for part in CONSTITUTION}


def make_letters(n: int, seed: int) -> list[dict]:
    """Letters of mixed quality, each with questions about it.

    The first message holds a tale and asks for a letter to its hero, the second is a letter by `draw_letter`, of the
    kind "letter"; then come PARTS_ASKED of CONSTITUTION in any order, each with its answer, of the kind of its part.

    Returns: records {"messages": [{"role", "content"}, ...], "kinds": that of each answer}.
    """
    return list(islice(letter_stream(seed), n))


def letter_stream(seed: int) -> Iterator[dict]:
    """The conversations of `make_letters` without end."""
    rng = random.Random(f"letters {seed}")
    while True:
        tale, prompt = ask_for_letter(rng)
        letter = draw_letter(tale, rng)
        parts = [part for _, part in sorted((rng.random(), part) for part in CONSTITUTION)][:PARTS_ASKED]
        answers = verdicts(tale, letter)
        turns = [(prompt, letter), *((CONSTITUTION[part], answers[part]) for part in parts)]
        messages = [
            {"role": role, "content": text} for turn in turns for role, text in zip(("user", "assistant"), turn)
        ]
        yield {"messages": messages, "kinds": ["letter", *parts]}
