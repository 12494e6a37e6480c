"""The settings of learning from rewards, what they cannot be, and where it runs. What GRPO has besides stands there."""

import math
from dataclasses import dataclass

import torch

from minillm.system import Compute, check_seed, pick_device

LARGEST = 1e6  # of what is weighed against a reward of about 1; squares of it are far from fp32's largest number


@dataclass(frozen=True)
class PPOConfig:
    """How to learn from rewards."""

    rounds: int = 40
    batch_size: int = 64  # answers in a round
    minibatch_size: int = 32  # of them in an update
    epochs: int = 2  # passes over a round
    max_new_tokens: int = 80
    temperature: float = 1.0  # of sampling
    learning_rate: float = 1e-3  # of AdamW; falls to 0 over the rounds
    clip_range: float = 0.2  # how far a token's probability may move in a round, as a share
    value_clip_range: float = 0.2
    value_coef: float = 0.1
    entropy_coef: float = 0.0
    ptx_coef: float = 0.0  # what the loss on texts that were learned before counts, in each update
    gamma: float = 1.0  # discount
    lam: float = 0.95  # of GAE
    kl_coef: float = 0.05  # beta, at first: reward per nat of KL divergence from the reference
    target_kl: float = 0.0  # nats an answer towards which beta moves; 0: it stays
    horizon: int = 2000  # answers over which beta adapts
    missing_eos_penalty: float = 0.0  # what is taken from the reward of an answer that does not end
    max_grad_norm: float = 1.0  # largest norm of a gradient
    evaluate_every: int = 10  # rounds
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    seed: int = 0

    def __post_init__(self):
        for name in ("rounds", "batch_size", "minibatch_size", "epochs", "max_new_tokens", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "clip_range", "value_clip_range", "max_grad_norm"):
            if not getattr(self, name) > 0:  # nan is not
                raise ValueError(f"{name} is {getattr(self, name)}: it must be positive")
        if not self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate}: it must be finite")
        for name in ("kl_coef", "target_kl", "missing_eos_penalty", "value_coef", "entropy_coef", "ptx_coef"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more")
            if getattr(self, name) > LARGEST:
                raise ValueError(f"{name} is {getattr(self, name)}: more than {LARGEST:,.0f} drowns every reward")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must lie between 0 and 1")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"the temperature is {self.temperature}: a policy that learns must be drawn from")
        check_seed(self.seed)
        if self.minibatch_size > self.batch_size:
            raise ValueError(f"minibatch_size {self.minibatch_size} is more than the batch_size {self.batch_size}")
        if self.target_kl and not self.kl_coef:
            raise ValueError(f"target_kl {self.target_kl} moves kl_coef, which is 0 and would stay there")
        if self.target_kl and self.horizon < self.batch_size:
            raise ValueError(
                f"the horizon is {self.horizon}: beta cannot move in less than a round of {self.batch_size}"
            )


def compute_of(config) -> Compute:
    """Where a run with these settings computes: in fp32 instead of fp16, whose gradients would have to be scaled."""
    compute = pick_device(config.device, config.dtype)
    return Compute(compute.device, torch.float32) if compute.dtype == torch.float16 else compute
