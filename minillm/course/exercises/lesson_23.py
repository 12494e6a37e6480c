"""Graders of lesson 23: the best policy, how likely a letter is, what a pair pulls, noise that one knows."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.data import IGNORE_INDEX
from minillm.training import dpo_loss, sequence_logprobs


@exercise("best_policy")
def grade_best_policy(answer: Callable) -> None:
    """Three answers by hand, another beta, equal rewards, rewards that are too large for exp, and random ones."""
    reference, rewards = [0.2, 0.5, 0.3], [2.0, 1.0, 0.0]
    p, r = torch.tensor(reference), torch.tensor(rewards)
    came = _tensor(answer(list(reference), list(rewards), 1.0))
    slips = [
        (p * r.exp(), "That does not add up to 1: divide by the sum, Z."),
        (r.softmax(0), "The reference is missing: each weight is its probability times exp(reward / beta)."),
        ((p + r).softmax(0), "The reference's probability is a factor: in the exponent stands its logarithm."),
        ((p.log() - r).softmax(0), "The sign is turned round: a higher reward makes an answer likelier."),
        (p * r / (p * r).sum(), "The weight is exp(reward / beta), not the reward itself."),
    ]
    expect(came, (p.log() + r).softmax(0), likely_slip(came, slips, "The weights are 1.478, 1.359 and 0.3."))
    came = _tensor(answer(list(reference), list(rewards), 0.5))
    slips = [
        ((p.log() + 0.5 * r).softmax(0), "Divide the reward by beta: a small beta lets it count for more."),
        ((p.log() + r).softmax(0), "beta is missing: exp(reward / beta)."),
        ((p.log() / 0.5 + r / 0.5).softmax(0), "beta divides the reward alone, not the logarithm of the reference."),
    ]
    expect(came, (p.log() + 2 * r).softmax(0), likely_slip(came, slips, "With beta 0.5 the rewards count twice."))
    came = _tensor(answer(list(reference), [3.0, 3.0, 3.0], 1.0))
    expect(came, p, "Where all rewards are equal, nothing is better than the reference.")
    came = _tensor(answer(list(reference), [1000.0, 999.0, 998.0], 1.0))
    slip = "nan or inf: exp of 1000 is too large. Only differences count, so take the largest away first."
    expect(came, (p.log() + r).softmax(0), slip)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        p, r = torch.rand(6, generator=generator).softmax(0), torch.randn(6, generator=generator)
        beta = 0.1 + torch.rand((), generator=generator).item()
        came = _tensor(answer(p.tolist(), r.tolist(), beta))
        expect(came, (p.log() + r / beta).softmax(0), f"With beta {beta:.3f} and six answers it differs.")


@exercise("letter_logprob")
def grade_letter_logprob(answer: Callable) -> None:
    """An even model by hand, a table that names the slips, and the library's function on random texts."""
    came = _number(answer(torch.zeros(5, 4), torch.tensor([0, 1, 2, 3, 0]), 2))
    each = -math.log(4)
    slips = [
        (each, "The sum over the tokens, not their mean."),
        (4 * each, "The tokens of the prompt do not count, only what stands behind it."),
        (5 * each, "The tokens of the prompt do not count, only what stands behind it."),
        (2 * each, "Three tokens stand behind the prompt, and each counts, the first and the last too."),
        (-3 * each, "A log-probability is negative: this is its loss."),
        (0.0, "Logits are no log-probabilities yet: log_softmax first."),
    ]
    expect(came, 3 * each, likely_slip(came, slips, "Three tokens, each with probability 1/4."))
    generator = torch.Generator().manual_seed(0)
    for prompt in (1, 3, 6):
        logits, ids = torch.randn(8, 5, generator=generator), torch.randint(5, (8,), generator=generator)
        labels = ids.clone()
        labels[:prompt] = IGNORE_INDEX
        expected = sequence_logprobs(logits[None], labels[None]).item()
        came = _number(answer(logits.clone(), ids.clone(), prompt))
        logprobs = logits.log_softmax(-1)
        own = logprobs.gather(1, ids[:, None]).squeeze(1)  # as if each place spoke of itself
        following = logprobs[:-1].gather(1, ids[1:, None]).squeeze(1)
        slips = [
            (own[prompt:].sum(), "The rows are one place too far: the token at place t is said by the row t - 1."),
            (own[prompt:-1].sum(), "The rows are one place too far: the token at place t is said by the row t - 1."),
            (following[prompt:].sum(), "The letter's first token is missing: the prompt's last row says it."),
            (following[prompt - 1 : -1].sum(), "The letter's last token is missing: its end counts, too."),
            (following.sum(), "The tokens of the prompt do not count, only what stands behind it."),
            (logits[:-1].gather(1, ids[1:, None])[prompt - 1 :].sum(), "Logits are no log-probabilities yet."),
        ]
        slip = likely_slip(came, slips, "The rows prompt - 1 up to the last but one, each at the token that follows.")
        expect(came, expected, slip)


