"""What turns a text into ids, below the Tokenizer: an engine for byte pairs, and one for characters.

An engine has `bytes`, what each id stands for; `encode`, which takes a name of a special token for plain text unless it
is told not to; and `decode`. `pipeline` is the engine of other people's tokenizers.
"""

import re
from collections.abc import Iterable

import tiktoken

from minillm.text.bpe import check_surrogates
from minillm.text.long_words import LongWords


class Engine:
    """What byte pairs and characters share: names of special tokens are looked for only where they are allowed."""

    kind, pattern = "", None

    def __init__(self, tokens: dict[int, bytes], specials: dict[str, int]) -> None:
        self._tokens, self.specials = tokens, dict(specials)
        self.bytes = tokens | {i: name.encode() for name, i in specials.items()}

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text in which nothing is special."""
        raise NotImplementedError

    def parts(self, text: str) -> Iterable[str]:
        """The text in parts whose ids, one behind the other, are its ids: of a long text, where that is known."""
        return (text,)

    def encode(self, text: str, allow_special: bool = False, first: bool = True, begins=True) -> list[int]:
        """The ids of a text, in which names of special tokens are those tokens if `allow_special`.

        Args: first: the text begins here; begins: it stands behind nothing but special tokens. To byte pairs and
            characters it is all one.
        """
        if not allow_special:
            return self.text_ids(text)
        ids = []
        for piece in re.split("(" + "|".join(map(re.escape, self.specials)) + ")", text):
            ids += [self.specials[piece]] if piece in self.specials else self.text_ids(piece)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are not valid UTF-8 become U+FFFD."""
        return b"".join([self.bytes[i] for i in ids]).decode(errors="replace")

    def record(self) -> dict:
        """All that decides an encoding. Bytes are written as Latin-1 characters; an id without a token is null."""
        tokens = [self._tokens.get(i) for i in range(max(self._tokens) + 1)]
        written = [None if token is None else token.decode("latin-1") for token in tokens]
        return {"kind": self.kind, "pattern": self.pattern, "specials": self.specials, "tokens": written}


class BytePairs(Engine):
    """Encodes by byte pairs: `tokens` maps ids to bytes, and the id is also the rank by which tiktoken merges."""

    kind = "bpe"

    def __init__(self, tokens: dict[int, bytes], specials: dict[str, int], pattern: str) -> None:
        super().__init__(tokens, specials)
        self.pattern = pattern
        ranks = {token: i for i, token in tokens.items()}
        missing = [b for b in range(256) if bytes([b]) not in ranks]
        if missing or len(ranks) < len(tokens):
            raise ValueError(f"These are not byte pairs: {len(missing)} bytes have no token, or tokens are repeated.")
        encoding = tiktoken.Encoding("minillm", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self._words = LongWords(encoding, pattern, tokens)

    def text_ids(self, text: str) -> list[int]:
        """tiktoken's ids."""
        if not text.isascii():
            check_surrogates(text)  # tiktoken would replace them without a word
        return self._words.encode(text)

    def parts(self, text: str) -> Iterable[str]:
        """Parts of a long text, see `LongWords`."""
        return self._words.texts(text)


class Characters(Engine):
    """Encodes by characters, one token for each that it was made from."""

    kind = "characters"

    def __init__(self, tokens: dict[int, bytes], specials: dict[str, int]) -> None:
        super().__init__(tokens, specials)
        self._ids = {token.decode(): i for i, token in tokens.items()}

    def text_ids(self, text: str) -> list[int]:
        """An id for each character; ValueError that says where the first unknown one stands."""
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


def own_engine(record: dict) -> Engine:
    """Undo `Engine.record`."""
    tokens = {i: token.encode("latin-1") for i, token in enumerate(record["tokens"]) if token is not None}
    if record["kind"] == "characters":
        return Characters(tokens, record["specials"])
    return BytePairs(tokens, record["specials"], record["pattern"])
