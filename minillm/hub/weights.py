"""Weights from a file into a model, with no second copy of them in memory.

A model is built without memory for its weights (`Unfilled`); then each takes what the file has for it, one after
another, and the pages of the file that were read are given back (`fill`). Rotary tables and the like are computed as
ever. `read_tensors` finds the tensors of a folder in Hugging Face's format, in one file or in several.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minillm.hub.families import Tensors
from minillm.system import MappedFile, map_file, read_json, shown

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MOST_CONTEXT = 1 << 21
SMALL = 64  # of what a model of any weights may be built
LONGEST = dict.fromkeys(
    ("context", "window", "rope_original", "query_scale"), MOST_CONTEXT
)  # no weight need be so long


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype:
    """A dtype by its name, such as "bf16"; fp32 where nobody asks. Raises: ValueError for any other."""
    found = DTYPES.get(dtype, dtype) or torch.float32
    if found not in DTYPES.values():
        raise ValueError(f"weights of {dtype!r} cannot be had: choose one of {', '.join(DTYPES)}")
    return found


class Unfilled(TorchFunctionMode):
    """A block in which models are built whose weights have a shape, and neither memory nor values."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is nn.init.normal_:  # nothing is drawn for weights that are not there
            return kwargs["tensor"]
        return func(*args, **{**(kwargs or {}), **({"device": "meta"} if func is torch.empty else {})})


@torch.no_grad()
def fill(model: nn.Module, tensors: Tensors, dtype: torch.dtype, files: Iterable[MappedFile] = ()) -> nn.Module:
    """Give every weight of an `Unfilled` model its value, and return the model.

    Args:
        tensors: by the names of the model's state, of the right shapes; they are taken out one by one
        dtype: of the weights from now on
        files: the mapped files that the tensors are views of; without any, the model may take over their memory
    """
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)  # of tied weights, several
    for empty, own in names.items():
        tensor, *_ = (tensors.pop(name) for name in own)
        tensor = tensor.to(dtype, copy=bool(files), memory_format=torch.contiguous_format).contiguous()
        weight = nn.Parameter(tensor, requires_grad=empty.requires_grad)
        for name in own:
            module, _, last = name.rpartition(".")
            setattr(model.get_submodule(module), last, weight)
        del tensor
        for file in files:
            file.release()
    return model


def read_tensors(folder: Path, auto_class: str) -> tuple[Tensors, Path, list[MappedFile]]:
    """All tensors of a folder, the file that names them, and the files that they are views of.

    Args: auto_class: of transformers, which reads what we do not.
    Raises: ValueError when there is none to read.
    """
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        tensors, _, file = map_file(whole)
        return tensors, whole, [file]
    if index.exists():
        content = read_json(index)
        places = content.get("weight_map") if isinstance(content, dict) else None
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise ValueError(f"{index}: has no weight_map that says which file holds which tensor")
        tensors, files = {}, []
        for name in sorted(set(places.values())):
            if Path(name).name != name:
                raise ValueError(f"{index}: {shown(name)} in weight_map is no name of a file beside it")
            found, _, file = map_file(folder / name)
            tensors |= {key: tensor for key, tensor in found.items() if places.get(key) == name}
            files.append(file)
        return tensors, index, files
    for pickled in sorted(folder.glob("pytorch_model*.bin")):
        raise ValueError(
            f"{pickled}: is pickled, and reading it could run code: convert it where you trust it, with transformers' "
            f"{auto_class}.from_pretrained(folder).save_pretrained(folder)"
        )
    raise ValueError(f"{folder}: holds neither {whole.name} nor {index.name}")


def check_size(description: dict, tensors: dict[str, Tensor]) -> None:
    """Raises: ValueError for a size that these weights cannot fill, before a model of it is built."""
    largest = max([SMALL, len(tensors), *(size for tensor in tensors.values() for size in tensor.shape)])
    for name, value in _sizes(description):
        if isinstance(value, int) and value > LONGEST.get(name, largest):
            raise ValueError(f'"{name}" is {value}, which does not fit the weights beside it')


def _sizes(description: dict) -> Iterator[tuple[str, object]]:
    for name, value in description.items():
        if isinstance(value, dict):
            yield from _sizes(value)
        else:
            yield name, value
