"""The instructions that users bring, in any of three forms, read as conversations and checked.

{"instruction", "input", "output"} (Taori et al. 2023, "Alpaca"; "input" may be missing or empty), {"prompt",
"completion"}, or {"messages": [{"role", "content"}, ...]}, with "kinds" beside if answers are to be scored by kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minillm.corpus import read_records, text_field
from minillm.stages.records import check_not_empty

FORMS = (("instruction", "output"), ("prompt", "completion"), ("messages",))
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Conversation:
    """Messages {"role", "content"}, at least one the assistant's; the kind of each answer, "" where nobody said; and
    where it stands.
    """

    messages: tuple[dict[str, str], ...]
    kinds: tuple[str, ...]
    path: Path
    line: int

    @property
    def place(self) -> str:
        """ "file:line", as in complaints."""
        return f"{self.path}:{self.line}"

    @property
    def texts(self) -> tuple[str, ...]:
        """What was said, by which two conversations are the same."""
        return tuple(message["content"] for message in self.messages)

    @property
    def prose(self) -> tuple[str, ...]:
        """The texts that a tokenizer is trained on."""
        return self.texts

    @property
    def label(self) -> tuple[str, ...]:
        """Who said what: with `texts` all that there is to learn from."""
        return tuple(message["role"] for message in self.messages)


def conversations(path: Path) -> list[Conversation]:
    """The conversations of a .json, .jsonl, .csv or .tsv file. Raises ValueError with file:line for what is none."""
    found = []
    for line, record in read_records(path, columns=["instruction", "input", "output"]):
        form = next((form for form in FORMS if set(form) <= record.keys()), None)
        if form is None:
            raise ValueError(
                f'{path}:{line}: expected "instruction" and "output", "prompt" and "completion", or "messages"; '
                f"found {', '.join(map(repr, record)) or 'none'}"
            )
        messages = _messages(path, line, record) if form == ("messages",) else _exchange(path, line, record, form)
        found.append(Conversation(messages, _kinds(path, line, record, messages), path, line))
    return found


def _exchange(path: Path, line: int, record: dict, form: tuple[str, str]) -> tuple[dict[str, str], ...]:
    """One question, with what it is about below, and one answer."""
    asked, answered = texts = [text_field(path, line, record, field) for field in form]
    check_not_empty(path, line, form, texts)
    about = text_field(path, line, record, "input") if record.get("input") else ""
    asked = f"{asked}\n\n{about}" if about.strip() else asked
    return {"role": "user", "content": asked}, {"role": "assistant", "content": answered}


def _messages(path: Path, line: int, record: dict) -> tuple[dict[str, str], ...]:
    messages = record["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f'{path}:{line}: expected "messages" to be a list of {{"role", "content"}}')
    for place, message in enumerate(messages):
        if message.get("role") not in ROLES:
            raise ValueError(
                f"{path}:{line}: message {place}: expected a role of system, user or assistant, "
                f"found {message.get('role')!r}"
            )
        check_not_empty(path, line, ["content"], [text_field(path, line, message, "content")])
    roles = [message["role"] for message in messages]
    if "assistant" not in roles[1:] or roles[0] == "assistant":
        raise ValueError(
            f"{path}:{line}: expected a user's message and an assistant's after it, found "
            + (", ".join(roles) or "no message")
        )
    return tuple({"role": message["role"], "content": message["content"]} for message in messages)


def _kinds(path: Path, line: int, record: dict, messages: Sequence[dict]) -> tuple[str, ...]:
    answers = sum(message["role"] == "assistant" for message in messages)
    kinds = record.get("kinds") or [""] * answers
    if not isinstance(kinds, list) or len(kinds) != answers or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f'{path}:{line}: expected "kinds" to be a list of {answers} words, one an answer')
    return tuple(kinds)
