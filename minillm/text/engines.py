"""Two ways to cut plain text into tokens, by byte pairs and by characters, and GPT-2's byte pairs read from its files.

This is the inside of a Tokenizer: no special tokens here, no padding, nothing saved.
Left out: the byte-pair loop itself. tiktoken runs it: the pattern cuts a text into words, and in each word the pair
whose joined bytes have the lowest rank is merged, until no pair has one.
"""

import json
from pathlib import Path

import tiktoken


class BytePairs:
    """Byte-level BPE: `tokens` maps ids to bytes, and the id is also the rank by which tiktoken merges."""

    def __init__(self, tokens: dict[int, bytes], pattern: str) -> None:
        ranks = {token: i for i, token in tokens.items()}
        missing = [b for b in range(256) if bytes([b]) not in ranks]
        if missing or len(ranks) < len(tokens):
            raise ValueError(f"These are not byte pairs: {len(missing)} bytes have no token, or tokens are repeated.")
        self._encoding = tiktoken.Encoding("minillm", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(self, text: str) -> list[int]:
        check_surrogates(text)  # tiktoken would replace them without a word
        return self._encoding.encode_ordinary(text)


class Characters:
    """One token for each character that it was made from."""

    def __init__(self, tokens: dict[int, bytes]) -> None:
        self._ids = {token.decode(): i for i, token in tokens.items()}

    def encode(self, text: str) -> list[int]:
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            unknown = error.args[0]
        place = text.index(unknown)
        raise ValueError(
            f"Character {place} (line {text.count(chr(10), 0, place) + 1}) of the text is {unknown!r} "
            f"(U+{ord(unknown):04X}), which this tokenizer of {len(self._ids)} characters does not know. "
            "Remove it, or use a byte-pair tokenizer, which can encode everything."
        )


def check_surrogates(text: str) -> None:
    """Raise ValueError where text has half of a surrogate pair, which is no character and has no UTF-8 bytes."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"Character {error.start} of the text is half of a surrogate pair (U+{ord(text[error.start]):04X}), so the "
            "text was not decoded properly. Read it with the right encoding."
        ) from None


def read_gpt2(vocab_bpe: Path, encoder_json: Path) -> tuple[dict[int, bytes], int]:
    """Read vocab.bpe (merges.txt) and encoder.json (vocab.json): the bytes of each id, and the id of <|endoftext|>.

    Both files must agree, and ids must grow in the order of the merges, because tiktoken merges by id.
    """
    try:
        ids = json.loads(encoder_json.read_text(encoding="utf-8"))
        end_of_text = ids.pop("<|endoftext|>")
        byte_of = _printed_bytes()
        tokens = {i: bytes(byte_of[character] for character in name) for name, i in ids.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{encoder_json} is not GPT-2's encoder.json ({type(error).__name__}: {error}).") from None
    try:
        lines = vocab_bpe.read_text(encoding="utf-8").removeprefix("#version: 0.2").strip("\r\n").split("\n")
        merged = [bytes(byte_of[character] for character in line.replace(" ", "").rstrip("\r")) for line in lines]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{vocab_bpe} is not GPT-2's vocab.bpe ({type(error).__name__}: {error}).") from None
    if [token for _, token in sorted(tokens.items()) if len(token) > 1] != merged:
        raise ValueError(
            f"{vocab_bpe} ({len(merged)} merges) and {encoder_json} ({len(ids)} tokens) do not belong together: the "
            "tokens of more than one byte must be the merges, in the same order. Take both from one model."
        )
    return tokens, end_of_text


def _printed_bytes() -> dict[str, int]:
    """The character that stands for each byte in GPT-2's files: itself if it can be seen, else one from U+0100 on."""
    seen = [b for b in range(256) if chr(b).isprintable() and chr(b) != " "]
    unseen = [b for b in range(256) if b not in seen]
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(unseen)}
