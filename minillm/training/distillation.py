"""Distillation: learning from all that a teacher expects next, not from the one token that came.

A teacher is any function from ids (B, T) to log-probabilities of the next tokens (B, T, V): another model, or a world
that is known exactly. *Forward* KL divergence, KL(teacher || student), makes the student cover whatever the teacher
holds possible (Hinton et al. 2015); *reverse*, KL(student || teacher), makes it avoid what the teacher holds
impossible (Gu et al. 2024, "MiniLLM"). On texts of a corpus this is off-policy; on texts of the student's own,
on-policy, it is corrected where it goes (Agarwal et al. 2024, "GKD"). Left out: layers, attention maps, sequences.

Shapes: B batch, T time, N positions, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX
from minillm.models import evaluating
from minillm.training.objectives import LossFunction, next_tokens

Teacher = Callable[[Tensor, Tensor | None], Tensor]  # ids and mask (B, T) -> log-probabilities (B, T, V)
LEAST = -30.0  # nats: what is impossible to a teacher counts as this, or the reverse divergence would be infinite


def _kl(first: Tensor, second: Tensor) -> Tensor:
    """KL(first || second) of log-probabilities (..., V), in nats, (...)."""
    return (first.exp() * (first - second)).sum(-1)


def forward_kl(teacher_logprobs: Tensor, student_logits: Tensor) -> Tensor:
    """KL(teacher || student) at each position, (...), in nats: 0 where they agree; (..., V) both.

    Its gradient is that of the cross-entropy with the teacher's probabilities as soft labels.
    Source: Hinton et al. 2015, section 2.
    >>> forward_kl(torch.tensor([[1.0, 0.0]]).log(), torch.zeros(1, 2))   # ln 2
    tensor([0.6931])
    """
    return _kl(teacher_logprobs.float().clamp(min=LEAST), student_logits.float().log_softmax(-1))


def reverse_kl(teacher_logprobs: Tensor, student_logits: Tensor) -> Tensor:
    """KL(student || teacher) at each position, as `forward_kl`.

    Source: Gu et al. 2024, equation 1, at single tokens.
    >>> reverse_kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[50.0, 0.0]]))   # ln 2, and no need to cover both
    tensor([0.6931])
    """
    return _kl(student_logits.float().log_softmax(-1), teacher_logprobs.float().clamp(min=LEAST))


DIVERGENCES = {"forward": forward_kl, "reverse": reverse_kl}


def teacher_of(model: nn.Module) -> Teacher:
    """A model as a teacher, without gradients."""

    @torch.no_grad()
    def teacher(ids: Tensor, mask: Tensor | None = None) -> Tensor:
        with evaluating(model):
            return model(ids, mask).float().log_softmax(-1)

    return teacher


def distillation(teacher: Teacher, kind: str = "forward", temperature: float = 1.0, share: float = 1.0) -> LossFunction:
    """A loss for `fit`: the divergence between teacher and student where a batch has labels, summed, and their number.

    Args:
        kind: a key of DIVERGENCES
        temperature: divides the log-probabilities of both; the loss is multiplied by its square, so that gradients
            keep their size
        share: of the divergence; the rest is the loss of the labels themselves
    Raises: ValueError for another kind, a temperature of 0 or less, and a share outside [0, 1].
    """
    if kind not in DIVERGENCES:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(DIVERGENCES)}")
    if not 0 < temperature < float("inf") or not 0 <= share <= 1:
        raise ValueError(f"temperature is {temperature} and share {share}: positive, and between 0 and 1")

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        logits, labels = next_tokens(model, batch)  # (N, V), (N,)
        mask, ids = batch.get("attention_mask"), batch["input_ids"][:, :-1]
        wanted = teacher(ids, None if mask is None else mask[:, :-1])
        wanted = wanted.to(logits.device)[batch["labels"][:, 1:] != IGNORE_INDEX]
        soft = wanted.float() if temperature == 1 else (wanted.float() / temperature).log_softmax(-1)
        total = temperature**2 * DIVERGENCES[kind](soft, logits.float() / temperature).sum()
        if share < 1:
            hard = nn.functional.cross_entropy(logits.float(), labels, reduction="sum")
            total = share * total + (1 - share) * hard
        return total, torch.tensor(len(labels), device=logits.device)

    return loss
