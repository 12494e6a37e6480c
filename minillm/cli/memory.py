"""Whether a model and its training fit into memory: an estimate before anything is built, low rather than high; and,
of a large model that is tuned, where its memory will go, in a line before the first step (`estimate`).

A layer of width C has 12 C^2 weights (8 C^2 in an LSTM), and training keeps four numbers of each: the weight, its
gradient, two averages. Of the activations it keeps 34 C bytes a layer and token in half precision.
Source: Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", section 4.1.
"""

from typing import NamedTuple

from torch import nn

from minillm.data import Mixed, Padded, Windows
from minillm.models import layer_stack
from minillm.system import Compute
from minillm.training import recomputes

WEIGHTS_OF_LAYER = 8  # times C^2, the least of all kinds of layers
NUMBERS_KEPT = 4  # of each weight, 4 bytes each
LAYER_BYTES = 50_000  # that a layer takes beside its numbers, as an object of Python
ACTIVATION_BYTES = 34  # times C, of a layer and token
LARGE = 2e8  # bytes below which nobody needs to be told
LOGIT_COPIES = 3  # fp32 numbers of each logit while its loss is computed
OPTIMIZER_NUMBERS = {"adamw": 2, "muon": 1.5, "sgd": 1}  # of each weight that learns, in fp32


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
    """Bytes that a step of training takes, by what they hold."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    logits: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in self._asdict().items())
        return f"memory of a step, about {self.total / 1e6:,.0f} MB: {parts}"


def estimate(model: nn.Module, optimizer: str, rows: int, each: float, dtype_bytes: int, logits: int) -> Estimate:
    """Where the memory of a step will go.

    Args: rows, each: texts in a batch, tokens of each; dtype_bytes: of a product; logits: those in memory at once.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    learns = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trunk = getattr(model, "trunk", model)
    config, layers = getattr(trunk, "config", None), max(layer_stack(model)[1], 1)
    width = getattr(config, "width", 1)
    heads = getattr(config, "heads", 1)
    inner = getattr(config, "inner", 4 * width)
    layer = rows * each * (8 * width + 4 * inner) * dtype_bytes + 2 * rows * heads * each**2 * dtype_bytes
    kept = layers * rows * each * width * dtype_bytes + layer if recomputes(model) else layers * layer
    return Estimate(
        weights, 4.0 * learns, 4.0 * OPTIMIZER_NUMBERS[optimizer] * learns, kept, 4.0 * LOGIT_COPIES * logits
    )


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
