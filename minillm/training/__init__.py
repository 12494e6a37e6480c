"""Training: one loop for every objective. Read in this order:

losses        every formula, as a function of tensors: language modelling, preferences, policy optimisation
objectives    loss functions of a model and a batch, as `fit` wants them; preparing: what they look up in a batch before
optim         the table of optimizers, Muon, schedules; plain_optim: each as a formula of tensors, to be read
trainer       TrainConfig and fit: the loop; feed: its batches, ready before they are asked for
runs          the run folder: configuration, weights, checkpoint, log; states: what a checkpoint holds
sequence_to_sequence  one text into another: teacher forcing, for an encoder-decoder
distillation  learning from a teacher's whole distribution
group_losses  of groups of answers to one prompt: GRPO and its relatives
by_parts      the loss of a large vocabulary, whose logits are never in memory together
recompute     activations computed twice, for less memory
claims        who writes into a run folder, and what a killed run leaves behind; following: who only reads it
sharded       a model of which each process holds a part
forgetting    continual learning: L2-SP, EWC, weight averaging, measures of transfer
"""

from minillm.training.by_parts import LARGE, PART, causal_lm_by_parts, causal_objective
from minillm.training.claims import Taken, claimed, claimed_by_name, continued
from minillm.training.distillation import DIVERGENCES, distillation, forward_kl, reverse_kl, teacher_of
from minillm.training.following import following
from minillm.training.forgetting import (
    average_score, backward_transfer, ewc, fisher_diagonal, forward_transfer, interpolate, l2_sp, weights_of,
)  # fmt: skip
from minillm.training.group_losses import WEIGHINGS, groups_that_agree, grpo_policy_loss, leave_one_out
from minillm.training.losses import (
    causal_lm_loss, causal_lm_sum, dpo_loss, gae, group_advantages, info_nce, ipo_loss, kl_estimates,
    masked_lm_loss, masked_lm_sum, masked_mean, ppo_policy_loss, ppo_value_loss, preference_loss, sequence_logprobs,
    simpo_loss, token_entropy, whiten,
)  # fmt: skip
from minillm.training.objectives import (
    as_sum, causal_lm, classification, contrastive, inputs_of, masked_lm, masked_lm_and_next_sentence,
    mean_loss, next_tokens, penalised,
)  # fmt: skip
from minillm.training.optim import (
    OPTIMIZERS, build_optimizer, orthogonalise, schedule, set_rates, split_parameters,
)  # fmt: skip
from minillm.training.plain_optim import (
    PLAIN_STEPS, adam_step, adamw_step, descend, momentum_step, muon_step, sgd_step,
)  # fmt: skip
from minillm.training.preparing import LossFunction, keep_next, places, prepared, preparing
from minillm.training.recompute import recompute, recomputes
from minillm.training.runs import (
    RUNS, RunFolder, describe, knows_template, latest_run, stage_of, load_weights, named_or_latest, unwrap,
)  # fmt: skip
from minillm.training.sharded import Sharded, is_sharded
from minillm.training.sequence_to_sequence import teacher_forced, translate, translation_example
from minillm.training.states import changing
from minillm.training.trainer import History, TrainConfig, fit
