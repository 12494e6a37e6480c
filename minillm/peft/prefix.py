"""Prefixes: keys and values that every layer attends to, and that belong to no token.

    PrefixTuning    P learned keys and values beside those of the text, in every layer (Li & Liang 2021)
    LlamaAdapter    the same from P learned vectors, behind a gate that begins closed (Zhang et al. 2023)

Both wrap the attention of a layer (`attention.Attend`). The text's own positions stay as they are, and so does its
context. Left out: prefixes for cross-attention; LLaMA-Adapter's images.

Shapes: B batch, T and S time, C channels, H heads, D head dim, P vectors of the prefix.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.models import Attend, attend, evaluating
from minillm.peft.adapter import Adapter, Method, Slot, rounded, slots


@dataclass(frozen=True, kw_only=True)
class _AttentionMethod(Method):
    """What wraps attention: that of every layer, if no targets are named."""

    length: int = 16  # P
    supports_strength: ClassVar[bool] = False

    def __post_init__(self):
        if self.length < 0:
            raise ValueError(f"the length of the prefix is {self.length}: it must be at least 0")

    @staticmethod
    def fits(module: nn.Module) -> bool:
        return isinstance(module, Attend)


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(_AttentionMethod):
    """Settings of prefix tuning."""

    inner: int = 0  # width of a network through which the prefix learns and that is thrown away; 0: it learns directly
    tokens: tuple[int, ...] = ()  # a text to begin as, repeated or cut to the length; none: random tokens
    key: ClassVar[str] = "prefix"
    learning_rate: ClassVar[float] = 0.1

    def __post_init__(self):
        super().__post_init__()
        if self.inner < 0 or (self.inner and self.tokens):
            raise ValueError(f"inner is {self.inner}: at least 0, and 0 for a prefix that begins as a text")

    def wrap_all(self, model: nn.Module, places: list[Slot], name: str, generator) -> list[Adapter]:
        if self.inner:
            shapes = [(self.length, 2, slot.parent.kv_heads, slot.parent.head_dim) for slot in places]
            network = PrefixNetwork(places[0].parent.query.in_features, self.inner, shapes, generator)
            sources = [FromNetwork(network, layer) for layer in range(len(places))]
        else:
            sources = [Vectors(start) for start in self.begin(model, places, generator)]
        return [Prefixed(slot.module, self, name, source) for slot, source in zip(places, sources)]

    @torch.no_grad()
    def begin(self, model: nn.Module, places: list[Slot], generator: torch.Generator | None) -> list[Tensor]:
        """What a text's keys and values are in every layer, (2, H, P, D): the best initialisation (section 7.4).

        Such a prefix does nearly what that text would do before all others, whose positions do not count it.
        """
        trunk = next(slot.bare for slot in slots(model) if hasattr(slot.bare, "new_cache"))
        words = trunk.embedding.weight
        ids = self.tokens or torch.randint(len(words), (self.length,), generator=generator).tolist()
        ids = torch.tensor(ids).repeat(math.ceil(self.length / max(len(ids), 1)))[: self.length].to(words.device)
        cache = trunk.new_cache(1, self.length)
        with evaluating(trunk):
            if self.length:
                trunk.hidden(ids[None], cache=cache)
        return [torch.stack((cache.keys[slot.parent.layer, 0], cache.values[slot.parent.layer, 0])) for slot in places]


class Vectors(nn.Module):
    """Keys and values (2, H, P, D) that are themselves what learns."""

    def __init__(self, start: Tensor):
        super().__init__()
        self.vectors = nn.Parameter(start.clone())

    def forward(self) -> Tensor:
        return self.vectors


class PrefixNetwork(nn.Module):
    """An MLP from P vectors to the keys and values of all layers (section 4.3), shared by their wrappers."""

    def __init__(self, width: int, inner: int, shapes: list[tuple], generator: torch.Generator | None):
        super().__init__()
        self.shapes = shapes
        self.table = nn.Parameter(torch.randn(shapes[0][0], width, generator=generator))
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, sum(math.prod(shape[1:]) for shape in shapes))
        for linear in (self.up, self.down):
            nn.init.kaiming_uniform_(linear.weight, a=math.sqrt(5), generator=generator)
            nn.init.zeros_(linear.bias)

    def of(self, layer: int) -> Tensor:
        """Keys and values of a layer, (2, H, P, D)."""
        sizes = [math.prod(shape[1:]) for shape in self.shapes]
        weight, bias = self.down.weight.split(sizes)[layer], self.down.bias.split(sizes)[layer]
        both = F.linear(self.up(self.table).tanh(), weight, bias)  # (P, 2 H D)
        return both.view(self.shapes[layer]).permute(1, 2, 0, 3)


class FromNetwork(nn.Module):
    """Keys and values (2, H, P, D) of one layer, as a network has them."""

    def __init__(self, network: PrefixNetwork, layer: int):
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self) -> Tensor:
        return self.network.of(self.layer)


class Prefixed(Adapter):
    """Attention with P more keys and values that every query sees."""

    def __init__(self, base: nn.Module, method: PrefixTuning, name: str, source: nn.Module):
        super().__init__(base, method, name)
        self.source = source

    def simplify(self) -> None:
        """Keep what the network says and throw the network away."""
        learns = next(self.source.parameters()).requires_grad
        self.source = Vectors(self.source().detach()).requires_grad_(learns)
        self.method = dataclasses.replace(self.method, inner=0)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """As of `Attend`. Without a mask the last T of all P + S keys are the queries' own, so all see the prefix."""
        if self.active:
            keys, values = (part.to(k.dtype).expand(len(k), -1, -1, -1) for part in self.source())  # (B, H, P, D)
            k, v = torch.cat((keys, k), dim=2), torch.cat((values, v), dim=2)
            mask = None if mask is None else F.pad(mask, (keys.size(2), 0), value=True)
        return self.base(q, k, v, mask)


