"""GPT-2's vocabulary, read from its two files: vocab.bpe, the merges in order, and encoder.json, the id of each token.

Both write a byte as one character that can be seen. Hugging Face calls the files merges.txt and vocab.json.
Left out: writing them.
"""

import json
from pathlib import Path


def read_gpt2(vocab_bpe: Path, encoder_json: Path) -> tuple[dict[int, bytes], int]:
    """Read vocab.bpe and encoder.json, which must agree.

    Returns: the bytes of each id, and the id of <|endoftext|>.
    Raises: ValueError for other files, and where ids do not grow in the order of the merges: tiktoken merges by id.
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
