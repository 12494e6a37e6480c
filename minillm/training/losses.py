"""Every objective, as a function of tensors: no model, no configuration, no device inside.

`labels[b, t]` is the token at position t, or `IGNORE_INDEX` where nothing is to be learned. The causal losses shift;
nothing else does. Token losses come as a mean, and as a sum with its number of terms, since a step of several
micro-batches divides once, by the terms of the whole step. All others are means, over pairs or the tokens of a mask.
Shapes: B batch, T time, C channels, V vocabulary. Left out: where texts and rewards come from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.data import IGNORE_INDEX

LARGEST_LOG_RATIO = 20.0  # exp of more would only overflow; a policy that moved so far is lost anyway
LossAndRewards = tuple[Tensor, Tensor, Tensor]  # the mean loss; detached, rewards (B,) of the chosen and the rejected

# Language modelling


def masked_lm_sum(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of -log p(label) in nats over the labels that count, and their number. logits (..., V), labels (...)."""
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total, (labels != IGNORE_INDEX).sum()


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label) over the labels that count; 0, with zero gradient, when none does (Devlin et al. 2019)."""
    total, count = masked_lm_sum(logits, labels)
    return total / count.clamp(min=1)


def _shift(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each position predicts the next label: logits (B, T - 1, V) against labels (B, T - 1)."""
    if labels.size(1) - logits.size(1) not in (0, 1):
        raise ValueError(f"logits for {logits.size(1)} positions do not belong to labels of {labels.size(1)}")
    return logits[:, : labels.size(1) - 1], labels[:, 1:]


def causal_lm_sum(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Like `masked_lm_sum`, each position predicting the next label: logits[:, t] against labels[:, t + 1].

    Args: logits: (B, T, V) or, as the last token has no successor, (B, T - 1, V); labels: (B, T).
    """
    return masked_lm_sum(*_shift(logits, labels))


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(next token) in nats over the labels that count; arguments as of `causal_lm_sum`.

    Source: Radford et al. 2018, equation 1.
    >>> causal_lm_loss(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]]))   # an untrained model: ln V
    tensor(2.0794)
    """
    return masked_lm_loss(*_shift(logits, labels))  # equation 1, negated, per token


def token_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """log p of each label in nats, (B, T - 1), 0 where it is ignored; arguments as of `causal_lm_sum`.
    >>> token_logprobs(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]]))
    tensor([[-2.0794, -2.0794]])
    """
    logits, labels = _shift(logits, labels)
    return -F.cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=IGNORE_INDEX, reduction="none")


def sequence_logprobs(logits: Tensor, labels: Tensor, average: bool = False) -> Tensor:
    """Sum (or `average`) of log p of a text's labels in nats, (B,), 0 without any; arguments as of `causal_lm_sum`."""
    total = token_logprobs(logits, labels).sum(1)
    return total / (labels[:, 1:] != IGNORE_INDEX).sum(1).clamp(min=1) if average else total


def token_entropy(logits: Tensor) -> Tensor:
    """The entropy -sum p log p of each prediction, in nats from 0 to ln V: logits (..., V) -> (...).
    >>> token_entropy(torch.zeros(1, 2, 8))
    tensor([[2.0794, 2.0794]])
    """
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(-1)  # 0 log 0 is 0, not nan


# Preferences, and what belongs together


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean -log p(which of the batch belongs to which) in nats, both ways; 0 for an empty batch.

    Args: first, second: (B, C), unit vectors, paired row by row; p is the softmax of their cosines / temperature.
    Source: van den Oord et al. 2018, equation 4.
    >>> info_nce(torch.eye(2), torch.eye(2), temperature=1.0)     # ln(1 + 1/e)
    tensor(0.3133)
    """
    if temperature <= 0:
        raise ValueError(f"the temperature is {temperature}: it must be positive")
    similarity = first.float() @ second.float().T / temperature  # (B, B)
    truth = torch.arange(len(first), device=first.device)
    if not len(first):
        return similarity.sum()
    return (F.cross_entropy(similarity, truth) + F.cross_entropy(similarity.T, truth)) / 2  # equation 4, twice


def _same_shape(**tensors: Tensor) -> None:
    """Refuse to broadcast: (B, 1) beside (B,) would become (B, B), whose mean looks like a loss."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}: they must be of one shape")


