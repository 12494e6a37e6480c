"""Linear layers on the few rows that generation has: the same products, in the form in which a CPU is fast.

A step reads all weights to multiply them with a row for each text, so what counts is how fast they stream from memory.
torch's kernels are made for many rows. For a few of bf16 the product the other way round, W x', takes two thirds of the
time, and for a few of fp32 one in blocks of W that stay in the cache three quarters (on a processor with AVX-512).
"""

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_BF16 = 256  # rows up to which the other way round is faster
FP32 = range(3, 13)  # rows for which blocks are faster; of one or two the plain product streams well
BLOCK = 64  # outputs


@contextlib.contextmanager
def few_rows(model: nn.Module) -> Iterator[None]:
    """The linear layers of a model are fast on few rows for the time of a block, without gradients."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and type(m).forward is nn.Linear.forward]
    layers = [layer for layer in layers if layer.weight.device.type == "cpu" and "forward" not in vars(layer)]
    for layer in layers:
        layer.forward = partial(linear, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """What the layer makes of x (..., C)."""
    weight, rows = layer.weight, x.numel() // (x.size(-1) or 1)
    if weight.dtype == x.dtype == torch.bfloat16 and 0 < rows <= MOST_BF16:
        y = weight @ x.flatten() if rows == 1 else (weight @ x.reshape(rows, -1).T).T.contiguous()
    elif weight.dtype == x.dtype == torch.float32 and rows in FP32 and _in_blocks(weight):
        blocks = weight.view(-1, BLOCK, weight.size(1)).mT  # (n, C, BLOCK)
        y = (x.reshape(1, rows, -1).expand(len(blocks), -1, -1) @ blocks).transpose(0, 1)
    else:
        return F.linear(x, weight, layer.bias)
    y = y.reshape(*x.shape[:-1], len(weight))
    return y if layer.bias is None else y + layer.bias


def _in_blocks(weight: Tensor) -> bool:
    return len(weight) % BLOCK == 0 and weight.is_contiguous() and not torch.is_autocast_enabled("cpu")
