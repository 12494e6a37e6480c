"""Alignment: from what people prefer to a model that does it.

rollout     what a policy answers, and what anybody makes of each token of it
actor       who takes part in PPO: a policy with its value, and a reference
pairs       both answers of a pair behind one reading of their prompt
reward      a number for an answer, learned from preferences
config      the settings of PPO and its kin
ppo         the only training loop besides `fit`: answers, rewards, and a policy that moves a little
grpo        the same without a value; REINFORCE
dpo         preferences learned directly
best_of     the best of n answers: no training
rlaif       a model's preferences in the place of people's
"""

from minillm.align.best_of import best_of_n, best_of_n_kl, rejection_sampled
from minillm.align.config import PPOConfig
from minillm.align.dpo import train_dpo
from minillm.align.grpo import GRPO, GRPOConfig, reinforce, train_grpo
from minillm.align.ppo import PPO, train_ppo
from minillm.align.reward import Rewards, train_reward
from minillm.align.rlaif import Constitution, agreement, label_with_ai
from minillm.align.rollout import Rollout, sample

__all__ = [
    "GRPO",
    "PPO",
    "Constitution",
    "GRPOConfig",
    "PPOConfig",
    "Rewards",
    "Rollout",
    "agreement",
    "best_of_n",
    "best_of_n_kl",
    "label_with_ai",
    "reinforce",
    "rejection_sampled",
    "sample",
    "train_dpo",
    "train_grpo",
    "train_ppo",
    "train_reward",
]
