"""Tokens that stand beside the vocabulary of a model: found in a text by their names, before anything else is done.

Their flags, as in tokenizer.json: special (a sign to the model, and no text unless it is allowed), lstrip and rstrip
(white space beside it belongs to it), single_word (not within a word), normalized (looked for in the normalised text).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from minillm.text.bpe import compiled_for
from minillm.text.normalizers import WHITE_SPACE

FLAGS = ("special", "lstrip", "rstrip", "single_word", "normalized")
SPACES = re.compile(f"[{WHITE_SPACE}]*")


class Added(NamedTuple):
    """A token, as it is written, and its flags."""

    id: int
    content: str
    special: bool
    lstrip: bool
    rstrip: bool
    single_word: bool
    normalized: bool


def read_added(descriptions: list[dict], vocab: dict[str, int]) -> list[Added]:
    """`added_tokens` of a tokenizer.json.

    Raises: ValueError for an id that is not the one that Hugging Face's library would give the token, or is taken.
    """
    tokens, following, names = [], len(vocab), {i: name for name, i in vocab.items()}
    for entry in descriptions:
        content, i = entry["content"], entry["id"]
        if not content:
            continue
        given = vocab.get(content, following)
        if i != given or names.setdefault(i, content) != content:
            raise ValueError(f"added_tokens: {content!r} has the id {i}, where {given} was expected")
        following += content not in vocab
        normalized = entry.get("normalized", not entry.get("special"))
        flags = {name: bool(entry.get(name)) for name in FLAGS} | {"normalized": bool(normalized)}
        tokens.append(Added(i, content, **flags))
    return tokens


class Finder:
    """Finds the added tokens of one kind in a text."""

    def __init__(self, tokens: list[Added], written: Callable[[str], str]) -> None:
        self.names = {written(token.content): token for token in tokens if written(token.content)}
        longest_first = sorted(self.names, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def split(self, text: str) -> list[str | int]:
        """The text in pieces, an added token as its id."""
        if not self.names:
            return [text]
        pieces, last = [], 0
        for match in self._pattern.finditer(text):
            token, (start, stop) = self.names[match[0]], match.span()
            if token.single_word and (_is_word(text[start - 1 : start]) or _is_word(text[stop : stop + 1])):
                continue
            if token.lstrip:
                start = last + len(text[last:start].rstrip(WHITE_SPACE)) if last < start else last
            if token.rstrip:
                stop = SPACES.match(text, stop).end()
            if last < start:
                pieces.append(text[last:start])
            pieces.append(token.id)
            last = stop
        return [*pieces, text[last:]] if last < len(text) else pieces


def _is_word(character: str) -> bool:
    return bool(compiled_for(r"\w", 0x110000).fullmatch(character))
