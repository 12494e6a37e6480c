"""AdaLoRA: low-rank changes that give up the ranks that matter least, wherever they are (Zhang et al. 2023).

    W' = W + scale * P diag(E) Q        W (out, in), P (out, R), E (R), Q (R, in), R rank      (equation 3)

Like a singular value decomposition, if P and Q stay orthogonal, of which `orthogonality` reminds the loss. So a rank is
switched off by one number of E. `Budget`, called after each step, measures how much each rank matters and leaves the
best: all at first, then fewer and fewer, and in the end `target_rank` a layer on average, more in some than in others.

    fit(model, penalised(loss_fn, orthogonality), batches, config, after_step=Budget(model, steps))

Left out: P and Q are not cut when a rank ends, so that it costs as much as before.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, adapters, bare, rounded
from minillm.peft.lora import LoRA

IMPORTANCE_SMOOTHING = 0.85  # of importance and of its uncertainty (Zhang et al. 2023, section 4: beta_1 and beta_2)


class SVDLinear(Adapter):
    """A linear layer and beside it R channels, each with a number that says how wide it is open."""

    mergeable = True

    def __init__(self, base: nn.Module, method: "AdaLoRA", name="default", generator: torch.Generator | None = None):
        super().__init__(base, method, name)
        linear = bare(base)
        self.P = nn.Parameter(torch.empty(linear.out_features, method.rank))
        self.E = nn.Parameter(torch.zeros(method.rank))
        self.Q = nn.Parameter(torch.empty(method.rank, linear.in_features))
        for matrix in (self.P, self.Q):
            nn.init.normal_(matrix, std=0.02, generator=generator)
        for key, p in (("P", self.P), ("E", self.E), ("Q", self.Q)):
            self.register_buffer(f"importance_{key}", torch.zeros_like(p))
            self.register_buffer(f"uncertainty_{key}", torch.zeros_like(p))
        self.register_buffer("open", torch.ones(method.rank, dtype=torch.bool))

    @property
    def rank(self) -> int:
        """Ranks in use. Until the last choice a closed one may open again; `open` says what was chosen."""
        return int((self.E != 0).sum())

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if not self.active:
            return y
        narrow = F.linear(F.dropout(x, self.method.dropout, self.training), self.Q.to(x.dtype))  # (..., R)
        narrow = rounded(narrow * (self.strength * self.method.scale * self.E), bare(self).weight)
        return y + narrow @ self.P.mT.contiguous().to(narrow.dtype)

    def change(self) -> Tensor:
        """What is added to the weight, (out, in)."""
        return self.strength * self.method.scale * (self.P * self.E) @ self.Q

    def folded(self, weight: Tensor, bias: Tensor | None) -> dict[str, Tensor]:
        return {"weight": weight + self.change().float()}

    def watch(self) -> None:
        """Take the last gradients into the averages: |w dL/dw|, and how far it strays (equations 8, 10 and 11)."""
        for key, p in self.own().items():
            if p.grad is not None:
                importance, uncertainty = getattr(self, f"importance_{key}"), getattr(self, f"uncertainty_{key}")
                sensitivity = (p * p.grad).abs().to(importance.dtype)
                importance.lerp_(sensitivity, 1 - IMPORTANCE_SMOOTHING)
                uncertainty.lerp_((sensitivity - importance).abs(), 1 - IMPORTANCE_SMOOTHING)

    def matters(self) -> Tensor:
        """How much each rank matters, (R,): its number in E, and the mean of its vectors in P and Q (equation 7)."""
        score = {key: getattr(self, f"importance_{key}") * getattr(self, f"uncertainty_{key}") for key in "PEQ"}
        return score["E"] + score["P"].mean(0) + score["Q"].mean(1)


@dataclass(frozen=True, kw_only=True)
class AdaLoRA(LoRA):
    """Settings of AdaLoRA; `rank` is that of the beginning."""

    rank: int = 12
    target_rank: float = 8.0  # of a layer at the end, on average
    rest: float = 0.1  # share of the steps before the first rank goes
    settle: float = 0.3  # share of the steps after the last has gone
    every: int = 10  # steps between two choices
    wrapper: ClassVar[type[Adapter]] = SVDLinear
    key: ClassVar[str] = "adalora"
    learning_rate: ClassVar[float] = 0.015

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.target_rank <= self.rank:
            raise ValueError(f"the target rank is {self.target_rank}: it must lie between 0 and the rank, {self.rank}")
        if not (self.rest >= 0 and self.settle >= 0 and self.rest + self.settle < 1 and self.every >= 1):
            raise ValueError(
                f"rest {self.rest} and settle {self.settle} are shares of the steps that must leave some between them, "
                f"and every is at least 1, not {self.every}"
            )


def _layers(model: nn.Module) -> list[SVDLinear]:
    return [a for _, a in adapters(model) if isinstance(a, SVDLinear)]


def orthogonality(model: nn.Module, strength: float = 0.5) -> Tensor:
    """strength * the mean over all P and Q of how far P'P and QQ' are from 1, in the Frobenius norm; 0 without any.

    To be added to the loss (`objectives.penalised`).

    Source: Zhang et al. 2023, equation 4, which has the squares of these norms; without the square the gradient
        does not fade as they become orthogonal.
    """
    products = [product for layer in _layers(model) for product in (layer.P.mT @ layer.P, layer.Q @ layer.Q.mT)]
    far = [torch.linalg.norm(product - torch.eye(len(product), device=product.device)) for product in products]
    return strength * torch.stack(far).mean() if far else torch.zeros(())


class Budget:
    """Gives and takes ranks while a model learns: `fit(..., after_step=Budget(model, steps))`.

    Call it with the model and the number of the step, after each step and before the gradients are dropped. What it
    knows is kept in the model's buffers, so that a resumed run goes on with it.

    Raises: ValueError for a model without AdaLoRA, and for too few steps to take a rank away in.
    Source: Zhang et al. 2023, algorithm 1.
    """

    def __init__(self, model: nn.Module, steps: int):
        layers = _layers(model)
        if not layers:
            raise ValueError("there is no AdaLoRA on this model: inject it first")
        self.method, self.steps = layers[0].method, steps
        self.first, self.last = round(self.method.rest * steps), steps - round(self.method.settle * steps)
        if self.first >= self.last:
            raise ValueError(f"{steps} steps are too few for AdaLoRA: it needs some between its rest and its settling")

    def ranks(self, step: int, layers: int) -> int:
        """How many ranks all layers may have together after `step` steps (equation 12): a cubic fall."""
        start, end = self.method.rank * layers, round(self.method.target_rank * layers)
        left = 1 - (min(max(step, self.first), self.last) - self.first) / (self.last - self.first)
        return end + int((start - end) * left**3)

    @torch.no_grad()
    def __call__(self, model: nn.Module, step: int) -> None:
        layers = _layers(model)
        if step <= self.last:
            for layer in layers:
                layer.watch()
        if step == self.last or (self.first < step < self.last and step % self.method.every == 0):
            keep = self.ranks(step, len(layers))
            score = torch.cat([layer.matters() for layer in layers])
            best = torch.zeros_like(score, dtype=torch.bool)
            best[score.topk(keep).indices] = True
            for layer, own in zip(layers, best.split(self.method.rank)):
                layer.open.copy_(own)
                layer.E.masked_fill_(~own, 0.0)  # before the last choice it may come back
        elif step > self.last:
            for layer in layers:
                layer.E.masked_fill_(~layer.open, 0.0)
