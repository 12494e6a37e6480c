"""Who said what, in the forms that people write it down, as (role, text).

{"role", "content"} (OpenAI's, trl's); {"from", "value"} (ShareGPT's: human, gpt); one text in which "\\n\\nHuman:" and
"\\n\\nAssistant:" open the turns (hh-rlhf's, Bai et al. 2022); a question alone, with what it is about below.
Left out: tools and pictures; a record that has them is left out.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from minillm.data.records import check_not_empty
from minillm.text import CHAT_ROLES, list_field, text_field

Turn = tuple[str, str]  # the role, and what it says

SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}  # ShareGPT's
SPEAKERS |= {role: role for role in CHAT_ROLES}
OPENED = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def as_messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as `Tokenizer.apply_chat` takes them."""
    return [{"role": role, "content": text} for role, text in turns]


def user_message(prompt: str) -> list[dict[str, str]]:
    """A prompt as a conversation that waits for its answer: one message, the user's."""
    return as_messages([("user", prompt)])


def turns_of(path: Path, line: int, record: dict, name: str, speaker: str = "") -> list[Turn]:
    """The turns under `name`: of a list of messages, of one text with marks, or, of another text, one of the speaker.

    Raises: ValueError with file:line for what is none of them, and for an empty turn.
    """
    value = list_field(path, line, record, name)
    if isinstance(value, list) or not speaker:
        return _listed(path, line, name, value)
    text = text_field(path, line, record, name)
    found = marked_turns(text) or [(speaker, text)]
    for _, said in found:
        check_not_empty(path, line, [name], [said])
    return found


def marked_turns(text: str) -> list[Turn]:
    """The turns of a text with marks; none of a text that does not begin with one. An empty last answer is open.

    >>> marked_turns("\\n\\nHuman: Is it far?\\n\\nAssistant: No.\\n\\nHuman: Good.\\n\\nAssistant:")
    [('user', 'Is it far?'), ('assistant', 'No.'), ('user', 'Good.')]
    """
    before, *pieces = OPENED.split(text.lstrip())
    if before or "Assistant" not in pieces[::2] or pieces[0] != "Human":
        return []
    turns = [(SPEAKERS[who.lower()], said.strip()) for who, said in zip(pieces[::2], pieces[1::2])]
    return turns if turns[-1][1] or turns[-1][0] == "user" else turns[:-1]


def question_of(path: Path, line: int, record: dict) -> list[Turn]:
    """What stands before an answer: "prompt", or "instruction" and "input"; with "system" before it."""
    name = "prompt" if "prompt" in record else "instruction"
    turns = turns_of(path, line, record, name, "user")
    about = text_field(path, line, record, "input") if record.get("input") else ""
    if about.strip():
        turns[-1] = turns[-1][0], f"{turns[-1][1]}\n\n{about}"
    system = text_field(path, line, record, "system") if record.get("system") else ""
    return [("system", system), *turns] if system.strip() else turns


def _listed(path: Path, line: int, name: str, messages: object) -> list[Turn]:
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        form = '{"from", "value"}' if name == "conversations" else '{"role", "content"}'
        raise ValueError(f'{path}:{line}: expected "{name}" to be a list of {form}')
    turns = []
    for place, message in enumerate(messages):
        shared = "from" in message and "role" not in message
        role = SPEAKERS.get(str(message["from"]).lower()) if shared else message.get("role")
        if role not in CHAT_ROLES:
            expected = "from human, gpt or system" if shared else "a role of system, user or assistant"
            found = message["from" if shared else "role"] if shared or "role" in message else None
            raise ValueError(f"{path}:{line}: message {place}: expected {expected}, found {str(found)[:40]!r}")
        field = "value" if shared else "content"
        text = text_field(path, line, message, field)
        if role != "system" or text.strip():
            check_not_empty(path, line, [field], [text])
            turns.append((role, text))
    return turns
