"""Whether a model and its training fit into memory: an estimate before anything is built, low rather than high; and,
of a large model that is tuned, where its memory will go, in a line before the first step (`estimate`).

A layer of width C has 12 C^2 weights (8 C^2 in an LSTM), and training keeps four numbers of each: the weight, its
gradient, two averages. Of the activations it keeps 34 C bytes a layer and token in half precision.
Source: Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", section 4.1.
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from minillm.data import Mixed, Padded, Windows
from minillm.models import RECIPES, GatedFeedForward, layer_stack
from minillm.system import Compute
from minillm.training import LARGE as LARGE_VOCABULARY
from minillm.training import PART, recomputes, split_parameters

WEIGHTS_OF_LAYER = 8  # times C^2, the least of all kinds of layers
NUMBERS_KEPT = 4  # of each weight, 4 bytes each
LAYER_BYTES = 50_000  # that a layer takes beside its numbers, as an object of Python
ACTIVATION_BYTES = 34  # times C, of a layer and token
LARGE = 2e8  # bytes below which nobody needs to be told
LOGIT_COPIES = 3  # fp32 numbers of each logit while its loss is computed
OPTIMIZER_NUMBERS = {"adamw": 2, "muon": 1.5, "sgd": 1}  # of each weight that learns, in fp32
MUON_BYTES = 16  # of each number of a matrix while Muon moves it: its direction, twice in each precision


def check_size(compute: Compute, vocab_size: int, context: int, layers: int, width: int) -> None:
    """Raises: ValueError for a model that could not be trained in the memory of this machine."""
    weights = WEIGHTS_OF_LAYER * layers * width**2 + vocab_size * width + context
    needed = 4 * NUMBERS_KEPT * weights + LAYER_BYTES * layers
    check(needed, compute, f"a model of {layers:,} layers and {width:,} channels", "--depth, --width or --context")


def check_batches(compute: Compute, model: nn.Module, batches: Windows | Padded | Mixed) -> None:
    """Raises: ValueError for batches whose activations do not fit into memory."""
    for one in batches.sources if isinstance(batches, Mixed) else [batches]:
        rows = one.context if isinstance(one, Windows) else one.lengths.double().mean() * len(one.groups[0])
        check_tokens(compute, model, one.batch_size, float(rows))


def check_tokens(compute: Compute, model: nn.Module, batch_size: int, each: float) -> None:
    """Raises: ValueError for a batch of so many rows, each of so many tokens, that does not fit into memory."""
    tokens = batch_size * each
    config = getattr(getattr(model, "trunk", model), "config", None)
    layers, width = (getattr(config, name, 1) for name in ("layers", "width"))
    what = f"a batch of {batch_size:,}, about {tokens:,.0f} tokens,"
    check(ACTIVATION_BYTES * layers * width * tokens, compute, what, "--batch-size")


def check(needed: float, compute: Compute, what: str, flags: str) -> None:
    """Raises: ValueError where more bytes are needed than there are."""
    there = compute.total_memory()
    if needed > there:
        raise ValueError(
            f"{what} needs at least {needed / 1e9:,.0f} GB of memory to train, and this machine has "
            f"{there / 1e9:,.0f}: choose a smaller {flags}"
        )


class Estimate(NamedTuple):
    """Bytes that a step of training takes, by what they hold; not all of it at once."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float
    update: float = 0.0  # what the optimizer needs while it moves the weights
    layer: float = 0.0  # what recomputation makes again of one layer; it is in memory when the logits are gone
    accumulates: bool = False  # then gradients are there from the first micro-batch on

    @property
    def total(self) -> float:
        """The most at any time: at the loss, in the backward pass, or when the weights move."""
        loss = self.activations + self.logits + self.gradients * self.accumulates
        backward = self.activations + self.layer + self.gradients * self.accumulates
        return self.weights + self.optimizer + max(loss, backward, self.gradients + self.update)

    def __str__(self) -> str:
        shown = {name: self._asdict()[name] for name in ("weights", "gradients", "optimizer", "activations", "logits")}
        parts = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in shown.items())
        return f"memory of a step, about {self.total / 1e6:,.0f} MB: {parts}"


