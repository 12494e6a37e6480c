"""Weights in few bits: a linear layer whose matrix is kept as whole numbers of 2 to 8 bits and a scale for every 32.

Weight-only quantization in the blocks of GGUF: value = scale * q, the scale in 16 bits. At 8, 5 and 4 bits rounding and
size are those of ggml's Q8_0, Q5_0 and Q4_0, bit for bit; 6, 3 and 2 follow the rule of the smaller two. Inputs, sums
and whatever is no linear layer (embeddings, norms) stay as they are. The matrix is made anew for each product, so this
saves memory, not time; gradients pass through it to what comes before, so that a LoRA can learn on it (QLoRA: Dettmers
et al. 2023). Left out: scales of scales (the K-quants), weights chosen to fit data (GPTQ, AWQ), kernels on few bits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 32  # weights that share a scale
BITS = range(2, 9)


def quantize_blocks(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Numbers (..., 32 n) as whole numbers and scales: scales (N, 1) in fp16 and q (N, 32), value = scale * q.

    At 8 bits q lies from -127 to 127 and the largest of a block is one of these. With fewer the largest becomes
    -2^(bits - 1), whatever its sign, and what is as large on the other side loses one step.

    Raises: ValueError for other bits, and for rows that are no whole blocks.

    >>> scale, q = quantize_blocks(torch.arange(-16.0, 16.0), bits=4)   # -16 is -8 steps of 2
    >>> scale.item(), q[0, :4].tolist(), q[0, -4:].tolist()
    (2.0, [-8, -7, -7, -6], [6, 7, 7, 7])
    """
    if bits not in BITS:
        raise ValueError(f"bits is {bits}: weights can have {BITS.start} to {BITS.stop - 1}")
    if values.size(-1) % BLOCK:
        raise ValueError(f"rows of {values.size(-1)} are no whole blocks of {BLOCK}")
    blocks = values.float().reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))  # with its sign
    half = 2 ** (bits - 1)
    scale = largest.abs() / 127 if bits == 8 else largest / -half
    inverse = torch.where(scale == 0, 0.0, 1 / scale)
    if bits == 8:
        size = (blocks * inverse).abs()
        whole = size.floor() + (2 * (size - size.floor())).floor()  # away from zero
        q = blocks.sign() * whole
    else:
        q = (blocks.double() * inverse.double() + half + 0.5).trunc().clamp(0, 2 * half - 1) - half
    return scale.half(), q.to(torch.int8)


def pack_bits(q: Tensor, bits: int) -> Tensor:
    """Whole numbers (N, 32) as bytes (N, 4 bits): of each bit of all 32 four bytes; at 8 bits as they are."""
    if bits == 8:
        return q.view(torch.uint8)
    raised = (q + 2 ** (bits - 1)).to(torch.uint8)[:, None, :]  # from 0 up
    plane = (raised >> torch.arange(bits, dtype=torch.uint8, device=q.device)[:, None]) & 1  # (N, bits, 32)
    weights = 2 ** torch.arange(8, device=q.device)
    return (plane.unflatten(-1, (4, 8)) * weights).sum(-1).to(torch.uint8).flatten(1)


def unpack_bits(packed: Tensor, bits: int) -> Tensor:
    """The whole numbers (N, 32) of `pack_bits`."""
    if bits == 8:
        return packed.view(torch.int8)
    plane = packed.unflatten(1, (bits, 4, 1)) >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1
    plane = plane.flatten(2)  # (N, bits, 32)
    raised = (plane << torch.arange(bits, dtype=torch.uint8, device=packed.device)[:, None]).sum(1, dtype=torch.int16)
    return (raised - 2 ** (bits - 1)).to(torch.int8)


class QuantizedLinear(nn.Linear):
    """A linear layer in few bits, in the place of another, which it never changes. It is called as that one was."""

    def __init__(self, linear: nn.Linear, bits: int):
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.bits = linear.in_features, linear.out_features, bits
        self.dtype, self.bias = linear.weight.dtype, linear.bias
        scale, q = quantize_blocks(linear.weight.detach(), bits)
        self.register_buffer("scale", scale)
        self.register_buffer("packed", pack_bits(q, bits))
        self.train(linear.training)

    @property
    def weight(self) -> Tensor:
        """The matrix (out, in) as its bits say, made anew each time."""
        values = self.scale.float() * unpack_bits(self.packed, self.bits)
        return values.view(self.out_features, self.in_features).to(self.dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"


def quantize(model: nn.Module, bits: int) -> nn.Module:
    """Put every linear layer of `model` in few bits, in place; returns the model. Copy it before, to keep the old one.

    Left as they are: layers that do more than a product, whose rows are no whole blocks, or whose matrix stands in a
    second place, such as a tied embedding. All other weights no longer learn.

    Raises: ValueError where there is nothing to quantize.
    """
    counted: dict[nn.Parameter, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        counted[parameter] = counted.get(parameter, 0) + 1
    places = [
        (parent, name, child) for parent in model.modules() for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and not isinstance(child, QuantizedLinear)
        and type(child).forward is nn.Linear.forward and child.in_features % BLOCK == 0 and counted[child.weight] == 1
    ]  # fmt: skip
    if not places:
        raise ValueError(f"this {type(model).__name__} has no linear layer with rows of whole blocks of {BLOCK}")
    for parent, name, child in places:
        setattr(parent, name, QuantizedLinear(child, bits))
    return model.requires_grad_(False)


def bytes_of(model: nn.Module) -> int:
    """The bytes of all weights of a model, also of those in few bits, each counted once."""
    tensors = {id(t): t for t in model.state_dict(keep_vars=True).values()}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def rounding_error(model: nn.Module, bits: int) -> float:
    """The root of the mean squared error of a model's matrices in few bits, over their own root mean square."""
    wrong = total = 0.0
    for weight in (p.detach() for p in model.parameters() if p.dim() == 2 and p.size(1) % BLOCK == 0):
        scale, q = quantize_blocks(weight, bits)
        wrong += F.mse_loss((scale.float() * q).view_as(weight), weight.float(), reduction="sum").item()
        total += weight.float().square().sum().item()
    return (wrong / total) ** 0.5 if total else 0.0
