"""The transformer: one trunk, causal in a `Decoder` and bidirectional in an `Encoder` (Vaswani et al. 2017).

Pre-norm or post-norm, and which norm, positions, feed-forward layer and output layer a model has, is its *recipe*, one
row of `RECIPES`, chosen once when the model is built; `forward` never asks. Any recipe goes with either: GPT-2 and
Llama are decoders, BERT is an encoder, `minillm` is ours for both.

Left out: mixtures of experts, cross-attention, BERT's next-sentence output. Shapes: B batch, T time, S time including
the cache, C channels, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minillm.models.attention import KVCache, causal_mask
from minillm.models.details import Details
from minillm.models.recipes import RECIPES, NoSegments, NoShift, Segments, TokenShift


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
    segments: int = 0  # texts that the model can tell apart in one input; 0: one, and no segment_ids
    details: Details = Details()  # what only other people's families need

    def __post_init__(self):
        object.__setattr__(self, "details", Details.of(self.details))
        if self.recipe not in RECIPES:
            raise ValueError(f"unknown recipe {self.recipe!r}: choose one of {', '.join(RECIPES)}")
        for name in ("vocab_size", "context", "layers", "width", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if (self.width % self.heads and not self.details.head_dim) or self.head_dim % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")
        if self.heads % self.groups:
            raise ValueError(f"heads {self.heads} must divide by kv_heads {self.kv_heads}")
        if self.segments < 0:
            raise ValueError(f"segments is {self.segments}: it must be at least 0")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must lie in [0, 1)")

    @property
    def head_dim(self) -> int:
        """Channels of one head, D."""
        return self.details.head_dim or self.width // self.heads

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def inner(self) -> int:
        """Inner width of the feed-forward layer."""
        return self.hidden or int(RECIPES[self.recipe].expansion * self.width)

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding table."""
        return RECIPES[self.recipe].tied or self.details.tied


class Block(nn.Module):
    """One layer, attention and then an MLP, which both add to the residual stream x (B, T, C).

    Pre-norm (Xiong et al. 2020): each branch reads a normalised copy of it, so gradients pass through it unchanged.
    """

    def __init__(self, config: ModelConfig, layer: int, causal: bool):
        super().__init__()
        c, recipe = config, RECIPES[config.recipe]
        self.norm_1 = recipe.norm(c.width, eps=c.norm_eps)
        self.attention = recipe.attention(recipe, c, layer, causal)
        self.norm_2 = recipe.norm(c.width, eps=c.norm_eps)
        self.feed_forward = recipe.feed_forward(c.width, c.inner, recipe.activation(), recipe.bias)
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm_1(x), rotary, mask, cache))
        return x + self.dropout(self.feed_forward(self.norm_2(x)))


class PostNormBlock(Block):
    """A layer with post-norm: the norms follow the additions, as in Vaswani et al. 2017 (section 3.1) and BERT."""

    def forward(self, x: Tensor, rotary, mask: Tensor | None, cache: KVCache | None) -> Tensor:
        x = self.norm_1(x + self.dropout(self.attention(x, rotary, mask, cache)))
        return self.norm_2(x + self.dropout(self.feed_forward(x)))