def logits_at_once(vocab_size: int, positions: float) -> float:
    """How many logits are in memory together: those of all positions, or of a part where the vocabulary is large."""
    return min(vocab_size * positions, PART if vocab_size >= LARGE_VOCABULARY else math.inf)


def activation_bytes(config, tokens: float, each: float, dtype_bytes: int, scores: bool = False) -> float:
    """What one layer keeps of so many tokens for the backward pass.

    In half precision norms and the residual stream stay in fp32. Counted from what torch saves, recipe by recipe.

    Args: each: tokens of a text; scores: the attention weights are kept, which fused kernels do not.
    """
    width, heads = getattr(config, "width", 1), getattr(config, "heads", 1)
    recipe = RECIPES.get(getattr(config, "recipe", "gpt2"), RECIPES["llama"])
    kept = 8 if recipe.norm is nn.LayerNorm else 11  # inputs and outputs of norms, products and attention
    inner = (4 if issubclass(recipe.feed_forward, GatedFeedForward) else 2) * getattr(config, "inner", 4 * width)
    wide = 1.5 if dtype_bytes == 2 else 1
    return tokens * dtype_bytes * (kept * wide * width + inner + (heads * each if scores else 0))


def keeps_scores(compute: Compute) -> bool:
    """Whether attention keeps its weights in training: a CPU does in half precision, where that is faster."""
    return compute.device.type == "cpu" and compute.dtype.itemsize == 2


def estimate(
    model: nn.Module, optimizer: str, rows: int, each: float, dtype_bytes: int, logits: int, scores: bool = False,
    accumulate: int = 1,
) -> Estimate:  # fmt: skip
    """Where the memory of a step will go. The model may be on the meta device: only its shapes are looked at.

    Args: rows, each: texts in a batch, tokens of each; dtype_bytes: of a product; logits: those in memory at once.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    learns, matrices = sum(trained), sum(p.numel() for p in hidden_matrices(model))
    numbers = matrices + 2 * (learns - matrices) if optimizer == "muon" else OPTIMIZER_NUMBERS[optimizer] * learns
    trunk = getattr(model, "trunk", model)
    config, layers = getattr(trunk, "config", None), max(layer_stack(model)[1], 1)
    layer = activation_bytes(config, rows * each, each, dtype_bytes, scores)
    again = recomputes(model)
    kept = layers * rows * each * getattr(config, "width", 1) * 4 if again else layers * layer
    if dtype_bytes == 2:  # autocast keeps a copy of every weight that is multiplied
        kept += 2 * sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    large = logits < getattr(config, "vocab_size", 0) * rows * each  # by parts: the head's gradient, and a part of it
    head = 8 * getattr(getattr(trunk, "head", None), "weight", torch.empty(0)).numel() if large else 0
    return Estimate(
        weights,
        4.0 * learns,
        4.0 * numbers,
        kept,
        4.0 * LOGIT_COPIES * logits + head,
        MUON_BYTES * matrices if optimizer == "muon" else 0.0,
        layer if again else 0.0,
        accumulate > 1,
    )


def hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trainable matrices between the embeddings and the output layer; none where nothing learns."""
    return split_parameters(model).matrices if any(p.requires_grad for p in model.parameters()) else []


def say_memory(expected: Estimate, compute: Compute, recomputing: bool, adapter: bool) -> None:
    """Print the estimate of a large model; where it is more than is free, with what to do."""
    if expected.weights < LARGE:
        return
    print(expected)
    free = compute.free_memory()
    if expected.total - expected.weights > free:  # those are there already
        what = ["--recompute"] * (not recomputing) + ["a smaller --batch-size"] + ["--method lora"] * (not adapter)
        there = f"{(free + expected.weights) / 1e6:,.0f} MB"
        print(f"advice: that is more than the {there} that there are: try {' or '.join(what)}")
