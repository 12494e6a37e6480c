"""The parts in which families of transformers differ, and which family has which: one row of `RECIPES` each.

- `minillm`: what learned fastest here. Rotary positions, token shift (Peng et al. 2023), pre-norm without parameters,
  the same norm on queries and keys (Henry et al. 2020), ReLU squared (So et al. 2021), branches initialised to zero.
- `gpt2`: Radford et al. 2019. Learned positions, pre-norm with LayerNorm, GELU, biases, tied embeddings.
- `bert`: Devlin et al. 2019. The same parts with post-norm, and a deeper output layer.
- `llama`: Touvron et al. 2023. Rotary positions, RMSNorm, SwiGLU (Shazeer 2020). `llama-tied`: with tied embeddings
  (one table for the embedding and the output layer), as its smaller members have.

All weights are initialised from a normal distribution. Left out: BERT's own code truncates it at two deviations; other
people's families, whose rows `foreign` adds.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.models.attention import KVCache, SelfAttention


class PlainNorm(nn.Module):
    """LayerNorm without parameters: zero mean and unit variance over the channels (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.shape, self.eps = (width,), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, eps=self.eps)


class TokenShift(nn.Module):
    """x_t + share * x_{t-1}, with a learned share for each channel, at first 0.

    Every position sees the token before it at once, for which attention would need a layer.
    Source: Peng et al. 2023, "RWKV", section 3.1.
    """

    def __init__(self, width: int):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """x (B, T, C) -> (B, T, C). Before the first token of a text comes zero; the cache holds the last one read."""
        first = torch.zeros_like(x[:, :1]) if cache is None or cache.last is None else cache.last.to(x.dtype)
        before = torch.cat((first, x[:, :-1]), dim=1)
        if cache is not None:
            cache.last = x[:, -1:]
        if attention_mask is not None:
            last = F.pad(attention_mask, (1, -1))
            same = (last != 0) & ((last == attention_mask) | (attention_mask == 0))  # nothing from another text
            before = before * same[:, -x.size(1) :, None].to(x.dtype)
        return x + self.share * before


class NoShift(nn.Module):
    """Instead of a `TokenShift`: the identity."""

    def forward(self, x: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
        return x


class Segments(nn.Embedding):
    """Segment embeddings: adds a learned vector for the text that a token belongs to (Devlin et al. 2019, figure 2)."""

    def forward(self, x: Tensor, segment_ids: Tensor | None) -> Tensor:
        """x (B, T, C), segment_ids (B, T), 0 for the first text; None: all belongs to the first."""
        return x + (self.weight[0] if segment_ids is None else super().forward(segment_ids))


class NoSegments(nn.Module):
    """Instead of `Segments`: the identity. Raises ValueError when there are segment_ids."""

    def forward(self, x: Tensor, segment_ids: Tensor | None) -> Tensor:
        if segment_ids is not None:
            raise ValueError("segment_ids were given to a model without segments: build it with segments=2")
        return x


class FeedForward(nn.Module):
    """An MLP of two linear layers, at each position by itself: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, inner: int, activation: nn.Module, bias: bool):
        super().__init__()
        self.up = nn.Linear(width, inner, bias=bias)
        self.activation = activation
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(FeedForward):
    """A feed-forward layer with a gate, such as SwiGLU (Shazeer 2020, equation 6)."""

    def __init__(self, width: int, inner: int, activation: nn.Module, bias: bool):
        super().__init__(width, inner, activation, bias)
        self.gate = nn.Linear(width, inner, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.gate(x)) * self.up(x))  # equation 6


class ReLUSquared(nn.Module):
    """max(x, 0)^2 (So et al. 2021, "Primer")."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class LMHead(nn.Linear):
    """The output layer, or unembedding: vectors (..., C) -> logits of the tokens (..., V)."""

    def __init__(self, config):
        super().__init__(config.width, config.vocab_size, bias=False)


class MaskedLMHead(nn.Linear):
    """BERT's output layer, (..., C) -> (..., V): linear, GELU, norm, then the unembedding with a bias."""

    def __init__(self, config):
        super().__init__(config.width, config.vocab_size)
        self.transform = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(F.gelu(self.transform(x))))


def zero_init(layers: int) -> float:
    """Branches are initialised to zero: an untrained block leaves the residual stream as it is."""
    return 0.0


def depth_scaled(layers: int) -> float:
    """Branches add up: scale each so that the residual stream keeps its size (Radford et al. 2019, section 2.3)."""
    return 1 / math.sqrt(2 * layers)


def unscaled(layers: int) -> float:
    """Post-norm needs no depth scaling."""
    return 1.0


def self_attention(recipe: "Recipe", c, layer: int, causal: bool) -> SelfAttention:
    """The attention of a layer of a model with the config c. Raises ValueError for details that it has not."""
    if c.details.beyond_llama:
        raise ValueError(f"recipe {c.recipe} has no {', '.join(c.details.beyond_llama)}")
    norm = PlainNorm(c.head_dim) if recipe.normalise_qk else None
    return SelfAttention(
        c.width, c.heads, c.groups, causal=causal, bias=recipe.bias, dropout=c.dropout, normalise=norm, layer=layer,
        head_dim=c.head_dim,
    )  # fmt: skip


class Recipe(NamedTuple):
    """The parts of a transformer that differ between families."""

    norm: type[nn.Module]
    feed_forward: type[FeedForward]
    activation: Callable[[], nn.Module]
    expansion: float  # inner width of the feed-forward layer over width
    head: type[nn.Linear]
    tied: bool  # the output layer is the embedding table
    branch_scale: Callable[[int], float]  # layers -> factor of the initial weights of the branches' last matrices
    post_norm: bool = False  # norms after the embeddings and each addition; else before each branch and the head
    rotary: bool = False  # else a learned vector for each position
    shift: bool = False  # token shift, before the first layer
    bias: bool = False
    normalise_qk: bool = False
    first: Callable[[int], nn.Module] = nn.Identity  # of the width: what pre-norm does to the embeddings
    attention: Callable[..., SelfAttention] = self_attention
    block: type[nn.Module] | None = None  # a layer; None: the usual one, `Block` or `PostNormBlock`


TanhGELU = partial(nn.GELU, approximate="tanh")  # with which GPT-2 was trained (Hendrycks & Gimpel 2016)
_LLAMA = Recipe(nn.RMSNorm, GatedFeedForward, nn.SiLU, 8 / 3, LMHead, False, depth_scaled, rotary=True)

RECIPES = {
    "minillm": Recipe(
        PlainNorm, FeedForward, ReLUSquared, 2, LMHead, False, zero_init, rotary=True, shift=True, normalise_qk=True
    ),
    "gpt2": Recipe(nn.LayerNorm, FeedForward, TanhGELU, 4, LMHead, True, depth_scaled, bias=True),
    "bert": Recipe(nn.LayerNorm, FeedForward, nn.GELU, 4, MaskedLMHead, True, unscaled, post_norm=True, bias=True),
    "llama": _LLAMA,
    "llama-tied": _LLAMA._replace(tied=True),
}
