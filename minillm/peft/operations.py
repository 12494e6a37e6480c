"""What is done with adapters, the same for every method. Several can stand on one model, each with a name.

    model = inject(model, LoRA(rank=8), name="letters")  # wrappers around every linear layer of the layers
    freeze(model)                                        # let the wrappers learn, and nothing else; then train
    adapter_state(model)                                 # the adapter alone, a few kilobytes; in a folder: `files`
    use(model, letters=0.5)                              # how much of each adapter counts: half of this one
    merge(model)                                         # fold it into the weights, where the method can
    unmerge(model)                                       # take it out of them again, bit for bit
    remove(model)                                        # the model as it was, bit for bit

Left out: a different adapter for each row of a batch.
"""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from minillm.peft.adapter import (
    Adapter,
    Method,
    adapter_names,
    adapters,
    bare,
    bare_parameters,
    by_path,
    each_once,
    slots,
    wrappers,
)
from minillm.peft.selective import let_learn


def inject(
    model: nn.Module, method: Method, name: str = "default", generator: torch.Generator | None = None
) -> nn.Module:
    """Wrap what `method` changes.

    Args: generator: of the new parameters' first values, on the CPU.
    Returns: the model: the same object, unless the method wraps all of it.
    Raises: ValueError when the name is taken, and when nothing in the model can be wrapped.
    """
    if name in adapter_names(model):
        raise ValueError(f"an adapter called {name!r} is on this model already: choose another name, or remove it")
    if any(adapter.kept for _, adapter in adapters(model)):
        raise ValueError("an adapter is merged into this model: unmerge it, or remove it, before adding another")
    chosen = method.chosen(model)
    for slot, wrapper in zip(chosen, method.wrap_all(model, chosen, name, generator)):
        _settle(wrapper, next(slot.bare.parameters(), next(model.parameters())))
        if slot.parent is None:
            model = wrapper
        else:
            setattr(slot.parent, slot.attribute, wrapper)
    return model


def _settle(wrapper: Adapter, like: Tensor) -> None:
    """Bring what a new wrapper has of its own to the device and mode of what it wraps, and to its precision.

    What learns has fp32 at least, on weights of half precision too: they could not hold the sum of many small steps.
    """
    base, wrapper.base = wrapper.base, None
    wrapper.to(like.device, torch.promote_types(like.dtype, torch.float32)).train(base.training)
    wrapper.base = base


def freeze(model: nn.Module, name: str | None = None, also: Iterable[str] = ()) -> int:
    """Let the adapters learn, or the one called `name`, and nothing else.

    Args: also: paths of parts that learn with them, such as "head".
    Returns: how many numbers learn.
    Raises: ValueError when there is no such adapter or part.
    """
    return let_learn(model, bare_parameters(model), also, _own(model, name).values())


def adapter_state(model: nn.Module, name: str | None = None) -> dict[str, Tensor]:
    """The tensors of an adapter by the path of the part that each belongs to, and whatever else of the model learns.

    Args: name: which adapter; not needed when there is one.
    Raises: ValueError when there is none, or it is not clear which.
    """
    if name is None and len(adapter_names(model)) > 1:
        raise ValueError(f"there are several adapters on this model: say which of {', '.join(adapter_names(model))}")
    others = {path: p for path, p in each_once(bare_parameters(model)).items() if p.requires_grad}
    return {path: p.detach() for path, p in (_own(model, name) | others).items()}


