"""The first transformer: an encoder reads one text, and a decoder writes another while it looks at the first.

Vaswani et al. 2017, figure 1, with the parts of any recipe, pre-norm. A layer of the decoder has three branches:
self-attention to what was written, *cross-attention* to the vectors of the encoder, whose keys and values come from
the text that was read, and an MLP. In training the decoder is given the true text so far, whatever it would have
written itself (*teacher forcing*). One embedding table serves both texts.

Left out: beam search, a cache of the keys of the text that was read, recipes with post-norm.

Shapes: B batch, S time of the text that is read, T of the one that is written, C channels, V vocabulary.
"""

import torch
from torch import Tensor, nn

from minillm.models.attention import Attend, KVCache, causal_mask
from minillm.models.recipes import RECIPES
from minillm.models.transformer import Block, Encoder, ModelConfig


class CrossAttention(nn.Module):
    """Queries of one text, keys and values of another: x (B, T, C), memory (B, S, C) -> (B, T, C)."""

    def __init__(self, width: int, heads: int, bias: bool = False, dropout: float = 0.0):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=bias) for _ in range(4))
        self.attend = Attend(causal=False, dropout=dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None) -> Tensor:
        q, k = self.split(self.query(x)), self.split(self.key(memory))
        return self.output(self.attend(q, k, self.split(self.value(memory)), mask).transpose(1, 2).flatten(2))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, H, T, D)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def weights(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention weights (B, H, T, S), to be looked at."""
        return self.attend.weights(self.split(self.query(x)), self.split(self.key(memory)), mask)


class CrossBlock(Block):
    """A layer of the decoder: self-attention, cross-attention, MLP, each added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int):
        super().__init__(config, layer, causal=True)
        recipe = RECIPES[config.recipe]
        self.norm_cross = recipe.norm(config.width, eps=config.norm_eps)
        self.cross = CrossAttention(config.width, config.heads, recipe.bias, config.dropout)

    def forward(self, x: Tensor, rotary, mask, cache, memory: Tensor, seen: Tensor | None) -> Tensor:
        """x (B, T, C), memory (B, S, C), seen (B, 1, 1, S): which of the text that was read is no padding."""
        x = x + self.dropout(self.attention(self.norm_1(x), rotary, mask, cache))
        x = x + self.dropout(self.cross(self.norm_cross(x), memory, seen))
        return x + self.dropout(self.feed_forward(self.norm_2(x)))


class EncoderDecoder(nn.Module):
    """Token ids of one text and of another so far -> logits of the other's next tokens."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        recipe = RECIPES[config.recipe]
        if recipe.post_norm:
            raise ValueError(f"recipe {config.recipe} has post-norm: an encoder-decoder takes one with pre-norm")
        self.config = config
        self.encoder = Encoder(config)
        self.blocks = nn.ModuleList(CrossBlock(config, layer) for layer in range(config.layers))
        self.norm = recipe.norm(config.width, eps=config.norm_eps)
        self.position = None if recipe.rotary else nn.Embedding(config.context, config.width)
        for module in (self.blocks, self.position):
            if module is not None:
                module.apply(Encoder._initialise)
        for block in self.blocks:
            for branch in (block.attention.output, block.cross.output, block.feed_forward.down):
                branch.weight.data.mul_(recipe.branch_scale(config.layers))
        self.head, self.encoder.head = self.encoder.head, nn.Identity()

    def encode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The vectors (B, S, C) of a text that is read."""
        return self.encoder.hidden(input_ids, attention_mask)

    def decode(
        self, input_ids: Tensor, memory: Tensor, attention_mask: Tensor | None = None, cache: KVCache | None = None
    ) -> Tensor:
        """Vectors (B, T, C) of the text that is written, of its ids (B, T), or of those after what is in the cache.

        Args: memory: as of `encode`; attention_mask: (B, S), of the text that was read.
        Raises: ValueError past the context.
        """
        x, T = self.encoder.embedding(input_ids), input_ids.size(1)
        end = T if cache is None else cache.length + T
        if end > self.config.context:
            raise ValueError(f"a text of {end} tokens is longer than the model's context of {self.config.context}")
        places = torch.arange(end - T, end, device=x.device)
        rotary = None
        if self.position is None:
            rotary = self.encoder.cos[places], self.encoder.sin[places]
        else:
            x = x + self.position(places)
        seen = None if attention_mask is None else attention_mask[:, None, None].bool()
        mask = causal_mask(T, end, x.device)
        for block in self.blocks:
            x = block(x, rotary, mask, cache, memory, seen)
        if cache is not None:
            cache.advance(T)
        return self.norm(x)

    def forward(
        self, input_ids: Tensor, decoder_input_ids: Tensor, attention_mask: Tensor | None = None, *, keep=None
    ) -> Tensor:
        """Logits (B, T, V) of what follows each of decoder_input_ids (B, T); (N, V) where keep (B, T) is true."""
        x = self.decode(decoder_input_ids, self.encode(input_ids, attention_mask), attention_mask)
        return self.head(x if keep is None else x[keep])

    def new_cache(self, batch: int, capacity: int) -> KVCache:
        """An empty cache of self-attention for `batch` texts of at most `capacity` tokens."""
        return self.encoder.new_cache(batch, capacity)
