"""Tokenizers in Hugging Face's format, in and out: tokenizer.json beside tokenizer_config.json, or vocab.txt."""

import os

from minillm.text import Tokenizer


def read_tokenizer(folder: str | os.PathLike) -> Tokenizer:
    """The tokenizer of a folder."""
    raise NotImplementedError


def write_tokenizer(tokenizer: Tokenizer, folder: str | os.PathLike) -> None:
    """Write a tokenizer so that transformers' AutoTokenizer reads it."""
    raise NotImplementedError
