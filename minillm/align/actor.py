"""Who takes part in PPO: the policy with its value, which learn, and the reference, which does not.

The reference is the policy as it was. An adapter that learns is taken for a new one: with a frozen trunk the reference
is that trunk with the adapter switched off, and no second model is held in memory. Of an adapter that has learned
before, and goes on, give a copy as the reference, or merge it first.

Shapes: B batch, T time.
"""

import contextlib
import copy

from torch import Tensor, nn

from minillm.align.rollout import Rollout, answer_states, logprobs_and_entropy, scatter_to_mask
from minillm.models import in_fp32
from minillm.peft import Adapter, adapters, remove, switched_off


class Actor(nn.Module):
    """A policy and its value, read off one trunk."""

    def __init__(self, policy: nn.Module):
        super().__init__()
        self.policy = policy
        self.value = nn.Linear(policy.config.width, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, rollout: Rollout, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
        """log p of each answer token, its value and the entropy where it was drawn: each (B, T - 1), 0 elsewhere."""
        x, tokens = answer_states(self.policy, rollout)
        logprobs, entropy = logprobs_and_entropy(self.policy.head(x).float() / temperature, tokens, rollout.mask)
        return logprobs, scatter_to_mask(in_fp32(self.value, x).squeeze(-1), rollout.mask), entropy


def learning_adapters(policy: nn.Module) -> list[Adapter]:
    """The wrappers that learn. Others, of a run that the policy began with, are a part of what it was."""
    return [one for _, one in adapters(policy) if any(p.requires_grad for p in one.own().values())]


def reference_of(policy: nn.Module, given: nn.Module | None = None) -> nn.Module | None:
    """The frozen model that the policy is held near to, a second one in memory only where that is needed.

    Returns: the reference that was given, or a copy of what the policy was before the adapters that learn, or of all
        of it where none does; None where switching them off is as good as a copy.
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
