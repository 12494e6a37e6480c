"""What a checkpoint holds, optimizer and random generators, as tensors and JSON, and back; and a line of the log."""

import json
import math

import torch
from torch import Tensor, nn

from minillm.system import is_kind, spread


def changing(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of a model by name, but for weights that no step changes, as those below an adapter."""
    learns = {id(p) for group in optimizer.param_groups for p in group["params"]}
    state = model.state_dict(keep_vars=True).items()
    return {name: t.detach() for name, t in state if id(t) in learns or not isinstance(t, nn.Parameter)}


def flatten(prefix: str, value, tensors: dict[str, Tensor]):
    """Move every tensor inside nested dictionaries and lists into `tensors`; a name stands in its place."""
    if isinstance(value, Tensor):
        tensors[prefix] = value
        return {"tensor": prefix}
    if isinstance(value, dict):  # a list of pairs, since JSON would turn numbers that are keys into strings
        return {"dict": [[key, flatten(f"{prefix}.{key}", item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [flatten(f"{prefix}.{index}", item, tensors) for index, item in enumerate(value)]}
    return value


def unflatten(value, tensors: dict[str, Tensor]):
    """Undo `flatten`."""
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {key: unflatten(item, tensors) for key, item in value["dict"]}
    return [unflatten(item, tensors) for item in value["list"]]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict) -> None:
    """Give an optimizer its state back; of parameters that are sharded, to each process its part.

    Raises: ValueError where what is kept of a parameter has not the shape of the parameter.
    """
    optimizer.load_state_dict(state)
    for one in getattr(optimizer, "optimizers", [optimizer]):
        for parameter, kept in one.state.items():
            for name, value in kept.items():
                if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                    shapes = f"{list(value.shape)} where the parameter has {list(parameter.shape)}"
                    raise ValueError(f"the optimizer's {name} is {shapes}")
                if isinstance(value, Tensor) and value.dim():
                    kept[name] = spread(value, parameter)


def log_record(line: bytes) -> dict | None:
    """What a line of log.jsonl says of a step, with NaN for null; None where it is no such line."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    numbers = {"step": int, "loss": float, "val_loss": float, "tokens": int}
    if not isinstance(record, dict) or record.get("step") is None:
        return None
    whole = all(record.get(name) is None or is_kind(record[name], kind) for name, kind in numbers.items())
    return {name: math.nan if value is None else value for name, value in record.items()} if whole else None