class Transformer(nn.Module):
    """The trunk, token ids to one vector a position, and its LM head. Use a `Decoder` or an `Encoder`."""

    causal = True

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        recipe = RECIPES[config.recipe]
        norm = recipe.norm(config.width, eps=config.norm_eps)
        block = recipe.block or (PostNormBlock if recipe.post_norm else Block)
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.shift = TokenShift(config.width) if recipe.shift else NoShift()
        self.first_norm = norm if recipe.post_norm else recipe.first(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(block(config, layer, self.causal) for layer in range(config.layers))
        self.norm = nn.Identity() if recipe.post_norm else norm
        self.head = recipe.head(config)
        self.position = None if recipe.rotary else nn.Embedding(config.context, config.width)
        self.segment = Segments(config.segments, config.width) if config.segments else NoSegments()
        cos, sin = config.details.rotary_tables(config.context, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._initialise)
        for block in self.blocks:  # scale what the branches add to the residual stream at the start
            for branch in (block.attention.output, block.feed_forward.down):
                branch.weight.data.mul_(recipe.branch_scale(config.layers))
        if config.tied:
            self.head.weight = self.embedding.weight

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)  # Radford et al. 2018, section 4.1
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.embedding.weight.device

    def new_cache(self, batch: int, capacity: int, dtype: torch.dtype | None = None) -> KVCache:
        """An empty key/value cache for `batch` texts of at most `capacity` tokens, by itself in the compute dtype."""
        c, kind = self.config, self.device.type
        dtype = dtype or (
            torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.embedding.weight.dtype
        )
        return KVCache(c.layers, batch, c.groups, capacity, c.head_dim, dtype, self.device)

    def hidden(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        segment_ids: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The vectors (B, T, C) of the last layer, normalised.

        Args:
            input_ids: (B, T); or inputs_embeds: (B, T, C), in their place
            attention_mask: (B, S), 0 on padding on either side, 1 on real tokens; where a row holds several texts, the
                number of the text, and none sees another. With a cache it covers the past as well
            segment_ids: (B, T), 0 on a first text and 1 on a second; None: there is no second
        Raises: ValueError past `config.context`, and for segment_ids that the model has no table for.
        """
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        T = x.size(1)
        S = T if cache is None else cache.length + T
        if S > self.config.context:
            raise ValueError(f"a text of {S} tokens is longer than the model's context of {self.config.context}")
        mask, positions = self._visible(attention_mask, T, S)
        rotary = None
        if self.position is None:
            rotary = self.cos[positions][:, None], self.sin[positions][:, None]  # (B or 1, 1, T, D/2)
        else:
            x = x + self.position(positions)
        x = self.shift(self.segment(x, segment_ids), attention_mask, cache)
        x = self.dropout(self.first_norm(x))
        for block in self.blocks:
            x = block(x, rotary, mask, cache)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def forward(
        self, input_ids=None, attention_mask=None, *, inputs_embeds=None, segment_ids=None, cache=None, keep=None
    ) -> Tensor:
        """Logits (B, T, V) of the same arguments as `hidden`; (N, V) of the N positions where keep (B, T) is true.

        keep may be any other index of the first two dimensions, such as (slice(None), -1): the last position's (B, V).
        """
        x = self.hidden(input_ids, attention_mask, inputs_embeds=inputs_embeds, segment_ids=segment_ids, cache=cache)
        return self.head(x if keep is None else x[keep])

    def _visible(self, attention_mask: Tensor | None, T: int, S: int) -> tuple[Tensor | None, Tensor]:
        """Which query may attend to which key, (B, 1, T, S), None where all is one text; and positions (B or 1, T).

        A token sees those of its own text, and its position is the number of those before it: neither padding nor other
        texts count.
        """
        if attention_mask is None:
            return None, torch.arange(S - T, S, device=self.device)[None]
        if attention_mask.size(1) != S:
            raise ValueError(f"attention_mask covers {attention_mask.size(1)} positions where there are {S}")
        own, other = attention_mask[:, S - T :, None], attention_mask[:, None, :]
        seen = (other != 0) & ((own == other) | (own == 0))  # (B, T, S); what a padded query sees is not used
        past = seen & causal_mask(T, S, self.device)
        positions = (past.sum(-1) - 1).clamp(min=0)  # (B, T)
        # A padded query may attend to itself, so that no softmax is empty.
        itself = torch.eye(S, dtype=torch.bool, device=self.device)[S - T :]
        return ((past if self.causal else seen) | itself)[:, None], positions


class Decoder(Transformer):
    """Causal: each position sees itself and what came before, and predicts the next token."""


class Encoder(Transformer):
    """Bidirectional: each position sees the whole text, and predicts what was masked."""

    causal = False
