"""Several processes that train as one: who they are, what they tell each other, how they end.

`torchrun` starts a command several times and says in environment variables which of them each is. They read the same
data in the same order, and each computes its share of every step; what all need is summed over all of them. One
process, `ALONE`, asks nobody, and computes what it always did. Messages are JSON or sums, and travel between
processors (gloo), gradients between GPUs (nccl), where there are any. Rank 0 leads: it alone prints and writes.
Left out: pipelines and tensor parallelism.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from minillm.system.buckets import Buckets
from minillm.system.progress import Interrupt, patient_interrupt

PATIENCE = timedelta(hours=2)  # for the others, while rank 0 measures; of one that died torch and torchrun tell at once
GRACE = 5.0  # seconds: a terminal and torchrun both pass on one Ctrl-C
BROKEN = ("gloo", "nccl", "onnection closed", "onnection reset", "roken pipe")  # in what torch says of a lost process


def place_of_process() -> tuple[int, int]:
    """Which process this is, of how many, as torchrun says; (0, 1) without it."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


class Alone:
    """One process, which has all that it could ask of others. What `Together` changes are these methods."""

    rank, world = 0, 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    # What they tell each other

    def share(self, make: Callable[[], Any]) -> Any:
        """What `make` gives to the process that leads, for all of them. (JSON)"""
        return make()

    def gather(self, value: Any) -> list:
        """What each has, in the order of their ranks. (JSON)"""
        return [value]

    def each(self, function: Callable[[Any], Any], items: Iterable) -> list:
        """What a function gives for each item, where each process computes some of them. (JSON)"""
        return [function(item) for item in items]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes."""
        return tensor

    def wait(self) -> None:
        """Wait until all are here."""

    def end(self) -> None:
        """Go on alone: the others are not asked again."""

    # What a training loop asks

    def placed(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The model where it computes."""
        return model.to(device)

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Say what learns. Returns: the optimizer for it."""
        return optimizer

    def interruptible(self) -> contextlib.AbstractContextManager[Interrupt]:
        """The context in which Ctrl-C stops the run: all processes after the same step."""
        return patient_interrupt()

    def summing(self, batches: Sequence, step: int) -> Iterable:
        """The micro-batches of a step. While the last of them goes backward, gradients are summed over all."""
        return batches

    def call(self, function: Callable, *arguments: Any) -> Any:
        """What a function of the model gives."""
        return function(*arguments)

    def totals(self, total: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
        """`agree`, and on the sum of a step's losses and its number of terms."""
        return total, terms

    def agree(self) -> None:
        """After the backward pass: from here on all have the same gradients, and know whether one was interrupted."""

    def gradients(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        """The gradients that this process holds."""
        return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]

    def norm(self, gradients: list[Tensor]) -> Tensor:
        """The norm of all gradients together."""
        return nn.utils.get_total_norm(gradients)

    def finish(self, model: nn.Module) -> None:
        """After the last step: the model is whole, and what rank 0 has written is there for all."""


ALONE = Alone()


class Together(Alone):
    """One of several processes, each with a whole model: data parallel training."""

    def __init__(self, rank: int, world: int):
        self.rank, self.world, self.seed = rank, world, torch.initial_seed()
        self.asked = self.agreed = Interrupt()
        self.buckets: Buckets | None = None

    def share(self, make: Callable[[], Any]) -> Any:
        return self._rows(make() if self.leads else None)[0]

    def gather(self, value: Any) -> list:
        return self._rows(value)

    def _rows(self, value: Any) -> list:
        """The values of all, as JSON in rows of bytes of one length."""
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.world)]
        dist.all_gather(sizes, torch.tensor([len(own)]))
        longest = int(max(sizes))
        rows = [torch.zeros(longest, dtype=torch.uint8) for _ in sizes]
        dist.all_gather(rows, nn.functional.pad(own, (0, longest - len(own))))
        return [json.loads(row[: int(size)].numpy().tobytes()) for row, size in zip(rows, sizes)]

    def each(self, function: Callable[[Any], Any], items: Iterable) -> list:
        own = [function(item) for item in itertools.islice(items, self.rank, None, self.world)]
        found = self.gather(own)
        return [found[i % self.world][i // self.world] for i in range(sum(map(len, found)))]

    def sum(self, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        self.gather(None)

    def end(self) -> None:
        self.wait()
        dist.destroy_process_group()

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        self.seed = torch.initial_seed()
        learns = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self.buckets = Buckets([p for p in model.parameters() if id(p) in learns])
        return optimizer

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[Interrupt]:
        with patient_interrupt(GRACE) as self.asked:
            self.agreed = Interrupt()
            yield self.agreed

    def summing(self, batches: Sequence, step: int) -> Iterator:
        if self.rank:  # noise of its own in dropout, a function of the step, so that no checkpoint has to hold it
            torch.manual_seed(((self.seed + step) * 1_000_003 + self.rank) % 2**63)
        for number, batch in enumerate(batches, 1):
            if number == len(batches):
                self.listen()
            yield batch

    def listen(self) -> None:
        """From now on gradients are final, and travel as soon as they are there."""
        self.buckets.open()

    def agree(self) -> None:
        self.agreed.requested = self.settle(self.asked.requested)

    def totals(self, total: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
        self.agree()
        both = self.sum(torch.stack([total.double(), terms.double()]))
        return both[0].to(total.dtype), both[1].to(terms.dtype)

    def settle(self, flag: bool) -> bool:
        """Wait for all gradients. Returns: whether the flag is up anywhere."""
        return self.buckets.close(flag)

    def finish(self, model: nn.Module) -> None:
        self.buckets.remove()
        self.wait()


_store: Any = None  # where processes meet; it outlives them, since torchrun holds it
_runs = itertools.count()  # of this process, each with its own keys there


def started(device: str = "auto") -> Alone:
    """Meet the other processes that torchrun started. Raises: ValueError for a device that they cannot share."""
    global _store
    rank, world = place_of_process()
    if world == 1:
        return ALONE
    if device == "mps":
        raise ValueError("--device mps: several processes compute on --device cpu or on one GPU each")
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    local, there = int(os.environ.get("LOCAL_RANK", rank)), torch.cuda.device_count()
    if on_gpu and local >= there:
        raise ValueError(f"torchrun started more processes than the {there} GPUs of this machine: --nproc-per-node")
    if on_gpu:
        torch.cuda.set_device(local)
    store, *_ = next(dist.rendezvous("env://", rank, world, timeout=PATIENCE))
    _store = dist.PrefixStore(f"start {_starts()}, run {next(_runs)}", store)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=_store, rank=rank, world_size=world, timeout=PATIENCE
    )
    return Together(rank, world)


def restarted() -> bool:
    """Whether torchrun started these processes again, after one of them had died."""
    return _starts() > 0


def _starts() -> int:
    """How often torchrun has started these processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def speaks_first() -> bool:
    """Whether this process is the one to say what went wrong: the first that had to."""
    if _store is None:
        return place_of_process()[0] == 0
    try:
        return _store.add("said", 1) == 1
    except RuntimeError:  # it is gone, too
        return True


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process of this run is no longer there."""
    if not dist.is_available() or place_of_process()[1] == 1 or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in BROKEN)


def whole(tensor: Tensor) -> Tensor:
    """A tensor in one piece; of one that is sharded, all processes have to ask together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, sharded as another is."""
    if not hasattr(like, "full_tensor"):
        return tensor
    from torch.distributed.tensor import distribute_tensor  # takes half a second, and few need it

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
