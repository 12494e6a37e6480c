"""Every objective, as a function of tensors: no model, no configuration, no device inside.

Labels are aligned with the inputs, as everywhere in the field: `labels[b, t]` is the token at position t, or
`IGNORE_INDEX` where nothing is to be learned. The causal losses shift; nobody else does.

Each token loss comes as a sum with the number of terms in it, because a step made of several micro-batches divides
once, by the terms of the whole step, and as the mean that one usually means. What learns from preferences or rewards
comes as the mean alone, over the pairs or over the tokens of a mask: times their number it is the sum.

Shapes: B batch, T time, V vocabulary. Left out: where texts and rewards come from.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.data import IGNORE_INDEX

LARGEST_LOG_RATIO = 20.0  # exp of more would only overflow; a policy that moved so far is lost anyway


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

    logits (B, T, V) or, as the last token has no successor, (B, T - 1, V); labels (B, T).
    """
    return masked_lm_sum(*_shift(logits, labels))


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(next token) in nats over the labels that count (Radford et al. 2018, equation 1).

    >>> causal_lm_loss(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]]))   # an untrained model: ln V
    tensor(2.0794)
    """
    total, count = causal_lm_sum(logits, labels)
    return total / count.clamp(min=1)


def token_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """log p of each label in nats, (B, T - 1), 0 where it is ignored. Shifts, as `causal_lm_sum`.

    >>> token_logprobs(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]]))
    tensor([[-2.0794, -2.0794]])
    """
    logits, labels = _shift(logits, labels)
    return -F.cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=IGNORE_INDEX, reduction="none")


def sequence_logprobs(logits: Tensor, labels: Tensor, average: bool = False) -> Tensor:
    """log p of each text's labelled tokens, (B,): their sum, or their mean when `average`. Shifts, as `causal_lm_sum`.

    logits (B, T, V) or (B, T - 1, V); labels (B, T). A text without labels has log-probability 0.
    """
    total = token_logprobs(logits, labels).sum(1)
    return total / (labels[:, 1:] != IGNORE_INDEX).sum(1).clamp(min=1) if average else total


def token_entropy(logits: Tensor) -> Tensor:
    """How undecided the model is at each place, -sum p log p in nats: logits (..., V) -> (...), from 0 to ln V.

    >>> token_entropy(torch.zeros(1, 2, 8))
    tensor([[2.0794, 2.0794]])
    """
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs.clamp(min=torch.finfo(torch.float32).min)).sum(-1)  # 0 log 0 is 0, not nan


def info_nce(first: Tensor, second: Tensor, temperature: float = 0.05) -> Tensor:
    """Mean -log p(which of the batch belongs to which), in nats, both ways (van den Oord et al. 2018, equation 4).

    first and second (B, C) are vectors of length 1 of texts that belong together row by row; every other row is a
    negative. p is the softmax of their cosines / temperature. An empty batch has loss 0.

    >>> info_nce(torch.eye(2), torch.eye(2), temperature=1.0)     # ln(1 + 1/e)
    tensor(0.3133)
    """
    if temperature <= 0:
        raise ValueError(f"the temperature is {temperature}: it must be positive")
    similarity = first.float() @ second.float().T / temperature  # (B, B)
    truth = torch.arange(len(first), device=first.device)
    if not len(first):
        return similarity.sum()
    return (F.cross_entropy(similarity, truth) + F.cross_entropy(similarity.T, truth)) / 2


def _same_shape(**tensors: Tensor) -> None:
    """Nothing is broadcast here: (B, 1) beside (B,) would become (B, B), and its mean looks like a loss."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}: they must be of one shape")


def preference_loss(chosen_rewards: Tensor, rejected_rewards: Tensor, margin: float = 0, centre: float = 0) -> Tensor:
    """Mean -log p(the chosen text wins), a scalar (Bradley & Terry 1952; Ouyang et al. 2022, equation 1).

    Both (B,), row by row two answers to one prompt. Only their difference counts, which is to exceed `margin`; `centre`
    (such as 0.01) draws the sum of each pair to 0 (Eisenstein et al. 2023, equation 2). Without pairs it is 0.

    >>> preference_loss(torch.tensor([1.0]), torch.tensor([0.0]))     # ln(1 + 1/e)
    tensor(0.3133)
    """
    _same_shape(chosen_rewards=chosen_rewards, rejected_rewards=rejected_rewards)
    if not 0 <= centre < float("inf"):
        raise ValueError(f"centre is {centre}: it must be a number from 0 up")
    chosen, rejected = chosen_rewards.float(), rejected_rewards.float()
    losses = -F.logsigmoid(chosen - rejected - margin) + centre * (chosen + rejected) ** 2  # equation 1, and 2
    return losses.sum() / max(len(losses), 1)


