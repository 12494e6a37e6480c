"""The loss of a large vocabulary, a few positions at a time: the logits of all of them are never in memory together.

A table of 50,000 tokens makes 50,000 numbers of each position, which the loss then copies three times: of a thousand
positions that is more than all else together. Here each part of the positions goes through the output layer, to its
loss and back at once, and what is left of it is the gradient of its vectors.
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minillm.data import IGNORE_INDEX
from minillm.training.losses import masked_lm_sum
from minillm.training.objectives import causal_lm
from minillm.training.preparing import keep_next, preparing

PART = 2**22  # logits that are computed at once
LARGE = 2**14  # tokens: a smaller vocabulary needs none of this
COMPILED = 16  # parts in a compiled graph, which writes out each of them


class _Parts(torch.autograd.Function):
    """The summed loss of vectors x (N, C) under an output layer, and its gradients, which the forward pass computes."""

    @staticmethod
    def forward(ctx, x: Tensor, labels: Tensor, head: nn.Module, rows: int, *weights: Tensor) -> Tensor:
        total, gradient = x.new_zeros((), dtype=torch.float32), torch.empty_like(x)
        of_weights = [torch.zeros_like(weight) for weight in weights]
        for start in range(0, len(x), rows):
            with torch.enable_grad():
                part = x[start : start + rows].detach().requires_grad_()
                loss, _ = masked_lm_sum(head(part), labels[start : start + rows])
            first, *others = torch.autograd.grad(loss, [part, *weights])
            gradient[start : start + rows] = first
            for own, more in zip(of_weights, others):
                own += more
            total += loss.detach()
        ctx.save_for_backward(gradient, *of_weights)
        return total

    @staticmethod
    def backward(ctx, share: Tensor):
        gradient, *of_weights = ctx.saved_tensors
        return gradient * share, None, None, None, *(own * share for own in of_weights)


def _part(head: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return masked_lm_sum(head(x), labels)[0]


@preparing(keep_next)
def causal_lm_by_parts(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """`causal_lm`, with the same loss and gradients but for rounding, and the logits of a few positions in memory."""
    batch = batch if "kept" in batch else keep_next(model, batch, False)
    mask, head = batch.get("attention_mask"), model.head
    x = model.hidden(batch["input_ids"][:, :-1], None if mask is None else mask[:, :-1])
    if batch["kept"] is None:
        x, labels = x.flatten(0, 1), batch["labels"][:, 1:].flatten()
    else:
        rows, columns, labels = batch["kept"]
        x = x[rows, columns]
    rows = max(PART // len(model.embedding.weight), 1)
    if torch.compiler.is_compiling():  # which cannot read a gradient in the forward pass: logits are computed twice
        parts = ((x[first::COMPILED], labels[first::COMPILED]) for first in range(COMPILED))
        total = sum(checkpoint(_part, head, *part, use_reentrant=False) for part in parts)
    elif torch.is_grad_enabled():
        total = _Parts.apply(x, labels, head, rows, *(p for p in head.parameters() if p.requires_grad))
    else:
        parts = (masked_lm_sum(head(one), own)[0] for one, own in zip(x.split(rows), labels.split(rows)))
        total = sum(parts, x.new_zeros((), dtype=torch.float32))
    return total, (labels != IGNORE_INDEX).sum()


def causal_objective(model: nn.Module):
    """The loss of language modelling that fits a model: `causal_lm`, and by parts where the vocabulary is large."""
    large = getattr(getattr(model, "config", None), "vocab_size", 0) >= LARGE and hasattr(model, "hidden")
    return causal_lm_by_parts if large else causal_lm
