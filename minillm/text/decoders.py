"""From tokens back to text, for tokenizers of other people: `decoder` of tokenizer.json, a step after another."""

import re
from collections.abc import Callable

from minillm.text.gpt2_files import BYTE_OF
from minillm.text.patterns import find, known

Decode = Callable[[list[str]], list[str]]  # of tokens

BYTE = re.compile(r"<0x([+0-9a-fA-F][0-9a-fA-F])>")
# English that a tokenizer took apart, and Hugging Face's library puts together, in this order.
TIDY = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m")]
TIDY += [(" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re")]


def token_bytes(token: str) -> bytes:
    """The bytes of a token that is written as GPT-2's files do, or else of its characters."""
    try:
        return bytes([BYTE_OF[character] for character in token])
    except KeyError:
        return token.encode()


def _byte_level(part: dict) -> Decode:
    return lambda tokens: [b"".join(map(token_bytes, tokens)).decode(errors="replace")]


def _byte_fallback(part: dict) -> Decode:
    def decode(tokens: list[str]) -> list[str]:
        texts, waiting = [], b""
        for token in [*tokens, ""]:
            if match := BYTE.fullmatch(token):
                waiting += bytes([int(match[1], 16)])
                continue
            if waiting:
                try:
                    texts.append(waiting.decode())
                except UnicodeDecodeError:
                    texts += ["\ufffd"] * len(waiting)
            waiting = b""
            texts.append(token)
        return texts[:-1]

    return decode


def _metaspace(part: dict) -> Decode:
    sign, never = part["replacement"], part.get("prepend_scheme", "always") == "never"

    def decode(tokens: list[str]) -> list[str]:
        return [token.replace(sign, " " if i or never else "") for i, token in enumerate(tokens)]

    return decode


def _strip(part: dict) -> Decode:
    sign, start, stop = part["content"], part["start"], part["stop"]

    def decode(tokens: list[str]) -> list[str]:
        texts = []
        for token in tokens:
            left = next((i for i, c in enumerate(token[:start]) if c != sign), min(start, len(token)))
            rest = token[left:]
            right = next((i for i, c in enumerate(rest[::-1][:stop]) if c != sign), min(stop, len(rest)))
            texts.append(rest[: len(rest) - right])
        return texts

    return decode


def _replace(part: dict) -> Decode:
    pattern, content = part["pattern"], part["content"]
    if "String" in pattern:
        return lambda tokens: [token.replace(pattern["String"], content) for token in tokens]
    regex = known(pattern["Regex"])
    return lambda tokens: ["".join(content if found else piece for piece, found in find(regex, t)) for t in tokens]


def _word_piece(part: dict) -> Decode:
    prefix, tidies = part["prefix"], part.get("cleanup", True)

    def decode(tokens: list[str]) -> list[str]:
        texts = []
        for i, token in enumerate(tokens):
            if i:
                token = token[len(prefix) :] if token.startswith(prefix) else f" {token}"
            for apart, together in TIDY if tidies else ():
                token = token.replace(apart, together)
            texts.append(token)
        return texts

    return decode


def _sequence(part: dict) -> Decode:
    steps = [make_decoder(each) for each in part["decoders"]]

    def decode(tokens: list[str]) -> list[str]:
        for step in steps:
            tokens = step(tokens)
        return tokens

    return decode


DECODERS: dict[str, Callable[[dict], Decode]] = {
    "ByteFallback": _byte_fallback,
    "ByteLevel": _byte_level,
    "Fuse": lambda part: lambda tokens: ["".join(tokens)],
    "Metaspace": _metaspace,
    "Replace": _replace,
    "Sequence": _sequence,
    "Strip": _strip,
    "WordPiece": _word_piece,
}


def make_decoder(part: dict | None) -> Decode:
    """What `decoder` of a tokenizer.json makes of a list of tokens: texts, to be joined.

    Raises: ValueError for a kind that is not known.
    """
    if part is None:
        return lambda tokens: [" ".join(tokens)]
    if part.get("type") not in DECODERS:
        raise ValueError(f"decoder is of the type {part.get('type')!r}, which is not known")
    return DECODERS[part["type"]](part)
