"""The parts that only other people's families have, and their rows of `RECIPES`.

- `mistral`: Jiang et al. 2023. Llama's parts; a query sees a window of the past.
- `qwen2`, `qwen3`: Yang et al. 2024 and 2025. Biases on queries, keys and values; then a norm on queries and keys.
- `smollm3`: some layers without rotary positions (Yang et al. 2025, "Rope to Nope and back again").
- `olmo2`: OLMo team 2024. The norm follows the branch; norms over all heads of queries and of keys.
- `gpt_neox`: Black et al. 2022. Both branches read the same vectors; only some channels are rotated.
- `gemma`, `gemma2`, `gemma3`: Gemma team 2024 and 2025. Embeddings times the root of the width, norms that multiply by
  1 + weight, a GELU gate; then norms on both sides of a branch, soft caps, windows; then norms on queries and keys.

What differs between models of one family (a window, its layers, caps) is in the config's `details`.
"""

import math
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.models.attention import Attend, KVCache, SelfAttention, causal_mask, rotate
from minillm.models.ladder import LADDER
from minillm.models.recipes import RECIPES, FeedForward, LMHead, Recipe, TanhGELU, depth_scaled
from minillm.models.transformer import Block


class SteadyRMSNorm(nn.RMSNorm):
    """RMSNorm in the precision of its weight, whatever comes: under autocast, a branch computes in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class OnePlusRMSNorm(nn.RMSNorm):
    """RMSNorm that multiplies by 1 + weight, in fp32 whatever comes."""

    def reset_parameters(self) -> None:
        """The weight is 0: multiply by one."""
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.normalized_shape, 1 + self.weight.float(), self.eps).to(x.dtype)


class TimesRootWidth(nn.Module):
    """Multiplies embeddings (B, T, C) by the square root of C, as rounded to their precision."""

    def __init__(self, width: int):
        super().__init__()
        self.factor = math.sqrt(width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.tensor(self.factor, dtype=x.dtype)


def soft_cap(x: Tensor, cap: float) -> Tensor:
    """Squeeze numbers between cap and -cap, hardly changing small ones; 0: leave them (Gemma 2, section 2)."""
    return cap * torch.tanh(x / cap) if cap else x


class CappedLMHead(LMHead):
    """An output layer whose logits have a soft cap."""

    def __init__(self, config):
        super().__init__(config)
        self.cap = config.details.logit_cap

    def forward(self, x: Tensor) -> Tensor:
        return soft_cap(super().forward(x), self.cap)


@lru_cache(maxsize=64)
def _near(T: int, S: int, window: int, causal: bool, device: torch.device) -> Tensor:
    """Boolean (T, S), True where key s is fewer than `window` positions from query t, and not later if causal."""
    distance = torch.arange(S - T, S, device=device)[:, None] - torch.arange(S, device=device)
    return (distance.abs() < window) & (causal_mask(T, S, device) if causal else True)


class WindowAttend(Attend):
    """Attention to the nearest `window` positions, the own one among them: all of them as long as there are no more."""

    def __init__(self, causal: bool, dropout: float, window: int):
        super().__init__(causal, dropout)
        self.window = window

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.causal and mask is None:  # what no query sees is not read
            first = max(k.size(-2) - q.size(-2) + 1 - self.window, 0)
            k, v = k[..., first:, :], v[..., first:, :]
        return super().forward(q, k, v, self._visible(q, k, mask))

    def weights(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        return super().weights(q, k, self._visible(q, k, mask))

    def _visible(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor | None:
        T, S = q.size(-2), k.size(-2)
        if S <= self.window:
            return mask
        if mask is not None and self.causal:  # the last of those that it may see: neither padding nor others count
            return mask & (mask.flip(-1).cumsum(-1).flip(-1) <= self.window)
        near = _near(T, S, self.window, self.causal, q.device)
        return near if mask is None else mask & near


class CappedAttend(WindowAttend):
    """Attention whose scores have a soft cap, in the window of the layer if it has one."""

    def __init__(self, causal: bool, dropout: float, window: int, cap: float):
        super().__init__(causal, dropout, window or 2**62)
        self.cap = cap

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        k, v = (part.repeat_interleave(q.size(1) // k.size(1), dim=1) for part in (k, v))
        return F.dropout(self.weights(q, k, mask), self.dropout, self.training) @ v

    def weights(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        mask = self._visible(q, k, mask)
        scores = soft_cap(q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)), self.cap)
        if mask is None and self.causal:
            mask = causal_mask(q.size(-2), k.size(-2), q.device)
        return (scores if mask is None else scores.masked_fill(~mask, torch.finfo(scores.dtype).min)).softmax(-1)


class ForeignAttention(SelfAttention):
    """Self-attention with the details of a config, and what a row adds.

    Args:
        biased: biases on queries, keys and values
        normed: "head": a norm with weights on each head of the queries and of the keys; "all": on all heads together
    """

    def __init__(self, recipe: Recipe, config, layer: int, causal: bool, *, biased: bool = False, normed: str = ""):
        c, details, D = config, config.details, config.head_dim
        bias = recipe.bias or biased
        super().__init__(
            c.width, c.heads, c.groups, causal=causal, bias=bias, dropout=c.dropout, layer=layer, head_dim=D
        )
        if biased and not recipe.bias:
            self.output.register_parameter("bias", None)
        self.spans = (D * c.heads, D * c.groups) if normed == "all" else (D, D)  # channels that are normed together
        norm = partial(recipe.norm, eps=c.norm_eps) if normed else nn.Identity
        self.query_norm, self.key_norm = (norm(span) for span in self.spans)
        kind, pairs = details.kind(layer), details.rotated(D) // 2
        first = pairs if kind == "l" and details.local_theta else 0  # of this layer's columns of the tables
        self.columns = slice(first, first if kind == "n" else first + pairs)
        self.stretch = math.sqrt(D / details.query_scale) if details.query_scale else 1.0
        window = details.window if kind == "l" else 0
        if details.score_cap:
            self.attend = CappedAttend(causal, c.dropout, window, details.score_cap)
        elif window:
            self.attend = WindowAttend(causal, c.dropout, window)

    def project(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        q = self._heads(self.query_norm(self.query(x).unflatten(-1, (-1, self.spans[0]))), self.heads)
        k = self._heads(self.key_norm(self.key(x).unflatten(-1, (-1, self.spans[1]))), self.kv_heads)
        v = self._heads(self.value(x), self.kv_heads)
        if rotary is not None:
            q, k = self._turn(q, *rotary), self._turn(k, *rotary)
        return (q if self.stretch == 1 else q * self.stretch), k, v

    @staticmethod
    def _heads(x: Tensor, heads: int) -> Tensor:
        """(B, T, ...) -> (B, heads, T, D)."""
        return x.flatten(2).unflatten(-1, (heads, -1)).transpose(1, 2)

    def _turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate as many channels as this layer does."""
        cos, sin = cos[..., self.columns], sin[..., self.columns]
        turned = 2 * cos.size(-1)
        if turned == x.size(-1):
            return rotate(x, cos, sin)
        return torch.cat((rotate(x[..., :turned], cos, sin), x[..., turned:]), dim=-1) if turned else x


