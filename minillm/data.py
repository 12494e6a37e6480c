"""From documents to batches of token ids.

A corpus becomes one long row of tokens, each document between <|bos|> and <|eos|>, and a training example is a window
on it. Windows begin at the start of a document where one can: a model that must continue a text whose beginning was
cut off learns to guess. Every token is predicted once in an epoch, in an order that a seed decides.

Shapes: B batch, T time (the context), N tokens of the corpus.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from minillm.losses import IGNORE_INDEX
from minillm.tokenizer import Tokenizer

__all__ = ["IGNORE_INDEX", "Tokens", "Windows", "tokenize", "window_table"]


class Tokens:
    """A corpus as one row of ids: `ids` (N,), and `starts`, where its documents begin (None for one long text)."""

    def __init__(self, ids: Tensor, starts: Tensor | None, bos_id: int | None):
        self.ids, self.starts, self.bos_id = ids, starts, bos_id

    def __len__(self) -> int:
        return len(self.ids)


def tokenize(
    documents: Iterable[str], tokenizer: Tokenizer, whole: bool = False, file: str | os.PathLike | None = None
) -> Tokens:
    """Encode documents into one row of tokens, each between <|bos|> and <|eos|>.

    `whole`: the documents are pieces of one text, and nothing is put between them. `file`: keep the ids there and map
    it into memory, for a corpus that does not fit. (In GPT-2's vocabulary <|bos|> and <|eos|> are one token, and one
    stands between two documents.)
    """
    begin = [] if whole else [tokenizer.bos_id]
    end = [] if whole or tokenizer.eos_id == tokenizer.bos_id else [tokenizer.eos_id]
    starts, chunks, length = [], [], 0
    sink = open(file, "wb") if file else None
    for batch in _chunks(documents, 1000):
        for ids in tokenizer.encode_batch(batch):
            ids = np.array([*begin, *ids, *end], dtype=np.int32)
            starts.append(length)
            length += len(ids)
            chunks.append(ids)
        if sink:
            sink.write(np.concatenate(chunks).tobytes())
            chunks.clear()
    if sink:
        sink.close()
        ids = np.memmap(file, dtype=np.int32, mode="r+") if length else np.zeros(0, np.int32)
    else:
        ids = np.concatenate(chunks) if chunks else np.zeros(0, np.int32)
    return Tokens(
        torch.from_numpy(ids), None if whole else torch.tensor(starts, dtype=torch.long), begin[0] if end else None
    )


def _chunks(items: Iterable, size: int) -> Iterator[list]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def window_table(length: int, context: int, starts: Tensor | None = None) -> Tensor:
    """Where each window begins and which token it predicts first: (number of windows, 2).

    A window reads `context` tokens and predicts the token after each. Every token but the first of the corpus is
    predicted by exactly one window: the first that reaches it. A window begins at the start of the document that holds
    the first token it predicts, or, in a document longer than the context, right before that token.

    >>> window_table(9, 4)                            # one text of nine tokens
    tensor([[0, 1],
            [4, 5]])
    >>> window_table(9, 4, torch.tensor([0, 3, 7]))   # three documents: 0-2, 3-6 and 7-8
    tensor([[0, 1],
            [3, 5],
            [4, 8]])
    """
    rows, begin, first = [], 0, 1
    starts = [0] if starts is None else starts.tolist()
    while first < length:
        start = starts[bisect_right(starts, first) - 1]
        begin = start if begin < start < first else first - 1
        begin = min(begin, max(length - 1 - context, 0))  # the last window is pulled back so that it is a whole one
        rows.append((begin, first))
        first = begin + context + 1
    return torch.tensor(rows, dtype=torch.long).reshape(-1, 2)


class Windows:
    """Batches of windows: {"input_ids": (B, T + 1), "labels": (B, T + 1)}, for a causal model.

    The last token has no successor in the window, so a model reads all but it (`causal_lm_sum` takes either). Labels
    are IGNORE_INDEX where a token is predicted by another window, and on <|bos|>, which nothing announces.
    Iterating gives one epoch; `forever` shuffles anew each epoch. The order depends on the seed and the epoch alone,
    and `state_dict` is where it stands.
    """

    def __init__(self, tokens: Tokens, context: int, batch_size: int, seed: int | None = None):
        if batch_size < 1 or context < 1:
            raise ValueError(f"batch size {batch_size} and context {context} must be at least 1")
        if len(tokens) <= context:
            raise ValueError(
                f"the text has {len(tokens)} tokens and one window needs {context + 1}: "
                "bring more text, or choose a shorter --context"
            )
        self.tokens, self.context, self.batch_size, self.seed = tokens, context, batch_size, seed
        self.table = window_table(len(tokens), context, tokens.starts)
        self.epoch, self.position = 0, 0
        self._shuffled = (-1, None)

    def __len__(self) -> int:
        return -(-len(self.table) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for rows in self.order(0).split(self.batch_size):
            yield self.batch(rows)

    def order(self, epoch: int) -> Tensor:
        """The windows in the order of an epoch; as they stand in the text without a seed."""
        if self.seed is None:
            return torch.arange(len(self.table))
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._shuffled = (epoch, torch.randperm(len(self.table), generator=generator))
        return self._shuffled[1]

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The windows of these rows of the table."""
        begin, first = self.table[rows].unbind(1)
        index = begin[:, None] + torch.arange(self.context + 1)
        input_ids = self.tokens.ids[index].long()
        hidden = index < first[:, None]
        if self.tokens.bos_id is not None:
            hidden |= input_ids == self.tokens.bos_id
        return {"input_ids": input_ids, "labels": input_ids.masked_fill(hidden, IGNORE_INDEX)}

    def forever(self) -> Iterator[dict[str, Tensor]]:
        """Full batches without end, from where `load_state_dict` put us. A batch may span two epochs."""
        while True:
            rows = self.order(self.epoch)[self.position : self.position + self.batch_size]
            self.position += len(rows)
            while len(rows) < self.batch_size:
                self.epoch, self.position = self.epoch + 1, self.batch_size - len(rows)
                rows = torch.cat([rows, self.order(self.epoch)[: self.position]])
            yield self.batch(rows)

    def state_dict(self) -> dict[str, int]:
        """Where `forever` stands."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.epoch, self.position = state["epoch"], state["position"]
