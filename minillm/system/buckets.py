"""Gradients summed over all processes, some at a time, while the backward pass computes the others.

The backward pass goes from the output down, so the gradients of the upper layers are there first. They are put side by
side into buckets; one that is full is sent off at once, and the sum arrives while lower layers are still computed (Li
et al. 2020, "PyTorch Distributed", section 3.2). Buckets leave in one order in all processes, as they must. A gradient
that one process has and another has not counts as 0 there; one that nobody has stays none.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

SIZE = 25 * 2**20  # bytes: small enough to leave early, large enough to be worth the trip


class Buckets:
    """The sums of the gradients of some parameters, in the order of a model. `sent`: bytes that were summed so far."""

    def __init__(self, parameters: list[nn.Parameter]):
        self.buckets: list[list[nn.Parameter]] = []
        for p in reversed(parameters):
            last = self.buckets[-1] if self.buckets else []
            if not last or last[0].dtype != p.dtype or sum(map(_bytes, last)) + _bytes(p) > SIZE:
                self.buckets.append([])
            self.buckets[-1].append(p)
        self.of = {id(p): number for number, bucket in enumerate(self.buckets) for p in bucket}
        self.hooks = [p.register_post_accumulate_grad_hook(self._arrived) for p in parameters]
        self.missing: list[int] | None = None  # gradients that each bucket waits for; None: they are not final yet
        self.away: list[tuple[Tensor, dist.Work]] = []
        self.sent = 0

    def open(self) -> None:
        """What arrives from now on is final."""
        self.missing, self.away = [len(bucket) for bucket in self.buckets], []

    def _arrived(self, p: nn.Parameter) -> None:
        if self.missing is None:
            return
        self.missing[self.of[id(p)]] -= 1
        while len(self.away) < len(self.buckets) and self.missing[len(self.away)] == 0:
            self._send()

    def _send(self) -> None:
        """The next bucket leaves, as one row of numbers."""
        bucket = self.buckets[len(self.away)]
        row = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        self.away.append((row, dist.all_reduce(row, async_op=True)))
        self.sent += row.numel() * row.element_size()

    def close(self, flag: bool) -> bool:
        """Send what is left, and wait for all sums, which take the place of the gradients.

        Args: flag: what else is to be known to all.
        Returns: whether the flag is up in any process.
        """
        there = [p.grad is not None for bucket in self.buckets for p in bucket]
        while len(self.away) < len(self.buckets):
            self._send()
        flags = torch.tensor([flag, *there], dtype=torch.uint8)  # on the CPU: no device is waited for
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        flag, *there = flags.tolist()
        anywhere = iter(there)
        for bucket, (row, work) in zip(self.buckets, self.away):
            work.wait()
            for p, part in zip(bucket, row.split([p.numel() for p in bucket])):
                p.grad = part.view_as(p) if next(anywhere) else None
        self.missing, self.away = None, []
        return bool(flag)

    def remove(self) -> None:
        """Let the parameters be as they were."""
        for hook in self.hooks:
            hook.remove()


def _bytes(p: nn.Parameter) -> int:
    return p.numel() * p.element_size()
