"""A decoder whose generation step can be captured: every token runs the same kernels on the same memory.

A token takes a hundred small operations, and on a GPU starting them takes longer than what they do. torch.compile fuses
them and, there, records them once as a CUDA graph, which is started as one. That asks for shapes that never change, so
the cache has a fixed capacity, all of it is attended to through a mask, and the place where a token's keys go is a
number in a tensor. A query expects itself and the token before it at the end, so these two stand there as well.

    generate(captured(model), ids, 100)          # the same texts as without

Off by default: compiling takes a minute. Left out: prompts, which are read as ever; models that are no `Transformer`.
"""

import torch
from torch import Tensor, nn

from minillm.models import KVCache, Transformer
from minillm.system import Compiled

SPARE = 2  # places at the end, where the newest keys stand; the last tokens of a full cache are read as ever


class _Places:
    """The cache as the captured step sees it: full, with the two newest keys at the end too. `at` is where they go."""

    def __init__(self, cache: KVCache):
        self.keys, self.values, self.length = cache.keys, cache.values, cache.keys.size(-2) - 1
        device = cache.keys.device
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.visible = torch.ones(cache.keys.size(1), self.length + 1, dtype=torch.long, device=device)
        self.order = torch.arange(self.length + 1, device=device)
        self.embedded = None if cache.last is None else cache.last.clone()
        for tensor in (self.keys, self.values, self.at, self.visible, self.order, self.embedded):
            if tensor is not None:
                torch._dynamo.mark_static_address(tensor)

    def fits(self, cache: KVCache) -> bool:
        """Whether this is still that cache; it is another one when it has grown or lost rows."""
        return self.keys is cache.keys and self.values is cache.values and self.embedded is cache.last

    def mask(self) -> Tensor:
        """(B, S): what is visible among the places of older tokens, and the last two."""
        return (self.visible * (self.order < self.at - 1)) | (self.order >= self.length - 1)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """As of `KVCache`; k and v (B, H, 1, D)."""
        for kept, new in ((self.keys[layer], k), (self.values[layer], v)):
            kept.index_copy_(2, self.at, new.to(kept.dtype))
            kept[:, :, -2:-1] = kept.index_select(2, self.at - 1)
            kept[:, :, -1:] = new
        return self.keys[layer].to(k.dtype), self.values[layer].to(v.dtype)

    def advance(self, T: int) -> None:
        """Nothing: the cache itself counts."""

    @property
    def last(self) -> Tensor | None:
        """The last token's embedding, for token shift."""
        return self.embedded

    @last.setter
    def last(self, x: Tensor) -> None:
        self.embedded.copy_(x)


class Captured(nn.Module):
    """A `Transformer` that reads single tokens in a compiled step. The same logits, but for rounding."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model, self.config, self.places = model, model.config, None
        on_gpu = model.device.type == "cuda"
        self.compiled = Compiled(self._step, **({"mode": "reduce-overhead"} if on_gpu else {}), dynamic=False)

    def new_cache(self, batch: int, capacity: int, dtype: torch.dtype | None = None) -> KVCache:
        """A cache of zeros."""
        cache = self.model.new_cache(batch, capacity, dtype)
        cache.keys.zero_(), cache.values.zero_()  # what is masked must be a number, too
        return cache

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, cache=None, keep=None, **more):
        """As of `Transformer`."""
        if cache is None or input_ids.size(1) > 1 or more or torch.is_grad_enabled():
            return self.model(input_ids, attention_mask, cache=cache, keep=keep, **more)
        if not 0 < cache.length < cache.keys.size(-2) - SPARE:
            return self.model(input_ids, attention_mask, cache=cache, keep=keep)
        if self.places is None or not self.places.fits(cache):
            self.places = _Places(cache)
            cache.last = self.places.embedded
        self.places.at.fill_(cache.length)
        if attention_mask is not None:
            self.places.visible[:, : cache.length] = attention_mask[:, :-1]
        logits = self.compiled(input_ids, self.places).clone()  # whose memory the next step writes over
        cache.advance(1)
        return logits if keep is None else logits[keep]

    def _step(self, input_ids: Tensor, places: _Places) -> Tensor:
        return self.model(input_ids, places.mask(), cache=places)


def captured(model: nn.Module) -> nn.Module:
    """A model whose step of generation is compiled, and on a GPU captured; others are returned as they are, said."""
    if isinstance(model, Transformer):
        return Captured(model)
    print(f"--compile has no use for a {type(model).__name__}: going on without it")
    return model
