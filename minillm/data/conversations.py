"""The instructions that users bring, in the forms that people have, read as conversations and checked.

{"instruction", "input", "output"} (Taori et al. 2023, "Alpaca"; "input" may be missing or empty), {"prompt",
"completion"} (texts, or lists of messages as of trl), {"messages": [{"role", "content"}, ...]} or {"conversations":
[{"from", "value"}, ...]} (ShareGPT's), with "kinds" beside if answers are to be scored by kind.
"""

from dataclasses import dataclass
from pathlib import Path

from minillm.data.examples import chat_example
from minillm.data.messages import Turn, as_messages, question_of, turns_of
from minillm.data.records import Record
from minillm.text import Tokenizer, list_field, read_each

RECORD_FORMS = (
    ("instruction", "input?", "output", "system+", "references+"),
    ("prompt", "completion", "input+", "system+", "references+"),
    ("messages", "kinds+"),
    ("conversations", "system+"),
)


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
        return as_messages([*zip(self.label, self.texts)])


def read_conversations(path: Path) -> list[ConversationRecord]:
    """The conversations of a .json, .jsonl, .csv or .tsv file; what is none is left out and said, as of `read_each`."""

    def make(line: int, record: dict) -> ConversationRecord:
        record, references = with_references(path, line, record)
        roles, texts = zip(*_turns(path, line, record))
        kinds = _kinds(path, line, record, roles.count("assistant"))
        return ConversationRecord(texts, roles, path, line, kinds, references)

    return read_each(path, RECORD_FORMS, make)


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
        several = record.get(name)
        if isinstance(several, list) and several and all(isinstance(text, str) for text in several):
            first, *others = several
            record, more = {**record, name: first}, [*others, *(more if isinstance(more, list) else [more])]
    more = [more] if isinstance(more, str) else more
    if not isinstance(more, list) or not all(isinstance(text, str) and text.strip() for text in more):
        raise ValueError(f'{path}:{line}: expected "references" to be a list of answers, each a text')
    return record, tuple(more)


def _turns(path: Path, line: int, record: dict) -> list[Turn]:
    """Who says what in a record. An answer to a question that is not there, as ShareGPT has them, is left away."""
    for asked, answered in (("instruction", "output"), ("prompt", "completion")):
        if asked in record and answered in record:
            turns = [*question_of(path, line, record), *turns_of(path, line, record, answered, "assistant")]
            break
    else:
        name = next((name for name in ("messages", "conversations") if name in record), None)
        if name is None:
            expected = '"instruction" and "output", "prompt" and "completion", "messages", or "conversations"'
            raise ValueError(f"{path}:{line}: expected {expected}; found {', '.join(map(repr, record)) or 'none'}")
        turns = turns_of(path, line, record, name)
        if name == "conversations" and len(turns) > 1 and turns[0][0] == "assistant":
            turns = turns[1:]
    roles = [role for role, _ in turns]
    if "assistant" not in roles[1:] or roles[0] == "assistant":
        found = ", ".join(roles[:6]) or "no message"
        raise ValueError(f"{path}:{line}: expected a user's message and an assistant's after it, found {found}")
    return turns


def _kinds(path: Path, line: int, record: dict, answers: int) -> tuple[str, ...]:
    kinds = list_field(path, line, record, "kinds") or [""] * answers
    if not isinstance(kinds, list) or len(kinds) != answers or not all(isinstance(kind, str) for kind in kinds):
        raise ValueError(f'{path}:{line}: expected "kinds" to be a list of {answers} words, one an answer')
    return tuple(kinds)
