"""What an answer is worth among others to the same prompt, and the clipped loss of its tokens: GRPO and its relatives.

The baseline of an answer is the mean of its group (`losses.group_advantages`, with the deviation or without), or that
of the others alone (RLOO). The loss is PPO's, with a bound of its own upwards (*clip-higher*), and three ways of
weighing tokens: each token alike, each answer alike, or each token by a constant, so that long answers weigh more.
Shapes: B answers, G groups of N answers, T time.
"""

import torch
from torch import Tensor

from minillm.training.losses import LARGEST_LOG_RATIO, masked_mean

WEIGHINGS = ("token", "answer", "constant")


def leave_one_out(rewards: Tensor) -> Tensor:
    """By how much each of N answers beats the mean of the others, (G, N): unbiased, as the baseline does not hold it.

    It is N / (N - 1) times the distance from the mean of all.
    Raises: ValueError for groups of fewer than 2.
    Source: Kool et al. 2019; Ahmadian et al. 2024, "Back to Basics", section 3.1 (RLOO).
    >>> leave_one_out(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.0000, -0.5000, -0.5000]])
    """
    if rewards.dim() != 2 or rewards.size(1) < 2:
        raise ValueError(f"rewards {tuple(rewards.shape)}: they must be (G, N), 2 samples or more for each prompt")
    rewards = rewards.float()
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / (rewards.size(1) - 1)


def groups_that_agree(rewards: Tensor) -> Tensor:
    """Which groups (G,) have equal rewards in all their N answers: nothing is to be learned from them.

    Source: Yu et al. 2025, "DAPO", section 3.2, which leaves them out.
    """
    return (rewards == rewards[:, :1]).all(1)


def grpo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2,
    clip_high: float | None = None, weigh: str = "token", longest: int = 0,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """PPO's clipped objective of (B, T) tokens, negated, with what GRPO's descendants changed; metrics as PPO's.

    Args:
        clip: how far a token's ratio may fall; clip_high: how far it may rise, None: as far. An unlikely token can
            rise more with it (Yu et al. 2025, DAPO, section 3.1)
        weigh: "token", the mean over all tokens (DAPO, section 3.3); "answer", the mean over answers of the means of
            their tokens (Shao et al. 2024, equation 3): a token of a long answer counts less; "constant", the sum over
            tokens / (B longest) (Liu et al. 2025, "Dr. GRPO", section 3.2)
        longest: for "constant", the most tokens that an answer can have
    Raises: ValueError for another weighing.
    """
    high = clip if clip_high is None else clip_high
    log_ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)
    ratio = log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    free, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + high) * advantages
    metrics = {"ratio": ratio, "clip_fraction": clipped < free, "approx_kl": log_ratio**2 / 2}
    gains = torch.min(free, clipped).float().masked_fill(mask == 0, 0.0)
    if weigh == "token":
        loss = -masked_mean(gains, mask)
    elif weigh == "answer":
        loss = -(gains.sum(1) / (mask != 0).sum(1).clamp(min=1)).mean()
    elif weigh == "constant":
        if longest < 1:
            raise ValueError(f"longest is {longest}: with weigh='constant' say how many tokens an answer can have")
        loss = -gains.sum() / (len(gains) * longest)
    else:
        raise ValueError(f"weigh is {weigh!r}: choose one of {', '.join(WEIGHINGS)}")
    return loss, {name: masked_mean(value, mask).detach() for name, value in metrics.items()}
