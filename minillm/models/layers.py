"""Which layer of a model a parameter belongs to."""

import re

from torch import nn


def layer_stack(model: nn.Module) -> tuple[str, int]:
    """Name and number of the layers of `model`, such as ("blocks", 2); ("", 0) when there are none.

    They are the largest nn.ModuleList, or the layers of an nn.LSTM.
    """
    stacks = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList | nn.RNNBase)}
    if not stacks:
        return "", 0
    name = max(stacks, key=lambda name: sum(p.numel() for p in stacks[name].parameters()))
    return name, stacks[name].num_layers if isinstance(stacks[name], nn.RNNBase) else len(stacks[name])


def layer_depths(model: nn.Module) -> dict[str, int]:
    """How many layers lie above each parameter, by name.

    0: the output layer, `model.head`. 1: the last layer, and the final `norm`. And so on down to the first layer; all
    other parameters, such as embeddings, lie one deeper. A tied embedding counts as the output layer. The LM head of a
    trunk under another head, which is not used, is one of the others.

    >>> layer_depths(LSTMLM(LSTMConfig(vocab_size=9, layers=2)))
    {'embedding.weight': 3, 'lstm.weight_ih_l0': 2, ..., 'lstm.weight_ih_l1': 1, ..., 'head.weight': 0}
    """
    stack, layers = layer_stack(model)
    within, norm = f"{stack}.".lstrip("."), f"{stack.rpartition('.')[0]}.norm.".lstrip(".")
    depths: dict[int, int] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        depth = layers + 1
        if name.startswith("head."):
            depth = 0
        elif name.startswith(norm):
            depth = 1
        elif layers and name.startswith(within):
            index = re.search(r"(?:^|_l)(\d+)", name.removeprefix(within))[1]  # 3.attention.query.weight, weight_ih_l3
            depth = layers - int(index)
        depths[id(parameter)] = min(depth, depths.get(id(parameter), depth))
    return {name: depths[id(parameter)] for name, parameter in model.named_parameters()}
