"""The chat template: a conversation as token ids, each message behind a special token that says who speaks.

    <|bos|> <|system|> ... <|user|> ... <|assistant|> ... <|eos|> <|user|> ...

Each text is encoded by itself and special tokens in it are plain text, so nobody can speak for somebody else, and a
prompt has the same ids in training, with its answer, and in generation. This is ours; tokenizers of other people have
`templates` of their own. Left out: tools.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from minillm.text.templates import TEMPLATE_NAMES, TEMPLATES, Names, Piece

CHAT_ROLES = ("system", "user", "assistant")


def apply_chat_template(
    tokenizer, messages: Sequence[Mapping[str, str]], reply: bool = False
) -> tuple[list[int], list[bool]]:
    """A conversation as ids, and for each id whether the assistant learns it: its own words and the <|eos|> after them.

    Args:
        tokenizer: a Tokenizer, whose `template` says how.
        messages: [{"role": "user", "content": "Is it far?"}, ...], whose roles are CHAT_ROLES.
        reply: open the assistant's turn at the end.
    Raises: ValueError for what is no list of messages, for a message without a role or a text, and for a tokenizer
        whose template is not known.
    """
    _check(messages)
    if tokenizer.template is None:
        raise ValueError(
            "the tokenizer of this model has no chat template, or one that is not known here: name one that the model "
            f"was trained with by --template, of {', '.join(TEMPLATES)}"
        )
    return (_own if tokenizer.template == "minillm" else _foreign)(tokenizer, messages, reply)


def check_template(name: str) -> None:
    """Raise ValueError for a name that is no template's."""
    if name not in TEMPLATE_NAMES:
        raise ValueError(f"unknown chat template {name!r}: choose one of {', '.join(TEMPLATE_NAMES)}")


def render(messages: Sequence[Mapping[str, str]], template: str, bos: str, eos: str, reply: bool = False) -> str:
    """The text of a conversation in a template of TEMPLATES. bos, eos: how special tokens of these roles are called."""
    _check(messages)
    return "".join(piece.text for piece in TEMPLATES[template](messages, reply, Names(bos, eos, bos)))


def _check(messages) -> None:
    if isinstance(messages, str | Mapping) or not all(isinstance(message, Mapping) for message in messages):
        shown = repr(messages)
        raise ValueError(
            'A conversation is a list of messages such as [{"role": "user", "content": "Is it far?"}], '
            f"but this one is {shown if len(shown) <= 60 else shown[:60] + '...'}."
        )
    for place, message in enumerate(messages):
        if message.get("role") not in CHAT_ROLES or not isinstance(message.get("content"), str):
            raise ValueError(
                f"Message {place} must have a 'role' (system, user or assistant) and a text as 'content', "
                f"but it is {message!r}."
            )


def _own(tokenizer, messages: Sequence[Mapping[str, str]], reply: bool) -> tuple[list[int], list[bool]]:
    """Our own template."""
    ids, learned = [tokenizer.bos_id], [False]
    for message in messages:
        role = message["role"]
        answers = role == "assistant"
        content = tokenizer.encode(message["content"]) + [tokenizer.eos_id] * answers
        ids += [tokenizer.specials[f"<|{role}|>"], *content]
        learned += [False] + [answers] * len(content)
    if reply:
        return [*ids, tokenizer.specials["<|assistant|>"]], [*learned, False]
    return ids, learned


def _foreign(tokenizer, messages: Sequence[Mapping[str, str]], reply: bool) -> tuple[list[int], list[bool]]:
    """A template of other people: markup becomes special tokens, all other text plain ones.

    Text between two special tokens is encoded in one, as Hugging Face's library does, so that ids are equal; but what
    the assistant says is encoded by itself, as it is when the model says it.
    """
    names = {i: name for name, i in tokenizer.specials.items()}
    bos, eos = names[tokenizer.bos_id], names[tokenizer.eos_id]
    pieces = TEMPLATES[tokenizer.template](messages, reply, Names(bos, eos, bos if tokenizer.begin else ""))
    ids, learned, after = [], [], None  # after: whether a special token is what comes before; None: nothing does

    def kind(piece: Piece) -> tuple[int | None, bool]:
        return tokenizer.specials.get(piece.text) if piece.markup else None, piece.learned

    for (special, counts), group in groupby(filter(lambda piece: piece.text, pieces), kind):
        text = "".join(piece.text for piece in group)
        if special is not None:
            new = [special] * (len(text) // len(names[special]))
        else:
            new = tokenizer.encode(text) if after is None else tokenizer.encode_after(text, after)
        ids, learned, after = ids + new, learned + [counts] * len(new), special is not None
    return ids, learned
