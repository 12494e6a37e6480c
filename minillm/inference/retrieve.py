"""Looking things up: documents as vectors, the nearest to a question, and an answer that names where it is from.

Retrieval-augmented generation (Lewis et al. 2020; Guu et al. 2020): what a model does not know stands in a document
that it is shown. An `Index` holds a vector for each passage, and finds the nearest by one product. Vectors come from a
*finder*: a text encoder (Karpukhin et al. 2020, "Dense passage retrieval"), or words weighed by how rare they are
(tf-idf), which needs no model. Left out: approximate search, which pays off from a million passages; re-ranking.

Shapes: N passages, Q questions, C channels.
"""

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.data import ByLength, frame_of, text_example
from minillm.inference.predict import predict
from minillm.metrics import words_of
from minillm.system import Compute, load_file, read_object, reading, save_file, to_json, write_text
from minillm.text import Tokenizer

VECTORS, PASSAGES = "vectors.safetensors", "passages.jsonl"


class Passage(NamedTuple):
    """A piece of a document, and where it is from: the name of the document, or its file and number."""

    text: str
    source: str


class Finder(Protocol):
    """Turns texts into vectors of length 1, (n, C). `name` says which finder it is: an index belongs to one."""

    name: str

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """The vectors of texts."""


class WordFinder:
    """Texts as bags of words, each weighed by ln(N / documents that have it): a word that all have says nothing.

    Source: Spärck Jones 1972.
    """

    def __init__(self, documents: Sequence[str]):
        seen = Counter(word for text in documents for word in set(words_of(text)))
        self.places = {word: place for place, word in enumerate(sorted(seen))}
        self.weights = torch.tensor([math.log(1 + len(documents) / seen[word]) for word in self.places])
        self.name = "words " + hashlib.sha256("\n".join(documents).encode()).hexdigest()[:16]

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(n, words); 0 for a text without a word that is known."""
        counts = torch.zeros(len(texts), len(self.places))
        for row, text in enumerate(texts):
            for word, count in Counter(words_of(text)).items():
                if word in self.places:
                    counts[row, self.places[word]] = 1 + math.log(count)
        return F.normalize(counts * self.weights, dim=-1)


class EncoderFinder:
    """Texts as a `TextEncoder` reads them; what is longer than its context is cut."""

    def __init__(
        self, model: nn.Module, tokenizer: Tokenizer, context: int = 0, compute: Compute | None = None, name="encoder"
    ):
        self.model, self.tokenizer, self.compute, self.name = model, tokenizer, compute, name
        self.context = context or getattr(model.trunk.config, "context", 256)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """(n, C)."""
        frame = frame_of(self.model.trunk, self.tokenizer)
        examples = [text_example(ids, frame, self.context) for ids in self.tokenizer.encode_batch(list(texts))]
        return torch.stack(predict(self.model, ByLength(examples, self.tokenizer.pad_id, 32), self.compute))


class Index:
    """Passages and their vectors (N, C), of length 1."""

    def __init__(self, passages: Sequence[Passage], vectors: Tensor, finder: str):
        if not passages or vectors.dim() != 2 or len(passages) != len(vectors):
            raise ValueError(f"{len(passages)} passages and vectors {list(vectors.shape)}: there must be one for each")
        self.passages, self.vectors_, self.finder = list(passages), vectors.float(), finder

    @classmethod
    def of(cls, passages: Sequence[Passage], finder: Finder) -> "Index":
        """The index of some passages. Raises ValueError when there are none."""
        if not passages:
            raise ValueError("there are no passages to look in")
        return cls(passages, finder.vectors([passage.text for passage in passages]), finder.name)

    def top(self, questions: Tensor, k: int = 1) -> tuple[Tensor, Tensor]:
        """The cosines and places of the k nearest passages, each (Q, k) or fewer, the nearest first.

        Args: questions: (Q, C), vectors of the same finder.
        """
        if questions.size(-1) != self.vectors_.size(1):
            raise ValueError(f"questions have {questions.size(-1)} channels and passages {self.vectors_.size(1)}")
        return (questions.float() @ self.vectors_.T).topk(min(k, len(self.passages)), dim=-1)

    def fingerprint(self) -> str:
        """A checksum of passages and finder, by which one knows that an index still belongs to its documents."""
        return passages_fingerprint(self.passages, self.finder)

    def save(self, folder: str | os.PathLike) -> None:
        """Write the index into a folder: the vectors as safetensors, the passages a line each."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PASSAGES, "".join(to_json(passage._asdict()) + "\n" for passage in self.passages))
        about = {"finder": self.finder, "fingerprint": self.fingerprint()}
        save_file({"vectors": self.vectors_}, folder / VECTORS, {"index": json.dumps(about)})

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Index":
        """Read what `save` wrote. Raises ValueError, with the file, for what is no whole index."""
        folder = Path(folder)
        for name in (VECTORS, PASSAGES):
            if not (folder / name).is_file():
                raise ValueError(f"{folder} holds no index: there is no {name} in it")
        tensors, metadata = load_file(folder / VECTORS)
        passages = []
        for number, line in enumerate((folder / PASSAGES).read_text("utf-8").splitlines(), 1):
            with reading(f"{folder / PASSAGES}:{number}"):
                record = read_object(f"{folder / PASSAGES}:{number}", line).check(text=str, source=str)
                passages.append(Passage(record["text"], record["source"]))
        with reading(folder / VECTORS):
            about = read_object(folder / VECTORS, metadata["index"]).check(finder=str, fingerprint=str)
            found = cls(passages, tensors["vectors"], about["finder"])
        if found.fingerprint() != about["fingerprint"] or not bool(found.vectors_.isfinite().all()):
            raise ValueError(f"{folder}: {PASSAGES} and {VECTORS} are not of one index: make it anew")
        return found


