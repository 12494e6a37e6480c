"""The slips that people make in lesson 23 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest
import torch
from torch.nn.functional import logsigmoid

from minillm.course.exercises import grade


def right_policy(reference, rewards, beta):
    return (torch.tensor(reference).log() + torch.tensor(rewards) / beta).softmax(0)


def right_letter(logits, ids, prompt):
    return logits.log_softmax(-1)[prompt - 1 : -1].gather(1, ids[prompt:, None]).sum()


def gap(chosen, rejected, ref_chosen, ref_rejected):
    return (chosen - ref_chosen) - (rejected - ref_rejected)


def right_pull(a, b, c, d, beta):
    size = beta * torch.sigmoid(-beta * gap(a, b, c, d)) / len(a)
    return -size, size


def right_robust(a, b, c, d, beta, flipped):
    h = gap(a, b, c, d)
    return -(((1 - flipped) * logsigmoid(beta * h) - flipped * logsigmoid(-beta * h)) / (1 - 2 * flipped)).mean()


NAMES = {
    "best_policy": right_policy,
    "letter_logprob": right_letter,
    "preference_pull": right_pull,
    "robust_dpo": right_robust,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_right_answer_is_right(name):
    assert grade(name, NAMES[name]).status == "right", grade(name, NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_not_answered_yet(name):
    def stub(*_):
        """A docstring, and nothing else."""
        ...

    assert grade(name, stub).status == "not answered yet"


def by_exp(reference, rewards, beta):
    weights = torch.tensor(reference) * (torch.tensor(rewards) / beta).exp()
    return weights / weights.sum()


def own_rows(logits, ids, prompt):
    return logits.log_softmax(-1).gather(1, ids[:, None])[prompt:].sum()


def of_places(first, last):
    """The sum over the tokens from `prompt + first` on, without the `last` ones."""

    def letter(logits, ids, prompt):
        each = logits.log_softmax(-1)[:-1].gather(1, ids[1:, None]).squeeze(1)
        return each[prompt - 1 + first : len(each) - last].sum()

    return letter


def pulling(weight, by_mean=True):
    """The right pull with another size of a pair: weight(h, beta)."""

    def pull(a, b, c, d, beta):
        size = weight(gap(a, b, c, d), beta) / (len(a) if by_mean else 1)
        return -size, size

    return pull


def robust(mix):
    """The mean of mix(L(h), L(-h), flipped)."""
    return lambda a, b, c, d, beta, e: mix(
        -logsigmoid(beta * gap(a, b, c, d)), -logsigmoid(-beta * gap(a, b, c, d)), e
    ).mean()


def through_exp(a, b, c, d, beta, e):
    z = beta * gap(a, b, c, d)
    return (((1 - e) * (1 + (-z).exp()).log() - e * (1 + z.exp()).log()) / (1 - 2 * e)).mean()


WRONG = [
    # the best policy
    ("best_policy", lambda p, r, b: torch.tensor(p) * (torch.tensor(r) / b).exp(), "add up to 1"),
    ("best_policy", lambda p, r, b: (torch.tensor(r) / b).softmax(0), "reference is missing"),
    ("best_policy", lambda p, r, b: right_policy(p, r, 1 / b), "Divide the reward by beta"),
    ("best_policy", lambda p, r, b: right_policy(p, r, 1), "beta is missing"),
    ("best_policy", lambda p, r, b: right_policy(p, r, -b), "sign is turned round"),
    ("best_policy", by_exp, "too large"),
    ("best_policy", lambda p, r, b: 0.5, "a probability for each"),
    # how likely a letter is
    ("letter_logprob", lambda x, i, p: right_letter(x, i, p) / (len(i) - p), "not their mean"),
    ("letter_logprob", lambda x, i, p: right_letter(x, i, 1), "prompt do not count"),
    ("letter_logprob", own_rows, "one place too far"),
    ("letter_logprob", of_places(1, 0), "the first and the last"),
    ("letter_logprob", of_places(0, 1), "the first and the last"),
    ("letter_logprob", lambda x, i, p: -right_letter(x, i, p), "is negative"),
    ("letter_logprob", lambda x, i, p: x[p - 1 : -1].gather(1, i[p:, None]).sum(), "log_softmax first"),
    ("letter_logprob", lambda x, i, p: x.log_softmax(-1), "one number"),
    # what a pair pulls
    ("preference_pull", lambda *a: right_pull(*a)[::-1], "signs are turned round"),
    ("preference_pull", pulling(lambda h, b: b * torch.sigmoid(b * h)), "already won"),
    ("preference_pull", pulling(lambda h, b: torch.sigmoid(-b * h)), "beta is a factor"),
    ("preference_pull", pulling(lambda h, b: b * torch.sigmoid(-h)), "multiplied by beta"),
    ("preference_pull", lambda a, b, c, d, e: right_pull(a, b, 0 * c, 0 * d, e), "reference is missing"),
    ("preference_pull", pulling(lambda h, b: b * torch.sigmoid(-b * h), by_mean=False), "divide by their number"),
    ("preference_pull", pulling(lambda h, b: b / 2 + 0 * h), "h = 0 alone"),
    ("preference_pull", lambda *a: right_pull(*a)[0], "two tensors"),
    # noise that one knows
    ("robust_dpo", robust(lambda x, y, e: (1 - e) * x - e * y), "Divide by 1 - 2 flipped"),
    ("robust_dpo", robust(lambda x, y, e: (1 - e) * x + e * y), "label smoothing"),
    ("robust_dpo", robust(lambda x, y, e: ((1 - e) * y - e * x) / (1 - 2 * e)), "Without noise"),
    ("robust_dpo", lambda *a: right_robust(*a) * len(a[0]), "not their sum"),
    ("robust_dpo", through_exp, "use logsigmoid"),
    ("robust_dpo", lambda *a: a[0], "one number"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
