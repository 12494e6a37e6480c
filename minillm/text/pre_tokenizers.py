"""How a tokenizer of other people cuts a text into words: `pre_tokenizer` of tokenizer.json, one step after another.

A step makes of a list of words a longer one. What is cut by a single regular expression, and then written as bytes, is
found too: tiktoken does all of it at once (`pattern_for_tiktoken`).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from minillm.text.bpe import GPT2_PATTERN
from minillm.text.gpt2_files import BYTE_OF
from minillm.text.normalizers import PUNCTUATION, PUNCTUATION_MORE, WHITE_SPACE, members
from minillm.text.patterns import DIGITS_THEN_GPT2, NUMERIC, everything, known, split

BYTE_CHARACTERS = {byte: character for character, byte in BYTE_OF.items()}
ASCII_SIGNS = re.compile(r"[!-/:-@\[-`{-~]")


class Place(NamedTuple):
    """Of a text: whether a space may be put before it, and whether the whole input begins with it."""

    begins: bool = True
    first: bool = True


Step = Callable[[list[str], Place], list[str]]


def as_byte_characters(word: str) -> str:
    """A character for each byte of a word, as GPT-2's files have them."""
    return "".join([BYTE_CHARACTERS[byte] for byte in word.encode()])


def _each(cut: Callable[[str], list[str]]) -> Step:
    return lambda words, place: [piece for word in words for piece in cut(word)]


def _prefixed(words: list[str], place: Place, prefix: str, which: str = "always") -> list[str]:
    """Words with a prefix where they lack it: always, for the first alone, or never."""

    def wanted(i: int) -> bool:
        return (place.begins or i > 0) and (which == "always" or (which == "first" and place.first and i == 0))

    return [prefix + w if w and wanted(i) and not w.startswith(prefix) else w for i, w in enumerate(words)]


def _byte_level(part: dict) -> Step:
    prefix, cuts = part.get("add_prefix_space", True), part.get("use_regex", True)

    def step(words: list[str], place: Place) -> list[str]:
        words = _prefixed(words, place, " ") if prefix else words
        words = [piece for word in words for piece in split(GPT2_PATTERN, word)] if cuts else words
        return list(map(as_byte_characters, words))

    return step


def _metaspace(part: dict) -> Step:
    sign, which = part["replacement"], part.get("prepend_scheme")
    if which is None:  # of an older version
        which = "always" if part.get("add_prefix_space", True) else "never"
    cut = re.compile(f"{re.escape(sign)}[^{re.escape(sign)}]*|[^{re.escape(sign)}]+")

    def step(words: list[str], place: Place) -> list[str]:
        words = _prefixed([word.replace(" ", sign) for word in words], place, sign, which)
        return [piece for word in words for piece in cut.findall(word)] if part.get("split", True) else words

    return step


def _split(part: dict) -> Step:
    kind, text = next(iter(part["pattern"].items()))
    pattern = re.escape(text) if kind == "String" else known(text)
    return _each(lambda word: split(pattern, word, part["behavior"], part.get("invert", False)))


def _digits(part: dict) -> Step:
    pattern = f"[{NUMERIC}]" if part.get("individual_digits") else f"[{NUMERIC}]+"
    return _each(lambda word: split(pattern, word))


def is_sign(text: str) -> re.Pattern:
    """What is punctuation to Hugging Face's library, in this text."""
    return ASCII_SIGNS if text.isascii() else members(text, PUNCTUATION, PUNCTUATION_MORE)


def _cut_at_signs(word: str) -> list[str]:
    return [piece for piece in re.split(f"({is_sign(word).pattern})", word) if piece]


def _punctuation(part: dict) -> Step:
    if part.get("behavior", "Isolated") != "Isolated":
        raise ValueError(f"pre_tokenizer: Punctuation with the behavior {part['behavior']!r} is not known")
    return _each(_cut_at_signs)


def _cut_at_white_space(word: str) -> list[str]:
    return [piece for piece in re.split(f"[{WHITE_SPACE}]+", word) if piece]


def _sequence(part: dict) -> Step:
    steps = [pre_tokenizer(each) for each in part["pretokenizers"]]

    def step(words: list[str], place: Place) -> list[str]:
        for each in steps:
            words = each(words, place)
        return words

    return step


PRE_TOKENIZERS: dict[str, Callable[[dict], Step]] = {
    "BertPreTokenizer": lambda part: _each(lambda w: [p for q in _cut_at_white_space(w) for p in _cut_at_signs(q)]),
    "ByteLevel": _byte_level,
    "Digits": _digits,
    "Metaspace": _metaspace,
    "Punctuation": _punctuation,
    "Sequence": _sequence,
    "Split": _split,
    "Whitespace": lambda part: _each(lambda word: split(r"[\w]+|[^\w\s]+", word, "Removed", invert=True)),
    "WhitespaceSplit": lambda part: _each(_cut_at_white_space),
}


def pre_tokenizer(part: dict | None) -> Step:
    """What `pre_tokenizer` of a tokenizer.json does to a list of words.

    Raises: ValueError for a kind that is not known.
    """
    if part is None:
        return lambda words, place: words
    if part.get("type") not in PRE_TOKENIZERS:
        raise ValueError(f"pre_tokenizer is of the type {part.get('type')!r}, which is not known")
    return PRE_TOKENIZERS[part["type"]](part)


def parts_of(part: dict | None) -> list[dict]:
    """The steps of a pre-tokenizer, sequences within it opened."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [step for each in part["pretokenizers"] for step in parts_of(each)]


def pattern_for_tiktoken(part: dict | None) -> tuple[str, bool] | None:
    """The one pattern that cuts as all steps do, and whether a space is put before a text; None where there is none."""
    *before, last = parts_of(part) or [{"type": None}]
    if last["type"] != "ByteLevel":
        return None
    prefix, cuts = last.get("add_prefix_space", True), last.get("use_regex", True)
    if not before and cuts:
        return GPT2_PATTERN, prefix
    if len(before) != 1 or prefix:
        return None
    if before[0]["type"] == "Digits" and cuts and before[0].get("individual_digits"):
        return DIGITS_THEN_GPT2, False
    if before[0]["type"] == "Split" and not cuts and "Regex" in before[0]["pattern"]:
        kept = before[0]["behavior"] == "Isolated" or (before[0]["behavior"] == "Removed" and before[0].get("invert"))
        whole = everything(known(before[0]["pattern"]["Regex"]))
        return (whole, False) if kept and whole and before[0]["behavior"] == "Isolated" else None
    return None
