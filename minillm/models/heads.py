"""Heads: what replaces the LM head of a trunk, one for every kind of output.

A trunk is anything with `hidden(...)` (B, T, C) and a `config` with a width: a Decoder, an Encoder or an LSTMLM. A
head for a whole text reads one vector, its *pooling*: that of the last real token in a causal trunk; the mean of all,
or that of the first (<|cls|>, BERT's choice), in a bidirectional one. Padding on either side is ignored.

Radford et al. 2018 (section 3.2), Devlin et al. 2019 (section 4), Reimers & Gurevych 2019 ("Sentence-BERT").
Left out: heads with hidden layers, conditional random fields. Shapes: B batch, T time, C channels, K classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def first_token(x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The vector of the first real token: x (B, T, C) -> (B, C)."""
    if attention_mask is None:
        return x[:, 0]
    first = attention_mask.to(torch.int8).argmax(dim=1)  # the first 1 of the mask
    return x[torch.arange(len(x), device=x.device), first]


def last_token(x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The vector of the last real token: x (B, T, C) -> (B, C)."""
    if attention_mask is None:
        return x[:, -1]
    last = x.size(1) - 1 - attention_mask.flip(1).to(torch.int8).argmax(dim=1)
    return x[torch.arange(len(x), device=x.device), last]


def mean_pool(x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The mean of the vectors of the real tokens: x (B, T, C) -> (B, C); 0 for a text without any."""
    if attention_mask is None:
        return x.mean(dim=1)
    weights = attention_mask.to(x.dtype)[..., None]
    return (x * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


POOLINGS = {"first": first_token, "last": last_token, "mean": mean_pool}


def in_fp32(layer: nn.Module, x: Tensor) -> Tensor:
    """layer(x) in the precision of the layer's weights, not of autocast: 8 bits of bf16 cannot tell rewards apart."""
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.to(next(layer.parameters()).dtype))


class Head(nn.Module):
    """A trunk and a linear layer from its vectors to `outputs` numbers. No pooling: "last" or, of encoders, "mean"."""

    def __init__(self, trunk: nn.Module, outputs: int, pooling: str = "", dropout: float = 0.0, bias: bool = True):
        super().__init__()
        pooling = pooling or ("last" if getattr(trunk, "causal", True) else "mean")
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
        if outputs < 1:
            raise ValueError(f"a head has at least 1 output, not {outputs}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}: it must lie in [0, 1)")
        self.trunk, self.outputs, self.pooling = trunk, outputs, pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.config.width, outputs, bias=bias)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)  # every class equally likely: the loss starts at ln K


class SequenceClassifier(Head):
    """Logits (B, K) of the class of a text, or of a pair of texts in one row."""

    def classify(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits (B, K) from the trunk's vectors x (B, T, C)."""
        return self.head(POOLINGS[self.pooling](self.dropout(x), attention_mask))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs) -> Tensor:
        return self.classify(self.trunk.hidden(input_ids, attention_mask, **inputs), attention_mask)


class PairClassifier(SequenceClassifier):
    """A SequenceClassifier that is given two texts in one row (Devlin et al. 2019, figure 4a)."""


class PooledClassifier(SequenceClassifier):
    """A SequenceClassifier that reads its vector through a layer with tanh, the pooler of BERT (Devlin et al. 2019)."""

    def __init__(self, trunk: nn.Module, outputs: int, pooling: str = "first", dropout: float = 0.0, bias: bool = True):
        super().__init__(trunk, outputs, pooling, dropout, bias)
        self.pooler = nn.Linear(trunk.config.width, trunk.config.width)

    def classify(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        pooled = torch.tanh(self.pooler(POOLINGS[self.pooling](x, attention_mask)))
        return self.head(self.dropout(pooled))


class TokenClassifier(Head):
    """Logits (B, T, K) of the class of each token."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs) -> Tensor:
        return self.head(self.dropout(self.trunk.hidden(input_ids, attention_mask, **inputs)))


class RewardModel(SequenceClassifier):
    """A reward (B,) for each text, read at its last real token (Ouyang et al. 2022, section 3.5)."""

    def __init__(
        self, trunk: nn.Module, outputs: int = 1, pooling: str = "last", dropout: float = 0.0, bias: bool = True
    ):
        super().__init__(trunk, outputs, pooling, dropout, bias)

    def classify(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Rewards (B,) from the trunk's vectors x (B, T, C)."""
        return self.score(POOLINGS[self.pooling](x, attention_mask))

    def score(self, x: Tensor) -> Tensor:
        """Rewards (N,) from the vectors x (N, C) of tokens."""
        return in_fp32(self.head, self.dropout(x)).squeeze(-1)


class TextEncoder(nn.Module):
    """An embedding of length 1 for each text, (B, C); the similarity of two is their dot product, the cosine."""

    def __init__(self, trunk: nn.Module, pooling: str = "mean"):
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"unknown pooling {pooling!r}: choose one of {', '.join(POOLINGS)}")
        self.trunk, self.pooling = trunk, pooling

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs) -> Tensor:
        x = self.trunk.hidden(input_ids, attention_mask, **inputs)
        return F.normalize(POOLINGS[self.pooling](x, attention_mask).float(), dim=-1)
