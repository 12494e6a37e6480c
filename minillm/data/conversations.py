"""The instructions that users bring, in any of three forms, read as conversations and checked.

{"instruction", "input", "output"} (Taori et al. 2023, "Alpaca"; "input" may be missing or empty), {"prompt",
"completion"}, or {"messages": [{"role", "content"}, ...]}, with "kinds" beside if answers are to be scored by kind.
"""

from dataclasses import dataclass
from pathlib import Path

from minillm.data.examples import chat_example
from minillm.data.records import Record, check_not_empty
from minillm.text import CHAT_ROLES, Tokenizer, read_records, text_field

RECORD_FORMS = (("instruction", "output"), ("prompt", "completion"), ("messages",))


@dataclass(frozen=True)
class ConversationRecord(Record):
    """A record whose texts are messages and whose label says who spoke each; `kinds`: of each answer, "" if unknown."""

    kinds: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # other answers that are as good as the last one
    labels = ()  # who speaks is no class
    prose = property(lambda self: self.texts)

    @property
    def messages(self) -> list[dict[str, str]]:
        """As `Tokenizer.apply_chat` takes them."""
        return [{"role": role, "content": text} for role, text in zip(self.label, self.texts)]


def read_conversations(path: Path) -> list[ConversationRecord]:
    """The conversations of a .json, .jsonl, .csv or .tsv file; ValueError with file:line for what is none."""
    found = []
    for line, record in read_records(path, columns=["instruction", "input", "output"]):
        record, references = with_references(path, line, record)
        form = next((form for form in RECORD_FORMS if set(form) <= record.keys()), None)
        if form is None:
            expected = '"instruction" and "output", "prompt" and "completion", or "messages"'
            raise ValueError(f"{path}:{line}: expected {expected}; found {', '.join(map(repr, record)) or 'none'}")
        messages = _messages(path, line, record) if form == ("messages",) else _exchange(path, line, record, form)
        roles, texts = zip(*messages)
        kinds = _kinds(path, line, record, roles.count("assistant"))
        found.append(ConversationRecord(texts, roles, path, line, kinds, references))
    return found


def conversation_example(
    record: ConversationRecord, tokenizer: Tokenizer, context: int, learn: str = "answers"
) -> dict:
    """A conversation as `chat_example` makes it; with learn="everything" every token is a label."""
    example = chat_example(record.messages, tokenizer, context)
    return example if learn == "answers" else {**example, "labels": list(example["input_ids"])}


def with_references(path: Path, line: int, record: dict) -> tuple[dict, tuple[str, ...]]:
    """A record with one answer, which is learned, and the others that are as good, for scores.

    "output" or "completion" may be a list of answers, and "references" a list of more.
    """
    more = record.get("references") or []
    for name in ("output", "completion"):
        if isinstance(record.get(name), list) and record[name]:
            first, *others = record[name]
            record, more = {**record, name: first}, [*others, *(more if isinstance(more, list) else [more])]
    more = [more] if isinstance(more, str) else more
    if not isinstance(more, list) or not all(isinstance(text, str) and text.strip() for text in more):
        raise ValueError(f'{path}:{line}: expected "references" to be a list of answers, each a text')
    return record, tuple(more)


def _exchange(path: Path, line: int, record: dict, form: tuple[str, str]) -> list[tuple[str, str]]:
    """One question, with what it is about below, and one answer, each as (role, text)."""
    asked, answered = texts = [text_field(path, line, record, field) for field in form]
    check_not_empty(path, line, form, texts)
    about = text_field(path, line, record, "input") if record.get("input") else ""
    asked = f"{asked}\n\n{about}" if about.strip() else asked
    return [("user", asked), ("assistant", answered)]


def _messages(path: Path, line: int, record: dict) -> list[tuple[str, str]]:
    messages = record["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError(f'{path}:{line}: expected "messages" to be a list of {{"role", "content"}}')
    for place, message in enumerate(messages):
        role = message.get("role")
        if role not in CHAT_ROLES:
            where = f"{path}:{line}: message {place}"
            raise ValueError(f"{where}: expected a role of system, user or assistant, found {role!r}")
        check_not_empty(path, line, ["content"], [text_field(path, line, message, "content")])
    roles = [message["role"] for message in messages]
    if "assistant" not in roles[1:] or roles[0] == "assistant":
        found = ", ".join(roles) or "no message"
        raise ValueError(f"{path}:{line}: expected a user's message and an assistant's after it, found {found}")
    return [(message["role"], message["content"]) for message in messages]


def _kinds(path: Path, line: int, record: dict, answers: int) -> tuple[str, ...]:
    kinds = record.get("kinds") or [""] * answers
    if not isinstance(kinds, list) or len(kinds) != answers or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f'{path}:{line}: expected "kinds" to be a list of {answers} words, one an answer')
    return tuple(kinds)
