"""`--depth`, the one dial: from the number of layers follows all else, by the same rule on a CPU and on a GPU.

    width     64 channels for each layer, in heads of 64: deeper models are wider in proportion (nanochat's rule)
    context   256 tokens; 512 from 6 layers on, 1,024 from 12 on
    tokens    20 for each number in a hidden matrix (Hoffmann et al. 2022, "Chinchilla"); at most four passes over the
              text, up to where a token that is read again teaches nearly as much as a new one (Muennighoff et al. 2023)
    batch     2,048 tokens where a run has 1.5 million, and with the power 3/4 of the tokens: more where there are more
    rates     as tuned at a width of 128; what AdamW moves shrinks with the root of the width (nanochat's rule)
    split     of a batch: micro-batches as large as fits into memory, and as many of them (`--accumulate`) as it takes

Why the batch goes by tokens: with their number, not with the size of the model, grows the batch up to which more
tokens in a step are as good as more steps (Zhang et al. 2024; Bergsma et al. 2025). Their power is 0.4, above what we
can afford; from our own 2,048 at 1.5 million to nanochat's 524,288 at 1.3 billion it is 0.8.

Why Muon's rate stays: its step has the same size, in the spectral norm, for a matrix of any width, which is what the
maximal update parametrization asks for (Yang et al. 2022, "Tensor Programs V"; Yang, Simon & Bernstein 2023).

On a CPU up to two layers is the run that one waits two minutes for: 740 steps, whatever the text. Flags given by hand
win, and what follows from them follows. A model that goes on from a run is trained as long as that. Left out: weight
decay, warm-up, the schedule.
"""

import math
from typing import Any, NamedTuple

from minillm.cli.flags import change
from minillm.training import OPTIMIZERS

HEAD = 64  # channels of a head, and of the width for each layer
CONTEXTS = {12: 1024, 6: 512, 0: 256}  # from how many layers on
PER_MATRIX = 20  # tokens for each number in a hidden matrix
PASSES = 4  # over the text, at most
TUNED_WIDTH, TUNED_DEPTH, TUNED_BATCH, TUNED_STEPS = 128, 2, 2048, 740  # where the rates and the batch were tuned
TUNED_TOKENS = TUNED_BATCH * TUNED_STEPS
POWER = 0.75  # with which the batch grows with the tokens
AT_ONCE = {"cpu": 8192, "cuda": 65_536}  # tokens in a micro-batch: with more nothing is faster


def follow_depth(settings: Any, device: str) -> Any:
    """The settings of pretrain with the size of the model and the rates filled in that follow from --depth."""
    size, training = settings.size, settings.training
    depth = size.depth or (6 if device == "cuda" else 2)
    heads = size.heads or depth
    width = size.width or HEAD * heads
    optimizer, narrower = OPTIMIZERS[training.optimizer], rate_share(width)
    return change(
        settings,
        depth=depth,
        heads=heads,
        width=width,
        context=size.context or context_of(depth),
        learning_rate=training.learning_rate or optimizer.learning_rate * narrower,
        matrix_learning_rate=training.matrix_learning_rate or optimizer.matrix_learning_rate,
        head_learning_rate=training.head_learning_rate or optimizer.head_learning_rate * narrower,
    )


def context_of(depth: int) -> int:
    """Tokens that a model of so many layers reads at once.

    >>> [context_of(depth) for depth in (2, 6, 12)]
    [256, 512, 1024]
    """
    return next(context for layers, context in CONTEXTS.items() if depth >= layers)


def rate_share(width: int) -> float:
    """The part of the tuned rates that AdamW has in a model of this width; a narrow one keeps them.

    >>> [rate_share(width) for width in (16, 128, 512)]
    [1.0, 1.0, 0.5]
    """
    return min((TUNED_WIDTH / max(width, 1)) ** 0.5, 1.0)


class Horizon(NamedTuple):
    """How many tokens a run learns from, and why so many."""

    tokens: int
    why: str


def horizon(matrices: int, text: int) -> Horizon:
    """The tokens for so many numbers in hidden matrices, from a text of so many tokens.

    >>> horizon(2_000_000, 10**9).tokens, horizon(2_000_000, 10**6).tokens, horizon(2_000_000, 10_000).tokens
    (40000000, 4000000, 1515520)
    """
    wanted = PER_MATRIX * matrices
    most = max(PASSES * text, TUNED_TOKENS)
    if wanted <= TUNED_TOKENS:
        return Horizon(TUNED_TOKENS, f"the fewest that a run has; {PER_MATRIX} a matrix parameter would be fewer")
    if wanted <= most:
        return Horizon(wanted, f"{PER_MATRIX} for each of {matrices:,} matrix parameters")
    why = f"the text is short: {PER_MATRIX} for each of {matrices:,} matrix parameters would be {wanted:,}"
    return Horizon(most, why)


def batch_of(tokens: int) -> int:
    """Tokens in a step of a run of so many tokens: a power of two.

    >>> batch_of(1_515_520), batch_of(7_000_000), batch_of(1_100_000_000)
    (2048, 8192, 262144)
    """
    return 2 ** max(round(math.log2(TUNED_BATCH * (tokens / TUNED_TOKENS) ** POWER)), 0)


def split(windows: int, fit: int) -> tuple[int, int]:
    """A batch of so many windows as (windows in a micro-batch, micro-batches), where so many fit at once.

    >>> split(64, 64), split(64, 20), split(8, 1)
    ((64, 1), (16, 4), (1, 8))
    """
    parts = 1
    while windows // parts > max(fit, 1):
        parts *= 2
    return max(windows // parts, 1), parts


def follow_text(settings: Any, device: str, matrices: int, text: int, fit: int) -> tuple[Any, Horizon]:
    """The settings with batch and steps filled in, which follow from the text too, and how many tokens that makes.

    Args: matrices: numbers in hidden matrices; text: its tokens; fit: windows whose activations fit into memory.
    """
    size, training = settings.size, settings.training
    tuned = (device == "cpu" and size.depth <= TUNED_DEPTH) or settings.from_ is not None
    aim = Horizon(TUNED_TOKENS, f"{TUNED_STEPS} steps, as a short run has") if tuned else horizon(matrices, text)
    windows = max(batch_of(aim.tokens) // size.context, 1)
    given, parts = training.batch_size, training.accumulate
    if given:
        micro, parts = given, parts or 1
    elif parts:
        micro = max(windows // parts, 1)
    else:
        micro, parts = split(windows, min(fit, max(AT_ONCE.get(device, TUNED_BATCH) // size.context, 1)))
    steps = TUNED_STEPS if tuned else math.ceil(aim.tokens / (micro * parts * size.context))
    steps = training.max_steps or steps
    every = training.eval_every or max(steps // 10, 1)
    found = change(settings, batch_size=micro, accumulate=parts, max_steps=steps, eval_every=every)
    tokens = steps * micro * parts * size.context
    return found, aim if tokens >= 0.99 * aim.tokens and not training.max_steps else Horizon(tokens, "as given by hand")
