"""Every objective, as a function of tensors: no model, no configuration, no device inside.

Labels are aligned with the inputs, as everywhere in the field: `labels[b, t]` is the token at position t, or
`IGNORE_INDEX` where nothing is to be learned. The causal losses shift; nobody else does.

Each loss comes as a sum with the number of terms in it, because a step made of several micro-batches divides once, by
the terms of the whole step, and as the mean that one usually means.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = -100


def masked_lm_sum(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of -log p(label) in nats over the labels that count, and their number. logits (..., V), labels (...)."""
    total = F.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total, (labels != IGNORE_INDEX).sum()


def masked_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(label) over the labels that count; 0, with zero gradient, when none does (Devlin et al. 2019)."""
    total, count = masked_lm_sum(logits, labels)
    return total / count.clamp(min=1)


def causal_lm_sum(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Like `masked_lm_sum`, each position predicting the next label: logits[:, t] against labels[:, t + 1].

    logits (B, T, V) or, as the last token has no successor, (B, T - 1, V); labels (B, T).
    """
    if labels.size(1) - logits.size(1) not in (0, 1):
        raise ValueError(f"logits for {logits.size(1)} positions do not belong to labels of {labels.size(1)}")
    return masked_lm_sum(logits[:, : labels.size(1) - 1], labels[:, 1:])


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log p(next token) in nats over the labels that count (Radford et al. 2018, equation 1).

    >>> causal_lm_loss(torch.zeros(1, 3, 8), torch.tensor([[5, 1, 7]]))   # an untrained model: ln V
    tensor(2.0794)
    """
    total, count = causal_lm_sum(logits, labels)
    return total / count.clamp(min=1)


def sequence_logprobs(logits: Tensor, labels: Tensor, average: bool = False) -> Tensor:
    """log p of each text's labelled tokens, (B,): their sum, or their mean when `average`. Shifts, as `causal_lm_sum`.

    logits (B, T, V) or (B, T - 1, V); labels (B, T). A text without labels has log-probability 0.
    """
    targets = labels[:, 1:]
    logprobs = -F.cross_entropy(
        logits[:, : labels.size(1) - 1].transpose(1, 2).float(), targets, ignore_index=IGNORE_INDEX, reduction="none"
    )  # (B, T - 1), 0 where ignored
    total = logprobs.sum(1)
    return total / (targets != IGNORE_INDEX).sum(1).clamp(min=1) if average else total


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
