"""Text to ids and back: one Tokenizer over every engine, with special tokens that text cannot forge.

Special tokens have ids behind those of ordinary text. Encoding never yields them from a text, whatever is written in
it: "<|eos|>" in a document is seven ordinary characters. Only code of ours puts them in, by id (`eos_id`), by the chat
template or by saying so (`allow_special=True`). Padding has a token of its own, never that of the end of a text.

Byte pairs are trained by `bpe`, or they are GPT-2's, from its files or by name; `engines` and, for a `pipeline` that
others made, the file of that name do the work.
Left out: normalising text (`cleaning` does it); unknown tokens (bytes have none, a character tokenizer raises).
Paper: Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.2.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain, count, islice
from operator import index
from pathlib import Path

import numpy as np
import tiktoken
import torch
from torch import Tensor

from minillm.system import read_json, reading, write_json
from minillm.text.bpe import BYTES, GPT2_PATTERN, check_surrogates, train_bpe
from minillm.text.chat_template import CHAT_ROLES, apply_chat_template, check_template
from minillm.text.engines import BytePairs, Characters, Engine, own_engine
from minillm.text.gpt2_files import END_OF_TEXT, read_gpt2
from minillm.text.pipeline import Pipeline
from minillm.text.roles import WORDS, Roles, own_roles

SPECIALS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|mask|>", "<|cls|>", "<|sep|>", *(f"<|{role}|>" for role in CHAT_ROLES))
FORMAT, VERSION = "minillm tokenizer", 1


class Tokenizer:
    """Made by `train`, `characters`, `from_tiktoken`, `from_gpt2_files`, `load` or by `hub`; not by its constructor.

    `vocab_size` counts every id, special ones too; `specials` maps their names to ids, `text_ids` are all others that
    stand for something: a vocabulary of other people may have gaps. `begin` and `end` stand around a text where the
    model was trained so, and any of `stop_ids` ends what it writes; the other attributes are told in `roles`.

    >>> tokenizer = Tokenizer.characters("low lower")
    >>> tokenizer.encode("lower")
    [2, 3, 5, 1, 4]
    >>> tokenizer.decode([2, 3, 5, tokenizer.eos_id])
    'low<|eos|>'
    """

    def __init__(self, engine: Engine, roles: Roles | None = None) -> None:
        self.engine, self.kind, self.specials = engine, engine.kind, engine.specials
        self._bytes, self.special_ids = engine.bytes, frozenset(self.specials.values())
        self.vocab_size, self.text_ids = max(self._bytes) + 1, sorted(self._bytes.keys() - self.special_ids)
        self.roles = roles or own_roles(self.specials)
        self.bos_id, self.eos_id, self.pad_id, self.cls_id, self.sep_id, self.mask_id = self.roles.single
        self.stop_ids, self.begin, self.end = frozenset(self.roles.stop), self.roles.begin, self.roles.end
        self.template, self.chat_template = self.roles.template, self.roles.chat_template

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int) -> "Tokenizer":
        """Learn byte pairs from one text or many documents; too short a text gives a smaller vocabulary."""
        if vocab_size < len(BYTES) + len(SPECIALS):
            raise ValueError(
                f"vocab_size is {vocab_size}, but {len(BYTES)} bytes and {len(SPECIALS)} special tokens need a token "
                f"each: make it {len(BYTES) + len(SPECIALS)} or more, or use a character tokenizer."
            )
        ranks = train_bpe(texts, vocab_size - len(SPECIALS))
        tokens = {rank: token for token, rank in ranks.items()}
        return cls(BytePairs(tokens, _with_specials(len(ranks)), GPT2_PATTERN))

    @classmethod
    def characters(cls, texts: str | Iterable[str]) -> "Tokenizer":
        """One id for each different character of one text or many documents, in the order of their code points."""
        alphabet = set()
        for text in [texts] if isinstance(texts, str) else texts:
            check_surrogates(text)
            alphabet.update(text)
        if not alphabet:
            raise ValueError("There is no text to take the characters of a tokenizer from.")
        tokens = {i: character.encode() for i, character in enumerate(sorted(alphabet))}
        return cls(Characters(tokens, _with_specials(len(tokens))))

    @classmethod
    def from_tiktoken(cls, name: str) -> "Tokenizer":
        """One of tiktoken's vocabularies, such as "gpt2". Its ids stay, and ours come behind its own special tokens.

        Raises: ValueError for an unknown name; OSError when it is not in tiktoken's cache and cannot be downloaded.
        """
        if name not in tiktoken.list_encoding_names():
            raise ValueError(f"tiktoken has no vocabulary {name!r}: choose one of {tiktoken.list_encoding_names()}.")
        try:
            encoding = tiktoken.get_encoding(name)
        except Exception as error:  # what a missing network raises depends on the proxy, the certificates, the sandbox
            raise OSError(
                f"tiktoken could not get its vocabulary {name!r} ({type(error).__name__}: {str(error)[:200]}). It is "
                "downloaded at first use. Without a network, set the environment variable TIKTOKEN_CACHE_DIR to a "
                "folder that tiktoken filled on another machine: a file in it is named by the SHA-1 of the URL that it "
                "came from, not by its own name. Or give GPT-2's two files, vocab.bpe and encoder.json, to "
                "Tokenizer.from_gpt2_files."
            ) from error
        # tiktoken's own README builds new encodings from these three attributes of an old one.
        tokens = {rank: token for token, rank in encoding._mergeable_ranks.items()}
        return cls(BytePairs(tokens, _with_specials(encoding.n_vocab, encoding._special_tokens), encoding._pat_str))

    @classmethod
    def from_gpt2_files(cls, vocab_bpe: str | Path, encoder_json: str | Path) -> "Tokenizer":
        """GPT-2's vocabulary with GPT-2's ids, as `read_gpt2` reads it."""
        tokens, own = read_gpt2(Path(vocab_bpe), Path(encoder_json))
        return cls(BytePairs(tokens, _with_specials(max(*tokens, *own.values()) + 1, own), GPT2_PATTERN))

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """The ids of a text. Names of special tokens in it are ordinary text, unless `allow_special` is true.

        Raises: ValueError for half a surrogate pair and, in a character tokenizer, for a character that it does not
            know: a token for the unknown would hide the loss of text, and decoding could not give it back.
        """
        if not isinstance(text, str):
            raise ValueError(f"encode takes one text, but this is a {type(text).__name__}; encode_batch takes a list.")
        return self.engine.encode(text, allow_special)

    def encode_after(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text that goes on from another, or follows a special token: some tokenizers put a space before
        one that stands alone.
        """
        return self.engine.encode(text, first=False, begins=special)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, in parallel; special tokens are ordinary text."""
        if isinstance(texts, str):
            raise ValueError("encode_batch takes a list of texts, but this is one: use encode, or put it in a list.")
        return _in_parallel(self.encode, texts)

    def encode_arrays(self, texts: Sequence[str], threads: int | None = None) -> list[np.ndarray]:
        """The ids of many texts as int32 arrays, in parallel: a tenth of the memory of lists, also of a giant text."""
        parts = [list(self.engine.parts(text)) for text in texts]
        found = iter(_in_parallel(lambda part: np.array(self.encode(part), np.int32), list(chain(*parts)), threads))
        return [np.concatenate(list(islice(found, len(some)))) for some in parts]

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of a list or 1-D tensor of ids; bytes that are not valid UTF-8 become U+FFFD.

        Special tokens are shown by name, so that nothing is hidden; `skip_special` leaves them out, for readers.
        """
        ids = self._checked(ids)
        kept = [i for i in ids if i not in self.special_ids] if skip_special else ids
        return self.engine.decode(kept)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id's text by itself, to look at; a byte that is only part of a character is shown as \\xe2."""
        return [self._bytes[i].decode(errors="backslashreplace") for i in self._checked(ids)]

    def _checked(self, ids: Iterable[int]) -> list[int]:
        try:
            ids = list(map(index, ids.tolist() if hasattr(ids, "tolist") else ids))
        except TypeError:
            message = "decode takes one list or 1-D tensor of whole numbers; decode a batch row by row."
            raise ValueError(message) from None
        for i in ids:
            if i not in self._bytes:
                raise ValueError(f"Id {i} is not in this vocabulary of {self.vocab_size} ids.")
        return ids

    def batch(self, texts: Sequence[str], max_length: int | None = None, side: str = "right") -> dict[str, Tensor]:
        """Encode texts into one batch, see `pad`. No special token but padding is added."""
        return self.pad(self.encode_batch(texts), max_length, side)

    def pad(
        self, sequences: Sequence[Sequence[int]], max_length: int | None = None, side: str = "right"
    ) -> dict[str, Tensor]:
        """Make lists of ids equally long.

        Args:
            side: where short lists are padded, and where those of more than `max_length` ids are cut. "right" keeps the
                beginning, as for training; "left" keeps the end, from which generation goes on.
        Returns: {"input_ids", "attention_mask"}, both (B, T) int64, T the longest list; the mask is 1 on real tokens.
        """
        if side not in ("left", "right"):
            raise ValueError(f"side is {side!r}: it must be 'left' or 'right'.")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length is {max_length}: it must be at least 1.")
        if max_length is not None:
            sequences = [ids[:max_length] if side == "right" else ids[-max_length:] for ids in sequences]
        longest = max(map(len, sequences), default=0)
        input_ids = torch.full((len(sequences), longest), self.pad_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(sequences):
            place = slice(0, len(ids)) if side == "right" else slice(longest - len(ids), longest)
            input_ids[row, place] = torch.tensor(ids, dtype=torch.long)
            attention_mask[row, place] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def apply_chat(self, messages: Sequence[dict[str, str]], reply: bool = False) -> tuple[list[int], list[bool]]:
        """A conversation as ids, and for each id whether the assistant learns it: `apply_chat_template`."""
        return apply_chat_template(self, messages, reply)

    def use_template(self, name: str) -> None:
        """Take another chat template than the one that came with the model; ValueError for an unknown one."""
        check_template(name)
        if self.roles.own and name != self.template:
            raise ValueError(f"this tokenizer is our own, whose chat template is {self.template}, and not {name}")
        self.template = name

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of all that decides an encoding, by which a checkpoint knows its own tokenizer."""
        return _fingerprint(self.engine.record() | self.roles.record())

    def save(self, path: str | Path) -> None:
        """Write all of the tokenizer as JSON, at once or not at all."""
        header = {"format": FORMAT, "version": VERSION, "fingerprint": self.fingerprint}
        words = {} if self.roles.own else {name: getattr(self, name) for name in WORDS}
        write_json(path, header | self.engine.record() | self.roles.record() | words)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read what `save` wrote; ValueError for any other file, and for one that was changed since."""
        saved = read_json(path)
        if not isinstance(saved, dict) or saved.pop("format", None) != FORMAT:
            raise ValueError(f"{path} is not a tokenizer that minillm saved: it does not say 'format': {FORMAT!r}.")
        version = saved.pop("version", None)
        if version != VERSION:
            raise ValueError(f"{path} has version {version} of the format, but this minillm reads version {VERSION}.")
        words = {name: saved.pop(name) for name in WORDS if name in saved}
        if saved.pop("fingerprint", None) != _fingerprint(saved):
            raise ValueError(f"{path} was changed after it was saved: its fingerprint does not fit. Restore the file.")
        with reading(path):
            engine = Pipeline(saved["pipeline"]) if "pipeline" in saved else own_engine(saved)
            return cls(engine, Roles.read(saved.get("roles"), words))

    def __len__(self) -> int:
        return self.vocab_size

    def __repr__(self) -> str:
        ids = f"{self.vocab_size} ids: {len(self.text_ids)} of text, {len(self.specials)} special"
        return f"Tokenizer({self.kind}, {ids}, fingerprint {self.fingerprint[:8]})"


def _in_parallel(function: Callable, texts: Sequence[str], threads: int | None = None) -> list:
    threads = threads or os.cpu_count() or 1
    if threads == 1:
        return list(map(function, texts))
    share = -(-len(texts) // threads) or 1
    shares = [texts[start : start + share] for start in range(0, len(texts), share)]
    with ThreadPoolExecutor(threads) as pool:  # a share each: a thread per text costs more than a short text does
        return [found for some in pool.map(lambda some: list(map(function, some)), shares) for found in some]


def _with_specials(size: int, own: dict[str, int] | None = None) -> dict[str, int]:
    """Ids for our special tokens from `size` on, behind those that a vocabulary has of its own."""
    own = own or {}
    served = {*own, "<|bos|>", "<|eos|>"} if END_OF_TEXT in own else own
    missing = [name for name in SPECIALS if name not in served]
    return {**own, **dict(zip(missing, count(size)))}


def _fingerprint(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
