"""The parts in which families of transformers differ, and which family takes which: one row of `RECIPES` each.

- `minillm`: what learned fastest here. Rotary positions, token shift (Peng et al. 2023), norm without parameters on the
  stream and on queries and keys (Henry et al. 2020), ReLU squared (So et al. 2021), branches that start at zero.
- `gpt2`: Radford et al. 2019. Learned positions, LayerNorm, GELU, biases, the output layer tied to the embedding.
- `bert`: Devlin et al. 2019. The same parts, with the norm behind each addition and a deeper output layer.
- `llama`: Touvron et al. 2023. Rotary positions, RMSNorm, SwiGLU (Shazeer 2020). `llama-tied`: with one table for the
  embedding and the output layer, as its smaller members have.

All weights begin normally distributed. Left out: BERT's first weights are cut off at two deviations in its own code.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.models.attention import KVCache


class PlainNorm(nn.Module):
    """Zero mean and unit variance over the channels, with nothing to learn."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.shape, self.eps = (width,), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.shape, eps=self.eps)


class TokenShift(nn.Module):
    """x_t + share * x_{t-1}, a share for each channel that begins at 0 (Peng et al. 2023, "RWKV", section 3.1).

    Every position hears at once what stands right before it, which attention would need a layer to find.
    """

    def __init__(self, width: int):
        super().__init__()
        self.share = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
        """x (B, T, C) -> (B, T, C). What stands before a text is as good as nothing; the cache knows the last token."""
        if cache is None or cache.last is None:
            before = F.pad(x, (0, 0, 1, -1))  # nothing stands before the first
        else:
            before = torch.cat((cache.last.to(x.dtype), x[:, :-1]), dim=1)
        if cache is not None:
            cache.last = x[:, -1:]
        if attention_mask is not None:
            last = F.pad(attention_mask, (1, -1))
            heard = (last != 0) & ((last == attention_mask) | (attention_mask == 0))  # not from another text
            before = before * heard[:, -x.size(1) :, None].to(x.dtype)
        return x + self.share * before


class NoShift(nn.Module):
    """In the place of a `TokenShift`: each position hears of the others through attention alone."""

    def forward(self, x: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
        return x


class Segments(nn.Embedding):
    """Adds a learned vector that says which of several texts a token belongs to (Devlin et al. 2019, figure 2)."""

    def forward(self, x: Tensor, segment_ids: Tensor | None) -> Tensor:
        """x (B, T, C), segment_ids (B, T), 0 for the first text; None: there is no other."""
        return x + (self.weight[0] if segment_ids is None else super().forward(segment_ids))


class NoSegments(nn.Module):
    """In the place of `Segments`: a text is one text."""

    def forward(self, x: Tensor, segment_ids: Tensor | None) -> Tensor:
        if segment_ids is not None:
            raise ValueError("segment_ids were given to a model without segments: build it with segments=2")
        return x


class FeedForward(nn.Module):
    """Two linear layers with a non-linearity between, at each position by itself: (B, T, C) -> (B, T, C)."""

    def __init__(self, width: int, inner: int, activation: nn.Module, bias: bool):
        super().__init__()
        self.up = nn.Linear(width, inner, bias=bias)
        self.activation = activation
        self.down = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.up(x)))


class GatedFeedForward(FeedForward):
    """A feed-forward layer whose activation multiplies a second projection (Shazeer 2020, equation 6)."""

    def __init__(self, width: int, inner: int, activation: nn.Module, bias: bool):
        super().__init__(width, inner, activation, bias)
        self.gate = nn.Linear(width, inner, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.gate(x)) * self.up(x))


class ReLUSquared(nn.Module):
    """max(x, 0)^2 (So et al. 2021, "Primer")."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class TanhGELU(nn.GELU):
    """GELU in the tanh approximation that GPT-2 was trained with (Hendrycks & Gimpel 2016)."""

    def __init__(self):
        super().__init__(approximate="tanh")


class LMHead(nn.Linear):
    """The output layer: vectors (..., C) -> a score for each token, (..., V)."""

    def __init__(self, width: int, vocab_size: int, eps: float):
        super().__init__(width, vocab_size, bias=False)


class MaskedLMHead(nn.Linear):
    """BERT's output layer, with a bias, behind a transform: linear, GELU, norm. (..., C) -> (..., V)."""

    def __init__(self, width: int, vocab_size: int, eps: float):
        super().__init__(width, vocab_size)
        self.transform = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(F.gelu(self.transform(x))))


def zero_init(layers: int) -> float:
    """Branches begin at zero: an untrained block passes the stream on as it is."""
    return 0.0


def depth_scaled(layers: int) -> float:
    """Branches add up: shrink each so that the stream keeps its size (Radford et al. 2019, section 2.3)."""
    return 1 / math.sqrt(2 * layers)


def unscaled(layers: int) -> float:
    """Where a norm follows each addition, nothing adds up."""
    return 1.0


class Recipe(NamedTuple):
    """The parts of a transformer that differ between families."""

    norm: type[nn.Module]
    feed_forward: type[FeedForward]
    activation: type[nn.Module]
    expansion: float  # inner width of the feed-forward layer over width
    head: type[nn.Linear]
    tied: bool  # the output layer is the embedding table
    branch_scale: Callable[[int], float]  # layers -> what the branches' last matrices are first multiplied by
    post_norm: bool = False  # norms behind the embeddings and each addition; else before each branch and the head
    rotary: bool = False  # else a learned vector for each position
    shift: bool = False  # token shift, before the first layer
    bias: bool = False
    normalise_qk: bool = False


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
