"""From documents to batches of token ids.

A corpus becomes one long row of tokens, each document between <|bos|> and <|eos|>, and a training example is a window
on it. Windows begin at the start of a document where one can: a model that must continue a text whose beginning was
cut off learns to guess. Every token is predicted once in an epoch, in an order that a seed decides.
Shapes: B batch, T time (the context), N tokens of the corpus.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minillm.data.examples import IGNORE_INDEX, corpus_frame
from minillm.system import check_seed
from minillm.text import Tokenizer

POOL = 32  # batches within which texts are sorted by length


class Tokens:
    """A corpus as one row of ids: `ids` (N,), and `starts`, where its documents begin (None for one long text)."""

    def __init__(self, ids: Tensor, starts: Tensor | None, bos_id: int | None):
        self.ids, self.starts, self.bos_id = ids, starts, bos_id

    def __len__(self) -> int:
        return len(self.ids)

    def targets(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The token that follows each but the last, IGNORE_INDEX where it is not predicted: (N - 1,), or a part."""
        after = self.ids[start + 1 : None if stop is None else stop + 1].long()
        return after if self.bos_id is None else after.masked_fill(after == self.bos_id, IGNORE_INDEX)


def tokenize(
    documents: Iterable[str], tokenizer: Tokenizer, whole: bool = False, file: str | os.PathLike | None = None
) -> Tokens:
    """Encode documents into one row of tokens, each between <|bos|> and <|eos|>.

    In GPT-2's vocabulary <|bos|> and <|eos|> are one token, and one stands between two documents.

    Args:
        whole: the documents are pieces of one text, and nothing is put between them.
        file: keep the ids there and map it into memory, for a corpus that does not fit.
    """
    begin, end = ([], []) if whole else corpus_frame(tokenizer)
    found = (ids for some in in_groups(documents) for ids in tokenizer.encode_arrays(some))
    rows = (np.concatenate([begin, ids, end], dtype=np.int32, casting="unsafe") for ids in found)
    if file:
        with open(file, "wb") as sink:
            lengths = [sink.write(row) // row.itemsize for row in rows]
        ids = np.memmap(file, dtype=np.int32, mode="r+") if any(lengths) else np.zeros(0, np.int32)
    else:
        rows = list(rows)
        lengths, ids = list(map(len, rows)), np.concatenate([np.zeros(0, np.int32), *rows])
    starts = None if whole else torch.tensor([0, *lengths]).cumsum(0)[:-1]
    return Tokens(torch.from_numpy(ids), starts, begin[0] if begin and end else None)


def in_groups(documents: Iterable[str], size: int = 1 << 20) -> Iterator[list[str]]:
    """The documents in lists of about `size` characters together."""
    group, there = [], 0
    for document in documents:
        group.append(document)
        there += len(document)
        if there >= size:
            yield group
            group, there = [], 0
    if group:
        yield group


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
    rows, begin, first = array("q"), 0, 1
    starts = [0] if starts is None else starts.numpy().data
    while first < length:
        start = starts[bisect_right(starts, first) - 1]
        begin = start if begin < start < first else first - 1
        begin = min(begin, max(length - 1 - context, 0))  # the last window is pulled back so that it is a whole one
        rows.extend((begin, first))
        first = begin + context + 1
    return torch.from_numpy(np.array(rows, dtype=np.int64)).reshape(-1, 2)


class Batches:
    """Batches of examples, in an order that depends on the seed and the epoch alone.

    Iterating gives one epoch; `forever` shuffles anew each epoch, and `state_dict` is where it stands. Without a seed
    the examples come as they stand. A subclass says in `batch` what the examples of some rows look like together.
    """

    def __init__(self, examples: int, batch_size: int, seed: int | None):
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} must be at least 1")
        check_seed(seed or 0)
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.epoch, self.position = 0, 0
        self.rank, self.world = 0, 1  # of so many processes: each takes every `world`th batch
        self._shuffled = (-1, None)

    def __len__(self) -> int:
        return -(-self.examples // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for rows in self.order(0).split(self.batch_size) if self.examples else ():
            yield self.batch(rows)

    def order(self, epoch: int) -> Tensor:
        """The examples in the order of an epoch; as they stand without a seed."""
        if self.seed is None:
            return torch.arange(self.examples)
        if self._shuffled[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._shuffled = (epoch, torch.randperm(self.examples, generator=generator))
        return self._shuffled[1]

    def spread(self, batches: int | None) -> Iterator[dict[str, Tensor]]:
        """So many batches, of examples that lie evenly over all; every batch where there are no more, or for None."""
        count = min(self.examples, (batches or len(self)) * self.batch_size)
        rows = (2 * torch.arange(count) + 1) * self.examples // (2 * max(count, 1))  # the middles of equal parts
        for some in self.order(0)[rows].split(self.batch_size) if count else ():
            yield self.batch(some)

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The examples of these rows."""
        raise NotImplementedError

    def forever(self) -> Iterator[dict[str, Tensor]]:
        """Full batches without end, from where `load_state_dict` put us. A batch may span two epochs."""
        while True:
            for turn in range(self.world):
                rows = self.next_rows()
                if turn == self.rank:
                    mine = self.batch(rows)
            yield mine

    def next_rows(self) -> Tensor:
        """The examples of the next full batch."""
        rows = self.order(self.epoch)[self.position : self.position + self.batch_size]
        self.position += len(rows)
        while len(rows) < self.batch_size:
            self.epoch, self.position = self.epoch + 1, self.batch_size - len(rows)
            rows = torch.cat([rows, self.order(self.epoch)[: self.position]])
        return rows

    def state_dict(self) -> dict[str, int]:
        """Where `forever` stands."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.epoch, self.position = state["epoch"], state["position"]


class Windows(Batches):
    """Batches of windows: {"input_ids": (B, T + 1), "labels": (B, T + 1)}, for a causal model.

    The last token has no successor in the window, so a model reads all but it (`causal_lm_sum` takes either). Labels
    are IGNORE_INDEX where a token is predicted by another window, and on <|bos|>, which nothing announces.
    """

    def __init__(self, tokens: Tokens, context: int, batch_size: int, seed: int | None = None):
        if context < 1:
            raise ValueError(f"context {context} must be at least 1")
        if len(tokens) <= context:
            raise ValueError(
                f"the text has {len(tokens)} tokens and one window needs {context + 1}: "
                "bring more text, or choose a shorter --context"
            )
        self.tokens, self.context = tokens, context
        self.table = window_table(len(tokens), context, tokens.starts)
        super().__init__(len(self.table), batch_size, seed)

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The windows of these rows of the table."""
        begin, first = self.table[rows].unbind(1)
        index = begin[:, None] + torch.arange(self.context + 1)
        input_ids = self.tokens.ids[index].long()
        hidden = index < first[:, None]
        if self.tokens.bos_id is not None:
            hidden |= input_ids == self.tokens.bos_id
        return {"input_ids": input_ids, "labels": input_ids.masked_fill(hidden, IGNORE_INDEX)}


class Padded(Batches):
    """Batches of examples of different lengths: input_ids and attention_mask (B, T), and what else an example has.

    A list is padded on the right: labels with IGNORE_INDEX, the rest with 0. A number becomes one of B. Texts of about
    one length come together, so that little is padded, in an order that is still random.

    Args:
        examples: a tuple of examples that belong together (two texts of one meaning, a better and a worse answer)
            stands in neighbouring rows. Those that bring an attention_mask (`pack`) keep it.
        change: called on each batch with a generator that depends on the seed, the epoch and the batch alone.
        causal: for a model that never sees the padding behind a text; without a mask attention is faster.
    """

    def __init__(
        self,
        examples: Sequence[dict | tuple[dict, ...]],
        pad_id: int,
        batch_size: int,
        seed: int | None = None,
        change: Callable[[dict, torch.Generator], dict] | None = None,
        causal: bool = False,
    ):
        super().__init__(len(examples), batch_size, seed)
        self.groups = [example if isinstance(example, tuple) else (example,) for example in examples]
        self.fill, self.change = {"input_ids": pad_id, "labels": IGNORE_INDEX, "words": -1}, change
        self.causal = causal
        self.lengths = torch.tensor([max(len(e["input_ids"]) for e in group) for group in self.groups])

    def order(self, epoch: int) -> Tensor:
        """A random order in which the texts of a batch have about the same length.

        Batches may span two epochs (`forever`): what completes the last one of the epoch before comes first, and what
        is left over comes last, all of them long texts.
        """
        order = super().order(epoch)
        if self.seed is None or not len(order):
            return order
        pools = [pool[self.lengths[pool].argsort(stable=True)] for pool in order.split(POOL * self.batch_size)]
        first = min(-epoch * self.examples % self.batch_size, self.examples)
        whole = (self.examples - first) // self.batch_size * self.batch_size
        batches, rest = torch.cat(pools).split([whole, self.examples - whole])
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        mixed = torch.randperm(whole // self.batch_size, generator=generator)
        return torch.cat([rest[:first], batches.view(-1, self.batch_size)[mixed].flatten(), rest[first:]])

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """The examples of these rows, padded to the longest of them."""
        examples = [example for row in rows.tolist() for example in self.groups[row]]
        batch = {}
        for key, value in examples[0].items():
            values = [example[key] for example in examples]
            if isinstance(value, list):
                values = [torch.tensor(ids, dtype=torch.long) for ids in values]
                batch[key] = pad_sequence(values, batch_first=True, padding_value=self.fill.get(key, 0))
            else:
                batch[key] = torch.tensor(values)
        if "attention_mask" not in batch and not self.causal:
            lengths = torch.tensor([len(example["input_ids"]) for example in examples])
            batch["attention_mask"] = (torch.arange(batch["input_ids"].size(1)) < lengths[:, None]).long()
        if self.change is None:
            return batch
        seed = ((self.seed or 0) * 1_000_003 + self.epoch) * 1_000_003 + int(rows[0])
        return self.change(batch, torch.Generator().manual_seed(seed % 2**63))
