"""Linear layers on the few rows that generation has: the same products, in the form in which a CPU is fast.

A step reads all weights to multiply them with a row for each text, so what counts is how fast they stream from memory.
torch's kernels are made for many rows. For a few of bf16 the product the other way round, W x', takes two thirds of the
time, and for a few of fp32 one in blocks of W that stay in the cache three quarters (on a processor with AVX-512).
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_BF16 = 256  # rows up to which the other way round is faster
FP32 = range(3, 13)  # rows for which blocks are faster; of one or two the plain product streams well
BLOCK = 64  # outputs


@contextlib.contextmanager
def few_rows(model: nn.Module, texts: int) -> Iterator[None]:
    """The linear layers of a model are fast on a row for each text for the time of a block, without gradients."""
    changed = []
    for layer in model.modules():
        plain = isinstance(layer, nn.Linear) and type(layer).forward is nn.Linear.forward
        if plain and "forward" not in vars(layer) and layer.weight.device.type == "cpu":
            kind = _product(layer.weight, texts)
            if kind is not None:
                layer.forward = partial(kind, layer.weight, layer.bias)
                changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _product(weight: Tensor, texts: int) -> Callable[[Tensor, Tensor | None, Tensor], Tensor] | None:
    """The fastest way to multiply with a weight; None: as it is."""
    if weight.dtype == torch.bfloat16 and texts <= MOST_BF16:
        return the_other_way
    whole = len(weight) % BLOCK == 0 and weight.is_contiguous() and not torch.is_autocast_enabled("cpu")
    return in_blocks if weight.dtype == torch.float32 and texts in FP32 and whole else None


def the_other_way(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """What a linear layer of bf16 makes of x (..., C)."""
    rows = x.numel() // weight.size(1)
    if not 0 < rows <= MOST_BF16 or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    y = weight @ x.flatten() if rows == 1 else (weight @ x.reshape(rows, -1).T).T.contiguous()
    y = y.view(*x.shape[:-1], -1)
    return y if bias is None else y + bias


def in_blocks(weight: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
    """What a linear layer of fp32 makes of x (..., C)."""
    rows = x.numel() // weight.size(1)
    if rows not in FP32 or x.dtype != weight.dtype:
        return F.linear(x, weight, bias)
    blocks = weight.view(-1, BLOCK, weight.size(1)).mT  # (n, C, BLOCK)
    y = (x.reshape(1, rows, -1).expand(len(blocks), -1, -1) @ blocks).transpose(0, 1).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias
