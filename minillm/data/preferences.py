"""The preferences and the prompts that users bring, read and checked; the tales' own come with what is true of them."""

from dataclasses import dataclass
from pathlib import Path

from minillm.data.records import Record, check_not_empty, score_field
from minillm.text import read_records, text_field

PREFERENCE_FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Preference(Record):
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
        return user_message(self.texts[0]), *self.texts[1:]


def user_message(prompt: str) -> list[dict[str, str]]:
    """A prompt as a conversation that waits for its answer: one message, the user's."""
    return [{"role": "user", "content": prompt}]


def read_preferences(path: Path) -> list[Preference]:
    """The pairs of answers in a .jsonl, .json, .csv or .tsv file: {"prompt", "chosen", "rejected"}.

    "chosen_score" and "rejected_score", if both are there, are the true scores.
    Raises: ValueError with file:line for what is no pair, an empty text, two equal answers, a score that is no number.
    """
    found = []
    for line, record in read_records(path, columns=PREFERENCE_FIELDS):
        texts = tuple(text_field(path, line, record, field) for field in PREFERENCE_FIELDS)
        check_not_empty(path, line, PREFERENCE_FIELDS, texts)
        if texts[1].strip() == texts[2].strip():
            raise ValueError(f'{path}:{line}: "chosen" and "rejected" are the same: there is nothing to learn from it')
        scores = tuple(score_field(path, line, record, f"{side}_score") for side in PREFERENCE_FIELDS[1:])
        found.append(Preference(texts, None, path, line, None if None in scores else scores))
    return found


def read_prompts(path: Path) -> list[Record]:
    """The prompts in a .jsonl, .json, .csv or .tsv file, {"prompt"}; ValueError with file:line for an empty one."""
    found = []
    for line, record in read_records(path, columns=["prompt"]):
        text = text_field(path, line, record, "prompt")
        check_not_empty(path, line, ["prompt"], [text])
        found.append(Record((text,), None, path, line))
    return found
