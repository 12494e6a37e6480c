"""What a run of pretrain will take, before it begins: parameters, tokens, memory, operations, time.

The model is built on the meta device first, where tensors have shapes and no numbers: so all is counted, and what
cannot fit into memory is refused, before anything large is made.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from minillm.cli.cost import MEASURED, expected_seconds, operations
from minillm.cli.depth import AT_ONCE, Horizon, follow_depth, follow_text
from minillm.cli.flags import change
from minillm.cli.memory import Estimate, estimate, hidden_matrices, keeps_scores, logits_at_once
from minillm.models import Decoder
from minillm.system import ALONE, Alone, Compute, duration
from minillm.training import recompute

SHARE = 0.8  # of the memory, up to which micro-batches are made larger


@dataclass(frozen=True)
class Plan:
    """A run that has not begun."""

    settings: Any  # complete
    model: nn.Module  # perhaps on the meta device
    aim: Horizon
    memory: Estimate

    @property
    def batch(self) -> int:
        """Tokens in a step."""
        training = self.settings.training
        return training.batch_size * training.accumulate * self.settings.size.context

    @property
    def tokens(self) -> int:
        """Of the whole run."""
        return self.batch * self.settings.training.max_steps

    @property
    def operations(self) -> float:
        """Of the whole run."""
        return operations(self.model, self.settings.size.context) * self.tokens

    def seconds(self, compute: Compute, together: Alone = ALONE) -> float | None:
        """Of training, from a few steps of small models; None: too short to measure, or no decoder."""
        if self.operations < MEASURED or not isinstance(self.model, Decoder) or not together.leads:
            return None
        training = self.settings.training
        step = expected_seconds(self.model.config, training.batch_size, compute, training.optimizer)
        steps = training.accumulate * training.max_steps / together.world
        return step * steps * (4 / 3 if training.recompute else 1)

    def say(self, compute: Compute, together: Alone = ALONE) -> str:
        """All of it in two lines."""
        training, matrices = self.settings.training, sum(p.numel() for p in hidden_matrices(self.model))
        each = f", {self.tokens / matrices:.1f} for each of {matrices:,} matrix parameters" if matrices else ""
        seconds = self.seconds(compute, together)
        time = f"; about {duration(seconds)} on {compute.name}" if seconds else ""
        parts = f"{training.accumulate:,} x {training.batch_size:,} windows of {self.settings.size.context:,}"
        return (
            f"{self.tokens:,} tokens{each} ({self.aim.why}), in steps of {parts}\n"
            f"{self.operations:.1e} operations{time}; {str(self.memory).removeprefix('memory of a step, ')}"
        )


def on_paper(build: Callable[[Any, int], nn.Module], settings: Any, vocab_size: int) -> nn.Module:
    """The model that the settings describe, without numbers."""
    with torch.device("meta"), torch.random.fork_rng([]):
        model = build(settings, vocab_size)
    return recompute(model) if settings.training.recompute else model


def memory_of(settings: Any, model: nn.Module, compute: Compute, rows: int = 1, parts: int = 1) -> Estimate:
    """The memory of a step on micro-batches of so many windows."""
    context, vocab_size = settings.size.context, getattr(getattr(model, "config", None), "vocab_size", 0)
    logits = logits_at_once(vocab_size, rows * context)
    size, scores = compute.dtype.itemsize, keeps_scores(compute)
    return estimate(model, settings.training.optimizer, rows, context, size, logits, scores, parts)


def plan(settings: Any, model: nn.Module, text: int, compute: Compute, together: Alone = ALONE) -> Plan:
    """Complete the settings, which `follow_depth` has filled in, for a text of so many tokens.

    Of several processes the first decides, whose memory the others take for theirs.
    """
    context, device, fit = settings.size.context, compute.device.type, 1
    there = together.share(compute.total_memory)
    while fit * context < AT_ONCE.get(device, 0):
        if memory_of(settings, model, compute, 2 * fit, 2).total > SHARE * there:
            break
        fit *= 2
    matrices = sum(p.numel() for p in hidden_matrices(model))
    settings, aim = follow_text(settings, device, matrices, text, fit, together.world)
    training = settings.training
    return Plan(settings, model, aim, memory_of(settings, model, compute, training.batch_size, training.accumulate))


def check_fits(settings: Any, asked: Any, build: Callable, vocab_size: int, compute: Compute) -> None:
    """Raises: ValueError for a model that cannot be trained in this memory, with the largest --depth that can.

    Args: settings: complete in size; asked: as they were typed, from which those of other depths follow.
    """

    def needed(settings: Any) -> float:
        return memory_of(settings, on_paper(build, settings, vocab_size), compute).total

    def fits(depth: int) -> bool:
        return needed(follow_depth(change(asked, depth=depth), compute.device.type)) <= there

    there, size, all_of_it = compute.total_memory(), settings.size, needed(settings)
    if all_of_it <= there:
        return
    least, most = 0, 1
    while most < size.depth and fits(most):  # from below, where a model is soon described
        least, most = most, min(2 * most, size.depth)
    while most - least > 1:
        depth = (least + most) // 2
        least, most = (depth, most) if fits(depth) else (least, depth)
    largest = f"the largest --depth that fits is {least}" if least else "no --depth fits"
    raise ValueError(
        f"a model of {size.depth:,} layers and {size.width:,} channels needs about {all_of_it / 1e9:,.0f} GB of "
        f"memory to train, and this machine has {there / 1e9:,.0f}: {largest}; or choose a smaller --width or --context"
    )
