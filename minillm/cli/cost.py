"""What a step of training costs: operations, counted; seconds, from a few steps of small models on this machine.

A layer takes as long as a second one adds: models of one layer and of two, as wide as the one that is planned, are
trained for a few steps. That is nearer to the truth than a count of operations over the rate of a matrix product, of
which small models reach a twentieth and large ones two thirds. Source of the count: Chowdhery et al. 2022, "PaLM",
appendix B: 6 operations for each weight and token, and 12 L C T for attention.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from minillm.models import Decoder, ModelConfig
from minillm.system import DTYPES, Compute
from minillm.training import TrainConfig, causal_objective, fit

WARM, COUNTED = 2, 3  # steps that are not timed, and that are
SAMPLED = 4096  # tokens of a timed step, at most, on a CPU
MEASURED = 1e12  # operations of a run below which nobody waits, and nothing is measured


def operations(model: nn.Module, context: int) -> float:
    """Floating-point operations of training, for each token. The model may be on the meta device."""
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    config = getattr(model, "config", None)
    return 6 * weights + 12 * getattr(config, "layers", 0) * getattr(config, "width", 0) * context


def step_seconds(config: ModelConfig, rows: int, compute: Compute, optimizer: str = "muon", labels: float = 1) -> float:
    """Seconds of a training step on so many windows; labels: the share of positions that have one."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocab_size, (rows, config.context + 1), generator=generator)
    sparse = ids.where(torch.rand(ids.shape, generator=generator) < labels, -100)
    begun: list[float] = []

    def batches() -> Iterator[dict]:
        while True:
            begun.append(compute.synchronise())
            yield {"input_ids": ids, "labels": sparse}

    dtype = next(name for name, kind in DTYPES.items() if kind == compute.dtype)
    steps = WARM + COUNTED
    how = TrainConfig(steps=steps, eval_every=steps, optimizer=optimizer, device=str(compute.device), dtype=dtype)
    with torch.random.fork_rng([]):  # the run that is planned draws as if nothing had been measured
        model = Decoder(config)
        fit(model, causal_objective(model), batches(), how, progress=False)
    begun.append(compute.synchronise())
    return min(b - a for a, b in zip(begun[WARM:], begun[WARM + 1 :]))


def expected_seconds(config: ModelConfig, rows: int, compute: Compute, optimizer: str) -> float:
    """Seconds of a step of a decoder on so many windows, from steps of one layer and of two."""
    some = rows if compute.device.type != "cpu" else min(rows, max(SAMPLED // config.context, 1))
    one, two = (step_seconds(replace(config, layers=layers), some, compute, optimizer) for layers in (1, 2))
    return (one + (config.layers - 1) * max(two - one, 0)) * rows / some