def _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta: float) -> tuple[Tensor, Tensor]:
    """The rewards for which a policy is optimal, but for a constant that cancels (Rafailov et al. 2023, equation 5)."""
    _same_shape(chosen=policy_chosen, rejected=policy_rejected, ref_chosen=ref_chosen, ref_rejected=ref_rejected)
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta (tau in IPO) is {beta}: it must be positive, or nothing is learnt")
    return beta * (policy_chosen - ref_chosen), beta * (policy_rejected - ref_rejected)


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    ref_chosen: Tensor,
    ref_rejected: Tensor,
    beta: float,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """The preference loss of the rewards beta log(policy / reference), and these rewards (Rafailov et al. 2023).

    The first four (B,) are `sequence_logprobs`, sums over the answer. Returns the mean loss and, detached, the rewards
    (B,) of the chosen and of the rejected. The loss begins at ln 2, policy and reference being one; from there the
    margin between the rewards has to grow, while both of them may well fall. `label_smoothing` is the share of pairs
    that may be the wrong way round (Mitchell 2023, "A note on DPO with noisy preferences").

    >>> same = torch.tensor([-7.0])
    >>> dpo_loss(same, same, same, same, beta=0.1)
    (tensor(0.6931), tensor([0.]), tensor([0.]))
    """
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}: it must be at least 0 and below 0.5, which is a coin")
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta)
    loss, swapped = preference_loss(chosen, rejected), preference_loss(rejected, chosen)  # equation 7
    loss = (1 - label_smoothing) * loss + label_smoothing * swapped  # Mitchell's equation 3
    return loss, chosen.detach(), rejected.detach()


def ipo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, tau: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Like `dpo_loss`, but the log-ratios are to differ by 1 / (2 tau) and by no more (Azar et al. 2023, equation 17).

    >>> ipo_loss(torch.tensor([-6.0]), torch.tensor([-8.0]), torch.tensor([-7.0]), torch.tensor([-7.0]), tau=0.25)
    (tensor(0.), tensor([0.2500]), tensor([-0.2500]))
    """
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, ref_chosen, ref_rejected, tau)
    losses = ((chosen - rejected) / tau - 1 / (2 * tau)) ** 2  # equation 17
    return losses.sum() / max(len(losses), 1), chosen.detach(), rejected.detach()


def simpo_loss(
    policy_chosen: Tensor, policy_rejected: Tensor, beta: float, gamma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Like `dpo_loss` without a reference: rewards are beta times the average log-probability of a token, and are to
    differ by `gamma` or more (Meng et al. 2024, equation 6). Both (B,): `sequence_logprobs` with `average=True`.

    >>> simpo_loss(torch.tensor([-1.0]), torch.tensor([-2.0]), beta=2.0, gamma=1.0)     # ln(1 + 1/e)
    (tensor(0.3133), tensor([-2.]), tensor([-4.]))
    """
    if not 0 <= gamma < float("inf"):
        raise ValueError(f"gamma is {gamma}: it must be a number from 0 up")
    none = torch.zeros_like(policy_chosen)
    chosen, rejected = _implicit_rewards(policy_chosen, policy_rejected, none, none, beta)
    return preference_loss(chosen, rejected, margin=gamma), chosen.detach(), rejected.detach()  # equation 6


