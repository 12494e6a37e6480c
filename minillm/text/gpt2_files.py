"""GPT-2's vocabulary, read from its two files: vocab.bpe, the merges in order, and encoder.json, the id of each token.

Hugging Face calls them merges.txt and vocab.json, and its trainers write them with special tokens at any place.
Left out: writing them.
"""

import json
import re
from pathlib import Path

from minillm.text.bpe import BYTE_ORDER

# The character that both files write for a byte: itself where it can be seen, as 188 can, else one from U+0100 on.
BYTE_OF = dict(zip(map(chr, [*BYTE_ORDER[:188], *range(256, 324)]), BYTE_ORDER))
END_OF_TEXT = "<|endoftext|>"  # GPT-2's only special token, which both begins and ends a text
SPECIAL = re.compile(r"<\S+>|\[[A-Z]+\]")  # as people name special tokens: <|pad|>, <s>, [MASK]


def read_gpt2(vocab_bpe: Path, encoder_json: Path) -> tuple[dict[int, bytes], dict[str, int]]:
    """Read vocab.bpe and encoder.json, which must agree.

    Returns: the bytes of each id, and the ids of the special tokens, <|endoftext|> and what else is named like one and
        is no merge.
    Raises: ValueError for other files, and where ids do not grow in the order of the merges: tiktoken merges by id.
    """
    try:
        lines = vocab_bpe.read_text(encoding="utf-8-sig").split("\n")
        header = lines[0].startswith("#version")  # whatever it goes on to
        lines = [line.rstrip("\r") for line in lines[header:]]
        merged = [_token(line.replace(" ", "")) for line in lines if line]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{vocab_bpe} is not GPT-2's vocab.bpe ({type(error).__name__}: {error}).") from None
    try:
        ids = json.loads(encoder_json.read_text(encoding="utf-8-sig"))
        names = {line.replace(" ", "") for line in lines}
        specials = {name: i for name, i in ids.items() if SPECIAL.fullmatch(name) and name not in names}
        if END_OF_TEXT not in specials or not all(type(i) is int and i >= 0 for i in ids.values()):
            raise KeyError(f"{END_OF_TEXT}, and ids that are whole numbers")
        tokens = {i: _token(name) for name, i in ids.items() if name not in specials}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{encoder_json} is not GPT-2's encoder.json ({type(error).__name__}: {error}).") from None
    if len(ids) != len({*ids.values()}) or [tokens[i] for i in sorted(tokens) if len(tokens[i]) > 1] != merged:
        raise ValueError(
            f"{vocab_bpe} ({len(merged)} merges) and {encoder_json} ({len(ids)} tokens) do not belong together: the "
            "tokens of more than one byte must be the merges, in the same order. Take both from one model."
        )
    return tokens, specials


def _token(name: str) -> bytes:
    return bytes(BYTE_OF[character] for character in name)
