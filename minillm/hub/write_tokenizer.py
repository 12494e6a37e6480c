"""Tokenizers in Hugging Face's format, out: tokenizer.json, tokenizer_config.json and chat_template.jinja.

transformers' AutoTokenizer reads them with equal ids. Our own byte pairs are written with the merges that make them. A
character tokenizer has no home there: it refuses what it does not know, which no model of theirs does.
"""

import os
from itertools import pairwise
from pathlib import Path

from minillm.hub.describe import around, at_pattern, byte_level, cut
from minillm.hub.tokenizer_json import CONFIG, ROLES, TEMPLATE, surroundings
from minillm.system import write_json, write_text
from minillm.text import BYTE_CHARACTERS, GPT2_PATTERN, Pipeline, Tokenizer

# Our own chat template, as Hugging Face's library reads it.
OWN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def write_tokenizer(tokenizer: Tokenizer, folder: str | os.PathLike) -> None:
    """Write a tokenizer, with its chat template where it has one, so that transformers' AutoTokenizer reads it.

    Raises: ValueError for a tokenizer that has no counterpart in that format.
    """
    folder, names = Path(folder), {i: name for name, i in tokenizer.specials.items()}
    description = description_of(tokenizer)
    ids = {name: i for i, name in names.items()}
    if surroundings(description["post_processor"], ids) != (tokenizer.begin, tokenizer.end):
        begin, end = ({names[i]: i for i in side} for side in (tokenizer.begin, tokenizer.end))
        description["post_processor"] = around(begin, end, separated=tokenizer.kind == "WordPiece")
    reads = ["input_ids", *(["token_type_ids"] if tokenizer.kind == "WordPiece" else []), "attention_mask"]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": reads}
    config |= {"clean_up_tokenization_spaces": False}
    config |= _names(tokenizer, names)
    template = OWN_TEMPLATE if tokenizer.template == "minillm" else tokenizer.chat_template
    (folder / TEMPLATE).unlink(missing_ok=True)
    if template is not None:
        write_text(folder / TEMPLATE, template)
    write_json(folder / "tokenizer.json", {"version": "1.0", "truncation": None, "padding": None, **description})
    write_json(folder / CONFIG, config)


def _names(tokenizer: Tokenizer, names: dict[int, str]) -> dict[str, str]:
    """The names of the tokens that have a role; one that stands in for another, as nearest in meaning, is left out."""
    roles = dict(zip(ROLES, tokenizer.roles.single))
    ends, begins = ("sep", "eos"), ("cls", "bos")
    for theirs, other in (ends, begins) if tokenizer.kind == "WordPiece" else (ends[::-1], begins[::-1]):
        if roles[other] == roles[theirs]:
            del roles[other]
    unknown = {} if not isinstance(tokenizer.engine, Pipeline) else {"unk": tokenizer.engine.unknown}
    return {f"{role}_token": names[i] for role, i in {**roles, **unknown}.items() if i in names}


def description_of(tokenizer: Tokenizer) -> dict:
    """What tokenizer.json says of a tokenizer. Raises: ValueError where that format cannot say it."""
    if isinstance(tokenizer.engine, Pipeline):
        return dict(tokenizer.engine.description)
    pattern = tokenizer.engine.pattern
    if pattern is None or "$" in pattern:
        kind = "a character tokenizer" if pattern is None else f"a tokenizer of the pattern {pattern!r}"
        raise ValueError(f"{kind} has no counterpart in Hugging Face's format: a byte-pair tokenizer of ours has one")
    tokens = {i: tokenizer.engine.bytes[i] for i in tokenizer.text_ids}
    vocab = {_name(token): i for i, token in tokens.items()}
    twice = sorted(vocab.keys() & tokenizer.specials.keys())
    if twice:
        raise ValueError(f"{twice[0]} is a special token and a token of text, which Hugging Face's format cannot have")
    before = [] if pattern == GPT2_PATTERN else [at_pattern(pattern)]
    merges = [f"{_name(left)} {_name(right)}" for left, right in _merges(tokens)]
    description = byte_level(vocab | tokenizer.specials, merges, cut(*before))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    ids = sorted(tokenizer.specials.items(), key=lambda item: item[1])
    description["added_tokens"] = [{"id": i, "content": name, **flags, "special": True} for name, i in ids]
    return description


def _name(token: bytes) -> str:
    return "".join([BYTE_CHARACTERS[byte] for byte in token])


def _merges(tokens: dict[int, bytes]) -> list[tuple[bytes, bytes]]:
    """The pair that each token of more than one byte is made of: what merging by lower ids makes of its bytes.

    Raises: ValueError for a token that is made of more.
    """
    ranks, merges = {token: i for i, token in tokens.items()}, []
    for rank, token in sorted(tokens.items()):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            found = [(ranks.get(a + b, rank), at) for at, (a, b) in enumerate(pairwise(parts))]
            lowest, at = min(found)
            if lowest >= rank:
                raise ValueError(f"the token {token!r} is not made by merging two, as Hugging Face's format asks for")
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges
