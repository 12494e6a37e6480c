"""Self-attention: how the positions of a text exchange information.

Scaled dot-product attention with several heads (Vaswani et al. 2017, "Attention Is All You Need", equation 1), grouped
key/value heads (Ainslie et al. 2023), rotary positions (Su et al. 2021, equation 34) and a key/value cache.

The formula is here twice: `attention` is the plain maths, to be read; `attend` is the fast path that the models call.
A test asserts that they agree. Left out: sparse patterns, cross-attention; sliding windows are in `foreign`.

Shapes: B batch, T time (queries), S time (keys, S >= T when a cache holds the past), C channels, H heads, D head dim.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """softmax(q k' / sqrt(D)) v, and the attention weights.

    Args:
        q: (..., T, D); k, v: (..., S, D); mask: boolean, broadcasts to (..., T, S), True where a query may attend
    Returns: the output (..., T, D) and the weights (..., T, S), whose rows sum to 1, or to 0 for a query with no key.
    Source: Vaswani et al. 2017, equation 1.

    >>> q = torch.tensor([[1.0, 0.0]]); k = torch.tensor([[0.0, 1.0], [0.0, 2.0]]); v = torch.tensor([[10.0], [20.0]])
    >>> attention(q, k, v)   # both keys are orthogonal to the query, so it takes the mean
    (tensor([[15.]]), tensor([[0.5000, 0.5000]]))
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.size(-1))  # (..., T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0.0)  # a row of -inf has no softmax
    return weights @ v, weights  # equation 1


@lru_cache(maxsize=64)
def causal_mask(T: int, S: int, device: torch.device | None = None) -> Tensor:
    """Boolean (T, S), True where key s is not later than query t. The T queries are the last of the S positions.

    >>> causal_mask(2, 3).int()
    tensor([[1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)
    """
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)


@lru_cache(maxsize=64)
def _causal_bias(T: int, S: int, dtype: torch.dtype) -> Tensor:
    """The causal mask as numbers to add to CPU scores: 0 where a query may attend, -inf elsewhere."""
    return torch.zeros(T, S, dtype=dtype).masked_fill_(~causal_mask(T, S), -math.inf)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool, dropout: float = 0.0) -> Tensor:
    """The fast path of `attention`: q (B, H, T, D), k and v (B, H or fewer, S, D) -> (B, H, T, D).

    `mask`, when given, includes causality. Without one, `causal` hides the future and nothing else. This is torch's
    fused kernel, except for what a CPU does faster in three plain operations: bf16 in training, and given masks.
    """
    T, S, group = q.size(-2), k.size(-2), q.size(1) // k.size(1)
    causal = causal and mask is None and T > 1  # the last position sees everything
    reads = q.dtype == torch.bfloat16 and not (torch.is_grad_enabled() or torch.is_autocast_enabled(q.device.type))
    if T == 1 and (group > 1 or reads):  # the queries that share a key are rows of one product, and no key is copied
        together = q.reshape(len(q), -1, group, q.size(-1))
        return F.scaled_dot_product_attention(together, k, v, mask, dropout).reshape(q.shape)
    same = mask is None and (not causal or T == S)
    fused = q.is_cuda or ((q.dtype == torch.float32 or reads) and same)
    if fused or (group > 1 and not torch.is_grad_enabled()):  # else keys and values are copied for each head
        if causal and T < S:  # the kernel's own triangle is aligned to the upper left
            mask, causal = causal_mask(T, S, q.device), False
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal=causal, enable_gqa=group > 1)
    if group > 1:
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = (q * (1 / math.sqrt(q.size(-1)))) @ k.transpose(-2, -1)  # (B, H, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif causal:
        scores = scores + _causal_bias(T, S, scores.dtype)
    return F.dropout(scores.softmax(dim=-1), dropout) @ v


def rotary_tables(context: int, head_dim: int, theta: float = 10_000.0, slow=lambda f: f) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (context, D/2), of the angle by which each pair of channels is rotated at each position.

    `slow` changes the frequencies (D/2,), as models do whose context was stretched after training.
    """
    frequency = slow(theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))  # (D/2,)
    angle = torch.outer(torch.arange(context, dtype=torch.float32), frequency)  # (context, D/2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate each pair (x_i, x_{i + D/2}) of x (B, H, T, D) by its angle; cos and sin (..., T, D/2).

    The dot product of two rotated vectors depends on positions only through their distance.
    Source: Su et al. 2021, equation 34.
    """
    a, b = x.chunk(2, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)  # equation 34


