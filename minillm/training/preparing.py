"""What a loss looks up in a batch while it is on the CPU: where its labels are, above all.

To ask a device where the labels are would mean to wait for it, and to compute as many logits as it says would be
another graph for a compiler. So a loss function may have a `prepare`, which is called on a batch before it travels; a
batch that was not prepared has the same loss.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX

LossFunction = Callable[[nn.Module, dict], Tensor | tuple[Tensor, Tensor]]
DENSE = 0.5  # share of positions with a label from which a device computes the logits of all of them


def preparing(prepare: Callable[[nn.Module, dict, bool], dict]) -> Callable[[LossFunction], LossFunction]:
    """A decorator: what a loss function wants done to a batch before it travels. See `prepared`."""

    def mark(loss_fn: LossFunction) -> LossFunction:
        loss_fn.prepare = prepare
        return loss_fn

    return mark


def prepared(loss_fn: LossFunction, model: nn.Module, batch: dict, steady: bool = False) -> dict:
    """The batch with what `loss_fn` can look up in it while it is on the CPU; steady: shapes should change little."""
    return loss_fn.prepare(model, batch, steady) if hasattr(loss_fn, "prepare") else batch


def places(labels: Tensor) -> Tensor:
    """Row, column and label of the N that count: labels (B, T) -> (3, N)."""
    rows, columns = (labels != IGNORE_INDEX).nonzero(as_tuple=True)
    return torch.stack((rows, columns, labels[rows, columns]))


def keep_next(model: nn.Module, batch: dict, steady: bool) -> dict:
    """A batch with the places of the labels that are predicted one position before; None: everywhere."""
    labels = batch["labels"][:, 1:]
    dense = steady and int((labels != IGNORE_INDEX).sum()) >= DENSE * labels.numel()
    return {**batch, "kept": None if dense else places(labels)}


def keep_here(model: nn.Module, batch: dict, steady: bool) -> dict:
    """A batch with the places of its labels."""
    return {**batch, "kept": places(batch["labels"])}
