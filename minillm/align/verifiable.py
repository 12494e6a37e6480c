"""Rewards that a program computes: nothing is learned that could be fooled, and right is right.

Lambert et al. 2024 ("Tülu 3", verifiable rewards); DeepSeek-AI 2025 ("DeepSeek-R1"). `ExactReward` checks answers to
the puzzles of `tales`; any function of conversations and answers does the same for other tasks. Relatives of learning
from it: keeping the answers that are right, to tune on (`rejection_sample`: Zelikman et al. 2022, "STaR"; Yuan et al.
2023), and counting how often one of k samples is right (`metrics.pass_at_k`).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm import tales
from minillm.align.best_of import rejection_sampled
from minillm.align.reward import Reward, rewards_of
from minillm.align.rollout import Conversation, sample
from minillm.text import Tokenizer

AT_ONCE = 256  # answers that are sampled together


class ExactReward:
    """1 for a right result, else 0; with `process` as much again for the share of steps that are right."""

    context = math.inf  # it reads answers of any length
    mean, deviation = 0.0, 1.0  # as of a reward model: this one is as it is

    def __init__(self, process: float = 0.0):
        self.process = process

    def __call__(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
        """Rewards (B,). Raises ValueError for a prompt that is no puzzle."""
        verdicts = [tales.verify(c[-1]["content"], answer) for c, answer in zip(conversations, answers, strict=True)]
        return torch.tensor([float(v.right) + self.process * v.steps_right / v.steps for v in verdicts])

    def standardise(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> None:
        """Nothing: 0 and 1 mean what they say."""


def sample_each(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    n: int,
    max_new_tokens: int = 80,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> list[list[str]]:
    """`n` answers to each conversation. Raises ValueError for n < 1, and as `rollout.sample`."""
    if n < 1:
        raise ValueError(f"n is {n}: draw at least 1 answer to each")
    repeated = [conversation for conversation in conversations for _ in range(n)]
    answers: list[str] = []
    for start in range(0, len(repeated), AT_ONCE):
        some = repeated[start : start + AT_ONCE]
        answers += sample(policy, tokenizer, some, max_new_tokens, temperature, generator).answers
    return [answers[place : place + n] for place in range(0, len(answers), n)]


def rejection_sample(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    reward: Reward,
    n: int,
    least: float = 1.0,
    **sampling,
) -> list[list[dict[str, str]]]:
    """Conversations with those of `n` sampled answers whose reward is `least` at least, each once: to tune on.

    Args: sampling: as of `sample_each`.
    """
    kept, answered = [], []
    for conversation, answers in zip(conversations, sample_each(policy, tokenizer, conversations, n, **sampling)):
        different = list(dict.fromkeys(answers))
        rewards = rewards_of(reward, [conversation] * len(different), different).tolist()
        good = [answer for answer, value in zip(different, rewards) if value >= least]
        kept += [conversation] * len(good)
        answered += good
    return rejection_sampled(kept, answered)
