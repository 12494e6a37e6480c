"""The preferences and the prompts that users bring, read and checked; the tales' own come with what is true of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minillm.data.messages import Turn, as_messages, question_of, turns_of
from minillm.data.records import Record, score_field
from minillm.text import read_each

SCORES = ("chosen_score", "rejected_score")
PROMPT_FORMS = (("prompt",), ("instruction", "input?"))
PREFERENCE_FORMS = (
    ("prompt", "chosen", "rejected", "system+", "chosen_score+", "rejected_score+"),
    ("instruction", "input?", "chosen", "rejected", "system+"),
    ("prompt?", "chosen", "rejected", "system+", "chosen_score+", "rejected_score+"),
)


@dataclass(frozen=True)
class Prompt(Record):
    """A record whose first text is a prompt; `turns`: who said what, where that is more than one message of the user's.

    Then the text is all of them, to read.
    """

    turns: tuple[Turn, ...] = ()

    @property
    def messages(self) -> list[dict[str, str]]:
        """The prompt as a conversation that waits for its answer."""
        return as_messages(self.turns or [("user", self.texts[0])])


@dataclass(frozen=True)
class Preference(Prompt):
    """A record whose texts are a prompt, the chosen answer and the other; `truth`: their true scores, where known."""

    truth: tuple[float, float] | None = None

    @property
    def group(self) -> str:
        """The prompt: an answer to it may be read off another."""
        return self.texts[0]

    @property
    def same(self) -> tuple[str, frozenset[str]]:
        """The prompt and the answers, whichever was chosen."""
        return self.texts[0], frozenset(self.texts[1:])

    @property
    def pair(self) -> tuple[list[dict[str, str]], str, str]:
        """As `minillm.align` takes it: a conversation, the better answer, the worse."""
        return self.messages, *self.texts[1:]


def read_preferences(path: Path) -> list[Preference]:
    """The pairs of answers in a .jsonl, .json, .csv or .tsv file; what is none is left out and said, as of `read_each`.

    {"prompt", "chosen", "rejected"} or {"instruction", "input", "chosen", "rejected"}, in which "prompt", "chosen" and
    "rejected" are texts or lists of messages; {"chosen", "rejected"} alone, as lists of messages (trl's) or texts with
    marked turns (hh-rlhf's), share the prompt. "chosen_score" and "rejected_score", if both are there, are the true
    scores.
    """

    def make(line: int, record: dict) -> Preference:
        turns, better, worse = _pair(path, line, record)
        scores = tuple(score_field(path, line, record, name) for name in SCORES)
        prompt, turns = _prompt(turns)
        return Preference((prompt, better, worse), None, path, line, turns, None if None in scores else scores)

    return read_each(path, PREFERENCE_FORMS, make)


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts in a .jsonl, .json, .csv or .tsv file, {"prompt"} or {"instruction", "input"}, as texts or messages.

    What is none is left out and said, as of `read_each`.
    """

    def make(line: int, record: dict) -> Prompt:
        text, turns = _prompt(_waiting(path, line, question_of(path, line, record)))
        return Prompt((text,), None, path, line, turns)

    return read_each(path, PROMPT_FORMS, make)


def _prompt(turns: Sequence[Turn]) -> tuple[str, tuple[Turn, ...]]:
    """A prompt to read, and its turns where it has several."""
    if len(turns) == 1:
        return turns[0][1], ()
    return "\n\n".join(f"{role}: {text}" for role, text in turns), tuple(turns)


def _pair(path: Path, line: int, record: dict) -> tuple[list[Turn], str, str]:
    """The turns before the answers, the better answer and the worse."""
    asked = question_of(path, line, record) if record.keys() & {"prompt", "instruction"} else []
    sides = [turns_of(path, line, record, name, "assistant") for name in ("chosen", "rejected")]
    if any(side[0][0] != "assistant" for side in sides):  # both hold the whole conversation
        most = min(map(len, sides)) - 1
        shared = next((n for n in range(most) if sides[0][n] != sides[1][n]), most)
        asked, sides = sides[0][:shared], [side[shared:] for side in sides]
    if any([role for role, _ in side] != ["assistant"] for side in sides):
        raise ValueError(f'{path}:{line}: expected "chosen" and "rejected" to be alike but for the last answer')
    better, worse = (side[0][1] for side in sides)
    if better.strip() == worse.strip():
        raise ValueError(f'{path}:{line}: "chosen" and "rejected" are the same: there is nothing to learn from it')
    return _waiting(path, line, asked), better, worse


def _waiting(path: Path, line: int, turns: list[Turn]) -> list[Turn]:
    if not turns or turns[-1][0] != "user":
        found = ", ".join(role for role, _ in turns[-6:]) or "nothing"
        raise ValueError(f"{path}:{line}: expected a prompt that ends with the user's message, found {found}")
    return turns
