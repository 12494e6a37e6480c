"""The chat template: a conversation as token ids, each message behind a special token that says who speaks.

    <|bos|> <|system|> ... <|user|> ... <|assistant|> ... <|eos|> <|user|> ...

Each text is encoded by itself and special tokens in it are plain text, so nobody can speak for somebody else, and a
prompt has the same ids in training, with its answer, and in generation. Left out: other models' templates, tools.
"""

from collections.abc import Mapping, Sequence

CHAT_ROLES = ("system", "user", "assistant")


def apply_chat_template(
    tokenizer, messages: Sequence[Mapping[str, str]], reply: bool = False
) -> tuple[list[int], list[bool]]:
    """A conversation as ids, and for each id whether the assistant learns it: its own words and the <|eos|> after them.

    Args:
        tokenizer: a Tokenizer, or whatever has its `encode`, `specials`, `bos_id` and `eos_id`.
        messages: [{"role": "user", "content": "Is it far?"}, ...], whose roles are CHAT_ROLES.
        reply: open the assistant's turn at the end.
    Raises: ValueError for what is no list of messages, and for a message without a role or a text.
    """
    if isinstance(messages, str | Mapping) or not all(isinstance(message, Mapping) for message in messages):
        shown = repr(messages)
        raise ValueError(
            'A conversation is a list of messages such as [{"role": "user", "content": "Is it far?"}], '
            f"but this one is {shown if len(shown) <= 60 else shown[:60] + '...'}."
        )
    ids, learned = [tokenizer.bos_id], [False]
    for place, message in enumerate(messages):
        role = message.get("role")
        if role not in CHAT_ROLES or not isinstance(message.get("content"), str):
            raise ValueError(
                f"Message {place} must have a 'role' (system, user or assistant) and a text as 'content', "
                f"but it is {message!r}."
            )
        answers = role == "assistant"
        content = tokenizer.encode(message["content"]) + [tokenizer.eos_id] * answers
        ids += [tokenizer.specials[f"<|{role}|>"], *content]
        learned += [False] + [answers] * len(content)
    if reply:
        return [*ids, tokenizer.specials["<|assistant|>"]], [*learned, False]
    return ids, learned
