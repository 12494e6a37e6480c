"""The size of a model: that of the run that it goes on from, or a new one, which must fit into memory.

Whether it fits is an estimate before anything is built, low rather than high.

A layer of width C has 12 C^2 weights (8 C^2 in an LSTM), and training keeps four numbers of each: the weight, its
gradient, two averages. Of the activations it keeps 34 C bytes a layer and token in half precision.
Source: Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", section 4.1.
"""

from pathlib import Path
from typing import Any

from torch import nn

from minillm.cli.flags import change, names_of, refuse
from minillm.cli.life import check_context
from minillm.data import Padded, Windows
from minillm.system import Compute
from minillm.training import RunFolder, describe

WEIGHTS_OF_LAYER = 8  # times C^2, the least of all kinds of layers
NUMBERS_KEPT = 4  # of each weight, 4 bytes each
LAYER_BYTES = 50_000  # that a layer takes beside its numbers, as an object of Python
ACTIVATION_BYTES = 34  # times C, of a layer and token


def check_size_flags(source: Path | None, given: dict, size: type) -> None:
    """Raises: ValueError for a flag of size, or of the tokenizer, where a run goes on that has its own.

    --context may be shorter than the model's. Args: size: the group of flags.
    """
    if source is not None:
        names = {"tokenizer", "vocab_size", *names_of(size)} - {"context"}
        refuse(given, sorted(names), f"the model and the tokenizer are those of {source}")


def with_size_of(settings: Any, model: nn.Module, source: RunFolder) -> Any:
    """The settings with the size of the model that a run goes on from; --context, where it is given, is kept.

    Raises: ValueError for a --context that is longer than what that model reads.
    """
    check_context(settings.size.context, model, source)
    own = describe(model)
    known = {name: own[name] for name in ("heads", "width", "recipe", "dropout", "context") if name in own}
    known |= {"depth": own["layers"]} if "layers" in own else {}
    if settings.size.context:
        known["context"] = settings.size.context
    return change(settings, **known)


def check_size(compute: Compute, vocab_size: int, context: int, layers: int, width: int) -> None:
    """Raises: ValueError for a model that could not be trained in the memory of this machine."""
    weights = WEIGHTS_OF_LAYER * layers * width**2 + vocab_size * width + context
    needed = 4 * NUMBERS_KEPT * weights + LAYER_BYTES * layers
    check(needed, compute, f"a model of {layers:,} layers and {width:,} channels", "--depth, --width or --context")


def check_batches(compute: Compute, model: nn.Module, batches: Windows | Padded) -> None:
    """Raises: ValueError for batches whose activations do not fit into memory."""
    rows = batches.context if isinstance(batches, Windows) else batches.lengths.double().mean() * len(batches.groups[0])
    tokens = batches.batch_size * float(rows)
    config = getattr(getattr(model, "trunk", model), "config", None)
    layers, width = (getattr(config, name, 1) for name in ("layers", "width"))
    what = f"a batch of {batches.batch_size:,}, about {tokens:,.0f} tokens,"
    check(ACTIVATION_BYTES * layers * width * tokens, compute, what, "--batch-size")


def check(needed: float, compute: Compute, what: str, flags: str) -> None:
    """Raises: ValueError where more bytes are needed than there are."""
    there = compute.total_memory()
    if needed > there:
        raise ValueError(
            f"{what} needs at least {needed / 1e9:,.0f} GB of memory to train, and this machine has "
            f"{there / 1e9:,.0f}: choose a smaller {flags}"
        )
