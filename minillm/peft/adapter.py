"""What an adapter is made of: wrappers around the parts of a model, and where in a model they stand.

Any nn.Module can be adapted, and never learns of it: a wrapper takes the place of a part, holds it as `base` and calls
it. Paths are those of the bare model, as if no wrapper were there. What is done with adapters stands in `operations`.

Left out: adapters for convolutions and embeddings.
"""

import warnings
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
    its base has: a width, a config, a head. Its `weight` and `bias` are the base's with the change in them, for those
    who read them instead of calling it: nn.MultiheadAttention does, and in evaluation mode nn.TransformerEncoder.
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

    def folded(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        """The weight and the bias with which the base would do the same alone, from its own; only what changes."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """The base's weight with the change in it, through which gradients reach it."""
        return self._read("weight")

    @property
    def bias(self) -> Tensor | None:
        """The base's bias with the change in it."""
        return self._read("bias")

    def _read(self, key: str) -> Tensor | None:
        weight, bias = self.base.weight, getattr(self.base, "bias", None)
        own = weight if key == "weight" else bias
        if not self.active or isinstance(weight, Unreadable):
            return own
        if not self.mergeable or (self.training and getattr(self.method, "dropout", 0)):
            return None if own is None else own.as_subclass(Unreadable)
        change = self.folded(weight, bias).get(key)
        return own if change is None else change.to(weight.dtype)


class Unreadable(Tensor):
    """The weight of a part whose adapter is no change of weights: one may ask what it is like, and not compute with it.

    A fast path of torch that would read it, and so miss the adapter, steps back, and the part is called.
    """

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function.__name__ in ("__get__", "size", "dim", "__repr__", "is_floating_point"):
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **(kwargs or {}))
        raise ValueError(
            f"{function.__name__} reads the weight of a part instead of calling it, and its adapter (one that is no "
            "change of weights, or has dropout) would be missed: leave this part out of the targets, as out_proj of an "
            "nn.MultiheadAttention, or take LoRA without dropout"
        )


def rounded(y: Tensor, weight: Tensor) -> Tensor:
    """y in the half precision of a weight, if it has one: a change in fp32 makes y exacter than the next part takes."""
    return y if weight.dtype == torch.float32 else y.to(weight.dtype)


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
        here = {s.path: s for s in possible if _matches(s.path, target)}
        missed = [s for s in slots(model) if _holds_matrix(s.bare) and not fits(s.bare) and _matches(s.path, target)]
        if not here:
            names = ", ".join(dict.fromkeys(slot.path.rpartition(".")[2] or "the model itself" for slot in possible))
            raise ValueError(
                f"nothing in this {type(bare(model)).__name__} that the method can adapt matches {target!r}; "
                f"what it could adapt is called: {names or 'nothing at all'}{_named(missed, '; what it could not: ')}"
            )
        if missed:
            warnings.warn(f"no linear layers, and left as they are{_named(missed, ': ')}", stacklevel=4)
        found |= here
    return list(found.values())


def _matches(path: str, target: str) -> bool:
    return fnmatchcase(path, target) or f".{path}".endswith(f".{target}")


def _holds_matrix(module: nn.Module) -> bool:
    """Whether a part is one that somebody may expect to be adapted, and that is not: a convolution, an embedding."""
    plain = isinstance(module, nn.Linear) and type(module).forward is nn.Linear.forward
    return not plain and any(p is not None and p.dim() > 1 for p in module._parameters.values())


def _named(places: list[Slot], before: str) -> str:
    """The first of some places and what they are, after `before`; nothing for none."""
    shown = [f"{slot.path or 'the model itself'} ({type(slot.bare).__name__})" for slot in places[:3]]
    more = [f"{len(places) - 3} more"] if len(places) > 3 else []
    return before + ", ".join(shown + more) if places else ""


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
    """The parameters of the model itself by their paths without wrappers; one that is tied, by each of its paths."""
    return by_path((slot.path, slot.bare._parameters) for slot in slots(model))


def by_path(parts: Iterable[tuple[str, dict]]) -> dict[str, nn.Parameter]:
    """The parameters of parts (path, {name: parameter or None}) by their whole paths."""
    named = ((f"{path}.{key}".lstrip("."), p) for path, parameters in parts for key, p in parameters.items())
    return {path: p for path, p in named if p is not None}


def each_once(named: dict[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """The parameters by the first of their paths."""
    first: dict[nn.Parameter, str] = {}
    for path, p in named.items():
        first.setdefault(p, path)
    return {path: p for p, path in first.items()}
