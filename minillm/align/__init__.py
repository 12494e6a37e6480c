"""Alignment: from what people prefer to a model that does it; in the order to read it:

rollout, actor   what a policy answers, token by token; a policy with its value, and its reference
reward           a number for an answer, learned from preferences; pairs: both answers after one reading of the prompt
config, ppo      the settings, and the only training loop besides `fit`; grpo: the same without a value, and REINFORCE
shared, record   a round that several processes share; what is written down of it
dpo              preferences learned directly
best_of          the best of n answers: no training
verifiable       rewards that a program computes; rejection sampling
rlaif            a model's preferences in the place of people's
comparison       answers before and after, sampled and scored
"""

from minillm.align.actor import as_reference, reference_of
from minillm.align.best_of import best_of_n, best_of_n_kl, rejection_sampled
from minillm.align.comparison import compare_answers, sample_answers, true_scores, write_answers
from minillm.align.config import PPOConfig, compute_of
from minillm.align.dpo import (
    LOSSES, direct_preference, logprobs_of_batch, loss_named, margins, train_dpo, with_reference, without_reference,
)  # fmt: skip
from minillm.align.grpo import GRPO, GRPOConfig, reinforce, rloo, train_grpo
from minillm.align.ppo import PPO, train_ppo
from minillm.align.reward import (
    Reward, RewardModelScorer, answer_example, pair_of_answers, preference, rewards_of, train_reward,
)  # fmt: skip
from minillm.align.rlaif import Constitution, agreement, label_with_ai
from minillm.align.rollout import Conversation, Rollout, check_vocabulary, prompt_ids, sample
from minillm.align.verifiable import ExactReward, rejection_sample, sample_each
