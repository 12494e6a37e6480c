"""PPO without a value: the answers to one prompt are each other's baseline (Shao et al. 2024, "DeepSeekMath", GRPO).

N answers to each prompt; all tokens of an answer have one advantage, by how many standard deviations it beats the mean
of its group (`losses.group_advantages`; Liu et al. 2025 leave out the division). REINFORCE with a baseline is what is
left when the group's mean is the baseline, nothing is divided, and one pass is made over a round, so that every ratio
is 1 (Williams 1992; Ahmadian et al. 2024, "Back to Basics").

Simplified: the KL penalty is in the reward, as in PPO, not a term of the loss; tokens weigh the same, not answers.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from minillm.align.config import PPOConfig
from minillm.align.ppo import PPO
from minillm.align.rollout import Rollout
from minillm.training import History, group_advantages


@dataclass(frozen=True)
class GRPOConfig(PPOConfig):
    """How to learn from groups of answers."""

    group_size: int = 8  # answers to each prompt
    scale: bool = True  # divide by the deviation of the group
    value_coef: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if self.group_size < 2 or self.batch_size % self.group_size:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of group_size {self.group_size}, which is at least 2"
            )


def reinforce(config: GRPOConfig) -> GRPOConfig:
    """The settings with which GRPO is REINFORCE with the group's mean as its baseline."""
    return replace(config, scale=False, epochs=1, minibatch_size=config.batch_size)


def train_grpo(
    policy, tokenizer, prompts, reward, config: GRPOConfig, evaluate=None, *, reference=None, run=None, **more
) -> History:
    """`train_ppo`, with its arguments, by GRPO; by REINFORCE with the settings of `reinforce`."""
    return GRPO(policy, tokenizer, prompts, reward, config, reference, run).train(evaluate, **more)


class GRPO(PPO):
    """A run of GRPO: what a round asks, and what an answer is worth, differ from PPO; nothing else."""

    times = property(lambda self: self.config.group_size)

    def advantages(self, rollout: Rollout, scores: Tensor, old: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One advantage for all tokens of an answer, (B, T - 1); no returns, since nothing expects them."""
        rewards = scores - self.beta * old["k1"].sum(1)
        groups = group_advantages(rewards.view(-1, self.config.group_size), self.config.scale)
        return groups.view(-1, 1) * rollout.mask, old["values"]