class KVCache:
    """Keys and values of the positions already read, so that generating a token computes one position, not all.

    Allocated once for `capacity` positions. A model calls `update` once a layer and `advance` once a forward pass.
    """

    def __init__(self, layers: int, batch: int, heads: int, capacity: int, head_dim: int, dtype=None, device=None):
        shape = (layers, batch, heads, capacity, head_dim)
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty(shape, dtype=dtype, device=device)
        self.last: Tensor | None = None  # (B, 1, C): the last token's embedding, for token shift
        self.length = 0

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (B, H, T, D) to those of this layer. Returns all of them, (B, H, length + T, D)."""
        end = self.length + k.size(-2)
        if end > self.keys.size(-2):
            raise ValueError(f"the cache holds {self.keys.size(-2)} positions and was asked for {end}: make it larger")
        keys, values = self.keys[layer], self.values[layer]
        keys.narrow(2, self.length, k.size(-2)).copy_(k)
        values.narrow(2, self.length, k.size(-2)).copy_(v)
        return keys.narrow(2, 0, end).to(k.dtype), values.narrow(2, 0, end).to(v.dtype)

    def advance(self, T: int) -> None:
        """Count the T positions that every layer has just added."""
        self.length += T

    def drop(self, positions: int) -> None:
        """Forget the first so many positions of every text."""
        self.length -= positions
        for kept in (self.keys, self.values) if positions else ():
            kept[..., : self.length, :] = kept[..., positions : positions + self.length, :].clone()

    def put(self, rows: list[int], other: "KVCache") -> None:
        """Let the cache of these rows end as another does, which has read the same tokens last."""
        for kept, new in ((self.keys, other.keys), (self.values, other.values)):
            kept[:, rows, :, self.length - other.length : self.length] = new[..., : other.length, :]

    def grow(self, positions: int) -> None:
        """Make room for so many positions more."""
        self.keys, self.values = (F.pad(kept, (0, 0, 0, positions)) for kept in (self.keys, self.values))

    def select(self, rows: Tensor, shared: int = 0) -> None:
        """Keep these rows of the batch, in this order (beam search, or dropping finished texts).

        shared: so many positions are the same in all rows; they stay where they are while the batch keeps its size.
        """
        if len(rows) == self.keys.size(1):
            for kept in (self.keys, self.values):
                kept[..., shared : self.length, :] = kept[:, rows, :, shared : self.length]
        else:
            self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.last = None if self.last is None else self.last[rows]


class Attend(nn.Module):
    """`attend` as a module: the one place in a layer where positions interact, which can be wrapped by itself."""

    def __init__(self, causal: bool, dropout: float = 0.0):
        super().__init__()
        self.causal, self.dropout = causal, dropout

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """q (B, H, T, D), k and v (B, H or fewer, S, D), mask as of `attend` -> (B, H, T, D)."""
        return attend(q, k, v, mask, self.causal, self.dropout if self.training else 0.0)

    def weights(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        """The attention weights (B, H, T, S) by the plain formula, to be looked at; k has as many heads as q."""
        visible = causal_mask(q.size(-2), k.size(-2), q.device) if mask is None and self.causal else mask
        return attention(q, k, k, visible)[1]


class SelfAttention(nn.Module):
    """Multi-head self-attention over x (B, T, C). `normalise`, a module or None, is applied to queries and keys."""

    def __init__(
        self, width: int, heads: int, kv_heads: int, *, causal: bool, bias=False, dropout=0.0, normalise=None, layer=0,
        head_dim=0,
    ):  # fmt: skip
        super().__init__()
        if (width % heads and not head_dim) or heads % kv_heads:
            raise ValueError(f"width {width} must divide by heads {heads}, and heads by kv_heads {kv_heads}")
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, head_dim or width // heads
        self.causal, self.layer = causal, layer
        self.query = nn.Linear(width, heads * self.head_dim, bias=bias)
        self.key = nn.Linear(width, kv_heads * self.head_dim, bias=bias)
        self.value = nn.Linear(width, kv_heads * self.head_dim, bias=bias)
        self.output = nn.Linear(heads * self.head_dim, width, bias=bias)
        self.normalise = normalise or nn.Identity()
        self.attend = Attend(causal, dropout)

    def project(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, H, T, D), keys and values (B, H or fewer, T, D) of x, normalised and rotated."""
        q = self.normalise(self.query(x).unflatten(-1, (self.heads, -1))).transpose(1, 2)
        k = self.normalise(self.key(x).unflatten(-1, (self.kv_heads, -1))).transpose(1, 2)
        v = self.value(x).unflatten(-1, (self.kv_heads, -1)).transpose(1, 2)
        if rotary is not None:
            q, k = rotate(q, *rotary), rotate(k, *rotary)
        return q, k, v

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: KVCache | None):
        q, k, v = self.project(x, rotary)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        return self.output(self.attend(q, k, v, mask).transpose(1, 2).flatten(2))  # (B, T, C)
