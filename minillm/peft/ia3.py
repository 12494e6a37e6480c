"""IA3: keys, values and inner activations times a learned vector each (Liu et al. 2022, section 3.3)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, Slot, bare, matching, rounded


@dataclass(frozen=True, kw_only=True)
class IA3(Method):
    """Settings of IA3: linear layers whose outputs (`targets`) or inputs (`inputs`) are scaled."""

    targets: tuple[str, ...] = ("key", "value")
    inputs: tuple[str, ...] = ("down",)  # where the inner activations of a feed-forward layer arrive
    key: ClassVar[str] = "ia3"
    learning_rate: ClassVar[float] = 0.1

    def chosen(self, model: nn.Module) -> list[Slot]:
        return matching(model, self.targets, self.fits) + matching(model, self.inputs, self.fits)

    def wrap_all(self, model: nn.Module, places: list[Slot], name: str, generator) -> list[Adapter]:
        before = {slot.path for slot in matching(model, self.inputs, self.fits)}
        return [IA3Linear(slot.module, self, name, inputs=slot.path in before) for slot in places]


class IA3Linear(Adapter):
    """A linear layer whose outputs, or inputs, are multiplied by a vector that begins at one."""

    mergeable = True

    def __init__(self, base: nn.Module, method: IA3, name: str = "default", inputs: bool = False):
        super().__init__(base, method, name)
        self.inputs = inputs
        self.scale = nn.Parameter(torch.ones(bare(base).in_features if inputs else bare(base).out_features))

    def factor(self) -> Tensor:
        """What is multiplied by, at the present strength."""
        return 1 + self.strength * (self.scale - 1)

    def forward(self, x: Tensor) -> Tensor:
        if not self.active:
            return self.base(x)
        if self.inputs:
            return self.base(rounded(x * self.factor(), bare(self).weight))
        return rounded(self.base(x) * self.factor(), bare(self).weight)

    def folded(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        factor = self.factor().float()
        if self.inputs:
            return {"weight": weight * factor}
        changed = {"weight": weight * factor[:, None]}
        return changed if bias is None else changed | {"bias": bias * factor}