def passages_fingerprint(passages: Sequence[Passage], finder: str) -> str:
    """As `Index.fingerprint`, of passages that may have no vectors yet."""
    lines = [finder, *(to_json(list(passage)) for passage in passages)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def cut_passages(documents: Sequence[str], name: str, tokenizer: Tokenizer, longest: int) -> list[Passage]:
    """Documents as passages of at most `longest` tokens, cut at the ends of sentences; in the middle, if one is longer.

    A passage is called "NAME, document 3", and "NAME, document 3, part 2" of a document that was cut.
    """
    if longest < 1:
        raise ValueError(f"a passage of {longest} tokens holds nothing")
    found = []
    for number, document in enumerate(documents, 1):
        parts = _parts(document, tokenizer, longest)
        for part, text in enumerate(parts, 1):
            where = f"{name}, document {number}" + (f", part {part}" if len(parts) > 1 else "")
            found.append(Passage(text, where))
    return found


def _parts(document: str, tokenizer: Tokenizer, longest: int) -> list[str]:
    if len(tokenizer.encode(document)) <= longest:
        return [document]
    parts, last = [], ""
    for sentence in re.split(r"(?<=[.!?][\"')\]\s])|(?<=\n)", document):
        if last and len(tokenizer.encode(last + sentence)) > longest:
            parts, last = [*parts, last.strip()], ""
        ids = tokenizer.encode(sentence)
        while len(ids) > longest:
            parts, ids = [*parts, tokenizer.decode(ids[:longest]).strip()], ids[longest:]
            sentence = tokenizer.decode(ids)
        last += sentence
    return [part for part in [*parts, last.strip()] if part]


def messages_with(passages: Sequence[Passage], question: str) -> list[dict[str, str]]:
    """A conversation that shows passages and asks: they stand above the question, blank lines between."""
    return [{"role": "user", "content": "\n\n".join([*(passage.text for passage in passages), question])}]
