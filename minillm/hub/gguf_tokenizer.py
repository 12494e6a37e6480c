"""The tokenizer in a GGUF file's metadata."""

from minillm.text import Tokenizer


def tokenizer_from_gguf(metadata: dict) -> Tokenizer:
    """The tokenizer that a GGUF file's metadata describes."""
    raise NotImplementedError
