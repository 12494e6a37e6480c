"""Models that do not fit: each process holds a part of every weight, of its gradient and of what the optimizer keeps.

PyTorch's `fully_shard` does the work (Zhao et al. 2023, "PyTorch FSDP"; Rajbhandari et al. 2020, "ZeRO", stage 3):
before a block computes, its weights are gathered from all processes, and let go of behind it; of its gradients each
process gets the sum of its own part. So a step moves half as much again as with whole models. The first axis of each
weight is what is split. Muon needs whole matrices: each has an owner, who gathers it, finds the direction, and hands
out its rows. Checkpoints are written whole, and do not say how many processes there were.
Left out: torch.compile, fp16, gradual unfreezing; a model is built whole, on the CPU, before it is split.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from minillm.models import layer_stack
from minillm.system import Together, whole
from minillm.training.optim import CombinedOptimizer, Muon, orthogonalise


class Root(nn.Module):
    """Whatever is asked of a model, as the one call that `fully_shard` watches."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, function: Callable, *arguments: Any) -> Any:
        """What a function gives while the weights are there."""
        return function(*arguments)


class Sharded(Together):
    """One of several processes that hold one model together. other: as it was before."""

    def __init__(self, other: Together):
        vars(self).update(vars(other))
        self.root: Any = None
        self.plain: list[tuple[nn.Module, type, dict]] = []  # modules, what they were, and their hooks

    def placed(self, model: nn.Module, device: torch.device) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh  # takes a second, and few need it
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(device.type, (self.world,))
        stack = model.get_submodule(layer_stack(model)[0])
        self.layers = stack if isinstance(stack, nn.ModuleList) else nn.ModuleList()
        self.root, self.plain = Root(model), [(one, type(one), _without_weights(one)) for one in model.modules()]
        for layer in self.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.root, mesh=mesh)
        for module in (*self.layers, self.root):
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            module.set_gradient_divide_factor(1.0)  # `fit` divides once, by all terms
        return model

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        self.seed = torch.initial_seed()
        parts = getattr(optimizer, "optimizers", [optimizer])
        return CombinedOptimizer([OwnedMuon.of(one) if isinstance(one, Muon) else one for one in parts])

    def summing(self, batches: Sequence, step: int) -> Iterator:
        self.root.set_requires_gradient_sync(len(batches) == 1)
        yield from super().summing(batches, step)

    def listen(self) -> None:
        self.root.set_requires_gradient_sync(True)

    def call(self, function: Callable, *arguments: Any) -> Any:
        return self.root(function, *arguments)

    def settle(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(int(flag))))

    def each(self, function: Callable[[Any], Any], items: Sequence) -> list:
        """As of `Together`, but that all call the function equally often: they gather weights together."""
        items, own = list(items), []
        for first in range(0, len(items), self.world):
            own.append(function(items[min(first + self.rank, len(items) - 1)]))
        rows = zip(*self.gather(own))
        return list(islice((one for row in rows for one in row), len(items)))

    def gradients(self, optimizer: torch.optim.Optimizer) -> list[Tensor]:
        return [gradient.to_local() for gradient in super().gradients(optimizer)]

    def norm(self, gradients: list[Tensor]) -> Tensor:
        return self.sum(super().norm(gradients).double() ** 2).sqrt()

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        for module in (*self.layers, self.root):
            module.reshard()
        for module, kind, before in self.plain:
            module.__class__ = kind
            for key in vars(module).keys() - before.keys():
                delattr(module, key)
            vars(module).update((key, value) for key, value in before.items() if "_hooks" in key)
        made: dict[int, nn.Parameter] = {}
        for module in model.modules():
            for name, p in module._parameters.items():
                if p is not None:
                    made[id(p)] = made.get(id(p)) or nn.Parameter(whole(p.detach()), p.requires_grad)
                    module._parameters[name] = made[id(p)]
        self.wait()


def _without_weights(module: nn.Module) -> dict:
    """What a module is made of; the dictionaries in it, such as those of its hooks, as they are now."""
    return {key: value.copy() if isinstance(value, dict) else value for key, value in vars(module).items()}


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds a part of this model."""
    return any(hasattr(p, "full_tensor") for p in model.parameters())


class OwnedMuon(Muon):
    """`Muon` for matrices of which each process has some rows: momentum is split as they are, directions are not."""

    @classmethod
    def of(cls, muon: Muon) -> "OwnedMuon":
        """The same groups and rates."""
        return cls(muon.param_groups, **{name: muon.defaults[name] for name in muon.defaults}, dtype=muon.dtype)

    def _move(self, params: list[nn.Parameter], group: dict) -> None:
        """Update matrices of one shape, or of its transpose; of each `world` of them every process owns one."""
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        rows, gradients = ([one.to_local() for one in some] for some in (params, [p.grad for p in params]))
        momenta = [self.state[p]["momentum_buffer"].to_local() for p in params]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
        if group["weight_decay"]:
            torch._foreach_mul_(rows, 1 - group["lr"] * group["weight_decay"])
        directions = self._directions(params, nesterov)
        for p, own, direction in zip(params, rows, directions):
            tall = max(p.size(0) / p.size(1), 1.0) ** 0.5  # a tall matrix has more rows to move
            own.add_(direction, alpha=-group["lr"] * tall)

    def _directions(self, params: list[nn.Parameter], parts: list[Tensor]) -> list[Tensor]:
        """The rows of each matrix's direction that belong here."""
        rank, world = dist.get_rank(), dist.get_world_size()
        most = [-(-p.size(0) // world) for p in params]  # rows of a part; the last ones may have fewer
        parts = [nn.functional.pad(part, (0, 0, 0, top - len(part))) for part, top in zip(parts, most)]
        gathered, waiting = {}, []
        for number, part in enumerate(parts):
            owner = number % world
            gathered[number] = [torch.empty_like(part) for _ in range(world)] if owner == rank else None
            waiting.append(dist.gather(part, gathered[number], dst=owner, async_op=True))
        for work in waiting:
            work.wait()
        own = [number for number in range(len(params)) if number % world == rank]
        wide = {n: torch.cat(gathered[n])[: params[n].size(0)] for n in own}
        turned = {n: params[n].size(0) > params[n].size(1) for n in own}
        if own:
            together = torch.stack([wide[n].mT if turned[n] else wide[n] for n in own])
            found = orthogonalise(together.to(self.dtype)).to(params[0].dtype)
            wide = {n: one.mT if turned[n] else one for n, one in zip(own, found)}
        waiting = []
        for number, part in enumerate(parts):
            split = None
            if number in wide:
                missing = most[number] * world - params[number].size(0)
                split = [*nn.functional.pad(wide[number], (0, 0, 0, missing)).contiguous().split(most[number])]
            waiting.append(dist.scatter(part, split, src=number % world, async_op=True))
        for work in waiting:
            work.wait()
        return [part[: len(p.to_local())] for p, part in zip(params, parts)]
