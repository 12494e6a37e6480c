"""Layers on the few rows that generation has: the same products, in the form in which a CPU is fast.

A step reads all weights to multiply them with a row for each text, so what counts is how fast they stream from memory.
torch's kernels are made for many rows. For a few of bf16 the product the other way round, W x', takes two thirds of the
time, and for a few of fp32 one in blocks of W that stay in the cache three quarters (on a processor with AVX-512).
Under autocast the weights are cast once, and laid out as oneDNN reads them best; a plain block then goes through its
position without asking its parts (`one_position`).
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.inference.captured import Captured
from minillm.inference.one_position import MOST_BF16, cast_once, casts, one_position, plain_linear, the_other_way

FP32 = range(3, 13)  # rows for which blocks are faster; of one or two the plain product streams well
BLOCK = 64  # outputs


@contextlib.contextmanager
def few_rows(model: nn.Module, texts: int, exact: bool = False) -> Iterator[None]:
    """The layers of a model are fast on a row for each text for the time of a block, without gradients."""
    if isinstance(model, Captured):  # the compiler finds its own
        yield
        return
    changed = one_position(model, texts) if casts() and not exact else []
    done = {id(part) for block in changed for part in block.modules()}
    for layer in model.modules():
        if id(layer) in done:
            continue
        if plain_linear(layer):
            product = _product(layer, texts)
            if product is not None:
                layer.forward = product
                changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _product(layer: nn.Linear, texts: int) -> Callable[[Tensor], Tensor] | None:
    """The fastest way to compute a layer; None: as it is."""
    weight, bias = layer.weight, layer.bias
    if weight.dtype == torch.bfloat16 and texts <= MOST_BF16:
        return partial(the_other_way, weight, bias)
    if casts() and weight.dtype == torch.float32 and texts <= MOST_BF16:
        return cast_once(weight, bias, texts)
    whole = len(weight) % BLOCK == 0 and weight.is_contiguous() and not torch.is_autocast_enabled("cpu")
    return partial(in_blocks, weight, bias) if weight.dtype == torch.float32 and texts in FP32 and whole else None


def in_blocks(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """What a linear layer of fp32 makes of x (..., C)."""
    rows = x.numel() // weight.size(1)
    if rows not in FP32 or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    blocks = weight.view(-1, BLOCK, weight.size(1)).mT  # (n, C, BLOCK)
    y = (x.reshape(1, rows, -1).expand(len(blocks), -1, -1) @ blocks).transpose(0, 1).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias
