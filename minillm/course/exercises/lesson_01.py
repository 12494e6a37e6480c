"""Graders of lesson 01, what it means to model language: perplexity, the bigram table, its samples and its gradient."""

import math

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect
from minillm.models import BigramLM, CountBigram
from minillm.training import causal_lm_loss


@exercise("perplexity_of")
def grade_perplexity_of(answer) -> None:
    """Two probabilities by hand, a fair die, and a text so long that the product of its probabilities is 0."""
    slip = "Perplexity is exp of the mean of -log p."
    came = answer([0.5, 0.125])
    if isinstance(came, int | float):
        slips = {
            5.0: "You averaged 1 / p. Average -log p, and take exp at the end.",
            16.0: "You took 1 / (product of all p) and did not divide the sum of -log p by the number of tokens.",
            3.2: "You took 1 / (mean of p). Average -log p instead, and take exp at the end.",
            2 ** math.log(4): "You mixed bits and nats: log goes with exp, log2 goes with 2 ** ...",
            math.log(4): "This is the loss, the mean of -log p. Perplexity is exp of it.",
            0.25: "You forgot the minus sign: it is exp of the mean of MINUS log p.",
        }
        slip = next((text for value, text in slips.items() if math.isclose(came, value, rel_tol=1e-4)), slip)
    expect(came, 4.0, slip)
    expect(answer([1 / 6] * 10), 6.0, "Each face of a fair die has perplexity 6, however often it is thrown.")
    too_long = "A product of 500 small numbers is 0 in a computer. Add logarithms instead of multiplying."
    try:
        came = answer([0.01] * 500)
    except (ZeroDivisionError, OverflowError, ValueError):
        raise Wrong(f"it failed on a text of 500 tokens. {too_long}") from None
    expect(came, 100.0, too_long)


@exercise("smoothed_table")
def grade_smoothed_table(answer) -> None:
    """A table by hand, and the library's on a random row of tokens."""
    ids = torch.tensor([0, 1, 0, 1, 0, 2])
    _expect_table(answer(ids, 3, 1.0), ids, 3, 1.0)
    ids = torch.randint(6, (200,), generator=torch.Generator().manual_seed(0))
    _expect_table(answer(ids, 7, 0.5), ids, 7, 0.5)  # token 6 never occurs


def _expect_table(came, ids: Tensor, V: int, k: float) -> None:
    expected = CountBigram(ids, V, smoothing=k)(torch.arange(V)).exp()
    slip = "Row a, column b is (count of a b, plus k) / (count of all pairs that begin with a, plus k V)."
    if isinstance(came, Tensor) and came.shape == expected.shape:
        counts = torch.zeros(V, V).index_put_((ids[:-1], ids[1:]), torch.ones(len(ids) - 1), accumulate=True)
        turned = (counts.T + k) / (counts.T + k).sum(1, keepdim=True)
        raw, whole = counts / counts.sum(1, keepdim=True), (counts + k) / (counts + k).sum()
        short = (counts + k) / (counts.sum(1, keepdim=True) + k)
        down = (counts + k) / (counts + k).sum(0, keepdim=True)
        if _close(came, turned):
            slip = "Rows and columns are swapped: the row is the token before, the column the token after."
        elif _close(came, raw):
            slip = "These are the shares without smoothing: add k to each count before you divide."
        elif _close(came, whole):
            slip = "You divided by the sum of the whole table. Each row is a distribution of its own."
        elif _close(came, short):
            slip = "k was added to V counts of each row, so the row's total grows by k V, not by k."
        elif _close(came, down):
            slip = "Each column sums to 1. It is the rows that must: what may follow token a."
    expect(came, expected.float(), slip)


def _close(came: Tensor, other: Tensor) -> bool:
    return torch.allclose(came.float().nan_to_num(), other.float().nan_to_num(), atol=1e-4)


