"""The text that pretrain and mlm learn from: a file in documents, the tales, or shards that `prepare` made."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from minillm import tales
from minillm.cli.flags import refuse
from minillm.cli.settings import TextSource
from minillm.data import Shards, Tokens, is_shards, mean_token_length, tokenize_once
from minillm.text import Tokenizer, read_documents, split, split_stream

COUNTED = 1 << 24  # tokens of shards behind the counted bigram


@dataclass
class Corpus:
    """Text on both sides of the split, and what is known of it."""

    train: Sequence[str]
    valid: Sequence[str]
    whole: bool  # one long text, cut anywhere
    name: str
    counted: int | None = None  # tokens behind the counted bigram; None: all

    def make_tokenizer(self, source: TextSource) -> Tokenizer:
        """The tokenizer that --tokenizer names, trained on the training text. (Characters are taken from all of it.)"""
        if source.tokenizer == "bpe":
            return Tokenizer.train(self.train, source.vocab_size)
        if source.tokenizer == "characters":
            return Tokenizer.characters(chain(self.train, self.valid))
        if Path(source.tokenizer).suffix == ".json":
            return Tokenizer.load(source.tokenizer)
        return Tokenizer.from_tiktoken(source.tokenizer)

    def check(self, tokenizer: Tokenizer, origin: object) -> None:
        """See whether a tokenizer that was not made for it knows this text."""
        mean_token_length(self.train, tokenizer, origin)

    def tokens(self, part: str, tokenizer: Tokenizer, file: Path | None) -> Tokens:
        """The ids of a part; `file` keeps them."""
        return tokenize_once(getattr(self, part), tokenizer, file, self.whole)

    @contextmanager
    def named(self, purpose: str) -> Iterator[None]:
        """What is said inside of a text that is too short says of which."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.name}, the part {purpose}: {error}") from error

    def documents(self, part: str) -> int:
        """How many there are in a part."""
        return len(getattr(self, part))

    def characters(self) -> int:
        """Of the training text."""
        return sum(map(len, self.train))

    def floor(self, valid: Tokens) -> float | None:
        """The entropy of the validation text, where that is known."""
        return tales.entropy_floor(self.valid, int((valid.targets() >= 0).sum()))

    def of_tokens(self, tokens: Tokens) -> str:
        """A checksum of the ids of the training text."""
        return hashlib.sha256(tokens.ids.numpy()).hexdigest()

    def of_text(self) -> str:
        """A checksum of the training text."""
        digest, between = hashlib.sha256(), b""
        for document in self.train:
            digest.update(between + document.encode())
            between = b"\0"
        return digest.hexdigest()


class ShardedCorpus(Corpus):
    """The same of shards, whose text is not there any more."""

    def __init__(self, path: Path):
        super().__init__([], [], False, str(path), COUNTED)
        self.shards = Shards(path)

    def make_tokenizer(self, source: TextSource) -> Tokenizer:
        return self.shards.tokenizer

    def check(self, tokenizer: Tokenizer, origin: object) -> None:
        """Raises: ValueError for another tokenizer than that of the shards."""
        self.shards.fits(tokenizer, origin)

    def tokens(self, part: str, tokenizer: Tokenizer, file: Path | None) -> Tokens:
        self.check(tokenizer, "this run")
        return self.shards.tokens(part)

    def documents(self, part: str) -> int:
        return self.shards.part(part)["documents"]

    def characters(self) -> int:
        return self.shards.part("train")["characters"]

    def floor(self, valid: Tokens) -> None:
        return None

    def of_tokens(self, tokens: Tokens) -> str:
        return self.shards.fingerprint

    def of_text(self) -> str:
        return self.shards.fingerprint


class OneDocument(ValueError):
    """A text that cannot be cut between documents."""


def check_text_flags(source: TextSource, given: dict) -> None:
    """Raises: ValueError for a flag that says of shards what `prepare` has decided."""
    if source.data is not None and is_shards(source.data):
        names = ("valid", "valid_fraction", "documents", "tokenizer", "vocab_size")
        refuse(given, names, f"{source.data} holds shards, of which prepare decided that")


def load_corpus(source: TextSource, seed: int) -> Corpus:
    """Read the user's text, or the tales. Raises: ValueError for anything that is no text."""
    if source.data is None:
        if source.valid is not None:
            raise ValueError("--valid needs --data: the tales have a validation text of their own")
        train, valid = (tales.load_documents(f"tales_{part}.txt") for part in ("train", "valid"))
        return Corpus(train, valid, False, "tales")
    if is_shards(source.data):
        return ShardedCorpus(source.data)
    if source.data.is_dir():
        raise ValueError(f"{source.data}: this is a folder: name one file in it, or make shards of all by prepare")
    whole = source.documents == "file"
    name = str(source.data)
    if source.valid is not None:
        train, valid = (read_documents(path, source.documents) for path in (source.data, source.valid))
        return Corpus(train, valid, whole, name)
    if whole:
        (text,) = read_documents(source.data, "file")
        if not text[1:]:
            raise ValueError(f"{source.data}: a text of one character cannot be cut in two: bring more")
        first, last = split_stream(text, source.valid_fraction)
        return Corpus([first], [last], True, name)
    documents = read_documents(source.data)
    if len(documents) < 2:
        raise OneDocument(
            f"{source.data}: holds one document, and measuring needs a second: separate documents by blank lines, "
            "give --valid, or use --documents file, which keeps the end of the text aside"
        )
    train, valid = split(documents, source.valid_fraction, seed)
    return Corpus(train, valid, False, name)
