"""Optimizers as on a blackboard: from a weight, its gradient and what is remembered to a new weight and new memory.

What an optimizer remembers is all in which they differ: SGD nothing, momentum a running mean of gradients, Adam that
and one of their squares, Muon a mean of whole matrices. Nothing is changed in place; a test holds each function equal
to torch's optimizer and to the fast ones that `fit` uses (`optim`). `descend` walks a few steps down any function.
Left out: parameter groups, schedules, sparse gradients.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from minillm.training.optim import orthogonalise

Moved = tuple[Tensor, Any]  # the new weight, and what is remembered for the next step


def sgd_step(weight: Tensor, gradient: Tensor, state: None, lr: float) -> Moved:
    """Stochastic gradient descent: w <- w - lr g. Nothing is remembered.

    Source: Robbins & Monro 1951.
    >>> sgd_step(torch.tensor([1.0]), torch.tensor([2.0]), None, lr=0.1)
    (tensor([0.8000]), None)
    """
    return weight - lr * gradient, state


def momentum_step(weight: Tensor, gradient: Tensor, state: Tensor | None, lr: float, momentum: float = 0.9) -> Moved:
    """SGD with momentum: v <- momentum v + g, w <- w - lr v. Remembered is the velocity v, at first 0.

    Source: Polyak 1964; Sutskever et al. 2013, equations 1 and 2, with lr outside of v, as in torch.
    >>> weight, velocity = momentum_step(torch.tensor([1.0]), torch.tensor([2.0]), None, lr=0.1)
    >>> momentum_step(weight, torch.tensor([2.0]), velocity, lr=0.1)   # v = 0.9 * 2 + 2
    (tensor([0.4200]), tensor([3.8000]))
    """
    velocity = gradient if state is None else momentum * state + gradient
    return weight - lr * velocity, velocity


def adam_step(
    weight: Tensor,
    gradient: Tensor,
    state: tuple[Tensor, Tensor, int] | None,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Moved:
    """Adam: w <- w - lr m / (sqrt(v) + eps), with running means m of the gradient and v of its square.

    Both begin at 0 and are divided by 1 - beta^t, which makes them means of the t gradients seen. In the first step
    every weight therefore moves by lr, however large its gradient.

    Args: state: (m, v, t), None before the first step.
    Source: Kingma & Ba 2015, algorithm 1.
    >>> adam_step(torch.tensor([1.0, 1.0]), torch.tensor([2.0, -0.001]), None, lr=0.1)[0]
    tensor([0.9000, 1.1000])
    """
    m, v, t = (torch.zeros_like(weight), torch.zeros_like(weight), 0) if state is None else state
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    mean, square = m / (1 - betas[0] ** (t + 1)), v / (1 - betas[1] ** (t + 1))
    return weight - lr * mean / (square.sqrt() + eps), (m, v, t + 1)


def adamw_step(weight: Tensor, gradient: Tensor, state, lr: float, weight_decay: float = 0.01, **more) -> Moved:
    """AdamW: Adam, before which the weight shrinks by lr * weight_decay of itself, whatever its gradient.

    (In Adam with an L2 penalty the decay is part of the gradient, and so is divided by its size.)

    Args: state, more: as of `adam_step`.
    Source: Loshchilov & Hutter 2019, algorithm 2.
    >>> adamw_step(torch.tensor([1.0]), torch.tensor([2.0]), None, lr=0.1, weight_decay=0.5)[0]   # 0.95 - 0.1
    tensor([0.8500])
    """
    return adam_step(weight * (1 - lr * weight_decay), gradient, state, lr, **more)


def muon_step(
    weight: Tensor, gradient: Tensor, state: Tensor | None, lr: float, momentum: float = 0.95, weight_decay: float = 0.0
) -> Moved:
    """Muon: momentum, whose singular values are then all made nearly 1, so that every direction moves alike.

    Args: weight, gradient: matrices (rows, columns); state: the running mean of the gradients, None at first.
    Source: Jordan et al. 2024, with Nesterov's momentum, as in torch.
    """
    mean = torch.zeros_like(weight) if state is None else state
    mean = momentum * mean + (1 - momentum) * gradient
    ahead = momentum * mean + (1 - momentum) * gradient  # Nesterov: as if this gradient came once more
    scale = math.sqrt(max(1, weight.size(0) / weight.size(1)))  # a tall matrix has more rows to move
    return weight * (1 - lr * weight_decay) - lr * scale * orthogonalise(ahead[None])[0], mean


PLAIN_STEPS = {
    "sgd": sgd_step, "momentum": momentum_step, "adam": adam_step, "adamw": adamw_step, "muon": muon_step,
}  # fmt: skip


def descend(f: Callable[[Tensor], Tensor], start: Tensor, step: Callable[..., Moved], steps: int, **rates) -> Tensor:
    """The path of `steps` steps down f from `start`: all places, the first among them, (steps + 1, *start.shape).

    Args: f: a weight -> a scalar; step: one of `PLAIN_STEPS`; rates: what it takes besides, such as lr.
    >>> descend(lambda w: w.square().sum(), torch.tensor([1.0]), sgd_step, 2, lr=0.25).T   # halved at each step
    tensor([[1.0000, 0.5000, 0.2500]])
    """
    path, state = [start.detach().clone()], None
    for _ in range(steps):
        weight = path[-1].clone().requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(f(weight), weight)
        weight, state = step(weight.detach(), gradient, state, **rates)
        path.append(weight)
    return torch.stack(path)
