"""Bottleneck adapters: down to few channels, a non-linearity, and up again (Houlsby et al. 2019, figure 2).

What comes up is added to the residual stream. Left out: adapters that run beside a layer instead of after it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, bare, rounded


class BottleneckLinear(Adapter):
    """y + up(GELU(down(y))) of what comes out of a linear layer; `up` begins at zero."""

    def __init__(self, base: nn.Module, method: "Bottleneck", name="default", generator: torch.Generator | None = None):
        super().__init__(base, method, name)
        width = bare(base).out_features
        self.down = nn.Linear(width, method.rank)
        self.up = nn.Linear(method.rank, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5, generator=generator)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.active:
            return y
        branch = self.up(F.gelu(self.down(y.to(self.down.weight.dtype))))
        return rounded(y + self.strength * branch, bare(self).weight)


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Method):
    """Settings of bottleneck adapters: after the last layers of both branches of a block."""

    targets: tuple[str, ...] = ("output", "down")
    rank: int = 8  # channels of the low-rank branch
    wrapper: ClassVar[type[Adapter]] = BottleneckLinear
    key: ClassVar[str] = "adapter"
    learning_rate: ClassVar[float] = 0.015

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"the rank is {self.rank}: it must be at least 1")
