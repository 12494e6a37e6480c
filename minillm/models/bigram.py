"""The bigram, a baseline that every language model must beat: it predicts the next token from the last one alone.

Twice: counted, in closed form (`CountBigram`), and learned by gradient descent (`BigramLM`). Both are called with
input_ids and return logits, as any other model, and with enough training the second reaches the loss of the first.
Left out: back-off and Kneser-Ney smoothing (Chen & Goodman 1999); additive smoothing is enough for a baseline.

Shapes: B batch, T time, V vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PART = 1 << 19  # tokens that are counted at a time


@dataclass(frozen=True)
class BigramConfig:
    """The size of a bigram."""

    vocab_size: int


class BigramLM(nn.Module):
    """A table of V x V logits: row a holds the logits of every token that may follow token a."""

    def __init__(self, vocab_size: int):
        super().__init__()
        self.config = BigramConfig(vocab_size)
        self.table = nn.Embedding(vocab_size, vocab_size)
        nn.init.zeros_(self.table.weight)  # every token equally likely: the loss starts at ln V

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, keep: Tensor | None = None) -> Tensor:
        """Logits (B, T, V) of input_ids (B, T), or (N, V) of the N positions where keep (B, T) is true.

        A bigram sees one token, so a mask changes nothing.
        """
        return self.table(input_ids if keep is None else input_ids[keep])


class CountBigram(nn.Module):
    """p(b | a) = (count of a b + k) / (count of a + k V): maximum likelihood with `smoothing` k added to each count.

    Counts are stored sparsely, of the pairs that were seen, so 50,000 tokens need no table of 50,000^2.

    >>> model = CountBigram(torch.tensor([0, 1, 0, 1, 0, 2]), vocab_size=3, smoothing=0)
    >>> model(torch.tensor([[0]])).exp()    # after 0 came 1 twice and 2 once
    tensor([[[0.0000, 0.6667, 0.3333]]])
    """

    def __init__(self, ids: Tensor, vocab_size: int, smoothing: float = 0.01, targets: Tensor | None = None):
        """Count the pairs of ids (N,). targets (N - 1,): the labels, if not ids[1:]; negative ones are ignored."""
        super().__init__()
        if smoothing < 0:
            raise ValueError(f"smoothing is {smoothing}: it must not be negative")
        self.vocab_size, self.smoothing = vocab_size, smoothing
        keys, counts, total = count_pairs([(ids[:-1], ids[1:] if targets is None else targets)], vocab_size)
        self._keep(keys, counts, total)

    def _keep(self, keys: Tensor, counts: Tensor, total: Tensor) -> None:
        vocab_size = self.vocab_size
        self.register_buffer("key", F.pad(keys, (0, 1), value=vocab_size**2))  # ascending; the last is of no pair
        self.register_buffer("count", F.pad(counts, (0, 1)).double())
        self.register_buffer("total", total.double())  # (V,)

    @classmethod
    def of_parts(cls, parts: Iterable[tuple[Tensor, Tensor]], vocab_size: int) -> "CountBigram":
        """Count parts of a text, (tokens, labels) of one length, of which one at a time is in memory."""
        model = cls(torch.zeros(0), vocab_size)
        model._keep(*count_pairs(parts, vocab_size))
        return model

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, keep: Tensor | None = None) -> Tensor:
        """Log-probabilities (B, T, V) of input_ids (B, T), or (N, V) of the N positions where keep (B, T) is true.

        Without smoothing a pair that was never seen has -inf.
        """
        input_ids = input_ids if keep is None else input_ids[keep]
        before, place = input_ids.long().unique(return_inverse=True)
        after = torch.arange(self.vocab_size, device=before.device)
        return self.logprobs(*torch.meshgrid(before, after, indexing="ij"))[place]

    def logprobs(self, before: Tensor, after: Tensor) -> Tensor:
        """log p(after | before) of pairs of tokens, two tensors of one shape, without a row of V for each."""
        keys = before * self.vocab_size + after
        place = torch.searchsorted(self.key, keys)
        counts = torch.where(self.key[place] == keys, self.count[place], 0.0) + self.smoothing
        whole = self.total[before] + self.smoothing * self.vocab_size  # 0: nothing ever followed
        return torch.where(whole > 0, counts / whole, 1 / self.vocab_size).log().float()


def count_pairs(parts: Iterable[tuple[Tensor, Tensor]], vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs before * V + after that occur in parts of a text, ascending; how often each; and each token before."""
    keys = counts = torch.zeros(0, dtype=torch.long)
    total = torch.zeros(vocab_size, dtype=torch.long)
    for before, after in parts:
        before, after = before[after >= 0].long(), after[after >= 0].long()
        total += torch.bincount(before, minlength=vocab_size)
        found, times = torch.unique(before * vocab_size + after, return_counts=True)
        keys, place = torch.unique(torch.cat([keys, found]), return_inverse=True)
        counts = torch.zeros(len(keys), dtype=torch.long).index_add_(0, place, torch.cat([counts, times]))
    return keys, counts, total


def bigram_loss(train, valid, vocab_size: int, most: int | None = None) -> float:
    """Nats per validation token of the counted bigram of the training text.

    Args: train, valid: with `ids` (N,) and `targets(start, stop)`, labels that are negative where nothing is predicted;
        most: count so many tokens of the training text only.
    """
    end = min(len(train.ids), most or len(train.ids)) - 1
    bounds = [(start, min(start + PART, end)) for start in range(0, end, PART)]
    parts = ((train.ids[start:stop], train.targets(start, stop)) for start, stop in bounds)
    model, labels = CountBigram.of_parts(parts, vocab_size), valid.targets()
    real = labels >= 0
    return -model.logprobs(valid.ids[:-1].long()[real], labels[real]).double().mean().item()
