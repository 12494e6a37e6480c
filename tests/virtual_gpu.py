"""A GPU that is not there: tensors of the CPU that say "cuda", and raise wherever a GPU would.

    with VirtualGPU() as gpu:
        ...                                  # torch.cuda.is_available() is true, and device="cuda" works
    gpu.launches, gpu.waits                  # kernels that a GPU would start, and where the host would wait for it

The numbers are computed on the CPU and are right. A device is a mark on a storage, so a view has it, too. One mode, of
functions, speaks of devices: names in, names out. Another, below autograd and autocast, sees every operation, those of
the backward pass included: it checks that all tensors are in one place, and counts.

Blind to: which kernel is chosen, memory, streams, the operations that autocast casts on a GPU alone, and what the
backward pass computes again (`recompute`), which asks for devices where no mode hears it.
"""

import contextlib
import sys
from collections import Counter
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Generator, Autocast, Scaler = torch.Generator, torch.autocast, torch.amp.GradScaler
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
CROSSING = {"copy_", "_to_copy", "copy", "set_", "_foreach_copy_"}  # from one place to another
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}
NO_KERNEL = {"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided", "lift_fresh", "detach"}
NO_KERNEL |= {"_unsafe_view", "_local_scalar_dense", "resize_", "set_", "_reshape_alias"}
REFUSED = "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."


def place(tensor: Tensor) -> str:
    """Where a tensor is said to be."""
    return getattr(tensor.untyped_storage(), "place", "cpu")


def put(tensor: Tensor, where: str) -> Tensor:
    tensor.untyped_storage().place = where
    return tensor


def tensors_in(*things) -> list[Tensor]:
    return [x for x in tree_leaves(things) if isinstance(x, Tensor) and x.layout == torch.strided]


def is_cuda(device) -> bool:
    return isinstance(device, int) or str(device).startswith("cuda")


class VirtualGenerator(Generator):
    def __new__(cls, device="cpu"):
        self = super().__new__(cls, "cpu")
        self.place = "cuda" if is_cuda(device) else "cpu"
        return self

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return torch.device(self.place)


class VirtualAutocast(Autocast):
    def __init__(self, device_type, *args, **more):
        super().__init__("cpu" if device_type == "cuda" else device_type, *args, **more)


class VirtualScaler(Scaler):
    def __init__(self, device="cuda", *args, **more):
        super().__init__("cpu" if is_cuda(device) else device, *args, **more)


class Watch(TorchDispatchMode):
    """Every operation: are its tensors in one place, does it start a kernel, does the host wait for it?"""

    def __init__(self, gpu: "VirtualGPU"):
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        gpu, name = self.gpu, func._schema.name.removeprefix("aten::")
        given = tensors_in(args, kwargs)
        scalars, others = ({place(t) for t in given if (t.dim() == 0) == flat} for flat in (True, False))
        if name in INDEXING:
            self.check_index(name, args)
        elif name not in CROSSING and (len(others) > 1 or (others == {"cpu"} and "cuda" in scalars)):
            gpu.fault(f"{name} of {[(place(t), list(t.shape)) for t in given]}")
        if any(isinstance(x, Generator) for x in tree_leaves((args, kwargs))):
            where = "cuda" if "cuda" in others | scalars or (not given and gpu.creating == "cuda") else "cpu"
            if gpu.drawing != where:
                gpu.fault(f"{name}: expected a {where} device type for generator but found {gpu.drawing}")
        out = func(*args, **kwargs or {})
        where = "cuda" if "cuda" in others or (not others and "cuda" in scalars) else "cpu"
        if name in CROSSING or name in INDEXING:
            where = place(tensors_in(args)[0])
        elif not given:
            where = gpu.creating or gpu.around or "cpu"
        if name == "copy_" and place(args[0]) != place(args[1]):
            gpu.wait(f"copy_ from {place(args[1])} to {place(args[0])}")
        alias = bool(func._schema.returns) and func._schema.returns[0].alias_info
        old = {id(t) for t in given}
        for t in tensors_in(out):
            if id(t) not in old and not alias:
                put(t, where)
        if where == "cuda" or "cuda" in scalars:
            if name not in NO_KERNEL and not (alias and not alias.is_write):
                gpu.launches[name] += 1
            if name in WAITING or (name == "repeat_interleave" and not (kwargs or {}).get("output_size")):
                gpu.wait(name)
        return out

    def check_index(self, name: str, args) -> None:
        index = tensors_in(args[1])
        own = {place(args[0])} | {place(t) for t in tensors_in(args[2:3]) if t.dim()}
        if len(own) > 1 or (own == {"cpu"} and any(place(t) == "cuda" for t in index)):
            self.gpu.fault(f"{name}: indices and values are not in one place")
        if own == {"cuda"} and any(place(t) == "cpu" for t in index):
            self.gpu.wait(f"{name} by an index that is on the CPU")
        if own == {"cuda"} and any(t.dtype in (torch.bool, torch.uint8) for t in index):
            self.gpu.wait(f"{name} by a mask")


