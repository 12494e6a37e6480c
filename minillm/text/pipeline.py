"""The tokenizers of other people, as tokenizer.json describes them, exactly as Hugging Face's library runs them.

Added tokens are found, the text between them is normalised and cut into words, and a model looks each word up: BPE
(`merges`) or WordPiece (`word_pieces`). tiktoken does all of it where it may; else a cache remembers words. What is not
known is refused, so that ids are the same or there are none.
Left out: the models Unigram and WordLevel. Source: https://huggingface.co/docs/tokenizers/pipeline
"""

import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

import tiktoken

from minillm.text.added_tokens import Finder, read_added
from minillm.text.bpe import check_surrogates
from minillm.text.decoders import BYTE, make_decoder, token_bytes
from minillm.text.engines import Engine
from minillm.text.long_words import has_long_blank
from minillm.text.merges import SPACE, Merges, ranks_for_tiktoken
from minillm.text.normalizers import normalizer
from minillm.text.parts import LISTS, check_added, check_model, check_part
from minillm.text.patterns import find
from minillm.text.pre_tokenizers import Place, pattern_for_tiktoken, pre_tokenizer
from minillm.text.word_pieces import WordPieces

MODELS = {"BPE": Merges, "WordPiece": WordPieces}
PARTS = ("added_tokens", "normalizer", "pre_tokenizer", "model", "decoder", "post_processor")
REMEMBERED, LONGEST = 200_000, 100  # words of a cache, and characters of one
# White space that BERT's normaliser keeps apart from what is beside it: others are no characters to it.
BERT_WORDS = re.compile("[^\t\n\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")

WordIds = Callable[[str, Place], list[int]]  # of a normalised text


class Pipeline(Engine):
    """Made of what tokenizer.json says: its parts, as `PARTS` names them.

    Raises: ValueError that names the part, for what is not known.
    """

    def __init__(self, description: dict) -> None:
        self.description = {name: description.get(name) for name in PARTS}
        written = description.get("model")
        check_model(written)
        for name in LISTS:
            check_part(description.get(name), name)
        check_added(description.get("added_tokens") or [])
        self.kind, self.model = written["type"], MODELS[written["type"]](written)
        self.unknown = self.model.vocab.get(written.get("unk_token"))
        self._normalize = normalizer(description.get("normalizer"))
        self._decode = make_decoder(description.get("decoder"))
        self.added = read_added(description.get("added_tokens") or [], self.model.vocab)
        self.specials = {token.content: token.id for token in self.added if token.special}
        self.names = {i: name for name, i in self.model.vocab.items()}
        self.names |= {t.id: self._normalize(t.content, True) if t.normalized else t.content for t in self.added}
        self.byte_level = (description.get("decoder") or {}).get("type") == "ByteLevel"
        self.bytes = {i: self._shown(name) for i, name in self.names.items()}
        self._finders = {}
        for special in (False, True):
            some = [token for token in self.added if special or not token.special]
            raw = Finder([token for token in some if not token.normalized], str)
            normalised = Finder([token for token in some if token.normalized], lambda c: self._normalize(c, True))
            self._finders[special] = raw, normalised
        self._words, self._raw_words = self._fastest(), None
        kinds = [(self.description[name] or {}).get("type") for name in ("normalizer", "pre_tokenizer")]
        if kinds == ["BertNormalizer", "BertPreTokenizer"]:  # which treat what stands between blanks by itself
            self._raw_words = Memory(lambda word: self._words(self._normalize(word, True), Place()))

    def encode(self, text: str, allow_special: bool = False, first: bool = True, begins=True) -> list[int]:
        """The ids of a text, as `Engine.encode`; with `allow_special` exactly those of Hugging Face's library."""
        if not text.isascii():
            check_surrogates(text)
        raw, normalised = self._finders[allow_special]
        ids, place = [], Place(begins, first)
        for part in raw.split(text):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._raw(part, place, normalised)
            place = Place(True, False)
        return ids

    def _raw(self, text: str, place: Place, finder: Finder) -> list[int]:
        """The ids of a text that is not normalised yet, and holds none of the added tokens that are found there."""
        if self._raw_words is not None and not finder.names:
            return self._raw_words.ids(BERT_WORDS.findall(text))
        ids = []
        for piece in finder.split(self._normalize(text, place.begins)):
            ids += [piece] if isinstance(piece, int) else self._words(piece, place)
            place = Place(True, False)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, as Hugging Face's library gives it."""
        if self.byte_level:
            return super().decode(ids)
        return "".join(self._decode([self.names[i] for i in ids]))

    def record(self) -> dict:
        """All that decides an encoding."""
        return {"kind": self.kind, "pipeline": self.description}

    def _shown(self, name: str) -> bytes:
        """What a token stands for, to look at."""
        if self.byte_level:
            return token_bytes(name)
        match = BYTE.fullmatch(name)
        return bytes([int(match[1], 16)]) if match else name.replace(SPACE, " ").encode()

    def _fastest(self) -> WordIds:
        """How words become ids: by tiktoken where it gives the same, else one by one."""
        cut = self.description["pre_tokenizer"]
        step, model = pre_tokenizer(cut), self.model

        def one_by_one(text: str, place: Place) -> list[int]:
            return memory.ids(piece for word in step([text], place) for piece in model.pieces(word))

        memory = Memory(model.ids)
        pattern = pattern_for_tiktoken(cut)
        if self.kind == "BPE" and pattern is not None:
            ranks = ranks_for_tiktoken(model, partial(may_be_word, pattern[0]))
            if ranks is not None:
                return by_tiktoken(*pattern, *ranks, one_by_one)
        return one_by_one


def may_be_word(pattern: str, name: str) -> bool:
    """Whether a token, as it is written, may be a whole word of a text that `pattern` cuts."""
    text = token_bytes(name).decode(errors="replace")
    return any(map(str.isspace, text)) or len(find(pattern, text)) == 1


class Memory(dict):
    """Words and their ids, worked out when one is asked for the first time; it is emptied when it is full."""

    def __init__(self, ids: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._ids = ids

    def __missing__(self, word: str) -> list[int]:
        found = self._ids(word)
        if len(word) <= LONGEST:
            if len(self) >= REMEMBERED:
                self.clear()
            self[word] = found
        return found

    def ids(self, words: Iterable[str]) -> list[int]:
        """The ids of many words."""
        return list(chain.from_iterable(map(self.__getitem__, words)))


def by_tiktoken(pattern: str, prefix: bool, ranks: dict, table: dict, exactly: WordIds) -> WordIds:
    """Words to ids by tiktoken.

    Args: prefix: a text gets a space before it; table: the id of each rank, empty where they are the same.
        exactly: what is asked for texts with bytes that have no token, and with blanks too long for tiktoken.
    """
    encoding = tiktoken.Encoding("words", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    known = set(table) if table else None
    top = max(ranks.values()) - 255
    missing = {i for token, i in ranks.items() if len(token) == 1 and i >= top and (known is None or i not in known)}

    def words(text: str, place: Place) -> list[int]:
        if has_long_blank(text):
            return exactly(text, place)
        spaced = " " + text if prefix and place.begins and text and text[0] != " " else text
        ids = encoding.encode_ordinary(spaced)
        if missing and not missing.isdisjoint(ids):
            return exactly(text, place)
        return [table[i] for i in ids] if table else ids

    return words
