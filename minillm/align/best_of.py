"""Using a reward without training: the best of several answers, and what that costs in KL divergence.

Best-of-n draws n answers and keeps the one with the highest reward (Stiennon et al. 2020). Its KL divergence from the
policy that draws is bounded without measuring. Rejection sampling keeps the best answers as conversations to tune on.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.align.reward import Reward, rewards_of
from minillm.align.rollout import Conversation, check_vocabulary, prompt_ids, sample
from minillm.text import Tokenizer


def best_of_n_kl(n: int) -> float:
    """An upper bound on the KL divergence of best-of-n from its policy, in nats: ln n - (n - 1) / n.

    Source: Beirami et al. 2024, theorem 1.

    >>> best_of_n_kl(1), best_of_n_kl(4)
    (0.0, 0.6362943611198906)
    """
    if n < 1:
        raise ValueError(f"n is {n}: the best is chosen of at least 1 answer")
    return math.log(n) - (n - 1) / n


def best_of_n(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    reward: Reward,
    n: int,
    max_new_tokens: int = 80,
    generator: torch.Generator | None = None,
    batch_size: int = 128,
) -> tuple[list[str], Tensor]:
    """The best of n sampled answers to each conversation.

    Args: batch_size: answers drawn at a time; generator: on the policy's device.
    Returns: the best answers (B), and the rewards of all, (B, n).
    Raises: ValueError for n < 1 or batch_size < 1, and as `rollout.sample` and `reward.rewards_of`.
    """
    best_of_n_kl(n)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: draw at least 1 answer at a time")
    check_vocabulary(policy, tokenizer, "policy")
    prompt_ids(tokenizer, conversations, policy.config.context)
    repeated = [conversation for conversation in conversations for _ in range(n)]
    answers = []
    for start in range(0, len(repeated), batch_size):
        some = repeated[start : start + batch_size]
        answers += sample(policy, tokenizer, some, max_new_tokens, generator=generator).answers
    rewards = rewards_of(reward, repeated, answers).view(-1, n)
    return [answers[row * n + place] for row, place in enumerate(rewards.argmax(1).tolist())], rewards


def rejection_sampled(conversations: Sequence[Conversation], answers: Sequence[str]) -> list[list[dict[str, str]]]:
    """Conversations with the answers that were kept: to tune on, as any others."""
    return [[*c, {"role": "assistant", "content": answer}] for c, answer in zip(conversations, answers, strict=True)]
