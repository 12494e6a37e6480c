"""Optimizers and schedules.

Muon (Jordan et al. 2024) orthogonalises the update of every hidden matrix; AdamW (Loshchilov & Hutter 2019) takes care
of the rest: embeddings, the output layer, norms and biases. Weight decay is for matrices only.
"""

import math

import torch
from torch import nn


class MuonAdamW(torch.optim.Optimizer):
    """Two optimizers behind one face, so that a training loop, a schedule and a gradient scaler each see one.

    `param_groups` is the list of both; a group's `initial_lr` is what a schedule multiplies.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer]):
        self.optimizers = optimizers
        super().__init__([p for o in optimizers for g in o.param_groups for p in g["params"]], {})
        self.param_groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    def step(self, closure=None):
        """One update of every parameter that has a gradient."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict:
        """The states of both, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take back what `state_dict` gave. The groups stay the same objects, so `param_groups` stays true."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


def split_parameters(model: nn.Module) -> tuple[list, list, list]:
    """Trainable parameters as (hidden matrices, tables, vectors).

    A table is an embedding or an output layer, whose rows belong to tokens or classes; a vector has one axis.
    """
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = getattr(model, "head", None)
    if isinstance(head, nn.Linear):
        tables.add(id(head.weight))
    groups = ([], [], [])
    for parameter in model.parameters():
        if parameter.requires_grad:
            kind = 2 if parameter.dim() < 2 else 1 if id(parameter) in tables or parameter.dim() > 2 else 0
            groups[kind].append(parameter)
    return groups


def build_optimizer(
    model: nn.Module,
    name: str = "muon",
    learning_rate: float = 3e-3,
    matrix_learning_rate: float = 0.02,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.95),
    momentum: float = 0.95,
) -> MuonAdamW:
    """The optimizer `name` ("muon" or "adamw") for the trainable parameters of `model`.

    With "muon", `matrix_learning_rate` moves the hidden matrices and `learning_rate` the rest; with "adamw",
    `learning_rate` moves everything. Raises ValueError when nothing is trainable.
    """
    matrices, tables, vectors = split_parameters(model)
    if not (matrices or tables or vectors):
        raise ValueError("the model has no trainable parameters: every one is frozen")
    if name not in ("muon", "adamw"):
        raise ValueError(f"unknown optimizer {name!r}: choose muon or adamw")
    fused = any(p.is_cuda for p in model.parameters())
    optimizers = []
    if name == "muon" and matrices:
        optimizers.append(
            torch.optim.Muon(matrices, lr=matrix_learning_rate, momentum=momentum, weight_decay=weight_decay)
        )
    decayed = tables if name == "muon" else matrices + tables
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=fused or None))
    return MuonAdamW(optimizers)


def schedule(step: int, steps: int, warmup: int, decay: str = "linear", decay_share: float = 0.5) -> float:
    """The learning rate at `step` (from 0) of `steps`, as a share of its peak.

    Rises linearly over `warmup` steps. Then "linear" holds the peak and falls to 0 over the last `decay_share` of the
    run (Hägele et al. 2024), "cosine" falls to a tenth along half a wave (Loshchilov & Hutter 2017), "constant" holds.

    >>> [schedule(step, 8, warmup=2, decay_share=0.5) for step in range(8)]
    [0.5, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return (step + 1) / warmup
    if decay == "constant":
        return 1.0
    if decay == "linear":
        return min(1.0, (steps - step) / max(decay_share * steps, 1))
    if decay == "cosine":
        progress = (step - warmup) / max(steps - warmup, 1)
        return 0.1 + 0.45 * (1 + math.cos(math.pi * min(progress, 1.0)))
    raise ValueError(f"unknown decay {decay!r}: choose linear, cosine or constant")