def load_adapter_state(model: nn.Module, tensors: dict[str, Tensor], name: str | None = None, source="") -> None:
    """Put the tensors of `adapter_state` back.

    Raises: ValueError for names and shapes that are not this adapter's.
    """
    own = _own(model, name)
    there = bare_parameters(model) | own
    wrong = sorted((own.keys() - tensors.keys()) | (tensors.keys() - there.keys()))
    wrong += [key for key in tensors.keys() & there.keys() if tensors[key].shape != there[key].shape]
    if wrong:
        raise ValueError(f"{source or 'these tensors'}: not of this adapter on this model; they differ in {wrong[:3]}")
    with torch.no_grad():
        for key, tensor in tensors.items():
            there[key].copy_(tensor)


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold every adapter that counts into the weights, so that the model is as fast as it was; returns the model.

    Computed in fp32 and rounded once. `unmerge` brings the old weights back, of which a copy is kept.

    Raises: ValueError for an adapter that is no change of weights, such as a prompt, and for a weight that stands in a
        second place, as embedding and as output layer.
    """
    todo = [(path, adapter) for path, adapter in adapters(model) if adapter.active]  # what is merged, is not
    places = [id(p) for slot in slots(model) for p in slot.bare._parameters.values() if p is not None]
    for path, adapter in todo:
        if not adapter.mergeable:
            raise ValueError(f"{adapter.name!r} ({adapter.method.key}) is no change of weights and cannot be merged")
        if places.count(id(bare(adapter).weight)) > 1:
            raise ValueError(f"the weight of {path} stands in a second place, which merging would change too")
    for _, adapter in todo:
        part = bare(adapter)
        new = adapter.folded(part.weight.float(), None if part.bias is None else part.bias.float())
        adapter.kept = {key: None if getattr(part, key) is None else getattr(part, key).data for key in new}
        for key, tensor in new.items():
            _put(part, key, tensor.to(part.weight.dtype))
    return model


def unmerge(model: nn.Module) -> nn.Module:
    """Undo `merge`, bit for bit; returns the model."""
    for _, adapter in reversed(adapters(model)):
        for key, tensor in adapter.kept.items():
            _put(bare(adapter), key, tensor)
        adapter.kept = {}
    return model


def _put(part: nn.Module, key: str, tensor: Tensor | None) -> None:
    """Set a weight or bias, keeping the parameter that stands there where there is one."""
    old = getattr(part, key)
    if old is None or tensor is None:
        setattr(part, key, None if tensor is None else nn.Parameter(tensor, requires_grad=False))
    else:
        old.data = tensor


def use(model: nn.Module, **strengths: float) -> None:
    """How much of each adapter counts from now on: use(model, letters=0.7, clinic=0.3). Those not named do not.

    Raises: ValueError for a name that is not there, for merged adapters, and for half a prompt.
    """
    there = adapter_names(model)
    unknown = sorted(strengths.keys() - set(there))
    if unknown:
        raise ValueError(f"no adapter is called {', '.join(unknown)}; there are: {', '.join(there)}")
    found = [(adapter, strengths.get(adapter.name, 0.0)) for _, adapter in adapters(model)]
    for adapter, strength in found:
        if adapter.kept:
            raise ValueError("the adapters are merged: unmerge the model first")
        if not adapter.method.supports_strength and strength not in (0, 1):
            raise ValueError(f"{adapter.name!r} ({adapter.method.key}) is there or not: 1 or 0, not {strength}")
    for adapter, strength in found:
        adapter.strength = float(strength)


@contextlib.contextmanager
def switched_off(model: nn.Module, *called: str) -> Iterator[nn.Module]:
    """The model without its adapters, or those called so, for the time of a block: what it was is its own reference."""
    before = [(adapter, adapter.strength) for _, adapter in adapters(model) if not called or adapter.name in called]
    if any(adapter.kept for adapter, _ in before):
        raise ValueError("the adapters are merged: unmerge the model first")
    try:
        for adapter, _ in before:
            adapter.strength = 0.0
        yield model
    finally:
        for adapter, strength in before:
            adapter.strength = strength


def remove(model: nn.Module, name: str | None = None) -> nn.Module:
    """Take out all wrappers, or those called `name`, and return the model. A merged adapter stays in the weights.

    So `remove(model)` is the model as it was, and `remove(merge(model))` a plain one that has learned.

    Raises: ValueError for a name that is not there, and for one adapter of several that are merged.
    """
    if name is not None and any(adapter.kept for _, adapter in adapters(model)):
        raise ValueError("the adapters are merged: unmerge the model first, or remove all of them")
    _called(model, name)
    for slot in list(slots(model)):
        module = slot.bare
        for wrapper in wrappers(slot.module):
            if name not in (None, wrapper.name):
                wrapper.base = module
                module = wrapper
        if slot.parent is None:
            model = module
        elif module is not slot.module:
            setattr(slot.parent, slot.attribute, module)
    return model


def _called(model: nn.Module, name: str | None) -> list[tuple]:
    """`adapters`; ValueError when there is none, or none of this name."""
    found = adapters(model, name)
    if not found:
        there = f"; there are: {', '.join(adapter_names(model))}" if adapter_names(model) else ""
        raise ValueError(f"no adapter {f'called {name!r} ' if name else ''}is on this model{there}")
    return found


def _own(model: nn.Module, name: str | None) -> dict[str, nn.Parameter]:
    """The parameters of an adapter by path; what several wrappers share, once."""
    return each_once(by_path((path, adapter.own()) for path, adapter in _called(model, name)))
