"""The transformer: one trunk, which a `Decoder` reads from left to right and an `Encoder` in both directions.

Vaswani et al. 2017, with the norm before each branch (Xiong et al. 2020). Which norm, positions and feed-forward layer
a model has is its *recipe*, one row of `RECIPES`, chosen once when the model is built; `forward` never asks.

- `minillm`: what learned fastest here. Rotary positions, token shift (Peng et al. 2023), norm without parameters on the
  stream and on queries and keys (Henry et al. 2020), ReLU squared (So et al. 2021), branches that start at zero.
- `gpt2`: Radford et al. 2019. Learned positions, LayerNorm, GELU, biases, the output layer tied to the embedding.
- `llama`: Touvron et al. 2023. Rotary positions, RMSNorm, SwiGLU (Shazeer 2020).

Left out: mixtures of experts, cross-attention. Shapes: B batch, T time, C channels, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.attention import KVCache, SelfAttention, causal_mask, rotary_tables


@dataclass(frozen=True)
class ModelConfig:
    """The size and kind of a transformer; saved with every checkpoint."""

    vocab_size: int
    context: int = 256  # the longest text the model reads, in tokens
    layers: int = 4
    width: int = 128  # C
    heads: int = 4  # H
    kv_heads: int = 0  # heads of keys and values; 0: as many as heads
    hidden: int = 0  # inner width of the feed-forward layer; 0: the recipe's multiple of width
    recipe: str = "minillm"
    dropout: float = 0.0
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0  # base of the rotary frequencies

    def __post_init__(self):
        if self.recipe not in RECIPES:
            raise ValueError(f"unknown recipe {self.recipe!r}: choose one of {', '.join(RECIPES)}")
        for name in ("vocab_size", "context", "layers", "width", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if self.width % self.heads or self.head_dim % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        if self.heads % self.groups:
            raise ValueError(f"heads {self.heads} must divide by kv_heads {self.kv_heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must lie in [0, 1)")

    @property
    def head_dim(self) -> int:
        """Channels of one head, D."""
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def inner(self) -> int:
        """Inner width of the feed-forward layer."""
        return self.hidden or int(RECIPES[self.recipe].expansion * self.width)


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
        """x (B, T, C) -> (B, T, C). Padding before a text is as good as nothing; the cache knows the last token."""
        if cache is None or cache.last is None:
            before = F.pad(x, (0, 0, 1, -1))  # nothing stands before the first
        else:
            before = torch.cat((cache.last.to(x.dtype), x[:, :-1]), dim=1)
        if cache is not None:
            cache.last = x[:, -1:]
        if attention_mask is not None:
            T = x.size(1)
            before = before * F.pad(attention_mask, (1, -1))[:, -T:, None].to(x.dtype)
        return x + self.share * before


class NoShift(nn.Module):
    """In the place of a `TokenShift`: each position hears of the others through attention alone."""

    def forward(self, x: Tensor, attention_mask: Tensor | None, cache: KVCache | None) -> Tensor:
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


class Recipe(NamedTuple):
    """The parts of a transformer that differ between families."""

    norm: type[nn.Module]
    feed_forward: type[FeedForward]
    activation: type[nn.Module]
    expansion: float  # inner width of the feed-forward layer over width
    rotary: bool  # else a learned vector for each position
    shift: bool  # token shift, before the first layer
    bias: bool
    normalise_qk: bool
    tied: bool  # the output layer is the embedding table
    residual_init: float  # the residual branches' share of the usual initial size


class TanhGELU(nn.GELU):
    """GELU in the tanh approximation that GPT-2 was trained with (Hendrycks & Gimpel 2016)."""

    def __init__(self):
        super().__init__(approximate="tanh")


RECIPES = {
    "minillm": Recipe(PlainNorm, FeedForward, ReLUSquared, 2, True, True, False, True, False, 0.0),
    "gpt2": Recipe(nn.LayerNorm, FeedForward, TanhGELU, 4, False, False, True, False, True, 1.0),
    "llama": Recipe(nn.RMSNorm, GatedFeedForward, nn.SiLU, 8 / 3, True, False, False, False, False, 1.0),
}


class Block(nn.Module):
    """One layer: positions talk to each other, then each thinks for itself. Both add to the stream x (B, T, C)."""

    def __init__(self, config: ModelConfig, layer: int, causal: bool):
        super().__init__()
        recipe = RECIPES[config.recipe]
        self.norm_1 = recipe.norm(config.width, eps=config.norm_eps)
        self.attention = SelfAttention(
            config.width,
            config.heads,
            config.groups,
            causal=causal,
            bias=recipe.bias,
            dropout=config.dropout,
            normalise=PlainNorm(config.head_dim) if recipe.normalise_qk else None,
            layer=layer,
        )
        self.norm_2 = recipe.norm(config.width, eps=config.norm_eps)
        self.feed_forward = recipe.feed_forward(config.width, config.inner, recipe.activation(), recipe.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm_1(x), rotary, mask, cache))
        return x + self.dropout(self.feed_forward(self.norm_2(x)))


class Transformer(nn.Module):
    """The trunk: token ids to one vector a position. Use a `Decoder` or an `Encoder`, which add an output layer."""

    causal = True

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        recipe = RECIPES[config.recipe]
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.shift = TokenShift(config.width) if recipe.shift else NoShift()
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, layer, self.causal) for layer in range(config.layers))
        self.norm = recipe.norm(config.width, eps=config.norm_eps)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.position = None if recipe.rotary else nn.Embedding(config.context, config.width)
        cos, sin = rotary_tables(config.context, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._initialise)
        self._initialise_ends(recipe)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)  # Radford et al. 2018, section 4.1
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def _initialise_ends(self, recipe: Recipe) -> None:
        """Branches add up: shrink each so that the stream keeps its size (Radford et al. 2019, section 2.3)."""
        scale = recipe.residual_init / math.sqrt(2 * self.config.layers)
        for block in self.blocks:
            for branch in (block.attention.output, block.feed_forward.down):
                branch.weight.data.mul_(scale)
        if recipe.tied:
            self.head.weight = self.embedding.weight

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.embedding.weight.device

    def new_cache(self, batch: int, capacity: int, dtype: torch.dtype | None = None) -> KVCache:
        """An empty key/value cache for `batch` texts of at most `capacity` tokens."""
        c = self.config
        return KVCache(c.layers, batch, c.groups, capacity, c.head_dim, dtype, self.device)

    def hidden(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The vectors (B, T, C) of the last layer, normalised.

        input_ids (B, T), or inputs_embeds (B, T, C) in their place. attention_mask (B, S) is 1 on real tokens and 0 on
        padding, on whichever side; with a cache it covers the past as well. Raises ValueError past `config.context`.
        """
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        T = x.size(1)
        past = 0 if cache is None else cache.length
        S = past + T
        if S > self.config.context:
            raise ValueError(f"a text of {S} tokens is longer than the model's context of {self.config.context}")
        mask, positions = self._visible(attention_mask, T, S)
        if self.position is not None:
            x = x + self.position(positions)
        rotary = None if self.position is not None else self._rotary(positions)
        x = self.dropout(self.shift(x, attention_mask, cache))
        for block in self.blocks:
            x = block(x, rotary, mask, cache)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def forward(self, input_ids=None, attention_mask=None, *, inputs_embeds=None, cache=None, keep=None) -> Tensor:
        """Logits (B, T, V) of the same arguments as `hidden`; (N, V) of the N positions where keep (B, T) is true."""
        x = self.hidden(input_ids, attention_mask, inputs_embeds=inputs_embeds, cache=cache)
        return self.head(x if keep is None else x[keep])

    def _visible(self, attention_mask: Tensor | None, T: int, S: int) -> tuple[Tensor | None, Tensor]:
        """Who may look at whom, (B, 1, T, S) or None where padding hides nothing; and the positions of the T tokens.

        Padding counts for nothing: the first real token of a text has position 0, whatever stands before it.
        """
        if attention_mask is None:
            return None, torch.arange(S - T, S, device=self.device)
        if attention_mask.size(1) != S:
            raise ValueError(f"attention_mask covers {attention_mask.size(1)} positions where there are {S}")
        real = attention_mask.bool()
        positions = (real.cumsum(1) - 1).clamp(min=0)[:, S - T :]  # (B, T)
        mask = real[:, None, None, :]
        if self.causal:
            mask = mask & causal_mask(T, S, self.device)
        # A padded query may look at itself, so that no softmax is empty; nobody looks at it.
        itself = torch.eye(S, dtype=torch.bool, device=self.device)[S - T :]
        return mask | itself, positions

    def _rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for positions (T,) or (B, T), ready to broadcast over heads."""
        cos, sin = self.cos[positions], self.sin[positions]
        return (cos[:, None], sin[:, None]) if positions.dim() == 2 else (cos, sin)


class Decoder(Transformer):
    """Reads from left to right: each position sees itself and what came before, and predicts what comes next."""

    causal = True


class Encoder(Transformer):
    """Reads in both directions: each position sees the whole text, and predicts what was masked."""

    causal = False
