"""Activation recomputation: memory for time (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").

A layer keeps what it was given and nothing else; what it computed on the way is computed again when its gradient is
due. So one layer's activations are in memory, and not those of all layers; a step takes about a third longer.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minillm.models import layer_stack


def recompute(model: nn.Module) -> nn.Module:
    """Let each layer of `model` compute its activations twice; returns the model, whose gradients stay as they are.

    The call of a layer is wrapped and nothing else: names, weights, adapters and checkpoints do not change. Dropout
    draws the same numbers the second time. Nothing is computed twice where no gradients are asked for, nor by a layer
    that is handed a cache, which would be filled twice.

    Raises: ValueError for a model without a list of layers, such as an LSTM.
    """
    layers = _layers(model)
    if not layers:
        raise ValueError(f"this {type(model).__name__} has no list of layers whose activations could be recomputed")
    for layer in layers:
        if "forward" not in vars(layer):
            layer.forward = partial(_twice, layer.forward)
    return model


def recomputes(model: nn.Module) -> bool:
    """Whether the layers of a model were told to compute their activations twice."""
    return any("forward" in vars(layer) for layer in _layers(model))


def _layers(model: nn.Module) -> list[nn.Module]:
    name, _ = layer_stack(model)
    stack = model.get_submodule(name) if name else None
    return list(stack) if isinstance(stack, nn.ModuleList) else []


def _twice(forward, *inputs, **named):
    plain = all(one is None or isinstance(one, Tensor | tuple | bool) for one in (*inputs, *named.values()))
    if not (plain and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)
