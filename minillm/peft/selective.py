"""Choosing what learns: all of a model, its output layer, or its last layers. The rest is frozen.

A frozen parameter gets no gradient, and below the lowest that learns there is no backward pass at all. That
saves time and memory, and what is frozen forgets nothing; it learns nothing either (Peters et al. 2019, "To Tune or Not
to Tune?"). Two gentler ways are settings of the optimizer, `optim.build_optimizer`: lower rates for lower layers, and
layers that begin to learn one after another.

Freezing does not switch dropout off. Left out: choosing single weights (masks, "diff pruning").
"""

from collections.abc import Iterable

from torch import nn

from minillm.models import layer_depths, layer_stack
from minillm.peft.adapter import bare


def train_only(model: nn.Module, parts: Iterable[str]) -> int:
    """Let these parts of `model` learn and freeze all others.

    A part is the name of a parameter or of a module: "head", "blocks.1", "blocks.1.attention.query.weight". A table
    that stands in two places, as embedding and as output layer, learns when one of them is named, and then changes in
    both.

    Returns: how many numbers learn.
    Raises: ValueError for a part without parameters, and leaves the model as it was.
    """
    return let_learn(model, dict(model.named_parameters(remove_duplicate=False)), parts)


def let_learn(model: nn.Module, named: dict[str, nn.Parameter], parts: Iterable[str], more: Iterable = ()) -> int:
    """Let `more` learn and all `named` parameters under `parts`, and freeze all others; as `train_only` does."""
    chosen = list(more)
    for part in parts:
        found = [p for name, p in named.items() if f"{name}.".startswith(f"{part}.")]
        if not found:
            there = ", ".join(dict.fromkeys(name.split(".")[0] for name in named)) or "none at all"
            raise ValueError(f"{type(bare(model)).__name__} has no parameters under {part!r}; it has {there}")
        chosen += found
    if not chosen:
        raise ValueError("no part of the model was named, and something must learn")
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def train_all(model: nn.Module) -> int:
    """Let everything learn: full fine-tuning; returns how many numbers learn."""
    return train_only(model, [name for name, _ in model.named_parameters()])


def train_head(model: nn.Module) -> int:
    """Let the output layer alone learn, `model.head`: a linear classifier on what the frozen rest sees in a text.

    Of a language model this is the layer that scores the tokens; one that is tied to the embedding moves that with it.

    Returns: how many numbers learn.
    Raises: ValueError for a model without such a layer.
    """
    if 0 not in layer_depths(model).values():
        kind = type(model).__name__
        raise ValueError(f"this {kind} has no output layer of its own: train all of it, or its last layers")
    return train_only(model, output_layers(model))


def output_layers(model: nn.Module) -> list[str]:
    """The names of the layers above the trunk, such as "head"; of a language model "head" alone."""
    above = [name for name, part in model.named_children() if name != "trunk" and any(True for _ in part.parameters())]
    return above if hasattr(model, "trunk") else ["head"]


def train_last(model: nn.Module, layers: int) -> int:
    """Let the last `layers` layers learn, the final norm and the output layer; returns how many numbers learn.

    Raises: ValueError when the model has fewer layers, or none.
    """
    _, there = layer_stack(model)
    if not 1 <= layers <= there:
        have = f"its layers number {there}" if there else "it has none: no nn.ModuleList and no nn.LSTM"
        raise ValueError(f"cannot train the last {layers} layers of this {type(model).__name__}: {have}")
    return train_only(model, [name for name, depth in layer_depths(model).items() if depth <= layers])


def train_norms(model: nn.Module) -> int:
    """Let the gains and offsets of the norms learn; returns how many numbers learn.

    Raises: ValueError for a model whose norms have none, as those of our own recipe.
    Source: Zhao et al. 2023, "Tuning LayerNorm in Attention".
    """
    norms = [name for name, m in model.named_modules() if type(m).__name__.endswith("Norm") and [*m.parameters()]]
    if not norms:
        raise ValueError(f"the norms of this {type(model).__name__} have nothing to learn: choose another method")
    return train_only(model, norms)
