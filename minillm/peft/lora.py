"""LoRA: the change of a weight matrix as a product of two low-rank ones (Hu et al. 2021, "LoRA", equation 3).

    W' = W + scale * B A        W (out, in), A (R, in), B (out, R), the rank R far less than in and out

W is frozen. A begins at random and B at zero, so that nothing is changed at first. The scale is alpha / R, that the
learning rate need not change with the rank; or alpha / sqrt(R), with which higher ranks go on gaining (Kalajdzievski
2023, "rsLoRA", theorem 3.2).

Left out: LoRA for embeddings and convolutions, weights decomposed into length and direction (DoRA).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, bare
from minillm.peft.operations import inject


class LoRALinear(Adapter):
    """A linear layer and beside it a path through R channels: base(x) + scale * B A x."""

    mergeable = True

    def __init__(self, base: nn.Module, method: "LoRA", name="default", generator: torch.Generator | None = None):
        super().__init__(base, method, name)
        linear = bare(base)
        self.A = nn.Parameter(torch.empty(method.rank, linear.in_features))
        self.B = nn.Parameter(torch.zeros(linear.out_features, method.rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=generator)  # as nn.Linear begins

    def change(self) -> Tensor:
        """What is added to the weight, (out, in)."""
        return self.strength * self.method.scale * (self.B @ self.A)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.active:
            return y
        narrow = F.linear(F.dropout(x, self.method.dropout, self.training), self.A.to(x.dtype))  # (..., R)
        # On a CPU the gradient of so narrow a matrix takes five times as long as that of its transpose.
        return y + (narrow * (self.strength * self.method.scale)) @ self.B.mT.contiguous().to(narrow.dtype)

    def folded(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        return {"weight": weight + self.change().float()}


@dataclass(frozen=True, kw_only=True)
class LoRA(Method):
    """Settings of LoRA. Targets: linear layers; without any named, all of the model's layers, not the output layer."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0  # share of the inputs that A does not see while training
    rank_stabilised: bool = False  # scale by alpha / sqrt(rank)
    wrapper: ClassVar[type[Adapter]] = LoRALinear
    key: ClassVar[str] = "lora"

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"the rank is {self.rank}: it must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha is {self.alpha}: it must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"the dropout is {self.dropout}: it must lie in [0, 1)")

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


def apply_lora(
    model: nn.Module, rank: int = 8, alpha: float = 16.0, dropout: float = 0.0, targets: tuple[str, ...] = (), **more
) -> nn.Module:
    """Put LoRA on a model: `inject(model, LoRA(...))` in one call; returns the model.

    Args: more: `rank_stabilised`; and `name` and `generator`, which go to `inject`.
    Raises: ValueError as `inject`.
    """
    into = {key: more.pop(key) for key in ("name", "generator") if key in more}
    method = LoRA(rank=rank, alpha=alpha, dropout=dropout, targets=tuple(targets), **more)
    return inject(model, method, **into)
