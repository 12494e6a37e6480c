"""What an adapter is made of: wrappers around the parts of a model, and where in a model they stand.

Any nn.Module can be adapted, and never learns of it: a wrapper takes the place of a part, holds it as `base` and calls
it. Paths are those of the bare model, as if no wrapper were there. What is done with adapters stands in `operations`.

Left out: adapters for convolutions and embeddings.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from minillm.models import layer_stack


class Adapter(nn.Module):
    """Stands in the place of `base`, which it calls. Its own parameters are what the adapter has learned.

    `strength` is how much of the change counts; 0 leaves the base as it is. What is asked of a wrapper that it has not,
    its base has: weights, a config, a head.
    """

    mergeable: ClassVar[bool] = False  # whether it can be folded into the weights of what it wraps

    def __init__(self, base: nn.Module, method: "Method", name: str):
        super().__init__()
        self.base, self.method, self.name = base, method, name
        self.strength = 1.0
        self.kept: dict[str, Tensor | None] = {}  # the weights before merging

    def __getattr__(self, attribute: str):
        try:
            return super().__getattr__(attribute)
        except AttributeError:
            if attribute == "base":
                raise
            return getattr(bare(self), attribute)

    @property
    def active(self) -> bool:
        """Whether it changes anything here and now: neither switched off nor merged."""
        return self.strength != 0 and not self.kept

    def own(self) -> dict[str, nn.Parameter]:
        """What it has learned, by name, without its base."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("base.")}

    def folded(self) -> dict[str, Tensor]:
        """The weight and the bias that the bare part would need to do the same alone, in fp32; only what changes."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Method:
    """What an adapter is made of: a line of JSON. `wrap` puts it around one part of a model."""

    targets: tuple[str, ...] = ()  # names, paths or patterns of the parts to wrap; none: as each method says
    wrapper: ClassVar[type[Adapter]]  # what `wrap` puts around a part
    key: ClassVar[str] = ""  # what --method and adapter.json call it
    learning_rate: ClassVar[float] = 5e-3  # of AdamW, where nothing else is said
    supports_strength: ClassVar[bool] = True  # whether it can count in part, as half of it

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether a part can be wrapped: a linear layer, and nothing more than that, as BERT's output layer is."""
        return isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward

    def chosen(self, model: nn.Module) -> list["Slot"]:
        """The places to wrap; ValueError, with the names that exist, when nothing matches."""
        return matching(model, self.targets or stack_pattern(model), self.fits)

    def wrap(self, slot: "Slot", name: str, generator: torch.Generator | None) -> Adapter:
        """The wrapper for the part in this place."""
        return self.wrapper(slot.module, self, name, generator)

    def wrap_all(self, model: nn.Module, places: list["Slot"], name: str, generator) -> list[Adapter]:
        """The wrappers for all chosen places; methods whose wrappers share something have their own."""
        return [self.wrap(slot, name, generator) for slot in places]


class Slot(NamedTuple):
    """A place in a model: its path as if no adapter were there, who holds it under which name, and what is in it."""

    path: str
    parent: nn.Module | None  # None: the model itself
    attribute: str
    module: nn.Module  # an Adapter, where there is one

    @property
    def bare(self) -> nn.Module:
        """The part itself, under all wrappers."""
        return bare(self.module)


def bare(module: nn.Module) -> nn.Module:
    """A module without the wrappers around it."""
    return bare(module.base) if isinstance(module, Adapter) else module


def wrappers(module: nn.Module) -> list[Adapter]:
    """The wrappers around a part, inner ones first."""
    return [*wrappers(module.base), module] if isinstance(module, Adapter) else []


def slots(model: nn.Module, path: str = "", parent: nn.Module | None = None, attribute: str = "") -> Iterator[Slot]:
    """Every place in a model, from the outside in."""
    yield Slot(path, parent, attribute, model)
    inside = bare(model)
    for name, child in inside.named_children():
        yield from slots(child, f"{path}.{name}".lstrip("."), inside, name)


def matching(model: nn.Module, targets: Iterable[str], fits: Callable[[nn.Module], bool]) -> list[Slot]:
    """The places whose path is, ends with, or matches one of `targets`, if the part there fits.

    Args: targets: such as "query", "blocks.0.attention.query" or "blocks.*.up".
    Raises: ValueError for a target that matches nothing.
    """
    possible = [slot for slot in slots(model) if fits(slot.bare)]
    found: dict[str, Slot] = {}
    for target in targets:
        here = {s.path: s for s in possible if fnmatchcase(s.path, target) or f".{s.path}".endswith(f".{target}")}
        if not here:
            names = ", ".join(dict.fromkeys(slot.path.rpartition(".")[2] or "the model itself" for slot in possible))
            raise ValueError(
                f"nothing in this {type(bare(model)).__name__} that the method can adapt matches {target!r}; "
                f"what it could adapt is called: {names or 'nothing at all'}"
            )
        found |= here
    return list(found.values())


def stack_pattern(model: nn.Module) -> tuple[str, ...]:
    """A pattern for everything within the model's layers; for everything in it when it has none."""
    name, _ = layer_stack(model)
    stack = model.get_submodule(name) if name else None
    path = next((slot.path for slot in slots(model) if slot.bare is stack), "")
    return (f"{path}.*" if path else "*",)


def adapters(model: nn.Module, name: str | None = None) -> list[tuple[str, Adapter]]:
    """Every wrapper with its path, inner ones first; of all adapters, or of the one with this name."""
    found = [(slot.path, adapter) for slot in slots(model) for adapter in wrappers(slot.module)]
    return [(path, adapter) for path, adapter in found if name in (None, adapter.name)]


def adapter_names(model: nn.Module) -> list[str]:
    """The names of the adapters on a model, the oldest first."""
    return list(dict.fromkeys(adapter.name for _, adapter in adapters(model)))


def bare_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of the model itself by their paths without wrappers, each once."""
    return by_path((slot.path, slot.bare._parameters) for slot in slots(model))


def by_path(parts: Iterable[tuple[str, dict]]) -> dict[str, nn.Parameter]:
    """The parameters of parts (path, {name: parameter or None}) by their whole paths, each once."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for path, parameters in parts:
        for key, p in parameters.items():
            if p is not None:
                found.setdefault(id(p), (f"{path}.{key}".lstrip("."), p))
    return dict(found.values())