def kl_estimates(logprobs: Tensor, ref_logprobs: Tensor) -> tuple[Tensor, Tensor]:
    """Estimates k1 and k3 of KL(policy || reference) at tokens drawn from the policy, any shape (Schulman 2020).

    Both are right on average. k1 belongs in the reward, and is negative at some tokens; k3 never is: log this one.

    >>> kl_estimates(torch.tensor([-1.0]), torch.tensor([-2.0]))     # 1, and 1/e - 1 + 1
    (tensor([1.]), tensor([0.3679]))
    """
    k1 = logprobs - ref_logprobs
    return k1, torch.expm1((-k1).clamp(max=LARGEST_LOG_RATIO)) + k1  # expm1: exp(-x) - 1 is all rounding near 0


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean, a scalar, of x where mask (of its shape) is not 0; 0 where nothing is. nan elsewhere does not matter."""
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
    """Advantages, and returns (advantages + values), of a response's tokens, (B, T) (Schulman et al. 2016, eq. 16).

    rewards, values and mask (B, T); the mask is 1 on the response. values[:, t] is what is expected before token t, and
    0 after the last. What the mask leaves out is passed over, wherever it is, and comes out as 0. No gradient.

    >>> gae(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, 0.5]]), torch.ones(1, 2), gamma=1.0, lam=0.5)
    (tensor([[0.2500, 0.5000]]), tensor([[0.7500, 1.0000]]))
    """
    _same_shape(rewards=rewards, values=values, mask=mask)
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma is {gamma} and lam {lam}: both must be from 0 to 1")
    real, advantages = mask != 0, torch.zeros_like(values, dtype=torch.float32)
    advantage = next_value = advantages.new_zeros(len(values))
    for t in reversed(range(values.size(1))):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = torch.where(real[:, t], delta + gamma * lam * advantage, advantage)  # equation 16, summed backwards
        next_value = torch.where(real[:, t], values[:, t], next_value)
        advantages[:, t] = advantage
    return advantages.masked_fill(~real, 0.0), (advantages + values).masked_fill(~real, 0.0)


def ppo_policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float = 0.2
) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped objective, negated, mean over the mask, and what to watch (Schulman et al. 2017, equation 7).

    All (B, T). To watch, detached: the mean `ratio`, exactly 1 before the first update; the `clip_fraction` of tokens
    that learn nothing more; `approx_kl`, half the mean square of the log-ratio.

    >>> ppo_policy_loss(torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log(), torch.ones(1, 1), torch.ones(1, 1))
    (tensor(-1.2000), {'ratio': tensor(2.), 'clip_fraction': tensor(1.), 'approx_kl': tensor(0.2402)})
    """
    _same_shape(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask)
    log_ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)  # or nan in the padding spoils the gradient
    ratio = log_ratio.clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    free, clipped = ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages
    metrics = {"ratio": ratio, "clip_fraction": clipped < free, "approx_kl": log_ratio**2 / 2}
    loss = -masked_mean(torch.min(free, clipped), mask)  # equation 7
    return loss, {name: masked_mean(value, mask).detach() for name, value in metrics.items()}


def ppo_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Half the mean squared error of values (B, T) against returns, and the fraction of tokens where the limit counted.

    A value gains nothing by moving more than `clip` from the old one: of the errors with and without this limit the
    larger counts (Huang et al. 2022, "The 37 implementation details of PPO", detail 9).

    >>> one = torch.ones(1, 1)
    >>> ppo_value_loss(one, 0 * one, one, one)     # as if it were 0.2: 0.8 squared, halved
    (tensor(0.3200), tensor(1.))
    """
    _same_shape(values=values, old_values=old_values, returns=returns, mask=mask)
    values = values.float().masked_fill(mask == 0, 0.0)  # as above
    free = (values - returns) ** 2
    clipped = (old_values + (values - old_values).clamp(-clip, clip) - returns) ** 2
    return masked_mean(torch.max(free, clipped), mask) / 2, masked_mean(clipped > free, mask).detach()


def group_advantages(rewards: Tensor, scale: bool = True) -> Tensor:
    """By how many standard deviations each of N answers beats the mean of its group (Shao et al. 2024, section 4.1.2).

    rewards (G, N), a group for each prompt -> (G, N); 0 where all of a group are equal. Without `scale` it is not
    divided, which favoured prompts whose answers hardly differ (Dr. GRPO: Liu et al. 2025, section 3.2). The deviation
    divides by N - 1, as in most implementations; the papers do not say.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([[ 1.1545, -0.5773, -0.5773]])
    """
    if rewards.dim() != 2 or rewards.size(1) < 2:
        raise ValueError(f"rewards {tuple(rewards.shape)}: they must be (G, N), 2 samples or more for each prompt")
    rewards = rewards.float() - rewards[:, :1]  # equal ones are now 0 exactly; a rounding would be scaled up
    advantages = rewards - rewards.mean(1, keepdim=True)
    return advantages / (rewards.std(1, keepdim=True) + 1e-4) if scale else advantages