def preference_loss(chosen_rewards: Tensor, rejected_rewards: Tensor, margin: float = 0, centre: float = 0) -> Tensor:
    """Mean -log p(the chosen answer wins), a scalar; 0 without pairs.

    Args:
        chosen_rewards, rejected_rewards: (B,), row by row of two answers to one prompt, to differ by `margin` or more
        centre: weight, such as 0.01, of the squared sum of a pair: it draws rewards to 0
    Source: Bradley & Terry 1952; Ouyang et al. 2022, equation 1; Eisenstein et al. 2023, equation 2 (centre).
    >>> preference_loss(torch.tensor([1.0]), torch.tensor([0.0]))     # ln(1 + 1/e)
    tensor(0.3133)
    """
    _same_shape(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    if not 0 <= centre < float("inf"):
        raise ValueError(f"centre is {centre}: it must be a number from 0 up")
    chosen, rejected = chosen_rewards.float(), rejected_rewards.float()
    losses = -F.logsigmoid(chosen - rejected - margin) + centre * (chosen + rejected) ** 2  # equations 1 and 2
    return losses.sum() / max(len(losses), 1)


def _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta: float) -> tuple[Tensor, Tensor]:
    """The rewards for which a policy is optimal, up to a constant of the prompt (Rafailov et al. 2023, equation 5)."""
    _same_shape(chosen=policy_chosen, rejected=policy_rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta (tau in IPO) is {beta}: it must be positive, or nothing is learnt")
    return beta * (policy_chosen - ref_chosen), beta * (policy_rejected - ref_rejected)  # equation 5


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> LossAndRewards:
    """The preference loss of the implicit rewards beta log(policy / reference), and these rewards.

    Args:
        policy_chosen, ..., ref_rejected: (B,), `sequence_logprobs` of the answers, summed
        label_smoothing: share of pairs that may be the wrong way round
    Returns: the loss, ln 2 while policy and reference are equal, and the rewards, whose margin grows; both may fall.
    Source: Rafailov et al. 2023; Mitchell 2023, "A note on DPO with noisy preferences" (label_smoothing).
    >>> same = torch.tensor([-7.0])
    >>> dpo_loss(same, same, same, same, beta=0.1)
    (tensor(0.6931), tensor([0.]), tensor([0.]))
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}: it must be at least 0 and below 0.5, which is a coin")
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    loss, swapped = preference_loss(chosen, rejected), preference_loss(rejected, chosen)  # equation 7
    loss = (1 - label_smoothing) * loss + label_smoothing * swapped  # equation 3 of Mitchell
    return loss, chosen.detach(), rejected.detach()


def ipo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, tau: float
) -> LossAndRewards:
    """Like `dpo_loss`, but the log-ratios are to differ by 1 / (2 tau) and by no more.

    Source: Azar et al. 2023, equation 17.
    >>> ipo_loss(torch.tensor([-6.0]), torch.tensor([-8.0]), torch.tensor([-7.0]), torch.tensor([-7.0]), tau=0.25)
    (tensor(0.), tensor([0.2500]), tensor([-0.2500]))
    """
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, tau)
    losses = ((chosen - rejected) / tau - 1 / (2 * tau)) ** 2  # equation 17
    return losses.sum() / max(len(losses), 1), chosen.detach(), rejected.detach()


def simpo_loss(policy_chosen: Tensor, policy_rejected: Tensor, beta: float, gamma: float) -> LossAndRewards:
    """Like `dpo_loss` without a reference: rewards are beta times the average log p of a token, to differ by `gamma`.

    Args: policy_chosen, policy_rejected: (B,), `sequence_logprobs` with `average=True`.
    Source: Meng et al. 2024, equation 6.
    >>> simpo_loss(torch.tensor([-1.0]), torch.tensor([-2.0]), beta=2.0, gamma=1.0)     # ln(1 + 1/e)
    (tensor(0.3133), tensor([-2.]), tensor([-4.]))
    """
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma is {gamma}: it must be a number from 0 up")
    none = torch.zeros_like(policy_chosen)
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, none, none, beta)
    return preference_loss(chosen, rejected, margin=gamma), chosen.detach(), rejected.detach()  # equation 6


# Policy optimisation


def kl_estimates(logprobs: Tensor, ref_logprobs: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates k1 and k3 of KL(policy || reference) in nats, at tokens sampled from the policy, of any shape.

    Both are unbiased. k1 belongs in the reward, and is negative at some tokens; k3 never is: log this one.
    Source: Schulman 2020, "Approximating KL divergence".
    >>> kl_estimates(torch.tensor([-1.0]), torch.tensor([-2.0]))     # 1, and 1/e - 1 + 1
    (tensor([1.]), tensor([0.3679]))
    """
    k1 = logprobs - ref_logprobs
    return k1, torch.expm1((-k1).clamp(max=LARGEST_LOG_RATIO)) + k1  # expm1: exp(-x) - 1 is all rounding near 0


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x where mask (of its shape) is not 0, a scalar; 0 if it is 0 everywhere. nan elsewhere does no harm."""
    _same_shape(x=x, mask=mask)
    return x.float().masked_fill(mask == 0, 0.0).sum() / (mask != 0).sum().clamp(min=1)


def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """x with variance 1 and mean 0 (or the mean it had, unless `shift_mean`) where mask is not 0; 0 elsewhere.
    >>> whiten(torch.tensor([1.0, 3.0, 99.0]), torch.tensor([1, 1, 0]))
    tensor([-1.,  1.,  0.])
    """
    mean = masked_mean(x, mask)
    centred = x.float() - mean
    scaled = centred * torch.rsqrt(masked_mean(centred**2, mask) + 1e-8)  # 0 for a single value, not 0 / 0
    return (scaled if shift_mean else scaled + mean).masked_fill(mask == 0, 0.0)


@torch.no_grad()
def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates (B, T) of a response's tokens, and returns (advantages + values). No gradient.

    Args:
        rewards, values: (B, T); values[:, t] is what is expected before token t, and is 0 after the last
        mask: (B, T), 1 on the response; other tokens are skipped, wherever they are, and come out as 0
    Source: Schulman et al. 2016, equation 16.
    >>> gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]), torch.ones(1, 2), gamma=1.0, lam=0.5)
    (tensor([[0.2500, 0.5000]]), tensor([[0.7500, 1.0000]]))
    """
    _same_shape(rewards=rewards, values=values, mask=mask)
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma is {gamma} and lam {lam}: both must be from 0 to 1")
    real, advantages = mask != 0, torch.zeros_like(values, dtype=torch.float32)
    advantage = next_value = advantages.new_zeros(len(values))
    for t in reversed(range(values.size(1))):
        delta = rewards[:, t] + gamma * next_value - values[:, t]  # the TD residual
        advantage = torch.where(real[:, t], delta + gamma * lam * advantage, advantage)  # equation 16, summed backwards
        next_value = torch.where(real[:, t], values[:, t], next_value)
        advantages[:, t] = advantage
    return advantages.masked_fill(~real, 0.0), (advantages + values).masked_fill(~real, 0.0)


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped objective of (B, T) tokens, negated, as a mean over the mask, and detached metrics.

    Returns: the loss, and the mean `ratio`, exactly 1 before the first update; the `clip_fraction` of tokens without
        gradient; `approx_kl`, half the mean square of the log-ratio.
    Source: Schulman et al. 2017, equation 7.
    >>> ppo_policy_loss(torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log(), torch.ones(1, 1), torch.ones(1, 1))
    (tensor(-1.2000), {'ratio': tensor(2.), 'clip_fraction': tensor(1.), 'approx_kl': tensor(0.2402)})
    """
    _same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    log_ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)  # else nan in the padding reaches the gradient
    ratio = log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    free, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    metrics = {"ratio": ratio, "clip_fraction": clipped < free, "approx_kl": log_ratio**2 / 2}
    loss = -masked_mean(torch.min(free, clipped), mask)  # equation 7
    return loss, {name: masked_mean(value, mask).detach() for name, value in metrics.items()}


def ppo_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Half the mean squared error of values (B, T) against returns, and the fraction of tokens that were clipped.

    A value gains nothing by moving more than `clip` from the old one: the larger of both errors counts.
    Source: Huang et al. 2022, "The 37 implementation details of PPO", detail 9.
    >>> one = torch.ones(1, 1)
    >>> ppo_value_loss(one, 0 * one, one, one)     # as if it were 0.2: 0.8 squared, halved
    (tensor(0.3200), tensor(1.))
    """
    _same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    values = values.float().masked_fill(mask == 0, 0.0)  # as above
    free = (values - returns) ** 2
    clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns) ** 2
    limited = (clipped > free) & ((values - old_values).abs() > clip)  # else a rounding of `clipped` would count
    return masked_mean(torch.max(free, clipped), mask) / 2, masked_mean(limited, mask).detach()


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """By how many standard deviations each of N answers beats the mean of its group; 0 where all of a group are equal.

    Args: rewards: (G, N), a group a prompt; scale: divide, which favours prompts whose answers hardly differ.
    Source: Shao et al. 2024, section 4.1.2; Liu et al. 2025, "Dr. GRPO", section 3.2 (without scale).
    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.1545, -0.5773, -0.5773]])
    """
    if rewards.dim() != 2 or rewards.size(1) < 2:
        raise ValueError(f"rewards {tuple(rewards.shape)}: they must be (G, N), 2 samples or more for each prompt")
    rewards = rewards.float() - rewards[:, :1]  # equal ones are now 0 exactly; a rounding would be scaled up
    advantages = rewards - rewards.mean(1, keepdim=True)
    deviation = rewards.std(1, keepdim=True)  # divides by N - 1, as most implementations; the papers do not say
    return advantages / (deviation + 1e-4) if scale else advantages