class ParallelBlock(Block):
    """A layer whose branches both read what came in (Wang & Komatsuzaki 2021)."""

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        attended = self.dropout(self.attention(self.norm_1(x), rotary, mask, cache))
        return x + attended + self.dropout(self.feed_forward(self.norm_2(x)))


class BranchNormBlock(Block):
    """A layer with the norms at the ends of its branches (OLMo 2, section 3.1)."""

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.norm_1(self.attention(x, rotary, mask, cache)))
        return x + self.dropout(self.norm_2(self.feed_forward(x)))


class SandwichBlock(Block):
    """A layer with norms at both ends of its branches (Ding et al. 2021; Gemma 2)."""

    def __init__(self, config, layer: int, causal: bool):
        super().__init__(config, layer, causal)
        norm = RECIPES[config.recipe].norm
        self.after_1, self.after_2 = (norm(config.width, eps=config.norm_eps) for _ in range(2))

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.after_1(self.attention(self.norm_1(x), rotary, mask, cache)))
        return x + self.dropout(self.after_2(self.feed_forward(self.norm_2(x))))


def _with(**parts) -> partial:
    return partial(ForeignAttention, **parts)


_LLAMA = RECIPES["llama"]._replace(norm=SteadyRMSNorm, attention=ForeignAttention)
_GEMMA = _LLAMA._replace(norm=OnePlusRMSNorm, activation=TanhGELU, tied=True, first=TimesRootWidth)
_GEMMA2 = _GEMMA._replace(block=SandwichBlock, head=CappedLMHead)

FOREIGN = {
    "mistral": _LLAMA,
    "qwen2": _LLAMA._replace(attention=_with(biased=True)),
    "qwen3": _LLAMA._replace(attention=_with(normed="head")),
    "smollm3": _LLAMA,
    "olmo2": _LLAMA._replace(attention=_with(normed="all"), block=BranchNormBlock),
    "gpt_neox": Recipe(
        nn.LayerNorm, FeedForward, nn.GELU, 4, LMHead, False, depth_scaled, rotary=True, bias=True,
        attention=ForeignAttention, block=ParallelBlock,
    ),
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "gemma3": _GEMMA2._replace(attention=_with(normed="head")),
}  # fmt: skip
RECIPES |= LADDER
OWN_RECIPES = tuple(RECIPES)  # those that a command trains from scratch
RECIPES |= FOREIGN
