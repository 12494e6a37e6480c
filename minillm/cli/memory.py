"""Whether a model and its training fit into memory: an estimate before anything is built, low rather than high.

A layer of width C has 12 C^2 weights (8 C^2 in an LSTM), and training keeps four numbers of each: the weight, its
gradient, two averages. Of the activations it keeps 34 C bytes a layer and token in half precision.
Source: Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", section 4.1.
"""

from torch import nn

from minillm.data import Padded, Windows
from minillm.system import Compute

WEIGHTS_OF_LAYER = 8  # times C^2, the least of all kinds of layers
NUMBERS_KEPT = 4  # of each weight, 4 bytes each
LAYER_BYTES = 50_000  # that a layer takes beside its numbers, as an object of Python
ACTIVATION_BYTES = 34  # times C, of a layer and token


def check_size(compute: Compute, vocab_size: int, context: int, layers: int, width: int) -> None:
    """Raises: ValueError for a model that could not be trained in the memory of this machine."""
    weights = WEIGHTS_OF_LAYER * layers * width**2 + vocab_size * width + context
    needed = 4 * NUMBERS_KEPT * weights + LAYER_BYTES * layers
    check(needed, compute, f"a model of {layers:,} layers and {width:,} channels", "--depth, --width or --context")


def check_batches(compute: Compute, model: nn.Module, batches: Windows | Padded) -> None:
    """Raises: ValueError for batches whose activations do not fit into memory."""
    rows = batches.context if isinstance(batches, Windows) else batches.lengths.double().mean() * len(batches.groups[0])
    check_tokens(compute, model, batches.batch_size, float(rows))


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
