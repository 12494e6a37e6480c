"""Small additions to single layers: vectors that scale or shift what comes out of them, and narrow detours.

    IA3           keys, values and inner activations times a learned vector each (Liu et al. 2022, section 3.3)
    BitFit        a learned vector added wherever a bias is, or could be (Ben Zaken et al. 2021)
    Bottleneck    down to few channels, a non-linearity, and up again, beside the stream (Houlsby et al. 2019, figure 2)

All begin as if they were not there. Left out: adapters that run beside a layer instead of after it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, Slot, bare, matching


@dataclass(frozen=True, kw_only=True)
class IA3(Method):
    """Settings of IA3: linear layers whose outputs (`targets`) or inputs (`inputs`) are scaled."""

    targets: tuple[str, ...] = ("key", "value")
    inputs: tuple[str, ...] = ("down",)  # where the inner activations of a feed-forward layer arrive
    key: ClassVar[str] = "ia3"
    learning_rate: ClassVar[float] = 0.1

    def chosen(self, model: nn.Module) -> list[Slot]:
        return matching(model, self.targets, self.fits) + matching(model, self.inputs, self.fits)

    def wrap_all(
        self, model: nn.Module, places: list[Slot], name: str, generator: torch.Generator | None
    ) -> list[Adapter]:
        before = {slot.path for slot in matching(model, self.inputs, self.fits)}
        return [Scaled(slot.module, self, name, inputs=slot.path in before) for slot in places]


class Scaled(Adapter):
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
        return self.base(x * self.factor()) if self.inputs else self.base(x) * self.factor()

    def folded(self) -> dict[str, Tensor]:
        part, factor = bare(self), self.factor().detach().float()
        if self.inputs:
            return {"weight": part.weight.float() * factor}
        weight = {"weight": part.weight.float() * factor[:, None]}
        return weight if part.bias is None else weight | {"bias": part.bias.float() * factor}


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
        return Shifted(slot.module, self, name)


class Shifted(Adapter):
    """A layer to whose outputs a vector is added that begins at zero: the change of its bias."""

    mergeable = True

    def __init__(self, base: nn.Module, method: BitFit, name: str = "default"):
        super().__init__(base, method, name)
        part = bare(base)
        self.shift = nn.Parameter(torch.zeros(len(part.weight) if part.bias is None else len(part.bias)))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.strength * self.shift if self.active else self.base(x)

    def folded(self) -> dict[str, Tensor]:
        bias = 0.0 if bare(self).bias is None else bare(self).bias.float()
        return {"bias": bias + self.strength * self.shift.detach().float()}


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Method):
    """Settings of bottleneck adapters: behind the last layers of both branches of a block."""

    targets: tuple[str, ...] = ("output", "down")
    rank: int = 8  # channels of the detour
    key: ClassVar[str] = "adapter"
    learning_rate: ClassVar[float] = 0.015

    def __post_init__(self):
        if self.rank < 1:
            raise ValueError(f"the rank is {self.rank}: it must be at least 1")

    def wrap(self, slot: Slot, name: str, generator: torch.Generator | None) -> Adapter:
        return Detour(slot.module, self, name, generator)


class Detour(Adapter):
    """y + up(GELU(down(y))) of what comes out of a linear layer; `up` begins at zero."""

    def __init__(
        self, base: nn.Module, method: Bottleneck, name: str = "default", generator: torch.Generator | None = None
    ):
        super().__init__(base, method, name)
        width = bare(base).out_features
        self.down = nn.Linear(width, method.rank)
        self.up = nn.Linear(method.rank, width)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5, generator=generator)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        return y + self.strength * self.up(F.gelu(self.down(y))) if self.active else y