@dataclass(frozen=True, kw_only=True)
class LlamaAdapter(_AttentionMethod):
    """Settings of LLaMA-Adapter."""

    length: int = 10  # P
    layers: int = 0  # the uppermost so many have one; 0: all
    key: ClassVar[str] = "llama_adapter"
    learning_rate: ClassVar[float] = 0.1
    supports_strength: ClassVar[bool] = True

    def chosen(self, model: nn.Module) -> list[Slot]:
        found = super().chosen(model)
        if not 0 <= self.layers <= len(found):
            raise ValueError(f"layers is {self.layers}: the model has {len(found)} that attend (0: all of them)")
        return found[-self.layers :]

    def wrap(self, slot: Slot, name: str, generator: torch.Generator | None) -> Adapter:
        return Gated(slot.module, self, name, slot.parent, generator)


class Gated(Adapter):
    """Attention, and beside it another to P learned vectors alone, times a gate that begins at 0.

    With a softmax of its own, the prompt takes no weight from the text, and a closed gate changes nothing. The layer's
    own matrices make keys and values of the vectors.

    Source: Zhang et al. 2023, equations 6 to 8.
    """

    def __init__(self, base: nn.Module, method: LlamaAdapter, name: str, attention: nn.Module, generator):
        super().__init__(base, method, name)
        self.attention = (attention,)  # whose part this is: in a tuple, so that it is no part of this one
        self.prompt = nn.Parameter(torch.randn(method.length, attention.query.in_features, generator=generator))
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        y = self.base(q, k, v, mask)
        if not self.active or not len(self.prompt):
            return y
        _, keys, values = self.attention[0].project(self.prompt[None].to(q.dtype), None)  # (1, H, P, D)
        keys, values = (part.to(q.dtype).expand(len(q), -1, -1, -1) for part in (keys, values))
        more = self.strength * self.gate * attend(q, keys, values, None, causal=False)
        return rounded(y + more, self.attention[0].query.weight)
