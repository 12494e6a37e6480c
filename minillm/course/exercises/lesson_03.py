"""Graders of lesson 03: cosines, the gradient of a look-up table, word company by counting, the loss of word2vec."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minillm.course.exercises import exercise, expect


@exercise("cosine_matrix")
def grade_cosine_matrix(answer: Callable) -> None:
    """The 3-4-5 triangle, a row of zeros, and torch on random rows."""
    triangle = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-6.0, -8.0]])
    came = answer(triangle.clone())
    slips = [
        (triangle @ triangle.T, "Those are dot products: divide by the lengths of both rows."),
        (triangle @ triangle.T / triangle.norm(dim=1), "Divide by the lengths of both rows, not of one."),
        (F.normalize(triangle, dim=0) @ F.normalize(triangle, dim=0).T, "A vector is a row: its length is over dim 1."),
        (F.normalize(triangle, dim=0).T @ F.normalize(triangle, dim=0), "That compares columns; the vectors are rows."),
    ]
    expected = torch.tensor([[1.0, 0.96, -1.0], [0.96, 1.0, -0.96], [-1.0, -0.96, 1.0]])
    expect(came, expected, _slip(came, slips, "Divide each dot product by the lengths of both rows."))
    zero = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    slip = "A row of zeros has no direction: its cosine with everything is to be 0, not nan."
    expect(answer(zero.clone()), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), slip)
    vectors = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    slip = "On 7 random rows it differs from torch's cosine_similarity."
    expect(answer(vectors.clone()), F.cosine_similarity(vectors[:, None], vectors[None], dim=2), slip)


@exercise("embedding_gradient")
def grade_embedding_gradient(answer: Callable) -> None:
    """Three look-ups by hand, two of them of one token; then autograd on random ones."""
    ids, upstream = torch.tensor([2, 0, 2]), torch.tensor([[1.0], [5.0], [3.0]])
    came = answer(ids.clone(), upstream.clone(), 4)
    twice = "Token 2 was looked up twice, so its row gets the sum of both gradients, "
    slips = [
        (_column(5, 0, 3, 0), twice + "not the last one. `gradient[ids] += upstream` keeps only one."),
        (_column(5, 0, 1, 0), twice + "not the first one."),
        (_column(5, 0, 2, 0), twice + "not their mean."),
        (upstream, "That is one row for each position: there must be one for each row of the table."),
        (_column(5, 0, 4), "The table has `rows` rows, also where the last tokens were not looked up."),
    ]
    expect(came, _column(5, 0, 4, 0), _slip(came, slips, "Add each upstream row to the row of its token."))
    generator = torch.Generator().manual_seed(2)
    ids, upstream = torch.randint(6, (20,), generator=generator), torch.randn(20, 3, generator=generator)
    table = torch.zeros(6, 3, requires_grad=True)
    F.embedding(ids, table).backward(upstream)
    expect(answer(ids.clone(), upstream.clone(), 6), table.grad, "On 20 random look-ups it differs from autograd.")


@exercise("smoothed_ppmi")
def grade_smoothed_ppmi(answer: Callable) -> None:
    """Four counts by hand, power 1, independent words, an empty row, and a slow loop."""
    counts = torch.tensor([[2.0, 0.0], [3.0, 1.0]])
    came = answer(counts.clone(), 0.5)
    word, context = torch.tensor([[2 / 6], [4 / 6]]), torch.tensor([5**0.5, 1.0])
    ratio = counts / 6 / (word * context / context.sum())
    slips = [
        (ratio.log(), "ln 0 is -inf, and PPMI keeps only what is above 0."),
        (ratio.log().masked_fill(counts == 0, 0), "What is below 0 becomes 0: the first P is for positive."),
        (ratio.log2().clamp(min=0), "That is in bits: use the natural logarithm."),
        (_plain_ppmi(counts), "That is the plain PPMI: raise the totals of the contexts to the power."),
        (_plain_ppmi(counts**0.5), "Raise the totals of the contexts to the power, not the counts themselves."),
        (
            (counts / 6 / (word * context)).log().clamp(min=0),
            "The powers must be divided by their sum, to be shares again.",
        ),
        (
            (counts / 6 / (word * context / 6**0.5)).log().clamp(min=0),
            "Raise the totals to the power first, then divide by the sum.",
        ),
        (_smoothed_words(counts), "It is the contexts (columns) whose share is smoothed, not the words (rows)."),
    ]
    expected = torch.tensor([[0.369643, 0.0], [0.081961, 0.0]])
    expect(came, expected, _slip(came, slips, "It is max(0, ln of the joint share over the product of both shares)."))
    slip = "With a power of 1 it is the plain PPMI."
    expect(answer(counts.clone(), 1.0), torch.tensor([[0.182322, 0.0], [0.0, 0.405465]]), slip)
    slip = "A word that was never counted has a row of zeros, not nan."
    empty = answer(torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]]), 0.5)
    expect(empty, torch.tensor([[0.693147, 0.0], [0.0, 0.0], [0.0, 0.693147]]), slip)
    counts = torch.randint(4, (5, 8), generator=torch.Generator().manual_seed(3)).float()
    share = counts.sum(0) ** 0.75 / (counts.sum(0) ** 0.75).sum()
    slow = torch.zeros(5, 8)
    for row, column in counts.nonzero().tolist():
        chance = counts[row].sum() * share[column]
        slow[row, column] = max(0.0, (counts[row, column] / chance).log().item())
    expect(answer(counts.clone(), 0.75), slow, "On a 5 by 8 table it differs from a slow loop over the formula.")


def _plain_ppmi(counts: Tensor) -> Tensor:
    joint = counts / counts.sum()
    by_chance = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return (joint / by_chance).log().clamp(min=0)


def _smoothed_words(counts: Tensor) -> Tensor:
    joint, totals = counts / counts.sum(), counts.sum(1, keepdim=True) ** 0.5
    return (joint / (totals / totals.sum() * joint.sum(0))).log().clamp(min=0)


@exercise("skip_gram_loss")
def grade_skip_gram_loss(answer: Callable) -> None:
    """One word with two noise words by hand, a batch, large dot products, and a gradient that must flow."""
    centre, near = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 5.0]])
    noise = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
    came = answer(centre, near, noise)
    real, drawn = F.logsigmoid(torch.tensor(2.0)), F.logsigmoid(torch.tensor([0.0, 1.0]))
    slips = [
        (
            -real - F.logsigmoid(torch.tensor([0.0, -1.0])).sum(),
            "The noise term has a minus inside: s(-centre . noise).",
        ),
        (-real - drawn.mean(), "The noise terms are summed over K, not averaged."),
        (real + drawn.sum(), "The sign: a loss is minus the log-probability."),
        (-real + drawn.sum(), "The noise term is subtracted, as the first is: both are log-probabilities."),
        (-drawn.sum(), "The term of the word that really stands near is missing."),
    ]
    expect(came, torch.tensor(1.133337), _slip(came, slips, "-ln s(2) - ln s(0) - ln s(1), s being the sigmoid."))
    generator = torch.Generator().manual_seed(4)
    centre, near = torch.randn(2, 6, 3, generator=generator)
    noise = torch.randn(6, 5, 3, generator=generator)
    came = answer(centre, near, noise)
    each = torch.stack([-F.logsigmoid(c @ n) - F.logsigmoid(-(k @ c)).sum() for c, n, k in zip(centre, near, noise)])
    slips = [
        (each.sum(), "Average over the batch; that is the sum."),
        (each, "Average over the batch: the loss is one number."),
    ]
    expect(came, each.mean(), _slip(came, slips, "On a batch of 6 with 5 noise words it differs from a slow loop."))
    far = answer(torch.tensor([[100.0]]), torch.tensor([[-100.0]]), torch.tensor([[[100.0]]]))
    expect(far, torch.tensor(20_000.0), "With large dot products ln(sigmoid) overflows: F.logsigmoid does not.")


def _column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


def _slip(came, slips: list[tuple[Tensor, str]], otherwise: str) -> str:
    """The message of the slip whose result came, or another."""
    for value, message in slips:
        if isinstance(came, Tensor) and came.shape == value.shape and torch.allclose(came, value, 1e-4, 1e-4, True):
            return message
    return otherwise
