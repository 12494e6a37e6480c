"""Optimizers and schedules. A new optimizer is one entry of `OPTIMIZERS`.

Muon (Jordan et al. 2024) orthogonalises the update of every hidden matrix; AdamW (Loshchilov & Hutter 2019) takes care
of the rest: embeddings, the output layer, norms and biases. Weight decay is for matrices only. A pre-trained model may
be fine-tuned with lower learning rates in lower layers, or unfrozen layer by layer, from the output down (Howard &
Ruder 2018, "ULMFiT"). Left out: other adaptive methods (Adafactor, Lion), second-order ones.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minillm.models import layer_depths


@torch.no_grad()
def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Matrices (N, rows, columns) with the same singular vectors, and singular values near 1 (between 0.7 and 1.2).

    Newton-Schulz: X <- a X + (b A + c A A) X with A = X X', an odd polynomial that acts on the singular values alone.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # drive singular values towards 1, fast rather than exactly
    tall = matrices.size(-2) > matrices.size(-1)
    X = matrices.mT if tall else matrices
    X = X / (X.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        A = X @ X.mT
        X = torch.baddbmm(X, torch.baddbmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.mT if tall else X


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: every direction of a matrix moves by the same amount.

    As torch.optim.Muon, which a test compares it with, but for two things. Matrices of one shape are orthogonalised in
    one batched product; and `dtype` is the precision of that product. torch always takes bf16, which a processor
    without bf16 instructions multiplies a hundred times slower than fp32.
    Source: Jordan et al. 2024.
    """

    def __init__(self, params, lr: float, momentum: float, weight_decay: float = 0.0, dtype=torch.float32):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            shapes: dict[tuple, list] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(sorted(p.shape)), []).append(p)
            for params in shapes.values():
                self._move(params, group)

    def _move(self, params: list[nn.Parameter], group: dict) -> None:
        """Update matrices of one shape, some of them transposed, by operations on all of them at once."""
        wide, tall = ([p for p in params if (p.size(0) > p.size(1)) == high] for high in (False, True))
        params, rate = wide + tall, -group["lr"]
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        gradients, momenta = [p.grad for p in params], [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        directions = torch.stack(nesterov[: len(wide)] + [one.mT for one in nesterov[len(wide) :]])
        directions = orthogonalise(directions.to(self.dtype)).to(params[0].dtype)
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        if wide:
            torch._foreach_add_(wide, directions[: len(wide)].unbind(), alpha=rate)
        if tall:  # which have more rows to move
            upright = directions[len(wide) :].mT.contiguous()
            torch._foreach_add_(tall, upright.unbind(), alpha=rate * (tall[0].size(0) / tall[0].size(1)) ** 0.5)


class CombinedOptimizer(torch.optim.Optimizer):
    """Several optimizers as one, so that a training loop, a schedule and a gradient scaler each see a single one.

    `param_groups` is the list of all; a group's `initial_lr` is the peak rate, which a schedule multiplies.
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
        """The states of all, in order."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict) -> None:
        """Restore what `state_dict` gave."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)  # which makes new groups
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]


class OptimizerSpec(NamedTuple):
    """An entry of `OPTIMIZERS`: what moves which parameters, and the peak rates for pre-training a small model."""

    others: Callable[..., torch.optim.Optimizer]  # of all but the hidden matrices: (groups, lr=) -> an optimizer
    learning_rate: float  # of the others
    head_learning_rate: float  # of the output layer
    matrices: Callable[..., torch.optim.Optimizer] | None = None  # (groups, lr=, dtype=); None: they are as the others
    matrix_learning_rate: float = 0.0


ADAMW = partial(torch.optim.AdamW, betas=(0.9, 0.95), fused=True)
OPTIMIZERS = {
    "muon": OptimizerSpec(ADAMW, 2e-2, 3e-2, matrices=partial(Muon, momentum=0.9), matrix_learning_rate=0.0125),
    "adamw": OptimizerSpec(ADAMW, 1e-3, 1e-3),
    "sgd": OptimizerSpec(partial(torch.optim.SGD, momentum=0.9), 0.1, 0.3),
}


def optimizer_spec(name: str) -> OptimizerSpec:
    """The entry of that name. Raises ValueError when there is none."""
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


class Parameters(NamedTuple):
    """Trainable parameters by what they are: their optimizers and learning rates differ."""

    matrices: list[nn.Parameter]  # hidden ones
    tables: list[nn.Parameter]  # embeddings: a row belongs to a token
    head: list[nn.Parameter]  # the output layer, unless it is an embedding too
    vectors: list[nn.Parameter]  # one axis: norms and biases


def split_parameters(model: nn.Module) -> Parameters:
    """The trainable parameters of `model` by kind. Raises ValueError when there are none."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    output = getattr(model, "head", None)
    output = id(output.weight) if isinstance(output, nn.Linear) else None
    parts = Parameters([], [], [], [])
    for p in [p for p in model.parameters() if p.requires_grad]:
        if p.dim() < 2:
            parts.vectors.append(p)
        elif id(p) in tables or p.dim() > 2:
            parts.tables.append(p)
        elif id(p) == output:
            parts.head.append(p)
        else:
            parts.matrices.append(p)
    if not any(parts):
        raise ValueError("the model has no trainable parameters: every one is frozen")
    return parts


def split_by_depth(model: nn.Module, groups: list[dict], layer_decay: float, unfreeze: int) -> list[dict]:
    """Parameter groups, each split by layer; as they are when layer_decay is 1 and unfreeze 0.

    Layers are counted from the uppermost that learns. The rate of each is `layer_decay` times that of the one above,
    and the step at which it begins to learn, `start`, comes an equal share of `unfreeze` steps after.
    """
    if layer_decay == 1 and not unfreeze:
        return groups
    by_name = layer_depths(model)
    depths = {id(p): by_name[name] for name, p in model.named_parameters() if p.requires_grad}
    order, split = sorted(set(depths.values())), []
    for group in groups:
        for place, depth in enumerate(order):
            own = [p for p in group["params"] if depths[id(p)] == depth]
            start = {"start": unfreeze * place // len(order)} if unfreeze else {}
            if own:
                split.append({**group, "params": own, "lr": group["lr"] * layer_decay**place, **start})
    return split


def build_optimizer(
    model: nn.Module,
    name: str = "muon",
    learning_rate: float = 3e-3,
    matrix_learning_rate: float = 0.02,
    head_learning_rate: float = 0.0,
    weight_decay: float = 0.0,
    dtype: torch.dtype = torch.float32,
    layer_decay: float = 1.0,
    unfreeze: int = 0,
) -> CombinedOptimizer:
    """The optimizer `name` of `OPTIMIZERS` for the trainable parameters of `model`.

    Args:
        learning_rate: of everything but the output layer and, if they have an optimizer of their own, hidden matrices
        matrix_learning_rate: of the hidden matrices, if they have an optimizer of their own; dtype: of its products
        head_learning_rate: of the output layer; 0: as learning_rate
        layer_decay: multiplies the rates once for each layer below the uppermost that learns
        unfreeze: steps over which the layers begin to learn one after another, from the output down; 0: all at once
    Raises: ValueError for an unknown name, and when nothing is trainable.
    Source: Howard & Ruder 2018, sections 3.2 (layer_decay, there 1 / 2.6) and 3.3 (unfreeze).
    """
    spec = optimizer_spec(name)
    matrices, tables, head, vectors = split_parameters(model)
    groups = [
        {"params": tables if spec.matrices else matrices + tables, "weight_decay": weight_decay, "lr": learning_rate},
        {"params": head, "weight_decay": weight_decay, "lr": head_learning_rate or learning_rate},
        {"params": vectors, "weight_decay": 0.0, "lr": learning_rate},
    ]
    parts = [(spec.others, groups)]
    if spec.matrices:
        group = {"params": matrices, "weight_decay": weight_decay, "lr": matrix_learning_rate}
        parts.insert(0, (partial(spec.matrices, dtype=dtype), [group]))
    optimizers = []
    for build, groups in parts:
        groups = split_by_depth(model, [group for group in groups if group["params"]], layer_decay, unfreeze)
        if groups:
            optimizers.append(build(groups, lr=groups[0]["lr"]))
    return CombinedOptimizer(optimizers)


def set_rates(optimizer: torch.optim.Optimizer, step: float, share: float) -> None:
    """Set the learning rates of `step`: `share` of every group's peak.

    What has not begun to learn gets no gradient: it costs nothing and leaves no trace in the norm or the momentum.
    """
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * share
        if "start" in group:
            for p in group["params"]:
                p.requires_grad_(step >= group["start"])


def schedule(step: int, steps: int, warmup: int, decay: str = "linear", decay_share: float = 0.5) -> float:
    """The learning rate at `step` (from 0) of `steps`, as a share of its peak.

    Rises linearly over `warmup` steps. Then "linear" holds the peak and falls to 0 over the last `decay_share` of the
    run, "cosine" falls to a tenth along half a wave, "constant" holds.
    Source: Hägele et al. 2024 (linear); Loshchilov & Hutter 2017 (cosine).

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
