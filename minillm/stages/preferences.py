"""The preferences and the prompts that users bring, read and checked; the tales' own come with what is true of them."""

import math
from dataclasses import dataclass
from pathlib import Path

from minillm.corpus import read_records, text_field
from minillm.stages.records import Record, check_not_empty

FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Preference(Record):
    """A record whose texts are a prompt, the answer that was chosen and the one that was not; `truth`, their true
    scores, where somebody knows them.
    """

    truth: tuple[float, float] | None = None

    @property
    def pair(self) -> tuple[list[dict[str, str]], str, str]:
        """As `minillm.align` takes it: a conversation, the better answer, the worse."""
        return asked(self.texts[0]), *self.texts[1:]


def asked(prompt: str) -> list[dict[str, str]]:
    """A prompt as a conversation that waits for its answer."""
    return [{"role": "user", "content": prompt}]


def preferences(path: Path) -> list[Preference]:
    """The pairs of answers in a .jsonl, .json, .csv or .tsv file: {"prompt", "chosen", "rejected"}.

    "chosen_score" and "rejected_score", if both are there, are the true scores. Raises ValueError with file:line for
    what is no pair, for an empty text, and for two answers that are the same.
    """
    found = []
    for line, record in read_records(path, columns=FIELDS):
        texts = tuple(text_field(path, line, record, field) for field in FIELDS)
        check_not_empty(path, line, FIELDS, texts)
        if texts[1].strip() == texts[2].strip():
            raise ValueError(f'{path}:{line}: "chosen" and "rejected" are the same: there is nothing to learn from it')
        scores = tuple(record.get(f"{side}_score") for side in FIELDS[1:])
        known = all(isinstance(s, int | float) and not isinstance(s, bool) and math.isfinite(s) for s in scores)
        found.append(Preference(texts, None, path, line, scores if known else None))
    return found


def prompts(path: Path) -> list[Record]:
    """The prompts in a .jsonl, .json, .csv or .tsv file: {"prompt"}. Raises ValueError with file:line for an empty."""
    found = []
    for line, record in read_records(path, columns=["prompt"]):
        text = text_field(path, line, record, "prompt")
        check_not_empty(path, line, ["prompt"], [text])
        found.append(Record((text,), None, path, line))
    return found