@exercise("preference_pull")
def grade_preference_pull(answer: Callable) -> None:
    """A pair at the start, one that is won, a batch of two, and the library's loss differentiated."""
    at = torch.tensor([-7.0])
    came = _two(answer(at, at, at, at, 0.5), 1)
    slips = [
        ([0.25, -0.25], "The signs are turned round: to lower the loss the chosen must rise, so its gradient is < 0."),
        ([-0.5, 0.5], "The derivative of -ln sigma(z) is -sigma(-z), and sigma(0) is a half; beta is a factor."),
        ([-1.0, 1.0], "That is without beta and without sigma: -beta sigma(-beta h)."),
        ([-0.25, -0.25], "The rejected is pulled the other way: h falls when it rises."),
        ([0.0, 0.0], "At the start the pull is not 0, though h is: sigma(0) is a half."),
    ]
    expect(came, [-0.25, 0.25], likely_slip(came, slips, "h is 0, sigma(0) a half, and beta 0.5."))
    generator = torch.Generator().manual_seed(0)
    for n, beta in ((1, 0.5), (2, 0.1), (5, 1.3)):
        given = [torch.randn(n, generator=generator) * 3 - 10 for _ in range(4)]
        own = [part.clone().requires_grad_() for part in given[:2]]
        dpo_loss(*own, *given[2:], beta=beta)[0].backward()
        expected = torch.stack([part.grad for part in own])
        came = _two(answer(*(part.clone() for part in given), beta), n)
        h = (given[0] - given[2]) - (given[1] - given[3])
        slips = [
            (_pull(beta * torch.sigmoid(beta * h) / n), "A pair that is already won pulls less: sigma(-beta h)."),
            (_pull(torch.sigmoid(-beta * h) / n), "beta stands before h, and so comes out as a factor, too."),
            (_pull(beta * torch.sigmoid(-h) / n), "Inside sigma h is multiplied by beta."),
            (_pull(beta * torch.sigmoid(-beta * (given[0] - given[1])) / n), "The reference is missing in h."),
            (n * expected, "The loss is a mean over the pairs: divide by their number."),
            (torch.full((2, n), beta / 2 / n) * torch.tensor([[-1.0], [1.0]]), "That is the pull at h = 0 alone."),
        ]
        slip = likely_slip(came, [(row.flatten().tolist(), text) for row, text in slips], f"{n} pairs, beta {beta}.")
        expect(came, expected.flatten().tolist(), slip)


@exercise("robust_dpo")
def grade_robust_dpo(answer: Callable) -> None:
    """Where nothing has moved, no noise, a pair by hand, the mean over the flips, and log-ratios that overflow exp."""
    at = torch.full((2,), -7.0)
    came = _number(answer(at, at, at, at, 0.1, 0.1))
    slips = [
        (0.8 * math.log(2), "Divide by 1 - 2 flipped: the weights must add up to 1."),
        (2 * math.log(2), "The mean over the pairs, not their sum."),
        (math.log(2) / 0.8, "That is label smoothing, with a plus, divided: the swapped pairs' loss is taken away."),
    ]
    expect(came, math.log(2), likely_slip(came, slips, "Where h is 0 both losses are ln 2."))
    generator = torch.Generator().manual_seed(0)
    some = [torch.randn(3, generator=generator) * 4 - 10 for _ in range(4)]
    plain = dpo_loss(*some, beta=0.5)[0].item()
    came = _number(answer(*(part.clone() for part in some), 0.5, 0.0))
    expect(came, plain, "Without noise it is the DPO loss.")
    swapped = dpo_loss(some[1], some[0], some[3], some[2], beta=0.5)[0].item()
    came = _number(answer(*(part.clone() for part in some), 0.5, 0.2))
    expected = (0.8 * plain - 0.2 * swapped) / 0.6
    slips = [
        (0.8 * plain + 0.2 * swapped, "That is label smoothing, with a plus: it makes less sure. This one subtracts."),
        (0.8 * plain - 0.2 * swapped, "Divide by 1 - 2 flipped: the weights must add up to 1."),
        ((0.8 * swapped - 0.2 * plain) / 0.6, "The two losses have changed places: L(h) has the weight 1 - flipped."),
        ((0.8 * plain + 0.2 * swapped) / 0.6, "That is label smoothing, with a plus: this one subtracts."),
        (3 * expected, "The mean over the pairs, not their sum."),
    ]
    expect(came, expected, likely_slip(came, slips, "(0.8 L(h) - 0.2 L(-h)) / 0.6, over three pairs."))
    turned = _number(answer(some[1].clone(), some[0].clone(), some[3].clone(), some[2].clone(), 0.5, 0.2))
    slip = "Over the flips its mean must be the loss without them."
    expect(0.8 * came + 0.2 * turned, plain, slip, tolerance=1e-3)
    far = torch.tensor([-300.0])
    came = _number(answer(far, -far, far * 0, far * 0, 1.0, 0.1))
    slip = "With large log-ratios exp overflows: use logsigmoid."
    expect(came, 0.9 * 600 / 0.8, slip)


def _pull(size: Tensor) -> Tensor:
    """The gradients by the chosen and by the rejected, (2, B), of pulls (B,)."""
    return torch.stack([-size, size])


def _tensor(came) -> Tensor:
    if not isinstance(came, Tensor | list | tuple):
        raise Wrong(f"it gave {came!r} where a probability for each answer was expected.")
    return torch.as_tensor(came).float()


def _number(came) -> float:
    try:
        return float(came)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"it gave {came!r} where one number was expected.") from None


def _two(came, n: int) -> list[float]:
    """Both gradients, one behind the other."""
    if not isinstance(came, list | tuple) or len(came) != 2:
        raise Wrong(f"it gave {came!r} where two tensors were expected.")
    parts = [torch.as_tensor(part).float().flatten() for part in came]
    if any(len(part) != n for part in parts):
        raise Wrong(f"it gave {[len(part) for part in parts]} numbers where {n} for each side were expected.")
    return torch.cat(parts).tolist()
