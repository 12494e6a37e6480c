"""Who takes part in PPO: the policy with its value, which learn, and the reference, which does not.

The reference is the policy as it was. An adapter that learns is taken for a new one: with a frozen trunk the reference
is that trunk with the adapter switched off, and no second model is held in memory. Of an adapter that has learned
before, and goes on, give a copy as the reference, or merge it first.

Shapes: B batch, T time.
"""

import contextlib
import copy

import torch.nn.functional as F
from torch import Tensor, nn

from minillm.align.rollout import Rollout, answer_states, scatter_to_mask
from minillm.models import in_fp32
from minillm.peft import Adapter, adapters, remove, switched_off
from minillm.training import token_entropy


class Actor(nn.Module):
    """A policy and its value, read off one trunk."""

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy
        self.value = nn.Linear(policy.config.width, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, rollout: Rollout, temperature: float, kept=None) -> tuple[Tensor, Tensor, Tensor]:
        """log p of each answer token, its value and the entropy where it was drawn: each (B, T - 1), 0 elsewhere."""
        x, tokens = answer_states(self.policy, rollout, kept)
        logits = self.policy.head(x).float() / temperature
        logprobs = -F.cross_entropy(logits, tokens, reduction="none")
        each = (logprobs, in_fp32(self.value, x).squeeze(-1), token_entropy(logits))
        return tuple(scatter_to_mask(one, rollout.mask) for one in each)


def learning_adapters(policy: nn.Module) -> list[Adapter]:
    """The wrappers that learn. Others, of a run that the policy began with, are a part of what it was."""
    return [one for _, one in adapters(policy) if any(p.requires_grad for p in one.own().values())]


def reference_of(policy: nn.Module, given: nn.Module | None = None) -> nn.Module | None:
    """The reference that is given; else a copy of the policy without the adapters that learn, as it is where none does.

    Returns: None where switching the adapters off is as good as a copy, so that no second model is in memory.
    Raises: ValueError for a reference that would learn with the policy.
    """
    learning = {id(p) for p in policy.parameters() if p.requires_grad}
    if given is not None:
        if any(id(p) in learning for p in given.parameters()):
            raise ValueError("the reference is the policy itself, and would learn with it: give a copy, or none")
        return given
    new = learning_adapters(policy)
    if new and not learning - {id(p) for adapter in new for p in adapter.own().values()}:
        return None
    reference = copy.deepcopy(policy)
    for name in {adapter.name for adapter in new}:
        reference = remove(reference, name)
    return reference


def as_reference(policy: nn.Module, reference: nn.Module | None) -> contextlib.AbstractContextManager[nn.Module]:
    """The reference, for the time of a block: one that is None is the policy without the adapters that learn."""
    learning = {adapter.name for adapter in learning_adapters(policy)}
    if reference is not None or not learning:
        return contextlib.nullcontext(policy if reference is None else reference)
    return switched_off(policy, *learning)
