"""BitFit: a learned vector added wherever a bias is, or could be (Ben Zaken et al. 2021)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, Slot, bare, rounded


@dataclass(frozen=True, kw_only=True)
class BitFit(Method):
    """Settings of BitFit: linear layers, and whatever else has a bias."""

    key: ClassVar[str] = "bitfit"
    learning_rate: ClassVar[float] = 0.05

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether it is a linear layer or has a bias."""
        bias = module._parameters.get("bias")
        return isinstance(module, nn.Linear) or (bias is not None and bias.dim() == 1)

    def wrap(self, slot: Slot, name: str, generator: torch.Generator | None) -> Adapter:
        return BitFitLayer(slot.module, self, name)


class BitFitLayer(Adapter):
    """A layer to whose outputs a vector is added that begins at zero: the change of its bias."""

    mergeable = True

    def __init__(self, base: nn.Module, method: BitFit, name: str = "default"):
        super().__init__(base, method, name)
        part = bare(base)
        self.shift = nn.Parameter(torch.zeros(len(part.weight) if part.bias is None else len(part.bias)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return rounded(y + self.strength * self.shift, bare(self).weight) if self.active else y

    def folded(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        return {"bias": (0.0 if bias is None else bias) + self.strength * self.shift.float()}