@exercise("babble")
def grade_babble(answer) -> None:
    """A table with one way through it, then how often each first word and each length comes."""

    def write(table, seed, longest=50):
        return answer(torch.tensor(table), 0, longest, torch.Generator().manual_seed(seed))

    came = write([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], 0)
    slip = "Start from the row of the stop; end when the stop is drawn."
    if isinstance(came, list) and came in ([0, 1, 2, 0], [1, 2, 0], [0, 1, 2]):
        slip = "The stop (token 0) begins and ends a sentence but is no word of it: leave it out."
    expect(came, [1, 2], slip)
    came = write([[0.0, 1.0], [0.0, 1.0]], 0, longest=5)
    expect(came, [1] * 5, "A sentence has at most `longest` words.")
    if write([[0.1, 0.3, 0.6]] * 3, 3) != write([[0.1, 0.3, 0.6]] * 3, 3):
        raise Wrong("one seed gave two different sentences. Hand `generator` to torch.multinomial.")
    sentences = [write([[0.0, 0.75, 0.25], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]], seed) for seed in range(600)]
    if len({tuple(sentence) for sentence in sentences}) == 1:
        raise Wrong("600 seeds gave one and the same sentence. Draw the next word, do not take the likeliest.")
    first = sum(sentence[0] == 1 for sentence in sentences) / 600
    if abs(first - 0.75) > 0.08:
        raise Wrong(
            f"word 1 came first in {first:.0%} of 600 sentences, not in 75 %. Draw with the row's probabilities."
        )
    both = sum(sentence == [1, 2] for sentence in sentences) / 600
    if abs(both - 0.375) > 0.08:
        raise Wrong(f"[1, 2] came in {both:.0%} of 600 sentences, not in 37.5 %. Use the row of the word drawn last.")


@exercise("bigram_gradient")
def grade_bigram_gradient(answer) -> None:
    """Three pairs by hand, then what autograd says on random scores."""
    _expect_gradient(answer, torch.zeros(2, 2), torch.tensor([0, 1, 1, 1]))
    generator = torch.Generator().manual_seed(0)
    _expect_gradient(answer, torch.randn(5, 5, generator=generator), torch.randint(5, (40,), generator=generator))


def _expect_gradient(answer, scores: Tensor, ids: Tensor) -> None:
    model = BigramLM(len(scores))
    model.table.weight.data = scores.clone()
    causal_lm_loss(model(ids[None]), ids[None]).backward()
    expected, pairs = model.table.weight.grad, len(ids) - 1
    came = answer(scores.clone(), ids)
    slip = (
        "For each pair a b: softmax of row a, minus 1 in column b, goes to row a; then divide by the number of pairs."
    )
    if isinstance(came, Tensor) and came.shape == expected.shape:
        counts = torch.zeros_like(scores).index_put_((ids[:-1], ids[1:]), torch.ones(pairs), accumulate=True)
        shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
        if _close(came, -expected):
            slip = "The sign is turned: the gradient points uphill, predicted minus counted."
        elif _close(came, expected * pairs):
            slip = "The loss is a mean over the pairs: divide by their number."
        elif _close(came, expected * pairs / len(ids)):
            slip = "N tokens make N - 1 pairs."
        elif _close(came, scores.softmax(1) - shares):
            slip = (
                "A row that occurs more often weighs more: multiply each by its count, divide by the number of pairs."
            )
        elif _close(came, expected.T):
            slip = "Rows and columns are swapped."
    expect(came, expected, slip)


@exercise("mixture_weights")
def grade_mixture_weights(answer) -> None:
    """A case solved by hand, a useless model, and random ones against a search over a grid."""
    came = answer(torch.tensor([[0.8, 0.8, 0.1], [0.2, 0.2, 0.5]]))
    slip = "The best weights maximise the mean of log(sum over models of weight x probability)."
    if isinstance(came, Tensor) and came.shape == (2,):
        if _close(came, torch.tensor([0.5, 0.5])):
            slip = "These are the equal weights that one starts from."
        elif _close(came, torch.tensor([53 / 90, 37 / 90])):
            slip = "This is one round of the two steps. Repeat them until the weights stay put."
        elif _close(came, torch.tensor([1.0, 0.0])):
            slip = "The better model alone is not the best: the other one knows the third token."
        elif abs(float(came.sum()) - 1) > 0.01:
            slip = f"Weights sum to 1; these sum to {float(came.sum()):.3g}. Average over the tokens."
    expect(came, torch.tensor([13 / 18, 5 / 18]), slip, tolerance=0.01)
    came = answer(torch.tensor([[0.5, 0.4], [0.2, 0.1]]))
    expect(came, torch.tensor([1.0, 0.0]), "A model that is worse on every token gets nothing.", tolerance=0.03)
    probabilities = torch.rand(2, 300, generator=torch.Generator().manual_seed(1)) ** 2 + 0.001
    grid = torch.linspace(0, 1, 1001)
    likelihood = (grid[:, None] * probabilities[0] + (1 - grid[:, None]) * probabilities[1]).log().mean(1)
    best = grid[likelihood.argmax()]
    expect(
        answer(probabilities), torch.stack([best, 1 - best]), "A search over a grid finds better ones.", tolerance=0.01
    )
