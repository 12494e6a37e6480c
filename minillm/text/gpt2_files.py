"""GPT-2's vocabulary, read from its two files: vocab.bpe, the merges in order, and encoder.json, the id of each token.

Hugging Face calls them merges.txt and vocab.json. Left out: writing them.
"""

import json
from pathlib import Path

from minillm.text.bpe import BYTE_ORDER

# The character that both files write for a byte: itself where it can be seen, as 188 can, else one from U+0100 on.
BYTE_OF = dict(zip(map(chr, [*BYTE_ORDER[:188], *range(256, 324)]), BYTE_ORDER))


def read_gpt2(vocab_bpe: Path, encoder_json: Path) -> tuple[dict[int, bytes], int]:
    """Read vocab.bpe and encoder.json, which must agree.

    Returns: the bytes of each id, and the id of <|endoftext|>.
    Raises: ValueError for other files, and where ids do not grow in the order of the merges: tiktoken merges by id.
    """
    try:
        ids = json.loads(encoder_json.read_text(encoding="utf-8"))
        end_of_text = ids.pop("<|endoftext|>")
        tokens = {i: bytes(BYTE_OF[character] for character in name) for name, i in ids.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{encoder_json} is not GPT-2's encoder.json ({type(error).__name__}: {error}).") from None
    try:
        lines = vocab_bpe.read_text(encoding="utf-8").removeprefix("#version: 0.2").strip("\r\n").split("\n")
        merged = [bytes(BYTE_OF[character] for character in line.replace(" ", "").rstrip("\r")) for line in lines]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{vocab_bpe} is not GPT-2's vocab.bpe ({type(error).__name__}: {error}).") from None
    if [token for _, token in sorted(tokens.items()) if len(token) > 1] != merged:
        raise ValueError(
            f"{vocab_bpe} ({len(merged)} merges) and {encoder_json} ({len(ids)} tokens) do not belong together: the "
            "tokens of more than one byte must be the merges, in the same order. Take both from one model."
        )
    return tokens, end_of_text