class VirtualGPU(TorchFunctionMode):
    """The device. `launches` and `waits` count by operation; `places` count the waits by line of minillm."""

    def __init__(self, bf16: bool = True):
        super().__init__()
        self.bf16 = bf16
        self.launches, self.waits, self.places = Counter(), Counter(), Counter()
        self.creating = self.around = None  # where a new tensor is put: as was asked, else beside those of a call
        self.drawing = "cpu"

    def fault(self, what: str) -> None:
        raise RuntimeError(f"Expected all tensors to be on the same device: {what}")

    def wait(self, what: str) -> None:
        self.waits[what] += 1
        frame = sys._getframe(1)
        while frame is not None and "/minillm/" not in frame.f_code.co_filename.rpartition("site-packages")[2]:
            frame = frame.f_back
        file = frame.f_code.co_filename.rpartition("/minillm/")[2] if frame else "?"
        self.places[f"{file}:{frame.f_lineno if frame else 0} {what}"] += 1

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        first = args[0] if args and isinstance(args[0], Tensor) and args[0].layout == torch.strided else None
        if first is not None and name == "__get__":
            answers = {"device": torch.device(place(first)), "is_cuda": place(first) == "cuda"}
            return (
                answers.get(func.__self__.__name__)
                if place(first) == "cuda" and (func.__self__.__name__ in answers)
                else func(*args, **kwargs)
            )
        if first is not None and place(first) == "cuda" and name in ("numpy", "__array__"):
            raise TypeError(REFUSED)
        if first is not None and name in ("to", "cuda", "cpu", "type_as"):
            return self.move(name, first, list(args[1:]), kwargs)
        if first is not None and name == "tolist" and place(first) == "cuda":
            self.wait("tolist")
        return self.call(func, name, args, kwargs)

    def call(self, func, name: str, args, kwargs):
        given, before = tensors_in(args, kwargs), (self.creating, self.around)
        for one in tree_leaves((args, kwargs)):
            if isinstance(one, Generator):
                self.drawing = getattr(one, "place", "cpu")
        device = kwargs.get("device")
        if device is not None:
            self.creating, kwargs["device"] = "cuda" if is_cuda(device) else "cpu", "cpu"
        self.around = "cuda" if any(place(t) == "cuda" for t in given) else None if given else self.around
        made = self.creating
        try:
            out = func(*args, **kwargs)
        finally:
            self.creating, self.around = before
        if device is not None:
            for t in tensors_in(out):
                put(t, made)
            if made == "cuda" and name in ("tensor", "as_tensor", "asarray"):
                self.wait("a new tensor of numbers")
        return out

    def move(self, name: str, t: Tensor, rest: list, kwargs: dict) -> Tensor:
        """Tensor.to and its kin: another place, another type, or both."""
        target, kwargs = name if name in ("cuda", "cpu") else None, dict(kwargs)
        other = kwargs.pop("other", None) if "other" in kwargs else rest[0] if rest else None
        if isinstance(other, Tensor):
            target, rest = place(other), [other.dtype, *rest[1:]]
        elif target is None and "device" in kwargs:
            target = kwargs.pop("device")
        elif target is None and rest and not isinstance(rest[0], torch.dtype | bool):
            target = rest.pop(0)
        elif target is not None:
            rest = []
        at_once = kwargs.pop("non_blocking", False) or any(one is True for one in rest)
        dtype = next((one for one in rest if isinstance(one, torch.dtype)), kwargs.pop("dtype", None))
        now = place(t)
        target = now if target is None else "cuda" if is_cuda(target) else "cpu"
        if target == now:
            return Tensor.to(t, dtype or t.dtype, **kwargs)
        kwargs.pop("copy", None)
        out = put(Tensor.to(t, dtype or t.dtype, copy=True, **kwargs), target)
        self.launches[f"copy from {now} to {target}"] += 1
        if not (at_once and now == "cpu" and getattr(t.untyped_storage(), "pinned", False)):
            self.wait(f"copy from {now} to {target}")
        return out

    def pin(self, t: Tensor) -> Tensor:
        if place(t) == "cuda":
            self.fault("only dense CPU tensors can be pinned")
        t = t.clone()
        t.untyped_storage().pinned = True
        return t

    def __enter__(self):
        fakes = {
            "is_available": lambda: True,
            "is_bf16_supported": lambda including_emulation=True: self.bf16,
            "synchronize": lambda *device: self.wait("synchronize"),
            "get_rng_state": lambda *device: torch.get_rng_state(),
            "set_rng_state": lambda *state: None,
            "max_memory_allocated": lambda *device: 0,
            "mem_get_info": lambda *device: (2**34, 2**34),
            "current_device": lambda: 0,
            "device_count": lambda: 1,
        }
        self.stack = contextlib.ExitStack()
        for name, fake in fakes.items():
            self.stack.enter_context(mock.patch.object(torch.cuda, name, fake))
        for home, name, fake in (
            (torch, "Generator", VirtualGenerator),
            (torch, "autocast", VirtualAutocast),
            (torch.amp, "GradScaler", VirtualScaler),
            (Tensor, "pin_memory", lambda t, *device: self.pin(t)),
        ):
            self.stack.enter_context(mock.patch.object(home, name, fake))
        self.stack.enter_context(Watch(self))
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.stack.close()
