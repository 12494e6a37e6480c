"""PPO without a value: the answers to one prompt are each other's baseline (Shao et al. 2024, "DeepSeekMath", GRPO).

N answers to each prompt; all tokens of an answer have one advantage, by how many standard deviations it beats the mean
of its group (`losses.group_advantages`; Liu et al. 2025 leave out the division). REINFORCE with a baseline is what is
left when the group's mean is the baseline, nothing is divided, and one pass is made over a round, so that every ratio
is 1 (Williams 1992); RLOO takes the mean of the other answers alone (Ahmadian et al. 2024, "Back to Basics").

Simplified: the KL penalty is in the reward, as in PPO, not a term of the loss; unless told otherwise, tokens weigh the
same, not answers; groups that agree are dropped, and no others sampled in their place, as in DAPO.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minillm.align.config import LARGEST, PPOConfig
from minillm.align.ppo import PPO
from minillm.align.rollout import Rollout
from minillm.training import (
    WEIGHINGS,
    History,
    group_advantages,
    groups_that_agree,
    grpo_policy_loss,
    leave_one_out,
)


@dataclass(frozen=True)
class GRPOConfig(PPOConfig):
    """How to learn from groups of answers."""

    group_size: int = 8  # answers to each prompt
    scale: bool = True  # divide by the deviation of the group
    others: bool = False  # the baseline is the mean of the other answers alone; then nothing is divided
    clip_high: float = 0.0  # how far a token's probability may rise in a round; 0: as clip_range
    weigh: str = "token"  # what counts the same: "token", "answer", or a token by a "constant"
    length_cost: float = 0.0  # reward that a token of an answer costs
    drop_alike: bool = False  # learn nothing from groups whose rewards are all equal
    value_coef: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.group_size < 2 or self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of group_size {self.group_size}, which is at least 2"
            )
        if self.weigh not in WEIGHINGS:
            raise ValueError(f"weigh is {self.weigh!r}: choose one of {', '.join(WEIGHINGS)}")
        for name in ("clip_high", "length_cost"):
            if not 0 <= getattr(self, name) <= LARGEST:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more, and at most {LARGEST:,.0f}")


def reinforce(config: GRPOConfig) -> GRPOConfig:
    """The settings with which GRPO is REINFORCE with the group's mean as its baseline."""
    return replace(config, scale=False, epochs=1, minibatch_size=config.batch_size)


def rloo(config: GRPOConfig) -> GRPOConfig:
    """The settings with which GRPO is RLOO: REINFORCE with the mean of the other answers as its baseline."""
    return replace(reinforce(config), others=True)


def train_grpo(
    policy,
    tokenizer,
    prompts,
    reward,
    config: GRPOConfig,
    evaluate=None,
    *,
    reference=None,
    run=None,
    texts=None,
    **more,
) -> History:
    """`train_ppo`, with its arguments, by GRPO; by REINFORCE with the settings of `reinforce`."""
    return GRPO(policy, tokenizer, prompts, reward, config, reference, run, texts).train(evaluate, **more)


class GRPO(PPO):
    """A run of GRPO: what a round asks, and what an answer is worth, differ from PPO; nothing else."""

    times = property(lambda self: self.config.group_size)
    by_token = property(lambda self: self.config.weigh == "token")

    def advantages(self, rollout: Rollout, scores: Tensor, old: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One advantage for all tokens of an answer, (B, T - 1); no returns, since nothing expects them."""
        config, lengths = self.config, rollout.mask.sum(1)
        rewards = scores - self.beta * old["k1"].sum(1)
        rewards = (rewards - config.length_cost * lengths if config.length_cost else rewards).view(-1, self.times)
        self.alike = groups_that_agree(scores.view(-1, self.times))
        groups = leave_one_out(rewards) if config.others else group_advantages(rewards, config.scale)
        return groups.view(-1, 1) * rollout.mask, old["values"]

    def minibatches(self, size: int) -> list[Tensor]:
        """The answers of a round in random order, some at a time; all of them where every group agrees."""
        if not self.config.drop_alike or bool(self.alike.all()):
            return super().minibatches(size)
        order = torch.cat(super().minibatches(size))
        return list(order[~self.alike.repeat_interleave(self.times)[order]].split(self.config.minibatch_size))

    def policy_loss(self, logprobs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, dict]:
        """The clipped loss, with the settings of its descendants."""
        config = self.config
        more = (config.clip_range, config.clip_high or None, config.weigh, config.max_new_tokens)
        return grpo_policy_loss(logprobs, old, advantages, mask, *more)

    def report(self, *what) -> dict:
        """As of PPO, and how many of the groups agree."""
        return super().report(*what) | {"alike": float(self.alike.float().mean())}
