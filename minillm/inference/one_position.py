"""A plain block on one position of each text, in bf16 on a CPU: a few large operations in the place of many small ones.

What a token takes besides reading the weights is the time of calling things. Here a block's weights are cast once, not
asked for at each token, and laid out as oneDNN reads them best; queries, keys and values are one product; queries and
keys are normalised and rotated together; nothing is called that does nothing. The numbers are those of autocast, but
for attention, whose softmax the fused kernel computes in fp32.

Left out: blocks with adapters, hooks or other people's parts, which are asked as ever.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.models import Attend, Block, FeedForward, GatedFeedForward, SelfAttention, rotate

MOST_BF16 = 256  # rows up to which the other way round is faster


def casts() -> bool:
    """Whether products on the CPU are cast to bf16."""
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def cast_once(weight: Tensor, bias: Tensor | None, texts: int) -> Callable[[Tensor], Tensor]:
    """A linear layer in bf16 whose weights are cast now, for x (..., C) of about `texts` rows."""
    weight, bias = weight.detach().bfloat16(), None if bias is None else bias.detach().bfloat16()
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, texts)
    except (RuntimeError, AttributeError):  # a torch without oneDNN, or a processor for which it has no bf16
        return lambda x: the_other_way(weight, bias, x.bfloat16())
    product = torch.ops.mkldnn._linear_pointwise
    return lambda x: product(x.bfloat16(), packed, bias, "none", [], "")


def the_other_way(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """What a linear layer of bf16 makes of x (..., C)."""
    rows = x.numel() // weight.size(1)
    if not 0 < rows <= MOST_BF16 or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    y = weight @ x.flatten() if rows == 1 else (weight @ x.reshape(rows, -1).T).T.contiguous()
    y = y.view(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def plain_linear(layer: nn.Module) -> bool:
    """Whether it is a linear layer on the CPU that nobody has changed."""
    kind = isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward
    return kind and _untouched(layer) and layer.weight.device.type == "cpu"


def _untouched(part: nn.Module) -> bool:
    return "forward" not in vars(part) and not (part._forward_hooks or part._forward_pre_hooks)


def _plain(block: nn.Module) -> bool:
    """Whether a block and its parts are those of `recipes`, with weights in fp32."""
    if type(block) is not Block or type(block.attention) is not SelfAttention or not block.attention.causal:
        return False
    if type(block.attention.attend) is not Attend or type(block.feed_forward) not in (FeedForward, GatedFeedForward):
        return False
    layers = [m for m in (*block.attention.children(), *block.feed_forward.children()) if isinstance(m, nn.Linear)]
    fp32 = all(plain_linear(layer) and layer.weight.dtype == torch.float32 for layer in layers)
    whole = len(layers) == 6 + isinstance(block.feed_forward, GatedFeedForward)  # none of them is wrapped
    return fp32 and whole and all(map(_untouched, block.modules()))


def one_position(model: nn.Module, texts: int) -> list[nn.Module]:
    """Let the plain blocks of a model be fast on one position; returns them: `del block.forward` undoes it."""
    blocks = [block for block in model.modules() if texts <= MOST_BF16 and _plain(block)]
    for block in blocks:
        block.forward = _OnePosition(block, texts)
    return blocks


class _OnePosition:
    """The `forward` of a block."""

    def __init__(self, block: Block, texts: int):
        own, inner, make = block.attention, block.feed_forward, partial(_cast_layer, texts=texts)
        parts = (block.norm_1, own.normalise, block.norm_2, inner.activation)
        self.block, self.parts = block, [part.forward for part in parts]
        self.normalises = type(own.normalise) is not nn.Identity
        self.qkv, self.output = make(own.query, own.key, own.value), make(own.output)
        self.up, self.down = make(inner.up), make(inner.down)
        self.gate = make(inner.gate) if isinstance(inner, GatedFeedForward) else None

    def __call__(self, x: Tensor, rotary, mask: Tensor | None, cache) -> Tensor:
        if x.size(1) > 1 or cache is None:
            return type(self.block).forward(self.block, x, rotary, mask, cache)
        own, (norm_1, normalise, norm_2, activation) = self.block.attention, self.parts
        B, H, G, D = len(x), own.heads, own.kv_heads, own.head_dim
        qkv = self.qkv(norm_1(x)).view(B, H + 2 * G, 1, D)
        qk, v = qkv[:, : H + G], qkv[:, H + G :]
        if self.normalises:
            qk = normalise(qk)
        if rotary is not None:
            qk = rotate(qk, *rotary)
        k, v = cache.update(own.layer, qk[:, H:], v)
        q = qk[:, :H].reshape(B, G, H // G, D)  # queries that share a key are rows of one product
        x = x + self.output(F.scaled_dot_product_attention(q, k, v, mask).view(B, 1, H * D))
        y = norm_2(x)
        inner = activation(self.up(y)) if self.gate is None else activation(self.gate(y)) * self.up(y)
        return x + self.down(inner)


def _cast_layer(*layers: nn.Linear, texts: int) -> Callable[[Tensor], Tensor]:
    """Linear layers on the same input as one."""
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return cast_once(torch.cat([layer.weight for layer in layers]), bias, texts)
